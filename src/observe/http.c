/* http.c - reads the head of a request, and says what stands in the head of a reply.
 * docs/design.md, "Debug server".
 *
 * What is not understood is refused, not guessed: a server that reads a request in another way than
 * what stands before it is one that can be fooled. */
#include "http.h"
#include "endpoint.h"

#include <ctype.h>

const char *ebb__http_reason(int status) {
    static const struct {
        int status;
        const char *reason;
    } table[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status) return table[i].reason;
    return status < 400 ? "OK" : "Error";
}

size_t ebb__http_head(const char *text, size_t size) {
    for (size_t i = 0; i + 1 < size; i++) {
        if (text[i] != '\n') continue;
        if (text[i + 1] == '\n') return i + 2;
        if (text[i + 1] == '\r' && i + 2 < size && text[i + 2] == '\n') return i + 3;
    }
    return 0;
}

/* Ends the line at *at, which is moved to the next one, and returns it; null after the last. */
static char *http_line(char **at, char *end) {
    char *line = *at, *newline = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;
    if (!newline) return NULL;
    *at = newline + 1;
    if (newline > line && newline[-1] == '\r') newline--;
    *newline = 0;
    return line;
}

/* "GET /path?query HTTP/1.1" */
static int http_first(char *line, http_request *out) {
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version) return 400;
    *target++ = *version++ = 0;
    if (strncmp(version, "HTTP/1.", 7) != 0 || !isdigit((unsigned char)version[7]) || version[8])
        return strncmp(version, "HTTP/", 5) == 0 ? 505 : 400;
    out->chunks = version[7] >= '1';
    out->posts = strcmp(line, "POST") == 0;
    if (!out->posts && strcmp(line, "GET") != 0) return 405;
    if (*target != '/') return 400;
    for (const char *c = target; *c; c++)
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 127) return 400;
    out->target = target;
    return 0;
}

static int http_length(const char *value, size_t *length) {
    char *end = NULL;
    errno = 0;
    unsigned long long n = isdigit((unsigned char)*value) ? strtoull(value, &end, 10) : 0;
    if (!end || *end || errno) return 400;
    *length = (size_t)n;
    return n > HTTP_BODY_BYTES ? 413 : 0;
}

/* "Name: value", of which three names matter. */
static int http_field(char *line, http_request *out) {
    char *value = strchr(line, ':');
    if (!value || value == line) return 400;
    *value++ = 0;
    value += strspn(value, " \t");
    char *end = value + strlen(value);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) *--end = 0;
    for (char *c = line; *c; c++) *c = (char)tolower((unsigned char)*c);
    if (strcmp(line, "accept") == 0) out->accept = value;
    if (strcmp(line, "transfer-encoding") == 0) return 501;
    return strcmp(line, "content-length") == 0 ? http_length(value, &out->length) : 0;
}

int ebb__http_parse(char *head, size_t size, http_request *out) {
    char *at = head, *end = head + size, *line;
    *out = (http_request){0};
    if (memchr(head, 0, size) || !(line = http_line(&at, end))) return 400;
    int status = http_first(line, out);
    while (status == 0 && (line = http_line(&at, end)) != NULL && *line)
        status = http_field(line, out);
    return status;
}

/* --- The head of a reply -------------------------------------------------------------------- */

/* Nothing but this host's own: no request to another one, no frame around it. */
#define HTTP_HTML_POLICY                                                                 \
 "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src " \
 "'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

size_t ebb_debug_headers(const char *path, int status, const char *type, const char *filename,
                         char *room, size_t size) {
    if (!path || !type || !room) {
        ebb__misuse(EBB_EINVAL, "ebb_debug_headers", "a pointer is null");
        return 0;
    }
    bool html = strncmp(type, "text/html", 9) == 0;
    const endpoint *e = status == 405 ? ebb__endpoint_find(path) : NULL;
    const char *allow = status != 405   ? ""
                        : e && e->posts ? "Allow: GET, POST\r\n"
                                        : "Allow: GET\r\n";
    bool pprof_error = status >= 400 && strncmp(path, "/debug/pprof/", 13) == 0;
    int n = snprintf(room, size,
                     "Content-Type: %s\r\n%s%s%s%s%s%s"
                     "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
                     "Cache-Control: no-store\r\n",
                     type, filename ? "Content-Disposition: attachment; filename=\"" : "",
                     filename ? filename : "", filename ? "\"\r\n" : "",
                     html ? "Content-Security-Policy: " HTTP_HTML_POLICY "\r\n" : "",
                     pprof_error ? "X-Go-Pprof: 1\r\n" : "", allow);
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}
