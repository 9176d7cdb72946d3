/* ebb/memory.h - where every resident byte of the process is: Ebb's figures and the system's, taken
 * in the same stop. `ebb rss PID` prints it; docs/observe.md says how to read it. */
#ifndef EBB_MEMORY_H
#define EBB_MEMORY_H

#include "config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Resident bytes: memory that was never touched, was given back or is swapped out is in no class.
 *
 *   rss = live + held + slice_tails + map_empty + dead + free_pages + free_slots + span_ends
 *       + metadata + offheap
 *       + outside_malloc + outside_stacks + outside_files + outside_other
 *       + unexplained
 */
struct ebb_memory {
    uint64_t rss; /* the sum of what the system says of each mapping */

    /* Of living objects, as of the last cycle; those made since live too. */
    uint64_t live;        /* what is in none of the following three */
    uint64_t held;        /* held by conservative roots alone; 0 unless held_known */
    uint64_t slice_tails; /* slices' arrays beyond every length that was seen: a lower bound */
    uint64_t map_empty;   /* slots of maps without an entry */

    /* The rest of the heap. */
    uint64_t dead;       /* found unreachable, not swept yet */
    uint64_t free_pages; /* without objects, not given back */
    uint64_t free_slots; /* in pages that hold other objects */
    uint64_t span_ends;  /* too short for one more object */

    uint64_t metadata; /* Ebb's own tables, the profiler's and this look's included */
    uint64_t offheap;  /* regions, pools, string banks */

    /* Outside Ebb. */
    uint64_t outside_malloc; /* the C library's: its heap, arenas, large blocks */
    uint64_t outside_stacks; /* of all threads */
    uint64_t outside_files;  /* code, static data, mapped files, shared memory */
    uint64_t outside_other;  /* memory that something else has mapped: another allocator, a JIT */

    int64_t unexplained; /* what the two sides do not agree about; below 1 % of rss */

    /* Parts and companions of the above, in no sum. */
    uint64_t metadata_profile; /* of metadata: the profiler's */
    uint64_t metadata_look;    /* of metadata: mapped for this look, gone after it */
    uint64_t free_never_used;  /* of free_pages: never handed out, but in a huge page that was */
    uint64_t malloc_free;      /* of outside_malloc: what the program has freed, about */
    uint64_t heap_returned;    /* mapped for the heap, and given back or never touched */
    uint64_t rss_counter; /* resident size as top shows it: may be behind by some hundred KiB */
    uint64_t swapped;     /* the process's, not in rss */
    uint64_t shared;      /* of rss: mapped by other processes too */
    uint64_t huge;        /* of rss: in huge pages, without a file */
    uint64_t stop_ns;     /* how long the program stood still for this */
    int held_known;       /* whether `held` was asked for: by ebb rss --conservative, never here */
    int pages_exact; /* whether the system tells pages of zeroes from others; if not, what was only
                      * read counts as resident, and unexplained shows the difference */
};

/* Fills *out. The world is stopped for as long as the system takes to list the process's pages,
 * and Ebb to walk its spans: docs/observe.md, "What a look costs".
 * Returns / errors: 0; EBB_EINVAL; EBB_EBUSY when a thread would not stop; EBB_ENOMEM; EBB_ESYSTEM
 *   when the system does not list mappings (/proc/self/smaps). After an error *out is all zero.
 * Threads: any.   Collects: never. */
EBB_API int ebb_memory(struct ebb_memory *out);

#ifdef __cplusplus
}
#endif
#endif
