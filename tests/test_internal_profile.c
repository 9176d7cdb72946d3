/* test_internal_profile.c - samples of the heap: exact at rate 1, unbiased at any other, gone with
 * their objects. See docs/design.md, "Profile". */
#include <ebb/ebb.h>
#include <ebb/profile.h>
#include <ebb/runtime.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/observe/profile.h"
#include "test.h"

/* --- What is in the profile --------------------------------------------------------------------
 */

/* Sums of a function's own sites: those whose first frame, or whose n-th, lies in it. */
typedef struct sums {
    double allocs, alloc_bytes, live, live_bytes;
    size_t buckets;
} sums;

/* Functions whose stacks are looked for are this far apart. */
enum { SITE_BYTES = 8192 }; /* sanitizers make functions large */
#define SITE NOINLINE __attribute__((aligned(SITE_BYTES)))

static bool site_in(const profile_sites *s, uint32_t site, uintptr_t function, unsigned depth) {
    const profile_site *at = site_at(s, site);
    if (site == 0 || site >= site_count(s) || at->count <= depth) return false;
    uintptr_t pc = site_pcs(s, site)[depth];
    return pc > function && pc - function < SITE_BYTES;
}

/* function 0: all sites. */
static sums sums_of(uintptr_t function, unsigned depth) {
    profile_copy copy;
    sums sum = {0};
    CHECK(ebb__profile_copy(&copy));
    const profile_bucket *b = (const profile_bucket *)(const void *)copy.sites.buckets.bytes;
    for (uint32_t i = 1; i < bucket_count(&copy.sites); i++) {
        if (function && !site_in(&copy.sites, b[i].site, function, depth)) continue;
        double weight = ebb__profile_weight(b[i].size);
        double allocs = (double)b[i].allocs * weight, live = (double)b[i].live * weight;
        sum.allocs += b[i].growth ? 0 : allocs;
        sum.alloc_bytes += allocs * (double)b[i].size;
        sum.live += live;
        sum.live_bytes += live * (double)b[i].size;
        sum.buckets++;
    }
    ebb__profile_copy_free(&copy);
    return sum;
}

static sums sums_at(void *(*function)(size_t size)) {
    return sums_of((uintptr_t)function, 0);
}

static size_t samples_seen;

static void sample_count(const profile_sample *sample, void *arg) {
    (void)sample, (void)arg;
    samples_seen++;
}

static void samples_stopped(const root_set *roots, void *arg) {
    (void)roots;
    ebb__profile_each(sample_count, arg);
}

static size_t samples_now(void) {
    samples_seen = 0;
    CHECK_EQ(ebb__with_world_stopped(samples_stopped, NULL), 0);
    return samples_seen;
}

/* --- Sites --------------------------------------------------------------------------------------
 */

static SITE void *make_red(size_t size) {
    void *p = ebb_alloc(size);
    __asm__ volatile("" : "+r"(p));
    return p;
}

static SITE void *make_green(size_t size) {
    void *p = ebb_alloc_data(size);
    __asm__ volatile("" : "+r"(p));
    return p;
}

typedef struct pair {
    struct pair *next;
    uint64_t number;
} pair;
EBB_TYPE(pair, ptr(next));

static SITE void *make_pair(size_t number) {
    pair *p = ebb_new(pair);
    p->number = number;
    return p;
}

static SITE void *make_last(size_t size) {
    void *p = ebb_alloc_aligned(size, 64);
    __asm__ volatile("" : "+r"(p));
    return p;
}

static void **kept;
static size_t kept_count;

static SITE void keep_start(size_t most) {
    kept = ebb_alloc(most * sizeof *kept);
    CHECK(kept != NULL);
    kept_count = 0;
}

static NOINLINE void keep(void *(*make)(size_t size), size_t size, size_t count) {
    for (size_t i = 0; i < count; i++) {
        void *p = make(size);
        CHECK(p != NULL);
        kept[kept_count++] = p;
    }
}

static NOINLINE void drop(void *(*make)(size_t size), size_t size, size_t count) {
    for (size_t i = 0; i < count; i++) CHECK(make(size) != NULL);
}

static void collect(void) {
    test_clear_stack();
    CHECK_EQ(ebb_collect(), 0);
}

/* Of those that were dropped a stale word may keep one or two. */
#define CHECK_NEAR(a, b, by) \
 CHECK((double)(a) >= (double)(b) - (by) && (double)(a) <= (double)(b) + (by))

static size_t stride_of(const void *p) {
    return ebb_size_of(p) + 1;
}

/* --- Rate 1 -------------------------------------------------------------------------------------
 */

TEST(every_object_is_sampled_at_rate_1) {
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    keep_start(4000);
    keep(make_red, 100, 1000);
    keep(make_green, 1000, 500);
    keep(make_pair, 7, 700);
    keep(make_last, 100, 300);
    collect();
    sums red = sums_at(make_red), green = sums_at(make_green), pairs = sums_at(make_pair),
         last = sums_at(make_last);
    CHECK_EQ(red.allocs, 1000);
    CHECK_EQ(red.live, 1000);
    CHECK_EQ(red.live_bytes, 1000 * stride_of(kept[0]));
    CHECK_EQ(red.alloc_bytes, 1000 * stride_of(kept[0]));
    CHECK_EQ(green.live, 500);
    CHECK_EQ(green.live_bytes, 500 * stride_of(kept[1000]));
    CHECK_EQ(pairs.live, 700);
    CHECK_EQ(last.live, 300);
    CHECK_EQ(samples_now(), sums_of(0, 0).live);
}

TEST(totals_are_those_of_the_heap) {
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    uint64_t seed = test_seed();
    struct ebb_stats before, stats;
    ebb_stats(&before);
    keep_start(20000);
    for (int i = 0; i < 20000; i++) {
        void *p = make_red(test_random_below(&seed, i % 100 == 0 ? 100000 : 600));
        if (test_random_below(&seed, 2)) kept[kept_count++] = p;
    }
    collect();
    ebb_stats(&stats);
    sums all = sums_of(0, 0);
    CHECK_EQ(all.allocs, stats.alloc_objects - before.alloc_objects);
    CHECK_EQ(all.alloc_bytes, stats.alloc_bytes - before.alloc_bytes);
    CHECK_EQ(all.live, stats.live_objects - before.live_objects);
    CHECK_EQ(all.live_bytes, stats.live - before.live);
}

TEST(in_use_is_as_of_the_last_cycle) {
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    keep_start(1000);
    collect();
    keep(make_red, 100, 100);
    CHECK_EQ(sums_at(make_red).allocs, 100);
    CHECK_EQ(sums_at(make_red).live, 0);
    collect();
    CHECK_EQ(sums_at(make_red).live, 100);
    memset(kept, 0, 50 * sizeof *kept);
    CHECK_EQ(sums_at(make_red).live, 100);
    collect();
    CHECK_NEAR(sums_at(make_red).live, 50, 2);
    CHECK_EQ(sums_at(make_red).allocs, 100);
}

/* Drops objects until a minor cycle has looked at what is young. */
static void collect_minor(void) {
    struct ebb_stats before, now;
    ebb_stats(&before);
    do {
        drop(make_last, 60000, 20);
        ebb_stats(&now);
    } while (now.cycles_minor == before.cycles_minor);
    CHECK_EQ(now.cycles - now.cycles_minor, before.cycles - before.cycles_minor);
}

TEST(minor_cycles_keep_the_count_of_what_is_old) {
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    keep_start(4000);
    keep(make_red, 100, 1000);
    keep(make_green, 300000, 8);
    collect();
    if (!ebb__dirty_in_force()) SKIP("cycles are full where nobody tells of writes");
    collect(); /* the large ones are old now, too */
    size_t large = ebb_size_of(kept[1000]);
    keep(make_pair, 7, 300);
    for (int i = 0; i < 100; i++) CHECK_EQ(ebb_free(kept[i]), 0);
    for (int i = 1000; i < 1004; i++) kept[i] = ebb_resize(kept[i], 100000);
    memset(kept, 0, 200 * sizeof *kept);
    ebb_gc_hold();
    CHECK_EQ(sums_at(make_red).live, 1000);
    CHECK_EQ(sums_at(make_green).live_bytes, 8 * large);
    ebb_gc_allow();
    for (int round = 0; round < 3; round++) {
        collect_minor();
        CHECK_EQ(sums_at(make_red).live, 900);
        CHECK_EQ(sums_at(make_pair).live, 300);
        CHECK_EQ(sums_at(make_green).live_bytes, 4 * large + 4 * ebb_size_of(kept[1000]));
    }
    collect();
    CHECK_NEAR(sums_at(make_red).live, 800, 2);
}

/* What the samples say that lives now, and what their places do. */
typedef struct tally {
    size_t samples, bytes, counted, counted_bytes;
} tally;

static void tally_sample(const profile_sample *sample, void *arg) {
    tally *sum = arg;
    if (!sample->live) return;
    sum->samples++;
    sum->bytes += sample->size;
}

static void tally_stopped(const root_set *roots, void *arg) {
    (void)roots;
    tally *sum = arg;
    ebb__profile_each(tally_sample, sum);
    for (uint32_t i = 1; i < bucket_count(&ebb__sites); i++) {
        sum->counted += bucket_at(i)->live;
        sum->counted_bytes += bucket_at(i)->live * bucket_at(i)->size;
    }
}

TEST(counts_are_those_of_the_samples) {
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    uint64_t seed = test_seed();
    keep_start(4000);
    for (int step = 0; step < 200000; step++) {
        void **at = &kept[test_random_below(&seed, 4000)];
        size_t size = 1 + test_random_below(&seed, step % 50 == 0 ? 200000 : 500);
        switch (test_random_below(&seed, 8)) {
        case 0:
            if (*at) CHECK_EQ(ebb_free(*at), 0);
            *at = NULL;
            break;
        case 1:
            *at = ebb_resize(*at, size);
            break;
        case 2:
            *at = NULL;
            break;
        default:
            *at = make_red(size);
            break;
        }
        if (test_random_below(&seed, 20000) == 0) collect();
        if (test_random_below(&seed, 1000) > 0) continue;
        tally sum = {0};
        CHECK_EQ(ebb__with_world_stopped(tally_stopped, &sum), 0);
        CHECK_EQ(sum.counted, sum.samples);
        CHECK_EQ(sum.counted_bytes, sum.bytes);
    }
}

TEST(before_any_cycle_what_was_not_freed_is_in_use) {
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    keep_start(1000);
    keep(make_red, 100, 100);
    for (int i = 0; i < 30; i++) CHECK_EQ(ebb_free(kept[i]), 0);
    CHECK_EQ(sums_at(make_red).live, 70);
    CHECK_EQ(sums_at(make_red).allocs, 100);
}

TEST(samples_go_with_their_objects) {
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    keep_start(20000);
    keep(make_green, 64, 100);
    for (int round = 0; round < 5; round++) {
        drop(make_red, 100, 10000);
        drop(make_last, 50000, 50);
        collect();
        CHECK_NEAR(sums_at(make_red).live, 0, 2);
        CHECK_NEAR(sums_at(make_last).live, 0, 2);
        CHECK_NEAR(samples_now(), 101, 4);
    }
    CHECK_EQ(sums_at(make_red).allocs, 50000);
    CHECK_EQ(sums_at(make_green).live, 100);
}

TEST(released_objects_are_not_taken_for_others) {
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    keep_start(3000);
    for (int round = 0; round < 20; round++) {
        kept_count = 0;
        keep(make_red, 200, 1000);
        keep(make_last, 100000, 3);
        for (size_t i = 0; i < 1003; i++) CHECK_EQ(ebb_free(kept[i]), 0);
        memset(kept, 0, kept_count * sizeof *kept);
    }
    CHECK_EQ(samples_now(), 1);
    kept_count = 0;
    keep(make_green, 200, 1000);
    for (size_t i = 0; i < 500; i++) CHECK_EQ(ebb_free(kept[i]), 0), kept[i] = NULL;
    collect();
    CHECK_EQ(sums_at(make_red).live, 0);
    CHECK_EQ(sums_at(make_red).allocs, 20000);
    CHECK_EQ(sums_at(make_last).live, 0);
    CHECK_EQ(sums_at(make_green).live, 500);
}

static SITE void *grow_it(size_t size) {
    void *p = ebb_resize(kept[0], size);
    CHECK(p != NULL);
    return kept[0] = p;
}

TEST(what_grows_in_place_counts_what_it_grew_by) {
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    keep_start(10);
    keep(make_red, 100000, 1);
    const void *first = kept[0];
    size_t from = ebb_size_of(kept[0]);
    grow_it(300000);
    CHECK_EQ((uintptr_t)kept[0], (uintptr_t)first);
    size_t to = ebb_size_of(kept[0]);
    collect();
    CHECK_EQ(sums_at(make_red).allocs, 1);
    CHECK_EQ(sums_at(make_red).alloc_bytes, from);
    CHECK_EQ(sums_at(make_red).live, 1);
    CHECK_EQ(sums_at(make_red).live_bytes, to);
    CHECK_EQ(sums_at(grow_it).allocs, 0);
    CHECK_EQ(sums_at(grow_it).alloc_bytes, to - from);
    CHECK_EQ(sums_at(grow_it).live, 0);
    grow_it(50000);
    CHECK_EQ((uintptr_t)kept[0], (uintptr_t)first);
    collect();
    CHECK_EQ(sums_at(make_red).live_bytes, ebb_size_of(kept[0]));
    CHECK_EQ(ebb_free(kept[0]), 0);
    kept[0] = NULL;
    CHECK_EQ(samples_now(), 1);
}

TEST(what_moves_is_another_object) {
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    keep_start(10);
    keep(make_red, 100, 1);
    grow_it(1000);
    collect();
    CHECK_EQ(sums_at(grow_it).live, 1);
    CHECK_EQ(sums_at(grow_it).live_bytes, stride_of(kept[0]));
    CHECK_NEAR(sums_at(make_red).live, 0, 1);
}

/* --- Containers: the first frame is the program's -----------------------------------------------
 */

typedef struct row {
    uint64_t cells[6];
} row;
EBB_SLICE(row_list, row);
EBB_MAP(number_map, uint64_t, uint64_t);
static row_list rows;
static number_map table;
static ebb_str text;

static SITE void *fill_slice(size_t count) {
    for (size_t i = 0; i < count; i++) CHECK_EQ(ebb_append(&rows, (row){{i}}), 0);
    return rows.ptr;
}

static SITE void *fill_map(size_t count) {
    for (uint64_t i = 0; i < count; i++) CHECK_EQ(ebb_map_put(&table, i, i), 0);
    return &table;
}

static SITE void *make_text(size_t count) {
    text = ebb_str_format("%zu", count);
    return (void *)(uintptr_t)text.ptr;
}

TEST(containers_are_the_callers) {
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    fill_slice(5000);
    fill_map(5000);
    make_text(77);
    collect();
    sums slice = sums_at(fill_slice), map = sums_at(fill_map), str = sums_at(make_text);
    sums all = sums_of(0, 0);
    CHECK(slice.allocs > 3);
    CHECK_NEAR(slice.live_bytes, ebb_size_of(rows.ptr), 1);
    for (unsigned depth = 1; depth < 4; depth++) {
        sums below = sums_of((uintptr_t)fill_map, depth); /* through functions of the map's type */
        map.allocs += below.allocs;
    }
    CHECK(map.allocs > 10);
    CHECK_EQ(str.live, 1);
    CHECK_EQ(all.allocs, slice.allocs + map.allocs + str.allocs);
}

/* --- Other rates: right on average --------------------------------------------------------------
 */

/* What is drawn is drawn from other seeds in each process. Sums of a sampled quantity have a
 * relative variance of about (1 - chance) / (chance * objects). */
TEST(sums_are_unbiased) {
    enum { ROUNDS = 40, SMALL = 20000, MIDDLE = 300, LARGE = 12 };
    double small = 0, middle = 0, large = 0, objects = 0;
    keep_start(SMALL + MIDDLE + LARGE);
    for (int round = 0; round < ROUNDS; round++) {
        CHECK_EQ(ebb_profile_set_rate(64 * 1024), 0);
        kept_count = 0;
        keep(make_red, 47, SMALL);
        keep(make_green, 5000, MIDDLE);
        keep(make_last, 100000, LARGE);
        collect();
        small += sums_at(make_red).live_bytes;
        objects += sums_at(make_red).live;
        middle += sums_at(make_green).live_bytes;
        large += sums_at(make_last).live_bytes;
    }
    double exact_small = (double)ROUNDS * SMALL * (double)stride_of(kept[0]);
    double exact_middle = (double)ROUNDS * MIDDLE * (double)stride_of(kept[SMALL]);
    double exact_large = (double)ROUNDS * LARGE * (double)ebb_size_of(kept[SMALL + MIDDLE]);
    /* Standard errors: 4.1 %, 2.5 %, 2.4 %. Five of them. */
    CHECK_NEAR(small / exact_small, 1, 0.21);
    CHECK_NEAR(objects / (ROUNDS * SMALL), 1, 0.21);
    CHECK_NEAR(middle / exact_middle, 1, 0.13);
    CHECK_NEAR(large / exact_large, 1, 0.13);
}

TEST(the_default_rate_is_unbiased_and_cheap) {
    enum { COUNT = 400000 };
    unsetenv("EBB_PROFILE");
    keep_start(COUNT);
    keep(make_red, 1000, COUNT);
    collect();
    double exact = (double)COUNT * (double)stride_of(kept[0]);
    CHECK_NEAR(sums_at(make_red).live_bytes / exact, 1, 0.18); /* 800 samples: five times 3.5 % */
    CHECK_NEAR(sums_at(make_red).alloc_bytes / exact, 1, 0.18);
    size_t expected = (size_t)exact / (512 * 1024);
    CHECK_NEAR(samples_now(), expected, 0.2 * (double)expected + 10);
    CHECK(ebb__profile_bytes() < 512 * 1024);
}

TEST(what_is_cut_in_place_loses_its_share) {
    enum { ROUNDS = 60, COUNT = 40 };
    double bytes = 0, exact = 0;
    keep_start(COUNT);
    for (int round = 0; round < ROUNDS; round++) {
        CHECK_EQ(ebb_profile_set_rate(256 * 1024), 0);
        kept_count = 0;
        keep(make_red, 400000, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            kept[i] = ebb_resize(kept[i], 40000);
            exact += (double)ebb_size_of(kept[i]);
        }
        collect();
        bytes += sums_at(make_red).live_bytes;
        for (size_t i = 0; i < COUNT; i++) CHECK_EQ(ebb_free(kept[i]), 0);
    }
    CHECK_NEAR(bytes / exact, 1, 0.25); /* a chance of 0.14 of 2400: five times 5 % */
}

TEST(off_samples_nothing) {
    CHECK_EQ(ebb_profile_set_rate(0), 0);
    keep_start(1000);
    keep(make_red, 10000, 1000);
    keep(make_last, 1000000, 10);
    collect();
    CHECK_EQ(samples_now(), 0);
    CHECK_EQ(sums_of(0, 0).allocs, 0);
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    CHECK(make_red(100) != NULL);
    CHECK_EQ(sums_at(make_red).allocs, 1);
}

/* --- Threads, forks, no memory ------------------------------------------------------------------
 */

enum { THREADS = 4, THREAD_OBJECTS = 20000 };

static _Atomic(unsigned) thread_kept;

static void *thread_body(void *arg) {
    uint64_t seed = test_seed() + (uintptr_t)arg;
    void *ring[64] = {0};
    for (int i = 0; i < THREAD_OBJECTS; i++) {
        size_t at = test_random_below(&seed, 64);
        if (ring[at] && test_random_below(&seed, 3) == 0) CHECK_EQ(ebb_free(ring[at]), 0);
        ring[at] = make_green(test_random_below(&seed, 2000));
        CHECK(ring[at] != NULL);
        memset(ring[at], (int)i, 8);
        if (test_random_below(&seed, 4000) == 0) CHECK_EQ(ebb_collect(), 0);
    }
    atomic_fetch_add(&thread_kept, 1);
    return NULL;
}

static _Atomic(bool) object_freed;

static void *object_free(void *object) {
    CHECK_EQ(ebb_free(object), 0);
    atomic_store(&object_freed, true);
    return NULL;
}

/* What had a sample at the rate before is freed without the lock. */
TEST(a_new_rate_forgets_what_had_a_sample) {
    pthread_t thread;
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    void *object = ebb_alloc_data(100);
    CHECK_EQ(samples_now(), 1);
    CHECK_EQ(ebb_profile_set_rate(0), 0);
    ebb__os_lock(&ebb__sample_lock);
    CHECK_EQ(pthread_create(&thread, NULL, object_free, object), 0);
    for (int i = 0; i < 2000 && !atomic_load(&object_freed); i++) usleep(10000);
    CHECK(atomic_load(&object_freed));
    ebb__os_unlock(&ebb__sample_lock);
    pthread_join(thread, NULL);
}

TEST(threads_are_sampled_exactly) {
    pthread_t threads[THREADS];
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, thread_body, (void *)i), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(thread_kept, THREADS);
    CHECK_EQ(sums_at(make_green).allocs, THREADS * THREAD_OBJECTS);
    collect();
    struct ebb_stats stats;
    ebb_stats(&stats);
    CHECK_NEAR(sums_at(make_green).live, stats.live_objects, 8);
}

TEST(a_child_keeps_its_samples) {
    int status;
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    keep_start(2000);
    keep(make_red, 100, 500);
    collect();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_EQ(sums_at(make_red).live, 500);
        keep(make_green, 100, 300);
        for (size_t i = 0; i < 100; i++) CHECK_EQ(ebb_free(kept[i]), 0), kept[i] = NULL;
        collect();
        CHECK_EQ(sums_at(make_red).live, 400);
        CHECK_EQ(sums_at(make_green).live, 300);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    collect();
    CHECK_EQ(sums_at(make_red).live, 500);
    CHECK_EQ(sums_at(make_green).live, 0);
}

static _Atomic(bool) forks_over;

static void *forks_body(void *arg) {
    while (!atomic_load(&forks_over)) make_red(100);
    return arg;
}

TEST(forks_beside_samples) {
    pthread_t threads[2];
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(pthread_create(&threads[i], NULL, forks_body, NULL), 0);
    for (size_t i = 0; i < 30 * test_scale(); i++) {
        int status;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            for (int k = 0; k < 100; k++) CHECK(make_green(100) != NULL);
            CHECK_EQ(ebb_collect(), 0);
            CHECK_EQ(sums_at(make_green).allocs, 100);
            _exit(0);
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
    }
    atomic_store(&forks_over, true);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

TEST(the_rate_changes_beside_threads) {
    pthread_t threads[2];
    atomic_store(&forks_over, false);
    for (int i = 0; i < 2; i++) CHECK_EQ(pthread_create(&threads[i], NULL, forks_body, NULL), 0);
    for (int i = 0; i < 60; i++) {
        CHECK_EQ(ebb_profile_set_rate((size_t[]){1, 0, 16, 4096, 524288}[i % 5]), 0);
        for (int k = 0; k < 1000; k++) CHECK(make_green(100) != NULL);
        if (i % 5 == 0) CHECK_EQ(sums_at(make_green).allocs, 1000);
        if (i % 7 == 0) CHECK_EQ(ebb_collect(), 0);
    }
    atomic_store(&forks_over, true);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

/* --- The snapshot's view ------------------------------------------------------------------------
 */

static void sites_stopped(const root_set *roots, void *arg) {
    uintptr_t pcs[4] = {0};
    (void)roots;
    uint32_t site = ebb__profile_site((uintptr_t)kept[0]);
    *(unsigned *)arg = ebb__profile_stack(site, pcs, 4);
    CHECK(site > 0);
    CHECK(pcs[0] > (uintptr_t)make_red && pcs[0] < (uintptr_t)make_red + SITE_BYTES);
    CHECK_EQ(ebb__profile_site((uintptr_t)kept[0] + 16), 0);
    CHECK_EQ(ebb__profile_stack(0, pcs, 4), 0);
    CHECK_EQ(ebb__profile_stack(100000, pcs, 4), 0);
}

TEST(an_object_tells_its_site) {
    unsigned depth = 0;
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    keep_start(10);
    keep(make_red, 100, 1);
    CHECK_EQ(ebb__with_world_stopped(sites_stopped, &depth), 0);
    CHECK(depth >= 3);
}

/* --- Memory -------------------------------------------------------------------------------------
 */

/* The system gives no more: samples are lost and counted, the program goes on, and so do those that
 * there is room for. */
TEST(without_memory_samples_are_lost) {
    enum { COUNT = 200000 };
    CHECK_EQ(ebb_profile_set_rate(1), 0);
    keep_start(COUNT);
    keep(make_red, 16, 1000);
    for (int i = 0; i < 100; i++) CHECK(make_green(1000000) != NULL); /* room for what comes */
    collect();
    struct rlimit before, now;
    CHECK_EQ(getrlimit(RLIMIT_AS, &before), 0);
    now = before;
    now.rlim_cur = 1;
    CHECK_EQ(setrlimit(RLIMIT_AS, &now), 0);
    keep(make_green, 16, COUNT - 1000);
    CHECK_EQ(setrlimit(RLIMIT_AS, &before), 0);
    profile_copy copy;
    CHECK(ebb__profile_copy(&copy));
    CHECK(copy.lost > 0);
    ebb__profile_copy_free(&copy);
    collect();
    CHECK_EQ(sums_at(make_red).live, 1000);
    CHECK(sums_at(make_green).live < COUNT - 1000);
    kept_count = 0;
    keep(make_last, 100, 1000);
    collect();
    CHECK_EQ(sums_at(make_last).live, 1000);
}
