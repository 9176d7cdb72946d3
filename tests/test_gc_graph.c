/* test_gc_graph.c - a random graph that several threads change while a shadow copy, in malloc
 * memory and with every address complemented, knows what must be there. See docs/design.md, "The
 * collector"; docs/testing.md says what it shows.
 *
 * Invariants that graph_check holds against the heap, with all workers parked:
 *   a node that the shadow reaches is alive, its address, number and edges are the shadow's;
 *   a node that the shadow does not reach is dead (its weak reference is null), but for a few
 *   that a stale word on some stack still names, and what those refer to;
 *   a weak field is null exactly when its target is dead.
 *
 * Nodes are made in five ways (enum graph_kind), edges are interior pointers more often than not.
 * Lock order: regions by number, then the pool. */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "modes.h"
#include "probe.h"
#include "test.h"

enum { NODES = 20000, EDGES = 6, REGIONS = 8, ROOTS = 12, WORKERS = 4, HANDS = 4, NONE = -1 };

/* --- What the collector sees ---------------------------------------------------------------- */

typedef struct edge_list {
    void **ptr;
    size_t len, cap;
} edge_list;

/* Typed: edges stand in the node, or in an array behind a slice. */
typedef struct node {
    uint64_t number;
    void *edges[EDGES];
    void *cousin;   /* weak */
    uint64_t check; /* == ~number */
} node;
EBB_TYPE(node, ptrs(edges), weak(cousin));

typedef struct list_node {
    uint64_t number;
    edge_list edges;
    void *cousin;
    uint64_t check;
} list_node;
EBB_TYPE(list_node, slice(edges), weak(cousin));

enum graph_kind { KIND_TYPED, KIND_LIST, KIND_WORDS, KIND_LARGE, KIND_ARRAY, KIND_COUNT };
enum { LARGE_BYTES = 150000, ARRAY_NODES = 3 };

static void **roots;           /* REGIONS * ROOTS words, an object of the heap */
static ebb_weak *weaks[NODES]; /* null where the shadow has no node */

/* --- What the shadow knows ------------------------------------------------------------------ */

typedef struct shadow_edge {
    int to;        /* a shadow node, or NONE */
    uint32_t skew; /* the pointer is the target's start + skew */
} shadow_edge;

typedef struct shadow_node {
    uintptr_t hidden; /* ~ the node's start */
    uint64_t number;
    uint32_t size; /* an edge may point to any byte of it */
    int cousin;
    uint8_t kind, region;
    bool used, reached, seen;
    shadow_edge edges[EDGES];
} shadow_node;

/* A region's lock guards its roots and the edges of its nodes. */
typedef struct region {
    pthread_mutex_t lock;
    shadow_edge roots[ROOTS];
} region;

static shadow_node *shadow;   /* malloc: NODES of them */
static int *pool, pool_count; /* free shadow nodes [pool_lock] */
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static region regions[REGIONS];
static uint64_t next_number = 1; /* [pool_lock] */

/* A worker's nodes are held by nothing but its own stack; the shadow knows which. */
typedef struct worker {
    uint64_t state;
    shadow_edge hands[HANDS];
    void *volatile *held; /* HANDS words on the worker's stack */
} worker;

static worker workers[WORKERS];
static pthread_barrier_t barrier;
static atomic_size_t steps_done;
static size_t made_total, dead_total, stale_max, checks;

/* --- Nodes ---------------------------------------------------------------------------------- */

static void **node_edge(void *start, const shadow_node *s, size_t i) {
    switch ((enum graph_kind)s->kind) {
    case KIND_TYPED:
    case KIND_WORDS:
        return &((node *)start)->edges[i];
    case KIND_LIST:
        return &((list_node *)start)->edges.ptr[i];
    case KIND_LARGE:
        return (void **)start + (i + 1) * 2999;
    case KIND_ARRAY:
        return &((node *)start)[i % ARRAY_NODES].edges[i];
    case KIND_COUNT:
        break;
    }
    abort();
}

static void **node_cousin(void *start, const shadow_node *s) {
    if (s->kind == KIND_TYPED || s->kind == KIND_ARRAY) return &((node *)start)->cousin;
    if (s->kind == KIND_LIST) return &((list_node *)start)->cousin;
    return NULL;
}

static uint64_t *node_check_word(void *start, const shadow_node *s) {
    return s->kind == KIND_LIST ? &((list_node *)start)->check : &((node *)start)->check;
}

static void *node_alloc(enum graph_kind kind, uint32_t *size) {
    list_node *l;
    switch (kind) {
    case KIND_TYPED:
        *size = sizeof(node);
        return ebb_new(node);
    case KIND_WORDS:
        *size = sizeof(node);
        return ebb_alloc(sizeof(node));
    case KIND_LARGE:
        *size = LARGE_BYTES;
        return ebb_alloc(LARGE_BYTES);
    case KIND_ARRAY:
        *size = ARRAY_NODES * sizeof(node);
        return ebb_new_array(node, ARRAY_NODES);
    case KIND_LIST:
        *size = sizeof(list_node);
        l = ebb_new(list_node);
        if (!l || !(l->edges.ptr = ebb_new_array(void *, EDGES))) return NULL;
        l->edges.len = l->edges.cap = EDGES;
        return l;
    case KIND_COUNT:
        break;
    }
    abort();
}

static enum graph_kind node_kind_random(uint64_t *state) {
    uint64_t dice = test_random_below(state, 1000);
    return dice < 2     ? KIND_LARGE
           : dice < 100 ? KIND_ARRAY
           : dice < 350 ? KIND_LIST
           : dice < 600 ? KIND_WORDS
                        : KIND_TYPED;
}

/* Everything that can be told without following edges. */
static void node_verify(void *start, const shadow_node *s) {
    CHECK_EQ(probe_hide(start), s->hidden);
    CHECK_EQ(*(uint64_t *)start, s->number);
    CHECK_EQ(*node_check_word(start, s), ~s->number);
    for (size_t i = 0; i < EDGES; i++) {
        const shadow_edge *e = &s->edges[i];
        uintptr_t want = e->to == NONE ? ~(uintptr_t)0 : shadow[e->to].hidden - e->skew;
        CHECK_EQ(probe_hide(*node_edge(start, s, i)), want);
    }
}

static int pool_take(uint64_t *number) {
    pthread_mutex_lock(&pool_lock);
    int index = pool_count ? pool[--pool_count] : NONE;
    *number = next_number++;
    made_total += index != NONE;
    pthread_mutex_unlock(&pool_lock);
    return index;
}

static void pool_give(int index) {
    weaks[index] = NULL;
    memset(&shadow[index], 0, sizeof shadow[index]);
    pthread_mutex_lock(&pool_lock);
    pool[pool_count++] = index;
    pthread_mutex_unlock(&pool_lock);
}

/* A new node of the region, in both worlds; NONE when the shadow is full or memory is not to be
 * had (under failalloc=N or a limit). */
static int node_make(uint64_t *state, unsigned in, void **out) {
    uint64_t number;
    int index = pool_take(&number);
    if (index == NONE) return NONE;
    shadow_node *s = &shadow[index];
    enum graph_kind kind = node_kind_random(state);
    uint32_t size;
    void *start = node_alloc(kind, &size);
    ebb_weak *weak = start ? ebb_weak_new(start) : NULL;
    if (!weak) {
        pool_give(index);
        return NONE;
    }
    *s = (shadow_node){.hidden = probe_hide(start),
                       .number = number,
                       .size = size,
                       .cousin = NONE,
                       .kind = (uint8_t)kind,
                       .region = (uint8_t)in,
                       .used = true};
    for (size_t i = 0; i < EDGES; i++) s->edges[i].to = NONE;
    *(uint64_t *)start = number;
    *node_check_word(start, s) = ~number;
    weaks[index] = weak;
    *out = start;
    return index;
}

/* --- Steps ---------------------------------------------------------------------------------- */

/* A node found by walking: what the program holds, and what the shadow calls it. */
typedef struct place {
    void *start;
    int index;
} place;

static place place_none(void) {
    return (place){NULL, NONE};
}

/* The node that a pointer read from the heap leads to: checked against the shadow. */
static place place_at(void *pointer, shadow_edge e) {
    if (e.to == NONE) {
        CHECK(pointer == NULL);
        return place_none();
    }
    CHECK_EQ(probe_hide(pointer), shadow[e.to].hidden - e.skew);
    return (place){(char *)pointer - e.skew, e.to};
}

static shadow_edge edge_random(uint64_t *state, int to) {
    if (to == NONE || test_random_below(state, 3) == 0) return (shadow_edge){to, 0};
    return (shadow_edge){to, (uint32_t)test_random_below(state, shadow[to].size)};
}

static void *edge_pointer(place p, shadow_edge e) {
    return p.start ? (char *)p.start + e.skew : NULL;
}

static place region_enter(uint64_t *state, unsigned in) {
    size_t slot = test_random_below(state, ROOTS);
    return place_at(roots[in * ROOTS + slot], regions[in].roots[slot]);
}

/* From a root of the region, a few edges on, without leaving it. [region's lock] */
static place region_walk(uint64_t *state, unsigned in) {
    place p = region_enter(state, in);
    for (uint64_t hops = test_random_below(state, 8); p.start && hops; hops--) {
        const shadow_node *s = &shadow[p.index];
        if (s->region != in) break;
        size_t i = test_random_below(state, EDGES);
        place next = place_at(*node_edge(p.start, s, i), s->edges[i]);
        if (!next.start) break;
        p = next;
    }
    return p;
}

/* from's edge i leads to `to` from now on. [lock of from's region] */
static void step_link(uint64_t *state, place from, place to) {
    shadow_node *s = &shadow[from.index];
    size_t i = test_random_below(state, EDGES);
    s->edges[i] = edge_random(state, to.index);
    *node_edge(from.start, s, i) = edge_pointer(to, s->edges[i]);
}

static void step_root(uint64_t *state, unsigned in, place to) {
    size_t slot = test_random_below(state, ROOTS);
    regions[in].roots[slot] = edge_random(state, to.index);
    roots[in * ROOTS + slot] = edge_pointer(to, regions[in].roots[slot]);
}

static void step_hand(worker *w, place to) {
    size_t hand = test_random_below(&w->state, HANDS);
    w->hands[hand] = edge_random(&w->state, to.index);
    w->held[hand] = edge_pointer(to, w->hands[hand]);
}

static void step_make(worker *w, unsigned in) {
    place made = place_none();
    place from = region_walk(&w->state, in);
    made.index = node_make(&w->state, in, &made.start);
    if (made.index == NONE) return;
    for (uint64_t links = test_random_below(&w->state, 4); links; links--) {
        step_link(&w->state, made, region_walk(&w->state, in));
    }
    uint64_t dice = test_random_below(&w->state, 10);
    if (from.start && shadow[from.index].region == in && dice) {
        step_link(&w->state, from, made);
    } else if (dice < 6) {
        step_root(&w->state, in, made);
    } else if (dice < 9) {
        step_hand(w, made);
    } /* else it is garbage at once */
}

static void step_cousin(worker *w, unsigned in) {
    place from = region_walk(&w->state, in), to = region_walk(&w->state, in);
    if (!from.start || shadow[from.index].region != in) return;
    void **cousin = node_cousin(from.start, &shadow[from.index]);
    if (!cousin) return;
    shadow[from.index].cousin = to.index;
    *cousin = to.start;
}

/* Moves the array of a list node; its old one is garbage, released by hand at times. */
static void step_resize(worker *w, unsigned in) {
    place p = region_walk(&w->state, in);
    if (!p.start || shadow[p.index].region != in || shadow[p.index].kind != KIND_LIST) return;
    list_node *l = p.start;
    size_t cap = EDGES + test_random_below(&w->state, 60);
    void **old = l->edges.ptr, **array = ebb_resize(old, cap * sizeof(void *));
    if (!array) return;
    l->edges = (edge_list){array, EDGES, cap};
    if (array != old && test_random_below(&w->state, 2)) CHECK_EQ(ebb_free(old), 0);
}

static void step_across(worker *w, unsigned in) {
    unsigned other = (unsigned)test_random_below(&w->state, REGIONS);
    if (other == in) return;
    unsigned low = in < other ? in : other, high = in < other ? other : in;
    pthread_mutex_lock(&regions[low].lock);
    pthread_mutex_lock(&regions[high].lock);
    place from = region_walk(&w->state, in), to = region_walk(&w->state, other);
    if (from.start && shadow[from.index].region == in) step_link(&w->state, from, to);
    pthread_mutex_unlock(&regions[high].lock);
    pthread_mutex_unlock(&regions[low].lock);
}

static void step_inside(worker *w, unsigned in) {
    place p;
    switch (test_random_below(&w->state, 20)) {
    case 0:
        step_root(&w->state, in, place_none());
        break;
    case 1:
        step_root(&w->state, in, region_walk(&w->state, in));
        break;
    case 2:
        step_hand(w, place_none());
        break;
    case 3:
        step_hand(w, region_walk(&w->state, in));
        break;
    case 4:
        step_cousin(w, in);
        break;
    case 5:
        step_resize(w, in);
        break;
    case 6:
    case 7:
        p = region_walk(&w->state, in);
        if (p.start && shadow[p.index].region == in) node_verify(p.start, &shadow[p.index]);
        break;
    case 8:
    case 9:
    case 10:
        p = region_walk(&w->state, in);
        if (p.start && shadow[p.index].region == in) {
            step_link(&w->state, p,
                      test_random_below(&w->state, 3) ? region_walk(&w->state, in) : place_none());
        }
        break;
    default:
        step_make(w, in);
    }
}

static NOINLINE void worker_steps(worker *w, size_t steps) {
    for (size_t i = 0; i < steps; i++) {
        unsigned in = (unsigned)test_random_below(&w->state, REGIONS);
        if (test_random_below(&w->state, 16) == 0) {
            step_across(w, in);
            continue;
        }
        pthread_mutex_lock(&regions[in].lock);
        step_inside(w, in);
        pthread_mutex_unlock(&regions[in].lock);
        if (test_random_below(&w->state, 20000) == 0) CHECK_EQ(ebb_collect(), 0);
    }
    atomic_fetch_add(&steps_done, steps);
}

/* --- The check ------------------------------------------------------------------------------ */

static int *stack, stack_count; /* of the shadow's walks; malloc, NODES of them */

static void reach_push(shadow_edge e) {
    if (e.to == NONE || shadow[e.to].reached) return;
    CHECK(shadow[e.to].used);
    shadow[e.to].reached = true;
    stack[stack_count++] = e.to;
}

static void shadow_reach(void) {
    for (int i = 0; i < NODES; i++) shadow[i].reached = false;
    for (size_t r = 0; r < REGIONS; r++)
        for (size_t i = 0; i < ROOTS; i++) reach_push(regions[r].roots[i]);
    for (size_t w = 0; w < WORKERS; w++)
        for (size_t i = 0; i < HANDS; i++) reach_push(workers[w].hands[i]);
    while (stack_count) {
        const shadow_node *s = &shadow[stack[--stack_count]];
        for (size_t i = 0; i < EDGES; i++) reach_push(s->edges[i]);
    }
}

static NOINLINE bool shadow_lives(int index) {
    return ebb_weak_get(weaks[index]) != NULL;
}

static NOINLINE void check_reached(int index) {
    const shadow_node *s = &shadow[index];
    void *start = ebb_weak_get(weaks[index]);
    CHECK(start != NULL);
    node_verify(start, s);
    CHECK(ebb_base_of(start) == start);
    CHECK(ebb_size_of(start) >= s->size);
}

/* A dead cousin's place in the shadow is given back only after this. */
static NOINLINE void check_cousin(int index) {
    shadow_node *s = &shadow[index];
    void **cousin = node_cousin(ebb_weak_get(weaks[index]), s);
    if (!cousin) return;
    if (s->cousin != NONE && !shadow_lives(s->cousin)) s->cousin = NONE;
    uintptr_t want = s->cousin == NONE ? ~(uintptr_t)0 : shadow[s->cousin].hidden;
    CHECK_EQ(probe_hide(*cousin), want);
}

/* Depth first through what is alive but not reached; appends to order as it finishes. */
static void stale_walk(int from, int *order, int *count) {
    stack[stack_count++] = from;
    shadow[from].seen = true;
    while (stack_count) {
        int index = stack[stack_count - 1];
        bool deeper = false;
        for (size_t i = 0; i < EDGES && !deeper; i++) {
            int to = shadow[index].edges[i].to;
            if (to == NONE || shadow[to].reached || shadow[to].seen) continue;
            shadow[to].seen = deeper = true;
            stack[stack_count++] = to;
        }
        if (!deeper) order[(*count)++] = stack[--stack_count];
    }
}

/* How many words somewhere it takes at least to explain the nodes that live without being
 * reached: the sources among them, where a circle counts once. */
static size_t stale_sources(void) {
    int *order = malloc(NODES * sizeof *order), *unused = malloc(NODES * sizeof *unused);
    int count = 0, unused_count = 0;
    size_t sources = 0;
    for (int i = 0; i < NODES; i++) shadow[i].seen = !(shadow[i].used && !shadow[i].reached);
    for (int i = 0; i < NODES; i++)
        if (!shadow[i].seen) stale_walk(i, order, &count);
    for (int i = 0; i < count; i++) shadow[order[i]].seen = false;
    for (int i = count; i-- > 0;) {
        if (shadow[order[i]].seen) continue;
        sources++;
        stale_walk(order[i], unused, &unused_count);
    }
    free(order);
    free(unused);
    return sources;
}

/* Whoever is alive keeps what it refers to: true of the unreached as of the reached. */
static void check_closed(int index) {
    for (size_t i = 0; i < EDGES; i++) {
        int to = shadow[index].edges[i].to;
        CHECK(to == NONE || (shadow[to].used && shadow_lives(to)));
    }
}

static NOINLINE void graph_forget_dead(void) {
    static bool dead[NODES];
    for (int i = 0; i < NODES; i++) {
        dead[i] = shadow[i].used && !shadow[i].reached && !shadow_lives(i);
        if (!shadow[i].used || dead[i]) continue;
        check_cousin(i);
        check_closed(i);
    }
    for (int i = 0; i < NODES; i++) {
        if (!dead[i]) continue;
        dead_total++;
        pool_give(i);
    }
}

/* All workers are parked. */
static NOINLINE void graph_check(size_t stacks) {
    checks++;
    shadow_reach();
    for (int i = 0; i < NODES; i++)
        if (shadow[i].used && shadow[i].reached) check_reached(i);
    probe_collect();
    for (int i = 0; i < NODES; i++)
        if (shadow[i].used && shadow[i].reached) check_reached(i);
    graph_forget_dead();
    size_t stale = stale_sources();
    if (stale > stale_max) stale_max = stale;
    CHECK(stale <= 4 * (stacks + 1));
}

/* --- Rounds --------------------------------------------------------------------------------- */

static NOINLINE void graph_start(void) {
    roots = ebb_new_array(void *, REGIONS *ROOTS);
    shadow = calloc(NODES, sizeof *shadow);
    pool = malloc(NODES * sizeof *pool);
    stack = malloc(NODES * sizeof *stack);
    CHECK(roots && shadow && pool && stack);
    for (int i = 0; i < NODES; i++) pool[i] = NODES - 1 - i;
    pool_count = NODES;
    for (size_t r = 0; r < REGIONS; r++) {
        pthread_mutex_init(&regions[r].lock, NULL);
        for (size_t i = 0; i < ROOTS; i++) regions[r].roots[i].to = NONE;
    }
    for (size_t w = 0; w < WORKERS; w++) {
        for (size_t i = 0; i < HANDS; i++) workers[w].hands[i].to = NONE;
    }
}

static size_t graph_steps(void) {
    size_t steps = 40000;
    if (modes_have("stress=")) steps /= 2;
    return test_slow() ? steps / 10 : steps;
}

/* Works until parked, lets go of half its hands after the check, works on, ends. */
static void *worker_body(void *arg) {
    worker *w = arg;
    void *volatile held[HANDS] = {0};
    w->held = held;
    for (int turn = 0; turn < 3; turn++) {
        worker_steps(w, graph_steps());
        test_clear_stack();
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
    }
    for (size_t i = 0; i < HANDS; i++) {
        held[i] = NULL;
        w->hands[i].to = NONE;
    }
    w->held = NULL;
    return NULL;
}

static void graph_round(size_t round, size_t count) {
    pthread_t threads[WORKERS];
    pthread_barrier_init(&barrier, NULL, (unsigned)count + 1);
    for (size_t i = 0; i < count; i++) {
        workers[i].state = test_seed() + round * WORKERS + i;
        CHECK_EQ(pthread_create(&threads[i], NULL, worker_body, &workers[i]), 0);
    }
    for (int turn = 0; turn < 3; turn++) {
        pthread_barrier_wait(&barrier);
        graph_check(count);
        pthread_barrier_wait(&barrier);
    }
    for (size_t i = 0; i < count; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    graph_check(0);
    pthread_barrier_destroy(&barrier);
}

static NOINLINE void graph_drop(void) {
    memset(roots, 0, REGIONS * ROOTS * sizeof *roots);
    for (size_t r = 0; r < REGIONS; r++)
        for (size_t i = 0; i < ROOTS; i++) regions[r].roots[i].to = NONE;
}

static void graph_run(size_t count) {
    graph_start();
    for (size_t round = 0; round < 2 * test_scale(); round++) graph_round(round, count);
    graph_drop();
    graph_check(0);
    printf("     %zu steps, %zu checks, %zu nodes made, %zu found dead, %zu stale at most\n",
           atomic_load(&steps_done), checks, made_total, dead_total, stale_max);
}

TEST(graph) {
    graph_run(WORKERS);
}

TEST(graph_of_one_thread) {
    graph_run(1);
}

TEST(graph_with_stress) {
    MODES_PASS("graph", "stress=2003,verify=1", NULL);
    MODES_PASS("graph_of_one_thread", "stress=307", NULL);
}

TEST(graph_with_failures) {
    MODES_PASS("graph", "failalloc=5000,verify=1", NULL);
}

TEST(graph_with_percent) {
    MODES_PASS("graph", NULL, "percent=5");
    MODES_PASS("graph", NULL, "percent=off");
}
