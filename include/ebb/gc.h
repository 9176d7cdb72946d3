/* ebb/gc.h - the collector: run it, bound it, tell it of roots, be told of deaths.
 *
 * A program that only allocates needs nothing of this page. */
#ifndef EBB_GC_H
#define EBB_GC_H

#include "config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Running and bounding ------------------------------------------------------------------- */

/* One full collection; when it returns, what was unreachable at the call is free, and finalizers
 * that became due are queued.
 * Returns / errors: 0; EBB_EBUSY when a thread could not be stopped (a line on standard error
 *   names it), and the cycle was given up.
 * Threads: any.   Collects: yes; runs no finalizer itself. */
EBB_API int ebb_collect(void);

/* Collects, then gives every free page back to the system before it returns.
 * Returns: the bytes given back.   Threads: any.   Collects: yes. */
EBB_API size_t ebb_release(void);

/* The next cycle starts when the heap has grown by percent of what was reachable at the end of the
 * last one (roots counted). Default 100, or EBB_GC=percent=N|off. A negative percent turns growth
 * cycles off: then only the limit, idleness and ebb_collect start one.
 * Returns: the percentage before, -1 for off.   Threads: any.   Collects: never. */
EBB_API int ebb_set_gc_percent(int percent);

/* However little is reachable, the heap may grow by bytes (at least 1 KiB) between cycles that come
 * of growth. Default 16 MiB, or EBB_DEBUG=room=SIZE: for speed, where memory is dear set less.
 * Returns: the bytes before; 0 where there can be no heap.   Threads: any.   Collects: never. */
EBB_API size_t ebb_set_gc_room(size_t bytes);

/* The heap is not collected for its growth before its objects, and what is free between them, take
 * bytes: for a program that knows how much it will have. Nothing is reserved. Default 0.
 * Returns: the bytes before.   Threads: any.   Collects: never. */
EBB_API size_t ebb_set_gc_floor(size_t bytes);

/* No more than bytes of memory from the system, everything of Ebb's counted but what was returned.
 * SIZE_MAX (the default) is no limit; or EBB_GC=limit=4GiB. An allocation that would pass it first
 * collects, then asks the handler, then returns a null pointer.
 * Returns: the limit before, in bytes.   Threads: any.   Collects: never. */
EBB_API size_t ebb_set_memory_limit(size_t bytes);

/* Asked when size bytes cannot be had, after a full collection: let go of something and return
 * true to have it tried again, or false to have the allocation fail. Called in the allocating
 * thread, outside the collector; may use all of Ebb. Null (the default) is none.
 * Threads: any. */
typedef bool (*ebb_limit_handler)(size_t size, void *arg);
EBB_API void ebb_set_limit_handler(ebb_limit_handler handler, void *arg);

/* --- Roots ---------------------------------------------------------------------------------- */

/* Searches [start, start + size) for pointers in every cycle, until removed: memory from malloc or
 * mmap that refers to heap objects. Word by word, conservatively.
 * Returns / errors: 0; EBB_EINVAL, EBB_ENOMEM; EBB_ENOENT when start was not added.
 * Threads: any.   Collects: never. */
EBB_API int ebb_root_add(const void *start, size_t size);
EBB_API int ebb_root_remove(const void *start);

/* Not searched, though it is static storage: [start, start + size) of a data segment, for instance
 * a large table of numbers. Undone by ebb_root_remove. As ebb_root_add otherwise. */
EBB_API int ebb_root_exclude(const void *start, size_t size);

/* A stack that the program made itself (coroutines, alternate signal stacks): searched whole while
 * nobody runs on it, from the stack pointer up while a thread does. Removed by ebb_root_remove. */
EBB_API int ebb_stack_add(const void *start, size_t size);

/* Brackets a call that may block for long, so that this thread is not signalled meanwhile. Between
 * the two, the function that called begin neither reads nor writes heap objects, and does not
 * return. They do not nest.
 * Threads: any.   Collects: never; end waits while a collection is stopping the world. */
EBB_API void ebb_blocking_begin(void);
EBB_API void ebb_blocking_end(void);

/* --- Weak references ------------------------------------------------------------------------ */

/* A reference that does not keep its object alive. Itself an object of the heap.
 * In a described type the field form weak(f) does the same without an object of its own. */
typedef struct ebb_weak ebb_weak;

/* Returns / errors: a null pointer without memory. A target that is null or no heap pointer is
 *   kept as it is, for ever.   Threads: any.   Collects: may collect. */
EBB_API ebb_weak *ebb_weak_new(void *target);

/* The target, or null once it was found unreachable (before its finalizer runs).
 * Threads: any.   Collects: never. */
EBB_API void *ebb_weak_get(const ebb_weak *weak);

/* --- Finalizers ----------------------------------------------------------------------------- */

/* Runs fn(object, arg) once, some time after object became unreachable. Order: an object's
 * finalizer before those of the objects that it refers to, which wait for a later cycle; objects
 * that refer to each other in a circle are never finalized. During the call object and all that it
 * refers to are intact, and may be made reachable again (the finalizer is gone then; set it anew).
 * arg is kept alive until the call; it must not lead to object. A null fn removes.
 *
 * Finalizers run in a thread of Ebb's own, one at a time, with no lock held; they may use all of
 * Ebb, and may not block for ever.
 *
 * Returns / errors: 0; EBB_ENOTHEAP, EBB_ENOTBASE, EBB_ENOMEM; EBB_ENOENT for a removal of none.
 *   Setting again replaces.   Threads: any.   Collects: may collect. */
typedef void (*ebb_finalizer)(void *object, void *arg);
EBB_API int ebb_finalizer_set(void *object, ebb_finalizer fn, void *arg);

/* Runs the finalizers that are due now in the calling thread, and waits for one that is running
 * elsewhere (unless called from it).
 * Returns: how many ran here.   Threads: any.   Collects: may collect; runs finalizers. */
EBB_API size_t ebb_finalizers_run(void);

#ifdef __cplusplus
}
#endif
#endif
