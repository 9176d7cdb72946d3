/* test_offheap_pool.c - slot pools: handles, generations, what goes back, a random model. */
#include <sys/resource.h>
#include <unistd.h>

#include <ebb/offheap.h>
#include <ebb/stats.h>

#include "test.h"

typedef struct node node;
EBB_POOL(nodes, node);
EBB_POOL_SMALL(small_nodes, node);
struct node {
    nodes_handle left, right;
    int key;
};

_Static_assert(sizeof(node) == 20 && _Alignof(node) == 4, "handles pack with numbers");
_Static_assert(sizeof(small_nodes_handle) == 4, "a small handle is four bytes");

EBB_POOL(bytes, char);
EBB_POOL_SMALL(small_bytes, char);

typedef struct wide {
    char text[100];
} __attribute__((aligned(256))) wide;
EBB_POOL(wides, wide);

typedef struct large {
    char text[3 << 20];
} large;
EBB_POOL(larges, large);

static uint64_t offheap(void) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    return stats.offheap;
}

static nodes_handle add_key(nodes *pool, int key) {
    nodes_handle handle = ebb_pool_add(pool, ((node){.key = key}));
    CHECK(!ebb_handle_null(handle));
    return handle;
}

TEST(zero_initialised_is_empty) {
    nodes pool = {0};
    nodes_handle none = {0};
    CHECK_EQ(ebb_pool_len(&pool), 0);
    CHECK_EQ(ebb_pool_bytes(&pool), 0);
    CHECK(ebb_handle_null(none));
    CHECK(!ebb_pool_get(&pool, none));
    ebb_pool_each (&pool, handle, item) CHECK(!item);
    ebb_pool_release(&pool);
}

TEST(add_get_remove) {
    nodes pool = {0};
    nodes_handle a = add_key(&pool, 1), b = add_key(&pool, 2);
    ebb_pool_at(&pool, a)->left = b;
    CHECK_EQ(ebb_pool_get(&pool, ebb_pool_at(&pool, a)->left)->key, 2);
    CHECK(!ebb_handle_equal(a, b));
    CHECK_EQ(ebb_pool_len(&pool), 2);
    CHECK_EQ(ebb_pool_remove(&pool, b), 0);
    CHECK(!ebb_pool_get(&pool, b));
    CHECK(!ebb_pool_get(&pool, ebb_pool_at(&pool, a)->left));
    CHECK_EQ(ebb_pool_len(&pool), 1);
    ebb_pool_release(&pool);
    CHECK(!ebb_pool_get(&pool, a));
}

TEST(a_reused_slot_has_a_new_generation) {
    nodes pool = {0};
    nodes_handle kept = add_key(&pool, 0), last = add_key(&pool, 1);
    node *slot = ebb_pool_at(&pool, last);
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(ebb_pool_remove(&pool, last), 0);
        nodes_handle next;
        node *item = ebb_pool_new(&pool, &next);
        CHECK(item == slot);
        CHECK(item->key == 0 && ebb_handle_null(item->left));
        item->key = i;
        CHECK(!ebb_handle_equal(next, last));
        CHECK(!ebb_pool_get(&pool, last));
        last = next;
    }
    CHECK_EQ(ebb_pool_at(&pool, kept)->key, 0);
    ebb_pool_release(&pool);
}

TEST(handles_stay_stale_after_release) {
    nodes pool = {0};
    static nodes_handle old[5000];
    for (int i = 0; i < 5000; i++) old[i] = add_key(&pool, i);
    ebb_pool_release(&pool);
    for (int i = 0; i < 10000; i++) add_key(&pool, i);
    for (int i = 0; i < 5000; i++) CHECK(!ebb_pool_get(&pool, old[i]));
    ebb_pool_release(&pool);
}

TEST(any_bits_are_a_safe_handle) {
    nodes pool = {0};
    small_nodes small = {0};
    uint64_t state = test_seed();
    for (int i = 0; i < 3000; i++) {
        add_key(&pool, i);
        CHECK(!ebb_handle_null(ebb_pool_add(&small, ((node){.key = i}))));
    }
    for (int i = 0; i < 1000000; i++) {
        uint64_t bits = test_random(&state) >> test_random_below(&state, 64);
        nodes_handle handle = {{(uint32_t)bits, (uint32_t)(bits >> 32)}};
        node *item = ebb_pool_get(&pool, handle);
        if (item) CHECK(handle.word[1] == 1 && item->key < 3000);
        small_nodes_handle other = {{(uint32_t)bits}};
        item = ebb_pool_get(&small, other);
        if (item) CHECK(other.word[0] >> 24 == 1 && item->key < 3000);
    }
    /* A generation whose doubling overflows into a good one. */
    CHECK(!ebb_pool_get(&pool, ((nodes_handle){{0, 0x80000001u}})));
    ebb_pool_release(&pool);
    ebb_pool_release(&small);
}

TEST(slots_do_not_move) {
    nodes pool = {0};
    enum { COUNT = 50000 };
    static node *items[COUNT];
    static nodes_handle handles[COUNT];
    for (int i = 0; i < COUNT; i++) {
        items[i] = ebb_pool_new(&pool, &handles[i]);
        CHECK(items[i] != NULL);
        items[i]->key = i;
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK(ebb_pool_get(&pool, handles[i]) == items[i]);
        CHECK_EQ(items[i]->key, i);
    }
    ebb_pool_release(&pool);
}

TEST(slots_are_aligned) {
    wides pool = {0};
    for (int i = 0; i < 1000; i++) {
        wides_handle handle;
        wide *item = ebb_pool_new(&pool, &handle);
        CHECK_EQ((uintptr_t)item % 256, 0);
        memset(item, 1, sizeof *item);
    }
    ebb_pool_release(&pool);
}

TEST(slots_larger_than_a_block) {
    uint64_t before = offheap();
    larges pool = {0};
    larges_handle handles[5];
    for (int i = 0; i < 5; i++) {
        large *item = ebb_pool_new(&pool, &handles[i]);
        CHECK(item != NULL);
        item->text[sizeof item->text - 1] = (char)i;
    }
    for (int i = 0; i < 5; i++) CHECK_EQ(ebb_pool_at(&pool, handles[i])->text[(3 << 20) - 1], i);
    for (int i = 0; i < 5; i++) CHECK_EQ(ebb_pool_remove(&pool, handles[i]), 0);
    CHECK(ebb_pool_bytes(&pool) < 16 << 10);
    ebb_pool_release(&pool);
    CHECK_EQ(offheap(), before);
}

/* --- Iteration -------------------------------------------------------------------------------- */

TEST(each_sees_every_slot_once) {
    nodes pool = {0};
    enum { COUNT = 10000 };
    static nodes_handle handles[COUNT];
    static int seen[COUNT];
    for (int i = 0; i < COUNT; i++) handles[i] = add_key(&pool, i);
    for (int i = 0; i < COUNT; i++)
        if (i % 3) CHECK_EQ(ebb_pool_remove(&pool, handles[i]), 0);
    ebb_pool_each (&pool, handle, item) {
        CHECK(ebb_pool_get(&pool, handle) == item);
        CHECK(ebb_handle_equal(handle, handles[item->key]));
        seen[item->key]++;
    }
    for (int i = 0; i < COUNT; i++) CHECK_EQ(seen[i], i % 3 == 0);
    ebb_pool_release(&pool);
}

TEST(each_breaks_continues_and_nests) {
    nodes pool = {0};
    for (int i = 0; i < 10; i++) add_key(&pool, i);
    int pairs = 0, after = 0;
    ebb_pool_each (&pool, a, first) {
        if (first->key % 2) continue;
        if (first->key == 8) break;
        ebb_pool_each (&pool, b, second) {
            if (second->key == 5) break;
            pairs++;
        }
        after++;
    }
    CHECK_EQ(pairs, 4 * 5);
    CHECK_EQ(after, 4);
    ebb_pool_release(&pool);
}

TEST(each_allows_removal_and_addition) {
    nodes pool = {0};
    for (int i = 0; i < 20000; i++) add_key(&pool, i);
    size_t met = 0, added = 0;
    ebb_pool_each (&pool, handle, item) {
        met++;
        int key = item->key;
        CHECK_EQ(ebb_pool_remove(&pool, handle), 0);
        if (key % 7 == 0) {
            add_key(&pool, -1);
            added++;
        }
    }
    CHECK(met >= 20000);
    CHECK_EQ(ebb_pool_len(&pool), 20000 + added - met);
    ebb_pool_each (&pool, handle, item) CHECK_EQ(ebb_pool_remove(&pool, handle), 0);
    CHECK_EQ(ebb_pool_len(&pool), 0);
    ebb_pool_release(&pool);
}

/* --- What goes back
 * ------------------------------------------------------------------------------- */

TEST(an_emptied_pool_gives_back) {
    uint64_t before = offheap();
    nodes pool = {0};
    enum { COUNT = 300000 };
    nodes_handle *handles = malloc(COUNT * sizeof *handles);
    for (int i = 0; i < COUNT; i++) handles[i] = add_key(&pool, i);
    CHECK(ebb_pool_bytes(&pool) > COUNT * sizeof(node));
    CHECK(ebb_pool_bytes(&pool) < COUNT * sizeof(node) * 2);
    CHECK_EQ(offheap() - before, ebb_pool_bytes(&pool));
    for (int i = 0; i < COUNT; i++) CHECK_EQ(ebb_pool_remove(&pool, handles[i]), 0);
    CHECK(ebb_pool_bytes(&pool) <= 64 << 10);
    for (int i = 0; i < COUNT; i++) add_key(&pool, i);
    for (int i = 0; i < COUNT; i++) CHECK(!ebb_pool_get(&pool, handles[i]));
    ebb_pool_release(&pool);
    CHECK_EQ(offheap(), before);
    free(handles);
}

TEST(an_emptied_small_pool_gives_back) {
    small_nodes pool = {0};
    enum { COUNT = 100000 };
    static small_nodes_handle handles[COUNT];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < COUNT; i++) {
            handles[i] = ebb_pool_add(&pool, ((node){.key = i}));
            CHECK(!ebb_handle_null(handles[i]));
        }
        for (int i = 0; i < COUNT; i++) CHECK_EQ(ebb_pool_remove(&pool, handles[i]), 0);
        CHECK(ebb_pool_bytes(&pool) <= 512 << 10);
    }
    ebb_pool_release(&pool);
}

/* A pool that shrinks to a hundredth, and then goes on being used, comes down too. */
TEST(a_shrunken_pool_gives_back) {
    nodes pool = {0};
    enum { COUNT = 400000, KEPT = 4000 };
    uint64_t state = test_seed();
    nodes_handle *handles = malloc(COUNT * sizeof *handles);
    for (int i = 0; i < COUNT; i++) handles[i] = add_key(&pool, i);
    size_t len = COUNT, peak = ebb_pool_bytes(&pool);
    while (len > KEPT) {
        size_t i = test_random_below(&state, len);
        CHECK_EQ(ebb_pool_remove(&pool, handles[i]), 0);
        handles[i] = handles[--len];
    }
    for (int step = 0; step < 20 * KEPT; step++) {
        size_t i = test_random_below(&state, len);
        CHECK_EQ(ebb_pool_remove(&pool, handles[i]), 0);
        handles[i] = add_key(&pool, 0);
    }
    CHECK(ebb_pool_bytes(&pool) < peak / 10);
    ebb_pool_release(&pool);
    free(handles);
}

TEST(wavering_about_an_edge_maps_nothing) {
    nodes pool = {0};
    node *first = NULL;
    for (int i = 0; i < 1000; i++) {
        nodes_handle handle;
        node *item = ebb_pool_new(&pool, &handle);
        if (!first) first = item;
        CHECK(item == first);
        CHECK_EQ(ebb_pool_remove(&pool, handle), 0);
    }
    ebb_pool_release(&pool);
}

/* --- Generations
 * ---------------------------------------------------------------------------------- */

TEST(a_small_slot_retires_after_its_last_life) {
    small_nodes pool = {0};
    enum { COUNT = 200000 };
    uint32_t *all = calloc((size_t)1 << 27, sizeof *all); /* a bit a handle */
    CHECK(all != NULL);
    for (int i = 0; i < COUNT; i++) {
        small_nodes_handle handle = ebb_pool_add(&pool, ((node){.key = i}));
        CHECK(!ebb_handle_null(handle));
        uint32_t bits = handle.word[0];
        CHECK(!(all[bits / 32] >> bits % 32 & 1));
        all[bits / 32] |= 1u << bits % 32;
        CHECK_EQ(ebb_pool_remove(&pool, handle), 0);
    }
    /* 255 lives each: no fewer slots than that have been used up. */
    CHECK(pool.as.core.block[0].retired >= 64);
    free(all);
    ebb_pool_release(&pool);
}

TEST(a_slot_retires_after_its_last_generation) {
    nodes pool = {0};
    pool.as.core.floor = INT32_MAX - 3;
    nodes_handle handles[8];
    for (int i = 0; i < 8; i++) {
        handles[i] = add_key(&pool, i);
        if (i < 3) CHECK_EQ(handles[i].word[1], INT32_MAX - 2 + i);
        CHECK_EQ(handles[i].word[0], i / 3);
        CHECK_EQ(ebb_pool_remove(&pool, handles[i]), 0);
    }
    for (int i = 0; i < 8; i++) CHECK(!ebb_pool_get(&pool, handles[i]));
    ebb_pool_release(&pool);
    CHECK_EQ(pool.as.core.floor, 0);
}

/* Blocks whose slots are all used up go away for good, and others take their place. */
TEST(used_up_blocks_go) {
    bytes pool = {0};
    pool.as.core.floor = INT32_MAX - 1;
    enum { COUNT = 100000 };
    static bytes_handle handles[COUNT];
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < COUNT; i++) {
            handles[i] = ebb_pool_add(&pool, 'x');
            CHECK_EQ(handles[i].word[1], INT32_MAX);
        }
        for (int i = 0; i < COUNT; i++) CHECK_EQ(ebb_pool_remove(&pool, handles[i]), 0);
        CHECK(ebb_pool_bytes(&pool) <= 64 << 10);
        pool.as.core.floor = INT32_MAX - 1;
    }
    ebb_pool_release(&pool);
}

TEST(a_small_pool_can_be_full) {
    if (test_slow()) SKIP("sixteen million slots take too long here");
    small_bytes pool = {0};
    size_t count = 0;
    small_bytes_handle last = {0};
    for (;; count++) {
        small_bytes_handle handle = ebb_pool_add(&pool, (char)count);
        if (ebb_handle_null(handle)) break;
        last = handle;
    }
    CHECK_EQ(count, 1 << 24);
    CHECK_EQ(*ebb_pool_at(&pool, last), (char)(count - 1));
    CHECK_EQ(ebb_pool_remove(&pool, last), 0);
    CHECK(!ebb_handle_null(ebb_pool_add(&pool, 'x')));
    ebb_pool_release(&pool);
}

/* --- Models
 * --------------------------------------------------------------------------------------- */

/* A pool behind functions, its handles as plain numbers: one model serves both kinds. */
typedef struct model_pool {
    node *(*add)(uint64_t *number);
    node *(*get)(uint64_t number);
    int (*remove)(uint64_t number);
    size_t (*check_each)(void);
    size_t (*len)(void);
    size_t (*bytes)(void);
    void (*release)(void);
} model_pool;

#define MODEL_POOL(POOL)                                         \
 static POOL POOL##_pool;                                        \
 static POOL##_handle POOL##_from(uint64_t number) {             \
  POOL##_handle handle;                                          \
  memcpy(&handle, &number, sizeof handle);                       \
  return handle;                                                 \
 }                                                               \
 static node *POOL##_add(uint64_t *number) {                     \
  POOL##_handle handle;                                          \
  node *item = ebb_pool_new(&POOL##_pool, &handle);              \
  *number = ebb_handle_number(handle);                           \
  return item;                                                   \
 }                                                               \
 static node *POOL##_get(uint64_t number) {                      \
  return ebb_pool_get(&POOL##_pool, POOL##_from(number));        \
 }                                                               \
 static int POOL##_remove(uint64_t number) {                     \
  return ebb_pool_remove(&POOL##_pool, POOL##_from(number));     \
 }                                                               \
 static size_t POOL##_check_each(void) {                         \
  size_t met = 0;                                                \
  ebb_pool_each (&POOL##_pool, handle, item) {                   \
   CHECK_EQ(item->key, (int)ebb_handle_number(handle));          \
   met++;                                                        \
  }                                                              \
  return met;                                                    \
 }                                                               \
 static size_t POOL##_len(void) {                                \
  return ebb_pool_len(&POOL##_pool);                             \
 }                                                               \
 static size_t POOL##_bytes(void) {                              \
  return ebb_pool_bytes(&POOL##_pool);                           \
 }                                                               \
 static void POOL##_release(void) {                              \
  ebb_pool_release(&POOL##_pool);                                \
 }                                                               \
 static const model_pool POOL##_model = {                        \
     POOL##_add, POOL##_get,   POOL##_remove, POOL##_check_each, \
     POOL##_len, POOL##_bytes, POOL##_release}

MODEL_POOL(nodes);
MODEL_POOL(small_nodes);

enum { MODEL_MOST = 30000, MODEL_DEAD = 5000 };

static struct {
    uint64_t live[MODEL_MOST];
    node *items[MODEL_MOST];
    uint64_t dead[MODEL_DEAD]; /* some of those that were removed */
    size_t len, died;
} model;

static void model_add(const model_pool *pool) {
    size_t i = model.len++;
    model.items[i] = pool->add(&model.live[i]);
    CHECK(model.items[i] && model.items[i]->key == 0);
    model.items[i]->key = (int)model.live[i];
}

static void model_remove(const model_pool *pool, size_t i) {
    CHECK_EQ(pool->remove(model.live[i]), 0);
    CHECK(!pool->get(model.live[i]));
    model.dead[model.died++ % MODEL_DEAD] = model.live[i];
    model.len--;
    model.live[i] = model.live[model.len];
    model.items[i] = model.items[model.len];
}

static void model_look(const model_pool *pool, uint64_t *state) {
    size_t died = model.died < MODEL_DEAD ? model.died : MODEL_DEAD;
    if (died) CHECK(!pool->get(model.dead[test_random_below(state, died)]));
    CHECK_EQ(pool->len(), model.len);
    if (model.len == 0) return;
    size_t i = test_random_below(state, model.len);
    CHECK(pool->get(model.live[i]) == model.items[i]);
    CHECK_EQ(model.items[i]->key, (int)model.live[i]);
}

/* Random additions and removals, towards an aim that changes. */
static void model_run(const model_pool *pool) {
    uint64_t state = test_seed(), before = offheap();
    size_t aim = 0, steps = 2000000 * test_scale() / (test_slow() ? 10 : 1);
    for (size_t step = 0; step < steps; step++) {
        if (step % 10000 == 0) aim = test_random_below(&state, MODEL_MOST);
        bool grow = test_random_below(&state, 4) < (model.len < aim ? 3 : 1);
        if (model.len == 0 || (grow && model.len < MODEL_MOST)) {
            model_add(pool);
        } else {
            model_remove(pool, test_random_below(&state, model.len));
        }
        model_look(pool, &state);
        if (step % 100000 != 0) continue;
        CHECK_EQ(pool->check_each(), model.len);
        CHECK_EQ(offheap() - before, pool->bytes());
    }
    pool->release();
    CHECK_EQ(offheap(), before);
}

TEST(random_use_matches_a_model) {
    model_run(&nodes_model);
}

TEST(random_use_of_a_small_pool_matches_a_model) {
    model_run(&small_nodes_model);
}

/* --- Failure and misuse
 * ----------------------------------------------------------------------------- */

TEST(no_memory_is_a_null_handle) {
    if (test_slow()) SKIP("a sanitizer needs its address space");
    nodes pool = {0};
    nodes_handle first = add_key(&pool, 42), handle;
    struct rlimit none = {0, RLIM_INFINITY};
    CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
    while (!ebb_handle_null(handle = ebb_pool_add(&pool, ((node){.key = 1})))) continue;
    handle = first;
    CHECK(!ebb_pool_new(&pool, &handle));
    CHECK(ebb_handle_null(handle));
    CHECK_EQ(ebb_pool_at(&pool, first)->key, 42);
    CHECK_EQ(ebb_pool_remove(&pool, first), 0);
    CHECK(!ebb_handle_null(ebb_pool_add(&pool, ((node){.key = 2}))));
    none.rlim_cur = RLIM_INFINITY;
    CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
    CHECK(!ebb_handle_null(ebb_pool_add(&pool, ((node){.key = 3}))));
    ebb_pool_release(&pool);
}

TEST(misuse_is_reported) {
    setenv("EBB_DEBUG", "misuse=abort", 1);
    nodes pool = {0};
    nodes_handle handle = add_key(&pool, 1), none = {0};
    add_key(&pool, 2);
    CHECK_EQ(ebb_pool_remove(&pool, handle), 0);
    DIES("ebb_pool_remove: handle 0x100000000 is stale: it was removed before") {
        ebb_pool_remove(&pool, handle);
    }
    DIES("ebb_pool_remove: handle 0x0 is null") {
        ebb_pool_remove(&pool, none);
    }
    DIES("ebb_pool_at: handle 0x100000000 is stale") {
        ebb_pool_at(&pool, handle)->key = 1;
    }
    DIES("ebb_pool_at: handle 0x0 is null") {
        ebb_pool_at(&pool, none)->key = 1;
    }
    DIES("ebb_pool_get: the pool is a null pointer") {
        nodes *nowhere = NULL;
        ebb_pool_get(nowhere, handle);
    }
    DIES("ebb_pool_new: the pool is a null pointer") {
        nodes *nowhere = NULL;
        add_key(nowhere, 1);
    }
    DIES("ebb_pool_new: the handle is a null pointer") {
        ebb_pool_new(&pool, NULL);
    }
    ebb_pool_release(&pool);
}

TEST(misuse_returns) {
    setenv("EBB_DEBUG", "misuse=return", 1);
    nodes pool = {0}, *nowhere = NULL;
    nodes_handle handle = add_key(&pool, 1), none = {0};
    CHECK_EQ(ebb_pool_remove(&pool, handle), 0);
    CHECK_EQ(ebb_pool_remove(&pool, handle), EBB_ESTALE);
    CHECK_EQ(ebb_pool_remove(&pool, none), EBB_ESTALE);
    CHECK_EQ(ebb_pool_remove(nowhere, none), EBB_EINVAL);
    CHECK_EQ(ebb_pool_root(nowhere), EBB_EINVAL);
    CHECK(!ebb_pool_new(nowhere, &handle));
    CHECK(!ebb_pool_new(&pool, NULL));
    ebb_pool_release(nowhere);
    CHECK_EQ(ebb_pool_len(&pool), 0);
    ebb_pool_release(&pool);
}
