/* census.c - all maps, found among the heap's objects: for those who ask what maps hold and do not
 * use. docs/design.md, "Accounting".
 *
 * A map is an object that names one of the known shapes and has a directory; tables are found
 * through it, because a control object does not know where its slots are. */
#include "map.h"

struct census {
    void (*visit)(const map_table *table, void *arg);
    void *arg;
};

static void census_table(const struct census *census, const ebb__map *map, ebb__dir dir,
                         bool spare) {
    map_table t = {.map = map, .spare = spare, .slots = (uintptr_t)ebb__dir_slots(dir)};
    if (dir.ctrl == 0 || t.slots == 0) return;
    t.table = ebb__dir_table(dir);
    if (ebb__table_is(t.table, sizeof *t.table)) census->visit(&t, census->arg);
}

/* Pairs in a row may be one table. */
static void census_map(void *start, size_t size, void *arg) {
    const struct census *census = arg;
    const ebb__map *map = start;
    if (size < sizeof *map || !ebb__map_shape_is(map->shape) || map->shift > 63 || !map->dir)
        return;
    if (map->dir != map->self && ebb_base_of(map->dir) != map->dir) return;
    for (size_t i = 0; i < (size_t)1 << ebb__map_depth(map); i++)
        if (i == 0 || !ebb__dir_same(map->dir[i], map->dir[i - 1]))
            census_table(census, map, map->dir[i], false);
    census_table(census, map, map->spare, true);
}

void ebb__map_each_table(void (*visit)(const map_table *table, void *arg), void *arg) {
    struct census census = {visit, arg};
    ebb__heap_each(EBB__USE_MAP, census_map, &census);
}
