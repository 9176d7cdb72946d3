/* test_gc_programs.c - whole programs as collectors are measured by, run here for their results:
 * trees that are built, counted and dropped beside a tree that stays. See docs/design.md, "The
 * collector". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "modes.h"
#include "test.h"

typedef struct tree {
    struct tree *left, *right;
    uint32_t depth, check; /* check == ~depth */
} tree;
EBB_TYPE(tree, ptr(left), ptr(right));

static tree *tree_leaf(unsigned depth) {
    tree *t = ebb_new(tree);
    CHECK(t != NULL);
    CHECK(!t->left && !t->right && !t->depth);
    t->depth = depth;
    t->check = ~depth;
    return t;
}

static tree *tree_bottom_up(unsigned depth) {
    if (depth == 0) return tree_leaf(0);
    tree *left = tree_bottom_up(depth - 1), *right = tree_bottom_up(depth - 1);
    tree *t = tree_leaf(depth);
    t->left = left;
    t->right = right;
    return t;
}

static void tree_fill(tree *t) {
    if (t->depth == 0) return;
    t->left = tree_leaf(t->depth - 1);
    t->right = tree_leaf(t->depth - 1);
    tree_fill(t->left);
    tree_fill(t->right);
}

static tree *tree_top_down(unsigned depth) {
    tree *t = tree_leaf(depth);
    tree_fill(t);
    return t;
}

static size_t tree_count(const tree *t) {
    CHECK_EQ(t->check, ~t->depth);
    if (t->depth == 0) {
        CHECK(!t->left && !t->right);
        return 1;
    }
    CHECK_EQ(t->left->depth, t->depth - 1);
    CHECK_EQ(t->right->depth, t->depth - 1);
    return 1 + tree_count(t->left) + tree_count(t->right);
}

static size_t tree_size(unsigned depth) {
    return ((size_t)2 << depth) - 1;
}

/* As deep as fits the build: every mode multiplies the time. */
static unsigned programs_depth(unsigned depth) {
    if (test_slow()) depth -= 1;
    if (modes_have("stress=")) depth -= 4;
    return depth;
}

/* Each object is a step. */
static void programs_done(void) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    CHECK(stats.cycles > 0);
    modes_steps(stats.alloc_objects);
}

/* --- Binary trees --------------------------------------------------------------------------- */

static NOINLINE void trees_of_depth(unsigned depth, unsigned deepest) {
    size_t rounds = ((size_t)1 << (deepest - depth + 2)) * test_scale();
    for (size_t i = 0; i < rounds; i++) {
        tree *t = i % 2 ? tree_bottom_up(depth) : tree_top_down(depth);
        CHECK_EQ(tree_count(t), tree_size(depth));
    }
}

TEST(trees) {
    unsigned deepest = programs_depth(16);
    CHECK_EQ(tree_count(tree_bottom_up(deepest + 1)), tree_size(deepest + 1));
    tree *stays = tree_bottom_up(deepest);
    for (unsigned depth = 4; depth <= deepest; depth += 4) trees_of_depth(depth, deepest);
    CHECK_EQ(tree_count(stays), tree_size(deepest));
    programs_done();
}

static void *trees_body(void *arg) {
    unsigned deepest = programs_depth(13) + (unsigned)(uintptr_t)arg % 2;
    tree *stays = tree_top_down(deepest);
    for (unsigned depth = 3; depth <= deepest; depth += 3) trees_of_depth(depth, deepest);
    CHECK_EQ(tree_count(stays), tree_size(deepest));
    return NULL;
}

TEST(trees_in_threads) {
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, trees_body, (void *)i), 0);
    }
    for (size_t i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    programs_done();
}

/* --- A bench of a collector's life: stretch, keep, litter ----------------------------------- */

enum { KEPT_NUMBERS = 500000 };

static NOINLINE double *gcbench_numbers(void) {
    double *numbers = ebb_new_array(double, KEPT_NUMBERS);
    CHECK(numbers != NULL);
    for (size_t i = 0; i < KEPT_NUMBERS / 2; i++) numbers[i] = 1.0 / (double)(i + 1);
    return numbers;
}

static NOINLINE void gcbench_litter(unsigned depth, unsigned kept_depth) {
    size_t rounds = 2 * tree_size(kept_depth) / tree_size(depth) * test_scale();
    for (size_t i = 0; i < rounds; i++)
        CHECK_EQ(tree_count(tree_top_down(depth)), tree_size(depth));
    for (size_t i = 0; i < rounds; i++) {
        CHECK_EQ(tree_count(tree_bottom_up(depth)), tree_size(depth));
    }
}

TEST(gcbench) {
    struct ebb_stats stats;
    unsigned kept_depth = programs_depth(16), stretch_depth = programs_depth(18);
    CHECK_EQ(tree_count(tree_bottom_up(stretch_depth)), tree_size(stretch_depth));
    tree *kept = tree_leaf(kept_depth);
    tree_fill(kept);
    double *numbers = gcbench_numbers();
    for (unsigned depth = 4; depth <= kept_depth; depth += 2) gcbench_litter(depth, kept_depth);
    CHECK_EQ(tree_count(kept), tree_size(kept_depth));
    for (size_t i = 0; i < KEPT_NUMBERS; i++) {
        CHECK(numbers[i] == (i < KEPT_NUMBERS / 2 ? 1.0 / (double)(i + 1) : 0.0));
    }
    ebb_stats(&stats);
    CHECK(stats.freed_objects > 0);
    programs_done();
}

/* --- Shapes that hurt a marker -------------------------------------------------------------- */

/* A list is as deep as it is long: marking must not recurse. */
TEST(a_list_of_a_million) {
    size_t length = (size_t)1 << 20;
    tree *head = NULL;
    for (size_t i = 0; i < length; i++) {
        tree *t = tree_leaf((unsigned)(i & 0xff));
        t->right = head;
        head = t;
    }
    CHECK_EQ(ebb_collect(), 0);
    size_t found = 0;
    for (tree *t = head; t; t = t->right, found++) CHECK_EQ(t->check, ~t->depth);
    CHECK_EQ(found, length);
}

/* One array that refers to everything, and everything refers back to it. */
TEST(a_wide_array) {
    size_t count = (size_t)1 << 20;
    void ***array = ebb_new_array(void **, count);
    for (size_t i = 0; i < count; i++) {
        array[i] = ebb_new_array(void *, 2);
        CHECK(array[i] != NULL);
        array[i][0] = array;
        array[i][1] = &array[count - 1 - i];
    }
    CHECK_EQ(ebb_collect(), 0);
    for (size_t i = 0; i < count; i++) {
        CHECK(array[i][0] == array && array[i][1] == &array[count - 1 - i]);
    }
}

/* Arrays of which hardly anything was touched: what a word of one refers to is kept wherever it
 * stands, and what was not touched is not touched by a collection either. */
enum { SPARSE_WORDS = 3 << 23, SPARSE_PLACES = 40, SPARSE_ARRAYS = 4 };

typedef struct sparse_entry {
    tree *kept;
    uint64_t number, more; /* three words, so that some cross pages */
} sparse_entry;
EBB_TYPE(sparse_entry, ptr(kept));

typedef struct sparse_list {
    struct {
        tree **ptr;
        size_t len, cap;
    } kept;
    uint64_t number, more;
} sparse_list;
EBB_TYPE(sparse_list, slice(kept));

/* The words of an element, of which the first refers to a tree, or a slice's array does. */
static const size_t sparse_element[SPARSE_ARRAYS] = {1, 1, 3, 5};
static tree **sparse_words[SPARSE_ARRAYS];
static size_t sparse_places[SPARSE_ARRAYS][SPARSE_PLACES];

static NOINLINE void sparse_put(size_t array, size_t i, size_t place) {
    place -= place % sparse_element[array];
    sparse_places[array][i] = place;
    if (array < SPARSE_ARRAYS - 1) {
        sparse_words[array][place] = tree_leaf((unsigned)place);
        return;
    }
    sparse_list *list = (sparse_list *)&sparse_words[array][place];
    list->kept.ptr = ebb_new_array(tree *, 1);
    CHECK(list->kept.ptr != NULL);
    list->kept.len = list->kept.cap = 1;
    list->kept.ptr[0] = tree_leaf((unsigned)place);
}

static NOINLINE void sparse_make(uint64_t *state) {
    enum { PIECE = 128 * 1024 / 8, LOOK = 32 * 1024 * 1024 / 8 };
    static const size_t edges[] = {
        0, PIECE - 2, PIECE, 9 * PIECE, 9 * PIECE + LOOK - 1, 10 * PIECE + 2 * LOOK};
    sparse_words[0] = ebb_alloc(SPARSE_WORDS * sizeof(void *));
    sparse_words[1] = ebb_new_array(tree *, SPARSE_WORDS);
    sparse_words[2] = (void *)ebb_new_array(sparse_entry, SPARSE_WORDS / 3);
    sparse_words[3] = (void *)ebb_new_array(sparse_list, SPARSE_WORDS / 5);
    for (size_t a = 0; a < SPARSE_ARRAYS; a++) {
        CHECK(sparse_words[a] != NULL);
        for (size_t i = 0; i < SPARSE_PLACES; i++) {
            bool edge = i < sizeof edges / sizeof edges[0];
            sparse_put(a, i, edge ? edges[i] : test_random_below(state, SPARSE_WORDS - 5));
        }
        sparse_put(a, SPARSE_PLACES - 1, SPARSE_WORDS / sparse_element[a] * sparse_element[a] - 1);
    }
}

static NOINLINE void sparse_check(void) {
    for (size_t a = 0; a < SPARSE_ARRAYS; a++)
        for (size_t i = 0; i < SPARSE_PLACES; i++) {
            const tree *t = sparse_words[a][sparse_places[a][i]];
            if (a == SPARSE_ARRAYS - 1) t = ((tree **)t)[0];
            CHECK_EQ(t->depth, sparse_places[a][i]);
            CHECK_EQ(t->check, ~t->depth);
        }
}

static size_t sparse_touched(void) {
    static unsigned char pages[SPARSE_WORDS * sizeof(void *) / 4096];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = SPARSE_WORDS * sizeof(void *), touched = 0;
    for (size_t a = 0; a < SPARSE_ARRAYS; a++) {
        uintptr_t start = (uintptr_t)sparse_words[a] / page * page;
        CHECK_EQ(mincore((void *)start, bytes, pages), 0);
        for (size_t i = 0; i < bytes / page; i++) touched += pages[i] & 1;
    }
    return touched;
}

TEST(sparse_arrays) {
    uint64_t state = test_seed();
    sparse_make(&state);
    for (unsigned round = 0; round < 3; round++) {
        CHECK_EQ(ebb_collect(), 0);
        for (unsigned i = 0; i < 20000; i++) tree_leaf(i);
        sparse_check();
        /* A slice may stand on two pages. */
        CHECK(sparse_touched() <= (SPARSE_ARRAYS + 1) * (SPARSE_PLACES + round));
        for (size_t a = 0; a < SPARSE_ARRAYS; a++)
            sparse_put(a, round + 7, test_random_below(&state, SPARSE_WORDS - 5));
    }
}

/* What is dropped makes room: the heap stays within a small multiple of what lives. */
TEST(litter_does_not_pile_up) {
    struct ebb_stats stats;
    tree *kept = tree_bottom_up(12);
    for (size_t i = 0; i < 2000; i++) {
        CHECK_EQ(tree_count(tree_bottom_up(10)), tree_size(10));
        if (i % 100 != 99) continue;
        ebb_stats(&stats);
        CHECK(stats.heap_used < (size_t)64 << 20);
    }
    CHECK_EQ(tree_count(kept), tree_size(12));
}

/* --- The same in the modes ------------------------------------------------------------------ */

TEST(trees_with_stress) {
    MODES_PASS("trees", "stress=5003,verify=1", NULL);
    MODES_PASS("trees_in_threads", "stress=4001", NULL);
}

TEST(gcbench_with_stress) {
    MODES_PASS("gcbench", "stress=20011,verify=1", NULL);
}

TEST(programs_with_little_and_much_room) {
    MODES_PASS("gcbench", NULL, "percent=10");
    MODES_PASS("trees", NULL, "percent=1000");
    MODES_PASS("gcbench", NULL, "limit=256MiB,percent=400");
}
