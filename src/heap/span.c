/* span.c - spans of small objects: runs for the allocating thread, frees, sweeping.
 * docs/design.md, "Allocation".
 *
 *   alloc bit of object i = 1   handed out, or in the run of some thread's slot
 *   owned                       one slot allocates from the span; it is in no list
 *   listed                      it may have room and is in its bin's list
 *
 * A thread claims a run of neighbouring free objects at a time: it sets their bits, zeroes what
 * has been used before, and hands them out by adding the stride. A run is at most RUN_BYTES long,
 * so that what is zeroed is still in the cache when the program writes it. */
#include "bins.h"
#include "yield.h"

#define RUN_BYTES (8 * KIB)

/* Threads add up what they claim, and tell it in pieces of this size: with holes everywhere a run
 * is an object or two, too little for a word that all threads share. */
#define CLAIM_TELL ((ptrdiff_t)(16 * KIB))

_Atomic(ptrdiff_t) ebb__heap_claimed;
_Atomic(uint64_t) ebb__heap_freed_bytes, ebb__heap_freed_objects;
bool ebb__heap_stressed;
_Atomic(bool) ebb__heap_marking;
_Atomic(uint32_t) ebb__epoch = 1, ebb__epoch_full = 1;

/* --- Bits ------------------------------------------------------------------------------------- */

/* The mask for the bits of word `word` that belong to objects [from, to). */
static uint64_t bits_mask(uint32_t word, uint32_t from, uint32_t to) {
    uint64_t mask = ~(uint64_t)0;
    if (from > word * 64) mask <<= from - word * 64;
    if (to < (word + 1) * 64) mask &= ~(uint64_t)0 >> ((word + 1) * 64 - to);
    return mask;
}

/* Acquire: pairs with the release in ebb__span_free_object. What the last user did to an object
 * comes before what the next one does. */
static void bits_set(_Atomic(uint64_t) *bits, uint32_t from, uint32_t to) {
    for (uint32_t w = from / 64; w * 64 < to; w++)
        atomic_fetch_or_explicit(&bits[w], bits_mask(w, from, to), memory_order_acquire);
}

static void bits_clear(_Atomic(uint64_t) *bits, uint32_t from, uint32_t to) {
    for (uint32_t w = from / 64; w * 64 < to; w++)
        atomic_fetch_and_explicit(&bits[w], ~bits_mask(w, from, to), memory_order_relaxed);
}

/* The first bit in [from, to) equal to `set`; to when there is none. */
static uint32_t bits_find(_Atomic(uint64_t) *bits, uint32_t from, uint32_t to, bool set) {
    uint32_t word = from / 64;
    while (word * 64 < to) {
        uint64_t value = atomic_load_explicit(&bits[word], memory_order_relaxed);
        if (!set) value = ~value;
        if (word * 64 < from) value &= ~(uint64_t)0 << (from - word * 64);
        if (value) return (uint32_t)min_size(word * 64 + (uint32_t)__builtin_ctzll(value), to);
        word++;
    }
    return to;
}

static uint32_t search_get(span *s) {
    return atomic_load_explicit(&s->search_from, memory_order_relaxed);
}

static void search_set(span *s, uint32_t index) {
    atomic_store_explicit(&s->search_from, index, memory_order_relaxed);
}

/* --- A bin's list of spans with room [bin lock] ------------------------------------------------
 */

static void partial_add(heap_bin *bin, span *s) {
    s->listed = true;
    s->previous = 0;
    s->next = bin->partial;
    if (bin->partial) span_at(bin->partial)->previous = span_number(s);
    bin->partial = span_number(s);
}

static void partial_remove(heap_bin *bin, span *s) {
    s->listed = false;
    if (s->next) span_at(s->next)->previous = s->previous;
    if (s->previous)
        span_at(s->previous)->next = s->next;
    else
        bin->partial = s->next;
}

/* --- Spans ------------------------------------------------------------------------------------ */

/* [bin lock] */
static span *small_span_new(heap_bin *bin, slot *owner) {
    enum zone_id zone = bin->layout->kind == LAYOUT_DATA ? ZONE_DATA : ZONE_SCAN;
    bool fresh;
    span *s = ebb__pages_alloc(zone, ebb__class_pages[bin->class], 1, &fresh);
    if (!s) return NULL;
    s->zone = (uint8_t)zone;
    s->bin = bin;
    s->stride = bin->stride;
    s->count = (uint32_t)(((size_t)s->pages << PAGE_SHIFT) / bin->stride);
    s->reciprocal = ebb__class_reciprocal[bin->class];
    s->fresh_from = fresh ? 0 : s->count;
    search_set(s, 0);
    __atomic_store_n(&s->owned, 1, __ATOMIC_RELAXED);
    s->owner = owner;
    s->listed = false;
    ebb__yield_point(64);
    ebb__pages_publish(s, SPAN_SMALL);
    bin->span_count++;
    return s;
}

/* Takes an empty span apart; its bits are clear. It is in no list. In a critical section. */
static void span_retire(span *s) {
    heap_bin *bin = s->bin;
    bin->span_count--;
    ebb__pages_free(s);
}

/* --- Sweeping ---------------------------------------------------------------------------------
 */

static bool marking(void) {
    return atomic_load_explicit(&ebb__heap_marking, memory_order_relaxed);
}

/* Frees what has no mark but objects [from, to). Sets what is left in *kept. [bin lock, or world
 * stopped] */
static void span_clean(span *s, uint32_t from, uint32_t to, uint32_t *kept) {
    _Atomic(uint64_t) *alloc = span_alloc_bits(s), *mark = span_mark_bits(s);
    uint32_t freed = 0;
    for (uint32_t w = 0; w * 64 < s->count; w++) {
        uint64_t have = atomic_load_explicit(&alloc[w], memory_order_relaxed);
        uint64_t live = atomic_load_explicit(&mark[w], memory_order_relaxed);
        uint64_t keep = live;
        if (from < (w + 1) * 64 && to > w * 64) keep |= bits_mask(w, from, to);
        keep &= have;
        *kept += bits_in(keep);
        freed += bits_in(have & ~keep);
        if (have != keep) atomic_store_explicit(&alloc[w], keep, memory_order_relaxed);
        if (live & ~keep) atomic_store_explicit(&mark[w], live & keep, memory_order_relaxed);
    }
    span_swept(s);
    if (freed == 0) return;
    search_set(s, 0);
    heap_freed(freed, freed * s->stride);
}

/* Holes beside objects that are old make pages dirty that were clean, which are looked at again.
 * They are used after a full cycle; after a minor one where they are half of the span or more: it
 * takes few of those for what would take as many new pages, whose first touch costs more. */
static bool span_offers_holes(const span *s, uint32_t kept) {
    return !s->armed || kept <= s->count / 2 ||
           atomic_load_explicit(&ebb__epoch_full, memory_order_relaxed) ==
               atomic_load_explicit(&ebb__epoch, memory_order_relaxed);
}

/* Looks at records that others may be changing, and again under the lock. */
__attribute__((no_sanitize("thread"))) bool ebb__span_sweep(span *s) {
    heap_bin *bin = __atomic_load_n(&s->bin, __ATOMIC_RELAXED);
    uint32_t kept = 0;
    if (!bin || !span_unswept(s)) return false;
    ebb__critical_lock(bin->lock);
    /* Acquire: pairs with ebb__pages_publish, for a span that was made of this record just now. */
    bool small = __atomic_load_n(&s->state, __ATOMIC_ACQUIRE) == SPAN_SMALL;
    bool ours = small && s->bin == bin && !s->owned && span_unswept(s);
    if (ours) {
        ebb__yield_point(64);
        span_clean(s, 0, 0, &kept);
        ebb__yield_point(64);
        span_bit_clear(ebb__space.young, span_number(s));
        if (kept == 0) {
            if (s->listed) partial_remove(bin, s);
            span_retire(s);
        } else if (!s->listed && kept < s->count && span_offers_holes(s, kept)) {
            partial_add(bin, s);
        }
    }
    ebb__critical_unlock(bin->lock);
    return ours;
}

/* What of the slot's run was not handed out, by number. False when there is nothing. */
static bool run_rest(const slot *slot, uint32_t *from, uint32_t *to) {
    const span *s = slot->span;
    if (slot->cursor >= slot->end) return false;
    *from = (uint32_t)((slot->cursor - span_start(s)) / s->stride);
    *to = (uint32_t)((slot->end - span_start(s)) / s->stride);
    return true;
}

void ebb__slot_sweep(slot *slot) {
    uint32_t from = 0, to = 0, kept = 0;
    if (!slot->bin || !slot->span) return;
    run_rest(slot, &from, &to);
    span_clean(slot->span, from, to, &kept);
}

/* Gives the slot a span of the bin, one with room or a new one. Whose a span is changes under the
 * lock together with whose the slot is, or a fork between the two would leave the child a span that
 * is owned for ever and never swept. In a critical section. */
static bool bin_take(heap_bin *bin, slot *slot) {
    ebb__os_lock(bin->lock);
    span *s = bin->partial ? span_at(bin->partial) : NULL;
    if (s) {
        uint32_t kept = 0;
        partial_remove(bin, s);
        if (span_unswept(s)) span_clean(s, 0, 0, &kept);
        ebb__yield_point(64);
        span_touch(s);
        __atomic_store_n(&s->owned, 1, __ATOMIC_RELAXED);
        s->owner = slot;
    } else {
        s = small_span_new(bin, slot);
    }
    slot->span = s;
    ebb__os_unlock(bin->lock);
    return s != NULL;
}

/* The slot lets go of its span, which is listed if it has room. In a critical section. */
static void bin_put(slot *slot) {
    heap_bin *bin = slot->bin;
    span *s = slot->span;
    ebb__os_lock(bin->lock);
    __atomic_store_n(&s->owned, 0, __ATOMIC_RELAXED);
    if (bits_find(span_alloc_bits(s), search_get(s), s->count, false) < s->count)
        partial_add(bin, s);
    slot->span = NULL;
    ebb__os_unlock(bin->lock);
}

/* Sets the bounds of a slot's run. `changes` is odd meanwhile: pairs with slot_holds. Only the
 * slot's thread writes them, or who stands in for it, so plain stores in this order do. */
static void run_open(slot *slot, uintptr_t cursor, uintptr_t limit, uintptr_t end) {
    uint32_t changes = atomic_load_explicit(&slot->changes, memory_order_relaxed);
    atomic_store_explicit(&slot->changes, changes + 1, memory_order_relaxed);
    __atomic_store_n(&slot->cursor, cursor, __ATOMIC_RELEASE);
    __atomic_store_n(&slot->end, end, __ATOMIC_RELEASE);
    slot->limit = limit;
    atomic_store_explicit(&slot->changes, changes + 2, memory_order_release);
}

/* Whether an object is one of a run that its owner, perhaps another thread, has yet to hand out.
 * For an object that the caller rightly holds the answer is false at all times: the cursor of its
 * run is beyond it, and later runs end before it or begin behind it. Bounds of two runs must not be
 * mixed; an owner that is too slow in changing them is believed not to hold the object. */
static bool slot_holds(const slot *slot, uintptr_t object) {
    for (int tries = 0; tries < 1000; tries++) {
        uint32_t before = atomic_load_explicit(&slot->changes, memory_order_acquire);
        uintptr_t cursor = __atomic_load_n(&slot->cursor, __ATOMIC_ACQUIRE);
        uintptr_t end = __atomic_load_n(&slot->end, __ATOMIC_ACQUIRE);
        uint32_t after = atomic_load_explicit(&slot->changes, memory_order_relaxed);
        if (before == after && before % 2 == 0) return cursor <= object && object < end;
    }
    return false;
}

void ebb__heap_claim(ptrdiff_t bytes) {
    heap_thread *t = ebb__self;
    if (t) bytes += t->claimed;
    bool tell = !t || bytes >= CLAIM_TELL || bytes <= -CLAIM_TELL;
    if (tell) atomic_fetch_add_explicit(&ebb__heap_claimed, bytes, memory_order_relaxed);
    if (t) t->claimed = tell ? 0 : bytes;
}

/* Claims the next run of s for the slot. False when s is full. */
static bool run_claim(heap_thread *t, slot *slot, span *s) {
    _Atomic(uint64_t) *bits = span_alloc_bits(s);
    uint32_t from = bits_find(bits, search_get(s), s->count, false);
    if (from == s->count) {
        search_set(s, from);
        return false;
    }
    uint32_t most = ebb__heap_stressed ? 1 : (uint32_t)max_size(RUN_BYTES * s->reciprocal >> 40, 1);
    uint32_t to = bits_find(bits, from, (uint32_t)min_size(s->count, from + most), true);
    ebb__yield_point(256);
    bits_set(bits, from, to);
    ebb__yield_point(256);
    search_set(s, to);
    uintptr_t start = span_start(s) + from * s->stride;
    size_t bytes = (to - from) * s->stride;
    slot->span = s;
    slot->run_start = from;
    run_open(slot, start, sample_cut(t, start, start + bytes, s->stride), start + bytes);
    uint32_t used_to = (uint32_t)min_size(to, s->fresh_from);
    if (used_to > from) memset((void *)start, 0, (used_to - from) * s->stride);
    if (to > s->fresh_from) s->fresh_from = to;
    t->alloc_bytes += bytes;
    t->alloc_objects += to - from;
    ebb__heap_claim((ptrdiff_t)bytes);
    return true;
}

/* In a forked child, of a thread that was setting the bounds when the fork came: they may belong to
 * two runs. What it had claimed stays claimed, which nothing refers to: the next sweep has it. */
static bool run_torn(slot *slot) {
    if (atomic_load_explicit(&slot->changes, memory_order_relaxed) % 2 == 0) return false;
    slot->cursor = slot->limit = slot->end = 0;
    atomic_fetch_add_explicit(&slot->changes, 1, memory_order_release);
    return true;
}

/* Undoes what of the slot's run was not handed out. */
static void run_undo(heap_thread *t, slot *slot) {
    span *s = slot->span;
    uint32_t from, to;
    if (run_torn(slot)) return;
    if (run_rest(slot, &from, &to)) {
        bits_clear(span_alloc_bits(s), from, to);
        bits_clear(span_mark_bits(s), from, to); /* that a stray word may have set */
        if (from < search_get(s)) search_set(s, from);
        t->alloc_bytes -= slot->end - slot->cursor;
        t->alloc_objects -= to - from;
    }
    run_open(slot, 0, 0, 0);
}

bool ebb__slot_drop_empty(heap_thread *t, slot *slot) {
    span *s = slot->bin ? slot->span : NULL;
    if (!s || bits_count(span_mark_bits(s), s->count) > 0) return false;
    heap_bin *bin = slot->bin;
    ebb__critical_enter();
    run_undo(t, slot);
    bin_put(slot);
    if (bits_count(span_alloc_bits(s), s->count) == 0) {
        ebb__os_lock(bin->lock);
        partial_remove(bin, s);
        span_retire(s);
        ebb__os_unlock(bin->lock);
    }
    ebb__critical_leave();
    return true;
}

static void slot_empty(slot *slot) {
    if (!run_torn(slot)) run_open(slot, 0, 0, 0);
    slot->span = NULL;
    slot->bin = NULL; /* last: who cleans up after a fork looks at slots with a bin */
}

void ebb__slot_release(heap_thread *t, slot *slot) {
    if (slot->bin && slot->span) {
        run_undo(t, slot);
        bin_put(slot);
    }
    slot_empty(slot);
}

bool ebb__slot_refill(heap_thread *t, slot *slot, heap_bin *bin) {
    ebb__critical_enter();
    if (slot->bin != bin) {
        ebb__slot_release(t, slot);
        slot->bin = bin;
    }
    bool found = slot->span && run_claim(t, slot, slot->span);
    while (!found) {
        if (slot->span) bin_put(slot);
        if (!bin_take(bin, slot)) break;
        found = run_claim(t, slot, slot->span);
    }
    if (!found) slot_empty(slot);
    ebb__critical_leave();
    return found;
}

/* --- Frees ------------------------------------------------------------------------------------ */

/* To a count that one thread alone adds to. */
static inline void own_add(_Atomic(uint64_t) *count, uint64_t more) {
    uint64_t before = atomic_load_explicit(count, memory_order_relaxed);
    atomic_store_explicit(count, before + more, memory_order_relaxed);
}

/* The slot from which the calling thread took the object at p last; null if it took another since,
 * if it was released, and where it cannot go back: with a mark it would be old already when it is
 * handed out again. */
static slot *slot_took(heap_thread *t, const span *s, uintptr_t p) {
    const heap_bin *bin = s->bin; /* null where somebody else releases the span's last object */
    slot *slot = bin ? slot_of(t, bin) : NULL;
    if (!slot || slot->span != s || slot->cursor != p + s->stride) return NULL;
    uint32_t index = span_index(s, p);
    bool good = index >= slot->run_start && !marking() && span_bit(span_alloc_bits(s), index) &&
                !span_marked(s, index);
    return good ? slot : NULL;
}

static void slot_give_back(heap_thread *t, slot *slot, uintptr_t p, uint64_t stride) {
    memset((void *)p, 0, stride);
    if (slot->limit < slot->end)
        slot->limit -= stride;
    else if (sample_cut(t, p, p + stride, stride) == p)
        slot->limit = p;
    __atomic_store_n(&slot->cursor, p, __ATOMIC_RELEASE);
    t->alloc_bytes += stride;
    t->alloc_objects++;
    own_add(&t->given_bytes, stride);
    own_add(&t->given_objects, 1);
}

size_t ebb__slot_give_back(uintptr_t p) {
    heap_thread *t = ebb__self;
    const span *s = EBB__LIKELY(t && !ebb__heap_stressed) ? ebb__span_at(p) : NULL;
    if (EBB__RARE(!s || s->state != SPAN_SMALL)) return 0;
    size_t room = 0;
    ebb__critical_enter();
    slot *slot = slot_took(t, s, p);
    if (slot) {
        object_forget(s, p);
        slot_give_back(t, slot, p, s->stride);
        room = s->stride - 1;
    }
    ebb__critical_leave();
    return room;
}

bool ebb__span_free_object(span *s, uint32_t index) {
    heap_bin *bin = s->bin;
    _Atomic(uint64_t) *bits = span_alloc_bits(s);
    uint64_t bit = (uint64_t)1 << (index % 64);
    ebb__critical_lock(bin->lock);
    if (s->owned && slot_holds(s->owner, span_start(s) + index * s->stride)) {
        ebb__critical_unlock(bin->lock);
        return false;
    }
    bool was = atomic_fetch_and_explicit(&bits[index / 64], ~bit, memory_order_release) & bit;
    if (was) {
        atomic_fetch_and_explicit(&span_mark_bits(s)[index / 64], ~bit, memory_order_relaxed);
        if (index < search_get(s)) search_set(s, index);
        if (!s->owned && !s->listed) partial_add(bin, s);
        if (!s->owned && bits_count(bits, s->count) == 0) {
            if (marking()) {
                span_touch(s); /* the sweep sees to it */
            } else {
                /* A marker that had found an object before may have set its mark after. */
                bits_clear(span_mark_bits(s), 0, s->count);
                partial_remove(bin, s);
                span_retire(s);
            }
        }
        heap_freed(1, bin->stride);
        ebb__heap_claim(-(ptrdiff_t)bin->stride);
    }
    ebb__critical_unlock(bin->lock);
    return was;
}
