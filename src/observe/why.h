/* why.h - the answer to "who holds it", between the file that finds it (why.c) and those that say
 * it (why_print.c, retainers.c). docs/design.md, "Retention". */
#ifndef EBB_WHY_H
#define EBB_WHY_H

#include "paths.h"

enum why_form { WHY_TEXT, WHY_JSON, WHY_PROFILE };

typedef struct why_ask {
    char target[512]; /* "" for everything */
    char site[2048];  /* addresses of calls, for a target that is no type; "" */
    bool doubtful;    /* only what stacks, registers and thread-local storage alone hold */
    enum why_form form;
    uint64_t limit; /* of shapes */
} why_ask;

typedef struct why_type {
    struct ebb__layout *layout; /* null: an empty place */
    graph_sum found;
    bool target;
} why_type;

typedef struct why {
    const why_ask *ask;
    bool sampled;    /* the targets are samples: there are more */
    bool everything; /* all objects are targets, and nothing is retained */
    graph g;
    paths paths;
    why_type *types; /* by layout, open addressing; of what is reachable */
    uint32_t types_room;
    graph_sum all, doubtful; /* reachable; by doubtful roots alone */
    graph_sum targets;       /* that are reachable */
    graph_sum retained;      /* by the targets, themselves included: nothing else leads there */
    graph_sum besides;       /* the targets, and else doubtful roots alone, lead there */
    uint32_t *order, count;  /* shapes that end at targets, of most bytes first */
} why;

/* The entry of a layout, made if need be. */
EBB__SHARED why_type *ebb__why_type(why *w, struct ebb__layout *l);

/* What objects of a layout are called; returns room. */
EBB__SHARED const char *ebb__why_layout_name(const struct ebb__layout *l, char *room, size_t size);

/* Calls visit for each sampled object that was allocated below a call at, or returning to, one of
 * the addresses in the list, "@0xA+0xB". */
EBB__SHARED void ebb__why_sites(why *w, const char *list, void (*visit)(why *w, uintptr_t object));

/* "BEFORE@0x…", the call that allocated an object, if it was sampled; then `after`. */
EBB__SHARED void ebb__why_site_print(uintptr_t object, reply *r, const char *before,
                                     const char *after);

/* A frame of a profile: what a node is and by which reference; or the root of its way. */
EBB__SHARED void ebb__why_frame_print(const why *w, reply *r, uint32_t node, bool root);

/* Types by their bytes; the answer, as text or JSON; as a profile. */
EBB__SHARED void ebb__why_print_types(why *w, reply *r);
EBB__SHARED void ebb__why_print(why *w, reply *r);
EBB__SHARED void ebb__why_profile(why *w, reply *r);

#endif
