/* http.h - the little of HTTP that the socket speaks. docs/design.md, "Debug server". */
#ifndef EBB_HTTP_H
#define EBB_HTTP_H

#include "../base/base.h"

enum { HTTP_HEAD_BYTES = 8192, HTTP_BODY_BYTES = 65536 };

/* A request's head, of which the strings are parts. */
typedef struct http_request {
    const char *target, *accept; /* accept may be null */
    bool posts;
    bool chunks;   /* the client understands a reply in chunks: HTTP/1.1 */
    size_t length; /* of what is posted, at most HTTP_BODY_BYTES */
} http_request;

/* How long the head at the start of text is, its empty line included, or 0: it has not come yet. */
EBB__SHARED size_t ebb__http_head(const char *text, size_t size);

/* Reads the head, which it takes apart. 0, or the status of the error. */
EBB__SHARED int ebb__http_parse(char *head, size_t size, http_request *out);

EBB__SHARED const char *ebb__http_reason(int status);

#endif
