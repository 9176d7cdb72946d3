/* test_tool_dump.c - dumps of heaps: written, read, their dominators, the export. See
 * docs/heapdump.md. */
#include "test.h"

#include <ebb/ebb.h>
#include <unistd.h>

#include "../tools/command.h"
#include "../tools/dom.h"

/* --- Dominators against a slow reference ---------------------------------------------------- */

enum { NODES_MOST = 60 };

struct random_graph {
    uint32_t nodes;
    uint64_t at[NODES_MOST + 1];
    uint32_t to[NODES_MOST * 8];
};

static void graph_make(struct random_graph *g, uint64_t *state) {
    g->nodes = 1 + (uint32_t)test_random_below(state, NODES_MOST);
    uint64_t most = 1 + test_random_below(state, 6), edges = 0;
    for (uint32_t n = 0; n < g->nodes; n++) {
        g->at[n] = edges;
        for (uint64_t i = test_random_below(state, most + 1); i > 0; i--)
            g->to[edges++] = (uint32_t)test_random_below(state, g->nodes);
    }
    g->at[g->nodes] = edges;
}

/* What can be reached from 0 without going through a node. */
static void reach(const struct random_graph *g, uint32_t without, bool *seen) {
    uint32_t stack[NODES_MOST], depth = 0;
    memset(seen, 0, NODES_MOST);
    if (without == 0) return;
    seen[0] = true;
    stack[depth++] = 0;
    while (depth > 0) {
        uint32_t n = stack[--depth];
        for (uint64_t e = g->at[n]; e < g->at[n + 1]; e++) {
            if (g->to[e] == without || seen[g->to[e]]) continue;
            seen[g->to[e]] = true;
            stack[depth++] = g->to[e];
        }
    }
}

TEST(dominators_agree_with_their_definition) {
    uint64_t state = test_seed();
    for (size_t round = 0; round < 2000 * test_scale() / (test_slow() ? 10 : 1); round++) {
        struct random_graph g;
        bool all[NODES_MOST], seen[NODES_MOST];
        static bool dominates[NODES_MOST][NODES_MOST];
        uint32_t idom[NODES_MOST], order[NODES_MOST];
        graph_make(&g, &state);
        uint32_t count = dominators(&(struct digraph){g.nodes, g.at, g.to}, 0, idom, order), n = 0;
        reach(&g, DOMINATORS_NONE, all);
        for (uint32_t v = 0; v < g.nodes; v++) n += all[v];
        CHECK_EQ(count, n);
        for (uint32_t d = 0; d < g.nodes; d++) {
            reach(&g, d, seen);
            for (uint32_t v = 0; v < g.nodes; v++)
                dominates[d][v] = all[v] && (d == v || !seen[v]) && all[d];
        }
        for (uint32_t v = 0; v < g.nodes; v++) {
            if (v == 0 || !all[v]) {
                CHECK_EQ(idom[v], DOMINATORS_NONE);
                continue;
            }
            /* It dominates v, and all others that do dominate it. */
            CHECK(idom[v] != v && dominates[idom[v]][v]);
            for (uint32_t d = 0; d < g.nodes; d++)
                if (d != v && dominates[d][v]) CHECK(dominates[d][idom[v]]);
        }
    }
}

TEST(a_long_path_needs_no_deep_stack) {
    enum { LONG = 1000000 };
    uint64_t *at = malloc((LONG + 1) * sizeof *at);
    uint32_t *to = malloc(LONG * sizeof *to), *idom = malloc(LONG * sizeof *idom);
    for (uint32_t i = 0; i < LONG; i++) {
        at[i] = i;
        to[i] = (i + 1) % LONG;
    }
    at[LONG] = LONG;
    CHECK_EQ(dominators(&(struct digraph){LONG, at, to}, 0, idom, NULL), LONG);
    for (uint32_t i = 1; i < LONG; i++) CHECK_EQ(idom[i], i - 1);
    free(at), free(to), free(idom);
}

/* --- A dump of this program ----------------------------------------------------------------- */

typedef struct leaf {
    long numbers[5];
} leaf;

typedef struct branch {
    struct branch *next;
    leaf *leaf;
    long pad[2];
} branch;

typedef struct trunk {
    branch *branches;
    leaf *shared;
} trunk;

EBB_TYPE(leaf);
EBB_TYPE(branch, ptr(next), ptr(leaf));
EBB_TYPE(trunk, ptr(branches), ptr(shared));

static trunk *tree, *other;
static char path[64];

NOINLINE static void tree_make(int branches) {
    tree = ebb_new(trunk);
    other = ebb_new(trunk);
    for (int i = 0; i < branches; i++) {
        branch *b = ebb_new(branch);
        b->leaf = ebb_new(leaf);
        b->next = tree->branches;
        tree->branches = b;
    }
    tree->shared = other->shared = ebb_new(leaf);
}

static void dump_make(struct heapdump *d) {
    snprintf(path, sizeof path, "/tmp/ebb-test-%d.ebbheap", (int)getpid());
    CHECK_EQ(ebb_heap_dump(path), 0);
    FILE *in = fopen(path, "r");
    CHECK(in != NULL);
    if (!heapdump_read(d, in)) test_fail(__FILE__, __LINE__, "%s", d->error);
    fclose(in);
    remove(path);
}

static uint32_t count_of(const struct heapdump *d, const char *name) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->objects; i++) n += strcmp(heapdump_type(d, i)->name, name) == 0;
    return n;
}

TEST(a_dump_has_what_there_is) {
    struct heapdump d;
    tree_make(1000);
    test_clear_stack();
    dump_make(&d);
    CHECK_EQ(d.pid, getpid());
    CHECK_EQ(count_of(&d, "branch"), 1000);
    CHECK_EQ(count_of(&d, "leaf"), 1001);
    CHECK_EQ(count_of(&d, "trunk"), 2);
    uint32_t trunk_number;
    char room[64];
    CHECK(heapdump_find(&d, (uintptr_t)tree, &trunk_number));
    CHECK(heapdump_size(&d, trunk_number) >= ebb_size_of(tree));
    CHECK_EQ(d.edge_at[trunk_number + 1] - d.edge_at[trunk_number], 2);
    uint64_t first = d.edge_at[trunk_number];
    CHECK_EQ(heapdump_address(&d, d.edge_to[first]), (uintptr_t)tree->branches);
    CHECK_STR(heapdump_edge_name(&d, trunk_number, d.edge_word[first], room, sizeof room),
              "branches");
    CHECK_STR(heapdump_edge_name(&d, trunk_number, d.edge_word[first + 1], room, sizeof room),
              "shared");
    bool rooted = false;
    for (size_t i = 0; i < d.root_count; i++)
        rooted |= d.roots[i].origin == HEAPDUMP_STATIC && d.roots[i].target == trunk_number &&
                  d.roots[i].at == (uintptr_t)&tree;
    CHECK(rooted);
    heapdump_free(&d);
}

/* A node's retained bytes, by what cannot be reached without it. */
static uint64_t retained_slowly(const struct dom *d, uint32_t without) {
    bool *seen = calloc(d->nodes, sizeof *seen);
    uint32_t *stack = calloc(d->nodes, sizeof *stack), depth = 0;
    uint64_t bytes = d->retained[d->top];
    seen[d->top] = true;
    stack[depth++] = d->top;
    while (depth > 0) {
        uint32_t n = stack[--depth];
        bytes -= dom_size(d, n);
        for (uint64_t e = d->at[n]; e < d->at[n + 1]; e++) {
            if (d->to[e] == without || seen[d->to[e]]) continue;
            seen[d->to[e]] = true;
            stack[depth++] = d->to[e];
        }
    }
    free(seen), free(stack);
    return bytes;
}

TEST(what_is_retained_is_what_would_go) {
    struct heapdump dump;
    struct dom d;
    uint32_t node;
    tree_make(200);
    test_clear_stack();
    dump_make(&dump);
    dom_make(&d, &dump);
    CHECK(heapdump_find(&dump, (uintptr_t)tree, &node));
    CHECK_EQ(d.retained[node], retained_slowly(&d, node));
    CHECK(d.retained[node] >= 200 * (sizeof(branch) + sizeof(leaf)));
    CHECK(heapdump_find(&dump, (uintptr_t)tree->shared, &node));
    CHECK_EQ(d.idom[node], d.top);
    for (node = 0; node < dump.objects; node += 37)
        CHECK_EQ(d.retained[node], retained_slowly(&d, node));
    dom_free(&d);
}

/* --- The export ----------------------------------------------------------------------------- */

/* The numbers of an array of the file, which it holds once. */
static size_t array_read(const char *text, const char *name, uint64_t **numbers) {
    char mark[32];
    size_t count = 0, room = 1 << 16;
    snprintf(mark, sizeof mark, "\"%s\":[", name);
    const char *at = strstr(text, mark);
    CHECK(at != NULL);
    *numbers = calloc(room, sizeof **numbers);
    for (at += strlen(mark); *at != ']'; at += strspn(at, ",\n")) {
        char *end;
        CHECK(count < room);
        (*numbers)[count++] = strtoull(at, &end, 10);
        CHECK(end != at);
        at = end;
    }
    return count;
}

static char *export_text(const struct dom *d, uint32_t below, uint32_t limit) {
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    CHECK(dom_export(d, below, limit, out));
    fclose(out);
    return text;
}

/* Reads the file as DevTools does: the size that its root retains, and that of one node. */
static void export_check(const struct dom *d, uint32_t below, uint32_t limit) {
    uint64_t *nodes, *edges, at[4096];
    char *text = export_text(d, below, limit);
    size_t node_count = array_read(text, "nodes", &nodes) / 7, edge = 0;
    size_t edge_count = array_read(text, "edges", &edges) / 3;
    uint32_t *to = calloc(edge_count + 1, sizeof *to), idom[4096], order[4096];
    uint64_t retained[4096] = {0};
    CHECK(node_count > 0 && node_count < 4095);
    for (size_t n = 0; n < node_count; n++) {
        at[n] = edge;
        edge += nodes[7 * n + 4];
    }
    at[node_count] = edge;
    CHECK_EQ(edge, edge_count);
    for (size_t e = 0; e < edge_count; e++) {
        CHECK_EQ(edges[3 * e + 2] % 7, 0);
        to[e] = (uint32_t)(edges[3 * e + 2] / 7);
        CHECK(to[e] < node_count);
    }
    uint32_t reached = dominators(&(struct digraph){(uint32_t)node_count, at, to}, 0, idom, order);
    CHECK_EQ(reached, node_count);
    for (uint32_t n = 0; n < reached; n++) retained[order[n]] = nodes[7 * order[n] + 3];
    for (uint32_t n = reached; n-- > 1;) retained[idom[order[n]]] += retained[order[n]];
    CHECK_EQ(retained[0], d->retained[d->top]);
    bool found = below == d->top;
    for (size_t n = 0; n < node_count; n++) found |= retained[n] == d->retained[below];
    CHECK(found);
    free(text), free(nodes), free(edges), free(to);
}

TEST(an_export_retains_the_same) {
    struct heapdump dump;
    struct dom d;
    uint32_t node;
    tree_make(300);
    test_clear_stack();
    dump_make(&dump);
    dom_make(&d, &dump);
    CHECK(heapdump_find(&dump, (uintptr_t)tree, &node));
    export_check(&d, d.top, 100000);
    export_check(&d, d.top, 50);
    export_check(&d, d.top, 1);
    export_check(&d, node, 100000);
    export_check(&d, node, 10);
    dom_free(&d);
}

/* --- Errors --------------------------------------------------------------------------------- */

static bool read_bytes(const char *bytes, size_t size, char *error, size_t room) {
    struct heapdump d;
    FILE *in = fmemopen((void *)(uintptr_t)bytes, size, "r");
    bool good = heapdump_read(&d, in);
    snprintf(error, room, "%s", d.error);
    fclose(in);
    heapdump_free(&d);
    return good;
}

TEST(a_dump_that_broke_off_is_refused) {
    static char bytes[1 << 20];
    char error[256];
    tree_make(100);
    snprintf(path, sizeof path, "/tmp/ebb-test-%d.ebbheap", (int)getpid());
    CHECK_EQ(ebb_heap_dump(path), 0);
    FILE *in = fopen(path, "r");
    size_t size = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    remove(path);
    CHECK(size > 1000 && size < sizeof bytes);
    CHECK(read_bytes(bytes, size, error, sizeof error));
    for (size_t cut = 1; cut < size; cut += 13) {
        CHECK(!read_bytes(bytes, cut, error, sizeof error));
        CHECK(error[0] != 0);
    }
    CHECK(!read_bytes("not a dump, but text", 20, error, sizeof error));
    CHECK_STR(error, "this is no dump of a heap");
}

/* A list without end, of which one object is asked for. */
TEST(a_long_chain_needs_no_deep_stack) {
    enum { LONG = 300000 };
    char address[32];
    void **list = NULL;
    for (int i = 0; i < LONG; i++) {
        void **node = ebb_alloc(sizeof *node);
        *node = list;
        list = node;
    }
    void **last = list;
    while (*last) last = *last;
    tree = (trunk *)(void *)list;
    snprintf(path, sizeof path, "/tmp/ebb-test-%d.ebbheap", (int)getpid());
    CHECK_EQ(ebb_heap_dump(path), 0);
    snprintf(address, sizeof address, "%p", (void *)last);
    CHECK(freopen("/dev/null", "w", stdout) != NULL);
    CHECK_EQ(command_dom.main(4, (char *[]){"dom", "--object", address, path, NULL}), 0);
    remove(path);
}

TEST(a_file_that_cannot_be_written) {
    CHECK_EQ(ebb_heap_dump("/nowhere/at/all"), EBB_ESYSTEM);
    CHECK_EQ(ebb_heap_dump("/dev/full"), EBB_ESYSTEM);
}
