/* init.c - GC_init, and what happens at the turns of a cycle.
 *
 * Whatever of the library is called first initializes it: calls that allocate look at one word
 * (gc__attend) that says so, and the same word tells them later that finalizers wait.
 *
 * The hooks put the parts in the order that programs may rely on: the start callback, then, with
 * the world stopped, the program's own roots; links, before and after finalizers are looked for;
 * then, with the world running, what is told about the cycle.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#ifndef _GNU_SOURCE
# define _GNU_SOURCE
#endif
#include "turns.h"

#include <errno.h>

_Atomic unsigned gc__attention = GC__UNBORN;

/* GC_init by one thread; again by the same, from what it calls, it is none. */
static pthread_mutex_t init_mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static _Atomic bool init_begun, init_done; /* written under init_mutex */

static _Thread_local bool turn_mine __attribute__((tls_model("initial-exec")));
/* By the threads that make the turns. */
static bool turn_of_cycle; /* from `stopping` to the end of the marking */
static bool turn_told;     /* the events of its stop were given */

bool gc__in_turn(void) {
    return turn_mine;
}

bool gc__is_up(void) {
    return atomic_load_explicit(&init_done, memory_order_acquire);
}

/* --- Hooks ------------------------------------------------------------------------------------ */

/* No allocation in here: a program that does it would wait for itself. */
static void turn_stopping(void) {
    GC_start_callback_proc start = GC__SET(start_callback);
    turn_mine = turn_of_cycle = true;
    turn_told = false;
    gc__event(GC_EVENT_START);
    if (start) start();
    gc__toggles_stopping();
    gc__threads_stopping();
    gc__event(GC_EVENT_PRE_STOP_WORLD);
    turn_mine = false;
}

/* Other parts of Ebb's ask for the roots too, of a world that stands, and a check asks again: they
 * get no events. */
static void turn_roots(ebb_marker *marker) {
    ebb_marker *outer = gc__marker;
    bool was_mine = turn_mine;
    turn_mine = true;
    gc__marker = marker;
    if (turn_of_cycle && !turn_told) {
        turn_told = true;
        gc__threads_event(GC_EVENT_THREAD_SUSPENDED);
        gc__event(GC_EVENT_POST_STOP_WORLD);
        gc__event(GC_EVENT_MARK_START);
    }
    GC_push_other_roots_proc push = __atomic_load_n(&GC_push_other_roots, __ATOMIC_ACQUIRE);
    if (push) push();
    gc__toggles_roots(marker);
    gc__marker = outer;
    turn_mine = was_mine;
}

static void turn_marked(bool finalizers) {
    turn_mine = gc__knows_marks = true;
    gc__links_marked(finalizers);
    if (finalizers) {
        gc__toggles_marked();
        gc__event(GC_EVENT_MARK_END);
        gc__event(GC_EVENT_PRE_START_WORLD);
        gc__threads_event(GC_EVENT_THREAD_UNSUSPENDED);
        gc__threads_marked();
        turn_of_cycle = false; /* not after the stop: the next cycle's may have begun then */
    }
    turn_mine = gc__knows_marks = false;
}

static void turn_stopped(size_t due) {
    gc__threads_stopped();
    gc__report_stopped();
    gc__event(GC_EVENT_POST_START_WORLD);
    gc__event(GC_EVENT_RECLAIM_START);
    gc__event(GC_EVENT_RECLAIM_END);
    gc__event(GC_EVENT_END);
    gc__roots_refresh();
    gc__settings_apply();
    gc__debug_stopped();
    gc__finalize_stopped(due);
}

/* --- GC_init ---------------------------------------------------------------------------------- */

static void init_heap(void) {
    static const ebb_runtime hooks = {turn_stopping, turn_roots, turn_marked, turn_stopped};
    const void *start, *end;
    if (ebb_runtime_set(&hooks) != 0 || ebb_heap_bounds(&start, &end) != 0)
        gc__abort("GC_init: there can be no heap, or another runtime has it");
    GC_least_plausible_heap_addr = (void *)(uintptr_t)start;
    GC_greatest_plausible_heap_addr = (void *)(uintptr_t)end;
}

static void init_all(void) {
    gc__settings_read();
    if (GC_find_leak)
        gc__fail_loudly("GC_init", "GC_find_leak: there is no mode that looks for leaks only");
    init_heap();
    gc__threads_init();
    gc__kinds_init();
    atomic_store_explicit(&init_done, true, memory_order_release);
    gc__roots_refresh();
    gc__settings_apply();
    atomic_fetch_and_explicit(&gc__attention, ~(unsigned)GC__UNBORN, memory_order_release);
}

void GC_init(void) {
    int error = errno;
    pthread_mutex_lock(&init_mutex);
    if (!atomic_load_explicit(&init_begun, memory_order_relaxed)) {
        atomic_store_explicit(&init_begun, true, memory_order_relaxed);
        init_all();
    }
    pthread_mutex_unlock(&init_mutex);
    errno = error;
}

int GC_is_init_called(void) {
    return atomic_load_explicit(&init_begun, memory_order_relaxed);
}

/* The process gives everything back when it ends. */
void GC_deinit(void) {
}

void gc__attend_now(void) {
    int error = errno;
    unsigned attention = atomic_load_explicit(&gc__attention, memory_order_relaxed);
    if (attention & GC__UNBORN) GC_init();
    if (attention & GC__DUE) gc__finalize_pending();
    errno = error;
}

unsigned GC_get_version(void) {
    return 8 << 16 | 2 << 8 | 2; /* the release whose interface this is */
}
