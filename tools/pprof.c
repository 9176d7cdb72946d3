/* pprof.c - a profile in memory: built and merged. See pprof.h; pprof_read.c and pprof_write.c know
 * its form in a file. docs/design.md, "Names". */
#define _GNU_SOURCE 1
#include "pprof.h"

#include <stdlib.h>

void pprof_begin(struct pprof *p) {
    *p = (struct pprof){0};
    intern_add(&p->strings, "", 0, NULL);
}

void pprof_free(struct pprof *p) {
    intern_free(&p->strings);
    intern_free(&p->functions_known);
    free(p->types);
    free(p->mappings);
    free(p->functions);
    free(p->functions_at);
    free(p->locations);
    free(p->lines);
    free(p->samples);
    free(p->stacks);
    free(p->labels);
    free(p->values);
    free(p->comments);
    *p = (struct pprof){0};
}

bool pprof_slurp(FILE *in, size_t limit, char **bytes, size_t *size) {
    size_t room = 0;
    *bytes = NULL;
    *size = 0;
    while (*size < limit) {
        *bytes = need_room(*bytes, &room, *size, 1);
        size_t wanted = room < limit ? room - *size : limit - *size;
        size_t got = fread(*bytes + *size, 1, wanted, in);
        *size += got;
        if (got < wanted) return !ferror(in);
    }
    int next = getc(in);
    if (next == EOF) return !ferror(in);
    ungetc(next, in);
    return false;
}

/* --- Looking -------------------------------------------------------------------------------- */

size_t pprof_type_named(const struct pprof *p, const char *type) {
    size_t i = 0;
    while (i < p->types_count && strcmp(pprof_text(p, p->types[i].type), type) != 0) i++;
    return i;
}

bool pprof_number(const struct pprof *p, const struct pprof_sample *sample, const char *key,
                  int64_t *number) {
    for (uint32_t i = 0; i < sample->labels_count; i++) {
        const struct pprof_label *label = &p->labels[sample->labels_at + i];
        if (label->text != 0 || strcmp(pprof_text(p, label->key), key) != 0) continue;
        *number = label->number;
        return true;
    }
    return false;
}

/* --- Building ------------------------------------------------------------------------------- */

uint32_t pprof_add_string(struct pprof *p, const char *text) {
    return intern_add(&p->strings, text, strlen(text), NULL);
}

size_t pprof_add_sample(struct pprof *p, const uint32_t *stack, size_t depth,
                        const int64_t *values) {
    struct pprof_sample *sample = PPROF_ADD(p, samples);
    sample->stack_at = (uint32_t)p->stacks_count;
    sample->stack_count = (uint32_t)depth;
    sample->labels_at = (uint32_t)p->labels_count;
    for (size_t i = 0; i < depth; i++) *PPROF_ADD(p, stacks) = stack[i];
    for (size_t i = 0; i < p->types_count; i++) *PPROF_ADD(p, values) = values[i];
    return p->samples_count - 1;
}

void pprof_add_number(struct pprof *p, const char *key, int64_t number, const char *unit) {
    struct pprof_label label = {.key = pprof_add_string(p, key), .number = number};
    label.unit = pprof_add_string(p, unit);
    *PPROF_ADD(p, labels) = label;
    p->samples[p->samples_count - 1].labels_count++;
}

static uint32_t pprof_function_place(struct pprof *p, const struct pprof_function *function) {
    uint64_t key[4] = {function->name, function->system_name, function->file,
                       (uint64_t)function->line};
    bool fresh;
    uint32_t known = intern_add(&p->functions_known, key, sizeof key, &fresh);
    if (fresh) {
        *PPROF_ADD(p, functions_at) = (uint32_t)p->functions_count;
        *PPROF_ADD(p, functions) = *function;
    }
    return p->functions_at[known];
}

void pprof_add_line(struct pprof *p, size_t location, const struct pprof_function *function,
                    int64_t line) {
    struct pprof_line added = {pprof_function_place(p, function), line};
    struct pprof_location *to = &p->locations[location];
    if (to->lines_count == 0) to->lines_at = (uint32_t)p->lines_count;
    *PPROF_ADD(p, lines) = added;
    to->lines_count++;
}

/* --- Merging -------------------------------------------------------------------------------- */

/* What is in the sum already, by what makes two of them the same; the numbers are the places. */
struct merge {
    struct pprof sum;
    struct intern mappings, locations, samples;
    const struct pprof *from;
    uint32_t *mapping_at, *location_at; /* of from's, in the sum */
    uint64_t *key;                      /* room to put a key together */
    size_t key_room;
};

static uint32_t merge_string(struct merge *m, uint32_t string) {
    const struct intern_key *key = &m->from->strings.keys[string];
    return intern_add(&m->sum.strings, key->bytes, key->size, NULL);
}

/* Puts the i-th word of the key. */
static void merge_put(struct merge *m, size_t i, uint64_t word) {
    m->key = need_room(m->key, &m->key_room, i, sizeof *m->key);
    m->key[i] = word;
}

/* The same part of the same file is the same mapping, wherever it lies. */
static uint32_t merge_mapping(struct merge *m, const struct pprof_mapping *from) {
    struct pprof_mapping to = *from;
    to.file = merge_string(m, from->file);
    to.build_id = merge_string(m, from->build_id);
    uint64_t key[4] = {to.limit - to.start, to.offset, to.build_id, to.build_id ? 0 : to.file};
    bool fresh;
    uint32_t place = intern_add(&m->mappings, key, sizeof key, &fresh);
    if (fresh) *PPROF_ADD(&m->sum, mappings) = to;
    return place;
}

static struct pprof_line merge_line(struct merge *m, const struct pprof_line *from) {
    const struct pprof_function *f = &m->from->functions[from->function];
    struct pprof_function to = {merge_string(m, f->name), merge_string(m, f->system_name),
                                merge_string(m, f->file), f->line};
    return (struct pprof_line){pprof_function_place(&m->sum, &to), from->line};
}

static uint32_t merge_location(struct merge *m, const struct pprof_location *from) {
    struct pprof_location to = {.address = from->address, .mapping = PPROF_NONE};
    to.folded = from->folded;
    to.lines_at = (uint32_t)m->sum.lines_count;
    if (from->mapping != PPROF_NONE) {
        to.mapping = m->mapping_at[from->mapping];
        to.address -= m->from->mappings[from->mapping].start;
        to.address += m->sum.mappings[to.mapping].start;
    }
    size_t words = 0;
    merge_put(m, words++, to.mapping);
    merge_put(m, words++, to.address << 1 | to.folded);
    for (uint32_t i = 0; i < from->lines_count; i++) {
        struct pprof_line line = merge_line(m, &m->from->lines[from->lines_at + i]);
        *PPROF_ADD(&m->sum, lines) = line;
        merge_put(m, words++, line.function);
        merge_put(m, words++, (uint64_t)line.line);
    }
    to.lines_count = from->lines_count;
    bool fresh;
    uint32_t place = intern_add(&m->locations, m->key, words * sizeof *m->key, &fresh);
    if (fresh)
        *PPROF_ADD(&m->sum, locations) = to;
    else
        m->sum.lines_count = to.lines_at;
    return place;
}

static int64_t merge_value(int64_t a, int64_t b, int64_t factor) {
    int64_t product, sum;
    if (__builtin_mul_overflow(b, factor, &product))
        product = (b < 0) == (factor < 0) ? INT64_MAX : INT64_MIN;
    if (__builtin_add_overflow(a, product, &sum)) sum = a < 0 ? INT64_MIN : INT64_MAX;
    return sum;
}

/* The sample of the sum that has this one's stack and labels, with zeros if it is new. */
static uint32_t merge_sample(struct merge *m, const struct pprof_sample *from) {
    struct pprof *sum = &m->sum;
    struct pprof_sample to = {.stack_at = (uint32_t)sum->stacks_count,
                              from->stack_count,
                              (uint32_t)sum->labels_count,
                              from->labels_count};
    size_t words = 0;
    merge_put(m, words++, to.stack_count);
    for (uint32_t i = 0; i < from->stack_count; i++) {
        uint32_t location = m->location_at[m->from->stacks[from->stack_at + i]];
        *PPROF_ADD(sum, stacks) = location;
        merge_put(m, words++, location);
    }
    for (uint32_t i = 0; i < from->labels_count; i++) {
        struct pprof_label label = m->from->labels[from->labels_at + i];
        label.key = merge_string(m, label.key);
        label.text = merge_string(m, label.text);
        label.unit = merge_string(m, label.unit);
        *PPROF_ADD(sum, labels) = label;
        merge_put(m, words++, (uint64_t)label.key << 32 | label.text);
        merge_put(m, words++, label.unit);
        merge_put(m, words++, (uint64_t)label.number);
    }
    bool fresh;
    uint32_t place = intern_add(&m->samples, m->key, words * sizeof *m->key, &fresh);
    if (fresh) {
        *PPROF_ADD(sum, samples) = to;
        for (size_t i = 0; i < sum->types_count; i++) *PPROF_ADD(sum, values) = 0;
    } else {
        sum->stacks_count = to.stack_at;
        sum->labels_count = to.labels_at;
    }
    return place;
}

static void merge_samples(struct merge *m, int64_t factor) {
    size_t types = m->sum.types_count;
    for (size_t i = 0; i < m->from->samples_count; i++) {
        uint32_t place = merge_sample(m, &m->from->samples[i]);
        for (size_t k = 0; k < types; k++) {
            int64_t *value = &m->sum.values[place * types + k];
            *value = merge_value(*value, m->from->values[i * types + k], factor);
        }
    }
}

/* The first profile that says something is believed; periods may differ, then the longer stands. */
static void merge_header(struct merge *m) {
    const struct pprof *from = m->from;
    struct pprof *sum = &m->sum;
    if (sum->types_count == 0) {
        for (size_t i = 0; i < from->types_count; i++) {
            struct pprof_type type = {merge_string(m, from->types[i].type),
                                      merge_string(m, from->types[i].unit)};
            *PPROF_ADD(sum, types) = type;
        }
        sum->period_type.type = merge_string(m, from->period_type.type);
        sum->period_type.unit = merge_string(m, from->period_type.unit);
        sum->time_ns = from->time_ns;
        sum->default_type = merge_string(m, from->default_type);
        sum->drop_frames = merge_string(m, from->drop_frames);
        sum->keep_frames = merge_string(m, from->keep_frames);
        sum->doc_url = merge_string(m, from->doc_url);
    }
    if (from->period > sum->period) sum->period = from->period;
    sum->duration_ns = merge_value(sum->duration_ns, from->duration_ns, 1);
    for (size_t i = 0; i < from->comments_count; i++) {
        uint32_t comment = merge_string(m, from->comments[i]);
        size_t k = 0;
        while (k < sum->comments_count && sum->comments[k] != comment) k++;
        if (k == sum->comments_count) *PPROF_ADD(sum, comments) = comment;
    }
}

static void merge_add(struct merge *m, const struct pprof *from, int64_t factor) {
    m->from = from;
    size_t room = 0;
    m->mapping_at = need_room(NULL, &room, from->mappings_count, sizeof *m->mapping_at);
    room = 0;
    m->location_at = need_room(NULL, &room, from->locations_count, sizeof *m->location_at);
    merge_header(m);
    for (size_t i = 0; i < from->mappings_count; i++)
        m->mapping_at[i] = merge_mapping(m, &from->mappings[i]);
    for (size_t i = 0; i < from->locations_count; i++)
        m->location_at[i] = merge_location(m, &from->locations[i]);
    merge_samples(m, factor);
    free(m->mapping_at);
    free(m->location_at);
}

static bool merge_same_types(const struct pprof *a, const struct pprof *b) {
    if (a->types_count != b->types_count) return false;
    for (size_t i = 0; i < a->types_count; i++) {
        if (strcmp(pprof_text(a, a->types[i].type), pprof_text(b, b->types[i].type)) != 0 ||
            strcmp(pprof_text(a, a->types[i].unit), pprof_text(b, b->types[i].unit)) != 0)
            return false;
    }
    return true;
}

bool pprof_merge(struct pprof *into, const struct pprof *from, int64_t factor) {
    if (!merge_same_types(into, from)) {
        snprintf(into->error, sizeof into->error, "the two profiles have different sample types");
        return false;
    }
    struct merge m = {0};
    pprof_begin(&m.sum);
    merge_add(&m, into, 1);
    merge_add(&m, from, factor);
    pprof_free(into);
    *into = m.sum;
    intern_free(&m.mappings);
    intern_free(&m.locations);
    intern_free(&m.samples);
    free(m.key);
    return true;
}

void pprof_drop_zeros(struct pprof *p) {
    size_t kept = 0, types = p->types_count;
    for (size_t i = 0; i < p->samples_count; i++) {
        const int64_t *values = &p->values[i * types];
        size_t k = 0;
        while (k < types && values[k] == 0) k++;
        if (k == types) continue;
        memmove(&p->values[kept * types], values, types * sizeof *values);
        p->samples[kept++] = p->samples[i];
    }
    p->samples_count = kept;
    p->values_count = kept * types;
}
