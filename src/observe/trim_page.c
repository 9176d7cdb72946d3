/* trim_page.c - /debug/ebb/trim: when the system gets free pages back, for `ebb trim`.
 * docs/observe.md; the rule is src/gc/service.c's.
 *
 *   ?now=1          to a POST: collects, gives all free pages back, and says what came back */
#include "endpoint.h"
#include "memory.h"
#include "size.h"
#include "turn.h"

enum { TRIM_AGES = 5 };

/* Bytes of resident free pages by how long they have been free; below each bound. */
static const struct trim_age {
    uint64_t below_ns;
    const char *name;
} trim_ages[TRIM_AGES] = {{2000000000u, "under 2 s"},
                          {10000000000u, "2 to 10 s"},
                          {60000000000u, "10 to 60 s"},
                          {600000000000u, "1 to 10 min"},
                          {UINT64_MAX, "longer"}};

typedef struct trim_look {
    uint64_t bytes[TRIM_AGES], runs[TRIM_AGES];
    uint64_t free, aged, returned, goal; /* aged: of free, old enough to go */
    service_look service;
} trim_look;

static void trim_run(const span *s, uint64_t now, trim_look *t) {
    uint64_t bytes = (uint64_t)s->resident_pages << PAGE_SHIFT;
    uint64_t age = now > s->freed_ns ? now - s->freed_ns : 0;
    int i = 0;
    if (bytes == 0) return;
    while (age >= trim_ages[i].below_ns) i++;
    t->bytes[i] += bytes;
    t->runs[i]++;
    t->free += bytes;
    if (age >= t->service.age_ns) t->aged += bytes;
}

static void trim_stopped(const root_set *roots, void *arg) {
    trim_look *t = arg;
    uint64_t now = ebb__os_now_ns();
    (void)roots;
    ebb__service_look(&t->service);
    for (uint32_t n = 1; n < ebb__space.span_count; n++)
        if (span_at(n)->state == SPAN_FREE) trim_run(span_at(n), now, t);
    for (const zone *z = ebb__space.zones; z < ebb__space.zones + ZONE_COUNT; z++)
        t->returned += (uint64_t)(z->free_pages - z->resident_free_pages) << PAGE_SHIFT;
    t->goal = atomic_load_explicit(&ebb__cycle.goal, memory_order_relaxed);
}

/* What goes at the next look: what is old enough, down to what is kept. */
static uint64_t trim_soon(const trim_look *t) {
    uint64_t over = t->free > t->service.keep_bytes ? t->free - t->service.keep_bytes : 0;
    if (!t->service.started || t->service.settled) return 0;
    return min_size(over, t->aged);
}

/* --- Text ---------------------------------------------------------------------------------------
 */

static void trim_kept(reply *to, const trim_look *t) {
    const service_look *s = &t->service;
    if (t->goal >= SIZE_MAX / 2) {
        ebb__reply_print(to,
                         "Nothing is kept for a goal: collection by growth is off, so each "
                         "page that has been free for %s goes.\n",
                         ebb__time_text(s->age_ns).text);
        return;
    }
    ebb__reply_print(to,
                     "Kept: up to %s, because the heap will want them again before its next cycle: "
                     "the goal is %s\nand a tenth, and %s are in use. EBB_GC=percent=N lowers the "
                     "goal (ebb gc says what it is made of).\n",
                     ebb__size_text((int64_t)s->keep_bytes).text,
                     ebb__size_text((int64_t)t->goal).text,
                     ebb__size_text((int64_t)s->used_bytes).text);
}

static void trim_when(reply *to, const trim_look *t) {
    const service_look *s = &t->service;
    uint64_t soon = trim_soon(t);
    if (!s->started) {
        ebb__reply_print(to, "Nothing goes back by itself yet: the background thread starts with "
                             "the first collection.\n");
        return;
    }
    if (soon)
        ebb__reply_print(to,
                         "Next: %s go back within a second: free for more than %s and not "
                         "kept.\n",
                         ebb__size_text((int64_t)soon).text, ebb__time_text(s->age_ns).text);
    else if (t->free && !s->settled)
        ebb__reply_print(to, "Next: nothing; %s\n",
                         t->free <= s->keep_bytes ? "all of it is kept for the goal."
                                                  : "what is over that is younger than 2 s.");
    if (s->settled)
        ebb__reply_print(to,
                         "The program is idle: a collection was made and all went back; looked "
                         "at again within %s.\n",
                         ebb__time_text(s->rest_ns).text);
    else if (s->idle_seconds == 0)
        ebb__reply_print(to, "The rest stays: collections of an idle program are off "
                             "(EBB_GC=idle=off).\n");
    else
        ebb__reply_print(
            to,
            "The rest: %u s after the program stops allocating (%u of %u s of quiet so "
            "far) one collection\nis made, and every free page goes back.\n",
            s->idle_seconds, s->quiet_seconds, s->idle_seconds);
}

static void trim_text(reply *to, const trim_look *t) {
    ebb__reply_begin(to, 200, EBB__TEXT, NULL);
    ebb__reply_print(to, "Free pages of process %d: %s resident, that the system could have\n\n",
                     ebb__os_pid(), ebb__size_text((int64_t)t->free).text);
    for (int i = 0; i < TRIM_AGES; i++)
        ebb__reply_print(to, "%14llu  %10s  free for %-12s in %llu runs\n",
                         (unsigned long long)t->bytes[i], ebb__size_text((int64_t)t->bytes[i]).text,
                         trim_ages[i].name, (unsigned long long)t->runs[i]);
    ebb__reply_print(to, "%14llu  %10s  given back already, or never touched\n\n",
                     (unsigned long long)t->returned, ebb__size_text((int64_t)t->returned).text);
    trim_kept(to, t);
    trim_when(to, t);
    ebb__reply_print(to, "At once: ebb trim %d, or ebb_release() in the program.\n", ebb__os_pid());
}

static void trim_json(reply *to, const trim_look *t) {
    const service_look *s = &t->service;
    ebb__reply_begin(to, 200, EBB__JSON, NULL);
    ebb__reply_print(to, "{\"pid\":%d,\"free\":%llu,\"returned\":%llu,\"ages\":[", ebb__os_pid(),
                     (unsigned long long)t->free, (unsigned long long)t->returned);
    for (int i = 0; i < TRIM_AGES; i++)
        ebb__reply_print(to, "%s{\"age\":\"%s\",\"bytes\":%llu,\"runs\":%llu}", i ? "," : "",
                         trim_ages[i].name, (unsigned long long)t->bytes[i],
                         (unsigned long long)t->runs[i]);
    ebb__reply_print(to,
                     "],\"kept\":%zu,\"in_use\":%zu,\"goal\":%llu,\"next\":%llu,\"started\":%s,"
                     "\"idle\":%s,\"quiet_seconds\":%u,\"idle_seconds\":%u}\n",
                     s->keep_bytes, s->used_bytes, (unsigned long long)t->goal,
                     (unsigned long long)trim_soon(t), s->started ? "true" : "false",
                     s->settled ? "true" : "false", s->quiet_seconds, s->idle_seconds);
}

/* --- The page -----------------------------------------------------------------------------------
 */

static void trim_now(reply *to, bool json) {
    if (!ebb__turn_begin(to)) return;
    size_t before = ebb__os_rss(), returned = ebb_release(), after = ebb__os_rss();
    ebb__turn_end(to);
    ebb__reply_begin(to, 200, json ? EBB__JSON : EBB__TEXT, NULL);
    ebb__reply_print(to,
                     json ? "{\"returned\":%zu,\"rss_before\":%zu,\"rss_after\":%zu}\n"
                          : "%zu bytes of free pages went back; RSS was %zu bytes and is %zu\n",
                     returned, before, after);
    if (!json)
        ebb__reply_print(
            to, "%s %s. What is still there: ebb rss %d\n",
            ebb__size_text((int64_t)(after > before ? after - before : before - after)).text,
            after > before ? "more: the program went on meanwhile" : "less", ebb__os_pid());
}

static void trim_answer(const request *r, reply *to) {
    bool json = ebb__request_is(r, "format", "json"), now = ebb__request_is(r, "now", "1");
    trim_look t = {.free = 0};
    if (now != r->posted) {
        ebb__reply_error(to, now ? 405 : 400,
                         now ? "?now=1 has to be posted, as ebb trim and curl -X POST do"
                             : "what is posted here says ?now=1");
        return;
    }
    if (now) {
        trim_now(to, json);
        return;
    }
    if (!ebb__turn_begin(to)) return;
    int error = ebb__with_world_stopped(trim_stopped, &t);
    ebb__turn_end(to);
    if (error != 0)
        ebb__reply_error(to, 503, "%s", ebb_error_text(error));
    else if (json)
        trim_json(to, &t);
    else
        trim_text(to, &t);
}

const endpoint ebb__endpoint_trim = {
    .path = "/debug/ebb/trim",
    .says = "when the system gets free pages back; a POST to ?now=1 does it",
    .answer = trim_answer,
    .posts = true};
