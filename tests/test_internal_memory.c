/* test_internal_memory.c - what ebb_memory stands on: which pages are resident by both ways of
 * asking, the list of the library's own mappings, whose an unnamed mapping is. Looks inside. See
 * docs/design.md, "Accounting". */
#include "test.h"

#include <pthread.h>
#include <sys/mman.h>

#include "../src/all.c"

static char *pages_map(size_t bytes) {
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    madvise(p, bytes, MADV_NOHUGEPAGE);
    return p;
}

/* --- Pages ---------------------------------------------------------------------------------- */

static const os_pages by_mincore = {.fd = -1};

typedef struct runs {
    uintptr_t last;
    size_t bytes, count;
} runs;

static void runs_note(uintptr_t from, uintptr_t to, void *arg) {
    runs *r = arg;
    CHECK(from >= r->last && from < to);
    r->last = to;
    r->bytes += to - from;
    r->count++;
}

TEST(resident_pages_by_both_ways) {
    size_t page = ebb__os_page_size(), count = 5000;
    char *p = pages_map(count * page);
    uintptr_t start = (uintptr_t)p, end = start + count * page;
    uint64_t state = test_seed();
    size_t touched = 0;
    os_pages pages;
    ebb__os_pages_open(&pages);
    for (size_t i = 0; i < count; i++) {
        if (test_random_below(&state, 3)) continue;
        p[i * page] = 1;
        touched++;
    }
    runs exact = {0}, coarse = {0};
    CHECK_EQ(ebb__os_pages_each(&pages, start, end, runs_note, &exact), touched * page);
    CHECK_EQ(ebb__os_pages_each(&by_mincore, start, end, runs_note, &coarse), touched * page);
    CHECK_EQ(exact.bytes, touched * page);
    CHECK_EQ(coarse.bytes, touched * page);
    for (size_t i = 0; i < 100; i++) {
        size_t from = test_random_below(&state, count),
               to = from + test_random_below(&state, count - from);
        uintptr_t a = start + from * page, b = start + to * page;
        CHECK_EQ(ebb__os_pages_each(&pages, a, b, NULL, NULL),
                 ebb__os_pages_each(&by_mincore, a, b, NULL, NULL));
    }
    /* Parts that are not mapped hold nothing. */
    munmap(p + 1000 * page, 1000 * page);
    CHECK_EQ(ebb__os_pages_each(&pages, start, end, NULL, NULL),
             ebb__os_pages_each(&by_mincore, start, end, NULL, NULL));
    ebb__os_pages_close(&pages);
}

TEST(pages_that_were_only_read_are_not_resident) {
    size_t page = ebb__os_page_size();
    char *p = pages_map(100 * page);
    os_pages pages;
    ebb__os_pages_open(&pages);
    if (pages.fd < 0) SKIP("this kernel does not tell");
    volatile char sum = 0;
    for (size_t i = 0; i < 100; i++) sum = (char)(sum + p[i * page]);
    p[7 * page] = 1;
    CHECK_EQ(ebb__os_pages_each(&pages, (uintptr_t)p, (uintptr_t)p + 100 * page, NULL, NULL), page);
    ebb__os_pages_close(&pages);
}

/* --- What is ours --------------------------------------------------------------------------- */

typedef struct owned_sum {
    size_t bytes[OS_CLASS_COUNT];
    uintptr_t wanted;
    bool found;
} owned_sum;

static void owned_note(uintptr_t start, uintptr_t end, enum os_class class, void *arg) {
    owned_sum *s = arg;
    s->bytes[class] += end - start;
    s->found |= start == s->wanted;
}

static owned_sum owned_now(const void *wanted) {
    owned_sum s = {.wanted = (uintptr_t)wanted};
    ebb__os_owned_each(owned_note, &s);
    return s;
}

/* Far more than fit into the first tables, in random order. */
/* What fills a list may itself map memory, so each is filled twice. */
TEST(mappings_by_both_ways_are_the_same) {
    static const char path[] = "/proc/self/maps";
    os_ranges asked = {0}, read = {0};
    if (!mappings_ask(path, &asked)) SKIP("this kernel is not asked for mappings");
    CHECK(mappings_read(path, &read));
    CHECK(mappings_ask(path, &asked) && mappings_read(path, &read));
    CHECK_EQ(asked.count, read.count);
    CHECK_EQ(memcmp(asked.items, read.items, read.count * sizeof *read.items), 0);
    CHECK(ebb__os_mapping_of(&asked, (uintptr_t)&asked) != NULL);
    CHECK(!mappings_ask("/proc/self/status", &asked));
    CHECK(!mappings_ask("/proc/self/none", &asked));
}

TEST(mappings_are_listed_until_they_go) {
    enum { MAPPINGS = 6000 };
    static void *at[MAPPINGS];
    size_t page = ebb__os_page_size(), before = owned_now(NULL).bytes[OS_OFFHEAP];
    uint64_t state = test_seed();
    for (size_t i = 0; i < MAPPINGS; i++) CHECK((at[i] = ebb__os_map(page, OS_OFFHEAP)) != NULL);
    CHECK_EQ(owned_now(NULL).bytes[OS_OFFHEAP] - before, MAPPINGS * page);
    CHECK(owned_now(at[1234]).found);
    for (size_t i = 0; i < 20000; i++) {
        size_t k = test_random_below(&state, MAPPINGS);
        if (at[k]) ebb__os_unmap(at[k], page, OS_OFFHEAP);
        at[k] = at[k] ? NULL : ebb__os_map(page, OS_OFFHEAP);
    }
    size_t held = 0;
    for (size_t i = 0; i < MAPPINGS; i++) held += at[i] != NULL;
    CHECK_EQ(owned_now(NULL).bytes[OS_OFFHEAP] - before, held * page);
    for (size_t i = 0; i < MAPPINGS; i++)
        if (at[i]) ebb__os_unmap(at[i], page, OS_OFFHEAP);
    CHECK_EQ(owned_now(NULL).bytes[OS_OFFHEAP], before);
    CHECK(!owned_now(at[1234]).found);
}

static void cut_is(uintptr_t from, uintptr_t to, const os_range *wanted, size_t count) {
    os_ranges list = {0};
    size_t found = 0;
    CHECK(ebb__os_ranges_add(&list, from - 64 * KIB, from));
    CHECK(ebb__os_ranges_add(&list, from, to));
    CHECK(ebb__os_ranges_add(&list, to, to + 64 * KIB));
    ebb__os_mappings_cut(&list);
    for (size_t i = 0; i < list.count; i++) {
        os_range r = list.items[i];
        if (i > 0) CHECK(r.start >= list.items[i - 1].end);
        if (r.start == r.end || r.start < from || r.end > to) continue;
        CHECK(found < count);
        CHECK_EQ(r.start, wanted[found].start);
        CHECK_EQ(r.end, wanted[found].end);
        found++;
    }
    CHECK_EQ(found, count);
    ebb__os_unmap(list.items, list.room * sizeof(os_range), OS_METADATA);
}

/* As where the kernel has no names for anonymous memory. */
TEST(metadata_is_cut_out_of_mappings) {
    size_t page = ebb__os_page_size();
    uintptr_t whole = (uintptr_t)pages_map(64 * page), p = whole + 24 * page, end = p + 3 * page;
    CHECK_EQ(munmap((void *)p, 3 * page), 0);
    CHECK(mmap((void *)p, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
               -1, 0) != MAP_FAILED);
    ebb__os_owned_add(p, 3 * page, OS_METADATA);
    cut_is(whole, whole + 64 * page, (os_range[]){{whole, p}, {end, whole + 64 * page}}, 2);
    cut_is(p, end + page, (os_range[]){{end, end + page}}, 1);
    cut_is(p - page, end, (os_range[]){{p - page, p}}, 1);
    cut_is(p + page, end + page, (os_range[]){{end, end + page}}, 1); /* it is in two */
    cut_is(p, end, NULL, 0);
    ebb__os_owned_remove(p);
    ebb__os_owned_add(p, 3 * page, OS_OFFHEAP);
    cut_is(p - page, end + page, (os_range[]){{p - page, end + page}}, 1);
    ebb__os_owned_remove(p);
}

static void *owned_body(void *unused) {
    void *at[64] = {0};
    (void)unused;
    for (size_t i = 0; i < 20000; i++) {
        if (at[i % 64]) ebb__os_unmap(at[i % 64], 4096, OS_OFFHEAP);
        at[i % 64] = ebb__os_map(4096, OS_OFFHEAP);
    }
    for (size_t i = 0; i < 64; i++) ebb__os_unmap(at[i], 4096, OS_OFFHEAP);
    return NULL;
}

TEST(several_threads_map_at_once) {
    pthread_t threads[4];
    if (ebb__os_page_size() != 4096) SKIP("pages of another size");
    size_t before = owned_now(NULL).bytes[OS_OFFHEAP];
    for (size_t i = 0; i < 4; i++) CHECK_EQ(pthread_create(&threads[i], NULL, owned_body, NULL), 0);
    for (size_t i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(owned_now(NULL).bytes[OS_OFFHEAP], before);
}

/* --- Whose the rest is ---------------------------------------------------------------------- */

/* Blocks of malloc's beside memory that is nobody's; numbers that only look like a block's head. */
TEST(blocks_are_told_from_other_memory) {
    size_t page = ebb__os_page_size(), bytes = 64 * page;
    char *p = pages_map(bytes);
    os_pages pages;
    ebb__os_pages_open(&pages);
    uintptr_t start = (uintptr_t)p;
    memset(p, 0, bytes);
    CHECK_EQ(ebb__os_malloc_in(&pages, start, start + bytes), 0);
    memset(p, 1, bytes);
    CHECK_EQ(ebb__os_malloc_in(&pages, start, start + bytes), 0);
    uintptr_t *block = (uintptr_t *)(void *)(p + 10 * page);
    block[0] = 0;
    block[1] = (20 * page) | 2;
    CHECK_EQ(ebb__os_malloc_in(&pages, start, start + bytes), 20 * page);
    block[1] = (60 * page) | 2; /* would reach beyond the mapping */
    CHECK_EQ(ebb__os_malloc_in(&pages, start, start + bytes), 0);
    block[1] = (20 * page + 16) | 2;
    CHECK_EQ(ebb__os_malloc_in(&pages, start, start + bytes), 0);
    block[1] = (20 * page) | 2;
    block[0] = 8;
    CHECK_EQ(ebb__os_malloc_in(&pages, start, start + bytes), 0);
    ebb__os_pages_close(&pages);
}
