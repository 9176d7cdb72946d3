/* iterate.c - iteration that keeps its promise while tables split and merge: an entry that is there
 * throughout is seen exactly once, a deleted one not again. docs/design.md, "Maps".
 *
 * The position is a point in hash space: start + offset, from a random start once around. Entering
 * a table, the iterator takes as its share the hashes from there to the table's end (or to start,
 * on the last one), and afterwards goes on behind that share, whatever the tables look like by
 * then. The shares partition the hash space, so nothing is seen twice and nothing missed, provided
 * that each share is shown whole and alone:
 *
 *   - where the table begins before the share, or goes on behind it, each entry's hash decides;
 *   - a table that is replaced while the iterator stands in it is shown to its end as it was, each
 *     key looked up in the map for whether it is still there, and with what value. That is why
 *     tables are replaced and never changed into others in place, and why a table that an iterator
 *     has been in is neither zeroed nor used again when it is discarded.
 *
 * Nothing is written into the map but the mark that says so, so readers may iterate together. */
#include "map.h"

ebb__map_iter ebb__map_iter_begin(ebb__map *map) {
    ebb__map_iter it = {.map = map};
    if (!map) return it;
    ebb__map_read(map, "ebb_map_each");
    /* At the beginning of a table: its entries are then all of one share. */
    uint32_t at = ebb__map_random();
    uint64_t span = ebb__dir_span(ebb__dir_at(map, at));
    it.start = at & ~(uint32_t)(span - 1);
    return it;
}

/* The share that begins behind the last one. */
static void iter_enter(ebb__map_iter *it, ebb__dir dir) {
    uint64_t span = ebb__dir_span(dir);
    uint64_t begin = it->from & ~(span - 1), left = EBB__HASHES - it->offset;
    it->length = begin + span - it->from;
    if (it->length > left) it->length = left;
    it->careful = begin == it->from && it->length == span ? 0 : EBB__ITER_SHARE;
    it->ctrl = ebb__dir_ctrl(dir);
    it->slots = ebb__dir_slots(dir);
    it->groups = (uint32_t)ebb__dir_groups(it->map, dir);
    it->version = it->map->version;
}

/* Begins at a random slot; what comes before it in its group is left for the end. */
static void iter_begin_at(ebb__map_iter *it, uint32_t slots) {
    uint32_t slot = (uint32_t)((uint64_t)ebb__map_random() * slots >> 32);
    it->group = slot / EBB__GROUP;
    it->groups_left = it->groups;
    it->last = ((ebb__mask)1 << slot % EBB__GROUP * EBB__MASK_BITS) - 1;
    it->mask = ebb__group_full(ebb__group_load(it->ctrl + it->group * EBB__GROUP)) & ~it->last;
}

bool ebb__map_iter_table(ebb__map_iter *it) {
    for (;;) {
        it->offset += it->length;
        it->length = 0;
        if (it->offset >= EBB__HASHES) return false;
        it->from = it->start + (uint32_t)it->offset;
        ebb__dir dir = ebb__dir_at(it->map, it->from);
        iter_enter(it, dir);
        ebb__table *table = ebb__dir_table(dir);
        if (table->slots == 0) continue;
        if (!__atomic_load_n(&table->pinned, __ATOMIC_RELAXED))
            __atomic_store_n(&table->pinned, 1, __ATOMIC_RELAXED);
        iter_begin_at(it, table->slots);
        return true;
    }
}

static bool iter_stale(ebb__map_iter *it) {
    if (it->careful & EBB__ITER_STALE) return true;
    if (it->version == it->map->version) return false;
    if (ebb__dir_ctrl(ebb__dir_at(it->map, it->from)) == it->ctrl) {
        it->version = it->map->version;
        return false;
    }
    it->careful |= EBB__ITER_STALE;
    return true;
}

static bool iter_shares(const ebb__map_iter *it, uint32_t hash) {
    return (uint32_t)(hash - it->from) < it->length;
}

char *ebb__map_iter_check(ebb__map_iter *it, size_t index) {
    const ebb__map *map = it->map;
    const ebb__map_form form = map->shape->form;
    char *slot = it->slots + index * form.stride;
    bool stale = iter_stale(it);
    if (it->ctrl[index] >= EBB__SLOT_EMPTY) return NULL;
    if (form.weak && !(it->held = __atomic_load_n((void **)(void *)slot, __ATOMIC_RELAXED)))
        return NULL;
    if (!stale && it->careful == 0) return slot;
    const void *key = form.key_boxed ? *(void **)(void *)slot : slot;
    uint64_t hash = ebb__map_hash_of(map, key, form);
    if ((it->careful & EBB__ITER_SHARE) && !iter_shares(it, ebb__hash_place(hash))) return NULL;
    ebb__place place;
    return stale ? ebb__map_find(map, key, hash, form, &place) : slot;
}
