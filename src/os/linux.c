/* linux.c - pages, time, locks on Linux. Threads and roots are in linux_threads.c.
 *
 * Reservations are private anonymous mappings without access; committing makes a part readable and
 * writable, so that neither overcommit accounting nor core dumps see the rest. Mappings carry a
 * name
 * ("[anon:ebb-heap]" in /proc/PID/maps) where the kernel offers names. See docs/design.md,
 * "Address space". */
#include "os.h"
#include "memory.h"
#include "linux_text.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_VMA
# define PR_SET_VMA           0x53564d41
# define PR_SET_VMA_ANON_NAME 0
#endif

_Atomic(size_t) ebb__os_mapped[OS_CLASS_COUNT];

static const char *const os_class_names[OS_CLASS_COUNT] = {
    [OS_METADATA] = "ebb-metadata",
    [OS_OFFHEAP] = "ebb-offheap",
    [OS_HEAP] = "ebb-heap",
};

size_t ebb__os_page_size(void) {
    static _Atomic(size_t) size; /* relaxed: every thread would find the same */
    size_t known = atomic_load_explicit(&size, memory_order_relaxed);
    if (known == 0) {
        known = (size_t)sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&size, known, memory_order_relaxed);
    }
    return known;
}

static void os_account(void *start, size_t size, enum os_class class) {
    atomic_fetch_add_explicit(&ebb__os_mapped[class], size, memory_order_relaxed);
    prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, start, size, os_class_names[class]);
}

void *ebb__os_map(size_t size, enum os_class class) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    os_account(p, size, class);
    ebb__os_owned_add((uintptr_t)p, size, class);
    return p;
}

void ebb__os_unmap(void *start, size_t size, enum os_class class) {
    ebb__os_owned_remove((uintptr_t)start);
    if (munmap(start, size) != 0) {
        /* A hole may need more mappings than the system grants: the address space stays ours. */
        ebb__os_return(start, size);
        ebb__os_owned_add((uintptr_t)start, size, class);
        return;
    }
    atomic_fetch_sub_explicit(&ebb__os_mapped[class], size, memory_order_relaxed);
}

void *ebb__os_enlarge(void *old, size_t old_bytes, size_t used, size_t bytes) {
    void *larger = ebb__os_map(bytes, OS_METADATA);
    if (!larger || !old) return larger;
    memcpy(larger, old, used);
    ebb__os_unmap(old, old_bytes, OS_METADATA);
    return larger;
}

void *ebb__os_reserve(size_t size, size_t align) {
    size_t slack = align > ebb__os_page_size() ? align : 0;
    char *p =
        mmap(NULL, size + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return NULL;
    char *aligned = (char *)round_up((uintptr_t)p, slack ? align : 1);
    if (aligned > p) munmap(p, (size_t)(aligned - p));
    char *end = p + size + slack;
    if (end > aligned + size) munmap(aligned + size, (size_t)(end - (aligned + size)));
    return aligned;
}

void ebb__os_unreserve(void *start, size_t size) {
    munmap(start, size);
}

int ebb__os_commit(void *start, size_t size, enum os_class class) {
    if (mprotect(start, size, PROT_READ | PROT_WRITE) != 0) return EBB_ENOMEM;
    os_account(start, size, class);
    return 0;
}

int ebb__os_return(void *start, size_t size) {
    return madvise(start, size, MADV_DONTNEED) == 0 ? 0 : EBB_ESYSTEM;
}

void ebb__os_huge(void *start, size_t size, bool wanted) {
    madvise(start, size, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

/* How many pages at the start of a list are not resident, in eights. */
static size_t pages_empty(const unsigned char *resident, size_t pages) {
    size_t i = 0;
    for (uint64_t eight; i + 8 <= pages; i += 8) {
        memcpy(&eight, resident + i, 8);
        if (eight & 0x0101010101010101u) break;
    }
    return i;
}

void *ebb__os_resident(void *start, void *end, void **stop) {
    enum { FIRST = 128, BATCH = 2048 }; /* runs are often short, and what is empty long */
    unsigned char resident[BATCH];
    size_t page = ebb__os_page_size(), batch = FIRST;
    char *p = start, *limit = end, *found = NULL;
    struct sysinfo system;
    /* A page that was swapped out holds something too, and mincore does not tell. */
    bool swaps = sysinfo(&system) != 0 || system.totalswap > 0;
    while (p < limit) {
        size_t bytes = min_size((size_t)(limit - p), batch * page);
        size_t pages = (bytes + page - 1) / page;
        batch = BATCH;
        if (swaps || mincore(p, bytes, resident) != 0) memset(resident, 1, pages);
        for (size_t i = 0; i < pages; i++, p += page) {
            if (!found) { /* the rest of an array is often empty: eight at a time */
                size_t empty = pages_empty(resident + i, pages - i);
                i += empty;
                p += empty * page;
                if (i == pages) break;
            }
            bool here = resident[i] & 1;
            if (here && !found) found = p;
            if (here || !found) continue;
            *stop = p;
            return found;
        }
    }
    *stop = end;
    return found ? found : end;
}

size_t ebb__os_in_memory(void *start, size_t size) {
    enum { BATCH = 4096 };
    unsigned char resident[BATCH];
    size_t page = ebb__os_page_size(), count = 0;
    for (size_t at = 0; at < size; at += BATCH * page) {
        size_t bytes = min_size(size - at, BATCH * page);
        if (mincore((char *)start + at, bytes, resident) != 0) return size;
        for (size_t i = 0; i < bytes / page; i++) count += resident[i] & 1;
    }
    return count * page;
}

size_t ebb__os_peek(void *to, uintptr_t from, size_t size) {
    struct iovec local = {to, size}, remote = {(void *)from, size};
    ssize_t n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    return n > 0 ? (size_t)n : 0;
}

size_t ebb__os_rss(void) {
    char text[128];
    const char *second = strchr(ebb__linux_text("/proc/thread-self/statm", text, sizeof text), ' ');
    return second ? strtoul(second, NULL, 10) * ebb__os_page_size() : 0;
}

/* --- Time and processors -------------------------------------------------------------------- */

static uint64_t os_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t ebb__os_now_ns(void) {
    return os_clock(CLOCK_MONOTONIC);
}

uint64_t ebb__os_wall_ns(void) {
    return os_clock(CLOCK_REALTIME);
}

uint64_t ebb__os_thread_cpu_ns(void) {
    return os_clock(CLOCK_THREAD_CPUTIME_ID);
}

unsigned ebb__os_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}

uint64_t ebb__os_random(void) {
    uint64_t n;
    if (getrandom(&n, sizeof n, GRND_NONBLOCK) == (ssize_t)sizeof n) return n;
    return os_clock(CLOCK_MONOTONIC) * 0x9e3779b97f4a7c15u ^ (uintptr_t)&n;
}

/* --- Locks: the three-state futex mutex of Drepper's "Futexes Are Tricky" --------------------- */

static long os_futex(_Atomic(uint32_t) *word, int op, uint32_t value, const struct timespec *t) {
    return syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, t, NULL, 0);
}

void ebb__os_wait(_Atomic(uint32_t) *word, uint32_t value, uint64_t timeout_ns) {
    struct timespec t = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                         .tv_nsec = (long)(timeout_ns % 1000000000u)};
    int error = errno; /* whoever frees or resizes may wait for a lock, and leaves it alone */
    os_futex(word, FUTEX_WAIT, value, timeout_ns == UINT64_MAX ? NULL : &t);
    errno = error;
}

void ebb__os_wake(_Atomic(uint32_t) *word, bool all) {
    os_futex(word, FUTEX_WAKE, all ? INT32_MAX : 1, NULL);
}

bool ebb__os_trylock(os_lock *lock) {
    uint32_t open = 0;
    return atomic_compare_exchange_strong_explicit(&lock->word, &open, 1, memory_order_acquire,
                                                   memory_order_relaxed);
}

void ebb__os_lock(os_lock *lock) {
    for (int spin = 0; spin < 100; spin++) {
        if (ebb__os_trylock(lock)) return;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0)
        ebb__os_wait(&lock->word, 2, UINT64_MAX);
}

bool ebb__os_lock_unless(os_lock *lock, _Atomic(uint32_t) *flag) {
    if (ebb__os_trylock(lock)) return true;
    while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) != 0) {
        if (atomic_load_explicit(flag, memory_order_acquire) != 0) return false;
        ebb__os_wait(&lock->word, 2, 1000000);
    }
    return true;
}

void ebb__os_unlock(os_lock *lock) {
    if (atomic_exchange_explicit(&lock->word, 0, memory_order_release) == 2)
        ebb__os_wake(&lock->word, false);
}
