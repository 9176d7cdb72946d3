/* checkmark.c - a second trace that shares nothing with the first. docs/testing.md, "The second
 * trace".
 *
 * Under EBB_DEBUG=checkmark=1, in the last stop of each cycle, between marking and sweeping: one
 * thread, one stack, a map of its own of what it has seen, its own reading of spans and layouts.
 * It begins at the same roots and follows every reference, whether written lately or not, so what a
 * minor cycle leaves out because nobody is said to have written it is looked at here. An object
 * that it reaches and that has no mark would be freed while in use: it aborts with the way there.
 *
 * Its memory is the system's and goes back after; where there is none, the cycle is not counted. */
#include "collector.h"

enum { CHECK_GRAIN = STRIDE_MIN, CHECK_WHOLE = 128 * 1024 };

typedef struct check {
    const cycle_record *cycle;
    uint64_t *seen[ZONE_COUNT]; /* a bit for each sixteen bytes: an object that begins there */
    size_t seen_bytes[ZONE_COUNT];
    uintptr_t *stack; /* objects that were reached and not scanned yet */
    size_t depth, stack_bytes;
    uint64_t objects;
    bool short_of_memory;
} check;

_Atomic(uint64_t) ebb__checkmark_cycles;
static _Atomic(uint64_t) check_objects; /* that they reached; relaxed, as the cycles */
static _Atomic(int) check_process;      /* whose numbers these are; relaxed */

/* --- Where a word points ---------------------------------------------------------------------- */

typedef struct check_place {
    const span *span;
    uintptr_t object;
    size_t index;
} check_place;

static bool check_bit(_Atomic(uint64_t) *bits, size_t index) {
    return atomic_load_explicit(&bits[index / 64], memory_order_relaxed) >> (index % 64) & 1;
}

/* The object that a word points into, or one past. By division, not by the reciprocal. */
static bool check_find(uintptr_t word, check_place *place) {
    const space *sp = &ebb__space;
    if (word < sp->base || word >= sp->base + 2 * sp->zone_bytes) return false;
    const zone *z = &sp->zones[word < sp->middle ? ZONE_SCAN : ZONE_DATA];
    size_t page = (word - sp->base) / PAGE;
    if (page < z->first_page || page >= (size_t)z->first_page + z->used_pages) return false;
    const span *s = &sp->spans[atomic_load_explicit(&sp->span_of[page], memory_order_relaxed)];
    if (s->state != SPAN_SMALL && s->state != SPAN_LARGE) return false;
    if (page < s->first_page || page >= (size_t)s->first_page + s->pages) return false;
    uintptr_t start = sp->base + (uintptr_t)s->first_page * PAGE;
    size_t index = s->state == SPAN_LARGE ? 0 : (word - start) / s->stride;
    if (s->state == SPAN_LARGE ? word - start > s->stride : index >= s->count) return false;
    *place = (check_place){s, start + index * s->stride, index};
    return check_bit(&sp->alloc[(size_t)s->first_page * BITMAP_WORDS], index);
}

/* Marked, or a large object that roots alone hold. */
static bool check_marked(const check_place *place) {
    return !ebb__mark_is_dead(place->object);
}

/* --- What is said when one is missing --------------------------------------------------------- */

static const char *check_written(uintptr_t address) {
    const os_ranges *changed = ebb__dirty_changed();
    if (!changed) return "nothing is known of what was written";
    for (size_t i = 0; i < changed->count; i++)
        if (address >= changed->items[i].start && address < changed->items[i].end)
            return "its page was reported as written";
    return "its page was not reported as written";
}

static void check_describe(char *text, size_t size, const check_place *place) {
    static const char *const kinds[] = {"data", "words", "typed"};
    const span *s = place->span;
    const struct ebb__layout *l = s->bin->layout;
    snprintf(text, size, "%p (%s \"%s\", stride %zu; span %u, %s, %s, %s, %s)",
             (void *)place->object, kinds[l->kind], l->name, (size_t)s->stride, span_number(s),
             s->state == SPAN_LARGE ? "large" : "small", s->owned ? "owned" : "not owned",
             s->armed ? "armed" : "not armed",
             span_bit(ebb__space.young, span_number(s)) ? "young" : "old");
}

/* from: the object with the reference, if it is not a root; at: where the reference stands. */
static __attribute__((noreturn, cold)) void check_fail(const check *c, const check_place *lost,
                                                       uintptr_t from, uintptr_t at) {
    char object[256], referrer[256] = "a root";
    check_place place;
    check_describe(object, sizeof object, lost);
    if (from && check_find(from, &place)) check_describe(referrer, sizeof referrer, &place);
    ebb__fail("checkmark",
              "cycle %llu, %s, %s, %u rounds: no mark has %s; reached from %p in %s, %s",
              (unsigned long long)c->cycle->number, c->cycle->full ? "full" : "minor",
              c->cycle->beside ? "beside the program" : "in one stop", c->cycle->rounds, object,
              (void *)at, referrer, from ? check_written(at) : "searched in this stop");
}

/* --- The trace -------------------------------------------------------------------------------- */

static void check_push(check *c, uintptr_t object) {
    if ((c->depth + 1) * sizeof(uintptr_t) > c->stack_bytes) {
        uintptr_t *larger =
            ebb__os_enlarge(c->stack, c->stack_bytes, c->stack_bytes, 2 * c->stack_bytes);
        if (!larger) {
            c->short_of_memory = true;
            return;
        }
        c->stack = larger;
        c->stack_bytes *= 2;
    }
    c->stack[c->depth++] = object;
}

/* True the first time. */
static bool check_see(check *c, const check_place *place) {
    bool data = place->object >= ebb__space.middle;
    size_t grain = (place->object - page_address(ebb__space.zones[data].first_page)) / CHECK_GRAIN;
    uint64_t *word = &c->seen[data][grain / 64], bit = (uint64_t)1 << (grain % 64);
    if (*word & bit) return false;
    *word |= bit;
    return true;
}

static void check_word(check *c, uintptr_t word, uintptr_t from, uintptr_t at) {
    check_place place;
    if (!check_find(word, &place) || !check_see(c, &place)) return;
    if (!check_marked(&place)) check_fail(c, &place, from, at);
    c->objects++;
    if (place.span->bin->layout->kind != LAYOUT_DATA) check_push(c, place.object);
}

/* Stacks hold what sanitizers call out of bounds. */
__attribute__((no_sanitize("address", "thread"))) static void
check_words(check *c, uintptr_t start, uintptr_t end, uintptr_t from) {
    for (uintptr_t at = start; at + sizeof(uintptr_t) <= end; at += sizeof(uintptr_t))
        check_word(c, *(volatile uintptr_t *)at, from, at);
}

/* The fields that stand in [start, end). */
static void check_elements(check *c, const check_place *place, uintptr_t start, uintptr_t end) {
    const struct ebb__layout *l = place->span->bin->layout;
    size_t last = place->span->stride / l->element;
    for (size_t i = (start - place->object) / l->element; i < last; i++) {
        uintptr_t element = place->object + i * l->element;
        if (element >= end) return;
        for (uint32_t k = 0; k < l->strong_count; k++) {
            uintptr_t at = element + l->strong[k];
            if (at >= start && at < end)
                check_word(c, *(volatile uintptr_t *)at, place->object, at);
        }
    }
}

static void check_part(check *c, const check_place *place, uintptr_t start, uintptr_t end) {
    if (place->span->bin->layout->kind == LAYOUT_TYPED)
        check_elements(c, place, start, end);
    else
        check_words(c, start, end, place->object);
}

static void check_traced(uintptr_t word, void *arg) {
    check_word(arg, word, 0, 0);
}

/* Pages of large objects that were never touched are not made resident. */
static void check_object(check *c, uintptr_t object) {
    check_place place;
    if (!check_find(object, &place)) return;
    if (place.span->bin->layout->kind == LAYOUT_TRACED) {
        ebb__traced_visit(place.span, object, check_traced, c);
        return;
    }
    uintptr_t end = object + place.span->stride;
    if (place.span->stride <= CHECK_WHOLE) {
        check_part(c, &place, object, end);
        return;
    }
    void *at = (void *)object, *stop = at;
    while ((at = ebb__os_resident(at, (void *)end, &stop)) < (void *)end) {
        check_part(c, &place, (uintptr_t)at, min_size((uintptr_t)stop, end));
        if ((uintptr_t)stop >= end) return;
        at = stop;
    }
}

static void check_drain(check *c) {
    while (c->depth > 0) check_object(c, c->stack[--c->depth]);
}

static void check_root(uintptr_t word, void *arg) {
    check_word(arg, word, 0, 0);
    check_drain(arg);
}

/* --- A cycle's check -------------------------------------------------------------------------- */

static bool check_begin(check *c) {
    c->stack_bytes = 256 * KIB;
    c->stack = ebb__os_map(c->stack_bytes, OS_METADATA);
    bool good = c->stack != NULL;
    for (int i = 0; i < ZONE_COUNT; i++) {
        size_t bytes = (size_t)ebb__space.zones[i].used_pages * (PAGE / CHECK_GRAIN / 8);
        c->seen_bytes[i] = round_up(max_size(bytes, 1), ebb__os_page_size());
        c->seen[i] = ebb__os_map(c->seen_bytes[i], OS_METADATA);
        good &= c->seen[i] != NULL;
    }
    return good;
}

static void check_end(check *c) {
    if (c->stack) ebb__os_unmap(c->stack, c->stack_bytes, OS_METADATA);
    for (int i = 0; i < ZONE_COUNT; i++)
        if (c->seen[i]) ebb__os_unmap(c->seen[i], c->seen_bytes[i], OS_METADATA);
}

/* A forked child counts its own. */
static void check_count(const check *c) {
    int process = ebb__os_pid();
    if (atomic_exchange_explicit(&check_process, process, memory_order_relaxed) != process) {
        atomic_store_explicit(&ebb__checkmark_cycles, 0, memory_order_relaxed);
        atomic_store_explicit(&check_objects, 0, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&ebb__checkmark_cycles, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&check_objects, c->objects, memory_order_relaxed);
}

void ebb__checkmark(const cycle_record *cycle, const root_set *roots) {
    check c = {.cycle = cycle};
    if (check_begin(&c)) {
        for (size_t i = 0; i < roots->ranges.count; i++) {
            check_words(&c, roots->ranges.items[i].start, roots->ranges.items[i].end, 0);
            check_drain(&c);
        }
        ebb__finalizers_roots(check_root, &c);
        ebb__runtime_visit(check_root, &c);
        if (!c.short_of_memory) check_count(&c);
    }
    check_end(&c);
}

static void check_report(void) {
    uint64_t cycles = atomic_load_explicit(&ebb__checkmark_cycles, memory_order_relaxed);
    if (atomic_load_explicit(&check_process, memory_order_relaxed) != ebb__os_pid()) return;
    ebb__warn("checkmark: %llu cycles verified, %llu objects", (unsigned long long)cycles,
              (unsigned long long)atomic_load_explicit(&check_objects, memory_order_relaxed));
}

void ebb__checkmark_start(void) {
    atexit(check_report);
}
