/* report.h - what a piece of the tour's work tells its parent: lines on standard output.
 *
 *     heap BYTES               the heap as of now
 *     step HEAP RSS NAME       a point of the story was reached
 *     value NAME NUMBER        a figure
 *     progress DONE TOTAL LABEL
 *     check 0|1 TEXT           something that must hold
 *     books 0|1 TEXT           the same, about the classes of ebb_stats adding up
 *     resident BYTES RSS       what of RSS is in no class of ebb_memory
 *
 * The programs of tools/go speak it too. Times are the parent's. One thread at a time. */
#ifndef EBB_TOOLS_REPORT_H
#define EBB_TOOLS_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ebb/ebb.h>

#include "sample.h"

/* Before the first call of Ebb. Steps are held for so long, so that the plot shows a level. */
void report_begin(double hold_seconds);

/* Where all bytes are, as Ebb and the system see it at the same moment. */
struct report_books {
    struct ebb_stats stats;
    struct ebb_memory memory; /* all zero where memory_known is false */
    struct sample_mappings system;
    bool system_known, memory_known;
};

/* A point of the story was reached: reports the heap, checks the books, and holds. books may be
 * null. */
void report_step(const char *name, struct report_books *books);

/* Call it as often as you like while a step runs. */
void report_tick(size_t done, size_t total, const char *label);

/* p; where it is null, says that there was no memory and ends the process. */
void *report_need(void *p);

/* ebb_collect, after overwriting what earlier calls left on this stack: it is searched word by
 * word, and a stale pointer would keep what the story has dropped. */
void report_collect(void);

void report_value(const char *name, double number);

__attribute__((format(printf, 2, 3))) void report_check(bool holds, const char *format, ...);

#endif
