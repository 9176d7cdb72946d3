/* test_heap_threads.c - many threads allocate, exchange, release and collect at once. What each
 * object holds tells which one it is, so that a slot handed out twice, or reclaimed while it is
 * in use, shows. See docs/design.md, "The heap" and "The collector". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "modes.h"
#include "test.h"

#define THREADS 6

typedef struct item {
    struct item *next;
    uint64_t value, check; /* check == ~value */
    uint32_t *payload;     /* data memory: value's low word, `words` times */
    size_t words;
} item;
EBB_TYPE(item, ptr(next), ptr(payload));

static atomic_size_t step_total;

static size_t threads_steps(size_t steps) {
    return steps * test_scale() / (test_slow() ? 10 : 1);
}

static NOINLINE item *item_make(uint64_t *state, uint64_t value, item *next) {
    item *it = ebb_new(item);
    CHECK(it != NULL);
    CHECK(!it->next && !it->value && !it->check && !it->payload);
    it->value = value;
    it->check = ~value;
    it->next = next;
    it->words = test_random_below(state, test_random_below(state, 100) ? 50 : 20000);
    uint32_t *payload = ebb_new_array(uint32_t, it->words);
    CHECK(payload != NULL);
    for (size_t i = 0; i < it->words; i++) {
        CHECK_EQ(payload[i], 0);
        payload[i] = (uint32_t)value;
    }
    it->payload = payload;
    return it;
}

static void item_check(const item *it) {
    CHECK_EQ(it->check, ~it->value);
    for (size_t i = 0; i < it->words; i++) CHECK_EQ(it->payload[i], (uint32_t)it->value);
}

static void threads_run(void *(*body)(void *), size_t count) {
    pthread_t threads[64];
    CHECK(count <= 64);
    for (size_t i = 0; i < count; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, body, (void *)(uintptr_t)i), 0);
    }
    for (size_t i = 0; i < count; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* --- Storm ---------------------------------------------------------------------------------- */

/* Each thread keeps a few lists on its own stack, lengthens, checks, releases and drops them. */
static void *storm_body(void *arg) {
    uint64_t state = test_seed() + (uintptr_t)arg, value = (uint64_t)(uintptr_t)arg << 40;
    item *lists[16] = {0};
    for (size_t step = 0; step < threads_steps(60000); step++) {
        item **list = &lists[test_random_below(&state, 16)];
        switch (test_random_below(&state, 64)) {
        case 0:
            *list = NULL;
            break;
        case 1:
            for (item *it = *list; it; it = it->next) item_check(it);
            break;
        case 2:
            if (*list) {
                item *first = *list;
                *list = first->next;
                item_check(first);
                CHECK_EQ(ebb_free(first->payload), 0);
                CHECK_EQ(ebb_free(first), 0);
            }
            break;
        case 3:
            if (test_random_below(&state, 100) == 0) CHECK_EQ(ebb_collect(), 0);
            break;
        default:
            *list = item_make(&state, value++, *list);
        }
    }
    for (size_t i = 0; i < 16; i++)
        for (item *it = lists[i]; it; it = it->next) item_check(it);
    atomic_fetch_add(&step_total, 1);
    return NULL;
}

TEST(storm) {
    threads_run(storm_body, THREADS);
    CHECK_EQ(atomic_load(&step_total), THREADS);
    modes_steps(THREADS * threads_steps(60000));
}

TEST(storm_with_stress) {
    MODES_PASS("storm", "stress=997,verify=1", NULL);
}

/* Also when an allocation fails here and there: a null pointer, and all else as it was. */
static void *refused_body(void *arg) {
    uint64_t state = test_seed() + (uintptr_t)arg;
    item *list = NULL;
    size_t refused = 0, length = 0;
    for (size_t step = 0; step < threads_steps(30000); step++) {
        item *it = ebb_new(item);
        if (!it) {
            refused++;
            continue;
        }
        it->value = test_random(&state);
        it->check = ~it->value;
        if (++length % 100 == 0) list = NULL;
        it->next = list;
        list = it;
    }
    for (item *it = list; it; it = it->next) item_check(it);
    return (void *)(uintptr_t)refused;
}

TEST(refused) {
    pthread_t thread;
    void *refused, *here = refused_body((void *)7);
    CHECK_EQ(pthread_create(&thread, NULL, refused_body, NULL), 0);
    CHECK_EQ(pthread_join(thread, &refused), 0);
    CHECK_EQ((uintptr_t)here + (uintptr_t)refused, modes_have("failalloc=") ? 1 : 0);
}

TEST(refused_once) {
    MODES_PASS("refused", "failalloc=1000", NULL);
    MODES_PASS("refused", "failalloc=1", NULL);
    MODES_PASS("refused", "failalloc=4999,verify=1,stress=300", NULL);
}

/* --- Handing over --------------------------------------------------------------------------- */

/* A thread takes what another one made, out of shared slots; the maker forgets it. */
enum { SLOTS = 256 };
static _Atomic(item *) slots[SLOTS];

static void *exchange_body(void *arg) {
    uint64_t state = test_seed() + 100 + (uintptr_t)arg, value = (uint64_t)(uintptr_t)arg << 40;
    for (size_t step = 0; step < threads_steps(100000); step++) {
        item *mine = item_make(&state, value++, NULL);
        item *theirs = atomic_exchange(&slots[test_random_below(&state, SLOTS)], mine);
        if (!theirs) continue;
        item_check(theirs);
        if (test_random_below(&state, 2)) {
            CHECK_EQ(ebb_free(theirs->payload), 0);
            CHECK_EQ(ebb_free(theirs), 0);
        }
    }
    return NULL;
}

TEST(exchange) {
    threads_run(exchange_body, THREADS);
    modes_steps(THREADS * threads_steps(100000));
}

TEST(exchange_with_stress) {
    MODES_PASS("exchange", "stress=1009", NULL);
}

/* --- Threads that come and go --------------------------------------------------------------- */

static _Atomic(item *) inherited;

static void *visitor_body(void *arg) {
    uint64_t state = test_seed() + (uintptr_t)arg;
    item *list = atomic_exchange(&inherited, NULL);
    for (item *it = list; it; it = it->next) item_check(it);
    for (uint64_t i = 0; i < 50; i++) list = item_make(&state, i, i == 25 ? NULL : list);
    atomic_store(&inherited, list);
    return NULL;
}

TEST(visitors) {
    struct ebb_stats before, after;
    for (size_t round = 0; round < threads_steps(300); round++) {
        threads_run(visitor_body, 4);
        if (round % 50 == 49) CHECK_EQ(ebb_collect(), 0);
        if (round == 100) ebb_stats(&before);
    }
    if (threads_steps(300) <= 100) return;
    CHECK_EQ(ebb_collect(), 0);
    ebb_stats(&after);
    CHECK(after.metadata <= before.metadata + ((size_t)1 << 20));
    CHECK(after.heap_used <= before.heap_used + ((size_t)8 << 20));
}

TEST(visitors_with_stress) {
    MODES_PASS("visitors", "stress=503,verify=1", NULL);
}

/* --- Collections from everywhere ------------------------------------------------------------ */

static void *collector_body(void *arg) {
    uint64_t state = test_seed() + (uintptr_t)arg;
    for (size_t i = 0; i < threads_steps(100); i++) {
        item *it = item_make(&state, i, NULL);
        CHECK_EQ(ebb_collect(), 0);
        item_check(it);
    }
    return NULL;
}

TEST(everybody_collects) {
    threads_run(collector_body, THREADS);
    CHECK(ebb_cycles() > 0);
}

/* A thread that spins without allocating or calling anything is stopped as well. */
static atomic_bool spin_end;

static void *spin_body(void *arg) {
    uint64_t state = test_seed(), *counter = arg;
    item *mine = item_make(&state, 42, NULL);
    while (!atomic_load_explicit(&spin_end, memory_order_relaxed)) ++*counter;
    item_check(mine);
    return NULL;
}

TEST(spinning_threads_are_stopped) {
    static uint64_t counters[3];
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, spin_body, &counters[i]), 0);
    for (int i = 0; i < 30; i++) {
        CHECK_EQ(ebb_collect(), 0);
        sched_yield();
    }
    atomic_store(&spin_end, true);
    for (size_t i = 0; i < 3; i++) pthread_join(threads[i], NULL);
}

/* --- errno ---------------------------------------------------------------------------------- */

static void *errno_body(void *arg) {
    void *kept[64] = {0};
    for (size_t i = 0; i < 20000 * test_scale(); i++) {
        errno = 12345;
        kept[i % 64] = i % 50 ? ebb_alloc(i % 3000) : ebb_alloc_data(60000);
        if (i % 70 == 0) kept[i % 64] = ebb_resize(kept[i % 64], 100000 + i);
        if (i % 3 == 0) {
            CHECK_EQ(ebb_free(kept[i % 64]), 0);
            kept[i % 64] = NULL;
        }
        if (i % 5000 == 0) CHECK_EQ(ebb_collect(), 0);
        CHECK_EQ(errno, 12345);
    }
    ebb_keep_alive(kept);
    return arg;
}

TEST(errno_is_kept) {
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) CHECK_EQ(pthread_create(&threads[i], NULL, errno_body, NULL), 0);
    for (size_t i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}
