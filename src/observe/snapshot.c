/* snapshot.c - a copy of the process that looks at the heap while the program goes on.
 * docs/design.md, "Retention".
 *
 * The copy is made inside a stop of the world, so no lock of the heap is held in it and nothing is
 * half done; copying costs what the page tables cost, not what the heap does. Afterwards the
 * system copies each page that the program writes while the child lives: therefore the child is
 * bounded in time, and is not made where memory is short already.
 *
 * What it replies comes through a pipe in frames: a byte that says what, four that say how long. */
#include "snapshot.h"
#include "turn.h"
#include "../os/child.h"

enum { FRAME_BEGIN = 'B', FRAME_DATA = 'D', FRAME_END = 'E', FRAME_HEAD = 5 };
enum { STREAM_BYTES = 64 * 1024 };

#define SNAPSHOT_SPARE ((size_t)64 * MIB) /* that is left free, by the system and each group */
#define WATCH_NS       ((uint64_t)100 * 1000000)

static _Atomic(int) snapshot_busy; /* the process whose snapshot is being looked at; 0 nobody's */

/* --- The child's side ----------------------------------------------------------------------- */

typedef struct stream {
    os_child child;
    char *bytes; /* STREAM_BYTES of memory, of each side its own */
    size_t used; /* the child: not yet written */
} stream;

static void stream_flush(stream *out) {
    ebb__os_child_write(&out->child, out->bytes, out->used);
    out->used = 0;
}

static void stream_put(stream *out, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        size_t piece = min_size(size, STREAM_BYTES - out->used);
        memcpy(out->bytes + out->used, at, piece);
        out->used += piece;
        at += piece;
        size -= piece;
        if (out->used == STREAM_BYTES) stream_flush(out);
    }
}

static void stream_head(stream *out, char what, size_t size) {
    uint32_t length = (uint32_t)size;
    stream_put(out, &what, 1);
    stream_put(out, &length, sizeof length);
}

/* Status, type and file name, the texts with their zeros. */
static void stream_begin(void *arg, int status, const char *type, const char *filename) {
    int32_t number = status;
    const char *name = filename ? filename : "";
    stream_head(arg, FRAME_BEGIN, sizeof number + strlen(type) + strlen(name) + 2);
    stream_put(arg, &number, sizeof number);
    stream_put(arg, type, strlen(type) + 1);
    stream_put(arg, name, strlen(name) + 1);
}

static bool stream_write(void *arg, const void *bytes, size_t size) {
    stream_head(arg, FRAME_DATA, size);
    stream_put(arg, bytes, size);
    return true;
}

struct snapshot_call {
    void (*work)(const snapshot *s, reply *r, void *arg);
    void *arg;
    stream stream;
    uint64_t asked_ns;
    int pid;
    int forked; /* as ebb__os_child_fork says */
};

static __attribute__((noreturn)) void child_run(struct snapshot_call *call, const root_set *roots) {
    snapshot s = {roots, call->pid, call->asked_ns, ebb__os_now_ns()};
    ebb_debug_sink sink = {stream_begin, stream_write, &call->stream};
    reply r;
    ebb__reply_open(&r, &sink, 0);
    call->work(&s, &r, call->arg);
    ebb__reply_close(&r);
    stream_head(&call->stream, FRAME_END, 0);
    stream_flush(&call->stream);
    ebb__os_child_exit(0);
}

/* With the world stopped. */
static void snapshot_fork(const root_set *roots, void *arg) {
    struct snapshot_call *call = arg;
    call->forked = ebb__os_child_fork(&call->stream.child);
    if (call->forked == 0) child_run(call, roots);
}

/* --- The parent's side ---------------------------------------------------------------------- */

/* What of the frames has come. A frame that is not data is short, and gathered whole. */
typedef struct frames {
    reply *to;
    size_t have;               /* of head and small */
    char head[FRAME_HEAD];     /* of the frame that is being read */
    char small[512];           /* what it holds, if it is not data */
    uint32_t left;             /* of data: bytes that are still to come */
    bool ended, broken, begun; /* the child wrote all; it wrote nonsense; the reply was begun */
} frames;

static void frame_whole(frames *f, uint32_t length) {
    int32_t status;
    if (f->head[0] == FRAME_END) {
        f->ended = true;
        return;
    }
    f->broken = f->head[0] != FRAME_BEGIN || length < sizeof status;
    if (f->broken) return;
    const char *type = f->small + sizeof status, *end = f->small + length;
    const char *name = memchr(type, 0, (size_t)(end - type));
    f->broken = !name || end[-1] != 0;
    if (f->broken) return;
    memcpy(&status, f->small, sizeof status);
    name++;
    f->begun = true;
    ebb__reply_begin(f->to, status, type, *name ? name : NULL);
}

/* Takes some of the bytes; returns how many. */
static size_t frames_take(frames *f, const char *bytes, size_t size) {
    if (f->left > 0) {
        size_t piece = min_size(size, f->left);
        ebb__reply_write(f->to, bytes, piece);
        f->left -= (uint32_t)piece;
        return piece;
    }
    uint32_t length = 0;
    size_t want = FRAME_HEAD;
    if (f->have >= FRAME_HEAD) {
        memcpy(&length, f->head + 1, sizeof length);
        want += length;
    }
    size_t piece = min_size(size, want - f->have);
    memcpy((f->have < FRAME_HEAD ? f->head + f->have : f->small + (f->have - FRAME_HEAD)), bytes,
           piece);
    f->have += piece;
    if (f->have < FRAME_HEAD) return piece;
    memcpy(&length, f->head + 1, sizeof length);
    bool data = f->head[0] == FRAME_DATA;
    if (data && f->begun) {
        f->left = length;
        f->have = 0;
    } else if (data || length > sizeof f->small || (length < 8 && f->head[0] == FRAME_BEGIN)) {
        f->broken = true;
    } else if (f->have == FRAME_HEAD + length) {
        f->have = 0;
        frame_whole(f, length);
    }
    return piece;
}

static void frames_all(frames *f, const char *bytes, size_t size) {
    while (size > 0 && !f->ended && !f->broken) {
        size_t piece = frames_take(f, bytes, size);
        bytes += piece;
        size -= piece;
    }
}

/* Why the child is not waited for any longer; null: it is. */
static const char *watch(const frames *f, uint64_t until_ns) {
    const char *whose;
    if (ebb__reply_failed(f->to)) return "nobody reads the reply";
    if (ebb__os_now_ns() > until_ns) return "it took longer than it may; see seconds=";
    if (ebb__os_memory_left(&whose) < SNAPSHOT_SPARE / 2)
        return "memory became short while it was looked at";
    return NULL;
}

/* Hands on what the child replies, until it ends or has to. Null, or why it was not whole. */
static const char *stream_follow(stream *in, frames *f, uint64_t until_ns) {
    uint64_t watched_ns = ebb__os_now_ns();
    while (!f->ended) {
        long n = ebb__os_child_read(&in->child, in->bytes, STREAM_BYTES, WATCH_NS);
        if (n > 0) frames_all(f, in->bytes, (size_t)n);
        if (f->broken) return "its process wrote nonsense";
        if (n == 0 || n == EBB_ESYSTEM) return f->ended ? NULL : "its process died";
        uint64_t now = ebb__os_now_ns();
        if (n > 0 && now - watched_ns < WATCH_NS && !ebb__reply_failed(f->to)) continue;
        const char *why = watch(f, until_ns);
        if (why) return why;
        watched_ns = now;
    }
    return NULL;
}

/* A reply that was begun cannot become an error: it breaks off. */
static void stream_end(struct snapshot_call *call, frames *f, const char *why) {
    int status = ebb__os_child_end(&call->stream.child);
    if (!why) return;
    bool begun = f->to->begun;
    if (strcmp(why, "its process died") == 0)
        ebb__reply_error(f->to, 500, "the snapshot failed: its process ended with status %d",
                         status);
    else
        ebb__reply_error(f->to, 503, "the snapshot was given up: %s", why);
    if (begun) f->to->failed = true;
}

/* --- Making one ----------------------------------------------------------------------------- */

__attribute__((no_sanitize("thread"))) size_t ebb__snapshot_need(void) {
    size_t objects = 0, heap = 0;
    for (uint32_t n = 1; n < ebb__space.span_count; n++) {
        const span *s = span_at(n);
        if (s->state >= SPAN_SMALL) objects += s->count;
    }
    for (int i = 0; i < ZONE_COUNT; i++) heap += (ebb__space.zones[i].in_use_pages << PAGE_SHIFT);
    /* Where each was found, and what waits; bits; page tables; pages that the program writes. */
    return 6 * objects + heap / 64 + heap / 512 + heap / 16 + 16 * MIB;
}

static bool room_enough(reply *r, size_t need) {
    const char *whose;
    size_t left = ebb__os_memory_left(&whose);
    if (left >= need && left - need >= SNAPSHOT_SPARE) return true;
    ebb__reply_error(r, 503,
                     "a snapshot of this heap may take %zu MiB, and %s has %zu MiB left, of which "
                     "%zu MiB are to stay free: not taken",
                     need >> 20, whose, left >> 20, SNAPSHOT_SPARE >> 20);
    return false;
}

static void snapshot_follow(struct snapshot_call *call, reply *r, uint64_t seconds) {
    frames f = {.to = r};
    uint64_t until = call->asked_ns + seconds * 1000000000u;
    stream_end(call, &f, stream_follow(&call->stream, &f, until));
}

static void snapshot_make(struct snapshot_call *call, reply *r, uint64_t seconds) {
    call->asked_ns = ebb__os_now_ns();
    call->pid = ebb__os_pid();
    call->forked = EBB_EBUSY;
    int error = ebb__with_world_stopped(snapshot_fork, call);
    ebb__turn_end(r);
    if (error != 0)
        ebb__reply_error(r, 503, "the program could not be stopped for a snapshot: %s",
                         ebb_error_text(error));
    else if (call->forked < 0)
        ebb__reply_error(r, 503, "the system made no process for a snapshot");
    else
        snapshot_follow(call, r, seconds);
}

/* A process that was forked off meanwhile may take its own. */
static bool snapshot_own(void) {
    int owner = atomic_load_explicit(&snapshot_busy, memory_order_relaxed), self = ebb__os_pid();
    return owner != self &&
           atomic_compare_exchange_strong_explicit(&snapshot_busy, &owner, self,
                                                   memory_order_acquire, memory_order_relaxed);
}

void ebb__snapshot_run_for(void (*work)(const snapshot *s, reply *r, void *arg), void *arg,
                           reply *r, uint64_t seconds, size_t need_bytes) {
    struct snapshot_call call = {.work = work, .arg = arg};
    if (!room_enough(r, need_bytes)) return;
    if (!snapshot_own()) {
        ebb__reply_error(r, 503, "another snapshot is being looked at: try again");
        return;
    }
    int cancel = ebb__os_cancel_defer();
    call.stream.bytes = ebb__os_map(STREAM_BYTES, OS_METADATA);
    if (call.stream.bytes && ebb__os_child_prepare(&call.stream.child) == 0) {
        if (ebb__turn_begin(r)) snapshot_make(&call, r, seconds);
        ebb__os_child_end(&call.stream.child);
    } else {
        ebb__reply_error(r, 503, "no memory or no descriptor for a snapshot");
    }
    if (call.stream.bytes) ebb__os_unmap(call.stream.bytes, STREAM_BYTES, OS_METADATA);
    atomic_store_explicit(&snapshot_busy, 0, memory_order_release);
    ebb__os_cancel_restore(cancel);
}

void ebb__snapshot_run(void (*work)(const snapshot *s, reply *r, void *arg), void *arg, reply *r) {
    ebb__snapshot_run_for(work, arg, r, SNAPSHOT_SECONDS, ebb__snapshot_need());
}
