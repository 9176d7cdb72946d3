/* probes.h - the part of the contract with the system that its tracers need: static probes, which
 * perf, bpftrace and systemtap can look at in a program that runs. docs/design.md, "Trace".
 *
 * One that nobody looks at costs a call, and none lies on a way that is taken often. Built without
 * EBB_USDT there are none. Each is in one place of the code, its function: so a tracer that asks
 * for it by name gets it once. */
#ifndef EBB_OS_PROBES_H
#define EBB_OS_PROBES_H

#include "os.h"

#if EBB_USDT

/* A cycle begins; cause as in the trace. One that fails has no end, and its number comes again. */
EBB__SHARED void ebb__probe_cycle_start(uint64_t number, const char *cause, bool full);

/* It has ended; pause_ns is its longest stop. */
EBB__SHARED void ebb__probe_cycle_end(uint64_t number, uint64_t live, uint64_t goal,
                                      uint64_t pause_ns);

/* Threads are being stopped, for whatever reason; they go on after ns. */
EBB__SHARED void ebb__probe_stop_begin(void);
EBB__SHARED void ebb__probe_stop_end(uint64_t ns);

/* An object was taken as a sample for the heap profile; its maker is further up the stack. */
EBB__SHARED void ebb__probe_alloc_sample(uintptr_t object, size_t size);

/* So many bytes of free pages went back to the system. */
EBB__SHARED void ebb__probe_pages_returned(size_t bytes);

#else

EBB__INLINE void ebb__probe_cycle_start(uint64_t number, const char *cause, bool full) {
    (void)number, (void)cause, (void)full;
}

EBB__INLINE void ebb__probe_cycle_end(uint64_t number, uint64_t live, uint64_t goal,
                                      uint64_t pause_ns) {
    (void)number, (void)live, (void)goal, (void)pause_ns;
}

EBB__INLINE void ebb__probe_stop_begin(void) {
}

EBB__INLINE void ebb__probe_stop_end(uint64_t ns) {
    (void)ns;
}

EBB__INLINE void ebb__probe_alloc_sample(uintptr_t object, size_t size) {
    (void)object, (void)size;
}

EBB__INLINE void ebb__probe_pages_returned(size_t bytes) {
    (void)bytes;
}

#endif

#endif
