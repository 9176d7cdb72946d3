/* gc/gc_gcj.h - objects whose first word points to a structure whose second word is their
 * descriptor, as gc_mark.h has them. */
#ifndef GC_GCJ_H
#define GC_GCJ_H

#ifndef GC_H
# include "gc.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The number and the GC_mark_proc of those whose descriptor asks for a procedure. Once, first. */
GC_API void GC_CALL GC_init_gcj_malloc(int proc_index, void *proc);

GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL GC_gcj_malloc(size_t size, void *type);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_gcj_malloc_ignore_off_page(size_t size, void *type);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_debug_gcj_malloc(size_t size, void *type, GC_EXTRA_PARAMS);

GC_API int GC_gcj_kind;
GC_API int GC_gcj_debug_kind;

#ifdef __cplusplus
}
#endif

#ifdef GC_DEBUG
# define GC_GCJ_MALLOC(size, type)                 GC_debug_gcj_malloc(size, type, GC_EXTRAS)
# define GC_GCJ_MALLOC_IGNORE_OFF_PAGE(size, type) GC_debug_gcj_malloc(size, type, GC_EXTRAS)
#else
# define GC_GCJ_MALLOC(size, type)                 GC_gcj_malloc(size, type)
# define GC_GCJ_MALLOC_IGNORE_OFF_PAGE(size, type) GC_gcj_malloc_ignore_off_page(size, type)
#endif

#endif
