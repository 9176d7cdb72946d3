/* ebb/map_inline.h - what the macros of map.h expand to: the part of a map that is compiled into
 * the program, with sizes and hash as constants. Not for direct use. docs/design.md, "Maps".
 *
 *   handle -> map -> directory: 2^depth pairs { control bytes, slots }
 *                      index = top bits of the hash; several pairs in a row may be one table
 *
 *   one table, two objects:
 *     control  [ header | a byte a slot ..., in groups of 16 | 4 bytes of hash a slot, if stored ]
 *     slots    [ key value | key value | ... ]      scanned by the collector only if they can
 *                                                   hold pointers; zero where there is no entry
 *
 *   hash     63 ........ 32  stored; the top `depth` of them choose the table, the lowest 12 the
 *                            group where the search begins
 *             6 ......... 0  the control byte of a full slot
 *
 * A search looks at whole groups, from that one on, and ends at a group with an empty slot. So a
 * slot that is freed becomes empty if its group has an empty one, else deleted. */
#ifndef EBB_MAP_INLINE_H
#define EBB_MAP_INLINE_H

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

/* --- Types ----------------------------------------------------------------------------------- */

enum ebb__map_hash { EBB__HASH_INT, EBB__HASH_FLOAT, EBB__HASH_STR, EBB__HASH_BYTES, EBB__HASH_USER };

enum {
    EBB__MAP_INLINE_MAX = 128,    /* bytes of a key or value that lies in its slot; larger: boxed */
    EBB__SLOT_EMPTY = 0x80,       /* control bytes; a full slot's is below 0x80 */
    EBB__SLOT_DELETED = 0xfe,
    EBB__ITER_SHARE = 1,          /* not all of the table is to be shown now */
    EBB__ITER_STALE = 2           /* the table has been replaced */
};

/* What the compiler knows of a kind of map. Always a constant. */
typedef struct ebb__map_form {
    uint32_t hash;                              /* enum ebb__map_hash */
    uint32_t key_size, value_size;              /* bytes of K and V */
    uint32_t value_offset, stride;              /* of the slot */
    bool key_boxed, value_boxed, weak;
    bool stores_hash;
} ebb__map_form;

/* What a declaration leaves in the section ebb_maps, found by unit and number. */
typedef struct ebb__map_decl {
    const ebb__unit *unit;
    const char *name;
    size_t number;
    ebb__site *key, *value;                     /* how boxes are allocated, what slots hold */
    bool key_is_str, value_is_str;
    uint64_t (*hash)(const void *key);          /* null unless EBB__HASH_USER */
    bool (*equal)(const void *a, const void *b);
} ebb__map_decl;

/* A place in the program that may make a map. */
typedef struct ebb__map_site {
    const ebb__map_decl *const *first, *const *last;
    const ebb__unit *unit;
    size_t number;
    ebb__map_form form;
    const struct ebb__map_shape *shape;         /* atomic; null until resolved */
} ebb__map_site;

/* What the library knows of a kind of map; shared by all maps of the kind, never freed. */
typedef struct ebb__map_shape {
    ebb__map_form form;
    uint64_t (*hash)(const void *key); /* null unless EBB__HASH_USER */
    bool (*equal)(const void *a, const void *b);
    struct ebb__layout *slots, *key_box, *value_box; /* boxes: null where there are none */
    uint32_t slots_max;                              /* of a table of full size */
    const struct ebb__map_shape *next;               /* of all; written before it is published */
} ebb__map_shape;

/* One pair of the directory. Both point to multiples of 16; the low four bits of both, taken
 * together, say how many groups the table has (ebb__dir_groups). */
typedef struct ebb__dir {
    uintptr_t ctrl, slots;
} ebb__dir;

/* The control object; the control bytes begin right behind.
 *
 *   count + deleted + left = the most that slots allow:  slots * 7 / 8, or all if < one group
 *   the table's hashes share their top `depth` bits: it stands in 2^(map depth - depth) pairs */
typedef struct ebb__table {
    uint64_t mark;      /* ebb__map_census knows it by that; 0 when discarded */
    uint32_t count;     /* entries */
    uint32_t left;      /* empty slots that may still be filled */
    uint32_t slots;
    uint32_t low;       /* fewer entries than this: shrink */
    uint32_t cycle;     /* weak keys: the collection up to which dead ones have been taken out */
    uint16_t stride;    /* bytes of a slot */
    uint8_t depth;
    uint8_t pinned;     /* an iterator has been here: its contents may be needed after it is
                         * discarded; atomic, set by readers, read by the writer */
} ebb__table;

struct ebb__map {
    ebb__dir *dir;                          /* 2^(64 - shift) pairs; self while there are two */
    uint64_t seed[2];
    size_t len;                             /* sum of count */
    uint32_t writes;                        /* odd while a writer is at work; relaxed: no more
                                             * than a trap for those who break the rules */
    uint32_t version;                       /* counts changes of the directory's contents */
    uint8_t shift;                          /* 64 - depth; depth >= 1 */
    uint8_t keep, dense;                    /* policy, see src/map/map.h */
    const ebb__map_shape *shape;
    ebb__dir self[2];
    size_t slots, slots_min;                /* in all tables; no delete takes them below */
    ebb__dir spare;                         /* a table of full size, zeroed, for the next split */
    size_t tables;
    size_t deepest;                         /* tables whose depth is the directory's */
    size_t purge_at;                        /* weak keys: the pair that is to be looked at next */
};

typedef struct ebb__place {
    uint8_t *ctrl;
    char *slots;
    size_t groups, index;
} ebb__place;

typedef struct ebb__map_iter {
    ebb__map *map;
    char *slot;             /* the entry it stands on */
    void *held;             /* weak keys: keeps that key alive */
    uint8_t *ctrl;          /* the table it stands in; kept alive by this */
    char *slots;
    uint64_t mask;          /* full slots still to be seen in the group */
    uint32_t group, groups, groups_left;
    uint32_t version;       /* map's, when ctrl was last known to be current */
    uint32_t start;         /* where in hash space it began */
    uint32_t from;          /* this table's share: hashes in [from, from + length) */
    uint64_t length;
    uint64_t offset;        /* done from start: ends at 2^32 */
    uint8_t careful;        /* EBB__ITER_…: look at each entry before showing it */
    bool stop;              /* the loop was left by break */
} ebb__map_iter;

EBB_API ebb__map *ebb__map_make(ebb__map **handle, ebb__map_site *site);
EBB_API void *ebb__map_insert_slow(ebb__map *map, const void *key, uint64_t hash);
EBB_API void ebb__map_shrink(ebb__map *map, uint64_t hash);
EBB_API void ebb__map_purge(ebb__map *map, uint64_t hash);
EBB_API void ebb__map_check(const ebb__map *map);
EBB_API size_t ebb__map_len_weak(const ebb__map *map);
EBB_API void ebb__map_clear(ebb__map *map);
EBB_API int ebb__map_compact(ebb__map *map);
EBB_API int ebb__map_reserve(ebb__map *map, size_t entries);
EBB_API int ebb__map_pause(ebb__map *map, bool paused);
EBB_API int ebb__map_grow_only(ebb__map *map, bool on);
EBB_API int ebb__map_dense(ebb__map *map, bool on);
EBB_API ebb__map_iter ebb__map_iter_begin(ebb__map *map);
EBB_API bool ebb__map_iter_table(ebb__map_iter *it);
EBB_API char *ebb__map_iter_check(ebb__map_iter *it, size_t index);
EBB_API uint64_t ebb__hash_long(const void *bytes, size_t size, const uint64_t seed[2]);
EBB_API __attribute__((noreturn, cold)) void ebb__map_raced(const char *call, const ebb__map *map);
EBB_API __attribute__((cold)) int ebb__map_null_key(const char *call);

/* --- Hashing --------------------------------------------------------------------------------- */

/* Both halves of a 128-bit product: every bit of the result depends on every bit of a, for a b
 * that nobody outside knows. */
EBB__INLINE uint64_t ebb__fold(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 ebb__u128;
    ebb__u128 product = (ebb__u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

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

/* An integer of 1 to 8 bytes. */
EBB__INLINE uint64_t ebb__load_int(const void *p, size_t size) {
    uint8_t b1;
    uint16_t b2;
    switch (size) {
    case 1: memcpy(&b1, p, 1); return b1;
    case 2: memcpy(&b2, p, 2); return b2;
    case 4: return ebb__load32(p);
    case 8: return ebb__load64(p);
    default: return 0;
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
        uint64_t front = ebb__hash_pair(ebb__load64(p), ebb__load64(p + ebb__second_word(size)), seed);
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
    case EBB__HASH_FLOAT: return ebb__hash_int(ebb__load_int(key, form.key_size), map->seed);
    case EBB__HASH_STR:
        return ebb__hash_bytes(((const ebb_str *)key)->ptr, ((const ebb_str *)key)->len, map->seed);
    case EBB__HASH_BYTES: return ebb__hash_bytes(key, form.key_size, map->seed);
    default: return ebb__hash_int(map->shape->hash(key), map->seed);
    }
}

EBB__INLINE bool ebb__map_equal(const ebb__map *map, const void *slot, const void *key,
                                ebb__map_form form) {
    const void *stored = form.key_boxed ? *(const void *const *)slot : slot;
    switch (form.hash) {
    case EBB__HASH_INT:
    case EBB__HASH_FLOAT:
        return ebb__load_int(stored, form.key_size) == ebb__load_int(key, form.key_size);
    case EBB__HASH_STR: return ebb__str_equal((const ebb_str *)stored, (const ebb_str *)key);
    case EBB__HASH_BYTES: return memcmp(stored, key, form.key_size) == 0;
    default: return map->shape->equal(stored, key);
    }
}

/* --- Groups ---------------------------------------------------------------------------------- */

/* A mask has EBB__MASK_BITS bits a slot, of which at most one is set. */
#if defined(__SSE2__) && !defined(EBB_MAP_SWAR)
enum { EBB__GROUP = 16, EBB__MASK_BITS = 1 };
typedef __m128i ebb__group;

EBB__INLINE ebb__group ebb__group_load(const uint8_t *ctrl) {
    return _mm_load_si128((const __m128i *)(const void *)ctrl);
}
EBB__INLINE uint64_t ebb__group_match(ebb__group g, uint8_t byte) {
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(g, _mm_set1_epi8((char)byte)));
}
EBB__INLINE uint64_t ebb__group_empty(ebb__group g) {
    return ebb__group_match(g, EBB__SLOT_EMPTY);
}
EBB__INLINE uint64_t ebb__group_free(ebb__group g) {
    return (uint32_t)_mm_movemask_epi8(g);
}
EBB__INLINE uint64_t ebb__group_full(ebb__group g) {
    return (uint32_t)_mm_movemask_epi8(g) ^ 0xffffu;
}

#elif defined(__ARM_NEON) && defined(__aarch64__) && !defined(EBB_MAP_SWAR)
enum { EBB__GROUP = 16, EBB__MASK_BITS = 4 };
typedef uint8x16_t ebb__group;

EBB__INLINE uint64_t ebb__group_narrow(uint8x16_t bytes) {
    uint8x8_t nibbles = vshrn_n_u16(vreinterpretq_u16_u8(bytes), 4);
    return vget_lane_u64(vreinterpret_u64_u8(nibbles), 0) & 0x8888888888888888u;
}
EBB__INLINE ebb__group ebb__group_load(const uint8_t *ctrl) {
    return vld1q_u8(ctrl);
}
EBB__INLINE uint64_t ebb__group_match(ebb__group g, uint8_t byte) {
    return ebb__group_narrow(vceqq_u8(g, vdupq_n_u8(byte)));
}
EBB__INLINE uint64_t ebb__group_empty(ebb__group g) {
    return ebb__group_match(g, EBB__SLOT_EMPTY);
}
EBB__INLINE uint64_t ebb__group_free(ebb__group g) {
    return ebb__group_narrow(vcgeq_u8(g, vdupq_n_u8(0x80)));
}
EBB__INLINE uint64_t ebb__group_full(ebb__group g) {
    return ebb__group_narrow(vcltq_u8(g, vdupq_n_u8(0x80)));
}

#else
enum { EBB__GROUP = 8, EBB__MASK_BITS = 8 };
typedef uint64_t ebb__group;
# define EBB__BYTES(x) (0x0101010101010101u * (uint64_t)(x))

EBB__INLINE ebb__group ebb__group_load(const uint8_t *ctrl) {
    uint64_t g = ebb__load64(ctrl);
# if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    g = __builtin_bswap64(g);
# endif
    return g;
}
/* May also show a full slot whose byte differs in the lowest bit only: keys are compared anyway. */
EBB__INLINE uint64_t ebb__group_match(ebb__group g, uint8_t byte) {
    uint64_t x = g ^ EBB__BYTES(byte);
    return (x - EBB__BYTES(1)) & ~x & EBB__BYTES(0x80);
}
EBB__INLINE uint64_t ebb__group_empty(ebb__group g) {
    return g & (~g << 6) & EBB__BYTES(0x80);
}
EBB__INLINE uint64_t ebb__group_free(ebb__group g) {
    return g & EBB__BYTES(0x80);
}
EBB__INLINE uint64_t ebb__group_full(ebb__group g) {
    return ~g & EBB__BYTES(0x80);
}
#endif

EBB__INLINE size_t ebb__mask_first(uint64_t mask) {
    return (size_t)__builtin_ctzll(mask) / EBB__MASK_BITS;
}

/* --- Tables ---------------------------------------------------------------------------------- */

/* Up to 127 as it is, beyond as a power of two. */
EBB__INLINE size_t ebb__dir_groups(ebb__dir dir) {
    size_t code = (dir.ctrl & 15) | (dir.slots & 15) << 4;
    return EBB__LIKELY(code < 128) ? code : (size_t)1 << (code - 121);
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

EBB__INLINE size_t ebb__home_group(uint32_t hash, size_t groups) {
    return ((hash & 0xfff) * groups) >> 12;
}

/* The slot of key, or null. *place says where the search began, and where it ended. */
EBB__INLINE char *ebb__map_find(const ebb__map *map, const void *key, uint64_t hash,
                                ebb__map_form form, ebb__place *place) {
    ebb__dir dir = map->dir[hash >> map->shift];
    size_t groups = ebb__dir_groups(dir);
    uint8_t *ctrl = ebb__dir_ctrl(dir);
    char *slots = ebb__dir_slots(dir);
    place->ctrl = ctrl;
    place->slots = slots;
    place->groups = groups;
    size_t at = ebb__home_group((uint32_t)(hash >> 32), groups);
    for (;;) {
        ebb__group g = ebb__group_load(ctrl + at * EBB__GROUP);
        for (uint64_t m = ebb__group_match(g, hash & 0x7f); m != 0; m &= m - 1) {
            size_t index = at * EBB__GROUP + ebb__mask_first(m);
            char *slot = slots + index * form.stride;
            if (EBB__LIKELY(ebb__map_equal(map, slot, key, form))) {
                place->index = index;
                return slot;
            }
        }
        if (EBB__LIKELY(ebb__group_empty(g) != 0)) return NULL;
        if (++at == groups) at = 0;
    }
}

/* The first slot without an entry on the way of a hash. */
EBB__INLINE size_t ebb__table_free_slot(const uint8_t *ctrl, size_t groups, uint32_t hash) {
    size_t at = ebb__home_group(hash, groups);
    for (;;) {
        uint64_t m = ebb__group_free(ebb__group_load(ctrl + at * EBB__GROUP));
        if (EBB__LIKELY(m != 0)) return at * EBB__GROUP + ebb__mask_first(m);
        if (++at == groups) at = 0;
    }
}

/* --- Reading and writing --------------------------------------------------------------------- */

EBB__INLINE uint32_t ebb__map_read(const ebb__map *map, const char *call) {
    uint32_t writes = __atomic_load_n(&map->writes, __ATOMIC_RELAXED);
    if (EBB__RARE(writes & 1)) ebb__map_raced(call, map);
    return writes;
}

EBB__INLINE void ebb__map_write(ebb__map *map, const char *call) {
    __atomic_store_n(&map->writes, ebb__map_read(map, call) + 1, __ATOMIC_RELAXED);
}

EBB__INLINE void ebb__map_written(ebb__map *map, const char *call) {
    uint32_t writes = __atomic_load_n(&map->writes, __ATOMIC_RELAXED);
    if (EBB__RARE(!(writes & 1))) ebb__map_raced(call, map);
    __atomic_store_n(&map->writes, writes + 1, __ATOMIC_RELAXED);
}

EBB__INLINE void *ebb__map_value(char *slot, ebb__map_form form) {
    char *value = slot + form.value_offset;
    return form.value_boxed ? *(void **)(void *)value : value;
}

EBB__INLINE void *ebb__map_get(const ebb__map *map, const void *key, ebb__map_form form) {
    if (EBB__RARE(map == NULL)) return NULL;
    ebb__place place;
    ebb__map_read(map, "ebb_map_get");
    char *slot = ebb__map_find(map, key, ebb__map_hash_of(map, key, form), form, &place);
    return slot ? ebb__map_value(slot, form) : NULL;
}

EBB__INLINE bool ebb__map_get_copy(const ebb__map *map, const void *key, ebb__map_form form,
                                   void *out) {
    void *value = ebb__map_get(map, key, form);
    if (value) memcpy(out, value, form.value_size);
    return value != NULL;
}

/* A new entry where the search for its key has ended; null without memory. */
EBB__INLINE void *ebb__map_insert(ebb__map *map, const void *key, uint64_t hash,
                                  ebb__map_form form, const ebb__place *place) {
    ebb__table *table = ebb__table_of(place->ctrl);
    size_t index = ebb__table_free_slot(place->ctrl, place->groups, (uint32_t)(hash >> 32));
    bool empty = place->ctrl[index] == EBB__SLOT_EMPTY;
    if (form.key_boxed || form.value_boxed || EBB__RARE(empty && table->left == 0))
        return ebb__map_insert_slow(map, key, hash);
    place->ctrl[index] = hash & 0x7f;
    if (form.stores_hash)
        ebb__table_hashes(place->ctrl, place->groups)[index] = (uint32_t)(hash >> 32);
    char *slot = place->slots + index * form.stride;
    memcpy(slot, key, form.key_size);
    table->left -= empty;
    table->count++;
    map->len++;
    return slot + form.value_offset;
}

/* The value of key, put there if need be (*added); null without memory, or for a null weak key. */
EBB__INLINE void *ebb__map_reach(ebb__map **handle, const void *key, ebb__map_site *site,
                                 ebb__map_form form, const char *call, bool *added) {
    ebb__map *map = *handle;
    ebb__place place;
    *added = false;
    if (form.weak && !*(void *const *)key) {
        ebb__map_null_key(call);
        return NULL;
    }
    if (EBB__RARE(map == NULL) && !(map = ebb__map_make(handle, site))) return NULL;
    uint64_t hash = ebb__map_hash_of(map, key, form);
    ebb__map_write(map, call);
    if (form.weak) ebb__map_purge(map, hash);
    char *slot = ebb__map_find(map, key, hash, form, &place);
    void *value = slot ? ebb__map_value(slot, form) : NULL;
    if (!slot) {
        value = ebb__map_insert(map, key, hash, form, &place);
        *added = value != NULL;
    }
    ebb__map_written(map, call);
    return value;
}

EBB__INLINE int ebb__map_put(ebb__map **handle, const void *key, const void *v, ebb__map_site *site,
                             ebb__map_form form) {
    bool added;
    void *value = ebb__map_reach(handle, key, site, form, "ebb_map_put", &added);
    if (EBB__RARE(!value)) return form.weak && !*(void *const *)key ? EBB_EINVAL : EBB_ENOMEM;
    memcpy(value, v, form.value_size);
    return 0;
}

EBB__INLINE void *ebb__map_get_or_put(ebb__map **handle, const void *key, const void *v,
                                      ebb__map_site *site, ebb__map_form form, const char *call) {
    bool added;
    void *value = ebb__map_reach(handle, key, site, form, call, &added);
    if (added && v) memcpy(value, v, form.value_size);
    return value;
}

EBB__INLINE bool ebb__map_delete(ebb__map *map, const void *key, ebb__map_form form) {
    if (EBB__RARE(map == NULL)) return false;
    ebb__place place;
    uint64_t hash = ebb__map_hash_of(map, key, form);
    ebb__map_write(map, "ebb_map_delete");
    if (form.weak) ebb__map_purge(map, hash);
    char *slot = ebb__map_find(map, key, hash, form, &place);
    if (slot) {
        ebb__table *table = ebb__table_of(place.ctrl);
        ebb__group g = ebb__group_load(place.ctrl + place.index / EBB__GROUP * EBB__GROUP);
        bool empty = ebb__group_empty(g) != 0;
        place.ctrl[place.index] = empty ? EBB__SLOT_EMPTY : EBB__SLOT_DELETED;
        memset(slot, 0, form.stride);
        table->left += empty;
        table->count--;
        map->len--;
        if (EBB__RARE(table->count < table->low)) ebb__map_shrink(map, hash);
    }
    ebb__map_written(map, "ebb_map_delete");
    return slot != NULL;
}

EBB__INLINE size_t ebb__map_len(const ebb__map *map, ebb__map_form form) {
    if (!map) return 0;
    ebb__map_read(map, "ebb_map_len");
    return form.weak ? ebb__map_len_weak(map) : map->len;
}

/* --- Iterating ------------------------------------------------------------------------------- */

/* On to the next entry. False at the end. */
EBB__INLINE bool ebb__map_next(ebb__map_iter *it, ebb__map_form form) {
    if (it->stop || !it->map) return false;
    ebb__map_read(it->map, "ebb_map_each");
    for (;;) {
        while (it->mask == 0) {
            if (it->groups_left == 0) {
                if (!ebb__map_iter_table(it)) return false;
            }
            it->groups_left--;
            if (++it->group >= it->groups) it->group = 0;
            it->mask = ebb__group_full(ebb__group_load(it->ctrl + it->group * EBB__GROUP));
        }
        size_t index = it->group * EBB__GROUP + ebb__mask_first(it->mask);
        it->mask &= it->mask - 1;
        if (EBB__LIKELY(!it->careful && it->version == it->map->version && !form.weak)) {
            it->slot = it->slots + index * form.stride;
            if (EBB__LIKELY(it->ctrl[index] < EBB__SLOT_EMPTY)) return true;
        } else if ((it->slot = ebb__map_iter_check(it, index)) != NULL) {
            return true;
        }
    }
}

EBB__INLINE const void *ebb__map_iter_key(const ebb__map_iter *it, ebb__map_form form) {
    return form.key_boxed ? *(void **)(void *)it->slot : it->slot;
}

/* --- Macros ---------------------------------------------------------------------------------- */

/* A handle is a pointer to a map, with a type beside it that is never read: it carries K, V, how a
 * slot looks, and the number of the declaration. */
# define EBB__MAP_SLOT(T)                                                                          \
     __typeof__(__builtin_choose_expr(sizeof(T) > EBB__MAP_INLINE_MAX, (__typeof__(T) *)0,         \
                                      *(__typeof__(T) *)0))
# define EBB__MAP_HANDLE(N, name, K, V, H, W)                                                      \
     typedef struct name {                                                                         \
         __extension__ union {                                                                     \
             ebb__map *map;                                                                        \
             struct {                                                                              \
                 __typeof__(K) key;                                                                \
                 __typeof__(V) value;                                                              \
                 struct {                                                                          \
                     EBB__MAP_SLOT(K) key;                                                         \
                     EBB__MAP_SLOT(V) value;                                                       \
                 } slot;                                                                           \
                 char number[(N) + 1], hash[(H) + 1], weak[(W) + 1];                               \
             } *ebb__types;                                                                        \
         };                                                                                        \
     } name

# define EBB__IS_STR(T) _Generic((__typeof__(T) *)0, ebb_str *: 1, const ebb_str *: 1, default: 0)
# define EBB__IS_TEXT(T)                                                                           \
     _Generic((__typeof__(T) *)0, char **: 1, const char **: 1, char *const *: 1,                  \
              const char *const *: 1, default: 0)
/* How a key of type T is hashed, by class: 8 is floating point, 9 complex, 12 and 13 records. */
# define EBB__HASH_KIND(T)                                                                         \
     (EBB__IS_STR(T)                                   ? EBB__HASH_STR                             \
      : EBB__CLASS(T) == 8                             ? EBB__HASH_FLOAT                           \
      : (EBB__CLASS(T) == 12 || EBB__CLASS(T) == 13)   ? EBB__HASH_BYTES                           \
      : sizeof(T) > 8                                  ? EBB__HASH_BYTES                           \
                                                       : EBB__HASH_INT)
# define EBB__MAP_DECL(N, name, K, V, hash_fn, equal_fn)                                           \
     static ebb__site EBB__CAT(ebb__map_key_, N) = EBB__SITE_INIT(K, EBB__USE_MAP);                \
     static ebb__site EBB__CAT(ebb__map_value_, N) = EBB__SITE_INIT(V, EBB__USE_MAP);              \
     static const ebb__map_decl EBB__CAT(ebb__map_decl_, N) = {                                    \
         &ebb__this_unit, #name, N, &EBB__CAT(ebb__map_key_, N), &EBB__CAT(ebb__map_value_, N),    \
         EBB__IS_STR(K),  EBB__IS_STR(V), hash_fn, equal_fn};                                      \
     static const ebb__map_decl *const EBB__CAT(ebb__map_entry_, N)                                \
         __attribute__((section("ebb_maps"), used)) = &EBB__CAT(ebb__map_decl_, N);                \
     _Static_assert(_Alignof(K) <= 16 && _Alignof(V) <= 16,                                        \
                    #name ": keys and values may be aligned to at most 16")

# define EBB__MAP(N, name, K, V) EBB__MAP2(N, name, K, V)
# define EBB__MAP2(N, name, K, V)                                                                  \
     EBB__MAP_DECL(N, name, K, V, NULL, NULL);                                                     \
     _Static_assert(!EBB__IS_TEXT(K),                                                              \
                    #name ": char * keys are compared by address: use ebb_str, or void *");        \
     _Static_assert(EBB__CLASS(K) != 9 && (EBB__CLASS(K) != 8 || sizeof(K) <= 8),                  \
                    #name ": this kind of key needs EBB_MAP_HASHED");                              \
     EBB__MAP_HANDLE(N, name, K, V, EBB__HASH_KIND(K), 0)

# define EBB__MAP_WEAK(N, name, K, V) EBB__MAP_WEAK2(N, name, K, V)
# define EBB__MAP_WEAK2(N, name, K, V)                                                             \
     EBB__MAP_DECL(N, name, K, V, NULL, NULL);                                                     \
     _Static_assert(EBB__CLASS(K) == 5, #name ": a weak key is a pointer");                        \
     EBB__MAP_HANDLE(N, name, K, V, EBB__HASH_INT, 1)

# define EBB__MAP_HASHED(N, name, K, V, hash, equal) EBB__MAP_HASHED2(N, name, K, V, hash, equal)
# define EBB__MAP_HASHED2(N, name, K, V, hash_fn, equal_fn)                                        \
     static uint64_t EBB__CAT(ebb__map_hash_, N)(const void *key) {                                \
         return hash_fn(*(const __typeof__(K) *)key);                                              \
     }                                                                                             \
     static bool EBB__CAT(ebb__map_equal_, N)(const void *a, const void *b) {                      \
         return equal_fn(*(const __typeof__(K) *)a, *(const __typeof__(K) *)b);                    \
     }                                                                                             \
     EBB__MAP_DECL(N, name, K, V, EBB__CAT(ebb__map_hash_, N), EBB__CAT(ebb__map_equal_, N));      \
     EBB__MAP_HANDLE(N, name, K, V, EBB__HASH_USER, 0)

extern const ebb__map_decl *const __start_ebb_maps[] __attribute__((visibility("hidden")));
extern const ebb__map_decl *const __stop_ebb_maps[] __attribute__((visibility("hidden")));

# define EBB__MAP_KEY(m)      __typeof__((m)->ebb__types->key)
# define EBB__MAP_VALUE(m)    __typeof__((m)->ebb__types->value)
# define EBB__MAP_HASH(m)     (sizeof((m)->ebb__types->hash) - 1)
# define EBB__MAP_BOXED(part) (sizeof(part) > EBB__MAP_INLINE_MAX)
# define EBB__MAP_FORM(m)                                                                          \
     {                                                                                             \
         EBB__MAP_HASH(m), sizeof((m)->ebb__types->key), sizeof((m)->ebb__types->value),           \
             offsetof(__typeof__((m)->ebb__types->slot), value), sizeof((m)->ebb__types->slot),    \
             EBB__MAP_BOXED((m)->ebb__types->key), EBB__MAP_BOXED((m)->ebb__types->value),         \
             sizeof((m)->ebb__types->weak) > 1,                                                    \
             EBB__MAP_HASH(m) == EBB__HASH_STR || EBB__MAP_HASH(m) == EBB__HASH_USER ||            \
                 sizeof((m)->ebb__types->key) > 16                                                 \
     }
# define EBB__MAP_SITE(m)                                                                          \
     __extension__({                                                                               \
         static ebb__map_site ebb__map_here = {__start_ebb_maps,                                   \
                                               __stop_ebb_maps,                                    \
                                               &ebb__this_unit,                                    \
                                               sizeof((m)->ebb__types->number) - 1,                \
                                               EBB__MAP_FORM(m),                                   \
                                               0};                                                 \
         &ebb__map_here;                                                                           \
     })

/* Declares `var` of type T with a value whose pointers must be of the very type. */
# define EBB__MAP_TAKE(T, var, ...)                                                                \
     _Pragma("GCC diagnostic push")                                                                \
     _Pragma("GCC diagnostic error \"-Wincompatible-pointer-types\"")                              \
     _Pragma("GCC diagnostic error \"-Wint-conversion\"")                                          \
     T var = (__VA_ARGS__);                                                                        \
     _Pragma("GCC diagnostic pop")

/* A key as it is hashed: a float's zero without a sign, a structure's padding zero. */
# ifdef __has_builtin
#  if __has_builtin(__builtin_clear_padding)
#   define EBB__CLEAR_PADDING(p) __builtin_clear_padding(p)
#  endif
# endif
# ifndef EBB__CLEAR_PADDING
#  define EBB__CLEAR_PADDING(p) ((void)0)
# endif
EBB__INLINE void ebb__map_key_zero(void *key, ebb__map_form form) {
    if (form.hash != EBB__HASH_FLOAT) return;
    uint64_t bits = ebb__load_int(key, form.key_size);
    if (bits << (65 - 8 * form.key_size) == 0) memset(key, 0, form.key_size);
}
# define EBB__MAP_OPEN(m, ...)                                                                     \
     __typeof__(m) ebb__m = (m);                                                                   \
     EBB__MAP_TAKE(EBB__MAP_KEY(ebb__m), ebb__k, __VA_ARGS__)                                      \
     const ebb__map_form ebb__form = EBB__MAP_FORM(ebb__m);                                        \
     EBB__CLEAR_PADDING(&ebb__k);                                                                  \
     ebb__map_key_zero(&ebb__k, ebb__form)

# define EBB__MAP_PUT(m, k, ...)                                                                   \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, k);                                                                      \
         EBB__MAP_TAKE(EBB__MAP_VALUE(ebb__m), ebb__v, __VA_ARGS__)                                \
         ebb__map_put(&ebb__m->map, &ebb__k, &ebb__v, EBB__MAP_SITE(ebb__m), ebb__form);           \
     })
# define EBB__MAP_GET(m, ...)                                                                      \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, __VA_ARGS__);                                                            \
         (EBB__MAP_VALUE(ebb__m) *)ebb__map_get(ebb__m->map, &ebb__k, ebb__form);                  \
     })
# define EBB__MAP_GET_COPY(m, k, out)                                                              \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, k);                                                                      \
         EBB__MAP_TAKE(EBB__MAP_VALUE(ebb__m) *, ebb__out, out)                                    \
         ebb__map_get_copy(ebb__m->map, &ebb__k, ebb__form, ebb__out);                             \
     })
# define EBB__MAP_HAS(m, ...)                                                                      \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, __VA_ARGS__);                                                            \
         ebb__map_get(ebb__m->map, &ebb__k, ebb__form) != NULL;                                    \
     })
# define EBB__MAP_GET_OR_PUT(m, k, ...)                                                            \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, k);                                                                      \
         EBB__MAP_TAKE(EBB__MAP_VALUE(ebb__m), ebb__v, __VA_ARGS__)                                \
         (EBB__MAP_VALUE(ebb__m) *)ebb__map_get_or_put(&ebb__m->map, &ebb__k, &ebb__v,             \
                                                       EBB__MAP_SITE(ebb__m), ebb__form,           \
                                                       "ebb_map_get_or_put");                      \
     })
# define EBB__MAP_ENTRY(m, ...)                                                                    \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, __VA_ARGS__);                                                            \
         (EBB__MAP_VALUE(ebb__m) *)ebb__map_get_or_put(&ebb__m->map, &ebb__k, NULL,                \
                                                       EBB__MAP_SITE(ebb__m), ebb__form,           \
                                                       "ebb_map_entry");                           \
     })
# define EBB__MAP_DELETE(m, ...)                                                                   \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, __VA_ARGS__);                                                            \
         ebb__map_delete(ebb__m->map, &ebb__k, ebb__form);                                         \
     })
# define EBB__MAP_LEN(m)                                                                           \
     __extension__({                                                                               \
         __typeof__(m) ebb__m = (m);                                                               \
         ebb__map_len(ebb__m->map, (ebb__map_form)EBB__MAP_FORM(ebb__m));                          \
     })
# define EBB__MAP_POLICY(m, fn, arg)                                                               \
     __extension__({                                                                               \
         __typeof__(m) ebb__m = (m);                                                               \
         ebb__map *ebb__made = ebb__m->map;                                                        \
         if (!ebb__made) ebb__made = ebb__map_make(&ebb__m->map, EBB__MAP_SITE(ebb__m));           \
         ebb__made ? fn(ebb__made, arg) : EBB_ENOMEM;                                              \
     })

/* The inner loops run once for each entry; `stop` stays set only where they are left by break. */
# define EBB__MAP_EACH(m, k, v)                                                                    \
     EBB__MAP_EACH_KEY(m, k)                                                                       \
     for (EBB__MAP_VALUE(m) v = *(EBB__MAP_VALUE(m) *)ebb__map_value(                              \
                                ebb__it_##k.slot, (ebb__map_form)EBB__MAP_FORM(m)),                \
                            *ebb__v_##k = &v;                                                      \
          ebb__v_##k; ebb__v_##k = NULL, ebb__it_##k.stop = false)
# define EBB__MAP_EACH_REF(m, k, p)                                                                \
     EBB__MAP_EACH_KEY(m, k)                                                                       \
     for (EBB__MAP_VALUE(m) *p = ebb__map_value(ebb__it_##k.slot,                                  \
                                                (ebb__map_form)EBB__MAP_FORM(m)),                  \
                            *ebb__v_##k = p;                                                       \
          ebb__v_##k; ebb__v_##k = NULL, ebb__it_##k.stop = false)
# define EBB__MAP_EACH_KEY(m, k)                                                                   \
     for (ebb__map_iter ebb__it_##k = ebb__map_iter_begin((m)->map);                               \
          ebb__map_next(&ebb__it_##k, (ebb__map_form)EBB__MAP_FORM(m));)                           \
         for (EBB__MAP_KEY(m) k = *(EBB__MAP_KEY(m) *)ebb__map_iter_key(                           \
                                  &ebb__it_##k, (ebb__map_form)EBB__MAP_FORM(m)),                  \
                              *ebb__k_##k = (ebb__it_##k.stop = true, &k);                         \
              ebb__k_##k; ebb__k_##k = NULL)

#endif /* !__cplusplus */

#ifdef __cplusplus
}
#endif
#endif
