/* blocking.c - calls that block, the signals that stop threads, and stopping threads by hand.
 *
 * A thread in GC_do_blocking is not stopped, and what it does there is not searched; inside of
 * that, GC_call_with_gc_active makes it an ordinary thread again, and so on. Ebb's own brackets do
 * not nest, so each change closes or opens one.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#ifndef _GNU_SOURCE
# define _GNU_SOURCE
#endif
#include "turns.h"

#include <errno.h>
#include <signal.h>

/* --- Blocking -----------------------------------------------------------------------------------
 */

static _Thread_local bool blocking_now __attribute__((tls_model("initial-exec")));

/* Errno is what the called functions made it, to whom this is invisible. The frame of the caller of
 * ebb_blocking_begin has to last: so this is part of its callers. */
static inline __attribute__((always_inline)) void blocking_set(bool now) {
    int error = errno;
    if (blocking_now == now) return;
    blocking_now = now;
    if (now)
        ebb_blocking_begin();
    else
        ebb_blocking_end();
    errno = error;
}

__attribute__((noinline)) static void *blocking_call(GC_fn_type fn, void *data, bool now) {
    bool before = blocking_now;
    blocking_set(now);
    void *result = fn(data);
    blocking_set(before);
    return result;
}

void *GC_do_blocking(GC_fn_type fn, void *data) {
    gc__attend();
    return blocking_call(fn, data, true);
}

void *GC_call_with_gc_active(GC_fn_type fn, void *data) {
    if (!blocking_now) gc__attend();
    return blocking_call(fn, data, false);
}

void gc__blocking_leave(void) {
    blocking_set(false);
}

/* --- Signals ------------------------------------------------------------------------------------
 */

/* Threads are stopped by a signal of Ebb's choice (EBB_GC=signal=N), and go on without one. What a
 * program proposes is kept, so that it reads as it was set. */
static int signal_restart = -1;

void GC_set_suspend_signal(int number) {
    (void)number;
}

int GC_get_suspend_signal(void) {
    gc__attend();
    return ebb_stop_signal();
}

void GC_set_thr_restart_signal(int number) {
    signal_restart = number;
}

int GC_get_thr_restart_signal(void) {
    return signal_restart;
}

/* The signal that stops threads is never blocked. */
int GC_pthread_sigmask(int how, const sigset_t *set, sigset_t *old) {
    if (!set || (how != SIG_BLOCK && how != SIG_SETMASK)) return pthread_sigmask(how, set, old);
    sigset_t allowed = *set;
    sigdelset(&allowed, GC_get_suspend_signal());
    return pthread_sigmask(how, &allowed, old);
}

/* --- By hand ------------------------------------------------------------------------------------
 */

static const char blocking_why_no_world[] =
    "a stop ends in the call that made it; GC_call_with_alloc_lock keeps the world from stopping";
static const char blocking_why_no_thread[] = "threads are stopped all together, by a cycle";

void GC_stop_world_external(void) {
    gc__fail_loudly("GC_stop_world_external", blocking_why_no_world);
}

void GC_start_world_external(void) {
    gc__fail_loudly("GC_start_world_external", blocking_why_no_world);
}

void GC_suspend_thread(pthread_t thread) {
    (void)thread;
    gc__fail_loudly("GC_suspend_thread", blocking_why_no_thread);
}

void GC_resume_thread(pthread_t thread) {
    (void)thread;
    gc__fail_loudly("GC_resume_thread", blocking_why_no_thread);
}

int GC_is_thread_suspended(pthread_t thread) {
    (void)thread;
    return 0;
}
