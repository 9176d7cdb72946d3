/* pin.c - numbers that keep heap objects alive.
 *
 * All pins are slots of one pool of pointers that is a root. The pool's generations make a pin that
 * was undone harmless, wherever its number may still be stored. One lock guards it. The collector
 * needs neither: it reads the slots as it reads any root, also while a thread that it has stopped
 * holds the lock. See docs/offheap.md. */
#include "offheap.h"
#include "../heap/heap.h"
#include "../os/threads.h"
#include "../../include/ebb/gc.h"

EBB_POOL(pin_pool, void *);

static os_lock pin_lock; /* outside of the collector's own locks */
static pin_pool pins;    /* [pin_lock] */

/* --- Fork ------------------------------------------------------------------------------------- */

static _Atomic(bool) pins_guarded; /* relaxed: whoever finds it unset sets it once more */
static _Thread_local unsigned pin_fork_depth;

static void pin_fork_before(void) {
    if (pin_fork_depth++ == 0) ebb__os_lock(&pin_lock);
}

static void pin_fork_after(void) {
    if (--pin_fork_depth == 0) ebb__os_unlock(&pin_lock);
}

/* The handlers come before the lock is ever taken: a fork under way holds up their registration,
 * and so whoever wants the lock. Nobody waits for another's registration, which a child would do
 * for ever: that they may be registered twice is why there is a depth. The heap starts before, so
 * that they run outside its own. */
static void pins_lock(void) {
    if (EBB__RARE(!atomic_load_explicit(&pins_guarded, memory_order_relaxed)) &&
        ebb__heap_start()) {
        ebb__os_at_fork(pin_fork_before, pin_fork_after, pin_fork_after);
        atomic_store_explicit(&pins_guarded, true, memory_order_relaxed);
    }
    ebb__os_lock(&pin_lock);
}

static void pins_unlock(void) {
    ebb__os_unlock(&pin_lock);
}

/* --- Pins ------------------------------------------------------------------------------------- */

static pin_pool_handle pin_handle(ebb_handle pin) {
    return (pin_pool_handle){{(uint32_t)pin, (uint32_t)(pin >> 32)}};
}

/* A slot for p, or the null handle. */
static ebb_handle pin_add(void *p) {
    pin_pool_handle handle = {{0}};
    ebb__pool_spec spec = EBB__POOL_SPEC(&pins);
    pins_lock();
    if (ebb_pool_root(&pins) == 0) {
        void **slot = ebb__pool_new_locked(&pins.as.core, spec, handle.word, &pin_lock);
        if (slot) *slot = p;
    }
    pins_unlock();
    return ebb_handle_number(handle);
}

ebb_handle ebb_pin(const void *p) {
    if (!ebb_base_of(p)) {
        ebb__misuse(EBB_ENOTHEAP, "ebb_pin", "%p does not point into Ebb's heap", p);
        return 0;
    }
    return pin_add((void *)(uintptr_t)p);
}

void *ebb_pin_get(ebb_handle pin) {
    pins_lock();
    void **slot = ebb_pool_get(&pins, pin_handle(pin));
    void *p = slot ? *slot : NULL;
    pins_unlock();
    return p;
}

int ebb_unpin(ebb_handle pin) {
    pin_pool_handle handle = pin_handle(pin);
    pins_lock();
    bool good = ebb_pool_get(&pins, handle) != NULL;
    if (good) ebb_pool_remove(&pins, handle);
    pins_unlock();
    if (good) return 0;
    return ebb__misuse(EBB_ESTALE, "ebb_unpin", "pin 0x%llx is %s", (unsigned long long)pin,
                       pin ? "stale: it was unpinned before" : "null");
}

bool ebb__pins_hold(uintptr_t address) {
    const ebb__pool *pool = &pins.as.core;
    for (uint32_t i = 0; i < pool->blocks; i++) {
        const ebb__block *b = &pool->block[i];
        if (b->capacity && address - (uintptr_t)b->slots < b->capacity * sizeof(void *))
            return true;
    }
    return false;
}

size_t ebb_pin_count(void) {
    pins_lock();
    size_t count = ebb_pool_len(&pins);
    pins_unlock();
    return count;
}
