/* story_heap.c - the heap that is too large to trace: a long-lived array of pointers beside workers
 * that allocate as fast as they can, against the same without pointers.
 *
 * Every pointer leads to one of a million small objects, so that the array is really there and
 * really has to be followed. */
#define _GNU_SOURCE 1
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "report.h"
#include "sample.h"
#include "table.h"
#include "tour.h"

enum {
    HEAP_TARGETS = 1000000,
    HEAP_WORKER_WORDS = 1000000, /* 8 MB of pointers, as in the report */
    HEAP_WORKERS_MOST = 64,
    HEAP_WATCH_NS = 100 * 1000 * 1000
};

typedef struct heap_target {
    int64_t n, m;
} heap_target;
EBB_TYPE(heap_target);
EBB_POOL(heap_pool, heap_target);

/* --- The workers ---------------------------------------------------------------------------- */

static atomic_bool heap_stop;        /* relaxed: only says when */
static atomic_ulong heap_iterations; /* relaxed: a count */
static atomic_long heap_burned;      /* relaxed: keeps the factorials from being left out */

__attribute__((noinline)) static long heap_factorial(long n) {
    return n <= 1 ? 1 : n * heap_factorial(n - 1);
}

static void *heap_worker(void *target) {
    while (!atomic_load_explicit(&heap_stop, memory_order_relaxed)) {
        heap_target **array = ebb_new_array(heap_target *, HEAP_WORKER_WORDS);
        if (!array) break;
        array[0] = array[HEAP_WORKER_WORDS - 1] = target;
        ebb_keep_alive(array);
        atomic_fetch_add_explicit(&heap_burned, heap_factorial(20), memory_order_relaxed);
        atomic_fetch_add_explicit(&heap_iterations, 1, memory_order_relaxed);
    }
    return NULL;
}

/* What was seen while the workers ran. */
struct heap_watch {
    uint64_t used_peak_bytes, rss_peak_bytes, goal_peak_bytes;
};

static void heap_watch_once(struct heap_watch *watch) {
    struct ebb_stats now;
    ebb_stats(&now);
    if (now.heap_used > watch->used_peak_bytes) watch->used_peak_bytes = now.heap_used;
    if (now.rss > watch->rss_peak_bytes) watch->rss_peak_bytes = now.rss;
    if (now.goal > watch->goal_peak_bytes) watch->goal_peak_bytes = now.goal;
}

static void heap_watch_workers(struct heap_watch *watch, double seconds) {
    uint64_t start_ns = sample_now_ns(), length_ns = (uint64_t)(seconds * 1e9);
    uint64_t past_ns;
    do {
        struct timespec pause = {0, HEAP_WATCH_NS};
        nanosleep(&pause, NULL);
        past_ns = sample_now_ns() - start_ns;
        heap_watch_once(watch);
        report_tick(past_ns / 1000000, length_ns / 1000000, "working");
    } while (past_ns < length_ns);
}

static void heap_report(const struct ebb_stats *before, const struct heap_watch *watch,
                        double seconds, uint64_t cpu_ns) {
    struct ebb_stats after;
    ebb_stats(&after);
    report_value("iterations", (double)atomic_load(&heap_iterations) / seconds);
    report_value("share", (double)(after.cpu_ns - before->cpu_ns) / (double)cpu_ns);
    report_value("pause", (double)after.pause_max_ns);
    report_value("cycles", (double)(after.cycles - before->cycles));
    report_value("live", (double)after.marked_live);
    report_value("goal", (double)watch->goal_peak_bytes);
    report_value("used", (double)watch->used_peak_bytes);
    report_value("rss", (double)watch->rss_peak_bytes);
}

static void heap_measure(const struct job *job, heap_target *target) {
    static pthread_t workers[HEAP_WORKERS_MOST];
    unsigned count = sample_cpus() < HEAP_WORKERS_MOST ? sample_cpus() : HEAP_WORKERS_MOST;
    struct ebb_stats before;
    struct heap_watch watch = {0};
    report_collect();
    report_step("long-lived array", NULL);
    ebb_stats(&before);
    uint64_t start_ns = sample_now_ns(), cpu_ns = sample_cpu_ns();
    for (unsigned i = 0; i < count; i++) pthread_create(&workers[i], NULL, heap_worker, target);
    heap_watch_workers(&watch, job->seconds);
    atomic_store_explicit(&heap_stop, true, memory_order_relaxed);
    double seconds = (double)(sample_now_ns() - start_ns) / 1e9;
    for (unsigned i = 0; i < count; i++) pthread_join(workers[i], NULL);
    heap_report(&before, &watch, seconds, sample_cpu_ns() - cpu_ns);
    report_step("worked", NULL);
}

/* --- What lives long ------------------------------------------------------------------------ */

static void heap_fill_tick(size_t i, size_t size) {
    if ((i & 0xFFFF) == 0) report_tick(i, size, "filling");
}

static void heap_pointers(const struct job *job) {
    heap_target **array = report_need(ebb_new_array(heap_target *, job->size));
    for (size_t i = 0; i < job->size; i++) {
        array[i] = i < HEAP_TARGETS ? report_need(ebb_new(heap_target)) : array[i - HEAP_TARGETS];
        heap_fill_tick(i, job->size);
    }
    heap_measure(job, array[0]);
    ebb_keep_alive(array);
}

static void heap_integers(const struct job *job) {
    int64_t *array = report_need(ebb_new_array(int64_t, job->size));
    for (size_t i = 0; i < job->size; i++) {
        array[i] = (int64_t)i;
        heap_fill_tick(i, job->size);
    }
    heap_measure(job, ebb_new(heap_target));
    ebb_keep_alive(array);
}

static void heap_handles(const struct job *job) {
    ebb_region region = {0};
    heap_pool pool = {0};
    heap_pool_handle *array =
        report_need(ebb_region_new_array(&region, heap_pool_handle, job->size));
    for (size_t i = 0; i < job->size; i++) {
        array[i] =
            i < HEAP_TARGETS ? ebb_pool_add(&pool, (heap_target){0}) : array[i - HEAP_TARGETS];
        heap_fill_tick(i, job->size);
    }
    heap_measure(job, ebb_new(heap_target));
    report_check(ebb_pool_get(&pool, array[job->size - 1]) != NULL,
                 "handles: the last handle still names its slot");
    ebb_region_release(&region);
    ebb_pool_release(&pool);
    report_step("released", NULL);
}

/* --- The table ------------------------------------------------------------------------------ */

static const struct work heap_works[] = {
    {"pointers", heap_pointers, 150000000, 40000000, 22},
    {"integers", heap_integers, 150000000, 40000000, 22},
    {"handles", heap_handles, 150000000, 40000000, 22},
    {0},
};
enum { HEAP_WORKS = 3, HEAP_FULL = 10 };

static const char *heap_ratio(double part, double whole) {
    static char text[4][16];
    static unsigned next;
    if (whole <= 0) return "";
    char *to = text[next++ % 4];
    snprintf(to, sizeof *text, "%.2f", part / whole);
    return to;
}

static void heap_row(struct table *table, const char *label, const struct run *run,
                     double iterations_integers) {
    if (!run->ran) return;
    double iterations = run_value_named(run, "iterations");
    if (run->stopped || iterations <= 0) {
        table_row(table, label, "stopped", NULL, NULL, NULL, NULL, NULL,
                  text_mb(run->rss_peak_bytes));
        return;
    }
    table_row(table, label, text_number(iterations), heap_ratio(iterations, iterations_integers),
              text_percent(run_value_named(run, "share")),
              text_count((uint64_t)run_value_named(run, "cycles")),
              text_time((uint64_t)run_value_named(run, "pause")),
              text_mb((uint64_t)run_value_named(run, "goal")), text_mb(run->rss_peak_bytes));
}

/* The promise of the goal: passed by no more than what the workers had in their hands, and what a
 * cycle takes to begin. */
static void heap_check_goal(struct tour *tour, const struct work *work, const struct run *run) {
    double goal = run_value_named(run, "goal"), used = run_value_named(run, "used");
    double slack = (tour->cpus + 1) * HEAP_WORKER_WORDS * 8.0 + goal / 20;
    tour_check(tour, goal > 0 && used <= goal + slack,
               "heap/%s: the heap (%s) passed its goal (%s) by more than %s", work->name,
               text_mb((uint64_t)used), text_mb((uint64_t)goal), text_mb((uint64_t)slack));
}

static void heap_print(const struct tour *tour, const struct run ours[HEAP_WORKS],
                       const struct run go[HEAP_WORKS]) {
    static const char *const labels[HEAP_WORKS] = {"Ebb, pointers", "Ebb, plain integers",
                                                   "Ebb, off-heap handles"};
    static struct table table;
    char label[64];
    table_begin(&table, 8, "long-lived array of", "iterations\n/s", "of\nintegers",
                "collector\nCPU", "cycles", "longest\nstop", "heap\ngoal", "peak\nRSS");
    table_row(&table, "Go 1.27, 12 GB of pointers", "stopped", NULL, NULL, NULL, NULL, NULL, NULL);
    table_row(&table, "Go 1.27, tree of 4 GiB", "stopped", NULL, NULL, NULL, NULL, "66560 MB",
              "18432 MB");
    table_row(&table, "Boehm 8.2.2, the same tree", "230", NULL, NULL, NULL, "1.20 s", NULL, NULL);
    for (int i = 0; i < HEAP_WORKS - 1; i++) {
        snprintf(label, sizeof label, "%s here, %s", tour->go_version, heap_works[i].name);
        heap_row(&table, label, &go[i], run_value_named(&go[1], "iterations"));
    }
    for (int i = 0; i < HEAP_WORKS; i++) {
        heap_row(&table, labels[i], &ours[i], run_value_named(&ours[1], "iterations"));
    }
    table_print(&table, stdout);
}

static void heap_show(struct tour *tour, const struct story *story) {
    static const char *const titles[HEAP_WORKS] = {"long-lived pointers", "long-lived integers",
                                                   "long-lived handles, off the heap"};
    static struct plot plot;
    struct run ours[HEAP_WORKS], go[HEAP_WORKS];
    struct work work = heap_works[0];
    if (tour->full) work.size *= HEAP_FULL;
    size_t size = tour_size(tour, &work, "pointers");
    double seconds = tour->quick ? 1.5 : tour->full ? 30 : 6;
    printf("  %s pointers of 8 bytes (%s); %u workers, for %g s each.\n\n", text_count(size),
           text_mb(size * 8), tour->cpus, seconds);
    for (int i = 0; i < HEAP_WORKS; i++) {
        struct job job = {.way = WAY_EBB, .size = size, .seconds = seconds};
        tour_run(tour, story, &heap_works[i], &job, &ours[i]);
        heap_check_goal(tour, &heap_works[i], &ours[i]);
        job.way = WAY_GO;
        go[i] = (struct run){0};
        if (i < HEAP_WORKS - 1) tour_run(tour, story, &heap_works[i], &job, &go[i]);
    }
    heap_print(tour, ours, go);
    plot = (struct plot){.title = "The heap that is too large to trace", .panels = HEAP_WORKS};
    for (int i = 0; i < HEAP_WORKS; i++) {
        plot.panel[i].title = titles[i];
        tour_plot_run(&plot.panel[i], &ours[i], 0, "Ebb");
        tour_plot_run(&plot.panel[i], &go[i], 2, tour->go_version);
    }
    tour_plot_write(tour, story, &plot);
    for (int i = 0; i < HEAP_WORKS; i++) {
        run_free(&ours[i]);
        run_free(&go[i]);
    }
}

const struct story story_heap = {
    "heap", "Story 3: the heap that is too large to trace",
    "A service keeps a long-lived array of pointers, and beside it workers allocate arrays of a\n"
    "million pointers as fast as they can and compute 20! each time. Every cycle has to trace all\n"
    "that lives. In Go allocation outran it, and the heap goal ran away until the process was\n"
    "stopped. What people do about it: keep no pointers in long-lived memory, or keep it outside\n"
    "the heap. This version of Ebb stops the world to collect; its goal comes from what was found\n"
    "reachable, so it does not run away.\n",
    heap_works, heap_show};
