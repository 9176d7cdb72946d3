/* sort.c - sorting slices. docs/slices.md.
 *
 * sort_template.h is made for every natural order, where the comparison is inlined, and for every
 * common size of element by a function that compares. Larger elements are sorted through pointers
 * to them, and then each is moved to its place; without memory for the pointers, by heapsort. */
#include "../base/base.h"
#include "../../include/ebb/slice.h"
#include "swap.h"

#define SORT_BY_SIZE(a, b) (compare(a, b) < 0)

/* --- By natural order ------------------------------------------------------------------------- */

#define SORT(name)      sort_i8_##name
#define SORT_SIZE       1
#define SORT_LESS(a, b) ebb__less(EBB__ORDER_I8, a, b)
#include "sort_template.h"

#define SORT(name)      sort_i16_##name
#define SORT_SIZE       2
#define SORT_LESS(a, b) ebb__less(EBB__ORDER_I16, a, b)
#include "sort_template.h"

#define SORT(name)      sort_i32_##name
#define SORT_SIZE       4
#define SORT_LESS(a, b) ebb__less(EBB__ORDER_I32, a, b)
#include "sort_template.h"

#define SORT(name)      sort_i64_##name
#define SORT_SIZE       8
#define SORT_LESS(a, b) ebb__less(EBB__ORDER_I64, a, b)
#include "sort_template.h"

#define SORT(name)      sort_u8_##name
#define SORT_SIZE       1
#define SORT_LESS(a, b) ebb__less(EBB__ORDER_U8, a, b)
#include "sort_template.h"

#define SORT(name)      sort_u16_##name
#define SORT_SIZE       2
#define SORT_LESS(a, b) ebb__less(EBB__ORDER_U16, a, b)
#include "sort_template.h"

#define SORT(name)      sort_u32_##name
#define SORT_SIZE       4
#define SORT_LESS(a, b) ebb__less(EBB__ORDER_U32, a, b)
#include "sort_template.h"

#define SORT(name)      sort_u64_##name
#define SORT_SIZE       8
#define SORT_LESS(a, b) ebb__less(EBB__ORDER_U64, a, b)
#include "sort_template.h"

#define SORT(name)      sort_f32_##name
#define SORT_SIZE       4
#define SORT_LESS(a, b) ebb__less(EBB__ORDER_F32, a, b)
#include "sort_template.h"

#define SORT(name)      sort_f64_##name
#define SORT_SIZE       8
#define SORT_LESS(a, b) ebb__less(EBB__ORDER_F64, a, b)
#include "sort_template.h"

#define SORT(name)      sort_str_##name
#define SORT_SIZE       sizeof(ebb_str)
#define SORT_LESS(a, b) ebb__less(EBB__ORDER_STR, a, b)
#include "sort_template.h"

void ebb__slice_sort(int order, void *ptr, size_t n) {
    static void (*const sorts[])(char *, size_t, ebb__compare) = {
        [EBB__ORDER_I8] = sort_i8_unstable,   [EBB__ORDER_I16] = sort_i16_unstable,
        [EBB__ORDER_I32] = sort_i32_unstable, [EBB__ORDER_I64] = sort_i64_unstable,
        [EBB__ORDER_U8] = sort_u8_unstable,   [EBB__ORDER_U16] = sort_u16_unstable,
        [EBB__ORDER_U32] = sort_u32_unstable, [EBB__ORDER_U64] = sort_u64_unstable,
        [EBB__ORDER_F32] = sort_f32_unstable, [EBB__ORDER_F64] = sort_f64_unstable,
        [EBB__ORDER_STR] = sort_str_unstable,
    };
    sorts[order](ptr, n, NULL);
}

/* --- By a function ---------------------------------------------------------------------------- */

#define SORT(name)      sort_by4_##name
#define SORT_SIZE       4
#define SORT_LESS(a, b) SORT_BY_SIZE(a, b)
#define SORT_STABLE
#include "sort_template.h"

#define SORT(name)      sort_by8_##name
#define SORT_SIZE       8
#define SORT_LESS(a, b) SORT_BY_SIZE(a, b)
#define SORT_STABLE
#include "sort_template.h"

#define SORT(name)      sort_by16_##name
#define SORT_SIZE       16
#define SORT_LESS(a, b) SORT_BY_SIZE(a, b)
#define SORT_STABLE
#include "sort_template.h"

#define SORT(name)      sort_by24_##name
#define SORT_SIZE       24
#define SORT_LESS(a, b) SORT_BY_SIZE(a, b)
#define SORT_STABLE
#include "sort_template.h"

/* Pointers to elements. */
#define SORT(name)      sort_ptr_##name
#define SORT_SIZE       sizeof(uintptr_t)
#define SORT_LESS(a, b) (compare(sort_element(a), sort_element(b)) < 0)
#define SORT_STABLE
static inline const char *sort_element(const char *at) {
    const char *element;
    memcpy(&element, at, sizeof element);
    return element;
}
#include "sort_template.h"

typedef struct sort_kind {
    size_t size;
    void (*unstable)(char *a, size_t n, ebb__compare compare);
    void (*stable)(char *a, size_t n, char *spare, ebb__compare compare);
} sort_kind;

static const sort_kind sort_kinds[] = {
    {4, sort_by4_unstable, sort_by4_stable},
    {8, sort_by8_unstable, sort_by8_stable},
    {16, sort_by16_unstable, sort_by16_stable},
    {24, sort_by24_unstable, sort_by24_stable},
};

static const sort_kind *sort_kind_of(size_t size) {
    for (size_t i = 0; i < sizeof sort_kinds / sizeof sort_kinds[0]; i++)
        if (sort_kinds[i].size == size) return &sort_kinds[i];
    return NULL;
}

static void sort_heap_down(char *a, size_t n, size_t root, size_t size, ebb__compare compare) {
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && compare(a + child * size, a + (child + 1) * size) < 0) child++;
        if (compare(a + root * size, a + child * size) >= 0) return;
        element_swap(a + root * size, a + child * size, size);
    }
}

static void sort_heap(char *a, size_t n, size_t size, ebb__compare compare) {
    for (size_t i = n / 2; i-- > 0;) sort_heap_down(a, n, i, size, compare);
    for (size_t i = n; i-- > 1;) {
        element_swap(a, a + i * size, size);
        sort_heap_down(a, i, 0, size, compare);
    }
}

/* Brings to each place the element that the pointer for it names. A circle of places is walked by
 * swaps, and a place that is done points to itself. */
static void sort_arrange(char *a, size_t n, size_t size, const char **order) {
    for (size_t i = 0; i < n; i++) {
        size_t to = i;
        for (const char *from; (from = order[to]) != a + i * size;) {
            element_swap(a + to * size, (char *)(uintptr_t)from, size);
            order[to] = a + to * size;
            to = (size_t)(from - a) / size;
        }
        order[to] = a + to * size;
    }
}

/* False, with nothing done, without memory. */
static EBB__ENTRY bool sort_through_pointers(char *a, size_t n, size_t size, bool stable,
                                             ebb__compare compare) {
    size_t words;
    if (__builtin_add_overflow(n, stable ? n / 2 : 0, &words) || words > SIZE_MAX / sizeof(char *))
        return false;
    const char **order = ebb_alloc_data(words * sizeof *order);
    if (!order) return false;
    for (size_t i = 0; i < n; i++) order[i] = a + i * size;
    if (stable)
        sort_ptr_stable((char *)order, n, (char *)(order + n), compare);
    else
        sort_ptr_unstable((char *)order, n, compare);
    sort_arrange(a, n, size, order);
    ebb_free(order);
    return true;
}

void ebb__slice_sort_by(void *ptr, size_t n, size_t size, ebb__compare compare) {
    if (n < 2) return;
    const sort_kind *kind = sort_kind_of(size);
    if (kind)
        kind->unstable(ptr, n, compare);
    else if (!sort_through_pointers(ptr, n, size, false, compare))
        sort_heap(ptr, n, size, compare);
}

int ebb__slice_sort_stable_by(void *ptr, size_t n, size_t size, bool pointers,
                              ebb__compare compare) {
    if (n < 2) return 0;
    const sort_kind *kind = sort_kind_of(size);
    if (!kind) return sort_through_pointers(ptr, n, size, true, compare) ? 0 : EBB_ENOMEM;
    size_t spare_bytes = n / 2 * size;
    void *spare = pointers ? ebb_alloc(spare_bytes) : ebb_alloc_data(spare_bytes);
    if (!spare) return EBB_ENOMEM;
    kind->stable(ptr, n, spare, compare);
    ebb_free(spare);
    return 0;
}
