/* names_library.c - the library of names.c. */
#include <stdint.h>

#ifdef __clang__
# define ALONE __attribute__((noinline))
#else
# define ALONE __attribute__((noinline, noclone))
#endif

ALONE static uintptr_t library_here(void) {
    return (uintptr_t)__builtin_return_address(0) - 1;
}

static inline __attribute__((always_inline)) uintptr_t library_inner(void) {
    return library_here();
}

uintptr_t library_outer(volatile int *x) {
    uintptr_t here = library_inner();
    *x += 1;
    return here;
}
