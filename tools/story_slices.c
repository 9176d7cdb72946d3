/* story_slices.c - the slice that remembers: what is alive after a slice was cut, Go's way and by
 * the verbs of Ebb's that own the array. The counterpart in Go is go/slices.go.
 *
 * Every item has a weak reference, so that the story counts what is still alive and does not have
 * to conclude it from sizes. */
#define _GNU_SOURCE 1
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "sample.h"
#include "table.h"
#include "tour.h"

enum {
    SLICES_ITEM_BYTES = 64 << 10,
    SLICES_ALIVE_MOST = 3,           /* a stale word on a stack may keep an item */
    SLICES_ROUNDING_BYTES = 1 << 20, /* heap beside what is kept */
    SLICES_RSS_BYTES = 8 << 20       /* resident beside what is kept */
};

typedef struct slices_item {
    unsigned char bytes[SLICES_ITEM_BYTES];
} slices_item;
EBB_SLICE(slices_items, slices_item *);

typedef struct slices_point {
    double x, y, z;
} slices_point;
EBB_SLICE(slices_points, slices_point);

/* Static, so that they are found as roots. */
static slices_items slices_in_use;
static slices_points slices_path;
static ebb_weak **slices_weak;
static uint64_t slices_rss_start_bytes; /* before the first call of Ebb */

/* --- Steps that all have -------------------------------------------------------------------- */

static uint64_t slices_rss(void) {
    uint64_t rss = sample_rss(getpid());
    return rss > slices_rss_start_bytes ? rss - slices_rss_start_bytes : 0;
}

/* One cycle, and the free pages go. What is left is at most kept_bytes and a little. */
static void slices_collect(bool check, uint64_t kept_bytes) {
    struct ebb_stats stats;
    report_collect();
    report_step("collected", NULL);
    ebb_stats(&stats);
    ebb_release();
    report_step("released", NULL);
    report_value("rss_left", (double)slices_rss());
    if (!check) return;
    report_check(stats.heap_used <= kept_bytes + SLICES_ROUNDING_BYTES,
                 "after the cut and a cycle the heap in use is %llu bytes, to keep %llu",
                 (unsigned long long)stats.heap_used, (unsigned long long)kept_bytes);
}

static void slices_check_rss(uint64_t kept_bytes) {
    report_check(slices_rss() <= kept_bytes + SLICES_RSS_BYTES,
                 "after the cut RSS is %llu bytes above the start, to keep %llu",
                 (unsigned long long)slices_rss(), (unsigned long long)kept_bytes);
}

/* --- Items ---------------------------------------------------------------------------------- */

__attribute__((noinline)) static void slices_fill(size_t n) {
    slices_weak = report_need(ebb_new_array(ebb_weak *, n));
    ebb_reserve(&slices_in_use, n);
    report_need(slices_in_use.ptr);
    for (size_t i = 0; i < n; i++) {
        slices_item *item = report_need(ebb_new(slices_item));
        memset(item->bytes, (int)(i | 1), sizeof item->bytes);
        ebb_append(&slices_in_use, item);
        slices_weak[i] = ebb_weak_new(item);
        report_tick(i, n, "filling");
    }
}

static size_t slices_alive(size_t from, size_t to) {
    size_t alive = 0;
    for (size_t i = from; i < to; i++) alive += ebb_weak_get(slices_weak[i]) != NULL;
    return alive;
}

/* Forgets all but the first keep items of slices_in_use, in one of the ways. */
typedef void (*slices_cut)(size_t keep);

static void slices_items_story(const struct job *job, size_t keep, slices_cut cut, bool frees) {
    slices_rss_start_bytes = sample_rss(getpid());
    slices_fill(job->size);
    report_step("filled", NULL);
    cut(keep);
    report_step("cut", NULL);
    uint64_t kept_bytes = keep * SLICES_ITEM_BYTES;
    slices_collect(frees, kept_bytes);
    if (frees) slices_check_rss(kept_bytes);
    size_t alive = slices_alive(keep, job->size), cut_off = job->size - keep;
    report_value("alive", (double)alive);
    report_check(slices_alive(0, keep) == keep, "the %zu items kept are alive", keep);
    report_check(frees ? alive <= SLICES_ALIVE_MOST : alive == cut_off,
                 "%zu of %zu items cut off are alive", alive, cut_off);
}

static void slices_by_len(size_t keep) {
    slices_in_use.len = keep;
}

static void slices_by_truncate(size_t keep) {
    ebb_truncate(&slices_in_use, keep);
}

static void slices_by_three_index(size_t keep) {
    slices_in_use = ebb_slice3(slices_in_use, 0, keep, keep);
}

static void slices_by_clip(size_t keep) {
    slices_in_use = ebb_slice3(slices_in_use, 0, keep, keep);
    ebb_clip(&slices_in_use);
}

static void slices_by_clear(size_t keep) {
    for (size_t i = keep; i < slices_in_use.len; i++) slices_in_use.ptr[i] = NULL;
    slices_in_use.len = keep;
}

static void slices_by_copy(size_t keep) {
    slices_items copy = {0};
    for (size_t i = 0; i < keep; i++) ebb_append(&copy, slices_in_use.ptr[i]);
    slices_in_use = copy;
}

static void slices_by_shrink(size_t keep) {
    ebb_truncate(&slices_in_use, keep);
    ebb_shrink(&slices_in_use);
}

enum { SLICES_HUNDREDTH = 100 };

static void slices_run_truncate(const struct job *job) {
    bool own = job->way == WAY_EBB;
    slices_items_story(job, job->size / SLICES_HUNDREDTH, own ? slices_by_truncate : slices_by_len,
                       own);
}

static void slices_run_three_index(const struct job *job) {
    size_t keep = job->size / SLICES_HUNDREDTH;
    bool own = job->way == WAY_EBB;
    slices_items_story(job, keep, own ? slices_by_clip : slices_by_three_index, own);
    size_t room = ebb_slice_capacity_true(slices_in_use);
    report_value("cap", (double)slices_in_use.cap);
    report_value("room", (double)room);
    report_check(own || (slices_in_use.cap == keep && room >= job->size),
                 "the three-index form says %zu, but the array's true capacity is %zu",
                 slices_in_use.cap, room);
}

static void slices_run_zero(const struct job *job) {
    bool own = job->way == WAY_EBB;
    slices_items_story(job, 0, own ? slices_by_truncate : slices_by_len, own);
}

static void slices_run_clear(const struct job *job) {
    slices_items_story(job, job->size / SLICES_HUNDREDTH, slices_by_clear, true);
}

static void slices_run_copy(const struct job *job) {
    bool own = job->way == WAY_EBB;
    slices_items_story(job, job->size / SLICES_HUNDREDTH, own ? slices_by_shrink : slices_by_copy,
                       true);
}

/* --- Points --------------------------------------------------------------------------------- */

__attribute__((noinline)) static void slices_fill_points(size_t n) {
    ebb_reserve(&slices_path, n);
    ebb_append_zeros(&slices_path, n);
    report_need(slices_path.ptr);
    for (size_t i = 0; i < n; i++) {
        slices_path.ptr[i] = (slices_point){(double)i, 0, 1};
        if ((i & 0xFFFF) == 0) report_tick(i, n, "filling");
    }
}

__attribute__((noinline)) static void slices_cut_points(size_t keep, bool as_go, bool shrink) {
    if (as_go) {
        slices_path.len = keep;
        return;
    }
    ebb_truncate(&slices_path, keep);
    if (shrink) ebb_shrink(&slices_path);
}

static void slices_points_story(const struct job *job, bool shrink) {
    bool own = job->way == WAY_EBB;
    uint64_t kept_bytes = job->size / SLICES_HUNDREDTH * sizeof(slices_point);
    slices_rss_start_bytes = sample_rss(getpid());
    slices_fill_points(job->size);
    report_step("filled", NULL);
    slices_cut_points(job->size / SLICES_HUNDREDTH, !own, shrink);
    report_step("cut", NULL);
    if (own) slices_check_rss(kept_bytes);
    slices_collect(shrink, kept_bytes * 5 / 4);
    if (own) slices_check_rss(kept_bytes);
}

static void slices_run_points(const struct job *job) {
    slices_points_story(job, false);
}

static void slices_run_points_shrink(const struct job *job) {
    slices_points_story(job, true);
}

/* --- The table ------------------------------------------------------------------------------ */

static const struct work slices_works[] = {
    {"truncate", slices_run_truncate, 4000, 4000, 80000},
    {"three-index", slices_run_three_index, 4000, 4000, 80000},
    {"zero", slices_run_zero, 4000, 4000, 80000},
    {"clear", slices_run_clear, 4000, 4000, 80000},
    {"copy", slices_run_copy, 4000, 4000, 80000},
    {"points", slices_run_points, 10000000, 10000000, 40},
    {"points-shrink", slices_run_points_shrink, 10000000, 10000000, 40},
    {0},
};
enum { SLICES_THREE_INDEX = 1, SLICES_POINTS = 5, SLICES_POINTS_SHRINK = 6, SLICES_WORKS = 7 };

/* Go's way, what it keeps there in MB (1.19 and 1.27 alike), and Ebb's. A null verb: not done. */
struct slices_row {
    const char *label, *go, *as_go_verb, *own_verb;
};

static const struct slices_row slices_rows[SLICES_WORKS] = {
    {"items, all but 1 % cut", "250", "s.len = n", "ebb_truncate"},
    {"items, three-index form", "250", "ebb_slice3", "ebb_clip"},
    {"items, length zero", "250", "s.len = 0", "ebb_truncate"},
    {"items, tail cleared first", "2.6", "loop", NULL},
    {"items, copied", "2.6", "loop", "ebb_shrink"},
    {"points, all but 1 % cut", "229", "s.len = n", "ebb_truncate"},
    {"points, copied", "", NULL, "ebb_shrink"},
};

static bool slices_runs(int row, enum way way) {
    if (way == WAY_EBB) return slices_rows[row].own_verb != NULL;
    return slices_rows[row].as_go_verb != NULL;
}

static const char *slices_heap(const struct run *run) {
    return run->steps ? text_mb_bare(run_step_named(run, "collected").heap_bytes) : "";
}

static const char *slices_left(const struct run *run) {
    return run->steps ? text_mb_bare((uint64_t)run_value_named(run, "rss_left")) : "";
}

static void slices_print(const struct tour *tour, struct run runs[SLICES_WORKS][WAY_COUNT]) {
    static struct table table;
    bool go = tour->go_version[0] != 0;
    char here[48];
    snprintf(here, sizeof here, "%s\nhere", tour->go_version);
    table_begin(&table, go ? 9 : 8, "kept after a cycle", "\nGo", "<as Go,\nby", "on Ebb\nheap",
                "\nRSS", "<Ebb,\nby", "\nheap", "\nRSS", here);
    for (int i = 0; i < SLICES_WORKS; i++) {
        const struct slices_row *row = &slices_rows[i];
        const struct run *own = &runs[i][WAY_EBB], *as_go = &runs[i][WAY_AS_GO];
        table_row(&table, row->label, row->go, row->as_go_verb, slices_heap(as_go),
                  slices_left(as_go), row->own_verb, slices_heap(own), slices_left(own),
                  slices_heap(&runs[i][WAY_GO]));
    }
    table_print(&table, stdout);
    puts("\n  In MB. RSS: resident above the start, free pages given back. Go: versions 1.19, "
         "1.27.");
}

static void slices_print_notes(struct run runs[SLICES_WORKS][WAY_COUNT]) {
    const struct run *three = &runs[SLICES_THREE_INDEX][WAY_AS_GO];
    printf("  Cut-off items still alive after a cycle, by weak references: as Go %.0f, Ebb %.0f.\n",
           run_value_named(&runs[0][WAY_AS_GO], "alive"),
           run_value_named(&runs[0][WAY_EBB], "alive"));
    printf("  The three-index form frees nothing: the capacity says %s, but the array has room for "
           "%s\n  (ebb_slice_capacity_true).\n",
           text_count((uint64_t)run_value_named(three, "cap")),
           text_count((uint64_t)run_value_named(three, "room")));
}

static void slices_plot(struct tour *tour, const struct story *story,
                        struct run runs[SLICES_WORKS][WAY_COUNT]) {
    static const int panels[] = {0, SLICES_POINTS};
    static struct plot plot;
    plot = (struct plot){.title = "The slice that remembers", .panels = 2};
    for (int i = 0; i < 2; i++) {
        struct plot_panel *panel = &plot.panel[i];
        struct run *of = runs[panels[i]];
        panel->title = slices_rows[panels[i]].label;
        tour_plot_run(panel, &of[WAY_EBB], 0, "Ebb");
        tour_plot_run(panel, &of[WAY_AS_GO], 1, "as Go, on Ebb");
        tour_plot_run(panel, &of[WAY_GO], 2, tour->go_version);
    }
    tour_plot_write(tour, story, &plot);
}

static void slices_show(struct tour *tour, const struct story *story) {
    static struct run runs[SLICES_WORKS][WAY_COUNT];
    for (int i = 0; i < SLICES_WORKS; i++) {
        size_t size = tour_size(tour, &slices_works[i], i < SLICES_POINTS ? "items" : "points");
        for (int way = 0; way < WAY_COUNT; way++) {
            struct job job = {.way = (enum way)way, .size = size};
            if (!slices_runs(i, job.way)) continue;
            tour_run(tour, story, &slices_works[i], &job, &runs[i][way]);
        }
    }
    putchar('\n');
    slices_print(tour, runs);
    slices_print_notes(runs);
    slices_plot(tour, story, runs);
    for (int i = 0; i < SLICES_WORKS; i++) {
        for (int way = 0; way < WAY_COUNT; way++) run_free(&runs[i][way]);
    }
}

const struct story story_slices = {
    "slices", "Story 1: the slice that remembers",
    "4,000 items of 64 KiB are in use, kept in a slice. All but one in a hundred fall out of use,\n"
    "and the slice is cut. Its length shrinks, but the array behind it still refers to every "
    "item:\n"
    "Go keeps 250 of 250 MB, by the three-index form and with length zero too. What people do\n"
    "about it: clear the tail first, or copy. Ebb's ebb_truncate forgets what it drops at once.\n"
    "Ten million points hold no pointers, but their array stays, 229 of 229 MB; Ebb gives the\n"
    "pages beyond the length back.\n",
    slices_works, slices_show};
