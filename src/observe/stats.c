/* stats.c - ebb_stats: every byte that Ebb has mapped, in one stop; and what is known without one.
 * docs/design.md, "Statistics".
 *
 * Pages are counted by the zones, objects by their bits, so the classes add up by construction of
 * the heap, not of this file: what the walk finds is checked against what the zones say. */
#include "slack.h"
#include "../map/map.h"
#include "../../include/ebb/stats.h"

/* Objects that are not known to be dead, and those that are allocated. */
static uint64_t bits_total(const span *s, uint64_t *allocated) {
    bool unswept = span_unswept(s);
    uint64_t n = 0;
    *allocated = 0;
    for (uint32_t w = 0; w * 64 < s->count; w++)
        *allocated += bits_in(atomic_load_explicit(&span_alloc_bits(s)[w], memory_order_relaxed));
    for (uint32_t w = 0; unswept && w * 64 < s->count; w++) n += bits_in(span_live_bits(s, w));
    return unswept ? n : *allocated;
}

static void stats_spans(struct ebb_stats *out) {
    for (uint32_t n = 1; n < ebb__space.span_count; n++) {
        const span *s = span_at(n);
        if (s->state < SPAN_SMALL) continue;
        uint64_t have, live = bits_total(s, &have);
        out->live_objects += live;
        out->live += live * s->stride;
        out->dead += (have - live) * s->stride;
        out->slots_free += (s->count - have) * s->stride;
    }
}

/* What threads have claimed but not handed out is free, and not yet allocated. */
static void stats_threads(struct ebb_stats *out) {
    for (const heap_thread *t = ebb__threads; t; t = t->next) {
        out->alloc_bytes += t->alloc_bytes;
        out->alloc_objects += t->alloc_objects;
        for (int i = 0; i < SLOTS; i++) {
            const slot *slot = &t->slots[i];
            if (!slot->bin || slot->cursor >= slot->end) continue;
            uint64_t bytes = slot->end - slot->cursor, objects = bytes / slot->bin->stride;
            out->alloc_bytes -= bytes;
            out->alloc_objects -= objects;
            out->live -= bytes;
            out->live_objects -= objects;
            out->slots_free += bytes;
        }
    }
}

static void stats_zones(struct ebb_stats *out) {
    for (int i = 0; i < ZONE_COUNT; i++) {
        zone *z = &ebb__space.zones[i];
        ebb__critical_lock(&z->lock);
        out->heap_used += (uint64_t)z->in_use_pages << PAGE_SHIFT;
        out->heap_free += (uint64_t)z->resident_free_pages << PAGE_SHIFT;
        out->heap_returned += (uint64_t)(z->free_pages - z->resident_free_pages) << PAGE_SHIFT;
        ebb__critical_unlock(&z->lock);
    }
    out->metadata = atomic_load_explicit(&ebb__os_mapped[OS_METADATA], memory_order_relaxed);
    out->offheap = atomic_load_explicit(&ebb__os_mapped[OS_OFFHEAP], memory_order_relaxed);
    out->mapped = atomic_load_explicit(&ebb__os_mapped[OS_HEAP], memory_order_relaxed) +
                  out->metadata + out->offheap;
}

static void stats_collector(struct ebb_stats *out) {
    const cycle_state *c = &ebb__cycle;
    ebb__heap_freed(&out->freed_bytes, &out->freed_objects);
    out->returned_total = atomic_load_explicit(&ebb__pages_returned_total, memory_order_relaxed);
    out->cycles = c->cycles;
    out->cycles_forced = c->forced;
    out->dirty = ebb__dirty_names[ebb__dirty_mode(&out->dirty_why)];
    out->cycles_minor = c->minor;
    out->assist_ns = c->assist_ns;
    out->wait_ns = c->wait_ns;
    out->goal_passed_max = c->goal_passed_max;
    out->arrays_trimmed = c->arrays_trimmed;
    out->trimmed_bytes = c->trimmed_bytes;
    out->arrays_kept_whole = c->arrays_kept_whole;
    out->goal = atomic_load_explicit(&c->goal, memory_order_relaxed);
    out->limit = atomic_load_explicit(&ebb__space_limit, memory_order_relaxed);
    out->marked_live = c->last.live;
    out->last_cycle_ns = c->last_wall_ns;
    out->pause_total_ns = c->pause_total_ns;
    out->pause_last_ns = c->last.pause_ns;
    out->pause_max_ns = c->pause_max_ns;
    out->cpu_ns = c->cpu_ns;
    out->roots_bytes = c->last.root_bytes;
    out->stack_bytes = c->last.stack_bytes;
    out->finalizers = atomic_load_explicit(&ebb__finalizer_count, memory_order_relaxed);
    out->finalizers_due = ebb__finalizers_due();
}

/* Slack first, because it maps memory for as long as it counts; roots is null when the world could
 * not be stopped. */
static void stats_stopped(const root_set *roots, void *arg) {
    struct ebb_stats *out = arg;
    if (roots) out->slice_tails = ebb__slack_slices(roots);
    out->map_empty = ebb__map_census();
    out->map_moved_max = atomic_load_explicit(&ebb__map_moved_max, memory_order_relaxed);
    out->map_table_max = atomic_load_explicit(&ebb__map_table_max, memory_order_relaxed);
    stats_zones(out);
    stats_spans(out);
    stats_threads(out);
    stats_collector(out);
    out->tail_waste = out->heap_used - out->live - out->dead - out->slots_free;
}

/* False for a null pointer. */
static bool stats_begin(struct ebb_stats *out, const char *call) {
    if (out)
        memset(out, 0, sizeof *out);
    else
        ebb__misuse(EBB_EINVAL, call, "the pointer is null");
    return out != NULL;
}

void ebb_stats_brief(struct ebb_stats *out) {
    if (!stats_begin(out, "ebb_stats_brief") || !ebb__heap_start()) return;
    ebb__os_lock(&ebb__collector_lock);
    stats_zones(out);
    stats_collector(out);
    ebb__os_unlock(&ebb__collector_lock);
    out->live = out->marked_live + heap_claimed();
    out->rss = ebb__os_rss();
}

void ebb_stats(struct ebb_stats *out) {
    if (!stats_begin(out, "ebb_stats")) return;
    if (ebb__with_world_stopped(stats_stopped, out) != 0) stats_stopped(NULL, out);
    out->rss = ebb__os_rss();
}
