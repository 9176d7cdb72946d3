/* test_heap_types.c - described types: what a named field keeps, what an unnamed one does not, in
 * single objects and arrays; and what types nobody described are taken for. See docs/design.md,
 * "The heap". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "probe.h"
#include "test.h"

/* Every case hangs COUNT parents on this static array, children on the parents, and watches the
 * children. */
#define COUNT 100

static void *parents[COUNT];

/* A child that nothing else refers to, of a layout chosen by turns, watched. */
static NOINLINE void *types_child(size_t i) {
    void *child = i % 3 == 0 ? ebb_alloc(24) : i % 3 == 1 ? ebb_alloc_data(100) : ebb_new(void *);
    probe_add(child);
    return child;
}

static void types_expect(size_t from, size_t to, bool alive) {
    probe_collect();
    if (alive) {
        CHECK_EQ(probe_living(from, to), to - from);
    } else {
        CHECK(probe_living(from, to) <= PROBE_STALE);
    }
}

/* --- ptr ------------------------------------------------------------------------------------ */

typedef struct one_of_two {
    double pad;
    void *named, *unnamed;
} one_of_two;
EBB_TYPE(one_of_two, ptr(named));

static NOINLINE void types_build_named(void) {
    for (size_t i = 0; i < COUNT; i++) {
        one_of_two *p = ebb_new(one_of_two);
        p->named = types_child(i);
        parents[i] = p;
    }
}

static NOINLINE void types_build_unnamed(void) {
    for (size_t i = 0; i < COUNT; i++) {
        one_of_two *p = ebb_new(one_of_two);
        p->unnamed = types_child(i);
        parents[i] = p;
    }
}

TEST(a_named_field_keeps) {
    types_build_named();
    types_expect(0, COUNT, true);
    memset(parents, 0, sizeof parents);
    types_expect(0, COUNT, false);
}

TEST(an_unnamed_field_does_not) {
    types_build_unnamed();
    types_expect(0, COUNT, false);
    CHECK(ebb_base_of(parents[7]) == parents[7]);
}

static NOINLINE void types_build_array(bool named) {
    one_of_two *array = ebb_new_array(one_of_two, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        *(named ? &array[i].named : &array[i].unnamed) = types_child(i);
    parents[0] = &array[COUNT / 2];
}

TEST(arrays_repeat_the_description) {
    types_build_array(true);
    types_expect(0, COUNT, true);
    types_build_array(false);
    types_expect(COUNT, 2 * COUNT, false);
}

/* Over many pages, and of a size that no page is a multiple of. */
typedef struct odd_one {
    char pad[40];
    void *named;
    void *unnamed;
    char rest[25];
} odd_one;
EBB_TYPE(odd_one, ptr(named));

static NOINLINE void types_build_large_array(void) {
    odd_one *array = ebb_new_array(odd_one, 10 * COUNT);
    for (size_t i = 0; i < 10 * COUNT; i++) array[i].named = types_child(i);
    for (size_t i = 0; i < 10 * COUNT; i++) array[i].unnamed = types_child(i);
    parents[0] = array;
}

TEST(large_arrays_too) {
    types_build_large_array();
    types_expect(0, 10 * COUNT, true);
    types_expect(10 * COUNT, 20 * COUNT, false);
}

/* --- No field at all ------------------------------------------------------------------------ */

typedef struct blind {
    void *a, *b;
} blind;
EBB_TYPE(blind);

static NOINLINE void types_build_blind(void) {
    for (size_t i = 0; i < COUNT; i++) {
        blind *p = ebb_new(blind);
        p->a = types_child(i);
        p->b = types_child(i);
        parents[i] = p;
    }
}

TEST(a_type_without_fields_keeps_nothing) {
    types_build_blind();
    types_expect(0, 2 * COUNT, false);
}

/* --- Nothing described ---------------------------------------------------------------------- */

typedef struct undescribed {
    int number;
    void *somewhere[2];
} undescribed;

typedef struct numbers {
    uint64_t words[3];
} numbers;

static NOINLINE void types_build_undescribed(void) {
    for (size_t i = 0; i < COUNT; i++) {
        undescribed *p = ebb_new(undescribed);
        p->somewhere[i % 2] = types_child(i);
        parents[i] = p;
    }
}

TEST(an_undescribed_structure_is_searched) {
    types_build_undescribed();
    types_expect(0, COUNT, true);
}

static NOINLINE void types_build_words(void) {
    for (size_t i = 0; i < COUNT; i++) {
        void **words = i % 2 ? ebb_alloc(64) : ebb_new_array(void *, 8);
        words[i % 8] = types_child(i);
        parents[i] = words;
    }
}

TEST(words_are_searched) {
    types_build_words();
    types_expect(0, COUNT, true);
}

/* Pointers that were stored where the contract says that none are. */
static NOINLINE void types_build_data(void) {
    for (size_t i = 0; i < COUNT; i++) {
        uintptr_t *numbers = i % 3 == 0   ? ebb_alloc_data(64)
                             : i % 3 == 1 ? (uintptr_t *)(void *)ebb_new_array(double, 8)
                                          : ebb_new_array(uintptr_t, 8);
        numbers[i % 8] = (uintptr_t)types_child(i);
        parents[i] = numbers;
    }
}

TEST(data_is_not_searched) {
    types_build_data();
    types_expect(0, COUNT, false);
}

static NOINLINE void types_build_bytes(void) {
    for (size_t i = 0; i < COUNT; i++) {
        char *bytes = ebb_new_array(char, 64);
        void *child = types_child(i);
        memcpy(bytes + 8, &child, sizeof child);
        parents[i] = bytes;
    }
}

TEST(bytes_are_not_searched) {
    types_build_bytes();
    types_expect(0, COUNT, false);
}

/* Words that are not aligned are not pointers. */
static NOINLINE void types_build_unaligned(void) {
    for (size_t i = 0; i < COUNT; i++) {
        char *words = ebb_alloc(64);
        void *child = types_child(i);
        memcpy(words + 12, &child, sizeof child);
        parents[i] = words;
    }
}

TEST(unaligned_words_are_not_searched) {
    types_build_unaligned();
    types_expect(0, COUNT, false);
}

/* --- ptrs, words ---------------------------------------------------------------------------- */

typedef struct many_links {
    void *before;
    void *links[8];
    void *after;
} many_links;
EBB_TYPE(many_links, ptrs(links));

static NOINLINE void types_build_many(bool inside) {
    for (size_t i = 0; i < COUNT; i++) {
        many_links *p = ebb_new(many_links);
        if (inside) {
            for (size_t k = 0; k < 8; k++) p->links[k] = types_child(k);
        } else {
            *(i % 2 ? &p->before : &p->after) = types_child(i);
        }
        parents[i] = p;
    }
}

TEST(ptrs_keeps_its_array_and_no_more) {
    types_build_many(true);
    types_expect(0, 8 * COUNT, true);
    types_build_many(false);
    types_expect(8 * COUNT, 9 * COUNT, false);
}

typedef struct half_words {
    void *before;
    struct {
        uint64_t tag;
        union {
            void *link;
            double number;
        } any;
    } box;
    void *after;
} half_words;
EBB_TYPE(half_words, words(box));

static NOINLINE void types_build_boxes(bool inside) {
    for (size_t i = 0; i < COUNT; i++) {
        half_words *p = ebb_new(half_words);
        *(inside ? &p->box.any.link : i % 2 ? &p->before : &p->after) = types_child(i);
        parents[i] = p;
    }
}

TEST(words_keeps_its_words_and_no_more) {
    types_build_boxes(true);
    types_expect(0, COUNT, true);
    types_build_boxes(false);
    types_expect(COUNT, 2 * COUNT, false);
}

/* A field inside a field is named by its path. */
typedef struct nested {
    struct {
        void *deep, *other;
    } inner;
} nested;
EBB_TYPE(nested, ptr(inner.deep));

static NOINLINE void types_build_nested(bool deep) {
    for (size_t i = 0; i < COUNT; i++) {
        nested *p = ebb_new(nested);
        *(deep ? &p->inner.deep : &p->inner.other) = types_child(i);
        parents[i] = p;
    }
}

TEST(a_field_inside_a_field) {
    types_build_nested(true);
    types_expect(0, COUNT, true);
    types_build_nested(false);
    types_expect(COUNT, 2 * COUNT, false);
}

/* --- str, slice, slice_to_len --------------------------------------------------------------- */

typedef struct text {
    const char *ptr;
    size_t len;
} text;

typedef struct links {
    void **ptr;
    size_t len, cap;
} links;

typedef struct document {
    text title, ignored;
    links items, others;
} document;
EBB_TYPE(document, str(title), slice(items));

typedef struct queue {
    links waiting;
} queue;
EBB_TYPE(queue, slice_to_len(waiting));

static text types_text(void) {
    char *bytes = ebb_alloc_data(20);
    probe_add(bytes);
    strcpy(bytes, "a string");
    return (text){bytes + 2, 6};
}

/* An array of n watched children; the array itself is watched first. */
static links types_links(size_t n, size_t len) {
    void **array = ebb_new_array(void *, n);
    probe_add(array);
    for (size_t i = 0; i < n; i++) array[i] = types_child(i);
    return (links){array, len, n};
}

static NOINLINE void types_build_texts(bool named) {
    for (size_t i = 0; i < COUNT; i++) {
        document *d = ebb_new(document);
        *(named ? &d->title : &d->ignored) = types_text();
        parents[i] = d;
    }
}

TEST(str_keeps_its_bytes) {
    types_build_texts(true);
    types_expect(0, COUNT, true);
    CHECK(memcmp(((document *)parents[3])->title.ptr, "string", 6) == 0);
    types_build_texts(false);
    types_expect(COUNT, 2 * COUNT, false);
}

static NOINLINE void types_build_slices(bool named) {
    for (size_t i = 0; i < COUNT; i++) {
        document *d = ebb_new(document);
        *(named ? &d->items : &d->others) = types_links(9, 9);
        parents[i] = d;
    }
}

TEST(slice_keeps_its_array_and_what_it_holds) {
    types_build_slices(true);
    types_expect(0, 10 * COUNT, true);
    types_build_slices(false);
    probe_collect();
    CHECK(probe_living(10 * COUNT, 20 * COUNT) <= 10 * PROBE_STALE); /* ten to an array */
}

/* By capacity: what lies between the length and the capacity is held. */
static NOINLINE void types_shorten_slices(void) {
    for (size_t i = 0; i < COUNT; i++) ((document *)parents[i])->items.len = 2;
}

TEST(slice_keeps_up_to_the_capacity) {
    types_build_slices(true);
    types_shorten_slices();
    types_expect(0, 10 * COUNT, true);
}

static NOINLINE void types_build_queues(size_t len) {
    for (size_t i = 0; i < COUNT; i++) {
        queue *q = ebb_new(queue);
        q->waiting = types_links(9, len);
        parents[i] = q;
    }
}

/* Of every ten probes, the first is the array, then come the nine children. */
static NOINLINE size_t types_queue_living(size_t first, size_t last) {
    size_t living = 0;
    for (size_t i = 0; i < COUNT; i++) living += probe_living(10 * i + first, 10 * i + last + 1);
    return living;
}

TEST(slice_to_len_keeps_up_to_the_length) {
    types_build_queues(4);
    probe_collect();
    CHECK_EQ(types_queue_living(0, 4), 5 * COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        const queue *q = parents[i];
        CHECK_EQ(q->waiting.len, 4);
        for (size_t k = 0; k < 4; k++) CHECK(ebb_size_of(q->waiting.ptr[k]) > 0);
    }
}

TEST(slice_to_len_of_full_length_keeps_all) {
    types_build_queues(9);
    types_expect(0, 10 * COUNT, true);
}

/* A raw pointer to the array, wherever it is found, keeps all of it. */
static NOINLINE void types_add_raw(void) {
    void **raw = ebb_new_array(void *, COUNT);
    for (size_t i = 0; i < COUNT; i++) raw[i] = ((queue *)parents[i])->waiting.ptr;
    parents[0] = ebb_new_array(void *, 2);
    ((void **)parents[0])[0] = raw;
}

TEST(a_raw_pointer_beside_slice_to_len_keeps_all) {
    types_build_queues(4);
    types_add_raw();
    types_expect(0, 10 * COUNT, true);
}

/* --- weak ----------------------------------------------------------------------------------- */

typedef struct observer {
    void *owner, *strong;
} observer;
EBB_TYPE(observer, weak(owner), ptr(strong));

static void *owners[COUNT];
static int static_owner;

static NOINLINE void types_build_observers(bool held) {
    for (size_t i = 0; i < COUNT; i++) {
        observer *o = ebb_new(observer);
        o->owner = types_child(i);
        owners[i] = held ? o->owner : NULL;
        parents[i] = o;
    }
}

TEST(weak_field_does_not_keep_and_is_cleared) {
    types_build_observers(false);
    types_expect(0, COUNT, false);
    size_t set = 0;
    for (size_t i = 0; i < COUNT; i++) set += ((observer *)parents[i])->owner != NULL;
    CHECK(set <= PROBE_STALE);
}

TEST(weak_field_stays_while_its_target_lives) {
    types_build_observers(true);
    types_expect(0, COUNT, true);
    for (size_t i = 0; i < COUNT; i++) CHECK(((observer *)parents[i])->owner == owners[i]);
    memset(owners, 0, sizeof owners);
    types_expect(0, COUNT, false);
}

TEST(weak_field_to_foreign_memory_is_kept) {
    observer *o = ebb_new(observer);
    parents[0] = o;
    o->owner = &static_owner;
    probe_collect();
    CHECK(o->owner == &static_owner);
}

static NOINLINE void types_build_inside_observers(void) {
    for (size_t i = 0; i < COUNT; i++) {
        observer *o = ebb_new(observer);
        char *bytes = ebb_alloc_data(100);
        probe_add(bytes);
        o->owner = bytes + 50;
        owners[i] = bytes + i;
        parents[i] = o;
    }
}

TEST(weak_field_into_an_object) {
    types_build_inside_observers();
    types_expect(0, COUNT, true);
    for (size_t i = 0; i < COUNT; i++) {
        CHECK((char *)((observer *)parents[i])->owner == (char *)owners[i] - i + 50);
    }
    memset(owners, 0, sizeof owners);
    types_expect(0, COUNT, false);
}

static NOINLINE void types_build_observer_array(void) {
    observer *array = ebb_new_array(observer, 3000);
    for (size_t i = 0; i < 3000; i++) array[i].owner = types_child(i);
    parents[0] = array;
}

TEST(weak_fields_in_a_large_array) {
    types_build_observer_array();
    types_expect(0, 3000, false);
    size_t set = 0;
    for (size_t i = 0; i < 3000; i++) set += ((observer *)parents[0])[i].owner != NULL;
    CHECK(set <= PROBE_STALE);
}

/* The strong half of a dying pair does not save the weak half's target. */
static NOINLINE void types_build_weak_circle(void) {
    for (size_t i = 0; i < COUNT; i++) {
        observer *a = ebb_new(observer), *b = ebb_new(observer);
        a->owner = b;
        b->strong = a;
        probe_add(a);
        probe_add(b);
    }
}

TEST(weak_circles_die) {
    types_build_weak_circle();
    types_expect(0, 2 * COUNT, false);
}

/* --- A thousand types ----------------------------------------------------------------------- */

#define TYPES_ONE(n)                 \
 typedef struct kind_##n {           \
  void *link;                        \
  char pad[16];                      \
 } kind_##n;                         \
 EBB_TYPE(kind_##n, ptr(link));      \
 static void *types_make_##n(void) { \
  return ebb_new(kind_##n);          \
 }
#define TYPES_TEN(M, n) \
 M(n##0) M(n##1) M(n##2) M(n##3) M(n##4) M(n##5) M(n##6) M(n##7) M(n##8) M(n##9)
#define TYPES_MAKER(n) types_make_##n,
#define TYPES_HUNDRED(M, n) \
 TYPES_TEN(M, n##0)         \
 TYPES_TEN(M, n##1)         \
 TYPES_TEN(M, n##2)         \
 TYPES_TEN(M, n##3)         \
 TYPES_TEN(M, n##4)         \
 TYPES_TEN(M, n##5)         \
 TYPES_TEN(M, n##6)         \
 TYPES_TEN(M, n##7)         \
 TYPES_TEN(M, n##8)         \
 TYPES_TEN(M, n##9)
#define TYPES_THOUSAND(M) \
 TYPES_HUNDRED(M, 0)      \
 TYPES_HUNDRED(M, 1)      \
 TYPES_HUNDRED(M, 2)      \
 TYPES_HUNDRED(M, 3)      \
 TYPES_HUNDRED(M, 4)      \
 TYPES_HUNDRED(M, 5)      \
 TYPES_HUNDRED(M, 6)      \
 TYPES_HUNDRED(M, 7)      \
 TYPES_HUNDRED(M, 8)      \
 TYPES_HUNDRED(M, 9)

TYPES_THOUSAND(TYPES_ONE)

static void *(*const types_makers[])(void) = {TYPES_THOUSAND(TYPES_MAKER)};
#define TYPES_MADE (sizeof types_makers / sizeof types_makers[0])

static void *types_make_all(void *arg) {
    (void)arg;
    void **all = ebb_new_array(void *, TYPES_MADE);
    for (size_t i = 0; i < TYPES_MADE; i++) {
        all[i] = types_makers[i]();
        CHECK(all[i] != NULL);
        memcpy(all[i], &all, sizeof all);
    }
    return all;
}

TEST(a_thousand_types_are_cheap) {
    static void *results[8];
    struct ebb_stats none, one, many;
    pthread_t threads[8];
    ebb_stats(&none);
    results[0] = types_make_all(NULL);
    ebb_stats(&one);
    for (size_t i = 0; i < 8; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, types_make_all, NULL), 0);
    for (size_t i = 0; i < 8; i++) pthread_join(threads[i], &results[i]);
    ebb_stats(&many);
    /* A page or so for each type; not one for each type in each thread, which were nine times. */
    uint64_t alone = one.heap_used - none.heap_used, together = many.heap_used - none.heap_used;
    CHECK(alone <= TYPES_MADE * 10000);
    CHECK(together <= 6 * alone);
}
