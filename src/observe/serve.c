/* serve.c - the debug server's threads: who asks over the socket is answered by the pages of
 * endpoint.c. docs/design.md, "Debug server".
 *
 * One thread accepts, and takes a point a second for the page's chart; each request has a thread of
 * its own, of which there are at most four, so that one that takes long (a profile over a minute)
 * does not hold up the others. Further clients wait in the system's queue. No lock is held while a
 * page works or a client is waited for, so no client can stop the program but in its turn (turn.h):
 * the worst that it can do is to use up the four, each for as long as the limits below say and it
 * stays.
 *
 * A forked child has none of these threads. It closes what it inherited, and makes a socket of its
 * own when its service runs for the first time: a child that only calls exec never does. */
#include "serve.h"
#include "endpoint.h"
#include "http.h"
#include "series.h"
#include "../os/socket.h"

#define SECOND_NS ((uint64_t)1000000000)
#define HEAD_NS   (5 * SECOND_NS)   /* for a request to come in */
#define WRITE_NS  (10 * SECOND_NS)  /* for a client to take a piece of the reply */
#define REPLY_NS  (600 * SECOND_NS) /* for a reply in all */

enum { CONNECTIONS = 4 };

static struct {
    os_lock lock;
    bool running;              /* the accepting thread is there [lock] */
    bool socket, http;         /* served; of a forked child, socket is wanted [lock] */
    bool hooked;               /* into fork and exit [lock] */
    int listening;             /* -1 is none [lock] */
    int pid;                   /* whose all this is [lock] */
    char path[OS_SOCKET_PATH]; /* of the socket [lock] */
    int fds[CONNECTIONS];      /* of requests; -1 is free [lock] */
    _Atomic(uint32_t) ended;   /* requests: release; the accepting thread waits on it, acquire */
} serve = {.listening = -1, .fds = {-1, -1, -1, -1}};

/* --- A request, in its thread --------------------------------------------------------------- */

typedef struct connection {
    int fd;
    http_request request;
    char path[64]; /* the target's beginning: the head of a reply depends on it */
    bool begun;
    size_t have; /* bytes that came in */
    char text[HTTP_HEAD_BYTES + HTTP_BODY_BYTES + 1];
} connection;

static bool connection_write(connection *c, const void *bytes, size_t size) {
    return ebb__os_socket_write(c->fd, bytes, size, ebb__os_now_ns() + WRITE_NS);
}

static void connection_begin(void *arg, int status, const char *type, const char *filename) {
    connection *c = arg;
    char head[1024];
    size_t n = (size_t)snprintf(head, sizeof head, "HTTP/1.%d %d %s\r\nConnection: close\r\n%s",
                                c->request.chunks, status, ebb__http_reason(status),
                                c->request.chunks ? "Transfer-Encoding: chunked\r\n" : "");
    n += ebb_debug_headers(c->path, status, type, filename, head + n, sizeof head - n - 2);
    memcpy(head + n, "\r\n", 2);
    c->begun = connection_write(c, head, n + 2);
}

static bool connection_piece(void *arg, const void *bytes, size_t size) {
    connection *c = arg;
    char line[24];
    if (!c->begun || size == 0) return c->begun;
    if (!c->request.chunks) return connection_write(c, bytes, size);
    int n = snprintf(line, sizeof line, "%zx\r\n", size);
    return connection_write(c, line, (size_t)n) && connection_write(c, bytes, size) &&
           connection_write(c, "\r\n", 2);
}

static bool connection_wanted(void *arg) {
    return !ebb__os_socket_gone(((connection *)arg)->fd);
}

/* Reads until there are `whole` bytes, or with 0 until the head is whole: its length, or 0. */
static size_t connection_read(connection *c, size_t whole, uint64_t until_ns) {
    size_t most = whole ? whole : HTTP_HEAD_BYTES;
    for (;;) {
        size_t head = whole ? 0 : ebb__http_head(c->text, c->have);
        if (head) return head;
        if (c->have >= most) return whole;
        long n = ebb__os_socket_read(c->fd, c->text + c->have, most - c->have, until_ns);
        if (n <= 0) return 0;
        c->have += (size_t)n;
    }
}

/* Reads and understands a request. 0, the status to refuse it with, or -1: nobody is there. */
static int connection_understand(connection *c, const char **body) {
    uint64_t until_ns = ebb__os_now_ns() + HEAD_NS;
    size_t head = connection_read(c, 0, until_ns);
    if (head == 0 && c->have < HTTP_HEAD_BYTES) return c->have ? 408 : -1;
    if (head == 0) return 431;
    int status = ebb__http_parse(c->text, head, &c->request);
    if (status) return status;
    snprintf(c->path, sizeof c->path, "%.*s", (int)strcspn(c->request.target, "?"),
             c->request.target);
    if (!c->request.posts) return 0;
    size_t whole = head + c->request.length;
    if (c->request.length && connection_read(c, whole, until_ns) == 0) return 408;
    if (memchr(c->text + head, 0, c->request.length)) return 400;
    c->text[whole] = 0;
    *body = c->text + head;
    return 0;
}

static void connection_answer(connection *c) {
    ebb_debug_sink sink = {connection_begin, connection_piece, c};
    const char *body = NULL;
    int status = connection_understand(c, &body), code = 0;
    if (status < 0) return;
    if (status > 0) {
        reply to;
        ebb__reply_open(&to, &sink, 0);
        ebb__reply_error(&to, status, "the request is not understood: %s",
                         ebb__http_reason(status));
        ebb__reply_close(&to);
    } else {
        code = ebb_debug_ask(&(ebb_debug_request){.target = c->request.target,
                                                  .accept = c->request.accept,
                                                  .body = body,
                                                  .until_ns = ebb__os_now_ns() + REPLY_NS,
                                                  .wanted = connection_wanted},
                             &sink);
    }
    /* A reply that broke off has no last chunk, which is how its reader knows. */
    if (c->begun && c->request.chunks && code != EBB_ESYSTEM) connection_write(c, "0\r\n\r\n", 5);
}

static void *connection_thread(void *slot) {
    size_t n = (uintptr_t)slot;
    connection c;
    memset(&c, 0, offsetof(connection, text));
    ebb__os_lock(&serve.lock);
    c.fd = serve.fds[n];
    ebb__os_unlock(&serve.lock);
    connection_answer(&c);
    ebb__os_lock(&serve.lock);
    serve.fds[n] = -1;
    ebb__os_unlock(&serve.lock);
    ebb__os_socket_end(c.fd);
    ebb__os_socket_close(c.fd);
    atomic_fetch_add_explicit(&serve.ended, 1, memory_order_release);
    ebb__os_wake(&serve.ended, false);
    return NULL;
}

/* --- Accepting ------------------------------------------------------------------------------ */

static int serve_slot(void) {
    for (int i = 0; i < CONNECTIONS; i++)
        if (serve.fds[i] < 0) return i;
    return -1;
}

static void serve_connection(int fd) {
    ebb__os_lock(&serve.lock);
    int slot = serve_slot();
    serve.fds[slot] = fd;
    ebb__os_unlock(&serve.lock);
    if (ebb__os_thread(connection_thread, (void *)(uintptr_t)slot, ebb__settings.signal) == 0)
        return;
    ebb__os_lock(&serve.lock);
    serve.fds[slot] = -1;
    ebb__os_unlock(&serve.lock);
    ebb__os_socket_close(fd);
}

/* A connection, when there is one before until_ns and a slot for it; else -1. While it waits the
 * world may stop without it. */
static __attribute__((noinline)) int serve_wait(uint64_t until_ns) {
    uint32_t ended = atomic_load_explicit(&serve.ended, memory_order_acquire);
    ebb__os_lock(&serve.lock);
    int listening = serve_slot() >= 0 ? serve.listening : -1, fd = -1;
    ebb__os_unlock(&serve.lock);
    uint64_t now = ebb__os_now_ns();
    ebb__os_forget_registers();
    ebb_blocking_begin();
    if (listening >= 0)
        fd = ebb__os_socket_accept(listening, until_ns);
    else if (now < until_ns)
        ebb__os_wait(&serve.ended, ended, until_ns - now);
    ebb_blocking_end();
    return fd;
}

static void *serve_thread(void *unused) {
    (void)unused;
    uint64_t next_ns = ebb__os_now_ns();
    for (;;) {
        uint64_t now = ebb__os_now_ns();
        if (now >= next_ns) {
            ebb__series_take();
            next_ns = now - next_ns > 10 * SECOND_NS ? now + SECOND_NS : next_ns + SECOND_NS;
        }
        int fd = serve_wait(next_ns);
        if (fd >= 0) serve_connection(fd);
    }
    return NULL;
}

/* --- Fork and exit -------------------------------------------------------------------------- */

static void serve_fork_before(void) {
    ebb__os_lock(&serve.lock);
    ebb__series_hold();
}

static void serve_fork_parent(void) {
    ebb__series_let();
    ebb__os_unlock(&serve.lock);
}

static void serve_fork_child(void) {
    if (serve.listening >= 0) ebb__os_socket_close(serve.listening);
    for (int i = 0; i < CONNECTIONS; i++) {
        if (serve.fds[i] >= 0) ebb__os_socket_close(serve.fds[i]);
        serve.fds[i] = -1;
    }
    serve.listening = -1;
    serve.running = serve.http = false;
    ebb__series_let();
    ebb__os_unlock(&serve.lock);
}

/* Not locked by force: who calls exit may have interrupted the holder. */
static void serve_exit(void) {
    if (!ebb__os_trylock(&serve.lock)) return;
    if (serve.listening >= 0 && serve.pid == ebb__os_pid()) {
        ebb__os_socket_end(serve.listening);
        ebb__os_socket_remove(serve.path);
    }
    ebb__os_unlock(&serve.lock);
}

/* --- Beginning to serve --------------------------------------------------------------------- */

/* [lock] */
static int serve_run(void) {
    if (serve.running) return 0;
    if (!serve.hooked) {
        ebb__os_at_fork(serve_fork_before, serve_fork_parent, serve_fork_child);
        if (atexit(serve_exit) != 0) ebb__warn("the debug socket will stay when the program ends");
        serve.hooked = true;
    }
    ebb__series_start();
    int code = ebb__os_thread(serve_thread, NULL, ebb__settings.signal);
    serve.running = code == 0;
    return code;
}

/* [lock] */
static int serve_socket(void) {
    if (serve.listening >= 0) return EBB_EEXIST;
    int fd = ebb__os_socket_listen(serve.path);
    if (fd < 0) return fd;
    serve.listening = fd;
    serve.pid = ebb__os_pid();
    serve.socket = true;
    int code = serve_run();
    if (code == 0) return 0;
    serve.listening = -1;
    ebb__os_socket_close(fd);
    ebb__os_socket_remove(serve.path);
    return code;
}

/* libebb-debug's threads begin with the mask of the thread that makes them: one of ours, so that
 * they take no signal that is the program's. */
typedef struct http_call {
    char where[64];
    int code;
    _Atomic(uint32_t) done; /* release by the thread, acquire by who waits */
} http_call;

static int http_begin(const char *where) {
    static const struct ebb__debug_calls calls = {ebb_debug_ask, ebb_debug_headers,
                                                  ebb__world_exempt};
    char why[256] = "";
    const char *missing = "";
    void *found = ebb__os_library_function("libebb-debug.so.0", "ebb_debug_http", &missing);
    if (!found) {
        ebb__warn("no debug pages at %s: %s (libebb-debug is a library beside libebb)", where,
                  missing);
        return EBB_ENOENT;
    }
    int code = ((ebb__debug_http)found)(where, &calls, why, sizeof why);
    if (code == 0)
        ebb__warn("debug pages at http://%s/debug/ebb/", why);
    else
        ebb__warn("no debug pages at %s: %s", where, why);
    return code;
}

static void *http_thread(void *arg) {
    http_call *call = arg;
    call->code = http_begin(call->where);
    ebb__os_lock(&serve.lock);
    serve.http = call->code == 0;
    if (serve.http) serve_run();
    ebb__os_unlock(&serve.lock);
    atomic_store_explicit(&call->done, 1, memory_order_release);
    ebb__os_wake(&call->done, false);
    return NULL;
}

/* Loading a library takes the loader's lock, which the program may have now: it does not wait. */
static int serve_http(http_call *call, const char *where, bool wait) {
    size_t length = strlen(where);
    if (length >= sizeof call->where)
        return ebb__misuse(EBB_EINVAL, "ebb_debug_serve", "\"%s\" is no address", where);
    ebb__os_lock(&serve.lock);
    bool there = serve.http;
    serve.http = true;
    ebb__os_unlock(&serve.lock);
    if (there) return EBB_EEXIST;
    memcpy(call->where, where, length + 1);
    int code = ebb__os_thread(http_thread, call, ebb__settings.signal);
    if (code) {
        serve.http = false;
        return code;
    }
    if (!wait) return 0;
    while (atomic_load_explicit(&call->done, memory_order_acquire) == 0)
        ebb__os_wait(&call->done, 0, UINT64_MAX);
    return call->code;
}

int ebb_debug_serve(const char *where) {
    http_call call = {0};
    if (!ebb__heap_start()) return EBB_ENOMEM;
    if (where) return serve_http(&call, where, true);
    ebb__os_lock(&serve.lock);
    int code = serve_socket();
    ebb__os_unlock(&serve.lock);
    return code;
}

void ebb__serve_started(void) {
    static http_call call;
    if (ebb__settings.serve) ebb_debug_serve(NULL);
    if (*ebb__settings.serve_where) serve_http(&call, ebb__settings.serve_where, false);
}

void ebb__serve_tick(void) {
    ebb__os_lock(&serve.lock);
    if (serve.socket && serve.listening < 0 && !serve.running) serve.socket = serve_socket() == 0;
    ebb__os_unlock(&serve.lock);
}
