/* peer_map_absl.h - Abseil's flat_hash_map with its own hash; strings by string_view, so that it
 * copies no key, as no other side does. C++. */
#ifndef EBB_BENCH_PEER_MAP_H
#define EBB_BENCH_PEER_MAP_H

#include <absl/container/flat_hash_map.h>
#include <absl/strings/string_view.h>
#include <malloc.h>

#include "map.h"

#if MAP_STRINGS
using peer_key = absl::string_view;
# define PEER_KEY(key) peer_key((key).ptr, (key).len)
#else
using peer_key = int64_t;
# define PEER_KEY(key) (key)
#endif

using peer_map = absl::flat_hash_map<peer_key, int64_t> *;

static void peer_make(peer_map *map) {
    *map = new absl::flat_hash_map<peer_key, int64_t>();
}

static void peer_destroy(peer_map *map) {
    delete *map;
}

static inline bool peer_put(peer_map *map, map_key key, int64_t value) {
    (**map)[PEER_KEY(key)] = value;
    return true;
}

static inline bool peer_get(peer_map *map, map_key key, int64_t *value) {
    auto found = (*map)->find(PEER_KEY(key));
    if (found == (*map)->end()) return false;
    *value = found->second;
    return true;
}

static inline bool peer_delete(peer_map *map, map_key key) {
    return (*map)->erase(PEER_KEY(key)) == 1;
}

static int64_t peer_sum(peer_map *map, size_t *count) {
    int64_t sum = 0;
    for (const auto &entry : **map) {
        sum += entry.second;
        ++*count;
    }
    return sum;
}

BENCH_UNUSED static void *peer_block(size_t size) {
    return malloc(size);
}

static void peer_settle(void) {
    (void)malloc_trim(0);
}

#endif
