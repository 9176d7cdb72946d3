/* gc/gc_mark.h - for language runtimes: kinds of objects that say themselves what they refer to,
 * and roots that are computed.
 *
 * Ebb marks beside the program. Procedures of this page are called in the last stop of a
 * collection, for every reachable object of their kind, and nowhere else: they may read memory that
 * is not the heap's, and are never run by two threads at once. */
#ifndef GC_MARK_H
#define GC_MARK_H

#ifndef GC_H
# include "gc.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- What an object refers to --------------------------------------------------------------- */

/* A word that says it, the two lowest bits which way:
 *   GC_DS_LENGTH       its first that many bytes are searched
 *   GC_DS_BITMAP       those words whose bit is set are pointers, the highest bit for the first
 *   GC_DS_PROC         a mark procedure tells: GC_MAKE_PROC(procedure, env)
 *   GC_DS_PER_OBJECT   the descriptor is found that many bytes into the object, or, if negative,
 *                      into what the first word of the object points to */
#define GC_DS_TAG_BITS   2
#define GC_DS_TAGS       ((1 << GC_DS_TAG_BITS) - 1)
#define GC_DS_LENGTH     0
#define GC_DS_BITMAP     1
#define GC_DS_PROC       2
#define GC_DS_PER_OBJECT 3

#define GC_INDIR_PER_OBJ_BIAS 0x10

#define GC_LOG_MAX_MARK_PROCS 6
#define GC_MAX_MARK_PROCS     (1 << GC_LOG_MAX_MARK_PROCS)
#define GC_MAKE_PROC(procedure, env) \
 ((((env) << GC_LOG_MAX_MARK_PROCS | (procedure)) << GC_DS_TAG_BITS) | GC_DS_PROC)

/* The first numbers of procedures are the program's to give. */
#define GC_RESERVED_MARK_PROCS          8
#define GC_GCJ_RESERVED_MARK_PROC_INDEX 0

/* A collector that lets procedures do this much at a time. Ebb has no such bound. */
#define GC_PROC_BYTES 100

/* --- Mark procedures ------------------------------------------------------------------------ */

#ifdef GC_BUILD
struct GC_ms_entry;
#else
struct GC_ms_entry {
    void *opaque;
};
#endif

/* Hands each pointer of the object to GC_MARK_AND_PUSH, and returns what the last of these did: the
 * top of a stack that is full at limit elsewhere, and in Ebb stands for the one who marks. */
typedef struct GC_ms_entry *(*GC_mark_proc)(GC_word *object, struct GC_ms_entry *top,
                                            struct GC_ms_entry *limit, GC_word env);

/* object may be any word. */
GC_API struct GC_ms_entry *GC_CALL GC_mark_and_push(void *object, struct GC_ms_entry *top,
                                                    struct GC_ms_entry *limit, void **from);
#define GC_MARK_AND_PUSH(object, top, limit, from)                      \
 ((GC_word)(object) >= (GC_word)GC_least_plausible_heap_addr &&         \
          (GC_word)(object) <= (GC_word)GC_greatest_plausible_heap_addr \
      ? GC_mark_and_push(object, top, limit, from)                      \
      : (top))

/* All that is or will be an object lies between. */
GC_API void *GC_least_plausible_heap_addr;
GC_API void *GC_greatest_plausible_heap_addr;

GC_API unsigned GC_CALL GC_new_proc(GC_mark_proc proc);
GC_API unsigned GC_CALL GC_new_proc_inner(GC_mark_proc proc);

/* --- Kinds ---------------------------------------------------------------------------------- */

/* The free list is an array of GC_TINY_FREELISTS that stays empty: Ebb allocates objects of all
 * kinds alike. add_size: the size of each object is added to the descriptor. Objects are cleared in
 * any case.
 * Returns: the kind. More than 64 of them end the program. */
GC_API void **GC_CALL GC_new_free_list(void);
GC_API void **GC_CALL GC_new_free_list_inner(void);
GC_API unsigned GC_CALL GC_new_kind(void **free_list, GC_word descriptor, int add_size, int clear)
    GC_ATTR_NONNULL(1);
GC_API unsigned GC_CALL GC_new_kind_inner(void **free_list, GC_word descriptor, int add_size,
                                          int clear) GC_ATTR_NONNULL(1);

GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL GC_generic_malloc(size_t size, int kind);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_generic_malloc_ignore_off_page(size_t size, int kind);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_generic_malloc_uncollectable(size_t size, int kind);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_generic_or_special_malloc(size_t size, int kind);
GC_API GC_ATTR_MALLOC GC_ATTR_ALLOC_SIZE(1) void *GC_CALL
    GC_debug_generic_or_special_malloc(size_t size, int kind, GC_EXTRA_PARAMS);
#ifdef GC_DEBUG
# define GC_GENERIC_OR_SPECIAL_MALLOC(size, kind) \
  GC_debug_generic_or_special_malloc(size, kind, GC_EXTRAS)
#else
# define GC_GENERIC_OR_SPECIAL_MALLOC(size, kind) GC_generic_or_special_malloc(size, kind)
#endif

/* The kind of the object that starts at object; *size, unless null, is as GC_size. */
GC_API int GC_CALL GC_get_kind_and_size(const void *object, size_t *size) GC_ATTR_NONNULL(1);

/* How messages about objects with file and line name those of a kind. */
#define GC_TYPE_DESCR_LEN 40
typedef void(GC_CALLBACK *GC_describe_type_fn)(void *object, char *text);
GC_API void GC_CALL GC_register_describe_type_fn(int kind, GC_describe_type_fn proc);

/* From the start of an object with file and line to its first byte for the program. */
GC_API GC_ATTR_CONST size_t GC_CALL GC_get_debug_header_size(void);
#define GC_USR_PTR_FROM_BASE(base) ((void *)((char *)(base) + GC_get_debug_header_size()))
#ifdef GC_BUILD
GC_API const size_t GC_debug_header_size;
#else
GC_API GC_ATTR_DEPRECATED size_t GC_debug_header_size;
#endif

/* --- Roots ---------------------------------------------------------------------------------- */

/* Called in the stop of each collection; calls GC_push_… for what is to be kept, and the procedure
 * that was set before it. */
typedef void(GC_CALLBACK *GC_push_other_roots_proc)(void);
GC_API void GC_CALL GC_set_push_other_roots(GC_push_other_roots_proc proc);
GC_API GC_push_other_roots_proc GC_CALL GC_get_push_other_roots(void);

/* Each aligned word in [bottom, top), at once in all three. In the stop only. */
GC_API void GC_CALL GC_push_all(void *bottom, void *top);
GC_API void GC_CALL GC_push_all_eager(void *bottom, void *top);
GC_API void GC_CALL GC_push_conditional(void *bottom, void *top, int all);
GC_API void GC_CALL GC_push_finalizer_structures(void);
GC_API int GC_CALL GC_is_tmp_root(void *p);

/* --- Collections ---------------------------------------------------------------------------- */

/* Before the world is stopped. It may not allocate. */
typedef void(GC_CALLBACK *GC_start_callback_proc)(void);
GC_API void GC_CALL GC_set_start_callback(GC_start_callback_proc proc);
GC_API GC_start_callback_proc GC_CALL GC_get_start_callback(void);

/* In the stop whether the object was found reachable so far, else by the last collection. An
 * object is marked in the stop only, and cannot be unmarked: GC_clear_mark_bit ends the program. */
GC_API int GC_CALL GC_is_marked(const void *object) GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_set_mark_bit(const void *object) GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_clear_mark_bit(const void *object) GC_ATTR_NONNULL(1);

/* Ends the program: Ebb's objects cannot be walked from inside; ebb_heap_dump lists them. */
typedef void(GC_CALLBACK *GC_reachable_object_proc)(void *object, size_t size, void *data);
GC_API void GC_CALL GC_enumerate_reachable_objects_inner(GC_reachable_object_proc proc, void *data)
    GC_ATTR_NONNULL(1);

/* Overwrites what finished calls left on the stack. Returns: its argument. */
GC_API void *GC_CALL GC_clear_stack(void *argument);

#ifdef __cplusplus
}
#endif

#endif
