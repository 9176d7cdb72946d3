/* pace.c - when there is a cycle, how much may be allocated while it runs, and the limit.
 * docs/design.md, "Pacing".
 *
 *   claimed   what threads took since the last stop, less what they released
 *   room      what they may take before the heap is at its goal
 *   trigger   what they have taken when a cycle begins; before room, by what the last one cost
 *
 * While a cycle marks, what may be claimed grows from trigger to room as the marking goes on. A
 * thread that is ahead of that helps marking; at room it waits until the cycle has ended. The goal
 * comes from what was found reachable, never from what was born meanwhile, so a slow cycle does not
 * raise it; and helping is never switched off. */
#include "collector.h"

static struct {
    _Atomic(size_t) live;       /* found reachable last, a guess; SIZE_MAX: none yet; relaxed */
    _Atomic(size_t) waste;      /* see waste_beside; SIZE_MAX: not known; relaxed */
    _Atomic(size_t) begun_at;   /* claimed when this cycle began; relaxed */
    _Atomic(size_t) closing_at; /* claimed by then at most: see ebb__pace_close; relaxed */
    _Atomic(uint64_t) expected; /* bytes that it will mark; relaxed */
    uint64_t marked[2];         /* bytes that the last minor and full one marked [owner] */
    _Atomic(size_t) claimed_beside[2];    /* bytes that were claimed while they did; relaxed */
    _Atomic(uint64_t) assist_ns, wait_ns; /* relaxed */
    double yield_first; /* part of what was claimed that the first minor cycle after a full one
                         * found dead; 0: there was none yet [owner] */
    bool poor;          /* minor cycles do not pay any more [owner] */
    bool forked;        /* the goal is one of ebb__pace_forked [owner] */
    unsigned fulls, fulls_last; /* full ones that come before a minor one is tried again, and how
                                 * many that were the last time [owner] */
    _Atomic(uint64_t) vain_since_ns, vain_cost_ns; /* cycles at the limit that gave little */
    _Atomic(uint32_t) vain;                        /* how many in a row; relaxed, as the others */
} pace = {.live = SIZE_MAX, .waste = SIZE_MAX, .closing_at = SIZE_MAX};

static _Atomic(ebb_limit_handler) limit_handler;
static _Atomic(void *) limit_arg;

/* --- The goal ----------------------------------------------------------------------------------
 */

/* What is in use beside the objects: free slots and the ends of spans. An eighth more of it than
 * after the last sweep; before the first, a guess. */
static size_t waste_beside(size_t live) {
    size_t waste = atomic_load_explicit(&pace.waste, memory_order_relaxed);
    return waste == SIZE_MAX ? live / 32 : waste + waste / 8;
}

void ebb__pace_swept(void) {
    size_t held = ebb__cycle.last.live + heap_claimed(), used = ebb__pages_in_use();
    atomic_store_explicit(&pace.waste, used > held ? used - held : 0, memory_order_relaxed);
}

/* What may be claimed before the limit is near, if `live` bytes stay. */
static size_t limit_room(size_t live) {
    size_t limit = atomic_load_explicit(&ebb__space_limit, memory_order_relaxed);
    if (limit == SIZE_MAX) return SIZE_MAX;
    size_t taken = live + waste_beside(live) + ebb__space_outside() + limit / 128;
    /* With less than that a cycle would follow the other; who takes pages finds the limit itself.
     */
    size_t least = max_size(limit / 64, MIB);
    return max_size(limit > taken ? limit - taken : 0, least);
}

/* The percentage of what the last full cycle found, less what minor ones let pass since, for that
 * may be dead: the goal does not climb by it. At least half of what all of it would be given, or a
 * heap that does grow would have full cycles too often. */
static size_t percent_room(const goal_parts *p) {
    size_t percent = (size_t)p->percent, proven = p->live - p->passed;
    size_t room = (proven + p->roots) / 100 * percent;
    size_t least = (p->live + p->roots) / 200 * percent;
    return max_size(room > p->passed ? room - p->passed : 0, least);
}

static size_t least_room(size_t live) {
    size_t room = atomic_load_explicit(&ebb__settings.room_bytes, memory_order_relaxed);
    size_t floor = atomic_load_explicit(&ebb__settings.floor, memory_order_relaxed);
    size_t taken = live + waste_beside(live);
    return max_size(room, floor > taken ? floor - taken : 0);
}

void ebb__pace_parts(size_t live, goal_parts *parts) {
    int percent = atomic_load_explicit(&ebb__settings.percent, memory_order_relaxed);
    *parts = (goal_parts){.percent = percent,
                          .live = live,
                          .roots = ebb__cycle_roots.bytes,
                          .passed = live - min_size(live, ebb__cycle.live_full),
                          .by_least = least_room(live),
                          .by_limit = limit_room(live)};
    if (percent >= 0) parts->by_percent = percent_room(parts);
}

/* Of what is taken, so much was claimed since the last cycle. */
static void goal_set(size_t taken, size_t claimed) {
    goal_parts parts;
    ebb__pace_parts(taken, &parts);
    size_t room = parts.percent < 0 ? SIZE_MAX / 2 : max_size(parts.by_percent, parts.by_least);
    bool bounded = parts.percent >= 0 || parts.by_limit != SIZE_MAX;
    room = min_size(room, parts.by_limit);
    /* As much as was claimed beside the last of its kind is kept for the next. */
    size_t beside =
        atomic_load_explicit(&pace.claimed_beside[ebb__pace_full()], memory_order_relaxed);
    size_t reserve = min_size(max_size(beside, room / 8), room / 4 * 3);
    if (!ebb__dirty_in_force()) reserve = 0;
    size_t goal = bounded ? taken + room : SIZE_MAX;
    atomic_store_explicit(&ebb__cycle.goal, goal, memory_order_relaxed);
    atomic_store_explicit(&ebb__pages_wanted, goal < SIZE_MAX / 2 ? goal + goal / 10 : SIZE_MAX,
                          memory_order_relaxed);
    atomic_store_explicit(&ebb__cycle.room, claimed + room, memory_order_relaxed);
    atomic_store_explicit(&ebb__cycle.trigger, claimed + room - reserve, memory_order_relaxed);
}

void ebb__pace_set(size_t live) {
    goal_set(live, 0);
}

void ebb__pace_forked(void) {
    if (pace.forked) return;
    pace.forked = true;
    goal_set(ebb__cycle.last.live + heap_claimed(), heap_claimed());
}

/* A cycle could not be made: not again with every allocation, but when as much was claimed again.
 */
void ebb__pace_put_off(void) {
    size_t room = 2 * max_size(heap_claimed(), ROOM_MIN);
    atomic_store_explicit(&ebb__cycle.trigger, room, memory_order_relaxed);
    atomic_store_explicit(&ebb__cycle.room, room, memory_order_relaxed);
}

/* --- Which cycle ---------------------------------------------------------------------------------
 */

/* What minor cycles let pass may be a third of what the heap may grow by. */
bool ebb__pace_full(void) {
    const cycle_state *c = &ebb__cycle;
    int percent = atomic_load_explicit(&ebb__settings.percent, memory_order_relaxed);
    size_t most = c->live_full + c->live_full / 300 * (size_t)(percent < 0 ? 100 : percent);
    return c->live_full == 0 || c->marked > most || pace.poor || pace.fulls > 0;
}

/* Marking goes at about a byte a nanosecond. */
bool ebb__pace_small(void) {
    size_t live = atomic_load_explicit(&pace.live, memory_order_relaxed);
    if (live == SIZE_MAX) live = heap_claimed() / 8;
    return live < ebb__settings.pause_ns;
}

void ebb__pace_begin(const cycle_record *r) {
    uint64_t expected = r->full ? ebb__cycle.last.live : pace.marked[0];
    atomic_store_explicit(&pace.expected, max_size(expected, MIB), memory_order_relaxed);
    atomic_store_explicit(&pace.begun_at, heap_claimed(), memory_order_relaxed);
    atomic_store_explicit(&pace.closing_at, SIZE_MAX, memory_order_relaxed);
}

void ebb__pace_close(size_t bytes) {
    atomic_store_explicit(&pace.closing_at, heap_claimed() + bytes, memory_order_relaxed);
}

/* A minor cycle pays while it frees a third of what the first one after a full one did, of as much
 * claimed: one that came early has little to free. */
static void yield_note(const cycle_record *r, size_t marked, size_t claimed, size_t room) {
    double yield = claimed > marked ? (double)(claimed - marked) / (double)claimed : 0;
    if (r->full) {
        pace.yield_first = 0;
        pace.poor = false;
    } else if (claimed < room / 8) {
        return;
    } else if (pace.yield_first == 0) {
        pace.yield_first = yield + 1e-9;
    } else {
        pace.poor = yield < pace.yield_first / 3;
    }
}

/* Nor does one pay that finds written, at a fault a page, twice what lives at all. The heap may
 * have been so by chance: a minor one is tried again after one full cycle, then after three, seven,
 * ... */
static void written_note(const cycle_record *r) {
    enum { FULLS_MOST = 15 };
    const char *why;
    if (r->full) {
        pace.fulls -= pace.fulls > 0;
        return;
    }
    bool much = ebb__dirty_mode(&why) == DIRTY_KERNEL &&
                r->dirty_pages * ebb__os_page_size() / 2 > ebb__cycle.live_full;
    pace.fulls = much ? 2 * pace.fulls_last + 1 : 0;
    if (pace.fulls > FULLS_MOST) pace.fulls = FULLS_MOST;
    pace.fulls_last = pace.fulls;
}

void ebb__pace_end(cycle_record *r) {
    size_t claimed = heap_claimed(), marked = r->live;
    size_t begun = atomic_load_explicit(&pace.begun_at, memory_order_relaxed);
    r->assist_ns = atomic_exchange_explicit(&pace.assist_ns, 0, memory_order_relaxed);
    r->wait_ns = atomic_exchange_explicit(&pace.wait_ns, 0, memory_order_relaxed);
    size_t room = atomic_load_explicit(&ebb__cycle.room, memory_order_relaxed);
    if (claimed > room)
        ebb__cycle.goal_passed_max = max_size(ebb__cycle.goal_passed_max, claimed - room);
    pace.marked[r->full] = marked;
    atomic_store_explicit(&pace.claimed_beside[r->full],
                          r->beside && claimed > begun ? claimed - begun : 0, memory_order_relaxed);
    yield_note(r, marked, claimed, room);
    written_note(r);
    if (!r->full) r->live += ebb__cycle.marked;
    ebb__cycle.marked = r->live;
    r->live += r->held;
    atomic_store_explicit(&pace.live, r->live, memory_order_relaxed);
    if (r->full) ebb__cycle.live_full = max_size(r->live, 1);
    atomic_store_explicit(&ebb__heap_claimed, 0, memory_order_relaxed);
    pace.forked = false;
    ebb__pace_set(r->live);
}

/* --- Claims --------------------------------------------------------------------------------------
 */

/* What may be claimed while the cycle is as far as it is. */
static size_t allowed(size_t room) {
    size_t begun = atomic_load_explicit(&pace.begun_at, memory_order_relaxed);
    uint64_t expected = atomic_load_explicit(&pace.expected, memory_order_relaxed);
    double done = (double)min_size(ebb__mark_progress(), expected) / (double)expected;
    return begun < room ? begun + (size_t)((double)(room - begun) * done) : room;
}

static bool ahead(size_t bytes) {
    enum phase phase = ebb__cycle_phase();
    if (phase == PHASE_IDLE) return false;
    size_t room = atomic_load_explicit(&ebb__cycle.room, memory_order_relaxed);
    size_t claimed = heap_claimed() + bytes;
    if (phase >= PHASE_MARK && phase < PHASE_READY)
        room =
            min_size(allowed(room), atomic_load_explicit(&pace.closing_at, memory_order_relaxed));
    return claimed > bytes && claimed > room;
}

/* Before looking at what was claimed, which a cycle takes back to nothing: then a look that is of
 * before a cycle has a count of before it too. */
static uint64_t cycles_made(void) {
    return atomic_load_explicit(&ebb__cycle_count, memory_order_acquire);
}

static bool claim_due(size_t bytes) {
    size_t claimed = heap_claimed();
    size_t trigger = atomic_load_explicit(&ebb__cycle.trigger, memory_order_relaxed);
    return claimed + bytes > trigger && claimed > 0;
}

/* An allocation that is to be paced, and the number of cycles when it came. */
typedef struct claim {
    size_t bytes;
    uint64_t since;
} claim;

/* Over the goal. Who has waited for a cycle may pass it by its object: others may be faster each
 * time. */
static bool claim_beyond(const claim *c) {
    size_t room = atomic_load_explicit(&ebb__cycle.room, memory_order_relaxed);
    size_t claimed = heap_claimed();
    bool waited = cycles_made() != c->since;
    return claimed > 0 && claimed + (waited ? 0 : c->bytes) > room;
}

/* At the goal, or where the end of the cycle is near. */
static bool claim_held(const claim *c) {
    size_t closing = atomic_load_explicit(&pace.closing_at, memory_order_relaxed);
    return heap_claimed() + c->bytes > closing || claim_beyond(c);
}

/* Helps until the schedule has caught up, or there is nothing to help with; at the goal, until the
 * cycle has ended. Between the two, where the end is near, waits for a moment. */
static void claim_ahead(uintptr_t sp, void *arg) {
    const claim *c = arg;
    uint64_t start = ebb__os_now_ns(), slept = 0;
    while (ahead(c->bytes) && !ebb__gc_held()) {
        if (!claim_held(c)) {
            if (ebb__cycle_phase() != PHASE_MARK || !ebb__mark_help()) break;
            continue;
        }
        uint64_t wait = ebb__cycle_help(sp);
        slept += wait;
        if (wait && !claim_beyond(c)) break;
    }
    atomic_fetch_add_explicit(&pace.wait_ns, slept, memory_order_relaxed);
    atomic_fetch_add_explicit(&pace.assist_ns, ebb__os_now_ns() - start - slept,
                              memory_order_relaxed);
}

/* At the goal, and the collector's thread has not begun: waits for that a moment, then does it. */
static void claim_unanswered(uintptr_t sp, void *arg) {
    uint64_t start = ebb__os_now_ns();
    (void)sp;
    for (;;) {
        uint64_t made = cycles_made();
        if (ebb__cycle_phase() != PHASE_IDLE || !claim_beyond(arg)) break;
        ebb__cycle_ask(made);
        if (!ebb__cycle_await() && ebb__os_now_ns() - start > 20000000 &&
            ebb__collect_due(made) != 0)
            break;
    }
    atomic_fetch_add_explicit(&pace.wait_ns, ebb__os_now_ns() - start, memory_order_relaxed);
}

/* False: the cycle is made already. */
static bool claim_begin(claim *c) {
    uint64_t made = cycles_made();
    if (!claim_due(c->bytes)) return true; /* there was one just now */
    if (!ebb__dirty_wanted() || ebb__pace_small()) {
        ebb__collect_due(made);
        return false;
    }
    ebb__cycle_ask(made);
    if (claim_beyond(c)) ebb__os_with_registers(claim_unanswered, c);
    return true;
}

/* The cycle waits for a thread of the program. */
static void claim_called(uintptr_t sp, void *unused) {
    (void)unused;
    ebb__cycle_help(sp);
}

bool ebb__pace_claim(size_t bytes) {
    if (EBB__LIKELY(!claim_due(bytes)) || ebb__gc_held()) return true;
    if (ebb__cycle_calls()) ebb__os_with_registers(claim_called, NULL);
    claim c = {bytes, cycles_made()};
    do {
        if (ebb__cycle_phase() == PHASE_IDLE && !claim_begin(&c)) return true;
        if (ahead(bytes)) ebb__os_with_registers(claim_ahead, &c);
    } while (claim_beyond(&c) && !ebb__gc_held());
    return true;
}

/* --- The limit -----------------------------------------------------------------------------------
 */

int ebb_set_gc_percent(int percent) {
    if (!ebb__heap_start()) return 0;
    ebb__os_lock(&ebb__collector_lock);
    int before = atomic_exchange_explicit(&ebb__settings.percent, percent < 0 ? -1 : percent,
                                          memory_order_relaxed);
    ebb__pace_set(ebb__cycle.last.live);
    ebb__os_unlock(&ebb__collector_lock);
    return before;
}

static size_t pace_change(_Atomic(size_t) *setting, size_t bytes) {
    ebb__os_lock(&ebb__collector_lock);
    size_t before = atomic_exchange_explicit(setting, bytes, memory_order_relaxed);
    ebb__pace_set(ebb__cycle.last.live);
    ebb__os_unlock(&ebb__collector_lock);
    return before;
}

size_t ebb_set_gc_room(size_t bytes) {
    return ebb__heap_start() ? pace_change(&ebb__settings.room_bytes, max_size(bytes, KIB)) : 0;
}

size_t ebb_set_gc_floor(size_t bytes) {
    return ebb__heap_start() ? pace_change(&ebb__settings.floor, bytes) : 0;
}

size_t ebb_set_memory_limit(size_t bytes) {
    return ebb__heap_start() ? pace_change(&ebb__space_limit, bytes) : SIZE_MAX;
}

void ebb_set_limit_handler(ebb_limit_handler handler, void *arg) {
    atomic_store_explicit(&limit_arg, arg, memory_order_relaxed);
    atomic_store_explicit(&limit_handler, handler, memory_order_release);
}

/* Full cycles at the limit, one after the other, that gave little and took, with the minor ones
 * between, half of all the time since the first: another one would only burn the processor. (Go
 * caps the share likewise.) */
static bool limit_spirals(void) {
    enum { IN_VAIN = 8 };
    uint64_t since = atomic_load_explicit(&pace.vain_since_ns, memory_order_relaxed);
    uint64_t cost = atomic_load_explicit(&pace.vain_cost_ns, memory_order_relaxed);
    uint32_t vain = atomic_load_explicit(&pace.vain, memory_order_relaxed);
    return vain >= IN_VAIN && 2 * cost > ebb__os_now_ns() - since;
}

/* What was spent, or not, longer ago than WINDOW_NS does not count. */
static void limit_collect(bool full) {
    const uint64_t WINDOW_NS = 10000000000u;
    uint64_t start = ebb__os_now_ns();
    uint64_t freed = atomic_load_explicit(&ebb__heap_freed_bytes, memory_order_relaxed);
    ebb__collect(CAUSE_LIMIT, full);
    freed = atomic_load_explicit(&ebb__heap_freed_bytes, memory_order_relaxed) - freed;
    size_t limit = atomic_load_explicit(&ebb__space_limit, memory_order_relaxed);
    if (freed >= limit / 64) {
        atomic_store_explicit(&pace.vain, 0, memory_order_relaxed);
        return;
    }
    uint64_t since = atomic_load_explicit(&pace.vain_since_ns, memory_order_relaxed);
    uint32_t vain = atomic_fetch_add_explicit(&pace.vain, full ? 1 : 0, memory_order_relaxed);
    if (vain == 0 || start - since > WINDOW_NS) {
        atomic_store_explicit(&pace.vain_since_ns, start, memory_order_relaxed);
        atomic_store_explicit(&pace.vain_cost_ns, 0, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&pace.vain_cost_ns, ebb__os_now_ns() - start, memory_order_relaxed);
}

/* An allocation fails: says so, but not every time. */
static void limit_complain(size_t bytes) {
    static _Atomic(uint64_t) said_ns; /* relaxed: two lines at once do no harm */
    size_t limit = atomic_load_explicit(&ebb__space_limit, memory_order_relaxed);
    uint64_t now = ebb__os_now_ns(), last = atomic_load_explicit(&said_ns, memory_order_relaxed);
    if (last != 0 && now - last < 60000000000u) return;
    atomic_store_explicit(&said_ns, now, memory_order_relaxed);
    size_t live = atomic_load_explicit(&pace.live, memory_order_relaxed);
    if (live == SIZE_MAX) live = 0;
    if (limit == SIZE_MAX)
        ebb__warn("the system gives no more memory: %zu bytes cannot be had, %zu are live", bytes,
                  live);
    else
        ebb__warn("the limit of %zu bytes is reached: %zu more cannot be had, %zu are live", limit,
                  bytes, live);
}

/* First what is dead is swept and what is free goes back; then a minor cycle where there are such,
 * and a full one, and a few more while they free much that other threads take; then, for as long as
 * it says so, the handler and one more. */
bool ebb__pace_exhausted(size_t bytes, unsigned attempt) {
    enum { RACES = 6 };
    if (attempt == 0) {
        ebb__sweep_finish(false);
        if (ebb__pages_return(UINT64_MAX, 0, bytes + MIB) > 0) return true;
    }
    bool spirals = limit_spirals();
    if (attempt <= 1 && ebb__dirty_in_force() && !ebb__pace_full() && !spirals) {
        limit_collect(false);
        ebb__pages_return(UINT64_MAX, 0, bytes + MIB);
        return true;
    }
    bool fruitful = atomic_load_explicit(&pace.vain, memory_order_relaxed) == 0;
    if (attempt > (ebb__dirty_in_force() ? 2u : 1u) + (fruitful ? RACES : 0u) || spirals) {
        ebb_limit_handler handler = atomic_load_explicit(&limit_handler, memory_order_acquire);
        if (!handler || !handler(bytes, atomic_load_explicit(&limit_arg, memory_order_relaxed))) {
            limit_complain(bytes);
            return false;
        }
    }
    limit_collect(true);
    ebb__pages_return(UINT64_MAX, 0, SIZE_MAX);
    return true;
}
