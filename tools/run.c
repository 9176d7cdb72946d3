/* run.c - starts one piece of work in a process of its own, listens to it, watches its memory.
 *
 * Resident sizes are read here, from outside, so that a process in the middle of a collection is
 * seen too; so are all times. A process that passes the memory that the tour may use is ended:
 * that is how the reports of story 3 ended as well. */
#define _GNU_SOURCE 1
#include "tour.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "progress.h"
#include "sample.h"

enum { RUN_LINE = 512, RUN_SAMPLE_MS = 20 };

/* --- What is known -------------------------------------------------------------------------- */

static void run_series_add(struct run_series *series, double seconds, double mb) {
    if (series->count == series->room) {
        size_t room = series->room ? 2 * series->room : 256;
        double *more_seconds = realloc(series->seconds, room * sizeof(double));
        if (more_seconds) series->seconds = more_seconds;
        double *more_mb = realloc(series->mb, room * sizeof(double));
        if (more_mb) series->mb = more_mb;
        if (!more_seconds || !more_mb) return;
        series->room = room;
    }
    series->seconds[series->count] = seconds;
    series->mb[series->count++] = mb;
}

void run_free(struct run *run) {
    free(run->heap.seconds);
    free(run->heap.mb);
    free(run->rss.seconds);
    free(run->rss.mb);
    *run = (struct run){0};
}

struct run_step run_step_named(const struct run *run, const char *name) {
    for (size_t i = 0; i < run->steps; i++) {
        if (strcmp(run->step[i].name, name) == 0) return run->step[i];
    }
    return (struct run_step){0};
}

double run_value_named(const struct run *run, const char *name) {
    for (size_t i = 0; i < run->values; i++) {
        if (strcmp(run->value[i].name, name) == 0) return run->value[i].number;
    }
    return 0;
}

/* --- Lines ---------------------------------------------------------------------------------- */

/* A process that is running. */
struct run_process {
    struct tour *tour;
    struct run *run;
    const char *name; /* for messages */
    pid_t pid;
    int fd; /* what it says */
    uint64_t start_ns;
    size_t used;
    char text[RUN_LINE]; /* the line so far */
};

static double run_seconds(const struct run_process *process) {
    return (double)(sample_now_ns() - process->start_ns) / 1e9;
}

static double run_mb(uint64_t bytes) {
    return (double)bytes / (1 << 20);
}

static void run_on_heap(struct run_process *process, uint64_t bytes) {
    run_series_add(&process->run->heap, run_seconds(process), run_mb(bytes));
}

static void run_on_step(struct run_process *process, const char *text) {
    struct run *run = process->run;
    if (run->steps == RUN_STEPS) return;
    struct run_step *step = &run->step[run->steps];
    if (sscanf(text, "%" SCNu64 " %" SCNu64 " %31[^\n]", &step->heap_bytes, &step->rss_bytes,
               step->name) != 3) {
        return;
    }
    step->seconds = run_seconds(process);
    run->steps++;
    run_on_heap(process, step->heap_bytes);
}

/* A value said again is a value changed. */
static void run_on_value(struct run *run, const char *text) {
    struct run_value value;
    if (sscanf(text, "%47s %lf", value.name, &value.number) != 2) return;
    for (size_t i = 0; i < run->values; i++) {
        if (strcmp(run->value[i].name, value.name) == 0) {
            run->value[i] = value;
            return;
        }
    }
    if (run->values < RUN_VALUES) run->value[run->values++] = value;
}

static void run_on_progress(const char *text) {
    size_t done, total;
    int label = 0;
    if (sscanf(text, "%zu %zu %n", &done, &total, &label) == 2 && label > 0) {
        progress_at(text + label, done, total);
    }
}

static void run_on_resident(struct tour *tour, const char *text) {
    double rest, rss;
    if (sscanf(text, "%lf %lf", &rest, &rss) != 2 || rss <= 0) return;
    tour->looks++;
    if (100 * rest / rss > tour->unexplained_percent) tour->unexplained_percent = 100 * rest / rss;
}

static void run_on_line(struct run_process *process, const char *line) {
    const char *rest = line + strcspn(line, " ");
    if (*rest) rest++;
    if (strncmp(line, "heap ", 5) == 0) {
        run_on_heap(process, strtoull(rest, NULL, 10));
    } else if (strncmp(line, "step ", 5) == 0) {
        run_on_step(process, rest);
    } else if (strncmp(line, "value ", 6) == 0) {
        run_on_value(process->run, rest);
    } else if (strncmp(line, "resident ", 9) == 0) {
        run_on_resident(process->tour, rest);
    } else if (strncmp(line, "progress ", 9) == 0) {
        run_on_progress(rest);
    } else if (strncmp(line, "check ", 6) == 0 && strlen(rest) > 2) {
        tour_check(process->tour, rest[0] == '1', "%s: %s", process->name, rest + 2);
    } else if (strncmp(line, "books ", 6) == 0 && strlen(rest) > 2) {
        process->tour->books++;
        tour_check(process->tour, rest[0] == '1', "%s: %s", process->name, rest + 2);
    }
}

/* False at the end of what the process says. */
static bool run_read(struct run_process *process) {
    char chunk[4096];
    ssize_t got = read(process->fd, chunk, sizeof chunk);
    if (got < 0) return errno == EINTR || errno == EAGAIN;
    for (ssize_t i = 0; i < got; i++) {
        if (chunk[i] == '\n' || process->used == RUN_LINE - 1) {
            process->text[process->used] = 0;
            run_on_line(process, process->text);
            process->used = 0;
        } else {
            process->text[process->used++] = chunk[i];
        }
    }
    return got > 0;
}

/* --- The process ---------------------------------------------------------------------------- */

static void run_watch(struct run_process *process) {
    struct run *run = process->run;
    uint64_t rss = sample_rss(process->pid);
    if (rss == 0) return;
    run_series_add(&run->rss, run_seconds(process), run_mb(rss));
    if (rss > run->rss_peak_bytes) run->rss_peak_bytes = rss;
    if (rss > process->tour->budget_bytes && !run->stopped) {
        run->stopped = true;
        kill(process->pid, SIGKILL);
    }
}

static void run_listen(struct run_process *process) {
    struct pollfd poll_fd = {process->fd, POLLIN, 0};
    uint64_t watched_ns = 0;
    bool open = true;
    while (open) {
        int ready = poll(&poll_fd, 1, RUN_SAMPLE_MS);
        if (ready > 0) open = run_read(process);
        uint64_t now_ns = sample_now_ns();
        if (now_ns - watched_ns >= RUN_SAMPLE_MS * 1000000u) {
            watched_ns = now_ns;
            run_watch(process);
        }
        progress_tick();
    }
}

/* Forks and executes; what the new process writes on standard output can be read from *fd.
 * argv ends with a null pointer. */
static pid_t run_start(const char *program, char *const argv[], int *fd) {
    int ends[2];
    if (pipe(ends) != 0) return -1;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv(program, argv);
        fprintf(stderr, "ebb: cannot run %s: %s\n", program, strerror(errno));
        _exit(127);
    }
    close(ends[1]);
    if (pid < 0) close(ends[0]);
    *fd = ends[0];
    return pid;
}

static void run_check_end(struct tour *tour, const char *name, const struct run *run, int status) {
    if (run->stopped) {
        tour_check(tour, false, "%s: passed the memory that it may use, and was ended", name);
    } else if (WIFSIGNALED(status)) {
        tour_check(tour, false, "%s: its process was ended by signal %d (%s)", name,
                   WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0) {
        tour_check(tour, false, "%s: its process ended with status %d", name, WEXITSTATUS(status));
    }
}

/* Null for program is this one. */
static void run_process(struct tour *tour, const char *name, const char *program,
                        char *const argv[], struct run *run) {
    struct run_process process = {
        .tour = tour, .run = run, .name = name, .start_ns = sample_now_ns()};
    progress_begin(name);
    process.pid = run_start(program ? program : "/proc/self/exe", argv, &process.fd);
    if (process.pid < 0) {
        tour_check(tour, false, "%s: cannot start a process: %s", name, strerror(errno));
        return;
    }
    run->ran = true;
    run_listen(&process);
    close(process.fd);
    int status = 0;
    while (waitpid(process.pid, &status, 0) < 0 && errno == EINTR) {
    }
    run->seconds = run_seconds(&process);
    progress_end();
    if (!program) run_check_end(tour, name, run, status);
}

static const char *const run_ways[WAY_COUNT] = {"ebb", "as-go", "go"};

void tour_run(struct tour *tour, const struct story *story, const struct work *work,
              const struct job *job, struct run *run) {
    *run = (struct run){0};
    bool go = job->way == WAY_GO;
    const char *way = run_ways[job->way];
    if (go && !tour->go_version[0]) return;
    char name[64], size[32], seconds[32], hold[32], program[512], full_name[64];
    snprintf(name, sizeof name, "%s/%s (%s)", story->name, work->name, way);
    snprintf(full_name, sizeof full_name, "%s/%s", story->name, work->name);
    snprintf(size, sizeof size, "%zu", job->size);
    snprintf(seconds, sizeof seconds, "%g", job->seconds);
    snprintf(hold, sizeof hold, "%g", tour->quick ? 0.03 : 0.12);
    if (go) {
        snprintf(program, sizeof program, "%s/%s", tour->go_dir, story->name);
        char *argv[] = {program, (char *)work->name, size, seconds, NULL};
        run_process(tour, name, program, argv, run);
    } else {
        char *argv[] = {"ebb", "tour",      "--work", full_name, "--way", (char *)way, "--size",
                        size,  "--seconds", seconds,  "--hold",  hold,    NULL};
        run_process(tour, name, NULL, argv, run);
    }
    if (run->steps && run_value_named(run, "system_known") > 0) tour->system_known = true;
}
