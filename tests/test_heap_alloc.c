/* test_heap_alloc.c - every call that hands out memory: zeroed, aligned, apart from all other
 * objects, in all sizes; and again when the memory has been used before. See docs/design.md, "The
 * heap". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

#define ALLOC_SMALL_MAX ((size_t)64 << 10)
#define ALLOC_LARGE_MAX ((size_t)100 << 20)

typedef struct alloc_pair {
    void *first, *second;
} alloc_pair;

typedef struct alloc_chars {
    char bytes[24];
} alloc_chars;

typedef struct alloc_wide {
    _Alignas(64) double lanes[8];
    void *link;
} alloc_wide;

typedef union alloc_either {
    double number;
    void *link;
} alloc_either;

typedef void *(*alloc_call)(size_t size);

static void *alloc_words(size_t size) {
    return ebb_alloc(size);
}

static void *alloc_data(size_t size) {
    return ebb_alloc_data(size);
}

static void *alloc_resize(size_t size) {
    return ebb_resize(NULL, size);
}

static const alloc_call alloc_calls[] = {alloc_words, alloc_data, alloc_resize};
#define ALLOC_CALLS (sizeof alloc_calls / sizeof alloc_calls[0])

static bool alloc_is_zero(const void *p, size_t size) {
    const unsigned char *bytes = p;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* What every object must satisfy; the caller may then write all of it. */
static void alloc_check(void *p, size_t size, size_t align) {
    CHECK(p != NULL);
    CHECK_EQ((uintptr_t)p % align, 0);
    CHECK(ebb_size_of(p) >= size);
    CHECK(ebb_base_of(p) == p);
    CHECK(alloc_is_zero(p, size));
}

static size_t alloc_natural(size_t size) {
    return size && size % 16 == 0 ? 16 : 8;
}

TEST(every_size_to_64_kib) {
    for (size_t call = 0; call < ALLOC_CALLS; call++) {
        for (size_t size = 0; size <= ALLOC_SMALL_MAX; size += size < 2048 ? 1 : 509) {
            unsigned char *p = alloc_calls[call](size);
            alloc_check(p, size, alloc_natural(size));
            memset(p, 0xa5, ebb_size_of(p));
        }
    }
}

TEST(sizes_around_powers_of_two) {
    for (size_t call = 0; call < ALLOC_CALLS; call++) {
        for (size_t power = 8; power <= ALLOC_LARGE_MAX; power *= 2) {
            for (size_t size = power - 1; size <= power + 1; size++) {
                unsigned char *p = alloc_calls[call](size);
                CHECK(p != NULL);
                CHECK_EQ((uintptr_t)p % alloc_natural(size), 0);
                CHECK(ebb_size_of(p) >= size);
                CHECK(p[0] == 0 && p[size / 2] == 0 && p[size - 1] == 0);
                p[0] = p[size / 2] = p[size - 1] = 1;
            }
        }
    }
}

TEST(a_hundred_megabytes) {
    unsigned char *p = ebb_alloc_data(ALLOC_LARGE_MAX);
    alloc_check(p, ALLOC_LARGE_MAX, 16);
    CHECK(ebb_base_of(p + ALLOC_LARGE_MAX - 1) == p);
    memset(p, 1, ALLOC_LARGE_MAX);
    unsigned char *q = ebb_alloc(ALLOC_LARGE_MAX);
    alloc_check(q, ALLOC_LARGE_MAX, 16);
    CHECK_EQ(p[ALLOC_LARGE_MAX - 1], 1);
}

/* A freed large object's pages are used again: they must read as zero although they were not. */
TEST(large_is_zero_again) {
    static const size_t sizes[] = {70000, 1 << 20, (5 << 20) + 17, 33 << 20};
    for (int round = 0; round < 12; round++) {
        size_t size = sizes[round % 4];
        unsigned char *p = round % 2 ? ebb_alloc(size) : ebb_alloc_data(size);
        alloc_check(p, size, 8);
        memset(p, 0xff, ebb_size_of(p));
        CHECK_EQ(ebb_free(p), 0);
    }
}

static NOINLINE void alloc_litter(uint64_t *state) {
    for (int i = 0; i < 20000; i++) {
        size_t size = test_random(state) % 700;
        unsigned char *p = test_random(state) % 2 ? ebb_alloc(size) : ebb_alloc_data(size);
        alloc_check(p, size, alloc_natural(size));
        memset(p, 0xff, ebb_size_of(p));
    }
}

TEST(small_is_zero_again_after_a_cycle) {
    uint64_t state = test_seed();
    for (size_t round = 0; round < 5 * test_scale(); round++) {
        alloc_litter(&state);
        CHECK_EQ(ebb_collect(), 0);
    }
}

TEST(small_is_zero_again_after_free) {
    uint64_t state = test_seed();
    for (size_t i = 0; i < 100000 * test_scale(); i++) {
        size_t size = test_random(&state) % 3000;
        unsigned char *p = i % 2 ? ebb_alloc(size) : ebb_alloc_data(size);
        alloc_check(p, size, alloc_natural(size));
        memset(p, 0xff, ebb_size_of(p));
        CHECK_EQ(ebb_free(p), 0);
    }
}

TEST(zero_size_objects_are_distinct) {
    char **all = ebb_new_array(char *, 1000);
    for (int i = 0; i < 1000; i++) {
        all[i] = i % 2 ? ebb_alloc(0) : ebb_alloc_data(0);
        CHECK(all[i] != NULL);
        for (int j = 0; j < i; j++) CHECK(all[j] != all[i]);
    }
}

static int alloc_order(const void *a, const void *b) {
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return x < y ? -1 : x > y;
}

/* Sorted by address, each object ends before the next begins. */
TEST(objects_do_not_overlap) {
    enum { COUNT = 20000 };
    uint64_t state = test_seed();
    unsigned char **all = ebb_new_array(unsigned char *, COUNT);
    for (int i = 0; i < COUNT; i++) {
        size_t size = test_random(&state) % (i % 50 ? 300 : 40000);
        all[i] = alloc_calls[test_random(&state) % ALLOC_CALLS](size);
        CHECK(all[i] != NULL);
    }
    qsort(all, COUNT, sizeof *all, alloc_order);
    for (int i = 1; i < COUNT; i++) CHECK(all[i - 1] + ebb_size_of(all[i - 1]) <= all[i]);
}

TEST(contents_stay_apart) {
    enum { COUNT = 3000 };
    uint64_t state = test_seed();
    unsigned char **all = ebb_new_array(unsigned char *, COUNT);
    size_t *sizes = ebb_new_array(size_t, COUNT);
    for (int i = 0; i < COUNT; i++) {
        sizes[i] = 1 + test_random(&state) % 2000;
        all[i] = alloc_calls[test_random(&state) % ALLOC_CALLS](sizes[i]);
        memset(all[i], i & 0xff, sizes[i]);
        if (i % 500 == 0) CHECK_EQ(ebb_collect(), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQ(all[i][0], i & 0xff);
        CHECK(memcmp(all[i], all[i] + 1, sizes[i] - 1) == 0);
    }
}

TEST(aligned) {
    for (size_t align = 1; align <= (size_t)4 << 20; align *= 2) {
        for (size_t size = 0; size <= 3 * align && size <= (size_t)9 << 20;
             size += align < 64 ? 1 : align / 2 + 3) {
            unsigned char *p = ebb_alloc_aligned(size, align);
            alloc_check(p, size, align);
            unsigned char *q = ebb_alloc_data_aligned(size, align);
            alloc_check(q, size, align);
            memset(p, 1, size);
            memset(q, 2, size);
            CHECK(size == 0 || (p[0] == 1 && p[size - 1] == 1));
        }
        CHECK_EQ(ebb_collect(), 0);
    }
}

TEST(aligned_to_a_gibibyte) {
    size_t align = (size_t)1 << 30;
    void *p = ebb_alloc_data_aligned(100, align);
    if (!p) return; /* a small machine or reservation */
    CHECK_EQ((uintptr_t)p % align, 0);
    memset(p, 1, 100);
}

TEST(typed_allocation) {
    alloc_check(ebb_new(char), 1, 1);
    alloc_check(ebb_new(int), sizeof(int), _Alignof(int));
    alloc_check(ebb_new(long double), sizeof(long double), _Alignof(long double));
    alloc_check(ebb_new(void *), sizeof(void *), _Alignof(void *));
    alloc_check(ebb_new(alloc_pair), sizeof(alloc_pair), _Alignof(alloc_pair));
    alloc_check(ebb_new(struct alloc_pair), sizeof(alloc_pair), _Alignof(alloc_pair));
    alloc_check(ebb_new(alloc_chars), sizeof(alloc_chars), 1);
    alloc_check(ebb_new(alloc_either), sizeof(alloc_either), _Alignof(alloc_either));
    for (size_t i = 0; i < 1000; i++) {
        alloc_check(ebb_new(alloc_wide), sizeof(alloc_wide), 64);
        alloc_check(ebb_new_array(alloc_wide, i % 7), (i % 7) * sizeof(alloc_wide), 64);
    }
    alloc_pair *pair = ebb_new(alloc_pair);
    pair->first = pair; /* the result has the type that was named */
    CHECK(pair->second == NULL);
}

TEST(arrays) {
    for (size_t n = 0; n < 3000; n += 1 + n / 10) {
        alloc_check(ebb_new_array(char, n), n, 1);
        alloc_check(ebb_new_array(double, n), n * sizeof(double), 8);
        alloc_check(ebb_new_array(alloc_pair *, n), n * sizeof(void *), 8);
        alloc_check(ebb_new_array(alloc_pair, n), n * sizeof(alloc_pair), 8);
    }
    CHECK(ebb_new_array(int, 0) != ebb_new_array(int, 0));
}

TEST(too_much_gives_null) {
    CHECK(ebb_new_array(alloc_pair, SIZE_MAX / sizeof(alloc_pair) + 1) == NULL);
    CHECK(ebb_new_array(alloc_pair, SIZE_MAX / 8) == NULL);
    CHECK(ebb_new_array(double, SIZE_MAX / 2) == NULL);
    CHECK(ebb_alloc(SIZE_MAX) == NULL);
    CHECK(ebb_alloc(SIZE_MAX - 4096) == NULL);
    CHECK(ebb_alloc_data(SIZE_MAX / 2) == NULL);
    CHECK(ebb_alloc_data_aligned(SIZE_MAX - 5, 4096) == NULL);
    CHECK(ebb_alloc(100) != NULL);
}

TEST(sites_in_loops_and_functions) {
    for (int i = 0; i < 100000; i++) {
        alloc_pair *p = ebb_new(alloc_pair);
        CHECK(p && !p->first && !p->second);
        p->first = p->second = p;
    }
}
