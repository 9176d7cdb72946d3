/* watch.h - whether the heap keeps its goal, for the option --watch: a thread that asks ebb_stats
 * again and again. Asking stops the world, so a watched run reports nothing else.
 *
 * What was found unreachable and waits to be swept is not counted: it belongs to the goal of the
 * cycle before. Sides other than Ebb have no such figures. */
#ifndef EBB_BENCH_WATCH_H
#define EBB_BENCH_WATCH_H

#include "bench.h"

#if PEER_WATCHES
# define WATCH_LEAST_NS 2000000

struct watch {
    bool on;
    uint64_t over_bytes; /* most that the heap was over its goal */
    uint64_t goal_bytes, footprint_bytes;
};

static struct watch watch;

static void watch_look(void) {
    struct ebb_stats now;
    ebb_stats(&now);
    uint64_t heap = now.heap_used - now.dead, footprint = now.mapped - now.heap_returned;
    if (heap > now.goal && heap - now.goal > watch.over_bytes) watch.over_bytes = heap - now.goal;
    if (now.goal > watch.goal_bytes) watch.goal_bytes = now.goal;
    if (footprint > watch.footprint_bytes) watch.footprint_bytes = footprint;
}

/* At most a third of the time is spent asking. */
static void *watch_thread(void *unused) {
    for (;;) {
        uint64_t start_ns = bench_clock_ns(CLOCK_MONOTONIC);
        watch_look();
        uint64_t pause_ns = 2 * (bench_clock_ns(CLOCK_MONOTONIC) - start_ns);
        if (pause_ns < WATCH_LEAST_NS) pause_ns = WATCH_LEAST_NS;
        struct timespec pause = {(time_t)(pause_ns / 1000000000), (long)(pause_ns % 1000000000)};
        nanosleep(&pause, NULL);
    }
    return unused;
}

static void watch_start(bool wanted) {
    pthread_t id;
    if (!wanted) return;
    watch.on = true;
    if (pthread_create(&id, NULL, watch_thread, NULL) != 0) bench_fail("cannot start a thread");
}

/* True in a watched run. */
static bool watch_report(const char *label) {
    if (!watch.on) return false;
    bench_report(label, "heap over goal MiB", BENCH_MIB(watch.over_bytes));
    bench_report(label, "goal MiB", BENCH_MIB(watch.goal_bytes));
    bench_report(label, "footprint MiB", BENCH_MIB(watch.footprint_bytes));
    return true;
}
#else
static void watch_start(bool wanted) {
    if (wanted) bench_fail("--watch is Ebb's alone");
}

static bool watch_report(const char *label) {
    return label == NULL;
}
#endif

#endif
