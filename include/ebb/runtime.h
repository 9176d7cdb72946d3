/* ebb/runtime.h - for language runtimes: objects that trace themselves, roots that are computed,
 * weak tables of one's own, the order of finalizers, when the world may stop.
 *
 * Not included by ebb.h: a program needs nothing of this page. */
#ifndef EBB_RUNTIME_H
#define EBB_RUNTIME_H

#include "gc.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Marking -------------------------------------------------------------------------------- */

/* Who marks now. Valid during the call that it is handed to, in the thread of that call. */
typedef struct ebb_marker ebb_marker;

/* The object that p points into is kept, with all that it refers to. Words that point to no object
 * are passed over. Only in a function that was handed the marker. */
EBB_API void ebb_mark(ebb_marker *marker, const void *p);

/* The same for each aligned word in [start, end), which has to be readable. */
EBB_API void ebb_mark_range(ebb_marker *marker, const void *start, const void *end);

/* Whether the object that p points into was found reachable so far; true for what is no object.
 * Only in `marked` of an ebb_runtime. */
EBB_API bool ebb_is_marked(const void *p);

/* For who asks that about many objects, far from each other: some before the one that is asked
 * about. Any pointer. */
EBB_API void ebb_is_marked_ahead(const void *p);

/* --- Layouts -------------------------------------------------------------------------------- */

/* What objects look like. Made once and kept for ever: for kinds of objects, not for each. */
typedef struct ebb__layout ebb_layout;

/* Tells what the size bytes at object refer to, by ebb_mark and ebb_mark_range; env is the
 * layout's. Called in the last stop of each cycle for every reachable object of the layout, old
 * ones included, in short stops before that for some, and never while the program runs: so it may
 * read memory that is not the heap's, which nobody watches for changes. It sees objects as
 * allocated, zeroed, up to finished. It allocates nothing, takes no lock that a stopped thread may
 * hold, and writes nothing to the heap. */
typedef void (*ebb_tracer)(void *object, size_t size, ebb_marker *marker, uintptr_t env);

/* Layouts by name (for people; "" for none): every aligned word may be a pointer, or none is; those
 * words are pointers whose bit is set in bits[0 … count), the least significant bit first, of
 * objects of size bytes, a multiple of 8; or tracer tells.
 *
 * Returns / errors: a null pointer without memory, or for a size that is 0 or no multiple of 8.
 * Threads: any.   Collects: never. */
EBB_API ebb_layout *ebb_layout_words(const char *name);
EBB_API ebb_layout *ebb_layout_data(const char *name);
EBB_API ebb_layout *ebb_layout_bitmap(const char *name, size_t size, const uint64_t *bits,
                                      size_t count);
EBB_API ebb_layout *ebb_layout_traced(const char *name, ebb_tracer tracer, uintptr_t env);

/* size bytes of a layout, zeroed, aligned to 16. As ebb_alloc otherwise. */
EBB_API EBB__MALLOC void *ebb_alloc_as(ebb_layout *layout, size_t size);

/* The layout of the object that p points into; null for no object. ebb_alloc and ebb_alloc_data
 * have layouts of their own.
 * Threads: any.   Collects: never. */
EBB_API ebb_layout *ebb_layout_of(const void *p);

/* ebb_free, for who keeps accounts.
 * Returns: what ebb_size_of(p) was, always more than 0; 0 for a null pointer, and where ebb_free
 *   returns an error. */
EBB_API size_t ebb_free_counted(void *p);

/* Everything that is or will be an object lies in [*start, *end).
 * Returns / errors: 0; EBB_ENOMEM when there can be no heap. */
EBB_API int ebb_heap_bounds(const void **start, const void **end);

/* --- Cycles --------------------------------------------------------------------------------- */

/* Called at the turns of every cycle; any may be null.
 *
 * Once one is set, a stop in which these or tracers are called is made only by a thread of the
 * program that is inside an allocation or ebb_collect, so a program with one thread finds its own
 * structures whole in these calls; nothing is collected because the program is idle; and finalizers
 * run nowhere but in ebb_finalizers_run. */
typedef struct ebb_runtime {
    /* Once, before the world is stopped, outside every lock of Ebb's, in a thread that would do
     * it; another one may do it then. It may not allocate. Where a thread could not be stopped,
     * nothing of what follows is called. */
    void (*stopping)(void);

    /* In the last stop of a cycle: marks what else is a root. As an ebb_tracer. Also in short stops
     * before, without `stopping`, so that most of it is marked while the program runs; and in
     * others, to compare. */
    void (*roots)(ebb_marker *marker);

    /* In the last stop, all that is reachable being marked: clears references to what is not.
     * Called twice: before and after the objects are marked that finalizers will be called with. It
     * may write to the heap, and may not mark. */
    void (*marked)(bool finalizers);

    /* In the thread that stopped the world, after the sweep, outside every lock. due: how many
     * finalizers wait. It may allocate. */
    void (*stopped)(size_t due);
} ebb_runtime;

/* Sets it for the rest of the process, best as the first call of Ebb's; runtime is not copied.
 * Returns / errors: 0; EBB_EINVAL for null; EBB_EBUSY when another was set; EBB_ENOMEM. */
EBB_API int ebb_runtime_set(const ebb_runtime *runtime);

/* While held, no cycle begins or ends by itself or by ebb_collect (which returns EBB_EBUSY): the
 * heap grows. Nests.
 * Returns: how many holds there are now.   Threads: any.   Collects: never. */
EBB_API unsigned ebb_gc_hold(void);
EBB_API unsigned ebb_gc_allow(void);

/* Between the two the world does not stop: the collector waits. For a few instructions that turn a
 * hidden pointer into a real one. Nests. They exclude no other thread.
 * Threads: any.   Collects: never; allow waits while a collection is stopping the world. */
EBB_API void ebb_stop_defer(void);
EBB_API void ebb_stop_allow(void);

/* The signal that stops threads. */
EBB_API int ebb_stop_signal(void);

/* --- Finalizers ----------------------------------------------------------------------------- */

/* When a finalizer is due. */
typedef enum ebb_order {
    EBB_ORDER_STRICT, /* nothing that is finalizable leads to the object, nor itself */
    EBB_ORDER,        /* the same, but it may lead to itself: ebb_finalizer_set */
    EBB_ORDER_NONE,   /* it is unreachable */
    EBB_ORDER_LAST    /* the same, nor does anything lead to it whose finalizer is due, or itself */
} ebb_order;

typedef struct ebb_finalization {
    ebb_finalizer fn; /* null: none */
    void *arg;
    ebb_order order;
} ebb_finalization;

/* Sets or, where its fn is null, removes the finalizer of the object that starts at object; *before
 * (unless null) becomes what was set. As ebb_finalizer_set otherwise, and 0 for a removal of none.
 */
EBB_API int ebb_finalizer_swap(void *object, const ebb_finalization *now, ebb_finalization *before);

/* Makes every finalizer due, of reachable objects too: for the end of a program.
 * Returns: how many are due now.   Threads: any.   Collects: never. */
EBB_API size_t ebb_finalizers_all(void);

/* Runs the oldest finalizer that is due, unless one is running in another thread.
 * Returns: whether it ran one.   As ebb_finalizers_run otherwise. */
EBB_API bool ebb_finalizer_run_one(void);

#ifdef __cplusplus
}
#endif
#endif
