/* story_heap.c - the heap that is too large to trace: much that lives long and refers to objects,
 * beside workers that allocate as fast as they can, against the same without pointers.
 *
 * What lives long is an array of null pointers that nobody touches (as it was reported), one whose
 * pointers lead to a million objects, or a tree. The workers come in two forms: as reported they
 * never touch what they allocate; in the honest one they write a word in every page of it. */
#define _GNU_SOURCE 1
#include <inttypes.h>
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
    HEAP_PAGE_WORDS = 4096 / 8,
    HEAP_WORKERS_MOST = 64,
    HEAP_STOPS_MOST = 4096
};

typedef struct heap_target {
    int64_t n, m;
} heap_target;
EBB_TYPE(heap_target);
EBB_POOL(heap_pool, heap_target);

typedef struct heap_node {
    struct heap_node *left, *right;
    uint64_t n;
} heap_node;
EBB_TYPE(heap_node, ptr(left), ptr(right));

static bool heap_touched; /* the honest form; set before the workers start */

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
        for (size_t i = 0; heap_touched && i < HEAP_WORKER_WORDS; i += HEAP_PAGE_WORDS) {
            array[i] = target;
        }
        ebb_keep_alive(array);
        atomic_fetch_add_explicit(&heap_burned, heap_factorial(20), memory_order_relaxed);
        atomic_fetch_add_explicit(&heap_iterations, 1, memory_order_relaxed);
    }
    return NULL;
}

/* --- Watching them -------------------------------------------------------------------------- */

/* What was seen while the workers ran. Garbage that waits to be swept is not counted as over the
 * goal: it belongs to the goal of the cycle before. */
struct heap_watch {
    uint64_t used_peak_bytes, goal_peak_bytes, over_peak_bytes;
};

/* How the heap is asked. While iterations are counted without stopping the program; afterwards
 * exactly, which stops it: so the time that it takes decides when it is asked again. */
struct heap_pace {
    void (*ask)(struct ebb_stats *);
    uint64_t least_ns, times;
};

static const struct heap_pace heap_sparse = {ebb_stats_brief, 250 * 1000 * 1000, 0};
static const struct heap_pace heap_dense = {ebb_stats, 5 * 1000 * 1000, 3};

/* Returns how long it took. */
static uint64_t heap_watch_once(struct heap_watch *watch, void (*ask)(struct ebb_stats *)) {
    struct ebb_stats now;
    uint64_t start_ns = sample_now_ns();
    ask(&now);
    bool exact = now.live_objects > 0;
    uint64_t took_ns = sample_now_ns() - start_ns;
    uint64_t held = exact ? now.heap_used - now.dead : now.live;
    if (now.heap_used > watch->used_peak_bytes) watch->used_peak_bytes = now.heap_used;
    if (now.goal > watch->goal_peak_bytes) watch->goal_peak_bytes = now.goal;
    if (held > now.goal && held - now.goal > watch->over_peak_bytes) {
        watch->over_peak_bytes = held - now.goal;
    }
    printf("heap %" PRIu64 "\n", now.heap_used);
    return took_ns;
}

static void heap_watch_workers(struct heap_watch *watch, double seconds,
                               const struct heap_pace *pace) {
    uint64_t start_ns = sample_now_ns(), length_ns = (uint64_t)(seconds * 1e9);
    uint64_t past_ns = 0;
    while (past_ns < length_ns) {
        uint64_t pause_ns = pace->times * heap_watch_once(watch, pace->ask);
        if (pause_ns < pace->least_ns) pause_ns = pace->least_ns;
        if (pause_ns > length_ns - past_ns) pause_ns = length_ns - past_ns;
        struct timespec pause = {(time_t)(pause_ns / 1000000000), (long)(pause_ns % 1000000000)};
        nanosleep(&pause, NULL);
        past_ns = sample_now_ns() - start_ns;
        printf("progress %" PRIu64 " %" PRIu64 " working\n", past_ns / 1000000,
               length_ns / 1000000);
    }
}

/* The longest of the stops that there are more now than the known ones, as far as remembered. */
static uint64_t heap_longest_stop(size_t known) {
    static uint64_t stops[HEAP_STOPS_MOST];
    size_t count = ebb_pauses(stops, HEAP_STOPS_MOST);
    uint64_t longest_ns = 0;
    if (count < HEAP_STOPS_MOST) count -= known;
    for (size_t i = 0; i < count; i++) {
        if (stops[i] > longest_ns) longest_ns = stops[i];
    }
    return longest_ns;
}

static size_t heap_stops_known(void) {
    static uint64_t stops[HEAP_STOPS_MOST];
    return ebb_pauses(stops, HEAP_STOPS_MOST);
}

/* What lives before the workers start: held is the heap's, beside what Ebb has mapped else. */
static void heap_report_before(const struct ebb_stats *before) {
    report_value("held", (double)before->live);
    report_value("beside", (double)(before->offheap + before->metadata));
}

static void heap_report(const struct ebb_stats *before, double seconds, uint64_t cpu_ns) {
    struct ebb_stats after;
    ebb_stats(&after);
    report_value("iterations", (double)atomic_load(&heap_iterations) / seconds);
    report_value("share", (double)(after.cpu_ns - before->cpu_ns) / (double)cpu_ns);
    report_value("cycles", (double)(after.cycles - before->cycles));
    report_value("live", (double)after.marked_live);
}

static void heap_report_watch(const struct heap_watch *watch) {
    report_value("goal", (double)watch->goal_peak_bytes);
    report_value("used", (double)watch->used_peak_bytes);
    report_value("over", (double)watch->over_peak_bytes);
}

/* Iterations are counted first; then the workers go on, to see whether the heap keeps its goal. */
static void heap_measure(const struct job *job, heap_target *target) {
    static pthread_t workers[HEAP_WORKERS_MOST];
    unsigned count = sample_cpus() < HEAP_WORKERS_MOST ? sample_cpus() : HEAP_WORKERS_MOST;
    struct ebb_stats before;
    struct heap_watch watch = {0};
    report_collect();
    report_step("long-lived", NULL);
    ebb_stats(&before);
    heap_report_before(&before);
    size_t stops = heap_stops_known();
    uint64_t start_ns = sample_now_ns(), cpu_ns = sample_cpu_ns();
    for (unsigned i = 0; i < count; i++) pthread_create(&workers[i], NULL, heap_worker, target);
    heap_watch_workers(&watch, job->seconds, &heap_sparse);
    heap_report(&before, (double)(sample_now_ns() - start_ns) / 1e9, sample_cpu_ns() - cpu_ns);
    report_value("pause", (double)heap_longest_stop(stops));
    heap_watch_workers(&watch, job->seconds / 6, &heap_dense);
    atomic_store_explicit(&heap_stop, true, memory_order_relaxed);
    for (unsigned i = 0; i < count; i++) pthread_join(workers[i], NULL);
    heap_report_watch(&watch);
    report_step("worked", NULL);
}

/* --- What lives long ------------------------------------------------------------------------ */

/* Where the memory that is free does not hold what lives and as much again, and all of it is
 * touched, the collector is told what it may use: a little less than the tour grants. */
static void heap_bound(uint64_t live_bytes) {
    struct sample_memory memory;
    sample_memory(&memory);
    uint64_t most_bytes = memory.available_bytes / 100 * 76;
    if (!heap_touched || memory.available_bytes == 0) return;
    if (live_bytes * 2 + live_bytes / 10 < most_bytes) return;
    ebb_set_memory_limit(most_bytes);
    report_value("limit", (double)most_bytes);
}

static void heap_fill_tick(size_t i, size_t size) {
    if ((i & 0xFFFF) == 0) report_tick(i, size, "filling");
}

static void heap_null(const struct job *job) {
    heap_bound(job->size * sizeof(heap_target *));
    heap_target **array = report_need(ebb_new_array(heap_target *, job->size));
    heap_measure(job, ebb_new(heap_target));
    report_check(array[0] == NULL && array[job->size - 1] == NULL, "null: the pointers are null");
    ebb_keep_alive(array);
}

static void heap_check_targets(heap_target *const *array, size_t size) {
    size_t same = 0, targets = size < HEAP_TARGETS ? size : HEAP_TARGETS;
    for (size_t i = 0; i < targets; i++) same += array[size - 1 - i]->n == array[size - 1 - i]->m;
    report_check(same == targets, "pointers: %zu of %zu objects are as they were", same, targets);
}

static void heap_pointers(const struct job *job) {
    heap_bound(job->size * sizeof(heap_target *));
    heap_target **array = report_need(ebb_new_array(heap_target *, job->size));
    for (size_t i = 0; i < job->size; i++) {
        if (i < HEAP_TARGETS) {
            array[i] = report_need(ebb_new(heap_target));
            array[i]->n = array[i]->m = (int64_t)i + 1;
        } else {
            array[i] = array[i - HEAP_TARGETS];
        }
        heap_fill_tick(i, job->size);
    }
    heap_measure(job, array[0]);
    heap_check_targets(array, job->size);
    ebb_keep_alive(array);
}

/* Nodes are numbered from first, in the order of creation. */
static heap_node *heap_tree_make(size_t first, size_t count, size_t all) {
    if (count == 0) return NULL;
    heap_node *node = report_need(ebb_new(heap_node));
    heap_fill_tick(first, all);
    node->n = first;
    node->left = heap_tree_make(first + 1, (count - 1) / 2, all);
    node->right = heap_tree_make(first + 1 + (count - 1) / 2, count / 2, all);
    return node;
}

/* Nodes that are not where their number says count as missing. */
static size_t heap_tree_count(const heap_node *node, size_t first, size_t count) {
    if (!node || count == 0) return 0;
    return (node->n == first) + heap_tree_count(node->left, first + 1, (count - 1) / 2) +
           heap_tree_count(node->right, first + 1 + (count - 1) / 2, count / 2);
}

static void heap_tree(const struct job *job) {
    heap_bound(job->size * 32);
    heap_node *root = heap_tree_make(0, job->size, job->size);
    heap_measure(job, ebb_new(heap_target));
    size_t count = heap_tree_count(root, 0, job->size);
    report_check(count == job->size, "tree: %zu of %zu nodes are there", count, job->size);
}

static void heap_integers(const struct job *job) {
    heap_bound(job->size * sizeof(int64_t));
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

#define HEAP_TOUCHED(kind)                                  \
 static void heap_##kind##_touched(const struct job *job) { \
  heap_touched = true;                                      \
  heap_##kind(job);                                         \
 }
HEAP_TOUCHED(null)
HEAP_TOUCHED(pointers)
HEAP_TOUCHED(tree)
HEAP_TOUCHED(integers)
HEAP_TOUCHED(handles)

/* --- The table ------------------------------------------------------------------------------ */

enum { HEAP_KINDS = 5, HEAP_INTEGERS = 3, HEAP_WORKS = 2 * HEAP_KINDS };
enum { HEAP_FULL = 10, HEAP_ARRAY = 150000000, HEAP_NODES = 16777215, HEAP_FULL_NODES = 134217727 };
enum { HEAP_QUICK_ARRAY = 10000000, HEAP_QUICK_NODES = 1048575 };

/* The second half is the honest form of the first. */
#define HEAP_OF_ARRAY HEAP_ARRAY, HEAP_QUICK_ARRAY, 12
#define HEAP_OF_NODES HEAP_NODES, HEAP_QUICK_NODES, 44
static const struct work heap_works[] = {
    {"null", heap_null, HEAP_OF_ARRAY},
    {"pointers", heap_pointers, HEAP_OF_ARRAY},
    {"tree", heap_tree, HEAP_OF_NODES},
    {"integers", heap_integers, HEAP_OF_ARRAY},
    {"handles", heap_handles, HEAP_OF_ARRAY},
    {"null-touched", heap_null_touched, HEAP_OF_ARRAY},
    {"pointers-touched", heap_pointers_touched, HEAP_OF_ARRAY},
    {"tree-touched", heap_tree_touched, HEAP_OF_NODES},
    {"integers-touched", heap_integers_touched, HEAP_OF_ARRAY},
    {"handles-touched", heap_handles_touched, HEAP_OF_ARRAY},
    {0},
};

static const char *const heap_labels[HEAP_KINDS] = {"null pointers", "pointers to a million",
                                                    "a tree", "plain integers", "off-heap handles"};

static bool heap_work_has_pointers(int i) {
    return i % HEAP_KINDS < HEAP_INTEGERS;
}

static const char *heap_ratio(double part, double whole) {
    static char text[4][16];
    static unsigned next;
    if (whole <= 0) return "";
    char *to = text[next++ % 4];
    snprintf(to, sizeof *text, "%.2f", part / whole);
    return to;
}

static void heap_row(struct table *table, const char *label, const struct run *run,
                     const struct run *integers) {
    if (!run->ran) return;
    double iterations = run_value_named(run, "iterations");
    if (run->stopped || iterations <= 0) {
        table_row(table, label, "stopped", NULL, NULL, NULL, NULL, NULL, NULL,
                  text_mb(run->rss_peak_bytes));
        return;
    }
    table_row(table, label, text_number(iterations),
              heap_ratio(iterations, run_value_named(integers, "iterations")),
              text_percent(run_value_named(run, "share")),
              text_count((uint64_t)run_value_named(run, "cycles")),
              text_time((uint64_t)run_value_named(run, "pause")),
              text_mb((uint64_t)run_value_named(run, "goal")),
              text_mb((uint64_t)run_value_named(run, "over")), text_mb(run->rss_peak_bytes));
}

/* --- What must hold ------------------------------------------------------------------------- */

/* The promise of the goal: passed by no more than what the workers had in their hands, and what a
 * cycle takes to begin. */
static void heap_check_goal(struct tour *tour, const struct work *work, const struct run *run) {
    double goal = run_value_named(run, "goal"), over = run_value_named(run, "over");
    double slack = (tour->cpus + 1) * HEAP_WORKER_WORDS * 8.0 + goal / 20;
    tour_check(tour, goal > 0 && over <= slack,
               "heap/%s: the heap passed its goal (%s at most) by %s, which is more than %s",
               work->name, text_mb((uint64_t)goal), text_mb((uint64_t)over),
               text_mb((uint64_t)slack));
}

/* The highest goal (or what lives, with two arrays of each worker, and as much again, where that is
 * more), a tenth of it for free pages that the heap will want again, a twentieth for the bits of as
 * much memory, and 32 MiB for the program itself. */
static double heap_rss_most(const struct tour *tour, const struct run *run) {
    double held = run_value_named(run, "held") + tour->cpus * 2 * HEAP_WORKER_WORDS * 8.0;
    double limit = run_value_named(run, "limit"), mib = 1 << 20;
    double headroom = held > 16 * mib ? held : 16 * mib;
    double goal = run_value_named(run, "goal");
    double heap = held + headroom > goal ? held + headroom : goal;
    double most = heap * 1.15 + run_value_named(run, "beside") + 32 * mib;
    return limit > 0 && limit + 32 * mib < most ? limit + 32 * mib : most;
}

static void heap_check_rss(struct tour *tour, const struct work *work, const struct run *run) {
    double most = heap_rss_most(tour, run);
    tour_check(tour, (double)run->rss_peak_bytes <= most,
               "heap/%s: resident size (%s) passed the highest goal and what belongs to it (%s)",
               work->name, text_mb(run->rss_peak_bytes), text_mb((uint64_t)most));
}

/* Speed is said, not checked: it depends on what else the machine does. */
static void heap_print_aims(const struct run ours[HEAP_WORKS]) {
    unsigned works = 0, fast = 0, cheap = 0;
    for (int i = 0; i < HEAP_WORKS; i++) {
        const struct run *integers = &ours[i / HEAP_KINDS * HEAP_KINDS + HEAP_INTEGERS];
        if (!heap_work_has_pointers(i)) continue;
        double rate = run_value_named(&ours[i], "iterations");
        works++;
        fast += rate > 0 && rate >= 0.9 * run_value_named(integers, "iterations");
        cheap += rate > 0 && run_value_named(&ours[i], "share") < 0.03;
    }
    printf("\n  Of %u with pointers, %u make at least 0.9 of the iterations with integers, and in "
           "%u\n  the collector takes less than 3 %% of the CPU time.\n",
           works, fast, cheap);
}

static void heap_row_work(struct table *table, const char *who, int i, const struct run *runs) {
    char label[TABLE_TEXT];
    bool touched = i >= HEAP_KINDS;
    snprintf(label, sizeof label, "%s, %s%s", who, heap_labels[i % HEAP_KINDS],
             touched ? ", touched" : "");
    heap_row(table, label, &runs[i], &runs[(touched ? HEAP_KINDS : 0) + HEAP_INTEGERS]);
}

static void heap_print(const struct tour *tour, const struct run *ours, const struct run *go) {
    static struct table table;
    char who[48];
    table_begin(&table, 9, "long-lived", "iterations\n/s", "of\nintegers", "collector\nCPU",
                "cycles", "longest\nstop", "heap\ngoal", "passed\nby", "peak\nRSS");
    table_row(&table, "Go 1.27, 12 GB of pointers", "stopped", NULL, NULL, NULL, NULL, NULL, NULL,
              NULL);
    table_row(&table, "Go 1.27, tree of 4 GiB", "stopped", NULL, NULL, NULL, NULL, "8192 MB",
              "58368 MB", "18432 MB");
    table_row(&table, "Go 1.27, the same, touched", "302", NULL, NULL, NULL, NULL, NULL, NULL,
              "13.9 GB");
    table_row(&table, "Boehm 8.2.2, the same tree", "230", NULL, NULL, NULL, "1.20 s", NULL, NULL,
              NULL);
    snprintf(who, sizeof who, "%s here", tour->go_version);
    for (int i = 0; i < HEAP_WORKS; i++) heap_row_work(&table, who, i, go);
    for (int i = 0; i < HEAP_WORKS; i++) heap_row_work(&table, "Ebb", i, ours);
    table_print(&table, stdout);
}

/* --- The story ------------------------------------------------------------------------------ */

/* The works that have a panel of the plot. */
static const int heap_plotted[PLOT_PANELS] = {1, 2, HEAP_KINDS + 2, HEAP_KINDS + HEAP_INTEGERS};

static void heap_plot(struct tour *tour, const struct story *story, const struct run *ours,
                      const struct run *go) {
    static struct plot plot;
    plot = (struct plot){.title = "The heap that is too large to trace", .panels = PLOT_PANELS};
    for (int panel = 0; panel < PLOT_PANELS; panel++) {
        int i = heap_plotted[panel];
        plot.panel[panel].title = heap_works[i].name;
        tour_plot_run(&plot.panel[panel], &ours[i], 0, "Ebb");
        tour_plot_run(&plot.panel[panel], &go[i], 2, tour->go_version);
    }
    tour_plot_write(tour, story, &plot);
}

static size_t heap_size(struct tour *tour, int i, const char *unit) {
    struct work work = heap_works[i];
    if (tour->full) work.size = work.size == HEAP_NODES ? HEAP_FULL_NODES : work.size * HEAP_FULL;
    return tour_size(tour, &work, unit);
}

static void heap_show(struct tour *tour, const struct story *story) {
    static struct run ours[HEAP_WORKS], go[HEAP_WORKS];
    size_t array = heap_size(tour, 1, "pointers"), nodes = heap_size(tour, 2, "nodes");
    double seconds = tour->quick ? 0.4 : tour->full ? 30 : 3;
    printf("  %s pointers of 8 bytes (%s), or a tree of %s nodes; %u workers, for %g s each.\n\n",
           text_count(array), text_mb(array * 8), text_count(nodes), tour->cpus, seconds);
    for (int i = 0; i < HEAP_WORKS; i++) {
        size_t size = heap_works[i].size == HEAP_NODES ? nodes : array;
        struct job job = {.way = WAY_EBB, .size = size, .seconds = seconds};
        tour_run(tour, story, &heap_works[i], &job, &ours[i]);
        heap_check_goal(tour, &heap_works[i], &ours[i]);
        heap_check_rss(tour, &heap_works[i], &ours[i]);
        job.way = WAY_GO;
        if (i % HEAP_KINDS <= HEAP_INTEGERS) tour_run(tour, story, &heap_works[i], &job, &go[i]);
    }
    heap_print(tour, ours, go);
    heap_print_aims(ours);
    heap_plot(tour, story, ours, go);
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
    "the heap. Ebb marks beside the program, most cycles look only at what is young or changed,\n"
    "and threads that are ahead of the marking help with it; the goal comes from what was found\n"
    "reachable, so it does not run away.\n",
    heap_works, heap_show};
