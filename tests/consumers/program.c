/* program.c - what every consumer builds: a program that has only the installed headers and
 * library, and sees its memory come back. */
#include <ebb/ebb.h>
#include <stdio.h>

typedef struct page {
    struct page *self;
    char payload[4096];
} page;
EBB_TYPE(page, ptr(self));

/* Nobody but itself refers to any of them: a stale word on the stack keeps one, not all. */
static void pages_drop(void) {
    for (int i = 0; i < 10000; i++) {
        page *p = ebb_new(page);
        if (p) p->self = p;
    }
}

int main(void) {
    struct ebb_stats before, after;
    pages_drop();
    ebb_stats(&before);
    ebb_release();
    ebb_stats(&after);
    printf("live before %llu, after %llu\n", (unsigned long long)before.live,
           (unsigned long long)after.live);
    return after.live < 1 << 20 && before.alloc_bytes > 40000000 ? 0 : 1;
}
