/* names.c - asks for the names of addresses within calls of its own and of a library's. Compiled by
 * pprof.sh in many ways.
 *
 *     names LIBRARY.so EBB     prints what `EBB symbolize --addresses` says of
 *                              names_outer, names_seldom and library_outer */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef __clang__
# define ALONE __attribute__((noinline))
#else
# define ALONE __attribute__((noinline, noclone))
#endif

/* The address within the call that brought us here. */
ALONE static uintptr_t names_here(void) {
    return (uintptr_t)__builtin_return_address(0) - 1;
}

static inline __attribute__((always_inline)) uintptr_t names_inner(void) {
    return names_here();
}

static inline __attribute__((always_inline)) uintptr_t names_middle(volatile int *x) {
    if (*x > 0) {
        uintptr_t here = names_inner();
        *x = 2;
        return here;
    }
    return 0;
}

ALONE uintptr_t names_outer(volatile int *x) {
    uintptr_t here = names_middle(x);
    *x += 1;
    return here;
}

/* Where the code that runs seldom stands apart (.text.unlikely). */
ALONE __attribute__((cold)) uintptr_t names_seldom(volatile int *x) {
    uintptr_t here = names_here();
    *x += 3;
    return here;
}

int main(int argc, char **argv) {
    volatile int x = 1;
    char command[512];
    void *library = argc > 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!library) return EXIT_FAILURE;
    uintptr_t (*outer)(volatile int *) =
        (uintptr_t(*)(volatile int *))dlsym(library, "library_outer");
    snprintf(command, sizeof command, "%s symbolize --addresses --pid %d", argv[2], (int)getpid());
    FILE *tool = popen(command, "w");
    if (!tool || !outer) return EXIT_FAILURE;
    fprintf(tool, "%#zx\n", (size_t)names_outer(&x));
    fprintf(tool, "%#zx\n", (size_t)names_seldom(&x));
    fprintf(tool, "%#zx\n", (size_t)outer(&x));
    return pclose(tool) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
