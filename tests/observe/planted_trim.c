/* planted_trim.c - question 7: after a peak RSS stays. Idle collections are off, and a large goal
 * keeps the free pages for the next peak. */
#include "planted.h"

static void *volatile kept[60], *volatile peak[100];

__attribute__((noinline)) static void make(void) {
    for (int i = 0; i < 60; i++) kept[i] = memset(ebb_alloc_data(1 << 20), 1, 1 << 20);
    for (int i = 0; i < 50; i++) peak[i] = memset(ebb_alloc_data(1 << 20), 1, 1 << 20);
    for (int i = 0; i < 50; i++) peak[i] = NULL;
}

int main(void) {
    make();
    planted_forget();
    ebb_collect();
    planted_stay();
}
