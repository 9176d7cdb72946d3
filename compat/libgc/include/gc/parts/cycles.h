/* gc/parts/cycles.h - collect, when to collect, what is known of collections. A part of gc/gc.h.
 *
 * Ebb marks beside the program, and gives unused pages back by itself: what tunes the stops and
 * the heap of another collector is kept and given back, and changes nothing, where it says so. */
#ifndef GC_PARTS_CYCLES_H
#define GC_PARTS_CYCLES_H

#ifndef GC_H
# error "a part of <gc.h>"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- Collecting ----------------------------------------------------------------------------- */

/* One full collection. The second also gives every free page back. */
GC_API void GC_CALL GC_gcollect(void);
GC_API void GC_CALL GC_gcollect_and_unmap(void);

/* Given up if stop_func says so, which is asked before the collection and not within.
 * Returns: whether it took place. */
typedef int(GC_CALLBACK *GC_stop_func)(void);
GC_API int GC_CALL GC_try_to_collect(GC_stop_func stop_func) GC_ATTR_NONNULL(1);
GC_API void GC_CALL GC_set_stop_func(GC_stop_func stop_func) GC_ATTR_NONNULL(1);
GC_API GC_stop_func GC_CALL GC_get_stop_func(void);

/* No collection between the two, which nest: GC_dont_gc counts. Written by the program itself it
 * counts from the next of these calls, or collection, on. */
GC_API void GC_CALL GC_disable(void);
GC_API void GC_CALL GC_enable(void);
GC_API int GC_CALL GC_is_disabled(void);
#ifdef GC_DONT_GC
GC_API int GC_dont_gc;
#else
GC_API GC_ATTR_DEPRECATED int GC_dont_gc;
#endif

/* Not 0: collections only when the program asks for them. */
GC_API void GC_CALL GC_set_disable_automatic_collection(int on);
GC_API int GC_CALL GC_get_disable_automatic_collection(void);

/* Collections are concurrent and generational always: the mode reads as it was set, nothing is left
 * to be done by GC_collect_a_little, and no page is protected. */
GC_API void GC_CALL GC_enable_incremental(void);
GC_API int GC_CALL GC_is_incremental_mode(void);
GC_API void GC_CALL GC_start_incremental_collection(void);
GC_API int GC_CALL GC_collect_a_little(void);
GC_API int GC_CALL GC_incremental_protection_needs(void);
#define GC_PROTECTS_NONE         0
#define GC_PROTECTS_POINTER_HEAP 1
#define GC_PROTECTS_PTRFREE_HEAP 2
#define GC_PROTECTS_STATIC_DATA  4
#define GC_PROTECTS_STACK        8

/* --- The heap ------------------------------------------------------------------------------- */

/* Sets nothing aside: whether the limit would allow that much more. The limit is on everything that
 * Ebb has from the system; 0 is none. */
GC_API int GC_CALL GC_expand_hp(size_t bytes);
GC_API void GC_CALL GC_set_max_heap_size(GC_word bytes);

/* Asked when an allocation of so many bytes failed; what it returns is returned. */
typedef void *(GC_CALLBACK *GC_oom_func)(size_t bytes);
GC_API GC_ATTR_DEPRECATED GC_oom_func GC_oom_fn;
GC_API void GC_CALL GC_set_oom_fn(GC_oom_func proc) GC_ATTR_NONNULL(1);
GC_API GC_oom_func GC_CALL GC_get_oom_fn(void);
GC_API void GC_CALL GC_abort_on_oom(void);

/* Between collections the heap grows by 200 / divisor percent of what was traced; EBB_GC=percent=N
 * counts while it is 3. */
GC_API GC_ATTR_DEPRECATED GC_word GC_free_space_divisor;
GC_API void GC_CALL GC_set_free_space_divisor(GC_word divisor);
GC_API GC_word GC_CALL GC_get_free_space_divisor(void);

GC_API void GC_CALL GC_set_force_unmap_on_gcollect(int on);
GC_API int GC_CALL GC_get_force_unmap_on_gcollect(void);

/* --- What is kept and changes nothing ------------------------------------------------------- */

/* But that GC_set_find_leak(1) ends the program, and pages are never executable. */
GC_API GC_ATTR_DEPRECATED int GC_find_leak;
GC_API GC_ATTR_DEPRECATED int GC_all_interior_pointers;
GC_API GC_ATTR_DEPRECATED int GC_dont_expand;
GC_API GC_ATTR_DEPRECATED int GC_use_entire_heap;
GC_API GC_ATTR_DEPRECATED int GC_full_freq;
GC_API GC_ATTR_DEPRECATED int GC_dont_precollect;
GC_API GC_ATTR_DEPRECATED GC_word GC_non_gc_bytes;
GC_API GC_ATTR_DEPRECATED GC_word GC_max_retries;
GC_API GC_ATTR_DEPRECATED unsigned long GC_time_limit;
#define GC_TIME_UNLIMITED 999999

struct GC_timeval_s {
    unsigned long tv_ms;
    unsigned long tv_nsec;
};

GC_API void GC_CALL GC_set_find_leak(int on);
GC_API int GC_CALL GC_get_find_leak(void);
GC_API void GC_CALL GC_set_all_interior_pointers(int on);
GC_API int GC_CALL GC_get_all_interior_pointers(void);
GC_API void GC_CALL GC_set_dont_expand(int on);
GC_API int GC_CALL GC_get_dont_expand(void);
GC_API void GC_CALL GC_set_full_freq(int cycles);
GC_API int GC_CALL GC_get_full_freq(void);
GC_API void GC_CALL GC_set_dont_precollect(int on);
GC_API int GC_CALL GC_get_dont_precollect(void);
GC_API void GC_CALL GC_set_non_gc_bytes(GC_word bytes);
GC_API GC_word GC_CALL GC_get_non_gc_bytes(void);
GC_API void GC_CALL GC_set_max_retries(GC_word times);
GC_API GC_word GC_CALL GC_get_max_retries(void);
GC_API void GC_CALL GC_set_time_limit(unsigned long ms);
GC_API unsigned long GC_CALL GC_get_time_limit(void);
GC_API void GC_CALL GC_set_time_limit_tv(struct GC_timeval_s limit);
GC_API struct GC_timeval_s GC_CALL GC_get_time_limit_tv(void);
GC_API void GC_CALL GC_set_allocd_bytes_per_finalizer(GC_word bytes);
GC_API GC_word GC_CALL GC_get_allocd_bytes_per_finalizer(void);
GC_API void GC_CALL GC_set_min_bytes_allocd(size_t bytes);
GC_API size_t GC_CALL GC_get_min_bytes_allocd(void);
GC_API void GC_CALL GC_set_rate(int rate);
GC_API int GC_CALL GC_get_rate(void);
GC_API void GC_CALL GC_set_max_prior_attempts(int times);
GC_API int GC_CALL GC_get_max_prior_attempts(void);
GC_API void GC_CALL GC_set_manual_vdb_allowed(int on);
GC_API int GC_CALL GC_get_manual_vdb_allowed(void);
GC_API void GC_CALL GC_set_pages_executable(int on);
GC_API int GC_CALL GC_get_pages_executable(void);

/* --- Statistics ----------------------------------------------------------------------------- */

/* Counted by Ebb: the heap is what its spans hold, and a collection that only looks at young
 * objects counts as one. */
GC_API GC_ATTR_DEPRECATED GC_word GC_gc_no;
GC_API GC_word GC_CALL GC_get_gc_no(void);
GC_API size_t GC_CALL GC_get_heap_size(void);
GC_API size_t GC_CALL GC_get_free_bytes(void);
GC_API size_t GC_CALL GC_get_unmapped_bytes(void);
GC_API size_t GC_CALL GC_get_bytes_since_gc(void);
GC_API size_t GC_CALL GC_get_expl_freed_bytes_since_gc(void);
GC_API size_t GC_CALL GC_get_total_bytes(void);
GC_API size_t GC_CALL GC_get_obtained_from_os_bytes(void);
GC_API size_t GC_CALL GC_get_memory_use(void);
GC_API size_t GC_CALL GC_get_size_map_at(int index);

/* Each may be null. */
GC_API void GC_CALL GC_get_heap_usage_safe(GC_word *heap_size, GC_word *free_bytes,
                                           GC_word *unmapped_bytes, GC_word *bytes_since_gc,
                                           GC_word *total_bytes);

struct GC_prof_stats_s {
    GC_word heapsize_full;             /* GC_get_heap_size + GC_get_unmapped_bytes */
    GC_word free_bytes_full;           /* GC_get_free_bytes + GC_get_unmapped_bytes */
    GC_word unmapped_bytes;            /* GC_get_unmapped_bytes */
    GC_word bytes_allocd_since_gc;     /* GC_get_bytes_since_gc */
    GC_word allocd_bytes_before_gc;    /* GC_get_total_bytes - GC_get_bytes_since_gc */
    GC_word non_gc_bytes;              /* GC_get_non_gc_bytes */
    GC_word gc_no;                     /* GC_get_gc_no */
    GC_word markers_m1;                /* GC_get_parallel */
    GC_word bytes_reclaimed_since_gc;  /* freed by the last collection, about */
    GC_word reclaimed_bytes_before_gc; /* freed by those before it, about */
    GC_word expl_freed_bytes_since_gc; /* GC_get_expl_freed_bytes_since_gc */
    GC_word obtained_from_os_bytes;    /* GC_get_obtained_from_os_bytes */
};

/* Fills the first size bytes, those past the known ones with -1.
 * Returns: the bytes of known fields that were filled. */
GC_API size_t GC_CALL GC_get_prof_stats(struct GC_prof_stats_s *stats, size_t size);
#ifdef GC_THREADS
GC_API size_t GC_CALL GC_get_prof_stats_unsafe(struct GC_prof_stats_s *stats, size_t size);
#endif

/* Milliseconds in stops, since the first. */
GC_API void GC_CALL GC_start_performance_measurement(void);
GC_API unsigned long GC_CALL GC_get_full_gc_total_time(void);

/* A page about the heap, its roots and its finalizers, of Ebb's wording. */
GC_API void GC_CALL GC_dump(void);
GC_API void GC_CALL GC_dump_named(const char *name);
GC_API void GC_CALL GC_dump_regions(void);
GC_API void GC_CALL GC_dump_finalization(void);

/* --- Events --------------------------------------------------------------------------------- */

typedef enum {
    GC_EVENT_START,
    GC_EVENT_MARK_START,
    GC_EVENT_MARK_END,
    GC_EVENT_RECLAIM_START,
    GC_EVENT_RECLAIM_END,
    GC_EVENT_END,
    GC_EVENT_PRE_STOP_WORLD,
    GC_EVENT_POST_STOP_WORLD,
    GC_EVENT_PRE_START_WORLD,
    GC_EVENT_POST_START_WORLD,
    GC_EVENT_THREAD_SUSPENDED,
    GC_EVENT_THREAD_UNSUSPENDED
} GC_EventType;

/* Around the stop that ends a collection: for the events between PRE_STOP_WORLD and
 * POST_START_WORLD no thread of the program runs but this one. It may not allocate. */
typedef void(GC_CALLBACK *GC_on_collection_event_proc)(GC_EventType event);
GC_API void GC_CALL GC_set_on_collection_event(GC_on_collection_event_proc proc);
GC_API GC_on_collection_event_proc GC_CALL GC_get_on_collection_event(void);

/* After a collection that changed the size of the heap. */
typedef void(GC_CALLBACK *GC_on_heap_resize_proc)(GC_word size);
GC_API GC_ATTR_DEPRECATED GC_on_heap_resize_proc GC_on_heap_resize;
GC_API void GC_CALL GC_set_on_heap_resize(GC_on_heap_resize_proc proc);
GC_API GC_on_heap_resize_proc GC_CALL GC_get_on_heap_resize(void);

/* --- Messages ------------------------------------------------------------------------------- */

/* text is a format of printf, for the one argument. */
typedef void(GC_CALLBACK *GC_warn_proc)(char *text, GC_word argument);
GC_API void GC_CALL GC_set_warn_proc(GC_warn_proc proc) GC_ATTR_NONNULL(1);
GC_API GC_warn_proc GC_CALL GC_get_warn_proc(void);
GC_API void GC_CALLBACK GC_ignore_warn_proc(char *text, GC_word argument);

/* Called before the program is ended. */
typedef void(GC_CALLBACK *GC_abort_func)(const char *text);
GC_API void GC_CALL GC_set_abort_func(GC_abort_func proc) GC_ATTR_NONNULL(1);
GC_API GC_abort_func GC_CALL GC_get_abort_func(void);

GC_API void GC_CALL GC_set_log_fd(int descriptor);

#ifdef __cplusplus
}
#endif

#endif
