/* peer_ebb.h - Ebb's side of the allocation cases: described types, nothing freed by hand. */
#ifndef EBB_BENCH_PEER_H
#define EBB_BENCH_PEER_H

#include <ebb/ebb.h>
#include <pthread.h>

#include "bench.h"

#define PEER_FREES          0
#define PEER_TYPE(T, ...)   EBB_TYPE(T, __VA_ARGS__)
#define peer_new(T)         ebb_new(T)
#define peer_pointers(T, n) ebb_new_array(T, n)
#define peer_words(size)    ebb_alloc(size)
#define peer_data(size)     ebb_alloc_data(size)
#define peer_free(p)        ((void)(p))

static void peer_start(void) {
}

/* Collects and gives everything free back to the system. */
BENCH_UNUSED static void peer_release(void) {
    (void)ebb_release();
}

#endif
