/* heap_page.c - /debug/pprof/heap, allocs, cmdline and symbol, as Go's net/http/pprof answers them,
 * so that what reads Go's profiles reads these. docs/design.md, "Profile".
 *
 *   ?gc=1        heap: collects first
 *   ?debug=1     text, as the C++ heap profilers have it: samples as they were taken, addresses
 *   ?seconds=N   what changed within N seconds; not together with debug */
#include "endpoint.h"
#include "pprof.h"
#include "turn.h"
#include "../os/child.h"
#include "../os/tool.h"

#define PROFILE_BYTES "application/octet-stream"

/* As Go's do, a parameter that is no number counts as 0. */
static int page_number(const request *r, const char *name) {
    char room[32];
    const char *text = ebb__request_value(r, name, room, sizeof room);
    return text ? atoi(text) : 0;
}

/* --- Text --------------------------------------------------------------------------------------
 */

static void text_counts(reply *to, const uint64_t counts[4]) {
    ebb__reply_print(to, "%llu: %llu [%llu: %llu] @", (unsigned long long)counts[0],
                     (unsigned long long)counts[1], (unsigned long long)counts[2],
                     (unsigned long long)counts[3]);
}

static void bucket_counts(const profile_bucket *b, uint64_t counts[4]) {
    counts[0] = b->live;
    counts[1] = b->live * b->size;
    counts[2] = b->growth ? 0 : b->allocs;
    counts[3] = b->allocs * b->size;
}

static void text_bucket(reply *to, const profile_copy *copy, const profile_bucket *b) {
    uint64_t counts[4];
    bucket_counts(b, counts);
    text_counts(to, counts);
    const uintptr_t *pcs = site_pcs(&copy->sites, b->site);
    for (uint32_t i = 0; i < site_at(&copy->sites, b->site)->count; i++)
        ebb__reply_print(to, " %#llx", (unsigned long long)pcs[i]);
    ebb__reply_print(to, "\n");
}

static void text_maps(const os_mapping *m, void *arg) {
    if (m->executable)
        ebb__reply_print(arg, "%llx-%llx r-xp %08llx 00:00 0 %s\n", (unsigned long long)m->start,
                         (unsigned long long)m->end, (unsigned long long)m->offset, m->path);
}

static void text_write(reply *to, const profile_copy *copy) {
    const profile_bucket *buckets = (const void *)copy->sites.buckets.bytes;
    uint32_t count = bucket_count(&copy->sites);
    uint64_t sums[4] = {0, 0, 0, 0}, counts[4];
    for (uint32_t i = 1; i < count; i++) {
        bucket_counts(&buckets[i], counts);
        for (int k = 0; k < 4; k++) sums[k] += counts[k];
    }
    ebb__reply_begin(to, 200, EBB__TEXT, NULL);
    ebb__reply_print(to, "heap profile: ");
    text_counts(to, sums);
    ebb__reply_print(to, " heap_v2/%zu\n", copy->rate);
    for (uint32_t i = 1; i < count && !ebb__reply_failed(to); i++)
        if (buckets[i].site < site_count(&copy->sites)) text_bucket(to, copy, &buckets[i]);
    ebb__reply_print(to,
                     "\n# cycle = %llu\n# live = %zu\n# goal = %zu\n# footprint = %zu\n"
                     "# lost samples = %llu\n\nMAPPED_LIBRARIES:\n",
                     (unsigned long long)copy->cycle.number, copy->cycle.live_bytes,
                     copy->cycle.goal_bytes, copy->cycle.footprint_bytes,
                     (unsigned long long)copy->lost);
    ebb__os_mappings_each(text_maps, to);
}

/* --- Profiles ----------------------------------------------------------------------------------
 */

/* False when the reader is gone. */
static bool page_wait(reply *to, uint64_t seconds) {
    _Atomic(uint32_t) nothing = 0;
    uint64_t end = ebb__os_now_ns() + seconds * 1000000000u;
    for (uint64_t now; (now = ebb__os_now_ns()) < end;) {
        if (ebb__reply_failed(to)) return false;
        ebb__os_wait(&nothing, 0, min_size(end - now, 100000000));
    }
    return true;
}

static void profile_send(reply *to, const pprof_source *source, const char *filename) {
    meta_buffer out = {NULL, 0, 0, false};
    if (ebb__pprof_make(source, &out)) {
        ebb__reply_begin(to, 200, PROFILE_BYTES, filename);
        ebb__reply_write(to, out.bytes, out.used);
    } else {
        ebb__reply_error(to, 500, "there is no memory for the profile");
    }
    ebb__buffer_free(&out);
}

static bool page_copy(reply *to, profile_copy *copy) {
    if (ebb__profile_copy(copy)) return true;
    ebb__reply_error(to, 500, "there is no memory for a copy of the profile");
    return false;
}

/* The number in a delta's request; 0, and the error is replied, when there cannot be one. */
static uint64_t delta_seconds(const request *r, reply *to, const char *text) {
    char *end;
    long long seconds = strtoll(text, &end, 10);
    if (*text == 0 || *end != 0 || seconds <= 0)
        ebb__reply_error(to, 400, "invalid value for \"seconds\" - must be a positive integer");
    else if (page_number(r, "debug") != 0)
        ebb__reply_error(to, 400, "seconds and debug params are incompatible");
    else if (seconds > 86400 ||
             (to->until_ns && ebb__os_now_ns() + (uint64_t)seconds * 1000000000u > to->until_ns))
        ebb__reply_error(to, 400, "profile duration exceeds server's WriteTimeout");
    else
        return (uint64_t)seconds;
    return 0;
}

static void delta_answer(const request *r, reply *to, const char *shown, const char *filename,
                         const char *text) {
    uint64_t seconds = delta_seconds(r, to, text);
    profile_copy before, now;
    if (seconds == 0 || !page_copy(to, &before)) return;
    if (page_wait(to, seconds) && page_copy(to, &now)) {
        profile_send(to, &(pprof_source){&now, &before, shown}, filename);
        ebb__profile_copy_free(&now);
    }
    ebb__profile_copy_free(&before);
}

static void profile_answer(const request *r, reply *to, const char *shown, const char *filename) {
    profile_copy copy;
    if (!page_copy(to, &copy)) return;
    if (page_number(r, "debug") != 0)
        text_write(to, &copy);
    else
        profile_send(to, &(pprof_source){&copy, NULL, shown}, filename);
    ebb__profile_copy_free(&copy);
}

static void heap_answer(const request *r, reply *to) {
    char room[32];
    const char *seconds = ebb__request_value(r, "seconds", room, sizeof room);
    if (seconds && *seconds) {
        delta_answer(r, to, "inuse_space", "heap-delta", seconds);
        return;
    }
    if (page_number(r, "gc") > 0) {
        if (!ebb__turn_begin(to)) return;
        ebb_collect();
        ebb__turn_end(to);
    }
    profile_answer(r, to, "inuse_space", "heap");
}

static void allocs_answer(const request *r, reply *to) {
    char room[32];
    const char *seconds = ebb__request_value(r, "seconds", room, sizeof room);
    if (seconds && *seconds)
        delta_answer(r, to, "alloc_space", "allocs-delta", seconds);
    else
        profile_answer(r, to, "alloc_space", "allocs");
}

const endpoint ebb__endpoint_heap = {.path = "/debug/pprof/heap",
                                     .says = "sampled objects in use (?gc=1, ?debug=1, ?seconds=N)",
                                     .answer = heap_answer};
const endpoint ebb__endpoint_allocs = {.path = "/debug/pprof/allocs",
                                       .says = "the same, of all that was ever allocated",
                                       .answer = allocs_answer};

/* --- The program -------------------------------------------------------------------------------
 */

/* Arguments with a zero between, none at the end. */
static void cmdline_answer(const request *r, reply *to) {
    char text[4096];
    (void)r;
    size_t size = ebb__os_command_line(text, sizeof text);
    while (size > 0 && text[size - 1] == 0) size--;
    ebb__reply_begin(to, 200, EBB__TEXT, NULL);
    ebb__reply_write(to, text, size);
}

/* Addresses joined by "+" become lines; what is no address is passed over. */
static void symbol_lines(const char *text, meta_buffer *lines) {
    enum { ADDRESSES_MOST = 10000 };
    char line[32];
    for (int n = 0; *text && n < ADDRESSES_MOST; n++) {
        char *end;
        unsigned long long code = strtoull(text, &end, 16);
        if (code != 0 && end > text) {
            int length = snprintf(line, sizeof line, "%#llx\n", code);
            ebb__buffer_add(lines, line, (size_t)length);
        }
        end += strcspn(end, "+");
        text = *end ? end + 1 : end;
    }
}

static void symbol_answer(const request *r, reply *to) {
    meta_buffer lines = {NULL, 0, 0, false}, names = {NULL, 0, 0, false};
    symbol_lines(*r->body ? r->body : r->query, &lines);
    if (lines.used > 0) ebb__pprof_names(lines.bytes, lines.used, &names);
    ebb__reply_begin(to, 200, EBB__TEXT, NULL);
    ebb__reply_print(to, "num_symbols: 1\n");
    ebb__reply_write(to, names.bytes, names.used);
    ebb__buffer_free(&lines);
    ebb__buffer_free(&names);
}

const endpoint ebb__endpoint_cmdline = {
    .path = "/debug/pprof/cmdline", .says = "the program's command line", .answer = cmdline_answer};
const endpoint ebb__endpoint_symbol = {.path = "/debug/pprof/symbol",
                                       .says = "names of addresses, joined by +",
                                       .answer = symbol_answer,
                                       .posts = true};
