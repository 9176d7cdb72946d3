/* oracle.c - was a page that is said to be clean written after all? docs/testing.md, "The oracle
 * of written pages".
 *
 * Under EBB_DEBUG=oracle=1 each page of the system's is summed up when writes to it begin to be
 * noted, and again whenever it was reported and its notes begin anew. In the last stop of a cycle
 * the pages that were not reported must have the sum that they had. A sum is taken after the page
 * is armed: a write in between is one that is reported.
 *
 * The sums lie in pieces that are made when first needed and never go back; a page that has none
 * has the sum 0 and is not compared. */
#include "collector.h"
#include "../os/dirty.h"

#define ORACLE_PIECE ((size_t)64 * MIB)

typedef _Atomic(uint64_t) oracle_sum;

/* A pointer each piece of the scan zone. Release by who makes it, acquire by its readers. */
static _Atomic(oracle_sum *) *oracle_pieces;

static size_t oracle_piece_bytes(void) {
    return round_up(ORACLE_PIECE / ebb__os_page_size() * sizeof(oracle_sum), ebb__os_page_size());
}

static size_t oracle_table_bytes(void) {
    size_t pieces = ebb__space.zone_bytes / ORACLE_PIECE + 1;
    return round_up(pieces * sizeof *oracle_pieces, ebb__os_page_size());
}

static oracle_sum *oracle_make(_Atomic(oracle_sum *) *piece) {
    oracle_sum *old = NULL, *fresh = ebb__os_map(oracle_piece_bytes(), OS_METADATA);
    if (!fresh || atomic_compare_exchange_strong_explicit(piece, &old, fresh, memory_order_acq_rel,
                                                          memory_order_acquire))
        return fresh;
    ebb__os_unmap(fresh, oracle_piece_bytes(), OS_METADATA);
    return old;
}

/* Where the sum of the page at an address is kept; null: nowhere. */
static oracle_sum *oracle_at(uintptr_t address, bool make) {
    size_t offset = address - ebb__space.base;
    _Atomic(oracle_sum *) *piece = &oracle_pieces[offset / ORACLE_PIECE];
    oracle_sum *sums = atomic_load_explicit(piece, memory_order_acquire);
    if (!sums && make) sums = oracle_make(piece);
    return sums ? &sums[offset % ORACLE_PIECE / ebb__os_page_size()] : NULL;
}

/* Never 0. The program may be writing: then the page is reported, and the sum not used. */
__attribute__((no_sanitize("thread"))) static uint64_t oracle_page_sum(uintptr_t page) {
    uint64_t sum = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < ebb__os_page_size(); i += sizeof(uint64_t)) {
        sum =
            (sum ^ __atomic_load_n((uint64_t *)(page + i), __ATOMIC_RELAXED)) * 0xff51afd7ed558ccdu;
        sum ^= sum >> 32;
    }
    return sum | 1;
}

static void oracle_forget(uintptr_t start, uintptr_t end) {
    for (uintptr_t page = start; page < end; page += ebb__os_page_size()) {
        oracle_sum *sum = oracle_at(page, false);
        if (sum)
            atomic_store_explicit(sum, 0, memory_order_relaxed);
        else /* the rest of the piece has none either */
            page = ebb__space.base + round_down(page - ebb__space.base, ORACLE_PIECE) +
                   ORACLE_PIECE - ebb__os_page_size();
    }
}

/* Calls fn for the pages of [start, end) that hold something. */
static void oracle_each(uintptr_t start, uintptr_t end, void (*fn)(uintptr_t page)) {
    void *stop = (void *)start;
    for (uintptr_t at = start; at < end; at = (uintptr_t)stop) {
        at = (uintptr_t)ebb__os_resident((void *)at, (void *)end, &stop);
        if (at >= end) return;
        for (; at < (uintptr_t)stop; at += ebb__os_page_size()) fn(at);
    }
}

static void oracle_note_page(uintptr_t page) {
    oracle_sum *sum = oracle_at(page, true);
    if (sum) atomic_store_explicit(sum, oracle_page_sum(page), memory_order_relaxed);
}

void ebb__oracle_note(uintptr_t start, uintptr_t end) {
    if (!oracle_pieces) return;
    oracle_forget(start, end);
    oracle_each(start, end, oracle_note_page);
}

void ebb__oracle_note_all(const os_ranges *list) {
    if (!ebb__settings.oracle) return;
    if (!oracle_pieces) oracle_pieces = ebb__os_map(oracle_table_bytes(), OS_METADATA);
    if (!oracle_pieces) return;
    if (list->failed) oracle_forget(ebb__space.base, ebb__space.middle);
    for (size_t i = 0; i < list->count; i++)
        ebb__oracle_note(list->items[i].start, list->items[i].end);
}

/* A page that was given back reads as zero, is passed over by a look for pages that hold something,
 * and refers to nothing. */
static bool oracle_page_zero(uintptr_t page) {
    const uintptr_t *words = (const uintptr_t *)page;
    size_t i = 0;
    while (i < ebb__os_page_size() / sizeof *words && words[i] == 0) i++;
    return i == ebb__os_page_size() / sizeof *words;
}

/* Whether writes to a span need be noted. Ranges hold others as well, between those that are armed,
 * or that were and could not be again; but what holds marked objects is armed or counts as written.
 */
static bool oracle_needs(const span *s) {
    if (!s || s->state < SPAN_SMALL) return false;
    if (s->armed) return true;
    if (span_bit(ebb__space.exposed, span_number(s))) return false;
    return bits_count(span_mark_bits(s), s->count) > 0;
}

/* A system call that the program is blocked in may write after the look: asked once more, the
 * system says so. */
static void oracle_check_page(uintptr_t page) {
    oracle_sum *sum = oracle_at(page, false);
    uint64_t was = sum ? atomic_load_explicit(sum, memory_order_relaxed) : 0;
    if (was == 0 || was == oracle_page_sum(page) || oracle_page_zero(page)) return;
    if (ebb__os_dirty_count(page, page + ebb__os_page_size(), 1) > 0) return;
    const span *s = ebb__span_at(page);
    if (oracle_needs(s))
        ebb__fail(
            "oracle",
            "cycle %llu, the last look: the page at %p was written and not reported; span %u, "
            "%s, %s",
            (unsigned long long)ebb__cycle.cycles + 1, (void *)page, span_number(s),
            s->state == SPAN_LARGE ? "large" : "small", s->armed ? "armed" : "not armed");
}

void ebb__oracle_check(const os_ranges *armed, const os_ranges *large, const os_ranges *changed) {
    if (!oracle_pieces) return;
    if (changed->failed) oracle_forget(ebb__space.base, ebb__space.middle);
    for (size_t i = 0; i < changed->count; i++)
        oracle_forget(changed->items[i].start, changed->items[i].end);
    for (size_t i = 0; i < armed->count; i++)
        oracle_each(armed->items[i].start, armed->items[i].end, oracle_check_page);
    for (size_t i = 0; i < large->count; i++)
        oracle_each(large->items[i].start, large->items[i].end, oracle_check_page);
}
