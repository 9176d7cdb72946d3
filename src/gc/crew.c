/* crew.c - threads that do a part of the collector's work each: marking, sweeping, looking at
 * pages. docs/design.md, "Marking".
 *
 * They are made when a cycle first needs them, wait for a job, and are not stopped with the world
 * from their first line on. A job is a function and in how many parts it is done; whoever gives it
 * does part 0. */
#include "collector.h"

/* The word `job` holds both the number of the job and the parts, so that a thread that comes late
 * sees by it that the job is not for it. */
enum { CREW_PARTS = 256 };
static struct {
    _Atomic(uint32_t) job;     /* release by the giver, acquire by the threads */
    _Atomic(uint32_t) running; /* threads that have not finished the job */
    _Atomic(uint32_t) threads; /* started */
    _Atomic(uint64_t) cpu_ns;
    void (*fn)(unsigned part, unsigned parts);
} crew;

static os_lock crew_lock; /* who starts the threads */

static void *crew_thread(void *number) {
    unsigned part = (unsigned)(uintptr_t)number;
    uint32_t job = 0;
    ebb__world_exempt_begun();
    atomic_fetch_add_explicit(&crew.threads, 1, memory_order_release);
    for (;;) {
        uint32_t next = atomic_load_explicit(&crew.job, memory_order_acquire);
        if (next == job) {
            ebb__os_wait(&crew.job, job, UINT64_MAX);
            continue;
        }
        job = next;
        if (part >= job % CREW_PARTS) continue; /* given out before this thread was counted */
        uint64_t cpu = ebb__os_thread_cpu_ns();
        crew.fn(part, job % CREW_PARTS);
        atomic_fetch_add_explicit(&crew.cpu_ns, ebb__os_thread_cpu_ns() - cpu,
                                  memory_order_relaxed);
        if (atomic_fetch_sub_explicit(&crew.running, 1, memory_order_acq_rel) == 1)
            ebb__os_wake(&crew.running, true);
    }
    return NULL;
}

void ebb__crew_start(void) {
    if (!ebb__os_trylock(&crew_lock)) return;
    uint32_t have = atomic_load_explicit(&crew.threads, memory_order_acquire);
    while (have + 1 < (uint32_t)ebb__settings.markers) {
        if (ebb__os_thread(crew_thread, (void *)(uintptr_t)(have + 1), ebb__settings.signal) != 0)
            break;
        while (atomic_load_explicit(&crew.threads, memory_order_acquire) == have)
            ebb__os_wait(&crew.threads, have, 1000000);
        have++;
    }
    ebb__os_unlock(&crew_lock);
}

void ebb__crew_forked(void) {
    crew_lock = (os_lock){0};
    atomic_store_explicit(&crew.threads, 0, memory_order_relaxed);
    atomic_store_explicit(&crew.running, 0, memory_order_relaxed);
    atomic_store_explicit(&crew.job, 0, memory_order_relaxed);
}

void ebb__crew_charge(uint64_t cpu_ns) {
    atomic_fetch_add_explicit(&crew.cpu_ns, cpu_ns, memory_order_relaxed);
}

uint64_t ebb__crew_charged(void) {
    return atomic_exchange_explicit(&crew.cpu_ns, 0, memory_order_relaxed);
}

unsigned ebb__crew_size(unsigned most) {
    unsigned threads = atomic_load_explicit(&crew.threads, memory_order_acquire) + 1;
    return most > 0 ? (unsigned)min_size(threads, most) : threads;
}

void ebb__crew_run(void (*fn)(unsigned part, unsigned parts), unsigned most) {
    unsigned threads = ebb__crew_size(most) - 1;
    crew.fn = fn;
    atomic_store_explicit(&crew.running, threads, memory_order_relaxed);
    if (threads) {
        uint32_t last = atomic_load_explicit(&crew.job, memory_order_relaxed);
        atomic_store_explicit(&crew.job, (last / CREW_PARTS + 1) * CREW_PARTS + threads + 1,
                              memory_order_release);
        ebb__os_wake(&crew.job, true);
    }
    fn(0, threads + 1);
    uint32_t running;
    while ((running = atomic_load_explicit(&crew.running, memory_order_acquire)) > 0)
        ebb__os_wait(&crew.running, running, UINT64_MAX);
}
