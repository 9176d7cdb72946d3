/* retainers.c - who holds it, as a profile in pprof's format: a sample for each shape of ways, with
 * the target as its leaf and the root as its outermost frame. The frames are no code, so they have
 * names and no addresses. And what samples say of where objects come from. docs/design.md,
 * "Retention". */
#include "profile.h"
#include "why.h"

/* --- Sites ---------------------------------------------------------------------------------- */

enum { SITE_FRAMES = 128 };

void ebb__why_site_print(uintptr_t object, reply *r, const char *before, const char *after) {
    uintptr_t pc;
    uint32_t site = ebb__profile_site(object);
    if (site && ebb__profile_stack(site, &pc, 1) > 0)
        ebb__reply_print(r, "%s@0x%zx%s", before, (size_t)pc - 1, after);
}

struct sites_call {
    why *w;
    void (*visit)(why *w, uintptr_t object);
    uintptr_t wanted[64];
    unsigned count;
};

/* Profiles have the address within a call, which is one less than where it returns to. */
static void sites_sample(const profile_sample *sample, void *arg) {
    struct sites_call *call = arg;
    uintptr_t pcs[SITE_FRAMES];
    unsigned frames = ebb__profile_stack(sample->site, pcs, SITE_FRAMES);
    for (unsigned i = 0; i < frames; i++)
        for (unsigned k = 0; k < call->count; k++)
            if (pcs[i] == call->wanted[k] || pcs[i] == call->wanted[k] + 1) {
                call->visit(call->w, sample->object);
                return;
            }
}

void ebb__why_sites(why *w, const char *list, void (*visit)(why *w, uintptr_t object)) {
    struct sites_call call = {.w = w, .visit = visit};
    for (const char *at = list; *at && call.count < sizeof call.wanted / sizeof *call.wanted;) {
        char *end;
        while (*at == '@' || *at == '+' || *at == ' ' || *at == ',') at++;
        uintptr_t pc = strtoul(at, &end, 16);
        if (end == at) break;
        call.wanted[call.count++] = pc;
        at = end;
    }
    ebb__profile_each(sites_sample, &call);
}

/* --- The format ----------------------------------------------------------------------------- */

/* Fields of a message, which may come in any order. */
typedef struct proto {
    uint8_t *bytes;
    size_t used, room;
} proto;

enum { PROTO_BYTES = 64 * 1024, PROTO_NUMBER = 0, PROTO_BYTES_FIELD = 2 };

static void proto_varint(proto *p, uint64_t n) {
    if (p->room - p->used < 10) return; /* cannot happen: messages are far smaller */
    for (; n >= 0x80; n >>= 7) p->bytes[p->used++] = (uint8_t)(n | 0x80);
    p->bytes[p->used++] = (uint8_t)n;
}

static void proto_number(proto *p, unsigned field, uint64_t n) {
    proto_varint(p, field << 3 | PROTO_NUMBER);
    proto_varint(p, n);
}

static void proto_bytes(proto *p, unsigned field, const void *bytes, size_t size) {
    proto_varint(p, field << 3 | PROTO_BYTES_FIELD);
    proto_varint(p, size);
    if (p->room - p->used < size) return;
    memcpy(p->bytes + p->used, bytes, size);
    p->used += size;
}

/* A field of the profile itself. */
static void proto_out(reply *r, unsigned field, const void *bytes, size_t size) {
    uint8_t head[24];
    proto p = {head, 0, sizeof head};
    proto_varint(&p, field << 3 | PROTO_BYTES_FIELD);
    proto_varint(&p, size);
    ebb__reply_write(r, head, p.used);
    ebb__reply_write(r, bytes, size);
}

/* --- Frames --------------------------------------------------------------------------------- */

/* Strings: "", then four for the types, then a frame's name for each node. */
enum { STRING_OBJECTS = 1, STRING_COUNT, STRING_SPACE, STRING_BYTES, STRING_FRAMES };

typedef struct frame_text {
    size_t used;
    char text[512];
} frame_text;

static void frame_begin(void *arg, int status, const char *type, const char *filename) {
    (void)arg, (void)status, (void)type, (void)filename;
}

static bool frame_write(void *arg, const void *bytes, size_t size) {
    frame_text *f = arg;
    size_t piece = min_size(size, sizeof f->text - f->used);
    memcpy(f->text + f->used, bytes, piece);
    f->used += piece;
    return true;
}

/* Frames are numbered from one: twice the node for what it is, and one less for the root. */
static void put_frame(const why *w, reply *r, uint32_t node, bool root, proto *p) {
    frame_text f = {0};
    ebb_debug_sink sink = {frame_begin, frame_write, &f};
    reply words;
    uint64_t number = 2 * (uint64_t)node - (root ? 1 : 0);
    ebb__reply_open(&words, &sink, 0);
    ebb__reply_begin(&words, 200, EBB__TEXT, NULL);
    ebb__why_frame_print(w, &words, node, root);
    ebb__reply_close(&words);
    proto_out(r, 6, f.text, f.used);
    p->used = 0;
    proto_number(p, 1, number);
    proto_number(p, 2, STRING_FRAMES + number - 1);
    proto_out(r, 5, p->bytes, p->used);
    proto line = {p->bytes + 256, 0, 64};
    p->used = 0;
    proto_number(&line, 1, number);
    proto_number(p, 1, number);
    proto_bytes(p, 4, line.bytes, line.used);
    proto_out(r, 4, p->bytes, p->used);
}

static void put_sample(const why *w, reply *r, uint32_t node, proto *p) {
    proto values = {p->bytes + PROTO_BYTES / 2, 0, 32};
    p->used = 0;
    for (uint32_t at = node; at; at = w->paths.nodes[at].before) {
        proto_number(p, 1, 2 * (uint64_t)at);
        if (w->paths.nodes[at].before == 0) proto_number(p, 1, 2 * (uint64_t)at - 1);
    }
    proto_varint(&values, w->paths.nodes[node].ends.objects);
    proto_varint(&values, w->paths.nodes[node].ends.bytes);
    proto_bytes(p, 2, values.bytes, values.used);
    proto_out(r, 2, p->bytes, p->used);
}

static void put_sample_type(reply *r, unsigned type, unsigned unit, proto *p) {
    p->used = 0;
    proto_number(p, 1, type);
    proto_number(p, 2, unit);
    proto_out(r, 1, p->bytes, p->used);
}

void ebb__why_profile(why *w, reply *r) {
    static const char *const names[] = {"", "inuse_objects", "count", "inuse_space", "bytes"};
    proto p = {ebb__graph_memory(PROTO_BYTES), 0, PROTO_BYTES / 2};
    if (!p.bytes) {
        ebb__reply_error(r, 503, "no memory for looking at the snapshot");
        return;
    }
    ebb__reply_begin(r, 200, "application/octet-stream", "retainers.pb");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        proto_out(r, 6, names[i], strlen(names[i]));
    put_sample_type(r, STRING_OBJECTS, STRING_COUNT, &p);
    put_sample_type(r, STRING_SPACE, STRING_BYTES, &p);
    for (uint32_t node = 1; node < w->paths.count; node++) {
        put_frame(w, r, node, true, &p);
        put_frame(w, r, node, false, &p);
    }
    for (uint32_t i = 0; i < w->count; i++)
        if (w->order[i]) put_sample(w, r, w->order[i], &p);
}
