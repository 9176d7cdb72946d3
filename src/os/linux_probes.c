/* linux_probes.c - static probes as notes in the ELF file (sys/sdt.h). docs/design.md, "Trace". */
#include "probes.h"

#if EBB_USDT

# include <sys/sdt.h>

# define PROBE_PLACE __attribute__((noinline))

PROBE_PLACE void ebb__probe_cycle_start(uint64_t number, const char *cause, bool full) {
    /* A tracer reads no page that the program has not read. */
    (void)*(const volatile char *)cause;
    DTRACE_PROBE3(ebb, cycle_start, number, cause, full);
}

PROBE_PLACE void ebb__probe_cycle_end(uint64_t number, uint64_t live, uint64_t goal,
                                      uint64_t pause_ns) {
    DTRACE_PROBE4(ebb, cycle_end, number, live, goal, pause_ns);
}

PROBE_PLACE void ebb__probe_stop_begin(void) {
    DTRACE_PROBE(ebb, stop_begin);
}

PROBE_PLACE void ebb__probe_stop_end(uint64_t ns) {
    DTRACE_PROBE1(ebb, stop_end, ns);
}

PROBE_PLACE void ebb__probe_alloc_sample(uintptr_t object, size_t size) {
    DTRACE_PROBE2(ebb, alloc_sample, object, size);
}

PROBE_PLACE void ebb__probe_pages_returned(size_t bytes) {
    DTRACE_PROBE1(ebb, pages_returned, bytes);
}

#endif
