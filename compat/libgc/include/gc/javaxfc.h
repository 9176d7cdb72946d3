/* gc/javaxfc.h - for runtimes of Java: finalizers at the end, threads that are suspended. */
#ifndef GC_JAVAXFC_H
#define GC_JAVAXFC_H

#ifndef GC_H
# include "gc.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Runs every finalizer, of reachable objects too. */
GC_API void GC_CALL GC_finalize_all(void);

#ifdef GC_THREADS
# ifndef GC_SUSPEND_THREAD_ID
#  define GC_SUSPEND_THREAD_ID void *
# endif

/* The first two end the program: Ebb suspends no thread but for the time of a stop. */
GC_API void GC_CALL GC_suspend_thread(GC_SUSPEND_THREAD_ID thread);
GC_API void GC_CALL GC_resume_thread(GC_SUSPEND_THREAD_ID thread);
GC_API int GC_CALL GC_is_thread_suspended(GC_SUSPEND_THREAD_ID thread);
#endif

#ifdef __cplusplus
}
#endif

#endif
