/* test_map_memory.c - that a map gives its memory back, what statistics say of it, and what it does
 * when there is none. */
#include <ebb/ebb.h>

#include "modes.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

typedef struct wide {
    char at[128];
} wide;
typedef struct wider {
    char at[640];
} wider;
typedef struct node {
    struct node *next;
    int64_t number;
} node;
EBB_TYPE(node, ptr(next));
typedef struct holder {
    node *first;
    int64_t disguised;
} holder;
EBB_TYPE(holder, ptr(first));

EBB_MAP(longs, int64_t, int64_t);
EBB_MAP(wides, int, wide);
EBB_MAP(widers, int, wider);
EBB_MAP(nodes, int64_t, node *);
EBB_MAP(holders, int64_t, holder);
EBB_MAP(texts, ebb_str, ebb_str);

static struct ebb_stats stats_after_collect(void) {
    static struct ebb_stats s; /* not on the stack, where it would let older frames show through */
    test_clear_stack();
    CHECK_EQ(ebb_collect(), 0);
    test_clear_stack();
    CHECK_EQ(ebb_collect(), 0);
    ebb_stats(&s);
    return s;
}

/* --- Memory comes back -------------------------------------------------------------------------
 */

static NOINLINE void wides_fill_and_drain(wides *map, int count) {
    wide value = {{0}};
    for (int i = 0; i < count; i++) {
        memcpy(value.at, &i, sizeof i);
        CHECK_EQ(ebb_map_put(map, i, value), 0);
    }
    for (int i = 0; i < count; i++) CHECK(ebb_map_delete(map, i));
}

TEST(map_of_a_million_comes_back) {
    static wides map;
    wides_fill_and_drain(&map, 1000000 / (test_slow() ? 10 : 1));
    struct ebb_stats s = stats_after_collect();
    CHECK(map.map != NULL && ebb_map_len(&map) == 0);
    CHECK(s.live < MIB / 4);
    ebb_release();
    ebb_stats(&s);
    CHECK(s.heap_used < MIB && s.heap_free < MIB);
    wides_fill_and_drain(&map, 1000);
    ebb__map_check(map.map);
}

/* What it does not take to be empty: most of its entries gone. */
TEST(map_of_a_hundredth_takes_little) {
    static longs map;
    int64_t count = 1000000;
    for (int64_t i = 0; i < count; i++) CHECK_EQ(ebb_map_put(&map, i, i), 0);
    for (int64_t i = 0; i < count; i++)
        if (i % 100 != 0) CHECK(ebb_map_delete(&map, i));
    struct ebb_stats s = stats_after_collect();
    CHECK(s.live < 10000 * 16 * 6);
    for (int64_t i = 0; i < count; i += 100) CHECK_EQ(*ebb_map_get(&map, i), i);
}

static NOINLINE void widers_fill(widers *map, int count) {
    static wider value;
    for (int i = 0; i < count; i++) CHECK_EQ(ebb_map_put(map, i, value), 0);
}

static NOINLINE void widers_drain(widers *map, int count) {
    for (int i = 0; i < count; i++) CHECK(ebb_map_delete(map, i));
}

TEST(map_boxes_come_back) {
    static widers map;
    widers_fill(&map, 20000);
    struct ebb_stats full = stats_after_collect();
    CHECK(full.live > (size_t)20000 * 640);
    widers_drain(&map, 19900);
    struct ebb_stats s = stats_after_collect();
    CHECK(s.live < full.live / 20);
}

static NOINLINE void nodes_fill(nodes *map, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        node *n = ebb_new(node);
        n->number = i;
        CHECK_EQ(ebb_map_put(map, i, n), 0);
    }
}

/* Deleting zeroes: what an entry pointed to is free, though its slot stays. */
TEST(map_deleted_values_are_free) {
    static nodes map;
    nodes_fill(&map, 50000);
    CHECK_EQ(ebb_map_grow_only(&map), 0);
    struct ebb_stats full = stats_after_collect();
    for (int64_t i = 0; i < 50000; i++) {
        CHECK_EQ((*ebb_map_get(&map, i))->number, i);
        if (i % 50 != 0) CHECK(ebb_map_delete(&map, i));
    }
    struct ebb_stats s = stats_after_collect();
    CHECK(full.live_objects - s.live_objects > 48900);
    for (int64_t i = 0; i < 50000; i += 50) CHECK_EQ((*ebb_map_get(&map, i))->number, i);
}

/* Slots are followed as the value's type says: a number is not taken for a pointer. */
static NOINLINE void holders_fill(holders *map, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        holder h = {ebb_new(node), (int64_t)(intptr_t)ebb_new(node)};
        CHECK_EQ(ebb_map_put(map, i, h), 0);
    }
}

TEST(map_values_are_followed_as_described) {
    static holders map;
    holders_fill(&map, 20000);
    struct ebb_stats s = stats_after_collect();
    CHECK(s.live_objects > 20000 && s.live_objects < 21000);
}

static NOINLINE void texts_fill(texts *map, int count) {
    for (int i = 0; i < count; i++) {
        char *bytes = ebb_alloc_data(32);
        int length = snprintf(bytes, 32, "key number %d", i);
        ebb_str text = {bytes, (size_t)length};
        CHECK_EQ(ebb_map_put(map, text, text), 0);
    }
}

TEST(map_keeps_the_bytes_of_keys) {
    static texts map;
    char text[32];
    texts_fill(&map, 20000);
    stats_after_collect();
    for (int i = 0; i < 20000; i++) {
        snprintf(text, sizeof text, "key number %d", i);
        CHECK(ebb_map_has(&map, ebb_s(text)));
    }
    ebb_map_clear(&map);
    struct ebb_stats s = stats_after_collect();
    CHECK(s.live_objects < 200);
}

TEST(map_empty_slots_are_counted) {
    static longs map;
    struct ebb_stats s;
    CHECK_EQ(ebb_map_reserve(&map, 100000), 0);
    ebb_stats(&s);
    CHECK_EQ(s.map_empty, map.map->slots * 16);
    for (int64_t i = 0; i < 100000; i++) CHECK_EQ(ebb_map_put(&map, i, i), 0);
    ebb_stats(&s);
    CHECK_EQ(s.map_empty, (map.map->slots - 100000) * 16);
    CHECK(s.map_empty < s.live);
    ebb_map_reserve(&map, 0);
    ebb_map_clear(&map);
    stats_after_collect();
    ebb_stats(&s);
    CHECK_EQ(s.map_empty, 0);
}

/* A map inside a described type, and one that nobody holds any more. */
typedef struct cache {
    longs entries;
    int64_t hits;
} cache;
EBB_TYPE(cache, map(entries));

static NOINLINE cache *cache_make(void) {
    cache *c = ebb_new(cache);
    for (int64_t i = 0; i < 10000; i++) CHECK_EQ(ebb_map_put(&c->entries, i, i), 0);
    return c;
}

static NOINLINE void cache_read(cache *c) {
    for (int64_t i = 0; i < 10000; i++) CHECK_EQ(*ebb_map_get(&c->entries, i), i);
}

TEST(map_lives_as_long_as_its_holder) {
    static cache *kept;
    kept = cache_make();
    struct ebb_stats s = stats_after_collect();
    CHECK(s.live > 10000 * 17);
    cache_read(kept);
    kept = NULL;
    s = stats_after_collect();
    CHECK(s.live < 10000 * 17 / 2); /* a stale word may keep one table */
}

/* --- No memory ---------------------------------------------------------------------------------
 */

static void limit_now(void) {
    struct ebb_stats s;
    ebb_release();
    ebb_stats(&s);
    ebb_set_memory_limit(s.mapped - s.heap_returned + MIB);
}

TEST(map_without_memory_stays_as_it_is) {
    static longs map;
    int64_t count = 0, more = 0;
    int error = 0;
    for (; count < 200000; count++) CHECK_EQ(ebb_map_put(&map, count, count), 0);
    limit_now();
    while (more < 10000000 && (error = ebb_map_put(&map, count, count)) == 0) count++, more++;
    CHECK_EQ(error, EBB_ENOMEM);
    CHECK(ebb_map_get(&map, count) == NULL && ebb_map_len(&map) == (size_t)count);
    CHECK(ebb_map_entry(&map, count) == NULL);
    ebb__map_check(map.map);
    for (int64_t i = 0; i < count; i++) CHECK_EQ(*ebb_map_get(&map, i), i);
    for (int64_t i = 0; i < count; i += 2) CHECK(ebb_map_delete(&map, i));
    CHECK_EQ(ebb_map_put(&map, 0, 1), 0);
    ebb_set_memory_limit(SIZE_MAX);
    for (int64_t i = 0; i < count; i++) CHECK_EQ(ebb_map_put(&map, i, -i), 0);
    ebb__map_check(map.map);
}

/* The limit handler may use the map itself: here it drops the older entries, as a cache would; or
 * all of them. Few do not help: tables shrink when most of their entries have gone. */
static longs evicted;
static int64_t evict_from, evictions;

static bool evict_some(size_t size, void *arg) {
    static bool busy; /* the map wants memory to become smaller, and does without if need be */
    (void)size, (void)arg;
    if (busy) return false;
    busy = true;
    int64_t until = evict_from + (int64_t)ebb_map_len(&evicted) * 7 / 8;
    evictions++;
    for (; evict_from < until; evict_from++) CHECK(ebb_map_delete(&evicted, evict_from));
    busy = false;
    return true;
}

static bool evict_all(size_t size, void *arg) {
    (void)size, (void)arg;
    evictions++;
    evict_from = *(int64_t *)arg;
    ebb_map_clear(&evicted);
    return true;
}

TEST(map_evicts_in_the_limit_handler) {
    int64_t next = 0;
    for (; next < 400000; next++) CHECK_EQ(ebb_map_put(&evicted, next, next), 0);
    limit_now();
    ebb_set_limit_handler(evict_some, NULL);
    for (; next < 1000000; next++) CHECK_EQ(ebb_map_put(&evicted, next, next), 0);
    CHECK(evictions > 0);
    ebb__map_check(evicted.map);
    CHECK_EQ(ebb_map_len(&evicted), (size_t)(next - evict_from));
    for (int64_t i = evict_from; i < next; i++) CHECK_EQ(*ebb_map_get(&evicted, i), i);
    evictions = 0;
    ebb_set_limit_handler(evict_all, &next);
    for (; next < 2000000; next++) CHECK_EQ(ebb_map_put(&evicted, next, next), 0);
    CHECK(evictions > 0);
    ebb__map_check(evicted.map);
    for (int64_t i = evict_from; i < next; i++) CHECK_EQ(*ebb_map_get(&evicted, i), i);
}

/* A handler that puts the very key that is being put. */
static wider put_value;
static widers twice;
static int put_key;

static bool put_same(size_t size, void *arg) {
    static bool busy;
    (void)size, (void)arg;
    if (busy) return false;
    busy = true;
    for (int i = 0; i < put_key; i++) CHECK(ebb_map_delete(&twice, i));
    ebb_collect();
    CHECK_EQ(ebb_map_put(&twice, put_key, put_value), 0);
    evictions++;
    return true;
}

TEST(map_put_by_the_limit_handler_too) {
    for (; put_key < 3000; put_key++) CHECK_EQ(ebb_map_put(&twice, put_key, put_value), 0);
    limit_now();
    ebb_set_limit_handler(put_same, NULL);
    for (; put_key < 100000 && evictions == 0; put_key++)
        CHECK_EQ(ebb_map_put(&twice, put_key, put_value), 0);
    CHECK_EQ(evictions, 1);
    CHECK_EQ(ebb_map_len(&twice), 1);
    ebb__map_check(twice.map);
}

/* --- Any single allocation may fail ------------------------------------------------------------
 */

/* Up and down, and whatever fails is tried again. */
TEST(map_with_one_failure) {
    static texts map;
    static widers boxed;
    static wider value;
    static char text[6000][16];
    int failures = 0;
    for (int i = 0; i < 6000; i++) {
        snprintf(text[i], sizeof text[i], "%d", i);
        ebb_str key = ebb_s(text[i]);
        while (ebb_map_put(&map, key, key) != 0) {
            ebb__map_check(map.map);
            CHECK(!ebb_map_has(&map, key) && ebb_map_len(&map) == (size_t)i);
            CHECK(++failures == 1);
        }
        while (i < 1000 && ebb_map_put(&boxed, i, value) != 0) {
            ebb__map_check(boxed.map);
            CHECK(!ebb_map_has(&boxed, i) && ++failures == 1);
        }
    }
    ebb__map_check(map.map);
    ebb_map_compact(&map);
    ebb__map_check(map.map);
    for (int i = 0; i < 6000; i++) {
        CHECK(ebb_map_delete(&map, ebb_s(text[i])));
        if (i % 100 == 0) ebb__map_check(map.map);
    }
    ebb__map_check(map.map);
    CHECK(map.map->slots <= 16);
}

/* Two tables that merge while an iteration stands in one of them. Without memory for a third the
 * other one takes all, and what the iteration stands in stays as it is. */
TEST(map_merge_with_one_failure) {
    static longs map;
    static uint8_t seen[2000];
    int64_t keys = 0, met = 0;
    for (; !map.map || map.map->tables < 2; keys++)
        while (ebb_map_put(&map, keys, keys) != 0) {
        }
    ebb_map_each (&map, key, value) {
        CHECK(key == value && seen[key]++ == 0);
        if (++met != 20) continue;
        for (int64_t k = 0; k < keys && map.map->tables == 2; k++)
            if (ebb_map_delete(&map, k)) seen[k] += 2;
        ebb__map_check(map.map);
    }
    for (int64_t k = 0; k < keys; k++) CHECK(seen[k] == 1 || seen[k] == 2 || seen[k] == 3);
    for (int64_t k = 0; k < keys; k++) CHECK_EQ(ebb_map_has(&map, k), seen[k] == 1);
    ebb__map_check(map.map);
}

static void fail_nth(const char *test, unsigned n) {
    static modes_result result;
    char debug[64];
    snprintf(debug, sizeof debug, "failalloc=%u,verify=1", n);
    CHECK_EQ(modes_run(&result, test, debug, NULL), 0);
    if (result.status != 0) test_fail(__FILE__, __LINE__, "%s: %s", debug, result.text);
}

TEST(map_with_any_failure) {
    uint64_t random = test_seed();
    for (unsigned n = 1; n < 2000; n += 1 + (unsigned)test_random_below(&random, n / 4 + 2))
        fail_nth("map_with_one_failure", n);
    for (unsigned n = 0; n < 80; n++) fail_nth("map_merge_with_one_failure", 10 + n / 4);
}

/* --- Collections at the worst moments ----------------------------------------------------------
 */

TEST(map_under_stress) {
    static nodes map;
    static texts named;
    int count = test_slow() ? 200 : 2500;
    for (int round = 0; round < 2; round++) {
        nodes_fill(&map, count);
        texts_fill(&named, count);
        for (int64_t i = 0; i < count; i++) CHECK_EQ((*ebb_map_get(&map, i))->number, i);
        ebb_map_each (&named, key, value) CHECK(key.ptr == value.ptr && key.ptr[0] == 'k');
        for (int64_t i = 0; i < count; i++) CHECK(ebb_map_delete(&map, i));
        ebb__map_check(map.map);
        ebb_map_clear(&named);
    }
}

TEST(map_under_stress_modes) {
    static modes_result result;
    const char *modes[] = {"stress=7,verify=1", "stress=50"};
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(modes_run(&result, "map_under_stress", modes[i], NULL), 0);
        if (result.status != 0) test_fail(__FILE__, __LINE__, "%s: %s", modes[i], result.text);
    }
}
