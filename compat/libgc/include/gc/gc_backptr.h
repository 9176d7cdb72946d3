/* gc/gc_backptr.h - who refers to an object: not in this library, as it is not in most builds of
 * libgc. `ebb` says it of a dump: EBB_DEBUG of docs/observe.md. */
#ifndef GC_BACKPTR_H
#define GC_BACKPTR_H

#ifndef GC_H
# include "gc.h"
#endif

typedef enum {
    GC_UNREFERENCED,
    GC_NO_SPACE,
    GC_REFD_FROM_ROOT,
    GC_REFD_FROM_REG,
    GC_REFD_FROM_HEAP,
    GC_FINALIZER_REFD
} GC_ref_kind;

#endif
