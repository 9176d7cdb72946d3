/* fuzz_graph.c - a graph of objects driven by a byte string, against a shadow that knows what is
 * reachable: nodes of described types and of words, small and large, edges into the middle of
 * nodes, in slices, weak ones; releases by hand; cycles that are minor and full, beside the program
 * and in one stop, asked for and on their own, with all that watches them on. An operation is
 * three bytes: what, and two operands. tests/test_internal_replay.c runs it without a fuzzer. */
#include <ebb/ebb.h>
#include <stdbool.h>
#include <string.h>

#include "input.h"

enum { NODES = 128, EDGES = 4, LIST = 40, ROOTS = 16, NONE = -1, COLLECTS_MAX = 30 };
enum graph_way { MINOR_BESIDE, MINOR_STOPPED, FULL_BESIDE, FULL_STOPPED, WAYS };

/* The collector's own entry: the public one makes full cycles only. Of causes the first is
 * `forced`; the one of stress modes stops the world. */
enum { GRAPH_FORCED = 0, GRAPH_STRESS = 4 };
extern int ebb__collect(unsigned cause, bool full);

EBB_SLICE(graph_list, void *);

typedef struct graph_node {
    uint64_t number, check; /* == ~number */
    void *edges[EDGES];
    graph_list list;
    struct graph_node *cousin;
} graph_node;
EBB_TYPE(graph_node, ptrs(edges), slice(list), weak(cousin));

/* What the shadow knows of an edge: to where in which node. */
typedef struct graph_edge {
    int to;
    unsigned offset;
} graph_edge;

/* Nothing here refers to the heap: addresses are complemented. */
typedef struct graph_shadow {
    bool used, typed, reached;
    bool named; /* some node referred to it once */
    uintptr_t hidden;
    uint64_t number;
    graph_edge edges[EDGES], list[LIST];
    size_t list_len;
    int cousin;
} graph_shadow;

static void *roots[ROOTS]; /* static storage is what keeps the graph */
static graph_edge shadow_roots[ROOTS];
static graph_shadow shadows[NODES];
static uint64_t graph_numbers;
static unsigned graph_collects;

static graph_node *node_of(int id) {
    return (graph_node *)~shadows[id].hidden;
}

static void *edge_word(graph_edge e) {
    return e.to == NONE ? NULL : (char *)node_of(e.to) + e.offset;
}

static bool node_is(int id) {
    return shadows[id].used;
}

/* --- What is reachable, by the shadow ----------------------------------------------------------
 */

static void reach(graph_edge e, int *stack, int *depth) {
    if (e.to == NONE || shadows[e.to].reached) return;
    REQUIRE(shadows[e.to].used);
    shadows[e.to].reached = true;
    stack[(*depth)++] = e.to;
}

/* What is not reached is forgotten: it may be gone at any time. */
static void graph_reach(void) {
    int stack[NODES], depth = 0;
    for (int i = 0; i < NODES; i++) shadows[i].reached = false;
    for (int i = 0; i < ROOTS; i++) reach(shadow_roots[i], stack, &depth);
    while (depth > 0) {
        const graph_shadow *s = &shadows[stack[--depth]];
        for (int i = 0; i < EDGES; i++) reach(s->edges[i], stack, &depth);
        for (size_t i = 0; i < s->list_len; i++) reach(s->list[i], stack, &depth);
    }
    for (int i = 0; i < NODES; i++)
        if (shadows[i].cousin != NONE && !shadows[shadows[i].cousin].reached)
            shadows[i].cousin = NONE;
    for (int i = 0; i < NODES; i++) shadows[i].used = shadows[i].reached;
}

static void node_check(int id) {
    const graph_shadow *s = &shadows[id];
    const graph_node *n = node_of(id);
    REQUIRE(ebb_base_of(n) == n);
    REQUIRE(n->number == s->number && n->check == ~s->number);
    for (int i = 0; i < EDGES; i++) REQUIRE(n->edges[i] == edge_word(s->edges[i]));
    REQUIRE(n->list.len == s->list_len);
    for (size_t i = 0; i < s->list_len; i++) REQUIRE(n->list.ptr[i] == edge_word(s->list[i]));
    if (s->cousin != NONE) REQUIRE(n->cousin == node_of(s->cousin));
}

static void graph_check(void) {
    graph_reach();
    for (int i = 0; i < ROOTS; i++) REQUIRE(roots[i] == edge_word(shadow_roots[i]));
    for (int i = 0; i < NODES; i++)
        if (node_is(i)) node_check(i);
}

/* --- Steps -------------------------------------------------------------------------------------
 */

static graph_edge edge_to(int id, unsigned where) {
    return (graph_edge){id, where * 8 % (unsigned)sizeof(graph_node)};
}

static void list_add(int from, int to) {
    graph_shadow *s = &shadows[from];
    if (s->list_len == LIST || !node_is(to)) return;
    s->list[s->list_len] = edge_to(to, (unsigned)s->list_len);
    shadows[to].named = true;
    REQUIRE(ebb_append(&node_of(from)->list, edge_word(s->list[s->list_len])) == 0);
    s->list_len++;
}

/* Held by a root, or by the list of another node. */
static void node_make(int id, unsigned how, int parent) {
    static const size_t more[] = {0, 40, 500, 5000, 40000, 150000};
    graph_shadow *s = &shadows[id];
    bool typed = how % 2;
    size_t bytes = sizeof(graph_node) + more[how / 2 % 6];
    graph_node *n = typed ? ebb_new(graph_node) : ebb_alloc(bytes);
    REQUIRE(n && !n->number && !n->check && !n->edges[0] && !n->list.ptr);
    *s = (graph_shadow){.used = true, .typed = typed, .number = ++graph_numbers, .cousin = NONE};
    s->hidden = ~(uintptr_t)n;
    for (int i = 0; i < EDGES; i++) s->edges[i].to = NONE;
    n->number = s->number;
    n->check = ~s->number;
    if (how >= 96 && parent != id && node_is(parent) && shadows[parent].list_len < LIST) {
        list_add(parent, id);
        return;
    }
    int root = (int)(how / 12 % ROOTS);
    shadow_roots[root] = edge_to(id, how);
    roots[root] = edge_word(shadow_roots[root]);
}

static void node_link(int from, int to, unsigned which) {
    if (!node_is(from)) return;
    graph_edge e = node_is(to) ? edge_to(to, which) : (graph_edge){NONE, 0};
    if (e.to != NONE) shadows[e.to].named = true;
    shadows[from].edges[which % EDGES] = e;
    node_of(from)->edges[which % EDGES] = edge_word(e);
}

static void list_cut(int from, unsigned to) {
    graph_shadow *s = &shadows[from];
    s->list_len = to % (s->list_len + 1);
    ebb_truncate(&node_of(from)->list, s->list_len);
    if (s->list_len == 0 && to % 2) node_of(from)->list = (graph_list){0};
}

/* Only what no node ever referred to: one that is garbage by now, but old, may do so still, and
 * what watches the collector takes that for a reference to the next object there. */
static void node_free(int id) {
    graph_reach();
    if (!node_is(id) || shadows[id].named) return;
    for (int i = 0; i < ROOTS; i++) {
        if (shadow_roots[i].to != id) continue;
        shadow_roots[i].to = NONE;
        roots[i] = NULL;
    }
    REQUIRE(ebb_free(node_of(id)) == 0);
    shadows[id].used = false;
}

static void root_set_to(int root, int id) {
    shadow_roots[root] = node_is(id) ? edge_to(id, (unsigned)root) : (graph_edge){NONE, 0};
    roots[root] = edge_word(shadow_roots[root]);
}

static void graph_collect(unsigned way) {
    if (graph_collects++ >= COLLECTS_MAX) return;
    bool full = way == FULL_BESIDE || way == FULL_STOPPED;
    bool stopped = way == MINOR_STOPPED || way == FULL_STOPPED;
    REQUIRE(ebb__collect(stopped ? GRAPH_STRESS : GRAPH_FORCED, full) == 0);
    graph_check();
}

/* Cycles begin by themselves where enough is allocated. */
static void litter(unsigned kib) {
    for (unsigned i = 0; i < kib * 4; i++) {
        void **p = ebb_alloc(256);
        REQUIRE(p && !p[0] && !p[31]);
        p[31] = p;
    }
}

/* The next node from there that is in use, or that is not; the last one looked at if there is none.
 */
static int node_pick(int from, bool used) {
    int id = from;
    for (int i = 0; i < NODES && node_is(id) != used; i++) id = (id + 1) % NODES;
    return id;
}

static void graph_step(unsigned what, int a, int b, unsigned how) {
    a = node_pick(a, what % 16 >= 3);
    b = node_pick(b, true);
    if (what % 16 < 3 && !node_is(a)) node_make(a, how, b);
    if (what % 16 >= 3 && what % 16 <= 10 && !node_is(a)) return;
    switch (what % 16) {
    case 3:
    case 4:
        node_link(a, b, how);
        break;
    case 5:
        shadows[a].edges[how % EDGES].to = NONE;
        node_of(a)->edges[how % EDGES] = NULL;
        break;
    case 6:
    case 7:
        list_add(a, b);
        break;
    case 8:
        list_cut(a, how);
        break;
    case 9:
        if (!shadows[a].typed || !node_is(b)) break;
        shadows[a].cousin = b;
        shadows[b].named = true;
        node_of(a)->cousin = node_of(b);
        break;
    case 10:
        node_free(a);
        break;
    case 11:
        root_set_to((int)(how % ROOTS), b);
        break;
    case 12:
        node_link(b, a, how);
        break;
    case 13:
        litter(how % 64);
        break;
    case 14:
        graph_check();
        break;
    case 15:
        if (how % 4 == 0) graph_collect(how / 4 % WAYS);
    }
    graph_reach(); /* what became unreachable now may be gone before the next step */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, data + size};
    setenv("EBB_DEBUG", "misuse=abort,verify=1,checkmark=1,oracle=1,room=64KiB,yield=1", 0);
    setenv("EBB_GC", "pause=0", 0); /* both are read at the first call */
    graph_collects = 0;
    for (int i = 0; i < ROOTS; i++) shadow_roots[i].to = NONE;
    while (in.at < in.end) {
        unsigned what = input_take(&in, 1), a = input_take(&in, 1), b = input_take(&in, 1);
        graph_step(what, (int)(a % NODES), (int)(b % NODES), b);
    }
    graph_collect(FULL_BESIDE);
    memset(roots, 0, sizeof roots);
    memset(shadows, 0, sizeof shadows);
    return 0;
}
