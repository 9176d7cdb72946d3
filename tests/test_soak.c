/* test_soak.c - the heaviest cases of all tests again and again, each in a process of its own, with
 * a seed, a stress mode, a percentage, a number of markers and a length drawn anew. For as many
 * minutes as EBB_SOAK_MINUTES says (`make soak MINUTES=30`), or a few runs without it. Each line
 * says what was run in the form in which it can be run again; the last one sums up. */
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

enum {
    RUNS_WITHOUT_TIME = 6,
    STRESS_WITHOUT_TIME = 1000, /* a run at stress=20 may take minutes */
    OUTPUT_BYTES = 1 << 16,
    LIST_BYTES = 192,
    SCALE_MAX = 12
};

/* What a case stands. */
enum {
    STANDS_FAILURE = 1, /* a null pointer now and then */
    STANDS_PERCENT = 2  /* a heap of any size */
};

typedef struct soak_case {
    const char *program, *name; /* no name: all of its cases */
    unsigned stress;            /* the least n of collections at every n-th allocation */
    unsigned stands;
} soak_case;

static const soak_case soak_cases[] = {
    {"test_gc_graph", "graph", 20, STANDS_FAILURE | STANDS_PERCENT},
    {"test_gc_graph", "graph", 20, STANDS_FAILURE | STANDS_PERCENT},
    {"test_gc_graph", "graph_of_one_thread", 20, STANDS_FAILURE | STANDS_PERCENT},
    {"test_gc_programs", "trees", 20, STANDS_PERCENT},
    {"test_gc_programs", "trees_in_threads", 20, STANDS_PERCENT},
    {"test_gc_programs", "gcbench", 20, STANDS_PERCENT},
    {"test_heap_threads", "storm", 20, STANDS_PERCENT},
    {"test_heap_threads", "exchange", 20, STANDS_PERCENT},
    {"test_heap_threads", "visitors", 20, 0},
    {"test_gc_finalizers", "storm", 20, STANDS_PERCENT},
    {"test_gc_stats", "the_equations_hold_at_every_step", 20, STANDS_PERCENT},
    {"test_gc_stats", "the_equations_hold_under_load", 20, STANDS_PERCENT},
    {"test_memory_classes", "adds_up_at_every_step", 20, STANDS_PERCENT},
    {"test_memory_classes", "adds_up_under_load", 20, STANDS_PERCENT},
    {"test_gc_stop", "threads_come_and_go_beside_collections", 20, 0},
    {"test_lifecycle", "fork_amid_threads_at_work", 500, 0},
    {"test_lifecycle", "modules_come_and_go_beside_collections", 500, 0},
    {"test_map_model", NULL, 20, STANDS_PERCENT},
    {"test_slice_model", NULL, 20, STANDS_PERCENT},
    {"test_offheap_pool", "random_use_matches_a_model", 20, STANDS_PERCENT},
    {"test_offheap_gc", "threads_pin_at_once", 20, 0},
};
enum { SOAK_CASES = sizeof soak_cases / sizeof soak_cases[0] };

/* One run: what stands in its environment, and what came of it. */
typedef struct soak_run {
    const soak_case *what;
    uint64_t seed;
    unsigned scale;
    char debug[LIST_BYTES], gc[LIST_BYTES];
    char output[OUTPUT_BYTES];
    int status;
} soak_run;

static uint64_t soak_state;

static uint64_t soak_below(uint64_t n) {
    return test_random_below(&soak_state, n);
}

/* A number between two, small ones as likely as large ones. */
static uint64_t soak_between(double low, double high) {
    double at = (double)soak_below(1 << 20) / (1 << 20);
    return (uint64_t)(low * pow(high / low, at));
}

__attribute__((format(printf, 2, 3))) static void list_add(char *list, const char *format, ...) {
    size_t used = strlen(list);
    va_list args;
    va_start(args, format);
    if (used) list[used++] = ',';
    vsnprintf(list + used, LIST_BYTES - used, format, args);
    va_end(args);
}

/* What watches a collection, and what makes it broad. */
static void modes_choose(soak_run *run) {
    static const char *const dirty[] = {"kernel", "kernel", "all", "off"};
    if (soak_below(2)) list_add(run->debug, "verify=1");
    if (soak_below(4)) list_add(run->debug, "checkmark=1");
    if (soak_below(2)) list_add(run->debug, "oracle=1");
    if (soak_below(2))
        list_add(run->debug, "yield=%llu", 1 + (unsigned long long)soak_below(1000000));
    if (run->what->stands & STANDS_PERCENT && soak_below(2))
        list_add(run->debug, "room=%lluKiB", (unsigned long long)soak_between(64, 16384));
    if (soak_below(2)) list_add(run->gc, "pause=%s", soak_below(2) ? "0" : "0.2");
    if (soak_below(2)) list_add(run->gc, "dirty=%s", dirty[soak_below(4)]);
    if (soak_below(2)) list_add(run->gc, "markers=%u", 1 + (unsigned)soak_below(4));
    if (soak_below(2)) list_add(run->gc, "background=%u", 1 + (unsigned)soak_below(3));
}

static void run_choose(soak_run *run) {
    static const unsigned percents[] = {5, 20, 50, 200, 500};
    run->what = &soak_cases[soak_below(SOAK_CASES)];
    run->seed = test_random(&soak_state);
    run->scale = (unsigned)soak_between(1, SCALE_MAX);
    run->debug[0] = run->gc[0] = 0;
    if (soak_below(2)) {
        unsigned least = getenv("EBB_SOAK_MINUTES") ? run->what->stress : STRESS_WITHOUT_TIME;
        uint64_t every = soak_between(least, 50000);
        list_add(run->debug, "stress=%llu", (unsigned long long)every);
        if (every < 500) run->scale = 1;
    }
    if (run->what->stands & STANDS_FAILURE && soak_below(3) == 0) {
        list_add(run->debug, "failalloc=%llu", (unsigned long long)soak_between(20000, 500000));
    }
    if (run->what->stands & STANDS_PERCENT && soak_below(2)) {
        list_add(run->gc, "percent=%u", percents[soak_below(5)]);
    }
    modes_choose(run);
}

static void run_print(const soak_run *run) {
    printf("     EBB_TEST_SEED=0x%llx EBB_TEST_SCALE=%u EBB_DEBUG=%s EBB_GC=%s %s %s",
           (unsigned long long)run->seed, run->scale, run->debug, run->gc, run->what->program,
           run->what->name ? run->what->name : "");
    fflush(stdout);
}

__attribute__((noreturn)) static void run_exec(const soak_run *run, int output) {
    char path[4096], number[32];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0) _exit(127);
    path[length] = 0;
    strrchr(path, '/')[1] = 0;
    strncat(path, run->what->program, sizeof path - strlen(path) - 1);
    snprintf(number, sizeof number, "0x%llx", (unsigned long long)run->seed);
    setenv("EBB_TEST_SEED", number, 1);
    snprintf(number, sizeof number, "%u", run->scale);
    setenv("EBB_TEST_SCALE", number, 1);
    setenv("EBB_TEST_TIMEOUT", "1800", 1);
    setenv("EBB_DEBUG", run->debug, 1);
    setenv("EBB_GC", run->gc, 1);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execl(path, path, run->what->name, (char *)NULL);
    _exit(127);
}

static void run_read(soak_run *run, int from) {
    size_t used = 0;
    char spill[512];
    for (ssize_t got = 1; got > 0;) {
        size_t room = OUTPUT_BYTES - 1 - used;
        got = read(from, room ? run->output + used : spill, room ? room : sizeof spill);
        if (got > 0 && room) used += (size_t)got;
    }
    run->output[used] = 0;
}

static void run_start(soak_run *run) {
    int ends[2], status;
    CHECK_EQ(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ends[0]);
        run_exec(run, ends[1]);
    }
    close(ends[1]);
    run_read(run, ends[0]);
    close(ends[0]);
    CHECK_EQ(waitpid(child, &status, 0), child);
    run->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The sum of all numbers before that word in what it printed. */
static uint64_t run_sum(const soak_run *run, const char *word) {
    uint64_t steps = 0;
    for (const char *at = run->output; (at = strstr(at, word)) != NULL; at++) {
        const char *number = at;
        while (number > run->output && number[-1] >= '0' && number[-1] <= '9') number--;
        steps += strtoull(number, NULL, 10);
    }
    return steps;
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool soak_goes_on(double began, size_t runs) {
    const char *minutes = getenv("EBB_SOAK_MINUTES");
    if (!minutes) return runs < RUNS_WITHOUT_TIME;
    return seconds_now() - began < 60 * strtod(minutes, NULL);
}

TEST(soak) {
    static soak_run run;
    double began = seconds_now();
    uint64_t steps = 0, verified = 0;
    size_t runs = 0;
    if (test_slow() && !getenv("EBB_SOAK_MINUTES")) SKIP("every case has run before");
    soak_state = test_seed();
    while (soak_goes_on(began, runs)) {
        double start = seconds_now();
        run_choose(&run);
        if (!getenv("EBB_SOAK_MINUTES")) run.scale = 1;
        run_print(&run);
        run_start(&run);
        printf(" # %llu steps, %.1f s\n", (unsigned long long)run_sum(&run, " steps"),
               seconds_now() - start);
        if (run.status != 0) printf("%s\n", run.output);
        CHECK_EQ(run.status, 0);
        steps += run_sum(&run, " steps");
        verified += run_sum(&run, " cycles verified");
        runs++;
    }
    printf(
        "     seed 0x%llx: %zu runs, %llu steps, %llu cycles verified by a second trace, %.0f s, "
        "no failure\n",
        (unsigned long long)test_seed(), runs, (unsigned long long)steps,
        (unsigned long long)verified, seconds_now() - began);
}
