/* links.c - links that disappear, short and long, hidden pointers, toggle references. */
#include "case.h"

enum { COUNT = 100 };

static void *links[COUNT], *moved[COUNT];
static void *kept[COUNT];

static void *hide(void *p) {
    return (void *)GC_HIDE_POINTER(p);
}

static void *reveal(void *p) {
    return p ? GC_REVEAL_POINTER((GC_hidden_pointer)p) : NULL;
}

static size_t cleared(void *const *l) {
    size_t count = 0;
    for (int i = 0; i < COUNT; i++) count += l[i] == NULL;
    return count;
}

typedef int set_link(void **, const void *);

static NOINLINE size_t make_links(set_link *set, int keep) {
    size_t done = 0;
    for (int i = 0; i < COUNT; i++) {
        size_t *p = GC_malloc(40);
        p[4] = (size_t)i;
        links[i] = hide(p);
        done += set(&links[i], p) == GC_SUCCESS;
        if (keep) kept[i] = p;
    }
    return done;
}

static void each_way(set_link *set) {
    say("set: %s", part(make_links(set, 0), COUNT));
    collect();
    say("of dead objects: %s cleared", part(cleared(links), COUNT));
    say("set: %s", part(make_links(set, 1), COUNT));
    collect();
    size_t whole = 0;
    for (int i = 0; i < COUNT; i++) whole += reveal(links[i]) == kept[i];
    say("of live ones: %zu cleared, %zu lead there", cleared(links), whole);
    memset(kept, 0, sizeof kept);
    collect();
    say("when these died: %s cleared", part(cleared(links), COUNT));
}

CASE(short_links) {
    each_way(GC_general_register_disappearing_link);
}

CASE(long_links) {
    each_way(GC_register_long_link);
}

static void twice(const char *what, set_link *set, int unregister(void **)) {
    void *p = GC_malloc(10), *q = GC_malloc(10);
    int first = set(&links[0], p), second = set(&links[0], p), third = set(&links[0], q);
    int gone = unregister(&links[0]), again = unregister(&links[0]);
    say("%s: set %d %d %d, gone %d %d", what, first, second, third, gone, again);
    GC_reachable_here(p);
    GC_reachable_here(q);
}

CASE(set_twice) {
    twice("short", GC_general_register_disappearing_link, GC_unregister_disappearing_link);
    twice("long", GC_register_long_link, GC_unregister_long_link);
}

static NOINLINE void make_new_object(void) {
    for (int i = 0; i < COUNT; i++) {
        kept[i] = GC_malloc(30);
        links[i] = hide(kept[i]);
        GC_general_register_disappearing_link(&links[i], GC_malloc(20));
        GC_general_register_disappearing_link(&links[i], kept[i]);
    }
}

CASE(set_twice_leads_to_the_second) {
    make_new_object();
    collect();
    say("cleared with the first: %zu", cleared(links));
}

CASE(unregistered) {
    make_links(GC_general_register_disappearing_link, 0);
    size_t done = 0;
    for (int i = 0; i < COUNT; i++) done += (size_t)GC_unregister_disappearing_link(&links[i]);
    collect();
    say("%zu were there, %zu cleared", done, cleared(links));
    memset(links, 0, sizeof links);
    make_links(GC_register_long_link, 0);
    done = 0;
    for (int i = 0; i < COUNT; i++) done += (size_t)GC_unregister_long_link(&links[i]);
    collect();
    say("%zu were there, %zu cleared", done, cleared(links));
}

typedef int move_link(void **, void **);

static void moves(set_link *set, move_link *move) {
    make_links(set, 0);
    size_t done = 0;
    for (int i = 0; i < COUNT; i++) {
        moved[i] = links[i];
        done += move(&links[i], &moved[i]) == GC_SUCCESS;
    }
    collect();
    say("%zu moved; %zu cleared where they were, %s where they went", done, cleared(links),
        part(cleared(moved), COUNT));
    void *p = GC_malloc(10), *a = hide(p), *b = hide(p), *c = hide(p);
    set(&a, p);
    set(&b, p);
    say("onto another: %d; onto itself: %d; of none: %d", move(&a, &b), move(&a, &a), move(&c, &a));
    GC_reachable_here(p);
}

CASE(moved_short) {
    moves(GC_general_register_disappearing_link, GC_move_disappearing_link);
}

CASE(moved_long) {
    moves(GC_register_long_link, GC_move_long_link);
}

/* --- Beside finalizers ---------------------------------------------------------------------- */

static size_t seen_short, seen_long, ran;

static void look(void *object, void *data) {
    size_t i = (size_t)data;
    seen_short += links[i] != NULL;
    seen_long += reveal(moved[i]) == object;
    ran++;
}

static NOINLINE void make_finalized(void) {
    for (size_t i = 0; i < COUNT; i++) {
        void *p = GC_malloc(40);
        links[i] = moved[i] = hide(p);
        GC_general_register_disappearing_link(&links[i], p);
        GC_register_long_link(&moved[i], p);
        GC_register_finalizer(p, look, (void *)i, NULL, NULL);
    }
}

CASE(in_finalizers) {
    make_finalized();
    collect();
    collect();
    collect();
    say("%s ran; short links there: %zu; long ones: %s", part(ran, COUNT), seen_short,
        yes(seen_long == ran));
    say("after that: %s and %s cleared", part(cleared(links), COUNT), part(cleared(moved), COUNT));
}

typedef struct holder {
    void *target;
    size_t number;
} holder;

static void look_inside(void *object, void *data) {
    (void)data;
    ran++;
    seen_short += ((holder *)object)->target != NULL;
}

static NOINLINE void make_inside(void) {
    for (int i = 0; i < COUNT; i++) {
        holder *h = GC_NEW(holder);
        h->target = h;
        GC_register_disappearing_link(&h->target);
        GC_register_finalizer(h, look_inside, NULL, NULL, NULL);
    }
}

/* The link from an object to itself disappears before the finalizer is asked for. */
CASE(to_itself) {
    make_inside();
    collect();
    collect();
    say("%s ran, links there: %zu", part(ran, COUNT), seen_short);
}

static holder *holders[COUNT];

static NOINLINE void make_holders(int keep) {
    for (int i = 0; i < COUNT; i++) {
        holder *h = GC_malloc_atomic(sizeof *h);
        kept[i] = GC_malloc(30);
        h->target = hide(kept[i]);
        GC_general_register_disappearing_link(&h->target, kept[i]);
        if (keep) holders[i] = h;
    }
}

CASE(inside_dead_objects) {
    make_holders(0);
    collect();
    for (int i = 0; i < 20000; i++) memset(GC_malloc_atomic(sizeof(holder)), 0xFF, sizeof(holder));
    memset(kept, 0, sizeof kept);
    collect();
    int damaged = 0;
    static holder *others[1000];
    for (int i = 0; i < 1000; i++) {
        others[i] = memset(GC_malloc_atomic(sizeof(holder)), 0xEE, sizeof(holder));
    }
    collect();
    for (int i = 0; i < 1000; i++) damaged += others[i]->target != (void *)0xEEEEEEEEEEEEEEEE;
    say("%d written to after their death", damaged);
}

CASE(inside_live_objects) {
    make_holders(1);
    memset(kept, 0, sizeof kept);
    collect();
    size_t count = 0;
    for (int i = 0; i < COUNT; i++) count += holders[i]->target == NULL;
    say("%s cleared", part(count, COUNT));
}

/* --- Many ----------------------------------------------------------------------------------- */

enum { MANY = 30000 };

static NOINLINE void make_many(void **table) {
    for (int i = 0; i < MANY; i++) {
        size_t *p = GC_malloc_atomic((size_t)i % 200 + 8);
        *p = (size_t)i;
        table[i] = hide(p);
        GC_general_register_disappearing_link(&table[i], p);
    }
}

CASE(many) {
    void **table = malloc(MANY * sizeof *table);
    for (int round = 0; round < 3; round++) {
        make_many(table);
        collect();
        size_t dead = 0, wrong = 0;
        for (size_t i = 0; i < MANY; i++) {
            if (table[i]) wrong += *(size_t *)reveal(table[i]) != i;
            dead += table[i] == NULL;
            GC_unregister_disappearing_link(&table[i]);
        }
        say("%s dead, %zu wrong", part(dead, MANY), wrong);
    }
}

/* Links come, go, move and get other objects while collections run beside. */
static void *changing[2 * COUNT], *changing_kept[2 * COUNT];

static NOINLINE void change_link(unsigned n) {
    unsigned i = n * 7 % (2 * COUNT), to = (n * 13 + 5) % (2 * COUNT);
    if (n % 5 == 0 && changing[i] && !changing[to]) {
        changing[to] = changing[i];
        changing_kept[to] = changing_kept[i];
        changing[i] = changing_kept[i] = NULL;
        if (GC_move_disappearing_link(&changing[i], &changing[to]) != GC_SUCCESS) say("not moved");
        return;
    }
    unsigned *p = GC_malloc(sizeof *p);
    if (n % 3 == 0) GC_unregister_disappearing_link(&changing[i]);
    *p = n;
    changing_kept[i] = p;
    changing[i] = hide(p);
    GC_general_register_disappearing_link(&changing[i], p);
    if (n % 4 == 0) changing_kept[i] = NULL;
}

static NOINLINE size_t changed_wrong(void) {
    size_t wrong = 0;
    for (int i = 0; i < 2 * COUNT; i++)
        wrong += changing_kept[i] && (!changing[i] || reveal(changing[i]) != changing_kept[i]);
    return wrong;
}

CASE(changed_beside_collections) {
    static void *heap[1000];
    size_t wrong = 0, dead = 0;
    for (unsigned n = 0; n < 20000; n++) {
        heap[n % 1000] = GC_malloc(8000);
        change_link(n);
        if (n % 100 == 0) wrong += changed_wrong();
    }
    collect();
    wrong += changed_wrong();
    for (int i = 0; i < 1000; i++) wrong += !heap[i];
    for (int i = 0; i < 2 * COUNT; i++) dead += changing[i] && !changing_kept[i];
    say("%zu wrong, %s dead ones left", wrong, dead <= COUNT / 20 ? "no or few" : "many");
}

static void *reveal_first(void *data) {
    for (int i = 0; i < MANY; i++) {
        void *p = reveal(((void **)data)[i]);
        if (p) return p;
    }
    return NULL;
}

CASE(revealed_under_the_lock) {
    void **table = malloc(MANY * sizeof *table);
    size_t wrong = 0;
    for (int round = 0; round < 20; round++) {
        make_many(table);
        size_t *p = GC_call_with_alloc_lock(reveal_first, table);
        for (int i = 0; i < 3000; i++) memset(GC_malloc_atomic(100), 0xFF, 100);
        wrong += p && *p >= MANY;
        for (int i = 0; i < MANY; i++) GC_unregister_disappearing_link(&table[i]);
    }
    say("%zu wrong", wrong);
}

/* --- Toggle references ---------------------------------------------------------------------- */

static GC_ToggleRefStatus toggle_answer;
static size_t toggle_asked;

static GC_ToggleRefStatus toggle(void *object) {
    toggle_asked += object != NULL;
    return toggle_answer;
}

static NOINLINE void make_toggled(int strong) {
    for (int i = 0; i < COUNT; i++) {
        void *p = GC_malloc(40);
        links[i] = hide(p);
        GC_general_register_disappearing_link(&links[i], p);
        if (GC_toggleref_add(p, strong) != GC_SUCCESS) say("not added");
    }
}

static void toggles(const char *what, int strong, GC_ToggleRefStatus answer) {
    toggle_answer = answer;
    toggle_asked = 0;
    make_toggled(strong);
    collect();
    collect();
    say("%s: asked %s, %s cleared", what, yes(toggle_asked >= COUNT), part(cleared(links), COUNT));
}

CASE(toggle_references) {
    GC_set_toggleref_func(toggle);
    say("set: %s", yes(GC_get_toggleref_func() == toggle));
    toggles("strong, kept strong", 1, GC_TOGGLE_REF_STRONG);
    toggle_answer = GC_TOGGLE_REF_DROP;
    collect();
    collect();
    say("dropped: %s cleared", part(cleared(links), COUNT));
    toggles("strong, made weak", 1, GC_TOGGLE_REF_WEAK);
    toggles("weak, kept weak", 0, GC_TOGGLE_REF_WEAK);
    toggles("strong, dropped", 1, GC_TOGGLE_REF_DROP);
    toggles("weak, made strong", 0, GC_TOGGLE_REF_STRONG);
}
