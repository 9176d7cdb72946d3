/* first.c - the first program: a million objects, none freed by hand, and the memory comes back. */
#include <ebb/ebb.h>
#include <stdio.h>

typedef struct node {
    struct node *next;
    int number;
} node;
EBB_TYPE(node, ptr(next));

static void show(const char *when) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    printf("%-22s %6.1f MB in objects, %6.1f MB resident\n", when, (double)stats.live / 1e6,
           (double)stats.rss / 1e6);
}

/* In a function of its own, so that no forgotten word of main's stack keeps the list. */
static __attribute__((noinline)) long list_sum(void) {
    node *list = NULL;
    for (int i = 0; i < 1000000; i++) {
        node *head = ebb_new(node);
        *head = (node){.next = list, .number = i};
        list = head;
    }
    show("a list of a million:");
    long sum = 0;
    for (node *n = list; n; n = n->next) sum += n->number;
    return sum;
}

int main(void) {
    show("at first:");
    printf("the sum is %ld\n", list_sum());
    ebb_release(); /* at once; without it, within seconds */
    show("the list forgotten:");
    return 0;
}
