/* test_gc_extent.c - slices keep their arrays as far as they reach. docs/design.md, "Extents".
 *
 * Arrays are reached through slice fields of described types only, and dropped parts are counted
 * over many arrays: a stale word on a stack keeps one of them whole. The model at the end does the
 * same things to the heap, where full collections trim, and to plain memory, where nothing does. */
#include <ebb/ebb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "modes.h"
#include "probe.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

typedef struct item {
    size_t key, same;
    char weight[100];
} item;
EBB_TYPE(item);

typedef struct box {
    item *held;
    size_t number;
} box;
EBB_TYPE(box, ptr(held));

EBB_SLICE(items, item *);
EBB_SLICE(boxes, box);
EBB_SLICE(longs, long);

typedef struct holder {
    items s, t;
    boxes crates;
    longs numbers;
} holder;
EBB_TYPE(holder, slice(s), slice(t), slice(crates), slice(numbers));

typedef struct shortened {
    items s, t;
} shortened;
EBB_TYPE(shortened, slice_to_len(s), slice_to_len(t));

typedef struct watcher {
    item **inside;
} watcher;
EBB_TYPE(watcher, ptr(inside));

enum { HOLDERS = 24, COUNT = 40 };

static holder *holders[HOLDERS];
static shortened *shorts[HOLDERS];
static watcher *watchers[HOLDERS];
static void *words[HOLDERS];

static item *item_make(size_t key) {
    item *it = ebb_new(item);
    CHECK(it != NULL);
    *it = (item){.key = key, .same = ~key};
    return it;
}

static bool item_good(const item *it, size_t key) {
    return it && it->key == key && it->same == ~key;
}

/* So far down the stack that what it leaves there is cleared before a collection. */
static NOINLINE void deep(void (*fn)(void)) {
    char room[8192];
    __asm__ volatile("" : : "r"(room) : "memory");
    fn();
    __asm__ volatile("" : : "r"(room) : "memory");
}

static struct ebb_stats stats_now(void) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    return stats;
}

/* COUNT items in an array, each watched: item k of holder i is probe i * COUNT + k. */
static items items_make(void) {
    items s = {0};
    CHECK_EQ(ebb_reserve(&s, COUNT), 0);
    for (size_t i = 0; i < COUNT; i++) {
        item *it = item_make(i);
        probe_add(it);
        CHECK_EQ(ebb_append(&s, it), 0);
    }
    return s;
}

static void holders_build(void) {
    for (size_t i = 0; i < HOLDERS; i++) {
        holders[i] = ebb_new(holder);
        holders[i]->s = items_make();
    }
}

static void shorts_build(void) {
    for (size_t i = 0; i < HOLDERS; i++) {
        shorts[i] = ebb_new(shortened);
        shorts[i]->s = items_make();
    }
}

/* Of every array just the items [lo, hi) live, but for a few arrays of which all do. */
static NOINLINE void expect_kept(size_t lo, size_t hi) {
    size_t whole = 0;
    probe_collect();
    for (size_t i = 0; i < HOLDERS; i++) {
        size_t in = probe_living(i * COUNT + lo, i * COUNT + hi);
        size_t all = probe_living(i * COUNT, (i + 1) * COUNT);
        CHECK_EQ(in, hi - lo);
        if (all > in) whole++;
    }
    CHECK(whole <= PROBE_STALE);
}

static NOINLINE void expect_all(void) {
    probe_collect();
    CHECK_EQ(probe_living(0, HOLDERS * COUNT), HOLDERS * COUNT);
}

/* --- By capacity ---------------------------------------------------------------------------- */

static void cut_three_index(void) {
    for (size_t i = 0; i < HOLDERS; i++) holders[i]->s = ebb_slice3(holders[i]->s, 0, 10, 10);
}

TEST(three_index_form_frees_what_it_cuts_off) {
    deep(holders_build);
    expect_all();
    CHECK_EQ(stats_now().arrays_trimmed, 0);
    deep(cut_three_index);
    expect_kept(0, 10);
    struct ebb_stats once = stats_now();
    CHECK(once.arrays_trimmed >= HOLDERS - PROBE_STALE && once.arrays_trimmed <= HOLDERS);
    CHECK(once.trimmed_bytes >= once.arrays_trimmed * (COUNT - 10) * sizeof(item *));
    expect_kept(0, 10);
    CHECK(stats_now().arrays_trimmed <= HOLDERS);
    for (size_t i = 0; i < HOLDERS; i++)
        for (size_t k = 0; k < 10; k++) CHECK(item_good(holders[i]->s.ptr[k], k));
}

static void cut_front(void) {
    for (size_t i = 0; i < HOLDERS; i++) holders[i]->s = ebb_slice(holders[i]->s, 25, 30);
}

TEST(a_view_forgets_the_front_and_keeps_its_capacity) {
    deep(holders_build);
    deep(cut_front);
    expect_kept(25, COUNT);
    for (size_t i = 0; i < HOLDERS; i++) {
        CHECK(ebb_slice_capacity_true(holders[i]->s) >= COUNT);
        items longer = ebb_slice_extend(holders[i]->s, 15);
        for (size_t k = 0; k < 15; k++) CHECK(item_good(longer.ptr[k], 25 + k));
    }
}

static void shorten_plainly(void) {
    for (size_t i = 0; i < HOLDERS; i++) holders[i]->s.len = 3;
}

TEST(by_capacity_what_lies_beyond_the_length_stays) {
    deep(holders_build);
    deep(shorten_plainly);
    expect_all();
    for (size_t i = 0; i < HOLDERS; i++) {
        items longer = ebb_slice_extend(holders[i]->s, COUNT);
        for (size_t k = 0; k < COUNT; k++) CHECK(item_good(longer.ptr[k], k));
    }
}

static void overlap(void) {
    for (size_t i = 0; i < HOLDERS; i++) {
        holder *h = holders[i];
        h->t = ebb_slice3(h->s, 5, 15, 20);
        h->s = ebb_slice3(h->s, 12, 20, 30);
    }
}

TEST(views_that_overlap_keep_their_hull) {
    deep(holders_build);
    deep(overlap);
    expect_kept(5, 30);
}

static void part(void) {
    for (size_t i = 0; i < HOLDERS; i++) {
        holder *h = holders[i], *other = holders[(i + 1) % HOLDERS];
        other->t = ebb_slice3(h->s, 2, 3, 4);
        h->s = ebb_slice3(h->s, 33, 34, 35);
    }
}

TEST(views_that_lie_apart_keep_what_is_between) {
    deep(holders_build);
    deep(part);
    expect_kept(2, 35);
}

/* --- Whole for other references -------------------------------------------------------------- */

static void watch_inside(void) {
    for (size_t i = 0; i < HOLDERS; i++) {
        watchers[i] = ebb_new(watcher);
        watchers[i]->inside = holders[i]->s.ptr + 7;
        holders[i]->s = ebb_slice3(holders[i]->s, 3, 4, 4);
    }
}

TEST(a_pointer_into_the_array_keeps_it_whole) {
    deep(holders_build);
    deep(watch_inside);
    expect_all();
    CHECK_EQ(stats_now().arrays_kept_whole, HOLDERS);
    CHECK_EQ(stats_now().arrays_trimmed, 0);
    memset(watchers, 0, sizeof watchers);
    expect_kept(3, 4);
    CHECK(stats_now().arrays_kept_whole <= PROBE_STALE);
}

static void word_inside(void) {
    for (size_t i = 0; i < HOLDERS; i++) {
        void **untyped = ebb_alloc(64);
        untyped[1] = holders[i]->s.ptr + COUNT - 1;
        words[i] = untyped;
        holders[i]->s = ebb_slice3(holders[i]->s, 0, 0, 1);
    }
}

TEST(a_word_in_untyped_memory_keeps_it_whole) {
    deep(holders_build);
    deep(word_inside);
    expect_all();
    memset(words, 0, sizeof words);
    expect_kept(0, 1);
}

static NOINLINE void with_slices_on_stack(void) {
    items own[HOLDERS];
    for (size_t i = 0; i < HOLDERS; i++) {
        own[i] = holders[i]->s;
        holders[i]->s = ebb_slice3(own[i], 0, 1, 1);
    }
    __asm__ volatile("" : : "r"(own) : "memory");
    CHECK_EQ(ebb_collect(), 0);
    CHECK_EQ(probe_living(0, HOLDERS * COUNT), HOLDERS * COUNT);
    CHECK_EQ(stats_now().arrays_trimmed, 0);
    for (size_t i = 0; i < HOLDERS; i++) CHECK(item_good(ebb_at(own[i], COUNT - 1), COUNT - 1));
    memset(own, 0, sizeof own);
    __asm__ volatile("" : : "r"(own) : "memory");
}

TEST(a_slice_on_the_stack_keeps_it_whole) {
    deep(holders_build);
    deep(with_slices_on_stack);
    expect_kept(0, 1);
}

static void over_an_object(void) {
    for (size_t i = 0; i < HOLDERS; i++) {
        item **plain = ebb_new_array(item *, COUNT);
        for (size_t k = 0; k < COUNT; k++) {
            plain[k] = item_make(k);
            probe_add(plain[k]);
        }
        holders[i] = ebb_new(holder);
        holders[i]->s = ebb_slice_over(items, plain + 4, 2);
    }
}

TEST(a_slice_of_what_is_no_slices_array_keeps_it_whole) {
    deep(over_an_object);
    expect_all();
}

/* --- By length ------------------------------------------------------------------------------- */

static void shorts_cut(void) {
    for (size_t i = 0; i < HOLDERS; i++) shorts[i]->s.len = 4;
}

TEST(to_len_forgets_what_a_plain_truncation_cuts_off) {
    deep(shorts_build);
    expect_all();
    deep(shorts_cut);
    expect_kept(0, 4);
    size_t zeroed = 0;
    for (size_t i = 0; i < HOLDERS; i++) {
        items longer = ebb_slice_extend(shorts[i]->s, COUNT);
        for (size_t k = 0; k < 4; k++) CHECK(item_good(longer.ptr[k], k));
        for (size_t k = 4; k < COUNT; k++) {
            CHECK(!longer.ptr[k] || item_good(longer.ptr[k], k));
            zeroed += !longer.ptr[k];
        }
    }
    CHECK(zeroed >= (HOLDERS - PROBE_STALE) * (COUNT - 4));
}

static void shorts_cut_one(void) {
    for (size_t i = 0; i < HOLDERS; i++) shorts[i]->s.len--;
}

TEST(to_len_forgets_a_single_element) {
    deep(shorts_build);
    deep(shorts_cut_one);
    expect_kept(0, COUNT - 1);
}

static void shorts_empty(void) {
    for (size_t i = 0; i < HOLDERS; i++) shorts[i]->s.len = 0;
}

TEST(to_len_without_length_keeps_an_empty_array) {
    deep(shorts_build);
    deep(shorts_empty);
    expect_kept(0, 0);
    for (size_t i = 0; i < HOLDERS; i++) {
        CHECK(ebb_slice_capacity_true(shorts[i]->s) >= COUNT);
        CHECK_EQ(ebb_append(&shorts[i]->s, item_make(i)), 0);
    }
    probe_collect();
    for (size_t i = 0; i < HOLDERS; i++) CHECK(item_good(shorts[i]->s.ptr[0], i));
}

static void shorts_and_holders(void) {
    shorts_build();
    for (size_t i = 0; i < HOLDERS; i++) {
        holders[i] = ebb_new(holder);
        holders[i]->s = ebb_slice3(shorts[i]->s, 10, 11, 20);
        shorts[i]->s.len = 5;
    }
}

TEST(both_forms_of_one_array) {
    deep(shorts_and_holders);
    expect_kept(0, 20);
}

/* --- Elements, pages, sizes ------------------------------------------------------------------ */

static void crates_build(void) {
    for (size_t i = 0; i < HOLDERS; i++) {
        boxes all = {0};
        CHECK_EQ(ebb_reserve(&all, COUNT), 0);
        for (size_t k = 0; k < COUNT; k++) {
            item *it = item_make(k);
            probe_add(it);
            CHECK_EQ(ebb_append(&all, ((box){it, k})), 0);
        }
        holders[i] = ebb_new(holder);
        holders[i]->crates = ebb_slice3(all, 10, 15, 20);
    }
}

TEST(typed_elements_are_kept_one_by_one) {
    deep(crates_build);
    expect_kept(10, 20);
    for (size_t i = 0; i < HOLDERS; i++)
        for (size_t k = 0; k < 5; k++) CHECK_EQ(ebb_at(holders[i]->crates, k).number, 10 + k);
}

static void numbers_inside(void) {
    crates_build();
    for (size_t i = 0; i < HOLDERS; i++) {
        boxes *crates = &holders[i]->crates;
        holders[i]->numbers = ebb_slice_over(longs, (long *)&crates->ptr[2].number, 3);
        *crates = (boxes){0};
    }
}

TEST(a_part_is_rounded_to_whole_elements) {
    deep(numbers_inside); /* from the second word of element 12 to the end of 13 */
    expect_kept(12, 14);
}

enum { MANY = 400000, EVERY = 1000 };

static void long_build(void) {
    items all = {0};
    CHECK_EQ(ebb_append_zeros(&all, MANY), 0);
    for (size_t k = 0; k < MANY; k += EVERY) {
        all.ptr[k] = item_make(k);
        probe_add(all.ptr[k]);
    }
    holders[0] = ebb_new(holder);
    holders[1] = ebb_new(holder);
    holders[1]->t = ebb_slice3(all, MANY / 2, MANY / 2, MANY / 4 * 3);
    holders[0]->s = ebb_slice3(all, MANY / 4, MANY / 4, MANY / 2 + 1);
}

static size_t resident(const void *start, size_t bytes) {
    static unsigned char pages[65536];
    size_t count = 0, page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)start + page - 1) & ~(page - 1);
    CHECK(bytes / page <= sizeof pages);
    CHECK_EQ(mincore((void *)from, bytes, pages), 0);
    for (size_t i = 0; i < bytes / page; i++) count += pages[i] & 1;
    return count * page;
}

TEST(long_arrays_are_scanned_in_part_and_their_pages_go_back) {
    deep(long_build);
    probe_collect();
    size_t quarter = MANY / 4 / EVERY;
    /* A stale word in a register or on the stack keeps the array whole for a while. */
    for (int i = 0; i < 4 && probe_living(0, quarter) > 0; i++) probe_collect();
    CHECK_EQ(probe_living(quarter, 3 * quarter), 2 * quarter);
    CHECK_EQ(probe_living(0, quarter) + probe_living(3 * quarter, 4 * quarter), 0);
    char *base = ebb_base_of(holders[0]->s.ptr);
    size_t bytes = MANY / 4 * sizeof(item *);
    if (modes_have("verify")) return; /* it reads all pages, and so makes them resident */
    CHECK(resident(base, bytes) <= 8192);
    CHECK(resident(base + 3 * bytes, bytes - 4096) <= 8192);
    uint64_t trimmed = stats_now().trimmed_bytes;
    CHECK(trimmed >= bytes / 2); /* half of the pages were never touched */
    probe_collect();
    CHECK_EQ(stats_now().trimmed_bytes, trimmed);
}

static void plain_data_build(void) {
    longs all = {0};
    CHECK_EQ(ebb_append_zeros(&all, 4 * MIB), 0);
    for (size_t i = 0; i < all.len; i++) all.ptr[i] = (long)i;
    holders[0] = ebb_new(holder);
    holders[0]->numbers = ebb_slice3(all, MIB, MIB + 1000, MIB + 1000);
}

TEST(pages_of_plain_data_go_back) {
    deep(plain_data_build);
    size_t before = stats_now().rss;
    probe_collect();
    CHECK(stats_now().rss + 24 * MIB < before);
    for (size_t i = 0; i < 1000; i++) CHECK_EQ(ebb_at(holders[0]->numbers, i), MIB + i);
    CHECK(resident(ebb_base_of(holders[0]->numbers.ptr), 8 * MIB - 65536) == 0);
}

/* --- Finalizers ------------------------------------------------------------------------------ */

static size_t finalized, finalized_bad, finalized_trimmed;

static void on_final(void *object, void *arg) {
    const holder *h = object;
    (void)arg;
    finalized++;
    for (size_t k = 0; k < h->s.cap; k++) finalized_bad += !item_good(h->s.ptr[k], 8 + k);
    finalized_trimmed += !h->s.ptr[-1] && !h->s.ptr[4];
}

static void final_build(void) {
    holders_build();
    for (size_t i = 0; i < HOLDERS; i++) {
        holders[i]->s = ebb_slice3(holders[i]->s, 8, 9, 12);
        CHECK_EQ(ebb_finalizer_set(holders[i], on_final, NULL), 0);
    }
    memset(holders, 0, sizeof holders);
}

TEST(what_a_finalizer_may_see_is_kept) {
    deep(final_build);
    probe_collect();
    for (int i = 0; i < 5 && finalized < HOLDERS; i++) {
        ebb_finalizers_run();
        probe_collect();
    }
    CHECK(finalized >= HOLDERS - PROBE_STALE);
    CHECK(finalized_trimmed >= finalized - PROBE_STALE);
    CHECK_EQ(finalized_bad, 0);
}

/* --- Queues ---------------------------------------------------------------------------------- */

/* What a program does between two accesses to a queue: registers and places on the stack that
 * nobody uses any more hold the array's address until others write to them, and keep it whole. */
static NOINLINE void queue_work(void) {
    char room[1024];
    memset(room, 0, sizeof room);
    __asm__ volatile("" : : "r"(room) : "memory");
#ifdef __x86_64__
    __asm__ volatile("xor %%eax, %%eax; xor %%ecx, %%ecx; xor %%edx, %%edx; xor %%esi, %%esi;"
                     "xor %%edi, %%edi; xor %%r8d, %%r8d; xor %%r9d, %%r9d; xor %%r10d, %%r10d;"
                     "xor %%r11d, %%r11d; pxor %%xmm0, %%xmm0; pxor %%xmm1, %%xmm1"
                     :
                     :
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1");
#endif
}

static NOINLINE void queue_push(items *q, size_t key) {
    item *it = item_make(key);
    CHECK_EQ(ebb_append(q, it), 0);
}

static NOINLINE void queue_pop(items *q, size_t key) {
    CHECK(item_good(ebb_at(*q, 0), key));
    *q = ebb_slice(*q, 1, q->len);
}

/* With `collect` at moments when nothing but the field refers to the array: a cycle that comes by
 * itself often finds an address of it in a register, and keeps it whole then. */
static NOINLINE void queue_run(items *q, size_t pushes, size_t length, bool collect) {
    size_t most = 0, first = 0;
    for (size_t i = 0; i < pushes; i++) {
        queue_push(q, i);
        queue_work();
        if (q->len > length) queue_pop(q, first++);
        queue_work();
        if (i % 65536 == 0) {
            test_clear_stack();
            if (collect) CHECK_EQ(ebb_collect(), 0);
            size_t used = stats_now().heap_used;
            if (used > most) most = used;
        }
    }
    CHECK(most < (collect ? 40 : 100) * MIB);
    printf("     at most %zu MiB\n", most / MIB);
}

static size_t queue_pushes(void) {
    return test_slow() || modes_have("stress") ? 20000 : 1000000;
}

static void queues_build(void) {
    holders[0] = ebb_new(holder);
    holders[1] = ebb_new(holder);
    CHECK_EQ(ebb_reserve(&holders[1]->s, queue_pushes()), 0);
}

/* A hundred bytes an item: without trimming, the queue that has room for all would keep 240 MiB. */
TEST(queues_advanced_by_slicing_are_bounded) {
    deep(queues_build);
    queue_run(&holders[0]->s, queue_pushes(), 100, false);
    queue_run(&holders[1]->s, queue_pushes(), 1000, true);
}

/* --- Threads stopped anywhere ---------------------------------------------------------------- */

enum { WORKERS = 4, QUEUES = HOLDERS / WORKERS };
static _Atomic(bool) workers_end;
static _Atomic(size_t) worker_checks;

typedef struct stream {
    items *at, *other;
    size_t next, first; /* the keys that it holds */
} stream;

static NOINLINE void stream_check(const stream *q) {
    const items *f = q->at;
    for (size_t k = 0; k < f->len; k++) CHECK(item_good(f->ptr[k], q->first + k));
    CHECK_EQ(q->first + f->len, q->next);
    atomic_fetch_add(&worker_checks, f->len);
}

/* Grows a queue, advances it, and moves it to the other field. */
static NOINLINE void stream_step(stream *q, uint64_t *random) {
    items *at = q->at;
    size_t n = test_random_below(random, 60);
    for (size_t i = 0; i < n; i++) CHECK_EQ(ebb_append(at, item_make(q->next++)), 0);
    size_t cut = test_random_below(random, at->len + 1);
    if (at->len < 80) cut /= 4;
    if (test_random_below(random, 8) == 0) {
        CHECK_EQ(ebb_delete_range(at, 0, cut), 0);
    } else if (test_random_below(random, 2)) {
        *at = ebb_slice(*at, cut, at->len);
    } else {
        *at = ebb_slice3(*at, cut, at->len, at->len);
    }
    q->first += cut;
    stream_check(q);
    *q->other = *at;
    *at = (items){0};
    q->at = q->other;
    q->other = at;
    if (q->at->len > 0 && test_random_below(random, 4) == 0) {
        (void)ebb_pop(q->at);
        q->next--;
    }
}

static void *worker(void *arg) {
    size_t number = (size_t)arg;
    uint64_t random = test_seed() + number;
    stream queues[2 * QUEUES];
    for (size_t i = 0; i < QUEUES; i++) {
        holder *h = holders[number * QUEUES + i];
        shortened *s = shorts[number * QUEUES + i];
        queues[2 * i] = (stream){&h->s, &h->t, 0, 0};
        queues[2 * i + 1] = (stream){&s->s, &s->t, 0, 0};
    }
    while (!atomic_load(&workers_end))
        stream_step(&queues[test_random_below(&random, 2 * QUEUES)], &random);
    for (size_t i = 0; i < 2 * QUEUES; i++) stream_check(&queues[i]);
    return NULL;
}

static void workers_build(void) {
    for (size_t i = 0; i < HOLDERS; i++) {
        holders[i] = ebb_new(holder);
        shorts[i] = ebb_new(shortened);
    }
}

TEST(threads_are_stopped_anywhere) {
    pthread_t threads[WORKERS];
    int rounds = modes_have("stress") || test_slow() ? 20 : 300;
    deep(workers_build);
    for (size_t i = 0; i < WORKERS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, worker, (void *)i), 0);
    for (int i = 0; i < rounds; i++) {
        CHECK_EQ(ebb_collect(), 0);
        if (i % 3 == 0) usleep(2000);
    }
    atomic_store(&workers_end, true);
    for (size_t i = 0; i < WORKERS; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    printf("     %zu elements checked, %zu arrays trimmed, %zu kept whole\n",
           atomic_load(&worker_checks), (size_t)stats_now().arrays_trimmed,
           (size_t)stats_now().arrays_kept_whole);
}

/* --- Two worlds ------------------------------------------------------------------------------ */

/* Fields of heap objects, and what they have to show: the other world's arrays hold the items'
 * keys (0 for a null pointer), and nothing is ever dropped from them but by owner verbs. */
enum { FIELDS = 48, BY_LENGTH = 16, ELEMENTS_MAX = 120 };

typedef struct cap_fields {
    boxes f[4];
} cap_fields;
EBB_TYPE(cap_fields, slice(f[0]), slice(f[1]), slice(f[2]), slice(f[3]));

typedef struct len_fields {
    boxes f[4];
} len_fields;
EBB_TYPE(len_fields, slice_to_len(f[0]), slice_to_len(f[1]), slice_to_len(f[2]),
         slice_to_len(f[3]));

typedef struct twin_array {
    size_t users, cap;
    size_t *keys;
} twin_array;

typedef struct twin {
    twin_array *array;
    size_t start, len, cap;
} twin;

static cap_fields *by_cap[(FIELDS - BY_LENGTH) / 4];
static len_fields *by_len[BY_LENGTH / 4];
static twin twins[FIELDS];
static uint64_t model_random;
static size_t model_next = 1, model_reads, model_zeroes;

static boxes *field_at(size_t i) {
    return i < BY_LENGTH ? &by_len[i / 4]->f[i % 4]
                         : &by_cap[(i - BY_LENGTH) / 4]->f[(i - BY_LENGTH) % 4];
}

static size_t below(size_t n) {
    return (size_t)test_random_below(&model_random, n);
}

static void twin_drop(twin *t) {
    if (t->array && --t->array->users == 0) {
        free(t->array->keys);
        free(t->array);
    }
    *t = (twin){0};
}

static void twin_set(twin *t, twin to) {
    if (to.array) to.array->users++;
    twin_drop(t);
    if (to.cap == 0) {
        twin_drop(&to);
        to = (twin){0};
    }
    *t = to;
}

/* A new array for the twin, with its elements. */
static void twin_move(twin *t, size_t cap) {
    twin_array *array = calloc(1, sizeof *array);
    array->keys = calloc(cap, sizeof *array->keys);
    array->cap = cap;
    for (size_t k = 0; k < t->len; k++) array->keys[k] = t->array->keys[t->start + k];
    twin_set(t, (twin){array, 0, t->len, cap});
}

/* Whether some field promises this place of the array. */
static bool place_promised(const twin_array *array, size_t place) {
    for (size_t i = 0; i < FIELDS; i++) {
        const twin *t = &twins[i];
        size_t reach = i < BY_LENGTH ? t->len : t->cap;
        if (t->array == array && place >= t->start && place < t->start + reach) return true;
    }
    return false;
}

static void place_check(const box *b, twin_array *array, size_t place) {
    size_t want = array->keys[place];
    model_reads++;
    if (!b->held && b->number == 0) {
        if (want == 0) return;
        CHECK(!place_promised(array, place));
        array->keys[place] = 0;
        model_zeroes++;
        return;
    }
    CHECK_EQ(b->number, want);
    CHECK(item_good(b->held, want));
}

static NOINLINE void model_check(void) {
    for (size_t i = 0; i < FIELDS; i++) {
        const boxes *f = field_at(i);
        CHECK_EQ(f->len, twins[i].len);
        CHECK_EQ(f->cap, twins[i].cap);
        for (size_t k = 0; k < f->cap; k++)
            place_check(&f->ptr[k], twins[i].array, twins[i].start + k);
    }
}

/* Before a field by capacity takes over what was one by length: what that did not promise. */
static void model_sync(size_t from) {
    const twin *t = &twins[from];
    for (size_t k = t->len; k < t->cap && from < BY_LENGTH; k++)
        place_check(&field_at(from)->ptr[k], t->array, t->start + k);
}

static void model_append(size_t i, size_t n) {
    boxes *f = field_at(i);
    twin *t = &twins[i];
    for (; n > 0; n--) {
        size_t key = model_next++;
        bool full = f->len == f->cap;
        CHECK_EQ(ebb_append(f, ((box){item_make(key), key})), 0);
        if (full) twin_move(t, f->cap);
        t->array->keys[t->start + t->len++] = key;
    }
}

static void model_view(size_t i, size_t from) {
    const twin *t = &twins[from];
    size_t lo = below(t->len + 1), hi = lo + below(t->len - lo + 1), max = t->cap;
    if (below(2)) max = hi + below(t->cap - hi + 1);
    model_sync(from);
    boxes view = ebb_slice3(*field_at(from), lo, hi, max);
    *field_at(i) = view;
    twin_set(&twins[i], (twin){t->array, t->start + lo, hi - lo, max - lo});
}

static void model_delete(size_t i) {
    twin *t = &twins[i];
    size_t lo = below(t->len + 1), hi = lo + below(t->len - lo + 1);
    if (t->len == 0) return;
    CHECK_EQ(ebb_delete_range(field_at(i), lo, hi), 0);
    size_t *keys = t->array->keys + t->start;
    memmove(keys + lo, keys + hi, (t->len - hi) * sizeof *keys);
    memset(keys + t->len - (hi - lo), 0, (hi - lo) * sizeof *keys);
    t->len -= hi - lo;
}

static void model_insert(size_t i) {
    boxes *f = field_at(i);
    twin *t = &twins[i];
    size_t at = below(t->len + 1), key = model_next++;
    bool full = f->len == f->cap;
    CHECK_EQ(ebb_insert(f, at, ((box){item_make(key), key})), 0);
    if (full) twin_move(t, f->cap);
    size_t *keys = t->array->keys + t->start;
    memmove(keys + at + 1, keys + at, (t->len - at) * sizeof *keys);
    keys[at] = key;
    t->len++;
}

static NOINLINE void model_step(void) {
    size_t i = below(FIELDS), j = below(FIELDS);
    twin *t = &twins[i];
    if (t->len > ELEMENTS_MAX) t->len = field_at(i)->len = below(ELEMENTS_MAX);
    switch (below(10)) {
    case 0:
    case 1:
        model_append(i, below(12));
        break;
    case 2:
        model_view(i, i);
        break;
    case 3:
        model_view(i, j);
        break;
    case 4:
        model_delete(i);
        break;
    case 5:
        model_insert(i);
        break;
    case 6: /* plain truncation, and back where the field promises the elements */
        t->len = field_at(i)->len = i < BY_LENGTH ? below(t->len + 1) : below(t->cap + 1);
        break;
    case 7:
        model_sync(j);
        *field_at(i) = *field_at(j);
        twin_set(t, twins[j]);
        break;
    case 8:
        if (below(4)) break;
        *field_at(i) = (boxes){0};
        twin_set(t, (twin){0});
        break;
    default:
        if (t->len == 0) break;
        size_t at = below(t->len), key = model_next++;
        ebb_at(*field_at(i), at) = (box){item_make(key), key};
        t->array->keys[t->start + at] = key;
    }
}

static void model_build(void) {
    for (size_t i = 0; i < sizeof by_cap / sizeof *by_cap; i++) by_cap[i] = ebb_new(cap_fields);
    for (size_t i = 0; i < sizeof by_len / sizeof *by_len; i++) by_len[i] = ebb_new(len_fields);
}

static NOINLINE void model_steps(size_t steps) {
    for (size_t n = 0; n < steps; n++) {
        model_step();
        if (n % 64 == 63) model_check();
    }
}

TEST(two_worlds) {
    model_random = test_seed();
    size_t rounds = 400 * test_scale();
    if (modes_have("stress") || test_slow()) rounds /= 10;
    deep(model_build);
    for (size_t round = 0; round < rounds; round++) {
        model_steps(512);
        probe_collect();
        model_check();
    }
    struct ebb_stats stats = stats_now();
    CHECK(stats.arrays_trimmed > rounds);
    printf("     seed 0x%llx: %zu reads, %zu of them of what was trimmed; %zu arrays trimmed\n",
           (unsigned long long)test_seed(), model_reads, model_zeroes,
           (size_t)stats.arrays_trimmed);
}

/* --- Modes ----------------------------------------------------------------------------------- */

static void modes_all(const char *debug, const char *gc) {
    MODES_PASS("two_worlds", debug, gc);
    MODES_PASS("threads_are_stopped_anywhere", debug, gc);
    MODES_PASS("views_that_overlap_keep_their_hull", debug, gc);
    MODES_PASS("to_len_forgets_what_a_plain_truncation_cuts_off", debug, gc);
    MODES_PASS("what_a_finalizer_may_see_is_kept", debug, gc);
}

TEST(with_stress) {
    modes_all("stress=500,verify=1", NULL);
}

TEST(in_one_stop) {
    modes_all("verify=1", "dirty=off");
    MODES_PASS("long_arrays_are_scanned_in_part_and_their_pages_go_back", NULL, "dirty=off");
}

TEST(beside_the_program) {
    modes_all("verify=1", "pause=0");
    MODES_PASS("long_arrays_are_scanned_in_part_and_their_pages_go_back", NULL, "pause=0");
    modes_all(NULL, "dirty=all,pause=0");
}
