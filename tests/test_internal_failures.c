/* test_internal_failures.c - system calls of the dirty layer, and memory for the collector's lists,
 * that fail while the heap is in use, and lists of threads that end early. A cycle then looks at
 * more than it had to, or is full, or in one stop, or is not made at all; but nothing is lost. The
 * library is compiled in, with a seam around the calls. docs/testing.md, "Failures". */
#ifndef _GNU_SOURCE
# define _GNU_SOURCE 1
#endif
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Which call fails. Counted from the last seam_set; relaxed, no other data. */
typedef struct seam {
    _Atomic(long) made, at, every; /* fail the at-th; or each at random, one in `every` */
    _Atomic(uint64_t) failed, random;
    int error; /* what errno is then; 0: what it was */
} seam;

static seam calls, maps, lists, signals;

static void seam_set(seam *s, long at, long every, int error) {
    s->error = error;
    atomic_store(&s->made, 0);
    atomic_store(&s->at, at);
    atomic_store(&s->every, every);
}

static bool seam_due(seam *s) {
    long number = atomic_fetch_add(&s->made, 1) + 1;
    long at = atomic_load(&s->at), every = atomic_load(&s->every);
    if (at) return number == at;
    if (!every) return false;
    uint64_t z = atomic_fetch_add(&s->random, 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    return (z >> 33) % (uint64_t)every == 0;
}

static bool seam_fails(seam *s) {
    if (!seam_due(s)) return false;
    atomic_fetch_add(&s->failed, 1);
    if (s->error) errno = s->error;
    return true;
}

static bool map_fails(size_t size);

#define EBB__LIST_CALL(call)   (seam_fails(&lists) ? 0 : (call))
#define EBB__DIRTY_CALL(call)  (seam_fails(&calls) ? (__typeof__(call))-1 : (call))
#define mmap(start, size, ...) (map_fails(size) ? MAP_FAILED : mmap((start), (size), __VA_ARGS__))
#define syscall(number, ...) \
 ((number) == SYS_tgkill && seam_fails(&signals) ? -1 : syscall((number), ##__VA_ARGS__))
#include "../src/all.c"
#undef mmap
#undef syscall

#include <ebb/gc.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "internal_kernel.h"
#include "test.h"

/* Memory for lists: asked for by a thread within a cycle, but not by one that allocates, and not
 * for packets, without which nothing can be marked. */
static _Thread_local bool allocates;

static bool map_fails(size_t size) {
    if (allocates || ebb__cycle_phase() == PHASE_IDLE || size > 4 * MIB) return false;
    if (atomic_load(&pool.lock.word) != 0) return false;
    return seam_fails(&maps);
}

/* --- A heap that is in use ---------------------------------------------------------------------
 */

enum { TABLE = 4000, BIG = 40000, WORKERS = 2, LENGTH = 12 };

/* A slot of the table holds a chain, all of whose cells carry the slot's number and the chain's. */
typedef struct cell {
    struct cell *next;
    uint64_t slot, chain;
} cell;

static cell **table[WORKERS]; /* objects of the heap: large ones, kept by static storage */
static uint64_t shadow[WORKERS][TABLE];
static _Atomic(bool) workers_end;
static pthread_t workers[WORKERS];

static cell *cell_make(cell *next, uint64_t slot, uint64_t chain) {
    allocates = true;
    cell *fresh = ebb_alloc(sizeof *fresh);
    allocates = false;
    if (fresh) *fresh = (cell){next, slot, chain};
    return fresh;
}

/* Null and no change where memory fails. */
NOINLINE static void slot_replace(size_t me, size_t slot, uint64_t chain) {
    cell *head = NULL;
    for (int i = 0; i < LENGTH; i++)
        if (!(head = cell_make(head, slot, chain))) return;
    table[me][slot] = head;
    shadow[me][slot] = chain;
}

static void slot_check(size_t me, size_t slot) {
    size_t length = 0;
    for (const cell *c = table[me][slot]; c; c = c->next, length++)
        CHECK(c->slot == slot && c->chain == shadow[me][slot]);
    CHECK_EQ(length, shadow[me][slot] ? LENGTH : 0);
}

static void table_check(size_t me) {
    for (size_t slot = 0; slot < TABLE; slot++) slot_check(me, slot);
}

static void *worker_body(void *arg) {
    size_t me = (size_t)arg;
    uint64_t random = test_seed() + me;
    for (uint64_t chain = 1; !atomic_load(&workers_end); chain++) {
        size_t slot = test_random_below(&random, TABLE);
        slot_check(me, slot);
        slot_replace(me, slot, chain);
    }
    table_check(me);
    return NULL;
}

static void heap_begin(const char *gc) {
    setenv("EBB_DEBUG", "checkmark=1,oracle=1,room=256KiB", 1);
    setenv("EBB_GC", gc, 1);
    for (size_t i = 0; i < WORKERS; i++) {
        CHECK((table[i] = ebb_alloc(BIG * sizeof(cell *))) != NULL);
        for (size_t slot = 0; slot < TABLE; slot++) slot_replace(i, slot, 1);
    }
}

static void workers_begin(void) {
    for (size_t i = 0; i < WORKERS; i++)
        CHECK_EQ(pthread_create(&workers[i], NULL, worker_body, (void *)i), 0);
}

static void workers_stop(void) {
    atomic_store(&workers_end, true);
    for (size_t i = 0; i < WORKERS; i++) pthread_join(workers[i], NULL);
}

static void all_is_there(void) {
    seam_set(&calls, 0, 0, 0);
    seam_set(&maps, 0, 0, ENOMEM);
    for (int i = 0; i < 3; i++) CHECK_EQ(ebb_collect(), 0);
    for (size_t i = 0; i < WORKERS; i++) table_check(i);
}

/* --- Calls that fail ---------------------------------------------------------------------------
 */

/* Every call of a full and of a minor cycle in turn, beside threads at work. */
TEST(each_call_of_a_cycle_fails_once) {
    heap_begin("pause=0");
    need_kernel();
    workers_begin();
    for (long at = 1; at <= 30; at++) {
        seam_set(&calls, at, 0, at % 2 ? EAGAIN : ENOMEM);
        ebb__collect(CAUSE_FORCED, at % 4 < 2);
        ebb__collect(CAUSE_FORCED, at % 4 >= 2);
    }
    workers_stop();
    CHECK(atomic_load(&calls.failed) >= 15);
    all_is_there();
}

TEST(calls_fail_at_random) {
    static const long every[] = {1, 2, 3, 10, 50};
    heap_begin("pause=0");
    need_kernel();
    workers_begin();
    for (int round = 0; round < 30; round++) {
        seam_set(&calls, 0, every[round % 5], EFAULT);
        ebb__collect(CAUSE_FORCED, round % 3 == 0);
    }
    workers_stop();
    CHECK(atomic_load(&calls.failed) >= 30);
    all_is_there();
}

/* At the first cycle: whichever fails, collections stop the world, and say why. */
__attribute__((noreturn)) static void start_child(long at) {
    const char *why;
    seam_set(&calls, at, 0, ENOSYS);
    heap_begin("pause=0");
    CHECK_EQ(ebb_collect(), 0);
    bool failed = atomic_load(&calls.failed) > 0;
    enum dirty_mode mode = ebb__dirty_mode(&why);
    CHECK(mode == DIRTY_KERNEL || why != NULL);
    workers_begin();
    for (int i = 0; i < 2; i++) CHECK_EQ(ebb__collect(CAUSE_FORCED, i % 2), 0);
    workers_stop();
    all_is_there();
    _exit(failed ? 0 : 9);
}

TEST(each_call_of_the_start_fails_once) {
    long at = 1;
    for (int status = 0; status == 0; at++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) start_child(at);
        CHECK_EQ(waitpid(child, &status, 0), child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 9) break; /* there are no more */
        CHECK_EQ(status, 0);
        CHECK(at < 100);
    }
    CHECK(at > 1);
}

/* In the child of a fork, which begins to watch anew. */
TEST(each_call_after_a_fork_fails_once) {
    heap_begin("pause=0");
    need_kernel();
    for (long at = 1; at <= 12; at++) {
        int status;
        seam_set(&calls, at, 0, EMFILE);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            workers_begin();
            for (int i = 0; i < 4; i++) CHECK_EQ(ebb__collect(CAUSE_FORCED, i % 2), 0);
            workers_stop();
            all_is_there();
            _exit(0);
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
    }
    all_is_there();
}

/* --- Lists of threads that end early ------------------------------------------------------------
 */

static pthread_barrier_t held;

/* Keeps a chain on the stack alone. */
static void *holder_body(void *unused) {
    cell *volatile head = NULL;
    (void)unused;
    for (int i = 0; i < LENGTH; i++) head = cell_make(head, 0, 1);
    test_clear_stack();
    pthread_barrier_wait(&held);
    pthread_barrier_wait(&held);
    size_t length = 0;
    for (const cell *c = head; c && ebb_size_of(c) >= sizeof *c; c = c->next) length++;
    CHECK_EQ(length, LENGTH);
    return NULL;
}

static void lists_end(long at, long every, int result) {
    seam_set(&lists, at, every, 0);
    CHECK_EQ(ebb_collect(), result);
}

TEST(a_list_of_threads_that_ends_early_hides_nobody) {
    enum { HOLDERS = 3 };
    pthread_t holders[HOLDERS];
    heap_begin("pause=0");
    pthread_barrier_init(&held, NULL, HOLDERS + 1);
    for (size_t i = 0; i < HOLDERS; i++)
        CHECK_EQ(pthread_create(&holders[i], NULL, holder_body, NULL), 0);
    pthread_barrier_wait(&held);
    for (long at = 1; at <= 12; at++) lists_end(at, 0, 0);
    for (int i = 0; i < 20; i++) lists_end(0, 2, 0);
    lists_end(0, 1, EBB_EBUSY);
    pthread_barrier_wait(&held);
    for (size_t i = 0; i < HOLDERS; i++) pthread_join(holders[i], NULL);
    lists_end(0, 0, 0);
    all_is_there();
}

/* --- Hints ---------------------------------------------------------------------------------------
 */

enum { HINTERS = 30 };

static cell *hinted_cells[HINTERS];

static void *hinter_body(void *number) {
    cell *volatile mine = cell_make(NULL, 0, 1);
    hinted_cells[(size_t)number] = mine;
    test_clear_stack();
    pthread_barrier_wait(&held);
    pthread_barrier_wait(&held);
    CHECK_EQ(mine->chain, 1);
    return NULL;
}

static bool packet_has(const packet *p, const cell *c) {
    for (size_t i = 0; p && i < p->count; i++)
        if (p->items[i] == (uintptr_t)c) return true;
    return false;
}

static bool hint_there(const cell *c) {
    bool found = packet_has(mark_local.work, c);
    for (const packet *p = pool.full; p; p = p->next) found |= packet_has(p, c);
    return found;
}

static bool hints_deep;

static void hints_look(const root_set *roots, void *found) {
    (void)roots;
    ebb__mark_beside(true);
    open_hints((uintptr_t)__builtin_frame_address(0), true);
    if (hints_deep) deep_hints();
    ebb__mark_beside(false);
    for (size_t i = 0; i < HINTERS && hinted_cells[i]; i++)
        *(size_t *)found += hint_there(hinted_cells[i]);
    hints_drop();
}

TEST(every_stack_is_a_hint) {
    pthread_t hinters[HINTERS];
    size_t found = 0;
    pthread_barrier_init(&held, NULL, HINTERS + 1);
    for (size_t i = 0; i < HINTERS; i++)
        CHECK_EQ(pthread_create(&hinters[i], NULL, hinter_body, (void *)i), 0);
    pthread_barrier_wait(&held);
    CHECK_EQ(ebb__with_world_stopped(hints_look, &found), 0);
    CHECK_EQ(found, HINTERS);
    pthread_barrier_wait(&held);
    for (size_t i = 0; i < HINTERS; i++) pthread_join(hinters[i], NULL);
}

/* The cell hangs from a frame a megabyte below. */
static NOINLINE size_t deep_look(bool deep) {
    volatile char frame[MIB];
    size_t found = 0;
    frame[0] = frame[MIB - 1] = 1;
    hints_deep = deep;
    CHECK_EQ(ebb__with_world_stopped(hints_look, &found), 0);
    return found;
}

TEST(the_depth_of_a_stack_is_read_after_its_top) {
    cell *volatile mine = cell_make(NULL, 0, 1);
    hinted_cells[0] = mine;
    CHECK_EQ(deep_look(true), 1);
    CHECK_EQ(deep_look(false), 0);
    CHECK_EQ(mine->chain, 1);
}

/* An array of which pieces are to be scanned when the cycle is given up, and which is no more when
 * the next one is made. */
static void hint_array(const root_set *roots, void *array) {
    (void)roots;
    ebb__mark_beside(true);
    roots_scan(&mark_local, (uintptr_t)array, (uintptr_t)array + sizeof(void *));
    ebb__mark_beside(false);
    CHECK(pool.full != NULL);
}

TEST(hints_of_a_cycle_that_was_given_up_are_dropped) {
    enum { WORDS = 1 << 17 };
    setenv("EBB_GC", "dirty=off", 1);
    void **array = ebb_alloc(WORDS * sizeof *array);
    CHECK(array != NULL);
    array[0] = ebb_alloc(16);
    for (size_t i = 1; i < WORDS; i++) array[i] = array[0];
    CHECK_EQ(ebb__with_world_stopped(hint_array, &array), 0);
    ebb_free(array);
    CHECK_EQ(ebb_collect(), 0);
}

/* --- Numbers of threads that are used again ------------------------------------------------------
 */

static _Atomic(uint64_t) steps;
static _Atomic(bool) steps_end;

static void *stepping_body(void *unused) {
    while (!atomic_load(&steps_end)) atomic_fetch_add(&steps, 1);
    return unused;
}

static void nobody_steps(const root_set *roots, void *unused) {
    uint64_t before = atomic_load(&steps);
    (void)roots, (void)unused;
    usleep(20000);
    CHECK_EQ(atomic_load(&steps), before);
}

/* A thread ends before it can be signalled, and one that was made since has its number: as if
 * nobody had been there, once. */
TEST(who_has_the_number_of_one_that_ended_is_stopped) {
    pthread_t stepping;
    heap_begin("pause=0");
    CHECK_EQ(pthread_create(&stepping, NULL, stepping_body, NULL), 0);
    while (atomic_load(&steps) == 0) usleep(100);
    seam_set(&signals, 1, 0, ESRCH);
    CHECK_EQ(ebb__with_world_stopped(nobody_steps, NULL), 0);
    CHECK_EQ(atomic_load(&signals.failed), 1);
    atomic_store(&steps_end, true);
    pthread_join(stepping, NULL);
}

/* --- Memory for lists that fails ----------------------------------------------------------------
 */

/* Lets go of the lists that each cycle fills anew, so that it needs memory for them. */
static void lists_drop(uintptr_t sp, void *unused) {
    (void)sp, (void)unused;
    ebb__cycle_segments = ebb__cycle_roots.ranges = roots_mappings = dirty.changed = (os_ranges){0};
}

static void lists_forget(void) {
    while (!phase_step(PHASE_IDLE, PHASE_BEGIN)) usleep(50);
    gate_pass(0, lists_drop, NULL);
    ebb__os_lock(&hints.lock);
    hints.segments = hints.roots.ranges = (os_ranges){0};
    ebb__os_unlock(&hints.lock);
    phase_set(PHASE_IDLE);
}

static void list_fails(long at, long every, bool full) {
    lists_forget();
    seam_set(&maps, at, every, ENOMEM);
    ebb__collect(CAUSE_FORCED, full);
}

static void lists_run(const char *gc) {
    heap_begin(gc);
    CHECK_EQ(ebb_collect(), 0);
    workers_begin();
    for (long at = 1; at <= 20; at++) {
        list_fails(at / 2 + 1, 0, at % 4 < 2);
    }
    for (int round = 0; round < 20; round++) {
        list_fails(0, 1 + round % 5, round % 3 == 0);
    }
    workers_stop();
    CHECK(atomic_load(&maps.failed) > 15);
    all_is_there();
}

TEST(memory_for_lists_fails) {
    lists_run("pause=0");
}

TEST(memory_for_lists_fails_in_stops) {
    lists_run("dirty=off");
}

TEST(calls_and_memory_fail_together) {
    heap_begin("pause=0");
    CHECK_EQ(ebb_collect(), 0);
    workers_begin();
    for (int round = 0; round < 30; round++) {
        seam_set(&calls, 0, 1 + round % 7, EFAULT);
        list_fails(0, 1 + round % 5, round % 3 == 0);
    }
    workers_stop();
    all_is_there();
}
