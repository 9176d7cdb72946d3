/* ebb/offheap.h - memory outside the heap: regions, slot pools, string banks, pins.
 *
 * The collector never walks this memory, however large it is. A region hands out memory that goes
 * away all at once; a pool hands out slots of one type that go away one by one, named by handles,
 * which are numbers: structures that hold handles hold no pointers. A bank turns equal strings into
 * equal numbers. Where such memory is to refer to heap objects after all, a region or a pool can be
 * made a root, or a single object pinned.
 *
 *     typedef struct node node;
 *     EBB_POOL(nodes, node);                  // the types nodes and nodes_handle
 *     struct node { nodes_handle left, right; int key; };
 *
 *     nodes tree = {0};
 *     nodes_handle root = ebb_pool_add(&tree, ((node){.key = 1}));
 *     ebb_pool_at(&tree, root)->left = ebb_pool_add(&tree, ((node){.key = 2}));
 *     ebb_pool_release(&tree);                // all of it, back to the system
 *
 * A zero-initialised region, pool or bank is empty and usable, and is so again once released. All
 * memory is zero when it is handed out, comes from the system and not from malloc, and is counted
 * as ebb_stats.offheap; what they need for their own books is counted there too.
 *
 * Threads: a region, a pool or a bank belongs to one thread at a time; calls that take it const
 * (get, each, text, find, len, bytes) may run in several threads while nobody changes it. Pins lock
 * for themselves. */
#ifndef EBB_OFFHEAP_H
#define EBB_OFFHEAP_H

#include "config.h"
#include "slice.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Regions ---------------------------------------------------------------------------------- */

/* Memory in the order in which it is asked for, never moved, released as a whole. Comes from the
 * system in chunks, each as large as all before it together, from 64 KiB up to 64 MiB. */
typedef struct ebb_region {
    uintptr_t next, end;      /* what can be handed out without a look at the chunks */
    struct ebb__chunk *chunk; /* the one that next points into; it leads to the others */
    size_t mapped_bytes;      /* of all chunks */
    size_t full_bytes;        /* handed out of the chunks behind the current one */
    size_t keep_bytes;        /* what recent rounds needed, for ebb_region_reset */
    bool is_root;
} ebb_region;

/* One T, or an array of n of them, zeroed and aligned for T.
 * Returns / errors: a T *; a null pointer without memory, or where n * sizeof(T) overflows.
 * Owns: the region.   Threads: one at a time.   Collects: only at the memory limit. */
#define ebb_region_new(region, T) \
 ((__typeof__(T) *)ebb_region_alloc((region), sizeof(T), _Alignof(T)))
#define ebb_region_new_array(region, T, n) \
 ((__typeof__(T) *)ebb__region_array((region), (n), sizeof(T), _Alignof(T)))

/* size bytes, aligned to align, a power of two of at most 1 GiB. size 0 gives a unique address.
 * Returns / errors: a null pointer without memory, or for a bad alignment (EBB_EINVAL, a misuse).
 * Otherwise as ebb_region_new. */
EBB__INLINE void *ebb_region_alloc(ebb_region *region, size_t size, size_t align);

/* A copy of the text in the region, with a zero byte behind it.
 * Returns / errors: an empty string with a null ptr without memory. As ebb_region_new. */
EBB_API ebb_str ebb_region_str(ebb_region *region, ebb_str text);

/* Forgets everything that was handed out and makes the memory zero for reuse. As much stays mapped
 * as recent rounds needed, in one chunk; a peak is forgotten over the next few resets. The region
 * stays a root if it was one, and keeps nothing alive until it is used again.
 * Threads: one at a time.   Collects: never. */
EBB_API void ebb_region_reset(ebb_region *region);

/* Gives all of it back to the system; the region is as if zero-initialised (and no root).
 * Threads: one at a time.   Collects: never. */
EBB_API void ebb_region_release(ebb_region *region);

/* From now on the collector searches what the region hands out, and handed out before, for pointers
 * to heap objects, word by word. Undone by ebb_region_release only.
 * Returns / errors: 0; EBB_ENOMEM, and the region is then no root; EBB_EINVAL for a null region.
 * Threads: one at a time.   Collects: never. */
EBB_API int ebb_region_root(ebb_region *region);

/* Bytes handed out since the last reset, gaps of alignment and zeroes of strings included; bytes
 * that are mapped. */
EBB_API size_t ebb_region_used_bytes(const ebb_region *region);
EBB_API size_t ebb_region_bytes(const ebb_region *region);

/* --- Slot pools ------------------------------------------------------------------------------- */

/* EBB_POOL(name, T): the types `name`, a pool of T, and `name_handle`, which names a slot in it: a
 * slot number and a generation of 32 bits each. T may still be incomplete here, so that it can hold
 * handles of its own pool. A handle is aligned as a uint32_t, so structures of handles and such
 * numbers are known to hold no pointers, and pack without gaps.
 *
 * EBB_POOL_SMALL(name, T): the same with handles of four bytes: at most 16 million slots at once,
 * and 255 lives each. So such a pool is used up, and says that there is no memory, after four
 * thousand million handles, or after a quarter of that when its blocks come and go.
 *
 * A zero-initialised handle is null: it names nothing in any pool. A handle is stale once its slot
 * was removed. A slot gets a new generation each time it is reused, and none twice: a slot that has
 * had them all is retired. So a stale handle never names another object. After ebb_pool_release the
 * handles of an EBB_POOL stay stale as well, for the first thousand million generations; those of
 * an EBB_POOL_SMALL may be handed out again. A handle of another pool of the same type is not told
 * apart.
 *
 * Slots never move: a T * is valid until its slot is removed. They come in blocks of up to 2 MiB; a
 * block without slots in use goes back to the system, except one. New slots fill the lowest blocks
 * first, so that a pool that shrinks empties the others. */
#define EBB_POOL(name, T)       EBB__POOL(name, T, 2)
#define EBB_POOL_SMALL(name, T) EBB__POOL(name, T, 1)

/* Whether a handle is null; whether two are the same; a handle's bits, to print or sort by. */
#define ebb_handle_null(handle)   (ebb_handle_number(handle) == 0)
#define ebb_handle_equal(a, b)    (ebb_handle_number(a) == ebb_handle_number(b))
#define ebb_handle_number(handle) EBB__HANDLE_NUMBER(handle)

/* A new slot that holds value, which is a T; the null handle without memory.
 * Owns: the pool.   Threads: one at a time.   Collects: only at the memory limit. */
#define ebb_pool_add(pool, value) EBB__POOL_ADD(pool, value)

/* A new slot, zeroed: its T *, and its handle in *handle; a null pointer without memory, and
 * *handle is the null handle then. Otherwise as ebb_pool_add. */
#define ebb_pool_new(pool, handle_out) EBB__POOL_NEW(pool, handle_out)

/* The slot's T *; a null pointer when the handle is null or stale.
 * Threads: any, while nobody changes the pool.   Collects: never. */
#define ebb_pool_get(pool, handle) EBB__POOL_GET(pool, handle)

/* The same for a handle that has to be good: with EBB_CHECKS, prints a line and aborts where
 * ebb_pool_get returns a null pointer. */
#define ebb_pool_at(pool, handle) EBB__POOL_AT(pool, handle)

/* Frees the slot for reuse; what it held is zeroed, so that it keeps nothing alive.
 * Returns / errors: 0; EBB_ESTALE when it was removed before, or is null (a misuse).
 * Threads: one at a time.   Collects: never. */
#define ebb_pool_remove(pool, handle) EBB__POOL_REMOVE(pool, handle)

/* Runs the statement after it for each slot in use, in the order of the slots, with `handle` its
 * handle and `item` its T *. break and continue work. Inside, any slot may be removed and new ones
 * added; one that is added meanwhile may be met or not. */
#define ebb_pool_each(pool, handle, item) EBB__POOL_EACH(pool, handle, item)

/* Slots in use; bytes mapped for all of the pool. */
#define ebb_pool_len(pool)   ((size_t)(pool)->as.core.live)
#define ebb_pool_bytes(pool) ((size_t)(pool)->as.core.mapped_bytes)

/* Gives all of it back to the system; the pool is empty and usable (and no root).
 * Threads: one at a time.   Collects: never. */
#define ebb_pool_release(pool) ebb__pool_release(EBB__CORE(pool), EBB__POOL_SPEC(pool))

/* From now on the collector searches the slots for pointers to heap objects, word by word. Undone
 * by ebb_pool_release only.
 * Returns / errors: 0; EBB_ENOMEM, and the pool is then no root.
 * Threads: one at a time.   Collects: never. */
#define ebb_pool_root(pool) ebb__pool_root(EBB__CORE(pool), EBB__POOL_SPEC(pool))

/* --- String banks ----------------------------------------------------------------------------- */

/* Equal strings, equal numbers. Ids count from 1 in the order of interning, without gaps, and so
 * can index an array; 0 is no string. Hashing is keyed with a secret of the bank, so that nobody
 * can choose strings that collide. No call moves more than a few entries of the table. */
typedef uint32_t ebb_bank_id;

typedef struct ebb_bank {
    ebb_region text;              /* each string: its length, its bytes, a zero byte */
    const char **texts[25];       /* by id, in arrays each as long as all before it */
    struct ebb__bank_slot *slots; /* the table */
    struct ebb__bank_slot *old;   /* the one it replaces, until all of it was moved */
    size_t old_moved;             /* slots of old that are in the table as well */
    size_t old_bytes;             /* of old, still mapped */
    size_t mapped_bytes;          /* of all but the text */
    uint32_t slots_log2;
    uint32_t old_log2;
    uint32_t len;
    uint64_t key[2]; /* of the hash; random, chosen with the first string */
} ebb_bank;

/* The id of the text, which is copied into the bank if no equal one is there.
 * Returns / errors: 0 without memory, after three thousand million strings, and for a text of 4 GiB
 *   or more or one with a null ptr and a length (EBB_EINVAL, a misuse).
 * Owns: the bank.   Threads: one at a time.   Collects: only at the memory limit. */
EBB_API ebb_bank_id ebb_bank_intern(ebb_bank *bank, ebb_str text);

/* The id of the text, or 0 when it is not there. */
EBB_API ebb_bank_id ebb_bank_find(const ebb_bank *bank, ebb_str text);

/* The text of an id: the bank's own, valid until the release; a zero byte follows it.
 * Returns / errors: {NULL, 0} for id 0; the same for an id that the bank has not given out
 *   (EBB_ENOENT, a misuse).
 * Threads: any, while nobody changes the bank.   Collects: never. */
EBB_API ebb_str ebb_bank_text(const ebb_bank *bank, ebb_bank_id id);

/* How many strings: the highest id. Bytes mapped for all of the bank. */
EBB__INLINE uint32_t ebb_bank_len(const ebb_bank *bank) {
    return bank->len;
}
EBB_API size_t ebb_bank_bytes(const ebb_bank *bank);

/* Gives all of it back to the system; the bank is as if zero-initialised.
 * Threads: one at a time.   Collects: never. */
EBB_API void ebb_bank_release(ebb_bank *bank);

/* --- Pins ------------------------------------------------------------------------------------- */

/* A number that keeps a heap object alive, wherever the number is stored: in memory from malloc, in
 * a region, in another library's structures. 0 pins nothing. */
typedef uint64_t ebb_handle;

/* Keeps the object that p points into alive until the handle is unpinned. An object may be pinned
 * several times, with a handle each.
 * Returns / errors: 0 without memory, and for a p that is null or points to no heap object
 *   (EBB_ENOTHEAP, a misuse).
 * Owns: the caller, to unpin.   Threads: any.   Collects: only at the memory limit. */
EBB_API ebb_handle ebb_pin(const void *p);

/* The pointer that was pinned; null for 0 and for a handle that was unpinned.
 * Threads: any.   Collects: never. */
EBB_API void *ebb_pin_get(ebb_handle pin);

/* Lets go of the object.
 * Returns / errors: 0; EBB_ESTALE when it was unpinned before, or never was a pin (a misuse).
 * Threads: any.   Collects: never. */
EBB_API int ebb_unpin(ebb_handle pin);

/* How many pins there are: one that is forgotten keeps its object for ever. Threads: any. */
EBB_API size_t ebb_pin_count(void);

/* --- Behind the macros ------------------------------------------------------------------------ */

EBB_API void *ebb__region_grow(ebb_region *region, size_t size, size_t align);

EBB__INLINE void *ebb_region_alloc(ebb_region *region, size_t size, size_t align) {
    bool good = region && size != 0 && align != 0 && (align & (align - 1)) == 0;
    if (EBB__LIKELY(good)) {
        uintptr_t start = (region->next + (align - 1)) & ~(uintptr_t)(align - 1);
        if (EBB__LIKELY(start <= region->end && size <= region->end - start)) {
            region->next = start + size;
            return (void *)start;
        }
    }
    return ebb__region_grow(region, size, align);
}

EBB__INLINE void *ebb__region_array(ebb_region *region, size_t n, size_t size, size_t align) {
    size_t bytes;
    if (EBB__RARE(__builtin_mul_overflow(n, size, &bytes))) return NULL;
    return ebb_region_alloc(region, bytes, align);
}

/* Slots with consecutive numbers, in a mapping of their own: states, taken, slots. A state is
 * generation * 2, and 1 more while the slot is in use. A block keeps its place in the directory
 * when its memory goes; of its generations the floor remains. For a block that is mapped:
 *
 *   live + retired + free = capacity,  taken has live + retired bits,  floor <= top */
typedef struct ebb__block {
    unsigned char *slots;
    uint32_t *states;  /* the mapping's start; null while there is none */
    uint64_t *taken;   /* a bit a slot: in use, or retired; behind it, a bit a word: full */
    uint64_t adds;     /* since the block was mapped */
    uint32_t capacity; /* slots; 0 while not mapped */
    uint32_t live;     /* slots in use */
    uint32_t retired;  /* slots that have had every generation */
    uint32_t low;      /* no word of the latter below this one has a zero */
    uint32_t floor;    /* no slot gets a generation up to this one again */
    uint32_t top;      /* the highest generation that was given out */
    uint32_t vacant;   /* while not mapped: the next such block, plus one */
} ebb__block;

typedef struct ebb__pool {
    ebb__block *block;     /* the directory, by slot number >> shift; `open` lies behind it */
    uint64_t *open;        /* a bit a block: it has a free slot */
    uint32_t blocks, room; /* entries of the directory: used, and all */
    uint32_t open_low;     /* no word of open below this one has a bit */
    uint32_t vacant;       /* a block that is not mapped and may be again, plus one */
    uint32_t spare;        /* the block that is empty and stays mapped, plus one */
    uint32_t floor;        /* as that of the blocks, for all that are to come */
    size_t live;
    size_t mapped_bytes;
    bool is_root;
} ebb__pool;

/* What the compiler knows of a pool. */
typedef struct ebb__pool_spec {
    size_t slot_bytes;
    size_t words; /* of a handle: 2, or 1 for a small one */
} ebb__pool_spec;

enum {
    EBB__SMALL_SLOT_BITS = 24,  /* of a small handle: the slot number; the rest is the generation */
    EBB__SMALL_BLOCK_LOG2 = 18, /* bytes of a block's slots at most: 256 KiB with small handles, */
    EBB__BLOCK_LOG2 = 21        /* else 2 MiB; or one slot */
};

/* How many slot numbers a block has, as a power of two. */
EBB__INLINE uint32_t ebb__pool_shift(ebb__pool_spec spec) {
    uint32_t block_log2 = spec.words == 2 ? EBB__BLOCK_LOG2 : EBB__SMALL_BLOCK_LOG2;
    uint32_t most = spec.words == 2 ? EBB__BLOCK_LOG2 - 3 : 12;
    uint32_t slot_log2 =
        spec.slot_bytes > 1 ? 64u - (uint32_t)__builtin_clzll(spec.slot_bytes - 1ull) : 0;
    uint32_t shift = slot_log2 < block_log2 ? block_log2 - slot_log2 : 0;
    return shift < most ? shift : most;
}

EBB__INLINE uint64_t ebb__handle_number(const uint32_t *word, size_t words) {
    return words == 2 ? (uint64_t)word[1] << 32 | word[0] : word[0];
}

EBB__INLINE uint32_t ebb__handle_slot(const uint32_t *word, size_t words) {
    return words == 2 ? word[0] : word[0] & ((1u << EBB__SMALL_SLOT_BITS) - 1);
}

EBB__INLINE uint32_t ebb__handle_generation(const uint32_t *word, size_t words) {
    return words == 2 ? word[1] : word[0] >> EBB__SMALL_SLOT_BITS;
}

EBB__INLINE void *ebb__pool_find(const ebb__pool *pool, ebb__pool_spec spec, const uint32_t *word) {
    uint32_t shift = ebb__pool_shift(spec), slot = ebb__handle_slot(word, spec.words);
    uint32_t at = slot & ((1u << shift) - 1);
    uint64_t state = (uint64_t)ebb__handle_generation(word, spec.words) * 2 + 1;
    if (EBB_CHECKS && EBB__RARE(!pool)) ebb__fail("ebb_pool_get", "the pool is a null pointer");
    if (EBB__RARE(slot >> shift >= pool->blocks)) return NULL;
    const ebb__block *block = &pool->block[slot >> shift];
    if (EBB__RARE(at >= block->capacity || block->states[at] != state)) return NULL;
    return block->slots + at * spec.slot_bytes;
}

EBB__INLINE void *ebb__pool_must_find(const ebb__pool *pool, ebb__pool_spec spec,
                                      const uint32_t *word) {
    void *item = ebb__pool_find(pool, spec, word);
    if (EBB_CHECKS && EBB__RARE(!item)) {
        uint64_t number = ebb__handle_number(word, spec.words);
        ebb__fail("ebb_pool_at", "handle 0x%llx is %s", (unsigned long long)number,
                  number ? "stale" : "null");
    }
    return item;
}

EBB_API void *ebb__pool_new(ebb__pool *pool, ebb__pool_spec spec, uint32_t *word);
EBB_API int ebb__pool_remove(ebb__pool *pool, ebb__pool_spec spec, const uint32_t *word);
EBB_API void *ebb__pool_next(const ebb__pool *pool, ebb__pool_spec spec, uint64_t *from,
                             uint32_t *word);
EBB_API int ebb__pool_root(ebb__pool *pool, ebb__pool_spec spec);
EBB_API void ebb__pool_release(ebb__pool *pool, ebb__pool_spec spec);

/* clang-format off */

/* A pool is its core; the other members only carry the types. */
#define EBB__POOL(name, T, words)             \
    typedef struct name##_handle {            \
        uint32_t word[words];                 \
    } name##_handle;                          \
    typedef struct name {                     \
        union {                               \
            ebb__pool core;                   \
            T *item_type;                     \
            name##_handle *handle_type;       \
        } as;                                 \
    } name

/* A cast, so that a null pointer comes out as one. */
#define EBB__CORE(pool)   ((__typeof__(&(pool)->as.core))(pool))
#define EBB__ITEM(pool)   __typeof__(*(pool)->as.item_type)
#define EBB__HANDLE(pool) __typeof__(*(pool)->as.handle_type)
#define EBB__WORDS(h)     (sizeof((h).word) / sizeof(uint32_t))

#define EBB__POOL_SPEC(pool) \
    ((ebb__pool_spec){sizeof(EBB__ITEM(pool)), sizeof(EBB__HANDLE(pool)) / sizeof(uint32_t)})

#define EBB__HANDLE_NUMBER(handle)                           \
    (__extension__({                                         \
        const __typeof__(handle) ebb__h = (handle);          \
        ebb__handle_number(ebb__h.word, EBB__WORDS(ebb__h)); \
    }))

#define EBB__POOL_ADD(pool, value)                                                            \
    (__extension__({                                                                          \
        __typeof__(pool) ebb__p = (pool);                                                     \
        EBB__ITEM(ebb__p) ebb__value = (value), *ebb__item;                                   \
        EBB__HANDLE(ebb__p) ebb__h;                                                           \
        ebb__item = ebb__pool_new(EBB__CORE(ebb__p), EBB__POOL_SPEC(ebb__p), ebb__h.word);     \
        if (ebb__item) *ebb__item = ebb__value;                                               \
        ebb__h;                                                                               \
    }))

#define EBB__POOL_NEW(pool, handle_out)                                                       \
    (__extension__({                                                                          \
        __typeof__(pool) ebb__p = (pool);                                                     \
        EBB__HANDLE(ebb__p) *ebb__h = (handle_out);                                           \
        (EBB__ITEM(ebb__p) *)ebb__pool_new(EBB__CORE(ebb__p), EBB__POOL_SPEC(ebb__p),          \
                                           ebb__h ? ebb__h->word : NULL);                     \
    }))

/* call(core, spec, words of the handle) with the types checked. */
#define EBB__POOL_CALL(call, pool, handle)                                                    \
    (__extension__({                                                                          \
        __typeof__(pool) ebb__p = (pool);                                                     \
        const EBB__HANDLE(ebb__p) ebb__h = (handle);                                          \
        call(EBB__CORE(ebb__p), EBB__POOL_SPEC(ebb__p), ebb__h.word);                          \
    }))

#define EBB__POOL_GET(pool, handle) \
    ((EBB__ITEM(pool) *)EBB__POOL_CALL(ebb__pool_find, pool, handle))
#define EBB__POOL_AT(pool, handle) \
    ((EBB__ITEM(pool) *)EBB__POOL_CALL(ebb__pool_must_find, pool, handle))
#define EBB__POOL_REMOVE(pool, handle) EBB__POOL_CALL(ebb__pool_remove, pool, handle)

/* The outer two run once, to declare; the third is the loop, so that break ends it. */
#define EBB__POOL_EACH(pool, h, i) EBB__POOL_EACH2(EBB__CAT(ebb__at_, __COUNTER__), pool, h, i)
#define EBB__POOL_EACH2(at, pool, h, i) EBB__POOL_EACH3(at, pool, h, i)
#define EBB__POOL_EACH3(at, pool, h, i)                                                       \
    for (uint64_t at = 0, at##_once = 1; at##_once; at##_once = 0)                            \
        for (EBB__HANDLE(pool) h; at##_once; at##_once = 0)                                   \
            for (EBB__ITEM(pool) *i;                                                          \
                 (i = ebb__pool_next(EBB__CORE(pool), EBB__POOL_SPEC(pool), &at, h.word)) != NULL;)

/* clang-format on */

#ifdef __cplusplus
}
#endif
#endif
