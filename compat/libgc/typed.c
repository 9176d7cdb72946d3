/* typed.c - objects whose pointers the program tells of: GC_make_descriptor and what takes its
 * descriptors, the objects of gcj, and objects with a finalizer of their own.
 *
 * A descriptor is what it is in mark procedures and kinds (gc_mark.h), so that it may lie in
 * objects too. Objects of a descriptor and a size have a layout of Ebb's, which is marked beside
 * the program; very large ones, and those with procedures, have one for all sizes, which is traced
 * in the stop.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "shim.h"

#include <stdlib.h>
#include <string.h>

/* --- Descriptors --------------------------------------------------------------------------------
 */

/* Bitmaps that fit in no descriptor: the descriptor is that of a mark procedure, whose environment
 * is a place in this table. Places are taken for ever, under the allocation lock. */
enum { TYPED_LONGS = 4096, TYPED_BITS = GC_WORDSZ - GC_DS_TAG_BITS };
typedef struct typed_bitmap {
    size_t count; /* of bits, which begin with the least significant */
    GC_word bits[];
} typed_bitmap;
static _Atomic(const typed_bitmap *) typed_longs[TYPED_LONGS];
static unsigned typed_long_count;

static struct GC_ms_entry *typed_mark(GC_word *object, struct GC_ms_entry *marker,
                                      struct GC_ms_entry *limit, GC_word env) {
    const typed_bitmap *map = atomic_load_explicit(&typed_longs[env], memory_order_acquire);
    (void)limit;
    for (size_t i = 0; i < map->count; i++)
        if (GC_get_bit(map->bits, i)) ebb_mark((ebb_marker *)marker, (const void *)object[i]);
    return marker;
}

void gc__typed_init(void) {
    gc__proc_set(GC__TYPED_PROC, typed_mark);
}

static bool typed_is_long(GC_word descriptor) {
    return (descriptor & (((GC_word)GC_MAX_MARK_PROCS << GC_DS_TAG_BITS) - 1)) ==
           GC_MAKE_PROC((GC_word)GC__TYPED_PROC, 0);
}

static const typed_bitmap *typed_long(GC_word descriptor) {
    GC_word at = descriptor >> (GC_DS_TAG_BITS + GC_LOG_MAX_MARK_PROCS);
    return atomic_load_explicit(&typed_longs[at], memory_order_acquire);
}

/* Takes every word for a pointer where the bitmap cannot be kept. */
static GC_descr typed_make_long(const GC_word *bits, size_t count) {
    GC_descr descriptor = count * sizeof(GC_word);
    size_t bytes = (count + GC_WORDSZ - 1) / GC_WORDSZ * sizeof(GC_word);
    typed_bitmap *map = malloc(sizeof *map + bytes);
    if (!map) return descriptor;
    map->count = count;
    memcpy(map->bits, bits, bytes);
    gc__lock();
    unsigned at = typed_long_count;
    if (at < TYPED_LONGS) {
        atomic_store_explicit(&typed_longs[at], map, memory_order_release);
        typed_long_count++;
        descriptor = GC_MAKE_PROC((GC_word)GC__TYPED_PROC, (GC_word)at);
    }
    gc__unlock();
    if (at >= TYPED_LONGS) free(map);
    return descriptor;
}

GC_descr GC_make_descriptor(const GC_word *bits, size_t count) {
    gc__attend();
    while (count > 0 && !GC_get_bit(bits, count - 1)) count--;
    size_t leading = 0;
    while (leading < count && GC_get_bit(bits, leading)) leading++;
    if (leading == count) return count * sizeof(GC_word);
    if (count > TYPED_BITS) return typed_make_long(bits, count);
    GC_descr descriptor = GC_DS_BITMAP;
    for (size_t i = 0; i < count; i++)
        if (GC_get_bit(bits, i)) descriptor |= (GC_word)1 << (GC_WORDSZ - 1 - i);
    return descriptor;
}

/* Whether the i-th word of an object may be a pointer; not for mark procedures of the program. */
static bool typed_bit(GC_word descriptor, size_t i) {
    if ((descriptor & GC_DS_TAGS) == GC_DS_LENGTH) return i < descriptor / sizeof(GC_word);
    if ((descriptor & GC_DS_TAGS) == GC_DS_BITMAP)
        return i < TYPED_BITS && (descriptor >> (GC_WORDSZ - 1 - i) & 1);
    const typed_bitmap *map = typed_long(descriptor);
    return i < map->count && GC_get_bit(map->bits, i);
}

/* --- Layouts ------------------------------------------------------------------------------------
 */

/* By descriptor and size; size is 0 for the traced one, of objects of all sizes. Open addressing;
 * entries never go. Filled under the allocation lock; release and acquire: the entry is whole. */
enum { TYPED_LAYOUTS = 1024, TYPED_SIZE_MAX = 4096 };
typedef struct typed_entry {
    GC_word descriptor;
    size_t size;
    _Atomic(ebb_layout *) layout; /* null: free */
} typed_entry;
static typed_entry typed_table[TYPED_LAYOUTS];
static unsigned typed_count;

static void typed_trace(void *object, size_t size, ebb_marker *marker, uintptr_t descriptor) {
    gc__trace(object, (size + 15) & ~(size_t)15, marker, descriptor);
}

static ebb_layout *typed_layout_new(GC_word descriptor, size_t size) {
    if (size == 0) return ebb_layout_traced("typed", typed_trace, descriptor);
    uint64_t bits[TYPED_SIZE_MAX / 8 / 64] = {0};
    size_t count = size / sizeof(GC_word);
    for (size_t i = 0; i < count; i++)
        if (typed_bit(descriptor, i)) bits[i / 64] |= (uint64_t)1 << (i % 64);
    return ebb_layout_bitmap("typed", size, bits, count);
}

static typed_entry *typed_find(GC_word descriptor, size_t size) {
    size_t i = (descriptor ^ size * 0x9e3779b97f4a7c15u) * 0x9e3779b97f4a7c15u >> 40;
    for (;; i++) {
        typed_entry *entry = &typed_table[i % TYPED_LAYOUTS];
        if (!atomic_load_explicit(&entry->layout, memory_order_acquire)) return entry;
        if (entry->descriptor == descriptor && entry->size == size) return entry;
    }
}

/* Fills an entry, unless another thread did or the table is three quarters full. */
static ebb_layout *typed_fill(GC_word descriptor, size_t size) {
    ebb_layout *layout = typed_layout_new(descriptor, size);
    if (!layout) return NULL;
    gc__lock();
    typed_entry *entry = typed_find(descriptor, size);
    ebb_layout *there = atomic_load_explicit(&entry->layout, memory_order_relaxed);
    if (there) {
        layout = there;
    } else if (typed_count < TYPED_LAYOUTS / 4 * 3 && gc__kind_alias(layout, GC__TYPED)) {
        typed_count++;
        entry->descriptor = descriptor;
        entry->size = size;
        atomic_store_explicit(&entry->layout, layout, memory_order_release);
    } else {
        layout = NULL;
    }
    gc__unlock();
    return layout;
}

/* Null where there cannot be one: every word is taken for a pointer then. */
static ebb_layout *typed_layout(GC_word descriptor, size_t size) {
    static _Atomic bool is_full; /* relaxed: a hint */
    bool is_traced = (descriptor & GC_DS_TAGS) == GC_DS_PER_OBJECT ||
                     ((descriptor & GC_DS_TAGS) == GC_DS_PROC && !typed_is_long(descriptor));
    if (is_traced || size > TYPED_SIZE_MAX) size = 0;
    typed_entry *entry = typed_find(descriptor, size);
    ebb_layout *layout = atomic_load_explicit(&entry->layout, memory_order_acquire);
    if (layout || atomic_load_explicit(&is_full, memory_order_relaxed)) return layout;
    layout = typed_fill(descriptor, size);
    if (!layout) atomic_store_explicit(&is_full, true, memory_order_relaxed);
    return layout;
}

/* --- Allocation ---------------------------------------------------------------------------------
 */

void *GC_malloc_explicitly_typed(size_t size, GC_descr descriptor) {
    size_t rounded = (size + !size + 7) & ~(size_t)7;
    if (rounded < size) return GC_oom_fn(size);
    if (descriptor == GC_DS_LENGTH) return GC_malloc_atomic(size);
    if ((descriptor & GC_DS_TAGS) == GC_DS_LENGTH && descriptor >= size) return GC_malloc(size);
    gc__attend();
    ebb_layout *layout = typed_layout(descriptor, rounded);
    if (!layout) return GC_malloc(size);
    void *p = ebb_alloc_as(layout, rounded);
    return p ? p : GC_oom_fn(size);
}

void *GC_malloc_explicitly_typed_ignore_off_page(size_t size, GC_descr descriptor) {
    return GC_malloc_explicitly_typed(size, descriptor);
}

void *GC_calloc_explicitly_typed(size_t count, size_t size, GC_descr descriptor) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return GC_oom_fn(SIZE_MAX);
    if (descriptor == GC_DS_LENGTH) return GC_malloc_atomic(bytes);
    bool fits = bytes > 0 && size % sizeof(GC_word) == 0 && size <= TYPED_SIZE_MAX;
    bool known = (descriptor & GC_DS_TAGS) <= GC_DS_BITMAP || typed_is_long(descriptor);
    if (count == 1 && !known) return GC_malloc_explicitly_typed(size, descriptor);
    if (!fits || !known) return GC_malloc(bytes);
    gc__attend();
    ebb_layout *layout = typed_layout(descriptor, size);
    if (!layout) return GC_malloc(bytes);
    void *p = ebb_alloc_as(layout, bytes);
    return p ? p : GC_oom_fn(bytes);
}

/* --- Objects of gcj -----------------------------------------------------------------------------
 */

/* The first word leads to the descriptor: in the second word of a table of virtual functions. With
 * GC_IGNORE_GCJ_INFO every word may be a pointer. 0 until GC_init_gcj_malloc. */
int GC_gcj_kind, GC_gcj_debug_kind;

void GC_init_gcj_malloc(int number, void *proc) {
    const GC_word in_table = (GC_word)0 - sizeof(GC_word) - GC_INDIR_PER_OBJ_BIAS;
    if (GC_gcj_kind) return;
    bool ignores = getenv("GC_IGNORE_GCJ_INFO") != NULL;
    GC_mark_proc mark;
    memcpy(&mark, &proc, sizeof mark); /* an object's pointer by declaration */
    gc__proc_set((unsigned)number, mark);
    GC_word always = GC_MAKE_PROC((GC_word)number, 1);
    GC_gcj_debug_kind = (int)GC_new_kind(GC_new_free_list(), ignores ? 0 : always, ignores, 1);
    GC_gcj_kind =
        (int)GC_new_kind(GC_new_free_list(), ignores ? 0 : in_table | GC_DS_PER_OBJECT, ignores, 1);
}

void *GC_gcj_malloc(size_t size, void *type) {
    void **p = GC_generic_malloc(size, GC_gcj_kind);
    if (p) *p = type;
    return p;
}

void *GC_gcj_malloc_ignore_off_page(size_t size, void *type) {
    return GC_gcj_malloc(size, type);
}

/* --- Objects with a finalizer of their own ------------------------------------------------------
 */

/* The word before the object is left as programs expect it: GC_base leads there. */
static void typed_finalize(void *base, void *closure_arg) {
    const struct GC_finalizer_closure *closure = closure_arg;
    closure->proc((void **)base + 1, closure->cd);
}

void GC_init_finalized_malloc(void) {
    gc__attend();
}

void *GC_finalized_malloc(size_t size, const struct GC_finalizer_closure *closure) {
    if (size > SIZE_MAX - sizeof(void *)) return GC_oom_fn(size);
    void **base = GC_malloc(size + sizeof(void *));
    if (!base) return NULL;
    base[0] = (void *)(uintptr_t)closure;
    const ebb_finalization last = {typed_finalize, (void *)(uintptr_t)closure, EBB_ORDER_NONE};
    return ebb_finalizer_swap(base, &last, NULL) == 0 ? base + 1 : GC_oom_fn(size);
}
