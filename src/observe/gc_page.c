/* gc_page.c - /debug/ebb/gc: whether collection keeps up, and why the goal is what it is, for
 * `ebb gc`. docs/observe.md; what the words mean stands in docs/design.md, "Pacing".
 *
 * Judged is the window of the cycles that are remembered (history.c): what a program did an hour
 * ago says little about now. */
#include "endpoint.h"
#include "history.h"
#include "hooks.h"
#include "size.h"

typedef struct gc_look {
    cycle_record records[HISTORY_CYCLES];
    unsigned count;
    goal_parts parts;
    uint64_t goal, trigger, claimed, limit, cycles, forced, minor, age_ns, cpu_ns;
    uint64_t pause_max_ns, pause_total_ns, goal_passed_max, window_ns;
    enum dirty_mode mode;
    const char *dirty_why;
} gc_look;

static void gc_take(gc_look *l) {
    const cycle_state *c = &ebb__cycle;
    ebb__os_lock(&ebb__collector_lock);
    l->count = ebb__history_take(l->records, HISTORY_CYCLES);
    ebb__pace_parts(c->last.live, &l->parts);
    l->goal = atomic_load_explicit(&c->goal, memory_order_relaxed);
    l->trigger = atomic_load_explicit(&c->trigger, memory_order_relaxed);
    l->cycles = c->cycles;
    l->forced = c->forced;
    l->minor = c->minor;
    l->cpu_ns = c->cpu_ns;
    l->pause_max_ns = c->pause_max_ns;
    l->pause_total_ns = c->pause_total_ns;
    l->goal_passed_max = c->goal_passed_max;
    l->mode = ebb__dirty_mode(&l->dirty_why);
    l->age_ns = ebb__os_now_ns() - c->start_ns;
    ebb__os_unlock(&ebb__collector_lock);
    l->claimed = heap_claimed();
    l->limit = atomic_load_explicit(&ebb__space_limit, memory_order_relaxed);
    if (l->count) l->window_ns = ebb__os_now_ns() - l->records[0].start_ns;
}

/* --- Judging ------------------------------------------------------------------------------------
 */

typedef struct gc_sums {
    uint64_t wait_ns, assist_ns, cpu_ns, wall_ns;
    unsigned causes[CAUSE_COUNT], full, beside, over;
    const cycle_record *longest; /* stop of all */
} gc_sums;

static uint64_t gc_stop(const cycle_record *r) {
    return max_size(r->open_ns, r->pause_ns);
}

static gc_sums gc_sum(const gc_look *l) {
    gc_sums s = {.longest = l->records};
    for (unsigned i = 0; i < l->count; i++) {
        const cycle_record *r = &l->records[i];
        s.wait_ns += r->wait_ns;
        s.assist_ns += r->assist_ns;
        s.cpu_ns += r->cpu_ns;
        s.wall_ns += r->open_ns + r->mark_ns + r->pause_ns + r->sweep_ns;
        s.causes[r->cause]++;
        s.full += r->full;
        s.beside += r->beside;
        s.over += i > 0 && r->heap_after > l->records[i - 1].goal + MIB;
        if (gc_stop(r) > gc_stop(s.longest)) s.longest = r;
    }
    return s;
}

enum gc_state { GC_NONE, GC_KEEPS_UP, GC_BUSY, GC_BEHIND };
static const char *const gc_states[] = {[GC_NONE] = "no cycle yet",
                                        [GC_KEEPS_UP] = "keeps up",
                                        [GC_BUSY] = "busy",
                                        [GC_BEHIND] = "behind"};

/* Behind: threads had to wait for it, for more than a twentieth of the time. Busy: more than a
 * quarter of the processors' time goes to it. */
static enum gc_state gc_judge(const gc_look *l, const gc_sums *s) {
    double all = (double)l->window_ns;
    if (l->count == 0) return GC_NONE;
    if (size_percent((double)(s->wait_ns + s->assist_ns), all) > 5) return GC_BEHIND;
    bool busy = size_percent((double)s->cpu_ns, all * ebb__os_cpus()) > 25;
    return busy || size_percent((double)s->wall_ns, all) > 50 ? GC_BUSY : GC_KEEPS_UP;
}

/* What decides the goal. */
static const char *gc_bound(const goal_parts *p) {
    size_t room = max_size(p->by_percent, p->by_least);
    if (p->percent < 0) return p->by_limit == SIZE_MAX ? "off" : "limit";
    if (p->by_limit < room) return "limit";
    return p->by_percent >= p->by_least ? "percent" : "least";
}

/* --- Text ---------------------------------------------------------------------------------------
 */

static void gc_figure(reply *to, const char *name, uint64_t bytes, const char *says) {
    if (bytes >= SIZE_MAX / 2)
        ebb__reply_print(to, "%14s  %10s  %-9s %s\n", "", "none", name, says);
    else
        ebb__reply_print(to, "%14llu  %10s  %-9s %s\n", (unsigned long long)bytes,
                         ebb__size_text((int64_t)bytes).text, name, says);
}

static void gc_goal(reply *to, const gc_look *l) {
    const goal_parts *p = &l->parts;
    const char *bound = gc_bound(p);
    gc_figure(to, "live", p->live, "found reachable by the last cycle");
    gc_figure(to, "roots", p->roots, "searched besides: stacks, static data");
    gc_figure(to, "now", p->live + l->claimed, "live, and allocated since");
    gc_figure(to, "trigger", l->trigger >= SIZE_MAX / 4 ? SIZE_MAX : p->live + l->trigger,
              "the next cycle begins");
    gc_figure(to, "goal", l->goal, "the next cycle has ended");
    gc_figure(to, "limit", l->limit, "of all memory of Ebb's");
    ebb__reply_print(to, "\nWhy this goal: ");
    if (strcmp(bound, "off") == 0)
        ebb__reply_print(to, "there is none, growth cycles are off (EBB_GC=percent=off).\n");
    else if (strcmp(bound, "limit") == 0)
        ebb__reply_print(to,
                         "the limit leaves %s on top of what is live, less than the %s that "
                         "growth would be given.\nRaise EBB_GC=limit=, or keep less alive.\n",
                         ebb__size_text((int64_t)p->by_limit).text,
                         p->percent < 0
                             ? "much"
                             : ebb__size_text((int64_t)max_size(p->by_percent, p->by_least)).text);
    else if (strcmp(bound, "percent") == 0)
        ebb__reply_print(to,
                         "%d %% of live and roots, %s%s, come on top of live. "
                         "EBB_GC=percent=N changes it.\n",
                         p->percent, p->passed ? "less what minor cycles let pass, " : "",
                         ebb__size_text((int64_t)p->by_percent).text);
    else
        ebb__reply_print(to,
                         "the least room between cycles, %s, comes on top of live; %d %% of "
                         "live and roots would be %s.\n",
                         ebb__size_text((int64_t)p->by_least).text, p->percent,
                         ebb__size_text((int64_t)p->by_percent).text);
}

static void gc_longest(reply *to, const cycle_record *r) {
    if (r->open_ns > r->pause_ns) {
        ebb__reply_print(to,
                         "Longest stop of these: %s, the first of cycle %llu, which arms the "
                         "heap.\n",
                         ebb__time_text(r->open_ns).text, (unsigned long long)r->number);
        return;
    }
    ebb__reply_print(to,
                     "Longest stop of these: %s, of cycle %llu: %s until all threads stood, %s "
                     "looking for\nwritten pages, %s listing roots, %s marking what was left%s.\n",
                     ebb__time_text(r->pause_ns).text, (unsigned long long)r->number,
                     ebb__time_text(r->stop_ns).text, ebb__time_text(r->look_ns).text,
                     ebb__time_text(r->roots_ns).text, ebb__time_text(r->drain_ns).text,
                     r->beside ? "" : " (the whole cycle was one stop)");
}

static void gc_advice(reply *to, const gc_look *l, const gc_sums *s) {
    if (s->causes[CAUSE_LIMIT])
        ebb__reply_print(to, "%u of these cycles were made because the memory limit was reached.\n",
                         s->causes[CAUSE_LIMIT]);
    if (s->causes[CAUSE_FORCED] * 2 > l->count)
        ebb__reply_print(to,
                         "%u of these cycles were forced: the program calls ebb_collect or "
                         "ebb_release itself.\n",
                         s->causes[CAUSE_FORCED]);
    if (s->over)
        ebb__reply_print(to,
                         "The heap was over its goal at the end of %u of them; by %s at most "
                         "since the start.\n",
                         s->over, ebb__size_text((int64_t)l->goal_passed_max).text);
    if (s->full == l->count && l->mode != DIRTY_OFF && l->count > 4)
        ebb__reply_print(to, "All of these were full: minor ones are not worth it here, or all "
                             "were asked for.\n");
}

static void gc_verdict(reply *to, const gc_look *l, const gc_sums *s) {
    enum gc_state state = gc_judge(l, s);
    ebb__reply_print(to, "\nVerdict: %s.\n", gc_states[state]);
    if (state == GC_NONE) return;
    ebb__reply_print(
        to,
        "In the last %u cycles, %s, threads waited for collection for %s and helped it for %s "
        "(%.1f %% of\nthe time); it took %.1f %% of all processor time, and was under way for %.1f "
        "%% of the time.\n",
        l->count, ebb__time_text(l->window_ns).text, ebb__time_text(s->wait_ns).text,
        ebb__time_text(s->assist_ns).text,
        size_percent((double)(s->wait_ns + s->assist_ns), (double)l->window_ns),
        size_percent((double)s->cpu_ns, (double)l->window_ns * ebb__os_cpus()),
        size_percent((double)s->wall_ns, (double)l->window_ns));
    if (state != GC_KEEPS_UP)
        ebb__reply_print(to, "What helps: a higher percentage or limit (cycles become rarer), "
                             "fewer allocations, more threads\nfor marking (EBB_GC=background=N), "
                             "large data without pointers in ebb_alloc_data or a region.\n");
    gc_advice(to, l, s);
    gc_longest(to, s->longest);
}

static void gc_text(reply *to, const gc_look *l) {
    gc_sums s = gc_sum(l);
    ebb__reply_begin(to, 200, EBB__TEXT, NULL);
    ebb__reply_print(to, "Collection in process %d: %llu cycles in %s, %llu minor, %llu forced\n\n",
                     ebb__os_pid(), (unsigned long long)l->cycles, ebb__time_text(l->age_ns).text,
                     (unsigned long long)l->minor, (unsigned long long)l->forced);
    gc_goal(to, l);
    gc_verdict(to, l, &s);
    if (l->mode == DIRTY_OFF && l->cycles)
        ebb__reply_print(to,
                         "Nobody tells which pages were written (%s): each cycle is full, and "
                         "stops the program\nfrom its first step to its last.\n",
                         *l->dirty_why ? l->dirty_why : "EBB_GC=dirty=off");
    if (l->count == 0) return;
    ebb__reply_print(to, "\n%8s  %-7s %-14s %10s %10s %10s  %9s %9s %9s\n", "cycle", "cause",
                     "kind", "live", "goal after", "freed", "stop", "waited", "helped");
    for (unsigned i = l->count > 16 ? l->count - 16 : 0; i < l->count; i++) {
        const cycle_record *r = &l->records[i];
        ebb__reply_print(
            to, "%8llu  %-7s %-14s %10s %10s %10s  %9s %9s %9s\n", (unsigned long long)r->number,
            ebb__cause_names[r->cause], ebb__cycle_kind(r), ebb__size_text((int64_t)r->live).text,
            r->goal >= SIZE_MAX / 2 ? "none" : ebb__size_text((int64_t)r->goal).text,
            ebb__size_text((int64_t)r->freed_bytes).text, ebb__time_text(gc_stop(r)).text,
            ebb__time_text(r->wait_ns).text, ebb__time_text(r->assist_ns).text);
    }
}

/* --- JSON ---------------------------------------------------------------------------------------
 */

static void gc_json_cycle(reply *to, const cycle_record *r) {
    ebb__reply_print(
        to,
        "{\"number\":%llu,\"cause\":\"%s\",\"kind\":\"%s\",\"live\":%zu,\"goal\":%llu,"
        "\"freed\":%zu,\"open_ns\":%llu,\"mark_ns\":%llu,\"pause_ns\":%llu,\"sweep_ns\":%llu,"
        "\"stop_ns\":%llu,\"look_ns\":%llu,\"roots_ns\":%llu,\"drain_ns\":%llu,\"wait_ns\":%llu,"
        "\"assist_ns\":%llu,\"cpu_ns\":%llu}",
        (unsigned long long)r->number, ebb__cause_names[r->cause], ebb__cycle_kind(r), r->live,
        (unsigned long long)r->goal, r->freed_bytes, (unsigned long long)r->open_ns,
        (unsigned long long)r->mark_ns, (unsigned long long)r->pause_ns,
        (unsigned long long)r->sweep_ns, (unsigned long long)r->stop_ns,
        (unsigned long long)r->look_ns, (unsigned long long)r->roots_ns,
        (unsigned long long)r->drain_ns, (unsigned long long)r->wait_ns,
        (unsigned long long)r->assist_ns, (unsigned long long)r->cpu_ns);
}

static void gc_json_size(reply *to, const char *name, uint64_t bytes) {
    if (bytes >= SIZE_MAX / 2)
        ebb__reply_print(to, ",\"%s\":null", name);
    else
        ebb__reply_print(to, ",\"%s\":%llu", name, (unsigned long long)bytes);
}

static void gc_json(reply *to, const gc_look *l) {
    const goal_parts *p = &l->parts;
    gc_sums s = gc_sum(l);
    ebb__reply_begin(to, 200, EBB__JSON, NULL);
    ebb__reply_print(to,
                     "{\"pid\":%d,\"verdict\":\"%s\",\"goal_by\":\"%s\",\"cycles\":%llu,"
                     "\"minor\":%llu,\"forced\":%llu,\"age_ns\":%llu,\"cpu_ns\":%llu,"
                     "\"pause_max_ns\":%llu,\"pause_total_ns\":%llu,\"live\":%zu,\"roots\":%zu,"
                     "\"claimed\":%llu,\"percent\":%d",
                     ebb__os_pid(), gc_states[gc_judge(l, &s)], gc_bound(p),
                     (unsigned long long)l->cycles, (unsigned long long)l->minor,
                     (unsigned long long)l->forced, (unsigned long long)l->age_ns,
                     (unsigned long long)l->cpu_ns, (unsigned long long)l->pause_max_ns,
                     (unsigned long long)l->pause_total_ns, p->live, p->roots,
                     (unsigned long long)l->claimed, p->percent);
    gc_json_size(to, "goal", l->goal);
    gc_json_size(to, "limit", l->limit);
    gc_json_size(to, "room_by_percent", p->by_percent);
    gc_json_size(to, "room_least", p->by_least);
    gc_json_size(to, "room_by_limit", p->by_limit);
    ebb__reply_print(to,
                     ",\"window_ns\":%llu,\"wait_ns\":%llu,\"assist_ns\":%llu,\"busy_ns\":%llu,"
                     "\"dirty\":\"%s\",\"dirty_why\":",
                     (unsigned long long)l->window_ns, (unsigned long long)s.wait_ns,
                     (unsigned long long)s.assist_ns, (unsigned long long)s.wall_ns,
                     ebb__dirty_names[l->mode]);
    ebb__reply_json_string(to, l->dirty_why);
    ebb__reply_print(to, ",\"last\":[");
    for (unsigned i = 0; i < l->count; i++) {
        ebb__reply_print(to, i ? ",\n" : "\n");
        gc_json_cycle(to, &l->records[i]);
    }
    ebb__reply_print(to, "]}\n");
}

static void gc_answer(const request *r, reply *to) {
    gc_look l = {.count = 0};
    if (!ebb__heap_start()) {
        ebb__reply_error(to, 503, "%s", ebb_error_text(EBB_ENOMEM));
        return;
    }
    gc_take(&l);
    if (ebb__request_is(r, "format", "json"))
        gc_json(to, &l);
    else
        gc_text(to, &l);
}

const endpoint ebb__endpoint_gc = {
    .path = "/debug/ebb/gc",
    .says = "whether collection keeps up, and why the goal is what it is",
    .answer = gc_answer};
