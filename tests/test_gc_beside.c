/* test_gc_beside.c - the heavy cases of other suites, started again so that as much as possible is
 * collected beside the program, and with everything on that watches it: the second trace, the
 * oracle of written pages, delays at every step. Each draws its seed anew. docs/testing.md,
 * "Beside the program". */
#include <stdint.h>

#include "modes.h"
#include "test.h"

/* Cycles after little growth, none in one stop unless the mode says so. */
#define WATCHED "checkmark=1,oracle=1,room=256KiB"

static const struct {
    const char *program, *name;
} beside_cases[] = {
    {"test_gc_graph", "graph"},
    {"test_gc_graph", "graph_of_one_thread"},
    {"test_heap_threads", "exchange"},
    {"test_heap_threads", "storm"},
    {"test_gc_finalizers", "storm"},
    {"test_gc_programs", "trees_in_threads"},
    {"test_slice_model", "models_in_threads"},
    {"test_map_model", "map_model_strings"},
};
enum { BESIDE_CASES = sizeof beside_cases / sizeof beside_cases[0] };

/* The number in "checkmark: N cycles verified". */
static unsigned long long verified_in(const char *text) {
    const char *at = strstr(text, "checkmark: ");
    return at ? strtoull(at + strlen("checkmark: "), NULL, 10) : 0;
}

static void beside_run(size_t which, const char *debug, const char *gc) {
    static modes_result out;
    const char *program = beside_cases[which].program, *name = beside_cases[which].name;
    modes_run_of(&out, program, name, debug, gc);
    if (out.status != 0 || verified_in(out.text) == 0)
        fprintf(stderr, "%s %s under EBB_DEBUG=%s EBB_GC=%s ended with %d:\n%s\n", program, name,
                debug, gc, out.status, out.text);
    CHECK_EQ(out.status, 0);
    CHECK(verified_in(out.text) > 0);
}

/* Every step-th case, from one drawn by the seed on. */
static void beside_some(size_t step, const char *more, const char *gc) {
    uint64_t state = test_seed();
    char debug[128];
    for (size_t i = (size_t)test_random_below(&state, step); i < BESIDE_CASES; i += step) {
        snprintf(debug, sizeof debug, WATCHED ",%s%llu", more,
                 (unsigned long long)(test_random(&state) >> 1) + 1);
        if (more[0] == 0) snprintf(debug, sizeof debug, WATCHED);
        beside_run(i, debug, gc);
    }
}

TEST(beside) {
    beside_some(1, "", "pause=0");
}

TEST(beside_where_it_pays) {
    beside_some(2, "", "");
}

TEST(beside_with_every_page_written) {
    beside_some(2, "", "pause=0,dirty=all");
}

TEST(beside_with_delays) {
    beside_some(1, "yield=", "pause=0");
}

TEST(beside_with_delays_and_several_markers) {
    beside_some(2, "yield=", "pause=0,markers=4,background=3");
}

TEST(stopped) {
    beside_some(2, "", "dirty=off");
}
