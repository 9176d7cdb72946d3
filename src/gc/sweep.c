/* sweep.c - what a cycle found dead becomes free. docs/design.md, "Sweeping".
 *
 * A stop ends with a new epoch; from then on an object without a mark is dead in each span whose
 * bits are of an older one. Who wants to allocate from such a span sweeps it first; the rest is
 * swept beside the program, by the thread that made the cycle. A minor cycle can only have found
 * young objects dead, so only spans that were allocated from are looked at. */
#include "collector.h"

enum { SWEEP_GROUP = 256 };

static struct {
    _Atomic(uint32_t) next; /* spans are handed out in groups, by number; relaxed */
    _Atomic(bool) done;     /* nothing waits; release when it is, acquire by those who rely on it */
    bool full;              /* [owner of the cycle] */
} sweep;

/* The record may become another span's meanwhile: decided under the zone's lock, which whoever
 * frees a large object by hand takes too. */
__attribute__((no_sanitize("thread"))) static void sweep_large(span *s) {
    zone *z = &ebb__space.zones[s->zone];
    ebb__critical_lock(&z->lock);
    bool ours = s->state == SPAN_LARGE && span_unswept(s);
    bool live = ours && span_live_bits(s, 0) != 0;
    bool freed = ours && !live && (span_alloc_bits(s)[0] & 1);
    uint64_t bytes = s->stride;
    if (ours && live) {
        span_swept(s);
        span_bit_clear(ebb__space.young, span_number(s));
    } else if (ours) {
        atomic_store_explicit(&span_alloc_bits(s)[0], 0, memory_order_relaxed);
        atomic_store_explicit(&span_mark_bits(s)[0], 0, memory_order_relaxed);
    }
    ebb__os_unlock(&z->lock);
    ebb__yield_point(16);
    if (ours && !live) ebb__pages_free(s);
    ebb__critical_leave();
    if (freed) heap_freed(1, bytes);
}

__attribute__((no_sanitize("thread"))) static void sweep_span(uint32_t number) {
    span *s = span_at(number);
    uint8_t state = __atomic_load_n(&s->state, __ATOMIC_ACQUIRE);
    if (state == SPAN_LARGE && span_unswept(s)) sweep_large(s);
    if (state == SPAN_SMALL) ebb__span_sweep(s);
}

/* Sweeps a group of spans. False when there was none left to take. */
static bool sweep_group(void) {
    uint32_t from = atomic_fetch_add_explicit(&sweep.next, SWEEP_GROUP, memory_order_relaxed);
    uint32_t count = ebb__space.span_count;
    if (from >= count) return false;
    ebb__yield_point(2);
    uint32_t to = (uint32_t)min_size(from + SWEEP_GROUP, count);
    for (uint32_t w = from; w < to; w += 64) {
        uint64_t bits = atomic_load_explicit(&ebb__space.young[w / 64], memory_order_relaxed);
        if (sweep.full) bits = ~(uint64_t)0;
        for (; bits; bits &= bits - 1) {
            uint32_t number = w + (uint32_t)__builtin_ctzll(bits);
            if (number > 0 && number < to) sweep_span(number);
        }
    }
    return true;
}

static void sweep_part(bool giver) {
    (void)giver;
    while (sweep_group()) continue;
}

void ebb__sweep_open(bool full) {
    uint32_t epoch = atomic_load_explicit(&ebb__epoch, memory_order_relaxed) + 1;
    atomic_store_explicit(&ebb__epoch, epoch, memory_order_relaxed);
    if (full) atomic_store_explicit(&ebb__epoch_full, epoch, memory_order_relaxed);
    for (heap_thread *t = ebb__threads; t; t = t->next)
        for (int i = 0; i < SLOTS; i++) ebb__slot_sweep(&t->slots[i]);
    sweep.full = full;
    atomic_store_explicit(&sweep.next, 0, memory_order_relaxed);
    atomic_store_explicit(&sweep.done, false, memory_order_release);
}

/* Under the collector's lock, group by group, so that nobody finds the world stopped and the heap
 * half swept; nor says of the next cycle's sweep that it is done. */
void ebb__sweep_finish(bool parallel) {
    if (atomic_load_explicit(&sweep.done, memory_order_acquire)) return;
    if (parallel) {
        ebb__os_lock(&ebb__collector_lock);
        ebb__crew_run(sweep_part, 1 + ebb__space.span_count / (2 * SWEEP_GROUP));
        ebb__os_unlock(&ebb__collector_lock);
    }
    for (bool more = true; more;) {
        ebb__os_lock(&ebb__collector_lock);
        more = sweep_group();
        if (!more) atomic_store_explicit(&sweep.done, true, memory_order_release);
        ebb__os_unlock(&ebb__collector_lock);
    }
}

/* In a forked child: what another thread had taken to sweep is taken again. */
void ebb__sweep_forked(void) {
    atomic_store_explicit(&sweep.next, 0, memory_order_relaxed);
}
