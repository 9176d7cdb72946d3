/* pprof_read.c - a profile from a file that may hold anything.
 *
 * The file is one message of Protocol Buffers, whose fields come in any order, so it is passed over
 * four times: strings, then what refers to strings, then locations, then samples. Each time what is
 * referred to is there already and is checked at once. A field that is not known is passed over;
 * one of the wrong type is an error. docs/design.md, "Names". */
#define _GNU_SOURCE 1
#include "pprof.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "gzip.h"

enum wire_type { WIRE_VARINT, WIRE_FIXED64, WIRE_BYTES, WIRE_FIXED32 = 5 };

/* Bytes of a message that are not read yet: [at, end). */
struct wire {
    const uint8_t *at, *end;
};

/* value of numbers; bytes of the others. */
struct field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;
    struct wire bytes;
    const uint8_t *start;
};

/* string_at: the file's places of strings in the profile's table, which has each string once. The
 * ids of the file are keys of the interns, whose numbers are places. */
struct reader {
    struct pprof *p;
    const uint8_t *begin;
    uint32_t *string_at;
    size_t strings_count, strings_room;
    struct intern mapping_ids, function_ids, location_ids;
};

__attribute__((format(printf, 3, 4))) static bool read_fail(struct reader *r, const uint8_t *at,
                                                            const char *format, ...) {
    if (r->p->error[0]) return false;
    size_t size = sizeof r->p->error;
    size_t used = (size_t)snprintf(r->p->error, size, "at byte %td: ", at - r->begin);
    va_list args;
    va_start(args, format);
    vsnprintf(r->p->error + used, size - used, format, args);
    va_end(args);
    return false;
}

/* --- The wire ------------------------------------------------------------------------------- */

/* At most ten bytes of seven bits, lowest first. */
static bool wire_varint(struct reader *r, struct wire *in, uint64_t *value) {
    const uint8_t *start = in->at;
    *value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (in->at == in->end) return read_fail(r, start, "the file ends within a number");
        uint8_t byte = *in->at++;
        *value |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
        if (byte < 0x80) return true;
    }
    return read_fail(r, start, "a number of more than ten bytes");
}

static bool wire_bytes(struct reader *r, struct wire *in, uint64_t size, struct field *field) {
    size_t left = (size_t)(in->end - in->at);
    if (size > left)
        return read_fail(r, field->start,
                         "the file ends early: field %" PRIu32 " has %" PRIu64
                         " bytes, %zu are left",
                         field->number, size, left);
    field->bytes = (struct wire){in->at, in->at + size};
    in->at += size;
    return true;
}

/* The next field; there is one. */
static bool wire_field(struct reader *r, struct wire *in, struct field *field) {
    uint64_t key;
    *field = (struct field){.start = in->at};
    if (!wire_varint(r, in, &key)) return false;
    field->number = (uint32_t)(key >> 3);
    field->type = (enum wire_type)(key & 7);
    if (key >> 3 == 0 || key >> 32 != 0)
        return read_fail(r, field->start, "%" PRIu64 " is no field's number", key >> 3);
    switch (field->type) {
    case WIRE_VARINT:
        return wire_varint(r, in, &field->value);
    case WIRE_FIXED64:
        return wire_bytes(r, in, 8, field);
    case WIRE_FIXED32:
        return wire_bytes(r, in, 4, field);
    case WIRE_BYTES: {
        uint64_t size;
        return wire_varint(r, in, &size) && wire_bytes(r, in, size, field);
    }
    }
    return read_fail(r, field->start, "wire type %d of field %" PRIu32 " is not known",
                     (int)field->type, field->number);
}

/* Calls fn with each field of a message. */
static bool wire_each(struct reader *r, struct wire in, void *to,
                      bool (*fn)(struct reader *, const struct field *, void *)) {
    struct field field;
    while (in.at < in.end) {
        if (!wire_field(r, &in, &field) || !fn(r, &field, to)) return false;
    }
    return true;
}

static bool read_wrong(struct reader *r, const struct field *field, const char *of) {
    return read_fail(r, field->start, "field %" PRIu32 " of %s has wire type %d", field->number, of,
                     (int)field->type);
}

static bool read_number(struct reader *r, const struct field *field, const char *of,
                        uint64_t *number) {
    if (field->type != WIRE_VARINT) return read_wrong(r, field, of);
    *number = field->value;
    return true;
}

static bool read_signed(struct reader *r, const struct field *field, const char *of,
                        int64_t *number) {
    if (field->type != WIRE_VARINT) return read_wrong(r, field, of);
    *number = (int64_t)field->value;
    return true;
}

static bool read_flag(struct reader *r, const struct field *field, const char *of, bool *flag) {
    if (field->type != WIRE_VARINT) return read_wrong(r, field, of);
    *flag = field->value != 0;
    return true;
}

/* A number, or many in one field. */
static bool read_repeated(struct reader *r, const struct field *field, const char *of, void *to,
                          bool (*fn)(struct reader *, const struct field *, uint64_t, void *)) {
    if (field->type == WIRE_VARINT) return fn(r, field, field->value, to);
    if (field->type != WIRE_BYTES) return read_wrong(r, field, of);
    struct wire in = field->bytes;
    while (in.at < in.end) {
        uint64_t number;
        if (!wire_varint(r, &in, &number) || !fn(r, field, number, to)) return false;
    }
    return true;
}

/* A string by its number in the file. */
static bool read_string_at(struct reader *r, const struct field *field, uint64_t number,
                           uint32_t *to) {
    if (number >= r->strings_count)
        return read_fail(r, field->start, "string %" PRIu64 " of %zu is not there", number,
                         r->strings_count);
    *to = r->string_at[number];
    return true;
}

static bool read_string(struct reader *r, const struct field *field, const char *of, uint32_t *to) {
    if (field->type != WIRE_VARINT) return read_wrong(r, field, of);
    return read_string_at(r, field, field->value, to);
}

/* Notes the id of the next element: not 0 and not there yet. */
static bool read_id(struct reader *r, const uint8_t *at, struct intern *ids, uint64_t id,
                    const char *what) {
    bool fresh;
    if (id == 0) return read_fail(r, at, "a %s without an id", what);
    intern_add(ids, &id, sizeof id, &fresh);
    return fresh || read_fail(r, at, "%s id %" PRIu64 " is there twice", what, id);
}

static bool read_reference(struct reader *r, const uint8_t *at, const struct intern *ids,
                           uint64_t id, const char *what, uint32_t *place) {
    return intern_find(ids, &id, sizeof id, place) ||
           read_fail(r, at, "%s id %" PRIu64 " is not there", what, id);
}

/* --- Parts of a profile --------------------------------------------------------------------- */

static bool read_type_field(struct reader *r, const struct field *field, void *to) {
    struct pprof_type *type = to;
    switch (field->number) {
    case 1:
        return read_string(r, field, "a value type", &type->type);
    case 2:
        return read_string(r, field, "a value type", &type->unit);
    default:
        return true;
    }
}

struct mapping_in {
    struct pprof_mapping mapping;
    uint64_t id;
};

static bool read_mapping_field(struct reader *r, const struct field *field, void *to) {
    static const char of[] = "a mapping";
    struct mapping_in *in = to;
    struct pprof_mapping *m = &in->mapping;
    switch (field->number) {
    case 1:
        return read_number(r, field, of, &in->id);
    case 2:
        return read_number(r, field, of, &m->start);
    case 3:
        return read_number(r, field, of, &m->limit);
    case 4:
        return read_number(r, field, of, &m->offset);
    case 5:
        return read_string(r, field, of, &m->file);
    case 6:
        return read_string(r, field, of, &m->build_id);
    case 7:
        return read_flag(r, field, of, &m->has_functions);
    case 8:
        return read_flag(r, field, of, &m->has_filenames);
    case 9:
        return read_flag(r, field, of, &m->has_lines);
    case 10:
        return read_flag(r, field, of, &m->has_inlined);
    default:
        return true;
    }
}

struct function_in {
    struct pprof_function function;
    uint64_t id;
};

static bool read_function_field(struct reader *r, const struct field *field, void *to) {
    static const char of[] = "a function";
    struct function_in *in = to;
    switch (field->number) {
    case 1:
        return read_number(r, field, of, &in->id);
    case 2:
        return read_string(r, field, of, &in->function.name);
    case 3:
        return read_string(r, field, of, &in->function.system_name);
    case 4:
        return read_string(r, field, of, &in->function.file);
    case 5:
        return read_signed(r, field, of, &in->function.line);
    default:
        return true;
    }
}

struct line_in {
    int64_t line;
    uint64_t function_id;
};

static bool read_line_field(struct reader *r, const struct field *field, void *to) {
    struct line_in *in = to;
    switch (field->number) {
    case 1:
        return read_number(r, field, "a line", &in->function_id);
    case 2:
        return read_signed(r, field, "a line", &in->line);
    default:
        return true;
    }
}

static bool read_line(struct reader *r, const struct field *field) {
    struct line_in in = {0};
    struct pprof_line line;
    if (field->type != WIRE_BYTES) return read_wrong(r, field, "a location");
    if (!wire_each(r, field->bytes, &in, read_line_field) ||
        !read_reference(r, field->start, &r->function_ids, in.function_id, "function",
                        &line.function))
        return false;
    line.line = in.line;
    *PPROF_ADD(r->p, lines) = line;
    return true;
}

struct location_in {
    struct pprof_location location;
    uint64_t id, mapping_id;
};

static bool read_location_field(struct reader *r, const struct field *field, void *to) {
    static const char of[] = "a location";
    struct location_in *in = to;
    switch (field->number) {
    case 1:
        return read_number(r, field, of, &in->id);
    case 2:
        return read_number(r, field, of, &in->mapping_id);
    case 3:
        return read_number(r, field, of, &in->location.address);
    case 4:
        return read_line(r, field);
    case 5:
        return read_flag(r, field, of, &in->location.folded);
    default:
        return true;
    }
}

static bool read_label_field(struct reader *r, const struct field *field, void *to) {
    static const char of[] = "a label";
    struct pprof_label *label = to;
    switch (field->number) {
    case 1:
        return read_string(r, field, of, &label->key);
    case 2:
        return read_string(r, field, of, &label->text);
    case 3:
        return read_signed(r, field, of, &label->number);
    case 4:
        return read_string(r, field, of, &label->unit);
    default:
        return true;
    }
}

static bool read_stack(struct reader *r, const struct field *field, uint64_t id, void *to) {
    (void)to;
    uint32_t place;
    if (!read_reference(r, field->start, &r->location_ids, id, "location", &place)) return false;
    *PPROF_ADD(r->p, stacks) = place;
    return true;
}

static bool read_value(struct reader *r, const struct field *field, uint64_t number, void *to) {
    (void)field, (void)to;
    *PPROF_ADD(r->p, values) = (int64_t)number;
    return true;
}

static bool read_sample_field(struct reader *r, const struct field *field, void *to) {
    static const char of[] = "a sample";
    struct pprof_label label = {0};
    switch (field->number) {
    case 1:
        return read_repeated(r, field, of, to, read_stack);
    case 2:
        return read_repeated(r, field, of, to, read_value);
    case 3:
        if (field->type != WIRE_BYTES) return read_wrong(r, field, of);
        if (!wire_each(r, field->bytes, &label, read_label_field)) return false;
        *PPROF_ADD(r->p, labels) = label;
        return true;
    default:
        return true;
    }
}

/* --- The profile ---------------------------------------------------------------------------- */

static bool read_one_string(struct reader *r, const struct field *field) {
    size_t size = (size_t)(field->bytes.end - field->bytes.at);
    if (r->strings_count == 0 && size > 0)
        return read_fail(r, field->start, "the first string is not empty");
    uint32_t place = intern_add(&r->p->strings, field->bytes.at, size, NULL);
    r->string_at = need_room(r->string_at, &r->strings_room, r->strings_count, sizeof place);
    r->string_at[r->strings_count++] = place;
    return true;
}

static bool read_mapping(struct reader *r, const struct field *field) {
    struct mapping_in in = {0};
    if (!wire_each(r, field->bytes, &in, read_mapping_field)) return false;
    if (in.mapping.limit < in.mapping.start)
        return read_fail(r, field->start, "a mapping ends before it starts");
    *PPROF_ADD(r->p, mappings) = in.mapping;
    return read_id(r, field->start, &r->mapping_ids, in.id, "mapping");
}

static bool read_function(struct reader *r, const struct field *field) {
    struct function_in in = {0};
    if (!wire_each(r, field->bytes, &in, read_function_field)) return false;
    *PPROF_ADD(r->p, functions) = in.function;
    return read_id(r, field->start, &r->function_ids, in.id, "function");
}

static bool read_location(struct reader *r, const struct field *field) {
    struct location_in in = {.location.mapping = PPROF_NONE};
    in.location.lines_at = (uint32_t)r->p->lines_count;
    if (!wire_each(r, field->bytes, &in, read_location_field)) return false;
    in.location.lines_count = (uint32_t)r->p->lines_count - in.location.lines_at;
    if (in.mapping_id != 0 && !read_reference(r, field->start, &r->mapping_ids, in.mapping_id,
                                              "mapping", &in.location.mapping))
        return false;
    *PPROF_ADD(r->p, locations) = in.location;
    return read_id(r, field->start, &r->location_ids, in.id, "location");
}

static bool read_sample(struct reader *r, const struct field *field) {
    struct pprof *p = r->p;
    struct pprof_sample sample = {.stack_at = (uint32_t)p->stacks_count};
    sample.labels_at = (uint32_t)p->labels_count;
    size_t values = p->values_count;
    if (!wire_each(r, field->bytes, NULL, read_sample_field)) return false;
    sample.stack_count = (uint32_t)p->stacks_count - sample.stack_at;
    sample.labels_count = (uint32_t)p->labels_count - sample.labels_at;
    if (p->values_count - values != p->types_count)
        return read_fail(r, field->start, "a sample has %zu values, there are %zu sample types",
                         p->values_count - values, p->types_count);
    *PPROF_ADD(p, samples) = sample;
    return true;
}

static bool read_comment(struct reader *r, const struct field *field, uint64_t number, void *to) {
    (void)to;
    uint32_t string = 0;
    if (!read_string_at(r, field, number, &string)) return false;
    *PPROF_ADD(r->p, comments) = string;
    return true;
}

static bool read_sample_type(struct reader *r, const struct field *field) {
    struct pprof_type type = {0};
    if (!wire_each(r, field->bytes, &type, read_type_field)) return false;
    if (r->p->types_count == PPROF_TYPES_MAX)
        return read_fail(r, field->start, "more than %d sample types", PPROF_TYPES_MAX);
    *PPROF_ADD(r->p, types) = type;
    return true;
}

/* Fields that are no message of their own. */
static bool read_scalar(struct reader *r, const struct field *field) {
    static const char of[] = "the profile";
    struct pprof *p = r->p;
    switch (field->number) {
    case 7:
        return read_string(r, field, of, &p->drop_frames);
    case 8:
        return read_string(r, field, of, &p->keep_frames);
    case 9:
        return read_signed(r, field, of, &p->time_ns);
    case 10:
        return read_signed(r, field, of, &p->duration_ns);
    case 12:
        return read_signed(r, field, of, &p->period);
    case 13:
        return read_repeated(r, field, of, NULL, read_comment);
    case 14:
        return read_string(r, field, of, &p->default_type);
    case 15:
        return read_string(r, field, of, &p->doc_url);
    default:
        return true;
    }
}

/* 1 sample type, 2 sample, 3 mapping, 4 location, 5 function, 6 string, 11 type of the period. */
static bool read_is_bytes(uint32_t number) {
    return (number >= 1 && number <= 6) || number == 11;
}

static bool read_strings(struct reader *r, const struct field *field, void *to) {
    (void)to;
    if (read_is_bytes(field->number) && field->type != WIRE_BYTES)
        return read_wrong(r, field, "the profile");
    return field->number != 6 || read_one_string(r, field);
}

static bool read_tables(struct reader *r, const struct field *field, void *to) {
    (void)to;
    switch (field->number) {
    case 1:
        return read_sample_type(r, field);
    case 3:
        return read_mapping(r, field);
    case 5:
        return read_function(r, field);
    case 11:
        return wire_each(r, field->bytes, &r->p->period_type, read_type_field);
    default:
        return read_scalar(r, field);
    }
}

static bool read_locations(struct reader *r, const struct field *field, void *to) {
    (void)to;
    return field->number != 4 || read_location(r, field);
}

static bool read_samples(struct reader *r, const struct field *field, void *to) {
    (void)to;
    return field->number != 2 || read_sample(r, field);
}

static bool read_message(struct reader *r, struct wire in) {
    if (!wire_each(r, in, NULL, read_strings)) return false;
    if (r->strings_count == 0) return read_fail(r, in.at, "no table of strings: not a profile");
    if (!wire_each(r, in, NULL, read_tables)) return false;
    if (r->p->types_count == 0) return read_fail(r, in.at, "no sample type: not a profile");
    return wire_each(r, in, NULL, read_locations) && wire_each(r, in, NULL, read_samples);
}

static bool read_plain(struct pprof *p, const void *bytes, size_t size) {
    struct reader r = {.p = p, .begin = bytes};
    bool good = size > 0 || read_fail(&r, bytes, "an empty file");
    good = good && read_message(&r, (struct wire){r.begin, r.begin + size});
    intern_free(&r.mapping_ids);
    intern_free(&r.function_ids);
    intern_free(&r.location_ids);
    free(r.string_at);
    return good;
}

bool pprof_read(struct pprof *p, const void *bytes, size_t size) {
    pprof_begin(p);
    if (size > PPROF_BYTES_MAX) {
        snprintf(p->error, sizeof p->error, "more than %d MiB: not read", PPROF_BYTES_MAX >> 20);
        return false;
    }
    if (!gzip_is(bytes, size)) return read_plain(p, bytes, size);
    char *plain;
    size_t plain_size;
    const char *trouble = gzip_expand(bytes, size, PPROF_BYTES_MAX, &plain, &plain_size);
    if (trouble) {
        snprintf(p->error, sizeof p->error, "%s", trouble);
        return false;
    }
    bool good = read_plain(p, plain, plain_size);
    free(plain);
    return good;
}

bool pprof_read_file(struct pprof *p, FILE *in) {
    char *bytes;
    size_t size;
    bool whole = pprof_slurp(in, PPROF_BYTES_MAX, &bytes, &size), good = whole;
    if (whole) {
        good = pprof_read(p, bytes, size);
    } else {
        pprof_begin(p);
        snprintf(p->error, sizeof p->error,
                 ferror(in) ? "it could not be read" : "it is longer than is read");
    }
    free(bytes);
    return good;
}
