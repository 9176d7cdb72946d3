/* hooks.c - how the collector reaches the observers: the one table, and whom it passes on to. */
#include "history.h"
#include "metrics.h"
#include "serve.h"
#include "profile.h"

static void hooks_started(void) {
    ebb__profile_started();
    ebb__serve_started();
}

static void hooks_marked(const cycle_record *record) {
    ebb__profile_marked(record);
}

static void hooks_cycle_end(const cycle_record *record) {
    ebb__trace_cycle(record);
    ebb__history_cycle(record);
    ebb__metrics_cycle(record);
}

static void hooks_tick(void) {
    ebb__profile_tick();
    ebb__serve_tick();
}

const struct gc_hooks ebb__gc_hooks = {.started = hooks_started,
                                       .marked = hooks_marked,
                                       .cycle_end = hooks_cycle_end,
                                       .tick = hooks_tick};
