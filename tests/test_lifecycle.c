/* test_lifecycle.c - from before main to after exit: constructors, threads' beginnings and ends,
 * fork, modules that come and go. This program's heap is in use before the harness forks, so every
 * case here begins in a child that has inherited one. See docs/design.md, "The heap". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "modes.h"
#include "probe.h"
#include "test.h"

#define COUNT 100

typedef struct cell {
    struct cell *next;
    uint64_t number, check; /* check == ~number */
} cell;
EBB_TYPE(cell, ptr(next));

static NOINLINE cell *cells_make(size_t length) {
    cell *list = NULL;
    for (uint64_t i = 0; i < length; i++) {
        cell *c = ebb_new(cell);
        CHECK(c != NULL);
        *c = (cell){list, i, ~i};
        list = c;
    }
    return list;
}

static NOINLINE void cells_check(const cell *list, size_t length) {
    size_t found = 0;
    for (; list; list = list->next, found++) CHECK_EQ(list->check, ~list->number);
    CHECK_EQ(found, length);
}

static void cells_litter(void) {
    for (int i = 0; i < 50; i++) cells_check(cells_make(1000), 1000);
}

/* --- Before main ---------------------------------------------------------------------------- */

static cell *from_constructor;
static int collected_in_constructor = 1;

__attribute__((constructor(101))) static void lifecycle_constructor(void) {
    from_constructor = cells_make(COUNT);
    collected_in_constructor = ebb_collect();
}

TEST(a_constructor_may_allocate_and_collect) {
    CHECK_EQ(collected_in_constructor, 0);
    cells_check(from_constructor, COUNT);
    cells_litter();
    probe_collect();
    cells_check(from_constructor, COUNT);
}

/* --- The end -------------------------------------------------------------------------------- */

/* The exit code of fn run in a child of its own. */
static int child_run(void (*fn)(void)) {
    int status;
    fflush(NULL);
    pid_t child = test_fork();
    CHECK(child >= 0);
    if (child == 0) {
        fn();
        exit(0);
    }
    while (waitpid(child, &status, 0) < 0) CHECK_EQ(errno, EINTR);
    if (WIFSIGNALED(status)) fprintf(stderr, "child killed by signal %d\n", WTERMSIG(status));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void at_exit(void) {
    cells_check(from_constructor, COUNT);
    cells_litter();
    if (ebb_collect() != 0) _exit(9);
    cells_check(from_constructor, COUNT);
    _exit(33);
}

static void exit_with_handler(void) {
    atexit(at_exit);
}

TEST(an_exit_handler_may_allocate_and_collect) {
    CHECK_EQ(child_run(exit_with_handler), 33);
}

static void *busy_body(void *arg) {
    for (;;) {
        cells_litter();
        if (arg) ebb_collect();
    }
    return NULL;
}

static void exit_amid_threads(void) {
    pthread_t thread;
    for (uintptr_t i = 0; i < 3; i++) pthread_create(&thread, NULL, busy_body, (void *)i);
    usleep(20000);
}

TEST(exit_amid_threads_at_work) {
    for (int i = 0; i < 20; i++) CHECK_EQ(child_run(exit_amid_threads), 0);
}

/* The main thread ends, the process goes on: nobody waits for a zombie to stop. */
static void *survivor_body(void *arg) {
    (void)arg;
    usleep(20000);
    cell *list = cells_make(COUNT);
    for (int i = 0; i < 20; i++)
        if (ebb_collect() != 0) _exit(9);
    cells_check(list, COUNT);
    _exit(44);
}

static void end_main_thread(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, survivor_body, NULL);
    pthread_exit(NULL);
}

TEST(the_main_thread_may_end_first) {
    CHECK_EQ(child_run(end_main_thread), 44);
}

/* --- Threads -------------------------------------------------------------------------------- */

static pthread_key_t key;
static atomic_int destroyed;

static void key_destroy(void *value) {
    cells_check(value, COUNT);
    cells_litter();
    CHECK_EQ(ebb_collect(), 0);
    atomic_fetch_add(&destroyed, 1);
}

static void *key_body(void *arg) {
    CHECK_EQ(pthread_setspecific(key, cells_make(COUNT)), 0);
    test_clear_stack();
    cells_litter();
    CHECK_EQ(ebb_collect(), 0);
    return arg;
}

TEST(thread_specific_values_are_kept_and_their_destructors_allocate) {
    CHECK_EQ(pthread_key_create(&key, key_destroy), 0);
    for (int i = 0; i < 30; i++) {
        pthread_t threads[3];
        for (size_t k = 0; k < 3; k++)
            CHECK_EQ(pthread_create(&threads[k], NULL, key_body, NULL), 0);
        for (size_t k = 0; k < 3; k++) CHECK_EQ(pthread_join(threads[k], NULL), 0);
    }
    CHECK_EQ(atomic_load(&destroyed), 90);
}

static void *detached_body(void *arg) {
    cells_litter();
    atomic_fetch_add((atomic_int *)arg, 1);
    return NULL;
}

TEST(detached_threads) {
    static atomic_int ended;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        CHECK_EQ(pthread_create(&thread, &attr, detached_body, &ended), 0);
        if (i % 5 == 0) CHECK_EQ(ebb_collect(), 0);
    }
    while (atomic_load(&ended) < 50) CHECK_EQ(ebb_collect(), 0);
}

static void *cancelled_body(void *arg) {
    for (;;) {
        cells_litter();
        pthread_testcancel();
    }
    return arg;
}

TEST(cancelled_threads) {
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        void *result;
        CHECK_EQ(pthread_create(&thread, NULL, cancelled_body, NULL), 0);
        CHECK_EQ(ebb_collect(), 0);
        CHECK_EQ(pthread_cancel(thread), 0);
        CHECK_EQ(pthread_join(thread, &result), 0);
        CHECK(result == PTHREAD_CANCELED);
    }
    CHECK_EQ(ebb_collect(), 0);
}

/* What a thread allocated outlives it; what only it held does not. */
static void *maker_body(void *arg) {
    cell **out = arg;
    cell *mine[COUNT];
    for (size_t i = 0; i < COUNT; i++) probe_add(mine[i] = cells_make(1));
    out[0] = mine[0];
    return mine[1];
}

TEST(what_a_thread_made_outlives_it) {
    pthread_t thread;
    static cell *out[2];
    CHECK_EQ(pthread_create(&thread, NULL, maker_body, out), 0);
    CHECK_EQ(pthread_join(thread, (void **)&out[1]), 0);
    probe_collect();
    CHECK(probe_lives(0) && probe_lives(1));
    CHECK(probe_living(2, COUNT) <= PROBE_STALE);
    cells_check(out[0], 1);
    cells_check(out[1], 1);
}

/* --- Fork ----------------------------------------------------------------------------------- */

static cell *before_fork;

static void fork_child(void) {
    cells_check(before_fork, COUNT);
    cells_check(from_constructor, COUNT);
    cells_litter();
    CHECK_EQ(ebb_collect(), 0);
    cells_check(before_fork, COUNT);
    cells_check(from_constructor, COUNT);
    before_fork = cells_make(COUNT);
    ebb_release();
    cells_check(before_fork, COUNT);
}

TEST(a_forked_child_allocates_and_collects) {
    before_fork = cells_make(COUNT);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(child_run(fork_child), 0);
        cells_check(before_fork, COUNT);
        CHECK_EQ(ebb_collect(), 0);
    }
}

static void fork_grandchild(void) {
    fork_child();
    CHECK_EQ(child_run(fork_child), 0);
    fork_child();
}

TEST(a_grandchild_too) {
    before_fork = cells_make(COUNT);
    CHECK_EQ(child_run(fork_grandchild), 0);
}

static atomic_bool fork_end;

static void *fork_busy_body(void *arg) {
    cell *mine = cells_make(COUNT);
    for (size_t i = 0; !atomic_load(&fork_end); i++) {
        cells_check(cells_make(500), 500);
        if (arg && i % 20 == 0) CHECK_EQ(ebb_collect(), 0);
    }
    cells_check(mine, COUNT);
    return NULL;
}

static void *fork_thread_body(void *arg) {
    cells_litter();
    CHECK_EQ(ebb_collect(), 0);
    return arg;
}

static void fork_child_with_threads(void) {
    pthread_t threads[3];
    fork_child();
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, fork_thread_body, NULL), 0);
    }
    for (size_t i = 0; i < 3; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    fork_child();
}

/* At any moment of the others' allocations and collections. */
TEST(fork_amid_threads_at_work) {
    pthread_t threads[3];
    before_fork = cells_make(COUNT);
    for (uintptr_t i = 0; i < 3; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, fork_busy_body, (void *)i), 0);
    }
    for (size_t i = 0; i < 40 * test_scale(); i++) {
        CHECK_EQ(child_run(i % 4 ? fork_child : fork_child_with_threads), 0);
        cells_check(before_fork, COUNT);
    }
    atomic_store(&fork_end, true);
    for (size_t i = 0; i < 3; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(fork_amid_threads_with_stress) {
    MODES_PASS("fork_amid_threads_at_work", "stress=1999,verify=1", NULL);
}

/* All that these make is garbage: of a few in a span, so that they change spans often. */
static void *fork_filling_body(void *arg) {
    while (!atomic_load(&fork_end)) CHECK(ebb_alloc_data(7000) != NULL);
    return arg;
}

static void fork_child_without_theirs(void) {
    struct ebb_stats s;
    for (int i = 0; i < 2; i++) CHECK_EQ(ebb_collect(), 0);
    ebb_stats(&s);
    if (s.heap_used > 64 << 10)
        test_fail(__FILE__, __LINE__, "%zu bytes are used", (size_t)s.heap_used);
}

/* Nor of a span that one of them was about to change. */
TEST(a_child_keeps_nothing_of_others) {
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, fork_filling_body, NULL), 0);
    for (size_t i = 0; i < 40 * test_scale(); i++)
        CHECK_EQ(child_run(fork_child_without_theirs), 0);
    atomic_store(&fork_end, true);
    for (size_t i = 0; i < 3; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void *forking_body(void *arg) {
    for (int i = 0; i < 10; i++) CHECK_EQ(child_run(fork_child), 0);
    return arg;
}

TEST(fork_from_several_threads) {
    pthread_t threads[3];
    before_fork = cells_make(COUNT);
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, forking_body, NULL), 0);
    for (size_t i = 0; i < 3; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* The threads of the parent are not there: what only their stacks held is dead in the child. */
static void *fork_holder_body(void *arg) {
    pthread_barrier_t *barrier = arg;
    cell *volatile mine[COUNT];
    for (size_t i = 0; i < COUNT; i++) probe_add(mine[i] = cells_make(1));
    test_clear_stack();
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    CHECK(mine[0] != NULL);
    return NULL;
}

static void fork_child_of_holder(void) {
    probe_collect();
    CHECK(probe_living(0, COUNT) <= COUNT); /* dead, or kept: its stack is still mapped */
    cells_litter();
}

TEST(threads_of_the_parent_are_gone) {
    pthread_t thread;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    CHECK_EQ(pthread_create(&thread, NULL, fork_holder_body, &barrier), 0);
    pthread_barrier_wait(&barrier);
    CHECK_EQ(child_run(fork_child_of_holder), 0);
    CHECK_EQ(probe_living(0, COUNT), COUNT);
    pthread_barrier_wait(&barrier);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* Finalizers work in the child as well, by themselves. */
static atomic_size_t finalized;

static void lifecycle_finalize(void *object, void *arg) {
    (void)object, (void)arg;
    atomic_fetch_add(&finalized, 1);
}

static NOINLINE void fork_finalizable(void) {
    for (size_t i = 0; i < COUNT; i++) {
        CHECK_EQ(ebb_finalizer_set(cells_make(1), lifecycle_finalize, NULL), 0);
    }
}

static void fork_child_finalizes(void) {
    fork_finalizable();
    probe_collect();
    for (int i = 0; i < 1000 && atomic_load(&finalized) + PROBE_STALE < 2 * COUNT; i++)
        usleep(10000);
    CHECK(atomic_load(&finalized) + 2 * PROBE_STALE >= 2 * COUNT);
}

TEST(finalizers_run_in_the_child) {
    fork_finalizable();
    CHECK_EQ(child_run(fork_child_finalizes), 0);
    CHECK_EQ(atomic_load(&finalized), 0);
    fork_finalizable();
    probe_collect();
    ebb_finalizers_run();
    for (int i = 0; i < 1000 && atomic_load(&finalized) + PROBE_STALE < 2 * COUNT; i++)
        usleep(10000);
    CHECK(atomic_load(&finalized) + 2 * PROBE_STALE >= 2 * COUNT);
}

/* --- Modules -------------------------------------------------------------------------------- */

typedef cell *(*module_list)(size_t length);
typedef size_t (*module_length)(const cell *list);

typedef struct module {
    void *handle;
    module_list list;
    module_length length;
} module;

static module module_open(const char *name) {
    char path[4096];
    module m;
    snprintf(path, sizeof path, "%s/%s.so", EBB_TEST_PLUGINS, name);
    m.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!m.handle) fprintf(stderr, "%s\n", dlerror());
    CHECK(m.handle != NULL);
    m.list = (module_list)(uintptr_t)dlsym(m.handle, "holder_list");
    m.length = (module_length)(uintptr_t)dlsym(m.handle, "holder_length");
    CHECK(m.list && m.length);
    return m;
}

static cell *of_module;

TEST(a_module_describes_its_types) {
    module m = module_open("holder");
    of_module = m.list(1000);
    cells_litter();
    probe_collect();
    CHECK_EQ(m.length(of_module), 1000);
    CHECK_EQ(dlclose(m.handle), 0);
}

/* Objects of a type whose description has been unloaded live on as described. */
TEST(objects_outlive_their_module) {
    module m = module_open("holder");
    of_module = m.list(1000);
    CHECK_EQ(dlclose(m.handle), 0);
    cells_litter();
    probe_collect();
    size_t length = 0;
    for (void **c = (void **)of_module; c; c = c[0]) length++;
    CHECK_EQ(length, 1000);
    of_module = NULL;
    probe_collect();
}

/* holder links by its first field, twin by its third, under one name, and at one address as like
 * as not: each is followed as its own module says. */
static void module_turn(const char *name, size_t link_field, size_t other_field) {
    size_t from = probe_count, length = 0;
    module m = module_open(name);
    of_module = m.list(20);
    for (void **c = (void **)of_module; c; c = c[link_field]) {
        c[other_field] = cells_make(1);
        probe_add(c[other_field]);
    }
    probe_collect();
    CHECK_EQ(m.length(of_module), 20);
    for (void **c = (void **)of_module; c; c = c[link_field]) length++;
    CHECK_EQ(length, 20);
    CHECK(probe_living(from, from + 20) <= PROBE_STALE);
    CHECK_EQ(dlclose(m.handle), 0);
}

TEST(modules_of_one_type_name_do_not_mix) {
    for (int i = 0; i < 10; i++) {
        module_turn("holder", 0, 1);
        module_turn("twin", 2, 0);
    }
}

TEST(both_modules_at_once) {
    module a = module_open("holder"), b = module_open("twin");
    cell *volatile list_a = a.list(1000), *volatile list_b = b.list(1000);
    cells_litter();
    probe_collect();
    CHECK_EQ(a.length(list_a), 1000);
    CHECK_EQ(b.length(list_b), 1000);
    CHECK_EQ(dlclose(a.handle), 0);
    CHECK_EQ(dlclose(b.handle), 0);
    probe_collect();
}

static atomic_bool module_end;

static void *module_body(void *arg) {
    while (!atomic_load(&module_end)) {
        module m = module_open(arg);
        CHECK_EQ(m.length(m.list(100)), 100);
        CHECK_EQ(dlclose(m.handle), 0);
    }
    return NULL;
}

TEST(modules_come_and_go_beside_collections) {
    pthread_t threads[2];
    CHECK_EQ(pthread_create(&threads[0], NULL, module_body, (void *)(uintptr_t) "holder"), 0);
    CHECK_EQ(pthread_create(&threads[1], NULL, module_body, (void *)(uintptr_t) "twin"), 0);
    for (size_t i = 0; i < 300 * test_scale(); i++) {
        CHECK_EQ(ebb_collect(), 0);
        if (i % 10 == 0) cells_litter();
    }
    atomic_store(&module_end, true);
    for (size_t i = 0; i < 2; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* What each opening costs goes away again: descriptions of one module are made once. */
TEST(modules_do_not_pile_up) {
    struct ebb_stats before, after;
    for (int i = 0; i < 300; i++) {
        module m = module_open(i % 2 ? "holder" : "twin");
        of_module = m.list(5);
        CHECK_EQ(dlclose(m.handle), 0);
        if (i == 100) ebb_stats(&before);
    }
    of_module = NULL;
    probe_collect();
    ebb_stats(&after);
    CHECK(after.heap_used < before.heap_used + ((size_t)2 << 20));
    CHECK(after.metadata < before.metadata + ((size_t)2 << 20));
}
