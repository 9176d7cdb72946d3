/* ebb/map_table.h - how a map lies in memory, and how an entry is found: the part that is compiled
 * into the program, with sizes and hash as constants. Not for direct use. docs/design.md, "Maps".
 *
 *   handle -> map -> directory: 2^depth pairs { control bytes, slots }
 *                      index = top bits of the hash; several pairs in a row may be one table
 *
 *   one table, two objects:
 *     control  [ header | a byte a slot ..., in groups of 16 | 4 bytes of hash a slot, if stored ]
 *     slots    [ key value | key value | ... ]      scanned by the collector only if they can
 *                                                   hold pointers; zero where there is no entry
 *
 *   hash     63 ........ 42  the top `depth` of these choose the table
 *            31 ........ 22  the group where the search begins
 *             6 ......... 0  the control byte of a full slot
 *
 * A search looks at whole groups, from that one on, and ends at a group with an empty slot. So a
 * slot that is freed becomes empty if its group has an empty one, else deleted. */
#ifndef EBB_MAP_TABLE_H
#define EBB_MAP_TABLE_H

#include <string.h>

#include "config.h"
#include "heap.h"
#include "slice.h"

#if defined(__SSE2__) && !defined(EBB_MAP_SWAR)
# include <emmintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__) && !defined(EBB_MAP_SWAR)
# include <arm_neon.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ebb__map ebb__map;

#ifndef __cplusplus

/* --- Loads ----------------------------------------------------------------------------------- */

EBB__INLINE uint64_t ebb__load64(const void *p) {
    uint64_t x;
    memcpy(&x, p, 8);
    return x;
}

EBB__INLINE uint64_t ebb__load32(const void *p) {
    uint32_t x;
    memcpy(&x, p, 4);
    return x;
}

/* --- Groups ---------------------------------------------------------------------------------- */

/* The control byte of a slot: below 0x80 where there is an entry. */
enum { EBB__SLOT_EMPTY = 0x80, EBB__SLOT_DELETED = 0xfe };

/* A mask has EBB__MASK_BITS bits a slot, of which at most one is set. */
# if defined(__SSE2__) && !defined(EBB_MAP_SWAR)
enum { EBB__GROUP = 16, EBB__GROUP_SHIFT = 4, EBB__MASK_BITS = 1 };
typedef __m128i ebb__group;
typedef uint32_t ebb__mask;

EBB__INLINE ebb__group ebb__group_load(const uint8_t *ctrl) {
    return _mm_load_si128((const __m128i *)(const void *)ctrl);
}
EBB__INLINE ebb__mask ebb__group_match(ebb__group g, uint8_t byte) {
    /* What _mm_set1_epi8 does, which takes three shuffles before SSSE3. */
    __m128i all = _mm_shuffle_epi32(_mm_cvtsi32_si128((int)(byte * 0x01010101u)), 0);
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(g, all));
}
EBB__INLINE ebb__mask ebb__group_empty(ebb__group g) {
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(g, _mm_set1_epi8((char)EBB__SLOT_EMPTY)));
}
EBB__INLINE ebb__mask ebb__group_free(ebb__group g) {
    return (uint32_t)_mm_movemask_epi8(g);
}
EBB__INLINE ebb__mask ebb__group_full(ebb__group g) {
    return (uint32_t)_mm_movemask_epi8(g) ^ 0xffffu;
}

# elif defined(__ARM_NEON) && defined(__aarch64__) && !defined(EBB_MAP_SWAR)
enum { EBB__GROUP = 16, EBB__GROUP_SHIFT = 4, EBB__MASK_BITS = 4 };
typedef uint8x16_t ebb__group;
typedef uint64_t ebb__mask;

EBB__INLINE ebb__mask ebb__group_narrow(uint8x16_t bytes) {
    uint8x8_t nibbles = vshrn_n_u16(vreinterpretq_u16_u8(bytes), 4);
    return vget_lane_u64(vreinterpret_u64_u8(nibbles), 0) & 0x8888888888888888u;
}
EBB__INLINE ebb__group ebb__group_load(const uint8_t *ctrl) {
    return vld1q_u8(ctrl);
}
EBB__INLINE ebb__mask ebb__group_match(ebb__group g, uint8_t byte) {
    return ebb__group_narrow(vceqq_u8(g, vdupq_n_u8(byte)));
}
EBB__INLINE ebb__mask ebb__group_empty(ebb__group g) {
    return ebb__group_match(g, EBB__SLOT_EMPTY);
}
EBB__INLINE ebb__mask ebb__group_free(ebb__group g) {
    return ebb__group_narrow(vcgeq_u8(g, vdupq_n_u8(0x80)));
}
EBB__INLINE ebb__mask ebb__group_full(ebb__group g) {
    return ebb__group_narrow(vcltq_u8(g, vdupq_n_u8(0x80)));
}

# else
enum { EBB__GROUP = 8, EBB__GROUP_SHIFT = 3, EBB__MASK_BITS = 8 };
typedef uint64_t ebb__group;
typedef uint64_t ebb__mask;
#  define EBB__BYTES(x) (0x0101010101010101u * (uint64_t)(x))

EBB__INLINE ebb__group ebb__group_load(const uint8_t *ctrl) {
    uint64_t g = ebb__load64(ctrl);
#  if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    g = __builtin_bswap64(g);
#  endif
    return g;
}
/* May also show a full slot whose byte differs in the lowest bit only: keys are compared anyway. */
EBB__INLINE ebb__mask ebb__group_match(ebb__group g, uint8_t byte) {
    uint64_t x = g ^ EBB__BYTES(byte);
    return (x - EBB__BYTES(1)) & ~x & EBB__BYTES(0x80);
}
EBB__INLINE ebb__mask ebb__group_empty(ebb__group g) {
    return g & (~g << 6) & EBB__BYTES(0x80);
}
EBB__INLINE ebb__mask ebb__group_free(ebb__group g) {
    return g & EBB__BYTES(0x80);
}
EBB__INLINE ebb__mask ebb__group_full(ebb__group g) {
    return ~g & EBB__BYTES(0x80);
}
# endif

EBB__INLINE size_t ebb__mask_first(ebb__mask mask) {
    return (unsigned)(sizeof mask == 4 ? __builtin_ctz((uint32_t)mask) : __builtin_ctzll(mask)) /
           EBB__MASK_BITS;
}

/* --- Types ----------------------------------------------------------------------------------- */

enum ebb__map_hash {
    EBB__HASH_INT,
    EBB__HASH_FLOAT,
    EBB__HASH_STR,
    EBB__HASH_BYTES,
    EBB__HASH_USER
};

enum { EBB__MAP_INLINE_MAX = 128 }; /* bytes of a key or value in a slot; larger ones are boxed */

/* What the compiler knows of a kind of map. Always a constant. */
typedef struct ebb__map_form {
    uint32_t hash;                 /* enum ebb__map_hash */
    uint32_t key_size, value_size; /* bytes of K and V */
    uint32_t value_offset, stride; /* of the slot */
    bool key_boxed, value_boxed, weak;
    bool stores_hash;
} ebb__map_form;

/* What a declaration leaves in the section ebb_maps, found by unit and number. */
typedef struct ebb__map_decl {
    const ebb__unit *unit;
    const char *name;
    size_t number;
    ebb__site *key, *value; /* how boxes are allocated, what slots hold */
    bool key_is_str, value_is_str;
    uint64_t (*hash)(const void *key); /* null unless EBB__HASH_USER */
    bool (*equal)(const void *a, const void *b);
} ebb__map_decl;

/* What the library knows of a kind of map; shared by all maps of the kind, never freed. */
typedef struct ebb__map_shape {
    ebb__map_form form;
    const char *name;                  /* of the first declaration that looks so */
    uint64_t (*hash)(const void *key); /* null unless EBB__HASH_USER */
    bool (*equal)(const void *a, const void *b);
    struct ebb__layout *slots, *key_box, *value_box; /* boxes: null where there are none */
    uint32_t slots_max;                              /* of a table of full size */
    const struct ebb__map_shape *next;               /* of all; written before it is published */
} ebb__map_shape;

/* One pair of the directory. Both point to multiples of 16. The low four bits of both are zero for
 * a table of the usual size; else they say how many groups it has, see ebb__dir_groups_coded, and
 * those of ctrl are not all zero. */
typedef struct ebb__dir {
    uintptr_t ctrl, slots;
} ebb__dir;

/* The control object; the control bytes begin right behind.
 *
 *   count + deleted + left = the most that slots allow:  slots * 7 / 8, or all if < one group
 *   the table's hashes share their top `depth` bits: it stands in 2^(map depth - depth) pairs */
typedef struct ebb__table {
    uint64_t mark;  /* ebb__map_census knows it by that; 0 when discarded */
    uint32_t count; /* entries */
    uint32_t left;  /* empty slots that may still be filled */
    uint32_t slots;
    uint32_t low;    /* fewer entries than this: shrink */
    uint32_t cycle;  /* weak keys: the collection up to which dead ones have been taken out */
    uint16_t stride; /* bytes of a slot */
    uint8_t depth;
    uint8_t pinned; /* an iterator has been here: its contents may be needed after it is
                     * discarded; atomic, set by readers, read by the writer */
} ebb__table;

struct ebb__map {
    ebb__dir *dir; /* 2^(64 - shift) pairs; self while there are two */
    uint64_t seed[2];
    size_t len;          /* sum of count */
    uint32_t writes;     /* odd while a writer is at work; relaxed: no more
                          * than a trap for those who break the rules */
    uint32_t version;    /* counts changes of the directory's contents */
    uint32_t groups;     /* of a table of the usual size: full size, or while
                          * there are one or two tables, the larger one's */
    uint8_t shift;       /* 64 - depth; depth >= 1 */
    uint8_t keep, dense; /* policy, see src/map/map.h */
    const ebb__map_shape *shape;
    ebb__dir self[2];
    size_t slots, slots_min; /* in all tables; no delete takes them below */
    ebb__dir spare;          /* a table of full size, zeroed, for the next split */
    size_t tables;
    size_t deepest;  /* tables whose depth is the directory's */
    size_t purge_at; /* weak keys: the pair that is to be looked at next */
};

typedef struct ebb__place {
    uint8_t *ctrl;
    char *slots;
    size_t groups;
} ebb__place;

/* A search that does not end at its first group. */
EBB_API char *ebb__map_find_on(const ebb__map *map, const void *key, uint64_t hash);
EBB_API uint64_t ebb__hash_long(const void *bytes, size_t size, const uint64_t seed[2]);

/* --- Hashing --------------------------------------------------------------------------------- */

/* Both halves of a 128-bit product: every bit of the result depends on every bit of a, for a b
 * that nobody outside knows. */
EBB__INLINE uint64_t ebb__fold(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 ebb__u128;
    ebb__u128 product = (ebb__u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* An integer of 1 to 8 bytes. */
EBB__INLINE uint64_t ebb__load_int(const void *p, size_t size) {
    uint8_t b1;
    uint16_t b2;
    switch (size) {
    case 1:
        memcpy(&b1, p, 1);
        return b1;
    case 2:
        memcpy(&b2, p, 2);
        return b2;
    case 4:
        return ebb__load32(p);
    case 8:
        return ebb__load64(p);
    default:
        return 0;
    }
}

EBB__INLINE uint64_t ebb__hash_int(uint64_t x, const uint64_t seed[2]) {
    return ebb__fold(x ^ seed[0], seed[1]);
}

EBB__INLINE uint64_t ebb__turn(uint64_t x) {
    return x << 32 | x >> 32;
}

/* Two words of a key and a secret; both factors are masked, so that nobody can choose bytes that
 * make one of them zero. */
EBB__INLINE uint64_t ebb__hash_pair(uint64_t a, uint64_t b, const uint64_t seed[2]) {
    return ebb__fold(a ^ seed[0], b ^ seed[1]);
}

EBB__INLINE uint64_t ebb__hash_end(uint64_t x, size_t size, const uint64_t seed[2]) {
    return ebb__fold(x ^ ebb__turn(seed[1]), (seed[0] | 1) + size);
}

/* Where the four words of a key of 8 to 32 bytes begin that cover it, partly twice when it is
 * short: 0, here, here, and 8 before the end. Without a branch that depends on the size. */
EBB__INLINE size_t ebb__second_word(size_t size) {
    return size < 16 ? size - 8 : 8;
}
EBB__INLINE size_t ebb__third_word(size_t size) {
    return size < 16 ? 0 : size - 16;
}

EBB__INLINE uint64_t ebb__hash_bytes(const void *bytes, size_t size, const uint64_t seed[2]) {
    const char *p = (const char *)bytes;
    if (EBB__LIKELY(size >= 8 && size <= 32)) {
        uint64_t front =
            ebb__hash_pair(ebb__load64(p), ebb__load64(p + ebb__second_word(size)), seed);
        const uint64_t turned[2] = {ebb__turn(seed[1]), ebb__turn(seed[0])};
        uint64_t back = ebb__hash_pair(ebb__load64(p + ebb__third_word(size)),
                                       ebb__load64(p + size - 8), turned);
        return ebb__hash_end(front ^ back, size, seed);
    }
    if (size > 32) return ebb__hash_long(p, size, seed);
    uint64_t word = 0;
    if (size >= 4)
        word = ebb__load32(p) << 32 | ebb__load32(p + size - 4);
    else if (size > 0)
        word = (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[size >> 1] << 8 |
               (uint64_t)(uint8_t)p[size - 1];
    return ebb__hash_end(ebb__hash_pair(word, 0, seed), size, seed);
}

EBB__INLINE uint64_t ebb__word_xor(const char *p, const char *q, size_t at) {
    return ebb__load64(p + at) ^ ebb__load64(q + at);
}

EBB__INLINE bool ebb__str_equal(const ebb_str *a, const ebb_str *b) {
    size_t n = a->len;
    if (n != b->len) return false;
    const char *p = a->ptr, *q = b->ptr;
    if (EBB__LIKELY(n >= 8 && n <= 32))
        return (ebb__word_xor(p, q, 0) | ebb__word_xor(p, q, ebb__second_word(n)) |
                ebb__word_xor(p, q, ebb__third_word(n)) | ebb__word_xor(p, q, n - 8)) == 0;
    return n == 0 || memcmp(p, q, n) == 0;
}

EBB__INLINE uint64_t ebb__map_hash_of(const ebb__map *map, const void *key, ebb__map_form form) {
    switch (form.hash) {
    case EBB__HASH_INT:
    case EBB__HASH_FLOAT:
        return ebb__hash_int(ebb__load_int(key, form.key_size), map->seed);
    case EBB__HASH_STR:
        return ebb__hash_bytes(((const ebb_str *)key)->ptr, ((const ebb_str *)key)->len, map->seed);
    case EBB__HASH_BYTES:
        return ebb__hash_bytes(key, form.key_size, map->seed);
    default:
        return ebb__hash_int(map->shape->hash(key), map->seed);
    }
}

EBB__INLINE bool ebb__map_equal(const ebb__map *map, const void *slot, const void *key,
                                ebb__map_form form) {
    const void *stored = form.key_boxed ? *(const void *const *)slot : slot;
    switch (form.hash) {
    case EBB__HASH_INT:
    case EBB__HASH_FLOAT:
        return ebb__load_int(stored, form.key_size) == ebb__load_int(key, form.key_size);
    case EBB__HASH_STR:
        return ebb__str_equal((const ebb_str *)stored, (const ebb_str *)key);
    case EBB__HASH_BYTES:
        return memcmp(stored, key, form.key_size) == 0;
    default:
        return map->shape->equal(stored, key);
    }
}

/* --- Tables ---------------------------------------------------------------------------------- */

enum { EBB__DIR_GROUPS_MAX = 112 }; /* beyond these, powers of two from 128 on */

/* How many groups a table of another size than usual has. ctrl's three lower bits and all of slots'
 * hold that; ctrl's fourth is set. */
EBB__INLINE size_t ebb__dir_groups_coded(ebb__dir dir) {
    size_t code = (dir.ctrl & 7) | (dir.slots & 15) << 3;
    return EBB__LIKELY(code < EBB__DIR_GROUPS_MAX) ? code + 1
                                                   : (size_t)128 << (code - EBB__DIR_GROUPS_MAX);
}

EBB__INLINE size_t ebb__dir_groups(const ebb__map *map, ebb__dir dir) {
    return (dir.ctrl & 15) == 0 ? map->groups : ebb__dir_groups_coded(dir);
}

EBB__INLINE uint8_t *ebb__dir_ctrl(ebb__dir dir) {
    return (uint8_t *)(dir.ctrl & ~(uintptr_t)15);
}

EBB__INLINE char *ebb__dir_slots(ebb__dir dir) {
    return (char *)(dir.slots & ~(uintptr_t)15);
}

EBB__INLINE ebb__table *ebb__table_of(const uint8_t *ctrl) {
    return (ebb__table *)((uintptr_t)ctrl - sizeof(ebb__table));
}

EBB__INLINE uint32_t *ebb__table_hashes(uint8_t *ctrl, size_t groups) {
    return (uint32_t *)(void *)(ctrl + groups * EBB__GROUP);
}

/* The 32 bits of a hash that say where its entry belongs: the upper 22 choose the table, the lower
 * 10 the group in it. They are what is stored. */
EBB__INLINE uint32_t ebb__hash_place(uint64_t hash) {
    return ((uint32_t)(hash >> 32) & ~(uint32_t)0x3ff) | (uint32_t)hash >> 22;
}

/* The first slot of the group where the search for a place begins. */
EBB__INLINE size_t ebb__home(uint32_t place, size_t groups) {
    return (place & 0x3ff) * groups >> (10 - EBB__GROUP_SHIFT) & ~(size_t)(EBB__GROUP - 1);
}

/* The slot of key in the group that begins at base, or null. */
EBB__INLINE char *ebb__group_find(const ebb__map *map, const void *key, uint64_t hash,
                                  ebb__map_form form, char *slots, size_t base, ebb__group g) {
    for (ebb__mask m = ebb__group_match(g, hash & 0x7f); m != 0; m &= m - 1) {
        char *slot = slots + (base + ebb__mask_first(m)) * form.stride;
        if (EBB__LIKELY(ebb__map_equal(map, slot, key, form))) return slot;
    }
    return NULL;
}

/* A small key is copied, so that its variable need not be in memory for this rare call's sake. */
EBB__INLINE char *ebb__map_find_rest(const ebb__map *map, const void *key, uint64_t hash,
                                     ebb__map_form form) {
    uint64_t copy[2];
    if (form.key_size > sizeof copy) return ebb__map_find_on(map, key, hash);
    memcpy(copy, key, form.key_size);
    return ebb__map_find_on(map, copy, hash);
}

/* The slot of key, or null. *place says in which table. */
EBB__INLINE char *ebb__map_find(const ebb__map *map, const void *key, uint64_t hash,
                                ebb__map_form form, ebb__place *place) {
    ebb__dir dir = map->dir[hash >> map->shift];
    size_t groups = map->groups;
    if (EBB__RARE((dir.ctrl & 15) != 0)) {
        groups = ebb__dir_groups_coded(dir);
        dir.ctrl &= ~(uintptr_t)15;
        dir.slots &= ~(uintptr_t)15;
    }
    place->ctrl = (uint8_t *)dir.ctrl;
    place->slots = (char *)dir.slots;
    place->groups = groups;
    size_t base = ebb__home((uint32_t)hash >> 22, groups);
    ebb__group g = ebb__group_load(place->ctrl + base);
    char *slot = ebb__group_find(map, key, hash, form, place->slots, base, g);
    if (slot || EBB__LIKELY(ebb__group_empty(g) != 0)) return slot;
    return ebb__map_find_rest(map, key, hash, form);
}

/* The first slot without an entry on the way of a hash. */
EBB__INLINE size_t ebb__table_free_slot(const uint8_t *ctrl, size_t groups, uint32_t place) {
    size_t base = ebb__home(place, groups);
    for (;;) {
        ebb__mask m = ebb__group_free(ebb__group_load(ctrl + base));
        if (EBB__LIKELY(m != 0)) return base + ebb__mask_first(m);
        base += EBB__GROUP;
        if (base == groups * EBB__GROUP) base = 0;
    }
}

#endif /* !__cplusplus */

#ifdef __cplusplus
}
#endif
#endif
