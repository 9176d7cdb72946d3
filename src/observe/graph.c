/* graph.c - numbering and walking all objects of a snapshot. docs/design.md, "Retention".
 *
 * A hundred million objects leave a few bytes for each. So nothing is kept but the slot by which
 * an object was found, in five bytes, of which the fifth is mostly never touched; and a bit that
 * says so, where extent.c looks for the collector's marks. References are read off by the
 * collector's own code (scan_template.h, extent.c).
 *
 * Memory is far and the order is nobody's: words go through a ring while what deciding about them
 * needs is on its way, as in mark.c, and objects that will be scanned soon are asked for ahead.
 * What each word needs lies on huge pages, and is little: while a walk goes on, the marks are also
 * set of what is no object, and of targets that it is to stop at, so that one bit answers for
 * three. */
#include "graph.h"

enum {
    QUEUE_PIECE = 4 * 1024 * 1024,
    QUEUE_ITEMS = QUEUE_PIECE / 6 - 16,
    QUEUE_ARRAY = 0x8000,
    QUEUE_AHEAD = 32,
    QUEUE_BUCKETS = 4096,
};

/* Objects that wait: span, place in it, and (in its highest bit) whether extent.c says what of it
 * is scanned. */
typedef struct graph_queue_piece {
    struct graph_queue_piece *next;
    uint32_t put, taken;
    uint32_t span[QUEUE_ITEMS];
    uint16_t index[QUEUE_ITEMS];
} graph_queue_piece;
static_assert(sizeof(graph_queue_piece) <= QUEUE_PIECE, "a piece of the queue fits its memory");
static_assert(SPAN_PAGES_MAX * PAGE / STRIDE_MIN < QUEUE_ARRAY, "an index leaves the highest bit");

void *ebb__graph_memory(size_t bytes) {
    size_t page = ebb__os_page_size();
    void *memory = ebb__os_map(round_up(max_size(bytes, 1), page), OS_METADATA);
    if (memory && bytes >= 4 * HUGE_PAGE) ebb__os_huge(memory, round_up(bytes, page), true);
    return memory;
}

/* --- Numbers -------------------------------------------------------------------------------- */

/* As a sweep would leave it. */
static void span_reset(span *s) {
    for (uint32_t w = 0; w * 64 < s->count && span_unswept(s); w++)
        atomic_store_explicit(&span_alloc_bits(s)[w], span_live_bits(s, w), memory_order_relaxed);
    if (span_unswept(s))
        atomic_store_explicit(&s->swept, atomic_load_explicit(&ebb__epoch, memory_order_relaxed),
                              memory_order_relaxed);
    if (s->extents) s->extents = 0;
}

/* What threads have claimed and not handed out is no object yet. */
static void runs_forget(void) {
    for (const heap_thread *t = ebb__threads; t; t = t->next)
        for (int i = 0; i < SLOTS; i++) {
            const slot *slot = &t->slots[i];
            if (!slot->bin || !slot->span) continue;
            for (uintptr_t at = slot->cursor; at < slot->end; at += slot->bin->stride)
                span_bit_clear(span_alloc_bits(slot->span), span_index(slot->span, at));
        }
}

/* A table as the collector's marks are: it comes zeroed, on huge pages. Null without memory. */
static _Atomic(uint64_t) *bits_open(void) {
    size_t pages = ebb__space.zone_bytes >> PAGE_SHIFT;
    char *table = ebb__os_reserve(round_up(2 * pages * BITMAP_BYTES, HUGE_PAGE), HUGE_PAGE);
    for (int i = 0; table && i < ZONE_COUNT; i++) {
        const zone *z = &ebb__space.zones[i];
        size_t used_end = ((size_t)z->first_page + z->used_pages) * BITMAP_BYTES;
        char *part = table + round_down((size_t)z->first_page * BITMAP_BYTES, HUGE_PAGE);
        char *end = table + round_up(used_end, HUGE_PAGE);
        if (z->used_pages == 0) continue;
        if (ebb__os_commit(part, (size_t)(end - part), OS_METADATA) != 0) return NULL;
        ebb__os_huge(part, (size_t)(end - part), true);
    }
    return (_Atomic(uint64_t) *)(void *)table;
}

/* Marks of our own take the place of the collector's, and so do records of spans. */
static bool tables_open(graph *g) {
    size_t bytes = ebb__space.span_count * sizeof(span);
    _Atomic(uint64_t) *marks = bits_open();
    span *spans = ebb__graph_memory(bytes);
    g->target = bits_open();
    if (!marks || !spans || !g->target) return false;
    memcpy(spans, ebb__space.spans, bytes);
    ebb__space.spans = spans;
    ebb__space.mark = marks;
    return true;
}

/* Marks on what the walk is not to find; takes them away again. */
static void marks_close(const graph *g, bool close) {
    for (uint32_t n = 1; n < ebb__space.span_count; n++) {
        const span *s = span_at(n);
        for (uint32_t w = 0; s->state >= SPAN_SMALL && w * 64 < s->count; w++) {
            _Atomic(uint64_t) *marks = &span_mark_bits(s)[w];
            uint64_t not = ~atomic_load_explicit(&span_alloc_bits(s)[w], memory_order_relaxed);
            if (g->around)
                not |= atomic_load_explicit(&graph_targets(g, s)[w], memory_order_relaxed);
            uint64_t have = atomic_load_explicit(marks, memory_order_relaxed);
            atomic_store_explicit(marks, close ? have | not : have & ~not, memory_order_relaxed);
        }
    }
}

static bool roots_number(graph *g) {
    const os_ranges *ranges = &g->snap->roots->ranges;
    const zone *z = &ebb__space.zones[ZONE_SCAN];
    g->heap_words = (((uint64_t)z->first_page + z->used_pages) << PAGE_SHIFT) / 8;
    g->range_at = ebb__graph_memory((ranges->count + 1) * sizeof *g->range_at);
    if (!g->range_at) return false;
    for (size_t i = 0; i < ranges->count; i++)
        g->range_at[i + 1] =
            g->range_at[i] + (ranges->items[i].end - ranges->items[i].start + 7) / 8;
    g->words = g->heap_words + g->range_at[ranges->count];
    return true;
}

static bool graph_tables(graph *g) {
    g->from.low = ebb__graph_memory(g->numbers * sizeof *g->from.low);
    g->from.high = ebb__graph_memory(g->numbers);
    return g->from.low && g->from.high;
}

bool ebb__graph_open(graph *g, const snapshot *snap) {
    *g = (graph){.snap = snap, .note = true};
    uint32_t spans = ebb__space.span_count;
    g->first = ebb__graph_memory((size_t)spans * sizeof *g->first);
    if (!g->first) return false;
    for (uint32_t n = 1; n < spans; n++) {
        span *s = span_at(n);
        g->first[n] = g->numbers;
        if (s->state < SPAN_SMALL) continue;
        span_reset(s);
        g->numbers += s->count;
    }
    runs_forget();
    ebb__mark_forked(); /* a cycle may be under way, its words in static data, its tables locked */
    ebb__extents_begin();
    return tables_open(g) && roots_number(g) && graph_tables(g);
}

void ebb__graph_forget(graph *g) {
    for (uint32_t n = 1; n < ebb__space.span_count; n++) {
        span *s = span_at(n);
        if (s->extents) s->extents = 0;
        for (uint32_t w = 0; s->state >= SPAN_SMALL && w * 64 < s->count; w++)
            atomic_store_explicit(&span_mark_bits(s)[w], 0, memory_order_relaxed);
    }
    ebb__extents_begin();
    g->found = (graph_sum){0, 0};
    g->note = false;
}

/* --- What waits ----------------------------------------------------------------------------- */

static graph_queue_piece *waiting_piece(graph *g) {
    graph_queue_piece *piece = g->spare;
    if (piece)
        g->spare = piece->next;
    else
        piece = ebb__os_map(QUEUE_PIECE, OS_METADATA);
    if (!piece) return NULL;
    piece->next = NULL;
    piece->put = piece->taken = 0;
    return piece;
}

static void waiting_put(graph *g, const span *s, uint32_t index, uint32_t tag) {
    if (!g->tail || g->tail->put == QUEUE_ITEMS) {
        graph_queue_piece *piece = waiting_piece(g);
        if (!piece) {
            g->failed = true;
            return;
        }
        if (g->tail)
            g->tail->next = piece;
        else
            g->later = piece;
        g->tail = piece;
    }
    g->tail->span[g->tail->put] = span_number(s);
    g->tail->index[g->tail->put++] = (uint16_t)(index | tag);
}

/* Puts a piece into the order of spans, about. */
static graph_queue_piece *waiting_sort(graph *g, graph_queue_piece *piece) {
    uint32_t at[QUEUE_BUCKETS + 1] = {0}, shift = 0;
    graph_queue_piece *sorted = piece->put >= QUEUE_BUCKETS ? waiting_piece(g) : NULL;
    if (!sorted) return piece;
    while (ebb__space.span_count >> shift >= QUEUE_BUCKETS) shift++;
    for (uint32_t i = 0; i < piece->put; i++) at[(piece->span[i] >> shift) + 1]++;
    for (uint32_t i = 1; i < QUEUE_BUCKETS; i++) at[i] += at[i - 1];
    for (uint32_t i = 0; i < piece->put; i++) {
        uint32_t to = at[piece->span[i] >> shift]++;
        sorted->span[to] = piece->span[i];
        sorted->index[to] = piece->index[i];
    }
    sorted->put = piece->put;
    sorted->next = piece->next;
    piece->next = g->spare;
    g->spare = piece;
    return sorted;
}

/* On to what was found meanwhile. False when nothing waits. */
static bool waiting_level(graph *g) {
    g->head = g->later;
    g->later = g->tail = NULL;
    if (g->head) g->head = waiting_sort(g, g->head);
    return g->head != NULL;
}

static uintptr_t waiting_object(const graph_queue_piece *piece, uint32_t i) {
    const span *s = span_at(piece->span[i]);
    return span_start(s) + (piece->index[i] & ~QUEUE_ARRAY & UINT16_MAX) * s->stride;
}

/* Inlined by force: gcc takes a function that only prefetches for one without an effect. */
EBB__INLINE void waiting_prefetch(const graph_queue_piece *piece) {
    uint32_t far = piece->taken + QUEUE_AHEAD, near = piece->taken + QUEUE_AHEAD / 2;
    if (far < piece->put) __builtin_prefetch(span_at(piece->span[far]));
    if (near < piece->put) __builtin_prefetch((void *)waiting_object(piece, near));
}

/* False when nothing waits that was found by the level before. */
static bool waiting_take(graph *g, const span **s, uintptr_t *object, bool *array) {
    graph_queue_piece *piece = g->head;
    if (piece && piece->taken == piece->put) {
        g->head = piece->next;
        piece->next = g->spare;
        g->spare = piece;
        piece = g->head ? g->head = waiting_sort(g, g->head) : NULL;
    }
    if (!piece) return false;
    waiting_prefetch(piece);
    *s = span_at(piece->span[piece->taken]);
    *object = waiting_object(piece, piece->taken);
    *array = piece->index[piece->taken++] & QUEUE_ARRAY;
    return true;
}

/* --- The walk ------------------------------------------------------------------------------- */

static void graph_find(graph *g, const span *s, uint32_t index, uint64_t slot) {
    g->found.objects++;
    g->found.bytes += s->stride;
    if (!g->note) return;
    graph_from_set(g, graph_number(g, s, index), graph_from_slot(slot));
}

/* A pointer that keeps all of what it points into. A span in which slices keep arrays in part is
 * looked at more closely. */
static inline void graph_mark(graph *g, uint64_t slot, const span *s, uint32_t index) {
    _Atomic(uint64_t) *marks = &span_mark_bits(s)[index / 64];
    uint64_t have = atomic_load_explicit(marks, memory_order_relaxed);
    uint64_t bit = (uint64_t)1 << (index % 64);
    bool marked = !(have & bit);
    if (marked) atomic_store_explicit(marks, have | bit, memory_order_relaxed);
    if (EBB__RARE(s->extents) && span_bit(span_alloc_bits(s), index) &&
        ebb__extent_whole(s, span_start(s) + index * s->stride, marked))
        waiting_put(g, s, index, QUEUE_ARRAY);
    if (!marked) return;
    graph_find(g, s, index, slot);
    if (s->zone == ZONE_SCAN) waiting_put(g, s, index, 0);
}

/* As span_find, but that there need be no object; and the span is perhaps another one's. */
static inline bool graph_place(const span *s, uintptr_t word, uint32_t *index) {
    uintptr_t offset = word - span_start(s);
    if (s->state < SPAN_SMALL || offset >> PAGE_SHIFT >= s->pages) return false;
    *index = s->state == SPAN_SMALL ? span_index(s, word) : 0;
    return *index < s->count && (s->state == SPAN_SMALL || offset <= s->stride);
}

/* The first stage knows the page, the second the span, the third the object: each asks for what the
 * next one needs. */
static inline void ring_ask(graph *g, uint32_t at) {
    struct graph_ring *far = &g->ring[(at - GRAPH_STAGE) % GRAPH_RING];
    struct graph_ring *near = &g->ring[(at - 2 * GRAPH_STAGE) % GRAPH_RING];
    if (far->word) {
        size_t page = (far->word - ebb__space.base) >> PAGE_SHIFT;
        far->span = atomic_load_explicit(&ebb__space.span_of[page], memory_order_relaxed);
        __builtin_prefetch(span_at(far->span));
        __builtin_prefetch(&g->first[far->span]);
    }
    const span *s = span_at(near->span);
    if (!near->word || !graph_place(s, near->word, &near->index)) {
        near->word = 0;
        return;
    }
    __builtin_prefetch(&span_mark_bits(s)[near->index / 64]);
    if (g->note) __builtin_prefetch(&g->from.low[graph_number(g, s, near->index)]);
}

static inline void ring_step(graph *g, struct graph_ring next) {
    uint32_t at = g->ring_at++;
    struct graph_ring *place = &g->ring[at % GRAPH_RING], turn = *place;
    *place = next;
    ring_ask(g, at);
    if (turn.word) graph_mark(g, turn.slot, span_at(turn.span), turn.index);
}

static inline void graph_meet(graph *g, uintptr_t at, uintptr_t word) {
    uintptr_t offset = word - ebb__space.base;
    if (offset >= 2 * ebb__space.zone_bytes) return;
    const zone *z = &ebb__space.zones[offset >= ebb__space.zone_bytes];
    if ((uint32_t)(offset >> PAGE_SHIFT) - z->first_page >= z->used_pages) return; /* no tables */
    __builtin_prefetch(&ebb__space.span_of[offset >> PAGE_SHIFT]);
    ring_step(g, (struct graph_ring){word, at / 8 + g->bias, 0, 0});
}

/* A slice field keeps what it reaches. */
static void graph_slice(graph *g, uintptr_t at, const slice_reach *reach) {
    uint32_t index;
    uintptr_t array;
    size_t bytes;
    const span *s = ebb__span_at(reach->ptr);
    if (!s || !span_find(s, reach->ptr, &index)) return;
    if (g->around && span_bit(graph_targets(g, s), index)) return;
    unsigned todo = ebb__extent_see(reach, false, &array, &bytes);
    if (todo & SLICE_PLAIN) graph_meet(g, at, reach->ptr);
    if (todo & SLICE_SCAN) waiting_put(g, s, index, QUEUE_ARRAY);
    if (todo & SLICE_MARKED) graph_find(g, s, index, at / 8 + g->bias);
}

#define SCAN(name)               graph_scan_##name
#define SCAN_CONTEXT             graph
#define SCAN_WORD(g, at, word)   graph_meet(g, at, word)
#define SCAN_SLICE(g, at, reach) graph_slice(g, at, reach)
#include "../gc/scan_template.h"

static void graph_scan(graph *g, const span *s, uintptr_t object, bool array) {
    os_range parts[2] = {{object, object + s->stride}};
    unsigned count = array ? ebb__extent_take(s, object, parts) : 1;
    for (unsigned i = 0; i < count; i++)
        graph_scan_part(g, s, object, parts[i].start, parts[i].end);
}

static void ring_drain(graph *g) {
    for (int i = 0; i < GRAPH_RING; i++) ring_step(g, (struct graph_ring){0});
}

static void graph_drain(graph *g) {
    const span *s;
    uintptr_t object;
    bool array;
    g->bias = (uint64_t)0 - ebb__space.base / 8;
    for (ring_drain(g); !g->failed && waiting_level(g); ring_drain(g))
        while (!g->failed && waiting_take(g, &s, &object, &array)) graph_scan(g, s, object, array);
}

static void graph_extra(uintptr_t word, void *arg) {
    graph *g = arg;
    uint64_t slot = g->words + g->extras++;
    uint32_t index;
    const span *s = ebb__span_at(word);
    if (s && span_find(s, word, &index)) graph_mark(g, slot, s, index);
}

void ebb__graph_walk(graph *g, bool precise) {
    const os_ranges *ranges = &g->snap->roots->ranges;
    marks_close(g, true);
    for (size_t i = 0; i < ranges->count; i++) {
        if (graph_precise(ebb__graph_note(g, (uint32_t)i)) != precise) continue;
        os_range r = ranges->items[i];
        g->bias = g->heap_words + g->range_at[i] - r.start / 8;
        graph_scan_words(g, r.start, round_down(r.end, sizeof(void *)));
        ring_drain(g);
    }
    if (precise) {
        g->extras = 0;
        ebb__finalizers_roots(graph_extra, g);
    }
    graph_drain(g);
    marks_close(g, false);
}

/* --- Questions ------------------------------------------------------------------------------ */

const root_note *ebb__graph_note(const graph *g, uint32_t range) {
    const root_set *roots = g->snap->roots;
    size_t low = 0, high = roots->note_count;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (roots->notes[middle].first <= range)
            low = middle;
        else
            high = middle;
    }
    return &roots->notes[low];
}

graph_slot ebb__graph_slot(const graph *g, uint64_t number) {
    graph_slot slot = {0};
    if (number >= g->words) {
        slot.extra = true;
        return slot;
    }
    if (number < g->heap_words) {
        slot.address = ebb__space.base + number * 8;
        slot.span = span_at(graph_slot_span(number));
        slot.index = slot.span->state == SPAN_SMALL ? span_index(slot.span, slot.address) : 0;
        slot.object = span_start(slot.span) + slot.index * slot.span->stride;
        return slot;
    }
    uint64_t word = number - g->heap_words;
    uint32_t low = 0, high = (uint32_t)g->snap->roots->ranges.count;
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (g->range_at[middle] <= word)
            low = middle;
        else
            high = middle;
    }
    slot.range = low;
    slot.address = g->snap->roots->ranges.items[low].start + (word - g->range_at[low]) * 8;
    return slot;
}

void ebb__graph_target_span(graph *g, const span *s, graph_sum *targets) {
    for (uint32_t w = 0; w * 64 < s->count; w++) {
        _Atomic(uint64_t) *bits = &graph_targets(g, s)[w];
        uint64_t marks = atomic_load_explicit(&span_mark_bits(s)[w], memory_order_relaxed);
        marks &= ~atomic_load_explicit(bits, memory_order_relaxed);
        atomic_store_explicit(bits, marks, memory_order_relaxed);
        graph_sum_add(targets, s, marks);
    }
}

graph_sum ebb__graph_target_all(graph *g) {
    graph_sum targets = {0, 0};
    for (uint32_t n = 1; n < ebb__space.span_count; n++)
        if (span_at(n)->state >= SPAN_SMALL) ebb__graph_target_span(g, span_at(n), &targets);
    return targets;
}

void ebb__graph_each(graph *g, void (*visit)(graph *g, const span *s, uint32_t index, void *arg),
                     void *arg) {
    for (uint32_t n = 1; n < ebb__space.span_count; n++) {
        const span *s = span_at(n);
        if (s->state < SPAN_SMALL) continue;
        for (uint32_t w = 0; w * 64 < s->count; w++) {
            uint64_t marks = atomic_load_explicit(&span_mark_bits(s)[w], memory_order_relaxed);
            for (; marks; marks &= marks - 1)
                visit(g, s, w * 64 + (uint32_t)__builtin_ctzll(marks), arg);
        }
    }
}
