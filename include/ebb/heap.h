/* ebb/heap.h - allocate, describe types, ask about objects.
 *
 * First the calls that every program uses, then descriptions of types, then the rest.
 *
 *     typedef struct node { struct node *left, *right; int key; } node;
 *     EBB_TYPE(node, ptr(left), ptr(right));   // once, at file scope, anywhere in the file
 *
 *     node *n = ebb_new(node);                 // zeroed; never freed by hand
 *     node **all = ebb_new_array(node *, 1000);
 *
 * All memory is zero when it is handed out, and errno is as it was, also when a collection came
 * between. An object lives while a pointer to its start, to
 * anywhere inside it, or one past its end is found: on a stack, in a register, in thread-local or
 * static storage, in a registered root, or in a living object. Memory from malloc is not searched.
 *
 * Alignment: ebb_new and ebb_new_array align for their type; ebb_alloc and ebb_alloc_data to 16
 * when the size is a multiple of 16, to 8 otherwise. */
#ifndef EBB_HEAP_H
#define EBB_HEAP_H

#include "config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Allocation ----------------------------------------------------------------------------- */

/* One object of type T, or an array of n of them. T is any type name: node, struct node, node *.
 * A type described by EBB_TYPE in this translation unit is scanned as described; pointers, and
 * structures that are not described, are scanned word by word; numbers, and types too small or too
 * loosely aligned to hold a pointer, are never scanned.
 *
 * Returns / errors: a null pointer where memory or the limit is exhausted, or n * sizeof(T)
 *   overflows. n == 0 gives a unique object of size 0.
 * Owns: the collector; ebb_free is optional.
 * Threads: any.   Collects: may collect; may call the limit handler. */
#define ebb_new(T)          ((__typeof__(T) *)ebb__new(EBB__SITE(T, EBB__USE_OBJECT)))
#define ebb_new_array(T, n) ((__typeof__(T) *)ebb__new_array(EBB__SITE(T, EBB__USE_OBJECT), (n)))

/* size bytes in which every aligned word may be a pointer. Otherwise as ebb_new. */
EBB_API EBB__MALLOC void *ebb_alloc(size_t size);

/* size bytes that hold no pointer to heap objects: never scanned, and fit for any kind of I/O.
 * Otherwise as ebb_new. */
EBB_API EBB__MALLOC void *ebb_alloc_data(size_t size);

/* The same with an alignment: a power of two of at most 1 GiB (a null pointer for any other). */
EBB_API EBB__MALLOC void *ebb_alloc_aligned(size_t size, size_t align);
EBB_API EBB__MALLOC void *ebb_alloc_data_aligned(size_t size, size_t align);

/* The object at p with room for size bytes: p itself where it fits or can be extended in place,
 * else a new object of the same layout that holds the old one's bytes. What lies beyond the old
 * size is zero. The old object is not released: others may refer to it, and the collector will see.
 * ebb_resize(NULL, n) is ebb_alloc(n). p must be the start of an object; its alignment beyond 16
 * is not kept.
 *
 * Returns / errors: a null pointer without memory, or for a p that is no object's start; the
 *   object at p is then as it was.
 * Threads: any, but p's object is not to be used meanwhile.   Collects: may collect. */
EBB_API void *ebb_resize(void *p, size_t size);

/* Releases the object that starts at p at once, for reuse by the next allocations. Optional: use
 * it where the program knows that nobody else refers to the object; what is released does not
 * count towards the next cycle. A null p does nothing. Weak references to it are the caller's
 * concern; its finalizer, if it has one, will not run.
 *
 * Returns / errors: 0; EBB_ENOTHEAP, EBB_ENOTBASE, EBB_EDOUBLE (see config.h on misuse).
 * Threads: any.   Collects: never. */
EBB_API int ebb_free(void *p);

/* The bytes that the object containing p can hold (at least what was asked for), or 0 when p
 * points to no object. p may point anywhere inside. This is the true size of a slice's array.
 * Threads: any.   Collects: never. */
EBB_API size_t ebb_size_of(const void *p);

/* The start of the object that p points into, or a null pointer. As ebb_size_of. */
EBB_API void *ebb_base_of(const void *p);

/* Keeps what p refers to alive up to this call, whatever the optimiser makes of the code before. */
EBB__INLINE void ebb_keep_alive(const void *p) {
    __asm__ volatile("" : : "g"(p) : "memory");
}

/* --- Descriptions of types ------------------------------------------------------------------ */

/* EBB_TYPE(T, fields…): which fields of T the collector follows. At file scope, in each
 * translation unit that allocates a T (a header is the natural place). Fields that are not named
 * are not followed; EBB_TYPE(T) says that T holds none. Field forms:
 *
 *   ptr(f)            a pointer
 *   ptrs(f)           an array of pointers inside the structure: node *f[8]
 *   str(f)            an ebb_str
 *   slice(f)          a slice declared by EBB_SLICE: refers to its backing array by capacity
 *   slice_to_len(f)   the same by length: what lies beyond may be zeroed at any time, so raise
 *                     the length before you store there (the verbs do)
 *   map(f)            a map declared by EBB_MAP
 *   weak(f)           a pointer that does not keep its object alive, and is null after it died
 *   words(f)          anything else: every aligned word in it may be a pointer
 *
 * An array that only slice fields refer to is kept as far as any of them reaches; full collections
 * zero the rest. All other references keep it whole: docs/design.md, "Extents". */
#define EBB_TYPE(T, ...) EBB__TYPE(__COUNTER__, T, ##__VA_ARGS__)

enum ebb__field_kind {
    EBB__FIELD_END,
    EBB__FIELD_PTR,
    EBB__FIELD_PTRS,
    EBB__FIELD_STR,
    EBB__FIELD_SLICE,
    EBB__FIELD_SLICE_TO_LEN,
    EBB__FIELD_MAP,
    EBB__FIELD_WEAK,
    EBB__FIELD_WORDS
};

/* What an allocation is for: allocations of different use never share a span, so that statistics
 * can tell them apart. */
enum ebb__use { EBB__USE_OBJECT, EBB__USE_SLICE, EBB__USE_MAP, EBB__USE_COUNT };

/* What the compiler knows of a type. */
enum ebb__kind { EBB__KIND_DATA, EBB__KIND_WORDS, EBB__KIND_RECORD };

typedef struct ebb__field {
    uint32_t offset;  /* bytes from the start of the type */
    uint32_t kind;    /* enum ebb__field_kind */
    uint64_t extra;   /* PTRS, WORDS: size in bytes; SLICE: bytes of an element */
    const char *name; /* as described, for people; may be null */
} ebb__field;

struct ebb__type;
struct ebb__layout;

/* A translation unit, known by the address of its own copy; first and last of the descriptions
 * in the object file that it is part of. */
typedef struct ebb__unit {
    const struct ebb__type *const *first, *const *last;
} ebb__unit;

typedef struct ebb__type {
    const ebb__unit *unit;
    const char *name;
    size_t size;
    const ebb__field *fields; /* ends with EBB__FIELD_END */
} ebb__type;

/* A place in the program that allocates: what the compiler knows, and what the first call found. */
typedef struct ebb__site {
    const ebb__unit *unit;
    const char *name;
    size_t size;
    uint32_t align;
    uint16_t kind;              /* enum ebb__kind */
    uint16_t use;               /* enum ebb__use */
    struct ebb__layout *layout; /* atomic; null until resolved */
    void *bin;                  /* atomic; for one object of the layout */
} ebb__site;

#ifndef __cplusplus

extern const ebb__type *const __start_ebb_types[] __attribute__((visibility("hidden")));
extern const ebb__type *const __stop_ebb_types[] __attribute__((visibility("hidden")));

static const ebb__unit ebb__this_unit
    __attribute__((unused)) = {__start_ebb_types, __stop_ebb_types};
/* One empty entry a unit, so that the section exists. */
static const ebb__type *const ebb__no_type __attribute__((section("ebb_types"), used)) = 0;

/* gcc's and clang's type classes: 5 is a pointer, 12 and 13 are structures and unions. */
# define EBB__CLASS(T) __builtin_classify_type(*(__typeof__(T) *)0)
# define EBB__KIND(T)                                                                  \
  (EBB__CLASS(T) == 5                                               ? EBB__KIND_WORDS  \
   : (sizeof(T) < sizeof(void *) || _Alignof(T) < _Alignof(void *)) ? EBB__KIND_DATA   \
   : (EBB__CLASS(T) == 12 || EBB__CLASS(T) == 13)                   ? EBB__KIND_RECORD \
                                                                    : EBB__KIND_DATA)

# define EBB__SITE_INIT(T, use) \
  { &ebb__this_unit, #T, sizeof(T), _Alignof(T), EBB__KIND(T), use, 0, 0 }
# define EBB__SITE(T, use)                          \
  (__extension__({                                  \
static ebb__site ebb__site_here = EBB__SITE_INIT(T, use); \
&ebb__site_here;                                          \
  }))

# define EBB__CAT(a, b)  EBB__CAT2(a, b)
# define EBB__CAT2(a, b) a##b

# define EBB__TYPE(N, T, ...)                                                       \
  static const ebb__field EBB__CAT(ebb__fields_, N)[] = {                           \
      EBB__EACH(EBB__FIELD, T, ##__VA_ARGS__){0, EBB__FIELD_END, 0, 0}};            \
  static const ebb__type EBB__CAT(ebb__type_, N) = {&ebb__this_unit, #T, sizeof(T), \
                                                    EBB__CAT(ebb__fields_, N)};     \
  static const ebb__type *const EBB__CAT(ebb__entry_, N)                            \
      __attribute__((section("ebb_types"), used)) = &EBB__CAT(ebb__type_, N)

# define EBB__FIELD(T, form)       EBB__FIELD2(T, EBB__FORM_##form)
# define EBB__FIELD2(T, ...)       EBB__FIELD3(T, __VA_ARGS__)
# define EBB__FIELD3(T, f, K, aux) {offsetof(T, f), K, aux(T, f), # f},
# define EBB__FORM_ptr(f)          f, EBB__FIELD_PTR, EBB__AUX_PTR
# define EBB__FORM_ptrs(f)         f, EBB__FIELD_PTRS, EBB__AUX_SIZE
# define EBB__FORM_str(f)          f, EBB__FIELD_STR, EBB__AUX_STR
# define EBB__FORM_slice(f)        f, EBB__FIELD_SLICE, EBB__AUX_SLICE
# define EBB__FORM_slice_to_len(f) f, EBB__FIELD_SLICE_TO_LEN, EBB__AUX_SLICE
# define EBB__FORM_map(f)          f, EBB__FIELD_MAP, EBB__AUX_MAP
# define EBB__FORM_weak(f)         f, EBB__FIELD_WEAK, EBB__AUX_PTR
# define EBB__FORM_words(f)        f, EBB__FIELD_WORDS, EBB__AUX_SIZE
/* Each also refuses, at compile time, a field that is not of its form. */
# define EBB__OF(T, f)        (((__typeof__(T) *)0)->f)
# define EBB__WHEN(cond)      (0 * sizeof(char[(cond) ? 1 : -1]))
# define EBB__AUX_PTR(T, f)   EBB__WHEN(__builtin_classify_type(EBB__OF(T, f)) == 5)
# define EBB__AUX_SIZE(T, f)  sizeof(EBB__OF(T, f))
# define EBB__AUX_STR(T, f)   (0 * sizeof(EBB__OF(T, f).ptr) * sizeof(EBB__OF(T, f).len))
# define EBB__AUX_SLICE(T, f) (sizeof(*EBB__OF(T, f).ptr) + 0 * sizeof(EBB__OF(T, f).cap))
# define EBB__AUX_MAP(T, f)   (0 * sizeof(EBB__OF(T, f).map))

/* EBB__EACH(M, T, a, b, …) is M(T, a) M(T, b) …, for up to 32 of them. */
# define EBB__EACH(M, T, ...)                                                                   \
  EBB__EACH_N(_, ##__VA_ARGS__, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, \
              16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)                         \
  (M, T, ##__VA_ARGS__)
# define EBB__EACH_N(_, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16,  \
                     a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31, \
                     a32, N, ...)                                                               \
  EBB__CAT(EBB__EACH, N)
# define EBB__EACH0(M, T)
# define EBB__EACH1(M, T, a)       M(T, a)
# define EBB__EACH2(M, T, a, ...)  M(T, a) EBB__EACH1(M, T, __VA_ARGS__)
# define EBB__EACH3(M, T, a, ...)  M(T, a) EBB__EACH2(M, T, __VA_ARGS__)
# define EBB__EACH4(M, T, a, ...)  M(T, a) EBB__EACH3(M, T, __VA_ARGS__)
# define EBB__EACH5(M, T, a, ...)  M(T, a) EBB__EACH4(M, T, __VA_ARGS__)
# define EBB__EACH6(M, T, a, ...)  M(T, a) EBB__EACH5(M, T, __VA_ARGS__)
# define EBB__EACH7(M, T, a, ...)  M(T, a) EBB__EACH6(M, T, __VA_ARGS__)
# define EBB__EACH8(M, T, a, ...)  M(T, a) EBB__EACH7(M, T, __VA_ARGS__)
# define EBB__EACH9(M, T, a, ...)  M(T, a) EBB__EACH8(M, T, __VA_ARGS__)
# define EBB__EACH10(M, T, a, ...) M(T, a) EBB__EACH9(M, T, __VA_ARGS__)
# define EBB__EACH11(M, T, a, ...) M(T, a) EBB__EACH10(M, T, __VA_ARGS__)
# define EBB__EACH12(M, T, a, ...) M(T, a) EBB__EACH11(M, T, __VA_ARGS__)
# define EBB__EACH13(M, T, a, ...) M(T, a) EBB__EACH12(M, T, __VA_ARGS__)
# define EBB__EACH14(M, T, a, ...) M(T, a) EBB__EACH13(M, T, __VA_ARGS__)
# define EBB__EACH15(M, T, a, ...) M(T, a) EBB__EACH14(M, T, __VA_ARGS__)
# define EBB__EACH16(M, T, a, ...) M(T, a) EBB__EACH15(M, T, __VA_ARGS__)
# define EBB__EACH17(M, T, a, ...) M(T, a) EBB__EACH16(M, T, __VA_ARGS__)
# define EBB__EACH18(M, T, a, ...) M(T, a) EBB__EACH17(M, T, __VA_ARGS__)
# define EBB__EACH19(M, T, a, ...) M(T, a) EBB__EACH18(M, T, __VA_ARGS__)
# define EBB__EACH20(M, T, a, ...) M(T, a) EBB__EACH19(M, T, __VA_ARGS__)
# define EBB__EACH21(M, T, a, ...) M(T, a) EBB__EACH20(M, T, __VA_ARGS__)
# define EBB__EACH22(M, T, a, ...) M(T, a) EBB__EACH21(M, T, __VA_ARGS__)
# define EBB__EACH23(M, T, a, ...) M(T, a) EBB__EACH22(M, T, __VA_ARGS__)
# define EBB__EACH24(M, T, a, ...) M(T, a) EBB__EACH23(M, T, __VA_ARGS__)
# define EBB__EACH25(M, T, a, ...) M(T, a) EBB__EACH24(M, T, __VA_ARGS__)
# define EBB__EACH26(M, T, a, ...) M(T, a) EBB__EACH25(M, T, __VA_ARGS__)
# define EBB__EACH27(M, T, a, ...) M(T, a) EBB__EACH26(M, T, __VA_ARGS__)
# define EBB__EACH28(M, T, a, ...) M(T, a) EBB__EACH27(M, T, __VA_ARGS__)
# define EBB__EACH29(M, T, a, ...) M(T, a) EBB__EACH28(M, T, __VA_ARGS__)
# define EBB__EACH30(M, T, a, ...) M(T, a) EBB__EACH29(M, T, __VA_ARGS__)
# define EBB__EACH31(M, T, a, ...) M(T, a) EBB__EACH30(M, T, __VA_ARGS__)
# define EBB__EACH32(M, T, a, ...) M(T, a) EBB__EACH31(M, T, __VA_ARGS__)

#endif /* !__cplusplus */

EBB_API EBB__MALLOC void *ebb__new(ebb__site *site);
EBB_API EBB__MALLOC void *ebb__new_array(ebb__site *site, size_t n);

#ifdef __cplusplus
}
#endif
#endif
