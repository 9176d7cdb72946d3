/* metrics.c - /metrics for Prometheus, in its own format or in OpenMetrics' by the Accept header.
 * docs/design.md, "Metrics".
 *
 * The process's and the collector's figures lie ready. Those of the classes and of allocations take
 * a stop each, as `ebb rss` and ebb_stats do; ?memory=off leaves them out, for heaps so large that
 * a stop at each scrape is felt. */
#include "hooks.h"
#include "metrics.h"
#include "endpoint.h"
#include "memory.h"
#include "turn.h"
#include "../os/process.h"
#include "../../include/ebb/ebb.h"

/* --- What is counted ------------------------------------------------------------------------ */

static const struct {
    uint64_t ns;
    const char *seconds;
} metric_bounds[] = {
    {10000, "1e-05"},    {25000, "2.5e-05"},  {50000, "5e-05"},    {100000, "0.0001"},
    {250000, "0.00025"}, {500000, "0.0005"},  {1000000, "0.001"},  {2500000, "0.0025"},
    {5000000, "0.005"},  {10000000, "0.01"},  {25000000, "0.025"}, {50000000, "0.05"},
    {100000000, "0.1"},  {250000000, "0.25"}, {500000000, "0.5"},  {1000000000, "1.0"},
};
enum { METRIC_BOUNDS = sizeof metric_bounds / sizeof *metric_bounds };

/* Written under the collector's lock, read without one; relaxed, each is a figure of its own. A
 * histogram's total is the sum of what is read of its buckets, so the two agree. */
static struct {
    _Atomic(uint64_t) cycles[CAUSE_COUNT];
    _Atomic(uint64_t) pauses[METRIC_BOUNDS + 1]; /* the last: longer than every bound */
    _Atomic(uint64_t) pause_ns;
} metric;

static void metric_add(_Atomic(uint64_t) *to, uint64_t n) {
    uint64_t was = atomic_load_explicit(to, memory_order_relaxed);
    atomic_store_explicit(to, was + n, memory_order_relaxed);
}

static uint64_t metric_read(const _Atomic(uint64_t) *from) {
    return atomic_load_explicit(from, memory_order_relaxed);
}

static void metric_pause(uint64_t ns) {
    size_t i = 0;
    while (i < METRIC_BOUNDS && ns > metric_bounds[i].ns) i++;
    metric_add(&metric.pauses[i], 1);
    metric_add(&metric.pause_ns, ns);
}

void ebb__metrics_cycle(const cycle_record *r) {
    metric_add(&metric.cycles[r->cause], 1);
    if (r->beside) metric_pause(r->open_ns);
    metric_pause(r->pause_ns);
}

/* --- How it is written ---------------------------------------------------------------------- */

typedef struct metric_page {
    reply *to;
    bool open; /* OpenMetrics */
} metric_page;

/* A family's head. OpenMetrics names a counter's family without the _total of its samples. */
static void metric_family(const metric_page *p, const char *name, const char *type,
                          const char *help) {
    int length = (int)strlen(name);
    if (p->open && strcmp(type, "counter") == 0) length -= (int)strlen("_total");
    ebb__reply_print(p->to, "# HELP %.*s %s\n# TYPE %.*s %s\n", length, name, help, length, name,
                     type);
}

/* A sample's value in seconds. Not by %f: its point is a comma in some languages. */
static void metric_seconds(const metric_page *p, const char *sample, uint64_t ns) {
    ebb__reply_print(p->to, "%s %llu.%09llu\n", sample, (unsigned long long)(ns / 1000000000u),
                     (unsigned long long)(ns % 1000000000u));
}

static void metric_count(const metric_page *p, const char *name, const char *help, uint64_t n) {
    metric_family(p, name, "counter", help);
    ebb__reply_print(p->to, "%s %llu\n", name, (unsigned long long)n);
}

static void metric_seconds_total(const metric_page *p, const char *name, const char *help,
                                 uint64_t ns) {
    metric_family(p, name, "counter", help);
    metric_seconds(p, name, ns);
}

static void metric_gauge(const metric_page *p, const char *name, const char *help, uint64_t n) {
    metric_family(p, name, "gauge", help);
    ebb__reply_print(p->to, "%s %llu\n", name, (unsigned long long)n);
}

/* A size that may be without bound. */
static void metric_bound(const metric_page *p, const char *name, const char *help, uint64_t n) {
    if (n < UINT64_MAX / 2) {
        metric_gauge(p, name, help, n);
        return;
    }
    metric_family(p, name, "gauge", help);
    ebb__reply_print(p->to, "%s +Inf\n", name);
}

/* --- The families --------------------------------------------------------------------------- */

static void metric_build(const metric_page *p) {
    if (p->open)
        ebb__reply_print(p->to, "# HELP ebb_build What is running.\n# TYPE ebb_build info\n");
    else
        metric_family(p, "ebb_build_info", "gauge", "What is running.");
    ebb__reply_print(p->to, "ebb_build_info{version=\"%d.%d.%d\",assertions=\"%d\"} 1\n",
                     EBB_VERSION_MAJOR, EBB_VERSION_MINOR, EBB_VERSION_PATCH, EBB_ASSERTIONS);
}

static void metric_process(const metric_page *p, const os_process *o) {
    metric_gauge(p, "process_resident_memory_bytes", "Resident memory.", o->resident_bytes);
    metric_gauge(p, "process_virtual_memory_bytes",
                 "Address space; most of Ebb's is reserved and never used.", o->virtual_bytes);
    metric_seconds_total(p, "process_cpu_seconds_total", "CPU time of the process.", o->cpu_ns);
    metric_gauge(p, "process_open_fds", "Open file descriptors.", o->open_fds);
    metric_bound(p, "process_max_fds", "Most file descriptors that it may open.", o->max_fds);
    metric_family(p, "process_start_time_seconds", "gauge", "Start of the process, since 1970.");
    metric_seconds(p, "process_start_time_seconds", o->start_ns);
}

static void metric_cycles(const metric_page *p) {
    metric_family(p, "ebb_gc_cycles_total", "counter", "Collections, by what caused them.");
    for (int i = 0; i < CAUSE_COUNT; i++)
        ebb__reply_print(p->to, "ebb_gc_cycles_total{cause=\"%s\"} %llu\n", ebb__cause_names[i],
                         (unsigned long long)metric_read(&metric.cycles[i]));
}

static void metric_pauses(const metric_page *p) {
    uint64_t count = 0;
    metric_family(p, "ebb_gc_pause_seconds", "histogram",
                  "Stops of the world for collections, of which a cycle has one or two.");
    uint64_t sum_ns = metric_read(&metric.pause_ns);
    for (int i = 0; i < METRIC_BOUNDS; i++) {
        count += metric_read(&metric.pauses[i]);
        ebb__reply_print(p->to, "ebb_gc_pause_seconds_bucket{le=\"%s\"} %llu\n",
                         metric_bounds[i].seconds, (unsigned long long)count);
    }
    count += metric_read(&metric.pauses[METRIC_BOUNDS]);
    ebb__reply_print(p->to, "ebb_gc_pause_seconds_bucket{le=\"+Inf\"} %llu\n",
                     (unsigned long long)count);
    metric_seconds(p, "ebb_gc_pause_seconds_sum", sum_ns);
    ebb__reply_print(p->to, "ebb_gc_pause_seconds_count %llu\n", (unsigned long long)count);
}

static void metric_collector(const metric_page *p) {
    struct ebb_stats s;
    ebb_stats_brief(&s);
    metric_gauge(p, "ebb_heap_live_bytes", "Found reachable by the last collection.",
                 s.marked_live);
    metric_bound(p, "ebb_heap_goal_bytes", "The heap size at which the next collection ends.",
                 s.goal);
    metric_bound(p, "ebb_heap_limit_bytes", "The memory limit that was set.", s.limit);
    metric_gauge(p, "ebb_heap_released_bytes", "Given back to the system, or never touched.",
                 s.heap_returned);
    metric_count(p, "ebb_heap_returned_bytes_total", "Given back to the system since the start.",
                 s.returned_total);
    metric_count(p, "ebb_heap_freed_bytes_total", "Freed since the start.", s.freed_bytes);
    metric_count(p, "ebb_heap_freed_objects_total", "Freed since the start.", s.freed_objects);
    metric_count(p, "ebb_gc_minor_cycles_total",
                 "Collections of what was young or changed only, of all.", s.cycles_minor);
    metric_seconds_total(p, "ebb_gc_cpu_seconds_total", "CPU time of collections.", s.cpu_ns);
    metric_seconds_total(p, "ebb_gc_assist_seconds_total",
                         "Time that threads ahead of the schedule helped.", s.assist_ns);
    metric_seconds_total(p, "ebb_gc_wait_seconds_total",
                         "Time that threads at the goal waited for a collection.", s.wait_ns);
    metric_gauge(p, "ebb_gc_goal_passed_bytes",
                 "The most that the heap was over its goal when a collection ended.",
                 s.goal_passed_max);
    metric_family(p, "ebb_gc_last_cycle_timestamp_seconds", "gauge",
                  "End of the last collection, since 1970; 0 for none.");
    metric_seconds(p, "ebb_gc_last_cycle_timestamp_seconds", s.last_cycle_ns);
    metric_gauge(p, "ebb_finalizers_due", "Finalizers that are waiting to run.", s.finalizers_due);
}

/* What takes stops, at once, so that no reader is waited for between them; and what is compared
 * with it: resident memory as of the same stop. */
typedef struct metric_look {
    os_process process;
    struct ebb_stats stats;
    struct ebb_memory memory;
    bool taken, memory_known;
} metric_look;

static void metric_take(const request *r, reply *to, metric_look *look) {
    ebb__os_process(&look->process);
    if (ebb__request_is(r, "memory", "off") || !ebb__turn_begin(to)) return;
    ebb_stats(&look->stats);
    look->memory_known = ebb_memory(&look->memory) == 0;
    look->taken = true;
    ebb__turn_end(to);
    if (look->memory_known) look->process.resident_bytes = look->memory.rss_counter;
}

static void metric_objects(const metric_page *p, const struct ebb_stats *s) {
    metric_gauge(p, "ebb_heap_objects", "Objects that are not known to be dead.", s->live_objects);
    metric_count(p, "ebb_heap_allocated_bytes_total", "Handed out since the start.",
                 s->alloc_bytes);
    metric_count(p, "ebb_heap_allocated_objects_total", "Handed out since the start.",
                 s->alloc_objects);
}

static void metric_memory(const metric_page *p, const struct ebb_memory *m) {
    metric_family(p, "ebb_memory_bytes", "gauge",
                  "Resident memory by what it is; the classes add up to all of it.");
    for (const memory_class *c = ebb__memory_classes; c->name; c++)
        ebb__reply_print(p->to, "ebb_memory_bytes{class=\"%s\"} %lld\n", c->name,
                         (long long)ebb__memory_of(m, c));
    metric_family(p, "ebb_memory_look_seconds", "gauge",
                  "How long the program stood still for ebb_memory_bytes.");
    metric_seconds(p, "ebb_memory_look_seconds", m->stop_ns);
}

static void metrics_answer(const request *r, reply *to) {
    metric_look look = {.taken = false};
    metric_take(r, to, &look);
    metric_page p = {to, strstr(r->accept, "application/openmetrics-text") != NULL};
    ebb__reply_begin(to, 200,
                     p.open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                            : "text/plain; version=0.0.4; charset=utf-8",
                     NULL);
    metric_build(&p);
    metric_process(&p, &look.process);
    metric_collector(&p);
    metric_cycles(&p);
    metric_pauses(&p);
    if (look.taken) metric_objects(&p, &look.stats);
    if (look.memory_known) metric_memory(&p, &look.memory);
    if (p.open) ebb__reply_print(to, "# EOF\n");
}

const endpoint ebb__endpoint_metrics = {.path = "/metrics",
                                        .says = "for Prometheus; ?memory=off for no stop",
                                        .answer = metrics_answer};
