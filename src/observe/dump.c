/* dump.c - the heap as a file: who is there, who refers to whom, and from where. Names and sizes,
 * never contents. docs/heapdump.md has the format, docs/design.md, "Retention", the rest.
 *
 * Written by the child of a snapshot, in blocks, so that whoever reads it knows the end of each
 * before it looks inside, and that a dump that broke off has no last one. Objects are numbered in
 * the order in which they stand in the file. */
#include "../os/child.h"
#include "profile.h"
#include "paths.h"

enum { DUMP_VERSION = 1, BLOCK_BYTES = 60 * 1024, BLOCK_SPARE = 1024, TYPES_PLACES = 1 << 16 };

typedef struct dump {
    graph g;
    reply *to;
    uint8_t *block; /* BLOCK_BYTES: of one kind, not yet written */
    size_t used;
    char kind;
    uint64_t *rank;                   /* by span: the number of its first object */
    const struct ebb__layout **types; /* by place of their hash */
    uint32_t *type_numbers;
    uint32_t type_count;
    uint32_t *site_numbers; /* by the profile's own: 0 not written yet */
    uint32_t site_count, site_room;
    uint64_t objects, edges, roots, bytes;
    /* Edges. */
    uint64_t next;        /* the number of the object that comes next */
    uint64_t object;      /* of one object: its number, */
    uintptr_t start;      /* and address */
    uint64_t last_object; /* that was written in this block; */
    size_t count_at;      /* where the number of the open one's edges stands, 0: none is open */
    uint32_t count;
    uintptr_t last_at;
    uint64_t last_target;
} dump;

/* --- Blocks --------------------------------------------------------------------------------- */

static void block_end(dump *d) {
    uint32_t length = (uint32_t)d->used;
    if (length == 0) return;
    ebb__reply_write(d->to, &d->kind, 1);
    ebb__reply_write(d->to, &length, sizeof length);
    ebb__reply_write(d->to, d->block, d->used);
    d->used = 0;
}

/* Before a record of at most `most` bytes. True when it is the first of a block. */
static bool block_room(dump *d, char kind, size_t most) {
    if (d->used && (d->kind != kind || d->used + most > BLOCK_BYTES)) block_end(d);
    d->kind = kind;
    return d->used == 0;
}

static void put_number(dump *d, uint64_t n) {
    for (; n >= 0x80; n >>= 7) d->block[d->used++] = (uint8_t)(n | 0x80);
    d->block[d->used++] = (uint8_t)n;
}

/* Small differences of either sign are small numbers. */
static void put_difference(dump *d, uint64_t from, uint64_t to) {
    int64_t n = (int64_t)(to - from);
    put_number(d, (uint64_t)n << 1 ^ (uint64_t)(n >> 63));
}

static void put_text(dump *d, const char *text) {
    size_t length = min_size(strlen(text), BLOCK_SPARE / 2);
    put_number(d, length);
    memcpy(d->block + d->used, text, length);
    d->used += length;
}

/* --- Types ---------------------------------------------------------------------------------- */

/* Fields are cut where a block ends: the rest of the names is lost. */
static void put_type(dump *d, const struct ebb__layout *l, uint32_t number) {
    uint32_t fields = 0;
    block_room(d, 'T', BLOCK_BYTES * 3 / 4 + 2 * BLOCK_SPARE);
    put_number(d, number);
    put_number(d, l->kind);
    put_number(d, l->use);
    put_number(d, l->element);
    put_text(d, l->name);
    fields = (uint32_t)min_size(l->field_count, BLOCK_BYTES * 3 / 4 / (BLOCK_SPARE / 2 + 32));
    put_number(d, fields);
    for (uint32_t i = 0; i < fields; i++) {
        put_number(d, l->fields[i].offset);
        put_number(d, l->fields[i].kind);
        put_text(d, l->fields[i].name ? l->fields[i].name : "");
    }
}

static uint32_t dump_type(dump *d, const struct ebb__layout *l) {
    size_t at = address_hash((uintptr_t)l) >> 40;
    for (;; at++) {
        size_t place = at % TYPES_PLACES;
        if (d->types[place] == l) return d->type_numbers[place];
        if (d->types[place]) continue;
        if (d->type_count == TYPES_PLACES / 2) return 0;
        d->types[place] = l;
        d->type_numbers[place] = d->type_count++;
        put_type(d, l, d->type_numbers[place]);
        return d->type_numbers[place];
    }
}

/* --- Objects -------------------------------------------------------------------------------- */

/* Where it begins, the bytes of each, their type, how many places, a bit for each that is there. */
static void put_span(dump *d, const span *s, uint32_t type) {
    size_t bits = (s->count + 7u) / 8;
    block_room(d, 'O', bits + 64);
    put_number(d, span_start(s));
    put_number(d, s->stride);
    put_number(d, type);
    put_number(d, s->count);
    memcpy(d->block + d->used, (const void *)span_mark_bits(s), bits);
    d->used += bits;
}

static void dump_objects(dump *d) {
    for (uint32_t n = 1; n < ebb__space.span_count; n++) {
        const span *s = span_at(n);
        d->rank[n] = d->objects;
        uint64_t marked = s->state >= SPAN_SMALL ? bits_count(span_mark_bits(s), s->count) : 0;
        if (marked == 0) continue;
        put_span(d, s, dump_type(d, s->bin->layout));
        d->objects += marked;
        d->bytes += marked * s->stride;
    }
}

/* The number of a marked object. */
static uint64_t object_rank(const dump *d, const span *s, uint32_t index) {
    uint64_t n = d->rank[span_number(s)];
    const _Atomic(uint64_t) *marks = span_mark_bits(s);
    for (uint32_t w = 0; w < index / 64; w++)
        n += (uint64_t)__builtin_popcountll(atomic_load_explicit(&marks[w], memory_order_relaxed));
    uint64_t last = atomic_load_explicit(&marks[index / 64], memory_order_relaxed);
    return n + (uint64_t)__builtin_popcountll(last & (((uint64_t)1 << (index % 64)) - 1));
}

/* --- Edges ---------------------------------------------------------------------------------- */

static bool target_find(const dump *d, uintptr_t word, uint64_t *number) {
    uint32_t index;
    const span *s = ebb__span_at(word);
    if (!s || !span_find(s, word, &index)) return false;
    if (!span_marked(s, index)) return false;
    *number = object_rank(d, s, index);
    return true;
}

static void edges_close(dump *d) {
    if (d->count_at == 0) return;
    uint32_t count = d->count;
    memcpy(d->block + d->count_at, &count, sizeof count);
    d->count_at = 0;
}

/* A record is an object's number, how many edges follow (four bytes), the edges; the edges of one
 * object may stand in several. */
static void edges_open(dump *d) {
    if (block_room(d, 'E', 64)) d->last_object = 0;
    put_difference(d, d->last_object, d->object);
    d->last_object = d->object;
    d->count_at = d->used;
    d->used += sizeof d->count;
    d->count = 0;
    d->last_at = d->start;
    d->last_target = d->object;
}

static void dump_edge(dump *d, uintptr_t at, uintptr_t word) {
    uint64_t target;
    if (!target_find(d, word, &target)) return;
    if (d->count_at && d->used + 32 > BLOCK_BYTES) {
        edges_close(d);
        block_end(d);
    }
    if (!d->count_at) edges_open(d);
    put_difference(d, d->last_at, at);
    put_difference(d, d->last_target, target);
    d->last_at = at;
    d->last_target = target;
    d->count++;
    d->edges++;
}

static void dump_word(dump *d, uintptr_t at, uintptr_t word) {
    if (space_has(word)) dump_edge(d, at, word);
}

/* Fields come in the order of the layout, in which slices are last: so not always by address. */
static void dump_slice(dump *d, uintptr_t at, const slice_reach *reach) {
    dump_edge(d, at, reach->ptr);
}

#define SCAN(name)               dump_scan_##name
#define SCAN_CONTEXT             dump
#define SCAN_WORD(d, at, word)   dump_word(d, at, word)
#define SCAN_SLICE(d, at, reach) dump_slice(d, at, reach)
#include "../gc/scan_template.h"

static void dump_object_edges(graph *g, const span *s, uint32_t index, void *arg) {
    dump *d = arg;
    (void)g;
    d->object = d->next++;
    if (s->zone != ZONE_SCAN) return;
    d->start = span_start(s) + index * s->stride;
    os_range kept = {d->start, d->start + s->stride};
    if (s->extents) ebb__extent_clip(s, d->start, &kept);
    if (kept.start < kept.end) dump_scan_part(d, s, d->start, kept.start, kept.end);
    edges_close(d);
}

/* --- Samples -------------------------------------------------------------------------------- */

enum { SITE_STACK = 128 };

/* Each is written before the first sample that names it. */
static uint32_t dump_site(dump *d, uint32_t site) {
    uintptr_t pcs[SITE_STACK];
    if (site >= d->site_room) return 0;
    if (d->site_numbers[site]) return d->site_numbers[site];
    unsigned frames = ebb__profile_stack(site, pcs, SITE_STACK);
    block_room(d, 'S', SITE_STACK * 10 + 32);
    put_number(d, d->site_count);
    put_number(d, frames);
    for (unsigned i = 0; i < frames; i++) put_number(d, pcs[i]);
    return d->site_numbers[site] = d->site_count++;
}

static void dump_sample(const profile_sample *sample, void *arg) {
    dump *d = arg;
    uint64_t object;
    if (!target_find(d, sample->object, &object)) return;
    uint32_t site = dump_site(d, sample->site);
    if (!site) return;
    block_room(d, 'P', 32);
    put_number(d, object);
    put_number(d, site);
}

static void sample_most(const profile_sample *sample, void *most) {
    if (sample->site >= *(uint32_t *)most) *(uint32_t *)most = sample->site + 1;
}

/* Site 0 is that of all others. */
static void dump_samples(dump *d) {
    ebb__profile_each(sample_most, &d->site_room);
    d->site_numbers = ebb__graph_memory((d->site_room + 1) * sizeof *d->site_numbers);
    block_room(d, 'S', 32);
    put_number(d, d->site_count++);
    put_number(d, 0);
    if (d->site_numbers) ebb__profile_each(dump_sample, d);
}

/* --- Roots ---------------------------------------------------------------------------------- */

static void put_root(dump *d, uint32_t origin, int tid, uintptr_t at, uintptr_t word) {
    uint64_t target;
    if (!target_find(d, word, &target)) return;
    block_room(d, 'R', 64);
    put_number(d, origin);
    put_number(d, (uint64_t)(uint32_t)tid);
    put_number(d, at);
    put_number(d, target);
    d->roots++;
}

static void dump_extra(uintptr_t word, void *arg) {
    put_root(arg, ORIGIN_COUNT, 0, 0, word);
}

__attribute__((no_sanitize("address", "thread"))) static void dump_range(dump *d, os_range r,
                                                                         const root_note *note) {
    for (uintptr_t at = r.start; at + sizeof(void *) <= r.end; at += sizeof(void *)) {
        uintptr_t word = *(const volatile uintptr_t *)at;
        if (!space_has(word)) continue;
        uint32_t origin = note->origin;
        if (origin == ORIGIN_STACK && note->tid && ebb__roots_in_storage(note->tid, at))
            origin = ORIGIN_STORAGE;
        put_root(d, origin, note->tid, at, word);
    }
}

static void dump_roots(dump *d) {
    const os_ranges *ranges = &d->g.snap->roots->ranges;
    for (uint32_t i = 0; i < ranges->count; i++)
        dump_range(d, ranges->items[i], ebb__graph_note(&d->g, i));
    ebb__finalizers_roots(dump_extra, d);
}

static void put_module(const os_mapping *m, void *arg) {
    dump *d = arg;
    if (*m->path == '[') return;
    block_room(d, 'M', BLOCK_SPARE);
    put_number(d, m->start);
    put_number(d, m->end);
    put_number(d, m->offset);
    put_text(d, m->path);
}

/* --- The file ------------------------------------------------------------------------------- */

static bool dump_open(dump *d, const snapshot *s, reply *r) {
    *d = (dump){.to = r};
    if (!ebb__graph_open(&d->g, s)) return false;
    d->g.note = false;
    ebb__graph_walk(&d->g, true);
    ebb__graph_walk(&d->g, false);
    d->block = ebb__graph_memory(BLOCK_BYTES + BLOCK_SPARE);
    d->rank = ebb__graph_memory(ebb__space.span_count * sizeof *d->rank);
    d->types = ebb__graph_memory(TYPES_PLACES * sizeof *d->types);
    d->type_numbers = ebb__graph_memory(TYPES_PLACES * sizeof *d->type_numbers);
    return d->block && d->rank && d->types && d->type_numbers && !d->g.failed;
}

static void put_head(dump *d) {
    static const char head[] = "EBBHEAP\n";
    ebb__reply_write(d->to, head, sizeof head - 1);
    block_room(d, 'I', BLOCK_SPARE);
    put_number(d, DUMP_VERSION);
    put_number(d, (uint64_t)(uint32_t)d->g.snap->pid);
    put_number(d, ebb__os_wall_ns());
    put_text(d, "ebb");
}

/* How many there were: whoever reads it has all of it. */
static void put_end(dump *d) {
    block_end(d);
    block_room(d, 'Z', 64);
    put_number(d, d->objects);
    put_number(d, d->bytes);
    put_number(d, d->edges);
    put_number(d, d->roots);
    block_end(d);
}

/* In the child. */
static void dump_work(const snapshot *s, reply *r, void *name) {
    dump d;
    if (!dump_open(&d, s, r)) {
        ebb__reply_error(r, 503, "no memory for looking at the snapshot");
        return;
    }
    ebb__reply_begin(r, 200, "application/octet-stream", name);
    put_head(&d);
    ebb__os_mappings_each(put_module, &d);
    dump_objects(&d);
    dump_samples(&d);
    ebb__graph_each(&d.g, dump_object_edges, &d);
    dump_roots(&d);
    put_end(&d);
}

static void dump_page(const request *q, reply *r) {
    uint64_t seconds;
    char name[64];
    if (!ebb__request_number(q, r, "seconds", 1, SNAPSHOT_SECONDS_MAX, 5 * SNAPSHOT_SECONDS,
                             &seconds))
        return;
    snprintf(name, sizeof name, "heap-%d.ebbheap", ebb__os_pid());
    ebb__snapshot_run_for(dump_work, name, r, seconds, ebb__snapshot_need());
}

const endpoint ebb__endpoint_heapdump = {
    .path = "/debug/heapdump",
    .says = "the heap as a file: objects, references, roots; for ebb dom; ?seconds=300",
    .answer = dump_page,
};

/* --- Into a file ---------------------------------------------------------------------------- */

struct dump_file {
    int file, status;
    bool failed;
};

static void file_begin(void *arg, int status, const char *type, const char *filename) {
    (void)type, (void)filename;
    ((struct dump_file *)arg)->status = status;
}

/* The text of an error goes to standard error, not to the file. */
static bool file_write(void *arg, const void *bytes, size_t size) {
    struct dump_file *f = arg;
    if (f->status != 200) {
        ebb__warn("ebb_heap_dump: %.*s", (int)min_size(size, 300), (const char *)bytes);
        return true;
    }
    f->failed |= !ebb__os_file_write(f->file, bytes, size);
    return !f->failed;
}

int ebb_heap_dump(const char *path) {
    if (!path) return ebb__misuse(EBB_EINVAL, "ebb_heap_dump", "the path is null");
    if (!ebb__heap_start()) return EBB_ENOMEM;
    struct dump_file f = {.file = ebb__os_file_create(path)};
    if (f.file < 0) return EBB_ESYSTEM;
    ebb_debug_sink sink = {file_begin, file_write, &f};
    reply r;
    ebb__reply_open(&r, &sink, 0);
    ebb__snapshot_run_for(dump_work, NULL, &r, SNAPSHOT_SECONDS_MAX, ebb__snapshot_need());
    ebb__reply_close(&r);
    bool good = f.status == 200 && !r.failed && !f.failed;
    if (!good)
        ebb__os_file_discard(f.file, path);
    else
        good = ebb__os_file_close(f.file);
    return good ? 0 : f.status == 503 ? EBB_EBUSY : EBB_ESYSTEM;
}
