/* gc/gc.h - garbage-collected memory for C by the calls of libgc 8.2, served by Ebb.
 *
 * Names, types, values and the binary interface are those of libgc.so.1; what the calls do is said
 * where it is not the same. compat/libgc/README.md has the list.
 *
 *   parts/objects.h      allocate, resize, free; the same with file and line
 *   parts/pointers.h     where an object begins, how large it is; hidden and checked pointers
 *   parts/cycles.h       collect, when to collect, what is known of collections
 *   parts/finalizers.h   finalizers, links that disappear, toggle references
 *   parts/threads.h      threads, stacks, roots, the lock
 *
 * In common: Threads: any, where nothing else is said. Collects: what allocates may. Memory is
 * zeroed, aligned to 16 bytes, and kept by a pointer to any of its bytes. */
#ifndef GC_H
#define GC_H

#include "gc_version.h"
#include "gc_config_macros.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef void *GC_PTR;
typedef unsigned long GC_word;
typedef long GC_signed_word;

/* The interface that the library has: major << 16 | minor << 8 | micro, of 8.2.2. */
GC_API unsigned GC_CALL GC_get_version(void);

/* Makes the heap. Each call that allocates does it, too. */
GC_API void GC_CALL GC_init(void);
GC_API int GC_CALL GC_is_init_called(void);

/* Does nothing: the heap ends with the process. */
GC_API void GC_CALL GC_deinit(void);

#ifdef __cplusplus
}
#endif

#include "parts/objects.h"
#include "parts/pointers.h"
#include "parts/cycles.h"
#include "parts/finalizers.h"
#include "parts/threads.h"

/* --- Beginning ------------------------------------------------------------------------------ */

/* GC_INIT() sets, before and after GC_init, what macros of these names say. */
#ifdef GC_DONT_EXPAND
# define GC_INIT_CONF_DONT_EXPAND GC_set_dont_expand(1)
#else
# define GC_INIT_CONF_DONT_EXPAND
#endif

#ifdef GC_FORCE_UNMAP_ON_GCOLLECT
# define GC_INIT_CONF_FORCE_UNMAP_ON_GCOLLECT GC_set_force_unmap_on_gcollect(1)
#else
# define GC_INIT_CONF_FORCE_UNMAP_ON_GCOLLECT
#endif

#if defined(GC_DONT_GC)
# define GC_INIT_CONF_MAX_RETRIES (void)(GC_dont_gc = 1)
#elif defined(GC_MAX_RETRIES)
# define GC_INIT_CONF_MAX_RETRIES GC_set_max_retries(GC_MAX_RETRIES)
#else
# define GC_INIT_CONF_MAX_RETRIES
#endif

#ifdef GC_ALLOCD_BYTES_PER_FINALIZER
# define GC_INIT_CONF_ALLOCD_BYTES_PER_FINALIZER \
  GC_set_allocd_bytes_per_finalizer(GC_ALLOCD_BYTES_PER_FINALIZER)
#else
# define GC_INIT_CONF_ALLOCD_BYTES_PER_FINALIZER
#endif

#ifdef GC_FREE_SPACE_DIVISOR
# define GC_INIT_CONF_FREE_SPACE_DIVISOR GC_set_free_space_divisor(GC_FREE_SPACE_DIVISOR)
#else
# define GC_INIT_CONF_FREE_SPACE_DIVISOR
#endif

#ifdef GC_FULL_FREQ
# define GC_INIT_CONF_FULL_FREQ GC_set_full_freq(GC_FULL_FREQ)
#else
# define GC_INIT_CONF_FULL_FREQ
#endif

#ifdef GC_TIME_LIMIT
# define GC_INIT_CONF_TIME_LIMIT GC_set_time_limit(GC_TIME_LIMIT)
#else
# define GC_INIT_CONF_TIME_LIMIT
#endif

#if defined(GC_MARKERS) && defined(GC_THREADS)
# define GC_INIT_CONF_MARKERS GC_set_markers_count(GC_MARKERS)
#else
# define GC_INIT_CONF_MARKERS
#endif

#if defined(GC_SIG_SUSPEND) && defined(GC_THREADS)
# define GC_INIT_CONF_SUSPEND_SIGNAL GC_set_suspend_signal(GC_SIG_SUSPEND)
#else
# define GC_INIT_CONF_SUSPEND_SIGNAL
#endif

#if defined(GC_SIG_THR_RESTART) && defined(GC_THREADS)
# define GC_INIT_CONF_THR_RESTART_SIGNAL GC_set_thr_restart_signal(GC_SIG_THR_RESTART)
#else
# define GC_INIT_CONF_THR_RESTART_SIGNAL
#endif

#ifdef GC_MAXIMUM_HEAP_SIZE
# define GC_INIT_CONF_MAXIMUM_HEAP_SIZE GC_set_max_heap_size(GC_MAXIMUM_HEAP_SIZE)
#else
# define GC_INIT_CONF_MAXIMUM_HEAP_SIZE
#endif

/* Static data of every loaded object is searched anyhow. */
#define GC_INIT_CONF_ROOTS

#ifdef GC_IGNORE_WARN
# define GC_INIT_CONF_IGNORE_WARN GC_set_warn_proc(GC_ignore_warn_proc)
#else
# define GC_INIT_CONF_IGNORE_WARN
#endif

#ifdef GC_INITIAL_HEAP_SIZE
# define GC_INIT_CONF_INITIAL_HEAP_SIZE                                                      \
  do {                                                                                       \
   size_t gc_now_ = GC_get_heap_size();                                                      \
   if (gc_now_ < (GC_INITIAL_HEAP_SIZE)) (void)GC_expand_hp((GC_INITIAL_HEAP_SIZE)-gc_now_); \
  } while (0)
#else
# define GC_INIT_CONF_INITIAL_HEAP_SIZE
#endif

#define GC_INIT()                          \
 {                                         \
  GC_INIT_CONF_DONT_EXPAND;                \
  GC_INIT_CONF_FORCE_UNMAP_ON_GCOLLECT;    \
  GC_INIT_CONF_MAX_RETRIES;                \
  GC_INIT_CONF_ALLOCD_BYTES_PER_FINALIZER; \
  GC_INIT_CONF_FREE_SPACE_DIVISOR;         \
  GC_INIT_CONF_FULL_FREQ;                  \
  GC_INIT_CONF_TIME_LIMIT;                 \
  GC_INIT_CONF_MARKERS;                    \
  GC_INIT_CONF_SUSPEND_SIGNAL;             \
  GC_INIT_CONF_THR_RESTART_SIGNAL;         \
  GC_INIT_CONF_MAXIMUM_HEAP_SIZE;          \
  GC_init();                               \
  GC_INIT_CONF_IGNORE_WARN;                \
  GC_INIT_CONF_INITIAL_HEAP_SIZE;          \
 }

/* Last: from here on pthread_create … are the library's. */
#ifdef GC_PTHREADS
# include "gc_pthread_redirects.h"
#endif

#endif
