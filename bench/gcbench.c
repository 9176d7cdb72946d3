/* gcbench.c - GCBench, the classic mix of a long-lived tree, a large array of numbers and many
 * short-lived trees, half of them built from the root downwards (old nodes are written to) and half
 * from the leaves upwards (they are not). Written from its description, with its sizes: depth 16,
 * where a level is added to the tree that stretches the heap, and one array of 500,000 doubles.
 * Each thread does all of this.
 *
 *     gcbench_SIDE --depth 16 --threads 2
 *     gcbench_ebb --watch …        only whether the heap keeps its goal
 *     gcbench_ebb --pairs 100 …    only what samples cost: see pairs.h */
#include PEER_HEADER
#include "depth.h"

typedef struct node {
    struct node *left, *right;
    int i, j;
} node;
PEER_TYPE(node, ptr(left), ptr(right));

#define SMALLEST_DEPTH 4
#define ARRAY_LENGTH   500000

static size_t tree_size(unsigned depth) {
    return ((size_t)2 << depth) - 1;
}

static node *node_make(node *left, node *right) {
    node *n = peer_new(node);
    if (n == NULL) bench_fail("out of memory");
    *n = (node){left, right, 0, 0};
    return n;
}

static void tree_populate(unsigned depth, node *n) {
    if (depth == 0) return;
    n->left = node_make(NULL, NULL);
    n->right = node_make(NULL, NULL);
    tree_populate(depth - 1, n->left);
    tree_populate(depth - 1, n->right);
}

static node *tree_make(unsigned depth) {
    if (depth == 0) return node_make(NULL, NULL);
    node *left = tree_make(depth - 1);
    return node_make(left, tree_make(depth - 1));
}

static void tree_drop(node *n) {
    if (!PEER_FREES || n == NULL) return;
    tree_drop(n->left);
    tree_drop(n->right);
    peer_free(n);
}

static void trees_churn(unsigned depth, size_t count) {
    for (size_t i = 0; i < count; i++) {
        node *n = node_make(NULL, NULL);
        tree_populate(depth, n);
        tree_drop(n);
    }
    for (size_t i = 0; i < count; i++) tree_drop(tree_make(depth));
}

static size_t tree_count(const node *n) {
    return n == NULL ? 0 : 1 + tree_count(n->left) + tree_count(n->right);
}

static double *array_make(void) {
    double *array = (double *)peer_data(ARRAY_LENGTH * sizeof *array);
    if (array == NULL) bench_fail("out of memory");
    for (size_t i = 0; i < ARRAY_LENGTH; i++) array[i] = 1.0 / (double)(i + 1);
    return array;
}

static void *gcbench_thread(void *arg) {
    unsigned depth = *(const unsigned *)arg;
    tree_drop(tree_make(depth + 2));
    node *lasting = node_make(NULL, NULL);
    tree_populate(depth, lasting);
    double *array = array_make();
    for (unsigned d = SMALLEST_DEPTH; d <= depth; d += 2)
        trees_churn(d, 2 * tree_size(depth + 2) / tree_size(d));
    if (tree_count(lasting) != tree_size(depth)) bench_fail("the lasting tree lost nodes");
    if (array[1000] != 1.0 / 1001) bench_fail("the lasting array lost numbers");
    tree_drop(lasting);
    peer_free(array);
    return NULL;
}

int main(int argc, char **argv) {
    return depth_main(argc, argv, gcbench_thread, SMALLEST_DEPTH, 28);
}
