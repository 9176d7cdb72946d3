/* keep.c - uncollectable objects: a table of addresses that is a root.
 *
 * Open addressing in memory of calloc, which is told to Ebb as a root. An entry that moves is
 * written where it goes to before it leaves where it was, so that a stop in between finds it at
 * least once; a table that is replaced stays a root until the new one is.
 *
 * Not one of Ebb's maps: a put may collect, the end of a cycle calls the program's notifier, and
 * that may come here again.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "shim.h"

#include <pthread.h>
#include <stdlib.h>

/* count <= capacity / 2; slots between an entry's home and itself are taken. */
typedef struct keep_table {
    void **slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
} keep_table;

static pthread_mutex_t keep_lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below */
static keep_table keep_all;
static GC_word keep_bytes;

/* The layouts of what is or was kept, from the first on: there are few. Beyond that many, anything
 * may be. Relaxed: who frees an object has heard of it from who allocated it. */
enum { KEEP_LAYOUTS = 8 };
static _Atomic(ebb_layout *) keep_layouts[KEEP_LAYOUTS];

static size_t keep_home(const keep_table *table, const void *p) {
    return (size_t)(((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15u >> 20) & (table->capacity - 1);
}

/* Where p is, or the empty slot where it would be. */
static size_t keep_find(const keep_table *table, const void *p) {
    size_t i = keep_home(table, p);
    while (table->slots[i] && table->slots[i] != p) i = (i + 1) & (table->capacity - 1);
    return i;
}

static bool keep_grow(void) {
    keep_table larger = {.capacity = keep_all.capacity ? 2 * keep_all.capacity : 512};
    larger.slots = calloc(larger.capacity, sizeof(void *));
    if (!larger.slots) return false;
    if (ebb_root_add(larger.slots, larger.capacity * sizeof(void *)) != 0) {
        free(larger.slots);
        return false;
    }
    for (size_t i = 0; i < keep_all.capacity; i++) {
        void *p = keep_all.slots[i];
        if (p) larger.slots[keep_find(&larger, p)] = p;
    }
    larger.count = keep_all.count;
    keep_table old = keep_all;
    keep_all = larger;
    if (old.slots) ebb_root_remove(old.slots);
    free(old.slots);
    return true;
}

/* Fills the hole at i with entries whose way leads over it. */
static void keep_close(size_t i) {
    size_t mask = keep_all.capacity - 1;
    for (size_t j = (i + 1) & mask; keep_all.slots[j]; j = (j + 1) & mask) {
        size_t home = keep_home(&keep_all, keep_all.slots[j]);
        if (((j - home) & mask) < ((j - i) & mask)) continue;
        ((void *volatile *)keep_all.slots)[i] = keep_all.slots[j];
        i = j;
    }
    ((void *volatile *)keep_all.slots)[i] = NULL;
}

bool gc__may_be_kept(const void *object) {
    if (!atomic_load_explicit(&keep_layouts[0], memory_order_relaxed)) return false;
    const ebb_layout *layout = ebb_layout_of(object);
    for (int i = 0; i < KEEP_LAYOUTS; i++) {
        const ebb_layout *kept = atomic_load_explicit(&keep_layouts[i], memory_order_relaxed);
        if (kept == layout || !kept) return kept != NULL;
    }
    return true;
}

static void keep_note(const void *object) {
    if (gc__may_be_kept(object)) return;
    for (int i = 0; i < KEEP_LAYOUTS; i++) {
        if (atomic_load_explicit(&keep_layouts[i], memory_order_relaxed)) continue;
        atomic_store_explicit(&keep_layouts[i], ebb_layout_of(object), memory_order_relaxed);
        return;
    }
}

bool gc__keep(void *object) {
    pthread_mutex_lock(&keep_lock);
    bool has_room = 2 * keep_all.count < keep_all.capacity || keep_grow();
    if (has_room) {
        keep_note(object);
        size_t i = keep_find(&keep_all, object);
        if (!keep_all.slots[i]) {
            keep_all.slots[i] = object;
            keep_all.count++;
            keep_bytes += ebb_size_of(object);
        }
    }
    pthread_mutex_unlock(&keep_lock);
    return has_room;
}

bool gc__release(void *object) {
    bool was_kept = false;
    pthread_mutex_lock(&keep_lock);
    if (keep_all.count > 0) {
        size_t i = keep_find(&keep_all, object);
        was_kept = keep_all.slots[i] != NULL;
        if (was_kept) {
            keep_close(i);
            keep_all.count--;
            keep_bytes -= ebb_size_of(object);
        }
    }
    pthread_mutex_unlock(&keep_lock);
    return was_kept;
}

GC_word gc__kept_bytes(void) {
    pthread_mutex_lock(&keep_lock);
    GC_word bytes = keep_bytes;
    pthread_mutex_unlock(&keep_lock);
    return bytes;
}

static void keep_fork_begin(void) {
    pthread_mutex_lock(&keep_lock);
}

static void keep_fork_end(void) {
    pthread_mutex_unlock(&keep_lock);
}

/* After Ebb's own handlers are there: its locks are taken inside ours. */
void gc__keep_init(void) {
    pthread_atfork(keep_fork_begin, keep_fork_end, keep_fork_end);
}
