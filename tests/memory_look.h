/* memory_look.h - a look at ebb_memory that has to add up, for the tests of it: see
 * docs/testing.md. */
#ifndef EBB_TESTS_MEMORY_LOOK_H
#define EBB_TESTS_MEMORY_LOOK_H

#include <ebb/memory.h>

#include "test.h"

#define LOOK_MIB ((uint64_t)1 << 20)

typedef struct look_class {
    const char *name;
    size_t offset;
} look_class;

#define LOOK_CLASS(name) \
 { #name, offsetof(struct ebb_memory, name) }

static const look_class look_classes[] = {
    LOOK_CLASS(live),          LOOK_CLASS(held),           LOOK_CLASS(slice_tails),
    LOOK_CLASS(map_empty),     LOOK_CLASS(dead),           LOOK_CLASS(free_pages),
    LOOK_CLASS(free_slots),    LOOK_CLASS(span_ends),      LOOK_CLASS(metadata),
    LOOK_CLASS(offheap),       LOOK_CLASS(outside_malloc), LOOK_CLASS(outside_stacks),
    LOOK_CLASS(outside_files), LOOK_CLASS(outside_other),
};
enum { LOOK_CLASSES = sizeof look_classes / sizeof *look_classes };

__attribute__((unused)) static uint64_t look_of(const struct ebb_memory *m, size_t class) {
    uint64_t value;
    memcpy(&value, (const char *)m + look_classes[class].offset, sizeof value);
    return value;
}

/* The classes sum to RSS, and less than 1 % of it is unexplained. */
__attribute__((unused)) static void look_adds_up(const struct ebb_memory *m) {
    uint64_t sum = (uint64_t)m->unexplained;
    for (size_t i = 0; i < LOOK_CLASSES; i++) {
        sum += look_of(m, i);
        if (look_of(m, i) > m->rss) fprintf(stderr, "%s is above rss\n", look_classes[i].name);
        CHECK(look_of(m, i) <= m->rss);
    }
    CHECK_EQ(sum, m->rss);
    uint64_t unexplained = (uint64_t)(m->unexplained < 0 ? -m->unexplained : m->unexplained);
    if (unexplained >= m->rss / 100)
        fprintf(stderr, "unexplained: %lld of %llu\n", (long long)m->unexplained,
                (unsigned long long)m->rss);
    CHECK(unexplained < m->rss / 100);
}

__attribute__((unused)) static NOINLINE void look_take(struct ebb_memory *m) {
    CHECK_EQ(ebb_memory(m), 0);
    look_adds_up(m);
    CHECK(m->rss > 0 && m->stop_ns > 0);
    CHECK(m->metadata_look <= m->metadata && m->free_never_used <= m->free_pages);
}

/* From one look to the next the named class changed by about `bytes`, and no other by more than
 * `slack`. Two classes may be named: the second changed by what the first did not, if also < 0. */
__attribute__((unused)) static void look_moved(const struct ebb_memory *before,
                                               const struct ebb_memory *after, const char *class,
                                               int64_t bytes, int64_t slack, const char *also) {
    bool found = false;
    for (size_t i = 0; i < LOOK_CLASSES; i++) {
        const char *name = look_classes[i].name;
        int64_t moved = (int64_t)(look_of(after, i) - look_of(before, i));
        int64_t expected = strcmp(name, class) == 0 ? bytes : 0;
        found |= expected != 0;
        if (also && strcmp(name, also) == 0) continue;
        if (moved < expected - slack || moved > expected + slack)
            fprintf(stderr, "%s moved by %lld, expected %lld\n", name, (long long)moved,
                    (long long)expected);
        CHECK(moved >= expected - slack && moved <= expected + slack);
    }
    CHECK(found);
}

#endif
