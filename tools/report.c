/* report.c - the side of a piece of work: its figures, and the checks that every step makes.
 *
 * The heap that is reported is heap_used: the spans that hold objects, with their free slots and
 * ends. Go's HeapAlloc, which the stories' figures are, counts the objects alone, so the comparison
 * is in Go's favour. See docs/tour.md, "How the numbers are checked". */
#define _GNU_SOURCE 1
#include "report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    REPORT_TICK_NS = 40 * 1000 * 1000,
    REPORT_TRIES = 20,
    REPORT_TRY_NS = 5 * 1000 * 1000,
    /* A huge page at the end of a reservation is resident as a whole, though Ebb has handed out
     * the first part of it only: there are two reservations. */
    REPORT_SLACK_BYTES = 2 * (2 << 20)
};

static uint64_t report_next_ns; /* when a tick speaks again */
static long report_hold_ns;

static void report_sleep(long ns) {
    struct timespec time = {0, ns};
    nanosleep(&time, NULL);
}

void report_begin(double hold_seconds) {
    report_hold_ns = hold_seconds < 1 ? (long)(hold_seconds * 1e9) : 999999999;
    setvbuf(stdout, NULL, _IOLBF, 4096);
    sample_mappings_begin();
}

void report_value(const char *name, double number) {
    printf("value %s %.15g\n", name, number);
}

static void report_line(const char *kind, bool holds, const char *format, va_list args) {
    printf("%s %d ", kind, holds);
    vprintf(format, args);
    putchar('\n');
}

void report_check(bool holds, const char *format, ...) {
    va_list args;
    va_start(args, format);
    report_line("check", holds, format, args);
    va_end(args);
}

__attribute__((format(printf, 2, 3))) static void report_book(bool holds, const char *format, ...) {
    va_list args;
    va_start(args, format);
    report_line("books", holds, format, args);
    va_end(args);
}

void *report_need(void *p) {
    if (p) return p;
    report_check(false, "there was no memory");
    exit(EXIT_FAILURE);
}

void report_tick(size_t done, size_t total, const char *label) {
    uint64_t start_ns = sample_now_ns();
    if (start_ns < report_next_ns) return;
    struct ebb_stats stats;
    ebb_stats_brief(&stats);
    printf("heap %" PRIu64 "\nprogress %zu %zu %s\n", stats.heap_used, done, total, label);
    report_next_ns = start_ns + REPORT_TICK_NS;
}

__attribute__((noinline)) static void report_clear_stack(void) {
    volatile char room[16384];
    for (size_t i = 0; i < sizeof room; i++) room[i] = 0;
}

void report_collect(void) {
    report_clear_stack();
    ebb_collect();
}

/* --- The books ------------------------------------------------------------------------------ */

/* Threads of Ebb's own may map and return meanwhile: taken again until two looks agree. */
static void report_books_take(struct report_books *books) {
    for (int i = 0; i < REPORT_TRIES; i++) {
        struct ebb_stats after;
        ebb_stats(&books->stats);
        books->system_known = sample_mappings(&books->system);
        ebb_stats(&after);
        bool same = after.mapped == books->stats.mapped &&
                    after.heap_returned == books->stats.heap_returned;
        if (!books->system_known) break;
        if (same && books->system.mapped_bytes == books->stats.mapped) break;
        report_sleep(REPORT_TRY_NS);
    }
}

/* Every resident byte in a class, but for a hundredth. */
static void report_memory_check(const char *name, struct report_books *books) {
    const struct ebb_memory *m = &books->memory;
    books->memory_known = ebb_memory(&books->memory) == 0;
    if (!books->memory_known) return;
    uint64_t rest = (uint64_t)(m->unexplained < 0 ? -m->unexplained : m->unexplained);
    printf("resident %" PRIu64 " %" PRIu64 "\n", rest, m->rss);
    report_book(rest < m->rss / 100,
                "%s: unexplained %" PRIu64 " is under a hundredth of resident %" PRIu64, name, rest,
                m->rss);
}

static void report_books_check(const char *name, const struct report_books *books) {
    const struct ebb_stats *s = &books->stats;
    uint64_t classes = s->heap_used + s->heap_free + s->heap_returned + s->metadata + s->offheap;
    report_book(s->mapped == classes, "%s: mapped %" PRIu64 " = classes %" PRIu64, name, s->mapped,
                classes);
    uint64_t parts = s->live + s->dead + s->slots_free + s->tail_waste;
    report_book(s->heap_used == parts, "%s: heap_used %" PRIu64 " = parts %" PRIu64, name,
                s->heap_used, parts);
    if (!books->system_known) return;
    const struct sample_mappings *system = &books->system;
    report_book(system->mapped_bytes == s->mapped,
                "%s: ebb_stats.mapped %" PRIu64 " = the system's %" PRIu64, name, s->mapped,
                system->mapped_bytes);
    uint64_t most = s->mapped - s->heap_returned + REPORT_SLACK_BYTES;
    report_book(system->resident_bytes <= most,
                "%s: resident %" PRIu64 " <= %" PRIu64 " mapped less returned", name,
                system->resident_bytes, most);
}

void report_step(const char *name, struct report_books *books) {
    static struct report_books own;
    if (!books) books = &own;
    report_books_take(books);
    printf("step %" PRIu64 " %" PRIu64 " %s\n", books->stats.heap_used, books->stats.rss, name);
    report_books_check(name, books);
    report_memory_check(name, books);
    report_value("system_known", books->system_known);
    report_value("system_by_name", books->system_known && books->system.by_name);
    report_sleep(report_hold_ns);
}
