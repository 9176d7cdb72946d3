/* dom.c - a dump as a graph with one root, its dominator tree, what each node retains. */
#include "dom.h"

#include <stdlib.h>
#include <string.h>

#include "intern.h"

static void *dom_room(size_t count, size_t size) {
    void *room = calloc(count ? count : 1, size);
    if (room) return room;
    fprintf(stderr, "ebb: no memory for a heap of so many objects\n");
    exit(1);
}

static bool root_precise(const struct heapdump_root *r) {
    return r->origin > HEAPDUMP_STORAGE;
}

/* A word on a stack may be stale, or a number: such roots count only where they lead to what no
 * other root does, or everything that a thread worked with lately would belong to nobody. */
static void roots_sift(struct heapdump *dump) {
    bool *seen = dom_room(dump->objects, sizeof *seen);
    uint32_t *stack = dom_room(dump->objects, sizeof *stack);
    size_t kept = 0, depth = 0;
    for (size_t i = 0; i < dump->root_count; i++) {
        uint32_t target = dump->roots[i].target;
        if (!root_precise(&dump->roots[i]) || seen[target]) continue;
        seen[target] = true;
        stack[depth++] = target;
    }
    while (depth > 0) {
        uint32_t node = stack[--depth];
        for (uint64_t e = dump->edge_at[node]; e < dump->edge_at[node + 1]; e++) {
            uint32_t to = dump->edge_to[e];
            if (seen[to]) continue;
            seen[to] = true;
            stack[depth++] = to;
        }
    }
    for (size_t i = 0; i < dump->root_count; i++)
        if (root_precise(&dump->roots[i]) || !seen[dump->roots[i].target])
            dump->roots[kept++] = dump->roots[i];
    dump->root_count = kept;
    free(seen), free(stack);
}

static void dom_edges(struct dom *d) {
    struct heapdump *dump = d->dump;
    size_t roots = dump->root_count, own = dump->edge_count;
    d->at = dom_room((size_t)d->nodes + 1, sizeof *d->at);
    d->to = realloc(dump->edge_to, (own + 2 * roots + 1) * sizeof *d->to);
    if (!d->to) exit(1);
    dump->edge_to = d->to;
    memcpy(d->at, dump->edge_at, ((size_t)dump->objects + 1) * sizeof *d->at);
    for (size_t i = 0; i < roots; i++) {
        d->to[own + i] = dump->roots[i].target;
        d->at[dump->objects + i + 1] = own + i + 1;
        d->to[own + roots + i] = dump->objects + (uint32_t)i;
    }
    d->at[d->nodes] = own + 2 * roots;
}

void dom_make(struct dom *d, struct heapdump *dump) {
    *d = (struct dom){.dump = dump};
    roots_sift(dump);
    if (dump->root_count > (size_t)INT32_MAX - dump->objects - 1) {
        fprintf(stderr, "ebb: a heap of more than 2^31 objects and roots\n");
        exit(1);
    }
    d->top = dump->objects + (uint32_t)dump->root_count;
    d->nodes = d->top + 1;
    dom_edges(d);
    d->idom = dom_room(d->nodes, sizeof *d->idom);
    d->order = dom_room(d->nodes, sizeof *d->order);
    struct digraph g = {d->nodes, d->at, d->to};
    d->reached = dominators(&g, d->top, d->idom, d->order);
    d->retained = dom_room(d->nodes, sizeof *d->retained);
    for (uint32_t n = 0; n < d->reached; n++) d->retained[d->order[n]] = dom_size(d, d->order[n]);
    for (uint32_t n = d->reached; n-- > 1;)
        d->retained[d->idom[d->order[n]]] += d->retained[d->order[n]];
}

void dom_free(struct dom *d) {
    free(d->at), free(d->idom), free(d->order), free(d->retained);
    heapdump_free(d->dump);
}

const char *dom_name(const struct dom *d, uint32_t node, char *room, size_t size) {
    const struct heapdump_root *root = dom_root(d, node);
    if (root) return heapdump_root_name(d->dump, root, room, size);
    if (node == d->top) {
        snprintf(room, size, "roots");
        return room;
    }
    return heapdump_type_name(heapdump_type(d->dump, node), room, size);
}
