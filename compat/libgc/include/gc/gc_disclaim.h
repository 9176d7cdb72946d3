/* gc/gc_disclaim.h - to be asked before objects of a kind are reclaimed. */
#ifndef GC_DISCLAIM_H
#define GC_DISCLAIM_H

#include "gc.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Objects with a finalizer from the start. GC_base of one is a word before it. */
struct GC_finalizer_closure {
    GC_finalization_proc proc;
    void *cd;
};
GC_API void GC_CALL GC_init_finalized_malloc(void);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_finalized_malloc(size_t size, const struct GC_finalizer_closure *closure) GC_ATTR_NONNULL(2);

/* proc returns not 0 to keep the object until the next collection. */
typedef int(GC_CALLBACK *GC_disclaim_proc)(void *object);
GC_API void GC_CALL GC_register_disclaim_proc(int kind, GC_disclaim_proc proc, int mark_from_all)
    GC_ATTR_NONNULL(2);

#ifdef __cplusplus
}
#endif

#endif
