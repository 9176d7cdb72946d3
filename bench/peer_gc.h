/* peer_gc.h - Debian's libgc in the allocation cases, as a program gets it by default: interior
 * pointers recognised, thread-local allocation, nothing freed by hand. Marking is parallel from the
 * start, for which libgc would else wait for a second thread. */
#ifndef EBB_BENCH_PEER_H
#define EBB_BENCH_PEER_H

#define GC_THREADS
#include <gc/gc.h>
#include <pthread.h>

#include "bench.h"

#define PEER_FREES          0
#define PEER_TYPE(T, ...)   struct peer_no_type
#define peer_new(T)         ((T *)GC_MALLOC(sizeof(T)))
#define peer_pointers(T, n) ((T *)GC_MALLOC((n) * sizeof(T)))
#define peer_words(size)    GC_MALLOC(size)
#define peer_data(size)     GC_MALLOC_ATOMIC(size)
#define peer_free(p)        ((void)(p))

static void peer_start(void) {
    GC_INIT();
    GC_start_mark_threads();
}

/* A free block must have seen a few collections before libgc unmaps it: collect until four in a
 * row unmap nothing more. */
BENCH_UNUSED static void peer_release(void) {
    size_t unmapped = GC_get_unmapped_bytes();
    for (int idle = 0, calls = 0; idle < 4 && calls < 20; calls++) {
        GC_gcollect_and_unmap();
        size_t now = GC_get_unmapped_bytes();
        idle = now == unmapped ? idle + 1 : 0;
        unmapped = now;
    }
}

#endif
