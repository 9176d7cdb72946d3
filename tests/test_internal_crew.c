/* test_internal_crew.c - jobs that several threads do: each piece is done once, by as many as may,
 * and when a job has been run nobody is at it any more, nor begins. Looks inside. See
 * docs/design.md, "Marking". */
#include "test.h"

#include <pthread.h>

#include "../src/all.c"

enum { PIECES = 500, JOBS = 3000, THREADS = 4 };

static _Atomic(uint32_t) done[PIECES], pieces, inside, inside_most, begun;
static _Atomic(bool) open_now;

static void crew_make(void) {
    setenv("EBB_GC", "markers=4", 1);
    CHECK(ebb_alloc(64) != NULL);
    ebb__crew_start();
    CHECK_EQ(ebb__crew_size(0), THREADS);
}

static void job(bool giver) {
    CHECK(atomic_load(&open_now));
    uint32_t now = atomic_fetch_add(&inside, 1) + 1, most = atomic_load(&inside_most);
    atomic_fetch_add(&begun, 1);
    while (now > most && !atomic_compare_exchange_weak(&inside_most, &most, now)) continue;
    for (uint32_t i; (i = ebb__crew_take()) < atomic_load(&pieces);) atomic_fetch_add(&done[i], 1);
    atomic_fetch_sub(&inside, 1);
    (void)giver;
}

static void job_run(uint32_t count, unsigned most) {
    memset(done, 0, sizeof done);
    atomic_store(&pieces, count);
    atomic_store(&open_now, true);
    ebb__crew_run(job, most);
    CHECK_EQ(atomic_load(&inside), 0);
    atomic_store(&open_now, false);
    for (uint32_t i = 0; i < count; i++) CHECK_EQ(atomic_load(&done[i]), 1);
}

TEST(each_piece_is_done_once) {
    uint64_t state = test_seed();
    crew_make();
    for (int i = 0; i < JOBS; i++)
        job_run((uint32_t)test_random_below(&state, PIECES),
                (unsigned)test_random_below(&state, THREADS + 2));
}

TEST(no_more_than_may_are_at_a_job) {
    crew_make();
    for (unsigned most = 1; most <= THREADS; most++) {
        atomic_store(&inside_most, 0);
        for (int i = 0; i < JOBS / 10; i++) job_run(PIECES, most);
        CHECK(atomic_load(&inside_most) <= most);
    }
}

/* --- Who comes late ---------------------------------------------------------------------------
 */

static _Atomic(bool) let_go;

/* The giver stays until another one has come. */
static void job_waits(bool giver) {
    atomic_fetch_add(&begun, 1);
    while (giver ? atomic_load(&begun) < 2 : !atomic_load(&let_go))
        ebb__os_wait(&inside, 0, 1000000);
}

static void *giver_body(void *unused) {
    ebb__crew_run(job_waits, 0);
    return unused;
}

static void *release_later(void *unused) {
    ebb__os_wait(&inside, 0, 50000000);
    atomic_store(&let_go, true);
    return unused;
}

TEST(who_has_begun_is_waited_for) {
    pthread_t giver, later;
    crew_make();
    atomic_store(&begun, 0);
    CHECK_EQ(pthread_create(&giver, NULL, giver_body, NULL), 0);
    for (int i = 0; i < 10000 && atomic_load(&begun) < 2; i++) ebb__os_wait(&inside, 0, 1000000);
    CHECK(atomic_load(&begun) >= 2);
    CHECK_EQ(pthread_create(&later, NULL, release_later, NULL), 0);
    CHECK_EQ(pthread_join(giver, NULL), 0);
    CHECK(atomic_load(&let_go));
    CHECK_EQ(pthread_join(later, NULL), 0);
}

/* As a thread that wakes when the job it was woken for is done. */
TEST(who_comes_late_is_not_let_in) {
    crew_make();
    job_run(PIECES, 0);
    CHECK(!crew_enter());
    CHECK_EQ(atomic_load(&crew.inside), CLOSED);
    atomic_store(&crew.most, 1);
    atomic_store(&crew.inside, 1);
    CHECK(!crew_enter());
    atomic_store(&crew.inside, CLOSED);
    job_run(PIECES, 0);
}
