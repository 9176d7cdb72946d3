/* map.h - the keys of the map cases, the same for every side.
 *
 * Key number i is a mixed 64-bit number, or with MAP_STRINGS a string of 12 to 23 characters. The
 * strings stored in a map lie in one block, which no side copies; those looked up lie elsewhere, so
 * that a hit must compare characters. map.go makes the same keys. */
#ifndef EBB_BENCH_MAP_H
#define EBB_BENCH_MAP_H

#include "bench.h"

#ifndef MAP_STRINGS
# define MAP_STRINGS 0
#endif

#define MAP_STRING_BYTES 24

#if MAP_STRINGS

typedef struct map_key {
    const char *ptr;
    size_t len;
} map_key;

/* Eight characters that no other number below 2^32 has, then 4 to 15 more, then a zero. */
BENCH_UNUSED static map_key map_key_write(char *at, uint64_t i) {
    uint32_t unique = (uint32_t)i * 0x9e3779b1u;
    uint64_t mixed = bench_mix(i);
    size_t length = 12 + (size_t)(mixed >> 60) % 12;
    for (size_t k = 0; k < 8; k++) at[k] = (char)('a' + (unique >> 4 * k & 15));
    for (size_t k = 8; k < length; k++) at[k] = (char)('a' + (mixed >> 4 * (k - 8) & 15));
    at[length] = '\0';
    map_key key = {at, length};
    return key;
}

#else

typedef int64_t map_key;

#endif
#endif
