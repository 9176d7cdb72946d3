/* classes.c - size classes. docs/design.md, "Spans".
 *
 * An object of n bytes has a slot of at least n + 1, so that a pointer one past its end still lies
 * in its own slot. Slots are multiples of 8 where the type's alignment allows it, so that this
 * costs 8 bytes: 64 become 72. Above 128 the classes are eight a doubling plus 16, so that round
 * sizes fit them with little to spare. Powers of two are there for alignments above 16. */
#include "bins.h"

uint32_t ebb__class_count, ebb__class_stride[CLASS_MAX];
uint8_t ebb__class_pages[CLASS_MAX];
uint64_t ebb__class_reciprocal[CLASS_MAX];

uint8_t ebb__class_at8[CLASS_LOOKUP], ebb__class_at16[CLASS_LOOKUP];

static void class_add(uint32_t stride) {
    uint32_t at = ebb__class_count;
    while (at > 0 && ebb__class_stride[at - 1] > stride) at--;
    if (at > 0 && ebb__class_stride[at - 1] == stride) return;
    memmove(&ebb__class_stride[at + 1], &ebb__class_stride[at],
            (ebb__class_count - at) * sizeof ebb__class_stride[0]);
    ebb__class_stride[at] = stride;
    ebb__class_count++;
}

/* The fewest pages that waste at most a sixteenth at the end and hold eight objects if they can. */
static uint8_t class_span_pages(uint32_t stride) {
    uint32_t best = SPAN_PAGES_MAX;
    for (uint32_t pages = SPAN_PAGES_MAX; pages >= 1; pages--) {
        uint32_t bytes = pages << PAGE_SHIFT, count = bytes / stride;
        bool roomy = count >= 8 || (pages == SPAN_PAGES_MAX && count > 0);
        if (roomy && (bytes - count * stride) * 16 <= bytes) best = pages;
    }
    return (uint8_t)best;
}

static void class_lookup_fill(uint8_t *table, uint32_t multiple) {
    uint32_t class = 0;
    for (uint32_t i = 0; i < CLASS_LOOKUP; i++) {
        while (class < ebb__class_count && (ebb__class_stride[class] < i * CLASS_STEP ||
                                            ebb__class_stride[class] % multiple != 0))
            class ++;
        table[i] = (uint8_t) class;
    }
}

void ebb__classes_start(void) {
    for (uint32_t stride = STRIDE_MIN; stride <= 128; stride += 8) class_add(stride);
    for (uint32_t base = 128; base < 32768; base *= 2) {
        for (uint32_t step = 1; step <= 8; step++) class_add(base + base / 8 * step + 16);
        class_add(base + 16);
        if (base >= 256) class_add(base);
    }
    ebb__assert(ebb__class_count <= CLASS_MAX);
    for (uint32_t i = 0; i < ebb__class_count; i++) {
        ebb__class_pages[i] = class_span_pages(ebb__class_stride[i]);
        ebb__class_reciprocal[i] =
            (((uint64_t)1 << 40) + ebb__class_stride[i] - 1) / ebb__class_stride[i];
    }
    class_lookup_fill(ebb__class_at8, 8);
    class_lookup_fill(ebb__class_at16, 16);
}

uint32_t ebb__class_aligned(size_t size, size_t align) {
    size_t power = max_size(align, STRIDE_MIN);
    while (power < size + 1) power *= 2;
    if (power > PAGE) return CLASS_MAX;
    uint32_t class = ebb__class_at16[power / CLASS_STEP];
    return ebb__class_stride[class] == power ? class : CLASS_MAX;
}

size_t ebb__good_size(size_t size, size_t align) {
    if (size <= SMALL_MAX) {
        uint32_t class = class_of(size, align);
        if (class < ebb__class_count) return ebb__class_stride[class] - 1;
    }
    return round_up(size + 1, PAGE) - 16;
}
