/* alloc.c - GC_malloc and its like, GC_realloc, GC_free.
 *
 * What these calls add to Ebb's is a look at one word (gc__attend) and the program's say where
 * memory is exhausted. Objects are aligned to 16 and come zeroed; a pointer one past their end is
 * theirs.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "shim.h"

#include <errno.h>
#include <string.h>

/* What the program gives where Ebb gives nothing. */
static __attribute__((noinline, cold)) void *alloc_failed(size_t size) {
    return GC_oom_fn(size);
}

static inline __attribute__((always_inline)) void *alloc_plain(size_t size, unsigned kind) {
    gc__attend();
    void *p =
        ebb_alloc_as(atomic_load_explicit(&gc__kinds[kind].layout, memory_order_relaxed), size);
    return __builtin_expect(p != NULL, 1) ? p : alloc_failed(size);
}

void *GC_malloc(size_t size) {
    return alloc_plain(size, GC__NORMAL);
}

void *GC_malloc_atomic(size_t size) {
    return alloc_plain(size, GC__PTRFREE);
}

/* Every pointer into an object keeps it, however far from its start. */
void *GC_malloc_ignore_off_page(size_t size) {
    return GC_malloc(size);
}

void *GC_malloc_atomic_ignore_off_page(size_t size) {
    return GC_malloc_atomic(size);
}

void *GC_malloc_stubborn(size_t size) {
    return GC_malloc(size);
}

/* --- By kind ---------------------------------------------------------------------------------- */

/* Called with an object that is about to be reclaimed; one that its procedure wants to keep is
 * asked about again in the cycle after the next. */
static void alloc_disclaim(void *object, void *kind_arg) {
    const gc__kind *kind = kind_arg;
    GC_disclaim_proc proc = atomic_load_explicit(&kind->disclaim, memory_order_acquire);
    if (!proc || !proc(object)) return;
    const ebb_finalization again = {alloc_disclaim, kind_arg, EBB_ORDER_NONE};
    ebb_finalizer_swap(object, &again, NULL);
}

/* What an object of a kind needs besides its memory. */
static bool alloc_adopt(void *object, gc__kind *kind) {
    if (kind->is_uncollectable && !gc__keep(object)) return false;
    if (!atomic_load_explicit(&kind->disclaim, memory_order_relaxed)) return true;
    const ebb_finalization last = {alloc_disclaim, kind, EBB_ORDER_NONE};
    return ebb_finalizer_swap(object, &last, NULL) == 0;
}

void *gc__alloc_kind(size_t size, unsigned number) {
    gc__kind *kind = &gc__kinds[number < GC__MAX_KINDS ? number : GC__MAX_KINDS - 1];
    ebb_layout *layout = atomic_load_explicit(&kind->layout, memory_order_acquire);
    if (!layout || number >= GC__MAX_KINDS) gc__abort("allocation of a kind that was not made");
    void *p = ebb_alloc_as(layout, size);
    return p && alloc_adopt(p, kind) ? p : alloc_failed(size);
}

void *GC_malloc_uncollectable(size_t size) {
    gc__attend();
    return gc__alloc_kind(size, GC__UNCOLLECTABLE);
}

void *GC_malloc_atomic_uncollectable(size_t size) {
    gc__attend();
    return gc__alloc_kind(size, GC__AUNCOLLECTABLE);
}

void *GC_generic_malloc(size_t size, int kind) {
    gc__attend();
    return gc__alloc_kind(size, (unsigned)kind);
}

void *GC_generic_malloc_ignore_off_page(size_t size, int kind) {
    return GC_generic_malloc(size, kind);
}

void *GC_malloc_kind(size_t size, int kind) {
    return GC_generic_malloc(size, kind);
}

void *GC_malloc_kind_global(size_t size, int kind) {
    return GC_generic_malloc(size, kind);
}

void *GC_generic_or_special_malloc(size_t size, int kind) {
    return GC_generic_malloc(size, kind);
}

void *GC_generic_malloc_uncollectable(size_t size, int kind) {
    void *p = GC_generic_malloc(size, kind);
    if (p && !gc__kinds[kind].is_uncollectable && !gc__keep(p)) return alloc_failed(size);
    return p;
}

/* --- Many at once ------------------------------------------------------------------------------
 */

/* A list, through their first words, of as many objects as fill 4 KiB, one at least. Their slots
 * are of size bytes, so a pointer one past their end is not theirs: the call's users see to that.
 */
void GC_generic_malloc_many(size_t size, int kind, void **result) {
    size_t slot = (size + !size + 15) & ~(size_t)15;
    size_t count = slot <= 2048 ? 4096 / slot : 1;
    void *list = NULL;
    gc__attend();
    for (size_t i = 0; i < count; i++) {
        void **p = gc__alloc_kind(slot - 1, (unsigned)kind);
        if (!p) break;
        *p = list;
        list = p;
    }
    *result = list;
}

void *GC_malloc_many(size_t size) {
    void *list;
    GC_generic_malloc_many(size + 1, GC__NORMAL, &list);
    return list;
}

/* --- Aligned, and strings ----------------------------------------------------------------------
 */

void *GC_memalign(size_t align, size_t size) {
    gc__attend();
    void *p = ebb_alloc_aligned(size, align < 16 ? 16 : align);
    return p ? p : alloc_failed(size);
}

int GC_posix_memalign(void **result, size_t align, size_t size) {
    if (align < sizeof(void *) || (align & (align - 1)) != 0) return EINVAL;
    void *p = GC_memalign(align, size);
    if (!p) return ENOMEM;
    *result = p;
    return 0;
}

char *GC_strndup(const char *s, size_t size) {
    size_t length = strnlen(s, size);
    char *copy = GC_malloc_atomic(length + 1);
    if (!copy) {
        errno = ENOMEM;
        return NULL;
    }
    memcpy(copy, s, length); /* the byte behind is 0 */
    return copy;
}

char *GC_strdup(const char *s) {
    return s ? GC_strndup(s, strlen(s)) : NULL;
}

/* --- Freeing and resizing ----------------------------------------------------------------------
 */

/* A count that is read seldom and written at every GC_free: increments of two threads at once may
 * count as one. */
static _Atomic GC_word alloc_freed_bytes;

void GC_incr_bytes_freed(size_t bytes) {
    GC_word before = atomic_load_explicit(&alloc_freed_bytes, memory_order_relaxed);
    atomic_store_explicit(&alloc_freed_bytes, before + bytes, memory_order_relaxed);
}

GC_word gc__freed_bytes(void) {
    return atomic_load_explicit(&alloc_freed_bytes, memory_order_relaxed);
}

/* For who allocates from free lists of its own: Ebb counts where it hands memory out. */
void GC_incr_bytes_allocd(size_t bytes) {
    (void)bytes;
}

void GC_free(void *p) {
    if (!p) return;
    if (gc__may_be_kept(p)) gc__release(p);
    size_t size = ebb_free_counted(p);
    if (size > 0)
        GC_incr_bytes_freed(size);
    else
        gc__warn("GC_free: %p is not the start of an object", (GC_word)p);
}

/* A smaller object instead of p, whose slot is more than twice too large; null where p may stay. */
static void *alloc_shrink(const void *p, size_t size) {
    int kind = gc__kind_of(p);
    if (kind < 0 || kind >= GC__FIRST_KIND) return NULL;
    void *smaller = gc__alloc_kind(size, (unsigned)kind);
    return smaller ? memcpy(smaller, p, size) : NULL;
}

/* p or an object that is larger; null without memory. Small objects never grow where they are, and
 * the last byte of their slots may be in use. */
static void *alloc_grow(void *p, size_t size, size_t old) {
    int error = errno;
    void *larger = old > 32768 ? ebb_resize(p, size) : ebb_alloc_as(ebb_layout_of(p), size);
    errno = error;
    if (!larger || larger == p) return larger;
    if (old <= 32768) memcpy(larger, p, gc__slot_size(p));
    int kind = gc__kind_of(p);
    return kind < 0 || alloc_adopt(larger, &gc__kinds[kind]) ? larger : NULL;
}

void *GC_realloc(void *p, size_t size) {
    if (!p) return GC_malloc(size);
    if (size == 0) {
        GC_free(p);
        return NULL;
    }
    gc__attend();
    size_t old = ebb_size_of(p);
    void *moved;
    if (size > old) {
        moved = alloc_grow(p, size, old);
        if (!moved) return alloc_failed(size);
        if (moved == p) return p;
    } else {
        moved = size < old / 2 ? alloc_shrink(p, size) : NULL;
        if (!moved) {
            memset((char *)p + size, 0, old - size);
            return p;
        }
    }
    GC_free(p);
    return moved;
}

/* --- What nothing has to be done for -----------------------------------------------------------
 */

/* Ebb sees by itself which pages were written. */
void GC_change_stubborn(const void *p) {
    (void)p;
}

void GC_end_stubborn_change(const void *p) {
    ebb_keep_alive(p);
}

void GC_ptr_store_and_dirty(void *p, const void *q) {
    *(const void **)p = q;
    ebb_keep_alive(q);
}
