/* held.c - the class `held`: resident bytes of objects to which only stacks, registers and
 * thread-local storage lead. docs/design.md, "Accounting".
 *
 * That takes a walk over the heap, so it is asked for, and made in a snapshot: from the precise
 * roots, then from the others; what the second walk alone finds is measured by pages. A page that
 * the program has is there in a copy of it as well. What lies beyond slices' lengths, and maps'
 * empty slots, are classes of their own.
 *
 * The snapshot is made first, and the rest looked at in a stop of its own: what changes between the
 * two cannot make the sum wrong, since `live` pays for `held`. */
#include "held.h"
#include "turn.h"
#include "graph.h"
#include "residency.h"
#include "slack.h"

typedef struct held_look {
    graph g;
    uint64_t bytes;
} held_look;

/* --- In the child ---------------------------------------------------------------------------- */

static uint64_t held_word(const span *s, uint32_t first, uint64_t objects) {
    uint64_t bytes = 0;
    for (; objects; objects &= objects - 1) {
        uintptr_t at = span_start(s) + (first + (unsigned)__builtin_ctzll(objects)) * s->stride;
        bytes += ebb__residency_in(at, at + s->stride);
    }
    return bytes;
}

static uint64_t held_span(const graph *g, const span *s) {
    uint64_t bytes = 0;
    for (uint32_t w = 0; w * 64 < s->count; w++)
        bytes += held_word(s, w * 64,
                           atomic_load_explicit(&graph_targets(g, s)[w], memory_order_relaxed));
    return bytes;
}

static bool held_is(const held_look *look, uintptr_t address) {
    uint32_t index;
    const span *s = ebb__span_at(address);
    return s && span_find(s, address, &index) && span_bit(graph_targets(&look->g, s), index);
}

static void held_tail(const span *s, uintptr_t array, uintptr_t from, uintptr_t to, void *arg) {
    held_look *look = arg;
    (void)s;
    if (held_is(look, array)) look->bytes -= min_size(look->bytes, ebb__residency_in(from, to));
}

static void held_table(const map_table *t, void *arg) {
    held_look *look = arg;
    if (t->slots && held_is(look, t->slots))
        look->bytes -= min_size(look->bytes, ebb__memory_table_empty(t));
}

/* Pages are looked at before anything of the heap is read: that may make more of them. */
static bool held_find(held_look *look, const snapshot *s) {
    os_pages pages;
    ebb__os_pages_open(&pages);
    bool good = ebb__residency_take(&pages);
    ebb__os_pages_close(&pages);
    if (!good || !ebb__graph_open(&look->g, s)) return false;
    look->g.note = false;
    ebb__graph_walk(&look->g, true);
    ebb__graph_target_all(&look->g);
    ebb__graph_walk(&look->g, false);
    ebb__graph_target_all(&look->g);
    if (look->g.failed) return false;
    for (uint32_t n = 1; n < ebb__space.span_count; n++)
        if (span_at(n)->state >= SPAN_SMALL) look->bytes += held_span(&look->g, span_at(n));
    ebb__map_each_table(held_table, look);
    return ebb__slack_each(s->roots, held_tail, look);
}

static void held_work(const snapshot *s, reply *r, void *arg) {
    held_look look = {.bytes = 0};
    (void)arg;
    if (!held_find(&look, s)) {
        ebb__reply_error(r, 503, "no memory for looking at the snapshot");
        return;
    }
    ebb__reply_begin(r, 200, EBB__TEXT, NULL);
    ebb__reply_print(r, "%llu\n", (unsigned long long)look.bytes);
}

/* --- In the program -------------------------------------------------------------------------- */

typedef struct held_answer {
    int status;
    size_t used;
    char text[512];
} held_answer;

static void held_begin(void *arg, int status, const char *type, const char *filename) {
    (void)type, (void)filename;
    ((held_answer *)arg)->status = status;
}

static bool held_write(void *arg, const void *bytes, size_t size) {
    held_answer *a = arg;
    size_t piece = min_size(size, sizeof a->text - 1 - a->used);
    memcpy(a->text + a->used, bytes, piece);
    a->used += piece;
    return true;
}

static bool held_ask(const request *q, reply *to, uint64_t *bytes) {
    held_answer a = {.status = 0};
    ebb_debug_sink sink = {held_begin, held_write, &a};
    uint64_t seconds;
    reply r;
    if (!ebb__request_number(q, to, "seconds", 1, SNAPSHOT_SECONDS_MAX, SNAPSHOT_SECONDS, &seconds))
        return false;
    ebb__reply_open_within(&r, &sink, to);
    ebb__snapshot_run_for(held_work, NULL, &r, seconds, ebb__snapshot_need());
    ebb__reply_close(&r);
    *bytes = strtoull(a.text, NULL, 10);
    if (a.status == 200 && !r.failed) return true;
    a.text[strcspn(a.text, "\n")] = 0;
    ebb__reply_error(to, a.status == 200 ? 503 : a.status, "held: %s", a.text);
    return false;
}

bool ebb__memory_asked(const request *q, reply *to, struct ebb_memory *out, outside_list *list) {
    char room[8];
    const char *asked = ebb__request_value(q, "conservative", room, sizeof room);
    bool held = asked && strcmp(asked, "0") != 0;
    uint64_t bytes = 0;
    if (held && !held_ask(q, to, &bytes)) return false;
    if (!ebb__turn_begin(to)) return false;
    int error = ebb__memory_look(out, list);
    ebb__turn_end(to);
    if (error != 0) {
        ebb__reply_error(to, 503, "%s", ebb_error_text(error));
        return false;
    }
    out->held_known = held;
    out->held = min_size(bytes, out->live);
    out->live -= out->held;
    return true;
}
