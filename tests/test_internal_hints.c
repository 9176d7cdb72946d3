/* test_internal_hints.c - what is marked before the last stop because a hint led there. Looks
 * inside. See docs/design.md, "The cycle". */
#include "test.h"

#include <ebb/runtime.h>
#include <pthread.h>

#include "../src/all.c"

#include "internal_kernel.h"

enum { DEPTH = 3000, FRAME = 300 };

static uintptr_t hidden[DEPTH];
static size_t found, asked;

/* Outside of the stop, and the thread whose stack it is waits. */
static void stopping(void) {
    asked++;
    found = 0;
    for (size_t i = 0; i < DEPTH; i++) found += !ebb__mark_is_dead(~hidden[i]);
}

static void *collect_minor(void *unused) {
    CHECK_EQ(ebb__collect(CAUSE_FORCED, false), 0);
    return unused;
}

static void *collect_full(void *unused) {
    CHECK_EQ(ebb__collect(CAUSE_FORCED, true), 0);
    return unused;
}

/* An object a frame, which that frame alone refers to. */
static NOINLINE size_t descend(size_t depth, void *(*collect)(void *unused)) {
    volatile char frame[FRAME];
    void *volatile object = ebb_alloc(48);
    pthread_t thread;
    CHECK(object != NULL);
    hidden[depth] = ~(uintptr_t)object;
    frame[0] = 1;
    if (depth + 1 < DEPTH) {
        depth = descend(depth + 1, collect);
    } else {
        CHECK_EQ(pthread_create(&thread, NULL, collect, NULL), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
    }
    ebb_keep_alive(object);
    return depth + (size_t)frame[0];
}

static void depths_found(void *(*collect)(void *unused)) {
    static const ebb_runtime runtime = {.stopping = stopping};
    CHECK_EQ(ebb_runtime_set(&runtime), 0);
    need_kernel();
    ebb__settings.pause_ns = 0; /* beside the program */
    asked = 0;
    CHECK(descend(0, collect) >= DEPTH);
    CHECK_EQ(asked, 1);
    CHECK(found >= DEPTH - 10); /* of the last ones words may be in registers yet */
}

TEST(depths_of_stacks_are_read_in_minor_cycles) {
    depths_found(collect_minor);
}

TEST(depths_of_stacks_are_read_in_full_cycles) {
    depths_found(collect_full);
}
