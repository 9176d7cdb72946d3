/* policy.c - what a program asks of a map beyond its entries: room kept, room given back, a clean
 * slate; and the checks. docs/design.md, "Maps". */
#include "map.h"

/* --- Room ------------------------------------------------------------------------------------ */

/* How many tables of full size hold n entries for sure: at most 13/16 of what they can on average,
 * so that chance fills none of them. */
static unsigned reserve_depth(const ebb__map *map, size_t entries) {
    size_t each = (size_t)ebb__table_limit(map->shape->slots_max) * 13 / 16;
    unsigned depth = 0;
    while (depth < MAP_DEPTH_MAX && each << depth < entries) depth++;
    return depth;
}

/* Tables for all hashes; the map is empty. What was made when memory ends is left to the
 * collector. */
static int reserve_tables(ebb__map *map, unsigned depth, uint32_t slots) {
    unsigned dir_depth = depth > 0 ? depth : 1;
    uint32_t since = ebb__map_release(map);
    ebb__dir *dir = dir_depth == 1 ? NULL
                                   : ebb__alloc_layout(ebb__layout_plain(true, EBB__USE_MAP),
                                                       sizeof *dir << dir_depth);
    ebb__dir two[2];
    if (dir_depth == 1) dir = two;
    for (size_t i = 0; dir && i < (size_t)1 << depth; i++) {
        dir[i] = ebb__table_make(map, slots, (uint8_t)depth);
        if (dir[i].ctrl == 0) dir = NULL;
    }
    bool same = ebb__map_resume(map, since);
    if (!dir) return EBB_ENOMEM;
    if (!same) return 0;
    if (depth == 0) dir[1] = dir[0];
    uint32_t groups = map->groups;
    ebb__map_reset(map);
    map->groups = groups;
    if (dir_depth == 1)
        memcpy(map->self, two, sizeof two);
    else
        map->dir = dir;
    map->shift = (uint8_t)(64 - dir_depth);
    map->tables = (size_t)1 << depth;
    map->deepest = depth > 0 ? map->tables : 0;
    map->slots = map->tables * slots;
    ebb__dir_usual(map);
    return 0;
}

int ebb__map_reserve(ebb__map *map, size_t entries) {
    ebb__map_write(map, "ebb_map_reserve");
    uint32_t slots = map->shape->slots_max;
    unsigned depth = reserve_depth(map, entries);
    if (depth == 0 && entries <= ebb__table_limit(slots))
        slots = ebb__table_fit(map, entries, 16, map->dense);
    size_t wanted = entries == 0 ? 0 : (size_t)slots << depth;
    int error = 0;
    if (map->len == 0 && map->slots < wanted) error = reserve_tables(map, depth, slots);
    if (error == 0) map->slots_min = wanted;
    ebb__map_written(map, "ebb_map_reserve");
    return error;
}

static int policy_set(ebb__map *map, uint8_t *flags, uint8_t flag, bool on) {
    ebb__map_write(map, "ebb_map_pause_shrinking");
    *flags = (uint8_t)(on ? *flags | flag : *flags & ~flag);
    ebb__map_written(map, "ebb_map_pause_shrinking");
    return 0;
}

int ebb__map_pause(ebb__map *map, bool paused) {
    return policy_set(map, &map->keep, MAP_KEEP_PAUSED, paused);
}

int ebb__map_grow_only(ebb__map *map, bool on) {
    return policy_set(map, &map->keep, MAP_KEEP_GROW_ONLY, on);
}

int ebb__map_dense(ebb__map *map, bool on) {
    return policy_set(map, &map->dense, 1, on);
}

/* --- Compaction ------------------------------------------------------------------------------ */

/* The table at pos as small as can be, after merging it as far as that goes. Returns where the next
 * one begins. */
static uint64_t compact_at(ebb__map *map, uint32_t pos, int *error) {
    size_t most = ebb__table_limit(map->shape->slots_max);
    int merged;
    while ((merged = ebb__map_merge(map, pos, most - most / 8, 14, true)) > 0) {
    }
    ebb__dir dir = ebb__dir_at(map, pos);
    const ebb__table *table = ebb__dir_table(dir);
    uint32_t slots = ebb__table_fit(map, table->count, 14, true);
    int resized = 1;
    if (slots < table->slots && map->slots - table->slots + slots >= map->slots_min)
        resized = ebb__map_resize(map, pos, slots);
    if (merged < 0 || resized < 0) *error = EBB_ENOMEM;
    uint64_t span = ebb__dir_span(ebb__dir_at(map, pos));
    return (pos & ~(span - 1)) + span;
}

int ebb__map_compact(ebb__map *map) {
    int error = 0;
    if (!map) return 0;
    ebb__map_write(map, "ebb_map_compact");
    map->spare = (ebb__dir){0, 0};
    if (map->len == 0 && map->slots_min == 0)
        ebb__map_reset(map);
    else
        for (uint64_t pos = 0; pos < EBB__HASHES;) pos = compact_at(map, (uint32_t)pos, &error);
    map->spare = (ebb__dir){0, 0};
    ebb__map_written(map, "ebb_map_compact");
    return error;
}

/* --- Clearing -------------------------------------------------------------------------------- */

void ebb__map_clear(ebb__map *map) {
    if (!map) return;
    ebb__map_write(map, "ebb_map_clear");
    bool keep = map->keep || map->slots_min != 0;
    /* Tables that the collector gets are zeroed like any that is discarded. */
    if (keep || map->shape->slots != ebb__layout_plain(false, EBB__USE_MAP)) {
        for (uint64_t pos = 0; pos < EBB__HASHES;) {
            ebb__dir dir = ebb__dir_at(map, (uint32_t)pos);
            ebb__table_clear(map, dir);
            pos += ebb__dir_span(dir);
        }
        map->len = 0;
    }
    if (!keep) ebb__map_reset(map);
    ebb__map_seed(map->seed);
    ebb__map_written(map, "ebb_map_clear");
}

/* --- Failing --------------------------------------------------------------------------------- */

void ebb__map_raced(const char *call, const ebb__map *map) {
    ebb__fail(call, "map %p is used by two threads at once, and one of them changes it",
              (const void *)map);
}

int ebb__map_null_key(const char *call) {
    return ebb__misuse(EBB_EINVAL, call, "the key of a map with weak keys is a null pointer");
}

/* --- Checking -------------------------------------------------------------------------------- */

#define MAP_REQUIRE(cond) \
 ((cond) ? (void)0 : ebb__fail("map check", "%s, map %p", #cond, (const void *)map))

static void check_entry(const ebb__map *map, ebb__dir dir, size_t index, uint64_t pos) {
    const ebb__map_form *form = &map->shape->form;
    const char *slot = ebb__dir_slots(dir) + index * form->stride;
    const void *key = form->key_boxed ? *(void *const *)(const void *)slot : slot;
    if (form->weak && !*(void *const *)key) return;
    uint64_t hash = ebb__map_hash_of(map, key, *form);
    MAP_REQUIRE(ebb__table_hash(map, dir, index) == ebb__hash_place(hash));
    MAP_REQUIRE(ebb__hash_place(hash) - pos < ebb__dir_span(dir));
    MAP_REQUIRE(ebb__dir_ctrl(dir)[index] == (hash & 0x7f));
    ebb__place place;
    MAP_REQUIRE(ebb__map_find(map, key, hash, *form, &place) == slot);
}

static void check_zero(const ebb__map *map, const char *slot) {
    for (size_t i = 0; i < map->shape->form.stride; i++) MAP_REQUIRE(slot[i] == 0);
}

static void check_table(const ebb__map *map, ebb__dir dir, uint64_t pos) {
    const ebb__table *table = ebb__dir_table(dir);
    const uint8_t *ctrl = ebb__dir_ctrl(dir);
    uint32_t count = 0, used = 0;
    MAP_REQUIRE(table->slots == 0 || ebb_base_of(ctrl) == table);
    MAP_REQUIRE(table->slots <= ebb__dir_groups(map, dir) * EBB__GROUP);
    for (size_t i = 0; i < ebb__dir_groups(map, dir) * EBB__GROUP; i++) {
        MAP_REQUIRE(i < table->slots || ctrl[i] == EBB__SLOT_EMPTY);
        used += ctrl[i] != EBB__SLOT_EMPTY;
        if (ctrl[i] < EBB__SLOT_EMPTY)
            count++, check_entry(map, dir, i, pos);
        else if (i < table->slots)
            check_zero(map, ebb__dir_slots(dir) + i * map->shape->form.stride);
    }
    MAP_REQUIRE(count == table->count);
    MAP_REQUIRE(used + table->left == ebb__table_limit(table->slots));
}

void ebb__map_check(const ebb__map *map) {
    if (!map) return;
    unsigned depth = ebb__map_depth(map);
    size_t tables = 0, slots = 0, len = 0, deepest = 0;
    MAP_REQUIRE(depth >= 1 && (depth > 1) == (map->dir != map->self));
    for (uint64_t pos = 0; pos < EBB__HASHES;) {
        ebb__dir dir = ebb__dir_at(map, (uint32_t)pos);
        const ebb__table *table = ebb__dir_table(dir);
        uint64_t span = ebb__dir_span(dir);
        MAP_REQUIRE(table->depth <= depth && pos % span == 0);
        for (uint64_t at = pos; at < pos + span; at += EBB__HASHES >> depth)
            MAP_REQUIRE(ebb__dir_same(ebb__dir_at(map, (uint32_t)at), dir));
        check_table(map, dir, pos);
        tables += table->slots != 0;
        slots += table->slots;
        len += table->count;
        deepest += table->depth == depth;
        pos += span;
    }
    MAP_REQUIRE(tables == map->tables && slots == map->slots && len == map->len);
    MAP_REQUIRE(deepest == map->deepest);
}
