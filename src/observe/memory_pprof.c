/* memory_pprof.c - /debug/pprof/memory: the classes of resident memory as a profile that pprof's
 * viewers draw: RSS is the outermost frame, then whose it is, then the class, then the file where
 * there is one. The frames are no code, so they have names and no addresses. docs/observe.md.
 *
 * A frame is a string, a function and a location with the same number, from 1. */
#include "held.h"
#include "pprof.h"

enum { FRAME_RSS = 1, FRAME_HEAP, FRAME_EBB, FRAME_OUTSIDE, FRAME_CLASS /* the first of them */ };

typedef struct rss_profile {
    meta_buffer out, part, inner;
    uint64_t frames; /* so far; the strings are one more, "" is the first */
} rss_profile;

/* The part becomes a field of the profile. */
static void rss_part(rss_profile *p, unsigned field) {
    ebb__pprof_bytes(&p->out, field, p->part.bytes, p->part.used);
    p->out.failed |= p->part.failed;
    p->part.used = 0;
}

/* Its number. */
static uint64_t rss_frame(rss_profile *p, const char *name) {
    uint64_t number = ++p->frames;
    ebb__pprof_bytes(&p->out, PROFILE_STRING, name, strlen(name));
    ebb__pprof_number(&p->part, 1, number);
    ebb__pprof_number(&p->part, 2, number);
    rss_part(p, PROFILE_FUNCTION);
    p->inner.used = 0;
    ebb__pprof_number(&p->inner, 1, number);
    ebb__pprof_number(&p->part, 1, number);
    ebb__pprof_bytes(&p->part, 4, p->inner.bytes, p->inner.used);
    rss_part(p, PROFILE_LOCATION);
    return number;
}

/* Bytes in a frame; above is its group, or 0; file is innermost, or 0. */
static void rss_sample(rss_profile *p, uint64_t file, uint64_t frame, uint64_t above,
                       int64_t bytes) {
    const uint64_t stack[] = {file, frame, above, FRAME_RSS};
    if (bytes == 0) return;
    for (size_t i = 0; i < 4; i++)
        if (stack[i]) ebb__pprof_number(&p->part, 1, stack[i]);
    ebb__pprof_number(&p->part, 2, (uint64_t)bytes);
    rss_part(p, PROFILE_SAMPLE);
}

static uint64_t rss_group(const memory_class *c) {
    if (strcmp(c->group, "heap") == 0) return FRAME_HEAP;
    if (strcmp(c->group, "ebb") == 0) return FRAME_EBB;
    return strcmp(c->group, "outside") == 0 ? FRAME_OUTSIDE : 0;
}

/* The files of a class are what it is made of. */
static bool rss_has_files(const memory_class *c) {
    return c->offset == offsetof(struct ebb_memory, outside_files);
}

static void rss_class(rss_profile *p, const struct ebb_memory *m, const memory_class *c,
                      const outside_list *list) {
    uint64_t frame = FRAME_CLASS + (uint64_t)(c - ebb__memory_classes);
    int64_t bytes = ebb__memory_of(m, c);
    for (size_t i = 0; rss_has_files(c) && i < list->count; i++) {
        const outside_entry *e = &list->entries[i];
        if (e->kind != OUTSIDE_FILES || e->name[0] == 0) continue;
        rss_sample(p, rss_frame(p, e->name), frame, FRAME_OUTSIDE, (int64_t)e->bytes);
        bytes -= (int64_t)e->bytes;
    }
    rss_sample(p, 0, frame, rss_group(c), bytes);
}

static bool rss_make(rss_profile *p, const struct ebb_memory *m, const outside_list *list) {
    ebb__pprof_bytes(&p->out, PROFILE_STRING, "", 0);
    rss_frame(p, "RSS");
    rss_frame(p, "Ebb's heap");
    rss_frame(p, "Ebb besides");
    rss_frame(p, "outside Ebb");
    for (const memory_class *c = ebb__memory_classes; c->name; c++) rss_frame(p, c->name);
    for (const memory_class *c = ebb__memory_classes; c->name; c++) rss_class(p, m, c, list);
    uint64_t strings = p->frames + 1;
    ebb__pprof_bytes(&p->out, PROFILE_STRING, "memory_space", 12);
    ebb__pprof_bytes(&p->out, PROFILE_STRING, "bytes", 5);
    ebb__pprof_number(&p->part, 1, strings);
    ebb__pprof_number(&p->part, 2, strings + 1);
    rss_part(p, PROFILE_SAMPLE_TYPE);
    ebb__pprof_number(&p->out, PROFILE_TIME, ebb__os_wall_ns());
    ebb__pprof_number(&p->out, PROFILE_SHOWN, strings);
    return !p->out.failed;
}

static void rss_reply(reply *to, const struct ebb_memory *m, const outside_list *list) {
    rss_profile p = {.frames = 0};
    if (rss_make(&p, m, list)) {
        ebb__reply_begin(to, 200, "application/octet-stream", "memory.pb");
        ebb__reply_write(to, p.out.bytes, p.out.used);
    } else {
        ebb__reply_error(to, 503, "%s", ebb_error_text(EBB_ENOMEM));
    }
    ebb__buffer_free(&p.out);
    ebb__buffer_free(&p.part);
    ebb__buffer_free(&p.inner);
}

static void rss_answer(const request *r, reply *to) {
    char room[8];
    const char *debug = ebb__request_value(r, "debug", room, sizeof room);
    if (debug && strcmp(debug, "0") != 0) { /* as Go's pages: a text to read */
        ebb__endpoint_memory.answer(r, to);
        return;
    }
    struct ebb_memory m;
    outside_list *list = ebb__memory_list();
    if (!list)
        ebb__reply_error(to, 503, "%s", ebb_error_text(EBB_ENOMEM));
    else if (ebb__memory_asked(r, to, &m, list))
        rss_reply(to, &m, list);
    ebb__memory_list_free(list);
}

const endpoint ebb__endpoint_memory_profile = {
    .path = "/debug/pprof/memory",
    .says = "the classes of resident memory, for pprof's viewers; ?conservative=1; ?debug=1: text",
    .answer = rss_answer};
