/* top_page.c - what is known of a program, as lines of text and as JSON. */
#define _GNU_SOURCE 1
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "table.h"
#include "top.h"

const char *const top_sort_names[TOP_SORTS] = {"bytes", "objects", "name"};

/* --- Order ---------------------------------------------------------------------------------- */

static int order(double one, double other) {
    return (one < other) - (one > other);
}

static int class_by_bytes(const void *a, const void *b) {
    return order(((const struct top_class *)a)->bytes, ((const struct top_class *)b)->bytes);
}

static int class_by_name(const void *a, const void *b) {
    return strcmp(((const struct top_class *)a)->name, ((const struct top_class *)b)->name);
}

static int site_by_bytes(const void *a, const void *b) {
    return order(((const struct top_site *)a)->bytes, ((const struct top_site *)b)->bytes);
}

static int site_by_objects(const void *a, const void *b) {
    return order(((const struct top_site *)a)->objects, ((const struct top_site *)b)->objects);
}

static int site_by_name(const void *a, const void *b) {
    return strcmp(((const struct top_site *)a)->name, ((const struct top_site *)b)->name);
}

static int slack_by_bytes(const void *a, const void *b) {
    return order(((const struct top_slack *)a)->bytes, ((const struct top_slack *)b)->bytes);
}

static int slack_by_number(const void *a, const void *b) {
    return order(((const struct top_slack *)a)->number, ((const struct top_slack *)b)->number);
}

static int slack_by_name(const void *a, const void *b) {
    return strcmp(((const struct top_slack *)a)->name, ((const struct top_slack *)b)->name);
}

void top_sort_view(struct top_view *v, enum top_sort sort) {
    typedef int compare(const void *, const void *);
    static compare *const classes[] = {class_by_bytes, class_by_bytes, class_by_name};
    static compare *const sites[] = {site_by_bytes, site_by_objects, site_by_name};
    static compare *const slack[] = {slack_by_bytes, slack_by_number, slack_by_name};
    qsort(v->classes, v->classes_count, sizeof *v->classes, classes[sort]);
    qsort(v->sites, v->sites_count, sizeof *v->sites, sites[sort]);
    qsort(v->slack, v->slack_count, sizeof *v->slack, slack[sort]);
}

/* --- Text ----------------------------------------------------------------------------------- */

/* left counts down to what fits. */
struct page {
    const struct top_view *v;
    size_t left;
    bool whole; /* everything, whatever its length */
    void (*put)(void *arg, enum top_style style, const char *text);
    void *arg;
};

__attribute__((format(printf, 3, 4))) static void page_line(struct page *p, enum top_style style,
                                                            const char *format, ...) {
    char text[400];
    va_list args;
    if (p->left == 0) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--) text[n - 1] = 0;
    p->put(p->arg, style, text);
    p->left--;
}

static const char *page_seconds(double s) {
    return text_time(s > 0 ? (uint64_t)(s * 1e9) : 0);
}

static const char *page_bound(double bytes) {
    return bytes < 0 ? "none" : text_bytes(bytes);
}

static void page_head(struct page *p, const char *who) {
    const struct top_view *v = p->v;
    char clock[16];
    time_t now = time(NULL);
    struct tm parts;
    bool good = strcmp(v->verdict, "behind") != 0 && strcmp(v->verdict, "busy") != 0;
    strftime(clock, sizeof clock, "%H:%M:%S", localtime_r(&now, &parts));
    page_line(p, TOP_HEAD, "ebb top %s  %s  up %.0f s", who, clock, v->age_s);
    page_line(p, TOP_PLAIN, "goal %s  live %s  rss %s  returned %s (%s since the start)",
              page_bound(v->goal), text_bytes(v->live), text_bytes(v->rss), text_bytes(v->returned),
              text_bytes(v->returned_total));
    page_line(p, good ? TOP_GOOD : TOP_BAD, "collection: %s; limit %s",
              *v->verdict ? v->verdict : "not known", page_bound(v->limit));
}

static void page_collection(struct page *p) {
    const struct top_view *v = p->v;
    char causes[200] = "";
    size_t n = 0;
    for (size_t i = 0; i < v->causes_count && n < sizeof causes; i++) {
        if (v->causes[i].count <= 0) continue;
        int added = snprintf(causes + n, sizeof causes - n, "%s%s %.2f", n ? ", " : ": ",
                             v->causes[i].name, v->causes[i].a_second);
        n += added > 0 ? (size_t)added : 0;
    }
    page_line(p, TOP_PLAIN, "cycles %.2f a second%s  (%.0f in all)", v->cycles_a_second, causes,
              v->cycles);
    size_t stops = v->stops_count;
    page_line(p, TOP_PLAIN, "stops  median %s, longest %s of the last %zu; %s since the start",
              page_seconds(stops ? v->stops[stops / 2] : 0),
              page_seconds(stops ? v->stops[stops - 1] : 0), stops, page_seconds(v->stop_max_s));
    page_line(p, TOP_PLAIN, "assist %s a second, wait %s a second  (of the last %.0f s)",
              page_seconds(v->assist_share), page_seconds(v->wait_share), v->window_s);
}

static void page_classes(struct page *p) {
    const struct top_view *v = p->v;
    page_line(p, TOP_PLAIN, "%s", "");
    page_line(p, TOP_HEAD, "%14s %10s  %-16s (one stop of %s)", "resident", "", "class",
              page_seconds(v->look_s));
    for (size_t i = 0; i < v->classes_count; i++) {
        const struct top_class *c = &v->classes[i];
        double share = v->classes_rss > 0 ? c->bytes / v->classes_rss : 0;
        int bar = share > 0 && share <= 1 ? (int)(share * 30 + 0.5) : 0;
        if (c->bytes == 0 && !p->whole) continue;
        page_line(p, c->bytes == 0 ? TOP_DIM : TOP_PLAIN, "%14.0f %10s  %-16s %5.1f %% %.*s",
                  c->bytes, text_bytes(c->bytes), c->name, share * 100, bar,
                  "##############################");
    }
    page_line(p, TOP_PLAIN, "%14.0f %10s  %-16s", v->classes_rss, text_bytes(v->classes_rss),
              "rss, the sum");
}

static void page_sites(struct page *p, size_t most) {
    const struct top_view *v = p->v;
    page_line(p, TOP_PLAIN, "%s", "");
    page_line(p, TOP_HEAD, "%14s %10s %10s %11s  %s", "in use", "", "+-", "objects",
              "allocated at");
    if (v->sites_count == 0) page_line(p, TOP_DIM, "%16s%s", "", v->sites_trouble);
    for (size_t i = 0; i < v->sites_count && i < most; i++) {
        const struct top_site *s = &v->sites[i];
        page_line(p, TOP_PLAIN, "%14.0f %10s %10s %11.0f  %s", s->bytes, text_bytes(s->bytes),
                  text_bytes(s->error), s->objects, s->name);
    }
}

static void page_slack(struct page *p) {
    const struct top_view *v = p->v;
    page_line(p, TOP_PLAIN, "%s", "");
    page_line(p, TOP_HEAD, "%14s %10s %10s %11s  %s", "slack", "", "can go", "number", "of");
    if (v->slack_count == 0) page_line(p, TOP_DIM, "%16snone in slices and maps", "");
    for (size_t i = 0; i < v->slack_count; i++) {
        const struct top_slack *s = &v->slack[i];
        page_line(p, TOP_PLAIN, "%14.0f %10s %10s %11.0f  %s %s: %s", s->bytes,
                  text_bytes(s->bytes), text_bytes(s->can_go), s->number, s->kind, s->name,
                  s->mends);
    }
}

void top_page(const struct top_view *v, const char *who, size_t rows,
              void (*put)(void *arg, enum top_style style, const char *text), void *arg) {
    struct page p = {v, rows ? rows : SIZE_MAX, rows == 0, put, arg};
    page_head(&p, who);
    page_collection(&p);
    page_classes(&p);
    /* Some rows of slack below the sites, where there is room for both. */
    size_t below = 3 + (v->slack_count < 4 ? v->slack_count : 3);
    page_sites(&p, p.left > below + 5 ? p.left - below - 2 : p.left);
    page_slack(&p);
}

/* --- JSON ----------------------------------------------------------------------------------- */

static void json_bound(FILE *out, const char *name, double bytes) {
    if (bytes < 0)
        fprintf(out, "\"%s\": null, ", name);
    else
        fprintf(out, "\"%s\": %.0f, ", name, bytes);
}

static void json_collection(const struct top_view *v, FILE *out) {
    size_t stops = v->stops_count;
    fprintf(out, "\"window_s\": %.3f, \"cycles\": %.0f, \"cycles_a_second\": %.3f, \"causes\": {",
            v->window_s, v->cycles, v->cycles_a_second);
    for (size_t i = 0; i < v->causes_count; i++) {
        fputs(i ? ", " : "", out);
        json_string(out, v->causes[i].name);
        fprintf(out, ": {\"count\": %.0f, \"a_second\": %.3f}", v->causes[i].count,
                v->causes[i].a_second);
    }
    fprintf(out,
            "}, \"stop_median_s\": %.6f, \"stop_longest_s\": %.6f, \"stop_max_s\": %.6f, "
            "\"assist_s\": %.6f, \"wait_s\": %.6f, \"assist_share\": %.6f, \"wait_share\": %.6f, "
            "\"verdict\": ",
            stops ? v->stops[stops / 2] : 0, stops ? v->stops[stops - 1] : 0, v->stop_max_s,
            v->assist_s, v->wait_s, v->assist_share, v->wait_share);
    json_string(out, v->verdict);
}

static void json_lists(const struct top_view *v, FILE *out) {
    fprintf(out, ",\n\"classes_rss\": %.0f, \"look_s\": %.6f, \"classes\": [", v->classes_rss,
            v->look_s);
    for (size_t i = 0; i < v->classes_count; i++) {
        fputs(i ? ",\n{\"name\": " : "\n{\"name\": ", out);
        json_string(out, v->classes[i].name);
        fprintf(out, ", \"bytes\": %.0f}", v->classes[i].bytes);
    }
    fputs("],\n\"sites\": [", out);
    for (size_t i = 0; i < v->sites_count; i++) {
        fputs(i ? ",\n{\"name\": " : "\n{\"name\": ", out);
        json_string(out, v->sites[i].name);
        fprintf(out, ", \"bytes\": %.0f, \"error\": %.0f, \"objects\": %.0f}", v->sites[i].bytes,
                v->sites[i].error, v->sites[i].objects);
    }
    fputs("],\n\"slack\": [", out);
    for (size_t i = 0; i < v->slack_count; i++) {
        fputs(i ? ",\n{\"kind\": " : "\n{\"kind\": ", out);
        json_string(out, v->slack[i].kind);
        fputs(", \"name\": ", out);
        json_string(out, v->slack[i].name);
        fprintf(out, ", \"bytes\": %.0f, \"can_go\": %.0f, \"number\": %.0f, \"mends\": ",
                v->slack[i].bytes, v->slack[i].can_go, v->slack[i].number);
        json_string(out, v->slack[i].mends);
        putc('}', out);
    }
    fputs("]}\n", out);
}

void top_json(const struct top_view *v, FILE *out) {
    fprintf(out, "{\"pid\": %d, \"age_s\": %.3f, ", v->pid, v->age_s);
    json_bound(out, "goal", v->goal);
    json_bound(out, "limit", v->limit);
    fprintf(out, "\"live\": %.0f, \"rss\": %.0f, \"returned\": %.0f, \"returned_total\": %.0f,\n",
            v->live, v->rss, v->returned, v->returned_total);
    json_collection(v, out);
    json_lists(v, out);
}
