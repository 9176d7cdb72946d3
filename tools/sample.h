/* sample.h - what the system says of this machine and of a process, read from /proc. */
#ifndef EBB_TOOLS_SAMPLE_H
#define EBB_TOOLS_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What may be allocated without driving the machine to its end, and who says so:
 * "the machine", "the control group" or "ulimit -v". 0 bytes where nobody tells. */
struct sample_memory {
    uint64_t available_bytes;
    const char *bound_by;
};

void sample_memory(struct sample_memory *out);

/* Processors that this process may run on, at least 1. */
unsigned sample_cpus(void);

/* Resident bytes of a process now; 0 when it is gone. */
uint64_t sample_rss(pid_t pid);

/* The most that this process was ever resident with, in bytes. */
uint64_t sample_rss_peak(void);

/* CPU time of this process, and time since some moment, in nanoseconds. */
uint64_t sample_cpu_ns(void);
uint64_t sample_now_ns(void);

/* What of the process's mappings is Ebb's, as the system knows it. */
struct sample_mappings {
    uint64_t mapped_bytes;   /* readable and writable */
    uint64_t resident_bytes; /* of these */
    bool by_name;            /* told by their names; else by when they appeared */
};

/* Ebb names its mappings where the kernel offers names. Elsewhere they are told by elimination:
 * whatever anonymous writable memory appeared since sample_mappings_begin, thread stacks apart, is
 * Ebb's, because that call also keeps malloc from mapping anything, and Ebb's profile from loading
 * a library that does. Call it before anything of Ebb.
 */
void sample_mappings_begin(void);

/* False where /proc does not tell. */
bool sample_mappings(struct sample_mappings *out);

#endif
