/* thread.h - what a thread keeps of the heap, and critical sections.
 *
 * A critical section is code that must not be seen half done by the collector: a thread in one is
 * not stopped there, but stops itself when it leaves (see src/gc/world.c). Every lock of the heap
 * is taken through ebb__critical_lock, so when the world is stopped no lock of the heap is held.
 *
 * Lock order: collector (gc/cycle.c) < types (layout.c) < bin locks by index < zone locks by
 * number < spans_lock; ebb__sample_lock by itself. Fork takes them all in this order. Part of
 * docs/design.md, "Threads". */
#ifndef EBB_THREAD_H
#define EBB_THREAD_H

#include "../base/base.h"
#include "../os/os.h"
#include "heap.h"

enum { SLOTS = 256 };

/* A run of free objects that one thread hands out: [cursor, end), zeroed, their alloc bits set.
 * The span is `owned` until the slot is given to another bin or the thread ends. What the fast path
 * hands out ends at limit: there stands the next object that is to be sampled, or end.
 *
 *   cursor <= end, limit <= end; limit is the thread's alone, whoever asks for the run takes end */
typedef struct slot {
    struct heap_bin *bin;
    uintptr_t cursor, limit, end;
    struct span *span;
    uint32_t run_start;        /* index of the first object of the run, for accounting */
    _Atomic(uint32_t) changes; /* of the run: odd while its bounds are being set */
} slot;

typedef struct heap_thread {
    slot slots[SLOTS];        /* by bin number modulo SLOTS; the thread, or the stopper */
    struct heap_thread *next; /* set before it is listed */
    _Atomic(int) tid; /* of the owner; 0 while nobody's [threads lock to change]; seq. consistent */
    _Atomic(uint32_t) parked; /* see world.c */
    uintptr_t parked_sp;      /* while parked: the stack is searched from here */
    void *parked_registers[128];
    uintptr_t parked_tp;
    uintptr_t parked_alternate[2];       /* the alternate signal stack that it is on; 0, 0: none */
    uint64_t alloc_bytes, alloc_objects; /* runs claimed and large objects; the thread */
    _Atomic(uint64_t) given_bytes, given_objects; /* freed into a run: by the thread; relaxed */
    ptrdiff_t claimed;    /* since the last sum was told to all; the thread */
    uint64_t sample_left; /* bytes to claim up to the next sample: see sample.h */
    uint64_t sample_random;
    uint32_t sample_epoch;
    bool sampling; /* it records a sample: what it allocates meanwhile is not sampled */
} heap_thread;

/* Critical sections nest; `pending` says that a stop came meanwhile. initial-exec, so that the
 * signal handler may read it. */
typedef struct critical {
    volatile uint32_t depth;
    volatile bool pending;
} critical;

EBB__SHARED extern _Thread_local heap_thread *ebb__self;
EBB__SHARED extern _Thread_local critical ebb__critical;
EBB__SHARED extern os_lock ebb__threads_lock;

/* [threads lock to change] Read in the stop without: who was passed over may come in then. So it is
 * sequentially consistent, after the record's `next`. */
EBB__SHARED extern _Atomic(heap_thread *) ebb__threads;

EBB__INLINE void ebb__critical_enter(void) {
    ebb__critical.depth++;
    atomic_signal_fence(memory_order_seq_cst);
}

/* Stops here if the world is being stopped; out of line. */
EBB__SHARED void ebb__critical_stop(void);

EBB__INLINE void ebb__critical_leave(void) {
    atomic_signal_fence(memory_order_seq_cst);
    if (--ebb__critical.depth == 0 && ebb__critical.pending) ebb__critical_stop();
}

EBB__INLINE void ebb__critical_lock(os_lock *lock) {
    ebb__critical_enter();
    ebb__os_lock(lock);
}

EBB__INLINE void ebb__critical_unlock(os_lock *lock) {
    ebb__os_unlock(lock);
    ebb__critical_leave();
}

/* The calling thread's record, made on its first call; null without memory. */
EBB__SHARED heap_thread *ebb__thread_start(void);

/* Ends the calling thread's bracket around a blocking call: waits while a stop holds it. */
enum park_state { PARK_RUNNING, PARK_PARKED, PARK_HELD };
EBB__SHARED void ebb__thread_unpark(heap_thread *t);

/* Takes the records of threads that are gone. The world is stopped; alive(tid) tells. */
EBB__SHARED void ebb__threads_reap(bool (*alive)(int tid));

/* After fork, in the child: every record but the caller's is a dead thread's. */
EBB__SHARED void ebb__threads_forked(void);

#endif
