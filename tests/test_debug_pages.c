/* test_debug_pages.c - requests and replies without a server: what ebb_debug_get and ebb_debug_ask
 * give for each page, and for what is no request. See include/ebb/debug.h. */
#include <ebb/ebb.h>
#include <locale.h>
#include <stdlib.h>

#include "pages.h"
#include "test.h"

TEST(index_lists_the_pages) {
    static page p;
    CHECK_EQ(page_get(&p, "/debug/ebb/"), 0);
    CHECK_EQ(p.begins, 1);
    CHECK_EQ(p.status, 200);
    CHECK_STR(p.type, "text/plain; charset=utf-8");
    CHECK(p.filename[0] == 0);
    CHECK(strstr(p.text, "/debug/ebb/ ") != NULL);
}

TEST(every_listed_page_answers) {
    static page index, p;
    char path[256];
    CHECK_EQ(page_get(&index, "/debug/ebb/"), 0);
    int pages = 0;
    for (char *line = index.text; *line; line += strcspn(line, "\n") + 1) {
        size_t n = strcspn(line, " \n");
        CHECK(n < sizeof path);
        memcpy(path, line, n);
        path[n] = 0;
        CHECK_EQ(page_get(&p, path), 0);
        CHECK_EQ(p.begins, 1);
        CHECK(p.type[0] != 0);
        pages++;
    }
    CHECK(pages >= 1);
}

TEST(index_as_json) {
    static page p;
    CHECK_EQ(page_get(&p, "/debug/ebb/?format=json"), 0);
    CHECK_STR(p.type, "application/json");
    CHECK(strncmp(p.text, "{\"pages\":[{\"path\":\"/debug/ebb/\",\"says\":", 30) == 0);
}

TEST(parameters_are_decoded) {
    static page p;
    CHECK_EQ(page_get(&p, "/debug/ebb/?x=1&form%61t=text&format=%6as%6Fn&format=text"), 0);
    CHECK_STR(p.type, "application/json");
    CHECK_EQ(page_get(&p, "/debug/ebb/?formatting=json"), 0);
    CHECK_STR(p.type, "text/plain; charset=utf-8");
    CHECK_EQ(page_get(&p, "/debug/ebb/?format=js%00on"), 0);
    CHECK_STR(p.type, "text/plain; charset=utf-8");
    CHECK_EQ(page_get(&p, "/debug/ebb/?format=json%"), 0);
    CHECK_STR(p.type, "text/plain; charset=utf-8");
    CHECK_EQ(page_get(&p, "/debug/ebb/?format"), 0);
    CHECK_EQ(p.status, 200);
}

TEST(no_such_page) {
    static page p;
    CHECK_EQ(page_get(&p, "/debug/nothing"), EBB_ENOENT);
    CHECK_EQ(p.status, 404);
    CHECK(strstr(p.text, "/debug/ebb/") != NULL);
    CHECK_EQ(page_get(&p, ""), EBB_ENOENT);
    CHECK_EQ(page_get(&p, "?"), EBB_ENOENT);
}

TEST(address_too_long) {
    static page p;
    char *target = malloc(1 << 20);
    memset(target, 'x', (1 << 20) - 1);
    target[(1 << 20) - 1] = 0;
    CHECK_EQ(page_get(&p, target), EBB_ENOENT);
    CHECK_EQ(p.status, 414);
    free(target);
}

TEST(nothing_is_posted_to_the_index) {
    static page p;
    ebb_debug_sink sink = page_sink(&p);
    CHECK_EQ(ebb_debug_ask(&(ebb_debug_request){.target = "/debug/ebb/", .body = "x"}, &sink), 0);
    CHECK_EQ(p.status, 405);
}

TEST(sink_that_wants_no_more) {
    static page p;
    ebb_debug_sink sink = page_sink(&p);
    p.most = 1;
    CHECK_EQ(ebb_debug_get("/debug/ebb/", &sink), EBB_ESYSTEM);
    CHECK_EQ(p.begins, 1);
    CHECK_EQ(p.writes, 1);
}

TEST(time_that_is_up) {
    static page p;
    ebb_debug_sink sink = page_sink(&p);
    CHECK_EQ(ebb_debug_ask(&(ebb_debug_request){.target = "/debug/ebb/", .until_ns = 1}, &sink),
             EBB_ESYSTEM);
    CHECK_EQ(p.writes, 0);
}

/* --- Metrics -------------------------------------------------------------------------------- */

/* The value of a sample, which must be there. */
static double sample(const page *p, const char *name) {
    char line[160];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(p->text, line);
    if (!at) test_fail(__FILE__, __LINE__, "no sample %s", name);
    return strtod(at + strlen(line), NULL);
}

static int metrics_get(page *p, const char *accept) {
    ebb_debug_sink sink = page_sink(p);
    return ebb_debug_ask(&(ebb_debug_request){.target = "/metrics", .accept = accept}, &sink);
}

static NOINLINE void garbage_make(void) {
    for (int i = 0; i < 1000; i++) CHECK(ebb_alloc(1000) != NULL);
}

TEST(metrics_count_collections) {
    static page p;
    garbage_make();
    for (int i = 0; i < 5; i++) CHECK_EQ(ebb_collect(), 0);
    CHECK_EQ(metrics_get(&p, NULL), 0);
    CHECK_STR(p.type, "text/plain; version=0.0.4; charset=utf-8");
    CHECK_EQ(sample(&p, "ebb_gc_cycles_total{cause=\"forced\"}"), 5);
    CHECK_EQ(sample(&p, "ebb_gc_pause_seconds_count"),
             sample(&p, "ebb_gc_pause_seconds_bucket{le=\"+Inf\"}"));
    CHECK(sample(&p, "ebb_gc_pause_seconds_count") >= 5);
    CHECK(sample(&p, "ebb_gc_pause_seconds_sum") > 0);
    CHECK_EQ(sample(&p, "ebb_heap_allocated_objects_total"), 1000);
    CHECK(sample(&p, "ebb_heap_freed_bytes_total") > 900000);
    CHECK(strstr(p.text, "# TYPE ebb_gc_cycles_total counter\n") != NULL);
    CHECK(strstr(p.text, "# EOF") == NULL);
}

TEST(metrics_of_classes_add_up) {
    static page p;
    garbage_make();
    CHECK_EQ(metrics_get(&p, ""), 0);
    double sum = 0, rss = sample(&p, "process_resident_memory_bytes");
    for (const char *at = p.text; (at = strstr(at, "\nebb_memory_bytes{")) != NULL; at++)
        sum += strtod(strchr(at, ' '), NULL);
    CHECK(sum > rss * 0.9 && sum < rss * 1.1);
}

TEST(metrics_of_openmetrics) {
    static page p;
    CHECK_EQ(metrics_get(&p, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"), 0);
    CHECK_STR(p.type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    CHECK(strstr(p.text, "# TYPE ebb_gc_cycles counter\n") != NULL);
    CHECK(strstr(p.text, "_total counter\n") == NULL);
    CHECK(strstr(p.text, "# TYPE ebb_build info\n") != NULL);
    CHECK_STR(p.text + p.size - 7, "\n# EOF\n");
}

TEST(metrics_without_a_stop) {
    static page p;
    garbage_make();
    CHECK_EQ(page_get(&p, "/metrics?memory=off"), 0);
    CHECK(strstr(p.text, "ebb_memory_bytes") == NULL);
    CHECK(sample(&p, "ebb_heap_goal_bytes") > 0);
}

TEST(metrics_where_the_point_is_a_comma) {
    static page p;
    garbage_make();
    CHECK_EQ(ebb_collect(), 0);
    if (!setlocale(LC_ALL, "de_DE.UTF-8")) SKIP("no German locale here");
    CHECK_EQ(metrics_get(&p, NULL), 0);
    CHECK(strstr(p.text, "0,") == NULL);
}

TEST(null_pointers) {
    static page p;
    ebb_debug_sink sink = page_sink(&p), empty = {0};
    setenv("EBB_DEBUG", "misuse=return", 1);
    CHECK(ebb_alloc(1) != NULL);
    CHECK_EQ(ebb_debug_get(NULL, &sink), EBB_EINVAL);
    CHECK_EQ(ebb_debug_get("/debug/ebb/", NULL), EBB_EINVAL);
    CHECK_EQ(ebb_debug_get("/debug/ebb/", &empty), EBB_EINVAL);
    CHECK_EQ(ebb_debug_ask(NULL, &sink), EBB_EINVAL);
    CHECK_EQ(p.begins, 0);
}
