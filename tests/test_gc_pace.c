/* test_gc_pace.c - the promises of the pacer: the heap is over its goal by no more than an object
 * and 24 KiB of each thread, however long marking takes; never over its limit; the goal comes from
 * what lives, never from what was born while a cycle marked; helping is never switched off; and a
 * program whose live heap does not fit into the limit gets null pointers soon. See docs/design.md,
 * "Pacing".
 *
 * Each storm runs beside a graph of random references, on which marking is slower than allocation.
 */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "modes.h"
#include "test.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum { THREADS = 4, RING = 8 };
#define OBJECT_MOST  (512 * KIB)
#define THREAD_SLACK (OBJECT_MOST + 8 * KIB + 24 * KIB)

/* The threads of a storm, and the one that watches. */
#define SLACK ((THREADS + 1) * THREAD_SLACK)

/* What the threads of a storm hold: rings, and the rest of their stacks. */
#define STORM_LIVE (THREADS * RING * (OBJECT_MOST + 8 * KIB))

/* --- What lives ----------------------------------------------------------------------------- */

typedef struct node {
    struct node *links[4];
    uint64_t number;
} node;
EBB_TYPE(node, ptrs(links));

static node **graph;
static size_t graph_nodes;

static bool pace_slow(void) {
    return test_slow() || modes_have("verify=1");
}

/* Nodes that refer to others at random: each step of marking is a cache miss. */
static NOINLINE void graph_build(size_t nodes) {
    uint64_t state = test_seed();
    graph_nodes = pace_slow() ? nodes / 10 : nodes;
    graph = ebb_new_array(node *, graph_nodes);
    CHECK(graph != NULL);
    for (size_t i = 0; i < graph_nodes; i++) {
        graph[i] = ebb_new(node);
        CHECK(graph[i] != NULL);
        graph[i]->number = i;
        for (size_t k = 0; k < 4; k++) graph[i]->links[k] = graph[test_random_below(&state, i + 1)];
    }
}

static NOINLINE void graph_check(void) {
    for (size_t i = 0; i < graph_nodes; i++) CHECK_EQ(graph[i]->number, i);
}

/* --- A storm -------------------------------------------------------------------------------- */

static atomic_bool storm_end;
static atomic_size_t storm_refused;

/* Mostly small, now and then large; one in a hundred large ones is written to its end. Half of them
 * are released. */
static void storm_step(uint64_t *state, void **ring) {
    uint64_t bits = test_random(state);
    size_t size = bits % 64 ? bits % 480 : (bits >> 20) % OBJECT_MOST;
    char *p = bits & 1024 ? ebb_alloc(size + 8) : ebb_alloc_data(size + 8);
    if (!p) {
        atomic_fetch_add(&storm_refused, 1);
        return;
    }
    *(size_t *)(void *)p = size;
    if (bits % 100 == 0) p[size] = 1;
    void **place = &ring[bits >> 40 & (RING - 1)];
    if (bits >> 50 & 1) CHECK_EQ(ebb_free(*place), 0);
    *place = p;
}

static void *storm_body(void *number) {
    uint64_t state = test_seed() + (uintptr_t)number;
    void *ring[RING] = {0};
    while (!atomic_load_explicit(&storm_end, memory_order_relaxed)) {
        for (int i = 0; i < 100; i++) storm_step(&state, ring);
    }
    ebb_keep_alive(ring);
    __asm__ volatile("" : : "r"(ring) : "memory");
    return NULL;
}

static double storm_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* At every moment: the goal holds for what is allocated, as the statistics count it. */
static void storm_watch(struct ebb_stats *s) {
    ebb_stats(s);
    if (s->goal != UINT64_MAX && s->live > s->goal + SLACK)
        test_fail(__FILE__, __LINE__, "live %zu over the goal %zu", (size_t)s->live,
                  (size_t)s->goal);
    if (s->limit != UINT64_MAX && s->mapped - s->heap_returned > s->limit)
        test_fail(__FILE__, __LINE__, "footprint %zu over the limit %zu",
                  (size_t)(s->mapped - s->heap_returned), (size_t)s->limit);
}

/* THREADS threads allocate for so long, and on a busy machine until there was a cycle; every
 * forced_seconds, if not 0, a collection is asked for. */
static void storm_run(double seconds, double forced_seconds) {
    enum { PATIENCE = 60 };
    pthread_t threads[THREADS];
    struct ebb_stats s;
    double start = storm_clock(), forced = start, end = start + seconds * (double)test_scale();
    uint64_t cycles = ebb_cycles();
    atomic_store(&storm_end, false);
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, storm_body, (void *)(i + 1)), 0);
    while (storm_clock() < end || (ebb_cycles() == cycles && storm_clock() < end + PATIENCE)) {
        storm_watch(&s);
        usleep(5000);
        if (forced_seconds == 0 || storm_clock() < forced + forced_seconds) continue;
        CHECK_EQ(ebb_collect(), 0);
        forced = storm_clock();
    }
    atomic_store(&storm_end, true);
    for (size_t i = 0; i < THREADS; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* --- The goal ------------------------------------------------------------------------------- */

static void goal_try(int percent, double forced_seconds) {
    struct ebb_stats before, after;
    ebb_set_gc_percent(percent); /* first: lowering the goal later may put the heap above it */
    graph_build(1000000);
    CHECK_EQ(ebb_collect(), 0);
    ebb_stats(&before);
    storm_run(0.8, forced_seconds);
    ebb_stats(&after);
    graph_check();
    CHECK(after.cycles > before.cycles);
    CHECK(after.goal_passed_max <= SLACK);
    CHECK_EQ(atomic_load(&storm_refused), 0);
    printf("     %d %%: %zu cycles, goal passed by %zu KiB, helped %.0f ms, waited %.0f ms\n",
           percent, (size_t)(after.cycles - before.cycles), (size_t)(after.goal_passed_max / KIB),
           (double)(after.assist_ns - before.assist_ns) / 1e6,
           (double)(after.wait_ns - before.wait_ns) / 1e6);
}

TEST(goal_holds_at_10) {
    goal_try(10, 0);
}

TEST(goal_holds_at_100) {
    goal_try(100, 0);
}

TEST(goal_holds_at_400) {
    goal_try(400, 0);
}

TEST(goal_holds_at_10_with_forced_cycles) {
    goal_try(10, 0.05);
}

TEST(goal_holds_at_100_with_forced_cycles) {
    goal_try(100, 0.05);
}

TEST(goal_holds_at_400_with_forced_cycles) {
    goal_try(400, 0.05);
}

/* No limit is set, marking is slower than allocation: threads help or wait, to the last. */
TEST(helping_is_never_switched_off) {
    struct ebb_stats before, after;
    ebb_set_gc_percent(20);
    graph_build(1000000);
    for (int i = 0; i < 3; i++) {
        ebb_stats(&before);
        storm_run(0.5, 0);
        ebb_stats(&after);
        CHECK(strcmp(after.dirty, "off") == 0 ||
              after.assist_ns + after.wait_ns > before.assist_ns + before.wait_ns);
        CHECK(after.goal_passed_max <= SLACK);
    }
}

/* --- What is born while a cycle marks -------------------------------------------------------- */

/* Long cycles beside which much is born and dies: neither is a goal higher than what lives allows,
 * nor does it climb from cycle to cycle. */
TEST(goals_come_from_what_lives) {
    enum { CYCLES = 12 };
    struct ebb_stats s;
    pthread_t threads[THREADS];
    uint64_t first = 0, born_most = 0;
    int percent = 400;
    ebb_set_gc_percent(percent); /* first: lowering the goal later may put the heap above it */
    graph_build(1000000);
    CHECK_EQ(ebb_collect(), 0);
    ebb_stats(&s);
    uint64_t live = s.marked_live;
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, storm_body, (void *)(i + 1)), 0);
    for (int i = 0; i < CYCLES; i++) {
        uint64_t born = s.alloc_bytes;
        usleep(20000);
        CHECK_EQ(ebb_collect(), 0);
        ebb_stats(&s);
        born = s.alloc_bytes - born;
        born_most = born > born_most ? born : born_most;
        uint64_t most = live + STORM_LIVE + s.roots_bytes;
        if (s.goal > most + most / 100 * (uint64_t)percent + 16 * MIB)
            test_fail(__FILE__, __LINE__, "goal %zu, live %zu", (size_t)s.goal, (size_t)most);
        if (i == 0) first = s.goal;
        CHECK(s.goal < first + first / 20 + STORM_LIVE * (uint64_t)(100 + percent) / 100);
    }
    atomic_store(&storm_end, true);
    for (size_t i = 0; i < THREADS; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    graph_check();
    CHECK(born_most > live / 4); /* else nothing was shown */
}

static void goals_let_pass(struct ebb_stats *full, struct ebb_stats *now) {
    enum { KEPT = 4096, EVERY = 8 };
    static void *kept[KEPT];
    memset(kept, 0, sizeof kept);
    CHECK_EQ(ebb_collect(), 0);
    ebb_stats(full);
    for (size_t i = 0; i < KEPT * EVERY; i++) {
        void *made = ebb_alloc(4000);
        CHECK(made != NULL);
        if (i % EVERY == 0) kept[i / EVERY] = made;
        ebb_keep_alive(kept);
    }
    ebb_stats(now);
}

/* What minor cycles let pass may be dead: the goal does not rise with it. Where marking hardly gets
 * a processor it is so much that a full one comes. */
TEST(goals_do_not_climb_by_what_is_let_pass) {
    struct ebb_stats full, now;
    static void *bulk;
    bulk = ebb_alloc_data(64 * MIB);
    ebb_stats(&full);
    if (strcmp(full.dirty, "off") == 0) SKIP("cycles are full where nobody tells of writes");
    bool minor = false;
    for (int i = 0; i < 10 && !minor; i++) {
        goals_let_pass(&full, &now);
        minor = now.cycles - now.cycles_minor == full.cycles - full.cycles_minor;
    }
    if (!minor) SKIP("full cycles came, ten times");
    CHECK(bulk != NULL && now.cycles > full.cycles);
    CHECK(now.marked_live > full.marked_live + 4 * MIB);
    CHECK(now.goal < full.goal + 2 * MIB);
}

/* --- The trace says the same ----------------------------------------------------------------- */

TEST(storm_to_trace) {
    if (!modes_have("gctrace=1")) SKIP("runs inside the_trace_agrees");
    graph_build(500000);
    CHECK_EQ(ebb_collect(), 0);
    storm_run(1, 0.1);
    struct ebb_stats s;
    ebb_stats(&s);
    CHECK(s.goal_passed_max <= SLACK);
}

/* The heap at the end of each cycle against the goal of the one before; full ones' goals against
 * what they found. */
TEST(the_trace_agrees) {
    static modes_result run;
    enum { PERCENT = 50, MB_SLACK = SLACK / MIB + 2 };
    CHECK_EQ(modes_run(&run, "storm_to_trace", "gctrace=1", "percent=50"), 0);
    unsigned long before = 0, lines = 0, over = 0;
    for (char *line = run.text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        unsigned long number, end, live, goal;
        double roots;
        if (strncmp(line, "ebb: gc ", 8) == 0) line += 5;
        if (sscanf(line,
                   "gc %lu @%*[^,], %*[^,], %*u->%lu->%lu MB, %lu MB goal, %*f MB stacks, %lf",
                   &number, &end, &live, &goal, &roots) != 5)
            continue;
        if (before && end > before + MB_SLACK) over++;
        if (before && end > before + MB_SLACK)
            fprintf(stderr, "gc %lu: %lu MB, goal %lu MB\n", number, end, before);
        unsigned long room = (live + (unsigned long)roots + 1) * PERCENT / 100 + 2;
        CHECK(goal <= live + (room > 16 ? room : 16) + 1);
        before = goal;
        lines++;
    }
    CHECK(lines > 5);
    CHECK_EQ(over, 0);
}

/* --- The limit ------------------------------------------------------------------------------ */

/* Growth is off: the limit alone makes cycles, holds, and leaves room for who has room. */
TEST(limit_alone_paces) {
    struct ebb_stats s;
    ebb_set_gc_percent(-1);
    graph_build(500000);
    CHECK_EQ(ebb_collect(), 0);
    ebb_stats(&s);
    CHECK_EQ(s.goal, UINT64_MAX);
    size_t limit = s.mapped - s.heap_returned + 3 * STORM_LIVE + 32 * MIB;
    ebb_set_memory_limit(limit);
    storm_run(1.2, 0);
    ebb_stats(&s);
    graph_check();
    CHECK(s.cycles > 1);
    CHECK(s.goal <= limit);
    printf("     %zu cycles, %zu refused\n", (size_t)s.cycles, atomic_load(&storm_refused));
    CHECK_EQ(atomic_load(&storm_refused), 0);
}

/* Some allocations fail here, the limit holds all the same. */
TEST(limit_holds_where_it_is_tight) {
    struct ebb_stats s;
    graph_build(500000);
    CHECK_EQ(ebb_collect(), 0);
    ebb_release();
    ebb_stats(&s);
    ebb_set_memory_limit(s.mapped - s.heap_returned + STORM_LIVE / 4);
    storm_run(1.2, 0.3);
    graph_check();
}

static NOINLINE size_t chain_until_null(node **chain, size_t most) {
    size_t got = 0;
    for (; got < most; got++) {
        node *n = ebb_new(node);
        if (!n) break;
        n->number = got;
        n->links[0] = *chain;
        *chain = n;
    }
    return got;
}

/* What lives is more than the limit: each allocation that fails comes back within a few cycles, and
 * all of them together do not make many. */
TEST(live_heap_over_the_limit) {
    enum { CALLS = 2000, CYCLES_A_CALL = 8, CYCLES_IN_VAIN = 40 };
    static node *chain;
    size_t limit = 32 * MIB;
    ebb_set_memory_limit(limit);
    CHECK(chain_until_null(&chain, 4 * limit / sizeof(node)) < limit / sizeof(node));
    uint64_t start = ebb_cycles(), most = 0;
    for (int i = 0; i < CALLS; i++) {
        struct ebb_stats s;
        uint64_t before = ebb_cycles();
        CHECK(ebb_alloc(100 * KIB) == NULL);
        uint64_t cycles = ebb_cycles() - before;
        most = cycles > most ? cycles : most;
        if (i % 100) continue;
        ebb_stats(&s);
        CHECK(s.mapped - s.heap_returned <= limit);
    }
    uint64_t vain = ebb_cycles() - start;
    printf("     %zu cycles for %d failed calls, %zu at most for one\n", (size_t)vain, CALLS,
           (size_t)most);
    CHECK(most <= CYCLES_A_CALL);
    CHECK(vain <= CYCLES_IN_VAIN);
    chain = NULL;
    test_clear_stack();
    CHECK_EQ(ebb_collect(), 0);
    CHECK(ebb_alloc(100 * KIB) != NULL);
}

static void *over_body(void *arg) {
    node *mine = NULL;
    (void)arg;
    for (int i = 0; i < 200; i++) chain_until_null(&mine, 100000);
    for (node *n = mine; n && n->links[0]; n = n->links[0]) CHECK_EQ(n->number <= 100000, true);
    return NULL;
}

/* The same with threads that all hold what they get. */
TEST(live_heap_over_the_limit_with_threads) {
    pthread_t threads[THREADS];
    struct ebb_stats s;
    ebb_set_memory_limit(48 * MIB);
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, over_body, NULL), 0);
    for (int i = 0; i < 50; i++) {
        storm_watch(&s);
        usleep(2000);
    }
    for (size_t i = 0; i < THREADS; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    storm_watch(&s);
    printf("     %zu cycles\n", (size_t)s.cycles);
    CHECK(s.cycles < 400);
    test_clear_stack();
    CHECK_EQ(ebb_collect(), 0);
    CHECK(ebb_alloc(MIB) != NULL);
}

/* --- The least room ------------------------------------------------------------------------- */

static uint64_t room_cycles(size_t room) {
    ebb_set_gc_room(room);
    CHECK_EQ(ebb_collect(), 0);
    uint64_t before = ebb_cycles();
    for (size_t i = 0; i < 20000; i++) CHECK(ebb_alloc(2000) != NULL);
    return ebb_cycles() - before;
}

TEST(a_small_heap_has_its_least_room) {
    size_t before = ebb_set_gc_room(64 << 20);
    CHECK_EQ(before, (size_t)16 << 20);
    CHECK_EQ(ebb_set_gc_room(1), (size_t)64 << 20);
    CHECK_EQ(ebb_set_gc_room(before), 1024);
    CHECK(room_cycles((size_t)64 << 20) <= 1);
    uint64_t few = room_cycles((size_t)16 << 20), many = room_cycles((size_t)1 << 20);
    CHECK(few >= 1 && few <= 4);
    CHECK(many > 2 * few && many <= 60);
}

static uint64_t floor_cycles(size_t bytes) {
    CHECK_EQ(ebb_collect(), 0);
    uint64_t before = ebb_cycles();
    for (size_t i = 0; i < bytes / 2048; i++) CHECK(ebb_alloc(2000) != NULL);
    return ebb_cycles() - before;
}

/* Up to the floor no cycle, beyond it as without; the limit goes before. */
TEST(a_heap_grows_to_its_floor) {
    ebb_set_gc_room(MIB);
    CHECK_EQ(ebb_set_gc_floor(64 * MIB), 0);
    CHECK_EQ(floor_cycles(48 * MIB), 0);
    CHECK(floor_cycles(160 * MIB) >= 1);
    CHECK(floor_cycles(160 * MIB) <= 4);
    size_t limit = ebb_set_memory_limit(40 * MIB);
    CHECK(floor_cycles(160 * MIB) >= 4);
    ebb_set_memory_limit(limit);
    CHECK_EQ(ebb_set_gc_floor(0), 64 * MIB);
    CHECK(floor_cycles(48 * MIB) > 4);
}

static NOINLINE void litter(size_t bytes) {
    for (size_t i = 0; i < bytes / 2048; i++) CHECK(ebb_alloc(2000) != NULL);
}

static uint64_t goal_now(void) {
    struct ebb_stats s;
    ebb_stats_brief(&s);
    return s.goal;
}

/* In a child of its own, which ends with status 0. */
static void forked(void (*body)(uint64_t), uint64_t goal) {
    int status;
    pid_t child = test_fork();
    CHECK(child >= 0);
    if (child == 0) {
        body(goal);
        exit(0);
    }
    while (waitpid(child, &status, 0) < 0) CHECK_EQ(errno, EINTR);
    CHECK_EQ(status, 0);
}

static void grandchild_check(uint64_t goal) {
    CHECK_EQ(goal_now(), goal);
}

static void child_check(uint64_t goal) {
    uint64_t cycles = ebb_cycles();
    CHECK(goal_now() >= goal + 20 * MIB);
    litter(20 * MIB);
    CHECK_EQ(ebb_cycles(), cycles);
    forked(grandchild_check, goal_now());
    litter(40 * MIB);
    CHECK(ebb_cycles() > cycles);
    CHECK(goal_now() < goal + 4 * MIB);
}

/* What a child was given counts as live until its first cycle, but not what that gave to its own.
 */
TEST(a_child_has_a_room_of_its_own) {
    ebb_set_gc_room(32 * MIB);
    CHECK_EQ(ebb_collect(), 0);
    uint64_t goal = goal_now(), cycles = ebb_cycles();
    litter(24 * MIB);
    CHECK_EQ(ebb_cycles(), cycles);
    forked(child_check, goal);
    CHECK_EQ(goal_now(), goal);
}

/* Allocates `bytes` in objects of `size`; released: all but the last eight. */
static uint64_t released_cycles(size_t size, size_t bytes, bool released) {
    void *window[8] = {0};
    CHECK_EQ(ebb_collect(), 0);
    uint64_t before = ebb_cycles();
    for (size_t i = 0; i < bytes / size; i++) {
        if (released) CHECK_EQ(ebb_free(window[i % 8]), 0);
        window[i % 8] = ebb_alloc(size);
        CHECK(window[i % 8] != NULL);
    }
    return ebb_cycles() - before;
}

TEST(what_is_released_needs_no_cycle) {
    const size_t sizes[] = {24, 200, 3000, 100 * KIB};
    ebb_set_gc_room(4 * MIB);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        CHECK(released_cycles(sizes[i], 64 * MIB, true) <= 1);
        CHECK(released_cycles(sizes[i], 64 * MIB, false) > 4);
    }
}

static NOINLINE void released_keep(void **to, size_t count, size_t size) {
    for (size_t i = 0; i < count; i++) {
        to[i] = ebb_alloc(size);
        CHECK(to[i] != NULL);
    }
}

/* What is of before the cycle makes room too, but no more than it took. */
TEST(what_is_released_late_makes_its_room) {
    enum { COUNT = 4096, SIZE = 8000 };
    ebb_set_gc_room(4 * MIB);
    ebb_set_gc_percent(0);
    void **kept = ebb_new_array(void *, COUNT);
    CHECK(kept != NULL);
    released_keep(kept, COUNT, SIZE);
    CHECK_EQ(ebb_collect(), 0);
    CHECK_EQ(ebb_collect(), 0);
    struct ebb_stats s;
    ebb_stats_brief(&s);
    uint64_t live = s.live;
    for (size_t i = 0; i < COUNT; i++) CHECK_EQ(ebb_free(kept[i]), 0);
    uint64_t before = ebb_cycles();
    for (size_t i = 0; i < COUNT; i++) CHECK(ebb_alloc(SIZE / 2) != NULL);
    CHECK(ebb_cycles() - before <= 1);
    ebb_stats_brief(&s);
    CHECK(s.live <= live + 8 * MIB);
    for (size_t i = 0; i < 4 * COUNT; i++) CHECK(ebb_alloc(SIZE / 2) != NULL);
    CHECK(ebb_cycles() - before > 1);
    CHECK(s.goal_passed_max < MIB);
}

/* --- What the heap wants ------------------------------------------------------------------------
 */

/* Lists of words first, then of bytes, which lie elsewhere: what the first left goes back as the
 * second grows. */
TEST(one_zone_does_not_grow_beside_what_the_other_left) {
    enum { COUNT = 64 * 1024 };
    static void *all[COUNT];
    struct ebb_stats s;
    ebb_set_gc_room(4 * MIB);
    for (size_t i = 0; i < COUNT; i++) CHECK((all[i] = ebb_alloc(1000)) != NULL);
    memset(all, 0, sizeof all);
    CHECK_EQ(ebb_collect(), 0);
    for (size_t i = 0; i < COUNT; i++) {
        CHECK((all[i] = ebb_alloc_data(1000)) != NULL);
        if (i % 4096 != 4095) continue;
        ebb_stats(&s);
        uint64_t wanted = s.goal + s.goal / 10;
        CHECK(s.heap_used + s.heap_free <= (s.heap_used > wanted ? s.heap_used : wanted) + 3 * MIB);
    }
}
