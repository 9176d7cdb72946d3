/* test_slice_model.c - long random runs of all verbs against a plain array, for elements that are
 * numbers, pointers, and structures with pointers inside; collections happen meanwhile. */
#include <ebb/ebb.h>
#include <pthread.h>

#include "test.h"

#define MODEL_MAX   600
#define MODEL_PIECE 24

enum { MODEL_THREADS = 4 };

EBB_SLICE(ints, unsigned);

typedef struct item {
    unsigned id;
    struct item *self;
} item;
EBB_TYPE(item, ptr(self));
EBB_SLICE(items, item *);

typedef struct pair {
    item *first;
    unsigned id;
    unsigned pad[5];
} pair;
EBB_TYPE(pair, ptr(first));
EBB_SLICE(pairs, pair);

static int ints_compare(const unsigned *a, const unsigned *b) {
    return (*a > *b) - (*a < *b);
}

static item *item_make(unsigned id) {
    item *it = ebb_new(item);
    CHECK(it != NULL);
    it->id = id;
    it->self = it;
    return it;
}

/* An item that was freed too early would not point to itself for long. */
static unsigned item_id(const item *it) {
    if (!it) return 0;
    CHECK(it->self == it);
    return it->id;
}

static int items_compare(item *const *a, item *const *b) {
    unsigned i = item_id(*a), j = item_id(*b);
    return (i > j) - (i < j);
}

static pair pair_make(unsigned id) {
    return (pair){.first = item_make(id), .id = id};
}

static unsigned pair_id(pair p) {
    CHECK_EQ(item_id(p.first), p.id);
    return p.id;
}

static int pairs_compare(const pair *a, const pair *b) {
    return (a->id > b->id) - (a->id < b->id);
}

#define MODEL(name)       ints_##name
#define MODEL_SLICE       ints
#define MODEL_MAKE(id)    (id)
#define MODEL_ID(element) (element)
#include "slice_model.h"

#define MODEL(name)       items_##name
#define MODEL_SLICE       items
#define MODEL_MAKE(id)    item_make(id)
#define MODEL_ID(element) item_id(element)
#include "slice_model.h"

#define MODEL(name)       pairs_##name
#define MODEL_SLICE       pairs
#define MODEL_MAKE(id)    pair_make(id)
#define MODEL_ID(element) pair_id(element)
#include "slice_model.h"

static size_t steps(size_t n) {
    return n * test_scale() / (test_slow() ? 10 : 1);
}

TEST(model_of_numbers) {
    ints_run(0, steps(400000));
}

TEST(model_of_pointers) {
    items_run(0, steps(400000));
}

TEST(model_of_structures) {
    pairs_run(0, steps(200000));
}

static void *model_thread(void *which) {
    items_run((size_t)(uintptr_t)which, steps(60000));
    pairs_run((size_t)(uintptr_t)which, steps(60000));
    return NULL;
}

/* Every place in the program that has a verb is found for the first time by all at once. */
TEST(models_in_threads) {
    pthread_t threads[MODEL_THREADS];
    for (uintptr_t i = 0; i < MODEL_THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, model_thread, (void *)i), 0);
    for (int i = 0; i < MODEL_THREADS; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}
