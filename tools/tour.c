/* tour.c - the tour as a whole: its command line, what it may use of the machine, the order of its
 * stories, and what held.
 *
 * The stories are story_*.c, one each; they say what is told, what is run and what must hold. See
 * docs/tour.md. */
#define _GNU_SOURCE 1
#include "command.h"
#include "tour.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json.h"
#include "progress.h"
#include "report.h"
#include "sample.h"
#include "table.h"

static const struct story *const tour_stories[] = {&story_slices, &story_maps, &story_heap,
                                                   &story_numbers};
enum { TOUR_STORIES = sizeof tour_stories / sizeof *tour_stories };

static const uint64_t tour_quick_bytes = (uint64_t)1800 << 20;

static const char tour_help_text[] =
    "Example:\n"
    "  ebb tour maps --with-go     the story of the map that only grows, beside Go\n"
    "\n"
    "usage: ebb tour [slices|maps|heap|numbers ...] [--quick | --full] [--with-go] [--out DIR]\n"
    "                [--json]\n"
    "\n"
    "  slices       the slice that remembers what was cut off\n"
    "  maps         the map that only grows\n"
    "  heap         the heap that is too large to trace\n"
    "  numbers      the number that cannot be explained\n"
    "               (without a name: all four)\n"
    "\n"
    "  --quick      under 30 s and 2 GiB\n"
    "  --full       the heap in the report's own size: 12 GB of pointers, if there is memory\n"
    "  --with-go    the same in Go, if it is installed, as another column\n"
    "  --out DIR    where the plots go; default: ebb-tour in the current directory\n"
    "  --json       what held as JSON; what is told goes to standard error\n"
    "\n"
    "Ends with status 0 when everything held that the tour checks, 1 when not, 2 for a wrong\n"
    "argument. To run one piece of work by itself, and see what it reports:\n"
    "\n"
    "  ebb tour --work STORY/WORK [--way ebb|as-go] [--size N] [--seconds S] [--hold S]\n";

/* --- What stories use ----------------------------------------------------------------------- */

void tour_check(struct tour *tour, bool holds, const char *format, ...) {
    if (holds) {
        tour->held++;
        return;
    }
    tour->failed++;
    progress_end();
    va_list args;
    va_start(args, format);
    fputs("  FAILED: ", stdout);
    vprintf(format, args);
    putchar('\n');
    va_end(args);
}

size_t tour_size(struct tour *tour, const struct work *work, const char *unit) {
    size_t size = tour->quick ? work->quick_size : work->size;
    size_t fits = (size_t)(tour->budget_bytes / work->unit_bytes);
    if (size <= fits) return size;
    printf("  (%s: %s %s instead of %s, for the memory that is free here)\n", work->name,
           text_count(fits), unit, text_count(size));
    return fits > 1000 ? fits : 1000;
}

/* The note's number: its place in the panel, where it is added if new. */
static int tour_plot_note(struct plot_panel *panel, const char *note) {
    for (size_t i = 0; i < panel->notes; i++) {
        if (strcmp(panel->note[i], note) == 0) return (int)i + 1;
    }
    if (panel->notes == PLOT_NOTES) return 0;
    panel->note[panel->notes++] = note;
    return (int)panel->notes;
}

static void tour_plot_line(struct plot_panel *panel, const struct run_series *series,
                           const char *name, int colour, bool dashed) {
    if (panel->lines == PLOT_LINES || series->count == 0) return;
    panel->line[panel->lines++] =
        (struct plot_line){name, colour, dashed, series->count, series->seconds, series->mb};
}

void tour_plot_run(struct plot_panel *panel, const struct run *run, int colour, const char *name) {
    static char names[32][64]; /* kept until the plot is written */
    static unsigned next;
    if (!run->ran) return;
    char *heap = names[next++ % 32], *rss = names[next++ % 32];
    snprintf(heap, sizeof *names, "%s: heap", name);
    snprintf(rss, sizeof *names, "%s: RSS", name);
    tour_plot_line(panel, &run->heap, heap, colour, false);
    tour_plot_line(panel, &run->rss, rss, colour, true);
    for (size_t i = 0; i < run->steps && panel->marks < PLOT_MARKS; i++) {
        const struct run_step *step = &run->step[i];
        int number = tour_plot_note(panel, step->name);
        double mb = (double)step->heap_bytes / (1 << 20);
        if (number == 0) continue;
        panel->mark[panel->marks++] = (struct plot_mark){step->seconds, mb, number, colour};
    }
}

void tour_plot_write(struct tour *tour, const struct story *story, const struct plot *plot) {
    char path[1024];
    snprintf(path, sizeof path, "%s/ebb-tour-%s.svg", tour->out_dir, story->name);
    if (plot_write(plot, path) == 0) {
        printf("\n  plot: %s\n", path);
    } else {
        tour_check(tour, false, "cannot write %s: %s", path, strerror(errno));
    }
}

/* --- The machine ---------------------------------------------------------------------------- */

static void tour_budget(struct tour *tour) {
    struct sample_memory memory;
    sample_memory(&memory);
    tour->cpus = sample_cpus();
    tour->budget_bytes = memory.available_bytes / 5 * 4;
    if (memory.available_bytes == 0) tour->budget_bytes = (uint64_t)1 << 30;
    if (tour->quick && tour->budget_bytes > tour_quick_bytes) {
        tour->budget_bytes = tour_quick_bytes;
    }
    printf("Here: %u processor%s, %s of memory free (as %s has it); a process of the tour may use "
           "%s.\n1 MB is 1048576 bytes, as in the reports.\n",
           tour->cpus, tour->cpus == 1 ? "" : "s", text_mb(memory.available_bytes), memory.bound_by,
           text_mb(tour->budget_bytes));
}

static bool tour_out_dir(const struct tour *tour) {
    if (mkdir(tour->out_dir, 0777) == 0 || errno == EEXIST) {
        if (access(tour->out_dir, W_OK | X_OK) == 0) return true;
    }
    fprintf(stderr, "ebb tour: cannot write plots to %s: %s; choose another place with --out DIR\n",
            tour->out_dir, strerror(errno));
    return false;
}

/* --- Telling -------------------------------------------------------------------------------- */

static void tour_tell(struct tour *tour, const struct story *story) {
    bool bold = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    printf("\n%s%s%s\n%s\n", bold ? "\033[1m" : "", story->title, bold ? "\033[0m" : "",
           story->text);
    fflush(stdout);
    tour->looks = 0;
    tour->unexplained_percent = 0;
    story->show(tour, story);
    if (tour->looks)
        printf("\n  Resident memory: at %u steps every byte was in a class but for %.2f %% at most "
               "(unexplained).\n",
               tour->looks, tour->unexplained_percent);
    fflush(stdout);
}

static int tour_end(const struct tour *tour) {
    printf("\ntour: %u checks held, %u failed\n", tour->held, tour->failed);
    return tour->failed ? 1 : 0;
}

static int tour_all(struct tour *tour, const bool *chosen) {
    if (!tour_out_dir(tour)) return 2;
    tour_budget(tour);
    if (tour->with_go) golang_build(tour);
    for (size_t i = 0; i < TOUR_STORIES; i++) {
        if (chosen[i]) tour_tell(tour, tour_stories[i]);
    }
    golang_remove(tour);
    return tour_end(tour);
}

/* The same with its text on standard error. */
static int tour_all_json(struct tour *tour, const bool *chosen) {
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    if (kept < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return 1;
    int result = tour_all(tour, chosen);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    if (result == 2) return result;
    printf("{\"held\": %u, \"failed\": %u, \"out\": ", tour->held, tour->failed);
    json_string(stdout, tour->out_dir);
    puts("}");
    return result;
}

/* --- One piece of work, in this process ----------------------------------------------------- */

static const struct work *tour_work(const char *full_name) {
    for (size_t i = 0; i < TOUR_STORIES; i++) {
        size_t length = strlen(tour_stories[i]->name);
        if (strncmp(full_name, tour_stories[i]->name, length) != 0) continue;
        if (full_name[length] != '/') continue;
        for (const struct work *work = tour_stories[i]->works; work->name; work++) {
            if (strcmp(work->name, full_name + length + 1) == 0) return work;
        }
    }
    return NULL;
}

static int tour_work_main(const char *full_name, struct job *job) {
    const struct work *work = tour_work(full_name);
    if (!work) {
        fprintf(stderr, "ebb tour: there is no work \"%s\"; there are:\n", full_name);
        for (size_t i = 0; i < TOUR_STORIES; i++) {
            for (work = tour_stories[i]->works; work->name; work++) {
                fprintf(stderr, "  %s/%s\n", tour_stories[i]->name, work->name);
            }
        }
        return 2;
    }
    if (job->size == 0) job->size = work->size;
    report_begin(job->hold);
    work->run(job);
    return 0;
}

/* --- The command line ----------------------------------------------------------------------- */

struct tour_options {
    struct tour tour;
    bool json;
    struct job job;
    const char *work;
    bool any, chosen[TOUR_STORIES];
};

static int tour_bad(const char *what, const char *argument) {
    fprintf(stderr, "ebb tour: %s \"%s\"; ebb tour --help says what there is\n", what, argument);
    return 2;
}

static int tour_option_story(struct tour_options *options, const char *name) {
    for (size_t i = 0; i < TOUR_STORIES; i++) {
        if (strcmp(name, tour_stories[i]->name) == 0) {
            options->chosen[i] = options->any = true;
            return 0;
        }
    }
    return tour_bad(name[0] == '-' ? "there is no option" : "there is no story", name);
}

static int tour_option_flag(struct tour_options *options, const char *name) {
    if (strcmp(name, "--quick") == 0) {
        options->tour.quick = true;
    } else if (strcmp(name, "--full") == 0) {
        options->tour.full = true;
    } else if (strcmp(name, "--with-go") == 0) {
        options->tour.with_go = true;
    } else if (strcmp(name, "--json") == 0) {
        options->json = true;
    } else {
        return tour_option_story(options, name);
    }
    return 0;
}

static int tour_option_way(struct tour_options *options, const char *way) {
    options->job.way = strcmp(way, "as-go") == 0 ? WAY_AS_GO : WAY_EBB;
    bool known = options->job.way == WAY_AS_GO || strcmp(way, "ebb") == 0;
    return known ? 0 : tour_bad("there is no way", way);
}

static int tour_option_number(const char *text, double *number) {
    char *end;
    *number = strtod(text, &end);
    return *end || !(*number >= 0) ? tour_bad("not a number:", text) : 0;
}

/* An option with an argument; 1 when name is none of them. */
static int tour_option_valued(struct tour_options *options, const char *name, const char *value) {
    double number = 0;
    int bad = 0;
    if (strcmp(name, "--out") == 0) {
        options->tour.out_dir = value;
    } else if (strcmp(name, "--work") == 0) {
        options->work = value;
    } else if (strcmp(name, "--way") == 0) {
        bad = tour_option_way(options, value);
    } else if (strcmp(name, "--size") == 0) {
        bad = tour_option_number(value, &number);
        options->job.size = (size_t)number;
    } else if (strcmp(name, "--seconds") == 0) {
        bad = tour_option_number(value, &number);
        options->job.seconds = number;
    } else if (strcmp(name, "--hold") == 0) {
        bad = tour_option_number(value, &number);
        options->job.hold = number;
    } else {
        return 1;
    }
    return bad;
}

static int tour_options_read(struct tour_options *options, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        int result = tour_option_valued(options, argv[i], i + 1 < argc ? argv[i + 1] : "");
        if (result == 0) {
            if (++i == argc) return tour_bad("an argument is missing after", argv[i - 1]);
            continue;
        }
        if (result == 1) result = tour_option_flag(options, argv[i]);
        if (result != 0) return result;
    }
    if (options->tour.quick && options->tour.full) {
        fprintf(stderr, "ebb tour: --quick or --full, not both\n");
        return 2;
    }
    for (size_t i = 0; i < TOUR_STORIES; i++) options->chosen[i] |= !options->any;
    return 0;
}

static int tour_main(int argc, char **argv) {
    static struct tour_options options = {.tour = {.out_dir = "ebb-tour"}, .job = {.seconds = 5}};
    int result = tour_options_read(&options, argc, argv);
    if (result != 0) return result;
    if (options.work) return tour_work_main(options.work, &options.job);
    return options.json ? tour_all_json(&options.tour, options.chosen)
                        : tour_all(&options.tour, options.chosen);
}

const command command_tour = {"tour", "four stories of memory that comes back", tour_help_text,
                              tour_main};
