/* directory.c - which table is for which hashes. docs/design.md, "Maps".
 *
 *   pairs        2^depth, of which 2^(depth - table's depth) in a row are the same table
 *   deepest      = tables whose depth is the directory's: pairs that differ from their neighbour
 *   depth > 1    => deepest > 0, unless a split or a halving found no memory
 *
 * Two pairs lie in the map itself, so most maps have no directory apart. An old directory is filled
 * with the static table before the collector has it: a stale word somewhere that points to it then
 * keeps no tables. */
#include "map.h"

uint32_t ebb__map_release(ebb__map *map) {
    ebb__map_written(map, "ebb_map_put");
    return map->writes;
}

bool ebb__map_resume(ebb__map *map, uint32_t since) {
    bool same = map->writes == since;
    ebb__map_write(map, "ebb_map_put");
    return same;
}

void ebb__dir_set(ebb__map *map, uint32_t hash, ebb__dir table) {
    unsigned shared = ebb__map_depth(map) - ebb__dir_table(table)->depth;
    size_t first = (size_t)((uint64_t)hash << 32 >> map->shift) >> shared << shared;
    for (size_t i = 0; i < (size_t)1 << shared; i++) map->dir[first + i] = table;
}

void ebb__dir_usual(ebb__map *map) {
    size_t usual = map->shape->slots_max / EBB__GROUP;
    if (map->dir == map->self)
        usual = max_size(ebb__dir_groups(map, map->self[0]), ebb__dir_groups(map, map->self[1]));
    if (usual == map->groups) return;
    size_t before = map->groups;
    for (size_t i = 0; i < (size_t)1 << ebb__map_depth(map); i++) {
        ebb__dir dir = map->dir[i];
        map->groups = (uint32_t)before;
        size_t groups = ebb__dir_groups(map, dir);
        map->groups = (uint32_t)usual;
        map->dir[i] = ebb__dir_make(map, ebb__dir_ctrl(dir), ebb__dir_slots(dir), groups);
    }
}

static void dir_forget(ebb__dir *dir, size_t pairs) {
    for (size_t i = 0; i < pairs; i++) dir[i] = ebb__table_none();
}

static ebb__dir *dir_alloc(ebb__map *map, unsigned depth) {
    if (depth == 1) return map->self;
    return ebb__alloc_layout(ebb__layout_plain(true, EBB__USE_MAP), sizeof(ebb__dir) << depth);
}

static void dir_install(ebb__map *map, ebb__dir *dir, unsigned depth) {
    ebb__dir *old = map->dir;
    size_t pairs = (size_t)1 << ebb__map_depth(map);
    map->dir = dir;
    map->shift = (uint8_t)(64 - depth);
    map->version++;
    dir_forget(old, pairs);
    ebb__dir_usual(map);
}

int ebb__dir_double(ebb__map *map) {
    unsigned depth = ebb__map_depth(map);
    uint32_t since = ebb__map_release(map);
    ebb__dir *dir = dir_alloc(map, depth + 1);
    if (!ebb__map_resume(map, since)) return 0;
    if (!dir) return EBB_ENOMEM;
    for (size_t i = 0; i < (size_t)1 << depth; i++) dir[2 * i] = dir[2 * i + 1] = map->dir[i];
    dir_install(map, dir, depth + 1);
    map->deepest = 0;
    return 0;
}

static size_t dir_deepest(const ebb__dir *dir, unsigned depth) {
    size_t deepest = 0;
    for (size_t i = 0; i < (size_t)1 << depth; i += 2)
        if (!ebb__dir_same(dir[i], dir[i + 1])) deepest += 2;
    return deepest;
}

void ebb__dir_halve(ebb__map *map) {
    while (map->deepest == 0 && ebb__map_depth(map) > 1) {
        unsigned depth = ebb__map_depth(map) - 1;
        uint32_t since = ebb__map_release(map);
        ebb__dir *dir = dir_alloc(map, depth);
        if (!ebb__map_resume(map, since) || !dir) return;
        for (size_t i = 0; i < (size_t)1 << depth; i++) dir[i] = map->dir[2 * i];
        dir_install(map, dir, depth);
        map->deepest = dir_deepest(dir, depth);
    }
}
