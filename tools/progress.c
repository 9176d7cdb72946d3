/* progress.c - see progress.h. Standard error, so that a tour that is redirected stays clean. */
#define _GNU_SOURCE 1
#include "progress.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sample.h"

enum { PROGRESS_WIDTH = 28, PROGRESS_TEXT = 64 };

static const uint64_t progress_patience_ns = 800000000u;
static const uint64_t progress_bar_ns = 100000000u;
static const uint64_t progress_line_ns = 10000000000u;

static struct {
    char name[PROGRESS_TEXT], label[PROGRESS_TEXT];
    size_t done, total;
    uint64_t step_ns;  /* when the step began */
    uint64_t shown_ns; /* when something was last shown; 0 for never in this step */
    bool bar;          /* one stands on the terminal */
} progress;

static void progress_text(char *to, const char *text) {
    snprintf(to, PROGRESS_TEXT, "%s", text);
}

void progress_begin(const char *name) {
    progress_end();
    progress_text(progress.name, name);
    progress_text(progress.label, "starting");
    progress.done = progress.total = 0;
    progress.step_ns = sample_now_ns();
    progress.shown_ns = 0;
}

void progress_at(const char *label, size_t done, size_t total) {
    if (strncmp(progress.label, label, PROGRESS_TEXT - 1) != 0) {
        progress_text(progress.label, label);
        progress.step_ns = sample_now_ns();
        progress.shown_ns = 0;
    }
    progress.done = done;
    progress.total = total;
    progress_tick();
}

static double progress_part(void) {
    if (progress.total == 0) return 0;
    double part = (double)progress.done / (double)progress.total;
    return part < 1 ? part : 1;
}

static void progress_bar(void) {
    char bar[PROGRESS_WIDTH + 1];
    int full = (int)(progress_part() * PROGRESS_WIDTH);
    for (int i = 0; i < PROGRESS_WIDTH; i++) bar[i] = i < full ? '#' : '.';
    bar[PROGRESS_WIDTH] = 0;
    fprintf(stderr, "\r\033[K  %s: %s [%s] %3.0f %%", progress.name, progress.label, bar,
            progress_part() * 100);
    fflush(stderr);
    progress.bar = true;
}

void progress_tick(void) {
    uint64_t now_ns = sample_now_ns();
    bool terminal = isatty(STDERR_FILENO);
    if (now_ns - progress.step_ns < progress_patience_ns) return;
    if (progress.shown_ns &&
        now_ns - progress.shown_ns < (terminal ? progress_bar_ns : progress_line_ns)) {
        return;
    }
    progress.shown_ns = now_ns;
    if (terminal) {
        progress_bar();
    } else if (progress.total) {
        fprintf(stderr, "  %s: %s %.0f %%\n", progress.name, progress.label, progress_part() * 100);
    }
}

void progress_end(void) {
    if (progress.bar) fputs("\r\033[K", stderr);
    progress.bar = false;
    progress.name[0] = progress.label[0] = 0;
    progress.step_ns = sample_now_ns();
}
