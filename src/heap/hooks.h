/* hooks.h - how the heap reaches the collector, which lies above it. The collector defines the one
 * table; the only other reference upwards is the profiler's, in sample.h. */
#ifndef EBB_HOOKS_H
#define EBB_HOOKS_H

#include "../base/base.h"

struct heap_hooks {
    /* Once, when the heap has been made and before the first allocation: settings, signals. */
    void (*start)(void);

    /* Once, after that, outside every lock: threads may be made now. */
    void (*started)(void);

    /* Before bytes more are claimed, outside of critical sections: collects when it is due, and
     * sees to the limit. False when the limit is reached and nothing helped. */
    bool (*claim)(size_t bytes);

    /* The system gave no memory: collects and asks the handler. True to try again; `attempt`
     * counts from 0. */
    bool (*exhausted)(size_t bytes, unsigned attempt);

    /* Each slow-path allocation under a stress mode; false fails the allocation. */
    bool (*stress)(void);

    /* The object goes away by ebb_free: forget its finalizer. */
    void (*released)(void *object);
};

EBB__SHARED extern const struct heap_hooks ebb__heap_hooks;

/* Bytes claimed since the last cycle, less what ebb_free took back meanwhile, which may be of
 * before it: below 0 then. Relaxed, a pacing estimate. Set by the collector. */
EBB__SHARED extern _Atomic(ptrdiff_t) ebb__heap_claimed;

EBB__INLINE size_t heap_claimed(void) {
    ptrdiff_t bytes = atomic_load_explicit(&ebb__heap_claimed, memory_order_relaxed);
    return bytes > 0 ? (size_t)bytes : 0;
}

/* Adds to it, sooner or later: threads tell what has become much. [critical section] */
EBB__SHARED void ebb__heap_claim(ptrdiff_t bytes);

/* Freed since the start, but for what went back to a run; relaxed. */
EBB__SHARED extern _Atomic(uint64_t) ebb__heap_freed_bytes, ebb__heap_freed_objects;

/* All that was freed since the start, by the sweep and by ebb_free. */
EBB__SHARED void ebb__heap_freed(uint64_t *bytes, uint64_t *objects);

EBB__INLINE void heap_freed(uint64_t objects, uint64_t bytes) {
    atomic_fetch_add_explicit(&ebb__heap_freed_objects, objects, memory_order_relaxed);
    atomic_fetch_add_explicit(&ebb__heap_freed_bytes, bytes, memory_order_relaxed);
}

/* The collector looks at spans beside the program: none is freed or cut until it has ended. Set
 * before a stop that precedes the marking, so that critical sections see it in time; relaxed. */
EBB__SHARED extern _Atomic(bool) ebb__heap_marking;

/* Set when a stress mode is on: runs are one object long, so that each allocation is slow. */
EBB__SHARED extern bool ebb__heap_stressed;

/* How many objects have a finalizer; 0 spares ebb_free the look. */
EBB__SHARED extern _Atomic(uint64_t) ebb__finalizer_count;

#endif
