/* ebb/slice_impl.h - what the macros of slice.h are made of. Nothing here is for programs.
 *
 * A verb is a statement expression around shared functions that know sizes but no types. What runs
 * for every element - the store of an append, the comparison of a search - is inline and typed;
 * what runs seldom is in the library. */
#ifndef EBB_SLICE_IMPL_H
#define EBB_SLICE_IMPL_H

#include "slice.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A slice as the shared functions see it. The macros copy theirs in and out, so that the address
 * of the program's variable is not taken and its fields can stay in registers. */
typedef struct ebb__slice {
    void *ptr;
    size_t len, cap;
} ebb__slice;

/* A new array and its capacity in elements; {NULL, 0} for a failure. */
typedef struct ebb__array {
    void *ptr;
    size_t cap;
} ebb__array;

typedef int (*ebb__compare)(const void *a, const void *b);

/* What EBB_SLICE leaves in the linker section ebb_slices: how the element's type is spelt. A verb
 * knows the slice's type but no name in it; they find each other by the key, which the type carries
 * in a member of no size. */
typedef struct ebb__slice_type {
    const ebb__unit *unit;
    size_t key;
    const char *element;
} ebb__slice_type;

typedef struct ebb__slice_unit {
    const ebb__unit *unit;
    const ebb__slice_type *const *first, *const *last;
} ebb__slice_unit;

/* A place in the program where a verb stands. */
typedef struct ebb__slice_site {
    const ebb__slice_unit *unit;
    size_t key, size;
    uint32_t align;
    uint16_t kind;              /* enum ebb__kind */
    uint16_t checks;            /* EBB_CHECKS there */
    struct ebb__layout *layout; /* atomic; null until resolved */
} ebb__slice_site;

EBB_API ebb__array ebb__slice_new(ebb__slice_site *site, size_t n);
/* An array for at least `want` elements (want >= len), with the len elements at ptr. */
EBB_API ebb__array ebb__slice_move(ebb__slice_site *site, const void *ptr, size_t len, size_t want);
/* The same with room for `more` elements beyond len (more > cap - len), by the steps of append. */
EBB_API ebb__array ebb__slice_grow(ebb__slice_site *site, const void *ptr, size_t len, size_t cap,
                                   size_t more);
EBB_API int ebb__slice_insert(ebb__slice *s, ebb__slice_site *site, size_t i, const void *values,
                              size_t n);
EBB_API int ebb__slice_append_zeros(ebb__slice *s, ebb__slice_site *site, size_t n);
EBB_API int ebb__slice_delete(ebb__slice *s, ebb__slice_site *site, size_t lo, size_t hi);
EBB_API int ebb__slice_reserve(ebb__slice *s, ebb__slice_site *site, size_t n);
EBB_API int ebb__slice_shrink(ebb__slice *s, ebb__slice_site *site);
EBB_API int ebb__slice_clip(ebb__slice *s, ebb__slice_site *site);
/* Zeroes a dead tail that is large; live_bytes before it are in use. */
EBB_API void ebb__slice_forget(void *start, size_t bytes, size_t live_bytes);
EBB_API __attribute__((cold)) int ebb__slice_bad_index(const char *call, int checks, size_t index,
                                                       size_t len);
EBB_API __attribute__((cold)) void ebb__slice_bad_view(const char *call, int checks, size_t lo,
                                                       size_t hi, size_t max, size_t len,
                                                       size_t cap);
EBB_API void ebb__slice_sort(int order, void *ptr, size_t n);
EBB_API void ebb__slice_sort_by(void *ptr, size_t n, size_t size, ebb__compare compare);
EBB_API int ebb__slice_sort_stable_by(void *ptr, size_t n, size_t size, bool pointers,
                                      ebb__compare compare);

#ifdef __cplusplus
}
#endif

#ifndef __cplusplus
/* Version 14 takes the indentation from macros that hold statements. */
/* clang-format off */

extern const ebb__slice_type *const __start_ebb_slices[] __attribute__((visibility("hidden")));
extern const ebb__slice_type *const __stop_ebb_slices[] __attribute__((visibility("hidden")));

static const ebb__slice_unit ebb__slice_this_unit
    __attribute__((unused)) = {&ebb__this_unit, __start_ebb_slices, __stop_ebb_slices};
/* One empty entry a unit, so that the section exists. */
static const ebb__slice_type *const ebb__no_slice __attribute__((section("ebb_slices"), used)) = 0;

/* The same in every unit that includes the declaration, so that the types are the same too. */
#define EBB__SLICE_KEY(name, T) \
    ((size_t)__LINE__ << 20 | (sizeof(name) & 1023) << 10 | (sizeof(T) & 1023))

#define EBB__SLICE(name, T)                                                 \
    typedef struct name {                                                   \
        __typeof__(T) *ptr;                                                 \
        size_t len, cap;                                                    \
        __extension__ const char (*ebb__key[0])[EBB__SLICE_KEY(#name, #T)]; \
    } name;                                                                 \
    static const ebb__slice_type EBB__CAT(ebb__slice_type_, name) = {       \
        &ebb__this_unit, EBB__SLICE_KEY(#name, #T), #T};                    \
    static const ebb__slice_type *const EBB__CAT(ebb__slice_entry_, name)   \
        __attribute__((section("ebb_slices"), used)) = &EBB__CAT(ebb__slice_type_, name)

#define EBB__SLICE_SITE(s)                                                    \
    (__extension__({                                                          \
        static ebb__slice_site ebb__place = {&ebb__slice_this_unit,           \
                                             sizeof(*(s).ebb__key[0]),        \
                                             sizeof(*(s).ptr),                \
                                             _Alignof(__typeof__(*(s).ptr)),  \
                                             EBB__KIND(__typeof__(*(s).ptr)), \
                                             EBB_CHECKS,                      \
                                             0};                              \
        &ebb__place;                                                          \
    }))

/* An integer of any type as a size, without a warning; a negative one becomes huge. */
#define EBB__COUNT(n) ((size_t)((n) | 0))

/* Between these a pointer of another type is an error, not a warning. */
#ifdef __clang__
#define EBB__STRICT_BEGIN                                                  \
    _Pragma("clang diagnostic push")                                       \
        _Pragma("clang diagnostic error \"-Wincompatible-pointer-types\"") \
            _Pragma("clang diagnostic error \"-Wint-conversion\"")
#define EBB__STRICT_END _Pragma("clang diagnostic pop")
#else
#define EBB__STRICT_BEGIN                                                \
    _Pragma("GCC diagnostic push")                                       \
        _Pragma("GCC diagnostic error \"-Wincompatible-pointer-types\"") \
            _Pragma("GCC diagnostic error \"-Wdiscarded-qualifiers\"")   \
                _Pragma("GCC diagnostic error \"-Wint-conversion\"")
#define EBB__STRICT_END _Pragma("GCC diagnostic pop")
#endif

/* Declares v, an element, n elements, or a comparison of elements. _Generic lets a compound literal
 * pass with its commas, and nothing else that has any. */
#define EBB__VALUE(v, p, ...)                                \
    EBB__STRICT_BEGIN                                        \
    __typeof__(*(p)) v = _Generic(0, default : __VA_ARGS__); \
    EBB__STRICT_END
#define EBB__SOURCE(v, p, value)         \
    EBB__STRICT_BEGIN                    \
    const __typeof__(*(p)) *v = (value); \
    EBB__STRICT_END
#define EBB__COMPARE(v, p, value)                                           \
    EBB__STRICT_BEGIN                                                       \
    int (*v)(const __typeof__(*(p)) *, const __typeof__(*(p)) *) = (value); \
    EBB__STRICT_END
#define EBB__COMPARE_PLAIN(v)          \
    (((union {                         \
         __typeof__(v) typed;          \
         ebb__compare plain;           \
     }){v})                            \
         .plain)
#define EBB__ORDERED(p)                                 \
    _Static_assert(EBB__ORDER(*(p)) != EBB__ORDER_NONE, \
                   "the elements have no natural order: use the form with _by")
#define EBB__NOTHING(n) (void)(n)

/* A collection may come between any two stores, and a slice field keeps no more than it reaches: so
 * an element is stored when the field reaches it, and the array is on the stack while a field is
 * half written. Slices in local variables stay in registers all the same. */
#define EBB__SLICE_ORDER __asm__ volatile("" : : : "memory")

#define EBB__OWNER(s, function, ...)                                          \
    (__extension__({                                                          \
        ebb__slice ebb__h = {(s)->ptr, (s)->len, (s)->cap};                   \
        int ebb__r = function(&ebb__h, EBB__SLICE_SITE(*(s)), ##__VA_ARGS__); \
        (s)->ptr = ebb__h.ptr;                                                \
        (s)->len = ebb__h.len;                                                \
        (s)->cap = ebb__h.cap;                                                \
        __asm__ volatile("" : : "m"(ebb__h) : "memory");                      \
        ebb__status(ebb__r);                                                  \
    }))

#define EBB__SLICE_GROW(s, n)                                                        \
    (__extension__({                                                                 \
        ebb__array ebb__a =                                                          \
            ebb__slice_grow(EBB__SLICE_SITE(*(s)), (s)->ptr, (s)->len, (s)->cap, n); \
        if (EBB__LIKELY(ebb__a.ptr != NULL)) {                                       \
            (s)->ptr = ebb__a.ptr;                                                   \
            (s)->cap = ebb__a.cap;                                                   \
        }                                                                            \
        ebb__status(ebb__a.ptr ? 0 : EBB_ENOMEM);                                    \
    }))

#define EBB__SLICE_CUT(s, n)                                                               \
    (__extension__({                                                                       \
        size_t ebb__left = (n);                                                            \
        size_t ebb__cut = ebb__slice_cut((s)->ptr, ebb__left, (s)->len, sizeof *(s)->ptr); \
        (s)->len = ebb__left;                                                              \
        ebb__count(ebb__cut);                                                              \
    }))

#define EBB__VIEW(call, s, lo, hi, max)                                                  \
    size_t ebb__lo = (lo), ebb__hi = (hi), ebb__max = (max);                             \
    if (EBB__RARE(ebb__lo > ebb__hi || ebb__hi > s.len || ebb__hi > ebb__max ||          \
                  ebb__max > s.cap)) {                                                   \
        ebb__slice_bad_view(call, EBB_CHECKS, ebb__lo, ebb__hi, ebb__max, s.len, s.cap); \
        ebb__lo = ebb__hi = ebb__max = 0;                                                \
    }                                                                                    \
    s.ptr = ebb__lo < ebb__max ? s.ptr + ebb__lo : NULL;                                 \
    s.len = ebb__hi - ebb__lo;                                                           \
    s.cap = ebb__max - ebb__lo

#define EBB__COMPACT(s, setup, same)                                         \
    (__extension__({                                                         \
        __auto_type ebb__s = (s);                                            \
        setup;                                                               \
        size_t ebb__kept = ebb__s->len > 0;                                  \
        for (size_t ebb__i = 1; ebb__i < ebb__s->len; ebb__i++) {            \
            __typeof__(ebb__s->ptr) ebb__next = ebb__s->ptr + ebb__i;        \
            __typeof__(ebb__s->ptr) ebb__last = ebb__s->ptr + ebb__kept - 1; \
            if (same) continue;                                              \
            if (ebb__kept != ebb__i) ebb__last[1] = *ebb__next;              \
            ebb__kept++;                                                     \
        }                                                                    \
        EBB__SLICE_CUT(ebb__s, ebb__kept);                                   \
    }))

#define EBB__BINARY_SEARCH(s, setup, less, same, ...)                  \
    (__extension__({                                                   \
        __auto_type ebb__s = (s);                                      \
        setup;                                                         \
        EBB__VALUE(ebb__v, ebb__s.ptr, __VA_ARGS__);                   \
        size_t ebb__lo = 0, ebb__hi = ebb__s.len;                      \
        __typeof__(ebb__s.ptr) ebb__m;                                 \
        while (ebb__lo < ebb__hi) {                                    \
            ebb__m = ebb__s.ptr + (ebb__lo + (ebb__hi - ebb__lo) / 2); \
            if (less)                                                  \
                ebb__lo = (size_t)(ebb__m - ebb__s.ptr) + 1;           \
            else                                                       \
                ebb__hi = (size_t)(ebb__m - ebb__s.ptr);               \
        }                                                              \
        ebb__m = ebb__lo < ebb__s.len ? ebb__s.ptr + ebb__lo : NULL;   \
        ebb_position ebb__found = {ebb__lo, ebb__m && (same)};         \
        ebb__found;                                                    \
    }))

#define EBB__EQUAL(s, t, setup, same)                                                       \
    (__extension__({                                                                        \
        __auto_type ebb__s = (s);                                                           \
        __auto_type ebb__t = (t);                                                           \
        EBB__SOURCE(ebb__p, ebb__s.ptr, ebb__t.ptr);                                        \
        setup;                                                                              \
        bool ebb__is = ebb__s.len == ebb__t.len;                                            \
        for (size_t ebb__i = 0; ebb__is && ebb__i < ebb__s.len; ebb__i++) ebb__is = (same); \
        ebb__is;                                                                            \
    }))

#define EBB__BEST(s, setup, better)                                            \
    (__extension__({                                                           \
        __auto_type ebb__s = (s);                                              \
        setup;                                                                 \
        __typeof__(ebb__s.ptr) ebb__best = ebb__s.len > 0 ? ebb__s.ptr : NULL; \
        for (size_t ebb__i = 1; ebb__i < ebb__s.len; ebb__i++) {               \
            __typeof__(ebb__s.ptr) ebb__it = ebb__s.ptr + ebb__i;              \
            if (better) ebb__best = ebb__it;                                   \
        }                                                                      \
        ebb__best;                                                             \
    }))

/* --- Natural order and equality -------------------------------------------------------------- */

enum ebb__order {
    EBB__ORDER_NONE,
    EBB__ORDER_I8,
    EBB__ORDER_I16,
    EBB__ORDER_I32,
    EBB__ORDER_I64,
    EBB__ORDER_U8,
    EBB__ORDER_U16,
    EBB__ORDER_U32,
    EBB__ORDER_U64,
    EBB__ORDER_F32,
    EBB__ORDER_F64,
    EBB__ORDER_STR,
    EBB__ORDER_BYTES /* equality only */
};

#define EBB__INTEGER(T)                                                                    \
    T : (((T)-1 < (T)1 ? EBB__ORDER_I8 : EBB__ORDER_U8) + (sizeof(T) > 1) + (sizeof(T) > 2) + \
         (sizeof(T) > 4))
#define EBB__ORDER(x)                                                              \
    (_Generic((x),                                                                 \
         EBB__INTEGER(char), EBB__INTEGER(signed char), EBB__INTEGER(unsigned char), \
         EBB__INTEGER(short), EBB__INTEGER(unsigned short), EBB__INTEGER(int),     \
         EBB__INTEGER(unsigned), EBB__INTEGER(long), EBB__INTEGER(unsigned long),  \
         EBB__INTEGER(long long), EBB__INTEGER(unsigned long long),                \
         bool : EBB__ORDER_U8, float : EBB__ORDER_F32, double : EBB__ORDER_F64,    \
         ebb_str : EBB__ORDER_STR, default : EBB__ORDER_NONE))

/* Type classes: 1 to 5 are integers, characters, enumerations, booleans and pointers. */
#define EBB__EQUALITY(x)                                                                       \
    (EBB__ORDER(x) != EBB__ORDER_NONE                                     ? (int)EBB__ORDER(x) \
     : __builtin_classify_type(x) >= 1 && __builtin_classify_type(x) <= 5 ? EBB__ORDER_BYTES   \
                                                                          : EBB__ORDER_NONE)

#define EBB__LESS(p, a, b) ebb__less(EBB__ORDER(*(p)), a, b)
#define EBB__SAME(p, a, b)                                                                     \
    (__extension__({                                                                           \
        _Static_assert(EBB__EQUALITY(*(p)) != EBB__ORDER_NONE,                                 \
                       "the elements have no natural equality: use the form with _by or _if"); \
        ebb__same(EBB__EQUALITY(*(p)), a, b, sizeof *(p));                                     \
    }))

#define EBB__LOAD2(T, a, b)            \
    T ebb__x, ebb__y;                  \
    memcpy(&ebb__x, a, sizeof ebb__x); \
    memcpy(&ebb__y, b, sizeof ebb__y)
#define EBB__LESS_CASE(order, T) \
    case order: {                \
        EBB__LOAD2(T, a, b);     \
        return ebb__x < ebb__y;  \
    }
#define EBB__LESS_FLOAT(order, T)                                                        \
    case order: {                                                                        \
        EBB__LOAD2(T, a, b);                                                             \
        return ebb__x < ebb__y || (__builtin_isnan(ebb__x) && !__builtin_isnan(ebb__y)); \
    }

EBB__INLINE bool ebb__less(int order, const void *a, const void *b) {
    switch (order) {
        EBB__LESS_CASE(EBB__ORDER_I8, int8_t)
        EBB__LESS_CASE(EBB__ORDER_I16, int16_t)
        EBB__LESS_CASE(EBB__ORDER_I32, int32_t)
        EBB__LESS_CASE(EBB__ORDER_I64, int64_t)
        EBB__LESS_CASE(EBB__ORDER_U8, uint8_t)
        EBB__LESS_CASE(EBB__ORDER_U16, uint16_t)
        EBB__LESS_CASE(EBB__ORDER_U32, uint32_t)
        EBB__LESS_CASE(EBB__ORDER_U64, uint64_t)
        EBB__LESS_FLOAT(EBB__ORDER_F32, float)
        EBB__LESS_FLOAT(EBB__ORDER_F64, double)
    default: {
        EBB__LOAD2(ebb_str, a, b);
        return ebb_str_compare(ebb__x, ebb__y) < 0;
    }
    }
}

EBB__INLINE bool ebb__same(int order, const void *a, const void *b, size_t size) {
    if (order == EBB__ORDER_F32) {
        EBB__LOAD2(float, a, b);
        return ebb__x <= ebb__y && ebb__x >= ebb__y;
    } else if (order == EBB__ORDER_F64) {
        EBB__LOAD2(double, a, b);
        return ebb__x <= ebb__y && ebb__x >= ebb__y;
    } else if (order == EBB__ORDER_STR) {
        EBB__LOAD2(ebb_str, a, b);
        return ebb_str_equal(ebb__x, ebb__y);
    }
    return memcmp(a, b, size) == 0;
}

/* --- Inline parts ---------------------------------------------------------------------------- */

/* Values of statement expressions that nobody may want. */
EBB__INLINE int ebb__status(int status) {
    return status;
}

EBB__INLINE size_t ebb__count(size_t count) {
    return count;
}

EBB__INLINE size_t ebb__slice_copy(void *to, const void *from, size_t n, size_t size) {
    if (n > 0) memmove(to, from, n * size);
    return n;
}

#define EBB__SLICE_LARGE ((size_t)1 << 20)

EBB__INLINE size_t ebb__slice_cut(void *ptr, size_t left, size_t len, size_t size) {
    size_t bytes = (len - left) * size;
    if (EBB__RARE(bytes >= EBB__SLICE_LARGE))
        ebb__slice_forget((char *)ptr + left * size, bytes, left * size);
    else if (bytes > 0)
        memset((char *)ptr + left * size, 0, bytes);
    return len - left;
}

/* clang-format on */
#endif /* !__cplusplus */
#endif
