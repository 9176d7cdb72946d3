/* slack.c - memory that containers hold and do not use: the tails of slices' arrays.
 * docs/design.md, "Statistics".
 *
 * A slice is a value, so nobody can list them all. Seen are the slice fields of described types,
 * and on stacks and in static data whatever has the shape of one: a pointer into a slice's array, a
 * length, and a capacity that is not below it. The tail of an array is what lies beyond the
 * furthest end of any slice that was seen; an array that none was seen of counts nothing. So the
 * figure is a lower bound. */
#include "slack.h"

typedef struct slack_array {
    uintptr_t base, end; /* end: of the longest slice seen, 0 for none */
} slack_array;

static struct {
    slack_array *table; /* open addressing by base */
    size_t room;        /* a power of two */
} slack;

static slack_array *slack_find(uintptr_t base) {
    size_t at = address_hash(base) >> 20;
    for (;; at++) {
        slack_array *a = &slack.table[at & (slack.room - 1)];
        if (a->base == base || a->base == 0) return a;
    }
}

/* What might be a slice: {ptr, len, cap}, of elements of `element` bytes, or 0 when not known: then
 * the capacity is taken to reach to the array's end. */
static void slack_see(uintptr_t ptr, size_t len, size_t cap, size_t element) {
    uint32_t index;
    const span *s = ebb__span_at(ptr);
    if (cap == 0 || len > cap || !s || !span_find(s, ptr, &index)) return;
    if (s->bin->layout->use != EBB__USE_SLICE) return;
    uintptr_t base = span_start(s) + index * s->stride, end = base + s->stride;
    if (cap > end - ptr || (element && cap > (end - ptr) / element)) return;
    size_t used =
        element ? len * element : (size_t)((double)(end - ptr) * ((double)len / (double)cap));
    slack_array *a = slack_find(base);
    a->base = base;
    if (ptr + used > a->end) a->end = ptr + used;
}

static void slack_fields(const struct ebb__layout *l, uintptr_t element) {
    for (const ebb__field *f = l->fields; f->kind != EBB__FIELD_END; f++) {
        const uintptr_t *slice = (const uintptr_t *)(element + f->offset);
        if (f->kind == EBB__FIELD_SLICE || f->kind == EBB__FIELD_SLICE_TO_LEN)
            slack_see(slice[0], slice[1], slice[2], f->extra);
    }
}

static bool layout_has_slices(const struct ebb__layout *l) {
    for (const ebb__field *f = l->fields; f && f->kind != EBB__FIELD_END; f++)
        if (f->kind == EBB__FIELD_SLICE || f->kind == EBB__FIELD_SLICE_TO_LEN) return true;
    return false;
}

static void slack_objects(const span *s) {
    const struct ebb__layout *l = s->bin->layout;
    if (!layout_has_slices(l)) return;
    for (uint32_t i = 0; i < s->count; i++) {
        uintptr_t object = span_start(s) + i * s->stride;
        uint32_t index;
        if (!span_find(s, object, &index)) continue;
        for (size_t at = 0; at + l->element <= s->stride; at += l->element)
            slack_fields(l, object + at);
    }
}

__attribute__((no_sanitize("address", "thread"))) static void slack_range(os_range r) {
    for (uintptr_t at = r.start; at + 3 * sizeof(uintptr_t) <= r.end; at += sizeof(uintptr_t)) {
        const uintptr_t *w = (const uintptr_t *)at;
        if (space_has(w[0])) slack_see(w[0], w[1], w[2], 0);
    }
}

/* Arrays that are alive and have a tail. */
static void slack_tails(slack_visit visit, void *arg) {
    for (size_t i = 0; i < slack.room; i++) {
        uint32_t index;
        const slack_array *a = &slack.table[i];
        const span *s = a->base ? ebb__span_at(a->base) : NULL;
        if (!s || !span_find(s, a->base, &index) || a->end >= a->base + s->stride) continue;
        if (span_live_bits(s, index / 64) >> (index % 64) & 1)
            visit(s, a->base, a->end, a->base + s->stride, arg);
    }
}

bool ebb__slack_each(const root_set *roots, slack_visit visit, void *arg) {
    size_t arrays = 0;
    for (uint32_t n = 1; n < ebb__space.span_count; n++) {
        const span *s = span_at(n);
        if (s->state >= SPAN_SMALL && s->bin->layout->use == EBB__USE_SLICE) arrays += s->count;
    }
    if (arrays == 0) return true;
    slack.room = 256;
    while (slack.room < arrays * 2) slack.room *= 2;
    size_t bytes = round_up(slack.room * sizeof(slack_array), ebb__os_page_size());
    slack.table = ebb__os_map(bytes, OS_METADATA);
    if (!slack.table) return false;
    for (uint32_t n = 1; n < ebb__space.span_count; n++)
        if (span_at(n)->state >= SPAN_SMALL) slack_objects(span_at(n));
    for (size_t i = 0; i < roots->ranges.count; i++) slack_range(roots->ranges.items[i]);
    slack_tails(visit, arg);
    ebb__os_unmap(slack.table, bytes, OS_METADATA);
    return true;
}

static void slack_add(const span *s, uintptr_t array, uintptr_t from, uintptr_t to, void *sum) {
    (void)s, (void)array;
    *(size_t *)sum += to - from;
}

size_t ebb__slack_slices(const root_set *roots) {
    size_t tails = 0;
    ebb__slack_each(roots, slack_add, &tails);
    return tails;
}
