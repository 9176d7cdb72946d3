/* modes.h - runs a test of this program once more, in a fresh process with its own environment.
 *
 * The library reads EBB_DEBUG and EBB_GC once, at its start, so a mode can only be chosen for a
 * process that has not begun: modes_run executes /proc/self/exe with the test's name, and hands
 * back how it ended and what it printed. See docs/testing.md on modes. */
#ifndef EBB_TESTS_MODES_H
#define EBB_TESTS_MODES_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

#define MODES_TEXT_BYTES ((size_t)64 << 10)

/* What a run printed on standard output and standard error, cut at MODES_TEXT_BYTES. */
typedef struct modes_result {
    int status; /* exit code, or 128 + the signal that ended it */
    size_t length;
    char text[MODES_TEXT_BYTES];
} modes_result;

static void modes_set(const char *name, const char *value) {
    if (value) {
        setenv(name, value, 1);
    } else {
        unsetenv(name);
    }
}

/* The path of the test executable of that name beside this one; null: of this one. */
static char *modes_path(const char *program) {
    static char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 256);
    if (length < 0) _exit(127);
    path[length] = 0;
    if (program) snprintf(strrchr(path, '/') + 1, 256, "%s", program);
    return path;
}

__attribute__((noreturn)) static void modes_exec(const char *program, const char *test,
                                                 const char *debug, const char *gc, int output) {
    char *arguments[4], **next = arguments, *emulator = getenv("EBB_TEST_EMULATOR");
    if (emulator) *next++ = strdup(emulator);
    *next++ = modes_path(program);
    *next++ = strdup(test);
    *next = NULL;

    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    char seed[32];
    snprintf(seed, sizeof seed, "0x%llx", (unsigned long long)test_seed());
    modes_set("EBB_TEST_SEED", seed);
    modes_set("EBB_DEBUG", debug);
    modes_set("EBB_GC", gc);
    execv(arguments[0], arguments);
    _exit(127);
}

static void modes_read(modes_result *result, int from) {
    char rest[512];
    result->length = 0;
    for (;;) {
        bool full = result->length + 1 >= sizeof result->text;
        ssize_t got = full ? read(from, rest, sizeof rest)
                           : read(from, result->text + result->length,
                                  sizeof result->text - 1 - result->length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        if (!full) result->length += (size_t)got;
    }
    result->text[result->length] = 0;
}

/* Runs TEST(test) of a test executable with the two variables set, or unset where null. */
static int modes_run_of(modes_result *result, const char *program, const char *test,
                        const char *debug, const char *gc) {
    int ends[2], status = 0;
    if (pipe(ends) != 0) return -1;
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) return -1;
    if (child == 0) {
        close(ends[0]);
        modes_exec(program, test, debug, gc, ends[1]);
    }
    close(ends[1]);
    modes_read(result, ends[0]);
    close(ends[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    result->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result->status;
}

/* The same, of this program. */
__attribute__((unused)) static int modes_run(modes_result *result, const char *test,
                                             const char *debug, const char *gc) {
    return modes_run_of(result, NULL, test, debug, gc);
}

/* Whether this process was started with the option in EBB_DEBUG: tests that are only the inner
 * half of another one skip themselves without it. */
__attribute__((unused)) static bool modes_have(const char *option) {
    const char *debug = getenv("EBB_DEBUG");
    return debug && strstr(debug, option);
}

/* For those who sum up (test_soak.c): how much a long case did. */
__attribute__((unused)) static void modes_steps(size_t steps) {
    printf("     %zu steps\n", steps);
}

/* The test must pass in the mode; what it printed is shown if it does not. */
#define MODES_PASS(test, debug, gc)                                                    \
 do {                                                                                  \
  static modes_result modes_out;                                                       \
  if (modes_run(&modes_out, test, debug, gc) != 0) {                                   \
   const char *modes_debug = debug, *modes_gc = gc;                                    \
   fprintf(stderr, "%s under EBB_DEBUG=%s EBB_GC=%s ended with %d:\n%s\n", test,       \
           modes_debug ? modes_debug : "", modes_gc ? modes_gc : "", modes_out.status, \
           modes_out.text);                                                            \
  }                                                                                    \
  CHECK_EQ(modes_out.status, 0);                                                       \
 } while (0)

#endif
