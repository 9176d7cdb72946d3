/* heapdump.c - reads dumps of heaps. docs/heapdump.md.
 *
 * Blocks are read whole, then the records in them, by a cursor that cannot leave its block: past
 * its end it gives zeros and remembers that it did. */
#define _GNU_SOURCE 1
#include "heapdump.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "intern.h"

enum { BLOCK_MOST = 64 * 1024, OBJECTS_MOST = INT32_MAX, TEXT_MOST = 4096, STACK_MOST = 1024 };

struct cursor {
    const uint8_t *at, *end;
    bool past;
};

struct reading {
    struct heapdump *d;
    FILE *in;
    uint64_t offset; /* of the block in the file */
    uint8_t block[BLOCK_MOST];
    uint32_t edges_of; /* objects below this one have all their edges */
    bool edges, begun, ended;
};

/* --- Small things --------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static bool dump_wrong(struct reading *r, const char *format,
                                                             ...) {
    char text[128];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (r->d->error[0] == 0)
        snprintf(r->d->error, sizeof r->d->error, "%s, in the block at byte %llu", text,
                 (unsigned long long)r->offset);
    return false;
}

static uint64_t cursor_number(struct cursor *c) {
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (c->at == c->end) break;
        uint8_t byte = *c->at++;
        n |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return n;
    }
    c->past = true;
    c->at = c->end;
    return 0;
}

static uint64_t cursor_difference(struct cursor *c, uint64_t from) {
    uint64_t n = cursor_number(c);
    return from + ((n >> 1) ^ ((uint64_t)0 - (n & 1)));
}

static const uint8_t *cursor_bytes(struct cursor *c, size_t size) {
    const uint8_t *bytes = c->at;
    if ((size_t)(c->end - c->at) < size) {
        c->past = true;
        c->at = c->end;
        return NULL;
    }
    c->at += size;
    return bytes;
}

/* Control characters become dots: it will be printed. */
static char *cursor_text(struct cursor *c) {
    uint64_t length = cursor_number(c);
    const uint8_t *bytes = length <= TEXT_MOST ? cursor_bytes(c, length) : NULL;
    char *text = calloc(1, bytes ? length + 1 : 1);
    if (!text) abort();
    if (!bytes) c->past = true;
    for (uint64_t i = 0; bytes && i < length; i++)
        text[i] = bytes[i] < ' ' || bytes[i] == 0x7f ? '.' : (char)bytes[i];
    return text;
}

#define DUMP_ADD(d, name, count)                                                          \
 ((d)->name##s = need_room((d)->name##s, &(d)->name##_room, count, sizeof *(d)->name##s), \
  memset(&(d)->name##s[count], 0, sizeof *(d)->name##s), &(d)->name##s[count++])

/* --- Records -------------------------------------------------------------------------------- */

static bool read_info(struct reading *r, struct cursor *c) {
    uint64_t version = cursor_number(c);
    if (version != 1)
        return dump_wrong(r, "version %llu is not known", (unsigned long long)version);
    r->d->pid = cursor_number(c);
    r->d->wall_ns = cursor_number(c);
    free(cursor_text(c));
    r->begun = true;
    c->at = c->end; /* later versions may say more */
    return true;
}

static bool read_module(struct reading *r, struct cursor *c) {
    struct heapdump_module *m = DUMP_ADD(r->d, module, r->d->module_count);
    m->start = cursor_number(c);
    m->end = cursor_number(c);
    m->offset = cursor_number(c);
    m->path = cursor_text(c);
    return true;
}

static bool read_type(struct reading *r, struct cursor *c) {
    if (cursor_number(c) != r->d->type_count) return dump_wrong(r, "types are not in order");
    struct heapdump_type *t = DUMP_ADD(r->d, type, r->d->type_count);
    t->kind = (uint32_t)cursor_number(c);
    t->use = (uint32_t)cursor_number(c);
    t->element = cursor_number(c);
    t->name = cursor_text(c);
    uint64_t fields = cursor_number(c);
    if (t->kind > HEAPDUMP_TYPED || t->use > HEAPDUMP_MAP)
        return dump_wrong(r, "a type is of no known kind");
    if (fields > (size_t)(c->end - c->at) / 3) return dump_wrong(r, "a type's fields are cut off");
    t->fields = calloc(fields + 1, sizeof *t->fields);
    if (!t->fields) abort();
    for (; t->field_count < fields && !c->past; t->field_count++) {
        struct heapdump_field *f = &t->fields[t->field_count];
        f->offset = cursor_number(c);
        f->kind = (uint32_t)cursor_number(c);
        f->name = cursor_text(c);
    }
    return true;
}

static bool read_site(struct reading *r, struct cursor *c) {
    if (cursor_number(c) != r->d->site_count) return dump_wrong(r, "sites are not in order");
    struct heapdump_site *s = DUMP_ADD(r->d, site, r->d->site_count);
    uint64_t count = cursor_number(c);
    if (count > STACK_MOST || count > (size_t)(c->end - c->at))
        return dump_wrong(r, "a site's stack is cut off");
    s->pcs = calloc(count + 1, sizeof *s->pcs);
    if (!s->pcs) abort();
    while (s->count < count) s->pcs[s->count++] = cursor_number(c);
    return true;
}

static void object_add(struct heapdump *d, uint32_t span, uint32_t place) {
    uint32_t n = d->objects++;
    d->span_of = need_room(d->span_of, &d->span_of_room, n, sizeof *d->span_of);
    d->place = need_room(d->place, &d->place_room, n, sizeof *d->place);
    d->site_of = need_room(d->site_of, &d->site_of_room, n, sizeof *d->site_of);
    d->span_of[n] = span;
    d->place[n] = place;
    d->site_of[n] = 0;
    d->bytes += d->spans[span].stride;
}

static bool read_span(struct reading *r, struct cursor *c) {
    struct heapdump *d = r->d;
    struct heapdump_span s = {cursor_number(c), cursor_number(c), 0, d->objects};
    uint64_t type = cursor_number(c), count = cursor_number(c);
    const uint8_t *bits = count <= 8 * BLOCK_MOST ? cursor_bytes(c, (count + 7) / 8) : NULL;
    if (!bits) return dump_wrong(r, "a span's bits are cut off");
    if (type >= d->type_count) return dump_wrong(r, "a span is of no type");
    if (r->edges) return dump_wrong(r, "objects come after edges");
    if (s.stride == 0 || s.stride > UINT64_MAX / 2 / (count + 1) || s.start > UINT64_MAX / 2)
        return dump_wrong(r, "a span lies nowhere");
    if (d->objects > OBJECTS_MOST - count) return dump_wrong(r, "more than 2^31 objects");
    if (d->span_count && s.first == d->spans[d->span_count - 1].first)
        return dump_wrong(r, "a span has no objects");
    s.type = (uint32_t)type;
    *DUMP_ADD(d, span, d->span_count) = s;
    for (uint32_t i = 0; i < count; i++)
        if (bits[i / 8] >> (i % 8) & 1) object_add(d, (uint32_t)d->span_count - 1, i);
    if (d->objects == s.first) return dump_wrong(r, "a span has no objects");
    return true;
}

/* A sampled object and its site. */
static bool read_sample(struct reading *r, struct cursor *c) {
    uint64_t object = cursor_number(c), site = cursor_number(c);
    if (object >= r->d->objects || site >= r->d->site_count)
        return dump_wrong(r, "a sample names nothing");
    r->d->site_of[object] = (uint32_t)site;
    return true;
}

/* All objects are known now. */
static void edges_begin(struct reading *r) {
    if (r->edges) return;
    r->edges = true;
    r->d->edge_at = calloc((size_t)r->d->objects + 1, sizeof *r->d->edge_at);
    if (!r->d->edge_at) abort();
}

static void edges_until(struct reading *r, uint32_t object) {
    while (r->edges_of < object) r->d->edge_at[++r->edges_of] = r->d->edge_count;
}

static bool read_edges(struct reading *r, struct cursor *c, uint64_t *object) {
    struct heapdump *d = r->d;
    uint32_t count = 0;
    edges_begin(r);
    *object = cursor_difference(c, *object);
    const uint8_t *four = cursor_bytes(c, sizeof count);
    if (!four) return dump_wrong(r, "edges are cut off");
    memcpy(&count, four, sizeof count);
    if (*object >= d->objects || *object < r->edges_of)
        return dump_wrong(r, "edges are not in order");
    edges_until(r, (uint32_t)*object);
    if (count > (size_t)(c->end - c->at) / 2) return dump_wrong(r, "edges are cut off");
    uint64_t start = heapdump_address(d, (uint32_t)*object), at = start, to = *object;
    for (; count > 0; count--) {
        at = cursor_difference(c, at);
        to = cursor_difference(c, to);
        if (to >= d->objects) return dump_wrong(r, "an edge leads nowhere");
        uint64_t word = (at - start) / 8;
        d->edge_to = need_room(d->edge_to, &d->edge_to_room, d->edge_count, sizeof *d->edge_to);
        d->edge_word =
            need_room(d->edge_word, &d->edge_word_room, d->edge_count, sizeof *d->edge_word);
        d->edge_to[d->edge_count] = (uint32_t)to;
        d->edge_word[d->edge_count++] = word < UINT32_MAX ? (uint32_t)word : UINT32_MAX;
    }
    return true;
}

static bool read_root(struct reading *r, struct cursor *c) {
    struct heapdump_root *root = DUMP_ADD(r->d, root, r->d->root_count);
    root->origin = (uint32_t)cursor_number(c);
    root->tid = (int32_t)cursor_number(c);
    root->at = cursor_number(c);
    uint64_t target = cursor_number(c);
    root->target = (uint32_t)target;
    if (root->origin >= HEAPDUMP_ORIGINS || target >= r->d->objects)
        return dump_wrong(r, "a root leads nowhere");
    return true;
}

static bool read_end(struct reading *r, struct cursor *c) {
    struct heapdump *d = r->d;
    uint64_t objects = cursor_number(c), bytes = cursor_number(c), edges = cursor_number(c);
    uint64_t roots = cursor_number(c);
    edges_begin(r);
    edges_until(r, d->objects);
    if (objects != d->objects || bytes != d->bytes || edges != d->edge_count ||
        roots != d->root_count)
        return dump_wrong(r, "the totals do not agree with what stands before them");
    r->ended = true;
    c->at = c->end;
    return true;
}

/* --- Blocks --------------------------------------------------------------------------------- */

static bool read_record(struct reading *r, char kind, struct cursor *c, uint64_t *object) {
    switch (kind) {
    case 'M':
        return read_module(r, c);
    case 'T':
        return read_type(r, c);
    case 'S':
        return read_site(r, c);
    case 'O':
        return read_span(r, c);
    case 'P':
        return read_sample(r, c);
    case 'E':
        return read_edges(r, c, object);
    case 'R':
        return read_root(r, c);
    case 'Z':
        return read_end(r, c);
    default:
        c->at = c->end; /* of a later version */
        return true;
    }
}

static bool read_block(struct reading *r) {
    uint8_t head[5];
    uint32_t length;
    uint64_t object = 0;
    size_t n = fread(head, 1, sizeof head, r->in);
    if (n < sizeof head) return dump_wrong(r, "the file breaks off");
    memcpy(&length, head + 1, sizeof length);
    if (length > BLOCK_MOST) return dump_wrong(r, "a block of %u bytes", length);
    if (fread(r->block, 1, length, r->in) < length) return dump_wrong(r, "the file breaks off");
    struct cursor c = {r->block, r->block + length, false};
    if (!r->begun && head[0] != 'I')
        return dump_wrong(r, "the first block is not what it should be");
    if (head[0] == 'I' && !read_info(r, &c)) return false;
    while (c.at < c.end)
        if (!read_record(r, (char)head[0], &c, &object)) return false;
    if (c.past) return dump_wrong(r, "a record is cut off");
    r->offset += sizeof head + length;
    return true;
}

bool heapdump_read(struct heapdump *d, FILE *in) {
    static const char magic[] = "EBBHEAP\n";
    char head[sizeof magic - 1];
    *d = (struct heapdump){0};
    struct reading *r = calloc(1, sizeof *r);
    if (!r) abort();
    *r = (struct reading){.d = d, .in = in, .offset = sizeof head};
    bool good =
        fread(head, 1, sizeof head, in) == sizeof head && memcmp(head, magic, sizeof head) == 0;
    if (!good)
        snprintf(d->error, sizeof d->error, "%s",
                 ferror(in) ? strerror(errno) : "this is no dump of a heap");
    while (good && !r->ended) good = read_block(r);
    if (good && getc(in) != EOF) good = dump_wrong(r, "something follows the end");
    free(r);
    return good;
}

void heapdump_free(struct heapdump *d) {
    for (size_t i = 0; i < d->type_count; i++) {
        for (uint32_t k = 0; k < d->types[i].field_count; k++) free(d->types[i].fields[k].name);
        free(d->types[i].fields);
        free(d->types[i].name);
    }
    for (size_t i = 0; i < d->module_count; i++) free(d->modules[i].path);
    for (size_t i = 0; i < d->site_count; i++) free(d->sites[i].pcs);
    free(d->types), free(d->spans), free(d->modules), free(d->sites), free(d->roots);
    free(d->span_of), free(d->place), free(d->site_of);
    free(d->edge_at), free(d->edge_to), free(d->edge_word);
    *d = (struct heapdump){0};
}

/* --- Names ---------------------------------------------------------------------------------- */

bool heapdump_find(const struct heapdump *d, uint64_t address, uint32_t *object) {
    for (uint32_t n = 0; n < d->objects; n++) {
        uint64_t start = heapdump_address(d, n);
        if (address < start || address - start >= heapdump_size(d, n)) continue;
        *object = n;
        return true;
    }
    return false;
}

const char *heapdump_type_name(const struct heapdump_type *t, char *room, size_t size) {
    static const char *const of[] = {"", " in slices' arrays", " in maps' tables"};
    const char *plain = t->kind == HEAPDUMP_DATA ? "data" : "words";
    snprintf(room, size, "%s%s", *t->name ? t->name : plain, of[t->use]);
    return room;
}

/* What is mapped there; static data that is zero at the start follows its file without a name. */
static const struct heapdump_module *module_at(const struct heapdump *d, uint64_t address) {
    const struct heapdump_module *last = NULL, *found = NULL;
    for (size_t i = 0; i < d->module_count && !found; i++) {
        const struct heapdump_module *m = &d->modules[i];
        if (*m->path) last = m;
        if (address >= m->start && address < m->end) found = last;
    }
    return found;
}

const char *heapdump_root_name(const struct heapdump *d, const struct heapdump_root *r, char *room,
                               size_t size) {
    static const char *const names[] = {"stack",       "registers",   "thread-local storage",
                                        "static data", "added range", "finalizer"};
    const struct heapdump_module *m = module_at(d, r->at), *first = m;
    if (r->origin <= HEAPDUMP_STORAGE && r->tid) {
        snprintf(room, size, "%s of thread %d", names[r->origin], r->tid);
    } else if (r->origin == HEAPDUMP_STATIC && m) {
        while (first > d->modules && strcmp(first[-1].path, m->path) == 0) first--;
        const char *slash = strrchr(m->path, '/');
        snprintf(room, size, "static data of %s+0x%llx", slash ? slash + 1 : m->path,
                 (unsigned long long)(r->at - (first->start - first->offset)));
    } else if (r->origin == HEAPDUMP_RANGE) {
        snprintf(room, size, "added range at 0x%llx", (unsigned long long)r->at);
    } else {
        snprintf(room, size, "%s", names[r->origin]);
    }
    return room;
}

const char *heapdump_edge_name(const struct heapdump *d, uint32_t object, uint32_t word, char *room,
                               size_t size) {
    const struct heapdump_type *t = heapdump_type(d, object);
    uint64_t offset = (uint64_t)word * 8, element = t->element ? t->element : 8;
    const char *field = "";
    for (uint32_t i = 0; i < t->field_count; i++)
        if (t->fields[i].offset <= offset % element) field = t->fields[i].name;
    bool array = t->use != HEAPDUMP_OBJECT || heapdump_size(d, object) >= 2 * element + 16;
    unsigned long long slot = offset / element;
    if (t->kind != HEAPDUMP_TYPED)
        snprintf(room, size, array && t->use ? "[%llu]" : "+%llu",
                 array && t->use ? slot : (unsigned long long)offset);
    else if (array)
        snprintf(room, size, "[%llu].%s", slot, field);
    else
        snprintf(room, size, "%s", field);
    return room;
}
