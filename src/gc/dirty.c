/* dirty.c - which old objects may have changed: the collector's write barrier, by pages.
 * docs/design.md, "Dirty pages".
 *
 * Objects that survived a cycle keep their marks, and what they refer to was marked with them. That
 * stays true of a page that nobody writes to, so only marked objects on pages that were written
 * have to be looked at again, in the part that lies there.
 *
 *   armed     a span, the writes to which the system notes; its pages are in a range of `armed`
 *   exposed   a span that is not armed and holds marked objects: all of it counts as written
 *
 * A span is armed when it is first found to hold something that survives, not when it is made: the
 * first write to an armed page costs a microsecond, and most young objects die unarmed. Always is a
 * page armed before what stands on it is looked at: a write is then either seen by the look, or
 * noted. Ranges also hold spans that are not armed, so that there are few: their pages stay as they
 * are, for most of them are young, and would only cost the program a fault each. */
#include "collector.h"
#include "../os/dirty.h"

enum { RANGES_MOST = 2048, WALK_STEP = 2048 };
#define RANGE_GAP  ((uintptr_t)256 * 1024)
#define ARM_GAP    ((uintptr_t)64 * 1024) /* a call interrupts the program more than some faults */
#define LOOK_PIECE ((uintptr_t)64 * 1024 * 1024)

static struct {
    _Atomic(bool) started; /* release when the next two are set, acquire by who owns no cycle */
    enum dirty_mode mode;
    const char *why;   /* it is not in force; null: it is */
    os_ranges armed;   /* small spans; ascending, RANGE_GAP apart at least [owner] */
    os_ranges large;   /* large objects, which may have pages that nobody touched [owner, lock] */
    size_t joined;     /* of `large`, the first so many may be of several objects each [owner] */
    os_ranges changed; /* as of the last look [owner, lock] */
    _Atomic(size_t) last_pages;
    os_lock lock; /* while several mark or look */
} dirty;

bool ebb__dirty_in_force(void) {
    return dirty.mode != DIRTY_OFF;
}

enum dirty_mode ebb__dirty_mode(const char **why) {
    bool started = atomic_load_explicit(&dirty.started, memory_order_acquire);
    *why = started && dirty.why ? dirty.why : "";
    return started ? dirty.mode : ebb__settings.dirty;
}

bool ebb__dirty_wanted(void) {
    const char *why;
    return ebb__dirty_mode(&why) != DIRTY_OFF;
}

static void dirty_decide(void) {
    dirty.mode = ebb__settings.dirty;
    if (dirty.mode == DIRTY_OFF) dirty.why = "switched off by EBB_GC";
    if (dirty.mode == DIRTY_ALL) dirty.why = "switched on by EBB_GC";
    if (dirty.mode != DIRTY_KERNEL) return;
    if (ebb__os_dirty_start(ebb__space.base, ebb__space.middle, &dirty.why) == 0) return;
    dirty.mode = DIRTY_OFF;
}

/* On the first cycle, not at the start: programs that never collect do not pay for it. */
void ebb__dirty_start(void) {
    if (atomic_load_explicit(&dirty.started, memory_order_relaxed)) return;
    dirty_decide();
    atomic_store_explicit(&dirty.started, true, memory_order_release);
}

/* --- Harvests ----------------------------------------------------------------------------------
 */

static bool range_append(os_ranges *list, uintptr_t start, uintptr_t end, uintptr_t gap) {
    os_range *last = list->count ? &list->items[list->count - 1] : NULL;
    if (last && start >= last->start && start <= last->end + gap) {
        last->end = max_size(last->end, end);
        return true;
    }
    return ebb__os_ranges_add(list, start, end);
}

/* The same anywhere in an ascending list without overlaps, which it stays. */
static bool range_insert(os_ranges *list, uintptr_t start, uintptr_t end, uintptr_t gap) {
    size_t at = 0, after = list->count;
    while (at < after) {
        size_t middle = at + (after - at) / 2;
        if (list->items[middle].end + gap < start)
            at = middle + 1;
        else
            after = middle;
    }
    for (; after < list->count && list->items[after].start <= end + gap; after++) {
        start = min_size(start, list->items[after].start);
        end = max_size(end, list->items[after].end);
    }
    if (after == at && !ebb__os_ranges_add(list, 0, 0)) return false;
    size_t tail = after == at ? list->count - 1 - at : list->count - after;
    memmove(&list->items[at + 1], &list->items[after], tail * sizeof *list->items);
    list->items[at] = (os_range){start, end};
    list->count = at + 1 + tail;
    return true;
}

static void changed_add(uintptr_t start, uintptr_t end, void *pages) {
    *(size_t *)pages += (end - start) / ebb__os_page_size();
    range_append(&dirty.changed, start, end, 0);
}

static void changed_add_locked(uintptr_t start, uintptr_t end, void *pages) {
    ebb__critical_lock(&dirty.lock);
    changed_add(start, end, pages);
    ebb__critical_unlock(&dirty.lock);
}

static bool range_arm(uintptr_t start, uintptr_t end) {
    return dirty.mode == DIRTY_ALL || ebb__os_dirty_arm(start, end) == 0;
}

/* Whether the span at an address is armed, and where it ends, at most at `end`. Spans may be freed
 * and merged meanwhile, but in the last look and after the first stop of a cycle
 * (ebb__heap_marking). In a look before, pages may be passed over by that: they stay written, for a
 * look after. */
static bool armed_at(uintptr_t address, uintptr_t end, uintptr_t *next) {
    enum { AHEAD = 16 * PAGE }; /* neighbours are asked about, and each has a record somewhere */
    const span *s = ebb__span_at(address);
    if (end - address > AHEAD) span_prefetch(address + AHEAD);
    *next = min_size(s ? span_end(s) : round_down(address, PAGE) + PAGE, end);
    return s && __atomic_load_n(&s->armed, __ATOMIC_ACQUIRE);
}

/* What was written of armed spans within a range: from the first page to the last, where no more
 * than ARM_GAP was written between them that is not of an armed one. */
typedef struct written_runs {
    os_range run;
    uintptr_t other; /* bytes written since its end */
    size_t *pages;
    int error;
} written_runs;

static void written_end(written_runs *w) {
    os_range r = w->run;
    if (r.end && ebb__os_dirty_harvest(r.start, r.end, changed_add, w->pages) != 0)
        w->error = EBB_ESYSTEM;
    w->run = (os_range){0, 0};
}

static void written_harvest(uintptr_t start, uintptr_t end, void *runs) {
    written_runs *w = runs;
    for (uintptr_t at = start, next; at < end; at = next) {
        bool armed = armed_at(at, end, &next);
        w->other = armed ? 0 : w->other + (next - at);
        if (w->other > ARM_GAP) written_end(w);
        if (armed) w->run = (os_range){w->run.end ? w->run.start : at, next};
    }
}

static int small_harvest(os_range r, size_t *pages) {
    written_runs w = {.pages = pages};
    int error = ebb__os_dirty_peek(r.start, r.end, written_harvest, &w);
    written_end(&w);
    return error ? error : w.error;
}

static void written_add(uintptr_t start, uintptr_t end, void *pages) {
    for (uintptr_t at = start, next; at < end; at = next)
        if (armed_at(at, end, &next)) changed_add_locked(at, next, pages);
}

/* One piece of an armed range: in the stop only looked at, for arming again makes the other
 * processors forget addresses; what is found then is found again by the next cycle. */
static void piece_look(os_range r, bool large, bool last, size_t *pages) {
    os_dirty_visit visit = last ? changed_add_locked : changed_add;
    size_t before = *pages;
    int error = EBB_ESYSTEM;
    if (dirty.mode == DIRTY_KERNEL)
        error = last && large ? ebb__os_dirty_peek_sparse(r.start, r.end, visit, pages)
                : last        ? ebb__os_dirty_peek(r.start, r.end, written_add, pages)
                : large       ? ebb__os_dirty_harvest_sparse(r.start, r.end, visit, pages)
                              : small_harvest(r, pages);
    if (error == 0) return;
    *pages = before;
    visit(r.start, r.end, pages);
}

static size_t ranges_look(const os_ranges *list, bool large) {
    size_t pages = 0;
    for (size_t i = 0; i < list->count; i++) piece_look(list->items[i], large, false, &pages);
    return pages;
}

/* Pieces of all ranges, in their order. */
static void last_look_part(bool giver) {
    size_t pages = 0, n = 0, mine = ebb__crew_take();
    (void)giver;
    for (int large = 0; large < 2; large++) {
        const os_ranges *list = large ? &dirty.large : &dirty.armed;
        for (size_t i = 0; i < list->count; i++)
            for (os_range r = list->items[i]; r.start < r.end; r.start += LOOK_PIECE, n++) {
                if (n != mine) continue;
                piece_look((os_range){r.start, min_size(r.end, r.start + LOOK_PIECE)}, large, true,
                           &pages);
                mine = ebb__crew_take();
            }
    }
    atomic_fetch_add_explicit(&dirty.last_pages, pages, memory_order_relaxed);
}

/* So many threads as there are pieces' worth of pages: to wake one takes as long as to look at
 * some. */
static unsigned last_look_most(void) {
    size_t bytes = 0;
    for (size_t i = 0; i < dirty.armed.count; i++)
        bytes += dirty.armed.items[i].end - dirty.armed.items[i].start;
    for (size_t i = 0; i < dirty.large.count; i++)
        bytes += dirty.large.items[i].end - dirty.large.items[i].start;
    return (unsigned)min_size(1 + bytes / LOOK_PIECE, 1024);
}

/* --- Exposed spans -----------------------------------------------------------------------------
 */

/* Neighbours, all large objects or all spans of small ones. */
typedef struct exposed_run {
    os_range range;
    bool large;
} exposed_run;

/* An exposed span that is in use; one that a thread allocates from only if asked for. Frees take
 * the zone's lock, so what is found in use stays so until it is let go. */
static bool exposed_find(uint32_t number, bool owned_too, exposed_run *found) {
    zone *z = &ebb__space.zones[ZONE_SCAN];
    const span *s = span_at(number);
    ebb__critical_lock(&z->lock);
    bool good = s->state >= SPAN_SMALL && s->zone == ZONE_SCAN &&
                (owned_too || !__atomic_load_n(&s->owned, __ATOMIC_RELAXED));
    if (good) *found = (exposed_run){{span_start(s), span_end(s)}, s->state == SPAN_LARGE};
    ebb__critical_unlock(&z->lock);
    return good;
}

/* The pages of r are armed, and so are the spans that lie in it now, as a whole. Large objects may
 * be resized, so each has a range of its own; pages that one has got since then are not armed, and
 * so count as written. */
static void armed_set(os_range r, bool large) {
    zone *z = &ebb__space.zones[ZONE_SCAN];
    ebb__critical_lock(&z->lock);
    for (uintptr_t at = r.start, end; at < r.end; at = end) {
        span *s = ebb__span_at(at);
        end = s ? span_end(s) : at + PAGE;
        if (!s || span_start(s) != at || (s->state == SPAN_LARGE) != large) continue;
        if (end > r.end && !large) continue;
        if (large && !ebb__os_ranges_add(&dirty.large, at, end)) continue;
        __atomic_store_n(&s->armed, 1, __ATOMIC_RELEASE);
    }
    ebb__critical_unlock(&z->lock);
}

/* Arms a run of exposed spans; what cannot be armed stays exposed. */
static void exposed_arm(const exposed_run *run) {
    os_range r = run->range;
    if (range_arm(r.start, r.end) &&
        (run->large || range_insert(&dirty.armed, r.start, r.end, RANGE_GAP))) {
        ebb__yield_point(16);
        armed_set(r, run->large);
        return;
    }
    for (uintptr_t at = r.start; at < r.end; at += PAGE) {
        const span *s = ebb__span_at(at);
        if (s) span_bit_set(ebb__space.exposed, span_number(s));
    }
}

static void exposed_end(const exposed_run *run, bool arm, size_t *pages) {
    if (run->range.end == 0) return;
    if (arm) exposed_arm(run);
    changed_add(run->range.start, run->range.end, pages);
}

/* Adds the exposed spans to what changed; with `arm`, from then on writes to them are noted. */
static size_t exposed_take(bool arm) {
    size_t pages = 0;
    exposed_run run = {{0, 0}, false}, next;
    for (uint32_t w = 0; w < ebb__space.span_count; w += 64) {
        uint64_t bits = atomic_load_explicit(&ebb__space.exposed[w / 64], memory_order_relaxed);
        for (; bits; bits &= bits - 1) {
            uint32_t number = w + (uint32_t)__builtin_ctzll(bits);
            if (!exposed_find(number, !arm, &next)) continue;
            if (arm) span_bit_clear(ebb__space.exposed, number);
            if (next.range.start == run.range.end && next.large == run.large) {
                run.range.end = next.range.end;
                continue;
            }
            exposed_end(&run, arm, &pages);
            run = next;
        }
    }
    exposed_end(&run, arm, &pages);
    return pages;
}

size_t ebb__dirty_exposed(void) {
    size_t pages = 0;
    for (uint32_t w = 0; w < ebb__space.span_count; w += 64) {
        uint64_t bits = atomic_load_explicit(&ebb__space.exposed[w / 64], memory_order_relaxed);
        for (; bits; bits &= bits - 1) {
            const span *s = span_at(w + (uint32_t)__builtin_ctzll(bits));
            bool owned = __atomic_load_n(&s->owned, __ATOMIC_RELAXED);
            pages += owned ? 0 : PAGE / ebb__os_page_size();
        }
    }
    return pages;
}

void ebb__dirty_expose(span *s, bool beside) {
    if (dirty.mode == DIRTY_OFF) return;
    uintptr_t start = span_start(s), end = span_end(s);
    bool arm = beside && s->state == SPAN_LARGE && range_arm(start, end);
    if (arm) {
        ebb__critical_lock(&dirty.lock);
        arm = ebb__os_ranges_add(&dirty.large, start, end);
        ebb__critical_unlock(&dirty.lock);
        ebb__oracle_note(start, end);
    }
    if (arm)
        __atomic_store_n(&s->armed, 1, __ATOMIC_RELEASE);
    else
        span_bit_set(ebb__space.exposed, span_number(s));
}

/* --- The walk over all spans, in steps under the zone's lock ------------------------------------
 */

enum walk { WALK_ARMED, WALK_OLD, WALK_ALL };

/* Of small spans that no thread allocates from, when all are about to be armed anew: those that
 * held what survived, for it may again. Large ones are armed when they are marked. */
static bool span_to_arm(const span *s, enum walk walk) {
    if (s->state != SPAN_SMALL || __atomic_load_n(&s->owned, __ATOMIC_RELAXED)) return false;
    return walk == WALK_ALL || s->armed || span_bit(ebb__space.exposed, span_number(s));
}

static uint32_t walk_step(uint32_t page, enum walk walk) {
    const zone *z = &ebb__space.zones[ZONE_SCAN];
    for (int i = 0; i < WALK_STEP && page < z->used_pages; i++) {
        span *s = span_at(
            atomic_load_explicit(&ebb__space.span_of[z->first_page + page], memory_order_relaxed));
        /* What began here at the last step may have been freed and merged since. */
        if (s->pages == 0 || s->first_page != z->first_page + page) {
            page++;
            continue;
        }
        uintptr_t start = span_start(s), end = span_end(s);
        bool large = s->state == SPAN_LARGE, anew = walk != WALK_ARMED;
        bool wanted = anew ? span_to_arm(s, walk) : s->armed && s->state >= SPAN_SMALL;
        if (anew) s->armed = 0;
        if (wanted && large)
            range_append(&dirty.large, start, end, 0);
        else if (wanted)
            range_append(&dirty.armed, start, end, anew ? ARM_GAP : RANGE_GAP);
        page += s->pages;
    }
    return page;
}

static void armed_rebuild(enum walk walk) {
    zone *z = &ebb__space.zones[ZONE_SCAN];
    os_ranges_clear(&dirty.armed);
    os_ranges_clear(&dirty.large);
    for (uint32_t page = 0; page < z->used_pages;) {
        ebb__critical_lock(&z->lock);
        page = walk_step(page, walk);
        ebb__critical_unlock(&z->lock);
    }
    dirty.joined = dirty.large.count;
}

/* --- What a cycle asks ---------------------------------------------------------------------------
 */

bool ebb__dirty_arm_all(void) {
    uint32_t words = (ebb__space.span_count + 63) / 64;
    bool first = dirty.armed.count + dirty.large.count == 0;
    if (dirty.mode != DIRTY_OFF) armed_rebuild(first ? WALK_ALL : WALK_OLD);
    for (uint32_t w = 0; w < words; w++)
        atomic_store_explicit(&ebb__space.exposed[w], 0, memory_order_relaxed);
    if (dirty.mode == DIRTY_OFF) return true;
    os_ranges_clear(&dirty.changed);
    os_ranges list = dirty.armed;
    dirty.armed.count = 0;
    for (size_t i = 0; i < list.count; i++) {
        os_range r = list.items[i];
        if (!range_arm(r.start, r.end)) continue;
        range_append(&dirty.armed, r.start, r.end, RANGE_GAP); /* never more than were there */
        armed_set(r, false);
    }
    ebb__oracle_note_all(&dirty.armed);
    return !dirty.armed.failed;
}

static void ranges_disarm(const os_ranges *list) {
    for (size_t i = 0; i < list->count; i++)
        ebb__os_dirty_disarm(list->items[i].start, list->items[i].end);
}

void ebb__dirty_disarm(void) {
    if (dirty.mode != DIRTY_KERNEL) return;
    ranges_disarm(&dirty.armed);
    ranges_disarm(&dirty.large);
}

/* The range of the large object that is armed and begins at an address. */
static bool large_at(uintptr_t start, os_range *found) {
    const span *s = ebb__span_at(start);
    if (!s || s->state != SPAN_LARGE || !s->armed || span_start(s) != start) return false;
    *found = (os_range){start, span_end(s)};
    return true;
}

/* From the first such object in a range to the last. */
static bool large_within(os_range *r) {
    zone *z = &ebb__space.zones[ZONE_SCAN];
    os_range all = {0, 0}, one;
    ebb__critical_lock(&z->lock);
    for (uintptr_t at = r->start, end; at < r->end; at = end) {
        const span *s = ebb__span_at(at);
        end = s ? span_end(s) : at + PAGE;
        if (large_at(at, &one)) all = (os_range){all.end ? all.start : at, end};
    }
    ebb__critical_unlock(&z->lock);
    *r = all;
    return all.end != 0;
}

/* Drops ranges of large objects that are no more; those that were resized end elsewhere. Pages that
 * came that way are not armed, and so count as written. */
static void large_prune(void) {
    size_t kept = 0, joined = 0;
    for (size_t i = 0; i < dirty.large.count; i++) {
        os_range r = dirty.large.items[i];
        bool several = i < dirty.joined;
        if (!(several ? large_within(&r) : large_at(r.start, &r))) continue;
        dirty.large.items[kept++] = r;
        joined += several;
    }
    dirty.large.count = kept;
    dirty.joined = joined;
}

/* Ranges ascend, and each armed span of small objects lies in one. In a stop. */
static void armed_verify(void) {
    const zone *z = &ebb__space.zones[ZONE_SCAN];
    const os_ranges *list = &dirty.armed;
    size_t i = 0;
    for (size_t k = 1; k < list->count; k++)
        if (list->items[k].start <= list->items[k - 1].end)
            ebb__fail("verify", "the armed ranges %zu and %zu overlap", k - 1, k);
    for (uint32_t page = 0; page < z->used_pages && !list->failed;) {
        const span *s = span_at(ebb__space.span_of[z->first_page + page]);
        page += s->pages;
        if (s->state != SPAN_SMALL || !s->armed) continue;
        while (i < list->count && list->items[i].end < span_end(s)) i++;
        if (i == list->count || list->items[i].start > span_start(s))
            ebb__fail("verify", "the span at %p is armed and in no range", (void *)span_start(s));
    }
}

size_t ebb__dirty_look(bool last) {
    os_ranges_clear(&dirty.changed);
    large_prune();
    if (!last && dirty.armed.count + dirty.large.count > RANGES_MOST) armed_rebuild(WALK_ARMED);
    if (!last) {
        size_t pages = ranges_look(&dirty.armed, false) + ranges_look(&dirty.large, true);
        ebb__yield_point(1);
        pages += exposed_take(true);
        ebb__oracle_note_all(&dirty.changed);
        return pages;
    }
    if (ebb__settings.verify) armed_verify();
    atomic_store_explicit(&dirty.last_pages, 0, memory_order_relaxed);
    ebb__crew_run(last_look_part, last_look_most());
    ebb__oracle_check(&dirty.armed, &dirty.large, &dirty.changed);
    return atomic_load_explicit(&dirty.last_pages, memory_order_relaxed) + exposed_take(false);
}

const os_ranges *ebb__dirty_changed(void) {
    return dirty.changed.failed || dirty.armed.failed || dirty.large.failed ? NULL : &dirty.changed;
}

void ebb__dirty_forked(void) {
    dirty.lock = (os_lock){0};
    dirty.armed = dirty.large = dirty.changed = (os_ranges){0}; /* that others were changing */
    dirty.joined = 0;
    if (dirty.mode != DIRTY_KERNEL || ebb__os_dirty_forked() == 0) return;
    dirty.mode = DIRTY_OFF;
    dirty.why = "could not be set up again after fork";
}
