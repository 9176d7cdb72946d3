/* sites.c - see sites.h. */
#define _GNU_SOURCE 1
#include "sites.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "json.h"

enum { SITES_DEPTH = 1024 };

static const char *site_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* --- Frames --------------------------------------------------------------------------------- */

/* A frame's text is "FUNCTION\0FILE\0LINE". */
static uint32_t site_text(struct sites *s, const char *function, const char *file, int64_t line) {
    char *text;
    int size = asprintf(&text, "%s%c%s%c%" PRId64, function, 0, site_base(file), 0, line);
    if (size < 0) abort();
    uint32_t number = intern_add(&s->texts, text, (size_t)size, NULL);
    free(text);
    return number;
}

struct sites_frame sites_frame(const struct sites *s, uint32_t frame) {
    const char *function = s->texts.keys[frame].bytes;
    const char *file = function + strlen(function) + 1;
    return (struct sites_frame){function, file, strtoll(file + strlen(file) + 1, NULL, 10)};
}

/* An address without a name, as the place in its file, which stays the same from run to run. */
static uint32_t site_address(struct sites *s, const struct pprof *p,
                             const struct pprof_location *location) {
    char text[256];
    if (location->mapping == PPROF_NONE) {
        snprintf(text, sizeof text, "0x%" PRIx64, location->address);
    } else {
        const struct pprof_mapping *m = &p->mappings[location->mapping];
        const char *file = site_base(pprof_text(p, m->file));
        snprintf(text, sizeof text, "%.200s+0x%" PRIx64, *file ? file : "?",
                 location->address - m->start + m->offset);
    }
    return site_text(s, text, "", 0);
}

/* The frames of all locations of a profile: those of the i-th are texts[at[i], at[i + 1]),
 * innermost first. A stack has many locations, and a location is in many stacks. */
struct site_table {
    uint32_t *texts, *at;
    size_t count, room;
};

static void table_add(struct site_table *table, uint32_t text) {
    table->texts = need_room(table->texts, &table->room, table->count, sizeof *table->texts);
    table->texts[table->count++] = text;
}

static void table_fill(struct site_table *table, struct sites *s, const struct pprof *p) {
    size_t room = 0;
    table->at = need_room(NULL, &room, p->locations_count + 1, sizeof *table->at);
    for (size_t i = 0; i < p->locations_count; i++) {
        const struct pprof_location *location = &p->locations[i];
        table->at[i] = (uint32_t)table->count;
        if (location->lines_count == 0) table_add(table, site_address(s, p, location));
        for (uint32_t k = 0; k < location->lines_count; k++) {
            const struct pprof_line *line = &p->lines[location->lines_at + k];
            const struct pprof_function *f = &p->functions[line->function];
            table_add(table,
                      site_text(s, pprof_text(p, f->name), pprof_text(p, f->file), line->line));
        }
    }
    table->at[p->locations_count] = (uint32_t)table->count;
}

static bool site_is_ours(const struct sites *s, uint32_t frame) {
    return strncmp(s->texts.keys[frame].bytes, "ebb_", 4) == 0;
}

/* The site of a sample's stack, new or known. */
static struct site *site_of(struct sites *s, const struct pprof *p, const struct site_table *table,
                            const struct pprof_sample *sample) {
    uint32_t frames[SITES_DEPTH];
    size_t count = 0, first = 0;
    for (uint32_t i = 0; i < sample->stack_count; i++) {
        uint32_t location = p->stacks[sample->stack_at + i];
        for (uint32_t k = table->at[location]; k < table->at[location + 1]; k++)
            if (count < SITES_DEPTH) frames[count++] = table->texts[k];
    }
    while (first + 1 < count && site_is_ours(s, frames[first])) first++;
    bool fresh;
    uint32_t place =
        intern_add(&s->stacks, frames + first, (count - first) * sizeof *frames, &fresh);
    if (!fresh) return &s->at[place];
    s->at = need_room(s->at, &s->room, s->count, sizeof *s->at);
    struct site *site = &s->at[s->count++];
    *site = (struct site){.frames_at = (uint32_t)s->frames_count,
                          .frames_count = (uint32_t)(count - first)};
    for (; first < count; first++) {
        s->frames = need_room(s->frames, &s->frames_room, s->frames_count, sizeof *s->frames);
        s->frames[s->frames_count++] = frames[first];
    }
    return site;
}

/* --- Sums ----------------------------------------------------------------------------------- */

void sites_sum_add(struct sites_sum *to, const struct sites_sum *from) {
    to->objects += from->objects;
    to->bytes += from->bytes;
    to->objects_variance += from->objects_variance;
    to->bytes_variance += from->bytes_variance;
}

static struct sites_sum site_sum(const struct pprof *p, const struct pprof_sample *sample,
                                 double objects, double bytes) {
    struct sites_sum sum = {.objects = objects, .bytes = bytes};
    int64_t size = 0;
    double z = objects != 0 ? bytes / objects : 0;
    if (pprof_number(p, sample, "bytes", &size) && size > 0) z = (double)size;
    if (p->period <= 1 || z <= 0) return sum;
    double missed = exp(-z / (double)p->period), each = missed / (1 - missed);
    sum.objects_variance = fabs(objects) * each;
    sum.bytes_variance = fabs(bytes) * each * z;
    return sum;
}

bool sites_add(struct sites *s, const struct pprof *p, const char *kind, int which) {
    char objects_name[32], bytes_name[32];
    snprintf(objects_name, sizeof objects_name, "%s_objects", kind);
    snprintf(bytes_name, sizeof bytes_name, "%s_space", kind);
    size_t types = p->types_count, objects_at = pprof_type_named(p, objects_name);
    size_t bytes_at = pprof_type_named(p, bytes_name);
    if (objects_at == types || bytes_at == types) return false;
    struct site_table table = {0};
    table_fill(&table, s, p);
    for (size_t i = 0; i < p->samples_count; i++) {
        const int64_t *values = &p->values[i * types];
        if (values[objects_at] == 0 && values[bytes_at] == 0) continue;
        struct sites_sum sum =
            site_sum(p, &p->samples[i], (double)values[objects_at], (double)values[bytes_at]);
        sites_sum_add(&site_of(s, p, &table, &p->samples[i])->sum[which], &sum);
        sites_sum_add(&s->total[which], &sum);
    }
    free(table.texts);
    free(table.at);
    return true;
}

void sites_json_stack(const struct sites *s, const struct site *site, FILE *out) {
    putc('[', out);
    for (uint32_t i = 0; i < site->frames_count; i++) {
        struct sites_frame frame = sites_frame(s, s->frames[site->frames_at + i]);
        fputs(i > 0 ? ", {\"function\": " : "{\"function\": ", out);
        json_string(out, frame.function);
        fputs(", \"file\": ", out);
        json_string(out, frame.file);
        fprintf(out, ", \"line\": %" PRId64 "}", frame.line);
    }
    putc(']', out);
}

void sites_free(struct sites *s) {
    intern_free(&s->texts);
    intern_free(&s->stacks);
    free(s->at);
    free(s->frames);
    *s = (struct sites){0};
}
