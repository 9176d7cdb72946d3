/* test_slice.c - what each verb on slices does, and what each refuses. */
#include <ebb/ebb.h>
#include <limits.h>

#include "test.h"

typedef struct item {
    int id;
    struct item *next;
} item;
EBB_TYPE(item, ptr(next));

typedef struct point {
    double x, y;
} point;

typedef struct row {
    int cells[7];
} row;

typedef struct tree tree;
EBB_SLICE(trees, tree);
struct tree {
    trees children;
    int key;
};
EBB_TYPE(tree, slice(children));

typedef struct line {
    _Alignas(64) char text[64];
} line;

EBB_SLICE(ints, int);
EBB_SLICE(lines, line);
EBB_SLICE(wides, __int128);
EBB_SLICE(items, item *);
EBB_SLICE(points, point);
EBB_SLICE(rows, row);
EBB_SLICE(bytes, unsigned char);
EBB_SLICE(doubles, double);
EBB_SLICE(names, ebb_str);
EBB_SLICE(literals, const char *);

static ints ints_to(int n) {
    ints s = {0};
    for (int i = 0; i < n; i++) CHECK_EQ(ebb_append(&s, i), 0);
    return s;
}

#define CHECK_INTS(s, ...)                                                     \
 do {                                                                          \
  const int expected[] = {__VA_ARGS__};                                        \
  CHECK_EQ((s).len, sizeof expected / sizeof *expected);                       \
  for (size_t at = 0; at < (s).len; at++) CHECK_EQ((s).ptr[at], expected[at]); \
 } while (0)

/* Beyond the length an owner has left zeros only. */
static void check_zero_tail(ints s) {
    for (size_t i = s.len; i < s.cap; i++) CHECK_EQ(s.ptr[i], 0);
}

static int compare_ints(const int *a, const int *b) {
    return (*a > *b) - (*a < *b);
}

static int compare_tens(const int *a, const int *b) {
    return *a / 10 - *b / 10;
}

/* --- Adding ----------------------------------------------------------------------------------- */

TEST(zero_is_empty_and_usable) {
    ints s = {0};
    CHECK_EQ(s.len, 0);
    CHECK_EQ(ebb_truncate(&s, 0), 0);
    CHECK_EQ(ebb_clear(&s), 0);
    CHECK_EQ(ebb_shrink(&s), 0);
    CHECK_EQ(ebb_clip(&s), 0);
    CHECK_EQ(ebb_delete_range(&s, 0, 0), 0);
    CHECK_EQ(ebb_delete_if(&s, it, *it == 0), 0);
    CHECK_EQ(ebb_compact(&s), 0);
    CHECK_EQ(ebb_slice_capacity_true(s), 0);
    CHECK(ebb_min(s) == NULL);
    CHECK(!ebb_contains(s, 0));
    CHECK(ebb_equal(s, ebb_clone(s)));
    CHECK_EQ(ebb_append_slice(&s, s), 0);
    ebb_sort(s);
    ebb_reverse(s);
    ebb_slice_each (s, it) test_fail(__FILE__, __LINE__, "an element in nothing");
    CHECK_EQ(ebb_slice(s, 0, 0).len, 0);
    CHECK_EQ(s.cap, 0);
    CHECK_EQ(ebb_append(&s, 7), 0);
    CHECK_INTS(s, 7);
}

TEST(append_keeps_order_and_grows) {
    ints s = ints_to(1000);
    for (int i = 0; i < 1000; i++) CHECK_EQ(ebb_at(s, i), i);
    CHECK(s.cap >= 1000);
    CHECK(s.cap < 1500);
    check_zero_tail(s);
}

TEST(append_steps_are_few) {
    ints s = {0};
    size_t moves = 0;
    for (int i = 0; i < 1000000; i++) {
        const int *before = s.ptr;
        ebb_append(&s, i);
        moves += s.ptr != before;
    }
    CHECK(moves < 60);
    CHECK(s.cap <= s.len + s.len / 2);
}

/* The value is taken before the array moves, wherever it comes from. */
TEST(append_of_an_own_element) {
    ints s = ints_to(1);
    s.ptr[0] = 42;
    for (int i = 0; i < 500; i++) ebb_append(&s, s.ptr[0]);
    for (int i = 0; i < 500; i++) CHECK_EQ(ebb_at(s, i), 42);
    items list = {0};
    item *one = ebb_new(item);
    ebb_append(&list, one);
    for (int i = 0; i < 500; i++) ebb_append(&list, ebb_at(list, list.len - 1));
    ebb_slice_each (list, it) CHECK(*it == one);
}

TEST(append_evaluates_once) {
    ints slices[2] = {{0}, {0}};
    int at = 0, value = 5;
    ebb_append(&slices[at++], value++);
    CHECK_EQ(at, 1);
    CHECK_EQ(value, 6);
    CHECK_INTS(slices[0], 5);
    CHECK_EQ(ebb_at(slices[--at], value++ - 6), 5);
    CHECK_EQ(at, 0);
    CHECK_EQ(value, 7);
}

TEST(append_nested) {
    ints s = {0};
    CHECK_EQ(ebb_append(&s, ebb_append(&s, 10) + ebb_append(&s, 20) + 30), 0);
    CHECK_INTS(s, 10, 20, 30);
}

TEST(append_of_structures) {
    points s = {0};
    ebb_append(&s, (point){1, 2});
    ebb_append(&s, (point){.y = 4});
    ebb_insert(&s, 1, (point){7, 8});
    CHECK_EQ(s.len, 3);
    CHECK(ebb_at(s, 1).x == 7 && ebb_at(s, 2).y == 4);
    ebb_at(s, 0).x = 9;
    CHECK(s.ptr[0].x == 9);
    rows r = {0};
    ebb_append(&r, (row){{1, 2, 3}});
    ebb_append_list(&r, {{4}}, {{5, 6}});
    CHECK_EQ(ebb_at(r, 2).cells[1], 6);
}

TEST(append_list_many_slice) {
    ints s = {0}, t = {0};
    const int three[] = {4, 5, 6};
    CHECK_EQ(ebb_append_list(&s, 1, 2, 3), 0);
    CHECK_EQ(ebb_append_many(&s, three, 3), 0);
    CHECK_EQ(ebb_append_many(&s, three, 0), 0);
    CHECK_EQ(ebb_append_slice(&t, s), 0);
    CHECK_EQ(ebb_append_slice(&t, ebb_slice(t, 1, 3)), 0);
    CHECK_INTS(t, 1, 2, 3, 4, 5, 6, 2, 3);
    CHECK_INTS(s, 1, 2, 3, 4, 5, 6);
    literals words = {0};
    ebb_append_list(&words, "a", "b", NULL);
    CHECK_STR(ebb_at(words, 1), "b");
}

TEST(append_zeros_over_old_values) {
    ints s = ints_to(10);
    ints front = ebb_slice(s, 0, 3);
    CHECK_EQ(ebb_append_zeros(&front, 4), 0);
    CHECK_INTS(front, 0, 1, 2, 0, 0, 0, 0);
    CHECK_INTS(s, 0, 1, 2, 0, 0, 0, 0, 7, 8, 9);
    CHECK_EQ(ebb_append_zeros(&front, 5000), 0);
    CHECK_EQ(front.len, 5007);
    CHECK_EQ(ebb_at(s, 9), 9);
}

TEST(insert_one_many_slice) {
    ints s = ints_to(3);
    const int two[] = {8, 9};
    CHECK_EQ(ebb_insert(&s, 0, 7), 0);
    CHECK_EQ(ebb_insert(&s, s.len, 6), 0);
    CHECK_INTS(s, 7, 0, 1, 2, 6);
    CHECK_EQ(ebb_insert_many(&s, 2, two, 2), 0);
    CHECK_INTS(s, 7, 0, 8, 9, 1, 2, 6);
    CHECK_EQ(ebb_insert_slice(&s, 1, ebb_slice(s, 5, 7)), 0);
    CHECK_INTS(s, 7, 2, 6, 0, 8, 9, 1, 2, 6);
}

/* What is inserted lies in the array itself: before the place, across it, behind it, with room and
 * without. */
TEST(insert_of_own_elements) {
    for (size_t room = 0; room < 2; room++)
        for (size_t i = 0; i <= 6; i++)
            for (size_t lo = 0; lo <= 6; lo++)
                for (size_t hi = lo; hi <= 6; hi++) {
                    ints s = {0};
                    CHECK_EQ(ebb_reserve(&s, 6 + 20 * room), 0);
                    ebb_append_list(&s, 0, 1, 2, 3, 4, 5);
                    if (!room) s = ebb_slice3(s, 0, 6, 6);
                    int expected[12];
                    size_t n = 0;
                    for (size_t k = 0; k < i; k++) expected[n++] = (int)k;
                    for (size_t k = lo; k < hi; k++) expected[n++] = (int)k;
                    for (size_t k = i; k < 6; k++) expected[n++] = (int)k;
                    CHECK_EQ(ebb_insert_slice(&s, i, ebb_slice(s, lo, hi)), 0);
                    CHECK_EQ(s.len, n);
                    CHECK(memcmp(s.ptr, expected, n * sizeof *expected) == 0);
                }
}

TEST(make_and_over) {
    ints s = ebb_slice_make(ints, 5);
    CHECK_INTS(s, 0, 0, 0, 0, 0);
    CHECK_EQ(ebb_slice_make(ints, 0).cap, 0);
    static int table[4] = {1, 2, 3, 4};
    ints t = ebb_slice_over(ints, table, 4);
    CHECK_EQ(ebb_slice_capacity_true(t), 0);
    CHECK_EQ(ebb_truncate(&t, 3), 0);
    CHECK_EQ(table[3], 0);
    CHECK_EQ(ebb_clip(&t), 0);
    CHECK_EQ(ebb_shrink(&t), 0);
    CHECK(t.ptr == table);
    CHECK_EQ(ebb_append_list(&t, 7, 8), 0);
    CHECK(t.ptr != table);
    CHECK_INTS(t, 1, 2, 3, 7, 8);
    CHECK_EQ(table[3], 0);
}

/* Elements with an alignment of their own keep it in every array. */
TEST(aligned_elements) {
    lines s = {0};
    for (int i = 0; i < 3000; i++) {
        CHECK_EQ(ebb_append(&s, (line){{(char)i}}), 0);
        CHECK_EQ((uintptr_t)s.ptr % _Alignof(line), 0);
    }
    for (int i = 0; i < 3000; i++) CHECK_EQ(ebb_at(s, i).text[0], (char)i);
    ebb_truncate(&s, 10);
    CHECK_EQ(ebb_clip(&s), 0);
    CHECK_EQ((uintptr_t)s.ptr % _Alignof(line), 0);
    wides w = {0};
    for (int i = 0; i < 300; i++) ebb_append(&w, i);
    CHECK_EQ((uintptr_t)w.ptr % _Alignof(__int128), 0);
    ebb_insert(&w, 0, 300);
    CHECK(ebb_at(w, 300) == 299 && ebb_index(w, 7) == 8);
}

TEST(slices_of_slices) {
    trees roots = {0};
    ebb_append(&roots, (tree){.key = 1});
    for (int i = 0; i < 100; i++) ebb_append(&ebb_at(roots, 0).children, (tree){.key = i});
    CHECK_EQ(ebb_at(ebb_at(roots, 0).children, 99).key, 99);
    CHECK_EQ(ebb_at(roots, 0).children.len, 100);
}

/* --- Views ------------------------------------------------------------------------------------ */

TEST(views_share) {
    ints s = ints_to(10), v = ebb_slice(s, 2, 5);
    CHECK_INTS(v, 2, 3, 4);
    CHECK_EQ(v.cap, s.cap - 2);
    ebb_at(v, 0) = 70;
    CHECK_EQ(ebb_at(s, 2), 70);
    CHECK_EQ(ebb_append(&v, 80), 0);
    CHECK_EQ(ebb_at(s, 5), 80);
    CHECK_INTS(ebb_slice(v, 1, 3), 3, 4);
}

TEST(three_index_copies_on_append) {
    ints s = ints_to(10), v = ebb_slice3(s, 2, 5, 5);
    CHECK_EQ(v.cap, 3);
    CHECK_EQ(ebb_slice_capacity_true(v), ebb_slice_capacity_true(s));
    CHECK(ebb_slice_capacity_true(s) >= s.cap);
    CHECK_EQ(ebb_append(&v, 80), 0);
    CHECK_EQ(ebb_at(s, 5), 5);
    CHECK_INTS(v, 2, 3, 4, 80);
    CHECK(v.ptr != s.ptr + 2);
}

TEST(view_without_capacity_is_null) {
    ints s = ints_to(10);
    CHECK(ebb_slice3(s, 4, 4, 4).ptr == NULL);
    s = ebb_slice3(s, 0, 10, 10);
    CHECK(ebb_slice(s, 10, 10).ptr == NULL);
    CHECK(ebb_slice(s, 9, 9).ptr == s.ptr + 9);
}

TEST(extend_shows_what_is_there) {
    ints s = ints_to(10), v = ebb_slice(s, 2, 4);
    v = ebb_slice_extend(v, 6);
    CHECK_INTS(v, 2, 3, 4, 5, 6, 7);
    ebb_truncate(&s, 5);
    CHECK_INTS(v, 2, 3, 4, 0, 0, 0);
    s = ebb_slice_extend(s, s.cap);
    CHECK_EQ(s.len, s.cap);
}

TEST(views_outlive_moves) {
    ints s = ints_to(8);
    s = ebb_slice3(s, 0, 8, 8);
    ints v = s;
    ebb_append(&s, 8);
    ebb_at(s, 0) = 99;
    ebb_truncate(&s, 0);
    CHECK_INTS(v, 0, 1, 2, 3, 4, 5, 6, 7);
}

TEST(const_slices_can_be_looked_at) {
    const ints s = ints_to(5);
    ints v = ebb_slice(s, 1, 4);
    int sum = 0;
    ebb_slice_each (s, it) sum += *it;
    CHECK_EQ(sum, 10);
    CHECK_EQ(ebb_at(s, 4), 4);
    CHECK_EQ(ebb_index(s, 3), 3);
    CHECK_EQ(v.len, 3);
}

TEST(each_breaks_and_continues) {
    ints s = ints_to(10);
    int sum = 0;
    ebb_slice_each (s, it) {
        if (*it % 2) continue;
        if (*it > 6) break;
        ebb_slice_each (s, inner) {
            if (*inner == 2) break;
            sum += *inner;
        }
        sum += *it * 100;
        ebb_append(&s, 2);
    }
    CHECK_EQ(sum, 1204);
    CHECK_EQ(s.len, 14);
    ebb_slice_each (ebb_slice(s, 0, 2), it) *it += 5;
    CHECK_EQ(ebb_at(s, 1), 6);
}

/* --- Dropping --------------------------------------------------------------------------------- */

TEST(truncate_clears) {
    ints s = ints_to(10), all = s;
    size_t cap = s.cap;
    CHECK_EQ(ebb_truncate(&s, 4), 0);
    CHECK_INTS(s, 0, 1, 2, 3);
    CHECK_EQ(s.cap, cap);
    CHECK_INTS(all, 0, 1, 2, 3, 0, 0, 0, 0, 0, 0);
    CHECK_EQ(ebb_clear(&s), 0);
    CHECK_EQ(s.len, 0);
    CHECK(s.ptr == all.ptr);
    CHECK_EQ(ebb_at(all, 0), 0);
}

/* An owner knows its own length only: what lies beyond may belong to somebody else. */
TEST(truncate_leaves_what_is_beyond_the_length) {
    ints s = ints_to(10), front = ebb_slice(s, 0, 6);
    ebb_truncate(&front, 4);
    CHECK_INTS(s, 0, 1, 2, 3, 0, 0, 6, 7, 8, 9);
}

TEST(delete_one_range_unordered) {
    ints s = ints_to(10);
    CHECK_EQ(ebb_delete(&s, 0), 0);
    CHECK_EQ(ebb_delete(&s, 8), 0);
    CHECK_INTS(s, 1, 2, 3, 4, 5, 6, 7, 8);
    CHECK_EQ(ebb_delete_range(&s, 1, 4), 0);
    CHECK_INTS(s, 1, 5, 6, 7, 8);
    CHECK_EQ(ebb_delete_range(&s, 2, 2), 0);
    CHECK_EQ(ebb_delete_unordered(&s, 1), 0);
    CHECK_INTS(s, 1, 8, 6, 7);
    CHECK_EQ(ebb_delete_unordered(&s, 3), 0);
    CHECK_INTS(s, 1, 8, 6);
    check_zero_tail(s);
    CHECK_EQ(ebb_delete_range(&s, 0, 3), 0);
    CHECK_EQ(s.len, 0);
    check_zero_tail(s);
}

TEST(pop_takes_the_last) {
    ints s = ints_to(3);
    CHECK_EQ(ebb_pop(&s), 2);
    CHECK_EQ(ebb_pop(&s) + ebb_pop(&s), 1);
    CHECK_EQ(s.len, 0);
    check_zero_tail(s);
}

static bool is_odd(int value) {
    return value % 2 != 0;
}

TEST(delete_if_by_expression) {
    ints s = ints_to(20);
    int limit = 5;
    CHECK_EQ(ebb_delete_if(&s, it, *it > limit && is_odd(*it)), 7);
    CHECK_INTS(s, 0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18);
    check_zero_tail(s);
    CHECK_EQ(ebb_delete_if(&s, it, false), 0);
    CHECK_EQ(ebb_delete_if(&s, it, true), 13);
    CHECK_EQ(s.len, 0);
    check_zero_tail(s);
}

TEST(compact_drops_neighbours) {
    ints s = {0};
    ebb_append_list(&s, 1, 1, 2, 2, 2, 1, 3, 3);
    CHECK_EQ(ebb_compact(&s), 4);
    CHECK_INTS(s, 1, 2, 1, 3);
    check_zero_tail(s);
    ebb_append_list(&s, 11, 12, 21, 13);
    CHECK_EQ(ebb_compact_by(&s, compare_tens), 4);
    CHECK_INTS(s, 1, 11, 21, 13);
    check_zero_tail(s);
}

/* --- Capacity --------------------------------------------------------------------------------- */

TEST(grow_and_reserve) {
    ints s = ints_to(10);
    CHECK_EQ(ebb_reserve(&s, 1000), 0);
    CHECK(s.cap >= 1000 && s.cap < 1200);
    const int *array = s.ptr;
    CHECK_EQ(ebb_reserve(&s, 500), 0);
    CHECK_EQ(ebb_grow(&s, 990), 0);
    for (int i = 10; i < 1000; i++) ebb_append(&s, i);
    CHECK(s.ptr == array);
    CHECK_EQ(ebb_grow(&s, 5000), 0);
    CHECK(s.cap >= 6000);
    CHECK_EQ(ebb_at(s, 999), 999);
    check_zero_tail(s);
}

TEST(shrink_by_policy) {
    ints s = ints_to(1000), all = s;
    CHECK_EQ(ebb_shrink(&s), 0);
    CHECK(s.ptr == all.ptr);
    s = ebb_slice(s, 0, 300);
    CHECK_EQ(ebb_shrink(&s), 0);
    CHECK(s.ptr == all.ptr);
    s = ebb_slice(s, 100, 200);
    CHECK_EQ(ebb_shrink(&s), 0);
    CHECK(s.ptr != all.ptr + 100);
    CHECK(s.cap >= 100 && s.cap < 200);
    CHECK_EQ(ebb_at(s, 0), 100);
    CHECK_EQ(ebb_at(all, 100), 100);
    ebb_clear(&s);
    CHECK_EQ(ebb_shrink(&s), 0);
    CHECK(s.ptr == NULL && s.cap == 0);
}

/* Neither the front that a queue has left behind nor what three indices hide escapes. */
TEST(shrink_and_clip_see_the_true_capacity) {
    ints s = ints_to(1000), front = ebb_slice3(s, 0, 10, 10), back = ebb_slice(s, 990, 1000);
    CHECK_EQ(ebb_shrink(&front), 0);
    CHECK_EQ(ebb_clip(&back), 0);
    CHECK(ebb_slice_capacity_true(front) < 100);
    CHECK(ebb_slice_capacity_true(back) < 100);
    CHECK_EQ(ebb_at(back, 9), 999);
}

TEST(clip_fits) {
    ints s = ints_to(1000);
    ebb_truncate(&s, 500);
    CHECK_EQ(ebb_clip(&s), 0);
    CHECK(ebb_slice_capacity_true(s) < 600);
    CHECK_EQ(ebb_at(s, 499), 499);
    const int *array = s.ptr;
    CHECK_EQ(ebb_clip(&s), 0);
    CHECK(s.ptr == array);
    ebb_clear(&s);
    CHECK_EQ(ebb_clip(&s), 0);
    CHECK(s.ptr == NULL);
}

/* --- Whole slices, search --------------------------------------------------------------------- */

TEST(copy_and_clone) {
    ints s = ints_to(5), t = ebb_clone(s);
    CHECK(t.ptr != s.ptr);
    CHECK(ebb_equal(s, t));
    CHECK_EQ(ebb_copy(ebb_slice(t, 1, 5), t), 4);
    CHECK_INTS(t, 0, 0, 1, 2, 3);
    CHECK_EQ(ebb_copy(t, ebb_slice(s, 3, 5)), 2);
    CHECK_INTS(t, 3, 4, 1, 2, 3);
    CHECK(!ebb_equal(s, t));
    CHECK(ebb_equal_by(s, t, compare_tens));
    ebb_reverse(t);
    CHECK_INTS(t, 3, 2, 1, 4, 3);
}

TEST(index_and_contains) {
    ints s = ints_to(10);
    CHECK_EQ(ebb_index(s, 7), 7);
    CHECK_EQ(ebb_index(s, 10), EBB_NONE);
    CHECK(ebb_contains(s, 0));
    CHECK_EQ(ebb_index_if(s, it, *it * *it > 30), 6);
    CHECK(!ebb_contains_if(s, it, *it < 0));
    items list = {0};
    for (int i = 0; i < 5; i++) ebb_append(&list, ebb_new(item));
    CHECK_EQ(ebb_index(list, ebb_at(list, 3)), 3);
    CHECK(!ebb_contains(list, NULL));
    names words = {0};
    ebb_append_list(&words, ebb_s("ann"), ebb_s("bob"), ebb_s(""));
    CHECK_EQ(ebb_index(words, ebb_str_copy(ebb_s("bob"))), 1);
    CHECK(ebb_contains(words, (ebb_str){0}));
    doubles d = {0};
    ebb_append_list(&d, 1.5, -0.0, __builtin_nan(""));
    CHECK_EQ(ebb_index(d, 0.0), 1);
    CHECK_EQ(ebb_index(d, __builtin_nan("")), EBB_NONE);
}

TEST(binary_search_finds_the_first) {
    ints s = {0};
    ebb_append_list(&s, 1, 3, 3, 3, 5);
    ebb_position at = ebb_binary_search(s, 3);
    CHECK(at.found);
    CHECK_EQ(at.index, 1);
    at = ebb_binary_search(s, 4);
    CHECK(!at.found);
    CHECK_EQ(at.index, 4);
    at = ebb_binary_search(s, 9);
    CHECK(!at.found);
    CHECK_EQ(at.index, 5);
    at = ebb_binary_search_by(s, compare_ints, 5);
    CHECK(at.found);
    CHECK_EQ(at.index, 4);
    CHECK_EQ(ebb_search_if(s, it, *it >= 2), 1);
    CHECK_EQ(ebb_search_if(s, it, *it >= 9), 5);
}

TEST(min_and_max) {
    ints s = {0};
    ebb_append_list(&s, 3, -7, 12, -7, 12);
    CHECK_EQ(ebb_min(s) - s.ptr, 1);
    CHECK_EQ(ebb_max(s) - s.ptr, 2);
    CHECK_EQ(*ebb_min_by(s, compare_tens), 3);
    CHECK_EQ(*ebb_max_by(s, compare_ints), 12);
    bytes b = {0};
    ebb_append_list(&b, 200, 100, 255);
    CHECK_EQ(*ebb_max(b), 255);
    names words = {0};
    ebb_append_list(&words, ebb_s("b"), ebb_s("aa"), ebb_s("a"));
    CHECK(ebb_str_equal(*ebb_min(words), ebb_s("a")));
}

/* --- Misuse ----------------------------------------------------------------------------------- */

TEST(misuse_is_named) {
    ints s = ints_to(3), empty = {0};
    volatile int minus = -1;
    DIES("ebb_at: index 3 is out of range, the length is 3") {
        ebb_at(s, 3) = 1;
    }
    DIES("ebb_at: index 0 is out of range") {
        ebb_at(empty, 0) = 1;
    }
    DIES("ebb_at: index 18446744073709551615") {
        ebb_at(s, minus) = 1;
    }
    DIES("ebb_slice: from 2 to 4") {
        s = ebb_slice(s, 2, 4);
    }
    DIES("ebb_slice: from 2 to 1") {
        s = ebb_slice(s, 2, 1);
    }
    DIES("ebb_slice3: from 0 to 2, capacity to 1") {
        s = ebb_slice3(s, 0, 2, 1);
    }
    DIES("ebb_slice3: from 0 to 3, capacity to 1000") {
        s = ebb_slice3(s, 0, 3, 1000);
    }
    DIES("ebb_slice_extend: from 3 to 1000") {
        s = ebb_slice_extend(s, 1000);
    }
    DIES("ebb_slice_extend: from 3 to 2") {
        s = ebb_slice_extend(s, 2);
    }
    DIES("ebb_truncate: index 4 is out of range") {
        ebb_truncate(&s, 4);
    }
    DIES("ebb_delete: the range from 3 to 4") {
        ebb_delete(&s, 3);
    }
    DIES("ebb_delete: the range from 1 to 4") {
        ebb_delete_range(&s, 1, 4);
    }
    DIES("ebb_delete: the range from 2 to 1") {
        ebb_delete_range(&s, 2, 1);
    }
    DIES("ebb_delete_unordered: index 3") {
        ebb_delete_unordered(&s, 3);
    }
    DIES("ebb_insert: the range from 4 to 4") {
        ebb_insert(&s, 4, 1);
    }
    DIES("ebb_insert: the range from 9 to 9") {
        ebb_insert_slice(&s, 9, s);
    }
    DIES("ebb_pop: index 0") {
        ebb_pop(&empty);
    }
    CHECK_INTS(s, 0, 1, 2);
}

/* --- Strings ---------------------------------------------------------------------------------- */

static const ebb_str constant = EBB_STR("constant");

TEST(strings) {
    ebb_str ann = ebb_s("ann");
    CHECK_EQ(ann.len, 3);
    CHECK_EQ(constant.len, 8);
    CHECK_EQ(ebb_s(NULL).len, 0);
    CHECK(ebb_str_equal(ann, ebb_str_copy(ann)));
    CHECK(!ebb_str_equal(ann, ebb_s("anna")));
    CHECK(ebb_str_equal(ebb_s(""), (ebb_str){0}));
    CHECK(ebb_str_compare(ann, ebb_s("anna")) < 0);
    CHECK(ebb_str_compare(ebb_s("b"), ebb_s("anna")) > 0);
    CHECK(ebb_str_compare(ebb_s("\xff"), ebb_s("a")) > 0);
    CHECK_EQ(ebb_str_compare((ebb_str){0}, ebb_s("")), 0);
    CHECK_STR(ebb_str_cstr(ebb_str_slice(constant, 3, 6)), "sta");
    CHECK(ebb_str_slice(constant, 8, 8).ptr == NULL);
    CHECK_STR(ebb_str_cstr((ebb_str){0}), "");
    ebb_str text = ebb_str_format("%s is %d", "ann", 42);
    CHECK_STR(text.ptr, "ann is 42");
    CHECK_EQ(text.len, 9);
    ebb_str empty = ebb_str_copy((ebb_str){0});
    CHECK(empty.ptr != NULL);
    CHECK_EQ(empty.len, 0);
}
