/* top_read.c - what `ebb top` shows, from the program's own pages.
 *
 * /metrics and the page about collection cost next to nothing. Those about memory, slack and the
 * profile stop the program for a moment or take long to read: each is asked for again only after
 * fifty times as long as it took. */
#define _GNU_SOURCE 1
#include <ctype.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "json_read.h"
#include "load.h"
#include "sites.h"
#include "top.h"

double top_now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A name from the program, as far as a terminal should have it. */
static void top_name(char *to, size_t size, const char *text) {
    size_t n = 0;
    for (; text[n] && n + 1 < size; n++) to[n] = iscntrl((unsigned char)text[n]) ? '?' : text[n];
    to[n] = 0;
}

/* A number from the program, as far as it can be counted with and written as JSON: 0 for the rest.
 */
static double top_number(const char *text) {
    double value = strtod(text, NULL);
    return fabs(value) < 1e18 ? value : 0;
}

/* The caller frees; null: it did not answer. */
static char *page_get(const char *who, const char *target) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
    int result = client_get(who, target, out);
    if (fclose(out) == 0 && result == 0) return text;
    free(text);
    return NULL;
}

/* --- /metrics ------------------------------------------------------------------------------- */

static void metrics_cause(struct top_view *v, const char *name, double value) {
    size_t i = 0;
    while (i < v->causes_count && strcmp(v->causes[i].name, name) != 0) i++;
    if (i == TOP_CAUSES) return;
    if (i == v->causes_count) top_name(v->causes[v->causes_count++].name, 16, name);
    v->causes[i].count = value;
    v->cycles += value;
}

static void metrics_value(struct top_view *v, const char *name, const char *label,
                          const char *number) {
    bool finite = isfinite(strtod(number, NULL));
    double value = top_number(number);
    const struct {
        const char *name;
        double *to;
    } known[] = {{"ebb_heap_goal_bytes", &v->goal},
                 {"ebb_heap_limit_bytes", &v->limit},
                 {"ebb_heap_live_bytes", &v->live},
                 {"ebb_heap_released_bytes", &v->returned},
                 {"ebb_heap_returned_bytes_total", &v->returned_total},
                 {"process_resident_memory_bytes", &v->rss},
                 {"ebb_gc_assist_seconds_total", &v->assist_s},
                 {"ebb_gc_wait_seconds_total", &v->wait_s}};
    if (strcmp(name, "ebb_gc_cycles_total") == 0) metrics_cause(v, label, value);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) *known[i].to = finite ? value : -1;
}

/* NAME{label="VALUE"} NUMBER */
static void metrics_line(struct top_view *v, char *line) {
    char *number = strrchr(line, ' '), *label = strchr(line, '{');
    if (*line == '#' || !number) return;
    *number++ = 0;
    if (label) {
        *label++ = 0;
        label = strchr(label, '"');
        if (label) label[1 + strcspn(label + 1, "\"")] = 0;
    }
    metrics_value(v, line, label ? label + 1 : "", number);
}

static bool metrics_read(struct top_reader *r) {
    char *text = page_get(r->who, "/metrics?memory=off"), *rest = text;
    if (!text) return false;
    r->view.cycles = 0;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) metrics_line(&r->view, line);
    free(text);
    return true;
}

/* --- Collection ----------------------------------------------------------------------------- */

static void gc_value(void *arg, const char *path, const char *text) {
    struct top_view *v = arg;
    double value = top_number(text);
    bool stop = strcmp(path, "last[].open_ns") == 0 || strcmp(path, "last[].pause_ns") == 0;
    if (stop && value > 0 && v->stops_count < TOP_STOPS) v->stops[v->stops_count++] = value / 1e9;
    if (strcmp(path, "pid") == 0) v->pid = value > 0 && value < 1e9 ? (int)value : 0;
    if (strcmp(path, "verdict") == 0) top_name(v->verdict, sizeof v->verdict, text);
    if (strcmp(path, "age_ns") == 0) v->age_s = value / 1e9;
    if (strcmp(path, "pause_max_ns") == 0) v->stop_max_s = value / 1e9;
}

static int stops_compare(const void *a, const void *b) {
    double one = *(const double *)a, other = *(const double *)b;
    return (one > other) - (one < other);
}

static bool gc_read(struct top_reader *r) {
    char *text = page_get(r->who, "/debug/ebb/gc?format=json");
    if (!text) return false;
    r->view.stops_count = 0;
    bool good = json_walk(text, gc_value, &r->view);
    qsort(r->view.stops, r->view.stops_count, sizeof *r->view.stops, stops_compare);
    free(text);
    return good;
}

/* --- Memory --------------------------------------------------------------------------------- */

static void memory_value(void *arg, const char *path, const char *text) {
    struct top_view *v = arg;
    if (strcmp(path, "classes[].name") == 0 && v->classes_count < TOP_CLASSES)
        top_name(v->classes[v->classes_count++].name, sizeof v->classes->name, text);
    if (strcmp(path, "classes[].bytes") == 0 && v->classes_count > 0)
        v->classes[v->classes_count - 1].bytes = top_number(text);
    if (strcmp(path, "rss") == 0) v->classes_rss = top_number(text);
    if (strcmp(path, "stop_ns") == 0) v->look_s = top_number(text) / 1e9;
}

static void memory_read(struct top_reader *r) {
    char *text = page_get(r->who, "/debug/ebb/memory?format=json");
    if (!text) return;
    r->view.classes_count = 0;
    json_walk(text, memory_value, &r->view);
    free(text);
}

static void slack_value(void *arg, const char *path, const char *text) {
    struct top_view *v = arg;
    if (strncmp(path, "kinds[].", 8) != 0) return;
    path += 8;
    if (strcmp(path, "kind") == 0 && v->slack_count < TOP_SLACK)
        v->slack[v->slack_count++] = (struct top_slack){.bytes = 0};
    if (v->slack_count == 0) return;
    struct top_slack *s = &v->slack[v->slack_count - 1];
    if (strcmp(path, "kind") == 0) top_name(s->kind, sizeof s->kind, text);
    if (strcmp(path, "name") == 0) top_name(s->name, sizeof s->name, text);
    if (strcmp(path, "mends") == 0) top_name(s->mends, sizeof s->mends, text);
    if (strcmp(path, "slack") == 0) s->bytes = top_number(text);
    if (strcmp(path, "can_go") == 0) s->can_go = top_number(text);
    if (strcmp(path, "number") == 0) s->number = top_number(text);
}

static void slack_read(struct top_reader *r) {
    char *text = page_get(r->who, "/debug/ebb/slack?format=json&top=20");
    if (!text) return;
    r->view.slack_count = 0;
    json_walk(text, slack_value, &r->view);
    free(text);
}

/* --- Sites ---------------------------------------------------------------------------------- */

/* "function file.c:12 <- caller" */
static void site_name(char *name, size_t size, const struct sites *s, const struct site *site) {
    char text[512] = "?";
    size_t n = 0;
    for (uint32_t k = 0; k < site->frames_count && k < 3 && n < sizeof text; k++) {
        struct sites_frame f = sites_frame(s, s->frames[site->frames_at + k]);
        int added =
            k == 0 && *f.file
                ? snprintf(text, sizeof text, "%s %s:%lld", f.function, f.file, (long long)f.line)
                : snprintf(text + n, sizeof text - n, "%s%s", k ? " <- " : "", f.function);
        n += added > 0 ? (size_t)added : 0;
    }
    top_name(name, size, text);
}

static int site_compare(const void *a, const void *b) {
    double one = ((const struct site *)a)->sum[0].bytes,
           other = ((const struct site *)b)->sum[0].bytes;
    return (one < other) - (one > other);
}

static void sites_take(struct top_view *v, struct sites *s) {
    if (s->count > 1) qsort(s->at, s->count, sizeof *s->at, site_compare);
    for (size_t i = 0; i < s->count && v->sites_count < TOP_SITES; i++) {
        const struct sites_sum *sum = &s->at[i].sum[0];
        if (sum->bytes <= 0) break;
        struct top_site *to = &v->sites[v->sites_count++];
        site_name(to->name, sizeof to->name, s, &s->at[i]);
        to->bytes = sum->bytes;
        to->error = sqrt(sum->bytes_variance);
        to->objects = sum->objects;
    }
}

static void sites_read(struct top_reader *r) {
    struct top_view *v = &r->view;
    struct pprof p;
    struct sites s = {0};
    v->sites_count = 0;
    snprintf(v->sites_trouble, sizeof v->sites_trouble, "the program gives no profile");
    if (load_profile(&p, r->who, "/debug/pprof/heap") && sites_add(&s, &p, "inuse", 0)) {
        sites_take(v, &s);
        snprintf(v->sites_trouble, sizeof v->sites_trouble, "nothing was sampled yet");
    }
    sites_free(&s);
    pprof_free(&p);
}

/* --- All of it ------------------------------------------------------------------------------ */

/* Rates since the oldest mark, or the program's start; and a new mark. */
static void rates_take(struct top_reader *r, double now_s) {
    struct top_view *v = &r->view;
    struct top_mark none = {.at_s = now_s - v->age_s};
    size_t n = r->marks_count;
    const struct top_mark *from = n == 0 ? &none : &r->marks[n < TOP_MARKS ? 0 : n % TOP_MARKS];
    double window = now_s - from->at_s;
    v->window_s = window > 0.001 ? window : 0.001;
    v->cycles_a_second = (v->cycles - from->cycles) / v->window_s;
    v->assist_share = (v->assist_s - from->assist_s) / v->window_s;
    v->wait_share = (v->wait_s - from->wait_s) / v->window_s;
    struct top_mark mark = {
        .at_s = now_s, .cycles = v->cycles, .assist_s = v->assist_s, .wait_s = v->wait_s};
    for (size_t i = 0; i < v->causes_count; i++) {
        v->causes[i].a_second = (v->causes[i].count - from->causes[i]) / v->window_s;
        mark.causes[i] = v->causes[i].count;
    }
    r->marks[n % TOP_MARKS] = mark;
    r->marks_count++;
}

bool top_read(struct top_reader *r) {
    static const struct {
        void (*read)(struct top_reader *r);
        double every_s;
    } dear[3] = {{memory_read, 1}, {slack_read, 5}, {sites_read, 5}};
    if (!metrics_read(r) || !gc_read(r)) return false;
    r->answered = true;
    rates_take(r, top_now_s());
    for (size_t i = 0; i < 3; i++) {
        double began = top_now_s();
        if (began < r->due_s[i]) continue;
        dear[i].read(r);
        double took = top_now_s() - began, pause = 50 * took;
        r->due_s[i] = began + (pause > dear[i].every_s ? pause : dear[i].every_s - 0.1);
    }
    return true;
}

bool top_ended(const struct top_reader *r) {
    char path[64], text[512], *state;
    int pid = client_pid(r->who);
    if (!r->answered) return false;
    if (pid == 0) return true; /* a socket or a host that answers no more */
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *in = fopen(path, "re");
    if (!in) return true;
    size_t size = fread(text, 1, sizeof text - 1, in);
    fclose(in);
    text[size] = 0;
    state = strrchr(text, ')');
    return !state || (state[1] && (state[2] == 'Z' || state[2] == 'X'));
}
