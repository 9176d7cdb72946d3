/* test_debug_pages.c - requests and replies without a server: what ebb_debug_get and ebb_debug_ask
 * give for each page, and for what is no request. See include/ebb/debug.h. */
#include <ebb/ebb.h>
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
