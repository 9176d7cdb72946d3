/* load.h - the random work of tests that hold a running heap's figures against each other: objects
 * of all sizes that are kept, resized, freed and forgotten. */
#ifndef TESTS_LOAD_H
#define TESTS_LOAD_H
#include <ebb/ebb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "test.h"

#define LOAD_HELD    ((size_t)20000)
#define LOAD_THREADS ((size_t)4)

static inline void *load_alloc(uint64_t *state) {
    size_t size = test_random_below(state, test_random_below(state, 50) ? 500 : 200000);
    char *p = size % 2 ? ebb_alloc(size) : ebb_alloc_data(size);
    if (p && size) memset(p, 1, test_random_below(state, size) + 1);
    return p;
}

/* One step with held[0 … LOAD_HELD). */
static inline void load_step(void **held, uint64_t *state) {
    void **at = &held[test_random_below(state, LOAD_HELD)];
    switch (test_random_below(state, 8)) {
    case 0:
        *at = NULL;
        break;
    case 1:
        if (ebb_base_of(*at) == *at) CHECK_EQ(ebb_free(*at), 0);
        *at = NULL;
        break;
    case 2:
        *at = ebb_resize(*at, test_random_below(state, 500));
        break;
    default:
        *at = load_alloc(state);
    }
}

struct load {
    pthread_t threads[LOAD_THREADS];
    atomic_bool end;
    atomic_uint seeds;
};

static inline void *load_body(void *arg) {
    struct load *load = arg;
    uint64_t state = test_seed() + atomic_fetch_add(&load->seeds, 1);
    void *mine[500] = {0};
    while (!atomic_load(&load->end)) {
        void **slot = &mine[test_random_below(&state, 500)];
        if (*slot && test_random_below(&state, 4) == 0) CHECK_EQ(ebb_free(*slot), 0);
        *slot = load_alloc(&state);
        free(malloc(test_random_below(&state, 500)));
    }
    __asm__ volatile("" : : "r"(mine) : "memory");
    return NULL;
}

static inline void load_start(struct load *load) {
    for (size_t i = 0; i < LOAD_THREADS; i++)
        CHECK_EQ(pthread_create(&load->threads[i], NULL, load_body, load), 0);
}

static inline void load_stop(struct load *load) {
    atomic_store(&load->end, true);
    for (size_t i = 0; i < LOAD_THREADS; i++) CHECK_EQ(pthread_join(load->threads[i], NULL), 0);
}

#endif
