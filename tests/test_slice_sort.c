/* test_slice_sort.c - sorting: right for every type, pattern and size; stable where promised; n log
 * n against an adversary; safe with comparisons that make no sense, and with collections in them.
 */
#include <ebb/ebb.h>
#include <math.h>

#include "test.h"

EBB_SLICE(i8s, int8_t);
EBB_SLICE(i16s, int16_t);
EBB_SLICE(i32s, int32_t);
EBB_SLICE(i64s, int64_t);
EBB_SLICE(u8s, uint8_t);
EBB_SLICE(u16s, uint16_t);
EBB_SLICE(u32s, uint32_t);
EBB_SLICE(u64s, uint64_t);
EBB_SLICE(f32s, float);
EBB_SLICE(f64s, double);
EBB_SLICE(chars, char);
EBB_SLICE(bools, bool);
EBB_SLICE(names, ebb_str);

/* --- Patterns --------------------------------------------------------------------------------- */

enum { PATTERNS = 9 };

/* Element i of n, in an order that has broken sorts before. */
static uint64_t pattern_value(int pattern, size_t i, size_t n, uint64_t *random) {
    switch (pattern) {
    case 0:
        return test_random(random);
    case 1:
        return i;
    case 2:
        return n - i;
    case 3:
        return 7;
    case 4:
        return i < n / 2 ? i : n - i; /* an organ pipe */
    case 5:
        return test_random_below(random, 4);
    case 6:
        return i == n - 1 ? 0 : i + 1; /* sorted but for one */
    case 7:
        return i % 16;
    default:
        return i ^ (test_random_below(random, 20) == 0 ? 64 : 0);
    }
}

static const size_t lengths[] = {0, 1, 2, 3, 10, 24, 25, 50, 127, 129, 1000, 5000};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

#define EACH_CASE(n, pattern)                          \
 for (size_t at = 0; at < LENGTHS; at++)               \
  for (int pattern = 0; pattern < PATTERNS; pattern++) \
   for (size_t n = lengths[at], once = 1; once; once = 0)

/* Sorted, and the same elements as before: their sum and their exclusive or are. */
#define SORT_TEST(name, S, T)                                                               \
 TEST(sort_##name) {                                                                        \
  uint64_t random = test_seed();                                                            \
  EACH_CASE(n, pattern) {                                                                   \
   S s = {0};                                                                               \
   uint64_t sum = 0, parity = 0;                                                            \
   for (size_t i = 0; i < n; i++) ebb_append(&s, (T)pattern_value(pattern, i, n, &random)); \
   ebb_slice_each (s, it) sum += (uint64_t)*it, parity ^= (uint64_t)*it;                    \
   ebb_sort(s);                                                                             \
   for (size_t i = 1; i < n; i++) CHECK(s.ptr[i - 1] <= s.ptr[i]);                          \
   ebb_slice_each (s, it) sum -= (uint64_t)*it, parity ^= (uint64_t)*it;                    \
   CHECK_EQ(s.len, n);                                                                      \
   CHECK_EQ(sum, 0);                                                                        \
   CHECK_EQ(parity, 0);                                                                     \
  }                                                                                         \
 }

SORT_TEST(i8, i8s, int8_t)
SORT_TEST(i16, i16s, int16_t)
SORT_TEST(i32, i32s, int32_t)
SORT_TEST(i64, i64s, int64_t)
SORT_TEST(u8, u8s, uint8_t)
SORT_TEST(u16, u16s, uint16_t)
SORT_TEST(u32, u32s, uint32_t)
SORT_TEST(u64, u64s, uint64_t)
SORT_TEST(char, chars, char)
SORT_TEST(bool, bools, bool)

TEST(sort_floats_with_nan) {
    uint64_t random = test_seed();
    EACH_CASE(n, pattern) {
        f64s d = {0};
        f32s f = {0};
        size_t nans = 0;
        for (size_t i = 0; i < n; i++) {
            double value = (double)pattern_value(pattern, i, n, &random) - 3e18;
            if (test_random_below(&random, 10) == 0) value = (double)NAN;
            nans += isnan(value) != 0;
            ebb_append(&d, value);
            ebb_append(&f, (float)value);
        }
        ebb_sort(d);
        ebb_sort(f);
        for (size_t i = 0; i < n; i++) {
            CHECK_EQ(isnan(d.ptr[i]) != 0, i < nans);
            CHECK_EQ(isnan(f.ptr[i]) != 0, i < nans);
            if (i > nans) CHECK(d.ptr[i - 1] <= d.ptr[i] && f.ptr[i - 1] <= f.ptr[i]);
        }
    }
}

TEST(sort_strings) {
    uint64_t random = test_seed();
    names s = {0};
    for (int i = 0; i < 3000; i++)
        ebb_append(&s, ebb_str_format("%d", (int)test_random_below(&random, 1000)));
    ebb_sort(s);
    for (size_t i = 1; i < s.len; i++) CHECK(ebb_str_compare(s.ptr[i - 1], s.ptr[i]) <= 0);
    ebb_compact(&s);
    ebb_position at = ebb_binary_search(s, ebb_s("5"));
    CHECK(at.index <= s.len);
    if (at.found) CHECK(ebb_str_equal(ebb_at(s, at.index), ebb_s("5")));
}

/* --- By a function, for every size of element ------------------------------------------------- */

/* A record of a key, where it stood before, and `words` words that follow from these. */
#define RECORD(words)                                                                \
 typedef struct record##words {                                                      \
  uint16_t key, at;                                                                  \
  uint32_t rest[words];                                                              \
 } record##words;                                                                    \
 EBB_SLICE(records##words, record##words);                                           \
 static int compare##words(const record##words *a, const record##words *b) {         \
  return a->key - b->key;                                                            \
 }                                                                                   \
 static records##words make##words(size_t n, int pattern, uint64_t *random) {        \
  records##words s = {0};                                                            \
  for (size_t i = 0; i < n; i++) {                                                   \
   uint64_t key = pattern_value(pattern, i, n, random) % 1000;                       \
   record##words r = {.key = (uint16_t)key, .at = (uint16_t)i};                      \
   for (size_t k = 0; k < words; k++) r.rest[k] = (uint32_t)(key * 65536 + i);       \
   ebb_append(&s, r);                                                                \
  }                                                                                  \
  return s;                                                                          \
 }                                                                                   \
 static void check##words(records##words s, bool stable) {                           \
  uint64_t seen = 0, want = 0;                                                       \
  for (size_t i = 0; i < s.len; i++) {                                               \
   const record##words *r = &s.ptr[i];                                               \
   for (size_t k = 0; k < words; k++) CHECK_EQ(r->rest[k], r->key * 65536u + r->at); \
   seen += ((uint64_t)r->at + 1) * (r->at + 1);                                      \
   want += (i + 1) * (i + 1);                                                        \
   if (i == 0) continue;                                                             \
   CHECK(r[-1].key <= r->key);                                                       \
   CHECK(!stable || r[-1].key < r->key || r[-1].at < r->at);                         \
  }                                                                                  \
  CHECK_EQ(seen, want);                                                              \
 }                                                                                   \
 TEST(sort_by_##words) {                                                             \
  uint64_t random = test_seed();                                                     \
  EACH_CASE(n, pattern) {                                                            \
   records##words s = make##words(n, pattern, &random);                              \
   records##words t = ebb_clone(s);                                                  \
   ebb_sort_by(s, compare##words);                                                   \
   check##words(s, false);                                                           \
   CHECK_EQ(ebb_sort_stable_by(t, compare##words), 0);                               \
   check##words(t, true);                                                            \
  }                                                                                  \
 }

RECORD(1)
RECORD(2)
RECORD(3)
RECORD(5)
RECORD(6)
RECORD(40)

static int compare_i32(const int32_t *a, const int32_t *b) {
    return (*a > *b) - (*a < *b);
}

static int compare_i8(const int8_t *a, const int8_t *b) {
    return *a - *b;
}

TEST(sort_by_small) {
    uint64_t random = test_seed();
    EACH_CASE(n, pattern) {
        i32s s = {0};
        i8s b = {0};
        for (size_t i = 0; i < n; i++) {
            ebb_append(&s, (int32_t)pattern_value(pattern, i, n, &random));
            ebb_append(&b, (int8_t)s.ptr[i]);
        }
        i32s natural = ebb_clone(s), stable = ebb_clone(s);
        ebb_sort(natural);
        ebb_sort_by(s, compare_i32);
        ebb_sort_by(b, compare_i8);
        CHECK_EQ(ebb_sort_stable_by(stable, compare_i32), 0);
        CHECK(ebb_equal(s, natural));
        CHECK(ebb_equal(stable, natural));
        for (size_t i = 1; i < n; i++) CHECK(b.ptr[i - 1] <= b.ptr[i]);
    }
}

/* --- Comparisons that are hostile ------------------------------------------------------------- */

/* McIlroy's adversary: values are decided as late as the comparisons allow, so that any quicksort
 * finds itself with the worst pivots. */
static uint32_t *adversary_value;
static uint32_t adversary_gas, adversary_solid, adversary_candidate;
static uint64_t adversary_calls;

static int adversary_compare(const uint32_t *a, const uint32_t *b) {
    uint32_t x = *a, y = *b;
    adversary_calls++;
    if (adversary_value[x] == adversary_gas && adversary_value[y] == adversary_gas)
        adversary_value[x == adversary_candidate ? x : y] = adversary_solid++;
    if (adversary_value[x] == adversary_gas)
        adversary_candidate = x;
    else if (adversary_value[y] == adversary_gas)
        adversary_candidate = y;
    return (adversary_value[x] > adversary_value[y]) - (adversary_value[x] < adversary_value[y]);
}

TEST(sort_is_n_log_n_against_an_adversary) {
    enum { N = 100000 };
    u32s s = {0};
    adversary_value = malloc(N * sizeof *adversary_value);
    CHECK(adversary_value != NULL);
    adversary_gas = N, adversary_solid = 0, adversary_candidate = 0;
    for (uint32_t i = 0; i < N; i++) {
        adversary_value[i] = adversary_gas;
        ebb_append(&s, i);
    }
    ebb_sort_by(s, adversary_compare);
    CHECK(adversary_calls < 17 * N * 6);
    for (size_t i = 1; i < N; i++)
        CHECK(adversary_value[s.ptr[i - 1]] <= adversary_value[s.ptr[i]]);
    free(adversary_value);
}

static uint64_t nonsense_state;

static int nonsense_i32(const int32_t *a, const int32_t *b) {
    (void)a, (void)b;
    return (int)test_random_below(&nonsense_state, 3) - 1;
}

static int nonsense_record(const record6 *a, const record6 *b) {
    (void)a, (void)b;
    return (int)test_random_below(&nonsense_state, 3) - 1;
}

/* Whatever the comparison says, all elements are still there afterwards. */
TEST(sort_with_nonsense_loses_nothing) {
    nonsense_state = test_seed();
    for (int round = 0; round < 200; round++) {
        i32s s = {0};
        records6 r = make6(300, 0, &nonsense_state);
        for (int i = 0; i < 1000; i++) ebb_append(&s, i);
        ebb_sort_by(s, nonsense_i32);
        ebb_sort(s);
        for (int i = 0; i < 1000; i++) CHECK_EQ(s.ptr[i], i);
        CHECK_EQ(ebb_sort_stable_by(s, nonsense_i32), 0);
        ebb_sort(s);
        for (int i = 0; i < 1000; i++) CHECK_EQ(s.ptr[i], i);
        ebb_sort_by(r, nonsense_record);
        ebb_sort_by(r, compare6);
        check6(r, false);
    }
}

typedef struct item {
    struct item *self;
    int key;
} item;
EBB_TYPE(item, ptr(self));
EBB_SLICE(items, item *);

typedef struct holder {
    item *one;
    long pad[2];
} holder;
EBB_TYPE(holder, ptr(one));
EBB_SLICE(holders, holder);

static unsigned collecting_calls;

/* An element that a sort holds nowhere but in a variable has to survive this. */
static void collect_sometimes(void) {
    if (++collecting_calls % 97 != 0) return;
    CHECK_EQ(ebb_collect(), 0);
    for (int i = 0; i < 50; i++) CHECK(ebb_new(item) != NULL);
}

static int collecting_items(item *const *a, item *const *b) {
    collect_sometimes();
    CHECK((*a)->self == *a && (*b)->self == *b);
    return (*a)->key - (*b)->key;
}

static int collecting_holders(const holder *a, const holder *b) {
    return collecting_items(&a->one, &b->one);
}

TEST(sort_keeps_elements_alive) {
    uint64_t random = test_seed();
    items s = {0};
    holders h = {0};
    for (int i = 0; i < 300; i++) {
        item *it = ebb_new(item), *in = ebb_new(item);
        *it = (item){it, (int)test_random_below(&random, 1000)};
        *in = (item){in, (int)test_random_below(&random, 1000)};
        ebb_append(&s, it);
        ebb_append(&h, (holder){.one = in});
    }
    items t = ebb_clone(s);
    ebb_sort_by(s, collecting_items);
    CHECK_EQ(ebb_sort_stable_by(t, collecting_items), 0);
    ebb_sort_by(h, collecting_holders);
    ebb_reverse(h);
    CHECK_EQ(ebb_sort_stable_by(h, collecting_holders), 0);
    for (int i = 1; i < 300; i++) {
        CHECK(ebb_at(s, i - 1)->key <= ebb_at(s, i)->key);
        CHECK(ebb_at(t, i)->self == ebb_at(t, i));
        CHECK(ebb_at(h, i - 1).one->key <= ebb_at(h, i).one->key);
    }
}
