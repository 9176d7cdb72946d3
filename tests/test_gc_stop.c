/* test_gc_stop.c - what threads may be doing when a collection stops them: threads that never
 * called Ebb, blocked and spinning ones, on alternate and coroutine stacks, with signals blocked,
 * starting children, in the loader. See docs/design.md, "The collector". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "modes.h"
#include "probe.h"
#include "test.h"

#define COUNT 50

/* --- Threads that never heard of Ebb -------------------------------------------------------- */

/* A stranger reads addresses from a pipe, keeps them where it was told to, and sends them back. */
enum stranger_place { STRANGER_STACK, STRANGER_THREAD_LOCAL };

typedef struct stranger {
    pthread_t thread;
    enum stranger_place place;
    int to[2], from[2];
} stranger;

static _Thread_local uintptr_t stranger_local[COUNT];

static void pipe_read(int fd, void *bytes, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t got = read(fd, (char *)bytes + done, size - done);
        CHECK(got > 0); /* EINTR would be a stop that shows */
        done += (size_t)got;
    }
}

static void pipe_write(int fd, const void *bytes, size_t size) {
    CHECK_EQ(write(fd, bytes, size), size);
}

static void *stranger_body(void *arg) {
    stranger *s = arg;
    uintptr_t on_stack[COUNT], *kept = s->place == STRANGER_STACK ? on_stack : stranger_local;
    char go;
    pipe_read(s->to[0], kept, sizeof on_stack);
    pipe_write(s->from[1], "k", 1);
    pipe_read(s->to[0], &go, 1);
    pipe_write(s->from[1], kept, sizeof on_stack);
    memset(kept, 0, sizeof on_stack);
    pipe_read(s->to[0], &go, 1);
    return NULL;
}

/* The addresses go through the pipe, and are in no frame of this thread afterwards. */
static NOINLINE void stranger_give(stranger *s) {
    void *objects[COUNT];
    char kept;
    for (size_t i = 0; i < COUNT; i++) probe_add(objects[i] = ebb_alloc(8 + 8 * i));
    pipe_write(s->to[1], objects, sizeof objects);
    pipe_read(s->from[0], &kept, 1);
    memset(objects, 0, sizeof objects);
    __asm__ volatile("" : : "r"(objects) : "memory");
}

static NOINLINE void stranger_take(stranger *s) {
    void *objects[COUNT];
    pipe_write(s->to[1], "g", 1);
    pipe_read(s->from[0], objects, sizeof objects);
    for (size_t i = 0; i < COUNT; i++) CHECK(ebb_base_of(objects[i]) == objects[i]);
    memset(objects, 0, sizeof objects);
    __asm__ volatile("" : : "r"(objects) : "memory");
}

static void stop_stranger(enum stranger_place place) {
    static stranger s;
    s.place = place;
    CHECK_EQ(pipe(s.to), 0);
    CHECK_EQ(pipe(s.from), 0);
    CHECK_EQ(pthread_create(&s.thread, NULL, stranger_body, &s), 0);
    stranger_give(&s);
    probe_collect();
    CHECK_EQ(probe_living(0, COUNT), COUNT);
    stranger_take(&s);
    pipe_write(s.to[1], "e", 1);
    CHECK_EQ(pthread_join(s.thread, NULL), 0);
    probe_collect();
    CHECK(probe_living(0, COUNT) <= PROBE_STALE);
}

TEST(the_stack_of_a_stranger_keeps) {
    stop_stranger(STRANGER_STACK);
}

TEST(the_thread_local_storage_of_a_stranger_keeps) {
    stop_stranger(STRANGER_THREAD_LOCAL);
}

/* A stack of the program's own choosing, in memory from malloc or mmap. */
static void *own_stack_body(void *arg) {
    pthread_barrier_t *barrier = arg;
    void *volatile mine = ebb_alloc(16);
    probe_add(mine);
    test_clear_stack();
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return mine;
}

TEST(a_thread_on_a_stack_of_its_own) {
    size_t size = (size_t)1 << 20;
    void *stacks[2] = {
        malloc(size), mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)};
    for (size_t i = 0; i < 2; i++) {
        pthread_t thread;
        pthread_attr_t attr;
        pthread_barrier_t barrier;
        pthread_barrier_init(&barrier, NULL, 2);
        pthread_attr_init(&attr);
        CHECK_EQ(pthread_attr_setstack(&attr, stacks[i], size), 0);
        CHECK_EQ(pthread_create(&thread, &attr, own_stack_body, &barrier), 0);
        pthread_barrier_wait(&barrier);
        probe_collect();
        CHECK(probe_lives(i));
        pthread_barrier_wait(&barrier);
        pthread_join(thread, NULL);
    }
}

/* What pthread_create was given, before the new thread has run a single line. */
static void *argument_body(void *arg) {
    CHECK_EQ(ebb_size_of(arg) >= 64, 1);
    CHECK_EQ(*(int *)arg, 77);
    return arg;
}

static NOINLINE void stop_hand_over(pthread_t *thread) {
    int *arg = ebb_alloc_data(64);
    *arg = 77;
    CHECK_EQ(pthread_create(thread, NULL, argument_body, arg), 0);
}

TEST(the_argument_of_a_thread_is_kept) {
    if (test_slow()) SKIP("sanitizers carry the argument in memory of their own");
    for (int i = 0; i < 200; i++) {
        pthread_t threads[4];
        void *result;
        for (size_t k = 0; k < 4; k++) stop_hand_over(&threads[k]);
        test_clear_stack();
        CHECK_EQ(ebb_collect(), 0);
        for (size_t k = 0; k < 4; k++) {
            CHECK_EQ(pthread_join(threads[k], &result), 0);
            CHECK_EQ(*(int *)result, 77);
        }
    }
}

/* --- Alternate signal stacks ---------------------------------------------------------------- */

static sem_t handler_in, handler_go;
static atomic_bool handler_done;

static void on_alternate(int number) {
    void *volatile here;
    uintptr_t hidden;
    (void)number;
    hidden = probe_hide(here = probe_weak[0] ? ebb_weak_get(probe_weak[0]) : NULL);
    sem_post(&handler_in);
    while (sem_wait(&handler_go) != 0) continue;
    CHECK_EQ(probe_hide(here), hidden);
    atomic_store(&handler_done, true);
}

static void *alternate_body(void *arg) {
    pthread_barrier_t *barrier = arg;
    stack_t alternate = {.ss_sp = mmap(NULL, (size_t)1 << 16, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                         .ss_size = (size_t)1 << 16};
    CHECK_EQ(sigaltstack(&alternate, NULL), 0);
    /* The second one is held here only, the first one in the handler's frame only. */
    void *volatile below = ebb_alloc(32);
    probe_add(below);
    pthread_barrier_wait(barrier);
    while (!atomic_load(&handler_done)) sched_yield();
    CHECK(ebb_base_of(below) == below);
    return NULL;
}

/* An alternate stack may lie in the stack of its thread: then what is live lies below it too. */
static void on_inner_alternate(int number) {
    (void)number;
    ebb_blocking_begin();
    sem_post(&handler_in);
    while (sem_wait(&handler_go) != 0) continue;
    ebb_blocking_end();
}

static NOINLINE void inner_interrupted(void) {
    void *volatile below = ebb_alloc(32);
    probe_add(below);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK(ebb_base_of(below) == below);
}

static void *inner_alternate_body(void *unused) {
    char room[1 << 16];
    stack_t alternate = {.ss_sp = room, .ss_size = sizeof room};
    CHECK_EQ(sigaltstack(&alternate, NULL), 0);
    inner_interrupted();
    alternate.ss_flags = SS_DISABLE;
    CHECK_EQ(sigaltstack(&alternate, NULL), 0);
    return unused;
}

TEST(what_lies_below_an_alternate_stack_is_kept_while_a_handler_blocks) {
    pthread_t thread;
    struct sigaction action = {.sa_handler = on_inner_alternate, .sa_flags = SA_ONSTACK};
    sem_init(&handler_in, 0, 0);
    sem_init(&handler_go, 0, 0);
    sigaction(SIGUSR1, &action, NULL);
    CHECK_EQ(pthread_create(&thread, NULL, inner_alternate_body, NULL), 0);
    while (sem_wait(&handler_in) != 0) continue;
    probe_collect();
    CHECK(probe_lives(0));
    sem_post(&handler_go);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(both_stacks_of_a_signal_handler_keep) {
    pthread_t thread;
    pthread_barrier_t barrier;
    struct sigaction action = {.sa_handler = on_alternate, .sa_flags = SA_ONSTACK};
    sem_init(&handler_in, 0, 0);
    sem_init(&handler_go, 0, 0);
    pthread_barrier_init(&barrier, NULL, 2);
    sigaction(SIGUSR1, &action, NULL);
    void *volatile held = ebb_alloc(32);
    probe_add(held);
    CHECK_EQ(pthread_create(&thread, NULL, alternate_body, &barrier), 0);
    pthread_barrier_wait(&barrier);
    CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
    while (sem_wait(&handler_in) != 0) continue;
    held = NULL;
    probe_collect();
    CHECK(probe_lives(0));
    CHECK(probe_lives(1));
    sem_post(&handler_go);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* --- Coroutines ----------------------------------------------------------------------------- */

enum { COROUTINE_BYTES = 128 << 10 };
static ucontext_t coroutine_main, coroutine_here;
static int coroutine_step;

static void coroutine_body(void) {
    void *volatile mine = ebb_alloc(48);
    probe_add(mine);
    for (coroutine_step = 1; coroutine_step < 10; coroutine_step++) {
        swapcontext(&coroutine_here, &coroutine_main);
        CHECK(ebb_base_of(mine) == mine);
        /* Collected from here, the stack that was left keeps what it has. */
        CHECK_EQ(ebb_collect(), 0);
        CHECK(probe_lives(0));
    }
    mine = NULL;
}

static void coroutine_start(char *stack) {
    getcontext(&coroutine_here);
    coroutine_here.uc_stack.ss_sp = stack;
    coroutine_here.uc_stack.ss_size = COROUTINE_BYTES;
    coroutine_here.uc_link = &coroutine_main;
    makecontext(&coroutine_here, coroutine_body, 0);
}

static void coroutine_run(char *stack) {
    void *volatile under = ebb_alloc(48);
    probe_add(under);
    coroutine_start(stack);
    while (coroutine_step < 10) {
        CHECK_EQ(swapcontext(&coroutine_main, &coroutine_here), 0);
        probe_collect();
        CHECK(probe_lives(0));
        CHECK(coroutine_step == 10 || probe_lives(1));
    }
    CHECK(ebb_base_of(under) == under);
}

TEST(a_registered_coroutine_keeps) {
    char *stack =
        mmap(NULL, COROUTINE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_EQ(ebb_stack_add(stack, COROUTINE_BYTES), 0);
    coroutine_run(stack);
    CHECK_EQ(ebb_root_remove(stack), 0);
}

TEST(a_coroutine_on_malloc_memory_keeps) {
    char *stack = calloc(1, COROUTINE_BYTES);
    CHECK_EQ(ebb_stack_add(stack, COROUTINE_BYTES), 0);
    coroutine_run(stack);
    CHECK_EQ(ebb_root_remove(stack), 0);
    free(stack);
}

/* In another thread than the one that collects. */
static void *coroutine_thread(void *arg) {
    coroutine_run(arg);
    return NULL;
}

TEST(a_coroutine_of_another_thread_keeps) {
    pthread_t thread;
    char *stack =
        mmap(NULL, COROUTINE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK_EQ(ebb_stack_add(stack, COROUTINE_BYTES), 0);
    CHECK_EQ(pthread_create(&thread, NULL, coroutine_thread, stack), 0);
    for (int i = 0; i < 50; i++) CHECK_EQ(ebb_collect(), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* --- Blocking ------------------------------------------------------------------------------- */

typedef struct sleeper {
    int ends[2];
    bool bracket, block_signals;
    pthread_barrier_t barrier;
} sleeper;

static void block_all_signals(int how) {
    sigset_t all;
    sigfillset(&all);
    CHECK_EQ(pthread_sigmask(how, &all, NULL), 0);
}

static void *sleeper_body(void *arg) {
    sleeper *s = arg;
    char byte;
    void *volatile mine = ebb_alloc(40);
    probe_add(mine);
    test_clear_stack();
    if (s->block_signals) block_all_signals(SIG_BLOCK);
    if (s->bracket) ebb_blocking_begin();
    pthread_barrier_wait(&s->barrier);
    ssize_t got = read(s->ends[0], &byte, 1);
    if (s->bracket) ebb_blocking_end();
    CHECK_EQ(got, 1);
    CHECK(ebb_base_of(mine) == mine);
    if (s->block_signals) block_all_signals(SIG_UNBLOCK);
    pthread_barrier_wait(&s->barrier);
    return NULL;
}

static void sleeper_start(sleeper *s, pthread_t *thread) {
    CHECK_EQ(pipe(s->ends), 0);
    pthread_barrier_init(&s->barrier, NULL, 2);
    CHECK_EQ(pthread_create(thread, NULL, sleeper_body, s), 0);
    pthread_barrier_wait(&s->barrier);
}

static void sleeper_end(sleeper *s, pthread_t thread) {
    pipe_write(s->ends[1], "x", 1);
    pthread_barrier_wait(&s->barrier);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(a_thread_in_read_is_stopped_and_goes_on) {
    pthread_t thread;
    sleeper s = {.bracket = false};
    sleeper_start(&s, &thread);
    for (int i = 0; i < 20; i++) probe_collect();
    CHECK(probe_lives(0));
    sleeper_end(&s, thread);
}

TEST(a_bracketed_thread_keeps_and_is_not_signalled) {
    pthread_t thread;
    sleeper s = {.bracket = true, .block_signals = true};
    sleeper_start(&s, &thread);
    for (int i = 0; i < 20; i++) probe_collect();
    CHECK(probe_lives(0));
    sleeper_end(&s, thread);
    CHECK_EQ(ebb_collect(), 0);
}

/* nanosleep and poll are never restarted: bracketed, they sleep to their end. */
static void *napper_body(void *arg) {
    struct timespec nap = {0, 300000000};
    (void)arg;
    ebb_blocking_begin();
    CHECK_EQ(nanosleep(&nap, NULL), 0);
    CHECK_EQ(poll(NULL, 0, 300), 0);
    ebb_blocking_end();
    return NULL;
}

TEST(bracketed_sleeps_are_not_interrupted) {
    pthread_t thread;
    CHECK(ebb_alloc(8) != NULL);
    CHECK_EQ(pthread_create(&thread, NULL, napper_body, NULL), 0);
    for (int i = 0; i < 200; i++) {
        CHECK_EQ(ebb_collect(), 0);
        usleep(2000);
    }
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* Begin and end race with stops: end waits while the world is stopped. */
static atomic_bool bracket_end;

static void *bracket_body(void *arg) {
    void *volatile mine = NULL;
    (void)arg;
    for (size_t i = 0; !atomic_load(&bracket_end); i++) {
        char *fresh = ebb_alloc(16);
        memset(fresh, 0x11, 16);
        mine = fresh;
        fresh = NULL;
        ebb_blocking_begin();
        if (i % 64 == 0) sched_yield();
        ebb_blocking_end();
        CHECK_EQ(*(volatile char *)mine, 0x11);
    }
    return NULL;
}

TEST(brackets_race_with_collections) {
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, bracket_body, NULL), 0);
    for (int i = 0; i < 300; i++) {
        CHECK_EQ(ebb_collect(), 0);
        if (i % 10 == 0) usleep(100);
    }
    atomic_store(&bracket_end, true);
    for (size_t i = 0; i < 3; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* --- Threads that cannot be stopped --------------------------------------------------------- */

/* What fd 2 receives while fn runs. */
static void stop_capture(void (*fn)(void), char *text, size_t size) {
    int ends[2], saved = dup(STDERR_FILENO);
    CHECK_EQ(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    fn();
    dup2(saved, STDERR_FILENO);
    close(ends[1]);
    ssize_t got = read(ends[0], text, size - 1);
    text[got > 0 ? got : 0] = 0;
    close(ends[0]);
}

static int stop_result;

static void stop_try(void) {
    stop_result = ebb_collect();
}

TEST(a_thread_that_blocks_the_signal_is_named) {
    static char text[4096];
    pthread_t thread;
    sleeper s = {.block_signals = true};
    sleeper_start(&s, &thread);
    uint64_t cycles = ebb_cycles();
    stop_capture(stop_try, text, sizeof text);
    CHECK_EQ(stop_result, EBB_EBUSY);
    CHECK_EQ(ebb_cycles(), cycles);
    CHECK(strncmp(text, "ebb: ", 5) == 0);
    CHECK(strstr(text, "thread") && strstr(text, "signal"));
    /* Nothing was lost, allocation goes on, and so does collection afterwards. */
    for (int i = 0; i < 1000; i++) CHECK(ebb_alloc(1000) != NULL);
    sleeper_end(&s, thread);
    CHECK_EQ(ebb_collect(), 0);
    CHECK(probe_count == 1);
}

TEST(allocation_goes_on_beside_an_unstoppable_thread) {
    pthread_t thread;
    sleeper s = {.block_signals = true};
    sleeper_start(&s, &thread);
    for (int i = 0; i < 2000; i++) {
        char *p = ebb_alloc_data(10000);
        CHECK(p != NULL);
        p[9999] = 1;
    }
    sleeper_end(&s, thread);
    CHECK_EQ(ebb_collect(), 0);
}

/* --- Beside the rest of the system ---------------------------------------------------------- */

static atomic_bool children_end;

static void *collecting_body(void *arg) {
    (void)arg;
    while (!atomic_load(&children_end)) {
        CHECK_EQ(ebb_collect(), 0);
        usleep(500);
    }
    return NULL;
}

TEST(children_are_started_beside_collections) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, collecting_body, NULL), 0);
    for (int i = 0; i < 50; i++) {
        FILE *child = popen("echo here", "r");
        char line[32] = {0};
        CHECK(child && fgets(line, sizeof line, child));
        CHECK_STR(line, "here\n");
        CHECK_EQ(pclose(child), 0);
        CHECK_EQ(system("true"), 0);
    }
    atomic_store(&children_end, true);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* malloc's and stdio's locks may be held by a thread that is stopped. */
static void *malloc_body(void *arg) {
    FILE *null = fopen("/dev/null", "w");
    (void)arg;
    for (size_t i = 0; !atomic_load(&children_end); i++) {
        void *p = malloc(i % 5000);
        fprintf(null, "%p %zu\n", p, i);
        free(p);
    }
    fclose(null);
    return NULL;
}

TEST(malloc_and_stdio_beside_collections) {
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, malloc_body, NULL), 0);
    for (int i = 0; i < 300; i++) {
        CHECK_EQ(ebb_collect(), 0);
        free(malloc(100));
        if (i % 10 == 0) usleep(300);
    }
    atomic_store(&children_end, true);
    for (size_t i = 0; i < 3; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

/* The stop leaves errno as it was. */
static void *errno_body(void *arg) {
    size_t *wrong = arg;
    while (!atomic_load(&children_end)) {
        errno = 4711;
        for (volatile int i = 0; i < 1000; i++) continue;
        *wrong += errno != 4711;
    }
    return NULL;
}

TEST(errno_survives_a_stop) {
    pthread_t thread;
    static size_t wrong;
    CHECK_EQ(pthread_create(&thread, NULL, errno_body, &wrong), 0);
    for (int i = 0; i < 200; i++) CHECK_EQ(ebb_collect(), 0);
    atomic_store(&children_end, true);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(wrong, 0);
}

/* Threads start and end while others collect: none is waited for in vain, none is forgotten. */
static void *short_body(void *arg) {
    void *volatile mine = ebb_alloc(64);
    memset(mine, 0x22, 64);
    sched_yield();
    CHECK_EQ(((volatile char *)mine)[63], 0x22);
    return arg;
}

static void *spawning_body(void *arg) {
    (void)arg;
    while (!atomic_load(&children_end)) {
        pthread_t threads[5];
        for (size_t i = 0; i < 5; i++) {
            CHECK_EQ(pthread_create(&threads[i], NULL, short_body, NULL), 0);
        }
        for (size_t i = 0; i < 5; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    }
    return NULL;
}

TEST(threads_come_and_go_beside_collections) {
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, spawning_body, NULL), 0);
    }
    for (int i = 0; i < 300; i++) CHECK_EQ(ebb_collect(), 0);
    atomic_store(&children_end, true);
    for (size_t i = 0; i < 2; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(a_hundred_threads) {
    enum { MANY = 100 };
    static pthread_t threads[MANY];
    static sleeper s[MANY];
    for (size_t i = 0; i < MANY; i++) sleeper_start(&s[i], &threads[i]);
    for (int i = 0; i < 10; i++) probe_collect();
    CHECK_EQ(probe_living(0, MANY), MANY);
    for (size_t i = 0; i < MANY; i++) sleeper_end(&s[i], threads[i]);
    probe_collect();
    CHECK(probe_living(0, MANY) <= PROBE_STALE);
}

/* --- The library's own threads -------------------------------------------------------------- */

/* What a tool may do that wraps thread creation: each thread takes a lock of the tool's first. */
typedef struct beginning {
    void *(*fn)(void *);
    void *arg;
} beginning;

static pthread_mutex_t tool_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool tool_wraps;
static atomic_int tool_waiting;

static void *tool_body(void *arg) {
    beginning b = *(beginning *)arg;
    free(arg);
    atomic_fetch_add(&tool_waiting, 1);
    pthread_mutex_lock(&tool_lock);
    pthread_mutex_unlock(&tool_lock);
    return b.fn(b.arg);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg) {
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    if (!atomic_load(&tool_wraps)) return create(thread, attr, fn, arg);
    beginning *b = malloc(sizeof *b);
    *b = (beginning){fn, arg};
    return create(thread, attr, tool_body, b);
}

static void *tool_holder(void *gate) {
    char go;
    pthread_mutex_lock(&tool_lock);
    atomic_fetch_add(&tool_waiting, 1);
    pipe_read(*(int *)gate, &go, 1);
    pthread_mutex_unlock(&tool_lock);
    return NULL;
}

/* The collector's thread begins while a thread that is stopped has the lock. */
TEST(a_tool_holds_up_threads_of_ours) {
    int gate[2];
    pthread_t holder;
    CHECK_EQ(pipe(gate), 0);
    void *volatile kept = ebb_alloc_data((size_t)32 << 20);
    CHECK_EQ(ebb_collect(), 0); /* makes the markers, which a collection waits for */
    CHECK_EQ(pthread_create(&holder, NULL, tool_holder, &gate[0]), 0);
    while (atomic_load(&tool_waiting) == 0) usleep(1000);
    atomic_store(&tool_wraps, true);
    for (int i = 0; i < 100000 && atomic_load(&tool_waiting) == 1; i++)
        CHECK(ebb_alloc_data(4096) != NULL);
    if (atomic_load(&tool_waiting) == 1) SKIP("the collector has no thread of its own here");
    for (int i = 0; i < 3; i++) CHECK_EQ(ebb_collect(), 0);
    pipe_write(gate[1], "e", 1);
    CHECK_EQ(pthread_join(holder, NULL), 0);
    for (int i = 0; i < 3; i++) CHECK_EQ(ebb_collect(), 0);
    CHECK(kept != NULL);
}

/* --- Strangers ------------------------------------------------------------------------------ */

static atomic_int stranger_turn;

static void *stranger_blocked(void *unused) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    atomic_store(&stranger_turn, 1);
    while (atomic_load(&stranger_turn) == 1) usleep(1000);
    return unused;
}

TEST(strangers_of_environment) {
    const char *gc = getenv("EBB_GC");
    pthread_t thread;
    if (!gc || !strstr(gc, "strangers")) SKIP("runs inside strangers_are_passed_over_if_so_said");
    CHECK_EQ(pthread_create(&thread, NULL, stranger_blocked, NULL), 0);
    while (atomic_load(&stranger_turn) != 1) usleep(1000);
    int expected = strstr(gc, "pass") ? 0 : EBB_EBUSY;
    for (int i = 0; i < 3; i++) CHECK_EQ(ebb_collect(), expected);
    atomic_store(&stranger_turn, 2);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(ebb_collect(), 0);
}

TEST(strangers_are_passed_over_if_so_said) {
    MODES_PASS("strangers_of_environment", NULL, "strangers=pass");
    static modes_result stop;
    CHECK_EQ(modes_run(&stop, "strangers_of_environment", NULL, "strangers=stop"), 0);
    CHECK(strstr(stop.text, "unless EBB_GC=strangers=pass") != NULL);
}
