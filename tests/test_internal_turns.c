/* test_internal_turns.c - clients that ask again and again stop the program so often and no more.
 * Counts stops and compares them with what the time that went by allows: a slow machine allows
 * more. Looks inside. See "Debug server" in docs/design.md. */
#include <ebb/ebb.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/gc/collector.h"
#include "../src/observe/turn.h"
#include "pages.h"
#include "test.h"

/* No stops but those that are asked for. */
static void heap_quiet(void) {
    setenv("EBB_GC", "percent=off,idle=off", 1);
    CHECK(ebb_alloc(100) != NULL);
}

static uint64_t stops_count(void) {
    uint64_t stops;
    ebb__world_stopped_ns(&stops);
    return stops;
}

static _Thread_local page own;

static int guest_ask(const char *target, uint64_t until_ns, bool (*wanted)(void *arg)) {
    ebb_debug_sink sink = page_sink(&own);
    return ebb_debug_ask(
        &(ebb_debug_request){.target = target, .until_ns = until_ns, .wanted = wanted}, &sink);
}

/* --- How often ------------------------------------------------------------------------------ */

static _Atomic(bool) asking;
static _Atomic(uint64_t) answers;

static void *guest_body(void *target) {
    while (asking) {
        CHECK_EQ(guest_ask(target, 0, NULL), 0);
        CHECK_EQ(own.status, 200);
        answers++;
    }
    return NULL;
}

TEST(stops_are_so_many_and_no_more) {
    static const char *const pages[] = {"/debug/ebb/memory", "/debug/ebb/slack", "/debug/ebb/trim",
                                        "/debug/pprof/memory"};
    enum { GUESTS = 10 };
    pthread_t threads[GUESTS];
    heap_quiet();
    uint64_t before = stops_count(), start = ebb__os_now_ns();
    asking = true;
    for (int i = 0; i < GUESTS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, guest_body, (void *)(uintptr_t)pages[i % 4]), 0);
    usleep(1000000);
    asking = false;
    for (int i = 0; i < GUESTS; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    uint64_t stops = stops_count() - before, elapsed = ebb__os_now_ns() - start;
    CHECK_EQ(stops, answers);
    CHECK(stops >= 1);
    CHECK(stops <= 1 + elapsed / TURN_GAP_NS);
}

/* Every page that stops the program, each in its turn: those that collect and count stop it a few
 * times in one. */
TEST(every_page_waits_for_its_turn) {
    static const char *const pages[] = {"/debug/ebb/memory",
                                        "/debug/ebb/memory?outside=1&format=json",
                                        "/debug/ebb/memory?conservative=1",
                                        "/debug/pprof/memory",
                                        "/debug/ebb/slack",
                                        "/debug/ebb/trim",
                                        "/debug/ebb/why",
                                        "/debug/pprof/retainers",
                                        "/debug/heapdump",
                                        "/debug/pprof/heap?gc=1",
                                        "/metrics"};
    heap_quiet();
    static reply holder = {.guest = true};
    CHECK(ebb__turn_begin(&holder));
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
        uint64_t before = stops_count(), cycles = ebb_cycles();
        CHECK_EQ(guest_ask(pages[i], ebb__os_now_ns() + 30000000, NULL), EBB_ESYSTEM);
        if (stops_count() != before || ebb_cycles() != cycles)
            test_fail(__FILE__, __LINE__, "%s did not wait", pages[i]);
    }
    ebb__turn_end(&holder);
}

TEST(pages_that_stop_nobody_do_not_wait) {
    static const char *const pages[] = {"/debug/ebb/", "/debug/ebb/gc", "/debug/ebb/series",
                                        "/metrics?memory=off", "/debug/pprof/heap?debug=1"};
    static reply holder = {.guest = true};
    heap_quiet();
    CHECK(ebb__turn_begin(&holder));
    uint64_t before = stops_count();
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        CHECK_EQ(guest_ask(pages[i], 0, NULL), 0);
    CHECK_EQ(stops_count(), before);
    /* Nor does the program itself. */
    CHECK_EQ(page_get(&own, "/debug/ebb/memory"), 0);
    CHECK_EQ(stops_count(), before + 1);
    ebb__turn_end(&holder);
}

/* --- How long ------------------------------------------------------------------------------- */

static void stop_slowly(const root_set *roots, void *ns) {
    (void)roots;
    uint64_t until = ebb__os_now_ns() + *(uint64_t *)ns;
    while (ebb__os_now_ns() < until) continue;
}

/* Nothing begins before nine times as long has gone by. */
TEST(long_stops_are_seldom) {
    static reply r = {.guest = true};
    heap_quiet();
    for (int i = 0; i < 5; i++) {
        uint64_t ns = 20000000;
        CHECK(ebb__turn_begin(&r));
        uint64_t before = ebb__world_stopped_ns(NULL);
        CHECK_EQ(ebb__with_world_stopped(stop_slowly, &ns), 0);
        uint64_t stood = ebb__world_stopped_ns(NULL) - before, end = ebb__os_now_ns();
        CHECK(stood >= ns);
        ebb__turn_end(&r);
        CHECK(ebb__turn_begin(&r));
        CHECK(ebb__os_now_ns() >= end + (TURN_SHARE - 1) * stood);
        ebb__turn_end(&r);
    }
}

/* A collection that took long without a stop: as long again. */
TEST(work_takes_half_the_time) {
    static reply r = {.guest = true};
    heap_quiet();
    CHECK(ebb__turn_begin(&r));
    uint64_t start = ebb__os_now_ns();
    usleep(100000);
    uint64_t end = ebb__os_now_ns();
    ebb__turn_end(&r);
    CHECK(ebb__turn_begin(&r));
    CHECK(ebb__os_now_ns() - end >= end - start);
    ebb__turn_end(&r);
}

/* --- Who gives up --------------------------------------------------------------------------- */

static _Atomic(int) wanted_asked;

static bool wanted_twice(void *arg) {
    CHECK(arg == &own);
    return ++wanted_asked < 3;
}

TEST(reader_that_goes_while_it_waits) {
    static reply holder = {.guest = true};
    heap_quiet();
    CHECK(ebb__turn_begin(&holder));
    uint64_t before = stops_count();
    CHECK_EQ(guest_ask("/debug/ebb/slack", 0, wanted_twice), EBB_ESYSTEM);
    CHECK_EQ(wanted_asked, 3);
    CHECK_EQ(stops_count(), before);
    ebb__turn_end(&holder);
    CHECK_EQ(guest_ask("/debug/ebb/slack", 0, NULL), 0);
    CHECK_EQ(own.status, 200);
}

/* The thread that has the turn is not in the child. */
TEST(child_takes_the_turn_of_its_parent) {
    static reply holder = {.guest = true};
    int status;
    heap_quiet();
    CHECK(ebb__turn_begin(&holder));
    pid_t child = fork();
    if (child == 0) _exit(guest_ask("/debug/ebb/slack", 0, NULL) == 0 && own.status == 200 ? 7 : 1);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(WEXITSTATUS(status), 7);
    ebb__turn_end(&holder);
}
