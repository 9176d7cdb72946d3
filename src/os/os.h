/* os.h - the whole contract with the operating system. One file a system implements it
 * (linux.c). Sizes are bytes and multiples of ebb__os_page_size() unless stated; functions that
 * return int return 0 for success, or a negative EBB_E code with errno as the system left it. */
#ifndef EBB_OS_H
#define EBB_OS_H

#include "../base/base.h"

/* --- Pages ---------------------------------------------------------------------------------- */

/* What a mapping is for; ebb_stats reports them apart. */
enum os_class { OS_METADATA, OS_OFFHEAP, OS_HEAP, OS_CLASS_COUNT };

/* Bytes mapped readable and writable now, a class. The only account of them: map and commit add,
 * unmap subtracts. */
EBB__SHARED extern _Atomic(size_t) ebb__os_mapped[OS_CLASS_COUNT];

EBB__SHARED size_t ebb__os_page_size(void);

/* Fresh zeroed memory, readable and writable, counted in class. Null where the system has none. */
EBB__SHARED void *ebb__os_map(size_t size, enum os_class class);
EBB__SHARED void ebb__os_unmap(void *start, size_t size, enum os_class class);

/* Metadata of `bytes` in place of what was mapped at old, or null: its first `used` bytes are
 * copied, and its old_bytes unmapped. Null without memory: all is as it was. */
EBB__SHARED void *ebb__os_enlarge(void *old, size_t old_bytes, size_t used, size_t bytes);

/* Address space without memory, aligned to align; commit makes part of it usable (zeroed).
 * A reservation is for ever. */
EBB__SHARED void *ebb__os_reserve(size_t size, size_t align);
EBB__SHARED void ebb__os_unreserve(void *start, size_t size);
EBB__SHARED int ebb__os_commit(void *start, size_t size, enum os_class class);

/* Gives the pages back; they stay usable and read as zero. Returns 0 or EBB_ESYSTEM. */
EBB__SHARED int ebb__os_return(void *start, size_t size);

/* Asks for huge pages (or takes the wish back); no effect where there are none. */
EBB__SHARED void ebb__os_huge(void *start, size_t size, bool wanted);

/* How many bytes of whole pages hold something; what was swapped out does not count. */
EBB__SHARED size_t ebb__os_in_memory(void *start, size_t size);

/* The first run of pages in [start, end) that hold something; what is passed over reads as zero
 * and is not touched. start and end need not be whole pages' bounds, but start is a page's. Returns
 * where the run begins and sets *stop to where it ends; returns end when there is none. */
EBB__SHARED void *ebb__os_resident(void *start, void *end, void **stop);

/* Copies up to size bytes from memory that may not be there. Returns how many: fewer up to the
 * first page that is missing, or 0 where the system refuses. */
EBB__SHARED size_t ebb__os_peek(void *to, uintptr_t from, size_t size);

/* Resident bytes of the process. 0 where the system does not tell. */
EBB__SHARED size_t ebb__os_rss(void);

/* --- Time and processors -------------------------------------------------------------------- */

EBB__SHARED uint64_t ebb__os_now_ns(void);        /* monotonic */
EBB__SHARED uint64_t ebb__os_wall_ns(void);       /* since 1970 */
EBB__SHARED uint64_t ebb__os_thread_cpu_ns(void); /* CPU time of this thread */
EBB__SHARED unsigned ebb__os_cpus(void);          /* that this process may run on */
EBB__SHARED uint64_t ebb__os_random(void);        /* seed for hashing; never fails */

/* --- Locks ---------------------------------------------------------------------------------- */

/* A futex lock of one word; zero is open. Not recursive. Held by a thread that is then stopped by
 * the collector it would deadlock with, unless the collector takes it before stopping: see the
 * lock order in gc/gc.h. */
typedef struct os_lock {
    _Atomic(uint32_t) word;
} os_lock;

EBB__SHARED void ebb__os_lock(os_lock *lock);
EBB__SHARED bool ebb__os_trylock(os_lock *lock);
EBB__SHARED void ebb__os_unlock(os_lock *lock);

/* Locks, unless *flag is or becomes nonzero first: then returns false. */
EBB__SHARED bool ebb__os_lock_unless(os_lock *lock, _Atomic(uint32_t) *flag);

/* Sleeps while *word == value, at most timeout_ns (UINT64_MAX: for ever); may wake early. */
EBB__SHARED void ebb__os_wait(_Atomic(uint32_t) *word, uint32_t value, uint64_t timeout_ns);
EBB__SHARED void ebb__os_wake(_Atomic(uint32_t) *word, bool all);

#endif
