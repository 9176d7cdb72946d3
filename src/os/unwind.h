/* unwind.h - the part of the contract with the system that tells where a call came from.
 * Implemented in linux_unwind.c. docs/design.md, "Profile". */
#ifndef EBB_OS_UNWIND_H
#define EBB_OS_UNWIND_H

#include "os.h"

/* LIBUNWIND is libunwind's unw_backtrace, once ebb__os_unwind_load has found it; UNWIND_TABLES the
 * compiler's own, which is always there; UNWIND_FRAMES follows frame pointers. */
enum os_unwinder { UNWIND_LIBUNWIND, UNWIND_TABLES, UNWIND_FRAMES, UNWINDERS };
EBB__SHARED extern const char *const ebb__os_unwinder_names[UNWINDERS];

/* Looks for libunwind. It loads a library: called by a thread of the library's own, which nobody
 * waits for, since whoever waits for the loader may wait for a constructor of the program's. */
EBB__SHARED void ebb__os_unwind_load(void);

/* The one that is meant when this one is asked for. */
EBB__SHARED enum os_unwinder ebb__os_unwinder(enum os_unwinder wanted);

/* The return addresses of the calling thread, leaf first, from the caller of the library on: what
 * lies below the innermost function of section ebb_entry is left out, and that one. Returns how
 * many. May wait for the loader's lock with signals blocked, but for UNWIND_FRAMES. */
EBB__SHARED unsigned ebb__os_unwind(enum os_unwinder unwinder, uintptr_t *pcs, unsigned room);

/* Blocks the signals that the program may have handlers for, but those of faults and open_signal;
 * and undoes it. */
EBB__SHARED uint64_t ebb__os_signals_defer(int open_signal);
EBB__SHARED void ebb__os_signals_restore(uint64_t before);

#endif
