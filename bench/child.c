/* child.c - runs a command and writes what it cost to a file: seconds, CPU seconds, peak bytes and
 * exit status, a line "name TAB value" each. For bench/libgc, whose programs are other people's.
 *
 *     bench_child FILE LIMIT_SECONDS COMMAND [ARGUMENT…]
 *
 * The kernel's rusage of a child takes in what the child waited for in turn: a compiler that calls
 * the linker would be charged with the linker's memory. So the peak is the child's own VmHWM, asked
 * a hundred times a second; where the child was never seen to have children, rusage is exact. */
#include "bench.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_TICK_NS 10000000

struct child {
    pid_t pid;
    int status;
    bool had_children;
    uint64_t own_peak_bytes; /* the most that its VmHWM was seen to be */
    struct rusage usage;
};

static bool child_has_children(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    bool has = fgetc(file) != EOF;
    fclose(file);
    return has;
}

static void child_look(struct child *child) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", (int)child->pid);
    uint64_t peak = bench_proc_bytes(path, "VmHWM");
    if (peak > child->own_peak_bytes) child->own_peak_bytes = peak;
    child->had_children |= child_has_children(child->pid);
}

static void child_start(struct child *child, char **command) {
    child->pid = fork();
    if (child->pid < 0) bench_fail("fork: %s", strerror(errno));
    if (child->pid > 0) return;
    execvp(command[0], command);
    bench_fail("%s: %s", command[0], strerror(errno));
}

/* Looks at it until it ends; past the limit it is killed. */
static void child_wait(struct child *child, uint64_t end_ns) {
    struct timespec tick = {0, CHILD_TICK_NS};
    for (;;) {
        pid_t ended = wait4(child->pid, &child->status, WNOHANG, &child->usage);
        if (ended == child->pid) return;
        if (ended < 0) bench_fail("wait4: %s", strerror(errno));
        if (bench_clock_ns(CLOCK_MONOTONIC) > end_ns) kill(child->pid, SIGKILL);
        child_look(child);
        nanosleep(&tick, NULL);
    }
}

static double child_cpu_s(const struct rusage *usage) {
    return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
           (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

static void child_report(const struct child *child, FILE *file, double seconds) {
    uint64_t peak = (uint64_t)child->usage.ru_maxrss * 1024;
    if (child->had_children) peak = child->own_peak_bytes;
    fprintf(file, "wall s\t%.3f\ncpu s\t%.3f\n", seconds, child_cpu_s(&child->usage));
    fprintf(file, "peak MiB\t%.2f\n", (double)peak / 1048576);
    fprintf(file, "status\t%d\n",
            WIFEXITED(child->status) ? WEXITSTATUS(child->status) : 128 + WTERMSIG(child->status));
}

int main(int count, char **arguments) {
    struct child child = {0};
    if (count < 4) bench_fail("usage: bench_child FILE LIMIT_SECONDS COMMAND [ARGUMENT...]");
    FILE *file = fopen(arguments[1], "we");
    if (file == NULL) bench_fail("%s: %s", arguments[1], strerror(errno));
    uint64_t start_ns = bench_clock_ns(CLOCK_MONOTONIC);
    child_start(&child, arguments + 3);
    child_wait(&child, start_ns + strtoull(arguments[2], NULL, 10) * 1000000000);
    child_report(&child, file, (double)(bench_clock_ns(CLOCK_MONOTONIC) - start_ns) / 1e9);
    return fclose(file) == 0 ? 0 : 1;
}
