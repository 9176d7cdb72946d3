/* memory.c - pages for memory outside the heap.
 *
 * Regions, pools and banks take whole mappings and give whole mappings back, so what is mapped is
 * what they use, and ebb_stats.offheap needs no account of its own. This file is where they meet
 * the memory limit, which counts them like the heap: whoever passes it first collects, then asks
 * the handler, then gets a null pointer. See docs/offheap.md. */
#include "offheap.h"
#include "../heap/heap.h"
#include "../heap/hooks.h"
#include "../heap/space.h"

#define OFFHEAP_HUGE_FROM (2 * MIB)

static bool offheap_within_limit(size_t bytes) {
    size_t limit = atomic_load_explicit(&ebb__space_limit, memory_order_relaxed);
    if (limit == SIZE_MAX) return true;
    size_t footprint = ebb__space_footprint();
    return footprint <= limit && bytes <= limit - footprint;
}

void *ebb__offheap_map(size_t bytes) {
    /* The first call may be the program's first of all: settings are read when the heap starts. */
    if (bytes > PTRDIFF_MAX || !ebb__heap_start()) return NULL;
    if (ebb__heap_stressed && !ebb__heap_hooks.stress()) return NULL;
    bytes = round_up(bytes, ebb__os_page_size());
    for (unsigned attempt = 0;; attempt++) {
        void *start = offheap_within_limit(bytes) ? ebb__os_map(bytes, OS_OFFHEAP) : NULL;
        if (start && bytes >= OFFHEAP_HUGE_FROM) ebb__os_huge(start, bytes, true);
        if (start) return start;
        if (!ebb__heap_hooks.exhausted(bytes, attempt)) return NULL;
    }
}

void ebb__offheap_unmap(void *start, size_t bytes) {
    ebb__os_unmap(start, round_up(bytes, ebb__os_page_size()), OS_OFFHEAP);
}
