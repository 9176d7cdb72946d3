/* handles.c - two million tree nodes that the collector never looks at: they lie outside the heap,
 * and refer to one another by handles, which are numbers. Names are numbers too, of a string bank.
 * All of it goes back to the system at once. */
#include <ebb/ebb.h>
#include <stdio.h>

typedef struct node node;
EBB_POOL(nodes, node);
struct node {
    nodes_handle left, right;
    ebb_bank_id name;
};

static nodes_handle tree_build(nodes *pool, ebb_bank *names, int depth) {
    nodes_handle handle;
    char name[32];
    snprintf(name, sizeof name, "level %d", depth);
    node *n = ebb_pool_new(pool, &handle);
    if (!n) return handle;
    n->name = ebb_bank_intern(names, ebb_s(name));
    if (depth > 0) {
        n->left = tree_build(pool, names, depth - 1); /* slots never move: n stays valid */
        n->right = tree_build(pool, names, depth - 1);
    }
    return handle;
}

static size_t tree_count(nodes *pool, nodes_handle handle) {
    if (ebb_handle_null(handle)) return 0;
    node *n = ebb_pool_at(pool, handle);
    return 1 + tree_count(pool, n->left) + tree_count(pool, n->right);
}

int main(void) {
    nodes pool = {0};
    ebb_bank names = {0};
    nodes_handle root = tree_build(&pool, &names, 20);
    ebb_str name = ebb_bank_text(&names, ebb_pool_at(&pool, root)->name);
    printf("%zu nodes and %u names in %.1f MB outside the heap, the root is \"%.*s\"\n",
           tree_count(&pool, root), ebb_bank_len(&names),
           (double)(ebb_pool_bytes(&pool) + ebb_bank_bytes(&names)) / 1e6, (int)name.len, name.ptr);

    ebb_pool_release(&pool);
    ebb_bank_release(&names);
    printf("released: %.1f MB; the root's handle is now %s\n", (double)ebb_pool_bytes(&pool) / 1e6,
           ebb_pool_get(&pool, root) ? "good" : "stale");
    return 0;
}
