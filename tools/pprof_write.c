/* pprof_write.c - a profile into a file: ids are places plus one. See pprof_read.c. */
#define _GNU_SOURCE 1
#include "pprof.h"

#include <stdlib.h>

#include "gzip.h"

/* A message that grows; a message within another is put together in one of its own first. */
struct out {
    uint8_t *bytes;
    size_t size, room;
};

static void out_byte(struct out *out, uint8_t byte) {
    out->bytes = need_room(out->bytes, &out->room, out->size, 1);
    out->bytes[out->size++] = byte;
}

static void out_varint(struct out *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_byte(out, (uint8_t)(value | 0x80));
    out_byte(out, (uint8_t)value);
}

/* Zero is what a field is that is not there. */
static void out_number(struct out *out, uint32_t field, uint64_t value) {
    if (value == 0) return;
    out_varint(out, field << 3);
    out_varint(out, value);
}

static void out_bytes(struct out *out, uint32_t field, const void *bytes, size_t size) {
    out_varint(out, field << 3 | 2);
    out_varint(out, size);
    for (size_t i = 0; i < size; i++) out_byte(out, ((const uint8_t *)bytes)[i]);
}

/* Ends a part: it becomes a field of out, and empty. */
static void out_part(struct out *out, uint32_t field, struct out *part) {
    out_bytes(out, field, part->bytes, part->size);
    part->size = 0;
}

static void write_type(struct out *out, uint32_t field, struct pprof_type type, struct out *part) {
    out_number(part, 1, type.type);
    out_number(part, 2, type.unit);
    out_part(out, field, part);
}

static void write_sample(struct out *out, const struct pprof *p, size_t at, struct out *part) {
    const struct pprof_sample *sample = &p->samples[at];
    struct out list = {0};
    for (uint32_t i = 0; i < sample->stack_count; i++)
        out_varint(&list, p->stacks[sample->stack_at + i] + 1);
    out_part(part, 1, &list);
    for (size_t i = 0; i < p->types_count; i++)
        out_varint(&list, (uint64_t)p->values[at * p->types_count + i]);
    out_part(part, 2, &list);
    for (uint32_t i = 0; i < sample->labels_count; i++) {
        const struct pprof_label *label = &p->labels[sample->labels_at + i];
        out_number(&list, 1, label->key);
        out_number(&list, 2, label->text);
        out_number(&list, 3, (uint64_t)label->number);
        out_number(&list, 4, label->unit);
        out_part(part, 3, &list);
    }
    free(list.bytes);
    out_part(out, 2, part);
}

static void write_mapping(struct out *out, const struct pprof_mapping *m, size_t id,
                          struct out *part) {
    out_number(part, 1, id);
    out_number(part, 2, m->start);
    out_number(part, 3, m->limit);
    out_number(part, 4, m->offset);
    out_number(part, 5, m->file);
    out_number(part, 6, m->build_id);
    out_number(part, 7, m->has_functions);
    out_number(part, 8, m->has_filenames);
    out_number(part, 9, m->has_lines);
    out_number(part, 10, m->has_inlined);
    out_part(out, 3, part);
}

static void write_location(struct out *out, const struct pprof *p, size_t at, struct out *part) {
    const struct pprof_location *location = &p->locations[at];
    struct out line = {0};
    out_number(part, 1, at + 1);
    if (location->mapping != PPROF_NONE) out_number(part, 2, location->mapping + 1);
    out_number(part, 3, location->address);
    for (uint32_t i = 0; i < location->lines_count; i++) {
        const struct pprof_line *from = &p->lines[location->lines_at + i];
        out_number(&line, 1, from->function + 1);
        out_number(&line, 2, (uint64_t)from->line);
        out_part(part, 4, &line);
    }
    out_number(part, 5, location->folded);
    free(line.bytes);
    out_part(out, 4, part);
}

static void write_function(struct out *out, const struct pprof_function *function, size_t id,
                           struct out *part) {
    out_number(part, 1, id);
    out_number(part, 2, function->name);
    out_number(part, 3, function->system_name);
    out_number(part, 4, function->file);
    out_number(part, 5, (uint64_t)function->line);
    out_part(out, 5, part);
}

static void write_header(struct out *out, const struct pprof *p, struct out *part) {
    for (size_t i = 0; i < p->strings.count; i++)
        out_bytes(out, 6, p->strings.keys[i].bytes, p->strings.keys[i].size);
    out_number(out, 7, p->drop_frames);
    out_number(out, 8, p->keep_frames);
    out_number(out, 9, (uint64_t)p->time_ns);
    out_number(out, 10, (uint64_t)p->duration_ns);
    if (p->period_type.type) write_type(out, 11, p->period_type, part);
    out_number(out, 12, (uint64_t)p->period);
    for (size_t i = 0; i < p->comments_count; i++) out_varint(part, p->comments[i]);
    if (part->size > 0) out_part(out, 13, part);
    out_number(out, 14, p->default_type);
    out_number(out, 15, p->doc_url);
}

static void write_message(struct out *out, const struct pprof *p) {
    struct out part = {0};
    for (size_t i = 0; i < p->types_count; i++) write_type(out, 1, p->types[i], &part);
    for (size_t i = 0; i < p->samples_count; i++) write_sample(out, p, i, &part);
    for (size_t i = 0; i < p->mappings_count; i++)
        write_mapping(out, &p->mappings[i], i + 1, &part);
    for (size_t i = 0; i < p->locations_count; i++) write_location(out, p, i, &part);
    for (size_t i = 0; i < p->functions_count; i++)
        write_function(out, &p->functions[i], i + 1, &part);
    write_header(out, p, &part);
    free(part.bytes);
}

bool pprof_write(struct pprof *p, FILE *out, bool compressed) {
    struct out plain = {0};
    write_message(&plain, p);
    char *small = NULL;
    size_t size;
    bool shrunk = compressed && !gzip_compress(plain.bytes, plain.size, &small, &size);
    bool good = shrunk ? fwrite(small, 1, size, out) == size
                       : fwrite(plain.bytes, 1, plain.size, out) == plain.size;
    good = fflush(out) == 0 && good;
    if (!good) snprintf(p->error, sizeof p->error, "writing failed: %m");
    free(small);
    free(plain.bytes);
    return good;
}
