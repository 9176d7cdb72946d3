/* ebb/debug.h - what can be asked of a running program: the same pages over a Unix socket, over
 * HTTP, or by a call. Names and sizes only, never contents. docs/observe.md lists them. */
#ifndef EBB_DEBUG_H
#define EBB_DEBUG_H

#include "config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Serving -------------------------------------------------------------------------------- */

/* Serves the pages until the program ends, from a thread of Ebb's own. Off by default; the same as
 * EBB_DEBUG=serve or EBB_DEBUG=serve=127.0.0.1:6060.
 *
 *   where null           a Unix socket: PID.sock, for this user alone, in $XDG_RUNTIME_DIR/ebb,
 * else /run/user/UID/ebb, else /tmp/ebb-UID "127.0.0.1:6060"     HTTP at this address, by
 * libebb-debug, which is loaded for it; a port alone
 *                        (":6060", "6060") is one of 127.0.0.1
 *
 * After a fork the child has no HTTP server, and a socket of its own from its first collection on.
 * Returns / errors: 0; EBB_EEXIST when it is served there already; EBB_EINVAL for an address that
 *   is none; EBB_ENOENT without libebb-debug (a line on standard error says where it was looked
 *   for); EBB_ESYSTEM when the socket cannot be made (a line says why).
 * Threads: any.   Collects: never. */
EBB_API int ebb_debug_serve(const char *where);

/* --- Asking --------------------------------------------------------------------------------- */

/* Where a reply goes: begin once, first, then write as often as there is something. filename is
 * what to save the reply as, or null. */
typedef struct ebb_debug_sink {
    void (*begin)(void *arg, int status, const char *type, const char *filename);
    bool (*write)(void *arg, const void *bytes, size_t size); /* false: no more is wanted */
    void *arg;
} ebb_debug_sink;

/* Answers one request in the calling thread. target: path and query, "/debug/ebb/?format=json".
 * Returns / errors: 0 when there is such a page, also when it replied with an error (begin was told
 *   the status, as of HTTP); EBB_ENOENT when there is none, which was replied too (404);
 *   EBB_ESYSTEM when the reply broke off, because the sink wanted no more or the time was up;
 *   EBB_EINVAL for a null pointer.
 * Threads: any, outside of finalizers.   Collects: some pages do, when they are asked to. */
EBB_API int ebb_debug_get(const char *target, const ebb_debug_sink *sink);

/* The same with what a server knows besides. */
typedef struct ebb_debug_request {
    const char *target;
    const char *accept; /* types that the client understands, as in HTTP's Accept; or null */
    const char *body;   /* what was posted, "" for nothing; null for a request that only asks */
    uint64_t until_ns;  /* CLOCK_MONOTONIC: give up then; 0 for never */

    /* Whether somebody still waits for the reply; asked a few times a second, with the sink's arg,
     * by the thread that answers while it waits. Or null: only a failed write tells. */
    bool (*wanted)(void *arg);
} ebb_debug_request;

/* For who is asked by others. Refuses (405) what was posted to a page that takes nothing, and a
 * request that would change something and was not posted: a server that browsers reach lets no
 * page of another site post. Requests that stop the program wait for one another, so that together
 * they stop it for a tenth of the time at most and a hundred times a second. As ebb_debug_get
 * otherwise, which does not wait. */
EBB_API int ebb_debug_ask(const ebb_debug_request *request, const ebb_debug_sink *sink);

/* --- Dumps ---------------------------------------------------------------------------------- */

/* Writes all reachable objects, with their sizes and types, who refers to whom, and the roots, to a
 * file that `ebb dom` reads: docs/heapdump.md. Names and sizes, never contents. Written by a copy
 * of the process; the program stands still for as long as it takes to copy its page tables, but
 * the caller waits.
 * Returns / errors: 0; EBB_EINVAL for a null pointer; EBB_EBUSY where a snapshot cannot be taken
 *   now (a line on standard error says why); EBB_ESYSTEM when the file cannot be written, or it
 *   broke off: then there is no file.
 * Threads: any, outside of finalizers.   Collects: never, but stops the world. */
EBB_API int ebb_heap_dump(const char *path);

/* The lines of HTTP's head that belong to a reply, each ended by CR LF, for programs that show the
 * pages in a server of their own: type, file name, what a browser may do with it. path: of the
 * target.   Returns: how many bytes of room they take; 0 when it is too small (640 are enough).
 * Threads: any.   Collects: never. */
EBB_API size_t ebb_debug_headers(const char *path, int status, const char *type,
                                 const char *filename, char *room, size_t size);

/* --- libebb-debug --------------------------------------------------------------------------- */

/* It is loaded by a program that may have Ebb inside, so it gets what it calls handed over. Its one
 * function, ebb_debug_http, returns as ebb_debug_serve does, and says why in a line of text. */
struct ebb__debug_calls {
    int (*ask)(const ebb_debug_request *request, const ebb_debug_sink *sink);
    size_t (*headers)(const char *path, int status, const char *type, const char *filename,
                      char *room, size_t size);
    void (*exempt)(void); /* by a thread that runs no page, nor anything else of the program's */
};
typedef int (*ebb__debug_http)(const char *where, const struct ebb__debug_calls *calls, char *why,
                               size_t why_size);

#ifdef __cplusplus
}
#endif
#endif
