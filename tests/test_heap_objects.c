/* test_heap_objects.c - what can be asked of an object and done to it: its size and start from any
 * address inside, resizing, releasing; and that any address in it, or one past its end, keeps it.
 * See docs/design.md, "The heap". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <stdint.h>
#include <string.h>

#include "modes.h"
#include "probe.h"
#include "test.h"

#define OBJECTS_MAX 4096

static void *kept[OBJECTS_MAX + 1]; /* static storage: a root */
static uintptr_t hidden[OBJECTS_MAX + 1];
static int not_of_the_heap;

/* --- Size and start ------------------------------------------------------------------------- */

static void objects_ask_inside(unsigned char *p, size_t size, uint64_t *state) {
    size_t room = ebb_size_of(p);
    CHECK(room >= size);
    for (int i = 0; i < 20; i++) {
        const unsigned char *inside = p + (room ? test_random_below(state, room) : 0);
        CHECK(ebb_base_of(inside) == p);
        CHECK_EQ(ebb_size_of(inside), room);
    }
    if (room) CHECK(ebb_base_of(p + room - 1) == p);
}

TEST(inside_points_to_the_start) {
    uint64_t state = test_seed();
    for (size_t size = 0; size < 5000; size++) {
        objects_ask_inside(ebb_alloc(size), size, &state);
        objects_ask_inside(ebb_alloc_data(size), size, &state);
    }
    for (size_t size = 5000; size < (size_t)200 << 20; size += size / 3) {
        objects_ask_inside(ebb_alloc_data(size), size, &state);
    }
}

TEST(foreign_addresses_are_no_objects) {
    int local = 0;
    void *malloced = malloc(100);
    CHECK(ebb_new(int) != NULL); /* there is a heap */
    const void *foreign[] = {NULL,           (void *)1,
                             &local,         &not_of_the_heap,
                             malloced,       (void *)UINTPTR_MAX,
                             (void *)-4096,  (void *)4096,
                             (void *)strlen, (void *)(~(uintptr_t)0 >> 1)};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        CHECK_EQ(ebb_size_of(foreign[i]), 0);
        CHECK(ebb_base_of(foreign[i]) == NULL);
    }
    free(malloced);
}

TEST(questions_before_the_first_allocation) {
    int local = 0;
    CHECK_EQ(ebb_size_of(&local), 0);
    CHECK(ebb_base_of(&local) == NULL);
    CHECK_EQ(ebb_free(NULL), 0);
}

/* A slot that was released, or never handed out, is no object. */
TEST(released_addresses_are_no_objects) {
    for (size_t size = 1; size < (size_t)4 << 20; size += 1 + size / 2) {
        char *p = ebb_alloc(size);
        CHECK(ebb_size_of(p) >= size);
        CHECK_EQ(ebb_free(p), 0);
        CHECK_EQ(ebb_size_of(p), 0);
        CHECK(ebb_base_of(p) == NULL);
        CHECK_EQ(ebb_size_of(p + size - 1), 0);
    }
}

TEST(random_words_are_answered) {
    uint64_t state = test_seed();
    char *object = ebb_alloc(100000);
    for (int i = 0; i < 1000000; i++) {
        uintptr_t near_by = (uintptr_t)object ^ (test_random(&state) >> (16 + i % 40));
        char *base = ebb_base_of((void *)near_by);
        if (base)
            CHECK(near_by >= (uintptr_t)base && near_by <= (uintptr_t)base + ebb_size_of(base));
    }
}

/* Little is lost to size classes: a quarter at most from 128 bytes on, the page above. */
TEST(size_classes_are_tight) {
    for (size_t size = 16; size < (size_t)1 << 20; size += 1 + size / 100) {
        size_t room = ebb_size_of(ebb_alloc_data(size));
        size_t waste = room - size;
        CHECK(waste <= size / 4 + 16 || waste < 8192);
    }
}

/* --- What keeps an object ------------------------------------------------------------------- */

enum place { PLACE_START, PLACE_INSIDE, PLACE_LAST, PLACE_PAST, PLACE_PAST_ROOM, PLACE_COUNT };

/* Objects of sizes 1 to OBJECTS_MAX, each held by one address into it, and filled. */
static NOINLINE void objects_hold(enum place place, bool data) {
    for (size_t size = 1; size <= OBJECTS_MAX; size++) {
        unsigned char *p = data ? ebb_alloc_data(size) : ebb_alloc(size);
        CHECK(p != NULL);
        size_t room = ebb_size_of(p);
        memset(p, (int)(size & 0xff), size);
        size_t offset[PLACE_COUNT] = {0, size / 2, size - 1, size, room};
        hidden[size] = probe_hide(p);
        kept[size] = p + offset[place];
    }
}

static NOINLINE void objects_check_held(void) {
    for (size_t size = 1; size <= OBJECTS_MAX; size++) {
        unsigned char *p = probe_show(hidden[size]);
        CHECK(ebb_base_of(p) == p);
        CHECK(ebb_size_of(p) >= size);
        CHECK_EQ(p[0], size & 0xff);
        CHECK(memcmp(p, p + 1, size - 1) == 0);
    }
}

static NOINLINE void objects_litter(void) {
    for (size_t i = 0; i < 100000; i++) {
        size_t size = 1 + i % OBJECTS_MAX;
        memset(i % 2 ? ebb_alloc(size) : ebb_alloc_data(size), 0xee, size);
    }
}

static void objects_keep(enum place place) {
    for (int data = 0; data < 2; data++) {
        objects_hold(place, data);
        probe_collect();
        objects_check_held();
        objects_litter();
        probe_collect();
        objects_check_held();
    }
}

TEST(start_keeps) {
    objects_keep(PLACE_START);
}

TEST(inside_keeps) {
    objects_keep(PLACE_INSIDE);
}

TEST(last_byte_keeps) {
    objects_keep(PLACE_LAST);
}

TEST(one_past_the_end_keeps) {
    objects_keep(PLACE_PAST);
}

TEST(one_past_the_capacity_keeps) {
    objects_keep(PLACE_PAST_ROOM);
}

static NOINLINE void objects_hold_large(bool data) {
    size_t count = 0;
    for (size_t size = 4096; size <= (size_t)16 << 20; size += size / 2, count++) {
        for (size_t more = 0; more < 3; more++) {
            unsigned char *p = data ? ebb_alloc_data(size + more) : ebb_alloc(size + more);
            CHECK(p != NULL);
            p[0] = p[size + more - 1] = 7;
            hidden[count * 3 + more] = probe_hide(p);
            kept[count * 3 + more] = p + size + more;
        }
    }
    kept[count * 3] = NULL;
}

static NOINLINE void objects_check_large(void) {
    for (size_t i = 0; kept[i]; i++) {
        unsigned char *p = probe_show(hidden[i]);
        CHECK(ebb_base_of(p) == p);
        CHECK_EQ(p[0], 7);
        CHECK_EQ(((unsigned char *)kept[i])[-1], 7);
    }
}

TEST(one_past_the_end_of_large_keeps) {
    for (int data = 0; data < 2; data++) {
        objects_hold_large(data);
        probe_collect();
        objects_check_large();
        objects_litter();
        probe_collect();
        objects_check_large();
    }
}

/* One past the end of a living object must not be taken for its neighbour alone, nor keep more
 * than that one: every second object dropped is every second object dead. */
static NOINLINE void objects_build_row(size_t size, size_t count) {
    for (size_t i = 0; i < count; i++) {
        kept[i] = ebb_alloc(size);
        probe_add(kept[i]);
    }
    for (size_t i = 1; i < count; i += 2) kept[i] = NULL;
}

static NOINLINE size_t objects_odd_living(size_t from, size_t count) {
    size_t living = 0;
    for (size_t i = 1; i < count; i += 2) living += probe_lives(from + i);
    return living;
}

TEST(neighbours_of_the_living_die) {
    static const size_t sizes[] = {16, 32, 48, 64, 112, 256, 1024, 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t from = probe_count;
        objects_build_row(sizes[i], 200);
        probe_collect();
        CHECK(objects_odd_living(from, 200) <= PROBE_STALE);
        CHECK(probe_living(from, from + 200) >= 100);
    }
}

/* --- Resizing ------------------------------------------------------------------------------- */

static void objects_check_fill(const unsigned char *p, size_t from, size_t to, int value) {
    for (size_t i = from; i < to; i++) CHECK_EQ(p[i], value);
}

TEST(resize_keeps_bytes_and_zeroes_the_rest) {
    uint64_t state = test_seed();
    for (int i = 0; i < 3000; i++) {
        size_t limit = i % 100 ? 5000 : (size_t)3 << 20;
        size_t old_size = test_random_below(&state, limit);
        size_t new_size = test_random_below(&state, limit);
        unsigned char *p = i % 2 ? ebb_alloc(old_size) : ebb_alloc_data(old_size);
        size_t room = ebb_size_of(p);
        memset(p, 0x5a, room);
        unsigned char *q = ebb_resize(p, new_size);
        CHECK(q != NULL);
        CHECK(ebb_base_of(q) == q);
        CHECK(ebb_size_of(q) >= new_size);
        objects_check_fill(q, 0, new_size < old_size ? new_size : old_size, 0x5a);
        if (q != p) {
            objects_check_fill(p, 0, old_size, 0x5a);
            if (new_size > room) objects_check_fill(q, room, ebb_size_of(q), 0);
        }
    }
}

TEST(resize_grows_step_by_step) {
    unsigned char *p = NULL;
    for (size_t size = 1; size < (size_t)2 << 20; size += 1 + size / 9) {
        p = ebb_resize(p, size);
        CHECK(p != NULL);
        CHECK_EQ(p[size - 1], 0);
        p[size - 1] = (unsigned char)(size | 1);
        for (size_t s = 1; s <= size; s += 1 + s / 9) CHECK_EQ(p[s - 1], (unsigned char)(s | 1));
    }
}

/* A large object at the end of the used space can grow where it is; whether it did or not, the
 * bytes are right and the rest is zero. */
TEST(resize_of_large_objects) {
    for (size_t size = (size_t)1 << 20; size < (size_t)128 << 20; size *= 2) {
        unsigned char *p = ebb_alloc_data(size);
        memset(p, 9, size);
        unsigned char *q = ebb_resize(p, size + size / 2);
        CHECK(q != NULL && ebb_size_of(q) >= size + size / 2);
        objects_check_fill(q, 0, size, 9);
        objects_check_fill(q, size + 64, size + size / 2, 0);
        memset(q, 8, size + size / 2);
        unsigned char *r = ebb_resize(q, 100);
        CHECK(r != NULL);
        objects_check_fill(r, 0, 100, 8);
    }
}

TEST(shrinking_a_large_object_gives_pages_back) {
    struct ebb_stats before, after;
    unsigned char *p = ebb_alloc_data((size_t)64 << 20);
    memset(p, 1, (size_t)64 << 20);
    kept[0] = p;
    ebb_stats(&before);
    kept[0] = ebb_resize(p, (size_t)1 << 20);
    p = NULL;
    probe_collect();
    ebb_stats(&after);
    CHECK(after.heap_used + ((size_t)60 << 20) < before.heap_used);
}

/* Pointers in a resized object go on keeping their targets: the layout is carried over. */
static NOINLINE void objects_resize_links(size_t at) {
    void **links = ebb_new_array(void *, 3);
    for (size_t i = 0; i < 3; i++) probe_add(links[i] = ebb_alloc_data(40));
    links = ebb_resize(links, 30 * sizeof *links);
    for (size_t i = 3; i < 30; i++) probe_add(links[i] = ebb_alloc_data(40));
    kept[at] = links;
}

TEST(resize_keeps_the_layout) {
    for (size_t i = 0; i < 20; i++) objects_resize_links(i);
    probe_collect();
    CHECK_EQ(probe_living(0, 600), 600);
    memset(kept, 0, sizeof kept);
    probe_collect();
    CHECK(probe_living(0, 600) <= 30 * PROBE_STALE);
}

TEST(resize_that_cannot_be_leaves_all) {
    unsigned char *p = ebb_alloc(1000);
    memset(p, 3, 1000);
    CHECK(ebb_resize(p, SIZE_MAX) == NULL);
    CHECK(ebb_resize(p, SIZE_MAX - 10000) == NULL);
    CHECK(ebb_base_of(p) == p);
    objects_check_fill(p, 0, 1000, 3);
}

/* --- Releasing ------------------------------------------------------------------------------ */

TEST(free_is_reused_at_once) {
    struct ebb_stats before, after;
    static const size_t sizes[] = {8, 16, 100, 1000, 10000, 100000, (size_t)10 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        CHECK_EQ(ebb_free(ebb_alloc(sizes[i])), 0);
        ebb_stats(&before);
        for (int round = 0; round < 3000; round++) {
            void *p = ebb_alloc(sizes[i]);
            CHECK(p != NULL);
            CHECK_EQ(ebb_free(p), 0);
        }
        ebb_stats(&after);
        CHECK(after.heap_used <= before.heap_used + ((size_t)1 << 20));
    }
}

TEST(free_in_any_order) {
    enum { COUNT = 5000 };
    uint64_t state = test_seed();
    struct ebb_stats start, end;
    ebb_stats(&start);
    unsigned char **all = ebb_new_array(unsigned char *, COUNT);
    for (size_t i = 0; i < 200000 * test_scale(); i++) {
        size_t at = test_random_below(&state, COUNT);
        size_t size = 1 + test_random_below(&state, 400);
        if (all[at]) {
            CHECK_EQ(all[at][0], at & 0xff);
            CHECK_EQ(ebb_free(all[at]), 0);
            all[at] = NULL;
        } else {
            all[at] = ebb_alloc_data(size);
            CHECK_EQ(all[at][0], 0);
            memset(all[at], (int)(at & 0xff), size);
        }
    }
    for (size_t i = 0; i < COUNT; i++) CHECK_EQ(ebb_free(all[i]), 0);
    ebb_stats(&end);
    CHECK(end.live_objects <= start.live_objects + 8);
}

TEST(the_collector_never_frees_twice) {
    struct ebb_stats before, after;
    ebb_stats(&before);
    for (int i = 0; i < 10000; i++) {
        void *p = ebb_alloc(64);
        if (i % 3 == 0) CHECK_EQ(ebb_free(p), 0);
        if (i % 500 == 0) CHECK_EQ(ebb_collect(), 0);
    }
    probe_collect();
    ebb_stats(&after);
    CHECK_EQ(after.alloc_objects - after.freed_objects, after.live_objects);
}

TEST(keep_alive_keeps) {
    char *p = ebb_alloc(32);
    uintptr_t address = (uintptr_t)p;
    probe_add(p);
    probe_collect();
    ebb_keep_alive(p);
    CHECK(probe_lives(0));
    CHECK(address != 0);
}

/* --- What is freed at once ------------------------------------------------------------------ */

TEST(the_last_object_goes_back_to_its_run) {
    struct ebb_stats before, after;
    void *kept[100];
    ebb_stats(&before);
    for (size_t i = 0; i < 10000; i++) {
        size_t size = i % 7 * 40 + 8;
        unsigned char *p = i % 2 ? ebb_alloc(size) : ebb_alloc_data(size);
        for (size_t k = 0; k < size; k++) CHECK_EQ(p[k], 0);
        memset(p, 0xff, size);
        if (i % 100 == 0) CHECK_EQ(ebb_collect(), 0); /* marked: it must not come back as old */
        CHECK_EQ(ebb_free(p), 0);
        CHECK_EQ(ebb_size_of(p), 0);
        if (i % 100 == 50) kept[i / 100] = ebb_alloc(size);
    }
    ebb_stats(&after);
    CHECK_EQ(after.alloc_objects - before.alloc_objects, 10100);
    CHECK_EQ(after.freed_objects - before.freed_objects, 10000);
    ebb_keep_alive(kept);
}
