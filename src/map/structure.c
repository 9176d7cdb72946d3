/* structure.c - tables grow, split, shrink and merge; entries come and go the long way.
 * docs/design.md, "Maps".
 *
 *   full                      the same size again, if deleted slots are why;
 *                             larger, up to full size; then split in two
 *   under a fifth full        merge with the buddy, if both together fill 7/16 of a table at most;
 *                             else half the size
 *
 * Between the two lies enough that nothing thrashes. A table is never changed in place, but for
 * one that keeps all its entries when it gives up an empty half of its hashes: an iterator may
 * stand in it, and must be able to tell. */
#include "map.h"

/* --- One table ------------------------------------------------------------------------------- */

/* The map has `table` now; it had `old` there, whose entries but for dead ones have moved. */
static void table_replace(ebb__map *map, uint32_t hash, ebb__dir old, ebb__dir table) {
    map->slots += ebb__dir_table(table)->slots;
    map->slots -= ebb__dir_table(old)->slots;
    ebb__dir_set(map, hash, table);
    map->version++;
    ebb__table_discard(map, old);
    if (map->dir == map->self) ebb__dir_usual(map);
}

int ebb__map_resize(ebb__map *map, uint32_t hash, uint32_t slots) {
    ebb__dir old = ebb__dir_at(map, hash);
    uint32_t since = ebb__map_release(map);
    ebb__dir table = ebb__table_make(map, slots, ebb__dir_table(old)->depth);
    if (!ebb__map_resume(map, since)) return 0;
    if (table.ctrl == 0) return EBB_ENOMEM;
    uint32_t count = ebb__dir_table(old)->count;
    if (count > ebb__table_limit(slots)) return 0;
    uint32_t moved = ebb__table_move(map, old, (ebb__dir[2]){table, table}, 0);
    map->len -= count - moved;
    if (map->tables == 0) map->tables = 1;
    ebb__table_moved(moved);
    table_replace(map, hash, old, table);
    return 1;
}

/* --- Splitting ------------------------------------------------------------------------------- */

/* How many entries of a table have `bit` in their hash, out of `of`; stops when it knows that there
 * are both kinds, unless all are to be counted. */
static uint32_t split_count(const ebb__map *map, ebb__dir dir, uint32_t bit, bool all,
                            uint32_t *of) {
    uint8_t *ctrl = ebb__dir_ctrl(dir);
    size_t slots = ebb__dir_groups(map, dir) * EBB__GROUP;
    uint32_t with = 0;
    *of = 0;
    for (size_t i = 0; i < slots; i++) {
        if (ctrl[i] >= EBB__SLOT_EMPTY) continue;
        with += (ebb__table_hash(map, dir, i) & bit) != 0;
        ++*of;
        if (!all && with != 0 && with != *of) break;
    }
    return with;
}

static void split_counted(ebb__map *map, uint8_t depth) {
    map->tables++;
    map->version++;
    if (depth == ebb__map_depth(map)) map->deepest += 2;
}

/* All entries lie on one side: the table keeps them, and a new one takes the other side. */
static int split_narrow(ebb__map *map, uint32_t hash, uint32_t bit, bool entries_have_bit) {
    ebb__dir old = ebb__dir_at(map, hash);
    ebb__table *table = ebb__dir_table(old);
    uint32_t since = ebb__map_release(map);
    ebb__dir other = ebb__table_make(map, MAP_SLOTS_MIN, table->depth + 1);
    if (!ebb__map_resume(map, since)) return 0;
    if (other.ctrl == 0) return EBB_ENOMEM;
    table->depth++;
    ebb__dir_set(map, entries_have_bit ? hash & ~bit : hash | bit, other);
    map->slots += MAP_SLOTS_MIN;
    split_counted(map, table->depth);
    return 0;
}

static int split_apart(ebb__map *map, uint32_t hash, uint32_t bit, const uint32_t slots[2]) {
    ebb__dir old = ebb__dir_at(map, hash), to[2];
    ebb__table *table = ebb__dir_table(old);
    uint8_t depth = table->depth + 1;
    uint32_t since = ebb__map_release(map);
    to[0] = ebb__table_make(map, slots[0], depth);
    to[1] = to[0].ctrl ? ebb__table_make(map, slots[1], depth) : to[0];
    if (!ebb__map_resume(map, since)) return 0;
    if (to[1].ctrl == 0) return EBB_ENOMEM;
    uint32_t count = table->count;
    uint32_t moved = ebb__table_move(map, old, to, bit);
    map->len -= count - moved;
    ebb__table_moved(moved);
    map->slots += slots[0];
    ebb__dir_set(map, hash & ~bit, to[0]);
    split_counted(map, depth);
    table_replace(map, hash | bit, old, to[1]);
    return 0;
}

static int table_split(ebb__map *map, uint32_t hash) {
    ebb__dir dir = ebb__dir_at(map, hash);
    const ebb__table *table = ebb__dir_table(dir);
    uint32_t bit = (uint32_t)1 << (31 - table->depth), of;
    bool sized = map->dense || table->slots > map->shape->slots_max;
    uint32_t with = split_count(map, dir, bit, sized, &of);
    if (with == 0 || with == of) return split_narrow(map, hash, bit, with != 0);
    uint32_t slots[2] = {table->slots, table->slots};
    if (sized) {
        uint32_t filled = map->dense ? 13 : 12;
        slots[0] = ebb__table_fit(map, of - with, filled, map->dense);
        slots[1] = ebb__table_fit(map, with, filled, map->dense);
    }
    return split_apart(map, hash, bit, slots);
}

/* A directory twice as large would still have so few pairs that they are less than a sixteenth of a
 * table's slots for each entry. Keys that share the top of their hashes never get more than that.
 */
static bool may_double(const ebb__map *map) {
    unsigned depth = ebb__map_depth(map) + 1;
    if (depth > MAP_DEPTH_MAX) return false;
    return depth == 2 || (map->shape->slots_max / 16) << depth <= map->len;
}

int ebb__map_make_room(ebb__map *map, uint32_t hash) {
    const ebb__table *table = ebb__dir_table(ebb__dir_at(map, hash));
    uint32_t slots = table->slots, limit = ebb__table_limit(slots);
    uint32_t larger = ebb__table_larger(map, slots, map->dense), max = map->shape->slots_max;
    /* The first split comes a step early: a map's first table of full size would be discarded by
     * it, and leave a hole between the others. */
    bool first = table->depth == 0 && slots < max && larger == max;
    int done;
    if (slots != 0 && table->count <= limit - limit / 4)
        done = ebb__map_resize(map, hash, slots);
    else if (slots < max && !first)
        done = ebb__map_resize(map, hash, larger);
    else if (table->depth < ebb__map_depth(map))
        done = table_split(map, hash);
    else if (may_double(map))
        done = ebb__dir_double(map);
    else
        done = ebb__map_resize(map, hash, larger);
    return done < 0 ? done : 0;
}

/* --- Merging and shrinking ------------------------------------------------------------------- */

/* The table for hash and its buddy are one now: `table`, which is new, or one of the two. */
static void merge_done(ebb__map *map, uint32_t hash, const ebb__dir pair[2], ebb__dir table) {
    unsigned depth = ebb__dir_table(pair[0])->depth;
    ebb__table *merged = ebb__dir_table(table);
    size_t before = (size_t)ebb__dir_table(pair[0])->slots + ebb__dir_table(pair[1])->slots;
    map->slots = map->slots - before + merged->slots;
    map->tables--;
    map->version++;
    merged->depth = (uint8_t)(depth - 1);
    ebb__dir_set(map, hash, table);
    for (int i = 0; i < 2; i++)
        if (!ebb__dir_same(pair[i], table)) ebb__table_discard(map, pair[i]);
    if (map->tables < MAP_SPARE_TABLES) map->spare = (ebb__dir){0, 0};
    if (map->dir == map->self) ebb__dir_usual(map);
    if (depth == ebb__map_depth(map)) map->deepest -= 2;
    ebb__dir_halve(map);
}

/* Without memory for a new table, one of the two takes the other's entries. Not otherwise: deleted
 * slots would stay, and an iterator that has been in a table must find it as it was. */
static int merge_in_place(ebb__map *map, uint32_t hash, const ebb__dir pair[2]) {
    for (int into = 0; into < 2; into++) {
        uint32_t moved = ebb__dir_table(pair[!into])->count;
        if (!ebb__table_absorb(map, pair[into], pair[!into])) continue;
        ebb__table_moved(moved);
        merge_done(map, hash, pair, pair[into]);
        return 1;
    }
    return EBB_ENOMEM;
}

int ebb__map_merge(ebb__map *map, uint32_t hash, size_t most, uint32_t filled, bool fine) {
    ebb__dir pair[2] = {ebb__dir_at(map, hash)};
    const ebb__table *a = ebb__dir_table(pair[0]);
    if (a->depth == 0) return 0;
    pair[1] = ebb__dir_at(map, hash ^ (uint32_t)1 << (32 - a->depth));
    const ebb__table *b = ebb__dir_table(pair[1]);
    size_t sum = (size_t)a->count + b->count;
    if (b->depth != a->depth || sum > most) return 0;
    uint32_t slots = ebb__table_fit(map, sum, filled, fine);
    if (map->slots - a->slots - b->slots + slots < map->slots_min) return 0;

    uint32_t since = ebb__map_release(map);
    ebb__dir table = ebb__table_make(map, slots, (uint8_t)(a->depth - 1));
    if (!ebb__map_resume(map, since)) return 0;
    if (table.ctrl == 0) return merge_in_place(map, hash, pair);
    const ebb__dir to[2] = {table, table};
    uint32_t moved = ebb__table_move(map, pair[0], to, 0);
    moved += ebb__table_move(map, pair[1], to, 0);
    map->len -= sum - moved;
    ebb__table_moved(moved);
    merge_done(map, hash, pair, table);
    return 1;
}

void ebb__map_reset(ebb__map *map) {
    if (map->dir) {
        ebb__dir *dir = map->dir;
        for (size_t i = 0; i < (size_t)1 << ebb__map_depth(map); i++) {
            if (ebb__dir_table(dir[i])->slots != 0) ebb__dir_table(dir[i])->mark = 0;
            dir[i] = ebb__table_none();
        }
    }
    map->dir = map->self;
    map->self[0] = map->self[1] = ebb__table_none();
    map->shift = 63;
    map->groups = 1;
    map->spare = (ebb__dir){0, 0};
    map->len = map->slots = map->tables = map->deepest = 0;
    map->version++;
}

static int table_shrink(ebb__map *map, uint32_t hash) {
    /* Among many tables a merger takes the spare one, of full size, and allocates nothing. */
    uint32_t filled = map->tables > MAP_SPARE_TABLES ? 7 : 12;
    int done = ebb__map_merge(map, hash, map->shape->slots_max * 7 / 16, filled, map->dense);
    if (done != 0) return done;
    const ebb__table *table = ebb__dir_table(ebb__dir_at(map, hash));
    uint32_t slots = ebb__table_fit(map, table->count, 12, map->dense);
    if (slots < MAP_SLOTS_SMALL) slots = MAP_SLOTS_SMALL;
    if (slots >= table->slots || map->slots - table->slots + slots < map->slots_min) return 0;
    return ebb__map_resize(map, hash, slots);
}

void ebb__map_shrink(ebb__map *map, uint32_t hash) {
    if (map->keep) return;
    if (map->len == 0 && map->slots_min == 0) {
        if (map->slots > MAP_SLOTS_SMALL) ebb__map_reset(map);
    } else if (table_shrink(map, hash) < 0) {
        /* Without memory: not at every delete again, each time after a collection. */
        ebb__table *table = ebb__dir_table(ebb__dir_at(map, hash));
        if (table->low > 1) table->low /= 2;
    }
}

/* --- Entries, the long way ------------------------------------------------------------------- */

ebb__map *ebb__map_make(ebb__map **handle, ebb__map_site *site) {
    const ebb__map_shape *shape = ebb__map_shape_of(site);
    if (!shape) return NULL;
    ebb__map *map = ebb__alloc_layout(ebb__layout_plain(true, EBB__USE_MAP), sizeof *map);
    if (!map) return NULL;
    if (*handle) return *handle; /* the limit handler made it */
    map->shape = shape;
    ebb__map_seed(map->seed);
    ebb__map_reset(map);
    *handle = map;
    return map;
}

/* The objects for a key and value that do not lie in the slot. */
struct boxes {
    void *key, *value;
};

static bool boxes_alloc(const ebb__map_shape *shape, struct boxes *boxes) {
    const ebb__map_form *form = &shape->form;
    if (form->key_boxed) boxes->key = ebb__alloc_layout(shape->key_box, form->key_size);
    if (form->value_boxed) boxes->value = ebb__alloc_layout(shape->value_box, form->value_size);
    return (!form->key_boxed || boxes->key) && (!form->value_boxed || boxes->value);
}

static void *slot_fill(ebb__map *map, const void *key, uint64_t hash, struct boxes boxes) {
    const ebb__map_form *form = &map->shape->form;
    uint32_t place = ebb__hash_place(hash);
    ebb__dir dir = ebb__dir_at(map, place);
    uint8_t *ctrl = ebb__dir_ctrl(dir);
    size_t groups = ebb__dir_groups(map, dir);
    size_t index = ebb__table_free_slot(ctrl, groups, place);
    ebb__table *table = ebb__table_of(ctrl);
    char *slot = ebb__dir_slots(dir) + index * form->stride;
    if (ctrl[index] == EBB__SLOT_EMPTY && table->left == 0) return NULL;
    table->left -= ctrl[index] == EBB__SLOT_EMPTY;
    table->count++;
    map->len++;
    ctrl[index] = hash & 0x7f;
    if (form->stores_hash) ebb__table_hashes(ctrl, groups)[index] = place;
    if (form->key_boxed) {
        memcpy(boxes.key, key, form->key_size);
        *(void **)(void *)slot = boxes.key;
    } else {
        memcpy(slot, key, form->key_size);
    }
    if (form->value_boxed) *(void **)(void *)(slot + form->value_offset) = boxes.value;
    return ebb__map_value(slot, *form);
}

void *ebb__map_insert_slow(ebb__map *map, const void *key, uint64_t hash) {
    const ebb__map_shape *shape = map->shape;
    struct boxes boxes = {NULL, NULL};
    bool same = true;
    if (shape->form.key_boxed || shape->form.value_boxed) {
        uint32_t since = ebb__map_release(map);
        bool enough = boxes_alloc(shape, &boxes);
        same = ebb__map_resume(map, since);
        if (!enough) return NULL;
    }
    for (;; same = false) {
        if (!same) { /* it may have been put there meanwhile, or the seed have changed */
            ebb__place place;
            hash = ebb__map_hash_of(map, key, shape->form);
            char *found = ebb__map_find(map, key, hash, shape->form, &place);
            if (found) return ebb__map_value(found, shape->form);
        }
        void *value = slot_fill(map, key, hash, boxes);
        if (value) return value;
        if (ebb__map_make_room(map, ebb__hash_place(hash)) != 0) return NULL;
    }
}
