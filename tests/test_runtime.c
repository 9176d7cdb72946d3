/* test_runtime.c - what language runtimes ask of the collector: layouts of their own, objects that
 * trace themselves, computed roots, weak tables, orders of finalizers, collections held back. See
 * docs/design.md, "Language runtimes". */
#include <ebb/ebb.h>
#include <ebb/runtime.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "modes.h"
#include "probe.h"
#include "test.h"

#define COUNT ((size_t)500)

/* The address of an object, hidden from the collector. */
static uintptr_t hide(const void *p) {
    return ~(uintptr_t)p;
}

static void *unhide(uintptr_t hidden) {
    return (void *)~hidden;
}

static size_t count_dead(const ebb_weak *const *weak, size_t count) {
    size_t dead = 0;
    for (size_t i = 0; i < count; i++) dead += ebb_weak_get(weak[i]) == NULL;
    return dead;
}

static ebb_weak *watched[COUNT];

/* --- Layouts -------------------------------------------------------------------------------- */

static void **bitmap_objects[COUNT];

static NOINLINE void bitmap_make(ebb_layout *layout) {
    for (size_t i = 0; i < COUNT; i++) {
        void **object = bitmap_objects[i] = ebb_alloc_as(layout, 5 * sizeof(void *));
        CHECK(object != NULL && (uintptr_t)object % 16 == 0);
        CHECK(ebb_layout_of(&object[2]) == layout);
        object[i % 2 ? 1 : 3] = ebb_weak_get(watched[i] = ebb_weak_new(ebb_alloc(24)));
    }
}

TEST(a_bitmap_says_which_words_are_pointers) {
    ebb_layout *layout = ebb_layout_bitmap("pair", 5 * sizeof(void *), &(uint64_t){0x5 << 1}, 5);
    CHECK(layout == ebb_layout_bitmap("pair", 5 * sizeof(void *), &(uint64_t){0xa}, 4));
    bitmap_make(layout);
    probe_collect();
    CHECK_EQ(count_dead((const ebb_weak *const *)watched, COUNT), 0);
    for (size_t i = 0; i < COUNT; i++) bitmap_objects[i][4] = bitmap_objects[i][i % 2 ? 1 : 3];
    for (size_t i = 0; i < COUNT; i++) bitmap_objects[i][i % 2 ? 1 : 3] = NULL;
    probe_collect();
    CHECK(count_dead((const ebb_weak *const *)watched, COUNT) >= COUNT - 3);
}

TEST(layouts_without_a_type_have_names) {
    ebb_layout *words = ebb_layout_words("cell"), *data = ebb_layout_data(NULL);
    CHECK(words && data && words != data);
    for (size_t size = 0; size < 100000; size = size * 3 / 2 + 1) {
        char *p = ebb_alloc_as(size % 2 ? words : data, size);
        CHECK(p != NULL && (uintptr_t)p % 16 == 0 && ebb_size_of(p) >= size);
        for (size_t i = 0; i < size; i++) CHECK_EQ(p[i], 0);
        CHECK(ebb_layout_of(p) == (size % 2 ? words : data));
    }
    CHECK(ebb_layout_of(&words) == NULL && ebb_layout_of(NULL) == NULL);
    const void *start, *end;
    void *p = ebb_alloc(10);
    CHECK_EQ(ebb_heap_bounds(&start, &end), 0);
    CHECK((uintptr_t)start <= (uintptr_t)p && (uintptr_t)p < (uintptr_t)end);
}

/* What was taken last, what was not, and large ones. */
TEST(released_bytes_are_told) {
    CHECK_EQ(ebb_free_counted(NULL), 0);
    for (size_t size = 0; size < 200000; size = size * 3 / 2 + 1) {
        char *before = ebb_alloc(size), *last = ebb_alloc(size);
        size_t room = ebb_size_of(last);
        CHECK_EQ(ebb_free_counted(last), room);
        CHECK_EQ(ebb_free_counted(before), room);
        CHECK(room > 0 && ebb_size_of(last) == 0 && ebb_size_of(before) == 0);
    }
}

/* A second release is told from the first, whichever way that went. */
TEST(what_cannot_be_released_counts_nothing) {
    setenv("EBB_DEBUG", "misuse=return", 1);
    for (size_t size = 0; size < 200000; size = size * 3 / 2 + 1) {
        char *kept = ebb_alloc(size), *p = ebb_alloc(size);
        CHECK(ebb_free_counted(p) > 0);
        CHECK_EQ(ebb_free_counted(p), 0);
        char *q = ebb_alloc(size);
        ebb_collect(); /* it is marked, so it cannot go back to the run */
        CHECK(ebb_free_counted(q) > 0);
        CHECK_EQ(ebb_free_counted(q), 0);
        CHECK_EQ(ebb_free_counted(kept + 1), 0);
        CHECK(ebb_size_of(kept) >= size);
    }
    CHECK_EQ(ebb_free_counted(watched), 0);
}

/* In release builds too: said before the first allocation, which reads it. */
static void misuse_aborts(void) {
    setenv("EBB_DEBUG", "misuse=abort", 1);
    CHECK(ebb_alloc(8) != NULL);
}

static const char *bounds_start, *bounds_middle, *bounds_end;
static ebb_weak *bounds_first[2];

static NOINLINE void bounds_fill(void) {
    void *scan = ebb_alloc(1 << 20), *data = ebb_alloc_data(1 << 20);
    bounds_first[0] = ebb_weak_new(scan);
    bounds_first[1] = ebb_weak_new(data);
}

/* What ends where the heap or its second half starts must not pass for the first object there. */
TEST(the_bounds_are_no_object) {
    const void *start, *end;
    CHECK_EQ(ebb_heap_bounds(&start, &end), 0);
    bounds_start = start;
    bounds_end = end;
    bounds_middle = bounds_start + (bounds_end - bounds_start) / 2;
    bounds_fill();
    for (int i = 0; i < 3; i++) {
        test_clear_stack();
        CHECK_EQ(ebb_collect(), 0);
    }
    CHECK(!ebb_weak_get(bounds_first[0]) && !ebb_weak_get(bounds_first[1]));
    CHECK(bounds_start && bounds_middle && bounds_end);
}

TEST(bad_layouts_are_refused) {
    misuse_aborts();
    DIES("ebb_layout_bitmap: 2 bits for an object of 8 bytes") {
        ebb_layout_bitmap("", 8, &(uint64_t){3}, 2);
    }
    DIES("ebb_layout_traced: the tracer is null") {
        ebb_layout_traced("", NULL, 0);
    }
    DIES("ebb_alloc_as: the layout is null") {
        (void)!ebb_alloc_as(NULL, 8);
    }
    DIES("ebb_runtime_set: the pointer to the calls is null") {
        ebb_runtime_set(NULL);
    }
    DIES("ebb_gc_allow: nothing holds collections back") {
        ebb_gc_allow();
    }
    DIES("ebb_stop_allow: stops are not deferred") {
        ebb_stop_allow();
    }
}

/* --- Objects that trace themselves ------------------------------------------------------------ */

/* Refers to what a cell outside the heap says, in disguise: only the tracer can tell. */
typedef struct smob {
    uintptr_t *cell;
    uintptr_t next; /* hidden: another smob */
} smob;

static atomic_size_t traced;

static void smob_trace(void *object, size_t size, ebb_marker *marker, uintptr_t env) {
    const smob *s = object;
    CHECK_EQ(env, 42);
    CHECK(size >= sizeof(smob));
    atomic_fetch_add(&traced, 1);
    if (s->cell) ebb_mark(marker, unhide(*s->cell));
    if (s->next) ebb_mark(marker, unhide(s->next));
}

static smob *smobs[COUNT];
static uintptr_t cells[COUNT];

static NOINLINE void smob_fill(size_t i) {
    void *p = ebb_alloc(40);
    watched[i] = ebb_weak_new(p);
    cells[i] = hide(p); /* nobody notes this write */
}

static NOINLINE void smobs_make(ebb_layout *layout) {
    for (size_t i = 0; i < COUNT; i++) {
        smobs[i] = ebb_alloc_as(layout, sizeof(smob));
        smobs[i]->cell = &cells[i];
        smob_fill(i);
    }
}

static void smobs_check(void) {
    CHECK_EQ(count_dead((const ebb_weak *const *)watched, COUNT), 0);
    for (size_t i = 0; i < COUNT; i++) CHECK(ebb_weak_get(watched[i]) == unhide(cells[i]));
}

TEST(a_tracer_sees_what_changed_outside_the_heap) {
    ebb_layout *layout = ebb_layout_traced("smob", smob_trace, 42);
    smobs_make(layout);
    for (int round = 0; round < 6; round++) {
        for (size_t i = 0; i < COUNT; i += 3) smob_fill(i);
        for (size_t i = 0; i < 5000; i++) CHECK(ebb_alloc(10000)); /* cycles, some of them minor */
        smobs_check();
    }
    probe_collect();
    smobs_check();
    CHECK(atomic_load(&traced) >= 7 * COUNT);
    memset(smobs, 0, sizeof smobs);
    probe_collect();
    CHECK(count_dead((const ebb_weak *const *)watched, COUNT) >= COUNT - 3);
}

static smob *smob_chain;

static NOINLINE void chain_make(ebb_layout *layout) {
    for (size_t i = 0; i < 20 * COUNT; i++) {
        smob *s = ebb_alloc_as(layout, i % 7 ? sizeof *s : 200000);
        s->next = smob_chain ? hide(smob_chain) : 0;
        smob_chain = s;
        if (i % 20 == 0) watched[i / 20] = ebb_weak_new(s);
    }
}

/* A stale word that holds the head keeps no more than a few links. */
static NOINLINE void chain_cut(void) {
    smob *s = smob_chain;
    for (size_t i = 0; i < 20; i++) s = unhide(s->next);
    s->next = 0;
    smob_chain = NULL;
}

TEST(a_chain_of_traced_objects_is_followed) {
    ebb_set_gc_percent(-1); /* while it is made, the last link is in a register or static */
    chain_make(ebb_layout_traced("smob", smob_trace, 42));
    for (int i = 0; i < 3; i++) {
        probe_collect();
        CHECK_EQ(count_dead((const ebb_weak *const *)watched, COUNT), 0);
    }
    chain_cut();
    probe_collect();
    CHECK(count_dead((const ebb_weak *const *)watched, COUNT) >= COUNT - 3);
}

TEST(tracers_hold_under_stress) {
    MODES_PASS("a_tracer_sees_what_changed_outside_the_heap", "stress=7,verify=1,checkmark=1",
               NULL);
    MODES_PASS("a_tracer_sees_what_changed_outside_the_heap", "checkmark=1,yield=5", "dirty=all");
    MODES_PASS("a_tracer_sees_what_changed_outside_the_heap", "checkmark=1", "dirty=off");
    MODES_PASS("a_chain_of_traced_objects_is_followed", "verify=1,checkmark=1", NULL);
}

/* --- At the turns of a cycle -------------------------------------------------------------------
 */

static uintptr_t hidden_roots[COUNT];
static uintptr_t weak_table[COUNT], long_table[COUNT];
static atomic_size_t turn_stopping, turn_roots, turn_marked[2], turn_stopped;
static atomic_size_t turn_early; /* roots that were asked for before the last stop */
static atomic_int turn_wrong;    /* calls out of order, or in a thread that is not the program's */
static atomic_size_t turn_due;
static _Thread_local bool turn_program;

static void turn_order(bool good) {
    if (!good || !turn_program) atomic_fetch_add(&turn_wrong, 1);
}

static void runtime_stopping(void) {
    atomic_fetch_add(&turn_stopping, 1);
    turn_order(true);
}

static void runtime_roots(ebb_marker *marker) {
    atomic_fetch_add(&turn_roots, 1);
    if (atomic_load(&turn_stopping) == atomic_load(&turn_marked[1]))
        atomic_fetch_add(&turn_early, 1);
    turn_order(true);
    for (size_t i = 0; i < COUNT; i++)
        if (hidden_roots[i]) ebb_mark(marker, unhide(hidden_roots[i]));
}

static void runtime_marked(bool finalizers) {
    atomic_fetch_add(&turn_marked[finalizers], 1);
    turn_order(atomic_load(&turn_marked[0]) >= atomic_load(&turn_marked[1]));
    uintptr_t *table = finalizers ? long_table : weak_table;
    for (size_t i = 0; i < COUNT; i++)
        if (table[i] && !ebb_is_marked(unhide(table[i]))) table[i] = 0;
}

static void runtime_stopped(size_t due) {
    turn_order(atomic_load(&turn_stopping) > atomic_fetch_add(&turn_stopped, 1));
    atomic_store(&turn_due, due);
    turn_order(ebb_alloc(1000) != NULL);
}

static const ebb_runtime runtime = {runtime_stopping, runtime_roots, runtime_marked,
                                    runtime_stopped};

static void runtime_begin(void) {
    turn_program = true;
    CHECK_EQ(ebb_runtime_set(&runtime), 0);
    CHECK_EQ(ebb_runtime_set(&runtime), 0);
    static const ebb_runtime other;
    CHECK_EQ(ebb_runtime_set(&other), EBB_EBUSY);
}

static size_t table_left(const uintptr_t *table) {
    size_t left = 0;
    for (size_t i = 0; i < COUNT; i++) left += table[i] != 0;
    return left;
}

static NOINLINE void hidden_make(bool rooted) {
    for (size_t i = 0; i < COUNT; i++) {
        uintptr_t hidden = hide(ebb_alloc(i % 50 == 0 ? 300000 : 48));
        weak_table[i] = long_table[i] = hidden;
        hidden_roots[i] = rooted || i % 2 ? hidden : 0;
    }
}

TEST(roots_are_computed_and_tables_cleared) {
    runtime_begin();
    ebb_set_gc_percent(-1);
    hidden_make(true);
    for (int i = 0; i < 10; i++) probe_collect();
    CHECK_EQ(table_left(weak_table), COUNT);
    CHECK_EQ(table_left(long_table), COUNT);
    for (size_t i = 0; i < COUNT; i += 2) hidden_roots[i] = 0;
    probe_collect();
    CHECK(table_left(weak_table) >= COUNT / 2 && table_left(weak_table) <= COUNT / 2 + 3);
    for (size_t i = 1; i < COUNT; i += 2) CHECK(weak_table[i] && weak_table[i] == long_table[i]);
    size_t cycles = ebb_cycles();
    CHECK(atomic_load(&turn_roots) >= cycles);
    CHECK_EQ(atomic_load(&turn_stopping), cycles);
    CHECK_EQ(atomic_load(&turn_marked[0]), cycles);
    CHECK_EQ(atomic_load(&turn_marked[1]), cycles);
    CHECK_EQ(atomic_load(&turn_stopped), cycles);
    CHECK_EQ(atomic_load(&turn_wrong), 0);
}

static void *stopping_body(void *arg) {
    void *kept[64] = {0};
    turn_program = true;
    for (size_t i = 0; i < (size_t)arg * test_scale(); i++)
        kept[i % 64] = i % 3 ? ebb_alloc(200) : ebb_alloc_data(10000);
    ebb_keep_alive(kept);
    return NULL;
}

static void *volatile kept_heap[4000]; /* nobody reads it */

TEST(only_allocating_threads_end_a_cycle) {
    pthread_t threads[3];
    runtime_begin();
    for (size_t i = 0; i < 4000; i++) kept_heap[i] = ebb_alloc(10000); /* not small: beside */
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, stopping_body, (void *)(size_t)150000), 0);
    stopping_body((void *)(size_t)150000);
    for (size_t i = 0; i < 3; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK(ebb_cycles() >= 3);
    CHECK_EQ(atomic_load(&turn_wrong), 0);
    CHECK_EQ(atomic_load(&turn_stopping), ebb_cycles());
    size_t before = atomic_load(&turn_stopping);
    usleep(300000); /* nobody allocates: what is under way is not ended */
    CHECK_EQ(atomic_load(&turn_stopping), before);
    CHECK_EQ(ebb_collect(), 0);
    CHECK(atomic_load(&turn_stopping) > before);
}

/* Cycles, of which some are not small, so that marking goes on beside the program, until `enough`
 * says so; where nobody tells of writes, a few. */
static void cycles_until(bool (*enough)(void)) {
    struct ebb_stats stats;
    for (size_t i = 0; i < 4000; i++) kept_heap[i] = ebb_alloc(10000);
    CHECK_EQ(ebb_collect(), 0);
    ebb_stats(&stats);
    bool beside = strcmp(stats.dirty, "off") != 0;
    for (size_t end = ebb_cycles() + (beside ? 500 : 5); ebb_cycles() < end && !enough();)
        for (size_t i = 0; i < 1000; i++) CHECK(kept_heap[i % 4000] = ebb_alloc(10000));
    CHECK(!beside || enough());
}

static bool roots_came_early(void) {
    return atomic_load(&turn_early) >= 3 && atomic_load(&turn_roots) >= ebb_cycles() + 3;
}

TEST(roots_are_asked_for_before_the_last_stop) {
    runtime_begin();
    hidden_make(true);
    cycles_until(roots_came_early);
    CHECK_EQ(table_left(weak_table), COUNT);
    CHECK_EQ(atomic_load(&turn_wrong), 0);
}

static bool tracers_came_early(void) {
    return atomic_load(&traced) >= (ebb_cycles() + 3) * COUNT;
}

TEST(tracers_are_asked_before_the_last_stop) {
    smobs_make(ebb_layout_traced("smob", smob_trace, 42));
    cycles_until(tracers_came_early);
    smobs_check();
}

TEST(turns_hold_under_stress) {
    MODES_PASS("roots_are_asked_for_before_the_last_stop", "verify=1,checkmark=1,yield=5", NULL);
    MODES_PASS("tracers_are_asked_before_the_last_stop", "verify=1,checkmark=1", "dirty=all");
    MODES_PASS("roots_are_computed_and_tables_cleared", "verify=1,checkmark=1", NULL);
    MODES_PASS("only_allocating_threads_end_a_cycle", "stress=4001,verify=1,checkmark=1", NULL);
    MODES_PASS("only_allocating_threads_end_a_cycle", "checkmark=1,yield=17", NULL);
    MODES_PASS("only_allocating_threads_end_a_cycle", "checkmark=1", "dirty=off");
}

/* --- Holding back --------------------------------------------------------------------------------
 */

static atomic_size_t hold_progress;
static atomic_bool hold_over;

static void *hold_body(void *unused) {
    for (size_t i = 0; !atomic_load(&hold_over); i++) {
        kept_heap[i % 4000] = ebb_alloc(10000);
        atomic_fetch_add(&hold_progress, 1);
    }
    return unused;
}

/* Wherever the cycle is: who holds it back may wait for somebody who allocates. */
TEST(others_allocate_while_held) {
    pthread_t thread;
    uint64_t state = test_seed();
    for (size_t i = 0; i < 4000; i++) kept_heap[i] = ebb_alloc(10000);
    CHECK_EQ(pthread_create(&thread, NULL, hold_body, NULL), 0);
    for (int i = 0; i < 200; i++) {
        usleep((useconds_t)test_random_below(&state, 3000));
        ebb_gc_hold();
        size_t from = atomic_load(&hold_progress);
        for (int n = 0; n < 10000 && atomic_load(&hold_progress) < from + 5000; n++) usleep(1000);
        CHECK(atomic_load(&hold_progress) >= from + 5000);
        ebb_gc_allow();
    }
    atomic_store(&hold_over, true);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(nothing_is_collected_while_held) {
    CHECK_EQ(ebb_collect(), 0);
    uint64_t before = ebb_cycles();
    CHECK_EQ(ebb_gc_hold(), 1);
    CHECK_EQ(ebb_gc_hold(), 2);
    CHECK_EQ(ebb_gc_allow(), 1);
    for (size_t i = 0; i < 20000; i++) CHECK(ebb_alloc(10000) != NULL);
    CHECK_EQ(ebb_collect(), EBB_EBUSY);
    CHECK_EQ(ebb_cycles(), before);
    CHECK_EQ(ebb_gc_allow(), 0);
    for (size_t i = 0; i < 2000; i++) CHECK(ebb_alloc(10000) != NULL);
    CHECK_EQ(ebb_collect(), 0);
    CHECK(ebb_cycles() > before);
}

static atomic_bool holding_end;

static void *holding_body(void *unused) {
    while (!atomic_load(&holding_end)) {
        ebb_gc_hold();
        uint64_t before = ebb_cycles();
        for (int i = 0; i < 100; i++) CHECK(ebb_alloc(1000));
        CHECK_EQ(ebb_cycles(), before);
        ebb_gc_allow();
        ebb_stop_defer();
        ebb_stop_defer();
        before = ebb_cycles();
        for (volatile int i = 0; i < 1000; i++) {
        }
        CHECK_EQ(ebb_cycles(), before);
        ebb_stop_allow();
        ebb_stop_allow();
    }
    return unused;
}

TEST(holds_and_deferred_stops_beside_collections) {
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, holding_body, NULL), 0);
    for (size_t i = 0; i < 200 * test_scale(); i++) {
        int result = ebb_collect();
        CHECK(result == 0 || result == EBB_EBUSY);
    }
    atomic_store(&holding_end, true);
    for (size_t i = 0; i < 3; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(ebb_collect(), 0);
}

/* --- Finalizers ----------------------------------------------------------------------------------
 */

typedef struct knot {
    struct knot *other;
    size_t number;
} knot;
EBB_TYPE(knot, ptr(other));

static size_t final_numbers[COUNT], final_count;

static void knot_final(void *object, void *arg) {
    const knot *k = object;
    CHECK(arg == &final_count);
    final_numbers[final_count++] = k->number;
}

/* A knot that refers to the one with the number after it. */
static knot *knot_make(size_t number, ebb_order order, knot *other) {
    knot *k = ebb_new(knot);
    k->number = number;
    k->other = other;
    ebb_finalization f = {knot_final, &final_count, order}, before = {knot_final, NULL, 3};
    CHECK_EQ(ebb_finalizer_swap(k, &f, &before), 0);
    CHECK(!before.fn && !before.arg && before.order == 0);
    return k;
}

static bool final_ran(size_t number) {
    for (size_t i = 0; i < final_count; i++)
        if (final_numbers[i] == number) return true;
    return false;
}

static NOINLINE void orders_make(void) {
    for (size_t i = 0; i < 20; i++) {
        size_t n = i * 100;
        knot_make(n + 1, EBB_ORDER_STRICT, knot_make(n + 2, EBB_ORDER_STRICT, NULL));
        knot *self = knot_make(n + 3, EBB_ORDER_STRICT, NULL);
        self->other = self;
        self = knot_make(n + 4, EBB_ORDER, NULL);
        self->other = self;
        knot *ring = knot_make(n + 5, EBB_ORDER, NULL);
        ring->other = knot_make(n + 6, EBB_ORDER, ring);
        ring = knot_make(n + 7, EBB_ORDER_NONE, NULL);
        ring->other = knot_make(n + 8, EBB_ORDER_NONE, ring);
        knot_make(n + 9, EBB_ORDER_NONE, knot_make(n + 10, EBB_ORDER_LAST, NULL));
        knot_make(n + 11, EBB_ORDER_LAST, NULL);
        knot_make(n + 12, EBB_ORDER_LAST, knot_make(n + 13, EBB_ORDER_LAST, NULL));
        self = knot_make(n + 14, EBB_ORDER_LAST, NULL);
        self->other = self;
    }
    test_clear_stack();
}

/* How many of twenty ran. */
static size_t orders_ran(size_t number) {
    size_t ran = 0;
    for (size_t i = 0; i < 20; i++) ran += final_ran(i * 100 + number);
    return ran;
}

TEST(finalizers_have_orders) {
    turn_program = true;
    CHECK_EQ(ebb_runtime_set(&runtime), 0); /* they run where we say */
    ebb_set_gc_percent(-1);
    orders_make();
    probe_collect();
    size_t due = atomic_load(&turn_due);
    CHECK_EQ(final_count, 0);
    while (ebb_finalizer_run_one()) {
    }
    CHECK_EQ(final_count, due);
    static const size_t first[] = {1, 4, 7, 8, 9, 11, 12}, later[] = {2, 10, 13};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) CHECK(orders_ran(first[i]) >= 18);
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) CHECK_EQ(orders_ran(later[i]), 0);
    for (size_t n = 0; n < 3; n++) {
        test_clear_stack();
        probe_collect();
        ebb_finalizers_run();
    }
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) CHECK(orders_ran(later[i]) >= 18);
    CHECK_EQ(orders_ran(3) + orders_ran(5) + orders_ran(6) + orders_ran(14), 0);
    size_t left = final_count;
    CHECK(ebb_finalizers_all() >= 80);
    CHECK(ebb_finalizers_run() >= 80);
    CHECK_EQ(orders_ran(3) + orders_ran(5) + orders_ran(6) + orders_ran(14), 80);
    CHECK_EQ(final_count, 20 * 14);
    CHECK(left < final_count);
    CHECK_EQ(ebb_finalizers_all(), 0);
}

static void final_other(void *object, void *arg) {
    (void)object, (void)arg;
}

TEST(a_finalizer_is_swapped) {
    misuse_aborts();
    knot *k = ebb_new(knot);
    ebb_finalization a = {knot_final, &final_count, EBB_ORDER},
                     b = {final_other, k, EBB_ORDER_LAST};
    ebb_finalization none = {0}, before;
    CHECK_EQ(ebb_finalizer_swap(k, &a, NULL), 0);
    CHECK_EQ(ebb_finalizer_swap(k, &b, &before), 0);
    CHECK(before.fn == knot_final && before.arg == &final_count && before.order == EBB_ORDER);
    CHECK_EQ(ebb_finalizer_swap(k, &none, &before), 0);
    CHECK(before.fn == final_other && before.arg == k && before.order == EBB_ORDER_LAST);
    CHECK_EQ(ebb_finalizer_swap(k, &none, &before), 0);
    CHECK(before.fn == NULL);
    CHECK_EQ(ebb_finalizer_set(k, NULL, NULL), EBB_ENOENT);
    DIES("ebb_finalizer_swap: there is no order 9") {
        ebb_finalizer_swap(k, &(ebb_finalization){final_other, NULL, 9}, NULL);
    }
    DIES("ebb_finalizer_swap") {
        ebb_finalizer_swap((char *)k + 1, &a, NULL);
    }
}

/* --- Threads of other libraries -----------------------------------------------------------------
 */

static atomic_int stranger_turn; /* 1: it blocks; 2: it is to allocate; 3: it has */

/* What GLib's worker does: all signals blocked, for good. */
static void *stranger_body(void *unused) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    atomic_store(&stranger_turn, 1);
    while (atomic_load(&stranger_turn) == 1) usleep(1000);
    for (int i = 0; i < 1000; i++) CHECK(ebb_alloc(100));
    pthread_sigmask(SIG_UNBLOCK, &all, NULL);
    atomic_store(&stranger_turn, 3);
    while (atomic_load(&stranger_turn) == 3) usleep(1000);
    return unused;
}

TEST(a_thread_that_blocks_signals_is_passed_over) {
    pthread_t thread;
    runtime_begin();
    ebb_set_gc_percent(-1);
    CHECK_EQ(pthread_create(&thread, NULL, stranger_body, NULL), 0);
    while (atomic_load(&stranger_turn) != 1) usleep(1000);
    for (int i = 0; i < 20; i++) CHECK_EQ(ebb_collect(), 0);
    atomic_store(&stranger_turn, 2);
    while (atomic_load(&stranger_turn) != 3) ebb_collect(); /* known now: it may fail */
    for (int i = 0; i < 20; i++) CHECK_EQ(ebb_collect(), 0);
    atomic_store(&stranger_turn, 4);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

typedef struct ring {
    struct ring *next;
    size_t number;
} ring;
EBB_TYPE(ring, ptr(next));

static atomic_bool coming_end;

static void ring_make_and_check(void) {
    ring *first = NULL;
    for (size_t i = 0; i < 3000; i++) {
        ring *l = ebb_new(ring);
        *l = (ring){first, i};
        first = l;
    }
    size_t count = 0;
    for (const ring *l = first; l; l = l->next) CHECK_EQ(l->number, 2999 - count++);
    CHECK_EQ(count, 3000);
}

/* As threads begin: with all signals blocked, for some time, and then known. */
static void *coming_body(void *arg) {
    uint64_t state = test_seed() + (uintptr_t)arg;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    usleep((useconds_t)test_random_below(&state, 12000));
    bool known = test_random_below(&state, 2);
    if (known) CHECK(ebb_alloc(16) != NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    ring_make_and_check();
    return NULL;
}

static void *coming_collect(void *unused) {
    while (!atomic_load(&coming_end)) ebb_collect(); /* busy where a known one still blocks */
    return unused;
}

/* So many threads, and again when they have ended, beside one that collects. */
static void coming_run(void *(*body)(void *), size_t count, size_t rounds) {
    pthread_t collector, threads[8];
    static const ebb_runtime nothing;
    CHECK(count <= 8);
    CHECK_EQ(ebb_runtime_set(&nothing), 0);
    CHECK_EQ(pthread_create(&collector, NULL, coming_collect, NULL), 0);
    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < count; i++)
            CHECK_EQ(pthread_create(&threads[i], NULL, body, (void *)(round * count + i)), 0);
        for (size_t i = 0; i < count; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    atomic_store(&coming_end, true);
    CHECK_EQ(pthread_join(collector, NULL), 0);
    CHECK(ebb_cycles() > 10);
}

TEST(threads_that_come_are_searched) {
    coming_run(coming_body, 8, 40 * test_scale());
}

static void *born_body(void *before) {
    pthread_sigmask(SIG_SETMASK, before, NULL);
    ring_make_and_check();
    return NULL;
}

/* Never known, with all signals blocked: it goes on in a stop, and makes threads. */
static void *bearing_body(void *unused) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (size_t i = 0; i < 300 * test_scale(); i++) {
        CHECK_EQ(pthread_create(&thread, NULL, born_body, &before), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    return unused;
}

TEST(threads_that_strangers_make_in_a_stop_wait) {
    coming_run(bearing_body, 3, 1);
}
