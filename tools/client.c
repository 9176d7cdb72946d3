/* client.c - one request to a running program, over its socket or over HTTP.
 *
 * Programs of the same user have their sockets where ebb/debug.h says; root also looks where the
 * process's user would have it. The reply is HTTP/1.1 in chunks, so that a reply that broke off is
 * told from one that ended. */
#define _GNU_SOURCE 1
#include "client.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "colour.h"
#include "command.h"
#include "names.h"

enum { SILENCE_SECONDS_MAX = 300 };

__attribute__((format(printf, 1, 2))) static int client_failed(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("ebb: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return -1;
}

/* --- Connecting ----------------------------------------------------------------------------- */

/* A connection to the socket, or -1 with errno. */
static int socket_open(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return errno = ENAMETOOLONG, -1;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    int error = errno;
    close(fd);
    return errno = error, -1;
}

/* Whether this user, root or the user of the process listens. In /tmp somebody else may have been
 * there first. */
static bool peer_is_right(int fd, unsigned uid) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
    return peer.uid == 0 || peer.uid == geteuid() || peer.uid == uid;
}

/* The n-th place where process pid of user uid may have its socket. False after the last. */
static bool socket_place(int n, long pid, unsigned uid, char *path, size_t size) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    switch (n) {
    case 0:
        snprintf(path, size, "%s/ebb/%ld.sock", runtime ? runtime : "", pid);
        return true;
    case 1:
        snprintf(path, size, "/run/user/%u/ebb/%ld.sock", uid, pid);
        return true;
    case 2:
        snprintf(path, size, "/tmp/ebb-%u/%ld.sock", uid, pid);
        return true;
    default:
        return false;
    }
}

static int process_open(long pid) {
    char path[512];
    struct stat process;
    snprintf(path, sizeof path, "/proc/%ld", pid);
    if (stat(path, &process) != 0) return client_failed("there is no process %ld", pid);
    int worst = ENOENT;
    for (int n = 0; socket_place(n, pid, process.st_uid, path, sizeof path); n++) {
        int fd = socket_open(path);
        if (fd >= 0 && peer_is_right(fd, process.st_uid)) return fd;
        if (fd >= 0) close(fd);
        if (fd < 0 && errno != ENOENT) worst = errno;
    }
    if (worst == EACCES || worst == EPERM)
        return client_failed("process %ld belongs to another user", pid);
    return client_failed("process %ld does not serve: start it with EBB_DEBUG=serve, or have it "
                         "call ebb_debug_serve(NULL)",
                         pid);
}

static int host_open(const char *who) {
    char host[256];
    const char *colon = strrchr(who, ':');
    size_t length = (size_t)(colon - who);
    if (length >= sizeof host) return client_failed("%s is no address", who);
    memcpy(host, who, length);
    host[length] = 0;
    char *name = host;
    if (*name == '[' && name[length - 1] == ']') name[length - 1] = 0, name++;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(*name ? name : "127.0.0.1", colon + 1, &hints, &found);
    if (error) return client_failed("%s: %s", who, gai_strerror(error));
    int fd = -1;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            error = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd >= 0 ? fd : client_failed("%s: %s", who, strerror(error));
}

static int client_open(const char *who) {
    char *end;
    long pid = strtol(who, &end, 10);
    if (end != who && *end == 0 && pid > 0) return process_open(pid);
    if (strchr(who, '/')) {
        int fd = socket_open(who);
        if (fd < 0 && errno == ECONNREFUSED)
            return client_failed("%s: nobody answers; its process has ended, or serves no more",
                                 who);
        return fd >= 0 ? fd : client_failed("%s: %s", who, strerror(errno));
    }
    if (strchr(who, ':')) return host_open(who);
    return client_failed("\"%s\" is no process number, socket or HOST:PORT", who);
}

/* --- Talking -------------------------------------------------------------------------------- */

static bool request_send(int fd, const char *who, const char *target, bool posts) {
    char *text;
    bool host = !strchr(who, '/') && strchr(who, ':');
    int size = asprintf(&text, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n",
                        posts ? "POST" : "GET", target, host ? who : "localhost",
                        posts ? "Content-Length: 0\r\n" : "");
    if (size < 0) return false;
    bool sent = send(fd, text, (size_t)size, MSG_NOSIGNAL) == size;
    free(text);
    return sent;
}

/* The status, and whether the body comes in chunks; -1 when this is no HTTP. */
static int head_read(FILE *in, bool *chunked, long long *length) {
    char line[1024];
    int status;
    *chunked = false;
    *length = -1;
    if (!fgets(line, sizeof line, in) || sscanf(line, "HTTP/1.%*c %d", &status) != 1) return -1;
    while (fgets(line, sizeof line, in) && line[0] != '\r' && line[0] != '\n') {
        if (strncasecmp(line, "Transfer-Encoding:", 18) == 0)
            *chunked = strstr(line + 18, "chunked") != NULL;
        if (strncasecmp(line, "Content-Length:", 15) == 0) *length = strtoll(line + 15, NULL, 10);
    }
    return status;
}

/* Where text of a program's goes, which may be another user's. plain: for a terminal, which would
 * obey some characters. */
struct copy {
    FILE *in, *out;
    bool plain;
    bool
        ended_c2; /* the last byte was the first of U+0080 to U+00BF, the first half are controls */
};

static void piece_plain(struct copy *c, char *piece, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)piece[i];
        bool control = byte < ' ' ? byte != '\n' && byte != '\t' : byte == 0x7f;
        if (control || (c->ended_c2 && byte < 0xa0)) piece[i] = '?';
        c->ended_c2 = byte == 0xc2;
    }
}

/* Copies size bytes, or all when it is negative. False when there were not so many. */
static bool body_copy(struct copy *c, long long size) {
    char piece[16384];
    while (size != 0) {
        size_t want = size < 0 || size > (long long)sizeof piece ? sizeof piece : (size_t)size;
        size_t n = fread(piece, 1, want, c->in);
        if (n == 0) return size < 0 && !ferror(c->in);
        if (c->plain) piece_plain(c, piece, n);
        if (fwrite(piece, 1, n, c->out) != n) return false;
        if (size > 0) size -= (long long)n;
    }
    return true;
}

static bool chunks_copy(struct copy *c) {
    char line[64];
    while (fgets(line, sizeof line, c->in)) {
        char *end;
        long long size = strtoll(line, &end, 16);
        if (end == line || size < 0) return false;
        if (size == 0) return true;
        if (!body_copy(c, size) || !fgets(line, sizeof line, c->in)) return false;
    }
    return false;
}

static int reply_read(struct copy *c, const char *who, const char *target) {
    bool chunked;
    long long length;
    int status = head_read(c->in, &chunked, &length);
    if (status < 0) {
        client_failed("%s: no reply", who);
        return 1;
    }
    if (status >= 400) {
        fprintf(stderr, "ebb: %s%s: %d: ", who, target, status);
        c->out = stderr;
        c->plain = true;
    }
    bool whole = chunked ? chunks_copy(c) : body_copy(c, length);
    if (whole && fflush(c->out) == 0) return status >= 400;
    client_failed("%s: the reply broke off", who);
    return 1;
}

static int client_ask(const char *who, const char *target, bool posts, bool plain, FILE *out) {
    struct timeval silence = {.tv_sec = SILENCE_SECONDS_MAX};
    int fd = client_open(who), result = 1;
    if (fd < 0) return 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
    FILE *in = fdopen(fd, "r");
    if (!in) {
        close(fd);
        return 1;
    }
    if (request_send(fd, who, target, posts))
        result = reply_read(&(struct copy){.in = in, .out = out, .plain = plain}, who, target);
    else
        client_failed("%s: %s", who, strerror(errno));
    fclose(in);
    return result;
}

int client_get(const char *who, const char *target, FILE *out) {
    return client_ask(who, target, false, isatty(fileno(out)), out);
}

int client_pid(const char *who) {
    const char *slash = strrchr(who, '/'), *name = slash ? slash + 1 : who;
    char *end;
    long pid = strtol(name, &end, 10);
    bool known = end != name && strcmp(end, slash ? ".sock" : "") == 0;
    return known && pid > 0 && pid <= INT_MAX ? (int)pid : 0;
}

/* The page, with names where the process is known, and for a person in colour. */
static int client_page(const char *who, const char *target, bool posts, bool json) {
    int pid = client_pid(who);
    bool painted = !json && colour_wanted(stdout);
    FILE *page = pid || painted ? tmpfile() : NULL;
    if (!page) return client_ask(who, target, posts, true, stdout);
    int result = client_ask(who, target, posts, true, page);
    rewind(page);
    FILE *named = pid && painted ? tmpfile() : NULL;
    if (pid) names_filter(page, named ? named : stdout, pid);
    if (named) rewind(named);
    if (painted && (named || !pid)) colour_page(named ? named : page, stdout);
    if (named) fclose(named);
    fclose(page);
    return fflush(stdout) == 0 ? result : 1;
}

static int client_main(int argc, char **argv, const char *target, bool posts) {
    const char *who = NULL;
    bool json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (argv[i][0] == '-' || who)
            return command_wrong(argv[0], "\"%s\" is not understood", argv[i]);
        else
            who = argv[i];
    }
    if (!who) return command_wrong(argv[0], "takes a process");
    char *whole;
    const char *joint = strchr(target, '?') ? "&" : "?";
    if (asprintf(&whole, "%s%s%s", target, json ? joint : "", json ? "format=json" : "") < 0)
        return 1;
    int result = client_page(who, whole, posts, json);
    free(whole);
    return result;
}

int client_show(int argc, char **argv, const char *target) {
    return client_main(argc, argv, target, false);
}

int client_act(int argc, char **argv, const char *target) {
    return client_main(argc, argv, target, true);
}
