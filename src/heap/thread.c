/* thread.c - thread records: made on a thread's first allocation, given back when it ends.
 * docs/design.md, "Threads". */
#include "bins.h"
#include "hooks.h"
#include "../os/threads.h"

_Thread_local heap_thread *ebb__self;
_Thread_local critical ebb__critical;
os_lock ebb__threads_lock;
_Atomic(heap_thread *) ebb__threads;

static void thread_release(heap_thread *t) {
    ebb__critical_enter();
    for (int i = 0; i < SLOTS; i++)
        if (t->slots[i].bin) ebb__slot_release(t, &t->slots[i]);
    ebb__critical_leave();
    atomic_store_explicit(&t->parked, PARK_RUNNING,
                          memory_order_relaxed); /* forked away, perhaps */
    t->sampling = false;                         /* likewise */
    ebb__critical_lock(&ebb__threads_lock);
    t->tid = 0;
    ebb__critical_unlock(&ebb__threads_lock);
}

void ebb__thread_unpark(heap_thread *t) {
    uint32_t parked = PARK_PARKED;
    while (!atomic_compare_exchange_strong_explicit(&t->parked, &parked, PARK_RUNNING,
                                                    memory_order_acquire, memory_order_relaxed)) {
        ebb__os_wait(&t->parked, PARK_HELD, UINT64_MAX);
        parked = PARK_PARKED;
    }
}

static void thread_end(void *record) {
    heap_thread *t = record;
    /* Cancelled in a bracketed call: a stop that passed it over must be over first. */
    if (atomic_load_explicit(&t->parked, memory_order_relaxed) != PARK_RUNNING)
        ebb__thread_unpark(t);
    ebb__self = NULL;
    thread_release(t);
}

/* A record that nobody uses, or a new one. Its counters go on: they are sums over its users.
 * [threads lock] */
static heap_thread *record_take(void) {
    for (heap_thread *t = ebb__threads; t; t = t->next)
        if (t->tid == 0) return t;
    heap_thread *t = ebb__os_map(round_up(sizeof *t, ebb__os_page_size()), OS_METADATA);
    if (!t) return NULL;
    t->next = ebb__threads;
    ebb__threads = t;
    return t;
}

heap_thread *ebb__thread_start(void) {
    if (ebb__self) return ebb__self;
    if (!ebb__heap_start()) return NULL;
    ebb__critical_lock(&ebb__threads_lock);
    heap_thread *t = record_take();
    if (t) {
        t->tid = ebb__os_tid();
        ebb__self = t;
        ebb__critical.pending = true; /* a stop that is on has passed over who had no record */
    }
    ebb__critical_unlock(&ebb__threads_lock);
    if (t) ebb__os_at_thread_end(thread_end, t);
    return t;
}

void ebb__threads_reap(bool (*alive)(int tid)) {
    /* Nobody has the lock in a stopped world. Who ended gave its record back with it, though, and
     * that comes before what is read here. */
    ebb__critical_lock(&ebb__threads_lock);
    ebb__critical_unlock(&ebb__threads_lock);
    for (heap_thread *t = ebb__threads; t; t = t->next)
        if (t->tid != 0 && t != ebb__self && !alive(t->tid)) thread_release(t);
}

void ebb__heap_freed(uint64_t *bytes, uint64_t *objects) {
    *bytes = atomic_load_explicit(&ebb__heap_freed_bytes, memory_order_relaxed);
    *objects = atomic_load_explicit(&ebb__heap_freed_objects, memory_order_relaxed);
    ebb__critical_lock(&ebb__threads_lock);
    for (heap_thread *t = ebb__threads; t; t = t->next) {
        *bytes += atomic_load_explicit(&t->given_bytes, memory_order_relaxed);
        *objects += atomic_load_explicit(&t->given_objects, memory_order_relaxed);
    }
    ebb__critical_unlock(&ebb__threads_lock);
}

void ebb__threads_forked(void) {
    for (heap_thread *t = ebb__threads; t; t = t->next)
        if (t == ebb__self)
            t->tid = ebb__os_tid();
        else if (t->tid != 0)
            thread_release(t);
}
