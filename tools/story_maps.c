/* story_maps.c - the map that only grows: filled, emptied, collected, in all the variants that the
 * report names, with Ebb's maps as they are and as Go's would be (grow-only).
 *
 * The driver is written once, for any map; what differs between the maps is a few lines that a
 * macro makes for each. The counterpart in Go is go/maps.go. */
#define _GNU_SOURCE 1
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "sample.h"
#include "table.h"
#include "tour.h"

typedef struct maps_wide128 {
    unsigned char bytes[128];
} maps_wide128;
typedef struct maps_wide120 {
    unsigned char bytes[120];
} maps_wide120;
typedef struct maps_wide640 {
    unsigned char bytes[640];
} maps_wide640;

EBB_MAP(maps_int128, int64_t, maps_wide128);
EBB_MAP(maps_strings, ebb_str, ebb_str);
EBB_MAP(maps_by_wide640, maps_wide640, maps_wide640);
EBB_MAP(maps_by_wide120, maps_wide120, maps_wide120);
EBB_MAP(maps_pointers, int64_t, maps_wide128 *);

/* --- Keys and values ------------------------------------------------------------------------ */

#define MAPS_WIDE(type, i)                                                                    \
 ((type){.bytes = {(unsigned char)(i), (unsigned char)((i) >> 8), (unsigned char)((i) >> 16), \
                   (unsigned char)((i) >> 24)}})

enum { MAPS_TEXT = 32 };

static ebb_str maps_text(char *text, const char *format, size_t i) {
    int length = snprintf(text, MAPS_TEXT, format, i);
    return (ebb_str){text, (size_t)length};
}

static ebb_str maps_new_text(const char *format, size_t i) {
    char text[MAPS_TEXT];
    ebb_str str = maps_text(text, format, i);
    char *kept = report_need(ebb_alloc_data(str.len));
    memcpy(kept, text, str.len);
    return (ebb_str){kept, str.len};
}

static maps_wide128 *maps_new_wide(size_t i) {
    maps_wide128 *wide = report_need(ebb_new(maps_wide128));
    *wide = MAPS_WIDE(maps_wide128, i);
    return wide;
}

/* --- The maps ------------------------------------------------------------------------------- */

/* What the driver needs of a map. */
struct maps_kind {
    int (*put)(size_t i);
    bool (*remove)(size_t i);
    bool (*has)(size_t i);
    size_t (*len)(void);
    int (*grow_only)(void);
    int (*reserve)(size_t n);
    const void *(*identity)(void); /* the map object behind the handle */
};

/* key_new(i) goes into the map, key(i) is one to look for it. */
#define MAPS_KIND(name, type, key_new, key, value)                                              \
 static type name##_map;                                                                        \
 static int name##_put(size_t i) {                                                              \
  return ebb_map_put(&name##_map, key_new, value);                                              \
 }                                                                                              \
 static bool name##_remove(size_t i) {                                                          \
  return ebb_map_delete(&name##_map, key);                                                      \
 }                                                                                              \
 static bool name##_has(size_t i) {                                                             \
  return ebb_map_has(&name##_map, key);                                                         \
 }                                                                                              \
 static size_t name##_len(void) {                                                               \
  return ebb_map_len(&name##_map);                                                              \
 }                                                                                              \
 static int name##_grow_only(void) {                                                            \
  return ebb_map_grow_only(&name##_map);                                                        \
 }                                                                                              \
 static int name##_reserve(size_t n) {                                                          \
  return ebb_map_reserve(&name##_map, n);                                                       \
 }                                                                                              \
 static const void *name##_identity(void) {                                                     \
  return name##_map.map;                                                                        \
 }                                                                                              \
 static const struct maps_kind name##_kind = {name##_put,     name##_remove,    name##_has,     \
                                              name##_len,     name##_grow_only, name##_reserve, \
                                              name##_identity}

MAPS_KIND(maps_int128, maps_int128, (int64_t)i, (int64_t)i, MAPS_WIDE(maps_wide128, i));
MAPS_KIND(maps_strings, maps_strings, maps_new_text("visitor-%09zu", i),
          maps_text((char[MAPS_TEXT]){0}, "visitor-%09zu", i),
          maps_new_text("seen at gate %09zu", i));
MAPS_KIND(maps_wide640, maps_by_wide640, MAPS_WIDE(maps_wide640, i), MAPS_WIDE(maps_wide640, i),
          MAPS_WIDE(maps_wide640, i));
MAPS_KIND(maps_wide120, maps_by_wide120, MAPS_WIDE(maps_wide120, i), MAPS_WIDE(maps_wide120, i),
          MAPS_WIDE(maps_wide120, i));
MAPS_KIND(maps_pointers, maps_pointers, (int64_t)i, (int64_t)i, maps_new_wide(i));

/* --- The driver ----------------------------------------------------------------------------- */

enum { MAPS_HEAP_MOST = 1 << 20, MAPS_RSS_MOST = 8 << 20, MAPS_ROUNDS = 5 };

static uint64_t maps_rss_start_bytes; /* before the first call of Ebb */

static void maps_begin(const struct maps_kind *kind, enum way way) {
    maps_rss_start_bytes = sample_rss(getpid());
    report_step("started", NULL);
    if (way == WAY_AS_GO) kind->grow_only();
}

static void maps_fill(const struct maps_kind *kind, size_t from, size_t count) {
    int error = 0;
    for (size_t i = 0; i < count; i++) {
        error |= kind->put(from + i);
        if ((i & 1023) == 0) report_tick(i, count, "inserting");
    }
    report_check(error == 0 && kind->len() == count, "inserted %zu entries, of %zu", kind->len(),
                 count);
}

static void maps_empty(const struct maps_kind *kind, size_t from, size_t count) {
    size_t gone = 0;
    for (size_t i = 0; i < count; i++) {
        gone += kind->remove(from + i);
        if ((i & 1023) == 0) report_tick(i, count, "deleting");
    }
    report_check(gone == count && kind->len() == 0, "deleted %zu entries, of %zu", gone, count);
}

/* Whatever was done to the map, one table at a time was moved. */
static void maps_check_moves(void) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    report_value("moved", (double)stats.map_moved_max);
    report_value("table", (double)stats.map_table_max);
    report_check(stats.map_table_max > 0 && stats.map_moved_max <= stats.map_table_max,
                 "an operation moved %llu entries; the largest table has %llu slots",
                 (unsigned long long)stats.map_moved_max, (unsigned long long)stats.map_table_max);
}

/* The map that was filled is there, empty, usable; its memory is not. */
static void maps_check_empty(const struct maps_kind *kind, const void *identity) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    report_check(kind->identity() == identity, "the emptied map is the same object");
    report_check(
        stats.heap_used < MAPS_HEAP_MOST,
        "after deleting everything the heap in use is %llu bytes, of at most %d (%llu of them "
        "in %llu objects alive)",
        (unsigned long long)stats.heap_used, MAPS_HEAP_MOST, (unsigned long long)stats.live,
        (unsigned long long)stats.live_objects);
}

static void maps_check_rss(const struct maps_kind *kind) {
    uint64_t rss = sample_rss(getpid());
    report_check(rss <= maps_rss_start_bytes + MAPS_RSS_MOST,
                 "RSS is %llu bytes above where it began, of at most %d",
                 (unsigned long long)(rss - maps_rss_start_bytes), MAPS_RSS_MOST);
    report_check(kind->put(7) == 0 && kind->has(7) && !kind->has(8) && kind->remove(7),
                 "the emptied map still takes and finds an entry");
}

static void maps_story(const struct maps_kind *kind, const struct job *job) {
    maps_begin(kind, job->way);
    maps_fill(kind, 0, job->size);
    const void *identity = kind->identity();
    report_step("inserted", NULL);
    maps_empty(kind, 0, job->size);
    report_step("deleted", NULL);
    report_collect();
    report_step("collected", NULL);
    if (job->way == WAY_EBB) maps_check_empty(kind, identity);
    ebb_release();
    report_step("released", NULL);
    report_value("rss_left", (double)sample_rss(getpid()) - (double)maps_rss_start_bytes);
    maps_check_moves();
    if (job->way == WAY_EBB) maps_check_rss(kind);
}

static void maps_rounds(const struct maps_kind *kind, const struct job *job) {
    char name[16];
    uint64_t took_ns = 0;
    for (size_t round = 1; round <= MAPS_ROUNDS; round++) {
        uint64_t start_ns = sample_cpu_ns();
        maps_fill(kind, round * job->size, job->size);
        took_ns += sample_cpu_ns() - start_ns;
        snprintf(name, sizeof name, "full %zu", round);
        report_step(name, NULL);
        maps_empty(kind, round * job->size, job->size);
        report_collect();
        snprintf(name, sizeof name, "empty %zu", round);
        report_step(name, NULL);
    }
    report_value("ns", (double)took_ns / (double)(MAPS_ROUNDS * job->size));
    maps_check_moves();
}

/* --- The works ------------------------------------------------------------------------------ */

static void maps_run_int128(const struct job *job) {
    maps_story(&maps_int128_kind, job);
}

static void maps_run_strings(const struct job *job) {
    maps_story(&maps_strings_kind, job);
}

static void maps_run_wide640(const struct job *job) {
    maps_story(&maps_wide640_kind, job);
}

static void maps_run_wide120(const struct job *job) {
    maps_story(&maps_wide120_kind, job);
}

static void maps_run_pointers(const struct job *job) {
    maps_story(&maps_pointers_kind, job);
}

static void maps_run_refill(const struct job *job) {
    maps_begin(&maps_int128_kind, job->way);
    maps_rounds(&maps_int128_kind, job);
    if (job->way == WAY_EBB) maps_check_empty(&maps_int128_kind, maps_int128_kind.identity());
    ebb_release();
    report_step("released", NULL);
    if (job->way == WAY_EBB) maps_check_rss(&maps_int128_kind);
}

static void maps_run_reserve(const struct job *job) {
    maps_begin(&maps_int128_kind, job->way);
    maps_int128_kind.reserve(job->size);
    maps_rounds(&maps_int128_kind, job);
}

/* Visitors at each hour of a day, in hundredths of the peak. They are remembered in the order in
 * which they come, and forgotten in the same. */
static const unsigned char maps_day[24] = {4,   3,  2,  2,  2,  3,  6,  12, 25, 45, 70, 90,
                                           100, 95, 80, 60, 45, 30, 20, 14, 10, 7,  5,  4};
enum { MAPS_NOON = 12 };

static void maps_hour(size_t hour, size_t *first, size_t *next, size_t wanted, size_t moves) {
    for (size_t moved = 0; moved < moves || *next - *first != wanted; moved++) {
        if ((moved & 1023) == 0) report_tick(hour, 24, "a day's visitors");
        if (*next - *first <= wanted) maps_int128_kind.put((*next)++);
        if (*next - *first > wanted) maps_int128_kind.remove((*first)++);
    }
}

static void maps_run_cache(const struct job *job) {
    size_t first = 0, next = 0;
    maps_begin(&maps_int128_kind, job->way);
    for (size_t hour = 0; hour < 24; hour++) {
        maps_hour(hour, &first, &next, job->size / 100 * maps_day[hour], job->size / 8);
        if (hour == MAPS_NOON) report_step("noon", NULL);
    }
    report_collect();
    report_step("midnight", NULL);
    ebb_release();
    report_step("released", NULL);
    report_value("rss_left", (double)sample_rss(getpid()) - (double)maps_rss_start_bytes);
    report_check(maps_int128_kind.len() == next - first, "the cache holds %zu entries",
                 maps_int128_kind.len());
    maps_check_moves();
}

static const struct work maps_works[] = {
    {"int128", maps_run_int128, 1000000, 1000000, 700},
    {"strings", maps_run_strings, 400000, 400000, 500},
    {"wide640", maps_run_wide640, 400000, 400000, 3000},
    {"wide120", maps_run_wide120, 400000, 400000, 1200},
    {"pointers", maps_run_pointers, 1000000, 1000000, 500},
    {"refill", maps_run_refill, 1000000, 250000, 700},
    {"cache", maps_run_cache, 1000000, 500000, 700},
    {"reserve", maps_run_reserve, 1000000, 250000, 700},
    {0},
};
enum { MAPS_REFILL = 5, MAPS_CACHE = 6, MAPS_RESERVE = 7, MAPS_WORKS = 8 };

/* --- The table ------------------------------------------------------------------------------ */

/* A row: Go's figures in MB, of Go 1.27 or the report; with a star, of Go 1.19 by go/maps.go. */
struct maps_row {
    const char *label, *go_full, *go_empty, *full, *empty;
};

static const struct maps_row maps_rows[MAPS_WORKS] = {
    {"int -> [128]byte", "461", "293", "inserted", "collected"},
    {"string -> string", "51 *", "20 *", "inserted", "collected"},
    {"[640]byte -> [640]byte", "499", "10.5", "inserted", "collected"},
    {"[120]byte -> [120]byte", "216 *", "142 *", "inserted", "collected"},
    {"int -> *[128]byte", "182 *", "38", "inserted", "collected"},
    {"filled, emptied x 5", "461 *", "298 *", "full 5", "empty 5"},
    {"cache: noon, midnight", "461 *", "293 *", "noon", "midnight"},
    {"x 5, room reserved", "", "", "full 5", "empty 5"},
};

static const char *maps_cell(const struct run *run, const char *step) {
    return run->steps ? text_mb_bare(run_step_named(run, step).heap_bytes) : "";
}

static const char *maps_left(const struct run *run) {
    double left = run_value_named(run, "rss_left");
    return left != 0 ? text_mb_bare(left > 0 ? (uint64_t)left : 0) : "";
}

/* The report's figure is of the report's size. */
static const char *maps_of_go(const char *figure, int row, const size_t sizes[MAPS_WORKS]) {
    return sizes[row] == maps_works[row].size ? figure : "";
}

static void maps_print(const struct tour *tour, struct run runs[MAPS_WORKS][WAY_COUNT],
                       const size_t sizes[MAPS_WORKS]) {
    static struct table table;
    bool go = tour->go_version[0] != 0;
    table_begin(&table, go ? 11 : 9, "", "\nentries", "Go\nfull", "\nempty", "as Go,\nfull",
                "on Ebb\nempty", "Ebb\nfull", "\nempty", "\nRSS", tour->go_version, "here\nempty");
    for (int i = 0; i < MAPS_WORKS; i++) {
        const struct run *own = &runs[i][WAY_EBB], *as_go = &runs[i][WAY_AS_GO],
                         *in_go = &runs[i][WAY_GO];
        const struct maps_row *row = &maps_rows[i];
        table_row(&table, row->label, text_count(sizes[i]), maps_of_go(row->go_full, i, sizes),
                  maps_of_go(row->go_empty, i, sizes), maps_cell(as_go, row->full),
                  maps_cell(as_go, row->empty), maps_cell(own, row->full),
                  maps_cell(own, row->empty), maps_left(own), maps_cell(in_go, row->full),
                  maps_cell(in_go, row->empty));
    }
    table_print(&table, stdout);
    puts("\n  In MB of heap, full and emptied; RSS: resident above the start, free pages given "
         "back.\n  Go: the reports' figures; * measured with Go 1.19. As Go: ebb_map_grow_only.");
}

static void maps_print_notes(struct run runs[MAPS_WORKS][WAY_COUNT]) {
    const struct run *own = &runs[MAPS_REFILL][WAY_EBB];
    printf("  Filling, of five times, in CPU time an entry: %s ns as Go, %s by Ebb's default, %s "
           "with\n"
           "  room reserved.\n",
           text_number(run_value_named(&runs[MAPS_REFILL][WAY_AS_GO], "ns")),
           text_number(run_value_named(own, "ns")),
           text_number(run_value_named(&runs[MAPS_RESERVE][WAY_EBB], "ns")));
    printf("  Most entries that one operation moved: %.0f; slots of the largest table: %.0f.\n",
           run_value_named(own, "moved"), run_value_named(own, "table"));
}

static void maps_plot(struct tour *tour, const struct story *story,
                      struct run runs[MAPS_WORKS][WAY_COUNT]) {
    static const int panels[] = {0, MAPS_REFILL, MAPS_CACHE};
    static struct plot plot;
    plot = (struct plot){.title = "The map that only grows", .panels = 3};
    for (int i = 0; i < 3; i++) {
        struct plot_panel *panel = &plot.panel[i];
        struct run *of = runs[panels[i]];
        panel->title = maps_rows[panels[i]].label;
        tour_plot_run(panel, &of[WAY_EBB], 0, "Ebb");
        tour_plot_run(panel, &of[WAY_AS_GO], 1, "as Go, on Ebb");
        tour_plot_run(panel, &of[WAY_GO], 2, tour->go_version);
    }
    tour_plot_write(tour, story, &plot);
}

static void maps_show(struct tour *tour, const struct story *story) {
    static struct run runs[MAPS_WORKS][WAY_COUNT];
    size_t sizes[MAPS_WORKS];
    for (int i = 0; i < MAPS_WORKS; i++) {
        sizes[i] = tour_size(tour, &maps_works[i], "entries");
        for (int way = 0; way < WAY_COUNT; way++) {
            struct job job = {.way = (enum way)way, .size = sizes[i]};
            if (i == MAPS_RESERVE && way != WAY_EBB) continue;
            tour_run(tour, story, &maps_works[i], &job, &runs[i][way]);
        }
    }
    putchar('\n');
    maps_print(tour, runs, sizes);
    maps_print_notes(runs);
    maps_plot(tour, story, runs);
    for (int i = 0; i < MAPS_WORKS; i++) {
        for (int way = 0; way < WAY_COUNT; way++) run_free(&runs[i][way]);
    }
}

const struct story story_maps = {
    "maps", "Story 2: the map that only grows",
    "A million entries go into a map and are all deleted again. Deleting zeroes keys and values,\n"
    "so what they point to is freed; but Go keeps the buckets, 293 of 461 MB, and giving free\n"
    "memory back to the system does not change it. What people do about it: restart, copy the "
    "map,\n"
    "or store pointers. Ebb's maps are many small tables, and a table that runs empty is merged "
    "or\n"
    "goes; no operation moves more than one. A program that refills can ask to keep the room.\n",
    maps_works, maps_show};
