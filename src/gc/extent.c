/* extent.c - slices refer to their arrays only as far as they reach. docs/design.md, "Extents".
 *
 * In a full cycle an array that is met through a slice field is marked, so that it stays, but only
 * the part that the field reaches is scanned. A table has the hull of these parts for each such
 * array. When the hull grows, what was added is scanned; when anything else refers to the array,
 * the rest is. What is outside the hull when all is marked, nobody can reach: it is cleared before
 * the world goes on, so that later cycles, in which slice fields are like pointers, find nothing
 * there.
 *
 *   lo <= hi          the hull of what slice fields reach, in whole elements of the array; or
 *   lo > hi           they reach nothing of it
 *   wanted            all of a whole array, else the hull
 *   [seen_lo, seen_hi) has been given out to be scanned, and is a part of what is wanted; the rest
 *                     will be: the array is in some marker's packet if `queued`
 *
 * A span in which any array is in the table says so (`extents`), before the array's mark is set: so
 * whoever finds a mark set by a slice field finds that, too. */
#include "collector.h"

enum { SHARD_BITS = 6, SHARDS = 1 << SHARD_BITS, ROOM_FIRST = 64 };

/* Smaller arrays that a field reaches as a whole are not noted. */
#define TRACK_FROM ((size_t)1024)

typedef struct extent {
    uintptr_t array; /* where it starts; 0: an empty place */
    uintptr_t lo, hi, seen_lo, seen_hi;
    bool whole, queued;
} extent;

/* The lock guards what follows while several mark. */
typedef struct shard {
    _Alignas(64) os_lock lock;
    extent *table;     /* open addressing by array */
    size_t room, used; /* room is a power of two; used * 4 <= room * 3 */
} shard;

static shard shards[SHARDS];
static _Atomic(uint64_t) trim_arrays, trim_bytes, trim_whole; /* of this cycle; relaxed */

bool ebb__extents_on;

/* --- The table
 * ------------------------------------------------------------------------------------ */

static shard *shard_of(uintptr_t array) {
    return &shards[address_hash(array) >> (64 - SHARD_BITS)];
}

static size_t extent_bytes(size_t room) {
    return round_up(room * sizeof(extent), ebb__os_page_size());
}

static extent *extent_place(extent *table, size_t room, uintptr_t array) {
    for (size_t at = address_hash(array) >> 20;; at++) {
        extent *e = &table[at & (room - 1)];
        if (e->array == array || e->array == 0) return e;
    }
}

/* Room for one more. [lock] */
static bool shard_room(shard *sh) {
    if (sh->table && (sh->used + 1) * 4 <= sh->room * 3) return true;
    size_t room = sh->table ? 2 * sh->room : ROOM_FIRST;
    extent *table = ebb__os_map(extent_bytes(room), OS_METADATA);
    if (!table) return false;
    for (size_t i = 0; i < sh->room; i++)
        if (sh->table[i].array) *extent_place(table, room, sh->table[i].array) = sh->table[i];
    if (sh->table) ebb__os_unmap(sh->table, extent_bytes(sh->room), OS_METADATA);
    sh->table = table;
    sh->room = room;
    return true;
}

/* Null for an array that is not there. [lock] */
static extent *extent_find(const shard *sh, uintptr_t array) {
    extent *e = sh->table ? extent_place(sh->table, sh->room, array) : NULL;
    return e && e->array ? e : NULL;
}

/* A new entry; null without memory. [lock] */
static extent *extent_add(shard *sh, uintptr_t array) {
    if (!shard_room(sh)) return NULL;
    extent *e = extent_place(sh->table, sh->room, array);
    *e = (extent){.array = array, .lo = UINTPTR_MAX};
    sh->used++;
    return e;
}

void ebb__extents_begin(void) {
    for (int i = 0; i < SHARDS; i++) {
        shard *sh = &shards[i];
        if (sh->used) memset(sh->table, 0, extent_bytes(sh->room));
        sh->used = 0;
    }
    ebb__extents_on = true;
}

void ebb__extents_end(void) {
    ebb__extents_on = false;
    for (int i = 0; i < SHARDS; i++) {
        shard *sh = &shards[i];
        if (sh->room <= ROOM_FIRST) continue;
        ebb__os_unmap(sh->table, extent_bytes(sh->room), OS_METADATA);
        *sh = (shard){.lock = sh->lock};
    }
}

/* Tables that another thread may have been changing are let go. */
void ebb__extents_forked(void) {
    memset(shards, 0, sizeof shards);
    ebb__extents_on = false;
}

/* --- Marking
 * -------------------------------------------------------------------------------------- */

static uintptr_t array_end(const span *s, uintptr_t array) {
    return array + s->stride;
}

/* What is to be scanned of the array in the end. */
static os_range extent_wanted(const extent *e, const span *s) {
    if (e->whole) return (os_range){e->array, array_end(s, e->array)};
    return e->lo <= e->hi ? (os_range){e->lo, e->hi} : (os_range){e->array, e->array};
}

/* Whether the array has to go into a packet; it counts as there from now on. */
static bool extent_queue(extent *e, const span *s) {
    os_range want = extent_wanted(e, s);
    bool seen = want.start >= want.end || (e->seen_lo <= want.start && want.end <= e->seen_hi);
    if (seen || e->queued || s->zone != ZONE_SCAN) return false;
    e->queued = true;
    return true;
}

/* The part of an array that a field reaches, in whole elements of the array. What lies beyond the
 * last element that has room belongs to it. */
static os_range part_reached(const span *s, uintptr_t array, const slice_reach *reach) {
    const struct ebb__layout *l = s->bin->layout;
    size_t unit = l->element ? l->element : l->kind == LAYOUT_WORDS ? sizeof(void *) : 1;
    uintptr_t end = array_end(s, array), lo = reach->ptr, hi = end;
    if (reach->count <= (end - lo) / reach->element) hi = lo + reach->count * reach->element;
    lo -= (lo - array) % unit;
    hi = min_size(end, array + (hi - array + unit - 1) / unit * unit);
    size_t rest = l->kind == LAYOUT_DATA ? reach->element + 15 : reach->element;
    return (os_range){lo, end - hi <= rest && reach->count ? end : hi};
}

/* Notes a field for an array. A mark that is already set without an entry came from elsewhere. */
static unsigned extent_note(shard *sh, span *s, uintptr_t array, os_range part, bool beside) {
    uint32_t index = (uint32_t)(s->state == SPAN_SMALL ? span_index(s, array) : 0);
    uint64_t bit = (uint64_t)1 << (index % 64);
    extent *e = extent_find(sh, array);
    bool known = e != NULL;
    if (!e && !(e = extent_add(sh, array))) return SLICE_PLAIN;
    __atomic_store_n(&s->extents, 1, __ATOMIC_RELEASE);
    bool marked = !(
        atomic_fetch_or_explicit(&span_mark_bits(s)[index / 64], bit, memory_order_acq_rel) & bit);
    if (marked) /* also of an entry that was of an object that is no more */
        *e = (extent){.array = array, .lo = UINTPTR_MAX, .queued = e->queued};
    if (marked && s->zone == ZONE_SCAN && !__atomic_load_n(&s->armed, __ATOMIC_ACQUIRE))
        ebb__dirty_expose(s, beside);
    if (!marked && !known)
        *e = (extent){array, UINTPTR_MAX, 0, array, array_end(s, array), true, false};
    if (part.start < part.end) {
        e->lo = min_size(e->lo, part.start);
        e->hi = max_size(e->hi, part.end);
    }
    return (marked ? SLICE_MARKED : 0u) | (extent_queue(e, s) ? SLICE_SCAN : 0u);
}

unsigned ebb__extent_see(const slice_reach *reach, bool beside, uintptr_t *array, size_t *bytes) {
    uint32_t index;
    span *s = ebb__span_at(reach->ptr);
    if (!s || !span_find(s, reach->ptr, &index)) return 0;
    if (s->bin->layout->use != EBB__USE_SLICE || reach->element == 0) return SLICE_PLAIN;
    *array = span_start(s) + index * s->stride;
    *bytes = s->stride;
    os_range part = part_reached(s, *array, reach);
    bool all = part.start == *array && part.end == array_end(s, *array);
    if (all && s->stride < TRACK_FROM && !__atomic_load_n(&s->extents, __ATOMIC_RELAXED))
        return SLICE_PLAIN;
    shard *sh = shard_of(*array);
    ebb__critical_lock(&sh->lock);
    unsigned todo = extent_note(sh, s, *array, part, beside);
    ebb__critical_unlock(&sh->lock);
    return todo;
}

bool ebb__extent_whole(const span *s, uintptr_t array, bool marked) {
    shard *sh = shard_of(array);
    bool queue = false;
    ebb__critical_lock(&sh->lock);
    extent *e = extent_find(sh, array);
    if (e) {
        e->whole = true;
        if (marked) { /* an entry of an object that is no more: the marker scans all of this one */
            e->seen_lo = array;
            e->seen_hi = array_end(s, array);
        }
        queue = extent_queue(e, s);
    }
    ebb__critical_unlock(&sh->lock);
    return queue;
}

unsigned ebb__extent_take(const span *s, uintptr_t array, os_range parts[2]) {
    shard *sh = shard_of(array);
    unsigned count = 0;
    ebb__critical_lock(&sh->lock);
    extent *e = extent_find(sh, array);
    if (e) {
        os_range want = extent_wanted(e, s);
        bool none = e->seen_lo >= e->seen_hi;
        if (none) e->seen_lo = e->seen_hi = want.start;
        if (want.start < e->seen_lo) parts[count++] = (os_range){want.start, e->seen_lo};
        if (want.end > e->seen_hi) parts[count++] = (os_range){e->seen_hi, want.end};
        e->seen_lo = min_size(e->seen_lo, want.start);
        e->seen_hi = max_size(e->seen_hi, want.end);
        e->queued = false;
    }
    ebb__critical_unlock(&sh->lock);
    return count;
}

void ebb__extent_clip(const span *s, uintptr_t array, os_range *range) {
    shard *sh = shard_of(array);
    ebb__critical_lock(&sh->lock);
    const extent *e = extent_find(sh, array);
    if (e) {
        os_range want = extent_wanted(e, s);
        range->start = max_size(range->start, want.start);
        range->end = min_size(range->end, want.end);
    }
    ebb__critical_unlock(&sh->lock);
}

/* --- Trimming [world stopped]
 * --------------------------------------------------------------------- */

static bool range_zero(uintptr_t from, uintptr_t to) {
    const char *p = (const char *)from;
    return from == to || (*p == 0 && memcmp(p, p + 1, to - from - 1) == 0);
}

/* Zeroes what is not zero. Returns how many bytes that were. */
static size_t range_wipe(uintptr_t from, uintptr_t to) {
    if (from >= to || range_zero(from, to)) return 0;
    memset((void *)from, 0, to - from);
    return to - from;
}

/* The same, and the whole pages of an array that has a span of its own go back. */
static size_t range_trim(const span *s, uintptr_t from, uintptr_t to) {
    size_t page = ebb__os_page_size();
    uintptr_t first = round_up(from, page), last = round_down(to, page);
    if (from >= to || s->state != SPAN_LARGE || first >= last) return range_wipe(from, to);
    size_t bytes = ebb__os_in_memory((void *)first, last - first);
    if (ebb__os_return((void *)first, last - first) != 0) bytes = range_wipe(first, last);
    return range_wipe(from, first) + bytes + range_wipe(last, to);
}

static void extent_trim(const extent *e) {
    uint32_t index;
    span *s = ebb__span_at(e->array);
    if (!s) return;
    __atomic_store_n(&s->extents, 0, __ATOMIC_RELAXED);
    if (!span_find(s, e->array, &index) || ebb__mark_is_dead(e->array)) return;
    uintptr_t end = array_end(s, e->array);
    if (e->whole) {
        bool part = e->lo > e->array || e->hi < end;
        if (part) atomic_fetch_add_explicit(&trim_whole, 1, memory_order_relaxed);
        return;
    }
    os_range kept = extent_wanted(e, s);
    size_t bytes = range_trim(s, e->array, kept.start) + range_trim(s, kept.end, end);
    if (bytes == 0) return;
    atomic_fetch_add_explicit(&trim_arrays, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&trim_bytes, bytes, memory_order_relaxed);
}

static void trim_part(bool giver) {
    (void)giver;
    for (uint32_t i; (i = ebb__crew_take()) < SHARDS;)
        for (size_t k = 0; shards[i].used && k < shards[i].room; k++)
            if (shards[i].table[k].array) extent_trim(&shards[i].table[k]);
}

void ebb__extents_trim(void) {
    enum { EACH = 64 }; /* takes as long as it takes to wake a thread */
    size_t arrays = 0;
    if (!ebb__extents_on) return;
    for (int i = 0; i < SHARDS; i++) arrays += shards[i].used;
    ebb__crew_run(trim_part, (unsigned)min_size(1 + arrays / EACH, SHARDS));
    ebb__extents_on = false;
    ebb__cycle.arrays_trimmed += atomic_exchange_explicit(&trim_arrays, 0, memory_order_relaxed);
    ebb__cycle.trimmed_bytes += atomic_exchange_explicit(&trim_bytes, 0, memory_order_relaxed);
    ebb__cycle.arrays_kept_whole = atomic_exchange_explicit(&trim_whole, 0, memory_order_relaxed);
}
