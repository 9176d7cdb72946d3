/* test_internal_phases.c - fork in every phase of a cycle, by a thread that allocates and by one
 * that the library never heard of, without a language runtime and with one. Delays at every step
 * make each phase long enough to be met; a fork counts for a phase when that was the phase before
 * and after it, as handlers of fork see it that lie inside those of the library. The child has to
 * find all that was reachable, allocate, and collect in both ways. docs/testing.md, "Fork". */
#include <ebb/gc.h>
#include <ebb/runtime.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../src/gc/collector.h"
#include "test.h"

enum { CHAIN = 2000, KEPT = 20000, WORKERS = 2, HITS = 6, TRIES = 300, PHASES = PHASE_SWEEP + 1 };
enum { PATIENCE_NS = 200000000 };

typedef struct link {
    struct link *next;
    uint64_t number, check; /* == ~number */
} link_cell;

static link_cell *kept;                      /* changes in the child only */
static _Atomic(link_cell *) chains[WORKERS]; /* whole at any time; release when it is */
static _Atomic(bool) workers_end;
static _Atomic(bool) call_unanswered; /* nobody begins to allocate up to PHASE_CALL */

static bool phase_marks(enum phase phase) {
    return phase == PHASE_BEGIN || phase == PHASE_MARK || phase == PHASE_CALL;
}

NOINLINE static link_cell *chain_make(size_t length) {
    link_cell *head = NULL;
    for (size_t i = 0; i < length; i++) {
        while (atomic_load(&call_unanswered) && phase_marks(ebb__cycle_phase())) sched_yield();
        link_cell *cell = ebb_alloc(sizeof *cell);
        CHECK(cell != NULL);
        *cell = (link_cell){head, i, ~(uint64_t)i};
        head = cell;
    }
    return head;
}

static void chain_check(const link_cell *cell, size_t length) {
    for (; cell; cell = cell->next) {
        CHECK(length > 0);
        CHECK_EQ(cell->number, --length);
        CHECK_EQ(cell->check, ~cell->number);
    }
    CHECK_EQ(length, 0);
}

static void *worker_body(void *arg) {
    size_t me = (size_t)arg;
    while (!atomic_load(&workers_end)) {
        link_cell *fresh = chain_make(CHAIN);
        atomic_store(&chains[me], fresh);
        for (link_cell *cell = fresh; cell && cell->number % 64; cell = cell->next)
            CHECK(cell->check == ~cell->number);
    }
    return NULL;
}

static void all_check(void) {
    chain_check(kept, KEPT);
    for (size_t i = 0; i < WORKERS; i++)
        if (chains[i]) chain_check(chains[i], CHAIN);
}

__attribute__((noreturn)) static void child_lives(void) {
    atomic_store(&call_unanswered, false);
    all_check();
    chain_check(chain_make(CHAIN), CHAIN);
    CHECK_EQ(ebb__collect(CAUSE_FORCED, false), 0);
    size_t live = ebb__cycle.last.live;
    all_check();
    CHECK_EQ(ebb_collect(), 0);
    /* What the parent's cycle had marked is not counted again. */
    CHECK(live < ebb__cycle.last.live + 3 * CHAIN * sizeof(link_cell));
    link_cell *more = chain_make(KEPT);
    CHECK_EQ(ebb__collect(CAUSE_FORCED, false), 0);
    chain_check(more, KEPT);
    CHECK_EQ(ebb_collect(), 0);
    all_check();
    kept = chain_make(KEPT);
    CHECK_EQ(ebb_collect(), 0);
    all_check();
    _exit(0);
}

/* By the thread that forks: where the cycle is right before it does, and right after. */
static struct moment {
    uint64_t cycle;
    enum phase phase;
} moment_before, moment_after;

static struct moment moment_now(void) {
    return (struct moment){atomic_load(&ebb__cycle_count), ebb__cycle_phase()};
}

static void note_before(void) {
    moment_before = moment_now();
}

static void note_after(void) {
    moment_after = moment_now();
}

/* Forks as soon as a cycle is in that phase. True when it was the whole time. */
static bool fork_in(enum phase phase) {
    int status = -1;
    uint64_t start = ebb__os_now_ns();
    while (ebb__cycle_phase() != phase && ebb__os_now_ns() - start < PATIENCE_NS) continue;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) child_lives();
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    return moment_before.phase == phase && moment_after.phase == phase &&
           moment_before.cycle == moment_after.cycle;
}

/* Only a runtime's functions want a thread of the program amid marking. */
static bool phase_comes(unsigned phase) {
    return (phase != PHASE_CALL && phase != PHASE_CALLED) || ebb__runtime_there();
}

static void *forks(void *arg) {
    unsigned *hits = arg;
    for (unsigned phase = 0; phase < PHASES; phase++) {
        atomic_store(&call_unanswered, phase == PHASE_CALL);
        for (int i = 0; i < TRIES && hits[phase] < HITS && phase_comes(phase); i++)
            hits[phase] += fork_in((enum phase)phase);
    }
    return NULL;
}

static void runtime_roots(ebb_marker *marker) {
    ebb_mark(marker, kept);
}

static const ebb_runtime runtime = {.roots = runtime_roots};

static void forks_run(bool registered, bool is_runtime) {
    pthread_t threads[WORKERS], forker;
    unsigned hits[PHASES] = {0};
    CHECK_EQ(pthread_atfork(note_before, note_after, NULL), 0); /* before the heap has its own */
    setenv("EBB_DEBUG", "yield=17,room=128KiB,checkmark=1", 1);
    setenv("EBB_GC", "pause=0", 1);
    if (is_runtime) CHECK_EQ(ebb_runtime_set(&runtime), 0);
    kept = chain_make(KEPT);
    CHECK_EQ(ebb_collect(), 0);
    for (size_t i = 0; i < WORKERS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, worker_body, (void *)i), 0);
    if (registered) forks(hits);
    if (!registered) {
        CHECK_EQ(pthread_create(&forker, NULL, forks, hits), 0);
        pthread_join(forker, NULL);
    }
    atomic_store(&workers_end, true);
    for (size_t i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
    all_check();
    CHECK_EQ(ebb_collect(), 0);
    all_check();
    for (unsigned i = 0; i < PHASES; i++)
        printf("%s%u", i ? ", " : "     hits by phase: ", hits[i]);
    printf("\n");
    if (!ebb__dirty_in_force()) SKIP("no cycle is made beside the program here");
    for (unsigned i = 0; i < PHASES; i++) CHECK_EQ(hits[i], phase_comes(i) ? HITS : 0);
}

TEST(fork_in_every_phase) {
    forks_run(true, false);
}

TEST(fork_in_every_phase_by_a_stranger) {
    forks_run(false, false);
}

TEST(fork_in_every_phase_of_a_runtime) {
    forks_run(true, true);
}

TEST(fork_in_every_phase_of_a_runtime_by_a_stranger) {
    forks_run(false, true);
}
