/* map.h - tables, directory and policy of a map, as the files of src/map share them.
 * docs/design.md, "Maps"; the picture stands in include/ebb/map_inline.h.
 *
 * A change of structure runs in two steps. First everything that it needs is allocated, with the
 * map not marked as being written, because an allocation may call the limit handler, and that may
 * use the map. Then, if the table in question is still the one that was looked at, entries move:
 * no step of that can fail. Whoever called looks again. */
#ifndef EBB_MAP_INTERNAL_H
#define EBB_MAP_INTERNAL_H

#include "../heap/heap.h"
#include "../../include/ebb/map.h"

enum {
    MAP_SLOTS_MIN = 4,     /* of the smallest table */
    MAP_SLOTS_SMALL = 16,  /* a table is not made smaller than this, unless by request */
    MAP_DEPTH_MAX = 22,    /* of the directory: the bits of a place that are for it */
    MAP_SPARE_TABLES = 16, /* maps with fewer tables keep no spare one */
    MAP_KEEP_PAUSED = 1,   /* ebb__map.keep */
    MAP_KEEP_GROW_ONLY = 2,
};

/* --- Kinds (shape.c) ------------------------------------------------------------------------- */

/* The kind of map that a place makes; null without memory. */
EBB__SHARED const ebb__map_shape *ebb__map_shape_of(ebb__map_site *site);

/* Whether it is one of them. */
EBB__SHARED bool ebb__map_shape_is(const void *shape);

/* Two random words, different for each call and each process. */
EBB__SHARED void ebb__map_seed(uint64_t seed[2]);

/* A random number; not for secrets. */
EBB__SHARED uint32_t ebb__map_random(void);

/* --- Tables (table.c) ------------------------------------------------------------------------ */

EBB__SHARED extern _Atomic(uint64_t) ebb__map_moved_max; /* entries; relaxed, for statistics */
EBB__SHARED extern _Atomic(uint64_t) ebb__map_table_max; /* slots; relaxed, for statistics */

/* Bytes of map slots without an entry, of all maps. The world is stopped. */
EBB__SHARED size_t ebb__map_census(void);

/* Whether there is a table with its control object at this address, of so many bytes. */
EBB__SHARED bool ebb__table_is(const void *start, size_t size);

/* --- Census (census.c) [world stopped] -------------------------------------------------------- */

/* A table of a living map. */
typedef struct map_table {
    const ebb__map *map;
    const ebb__table *table;
    uintptr_t slots;
    bool spare; /* without entries, kept for the map's next split */
} map_table;

/* Calls visit for each table of each living map. A writer may have been stopped amid a change: then
 * counts of its map may be off by what it was moving. */
EBB__SHARED void ebb__map_each_table(void (*visit)(const map_table *table, void *arg), void *arg);

/* What a map without entries has for a table: no slots, never written. */
EBB__SHARED ebb__dir ebb__table_none(void);

/* A pair of the directory, see ebb__dir_groups_coded. */
EBB__SHARED ebb__dir ebb__dir_make(const ebb__map *map, uint8_t *ctrl, char *slots, size_t groups);

/* How many entries so many slots may hold. */
EBB__INLINE uint32_t ebb__table_limit(uint32_t slots) {
    return slots < EBB__GROUP ? slots : slots - slots / 8;
}

/* A table of so many slots (a size made by one of the following), or ctrl == 0 without memory.
 * Takes the map's spare one if it can. */
EBB__SHARED ebb__dir ebb__table_make(ebb__map *map, uint32_t slots, uint8_t depth);

/* The next size up: twice as large, or (fine) by a fourth to a seventh. */
EBB__SHARED uint32_t ebb__table_larger(const ebb__map *map, uint32_t slots, bool fine);

/* The smallest size that is at most filled / 16 full with count entries. */
EBB__SHARED uint32_t ebb__table_fit(const ebb__map *map, size_t count, uint32_t filled, bool fine);

/* The upper half of the hash, which says where a full slot's entry belongs. */
EBB__SHARED uint32_t ebb__table_hash(const ebb__map *map, ebb__dir table, size_t index);

/* Moves all entries of `from`: to to[1] those whose hash has `bit`, the others to to[0] (bit == 0:
 * all). They have room. `from` is left as it is. Returns their number: entries whose weak key is
 * dead stay behind. */
EBB__SHARED uint32_t ebb__table_move(const ebb__map *map, ebb__dir from, const ebb__dir to[2],
                                     uint32_t bit);

/* Moves all entries of `from` into a table that has entries already, if there is room and no
 * iterator has been in it. */
EBB__SHARED bool ebb__table_absorb(const ebb__map *map, ebb__dir into, ebb__dir from);

/* Nobody but an iterator may still need the table: zeroes it, and keeps it for the next split or
 * leaves it to the collector. */
EBB__SHARED void ebb__table_discard(ebb__map *map, ebb__dir table);

/* Takes all entries out. */
EBB__SHARED void ebb__table_clear(const ebb__map *map, ebb__dir table);

/* Notes that one operation moved so many entries. */
EBB__SHARED void ebb__table_moved(size_t entries);

/* --- Directory (directory.c) ----------------------------------------------------------------- */

/* For each table of a map: for (pos = 0; pos < 2^32; pos += ebb__dir_span(…)). */
#define EBB__HASHES ((uint64_t)1 << 32)

EBB__INLINE unsigned ebb__map_depth(const ebb__map *map) {
    return 64u - map->shift;
}

EBB__INLINE ebb__dir ebb__dir_at(const ebb__map *map, uint32_t hash) {
    return map->dir[(uint64_t)hash << 32 >> map->shift];
}

EBB__INLINE ebb__table *ebb__dir_table(ebb__dir dir) {
    return ebb__table_of(ebb__dir_ctrl(dir));
}

EBB__INLINE bool ebb__dir_same(ebb__dir a, ebb__dir b) {
    return a.ctrl == b.ctrl;
}

/* How many hashes fall to a table. */
EBB__INLINE uint64_t ebb__dir_span(ebb__dir dir) {
    return EBB__HASHES >> ebb__dir_table(dir)->depth;
}

/* Makes `table` the one for all hashes that agree with `hash` in its depth. */
EBB__SHARED void ebb__dir_set(ebb__map *map, uint32_t hash, ebb__dir table);

/* Sees to it that map->groups is the usual size; after tables have been set. */
EBB__SHARED void ebb__dir_usual(ebb__map *map);

/* Twice the directory, 0 or EBB_ENOMEM; or half of it, as often as no table needs the depth. */
EBB__SHARED int ebb__dir_double(ebb__map *map);
EBB__SHARED void ebb__dir_halve(ebb__map *map);

/* --- Structure (structure.c) ------------------------------------------------------------------
 * The map is marked as being written; meanwhile it may not be, and change by somebody else's hand.
 */

/* Makes room for one more entry of that hash, or gets nearer to it: call until there is room.
 * Returns 0 or EBB_ENOMEM. */
EBB__SHARED int ebb__map_make_room(ebb__map *map, uint32_t hash);

/* Puts the entries of the table for hash into one of so many slots. 1: done, 0: changed meanwhile,
 * EBB_ENOMEM. */
EBB__SHARED int ebb__map_resize(ebb__map *map, uint32_t hash, uint32_t slots);

/* Merges the table for hash and its buddy if together they have at most `most` entries; filled and
 * fine as for ebb__table_fit. 1: done, 0: not, EBB_ENOMEM. */
EBB__SHARED int ebb__map_merge(ebb__map *map, uint32_t hash, size_t most, uint32_t filled,
                               bool fine);

/* No tables any more; the map has no entries, or forgets them. */
EBB__SHARED void ebb__map_reset(ebb__map *map);

/* A writer lets go of the map, to allocate; and takes hold of it again: true if nobody has changed
 * it since. */
EBB__SHARED uint32_t ebb__map_release(ebb__map *map);
EBB__SHARED bool ebb__map_resume(ebb__map *map, uint32_t since);

#endif
