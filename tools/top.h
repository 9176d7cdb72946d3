/* top.h - `ebb top` in parts: what is known of a program (top_read.c), how it stands on a page of
 * text (top_page.c), and on a screen (top_screen.c). docs/observe.md, "A screen". */
#ifndef EBB_TOOLS_TOP_H
#define EBB_TOOLS_TOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TOP_CLASSES = 24, TOP_CAUSES = 8, TOP_SITES = 64, TOP_SLACK = 32, TOP_STOPS = 256 };

struct top_class {
    char name[24];
    double bytes;
};

struct top_cause {
    char name[16];
    double count, a_second;
};

struct top_site {
    char name[160];
    double bytes, error, objects;
};

struct top_slack {
    char kind[16], name[64], mends[96];
    double bytes, can_go, number;
};

/* Sizes in bytes. Rates are those of the last window_s seconds, at first since the program's start.
 * What is not known yet is 0. */
struct top_view {
    int pid;
    double age_s, window_s;
    double goal, limit; /* negative: none */
    double live, rss, returned, returned_total;

    struct top_class classes[TOP_CLASSES];
    size_t classes_count;
    double classes_rss, look_s; /* classes add up to classes_rss; how long the look took */

    struct top_cause causes[TOP_CAUSES];
    size_t causes_count;
    double cycles, cycles_a_second;
    double assist_s, wait_s;         /* in all */
    double assist_share, wait_share; /* seconds a second, of all threads together */
    double stops[TOP_STOPS]; /* the latest ones in seconds, ascending; the middle is the median */
    size_t stops_count;
    double stop_max_s; /* since the start */
    char verdict[24];

    struct top_site sites[TOP_SITES];
    size_t sites_count;
    char sites_trouble[160]; /* why there are none */

    struct top_slack slack[TOP_SLACK];
    size_t slack_count;
};

/* --- Reading -------------------------------------------------------------------------------- */

enum { TOP_MARKS = 10 };

/* Begins as {.who = …}. Owned by one thread. */
struct top_reader {
    const char *who;
    struct top_view view;
    struct top_mark {
        double at_s, cycles, causes[TOP_CAUSES], assist_s, wait_s;
    } marks[TOP_MARKS]; /* the n-th at n modulo TOP_MARKS */
    size_t marks_count;
    double due_s[3]; /* pages that take a stop or long: when they are asked for again */
    bool answered;
};

/* Brings the view up to date; pages that cost much are asked for seldom, so that all of it stays
 * below a twentieth of the time. False: the program did not answer, standard error says why. */
bool top_read(struct top_reader *r);

/* The program that has answered before is there no more. */
bool top_ended(const struct top_reader *r);

double top_now_s(void); /* monotonic */

/* --- A page --------------------------------------------------------------------------------- */

enum top_sort { TOP_BY_BYTES, TOP_BY_OBJECTS, TOP_BY_NAME, TOP_SORTS };
enum top_style { TOP_PLAIN, TOP_HEAD, TOP_DIM, TOP_GOOD, TOP_BAD };

extern const char *const top_sort_names[TOP_SORTS];

void top_sort_view(struct top_view *v, enum top_sort sort);

/* Calls put for each line, at most rows of them; 0: everything. */
void top_page(const struct top_view *v, const char *who, size_t rows,
              void (*put)(void *arg, enum top_style style, const char *text), void *arg);

void top_json(const struct top_view *v, FILE *out);

/* --- A screen ------------------------------------------------------------------------------- */

/* Until q is pressed or the program ends. Returns an exit status. */
int top_screen(struct top_reader *r);

#endif
