/* dominators.c - Thomas Lengauer and Robert Tarjan, "A fast algorithm for finding dominators in a
 * flowgraph", ACM Transactions on Programming Languages and Systems 1 (1979), in the simple form
 * (path compression without balancing). Nodes are named by their preorder numbers inside, and
 * nothing recurses: a list of a hundred million objects is a path of that length. */
#include "dominators.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = DOMINATORS_NONE };

/* All by preorder number but number, which is by node. */
struct domination {
    const struct digraph *g;
    uint32_t count;
    uint32_t *number, *node, *parent;
    uint32_t *semi;             /* the semidominator */
    uint32_t *label, *ancestor; /* of the forest that is linked so far */
    uint32_t *bucket, *next;    /* whose semidominator it is: lists */
    uint32_t *idom, *stack;
    uint64_t *before_at; /* predecessors, by preorder number; */
    uint32_t *before;    /* numbers too */
};

static void *domination_room(size_t count, size_t size) {
    void *room = malloc((count ? count : 1) * size);
    if (room) return room;
    fprintf(stderr, "ebb: no memory for the dominators of %zu nodes\n", count);
    exit(1);
}

static uint32_t *numbers(size_t count, uint32_t all) {
    uint32_t *array = domination_room(count, sizeof *array);
    for (size_t i = 0; i < count; i++) array[i] = all;
    return array;
}

static uint32_t domination_enter(struct domination *d, uint32_t node, uint32_t parent) {
    uint32_t n = d->count++;
    d->number[node] = n;
    d->node[n] = node;
    d->parent[n] = parent;
    return n;
}

/* Numbers what can be reached; edge is where a node's search stands. */
static void domination_search(struct domination *d, uint32_t root) {
    const struct digraph *g = d->g;
    uint64_t *edge = domination_room(g->nodes, sizeof *edge);
    uint32_t at = domination_enter(d, root, NONE);
    edge[at] = g->at[root];
    while (at != NONE) {
        uint32_t node = d->node[at];
        if (edge[at] == g->at[node + 1]) {
            at = d->parent[at];
            continue;
        }
        uint32_t to = g->to[edge[at]++];
        if (d->number[to] != NONE) continue;
        at = domination_enter(d, to, at);
        edge[at] = g->at[to];
    }
    free(edge);
}

static void domination_turn(struct domination *d) {
    const struct digraph *g = d->g;
    d->before_at = domination_room((size_t)d->count + 2, sizeof *d->before_at);
    memset(d->before_at, 0, ((size_t)d->count + 2) * sizeof *d->before_at);
    for (uint32_t n = 0; n < d->count; n++)
        for (uint64_t e = g->at[d->node[n]]; e < g->at[d->node[n] + 1]; e++)
            d->before_at[d->number[g->to[e]] + 2]++;
    for (uint32_t n = 0; n < d->count; n++) d->before_at[n + 2] += d->before_at[n + 1];
    d->before = domination_room(d->before_at[d->count + 1], sizeof *d->before);
    for (uint32_t n = 0; n < d->count; n++)
        for (uint64_t e = g->at[d->node[n]]; e < g->at[d->node[n] + 1]; e++)
            d->before[d->before_at[d->number[g->to[e]] + 1]++] = n;
}

/* The node of least semidominator between v and the root of its tree, which v is not; ways are
 * shortened from above. */
static uint32_t domination_eval(struct domination *d, uint32_t v) {
    size_t depth = 0;
    if (d->ancestor[v] == NONE) return v;
    for (uint32_t u = v; d->ancestor[d->ancestor[u]] != NONE; u = d->ancestor[u])
        d->stack[depth++] = u;
    while (depth-- > 0) {
        uint32_t u = d->stack[depth], above = d->ancestor[u];
        if (d->semi[d->label[above]] < d->semi[d->label[u]]) d->label[u] = d->label[above];
        d->ancestor[u] = d->ancestor[above];
    }
    return d->label[v];
}

static void bucket_empty(struct domination *d, uint32_t parent) {
    for (uint32_t v = d->bucket[parent]; v != NONE; v = d->next[v]) {
        uint32_t u = domination_eval(d, v);
        d->idom[v] = d->semi[u] < d->semi[v] ? u : parent;
    }
    d->bucket[parent] = NONE;
}

static void domination_find(struct domination *d) {
    for (uint32_t w = d->count; w-- > 1;) {
        uint32_t parent = d->parent[w];
        for (uint64_t e = d->before_at[w]; e < d->before_at[w + 1]; e++) {
            uint32_t u = domination_eval(d, d->before[e]);
            if (d->semi[u] < d->semi[w]) d->semi[w] = d->semi[u];
        }
        d->next[w] = d->bucket[d->semi[w]];
        d->bucket[d->semi[w]] = w;
        d->ancestor[w] = parent;
        bucket_empty(d, parent);
    }
    for (uint32_t w = 1; w < d->count; w++)
        if (d->idom[w] != d->semi[w]) d->idom[w] = d->idom[d->idom[w]];
}

static void domination_open(struct domination *d) {
    d->semi = numbers(d->count, 0);
    d->label = numbers(d->count, 0);
    for (uint32_t n = 0; n < d->count; n++) d->semi[n] = d->label[n] = n;
    d->ancestor = numbers(d->count, NONE);
    d->bucket = numbers(d->count, NONE);
    d->next = numbers(d->count, NONE);
    d->idom = numbers(d->count, NONE);
    d->stack = numbers(d->count, NONE);
}

static void domination_close(struct domination *d) {
    free(d->number), free(d->node), free(d->parent), free(d->semi), free(d->label);
    free(d->ancestor), free(d->bucket), free(d->next), free(d->idom), free(d->stack);
    free(d->before_at), free(d->before);
}

uint32_t dominators(const struct digraph *g, uint32_t root, uint32_t *idom, uint32_t *order) {
    struct domination d = {.g = g};
    d.number = numbers(g->nodes, NONE);
    d.node = numbers(g->nodes, NONE);
    d.parent = numbers(g->nodes, NONE);
    domination_search(&d, root);
    domination_turn(&d);
    domination_open(&d);
    domination_find(&d);
    for (uint32_t v = 0; v < g->nodes; v++) idom[v] = NONE;
    for (uint32_t n = 1; n < d.count; n++) idom[d.node[n]] = d.node[d.idom[n]];
    if (order) memcpy(order, d.node, d.count * sizeof *order);
    uint32_t count = d.count;
    domination_close(&d);
    return count;
}
