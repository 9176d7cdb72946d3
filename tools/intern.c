/* intern.c - see intern.h. */
#define _GNU_SOURCE 1
#include "intern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { CHUNK_BYTES = 64 << 10, SLOTS_FIRST = 64 };

struct intern_chunk {
    struct intern_chunk *before;
    size_t used, room;
    char bytes[];
};

/* --- Memory --------------------------------------------------------------------------------- */

static void *intern_need(void *p) {
    if (p) return p;
    fputs("ebb: out of memory\n", stderr);
    exit(EXIT_FAILURE);
}

void *need_room(void *array, size_t *room, size_t count, size_t size) {
    if (count < *room) return array;
    size_t wanted = count + count / 2 + 16, bytes;
    if (__builtin_mul_overflow(wanted, size, &bytes)) intern_need(NULL);
    *room = wanted;
    return intern_need(realloc(array, bytes));
}

static char *intern_copy(struct intern *in, const void *key, size_t size) {
    struct intern_chunk *chunk = in->chunk;
    if (!chunk || chunk->room - chunk->used <= size) {
        size_t room = size + 1 > CHUNK_BYTES ? size + 1 : CHUNK_BYTES;
        chunk = intern_need(malloc(sizeof *chunk + room));
        *chunk = (struct intern_chunk){in->chunk, 0, room};
        in->chunk = chunk;
    }
    char *to = chunk->bytes + chunk->used;
    if (size > 0) memcpy(to, key, size);
    to[size] = 0;
    chunk->used += size + 1;
    return to;
}

/* --- Hashing -------------------------------------------------------------------------------- */

static uint64_t intern_mix(uint64_t a, uint64_t b) {
    unsigned __int128 product = (unsigned __int128)(a ^ 0x9e3779b97f4a7c15u) * (b | 1);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t intern_hash(const struct intern *in, const void *key, size_t size) {
    const char *at = key;
    uint64_t hash = in->seed ^ size, word;
    for (; size >= 8; size -= 8, at += 8) {
        memcpy(&word, at, 8);
        hash = intern_mix(hash ^ word, in->seed);
    }
    word = 0;
    if (size > 0) memcpy(&word, at, size);
    hash = intern_mix(hash ^ word, in->seed);
    return (uint32_t)(hash ^ hash >> 32);
}

static uint64_t intern_seed(void) {
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == sizeof seed) return seed;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15u;
}

/* The slot of the key, or the empty one where it belongs. */
static size_t intern_slot(const struct intern *in, const void *key, size_t size, uint32_t hash) {
    size_t mask = in->slots_room - 1, slot = hash & mask;
    for (;; slot = (slot + 1) & mask) {
        if (in->slots[slot] == 0) return slot;
        const struct intern_key *other = &in->keys[in->slots[slot] - 1];
        if (other->hash == hash && other->size == size &&
            (size == 0 || memcmp(other->bytes, key, size) == 0))
            return slot;
    }
}

static void intern_grow(struct intern *in) {
    if (!in->seed) in->seed = intern_seed() | 1;
    in->slots_room = in->slots_room ? in->slots_room * 2 : SLOTS_FIRST;
    free(in->slots);
    in->slots = intern_need(calloc(in->slots_room, sizeof *in->slots));
    size_t mask = in->slots_room - 1;
    for (size_t i = 0; i < in->count; i++) {
        size_t slot = in->keys[i].hash & mask;
        while (in->slots[slot]) slot = (slot + 1) & mask;
        in->slots[slot] = (uint32_t)(i + 1);
    }
}

/* --- What others call ----------------------------------------------------------------------- */

uint32_t intern_add(struct intern *in, const void *key, size_t size, bool *fresh) {
    if ((in->count + 1) * 2 > in->slots_room) intern_grow(in);
    uint32_t hash = intern_hash(in, key, size);
    size_t slot = intern_slot(in, key, size, hash);
    bool is_new = in->slots[slot] == 0;
    if (fresh) *fresh = is_new;
    if (!is_new) return in->slots[slot] - 1;
    in->keys = need_room(in->keys, &in->keys_room, in->count, sizeof *in->keys);
    in->keys[in->count] = (struct intern_key){intern_copy(in, key, size), (uint32_t)size, hash};
    in->slots[slot] = (uint32_t)++in->count;
    return (uint32_t)(in->count - 1);
}

bool intern_find(const struct intern *in, const void *key, size_t size, uint32_t *number) {
    if (in->count == 0) return false;
    size_t slot = intern_slot(in, key, size, intern_hash(in, key, size));
    if (in->slots[slot] == 0) return false;
    *number = in->slots[slot] - 1;
    return true;
}

void intern_free(struct intern *in) {
    for (struct intern_chunk *chunk = in->chunk, *before; chunk; chunk = before) {
        before = chunk->before;
        free(chunk);
    }
    free(in->keys);
    free(in->slots);
    *in = (struct intern){0};
}
