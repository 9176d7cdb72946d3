/* gc/gc_typed.h - objects whose pointers are known word by word.
 *
 * No other word of such an object is searched, and it may be given to GC_realloc. */
#ifndef GC_TYPED_H
#define GC_TYPED_H

#ifndef GC_H
# include "gc.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Bit i, the lowest first, is set where word i of an object is a pointer. */
typedef GC_word *GC_bitmap;
#define GC_WORDSZ (8 * sizeof(GC_word))
#define GC_get_bit(bitmap, index) \
 ((bitmap)[(index) / GC_WORDSZ] >> ((index) % GC_WORDSZ) & (GC_word)1)
#define GC_set_bit(bitmap, index) \
 ((bitmap)[(index) / GC_WORDSZ] |= (GC_word)1 << ((index) % GC_WORDSZ))
#define GC_WORD_OFFSET(type, field) (offsetof(type, field) / sizeof(GC_word))
#define GC_WORD_LEN(type)           (sizeof(type) / sizeof(GC_word))
#define GC_BITMAP_SIZE(type)        ((GC_WORD_LEN(type) + GC_WORDSZ - 1) / GC_WORDSZ)

/* Made once for a type. The words past the bits of the bitmap are none. */
typedef GC_word GC_descr;
GC_API GC_descr GC_CALL GC_make_descriptor(const GC_word *bitmap, size_t bits);

GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_malloc_explicitly_typed(size_t size, GC_descr descriptor);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_malloc_explicitly_typed_ignore_off_page(size_t size, GC_descr descriptor);

/* An array; the descriptor is that of an element. */
GC_API GC_ATTR_MALLOC GC_ATTR_CALLOC_SIZE(1, 2) void *GC_CALL
    GC_calloc_explicitly_typed(size_t count, size_t size, GC_descr descriptor);

#ifdef GC_DEBUG
# define GC_MALLOC_EXPLICITLY_TYPED(size, descriptor) ((void)(descriptor), GC_MALLOC(size))
# define GC_CALLOC_EXPLICITLY_TYPED(count, size, descriptor) \
  ((void)(descriptor), GC_MALLOC((count) * (size)))
#else
# define GC_MALLOC_EXPLICITLY_TYPED(size, descriptor) GC_malloc_explicitly_typed(size, descriptor)
# define GC_CALLOC_EXPLICITLY_TYPED(count, size, descriptor) \
  GC_calloc_explicitly_typed(count, size, descriptor)
#endif

#ifdef __cplusplus
}
#endif

#endif
