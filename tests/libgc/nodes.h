/* nodes.h - lists whose length tells whether anything of them was lost. */
#ifndef CASE_NODES_H
#define CASE_NODES_H
#include "case.h"

typedef struct node {
    struct node *next;
    size_t number;
    size_t check; /* ~number */
} node;

static node *node_list(size_t count) {
    node *first = NULL;
    for (size_t i = 0; i < count; i++) {
        node *n = GC_NEW(node);
        *n = (node){first, i, ~i};
        first = n;
    }
    return first;
}

/* Up to the first that is damaged. */
static size_t node_count(const node *n) {
    size_t count = 0;
    for (; n && n->check == ~n->number; n = n->next) count++;
    return count;
}

#endif
