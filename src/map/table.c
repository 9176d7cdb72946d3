/* table.c - one table: made, filled from another, discarded. docs/design.md, "Maps".
 *
 * A table is two objects of the heap. Control bytes and hashes lie in pointer-free memory; the
 * slots are an array of a typed layout, or pointer-free too. Only the directory refers to them
 * (and iterators), so a discarded table is the collector's. If it can hold pointers it is zeroed
 * first: a pointer into it that somebody kept against the rules then keeps nothing alive. It is not
 * released at once, since that would make the same mistake a wild pointer. */
#include "map.h"

_Atomic(uint64_t) ebb__map_moved_max, ebb__map_table_max;

static struct {
    ebb__table table;
    _Alignas(16) uint8_t ctrl[16];
} table_none = {.ctrl = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                         0x80, 0x80, 0x80, 0x80}};

static_assert(sizeof(ebb__table) % 16 == 0, "control bytes follow the header, aligned to 16");
static_assert(offsetof(__typeof__(table_none), ctrl) == sizeof(ebb__table),
              "the static table looks like the others");

static void stat_max(_Atomic(uint64_t) *max, uint64_t value) {
    uint64_t seen = atomic_load_explicit(max, memory_order_relaxed);
    while (seen < value && !atomic_compare_exchange_weak_explicit(
                               max, &seen, value, memory_order_relaxed, memory_order_relaxed)) {
    }
}

void ebb__table_moved(size_t entries) {
    stat_max(&ebb__map_moved_max, entries);
}

/* --- Sizes ----------------------------------------------------------------------------------- */

uint32_t ebb__table_larger(const ebb__map *map, uint32_t slots, bool fine) {
    uint32_t max = map->shape->slots_max, groups = slots / EBB__GROUP;
    if (slots < MAP_SLOTS_MIN) return MAP_SLOTS_MIN;
    uint32_t larger = slots * 2;
    fine = fine && groups >= 4;
    if (fine) larger = (groups + (1u << (log2_floor(groups) - 2))) * EBB__GROUP;
    if (slots < max) return larger > max || (!fine && larger > max - max / 4) ? max : larger;
    /* A table beyond full size, for keys that no splitting separates. */
    return larger / EBB__GROUP <= EBB__DIR_GROUPS_MAX ? larger : 2u << log2_floor(larger - 1);
}

uint32_t ebb__table_fit(const ebb__map *map, size_t count, uint32_t filled, bool fine) {
    uint32_t slots = MAP_SLOTS_MIN;
    while ((size_t)slots * filled < count * 16 || ebb__table_limit(slots) < count)
        slots = ebb__table_larger(map, slots, fine);
    return slots;
}

/* --- Making ---------------------------------------------------------------------------------- */

static uint64_t table_mark(const ebb__table *table) {
    return ((uintptr_t)table ^ (uintptr_t)&table_none) * 0x9e3779b97f4a7c15u | 1;
}

static ebb__dir dir_pack(uint8_t *ctrl, char *slots, uint32_t code) {
    return (ebb__dir){(uintptr_t)ctrl | 8 | (code & 7), (uintptr_t)slots | code >> 3};
}

ebb__dir ebb__dir_make(const ebb__map *map, uint8_t *ctrl, char *slots, size_t groups) {
    if (groups == map->groups) return (ebb__dir){(uintptr_t)ctrl, (uintptr_t)slots};
    return dir_pack(ctrl, slots,
                    groups <= EBB__DIR_GROUPS_MAX ? (uint32_t)groups - 1
                                                  : 105 + log2_floor(groups));
}

ebb__dir ebb__table_none(void) {
    return dir_pack(table_none.ctrl, NULL, 0);
}

static void table_header(const ebb__map *map, ebb__table *table, uint32_t slots, uint8_t depth) {
    *table = (ebb__table){.mark = table_mark(table),
                          .left = ebb__table_limit(slots),
                          .slots = slots,
                          .low = slots <= MAP_SLOTS_SMALL ? 1 : slots / 5,
                          .cycle = map->shape->form.weak ? (uint32_t)ebb_cycles() : 0,
                          .stride = (uint16_t)map->shape->form.stride,
                          .depth = depth};
}

ebb__dir ebb__table_make(ebb__map *map, uint32_t slots, uint8_t depth) {
    const ebb__map_shape *shape = map->shape;
    ebb__dir made = {0, 0};
    if (slots == shape->slots_max && map->spare.ctrl != 0) {
        made = map->spare;
        map->spare = (ebb__dir){0, 0};
    } else {
        uint32_t groups = slots < EBB__GROUP ? 1 : slots / EBB__GROUP;
        size_t control = sizeof(ebb__table) + groups * EBB__GROUP;
        if (shape->form.stores_hash) control += slots * sizeof(uint32_t);
        ebb__table *table =
            ebb__alloc_layout(ebb__layout_plain(false, EBB__USE_MAP), round_up(control, 16));
        char *array =
            !table
                ? NULL
                : ebb__alloc_layout(shape->slots,
                                    max_size(round_up((size_t)slots * shape->form.stride, 16), 16));
        if (!array) return made;
        memset(table + 1, EBB__SLOT_EMPTY, groups * EBB__GROUP);
        made = ebb__dir_make(map, (uint8_t *)(table + 1), array, groups);
        stat_max(&ebb__map_table_max, slots);
    }
    table_header(map, ebb__dir_table(made), slots, depth);
    return made;
}

/* --- Moving ---------------------------------------------------------------------------------- */

EBB__INLINE void slot_copy(char *to, const char *from, size_t stride) {
    switch (stride) {
    case 8:
        memcpy(to, from, 8);
        break;
    case 16:
        memcpy(to, from, 16);
        break;
    case 24:
        memcpy(to, from, 24);
        break;
    case 32:
        memcpy(to, from, 32);
        break;
    default:
        memcpy(to, from, stride);
    }
}

EBB__INLINE uint32_t table_rehash(const ebb__map *map, const char *slot, ebb__map_form form) {
    const void *key = form.key_boxed ? *(void *const *)(const void *)slot : slot;
    return ebb__hash_place(ebb__map_hash_of(map, key, form));
}

uint32_t ebb__table_hash(const ebb__map *map, ebb__dir table, size_t index) {
    const ebb__map_form *form = &map->shape->form;
    if (form->stores_hash)
        return ebb__table_hashes(ebb__dir_ctrl(table), ebb__dir_groups(map, table))[index];
    return table_rehash(map, ebb__dir_slots(table) + index * form->stride, *form);
}

/* One function for all kinds of maps: a few lookups in a hundred come here. */
char *ebb__map_find_on(const ebb__map *map, const void *key, uint64_t hash) {
    const ebb__map_form form = map->shape->form;
    uint32_t place = ebb__hash_place(hash);
    ebb__dir dir = ebb__dir_at(map, place);
    size_t groups = ebb__dir_groups(map, dir), base = ebb__home(place, groups);
    for (;;) {
        base += EBB__GROUP;
        if (base == groups * EBB__GROUP) base = 0;
        ebb__group g = ebb__group_load(ebb__dir_ctrl(dir) + base);
        char *slot = ebb__group_find(map, key, hash, form, ebb__dir_slots(dir), base, g);
        if (slot || ebb__group_empty(g) != 0) return slot;
    }
}

enum { TARGET_GROUPS = 128 };

/* Where a move goes: one of the two tables. Nothing was ever deleted from it, so each group is full
 * up to fill[group]. To know that is worth much: reading a group right after writing a byte of it
 * stalls the processor, and neighbours in the old table are neighbours in the new one. */
struct table_target {
    uint8_t *ctrl;
    char *slots;
    uint32_t *hashes;
    size_t groups;
    uint32_t count;
    uint8_t fill[TARGET_GROUPS];
};

static void target_open(struct table_target *target, const ebb__map *map, ebb__dir dir) {
    target->ctrl = ebb__dir_ctrl(dir);
    target->slots = ebb__dir_slots(dir);
    target->groups = ebb__dir_groups(map, dir);
    target->hashes = ebb__table_hashes(target->ctrl, target->groups);
    target->count = 0;
    memset(target->fill, 0, sizeof target->fill);
    if (ebb__dir_table(dir)->count == 0) return;
    for (size_t i = 0; i < target->groups && i < TARGET_GROUPS; i++) {
        ebb__mask full = ebb__group_full(ebb__group_load(target->ctrl + i * EBB__GROUP));
        target->fill[i] = (uint8_t)__builtin_popcountll(full);
    }
}

EBB__INLINE size_t target_slot(struct table_target *target, uint32_t hash) {
    if (EBB__RARE(target->groups > TARGET_GROUPS))
        return ebb__table_free_slot(target->ctrl, target->groups, hash);
    size_t group = ebb__home(hash, target->groups) / EBB__GROUP;
    while (EBB__RARE(target->fill[group] == EBB__GROUP))
        if (++group == target->groups) group = 0;
    return group * EBB__GROUP + target->fill[group]++;
}

static void target_close(const struct table_target *target) {
    ebb__table *table = ebb__table_of(target->ctrl);
    ebb__assert(target->count <= table->left);
    table->count += target->count;
    table->left -= target->count;
}

EBB__INLINE void table_move_as(const ebb__map *map, ebb__dir from, struct table_target to[2],
                               uint32_t bit, ebb__map_form form) {
    uint8_t *ctrl = ebb__dir_ctrl(from);
    size_t groups = ebb__dir_groups(map, from);
    const uint32_t *hashes = ebb__table_hashes(ctrl, groups);
    const char *slots = ebb__dir_slots(from);
    for (size_t base = 0; base < groups * EBB__GROUP; base += EBB__GROUP) {
        ebb__mask full = ebb__group_full(ebb__group_load(ctrl + base));
        for (; full != 0; full &= full - 1) {
            size_t index = base + ebb__mask_first(full);
            const char *slot = slots + index * form.stride;
            if (form.weak && !__atomic_load_n((void *const *)(const void *)slot, __ATOMIC_RELAXED))
                continue;
            uint32_t hash = form.stores_hash ? hashes[index] : table_rehash(map, slot, form);
            struct table_target *target = &to[(hash & bit) != 0];
            size_t at = target_slot(target, hash);
            target->ctrl[at] = ctrl[index];
            if (form.stores_hash) target->hashes[at] = hash;
            slot_copy(target->slots + at * form.stride, slot, form.stride);
            target->count++;
        }
    }
}

/* Kinds worth code of their own: hashes at hand, and 64-bit integers to as much. */
static void table_move_any(const ebb__map *map, ebb__dir from, struct table_target to[2],
                           uint32_t bit) {
    ebb__map_form form = map->shape->form;
    bool int64 = form.hash == EBB__HASH_INT && form.key_size == 8 && !form.weak;
    if (form.stores_hash && form.stride == 24) {
        table_move_as(map, from, to, bit, (ebb__map_form){.stores_hash = true, .stride = 24});
    } else if (form.stores_hash) {
        uint32_t stride = form.stride;
        table_move_as(map, from, to, bit, (ebb__map_form){.stores_hash = true, .stride = stride});
    } else if (int64 && form.stride == 16) {
        table_move_as(map, from, to, bit,
                      (ebb__map_form){.hash = EBB__HASH_INT, .key_size = 8, .stride = 16});
    } else {
        table_move_as(map, from, to, bit, form);
    }
}

uint32_t ebb__table_move(const ebb__map *map, ebb__dir from, const ebb__dir to[2], uint32_t bit) {
    struct table_target targets[2];
    target_open(&targets[0], map, to[0]);
    if (bit != 0) target_open(&targets[1], map, to[1]);
    table_move_any(map, from, targets, bit);
    target_close(&targets[0]);
    if (bit == 0) return targets[0].count;
    target_close(&targets[1]);
    return targets[0].count + targets[1].count;
}

bool ebb__table_absorb(const ebb__map *map, ebb__dir into, ebb__dir from) {
    ebb__table *table = ebb__dir_table(into);
    size_t stride = map->shape->form.stride, groups = ebb__dir_groups(map, into);
    size_t slots = ebb__dir_groups(map, from) * EBB__GROUP;
    uint8_t *ctrl = ebb__dir_ctrl(into), *from_ctrl = ebb__dir_ctrl(from);
    if (__atomic_load_n(&table->pinned, __ATOMIC_RELAXED)) return false;
    if (table->left < ebb__dir_table(from)->count) return false;
    for (size_t i = 0; i < slots; i++) {
        if (from_ctrl[i] >= EBB__SLOT_EMPTY) continue;
        uint32_t hash = ebb__table_hash(map, from, i);
        size_t at = ebb__table_free_slot(ctrl, groups, hash);
        table->left -= ctrl[at] == EBB__SLOT_EMPTY;
        table->count++;
        ctrl[at] = from_ctrl[i];
        if (map->shape->form.stores_hash) ebb__table_hashes(ctrl, groups)[at] = hash;
        slot_copy(ebb__dir_slots(into) + at * stride, ebb__dir_slots(from) + i * stride, stride);
    }
    return true;
}

/* --- Letting go ------------------------------------------------------------------------------ */

void ebb__table_clear(const ebb__map *map, ebb__dir dir) {
    ebb__table *table = ebb__dir_table(dir);
    if (table->slots == 0) return;
    memset(ebb__dir_ctrl(dir), EBB__SLOT_EMPTY, ebb__dir_groups(map, dir) * EBB__GROUP);
    memset(ebb__dir_slots(dir), 0, (size_t)table->slots * map->shape->form.stride);
    table->count = 0;
    table->left = ebb__table_limit(table->slots);
}

void ebb__table_discard(ebb__map *map, ebb__dir dir) {
    ebb__table *table = ebb__dir_table(dir);
    const ebb__map_shape *shape = map->shape;
    if (table->slots == 0) return;
    if (__atomic_load_n(&table->pinned, __ATOMIC_RELAXED)) {
        table->mark = 0;
    } else if (table->slots == shape->slots_max && map->spare.ctrl == 0 &&
               map->tables >= MAP_SPARE_TABLES) {
        ebb__table_clear(map, dir);
        map->spare = dir;
    } else {
        table->mark = 0;
        if (shape->slots != ebb__layout_plain(false, EBB__USE_MAP))
            memset(ebb__dir_slots(dir), 0, (size_t)table->slots * shape->form.stride);
    }
}

/* --- Census ---------------------------------------------------------------------------------- */

bool ebb__table_is(const void *start, size_t size) {
    const ebb__table *table = start;
    return size >= sizeof *table && table->mark == table_mark(table);
}

static void census_visit(void *start, size_t size, void *arg) {
    const ebb__table *table = start;
    if (!ebb__table_is(start, size)) return;
    *(size_t *)arg += (size_t)(table->slots - table->count) * table->stride;
}

size_t ebb__map_census(void) {
    size_t bytes = 0;
    ebb__heap_each(EBB__USE_MAP, census_visit, &bytes);
    return bytes;
}
