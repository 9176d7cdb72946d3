/* pprof.h - a profile as pprof has it (profile.proto), in memory: read, built, merged, written.
 *
 * What a file names by ids and places in its table of strings stands here as plain places in
 * arrays, which a reader need not check again: whatever pprof_read returns with true is consistent.
 * Files may come from anybody, see docs/design.md, "Names". Without memory the program ends. */
#ifndef EBB_TOOLS_PPROF_H
#define EBB_TOOLS_PPROF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "intern.h"

enum { PPROF_NONE = UINT32_MAX >> 1, PPROF_BYTES_MAX = 256 << 20, PPROF_TYPES_MAX = 64 };

/* A string is its number in the profile's table; pprof_text gives its bytes. */
struct pprof_type {
    uint32_t type, unit;
};

struct pprof_mapping {
    uint64_t start, limit, offset;
    uint32_t file, build_id;
    bool has_functions, has_filenames, has_lines, has_inlined;
};

struct pprof_function {
    uint32_t name, system_name, file;
    int64_t line;
};

struct pprof_line {
    uint32_t function;
    int64_t line;
};

/* lines[lines_at, lines_at + lines_count), what was inlined first. */
struct pprof_location {
    uint64_t address;
    uint32_t mapping; /* PPROF_NONE: without */
    uint32_t lines_at, lines_count;
    bool folded;
};

/* A text, or a number in a unit when text is 0. */
struct pprof_label {
    uint32_t key, text, unit;
    int64_t number;
};

/* stacks[stack_at, …) are places of locations, leaf first; labels likewise. The values of sample i
 * are values[i * types_count, …). */
struct pprof_sample {
    uint32_t stack_at, stack_count, labels_at, labels_count;
};

#define PPROF_ARRAY(type, name) \
 type *name;                    \
 size_t name##_count, name##_room

/* Begins with pprof_begin. Places are below the counts of what they refer to. */
struct pprof {
    struct intern strings; /* number 0 is "" */
    PPROF_ARRAY(struct pprof_type, types);
    PPROF_ARRAY(struct pprof_mapping, mappings);
    PPROF_ARRAY(struct pprof_function, functions);
    struct intern
        functions_known; /* those that pprof_add_line has made; values are in functions_at */
    PPROF_ARRAY(uint32_t, functions_at);
    PPROF_ARRAY(struct pprof_location, locations);
    PPROF_ARRAY(struct pprof_line, lines);
    PPROF_ARRAY(struct pprof_sample, samples);
    PPROF_ARRAY(uint32_t, stacks);
    PPROF_ARRAY(struct pprof_label, labels);
    PPROF_ARRAY(int64_t, values); /* samples_count * types_count */
    PPROF_ARRAY(uint32_t, comments);
    struct pprof_type period_type;
    int64_t period, time_ns, duration_ns;
    uint32_t drop_frames, keep_frames, default_type, doc_url;
    char error[192]; /* why the last call on it failed */
};

/* The next element of an array of the profile's, zero. */
#define PPROF_ADD(p, name)                                                                   \
 ((p)->name = need_room((p)->name, &(p)->name##_room, (p)->name##_count, sizeof *(p)->name), \
  memset(&(p)->name[(p)->name##_count], 0, sizeof *(p)->name), &(p)->name[(p)->name##_count++])

void pprof_begin(struct pprof *p);
void pprof_free(struct pprof *p);

/* Plain or compressed by gzip. p is begun here; to be freed whatever comes of it. False: error says
 * why, and where. */
bool pprof_read(struct pprof *p, const void *bytes, size_t size);

/* The same, from a file that is read to its end. */
bool pprof_read_file(struct pprof *p, FILE *in);

/* False: error says why. Without zlib compressed is ignored. */
bool pprof_write(struct pprof *p, FILE *out, bool compressed);

/* What is left in a file, up to limit bytes. False: it could not be read, or is longer; what was
 * read is there all the same. The caller frees *bytes. */
bool pprof_slurp(FILE *in, size_t limit, char **bytes, size_t *size);

/* --- Looking -------------------------------------------------------------------------------- */

static inline const char *pprof_text(const struct pprof *p, uint32_t string) {
    return p->strings.keys[string].bytes;
}

/* The place of a sample type of that name, types_count when there is none. */
size_t pprof_type_named(const struct pprof *p, const char *type);

/* The number of the sample's first label with that key; false: none. */
bool pprof_number(const struct pprof *p, const struct pprof_sample *sample, const char *key,
                  int64_t *number);

/* --- Building ------------------------------------------------------------------------------- */

uint32_t pprof_add_string(struct pprof *p, const char *text);

/* Values: types_count of them. Stack: places of locations, leaf first. The place of the sample. */
size_t pprof_add_sample(struct pprof *p, const uint32_t *stack, size_t depth,
                        const int64_t *values);

/* To the sample that was added last. */
void pprof_add_number(struct pprof *p, const char *key, int64_t number, const char *unit);

/* To a location that has no lines, or was the last to get one. Functions that are equal are one. */
void pprof_add_line(struct pprof *p, size_t location, const struct pprof_function *function,
                    int64_t line);

/* Adds from, times factor, to into: samples of the same stack and labels become one, and the same
 * code in two runs of a program is the same although it lies elsewhere. False, and into unchanged:
 * the two do not have the same types. Those whose values are all 0 go with pprof_drop_zeros. */
bool pprof_merge(struct pprof *into, const struct pprof *from, int64_t factor);
void pprof_drop_zeros(struct pprof *p);

#endif
