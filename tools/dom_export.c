/* dom_export.c - a part of a heap as a .heapsnapshot, which Chrome's DevTools load.
 *
 * DevTools computes dominators itself, from the edges that it is given. So that it finds the same,
 * each node that is left out is stood for by the nearest node that dominates it and is not: edges
 * from it become edges from that. Ways stay ways by this, and none is made that was not there: all
 * that lies on a way from a dominator to what it dominates is dominated by it too. */
#include <stdlib.h>
#include <string.h>

#include "dom.h"
#include "intern.h"
#include "json.h"

enum { NODE_FIELDS = 7, TYPE_HIDDEN = 0, TYPE_ARRAY = 1, TYPE_OBJECT = 3, TYPE_SYNTHETIC = 9 };
enum { EDGE_ELEMENT = 1, EDGE_PROPERTY = 2, EDGE_INTERNAL = 3 };
enum { OUT_NONE = UINT32_MAX };

struct export_edge {
    uint32_t from, to, type, name; /* places of nodes; a string, or a number for elements */
};

struct export {
    const struct dom *d;
    uint32_t *place;  /* by node: in the export, OUT_NONE */
    uint32_t *stands; /* by node: the place of what stands for it; OUT_NONE */
    uint32_t *nodes;  /* by place */
    uint32_t count;
    uint64_t *rest;  /* by place: bytes of what it retains and is left out */
    uint32_t *rests; /* and how many nodes */
    struct export_edge *edges;
    size_t edge_count, edge_room;
    struct intern strings;
};

static const struct dom *export_dom; /* for the comparison below */

static int export_compare(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    uint64_t x = export_dom->retained[a], y = export_dom->retained[b];
    if (x != y) return x < y ? 1 : -1;
    return a < b ? -1 : a > b;
}

static uint32_t export_string(struct export *e, const char *text) {
    return intern_add(&e->strings, text, strlen(text), NULL);
}

/* --- Which nodes ---------------------------------------------------------------------------- */

static void node_take(struct export *e, uint32_t node) {
    if (e->place[node] != OUT_NONE) return;
    e->place[node] = e->count;
    e->nodes[e->count++] = node;
}

/* Dominators come with what they dominate, so a node that is taken has its own taken. */
static void chain_take(struct export *e, uint32_t node) {
    while (node != DOMINATORS_NONE) {
        node_take(e, node);
        node = e->d->idom[node];
    }
}

static bool *nodes_below(const struct dom *d, uint32_t below) {
    bool *in = calloc(d->nodes, sizeof *in);
    if (!in) exit(1);
    for (uint32_t n = 0; n < d->reached; n++) {
        uint32_t node = d->order[n];
        in[node] = node == below || (d->idom[node] != DOMINATORS_NONE && in[d->idom[node]]);
    }
    return in;
}

/* By what they retain; a node retains no less than what it dominates, and of equal ones dominators
 * are taken with them. */
static void nodes_choose(struct export *e, uint32_t below, uint32_t limit) {
    const struct dom *d = e->d;
    bool *in = nodes_below(d, below);
    uint32_t *sorted = malloc((size_t)d->reached * sizeof *sorted), count = 0;
    if (!sorted) exit(1);
    for (uint32_t n = 0; n < d->reached; n++)
        if (in[d->order[n]]) sorted[count++] = d->order[n];
    export_dom = d;
    qsort(sorted, count, sizeof *sorted, export_compare);
    node_take(e, d->top);
    chain_take(e, below);
    for (uint32_t i = 0; i < count && e->count < limit; i++) chain_take(e, sorted[i]);
    free(sorted);
    free(in);
}

/* --- Edges ---------------------------------------------------------------------------------- */

static void edge_put(struct export *e, uint32_t from, uint32_t to, uint32_t type, uint32_t name) {
    e->edges = need_room(e->edges, &e->edge_room, e->edge_count, sizeof *e->edges);
    e->edges[e->edge_count++] = (struct export_edge){from, to, type, name};
}

/* What is below a node that is not exported belongs to the same. */
static void nodes_stand(struct export *e) {
    const struct dom *d = e->d;
    for (uint32_t n = 0; n < d->reached; n++) {
        uint32_t node = d->order[n];
        if (e->place[node] != OUT_NONE) {
            e->stands[node] = e->place[node];
            continue;
        }
        e->stands[node] = e->stands[d->idom[node]];
        e->rest[e->stands[node]] += dom_size(d, node);
        e->rests[e->stands[node]]++;
    }
}

static uint32_t edge_name(struct export *e, uint32_t node, uint64_t edge, uint32_t *type) {
    char room[256];
    const struct dom *d = e->d;
    *type = EDGE_PROPERTY;
    if (node < d->dump->objects)
        return export_string(
            e, heapdump_edge_name(d->dump, node, d->dump->edge_word[edge], room, sizeof room));
    *type = EDGE_INTERNAL;
    return export_string(e, node == d->top ? "root" : "refers to");
}

static void edges_list(struct export *e) {
    const struct dom *d = e->d;
    for (uint32_t n = 0; n < d->reached; n++) {
        uint32_t node = d->order[n], type;
        bool own = e->place[node] != OUT_NONE;
        for (uint64_t i = d->at[node]; i < d->at[node + 1]; i++) {
            uint32_t to = d->to[i];
            if (e->place[to] == OUT_NONE || (!own && e->stands[node] == e->place[to])) continue;
            uint32_t name =
                own ? edge_name(e, node, i, &type) : export_string(e, "by smaller ones");
            edge_put(e, e->stands[node], e->place[to], own ? type : (uint32_t)EDGE_INTERNAL, name);
        }
    }
}

static int edge_compare(const void *left, const void *right) {
    const struct export_edge *a = left, *b = right;
    return a->from != b->from ? (a->from < b->from ? -1 : 1) : a->to < b->to ? -1 : a->to > b->to;
}

/* --- The file ------------------------------------------------------------------------------- */

static void export_meta(FILE *out, uint64_t nodes, size_t edges) {
    fprintf(out,
            "{\"snapshot\":{\"meta\":{\"node_fields\":[\"type\",\"name\",\"id\",\"self_size\","
            "\"edge_count\",\"trace_node_id\",\"detachedness\"],\"node_types\":[[\"hidden\","
            "\"array\",\"string\",\"object\",\"code\",\"closure\",\"regexp\",\"number\","
            "\"native\",\"synthetic\",\"concatenated string\",\"sliced string\",\"symbol\","
            "\"bigint\",\"object shape\"],\"string\",\"number\",\"number\",\"number\",\"number\","
            "\"number\"],\"edge_fields\":[\"type\",\"name_or_index\",\"to_node\"],"
            "\"edge_types\":[[\"context\",\"element\",\"property\",\"internal\",\"hidden\","
            "\"shortcut\",\"weak\"],\"string_or_number\",\"node\"],\"trace_function_info_fields\":"
            "[\"function_id\",\"name\",\"script_name\",\"script_id\",\"line\",\"column\"],"
            "\"trace_node_fields\":[\"id\",\"function_info_index\",\"count\",\"size\","
            "\"children\"],\"sample_fields\":[\"timestamp_us\",\"last_assigned_id\"],"
            "\"location_fields\":[\"object_index\",\"script_id\",\"line\",\"column\"]},"
            "\"node_count\":%llu,\"edge_count\":%zu,\"trace_function_count\":0},\n\"nodes\":[",
            (unsigned long long)nodes, edges);
}

static uint32_t node_type(const struct dom *d, uint32_t node) {
    if (node >= d->dump->objects) return TYPE_SYNTHETIC;
    return heapdump_type(d->dump, node)->use == HEAPDUMP_SLICE ? TYPE_ARRAY : TYPE_OBJECT;
}

static void put_node(FILE *out, bool first, uint32_t type, uint32_t name, uint64_t id,
                     uint64_t size, uint32_t edges) {
    fprintf(out, "%s%u,%u,%llu,%llu,%u,0,0", first ? "" : ",\n", type, name, (unsigned long long)id,
            (unsigned long long)size, edges);
}

/* Nodes in their order, then those that stand for what was left out. Ids are odd, as V8's are. */
static void export_nodes(struct export *e, FILE *out) {
    const struct dom *d = e->d;
    char room[256], whole[320];
    size_t edge = 0;
    for (uint32_t p = 0; p < e->count; p++) {
        uint32_t node = e->nodes[p], edges = e->rests[p] > 0;
        for (; edge < e->edge_count && e->edges[edge].from == p; edge++) edges++;
        dom_name(d, node, room, sizeof room);
        if (node < d->dump->objects)
            snprintf(whole, sizeof whole, "%s @ 0x%llx", room,
                     (unsigned long long)heapdump_address(d->dump, node));
        const char *name = p == 0 ? "" : room;
        put_node(out, p == 0, node_type(d, node), export_string(e, name), 2 * (uint64_t)p + 1,
                 dom_size(d, node), edges);
    }
    for (uint32_t p = 0; p < e->count; p++) {
        if (e->rests[p] == 0) continue;
        snprintf(whole, sizeof whole, "%u smaller objects", e->rests[p]);
        put_node(out, false, TYPE_HIDDEN, export_string(e, whole), 2 * ((uint64_t)e->count + p) + 1,
                 e->rest[p], 0);
    }
}

static void put_edge(FILE *out, bool *first, uint32_t type, uint32_t name, uint64_t to) {
    fprintf(out, "%s%u,%u,%llu", *first ? "" : ",\n", type, name,
            (unsigned long long)(to * NODE_FIELDS));
    *first = false;
}

static void export_edges(struct export *e, FILE *out) {
    size_t edge = 0;
    uint64_t rest = e->count;
    bool first = true;
    uint32_t name = export_string(e, "smaller ones");
    for (uint32_t p = 0; p < e->count; p++) {
        for (; edge < e->edge_count && e->edges[edge].from == p; edge++)
            put_edge(out, &first, e->edges[edge].type, e->edges[edge].name, e->edges[edge].to);
        if (e->rests[p]) put_edge(out, &first, EDGE_INTERNAL, name, rest++);
    }
}

static void export_write(struct export *e, FILE *out) {
    uint64_t rests = 0;
    for (uint32_t p = 0; p < e->count; p++) rests += e->rests[p] > 0;
    export_meta(out, e->count + rests, e->edge_count + rests);
    export_nodes(e, out);
    fputs("],\n\"edges\":[", out);
    export_edges(e, out);
    fputs("],\n\"trace_function_infos\":[],\"trace_tree\":[],\"samples\":[],\"locations\":[],\n"
          "\"strings\":[",
          out);
    for (size_t i = 0; i < e->strings.count; i++) {
        if (i) fputs(",\n", out);
        json_string(out, e->strings.keys[i].bytes);
    }
    fputs("]}\n", out);
}

bool dom_export(const struct dom *d, uint32_t below, uint32_t limit, FILE *out) {
    struct export e = {.d = d};
    e.place = malloc((size_t)d->nodes * sizeof *e.place);
    e.stands = malloc((size_t)d->nodes * sizeof *e.stands);
    e.nodes = malloc((size_t)d->nodes * sizeof *e.nodes);
    e.rest = calloc(d->nodes, sizeof *e.rest);
    e.rests = calloc(d->nodes, sizeof *e.rests);
    if (!e.place || !e.stands || !e.nodes || !e.rest || !e.rests) exit(1);
    memset(e.place, 0xff, (size_t)d->nodes * sizeof *e.place);
    memset(e.stands, 0xff, (size_t)d->nodes * sizeof *e.stands);
    export_string(&e, "");
    nodes_choose(&e, below, limit);
    nodes_stand(&e);
    edges_list(&e);
    if (e.edge_count) qsort(e.edges, e.edge_count, sizeof *e.edges, edge_compare);
    export_write(&e, out);
    free(e.place), free(e.stands), free(e.nodes), free(e.rest), free(e.rests), free(e.edges);
    intern_free(&e.strings);
    return fflush(out) == 0 && !ferror(out);
}
