/* crew.c - threads that do a part of the collector's work each: marking, sweeping, looking at
 * pages. docs/design.md, "Marking".
 *
 * They are made when a cycle first needs them, wait for a job, and are not stopped with the world
 * from their first line on. A job is a function that takes pieces of the work until there are none.
 * Whoever gives it runs it too, and then lets nobody in any more: so a thread that gets a processor
 * late is not waited for. */
#include "collector.h"

#define CLOSED ((uint32_t)1 << 31)
static struct {
    _Atomic(uint32_t) job;     /* counts them; waited on */
    _Atomic(uint32_t) inside;  /* threads that are at it, or CLOSED; waited on. Release by who opens
                                * it and who leaves, acquire by who enters and who closed it */
    _Atomic(uint32_t) most;    /* that may be inside; relaxed */
    _Atomic(uint32_t) taken;   /* pieces; relaxed */
    _Atomic(uint32_t) threads; /* started */
    _Atomic(uint64_t) cpu_ns;
    void (*fn)(bool giver);
} crew = {.inside = CLOSED};

static os_lock crew_lock; /* who starts the threads */

/* Into the job that is open now; it may be a later one than was seen. */
static bool crew_enter(void) {
    uint32_t inside = atomic_load_explicit(&crew.inside, memory_order_relaxed);
    do {
        if (inside & CLOSED) return false;
        if (inside >= atomic_load_explicit(&crew.most, memory_order_relaxed)) return false;
    } while (!atomic_compare_exchange_weak_explicit(&crew.inside, &inside, inside + 1,
                                                    memory_order_acquire, memory_order_relaxed));
    return true;
}

static void crew_leave(void) {
    uint32_t before = atomic_fetch_sub_explicit(&crew.inside, 1, memory_order_release);
    if (before == (CLOSED | 1)) ebb__os_wake(&crew.inside, true);
}

static void crew_close(void) {
    uint32_t inside = atomic_fetch_or_explicit(&crew.inside, CLOSED, memory_order_acquire) | CLOSED;
    while (inside != CLOSED) {
        ebb__os_wait(&crew.inside, inside, UINT64_MAX);
        inside = atomic_load_explicit(&crew.inside, memory_order_acquire);
    }
}

static void *crew_thread(void *unused) {
    uint32_t seen = 0;
    ebb__world_exempt_begun();
    atomic_fetch_add_explicit(&crew.threads, 1, memory_order_release);
    for (;;) {
        uint32_t job = atomic_load_explicit(&crew.job, memory_order_acquire);
        if (job == seen) {
            ebb__os_wait(&crew.job, job, UINT64_MAX);
            continue;
        }
        seen = job;
        ebb__yield_point(2);
        if (!crew_enter()) continue;
        uint64_t cpu = ebb__os_thread_cpu_ns();
        crew.fn(false);
        ebb__crew_charge(ebb__os_thread_cpu_ns() - cpu);
        crew_leave();
    }
    return unused;
}

void ebb__crew_start(void) {
    if (!ebb__os_trylock(&crew_lock)) return;
    uint32_t have = atomic_load_explicit(&crew.threads, memory_order_acquire);
    while (have + 1 < (uint32_t)ebb__settings.markers) {
        if (ebb__os_thread(crew_thread, NULL, ebb__settings.signal) != 0) break;
        while (atomic_load_explicit(&crew.threads, memory_order_acquire) == have)
            ebb__os_wait(&crew.threads, have, 1000000);
        have++;
    }
    ebb__os_unlock(&crew_lock);
}

void ebb__crew_forked(void) {
    crew_lock = (os_lock){0};
    atomic_store_explicit(&crew.threads, 0, memory_order_relaxed);
    atomic_store_explicit(&crew.inside, CLOSED, memory_order_relaxed);
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

uint32_t ebb__crew_take(void) {
    return atomic_fetch_add_explicit(&crew.taken, 1, memory_order_relaxed);
}

void ebb__crew_run(void (*fn)(bool giver), unsigned most) {
    unsigned others = ebb__crew_size(most) - 1;
    atomic_store_explicit(&crew.taken, 0, memory_order_relaxed);
    if (others) {
        crew.fn = fn;
        atomic_store_explicit(&crew.most, others, memory_order_relaxed);
        atomic_store_explicit(&crew.inside, 0, memory_order_release);
        atomic_fetch_add_explicit(&crew.job, 1, memory_order_release);
        ebb__os_wake(&crew.job, true);
    }
    fn(true);
    if (others) crew_close();
}
