/* peer_malloc.h - the sides that free by hand: whatever malloc the program is linked with. glibc's
 * when with nothing, else mimalloc or jemalloc, whose libraries replace malloc as a whole.
 *
 * Memory is not zeroed here, while the collectors' is: this is how malloc is used. */
#ifndef EBB_BENCH_PEER_H
#define EBB_BENCH_PEER_H

#ifndef _GNU_SOURCE
# define _GNU_SOURCE 1
#endif
#include <dlfcn.h>
#include <pthread.h>

#include "bench.h"

#define PEER_FREES          1
#define PEER_TYPE(T, ...)   struct peer_no_type
#define peer_new(T)         ((T *)malloc(sizeof(T)))
#define peer_pointers(T, n) ((T *)calloc((n), sizeof(T)))
#define peer_words(size)    malloc(size)
#define peer_data(size)     malloc(size)
#define peer_free(p)        free(p)

/* Nothing stops here. */
BENCH_UNUSED static size_t peer_pauses(uint64_t *ns, size_t room) {
    (void)ns;
    return 0 * room;
}

BENCH_UNUSED static void peer_limit(size_t bytes) {
    if (bytes > 0) bench_fail("--limit is Ebb's alone");
}

/* PEER_LIBRARY is part of the file name of the library that malloc is to come from. */
static void peer_start(void) {
    Dl_info info;
    void *address = dlsym(RTLD_DEFAULT, "malloc");
    if (address == NULL || dladdr(address, &info) == 0 ||
        strstr(info.dli_fname, PEER_LIBRARY) == NULL)
        bench_fail("malloc does not come from " PEER_LIBRARY);
}

#endif
