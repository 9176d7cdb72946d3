/* paths.c - groups objects by the shape of the shortest way that leads to them.
 * docs/design.md, "Retention".
 *
 * The shape of an object is that of what refers to it and one step more, so each object on the way
 * to a target is looked at once and remembers its node, where the slot was by which it was found:
 * that is not needed again. A shape cannot grow for ever: a step to the
 * same type counts once however often it is made (lists, trees), and a step that the way made
 * before leads back to where it led then (lists of several types). */
#include "paths.h"
#include "slack.h"
#include "../os/child.h"

enum { NODES_MAX = 1 << 16, TABLE_ROOM = 4 * NODES_MAX, STEPS_MAX = 48, MODULES_MAX = 512 };

/* Larger objects of plain words are arrays, as far as paths go. */
enum { WORDS_APART = 512 };

/* --- What is needed besides the graph ------------------------------------------------------- */

static size_t tail_hash(const paths *p, uintptr_t array) {
    return address_hash(array) >> 20 & (p->tails_room - 1);
}

static void tail_note(const span *s, uintptr_t array, uintptr_t from, uintptr_t to, void *arg) {
    paths *p = arg;
    (void)s, (void)to;
    for (size_t at = tail_hash(p, array);; at = (at + 1) & (p->tails_room - 1)) {
        if (p->tails[2 * at] != 0) continue;
        p->tails[2 * at] = array;
        p->tails[2 * at + 1] = from;
        return;
    }
}

static void tail_count(const span *s, uintptr_t array, uintptr_t from, uintptr_t to, void *arg) {
    (void)s, (void)array, (void)from, (void)to;
    ++*(size_t *)arg;
}

/* Where the lengths of all slices of the array end; UINTPTR_MAX when nothing is beyond. */
static uintptr_t tail_of(const paths *p, uintptr_t array) {
    if (p->tails_room == 0) return UINTPTR_MAX;
    for (size_t at = tail_hash(p, array);; at = (at + 1) & (p->tails_room - 1)) {
        if (p->tails[2 * at] == array) return p->tails[2 * at + 1];
        if (p->tails[2 * at] == 0) return UINTPTR_MAX;
    }
}

static bool tails_list(paths *p) {
    size_t count = 0;
    if (!ebb__slack_each(p->g->snap->roots, tail_count, &count)) return false;
    if (count == 0) return true;
    size_t room = 256;
    while (room < 2 * count) room *= 2;
    p->tails = ebb__graph_memory(room * 2 * sizeof *p->tails);
    if (!p->tails) return false;
    p->tails_room = room;
    return ebb__slack_each(p->g->snap->roots, tail_note, p);
}

/* A module is all mappings of one file, and what follows the last one without a name: zeroed static
 * data. */
static void module_note(const os_mapping *m, void *arg) {
    paths *p = arg;
    path_module *last = p->module_count ? &p->modules[p->module_count - 1] : NULL;
    const char *slash = strrchr(m->path, '/'), *name = slash ? slash + 1 : m->path;
    if (last && m->start == last->end &&
        (*m->path == 0 || strncmp(name, last->name, sizeof last->name - 1) == 0)) {
        last->end = m->end;
        return;
    }
    if (!slash || p->module_count == MODULES_MAX) return;
    last = &p->modules[p->module_count++];
    *last = (path_module){m->start, m->end, m->start - m->offset, {0}};
    memcpy(last->name, name, min_size(strlen(name), sizeof last->name - 1));
}

const path_module *ebb__paths_module(const paths *p, uintptr_t address) {
    for (size_t i = 0; i < p->module_count; i++)
        if (address >= p->modules[i].start && address < p->modules[i].end) return &p->modules[i];
    return NULL;
}

bool ebb__paths_open(paths *p, graph *g) {
    *p = (paths){.g = g, .count = 1, .room = NODES_MAX, .stack_room = 64 * KIB};
    p->nodes = ebb__graph_memory(NODES_MAX * sizeof *p->nodes);
    p->table = ebb__graph_memory(TABLE_ROOM * sizeof *p->table);
    p->stack = ebb__graph_memory(p->stack_room * sizeof *p->stack);
    p->modules = ebb__graph_memory(MODULES_MAX * sizeof *p->modules);
    if (!p->nodes || !p->table || !p->stack || !p->modules) return false;
    ebb__os_mappings_each(module_note, p);
    return tails_list(p);
}

/* --- Nodes ---------------------------------------------------------------------------------- */

/* A step, before it is known whether there is a node for it. */
typedef struct path_edge {
    path_node node; /* all but what counts */
    uint64_t at;    /* slot of the array, bytes into the stack */
} path_edge;

static bool node_same(const path_node *a, const path_node *b) {
    return a->before == b->before && a->step == b->step && a->beyond == b->beyond &&
           a->key == b->key && a->layout == b->layout && a->root.origin == b->root.origin &&
           a->root.tid == b->root.tid;
}

static uint32_t *node_place(const paths *p, const path_node *like) {
    uint64_t hash = like->before * 0x9e3779b97f4a7c15u;
    hash = (hash ^ like->step ^ (uint64_t)like->beyond << 8 ^ like->key) * 0xbf58476d1ce4e5b9u;
    hash = (hash ^ hash >> 29 ^ (uintptr_t)like->layout) * 0x94d049bb133111ebu;
    hash ^= (uint64_t)like->root.tid * 0x9e3779b97f4a7c15u;
    for (size_t at = hash >> 20;; at++) {
        uint32_t *place = &p->table[at % TABLE_ROOM];
        if (*place == 0 || node_same(&p->nodes[*place], like)) return place;
    }
}

/* A node on the way that the same step led to before, from objects of the same layout. */
static uint32_t node_again(const paths *p, const path_node *step) {
    const struct ebb__layout *from = p->nodes[step->before].layout;
    for (uint32_t at = step->before; p->nodes[at].before; at = p->nodes[at].before) {
        const path_node *n = &p->nodes[at];
        if (n->step == step->step && n->key == step->key && n->beyond == step->beyond &&
            n->layout == step->layout && p->nodes[n->before].layout == from)
            return at;
    }
    return 0;
}

static uint32_t node_new(paths *p, uint32_t *place, const path_edge *e) {
    uint32_t number = p->count++;
    *place = number;
    p->nodes[number] = e->node;
    p->nodes[number].depth = e->node.before ? p->nodes[e->node.before].depth + 1 : 0;
    p->nodes[number].least = UINT64_MAX;
    return number;
}

/* The node that a step leads to. */
static uint32_t node_of_edge(paths *p, path_edge *e) {
    const path_node *before = &p->nodes[e->node.before];
    uint32_t *place = node_place(p, &e->node);
    if (*place) return *place;
    if (e->node.step == STEP_SELF && before->step == STEP_SELF) return e->node.before;
    uint32_t again = e->node.before ? node_again(p, &e->node) : 0;
    if (again) {
        p->nodes[again].repeated = true;
        return again;
    }
    if (p->count < NODES_MAX - 4096 && before->depth < STEPS_MAX) return node_new(p, place, e);
    e->node.step = STEP_OTHER;
    e->node.key = 0;
    if (e->node.before) e->node.before = path_first(p, e->node.before);
    place = node_place(p, &e->node);
    if (*place) return *place;
    return p->count < NODES_MAX ? node_new(p, place, e) : NODES_MAX - 1;
}

/* --- Steps ---------------------------------------------------------------------------------- */

static uint32_t field_at(const struct ebb__layout *l, size_t offset) {
    uint32_t best = 0;
    for (uint32_t i = 0; i < l->field_count; i++)
        if (l->fields[i].offset <= offset && l->fields[i].offset >= l->fields[best].offset)
            best = i;
    return best;
}

/* From an object, at a slot of it. */
static void edge_inside(const paths *p, path_edge *e, const graph_slot *slot) {
    const struct ebb__layout *l = slot->span->bin->layout;
    size_t offset = slot->address - slot->object, element = l->element;
    bool typed = l->kind == LAYOUT_TYPED, array = l->use != EBB__USE_OBJECT;
    if (!typed) element = sizeof(void *);
    e->at = offset / element;
    e->node.beyond = l->use == EBB__USE_SLICE && slot->address >= tail_of(p, slot->object);
    if (typed && l == e->node.layout && !array) {
        e->node.step = STEP_SELF;
        e->at = 0;
    } else if (typed) {
        e->node.step = STEP_FIELD;
        e->node.key = field_at(l, offset % element);
    } else if (array || slot->span->stride > WORDS_APART) {
        e->node.step = STEP_SLOT;
    } else {
        e->node.step = STEP_OFFSET;
        e->node.key = offset;
    }
}

/* From a root: variables are told apart by their address, what threads have by the thread. */
static void edge_root(const paths *p, path_edge *e, const graph_slot *slot) {
    e->node.step = STEP_ROOT;
    if (slot->extra) {
        e->node.root = (root_note){0, ORIGIN_COUNT, 0};
        return;
    }
    const root_note *note = ebb__graph_note(p->g, slot->range);
    const os_range *range = &p->g->snap->roots->ranges.items[slot->range];
    e->node.root = *note;
    e->node.root.first = 0;
    e->at = slot->address - range->start;
    if (note->origin == ORIGIN_STACK && note->tid &&
        ebb__roots_in_storage(note->tid, slot->address))
        e->node.root.origin = ORIGIN_STORAGE;
    if (note->origin == ORIGIN_STATIC) e->node.key = slot->address;
    if (note->origin == ORIGIN_RANGE) e->node.key = range->start;
}

static void node_see(path_node *n, const path_edge *e, const graph_slot *slot, uintptr_t object) {
    if (e->at < n->least) n->least = e->at;
    if (e->at > n->most) n->most = e->at;
    if (n->example) return;
    n->referrer = slot->object;
    n->from = slot->address;
    n->example = object;
}

static bool stack_push(paths *p, size_t depth, const span *s, uint32_t index, uint64_t slot) {
    size_t bytes = p->stack_room * sizeof *p->stack;
    if (depth == p->stack_room) {
        path_way *grown = ebb__graph_memory(2 * bytes);
        if (!grown) return false;
        memcpy(grown, p->stack, bytes);
        ebb__os_unmap(p->stack, round_up(bytes, ebb__os_page_size()), OS_METADATA);
        p->stack = grown;
        p->stack_room *= 2;
    }
    p->stack[depth] = (path_way){slot, span_number(s), index};
    return true;
}

/* One step on from what a node stands for, by a slot; remembers it for the object. */
static uint32_t path_step_on(paths *p, uint32_t before, const graph_slot *slot, const span *s,
                             uint32_t index) {
    path_edge e = {.node = {.before = before, .layout = s->bin->layout}};
    uintptr_t object = span_start(s) + index * s->stride;
    if (slot->span)
        edge_inside(p, &e, slot);
    else
        edge_root(p, &e, slot);
    uint32_t node = node_of_edge(p, &e);
    node_see(&p->nodes[node], &e, slot, object);
    if (s->zone == ZONE_SCAN) graph_from_set(p->g, graph_number(p->g, s, index), FROM_SHAPE + node);
    return node;
}

static bool from_is_slot(uint64_t from) {
    return from < FROM_SHAPE || from >= FROM_SLOTS;
}

/* The node of an object, by way of all that is not known between it and a root. */
static uint32_t path_of(paths *p, const span *s, uint32_t index) {
    size_t depth = 0;
    uint64_t from;
    graph_slot slot = {0};
    while (from_is_slot(from = graph_from(p->g, graph_number(p->g, s, index)))) {
        if (from == 0 || !stack_push(p, depth, s, index, graph_slot_from(from))) return 0;
        slot = ebb__graph_slot(p->g, p->stack[depth++].slot);
        if (!slot.span) break;
        s = slot.span;
        index = slot.index;
    }
    uint32_t node = from_is_slot(from) ? 0 : (uint32_t)(from - FROM_SHAPE);
    while (depth-- > 0) {
        path_way way = p->stack[depth];
        s = span_at(way.span);
        node = path_step_on(p, node, &slot, s, way.index);
        uintptr_t object = span_start(s) + way.index * s->stride;
        if (depth > 0)
            slot = (graph_slot){.span = s,
                                .index = way.index,
                                .object = object,
                                .address = ebb__space.base + p->stack[depth - 1].slot * 8};
    }
    return node;
}

/* --- Targets -------------------------------------------------------------------------------- */

/* Half the way to the next object up: asks for the span that the slot is in; or, when that has
 * come, for what is known of the object there. False at the end: from there on all is near. */
static bool climb_on(const paths *p, path_climb *c) {
    if (c->half) {
        graph_slot holder = ebb__graph_slot(p->g, c->slot);
        c->half = false;
        c->at_index = holder.index;
        __builtin_prefetch(&p->g->from.low[p->g->first[c->at] + c->at_index]);
        return true;
    }
    uint64_t from = graph_from(p->g, p->g->first[c->at] + c->at_index);
    if (from == 0 || !from_is_slot(from)) return false;
    c->slot = graph_slot_from(from);
    if (c->slot >= p->g->heap_words) return false;
    c->half = true;
    c->at = graph_slot_span(c->slot);
    __builtin_prefetch(span_at(c->at));
    return true;
}

static void climb_end(paths *p, const path_climb *c) {
    path_node *n = &p->nodes[path_of(p, c->target, c->target_index)];
    n->ends.objects++;
    n->ends.bytes += c->target->stride;
}

void ebb__paths_add(paths *p, const span *s, uint32_t index) {
    path_climb *c;
    do c = &p->climbs[p->climb_at++ % PATHS_AHEAD];
    while (c->target && climb_on(p, c));
    if (c->target) climb_end(p, c);
    *c = (path_climb){s, index, span_number(s), index, 0, false};
}

static void paths_finish(paths *p) {
    for (unsigned i = 0; i < PATHS_AHEAD; i++) {
        if (p->climbs[i].target) climb_end(p, &p->climbs[i]);
        p->climbs[i].target = NULL;
    }
}

/* --- Order ---------------------------------------------------------------------------------- */

static bool node_before(const paths *p, uint32_t a, uint32_t b) {
    return p->nodes[a].ends.bytes != p->nodes[b].ends.bytes
               ? p->nodes[a].ends.bytes > p->nodes[b].ends.bytes
               : a < b;
}

/* Heap sort: the last in order comes to the top, and goes to the end. */
static void order_sink(const paths *p, uint32_t *order, uint32_t at, uint32_t count) {
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && node_before(p, order[child], order[child + 1])) child++;
        if (!node_before(p, order[at], order[child])) return;
        uint32_t swap = order[at];
        order[at] = order[child];
        order[child] = swap;
    }
}

uint32_t ebb__paths_order(paths *p, uint32_t **order) {
    paths_finish(p);
    uint32_t count = 0;
    uint32_t *list = *order = ebb__graph_memory(p->count * sizeof **order);
    for (uint32_t n = 0; list && n < p->count; n++)
        if (p->nodes[n].ends.objects) list[count++] = n;
    for (uint32_t at = count / 2; at-- > 0;) order_sink(p, list, at, count);
    for (uint32_t left = count; left > 1; left--) {
        uint32_t last = list[0];
        list[0] = list[left - 1];
        list[left - 1] = last;
        order_sink(p, list, 0, left - 1);
    }
    return count;
}

bool ebb__paths_doubtful(const paths *p, uint32_t node) {
    const root_note *root = &p->nodes[path_first(p, node)].root;
    return root->origin < ORIGIN_STATIC;
}
