/* verify.c - does everything in the heap's structures agree? docs/testing.md.
 *
 * Walks every page of both zones and every object, with the world stopped, under
 * EBB_DEBUG=verify=1: before a cycle, between marking and sweeping, and after it. */
#include "collector.h"

static __attribute__((noreturn)) void verify_fail(const char *what, const span *s, size_t a,
                                                  size_t b) {
    ebb__fail("verify", "%s: span %u [%p, %u pages], state %u, stride %zu: %zu, %zu", what,
              span_number(s), (void *)span_start(s), s->pages, s->state, (size_t)s->stride, a, b);
}

#define verify(cond, s, a, b) ((cond) ? (void)0 : verify_fail(#cond, s, (size_t)(a), (size_t)(b)))

static uint64_t bits_word(_Atomic(uint64_t) *bits, uint32_t word) {
    return atomic_load_explicit(&bits[word], memory_order_relaxed);
}

/* A reference from a marked object: what it points into is marked too. */
static void verify_word(const span *s, uintptr_t object, uintptr_t word) {
    if (ebb__mark_is_dead(word))
        verify_fail("a marked object refers to an unmarked one", s, object, word);
}

static void verify_references(const span *s, uintptr_t object) {
    const struct ebb__layout *l = s->bin->layout;
    if (l->kind == LAYOUT_WORDS)
        for (size_t at = 0; at + sizeof(void *) <= s->stride; at += sizeof(void *))
            verify_word(s, object, *(uintptr_t *)(object + at));
    if (l->kind != LAYOUT_TYPED) return;
    for (size_t at = 0; at + l->element <= s->stride; at += l->element) {
        for (uint32_t i = 0; i < l->strong_count; i++)
            verify_word(s, object, *(uintptr_t *)(object + at + l->strong[i]));
        for (uint32_t i = 0; i < l->weak_count; i++)
            verify_word(s, object, *(uintptr_t *)(object + at + l->weak[i]));
    }
}

static void verify_objects(const span *s, bool marked) {
    _Atomic(uint64_t) *alloc = span_alloc_bits(s), *mark = span_mark_bits(s);
    for (uint32_t w = 0; w * 64 < s->count; w++) {
        uint64_t a = bits_word(alloc, w), m = bits_word(mark, w);
        uint64_t valid =
            s->count - w * 64 >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << (s->count - w * 64)) - 1;
        verify((a & ~valid) == 0, s, w, a);
        for (; marked && m; m &= m - 1)
            verify_references(s,
                              span_start(s) + (w * 64 + (uint32_t)__builtin_ctzll(m)) * s->stride);
    }
}

static void verify_small(const span *s) {
    verify(s->bin && s->bin->stride == s->stride, s, s->stride, 0);
    verify((size_t)s->count * s->stride <= (size_t)s->pages << PAGE_SHIFT, s, s->count, 0);
    verify(!(s->owned && s->listed), s, s->owned, s->listed);
    for (uint32_t i = 0; i < s->pages; i++)
        verify(ebb__space.span_of[s->first_page + i] == span_number(s), s, i, 0);
}

static void verify_large(const span *s) {
    verify(s->count == 1 && bits_word(span_alloc_bits(s), 0) <= 1, s, s->count, 0);
    verify(s->stride < (size_t)s->pages << PAGE_SHIFT, s, s->stride, 0);
    verify(ebb__space.span_of[s->first_page + s->pages - 1] == span_number(s), s, 0, 0);
}

static void verify_free(const span *s) {
    uint32_t resident = 0;
    for (uint32_t p = s->first_page; p < s->first_page + s->pages; p++)
        resident += (uint32_t)(ebb__space.resident[p / 64] >> (p % 64) & 1);
    verify(resident == s->resident_pages, s, resident, s->resident_pages);
    for (uint32_t w = 0; w < BITMAP_WORDS; w++) {
        verify(bits_word(span_alloc_bits(s), w) == 0, s, w, 0);
        verify(bits_word(span_mark_bits(s), w) == 0, s, w, 0);
    }
}

static void verify_zone(const zone *z, bool marked) {
    size_t in_use = 0, free = 0, resident = 0;
    bool free_before = false;
    for (uint32_t page = 0; page < z->used_pages;) {
        span *s = span_at(ebb__space.span_of[z->first_page + page]);
        verify(s->first_page == z->first_page + page && s->pages > 0, s, page, z->first_page);
        verify(!(free_before && s->state == SPAN_FREE), s, page, 0);
        free_before = s->state == SPAN_FREE;
        if (s->state == SPAN_FREE) verify_free(s);
        if (s->state == SPAN_SMALL) verify_small(s);
        if (s->state == SPAN_LARGE) verify_large(s);
        if (s->state >= SPAN_SMALL) verify_objects(s, marked);
        *(s->state == SPAN_FREE ? &free : &in_use) += s->pages;
        if (s->state == SPAN_FREE) resident += s->resident_pages;
        page += s->pages;
    }
    if (in_use != z->in_use_pages || free != z->free_pages || resident != z->resident_free_pages)
        ebb__fail("verify",
                  "zone at page %u: %zu in use, %zu free, %zu resident, not %zu, %zu, %zu",
                  z->first_page, in_use, free, resident, z->in_use_pages, z->free_pages,
                  z->resident_free_pages);
}

static void verify_slot(const slot *slot) {
    const span *s = slot->span;
    if (!slot->bin || !s) return;
    verify(s->state == SPAN_SMALL && s->bin == slot->bin, s, slot->cursor, slot->end);
    verify(s->owned && s->owner == slot, s, slot->cursor, slot->end);
    verify(slot->limit <= slot->end, s, slot->limit, slot->end);
    for (uintptr_t at = slot->cursor; at < slot->end; at += s->stride) {
        uint32_t i = (uint32_t)((at - span_start(s)) / s->stride);
        verify(bits_word(span_alloc_bits(s), i / 64) >> (i % 64) & 1, s, at, slot->end);
        for (uintptr_t w = at; w + 8 <= at + s->stride; w += 8)
            verify(*(uintptr_t *)w == 0, s, w, at);
    }
}

static void verify_resident(void) {
    size_t pages = 0, counted = atomic_load_explicit(&ebb__resident_pages, memory_order_relaxed);
    for (int i = 0; i < ZONE_COUNT; i++)
        pages += ebb__space.zones[i].in_use_pages + ebb__space.zones[i].resident_free_pages;
    if (pages != counted) ebb__fail("verify", "%zu pages are resident, not %zu", pages, counted);
}

void ebb__heap_verify(bool marked) {
    verify_resident();
    for (int i = 0; i < ZONE_COUNT; i++) verify_zone(&ebb__space.zones[i], marked);
    for (const heap_thread *t = ebb__threads; t; t = t->next)
        for (int i = 0; i < SLOTS; i++) verify_slot(&t->slots[i]);
}
