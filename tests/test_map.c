/* test_map.c - what the calls of map.h do, for every kind of key, and what they refuse. */
#include <ebb/ebb.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "test.h"

typedef struct point {
    int32_t x, y;
} point;

typedef struct user {
    ebb_str name;
    struct user *referrer;
} user;
EBB_TYPE(user, str(name), ptr(referrer));

typedef struct padded {
    char tag;
    int64_t number;
} padded;

typedef struct bytes120 {
    char at[120];
} bytes120;
typedef struct bytes128 {
    char at[128];
} bytes128;
typedef struct bytes129 {
    char at[129];
} bytes129;
typedef struct bytes640 {
    char at[640];
} bytes640;

EBB_MAP(by_name, ebb_str, user *);
EBB_MAP(ints, int, int);
EBB_MAP(longs, int64_t, int64_t);
EBB_MAP(flags, bool, char);
EBB_MAP(points, point, double);
EBB_MAP(paddeds, padded, int);
EBB_MAP(floats, float, int);
EBB_MAP(doubles, double, int);
EBB_MAP(addresses, void *, int);
EBB_MAP(texts, ebb_str, ebb_str);
EBB_MAP(wide120, bytes120, bytes120);
EBB_MAP(wide128, bytes128, bytes128);
EBB_MAP(wide129, bytes129, bytes129);
EBB_MAP(wide640, bytes640, bytes640);

/* --- Entries ---------------------------------------------------------------------------------- */

TEST(map_put_get_delete) {
    by_name index = {0};
    user *ann = ebb_new(user);
    CHECK(ebb_map_get(&index, ebb_s("ann")) == NULL);
    CHECK(!ebb_map_delete(&index, ebb_s("ann")));
    CHECK_EQ(ebb_map_len(&index), 0);
    CHECK_EQ(ebb_map_put(&index, ebb_s("ann"), ann), 0);
    CHECK_EQ(ebb_map_len(&index), 1);
    char elsewhere[] = "ann";
    user **found = ebb_map_get(&index, ebb_s(elsewhere));
    CHECK(found && *found == ann);
    CHECK(ebb_map_has(&index, ebb_s("ann")) && !ebb_map_has(&index, ebb_s("an")));
    CHECK_EQ(ebb_map_put(&index, ebb_s("ann"), NULL), 0);
    user *copy = ann;
    CHECK(ebb_map_get_copy(&index, ebb_s("ann"), &copy) && copy == NULL);
    CHECK(!ebb_map_get_copy(&index, ebb_s("bob"), &copy));
    CHECK(ebb_map_delete(&index, ebb_s("ann")));
    CHECK_EQ(ebb_map_len(&index), 0);
    CHECK(ebb_map_get(&index, ebb_s("ann")) == NULL);
}

TEST(map_entry_counts) {
    ints counts = {0};
    for (int i = 0; i < 1000; i++) ++*ebb_map_entry(&counts, i % 10);
    for (int i = 0; i < 10; i++) CHECK_EQ(*ebb_map_get(&counts, i), 100);
    CHECK(ebb_map_delete(&counts, 3));
    CHECK_EQ(*ebb_map_entry(&counts, 3), 0);
    CHECK_EQ(*ebb_map_get_or_put(&counts, 4, -1), 100);
    CHECK_EQ(*ebb_map_get_or_put(&counts, 11, -1), -1);
    CHECK_EQ(ebb_map_len(&counts), 11);
}

/* Arguments with side effects, compound literals, calls within calls, a handle by pointer. */
static int fetched;
static ints *fetch(ints *map) {
    fetched++;
    return map;
}

TEST(map_macros_evaluate_once) {
    ints map = {0};
    points places = {0};
    int next = 0;
    CHECK_EQ(ebb_map_put(fetch(&map), next++, next), 0);
    CHECK(fetched == 1 && next == 1 && ebb_map_len(fetch(&map)) == 1 && fetched == 2);
    CHECK_EQ(ebb_map_put(&map, 1, 0), 0);
    CHECK_EQ(*ebb_map_get(&map, *ebb_map_get(&map, 1)), *ebb_map_get(&map, 0));
    CHECK_EQ(ebb_map_put(&places, ((point){1, 2}), 3.5), 0);
    CHECK(*ebb_map_get(&places, (point){1, 2}) == 3.5);
    CHECK(ebb_map_get(&places, (point){2, 1}) == NULL);
    const ints *reader = &map;
    CHECK(ebb_map_has(reader, 1) && ebb_map_len(reader) == 2);
}

TEST(map_copy_of_handle_is_the_same_map) {
    longs a = {0};
    CHECK_EQ(ebb_map_put(&a, 1, 10), 0);
    longs b = a;
    for (int64_t i = 0; i < 5000; i++) CHECK_EQ(ebb_map_put(&b, i, i), 0);
    CHECK_EQ(ebb_map_len(&a), 5000);
    CHECK_EQ(*ebb_map_get(&a, 4999), 4999);
}

/* --- Kinds of keys -----------------------------------------------------------------------------
 */

TEST(map_integers_of_every_size) {
    flags both = {0};
    CHECK_EQ(ebb_map_put(&both, true, 'y'), 0);
    CHECK_EQ(ebb_map_put(&both, false, 'n'), 0);
    CHECK(*ebb_map_get(&both, true) == 'y' && *ebb_map_get(&both, false) == 'n');
    longs map = {0};
    for (int shift = 0; shift < 64; shift++)
        CHECK_EQ(ebb_map_put(&map, (int64_t)((uint64_t)1 << shift), shift), 0);
    CHECK_EQ(ebb_map_put(&map, -1, 64), 0);
    for (int shift = 0; shift < 64; shift++)
        CHECK_EQ(*ebb_map_get(&map, (int64_t)((uint64_t)1 << shift)), shift);
    CHECK(ebb_map_get(&map, 0) == NULL && *ebb_map_get(&map, -1) == 64);
}

TEST(map_floats_by_value) {
    floats map = {0};
    doubles wide = {0};
    CHECK_EQ(ebb_map_put(&map, 0.0f, 1), 0);
    CHECK_EQ(ebb_map_put(&map, -0.0f, 2), 0);
    CHECK_EQ(ebb_map_put(&wide, -0.0, 3), 0);
    CHECK_EQ(ebb_map_put(&wide, 0.5, 4), 0);
    CHECK_EQ(ebb_map_put(&wide, (double)NAN, 5), 0);
    CHECK_EQ(ebb_map_len(&map), 1);
    CHECK(*ebb_map_get(&map, 0.0f) == 2 && *ebb_map_get(&wide, 0.0) == 3);
    CHECK(*ebb_map_get(&wide, 0.5) == 4 && *ebb_map_get(&wide, (double)NAN) == 5);
    ebb_map_each (&map, key, value) CHECK(!signbit(key) && value == 2);
}

/* With gcc whatever lies in the padding does not matter; elsewhere it has to be zero. */
TEST(map_structures_by_bytes) {
    paddeds map = {0};
    for (int round = 0; round < 200; round++) {
        padded key;
#ifdef __clang__
        memset(&key, 0, sizeof key);
#else
        memset(&key, round, sizeof key);
#endif
        key.tag = (char)(round % 3);
        key.number = round % 5;
        ++*ebb_map_entry(&map, key);
    }
    CHECK_EQ(ebb_map_len(&map), 15);
}

TEST(map_strings_of_every_length) {
    enum { MOST = 200 };
    static char text[2 * MOST + 2];
    texts map = {0};
    memset(text, 'a', sizeof text);
    for (size_t n = 0; n <= MOST; n++)
        CHECK_EQ(ebb_map_put(&map, ((ebb_str){text, n}), ((ebb_str){text, n})), 0);
    CHECK_EQ(ebb_map_len(&map), MOST + 1);
    for (size_t n = 0; n <= MOST; n++) {
        CHECK_EQ(ebb_map_get(&map, (ebb_str){text + MOST, n})->len, n);
        for (size_t i = 0; i < n; i++) { /* one character that differs, anywhere */
            text[MOST + i] = 'b';
            CHECK(!ebb_map_has(&map, (ebb_str){text + MOST, n}));
            text[MOST + i] = 'a';
        }
    }
    CHECK_EQ(ebb_map_get(&map, (ebb_str){NULL, 0})->len, 0);
}

TEST(map_pointers_by_address) {
    addresses map = {0};
    char *objects[300];
    for (int i = 0; i < 300; i++) {
        objects[i] = ebb_alloc(16);
        CHECK_EQ(ebb_map_put(&map, objects[i], i), 0);
    }
    for (int i = 0; i < 300; i++) CHECK_EQ(*ebb_map_get(&map, objects[i]), i);
    CHECK(ebb_map_get(&map, NULL) == NULL);
}

/* Keys and values at and around the size up to which they lie in the slot. */
#define WIDE_TEST(map_type, wide)                              \
 TEST(map_of_##wide) {                                         \
  map_type map = {0};                                          \
  wide key, value;                                             \
  memset(&key, 0, sizeof key);                                 \
  memset(&value, 0, sizeof value);                             \
  for (int i = 0; i < 3000; i++) {                             \
   memcpy(key.at + sizeof key - sizeof i, &i, sizeof i);       \
   memset(value.at, i, sizeof value);                          \
   CHECK_EQ(ebb_map_put(&map, key, value), 0);                 \
  }                                                            \
  for (int i = 0; i < 3000; i += 2) {                          \
   memcpy(key.at + sizeof key - sizeof i, &i, sizeof i);       \
   CHECK(ebb_map_delete(&map, key));                           \
  }                                                            \
  ebb_collect();                                               \
  for (int i = 0; i < 3000; i++) {                             \
   memcpy(key.at + sizeof key - sizeof i, &i, sizeof i);       \
   wide *found = ebb_map_get(&map, key);                       \
   CHECK_EQ(found != NULL, i % 2);                             \
   memset(value.at, i, sizeof value);                          \
   if (found) CHECK(memcmp(found, &value, sizeof value) == 0); \
  }                                                            \
  size_t seen = 0;                                             \
  ebb_map_each (&map, k, v) {                                  \
   int i;                                                      \
   memcpy(&i, k.at + sizeof k - sizeof i, sizeof i);           \
   CHECK(v.at[0] == (char)i && v.at[sizeof v - 1] == (char)i); \
   seen++;                                                     \
  }                                                            \
  CHECK_EQ(seen, 1500);                                        \
  ebb__map_check(map.map);                                     \
 }
WIDE_TEST(wide120, bytes120)
WIDE_TEST(wide128, bytes128)
WIDE_TEST(wide129, bytes129)
WIDE_TEST(wide640, bytes640)

/* --- The program's own hash --------------------------------------------------------------------
 */

static uint64_t caseless_hash(ebb_str s) {
    uint64_t h = 0;
    for (size_t i = 0; i < s.len; i++) h = h * 31 + (uint64_t)(s.ptr[i] | 32);
    return h;
}
static bool caseless_equal(ebb_str a, ebb_str b) {
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++)
        if ((a.ptr[i] | 32) != (b.ptr[i] | 32)) return false;
    return true;
}
EBB_MAP_HASHED(headers, ebb_str, int, caseless_hash, caseless_equal);

static uint64_t same_hash(int key) {
    return (uint64_t)key / 100000;
}
static bool int_equal(int a, int b) {
    return a == b;
}
EBB_MAP_HASHED(clumped, int, int, same_hash, int_equal);

TEST(map_hashed_by_the_program) {
    headers map = {0};
    CHECK_EQ(ebb_map_put(&map, ebb_s("Content-Type"), 1), 0);
    CHECK_EQ(ebb_map_put(&map, ebb_s("CONTENT-TYPE"), 2), 0);
    CHECK_EQ(ebb_map_len(&map), 1);
    CHECK_EQ(*ebb_map_get(&map, ebb_s("content-type")), 2);
    ebb_map_each (&map, key, value) CHECK(value == 2 && memcmp(key.ptr, "Content-Type", 12) == 0);
}

/* Keys that all share their hash: one table takes them, however large, and the directory does not
 * try to tell them apart. */
TEST(map_equal_hashes_stay_in_one_table) {
    enum { KEYS = 20000 };
    clumped map = {0};
    for (int i = 0; i < KEYS; i++) CHECK_EQ(ebb_map_put(&map, i, i), 0);
    ebb__map_check(map.map);
    CHECK(64u - map.map->shift <= 10);
    CHECK(map.map->slots < 3 * KEYS);
    for (int i = 0; i < KEYS; i += 7) CHECK_EQ(*ebb_map_get(&map, i), i);
    for (int i = 0; i < KEYS; i++) CHECK(ebb_map_delete(&map, i));
    ebb__map_check(map.map);
    CHECK(map.map->slots <= 16 && map.map->shift == 63);
}

/* Few different hashes, many keys each, beside keys that are spread well. */
TEST(map_bad_hash_among_good_keys) {
    clumped map = {0};
    for (int i = 0; i < 3000; i++) CHECK_EQ(ebb_map_put(&map, i, i), 0);
    for (int i = 1; i < 4000; i++) CHECK_EQ(ebb_map_put(&map, i * 100000, i), 0);
    ebb__map_check(map.map);
    for (int i = 0; i < 3000; i++) CHECK_EQ(*ebb_map_get(&map, i), i);
    for (int i = 1; i < 4000; i++) CHECK_EQ(*ebb_map_get(&map, i * 100000), i);
    for (int i = 0; i < 3000; i++) CHECK(ebb_map_delete(&map, i));
    ebb__map_check(map.map);
    CHECK_EQ(ebb_map_len(&map), 3999);
}

/* --- Loops -------------------------------------------------------------------------------------
 */

TEST(map_each_breaks_and_continues) {
    ints map = {0};
    for (int i = 0; i < 3000; i++) CHECK_EQ(ebb_map_put(&map, i, -i), 0);
    int seen = 0, even = 0;
    ebb_map_each (&map, key, value) {
        CHECK_EQ(key, -value);
        if (++seen == 1000) break;
    }
    CHECK_EQ(seen, 1000);
    seen = 0;
    ebb_map_each (&map, key, value) {
        seen++;
        if (value % 2) continue;
        even++;
        (void)key;
    }
    CHECK(seen == 3000 && even == 1500);
    ebb_map_each_ref(&map, key, at) *at = key;
    CHECK_EQ(*ebb_map_get(&map, 77), 77);
    seen = 0;
    ebb_map_each (&map, outer, a) {
        ebb_map_each (&map, inner, b) {
            CHECK(outer == a && inner == b);
            if (++seen % 10 == 0) break;
        }
        if (seen == 100) break;
    }
    CHECK_EQ(seen, 100);
    ints none = {0};
    ebb_map_each (&none, key, value) CHECK(key == value && false);
}

TEST(map_each_deletes_everything) {
    longs map = {0};
    for (int64_t i = 0; i < 50000; i++) CHECK_EQ(ebb_map_put(&map, i, i), 0);
    int64_t seen = 0;
    ebb_map_each (&map, key, value) {
        CHECK_EQ(key, value);
        CHECK(ebb_map_delete(&map, key));
        seen++;
    }
    CHECK(seen == 50000 && ebb_map_len(&map) == 0);
    ebb__map_check(map.map);
}

/* The order differs from one iteration to the next. */
TEST(map_each_in_another_order) {
    ints map = {0};
    for (int i = 0; i < 8; i++) CHECK_EQ(ebb_map_put(&map, i, i), 0);
    uint32_t firsts = 0;
    for (int round = 0; round < 2000; round++)
        ebb_map_each (&map, key, value) {
            firsts |= (uint32_t)1 << value;
            (void)key;
            break;
        }
    CHECK((firsts & (firsts - 1)) != 0);
}

TEST(map_clear_during_each) {
    longs map = {0};
    for (int64_t i = 0; i < 5000; i++) CHECK_EQ(ebb_map_put(&map, i, i), 0);
    int64_t seen = 0;
    ebb_map_each (&map, key, value) {
        CHECK(key == value);
        if (++seen == 100) ebb_map_clear(&map);
    }
    CHECK(seen == 100 && ebb_map_len(&map) == 0);
}

/* --- Policies ----------------------------------------------------------------------------------
 */

static void fill(longs *map, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) CHECK_EQ(ebb_map_put(map, i, i), 0);
}

static void drain(longs *map, int64_t from, int64_t to) {
    for (int64_t i = from; i < to; i++) CHECK(ebb_map_delete(map, i));
}

TEST(map_reserve_keeps_room) {
    longs map = {0};
    CHECK_EQ(ebb_map_reserve(&map, 100000), 0);
    size_t slots = map.map->slots, tables = map.map->tables;
    CHECK(slots >= 100000 && slots < 300000);
    for (int round = 0; round < 2; round++) {
        fill(&map, 0, 100000);
        CHECK(map.map->tables == tables && map.map->slots == slots);
        drain(&map, 0, 100000);
        CHECK(map.map->slots == slots);
        ebb_map_clear(&map);
        CHECK(map.map->slots == slots);
        ebb__map_check(map.map);
    }
    fill(&map, 0, 1000);
    CHECK_EQ(ebb_map_reserve(&map, 0), 0);
    CHECK_EQ(ebb_map_compact(&map), 0);
    CHECK(map.map->slots <= 1300);
    ebb__map_check(map.map);
    for (size_t n = 1; n < 100; n++) {
        longs small = {0};
        CHECK_EQ(ebb_map_reserve(&small, n), 0);
        slots = small.map->slots;
        fill(&small, 0, (int64_t)n);
        CHECK_EQ(small.map->slots, slots);
        ebb__map_check(small.map);
    }
}

TEST(map_pause_keeps_tables) {
    longs map = {0};
    fill(&map, 0, 100000);
    size_t slots = map.map->slots;
    CHECK_EQ(ebb_map_pause_shrinking(&map, true), 0);
    drain(&map, 0, 100000);
    CHECK_EQ(map.map->slots, slots);
    fill(&map, 0, 100000);
    CHECK_EQ(map.map->slots, slots);
    CHECK_EQ(ebb_map_pause_shrinking(&map, false), 0);
    drain(&map, 0, 100000);
    CHECK(map.map->slots <= 16);
    ebb__map_check(map.map);
}

TEST(map_grow_only_does_as_go) {
    longs map = {0};
    CHECK_EQ(ebb_map_grow_only(&map), 0);
    fill(&map, 0, 100000);
    size_t slots = map.map->slots;
    drain(&map, 0, 100000);
    CHECK_EQ(map.map->slots, slots);
    fill(&map, 0, 100);
    ebb_map_clear(&map);
    CHECK(map.map->slots == slots && ebb_map_len(&map) == 0);
    CHECK_EQ(ebb_map_compact(&map), 0);
    CHECK_EQ(map.map->slots, 0);
}

TEST(map_dense_takes_less) {
    for (int64_t n = 100; n < 200000; n = n * 5 / 4) {
        longs dense = {0};
        CHECK_EQ(ebb_map_dense(&dense), 0);
        fill(&dense, 0, n);
        ebb__map_check(dense.map);
        CHECK((double)dense.map->slots < (double)n * 1.5 + 32);
    }
}

TEST(map_compact_takes_least) {
    longs map = {0};
    fill(&map, 0, 100000);
    CHECK_EQ(ebb_map_pause_shrinking(&map, true), 0);
    drain(&map, 0, 99000);
    CHECK_EQ(ebb_map_compact(&map), 0);
    ebb__map_check(map.map);
    CHECK(map.map->slots <= 1400 && map.map->tables <= 3);
    for (int64_t i = 99000; i < 100000; i++) CHECK_EQ(*ebb_map_get(&map, i), i);
    longs none = {0};
    CHECK_EQ(ebb_map_compact(&none), 0);
    ebb_map_clear(&none);
}

/* A map emptied and filled again a little at a time does not make and drop a table each time. */
TEST(map_small_ones_do_not_thrash) {
    longs map = {0};
    struct ebb_stats before, after;
    fill(&map, 0, 8);
    ebb_stats(&before);
    for (int round = 0; round < 1000; round++) {
        drain(&map, 0, 8);
        fill(&map, 0, 8);
    }
    ebb_stats(&after);
    CHECK(after.alloc_bytes - before.alloc_bytes < 64 * 1024);
}

/* --- Weak keys ---------------------------------------------------------------------------------
 */

EBB_MAP_WEAK(notes, user *, int64_t);

static NOINLINE void weak_fill(notes *map, user **kept, int count) {
    for (int i = 0; i < count; i++) {
        user *key = ebb_new(user);
        CHECK_EQ(ebb_map_put(map, key, i), 0);
        if (i % 10 == 0) kept[i / 10] = key;
    }
}

TEST(map_weak_keys_vanish) {
    enum { KEYS = 20000, STALE = 8 };
    user **kept = ebb_new_array(user *, KEYS / 10);
    notes map = {0};
    weak_fill(&map, kept, KEYS);
    CHECK_EQ(ebb_map_len(&map), KEYS);
    test_clear_stack();
    CHECK_EQ(ebb_collect(), 0);
    size_t len = ebb_map_len(&map), seen = 0;
    CHECK(len >= KEYS / 10 && len <= KEYS / 10 + STALE);
    for (int i = 0; i < KEYS / 10; i++) CHECK_EQ(*ebb_map_get(&map, kept[i]), i * 10);
    ebb_map_each (&map, key, value) {
        CHECK(key != NULL && value < KEYS);
        seen++;
    }
    CHECK_EQ(seen, len);
    /* Writers take the dead entries out, and the tables go with them. */
    for (int i = 0; i < KEYS / 10; i++) CHECK_EQ(ebb_map_put(&map, kept[i], i), 0);
    CHECK(map.map->slots < KEYS / 2);
    ebb__map_check(map.map);
    for (int i = 0; i < KEYS / 10; i++) CHECK(ebb_map_delete(&map, kept[i]));
    CHECK(ebb_map_len(&map) <= STALE);
    ebb_keep_alive(kept);
}

TEST(map_weak_refuses_null) {
    notes map = {0};
    user *nobody = NULL;
    DIES("ebb_map_put: the key of a map with weak keys is a null pointer") {
        setenv("EBB_DEBUG", "misuse=abort", 1);
        (void)ebb_collect();
        ebb_map_put(&map, nobody, 1);
        abort();
    }
    CHECK(ebb_map_get(&map, nobody) == NULL);
    CHECK(!ebb_map_delete(&map, nobody));
}

/* --- Two threads -------------------------------------------------------------------------------
 */

/* An equality that waits inside a put, so that the other thread surely comes beside it. */
static atomic_int meeting; /* 0: not asked for, 1: a writer may wait, 2: it waits */

static uint64_t meeting_hash(int key) {
    return (uint64_t)key % 1;
}
static bool meeting_equal(int a, int b) {
    int expected = 1;
    if (atomic_compare_exchange_strong(&meeting, &expected, 2))
        for (;;) sched_yield();
    return a == b;
}
EBB_MAP_HASHED(meetings, int, int, meeting_hash, meeting_equal);

static void *meeting_writer(void *map) {
    ebb_map_put((meetings *)map, 1, 2);
    return NULL;
}

static void meeting_start(meetings *map) {
    pthread_t thread;
    CHECK_EQ(ebb_map_put(map, 1, 1), 0);
    atomic_store(&meeting, 1);
    CHECK_EQ(pthread_create(&thread, NULL, meeting_writer, map), 0);
    while (atomic_load(&meeting) != 2) sched_yield();
}

TEST(map_write_beside_a_write_dies) {
    static meetings map;
    DIES("ebb_map_put: map") {
        meeting_start(&map);
        ebb_map_put(&map, 2, 2);
    }
    DIES("ebb_map_delete: map") {
        meeting_start(&map);
        ebb_map_delete(&map, 2);
    }
    DIES("ebb_map_clear: map") {
        meeting_start(&map);
        ebb_map_clear(&map);
    }
}

TEST(map_read_beside_a_write_dies) {
    static meetings map;
    DIES("is used by two threads at once, and one of them changes it") {
        meeting_start(&map);
        ebb_map_get(&map, 2);
    }
    DIES("ebb_map_each: map") {
        meeting_start(&map);
        ebb_map_each (&map, key, value) CHECK(key == value);
    }
    DIES("ebb_map_len: map") {
        meeting_start(&map);
        ebb_map_len(&map);
    }
}

static void *read_all(void *arg) {
    const longs *map = arg;
    for (int round = 0; round < 20; round++) {
        int64_t seen = 0;
        ebb_map_each (map, key, value) seen += key == value;
        CHECK_EQ(seen, 20000);
        for (int64_t i = 0; i < 20000; i++) CHECK_EQ(*ebb_map_get(map, i), i);
    }
    return NULL;
}

TEST(map_readers_share) {
    static longs map;
    pthread_t threads[3];
    fill(&map, 0, 20000);
    for (int i = 0; i < 3; i++) CHECK_EQ(pthread_create(&threads[i], NULL, read_all, &map), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}
