/* weak.c - maps whose keys do not keep their objects alive. docs/design.md, "Maps".
 *
 * The collector nulls the key of an entry in its slot when the object has died. Such an entry is
 * never found, since a null key is refused, and iteration passes over it; but it takes its slot and
 * keeps its value until it is taken out. That is done by writers: each looks through its own table,
 * and one more in turn, if there was a collection since that table was last looked through. */
#include "map.h"

static bool weak_dead(const char *slot) {
    return !__atomic_load_n((void *const *)(const void *)slot, __ATOMIC_RELAXED);
}

/* How many entries of a table are dead; takes them out if map is given. */
static uint32_t weak_sweep(ebb__map *map, ebb__dir dir, uint32_t stride) {
    uint8_t *ctrl = ebb__dir_ctrl(dir);
    ebb__table *table = ebb__table_of(ctrl);
    uint32_t dead = 0;
    for (uint32_t i = 0; i < table->slots; i++) {
        char *slot = ebb__dir_slots(dir) + (size_t)i * stride;
        if (ctrl[i] >= EBB__SLOT_EMPTY || !weak_dead(slot)) continue;
        dead++;
        if (!map) continue;
        bool empty = ebb__group_empty(ebb__group_load(ctrl + i / EBB__GROUP * EBB__GROUP)) != 0;
        ctrl[i] = empty ? EBB__SLOT_EMPTY : EBB__SLOT_DELETED;
        memset(slot, 0, stride);
        table->left += empty;
        table->count--;
        map->len--;
    }
    return dead;
}

static void weak_purge(ebb__map *map, uint32_t hash, uint32_t cycle) {
    ebb__dir dir = ebb__dir_at(map, hash);
    ebb__table *table = ebb__dir_table(dir);
    if (table->cycle == cycle || table->slots == 0) return;
    table->cycle = cycle;
    weak_sweep(map, dir, map->shape->form.stride);
    if (table->count < table->low) ebb__map_shrink(map, hash);
}

void ebb__map_purge(ebb__map *map, const void *key) {
    uint32_t cycle = (uint32_t)ebb_cycles();
    uint64_t hash = ebb__map_hash_of(map, key, map->shape->form);
    weak_purge(map, ebb__hash_place(hash), cycle);
    map->purge_at++;
    weak_purge(map, (uint32_t)((uint64_t)map->purge_at << map->shift >> 32), cycle);
}

size_t ebb__map_len_weak(const ebb__map *map) {
    size_t len = map->len;
    for (uint64_t pos = 0; pos < EBB__HASHES;) {
        ebb__dir dir = ebb__dir_at(map, (uint32_t)pos);
        if (ebb__dir_table(dir)->slots != 0) len -= weak_sweep(NULL, dir, map->shape->form.stride);
        pos += ebb__dir_span(dir);
    }
    return len;
}
