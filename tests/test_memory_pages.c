/* test_memory_pages.c - the pages about memory: what they say of planted faults, their JSON, their
 * errors, several readers at once. What the command prints is tried by tests/observe/accounting.sh.
 * See docs/design.md, "Accounting". */
#include "test.h"

#include <ebb/ebb.h>
#include <pthread.h>
#include <unistd.h>

#include "pages.h"

#define MIB ((size_t)1 << 20)

static page shown;
static void *held[100000];

static void show(const char *target) {
    CHECK_EQ(page_get(&shown, target), 0);
    CHECK_EQ(shown.status, 200);
    CHECK_EQ(shown.begins, 1);
}

static bool says(const char *text) {
    if (strstr(shown.text, text)) return true;
    fprintf(stderr, "not there: %s\n%.3000s\n", text, shown.text);
    return false;
}

/* The number behind "NAME": in what is shown. */
static long long json_number(const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(shown.text, key);
    CHECK(at != NULL);
    return strtoll(at + strlen(key), NULL, 10);
}

/* The bytes of one class. */
static long long json_class(const char *name) {
    char key[64];
    snprintf(key, sizeof key, "{\"name\":\"%s\"", name);
    const char *at = strstr(shown.text, key);
    CHECK(at != NULL);
    at = strstr(at, "\"bytes\":");
    return strtoll(at + 8, NULL, 10);
}

/* One JSON value with nothing behind it: brackets match, strings end, no comma stands alone. */
static void json_check(void) {
    char open[64];
    int depth = 0;
    bool string = false;
    const char *at = shown.text;
    CHECK_STR(shown.type, "application/json");
    for (; *at; at++) {
        if (string) {
            CHECK((unsigned char)*at >= ' ');
            if (*at == '\\') at++;
            string = *at != '"';
            continue;
        }
        if (*at == '"') string = true;
        if (*at == '{' || *at == '[') open[depth++] = *at == '{' ? '}' : ']';
        if (*at == '}' || *at == ']') CHECK(depth > 0 && open[--depth] == *at);
        if (*at == ',') CHECK(at[1] != '}' && at[1] != ']' && at[1] != ',');
    }
    CHECK(depth == 0 && !string);
}

static NOINLINE void objects_make(size_t count, size_t size) {
    for (size_t i = 0; i < count; i++) memset(held[i] = ebb_alloc_data(size), 1, size);
}

/* --- /debug/ebb/memory ---------------------------------------------------------------------- */

TEST(memory_as_text) {
    objects_make(1000, 1000);
    show("/debug/ebb/memory");
    CHECK_STR(shown.type, "text/plain; charset=utf-8");
    CHECK(says("Resident memory of process"));
    CHECK(says("objects that are alive"));
    CHECK(says("unexplained"));
    CHECK(says("the sum"));
    CHECK(says("What makes it smaller"));
    CHECK(!strstr(shown.text, "Outside Ebb, by name"));
    show("/debug/ebb/memory?outside=1");
    CHECK(says("Outside Ebb, by name"));
    CHECK(says("test_memory_pages"));
    CHECK(says("[stack]"));
}

static long long json_classes(void) {
    static const char *const classes[] = {
        "live",           "held",           "slice_tails",   "map_empty",     "dead",
        "free_pages",     "free_slots",     "span_ends",     "metadata",      "offheap",
        "outside_malloc", "outside_stacks", "outside_files", "outside_other", "unexplained"};
    long long sum = 0;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) sum += json_class(classes[i]);
    return sum;
}

TEST(memory_as_json) {
    objects_make(10000, 1000);
    show("/debug/ebb/memory?format=json&outside=1");
    json_check();
    CHECK_EQ(json_classes(), json_number("rss"));
    CHECK_EQ(json_number("pid"), getpid());
    CHECK(json_class("live") > 9 * (long long)MIB);
    CHECK(says("\"outside\":["));
    show("/debug/ebb/memory?format=json");
    json_check();
    CHECK(!strstr(shown.text, "\"outside\":["));
}

/* What go tool pprof makes of it is tried by tests/observe/accounting.sh. */
TEST(memory_as_a_profile) {
    objects_make(1000, 1000);
    show("/debug/pprof/memory");
    CHECK_STR(shown.type, "application/octet-stream");
    CHECK_STR(shown.filename, "memory.pb");
    CHECK(memmem(shown.text, shown.size, "memory_space", 12) != NULL);
    CHECK(memmem(shown.text, shown.size, "outside_files", 13) != NULL);
    CHECK(memmem(shown.text, shown.size, "test_memory_pages", 17) != NULL);
    show("/debug/pprof/memory?debug=1");
    CHECK(says("Resident memory of process"));
    show("/debug/pprof/memory?debug=0");
    CHECK_STR(shown.type, "application/octet-stream");
}

EBB_SLICE(held_bytes, char);

/* Half of 16 MiB are used, and all of it resident. */
static NOINLINE held_bytes half_make(void) {
    held_bytes s = {0};
    CHECK_EQ(ebb_grow(&s, 16 * MIB), 0);
    memset(s.ptr, 1, 16 * MIB);
    s.len = 8 * MIB;
    return s;
}

/* What a stack alone leads to, as far as it is resident: not what was never touched, nor what is
 * beyond a slice's length. */
TEST(memory_held_by_a_stack) {
    objects_make(10000, 1000);
    void *volatile block = ebb_alloc_data(64 * MIB);
    CHECK(block != NULL);
    memset(block, 1, 24 * MIB);
    volatile held_bytes half = half_make();
    test_clear_stack(); /* what is left there has the shape of a slice of 16 MiB */
    show("/debug/ebb/memory?format=json");
    long long live = json_class("live");
    CHECK_EQ(json_class("held"), 0);
    CHECK(says("\"held_known\":false"));
    CHECK(json_class("slice_tails") >= 8 * (long long)MIB);
    show("/debug/ebb/memory?format=json&conservative=1");
    json_check();
    CHECK(says("\"held_known\":true"));
    CHECK_EQ(json_classes(), json_number("rss"));
    CHECK(json_class("held") >= 32 * (long long)MIB);
    CHECK(json_class("held") < 35 * (long long)MIB);
    CHECK(json_class("live") + 32 * (long long)MIB <= live);
    CHECK(json_class("live") > 9 * (long long)MIB);
    show("/debug/pprof/memory?conservative=1&debug=1");
    CHECK(says("held was found by a snapshot"));
    CHECK_EQ(page_get(&shown, "/debug/ebb/memory?conservative=1&seconds=0"), 0);
    CHECK_EQ(shown.status, 400);
    CHECK(((char *)block)[24 * MIB - 1] == 1 && half.len == 8 * MIB);
}

/* --- /debug/ebb/slack ----------------------------------------------------------------------- */

typedef struct planted_point {
    double x, y;
} planted_point;
EBB_SLICE(planted_points, planted_point);
EBB_MAP(planted_map, int64_t, int64_t);
EBB_MAP(planted_full, int64_t, planted_point);

static planted_points cut;
static planted_map emptied, paused, reserved;
static planted_full full;

/* A copy of the slice on the stack would count, with its length. */
static NOINLINE void cut_make(void) {
    cut = ebb_slice_make(planted_points, 100000);
    memset(cut.ptr, 1, 100000 * sizeof *cut.ptr);
    cut.len = 10;
    __asm__ volatile("" : : "r"(&cut) : "memory"); /* or what nobody reads is not stored */
}

TEST(slack_names_kinds_and_calls) {
    cut_make();
    test_clear_stack();
    ebb_map_grow_only(&emptied);
    ebb_map_pause_shrinking(&paused, true);
    for (int64_t i = 0; i < 50000; i++) {
        ebb_map_put(&emptied, i, i);
        ebb_map_put(&paused, i, i);
        ebb_map_put(&full, i, (planted_point){0, 0});
    }
    for (int64_t i = 0; i < 50000; i++) {
        ebb_map_delete(&emptied, i);
        ebb_map_delete(&paused, i);
    }
    ebb_map_reserve(&reserved, 40000);
    show("/debug/ebb/slack");
    CHECK(says("lower bounds"));
    CHECK(says("maps planted_map: ebb_map_compact; it was told ebb_map_grow_only"));
    CHECK(says("maps planted_map: ebb_map_pause_shrinking(&m, false), ebb_map_compact"));
    CHECK(says("maps planted_full: "));
    CHECK(says("ebb_clip, or ebb_shrink after each cut"));
    show("/debug/ebb/slack?format=json");
    json_check();
    CHECK(json_number("slice_tails") >= 99000 * 16 && json_number("slice_tails") < 101000 * 16);
    CHECK(json_number("map_empty") > 2 * 50000 * 16);
    CHECK(says("\"places\":["));
    show("/debug/ebb/slack?top=1");
    CHECK(says("kinds more: ?top="));
}

/* Each allocation is a sample, so that what is estimated is exact. */
TEST(slack_names_the_place) {
    setenv("EBB_PROFILE", "rate=1", 1);
    cut_make();
    test_clear_stack();
    show("/debug/ebb/slack");
    CHECK(says("By the place that made them"));
    CHECK(says(", 1 sampled, made at"));
    CHECK(says("@0x"));
    show("/debug/ebb/slack?format=json");
    json_check();
    const char *place = strstr(shown.text, "\"places\":[");
    CHECK(place && strstr(place, "\"sampled\":1,\"stack\":[\"@0x"));
    long long slack = strtoll(strstr(place, "\"slack\":") + 8, NULL, 10);
    CHECK_EQ(slack, json_number("slice_tails"));
    show("/debug/ebb/memory?format=json");
    CHECK(json_number("metadata_profile") > 0);
}

TEST(slack_without_a_profile) {
    setenv("EBB_PROFILE", "rate=off", 1);
    cut_make();
    test_clear_stack();
    show("/debug/ebb/slack");
    CHECK(!strstr(shown.text, "By the place that made them"));
}

TEST(slack_of_nothing) {
    show("/debug/ebb/slack");
    CHECK(says("0 B in tails of slices, 0 B in empty map slots"));
    show("/debug/ebb/slack?format=json");
    json_check();
}

TEST(slack_goes_with_the_call) {
    ebb_map_grow_only(&emptied);
    for (int64_t i = 0; i < 50000; i++) ebb_map_put(&emptied, i, i);
    for (int64_t i = 0; i < 50000; i++) ebb_map_delete(&emptied, i);
    show("/debug/ebb/slack?format=json");
    CHECK(json_number("can_go") > 50000 * 16);
    ebb_map_compact(&emptied);
    CHECK_EQ(ebb_collect(), 0);
    show("/debug/ebb/slack?format=json");
    CHECK_EQ(json_number("map_empty"), 0);
}

/* --- /debug/ebb/gc -------------------------------------------------------------------------- */

TEST(gc_before_the_first_cycle) {
    show("/debug/ebb/gc");
    CHECK(says("0 cycles"));
    CHECK(says("Verdict: no cycle yet."));
    CHECK(says("Why this goal: the least room between cycles, 16.0 MiB"));
    show("/debug/ebb/gc?format=json");
    json_check();
    CHECK(says("\"goal_by\":\"least\""));
    CHECK(says("\"limit\":null"));
}

TEST(gc_says_what_decides_the_goal) {
    objects_make(40000, 1000);
    CHECK_EQ(ebb_collect(), 0);
    show("/debug/ebb/gc");
    CHECK(says("100 % of live and roots"));
    CHECK(says("forced"));
    CHECK(says("Longest stop of these"));
    ebb_set_gc_percent(300);
    show("/debug/ebb/gc");
    CHECK(says("300 % of live and roots"));
    ebb_set_gc_percent(-1);
    show("/debug/ebb/gc");
    CHECK(says("there is none, growth cycles are off"));
    show("/debug/ebb/gc?format=json");
    json_check();
    CHECK(says("\"goal_by\":\"off\""));
    CHECK(says("\"goal\":null"));
    ebb_set_gc_percent(100);
    ebb_set_memory_limit(60 * MIB);
    show("/debug/ebb/gc");
    CHECK(says("the limit leaves"));
    show("/debug/ebb/gc?format=json");
    CHECK_EQ(json_number("limit"), 60 * (long long)MIB);
    ebb_set_memory_limit(SIZE_MAX);
}

TEST(gc_lists_the_last_cycles) {
    objects_make(100, 100);
    for (int i = 0; i < 100; i++) CHECK_EQ(ebb_collect(), 0);
    show("/debug/ebb/gc?format=json");
    json_check();
    CHECK_EQ(json_number("cycles"), 100);
    CHECK_EQ(json_number("forced"), 100);
    CHECK_EQ(json_number("number"), 37); /* the oldest of 64 */
    CHECK(says("{\"number\":100,\"cause\":\"forced\",\"kind\":\"full-stopped\""));
    show("/debug/ebb/gc");
    CHECK(says("64 of these cycles were forced"));
}

TEST(gc_without_dirty_pages) {
    setenv("EBB_GC", "dirty=off", 1);
    objects_make(100, 100);
    CHECK_EQ(ebb_collect(), 0);
    show("/debug/ebb/gc");
    CHECK(says("Nobody tells which pages were written"));
}

/* --- /debug/ebb/trim ------------------------------------------------------------------------ */

/* Asks for it as a server would that was posted to. */
static void act(const char *target) {
    ebb_debug_sink sink = page_sink(&shown);
    CHECK_EQ(ebb_debug_ask(&(ebb_debug_request){.target = target, .body = ""}, &sink), 0);
}

/* A page in a browser can make it ask for anything: a GET does nothing. */
TEST(trim_does_nothing_unless_it_is_posted_to) {
    CHECK(ebb_alloc(1) != NULL);
    uint64_t cycles = ebb_cycles();
    CHECK_EQ(page_get(&shown, "/debug/ebb/trim?now=1"), 0);
    CHECK_EQ(shown.status, 405);
    CHECK(says("has to be posted"));
    CHECK_EQ(ebb_cycles(), cycles);
    act("/debug/ebb/trim");
    CHECK_EQ(shown.status, 400);
    act("/debug/ebb/trim?now=2");
    CHECK_EQ(shown.status, 400);
    CHECK_EQ(ebb_cycles(), cycles);
    act("/debug/ebb/trim?now=1");
    CHECK_EQ(shown.status, 200);
    CHECK_EQ(ebb_cycles(), cycles + 1);
}

TEST(trim_says_what_is_free_and_gives_it_back) {
    setenv("EBB_GC", "idle=off", 1);
    objects_make(100000, 500);
    memset(held + 1000, 0, 99000 * sizeof *held);
    test_clear_stack();
    CHECK_EQ(ebb_collect(), 0);
    show("/debug/ebb/trim?format=json");
    json_check();
    CHECK(json_number("free") > 30 * (long long)MIB);
    CHECK(json_number("kept") > 0);
    CHECK_EQ(json_number("idle_seconds"), 0);
    show("/debug/ebb/trim");
    CHECK(says("free for under 2 s"));
    CHECK(says("Kept: up to"));
    CHECK(says("collections of an idle program are off"));
    act("/debug/ebb/trim?now=1&format=json");
    json_check();
    CHECK(json_number("returned") > 30 * (long long)MIB);
    CHECK(json_number("rss_after") + 30 * (long long)MIB < json_number("rss_before"));
    show("/debug/ebb/trim?format=json");
    CHECK(json_number("free") < (long long)MIB);
    CHECK(json_number("returned") > 30 * (long long)MIB);
    act("/debug/ebb/trim?now=1");
    CHECK(says("bytes of free pages went back"));
}

TEST(trim_counts_quiet_seconds) {
    setenv("EBB_GC", "idle=2", 1);
    objects_make(30000, 1000);
    memset(held, 0, sizeof held);
    CHECK_EQ(ebb_collect(), 0);
    show("/debug/ebb/trim");
    CHECK(says("2 s after the program stops allocating"));
    for (int i = 0; i < 150 && !strstr(shown.text, "The program is idle"); i++) {
        usleep(100000);
        show("/debug/ebb/trim");
    }
    CHECK(says("The program is idle: a collection was made and all went back"));
    show("/debug/ebb/trim?format=json");
    CHECK(json_number("free") < (long long)MIB);
}

/* --- All of them ---------------------------------------------------------------------------- */

TEST(wrong_parameters) {
    CHECK_EQ(page_get(&shown, "/debug/ebb/slack?top=0"), 0);
    CHECK_EQ(shown.status, 400);
    CHECK_EQ(page_get(&shown, "/debug/ebb/slack?top=many"), 0);
    CHECK_EQ(shown.status, 400);
    show("/debug/ebb/memory?outside=2&format=xml");
    CHECK(says("Resident memory of process"));
}

TEST(a_reader_that_goes_away) {
    static const char *const pages[] = {"/debug/ebb/memory?outside=1", "/debug/ebb/slack",
                                        "/debug/ebb/gc?format=json", "/debug/ebb/trim"};
    objects_make(100, 100);
    CHECK_EQ(ebb_collect(), 0);
    for (size_t i = 0; i < 4; i++) {
        ebb_debug_sink sink = page_sink(&shown);
        shown.most = 10;
        ebb_debug_get(pages[i], &sink);
        CHECK(shown.writes <= 1);
    }
}

/* More thread-local storage than the library's own threads have stack: they must start all the
 * same, see trim_counts_quiet_seconds. */
static _Thread_local page own;

static void *reader_body(void *target) {
    for (int i = 0; i < 20; i++) {
        ebb_debug_sink sink = page_sink(&own);
        const char *body = strstr(target, "now=1") ? "" : NULL;
        CHECK_EQ(ebb_debug_ask(&(ebb_debug_request){.target = target, .body = body}, &sink), 0);
        CHECK_EQ(own.status, 200);
    }
    return NULL;
}

TEST(several_readers) {
    static const char *const pages[] = {
        "/debug/ebb/memory?outside=1",   "/debug/ebb/slack",     "/debug/ebb/gc", "/debug/ebb/trim",
        "/debug/ebb/memory?format=json", "/debug/ebb/trim?now=1"};
    enum { READERS = sizeof pages / sizeof *pages };
    pthread_t threads[READERS];
    objects_make(1000, 1000);
    for (size_t i = 0; i < READERS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, reader_body, (void *)(uintptr_t)pages[i]), 0);
    for (int i = 0; i < 2000; i++) held[i] = ebb_alloc(3000);
    for (size_t i = 0; i < READERS; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}
