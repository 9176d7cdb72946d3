/* test_tool_sites.c - what profiles say of places that allocate: sums, errors, differences.
 * docs/testing.md, "Profiles". */
#include "test.h"

#include <math.h>

#include "../tools/json.h"
#include "../tools/sites.h"

enum { RATE = 512 << 10, TRIALS = 400 };

static void heap_begin(struct pprof *p, int64_t period) {
    static const char *const types[][2] = {{"alloc_objects", "count"},
                                           {"alloc_space", "bytes"},
                                           {"inuse_objects", "count"},
                                           {"inuse_space", "bytes"}};
    pprof_begin(p);
    for (size_t i = 0; i < 4; i++) {
        struct pprof_type type = {pprof_add_string(p, types[i][0]),
                                  pprof_add_string(p, types[i][1])};
        *PPROF_ADD(p, types) = type;
    }
    p->period = period;
}

/* A location of these functions, what is inlined first. */
static uint32_t heap_location(struct pprof *p, uint64_t address, const char *const *functions,
                              size_t count) {
    struct pprof_location *location = PPROF_ADD(p, locations);
    location->address = address;
    location->mapping = PPROF_NONE;
    for (size_t i = 0; i < count; i++) {
        struct pprof_function f = {.name = pprof_add_string(p, functions[i]),
                                   .file = pprof_add_string(p, "/src/file.c")};
        pprof_add_line(p, p->locations_count - 1, &f, (int64_t)(10 * i + 5));
    }
    return (uint32_t)p->locations_count - 1;
}

static void heap_sample(struct pprof *p, uint32_t location, double objects, int64_t size) {
    int64_t count = llround(objects), bytes = llround(objects * (double)size);
    pprof_add_sample(p, &location, 1, (int64_t[]){2 * count, 2 * bytes, count, bytes});
    pprof_add_number(p, "bytes", size, "bytes");
}

#define LOCATION(p, address, ...)                                  \
 heap_location((p), (address), (const char *const[]){__VA_ARGS__}, \
               sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

TEST(samples_of_a_stack_add_up) {
    struct pprof p;
    struct sites s = {0};
    heap_begin(&p, 1);
    uint32_t one = LOCATION(&p, 1, "f", "main"), other = LOCATION(&p, 2, "g", "main");
    heap_sample(&p, one, 3, 100);
    heap_sample(&p, one, 2, 8);
    heap_sample(&p, other, 1, 1000);
    CHECK(sites_add(&s, &p, "inuse", 0));
    CHECK_EQ(s.count, 2);
    CHECK_EQ(s.at[0].sum[0].objects, 5);
    CHECK_EQ(s.at[0].sum[0].bytes, 316);
    CHECK_EQ(s.total[0].bytes, 1316);
    CHECK_EQ(s.total[0].bytes_variance, 0);
    struct sites_frame frame = sites_frame(&s, s.frames[s.at[1].frames_at]);
    CHECK_STR(frame.function, "g");
    CHECK_STR(frame.file, "file.c");
    CHECK_EQ(frame.line, 5);
    CHECK(sites_add(&s, &p, "alloc", 1));
    CHECK_EQ(s.count, 2);
    CHECK_EQ(s.total[1].bytes, 2632);
    CHECK(!sites_add(&s, &p, "contentions", 0));
    sites_free(&s);
    pprof_free(&p);
}

/* Anybody may have written the profile. */
TEST(names_have_nothing_that_a_terminal_would_obey) {
    struct pprof p;
    struct sites s = {0};
    heap_begin(&p, 1);
    heap_sample(&p, LOCATION(&p, 1, "f\x1b[2J\r\n\x7f\xc3\xa4"), 1, 100);
    CHECK(sites_add(&s, &p, "inuse", 0));
    CHECK_STR(sites_frame(&s, s.frames[s.at[0].frames_at]).function, "f.[2J...\xc3\xa4");
    sites_free(&s);
    pprof_free(&p);
}

TEST(places_without_names_do_not_depend_on_the_run) {
    struct sites s = {0};
    for (int run = 0; run < 2; run++) {
        struct pprof p;
        heap_begin(&p, 1);
        uint64_t start = run ? 0x7f0000000000 : 0x400000;
        struct pprof_mapping *m = PPROF_ADD(&p, mappings);
        *m = (struct pprof_mapping){.start = start, .limit = start + 0x1000, .offset = 0x3000};
        m->file = pprof_add_string(&p, "/usr/bin/cache");
        uint32_t location = heap_location(&p, start + 0x42, NULL, 0);
        p.locations[location].mapping = 0;
        heap_sample(&p, location, 3, 100);
        CHECK(sites_add(&s, &p, "inuse", run));
        pprof_free(&p);
    }
    CHECK_EQ(s.count, 1);
    CHECK_STR(sites_frame(&s, s.frames[0]).function, "cache+0x3042");
    CHECK_EQ(s.at[0].sum[0].bytes, s.at[0].sum[1].bytes);
}

TEST(frames_of_the_library_are_left_out) {
    struct pprof p;
    struct sites s = {0};
    heap_begin(&p, 1);
    heap_sample(&p, LOCATION(&p, 1, "ebb_append", "user"), 1, 8);
    heap_sample(&p, LOCATION(&p, 2, "ebb_append", "ebb_alone"), 1, 8);
    CHECK(sites_add(&s, &p, "inuse", 0));
    CHECK_STR(sites_frame(&s, s.frames[s.at[0].frames_at]).function, "user");
    CHECK_STR(sites_frame(&s, s.frames[s.at[1].frames_at]).function, "ebb_alone");
}

/* --- The error ------------------------------------------------------------------------------ */

static double uniform(uint64_t *state) {
    return (double)(test_random(state) >> 11) * 0x1p-53;
}

/* How many of count objects of a size are sampled, by gaps as the profiler has them. */
static double sampled(uint64_t *state, size_t count, size_t size) {
    double gap = -RATE * log1p(-uniform(state)), seen = 0;
    for (size_t i = 0; i < count; i++) {
        gap -= (double)size;
        if (gap >= 0) continue;
        seen++;
        gap = -RATE * log1p(-uniform(state));
    }
    return seen;
}

/* Populations of three sizes, known exactly, estimated again and again: how often the truth is
 * within twice the error. 95 in 100 are expected; chance alone takes 400 trials below 88 once in
 * 1e8. */
TEST(the_truth_is_within_twice_the_error) {
    static const size_t counts[] = {60000, 400, 30}, sizes[] = {1000, 100000, 2000000};
    uint64_t state = test_seed();
    double truth = 0, sum = 0;
    size_t within = 0;
    for (size_t k = 0; k < 3; k++) truth += (double)(counts[k] * sizes[k]);
    for (size_t trial = 0; trial < TRIALS; trial++) {
        struct pprof p;
        struct sites s = {0};
        heap_begin(&p, RATE);
        uint32_t location = LOCATION(&p, 1, "f");
        for (size_t k = 0; k < 3; k++) {
            double weight = 1 / -expm1(-(double)sizes[k] / RATE);
            heap_sample(&p, location, sampled(&state, counts[k], sizes[k]) * weight,
                        (int64_t)sizes[k]);
        }
        CHECK(sites_add(&s, &p, "inuse", 0));
        within += fabs(s.total[0].bytes - truth) <= 2 * sqrt(s.total[0].bytes_variance);
        sum += s.total[0].bytes;
        sites_free(&s);
        pprof_free(&p);
    }
    if (within < TRIALS * 88 / 100)
        test_fail(__FILE__, __LINE__, "%zu of %d within", within, TRIALS);
    CHECK(within < TRIALS);
    CHECK(fabs(sum / TRIALS / truth - 1) < 0.02);
}

TEST(large_objects_have_no_error) {
    struct pprof p;
    struct sites s = {0};
    heap_begin(&p, RATE);
    heap_sample(&p, LOCATION(&p, 1, "f"), 3, 100 << 20);
    CHECK(sites_add(&s, &p, "inuse", 0));
    CHECK(s.total[0].bytes_variance < 1);
}

/* A profile of one place of objects of 1000 bytes. */
static void grown_add(struct sites *s, int which, const char *process, int64_t allocs,
                      int64_t live) {
    struct pprof p;
    heap_begin(&p, RATE);
    *PPROF_ADD(&p, comments) = pprof_add_string(&p, process);
    int64_t values[] = {allocs, 1000 * allocs, live, 1000 * live};
    uint32_t location = LOCATION(&p, 1, "f");
    pprof_add_sample(&p, &location, 1, values);
    pprof_add_number(&p, "bytes", 1000, "bytes");
    CHECK(sites_add(s, &p, "inuse", which));
    pprof_free(&p);
}

/* What lives in both profiles of a process does not blur what differs. */
TEST(a_difference_has_the_error_of_what_changed) {
    static const char *const other[] = {"ebb 1.2.3, process 7", "ebb 1.2.3, process 8", "none"};
    double each = 1 / expm1(1000.0 / RATE) * 1e6;
    for (int i = 0; i < 3; i++) {
        struct sites s = {0};
        grown_add(&s, 0, other[i == 2 ? 2 : 0], 10000, 9000);
        grown_add(&s, 1, other[i], 10300, 9100);
        sites_compare(&s);
        CHECK_EQ(s.same_process, i == 0);
        double changed = i == 0 ? 300 + 200 : 9000 + 9100;
        CHECK(fabs(s.growth_variance / (changed * each) - 1) < 1e-9);
        CHECK(s.at[0].growth_variance == s.growth_variance);
        sites_free(&s);
    }
    struct sites s = {0};
    grown_add(&s, 0, other[0], 10000, 9000);
    grown_add(&s, 1, other[0], 9000, 9000);
    sites_compare(&s);
    CHECK(!s.same_process);
}

/* --- JSON ----------------------------------------------------------------------------------- */

/* What a hostile profile may hold: the end is looked at no further than it is kept. */
TEST(endless_stacks_are_cut) {
    enum { LONG = 1000000 };
    struct pprof p;
    struct sites s = {0};
    uint32_t *stack = calloc(LONG, sizeof *stack);
    heap_begin(&p, 1);
    uint32_t location = LOCATION(&p, 1, "f");
    struct pprof_line line = p.lines[0];
    for (int i = 0; i < LONG; i++) {
        *PPROF_ADD(&p, lines) = line;
        p.locations[location].lines_count++;
    }
    pprof_add_sample(&p, stack, LONG, (int64_t[]){1, 1, 1, 1});
    CHECK(sites_add(&s, &p, "inuse", 0));
    CHECK_EQ(s.count, 1);
    CHECK_EQ(s.at[0].frames_count, 1024);
    sites_free(&s);
    pprof_free(&p);
    free(stack);
}

TEST(errors_are_numbers) {
    struct pprof p;
    struct sites s = {0};
    heap_begin(&p, INT64_MAX);
    heap_sample(&p, LOCATION(&p, 1, "f"), 1e9, 1);
    CHECK(sites_add(&s, &p, "inuse", 0));
    CHECK(isfinite(s.total[0].objects_variance) && isfinite(s.total[0].bytes_variance));
    sites_free(&s);
    pprof_free(&p);
}

TEST(strings_in_json) {
    static const char *const cases[][2] = {
        {"plain", "\"plain\""},
        {"a\"b\\c\n", "\"a\\u0022b\\u005cc\\u000a\""},
        {"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\""},
        {"\xff\xc3(\xe2\x82", "\"\\ufffd\\ufffd(\\ufffd\\ufffd\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[128] = "";
        FILE *out = fmemopen(text, sizeof text, "w");
        json_string(out, cases[i][0]);
        fclose(out);
        CHECK_STR(text, cases[i][1]);
    }
}
