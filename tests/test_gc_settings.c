/* test_gc_settings.c - the environment: what is accepted, what is said of the rest, and the line a
 * cycle. See docs/design.md, "Settings". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <pthread.h>
#include <regex.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "modes.h"
#include "probe.h"
#include "test.h"

static modes_result result;

/* The inner half of most cases: a small program. */
TEST(program) {
    for (int i = 0; i < 1000; i++) CHECK(ebb_alloc(1000) != NULL);
    CHECK_EQ(ebb_collect(), 0);
    CHECK_EQ(ebb_collect(), 0);
}

static void settings_run(const char *debug, const char *gc) {
    if (modes_run(&result, "program", debug, gc) != 0) fprintf(stderr, "%s\n", result.text);
    CHECK_EQ(result.status, 0);
}

/* One line on standard error that begins so and holds all the words. */
static void settings_say(const char *start, const char *word1, const char *word2) {
    const char *line = strstr(result.text, start);
    if (!line) fprintf(stderr, "no line \"%s…\" in:\n%s\n", start, result.text);
    CHECK(line != NULL);
    const char *end = strchr(line, '\n');
    CHECK(end != NULL);
    const char *found1 = strstr(line, word1), *found2 = strstr(line, word2);
    if (!found1 || found1 > end || !found2 || found2 > end) {
        test_fail(__FILE__, __LINE__, "no \"%s\" and \"%s\" in: %.*s", word1, word2,
                  (int)(end - line), line);
    }
}

TEST(right_values_are_silent) {
    static const char *const good[][2] = {
        {NULL, "percent=100"},
        {NULL, "percent=off"},
        {NULL, "percent=0"},
        {NULL, "limit=4GiB"},
        {NULL, "limit=512MiB,percent=50"},
        {NULL, "limit=1000000000"},
        {NULL, "markers=2"},
        {NULL, "idle=off"},
        {NULL, "idle=5"},
        {NULL, ""},
        {NULL, "percent=50,"},
        {"misuse=abort", NULL},
        {"misuse=return", NULL},
        {"verify=1", NULL},
        {"stress=100,verify=1", NULL},
        {"", NULL},
        {"gctrace=0", NULL},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        settings_run(good[i][0], good[i][1]);
        CHECK(strstr(result.text, "ebb: ") == NULL);
    }
}

TEST(wrong_values_are_named_with_what_is_accepted) {
    static const struct {
        const char *debug, *gc, *start, *word1, *word2;
    } wrong[] = {
        {NULL, "percent=many", "ebb: EBB_GC: ", "percent=many", "a number or off"},
        {NULL, "percent=-5", "ebb: EBB_GC: ", "percent=-5", "a number or off"},
        {NULL, "percent", "ebb: EBB_GC: ", "percent", "a number or off"},
        {NULL, "percent=50%", "ebb: EBB_GC: ", "percent=50%", "a number or off"},
        {NULL, "limit=4GB", "ebb: EBB_GC: ", "limit=4GB", "4GiB"},
        {NULL, "limit=", "ebb: EBB_GC: ", "limit=", "4GiB"},
        {NULL, "limit=99999999999999999999", "ebb: EBB_GC: ", "limit=9", "4GiB"},
        {NULL, "limit=0", "ebb: EBB_GC: ", "limit=0", "4GiB"},
        {NULL, "speed=9", "ebb: EBB_GC: ", "speed=9", "percent"},
        {NULL, "speed=9", "ebb: EBB_GC: ", "speed=9", "limit"},
        {NULL, "signal=1000", "ebb: EBB_GC: ", "signal=1000", "signal"},
        {NULL, "idle=soon", "ebb: EBB_GC: ", "idle=soon", "off"},
        {"gctrace=yes", NULL, "ebb: EBB_DEBUG: ", "gctrace=yes", "0 or 1"},
        {"stress=often", NULL, "ebb: EBB_DEBUG: ", "stress=often", "a number"},
        {"failalloc=x", NULL, "ebb: EBB_DEBUG: ", "failalloc=x", "a number"},
        {"misuse=ignore", NULL, "ebb: EBB_DEBUG: ", "misuse=ignore", "abort or return"},
        {"verify=2", NULL, "ebb: EBB_DEBUG: ", "verify=2", "0 or 1"},
        {"gctrce=1", NULL, "ebb: EBB_DEBUG: ", "gctrce=1", "gctrace"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        settings_run(wrong[i].debug, wrong[i].gc);
        settings_say(wrong[i].start, wrong[i].word1, wrong[i].word2);
    }
}

TEST(each_wrong_part_has_its_line_and_the_rest_counts) {
    MODES_PASS("percent_is_33", NULL, "percent=33");
    CHECK_EQ(modes_run(&result, "percent_is_33", "gctrace=3", "speed=9,percent=33,limit=lots"), 0);
    settings_say("ebb: EBB_GC: \"speed=9\"", "speed=9", "percent");
    settings_say("ebb: EBB_GC: \"limit=lots\"", "limit=lots", "size");
    settings_say("ebb: EBB_DEBUG: \"gctrace=3\"", "gctrace", "0 or 1");
}

TEST(percent_is_33) {
    const char *text = getenv("EBB_GC");
    if (!text || !strstr(text, "percent=33")) SKIP("runs inside other cases");
    CHECK_EQ(ebb_set_gc_percent(100), 33);
}

TEST(very_long_values) {
    static char text[20000];
    memset(text, 'x', sizeof text - 1);
    settings_run(NULL, text);
    CHECK(strstr(result.text, "ebb: EBB_GC: ") != NULL);
    memset(text, ',', sizeof text - 1);
    settings_run(text, text);
    CHECK(strstr(result.text, "ebb: ") == NULL);
}

/* --- The signal ----------------------------------------------------------------------------- */

TEST(another_signal_can_be_chosen) {
    MODES_PASS("program", NULL, "signal=40");
    MODES_PASS("threads_are_stopped", NULL, "signal=10");
}

static void *signal_body(void *arg) {
    volatile bool *end = arg;
    while (!*end) continue;
    return NULL;
}

TEST(threads_are_stopped) {
    static volatile bool end;
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, signal_body, (void *)&end), 0);
    for (int i = 0; i < 20; i++) CHECK_EQ(ebb_collect(), 0);
    end = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

/* --- gctrace -------------------------------------------------------------------------------- */

#define MS "[0-9]+(\\.[0-9]+)?"

/* Go's order, then key=value. */
static const char trace_line[] =
    "^(ebb: )?gc [0-9]+ @" MS "s [0-9]+%: " MS "(\\+" MS ")* ms clock, " MS "([+/]" MS ")* ms cpu, "
    "[0-9.]+->[0-9.]+->[0-9.]+ MB, [0-9.]+ MB goal,( [0-9.]+ MB [a-z]+,)* [0-9]+ P( [a-z_]+=[^ "
    "]+)*$";

/* The lines that begin with "gc ", each of which must be right; they are numbered from 1. */
static size_t trace_check(char *text) {
    regex_t expression;
    size_t lines = 0;
    CHECK_EQ(regcomp(&expression, trace_line, REG_EXTENDED | REG_NOSUB), 0);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        const char *number = strstr(line, "gc ");
        if (!number || (number != line && strncmp(line, "ebb: gc ", 8) != 0)) continue;
        if (regexec(&expression, line, 0, NULL, 0) != 0) {
            test_fail(__FILE__, __LINE__, "not as documented: %s", line);
        }
        CHECK_EQ(strtoull(number + 3, NULL, 10), ++lines);
    }
    regfree(&expression);
    return lines;
}

TEST(gctrace_prints_a_line_a_cycle) {
    settings_run("gctrace=1", NULL);
    CHECK(trace_check(result.text) >= 2);
    settings_run(NULL, NULL);
    CHECK_EQ(trace_check(result.text), 0);
    settings_run("gctrace=1,stress=50", NULL);
    CHECK(trace_check(result.text) >= 10);
}

/* --- The modes do what they say ------------------------------------------------------------- */

TEST(stress_collects_at_every_nth) {
    if (!modes_have("stress=10")) {
        MODES_PASS("stress_collects_at_every_nth", "stress=10", NULL);
        return;
    }
    void *volatile first = ebb_alloc(10);
    uint64_t cycles = ebb_cycles();
    for (int i = 0; i < 1000; i++) CHECK(ebb_alloc(10) != NULL);
    CHECK_EQ(ebb_cycles() - cycles, 100);
    CHECK(first != NULL);
}

TEST(stress_collects_at_every_one) {
    if (!modes_have("stress=1")) {
        MODES_PASS("stress_collects_at_every_one", "stress=1,verify=1", NULL);
        return;
    }
    void ***last = NULL;
    for (int i = 0; i < 300; i++) {
        void ***next = ebb_new_array(void **, 2);
        next[0] = (void **)last;
        last = next;
    }
    int length = 0;
    for (; last; last = (void ***)last[0]) length++;
    CHECK_EQ(length, 300);
    CHECK(ebb_cycles() >= 300);
}

TEST(failalloc_fails_the_nth_and_goes_on) {
    if (!modes_have("failalloc=7")) {
        MODES_PASS("failalloc_fails_the_nth_and_goes_on", "failalloc=7", NULL);
        return;
    }
    for (int i = 1; i <= 100; i++) CHECK_EQ(ebb_alloc(10) == NULL, i == 7);
}
