/* gc/parts/finalizers.h - to be told of the death of objects. A part of gc/gc.h.
 *
 * Finalizers run in the thread that allocates or collects when some are due, or, with
 * GC_finalize_on_demand, in the one that calls GC_invoke_finalizers; never two at a time. */
#ifndef GC_PARTS_FINALIZERS_H
#define GC_PARTS_FINALIZERS_H

#ifndef GC_H
# error "a part of <gc.h>"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- Finalizers ----------------------------------------------------------------------------- */

/* Called once with the object, which is kept till then with all that it refers to, and with data,
 * which is kept as long as the finalizer is set. */
typedef void(GC_CALLBACK *GC_finalization_proc)(void *object, void *data);

/* Sets the finalizer of the object that starts at object; null removes it. What was set goes to
 * *before and *data_before, which may be null. Nothing is done for what is no object.
 *
 * Due when nothing leads to the object, and besides:
 *   (plain)       nothing that is to be finalized leads to it, nor it to itself
 *   ignore_self   the same, but it may refer to itself
 *   no_order      nothing else
 *   unreachable   as plain, and no object whose finalizer is due leads to it
 * Without GC_java_finalization (it is on) the last is as plain. */
GC_API void GC_CALL GC_register_finalizer(void *object, GC_finalization_proc finalizer, void *data,
                                          GC_finalization_proc *before, void **data_before)
    GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_register_finalizer_ignore_self(void *object, GC_finalization_proc finalizer,
                                                      void *data, GC_finalization_proc *before,
                                                      void **data_before) GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_register_finalizer_no_order(void *object, GC_finalization_proc finalizer,
                                                   void *data, GC_finalization_proc *before,
                                                   void **data_before) GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_register_finalizer_unreachable(void *object, GC_finalization_proc finalizer,
                                                      void *data, GC_finalization_proc *before,
                                                      void **data_before) GC_ATTR_NONNULL(1);

/* For objects that were made with file and line. */
GC_API void GC_CALL GC_debug_register_finalizer(void *object, GC_finalization_proc finalizer,
                                                void *data, GC_finalization_proc *before,
                                                void **data_before) GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_debug_register_finalizer_ignore_self(void *object,
                                                            GC_finalization_proc finalizer,
                                                            void *data,
                                                            GC_finalization_proc *before,
                                                            void **data_before) GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_debug_register_finalizer_no_order(void *object,
                                                         GC_finalization_proc finalizer, void *data,
                                                         GC_finalization_proc *before,
                                                         void **data_before) GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_debug_register_finalizer_unreachable(void *object,
                                                            GC_finalization_proc finalizer,
                                                            void *data,
                                                            GC_finalization_proc *before,
                                                            void **data_before) GC_ATTR_NONNULL(1);

/* Runs what is due. Returns: how many ran. */
GC_API int GC_CALL GC_invoke_finalizers(void);
GC_API int GC_CALL GC_should_invoke_finalizers(void);

/* Runs all, of reachable objects too. Declared in javaxfc.h as well. */
GC_API void GC_CALL GC_finalize_all(void);

/* --- When they run -------------------------------------------------------------------------- */

/* Not 0: only in GC_invoke_finalizers. */
GC_API GC_ATTR_DEPRECATED int GC_finalize_on_demand;
GC_API void GC_CALL GC_set_finalize_on_demand(int on);
GC_API int GC_CALL GC_get_finalize_on_demand(void);

GC_API GC_ATTR_DEPRECATED int GC_java_finalization;
GC_API void GC_CALL GC_set_java_finalization(int on);
GC_API int GC_CALL GC_get_java_finalization(void);

/* Called after a collection that made finalizers due, once, if they run on demand. */
typedef void(GC_CALLBACK *GC_finalizer_notifier_proc)(void);
GC_API GC_ATTR_DEPRECATED GC_finalizer_notifier_proc GC_finalizer_notifier;
GC_API void GC_CALL GC_set_finalizer_notifier(GC_finalizer_notifier_proc notifier);
GC_API GC_finalizer_notifier_proc GC_CALL GC_get_finalizer_notifier(void);

/* Called in the stop with each object whose finalizer becomes due. */
typedef void(GC_CALLBACK *GC_await_finalize_proc)(void *object);
GC_API void GC_CALL GC_set_await_finalize_proc(GC_await_finalize_proc proc);
GC_API GC_await_finalize_proc GC_CALL GC_get_await_finalize_proc(void);

/* --- Links that disappear ------------------------------------------------------------------- */

/* *link becomes null when the object is found unreachable: a short link before finalizers are
 * called, a long one when no finalizer will see the object any more. *link is to be hidden, or to
 * lie in an atomic object, for a pointer that the collector sees keeps its object. A link that
 * lies in an object goes with it. GC_register_disappearing_link: of the object that link lies in.
 *
 * Returns: registering: GC_SUCCESS, GC_DUPLICATE (the link was there: it has a new object) or
 * GC_NO_MEMORY. Moving: GC_SUCCESS, GC_DUPLICATE (to is a link: nothing is done) or GC_NOT_FOUND.
 * Unregistering: whether it was there. */
GC_API int GC_CALL GC_register_disappearing_link(void **link) GC_ATTR_NONNULL(1);
GC_API int GC_CALL GC_general_register_disappearing_link(void **link, const void *object)
    GC_ATTR_NONNULL(1) GC_ATTR_NONNULL(2);
GC_API int GC_CALL GC_move_disappearing_link(void **link, void **to) GC_ATTR_NONNULL(2);
GC_API int GC_CALL GC_unregister_disappearing_link(void **link);

GC_API int GC_CALL GC_register_long_link(void **link, const void *object) GC_ATTR_NONNULL(1)
    GC_ATTR_NONNULL(2);
GC_API int GC_CALL GC_move_long_link(void **link, void **to) GC_ATTR_NONNULL(2);
GC_API int GC_CALL GC_unregister_long_link(void **link);

#define GC_SUCCESS       0
#define GC_DUPLICATE     1
#define GC_NO_THREADS    2
#define GC_NO_MEMORY     2
#define GC_UNIMPLEMENTED 3
#define GC_NOT_FOUND     4

/* --- Toggle references ---------------------------------------------------------------------- */

/* A reference of which a procedure says, in each collection, whether it keeps the object. */
typedef enum { GC_TOGGLE_REF_DROP, GC_TOGGLE_REF_STRONG, GC_TOGGLE_REF_WEAK } GC_ToggleRefStatus;
typedef GC_ToggleRefStatus(GC_CALLBACK *GC_toggleref_func)(void *object);
GC_API void GC_CALL GC_set_toggleref_func(GC_toggleref_func proc);
GC_API GC_toggleref_func GC_CALL GC_get_toggleref_func(void);
GC_API int GC_CALL GC_toggleref_add(void *object, int is_strong) GC_ATTR_NONNULL(1);

#ifdef __cplusplus
}
#endif

/* --- Either, by GC_DEBUG -------------------------------------------------------------------- */

#ifdef GC_DEBUG
# define GC_REGISTER_FINALIZER(object, finalizer, data, before, data_before) \
  GC_debug_register_finalizer(object, finalizer, data, before, data_before)
# define GC_REGISTER_FINALIZER_IGNORE_SELF(object, finalizer, data, before, data_before) \
  GC_debug_register_finalizer_ignore_self(object, finalizer, data, before, data_before)
# define GC_REGISTER_FINALIZER_NO_ORDER(object, finalizer, data, before, data_before) \
  GC_debug_register_finalizer_no_order(object, finalizer, data, before, data_before)
# define GC_REGISTER_FINALIZER_UNREACHABLE(object, finalizer, data, before, data_before) \
  GC_debug_register_finalizer_unreachable(object, finalizer, data, before, data_before)
# define GC_GENERAL_REGISTER_DISAPPEARING_LINK(link, object) \
  GC_general_register_disappearing_link(link, GC_base((void *)(object)))
# define GC_REGISTER_LONG_LINK(link, object) GC_register_long_link(link, GC_base((void *)(object)))
#else
# define GC_REGISTER_FINALIZER(object, finalizer, data, before, data_before) \
  GC_register_finalizer(object, finalizer, data, before, data_before)
# define GC_REGISTER_FINALIZER_IGNORE_SELF(object, finalizer, data, before, data_before) \
  GC_register_finalizer_ignore_self(object, finalizer, data, before, data_before)
# define GC_REGISTER_FINALIZER_NO_ORDER(object, finalizer, data, before, data_before) \
  GC_register_finalizer_no_order(object, finalizer, data, before, data_before)
# define GC_REGISTER_FINALIZER_UNREACHABLE(object, finalizer, data, before, data_before) \
  GC_register_finalizer_unreachable(object, finalizer, data, before, data_before)
# define GC_GENERAL_REGISTER_DISAPPEARING_LINK(link, object) \
  GC_general_register_disappearing_link(link, object)
# define GC_REGISTER_LONG_LINK(link, object) GC_register_long_link(link, object)
#endif

#endif
