/* planted_rss.c - question 1: the profile says 4 MB, top says 50. One object in ten survives of
 * each page, so no page is free. The culprit is free_slots. */
#include "planted.h"

enum { OBJECTS = 100000, SURVIVES = 10 };
static void *volatile objects[OBJECTS];

__attribute__((noinline)) static void make(void) {
    for (int i = 0; i < OBJECTS; i++) objects[i] = memset(ebb_alloc_data(400), 1, 400);
    for (int i = 0; i < OBJECTS; i++)
        if (i % SURVIVES) objects[i] = NULL;
}

int main(void) {
    ebb_set_gc_percent(-1);
    make();
    planted_forget();
    ebb_collect();
    planted_stay();
}
