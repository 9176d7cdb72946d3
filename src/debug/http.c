/* http.c - libebb-debug: the pages over HTTP, by civetweb. docs/design.md, "Debug server".
 *
 * A library of its own, loaded when a program asks for it: so libebb needs nothing but the C
 * library, and a program that serves nothing has no web server in it. It may be loaded into a
 * program that has Ebb inside, so it is handed what it calls.
 *
 * Loopback is not private: every user of the host can connect, and so can each page in a browser
 * here. So a request has to name the host by its number or as localhost, because a name could be
 * one that a stranger's page has made to point here; what a page of another origin asks for in the
 * background is refused; and what changes anything has to be posted, which a browser may do for the
 * pages of this server alone. */
#define _GNU_SOURCE 1
#include "page.h"

#include <arpa/inet.h>
#include <civetweb.h>
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TARGET_BYTES = 4096, BODY_BYTES = 65536, REPLY_SECONDS = 600, BODY_SECONDS = 5 };
enum { STACK_BYTES = 512 * 1024 };

/* Set once, before the server starts. */
static struct {
    struct ebb__debug_calls calls;
    struct mg_context *context;
    bool loopback;
    unsigned char host[16]; /* where it listens, of which IPv4 has four bytes */
    _Atomic(int) port;      /* where it listens; 0: not known yet. Relaxed */
    int listening;          /* the descriptor, for a forked child to close; -1 is unknown */
    char error[200];        /* the last that civetweb said while it started */
} http = {.listening = -1};

/* --- Who may ask ---------------------------------------------------------------------------- */

/* "host:port" or "[host]:port", port or not: whether host is a number, or localhost. */
static bool host_is_safe(const char *header) {
    char host[64];
    unsigned char address[16];
    const char *start = header + (*header == '['), *end;
    if (*header == '[')
        end = strchr(header, ']');
    else
        end = header + strcspn(header, ":");
    if (!end || (size_t)(end - start) >= sizeof host) return false;
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = 0;
    if (*header == '[') return inet_pton(AF_INET6, host, address) == 1;
    return inet_pton(AF_INET, host, address) == 1 || strcasecmp(host, "localhost") == 0;
}

static bool header_is(const struct mg_connection *c, const char *name, const char *value) {
    const char *is = mg_get_header(c, name);
    return is && strcmp(is, value) == 0;
}

/* Whether a page asks that is not this server's. Another port of the host is another origin: it
 * may be another user's. A browser says so in Sec-Fetch-Site, and in Origin for what is posted. */
static bool request_is_foreign(const struct mg_connection *c) {
    const char *host = mg_get_header(c, "Host"), *origin = mg_get_header(c, "Origin");
    const char *site = mg_get_header(c, "Sec-Fetch-Site");
    if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0) return true;
    if (!origin) return false;
    return !host || strncmp(origin, "http://", 7) != 0 || strcasecmp(origin + 7, host) != 0;
}

/* Why the request is refused, or null. A link to a page may be followed from anywhere; a frame of
 * it, which is loaded without a person's doing, may not. */
static const char *request_refused(const struct mg_connection *c, bool gets) {
    const char *host = mg_get_header(c, "Host");
    if (http.loopback && host && !host_is_safe(host))
        return "this host is asked for by its number, or as localhost";
    bool followed = gets && header_is(c, "Sec-Fetch-Mode", "navigate") &&
                    header_is(c, "Sec-Fetch-Dest", "document");
    return request_is_foreign(c) && !followed ? "a page of another site asks" : NULL;
}

/* --- Descriptors: civetweb does not tell which it has ------------------------------------------
 */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* The port of an address, and its number; -1: it has none. */
static int address_port(const union address *a, unsigned char number[16]) {
    if (a->any.sa_family == AF_INET6) {
        memcpy(number, &a->v6.sin6_addr, 16);
        return ntohs(a->v6.sin6_port);
    }
    if (a->any.sa_family != AF_INET) return -1;
    memcpy(number, &a->v4.sin_addr, 4);
    return ntohs(a->v4.sin_port);
}

/* The program may listen at the same port of another address. */
static bool listening_is_ours(int fd, const void *arg) {
    int listens = 0;
    socklen_t size = sizeof listens;
    union address name = {.any = {0}};
    unsigned char number[16] = {0};
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || !listens) return false;
    size = sizeof name;
    return getsockname(fd, &name.any, &size) == 0 &&
           address_port(&name, number) == *(const int *)arg && memcmp(number, http.host, 16) == 0;
}

/* Whether it is the server's end of the connection. */
static bool connection_is_ours(int fd, const void *arg) {
    const struct mg_request_info *info = arg;
    union address name = {.any = {0}}, peer = {.any = {0}};
    unsigned char number[16];
    char text[INET6_ADDRSTRLEN];
    socklen_t size = sizeof name;
    if (getsockname(fd, &name.any, &size) != 0 ||
        address_port(&name, number) != atomic_load_explicit(&http.port, memory_order_relaxed))
        return false;
    size = sizeof peer;
    if (getpeername(fd, &peer.any, &size) != 0 || address_port(&peer, number) != info->remote_port)
        return false;
    return inet_ntop(peer.any.sa_family, number, text, sizeof text) &&
           strcmp(text, info->remote_addr) == 0;
}

/* The descriptor of this process for which it is so, or -1. */
static int descriptor_find(bool (*is)(int fd, const void *arg), const void *arg) {
    DIR *descriptors = opendir("/proc/self/fd");
    int found = -1;
    for (struct dirent *d; descriptors && found < 0 && (d = readdir(descriptors)) != NULL;) {
        int fd = atoi(d->d_name);
        if (d->d_name[0] != '.' && is(fd, arg)) found = fd;
    }
    if (descriptors) closedir(descriptors);
    return found;
}

/* --- A request ------------------------------------------------------------------------------ */

/* Two threads share it: civetweb's, which talks to the client, and the page's. civetweb takes a
 * poll that a signal interrupted for a connection that broke, so its threads are never stopped by
 * the collector, and may not run a page; they also have small stacks. */
struct exchange {
    struct mg_connection *connection;
    const char *path;
    ebb_debug_request request;
    char target[TARGET_BYTES];
    char *body;
    bool chunks;
    bool begun, failed; /* civetweb's thread's */
    int status;         /* likewise */
    int fd; /* of the connection: -1 is unknown, -2 not yet looked for [page's thread] */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool given, taken_well, ended; /* what follows was given and not yet taken; [lock] */
    int give_status;               /* a head, or 0: a piece [lock] */
    const char *give_type, *give_filename;
    const void *give_bytes;
    size_t give_size;
};

static bool exchange_head(struct exchange *e, int status, const char *type, const char *filename) {
    char head[640];
    size_t n = http.calls.headers(e->path, status, type, filename, head, sizeof head);
    e->status = status;
    e->begun = mg_printf(e->connection, "HTTP/1.1 %d %s\r\nConnection: close\r\n%s%.*s\r\n", status,
                         mg_get_response_code_text(e->connection, status),
                         e->chunks ? "Transfer-Encoding: chunked\r\n" : "", (int)n, head) > 0;
    return e->begun;
}

static bool exchange_piece(struct exchange *e, const void *bytes, size_t size) {
    if (!e->begun || size == 0) return e->begun;
    if (e->chunks) return mg_send_chunk(e->connection, bytes, (unsigned)size) > 0;
    return mg_write(e->connection, bytes, size) == (int)size;
}

static void exchange_error(struct exchange *e, int status, const char *says) {
    exchange_head(e, status, "text/plain; charset=utf-8", NULL);
    exchange_piece(e, says, strlen(says));
    exchange_piece(e, "\n", 1);
}

/* Hands what was prepared to civetweb's thread and waits until it is sent. [lock] */
static bool exchange_give(struct exchange *e) {
    e->given = true;
    pthread_cond_broadcast(&e->changed);
    while (e->given) pthread_cond_wait(&e->changed, &e->lock);
    return e->taken_well;
}

static void sink_begin(void *arg, int status, const char *type, const char *filename) {
    struct exchange *e = arg;
    pthread_mutex_lock(&e->lock);
    e->give_status = status;
    e->give_type = type;
    e->give_filename = filename;
    exchange_give(e);
    pthread_mutex_unlock(&e->lock);
}

static bool sink_write(void *arg, const void *bytes, size_t size) {
    struct exchange *e = arg;
    pthread_mutex_lock(&e->lock);
    e->give_status = 0;
    e->give_bytes = bytes;
    e->give_size = size;
    bool well = exchange_give(e);
    pthread_mutex_unlock(&e->lock);
    return well;
}

static time_t seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* civetweb does not tell the descriptor, so it is looked for when a reply takes long. To a client
 * that says that it sends no more the same is said as by one that is gone. */
static bool exchange_wanted(void *arg) {
    struct exchange *e = arg;
    if (e->fd == -2)
        e->fd = descriptor_find(connection_is_ours, mg_get_request_info(e->connection));
    struct pollfd p = {.fd = e->fd, .events = POLLRDHUP};
    return e->fd < 0 || poll(&p, 1, 0) <= 0 || !(p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static void *exchange_ask(void *arg) {
    struct exchange *e = arg;
    ebb_debug_sink sink = {sink_begin, sink_write, e};
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    e->request.until_ns =
        ((uint64_t)now.tv_sec + REPLY_SECONDS) * 1000000000u + (uint64_t)now.tv_nsec;
    e->request.wanted = exchange_wanted;
    bool failed = http.calls.ask(&e->request, &sink) == EBB_ESYSTEM;
    pthread_mutex_lock(&e->lock);
    e->failed = failed;
    e->ended = true;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* Sends what the page's thread gives, until it has ended. */
static void exchange_send(struct exchange *e) {
    pthread_mutex_lock(&e->lock);
    while (!e->ended) {
        if (!e->given) {
            pthread_cond_wait(&e->changed, &e->lock);
            continue;
        }
        pthread_mutex_unlock(&e->lock);
        bool well = e->give_status
                        ? exchange_head(e, e->give_status, e->give_type, e->give_filename)
                        : exchange_piece(e, e->give_bytes, e->give_size);
        pthread_mutex_lock(&e->lock);
        e->taken_well = well;
        e->given = false;
        pthread_cond_broadcast(&e->changed);
    }
    pthread_mutex_unlock(&e->lock);
}

static void exchange_run(struct exchange *e) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (pthread_create(&thread, &attributes, exchange_ask, e) == 0) {
        exchange_send(e);
        pthread_join(thread, NULL);
    } else {
        exchange_error(e, 503, "no thread can be made for the reply");
    }
    pthread_attr_destroy(&attributes);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
}

/* 0, or the status to refuse it with. */
static int exchange_read(struct exchange *e, const struct mg_request_info *info) {
    bool posted = strcmp(info->request_method, "POST") == 0;
    const char *query = info->query_string;
    if (!posted && strcmp(info->request_method, "GET") != 0) return 405;
    int n = snprintf(e->target, sizeof e->target, "%s%s%s", e->path, query ? "?" : "",
                     query ? query : "");
    if (n < 0 || (size_t)n >= sizeof e->target) return 414;
    if (!posted) return 0;
    if (info->content_length > BODY_BYTES) return 413;
    e->body = calloc(1, BODY_BYTES + 1);
    if (!e->body) return 503;
    /* mg_read waits for all that it is asked for, each byte of it as long as for a request. */
    time_t start = seconds_now();
    int have = 0;
    for (; have < BODY_BYTES && mg_read(e->connection, e->body + have, 1) > 0; have++)
        if (seconds_now() - start > BODY_SECONDS) return 408;
    if (have < info->content_length) return 408;
    e->request.body = e->body;
    return 0;
}

/* What a browser is shown: true when it was. */
static bool exchange_page(struct exchange *e, const struct mg_request_info *info) {
    const struct page_asset *asset =
        page_find(e->path, info->query_string, mg_get_header(e->connection, "Accept"));
    if (!asset || strcmp(info->request_method, "GET") != 0) return false;
    exchange_head(e, 200, asset->type, NULL);
    exchange_piece(e, asset->start, (size_t)(asset->end - asset->start));
    return true;
}

/* Every request. Returns the status, which tells civetweb that it was answered. */
static int http_request(struct mg_connection *c) {
    const struct mg_request_info *info = mg_get_request_info(c);
    struct exchange *e = calloc(1, sizeof *e);
    if (!e) return 0;
    e->connection = c;
    e->fd = -2;
    e->path = info->local_uri ? info->local_uri : "/";
    e->chunks = info->http_version && strcmp(info->http_version, "1.1") == 0;
    e->request.target = e->target;
    e->request.accept = mg_get_header(c, "Accept");
    const char *refused = request_refused(c, strcmp(info->request_method, "GET") == 0);
    bool shown = !refused && exchange_page(e, info);
    int status = refused ? 403 : shown ? 0 : exchange_read(e, info);
    if (status)
        exchange_error(e, status, refused ? refused : mg_get_response_code_text(c, status));
    else if (!shown)
        exchange_run(e);
    /* A reply that broke off has no last chunk, which is how its reader knows. */
    if (e->begun && e->chunks && !e->failed) mg_send_chunk(c, "", 0);
    status = e->status ? e->status : 500;
    free(e->body);
    free(e);
    return status;
}

/* --- Starting ------------------------------------------------------------------------------- */

/* By each of civetweb's threads, first. */
static void *http_thread(const struct mg_context *context, int kind) {
    (void)context, (void)kind;
    http.calls.exempt();
    return NULL;
}

static int http_log(const struct mg_connection *c, const char *message) {
    (void)c;
    if (!http.context) snprintf(http.error, sizeof http.error, "%s", message);
    return 1;
}

/* From "6060", ":6060", "localhost:6060", "127.0.0.1:6060", "[::1]:6060" to what civetweb takes.
 * False for anything else. */
static bool address_read(const char *where, char *address, size_t size) {
    char host[64] = "127.0.0.1";
    const char *colon = strrchr(where, ':'), *port = colon ? colon + 1 : where;
    size_t length = colon ? (size_t)(colon - where) : 0;
    if (length >= sizeof host) return false;
    if (length > 0 && strncmp(where, "localhost:", 10) != 0) {
        memcpy(host, where, length);
        host[length] = 0;
    }
    if (strspn(port, "0123456789") != strlen(port) || !*port || strlen(port) > 5 ||
        atoi(port) > 65535)
        return false;
    http.loopback = strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
    snprintf(address, size, "%s:%s", host, port);
    memset(http.host, 0, sizeof http.host);
    if (*host != '[') return inet_pton(AF_INET, host, http.host) == 1;
    host[strlen(host) - 1] = 0;
    return colon[-1] == ']' && inet_pton(AF_INET6, host + 1, http.host) == 1;
}

/* The child has no thread that would accept: what connects must not wait for it. */
static void http_forked(void) {
    if (http.listening >= 0) close(http.listening);
    http.listening = -1;
    http.context = NULL;
}

__attribute__((visibility("default"))) int ebb_debug_http(const char *where,
                                                          const struct ebb__debug_calls *calls,
                                                          char *why, size_t why_size) {
    char address[96];
    struct mg_callbacks callbacks = {
        .begin_request = http_request, .init_thread = http_thread, .log_message = http_log};
    struct mg_server_port port = {0};
    const char *options[] = {"listening_ports",
                             address,
                             "num_threads",
                             "6",
                             "request_timeout_ms",
                             "5000",
                             "enable_keep_alive",
                             "no",
                             "max_request_size",
                             "16384",
                             "enable_directory_listing",
                             "no",
                             NULL};
    if (!address_read(where, address, sizeof address)) {
        snprintf(why, why_size, "an address is a port, or a number and a port: 127.0.0.1:6060");
        return EBB_EINVAL;
    }
    http.calls = *calls;
    mg_init_library(0);
    struct mg_context *context = mg_start(&callbacks, NULL, options);
    if (!context) {
        snprintf(why, why_size, "%s", *http.error ? http.error : "civetweb did not start");
        return EBB_ESYSTEM;
    }
    http.context = context;
    mg_get_server_ports(context, 1, &port);
    atomic_store_explicit(&http.port, port.port, memory_order_relaxed);
    http.listening = descriptor_find(listening_is_ours, &port.port);
    pthread_atfork(NULL, NULL, http_forked);
    snprintf(why, why_size, "%.*s:%d", (int)(strrchr(address, ':') - address), address, port.port);
    return 0;
}

typedef char http_type_check
    [__builtin_types_compatible_p(__typeof__(&ebb_debug_http), ebb__debug_http) ? 1 : -1];
