/* trace.c - EBB_DEBUG=gctrace=1: a line a cycle, in the order that readers of Go's know.
 * docs/design.md, "Trace".
 *
 *   gc N @SECONDSs P%: OPEN+MARK+STOP ms clock, ASSIST+CPU ms cpu, START->END->LIVE MB, GOAL MB
 * goal, STACKS MB stacks, ROOTS MB roots, N P name=value … */
#include "hooks.h"

const char *const ebb__cause_names[CAUSE_COUNT] = {
    [CAUSE_FORCED] = "forced", [CAUSE_GROWTH] = "growth", [CAUSE_LIMIT] = "limit",
    [CAUSE_IDLE] = "idle",     [CAUSE_STRESS] = "stress",
};

const char *ebb__cycle_kind(const cycle_record *r) {
    if (r->beside) return r->full ? "full" : "minor";
    return r->full ? "full-stopped" : "minor-stopped";
}

/* A value in one word. */
static const char *trace_word(const char *text, char word[64]) {
    size_t n = 0;
    for (; text[n] && n < 63; n++) word[n] = text[n] == ' ' ? '_' : text[n];
    word[n] = 0;
    return word;
}

static double ms(uint64_t ns) {
    return (double)ns / 1e6;
}

static double mb(size_t bytes) {
    return (double)bytes / (double)MIB;
}

static void trace_print(const cycle_record *r) {
    uint64_t age = ebb__os_now_ns() - ebb__cycle.start_ns;
    double share = 100.0 * (double)ebb__cycle.cpu_ns / ((double)age * (double)ebb__os_cpus());
    char word[64];
    const char *why;
    enum dirty_mode mode = ebb__dirty_mode(&why);
    uint64_t checked = atomic_load_explicit(&ebb__checkmark_cycles, memory_order_relaxed);
    char goal[32] = "0 MB";
    if (r->goal < SIZE_MAX / 2) snprintf(goal, sizeof goal, "%.0f MB", mb(r->goal));
    ebb__print("gc %llu @%.3fs %.0f%%: %.3f+%.3f+%.3f ms clock, %.3f+%.3f ms cpu, "
               "%.0f->%.0f->%.0f MB, %s goal, %.1f MB stacks, %.1f MB roots, %u P cause=%s kind=%s "
               "sweep_ms=%.3f wait_ms=%.3f dirty=%zu dirty_last=%zu rounds=%u freed=%zu "
               "footprint=%zu pause_ms=%.3f stop_parts_ms=%.3f+%.3f+%.3f+%.3f finalizers=%llu "
               "checked=%llu pages=%s%s%s",
               (unsigned long long)r->number, (double)age / 1e9, share, ms(r->open_ns),
               ms(r->mark_ns), ms(r->pause_ns), ms(r->assist_ns), ms(r->cpu_ns), mb(r->heap_before),
               mb(r->heap_after), mb(r->live), goal, mb(r->stack_bytes), mb(r->root_bytes),
               r->markers, ebb__cause_names[r->cause], ebb__cycle_kind(r), ms(r->sweep_ns),
               ms(r->wait_ns), r->dirty_pages, r->dirty_last, r->rounds, r->freed_bytes,
               r->footprint, ms(max_size(r->open_ns, r->pause_ns)), ms(r->stop_ns), ms(r->look_ns),
               ms(r->roots_ns), ms(r->drain_ns), (unsigned long long)r->finalizers_due,
               (unsigned long long)checked, ebb__dirty_names[mode], *why ? ":" : "",
               trace_word(why, word));
}

void ebb__trace_cycle(const cycle_record *record) {
    if (ebb__settings.trace) trace_print(record);
}
