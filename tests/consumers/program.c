/* program.c - what every consumer builds: a program that has only the installed headers and
 * library, and sees its memory come back. */
#include <ebb/ebb.h>
#include <stdio.h>

typedef struct node {
    struct node *next;
    char payload[4096];
} node;
EBB_TYPE(node, ptr(next));

static void build_and_drop(void) {
    node *list = NULL;
    for (int i = 0; i < 10000; i++) {
        node *head = ebb_new(node);
        if (!head) return;
        head->next = list;
        list = head;
    }
    ebb_keep_alive(list);
}

int main(void) {
    struct ebb_stats before, after;
    build_and_drop();
    ebb_stats(&before);
    ebb_release();
    ebb_stats(&after);
    printf("live before %llu, after %llu\n", (unsigned long long)before.live,
           (unsigned long long)after.live);
    return after.live < ((uint64_t)20 << 20) ? 0 : 1;
}
