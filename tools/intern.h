/* intern.h - byte strings to small numbers: equal bytes get the same number, new ones the next.
 *
 * The keys may come from a file that somebody else wrote: the hash has a seed of its own each run,
 * so that nobody can write one whose keys all collide. Without memory the program ends. */
#ifndef EBB_TOOLS_INTERN_H
#define EBB_TOOLS_INTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct intern_key {
    const char *bytes; /* size of them and a zero; stays where it is until intern_free */
    uint32_t size, hash;
};

struct intern_chunk;

/* Begins as {0}. slots holds each number plus one, at its hash or later, and is never more than
 * half full: count * 2 <= slots_room. */
struct intern {
    struct intern_key *keys;
    uint32_t *slots;
    size_t count, keys_room, slots_room;
    struct intern_chunk *chunk; /* where keys are copied to */
    uint64_t seed;
};

/* The number of the key, count - 1 if it is new; fresh (may be null) says whether. */
uint32_t intern_add(struct intern *in, const void *key, size_t size, bool *fresh);

/* The same without adding: false if there is no such key. */
bool intern_find(const struct intern *in, const void *key, size_t size, uint32_t *number);

void intern_free(struct intern *in);

/* Room for one more than count, grown by half: array = need_room(array, &room, count, size). */
void *need_room(void *array, size_t *room, size_t count, size_t size);

#endif
