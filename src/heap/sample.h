/* sample.h - which objects are sampled for the heap profile, at no cost for the others.
 * docs/design.md, "Profile".
 *
 * Sample points lie on the bytes that threads claim, at distances drawn from the exponential
 * distribution with a mean of ebb__sample_rate: so an object of Z bytes has one with a probability
 * of 1 - e^(-Z/rate), whatever lies around it. A thread counts down to its next point when it
 * claims a run; if the point lies in the run, the slot's limit is cut to the object there, and the
 * allocation that finds it takes the slow path.
 *
 * What is claimed and never handed out takes its points with it, and the distance to the next one
 * is the same however it is reached: so nothing is put right when a run is undone. */
#ifndef EBB_SAMPLE_H
#define EBB_SAMPLE_H

#include "thread.h"

/* Bytes; 0 is off, 1 samples every object. Changed in a stop together with the epoch, which says
 * that distances drawn before are of another rate. */
EBB__SHARED extern size_t ebb__sample_rate;
EBB__SHARED extern uint32_t ebb__sample_epoch; /* never 0 */

/* Guards what the profiler keeps; innermost, in a critical section. */
EBB__SHARED extern os_lock ebb__sample_lock;

/* Defined by the profiler, which lies above. Called outside of locks, while the caller keeps the
 * object alive; taken and grown outside of critical sections. */
struct sample_hooks {
    /* The object has a sample, and is about to be handed out. */
    void (*taken)(uintptr_t object, size_t size);

    /* It changed its size in place; keeps or drops the sample that it may have. */
    void (*resized)(uintptr_t object, size_t before, size_t size);

    /* A point lies in what it has grown by. */
    void (*grown)(uintptr_t object, size_t before, size_t size);

    /* It is about to be freed by hand. */
    void (*released)(uintptr_t object);
};

EBB__SHARED extern const struct sample_hooks ebb__sample_hooks;

/* The first object of stride bytes in [start, end) that is to be sampled, or end. The thread counts
 * what it claims: all of it is claimed now. [critical section, or world stopped] */
EBB__SHARED uintptr_t ebb__sample_cut(heap_thread *t, uintptr_t start, uintptr_t end,
                                      uint64_t stride);

EBB__INLINE uintptr_t sample_cut(heap_thread *t, uintptr_t start, uintptr_t end, uint64_t stride) {
    if (EBB__RARE(end - start > t->sample_left)) return ebb__sample_cut(t, start, end, stride);
    t->sample_left -= end - start;
    return end;
}

/* The same for what is left of a run behind an object that was sampled. */
EBB__SHARED uintptr_t ebb__sample_rest(heap_thread *t, uintptr_t start, uintptr_t end,
                                       uint64_t stride);

/* Whether a point lies in `bytes` bytes that the thread has claimed apart from runs. [critical
 * section] */
EBB__INLINE bool sample_due(heap_thread *t, size_t bytes) {
    return sample_cut(t, 0, bytes, bytes) == 0;
}

/* The probability of a point in size bytes, 1 - e^(-size/rate), which is how many of those objects
 * one that is sampled stands for, upside down. */
EBB__SHARED double ebb__sample_chance(size_t size, size_t rate);
EBB__SHARED double ebb__sample_weight(size_t size, size_t rate);

/* A number in [0, 1) from the thread's own sequence. */
EBB__SHARED double ebb__sample_random(heap_thread *t);

#endif
