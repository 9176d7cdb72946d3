/* hash.c - the hash of long keys. docs/design.md, "Hashing".
 *
 * Folded multiplication under two secret words a map, as for short keys (see map_inline.h): every
 * word of the key is masked by a secret before it is multiplied, in two lanes of 16 bytes. */
#include "map.h"

uint64_t ebb__hash_long(const void *bytes, size_t size, const uint64_t seed[2]) {
    const char *p = bytes, *end = p + size;
    const uint64_t turned[2] = {ebb__turn(seed[1]), ebb__turn(seed[0])};
    uint64_t x = 0, y = 0;
    for (; end - p > 32; p += 32) {
        x = ebb__hash_pair(ebb__load64(p), ebb__load64(p + 8) ^ x, seed);
        y = ebb__hash_pair(ebb__load64(p + 16), ebb__load64(p + 24) ^ y, turned);
    }
    x = ebb__hash_pair(ebb__load64(end - 32), ebb__load64(end - 24) ^ x, seed);
    y = ebb__hash_pair(ebb__load64(end - 16), ebb__load64(end - 8) ^ y, turned);
    return ebb__hash_end(x ^ ebb__turn(y), size, seed);
}
