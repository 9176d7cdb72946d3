/* child.h - the part of the contract with the system that a snapshot needs: a copy of the process
 * that looks at it as it was, and reports through a pipe. docs/design.md, "Retention". Implemented
 * in linux_child.c.
 *
 * The copy is made without the C library: neither the program's handlers for fork run nor ours, so
 * it has the calling thread alone, with all signals blocked, and may call nothing that takes a lock
 * or allocates. It dies with its parent, comes last for the processor and first when memory runs
 * out, and holds none of the program's descriptors. The program is sent no SIGCHLD for it, nor does
 * its own wait() see it. */
#ifndef EBB_OS_CHILD_H
#define EBB_OS_CHILD_H

#include "os.h"

typedef struct os_child {
    int pid;
    int from, to; /* the pipe: the parent reads, the child writes; -1 when closed */
} os_child;

/* Makes the pipe. 0 or EBB_ESYSTEM. */
EBB__SHARED int ebb__os_child_prepare(os_child *child);

/* Makes the copy: 1 in the parent, 0 in the child, EBB_ESYSTEM where there is none. */
EBB__SHARED int ebb__os_child_fork(os_child *child);

/* In the child: writes all of it, or ends when nobody reads; and ends. */
EBB__SHARED void ebb__os_child_write(const os_child *child, const void *bytes, size_t size);
EBB__SHARED __attribute__((noreturn)) void ebb__os_child_exit(int status);

/* In the parent: what the child wrote, at most size bytes of it; 0 at its end, OS_CHILD_LATE when
 * timeout_ns passed, EBB_ESYSTEM. */
enum { OS_CHILD_LATE = -100 };
EBB__SHARED long ebb__os_child_read(const os_child *child, void *bytes, size_t size,
                                    uint64_t timeout_ns);

/* Ends the child if it has not ended. Returns its exit status, or 128 + the signal it died by. */
EBB__SHARED int ebb__os_child_end(os_child *child);

/* Bytes that the process may still take before somebody's limit is reached: the system's, or that
 * of a control group it is in; whose is said in *whose. SIZE_MAX where nobody tells. */
EBB__SHARED size_t ebb__os_memory_left(const char **whose);

/* What the calling process holds alone: of a child, what it took and what the parent has changed
 * since. 0 where the system does not tell. */
EBB__SHARED size_t ebb__os_child_bytes(void);

/* Calls visit for each mapping of the process, in ascending order; path is "" for none. Allocates
 * nothing. False when the system did not tell. */
typedef struct os_mapping {
    uintptr_t start, end, offset;
    bool writable, executable;
    const char *path;
} os_mapping;
EBB__SHARED bool ebb__os_mappings_each(void (*visit)(const os_mapping *mapping, void *arg),
                                       void *arg);

/* A file to be written, 0600, emptied first: a descriptor or -1; writing all; closing. The path is
 * the user's own: links are followed, and it may be a device or a pipe. */
EBB__SHARED int ebb__os_file_create(const char *path);

/* The same for a name of our own making, which others may guess: fails (EEXIST) when anything is
 * there, also a link that leads nowhere. */
EBB__SHARED int ebb__os_file_create_new(const char *path);
EBB__SHARED bool ebb__os_file_write(int file, const void *bytes, size_t size);
EBB__SHARED bool ebb__os_file_close(int file);

/* The same for one that is not whole: takes it away, unless it is a device or a pipe. */
EBB__SHARED void ebb__os_file_discard(int file, const char *path);

#endif
