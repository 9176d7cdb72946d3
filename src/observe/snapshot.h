/* snapshot.h - the heap as it was at one moment, looked at by a process of its own while the
 * program goes on. docs/design.md, "Retention". */
#ifndef EBB_SNAPSHOT_H
#define EBB_SNAPSHOT_H

#include "../gc/collector.h"
#include "endpoint.h"

/* What the child is given; nothing of it changes. */
typedef struct snapshot {
    const root_set *roots; /* where pointers may lie outside the heap, with their origins */
    int pid;               /* of the program */
    uint64_t asked_ns;     /* when the world was asked to stop */
    uint64_t forked_ns;    /* when the child began: the program goes on about now */
} snapshot;

/* Forks with the world stopped. The child (one thread, the whole heap as it was, no lock held, all
 * signals blocked) runs work, and what that replies is passed on to r; the program goes on at once.
 *
 * In work: no malloc, no stdio, no locks but those of extent.c; memory by ebb__os_map, which need
 * not be given back; whatever it writes is a copy that the program does not see. It may read the
 * heap by every means that works with the world stopped, and may use the mark bits for its own.
 *
 * The parent ends it after `seconds`, when the reader of r is gone, or when memory becomes short.
 * Refuses (503, with a line that says why) while another snapshot is looked at, where the world
 * does not stop, or where the child's memory would pass a limit: need_bytes is what work itself
 * takes besides what is for each object; see ebb__snapshot_need. */
EBB__SHARED void ebb__snapshot_run_for(void (*work)(const snapshot *s, reply *r, void *arg),
                                       void *arg, reply *r, uint64_t seconds, size_t need_bytes);

/* The same for a minute at most, and what a walk over all objects takes. */
EBB__SHARED void ebb__snapshot_run(void (*work)(const struct snapshot *s, reply *r, void *arg),
                                   void *arg, reply *r);

enum { SNAPSHOT_SECONDS = 60, SNAPSHOT_SECONDS_MAX = 3600 };

/* What a walk over all objects of the heap as it is now takes (graph.h), about. */
EBB__SHARED size_t ebb__snapshot_need(void);

#endif
