/* why.c - the pages /debug/ebb/why and /debug/pprof/retainers: who holds it, and what would go with
 * it. docs/design.md, "Retention".
 *
 * Three walks at most, in the child of a snapshot: from the precise roots, on from the others, and
 * again around the targets. What the last one does not find, the targets retain. */
#include "why.h"

enum { WHY_PATHS = 20, WHY_PATHS_MAX = 10000 };

/* --- Types ---------------------------------------------------------------------------------- */

why_type *ebb__why_type(why *w, struct ebb__layout *l) {
    for (uint64_t at = address_hash((uintptr_t)l) >> 40;; at++) {
        why_type *t = &w->types[at & (w->types_room - 1)];
        if (t->layout == l) return t;
        if (t->layout) continue;
        t->layout = l;
        return t;
    }
}

static uint32_t types_count(void) {
    uint32_t n = 2 * EBB__USE_COUNT;
    for (const struct ebb__layout *l = ebb__layouts; l; l = l->next) n++;
    return n;
}

static bool types_open(why *w) {
    uint32_t count = types_count();
    w->types_room = 64;
    while (w->types_room < 2 * count) w->types_room *= 2;
    w->types = ebb__graph_memory(w->types_room * sizeof *w->types);
    if (!w->types) return false;
    for (struct ebb__layout *l = ebb__layouts; l; l = l->next) ebb__why_type(w, l);
    for (uint32_t n = 1; n < ebb__space.span_count; n++) {
        const span *s = span_at(n);
        if (s->state < SPAN_SMALL) continue;
        graph_sum *sum = &ebb__why_type(w, s->bin->layout)->found;
        for (uint32_t i = 0; i * 64 < s->count; i++) {
            uint64_t marks = atomic_load_explicit(&span_mark_bits(s)[i], memory_order_relaxed);
            graph_sum_add(sum, s, marks);
        }
    }
    return true;
}

const char *ebb__why_layout_name(const struct ebb__layout *l, char *room, size_t size) {
    static const char *const of[EBB__USE_COUNT] = {"", " in slices' arrays", " in maps' tables"};
    const char *plain = l->kind == LAYOUT_DATA ? "data" : "words";
    snprintf(room, size, "%s%s", *l->name ? l->name : plain, of[l->use % EBB__USE_COUNT]);
    return room;
}

/* "node" names "struct node" too. */
static bool name_is(const char *type, const char *wanted) {
    static const char *const heads[] = {"", "struct ", "union "};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        size_t length = strlen(heads[i]);
        if (strncmp(type, heads[i], length) == 0 && strcmp(type + length, wanted) == 0) return true;
    }
    return false;
}

static bool type_is(const struct ebb__layout *l, const char *wanted) {
    if (*l->name && name_is(l->name, wanted)) return true;
    if (strcmp(wanted, "slice") == 0) return l->use == EBB__USE_SLICE;
    if (strcmp(wanted, "map") == 0) return l->use == EBB__USE_MAP;
    if (l->use != EBB__USE_OBJECT || *l->name) return false;
    if (strcmp(wanted, "words") == 0) return l->kind != LAYOUT_DATA;
    return strcmp(wanted, "data") == 0 && l->kind == LAYOUT_DATA;
}

/* How many single letters have to change, as far as the first 32 letters tell. */
static unsigned name_distance(const char *a, const char *b) {
    enum { MOST = 32 };
    unsigned row[MOST + 1];
    unsigned m = (unsigned)min_size(strlen(b), MOST);
    for (unsigned j = 0; j <= m; j++) row[j] = j;
    for (unsigned i = 0; i < MOST && a[i]; i++) {
        unsigned corner = row[0];
        row[0] = i + 1;
        for (unsigned j = 1; j <= m; j++) {
            unsigned change = corner + (a[i] != b[j - 1]);
            corner = row[j];
            row[j] = (unsigned)min_size(change, min_size(row[j], row[j - 1]) + 1);
        }
    }
    return row[m];
}

/* The types whose names are nearest, and how to name what has none. */
static void near_names(why *w, reply *r) {
    enum { NEAR = 8 };
    ebb__reply_print(r, "no type is called \"%s\"; ", w->ask->target);
    for (unsigned distance = 0, said = 0; distance < 32 && said < NEAR; distance++)
        for (uint32_t i = 0; i < w->types_room && said < NEAR; i++) {
            const why_type *t = &w->types[i];
            if (!t->layout || !*t->layout->name || t->found.objects == 0) continue;
            bool part = strstr(t->layout->name, w->ask->target) != NULL;
            if ((part ? 1 : name_distance(t->layout->name, w->ask->target)) != distance) continue;
            ebb__reply_print(r, "%s\"%s\"", said++ ? ", " : "there are ", t->layout->name);
        }
    ebb__reply_print(r, "; of no described type are words, data, slice, map; 0xADDRESS is one "
                        "object, @0xADDRESS what a call there allocated\n");
}

/* --- Targets -------------------------------------------------------------------------------- */

static void targets_by_type(why *w) {
    for (uint32_t i = 0; i < w->types_room; i++) {
        why_type *t = &w->types[i];
        t->target = t->layout && type_is(t->layout, w->ask->target);
    }
    for (uint32_t n = 1; n < ebb__space.span_count; n++) {
        const span *s = span_at(n);
        if (s->state >= SPAN_SMALL && ebb__why_type(w, s->bin->layout)->target)
            ebb__graph_target_span(&w->g, s, &w->targets);
    }
}

static void target_at(why *w, uintptr_t address) {
    uint32_t index;
    const span *s = ebb__span_at(address);
    if (!s || !span_find(s, address, &index)) return;
    if (!span_marked(s, index) || span_bit(graph_targets(&w->g, s), index)) return;
    span_bit_set(graph_targets(&w->g, s), index);
    graph_sum_add(&w->targets, s, 1);
}

static void targets_by_site(why *w, const char *list) {
    w->sampled = true;
    ebb__why_sites(w, list, target_at);
}

static bool types_named(const why *w) {
    for (uint32_t i = 0; i < w->types_room; i++)
        if (w->types[i].target) return true;
    return false;
}

/* A type, or a function that whoever asks has found the addresses of. */
static void targets_by_name(why *w) {
    targets_by_type(w);
    if (*w->ask->site && !types_named(w)) targets_by_site(w, w->ask->site);
}

/* The first walks; the targets' bits are set. False without memory. */
static bool why_walk(why *w) {
    graph *g = &w->g;
    bool all_doubtful = w->ask->doubtful && !*w->ask->target;
    ebb__graph_walk(g, true);
    w->doubtful = g->found;
    if (all_doubtful) ebb__graph_target_all(g);
    ebb__graph_walk(g, false);
    w->all = g->found;
    w->doubtful.objects = w->all.objects - w->doubtful.objects;
    w->doubtful.bytes = w->all.bytes - w->doubtful.bytes;
    if (g->failed || !types_open(w)) return false;
    if (all_doubtful)
        w->targets = ebb__graph_target_all(g);
    else if (strncmp(w->ask->target, "0x", 2) == 0)
        target_at(w, strtoul(w->ask->target, NULL, 16));
    else if (*w->ask->target == '@')
        targets_by_site(w, w->ask->target);
    else if (*w->ask->target)
        targets_by_name(w);
    return true;
}

/* --- The answer ----------------------------------------------------------------------------- */

static void path_add(graph *g, const span *s, uint32_t index, void *arg) {
    why *w = arg;
    if (w->everything || span_bit(graph_targets(g, s), index)) ebb__paths_add(&w->paths, s, index);
}

static bool why_paths(why *w) {
    if (!ebb__paths_open(&w->paths, &w->g)) return false;
    ebb__graph_each(&w->g, path_add, w);
    w->count = ebb__paths_order(&w->paths, &w->order);
    return w->order != NULL;
}

static bool why_retained(why *w) {
    w->retained = w->all;
    ebb__graph_forget(&w->g);
    w->g.around = true;
    ebb__graph_walk(&w->g, true);
    graph_sum precise = w->g.found;
    ebb__graph_walk(&w->g, false);
    w->retained.objects -= w->g.found.objects;
    w->retained.bytes -= w->g.found.bytes;
    w->besides.objects = w->all.objects - w->doubtful.objects - precise.objects;
    w->besides.bytes = w->all.bytes - w->doubtful.bytes - precise.bytes;
    w->besides.objects -= min_size(w->besides.objects, w->retained.objects);
    w->besides.bytes -= min_size(w->besides.bytes, w->retained.bytes);
    return !w->g.failed;
}

static void why_short(reply *r) {
    ebb__reply_error(r, 503, "no memory for looking at the snapshot");
}

/* In the child. */
static void why_work(const snapshot *s, reply *r, void *arg) {
    why w = {.ask = arg};
    w.everything = w.ask->form == WHY_PROFILE && !*w.ask->target && !w.ask->doubtful;
    if (!ebb__graph_open(&w.g, s) || !why_walk(&w)) {
        why_short(r);
        return;
    }
    bool targets = *w.ask->target || w.ask->doubtful;
    if (!targets && !w.everything) {
        ebb__why_print_types(&w, r);
        return;
    }
    if (*w.ask->target && w.targets.objects == 0 && strncmp(w.ask->target, "0x", 2) != 0 &&
        *w.ask->target != '@' && !w.sampled && !types_named(&w)) {
        ebb__reply_begin(r, 404, EBB__TEXT, NULL);
        near_names(&w, r);
        return;
    }
    if (!why_paths(&w) || (!w.everything && w.targets.objects && !why_retained(&w)))
        why_short(r);
    else
        ebb__why_print(&w, r);
}

/* --- Asking --------------------------------------------------------------------------------- */

static void why_answer(const request *q, reply *r, bool profile) {
    why_ask ask = {.form = profile ? WHY_PROFILE : WHY_TEXT};
    char room[64];
    if (ebb__request_is(q, "format", "json")) ask.form = WHY_JSON;
    if (ebb__request_value(q, "debug", room, sizeof room)) ask.form = WHY_TEXT;
    if (!ebb__request_value(q, "target", ask.target, sizeof ask.target)) *ask.target = 0;
    if (!ebb__request_value(q, "site", ask.site, sizeof ask.site)) *ask.site = 0;
    ask.doubtful =
        ebb__request_value(q, "conservative", room, sizeof room) != NULL && strcmp(room, "0") != 0;
    uint64_t seconds;
    if (!ebb__request_number(q, r, "limit", 1, WHY_PATHS_MAX, WHY_PATHS, &ask.limit) ||
        !ebb__request_number(q, r, "seconds", 1, SNAPSHOT_SECONDS_MAX, SNAPSHOT_SECONDS, &seconds))
        return;
    ebb__snapshot_run_for(why_work, &ask, r, seconds, ebb__snapshot_need());
}

static void why_page(const request *q, reply *r) {
    why_answer(q, r, false);
}

static void retainers_page(const request *q, reply *r) {
    why_answer(q, r, true);
}

const endpoint ebb__endpoint_why = {
    .path = "/debug/ebb/why",
    .says = "who holds it: ?target=TYPE, @0xSITE or 0xOBJECT; &conservative=1; &seconds=60",
    .answer = why_page,
};

const endpoint ebb__endpoint_retainers = {
    .path = "/debug/pprof/retainers",
    .says = "the same as a profile: ways from roots to objects; ?target=, ?debug=1",
    .answer = retainers_page,
};
