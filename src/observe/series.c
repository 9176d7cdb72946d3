/* series.c - /debug/ebb/series: what the page's chart draws. docs/design.md, "Debug server".
 *
 * A ring of the last ten minutes, filled while the program serves, by the thread that accepts. A
 * point is what is known without a stop, and so costs microseconds, whatever the heap's size. */
#include "series.h"
#include "endpoint.h"
#include "../../include/ebb/stats.h"

enum { SERIES_POINTS = 600 };

typedef struct series_point {
    uint64_t time_ms; /* since 1970 */
    uint64_t goal, live, used, free, returned, rss;
    uint64_t pause_ns, cycles; /* the longest stop since the point before; cycles in all */
} series_point;

static struct {
    os_lock lock;
    series_point *points; /* the n-th at n modulo SERIES_POINTS [lock] */
    uint64_t count;       /* that were taken [lock] */
    uint64_t pauses;      /* seen by the last point; the taker's own */
} series;

void ebb__series_start(void) {
    ebb__os_lock(&series.lock);
    if (!series.points)
        series.points = ebb__os_map(
            round_up(SERIES_POINTS * sizeof(series_point), ebb__os_page_size()), OS_METADATA);
    ebb__os_unlock(&series.lock);
}

void ebb__series_hold(void) {
    ebb__os_lock(&series.lock);
}

void ebb__series_let(void) {
    ebb__os_unlock(&series.lock);
}

/* --- Taking --------------------------------------------------------------------------------- */

static uint64_t series_pause(void) {
    const cycle_state *c = &ebb__cycle;
    uint64_t n = atomic_load_explicit(&c->pauses, memory_order_acquire), longest = 0;
    uint64_t from = n > PAUSES_KEPT ? n - PAUSES_KEPT : 0;
    for (uint64_t i = max_size(series.pauses, from); i < n; i++)
        longest = max_size(
            longest, atomic_load_explicit(&c->pause_ns[i % PAUSES_KEPT], memory_order_relaxed));
    series.pauses = n;
    return longest;
}

void ebb__series_take(void) {
    struct ebb_stats s;
    ebb_stats_brief(&s);
    series_point p = {.time_ms = ebb__os_wall_ns() / 1000000,
                      .goal = s.goal < SIZE_MAX / 2 ? s.goal : 0,
                      .live = s.marked_live,
                      .used = s.heap_used,
                      .free = s.heap_free,
                      .returned = s.heap_returned,
                      .rss = s.rss,
                      .pause_ns = series_pause(),
                      .cycles = s.cycles};
    ebb__os_lock(&series.lock);
    if (series.points) series.points[series.count++ % SERIES_POINTS] = p;
    ebb__os_unlock(&series.lock);
}

/* --- Replying ------------------------------------------------------------------------------- */

/* The first point from the n-th on that is still there; its number, or UINT64_MAX for none. The
 * lock is held for no longer than a copy: who reads may be slow. */
static uint64_t series_next(uint64_t n, series_point *p) {
    ebb__os_lock(&series.lock);
    n = max_size(n, series.count > SERIES_POINTS ? series.count - SERIES_POINTS : 0);
    bool there = n < series.count;
    if (there) *p = series.points[n % SERIES_POINTS];
    ebb__os_unlock(&series.lock);
    return there ? n : UINT64_MAX;
}

static void series_text(reply *to, uint64_t since_ms) {
    series_point p;
    ebb__reply_begin(to, 200, EBB__TEXT, NULL);
    ebb__reply_print(to, "%14s %14s %14s %14s %14s %14s %14s %12s %8s\n", "ms", "goal", "live",
                     "used", "free", "returned", "rss", "longest ns", "cycles");
    for (uint64_t n = 0; (n = series_next(n, &p)) != UINT64_MAX && !ebb__reply_failed(to); n++) {
        if (p.time_ms <= since_ms) continue;
        ebb__reply_print(to, "%14llu %14llu %14llu %14llu %14llu %14llu %14llu %12llu %8llu\n",
                         (unsigned long long)p.time_ms, (unsigned long long)p.goal,
                         (unsigned long long)p.live, (unsigned long long)p.used,
                         (unsigned long long)p.free, (unsigned long long)p.returned,
                         (unsigned long long)p.rss, (unsigned long long)p.pause_ns,
                         (unsigned long long)p.cycles);
    }
}

static void series_json(reply *to, uint64_t since_ms) {
    series_point p;
    const char *comma = "";
    ebb__reply_begin(to, 200, EBB__JSON, NULL);
    ebb__reply_print(to, "{\"columns\":[\"time_ms\",\"goal\",\"live\",\"used\",\"free\","
                         "\"returned\",\"rss\",\"pause_ns\",\"cycles\"],\"rows\":[");
    for (uint64_t n = 0; (n = series_next(n, &p)) != UINT64_MAX && !ebb__reply_failed(to); n++) {
        if (p.time_ms <= since_ms) continue;
        ebb__reply_print(to, "%s[%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu]", comma,
                         (unsigned long long)p.time_ms, (unsigned long long)p.goal,
                         (unsigned long long)p.live, (unsigned long long)p.used,
                         (unsigned long long)p.free, (unsigned long long)p.returned,
                         (unsigned long long)p.rss, (unsigned long long)p.pause_ns,
                         (unsigned long long)p.cycles);
        comma = ",";
    }
    ebb__reply_print(to, "]}\n");
}

static void series_answer(const request *r, reply *to) {
    uint64_t since_ms;
    if (!ebb__request_number(r, to, "since", 0, UINT64_MAX, 0, &since_ms)) return;
    if (ebb__request_is(r, "format", "json"))
        series_json(to, since_ms);
    else
        series_text(to, since_ms);
}

const endpoint ebb__endpoint_series = {.path = "/debug/ebb/series",
                                       .says = "the last ten minutes, a point a second",
                                       .answer = series_answer};
