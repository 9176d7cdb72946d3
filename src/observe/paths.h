/* paths.h - the ways from roots to objects, by their shape: what kinds of things refer to what
 * kinds of things, not which. docs/design.md, "Retention". */
#ifndef EBB_PATHS_H
#define EBB_PATHS_H

#include "graph.h"

enum path_step {
    STEP_ROOT,   /* the first: from the range of roots, or (extra) a finalizer */
    STEP_FIELD,  /* of a described type: its place in layout->fields */
    STEP_OFFSET, /* bytes into an object whose words may all be pointers */
    STEP_SLOT,   /* an element of an array, which ones does not count */
    STEP_SELF,   /* any field, to another object of the same type, as often as you like */
    STEP_OTHER,  /* there were too many shapes to tell this one apart */
};

/* Objects of one layout that are reached in one manner from those of the node before. Node 0 is
 * none. */
typedef struct path_node {
    uint32_t before; /* 0: a root refers to them */
    uint8_t step;
    bool beyond;   /* in an array of slices, past the length of all slices seen */
    bool repeated; /* the way from an earlier such node back to it is part of this shape */
    uint32_t depth;
    uint64_t key; /* of the step: field, offset; roots: their address, or 0 where that varies */
    struct ebb__layout *layout;
    root_note root;           /* STEP_ROOT; origin ORIGIN_COUNT: finalizers */
    graph_sum ends;           /* targets whose shape this is */
    uint64_t least, most;     /* array slots, or bytes from the top of a stack, that were seen */
    uintptr_t referrer, from; /* an example: the object (or 0) and the address of the reference */
    uintptr_t example;        /* and what it refers to */
    uint32_t site;            /* of some object of it, where one was sampled; 0 */
} path_node;

/* A static variable's module. */
typedef struct path_module {
    uintptr_t start, end, base;
    char name[104]; /* the last part of its path */
} path_module;

typedef struct path_way path_way;
typedef struct path_climb path_climb;

enum { PATHS_AHEAD = 16 };

typedef struct paths {
    graph *g;
    path_node *nodes;
    uint32_t count, room;
    uint32_t *table; /* nodes by what tells them apart; open addressing */
    struct path_way {
        uint64_t slot;
        uint32_t span, index;
    } * stack; /* objects on the way back, and the slots that found them */
    size_t stack_room;
    struct path_climb {
        const span *target; /* null: an empty place */
        uint32_t target_index;
        uint32_t at, at_index; /* of what it stands at, the span's number and the place there */
        uint64_t slot;         /* what refers to the object before, */
        bool half;             /* and is still to be looked up there */
    } climbs[PATHS_AHEAD];     /* the next targets: memory is asked for what lies on their ways */
    uint32_t climb_at;
    uintptr_t *tails; /* pairs by array: where it begins, where nothing is used from; */
    size_t tails_room;
    path_module *modules;
    size_t module_count;
} paths;

/* False without memory. To be made after the walk. */
EBB__SHARED bool ebb__paths_open(paths *p, graph *g);

/* Adds an object that was found: the node of its shape counts it, at the latest when the order is
 * asked for. */
EBB__SHARED void ebb__paths_add(paths *p, const span *s, uint32_t index);

/* Nodes that count something, by bytes, largest first. Their number; *order is the child's memory,
 * null without. */
EBB__SHARED uint32_t ebb__paths_order(paths *p, uint32_t **order);

/* The module that an address of static data is in; or null. */
EBB__SHARED const path_module *ebb__paths_module(const paths *p, uintptr_t address);

/* Whether the way of a node begins at a root that is searched for whatever may lie there. */
EBB__SHARED bool ebb__paths_doubtful(const paths *p, uint32_t node);

EBB__INLINE uint32_t path_first(const paths *p, uint32_t node) {
    while (p->nodes[node].before) node = p->nodes[node].before;
    return node;
}

#endif
