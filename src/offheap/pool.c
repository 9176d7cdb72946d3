/* pool.c - slots of one size that never move, named by numbers.
 *
 * A slot number is a block's place in the directory and a place in the block. Everything that a
 * lookup needs of a block stands in its directory entry; the states, which hold the generations,
 * lie in front of the slots in the same mapping:
 *
 *   directory | block 0 | block 1 | ... | room | open: a bit a block |
 *   mapping   | states: 4 bytes a slot | taken: a bit a slot | full: a bit a word | slots .... |
 *
 * New slots come from the lowest block that has one free, so that a pool which shrinks empties its
 * upper blocks, and their mappings go back. One empty block stays, so that a pool which wavers
 * about a block's edge does not map and unmap with each step; a large one goes when nothing is
 * left.
 *
 * Generations are what makes a stale handle harmless, so they must outlive the states in a mapping
 * that went: the entry keeps the highest of them as its floor. That spends the generations which
 * the block's other slots had left. A small handle has few: there a block goes only when what is
 * spent is at most four times what was used; else its pages alone are returned. See
 * docs/offheap.md. */
#include "offheap.h"
#include "../../include/ebb/gc.h"

#define POOL_FIRST_BYTES      (16 * KIB) /* of a first block's slots, about */
#define POOL_SPARE_BYTES      (64 * KIB) /* an empty pool keeps no more than this */
#define POOL_DIRECTORY_FIRST  32u        /* entries */
#define POOL_GENERATIONS      INT32_MAX  /* a slot */
#define POOL_SMALL_GENERATION ((1u << (32 - EBB__SMALL_SLOT_BITS)) - 1)
#define POOL_WASTE            4 /* generations spent to those used, of small handles */

static_assert(sizeof(ebb__block) == 64, "an entry of the directory is a cache line");

static uint32_t pool_generations(ebb__pool_spec spec) {
    return spec.words == 2 ? POOL_GENERATIONS : POOL_SMALL_GENERATION;
}

/* How many entries the directory may have: the slot numbers that a handle can hold. */
static uint32_t pool_most_blocks(ebb__pool_spec spec) {
    uint32_t bits = (spec.words == 2 ? 32 : EBB__SMALL_SLOT_BITS) - ebb__pool_shift(spec);
    return bits == 32 ? UINT32_MAX : 1u << bits;
}

/* The first bit of `words` that is `want`, from word `from` on; count * 64 when there is none. */
static uint32_t pool_bit(const uint64_t *words, uint32_t from, uint32_t count, bool want) {
    for (uint32_t i = from; i < count; i++) {
        uint64_t word = want ? words[i] : ~words[i];
        if (word) return i * 64 + (uint32_t)__builtin_ctzll(word);
    }
    return count * 64;
}

static uint32_t pool_bit_words(uint32_t bits) {
    return bits / 64 + (bits % 64 != 0);
}

/* --- The geometry of a block ------------------------------------------------------------------ */

typedef struct block_shape {
    size_t taken, full, slots; /* offsets in the mapping */
    size_t slots_bytes;
    size_t bytes;
} block_shape;

static block_shape block_shape_of(ebb__pool_spec spec, uint32_t capacity) {
    /* The largest power of two that divides the size is a multiple of the type's alignment. */
    size_t align = spec.slot_bytes & -spec.slot_bytes;
    block_shape shape;
    shape.taken = round_up(capacity * sizeof(uint32_t), sizeof(uint64_t));
    shape.full = shape.taken + pool_bit_words(capacity) * sizeof(uint64_t);
    shape.slots = shape.full + pool_bit_words(pool_bit_words(capacity)) * sizeof(uint64_t);
    shape.slots = round_up(shape.slots, max_size(min_size(align, 4096), 1));
    shape.slots_bytes = capacity * spec.slot_bytes;
    shape.bytes = round_up(shape.slots + shape.slots_bytes, ebb__os_page_size());
    return shape;
}

/* As much as the whole pool has by now. Small handles cannot afford numbers without slots. */
static uint32_t block_capacity(const ebb__pool *pool, ebb__pool_spec spec) {
    size_t most = (size_t)1 << ebb__pool_shift(spec);
    size_t bytes = max_size(pool->mapped_bytes, POOL_FIRST_BYTES);
    size_t fitting = max_size(bytes / max_size(spec.slot_bytes, 1), 1);
    return (uint32_t)(spec.words == 2 ? min_size(fitting, most) : most);
}

/* A bit a word of taken: it has no free slot. */
static uint64_t *block_full(const ebb__block *block) {
    return block->taken + pool_bit_words(block->capacity);
}

static uint32_t block_free(const ebb__block *block) {
    return block->capacity - block->live - block->retired;
}

/* --- The directory ---------------------------------------------------------------------------- */

static size_t pool_directory_bytes(uint32_t room) {
    return room * sizeof(ebb__block) + pool_bit_words(room) * sizeof(uint64_t);
}

static void pool_directory_unmap(ebb__pool *pool) {
    if (!pool->block) return;
    pool->mapped_bytes -= round_up(pool_directory_bytes(pool->room), ebb__os_page_size());
    ebb__offheap_unmap(pool->block, pool_directory_bytes(pool->room));
}

/* Moves the directory to `memory`, which has the room. */
static void pool_directory_replace(ebb__pool *pool, void *memory, uint32_t room) {
    ebb__block *block = memory;
    uint64_t *open = (uint64_t *)(block + room);
    if (pool->blocks) {
        memcpy(block, pool->block, pool->blocks * sizeof *block);
        memcpy(open, pool->open, pool_bit_words(pool->blocks) * sizeof *open);
    }
    pool_directory_unmap(pool);
    pool->block = block;
    pool->open = open;
    pool->room = room;
    pool->mapped_bytes += round_up(pool_directory_bytes(room), ebb__os_page_size());
}

static void block_open(ebb__pool *pool, uint32_t index) {
    pool->open[index / 64] |= (uint64_t)1 << index % 64;
    if (index / 64 < pool->open_low) pool->open_low = index / 64;
}

static void block_close(ebb__pool *pool, uint32_t index) {
    pool->open[index / 64] &= ~((uint64_t)1 << index % 64);
}

/* The lowest block with a free slot, or pool->blocks. */
static uint32_t pool_find_open(ebb__pool *pool) {
    uint32_t words = pool_bit_words(pool->blocks);
    uint32_t index = pool_bit(pool->open, pool->open_low, words, true);
    pool->open_low = index / 64;
    return index < pool->blocks ? index : pool->blocks;
}

/* --- Blocks come and go ----------------------------------------------------------------------- */

/* Whether the directory has a place for one more block without growing. */
static bool pool_has_place(const ebb__pool *pool) {
    return pool->vacant || pool->blocks < pool->room;
}

/* Makes the mapping `memory` a block. False when it could not be made a root. */
static bool block_install(ebb__pool *pool, ebb__pool_spec spec, void *memory, uint32_t capacity) {
    block_shape shape = block_shape_of(spec, capacity);
    unsigned char *slots = (unsigned char *)memory + shape.slots;
    if (pool->is_root && ebb_root_add(slots, max_size(shape.slots_bytes, 1)) != 0) return false;

    uint32_t index = pool->vacant ? pool->vacant - 1 : pool->blocks++;
    ebb__block *block = &pool->block[index];
    uint32_t floor = pool->vacant ? block->floor : pool->floor;
    if (pool->vacant) pool->vacant = block->vacant;
    *block = (ebb__block){.slots = slots,
                          .states = memory,
                          .taken = (uint64_t *)((char *)memory + shape.taken),
                          .capacity = capacity,
                          .floor = floor,
                          .top = floor};
    if (capacity % 64) block->taken[capacity / 64] = ~(uint64_t)0 << capacity % 64;
    uint32_t words = pool_bit_words(capacity);
    if (words % 64) block_full(block)[words / 64] = ~(uint64_t)0 << words % 64;
    pool->mapped_bytes += shape.bytes;
    block_open(pool, index);
    return true;
}

static void block_unmap(ebb__pool *pool, ebb__pool_spec spec, ebb__block *block) {
    block_shape shape = block_shape_of(spec, block->capacity);
    if (pool->is_root) ebb_root_remove(block->slots);
    ebb__offheap_unmap(block->states, shape.bytes);
    pool->mapped_bytes -= shape.bytes;
}

/* Gives back an empty block. */
static void block_remove(ebb__pool *pool, ebb__pool_spec spec, uint32_t index) {
    ebb__block *block = &pool->block[index];
    block_unmap(pool, spec, block);
    block_close(pool, index);
    *block = (ebb__block){.floor = block->top, .top = block->top};
    if (block->floor == pool_generations(spec)) return;
    block->vacant = pool->vacant;
    pool->vacant = index + 1;
}

/* Whether forgetting the single generations of an empty block is worth it: see the file's head. */
static bool block_may_go(ebb__pool_spec spec, const ebb__block *block) {
    uint64_t spent = (uint64_t)(block->top - block->floor) << ebb__pool_shift(spec);
    return spec.words == 2 || spent <= POOL_WASTE * block->adds;
}

/* Gives back what an empty block has: all of it, or the pages of its slots. */
static void block_return(ebb__pool *pool, ebb__pool_spec spec, uint32_t index) {
    ebb__block *block = &pool->block[index];
    if (block_may_go(spec, block)) {
        block_remove(pool, spec, index);
        return;
    }
    block_shape shape = block_shape_of(spec, block->capacity);
    size_t page = ebb__os_page_size();
    uintptr_t start = round_up((uintptr_t)block->slots, page);
    uintptr_t end = round_down((uintptr_t)block->slots + shape.slots_bytes, page);
    if (start < end) ebb__os_return((void *)start, end - start);
}

/* The last slot in use of a block was removed: keeps the lower one of it and the spare block. */
static void block_emptied(ebb__pool *pool, ebb__pool_spec spec, uint32_t index) {
    uint32_t keep = index;
    if (pool->spare) {
        keep = pool->spare - 1 < index ? pool->spare - 1 : index;
        block_return(pool, spec, keep == index ? pool->spare - 1 : index);
    }
    pool->spare = keep + 1;
    const ebb__block *spare = &pool->block[keep];
    bool useful = block_free(spare) != 0;
    bool small = block_shape_of(spec, spare->capacity).bytes <= POOL_SPARE_BYTES;
    if (useful && (pool->live != 0 || small)) return;
    block_return(pool, spec, keep);
    pool->spare = 0;
}

/* Fetches memory for one more block, with the lock (if there is one) let go meanwhile. The pool may
 * have changed then, and have no use for it any more. False without memory. */
static bool pool_extend(ebb__pool *pool, ebb__pool_spec spec, os_lock *lock) {
    uint32_t most = pool_most_blocks(spec), room = 0;
    if (!pool_has_place(pool)) {
        if (pool->room >= most) return false;
        room = pool->room ? pool->room : POOL_DIRECTORY_FIRST / 2;
        room = room > most / 2 ? most : room * 2;
    }
    uint32_t capacity = block_capacity(pool, spec);
    size_t bytes = block_shape_of(spec, capacity).bytes;

    if (lock) ebb__os_unlock(lock);
    void *directory = room ? ebb__offheap_map(pool_directory_bytes(room)) : NULL;
    void *memory = !room || directory ? ebb__offheap_map(bytes) : NULL;
    if (lock) ebb__os_lock(lock);

    if (directory && room > pool->room) {
        pool_directory_replace(pool, directory, room);
    } else if (directory) {
        ebb__offheap_unmap(directory, pool_directory_bytes(room));
    }
    if (!memory) return false;
    bool wanted = pool_has_place(pool) && pool_find_open(pool) == pool->blocks;
    bool installed = wanted && block_install(pool, spec, memory, capacity);
    if (!installed) ebb__offheap_unmap(memory, bytes);
    return installed || !wanted;
}

/* --- Slots ------------------------------------------------------------------------------------ */

static void pool_handle_make(uint32_t *word, ebb__pool_spec spec, uint32_t slot,
                             uint32_t generation) {
    if (spec.words == 2) {
        word[0] = slot;
        word[1] = generation;
    } else {
        word[0] = slot | generation << EBB__SMALL_SLOT_BITS;
    }
}

/* The lowest free slot of a block that has one; it is taken now. */
static uint32_t block_take_lowest(ebb__block *block) {
    uint64_t *full = block_full(block);
    uint32_t fulls = pool_bit_words(pool_bit_words(block->capacity));
    uint32_t word = pool_bit(full, block->low, fulls, false);
    uint32_t at = pool_bit(block->taken, word, word + 1, false);
    ebb__assert(at < block->capacity);
    block->low = word / 64;
    block->taken[word] |= (uint64_t)1 << at % 64;
    if (block->taken[word] == ~(uint64_t)0) full[word / 64] |= (uint64_t)1 << word % 64;
    return at;
}

static void block_untake(ebb__block *block, uint32_t at) {
    uint32_t word = at / 64;
    block->taken[word] &= ~((uint64_t)1 << at % 64);
    block_full(block)[word / 64] &= ~((uint64_t)1 << word % 64);
    if (word / 64 < block->low) block->low = word / 64;
}

/* Takes a slot of a block that has one free. */
static void *block_take(ebb__pool *pool, ebb__pool_spec spec, uint32_t index, uint32_t *word) {
    ebb__block *block = &pool->block[index];
    uint32_t at = block_take_lowest(block);
    uint32_t last = block->states[at] >> 1;
    uint32_t generation = (last > block->floor ? last : block->floor) + 1;

    block->states[at] = generation * 2 + 1;
    if (generation > block->top) block->top = generation;
    block->adds++;
    block->live++;
    pool->live++;
    if (pool->spare == index + 1) pool->spare = 0;
    if (block_free(block) == 0) block_close(pool, index);
    pool_handle_make(word, spec, index << ebb__pool_shift(spec) | at, generation);
    return block->slots + at * spec.slot_bytes;
}

void *ebb__pool_new_locked(ebb__pool *pool, ebb__pool_spec spec, uint32_t *word, os_lock *lock) {
    for (;;) {
        uint32_t index = pool_find_open(pool);
        if (index < pool->blocks) return block_take(pool, spec, index, word);
        if (!pool_extend(pool, spec, lock)) return NULL;
    }
}

void *ebb__pool_new(ebb__pool *pool, ebb__pool_spec spec, uint32_t *word) {
    if (word) memset(word, 0, spec.words * sizeof *word);
    if (!pool || !word) {
        ebb__misuse(EBB_EINVAL, "ebb_pool_new", "the %s is a null pointer",
                    pool ? "handle" : "pool");
        return NULL;
    }
    return ebb__pool_new_locked(pool, spec, word, NULL);
}

int ebb__pool_remove(ebb__pool *pool, ebb__pool_spec spec, const uint32_t *word) {
    const char *call = "ebb_pool_remove";
    if (!pool) return ebb__misuse(EBB_EINVAL, call, "the pool is a null pointer");
    void *item = ebb__pool_find(pool, spec, word);
    if (!item) {
        uint64_t number = ebb__handle_number(word, spec.words);
        return ebb__misuse(EBB_ESTALE, call, "handle 0x%llx is %s", (unsigned long long)number,
                           number ? "stale: it was removed before" : "null");
    }
    uint32_t slot = ebb__handle_slot(word, spec.words), shift = ebb__pool_shift(spec);
    uint32_t index = slot >> shift, at = slot & ((1u << shift) - 1);
    uint32_t generation = ebb__handle_generation(word, spec.words);
    ebb__block *block = &pool->block[index];

    memset(item, 0, spec.slot_bytes);
    block->states[at] = generation * 2;
    block->live--;
    pool->live--;
    if (generation == pool_generations(spec)) {
        block->retired++;
    } else {
        block_untake(block, at);
        block_open(pool, index);
    }
    if (block->live == 0) block_emptied(pool, spec, index);
    return 0;
}

void *ebb__pool_next(const ebb__pool *pool, ebb__pool_spec spec, uint64_t *from, uint32_t *word) {
    uint32_t shift = ebb__pool_shift(spec);
    uint32_t at = (uint32_t)(*from & ((1u << shift) - 1));
    for (uint64_t index = *from >> shift; index < pool->blocks; index++, at = 0) {
        const ebb__block *block = &pool->block[index];
        for (; block->live && at < block->capacity; at++) {
            if (at % 64 == 0 && block->taken[at / 64] == 0) at += 63;
            if (at >= block->capacity || !(block->states[at] & 1)) continue;
            *from = (index << shift | at) + 1;
            pool_handle_make(word, spec, (uint32_t)(index << shift | at), block->states[at] >> 1);
            return block->slots + at * spec.slot_bytes;
        }
    }
    *from = (uint64_t)pool->blocks << shift;
    return NULL;
}

/* --- The whole pool
 * -------------------------------------------------------------------------------- */

static void block_check(const ebb__block *block) {
    uint32_t live = 0, taken = 0;
    for (uint32_t i = 0; i < block->capacity; i++) {
        uint32_t state = block->states[i];
        bool is_taken = block->taken[i / 64] >> i % 64 & 1;
        live += state & 1;
        taken += is_taken;
        ebb__assert(state >> 1 <= block->top);
        ebb__assert(!(state & 1) || (is_taken && state >> 1 > block->floor));
        ebb__assert(is_taken || i / 64 / 64 >= block->low);
    }
    ebb__assert(live == block->live && taken == block->live + block->retired);
    for (uint32_t i = 0; i < pool_bit_words(block->capacity); i++) {
        bool is_full = block_full(block)[i / 64] >> i % 64 & 1;
        ebb__assert(is_full == (block->taken[i] == ~(uint64_t)0));
    }
}

/* The invariants of offheap.h, in builds with assertions. */
static void pool_check(const ebb__pool *pool, ebb__pool_spec spec) {
    size_t live = 0, bytes = 0;
    for (uint32_t i = 0; EBB_ASSERTIONS && i < pool->blocks; i++) {
        const ebb__block *block = &pool->block[i];
        bool open = pool->open[i / 64] >> i % 64 & 1;
        ebb__assert(open == (block_free(block) != 0));
        ebb__assert(!open || i / 64 >= pool->open_low);
        if (block->capacity) bytes += block_shape_of(spec, block->capacity).bytes;
        block_check(block);
        live += block->live;
    }
    if (pool->room) bytes += round_up(pool_directory_bytes(pool->room), ebb__os_page_size());
    ebb__assert(!EBB_ASSERTIONS || (live == pool->live && bytes == pool->mapped_bytes));
}

int ebb__pool_root(ebb__pool *pool, ebb__pool_spec spec) {
    if (!pool) return ebb__misuse(EBB_EINVAL, "ebb_pool_root", "the pool is a null pointer");
    if (pool->is_root) return 0;
    for (uint32_t i = 0; i < pool->blocks; i++) {
        const ebb__block *block = &pool->block[i];
        size_t bytes = max_size(block->capacity * spec.slot_bytes, 1);
        int code = block->capacity ? ebb_root_add(block->slots, bytes) : 0;
        if (code == 0) continue;
        while (i-- > 0)
            if (pool->block[i].capacity) ebb_root_remove(pool->block[i].slots);
        return code;
    }
    pool->is_root = true;
    return 0;
}

/* The floor is all that stays, so that handles from before are stale after. Small handles would run
 * out after few releases, and the others start anew when half their generations are gone. */
void ebb__pool_release(ebb__pool *pool, ebb__pool_spec spec) {
    if (!pool) {
        ebb__misuse(EBB_EINVAL, "ebb_pool_release", "the pool is a null pointer");
        return;
    }
    pool_check(pool, spec);
    uint32_t floor = pool->floor;
    for (uint32_t i = 0; i < pool->blocks; i++) {
        ebb__block *block = &pool->block[i];
        if (block->top > floor) floor = block->top;
        if (block->capacity) block_unmap(pool, spec, block);
    }
    pool_directory_unmap(pool);
    ebb__assert(pool->mapped_bytes == 0);
    bool lasting = spec.words == 2 && floor < POOL_GENERATIONS / 2;
    *pool = (ebb__pool){.floor = lasting ? floor : 0};
}
