/* peer_map_ebb.h - Ebb's map, from its own typed macros; the collector has what it forgets. */
#ifndef EBB_BENCH_PEER_MAP_H
#define EBB_BENCH_PEER_MAP_H

#include <ebb/ebb.h>

#include "map.h"

#if MAP_STRINGS
EBB_MAP(peer_map, ebb_str, int64_t);
# define PEER_KEY(key) ((ebb_str){(key).ptr, (key).len})
#else
EBB_MAP(peer_map, int64_t, int64_t);
# define PEER_KEY(key) (key)
#endif

static void peer_make(peer_map *map) {
    *map = (peer_map){0};
}

static void peer_destroy(peer_map *map) {
    *map = (peer_map){0};
}

static inline bool peer_put(peer_map *map, map_key key, int64_t value) {
    return ebb_map_put(map, PEER_KEY(key), value) == 0;
}

static inline bool peer_get(peer_map *map, map_key key, int64_t *value) {
    const int64_t *found = ebb_map_get(map, PEER_KEY(key));
    if (found == NULL) return false;
    *value = *found;
    return true;
}

static inline bool peer_delete(peer_map *map, map_key key) {
    return ebb_map_delete(map, PEER_KEY(key));
}

static int64_t peer_sum(peer_map *map, size_t *count) {
    int64_t sum = 0;
    ebb_map_each (map, key, value) {
        sum += value;
        ++*count;
    }
    return sum;
}

BENCH_UNUSED static void *peer_block(size_t size) {
    return ebb_alloc_data(size);
}

static void peer_settle(void) {
    (void)ebb_release();
}

#endif
