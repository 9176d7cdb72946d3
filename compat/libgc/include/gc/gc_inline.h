/* gc/gc_inline.h - allocation from free lists that the program keeps, expanded in place.
 *
 * The lists (of GC_TINY_FREELISTS, cleared) lie where the collector looks, and one thread uses
 * them. What lies on them is kept, but of an atomic list only the first object is: the program has
 * to look after the others, or clear the list before each collection. */
#ifndef GC_INLINE_H
#define GC_INLINE_H

#include "gc.h"
#include "gc_tiny_fl.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GC_I_PTRFREE 0
#define GC_I_NORMAL  1

/* A list of objects of size bytes as GC_malloc_many, in *result. */
GC_API void GC_CALL GC_generic_malloc_many(size_t size, int kind, void **result);

/* As GC_generic_malloc. */
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL GC_malloc_kind(size_t size, int kind);
#ifdef GC_THREADS
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_malloc_kind_global(size_t size, int kind);
#else
# define GC_malloc_kind_global GC_malloc_kind
#endif

/* Prints that there is no such list. */
GC_API void GC_CALL GC_print_free_list(int kind, size_t granules);

#ifndef GC_EXPECT
# define GC_EXPECT(expression, outcome) __builtin_expect(expression, outcome)
#endif

/* The first object of a list, which is filled when it is empty; null without memory. Small numbers
 * in the place of a list count the granules that were allocated without it: as long as they are not
 * over direct, *elsewhere is set. */
static inline void *GC_inline_take(void **list, size_t granules, size_t direct, int kind,
                                   int *elsewhere) {
    void *first = *list;
    *elsewhere = 0;
    if (GC_EXPECT((size_t)first <= direct + GC_TINY_FREELISTS + 1, 0)) {
        if (first != 0 && (size_t)first <= direct) {
            *list = (void *)((size_t)first + granules + 1);
            *elsewhere = 1;
            return 0;
        }
        GC_generic_malloc_many((granules ? granules : 1) * GC_GRANULE_BYTES, kind, list);
        first = *list;
        if (first == 0) return 0;
    }
    *list = *(void **)first;
    return first;
}

/* result = an object of so many granules of the kind from tiny_fl, whose first word init is to
 * clear; from default_expr when it is large, or one of the first. */
#define GC_FAST_MALLOC_GRANS(result, granules, tiny_fl, num_direct, kind, default_expr, init)   \
 do {                                                                                           \
  if (GC_EXPECT((granules) >= GC_TINY_FREELISTS, 0)) {                                          \
   result = (default_expr);                                                                     \
  } else {                                                                                      \
   int gc_elsewhere_;                                                                           \
   result = GC_inline_take((tiny_fl) + (granules), granules, num_direct, kind, &gc_elsewhere_); \
   if (GC_EXPECT((result) != 0, 1)) {                                                           \
    init;                                                                                       \
   } else if (gc_elsewhere_) {                                                                  \
    result = (default_expr);                                                                    \
   } else {                                                                                     \
    result = GC_get_oom_fn()((granules)*GC_GRANULE_BYTES);                                      \
   }                                                                                            \
  }                                                                                             \
 } while (0)

#define GC_WORDS_TO_WHOLE_GRANULES(words) GC_WORDS_TO_GRANULES((words) + GC_GRANULE_WORDS - 1)

#define GC_MALLOC_WORDS_KIND(result, words, tiny_fl, kind, init)                    \
 do {                                                                               \
  size_t gc_granules_ = GC_WORDS_TO_WHOLE_GRANULES(words);                          \
  GC_FAST_MALLOC_GRANS(result, gc_granules_, tiny_fl, 0, kind,                      \
                       GC_malloc_kind(gc_granules_ *GC_GRANULE_BYTES, kind), init); \
 } while (0)
#define GC_MALLOC_WORDS(result, words, tiny_fl) \
 GC_MALLOC_WORDS_KIND(result, words, tiny_fl, GC_I_NORMAL, *(void **)(result) = 0)
#define GC_MALLOC_ATOMIC_WORDS(result, words, tiny_fl) \
 GC_MALLOC_WORDS_KIND(result, words, tiny_fl, GC_I_PTRFREE, (void)0)

/* result = an object of two words. */
#define GC_CONS(result, first, second, tiny_fl)                   \
 do {                                                             \
  void *gc_first_ = (void *)(first);                              \
  void *gc_second_ = (void *)(second);                            \
  GC_MALLOC_WORDS_KIND(result, 2, tiny_fl, GC_I_NORMAL, (void)0); \
  if ((result) != 0) {                                            \
   ((void **)(result))[0] = gc_first_;                            \
   ((void **)(result))[1] = gc_second_;                           \
  }                                                               \
  GC_reachable_here(gc_first_);                                   \
  GC_reachable_here(gc_second_);                                  \
 } while (0)

#ifdef __cplusplus
}
#endif

#endif
