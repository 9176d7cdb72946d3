/* planted_behind.c - question 6: everything is slow. The limit leaves hardly any room over what is
 * alive, so cycle follows cycle and threads wait for them. The culprit is the limit. */
#include "planted.h"

enum { NODES = 400000 };
typedef struct node {
    struct node *next;
    char rest[56];
} node;

static node *volatile list;
static void *volatile last;

static void work(void) {
    for (int i = 0; i < 100; i++) last = ebb_alloc(16000);
}

int main(void) {
    for (int i = 0; i < NODES; i++) {
        node *n = ebb_alloc(sizeof *n);
        n->next = list;
        list = n;
    }
    ebb_set_memory_limit((size_t)46 << 20);
    for (int i = 0; i < 200; i++) work();
    planted_ready();
    for (int i = 0; i < 100000; i++) work();
}
