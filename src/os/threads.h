/* threads.h - the part of the contract with the system that the collector needs: who the threads
 * are, how they are stopped, and where pointers may lie. Implemented in linux_threads.c. */
#ifndef EBB_OS_THREADS_H
#define EBB_OS_THREADS_H

#include "os.h"

EBB__SHARED int ebb__os_tid(void);
EBB__SHARED int ebb__os_pid(void);

/* An address on the stack of the first thread. */
EBB__SHARED uintptr_t ebb__os_main_stack(void);

/* Has fn(arg) called when the calling thread ends; the last call of a thread counts. */
EBB__SHARED void ebb__os_at_thread_end(void (*fn)(void *), void *arg);

/* Starts a detached thread of the library's own, all signals blocked but open_signal: before fn it
 * may have to wait, in a tool's code, for what a stopped thread has. 0 or EBB_ESYSTEM. */
EBB__SHARED int ebb__os_thread(void *(*fn)(void *), void *arg, int open_signal);

/* The process's threads now: fills tids, returns how many are listed (more than max: call again
 * with more room), or a negative code. Calls no allocator. The list ends early where a thread ends
 * while it is read. *there, if not null, is how many there were just after: if that many are
 * listed, and all of them are there still (ebb__os_stop_send of signal 0), none is missing. */
EBB__SHARED int ebb__os_threads(int *tids, int max, int *there);

/* Keeps the calling thread from being cancelled in one of our system calls, and allows it again:
 * takes what the first call returned. */
EBB__SHARED int ebb__os_cancel_defer(void);
EBB__SHARED void ebb__os_cancel_restore(int state);

/* --- Stopping --------------------------------------------------------------------------------- */

/* Installs the handler for a signal, to run on the interrupted stack with all signals blocked.
 * sp is an address below everything that the interrupted thread has on that stack, registers
 * included. 0 or EBB_EINVAL. */
typedef void (*os_stop_handler)(uintptr_t sp);
EBB__SHARED int ebb__os_stop_install(int signal, os_stop_handler handler);
EBB__SHARED int ebb__os_stop_default(void);   /* the signal that is used if none is named */
EBB__SHARED int ebb__os_stop_max(void);       /* the largest number of a signal */
EBB__SHARED int ebb__os_profile_signal(void); /* that asks for a profile, if none is named */

/* Has a signal call the handler, once a process, unless the program has done anything about it:
 * then EBB_EBUSY. */
EBB__SHARED int ebb__os_signal_install(int signal, void (*handler)(int signal));
/* Whether a signal does not reach a thread that waits in the C library: under ThreadSanitizer. */
EBB__SHARED bool ebb__os_signals_late(void);
EBB__SHARED bool ebb__os_stop_send(int tid, int signal); /* false: the thread is gone */
EBB__SHARED void ebb__os_signal_block(int signal);       /* for the calling thread, for good */

/* Why a thread does not stop: it is gone or a zombie, it is ThreadSanitizer's and runs nothing of
 * the program, it blocks the signal, or none of these is known. */
enum os_silence { OS_SILENCE_GONE, OS_SILENCE_TOOL, OS_SILENCE_BLOCKED, OS_SILENCE_UNKNOWN };
EBB__SHARED enum os_silence ebb__os_silence(int tid, int signal, char *name, size_t name_size);

/* Calls fn(sp, arg) with all registers that calls preserve stored at or above sp. */
EBB__SHARED void ebb__os_with_registers(void (*fn)(uintptr_t sp, void *arg), void *arg);

/* Zeroes the vector registers that calls do not preserve, for a thread whose stale ones would keep
 * objects alive for as long as it does nothing else. */
EBB__SHARED void ebb__os_forget_registers(void);

/* The thread pointer: identifies a thread's static storage. And the calling thread's alternate
 * signal stack, if it is running on it now. */
EBB__SHARED uintptr_t ebb__os_thread_pointer(void);

typedef struct os_range {
    uintptr_t start, end;
} os_range;

EBB__SHARED bool ebb__os_on_alternate_stack(os_range *stack);

/* --- Where pointers may lie --------------------------------------------------------------------
 */

/* A growing list of ranges in memory of the system's. Zero is empty. */
typedef struct os_ranges {
    os_range *items;
    size_t count, room;
    bool failed; /* an add since it was emptied found no memory: the list is not whole */
} os_ranges;

/* Empties the list; its memory stays. */
EBB__INLINE void os_ranges_clear(os_ranges *list) {
    list->count = 0;
    list->failed = false;
}

EBB__SHARED bool ebb__os_ranges_add(os_ranges *list, uintptr_t start, uintptr_t end);

/* Reads the process's readable and writable mappings into *list (emptied first), in ascending
 * order. False when the system did not tell. Calls no allocator but the list's. */
EBB__SHARED bool ebb__os_mappings(os_ranges *list);
/* Takes the library's own metadata out of such a list: where the kernel gives anonymous memory no
 * names, it and a thread's stack or storage may be one mapping. Ranges may be left empty. */
EBB__SHARED void ebb__os_mappings_cut(os_ranges *list);

/* The range that the address is in, or null. */
EBB__SHARED const os_range *ebb__os_mapping_of(const os_ranges *list, uintptr_t address);

/* Calls fn(arg) while no library can be loaded or unloaded, with *segments filled with the
 * writable segments of the program and its libraries. Recursive; takes the loader's lock. */
EBB__SHARED void ebb__os_with_segments(os_ranges *segments, void (*fn)(void *arg), void *arg);

/* Adds the thread-local storage of the thread with this thread and stack pointer, modules loaded at
 * run time included, to *list; not what is part of the stack that sp is in. Only inside
 * ebb__os_with_segments, the thread stopped. */
EBB__SHARED void ebb__os_thread_storage(uintptr_t tp, uintptr_t sp, const os_ranges *mappings,
                                        os_ranges *list);

/* --- Fork ---------------------------------------------------------------------------------------
 */

EBB__SHARED void ebb__os_at_fork(void (*before)(void), void (*parent)(void), void (*child)(void));

#endif
