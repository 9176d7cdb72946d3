/* gc/parts/objects.h - allocate, resize and free; the same with the file and line of the caller.
 * A part of gc/gc.h. */
#ifndef GC_PARTS_OBJECTS_H
#define GC_PARTS_OBJECTS_H

#ifndef GC_H
# error "a part of <gc.h>"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- Allocation ----------------------------------------------------------------------------- */

/* size bytes, zeroed (atomic ones too, which promise it not elsewhere). Atomic: the object is not
 * searched for pointers. Uncollectable: kept until GC_free, and searched unless it is atomic.
 *
 * Returns / errors: what GC_oom_fn returns, by default null, when there is no memory. */
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL GC_malloc(size_t size);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL GC_malloc_atomic(size_t size);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL GC_malloc_uncollectable(size_t size);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_malloc_atomic_uncollectable(size_t size);

/* As GC_malloc and GC_malloc_atomic: a pointer to any byte keeps the object. */
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL GC_malloc_ignore_off_page(size_t size);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_malloc_atomic_ignore_off_page(size_t size);

/* A copy, atomic. Null for a null text. */
GC_API GC_ATTR_MALLOC char *GC_CALL GC_strdup(const char *text);
GC_API GC_ATTR_MALLOC char *GC_CALL GC_strndup(const char *text, size_t length) GC_ATTR_NONNULL(1);

/* The alignment is a power of two; GC_posix_memalign returns 0, EINVAL or ENOMEM. */
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(2) void *GC_CALL GC_memalign(size_t align, size_t size);
GC_API int GC_CALL GC_posix_memalign(void **result, size_t align, size_t size) GC_ATTR_NONNULL(1);

/* A list of objects of size bytes, the next of each by GC_NEXT, null at its end: cleared but for
 * that word. */
GC_API GC_ATTR_MALLOC void *GC_CALL GC_malloc_many(size_t size);
#define GC_NEXT(p) (*(void **)(p))

/* Of the kind of the old one, which is freed when the object moves. A null object: GC_malloc. A
 * size of 0 frees, and returns null. */
GC_API void *GC_CALL GC_realloc(void *object, size_t size) GC_ATTR_ALLOC_SIZE(2);

/* Never necessary but for uncollectable objects. Null is allowed. */
GC_API void GC_CALL GC_free(void *object);

/* --- Changes -------------------------------------------------------------------------------- */

/* Ebb watches the pages of the heap: these tell it nothing, and may be left out. */
GC_API void GC_CALL GC_end_stubborn_change(const void *object) GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_ptr_store_and_dirty(void *where, const void *pointer);
GC_API GC_ATTR_DEPRECATED void GC_CALL GC_change_stubborn(const void *object);
GC_API GC_ATTR_DEPRECATED void *GC_CALL GC_malloc_stubborn(size_t size);

/* The object is reachable up to here, whatever the compiler made of it. */
#define GC_reachable_here(pointer) __asm__ __volatile__("" : : "X"(pointer) : "memory")
GC_API void GC_CALL GC_noop1(GC_word ignored);

/* --- With file and line --------------------------------------------------------------------- */

/* What GC_DEBUG makes of the macros below: objects that know where they were made and how large
 * they are, with a mark after their end that is checked by GC_debug_free and GC_debug_realloc, and
 * before each GC_gcollect. GC_debug_free fills the object. */
#define GC_EXTRAS       __FILE__, __LINE__
#define GC_EXTRA_PARAMS const char *s, int i

GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_debug_malloc(size_t size, GC_EXTRA_PARAMS);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_debug_malloc_atomic(size_t size, GC_EXTRA_PARAMS);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_debug_malloc_uncollectable(size_t size, GC_EXTRA_PARAMS);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_debug_malloc_atomic_uncollectable(size_t size, GC_EXTRA_PARAMS);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_debug_malloc_ignore_off_page(size_t size, GC_EXTRA_PARAMS);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_debug_malloc_atomic_ignore_off_page(size_t size, GC_EXTRA_PARAMS);
GC_API GC_ATTR_MALLOC char *GC_CALL GC_debug_strdup(const char *text, GC_EXTRA_PARAMS);
GC_API GC_ATTR_MALLOC char *GC_CALL GC_debug_strndup(const char *text, size_t length,
                                                     GC_EXTRA_PARAMS) GC_ATTR_NONNULL(1);
GC_API void *GC_CALL GC_debug_realloc(void *object, size_t size, GC_EXTRA_PARAMS)
    GC_ATTR_ALLOC_SIZE(2);
GC_API void GC_CALL GC_debug_free(void *object);

GC_API void GC_CALL GC_debug_end_stubborn_change(const void *object) GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_debug_ptr_store_and_dirty(void *where, const void *pointer);
GC_API GC_ATTR_DEPRECATED void GC_CALL GC_debug_change_stubborn(const void *object);
GC_API GC_ATTR_DEPRECATED void *GC_CALL GC_debug_malloc_stubborn(size_t size, GC_EXTRA_PARAMS);

/* The same for callers that have no file and line to give. */
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL GC_debug_malloc_replacement(size_t size);
GC_API void *GC_CALL GC_debug_realloc_replacement(void *object, size_t size) GC_ATTR_ALLOC_SIZE(2);

#ifdef __cplusplus
}
#endif

/* --- Either, by GC_DEBUG -------------------------------------------------------------------- */

#if defined(GC_DEBUG_REPLACEMENT)
# define GC_MALLOC(size)          GC_debug_malloc_replacement(size)
# define GC_REALLOC(object, size) GC_debug_realloc_replacement(object, size)
#elif defined(GC_DEBUG)
# define GC_MALLOC(size)          GC_debug_malloc(size, GC_EXTRAS)
# define GC_REALLOC(object, size) GC_debug_realloc(object, size, GC_EXTRAS)
#else
# define GC_MALLOC(size)          GC_malloc(size)
# define GC_REALLOC(object, size) GC_realloc(object, size)
#endif

#ifdef GC_DEBUG
# define GC_MALLOC_ATOMIC(size)               GC_debug_malloc_atomic(size, GC_EXTRAS)
# define GC_MALLOC_UNCOLLECTABLE(size)        GC_debug_malloc_uncollectable(size, GC_EXTRAS)
# define GC_MALLOC_ATOMIC_UNCOLLECTABLE(size) GC_debug_malloc_atomic_uncollectable(size, GC_EXTRAS)
# define GC_MALLOC_IGNORE_OFF_PAGE(size)      GC_debug_malloc_ignore_off_page(size, GC_EXTRAS)
# define GC_MALLOC_ATOMIC_IGNORE_OFF_PAGE(size) \
  GC_debug_malloc_atomic_ignore_off_page(size, GC_EXTRAS)
# define GC_STRDUP(text)                        GC_debug_strdup(text, GC_EXTRAS)
# define GC_STRNDUP(text, length)               GC_debug_strndup(text, length, GC_EXTRAS)
# define GC_FREE(object)                        GC_debug_free(object)
# define GC_END_STUBBORN_CHANGE(object)         GC_debug_end_stubborn_change(object)
# define GC_PTR_STORE_AND_DIRTY(where, pointer) GC_debug_ptr_store_and_dirty(where, pointer)
#else
# define GC_MALLOC_ATOMIC(size)                 GC_malloc_atomic(size)
# define GC_MALLOC_UNCOLLECTABLE(size)          GC_malloc_uncollectable(size)
# define GC_MALLOC_ATOMIC_UNCOLLECTABLE(size)   GC_malloc_atomic_uncollectable(size)
# define GC_MALLOC_IGNORE_OFF_PAGE(size)        GC_malloc_ignore_off_page(size)
# define GC_MALLOC_ATOMIC_IGNORE_OFF_PAGE(size) GC_malloc_atomic_ignore_off_page(size)
# define GC_STRDUP(text)                        GC_strdup(text)
# define GC_STRNDUP(text, length)               GC_strndup(text, length)
# define GC_FREE(object)                        GC_free(object)
# define GC_END_STUBBORN_CHANGE(object)         GC_end_stubborn_change(object)
# define GC_PTR_STORE_AND_DIRTY(where, pointer) GC_ptr_store_and_dirty(where, pointer)
#endif

#define GC_NEW(type)               ((type *)GC_MALLOC(sizeof(type)))
#define GC_NEW_ATOMIC(type)        ((type *)GC_MALLOC_ATOMIC(sizeof(type)))
#define GC_NEW_UNCOLLECTABLE(type) ((type *)GC_MALLOC_UNCOLLECTABLE(sizeof(type)))

#define GC_MALLOC_STUBBORN(size)   GC_MALLOC(size)
#define GC_NEW_STUBBORN(type)      GC_NEW(type)
#define GC_CHANGE_STUBBORN(object) GC_change_stubborn(object)

#endif
