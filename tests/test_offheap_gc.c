/* test_offheap_gc.c - memory outside the heap that refers into it: regions and pools as roots,
 * pins; and how it meets the memory limit and allocations that fail. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/offheap.h>
#include <ebb/stats.h>

#include "probe.h"
#include "test.h"

enum { COUNT = 500 };

typedef struct holder {
    void *object;
    int number;
} holder;
EBB_POOL(holders, holder);

static uint64_t offheap(void) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    return stats.offheap;
}

static void expect(size_t from, size_t to, bool alive) {
    probe_collect();
    if (alive) {
        CHECK_EQ(probe_living(from, to), to - from);
    } else {
        CHECK(probe_living(from, to) <= PROBE_STALE);
    }
}

/* Objects that only the region knows, each at the end of a piece of memory of some size. */
static NOINLINE void region_fill(ebb_region *region, size_t most_words) {
    uint64_t state = test_seed();
    for (int i = 0; i < COUNT; i++) {
        size_t words = 1 + test_random_below(&state, most_words);
        void **memory = ebb_region_new_array(region, void *, words);
        CHECK(memory != NULL);
        memory[words - 1] = ebb_alloc(32);
        probe_add(memory[words - 1]);
    }
}

static NOINLINE holders_handle pool_add(holders *pool, int number) {
    holder value = {ebb_alloc(32), number};
    probe_add(value.object);
    holders_handle handle = ebb_pool_add(pool, value);
    CHECK(!ebb_handle_null(handle));
    return handle;
}

/* --- Regions ---------------------------------------------------------------------------------- */

TEST(a_region_keeps_nothing) {
    static ebb_region region;
    region_fill(&region, 100);
    expect(0, COUNT, false);
    ebb_region_release(&region);
}

TEST(a_root_region_keeps) {
    static ebb_region region;
    CHECK_EQ(ebb_region_root(&region), 0);
    region_fill(&region, 100);
    expect(0, COUNT, true);
    region_fill(&region, 20000); /* chunks of their own, and searched parts that double */
    expect(0, 2 * COUNT, true);
    ebb_region_release(&region);
    expect(0, 2 * COUNT, false);
    region_fill(&region, 100);
    expect(2 * COUNT, 3 * COUNT, false);
    ebb_region_release(&region);
}

TEST(a_region_made_a_root_later_keeps) {
    static ebb_region region;
    static void **slots[COUNT];
    uint64_t state = test_seed();
    for (int i = 0; i < COUNT; i++) {
        size_t words = 1 + test_random_below(&state, 20000);
        slots[i] = ebb_region_new_array(&region, void *, words);
        slots[i] += words - 1;
    }
    CHECK_EQ(ebb_region_root(&region), 0);
    CHECK_EQ(ebb_region_root(&region), 0);
    for (int i = 0; i < COUNT; i++) {
        *slots[i] = ebb_alloc(32);
        probe_add(*slots[i]);
    }
    expect(0, COUNT, true);
    region_fill(&region, 2000);
    expect(0, 2 * COUNT, true);
    ebb_region_release(&region);
    expect(0, 2 * COUNT, false);
}

TEST(a_reset_region_keeps_nothing) {
    static ebb_region region;
    CHECK_EQ(ebb_region_root(&region), 0);
    for (size_t round = 0; round < 5; round++) {
        region_fill(&region, round % 2 ? 10 : 1000);
        expect(round * COUNT, (round + 1) * COUNT, true);
        ebb_region_reset(&region);
        expect(round * COUNT, (round + 1) * COUNT, false);
    }
    ebb_region_release(&region);
}

/* What is mapped but was not handed out yet is not searched: an address space of 64 MiB costs a
 * collection nothing. */
TEST(the_unused_part_is_not_searched) {
    static ebb_region region;
    struct ebb_stats stats;
    CHECK_EQ(ebb_region_root(&region), 0);
    CHECK(ebb_region_alloc(&region, (size_t)40 << 20, 8));
    ebb_region_reset(&region);
    CHECK(ebb_region_alloc(&region, 100, 8));
    CHECK(ebb_region_bytes(&region) >= (size_t)40 << 20);
    probe_collect();
    ebb_stats(&stats);
    CHECK(stats.roots_bytes < (size_t)10 << 20);
    ebb_region_release(&region);
}

/* --- Pools ------------------------------------------------------------------------------------ */

TEST(a_pool_keeps_nothing) {
    static holders pool;
    for (int i = 0; i < COUNT; i++) pool_add(&pool, i);
    expect(0, COUNT, false);
    CHECK_EQ(ebb_pool_len(&pool), COUNT);
    ebb_pool_release(&pool);
}

TEST(a_root_pool_keeps_what_is_not_removed) {
    static holders pool;
    static holders_handle handles[4 * COUNT];
    for (int i = 0; i < COUNT; i++) handles[i] = pool_add(&pool, i);
    CHECK_EQ(ebb_pool_root(&pool), 0);
    CHECK_EQ(ebb_pool_root(&pool), 0);
    for (int i = COUNT; i < 4 * COUNT; i++) handles[i] = pool_add(&pool, i);
    expect(COUNT, 4 * COUNT, true);
    for (int i = COUNT; i < 3 * COUNT; i++) CHECK_EQ(ebb_pool_remove(&pool, handles[i]), 0);
    expect(COUNT, 3 * COUNT, false);
    expect(3 * COUNT, 4 * COUNT, true);
    ebb_pool_each (&pool, handle, item) {
        if (item->number >= COUNT) CHECK(ebb_size_of(item->object) >= 32);
    }
    ebb_pool_release(&pool);
    expect(0, 4 * COUNT, false);
}

/* Blocks of a root pool come and go, and the list of roots with them. */
TEST(a_root_pool_breathes) {
    static holders pool;
    static holders_handle handles[20000];
    uint64_t before = offheap();
    CHECK_EQ(ebb_pool_root(&pool), 0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 20000; i++) handles[i] = ebb_pool_add(&pool, ((holder){NULL, i}));
        holders_handle kept = pool_add(&pool, 1);
        for (int i = 0; i < 20000; i++) CHECK_EQ(ebb_pool_remove(&pool, handles[i]), 0);
        CHECK_EQ(ebb_pool_len(&pool), 1);
        expect((size_t)round, (size_t)round + 1, true);
        CHECK(ebb_size_of(ebb_pool_at(&pool, kept)->object) >= 32);
        CHECK_EQ(ebb_pool_remove(&pool, kept), 0);
    }
    ebb_pool_release(&pool);
    CHECK_EQ(offheap(), before);
}

/* --- Pins ------------------------------------------------------------------------------------- */

static NOINLINE void pins_fill(ebb_handle *pins, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char *object = ebb_alloc(64);
        probe_add(object);
        pins[i] = ebb_pin(object + i % 64);
        CHECK(pins[i] != 0);
        memcpy(object, &i, sizeof i);
    }
}

static NOINLINE void pins_check(const ebb_handle *pins, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char *object = (char *)ebb_pin_get(pins[i]) - i % 64;
        size_t value;
        CHECK(ebb_base_of(object) == object);
        memcpy(&value, object, sizeof value);
        CHECK_EQ(value, i);
    }
}

TEST(a_pin_keeps_its_object) {
    ebb_handle *pins = malloc(COUNT * sizeof *pins);
    pins_fill(pins, COUNT);
    CHECK_EQ(ebb_pin_count(), COUNT);
    expect(0, COUNT, true);
    pins_check(pins, COUNT);
    for (int i = 0; i < COUNT; i++) CHECK_EQ(ebb_unpin(pins[i]), 0);
    CHECK_EQ(ebb_pin_count(), 0);
    expect(0, COUNT, false);
    for (int i = 0; i < COUNT; i++) CHECK(!ebb_pin_get(pins[i]));
    free(pins);
}

static ebb_handle twice[2];

static NOINLINE void pin_twice(void) {
    void *object = ebb_alloc(16);
    probe_add(object);
    twice[0] = ebb_pin(object);
    twice[1] = ebb_pin(object);
    CHECK(twice[0] != twice[1]);
    CHECK(ebb_pin_get(twice[0]) == ebb_pin_get(twice[1]));
}

TEST(an_object_may_be_pinned_twice) {
    pin_twice();
    CHECK_EQ(ebb_unpin(twice[0]), 0);
    expect(0, 1, true);
    CHECK(ebb_pin_get(twice[1]) != NULL);
    CHECK_EQ(ebb_unpin(twice[1]), 0);
    CHECK(!ebb_pin_get(twice[1]));
}

TEST(a_null_pin_is_null) {
    CHECK(!ebb_pin_get(0));
    CHECK_EQ(ebb_pin_count(), 0);
}

static void *pin_thread(void *arg) {
    uint64_t state = test_seed() + (uintptr_t)arg;
    ebb_handle pins[100] = {0};
    size_t steps = 30000 * test_scale() / (test_slow() ? 10 : 1);
    for (size_t step = 0; step < steps; step++) {
        size_t i = test_random_below(&state, 100);
        if (pins[i]) {
            size_t *object = ebb_pin_get(pins[i]);
            CHECK(object && *object == i);
            CHECK_EQ(ebb_unpin(pins[i]), 0);
            CHECK(!ebb_pin_get(pins[i]));
            pins[i] = 0;
        } else {
            size_t *object = ebb_new(size_t);
            *object = i;
            pins[i] = ebb_pin(object);
            CHECK(pins[i] != 0);
        }
        if (step % 10000 == 0) CHECK_EQ(ebb_collect(), 0);
    }
    for (size_t i = 0; i < 100; i++)
        if (pins[i]) CHECK_EQ(ebb_unpin(pins[i]), 0);
    return NULL;
}

TEST(threads_pin_at_once) {
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, pin_thread, (void *)i), 0);
    for (int i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(ebb_pin_count(), 0);
}

static _Atomic(bool) fork_done;

static void *pin_until_done(void *arg) {
    while (!fork_done) ebb_unpin(ebb_pin(arg));
    return NULL;
}

/* The lock is not left behind in the child by a thread that is not there. */
TEST(pins_work_after_fork) {
    pthread_t thread;
    char *object = ebb_alloc(16);
    CHECK_EQ(pthread_create(&thread, NULL, pin_until_done, object), 0);
    for (int i = 0; i < 100; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            ebb_handle pin = ebb_pin(object);
            _exit(ebb_pin_get(pin) == object && ebb_unpin(pin) == 0 ? 0 : 1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    fork_done = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(pin_misuse_is_reported) {
    setenv("EBB_DEBUG", "misuse=abort", 1);
    ebb_handle pin = ebb_pin(ebb_alloc(16));
    int local = 0;
    CHECK_EQ(ebb_unpin(pin), 0);
    DIES("ebb_unpin: pin 0x100000000 is stale: it was unpinned before") {
        ebb_unpin(pin);
    }
    DIES("ebb_unpin: pin 0x0 is null") {
        ebb_unpin(0);
    }
    DIES("does not point into Ebb's heap") {
        ebb_pin(&local);
    }
    DIES("ebb_pin:") {
        ebb_pin(NULL);
    }
}

TEST(pin_misuse_returns) {
    setenv("EBB_DEBUG", "misuse=return", 1);
    ebb_handle pin = ebb_pin(ebb_alloc(16));
    CHECK_EQ(ebb_unpin(pin), 0);
    CHECK_EQ(ebb_unpin(pin), EBB_ESTALE);
    CHECK_EQ(ebb_unpin(0), EBB_ESTALE);
    CHECK_EQ(ebb_unpin(~(uint64_t)0), EBB_ESTALE);
    CHECK_EQ(ebb_pin(&pin), 0);
    CHECK_EQ(ebb_pin(NULL), 0);
}

/* --- The memory limit
 * ----------------------------------------------------------------------------- */

TEST(the_limit_counts_memory_outside_the_heap) {
    static ebb_region region;
    ebb_pin(ebb_alloc(16));
    struct ebb_stats stats;
    ebb_stats(&stats);
    size_t limit = stats.mapped + ((size_t)32 << 20), got = 0;
    ebb_set_memory_limit(limit);
    while (ebb_region_alloc(&region, 100000, 8)) got += 100000;
    CHECK(got > (size_t)10 << 20 && got < (size_t)40 << 20);
    ebb_stats(&stats);
    CHECK(stats.heap_used + stats.heap_free + stats.metadata + stats.offheap <= limit);
    ebb_region_release(&region);
    CHECK(ebb_region_alloc(&region, 100000, 8));
    ebb_region_release(&region);
}

/* A cache that makes room when it is told to. */
static holders cache;
static int evictions;

static bool evict(size_t size, void *arg) {
    size_t gone = 0;
    (void)size, (void)arg;
    evictions++;
    ebb_pool_each (&cache, handle, item) {
        CHECK_EQ(ebb_pool_remove(&cache, handle), 0);
        if (++gone == 100000) break;
    }
    return gone != 0;
}

TEST(the_limit_handler_may_use_the_pool_that_grows) {
    struct ebb_stats stats;
    CHECK_EQ(ebb_pool_root(&cache), 0);
    ebb_stats(&stats);
    ebb_set_memory_limit(stats.mapped + ((size_t)16 << 20));
    ebb_set_limit_handler(evict, NULL);
    for (int i = 0; i < 3000000; i++) {
        holders_handle handle = ebb_pool_add(&cache, ((holder){NULL, i}));
        CHECK(!ebb_handle_null(handle));
        CHECK_EQ(ebb_pool_at(&cache, handle)->number, i);
    }
    CHECK(evictions > 1);
    CHECK(ebb_pool_bytes(&cache) < (size_t)17 << 20);
    ebb_pool_release(&cache);
}

/* --- Allocations that fail
 * ------------------------------------------------------------------------ */

/* Uses everything, with one mapping or allocation refused somewhere: a call may fail, and nothing
 * that was there may be lost. */
static NOINLINE int use_everything(void) {
    static ebb_region region;
    static holders pool;
    static ebb_bank bank;
    static holders_handle handles[30000];
    int failures = 0;
    failures += ebb_region_root(&region) != 0;
    failures += ebb_pool_root(&pool) != 0;
    for (int i = 0; i < 30000; i++) {
        char text[16];
        int *number = ebb_region_new(&region, int);
        size_t len = (size_t)snprintf(text, sizeof text, "%d", i);
        if (number) *number = i;
        handles[i] = ebb_pool_add(&pool, ((holder){NULL, i}));
        ebb_bank_id id = ebb_bank_intern(&bank, (ebb_str){text, len});
        failures += !number + ebb_handle_null(handles[i]) + !id;
        if (id) CHECK_EQ(ebb_bank_find(&bank, (ebb_str){text, len}), id);
    }
    CHECK_EQ(ebb_bank_len(&bank) + ebb_pool_len(&pool) +
                 ebb_region_used_bytes(&region) / sizeof(int) + (size_t)failures,
             3 * 30000);
    for (int i = 0; i < 30000; i++)
        if (!ebb_handle_null(handles[i])) CHECK_EQ(ebb_pool_at(&pool, handles[i])->number, i);
    void *object = ebb_alloc(16);
    ebb_handle pin = object ? ebb_pin(object) : 0;
    if (pin) CHECK(ebb_pin_get(pin) == object);
    ebb_region_release(&region);
    ebb_pool_release(&pool);
    ebb_bank_release(&bank);
    return failures + !pin;
}

TEST(a_failed_allocation_harms_nothing) {
    int failed = 0;
    for (int n = 1; n <= 60; n++) {
        char setting[32];
        snprintf(setting, sizeof setting, "failalloc=%d", n);
        setenv("EBB_DEBUG", setting, 1);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) _exit(use_everything());
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
        CHECK(WEXITSTATUS(status) <= 1);
        failed += WEXITSTATUS(status);
    }
    CHECK(failed > 10 && failed < 60);
}
