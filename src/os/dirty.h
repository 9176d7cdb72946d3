/* dirty.h - the part of the contract with the system that tells which pages were written. The
 * collector's write barrier: see docs/design.md, "Dirty pages". Implemented in linux_dirty.c.
 *
 * One range of addresses a process is watched. A page of it is *armed* or not; a write, by the
 * program or by a system call on its behalf, disarms it, and so does giving it back to the system.
 * What is not armed counts as written. Bounds are multiples of the system's page size. */
#ifndef EBB_OS_DIRTY_H
#define EBB_OS_DIRTY_H

#include "os.h"

/* Begins to watch [start, end), reserved and perhaps not accessible yet; nothing is armed. First
 * tries on pages of its own whether every kind of write is reported. Once a process.
 * Returns 0, or EBB_ESYSTEM and a static text that says what is missing. */
EBB__SHARED int ebb__os_dirty_start(uintptr_t start, uintptr_t end, const char **why);

/* Whether the last start, or ebb__os_dirty_forked, went well. */
EBB__SHARED bool ebb__os_dirty_works(void);

/* Arms the pages of the range that hold something. The others count as written as soon as they
 * do, and may still become huge. EBB_ESYSTEM: nothing in the range may be believed clean. */
EBB__SHARED int ebb__os_dirty_arm(uintptr_t start, uintptr_t end);

/* Disarms the pages of the range: the first writes to them cost no more than others then.
 * EBB_ESYSTEM: some may be armed still. */
EBB__SHARED int ebb__os_dirty_disarm(uintptr_t start, uintptr_t end);

/* Calls visit(from, to, arg) for each run of pages that are not armed, in ascending order, and arms
 * them before; runs that touch may come as two. visit may write: that is reported the next time.
 * A huge page is reported and armed as a whole, and the first write makes it 512 pages; so does
 * arming a part of one, therefore ranges should begin and end at multiples of 2 MiB. Pages that
 * hold nothing are mostly reported, once: arming them costs their page tables and the huge pages
 * that might have come there. Several threads may harvest disjoint ranges at once.
 * EBB_ESYSTEM: pages may have been armed without a visit, all of the range counts as written. */
typedef void (*os_dirty_visit)(uintptr_t from, uintptr_t to, void *arg);
EBB__SHARED int ebb__os_dirty_harvest(uintptr_t start, uintptr_t end, os_dirty_visit visit,
                                      void *arg);

/* The same for ranges much of which may never have been touched: passes over pages that hold
 * nothing, as ebb__os_dirty_arm does. As quick on huge pages, three times slower on others. */
EBB__SHARED int ebb__os_dirty_harvest_sparse(uintptr_t start, uintptr_t end, os_dirty_visit visit,
                                             void *arg);

/* The same as a harvest, but arms nothing: what it reports is reported again by the next. It needs
 * no other processor to forget addresses, and so is what a stopped world should use, and the one
 * that gains from several threads. */
EBB__SHARED int ebb__os_dirty_peek(uintptr_t start, uintptr_t end, os_dirty_visit visit, void *arg);

/* The same, for ranges much of which may never have been touched. */
EBB__SHARED int ebb__os_dirty_peek_sparse(uintptr_t start, uintptr_t end, os_dirty_visit visit,
                                          void *arg);

/* How many pages a harvest would report now, at most most; most too where the system fails. Arms
 * nothing. */
EBB__SHARED size_t ebb__os_dirty_count(uintptr_t start, uintptr_t end, size_t most);

/* In the child of a fork, before anything else here: nothing is watched there any more. Watches
 * the range anew, nothing armed. Also after a failure, when no other thread is here: the program
 * may have closed our descriptors. 0 or EBB_ESYSTEM. */
EBB__SHARED int ebb__os_dirty_forked(void);

#endif
