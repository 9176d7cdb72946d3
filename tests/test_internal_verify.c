/* test_internal_verify.c - do the second trace and the oracle find what they are there for? A write
 * is hidden from the collector: the page is armed again by hand before anybody looks. What was
 * stored by it is then lost in a minor cycle, and must be missed. docs/testing.md, "The second
 * trace". */
#include <ebb/gc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/gc/collector.h"
#include "../src/os/dirty.h"
#include "test.h"

enum { HOLDER_WORDS = 1 << 17, LOST = 500, STRIDE = 64 };

static void **holder; /* static storage keeps it; large, so armed when it is marked */

static void begin(const char *debug, const char *gc) {
    setenv("EBB_DEBUG", debug, 1);
    setenv("EBB_GC", gc, 1);
    holder = ebb_alloc(HOLDER_WORDS * sizeof *holder);
    CHECK(holder != NULL);
    for (size_t i = 0; i < HOLDER_WORDS; i += 100) holder[i] = &holder[i];
    CHECK_EQ(ebb_collect(), 0);
}

NOINLINE static void store(void) {
    for (size_t i = 0; i < LOST; i++) CHECK((holder[i * STRIDE] = ebb_alloc(40)) != NULL);
}

static void hide(void) {
    uintptr_t start = (uintptr_t)holder, end = start + HOLDER_WORDS * sizeof *holder;
    CHECK_EQ(ebb__os_dirty_arm(round_down(start, ebb__os_page_size()),
                               round_up(end, ebb__os_page_size())),
             0);
}

static void minor(void) {
    test_clear_stack();
    CHECK_EQ(ebb__collect(CAUSE_FORCED, false), 0);
}

/* Tried in a child, so that this process may choose its modes yet. */
static void need_kernel(void) {
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        const char *why;
        begin("", "pause=0");
        _exit(ebb__dirty_mode(&why) == DIRTY_KERNEL ? 0 : 1);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    if (status != 0) SKIP("the system does not tell which pages were written");
}

static void lose(const char *debug, const char *gc) {
    begin(debug, gc);
    store();
    hide();
    minor();
}

TEST(a_lost_object_is_missed) {
    need_kernel();
    DIES("ebb: checkmark: cycle 2, minor, beside the program") {
        lose("checkmark=1", "pause=0");
    }
    DIES("its page was not reported as written") {
        lose("checkmark=1", "pause=0");
    }
}

TEST(a_write_that_is_not_reported_is_found) {
    need_kernel();
    DIES("ebb: oracle: cycle 2, the last look") {
        lose("oracle=1", "pause=0");
    }
}

TEST(neither_complains_of_what_was_reported) {
    begin("checkmark=1,oracle=1,verify=1", "pause=0");
    for (uint64_t i = 0; i < 20; i++) {
        store();
        minor();
        CHECK_EQ(ebb__checkmark_cycles, 2 * i + 2);
        CHECK_EQ(ebb_collect(), 0);
        CHECK_EQ(ebb__checkmark_cycles, 2 * i + 3);
    }
}

TEST(cycles_in_one_stop_are_verified_too) {
    begin("checkmark=1,oracle=1", "pause=10000");
    for (uint64_t i = 0; i < 20; i++) {
        store();
        minor();
        CHECK(!ebb__cycle.last.beside);
        CHECK_EQ(ebb_collect(), 0);
        CHECK(!ebb__cycle.last.beside);
        CHECK_EQ(ebb__checkmark_cycles, 2 * i + 3);
    }
}

/* --- A cycle that could not stop the world -----------------------------------------------------
 */

static _Atomic(uint32_t) blocked_turn; /* 1: signals are blocked; 2: it may end */

static void *blocked_body(void *arg) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    atomic_store(&blocked_turn, 1);
    while (atomic_load(&blocked_turn) != 2) usleep(1000);
    return arg;
}

/* It had listed what was written, and had it noted anew, when it had to be given up: that list is
 * gone, and the next cycle must not trust that the rest is all. */
TEST(a_cycle_that_is_given_up_loses_nothing) {
    pthread_t thread;
    begin("checkmark=1,oracle=1", "pause=0");
    store();
    CHECK_EQ(pthread_create(&thread, NULL, blocked_body, NULL), 0);
    while (atomic_load(&blocked_turn) != 1) usleep(1000);
    test_clear_stack();
    CHECK_EQ(ebb__collect(CAUSE_FORCED, false), EBB_EBUSY);
    atomic_store(&blocked_turn, 2);
    pthread_join(thread, NULL);
    minor();
    for (size_t i = 0; i < LOST; i++) CHECK_EQ(ebb_base_of(holder[i * STRIDE]), holder[i * STRIDE]);
    minor();
    CHECK_EQ(ebb__checkmark_cycles, 3);
}

/* What the second trace takes goes back, so the limit and the statistics know nothing of it. */
TEST(the_second_trace_gives_its_memory_back) {
    begin("checkmark=1", "pause=0");
    for (int i = 0; i < 3; i++) CHECK_EQ(ebb_collect(), 0);
    while (!__atomic_load_n(&ebb__threads->next, __ATOMIC_ACQUIRE)) usleep(1000);
    /* The background thread has its record, which is metadata too. */
    size_t before = atomic_load(&ebb__os_mapped[OS_METADATA]);
    for (int i = 0; i < 30; i++) CHECK_EQ(ebb_collect(), 0);
    CHECK_EQ(atomic_load(&ebb__os_mapped[OS_METADATA]), before);
}

static void finalizer_nothing(void *object, void *arg) {
    (void)object, (void)arg;
}

NOINLINE static void finalizers_set(void) {
    for (int i = 0; i < 200; i++) {
        void **object = ebb_alloc(48);
        object[1] = ebb_alloc(40);
        CHECK_EQ(ebb_finalizer_set(object, finalizer_nothing, ebb_alloc(24)), 0);
    }
}

TEST(what_finalizers_keep_is_reached) {
    begin("checkmark=1", "pause=0");
    for (int i = 0; i < 10; i++) {
        finalizers_set();
        minor();
        finalizers_set();
        CHECK_EQ(ebb_collect(), 0);
    }
    CHECK(ebb__checkmark_cycles >= 21);
}

/* --- Large objects in the lists of what is armed ------------------------------------------------
 */

NOINLINE static void store_at(void **at) {
    CHECK((*at = ebb_alloc(40)) != NULL);
}

/* More than the list of ranges should hold, side by side: they are joined there. */
TEST(many_large_objects_are_looked_at) {
    enum { MANY = 3000, BYTES = 40 * 1024, EACH = BYTES / sizeof(void *) };
    begin("checkmark=1,oracle=1", "pause=0");
    void **many = holder;
    for (size_t i = 0; i < MANY; i++) CHECK((many[i] = ebb_alloc(BYTES)) != NULL);
    CHECK_EQ(ebb_collect(), 0);
    for (size_t round = 0; round < 6; round++) {
        for (size_t i = round; i < MANY; i += 7) store_at((void **)many[i] + EACH - 1 - round);
        for (size_t i = round; i < MANY; i += 50) many[i] = NULL; /* gaps, after a full one */
        if (round == 3) CHECK_EQ(ebb_collect(), 0);
        for (size_t i = round; i < MANY; i += 50) CHECK((many[i] = ebb_alloc(BYTES)) != NULL);
        minor();
    }
}

/* Found to survive in a stop, so armed by the next look; then it is made longer where it is. */
TEST(a_large_object_grows_after_it_was_armed) {
    enum { BYTES = 40 * 1024, LONGER = 400 * 1024 };
    begin("checkmark=1,oracle=1", "pause=0");
    void *behind = NULL;
    for (int i = 0; i < 100 && !behind; i++) {
        CHECK((holder[0] = ebb_alloc(BYTES)) != NULL);
        void *next = ebb_alloc(LONGER);
        size_t apart = (size_t)((char *)next - (char *)holder[0]);
        if (apart > BYTES && apart <= BYTES + PAGE) behind = next;
    }
    CHECK(behind != NULL);
    CHECK_EQ(ebb__collect(CAUSE_STRESS, true), 0);
    minor();
    CHECK_EQ(ebb_free(behind), 0);
    CHECK(ebb_resize(holder[0], LONGER - BYTES) == holder[0]);
    store_at((void **)holder[0] + (LONGER - BYTES) / sizeof(void *) - 1);
    minor();
}

/* --- Marks that come late ------------------------------------------------------------------------
 */

/* A marker finds an object, it is released, the mark is set: none of what comes to lie there next
 * may be born with it. */
TEST(a_mark_on_a_released_object_goes_with_its_span) {
    enum { BYTES = 3000, COUNT = 200 };
    uint32_t index;
    size_t freed = 0;
    begin("verify=1,checkmark=1", "pause=0");
    for (size_t i = 0; i < COUNT; i++) CHECK((holder[i] = ebb_alloc(BYTES)) != NULL);
    CHECK_EQ(ebb_collect(), 0);
    uintptr_t first = (uintptr_t)holder[COUNT / 2];
    span *s = ebb__span_at(first);
    CHECK(s != NULL && !s->owned && span_find(s, first, &index));
    _Atomic(uint64_t) *mark = &span_mark_bits(s)[index / 64];
    for (size_t i = 0; i < COUNT; i++) {
        if (ebb__span_at((uintptr_t)holder[i]) != s || (uintptr_t)holder[i] == first) continue;
        if (freed++ == 0) {
            CHECK_EQ(ebb_free((void *)first), 0);
            atomic_fetch_or(mark, (uint64_t)1 << (index % 64));
        }
        CHECK_EQ(ebb_free(holder[i]), 0);
    }
    CHECK(freed > 0 && !ebb__span_at(first));
    CHECK_EQ(atomic_load(mark), 0);
    memset(holder, 0, COUNT * sizeof *holder);
    minor();
}
