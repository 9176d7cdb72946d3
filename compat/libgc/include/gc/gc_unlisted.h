/* gc/gc_unlisted.h - what libgc.so.1 exports though no header of 8.2 declares it: old programs
 * declare these themselves. Included by no other header. */
#ifndef GC_UNLISTED_H
#define GC_UNLISTED_H

#ifndef GC_MARK_H
# include "gc_mark.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What GC_set_push_other_roots and GC_set_abort_func set. */
GC_API void(GC_CALLBACK *GC_push_other_roots)(void);
GC_API GC_abort_func GC_on_abort;

/* The free lists of normal, atomic, uncollectable objects, and those that are both: empty. */
GC_API void **const GC_objfreelist_ptr;
GC_API void **const GC_aobjfreelist_ptr;
GC_API void **const GC_uobjfreelist_ptr;
GC_API void **const GC_auobjfreelist_ptr;

/* For allocators of other languages that keep lists of their own: not counted. */
GC_API void GC_CALL GC_incr_bytes_allocd(size_t bytes);
GC_API void GC_CALL GC_incr_bytes_freed(size_t bytes);

GC_API void GC_printf(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
GC_API void GC_err_printf(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
GC_API void GC_log_printf(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

#ifdef __cplusplus
}
#endif

#endif
