/* test_misuse.c - each misuse of the heap and the collector: the line that it prints before it
 * aborts, and the code that the call returns when it is told not to. The containers' and off-heap
 * misuses are tested beside them. See include/ebb/config.h on misuse. */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "modes.h"
#include "test.h"

static int in_static_storage;

/* A misuse aborts in every build, from here on to the end of the case. Before any call of Ebb. */
static void misuse_aborts(void) {
    setenv("EBB_DEBUG", "misuse=abort", 1);
    CHECK(ebb_alloc(8) != NULL);
}

static void misuse_returns(void) {
    setenv("EBB_DEBUG", "misuse=return", 1);
    CHECK(ebb_alloc(8) != NULL);
}

static void misuse_finalizer(void *object, void *arg) {
    (void)object, (void)arg;
}

/* --- ebb_free ------------------------------------------------------------------------------- */

TEST(free_of_a_foreign_pointer) {
    int local;
    void *malloced = malloc(10);
    DIES("ebb: ebb_free: 0x") {
        misuse_aborts();
        ebb_free(&local);
    }
    DIES("does not point into Ebb's heap") {
        misuse_aborts();
        ebb_free(&in_static_storage);
    }
    DIES("does not point into Ebb's heap") {
        misuse_aborts();
        ebb_free(malloced);
    }
    misuse_returns();
    CHECK_EQ(ebb_free(&local), EBB_ENOTHEAP);
    CHECK_EQ(ebb_free(&in_static_storage), EBB_ENOTHEAP);
    CHECK_EQ(ebb_free(malloced), EBB_ENOTHEAP);
    CHECK_EQ(ebb_free((void *)1), EBB_ENOTHEAP);
    free(malloced);
}

TEST(free_before_the_first_allocation) {
    int local;
    setenv("EBB_DEBUG", "misuse=return", 1);
    DIES("ebb: ebb_free: 0x") {
        setenv("EBB_DEBUG", "misuse=abort", 1);
        ebb_free(&local);
    }
    CHECK_EQ(ebb_free(&local), EBB_ENOTHEAP);
}

TEST(free_of_the_middle) {
    DIES("points 8 bytes into the object at 0x") {
        misuse_aborts();
        ebb_free((char *)ebb_alloc(100) + 8);
    }
    DIES("points 1000000 bytes into the object at 0x") {
        misuse_aborts();
        ebb_free((char *)ebb_alloc_data(5000000) + 1000000);
    }
    misuse_returns();
    for (size_t size = 2; size < 3000000; size *= 3) {
        char *p = ebb_alloc(size);
        CHECK_EQ(ebb_free(p + 1), EBB_ENOTBASE);
        CHECK_EQ(ebb_free(p + size - 1), EBB_ENOTBASE);
        CHECK_EQ(ebb_free(p), 0);
    }
}

TEST(free_twice) {
    DIES("released before") {
        misuse_aborts();
        void *p = ebb_alloc(100);
        ebb_free(p);
        ebb_free(p);
    }
    DIES("released before") {
        misuse_aborts();
        void *p = ebb_alloc_data(5000000);
        ebb_free(p);
        ebb_free(p);
    }
    misuse_returns();
    for (size_t size = 1; size < 3000000; size *= 3) {
        void *p = ebb_alloc(size);
        CHECK_EQ(ebb_free(p), 0);
        CHECK_EQ(ebb_free(p), EBB_EDOUBLE);
        void *q = ebb_alloc(size);
        CHECK(q != NULL);
        memset(q, 1, size);
    }
}

/* Two threads release the same objects: each object is released once. */
static void *racing[20000];

static void *racer_body(void *arg) {
    size_t *released = arg;
    for (size_t i = 0; i < 20000; i++) {
        int code = ebb_free(racing[i]);
        CHECK(code == 0 || code == EBB_EDOUBLE);
        *released += code == 0;
    }
    return NULL;
}

TEST(free_twice_by_two_threads) {
    pthread_t threads[2];
    size_t released[2] = {0};
    misuse_returns();
    for (size_t i = 0; i < 20000; i++) racing[i] = ebb_alloc(i % 1000 ? 64 : 100000);
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, racer_body, &released[i]), 0);
    }
    for (size_t i = 0; i < 2; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(released[0] + released[1], 20000);
}

/* --- ebb_resize ----------------------------------------------------------------------------- */

TEST(resize_of_what_is_no_object) {
    int local;
    DIES("ebb: ebb_resize: 0x") {
        misuse_aborts();
        if (ebb_resize(&local, 100)) exit(0);
    }
    DIES("bytes into the object") {
        misuse_aborts();
        if (ebb_resize((char *)ebb_alloc(100) + 16, 200)) exit(0);
    }
    DIES("released before") {
        misuse_aborts();
        void *p = ebb_alloc(100);
        ebb_free(p);
        if (ebb_resize(p, 200)) exit(0);
    }
    misuse_returns();
    char *p = ebb_alloc(100);
    memset(p, 7, 100);
    CHECK(ebb_resize(&local, 100) == NULL);
    CHECK(ebb_resize(p + 16, 200) == NULL);
    CHECK(p[0] == 7 && p[99] == 7);
    CHECK_EQ(ebb_free(p), 0);
    CHECK(ebb_resize(p, 200) == NULL);
}

/* --- Alignment ------------------------------------------------------------------------------ */

TEST(alignment_that_is_none) {
    static const size_t bad[] = {0, 3, 24, 100, (size_t)1 << 31, (size_t)1 << 63, SIZE_MAX};
    DIES("ebb: ebb_alloc_aligned: alignment 24 ") {
        misuse_aborts();
        if (ebb_alloc_aligned(100, 24)) exit(0);
    }
    DIES("ebb: ebb_alloc_data_aligned: alignment 0 ") {
        misuse_aborts();
        if (ebb_alloc_data_aligned(100, 0)) exit(0);
    }
    misuse_returns();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK(ebb_alloc_aligned(64, bad[i]) == NULL);
        CHECK(ebb_alloc_data_aligned(64, bad[i]) == NULL);
    }
}

/* --- Roots ---------------------------------------------------------------------------------- */

TEST(roots_that_are_none) {
    static void *words[10];
    DIES("ebb: ebb_root_add: ") {
        misuse_aborts();
        ebb_root_add(NULL, 100);
    }
    DIES("ebb: ebb_root_add: ") {
        misuse_aborts();
        ebb_root_add(words, SIZE_MAX);
    }
    DIES("ebb: ebb_root_exclude: ") {
        misuse_aborts();
        ebb_root_exclude(NULL, 8);
    }
    DIES("ebb: ebb_stack_add: ") {
        misuse_aborts();
        ebb_stack_add(NULL, 8);
    }
    DIES("was not added") {
        misuse_aborts();
        ebb_root_remove(words);
    }
    misuse_returns();
    CHECK_EQ(ebb_root_add(NULL, 100), EBB_EINVAL);
    CHECK_EQ(ebb_root_add(words, SIZE_MAX), EBB_EINVAL);
    CHECK_EQ(ebb_root_exclude(NULL, 100), EBB_EINVAL);
    CHECK_EQ(ebb_stack_add(NULL, 100), EBB_EINVAL);
    CHECK_EQ(ebb_root_remove(words), EBB_ENOENT);
    CHECK_EQ(ebb_root_add(words, sizeof words), 0);
    CHECK_EQ(ebb_root_remove(words + 1), EBB_ENOENT);
    CHECK_EQ(ebb_root_remove(words), 0);
    CHECK_EQ(ebb_root_remove(words), EBB_ENOENT);
}

/* --- Brackets ------------------------------------------------------------------------------- */

TEST(brackets_that_do_not_match) {
    DIES("ebb: ebb_blocking_begin: ") {
        misuse_aborts();
        ebb_blocking_begin();
        ebb_blocking_begin();
    }
    DIES("ebb: ebb_blocking_end: ") {
        misuse_aborts();
        ebb_blocking_end();
    }
    misuse_returns();
    ebb_blocking_end();
    CHECK_EQ(ebb_collect(), 0);
    ebb_blocking_begin();
    ebb_blocking_begin();
    ebb_blocking_end();
    CHECK_EQ(ebb_collect(), 0);
}

/* --- Finalizers ----------------------------------------------------------------------------- */

TEST(finalizers_of_what_is_no_object) {
    int local;
    DIES("ebb: ebb_finalizer_set: 0x") {
        misuse_aborts();
        ebb_finalizer_set(&local, misuse_finalizer, NULL);
    }
    DIES("ebb: ebb_finalizer_set: ") {
        misuse_aborts();
        ebb_finalizer_set(NULL, misuse_finalizer, NULL);
    }
    DIES("bytes into the object") {
        misuse_aborts();
        ebb_finalizer_set((char *)ebb_alloc(64) + 32, misuse_finalizer, NULL);
    }
    misuse_returns();
    char *p = ebb_alloc(64);
    CHECK_EQ(ebb_finalizer_set(NULL, misuse_finalizer, NULL), EBB_ENOTHEAP);
    CHECK_EQ(ebb_finalizer_set(&local, misuse_finalizer, NULL), EBB_ENOTHEAP);
    CHECK_EQ(ebb_finalizer_set(p + 32, misuse_finalizer, NULL), EBB_ENOTBASE);
    CHECK_EQ(ebb_finalizer_set(p, misuse_finalizer, NULL), 0);
    CHECK_EQ(ebb_finalizer_set(p, NULL, NULL), 0);
    CHECK_EQ(ebb_finalizer_set(p, NULL, NULL), EBB_ENOENT);
}

/* --- The texts ------------------------------------------------------------------------------ */

TEST(every_code_has_a_name_and_a_text) {
#define MISUSE_CHECK(name, number, text) \
 CHECK_STR(ebb_error_name(name), #name); \
 CHECK_STR(ebb_error_text(number), text);
    EBB_ERRORS(MISUSE_CHECK)
    CHECK_STR(ebb_error_text(-1000), "unknown error");
    CHECK_STR(ebb_error_text(1), "unknown error");
}

/* Nothing that was refused has damaged anything. */
TEST(the_heap_is_sound_afterwards) {
    uint64_t state = test_seed();
    setenv("EBB_DEBUG", "misuse=return,verify=1", 1);
    static char *kept[1000];
    for (size_t i = 0; i < 1000; i++) kept[i] = memset(ebb_alloc(1 + i), (int)(i & 0xff), 1 + i);
    for (int i = 0; i < 20000; i++) {
        char *p = kept[test_random_below(&state, 1000)];
        char *wrong = p + 1 + test_random_below(&state, 3000);
        if (ebb_base_of(wrong) == wrong) continue;
        CHECK(ebb_free(wrong) < 0);
        CHECK(ebb_resize(wrong, 10) == NULL);
        CHECK(ebb_finalizer_set(wrong, misuse_finalizer, NULL) < 0);
    }
    CHECK_EQ(ebb_collect(), 0);
    for (size_t i = 0; i < 1000; i++) {
        for (size_t k = 0; k <= i; k++) CHECK_EQ((unsigned char)kept[i][k], i & 0xff);
    }
}
