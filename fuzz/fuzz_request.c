/* fuzz_request.c - what a stranger may send to the debug server: raw bytes over the socket, and
 * parameters of every page. Each request is answered once, with a status; a reply over the socket
 * has a head. See docs/design.md, "Debug server". */
#include <ebb/ebb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "input.h"

enum { PAGES = 64, TEXT = 4096 };

static struct sockaddr_un server = {.sun_family = AF_UNIX};
static char pages[PAGES][64];
static size_t page_count;

/* --- Replies -------------------------------------------------------------------------------- */

typedef struct outcome {
    int begun, status;
    size_t size;
    char text[1 << 16]; /* the beginning */
} outcome;

static void outcome_begin(void *arg, int status, const char *type, const char *filename) {
    outcome *o = arg;
    REQUIRE(type && strchr(type, '/'));
    REQUIRE(!filename || !strpbrk(filename, "\"\r\n"));
    o->begun++;
    o->status = status;
}

static bool outcome_write(void *arg, const void *bytes, size_t size) {
    outcome *o = arg;
    for (size_t i = 0; i < size && o->size + 1 < sizeof o->text; i++)
        o->text[o->size++] = ((const char *)bytes)[i];
    o->text[o->size] = 0;
    return true;
}

static void page_ask(outcome *o, const char *target, const char *accept, const char *body) {
    ebb_debug_sink sink = {outcome_begin, outcome_write, o};
    o->begun = o->status = 0;
    o->size = 0;
    ebb_debug_request asked = {.target = target, .accept = accept, .body = body};
    /* The program itself does not wait for its turn, so that more is tried. */
    int code = accept || body ? ebb_debug_ask(&asked, &sink) : ebb_debug_get(target, &sink);
    REQUIRE(code == 0 || code == EBB_ENOENT || code == EBB_ESYSTEM);
    REQUIRE(o->begun == 1 && o->status >= 200 && o->status < 600);
}

/* --- Once ----------------------------------------------------------------------------------- */

static void server_start(void) {
    static char directory[] = "/tmp/ebb-fuzz-XXXXXX";
    static outcome index;
    if (page_count) return;
    REQUIRE(mkdtemp(directory) && setenv("XDG_RUNTIME_DIR", directory, 1) == 0);
    REQUIRE(ebb_debug_serve(NULL) == 0);
    snprintf(server.sun_path, sizeof server.sun_path, "%s/ebb/%d.sock", directory, (int)getpid());
    page_ask(&index, "/debug/ebb/", NULL, NULL);
    for (char *line = index.text; *line && page_count < PAGES; line += strcspn(line, "\n") + 1)
        snprintf(pages[page_count++], sizeof *pages, "%.*s", (int)strcspn(line, " \n"), line);
    REQUIRE(page_count > 3);
}

/* What takes long because it was told to is nothing to look for here. */
static bool request_waits(const uint8_t *data, size_t size) {
    for (size_t i = 0; i + 3 <= size; i++)
        if (memcmp(data + i, "sec", 3) == 0) return true;
    return false;
}

/* --- The two ways --------------------------------------------------------------------------- */

/* The page by its number, the rest of the input as its query; or as what is posted to it. */
static void parameters_step(struct input *in) {
    static const char *const formats[] = {"", "format=json&", "debug=1&", "target="};
    static char target[TEXT], body[TEXT];
    static outcome o;
    uint32_t page = input_take(in, 1), how = input_take(in, 1);
    size_t left = (size_t)(in->end - in->at), n = left < TEXT - 128 ? left : TEXT - 128;
    snprintf(target, sizeof target, "%s?%s", pages[page % page_count], formats[how % 4]);
    memcpy(body, in->at, n);
    body[n] = 0;
    if (!(how & 64)) strcat(target, body);
    page_ask(&o, target, how & 128 ? "application/openmetrics-text" : NULL, how & 64 ? body : NULL);
}

static void socket_step(const uint8_t *data, size_t size) {
    static char reply[256];
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&server, sizeof server) == 0);
    size_t sent = 0;
    for (ssize_t n = 1; sent < size && n > 0; sent += n > 0 ? (size_t)n : 0)
        n = send(fd, data + sent, size - sent, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    ssize_t have = read(fd, reply, sizeof reply - 1);
    if (size > 0) {
        REQUIRE(have > 0);
        reply[have] = 0;
        int status = 0;
        REQUIRE(sscanf(reply, "HTTP/1.%*1[01] %d ", &status) == 1 && status >= 200 && status < 600);
    }
    while (read(fd, reply, sizeof reply) > 0) {
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, data + size};
    server_start();
    if (request_waits(data, size)) return 0;
    if (input_take(&in, 1) % 2)
        parameters_step(&in);
    else
        socket_step(in.at, (size_t)(in.end - in.at));
    return 0;
}
