/* test_slice_memory.c - what slices keep alive, what they let go of, and what they do when there is
 * no memory. All slices here are static: roots, but not stale words on a stack. */
#include <ebb/ebb.h>
#include <time.h>

#include "modes.h"
#include "probe.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

typedef struct item {
    int key;
    char weight[200];
} item;
EBB_TYPE(item);

typedef struct box {
    item *held;
    long number;
} box;
EBB_TYPE(box, ptr(held));

typedef struct point {
    double x, y, z;
} point;

EBB_SLICE(items, item *);
EBB_SLICE(boxes, box);
EBB_SLICE(points, point);
EBB_SLICE(longs, long);

enum { COUNT = 1000 };

static items held, view;
static boxes crates;

/* Calls fn so far down the stack that what it leaves there is below the frames that look later, and
 * is cleared before a collection. */
static NOINLINE void deep(void (*fn)(size_t n), size_t n) {
    char room[4096];
    __asm__ volatile("" : : "r"(room) : "memory");
    fn(n);
    __asm__ volatile("" : : "r"(room) : "memory");
}

static void fill_held(size_t n) {
    (void)n;
    held = (items){0};
    for (int i = 0; i < COUNT; i++) {
        item *it = ebb_new(item);
        it->key = i;
        probe_add(it);
        CHECK_EQ(ebb_append(&held, it), 0);
    }
}

static void fill(void) {
    deep(fill_held, 0);
}

/* Copies leave what they copied in the wide vector registers, which a thread that is made then
 * takes over, and which count as roots where a thread is stopped. Copies of all sizes wash them. */
static NOINLINE void wash_registers(void) {
    static char from[8192], to[8192];
    void *(*volatile copy)(void *, const void *, size_t) = memcpy;
    for (size_t n = 1; n < sizeof to; n += 1 + n / 16) copy(to, from, n);
}

static void check_living(size_t from, size_t to, size_t living) {
    wash_registers();
    probe_collect();
    size_t found = probe_living(from, to);
    if (found < living || found > living + PROBE_STALE) CHECK_EQ(found, living);
}

/* Verbs whose temporary copies of a slice must not stay in the frame of a test. */
static void hide_from(size_t n) {
    held = ebb_slice3(held, 0, n, n);
}

static NOINLINE void view_at(size_t lo, size_t hi) {
    view = ebb_slice3(held, lo, hi, hi);
}

static size_t capacity_seen;

static void see_capacity(size_t n) {
    (void)n;
    capacity_seen = ebb_slice_capacity_true(held);
}

static NOINLINE size_t capacity_true(void) {
    deep(see_capacity, 0);
    return capacity_seen;
}

static void shrink_held(size_t n) {
    (void)n;
    CHECK_EQ(ebb_shrink(&held), 0);
}

static void clip_held(size_t n) {
    (void)n;
    CHECK_EQ(ebb_clip(&held), 0);
}

/* --- What verbs let go of --------------------------------------------------------------------- */

TEST(a_slice_keeps_its_elements) {
    fill();
    check_living(0, COUNT, COUNT);
    held = (items){0};
    check_living(0, COUNT, 0);
}

TEST(truncate_lets_go) {
    fill();
    view = held;
    ebb_truncate(&held, 40);
    check_living(0, 40, 40);
    check_living(40, COUNT, 0);
    CHECK(view.ptr == held.ptr);
}

TEST(plain_truncation_does_not) {
    fill();
    held.len = 40;
    check_living(0, COUNT, COUNT);
}

TEST(three_index_frees_nothing) {
    fill();
    size_t capacity = capacity_true();
    deep(hide_from, 40);
    check_living(0, COUNT, COUNT);
    CHECK_EQ(held.cap, 40);
    CHECK_EQ(capacity_true(), capacity);
    CHECK(capacity >= COUNT);
    deep(clip_held, 0);
    check_living(0, 40, 40);
    check_living(40, COUNT, 0);
    CHECK(capacity_true() < 60);
}

TEST(view_without_capacity_keeps_nothing) {
    fill();
    view_at(10, 10);
    held = (items){0};
    check_living(0, COUNT, 0);
}

TEST(a_view_keeps_the_whole_array) {
    fill();
    view_at(COUNT - 1, COUNT);
    held = (items){0};
    check_living(0, COUNT, COUNT);
    CHECK_EQ(ebb_at(view, 0)->key, COUNT - 1);
}

TEST(delete_lets_go) {
    fill();
    ebb_delete_range(&held, 100, 900);
    check_living(0, 100, 100);
    check_living(100, 900, 0);
    check_living(900, COUNT, 100);
    ebb_delete_if(&held, it, (*it)->key < 100);
    check_living(0, 900, 0);
    for (int i = 0; i < 50; i++) ebb_delete(&held, 0);
    check_living(900, 950, 0);
    check_living(950, COUNT, 50);
    CHECK_EQ(ebb_at(held, 0)->key, 950);
}

static void pop_some(size_t n) {
    for (size_t i = 0; i < n; i++) CHECK(ebb_pop(&held) != NULL);
}

TEST(pop_and_unordered_let_go) {
    fill();
    deep(pop_some, 500);
    check_living(0, 500, 500);
    check_living(500, COUNT, 0);
    for (int i = 0; i < 400; i++) ebb_delete_unordered(&held, 0);
    check_living(0, 500, 100);
}

static int compare_hundreds(item *const *a, item *const *b) {
    return (*a)->key / 100 - (*b)->key / 100;
}

TEST(compact_lets_go) {
    fill();
    CHECK_EQ(ebb_compact_by(&held, compare_hundreds), COUNT - 10);
    check_living(0, COUNT, 10);
}

TEST(shrink_moves_and_lets_go) {
    fill();
    deep(hide_from, 10);
    check_living(0, COUNT, COUNT);
    deep(shrink_held, 0);
    check_living(0, 10, 10);
    check_living(10, COUNT, 0);
    deep(hide_from, 0);
    deep(shrink_held, 0);
    check_living(0, COUNT, 0);
}

static void fill_crates(size_t n) {
    for (size_t i = 0; i < n; i++) {
        item *it = ebb_new(item);
        probe_add(it);
        CHECK_EQ(ebb_append(&crates, (box){it, (long)i}), 0);
    }
}

TEST(structures_keep_and_let_go) {
    deep(fill_crates, COUNT);
    check_living(0, COUNT, COUNT);
    ebb_truncate(&crates, 40);
    check_living(0, 40, 40);
    check_living(40, COUNT, 0);
    ebb_insert(&crates, 0, (box){0});
    CHECK_EQ(ebb_at(crates, 40).number, 39);
    check_living(0, 40, 40);
}

/* --- Pages ------------------------------------------------------------------------------------ */

static points cloud;
static longs numbers;

static size_t resident(void) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    return (size_t)stats.rss;
}

static NOINLINE void fill_cloud(size_t n) {
    for (size_t i = 0; i < n; i++) CHECK_EQ(ebb_append(&cloud, (point){1, 2, 3}), 0);
}

static void truncate_cloud(size_t n) {
    CHECK_EQ(ebb_truncate(&cloud, n), 0);
}

static void shrink_cloud(size_t n) {
    (void)n;
    CHECK_EQ(ebb_shrink(&cloud), 0);
}

/* Without shadow memory, the resident set is what the program has. */
#define NEEDS_RSS()                                   \
 do {                                                 \
  if (test_slow()) SKIP("a sanitizer's memory");      \
  if (resident() == 0) SKIP("no resident size here"); \
 } while (0)

TEST(truncation_to_a_hundredth_returns_pages) {
    NEEDS_RSS();
    size_t n = 2000000, bytes = n * sizeof(point), before = resident();
    CHECK_EQ(ebb_reserve(&cloud, n), 0);
    fill_cloud(n);
    size_t full = resident();
    CHECK(full >= before + bytes);
    CHECK_EQ(ebb_truncate(&cloud, n / 100), 0);
    CHECK(resident() < before + bytes / 20 + 4 * MIB);
    CHECK(ebb_at(cloud, n / 100 - 1).z == 3);
    points whole = ebb_slice_extend(cloud, n);
    CHECK(
        !ebb_contains_if(ebb_slice(whole, n / 100, n), it, it->x != 0 || it->y != 0 || it->z != 0));
    CHECK_EQ(ebb_slice_capacity_true(cloud) >= n, true);
    CHECK_EQ(ebb_shrink(&cloud), 0);
    CHECK(ebb_slice_capacity_true(cloud) < n / 50);
    CHECK(ebb_at(cloud, n / 100 - 1).z == 3);
}

/* Neither a tail that went back nor the array that was left keeps anything of the old one. */
TEST(a_large_array_left_is_freed) {
    size_t n = 2000000, bytes = n * sizeof(point);
    struct ebb_stats stats;
    deep(fill_cloud, n);
    deep(truncate_cloud, n / 100);
    deep(shrink_cloud, 0);
    wash_registers();
    probe_collect();
    ebb_stats(&stats);
    CHECK(stats.live < bytes / 20);
    CHECK_EQ(cloud.len, n / 100);
}

/* A small cut is cleared only: it will soon be needed again. */
TEST(a_small_cut_keeps_its_pages) {
    NEEDS_RSS();
    size_t n = 2000000, bytes = n * sizeof(point);
    CHECK_EQ(ebb_reserve(&cloud, n), 0);
    fill_cloud(n);
    size_t full = resident();
    ebb_truncate(&cloud, n - n / 10);
    CHECK(resident() + bytes / 20 > full);
    CHECK(ebb_slice_extend(cloud, n).ptr[n - 1].x == 0);
}

static double seconds(void) {
    struct timespec t;
    CHECK(timespec_get(&t, TIME_UTC) != 0);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A buffer that is emptied and refilled all the time gives its pages back once, not each time. */
TEST(refilling_keeps_pages) {
    NEEDS_RSS();
    size_t n = 16 * MIB / sizeof(long) * 8;
    CHECK_EQ(ebb_reserve(&numbers, n), 0);
    for (size_t i = 0; i < n; i++) ebb_append(&numbers, 1);
    size_t full = resident();
    ebb_clear(&numbers);
    CHECK(resident() < full - n * sizeof(long) / 2);
    double began = seconds();
    for (size_t i = 0; i < n; i++) ebb_append(&numbers, 1);
    ebb_clear(&numbers);
    bool quick = seconds() - began < 0.5; /* of 1.3 s for 128 MiB */
    if (quick) CHECK(resident() > full - n * sizeof(long) / 2);
    CHECK(!ebb_contains_if(ebb_slice_extend(numbers, n), it, *it != 0));
}

/* The tail of a view in the middle of somebody else's array: what follows it stays. */
TEST(large_cuts_stay_within_the_length) {
    size_t n = 4 * MIB / sizeof(long) * 4;
    for (size_t i = 0; i < n; i++) CHECK_EQ(ebb_append(&numbers, (long)i), 0);
    longs middle = ebb_slice(numbers, 1001, n - 1001);
    CHECK_EQ(ebb_truncate(&middle, 1), 0);
    for (size_t i = 0; i < n; i++) CHECK_EQ(numbers.ptr[i], i > 1001 && i < n - 1001 ? 0 : (long)i);
    CHECK_EQ(ebb_delete_range(&numbers, 5, n - 5), 0);
    CHECK_EQ(numbers.len, 10);
    CHECK_EQ(ebb_at(numbers, 9), n - 1);
    CHECK(!ebb_contains_if(ebb_slice(ebb_slice_extend(numbers, n), 10, n), it, *it != 0));
}

/* --- No memory -------------------------------------------------------------------------------- */

TEST(huge_sizes_fail) {
    for (int i = 0; i < 10; i++) ebb_append(&numbers, i);
    longs before = numbers;
    static const size_t huge[] = {SIZE_MAX,          SIZE_MAX / 2, SIZE_MAX / 8,   SIZE_MAX / 8 + 1,
                                  SIZE_MAX / 16 + 1, SIZE_MAX - 9, (size_t)1 << 59};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        CHECK_EQ(ebb_reserve(&numbers, huge[i]), EBB_ENOMEM);
        CHECK_EQ(ebb_grow(&numbers, huge[i]), EBB_ENOMEM);
        CHECK_EQ(ebb_append_zeros(&numbers, huge[i]), EBB_ENOMEM);
        CHECK_EQ(ebb_append_many(&numbers, numbers.ptr, huge[i]), EBB_ENOMEM);
        CHECK_EQ(ebb_insert_many(&numbers, 5, numbers.ptr, huge[i]), EBB_ENOMEM);
        CHECK_EQ(ebb_slice_make(longs, huge[i]).cap, 0);
    }
    CHECK(numbers.ptr == before.ptr && numbers.len == before.len && numbers.cap == before.cap);
    for (int i = 0; i < 10; i++) CHECK_EQ(ebb_at(numbers, i), i);
}

TEST(append_at_the_limit_fails_and_loses_nothing) {
    long n = 0;
    ebb_set_memory_limit(64 * MIB);
    while (n < 100 * (long)MIB && ebb_append(&numbers, n) == 0) n++;
    CHECK(n > 1000);
    CHECK(n < 64 * (long)MIB / (long)sizeof(long));
    CHECK_EQ(numbers.len, n);
    CHECK_EQ(ebb_append(&numbers, n), EBB_ENOMEM);
    CHECK_EQ(ebb_insert(&numbers, 0, n), EBB_ENOMEM);
    CHECK_EQ(ebb_append_slice(&numbers, numbers), EBB_ENOMEM);
    CHECK_EQ(numbers.len, n);
    for (long i = 0; i < n; i++) CHECK_EQ(numbers.ptr[i], i);
    ebb_truncate(&numbers, 10);
    CHECK_EQ(ebb_append(&numbers, 10), 0);
    CHECK_EQ(ebb_shrink(&numbers), 0);
    ebb_set_memory_limit(SIZE_MAX);
    for (int i = 11; i < 1000000; i++) CHECK_EQ(ebb_append(&numbers, i), 0);
    for (int i = 0; i < 1000000; i++) CHECK_EQ(ebb_at(numbers, i), i);
}

/* What an allocation that fails leaves behind: a slice that is as it was. */
static void check_same(longs now, longs before) {
    CHECK(now.ptr == before.ptr && now.len == before.len && now.cap == before.cap);
}

static void try_owner_verbs(uint64_t *random) {
    longs before = numbers;
    size_t i = (size_t)test_random_below(random, before.len + 1);
    int status = 0;
    switch (test_random_below(random, 8)) {
    case 0:
        status = ebb_append(&numbers, 1);
        break;
    case 1:
        status = ebb_insert(&numbers, i, 1);
        break;
    case 2:
        status = ebb_append_zeros(&numbers, i);
        break;
    case 3:
        status = ebb_insert_slice(&numbers, i, numbers);
        break;
    case 4:
        status = ebb_grow(&numbers, i);
        break;
    case 5:
        status = ebb_clip(&numbers);
        break;
    case 6:
        ebb_truncate(&numbers, i);
        before = numbers;
        status = ebb_shrink(&numbers);
        break;
    default: {
        longs copy = ebb_clone(numbers);
        CHECK(copy.len == numbers.len || copy.len == 0);
    }
    }
    CHECK(status == 0 || status == EBB_ENOMEM);
    if (status == EBB_ENOMEM) check_same(numbers, before);
    if (numbers.len > 5000) ebb_truncate(&numbers, 100);
}

TEST(inner_failing) {
    if (!modes_have("failalloc")) SKIP("the inner half of allocations_that_fail");
    uint64_t random = test_seed();
    for (int i = 0; i < 20000; i++) try_owner_verbs(&random);
}

TEST(allocations_that_fail) {
    MODES_PASS("inner_failing", "failalloc=3", NULL);
    MODES_PASS("inner_failing", "failalloc=10", NULL);
}
