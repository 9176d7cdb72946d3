/* cmd_diff.c - `ebb diff`: what grew between two heap profiles, and whether that can be chance. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "colour.h"
#include "command.h"
#include "load.h"
#include "sites.h"
#include "table.h"

static const char diff_help[] =
    "Example:\n"
    "  ebb profile 4711 -o before.pb.gz; sleep 600; ebb diff before.pb.gz 4711\n"
    "\n"
    "usage: ebb diff BEFORE AFTER [--alloc] [-n ROWS] [--json]\n"
    "\n"
    "BEFORE and AFTER are files, or programs as for ebb profile. What grew comes first, by the\n"
    "stack that allocated it; the same code in two runs of a program is the same.\n"
    "\n"
    "  --alloc     compare all that was ever allocated, not what is in use\n"
    "  -n ROWS     how many rows; 0: all; default: 20\n"
    "  --json      as JSON, all rows that differ\n"
    "\n"
    "\"+-\" is the standard error of the difference. An object of Z bytes is in a profile with "
    "the\n"
    "probability p = 1 - exp(-Z / R), where R is the mean gap between samples (512 KiB, or\n"
    "EBB_PROFILE=rate=R), and stands for 1 / p objects then. N objects so estimated have the\n"
    "variance N (1 - p) / p. Two profiles of one process share the samples that live in both:\n"
    "what counts are the objects that came (as the profile's alloc_space tells) and those that\n"
    "went between. For other profiles the variances of both are added. What differs by less than\n"
    "twice its error is marked \"noise\": it may be chance (1 in 20 cases is). With rate=1 the\n"
    "error is 0.\n";

enum { DIFF_STACK_ROWS = 12 };

struct diff_row {
    const struct site *site;
    double growth, error; /* bytes */
};

struct diff {
    struct sites sites;
    struct diff_row *rows; /* those that differ, what grew most first */
    size_t count;
    double growth, error;
};

static bool diff_is_noise(double growth, double error) {
    return error > 0 && fabs(growth) < 2 * error;
}

static int diff_compare(const void *a, const void *b) {
    const struct diff_row *one = a, *other = b;
    return (one->growth < other->growth) - (one->growth > other->growth);
}

static void diff_make(struct diff *d) {
    struct sites *s = &d->sites;
    size_t room = 0;
    sites_compare(s);
    d->rows = need_room(NULL, &room, s->count, sizeof *d->rows);
    for (size_t i = 0; i < s->count; i++) {
        const struct site *site = &s->at[i];
        struct diff_row row = {site, site->sum[1].bytes - site->sum[0].bytes,
                               sqrt(site->growth_variance)};
        if (row.growth != 0 || site->sum[0].objects != site->sum[1].objects)
            d->rows[d->count++] = row;
    }
    if (d->count > 1) qsort(d->rows, d->count, sizeof *d->rows, diff_compare);
    d->growth = s->total[1].bytes - s->total[0].bytes;
    d->error = sqrt(s->growth_variance);
}

/* --- Output --------------------------------------------------------------------------------- */

static void diff_frame(const struct sites *s, const struct site *site, uint32_t at) {
    struct sites_frame frame = sites_frame(s, s->frames[site->frames_at + at]);
    fputs(frame.function, stdout);
    if (*frame.file) printf(" %s:%" PRId64, frame.file, frame.line);
}

static void diff_row_print(const struct sites *s, const struct diff_row *row) {
    const struct site *site = row->site;
    bool noise = diff_is_noise(row->growth, row->error);
    enum colour colour = noise ? COLOUR_DIM : row->growth > 0 ? COLOUR_BAD : COLOUR_GOOD;
    fputs(colour_on(stdout, colour), stdout);
    printf("%+15.0f %10s %10s %-5s %10s %10s %+11.0f  ", row->growth, text_bytes(row->growth),
           text_bytes(row->error), noise ? "noise" : "", text_bytes(site->sum[0].bytes),
           text_bytes(site->sum[1].bytes), site->sum[1].objects - site->sum[0].objects);
    if (site->frames_count == 0) fputs("(no stack)", stdout);
    for (uint32_t i = 0; i < site->frames_count && i < DIFF_STACK_ROWS; i++) {
        if (i > 0) printf("\n%80s<- ", "");
        diff_frame(s, site, i);
    }
    puts(colour_on(stdout, COLOUR_PLAIN));
}

static void diff_print(const struct diff *d, const char *kind, long rows) {
    const struct sites *s = &d->sites;
    printf("%s_space: %.0f bytes before, %.0f after: %s%s +- %s%s\n", kind, s->total[0].bytes,
           s->total[1].bytes, d->growth > 0 ? "+" : "", text_bytes(d->growth), text_bytes(d->error),
           diff_is_noise(d->growth, d->error) ? " (noise)" : "");
    printf("%s%15s %10s %10s %-5s %10s %10s %11s  %s%s\n", colour_on(stdout, COLOUR_HEAD),
           "growth in bytes", "growth", "+-", "", "before", "after", "objects", "site",
           colour_on(stdout, COLOUR_PLAIN));
    for (size_t i = 0; i < d->count && (rows == 0 || i < (size_t)rows); i++)
        diff_row_print(s, &d->rows[i]);
}

static void diff_json_sums(const struct sites_sum sum[2], double growth, double error) {
    printf("\"growth\": %.0f, \"error\": %.0f, \"noise\": %s, \"before\": %.0f, \"after\": %.0f, "
           "\"objects_before\": %.0f, \"objects_after\": %.0f",
           growth, error, diff_is_noise(growth, error) ? "true" : "false", sum[0].bytes,
           sum[1].bytes, sum[0].objects, sum[1].objects);
}

static void diff_json(const struct diff *d, const char *kind) {
    printf("{\"kind\": \"%s\", ", kind);
    diff_json_sums(d->sites.total, d->growth, d->error);
    fputs(",\n\"sites\": [", stdout);
    for (size_t i = 0; i < d->count; i++) {
        fputs(i > 0 ? ",\n{" : "\n{", stdout);
        diff_json_sums(d->rows[i].site->sum, d->rows[i].growth, d->rows[i].error);
        fputs(", \"stack\": ", stdout);
        sites_json_stack(&d->sites, d->rows[i].site, stdout);
        putchar('}');
    }
    puts("]}");
}

/* --- The command line ----------------------------------------------------------------------- */

struct diff_options {
    const char *from[2], *kind;
    bool json;
    long rows;
};

static bool diff_option(struct diff_options *o, int argc, char **argv, int *i) {
    const char *argument = argv[*i];
    char *end;
    if (strcmp(argument, "--json") == 0) return o->json = true;
    if (strcmp(argument, "--alloc") == 0) return (o->kind = "alloc") != NULL;
    if (strcmp(argument, "-n") == 0) {
        if (++*i >= argc) return false;
        o->rows = strtol(argv[*i], &end, 10);
        return end != argv[*i] && !*end && o->rows >= 0;
    }
    if (o->from[1] || (argument[0] == '-' && argument[1])) return false;
    o->from[o->from[0] != NULL] = argument;
    return true;
}

static bool diff_load(struct diff *d, const struct diff_options *o, int which) {
    struct pprof p;
    const char *page = strcmp(o->kind, "alloc") == 0 ? "/debug/pprof/allocs" : "/debug/pprof/heap";
    bool good = load_profile(&p, o->from[which], page);
    if (good && !sites_add(&d->sites, &p, o->kind, which)) {
        fprintf(stderr, "ebb diff: %s has no %s_space and %s_objects\n", o->from[which], o->kind,
                o->kind);
        good = false;
    }
    pprof_free(&p);
    return good;
}

static int diff_main(int argc, char **argv) {
    struct diff_options o = {.kind = "inuse", .rows = 20};
    for (int i = 1; i < argc; i++) {
        int at = i;
        if (!diff_option(&o, argc, argv, &i))
            return command_wrong(argv[0], "\"%s\" is not understood", argv[at]);
    }
    if (!o.from[1]) return command_wrong(argv[0], "takes two profiles");
    struct diff d = {0};
    bool good = diff_load(&d, &o, 0) && diff_load(&d, &o, 1);
    if (good) {
        diff_make(&d);
        o.json ? diff_json(&d, o.kind) : diff_print(&d, o.kind, o.rows);
        good = fflush(stdout) == 0;
    }
    free(d.rows);
    sites_free(&d.sites);
    return good ? 0 : 1;
}

const command command_diff = {
    "diff",
    "what grew between two heap profiles",
    diff_help,
    diff_main,
};
