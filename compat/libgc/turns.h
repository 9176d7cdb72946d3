/* turns.h - what the files that init.c's hooks call have for them: settings, roots, threads,
 * finalizers, links, reports. Each file says at the definition what it does then.
 *
 * stopping    in the thread that is about to stop the world; no allocation
 * roots       in the stop; also in other threads, outside of a cycle, when something else of Ebb's
 *             asks for the roots: so it has no effect but to mark
 * marked      in the stop, twice
 * stopped     in the thread that stopped the world, after that; may allocate, and no lock is held
 */
#ifndef GC__TURNS_H
#define GC__TURNS_H

#include "shim.h"

#include <pthread.h>

/* Exported, and declared where programs do that by hand. */
#pragma GCC visibility push(default)
extern GC_push_other_roots_proc GC_push_other_roots;
extern GC_abort_func GC_on_abort;
#pragma GCC visibility pop

/* --- settings.c ------------------------------------------------------------------------------- */

/* What has functions to set it, and no variable of the interface's. Read and written as one word
 * each, by __atomic builtins. */
typedef struct gc__settings {
    GC_start_callback_proc start_callback;
    GC_on_collection_event_proc on_event;
    GC_on_thread_event_proc on_thread;
    GC_await_finalize_proc await;
    GC_toggleref_func toggle;
    GC_warn_proc warn;
    GC_stop_func stop;
    GC_word max_heap_bytes;   /* 0: no limit */
    GC_word least_heap_bytes; /* what the heap may have before it is collected for its size */
    int no_automatic;         /* collections when asked for only */
    int unmap_on_collect;
    int incremental; /* whether the program asked for it */
    int prints;      /* a line in the log for each cycle; 2: a dump */
} gc__settings;
extern gc__settings gc__set;
#define GC__SET(field) __atomic_load_n(&gc__set.field, __ATOMIC_ACQUIRE)

/* What Ebb was told last. Held while Ebb is told; outside of the allocation lock. */
extern pthread_mutex_t gc__settings_mutex;

/* Takes over what the environment says. Once, from GC_init, before there is a second thread. */
void gc__settings_read(void);

/* Hands what programs set, by functions or by writing variables, to Ebb. Outside of every lock, for
 * it waits for a cycle that is ending. */
void gc__settings_apply(void);

/* The heap may have `bytes` more than `heap`, or than it may have already, before it is collected
 * for its size. */
void gc__settings_expand(GC_word heap, GC_word bytes);

/* Whether the program asks for no collection, by GC_disable or by GC_dont_gc. */
bool gc__settings_held(void);

/* --- roots.c ---------------------------------------------------------------------------------- */

/* Looks again at what is loaded, where that matters; from GC_init and `stopped`. May wait for the
 * loader's lock, whose holder may wait for a cycle to end: so never between two hooks. */
void gc__roots_refresh(void);
extern pthread_mutex_t gc__roots_mutex;

/* --- threads.c -------------------------------------------------------------------------------- */

void gc__threads_init(void);
void gc__threads_stopping(void);
void gc__threads_marked(void); /* at the end of the marking, in the stop */
void gc__threads_stopped(void);

/* Tells the program of every registered thread but this. In the stop. */
void gc__threads_event(GC_EventType event);

/* --- blocking.c ------------------------------------------------------------------------------- */

/* The thread ends, or is no longer registered: it blocks no more, if it did. */
void gc__blocking_leave(void);

/* --- links.c ---------------------------------------------------------------------------------- */

void gc__links_marked(bool finalizers);
void gc__links_each(bool is_long, void (*visit)(void **link, void *object));

/* --- finalize.c ------------------------------------------------------------------------------- */

void gc__toggles_stopping(void);
void gc__toggles_roots(ebb_marker *marker);
void gc__toggles_marked(void);
void gc__finalize_stopped(size_t due);

/* Runs what is due, unless it is only run on demand, this thread holds the allocation lock, is in a
 * hook, or is running a finalizer. */
void gc__finalize_pending(void);

/* --- report.c --------------------------------------------------------------------------------- */

/* By the program's GC_on_collection_event. */
void gc__event(GC_EventType event);
void gc__report_stopped(void);
void gc__log_open(const char *path);

/* --- init.c ----------------------------------------------------------------------------------- */

/* Whether this thread is in a hook: there, nothing may be asked of Ebb that waits. */
bool gc__in_turn(void);

/* Whether GC_init has come to its end. */
bool gc__is_up(void);

#endif
