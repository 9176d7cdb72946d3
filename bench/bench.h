/* bench.h - what every bench program needs: clocks, resident memory, arguments, result lines.
 *
 * A program measures one side of one case and prints a line a result, "case TAB metric TAB value";
 * bench/run puts the sides beside each other. Usable from C++. See docs/benchmarks.md. */
#ifndef EBB_BENCH_H
#define EBB_BENCH_H

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BENCH_UNUSED __attribute__((unused))

/* Ends the program: a side that computes wrong results has no figures. */
BENCH_UNUSED __attribute__((noreturn, format(printf, 1, 2))) static void
bench_fail(const char *format, ...) {
    __builtin_va_list args;
    __builtin_va_start(args, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    __builtin_va_end(args);
    exit(1);
}

BENCH_UNUSED static uint64_t bench_clock_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) != 0) bench_fail("clock_gettime: %s", strerror(errno));
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

BENCH_UNUSED static bool bench_cpu_clock(void) {
    static int cpu = -1;
    if (cpu < 0) {
        const char *choice = getenv("BENCH_CLOCK");
        cpu = choice != NULL && strcmp(choice, "cpu") == 0;
    }
    return cpu;
}

/* Time as a user waits for it; CPU time of all threads under BENCH_CLOCK=cpu, for a machine that
 * others use too. */
BENCH_UNUSED static uint64_t bench_now_ns(void) {
    return bench_clock_ns(bench_cpu_clock() ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC);
}

BENCH_UNUSED static uint64_t bench_cpu_ns(void) {
    return bench_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

BENCH_UNUSED static uint64_t bench_thread_ns(void) {
    return bench_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* A line "NAME: N kB" of a file under /proc/self, in bytes; 0 where there is none. */
BENCH_UNUSED static uint64_t bench_proc_bytes(const char *path, const char *name) {
    char line[256];
    uint64_t kib = 0;
    size_t length = strlen(name);
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            kib = strtoull(line + length + 1, NULL, 10);
            break;
        }
    fclose(file);
    return kib * 1024;
}

/* From smaps_rollup, since the counters behind VmRSS lag by some pages a processor. */
BENCH_UNUSED static uint64_t bench_rss_bytes(void) {
    return bench_proc_bytes("/proc/self/smaps_rollup", "Rss");
}

BENCH_UNUSED static uint64_t bench_peak_rss_bytes(void) {
    return bench_proc_bytes("/proc/self/status", "VmHWM");
}

#define BENCH_MIB(bytes) ((double)(bytes) / 1048576.0)

BENCH_UNUSED static void bench_report(const char *label, const char *metric, double value) {
    printf("%s\t%s\t%.6g\n", label, metric, value);
    fflush(stdout);
}

/* The number after --NAME, or otherwise. */
BENCH_UNUSED static uint64_t bench_arg(int argc, char **argv, const char *name,
                                       uint64_t otherwise) {
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0) {
            char *end;
            uint64_t value = strtoull(argv[i + 1], &end, 10);
            if (end == argv[i + 1] || *end != '\0')
                bench_fail("%s takes a number, not \"%s\"", name, argv[i + 1]);
            return value;
        }
    return otherwise;
}

/* Whether --NAME was given. */
BENCH_UNUSED static bool bench_flag(int argc, char **argv, const char *name) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0) return true;
    return false;
}

/* The size after --NAME, "4400MiB" or "4GiB"; 0 without it. */
BENCH_UNUSED static uint64_t bench_arg_bytes(int argc, char **argv, const char *name) {
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0) {
            char *end;
            uint64_t value = strtoull(argv[i + 1], &end, 10);
            if (strcmp(end, "MiB") == 0) return value << 20;
            if (strcmp(end, "GiB") == 0) return value << 30;
            bench_fail("%s takes a size such as 4400MiB, not \"%s\"", name, argv[i + 1]);
        }
    return 0;
}

/* A bijection of 64-bit numbers whose outputs look random (the finaliser of splitmix64). */
BENCH_UNUSED static uint64_t bench_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

#endif
