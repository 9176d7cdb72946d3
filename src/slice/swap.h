/* swap.h - two elements change places. docs/design.md, "Extents".
 *
 * A collection may come in the middle, when a slice in one of them is half the old and half the new
 * one. So what was last overwritten is on the stack, where its pointer is found and keeps the whole
 * array: for as long as the other words of the same slice, which lie beside it, may be missing. */
#ifndef EBB_SLICE_SWAP_H
#define EBB_SLICE_SWAP_H

#include "../base/base.h"

EBB__INLINE void element_swap(char *a, char *b, size_t size) {
    enum { CHUNK = 64 };
    _Alignas(16) char held[2][2][CHUNK]; /* this chunk's and the last one's, of a and of b */
    for (size_t done = 0, chunk, turn = 0; done < size; done += chunk, turn ^= 1) {
        chunk = min_size(size - done, CHUNK);
        memcpy(held[turn][0], a + done, chunk);
        memcpy(held[turn][1], b + done, chunk);
        __asm__ volatile("" : : "m"(held) : "memory");
        memcpy(a + done, held[turn][1], chunk);
        memcpy(b + done, held[turn][0], chunk);
        __asm__ volatile("" : : "m"(held) : "memory");
    }
}

#endif
