/* test_gc_finalizers.c - weak references and finalizers: when they are cleared and run, in which
 * order, how often, and what a finalizer may do. See docs/design.md, "The collector". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/runtime.h>
#include <ebb/stats.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "modes.h"
#include "probe.h"
#include "test.h"

#define COUNT 200

typedef struct knot {
    struct knot *next, *other;
    uint64_t number, check; /* check == ~number */
} knot;
EBB_TYPE(knot, ptr(next), ptr(other));

/* The numbers of the objects in the order in which they were finalized. */
static uint64_t finalized[8 * COUNT];
static atomic_size_t finalized_count;
static void *held[COUNT];

static void finalize_note(void *object, void *arg) {
    const knot *l = object;
    (void)arg;
    CHECK_EQ(l->check, ~l->number);
    finalized[atomic_fetch_add(&finalized_count, 1)] = l->number;
}

static knot *knot_make(uint64_t number, knot *next) {
    knot *l = ebb_new(knot);
    CHECK(l != NULL);
    *l = (knot){.next = next, .number = number, .check = ~number};
    return l;
}

static knot *knot_finalized(uint64_t number, knot *next) {
    knot *l = knot_make(number, next);
    CHECK_EQ(ebb_finalizer_set(l, finalize_note, NULL), 0);
    return l;
}

/* A collection, and all finalizers that became due have run when it returns: here, or in the
 * library's own thread. */
static size_t finalize_all(void) {
    probe_collect();
    ebb_finalizers_run();
    return atomic_load(&finalized_count);
}

static size_t position_of(uint64_t number) {
    size_t count = atomic_load(&finalized_count), found = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        if (finalized[i] != number) continue;
        CHECK_EQ(found, SIZE_MAX); /* once only */
        found = i;
    }
    return found;
}

/* --- Weak references ------------------------------------------------------------------------ */

TEST(weak_to_null_and_foreign_stays) {
    static int foreign;
    int local;
    ebb_weak *null = ebb_weak_new(NULL), *a = ebb_weak_new(&foreign), *b = ebb_weak_new(&local);
    CHECK(null && a && b);
    probe_collect();
    CHECK(ebb_weak_get(null) == NULL);
    CHECK(ebb_weak_get(a) == &foreign);
    CHECK(ebb_weak_get(b) == &local);
}

TEST(weak_into_an_object) {
    held[0] = ebb_alloc(1000);
    ebb_weak *weak = ebb_weak_new((char *)held[0] + 500);
    probe_collect();
    CHECK(ebb_weak_get(weak) == (char *)held[0] + 500);
}

static NOINLINE void weak_build(void) {
    for (size_t i = 0; i < COUNT; i++) {
        void *object = ebb_alloc(40);
        held[i] = i % 2 ? object : NULL;
        probe_add(object);
        probe_add(object); /* two to one object */
    }
}

TEST(weak_is_null_after_death_and_not_before) {
    weak_build();
    probe_collect();
    size_t dead = 0;
    for (size_t i = 0; i < COUNT; i++) {
        CHECK_EQ(probe_lives(2 * i), probe_lives(2 * i + 1));
        if (i % 2) CHECK(probe_lives(2 * i));
        dead += !probe_lives(2 * i);
    }
    CHECK(dead + PROBE_STALE >= COUNT / 2);
}

/* The weak reference itself is an object, and may die first. */
static NOINLINE void weak_drop(void) {
    for (size_t i = 0; i < 10000; i++) {
        held[i % COUNT] = ebb_alloc(16);
        CHECK(ebb_weak_new(held[i % COUNT]) != NULL);
    }
}

TEST(weak_references_die_too) {
    struct ebb_stats before, after;
    probe_collect();
    ebb_stats(&before);
    for (int i = 0; i < 20; i++) {
        weak_drop();
        probe_collect();
    }
    ebb_stats(&after);
    CHECK(after.live_objects < before.live_objects + 3 * COUNT);
    CHECK(after.metadata < before.metadata + ((size_t)1 << 20));
}

TEST(weak_is_read_while_others_collect) {
    pthread_t threads[2];
    extern void *weak_reader(void *);
    held[0] = ebb_alloc(64);
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, weak_reader, ebb_weak_new(held[0])), 0);
    }
    for (int i = 0; i < 100; i++) CHECK_EQ(ebb_collect(), 0);
    for (size_t i = 0; i < 2; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

void *weak_reader(void *);
void *weak_reader(void *arg) {
    for (int i = 0; i < 200000; i++) CHECK(ebb_weak_get(arg) == held[0]);
    return NULL;
}

/* --- Once, and with everything intact ------------------------------------------------------- */

static NOINLINE void build_single(void) {
    for (uint64_t i = 0; i < COUNT; i++) knot_finalized(i, NULL);
}

TEST(each_runs_once) {
    build_single();
    size_t ran = finalize_all();
    CHECK(ran + PROBE_STALE >= COUNT);
    for (int i = 0; i < 3; i++) finalize_all();
    CHECK(atomic_load(&finalized_count) <= COUNT);
    for (uint64_t i = 0; i < COUNT; i++) position_of(i);
}

static NOINLINE void build_held(void) {
    for (uint64_t i = 0; i < COUNT; i++) held[i] = knot_finalized(i, NULL);
}

TEST(none_runs_while_the_object_lives) {
    build_held();
    for (int i = 0; i < 3; i++) CHECK_EQ(finalize_all(), 0);
    memset(held, 0, sizeof held);
    CHECK(finalize_all() + PROBE_STALE >= COUNT);
}

/* They run without being asked for, in a thread of the library's own. */
TEST(they_run_by_themselves) {
    build_single();
    probe_collect();
    for (int i = 0; i < 1000 && atomic_load(&finalized_count) + PROBE_STALE < COUNT; i++) {
        usleep(10000);
    }
    CHECK(atomic_load(&finalized_count) + PROBE_STALE >= COUNT);
}

static void finalize_walk(void *object, void *arg) {
    uint64_t length = 0;
    for (const knot *l = object; l; l = l->next, length++) CHECK_EQ(l->check, ~l->number);
    CHECK_EQ(length, *(uint64_t *)arg);
    atomic_fetch_add(&finalized_count, 1);
}

static NOINLINE void build_lists(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        knot *head = NULL;
        uint64_t *length = ebb_new(uint64_t);
        *length = 1 + i % 20;
        for (uint64_t k = 0; k < *length; k++) head = knot_make(i, head);
        CHECK_EQ(ebb_finalizer_set(head, finalize_walk, length), 0);
    }
}

static NOINLINE void build_litter(void) {
    for (size_t i = 0; i < 100000; i++) memset(ebb_alloc(sizeof(knot)), 0xdd, sizeof(knot));
}

TEST(what_it_refers_to_is_intact_and_arg_is_kept) {
    build_lists();
    probe_collect();
    build_litter();
    ebb_finalizers_run();
    finalize_all();
    CHECK(atomic_load(&finalized_count) + PROBE_STALE >= COUNT);
}

/* After the finalizer, the next cycle takes the object itself. */
static NOINLINE void build_probed(void) {
    for (uint64_t i = 0; i < COUNT; i++) probe_add(knot_finalized(i, NULL));
}

TEST(the_object_dies_in_the_next_cycle) {
    struct ebb_stats stats;
    build_probed();
    finalize_all();
    finalize_all();
    ebb_stats(&stats);
    CHECK(stats.finalizers <= PROBE_STALE);
    CHECK_EQ(stats.finalizers_due, 0);
    CHECK(stats.live_objects < COUNT + 100);
}

static void finalize_weak_gone(void *object, void *arg) {
    (void)object;
    CHECK(ebb_weak_get(arg) == NULL);
    atomic_fetch_add(&finalized_count, 1);
}

static NOINLINE void build_watched(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        knot *l = knot_make(i, NULL);
        CHECK_EQ(ebb_finalizer_set(l, finalize_weak_gone, ebb_weak_new(l)), 0);
    }
}

TEST(weak_references_are_cleared_before) {
    build_watched();
    CHECK(finalize_all() + PROBE_STALE >= COUNT);
}

/* But those to what only the finalizable object refers to, too: it is unreachable all the same. */
static NOINLINE void build_watched_inner(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        knot *inner = knot_make(i, NULL);
        knot_finalized(i, inner);
        probe_add(inner);
    }
}

TEST(weak_references_to_what_it_refers_to_are_cleared) {
    build_watched_inner();
    probe_collect();
    CHECK(probe_living(0, COUNT) <= PROBE_STALE);
    ebb_finalizers_run();
    CHECK(atomic_load(&finalized_count) + PROBE_STALE >= COUNT);
}

/* --- Order ---------------------------------------------------------------------------------- */

/* from refers to from + 1 refers to from + 2 … */
static NOINLINE void build_chain(uint64_t from, uint64_t length) {
    knot *next = NULL;
    for (uint64_t i = length; i-- > 0;) next = knot_finalized(from + i, next);
}

TEST(chains_are_finalized_from_their_heads) {
    for (uint64_t i = 0; i < 10; i++) build_chain(20 * i, 20);
    for (int i = 0; i < 25; i++) finalize_all();
    CHECK(atomic_load(&finalized_count) + 20 * PROBE_STALE >= 200);
    for (uint64_t i = 0; i < 200; i++) {
        if (i % 20) CHECK(position_of(i) == SIZE_MAX || position_of(i - 1) < position_of(i));
    }
}

/* Later cycles for later links: never two of one chain in one. */
TEST(a_chain_takes_a_cycle_a_link) {
    build_chain(0, 10);
    size_t before = 0;
    for (int i = 0; i < 12; i++) {
        size_t now = finalize_all();
        CHECK(now <= before + 1);
        before = now;
    }
}

/* Through objects without a finalizer, and through slices of words. */
static NOINLINE void build_indirect(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        knot *low = knot_finalized(1000 + i, NULL);
        void **words = ebb_new_array(void *, 4);
        words[3] = &low->check;
        knot *middle = knot_make(0, NULL);
        memcpy(&middle->other, &words, sizeof words);
        knot_finalized(i, middle);
    }
}

TEST(order_holds_through_other_objects) {
    build_indirect();
    for (int i = 0; i < 4; i++) finalize_all();
    CHECK(atomic_load(&finalized_count) + 2 * PROBE_STALE >= 2 * COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        size_t high = position_of(i), low = position_of(1000 + i);
        CHECK(low == SIZE_MAX || (high != SIZE_MAX && high < low));
    }
}

/* Trees of 15: every parent before its children. */
static NOINLINE knot *build_tree(uint64_t tree, uint64_t number) {
    if (number >= 15) return NULL;
    knot *l = knot_finalized(15 * tree + number, build_tree(tree, 2 * number + 1));
    l->other = build_tree(tree, 2 * number + 2);
    return l;
}

TEST(trees_are_finalized_downwards) {
    for (uint64_t tree = 0; tree < 20; tree++) build_tree(tree, 0);
    for (int i = 0; i < 8; i++) finalize_all();
    CHECK(atomic_load(&finalized_count) + 15 * PROBE_STALE >= 300);
    for (uint64_t i = 0; i < 300; i++) {
        uint64_t root = i - i % 15, parent = root + (i - root - 1) / 2;
        size_t at = position_of(i);
        CHECK(i == root || at == SIZE_MAX || position_of(parent) < at);
    }
}

/* A random acyclic graph. */
static knot *dag[COUNT];

static NOINLINE void build_dag(uint64_t *state) {
    for (uint64_t i = COUNT; i-- > 0;) {
        dag[i] = knot_finalized(i, NULL);
        if (i + 1 < COUNT) dag[i]->next = dag[i + 1 + test_random_below(state, COUNT - i - 1)];
        if (i + 1 < COUNT) dag[i]->other = dag[i + 1 + test_random_below(state, COUNT - i - 1)];
    }
}

static uint64_t dag_edges[COUNT][2];

static NOINLINE void dag_note(void) {
    for (size_t i = 0; i < COUNT; i++) {
        dag_edges[i][0] = dag[i]->next ? dag[i]->next->number : i;
        dag_edges[i][1] = dag[i]->other ? dag[i]->other->number : i;
    }
    memset(dag, 0, sizeof dag);
}

TEST(a_random_graph_is_finalized_in_order) {
    uint64_t state = test_seed();
    build_dag(&state);
    dag_note();
    for (int i = 0; i < COUNT && finalize_all() < COUNT; i++) continue;
    CHECK(atomic_load(&finalized_count) + PROBE_STALE >= COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < 2; k++) {
            size_t from = position_of(i), to = position_of(dag_edges[i][k]);
            CHECK(dag_edges[i][k] == i || to == SIZE_MAX || from < to);
        }
    }
}

static NOINLINE void build_circles(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        knot *a = knot_finalized(i, NULL), *b = knot_finalized(1000 + i, a);
        a->next = b;
    }
}

TEST(circles_are_never_finalized) {
    build_circles();
    for (int i = 0; i < 4; i++) CHECK_EQ(finalize_all(), 0);
}

/* A reference to itself does not count: nothing comes before the object. */
static NOINLINE void build_self(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        knot *a = knot_finalized(i, NULL);
        a->next = a;
    }
}

TEST(a_reference_to_itself_is_no_circle) {
    build_self();
    CHECK(finalize_all() + PROBE_STALE >= COUNT);
}

/* What hangs below a circle waits for ever, what refers to one does not. */
static NOINLINE void build_around_circles(void) {
    for (uint64_t i = 0; i < COUNT / 2; i++) {
        knot *below = knot_finalized(2000 + i, NULL);
        knot *a = knot_finalized(i, below), *b = knot_finalized(1000 + i, a);
        a->other = b;
        knot_finalized(3000 + i, a);
    }
}

TEST(around_a_circle) {
    build_around_circles();
    for (int i = 0; i < 4; i++) finalize_all();
    CHECK(atomic_load(&finalized_count) + PROBE_STALE >= COUNT / 2);
    for (size_t i = 0; i < atomic_load(&finalized_count); i++) CHECK(finalized[i] >= 3000);
}

/* --- Set, replaced, removed ----------------------------------------------------------------- */

static void finalize_other(void *object, void *arg) {
    CHECK_EQ((uintptr_t)arg, 17);
    finalized[atomic_fetch_add(&finalized_count, 1)] = 10000 + ((knot *)object)->number;
}

static NOINLINE void build_replaced(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        knot *l = knot_finalized(i, NULL);
        CHECK_EQ(ebb_finalizer_set(l, finalize_other, (void *)(uintptr_t)17), 0);
    }
}

TEST(setting_again_replaces) {
    build_replaced();
    CHECK(finalize_all() + PROBE_STALE >= COUNT);
    CHECK(atomic_load(&finalized_count) <= COUNT);
    for (size_t i = 0; i < atomic_load(&finalized_count); i++) CHECK(finalized[i] >= 10000);
}

static NOINLINE void build_removed(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        knot *l = knot_finalized(i, NULL);
        CHECK_EQ(ebb_finalizer_set(l, NULL, NULL), 0);
        CHECK_EQ(ebb_finalizer_set(l, NULL, NULL), EBB_ENOENT);
    }
}

TEST(a_removed_one_does_not_run) {
    build_removed();
    CHECK_EQ(finalize_all(), 0);
    struct ebb_stats stats;
    ebb_stats(&stats);
    CHECK_EQ(stats.finalizers, 0);
}

static NOINLINE void build_freed(void) {
    for (uint64_t i = 0; i < COUNT; i++) CHECK_EQ(ebb_free(knot_finalized(i, NULL)), 0);
}

TEST(a_freed_object_is_not_finalized) {
    struct ebb_stats stats;
    build_freed();
    CHECK_EQ(finalize_all(), 0);
    ebb_stats(&stats);
    CHECK_EQ(stats.finalizers, 0);
}

/* The slot of a freed object with a finalizer is used again: the new object has none. */
TEST(the_next_object_in_its_place_has_none) {
    for (uint64_t i = 0; i < COUNT; i++) {
        CHECK_EQ(ebb_free(knot_finalized(i, NULL)), 0);
        CHECK_EQ(ebb_finalizer_set(knot_make(i, NULL), NULL, NULL), EBB_ENOENT);
    }
}

/* --- What a finalizer may do ---------------------------------------------------------------- */

static void finalize_resurrect(void *object, void *arg) {
    knot *l = object;
    (void)arg;
    held[l->number] = l;
    atomic_fetch_add(&finalized_count, 1);
}

static NOINLINE void build_resurrected(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        CHECK_EQ(ebb_finalizer_set(knot_make(i, knot_make(i, NULL)), finalize_resurrect, NULL), 0);
    }
}

static NOINLINE size_t resurrected_count(void) {
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++) {
        const knot *l = held[i];
        if (!l) continue;
        count++;
        CHECK_EQ(l->check, ~(uint64_t)i);
        CHECK_EQ(l->next->check, ~(uint64_t)i);
    }
    return count;
}

TEST(an_object_can_be_made_reachable_again) {
    build_resurrected();
    CHECK(finalize_all() + PROBE_STALE >= COUNT);
    build_litter();
    finalize_all();
    CHECK(resurrected_count() + PROBE_STALE >= COUNT);
    CHECK(atomic_load(&finalized_count) <= COUNT); /* the finalizer was gone */
    for (size_t i = 0; i < COUNT; i++)
        if (held[i]) CHECK_EQ(ebb_finalizer_set(held[i], finalize_note, NULL), 0);
    memset(held, 0, sizeof held);
    CHECK(finalize_all() + 2 * PROBE_STALE >= 2 * COUNT);
}

/* Sets itself anew each time: runs once a cycle. */
static void finalize_again(void *object, void *arg) {
    CHECK_EQ(ebb_finalizer_set(object, finalize_again, arg), 0);
    atomic_fetch_add(&finalized_count, 1);
}

static NOINLINE void build_again(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        CHECK_EQ(ebb_finalizer_set(knot_make(i, NULL), finalize_again, NULL), 0);
    }
}

TEST(a_finalizer_can_set_itself_again) {
    build_again();
    for (size_t i = 1; i <= 5; i++) {
        size_t ran = finalize_all();
        CHECK(ran <= i * COUNT && ran + i * PROBE_STALE >= i * COUNT);
    }
}

static void finalize_busy(void *object, void *arg) {
    finalize_note(object, arg);
    for (size_t i = 0; i < 200; i++) CHECK(ebb_alloc(100 + i) != NULL);
    if (((knot *)object)->number % 50 == 0) CHECK_EQ(ebb_collect(), 0);
    CHECK_EQ(ebb_finalizers_run(), 0); /* from within: does not wait for itself, nor nest */
}

static NOINLINE void build_busy(void) {
    for (uint64_t i = 0; i < COUNT; i++) {
        CHECK_EQ(ebb_finalizer_set(knot_make(i, NULL), finalize_busy, NULL), 0);
    }
}

TEST(a_finalizer_may_allocate_and_collect) {
    build_busy();
    probe_collect();
    for (int i = 0; i < 1000 && atomic_load(&finalized_count) + PROBE_STALE < COUNT; i++) {
        ebb_finalizers_run();
        usleep(1000);
    }
    CHECK(atomic_load(&finalized_count) + PROBE_STALE >= COUNT);
}

/* --- Many, and from many threads ------------------------------------------------------------ */

static atomic_size_t storm_set, storm_ran, storm_inside;

static void finalize_storm(void *object, void *arg) {
    const knot *l = object;
    (void)arg;
    CHECK_EQ(atomic_fetch_add(&storm_inside, 1), 0); /* one at a time */
    CHECK_EQ(l->check, ~l->number);
    atomic_fetch_add(&storm_ran, 1);
    atomic_fetch_sub(&storm_inside, 1);
}

static void *storm_body(void *arg) {
    uint64_t state = test_seed() + (uintptr_t)arg;
    knot *kept[32] = {0};
    for (size_t i = 0; i < 30000 * test_scale() / (test_slow() ? 10 : 1); i++) {
        knot *l = knot_make(i, kept[test_random_below(&state, 32)]);
        if (i % 10 == 0) l->next = NULL;
        if (test_random_below(&state, 4) == 0) {
            CHECK_EQ(ebb_finalizer_set(l, finalize_storm, NULL), 0);
            atomic_fetch_add(&storm_set, 1);
        }
        kept[test_random_below(&state, 32)] = l;
        if (test_random_below(&state, 5000) == 0) CHECK_EQ(ebb_collect(), 0);
        if (test_random_below(&state, 5000) == 0) ebb_finalizers_run();
    }
    return NULL;
}

TEST(storm) {
    pthread_t threads[4];
    struct ebb_stats stats;
    for (uintptr_t i = 0; i < 4; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, storm_body, (void *)i), 0);
    }
    for (size_t i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 200 && atomic_load(&storm_ran) < atomic_load(&storm_set); i++) {
        probe_collect();
        ebb_finalizers_run();
    }
    ebb_stats(&stats);
    CHECK_EQ(atomic_load(&storm_ran) + stats.finalizers + stats.finalizers_due,
             atomic_load(&storm_set));
    CHECK(stats.finalizers <= 200);
    modes_steps(atomic_load(&storm_ran));
}

TEST(storm_with_stress) {
    MODES_PASS("storm", "stress=701,verify=1", NULL);
    MODES_PASS("a_random_graph_is_finalized_in_order", "stress=11", NULL);
    MODES_PASS("what_it_refers_to_is_intact_and_arg_is_kept", "stress=97,verify=1", NULL);
}

/* --- Many ------------------------------------------------------------------------------------- */

static atomic_size_t many_ran;

static void finalize_many(void *object, void *arg) {
    (void)object, (void)arg;
    atomic_fetch_add(&many_ran, 1);
}

static size_t metadata_now(void) {
    struct ebb_stats stats;
    ebb_stats_brief(&stats);
    return stats.metadata;
}

static NOINLINE void many_make(size_t count) {
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(ebb_finalizer_set(knot_make(i, NULL), finalize_many, NULL), 0);
}

/* That all are due at once takes no memory beside them, nor do as many again. */
TEST(many_are_due_at_once) {
    enum { MANY = 100000 };
    many_make(1);
    probe_collect();
    unsigned held_back = ebb_gc_hold();
    size_t before = metadata_now();
    many_make(MANY);
    size_t made = metadata_now();
    CHECK(made - before <= MANY * 64 + MANY * sizeof(knot) / 16 + 1024 * 1024);
    CHECK_EQ(ebb_gc_allow(), held_back - 1);
    probe_collect();
    ebb_finalizers_run();
    many_make(MANY);
    probe_collect();
    ebb_finalizers_run();
    CHECK(atomic_load(&many_ran) >= 2 * MANY - 3 * PROBE_STALE);
    CHECK(metadata_now() <= made + 1024 * 1024);
}
