/* test_internal_fork.c - what a forked child makes of threads that were setting the bounds of their
 * runs when the fork came. The moment is a few instructions long, so it is put into the other
 * thread's record by hand. See docs/design.md, "Threads". */
#include <ebb/gc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/heap/bins.h"
#include "test.h"

enum { COUNT = 4000, SIZE = 56 };

static unsigned char *torn_objects[COUNT];
static heap_thread *torn_thread;
static pthread_barrier_t torn_ready, torn_end;

static void *torn_body(void *arg) {
    for (size_t i = 0; i < COUNT; i++) {
        torn_objects[i] = ebb_alloc(SIZE);
        CHECK(torn_objects[i] != NULL);
        memset(torn_objects[i], (int)(i % 100), SIZE);
    }
    torn_thread = ebb__self;
    pthread_barrier_wait(&torn_ready);
    pthread_barrier_wait(&torn_end);
    return arg;
}

static slot *torn_slot(void) {
    const span *s = ebb__span_at((uintptr_t)torn_objects[COUNT - 1]);
    for (size_t i = 0; i < SLOTS; i++)
        if (torn_thread->slots[i].span == s) return &torn_thread->slots[i];
    test_fail(__FILE__, __LINE__, "no slot has the span");
}

static void torn_check(void) {
    for (size_t i = 0; i < COUNT; i++)
        for (size_t j = 0; j < SIZE; j++) CHECK_EQ(torn_objects[i][j], i % 100);
}

static void torn_child(const slot *slot) {
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 100000; i++) {
            void *p = ebb_alloc(SIZE);
            CHECK(p != NULL);
            memset(p, 255, SIZE);
        }
        CHECK_EQ(ebb_collect(), 0);
    }
    torn_check();
    CHECK_EQ(slot->changes % 2, 0);
    _exit(0);
}

/* Forks with the slot's bounds as given, and as if they were being set. */
static void torn_try(slot *slot, uintptr_t cursor, uintptr_t end) {
    uintptr_t old_cursor = slot->cursor, old_end = slot->end;
    int status;
    atomic_fetch_add(&slot->changes, 1);
    slot->cursor = cursor;
    slot->end = end;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) torn_child(slot);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    slot->cursor = old_cursor;
    slot->end = old_end;
    atomic_fetch_add(&slot->changes, 1);
}

TEST(fork_while_a_run_is_opened) {
    pthread_t thread;
    pthread_barrier_init(&torn_ready, NULL, 2);
    pthread_barrier_init(&torn_end, NULL, 2);
    CHECK(ebb_alloc(1) != NULL);
    CHECK_EQ(pthread_create(&thread, NULL, torn_body, NULL), 0);
    pthread_barrier_wait(&torn_ready);
    slot *slot = torn_slot();
    uintptr_t start = span_start(slot->span);
    torn_try(slot, start, start + slot->span->count * slot->span->stride);
    torn_try(slot, 0, slot->end);
    torn_try(slot, slot->cursor, slot->end);
    torn_check();
    pthread_barrier_wait(&torn_end);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}
