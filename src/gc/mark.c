/* mark.c - tracing. docs/design.md, "Marking".
 *
 * A marker has a packet of words to look at and exchanges full ones with the others through a pool.
 * A word that leaves the packet first goes through a short queue, while the lines that deciding
 * about it needs, and the object that it points to, are on their way from memory; when its turn
 * comes the object is marked and scanned at once, its words going into the packet. (Queueing edges,
 * and prefetching on the way through a queue: Cher, Hosking and Vitek, "Software prefetching for
 * mark-sweep garbage collection", 2004.)
 *
 * Large objects are scanned in pieces; each piece puts up the next as an item of its own before it
 * is scanned, so that several markers share one array.
 *
 * The program may run meanwhile. What is read then may be old or new, which the pages tell
 * (dirty.c). Threads that are ahead of the schedule help for a while, in critical sections, so that
 * whoever finds the world stopped finds all work in the pool. */
#include "collector.h"

enum {
    PACKET_ITEMS = 510,
    QUEUE = 16,
    PIECE = 128 * 1024,
    ROOT_PIECE = 64 * 1024,
    SHARE_FROM = 32,
    HELD_MOST = 1024,
    HELPERS = 0xffff,
    HELPER_BEGINS = HELPERS + 2
};

/* A word that may be a pointer; or, tagged, an array that extent.c has parts of to be scanned; or
 * the number of a large object's span and of its piece: that one and all that follow, or a run of
 * so many (a power of two). */
typedef uintptr_t mark_item;

#define PIECE_TAG     ((uintptr_t)1 << 63)
#define PIECE_SHIFT   31
#define PIECE_NUMBERS (((uintptr_t)1 << RUN_SHIFT) - 1)
#define ARRAY_TAG     ((uintptr_t)3 << 62)
#define RUN_TAG       ((uintptr_t)1 << 30)
#define RUN_SHIFT     25
#define RUN_LEVEL     31
static_assert(RUN_TAG >> RUN_SHIFT == RUN_LEVEL + 1, "the fields of an item lie side by side");

typedef struct packet {
    struct packet *next;
    uint64_t count;
    mark_item items[PACKET_ITEMS];
} packet;

typedef struct marker {
    packet *work;
    uintptr_t queue[QUEUE];
    uint32_t queue_at;
    uint64_t bytes, objects;
} marker;

/* What the markers share. */
static struct {
    os_lock lock;
    packet *full, *empty;         /* [lock] */
    _Atomic(uint32_t) full_count; /* of the list; changed under the lock, read without */
    _Atomic(uint32_t) idle;       /* markers without work; sequentially consistent with events */
    _Atomic(uint32_t) events;     /* counts what markers without work wait for; waited on */
    _Atomic(uint32_t) helpers; /* threads that help now, and above them how often one began, so that
                                * one that came meanwhile shows; sequentially consistent with
                                * full_count */
    _Atomic(bool) hungry;      /* a thread would help and found nothing; relaxed */
    _Atomic(uint64_t) done_bytes, done_objects; /* marked, as told by markers; relaxed */
    _Atomic(uint32_t) markers; /* that began with this run; sequentially consistent with idle */
    struct mark_list {
        const os_ranges *ranges;
        _Atomic(uint64_t) next; /* packed: index of a range << 32 | piece; relaxed */
    } roots, changed;
    uint32_t held[HELD_MOST]; /* spans with `held` set [lock] */
    uint32_t held_count;
    /* Threads that help read both, which do not change while one may. */
    bool parallel; /* several mark at once */
    bool beside;   /* the program runs */
} pool;

static marker mark_local; /* of the collecting thread, between runs too */

/* --- Packets -------------------------------------------------------------------------------------
 */

static packet *packet_new(void) {
    enum { AT_ONCE = 16 };
    packet *p;
    ebb__critical_lock(&pool.lock); /* one who marks may be stopped, and others wait for the lock */
    if (!pool.empty) {
        packet *fresh = ebb__os_map(64 * KIB, OS_METADATA);
        if (!fresh) ebb__fail("ebb", "no memory for marking");
        for (int i = 0; i < AT_ONCE; i++) {
            fresh[i].next = pool.empty;
            pool.empty = &fresh[i];
        }
    }
    p = pool.empty;
    pool.empty = p->next;
    ebb__critical_unlock(&pool.lock);
    p->count = 0;
    return p;
}
static_assert(16 * sizeof(packet) <= 64 * KIB, "sixteen packets fit their piece");

/* To one that waits, or to all: there may be work, or no more of it. Counted, so that it is not
 * lost on one that has just looked and is about to wait. */
static void pool_tell(bool all) {
    atomic_fetch_add(&pool.events, 1);
    ebb__os_wake(&pool.events, all);
}

static void packet_put(packet *p, bool full) {
    ebb__critical_lock(&pool.lock);
    packet **list = full ? &pool.full : &pool.empty;
    p->next = *list;
    *list = p;
    if (full) atomic_fetch_add(&pool.full_count, 1);
    ebb__critical_unlock(&pool.lock);
    if (full && atomic_load(&pool.idle) > 0) pool_tell(false);
}

static packet *packet_take_full(void) {
    if (atomic_load_explicit(&pool.full_count, memory_order_acquire) == 0) return NULL;
    ebb__critical_lock(&pool.lock);
    packet *p = pool.full;
    if (p) {
        pool.full = p->next;
        /* Release: who sees it in marker_idle sees the helper too. */
        atomic_fetch_sub_explicit(&pool.full_count, 1, memory_order_release);
    }
    ebb__critical_unlock(&pool.lock);
    return p;
}

/* Gives half of a marker's work away while others have none. */
static void packet_share(marker *m) {
    packet *half = packet_new();
    half->count = m->work->count / 2;
    m->work->count -= half->count;
    memcpy(half->items, &m->work->items[m->work->count], half->count * sizeof(mark_item));
    packet_put(half, true);
}

static void marker_tell(marker *m) {
    atomic_fetch_add_explicit(&pool.done_bytes, m->bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&pool.done_objects, m->objects, memory_order_relaxed);
    m->bytes = m->objects = 0;
}

static __attribute__((noinline)) void packet_change(marker *m) {
    ebb__yield_point(16);
    marker_tell(m);
    if (m->work) packet_put(m->work, true);
    m->work = packet_new();
}

static inline void item_push(marker *m, mark_item item) {
    if (EBB__RARE(!m->work || m->work->count == PACKET_ITEMS)) packet_change(m);
    m->work->items[m->work->count++] = item;
}

static inline void word_push(marker *m, uintptr_t word) {
    if (space_has(word)) item_push(m, word);
}

/* --- Scanning ------------------------------------------------------------------------------------
 */

static void slice_mark(marker *m, const slice_reach *reach) {
    uintptr_t array;
    size_t bytes;
    unsigned todo = ebb__extent_see(reach, pool.beside, &array, &bytes);
    if (todo & SLICE_PLAIN) item_push(m, reach->ptr);
    if (todo & SLICE_SCAN) item_push(m, ARRAY_TAG | array);
    if (!(todo & SLICE_MARKED)) return;
    m->bytes += bytes;
    m->objects++;
}

#define SCAN(name)               name##_scan
#define SCAN_CONTEXT             marker
#define SCAN_WORD(m, at, word)   word_push(m, word)
#define SCAN_SLICE(m, at, reach) slice_mark(m, reach)
#include "scan_template.h"

/* The size of a large object's pieces, but for the last. */
static size_t piece_bytes(const struct ebb__layout *layout) {
    bool typed = layout->kind == LAYOUT_TYPED;
    return typed ? max_size(PIECE / layout->element, 1) * layout->element : PIECE;
}

static mark_item piece_item(const span *s, uintptr_t number) {
    return PIECE_TAG | (uintptr_t)span_number(s) << PIECE_SHIFT | number;
}

/* Scans one piece of a large object, and puts up the next before. Where the one is empty many are,
 * as a rule: then the next is one that is not, as far as one look ahead goes. */
static void piece_scan(marker *m, const span *s, uintptr_t number) {
    enum { AHEAD = 32 * MIB };
    size_t piece = piece_bytes(s->bin->layout);
    uintptr_t start = span_start(s), end = start + s->stride;
    uintptr_t from = start + number * piece, to = min_size(from + piece, end);
    if (to < end) item_push(m, piece_item(s, number + 1));
    if (part_scan(m, s, start, from, to) || to == end) return;
    void *stop, *look = (void *)round_down(to, ebb__os_page_size());
    uintptr_t last = min_size(to + AHEAD, end);
    uintptr_t next = max_size((uintptr_t)ebb__os_resident(look, (void *)last, &stop), to);
    /* Nothing was pushed since. */
    if (next < end)
        m->work->items[m->work->count - 1] = piece_item(s, (next - start) / piece);
    else
        m->work->count--;
}

static mark_item run_item(const span *s, uintptr_t first, uintptr_t level) {
    return PIECE_TAG | (uintptr_t)span_number(s) << PIECE_SHIFT | RUN_TAG | level << RUN_SHIFT |
           first;
}

/* Scans the first of a run of pieces, and puts up the rest in runs. */
static void run_scan(marker *m, const span *s, uintptr_t first, uintptr_t level) {
    size_t piece = piece_bytes(s->bin->layout);
    uintptr_t from = span_start(s) + first * piece;
    while (level-- > 0) item_push(m, run_item(s, first + ((uintptr_t)1 << level), level));
    part_scan(m, s, span_start(s), from, from + piece);
}

/* Scans a part of an array; its pieces, if it is long, in runs. */
static void range_scan(marker *m, const span *s, uintptr_t array, os_range r) {
    size_t piece = piece_bytes(s->bin->layout);
    uintptr_t first = (r.start - array + piece - 1) / piece, last = (r.end - array) / piece;
    if (r.end - r.start <= 2 * piece) {
        part_scan(m, s, array, r.start, r.end);
        return;
    }
    for (uintptr_t next = first, level; next < last; next += (uintptr_t)1 << level) {
        level = log2_floor(last - next);
        item_push(m, run_item(s, next, level));
    }
    if (r.start < array + first * piece) part_scan(m, s, array, r.start, array + first * piece);
    if (array + last * piece < r.end) part_scan(m, s, array, array + last * piece, r.end);
}

/* Scans what extent.c has to be scanned of an array. */
static void array_scan(marker *m, uintptr_t array) {
    os_range parts[2];
    const span *s = ebb__span_at(array);
    unsigned count = s ? ebb__extent_take(s, array, parts) : 0;
    for (unsigned i = 0; i < count; i++) range_scan(m, s, array, parts[i]);
}

static inline void object_scan(marker *m, const span *s, uintptr_t object) {
    const struct ebb__layout *layout = s->bin->layout;
    if (EBB__RARE(layout->kind == LAYOUT_TRACED)) {
        if (!pool.beside || ebb__traced_begun) ebb__traced_note(object);
    } else if (EBB__RARE(s->stride > PIECE))
        piece_scan(m, s, 0);
    else if (layout->kind == LAYOUT_TYPED)
        elements_scan(m, layout, object, object + s->stride);
    else
        words_scan(m, object, object + s->stride);
}

/* --- Marking -------------------------------------------------------------------------------------
 */

/* Sets a mark. True when it was not set. Acquire: pairs with extent.c, which says so in the span
 * before it sets one. */
static inline bool mark_set(_Atomic(uint64_t) *word, uint64_t bit) {
    uint64_t have = atomic_load_explicit(word, memory_order_acquire);
    if (have & bit) return false;
    if (pool.parallel) return !(atomic_fetch_or_explicit(word, bit, memory_order_acquire) & bit);
    atomic_store_explicit(word, have | bit, memory_order_relaxed);
    return true;
}

/* A pointer to an object of a span in which slices keep arrays in part: this one stays whole. */
static __attribute__((noinline)) void array_whole(marker *m, const span *s, uint32_t index,
                                                  bool marked) {
    uintptr_t array = span_start(s) + index * s->stride;
    if (ebb__extent_whole(s, array, marked)) item_push(m, ARRAY_TAG | array);
}

/* Marks the object that a word points into, if there is one, and scans it. */
static inline void word_mark(marker *m, uintptr_t word) {
    uint32_t index;
    span *s = ebb__span_at(word);
    if (!s || !span_find(s, word, &index)) return;
    bool marked = mark_set(&span_mark_bits(s)[index / 64], (uint64_t)1 << (index % 64));
    if (EBB__RARE(__atomic_load_n(&s->extents, __ATOMIC_RELAXED))) array_whole(m, s, index, marked);
    if (!marked) return;
    m->bytes += s->stride;
    m->objects++;
    if (s->zone != ZONE_SCAN) return;
    if (EBB__RARE(!__atomic_load_n(&s->armed, __ATOMIC_ACQUIRE))) ebb__dirty_expose(s, pool.beside);
    object_scan(m, s, span_start(s) + index * s->stride);
}

/* --- Large objects that only roots refer to
 * --------------------------------------------------------
 *
 * What a thread is working with when the world stops would become old, and stay until a full cycle:
 * for large objects that adds up quickly. So one that is new, and that no object refers to but only
 * roots do, is kept without a mark: what it refers to is marked, it is itself still young, and no
 * older object's page need be dirty for it. After HELD_CYCLES of that it is marked like any other,
 * as are arrays of slices in full cycles: see extent.c. */

enum { HELD_NOT, HELD_HINT, HELD_STOP };
enum { HELD_CYCLES = 6 }; /* near a limit cycles follow closely */

static bool held_note(const span *s) {
    ebb__critical_lock(&pool.lock);
    bool room = pool.held_count < HELD_MOST;
    if (room) pool.held[pool.held_count++] = span_number(s);
    ebb__critical_unlock(&pool.lock);
    return room;
}

/* One that was held for long, in the stop: what it refers to may have been marked with a hint. */
static bool root_marks(marker *m, span *s) {
    if (atomic_load_explicit(&s->held, memory_order_relaxed) == HELD_NOT) return false;
    if (mark_set(span_mark_bits(s), 1)) {
        m->bytes += s->stride;
        m->objects++;
    }
    return true;
}

/* A word of a root: true when it refers to such an object, which is seen to, to one that has its
 * mark already, or to none: one that comes to lie there later is not meant. A hint never marks a
 * large one: a stale word would be enough to make it old. */
static bool root_holds(marker *m, uintptr_t word) {
    uint32_t index;
    span *s = ebb__span_at(word);
    if (!s || !span_find(s, word, &index)) return true;
    if (s->state != SPAN_LARGE)
        return span_marked(s, index) && !__atomic_load_n(&s->extents, __ATOMIC_RELAXED);
    if (ebb__extents_on && s->bin->layout->use == EBB__USE_SLICE) return false;
    if (atomic_load_explicit(&span_mark_bits(s)[0], memory_order_relaxed) & 1) return true;
    if (s->age >= HELD_CYCLES && !pool.beside) return root_marks(m, s);
    uint8_t want = pool.beside ? HELD_HINT : HELD_STOP;
    uint8_t was = atomic_load_explicit(&s->held, memory_order_relaxed);
    do
        if (was >= want) return true;
    while (!atomic_compare_exchange_weak_explicit(&s->held, &was, want, memory_order_relaxed,
                                                  memory_order_relaxed));
    if (was != HELD_NOT) return true; /* looked at before; what changed since is on dirty pages */
    if (!held_note(s)) {
        atomic_store_explicit(&s->held, HELD_NOT, memory_order_relaxed);
        return pool.beside;
    }
    if (s->zone != ZONE_SCAN) return true;
    if (pool.beside && !s->armed) ebb__dirty_expose(s, true);
    object_scan(m, s, span_start(s));
    return true;
}

uint64_t ebb__mark_kept(const span *s, uint32_t w) {
    uint64_t marks = atomic_load_explicit(&span_mark_bits(s)[w], memory_order_relaxed);
    bool held =
        s->state == SPAN_LARGE && atomic_load_explicit(&s->held, memory_order_relaxed) != HELD_NOT;
    return marks | held;
}

size_t ebb__mark_held(void) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < pool.held_count; i++) {
        span *s = span_at(pool.held[i]);
        bool held = atomic_load_explicit(&s->held, memory_order_relaxed) == HELD_STOP;
        bool marked = atomic_load_explicit(&span_mark_bits(s)[0], memory_order_relaxed) & 1;
        atomic_store_explicit(&s->held, HELD_NOT, memory_order_relaxed);
        if (!held || marked) continue;
        s->age++;
        span_touch(s);
        bytes += s->stride;
    }
    pool.held_count = 0;
    return bytes;
}

/* Scans the marked objects of a span as far as they lie in [from, to). */
static void marked_scan(marker *m, const span *s, uintptr_t from, uintptr_t to) {
    bool large = s->state == SPAN_LARGE;
    uintptr_t start = span_start(s);
    uint32_t first = large ? 0 : span_index(s, from);
    uint32_t last = large ? 1 : (uint32_t)min_size(span_index(s, to - 1) + 1, s->count);
    for (uint32_t w = first / 64; w * 64 < last; w++) {
        uint64_t marks = ebb__mark_kept(s, w);
        for (; marks; marks &= marks - 1) {
            uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(marks);
            uintptr_t object = start + index * s->stride, end = object + s->stride;
            if (index < first || index >= last || end <= from || object >= to) continue;
            os_range r = {max_size(object, from), min_size(end, to)};
            if (EBB__RARE(__atomic_load_n(&s->extents, __ATOMIC_RELAXED)))
                ebb__extent_clip(s, object, &r);
            if (r.start < r.end) part_scan(m, s, object, r.start, r.end);
        }
    }
}

/* Scans the marked objects in a range of pages that changed. */
static void changed_scan(marker *m, uintptr_t from, uintptr_t to) {
    while (from < to) {
        const span *s = ebb__span_at(from);
        uintptr_t end = round_down(from, PAGE) + PAGE;
        if (s) end = span_end(s);
        if (s && s->bin->layout->kind != LAYOUT_TRACED) marked_scan(m, s, from, min_size(end, to));
        from = end;
    }
}

__attribute__((no_sanitize("address", "thread"))) static inline uintptr_t root_load(uintptr_t at) {
    return __atomic_load_n((uintptr_t *)at, __ATOMIC_RELAXED);
}

static void root_words(marker *m, uintptr_t start, uintptr_t end) {
    for (uintptr_t at = start; end - at >= sizeof(void *); at += sizeof(void *)) {
        uintptr_t word = root_load(at);
        if (space_has(word) && !root_holds(m, word)) item_push(m, word);
    }
}

/* Most words of roots are no pointers: four are asked at a time. */
static void roots_scan(marker *m, uintptr_t start, uintptr_t end) {
    enum { WORD = sizeof(void *), AT_ONCE = 4 * WORD };
    uintptr_t base = ebb__space.base, bytes = 2 * ebb__space.zone_bytes, at = start;
    for (; end - at >= AT_ONCE; at += AT_ONCE) {
        bool first = root_load(at) - base < bytes, second = root_load(at + WORD) - base < bytes;
        bool third = root_load(at + 2 * WORD) - base < bytes,
             fourth = root_load(at + 3 * WORD) - base < bytes;
        if (first | second | third | fourth) root_words(m, at, at + AT_ONCE);
    }
    root_words(m, at, end);
}

/* Sends a word through the queue, and marks the one whose turn it is. */
static inline void word_step(marker *m, uintptr_t word) {
    size_t page = (word - ebb__space.base) >> PAGE_SHIFT;
    __builtin_prefetch((void *)word);
    __builtin_prefetch(&ebb__space.mark[page * BITMAP_WORDS]);
    __builtin_prefetch(&ebb__space.alloc[page * BITMAP_WORDS]);
    uint32_t at = m->queue_at++ % QUEUE;
    uintptr_t turn = m->queue[at];
    m->queue[at] = word;
    if (turn) word_mark(m, turn);
}

static void tagged_step(marker *m, mark_item item) {
    if ((item & ARRAY_TAG) == ARRAY_TAG) {
        array_scan(m, item & ~ARRAY_TAG);
        return;
    }
    const span *s = span_at((uint32_t)(item >> PIECE_SHIFT));
    uintptr_t number = item & PIECE_NUMBERS;
    if (item & RUN_TAG)
        run_scan(m, s, number, item >> RUN_SHIFT & RUN_LEVEL);
    else
        piece_scan(m, s, number);
}

static void item_step(marker *m, mark_item item) {
    if (EBB__LIKELY(!(item & PIECE_TAG)))
        word_step(m, item);
    else
        tagged_step(m, item);
}

static bool queue_drain(marker *m) {
    bool any = false;
    for (int i = 0; i < QUEUE; i++) {
        uintptr_t word = m->queue[i];
        m->queue[i] = 0;
        if (!word) continue;
        word_mark(m, word);
        any = true;
    }
    return any;
}

/* --- Running -------------------------------------------------------------------------------------
 */

/* The next piece of a list that nobody has taken. */
static bool piece_next(struct mark_list *list, os_range *piece) {
    uint64_t at = atomic_load_explicit(&list->next, memory_order_relaxed);
    for (;;) {
        size_t index = at >> 32, part = at & UINT32_MAX;
        if (!list->ranges || index >= list->ranges->count) return false;
        os_range r = list->ranges->items[index];
        uintptr_t start = r.start + part * ROOT_PIECE;
        bool last = r.end - start <= ROOT_PIECE;
        uint64_t next = last ? (uint64_t)(index + 1) << 32 : at + 1;
        if (!atomic_compare_exchange_weak_explicit(&list->next, &at, next, memory_order_relaxed,
                                                   memory_order_relaxed))
            continue;
        *piece = (os_range){start, last ? r.end : start + ROOT_PIECE};
        return true;
    }
}

/* Somebody has nothing to do, another marker or a thread that would help. */
static inline bool others_wait(void) {
    return atomic_load_explicit(&pool.idle, memory_order_relaxed) > 0 ||
           atomic_load_explicit(&pool.hungry, memory_order_relaxed);
}

/* Scans so many items. True when the marker has nothing left, and nobody offers anything. */
static bool marker_drain(marker *m, size_t most) {
    for (;;) {
        while (m->work && m->work->count > 0) {
            if (most-- == 0) return false;
            item_step(m, m->work->items[--m->work->count]);
            if (pool.parallel && m->work->count >= SHARE_FROM && others_wait() &&
                atomic_load_explicit(&pool.full_count, memory_order_relaxed) == 0)
                packet_share(m);
        }
        if (queue_drain(m)) continue;
        packet *more = packet_take_full();
        if (!more) return true;
        ebb__yield_point(16);
        if (m->work) packet_put(m->work, false);
        m->work = more;
    }
}

/* Waits for work of others. False when all markers wait: there is none. */
static bool marker_idle(void) {
    atomic_fetch_add(&pool.idle, 1);
    for (;;) {
        uint32_t events = atomic_load(&pool.events);
        if (atomic_load(&pool.full_count) > 0) {
            atomic_fetch_sub(&pool.idle, 1);
            return true;
        }
        uint32_t helpers = atomic_load(&pool.helpers);
        uint32_t idle = atomic_load(&pool.idle);
        if (idle == atomic_load(&pool.markers) && (helpers & HELPERS) == 0) {
            if (atomic_load(&pool.full_count) > 0) continue;     /* what a helper had left */
            if (atomic_load(&pool.helpers) != helpers) continue; /* and the next one took */
            if (idle > 1) pool_tell(true);
            return false;
        }
        ebb__os_wait(&pool.events, events, 1000000);
    }
}

static void mark_part(bool giver) {
    marker fresh = {0}, *m = giver ? &mark_local : &fresh;
    os_range piece;
    atomic_fetch_add(&pool.markers, 1);
    do {
        while (piece_next(&pool.changed, &piece)) {
            changed_scan(m, piece.start, piece.end);
            marker_drain(m, SIZE_MAX);
        }
        while (piece_next(&pool.roots, &piece)) {
            roots_scan(m, piece.start, piece.end);
            marker_drain(m, SIZE_MAX);
        }
        marker_drain(m, SIZE_MAX);
    } while (marker_idle());
    marker_tell(m);
    if (fresh.work) packet_put(fresh.work, false);
}

bool ebb__mark_help(void) {
    enum { ITEMS = 1000 };
    marker m = {0};
    bool none = atomic_load_explicit(&pool.full_count, memory_order_relaxed) == 0;
    atomic_store_explicit(&pool.hungry, none, memory_order_relaxed);
    if (none) return false;
    ebb__critical_enter();
    uint64_t start = ebb__os_now_ns();
    atomic_fetch_add(&pool.helpers, HELPER_BEGINS);
    m.work = packet_take_full();
    bool any = m.work != NULL;
    for (int i = 0; any && i < ITEMS && m.work->count > 0; i++)
        item_step(&m, m.work->items[--m.work->count]);
    if (any) queue_drain(&m);
    if (m.work) packet_put(m.work, m.work->count > 0);
    marker_tell(&m);
    bool last = (atomic_fetch_sub(&pool.helpers, 1) & HELPERS) == 1;
    if (last && atomic_load(&pool.idle) > 0) pool_tell(true);
    ebb__critical_leave();
    ebb__crew_charge(ebb__os_now_ns() - start);
    return any;
}

uint64_t ebb__mark_progress(void) {
    return atomic_load_explicit(&pool.done_bytes, memory_order_relaxed);
}

/* --- Runs
 * ------------------------------------------------------------------------------------------- */

/* Of what others were doing when the process forked nothing can be used; lists that they may have
 * been changing are let go. */
void ebb__mark_forked(void) {
    pool.lock = (os_lock){0};
    pool.full = pool.empty = NULL;
    pool.beside = pool.parallel = false;
    ebb__extents_forked();
    atomic_store_explicit(&pool.helpers, 0, memory_order_relaxed);
    atomic_store_explicit(&pool.full_count, 0, memory_order_relaxed);
    atomic_store_explicit(&pool.done_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&pool.done_objects, 0, memory_order_relaxed);
    mark_local = (marker){0};
    pool.held_count = 0; /* the first cycle is full and clears the spans' own */
}

static void list_set(struct mark_list *list, const os_ranges *ranges) {
    list->ranges = ranges;
    atomic_store_explicit(&list->next, 0, memory_order_relaxed);
}

void ebb__mark_beside(bool beside) {
    pool.beside = pool.parallel = beside;
}

/* What hangs from nothing that is listed is mostly little, and done before others are awake. */
static bool marked_alone(void) {
    enum { ITEMS = 16, ROUNDS = 256 }; /* items may be pieces of arrays */
    bool done = false;
    for (int i = 0; i < ROUNDS && !done && !pool.beside && mark_local.bytes < MIB; i++)
        done = marker_drain(&mark_local, ITEMS);
    if (done) marker_tell(&mark_local);
    return done;
}

void ebb__mark_run(const os_ranges *roots, const os_ranges *changed, unsigned most,
                   mark_totals *totals) {
    uint64_t cpu = ebb__os_thread_cpu_ns();
    list_set(&pool.roots, roots);
    list_set(&pool.changed, changed);
    if (roots || changed || !marked_alone()) {
        unsigned size = ebb__crew_size(most); /* asked once: a thread may come between */
        if (!pool.beside) pool.parallel = size > 1;
        atomic_store_explicit(&pool.idle, 0, memory_order_relaxed);
        atomic_store_explicit(&pool.markers, 0, memory_order_relaxed);
        ebb__crew_run(mark_part, size);
        if (!pool.beside) pool.parallel = false;
    }
    totals->cpu_ns += ebb__os_thread_cpu_ns() - cpu + ebb__crew_charged();
}

void ebb__mark_totals(mark_totals *totals) {
    totals->bytes = atomic_exchange_explicit(&pool.done_bytes, 0, memory_order_relaxed);
    totals->objects = atomic_exchange_explicit(&pool.done_objects, 0, memory_order_relaxed);
}

/* Through memory that is not searched: what a copy on a stack refers to would be kept. */
bool ebb__mark_hints(uintptr_t start, uintptr_t end) {
    enum { COPY = 128 * 1024 };
    static uintptr_t *words; /* the owner's */
    if (!words) words = ebb__os_map(COPY, OS_METADATA);
    bool whole = words != NULL;
    for (; whole && start < end; start += COPY) {
        size_t want = min_size(COPY, end - start), got = ebb__os_peek(words, start, want);
        roots_scan(&mark_local, (uintptr_t)words,
                   (uintptr_t)words + round_down(got, sizeof *words));
        whole = got == want;
    }
    return whole;
}

enum { CLEAR_GROUP = 512 };

static void marks_clear(uint32_t number) {
    span *s = span_at(number);
    if (__atomic_load_n(&s->state, __ATOMIC_ACQUIRE) < SPAN_SMALL) return;
    atomic_store_explicit(&s->held, HELD_NOT, memory_order_relaxed);
    if (s->extents) __atomic_store_n(&s->extents, 0, __ATOMIC_RELAXED);
    _Atomic(uint64_t) *mark = span_mark_bits(s);
    for (uint32_t w = 0; w * 64 < s->count; w++)
        if (atomic_load_explicit(&mark[w], memory_order_relaxed))
            atomic_store_explicit(&mark[w], 0, memory_order_relaxed);
}

static void marks_clear_part(bool giver) {
    uint32_t count = ebb__space.span_count, from;
    (void)giver;
    while ((from = ebb__crew_take() * CLEAR_GROUP) < count)
        for (uint32_t n = from ? from : 1; n < count && n < from + CLEAR_GROUP; n++) marks_clear(n);
}

/* Of a cycle that was given up. There may be pieces of objects among them that are no more. */
static void hints_drop(void) {
    if (mark_local.work) mark_local.work->count = 0;
    memset(mark_local.queue, 0, sizeof mark_local.queue);
    for (packet *p; (p = packet_take_full()) != NULL;) packet_put(p, false);
}

void ebb__mark_forget(unsigned most) {
    pool.held_count = 0;
    hints_drop();
    unsigned parts = 1 + ebb__space.span_count / (4 * CLEAR_GROUP);
    ebb__crew_run(marks_clear_part, most ? (unsigned)min_size(most, parts) : parts);
    ebb__extents_begin();
}

/* --- For the rest of the collector [world stopped]
 * ---------------------------------------------------- */

void ebb__mark_word(uintptr_t word) {
    word_mark(&mark_local, word);
}

void ebb__mark_root(uintptr_t word) {
    if (space_has(word) && !root_holds(&mark_local, word)) word_mark(&mark_local, word);
}

bool ebb__mark_is_dead(uintptr_t word) {
    uint32_t index;
    const span *s = ebb__span_at(word);
    if (!s || !span_find(s, word, &index)) return false;
    return !span_marked(s, index) &&
           !(s->state == SPAN_LARGE &&
             atomic_load_explicit(&s->held, memory_order_relaxed) == HELD_STOP);
}

bool ebb__mark_is_old(uintptr_t word) {
    uint32_t index;
    const span *s = ebb__span_at(word);
    if (s && span_find(s, word, &index)) return span_marked(s, index);
    return !space_has(word);
}

void ebb__mark_fields(uintptr_t p, bool itself) {
    uint32_t index;
    const span *s = ebb__span_at(p);
    if (!s || !span_find(s, p, &index) || s->zone == ZONE_DATA) return;
    const struct ebb__layout *l = s->bin->layout;
    if (l->kind == LAYOUT_TRACED) {
        ebb__traced_fields(s, span_start(s) + index * s->stride, itself);
        return;
    }
    bool typed = l->kind == LAYOUT_TYPED;
    size_t step = typed ? l->element : sizeof(void *);
    uint32_t slices = ebb__extents_on ? l->slice_count : 0;
    uint32_t count = typed ? l->strong_count - slices : 1;
    uintptr_t object = span_start(s) + index * s->stride;
    for (size_t at = 0; at + step <= s->stride; at += step) {
        for (uint32_t i = 0; i < count; i++) {
            uintptr_t word = *(uintptr_t *)(object + at + (typed ? l->strong[i] : 0));
            if (itself || word - object >= s->stride) word_push(&mark_local, word);
        }
        for (uint32_t i = 0; i < slices; i++) {
            slice_reach reach = slice_load(object + at, &l->slices[i]);
            if (itself || reach.ptr - object >= s->stride) slice_mark(&mark_local, &reach);
        }
    }
}

void ebb__mark_drop_empty(void) {
    for (heap_thread *t = ebb__threads; t; t = t->next)
        for (int i = 0; i < SLOTS; i++) ebb__slot_drop_empty(t, &t->slots[i]);
}
