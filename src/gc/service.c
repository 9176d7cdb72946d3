/* service.c - the library's own background thread: runs finalizers, collects when the program is
 * idle, gives pages back. docs/design.md, "Giving memory back".
 *
 * It sleeps until a cycle ends or a finalizer is set, then looks about once a second until there is
 * nothing left to do, and from then on every two minutes. While the program allocates, pages free
 * for longer than two seconds go back, less what the heap will need to reach its goal. When it has
 * been quiet for a few seconds (EBB_GC=idle=SECONDS|off), one collection is made and everything
 * free goes back: an idle program is small within ten seconds. */
#include "collector.h"

#define TICK_NS  ((uint64_t)1000000000)
#define QUIET_NS ((uint64_t)120 * 1000000000)
#define AGE_NS   ((uint64_t)2 * 1000000000)
#define STEP     ((size_t)256 * MIB)

static struct {
    _Atomic(uint32_t) started; /* 0 or 1; changed by need and in a forked child */
    _Atomic(uint32_t) work;    /* bumped by need and wake; the thread waits on it */
    _Atomic(uint32_t) resting; /* it will not look within a second; seq_cst with work, see notice */
    uint64_t cycles;           /* the thread's own, as is what follows: as of the last tick */
    ptrdiff_t claimed;
    unsigned quiet_ticks;
    bool settled; /* an idle collection was made since the program last worked */
} service;

static void service_finalize(void) {
    if (!ebb__runtime_there()) ebb_finalizers_run();
}

/* Not while a cycle runs: the program may be waiting for it. */
static bool program_quiet(void) {
    ptrdiff_t claimed = atomic_load_explicit(&ebb__heap_claimed, memory_order_relaxed);
    uint64_t cycles = atomic_load_explicit(&ebb__cycle_count, memory_order_relaxed);
    bool quiet =
        claimed == service.claimed && cycles == service.cycles && ebb__cycle_phase() == PHASE_IDLE;
    service.claimed = claimed;
    service.cycles = cycles;
    return quiet;
}

/* The free resident bytes that the heap will want before its next cycle. */
static size_t pages_to_keep(void) {
    size_t wanted = atomic_load_explicit(&ebb__pages_wanted, memory_order_relaxed);
    size_t used = ebb__pages_in_use();
    return wanted < SIZE_MAX && wanted > used ? wanted - used : 0;
}

static void idle_collect(void) {
    if (ebb__pages_in_use() > MIB && !ebb__runtime_there()) ebb__collect(CAUSE_IDLE, true);
    service_finalize();
    ebb__pages_return(UINT64_MAX, 0, SIZE_MAX);
    program_quiet();
    service.settled = true;
}

/* One look. True when there is reason to look again soon. */
static bool service_tick(void) {
    service_finalize();
    ebb__gc_hooks.tick();
    unsigned idle = (unsigned)ebb__settings.idle_seconds;
    if (!program_quiet()) {
        service.quiet_ticks = 0;
        service.settled = false;
    } else if (idle != 0 && !service.settled && ++service.quiet_ticks >= idle) {
        idle_collect();
    }
    if (!service.settled) ebb__pages_return(ebb__os_now_ns() - AGE_NS, pages_to_keep(), STEP);
    return !service.settled;
}

/* While it waits it is not stopped but passed over: its vector registers are those of the thread
 * that made it, and would keep alive for ever what happened to be in them. */
static void *service_thread(void *unused) {
    (void)unused;
    bool soon = true;
    if (ebb__sample_rate > 0 && ebb__settings.unwinder == UNWIND_LIBUNWIND) {
        ebb__loader_enter();
        ebb__os_unwind_load();
        ebb__loader_leave();
    }
    uint64_t look_ns = 0; /* quiet seconds are counted, so not earlier, however often it is woken */
    uint64_t quiet_ns = 0; /* two minutes after there was reason to look again soon */
    for (;;) {
        uint32_t work = atomic_load_explicit(&service.work, memory_order_acquire);
        if (ebb__os_now_ns() >= look_ns) {
            soon = service_tick();
            look_ns = ebb__os_now_ns() + TICK_NS; /* a collection of ours may have taken long */
            if (soon) quiet_ns = look_ns + QUIET_NS;
            if (!soon && look_ns > quiet_ns) { /* two quiet minutes: once more */
                service.settled = false;
                service.quiet_ticks = 0;
                soon = true;
            }
        } else {
            soon = true;
        }
        uint64_t now = ebb__os_now_ns(), until = soon ? look_ns : look_ns + QUIET_NS;
        atomic_store_explicit(&service.resting, !soon, memory_order_seq_cst);
        ebb__os_forget_registers();
        ebb_blocking_begin();
        ebb__os_wait(&service.work, work, until > now ? until - now : 0);
        ebb_blocking_end();
        /* A cycle ended: finalizers may be due now, the rest has its time. */
        service_finalize();
    }
    return NULL;
}

void ebb__service_look(service_look *look) {
    *look =
        (service_look){.started = atomic_load_explicit(&service.started, memory_order_relaxed) != 0,
                       .settled = service.settled,
                       .quiet_seconds = service.quiet_ticks,
                       .idle_seconds = (unsigned)ebb__settings.idle_seconds,
                       .keep_bytes = pages_to_keep(),
                       .used_bytes = ebb__pages_in_use(),
                       .age_ns = AGE_NS,
                       .rest_ns = QUIET_NS};
}

void ebb__service_wake(void) {
    atomic_fetch_add_explicit(&service.work, 1, memory_order_release);
    ebb__os_wake(&service.work, false);
}

static void service_start(void) {
    uint32_t none = 0;
    if (!atomic_compare_exchange_strong_explicit(&service.started, &none, 1, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return;
    if (ebb__os_thread(service_thread, NULL, ebb__settings.signal) != 0)
        atomic_store_explicit(&service.started, 0, memory_order_release);
}

void ebb__service_need(void) {
    ebb__service_wake();
    service_start();
}

/* Its store of resting and its wait on work, our addition and our load: one sees the other. */
void ebb__service_notice(void) {
    atomic_fetch_add_explicit(&service.work, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&service.resting, memory_order_seq_cst))
        ebb__os_wake(&service.work, false);
    if (!atomic_load_explicit(&service.started, memory_order_relaxed)) service_start();
}

void ebb__service_forked(void) {
    atomic_store_explicit(&service.started, 0, memory_order_relaxed);
    service.quiet_ticks = 0;
    service.settled = false;
}
