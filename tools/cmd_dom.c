/* cmd_dom.c - `ebb dom`: what returns if this is cut. The dominator tree of a dump, its nodes put
 * together by what they are: all objects of one type that the same group of objects dominates. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "dom.h"
#include "intern.h"
#include "json.h"
#include "names.h"
#include "table.h"

static const char dom_help[] =
    "Example:\n"
    "  ebb dump 4711 -o heap.ebbheap    writes the heap of a running program to a file\n"
    "  ebb dom heap.ebbheap             what returns if this is cut: by type and site\n"
    "\n"
    "usage: ebb dom [--json] [--depth N] [--share PERCENT] [--object ADDRESS] FILE\n"
    "       ebb dom --export OUT.heapsnapshot [--object ADDRESS] [--limit N] FILE\n"
    "\n"
    "An object is dominated by another one when every way from the roots to it leads through "
    "that:\n"
    "cut it, and both go. Lines below a line are dominated by it. Words on stacks, in registers "
    "and\n"
    "thread-local storage count as roots only of what no other root leads to.\n"
    "\n"
    "  --depth N           levels to print (12)\n"
    "  --share PERCENT     leave out what retains less than that of all (1)\n"
    "  --object ADDRESS    of this object: what dominates it, and what it dominates\n"
    "  --export FILE       a part of the graph for Chrome's DevTools (Memory, Load)\n"
    "  --limit N           objects of the export, those that retain most (100000)\n"
    "  --json              for programs\n";

enum { CHAIN_MOST = 1000 };

/* Nodes of the dominator tree that are of one kind and whose parents are of one group. */
struct dom_group {
    uint32_t parent; /* 0: the top's own */
    uint32_t node;   /* one of it */
    uint32_t site;   /* of one of it that was sampled; 0 */
    uint64_t objects, bytes, retained;
    uint32_t first, next; /* children by what they retain; once sorted */
};

struct dom_view {
    struct dom d;
    struct heapdump dump;
    struct dom_group *groups;
    size_t count, room;
    uint32_t *group_of; /* by node */
    struct intern keys;
    struct names *names;
    uint32_t depth;
    double share;
    bool json, by_site;
};

/* --- Groups --------------------------------------------------------------------------------- */

/* Objects by type, and by site where most were sampled, for else those that happened to be would be
 * taken for something apart; static variables one by one, other roots by thread and kind. */
static void group_key(const struct dom_view *v, uint32_t node, uint64_t key[4]) {
    const struct heapdump_root *root = dom_root(&v->d, node);
    const struct heapdump *dump = &v->dump;
    if (root) {
        bool apart = root->origin == HEAPDUMP_STATIC || root->origin == HEAPDUMP_RANGE;
        key[1] = (uint64_t)1 << 32 | root->origin;
        key[2] = (uint64_t)(uint32_t)root->tid;
        key[3] = apart ? root->at : 0;
        return;
    }
    key[1] = dump->spans[dump->span_of[node]].type;
    key[2] = v->by_site ? dump->site_of[node] : 0;
    key[3] = 0;
}

/* An object below one of its own kind belongs to the same group: lists and trees are one line. */
static uint32_t group_find(struct dom_view *v, uint32_t node, uint32_t parent) {
    uint64_t key[4] = {0}, above[4] = {0};
    bool fresh;
    group_key(v, node, key);
    if (parent && dom_root(&v->d, v->groups[parent].node) == NULL) {
        group_key(v, v->groups[parent].node, above);
        if (memcmp(key, above, sizeof key) == 0) return parent;
    }
    key[0] = parent;
    uint32_t n = intern_add(&v->keys, key, sizeof key, &fresh);
    if (fresh) {
        v->groups = need_room(v->groups, &v->room, v->count, sizeof *v->groups);
        v->groups[v->count++] = (struct dom_group){.parent = parent, .node = node};
    }
    if (node < v->dump.objects && !v->groups[n].site) v->groups[n].site = v->dump.site_of[node];
    return n;
}

static void view_group(struct dom_view *v) {
    const struct dom *d = &v->d;
    uint64_t none[4] = {UINT64_MAX}, sampled = 0;
    for (uint32_t n = 0; n < v->dump.objects; n++) sampled += v->dump.site_of[n] != 0;
    v->by_site = sampled * 2 > v->dump.objects;
    v->group_of = calloc(d->nodes, sizeof *v->group_of);
    if (!v->group_of) exit(1);
    intern_add(&v->keys, none, sizeof none, NULL);
    v->groups = need_room(NULL, &v->room, 0, sizeof *v->groups);
    v->groups[v->count++] = (struct dom_group){.node = d->top, .retained = d->retained[d->top]};
    for (uint32_t n = 1; n < d->reached; n++) {
        uint32_t node = d->order[n], parent = v->group_of[d->idom[node]];
        uint32_t group = group_find(v, node, parent);
        struct dom_group *g = &v->groups[group];
        v->group_of[node] = group;
        g->objects++;
        g->bytes += dom_size(d, node);
        if (group != parent) g->retained += d->retained[node];
    }
}

static struct dom_group *sorted_groups; /* for the comparison */

static int group_compare(const void *left, const void *right) {
    const struct dom_group *a = &sorted_groups[*(const uint32_t *)left];
    const struct dom_group *b = &sorted_groups[*(const uint32_t *)right];
    if (a->retained != b->retained) return a->retained < b->retained ? -1 : 1;
    return a->node < b->node ? 1 : -1;
}

/* Smallest first, each before its parent's list so far. */
static void view_sort(struct dom_view *v) {
    uint32_t *order = calloc(v->count, sizeof *order);
    if (!order) exit(1);
    for (uint32_t i = 0; i < v->count; i++) order[i] = i;
    sorted_groups = v->groups;
    qsort(order, v->count, sizeof *order, group_compare);
    for (uint32_t i = 0; i < v->count; i++) {
        struct dom_group *g = &v->groups[order[i]];
        if (order[i] == 0) continue;
        g->next = v->groups[g->parent].first;
        v->groups[g->parent].first = order[i];
    }
    free(order);
}

/* --- Printing ------------------------------------------------------------------------------- */

static void print_site(const struct dom_view *v, uint32_t site) {
    const struct heapdump_site *s = site < v->dump.site_count ? &v->dump.sites[site] : NULL;
    if (!site || !s || s->count == 0) return;
    printf(", of ");
    if (v->names)
        names_print(v->names, s->pcs[0] - 1, stdout);
    else
        printf("0x%llx", (unsigned long long)s->pcs[0]);
}

static double group_share(const struct dom_view *v, const struct dom_group *g) {
    uint64_t all = v->groups[0].retained;
    return all ? 100.0 * (double)g->retained / (double)all : 0;
}

static bool group_shown(const struct dom_view *v, const struct dom_group *g, uint32_t depth) {
    return depth < v->depth && group_share(v, g) >= v->share;
}

static void print_group(const struct dom_view *v, const struct dom_group *g, uint32_t depth) {
    char name[256];
    printf("%15s %5.1f%% %13s  %*s%s", text_count(g->retained), group_share(v, g),
           text_count(g->objects), (int)(2 * depth), "",
           dom_name(&v->d, g->node, name, sizeof name));
    if (g->objects == 1 && g->node < v->dump.objects)
        printf(" 0x%llx", (unsigned long long)heapdump_address(&v->dump, g->node));
    print_site(v, g->site);
    printf("\n");
}

static void json_group(const struct dom_view *v, const struct dom_group *g) {
    char name[256];
    printf("{\"what\":");
    json_string(stdout, dom_name(&v->d, g->node, name, sizeof name));
    printf(",\"root\":%s,\"objects\":%llu,\"bytes\":%llu,\"retained\":%llu,\"below\":[",
           g->node < v->dump.objects ? "false" : "true", (unsigned long long)g->objects,
           (unsigned long long)g->bytes, (unsigned long long)g->retained);
}

/* What a group dominates, to the depth and share that were asked for. */
static void print_below(const struct dom_view *v, uint32_t group, uint32_t depth) {
    const char *comma = "";
    for (uint32_t at = v->groups[group].first; at; at = v->groups[at].next) {
        const struct dom_group *g = &v->groups[at];
        if (!group_shown(v, g, depth)) return;
        if (v->json) {
            printf("%s\n", comma);
            json_group(v, g);
        } else {
            print_group(v, g, depth);
        }
        print_below(v, at, depth + 1);
        if (v->json) printf("]}");
        comma = ",";
    }
}

static void print_head(const struct dom_view *v) {
    printf("heap of process %llu: %s objects, %s bytes, %s references\n\n",
           (unsigned long long)v->dump.pid, text_count(v->dump.objects), text_count(v->dump.bytes),
           text_count(v->dump.edge_count));
    printf("%15s %6s %13s  what returns if this is cut\n", "bytes", "", "objects");
}

static void view_print(struct dom_view *v) {
    view_group(v);
    view_sort(v);
    if (!v->json) {
        print_head(v);
        print_below(v, 0, 0);
        return;
    }
    printf("{\"pid\":%llu,\"objects\":%u,\"bytes\":%llu,\"references\":%zu,\"roots\":%zu,"
           "\"below\":[",
           (unsigned long long)v->dump.pid, v->dump.objects, (unsigned long long)v->dump.bytes,
           v->dump.edge_count, v->dump.root_count);
    print_below(v, 0, 0);
    printf("]}\n");
}

/* --- One object ----------------------------------------------------------------------------- */

static void print_chain(const struct dom_view *v, uint32_t node, uint32_t length) {
    char name[256];
    if (length > 1 && v->d.idom[node] != v->d.top) print_chain(v, v->d.idom[node], length - 1);
    printf("%15s  %s", text_count(v->d.retained[node]), dom_name(&v->d, node, name, sizeof name));
    if (node < v->dump.objects)
        printf(" 0x%llx, %llu bytes", (unsigned long long)heapdump_address(&v->dump, node),
               (unsigned long long)heapdump_size(&v->dump, node));
    printf("\n");
}

/* Of a chain of a million, as lists have, the end is printed. */
static int object_print(const struct dom_view *v, uint32_t node) {
    uint32_t length = 0;
    for (uint32_t n = node; n != DOMINATORS_NONE; n = v->d.idom[n]) length++;
    if (length == 1) {
        printf("no root leads to it any more\n");
        return 0;
    }
    if (length > CHAIN_MOST)
        printf("%u objects and roots dominate it, one after the other; the last ones are:\n",
               length - 2);
    printf("%15s  what dominates it, from the root on, and the object itself\n", "retains bytes");
    print_chain(v, node, CHAIN_MOST);
    return 0;
}

/* --- The command ---------------------------------------------------------------------------- */

struct dom_arguments {
    const char *file, *export, *object;
    double depth, limit, share;
    bool json;
};

/* An option with a number, if argv[*i] is one. False when it has none such, having said so. */
static bool argument_number(struct dom_arguments *a, int argc, char **argv, int *i) {
    static const struct {
        const char *name;
        double least, most;
    } options[] = {{"--depth", 1, 1000}, {"--limit", 1, 1e9}, {"--share", 0, 100}};
    double *const values[] = {&a->depth, &a->limit, &a->share};
    for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
        if (strcmp(argv[*i], options[k].name) != 0) continue;
        const char *text = *i + 1 < argc ? argv[*i + 1] : "";
        char *end;
        *values[k] = strtod(text, &end);
        ++*i;
        if (end != text && *end == 0 && *values[k] >= options[k].least &&
            *values[k] <= options[k].most)
            return true;
        command_wrong("dom", "%s takes a number from %.0f to %.0f", options[k].name,
                      options[k].least, options[k].most);
        return false;
    }
    return true;
}

static bool argument_address(const char *text) {
    char *end;
    strtoull(text, &end, 16);
    return end != text && *end == 0;
}

/* Returns 0, or 2 having said what is wrong. */
static int arguments_read(struct dom_arguments *a, int argc, char **argv) {
    *a = (struct dom_arguments){.depth = 12, .limit = 100000, .share = 1};
    for (int i = 1; i < argc; i++) {
        const char *is = argv[i];
        int option = i;
        if (!argument_number(a, argc, argv, &i)) return 2;
        if (i != option) continue;
        bool takes = strcmp(is, "--export") == 0 || strcmp(is, "--object") == 0;
        if (takes && i + 1 == argc)
            return command_wrong("dom", "%s takes %s", is,
                                 is[2] == 'e' ? "a file" : "an object's address");
        if (strcmp(is, "--json") == 0)
            a->json = true;
        else if (takes)
            *(is[2] == 'e' ? &a->export : &a->object) = argv[++i];
        else if (is[0] == '-' || a->file)
            return command_wrong("dom", "\"%s\" is not understood here", is);
        else
            a->file = is;
    }
    if (a->object && !argument_address(a->object))
        return command_wrong("dom", "--object takes an object's address, not \"%s\"", a->object);
    return a->file ? 0 : command_wrong("dom", "takes a dump; ebb dump PID makes one");
}

/* Null, having said why. Somebody may think that it takes a process. */
static FILE *dump_open(const char *name) {
    FILE *in = fopen(name, "r");
    if (in) return in;
    fprintf(stderr, "ebb dom: %s: %s", name, strerror(errno));
    if (name[strspn(name, "0123456789")] == 0)
        fprintf(stderr, "; of a process: ebb dump %s -o FILE, and ebb dom FILE", name);
    fprintf(stderr, "\n");
    return NULL;
}

static int dom_save(const struct dom_view *v, const struct dom_arguments *a, uint32_t below) {
    FILE *out = fopen(a->export, "w");
    bool good = out && dom_export(&v->d, below, (uint32_t)a->limit, out);
    if (out && fclose(out) != 0) good = false;
    if (!good) fprintf(stderr, "ebb dom: %s: %s\n", a->export, strerror(errno));
    return good ? 0 : 1;
}

/* For the names of sites, where the files are those that the program had. */
static void view_names(struct dom_view *v) {
    v->names = v->dump.site_count > 1 ? names_begin() : NULL;
    for (size_t i = 0; v->names && i < v->dump.module_count; i++) {
        const struct heapdump_module *m = &v->dump.modules[i];
        if (m->path[0] == '/')
            names_add_mapping(v->names, m->start, m->end, m->offset, m->path, NULL);
    }
}

static int view_answer(struct dom_view *v, const struct dom_arguments *a) {
    uint32_t below = v->d.top;
    if (a->object && !heapdump_find(&v->dump, strtoull(a->object, NULL, 16), &below)) {
        fprintf(stderr, "ebb dom: no object is at %s\n", a->object);
        return 1;
    }
    if (a->export) return dom_save(v, a, below);
    if (a->object) return object_print(v, below);
    view_names(v);
    view_print(v);
    if (v->names) names_end(v->names);
    return 0;
}

static int dom_main(int argc, char **argv) {
    struct dom_arguments a;
    struct dom_view v = {0};
    int wrong = arguments_read(&a, argc, argv);
    if (wrong) return wrong;
    FILE *in = dump_open(a.file);
    if (!in) return 1;
    bool good = heapdump_read(&v.dump, in);
    fclose(in);
    if (!good) {
        fprintf(stderr, "ebb dom: %s: %s\n", a.file, v.dump.error);
        heapdump_free(&v.dump);
        return 1;
    }
    dom_make(&v.d, &v.dump);
    v.depth = (uint32_t)a.depth;
    v.share = a.share;
    v.json = a.json;
    int result = view_answer(&v, &a);
    dom_free(&v.d);
    free(v.groups), free(v.group_of);
    intern_free(&v.keys);
    return fflush(stdout) == 0 ? result : 1;
}

const command command_dom = {"dom", "what returns if this is cut", dom_help, dom_main};
