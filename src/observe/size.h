/* size.h - sizes, times and shares as people read them, beside the exact figure. */
#ifndef EBB_OBSERVE_SIZE_H
#define EBB_OBSERVE_SIZE_H

#include "../base/base.h"

typedef struct size_text {
    char text[24];
} size_text;

/* "17.2 MiB", "512 B", "-3.1 KiB". */
EBB__SHARED size_text ebb__size_text(int64_t bytes);

/* "1.24 ms", "3.5 s", "2 min 5 s". */
EBB__SHARED size_text ebb__time_text(uint64_t ns);

/* part of whole in per cent; 0 of nothing. */
EBB__INLINE double size_percent(double part, double whole) {
    return whole > 0 ? 100.0 * part / whole : 0;
}

#endif
