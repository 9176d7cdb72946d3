/* settings.c - every variable and every getter and setter, limits, messages, statistics, events. */
#define GC_THREADS
#include "case.h"

#include <gc/gc_gcj.h>
#include <gc/gc_inline.h>
#include <gc/gc_mark.h>
#include <signal.h>
#include <stdbool.h>

/* --- There and back ------------------------------------------------------------------------- */

#define ROUND_TRIP(type, name, ...)                                         \
 do {                                                                       \
  const type values[] = {__VA_ARGS__};                                      \
  const type before = GC_get_##name();                                      \
  int bad = 0;                                                              \
  for (unsigned i = 0; i < sizeof values / sizeof *values; i++) {           \
   GC_set_##name(values[i]);                                                \
   bad += GC_get_##name() != values[i];                                     \
  }                                                                         \
  GC_set_##name(before);                                                    \
  say("%s: before %lld, %d of %zu not kept", #name, (long long)before, bad, \
      sizeof values / sizeof *values);                                      \
 } while (0)

/* Those that are variables too, and those that are not. */
static void variables_round_trip(void) {
    ROUND_TRIP(int, finalize_on_demand, 1, 0);
    ROUND_TRIP(int, java_finalization, 0, 1);
    ROUND_TRIP(int, dont_expand, 1, 0);
    ROUND_TRIP(int, full_freq, 3, 19);
    ROUND_TRIP(GC_word, non_gc_bytes, 1000, 0);
    ROUND_TRIP(int, no_dls, 1, 0);
    ROUND_TRIP(GC_word, free_space_divisor, 1, 2, 10);
    ROUND_TRIP(GC_word, max_retries, 5, 0);
    ROUND_TRIP(int, dont_precollect, 1, 0);
    ROUND_TRIP(unsigned long, time_limit, 7, GC_TIME_UNLIMITED);
}

static void others_round_trip(void) {
    ROUND_TRIP(int, rate, 3, 10);
    ROUND_TRIP(int, max_prior_attempts, 2, 1);
    ROUND_TRIP(int, disable_automatic_collection, 1, 0);
    ROUND_TRIP(int, force_unmap_on_gcollect, 1, 0);
}

BARE_CASE(before_it_begins) {
    ROUND_TRIP(int, find_leak, 0);
    ROUND_TRIP(int, all_interior_pointers, 1);
    variables_round_trip();
    ROUND_TRIP(int, manual_vdb_allowed, 1, 0);
    ROUND_TRIP(int, pages_executable, 0);
    others_round_trip();
    GC_set_suspend_signal(SIGUSR1);
    GC_set_thr_restart_signal(SIGUSR2);
    differs("the signal that stops threads is EBB_GC=signal's", "%d %d", GC_get_suspend_signal(),
            GC_get_thr_restart_signal());
    GC_set_pages_executable(0);
    GC_INIT();
    say("begun: %d", GC_is_init_called());
}

CASE(after_it_began) {
    variables_round_trip();
    others_round_trip();
    ROUND_TRIP(size_t, min_bytes_allocd, 100000, 1);
    ROUND_TRIP(GC_word, allocd_bytes_per_finalizer, 100, 0);
    GC_reachable_here(GC_malloc(10));
}

CASE(time_limit_tv) {
    struct GC_timeval_s limit = {3, 500};
    GC_set_time_limit_tv(limit);
    struct GC_timeval_s now = GC_get_time_limit_tv();
    say("%lu ms %lu ns, in ms %lu", now.tv_ms, now.tv_nsec, GC_get_time_limit());
}

static void some_event(GC_EventType event) {
    (void)event;
}

static void some_resize(GC_word size) {
    (void)size;
}

static void *some_oom(size_t size) {
    (void)size;
    return NULL;
}

static void some_call(void) {
}

static void some_object(void *object) {
    (void)object;
}

static int never_stop(void) {
    return 0;
}

static int always_stop(void) {
    return 1;
}

static void some_abort(const char *text) {
    (void)text;
}

#define KEPT(name, value)                                                   \
 do {                                                                       \
  __typeof__(GC_get_##name()) before = GC_get_##name();                     \
  GC_set_##name(value);                                                     \
  int kept = GC_get_##name() == (value);                                    \
  GC_set_##name(before);                                                    \
  say("%s: %s before, kept %s", #name, before ? "one" : "none", yes(kept)); \
 } while (0)

CASE(procedures) {
    KEPT(on_collection_event, some_event);
    KEPT(on_heap_resize, some_resize);
    KEPT(oom_fn, some_oom);
    KEPT(finalizer_notifier, some_call);
    KEPT(await_finalize_proc, some_object);
    KEPT(start_callback, some_call);
    KEPT(push_other_roots, some_call);
    KEPT(stop_func, always_stop);
    KEPT(warn_proc, GC_ignore_warn_proc);
    KEPT(abort_func, some_abort);
}

/* --- Variables ------------------------------------------------------------------------------ */

#define VARIABLE(type, name, value)                                                              \
 do {                                                                                            \
  type before = GC_##name;                                                                       \
  GC_##name = (value);                                                                           \
  int same = GC_get_##name() == (value);                                                         \
  GC_##name = before;                                                                            \
  say("GC_%s: %lld, the getter says what was written: %s", #name, (long long)before, yes(same)); \
 } while (0)

CASE(variables) {
    VARIABLE(int, finalize_on_demand, 1);
    VARIABLE(int, java_finalization, 0);
    VARIABLE(int, dont_expand, 1);
    VARIABLE(int, full_freq, 7);
    VARIABLE(GC_word, non_gc_bytes, 7);
    VARIABLE(int, no_dls, 1);
    VARIABLE(GC_word, free_space_divisor, 7);
    VARIABLE(GC_word, max_retries, 7);
    VARIABLE(int, dont_precollect, 1);
    VARIABLE(unsigned long, time_limit, 7);
    VARIABLE(int, find_leak, 0);
    VARIABLE(int, all_interior_pointers, 1);
    int entire = GC_use_entire_heap;
    GC_use_entire_heap = 1;
    say("GC_use_entire_heap: %d, then %d", entire, GC_use_entire_heap);
    say("GC_gc_no: %s", yes(GC_gc_no == GC_get_gc_no()));
    say("GC_dont_gc: %d, GC_parallel: %s", GC_dont_gc, yes(GC_parallel == GC_get_parallel()));
    say("GC_oom_fn: %s", yes(GC_oom_fn == GC_get_oom_fn()));
    say("GC_on_heap_resize: %s", yes(GC_on_heap_resize == NULL));
    say("GC_finalizer_notifier: %s", yes(GC_finalizer_notifier == NULL));
    say("GC_stackbottom: %s", yes(GC_stackbottom != NULL));
    say("GC_debug_header_size: %s", yes(GC_debug_header_size > 0));
    say("the heap's bounds: %s",
        yes(GC_least_plausible_heap_addr < GC_greatest_plausible_heap_addr));
    say("print procedures: %s", yes(GC_same_obj_print_proc && GC_is_valid_displacement_print_proc &&
                                    GC_is_visible_print_proc));
}

BARE_CASE(variables_before_it_begins) {
    GC_all_interior_pointers = 1;
    GC_finalize_on_demand = 1;
    GC_free_space_divisor = 5;
    GC_dont_gc = 1;
    GC_INIT();
    say("%d %d %lu, disabled %d", GC_get_all_interior_pointers(), GC_get_finalize_on_demand(),
        (unsigned long)GC_get_free_space_divisor(), GC_is_disabled());
}

/* --- Off and on ----------------------------------------------------------------------------- */

CASE(disabled) {
    say("%d", GC_is_disabled());
    GC_disable();
    GC_disable();
    GC_word before = GC_get_gc_no();
    GC_gcollect();
    for (int i = 0; i < 200000; i++) GC_reachable_here(GC_malloc(100));
    say("%s, no collection: %s, GC_dont_gc %d", yes(GC_is_disabled()),
        yes(GC_get_gc_no() == before), GC_dont_gc);
    GC_enable();
    say("%s", yes(GC_is_disabled()));
    GC_gcollect();
    say("no collection: %s", yes(GC_get_gc_no() == before));
    GC_enable();
    GC_gcollect();
    say("%s, a collection: %s", yes(GC_is_disabled()), yes(GC_get_gc_no() > before));
}

CASE(automatic_off) {
    GC_set_disable_automatic_collection(1);
    GC_word before = GC_get_gc_no();
    for (int i = 0; i < 200000; i++) GC_reachable_here(GC_malloc(100));
    differs("collects at every n-th allocation nevertheless, if asked to", "%s",
            yes(GC_get_gc_no() == before));
    GC_gcollect();
    say("by the program: %s", yes(GC_get_gc_no() > before));
    GC_set_disable_automatic_collection(0);
}

CASE(try_to_collect) {
    GC_word before = GC_get_gc_no();
    say("always stopped: %d", GC_try_to_collect(always_stop));
    say("never: %d, a collection: %s", GC_try_to_collect(never_stop), yes(GC_get_gc_no() > before));
    GC_disable();
    say("disabled: %d", GC_try_to_collect(never_stop));
    GC_enable();
    GC_gcollect_and_unmap();
    say("unmapped");
}

CASE(incremental) {
    GC_enable_incremental();
    say("incremental: %d", GC_is_incremental_mode());
    for (int i = 0; i < 100 && GC_collect_a_little(); i++) continue;
    GC_start_incremental_collection();
    differs("how pages are watched", "%d", GC_incremental_protection_needs());
}

/* --- Memory --------------------------------------------------------------------------------- */

static size_t oom_asked;

static void *count_oom(size_t size) {
    oom_asked += size;
    return NULL;
}

CASE(out_of_memory) {
    GC_set_warn_proc(GC_ignore_warn_proc);
    GC_set_oom_fn(count_oom);
    void *p = GC_malloc((size_t)1 << 50);
    say("%s, asked for as much: %s", p ? "an object" : "null", yes(oom_asked >= (size_t)1 << 50));
    say("atomic: %s", GC_malloc_atomic((size_t)1 << 50) ? "an object" : "null");
    volatile size_t all = SIZE_MAX;
    say("all there is: %s", GC_malloc(all) ? "an object" : "null");
    say("a page less: %s", GC_malloc(all - 4096) ? "an object" : "null");
    say("and then: %s", GC_malloc(100) ? "an object" : "null");
}

static char reserve[100];

static void *give_reserve(size_t size) {
    (void)size;
    return reserve;
}

CASE(out_of_memory_gives_another) {
    GC_set_warn_proc(GC_ignore_warn_proc);
    GC_oom_fn = give_reserve;
    void *volatile given = GC_malloc((size_t)1 << 50);
    say("%s", yes(given == reserve));
    given = GC_realloc(GC_malloc(10), (size_t)1 << 50);
    say("realloc: %s", yes(given == reserve));
}

CASE(max_heap_size) {
    static void *volatile kept[1000];
    GC_set_warn_proc(GC_ignore_warn_proc);
    GC_set_oom_fn(count_oom);
    GC_set_max_heap_size((GC_word)64 << 20);
    int had = 0;
    while (had < 1000 && (kept[had] = GC_malloc_atomic((size_t)1 << 20))) had++;
    say("a limit of 64 MB gives 20 to 64 objects of 1 MB: %s", yes(had >= 20 && had <= 64));
    for (int i = 0; i < 1000; i++) kept[i] = NULL;
    GC_gcollect();
    say("and again when they are dead: %s", yes(GC_malloc_atomic((size_t)1 << 20) != NULL));
    int garbage = 0;
    for (int i = 0; i < 1000; i++) garbage += GC_malloc_atomic((size_t)1 << 20) == NULL;
    say("of 1000 MB of garbage %d are refused", garbage);
    GC_set_max_heap_size(0);
}

CASE(expand) {
    size_t before = GC_get_heap_size();
    say("%d", GC_expand_hp((size_t)8 << 20));
    differs("room is reserved, not counted, where collections are beside the program", "%s",
            yes(GC_get_heap_size() >= before + ((size_t)8 << 20)));
}

/* With a collection at every n-th allocation. */
static bool forced(void) {
    const char *mode = getenv("EBB_DEBUG");
    return mode && strstr(mode, "stress");
}

static bool garbage_is_collected(int kilobytes) {
    GC_word before = GC_get_gc_no();
    for (int i = 0; i < kilobytes; i++) GC_reachable_here(GC_malloc_atomic(1000));
    return GC_get_gc_no() != before;
}

BARE_CASE(expanded_heaps_are_not_collected) {
    GC_INIT();
    say("by 48 MB: %d", GC_expand_hp((size_t)48 << 20));
    say("40 MB: no collection %s", yes(forced() || !garbage_is_collected(40 << 10)));
    say("400 MB: a collection %s", yes(garbage_is_collected(400 << 10)));
}

/* --- Messages ------------------------------------------------------------------------------- */

static int warned;

static void count_warning(char *text, GC_word argument) {
    char line[500];
    snprintf(line, sizeof line, text, argument);
    warned += line[0] != 0;
}

CASE(warnings) {
    GC_set_warn_proc(count_warning);
    say("%s", yes(GC_get_warn_proc() == count_warning));
    GC_set_warn_proc(GC_ignore_warn_proc);
    GC_ignore_warn_proc("nothing %p", 0);
    say("ignored");
}

static void say_abort(const char *text) {
    say("told: %s", yes(text != NULL));
    fflush(stdout);
}

CASE(abort_on_oom) {
    GC_set_abort_func(say_abort);
    fflush(stdout);
    GC_abort_on_oom();
}

CASE(dump) {
    FILE *file = tmpfile();
    fflush(stdout);
    int before = dup(1);
    dup2(fileno(file), 1);
    GC_set_log_fd(fileno(file));
    GC_dump();
    GC_dump_named("by name");
    GC_dump_regions();
    GC_dump_finalization();
    fflush(stdout);
    dup2(before, 1);
    fseek(file, 0, SEEK_END);
    say("written: %s", yes(ftell(file) > 100));
}

/* --- Statistics ----------------------------------------------------------------------------- */

static void *volatile statistics_kept[1000];

CASE(statistics) {
    for (int i = 0; i < 1000; i++) statistics_kept[i] = GC_malloc(5000);
    collect();
    size_t total = GC_get_total_bytes();
    for (int i = 0; i < 1000; i++) GC_reachable_here(GC_malloc(1000));
    GC_word heap, empty, unmapped, since, all;
    GC_get_heap_usage_safe(&heap, &empty, &unmapped, &since, &all);
    GC_get_heap_usage_safe(NULL, NULL, NULL, NULL, NULL);
    say("the heap holds what is kept: %s", yes(heap >= 5000000 && GC_get_heap_size() >= 5000000));
    say("less is free than there is: %s", yes(empty <= heap));
    say("a million bytes were allocated: %s", yes(GC_get_total_bytes() - total >= 1000000));
    say("all is at least that: %s", yes(all >= 6000000 && since <= all));
    say("from the system: %s", yes(GC_get_obtained_from_os_bytes() >= GC_get_heap_size()));
    say("in use: %s", yes(GC_get_memory_use() >= 5000000));
    say("size classes hold what they are for: %s",
        yes(GC_get_size_map_at(1) >= 1 && GC_get_size_map_at(100) >= 100));
    say("out of the map: %s", yes(GC_get_size_map_at(1 << 20) == (size_t)-1));
}

static void *unsafe_stats(void *data) {
    return (void *)GC_get_prof_stats_unsafe(data, sizeof(struct GC_prof_stats_s));
}

CASE(prof_stats) {
    struct {
        struct GC_prof_stats_s known;
        GC_word unknown[2];
    } stats;
    collect();
    memset(&stats, 7, sizeof stats);
    GC_set_non_gc_bytes(12345);
    say("all: %s", yes(GC_get_prof_stats(&stats.known, sizeof stats.known) == sizeof stats.known));
    say("as others say: %s %s %s", yes(stats.known.gc_no == GC_get_gc_no()),
        yes(stats.known.non_gc_bytes == 12345),
        yes(stats.known.markers_m1 == (GC_word)GC_get_parallel()));
    say("sums: %s", yes(stats.known.heapsize_full >= stats.known.unmapped_bytes &&
                        stats.known.heapsize_full >= stats.known.free_bytes_full));
    size_t known = GC_get_prof_stats(&stats.known, sizeof stats);
    say("more than there is: %s, the rest %s", yes(known == sizeof stats.known),
        yes(stats.unknown[0] == (GC_word)-1 && stats.unknown[1] == (GC_word)-1));
    memset(&stats, 7, sizeof stats);
    known = GC_get_prof_stats(&stats.known, 3 * sizeof(GC_word));
    say("less: %zu, untouched %s", known,
        yes(stats.known.bytes_allocd_since_gc == 0x0707070707070707));
    say("unsafe: %s",
        yes((size_t)GC_call_with_alloc_lock(unsafe_stats, &stats.known) == sizeof stats.known));
}

CASE(counts_collections) {
    GC_word before = GC_get_gc_no();
    for (int i = 0; i < 5; i++) GC_gcollect();
    say("five: %s", yes(GC_get_gc_no() >= before + 5));
    GC_start_performance_measurement();
    for (int i = 0; i < 5; i++) GC_gcollect();
    say("not negative, under a minute: %s", yes(GC_get_full_gc_total_time() < 60000));
}

CASE(freed_bytes) {
    collect();
    size_t before = GC_get_expl_freed_bytes_since_gc();
    GC_free(GC_malloc(5000));
    differs("a collection in between begins anew", "%s",
            yes(GC_get_expl_freed_bytes_since_gc() >= before + 5000));
    say("%s", yes(GC_get_expl_freed_bytes_since_gc() < (size_t)1 << 30));
}

/* --- Events --------------------------------------------------------------------------------- */

static unsigned seen[16];
static int order_wrong, last_event = -1;
static unsigned started;

static void note_event(GC_EventType event) {
    seen[event]++;
    if (event == GC_EVENT_START) order_wrong += last_event != -1 && last_event != GC_EVENT_END;
    if (event == GC_EVENT_POST_STOP_WORLD) order_wrong += !seen[GC_EVENT_PRE_STOP_WORLD];
    if (event == GC_EVENT_POST_START_WORLD) order_wrong += !seen[GC_EVENT_PRE_START_WORLD];
    last_event = (int)event;
}

static void note_start(void) {
    started++;
}

CASE(events) {
    GC_set_on_collection_event(note_event);
    GC_set_start_callback(note_start);
    for (int i = 0; i < 3; i++) GC_gcollect();
    static const char *const names[] = {"start",       "mark start", "mark end", "reclaim start",
                                        "reclaim end", "end",        "pre stop", "post stop",
                                        "pre start",   "post start"};
    for (int i = 0; i < 10; i++) {
        if (i == GC_EVENT_RECLAIM_START || i == GC_EVENT_RECLAIM_END) continue;
        say("%s: %s", names[i], yes(seen[i] >= 3));
    }
    say("%d out of order, as many ends as starts: %s", order_wrong,
        yes(seen[GC_EVENT_START] == seen[GC_EVENT_END]));
    say("start callback: %s", yes(started >= 3));
}

static unsigned resized;

static void note_resize(GC_word size) {
    resized += size > 0;
}

CASE(resize) {
    GC_set_on_heap_resize(note_resize);
    for (int i = 0; i < 60; i++) statistics_kept[i] = GC_malloc_atomic((size_t)1 << 20);
    GC_gcollect();
    say("%s", yes(resized > 0));
}

/* --- Environment ---------------------------------------------------------------------------- */

BARE_CASE(environment_off) {
    setenv("GC_DONT_GC", "1", 1);
    GC_INIT();
    GC_word before = GC_get_gc_no();
    GC_gcollect();
    say("disabled %d, no collection: %s", GC_is_disabled() != 0, yes(GC_get_gc_no() == before));
}

BARE_CASE(environment_limit) {
    static void *volatile kept[1000];
    setenv("GC_MAXIMUM_HEAP_SIZE", "32M", 1);
    GC_set_warn_proc(GC_ignore_warn_proc);
    GC_INIT();
    int had = 0;
    while (had < 1000 && (kept[had] = GC_malloc_atomic((size_t)1 << 20))) had++;
    say("at most 32 objects of 1 MB: %s", yes(had <= 32 && had >= 8));
}

BARE_CASE(environment_initial) {
    setenv("GC_INITIAL_HEAP_SIZE", "48M", 1);
    GC_INIT();
    say("40 MB: no collection %s", yes(forced() || !garbage_is_collected(40 << 10)));
    say("begun");
}
