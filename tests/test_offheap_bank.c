/* test_offheap_bank.c - string banks: equal strings, equal numbers, and all of it goes back. */
#include <sys/resource.h>
#include <unistd.h>

#include <ebb/offheap.h>
#include <ebb/stats.h>

#include "test.h"

static uint64_t offheap(void) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    return stats.offheap;
}

static ebb_str text_of(const char *text) {
    return (ebb_str){text, strlen(text)};
}

/* The n-th of many different strings: of all lengths from 1 to 40, some with zero bytes. */
static ebb_str nth_text(char buffer[64], uint64_t n) {
    uint64_t state = n;
    size_t len = 8 + test_random_below(&state, 33);
    for (size_t i = 8; i < len; i++) buffer[i] = (char)test_random_below(&state, 3);
    memcpy(buffer, &n, sizeof n);
    return (ebb_str){buffer, len};
}

TEST(zero_initialised_is_empty) {
    ebb_bank bank = {0};
    CHECK_EQ(ebb_bank_len(&bank), 0);
    CHECK_EQ(ebb_bank_bytes(&bank), 0);
    CHECK_EQ(ebb_bank_find(&bank, text_of("x")), 0);
    CHECK(!ebb_bank_text(&bank, 0).ptr);
    ebb_bank_release(&bank);
}

TEST(equal_strings_have_equal_ids) {
    ebb_bank bank = {0};
    char ann[] = "ann";
    ebb_bank_id a = ebb_bank_intern(&bank, text_of(ann)),
                b = ebb_bank_intern(&bank, text_of("bob"));
    ann[0] = 'A';
    CHECK_EQ(a, 1);
    CHECK_EQ(b, 2);
    CHECK_EQ(ebb_bank_intern(&bank, text_of("ann")), a);
    CHECK_EQ(ebb_bank_find(&bank, text_of("bob")), b);
    CHECK_EQ(ebb_bank_find(&bank, text_of("Ann")), 0);
    CHECK_EQ(ebb_bank_len(&bank), 2);
    CHECK_STR(ebb_bank_text(&bank, a).ptr, "ann");
    CHECK_EQ(ebb_bank_text(&bank, a).len, 3);
    ebb_bank_release(&bank);
}

TEST(any_bytes_are_a_string) {
    ebb_bank bank = {0};
    ebb_bank_id empty = ebb_bank_intern(&bank, (ebb_str){NULL, 0});
    CHECK_EQ(empty, 1);
    CHECK_EQ(ebb_bank_intern(&bank, (ebb_str){"", 0}), empty);
    CHECK_EQ(ebb_bank_text(&bank, empty).len, 0);
    CHECK_STR(ebb_bank_text(&bank, empty).ptr, "");
    ebb_bank_id zero = ebb_bank_intern(&bank, (ebb_str){"\0", 1});
    ebb_bank_id zeros = ebb_bank_intern(&bank, (ebb_str){"\0\0", 2});
    CHECK(zero != empty && zeros != zero);
    CHECK_EQ(ebb_bank_find(&bank, (ebb_str){"\0\0\0", 2}), zeros);
    static char large[3 << 20];
    memset(large, 'x', sizeof large);
    ebb_bank_id id = ebb_bank_intern(&bank, (ebb_str){large, sizeof large});
    CHECK_EQ(ebb_bank_text(&bank, id).len, sizeof large);
    CHECK_EQ(memcmp(ebb_bank_text(&bank, id).ptr, large, sizeof large), 0);
    CHECK_EQ(ebb_bank_find(&bank, (ebb_str){large, sizeof large - 1}), 0);
    ebb_bank_release(&bank);
}

/* Strings are found at every stage of every growth of the table, and their texts do not move. */
TEST(model) {
    uint64_t before = offheap(), state = test_seed(), base = test_random(&state);
    uint32_t count = (uint32_t)(400000 * test_scale() / (test_slow() ? 10 : 1));
    const char **texts = malloc(sizeof *texts * count);
    ebb_bank bank = {0};
    char buffer[64];
    for (uint32_t i = 0; i < count; i++) {
        ebb_str text = nth_text(buffer, base + i);
        if (i % 4 == 0) CHECK_EQ(ebb_bank_find(&bank, text), 0);
        CHECK_EQ(ebb_bank_intern(&bank, text), i + 1);
        texts[i] = ebb_bank_text(&bank, i + 1).ptr;
        uint32_t k = (uint32_t)test_random_below(&state, i + 1);
        text = nth_text(buffer, base + k);
        CHECK_EQ(ebb_bank_find(&bank, text), k + 1);
        CHECK_EQ(ebb_bank_intern(&bank, text), k + 1);
        if (i % 50000 == 0) CHECK_EQ(offheap() - before, ebb_bank_bytes(&bank));
    }
    for (uint32_t i = 0; i < count; i++) {
        ebb_str text = nth_text(buffer, base + i), stored = ebb_bank_text(&bank, i + 1);
        CHECK(stored.ptr == texts[i] && stored.len == text.len);
        CHECK_EQ(memcmp(stored.ptr, text.ptr, text.len), 0);
        CHECK_EQ(stored.ptr[stored.len], 0);
    }
    CHECK_EQ(ebb_bank_len(&bank), count);
    CHECK_EQ(offheap() - before, ebb_bank_bytes(&bank));
    ebb_bank_release(&bank);
    CHECK_EQ(offheap(), before);
    CHECK_EQ(ebb_bank_intern(&bank, text_of("again")), 1);
    ebb_bank_release(&bank);
    CHECK_EQ(offheap(), before);
    free(texts);
}

/* A bank costs little beside its strings: about 30 bytes each, text not counted. */
TEST(bytes_a_string) {
    ebb_bank bank = {0};
    char buffer[32];
    enum { COUNT = 1000000 };
    for (int i = 0; i < COUNT; i++) {
        int len = snprintf(buffer, sizeof buffer, "%07d", i);
        CHECK(ebb_bank_intern(&bank, (ebb_str){buffer, (size_t)len}) != 0);
    }
    size_t bytes = ebb_bank_bytes(&bank) - ebb_region_bytes(&bank.text);
    CHECK(bytes / COUNT <= 34);
    CHECK_EQ(ebb_region_used_bytes(&bank.text), COUNT * (4 + 7 + 1));
    ebb_bank_release(&bank);
}

TEST(no_memory_is_no_id) {
    if (test_slow()) SKIP("a sanitizer needs its address space");
    ebb_bank bank = {0};
    char buffer[64];
    uint32_t count = 0;
    for (; count < 1000; count++)
        CHECK_EQ(ebb_bank_intern(&bank, nth_text(buffer, count)), count + 1);
    struct rlimit none = {0, RLIM_INFINITY};
    CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
    while (ebb_bank_intern(&bank, nth_text(buffer, count)) != 0) count++;
    CHECK_EQ(ebb_bank_len(&bank), count);
    for (uint32_t i = 0; i < count; i++) CHECK_EQ(ebb_bank_find(&bank, nth_text(buffer, i)), i + 1);
    CHECK_EQ(ebb_bank_find(&bank, nth_text(buffer, count)), 0);
    none.rlim_cur = RLIM_INFINITY;
    CHECK_EQ(setrlimit(RLIMIT_AS, &none), 0);
    CHECK_EQ(ebb_bank_intern(&bank, nth_text(buffer, count)), count + 1);
    ebb_bank_release(&bank);
}

TEST(misuse_is_reported) {
    setenv("EBB_DEBUG", "misuse=abort", 1);
    ebb_bank bank = {0};
    CHECK_EQ(ebb_bank_intern(&bank, text_of("ann")), 1);
    DIES("ebb_bank_text: the bank at") {
        ebb_bank_text(&bank, 2);
    }
    DIES("has no string 2") {
        ebb_bank_text(&bank, 2);
    }
    DIES("ebb_bank_intern: a text of 3 bytes at a null pointer") {
        ebb_bank_intern(&bank, (ebb_str){NULL, 3});
    }
    DIES("4 GiB or more") {
        ebb_bank_intern(&bank, (ebb_str){"", (size_t)1 << 32});
    }
    DIES("ebb_bank_intern: the bank is a null pointer") {
        ebb_bank_intern(NULL, text_of("ann"));
    }
    ebb_bank_release(&bank);
}

TEST(misuse_returns) {
    setenv("EBB_DEBUG", "misuse=return", 1);
    ebb_bank bank = {0};
    CHECK_EQ(ebb_bank_intern(&bank, text_of("ann")), 1);
    CHECK(!ebb_bank_text(&bank, 2).ptr);
    CHECK_EQ(ebb_bank_intern(&bank, (ebb_str){NULL, 3}), 0);
    CHECK_EQ(ebb_bank_find(&bank, (ebb_str){"", (size_t)1 << 32}), 0);
    CHECK_EQ(ebb_bank_intern(NULL, text_of("ann")), 0);
    ebb_bank_release(NULL);
    ebb_bank_release(&bank);
}
