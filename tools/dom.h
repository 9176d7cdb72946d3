/* dom.h - the dominator tree of a dump, and what hangs on each of its nodes: for the command that
 * prints it (cmd_dom.c) and for the export (dom_export.c). */
#ifndef EBB_TOOLS_DOM_H
#define EBB_TOOLS_DOM_H

#include "dominators.h"
#include "heapdump.h"

/* Nodes are the objects, then the roots, then one that refers to all roots. */
struct dom {
    struct heapdump *dump;
    uint32_t nodes, top;
    uint64_t *at;
    uint32_t *to;    /* the dump's edges, those of roots, those of the top */
    uint32_t *idom;  /* DOMINATORS_NONE: of the top, and of what cannot be reached */
    uint32_t *order; /* what can be reached, dominators before what they dominate */
    uint32_t reached;
    uint64_t *retained; /* bytes; of the top all */
};

/* Takes the dump over, and leaves out of it roots that are stacks', registers' and thread-local
 * storage's, where other roots lead to the same. */
void dom_make(struct dom *d, struct heapdump *dump);
void dom_free(struct dom *d);

static inline uint64_t dom_size(const struct dom *d, uint32_t node) {
    return node < d->dump->objects ? heapdump_size(d->dump, node) : 0;
}

static inline const struct heapdump_root *dom_root(const struct dom *d, uint32_t node) {
    return node >= d->dump->objects && node < d->top ? &d->dump->roots[node - d->dump->objects]
                                                     : NULL;
}

/* What a node is called; returns room. */
const char *dom_name(const struct dom *d, uint32_t node, char *room, size_t size);

/* Writes a part of the graph for Chrome's DevTools: at most `limit` nodes, those that retain most;
 * below `below`, with what dominates it (the top: of all). What is left out of what a node retains
 * is one node of that size, so that retained sizes are right. False: out failed. */
bool dom_export(const struct dom *d, uint32_t below, uint32_t limit, FILE *out);

#endif
