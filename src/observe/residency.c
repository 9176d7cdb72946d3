/* residency.c - which pages of the heap are resident: a bitmap, filled once a look, so that each
 * object, tail and slot can be asked about without a system call. docs/design.md, "Accounting".
 *
 *   bits[z]   a bit a page of the system's, from the zone's first one; ends with a word of slack
 *
 * 32 KiB a GiB of heap with pages of 4 KiB; mapped for the look alone. */
#include "residency.h"

static struct {
    uint64_t *bits[ZONE_COUNT];
    /* In pages: where the used ones end, an object will begin. */
    uintptr_t start_page[ZONE_COUNT], end_page[ZONE_COUNT];
    size_t bytes[ZONE_COUNT];
    unsigned shift; /* log2 of the system's page size */
} residency;        /* [world stopped] */

/* Sets the bits [from, to). */
static void residency_set(uint64_t *bits, size_t from, size_t to) {
    while (from < to) {
        size_t word = from / 64, until = min_size(to, (word + 1) * 64);
        uint64_t mask = ~(uint64_t)0 << (from % 64);
        bits[word] |= mask & (~(uint64_t)0 >> (63 - (until - 1) % 64));
        from = until;
    }
}

static void residency_note(uintptr_t from, uintptr_t to, void *arg) {
    size_t zone = (size_t)(uintptr_t)arg;
    uintptr_t start = residency.start_page[zone];
    residency_set(residency.bits[zone], (from >> residency.shift) - start,
                  (to >> residency.shift) - start);
}

bool ebb__residency_take(const os_pages *pages) {
    residency.shift = log2_floor(ebb__os_page_size());
    for (size_t i = 0; i < ZONE_COUNT; i++) {
        const zone *z = &ebb__space.zones[i];
        uintptr_t start = zone_start(z), end = page_address(z->first_page + z->used_pages);
        residency.start_page[i] = start >> residency.shift;
        residency.end_page[i] = end >> residency.shift;
        size_t bits = residency.end_page[i] - residency.start_page[i];
        residency.bytes[i] = round_up(bits / 8 + 16, ebb__os_page_size());
        residency.bits[i] = ebb__os_map(residency.bytes[i], OS_METADATA);
        if (!residency.bits[i]) {
            ebb__residency_drop();
            return false;
        }
        ebb__os_pages_each(pages, start, end, residency_note, (void *)(uintptr_t)i);
    }
    return true;
}

void ebb__residency_drop(void) {
    for (size_t i = 0; i < ZONE_COUNT; i++) {
        if (residency.bits[i]) ebb__os_unmap(residency.bits[i], residency.bytes[i], OS_METADATA);
        residency.bits[i] = NULL;
    }
}

size_t ebb__residency_bytes(void) {
    size_t bytes = 0;
    for (size_t i = 0; i < ZONE_COUNT; i++) bytes += residency.bits[i] ? residency.bytes[i] : 0;
    return bytes;
}

/* How many of the bits [from, to) are set; from < to. */
static size_t residency_count(const uint64_t *bits, size_t from, size_t to) {
    size_t first = from / 64, last = (to - 1) / 64, count = 0;
    uint64_t head = ~(uint64_t)0 << (from % 64), tail = ~(uint64_t)0 >> (63 - (to - 1) % 64);
    if (first == last) return (size_t)__builtin_popcountll(bits[first] & head & tail);
    count = (size_t)__builtin_popcountll(bits[first] & head);
    for (size_t w = first + 1; w < last; w++) count += (size_t)__builtin_popcountll(bits[w]);
    return count + (size_t)__builtin_popcountll(bits[last] & tail);
}

size_t ebb__residency_in(uintptr_t start, uintptr_t end) {
    size_t zone = start >= ebb__space.middle;
    const uint64_t *bits = residency.bits[zone];
    uintptr_t base = residency.start_page[zone] << residency.shift;
    uintptr_t from = start - base, to = end - base;
    if (start >= end) return 0;
    ebb__assert(start >= base && to <= (residency.end_page[zone] << residency.shift) - base);
    size_t first = from >> residency.shift, last = (to - 1) >> residency.shift;
    size_t bytes = residency_count(bits, first, last + 1) << residency.shift;
    /* What the first and the last page have outside the range. */
    if (bits[first / 64] >> (first % 64) & 1) bytes -= from - (first << residency.shift);
    if (bits[last / 64] >> (last % 64) & 1) bytes -= ((last + 1) << residency.shift) - to;
    return bytes;
}
