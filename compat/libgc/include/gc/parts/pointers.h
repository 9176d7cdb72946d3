/* gc/parts/pointers.h - where an object begins and how large it is; hidden and checked pointers.
 * A part of gc/gc.h. */
#ifndef GC_PARTS_POINTERS_H
#define GC_PARTS_POINTERS_H

#ifndef GC_H
# error "a part of <gc.h>"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- Objects -------------------------------------------------------------------------------- */

/* The start of the object that p points into, of any kind; null for what is none. With GC_DEBUG
 * that is the start of what describes the object. */
GC_API void *GC_CALL GC_base(void *p);

/* Whether p points into an object. Elsewhere: into the heap, be there an object or none. */
GC_API int GC_CALL GC_is_heap_ptr(const void *p);

/* The room in the object that starts at object: at least what was asked for, and seldom the same as
 * elsewhere, since the size classes are Ebb's. */
GC_API size_t GC_CALL GC_size(const void *object) GC_ATTR_NONNULL(1);

/* --- Hidden pointers ------------------------------------------------------------------------ */

/* A hidden pointer keeps nothing. To reveal one while the object may die, hold the lock:
 * GC_call_with_alloc_lock. */
typedef GC_word GC_hidden_pointer;
#define GC_HIDE_POINTER(p)   (~(GC_hidden_pointer)(p))
#define GC_REVEAL_POINTER(p) ((void *)GC_HIDE_POINTER(p))
#if defined(I_HIDE_POINTERS) || defined(GC_I_HIDE_POINTERS)
# define HIDE_POINTER(p)   GC_HIDE_POINTER(p)
# define REVEAL_POINTER(p) GC_REVEAL_POINTER(p)
#endif

/* --- Checks --------------------------------------------------------------------------------- */

/* All interior pointers count, always: a displacement need not be registered. */
GC_API void GC_CALL GC_register_displacement(size_t offset);
GC_API void GC_CALL GC_debug_register_displacement(size_t offset);
#ifdef GC_DEBUG
# define GC_REGISTER_DISPLACEMENT(offset) GC_debug_register_displacement(offset)
#else
# define GC_REGISTER_DISPLACEMENT(offset) GC_register_displacement(offset)
#endif

/* Return p, having called the procedure below of their name, which by default ends the program,
 * when p and q are not in one object; when p is no object's; when p lies in no memory that the
 * collector searches. */
GC_API void *GC_CALL GC_same_obj(void *p, void *q);
GC_API void *GC_CALL GC_is_valid_displacement(void *p);
GC_API void *GC_CALL GC_is_visible(void *p);
GC_API void(GC_CALLBACK *GC_same_obj_print_proc)(void *p, void *q);
GC_API void(GC_CALLBACK *GC_is_valid_displacement_print_proc)(void *p);
GC_API void(GC_CALLBACK *GC_is_visible_print_proc)(void *p);

/* Adds to *p, and returns what it is then, or was; checked by GC_same_obj. */
GC_API void *GC_CALL GC_pre_incr(void **p, ptrdiff_t bytes) GC_ATTR_NONNULL(1);
GC_API void *GC_CALL GC_post_incr(void **p, ptrdiff_t bytes) GC_ATTR_NONNULL(1);

#ifdef __cplusplus
}
#endif

#ifdef GC_DEBUG
# define GC_PTR_ADD3(p, n, type) ((type)GC_same_obj((p) + (n), (p)))
# define GC_PRE_INCR3(p, n, type) \
  ((type)GC_pre_incr((void **)&(p), (ptrdiff_t)(n) * (ptrdiff_t)sizeof *(p)))
# define GC_POST_INCR3(p, n, type) \
  ((type)GC_post_incr((void **)&(p), (ptrdiff_t)(n) * (ptrdiff_t)sizeof *(p)))
# define GC_PTR_ADD(p, n)  GC_PTR_ADD3(p, n, __typeof__(p))
# define GC_PRE_INCR(p, n) GC_PRE_INCR3(p, n, __typeof__(p))
# define GC_POST_INCR(p)   GC_POST_INCR3(p, 1, __typeof__(p))
# define GC_POST_DECR(p)   GC_POST_INCR3(p, -1, __typeof__(p))
# define GC_PTR_STORE(where, pointer) \
  (*(void **)GC_is_visible((void *)(where)) = GC_is_valid_displacement((void *)(pointer)))
#else
# define GC_PTR_ADD(p, n)             ((p) + (n))
# define GC_PRE_INCR(p, n)            ((p) += (n))
# define GC_POST_INCR(p)              ((p)++)
# define GC_POST_DECR(p)              ((p)--)
# define GC_PTR_STORE(where, pointer) (*(void **)(where) = (void *)(pointer))
#endif

#endif
