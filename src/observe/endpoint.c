/* endpoint.c - from a request to the page that answers it, and what pages write to.
 * docs/design.md, "Debug server".
 *
 * What comes in was written by a stranger: parameters are decoded into the caller's room or not at
 * all. What goes out is gathered in the reply itself, 4 KiB at a time, so that pages can write word
 * by word and while the world is stopped; a sink that blocks blocks only its own thread. */
#include "endpoint.h"
#include "../os/os.h"

static const endpoint *const endpoint_table[] = {
#define ENDPOINT_ENTRY(name) &ebb__endpoint_##name,
    EBB__ENDPOINTS(ENDPOINT_ENTRY)
#undef ENDPOINT_ENTRY
};

enum { TARGET_BYTES_MAX = 4096 };

const endpoint *ebb__endpoint_at(size_t n) {
    return n < sizeof endpoint_table / sizeof *endpoint_table ? endpoint_table[n] : NULL;
}

const endpoint *ebb__endpoint_find(const char *path) {
    const endpoint *e;
    for (size_t n = 0; (e = ebb__endpoint_at(n)) != NULL; n++)
        if (strcmp(e->path, path) == 0) return e;
    return NULL;
}

/* --- Requests ------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Decodes [at, end) into room. False when it does not fit, is coded wrongly, or holds a zero. */
static bool request_decode(const char *at, const char *end, char *room, size_t size) {
    size_t n = 0;
    for (; at < end; at++) {
        int c = (unsigned char)*at;
        if (c == '+') c = ' ';
        if (c == '%') {
            int high = at + 2 < end ? hex_digit(at[1]) : -1;
            int low = high >= 0 ? hex_digit(at[2]) : -1;
            if (low < 0) return false;
            c = high * 16 + low;
            at += 2;
        }
        if (c == 0 || n + 1 >= size) return false;
        room[n++] = (char)c;
    }
    if (n >= size) return false;
    room[n] = 0;
    return true;
}

const char *ebb__request_value(const request *r, const char *name, char *room, size_t size) {
    size_t length = strlen(name);
    for (const char *at = r->query; *at;) {
        const char *end = at + strcspn(at, "&");
        if ((size_t)(end - at) >= length && strncmp(at, name, length) == 0) {
            const char *value = at + length;
            if (value == end) return request_decode(end, end, room, size) ? room : NULL;
            if (*value == '=') return request_decode(value + 1, end, room, size) ? room : NULL;
        }
        at = *end ? end + 1 : end;
    }
    return NULL;
}

bool ebb__request_is(const request *r, const char *name, const char *value) {
    char room[64];
    const char *is = ebb__request_value(r, name, room, sizeof room);
    return is && strcmp(is, value) == 0;
}

static bool request_has(const request *r, const char *name) {
    size_t length = strlen(name);
    for (const char *at = r->query; *at; at += *at == '&') {
        size_t word = strcspn(at, "=&");
        if (word == length && strncmp(at, name, length) == 0) return true;
        at += strcspn(at, "&");
    }
    return false;
}

bool ebb__request_number(const request *r, reply *to, const char *name, uint64_t least,
                         uint64_t most, uint64_t otherwise, uint64_t *number) {
    char room[24], *end = room;
    *number = otherwise;
    if (!request_has(r, name)) return true;
    const char *text = ebb__request_value(r, name, room, sizeof room);
    errno = 0;
    unsigned long long n = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (end == room || *end != 0 || errno != 0 || n < least || n > most) {
        ebb__reply_error(to, 400, "%s takes a whole number from %llu to %llu", name,
                         (unsigned long long)least, (unsigned long long)most);
        return false;
    }
    *number = n;
    return true;
}

/* --- Replies -------------------------------------------------------------------------------- */

void ebb__reply_open(reply *r, const ebb_debug_sink *sink, uint64_t until_ns) {
    r->sink = *sink;
    r->until_ns = until_ns;
    r->wanted = NULL;
    r->wanted_arg = NULL;
    r->wanted_ns = 0;
    r->guest = r->begun = r->failed = false;
    r->used = 0;
}

void ebb__reply_open_within(reply *r, const ebb_debug_sink *sink, const reply *outer) {
    ebb__reply_open(r, sink, outer->until_ns);
    r->wanted = outer->wanted;
    r->wanted_arg = outer->wanted_arg;
    r->wanted_ns = outer->wanted_ns;
    r->guest = outer->guest;
}

/* Not at each piece: it costs a system call. */
static bool reply_wanted(reply *r, uint64_t now) {
    enum { ASK_AGAIN_NS = 50000000 };
    if (!r->wanted || now - r->wanted_ns < ASK_AGAIN_NS) return true;
    r->wanted_ns = now;
    return r->wanted(r->wanted_arg);
}

bool ebb__reply_failed(reply *r) {
    if (r->failed || (!r->until_ns && !r->wanted)) return r->failed;
    uint64_t now = ebb__os_now_ns();
    r->failed = (r->until_ns && now > r->until_ns) || !reply_wanted(r, now);
    return r->failed;
}

void ebb__reply_begin(reply *r, int status, const char *type, const char *filename) {
    ebb__assert(!r->begun);
    if (r->begun) return;
    r->begun = true;
    r->sink.begin(r->sink.arg, status, type, filename);
}

static void reply_pass(reply *r, const void *bytes, size_t size) {
    if (size == 0 || ebb__reply_failed(r)) return;
    if (!r->sink.write(r->sink.arg, bytes, size)) r->failed = true;
}

void ebb__reply_flush(reply *r) {
    size_t used = r->used;
    r->used = 0;
    reply_pass(r, r->buffer, used);
}

void ebb__reply_write(reply *r, const void *bytes, size_t size) {
    ebb__assert(r->begun);
    if (r->failed || size == 0) return;
    if (size > sizeof r->buffer - r->used) ebb__reply_flush(r);
    if (size >= sizeof r->buffer) {
        reply_pass(r, bytes, size);
        return;
    }
    memcpy(r->buffer + r->used, bytes, size);
    r->used += size;
}

__attribute__((format(printf, 2, 0))) static void reply_format(reply *r, const char *format,
                                                               va_list args) {
    char piece[4096];
    int n = vsnprintf(piece, sizeof piece, format, args);
    if (n > 0) ebb__reply_write(r, piece, min_size((size_t)n, sizeof piece - 1));
}

void ebb__reply_print(reply *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    reply_format(r, format, args);
    va_end(args);
}

void ebb__reply_json_string(reply *r, const char *text) {
    ebb__reply_write(r, "\"", 1);
    for (const char *at = text; *at;) {
        size_t plain = 0;
        while ((unsigned char)at[plain] >= ' ' && at[plain] != '"' && at[plain] != '\\') plain++;
        ebb__reply_write(r, at, plain);
        at += plain;
        if (*at) ebb__reply_print(r, "\\u%04x", (unsigned char)*at++);
    }
    ebb__reply_write(r, "\"", 1);
}

void ebb__reply_error(reply *r, int status, const char *format, ...) {
    if (r->begun) return;
    ebb__reply_begin(r, status, EBB__TEXT, NULL);
    va_list args;
    va_start(args, format);
    reply_format(r, format, args);
    va_end(args);
    ebb__reply_write(r, "\n", 1);
}

void ebb__reply_close(reply *r) {
    if (!r->begun) ebb__reply_error(r, 500, "the page gave no answer");
    ebb__reply_flush(r);
}

/* --- Asking --------------------------------------------------------------------------------- */

static int ask_answer(const ebb_debug_request *asked, reply *to) {
    char path[TARGET_BYTES_MAX];
    size_t length = strlen(asked->target);
    if (length >= sizeof path) {
        ebb__reply_error(to, 414, "the address is longer than %zu bytes", sizeof path - 1);
        return EBB_ENOENT;
    }
    memcpy(path, asked->target, length + 1);
    char *query = path + strcspn(path, "?");
    if (*query) *query++ = 0;
    const endpoint *e = ebb__endpoint_find(path);
    if (!e) {
        ebb__reply_error(to, 404, "there is no such page; %s lists them", ebb__endpoint_index.path);
        return EBB_ENOENT;
    }
    if (asked->body && !e->posts) {
        ebb__reply_error(to, 405, "nothing can be posted here");
        return 0;
    }
    e->answer(&(request){.path = path,
                         .query = query,
                         .accept = asked->accept ? asked->accept : "",
                         .body = asked->body ? asked->body : "",
                         .posted = asked->body},
              to);
    return 0;
}

static int ask_for(const ebb_debug_request *asked, const ebb_debug_sink *sink, bool guest) {
    reply to;
    ebb__reply_open(&to, sink, asked->until_ns);
    to.wanted = asked->wanted;
    to.wanted_arg = sink->arg;
    to.wanted_ns = ebb__os_now_ns();
    to.guest = guest;
    int code = ask_answer(asked, &to);
    ebb__reply_close(&to);
    return to.failed ? EBB_ESYSTEM : code;
}

static bool sink_is_whole(const ebb_debug_sink *sink) {
    return sink && sink->begin && sink->write;
}

int ebb_debug_ask(const ebb_debug_request *asked, const ebb_debug_sink *sink) {
    if (!asked || !asked->target || !sink_is_whole(sink))
        return ebb__misuse(EBB_EINVAL, "ebb_debug_ask", "a pointer is null");
    return ask_for(asked, sink, true);
}

int ebb_debug_get(const char *target, const ebb_debug_sink *sink) {
    if (!target || !sink_is_whole(sink))
        return ebb__misuse(EBB_EINVAL, "ebb_debug_get", "a pointer is null");
    return ask_for(&(ebb_debug_request){.target = target}, sink, false);
}
