/* linux_scan.h - PAGEMAP_SCAN, a system call of Linux 6.7 and later that says what the pages of a
 * range are: for linux_dirty.c and linux_memory.c. See docs/design.md, "Dirty pages". */
#ifndef EBB_OS_LINUX_SCAN_H
#define EBB_OS_LINUX_SCAN_H

#include "../base/base.h"

#include <linux/ioctl.h>

/* linux/fs.h, under names of our own: the header clashes with sys/mount.h. */
struct dirty_region {
    uint64_t start, end, categories;
};
struct dirty_scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
static_assert(sizeof(struct dirty_scan) == 96, "the kernel knows the call by this size");
#define DIRTY_SCAN         _IOWR('f', 16, struct dirty_scan)
#define DIRTY_WRITTEN      ((uint64_t)1 << 1) /* PAGE_IS_WRITTEN */
#define DIRTY_PRESENT      ((uint64_t)1 << 3) /* PAGE_IS_PRESENT */
#define DIRTY_HOLDS        ((uint64_t)3 << 3) /* PAGE_IS_PRESENT, PAGE_IS_SWAPPED */
#define DIRTY_ZERO         ((uint64_t)1 << 5) /* PAGE_IS_PFNZERO */
#define DIRTY_REARM        ((uint64_t)1 << 0) /* PM_SCAN_WP_MATCHING */
#define DIRTY_ONLY_WATCHED ((uint64_t)1 << 1) /* PM_SCAN_CHECK_WPASYNC */

/* A call holds the lock on the process's mappings for reading, and whoever maps or unmaps waits for
 * it, and others for them: so ranges are cut in strides, of whole huge pages, each of which takes
 * at most half a millisecond. */
enum { DIRTY_BATCH = 256 }; /* runs a call: 6 KiB of stack */
#define DIRTY_STRIDE (64 * MIB)

#endif
