/* slack_page.c - /debug/ebb/slack: what slices and maps hold and do not use, by kind, with the call
 * that mends it, and by the place that made them, as far as the profile has sampled their arrays;
 * for `ebb slack`. docs/observe.md.
 *
 * What is resident counts: a tail that was never touched costs nothing. */
#include "endpoint.h"
#include "memory.h"
#include "../map/map.h"
#include "profile.h"
#include "residency.h"
#include "size.h"
#include "slack.h"
#include "turn.h"

enum { GROUP_SLICES, GROUP_MAPS };
enum { GROUPS_MAX = 400, PLACES_MAX = 400, PLACE_FRAMES = 8 };

/* Containers that look the same. */
typedef struct slack_group {
    const char *name; /* of the type or the declaration; never freed */
    uint32_t kind;
    uint32_t keep; /* maps: MAP_KEEP_…, and GROUP_RESERVED */
    uint64_t count, bytes, slack, entries;
    uint64_t mends; /* of slack: what the call gives back, about */
} slack_group;

enum { GROUP_RESERVED = 0x100 };

/* Where containers were made, as far as they were sampled. */
typedef struct slack_place {
    const char *name;
    uint32_t kind, site;
    uint64_t sampled;
    double slack; /* estimated from the sampled ones */
    unsigned frames;
    uintptr_t pcs[PLACE_FRAMES]; /* return addresses, leaf first */
} slack_place;

typedef struct slack_look {
    slack_group groups[GROUPS_MAX];
    slack_place places[PLACES_MAX];
    unsigned count, place_count;
    const ebb__map *map; /* the one of the last table */
    uint64_t tails, empty;
    int result;
} slack_look;

static slack_group *group_of(slack_look *l, uint32_t kind, const char *name, uint32_t keep) {
    unsigned i = 0;
    for (; i < l->count; i++)
        if (l->groups[i].kind == kind && l->groups[i].keep == keep &&
            strcmp(l->groups[i].name, name) == 0)
            return &l->groups[i];
    if (i == GROUPS_MAX) return &l->groups[GROUPS_MAX - 1];
    l->groups[i] = (slack_group){.name = name, .kind = kind, .keep = keep};
    l->count++;
    return &l->groups[i];
}

/* A container with slack: noted when its array was sampled, for as many as that stands for. */
static void place_note(slack_look *l, uint32_t kind, const char *name, uintptr_t array, size_t size,
                       uint64_t slack) {
    uint32_t site = slack ? ebb__profile_site(array) : 0;
    unsigned i = 0;
    if (site == 0) return;
    while (i < l->place_count && (l->places[i].site != site || l->places[i].kind != kind)) i++;
    if (i == PLACES_MAX) return;
    slack_place *p = &l->places[i];
    if (i == l->place_count) {
        *p = (slack_place){.name = name, .kind = kind, .site = site};
        p->frames = ebb__profile_stack(site, p->pcs, PLACE_FRAMES);
        l->place_count++;
    }
    p->sampled++;
    p->slack += (double)slack * ebb__profile_weight(size);
}

/* --- Counting [world stopped] -------------------------------------------------------------------
 */

static const char *slice_name(const struct ebb__layout *l) {
    if (l->name[0]) return l->name;
    return l->kind == LAYOUT_DATA ? "data without pointers" : "words";
}

static void slack_array_add(const span *s, uintptr_t array, uintptr_t from, uintptr_t to,
                            void *arg) {
    slack_look *l = arg;
    uint64_t tail = ebb__residency_in(from, to);
    slack_group *g = group_of(l, GROUP_SLICES, slice_name(s->bin->layout), 0);
    g->count++;
    g->bytes += ebb__residency_in(array, to);
    g->slack += tail;
    g->mends += tail;
    l->tails += tail;
    place_note(l, GROUP_SLICES, g->name, array, to - array, tail);
}

static uint32_t map_keep(const ebb__map *map) {
    return map->keep | (map->slots_min ? GROUP_RESERVED : 0);
}

/* After ebb_map_compact about 14 slots of 16 are full. */
static void slack_table_add(const map_table *t, void *arg) {
    slack_look *l = arg;
    size_t stride = t->table->stride, slots = t->table->slots;
    size_t count = t->spare ? 0 : min_size(t->table->count, slots);
    if (!ebb__span_at(t->slots)) return;
    uint64_t bytes = ebb__residency_in(t->slots, t->slots + slots * stride);
    uint64_t full = count * stride, needed = full + full / 7;
    slack_group *g = group_of(l, GROUP_MAPS, t->map->shape->name, map_keep(t->map));
    g->count += t->map != l->map;
    g->bytes += bytes;
    g->entries += count;
    g->slack += bytes > full ? bytes - full : 0;
    g->mends += bytes > needed ? bytes - needed : 0;
    l->empty += bytes > full ? bytes - full : 0;
    l->map = t->map;
    place_note(l, GROUP_MAPS, g->name, t->slots, slots * stride, bytes > full ? bytes - full : 0);
}

static void slack_stopped(const root_set *roots, void *arg) {
    slack_look *l = arg;
    os_pages pages;
    ebb__os_pages_open(&pages);
    l->result = ebb__residency_take(&pages) ? 0 : EBB_ENOMEM;
    ebb__os_pages_close(&pages);
    if (l->result != 0) return;
    if (!ebb__slack_each(roots, slack_array_add, l)) l->result = EBB_ENOMEM;
    ebb__map_each_table(slack_table_add, l);
    ebb__residency_drop();
}

/* Largest slack first. */
static void groups_sort(slack_look *l) {
    for (unsigned i = 1; i < l->count; i++) {
        slack_group g = l->groups[i];
        unsigned at = i;
        for (; at > 0 && l->groups[at - 1].slack < g.slack; at--) l->groups[at] = l->groups[at - 1];
        l->groups[at] = g;
    }
}

static void places_sort(slack_look *l) {
    for (unsigned i = 1; i < l->place_count; i++) {
        slack_place p = l->places[i];
        unsigned at = i;
        for (; at > 0 && l->places[at - 1].slack < p.slack; at--) l->places[at] = l->places[at - 1];
        l->places[at] = p;
    }
}

/* --- Printing -----------------------------------------------------------------------------------
 */

static const char *group_call(const slack_group *g) {
    if (g->kind == GROUP_SLICES) return "ebb_clip, or ebb_shrink after each cut";
    if (g->keep & MAP_KEEP_GROW_ONLY) return "ebb_map_compact; it was told ebb_map_grow_only";
    if (g->keep & MAP_KEEP_PAUSED) return "ebb_map_pause_shrinking(&m, false), ebb_map_compact";
    if (g->keep & GROUP_RESERVED) return "ebb_map_reserve(&m, 0), ebb_map_compact";
    return g->mends * 4 > g->slack ? "ebb_map_compact" : "ebb_map_dense, ebb_map_compact";
}

static const char *kind_name(uint32_t kind) {
    return kind == GROUP_SLICES ? "slices of" : "maps";
}

/* An address stands within the call: one before where it returns to. */
static void slack_places(reply *to, const slack_look *l, uint64_t most) {
    if (l->place_count == 0) return;
    ebb__reply_print(to, "\nBy the place that made them, estimated from samples:\n");
    for (unsigned i = 0; i < l->place_count && i < most; i++) {
        const slack_place *p = &l->places[i];
        ebb__reply_print(to, "%14.0f  %10s  %s %s, %llu sampled, made at\n", p->slack,
                         ebb__size_text((int64_t)p->slack).text, kind_name(p->kind), p->name,
                         (unsigned long long)p->sampled);
        for (unsigned f = 0; f < p->frames; f++)
            ebb__reply_print(to, "%32s@0x%zx\n", "", (size_t)p->pcs[f] - 1);
        if (p->frames == 0) ebb__reply_print(to, "%32s(no stack)\n", "");
    }
}

static void slack_text(reply *to, const slack_look *l, uint64_t most) {
    ebb__reply_begin(to, 200, EBB__TEXT, NULL);
    ebb__reply_print(to,
                     "What containers of process %d hold and do not use: %s in tails of slices, %s "
                     "in empty map slots\n",
                     ebb__os_pid(), ebb__size_text((int64_t)l->tails).text,
                     ebb__size_text((int64_t)l->empty).text);
    if (l->count)
        ebb__reply_print(to, "\n%14s  %10s  %10s  %10s %8s  %s\n", "bytes", "unused", "can go",
                         "of", "number", "what, and the call that mends it");
    for (unsigned i = 0; i < l->count && i < most; i++) {
        const slack_group *g = &l->groups[i];
        ebb__reply_print(to, "%14llu  %10s  %10s  %10s %8llu  %s %s: %s\n",
                         (unsigned long long)g->slack, ebb__size_text((int64_t)g->slack).text,
                         ebb__size_text((int64_t)g->mends).text,
                         ebb__size_text((int64_t)g->bytes).text, (unsigned long long)g->count,
                         kind_name(g->kind), g->name, group_call(g));
    }
    if (l->count > most)
        ebb__reply_print(to, "… and %u kinds more: ?top=%u\n", l->count - (unsigned)most, l->count);
    slack_places(to, l, most);
    ebb__reply_print(
        to,
        "\nSlices are values, so these are lower bounds: seen are fields of described types, "
        "stacks "
        "and static data.\nebb_truncate and ebb_delete forget what they cut off, but keep the "
        "array; s.len = n forgets nothing.\nA field described as slice_to_len lets full "
        "collections trim its array. A map needs about a\nseventh of its slots empty; what can go "
        "is beyond that.\n");
}

static void slack_json(reply *to, const slack_look *l, uint64_t most) {
    ebb__reply_begin(to, 200, EBB__JSON, NULL);
    ebb__reply_print(to,
                     "{\"pid\":%d,\"slice_tails\":%llu,\"map_empty\":%llu,\"lower_bound\":true,"
                     "\"kinds\":[",
                     ebb__os_pid(), (unsigned long long)l->tails, (unsigned long long)l->empty);
    for (unsigned i = 0; i < l->count && i < most; i++) {
        const slack_group *g = &l->groups[i];
        ebb__reply_print(to, "%s\n{\"kind\":\"%s\",\"name\":", i ? "," : "",
                         g->kind == GROUP_SLICES ? "slices" : "maps");
        ebb__reply_json_string(to, g->name);
        ebb__reply_print(to,
                         ",\"number\":%llu,\"bytes\":%llu,\"slack\":%llu,\"can_go\":%llu,"
                         "\"entries\":%llu,\"mends\":",
                         (unsigned long long)g->count, (unsigned long long)g->bytes,
                         (unsigned long long)g->slack, (unsigned long long)g->mends,
                         (unsigned long long)g->entries);
        ebb__reply_json_string(to, group_call(g));
        ebb__reply_print(to, "}");
    }
    ebb__reply_print(to, "],\"places\":[");
    for (unsigned i = 0; i < l->place_count && i < most; i++) {
        const slack_place *p = &l->places[i];
        ebb__reply_print(to, "%s\n{\"kind\":\"%s\",\"name\":", i ? "," : "",
                         p->kind == GROUP_SLICES ? "slices" : "maps");
        ebb__reply_json_string(to, p->name);
        ebb__reply_print(to, ",\"slack\":%.0f,\"sampled\":%llu,\"stack\":[", p->slack,
                         (unsigned long long)p->sampled);
        for (unsigned f = 0; f < p->frames; f++)
            ebb__reply_print(to, "%s\"@0x%zx\"", f ? "," : "", (size_t)p->pcs[f] - 1);
        ebb__reply_print(to, "]}");
    }
    ebb__reply_print(to, "]}\n");
}

static void slack_answer(const request *r, reply *to) {
    size_t bytes = round_up(sizeof(slack_look), ebb__os_page_size());
    uint64_t most;
    if (!ebb__request_number(r, to, "top", 1, GROUPS_MAX, 20, &most)) return;
    if (!ebb__turn_begin(to)) return;
    slack_look *l = ebb__os_map(bytes, OS_METADATA);
    int error = l ? ebb__with_world_stopped(slack_stopped, l) : EBB_ENOMEM;
    ebb__turn_end(to);
    if (error == 0) error = l->result;
    if (error != 0) {
        ebb__reply_error(to, 503, "%s", ebb_error_text(error));
    } else {
        groups_sort(l);
        places_sort(l);
        if (ebb__request_is(r, "format", "json"))
            slack_json(to, l, most);
        else
            slack_text(to, l, most);
    }
    if (l) ebb__os_unmap(l, bytes, OS_METADATA);
}

const endpoint ebb__endpoint_slack = {
    .path = "/debug/ebb/slack",
    .says = "what slices and maps hold and do not use, with the call that mends it",
    .answer = slack_answer};
