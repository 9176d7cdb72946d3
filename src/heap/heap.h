/* heap.h - what the layers above the heap (slices, maps, off-heap memory, observers) may use of it
 * beyond the public header: layouts, allocation by layout, the accounting that they feed. */
#ifndef EBB_HEAP_INTERNAL_H
#define EBB_HEAP_INTERNAL_H

#include "../base/base.h"
#include "../../include/ebb/heap.h"
#include "../../include/ebb/runtime.h"

/* What the objects of a span look like; made once, never freed. */
typedef struct ebb__layout ebb__layout;

/* The layout of what a site allocates; resolved on first use. Null without memory. */
EBB__SHARED ebb__layout *ebb__layout_of(ebb__site *site);

/* A layout made at run time: elements of `size` bytes with the given fields (END-terminated, may
 * be the caller's own memory, copied). Equal requests give the same layout. */
EBB__SHARED ebb__layout *ebb__layout_make(const char *name, size_t size, const ebb__field *fields,
                                          enum ebb__use use);

/* A layout of its own with a name, of any kind but LAYOUT_TYPED; null without memory. */
EBB__SHARED ebb__layout *ebb__layout_own(const char *name, uint32_t kind, ebb_tracer tracer,
                                         uintptr_t env);

/* The layouts without a type: every word may be a pointer, or none. */
EBB__SHARED ebb__layout *ebb__layout_plain(bool words, enum ebb__use use);

/* Zeroed memory of size bytes (a multiple of the layout's element size, for typed layouts), aligned
 * to 16 when size is a multiple of 16 and otherwise to 8; null without memory. May collect. */
EBB__SHARED void *ebb__alloc_layout(ebb__layout *layout, size_t size);

/* The same for `count` elements of the site's type, with its alignment. Null on overflow. */
/* ebb__new_array in the public header. */

/* The capacity in bytes that ebb__alloc_layout(…, size) would really give: for growing arrays up
 * to their size class. */
EBB__SHARED size_t ebb__good_size(size_t size, size_t align);

/* Zeroes [start, start + size) inside one object; whole pages of it go back to the system. For
 * ranges of many pages: returning one costs more than writing it. */
EBB__SHARED void ebb__heap_clear(void *start, size_t size);

/* Calls visit(start, size, arg) for every allocated object whose layout's use is `use`, with the
 * world stopped; visit must not allocate. */
EBB__SHARED void ebb__heap_each(enum ebb__use use,
                                void (*visit)(void *start, size_t size, void *arg), void *arg);

/* A constructor-free start: makes the heap if this is the first call. True when there is one. */
EBB__SHARED bool ebb__heap_start(void);

#endif
