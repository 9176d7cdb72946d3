/* test_map_change.c - iteration while tables merge, split and are replaced, in the situations that
 * random steps hardly ever reach; and that no operation moves more than one table's entries. */
#include <ebb/ebb.h>

#include "test.h"

EBB_MAP(longs, int64_t, int64_t);

enum { KEYS = 1 << 14 };

static uint8_t seen[KEYS];
static bool gone[KEYS];

static size_t tables(const longs *map) {
    return map->map->tables;
}

static void see(const longs *map, int64_t key, int64_t value) {
    CHECK(key == value && ebb_map_has(map, key));
    CHECK(++seen[key] == 1);
}

static void change_begin(void) {
    memset(seen, 0, sizeof seen);
    memset(gone, 0, sizeof gone);
}

static void change_delete(longs *map, int64_t key) {
    if (ebb_map_delete(map, key)) gone[key] = true;
}

static void change_end(const longs *map, int64_t keys) {
    for (int64_t key = 0; key < keys; key++) CHECK(gone[key] || seen[key] == 1);
    ebb__map_check(map->map);
}

/* Entries for `count` tables or so, so few of them that the next deletes merge tables. Returns how
 * many keys were used. */
static int64_t sparse(longs *map, size_t count, uint64_t *random) {
    int64_t keys = 0;
    CHECK_EQ(ebb_map_pause_shrinking(map, true), 0);
    while (keys == 0 || tables(map) < count) {
        CHECK_EQ(ebb_map_put(map, keys, keys), 0);
        keys++;
    }
    size_t left = map->map->slots / 5 + test_random_below(random, map->map->slots / 8);
    while (ebb_map_len(map) > left) change_delete(map, (int64_t)test_random_below(random, KEYS));
    CHECK_EQ(ebb_map_pause_shrinking(map, false), 0);
    return keys;
}

/* --- Merging -----------------------------------------------------------------------------------
 */

/* The iterator has shown part of a table when that is merged with its buddy, which it has not
 * reached, or has left behind. Were the buddy's entries put into the table where the iterator
 * stands, some would be shown now and once more later. */
static void merge_during_each(size_t count, uint64_t *random, size_t *merged) {
    longs map = {0};
    change_begin();
    int64_t keys = sparse(&map, count, random);
    uint64_t pause = test_random_below(random, ebb_map_len(&map) + 1);
    ebb_map_each (&map, key, value) {
        see(&map, key, value);
        if (pause-- != 0) continue;
        size_t before = tables(&map);
        while (tables(&map) == before && ebb_map_len(&map) > 0)
            change_delete(&map, (int64_t)test_random_below(random, (uint64_t)keys));
        *merged += tables(&map) < before;
        if (test_random_below(random, 2)) pause = test_random_below(random, 200);
    }
    change_end(&map, keys);
}

TEST(map_merge_during_each) {
    uint64_t random = test_seed();
    size_t merged = 0;
    for (size_t round = 0; round < 400 * test_scale(); round++)
        merge_during_each(2 + round % 7, &random, &merged);
    CHECK(merged > 200);
}

/* The same with all that stands between the iterator and the end of its table taken away first:
 * entries of the buddy then would land right before it. */
TEST(map_merge_into_the_way) {
    uint64_t random = test_seed();
    for (size_t round = 0; round < 200 * test_scale(); round++) {
        longs map = {0};
        change_begin();
        int64_t keys = sparse(&map, 2, &random);
        size_t met = 0, stop = test_random_below(&random, 100);
        ebb_map_each (&map, key, value) {
            see(&map, key, value);
            if (met++ != stop) continue;
            for (int64_t k = 0; k < keys && tables(&map) > 1; k++)
                if (seen[k]) change_delete(&map, k);
            for (int64_t k = 0; k < keys && tables(&map) > 1; k++)
                if (test_random_below(&random, 3)) change_delete(&map, k);
        }
        change_end(&map, keys);
    }
}

/* --- Splitting ---------------------------------------------------------------------------------
 */

TEST(map_split_during_each) {
    uint64_t random = test_seed();
    for (size_t round = 0; round < 100 * test_scale(); round++) {
        longs map = {0};
        change_begin();
        int64_t keys = 100 + (int64_t)test_random_below(&random, 3000), next = keys;
        for (int64_t key = 0; key < keys; key++) CHECK_EQ(ebb_map_put(&map, key, key), 0);
        uint64_t pause = test_random_below(&random, (uint64_t)keys);
        ebb_map_each (&map, key, value) {
            see(&map, key, value);
            if (pause-- != 0) continue;
            size_t before = tables(&map);
            while (tables(&map) < 4 * before && next < KEYS) {
                CHECK_EQ(ebb_map_put(&map, next, next), 0);
                next++;
            }
        }
        change_end(&map, keys);
    }
}

/* Up and down again within the same table's share, several times. */
TEST(map_grow_and_shrink_during_each) {
    uint64_t random = test_seed();
    for (size_t round = 0; round < 20 * test_scale(); round++) {
        longs map = {0};
        change_begin();
        int64_t keys = 500 + (int64_t)test_random_below(&random, 1500);
        for (int64_t key = 0; key < keys; key++) CHECK_EQ(ebb_map_put(&map, key, key), 0);
        uint64_t met = 0;
        ebb_map_each (&map, key, value) {
            if (key >= keys) continue;
            see(&map, key, value);
            if (++met % 300 != 0) continue;
            for (int64_t k = keys; k < KEYS; k++) CHECK_EQ(ebb_map_put(&map, k, k), 0);
            for (int64_t k = keys; k < KEYS; k++) CHECK(ebb_map_delete(&map, k));
            if (test_random_below(&random, 2)) CHECK_EQ(ebb_map_compact(&map), 0);
        }
        change_end(&map, keys);
    }
}

/* Two loops at once, the inner one changing what the outer one stands on. */
TEST(map_each_within_each) {
    uint64_t random = test_seed();
    longs map = {0};
    change_begin();
    int64_t keys = 3000, outer = 0;
    for (int64_t key = 0; key < keys; key++) CHECK_EQ(ebb_map_put(&map, key, key), 0);
    ebb_map_each (&map, key, value) {
        see(&map, key, value);
        if (++outer % 100 != 0) continue;
        size_t inner = 0, len = ebb_map_len(&map);
        ebb_map_each (&map, k, v) {
            CHECK(k == v);
            inner++;
            if (inner <= len && test_random_below(&random, 20) == 0) change_delete(&map, k);
        }
        CHECK_EQ(inner, len);
    }
    change_end(&map, keys);
}

/* A collection in the middle: the table that the loop stands in was discarded, but is still there.
 */
TEST(map_collect_during_each) {
    uint64_t random = test_seed();
    longs map = {0};
    change_begin();
    int64_t keys = 5000, met = 0;
    for (int64_t key = 0; key < keys; key++) CHECK_EQ(ebb_map_put(&map, key, key), 0);
    ebb_map_each (&map, key, value) {
        see(&map, key, value);
        if (++met % 250 != 0) continue;
        for (int i = 0; i < 1000; i++)
            change_delete(&map, (int64_t)test_random_below(&random, (uint64_t)keys));
        CHECK_EQ(ebb_collect(), 0);
        for (size_t i = 0; i < 1000; i++) CHECK(ebb_alloc(i % 512) && ebb_alloc_data(8192));
    }
    change_end(&map, keys);
}

/* --- One table at a time -----------------------------------------------------------------------
 */

TEST(map_moves_one_table_at_a_time) {
    struct ebb_stats s;
    longs map = {0};
    for (int64_t i = 0; i < 1000000; i++) CHECK_EQ(ebb_map_put(&map, i, i), 0);
    for (int64_t i = 0; i < 1000000; i++) CHECK(ebb_map_delete(&map, i));
    ebb_stats(&s);
    CHECK(s.map_moved_max > 0 && s.map_moved_max <= s.map_table_max);
    CHECK(s.map_table_max <= 1024);
}
