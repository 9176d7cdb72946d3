/* peer_gc.h - Debian's libgc in the allocation cases, as a program gets it by default: interior
 * pointers recognised, thread-local allocation, nothing freed by hand. Marking is parallel from the
 * start, for which libgc would else wait for a second thread. PEER_GENERATIONAL is its incremental
 * and generational mode instead. */
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

/* The latest stops. Written by whoever collects, who holds libgc's lock; read at any time, so a
 * length is stored before the count that covers it (release; peer_pauses acquires). */
#define PEER_PAUSES 65536
static uint64_t *peer_pause_ns; /* memory of malloc's, which is not searched */
static size_t peer_pause_count;

/* From the first signal to the moment when all run again. */
static void GC_CALLBACK peer_on_event(GC_EventType event) {
    static uint64_t start_ns;
    if (event == GC_EVENT_PRE_STOP_WORLD) start_ns = bench_clock_ns(CLOCK_MONOTONIC);
    if (event != GC_EVENT_POST_START_WORLD) return;
    size_t n = peer_pause_count;
    peer_pause_ns[n % PEER_PAUSES] = bench_clock_ns(CLOCK_MONOTONIC) - start_ns;
    __atomic_store_n(&peer_pause_count, n + 1, __ATOMIC_RELEASE);
}

BENCH_UNUSED static size_t peer_pauses(uint64_t *ns, size_t room) {
    size_t count = __atomic_load_n(&peer_pause_count, __ATOMIC_ACQUIRE), n = 0;
    for (; n < room && n < count && n < PEER_PAUSES; n++)
        ns[n] = peer_pause_ns[(count - 1 - n) % PEER_PAUSES];
    return n;
}

BENCH_UNUSED static void peer_limit(size_t bytes) {
    if (bytes > 0) bench_fail("--limit is Ebb's alone");
}

static void peer_start(void) {
    GC_INIT();
    peer_pause_ns = malloc(PEER_PAUSES * sizeof *peer_pause_ns);
    if (!peer_pause_ns) bench_fail("no memory for the stops");
    GC_set_on_collection_event(peer_on_event);
#ifdef PEER_GENERATIONAL
    GC_enable_incremental();
#endif
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
