/* hooks.c - how the collector reaches the observers: the one table, and whom it passes on to. */
#include "history.h"
#include "metrics.h"
#include "serve.h"
#include "profile.h"
#include "../os/probes.h"

static void hooks_started(void) {
    ebb__profile_started();
    ebb__serve_started();
}

static void hooks_begun(const cycle_record *r) {
    ebb__probe_cycle_start(r->number, ebb__cause_names[r->cause], r->full);
}

static void hooks_marked(const cycle_record *record) {
    ebb__profile_marked(record);
}

static void hooks_cycle_end(const cycle_record *record) {
    ebb__probe_cycle_end(record->number, record->live, record->goal,
                         max_size(record->open_ns, record->pause_ns));
    ebb__trace_cycle(record);
    ebb__history_cycle(record);
    ebb__metrics_cycle(record);
}

static void hooks_tick(void) {
    ebb__profile_tick();
    ebb__serve_tick();
}

const struct gc_hooks ebb__gc_hooks = {.started = hooks_started,
                                       .begun = hooks_begun,
                                       .marked = hooks_marked,
                                       .cycle_end = hooks_cycle_end,
                                       .tick = hooks_tick};
