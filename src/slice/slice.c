/* slice.c - what the slice verbs of slice.h share: arrays, moves between them, dead tails.
 * docs/slices.md.
 *
 * Two rules make slices safe to share. An array is never changed by moving away from it: views may
 * still look at it, so it is neither cleared nor freed, and goes when the collector finds that
 * nobody refers to it. And nothing is ever written beyond the length of the slice that the verb was
 * given, except by those that add: what lies there may be in use through another view. */
#include "../base/base.h"
#include "../../include/ebb/slice.h"
#include "../heap/heap.h"
#include "../os/os.h"
#include "swap.h"

/* --- Misuse ----------------------------------------------------------------------------------- */

int ebb__slice_bad_index(const char *call, int checks, size_t index, size_t len) {
    const char *format = "index %zu is out of range, the length is %zu";
    if (checks) ebb__fail(call, format, index, len);
    return ebb__misuse(EBB_EINVAL, call, format, index, len);
}

void ebb__slice_bad_view(const char *call, int checks, size_t lo, size_t hi, size_t max, size_t len,
                         size_t cap) {
    const char *format = "from %zu to %zu, capacity to %zu: the length is %zu, the capacity %zu";
    if (checks) ebb__fail(call, format, lo, hi, max, len, cap);
    ebb__misuse(EBB_EINVAL, call, format, lo, hi, max, len, cap);
}

static int slice_bad_range(const ebb__slice_site *site, const char *call, size_t lo, size_t hi,
                           size_t len) {
    const char *format = "the range from %zu to %zu is not within the length, %zu";
    if (site->checks) ebb__fail(call, format, lo, hi, len);
    return ebb__misuse(EBB_EINVAL, call, format, lo, hi, len);
}

/* --- Dead tails -------------------------------------------------------------------------------
 *
 * Clearing a megabyte takes 13 µs, giving it back 56, and having it back 471. So a tail goes back
 * only as far as the slice may not soon need it again, and the tails of one array not in quick
 * succession: a buffer that is filled and emptied in a loop keeps its pages, and its tail is just
 * cleared. The times are kept for a few arrays only; to lose one costs time and nothing else. */

enum { SLICE_FORGETS = 64, SLICE_FORGET_NS_A_BYTE = 10 };

static struct {
    _Atomic(uintptr_t) hidden;       /* its address, complemented: this table keeps nothing alive.
                                        Relaxed, as is the other: a mix of two arrays does no harm */
    _Atomic(uint64_t) not_before_ns; /* when its tail may go back again */
} slice_forgets[SLICE_FORGETS];

static size_t slice_forget_slot(const void *array) {
    return ((uintptr_t)array >> 13) * 0x9E3779B97F4A7C15u >> 58;
}
static_assert(SLICE_FORGETS == 1 << (64 - 58), "slice_forget_slot fits the table");

/* A new array begins without a past. */
static void slice_forget_history(const void *array, size_t bytes) {
    if (bytes < EBB__SLICE_LARGE) return;
    atomic_store_explicit(&slice_forgets[slice_forget_slot(array)].hidden, 0, memory_order_relaxed);
}

/* Whether the pages of a tail of the array may go back now. */
static bool slice_forget_due(const void *array, size_t bytes) {
    size_t slot = slice_forget_slot(array);
    uint64_t now = ebb__os_now_ns();
    uintptr_t hidden = ~(uintptr_t)array;
    uintptr_t known = atomic_load_explicit(&slice_forgets[slot].hidden, memory_order_relaxed);
    uint64_t until = atomic_load_explicit(&slice_forgets[slot].not_before_ns, memory_order_relaxed);
    if (known == hidden && now < until) return false;
    atomic_store_explicit(&slice_forgets[slot].not_before_ns, now + bytes * SLICE_FORGET_NS_A_BYTE,
                          memory_order_relaxed);
    atomic_store_explicit(&slice_forgets[slot].hidden, hidden, memory_order_relaxed);
    return true;
}

void ebb__slice_forget(void *start, size_t bytes, size_t live_bytes) {
    size_t kept = min_size(bytes, live_bytes / 4);
    char *dead = (char *)start + kept;
    const void *array = ebb_base_of(start);
    if (!array || bytes - kept < EBB__SLICE_LARGE || !slice_forget_due(array, bytes - kept)) {
        memset(start, 0, bytes);
        return;
    }
    memset(start, 0, kept);
    ebb__heap_clear(dead, bytes - kept);
}

/* --- Arrays ----------------------------------------------------------------------------------- */

/* How the site's element type is spelt. Null where two declarations of the unit cannot be told
 * apart and spell different types: then it is not looked up, and its words are searched. */
static const char *slice_element_name(const ebb__slice_site *site) {
    const char *name = NULL;
    for (const ebb__slice_type *const *t = site->unit->first; t < site->unit->last; t++) {
        if (!*t || (*t)->unit != site->unit->unit || (*t)->key != site->key) continue;
        if (name && strcmp(name, (*t)->element) != 0) return NULL;
        name = (*t)->element;
    }
    return name;
}

/* The heap's idea of the site. The layout is looked up by name once; `unknown` fits no type. */
static ebb__site slice_site(ebb__slice_site *site) {
    static const char unknown[] = "";
    struct ebb__layout *layout = __atomic_load_n(&site->layout, __ATOMIC_ACQUIRE);
    const char *name = layout ? NULL : slice_element_name(site);
    ebb__site place = {
        site->unit->unit, name ? name : unknown, site->size, site->align,
        site->kind,       EBB__USE_SLICE,        layout,     NULL,
    };
    if (!layout) {
        layout = ebb__layout_of(&place);
        __atomic_store_n(&site->layout, layout, __ATOMIC_RELEASE); /* pairs with the load above */
    }
    return place;
}

/* A zeroed array for n elements or a few more, as its size class has room for. */
static EBB__ENTRY ebb__array slice_alloc(ebb__slice_site *site, size_t n) {
    ebb__array none = {NULL, 0};
    size_t bytes;
    if (n == 0 || site->size == 0 || __builtin_mul_overflow(n, site->size, &bytes) ||
        bytes > PTRDIFF_MAX)
        return none;
    ebb__site place = slice_site(site);
    if (!place.layout) return none;
    size_t cap = ebb__good_size(bytes, max_size(site->align, 8)) / site->size;
    ebb__array array = {ebb__new_array(&place, cap), cap};
    if (!array.ptr) return none;
    slice_forget_history(array.ptr, bytes);
    return array;
}

ebb__array ebb__slice_new(ebb__slice_site *site, size_t n) {
    return slice_alloc(site, n);
}

ebb__array ebb__slice_move(ebb__slice_site *site, const void *ptr, size_t len, size_t want) {
    ebb__array array = slice_alloc(site, want);
    if (array.ptr && len > 0) memcpy(array.ptr, ptr, len * site->size);
    return array;
}

/* Twice the capacity while it is small, then smoothly down to a quarter more; the first array is of
 * a size that is worth an object. */
static size_t slice_next_cap(size_t cap, size_t needed, size_t size) {
    enum { SMALL = 256, FIRST_BYTES = 64 };
    if (cap == 0) return max_size(needed, FIRST_BYTES / size);
    if (cap > SIZE_MAX / 2 || needed > 2 * cap) return needed;
    size_t next = cap < SMALL ? 2 * cap : cap + (cap + 3 * SMALL) / 4;
    return max_size(next, needed);
}

ebb__array ebb__slice_grow(ebb__slice_site *site, const void *ptr, size_t len, size_t cap,
                           size_t more) {
    size_t needed;
    if (__builtin_add_overflow(len, more, &needed)) return (ebb__array){NULL, 0};
    return ebb__slice_move(site, ptr, len, slice_next_cap(cap, needed, site->size));
}

/* --- Adding ----------------------------------------------------------------------------------- */

static void slice_reverse(char *at, size_t n, size_t size) {
    for (char *a = at, *b = at + (n ? n - 1 : 0) * size; a < b; a += size, b -= size)
        element_swap(a, b, size);
}

/* Into a new array; the old one, which values may point into, stays as it is. */
static int slice_insert_moving(ebb__slice *s, ebb__slice_site *site, size_t i, const void *values,
                               size_t n) {
    ebb__array array = ebb__slice_grow(site, s->ptr, i, s->cap, n + (s->len - i));
    if (!array.ptr) return EBB_ENOMEM;
    char *at = (char *)array.ptr + i * site->size;
    memcpy(at, values, n * site->size);
    if (i < s->len)
        memcpy(at + n * site->size, (char *)s->ptr + i * site->size, (s->len - i) * site->size);
    s->ptr = array.ptr;
    s->cap = array.cap;
    s->len += n;
    return 0;
}

/* Within the capacity. Values that lie where things will move are appended first, which memmove
 * does right wherever they are, and then brought to their place by three reversals. */
static void slice_insert_in_place(ebb__slice *s, size_t size, size_t i, const void *values,
                                  size_t n) {
    char *base = s->ptr, *at = base + i * size;
    size_t bytes = n * size, behind = (s->len - i) * size;
    uintptr_t from = (uintptr_t)values, to = from + bytes;
    bool clear_of = to <= (uintptr_t)at || from >= (uintptr_t)at + behind + bytes;
    if (clear_of || behind == 0) {
        memmove(at + bytes, at, behind);
        memmove(at, values, bytes);
    } else {
        memmove(base + s->len * size, values, bytes);
        slice_reverse(at, s->len - i, size);
        slice_reverse(base + s->len * size, n, size);
        slice_reverse(at, s->len - i + n, size);
    }
    s->len += n;
}

int ebb__slice_insert(ebb__slice *s, ebb__slice_site *site, size_t i, const void *values,
                      size_t n) {
    size_t needed;
    if (i > s->len) return slice_bad_range(site, "ebb_insert", i, i, s->len);
    if (n == 0) return 0;
    if (__builtin_add_overflow(s->len, n, &needed)) return EBB_ENOMEM;
    if (needed > s->cap) return slice_insert_moving(s, site, i, values, n);
    slice_insert_in_place(s, site->size, i, values, n);
    return 0;
}

int ebb__slice_append_zeros(ebb__slice *s, ebb__slice_site *site, size_t n) {
    if (n <= s->cap - s->len) {
        if (n > 0) {
            char *end = (char *)s->ptr + s->len * site->size;
            memset(end, 0, n * site->size);
        }
    } else {
        ebb__array array = ebb__slice_grow(site, s->ptr, s->len, s->cap, n);
        if (!array.ptr) return EBB_ENOMEM;
        s->ptr = array.ptr;
        s->cap = array.cap;
    }
    s->len += n;
    return 0;
}

/* --- Dropping --------------------------------------------------------------------------------- */

int ebb__slice_delete(ebb__slice *s, ebb__slice_site *site, size_t lo, size_t hi) {
    if (lo > hi || hi > s->len) return slice_bad_range(site, "ebb_delete", lo, hi, s->len);
    if (lo == hi) return 0;
    char *at = (char *)s->ptr + lo * site->size;
    memmove(at, at + (hi - lo) * site->size, (s->len - hi) * site->size);
    size_t left = s->len - (hi - lo);
    ebb__slice_cut(s->ptr, left, s->len, site->size);
    s->len = left;
    return 0;
}

/* --- Capacity --------------------------------------------------------------------------------- */

/* To an array for `want` elements. */
static int slice_resettle(ebb__slice *s, ebb__slice_site *site, size_t want) {
    ebb__array array = {NULL, 0};
    if (want > 0) {
        array = ebb__slice_move(site, s->ptr, s->len, want);
        if (!array.ptr) return EBB_ENOMEM;
    }
    s->ptr = array.ptr;
    s->cap = array.cap;
    return 0;
}

int ebb__slice_reserve(ebb__slice *s, ebb__slice_site *site, size_t n) {
    return n <= s->cap ? 0 : slice_resettle(s, site, n);
}

int ebb__slice_shrink(ebb__slice *s, ebb__slice_site *site) {
    enum { WORTH_BYTES = 256 };
    size_t array_bytes = s->ptr ? ebb_size_of(s->ptr) : 0, live_bytes = s->len * site->size;
    if (array_bytes == 0) return 0;
    if (s->len > 0 && (array_bytes <= WORTH_BYTES || live_bytes > array_bytes / 4)) return 0;
    return slice_resettle(s, site, s->len + s->len / 4);
}

int ebb__slice_clip(ebb__slice *s, ebb__slice_site *site) {
    size_t array_bytes = s->ptr ? ebb_size_of(s->ptr) : 0, live_bytes = s->len * site->size;
    if (array_bytes == 0) return 0;
    if (s->len > 0 && ebb__good_size(live_bytes, max_size(site->align, 8)) >= array_bytes) return 0;
    return slice_resettle(s, site, s->len);
}
