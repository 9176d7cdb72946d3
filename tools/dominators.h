/* dominators.h - through which node every way to a node leads. */
#ifndef EBB_TOOLS_DOMINATORS_H
#define EBB_TOOLS_DOMINATORS_H

#include <stdint.h>

/* The successors of node i are to[at[i]] … to[at[i + 1] - 1]. */
struct digraph {
    uint32_t nodes;
    const uint64_t *at;
    const uint32_t *to;
};

enum { DOMINATORS_NONE = UINT32_MAX >> 1 };

/* Sets idom[v] to the immediate dominator of v: the last other node that is on every way from root
 * to v. Of root, and of what cannot be reached, it is DOMINATORS_NONE. order (may be null) gets the
 * nodes that can be reached, in preorder of a depth-first search: a node stands behind its
 * dominators. Returns how many. Without memory the program ends. */
uint32_t dominators(const struct digraph *g, uint32_t root, uint32_t *idom, uint32_t *order);

#endif
