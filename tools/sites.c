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

/* A frame's text is "FUNCTION\0FILE\0LINE", control characters as dots: it will be printed. */
static uint32_t site_text(struct sites *s, const char *function, const char *file, int64_t line) {
    char *text;
    int size = asprintf(&text, "%s%c%s%c%" PRId64, function, 0, site_base(file), 0, line);
    if (size < 0) abort();
    for (int i = 0; i < size; i++)
        if ((text[i] > 0 && text[i] < ' ') || text[i] == 0x7f) text[i] = '.';
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
    for (uint32_t i = 0; i < sample->stack_count && count < SITES_DEPTH; i++) {
        uint32_t at = table->at[p->stacks[sample->stack_at + i]];
        uint32_t end = table->at[p->stacks[sample->stack_at + i] + 1];
        while (at < end && count < SITES_DEPTH) frames[count++] = table->texts[at++];
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

/* The size of a sample's objects; 0: not known. */
static double site_size(const struct pprof *p, const struct pprof_sample *sample, double objects,
                        double bytes) {
    int64_t size = 0;
    if (pprof_number(p, sample, "bytes", &size) && size > 0) return (double)size;
    return objects != 0 ? bytes / objects : 0;
}

/* The variance that an object of a size that was estimated adds to their number. */
static double site_each(const struct pprof *p, double size) {
    if (p->period <= 1 || size <= 0) return 0;
    return exp(-size / (double)p->period) / -expm1(-size / (double)p->period);
}

static struct sites_bucket *site_bucket(struct sites *s, uint32_t site, double size, double each) {
    double key[2] = {site, size};
    bool fresh;
    uint32_t place = intern_add(&s->bucket_keys, key, sizeof key, &fresh);
    if (fresh) {
        s->buckets = need_room(s->buckets, &s->buckets_room, s->buckets_count, sizeof *s->buckets);
        s->buckets[s->buckets_count++] =
            (struct sites_bucket){.site = site, .size = size, .each = each};
    }
    return &s->buckets[place];
}

/* Where the values of a profile are; types_count where there are none. */
struct site_values {
    size_t objects, bytes, alloc_bytes;
};

static bool site_values_find(const struct pprof *p, const char *kind, struct site_values *at) {
    char name[32];
    snprintf(name, sizeof name, "%s_objects", kind);
    at->objects = pprof_type_named(p, name);
    snprintf(name, sizeof name, "%s_space", kind);
    at->bytes = pprof_type_named(p, name);
    at->alloc_bytes = pprof_type_named(p, "alloc_space");
    return at->objects < p->types_count && at->bytes < p->types_count;
}

static void site_sample(struct sites *s, const struct pprof *p, size_t i, struct site *site,
                        const struct site_values *at, int which) {
    const int64_t *values = &p->values[i * p->types_count];
    double objects = (double)values[at->objects], bytes = (double)values[at->bytes];
    double size = site_size(p, &p->samples[i], objects, bytes), each = site_each(p, size);
    struct sites_sum sum = {objects, bytes, fabs(objects) * each, fabs(bytes) * each * size};
    sites_sum_add(&site->sum[which], &sum);
    sites_sum_add(&s->total[which], &sum);
    if (size <= 0) return;
    struct sites_bucket *bucket = site_bucket(s, (uint32_t)(site - s->at), size, each);
    bucket->live[which] += bytes / size;
    if (at->alloc_bytes < p->types_count)
        bucket->allocs[which] += (double)values[at->alloc_bytes] / size;
}

/* --- Two profiles --------------------------------------------------------------------------- */

/* "ebb 1.2.3, process 4711", or null. */
static const char *site_process(const struct pprof *p) {
    for (size_t i = 0; i < p->comments_count; i++)
        if (strstr(pprof_text(p, p->comments[i]), ", process "))
            return pprof_text(p, p->comments[i]);
    return NULL;
}

/* Whether both say that they are of the same process and have their files at the same addresses. */
static bool site_same_process(struct sites *s, const struct pprof *p, int which) {
    const char *name = site_process(p);
    uint32_t number;
    if (!name || pprof_type_named(p, "alloc_space") == p->types_count) return false;
    if (which == 0) intern_add(&s->process, name, strlen(name), NULL);
    if (!intern_find(&s->process, name, strlen(name), &number)) return false;
    for (size_t i = 0; i < p->mappings_count; i++) {
        const struct pprof_mapping *m = &p->mappings[i];
        const char *file = pprof_text(p, m->file);
        char place[512];
        int size = snprintf(place, sizeof place, "%" PRIx64 " %.400s", m->start, file);
        if (which == 0) {
            intern_add(&s->process, file, strlen(file), NULL);
            intern_add(&s->process, place, (size_t)size, NULL);
        } else if (intern_find(&s->process, file, strlen(file), &number) &&
                   !intern_find(&s->process, place, (size_t)size, &number)) {
            return false;
        }
    }
    return true;
}

/* What a process has ever allocated never becomes less; rounding apart. */
static bool sites_only_grew(const struct sites *s) {
    for (size_t i = 0; i < s->buckets_count; i++)
        if (s->buckets[i].allocs[1] < s->buckets[i].allocs[0] - 1.5) return false;
    return true;
}

/* What arrived without being allocated has another size by now: that is one change as well. */
static double bucket_variance(const struct sites_bucket *b, bool same) {
    double born = fmax(b->allocs[1] - b->allocs[0], 0), died = born - (b->live[1] - b->live[0]);
    double changed = same ? born + fabs(died) : fabs(b->live[0]) + fabs(b->live[1]);
    return changed * b->each * b->size * b->size;
}

void sites_compare(struct sites *s) {
    s->same_process = s->same_process && sites_only_grew(s);
    for (size_t i = 0; i < s->buckets_count; i++) {
        double variance = bucket_variance(&s->buckets[i], s->same_process);
        s->at[s->buckets[i].site].growth_variance += variance;
        s->growth_variance += variance;
    }
}

bool sites_add(struct sites *s, const struct pprof *p, const char *kind, int which) {
    struct site_values at;
    if (!site_values_find(p, kind, &at)) return false;
    bool same = site_same_process(s, p, which);
    s->same_process = same && (which == 0 || s->same_process);
    struct site_table table = {0};
    table_fill(&table, s, p);
    for (size_t i = 0; i < p->samples_count; i++) {
        const int64_t *values = &p->values[i * p->types_count];
        size_t k = 0;
        while (k < p->types_count && values[k] == 0) k++;
        if (k < p->types_count)
            site_sample(s, p, i, site_of(s, p, &table, &p->samples[i]), &at, which);
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
    intern_free(&s->bucket_keys);
    intern_free(&s->process);
    free(s->buckets);
    free(s->at);
    free(s->frames);
    *s = (struct sites){0};
}
