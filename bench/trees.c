/* trees.c - binary trees: one tree of full depth lives throughout while 2^(depth - d + 4) trees of
 * each depth d = 4, 6, … are built, counted and dropped, after one that is a level deeper. The
 * sides that free by hand walk each tree once more to free it. Each thread does all of this.
 *
 *     trees_SIDE --depth 21 --threads 2
 *     trees_ebb --watch …          only whether the heap keeps its goal
 *     trees_ebb --pairs 100 …      only what samples cost: see pairs.h */
#include PEER_HEADER
#include "depth.h"

typedef struct tree {
    struct tree *left, *right;
} tree;
PEER_TYPE(tree, ptr(left), ptr(right));

#define SMALLEST_DEPTH 4

static tree *tree_make(unsigned depth) {
    tree *t = peer_new(tree);
    if (t == NULL) bench_fail("out of memory");
    t->left = depth == 0 ? NULL : tree_make(depth - 1);
    t->right = depth == 0 ? NULL : tree_make(depth - 1);
    return t;
}

static size_t tree_count(const tree *t) {
    return t->left == NULL ? 1 : 1 + tree_count(t->left) + tree_count(t->right);
}

static void tree_drop(tree *t) {
    if (!PEER_FREES || t == NULL) return;
    tree_drop(t->left);
    tree_drop(t->right);
    peer_free(t);
}

static void tree_check(const tree *t, unsigned depth) {
    if (tree_count(t) != ((size_t)2 << depth) - 1) bench_fail("a tree lost nodes");
}

static void trees_of_depth(unsigned depth, size_t count) {
    for (size_t i = 0; i < count; i++) {
        tree *t = tree_make(depth);
        tree_check(t, depth);
        tree_drop(t);
    }
}

static void *trees_thread(void *arg) {
    unsigned depth = *(const unsigned *)arg;
    trees_of_depth(depth + 1, 1);
    tree *lasting = tree_make(depth);
    for (unsigned d = SMALLEST_DEPTH; d <= depth; d += 2)
        trees_of_depth(d, (size_t)1 << (depth - d + SMALLEST_DEPTH));
    tree_check(lasting, depth);
    tree_drop(lasting);
    return NULL;
}

int main(int argc, char **argv) {
    return depth_main(argc, argv, trees_thread, SMALLEST_DEPTH, 30);
}
