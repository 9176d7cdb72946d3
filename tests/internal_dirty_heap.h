/* internal_dirty_heap.h - for the tests of dirty pages: src/os/linux_dirty.c itself, with a seam
 * around its system calls, a small heap that it watches, and what harvests reported of it. */
#ifndef EBB_DIRTY_HEAP_H
#define EBB_DIRTY_HEAP_H

#ifndef _GNU_SOURCE
# define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test.h"

#define HEAP_UNUSED __attribute__((unused))

/* --- The seam -------------------------------------------------------------------------------- */

static _Atomic(long) calls_made, calls_fail_at; /* 0: none fails; relaxed, no other data */
static int calls_errno;

static bool call_fails(void) {
    if (atomic_fetch_add(&calls_made, 1) + 1 != atomic_load(&calls_fail_at)) return false;
    errno = calls_errno;
    return true;
}

#define EBB__DIRTY_CALL(call) (call_fails() ? (__typeof__(call))-1 : (call))
#include "../src/os/linux_dirty.c"

/* Lets the k-th call from now fail; 0: none. */
HEAP_UNUSED static void calls_fail(long k, int error) {
    atomic_store(&calls_made, 0);
    atomic_store(&calls_fail_at, k);
    calls_errno = error;
}

/* --- A heap of one's own --------------------------------------------------------------------- */

#define PAGE ((size_t)4096)
#define HUGE ((size_t)2 << 20)

enum { SEEN_MAX = 4096 };

static char *heap;
static size_t heap_bytes;

/* A reservation of so many bytes, watched, the first part of it usable. */
static void heap_reserve(size_t reserved, size_t usable) {
    if (sysconf(_SC_PAGESIZE) != (long)PAGE) SKIP("pages are not of 4 KiB");
    const char *why = "";
    heap = ebb__os_reserve(reserved, HUGE);
    CHECK(heap != NULL);
    heap_bytes = usable;
    int code = ebb__os_dirty_start((uintptr_t)heap, (uintptr_t)heap + reserved, &why);
    if (code == EBB_ESYSTEM && (strncmp(why, "userfaultfd: ", 13) == 0 || strstr(why, "kernel")))
        SKIP(why);
    if (code != 0) fprintf(stderr, "%s\n", why);
    CHECK_EQ(code, 0);
    CHECK(why == NULL);
    CHECK(ebb__os_dirty_works());
    CHECK_EQ(ebb__os_commit(heap, usable, OS_HEAP), 0);
}

/* Small pages that all hold something and are armed. */
HEAP_UNUSED static void heap_armed(size_t pages) {
    heap_reserve((size_t)1 << 30, pages * PAGE);
    ebb__os_huge(heap, heap_bytes, false);
    memset(heap, 1, heap_bytes);
    CHECK_EQ(ebb__os_dirty_arm((uintptr_t)heap, (uintptr_t)heap + heap_bytes), 0);
}

HEAP_UNUSED static char *heap_page(size_t number) {
    return heap + number * PAGE;
}

/* What harvests reported: whether a page was, and how many were, of a heap of SEEN_MAX pages. */
static bool seen[SEEN_MAX];
static size_t seen_pages, seen_runs;
static uintptr_t seen_last;

static void seen_note(uintptr_t from, uintptr_t to, void *arg) {
    CHECK(arg == &seen);
    CHECK(from < to && from % PAGE == 0 && to % PAGE == 0);
    CHECK(from >= seen_last);
    seen_last = to;
    seen_runs++;
    seen_pages += (to - from) / PAGE;
    for (uintptr_t p = from; p < to; p += PAGE) {
        size_t number = (p - (uintptr_t)heap) / PAGE;
        if (number < SEEN_MAX) seen[number] = true;
    }
}

static void seen_forget(char *start) {
    memset(seen, 0, sizeof seen);
    seen_pages = seen_runs = 0;
    seen_last = (uintptr_t)start;
}

static size_t seen_harvest_of(char *from, char *to, bool sparse) {
    seen_forget(from);
    CHECK_EQ((sparse ? ebb__os_dirty_harvest_sparse
                     : ebb__os_dirty_harvest)((uintptr_t)from, (uintptr_t)to, seen_note, &seen),
             0);
    return seen_pages;
}

HEAP_UNUSED static size_t seen_harvest(void) {
    return seen_harvest_of(heap, heap + heap_bytes, false);
}

/* Exactly these two pages were written (they may be the same). */
HEAP_UNUSED static void seen_exactly(size_t first, size_t second) {
    CHECK_EQ(seen_harvest(), first == second ? 1 : 2);
    CHECK(seen[first] && seen[second]);
}

HEAP_UNUSED static size_t seen_count(size_t most) {
    return ebb__os_dirty_count((uintptr_t)heap, (uintptr_t)heap + heap_bytes, most);
}

/* Bytes in huge pages now, of the mapping that begins where the heap does. */
HEAP_UNUSED static size_t heap_huge_bytes(void) {
    char line[512];
    size_t kib = 0;
    bool ours = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file)) {
        uintptr_t from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            ours = from >= (uintptr_t)heap && from < (uintptr_t)heap + heap_bytes;
        size_t n;
        if (ours && sscanf(line, "AnonHugePages: %zu kB", &n) == 1) kib += n;
    }
    fclose(file);
    return kib * 1024;
}

/* A heap of huge pages, all written, not armed yet. */
HEAP_UNUSED static void heap_huge(size_t bytes) {
    heap_reserve((size_t)1 << 30, bytes);
    ebb__os_huge(heap, bytes, true);
    memset(heap, 1, bytes);
    if (heap_huge_bytes() != bytes) SKIP("no huge pages here");
}

#endif
