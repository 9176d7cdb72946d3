/* runtime.c - what language runtimes add to the collector: objects that trace themselves, roots
 * that are computed, calls at the turns of a cycle. docs/design.md, "Language runtimes".
 *
 * Functions of the program's run in stops alone, on the thread that made them: a tracer may read
 * memory whose changes nobody notes, and structures that the program is changing beside us would
 * not be whole. So marking passes over traced objects, but for marking them; in the last stop each
 * that is marked is traced, old ones included, and what was marked so goes on as usual, until
 * nothing new is traced. A short stop before asks the same, so that what hangs from there has been
 * marked beside the program when the last one asks again. */
#include "collector.h"

_Atomic(const ebb_runtime *) ebb__runtime;

static _Atomic(unsigned) gc_holds; /* sequentially consistent, before the collector's lock */
static bool traced_exist;          /* some layout is traced; set before there is one, for good */

/* Objects to be traced: as marking finds them once the traced ones were looked for. [traced_lock]
 */
static os_lock traced_lock;
static uintptr_t *traced_items;
static size_t traced_count, traced_room;
static bool traced_lost;     /* no memory for the list: look at all again */
static uint32_t traced_next; /* the span from which on they are still to be looked for */
bool ebb__traced_begun;

struct ebb_marker {
    enum { MARK_WHOLE, MARK_HELD, MARK_VISIT } kind; /* HELD: for roots, see root_holds in mark.c */
    os_range self; /* words that point here are passed over; empty: none */
    void (*visit)(uintptr_t word, void *arg);
    void *arg;
};

/* --- Marking [world stopped] ------------------------------------------------------------------ */

static void marker_word(const ebb_marker *m, uintptr_t word) {
    if (m->kind == MARK_VISIT)
        m->visit(word, m->arg);
    else if (m->kind == MARK_HELD)
        ebb__mark_root(word);
    else if (word - m->self.start >= m->self.end - m->self.start)
        ebb__mark_word(word);
}

void ebb_mark(ebb_marker *marker, const void *p) {
    marker_word(marker, (uintptr_t)p);
}

__attribute__((no_sanitize("address", "thread"))) void
ebb_mark_range(ebb_marker *marker, const void *start, const void *end) {
    uintptr_t at = round_up((uintptr_t)start, sizeof(void *));
    for (; at + sizeof(void *) <= (uintptr_t)end; at += sizeof(void *))
        marker_word(marker, *(volatile const uintptr_t *)at);
}

bool ebb_is_marked(const void *p) {
    return !ebb__mark_is_dead((uintptr_t)p);
}

void ebb_is_marked_ahead(const void *p) {
    if (space_has((uintptr_t)p)) object_prefetch((uintptr_t)p);
}

static void traced_call(const span *s, uintptr_t object, ebb_marker *marker) {
    const struct ebb__layout *l = s->bin->layout;
    l->tracer((void *)object, span_room(s), marker, l->env);
}

void ebb__traced_visit(const span *s, uintptr_t object, void (*visit)(uintptr_t word, void *arg),
                       void *arg) {
    ebb_marker marker = {.kind = MARK_VISIT, .visit = visit, .arg = arg};
    traced_call(s, object, &marker);
}

void ebb__traced_fields(const span *s, uintptr_t object, bool itself) {
    ebb_marker marker = {.kind = MARK_WHOLE};
    if (!itself) marker.self = (os_range){object, object + s->stride};
    traced_call(s, object, &marker);
}

static bool traced_grow(void) {
    size_t room = max_size(2 * traced_room, 8192);
    uintptr_t *larger = ebb__os_enlarge(traced_items, traced_room * sizeof(uintptr_t),
                                        traced_count * sizeof(uintptr_t), room * sizeof(uintptr_t));
    if (!larger) return false;
    traced_items = larger;
    traced_room = room;
    return true;
}

void ebb__traced_note(uintptr_t object) {
    ebb__critical_lock(&traced_lock);
    if (traced_count < traced_room || traced_grow())
        traced_items[traced_count++] = object;
    else
        traced_lost = true;
    ebb__critical_unlock(&traced_lock);
}

static void traced_restart(void) {
    traced_lost = false;
    traced_count = 0;
    traced_next = 1;
}

/* All that are marked or held, as far as there is time. */
static void traced_look(ebb_marker *marker, uint64_t until) {
    enum { PASSED = 1024 }; /* spans between two looks at the clock */
    for (; traced_next < ebb__space.span_count; traced_next++) {
        const span *s = span_at(traced_next);
        bool has = s->state >= SPAN_SMALL && s->bin->layout->kind == LAYOUT_TRACED;
        if ((has || traced_next % PASSED == 0) && ebb__os_now_ns() >= until) return;
        if (!has) continue;
        for (uint32_t w = 0; w * 64 < s->count; w++)
            for (uint64_t kept = ebb__mark_kept(s, w); kept; kept &= kept - 1) {
                uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(kept);
                traced_call(s, span_start(s) + index * s->stride, marker);
            }
    }
}

/* Those that were found since. What a tracer marks may be found while they are called, so the list
 * grows below its end. */
static void traced_found(ebb_marker *marker, uint64_t until) {
    enum { CALLED = 64 }; /* calls between two looks at the clock */
    if (traced_lost) traced_restart();
    traced_look(marker, until);
    for (unsigned i = 0; traced_count > 0; i++) {
        if (i % CALLED == 0 && ebb__os_now_ns() >= until) return;
        uintptr_t object = traced_items[--traced_count];
        traced_call(ebb__span_at(object), object, marker);
    }
}

void ebb__traced_run(bool first, mark_totals *totals) {
    ebb_marker marker = {.kind = MARK_WHOLE};
    if (!traced_exist) return;
    if (first) {
        ebb__traced_begun = false;
        traced_restart();
        traced_look(&marker, UINT64_MAX);
        ebb__mark_run(NULL, NULL, 0, totals);
    }
    while (traced_count > 0 || traced_lost) {
        traced_found(&marker, UINT64_MAX);
        ebb__mark_run(NULL, NULL, 0, totals);
    }
}

bool ebb__traced_wanted(void) {
    const ebb_runtime *r = atomic_load_explicit(&ebb__runtime, memory_order_acquire);
    return traced_exist || (r && r->roots);
}

void ebb__traced_hints(uint64_t until) {
    ebb_marker marker = {.kind = MARK_WHOLE};
    ebb__runtime_roots();
    if (!traced_exist) return;
    if (!ebb__traced_begun) traced_restart();
    ebb__traced_begun = true;
    traced_found(&marker, until);
}

bool ebb__traced_left(size_t enough) {
    return ebb__traced_begun &&
           (traced_lost || traced_next < ebb__space.span_count || traced_count > enough);
}

/* A marker may have been at it. */
void ebb__traced_forked(void) {
    traced_lock = (os_lock){0};
    traced_items = NULL;
    traced_count = traced_room = 0;
    ebb__traced_begun = false;
}

/* --- At the turns of a cycle ------------------------------------------------------------------ */

static const ebb_runtime *runtime_get(void) {
    return atomic_load_explicit(&ebb__runtime, memory_order_acquire);
}

void ebb__runtime_stopping(void) {
    const ebb_runtime *r = runtime_get();
    if (r && r->stopping) r->stopping();
}

static void runtime_roots(ebb_marker marker) {
    const ebb_runtime *r = runtime_get();
    if (r && r->roots) r->roots(&marker);
}

void ebb__runtime_roots(void) {
    runtime_roots((ebb_marker){.kind = MARK_HELD});
}

void ebb__runtime_visit(void (*visit)(uintptr_t word, void *arg), void *arg) {
    runtime_roots((ebb_marker){.kind = MARK_VISIT, .visit = visit, .arg = arg});
}

void ebb__runtime_marked(bool finalizers) {
    const ebb_runtime *r = runtime_get();
    if (r && r->marked) r->marked(finalizers);
}

void ebb__runtime_stopped(void) {
    const ebb_runtime *r = runtime_get();
    if (r && r->stopped) r->stopped(ebb__finalizers_due());
}

int ebb_runtime_set(const ebb_runtime *runtime) {
    const ebb_runtime *none = NULL;
    if (!runtime)
        return ebb__misuse(EBB_EINVAL, "ebb_runtime_set", "the pointer to the calls is null");
    if (!ebb__heap_start()) return EBB_ENOMEM;
    bool set = atomic_compare_exchange_strong_explicit(&ebb__runtime, &none, runtime,
                                                       memory_order_acq_rel, memory_order_acquire);
    return set || none == runtime ? 0 : EBB_EBUSY;
}

/* --- Holding collections back ------------------------------------------------------------------
 */

bool ebb__gc_held(void) {
    return atomic_load(&gc_holds) > 0;
}

unsigned ebb_gc_hold(void) {
    if (!ebb__heap_start()) return 0;
    unsigned holds = atomic_fetch_add(&gc_holds, 1) + 1;
    ebb__os_lock(&ebb__collector_lock); /* one that is ending has ended when we return */
    ebb__os_unlock(&ebb__collector_lock);
    return holds;
}

unsigned ebb_gc_allow(void) {
    unsigned holds = atomic_load(&gc_holds);
    do {
        if (holds > 0) continue;
        ebb__misuse(EBB_EINVAL, "ebb_gc_allow", "nothing holds collections back");
        return 0;
    } while (holds > 0 && !atomic_compare_exchange_weak(&gc_holds, &holds, holds - 1));
    return holds - 1;
}

void ebb_stop_defer(void) {
    ebb__critical_enter();
}

void ebb_stop_allow(void) {
    if (ebb__critical.depth == 0) {
        ebb__misuse(EBB_EINVAL, "ebb_stop_allow", "stops are not deferred");
        return;
    }
    ebb__critical_leave();
}

int ebb_stop_signal(void) {
    return ebb__heap_start() ? ebb__settings.signal : 0;
}

/* --- Layouts -----------------------------------------------------------------------------------
 */

ebb_layout *ebb_layout_words(const char *name) {
    return ebb__layout_own(name, LAYOUT_WORDS, NULL, 0);
}

ebb_layout *ebb_layout_data(const char *name) {
    return ebb__layout_own(name, LAYOUT_DATA, NULL, 0);
}

ebb_layout *ebb_layout_traced(const char *name, ebb_tracer tracer, uintptr_t env) {
    if (!tracer) {
        ebb__misuse(EBB_EINVAL, "ebb_layout_traced", "the tracer is null");
        return NULL;
    }
    traced_exist = true;
    return ebb__layout_own(name, LAYOUT_TRACED, tracer, env);
}

ebb_layout *ebb_layout_bitmap(const char *name, size_t size, const uint64_t *bits, size_t count) {
    size_t words = size / sizeof(void *), fields = 0;
    if (size == 0 || size % sizeof(void *) != 0 || count > words || (count > 0 && !bits)) {
        ebb__misuse(EBB_EINVAL, "ebb_layout_bitmap", "%zu bits for an object of %zu bytes", count,
                    size);
        return NULL;
    }
    if (!ebb__heap_start()) return NULL;
    size_t bytes = round_up((count + 1) * sizeof(ebb__field), ebb__os_page_size());
    ebb__field *list = ebb__os_map(bytes, OS_METADATA);
    if (!list) return NULL;
    for (size_t i = 0; i < count; i++)
        if (bits[i / 64] >> (i % 64) & 1)
            list[fields++] = (ebb__field){(uint32_t)(i * sizeof(void *)), EBB__FIELD_PTR, 0, NULL};
    list[fields] = (ebb__field){0, EBB__FIELD_END, 0, NULL};
    ebb_layout *layout = ebb__layout_make(name ? name : "", size, list, EBB__USE_OBJECT);
    ebb__os_unmap(list, bytes, OS_METADATA);
    return layout;
}

int ebb_heap_bounds(const void **start, const void **end) {
    if (!ebb__heap_start()) return EBB_ENOMEM;
    *start = (const void *)ebb__space.base;
    *end = (const void *)(ebb__space.base + 2 * ebb__space.zone_bytes);
    return 0;
}
