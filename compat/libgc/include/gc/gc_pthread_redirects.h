/* gc/gc_pthread_redirects.h - pthread_create … by the library. Included by gc/gc.h for GC_THREADS.
 *
 * Each calls what it is named after, and keeps the list of registered threads. A program that calls
 * the originals loses nothing but that.
 *
 * GC_NO_THREAD_REDIRECTS declares the calls and redefines no name; GC_PTHREAD_REDIRECTS_ONLY the
 * other way round. GC_NO_DLOPEN, GC_NO_PTHREAD_SIGMASK and GC_NO_PTHREAD_CANCEL leave those out. */
#ifndef GC_PTHREAD_REDIRECTS_H
#define GC_PTHREAD_REDIRECTS_H

#if defined(GC_H) && defined(GC_PTHREADS)

# ifndef GC_PTHREAD_REDIRECTS_ONLY
#  include <dlfcn.h>
#  include <pthread.h>
#  include <signal.h>

#  ifndef GC_SUSPEND_THREAD_ID
#   define GC_SUSPEND_THREAD_ID pthread_t
#  endif
#  ifndef GC_PTHREAD_CREATE_CONST
#   define GC_PTHREAD_CREATE_CONST const
#  endif

#  ifdef __cplusplus
extern "C" {
#  endif

GC_API int GC_pthread_create(pthread_t *thread, GC_PTHREAD_CREATE_CONST pthread_attr_t *attributes,
                             void *(*start)(void *), void *argument);
GC_API int GC_pthread_join(pthread_t thread, void **result);
GC_API int GC_pthread_detach(pthread_t thread);
#  ifndef GC_NO_PTHREAD_CANCEL
GC_API int GC_pthread_cancel(pthread_t thread);
#  endif
#  if defined(GC_HAVE_PTHREAD_EXIT) && !defined(GC_PTHREAD_EXIT_DECLARED)
#   define GC_PTHREAD_EXIT_DECLARED
GC_API void GC_pthread_exit(void *result) GC_PTHREAD_EXIT_ATTRIBUTE;
#  endif
#  ifndef GC_NO_DLOPEN
GC_API void *GC_dlopen(const char *path, int flags);
#  endif
#  if !defined(GC_NO_PTHREAD_SIGMASK) && \
      (defined(GC_PTHREAD_SIGMASK_NEEDED) || defined(_POSIX_C_SOURCE) || defined(_GNU_SOURCE))
GC_API int GC_pthread_sigmask(int how, const sigset_t *set, sigset_t *before);
#  endif

#  ifdef __cplusplus
}
#  endif
# endif

# if !defined(GC_NO_THREAD_REDIRECTS) && !defined(GC_USE_LD_WRAP)
#  undef pthread_create
#  undef pthread_join
#  undef pthread_detach
#  define pthread_create GC_pthread_create
#  define pthread_join   GC_pthread_join
#  define pthread_detach GC_pthread_detach
#  ifndef GC_NO_PTHREAD_CANCEL
#   undef pthread_cancel
#   define pthread_cancel GC_pthread_cancel
#  endif
#  ifdef GC_HAVE_PTHREAD_EXIT
#   undef pthread_exit
#   define pthread_exit GC_pthread_exit
#  endif
#  ifndef GC_NO_DLOPEN
#   undef dlopen
#   define dlopen GC_dlopen
#  endif
#  ifndef GC_NO_PTHREAD_SIGMASK
#   undef pthread_sigmask
#   define pthread_sigmask GC_pthread_sigmask
#  endif
# endif

#endif
#endif
