/* str.c - strings: values of pointer and length over bytes that nobody changes.
 * docs/slices.md. */
#include "../base/base.h"
#include "../../include/ebb/slice.h"
#include "../heap/heap.h"

ebb_str ebb_str_slice(ebb_str str, size_t lo, size_t hi) {
    ebb_str none = {NULL, 0};
    if (lo > hi || hi > str.len) {
        ebb__misuse(EBB_EINVAL, "ebb_str_slice",
                    "the range from %zu to %zu is not within the length, %zu", lo, hi, str.len);
        return none;
    }
    return lo < hi ? (ebb_str){str.ptr + lo, hi - lo} : none;
}

int ebb_str_compare(ebb_str a, ebb_str b) {
    size_t common = min_size(a.len, b.len);
    int order = common > 0 ? memcmp(a.ptr, b.ptr, common) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

ebb_str ebb_str_copy(ebb_str str) {
    ebb_str copy = {ebb_str_cstr(str), str.len};
    if (!copy.ptr) copy.len = 0;
    return copy;
}

char *ebb_str_cstr(ebb_str str) {
    char *copy = str.len < SIZE_MAX ? ebb_alloc_data(str.len + 1) : NULL;
    if (copy && str.len > 0) memcpy(copy, str.ptr, str.len);
    return copy;
}

ebb_str ebb_str_format(const char *format, ...) {
    ebb_str none = {NULL, 0};
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    char *text = len < 0 ? NULL : ebb_alloc_data((size_t)len + 1);
    if (text && vsnprintf(text, (size_t)len + 1, format, again) != len) text = NULL;
    va_end(again);
    va_end(args);
    return text ? (ebb_str){text, (size_t)len} : none;
}
