/* test_os_dirty.c - dirty pages: what the kernel promises, a case each, so that a kernel that
 * behaves otherwise is found here and not in a collector that lost an object. Then nothing lost
 * while threads write and harvest at once, and every system call failing.
 *
 * The file under test is compiled into this one, with a seam around its system calls. See
 * docs/design.md, "Dirty pages". */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

static _Atomic(long) calls_made, calls_fail_at; /* 0: none fails; relaxed, no other data */
static int calls_errno;

static bool call_fails(void) {
    if (atomic_fetch_add(&calls_made, 1) + 1 != atomic_load(&calls_fail_at)) return false;
    errno = calls_errno;
    return true;
}

#define EBB__DIRTY_CALL(call) (call_fails() ? (__typeof__(call))-1 : (call))
#include "../src/os/linux_dirty.c"

/* --- A heap of one's own ---------------------------------------------------------------------- */

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
static void heap_armed(size_t pages) {
    heap_reserve((size_t)1 << 30, pages * PAGE);
    ebb__os_huge(heap, heap_bytes, false);
    memset(heap, 1, heap_bytes);
    CHECK_EQ(ebb__os_dirty_arm((uintptr_t)heap, (uintptr_t)heap + heap_bytes), 0);
}

static char *heap_page(size_t number) {
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

static size_t seen_harvest_of(char *from, char *to, bool sparse) {
    memset(seen, 0, sizeof seen);
    seen_pages = seen_runs = 0;
    seen_last = (uintptr_t)from;
    CHECK_EQ((sparse ? ebb__os_dirty_harvest_sparse
                     : ebb__os_dirty_harvest)((uintptr_t)from, (uintptr_t)to, seen_note, &seen),
             0);
    return seen_pages;
}

static size_t seen_harvest(void) {
    return seen_harvest_of(heap, heap + heap_bytes, false);
}

/* Exactly these two pages were written (they may be the same). */
static void seen_exactly(size_t first, size_t second) {
    CHECK_EQ(seen_harvest(), first == second ? 1 : 2);
    CHECK(seen[first] && seen[second]);
}

static size_t seen_count(size_t most) {
    return ebb__os_dirty_count((uintptr_t)heap, (uintptr_t)heap + heap_bytes, most);
}

/* Bytes in huge pages now, of the mapping that begins where the heap does. */
static size_t heap_huge_bytes(void) {
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
static void heap_huge(size_t bytes) {
    heap_reserve((size_t)1 << 30, bytes);
    ebb__os_huge(heap, bytes, true);
    memset(heap, 1, bytes);
    if (heap_huge_bytes() != bytes) SKIP("no huge pages here");
}

/* --- Writes ------------------------------------------------------------------------------------
 */

TEST(writes_are_seen_once) {
    heap_armed(64);
    CHECK_EQ(seen_harvest(), 0);
    heap[5 * PAGE] = 2;
    heap[9 * PAGE - 1] = 2;
    seen_exactly(5, 8);
    CHECK_EQ(seen_harvest(), 0);
    heap[8 * PAGE] = 3;
    seen_exactly(8, 8);
    CHECK_EQ(heap[5 * PAGE] + heap[9 * PAGE - 1] + heap[8 * PAGE], 2 + 2 + 3);
}

TEST(reading_is_no_write) {
    heap_armed(64);
    unsigned sum = 0;
    for (size_t i = 0; i < 64; i++) sum += (unsigned)*(volatile char *)heap_page(i);
    CHECK_EQ(sum, 64);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK_EQ(write(null, heap, heap_bytes), heap_bytes);
    CHECK_EQ(seen_harvest(), 0);
}

TEST(atomic_operations_are_seen) {
    heap_armed(64);
    atomic_exchange((_Atomic(char) *)heap_page(3), 1); /* what is there already */
    seen_exactly(3, 3);
}

static void visit_writes(uintptr_t from, uintptr_t to, void *arg) {
    (void)arg;
    for (; from < to; from += PAGE) (*(char *)from)++;
}

TEST(a_visit_comes_after_arming) {
    heap_armed(64);
    heap[7 * PAGE] = heap[30 * PAGE] = 10;
    uintptr_t start = (uintptr_t)heap;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(ebb__os_dirty_harvest(start, start + heap_bytes, visit_writes, NULL), 0);
    CHECK_EQ(heap[7 * PAGE], 13);
    seen_exactly(7, 30);
}

TEST(count_arms_nothing) {
    heap_armed(2048);
    CHECK_EQ(seen_count(SIZE_MAX), 0);
    for (size_t i = 0; i < 2048; i += 2) heap[i * PAGE] = 2;
    CHECK_EQ(seen_count(SIZE_MAX), 1024);
    CHECK_EQ(seen_count(1024), 1024);
    CHECK_EQ(seen_count(300), 300);
    CHECK_EQ(seen_count(1), 1);
    CHECK_EQ(seen_count(0), 0);
    CHECK_EQ(seen_harvest(), 1024);
    CHECK_EQ(seen_runs, 1024);
    CHECK_EQ(seen_count(SIZE_MAX), 0);
}

/* More runs than an answer has room for, and runs across its end. */
TEST(many_small_ranges) {
    heap_armed(SEEN_MAX);
    for (size_t gap = 2; gap < 9; gap++) {
        size_t written = 0;
        for (size_t i = 0; i < SEEN_MAX; i++) {
            if (i % gap == 0) continue;
            heap[i * PAGE]++;
            written++;
        }
        CHECK_EQ(seen_harvest(), written);
        for (size_t i = 0; i < SEEN_MAX; i++) CHECK_EQ(seen[i], i % gap != 0);
        CHECK_EQ(seen_harvest(), 0);
    }
    for (size_t i = 0; i < 100; i++) {
        heap[i * 40 * PAGE] = 5;
        CHECK_EQ(seen_harvest_of(heap_page(i * 40), heap_page(i * 40 + 1), i % 2), 1);
    }
    CHECK_EQ(seen_harvest(), 0);
}

TEST(strides_lose_nothing_at_their_ends) {
    size_t mib = (size_t)1 << 20;
    heap_reserve((size_t)1 << 30, 400 * mib);
    static const size_t at[] = {0, 1, 62, 63, 64, 65, 127, 128, 129, 191, 192, 399};
    for (int turn = 0; turn < 4; turn++) {
        for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
            heap[at[i] * mib]++;
            heap[at[i] * mib + mib - 1]++;
        }
        CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 2 * sizeof at / sizeof *at);
    }
    heap[64 * mib]++;
    CHECK_EQ(seen_harvest_of(heap + 64 * mib - PAGE, heap + 64 * mib + PAGE, true), 1);
}

/* --- Writes by the system -----------------------------------------------------------------------
 */

TEST(system_calls_are_seen) {
    heap_armed(64);
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(write(ends[1], "abcdefgh", 8), 8);
    CHECK_EQ(read(ends[0], heap_page(4), 4), 4);
    CHECK_EQ(read(ends[0], heap_page(7) - 2, 4), 4);
    CHECK_EQ(memcmp(heap_page(4), "abcd", 4), 0);
    CHECK_EQ(memcmp(heap_page(7) - 2, "efgh", 4), 0);
    CHECK_EQ(seen_harvest(), 3);
    CHECK(seen[4] && seen[6] && seen[7]);
    struct timespec *now = (void *)heap_page(20);
    CHECK_EQ(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, now), 0);
    seen_exactly(20, 20);
}

TEST(process_vm_writev_is_seen) {
    heap_armed(64);
    struct iovec from = {"abcd", 4}, to = {heap_page(11), 4};
    if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) != 4) SKIP("process_vm_writev is refused");
    CHECK_EQ(memcmp(heap_page(11), "abcd", 4), 0);
    seen_exactly(11, 11);
}

TEST(writes_through_proc_mem_are_seen) {
    heap_armed(64);
    int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    if (memory < 0) SKIP("/proc/self/mem is refused");
    CHECK_EQ(pwrite(memory, "abcd", 4, (off_t)(uintptr_t)heap_page(12)), 4);
    CHECK_EQ(memcmp(heap_page(12), "abcd", 4), 0);
    seen_exactly(12, 12);
}

/* The one hole: memory that the system pinned before it was armed is written by its physical
 * address. So such buffers belong where no pointers are; should this case fail one day, they need
 * not any more. */
typedef struct ring {
    int fd;
    struct io_uring_params p;
    char *queues;
    struct io_uring_sqe *entries;
} ring;

static void ring_open(ring *r) {
    memset(r, 0, sizeof *r);
    r->fd = (int)syscall(SYS_io_uring_setup, 4, &r->p);
    if (r->fd < 0) SKIP("io_uring is refused");
    if (!(r->p.features & IORING_FEAT_SINGLE_MMAP)) SKIP("io_uring is too old");
    size_t size = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe);
    size = size > 65536 ? size : 65536;
    int access = PROT_READ | PROT_WRITE;
    r->queues = mmap(NULL, size, access, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
    r->entries = mmap(NULL, 4 * sizeof *r->entries, access, MAP_SHARED, r->fd, IORING_OFF_SQES);
    CHECK(r->queues != MAP_FAILED && r->entries != MAP_FAILED);
}

static int ring_read_fixed(ring *r, int fd, void *to, unsigned bytes) {
    r->entries[0] = (struct io_uring_sqe){
        .opcode = IORING_OP_READ_FIXED, .fd = fd, .addr = (uintptr_t)to, .len = bytes};
    *(unsigned *)(void *)(r->queues + r->p.sq_off.array) = 0;
    atomic_store((_Atomic(unsigned) *)(void *)(r->queues + r->p.sq_off.tail), 1);
    CHECK_EQ(syscall(SYS_io_uring_enter, r->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0), 1);
    struct io_uring_cqe *done = (void *)(r->queues + r->p.cq_off.cqes);
    return done->res;
}

TEST(pinned_memory_is_not_seen) {
    heap_armed(64);
    ring r;
    ring_open(&r);
    struct iovec pinned = {heap_page(15), PAGE};
    if (syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, &pinned, 1) != 0)
        SKIP("io_uring registers no buffers here");
    CHECK_EQ(ebb__os_dirty_harvest((uintptr_t)heap, (uintptr_t)heap + heap_bytes, NULL, NULL), 0);
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    CHECK_EQ(write(ends[1], "abcd", 4), 4);
    CHECK_EQ(ring_read_fixed(&r, ends[0], heap_page(15), 4), 4);
    CHECK_EQ(memcmp(heap_page(15), "abcd", 4), 0);
    CHECK_EQ(seen_harvest(), 0);
}

/* --- Pages that hold nothing ---------------------------------------------------------------------
 */

TEST(returned_pages_read_as_written) {
    heap_armed(1024);
    CHECK_EQ(ebb__os_return(heap_page(100), 3 * PAGE), 0);
    CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 0);
    CHECK_EQ(seen_harvest(), 3);
    CHECK(seen[100] && seen[101] && seen[102]);
    CHECK_EQ(*heap_page(101), 0);
    CHECK_EQ(ebb__os_return(heap_page(200), PAGE), 0);
    *heap_page(200) = 1;
    CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true) >= 1, 1);
    CHECK(seen[200]);
    *heap_page(102) = 1;
    CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true) >= 1, 1);
    CHECK(seen[102]);
}

/* Armed while they hold nothing (by a harvest that is not sparse), then written. */
TEST(unpopulated_pages_are_watched) {
    heap_reserve((size_t)1 << 30, 1024 * PAGE);
    ebb__os_huge(heap, heap_bytes, false);
    seen_harvest();
    CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 0);
    *heap_page(3) = *heap_page(700) = 1;
    seen_exactly(3, 700);
    CHECK_EQ(seen_harvest(), 0);
    *heap_page(3) = 2;
    seen_exactly(3, 3);
}

/* A read puts a page of zeros there; the write that replaces it has to be seen. */
TEST(pages_of_zeros_are_watched) {
    heap_reserve((size_t)1 << 30, 1024 * PAGE);
    ebb__os_huge(heap, heap_bytes, false);
    char zeros = 0;
    for (size_t i = 0; i < 8; i++) zeros |= *(volatile char *)heap_page(i);
    CHECK_EQ(zeros, 0);
    CHECK_EQ(ebb__os_dirty_arm((uintptr_t)heap, (uintptr_t)heap + heap_bytes), 0);
    CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 0);
    *heap_page(3) = 1;
    CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 1);
    CHECK(seen[3]);
}

static size_t page_table_kib(void) {
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file)) sscanf(line, "VmPTE: %zu kB", &kib);
    fclose(file);
    return kib;
}

TEST(arming_a_terabyte_costs_nothing) {
    heap_reserve((size_t)1 << 40, 64 * HUGE);
    size_t before = page_table_kib();
    CHECK_EQ(ebb__os_dirty_arm((uintptr_t)heap, (uintptr_t)heap + ((size_t)1 << 40)), 0);
    CHECK(page_table_kib() < before + 64);
    heap[5 * PAGE] = 1;
    CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 1);
    CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 0);
}

TEST(memory_that_grows_later_is_watched) {
    heap_reserve((size_t)1 << 30, HUGE);
    for (size_t step = 1; step < 16; step++) {
        heap[(step - 1) * HUGE + PAGE] = 1;
        CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 1);
        CHECK_EQ(ebb__os_commit(heap + step * HUGE, HUGE, OS_HEAP), 0);
        heap_bytes += HUGE;
        CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 0);
    }
    heap[3 * HUGE + PAGE] = 2;
    CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 1);
}

/* --- Huge pages
 * ----------------------------------------------------------------------------------- */

TEST(huge_pages_stay_whole_until_written) {
    heap_huge(4 * HUGE);
    CHECK_EQ(seen_harvest(), 4 * 512);
    CHECK_EQ(seen_runs, 1);
    CHECK_EQ(heap_huge_bytes(), 4 * HUGE);
    CHECK_EQ(seen_harvest(), 0);
    heap[HUGE + 5 * PAGE] = 2;
    CHECK_EQ(heap_huge_bytes(), 3 * HUGE);
    seen_exactly(512 + 5, 512 + 5);
    CHECK_EQ(seen_harvest(), 0);
    CHECK_EQ(heap_huge_bytes(), 3 * HUGE);
}

TEST(arming_a_part_splits_a_huge_page) {
    heap_huge(4 * HUGE);
    CHECK_EQ(seen_harvest_of(heap + HUGE, heap + HUGE + PAGE, false), 1);
    CHECK_EQ(heap_huge_bytes(), 3 * HUGE);
    CHECK_EQ(seen_harvest(), 4 * 512 - 1);
    CHECK_EQ(heap_huge_bytes(), 3 * HUGE);
    CHECK_EQ(seen_harvest_of(heap + 2 * HUGE, heap + 2 * HUGE + PAGE, false), 0);
    CHECK_EQ(heap_huge_bytes(), 3 * HUGE);
}

TEST(huge_pages_come_again_after_a_return) {
    heap_huge(4 * HUGE);
    seen_harvest();
    CHECK_EQ(ebb__os_return(heap + HUGE, HUGE), 0);
    CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 0);
    heap[HUGE] = 1;
    CHECK_EQ(heap_huge_bytes(), 4 * HUGE);
    CHECK_EQ(seen_harvest_of(heap, heap + heap_bytes, true), 512);
    CHECK_EQ(heap_huge_bytes(), 4 * HUGE);
}

TEST(an_empty_place_armed_gets_no_huge_page) {
    heap_huge(4 * HUGE);
    CHECK_EQ(ebb__os_return(heap, heap_bytes), 0);
    if (seen_harvest() == 0) SKIP("this kernel arms no empty places");
    heap[HUGE] = 1;
    CHECK_EQ(heap_huge_bytes(), 0);
    seen_exactly(512, 512);
}

#ifndef MADV_COLLAPSE
# define MADV_COLLAPSE 25
#endif

TEST(armed_pages_are_not_collapsed) {
    heap_huge(2 * HUGE);
    seen_harvest();
    heap[0] = 2;
    CHECK_EQ(heap_huge_bytes(), HUGE);
    CHECK(madvise(heap, HUGE, MADV_COLLAPSE) != 0);
    CHECK_EQ(heap_huge_bytes(), HUGE);
    seen_exactly(0, 0);
}

/* --- Fork
 * ------------------------------------------------------------------------------------------ */

static void child_ends_well(pid_t child) {
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

TEST(a_child_watches_anew) {
    heap_armed(64);
    *heap_page(7) = 2;
    pid_t child = fork();
    if (child == 0) {
        uintptr_t start = (uintptr_t)heap;
        *heap_page(1) = 2;
        CHECK_EQ(ebb__os_dirty_forked(), 0);
        CHECK(ebb__os_dirty_works());
        CHECK_EQ(seen_harvest(), 64);
        CHECK_EQ(seen_harvest(), 0);
        *heap_page(3) = 2;
        seen_exactly(3, 3);
        CHECK_EQ(ebb__os_dirty_arm(start, start + heap_bytes), 0);
        _exit(0);
    }
    child_ends_well(child);
    seen_exactly(7, 7);
    *heap_page(9) = 2;
    seen_exactly(9, 9);
}

TEST(a_grandchild_watches_anew) {
    heap_armed(64);
    pid_t child = fork();
    if (child == 0) {
        CHECK_EQ(ebb__os_dirty_forked(), 0);
        seen_harvest();
        pid_t grandchild = fork();
        if (grandchild == 0) {
            CHECK_EQ(ebb__os_dirty_forked(), 0);
            CHECK_EQ(seen_harvest(), 64);
            *heap_page(3) = 2;
            seen_exactly(3, 3);
            _exit(0);
        }
        child_ends_well(grandchild);
        *heap_page(4) = 2;
        seen_exactly(4, 4);
        _exit(0);
    }
    child_ends_well(child);
    CHECK_EQ(seen_harvest(), 0);
}

/* Inherited descriptors show the parent. What a child learns from them before it opened its own
 * must not be an answer about the child: here the parent's pages are not watched any more. */
TEST(a_child_that_closed_everything_watches_anew) {
    heap_armed(64);
    pid_t child = fork();
    if (child == 0) {
        for (int fd = 3; fd < 1024; fd++) close(fd);
        int theirs[64]; /* the program's own, under the numbers that were ours */
        for (int i = 0; i < 64; i++) CHECK((theirs[i] = open("/dev/null", O_RDWR)) >= 0);
        CHECK_EQ(ebb__os_dirty_harvest((uintptr_t)heap, (uintptr_t)heap + PAGE, NULL, NULL),
                 EBB_ESYSTEM);
        CHECK_EQ(ebb__os_dirty_forked(), 0);
        for (int i = 0; i < 64; i++) CHECK(fcntl(theirs[i], F_GETFD) >= 0);
        CHECK_EQ(seen_harvest(), 64);
        *heap_page(3) = 2;
        seen_exactly(3, 3);
        _exit(0);
    }
    child_ends_well(child);
    CHECK_EQ(seen_harvest(), 0);
}

TEST(pages_shared_with_a_child_are_watched) {
    heap_armed(64);
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        close(ends[1]);
        _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(ends[0]);
    *heap_page(3) = 2; /* copies the page, too */
    seen_exactly(3, 3);
    *heap_page(3) = 3;
    *heap_page(4) = 3;
    seen_exactly(3, 4);
    close(ends[1]);
    child_ends_well(child);
    CHECK_EQ(seen_harvest(), 0);
    *heap_page(4) = 4;
    seen_exactly(4, 4);
}

/* --- Descriptors
 * ------------------------------------------------------------------------------------ */

TEST(descriptors_are_out_of_the_way) {
    for (int fd = 0; fd < 3; fd++) close(fd);
    heap_armed(64);
    CHECK(dirty_now.faults.fd > 40 && dirty_now.pagemap.fd > 40);
    CHECK_EQ(fcntl(dirty_now.faults.fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(fcntl(dirty_now.pagemap.fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(open("/dev/null", O_RDWR | O_CLOEXEC), 0);
}

TEST(few_descriptors_are_enough) {
    struct rlimit few = {16, 16};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    heap_armed(64);
    CHECK(dirty_now.faults.fd > 2 && dirty_now.pagemap.fd > 2);
    *heap_page(3) = 2;
    seen_exactly(3, 3);
}

static void closed_descriptor(int fd) {
    uintptr_t start = (uintptr_t)heap, end = start + heap_bytes;
    close(fd);
    CHECK_EQ(ebb__os_dirty_harvest(start, end, NULL, NULL), EBB_ESYSTEM);
    CHECK_EQ(ebb__os_dirty_harvest_sparse(start, end, NULL, NULL), EBB_ESYSTEM);
    CHECK_EQ(ebb__os_dirty_arm(start, end), EBB_ESYSTEM);
    CHECK_EQ(ebb__os_dirty_count(start, end, 77), 77);
    CHECK_EQ(ebb__os_dirty_forked(), 0);
    CHECK_EQ(seen_harvest(), 64);
    *heap_page(3) = 2;
    seen_exactly(3, 3);
}

TEST(closed_descriptors_are_noticed) {
    heap_armed(64);
    closed_descriptor(dirty_now.pagemap.fd);
    closed_descriptor(dirty_now.faults.fd);
}

/* --- Failing system calls
 * ---------------------------------------------------------------------------- */

static int descriptors_open(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Lets the k-th call from now fail. */
static void calls_fail(long k, int error) {
    atomic_store(&calls_made, 0);
    atomic_store(&calls_fail_at, k);
    calls_errno = error;
}

TEST(every_call_of_a_start_may_fail) {
    static const int errors[] = {EPERM, ENOSYS, EINVAL, EMFILE, ENOMEM, EINTR};
    size_t size = 64 * PAGE;
    const char *why = NULL;
    char *range = ebb__os_reserve(size, HUGE);
    int before = descriptors_open();
    bool done = false;
    for (long k = 1; !done; k++) {
        int failed = 0;
        for (size_t e = 0; e < sizeof errors / sizeof *errors; e++) {
            calls_fail(k, errors[e]);
            int code = ebb__os_dirty_start((uintptr_t)range, (uintptr_t)range + size, &why);
            if (k == 1 && errors[e] == EPERM)
                CHECK_STR(why, "userfaultfd: Operation not permitted");
            CHECK_EQ(code, why ? EBB_ESYSTEM : 0);
            CHECK_EQ(ebb__os_dirty_works(), code == 0);
            failed += code != 0;
            done = atomic_load(&calls_made) < k;
            if (code == 0) dirty_stop();
            CHECK_EQ(descriptors_open(), before);
        }
        /* All but these two: the number may be a low one, and opening a file is tried again. */
        if (!done) CHECK(failed >= 5 || failed == 0);
        CHECK(k < 100);
    }
    calls_fail(0, 0);
    CHECK_EQ(ebb__os_dirty_start((uintptr_t)range, (uintptr_t)range + size, &why), 0);
}

TEST(every_call_of_a_scan_may_fail) {
    heap_reserve((size_t)1 << 30, 100 * HUGE);
    uintptr_t start = (uintptr_t)heap, end = start + heap_bytes;
    static const int errors[] = {ENOMEM, EINTR, EPERM, EFAULT};
    for (size_t i = 0; i < 12; i++) {
        int error = errors[i % 4];
        calls_fail(1 + (long)i / 4, error);
        CHECK_EQ(ebb__os_dirty_arm(start, end), EBB_ESYSTEM);
        calls_fail(1 + (long)i / 4, error);
        CHECK_EQ(ebb__os_dirty_harvest(start, end, NULL, NULL), EBB_ESYSTEM);
        calls_fail(1 + (long)i / 4, error);
        CHECK_EQ(ebb__os_dirty_harvest_sparse(start, end, NULL, NULL), EBB_ESYSTEM);
        calls_fail(1 + (long)i / 4, error);
        CHECK_EQ(ebb__os_dirty_count(start, end, 1000000), 1000000);
    }
}

TEST(every_call_after_a_fork_may_fail) {
    heap_armed(64);
    int before = descriptors_open();
    bool done = false;
    for (long k = 1; !done; k++) {
        calls_fail(k, ENOMEM);
        int code = ebb__os_dirty_forked();
        done = atomic_load(&calls_made) < k;
        CHECK_EQ(code == 0, ebb__os_dirty_works());
        CHECK_EQ(descriptors_open(), code == 0 ? before : before - 2);
        if (code != 0)
            CHECK_EQ(ebb__os_dirty_harvest((uintptr_t)heap, (uintptr_t)heap + PAGE, NULL, NULL),
                     EBB_ESYSTEM);
        CHECK(k < 100);
    }
    calls_fail(0, 0);
    CHECK_EQ(seen_harvest(), 64);
}

/* --- Nothing is lost
 * -------------------------------------------------------------------------------- One thread
 * counts up in pages of its choice; two copy, each from its half, every page that a harvest
 * reports. Whenever the first one rests and a harvest is over, the copies are what the pages hold.
 */

enum { LOST_PAGES = 2048, LOST_HALVES = 2 };

typedef struct lost_world {
    uint64_t copy[LOST_PAGES];        /* each half by its harvester */
    pthread_barrier_t barrier;        /* before and after each check */
    _Atomic(bool) rests, ends;        /* by main */
    _Atomic(size_t) writes, harvests; /* relaxed: figures */
    bool returns;                     /* the writer also gives pages back */
} lost_world;

static lost_world lost;

static _Atomic(uint64_t) *lost_word(size_t page) {
    return (void *)(heap_page(page) + page % 500 * 8);
}

static void lost_copy(uintptr_t from, uintptr_t to, void *arg) {
    (void)arg;
    for (; from < to; from += PAGE) {
        size_t page = (from - (uintptr_t)heap) / PAGE;
        lost.copy[page] = atomic_load_explicit(lost_word(page), memory_order_relaxed);
    }
}

static void lost_harvest(size_t half, bool sparse) {
    uintptr_t start = (uintptr_t)heap_page(half * LOST_PAGES / 2),
              end = start + LOST_PAGES / 2 * PAGE;
    CHECK_EQ((sparse ? ebb__os_dirty_harvest_sparse : ebb__os_dirty_harvest)(start, end, lost_copy,
                                                                             NULL),
             0);
    atomic_fetch_add(&lost.harvests, 1);
}

static void *lost_harvester(void *arg) {
    size_t half = (size_t)(uintptr_t)arg;
    uint64_t random = test_seed() + 1 + half;
    while (!atomic_load(&lost.ends)) {
        while (!atomic_load(&lost.rests))
            lost_harvest(half, !lost.returns && test_random_below(&random, 2));
        pthread_barrier_wait(&lost.barrier);
        lost_harvest(half, false);
        pthread_barrier_wait(&lost.barrier);
        pthread_barrier_wait(&lost.barrier);
    }
    return NULL;
}

static void *lost_writer(void *arg) {
    (void)arg;
    uint64_t random = test_seed();
    while (!atomic_load(&lost.ends)) {
        while (!atomic_load(&lost.rests)) {
            size_t near = test_random_below(&random, LOST_PAGES);
            for (size_t i = 0; i < 8; i++) {
                size_t page = (near + test_random_below(&random, 20)) % LOST_PAGES;
                atomic_fetch_add_explicit(lost_word(page), 1, memory_order_relaxed);
            }
            if (lost.returns && near % 16 == 0) ebb__os_return(heap_page(near), PAGE);
            atomic_fetch_add_explicit(&lost.writes, 8, memory_order_relaxed);
        }
        pthread_barrier_wait(&lost.barrier);
        pthread_barrier_wait(&lost.barrier);
        pthread_barrier_wait(&lost.barrier);
    }
    return NULL;
}

static void lost_check(int round) {
    for (size_t page = 0; page < LOST_PAGES; page++) {
        if (lost.copy[page] == atomic_load(lost_word(page))) continue;
        test_fail(__FILE__, __LINE__, "round %d: a write to page %zu was lost (%llu, not %llu)",
                  round, page, (unsigned long long)lost.copy[page],
                  (unsigned long long)atomic_load(lost_word(page)));
    }
}

static void lost_run(bool huge, bool returns) {
    heap_reserve((size_t)1 << 30, LOST_PAGES * PAGE);
    ebb__os_huge(heap, heap_bytes, huge);
    for (size_t i = 0; i < LOST_PAGES; i++) heap[i * PAGE] = 0;
    lost.returns = returns;
    pthread_t threads[LOST_HALVES + 1];
    CHECK_EQ(pthread_barrier_init(&lost.barrier, NULL, LOST_HALVES + 2), 0);
    CHECK_EQ(pthread_create(&threads[LOST_HALVES], NULL, lost_writer, NULL), 0);
    for (uintptr_t half = 0; half < LOST_HALVES; half++)
        CHECK_EQ(pthread_create(&threads[half], NULL, lost_harvester, (void *)half), 0);
    int rounds = (int)(40 * test_scale());
    for (int round = 1; round <= rounds; round++) {
        usleep(5000);
        atomic_store(&lost.rests, true);
        pthread_barrier_wait(&lost.barrier); /* the writer rests */
        pthread_barrier_wait(&lost.barrier); /* the last harvest is over */
        lost_check(round);
        if (huge && round % 4 == 0) { /* huge pages again, counts from zero */
            CHECK_EQ(ebb__os_return(heap, heap_bytes), 0);
            memset(lost.copy, 0, sizeof lost.copy);
        }
        atomic_store(&lost.ends, round == rounds);
        atomic_store(&lost.rests, false);
        if (round == rounds) atomic_store(&lost.rests, true);
        pthread_barrier_wait(&lost.barrier);
    }
    for (int i = 0; i <= LOST_HALVES; i++) pthread_join(threads[i], NULL);
    CHECK(atomic_load(&lost.writes) > 0 && atomic_load(&lost.harvests) > 0);
}

TEST(nothing_is_lost_in_small_pages) {
    lost_run(false, false);
}

TEST(nothing_is_lost_in_huge_pages) {
    lost_run(true, false);
}

TEST(nothing_is_lost_in_returned_pages) {
    lost_run(false, true);
}
