/* story_numbers.c - the number that cannot be explained: where every resident byte is, by class, at
 * each step of a program that uses all of Ebb and malloc too.
 *
 * All resident memory is sorted at each step of the other stories as well; this one prints it. */
#define _GNU_SOURCE 1
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "table.h"
#include "tour.h"

typedef struct numbers_node {
    struct numbers_node *next;
    int64_t payload[4];
} numbers_node;
EBB_TYPE(numbers_node, ptr(next));

typedef struct numbers_point {
    double x, y, z;
} numbers_point;
EBB_SLICE(numbers_points, numbers_point);

typedef struct numbers_record {
    char bytes[128];
} numbers_record;
EBB_MAP(numbers_records, int64_t, numbers_record);

/* --- The classes ---------------------------------------------------------------------------- */

/* One line of the table. The first ones add up to the RSS. */
struct numbers_class {
    const char *name, *label;
};

static const struct numbers_class numbers_classes[] = {
    {"live", "living objects"},
    {"tails", "+ slices' arrays beyond length"},
    {"empty", "+ empty map slots"},
    {"dead", "+ dead, not swept yet"},
    {"slots", "+ free slots and ends of spans"},
    {"free", "+ free pages, kept for a while"},
    {"metadata", "+ Ebb's own tables"},
    {"offheap", "+ off-heap regions"},
    {"malloc", "+ malloc"},
    {"stacks", "+ stacks"},
    {"files", "+ code, static data, files"},
    {"other", "+ other mappings"},
    {"unexplained", "+ unexplained"},
    {"rss", "= resident (RSS)"},
    {"returned", "mapped, given back or untouched"},
};
enum { NUMBERS_CLASSES = sizeof numbers_classes / sizeof *numbers_classes };

static void numbers_say(int step, const char *class, double bytes) {
    char name[48];
    snprintf(name, sizeof name, "%d.%s", step, class);
    report_value(name, bytes);
}

static void numbers_step(const char *name) {
    static int step;
    struct report_books books;
    report_step(name, &books);
    const struct ebb_memory *m = &books.memory;
    numbers_say(step, "live", (double)(m->live + m->held));
    numbers_say(step, "tails", (double)m->slice_tails);
    numbers_say(step, "empty", (double)m->map_empty);
    numbers_say(step, "dead", (double)m->dead);
    numbers_say(step, "slots", (double)(m->free_slots + m->span_ends));
    numbers_say(step, "free", (double)m->free_pages);
    numbers_say(step, "metadata", (double)m->metadata);
    numbers_say(step, "offheap", (double)m->offheap);
    numbers_say(step, "malloc", (double)m->outside_malloc);
    numbers_say(step, "stacks", (double)m->outside_stacks);
    numbers_say(step, "files", (double)m->outside_files);
    numbers_say(step, "other", (double)m->outside_other);
    numbers_say(step, "unexplained", (double)m->unexplained);
    numbers_say(step, "rss", (double)m->rss);
    numbers_say(step, "returned", (double)m->heap_returned);
    step++;
}

/* --- The program ---------------------------------------------------------------------------- */

enum { NUMBERS_LEFT_MOST = 1 << 20 };

/* All of it static, so that it is found as a root and can be dropped by name. */
static numbers_node *numbers_list;
static numbers_points numbers_cut;
static numbers_records numbers_map;
static ebb_region numbers_region;

__attribute__((noinline)) static void numbers_make_list(size_t count) {
    for (size_t i = 0; i < count; i++) {
        numbers_node *node = report_need(ebb_new(numbers_node));
        node->next = numbers_list;
        numbers_list = node;
        if ((i & 1023) == 0) report_tick(i, count, "a list");
    }
}

__attribute__((noinline)) static void numbers_make_slice(size_t count) {
    ebb_reserve(&numbers_cut, count);
    report_need(numbers_cut.ptr);
    numbers_cut.len = count;
    for (size_t i = 0; i < count; i++) numbers_cut.ptr[i] = (numbers_point){(double)i, 0, 1};
    numbers_cut.len = count / 100;
}

__attribute__((noinline)) static void numbers_make_map(size_t count) {
    ebb_map_grow_only(&numbers_map);
    for (size_t i = 0; i < count; i++) {
        ebb_map_put(&numbers_map, (int64_t)i, (numbers_record){{1}});
        if ((i & 1023) == 0) report_tick(i, count, "a map");
    }
    for (size_t i = 0; i < count; i++) ebb_map_delete(&numbers_map, (int64_t)i);
}

__attribute__((noinline)) static void numbers_drop(void) {
    numbers_list = NULL;
    numbers_cut = (numbers_points){0};
    numbers_map = (numbers_records){0};
    ebb_region_release(&numbers_region);
}

static void numbers_check_dropped(void) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    report_check(stats.live < NUMBERS_LEFT_MOST && stats.offheap < NUMBERS_LEFT_MOST,
                 "after everything was dropped %llu bytes live, and %llu are off the heap",
                 (unsigned long long)stats.live, (unsigned long long)stats.offheap);
}

static void numbers_mixed(const struct job *job) {
    size_t n = job->size;
    numbers_step("start");
    numbers_make_list(n);
    numbers_step("a list");
    numbers_make_slice(2 * n);
    numbers_make_map(n / 4);
    report_collect();
    numbers_step("cut slice, emptied map");
    size_t bytes = n * 32;
    memset(report_need(ebb_region_alloc(&numbers_region, bytes, 16)), 1, bytes);
    char *plain = malloc(bytes);
    if (plain) memset(plain, 1, bytes);
    ebb_keep_alive(plain);
    numbers_step("region, malloc");
    numbers_drop();
    report_collect();
    numbers_step("dropped, collected");
    ebb_release();
    numbers_step("released");
    numbers_check_dropped();
    free(plain);
}

static const struct work numbers_works[] = {
    {"mixed", numbers_mixed, 1000000, 500000, 400},
    {0},
};

/* --- The table ------------------------------------------------------------------------------ */

enum { NUMBERS_STEPS = 6 };

static double numbers_of(const struct run *run, int step, const char *class) {
    char name[48];
    snprintf(name, sizeof name, "%d.%s", step, class);
    return run_value_named(run, name);
}

static void numbers_print(const struct run *run) {
    static struct table table;
    table_begin(&table, NUMBERS_STEPS + 1, "", "start", "a list", "cut slice,\nemptied map",
                "region,\nmalloc", "dropped,\ncollected", "released");
    for (int c = 0; c < NUMBERS_CLASSES; c++) {
        char cells[NUMBERS_STEPS][32];
        for (int s = 0; s < NUMBERS_STEPS; s++) {
            snprintf(cells[s], sizeof cells[s], "%.1f",
                     numbers_of(run, s, numbers_classes[c].name) / (1 << 20));
        }
        table_row(&table, numbers_classes[c].label, cells[0], cells[1], cells[2], cells[3],
                  cells[4], cells[5]);
    }
    table_print(&table, stdout);
}

static void numbers_show(struct tour *tour, const struct story *story) {
    static struct plot plot;
    struct run run;
    struct job job = {.way = WAY_EBB, .size = tour_size(tour, &numbers_works[0], "objects")};
    tour_run(tour, story, &numbers_works[0], &job, &run);
    putchar('\n');
    numbers_print(&run);
    if (!tour->system_known) {
        printf("\n  What the system has mapped: not available here; only Ebb's own sums were "
               "checked.\n");
    } else {
        printf(
            "\n  At every step of every story run here, Ebb's sums were compared with each other "
            "and\n  with the system's account of its mappings (told %s): %u comparisons so "
            "far.\n",
            run_value_named(&run, "system_by_name") > 0 ? "by their names" : "by elimination",
            tour->books);
    }
    plot = (struct plot){.title = "The number that cannot be explained", .panels = 1};
    plot.panel[0].title = "a list, a slice, a map, a region, malloc";
    tour_plot_run(&plot.panel[0], &run, 0, "Ebb");
    tour_plot_write(tour, story, &plot);
    run_free(&run);
}

const struct story story_numbers = {
    "numbers", "Story 4: the number that cannot be explained",
    "The heap profile says far less than top does: slice tails, empty map slots, pages not given\n"
    "back and off-heap memory are in none of Go's accounts. ebb_memory sorts every resident byte\n"
    "of the process into a class, Ebb's and others', in one consistent look. Here is a program\n"
    "that makes a list, cuts a slice Go's way, empties a map that only grows, fills a region and\n"
    "as much from malloc, and then drops it all. In MB:\n",
    numbers_works, numbers_show};
