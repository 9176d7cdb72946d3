/* test_gc_minor.c - generations, and cycles beside the program: what is young dies in minor cycles,
 * what is old in full ones; whatever way a pointer comes into an old object, it keeps its object;
 * so does each kind of root while the collector runs. See docs/design.md, "Dirty pages", "The
 * cycle".
 *
 * Small heaps are collected in one stop; `beside_the_program` runs all cases where none are. */
#ifndef _GNU_SOURCE
# define _GNU_SOURCE 1 /* dl_iterate_phdr, process_vm_writev */
#endif
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "modes.h"
#include "probe.h"
#include "test.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* What can be told apart: freed and used again it would not be itself. */
typedef struct leaf {
    uint64_t number, check; /* check == ~number */
} leaf;
EBB_TYPE(leaf);

static NOINLINE leaf *leaf_new(uint64_t number) {
    leaf *made = ebb_new(leaf);
    CHECK(made != NULL);
    *made = (leaf){number, ~number};
    return made;
}

static void leaf_check(const leaf *l, uint64_t number) {
    CHECK(l != NULL);
    CHECK_EQ(l->number, number);
    CHECK_EQ(l->check, ~number);
}

/* --- Cycles --------------------------------------------------------------------------------- */

/* So that little growth is no third of the heap. No large object: the threads' own are young. */
static void *ballast[1000];

static uint64_t cycles_full(void) {
    struct ebb_stats s;
    ebb_stats(&s);
    return s.cycles - s.cycles_minor;
}

static bool generations(void) {
    struct ebb_stats s;
    ebb_stats(&s);
    return strcmp(s.dirty, "off") != 0;
}

/* Never touched: takes room in the schedule, and no time. Leaves go with it, so that what was freed
 * wrongly is used again. */
static NOINLINE void cycles_litter(void) {
    CHECK(ebb_alloc_data(256 * KIB) != NULL);
    for (int i = 0; i < 50; i++) leaf_new(~(uint64_t)0);
}

/* Until `count` cycles have begun and ended. */
static NOINLINE void cycles_await(uint64_t count) {
    uint64_t end = ebb_cycles() + count + 1;
    test_clear_stack();
    while (ebb_cycles() < end) cycles_litter();
    test_clear_stack();
}

/* All that is alive is old afterwards. */
static NOINLINE void cycles_start(void) {
    for (size_t i = 0; i < sizeof ballast / sizeof ballast[0]; i++) {
        if (!ballast[i]) ballast[i] = ebb_alloc_data(32000);
        CHECK(ballast[i] != NULL);
    }
    probe_collect();
}

static NOINLINE void probes_make(size_t count, void **keep) {
    for (size_t i = 0; i < count; i++) {
        leaf *l = leaf_new(i);
        probe_add(l);
        if (keep) keep[i] = l;
    }
}

static void *held[1000];

/* --- Who dies when -------------------------------------------------------------------------- */

TEST(young_garbage_dies_in_minor_cycles) {
    struct ebb_stats before, after;
    cycles_start();
    ebb_stats(&before);
    probes_make(1000, NULL);
    cycles_await(2);
    ebb_stats(&after);
    CHECK(probe_living(0, 1000) <= PROBE_STALE);
    if (!generations()) return;
    CHECK(after.cycles_minor >= before.cycles_minor + 3);
    CHECK_EQ(after.cycles - after.cycles_minor, before.cycles - before.cycles_minor);
    CHECK(after.live < before.live + 24 * MIB);
}

TEST(old_garbage_waits_for_a_full_cycle) {
    cycles_start();
    probes_make(1000, held);
    probe_collect();
    memset(held, 0, sizeof held);
    uint64_t full = cycles_full();
    cycles_await(3);
    size_t living = probe_living(0, 1000);
    CHECK(!generations() || cycles_full() != full || living == 1000);
    probe_collect();
    CHECK(probe_living(0, 1000) <= PROBE_STALE);
}

typedef struct piece {
    struct piece *next;
    char room[1000];
} piece;
EBB_TYPE(piece, ptr(next));

static piece *chain;

static NOINLINE void chain_grow(size_t bytes) {
    for (size_t done = 0; done < bytes; done += sizeof(piece)) {
        piece *p = ebb_new(piece);
        CHECK(p != NULL);
        p->next = chain;
        chain = p;
    }
}

/* By growth of what lives; and what is old and dead goes with it. */
TEST(full_cycles_come_by_themselves) {
    struct ebb_stats s;
    cycles_start();
    uint64_t full = cycles_full();
    for (int i = 0; i < 4; i++) chain_grow(32 * MIB);
    CHECK(cycles_full() > full);
    chain = NULL;
    full = cycles_full();
    for (int i = 0; i < 20; i++) {
        chain_grow(16 * MIB);
        chain = NULL;
        test_clear_stack();
    }
    for (int i = 0; i < 40 && cycles_full() == full; i++) chain_grow(16 * MIB);
    CHECK(cycles_full() > full);
    ebb_stats(&s);
    CHECK(s.live < 32 * MIB + 40 * 16 * MIB);
}

/* Objects that live for a cycle and die old: minor cycles free little of them. */
static void *litter_thread(void *end) {
    while (ebb_cycles() < *(const uint64_t *)end) {
        void **array = ebb_new_array(void *, 8 * MIB / sizeof(void *));
        CHECK(array != NULL);
        array[0] = ballast[0];
        ebb_keep_alive(array);
    }
    return NULL;
}

/* Arrays die within a moment, and the next ones lie where they lay. Stale words on stacks, which
 * are looked at twice a cycle, must not make them old, nor cycles that came early and found little
 * be followed by full ones. A thread that does not run between two cycles keeps one, rightly. */
TEST(arrays_of_a_moment_do_not_become_old) {
    enum { CYCLES = 60 };
    struct ebb_stats before, after;
    pthread_t threads[2];
    if (!generations()) SKIP("cycles are full where nobody tells of writes");
    for (size_t i = 0; i < 1000; i++) ballast[i] = ebb_alloc_data(2 * MIB);
    CHECK_EQ(ebb_collect(), 0);
    ebb_stats(&before);
    uint64_t end = before.cycles + CYCLES;
    for (int i = 0; i < 2; i++) CHECK_EQ(pthread_create(&threads[i], NULL, litter_thread, &end), 0);
    for (int i = 0; i < 2; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    ebb_stats(&after);
    CHECK(after.cycles >= end);
    CHECK_EQ(after.cycles - after.cycles_minor, before.cycles - before.cycles_minor);
    CHECK(after.marked_live <= before.marked_live + CYCLES / 3 * 8 * MIB);
}

TEST(full_cycles_come_when_minor_ones_do_not_pay) {
    enum { ROUND = 20000 };
    struct ebb_stats s;
    static void **round;
    cycles_start();
    round = ebb_new_array(void *, ROUND);
    uint64_t full = cycles_full();
    for (size_t i = 0; i < 30 * (size_t)ROUND; i++) round[i % ROUND] = ebb_alloc(1000);
    CHECK(cycles_full() > full);
    ebb_stats(&s);
    CHECK(s.heap_used < 320 * MIB);
}

/* One object in eight stays, so that what stays is on every page. */
static NOINLINE void scattered_make(void **kept, size_t count) {
    for (size_t i = 0; i < 8 * count; i++) {
        void **object = ebb_alloc(64);
        CHECK(object != NULL);
        if (i % 8 == 0) kept[i / 8] = object;
    }
}

/* New objects come into the holes beside old ones: each cycle finds all pages written. */
TEST(full_cycles_come_where_all_is_written) {
    enum { KEPT = 20000, CYCLES = 40 };
    static void *scattered[KEPT];
    struct ebb_stats before, after;
    scattered_make(scattered, KEPT);
    probe_collect();
    ebb_stats(&before);
    while (ebb_cycles() < before.cycles + CYCLES) CHECK(ebb_alloc(64) != NULL);
    ebb_stats(&after);
    if (strcmp(after.dirty, "kernel") == 0)
        CHECK(after.cycles_minor - before.cycles_minor < CYCLES / 2);
    cycles_start(); /* what was written is little beside what lives now */
    cycles_await(16);
    ebb_stats(&before);
    cycles_await(CYCLES);
    ebb_stats(&after);
    if (generations()) CHECK(after.cycles_minor - before.cycles_minor > CYCLES / 2);
}

/* --- Stores into old objects ------------------------------------------------------------------ */

enum store { BY_STORE, BY_MEMCPY, BY_ATOMIC, BY_READ, BY_RECV, BY_WRITEV, STORES };

static int store_pipe[2], store_socket[2];

static void store_start(void) {
    CHECK_EQ(pipe(store_pipe), 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, store_socket), 0);
}

/* Where process_vm_writev is not allowed, the word is copied. */
static void store_writev(void **at, void *word) {
    struct iovec from = {&word, sizeof word}, to = {at, sizeof word};
    if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) < 0) memcpy(at, &word, sizeof word);
}

static NOINLINE void store_word(enum store how, void **at, void *word) {
    ssize_t size = sizeof word;
    switch (how) {
    case BY_STORE:
        *(void *volatile *)at = word;
        break;
    case BY_MEMCPY:
        memcpy(at, &word, sizeof word);
        break;
    case BY_ATOMIC:
        CHECK(__atomic_exchange_n(at, word, __ATOMIC_SEQ_CST) != word);
        break;
    case BY_READ:
        CHECK_EQ(write(store_pipe[1], &word, sizeof word), size);
        CHECK_EQ(read(store_pipe[0], at, sizeof word), size);
        break;
    case BY_RECV:
        CHECK_EQ(send(store_socket[1], &word, sizeof word, 0), size);
        CHECK_EQ(recv(store_socket[0], at, sizeof word, 0), size);
        break;
    default:
        store_writev(at, word);
    }
    CHECK(*at == word);
}

typedef struct pair {
    uint64_t other;
    void *kept;
    uint64_t more;
} pair;
EBB_TYPE(pair, ptr(kept));

/* A field of an old object, and what was stored there: 0 is nothing. */
typedef struct place {
    void **at;
    uint64_t number;
} place;

enum { SMALL = 500, LARGE_WORDS = 40960, LARGE_PAIRS = 10000 };

static void *smalls[SMALL], **large_untyped;
static pair *pairs[SMALL], *large_pairs;
static leaf **large_typed;
static place places[2 * SMALL + 3 * 128];
static size_t place_count;

static void place_add(void *at) {
    CHECK(place_count < sizeof places / sizeof places[0]);
    places[place_count++] = (place){at, 0};
}

/* Small objects of both kinds, and a word in each page of large ones of three. */
static NOINLINE void places_make(void) {
    large_untyped = ebb_alloc(LARGE_WORDS * sizeof(void *));
    large_typed = ebb_new_array(leaf *, LARGE_WORDS);
    large_pairs = ebb_new_array(pair, LARGE_PAIRS);
    for (size_t i = 0; i < SMALL; i++) {
        smalls[i] = ebb_alloc(64);
        pairs[i] = ebb_new(pair);
        place_add((void **)smalls[i] + i % 8);
        place_add(&pairs[i]->kept);
    }
    for (size_t i = 0; i < LARGE_WORDS; i += 512) {
        place_add(&large_untyped[i + 100]);
        place_add(&large_typed[i + 200]);
    }
    for (size_t i = 0; i < LARGE_PAIRS; i += 170) place_add(&large_pairs[i].kept);
}

/* The new leaf is referred to from there only. */
static NOINLINE void place_change(place *p, uint64_t *state) {
    p->number = test_random(state) | 1;
    store_word((enum store)test_random_below(state, STORES), p->at, leaf_new(p->number));
}

static NOINLINE void places_check(void) {
    for (size_t i = 0; i < place_count; i++)
        if (places[i].number) leaf_check(*places[i].at, places[i].number);
}

TEST(old_objects_that_change_keep_what_is_young) {
    uint64_t state = test_seed();
    store_start();
    cycles_start();
    places_make();
    probe_collect();
    for (int round = 0; round < 12; round++) {
        size_t changes = round % 3 ? 50 : place_count;
        for (size_t i = 0; i < changes; i++)
            place_change(
                &places[changes == place_count ? i : test_random_below(&state, place_count)],
                &state);
        cycles_await(1 + (uint64_t)round % 2);
        places_check();
        if (round % 4 == 3) probe_collect();
    }
    places_check();
}

/* The same while cycles go on all the time. */
TEST(old_objects_change_amid_cycles) {
    uint64_t state = test_seed();
    store_start();
    cycles_start();
    places_make();
    probe_collect();
    uint64_t end = ebb_cycles() + 40;
    while (ebb_cycles() < end) {
        for (int i = 0; i < 10; i++)
            place_change(&places[test_random_below(&state, place_count)], &state);
        cycles_litter();
        if (test_random_below(&state, 10) == 0) places_check();
    }
    places_check();
}

/* A young object that refers to others is as good as any; so is what is cleared by memset. */
TEST(old_objects_that_forget_keep_nothing) {
    cycles_start();
    large_typed = ebb_new_array(leaf *, 1000);
    probe_collect();
    probes_make(1000, (void **)large_typed);
    cycles_await(1);
    CHECK_EQ(probe_living(0, 1000), 1000);
    memset(large_typed, 0, 1000 * sizeof *large_typed);
    probe_collect();
    CHECK(probe_living(0, 1000) <= PROBE_STALE);
}

/* --- Arrays that change their size ------------------------------------------------------------ */

static NOINLINE void array_fill(leaf **array, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) array[i] = leaf_new(i);
}

static NOINLINE void array_check(leaf *const *array, size_t count) {
    for (size_t i = 0; i < count; i++) leaf_check(array[i], i);
}

/* In place where there is room behind: what is added to an old array counts as the rest of it. */
static void array_try(bool typed) {
    enum { FIRST = 8192, STEP = 4096, MOST = 120000 };
    static leaf **array;
    cycles_start();
    array = typed ? ebb_new_array(leaf *, FIRST) : ebb_alloc(FIRST * sizeof *array);
    array_fill(array, 0, FIRST);
    probe_collect();
    for (size_t count = FIRST; count < MOST; count += STEP) {
        array = ebb_resize(array, (count + STEP) * sizeof *array);
        CHECK(array != NULL);
        for (size_t i = count; i < count + STEP; i++) CHECK(array[i] == NULL);
        if (count / STEP % 2) cycles_await(1);
        array_fill(array, count, count + STEP);
        cycles_await(1);
        array_check(array, count + STEP);
    }
    for (size_t count = MOST; count > 6 * STEP; count -= 5 * STEP) {
        leaf **shorter = ebb_resize(array, count * sizeof *array);
        CHECK(shorter != NULL);
        array = shorter;
        cycles_await(1);
        array_check(array, count);
    }
}

TEST(untyped_arrays_grow_and_shrink_amid_cycles) {
    array_try(false);
}

TEST(typed_arrays_grow_and_shrink_amid_cycles) {
    array_try(true);
}

/* --- Weak references and finalizers ----------------------------------------------------------- */

typedef struct watcher {
    leaf *weak;
} watcher;
EBB_TYPE(watcher, weak(weak));

static NOINLINE void watchers_aim(watcher *const *watchers, leaf **keep, size_t count) {
    for (size_t i = 0; i < count; i++) {
        leaf *l = leaf_new(i);
        watchers[i]->weak = l;
        if (i % 2) keep[i] = l;
    }
}

static NOINLINE size_t watchers_seeing(watcher *const *watchers, size_t count, size_t rest) {
    size_t seeing = 0;
    for (size_t i = 0; i < count; i++) seeing += i % 2 == rest && watchers[i]->weak != NULL;
    return seeing;
}

TEST(weak_references_across_generations) {
    enum { COUNT = 400 };
    static watcher *watchers[COUNT];
    static leaf *keep[COUNT];
    cycles_start();
    for (size_t i = 0; i < COUNT; i++) watchers[i] = ebb_new(watcher);
    probe_collect();
    watchers_aim(watchers, keep, COUNT); /* old ones at young objects */
    cycles_await(1);
    CHECK_EQ(watchers_seeing(watchers, COUNT, 1), COUNT / 2);
    CHECK(watchers_seeing(watchers, COUNT, 0) <= PROBE_STALE);
    for (size_t i = 1; i < COUNT; i += 2) {
        watchers[i - 1] = ebb_new(watcher); /* young ones at old objects */
        watchers[i - 1]->weak = keep[i];
    }
    cycles_await(1);
    CHECK_EQ(watchers_seeing(watchers, COUNT, 0), COUNT / 2);
    for (size_t i = 1; i < COUNT; i += 2) leaf_check(watchers[i - 1]->weak, i);
    memset(keep, 0, sizeof keep);
    probe_collect();
    CHECK(watchers_seeing(watchers, COUNT, 0) + watchers_seeing(watchers, COUNT, 1) <=
          2 * PROBE_STALE);
}

static _Atomic(size_t) final_count, final_wrong;
static size_t final_last[1000]; /* the generation of a family that was last finalized */

typedef struct member {
    struct member *next;
    size_t family, generation; /* generation 0 refers to 1, and so on */
} member;
EBB_TYPE(member, ptr(next));

static void member_final(void *object, void *arg) {
    const member *m = object;
    (void)arg;
    if (m->generation != final_last[m->family]) atomic_fetch_add(&final_wrong, 1);
    final_last[m->family] = m->generation + 1;
    if (m->next && m->next->family != m->family) atomic_fetch_add(&final_wrong, 1);
    atomic_fetch_add(&final_count, 1);
}

static NOINLINE member *family_make(size_t family) {
    member *first = NULL;
    for (size_t generation = 3; generation-- > 0;) {
        member *m = ebb_new(member);
        *m = (member){first, family, generation};
        CHECK_EQ(ebb_finalizer_set(m, member_final, NULL), 0);
        first = m;
    }
    return first;
}

static NOINLINE void finals_await(size_t least) {
    for (int i = 0; i < 20 && atomic_load(&final_count) < least; i++) {
        cycles_await(1);
        ebb_finalizers_run();
    }
}

TEST(finalizers_of_young_objects_run_after_minor_cycles) {
    enum { COUNT = 100 };
    cycles_start();
    uint64_t full = cycles_full();
    for (size_t i = 0; i < COUNT; i++) family_make(i);
    finals_await(COUNT - PROBE_STALE);
    CHECK(atomic_load(&final_count) >= COUNT - PROBE_STALE);
    CHECK(!generations() || cycles_full() == full);
    for (int i = 0; i < 3; i++) {
        probe_collect(); /* what the first ones referred to is old now */
        ebb_finalizers_run();
    }
    CHECK(atomic_load(&final_count) >= 3 * COUNT - 3 * PROBE_STALE);
    CHECK_EQ(atomic_load(&final_wrong), 0);
}

TEST(finalizers_of_old_objects_run_after_full_cycles) {
    enum { COUNT = 100 };
    static member *families[COUNT];
    cycles_start();
    for (size_t i = 0; i < COUNT; i++) families[i] = family_make(i);
    probe_collect();
    memset(families, 0, sizeof families);
    uint64_t full = cycles_full();
    cycles_await(2);
    ebb_finalizers_run();
    CHECK(!generations() || cycles_full() != full || atomic_load(&final_count) == 0);
    for (int i = 0; i < 3; i++) {
        probe_collect();
        ebb_finalizers_run();
    }
    CHECK(atomic_load(&final_count) >= 3 * COUNT - 3 * PROBE_STALE);
    CHECK_EQ(atomic_load(&final_wrong), 0);
}

/* --- Releasing by hand, holes ----------------------------------------------------------------- */

static atomic_bool churn_end;

/* Makes cycles all the time. */
static void *churn_body(void *arg) {
    (void)arg;
    while (!atomic_load(&churn_end)) cycles_litter();
    return NULL;
}

static void churn_start(pthread_t *thread) {
    atomic_store(&churn_end, false);
    CHECK_EQ(pthread_create(thread, NULL, churn_body, NULL), 0);
}

static void churn_stop(pthread_t thread) {
    atomic_store(&churn_end, true);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static NOINLINE uint64_t *block_make(uint64_t *state) {
    size_t words = 2 + test_random_below(state, test_random_below(state, 8) ? 30 : 20000);
    uint64_t *block =
        test_random_below(state, 2) ? ebb_alloc(8 * words) : ebb_alloc_data(8 * words);
    CHECK(block != NULL);
    CHECK_EQ(block[0] | block[words - 1], 0);
    block[0] = words;
    block[words - 1] = ~(uint64_t)words;
    return block;
}

static void block_check(const uint64_t *block) {
    CHECK_EQ(block[block[0] - 1], ~block[0]);
}

TEST(releasing_amid_cycles) {
    static uint64_t *blocks[1000];
    pthread_t churn;
    uint64_t state = test_seed();
    cycles_start();
    churn_start(&churn);
    uint64_t end = ebb_cycles() + 40;
    for (size_t n = 0; n < 20000 || ebb_cycles() < end; n++) {
        uint64_t **at = &blocks[test_random_below(&state, 1000)];
        if (*at) block_check(*at);
        if (*at && test_random_below(&state, 4)) CHECK_EQ(ebb_free(*at), 0);
        *at = block_make(&state);
    }
    churn_stop(churn);
    for (size_t i = 0; i < 1000; i++)
        if (blocks[i]) block_check(blocks[i]);
}

static NOINLINE void holes_fill(void **all, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!all[i]) all[i] = ebb_alloc(200);
}

/* Beside what is old, too: after a full cycle. */
TEST(holes_are_used_after_full_cycles) {
    enum { COUNT = 100000 };
    static void *all[COUNT];
    struct ebb_stats before, after;
    cycles_start();
    holes_fill(all, COUNT);
    probe_collect();
    ebb_stats(&before);
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < COUNT; i++)
            if (i % 3) all[i] = NULL;
        probe_collect();
        holes_fill(all, COUNT);
    }
    ebb_stats(&after);
    CHECK(after.heap_used < before.heap_used + 4 * MIB);
}

/* After a minor cycle beside what survived, where that is little: or what a few keep would pile up
 * to the next full one. The bulk is more than a busy machine finds written, or cycles were full. */
TEST(holes_are_used_after_minor_cycles) {
    enum { COUNT = 1 << 20, STEP = 128, BULK = 64 * MIB };
    static void *all[COUNT / STEP], *bulk;
    struct ebb_stats s;
    if (!generations()) SKIP("cycles are full where nobody tells of writes");
    bulk = ebb_alloc_data(BULK);
    ebb_set_gc_percent(10);
    ebb_set_gc_room(8 * MIB);
    probe_collect();
    for (size_t i = 0; i < COUNT; i++) {
        void *made = ebb_alloc(200);
        CHECK(made != NULL);
        if (i % STEP == 0) all[i / STEP] = made;
        ebb_keep_alive(all);
    }
    ebb_stats(&s);
    CHECK(bulk != NULL && s.cycles_minor >= 4);
    CHECK(s.heap_used < BULK + 24 * MIB);
}

/* --- Only what changed is looked at ------------------------------------------------------------
 */

TEST(large_arrays_barely_changed) {
    enum { WORDS = 4 << 20 };
    static void **array;
    if (!modes_have("gctrace=1"))
        SKIP("runs inside large_objects_are_looked_at_where_they_changed");
    cycles_start();
    array = ebb_alloc(WORDS * sizeof(void *));
    for (size_t i = 0; i < WORDS; i += 512) array[i] = array;
    probe_collect();
    cycles_await(2);
    fprintf(stderr, "begin\n");
    uint64_t full = cycles_full();
    for (size_t i = 0; i < 10; i++) array[i * 300000] = leaf_new(i);
    cycles_await(2);
    if (cycles_full() == full) fprintf(stderr, "end\n");
    for (size_t i = 0; i < 10; i++) leaf_check(array[i * 300000], i);
}

/* 8192 pages, of which ten were written. */
TEST(large_objects_are_looked_at_where_they_changed) {
    static modes_result run;
    CHECK_EQ(modes_run(&run, "large_arrays_barely_changed", "gctrace=1", getenv("EBB_GC")), 0);
    char *line = strstr(run.text, "begin\n"), *end = strstr(run.text, "\nend\n");
    if (!line || !end || !strstr(run.text, "pages=kernel")) SKIP("nobody tells of written pages");
    size_t lines = 0;
    while ((line = strstr(line, " dirty=")) && line < end) {
        unsigned long pages = strtoul(line + 7, &line, 10);
        if (pages > 1000) test_fail(__FILE__, __LINE__, "%lu pages looked at", pages);
        lines++;
    }
    CHECK(lines >= 2);
}

/* --- Roots amid cycles -------------------------------------------------------------------------
 */

static NOINLINE uint64_t deep(uint64_t number, size_t depth) {
    leaf *volatile mine = leaf_new(number + depth);
    uint64_t sum = depth ? deep(number, depth - 1) : 0;
    leaf_check(mine, number + depth);
    return sum + mine->number;
}

static NOINLINE void root_deep(uint64_t number) {
    deep(number, 3000);
}

/* In a register for a while, and nowhere else. */
static NOINLINE void root_register(uint64_t number) {
    leaf *l = leaf_new(number);
    for (int i = 0; i < 20000; i++) __asm__ volatile("" : "+r"(l));
    leaf_check(l, number);
}

static _Thread_local leaf *root_own[100];

static NOINLINE void root_thread(uint64_t number) {
    for (uint64_t i = 0; i < 100; i++) root_own[i] = leaf_new(number + i);
    for (int i = 0; i < 20; i++) cycles_litter();
    for (uint64_t i = 0; i < 100; i++) leaf_check(root_own[i], number + i);
}

static leaf *root_shared[4][100];
static _Atomic(size_t) root_next;

static NOINLINE void root_static(uint64_t number) {
    leaf **mine = root_shared[atomic_fetch_add(&root_next, 1) % 4];
    for (uint64_t i = 0; i < 100; i++) mine[i] = leaf_new(number + i);
    for (int i = 0; i < 20; i++) cycles_litter();
    for (uint64_t i = 0; i < 100; i++) leaf_check(mine[i], number + i);
}

static NOINLINE void root_added(uint64_t number) {
    leaf **mine = malloc(100 * sizeof *mine);
    CHECK(mine != NULL);
    memset(mine, 0, 100 * sizeof *mine);
    CHECK_EQ(ebb_root_add(mine, 100 * sizeof *mine), 0);
    for (uint64_t i = 0; i < 100; i++) mine[i] = leaf_new(number + i);
    for (int i = 0; i < 20; i++) cycles_litter();
    for (uint64_t i = 0; i < 100; i++) leaf_check(mine[i], number + i);
    CHECK_EQ(ebb_root_remove(mine), 0);
    free(mine);
}

/* From place to place: loaded into a register, cleared where it was, stored elsewhere. */
static NOINLINE void root_moving(uint64_t number) {
    leaf **a = ebb_new_array(leaf *, 64), **b = ebb_new_array(leaf *, 64);
    for (uint64_t i = 0; i < 64; i++) a[i] = leaf_new(number + i);
    for (int round = 0; round < 200; round++) {
        for (size_t i = 0; i < 64; i++) {
            leaf *l = a[i];
            a[i] = NULL;
            __asm__ volatile("" : "+r"(l) : : "memory");
            b[63 - i] = l;
        }
        leaf **other = a;
        a = b;
        b = other;
        if (round % 10 == 0) leaf_new((uint64_t)round);
    }
    for (uint64_t i = 0; i < 64; i++) leaf_check(a[i], number + i);
}

typedef void (*root_kind)(uint64_t number);
static const root_kind root_kinds[] = {root_deep,   root_register, root_thread,
                                       root_static, root_added,    root_moving};
static _Atomic(uint64_t) root_end;

static void *root_body(void *kind) {
    root_kind run = root_kinds[(uintptr_t)kind];
    for (uint64_t number = 1; ebb_cycles() < atomic_load(&root_end); number += 1000) run(number);
    return NULL;
}

/* All kinds at once; one thread each, for root_static uses an array for each call. */
TEST(roots_of_every_kind_amid_cycles) {
    enum { KINDS = sizeof root_kinds / sizeof root_kinds[0] };
    pthread_t threads[KINDS], churn;
    cycles_start();
    atomic_store(&root_end, ebb_cycles() + 60 * test_scale());
    churn_start(&churn);
    for (uintptr_t i = 0; i < KINDS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, root_body, (void *)i), 0);
    for (size_t i = 0; i < KINDS; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    churn_stop(churn);
}

/* --- The loader's lock ---------------------------------------------------------------------------
 */

static int in_loader_allocates(struct dl_phdr_info *info, size_t size, void *cycles) {
    (void)info, (void)size;
    uint64_t end = ebb_cycles() + *(uint64_t *)cycles;
    while (ebb_cycles() < end) cycles_litter();
    return 1;
}

static int in_loader_collects(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)info, (void)size, (void)unused;
    CHECK_EQ(ebb_collect(), 0);
    return 1;
}

static _Atomic(uint64_t) loader_end;

static void *loader_body(void *unused) {
    (void)unused;
    uint64_t cycles = 3;
    while (ebb_cycles() < atomic_load(&loader_end)) {
        dl_iterate_phdr(in_loader_allocates, &cycles);
        dl_iterate_phdr(in_loader_collects, NULL);
    }
    return NULL;
}

static void *plugin_body(void *unused) {
    (void)unused;
    while (ebb_cycles() < atomic_load(&loader_end)) {
        void *plugin = dlopen(EBB_TEST_PLUGINS "/twin.so", RTLD_NOW); /* allocates, collects */
        CHECK(plugin != NULL);
        CHECK_EQ(dlclose(plugin), 0);
    }
    return NULL;
}

/* One that holds the loader's lock reaches the goal, or asks for a collection, while others do,
 * while cycles are under way, while modules come and go. */
TEST(the_loaders_lock_is_held) {
    pthread_t threads[4], churn;
    static leaf *keep;
    keep = leaf_new(7);
    cycles_start();
    cycles_await(
        2); /* the collector's own threads are there: to make one takes the loader's lock */
    atomic_store(&loader_end, ebb_cycles() + 60);
    churn_start(&churn);
    CHECK_EQ(pthread_create(&threads[0], NULL, loader_body, NULL), 0);
    CHECK_EQ(pthread_create(&threads[1], NULL, loader_body, NULL), 0);
    CHECK_EQ(pthread_create(&threads[2], NULL, plugin_body, NULL), 0);
    CHECK_EQ(pthread_create(&threads[3], NULL, plugin_body, NULL), 0);
    for (size_t i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    churn_stop(churn);
    leaf_check(keep, 7);
}

/* --- In other modes ------------------------------------------------------------------------------
 */

static const char *const beside_cases[] = {
    "young_garbage_dies_in_minor_cycles",
    "old_garbage_waits_for_a_full_cycle",
    "old_objects_that_change_keep_what_is_young",
    "old_objects_change_amid_cycles",
    "untyped_arrays_grow_and_shrink_amid_cycles",
    "typed_arrays_grow_and_shrink_amid_cycles",
    "weak_references_across_generations",
    "finalizers_of_young_objects_run_after_minor_cycles",
    "finalizers_of_old_objects_run_after_full_cycles",
    "releasing_amid_cycles",
    "roots_of_every_kind_amid_cycles",
    "the_loaders_lock_is_held",
};

TEST(beside_the_program) {
    for (size_t i = 0; i < sizeof beside_cases / sizeof beside_cases[0]; i++)
        MODES_PASS(beside_cases[i], NULL, "pause=0");
}

TEST(beside_the_program_with_all_pages_written) {
    for (size_t i = 2; i < 8; i++) MODES_PASS(beside_cases[i], NULL, "pause=0,dirty=all");
}
