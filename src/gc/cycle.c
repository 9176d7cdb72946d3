/* cycle.c - one collection, and when there is one. docs/design.md, "The cycle" and "Pacing".
 *
 * In this version a cycle is full and stops the world from its first step to its last: roots, mark,
 * weak references, finalizers, sweep. It runs in the thread that asks for it.
 *
 * The goal is what was found reachable, and roots, grown by the percentage. What threads claim is
 * counted; when the count passes the trigger, the thread that passes it collects first. */
#include "collector.h"
#include "../../include/ebb/stats.h"

#define GOAL_MIN (16 * MIB)

cycle_state ebb__cycle;
os_lock ebb__collector_lock;
_Atomic(uint64_t) ebb__cycle_count;

static root_set cycle_roots;     /* [collector lock] */
static os_ranges cycle_segments; /* [loader's lock] */
static _Atomic(ebb_limit_handler) limit_handler;
static _Atomic(void *) limit_arg;

/* --- The steps
 * ------------------------------------------------------------------------------------- */

static _Atomic(uint32_t) sweep_next; /* spans are handed out in groups; relaxed */
static _Atomic(uint64_t) sweep_objects, sweep_bytes;

static void large_sweep(span *s, uint64_t *objects, uint64_t *bytes) {
    _Atomic(uint64_t) *mark = &span_mark_bits(s)[0];
    if (atomic_load_explicit(mark, memory_order_relaxed) & 1) {
        atomic_store_explicit(mark, 0, memory_order_relaxed);
        return;
    }
    atomic_store_explicit(&span_alloc_bits(s)[0], 0, memory_order_relaxed);
    *bytes += s->stride;
    ++*objects;
    ebb__pages_free(s);
}

/* Spans made while others are swept do not exist: the world is stopped. Records of free runs that
 * merging makes and unmakes are passed over by their state. */
static void sweep_part(unsigned part, unsigned parts) {
    enum { GROUP = 256 };
    uint64_t objects = 0, bytes = 0;
    (void)part, (void)parts;
    for (;;) {
        uint32_t from = atomic_fetch_add_explicit(&sweep_next, GROUP, memory_order_relaxed);
        if (from >= ebb__space.span_count) break;
        uint32_t to = (uint32_t)min_size(from + GROUP, ebb__space.span_count);
        for (uint32_t n = from ? from : 1; n < to; n++) {
            span *s = span_at(n);
            if (s->state == SPAN_LARGE) large_sweep(s, &objects, &bytes);
            if (s->state != SPAN_SMALL) continue;
            uint64_t stride = s->stride;
            uint32_t freed = ebb__span_sweep(s);
            objects += freed;
            bytes += freed * stride;
        }
    }
    atomic_fetch_add_explicit(&sweep_objects, objects, memory_order_relaxed);
    atomic_fetch_add_explicit(&sweep_bytes, bytes, memory_order_relaxed);
}

static void cycle_sweep(cycle_record *r) {
    atomic_store_explicit(&sweep_next, 0, memory_order_relaxed);
    atomic_store_explicit(&sweep_objects, 0, memory_order_relaxed);
    atomic_store_explicit(&sweep_bytes, 0, memory_order_relaxed);
    ebb__mark_parallel(sweep_part);
    r->freed_bytes = atomic_load_explicit(&sweep_bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&ebb__heap_freed_bytes, r->freed_bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&ebb__heap_freed_objects,
                              atomic_load_explicit(&sweep_objects, memory_order_relaxed),
                              memory_order_relaxed);
}

static bool cycle_mark(uintptr_t sp, mark_totals *totals) {
    if (!ebb__roots_gather(&cycle_roots, &cycle_segments, sp)) return false;
    ebb__finalizers_mark_roots();
    ebb__mark_run(&cycle_roots.ranges, totals);
    ebb__weak_clear();
    if (ebb__finalizers_find_due(totals)) ebb__weak_clear();
    ebb__mark_runs();
    return true;
}

/* The next goal and trigger, from what was found reachable. [collector lock] */
static void cycle_pace(size_t live) {
    int percent = atomic_load_explicit(&ebb__settings.percent, memory_order_relaxed);
    size_t base = live + cycle_roots.bytes;
    size_t room = percent < 0 ? SIZE_MAX / 2 : max_size(base / 100 * (size_t)percent, GOAL_MIN);
    atomic_store_explicit(&ebb__cycle.goal, percent < 0 ? SIZE_MAX : live + room,
                          memory_order_relaxed);
    atomic_store_explicit(&ebb__cycle.trigger, room, memory_order_relaxed);
}

static void pause_account(uint64_t ns) {
    cycle_state *c = &ebb__cycle;
    uint64_t n = atomic_load_explicit(&c->pauses, memory_order_relaxed);
    c->pause_total_ns += ns;
    c->pause_max_ns = max_size(c->pause_max_ns, ns);
    atomic_store_explicit(&c->pause_ns[n % PAUSES_KEPT], ns, memory_order_relaxed);
    atomic_store_explicit(&c->pauses, n + 1, memory_order_release);
}

static void cycle_account(const cycle_record *r) {
    cycle_state *c = &ebb__cycle;
    c->cycles = r->number;
    c->forced += r->cause == CAUSE_FORCED;
    c->cpu_ns += r->cpu_ns;
    pause_account(r->pause_ns);
    c->last_wall_ns = ebb__os_wall_ns();
    c->last = *r;
    atomic_store_explicit(&ebb__cycle_count, r->number, memory_order_relaxed);
}

/* With the world stopped: the record's times are set as the steps end. */
static bool cycle_steps(uintptr_t sp, cycle_record *r) {
    mark_totals totals = {0};
    uint64_t stopped = ebb__os_now_ns();
    size_t claimed = atomic_load_explicit(&ebb__heap_claimed, memory_order_relaxed);
    r->stop_ns = stopped - r->start_ns;
    r->heap_before = ebb__cycle.last.live + claimed;
    ebb__threads_reap(ebb__world_has);
    if (ebb__settings.verify) ebb__heap_verify(false);
    if (!cycle_mark(sp, &totals)) return false;
    if (ebb__settings.verify) ebb__heap_verify(true);
    uint64_t marked = ebb__os_now_ns(), cpu = ebb__os_thread_cpu_ns();
    cycle_sweep(r);
    if (ebb__settings.verify) ebb__heap_verify(false);
    r->mark_ns = marked - stopped;
    r->sweep_ns = ebb__os_now_ns() - marked;
    r->live = totals.bytes;
    r->heap_after = r->heap_before;
    r->cpu_ns = totals.cpu_ns + (ebb__os_thread_cpu_ns() - cpu);
    r->root_bytes = cycle_roots.bytes;
    r->stack_bytes = cycle_roots.stack_bytes;
    r->finalizers_due = ebb__finalizers_due();
    atomic_store_explicit(&ebb__heap_claimed, 0, memory_order_relaxed);
    cycle_pace(r->live);
    r->goal = atomic_load_explicit(&ebb__cycle.goal, memory_order_relaxed);
    r->footprint = ebb__space_footprint();
    return true;
}

/* Fork must not find a thread of ours with the loader's lock, which the child would never get. So
 * whoever has that lock and waits for the collector's gives up while there is a fork, and begins
 * again after it. */
static _Atomic(uint32_t) gate_forking; /* threads in fork; sequentially consistent with inside */
static _Atomic(uint32_t) gate_inside;  /* threads that have or want the loader's lock */

struct gate_call {
    void (*fn)(uintptr_t sp, void *arg);
    void *arg;
    uintptr_t sp;
    bool again;
    bool parked; /* it waits for the loader where no signal reaches it */
};

static void gate_enter(void) {
    for (;;) {
        atomic_fetch_add(&gate_inside, 1);
        uint32_t forking = atomic_load(&gate_forking);
        if (forking == 0) return;
        atomic_fetch_sub(&gate_inside, 1);
        ebb__os_wake(&gate_inside, true);
        ebb__os_wait(&gate_forking, forking, 10000000);
    }
}

static void gate_locked(void *arg) {
    struct gate_call *call = arg;
    if (call->parked) ebb_blocking_end();
    call->again = !ebb__os_lock_unless(&ebb__collector_lock, &gate_forking);
    if (call->again) return;
    call->fn(call->sp, call->arg);
    ebb__os_unlock(&ebb__collector_lock);
}

/* Calls fn(sp, arg) with the loader's and the collector's lock. */
static void gate_pass(uintptr_t sp, void (*fn)(uintptr_t sp, void *arg), void *arg) {
    struct gate_call call = {.fn = fn, .arg = arg, .sp = sp};
    int cancel = ebb__os_cancel_defer(); /* or a thread would go with the locks */
    do {
        gate_enter();
        call.parked = ebb__os_signals_late() && ebb__self;
        if (call.parked) ebb_blocking_begin();
        ebb__os_with_segments(&cycle_segments, gate_locked, &call);
        atomic_fetch_sub(&gate_inside, 1);
        if (atomic_load(&gate_forking)) ebb__os_wake(&gate_inside, true);
    } while (call.again);
    ebb__os_cancel_restore(cancel);
}

/* Before a fork: until nobody is inside. A second at most: somebody who forks with the loader's
 * lock held would wait for ever. */
static void gate_close(void) {
    uint64_t start = ebb__os_now_ns();
    atomic_fetch_add(&gate_forking, 1);
    for (uint32_t inside; (inside = atomic_load(&gate_inside)) != 0;) {
        if (ebb__os_now_ns() - start > 1000000000u) return;
        ebb__os_wait(&gate_inside, inside, 10000000);
    }
}

static void gate_open(void) {
    atomic_fetch_sub(&gate_forking, 1);
    ebb__os_wake(&gate_forking, true);
}

struct cycle_call {
    enum cause cause;
    uint64_t seen; /* cycles when it was asked for */
    int result;
};

/* A cycle could not be made: not again with every allocation, but when as much was claimed again.
 */
static void cycle_put_off(void) {
    size_t claimed = atomic_load_explicit(&ebb__heap_claimed, memory_order_relaxed);
    atomic_store_explicit(&ebb__cycle.trigger, 2 * max_size(claimed, GOAL_MIN),
                          memory_order_relaxed);
}

/* Who waited for a cycle that somebody else made meanwhile is served. */
static void cycle_locked(uintptr_t sp, void *arg) {
    struct cycle_call *call = arg;
    if (call->cause == CAUSE_GROWTH && ebb__cycle.cycles != call->seen) return;
    cycle_record r = {.cause = call->cause,
                      .start_ns = ebb__os_now_ns(),
                      .number = ebb__cycle.cycles + 1,
                      .markers = (unsigned)ebb__settings.markers};
    call->result = ebb__world_stop();
    if (call->result != 0) {
        cycle_put_off();
        return;
    }
    bool done = cycle_steps(sp, &r);
    r.pause_ns = ebb__os_now_ns() - r.start_ns;
    if (done) cycle_account(&r);
    ebb__world_resume();
    if (done) {
        ebb__gc_hooks.cycle_end(&r);
    } else {
        call->result = EBB_ENOMEM;
        cycle_put_off();
    }
}

static _Thread_local int collect_result;

/* From here on down the stack are frames of ours and the loader's, with holes in which older frames
 * show through: they lie below sp and are not searched. */
static void collect_below(uintptr_t sp, void *cause) {
    struct cycle_call call = {.cause = (enum cause)(uintptr_t)cause,
                              .seen =
                                  atomic_load_explicit(&ebb__cycle_count, memory_order_relaxed)};
    if (ebb__space_footprint() > 4 * MIB) ebb__mark_prepare();
    gate_pass(sp, cycle_locked, &call);
    ebb__service_need();
    collect_result = call.result;
}

int ebb__collect(enum cause cause) {
    if (!ebb__heap_start()) return EBB_ENOMEM;
    ebb__os_with_registers(collect_below, (void *)(uintptr_t)cause);
    return collect_result;
}

struct stopped_call {
    void (*fn)(const root_set *roots, void *arg);
    void *arg;
    int result;
};

static void stopped_locked(uintptr_t sp, void *arg) {
    struct stopped_call *call = arg;
    call->result = ebb__world_stop();
    if (call->result != 0) return;
    if (ebb__roots_gather(&cycle_roots, &cycle_segments, sp))
        call->fn(&cycle_roots, call->arg);
    else
        call->result = EBB_ENOMEM;
    ebb__world_resume();
}

static void stopped_below(uintptr_t sp, void *call) {
    gate_pass(sp, stopped_locked, call);
}

int ebb__with_world_stopped(void (*fn)(const root_set *roots, void *arg), void *arg) {
    struct stopped_call call = {.fn = fn, .arg = arg};
    if (!ebb__heap_start()) return EBB_ENOMEM;
    ebb__os_with_registers(stopped_below, &call);
    return call.result;
}

/* --- Public calls
 * ------------------------------------------------------------------------------------ */

int ebb_collect(void) {
    return ebb__collect(CAUSE_FORCED);
}

size_t ebb_release(void) {
    ebb__collect(CAUSE_FORCED);
    return ebb__pages_return(UINT64_MAX, 0, SIZE_MAX);
}

uint64_t ebb_cycles(void) {
    return atomic_load_explicit(&ebb__cycle_count, memory_order_relaxed);
}

size_t ebb_pauses(uint64_t *ns, size_t room) {
    const cycle_state *c = &ebb__cycle;
    uint64_t n = atomic_load_explicit(&c->pauses, memory_order_acquire);
    size_t count = min_size(min_size(room, PAUSES_KEPT), n);
    if (count > 0 && !ns) {
        ebb__misuse(EBB_EINVAL, "ebb_pauses", "the pointer is null");
        return 0;
    }
    for (size_t i = 0; i < count; i++)
        ns[i] = atomic_load_explicit(&c->pause_ns[(n - 1 - i) % PAUSES_KEPT], memory_order_relaxed);
    return count;
}

int ebb_set_gc_percent(int percent) {
    if (!ebb__heap_start()) return 0;
    ebb__os_lock(&ebb__collector_lock);
    int before = atomic_exchange_explicit(&ebb__settings.percent, percent < 0 ? -1 : percent,
                                          memory_order_relaxed);
    cycle_pace(ebb__cycle.last.live);
    ebb__os_unlock(&ebb__collector_lock);
    return before;
}

size_t ebb_set_memory_limit(size_t bytes) {
    if (!ebb__heap_start()) return SIZE_MAX;
    return atomic_exchange_explicit(&ebb__space_limit, bytes, memory_order_relaxed);
}

void ebb_set_limit_handler(ebb_limit_handler handler, void *arg) {
    atomic_store_explicit(&limit_arg, arg, memory_order_relaxed);
    atomic_store_explicit(&limit_handler, handler, memory_order_release);
}

/* --- What the heap asks
 * --------------------------------------------------------------------------------- */

static bool hook_claim(size_t bytes) {
    size_t claimed = atomic_load_explicit(&ebb__heap_claimed, memory_order_relaxed);
    size_t trigger = atomic_load_explicit(&ebb__cycle.trigger, memory_order_relaxed);
    if (EBB__RARE(claimed + bytes > trigger) && claimed > 0) ebb__collect(CAUSE_GROWTH);
    return true;
}

/* First what is free goes back; then a collection; then, for as long as it says so, the handler and
 * one more collection. */
static bool hook_exhausted(size_t bytes, unsigned attempt) {
    if (attempt == 0 && ebb__pages_return(UINT64_MAX, 0, bytes + MIB) > 0) return true;
    if (attempt > 1) {
        ebb_limit_handler handler = atomic_load_explicit(&limit_handler, memory_order_acquire);
        if (!handler || !handler(bytes, atomic_load_explicit(&limit_arg, memory_order_relaxed)))
            return false;
    }
    ebb__collect(CAUSE_LIMIT);
    ebb__pages_return(UINT64_MAX, 0, SIZE_MAX);
    return true;
}

static bool hook_stress(void) {
    static _Atomic(uint64_t) allocations; /* relaxed: only the number counts */
    uint64_t n = atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed) + 1;
    if (n == ebb__settings.fail_alloc) return false;
    if (ebb__settings.stress && n % ebb__settings.stress == 0) ebb__collect(CAUSE_STRESS);
    return true;
}

/* --- Start and fork
 * ---------------------------------------------------------------------------------------- */

/* In the order of heap/thread.h. The child has one thread, and nothing of ours half done. */
static void fork_before(void) {
    gate_close();
    ebb__os_lock(&ebb__collector_lock); /* not in a section: its holder may want us stopped */
    ebb__critical_enter();
    ebb__os_lock(&ebb__final_lock);
    ebb__os_lock(&ebb__roots_lock);
    ebb__os_lock(&ebb__threads_lock);
    ebb__os_lock(&ebb__types_lock);
    for (int i = 0; i < BIN_LOCKS; i++) ebb__os_lock(&ebb__bin_locks[i]);
    for (int i = 0; i < ZONE_COUNT; i++) ebb__os_lock(&ebb__space.zones[i].lock);
    ebb__os_lock(&ebb__space.spans_lock);
}

static void fork_unlock(void) {
    ebb__os_unlock(&ebb__space.spans_lock);
    for (int i = 0; i < ZONE_COUNT; i++) ebb__os_unlock(&ebb__space.zones[i].lock);
    for (int i = 0; i < BIN_LOCKS; i++) ebb__os_unlock(&ebb__bin_locks[i]);
    ebb__os_unlock(&ebb__types_lock);
    ebb__os_unlock(&ebb__threads_lock);
    ebb__os_unlock(&ebb__roots_lock);
    ebb__os_unlock(&ebb__final_lock);
    ebb__os_unlock(&ebb__collector_lock);
}

static void fork_parent(void) {
    fork_unlock();
    ebb__critical_leave();
    gate_open();
}

static void fork_child(void) {
    ebb__critical.pending = false;
    ebb__world_forked();
    ebb__mark_forked();
    atomic_store(&gate_forking, 0);
    atomic_store(&gate_inside, 0);
    fork_unlock();
    ebb__finalizers_forked();
    ebb__threads_forked();
    ebb__critical_leave();
    ebb__service_forked();
}

static void hook_start(void) {
    ebb__settings_start();
    ebb__world_start();
    ebb__roots_start();
    ebb__cycle.start_ns = ebb__os_now_ns();
    cycle_pace(0);
    ebb__os_at_fork(fork_before, fork_parent, fork_child);
}

const struct heap_hooks ebb__heap_hooks = {
    .start = hook_start,
    .claim = hook_claim,
    .exhausted = hook_exhausted,
    .stress = hook_stress,
    .released = ebb__finalizers_released,
};
