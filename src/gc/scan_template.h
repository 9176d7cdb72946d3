/* scan_template.h - what an object refers to: the one place that reads it off. Included by whoever
 * follows references, with these defined, and undefined here:
 *
 *   SCAN(name)                   the name of a function that this file makes
 *   SCAN_CONTEXT                 the type that is handed through
 *   SCAN_WORD(context, at, word) a word that may be a pointer, and the address where it stands
 *   SCAN_SLICE(context, at, reach) a slice field, where ebb__extents_on; its pointer is the heap's
 *
 * A template, because the marker cannot afford a call for each word. What is read while the program
 * runs may be old or new, and stacks hold what sanitizers call out of bounds. */

/* Larger objects may have pages that were never touched, which are not read: that would make them
 * resident. */
#ifndef EBB_SCAN_WHOLE
# define EBB_SCAN_WHOLE ((size_t)128 * KIB)
#endif

__attribute__((no_sanitize("address", "thread"))) static void
SCAN(words)(SCAN_CONTEXT *context, uintptr_t start, uintptr_t end) {
    for (uintptr_t at = start; at < end; at += sizeof(void *))
        SCAN_WORD(context, at, __atomic_load_n((uintptr_t *)at, __ATOMIC_RELAXED));
}

/* Elements with slices, in a full cycle. */
__attribute__((no_sanitize("thread"), noinline)) static void
SCAN(slices)(SCAN_CONTEXT *context, const struct ebb__layout *layout, uintptr_t start,
             uintptr_t end) {
    uint32_t count = layout->strong_count - layout->slice_count;
    for (uintptr_t at = start; at + layout->element <= end; at += layout->element) {
        for (uint32_t i = 0; i < count; i++)
            SCAN_WORD(context, at + layout->strong[i],
                      __atomic_load_n((uintptr_t *)(at + layout->strong[i]), __ATOMIC_RELAXED));
        for (uint32_t i = 0; i < layout->slice_count; i++) {
            slice_reach reach = slice_load(at, &layout->slices[i]);
            if (space_has(reach.ptr)) SCAN_SLICE(context, at + layout->slices[i].offset, &reach);
        }
    }
}

__attribute__((no_sanitize("thread"))) static void SCAN(elements)(SCAN_CONTEXT *context,
                                                                  const struct ebb__layout *layout,
                                                                  uintptr_t start, uintptr_t end) {
    const uint32_t *strong = layout->strong;
    uint32_t count = layout->strong_count;
    size_t element = layout->element;
    if (EBB__RARE(layout->slice_count) && ebb__extents_on) {
        SCAN(slices)(context, layout, start, end);
        return;
    }
    for (uintptr_t at = start; at + element <= end; at += element)
        for (uint32_t i = 0; i < count; i++)
            SCAN_WORD(context, at + strong[i],
                      __atomic_load_n((uintptr_t *)(at + strong[i]), __ATOMIC_RELAXED));
}

/* What of an element lies in [from, to), for its other pages hold nothing: that is not read. */
__attribute__((no_sanitize("thread"))) static void SCAN(edge)(SCAN_CONTEXT *context,
                                                              const struct ebb__layout *layout,
                                                              uintptr_t element, uintptr_t from,
                                                              uintptr_t to) {
    uint32_t slices = ebb__extents_on ? layout->slice_count : 0;
    for (uint32_t i = 0; i < layout->strong_count; i++) {
        uintptr_t at = element + layout->strong[i];
        if (at < from || at >= to) continue;
        uintptr_t word = __atomic_load_n((uintptr_t *)at, __ATOMIC_RELAXED);
        if (i < layout->strong_count - slices)
            SCAN_WORD(context, at, word);
        else if (space_has(word)) {
            slice_reach reach =
                slice_load(element, &layout->slices[i + slices - layout->strong_count]);
            if (space_has(reach.ptr)) SCAN_SLICE(context, at, &reach);
        }
    }
}

/* A run of pages that hold something, of an array of elements. */
static void SCAN(there)(SCAN_CONTEXT *context, const struct ebb__layout *layout, uintptr_t object,
                        uintptr_t from, uintptr_t to) {
    size_t element = layout->element;
    uintptr_t last = to - (to - object) % element;
    uintptr_t first = from + element - 1 - (from + element - 1 - object) % element;
    if (last < first) {
        SCAN(edge)(context, layout, last, from, to);
        return;
    }
    if (from < first) SCAN(edge)(context, layout, first - element, from, first);
    SCAN(elements)(context, layout, first, last);
    if (last < to) SCAN(edge)(context, layout, last, last, to);
}

/* What of an object lies in [from, to), elements of typed ones whole, as far as its pages hold
 * something. False where none does. */
static bool SCAN(part)(SCAN_CONTEXT *context, const span *s, uintptr_t object, uintptr_t from,
                       uintptr_t to) {
    const struct ebb__layout *layout = s->bin->layout;
    bool typed = layout->kind == LAYOUT_TYPED;
    if (typed) {
        from -= (from - object) % layout->element;
        to = min_size(object + s->stride, to + layout->element - 1);
        to -= (to - object) % layout->element;
    }
    void *end = (void *)to, *stop = end, *at = (void *)from;
    if (s->stride > EBB_SCAN_WHOLE)
        at = ebb__os_resident((void *)round_down(from, ebb__os_page_size()), end, &stop);
    if (at >= end) return false;
    for (; at < end; at = stop < end ? ebb__os_resident(stop, end, &stop) : end) {
        uintptr_t first = max_size((uintptr_t)at, from), last = min_size((uintptr_t)stop, to);
        if (typed)
            SCAN(there)(context, layout, object, first, last);
        else
            SCAN(words)(context, first, last);
    }
    return true;
}

#undef SCAN
#undef SCAN_CONTEXT
#undef SCAN_WORD
#undef SCAN_SLICE
