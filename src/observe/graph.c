/* graph.c - numbering and walking all objects of a snapshot. docs/design.md, "Retention".
 *
 * A hundred million objects leave a few bytes for each. So nothing is kept but the slot by which
 * an object was found, in five bytes, of which the fifth is mostly never touched; and a bit that
 * says so, where extent.c looks for the collector's marks. References are read off by the
 * collector's own code (scan_template.h, extent.c).
 *
 * Memory is far and the order is nobody's: words go through a ring while what deciding about them
 * needs is on its way, as in mark.c, and objects that will be scanned soon are asked for ahead. */
#include "graph.h"

enum { QUEUE_ITEMS = 13000, QUEUE_ARRAY = 0x8000, QUEUE_AHEAD = 32, QUEUE_PIECE = 80 * 1024 };

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
            for (uintptr_t at = slot->cursor; at < slot->limit; at += slot->bin->stride)
                span_bit_clear(span_alloc_bits(slot->span), span_index(slot->span, at));
        }
}

static size_t marks_bytes(int zone) {
    return (size_t)ebb__space.zones[zone].used_pages * BITMAP_BYTES;
}

/* Marks of our own take the place of the collector's: they come zeroed, on huge pages. */
static bool marks_open(graph *g) {
    size_t pages = ebb__space.zone_bytes >> PAGE_SHIFT;
    char *table = ebb__os_reserve(2 * pages * BITMAP_BYTES, HUGE_PAGE);
    if (!table) return false;
    for (int i = 0; i < ZONE_COUNT; i++) {
        size_t bytes = round_up(marks_bytes(i), HUGE_PAGE);
        g->marks[i] = table + (size_t)ebb__space.zones[i].first_page * BITMAP_BYTES;
        if (bytes == 0) continue;
        if (ebb__os_commit(g->marks[i], bytes, OS_METADATA) != 0) return false;
        ebb__os_huge(g->marks[i], bytes, true);
    }
    ebb__space.mark = (_Atomic(uint64_t) *)(void *)table;
    return true;
}

static bool roots_number(graph *g) {
    const os_ranges *ranges = &g->snap->roots->ranges;
    g->heap_words = ((uint64_t)ebb__space.zones[ZONE_SCAN].used_pages << PAGE_SHIFT) / 8;
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
    g->target = ebb__graph_memory(g->numbers / 8 + 8);
    return g->from.low && g->from.high && g->target;
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
    return marks_open(g) && roots_number(g) && graph_tables(g);
}

void ebb__graph_forget(graph *g) {
    for (uint32_t n = 1; n < ebb__space.span_count; n++)
        if (span_at(n)->extents) span_at(n)->extents = 0;
    for (int i = 0; i < ZONE_COUNT; i++) memset(g->marks[i], 0, marks_bytes(i));
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
        if (g->tail) g->tail->next = piece;
        g->tail = piece;
        if (!g->head) g->head = piece;
    }
    g->tail->span[g->tail->put] = span_number(s);
    g->tail->index[g->tail->put++] = (uint16_t)(index | tag);
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

/* False when nothing waits. */
static bool waiting_take(graph *g, const span **s, uintptr_t *object, bool *array) {
    graph_queue_piece *piece = g->head;
    while (piece && piece->taken == piece->put) {
        if (!piece->next) return false;
        g->head = piece->next;
        piece->next = g->spare;
        g->spare = piece;
        piece = g->head;
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
    uint64_t number = graph_number(g, s, index), from = slot + 1;
    g->from.low[number] = (uint32_t)from;
    if (EBB__RARE(from >> 32)) g->from.high[number] = (uint8_t)(from >> 32);
}

/* A pointer that keeps all of what it points into. */
static void graph_mark(graph *g, uint64_t slot, uintptr_t word) {
    uint32_t index;
    span *s = ebb__span_at(word);
    if (!s || !span_find(s, word, &index)) return;
    if (g->around && graph_bit(g->target, graph_number(g, s, index))) return;
    _Atomic(uint64_t) *marks = &span_mark_bits(s)[index / 64];
    uint64_t have = atomic_load_explicit(marks, memory_order_relaxed);
    uint64_t bit = (uint64_t)1 << (index % 64);
    bool marked = !(have & bit);
    if (marked) atomic_store_explicit(marks, have | bit, memory_order_relaxed);
    uintptr_t object = span_start(s) + index * s->stride;
    if (EBB__RARE(s->extents) && ebb__extent_whole(s, object, marked))
        waiting_put(g, s, index, QUEUE_ARRAY);
    if (!marked) return;
    graph_find(g, s, index, slot);
    if (s->zone == ZONE_SCAN) waiting_put(g, s, index, 0);
}

/* The first stage knows the page, the second the span, the third the object: each asks for what the
 * next one needs. */
static inline void ring_ask(graph *g, uint32_t at) {
    struct graph_ring *far = &g->ring[(at - GRAPH_STAGE) % GRAPH_RING];
    struct graph_ring *near = &g->ring[(at - 2 * GRAPH_STAGE) % GRAPH_RING];
    if (far->word) {
        size_t page = (far->word - ebb__space.base) >> PAGE_SHIFT;
        uint32_t n = atomic_load_explicit(&ebb__space.span_of[page], memory_order_relaxed);
        __builtin_prefetch(&ebb__space.spans[n]);
        __builtin_prefetch(&g->first[n]);
    }
    const span *s = near->word ? ebb__span_at(near->word) : NULL;
    if (!s) {
        near->word = 0;
        return;
    }
    near->index = s->state == SPAN_SMALL ? span_index(s, near->word) : 0;
    __builtin_prefetch(&span_mark_bits(s)[near->index / 64]);
    __builtin_prefetch(&span_alloc_bits(s)[near->index / 64]);
    if (g->note) __builtin_prefetch(&g->from.low[graph_number(g, s, near->index)]);
}

static inline void ring_step(graph *g, struct graph_ring next) {
    uint32_t at = g->ring_at++;
    struct graph_ring *place = &g->ring[at % GRAPH_RING], turn = *place;
    *place = next;
    ring_ask(g, at);
    if (turn.word) graph_mark(g, turn.slot, turn.word);
}

static inline void graph_meet(graph *g, uintptr_t at, uintptr_t word) {
    uintptr_t offset = word - ebb__space.base;
    if (offset >= 2 * ebb__space.zone_bytes) return;
    const zone *z = &ebb__space.zones[offset >= ebb__space.zone_bytes];
    if ((uint32_t)(offset >> PAGE_SHIFT) - z->first_page >= z->used_pages) return; /* no tables */
    __builtin_prefetch(&ebb__space.span_of[offset >> PAGE_SHIFT]);
    ring_step(g, (struct graph_ring){word, at / 8 + g->bias, 0});
}

/* A slice field keeps what it reaches. */
static void graph_slice(graph *g, uintptr_t at, const slice_reach *reach) {
    uint32_t index;
    uintptr_t array;
    size_t bytes;
    const span *s = ebb__span_at(reach->ptr);
    if (!s || !span_find(s, reach->ptr, &index)) return;
    if (g->around && graph_bit(g->target, graph_number(g, s, index))) return;
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

static bool ring_drain(graph *g) {
    bool any = false;
    for (int i = 0; i < GRAPH_RING; i++) {
        any |= g->ring[g->ring_at % GRAPH_RING].word != 0;
        ring_step(g, (struct graph_ring){0});
    }
    return any;
}

static void graph_drain(graph *g) {
    const span *s;
    uintptr_t object;
    bool array;
    g->bias = (uint64_t)0 - ebb__space.base / 8;
    do {
        ring_drain(g);
        while (!g->failed && waiting_take(g, &s, &object, &array)) graph_scan(g, s, object, array);
    } while (!g->failed && ring_drain(g));
}

static void graph_extra(uintptr_t word, void *arg) {
    graph *g = arg;
    uint64_t slot = g->words + g->extras++;
    graph_mark(g, slot, word);
}

void ebb__graph_walk(graph *g, bool precise) {
    const os_ranges *ranges = &g->snap->roots->ranges;
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
}

bool ebb__graph_sums(graph *g, const snapshot *s, graph_sum *all, graph_sum *doubtful) {
    if (!ebb__graph_open(g, s)) return false;
    ebb__graph_walk(g, true);
    *doubtful = g->found;
    ebb__graph_walk(g, false);
    *all = g->found;
    doubtful->objects = all->objects - doubtful->objects;
    doubtful->bytes = all->bytes - doubtful->bytes;
    return !g->failed;
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
        uint32_t index;
        slot.address = ebb__space.base + number * 8;
        slot.span = ebb__span_at(slot.address);
        if (slot.span && span_find(slot.span, slot.address, &index))
            slot.object = span_start(slot.span) + index * slot.span->stride;
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
