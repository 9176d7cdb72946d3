/* test_gc_limit.c - how much memory there may be and where it goes: the limit and its handler,
 * the percentage, giving pages back at once and when idle. See docs/design.md, "The collector". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "modes.h"
#include "probe.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

static void *held[200000];
static size_t held_count;

/* All of Ebb's memory but what was given back counts. */
static void limit_check(size_t limit) {
    struct ebb_stats s;
    ebb_stats(&s);
    if (s.mapped - s.heap_returned <= limit) return;
    test_fail(__FILE__, __LINE__, "limit %zu: used %zu, free %zu, metadata %zu, off-heap %zu",
              limit, (size_t)s.heap_used, (size_t)s.heap_free, (size_t)s.metadata,
              (size_t)s.offheap);
}

/* Holds objects of `size` bytes, all written, until there are no more or count are held. */
static NOINLINE size_t limit_fill(size_t size, size_t count) {
    size_t got = 0;
    for (; got < count; got++) {
        unsigned char *p = got % 2 ? ebb_alloc_data(size) : ebb_alloc(size);
        if (!p) break;
        memset(p, 1, size);
        CHECK(held_count < sizeof held / sizeof held[0]);
        held[held_count++] = p;
    }
    return got;
}

static NOINLINE void limit_drop(void) {
    memset(held, 0, sizeof held);
    held_count = 0;
}

/* --- The limit ------------------------------------------------------------------------------ */

static void limit_try(size_t size, size_t limit) {
    CHECK_EQ(ebb_set_memory_limit(limit), SIZE_MAX);
    for (int round = 0; round < 3; round++) {
        size_t got = limit_fill(size, 100000);
        CHECK(got < 2 * limit / size + 1);
        CHECK(got > limit / size / 4);
        limit_check(limit);
        CHECK(limit_fill(size, got) < got / 4 + 4); /* a span's rest, a stale object's place */
        limit_drop();
        test_clear_stack();
        CHECK(ebb_alloc(size) != NULL);
    }
    CHECK_EQ(ebb_set_memory_limit(SIZE_MAX), limit);
    CHECK(limit_fill(size, 3 * limit / size) == 3 * limit / size);
}

TEST(limit_small_objects) {
    limit_try(1000, 32 * MIB);
}

TEST(limit_middling_objects) {
    limit_try(40000, 64 * MIB);
}

TEST(limit_large_objects) {
    limit_try(3 * MIB, 128 * MIB);
}

TEST(limit_one_too_large) {
    ebb_set_memory_limit(64 * MIB);
    CHECK(ebb_alloc_data(100 * MIB) == NULL);
    CHECK(ebb_alloc_data(65 * MIB) == NULL);
    CHECK(ebb_alloc_data(30 * MIB) != NULL);
}

/* What is garbage when the limit is reached is no reason to fail. */
TEST(limit_collects_first) {
    uint64_t cycles = ebb_cycles();
    ebb_set_gc_percent(-1);
    ebb_set_memory_limit(48 * MIB);
    for (size_t i = 0; i < 20000; i++) {
        char *p = i % 2 ? ebb_alloc_data(50000) : ebb_alloc(50000);
        CHECK(p != NULL);
        p[49999] = 1;
        if (i % 500 == 0) limit_check(48 * MIB);
    }
    CHECK(ebb_cycles() > cycles);
}

TEST(limit_below_what_is_held) {
    limit_fill(100000, 500);
    ebb_set_memory_limit(8 * MIB);
    CHECK(ebb_alloc(100000) == NULL);
    limit_drop();
    test_clear_stack();
    CHECK(ebb_alloc(100000) != NULL);
    limit_check(8 * MIB);
}

static void *limit_body(void *arg) {
    size_t refused = 0;
    (void)arg;
    void *mine[200] = {0};
    for (size_t i = 0; i < 1500; i++) {
        char *p = ebb_alloc(1 + i * 7919 % 100000);
        if (p) p[0] = 1;
        refused += !p;
        mine[i % 200] = p;
        if (i % 300 == 0) memset(mine, 0, sizeof mine);
    }
    __asm__ volatile("" : : "r"(mine) : "memory");
    return (void *)(uintptr_t)refused;
}

TEST(limit_holds_with_threads) {
    pthread_t threads[4];
    ebb_set_memory_limit(24 * MIB);
    for (size_t i = 0; i < 4; i++) CHECK_EQ(pthread_create(&threads[i], NULL, limit_body, NULL), 0);
    for (int i = 0; i < 200; i++) {
        limit_check(24 * MIB);
        usleep(1000);
    }
    for (size_t i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    limit_check(24 * MIB);
}

/* --- The handler ---------------------------------------------------------------------------- */

static size_t handler_calls, handler_size;
static int handler_arg;

static bool handler_refuses(size_t size, void *arg) {
    CHECK(arg == &handler_arg);
    handler_calls++;
    handler_size = size;
    return false;
}

static bool handler_drops(size_t size, void *arg) {
    CHECK(arg == &handler_arg);
    (void)size;
    handler_calls++;
    CHECK(ebb_size_of(held[0]) > 0); /* may use Ebb */
    limit_drop();
    return true;
}

TEST(the_handler_is_asked) {
    ebb_set_memory_limit(32 * MIB);
    ebb_set_limit_handler(handler_refuses, &handler_arg);
    limit_fill(100000, 10000);
    CHECK(handler_calls == 1);
    CHECK(handler_size >= 100000);
    CHECK(ebb_alloc_data(MIB) == NULL);
    CHECK(handler_calls == 2);
    ebb_set_limit_handler(NULL, NULL);
    CHECK(ebb_alloc_data(MIB) == NULL);
    CHECK(handler_calls == 2);
}

TEST(the_handler_may_let_go) {
    ebb_set_memory_limit(32 * MIB);
    ebb_set_limit_handler(handler_drops, &handler_arg);
    for (int round = 0; round < 10; round++) {
        size_t before = handler_calls;
        while (handler_calls == before) CHECK_EQ(limit_fill(50000, 1), 1);
    }
    CHECK_EQ(handler_calls, 10);
    limit_check(32 * MIB);
}

/* One that always promises and never delivers does not make the call hang. */
static bool handler_lies(size_t size, void *arg) {
    (void)size, (void)arg;
    return ++handler_calls < 20;
}

TEST(the_handler_may_lie) {
    ebb_set_memory_limit(16 * MIB);
    ebb_set_limit_handler(handler_lies, NULL);
    CHECK(ebb_alloc_data(100 * MIB) == NULL);
    CHECK(handler_calls > 0);
}

/* --- The limit from the environment --------------------------------------------------------- */

TEST(limit_of_environment) {
    const char *text = getenv("EBB_GC");
    if (!text || !strstr(text, "limit=")) SKIP("runs inside limit_from_environment");
    size_t limit = ebb_set_memory_limit(SIZE_MAX);
    CHECK_EQ(limit, 40 * MIB);
    CHECK_EQ(ebb_set_memory_limit(limit), SIZE_MAX);
    CHECK(limit_fill(100000, 1000) < 500);
    limit_check(40 * MIB);
}

TEST(limit_from_environment) {
    MODES_PASS("limit_of_environment", NULL, "limit=40MiB");
    MODES_PASS("limit_of_environment", NULL, "percent=50,limit=40960KiB");
    MODES_PASS("limit_of_environment", NULL, "limit=41943040");
}

/* --- The percentage ------------------------------------------------------------------------- */

static NOINLINE void percent_litter(size_t bytes) {
    for (size_t done = 0; done < bytes; done += 1000) memset(ebb_alloc_data(1000), 1, 1000);
}

TEST(percent_is_told) {
    CHECK_EQ(ebb_set_gc_percent(50), 100);
    CHECK_EQ(ebb_set_gc_percent(-7), 50);
    CHECK_EQ(ebb_set_gc_percent(100), -1);
}

TEST(percent_off_never_collects) {
    ebb_set_gc_percent(-1);
    percent_litter(200 * MIB);
    CHECK_EQ(ebb_cycles(), 0);
    ebb_set_gc_percent(100);
    percent_litter(200 * MIB);
    CHECK(ebb_cycles() > 0);
}

TEST(percent_bounds_the_heap) {
    static const int percents[] = {20, 100, 300};
    limit_fill(10000, 4000);
    for (size_t i = 0; i < 3; i++) {
        ebb_set_gc_percent(percents[i]);
        CHECK_EQ(ebb_collect(), 0);
        size_t worst = 0;
        for (int k = 0; k < 100; k++) {
            struct ebb_stats stats;
            percent_litter(4 * MIB);
            ebb_stats(&stats);
            if (stats.heap_used > worst) worst = stats.heap_used;
        }
        CHECK(worst < 48 * MIB * (size_t)(100 + percents[i]) / 100 + 16 * MIB);
    }
}

/* --- Giving back ---------------------------------------------------------------------------- */

static NOINLINE size_t resident_free(void) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    return stats.heap_free;
}

TEST(release_gives_back_at_once) {
    struct ebb_stats before, full, after;
    probe_collect();
    ebb_stats(&before);
    limit_fill(100000, 2000);
    limit_fill(100, 50000);
    ebb_stats(&full);
    CHECK(full.rss > before.rss + 190 * MIB);
    limit_drop();
    test_clear_stack();
    CHECK(ebb_release() > 150 * MIB);
    ebb_stats(&after);
    CHECK(after.heap_used < before.heap_used + 2 * MIB);
    CHECK(after.heap_free < MIB);
    CHECK(after.rss < before.rss + 8 * MIB);
    CHECK(after.returned_total >= before.returned_total + 150 * MIB);
    CHECK(limit_fill(100000, 2000) == 2000);
}

/* Nobody asks, nobody calls: after a peak the pages go back by themselves within ten seconds. */
TEST(an_idle_program_gives_back) {
    struct ebb_stats before, after;
    ebb_stats(&before);
    limit_fill(100000, 2000);
    limit_fill(200, 50000);
    limit_drop();
    test_clear_stack();
    for (int i = 0; i < 100; i++) {
        usleep(100000);
        if (i % 10 != 9) continue;
        ebb_stats(&after);
        if (after.heap_used + after.heap_free < 10 * MIB) break;
    }
    ebb_stats(&after);
    CHECK(after.heap_used + after.heap_free < 10 * MIB);
    CHECK(after.rss < before.rss + 16 * MIB);
}

/* So does one that is idle in all threads but one that sleeps in a system call. */
static void *idle_body(void *arg) {
    (void)arg;
    ebb_blocking_begin();
    usleep(9500000);
    ebb_blocking_end();
    return NULL;
}

TEST(an_idle_program_with_sleepers_gives_back) {
    pthread_t threads[2];
    CHECK_EQ(pthread_create(&threads[0], NULL, idle_body, NULL), 0);
    CHECK_EQ(pthread_create(&threads[1], NULL, idle_body, NULL), 0);
    limit_fill(1000, 90000);
    limit_drop();
    test_clear_stack();
    for (size_t i = 0; i < 2; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK(resident_free() < 10 * MIB);
}

/* Nor does one that works on keep it for long: small pages that come and go beside what a peak left
 * do not make that young again. */
static void *busy_table[4000];

static NOINLINE void busy_work(uint64_t *random) {
    for (int i = 0; i < 20000; i++)
        busy_table[test_random_below(random, 4000)] =
            ebb_alloc(16 + (size_t)test_random_below(random, 200));
}

TEST(a_busy_program_gives_back) {
    struct ebb_stats stats;
    uint64_t random = test_seed();
    limit_fill(500, 90000);
    ebb_stats_brief(&stats);
    CHECK(stats.heap_used + stats.heap_free > 36 * MIB);
    limit_drop();
    test_clear_stack();
    for (int i = 0; i < 1000; i++) {
        busy_work(&random);
        usleep(10000);
        ebb_stats_brief(&stats);
        if (stats.heap_used + stats.heap_free < 24 * MIB && i > 100) break;
    }
    CHECK(stats.heap_used + stats.heap_free < 24 * MIB);
}

/* A program at work on a steady heap does not return and fault in all the time. */
TEST(a_steady_heap_keeps_its_pages) {
    struct ebb_stats before, after;
    limit_fill(10000, 2000);
    percent_litter(200 * MIB);
    ebb_stats(&before);
    percent_litter(400 * MIB);
    ebb_stats(&after);
    CHECK(after.returned_total - before.returned_total < 100 * MIB);
}

/* Peaks that come back again and again do not add up. */
TEST(peaks_do_not_add_up) {
    struct ebb_stats first, last;
    for (int i = 0; i < 10; i++) {
        limit_fill(1 + (size_t)i * 977, 20000);
        limit_drop();
        test_clear_stack();
        ebb_release();
        if (i == 0) ebb_stats(&first);
    }
    ebb_stats(&last);
    CHECK(last.heap_used < first.heap_used + 4 * MIB);
    CHECK(last.metadata < first.metadata + 16 * MIB);
    CHECK(last.rss < first.rss + 16 * MIB);
}
