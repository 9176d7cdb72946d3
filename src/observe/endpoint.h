/* endpoint.h - the pages that a program answers, whoever asks: the socket's thread (serve.c),
 * libebb-debug, or the program itself by ebb_debug_get. docs/design.md, "Debug server".
 *
 * A page is a const endpoint in the file that knows what stands on it, and a line in
 * EBB__ENDPOINTS. It runs in an ordinary thread outside every lock and may stop the world, while
 * which it calls no malloc. SEVERAL MAY RUN AT ONCE, also several of the same page: what a page
 * keeps in static storage it guards by a lock. A page that takes long looks at ebb__reply_failed,
 * and gives up when it says so.
 *
 * What a person reads is text, with ?format=json JSON. */
#ifndef EBB_ENDPOINT_H
#define EBB_ENDPOINT_H

#include "../base/base.h"
#include "../../include/ebb/debug.h"

/* --- Requests ------------------------------------------------------------------------------- */

typedef struct reply reply;

/* Never null: "" for what was not sent. */
typedef struct request {
    const char *path, *query, *accept;
    const char *body; /* what was posted, to endpoints that say that they take it */
    bool posted;
} request;

/* The value of a parameter of the query, percent-decoded into room; null when it is not there, too
 * long, or no text. A parameter without a value is "". */
EBB__SHARED const char *ebb__request_value(const request *r, const char *name, char *room,
                                           size_t size);

/* Whether the parameter is there with this value. */
EBB__SHARED bool ebb__request_is(const request *r, const char *name, const char *value);

/* A parameter that is a whole number from least to most; otherwise when it is not there. False,
 * and the error is replied, when it is there and no such number. */
EBB__SHARED bool ebb__request_number(const request *r, reply *to, const char *name, uint64_t least,
                                     uint64_t most, uint64_t otherwise, uint64_t *number);

/* --- Replies -------------------------------------------------------------------------------- */

/* Owned by one thread. Its fields are endpoint.c's; ebb__reply_open makes one for a sink. */
struct reply {
    ebb_debug_sink sink;
    uint64_t until_ns;         /* 0 for never */
    bool (*wanted)(void *arg); /* as in ebb_debug_request, or null */
    void *wanted_arg;
    uint64_t wanted_ns; /* when that was asked last */
    bool guest;         /* not the program itself asked: see turn.h */
    bool begun, failed;
    size_t used; /* of buffer, not yet written */
    char buffer[4096];
};

/* Once, first: status 200, 400 …, content type, file name for Content-Disposition or null. */
EBB__SHARED void ebb__reply_begin(reply *r, int status, const char *type, const char *filename);

/* After a failed write they do nothing. print: no malloc, pieces of up to 4 KiB. */
EBB__SHARED void ebb__reply_write(reply *r, const void *bytes, size_t size);
EBB__SHARED __attribute__((format(printf, 2, 3))) void ebb__reply_print(reply *r,
                                                                        const char *format, ...);

/* The text as a JSON string, with its quotes. */
EBB__SHARED void ebb__reply_json_string(reply *r, const char *text);

/* The reader is gone, or the time is up. */
EBB__SHARED bool ebb__reply_failed(reply *r);

/* Begins with status and writes one line of text. Does nothing in a reply that was begun. */
EBB__SHARED __attribute__((format(printf, 3, 4))) void ebb__reply_error(reply *r, int status,
                                                                        const char *format, ...);

/* For who makes replies: between the two, a page writes. close also begins one that nobody began,
 * as an error. */
EBB__SHARED void ebb__reply_open(reply *r, const ebb_debug_sink *sink, uint64_t until_ns);
EBB__SHARED void ebb__reply_close(reply *r);

/* Opens one that gathers for a page's own reply: it fails when that one does, and waits as long. */
EBB__SHARED void ebb__reply_open_within(reply *r, const ebb_debug_sink *sink, const reply *outer);

/* Hands what was written so far to the sink. */
EBB__SHARED void ebb__reply_flush(reply *r);

#define EBB__TEXT "text/plain; charset=utf-8"
#define EBB__JSON "application/json"

/* --- Pages ---------------------------------------------------------------------------------- */

typedef struct endpoint {
    const char *path; /* whole */
    const char *says; /* half a line for the index; null leaves it out there */
    void (*answer)(const request *r, reply *to);
    bool posts; /* takes what is posted. What changes anything is done for a POST alone */
} endpoint;

/* ebb__endpoint_NAME, in the order of the index. */
#define EBB__ENDPOINTS(X) \
 X(index)                 \
 X(memory)                \
 X(memory_profile)        \
 X(slack)                 \
 X(gc)                    \
 X(trim)                  \
 X(why)                   \
 X(retainers)             \
 X(series)                \
 X(metrics)               \
 X(heapdump)              \
 X(heap)                  \
 X(allocs)                \
 X(cmdline)               \
 X(symbol)

#define EBB__ENDPOINT_DECLARE(name) EBB__SHARED extern const endpoint ebb__endpoint_##name;
EBB__ENDPOINTS(EBB__ENDPOINT_DECLARE)
#undef EBB__ENDPOINT_DECLARE

/* The n-th of the table, or null; that of a path, or null. */
EBB__SHARED const endpoint *ebb__endpoint_at(size_t n);
EBB__SHARED const endpoint *ebb__endpoint_find(const char *path);

#endif
