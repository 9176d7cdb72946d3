/* threads.c - threads by the redirected calls and by others: what only their stacks, their
 * arguments and their results refer to; blocking, the lock, registration. */
#define _GNU_SOURCE
#define GC_THREADS
#include "nodes.h"

#include <dlfcn.h>
#include <gc/gc_inline.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum { THREADS = 8 };

static void churn(size_t times) {
    for (size_t i = 0; i < times; i++) memset(GC_malloc_atomic(i % 100 + 16), 0xFF, i % 100 + 16);
}

static void nap(long ms) {
    struct timespec time = {0, ms * 1000000};
    nanosleep(&time, NULL);
}

/* --- Create, join, exit --------------------------------------------------------------------- */

static void *list_thread(void *argument) {
    node *kept = node_list(20000);
    for (int i = 0; i < 5; i++) GC_reachable_here(node_list(20000));
    size_t *count = GC_malloc_atomic(sizeof *count);
    *count = node_count(kept) + (size_t)argument;
    return count;
}

CASE(create_and_join) {
    pthread_t thread[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        if (pthread_create(&thread[i], NULL, list_thread, (void *)i)) say("not created");
    }
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        if (pthread_join(thread[i], &result)) say("not joined");
        say("thread %d counts %zu", i, *(size_t *)result);
    }
}

static void *exit_thread(void *argument) {
    pthread_exit(list_thread(argument));
}

/* The stock library forgets a result that nobody has joined for: there they do so at once. */
CASE(result_of_an_exited_thread) {
    pthread_t thread[THREADS];
    void *result[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        pthread_create(&thread[i], NULL, exit_thread, (void *)i);
        if (!is_ebb()) pthread_join(thread[i], &result[i]);
    }
    nap(300);
    for (int i = 0; i < 3; i++) {
        collect();
        churn(50000);
    }
    for (int i = 0; i < THREADS; i++) {
        if (is_ebb()) pthread_join(thread[i], &result[i]);
        say("thread %d counts %zu", i, *(size_t *)result[i]);
    }
}

static void *argument_thread(void *argument) {
    nap(5);
    return (void *)(node_count(argument) == 100 ? 1l : 0l);
}

static NOINLINE void start_with_list(pthread_t *thread) {
    pthread_create(thread, NULL, argument_thread, node_list(100));
}

CASE(argument_only) {
    enum { MANY = 40 };
    pthread_t thread[MANY];
    size_t good = 0;
    for (int i = 0; i < MANY; i++) {
        start_with_list(&thread[i]);
        clear_stack();
        if (i % 4 == 0) collect();
        churn(1000);
    }
    for (int i = 0; i < MANY; i++) {
        void *result;
        pthread_join(thread[i], &result);
        good += result == (void *)1;
    }
    say("%zu of %d found their argument whole", good, MANY);
}

static atomic_int detached_done;

static void *detached_thread(void *argument) {
    (void)argument;
    if (node_count(node_list(5000)) == 5000) detached_done++;
    return NULL;
}

CASE(detach) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        pthread_create(&thread, i % 2 ? &attributes : NULL, detached_thread, NULL);
        if (i % 2 == 0 && pthread_detach(thread)) say("not detached");
    }
    for (int i = 0; i < 1000 && detached_done < THREADS; i++) {
        nap(5);
        churn(100);
    }
    say("%d done", detached_done);
}

CASE(come_and_go) {
    size_t sum = 0;
    for (size_t round = 0; round < 100; round++) {
        pthread_t thread[4];
        for (int i = 0; i < 4; i++) start_with_list(&thread[i]);
        churn(500);
        for (int i = 0; i < 4; i++) {
            void *result;
            pthread_join(thread[i], &result);
            sum += (size_t)result;
        }
    }
    say("%zu of 400", sum);
}

static void *cancelled_thread(void *argument) {
    node *volatile list = node_list(1000);
    for (;;) {
        nap(1);
        churn(100);
        __atomic_store_n((size_t *)argument, node_count(list), __ATOMIC_RELAXED);
    }
    return NULL;
}

CASE(cancel) {
    static size_t seen[4];
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) pthread_create(&thread[i], NULL, cancelled_thread, &seen[i]);
    for (int i = 0; i < 4; i++) {
        while (__atomic_load_n(&seen[i], __ATOMIC_RELAXED) != 1000) nap(5);
    }
    collect();
    for (int i = 0; i < 4; i++) {
        void *result;
        if (pthread_cancel(thread[i])) say("not cancelled");
        pthread_join(thread[i], &result);
        say("cancelled: %s, saw %zu", yes(result == PTHREAD_CANCELED), seen[i]);
    }
    collect();
}

/* --- What only a thread refers to ----------------------------------------------------------- */

static pthread_barrier_t barrier;

static void *holding_thread(void *argument) {
    node *volatile list = node_list(3000);
    char *volatile inside = (char *)GC_malloc_atomic(1000) + 500;
    memset(inside - 500, 'k', 1000);
    (void)argument;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    size_t bad = 0;
    for (int i = -500; i < 500; i++) bad += inside[i] != 'k';
    return (void *)(node_count(list) * 1000 + bad);
}

CASE(on_other_stacks) {
    pthread_t thread[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) pthread_create(&thread[i], NULL, holding_thread, NULL);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 3; i++) {
        collect();
        churn(30000);
    }
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(thread[i], &result);
        say("%zu", (size_t)result);
    }
}

/* The stock library does not look at that of the first thread. */
static __thread node *thread_local_list;

static void *thread_local_thread(void *argument) {
    thread_local_list = node_list(3000);
    (void)argument;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return (void *)node_count(thread_local_list);
}

CASE(thread_local) {
    pthread_t thread[4];
    node *volatile same = is_ebb() ? NULL : node_list(2000);
    thread_local_list = is_ebb() ? node_list(2000) : same;
    pthread_barrier_init(&barrier, NULL, 5);
    for (int i = 0; i < 4; i++) pthread_create(&thread[i], NULL, thread_local_thread, NULL);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 3; i++) {
        collect();
        churn(30000);
    }
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(thread[i], &result);
        say("%zu", (size_t)result);
    }
    say("%zu of the first thread", node_count(thread_local_list));
}

static atomic_int stop;

static void *collecting_thread(void *argument) {
    (void)argument;
    while (!stop) {
        GC_gcollect();
        nap(1);
    }
    return NULL;
}

CASE(while_another_collects) {
    pthread_t collector, thread[4];
    pthread_create(&collector, NULL, collecting_thread, NULL);
    for (size_t i = 0; i < 4; i++) pthread_create(&thread[i], NULL, list_thread, (void *)i);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(thread[i], &result);
        say("%zu", *(size_t *)result);
    }
    stop = 1;
    pthread_join(collector, NULL);
}

static node *exchanged[64];
static pthread_mutex_t exchange_mutex = PTHREAD_MUTEX_INITIALIZER;

static void *exchange_thread(void *argument) {
    size_t bad = 0;
    for (size_t i = 0; i < 4000; i++) {
        size_t at = (i * 7 + (size_t)argument * 13) % 64;
        node *fresh = node_list(10);
        pthread_mutex_lock(&exchange_mutex);
        node *old = exchanged[at];
        exchanged[at] = fresh;
        pthread_mutex_unlock(&exchange_mutex);
        bad += old && node_count(old) != 10;
    }
    return (void *)bad;
}

CASE(exchange) {
    pthread_t thread[THREADS];
    size_t bad = 0;
    for (size_t i = 0; i < THREADS; i++) {
        pthread_create(&thread[i], NULL, exchange_thread, (void *)i);
    }
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(thread[i], &result);
        bad += (size_t)result;
    }
    say("%zu damaged", bad);
}

/* --- Signals -------------------------------------------------------------------------------- */

static void *masked_thread(void *argument) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    return holding_thread(argument);
}

CASE(all_signals_blocked) {
    pthread_t thread[2];
    pthread_barrier_init(&barrier, NULL, 3);
    for (int i = 0; i < 2; i++) pthread_create(&thread[i], NULL, masked_thread, NULL);
    pthread_barrier_wait(&barrier);
    collect();
    churn(30000);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 2; i++) {
        void *result;
        pthread_join(thread[i], &result);
        say("%zu", (size_t)result);
    }
}

static int pipe_ends[2];

static void *reading_thread(void *argument) {
    node *volatile list = node_list(500);
    char byte = 0;
    (void)argument;
    ssize_t got = read(pipe_ends[0], &byte, 1);
    return (void *)(node_count(list) * 10 + (size_t)(got == 1 && byte == 'x'));
}

CASE(in_a_system_call) {
    pthread_t thread;
    if (pipe(pipe_ends)) say("no pipe");
    pthread_create(&thread, NULL, reading_thread, NULL);
    nap(50);
    for (int i = 0; i < 20; i++) {
        collect();
        churn(1000);
    }
    say("written %zd", write(pipe_ends[1], "x", 1));
    void *result;
    pthread_join(thread, &result);
    say("%zu", (size_t)result);
}

/* --- Registration --------------------------------------------------------------------------- */

typedef int create_function(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static int plain_create(pthread_t *thread, void *(*start)(void *), void *argument) {
    void *found = dlsym(RTLD_DEFAULT, "pthread_create");
    create_function *create;
    memcpy(&create, &found, sizeof create);
    return create(thread, NULL, start, argument);
}

static int plain_join(pthread_t thread, void **result) {
    void *found = dlsym(RTLD_DEFAULT, "pthread_join");
    int (*join)(pthread_t, void **);
    memcpy(&join, &found, sizeof join);
    return join(thread, result);
}

static int registered[6];
static size_t foreign_count;

static void *foreign_thread(void *argument) {
    struct GC_stack_base base;
    (void)argument;
    registered[0] = GC_thread_is_registered();
    if (GC_get_stack_base(&base) != GC_SUCCESS) return NULL;
    registered[1] = GC_register_my_thread(&base);
    registered[2] = GC_thread_is_registered();
    registered[3] = GC_register_my_thread(&base);
    node *volatile list = node_list(1000);
    churn(50000);
    GC_gcollect();
    foreign_count = node_count(list);
    registered[4] = GC_unregister_my_thread();
    registered[5] = GC_thread_is_registered();
    return NULL;
}

CASE(foreign) {
    pthread_t thread;
    GC_allow_register_threads();
    say("the first thread: %d", GC_thread_is_registered());
    for (int i = 0; i < 3; i++) {
        plain_create(&thread, foreign_thread, NULL);
        plain_join(thread, NULL);
        say("before %d, register %d, then %d, again %d; unregister %d, then %d; %zu", registered[0],
            registered[1], registered[2], registered[3], registered[4], registered[5],
            foreign_count);
    }
}

static void *with_base(struct GC_stack_base *base, void *data) {
    int here = GC_register_my_thread(base);
    *(int *)data = here;
    node *volatile list = node_list(1000);
    GC_gcollect();
    size_t count = node_count(list);
    GC_unregister_my_thread();
    return (void *)count;
}

static void *with_base_thread(void *argument) {
    return GC_call_with_stack_base(with_base, argument);
}

CASE(call_with_stack_base) {
    pthread_t thread;
    int answer = -1;
    void *result;
    GC_allow_register_threads();
    plain_create(&thread, with_base_thread, &answer);
    plain_join(thread, &result);
    say("register %d, %zu", answer, (size_t)result);
}

static void *known_thread(void *argument) {
    struct GC_stack_base base;
    int *answers = argument;
    answers[0] = GC_thread_is_registered();
    GC_get_stack_base(&base);
    answers[1] = GC_register_my_thread(&base);
    answers[2] = (char *)base.mem_base > (char *)&base;
    return NULL;
}

CASE(created_are_registered) {
    pthread_t thread;
    int answers[3];
    GC_allow_register_threads();
    pthread_create(&thread, NULL, known_thread, answers);
    pthread_join(thread, NULL);
    say("%d, register %d, the stack ends above: %d", answers[0], answers[1], answers[2]);
}

static void *altstack_thread(void *argument) {
    pthread_attr_t attributes;
    void *stack;
    size_t size;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &stack, &size);
    stack_t alternate = {.ss_sp = malloc(65536), .ss_size = 65536};
    sigaltstack(&alternate, NULL);
    GC_register_altstack(stack, size, alternate.ss_sp, alternate.ss_size);
    return list_thread(argument);
}

CASE(altstack) {
    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, altstack_thread, NULL);
    collect();
    pthread_join(thread, &result);
    say("%zu", *(size_t *)result);
}

/* --- Blocking ------------------------------------------------------------------------------- */

static void *sleep_a_while(void *data) {
    nap(200);
    return data;
}

static void *count_again(void *data) {
    churn(20000);
    GC_gcollect();
    return (void *)node_count(data);
}

static void *active_within(void *data) {
    void *inner = GC_call_with_gc_active(count_again, data);
    nap(50);
    return (void *)((size_t)inner + (size_t)GC_call_with_gc_active(count_again, data));
}

static void *deeper(void *data) {
    return GC_do_blocking(active_within, data);
}

static void *twice_active(void *data) {
    return GC_call_with_gc_active(deeper, data);
}

static void *blocking_thread(void *argument) {
    node *volatile list = node_list(1000);
    (void)argument;
    pthread_barrier_wait(&barrier);
    void *same = GC_do_blocking(sleep_a_while, list);
    size_t count = node_count(same);
    count += (size_t)GC_do_blocking(active_within, list) * 10;
    count += (size_t)GC_do_blocking(twice_active, list) * 100;
    return (void *)(count + node_count(list) * 10000);
}

CASE(do_blocking) {
    pthread_t thread[4];
    pthread_barrier_init(&barrier, NULL, 5);
    for (int i = 0; i < 4; i++) pthread_create(&thread[i], NULL, blocking_thread, NULL);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 10; i++) {
        collect();
        churn(10000);
    }
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(thread[i], &result);
        say("%zu", (size_t)result);
    }
}

CASE(do_blocking_first_thread) {
    node *volatile list = node_list(1000);
    say("%zu", node_count(GC_do_blocking(sleep_a_while, list)));
    say("%zu", (size_t)GC_do_blocking(active_within, list));
    say("%zu", (size_t)GC_do_blocking(twice_active, list));
    say("%zu", (size_t)GC_call_with_gc_active(count_again, list));
}

/* --- The lock ------------------------------------------------------------------------------- */

static size_t shared_number;

static void *add_one(void *data) {
    size_t before = shared_number;
    for (volatile int i = 0; i < 20; i++) continue;
    shared_number = before + 1;
    return data;
}

static void *locking_thread(void *argument) {
    for (int i = 0; i < 2000; i++) {
        if (GC_call_with_alloc_lock(add_one, argument) != argument) return NULL;
        GC_alloc_lock();
        add_one(NULL);
        GC_alloc_unlock();
        if (i % 10 == 0) churn(10);
    }
    return argument;
}

CASE(lock_excludes) {
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++) pthread_create(&thread[i], NULL, locking_thread, &thread[i]);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    say("%zu", shared_number);
}

/* A table of hidden pointers, read by some threads while others drop and collect. */
enum { WEAK = 500 };
static void *weak_table[WEAK];

static void *weak_reveal(void *data) {
    void *hidden = weak_table[(size_t)data];
    return hidden ? GC_REVEAL_POINTER((GC_hidden_pointer)hidden) : NULL;
}

static void *weak_reader(void *argument) {
    size_t bad = 0;
    (void)argument;
    for (size_t i = 0; i < 60000; i++) {
        size_t at = i * 31 % WEAK;
        size_t *p = GC_call_with_alloc_lock(weak_reveal, (void *)at);
        bad += p && (p[0] != 0x600D || p[1] != at);
        if (i % 50 == 0) churn(20);
    }
    return (void *)bad;
}

static void *weak_writer(void *argument) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    (void)argument;
    while (!stop) {
        for (size_t at = 0; at < WEAK && !stop; at++) {
            pthread_mutex_lock(&mutex);
            if (!weak_table[at]) {
                size_t *p = GC_malloc_atomic(2 * sizeof *p);
                p[0] = 0x600D;
                p[1] = at;
                GC_alloc_lock();
                weak_table[at] = (void *)GC_HIDE_POINTER(p);
                GC_alloc_unlock();
                GC_general_register_disappearing_link(&weak_table[at], p);
                GC_reachable_here(p);
            }
            pthread_mutex_unlock(&mutex);
        }
        churn(2000);
    }
    return NULL;
}

CASE(weak_table) {
    pthread_t reader[3], writer[2];
    size_t bad = 0;
    for (int i = 0; i < 2; i++) pthread_create(&writer[i], NULL, weak_writer, NULL);
    for (int i = 0; i < 3; i++) pthread_create(&reader[i], NULL, weak_reader, NULL);
    for (int i = 0; i < 3; i++) {
        void *result;
        pthread_join(reader[i], &result);
        bad += (size_t)result;
    }
    stop = 1;
    for (int i = 0; i < 2; i++) pthread_join(writer[i], NULL);
    say("%zu dead ones revealed", bad);
}

/* --- Others --------------------------------------------------------------------------------- */

static atomic_int suspended, resumed;

static void thread_event(GC_EventType event, void *thread) {
    (void)thread;
    suspended += event == GC_EVENT_THREAD_SUSPENDED;
    resumed += event == GC_EVENT_THREAD_UNSUSPENDED;
}

CASE(thread_events) {
    pthread_t thread[2];
    GC_set_on_thread_event(thread_event);
    say("set: %s", yes(GC_get_on_thread_event() == thread_event));
    pthread_barrier_init(&barrier, NULL, 3);
    for (int i = 0; i < 2; i++) pthread_create(&thread[i], NULL, holding_thread, NULL);
    pthread_barrier_wait(&barrier);
    collect();
    say("suspended: %s, as many resumed: %s", yes(suspended >= 2), yes(suspended == resumed));
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
}

BARE_CASE(markers) {
    GC_set_markers_count(2);
    GC_INIT();
    GC_start_mark_threads();
    say("parallel is not negative: %s", yes(GC_get_parallel() >= 0));
    say("the variable says the same: %s", yes(GC_parallel == GC_get_parallel()));
}

static size_t finalized;

static void count_finalized(void *object, void *data) {
    (void)object;
    (void)data;
    __atomic_fetch_add(&finalized, 1, __ATOMIC_RELAXED);
}

static void *finalizing_thread(void *argument) {
    for (int i = 0; i < 1000; i++) {
        GC_register_finalizer(GC_malloc(30), count_finalized, NULL, NULL, NULL);
    }
    churn(10000);
    return argument;
}

CASE(finalizers_of_threads) {
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++) pthread_create(&thread[i], NULL, finalizing_thread, NULL);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    collect_all();
    say("%s", part(finalized, THREADS * 1000));
}

static void *malloc_many_thread(void *argument) {
    size_t bad = 0;
    (void)argument;
    for (int i = 0; i < 500; i++) {
        size_t *p, *next;
        for (p = GC_malloc_many(32); p; p = next) {
            next = GC_NEXT(p);
            bad += p[1] || p[2] || p[3];
            p[1] = p[2] = p[3] = 7;
        }
        bad += GC_malloc_kind_global(40, GC_I_NORMAL) == NULL;
    }
    return (void *)bad;
}

CASE(malloc_many) {
    pthread_t thread[4];
    size_t bad = 0;
    for (int i = 0; i < 4; i++) pthread_create(&thread[i], NULL, malloc_many_thread, NULL);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(thread[i], &result);
        bad += (size_t)result;
    }
    say("%zu not zeroed", bad);
}
