/* served.c - a program to look at: it builds up a tree of records, lets go of half of it, and
 * begins again, so that every line of the chart moves. It serves as its environment says, and ends
 * when its standard input does.
 *
 *     served [records]      20000 a round if not said otherwise */
#include <ebb/ebb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

EBB_SLICE(samples, double);

typedef struct record {
    struct record *older;
    char *text;
    samples values;
} record;

EBB_TYPE(record, ptr(older), ptr(text), slice(values));

static record *newest;

__attribute__((noinline)) static record *record_make(record *older) {
    record *r = ebb_new(record);
    if (!r) exit(1);
    r->older = older;
    r->text = ebb_alloc(64);
    for (int i = 0; i < 12; i++) ebb_append(&r->values, i * 0.5);
    return r;
}

static void keep_newest(size_t records) {
    record *r = newest;
    for (size_t i = 0; r && i < records; i++) r = r->older;
    if (r) r->older = NULL;
    ebb_collect();
}

/* Some records always stay: who asks at any time finds one in the profile. */
static void round_up_and_down(size_t records) {
    for (size_t i = 0; i < records; i++) newest = record_make(newest);
    keep_newest(records / 2);
    if (rand() % 8 == 0) {
        keep_newest(records / 4);
        ebb_release();
    }
}

int main(int argc, char **argv) {
    size_t records = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    printf("%d\n", (int)getpid());
    fflush(stdout);
    do round_up_and_down(records);
    while (poll(&input, 1, 100) <= 0); /* a stop of the world interrupts it */
    return 0;
}
