/* test_gc_stats.c - ebb_stats adds up: its equations at every moment, the counters against what the
 * test itself did, the classes against what the system says is mapped. See docs/design.md,
 * "Statistics". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load.h"
#include "modes.h"
#include "probe.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

static void *held[LOAD_HELD];

/* --- Equations ------------------------------------------------------------------------------ */

static void stats_check(struct ebb_stats *s) {
    ebb_stats(s);
    CHECK_EQ(s->mapped, s->heap_used + s->heap_free + s->heap_returned + s->metadata + s->offheap);
    CHECK_EQ(s->heap_used, s->live + s->dead + s->slots_free + s->tail_waste);
    CHECK(s->slice_tails + s->map_empty <= s->live);
    CHECK(s->alloc_objects - s->freed_objects >= s->live_objects);
    CHECK(s->cycles >= s->cycles_forced);
    CHECK(s->pause_total_ns >= s->pause_max_ns && s->pause_max_ns >= s->pause_last_ns);
    CHECK(s->stack_bytes <= s->roots_bytes);
    CHECK(s->rss > 0);
}

static void stats_check_order(const struct ebb_stats *before, const struct ebb_stats *after) {
    CHECK(after->alloc_bytes >= before->alloc_bytes);
    CHECK(after->alloc_objects >= before->alloc_objects);
    CHECK(after->freed_bytes >= before->freed_bytes);
    CHECK(after->freed_objects >= before->freed_objects);
    CHECK(after->returned_total >= before->returned_total);
    CHECK(after->cycles >= before->cycles);
    CHECK(after->pause_total_ns >= before->pause_total_ns);
    CHECK(after->cpu_ns >= before->cpu_ns);
}

TEST(before_the_first_allocation) {
    struct ebb_stats stats;
    memset(&stats, 0xff, sizeof stats);
    stats_check(&stats);
    CHECK_EQ(stats.live_objects, 0);
    CHECK_EQ(stats.cycles, 0);
    CHECK_EQ(stats.last_cycle_ns, 0);
    CHECK_EQ(stats.limit, UINT64_MAX);
    CHECK_EQ(ebb_cycles(), 0);
}

TEST(the_equations_hold_at_every_step) {
    uint64_t state = test_seed();
    struct ebb_stats before, after;
    stats_check(&before);
    for (size_t i = 0; i < 20000 * test_scale(); i++) {
        load_step(held, &state);
        if (test_random_below(&state, 20) == 0) {
            stats_check(&after);
            stats_check_order(&before, &after);
            before = after;
        }
        if (test_random_below(&state, 2000) == 0) CHECK_EQ(ebb_collect(), 0);
        if (test_random_below(&state, 5000) == 0) ebb_release();
    }
    modes_steps(20000 * test_scale());
}

TEST(the_equations_hold_under_load) {
    struct load load = {0};
    struct ebb_stats before, after;
    stats_check(&before);
    load_start(&load);
    for (size_t i = 0; i < 1000 * test_scale(); i++) {
        stats_check(&after);
        stats_check_order(&before, &after);
        before = after;
        if (i % 100 == 0) CHECK_EQ(ebb_collect(), 0);
        if (i % 300 == 0) ebb_release();
    }
    modes_steps(after.alloc_objects);
    load_stop(&load);
    stats_check(&after);
}

TEST(the_equations_hold_with_stress) {
    MODES_PASS("the_equations_hold_at_every_step", "stress=101", NULL);
    MODES_PASS("the_equations_hold_under_load", "stress=1013,verify=1", NULL);
}

/* --- Counters ------------------------------------------------------------------------------- */

TEST(allocations_are_counted_exactly) {
    struct ebb_stats before, after;
    ebb_set_gc_percent(-1);
    held[0] = ebb_alloc(48);
    stats_check(&before);
    for (size_t i = 1; i <= 10000; i++) held[i] = ebb_alloc(48);
    stats_check(&after);
    CHECK_EQ(after.alloc_objects - before.alloc_objects, 10000);
    CHECK_EQ(after.live_objects - before.live_objects, 10000);
    uint64_t bytes = after.alloc_bytes - before.alloc_bytes; /* in size classes */
    CHECK_EQ(after.live - before.live, bytes);
    CHECK(bytes % 10000 == 0 && bytes >= 10000 * ebb_size_of(held[1]) && bytes <= 10000 * 64);
    CHECK_EQ(after.freed_objects, before.freed_objects);
}

TEST(releases_are_counted_exactly) {
    struct ebb_stats before, after;
    ebb_set_gc_percent(-1);
    size_t bytes = 0;
    for (size_t i = 0; i < 10000; i++) held[i] = ebb_alloc_data(1 + i % 3000);
    stats_check(&before);
    for (size_t i = 0; i < 10000; i += 2) {
        bytes += ebb_size_of(held[i]);
        CHECK_EQ(ebb_free(held[i]), 0);
        held[i] = NULL;
    }
    stats_check(&after);
    CHECK_EQ(after.freed_objects - before.freed_objects, 5000);
    CHECK_EQ(before.live_objects - after.live_objects, 5000);
    CHECK_EQ(before.live - after.live, after.freed_bytes - before.freed_bytes);
    CHECK(after.freed_bytes - before.freed_bytes >= bytes);
    CHECK(after.freed_bytes - before.freed_bytes <= bytes + 5000 * 16);
}

TEST(all_that_was_allocated_is_live_or_freed) {
    struct ebb_stats stats;
    uint64_t state = test_seed();
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < 30000; i++) load_step(held, &state);
        probe_collect();
        stats_check(&stats);
        CHECK_EQ(stats.alloc_objects - stats.freed_objects, stats.live_objects);
        CHECK_EQ(stats.alloc_bytes - stats.freed_bytes, stats.live);
        CHECK_EQ(stats.dead, 0);
        CHECK(stats.marked_live <=
              stats.live + 65536); /* a stale word may mark what is yet to be handed out */
    }
}

static NOINLINE void stats_fill(size_t count) {
    for (size_t i = 0; i < count; i++) held[i] = ebb_alloc(100);
}

TEST(live_is_what_is_held) {
    struct ebb_stats none, all, half;
    probe_collect();
    stats_check(&none);
    stats_fill(20000);
    probe_collect();
    stats_check(&all);
    CHECK(all.live - none.live >= 20000 * 100 && all.live - none.live < 20000 * 130);
    CHECK(all.marked_live >= 20000 * 100);
    for (size_t i = 0; i < 20000; i += 2) held[i] = NULL;
    probe_collect();
    stats_check(&half);
    CHECK_EQ((all.live_objects - half.live_objects + PROBE_STALE) / 10000, 1);
    CHECK(half.slots_free > 900000);
}

TEST(cycles_are_counted) {
    struct ebb_stats before, after;
    struct timespec now;
    stats_check(&before);
    for (int i = 0; i < 7; i++) CHECK_EQ(ebb_collect(), 0);
    stats_check(&after);
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    CHECK_EQ(after.cycles - before.cycles, 7);
    CHECK_EQ(after.cycles_forced - before.cycles_forced, 7);
    CHECK_EQ(ebb_cycles(), after.cycles);
    CHECK(after.pause_total_ns > before.pause_total_ns);
    CHECK(after.cpu_ns > before.cpu_ns);
    CHECK(after.last_cycle_ns <= now_ns && now_ns - after.last_cycle_ns < 60000000000u);
    CHECK(after.roots_bytes > 0 && after.stack_bytes > 0);
    CHECK(after.goal > 0);
}

static void stats_ignore(void *object, void *arg) {
    (void)object, (void)arg;
}

TEST(finalizers_are_counted) {
    struct ebb_stats stats;
    for (size_t i = 0; i < 100; i++) {
        held[i] = ebb_alloc(16);
        CHECK_EQ(ebb_finalizer_set(held[i], stats_ignore, NULL), 0);
    }
    stats_check(&stats);
    CHECK_EQ(stats.finalizers, 100);
    CHECK_EQ(stats.finalizers_due, 0);
    for (size_t i = 0; i < 50; i++) CHECK_EQ(ebb_finalizer_set(held[i], NULL, NULL), 0);
    stats_check(&stats);
    CHECK_EQ(stats.finalizers, 50);
}

/* --- Against the system --------------------------------------------------------------------- */

/* One line of /proc/self/maps that is readable, writable, private and has no file. */
static bool maps_line(const char *line, size_t *bytes, char name[64]) {
    unsigned long start, end, inode;
    char rights[8];
    name[0] = 0;
    int got = sscanf(line, "%lx-%lx %7s %*s %*s %lu %63[^\n]", &start, &end, rights, &inode, name);
    *bytes = end - start;
    return got >= 4 && strcmp(rights, "rw-p") == 0 && inode == 0;
}

/* Anonymous memory of the process: all of it, and what carries Ebb's name. Stacks of threads are
 * part of the first; the heap of malloc and the main stack are not. */
static NOINLINE void maps_sum(size_t *all, size_t *named) {
    static char line[512], name[64];
    FILE *maps = fopen("/proc/self/maps", "r");
    size_t bytes;
    *all = *named = 0;
    while (fgets(line, sizeof line, maps)) {
        if (!maps_line(line, &bytes, name)) continue;
        if (strncmp(name, "[anon:ebb", 9) == 0) *named += bytes;
        if (name[0] == 0 || strncmp(name, "[anon:", 6) == 0) *all += bytes;
    }
    fclose(maps);
}

/* The bytes of a thread's stack as glibc maps it, without its guard page. */
static size_t maps_thread_bytes(void) {
    pthread_attr_t attr;
    size_t bytes;
    pthread_attr_init(&attr);
    pthread_attr_getstacksize(&attr, &bytes);
    return bytes;
}

/* A number of /proc/self/status, such as "Threads: %zu". */
static size_t status_number(const char *format) {
    size_t number = 0;
    char line[128];
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status))
        if (sscanf(line, format, &number) == 1) break;
    fclose(status);
    return number;
}

static size_t maps_before;

static void maps_check(const char *when) {
    struct ebb_stats stats, again;
    size_t all, named, stacks;
    do { /* a thread of the library's own may be at work */
        stats_check(&stats);
        stacks = (status_number("Threads: %zu") - 1) * maps_thread_bytes();
        maps_sum(&all, &named);
        stats_check(&again);
    } while (again.mapped != stats.mapped);
    if (named) {
        if (stats.mapped != named) fprintf(stderr, "%s, by name\n", when);
        CHECK_EQ(stats.mapped, named);
        return;
    }
    size_t grown = all - maps_before;
    /* Threads of the library's own may have stacks of any size up to the usual one. */
    if (grown < stats.mapped || grown > stats.mapped + stacks) fprintf(stderr, "%s\n", when);
    CHECK(grown >= stats.mapped);
    CHECK(grown <= stats.mapped + stacks);
}

TEST(mapped_is_what_the_system_says) {
    uint64_t state = test_seed();
    size_t named;
    setvbuf(stderr, NULL, _IONBF, 0);
    free(malloc(100000));
    maps_sum(&maps_before, &named);
    CHECK_EQ(named, 0);
    maps_check("before the first allocation");
    held[0] = ebb_alloc(1);
    maps_check("after it");
    for (size_t i = 0; i < 20000; i++) load_step(held, &state);
    maps_check("after random steps");
    for (size_t i = 0; i < 50; i++) held[i] = ebb_alloc_data(4 * MIB);
    maps_check("after large objects");
    CHECK_EQ(ebb_collect(), 0);
    maps_check("after a collection");
    memset(held, 0, sizeof held);
    ebb_release();
    maps_check("after giving back");
}

/* The heap grows by several steps, and the system may refuse any of them. */
TEST(mapped_is_right_after_refusals) {
    struct rlimit limit, none;
    size_t named, refused = 0;
    if (test_slow()) SKIP("a sanitizer needs memory of its own");
    free(malloc(100000));
    maps_sum(&maps_before, &named);
    held[0] = ebb_alloc(1);
    CHECK_EQ(ebb_collect(), 0);
    usleep(200000); /* the threads that this started have their records */
    CHECK_EQ(getrlimit(RLIMIT_DATA, &none), 0);
    for (size_t more = 0; more < 40; more++) {
        limit = none;
        limit.rlim_cur = (status_number("VmData: %zu") << 10) + more * 8192;
        CHECK_EQ(setrlimit(RLIMIT_DATA, &limit), 0);
        for (int again = 0; again < 3; again++) refused += !ebb_alloc(8 * MIB);
        CHECK_EQ(setrlimit(RLIMIT_DATA, &none), 0);
        maps_check("after refusals");
    }
    if (refused == 0) SKIP("the system keeps no limit on data");
    for (size_t i = 0; i < 8; i++) CHECK((held[i] = ebb_alloc(8 * MIB)) != NULL);
    maps_check("after them");
}

/* Resident memory of Ebb is at most what is mapped and not returned. */
TEST(resident_is_within_the_classes) {
    struct ebb_stats before, after;
    stats_check(&before);
    for (size_t i = 0; i < 2000; i++) memset(held[i] = ebb_alloc_data(100000), 1, 100000);
    stats_check(&after);
    uint64_t grown = after.rss - before.rss;
    CHECK(grown >= 190 * MIB);
    CHECK(grown <= after.mapped - after.heap_returned + 4 * MIB);
    memset(held, 0, sizeof held);
    test_clear_stack();
    ebb_release();
    stats_check(&after);
    CHECK(after.rss <= before.rss + after.mapped - after.heap_returned + 4 * MIB);
}

static size_t rss_of_system(void) {
    size_t size, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (fscanf(statm, "%zu %zu", &size, &resident) != 2) resident = 0;
    fclose(statm);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

TEST(rss_is_the_process_s) {
    struct ebb_stats stats;
    for (size_t i = 0; i < 500; i++) memset(held[i] = ebb_alloc_data(100000), 1, 100000);
    stats_check(&stats);
    size_t rss = rss_of_system();
    CHECK(stats.rss + 4 * MIB > rss && stats.rss < rss + 4 * MIB);
}

/* What needs no walk is the same, and nobody is stopped for it. */
TEST(the_brief_ones_agree) {
    struct ebb_stats full, brief;
    uint64_t stops[4096];
    ebb_stats_brief(&brief);
    CHECK_EQ(brief.cycles, 0);
    for (size_t i = 0; i < 20000; i++) held[i] = ebb_alloc(100);
    CHECK_EQ(ebb_collect(), 0);
    usleep(200000); /* the threads that this started have their records */
    ebb_stats(&full);
    size_t count = ebb_pauses(stops, 4096);
    ebb_stats_brief(&brief);
    CHECK_EQ(ebb_pauses(stops, 4096), count);
    CHECK_EQ(brief.mapped, full.mapped);
    CHECK_EQ(brief.heap_used, full.heap_used);
    CHECK_EQ(brief.heap_free, full.heap_free);
    CHECK_EQ(brief.heap_returned, full.heap_returned);
    CHECK_EQ(brief.goal, full.goal);
    CHECK_EQ(brief.marked_live, full.marked_live);
    CHECK_EQ(brief.cycles, full.cycles);
    CHECK(brief.live >= brief.marked_live && brief.live <= full.live + MIB);
    CHECK_EQ(brief.live_objects + brief.alloc_objects + brief.dead, 0);
}

TEST(pauses_are_kept_newest_first) {
    struct ebb_stats st;
    uint64_t ns[8] = {0};
    CHECK_EQ(ebb_pauses(ns, 8), 0);
    for (int i = 0; i < 5; i++) CHECK_EQ(ebb_collect(), 0);
    ebb_stats(&st);
    size_t n = ebb_pauses(ns, 8);
    CHECK(n >= 5);
    CHECK_EQ(ns[0], st.pause_last_ns);
    CHECK_EQ(ebb_pauses(ns, 2), 2);
    uint64_t sum = 0;
    n = ebb_pauses(ns, 8);
    for (size_t i = 0; i < n; i++) sum += ns[i];
    if (n < 8) CHECK_EQ(sum, st.pause_total_ns);
}
