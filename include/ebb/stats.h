/* ebb/stats.h - where every byte is: one consistent snapshot. */
#ifndef EBB_STATS_H
#define EBB_STATS_H

#include "config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All sizes in bytes, all times in nanoseconds, taken in one stop. The classes add up:
 *
 *   mapped   = heap_used + heap_free + heap_returned + metadata + offheap
 *   heap_used = live + dead + slots_free + tail_waste
 *
 * live and dead split what is allocated by what the last cycle knew: objects allocated since then
 * count as live. slice_tails and map_empty are parts of live. */
struct ebb_stats {
    /* What Ebb has mapped readable and writable, by class. */
    uint64_t mapped;
    uint64_t heap_used;     /* spans that hold objects (Go: HeapInuse) */
    uint64_t heap_free;     /* free pages that are still resident (Go: HeapIdle - HeapReleased) */
    uint64_t heap_returned; /* free pages given back, or never touched (Go: HeapReleased) */
    uint64_t metadata;      /* bitmaps, span tables, thread caches, mark stacks */
    uint64_t offheap;       /* regions, pools, string banks */
    uint64_t rss;           /* resident bytes of the whole process, from the system */

    /* Inside heap_used. */
    uint64_t live;        /* bytes of allocated objects, rounded up to their size class */
    uint64_t dead;        /* found unreachable, not swept yet */
    uint64_t slots_free;  /* free slots in spans that hold objects */
    uint64_t tail_waste;  /* ends of spans too short for one more object */
    uint64_t slice_tails; /* backing arrays beyond the length of every slice known to refer */
    uint64_t map_empty;   /* map slots without an entry */
    uint64_t live_objects;

    /* Since the start of the program. */
    uint64_t alloc_bytes, alloc_objects; /* handed out (Go: TotalAlloc, Mallocs) */
    uint64_t freed_bytes, freed_objects; /* by the collector or ebb_free (Go: Frees) */
    uint64_t returned_total;             /* given back to the system, cumulative */

    /* The collector. */
    uint64_t cycles, cycles_forced; /* (Go: NumGC, NumForcedGC) */
    uint64_t cycles_minor;  /* of cycles, those that looked at what is young or changed only */
    const char *dirty;      /* who tells which pages were written: "kernel", "all" or "off" */
    const char *dirty_why;  /* why it is not the kernel; "" if it is, or no cycle was made yet */
    uint64_t goal;          /* the heap size that starts the next cycle (NextGC) */
    uint64_t limit;         /* UINT64_MAX for none */
    uint64_t marked_live;   /* found reachable by the last cycle */
    uint64_t last_cycle_ns; /* CLOCK_REALTIME of its end; 0 for none (LastGC) */
    uint64_t pause_total_ns, pause_last_ns, pause_max_ns;
    uint64_t assist_ns, wait_ns; /* of threads ahead of the schedule: helping, and waiting */
    uint64_t goal_passed_max;    /* the most that the heap was over its goal when a cycle ended */
    uint64_t cpu_ns;             /* CPU time spent in the collector (GCCPUFraction) */
    uint64_t roots_bytes;        /* searched as roots in the last cycle */
    uint64_t stack_bytes;        /* of which stacks (Go: StackInuse) */
    uint64_t finalizers, finalizers_due; /* set; waiting to run */

    /* Slices' arrays: cut to what slices refer to, by full cycles; bytes that were cleared so; and
     * arrays that could not be because something else refers to them, as of the last full cycle. */
    uint64_t arrays_trimmed, trimmed_bytes, arrays_kept_whole;

    /* Maps: the proof that no operation moves more than one table. */
    uint64_t map_moved_max; /* most entries moved by one operation */
    uint64_t map_table_max; /* slots of the largest table ever made */
};

/* Fills *out.   Threads: any.   Collects: never, but stops the world for as long as it takes to
 * walk the spans. */
EBB_API void ebb_stats(struct ebb_stats *out);

/* Fills *out with what is known without a walk, for those who ask often: all but what is inside
 * heap_used, what was allocated, and maps, which is 0; live is what the last cycle found reachable
 * and what threads took since, in runs of some KiB.
 * Threads: any.   Collects: never, and stops nobody. */
EBB_API void ebb_stats_brief(struct ebb_stats *out);

/* The lengths of the latest stops of the world, newest first, in nanoseconds: at most room of them,
 * and no more than the 4096 that are remembered.   Returns: how many were written.   Threads: any.
 * Collects: never. */
EBB_API size_t ebb_pauses(uint64_t *ns, size_t room);

/* Cycles completed so far: cheap, for those who keep something a cycle. Threads: any. */
EBB_API uint64_t ebb_cycles(void);

#ifdef __cplusplus
}
#endif
#endif
