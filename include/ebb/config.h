/* ebb/config.h - what every public header needs: compiler attributes, error codes, checks.
 *
 * A call that can fail returns 0 or a negative code from EBB_ERRORS below; a call that returns
 * memory returns a null pointer instead. A misuse (a foreign pointer, a double release, an index
 * out of range) is an error like any other, and in debug builds of the library, or under
 * EBB_DEBUG=misuse=abort, it prints a line that names the call and the object, and aborts. */
#ifndef EBB_CONFIG_H
#define EBB_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if !defined(__GNUC__)
# error "Ebb needs the GNU extensions that gcc (12 or later) and clang (14 or later) share"
#endif

/* The library's own: where the functions that programs call are put together, see src/base/base.h.
 */
#ifndef EBB__ENTRY
# define EBB__ENTRY
#endif

#define EBB_API        __attribute__((visibility("default"))) EBB__ENTRY
#define EBB__INLINE    static inline __attribute__((always_inline, unused))
#define EBB__MALLOC    __attribute__((malloc, warn_unused_result))
#define EBB__LIKELY(x) __builtin_expect(!!(x), 1)
#define EBB__RARE(x)   __builtin_expect(!!(x), 0)

/* Checks that the macros and inline functions of these headers make in the program's own code.
 * They follow the program's NDEBUG; define EBB_CHECKS as 0 or 1 to choose by hand. */
#ifndef EBB_CHECKS
# ifdef NDEBUG
#  define EBB_CHECKS 0
# else
#  define EBB_CHECKS 1
# endif
#endif

/* One table: code, number, message. */
#define EBB_ERRORS(X)                                                         \
 X(EBB_OK, 0, "no error")                                                     \
 X(EBB_ENOMEM, -1, "out of memory, or the memory limit is reached")           \
 X(EBB_EINVAL, -2, "argument out of its range")                               \
 X(EBB_ENOTHEAP, -3, "the pointer is null or does not point into Ebb's heap") \
 X(EBB_ENOTBASE, -4, "the pointer points inside an object, not to its start") \
 X(EBB_EDOUBLE, -5, "the object has been released before")                    \
 X(EBB_ESTALE, -6, "the handle refers to something released")                 \
 X(EBB_EEXIST, -7, "it is there already")                                     \
 X(EBB_ENOENT, -8, "there is no such thing")                                  \
 X(EBB_EBUSY, -9, "it is in use by another thread")                           \
 X(EBB_ESYSTEM, -10, "a system call failed; errno has its reason")

enum ebb_error {
#define EBB__ERROR_ENUM(name, number, text) name = number,
    EBB_ERRORS(EBB__ERROR_ENUM)
#undef EBB__ERROR_ENUM
};

#ifdef __cplusplus
extern "C" {
#endif

/* The message of an error code; "unknown error" for a number that is none.
 * Returns: a string that lives as long as the library.
 * Threads: any.   Collects: never. */
EBB_API const char *ebb_error_text(int code);

/* The name of an error code ("EBB_ENOMEM"), as above. */
EBB_API const char *ebb_error_name(int code);

/* What a failed check in the program's own code calls: prints "ebb: CALL: MESSAGE" and aborts. */
EBB_API __attribute__((noreturn, cold, format(printf, 2, 3))) void
ebb__fail(const char *call, const char *format, ...);

#ifdef __cplusplus
}
#endif
#endif
