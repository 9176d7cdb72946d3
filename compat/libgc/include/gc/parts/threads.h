/* gc/parts/threads.h - threads, stacks, roots, the lock. A part of gc/gc.h.
 *
 * Ebb finds every thread that asks for memory or is registered, its stack, registers and
 * thread-local storage, and the static data of every loaded object by itself: registering is
 * bookkeeping. */
#ifndef GC_PARTS_THREADS_H
#define GC_PARTS_THREADS_H

#ifndef GC_H
# error "a part of <gc.h>"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- The lock ------------------------------------------------------------------------------- */

/* Calls fn(data) while no collection can find an object dead: to reveal hidden pointers, to ask for
 * finalizers. It may not allocate. */
typedef void *(GC_CALLBACK *GC_fn_type)(void *data);
GC_API void *GC_CALL GC_call_with_alloc_lock(GC_fn_type fn, void *data) GC_ATTR_NONNULL(1);

#ifdef GC_THREADS
GC_API void GC_CALL GC_alloc_lock(void);
GC_API void GC_CALL GC_alloc_unlock(void);
#else
# define GC_alloc_lock()   (void)0
# define GC_alloc_unlock() (void)0
#endif

/* --- Stacks --------------------------------------------------------------------------------- */

struct GC_stack_base {
    void *mem_base;
};

/* The address that the stack of this thread begins at. Returns: GC_SUCCESS. */
GC_API int GC_CALL GC_get_stack_base(struct GC_stack_base *base) GC_ATTR_NONNULL(1);
typedef void *(GC_CALLBACK *GC_stack_base_func)(struct GC_stack_base *base, void *data);
GC_API void *GC_CALL GC_call_with_stack_base(GC_stack_base_func fn, void *data) GC_ATTR_NONNULL(1);

/* For fibers: from here on this thread's stack is searched from the stack pointer to base. The
 * other stacks the program pushes itself: GC_set_push_other_roots. thread is what
 * GC_get_my_stackbottom returned there, or null for this thread. */
GC_API void *GC_CALL GC_get_my_stackbottom(struct GC_stack_base *base) GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_set_stackbottom(void *thread, const struct GC_stack_base *base)
    GC_ATTR_NONNULL(2);
GC_API GC_ATTR_DEPRECATED char *GC_stackbottom;

/* fn(data) neither reads nor writes objects, so that no collection waits for this thread; within,
 * GC_call_with_gc_active goes back for the time of its call. */
GC_API void *GC_CALL GC_do_blocking(GC_fn_type fn, void *data) GC_ATTR_NONNULL(1);
GC_API void *GC_CALL GC_call_with_gc_active(GC_fn_type fn, void *data) GC_ATTR_NONNULL(1);

/* --- Roots ---------------------------------------------------------------------------------- */

/* [start, end) is searched; the added ranges within it no more. */
GC_API void GC_CALL GC_add_roots(void *start, void *end);
GC_API void GC_CALL GC_remove_roots(void *start, void *end);
GC_API void GC_CALL GC_clear_roots(void);

/* [start, end) of static data is not searched. */
GC_API void GC_CALL GC_exclude_static_roots(void *start, void *end);
GC_API void GC_CALL GC_clear_exclusion_table(void);

/* Asked for each segment of data of a loaded object: not 0 to have it searched. */
typedef int(GC_CALLBACK *GC_has_static_roots_func)(const char *object, void *segment, size_t size);
GC_API void GC_CALL GC_register_has_static_roots_callback(GC_has_static_roots_func proc);

/* Not 0: the static data of the program is searched, that of other loaded objects is not. */
GC_API GC_ATTR_DEPRECATED int GC_no_dls;
GC_API void GC_CALL GC_set_no_dls(int on);
GC_API int GC_CALL GC_get_no_dls(void);

/* --- Fork ----------------------------------------------------------------------------------- */

/* A forked child goes on with the heap of its parent in every case: these are for the bookkeeping
 * of the library. */
GC_API void GC_CALL GC_set_handle_fork(int on);
GC_API void GC_CALL GC_atfork_prepare(void);
GC_API void GC_CALL GC_atfork_parent(void);
GC_API void GC_CALL GC_atfork_child(void);

/* --- Threads -------------------------------------------------------------------------------- */

/* Ebb's own threads mark: EBB_GC=markers=N. These keep a number. */
GC_API void GC_CALL GC_start_mark_threads(void);

#ifdef GC_THREADS
GC_API GC_ATTR_DEPRECATED int GC_parallel;
GC_API int GC_CALL GC_get_parallel(void);
GC_API void GC_CALL GC_set_markers_count(unsigned count);

/* Returns: registering: GC_SUCCESS, or GC_DUPLICATE where the thread is known; unregistering:
 * GC_SUCCESS. */
GC_API void GC_CALL GC_allow_register_threads(void);
GC_API int GC_CALL GC_register_my_thread(const struct GC_stack_base *base) GC_ATTR_NONNULL(1);
GC_API int GC_CALL GC_unregister_my_thread(void);
GC_API int GC_CALL GC_thread_is_registered(void);

/* A stack for signals, and the stack of the thread beside it. */
GC_API void GC_CALL GC_register_altstack(void *stack, GC_word stack_size, void *altstack,
                                         GC_word altstack_size);

/* Ebb stops threads by a signal of its own, which EBB_GC=signal=N chooses, and restarts them
 * without one: what is set changes nothing. */
GC_API void GC_CALL GC_set_suspend_signal(int signal);
GC_API int GC_CALL GC_get_suspend_signal(void);
GC_API void GC_CALL GC_set_thr_restart_signal(int signal);
GC_API int GC_CALL GC_get_thr_restart_signal(void);

/* End the program: Ebb has no stop that lasts. */
GC_API void GC_CALL GC_stop_world_external(void);
GC_API void GC_CALL GC_start_world_external(void);

/* GC_EVENT_THREAD_SUSPENDED and GC_EVENT_THREAD_UNSUSPENDED, for each thread that was stopped. */
typedef void(GC_CALLBACK *GC_on_thread_event_proc)(GC_EventType event, void *thread);
GC_API void GC_CALL GC_set_on_thread_event(GC_on_thread_event_proc proc);
GC_API GC_on_thread_event_proc GC_CALL GC_get_on_thread_event(void);
#endif

#ifdef __cplusplus
}
#endif

#endif
