/* planted_false.c - question 9, is it a false pointer: the program has let go of a picture, but a
 * number on the stack of a thread happens to be its address. */
#include <pthread.h>
#include <string.h>

#include "planted.h"

typedef struct picture {
    struct picture *thumbnail;
    char pixels[20000000];
} picture;

EBB_TYPE(picture, ptr(thumbnail));

static _Atomic(int) stage;

/* The checksum is a number; its type says so, but a stack has no types. */
static void *checksum_thread(void *unused) {
    picture *p = ebb_new(picture);
    memset(p->pixels, 1, sizeof p->pixels);
    volatile uintptr_t checksum = (uintptr_t)p;
    p = NULL;
    stage = 1;
    while (stage < 2) usleep(1000);
    return checksum ? unused : NULL;
}

int main(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, checksum_thread, NULL) != 0) return 1;
    while (stage < 1) usleep(1000);
    planted_stay();
    stage = 2;
    pthread_join(thread, NULL);
    return 0;
}
