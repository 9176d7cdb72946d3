/* finalizers.c - finalizers in the four orders, on demand, set anew, from within others. */
#include "case.h"

#include <gc/gc_disclaim.h>
#include <gc/javaxfc.h>

enum { COUNT = 100 };

typedef void set_finalizer(void *, GC_finalization_proc, void *, GC_finalization_proc *, void **);

typedef struct link {
    struct link *next;
    size_t chain, position;
} link_object;

/* What was told, by chain and position: how often, in which turn, in which collection. */
static struct {
    unsigned times, turn;
    GC_word cycle;
} told[COUNT][4];
static unsigned turns, wrong_data, damaged;

static void tell(void *object, void *data) {
    link_object *l = object;
    if (l->chain >= COUNT || l->position >= 4) {
        damaged++;
        return;
    }
    wrong_data += (uintptr_t)data != l->chain * 10 + l->position;
    told[l->chain][l->position].times++;
    told[l->chain][l->position].turn = ++turns;
    told[l->chain][l->position].cycle = GC_get_gc_no();
}

static size_t told_count(size_t position) {
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++) count += told[i][position].times > 0;
    return count;
}

static size_t told_twice(void) {
    size_t count = 0;
    for (size_t i = 0; i < COUNT * 4; i++) count += told[i / 4][i % 4].times > 1;
    return count;
}

/* How many chains were told of a before b, and in an earlier collection. */
static size_t told_before(size_t a, size_t b, int earlier) {
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++) {
        if (!told[i][a].times || !told[i][b].times) continue;
        count += earlier ? told[i][a].cycle < told[i][b].cycle : told[i][a].turn < told[i][b].turn;
    }
    return count;
}

/* How many chains were told of both in one collection. */
static size_t told_together(size_t a, size_t b) {
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++) {
        count += told[i][a].times && told[i][b].times && told[i][a].cycle == told[i][b].cycle;
    }
    return count;
}

/* COUNT chains of objects, each with a finalizer by the set of its position; null for none. ring:
 * the last refers to the first. */
static NOINLINE void make_chains(size_t length, set_finalizer *const *sets, int ring) {
    for (size_t chain = 0; chain < COUNT; chain++) {
        link_object *first = NULL, *last = NULL;
        for (size_t position = length; position-- > 0;) {
            link_object *l = GC_NEW(link_object);
            *l = (link_object){first, chain, position};
            if (!first) last = l;
            first = l;
            if (!sets[position]) continue;
            sets[position](l, tell, (void *)(chain * 10 + position), NULL, NULL);
        }
        if (ring) last->next = first;
    }
}

static void collect_times(int times) {
    for (int i = 0; i < times; i++) collect();
}

static void quiet(char *text, GC_word argument) {
    (void)text;
    (void)argument;
}

static void say_told(size_t length) {
    for (size_t i = 0; i < length; i++) say("%zu: %s", i, part(told_count(i), COUNT));
    say("%zu twice, %u with wrong data, %u damaged", told_twice(), wrong_data, damaged);
}

#define PLAIN       GC_register_finalizer
#define IGNORE_SELF GC_register_finalizer_ignore_self
#define NO_ORDER    GC_register_finalizer_no_order
#define UNREACHABLE GC_register_finalizer_unreachable

/* --- Orders --------------------------------------------------------------------------------- */

CASE(plain) {
    make_chains(1, (set_finalizer *[]){PLAIN}, 0);
    collect_times(3);
    say_told(1);
}

CASE(plain_chain) {
    make_chains(3, (set_finalizer *[]){PLAIN, PLAIN, PLAIN}, 0);
    collect_times(5);
    say_told(3);
    say("in order: %s, %s", part(told_before(0, 1, 1), COUNT), part(told_before(1, 2, 1), COUNT));
}

CASE(plain_chain_without_java) {
    GC_set_java_finalization(0);
    make_chains(3, (set_finalizer *[]){PLAIN, PLAIN, PLAIN}, 0);
    collect_times(5);
    say_told(3);
    say("in order: %s, %s", part(told_before(0, 1, 1), COUNT), part(told_before(1, 2, 1), COUNT));
}

CASE(plain_to_itself) {
    GC_set_warn_proc(quiet);
    make_chains(1, (set_finalizer *[]){PLAIN}, 1);
    collect_times(5);
    say_told(1);
}

CASE(plain_ring) {
    GC_set_warn_proc(quiet);
    make_chains(3, (set_finalizer *[]){PLAIN, NULL, PLAIN}, 1);
    collect_times(5);
    say_told(3);
}

CASE(ignore_self) {
    make_chains(1, (set_finalizer *[]){IGNORE_SELF}, 1);
    collect_times(3);
    say_told(1);
}

CASE(ignore_self_chain) {
    make_chains(3, (set_finalizer *[]){IGNORE_SELF, IGNORE_SELF, IGNORE_SELF}, 0);
    collect_times(5);
    say_told(3);
    say("in order: %s, %s", part(told_before(0, 1, 1), COUNT), part(told_before(1, 2, 1), COUNT));
}

CASE(ignore_self_ring) {
    GC_set_warn_proc(quiet);
    make_chains(2, (set_finalizer *[]){IGNORE_SELF, IGNORE_SELF}, 1);
    collect_times(5);
    say_told(2);
}

CASE(no_order_chain) {
    make_chains(3, (set_finalizer *[]){NO_ORDER, NO_ORDER, NO_ORDER}, 0);
    collect_times(3);
    say_told(3);
    say("together: %s, %s", part(told_together(0, 1), COUNT), part(told_together(1, 2), COUNT));
}

CASE(no_order_ring) {
    make_chains(3, (set_finalizer *[]){NO_ORDER, NO_ORDER, NO_ORDER}, 1);
    collect_times(3);
    say_told(3);
    say("together: %s, %s", part(told_together(0, 1), COUNT), part(told_together(1, 2), COUNT));
}

CASE(unreachable) {
    make_chains(1, (set_finalizer *[]){UNREACHABLE}, 0);
    collect_times(3);
    say_told(1);
}

CASE(unreachable_to_itself) {
    GC_set_warn_proc(quiet);
    make_chains(1, (set_finalizer *[]){UNREACHABLE}, 1);
    collect_times(3);
    say_told(1);
}

CASE(unreachable_without_java) {
    GC_set_java_finalization(0);
    make_chains(3, (set_finalizer *[]){UNREACHABLE, UNREACHABLE, UNREACHABLE}, 0);
    collect_times(5);
    say_told(3);
    say("in order: %s, %s", part(told_before(0, 1, 1), COUNT), part(told_before(1, 2, 1), COUNT));
}

CASE(unreachable_ring) {
    GC_set_warn_proc(quiet);
    make_chains(2, (set_finalizer *[]){UNREACHABLE, UNREACHABLE}, 1);
    collect_times(3);
    say_told(2);
}

CASE(unreachable_behind_no_order) {
    make_chains(2, (set_finalizer *[]){NO_ORDER, UNREACHABLE}, 0);
    collect_times(5);
    say_told(2);
    say("in order: %s", part(told_before(0, 1, 1), COUNT));
}

CASE(no_order_behind_unreachable) {
    make_chains(2, (set_finalizer *[]){UNREACHABLE, NO_ORDER}, 0);
    collect_times(5);
    say_told(2);
}

CASE(unreachable_behind_plain) {
    make_chains(3, (set_finalizer *[]){PLAIN, NULL, UNREACHABLE}, 0);
    collect_times(5);
    say_told(3);
    say("in order: %s", part(told_before(0, 2, 1), COUNT));
}

CASE(no_order_behind_plain) {
    make_chains(2, (set_finalizer *[]){PLAIN, NO_ORDER}, 0);
    collect_times(5);
    say_told(2);
    say("in order: %s", part(told_before(0, 1, 1), COUNT));
}

CASE(plain_behind_no_order) {
    make_chains(2, (set_finalizer *[]){NO_ORDER, PLAIN}, 0);
    collect_times(5);
    say_told(2);
    say("together: %s", part(told_together(0, 1), COUNT));
}

/* --- What is reachable ---------------------------------------------------------------------- */

static link_object *kept[COUNT];

CASE(reachable_are_not_told) {
    make_chains(1, (set_finalizer *[]){PLAIN}, 0);
    for (size_t i = 0; i < COUNT; i++) {
        kept[i] = GC_NEW(link_object);
        *kept[i] = (link_object){NULL, i, 1};
        PLAIN(kept[i], tell, (void *)(i * 10 + 1), NULL, NULL);
    }
    collect_times(3);
    say("%zu of the reachable", told_count(1));
    memset(kept, 0, sizeof kept);
    collect_times(3);
    say_told(2);
}

static void resurrect(void *object, void *data) {
    tell(object, data);
    kept[((link_object *)object)->chain] = object;
}

static NOINLINE void make_resurrected(void) {
    for (size_t i = 0; i < COUNT; i++) {
        link_object *l = GC_NEW(link_object);
        *l = (link_object){GC_NEW(link_object), i, 0};
        *l->next = (link_object){NULL, i, 2};
        PLAIN(l, resurrect, (void *)(i * 10), NULL, NULL);
    }
}

CASE(resurrected) {
    make_resurrected();
    collect_times(3);
    say_told(1);
    size_t whole = 0;
    for (size_t i = 0; i < COUNT; i++) {
        whole += kept[i] && kept[i]->chain == i && kept[i]->next->position == 2;
    }
    say("%s are whole", part(whole, COUNT));
    memset(kept, 0, sizeof kept);
    collect_times(3);
    say_told(1);
}

static void again(void *object, void *data) {
    link_object *l = object;
    tell(object, data);
    if (++l->position < 4) PLAIN(object, again, (void *)(l->chain * 10 + l->position), NULL, NULL);
}

static NOINLINE void make_again(void) {
    for (size_t i = 0; i < COUNT; i++) {
        link_object *l = GC_NEW(link_object);
        *l = (link_object){NULL, i, 0};
        PLAIN(l, again, (void *)(i * 10), NULL, NULL);
    }
}

CASE(set_again_by_itself) {
    make_again();
    collect_times(8);
    say_told(4);
    say("in order: %s", part(told_before(0, 3, 1), COUNT));
}

static unsigned data_whole;

static void look_at_data(void *object, void *data) {
    (void)object;
    size_t *numbers = data;
    data_whole += numbers[0] == 17 && numbers[999] == 4711;
}

static NOINLINE void make_with_data(void) {
    for (size_t i = 0; i < COUNT; i++) {
        size_t *data = GC_malloc_atomic(1000 * sizeof *data);
        data[0] = 17;
        data[999] = 4711;
        PLAIN(GC_malloc(20), look_at_data, data, NULL, NULL);
    }
}

CASE(data_is_kept) {
    make_with_data();
    for (int i = 0; i < 3000; i++) memset(GC_malloc_atomic(8000), 0xFF, 8000);
    collect_times(3);
    say("%s whole", part(data_whole, COUNT));
}

/* --- Set, set anew, removed ----------------------------------------------------------------- */

static void other(void *object, void *data) {
    (void)object;
    (void)data;
}

CASE(returns_what_was_set) {
    set_finalizer *const sets[] = {PLAIN, IGNORE_SELF, NO_ORDER, UNREACHABLE};
    int a, b;
    for (int i = 0; i < 4; i++) {
        void *p = GC_malloc(10);
        GC_finalization_proc before = other;
        void *data = &b;
        sets[i](p, tell, &a, &before, &data);
        say("none: %s %s", yes(before == NULL), yes(data == NULL));
        sets[i](p, other, &b, &before, &data);
        say("the first: %s %s", yes(before == tell), yes(data == &a));
        sets[(i + 1) % 4](p, NULL, NULL, &before, &data);
        say("the second: %s %s", yes(before == other), yes(data == &b));
        sets[i](p, NULL, NULL, &before, &data);
        say("removed: %s %s", yes(before == NULL), yes(data == NULL));
    }
    GC_finalization_proc before = other;
    void *data = &b;
    PLAIN(&a, tell, NULL, &before, &data);
    say("of no object: %s %s", yes(before == NULL), yes(data == NULL));
}

static NOINLINE void make_removed(void) {
    for (size_t i = 0; i < COUNT; i++) {
        link_object *l = GC_NEW(link_object);
        *l = (link_object){NULL, i, 0};
        PLAIN(l, tell, (void *)(i * 10), NULL, NULL);
        PLAIN(l, NULL, NULL, NULL, NULL);
    }
}

CASE(removed) {
    make_removed();
    collect_times(3);
    say_told(1);
}

static NOINLINE void make_replaced(void) {
    for (size_t i = 0; i < COUNT; i++) {
        link_object *l = GC_NEW(link_object);
        *l = (link_object){NULL, i, 0};
        PLAIN(l, other, NULL, NULL, NULL);
        PLAIN(l, tell, (void *)(i * 10), NULL, NULL);
    }
}

CASE(replaced) {
    make_replaced();
    collect_times(3);
    say_told(1);
}

/* --- When they run -------------------------------------------------------------------------- */

static unsigned notified;

static void notifier(void) {
    notified++;
}

CASE(on_demand) {
    GC_set_finalize_on_demand(1);
    GC_set_finalizer_notifier(notifier);
    make_chains(1, (set_finalizer *[]){PLAIN}, 0);
    GC_word before = GC_get_gc_no();
    collect_times(3);
    say("ran: %zu", told_count(0));
    say("notified: %s, once a collection at most: %s", yes(notified > 0),
        yes(notified <= GC_get_gc_no() - before));
    say("should invoke: %s", yes(GC_should_invoke_finalizers()));
    int ran = GC_invoke_finalizers();
    say("invoked: %s, as many as ran: %s", part((size_t)ran, COUNT),
        yes((size_t)ran == told_count(0)));
    say("should invoke: %s, invoked: %d", yes(GC_should_invoke_finalizers()),
        GC_invoke_finalizers());
}

CASE(notifier_without_demand) {
    GC_set_finalizer_notifier(notifier);
    make_chains(1, (set_finalizer *[]){PLAIN}, 0);
    collect_times(3);
    say("%s, notified %u", part(told_count(0), COUNT), notified);
}

CASE(by_allocation) {
    make_chains(1, (set_finalizer *[]){PLAIN}, 0);
    clear_stack();
    for (int i = 0; i < 3000000 && told_count(0) < COUNT - 5; i++) {
        GC_reachable_here(GC_malloc((size_t)i % 300));
    }
    say_told(1);
}

static unsigned allocating;

static void allocate_and_collect(void *object, void *data) {
    size_t *numbers = GC_malloc(8000);
    tell(object, data);
    numbers[999] = 7;
    if (allocating++ % 10 == 0) GC_gcollect();
    for (int i = 0; i < 100; i++) GC_reachable_here(GC_malloc(100));
    damaged += numbers[999] != 7;
}

static NOINLINE void make_allocating(void) {
    for (size_t i = 0; i < COUNT; i++) {
        link_object *l = GC_NEW(link_object);
        *l = (link_object){NULL, i, 0};
        PLAIN(l, allocate_and_collect, (void *)(i * 10), NULL, NULL);
    }
}

CASE(finalizers_that_allocate) {
    make_allocating();
    collect_times(3);
    say_told(1);
}

static unsigned made_in_turn;

static void make_the_next(void *object, void *data) {
    (void)object;
    size_t left = (size_t)data;
    made_in_turn++;
    if (left) PLAIN(GC_malloc(20), make_the_next, (void *)(left - 1), NULL, NULL);
}

CASE(finalizers_that_make_finalizers) {
    PLAIN(GC_malloc(20), make_the_next, (void *)20, NULL, NULL);
    collect_times(60);
    say("20 in turn: %s", yes(made_in_turn >= 19));
}

CASE(finalize_all) {
    make_chains(1, (set_finalizer *[]){PLAIN}, 0);
    for (size_t i = 0; i < COUNT; i++) {
        kept[i] = GC_NEW(link_object);
        *kept[i] = (link_object){NULL, i, 1};
        PLAIN(kept[i], tell, (void *)(i * 10 + 1), NULL, NULL);
    }
    GC_finalize_all();
    GC_invoke_finalizers();
    say("%zu, %zu", told_count(0), told_count(1));
    collect_times(2);
    say("twice: %zu", told_twice());
}

static unsigned awaited;

static void await(void *object) {
    awaited += object != NULL;
}

CASE(await_finalize) {
    GC_set_await_finalize_proc(await);
    make_chains(1, (set_finalizer *[]){PLAIN}, 0);
    collect_times(3);
    say_told(1);
    say("awaited as many: %s", yes(awaited == told_count(0)));
}

/* --- Others --------------------------------------------------------------------------------- */

static size_t many_ran;

static void count_one(void *object, void *data) {
    many_ran += *(size_t *)object == (size_t)data;
}

static NOINLINE void make_many(size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t *p = i % 2 ? GC_malloc(8 + i % 100) : GC_malloc_atomic(8 + i % 3000);
        *p = i;
        NO_ORDER(p, count_one, (void *)i, NULL, NULL);
    }
}

CASE(many) {
    make_many(50000);
    collect_times(3);
    say("%s", part(many_ran, 50000));
}

static size_t disclaimed;

static void closure_ran(void *object, void *data) {
    disclaimed += *(size_t *)object == 0xC0FFEE && data == &disclaimed;
}

static NOINLINE void make_finalized(void) {
    static const struct GC_finalizer_closure closure = {closure_ran, &disclaimed};
    for (int i = 0; i < 1000; i++) {
        size_t *p = GC_finalized_malloc(40, &closure);
        p[0] = 0xC0FFEE;
        p[4] = (size_t)i;
    }
}

CASE(finalized_malloc) {
    GC_init_finalized_malloc();
    make_finalized();
    for (int i = 0; i < 4; i++) {
        collect_all();
        for (int j = 0; j < 10000; j++) GC_reachable_here(GC_malloc(40));
    }
    say("%s", part(disclaimed, 1000));
}

CASE(atomic_object) {
    for (int i = 0; i < COUNT; i++) {
        size_t *p = GC_malloc_atomic(100);
        *p = (size_t)i;
        PLAIN(p, count_one, (void *)(size_t)i, NULL, NULL);
    }
    collect_times(3);
    say("%s", part(many_ran, COUNT));
}

CASE(large_object) {
    for (int i = 0; i < COUNT; i++) {
        size_t *p = GC_malloc((size_t)100000 + (size_t)i);
        *p = (size_t)i;
        PLAIN(p, count_one, (void *)(size_t)i, NULL, NULL);
    }
    collect_times(3);
    say("%s", part(many_ran, COUNT));
}
