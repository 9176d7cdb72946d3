/* cycle.c - one collection, from its request to its trace line. docs/design.md, "The cycle".
 *
 * Beside the program, where the system tells which pages are written to:
 *
 *   - begin: what the last cycle left is swept. Full: writes to what held survivors are noted from
 *     now on, and marks are cleared. Minor: what was written since the last cycle is listed.
 *   - open, a short stop: what threads did before it is visible, so what they store into objects
 *     that are looked at later is either seen or noted. Stacks are looked at, as a hint.
 *   - mark: what the changed pages and the hints reach; then what was written meanwhile, again and
 *     again until it is little. Where the program has tracers or computed roots, a short stop asks
 *     them, as a hint.
 *   - finish, the stop: what was written last, all roots, weak references, finalizers.
 *   - sweep: beside the program, and by those who allocate.
 *
 * In one stop - small heaps, stress, and where the system does not tell - begin, mark and finish
 * fall together.
 *
 * A cycle is made by the thread that asks for it, or by the collector's own when the program has
 * reached the trigger. Whoever waits for a cycle may finish it: one that waits may hold the
 * loader's lock, which the stop needs, so the thread that began the cycle might wait for it for
 * ever.
 *
 *   IDLE -> BEGIN -> MARK -> READY   by its owner, who is whoever made the first step
 *   MARK -> CALL -> CALLED -> MARK   where only a thread of the program may make a stop: the owner
 *                                    asks for one, and waits; CALL -> MARK when none came
 *   READY -> SWEEP -> IDLE           by whoever has the collector's lock first: he owns it then */
#include "collector.h"
#include "../../include/ebb/stats.h"

cycle_state ebb__cycle;
os_lock ebb__collector_lock;
root_set ebb__cycle_roots;
_Atomic(uint64_t) ebb__cycle_count;

os_ranges ebb__cycle_segments;

/* The cycle that is under way. [owner] */
static struct {
    _Atomic(uint32_t) phase; /* release by who changes it, acquire by the rest; waited on */
    _Atomic(uint32_t) told;  /* enum told: whether the runtime knows; waited on */
    bool lost;               /* marks mean nothing: the next cycle has to be full, in one stop */
    bool opened;             /* the stop that was asked for was made */
    int result;              /* of the last one */
    mark_totals totals;
    cycle_record record;
} now;

/* The collector's thread. */
#define ASKED ((uint32_t)1 << 31)
static struct {
    _Atomic(uint32_t) started; /* 0 or 1 */
    _Atomic(uint32_t) asked;   /* nonzero: a cycle is wanted, as of how many; waited on */
} background;

enum phase ebb__cycle_phase(void) {
    return (enum phase)atomic_load_explicit(&now.phase, memory_order_acquire);
}

static void phase_set(enum phase phase) {
    ebb__yield_point(1);
    atomic_store_explicit(&now.phase, phase, memory_order_release);
    ebb__os_wake(&now.phase, true);
}

/* False: it was another one. */
static bool phase_step(uint32_t from, enum phase to) {
    bool stepped = atomic_compare_exchange_strong_explicit(
        &now.phase, &from, to, memory_order_acq_rel, memory_order_relaxed);
    if (stepped) ebb__os_wake(&now.phase, true);
    return stepped;
}

/* --- The stop that ends it
 * -------------------------------------------------------------------------- */

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
    c->minor += !r->full;
    c->assist_ns += r->assist_ns;
    c->wait_ns += r->wait_ns;
    c->last_wall_ns = ebb__os_wall_ns();
    c->last = *r;
    atomic_store_explicit(&ebb__cycle_count, r->number, memory_order_relaxed);
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

void ebb__loader_leave(void) {
    atomic_fetch_sub(&gate_inside, 1);
    if (atomic_load(&gate_forking)) ebb__os_wake(&gate_inside, true);
}

bool ebb__loader_try(void) {
    atomic_fetch_add(&gate_inside, 1);
    if (atomic_load(&gate_forking) == 0) return true;
    ebb__loader_leave();
    return false;
}

void ebb__loader_enter(void) {
    while (!ebb__loader_try()) {
        uint32_t forking = atomic_load(&gate_forking);
        if (forking) ebb__os_wait(&gate_forking, forking, 10000000);
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
        ebb__loader_enter();
        call.parked = ebb__os_signals_late() && ebb__self;
        if (call.parked) ebb_blocking_begin();
        ebb__os_with_segments(&ebb__cycle_segments, gate_locked, &call);
        ebb__loader_leave();
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

static bool finish_mark(uintptr_t sp) {
    const os_ranges *changed = NULL;
    uint64_t start = ebb__os_now_ns();
    if (!now.record.beside && now.record.full) {
        ebb__mark_forget(0);
        if (!ebb__dirty_arm_all()) return false;
    } else {
        now.record.dirty_last = ebb__dirty_look(true);
        now.record.dirty_pages += now.record.dirty_last;
        if (!(changed = ebb__dirty_changed())) return false;
    }
    uint64_t looked = ebb__os_now_ns();
    if (!ebb__roots_gather(&ebb__cycle_roots, &ebb__cycle_segments, sp)) return false;
    uint64_t gathered = ebb__os_now_ns();
    now.record.look_ns = looked - start;
    now.record.roots_ns = gathered - looked;
    ebb__mark_beside(false);
    ebb__finalizers_mark_roots();
    ebb__runtime_roots();
    ebb__mark_run(&ebb__cycle_roots.ranges, changed, 0, &now.totals);
    ebb__traced_run(true, &now.totals);
    now.record.drain_ns = ebb__os_now_ns() - gathered;
    ebb__weak_clear();
    ebb__runtime_marked(false);
    if (ebb__finalizers_find_due(!now.record.full, &now.totals)) ebb__weak_clear();
    ebb__runtime_marked(true);
    ebb__extents_trim();
    return true;
}

/* With the world stopped. */
static bool finish_steps(uintptr_t sp) {
    cycle_record *r = &now.record;
    r->heap_before = ebb__cycle.last.live + heap_claimed();
    ebb__threads_reap(ebb__world_lives);
    if (ebb__settings.verify) ebb__heap_verify(false);
    bool done = finish_mark(sp);
    atomic_store_explicit(&ebb__heap_marking, false, memory_order_relaxed);
    ebb__mark_beside(false);
    ebb__mark_totals(&now.totals);
    now.lost = !done;
    if (!done) return false;
    if (ebb__settings.verify) ebb__heap_verify(true);
    if (ebb__settings.checkmark) ebb__checkmark(r, &ebb__cycle_roots);
    ebb__mark_drop_empty();
    ebb__sweep_open(r->full);
    r->live = now.totals.bytes;
    r->held = ebb__mark_held();
    r->heap_after = r->heap_before;
    r->root_bytes = ebb__cycle_roots.bytes;
    r->stack_bytes = ebb__cycle_roots.stack_bytes;
    r->finalizers_due = ebb__finalizers_due();
    ebb__pace_end(r);
    r->goal = atomic_load_explicit(&ebb__cycle.goal, memory_order_relaxed);
    ebb__gc_hooks.marked(r);
    return true;
}

/* Once for a cycle, before its last stop, with no lock of ours: the program's function may wait for
 * one of its own, whose holder may wait for one of ours. */
enum told { TOLD_NOT, TOLD_NOW, TOLD };

static void cycle_tell(void) {
    uint32_t told = TOLD_NOT;
    if (!ebb__runtime_there() || ebb__gc_held()) return;
    if (atomic_compare_exchange_strong_explicit(&now.told, &told, TOLD_NOW, memory_order_acq_rel,
                                                memory_order_acquire)) {
        ebb__runtime_stopping();
        atomic_store_explicit(&now.told, TOLD, memory_order_release);
        ebb__os_wake(&now.told, true);
    }
    while (atomic_load_explicit(&now.told, memory_order_acquire) == TOLD_NOW)
        ebb__os_wait(&now.told, TOLD_NOW, UINT64_MAX);
}

/* Stops the world and ends the cycle, unless somebody else did. [loader's and collector's lock] */
static void finish_locked(uintptr_t sp, void *mine) {
    cycle_record *r = &now.record;
    if (ebb__cycle_phase() != PHASE_READY || ebb__gc_held()) return;
    if (ebb__runtime_there() && atomic_load_explicit(&now.told, memory_order_acquire) != TOLD)
        return; /* the next cycle already */
    uint64_t start = ebb__os_now_ns();
    *(bool *)mine = true;
    now.result = ebb__world_stop();
    if (now.result == 0) {
        r->stop_ns = ebb__os_now_ns() - start;
        if (!finish_steps(sp)) now.result = EBB_ENOMEM;
        r->pause_ns = ebb__os_now_ns() - start;
        pause_account(r->pause_ns);
        if (now.result == 0) cycle_account(r);
        ebb__world_resume();
    } else {
        atomic_store_explicit(&ebb__heap_marking, false, memory_order_relaxed);
        ebb__mark_beside(false);
        now.lost |= r->beside;
    }
    if (now.result != 0) ebb__pace_put_off();
    atomic_store_explicit(&now.phase, PHASE_SWEEP, memory_order_release);
}

/* What is left to do after the stop; by who made it. */
static void cycle_close(void) {
    cycle_record *r = &now.record;
    uint64_t start = ebb__os_now_ns(), cpu = ebb__os_thread_cpu_ns();
    uint64_t freed = atomic_load_explicit(&ebb__heap_freed_bytes, memory_order_relaxed);
    ebb__yield_point(1);
    if (now.result == 0) {
        if (ebb__pace_full()) ebb__dirty_disarm();
        ebb__sweep_finish(true);
        ebb__pace_swept();
        r->sweep_ns = ebb__os_now_ns() - start;
        r->cpu_ns = now.totals.cpu_ns + ebb__os_thread_cpu_ns() - cpu;
        r->freed_bytes = atomic_load_explicit(&ebb__heap_freed_bytes, memory_order_relaxed) - freed;
        r->footprint = ebb__space_footprint();
        ebb__os_lock(&ebb__collector_lock);
        ebb__cycle.cpu_ns += r->cpu_ns;
        ebb__cycle.last = *r;
        ebb__gc_hooks.cycle_end(r);
        ebb__os_unlock(&ebb__collector_lock);
    }
    ebb__extents_end();
    phase_set(PHASE_IDLE);
}

static void cycle_finish(uintptr_t sp) {
    bool mine = false;
    int cancel = ebb__os_cancel_defer(); /* or a thread would go with the cycle */
    while (ebb__cycle_phase() == PHASE_READY && !mine && !ebb__gc_held()) {
        cycle_tell();
        gate_pass(sp, finish_locked, &mine);
    }
    bool done = mine && now.result == 0;
    if (mine) cycle_close();
    if (done) ebb__runtime_stopped();
    ebb__os_cancel_restore(cancel);
}

/* --- Beside the program
 * ----------------------------------------------------------------------------- */

/* The depths of stacks, which change seldom: noted in a short stop, and read after it. [owner] */
enum { THREADS_MOST = 64 };
static struct {
    os_range items[THREADS_MOST];
    int count;
} deep;

/* What a thread's stack holds just now near its top; and where the rest is, or, when that was read
 * before, what may have come since. It is a hint, the last stop looks again: so nothing of one
 * whose end is not known. */
static void stack_hints(int tid, uintptr_t sp, uintptr_t tp, bool first) {
    const size_t TOP = 64 * KIB, GROWN = MIB, DEEPEST = 64 * MIB;
    uintptr_t end = tid == ebb__os_pid() ? ebb__os_main_stack() : tp;
    uintptr_t at = round_up(sp + TOP, sizeof(void *));
    if (end <= sp) return;
    ebb__mark_hints(round_up(sp, sizeof(void *)), min_size(end, at));
    if (at >= end || end - sp > DEEPEST) return; /* mostly another stack than the thread's own */
    deep.items[deep.count++] = (os_range){at, first ? end : min_size(end, at + GROWN)};
}

/* In a short stop. */
static void open_hints(uintptr_t sp, bool first) {
    size_t room;
    int threads = 1;
    const stopped_thread *table = ebb__world_threads(&room);
    deep.count = 0;
    stack_hints(ebb__os_tid(), sp, ebb__os_thread_pointer(), first);
    for (size_t i = 0; i < room && threads < THREADS_MOST; i++) {
        int tid = stopped_tid(&table[i]);
        if (tid == 0 || table[i].sp == 0) continue;
        stack_hints(tid, table[i].sp, table[i].tp, first);
        threads++;
    }
}

/* While the program runs. As far as there is memory, and not for long: a thread may be on another
 * stack than its own, with many others behind it. */
static void deep_hints(void) {
    const size_t PIECE = 128 * KIB, MOST = 64 * MIB / PIECE;
    size_t pieces = 0;
    for (int i = 0; i < deep.count; i++)
        for (os_range r = deep.items[i]; r.start < r.end && pieces < MOST;
             r.start += PIECE, pieces++)
            if (!ebb__mark_hints(r.start, min_size(r.end, r.start + PIECE))) break;
}

/* When stacks were looked at last, and what had been claimed then. [owner] */
static struct {
    uint64_t ns;
    size_t claimed;
} hinted;

/* What a thread is making hangs from its stack alone, and would be marked in the last stop: worth
 * another short one when that may be much. */
static bool hints_stale(void) {
    uint64_t budget =
        ebb__settings.pause_ns / 2; /* in bytes too, since a byte takes a nanosecond */
    size_t claimed = heap_claimed();
    return ebb__os_now_ns() - hinted.ns > budget && claimed > hinted.claimed + budget;
}

/* A short stop. The first of a cycle orders what threads did before it and what they do after.
 * calls: functions of the program's tell what they know. [owner, or who was called] */
static bool cycle_open(uintptr_t sp, bool first, bool calls) {
    ebb__os_lock(&ebb__collector_lock);
    uint64_t start = ebb__os_now_ns();
    bool stopped = ebb__world_stop() == 0;
    if (stopped) {
        open_hints(sp, first);
        if (calls && !ebb__gc_held())
            ebb__traced_hints(ebb__os_now_ns() + ebb__settings.pause_ns / 2);
        hinted.ns = ebb__os_now_ns();
        hinted.claimed = heap_claimed();
        now.record.open_ns = max_size(now.record.open_ns, hinted.ns - start);
        pause_account(hinted.ns - start);
        ebb__world_resume();
    }
    ebb__os_unlock(&ebb__collector_lock);
    return stopped;
}

/* A thread of the library's own leaves stops in which the runtime's functions are called to one of
 * the program's. */
static bool stop_is_for_others(void) {
    return ebb__runtime_there() && ebb__world_exempted();
}

bool ebb__cycle_calls(void) {
    enum phase phase = ebb__cycle_phase();
    return phase == PHASE_CALL || (phase == PHASE_READY && ebb__runtime_there());
}

/* By a thread of the program, inside of an allocation. */
static void called_open(uintptr_t sp) {
    int cancel = ebb__os_cancel_defer(); /* or a thread would go with the cycle */
    ebb__yield_point(1);
    if (phase_step(PHASE_CALL, PHASE_CALLED)) {
        ebb__yield_point(1);
        now.opened = cycle_open(sp, false, true);
        phase_set(PHASE_MARK);
    }
    ebb__os_cancel_restore(cancel);
}

/* A short stop amid marking, for calls by whom it may be made. A program that allocates comes soon;
 * for another one there is no hurry, nor is there for its calls. */
static bool cycle_open_again(uintptr_t sp, bool calls) {
    const uint64_t MOST_NS = 20000000;
    uint64_t start = ebb__os_now_ns();
    if (!calls || !stop_is_for_others()) return cycle_open(sp, false, calls);
    phase_set(PHASE_CALL);
    while (ebb__cycle_phase() == PHASE_CALL && ebb__os_now_ns() - start < MOST_NS)
        ebb__os_wait(&now.phase, PHASE_CALL, MOST_NS / 10);
    if (phase_step(PHASE_CALL, PHASE_MARK)) return cycle_open(sp, false, false);
    while (ebb__cycle_phase() == PHASE_CALLED) ebb__os_wait(&now.phase, PHASE_CALLED, UINT64_MAX);
    return now.opened;
}

/* Until what was written or found in new spans meanwhile is little, or less work than to ask again,
 * and so is what was made. A page takes a few microseconds to scan. Allocation is held back from
 * then on where it does not get less, or stacks are read again and there are few pages left: those
 * take NEAR / 4 times what the stop may. A program that is held earlier waits for a second. */
static bool mark_rounds(uintptr_t sp) {
    enum { ROUNDS = 8, PAGE_NS = 4000, NEAR = 256 };
    cycle_record *r = &now.record;
    size_t enough = ebb__settings.pause_ns / 4 / PAGE_NS, last = SIZE_MAX;
    bool close = false, calls = ebb__traced_wanted();
    for (r->rounds = 0; r->rounds < ROUNDS; r->rounds++) {
        bool stale = hints_stale(), near = last <= NEAR * enough;
        bool open = stale || (calls && r->rounds == 0) || ebb__traced_left(enough);
        if (close || (stale && near)) ebb__pace_close(ebb__settings.pause_ns / 2);
        if (open && !cycle_open_again(sp, calls)) return false;
        if (open) deep_hints();
        uint64_t start = ebb__os_now_ns();
        size_t pages = ebb__dirty_look(false);
        size_t asking = (ebb__os_now_ns() - start) / PAGE_NS;
        const os_ranges *changed = ebb__dirty_changed();
        r->dirty_pages += pages;
        ebb__yield_point(1);
        if (!changed) return false; /* what was listed is armed again, and not scanned */
        ebb__mark_run(NULL, changed, (unsigned)ebb__settings.background, &now.totals);
        size_t most = max_size(enough, min_size(asking, 4 * enough));
        bool less = pages < last / 4 * 3, little = max_size(pages, ebb__dirty_exposed()) <= most;
        if ((little || (close && !less)) && !hints_stale() && !ebb__traced_left(enough)) break;
        close |= !less;
        last = pages;
    }
    return true;
}

/* Where static data lies, as of a moment ago. Listed before a cycle is owned: the loader's lock may
 * be with a thread that would wait for the cycle. */
static struct {
    os_lock lock;
    os_ranges segments;
    root_set roots;
} hints;

static void hints_listed(void *unused) {
    (void)unused;
}

static void hints_list(void) {
    if (!ebb__os_trylock(&hints.lock)) return;
    ebb__loader_enter();
    ebb__os_with_segments(&hints.segments, hints_listed, NULL);
    ebb__loader_leave();
    ebb__os_unlock(&hints.lock);
}

/* What static data and added ranges refer to now: the last stop looks again. Not waited for: who
 * has the lock may be listing, and so wait for the loader's lock, which the caller may hold. */
static void hints_take(void) {
    if (!ebb__os_trylock(&hints.lock)) return;
    if (ebb__roots_hints(&hints.roots, &hints.segments))
        for (size_t i = 0; i < hints.roots.ranges.count; i++)
            ebb__mark_hints(hints.roots.ranges.items[i].start, hints.roots.ranges.items[i].end);
    ebb__os_unlock(&hints.lock);
}

static bool mark_beside(uintptr_t sp) {
    cycle_record *r = &now.record;
    unsigned most = (unsigned)ebb__settings.background;
    uint64_t start = ebb__os_now_ns();
    const os_ranges *changed = NULL;
    atomic_store_explicit(&ebb__heap_marking, true, memory_order_relaxed);
    if (r->full) {
        if (!ebb__dirty_arm_all()) return false;
        ebb__mark_forget(most);
    } else {
        r->dirty_pages = ebb__dirty_look(false);
        if (!(changed = ebb__dirty_changed())) return false;
    }
    ebb__yield_point(1);
    ebb__mark_beside(true); /* hints are for a marking beside the program */
    if (!cycle_open(sp, true, false)) return false;
    ebb__yield_point(1);
    ebb__pace_begin(r);
    phase_set(PHASE_MARK);
    hints_take();
    deep_hints();
    ebb__finalizers_hints();
    ebb__mark_run(NULL, changed, most, &now.totals);
    bool whole = mark_rounds(sp);
    r->mark_ns = ebb__os_now_ns() - start;
    return whole;
}

/* --- Making one
 * ------------------------------------------------------------------------------------- */

uint64_t ebb__cycle_help(uintptr_t sp) {
    enum phase phase = ebb__cycle_phase();
    if (phase == PHASE_IDLE) return 0;
    if (phase == PHASE_READY && !stop_is_for_others()) {
        cycle_finish(sp);
        return 0;
    }
    if (phase == PHASE_CALL && !ebb__world_exempted()) {
        called_open(sp);
        return 0;
    }
    if (phase == PHASE_MARK && ebb__mark_help()) return 0;
    uint64_t start = ebb__os_now_ns();
    ebb__os_wait(&now.phase, phase, 1000000);
    return ebb__os_now_ns() - start;
}

bool ebb__cycle_await(void) {
    ebb__os_wait(&now.phase, PHASE_IDLE, 1000000);
    return ebb__cycle_phase() != PHASE_IDLE;
}

/* The collector's thread has the time to wait for one that allocates, others have not. */
static int ready_await(enum cause cause) {
    const uint64_t MOST_NS = 1000000000;
    uint64_t start = ebb__os_now_ns();
    while (ebb__cycle_phase() == PHASE_READY) {
        if (cause != CAUSE_GROWTH && ebb__os_now_ns() - start > MOST_NS) return EBB_EBUSY;
        ebb__os_wait(&now.phase, PHASE_READY, MOST_NS / 10);
    }
    return 0;
}

/* By the owner. */
static int cycle_make(enum cause cause, bool full, uintptr_t sp) {
    ebb__sweep_finish(true);
    ebb__dirty_start();
    bool stress = cause == CAUSE_STRESS, in_force = ebb__dirty_in_force();
    bool beside = in_force && !now.lost && !stress && !ebb__pace_small();
    now.totals = (mark_totals){0};
    atomic_store_explicit(&now.told, TOLD_NOT, memory_order_relaxed);
    now.record = (cycle_record){.cause = cause,
                                .start_ns = ebb__os_now_ns(),
                                .number = ebb__cycle.cycles + 1,
                                .full = full || !in_force || now.lost || ebb__pace_full(),
                                .beside = beside,
                                .markers = (unsigned)ebb__settings.markers};
    ebb__gc_hooks.begun(&now.record);
    if (beside && !mark_beside(sp)) {
        now.record.beside = false;
        now.record.full = now.lost = true; /* marks or notes of writes: also if the stop fails */
        ebb__mark_totals(&now.totals);
        now.totals.bytes = now.totals.objects = 0;
    }
    phase_set(PHASE_READY);
    ebb__yield_point(2);
    if (stop_is_for_others()) return ready_await(cause);
    cycle_finish(sp);
    return ebb__gc_held() && ebb__cycle_phase() == PHASE_READY ? EBB_EBUSY : now.result;
}

static _Thread_local struct {
    enum cause cause;
    bool full;
    uint64_t made; /* how many cycles there were when it was found to be due */
    int result;
} collect_call;

/* From here on down the stack are frames of ours and the loader's, with holes in which older frames
 * show through: they lie below sp and are not searched. */
static void collect_below(uintptr_t sp, void *unused) {
    enum cause cause = collect_call.cause;
    int cancel = ebb__os_cancel_defer(); /* or a thread would go with the cycle */
    (void)unused;
    if (ebb__space_footprint() > 4 * MIB) ebb__crew_start();
    if (ebb__dirty_wanted() && !ebb__pace_small()) hints_list();
    bool held = ebb__gc_held();
    while (!held && !phase_step(PHASE_IDLE, PHASE_BEGIN)) {
        ebb__cycle_help(sp);
        held = ebb__gc_held();
    }
    uint64_t made = atomic_load_explicit(&ebb__cycle_count, memory_order_relaxed);
    bool served = cause == CAUSE_GROWTH && made != collect_call.made;
    if (held) {
        collect_call.result = EBB_EBUSY;
    } else if (served) {
        phase_set(PHASE_IDLE);
        collect_call.result = 0;
    } else {
        collect_call.result = cycle_make(cause, collect_call.full, sp);
    }
    ebb__os_cancel_restore(cancel);
    ebb__service_need();
}

static int collect_as(enum cause cause, bool full, uint64_t made) {
    int error = errno;
    if (!ebb__heap_start()) return EBB_ENOMEM;
    collect_call.cause = cause;
    collect_call.full = full;
    collect_call.made = made;
    ebb__os_with_registers(collect_below, NULL);
    errno = error;
    return collect_call.result;
}

int ebb__collect(enum cause cause, bool full) {
    return collect_as(cause, full, 0);
}

int ebb__collect_due(uint64_t made) {
    return collect_as(CAUSE_GROWTH, false, made);
}

/* Asked for as of some number of cycles: not any more when there was one since. */
static void *background_thread(void *unused) {
    (void)unused;
    ebb__world_exempt_begun();
    for (;;) {
        ebb__os_wait(&background.asked, 0, UINT64_MAX);
        uint32_t asked = atomic_exchange_explicit(&background.asked, 0, memory_order_acq_rel);
        uint64_t made = atomic_load_explicit(&ebb__cycle_count, memory_order_relaxed);
        if (asked == ((uint32_t)made | ASKED)) ebb__collect_due(made);
    }
    return NULL;
}

void ebb__cycle_ask(uint64_t made) {
    uint32_t none = 0, ask = (uint32_t)made | ASKED;
    if (made != atomic_load_explicit(&ebb__cycle_count, memory_order_relaxed)) return;
    if (atomic_load_explicit(&background.asked, memory_order_relaxed) == ask) return;
    atomic_store_explicit(&background.asked, ask, memory_order_release);
    ebb__os_wake(&background.asked, true);
    if (!atomic_compare_exchange_strong_explicit(&background.started, &none, 1,
                                                 memory_order_acq_rel, memory_order_relaxed))
        return;
    if (ebb__os_thread(background_thread, NULL, ebb__settings.signal) != 0)
        atomic_store_explicit(&background.started, 0, memory_order_release);
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
    if (ebb__roots_gather(&ebb__cycle_roots, &ebb__cycle_segments, sp))
        call->fn(&ebb__cycle_roots, call->arg);
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
    ebb__sweep_finish(false);
    ebb__os_with_registers(stopped_below, &call);
    return call.result;
}

/* --- Public calls
 * ------------------------------------------------------------------------------------ */

int ebb_collect(void) {
    return ebb__collect(CAUSE_FORCED, true);
}

size_t ebb_release(void) {
    ebb__collect(CAUSE_FORCED, true);
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

/* --- What the heap asks
 * --------------------------------------------------------------------------------- */

static bool hook_stress(void) {
    static _Atomic(uint64_t) allocations; /* relaxed: only the number counts */
    uint64_t n = atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed) + 1;
    if (n == ebb__settings.fail_alloc) return false;
    if (ebb__settings.stress && n % ebb__settings.stress == 0)
        ebb__collect(CAUSE_STRESS, n / ebb__settings.stress % 3 == 0);
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
    ebb__os_lock(&ebb__sample_lock);
}

static void fork_unlock(void) {
    ebb__os_unlock(&ebb__sample_lock);
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
    ebb__crew_forked();
    ebb__mark_forked();
    ebb__traced_forked();
    ebb__dirty_forked();
    ebb__sweep_forked();
    atomic_store_explicit(&ebb__heap_marking, false, memory_order_relaxed);
    atomic_store_explicit(&now.phase, PHASE_IDLE, memory_order_relaxed);
    atomic_store_explicit(&background.started, 0, memory_order_relaxed);
    atomic_store_explicit(&background.asked, 0, memory_order_relaxed);
    hints.lock = (os_lock){0};
    hints.segments = hints.roots.ranges = (os_ranges){0};
    now.lost = true;
    atomic_store(&gate_forking, 0);
    atomic_store(&gate_inside, 0);
    fork_unlock();
    ebb__pace_forked();
    ebb__finalizers_forked();
    ebb__threads_forked();
    ebb__critical_leave();
    ebb__service_forked();
}

static void hook_start(void) {
    ebb__settings_start();
    ebb__world_start();
    ebb__cycle.start_ns = ebb__os_now_ns();
    ebb__pace_set(0);
    ebb__os_at_fork(fork_before, fork_parent, fork_child);
}

static void hook_started(void) {
    ebb__gc_hooks.started();
}

const struct heap_hooks ebb__heap_hooks = {
    .start = hook_start,
    .started = hook_started,
    .claim = ebb__pace_claim,
    .exhausted = ebb__pace_exhausted,
    .stress = hook_stress,
    .released = ebb__finalizers_released,
};
