/* test_internal_armed.c - spans that are to be armed while others come, go and grow beside them:
 * none with marks may be left that is neither armed and listed, nor exposed. The library is
 * compiled in, with a seam around the system calls of the dirty layer. docs/testing.md, "Spans that
 * are armed". */
#ifndef _GNU_SOURCE
# define _GNU_SOURCE 1
#endif
#include <stdatomic.h>

static void call_begins(void);

#define EBB__DIRTY_CALL(call) (call_begins(), (call))
#include "../src/all.c"

#include <pthread.h>
#include <unistd.h>

#include "internal_kernel.h"
#include "test.h"

static bool is_listed(const os_ranges *list, uintptr_t address) {
    for (size_t i = 0; i < list->count; i++)
        if (address >= list->items[i].start && address < list->items[i].end) return true;
    return false;
}

/* --- One that grows --------------------------------------------------------------------------- */

static void **holder; /* refers to the array */
static uintptr_t grows_at;
enum { GROW_NOT, GROW_WATCH, GROW_NOW, GROW_DONE };
static _Atomic(int) grow_stage;

static void grow_wait(int stage) {
    for (int i = 0; i < 5000 && atomic_load(&grow_stage) == stage; i++) usleep(1000);
}

/* Its bit is cleared, and it is not armed yet. */
static void call_begins(void) {
    if (atomic_load(&grow_stage) != GROW_WATCH) return;
    const span *s = ebb__span_at(grows_at);
    if (s->armed || span_bit(ebb__space.exposed, span_number(s))) return;
    atomic_store(&grow_stage, GROW_NOW);
    grow_wait(GROW_NOW);
}

static void *minor_cycle(void *unused) {
    CHECK_EQ(ebb__collect(CAUSE_FORCED, false), 0);
    return unused;
}

static NOINLINE void holder_make(void) {
    holder = ebb_alloc(64);
    CHECK(holder != NULL);
    holder[0] = ebb_alloc((size_t)256 * 1024);
    grows_at = (uintptr_t)holder[0];
}

TEST(a_large_object_grows_while_it_is_armed) {
    pthread_t thread;
    holder_make();
    ebb__settings.pause_ns = (uint64_t)1 << 40; /* in one stop */
    need_kernel();
    ebb__settings.pause_ns = 1; /* beside */
    atomic_store(&grow_stage, GROW_WATCH);
    CHECK_EQ(pthread_create(&thread, NULL, minor_cycle, NULL), 0);
    grow_wait(GROW_WATCH);
    CHECK_EQ(atomic_load(&grow_stage), GROW_NOW);
    CHECK(ebb_resize(holder[0], (size_t)512 * 1024) == holder[0]);
    atomic_store(&grow_stage, GROW_DONE);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    const span *s = ebb__span_at(grows_at);
    CHECK(span_mark_bits(s)[0] & 1);
    CHECK(s->armed || span_bit(ebb__space.exposed, span_number(s)));
    CHECK(!s->armed || is_listed(&dirty.large, grows_at + (size_t)400 * 1024));
}

/* --- Ones that are freed and merged between two steps of the walk ------------------------------
 */

enum { PER_SPAN = 8, SPANS = 3 * WALK_STEP / 2, FREE_FROM = WALK_STEP - 1, FREE_SPANS = 100 };

static void *walked[SPANS * PER_SPAN];

static int by_address(const void *a, const void *b) {
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return x < y ? -1 : x > y;
}

static void walked_free(size_t span) {
    for (size_t i = span * PER_SPAN; i < (span + 1) * PER_SPAN; i++) {
        CHECK_EQ(ebb_free(walked[i]), 0);
        walked[i] = NULL;
    }
}

/* A run of free pages counts as one span, so this is where the first step ends. */
TEST(spans_merge_between_two_steps_of_the_walk) {
    size_t border = FREE_FROM + FREE_SPANS, after = border + FREE_SPANS / 2;
    zone *z = &ebb__space.zones[ZONE_SCAN];
    setenv("EBB_GC", "percent=off", 1);
    for (size_t i = 0; i < SPANS * PER_SPAN; i++) CHECK((walked[i] = ebb_alloc(1000)) != NULL);
    qsort(walked, SPANS * PER_SPAN, sizeof *walked, by_address);
    need_kernel();
    for (size_t i = FREE_FROM; i < border; i++) walked_free(i);
    os_ranges_clear(&dirty.armed);
    uint32_t page = 0, steps = 0;
    for (; page < z->used_pages; steps++) {
        page = walk_step(page, WALK_ALL);
        if (steps == 0) walked_free(border);
    }
    CHECK(steps > 1);
    CHECK(is_listed(&dirty.armed, (uintptr_t)walked[after * PER_SPAN]));
    CHECK(is_listed(&dirty.armed, (uintptr_t)walked[(SPANS - 2) * PER_SPAN]));
}

/* --- What is armed when nobody will ask --------------------------------------------------------
 */

enum { OLD = 4000 };
static void *volatile old[2 * OLD]; /* or nothing would be kept in it */

static size_t armed_pages(bool written) {
    size_t pages = 0;
    for (size_t i = 0; i < dirty.armed.count; i++) {
        os_range r = dirty.armed.items[i];
        size_t all = (r.end - r.start) / ebb__os_page_size();
        pages += written ? ebb__os_dirty_count(r.start, r.end, all) : all;
    }
    return pages;
}

static NOINLINE void old_make(size_t from) {
    for (size_t i = from; i < from + OLD; i++) {
        CHECK((old[i] = ebb_alloc(1000)) != NULL);
        *(char *)old[i] = 1;
    }
}

/* The first minor cycle finds nothing new; the second as much as there was, so a full one is next.
 */
TEST(pages_are_disarmed_when_a_full_cycle_is_next) {
    old_make(0);
    ebb__settings.pause_ns = (uint64_t)1 << 40; /* in one stop */
    need_kernel();
    minor_cycle(NULL);
    CHECK(!ebb__pace_full());
    CHECK(armed_pages(false) > OLD / 8);
    CHECK(armed_pages(true) < armed_pages(false) / 2);
    old_make(OLD);
    minor_cycle(NULL);
    CHECK(ebb__pace_full());
    CHECK_EQ(armed_pages(true), armed_pages(false));
    CHECK_EQ(ebb_collect(), 0);
    CHECK(armed_pages(true) < armed_pages(false) / 2);
}
