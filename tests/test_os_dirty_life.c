/* test_os_dirty_life.c - dirty pages when something happens to the process: forks, descriptors
 * closed by the program, system calls that fail, threads that write and harvest at once. What the
 * kernel promises is in test_os_dirty.c. See docs/design.md, "Dirty pages". */
#include "internal_dirty_heap.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* --- Fork ------------------------------------------------------------------------------------ */

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

/* --- Descriptors ----------------------------------------------------------------------------- */

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

/* --- Failing system calls -------------------------------------------------------------------- */

static int descriptors_open(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

TEST(every_call_of_a_start_may_fail) {
    static const int errors[] = {EPERM, ENOSYS, EINVAL, EMFILE, ENOMEM, EINTR};
    size_t size = 64 * PAGE;
    const char *why = NULL;
    char *range = ebb__os_reserve(size, HUGE);
    if (ebb__os_dirty_start((uintptr_t)range, (uintptr_t)range + size, &why) != 0) SKIP(why);
    dirty_stop();
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
        CHECK_EQ(ebb__os_dirty_peek(start, end, NULL, NULL), EBB_ESYSTEM);
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

/* --- Nothing is lost --------------------------------------------------------------------------
 * One thread counts up in pages of its choice; two copy, each from its half, every page that a
 * harvest reports. Whenever the first one rests and a harvest is over, the copies are what the
 * pages hold. */

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
