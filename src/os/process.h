/* process.h - the part of the contract with the system that the metrics need: what it knows of the
 * process as a whole. Implemented in linux_process.c. */
#ifndef EBB_OS_PROCESS_H
#define EBB_OS_PROCESS_H

#include "os.h"

/* 0 where the system does not tell. */
typedef struct os_process {
    uint64_t virtual_bytes, resident_bytes;
    uint64_t cpu_ns;
    uint64_t open_fds, max_fds;
    uint64_t start_ns; /* since 1970 */
} os_process;

EBB__SHARED void ebb__os_process(os_process *out);

#endif
