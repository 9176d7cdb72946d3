/* pprof.c - the encoder of profile.proto, and names by the ebb command. See pprof.h.
 *
 * A message is a run of fields, each a key (number, kind) and a value: a variable-length number, or
 * bytes with their length before. Fields of a message may come in any order and anywhere, so
 * strings are written when they are first needed, and a comment may be added at the very end.
 * An address is that of the call, one less than where it returns. */
#include "pprof.h"
#include "../os/child.h"
#include "../os/tool.h"
#include "../../include/ebb/ebb.h"

typedef struct pprof_mapping {
    uintptr_t start, end, offset;
    uint64_t file, build; /* strings */
} pprof_mapping;

typedef struct pprof {
    const pprof_source *source;
    meta_buffer *out;
    meta_buffer part;  /* a message that is part of the profile, before its length is known */
    meta_buffer inner; /* likewise of that */
    meta_buffer codes; /* addresses of calls, ascending, each once: location n + 1 */
    meta_buffer maps;  /* pprof_mapping: mapping n + 1 */
    uint64_t strings;  /* written so far */
} pprof;

/* --- Fields ------------------------------------------------------------------------------------
 */

static void pprof_varint(meta_buffer *b, uint64_t value) {
    unsigned char bytes[10];
    size_t n = 0;
    for (; value >= 0x80; value >>= 7) bytes[n++] = (unsigned char)(value | 0x80);
    bytes[n++] = (unsigned char)value;
    ebb__buffer_add(b, bytes, n);
}

static void pprof_number(meta_buffer *b, unsigned field, uint64_t value) {
    pprof_varint(b, field << 3);
    pprof_varint(b, value);
}

static void pprof_bytes(meta_buffer *b, unsigned field, const void *bytes, size_t size) {
    pprof_varint(b, field << 3 | 2);
    pprof_varint(b, size);
    ebb__buffer_add(b, bytes, size);
}

void ebb__pprof_number(meta_buffer *b, unsigned field, uint64_t value) {
    pprof_number(b, field, value);
}

void ebb__pprof_bytes(meta_buffer *b, unsigned field, const void *bytes, size_t size) {
    pprof_bytes(b, field, bytes, size);
}

static void pprof_part(pprof *p, unsigned field) {
    pprof_bytes(p->out, field, p->part.bytes, p->part.used);
    p->out->failed |= p->part.failed;
    p->part.used = 0;
}

static void pprof_inner(pprof *p, unsigned field) {
    pprof_bytes(&p->part, field, p->inner.bytes, p->inner.used);
    p->part.failed |= p->inner.failed;
    p->inner.used = 0;
}

/* Its number. Every call is another string, also of the same text. */
static uint64_t pprof_string(pprof *p, const char *text) {
    pprof_bytes(p->out, PROFILE_STRING, text, strlen(text));
    return p->strings++;
}

static __attribute__((format(printf, 2, 3))) void pprof_comment(pprof *p, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pprof_number(p->out, PROFILE_COMMENT, pprof_string(p, text));
}

static void pprof_type(pprof *p, unsigned field, const char *type, const char *unit) {
    uint64_t type_string = pprof_string(p, type), unit_string = pprof_string(p, unit);
    pprof_number(&p->part, 1, type_string);
    pprof_number(&p->part, 2, unit_string);
    pprof_part(p, field);
}

/* --- Values ------------------------------------------------------------------------------------
 */

static const profile_bucket *pprof_bucket(const profile_copy *copy, uint32_t number) {
    if (!copy || number >= bucket_count(&copy->sites)) return NULL;
    return (const profile_bucket *)(const void *)copy->sites.buckets.bytes + number;
}

static int64_t pprof_round(double value) {
    return (int64_t)(value + 0.5);
}

static pprof_values bucket_values(const profile_copy *copy, uint32_t number) {
    const profile_bucket *b = pprof_bucket(copy, number);
    if (!b) return (pprof_values){0, 0, 0, 0};
    double weight = ebb__sample_weight(b->size, copy->rate);
    double allocs = (double)b->allocs * weight, live = (double)b->live * weight;
    double size = (double)b->size;
    return (pprof_values){b->growth ? 0 : pprof_round(allocs), pprof_round(allocs * size),
                          pprof_round(live), pprof_round(live * size)};
}

/* A change of the rate begins anew: what was before is no part of what is now. */
pprof_values ebb__pprof_values(const pprof_source *s, uint32_t bucket) {
    pprof_values now = bucket_values(s->now, bucket);
    if (!s->before || s->before->epoch != s->now->epoch) return now;
    pprof_values before = bucket_values(s->before, bucket);
    return (pprof_values){now.allocs - before.allocs, now.alloc_bytes - before.alloc_bytes,
                          now.live - before.live, now.live_bytes - before.live_bytes};
}

/* --- Addresses ---------------------------------------------------------------------------------
 */

static void codes_sift(uintptr_t *codes, size_t at, size_t count) {
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && codes[child + 1] > codes[child]) child++;
        if (codes[at] >= codes[child]) return;
        uintptr_t code = codes[at];
        codes[at] = codes[child];
        codes[child] = code;
    }
}

static void codes_sort(uintptr_t *codes, size_t count) {
    for (size_t i = count / 2; i-- > 0;) codes_sift(codes, i, count);
    for (size_t i = count; i-- > 1;) {
        uintptr_t code = codes[0];
        codes[0] = codes[i];
        codes[i] = code;
        codes_sift(codes, 0, i);
    }
}

static size_t codes_count(const pprof *p) {
    return p->codes.used / sizeof(uintptr_t);
}

static uintptr_t *codes_of(const pprof *p) {
    return (uintptr_t *)(void *)p->codes.bytes;
}

static void codes_gather(pprof *p) {
    const meta_buffer *pcs = &p->source->now->sites.pcs;
    ebb__buffer_add(&p->codes, pcs->bytes, pcs->used);
    uintptr_t *codes = codes_of(p);
    size_t count = codes_count(p), kept = 0;
    for (size_t i = 0; i < count; i++) codes[i]--;
    codes_sort(codes, count);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || codes[i] != codes[i - 1]) codes[kept++] = codes[i];
    p->codes.used = kept * sizeof *codes;
}

/* The number of the location. */
static uint64_t code_location(const pprof *p, uintptr_t code) {
    const uintptr_t *codes = codes_of(p);
    size_t low = 0, high = codes_count(p);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (codes[middle] < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low + 1;
}

/* --- Mappings ----------------------------------------------------------------------------------
 */

static bool codes_between(const pprof *p, uintptr_t start, uintptr_t end) {
    size_t at = code_location(p, start) - 1;
    return at < codes_count(p) && codes_of(p)[at] < end;
}

/* The program's own first, whether it has any or not: readers take the first for it. */
static void mapping_see(const os_mapping *m, void *arg) {
    pprof *p = arg;
    bool first = p->maps.used == 0;
    if (!m->executable || (!first && !codes_between(p, m->start, m->end))) return;
    pprof_mapping mapping = {m->start, m->end, m->offset, 0, 0};
    mapping.file = pprof_string(p, *m->path ? m->path : "[anonymous]");
    ebb__buffer_add(&p->maps, &mapping, sizeof mapping);
}

static void mapping_write(pprof *p, pprof_mapping *m, uint64_t number) {
    unsigned char id[32];
    char text[2 * sizeof id + 1] = "";
    size_t bytes = ebb__os_build_id(m->start, id, sizeof id);
    for (size_t i = 0; i < bytes; i++) snprintf(text + 2 * i, 3, "%02x", id[i]);
    m->build = bytes > 0 ? pprof_string(p, text) : 0;
    pprof_number(&p->part, 1, number);
    pprof_number(&p->part, 2, m->start);
    pprof_number(&p->part, 3, m->end);
    pprof_number(&p->part, 4, m->offset);
    pprof_number(&p->part, 5, m->file);
    pprof_number(&p->part, 6, m->build);
    pprof_part(p, PROFILE_MAPPING);
}

static pprof_mapping *mappings_of(const pprof *p, size_t *count) {
    *count = p->maps.used / sizeof(pprof_mapping);
    return (pprof_mapping *)(void *)p->maps.bytes;
}

static void mappings_write(pprof *p) {
    size_t count;
    ebb__os_mappings_each(mapping_see, p);
    pprof_mapping *maps = mappings_of(p, &count);
    ebb__loader_enter();
    for (size_t i = 0; i < count; i++) mapping_write(p, &maps[i], i + 1);
    ebb__loader_leave();
}

/* Code that was unloaded since has none. */
static void locations_write(pprof *p) {
    size_t count, at = 0;
    const pprof_mapping *maps = mappings_of(p, &count);
    const uintptr_t *codes = codes_of(p);
    for (size_t i = 0; i < codes_count(p); i++) {
        while (at < count && maps[at].end <= codes[i]) at++;
        bool mapped = at < count && maps[at].start <= codes[i];
        pprof_number(&p->part, 1, i + 1);
        if (mapped) pprof_number(&p->part, 2, at + 1);
        pprof_number(&p->part, 3, codes[i]);
        pprof_part(p, PROFILE_LOCATION);
    }
}

/* --- Samples -----------------------------------------------------------------------------------
 */

static void sample_stack(pprof *p, uint32_t site) {
    const profile_sites *s = &p->source->now->sites;
    if (site >= site_count(s)) return;
    const uintptr_t *pcs = site_pcs(s, site);
    for (uint32_t i = 0; i < site_at(s, site)->count; i++)
        pprof_varint(&p->inner, code_location(p, pcs[i] - 1));
    pprof_inner(p, 1);
}

static void sample_write(pprof *p, uint32_t number, uint64_t bytes_string) {
    const profile_bucket *b = pprof_bucket(p->source->now, number);
    pprof_values v = ebb__pprof_values(p->source, number);
    if (!v.allocs && !v.alloc_bytes && !v.live && !v.live_bytes) return;
    int64_t values[] = {v.allocs, v.alloc_bytes, v.live, v.live_bytes};
    sample_stack(p, b->site);
    for (int i = 0; i < 4; i++) pprof_varint(&p->inner, (uint64_t)values[i]);
    pprof_inner(p, 2);
    pprof_number(&p->inner, 1, bytes_string);
    pprof_number(&p->inner, 3, b->size);
    pprof_inner(p, 3);
    pprof_part(p, PROFILE_SAMPLE);
}

static void samples_write(pprof *p) {
    uint64_t bytes_string = pprof_string(p, "bytes");
    uint32_t buckets = bucket_count(&p->source->now->sites);
    for (uint32_t i = 1; i < buckets; i++) sample_write(p, i, bytes_string);
}

/* --- The profile -------------------------------------------------------------------------------
 */

static void head_write(pprof *p) {
    const pprof_source *s = p->source;
    pprof_string(p, "");
    pprof_type(p, PROFILE_SAMPLE_TYPE, "alloc_objects", "count");
    pprof_type(p, PROFILE_SAMPLE_TYPE, "alloc_space", "bytes");
    pprof_type(p, PROFILE_SAMPLE_TYPE, "inuse_objects", "count");
    pprof_type(p, PROFILE_SAMPLE_TYPE, "inuse_space", "bytes");
    pprof_type(p, PROFILE_PERIOD_TYPE, "space", "bytes");
    pprof_number(p->out, PROFILE_PERIOD, s->now->rate);
    pprof_number(p->out, PROFILE_TIME, s->now->wall_ns);
    if (s->before) pprof_number(p->out, PROFILE_DURATION, s->now->wall_ns - s->before->wall_ns);
    pprof_number(p->out, PROFILE_SHOWN, pprof_string(p, s->shown));
}

static void comments_write(pprof *p) {
    const profile_copy *now = p->source->now;
    const profile_cycle *c = &now->cycle;
    pprof_comment(p, "ebb %d.%d.%d, process %d", EBB_VERSION_MAJOR, EBB_VERSION_MINOR,
                  EBB_VERSION_PATCH, ebb__os_pid());
    if (now->rate == 0)
        pprof_comment(p, "sampling is off");
    else if (now->rate == 1)
        pprof_comment(p, "every object is sampled: exact");
    else
        pprof_comment(p,
                      "estimates: one byte in %zu is sampled, and a sample of an object of Z bytes "
                      "stands for 1 / (1 - e^(-Z / %zu)) of them",
                      now->rate, now->rate);
    if (c->number == 0)
        pprof_comment(p, "in use: all that was not released by hand; there was no cycle yet");
    else
        pprof_comment(p,
                      "in use: as of cycle %llu (%s), heap totals of the same moment: live %zu "
                      "bytes, goal %zu, footprint %zu",
                      (unsigned long long)c->number, c->full ? "full" : "minor", c->live_bytes,
                      c->goal_bytes, c->footprint_bytes);
    if (now->lost > 0)
        pprof_comment(p, "lost for want of memory: %llu samples", (unsigned long long)now->lost);
}

static bool pprof_write(const pprof_source *source, meta_buffer *out, const char *why) {
    pprof p = {.source = source, .out = out};
    head_write(&p);
    comments_write(&p);
    if (why) pprof_comment(&p, "no names: %s", why);
    codes_gather(&p);
    mappings_write(&p);
    locations_write(&p);
    samples_write(&p);
    bool whole = !out->failed && !p.codes.failed && !p.maps.failed;
    ebb__buffer_free(&p.part);
    ebb__buffer_free(&p.inner);
    ebb__buffer_free(&p.codes);
    ebb__buffer_free(&p.maps);
    return whole;
}

bool ebb__pprof_encode(const pprof_source *source, meta_buffer *out) {
    return pprof_write(source, out, NULL);
}

/* --- Names -------------------------------------------------------------------------------------
 */

#ifdef EBB_TOOL_PATH
# define TOOL_CONFIGURED EBB_TOOL_PATH
#else
# define TOOL_CONFIGURED ((const char *)NULL)
#endif

static const char *const filter_reasons[] = {
    [FILTER_MISSING] = "the ebb command was not found (EBB_PROFILE=tool=PATH)",
    [FILTER_FAILED] = "the ebb command failed",
    [FILTER_LATE] = "the ebb command took too long",
};

/* Once: who looks at the profile sees that it has no names, and not why. */
static void tool_is_missing(const char *named) {
    static _Atomic(bool) said;
    if (atomic_exchange_explicit(&said, true, memory_order_relaxed)) return;
    if (named)
        ebb__warn("profiles have no names: there is no ebb command at EBB_PROFILE=tool=%s", named);
    else
        ebb__warn("profiles have no names: there is no ebb command %s%sbeside the library "
                  "(EBB_PROFILE=tool=PATH says where it is)",
                  TOOL_CONFIGURED ? TOOL_CONFIGURED : "", TOOL_CONFIGURED ? ", " : "");
}

/* Runs `ebb symbolize`: the one that a setting names or, without one, that was installed with the
 * library, else the one beside it where both were moved. Not what PATH finds: TeX Live has another
 * command of that name. */
static enum os_filter_end tool_run(const char *option, const void *input, size_t size,
                                   os_output *output) {
    const uint64_t bound_ns = (uint64_t)20 * 1000000000;
    char pid[16], beside[1024];
    const char *named = ebb__settings.profile.tool;
    char *arguments[] = {"ebb", "symbolize", "--pid", pid, (char *)option, NULL};
    snprintf(pid, sizeof pid, "%d", ebb__os_pid());
    const char *first = named ? named : TOOL_CONFIGURED;
    enum os_filter_end end = FILTER_MISSING;
    if (first) end = ebb__os_filter(first, arguments, input, size, bound_ns, output);
    bool look = !named && !ebb__os_secure();
    if (end == FILTER_MISSING && look && ebb__os_program_beside("ebb", beside, sizeof beside))
        end = ebb__os_filter(beside, arguments, input, size, bound_ns, output);
    if (end == FILTER_MISSING) tool_is_missing(named);
    return end;
}

/* Something else may be called ebb, where the setting says so. */
static bool output_is_compressed(const os_output *o) {
    const unsigned char *bytes = o->bytes;
    return o->size > 18 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

bool ebb__pprof_make(const pprof_source *source, meta_buffer *out) {
    meta_buffer raw = {NULL, 0, 0, false};
    os_output named = {NULL, 0, 0};
    if (!pprof_write(source, &raw, NULL)) {
        ebb__buffer_free(&raw);
        return false;
    }
    enum os_filter_end end = tool_run(NULL, raw.bytes, raw.used, &named);
    ebb__buffer_free(&raw);
    if (end == FILTER_GOOD && !output_is_compressed(&named)) end = FILTER_FAILED;
    if (end == FILTER_GOOD)
        ebb__buffer_add(out, named.bytes, named.size);
    else
        pprof_write(source, out, filter_reasons[end]);
    if (named.bytes) ebb__os_unmap(named.bytes, named.room, OS_METADATA);
    return !out->failed;
}

bool ebb__pprof_names(const char *addresses, size_t size, meta_buffer *out) {
    os_output names = {NULL, 0, 0};
    enum os_filter_end end = tool_run("--addresses", addresses, size, &names);
    if (end == FILTER_GOOD) ebb__buffer_add(out, names.bytes, names.size);
    if (names.bytes) ebb__os_unmap(names.bytes, names.room, OS_METADATA);
    return end == FILTER_GOOD && !out->failed;
}
