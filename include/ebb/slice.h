/* ebb/slice.h - slices and strings: values of {ptr, len, cap} that let go of what they drop.
 *
 *     EBB_SLICE(users, user *);       // users is struct { user **ptr; size_t len, cap; }
 *
 *     users online = {0};             // empty, and ready for use
 *     ebb_append(&online, u);
 *     ebb_at(online, 0)->age++;       // checked in debug builds
 *     ebb_truncate(&online, 0);       // u is forgotten at once
 *
 * First strings, then declarations, then the verbs. Verbs that take &s belong to the *owner* of the
 * array: they clear what they drop, and those that add may move to another array. Verbs that take s
 * look at it, and never copy the array nor clear any of it; those that return a slice return a
 * *view*, which shares the array. The verbs are macros that take every type of slice, evaluate each
 * argument once, and refuse a value of another type when compiled.
 *
 * What an array keeps alive: a slice on a stack or in static data keeps its whole array, from
 * anywhere inside; one in a field that EBB_TYPE describes keeps it from ptr to its capacity (or to
 * its length: see slice_to_len in heap.h), and full collections zero what none reaches. The array
 * keeps what its elements refer to, beyond len too. So after an owner verb has dropped elements
 * nothing refers to them any more, as far as this array goes; a view of it sees zeros there.
 *
 * A slice is a variable like any other: one thread writes to it, or several read it. */
#ifndef EBB_SLICE_H
#define EBB_SLICE_H

#include "config.h"
#include "heap.h"

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- Strings -------------------------------------------------------------------------------- */

/* len bytes at ptr that nobody changes; not necessarily followed by a NUL. {0} is the empty one.
 * Keeps alive: the object that ptr points into, if it is one of the heap. */
typedef struct ebb_str {
    const char *ptr;
    size_t len;
} ebb_str;

/* An initialiser for static storage: ebb_str name = EBB_STR("ann"); */
#define EBB_STR(literal) \
 { "" literal, sizeof(literal) - 1 }

/* The string that a literal or C string holds; shares its bytes. A null pointer gives the empty
 * string. Threads: any.   Collects: never. */
EBB__INLINE ebb_str ebb_s(const char *text) {
    ebb_str str = {text, text ? __builtin_strlen(text) : 0};
    return str;
}

/* Bytes lo to hi of a string; shares its bytes. An empty result keeps nothing alive.
 * Returns / errors: the empty string for a range that is not within str (see config.h on misuse).
 * Threads: any.   Collects: never. */
EBB_API ebb_str ebb_str_slice(ebb_str str, size_t lo, size_t hi);

EBB__INLINE bool ebb_str_equal(ebb_str a, ebb_str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Negative, 0 or positive as a stands before, at or after b; by bytes, the shorter first. */
EBB_API int ebb_str_compare(ebb_str a, ebb_str b);

/* A string of its own in the heap, followed by a NUL.
 * Returns / errors: its ptr is null without memory, and never otherwise.
 * Owns: the collector.   Threads: any.   Collects: may collect. */
EBB_API ebb_str ebb_str_copy(ebb_str str);

/* The same as a C string. A null pointer without memory. */
EBB_API char *ebb_str_cstr(ebb_str str);

/* What printf would print, as by ebb_str_copy. A null ptr also where printf fails. */
EBB_API __attribute__((format(printf, 1, 2))) ebb_str ebb_str_format(const char *format, ...);

#ifndef __cplusplus
/* Version 14 takes the indentation from macros that hold statements. */
/* clang-format off */

/* --- Declaring and making ------------------------------------------------------------------- */

/* EBB_SLICE(name, T); declares name, a slice of elements of type T: any type that can be assigned,
 * described by EBB_TYPE or not. Alone on its line, once a name. An incomplete T is enough, so that
 * a structure can hold a slice of itself. ptr, len and cap may be read, and set by who knows what
 * he does; initialise by {0} or by name ({.ptr = p, .len = n, .cap = n}). */
#define EBB_SLICE(name, T) EBB__SLICE(name, T)

/* A new array of n zeroed elements, as a slice of the named type.
 * Returns / errors: the empty slice without memory, or where n is too large.
 * Owns: the collector.   Threads: any.   Collects: may collect. */
#define ebb_slice_make(name, n)                                              \
    (__extension__({                                                         \
        name ebb__s = {0};                                                   \
        size_t ebb__n = EBB__COUNT(n);                                       \
        ebb__array ebb__a = ebb__slice_new(EBB__SLICE_SITE(ebb__s), ebb__n); \
        ebb__s.ptr = ebb__a.ptr;                                             \
        ebb__s.len = ebb__a.ptr ? ebb__n : 0;                                \
        ebb__s.cap = ebb__a.cap;                                             \
        ebb__s;                                                              \
    }))

/* A view of n elements at p that are anywhere: in the heap, in static storage, on the stack. The
 * owner verbs take it too; the first one that needs more room moves it into the heap. */
#define ebb_slice_over(name, p, n)                                \
    (__extension__({                                              \
        size_t ebb__n = EBB__COUNT(n);                            \
        EBB__STRICT_BEGIN                                         \
        name ebb__s = {.ptr = (p), .len = ebb__n, .cap = ebb__n}; \
        EBB__STRICT_END                                           \
        ebb__s;                                                   \
    }))

/* --- Elements ------------------------------------------------------------------------------- */

/* Element i of s: can be read, assigned to, and have its address taken.
 * Returns / errors: i >= s.len aborts where EBB_CHECKS is 1 (see config.h), and is undefined
 *   otherwise.   Threads: any.   Collects: never. */
#define ebb_at(s, i)                                                  \
    (*__extension__({                                                 \
        __auto_type ebb__s = (s);                                     \
        size_t ebb__i = EBB__COUNT(i);                                \
        if (EBB_CHECKS && EBB__RARE(ebb__i >= ebb__s.len))            \
            ebb__slice_bad_index("ebb_at", true, ebb__i, ebb__s.len); \
        ebb__s.ptr + ebb__i;                                          \
    }))

/* for (each pointer `it` to an element of s, in order). break and continue do what they say. Walks
 * the slice as it was at the start: what the body appends is not seen, what it drops reads as zero
 * or as what took its place.   Keeps alive: the array, until the end of the loop. */
#define ebb_slice_each(s, it)                                                             \
    for (__auto_type ebb__each_##it = (s); ebb__each_##it.ptr; ebb__each_##it.ptr = NULL) \
        for (__typeof__(ebb__each_##it.ptr) it = ebb__each_##it.ptr,                      \
                                            ebb__end_##it = it + ebb__each_##it.len;      \
             it != ebb__end_##it; it++)

/* --- Views ---------------------------------------------------------------------------------- */

/* Elements lo to hi of s; its capacity reaches as far as that of s does, or to element max in the
 * three-index form, so that the next append moves to an array of its own. Neither copies or clears
 * anything; in a slice field, what no other reference reaches is forgotten by the next full
 * collection. The true size of the array can still be asked (ebb_slice_capacity_true).
 *
 * Returns / errors: a view; the empty slice where not lo <= hi <= s.len and hi <= max <= s.cap
 *   (aborts where EBB_CHECKS is 1).
 * Keeps alive: the array, in a slice field as far as it reaches. A view without capacity has a null
 *   ptr and keeps nothing.
 * Threads: any.   Collects: never. */
#define ebb_slice(s, lo, hi)                                                        \
    (__extension__({                                                                \
        __auto_type ebb__s = (s);                                                   \
        EBB__VIEW("ebb_slice", ebb__s, EBB__COUNT(lo), EBB__COUNT(hi), ebb__s.cap); \
        ebb__s;                                                                     \
    }))
#define ebb_slice3(s, lo, hi, max)                                                        \
    (__extension__({                                                                      \
        __auto_type ebb__s = (s);                                                         \
        EBB__VIEW("ebb_slice3", ebb__s, EBB__COUNT(lo), EBB__COUNT(hi), EBB__COUNT(max)); \
        ebb__s;                                                                           \
    }))

/* s with its length raised to n, within its capacity: shows what the array holds there, which is
 * zero where the owner dropped it, and may be zero where only slice_to_len fields referred to it.
 * Returns / errors: a view; s as it is where not s.len <= n <= s.cap (aborts where EBB_CHECKS is
 *   1).   Threads: any.   Collects: never. */
#define ebb_slice_extend(s, n)                                                                  \
    (__extension__({                                                                            \
        __auto_type ebb__s = (s);                                                               \
        size_t ebb__n = EBB__COUNT(n);                                                          \
        if (EBB__RARE(ebb__n < ebb__s.len || ebb__n > ebb__s.cap))                              \
            ebb__slice_bad_view("ebb_slice_extend", EBB_CHECKS, ebb__s.len, ebb__n, ebb__s.cap, \
                                ebb__s.len, ebb__s.cap);                                        \
        else                                                                                    \
            ebb__s.len = ebb__n;                                                                \
        ebb__s;                                                                                 \
    }))

/* How many elements the whole array that s is a view of has room for, before s.ptr and beyond
 * s.cap too; 0 for memory that is not in the heap.   Threads: any.   Collects: never. */
#define ebb_slice_capacity_true(s)                                     \
    (__extension__({                                                   \
        __auto_type ebb__s = (s);                                      \
        ebb__s.ptr ? ebb_size_of(ebb__s.ptr) / sizeof *ebb__s.ptr : 0; \
    }))

/* --- Owner verbs that add ------------------------------------------------------------------- */

/* One value, the values that are listed, n values at p, or the elements of another slice t, at the
 * end of *s or before its element i; ebb_append_zeros: n zeroed elements. What is added may come
 * from *s itself.
 *
 * Where the capacity does not suffice, *s moves to a new array, twice as large while it is small,
 * a quarter larger when it is large; views stay with the old one. Where it suffices, what lay
 * beyond the length is written over, in views too.
 *
 * Returns / errors: 0; EBB_ENOMEM, EBB_EINVAL for i > s->len, with *s as it was.
 * Keeps alive: the array, and what the values refer to.
 * Owns: the array is the collector's.   Threads: any.   Collects: may collect. */
#define ebb_append(s, ...)                                                       \
    (__extension__({                                                             \
        __auto_type ebb__s = (s);                                                \
        EBB__VALUE(ebb__v, ebb__s->ptr, __VA_ARGS__);                            \
        int ebb__e = ebb__s->len < ebb__s->cap ? 0 : EBB__SLICE_GROW(ebb__s, 1); \
        if (EBB__LIKELY(ebb__e == 0)) {                                          \
            size_t ebb__n = ebb__s->len++;                                       \
            EBB__SLICE_ORDER;                                                    \
            ebb__s->ptr[ebb__n] = ebb__v;                                        \
        }                                                                        \
        ebb__status(ebb__e);                                                     \
    }))
#define ebb_append_list(s, ...)                                       \
    (__extension__({                                                  \
        __auto_type ebb__s = (s);                                     \
        EBB__STRICT_BEGIN                                             \
        const __typeof__(*ebb__s->ptr) ebb__list[] = {__VA_ARGS__};   \
        EBB__STRICT_END                                               \
        EBB__OWNER(ebb__s, ebb__slice_insert, ebb__s->len, ebb__list, \
                   sizeof ebb__list / sizeof *ebb__list);             \
    }))
#define ebb_append_many(s, p, n)                                            \
    (__extension__({                                                        \
        __auto_type ebb__s = (s);                                           \
        EBB__SOURCE(ebb__p, ebb__s->ptr, p);                                \
        size_t ebb__n = EBB__COUNT(n);                                      \
        EBB__OWNER(ebb__s, ebb__slice_insert, ebb__s->len, ebb__p, ebb__n); \
    }))
#define ebb_append_slice(s, t)                                                  \
    (__extension__({                                                            \
        __auto_type ebb__s = (s);                                               \
        __auto_type ebb__t = (t);                                               \
        EBB__SOURCE(ebb__p, ebb__s->ptr, ebb__t.ptr);                           \
        EBB__OWNER(ebb__s, ebb__slice_insert, ebb__s->len, ebb__p, ebb__t.len); \
    }))
#define ebb_append_zeros(s, n)                               \
    (__extension__({                                         \
        __auto_type ebb__s = (s);                            \
        size_t ebb__n = EBB__COUNT(n);                       \
        EBB__OWNER(ebb__s, ebb__slice_append_zeros, ebb__n); \
    }))
#define ebb_insert(s, i, ...)                                      \
    (__extension__({                                               \
        __auto_type ebb__s = (s);                                  \
        size_t ebb__i = EBB__COUNT(i);                             \
        EBB__VALUE(ebb__v, ebb__s->ptr, __VA_ARGS__);              \
        EBB__OWNER(ebb__s, ebb__slice_insert, ebb__i, &ebb__v, 1); \
    }))
#define ebb_insert_many(s, i, p, n)                                    \
    (__extension__({                                                   \
        __auto_type ebb__s = (s);                                      \
        size_t ebb__i = EBB__COUNT(i);                                 \
        EBB__SOURCE(ebb__p, ebb__s->ptr, p);                           \
        size_t ebb__n = EBB__COUNT(n);                                 \
        EBB__OWNER(ebb__s, ebb__slice_insert, ebb__i, ebb__p, ebb__n); \
    }))
#define ebb_insert_slice(s, i, t)                                          \
    (__extension__({                                                       \
        __auto_type ebb__s = (s);                                          \
        size_t ebb__i = EBB__COUNT(i);                                     \
        __auto_type ebb__t = (t);                                          \
        EBB__SOURCE(ebb__p, ebb__s->ptr, ebb__t.ptr);                      \
        EBB__OWNER(ebb__s, ebb__slice_insert, ebb__i, ebb__p, ebb__t.len); \
    }))

/* --- Owner verbs that drop ------------------------------------------------------------------ */

/* All of these close the gap, clear the places that become free, and stay in the same array with
 * the same capacity. Where a megabyte or more becomes free at once, and more than the elements
 * left may soon fill again (a quarter of them), its whole pages go back to the system; but not
 * again while the same array is refilled and emptied in quick succession.
 *
 * Returns / errors: 0, or EBB_EINVAL where the range is not within *s, which is then as it was
 *   (aborts where EBB_CHECKS is 1).
 * Keeps alive: the array, but nothing on account of what was dropped.
 * Threads: any.   Collects: never. */

/* The first n elements stay. */
#define ebb_truncate(s, n)                                                                       \
    (__extension__({                                                                             \
        __auto_type ebb__s = (s);                                                                \
        size_t ebb__n = EBB__COUNT(n), ebb__len = ebb__s->len;                                   \
        if (EBB__LIKELY(ebb__n <= ebb__len)) EBB__SLICE_CUT(ebb__s, ebb__n);                     \
        ebb__n <= ebb__len ? ebb__status(0)                                                      \
                           : ebb__slice_bad_index("ebb_truncate", EBB_CHECKS, ebb__n, ebb__len); \
    }))

/* None stays; the array does. To let go of that as well: ebb_shrink, or assign {0}. */
#define ebb_clear(s) ebb_truncate(s, 0)

/* Without element i, or the elements lo to hi; those after them move down. */
#define ebb_delete(s, i)                                           \
    (__extension__({                                               \
        __auto_type ebb__s = (s);                                  \
        size_t ebb__i = EBB__COUNT(i);                             \
        EBB__OWNER(ebb__s, ebb__slice_delete, ebb__i, ebb__i + 1); \
    }))
#define ebb_delete_range(s, lo, hi)                                \
    (__extension__({                                               \
        __auto_type ebb__s = (s);                                  \
        size_t ebb__lo = EBB__COUNT(lo), ebb__hi = EBB__COUNT(hi); \
        EBB__OWNER(ebb__s, ebb__slice_delete, ebb__lo, ebb__hi);   \
    }))

/* Without element i, whose place the last one takes: a single move, but the order is lost. */
#define ebb_delete_unordered(s, i)                                                        \
    (__extension__({                                                                      \
        __auto_type ebb__s = (s);                                                         \
        size_t ebb__i = EBB__COUNT(i), ebb__len = ebb__s->len;                            \
        if (EBB__LIKELY(ebb__i < ebb__len)) {                                             \
            ebb__s->ptr[ebb__i] = ebb__s->ptr[ebb__len - 1];                              \
            EBB__SLICE_CUT(ebb__s, ebb__len - 1);                                         \
        }                                                                                 \
        ebb__i < ebb__len                                                                 \
            ? ebb__status(0)                                                              \
            : ebb__slice_bad_index("ebb_delete_unordered", EBB_CHECKS, ebb__i, ebb__len); \
    }))

/* The last element, which *s then is without. A zero value where *s is empty (aborts where
 * EBB_CHECKS is 1). */
#define ebb_pop(s)                                             \
    (__extension__({                                           \
        __auto_type ebb__s = (s);                              \
        __typeof__(*ebb__s->ptr) ebb__v;                       \
        __builtin_memset(&ebb__v, 0, sizeof ebb__v);           \
        if (EBB__LIKELY(ebb__s->len > 0)) {                    \
            ebb__v = ebb__s->ptr[ebb__s->len - 1];             \
            EBB__SLICE_CUT(ebb__s, ebb__s->len - 1);           \
        } else                                                 \
            ebb__slice_bad_index("ebb_pop", EBB_CHECKS, 0, 0); \
        ebb__v;                                                \
    }))

/* Without the elements for which the condition, an expression on the pointer `it`, is true:
 *     ebb_delete_if(&online, it, (*it)->age > limit || is_idle(*it));
 * Returns: how many were dropped. The condition may not change *s. */
#define ebb_delete_if(s, it, condition)                                                \
    (__extension__({                                                                   \
        __auto_type ebb__s = (s);                                                      \
        size_t ebb__kept = 0;                                                          \
        for (size_t ebb__i = 0; ebb__i < ebb__s->len; ebb__i++) {                      \
            __typeof__(ebb__s->ptr) it __attribute__((unused)) = ebb__s->ptr + ebb__i; \
            if (condition) continue;                                                   \
            if (ebb__kept != ebb__i) ebb__s->ptr[ebb__kept] = ebb__s->ptr[ebb__i];     \
            ebb__kept++;                                                               \
        }                                                                              \
        EBB__SLICE_CUT(ebb__s, ebb__kept);                                             \
    }))

/* Of neighbours that are equal only the first stays. By the natural equality of T (see below), or
 * where compare returns 0.   Returns: how many were dropped. */
#define ebb_compact(s) \
    EBB__COMPACT(s, EBB__NOTHING(0), EBB__SAME(ebb__s->ptr, ebb__last, ebb__next))
#define ebb_compact_by(s, compare) \
    EBB__COMPACT(s, EBB__COMPARE(ebb__c, ebb__s->ptr, compare), ebb__c(ebb__last, ebb__next) == 0)

/* --- Owner verbs for the capacity ----------------------------------------------------------- */

/* Room for n more elements (ebb_grow: by the steps of append), or for n in all (ebb_reserve: no
 * more than rounding). Both may move *s to a new array.
 * Returns / errors, Keeps alive, Threads, Collects: as ebb_append. */
#define ebb_grow(s, n)                                                                          \
    (__extension__({                                                                            \
        __auto_type ebb__s = (s);                                                               \
        size_t ebb__n = EBB__COUNT(n);                                                          \
        ebb__status(ebb__s->cap - ebb__s->len >= ebb__n ? 0 : EBB__SLICE_GROW(ebb__s, ebb__n)); \
    }))
#define ebb_reserve(s, n)                               \
    (__extension__({                                    \
        __auto_type ebb__s = (s);                       \
        size_t ebb__n = EBB__COUNT(n);                  \
        EBB__OWNER(ebb__s, ebb__slice_reserve, ebb__n); \
    }))

/* Gives back an array that has become too large. ebb_shrink: lets go of it when there is no
 * element, and moves to an array with a quarter of slack when the elements fill no more than a
 * quarter of the true capacity (and that is above 256 bytes); otherwise does nothing, so that it
 * can stand after any deletion. ebb_clip: moves to an array that fits whenever that gives memory
 * back.
 *
 * The old array is neither changed nor freed: it goes when nobody else refers to it, and views stay
 * with it. Only arrays in the heap are left.
 * Returns / errors: 0; EBB_ENOMEM, with *s as it was.
 * Keeps alive: the new array only.   Threads: any.   Collects: may collect. */
#define ebb_shrink(s)                          \
    (__extension__({                           \
        __auto_type ebb__s = (s);              \
        EBB__OWNER(ebb__s, ebb__slice_shrink); \
    }))
#define ebb_clip(s)                          \
    (__extension__({                         \
        __auto_type ebb__s = (s);            \
        EBB__OWNER(ebb__s, ebb__slice_clip); \
    }))

/* --- Whole slices --------------------------------------------------------------------------- */

/* As many elements as fit, from t to the places of s, which may overlap; s keeps its length.
 * Returns: how many.   Threads: any.   Collects: never. */
#define ebb_copy(s, t)                                                                         \
    (__extension__({                                                                           \
        __auto_type ebb__s = (s);                                                              \
        __auto_type ebb__t = (t);                                                              \
        EBB__SOURCE(ebb__p, ebb__s.ptr, ebb__t.ptr);                                           \
        ebb__slice_copy(ebb__s.ptr, ebb__p, ebb__s.len < ebb__t.len ? ebb__s.len : ebb__t.len, \
                        sizeof *ebb__s.ptr);                                                   \
    }))

/* The same elements in an array of their own, that fits.
 * Returns / errors: a slice that shares nothing; the empty one without memory.
 * Owns: the collector.   Threads: any.   Collects: may collect. */
#define ebb_clone(s)                                                                      \
    (__extension__({                                                                      \
        __auto_type ebb__s = (s);                                                         \
        ebb__array ebb__a =                                                               \
            ebb__slice_move(EBB__SLICE_SITE(ebb__s), ebb__s.ptr, ebb__s.len, ebb__s.len); \
        ebb__s.ptr = ebb__a.ptr;                                                          \
        ebb__s.cap = ebb__a.cap;                                                          \
        if (!ebb__a.ptr) ebb__s.len = 0;                                                  \
        ebb__s;                                                                           \
    }))

/* Turns the order of the elements round. */
#define ebb_reverse(s)                                                \
    (__extension__({                                                  \
        __auto_type ebb__s = (s);                                     \
        for (size_t ebb__i = 0; ebb__i < ebb__s.len / 2; ebb__i++) {  \
            __typeof__(*ebb__s.ptr) ebb__v = ebb__s.ptr[ebb__i];      \
            ebb__s.ptr[ebb__i] = ebb__s.ptr[ebb__s.len - 1 - ebb__i]; \
            ebb__s.ptr[ebb__s.len - 1 - ebb__i] = ebb__v;             \
        }                                                             \
    }))

/* --- Order, search, equality ---------------------------------------------------------------- */

/* Three kinds, of which none copies the array, and only the sorts change it. Threads: any.
 *
 *   ebb_sort(s), ebb_index(s, v) …: by the natural order or equality of T. Numbers, ebb_str (by its
 *     bytes) and, for equality only, pointers have one; for others these do not compile. Not-a-
 *     number stands before all other numbers, and equals none.
 *   …_by(s, compare): by a function int compare(const T *a, const T *b), whose result is negative,
 *     0 or positive as a stands before, at or after b.
 *   …_if(s, it, condition): by an expression on `it`, a pointer to an element, as ebb_delete_if. */

/* Sorts in n log n steps at worst, in place. Equal elements may change places; not in the stable
 * form, which needs memory for half the elements.
 * Returns / errors: ebb_sort_stable_by: 0; EBB_ENOMEM, with s as it was. The others: nothing.
 * Collects: the stable form may collect; ebb_sort_by too, for elements above 24 bytes. */
#define ebb_sort(s)                                                            \
    (__extension__({                                                           \
        __auto_type ebb__s = (s);                                              \
        _Static_assert(EBB__ORDER(*ebb__s.ptr) != EBB__ORDER_NONE,             \
                       "the elements have no natural order: use ebb_sort_by"); \
        ebb__slice_sort(EBB__ORDER(*ebb__s.ptr), ebb__s.ptr, ebb__s.len);      \
    }))
#define ebb_sort_by(s, compare)                                        \
    (__extension__({                                                   \
        __auto_type ebb__s = (s);                                      \
        EBB__COMPARE(ebb__c, ebb__s.ptr, compare);                     \
        ebb__slice_sort_by(ebb__s.ptr, ebb__s.len, sizeof *ebb__s.ptr, \
                           EBB__COMPARE_PLAIN(ebb__c));                \
    }))
#define ebb_sort_stable_by(s, compare)                                                  \
    (__extension__({                                                                    \
        __auto_type ebb__s = (s);                                                       \
        EBB__COMPARE(ebb__c, ebb__s.ptr, compare);                                      \
        ebb__slice_sort_stable_by(ebb__s.ptr, ebb__s.len, sizeof *ebb__s.ptr,           \
                                  EBB__KIND(__typeof__(*ebb__s.ptr)) != EBB__KIND_DATA, \
                                  EBB__COMPARE_PLAIN(ebb__c));                          \
    }))

/* Where in a sorted s the value v stands: the index of the first element that is not before v
 * (s.len where all are), and whether that element equals v. */
typedef struct ebb_position {
    size_t index;
    bool found;
} ebb_position;

#define ebb_binary_search(s, ...)                                                           \
    EBB__BINARY_SEARCH(s, EBB__ORDERED(ebb__s.ptr), EBB__LESS(ebb__s.ptr, ebb__m, &ebb__v), \
                       EBB__SAME(ebb__s.ptr, ebb__m, &ebb__v), __VA_ARGS__)
#define ebb_binary_search_by(s, compare, ...)                                                     \
    EBB__BINARY_SEARCH(s, EBB__COMPARE(ebb__c, ebb__s.ptr, compare), ebb__c(ebb__m, &ebb__v) < 0, \
                       ebb__c(ebb__m, &ebb__v) == 0, __VA_ARGS__)

/* The index of the first element for which the condition is true, s.len where there is none; by
 * bisection: once true, the condition has to be true for all elements that follow. */
#define ebb_search_if(s, it, condition)                                                \
    (__extension__({                                                                   \
        __auto_type ebb__s = (s);                                                      \
        size_t ebb__lo = 0, ebb__hi = ebb__s.len;                                      \
        while (ebb__lo < ebb__hi) {                                                    \
            size_t ebb__mid = ebb__lo + (ebb__hi - ebb__lo) / 2;                       \
            __typeof__(ebb__s.ptr) it __attribute__((unused)) = ebb__s.ptr + ebb__mid; \
            if (condition)                                                             \
                ebb__hi = ebb__mid;                                                    \
            else                                                                       \
                ebb__lo = ebb__mid + 1;                                                \
        }                                                                              \
        ebb__lo;                                                                       \
    }))

/* The index of the first element that equals v, or fulfils the condition; EBB_NONE where there is
 * none. ebb_contains: whether there is one. */
#define EBB_NONE SIZE_MAX

#define ebb_index(s, ...)                                              \
    (__extension__({                                                   \
        __auto_type ebb__s = (s);                                      \
        EBB__VALUE(ebb__v, ebb__s.ptr, __VA_ARGS__);                   \
        size_t ebb__found = EBB_NONE;                                  \
        for (size_t ebb__i = 0; ebb__i < ebb__s.len; ebb__i++) {       \
            if (EBB__SAME(ebb__s.ptr, ebb__s.ptr + ebb__i, &ebb__v)) { \
                ebb__found = ebb__i;                                   \
                break;                                                 \
            }                                                          \
        }                                                              \
        ebb__found;                                                    \
    }))
#define ebb_index_if(s, it, condition)                                               \
    (__extension__({                                                                 \
        __auto_type ebb__s = (s);                                                    \
        size_t ebb__found = EBB_NONE;                                                \
        for (size_t ebb__i = 0; ebb__i < ebb__s.len; ebb__i++) {                     \
            __typeof__(ebb__s.ptr) it __attribute__((unused)) = ebb__s.ptr + ebb__i; \
            if (condition) {                                                         \
                ebb__found = ebb__i;                                                 \
                break;                                                               \
            }                                                                        \
        }                                                                            \
        ebb__found;                                                                  \
    }))
#define ebb_contains(s, ...)              (ebb_index(s, __VA_ARGS__) != EBB_NONE)
#define ebb_contains_if(s, it, condition) (ebb_index_if(s, it, condition) != EBB_NONE)

/* Whether s and t have the same length and equal elements. */
#define ebb_equal(s, t) \
    EBB__EQUAL(s, t, EBB__NOTHING(0), EBB__SAME(ebb__s.ptr, ebb__s.ptr + ebb__i, ebb__p + ebb__i))
#define ebb_equal_by(s, t, compare)                             \
    EBB__EQUAL(s, t, EBB__COMPARE(ebb__c, ebb__s.ptr, compare), \
               ebb__c(ebb__s.ptr + ebb__i, ebb__p + ebb__i) == 0)

/* A pointer to the least or greatest element, the first of equals; a null pointer where s is
 * empty.   Keeps alive: the array. */
#define ebb_min(s) EBB__BEST(s, EBB__ORDERED(ebb__s.ptr), EBB__LESS(ebb__s.ptr, ebb__it, ebb__best))
#define ebb_max(s) EBB__BEST(s, EBB__ORDERED(ebb__s.ptr), EBB__LESS(ebb__s.ptr, ebb__best, ebb__it))
#define ebb_min_by(s, compare) \
    EBB__BEST(s, EBB__COMPARE(ebb__c, ebb__s.ptr, compare), ebb__c(ebb__it, ebb__best) < 0)
#define ebb_max_by(s, compare) \
    EBB__BEST(s, EBB__COMPARE(ebb__c, ebb__s.ptr, compare), ebb__c(ebb__it, ebb__best) > 0)

/* clang-format on */
#endif /* !__cplusplus */

#ifdef __cplusplus
}
#endif

#include "slice_impl.h"

#endif
