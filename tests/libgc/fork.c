/* fork.c - a child process goes on with the heap of its parent. */
#define GC_THREADS
#include "nodes.h"

#include <pthread.h>

static node *kept;
static size_t finalized;

static void count_finalized(void *object, void *data) {
    (void)object;
    (void)data;
    finalized++;
}

static NOINLINE void make_finalized(void) {
    for (int i = 0; i < 100; i++) {
        GC_register_finalizer(GC_malloc(30), count_finalized, NULL, NULL, NULL);
    }
}

static void *busy_thread(void *argument) {
    volatile int *stop = argument;
    while (!*stop) GC_reachable_here(node_list(100));
    return NULL;
}

static void *counting_thread(void *argument) {
    return (void *)node_count(argument);
}

/* What a child finds, and does. */
static int child_works(void) {
    if (node_count(kept) != 10000) return 1;
    for (int i = 0; i < 3; i++) {
        GC_reachable_here(node_list(50000));
        collect();
    }
    if (node_count(kept) != 10000) return 2;
    make_finalized();
    collect();
    collect();
    if (finalized < 90) return 3;
    pthread_t thread;
    void *result;
    if (pthread_create(&thread, NULL, counting_thread, kept)) return 4;
    pthread_join(thread, &result);
    return result == (void *)10000 ? 0 : 5;
}

static int child_status(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int forked(void) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) _exit(child_works());
    return child_status(pid);
}

BARE_CASE(handled) {
    GC_set_handle_fork(1);
    GC_INIT();
    kept = node_list(10000);
    for (int i = 0; i < 3; i++) say("child: %d", forked());
    collect();
    say("parent: %zu", node_count(kept));
}

BARE_CASE(by_hand) {
    GC_set_handle_fork(-1);
    GC_INIT();
    kept = node_list(10000);
    for (int i = 0; i < 3; i++) {
        fflush(stdout);
        GC_atfork_prepare();
        pid_t pid = fork();
        if (pid == 0) {
            GC_atfork_child();
            _exit(child_works());
        }
        GC_atfork_parent();
        say("child: %d", child_status(pid));
    }
    collect();
    say("parent: %zu", node_count(kept));
}

BARE_CASE(while_threads_allocate) {
    GC_set_handle_fork(1);
    GC_INIT();
    kept = node_list(10000);
    static volatile int stop;
    pthread_t thread[3];
    for (int i = 0; i < 3; i++) pthread_create(&thread[i], NULL, busy_thread, (void *)&stop);
    for (int i = 0; i < 5; i++) say("child: %d", forked());
    stop = 1;
    for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
    say("parent: %zu", node_count(kept));
}

BARE_CASE(grandchildren) {
    GC_set_handle_fork(1);
    GC_INIT();
    kept = node_list(10000);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int status = forked();
        _exit(status ? status : child_works());
    }
    say("child: %d", child_status(pid));
}
