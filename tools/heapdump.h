/* heapdump.h - a dump of a heap in memory: what docs/heapdump.md describes, read and checked.
 *
 * A file may come from anybody. Whatever heapdump_read returns with true is consistent: numbers are
 * below the counts of what they name, every text ends, and the totals at its end agree. What it
 * takes is bounded by the file's size. Without memory the program ends. */
#ifndef EBB_TOOLS_HEAPDUMP_H
#define EBB_TOOLS_HEAPDUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum heapdump_kind { HEAPDUMP_DATA, HEAPDUMP_WORDS, HEAPDUMP_TYPED };
enum heapdump_use { HEAPDUMP_OBJECT, HEAPDUMP_SLICE, HEAPDUMP_MAP };
enum heapdump_origin {
    HEAPDUMP_STACK,
    HEAPDUMP_REGISTERS,
    HEAPDUMP_STORAGE,
    HEAPDUMP_STATIC,
    HEAPDUMP_RANGE,
    HEAPDUMP_FINALIZER,
    HEAPDUMP_ORIGINS
};

struct heapdump_field {
    uint64_t offset;
    uint32_t kind;
    char *name;
};

struct heapdump_type {
    uint32_t kind, use;
    uint64_t element; /* 0 unless typed */
    char *name;       /* "" for words and data */
    struct heapdump_field *fields;
    uint32_t field_count;
};

struct heapdump_span {
    uint64_t start, stride;
    uint32_t type;
    uint32_t first; /* the number of its first object */
};

struct heapdump_module {
    uint64_t start, end, offset;
    char *path;
};

struct heapdump_root {
    uint32_t origin;
    int32_t tid;
    uint64_t at;
    uint32_t target;
};

/* site 0: not known. */
struct heapdump_site {
    uint64_t *pcs; /* leaf first, return addresses */
    uint32_t count;
};

struct heapdump {
    uint64_t pid, wall_ns;
    struct heapdump_type *types;
    struct heapdump_span *spans; /* by first, ascending */
    struct heapdump_module *modules;
    struct heapdump_site *sites;
    struct heapdump_root *roots;
    size_t type_count, span_count, module_count, site_count, root_count;
    size_t type_room, span_room, module_room, site_room, root_room;
    uint32_t objects;
    uint64_t bytes;
    uint32_t *span_of; /* by object: its span, */
    uint32_t *place;   /* and its place there, */
    uint32_t *site_of; /* and its site */
    size_t span_of_room, place_room, site_of_room;
    uint64_t *edge_at; /* the edges of object i are [edge_at[i], edge_at[i + 1]) of: */
    uint32_t *edge_to;
    uint32_t *edge_word; /* where in the object, in words; UINT32_MAX: beyond that */
    size_t edge_count, edge_to_room, edge_word_room;
    char error[192];
};

/* To be freed whatever comes of it. False: error says why, and where. */
bool heapdump_read(struct heapdump *d, FILE *in);
void heapdump_free(struct heapdump *d);

static inline const struct heapdump_type *heapdump_type(const struct heapdump *d, uint32_t object) {
    return &d->types[d->spans[d->span_of[object]].type];
}

static inline uint64_t heapdump_size(const struct heapdump *d, uint32_t object) {
    return d->spans[d->span_of[object]].stride;
}

static inline uint64_t heapdump_address(const struct heapdump *d, uint32_t object) {
    const struct heapdump_span *s = &d->spans[d->span_of[object]];
    return s->start + d->place[object] * s->stride;
}

/* The object that an address is in; false: there is none. */
bool heapdump_find(const struct heapdump *d, uint64_t address, uint32_t *object);

/* "node", "words in slices' arrays"; returns room. */
const char *heapdump_type_name(const struct heapdump_type *t, char *room, size_t size);

/* "static data of PROGRAM+0x4010", "stack of thread 7"; returns room. */
const char *heapdump_root_name(const struct heapdump *d, const struct heapdump_root *r, char *room,
                               size_t size);

/* The field that a word of an object is in, or "[n]", "+n"; returns room. */
const char *heapdump_edge_name(const struct heapdump *d, uint32_t object, uint32_t word, char *room,
                               size_t size);

#endif
