/* internal_kernel.h - for tests that have the library compiled in, before this: skips one where the
 * system does not tell which pages are written. */
#ifndef EBB_INTERNAL_KERNEL_H
#define EBB_INTERNAL_KERNEL_H

#include "test.h"

/* Makes the first cycle, which finds out. */
static void need_kernel(void) {
    const char *why;
    CHECK_EQ(ebb_collect(), 0);
    if (ebb__dirty_mode(&why) != DIRTY_KERNEL) SKIP("the system does not tell of written pages");
}

#endif
