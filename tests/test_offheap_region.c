/* test_offheap_region.c - regions: what they hand out, what they keep, what goes back. */
#include <sys/resource.h>
#include <unistd.h>

#include <ebb/offheap.h>
#include <ebb/stats.h>

#include "test.h"

typedef struct point {
    double x, y;
} point;

static uint64_t offheap(void) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    return stats.offheap;
}

static bool is_zero(const void *start, size_t size) {
    const unsigned char *p = start;
    for (size_t i = 0; i < size; i++)
        if (p[i] != 0) return false;
    return true;
}

TEST(zero_initialised_is_empty) {
    ebb_region region = {0};
    CHECK_EQ(ebb_region_used_bytes(&region), 0);
    CHECK_EQ(ebb_region_bytes(&region), 0);
    ebb_region_reset(&region);
    ebb_region_release(&region);
    ebb_region_release(&region);
    CHECK_EQ(ebb_region_bytes(&region), 0);
}

TEST(typed_memory_is_zero_and_aligned) {
    ebb_region region = {0};
    char *one = ebb_region_new(&region, char);
    point *p = ebb_region_new(&region, point);
    point *many = ebb_region_new_array(&region, point, 1000);
    CHECK(one && p && many);
    CHECK_EQ((uintptr_t)p % _Alignof(point), 0);
    CHECK(is_zero(many, 1000 * sizeof(point)));
    CHECK(many > p);
    memset(many, 1, 1000 * sizeof(point));
    CHECK_EQ(ebb_region_used_bytes(&region), sizeof(point) * 1001 + _Alignof(point));
    ebb_region_release(&region);
}

TEST(alignments) {
    ebb_region region = {0};
    uint64_t state = test_seed();
    for (int i = 0; i < 2000; i++) {
        size_t align = (size_t)1 << test_random_below(&state, 15);
        size_t size = test_random_below(&state, 100);
        char *p = ebb_region_alloc(&region, size, align);
        CHECK(p != NULL);
        CHECK_EQ((uintptr_t)p % align, 0);
        CHECK(is_zero(p, size));
        memset(p, 0xff, size);
    }
    char *huge = ebb_region_alloc(&region, 1, (size_t)1 << 30);
    CHECK(huge != NULL);
    CHECK_EQ((uintptr_t)huge % ((size_t)1 << 30), 0);
    ebb_region_release(&region);
}

TEST(size_zero_is_unique) {
    ebb_region region = {0};
    char *a = ebb_region_alloc(&region, 0, 1), *b = ebb_region_alloc(&region, 0, 1);
    CHECK(a && b && a != b);
    ebb_region_release(&region);
}

TEST(strings_are_copied) {
    ebb_region region = {0};
    char text[] = "ann";
    ebb_str copy = ebb_region_str(&region, (ebb_str){text, 3});
    text[0] = 'A';
    CHECK_EQ(copy.len, 3);
    CHECK_STR(copy.ptr, "ann");
    ebb_str empty = ebb_region_str(&region, (ebb_str){NULL, 0});
    CHECK(empty.ptr && empty.len == 0 && empty.ptr[0] == 0);
    ebb_region_release(&region);
}

TEST(absurd_sizes_are_refused) {
    ebb_region region = {0};
    CHECK(!ebb_region_alloc(&region, SIZE_MAX, 1));
    CHECK(!ebb_region_alloc(&region, SIZE_MAX - 100, 4096));
    CHECK(!ebb_region_alloc(&region, (size_t)1 << 62, 1));
    CHECK(!ebb_region_new_array(&region, point, SIZE_MAX / 8));
    CHECK(!ebb_region_str(&region, (ebb_str){"", SIZE_MAX}).ptr);
    CHECK(ebb_region_new(&region, point));
    ebb_region_release(&region);
}

TEST(release_unmaps_all) {
    uint64_t before = offheap();
    ebb_region region = {0};
    for (int i = 0; i < 100000; i++) CHECK(ebb_region_new_array(&region, point, 5));
    CHECK(ebb_region_alloc(&region, (size_t)50 << 20, 16));
    CHECK(offheap() - before == ebb_region_bytes(&region));
    CHECK(ebb_region_bytes(&region) >= ebb_region_used_bytes(&region));
    ebb_region_release(&region);
    CHECK_EQ(offheap(), before);
    CHECK(ebb_region_new(&region, point));
    ebb_region_release(&region);
    CHECK_EQ(offheap(), before);
}

/* A chunk of its own for what is large leaves the rest of the current chunk in use. */
TEST(large_requests_waste_nothing) {
    ebb_region region = {0};
    char *a = ebb_region_alloc(&region, 16, 16);
    char *large = ebb_region_alloc(&region, 1 << 20, 16);
    char *b = ebb_region_alloc(&region, 16, 16);
    CHECK(a && large);
    CHECK_EQ(b - a, 16);
    CHECK(ebb_region_bytes(&region) < (64 << 10) + (1 << 20) + (8 << 10));
    ebb_region_release(&region);
}

TEST(reset_gives_zeroed_memory) {
    ebb_region region = {0};
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 1000 * (round % 5 + 1); i++) {
            unsigned char *p = ebb_region_alloc(&region, 100, 4);
            CHECK(is_zero(p, 100));
            memset(p, 0xee, 100);
        }
        ebb_region_reset(&region);
        CHECK_EQ(ebb_region_used_bytes(&region), 0);
    }
    ebb_region_release(&region);
}

TEST(steady_use_settles_on_one_chunk) {
    ebb_region region = {0};
    char *first = NULL;
    for (int round = 0; round < 10; round++) {
        char *start = ebb_region_alloc(&region, 1000, 8);
        if (round == 2) first = start;
        if (round > 2) CHECK(start == first);
        for (int i = 0; i < 3000; i++) CHECK(ebb_region_alloc(&region, 1000, 8));
        ebb_region_reset(&region);
    }
    CHECK(ebb_region_bytes(&region) < 3001 * 1000 + (8 << 10));
    ebb_region_release(&region);
}

TEST(a_peak_is_forgotten) {
    ebb_region region = {0};
    CHECK(ebb_region_alloc(&region, 64 << 20, 8));
    for (int round = 0; round < 40; round++) {
        ebb_region_reset(&region);
        CHECK(ebb_region_alloc(&region, 10, 8));
    }
    CHECK_EQ(ebb_region_bytes(&region), 64 << 10);
    ebb_region_release(&region);
}

/* Every allocation keeps its own bytes, whatever comes after it. */
TEST(model) {
    enum { MOST = 4000 };
    static struct {
        unsigned char *start;
        size_t size;
    } all[MOST];
    uint64_t state = test_seed(), before = offheap();
    ebb_region region = {0};
    size_t rounds = 40 * test_scale() / (test_slow() ? 10 : 1);
    for (size_t round = 0; round < rounds; round++) {
        size_t count = test_random_below(&state, MOST), largest = 1;
        largest <<= test_random_below(&state, 15);
        for (size_t i = 0; i < count; i++) {
            all[i].size = test_random_below(&state, largest);
            all[i].start = ebb_region_alloc(&region, all[i].size, 1);
            CHECK(is_zero(all[i].start, all[i].size));
            memset(all[i].start, (int)i, all[i].size);
        }
        for (size_t i = 0; i < count; i++)
            for (size_t k = 0; k < all[i].size; k++) CHECK_EQ(all[i].start[k], (unsigned char)i);
        CHECK_EQ(offheap() - before, ebb_region_bytes(&region));
        if (test_random_below(&state, 4) == 0) ebb_region_release(&region);
        ebb_region_reset(&region);
    }
    ebb_region_release(&region);
    CHECK_EQ(offheap(), before);
}

TEST(no_memory_is_a_null_pointer) {
    if (test_slow()) SKIP("a sanitizer needs its address space");
    ebb_region region = {0};
    char *kept = ebb_region_alloc(&region, 1000, 1);
    memset(kept, 7, 1000);
    struct rlimit none = {0, RLIM_INFINITY};
    CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
    CHECK(!ebb_region_alloc(&region, 1 << 20, 1));
    size_t got = 0;
    while (ebb_region_alloc(&region, 1000, 1)) got++;
    CHECK(got > 10 && got < 100);
    CHECK(ebb_region_alloc(&region, 1, 1));
    none.rlim_cur = RLIM_INFINITY;
    CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
    CHECK(ebb_region_alloc(&region, 1 << 20, 1));
    CHECK(kept[0] == 7 && kept[999] == 7);
    ebb_region_release(&region);
}

TEST(misuse_is_reported) {
    setenv("EBB_DEBUG", "misuse=abort", 1);
    ebb_region region = {0};
    CHECK(ebb_region_new(&region, int));
    DIES("ebb_region_alloc: alignment 24 is no power of two") {
        ebb_region_alloc(&region, 8, 24);
    }
    DIES("ebb_region_alloc: alignment 0") {
        ebb_region_alloc(&region, 8, 0);
    }
    DIES("ebb_region_alloc: the region is a null pointer") {
        ebb_region_alloc(NULL, 8, 8);
    }
    DIES("ebb_region_reset: the region is a null pointer") {
        ebb_region_reset(NULL);
    }
    DIES("ebb_region_root: the region is a null pointer") {
        ebb_region_root(NULL);
    }
    ebb_region_release(&region);
}

TEST(misuse_returns) {
    setenv("EBB_DEBUG", "misuse=return", 1);
    ebb_region region = {0};
    CHECK(ebb_region_new(&region, int));
    CHECK(!ebb_region_alloc(&region, 8, 24));
    CHECK(!ebb_region_alloc(&region, 8, (size_t)1 << 31));
    CHECK(!ebb_region_alloc(NULL, 8, 8));
    CHECK_EQ(ebb_region_root(NULL), EBB_EINVAL);
    ebb_region_reset(NULL);
    ebb_region_release(NULL);
    CHECK_EQ(ebb_region_bytes(NULL), 0);
    ebb_region_release(&region);
}
