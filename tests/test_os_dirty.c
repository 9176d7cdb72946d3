/* test_os_dirty.c - dirty pages: what the kernel promises, a case each, so that a kernel that
 * behaves otherwise is found here and not in a collector that lost an object. Forks, failures and
 * threads are in test_os_dirty_life.c. See docs/design.md, "Dirty pages". */
#include "internal_dirty_heap.h"

#include <linux/io_uring.h>
#include <sys/uio.h>
#include <time.h>

/* --- Writes ---------------------------------------------------------------------------------- */

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

TEST(looking_arms_nothing) {
    heap_armed(2048);
    CHECK_EQ(seen_count(SIZE_MAX), 0);
    for (size_t i = 0; i < 2048; i += 2) heap[i * PAGE] = 2;
    CHECK_EQ(seen_count(SIZE_MAX), 1024);
    CHECK_EQ(seen_count(1024), 1024);
    CHECK_EQ(seen_count(300), 300);
    CHECK_EQ(seen_count(1), 1);
    CHECK_EQ(seen_count(0), 0);
    uintptr_t start = (uintptr_t)heap;
    for (int i = 0; i < 2; i++) {
        seen_forget(heap);
        CHECK_EQ(ebb__os_dirty_peek(start, start + heap_bytes, seen_note, &seen), 0);
        CHECK_EQ(seen_pages, 1024);
        CHECK_EQ(seen_runs, 1024);
    }
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

TEST(disarmed_pages_count_as_written) {
    heap_armed(64);
    CHECK_EQ(ebb__os_dirty_disarm((uintptr_t)heap_page(8), (uintptr_t)heap_page(24)), 0);
    CHECK_EQ(seen_count(64), 16);
    *heap_page(30) = 1;
    CHECK_EQ(seen_harvest(), 17);
    CHECK(seen[8] && seen[23] && seen[30]);
    CHECK_EQ(seen_harvest(), 0);
    *heap_page(9) = 1;
    seen_exactly(9, 9);
}

TEST(huge_pages_are_disarmed_across_strides) {
    heap_huge(4 * HUGE);
    uintptr_t start = (uintptr_t)heap, end = start + heap_bytes;
    CHECK_EQ(ebb__os_dirty_arm(start, end), 0);
    CHECK_EQ(ebb__os_dirty_disarm(start, start + ((size_t)1 << 29)), 0);
    CHECK_EQ(seen_harvest(), heap_bytes / PAGE);
    CHECK_EQ(seen_harvest(), 0);
    calls_fail(1, EAGAIN);
    CHECK_EQ(ebb__os_dirty_disarm(start, end), EBB_ESYSTEM);
    calls_fail(0, 0);
}

/* --- Writes by the system -------------------------------------------------------------------- */

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

/* --- Pages that hold nothing ----------------------------------------------------------------- */

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

/* --- Huge pages ------------------------------------------------------------------------------ */

TEST(huge_pages_stay_whole_until_written) {
    heap_huge(4 * HUGE);
    CHECK_EQ(seen_harvest(), 4 * 512);
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
