/* ebb/slice.h - slices and strings: values of {ptr, len, cap} that let go of what they drop. */
#ifndef EBB_SLICE_H
#define EBB_SLICE_H

#include <string.h>

#include "config.h"
#include "heap.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A string: len bytes at ptr, not changed by anybody, not necessarily followed by a NUL. */
typedef struct ebb_str {
    const char *ptr;
    size_t len;
} ebb_str;

/* The string that a literal or C string holds, without its NUL; shares its bytes. */
static inline __attribute__((unused)) ebb_str ebb_s(const char *text) {
    ebb_str str = {text, text ? __builtin_strlen(text) : 0};
    return str;
}

#ifdef __cplusplus
}
#endif
#endif
