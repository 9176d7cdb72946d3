/* offheap.h - what the files of src/offheap share: memory from the system, and the pool's entry for
 * callers that hold a lock. See docs/offheap.md. */
#ifndef EBB_OFFHEAP_INTERNAL_H
#define EBB_OFFHEAP_INTERNAL_H

#include "../base/base.h"
#include "../os/os.h"
#include "../../include/ebb/offheap.h"

/* Fresh zeroed pages, counted as off-heap; bytes is rounded up to whole pages by both. Null without
 * memory. Where bytes would pass the memory limit, or the system refuses, the collector runs and
 * then the limit handler, which may use the very container that wants to grow: after this call
 * nothing that was read from it before is to be trusted. */
EBB__SHARED void *ebb__offheap_map(size_t bytes);
EBB__SHARED void ebb__offheap_unmap(void *start, size_t bytes);

/* ebb__pool_new for a pool that `lock` guards and the caller holds. Let go while memory is fetched.
 */
EBB__SHARED void *ebb__pool_new_locked(ebb__pool *pool, ebb__pool_spec spec, uint32_t *word,
                                       os_lock *lock);

/* Whether an address is that of a pin's slot. [world stopped] */
EBB__SHARED bool ebb__pins_hold(uintptr_t address);

#endif
