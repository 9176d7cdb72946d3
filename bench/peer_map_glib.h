/* peer_map_glib.h - GLib's GHashTable: integers in the pointers themselves, its quickest form, and
 * strings hashed by g_str_hash. */
#ifndef EBB_BENCH_PEER_MAP_H
#define EBB_BENCH_PEER_MAP_H

#include <glib.h>
#include <malloc.h>

#include "map.h"

typedef GHashTable *peer_map;

#if MAP_STRINGS
# define PEER_KEY(key) ((gpointer)(uintptr_t)(key).ptr)
#else
# define PEER_KEY(key) ((gpointer)(key))
#endif

static void peer_make(peer_map *map) {
#if MAP_STRINGS
    *map = g_hash_table_new(g_str_hash, g_str_equal);
#else
    *map = g_hash_table_new(g_direct_hash, g_direct_equal);
#endif
}

static void peer_destroy(peer_map *map) {
    g_hash_table_destroy(*map);
}

static inline bool peer_put(peer_map *map, map_key key, int64_t value) {
    g_hash_table_insert(*map, PEER_KEY(key), (gpointer)value);
    return true;
}

static inline bool peer_get(peer_map *map, map_key key, int64_t *value) {
    gpointer found;
    if (!g_hash_table_lookup_extended(*map, PEER_KEY(key), NULL, &found)) return false;
    *value = (int64_t)found;
    return true;
}

static inline bool peer_delete(peer_map *map, map_key key) {
    return g_hash_table_remove(*map, PEER_KEY(key));
}

static int64_t peer_sum(peer_map *map, size_t *count) {
    GHashTableIter iter;
    gpointer key, value;
    int64_t sum = 0;
    g_hash_table_iter_init(&iter, *map);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        sum += (int64_t)value;
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
