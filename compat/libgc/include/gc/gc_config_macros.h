/* gc/gc_config_macros.h - what a program may set before <gc.h>, and what it may ask after it.
 *
 * For Linux, by gcc and clang: of the macros that name systems and threads only those remain.
 * GC_ADD_CALLER is never defined: the calls of GC_DEBUG take a file and a line. */
#ifndef GC_CONFIG_MACROS_H
#define GC_CONFIG_MACROS_H

#include <features.h>
#include <stddef.h>

#define __GC

#if defined(__GNUC__) && defined(__GNUC_MINOR__)
# define GC_GNUC_PREREQ(major, minor) \
  (__GNUC__ > (major) || (__GNUC__ == (major) && __GNUC_MINOR__ >= (minor)))
#else
# define GC_GNUC_PREREQ(major, minor) 0
#endif

/* --- Threads -------------------------------------------------------------------------------- */

/* GC_THREADS, or one of its old names, asks for the calls about threads, and for pthread_create …
 * to be those of the library. Ebb finds threads that were made otherwise, too. */
#if defined(LINUX_THREADS) && !defined(GC_LINUX_THREADS)
# define GC_LINUX_THREADS
#endif
#if defined(GC_LINUX_THREADS) && !defined(GC_THREADS)
# define GC_THREADS
#endif

#undef GC_PTHREADS
#ifdef GC_THREADS
# define GC_PTHREADS
# ifndef GC_LINUX_THREADS
#  define GC_LINUX_THREADS
# endif
# ifndef _REENTRANT
#  define _REENTRANT 1
# endif
# ifndef GC_HAVE_PTHREAD_EXIT
#  define GC_HAVE_PTHREAD_EXIT
#  define GC_PTHREAD_EXIT_ATTRIBUTE __attribute__((__noreturn__))
# endif
#endif

#ifdef USE_LD_WRAP
# define GC_USE_LD_WRAP
#endif

/* --- Declarations --------------------------------------------------------------------------- */

#ifndef GC_API
# define GC_API extern
#endif
#ifndef GC_CALL
# define GC_CALL
#endif
#ifndef GC_CALLBACK
# define GC_CALLBACK GC_CALL
#endif

/* GC_OOM_FUNC_RETURNS_ALIAS is for a program whose GC_oom_fn returns memory that it also refers to
 * by other pointers. */
#ifndef GC_ATTR_MALLOC
# ifdef GC_OOM_FUNC_RETURNS_ALIAS
#  define GC_ATTR_MALLOC
# else
#  define GC_ATTR_MALLOC __attribute__((__malloc__))
# endif
#endif
#ifndef GC_ATTR_ALLOC_SIZE
# define GC_ATTR_ALLOC_SIZE(size) __attribute__((__alloc_size__(size)))
#endif
#ifndef GC_ATTR_CALLOC_SIZE
# define GC_ATTR_CALLOC_SIZE(count, size) __attribute__((__alloc_size__(count, size)))
#endif
#ifndef GC_ATTR_CONST
# define GC_ATTR_CONST __attribute__((__const__))
#endif

/* Inside the library null is looked for, and old variables are what the new calls set. */
#ifdef GC_BUILD
# undef GC_ATTR_NONNULL
# define GC_ATTR_NONNULL(argument)
# undef GC_ATTR_DEPRECATED
# define GC_ATTR_DEPRECATED
#endif
#ifndef GC_ATTR_NONNULL
# define GC_ATTR_NONNULL(argument) __attribute__((__nonnull__(argument)))
#endif
#ifndef GC_ATTR_DEPRECATED
# define GC_ATTR_DEPRECATED __attribute__((__deprecated__))
#endif

#if defined(__GLIBC__) && !defined(GC_MISSING_EXECINFO_H) && !defined(GC_HAVE_BUILTIN_BACKTRACE)
# define GC_HAVE_BUILTIN_BACKTRACE
#endif
#ifndef GC_CAN_SAVE_CALL_STACKS
# define GC_CAN_SAVE_CALL_STACKS
#endif

#ifdef __cplusplus
# ifndef GC_ATTR_EXPLICIT
#  if __cplusplus >= 201103L && !defined(__clang__)
#   define GC_ATTR_EXPLICIT explicit
#  else
#   define GC_ATTR_EXPLICIT
#  endif
# endif
# ifndef GC_NOEXCEPT
#  if __cplusplus >= 201103L
#   define GC_NOEXCEPT noexcept
#  else
#   define GC_NOEXCEPT throw()
#  endif
# endif
#endif

#endif
