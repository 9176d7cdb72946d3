/* peer_ebb.h - Ebb's side of the allocation cases: described types, nothing freed by hand. */
#ifndef EBB_BENCH_PEER_H
#define EBB_BENCH_PEER_H

#include <ebb/ebb.h>
#include <pthread.h>

#include "bench.h"

#define PEER_FREES          0
#define PEER_WATCHES        1
#define PEER_TYPE(T, ...)   EBB_TYPE(T, __VA_ARGS__)
#define peer_new(T)         ebb_new(T)
#define peer_pointers(T, n) ebb_new_array(T, n)
#define peer_words(size)    ebb_alloc(size)
#define peer_data(size)     ebb_alloc_data(size)
#define peer_free(p)        ((void)(p))

static void peer_start(void) {
}

/* The lengths of the latest stops, newest first. */
BENCH_UNUSED static size_t peer_pauses(uint64_t *ns, size_t room) {
    return ebb_pauses(ns, room);
}

/* 0 is none. */
BENCH_UNUSED static void peer_limit(size_t bytes) {
    if (bytes > 0) (void)ebb_set_memory_limit(bytes);
}

/* Collects and gives everything free back to the system. */
BENCH_UNUSED static void peer_release(void) {
    (void)ebb_release();
}

#endif
