/* linux_unwind.c - the calling thread's stack. docs/design.md, "Profile".
 *
 * Frame pointers end in the C library and in code that was compiled without them. Tables are what
 * C++ unwinds exceptions by: right everywhere, and 4 microseconds for 20 frames. libunwind reads
 * the same tables and remembers what it read: a tenth of that. It is opened here and not linked,
 * because a program that it is linked with gets its `backtrace` instead of the C library's. */
#include "unwind.h"
#include "threads.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *const ebb__os_unwinder_names[UNWINDERS] = {
    [UNWIND_LIBUNWIND] = "libunwind", [UNWIND_TABLES] = "backtrace", [UNWIND_FRAMES] = "fp"};

typedef int (*unwind_libunwind)(void **pcs, int room);
static _Atomic(unwind_libunwind) unwind_found; /* release when loaded, acquire by who calls it */

/* Where section ebb_entry begins and ends, as linkers name it. */
extern const char __start_ebb_entry[] __attribute__((visibility("hidden")));
extern const char __stop_ebb_entry[] __attribute__((visibility("hidden")));

#if defined(__x86_64__)
# define UNWIND_NAME(name) "_ULx86_64_" name
#else
# define UNWIND_NAME(name) "_ULaarch64_" name
#endif

/* What libunwind remembers for all threads it guards by a lock that it holds while it waits for the
 * loader's: a thread with the loader's lock that is sampled would wait for that one. So it is told
 * to remember nothing for all; what it remembers for each thread is what makes it quick. One that
 * the program uses is the program's to set. */
static bool unwind_lockless(void *library) {
    int (*policy)(void *space, int policy);
    void **space = dlsym(library, UNWIND_NAME("local_addr_space"));
    *(void **)&policy = dlsym(library, UNWIND_NAME("set_caching_policy"));
    return space && policy && policy(*space, 0) == 0;
}

void ebb__os_unwind_load(void) {
    static const char name[] = "libunwind.so.8";
    if (atomic_load_explicit(&unwind_found, memory_order_relaxed)) return;
    /* ThreadSanitizer's part of a thread ends before libunwind's does, which takes a lock. */
    if (ebb__os_signals_late()) return;
    if (dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD)) return;
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    unwind_libunwind found;
    *(void **)&found = dlsym(library, "unw_backtrace");
    if (unwind_lockless(library)) atomic_store_explicit(&unwind_found, found, memory_order_release);
}

enum os_unwinder ebb__os_unwinder(enum os_unwinder wanted) {
    bool there = wanted != UNWIND_LIBUNWIND ||
                 atomic_load_explicit(&unwind_found, memory_order_acquire) != NULL;
    return there ? wanted : UNWIND_TABLES;
}

/* --- The three ways ----------------------------------------------------------------------------
 */

/* The C library opens the compiler's at the first call: libebb needs the C library alone. */
static unsigned unwind_by_tables(uintptr_t *pcs, unsigned room) {
    int n = backtrace((void **)pcs, (int)room);
    return n > 0 ? (unsigned)n : 0;
}

/* A frame is {the caller's frame, return address}, and lies above the one that it called. Followed
 * up to the end of the stack: where the thread pointer is, or the program's arguments. On a stack
 * that is neither, the first frame alone is the library's own, and known to be right. */
static unsigned unwind_by_frames(uintptr_t *pcs, unsigned room) {
    const uintptr_t *frame = __builtin_frame_address(0);
    uintptr_t at = (uintptr_t)frame, tp = ebb__os_thread_pointer();
    uintptr_t end = ebb__os_tid() == ebb__os_pid() ? ebb__os_main_stack() : tp;
    if (end < at || end - at > GIB) end = at + 4 * KIB;
    unsigned count = 0;
    while (count < room && frame[1] != 0) {
        pcs[count++] = frame[1];
        uintptr_t next = frame[0];
        if (next <= at || next % sizeof(void *) != 0 || next + 2 * sizeof(void *) > end) break;
        frame = (const uintptr_t *)(at = next);
    }
    return count;
}

/* --- Leaving the library -----------------------------------------------------------------------
 */

static bool unwind_entry(uintptr_t pc) {
    return pc - (uintptr_t)__start_ebb_entry < (uintptr_t)(__stop_ebb_entry - __start_ebb_entry);
}

/* How many frames are the library's: up to the first that programs call, and those that it was
 * called by of the same kind. None where there is no such frame among the first. */
static unsigned unwind_inside(const uintptr_t *pcs, unsigned count) {
    enum { INSIDE_MOST = 24 };
    unsigned n = 0, most = count < INSIDE_MOST ? count : INSIDE_MOST;
    while (n < most && !unwind_entry(pcs[n] - 1)) n++;
    if (n == most) return 0;
    while (n < count && unwind_entry(pcs[n] - 1)) n++;
    return n;
}

unsigned ebb__os_unwind(enum os_unwinder unwinder, uintptr_t *pcs, unsigned room) {
    enum { UNWIND_MOST = 96 };
    uintptr_t all[UNWIND_MOST];
    unsigned count;
    if (unwinder == UNWIND_LIBUNWIND) {
        unwind_libunwind found = atomic_load_explicit(&unwind_found, memory_order_acquire);
        int n = found((void **)all, UNWIND_MOST);
        count = n > 0 ? (unsigned)n : 0;
    } else {
        count = unwinder == UNWIND_FRAMES ? unwind_by_frames(all, UNWIND_MOST)
                                          : unwind_by_tables(all, UNWIND_MOST);
    }
    unsigned inside = unwind_inside(all, count);
    count = (unsigned)min_size(count - inside, room);
    memcpy(pcs, all + inside, count * sizeof *pcs);
    return count;
}

/* --- Signals -----------------------------------------------------------------------------------
 */

static long signals_set(int how, const uint64_t *mask, uint64_t *before) {
    return syscall(SYS_rt_sigprocmask, how, mask, before, sizeof *mask);
}

uint64_t ebb__os_signals_defer(int open_signal) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    uint64_t mask = ~((uint64_t)1 << (open_signal - 1)), before = 0;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        mask &= ~((uint64_t)1 << (faults[i] - 1));
    signals_set(SIG_BLOCK, &mask, &before);
    return before;
}

void ebb__os_signals_restore(uint64_t before) {
    signals_set(SIG_SETMASK, &before, NULL);
}
