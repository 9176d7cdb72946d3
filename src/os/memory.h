/* memory.h - the part of the contract with the system that the account of resident memory needs:
 * what the process has mapped, what of it is resident, and whose it is. docs/design.md,
 * "Accounting". Implemented in linux_memory.c. Nothing here calls malloc or stdio but where stated,
 * so all of it may be used while the world is stopped. */
#ifndef EBB_OS_MEMORY_H
#define EBB_OS_MEMORY_H

#include "os.h"

/* --- What is ours ------------------------------------------------------------------------------
 */

/* Notes what ebb__os_map gave, and forgets it: for the system's file alone. */
EBB__SHARED void ebb__os_owned_add(uintptr_t start, size_t size, enum os_class class);
EBB__SHARED void ebb__os_owned_remove(uintptr_t start);

/* Calls visit for each mapping that ebb__os_map made and nobody has unmapped, in no order; those
 * that are just being made may be missing. Returns how many there are. visit may be null. */
EBB__SHARED size_t ebb__os_owned_each(void (*visit)(uintptr_t start, uintptr_t end,
                                                    enum os_class class, void *arg),
                                      void *arg);

/* --- What is resident --------------------------------------------------------------------------
 */

/* One mapping of the process, as the system accounts for it. Bytes. */
typedef struct os_area {
    uintptr_t start, end;
    size_t resident, swapped;
    size_t shared;    /* of resident: mapped by another process too, or twice by this one */
    size_t huge;      /* of resident: in huge pages without a file */
    bool writable;    /* readable too, and private */
    bool file;        /* what it shows has a file behind it, deleted or not */
    const char *name; /* the file's, "[heap]", "[stack]" and the like, "" for none */
} os_area;

/* Calls visit for each mapping, in ascending order. False when the system did not tell all. */
EBB__SHARED bool ebb__os_area_each(void (*visit)(const os_area *m, void *arg), void *arg);

/* Who tells which pages are resident; for as long as one look takes. */
typedef struct os_pages {
    int fd; /* -1: a coarser way, which takes pages that were only read for resident */
} os_pages;

EBB__SHARED void ebb__os_pages_open(os_pages *pages);
EBB__SHARED void ebb__os_pages_close(os_pages *pages);

/* Calls visit for each run of resident pages in [start, end), in ascending order; runs that touch
 * may come as two. The system's page of zeroes is not resident, nor what was swapped out. Bounds
 * are multiples of the page size; parts may be unmapped. visit may be null. Returns the bytes. */
typedef void (*os_pages_visit)(uintptr_t from, uintptr_t to, void *arg);
EBB__SHARED size_t ebb__os_pages_each(const os_pages *pages, uintptr_t start, uintptr_t end,
                                      os_pages_visit visit, void *arg);

/* --- Whose the rest is -------------------------------------------------------------------------
 */

/* The stack pointer of a thread of this process that is in a system call; 0 where nobody tells. */
EBB__SHARED uintptr_t ebb__os_thread_stack(int tid);

/* The resident bytes in [start, end), anonymous memory, that belong to the C library's malloc:
 * arenas of threads and large blocks, told by their headers. Finds no other allocator's. */
EBB__SHARED size_t ebb__os_malloc_in(const os_pages *pages, uintptr_t start, uintptr_t end);

/* Bytes that malloc holds and nobody has allocated. Takes malloc's locks: not in a stop. 0 where it
 * does not tell. */
EBB__SHARED size_t ebb__os_malloc_free(void);

#endif
