/* test_debug_http.c - the pages over HTTP, by libebb-debug: who may ask, and what civetweb's part
 * of it does with clients that do not behave. See "Debug server" in docs/design.md. */
#include <ebb/ebb.h>
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "exchange.h"
#include "test.h"

static int port;

static int address_connect(const char *host) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    CHECK_EQ(inet_pton(AF_INET, host, &address.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

/* A port that nobody has, most likely. */
static int port_find(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void http_serve(void) {
    char where[32];
    port = port_find();
    snprintf(where, sizeof where, "127.0.0.1:%d", port);
    int code = ebb_debug_serve(where);
    if (code == EBB_ENOENT) SKIP("no libebb-debug in this build");
    CHECK_EQ(code, 0);
}

/* The status of the reply to a request line and headers. */
static int http_says(const char *request, char *reply, size_t room) {
    int fd = address_connect("127.0.0.1");
    CHECK(fd >= 0);
    return exchange(fd, request, strlen(request), reply, room);
}

TEST(pages_with_gos_headers) {
    static char reply[1 << 16];
    http_serve();
    CHECK_EQ(http_says("GET /debug/ebb/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", reply, sizeof reply),
             200);
    CHECK(strstr(reply, "\r\nX-Content-Type-Options: nosniff\r\n") != NULL);
    CHECK(strstr(reply, "\r\nContent-Type: text/plain; charset=utf-8\r\n") != NULL);
    CHECK(strstr(reply, "/debug/ebb/ ") != NULL);
    CHECK_STR(reply + strlen(reply) - 7, "\r\n0\r\n\r\n");
    CHECK_EQ(http_says("GET /debug/pprof/none HTTP/1.0\r\n\r\n", reply, sizeof reply), 404);
    CHECK(strstr(reply, "\r\nX-Go-Pprof: 1\r\n") != NULL);
}

TEST(who_may_ask) {
    static char reply[1 << 16];
    static const struct {
        int status;
        const char *headers;
    } cases[] = {
        {200, "Host: 127.0.0.1:6060"},
        {200, "Host: 127.0.0.1"},
        {200, "Host: localhost:6060"},
        {200, "Host: LOCALHOST"},
        {200, "Host: [::1]:6060"},
        {200, "Host: 10.0.0.1"},
        {403, "Host: evil.example:6060"},
        {403, "Host: localhost.evil.example"},
        {403, "Host: 127.0.0.1.evil.example"},
        {403, "Host: [::1"},
        {200, "Host: 127.0.0.1\r\nSec-Fetch-Site: same-origin"},
        {200, "Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"
              "Sec-Fetch-Dest: document"},
        {403, "Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"
              "Sec-Fetch-Dest: iframe"},
        {403, "Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors"},
        {403, "Host: 127.0.0.1\r\nSec-Fetch-Site: same-site\r\nSec-Fetch-Mode: no-cors"},
        {200, "Host: 127.0.0.1\r\nSec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\n"
              "Sec-Fetch-Dest: document"},
        {200, "Host: 127.0.0.1\r\nSec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate"},
    };
    http_serve();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char request[512];
        snprintf(request, sizeof request, "GET /debug/ebb/ HTTP/1.1\r\n%s\r\n\r\n",
                 cases[i].headers);
        int status = http_says(request, reply, sizeof reply);
        if (status != cases[i].status)
            test_fail(__FILE__, __LINE__, "%d, not %d, to: %s", status, cases[i].status,
                      cases[i].headers);
    }
}

/* A form of another site can post, and a browser sends it as it follows a link. */
TEST(what_other_sites_post_is_refused) {
    static char reply[1 << 16];
    static const struct {
        int status;
        const char *headers;
    } cases[] = {
        {200, ""},
        {200, "Origin: http://127.0.0.1:6060\r\n"},
        {200, "Sec-Fetch-Site: same-origin\r\nOrigin: http://127.0.0.1:6060\r\n"},
        {403, "Origin: http://127.0.0.1:6061\r\n"},
        {403, "Origin: http://evil.example\r\n"},
        {403, "Origin: https://127.0.0.1:6060\r\n"},
        {403, "Origin: null\r\n"},
        {403, "Sec-Fetch-Site: same-site\r\n"},
        {403, "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n"
              "Sec-Fetch-Dest: document\r\n"},
    };
    http_serve();
    uint64_t cycles = ebb_cycles();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char request[512];
        snprintf(request, sizeof request,
                 "POST /debug/ebb/trim?now=1 HTTP/1.1\r\nHost: 127.0.0.1:6060\r\n%s"
                 "Content-Length: 0\r\n\r\n",
                 cases[i].headers);
        int status = http_says(request, reply, sizeof reply);
        if (status != cases[i].status)
            test_fail(__FILE__, __LINE__, "%d, not %d, to: %s", status, cases[i].status,
                      cases[i].headers);
    }
    CHECK_EQ(ebb_cycles(), cycles + 3);
    CHECK_EQ(http_says("GET /debug/ebb/trim?now=1 HTTP/1.0\r\n\r\n", reply, sizeof reply), 405);
    CHECK(strstr(reply, "\r\nAllow: GET, POST\r\n") != NULL);
    CHECK_EQ(ebb_cycles(), cycles + 3);
}

TEST(only_where_it_was_told) {
    http_serve();
    CHECK_EQ(address_connect("127.0.0.2"), -1);
    CHECK_EQ(errno, ECONNREFUSED);
    CHECK_EQ(ebb_debug_serve("127.0.0.1:0"), EBB_EEXIST);
}

TEST(methods) {
    static char reply[1 << 16];
    http_serve();
    CHECK_EQ(http_says("POST /debug/ebb/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\nx",
                       reply, sizeof reply),
             405);
    CHECK_EQ(
        http_says("DELETE /debug/ebb/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", reply, sizeof reply),
        405);
    CHECK_EQ(http_says("POST /debug/ebb/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: "
                       "999999999\r\n\r\n",
                       reply, sizeof reply),
             413);
}

TEST(addresses_that_are_none) {
    static const char *const wrong[] = {
        "",          "x",           "127.0.0.1",       "127.0.0.1:",   "127.0.0.1:x",
        "host:6060", "1.2.3:6060",  "127.0.0.1:99999", "[::1:6060",    "::1:6060",
        "[]:6060",   "6060,6061",   "127.0.0.1:60s",   "127.0.0.1:-1", "[::1]6060",
        "/tmp/x",    "1.2.3.4:1:2", "+:6060",
    };
    http_serve();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int status;
        pid_t child = test_fork();
        if (child == 0) _exit(ebb_debug_serve(wrong[i]) == EBB_EINVAL ? 7 : 1);
        CHECK(waitpid(child, &status, 0) == child);
        if (WEXITSTATUS(status) != 7) test_fail(__FILE__, __LINE__, "\"%s\" is taken", wrong[i]);
    }
}

TEST(garbage_and_huge_requests) {
    static char request[1 << 20], reply[1 << 16];
    uint64_t state = test_seed();
    http_serve();
    for (int i = 0; i < 100; i++) {
        for (size_t k = 0; k < 512; k++) request[k] = (char)(1 + test_random_below(&state, 255));
        memcpy(request + 512, "\r\n\r\n", 5);
        int status = http_says(request, reply, sizeof reply);
        CHECK(status == 0 || status >= 400);
    }
    memset(request, 'x', sizeof request - 1);
    memcpy(request, "GET /", 5);
    CHECK(http_says(request, reply, sizeof reply) != 200);
    strcpy(request + 6000, " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    CHECK_EQ(http_says(request, reply, sizeof reply), 414);
    CHECK_EQ(http_says("GET /debug/ebb/ HTTP/1.0\r\n\r\n", reply, sizeof reply), 200);
}

static _Atomic(bool) collecting;

static void *collect_on(void *unused) {
    (void)unused;
    while (collecting) {
        CHECK(ebb_alloc(1000) != NULL);
        CHECK_EQ(ebb_collect(), 0);
    }
    return NULL;
}

/* A byte at a time, so that the server waits while the world stops again and again. */
static void *slow_client(void *unused) {
    static const char request[] = "GET /debug/ebb/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    char reply[1 << 14];
    (void)unused;
    int fd = address_connect("127.0.0.1");
    CHECK(fd >= 0);
    for (size_t i = 0; i + 2 < sizeof request; i++) {
        CHECK_EQ(send(fd, request + i, 1, MSG_NOSIGNAL), 1);
        usleep(2000);
    }
    CHECK_EQ(exchange(fd, "\n", 1, reply, sizeof reply), 200);
    CHECK_STR(reply + strlen(reply) - 7, "\r\n0\r\n\r\n");
    return NULL;
}

TEST(slow_clients_beside_collections) {
    pthread_t collector, clients[8];
    http_serve();
    collecting = true;
    CHECK_EQ(pthread_create(&collector, NULL, collect_on, NULL), 0);
    for (int i = 0; i < 8; i++) CHECK_EQ(pthread_create(&clients[i], NULL, slow_client, NULL), 0);
    for (int i = 0; i < 8; i++) CHECK_EQ(pthread_join(clients[i], NULL), 0);
    collecting = false;
    CHECK_EQ(pthread_join(collector, NULL), 0);
}

static void *lasting_client(void *unused) {
    static char reply[1 << 16];
    CHECK_EQ(http_says("GET /debug/pprof/heap?seconds=2 HTTP/1.0\r\n\r\n", reply, sizeof reply),
             200);
    return unused;
}

/* The threads that make pages are stopped like any other. */
TEST(a_page_that_lasts_holds_up_no_collection) {
    pthread_t client;
    http_serve();
    CHECK_EQ(pthread_create(&client, NULL, lasting_client, NULL), 0);
    for (int i = 0; i < 100; i++) {
        CHECK(ebb_alloc(1000) != NULL);
        CHECK_EQ(ebb_collect(), 0);
        usleep(10000);
    }
    CHECK_EQ(pthread_join(client, NULL), 0);
}

/* All of the server's threads wait for what changes within five minutes, and nobody for them. */
TEST(clients_that_hang_up_are_noticed) {
    static const char request[] =
        "GET /debug/pprof/heap?seconds=300 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    static char reply[1 << 16];
    int fds[8];
    http_serve();
    for (int i = 0; i < 8; i++) {
        fds[i] = address_connect("127.0.0.1");
        CHECK(fds[i] >= 0);
        CHECK_EQ(send(fds[i], request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    }
    usleep(300000);
    for (int i = 0; i < 8; i++) close(fds[i]);
    CHECK_EQ(http_says("GET /debug/ebb/ HTTP/1.0\r\n\r\n", reply, sizeof reply), 200);
}

/* One byte each second would hold a thread of the server's for hours. */
TEST(a_body_that_comes_slowly_is_given_up) {
    static const char head[] = "POST /debug/ebb/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                               "Content-Length: 60000\r\n\r\n";
    char reply[64] = "";
    http_serve();
    int fd = address_connect("127.0.0.1");
    CHECK(fd >= 0);
    CHECK_EQ(send(fd, head, sizeof head - 1, MSG_NOSIGNAL), sizeof head - 1);
    for (int i = 0; i < 120 && recv(fd, reply, sizeof reply - 1, MSG_DONTWAIT) <= 0; i++) {
        if (send(fd, "x", 1, MSG_NOSIGNAL) != 1) break;
        usleep(500000);
    }
    CHECK(strncmp(reply, "HTTP/1.1 408 ", 13) == 0);
    close(fd);
}

/* Which it finds among its descriptors. */
TEST(child_keeps_what_the_program_listens_at) {
    static char reply[1 << 16];
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    char where[32];
    int status;
    CHECK_EQ(inet_pton(AF_INET, "127.0.0.2", &address.sin_addr), 1);
    int own = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(own, (struct sockaddr *)&address, sizeof address) == 0 && listen(own, 1) == 0);
    CHECK(getsockname(own, (struct sockaddr *)&address, &size) == 0);
    port = ntohs(address.sin_port);
    snprintf(where, sizeof where, "127.0.0.1:%d", port);
    int code = ebb_debug_serve(where);
    if (code == EBB_ENOENT) SKIP("no libebb-debug in this build");
    CHECK_EQ(code, 0);
    pid_t child = test_fork();
    if (child == 0) _exit(getsockname(own, (struct sockaddr *)&address, &size) == 0 ? 7 : 1);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(WEXITSTATUS(status), 7);
    CHECK_EQ(http_says("GET /debug/ebb/ HTTP/1.0\r\n\r\n", reply, sizeof reply), 200);
}

TEST(child_does_not_keep_the_port) {
    static char reply[1 << 16];
    int ready[2], gate[2], status;
    char c;
    http_serve();
    CHECK_EQ(pipe(ready) | pipe(gate), 0);
    pid_t child = test_fork();
    if (child == 0) {
        char where[32];
        int other = port_find();
        close(gate[1]);
        snprintf(where, sizeof where, "127.0.0.1:%d", other);
        bool well = ebb_debug_serve(where) == 0 && write(ready[1], "", 1) == 1;
        port = other;
        well &= http_says("GET /debug/ebb/ HTTP/1.0\r\n\r\n", reply, sizeof reply) == 200;
        _exit(well && read(gate[0], &c, 1) == 0 ? 7 : 1);
    }
    CHECK_EQ(read(ready[0], &c, 1), 1);
    CHECK_EQ(http_says("GET /debug/ebb/ HTTP/1.0\r\n\r\n", reply, sizeof reply), 200);
    close(gate[1]);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(WEXITSTATUS(status), 7);
}
