/* tour.h - the tour: its stories, the pieces of work that they are made of, and what came of them.
 *
 * Each piece of work runs in a process of its own, which is this program again (or the same piece
 * in Go), so that its resident memory is its own. work_… is what happens in that process and
 * run_… what its parent knows of it; see report.h for what the one tells the other. */
#ifndef EBB_TOOLS_TOUR_H
#define EBB_TOOLS_TOUR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "plot.h"

/* Ebb's default; the same done as Go does it, on Ebb; the same in Go. */
enum way { WAY_EBB, WAY_AS_GO, WAY_GO, WAY_COUNT };

/* What a process is told. */
struct job {
    enum way way;
    size_t size;    /* how many of what the work is about */
    double seconds; /* for work that has no end of its own */
    double hold;    /* seconds that each step is held, for the plot */
};

struct work {
    const char *name; /* the command line's, and the Go program's */
    void (*run)(const struct job *job);
    size_t size, quick_size; /* the story's own; what --quick takes */
    size_t unit_bytes;       /* memory that one of size takes at the peak, all ways */
};

/* --- A run ---------------------------------------------------------------------------------- */

struct run_series {
    size_t count, room;
    double *seconds, *mb;
};

struct run_step {
    char name[32];
    double seconds;
    uint64_t heap_bytes, rss_bytes;
};

struct run_value {
    char name[48];
    double number;
};

enum { RUN_STEPS = 32, RUN_VALUES = 192 };

struct run {
    bool ran;     /* else everything here is zero */
    bool stopped; /* ended by us when it had passed the memory that it may use */
    double seconds;
    uint64_t rss_peak_bytes;
    struct run_series heap, rss;
    size_t steps, values;
    struct run_step step[RUN_STEPS];
    struct run_value value[RUN_VALUES];
};

/* The step or value of that name; zeroes, with an empty name, where there is none. */
struct run_step run_step_named(const struct run *run, const char *name);
double run_value_named(const struct run *run, const char *name);

/* --- The tour ------------------------------------------------------------------------------- */

struct tour {
    bool quick, full, with_go;
    const char *out_dir;
    uint64_t budget_bytes; /* what a process of the tour may use */
    unsigned cpus;
    char go_version[32];        /* empty without Go */
    char go_dir[256];           /* of the programs built */
    unsigned held, failed;      /* checks */
    unsigned books;             /* of them, whether the classes of ebb_stats add up */
    bool system_known;          /* the system told what is mapped */
    unsigned looks;             /* at all resident memory, in the story that is told */
    double unexplained_percent; /* the most of RSS that was in no class, in these */
};

struct story {
    const char *name, *title, *text;
    const struct work *works; /* ends with one without a name */
    void (*show)(struct tour *tour, const struct story *story);
};

extern const struct story story_slices, story_maps, story_heap, story_numbers;

/* The work's size here: its own, or what fits in the budget, which is then said. */
size_t tour_size(struct tour *tour, const struct work *work, const char *unit);

/* Runs one work in a process of its own and waits. In Go where that was asked for and can be; else
 * the run is empty. The run's series belong to the caller: run_free. */
void tour_run(struct tour *tour, const struct story *story, const struct work *work,
              const struct job *job, struct run *run);
void run_free(struct run *run);

/* Counts a check of the story's own, and prints it where it failed. */
__attribute__((format(printf, 3, 4))) void tour_check(struct tour *tour, bool holds,
                                                      const char *format, ...);

/* Adds a run's heap and resident size to a panel, and its steps as numbered marks. */
void tour_plot_run(struct plot_panel *panel, const struct run *run, int colour, const char *name);

/* Writes OUT/ebb-tour-STORY.svg and prints its path. */
void tour_plot_write(struct tour *tour, const struct story *story, const struct plot *plot);

/* --- Go ------------------------------------------------------------------------------------- */

/* Looks for go, builds the programs in a temporary directory, says what came of it. */
void golang_build(struct tour *tour);
void golang_remove(struct tour *tour);

#endif
