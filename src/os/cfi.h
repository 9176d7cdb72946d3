/* cfi.h - how a frame is left, by the tables that compilers write for exceptions. Implemented in
 * linux_cfi.c. docs/design.md, "Profile". */
#ifndef EBB_OS_CFI_H
#define EBB_OS_CFI_H

#include "os.h"

/* A rule in a word. The caller's stack pointer is `cfi_up` bytes above this frame's stack pointer,
 * or frame pointer (CFI_BY_FRAME); the return address lies below it, and the caller's frame pointer
 * cfi_saved bytes below it (CFI_SAVES), or is still in the register. */
enum { CFI_NONE = 1, CFI_END, CFI_STEP, CFI_KIND = 3, CFI_BY_FRAME = 4, CFI_SAVES = 8 };

EBB__INLINE uint64_t cfi_up(uint64_t rule) {
    return rule >> 32 << 3;
}

EBB__INLINE uint64_t cfi_saved(uint64_t rule) {
    return (rule & 0xfffffff0) >> 1;
}

/* The rule of the frame that a call returns to: CFI_STEP; CFI_END where no caller is; CFI_NONE when
 * there is none, or one that says more than a word can. Waits for nothing and takes no locks.
 * Remembers; the address must be one that is about to be returned to. */
EBB__SHARED uint64_t ebb__cfi_rule(uintptr_t pc);

/* How often libraries were unloaded so far: when that has changed, what is remembered is forgotten.
 * One thread at a time. */
EBB__SHARED void ebb__cfi_unloads(uint64_t count);

#endif
