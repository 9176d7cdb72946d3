/* bins.h - size classes, layouts, bins: which span an object lies in. docs/design.md, "Spans".
 *
 *   layout   what objects look like (words, data, or a described type) and what they are for
 *   class    how many bytes a slot has
 *   bin      a layout and a class: all the spans that hold just these objects */
#ifndef EBB_BINS_H
#define EBB_BINS_H

#include "hooks.h"
#include "sample.h"
#include "space.h"
#include "thread.h"

enum { CLASS_MAX = 128, SMALL_MAX = 32 * 1024 + 15, SPAN_PAGES_MAX = 16 };

/* The small classes: strides ascending. [start] */
EBB__SHARED extern uint32_t ebb__class_count, ebb__class_stride[CLASS_MAX];
EBB__SHARED extern uint8_t ebb__class_pages[CLASS_MAX];
EBB__SHARED extern uint64_t ebb__class_reciprocal[CLASS_MAX];

/* By the bytes that a slot needs, in steps: the class for alignments up to 8, and up to 16. */
enum { CLASS_STEP = 8, CLASS_LOOKUP = (SMALL_MAX + 1) / CLASS_STEP + 2 };
EBB__SHARED extern uint8_t ebb__class_at8[CLASS_LOOKUP], ebb__class_at16[CLASS_LOOKUP];

/* For larger alignments: CLASS_MAX when only a large span can be so aligned. */
EBB__SHARED uint32_t ebb__class_aligned(size_t size, size_t align);

/* The class for size bytes and the byte that keeps one-past-the-end pointers unambiguous;
 * size <= SMALL_MAX. */
EBB__INLINE uint32_t class_of(size_t size, size_t align) {
    size_t need = (size + CLASS_STEP) / CLASS_STEP;
    if (align <= 8) return ebb__class_at8[need];
    if (align <= 16) return ebb__class_at16[need];
    return ebb__class_aligned(size, align);
}

EBB__SHARED void ebb__classes_start(void);

/* LAYOUT_TRACED: a function tells (gc/runtime.c). */
enum layout_kind { LAYOUT_DATA, LAYOUT_WORDS, LAYOUT_TYPED, LAYOUT_TRACED };

typedef struct heap_bin {
    struct ebb__layout *layout;
    uint32_t class; /* CLASS_MAX: large objects of any size */
    uint32_t number;
    uint64_t stride;     /* 0 for the bin of large objects */
    os_lock *lock;       /* one of ebb__bin_locks */
    uint32_t partial;    /* spans with room, not owned [lock] */
    uint32_t span_count; /* [lock] */
} heap_bin;

/* A slice in each element: its pointer's offset, the offset of the length or capacity by which it
 * keeps its array, and the size of the array's elements. */
typedef struct slice_field {
    uint32_t offset, count_offset;
    size_t element;
} slice_field;

/* Words at these places of each element are followed; made once, never changed. */
struct ebb__layout {
    const char *name; /* "" for words and data */
    uint32_t kind;    /* enum layout_kind */
    uint32_t use;     /* enum ebb__use */
    size_t element;   /* bytes; 0 unless typed */
    uint32_t strong_count, weak_count, field_count, slice_count;
    uint32_t *strong;    /* byte offsets of pointers that keep alive, those of slices last */
    uint32_t *weak;      /* byte offsets of weak ones */
    slice_field *slices; /* the last slice_count of strong */
    ebb__field *fields;  /* as given */
    ebb_tracer tracer;   /* of traced ones, and what it is called with */
    uintptr_t env;
    struct ebb__layout *next;                /* of all [types lock to add] */
    _Atomic(heap_bin *) bins[CLASS_MAX + 1]; /* release by bin_make, acquire by its readers */
};

EBB__SHARED extern struct ebb__layout ebb__plain[2][EBB__USE_COUNT]; /* data, words */
EBB__SHARED extern struct ebb__layout *ebb__layouts;                 /* [types lock to add] */

/* A bin, made on first use; null without memory. */
EBB__SHARED heap_bin *ebb__bin_make(struct ebb__layout *layout, uint32_t class);

EBB__INLINE heap_bin *bin_of(struct ebb__layout *layout, uint32_t class) {
    heap_bin *bin = atomic_load_explicit(&layout->bins[class], memory_order_acquire);
    return EBB__LIKELY(bin != NULL) ? bin : ebb__bin_make(layout, class);
}

enum { BIN_LOCKS = 64 };
EBB__SHARED extern os_lock ebb__bin_locks[BIN_LOCKS], ebb__types_lock;

/* Memory for records that are never freed; null without memory. */
EBB__SHARED void *ebb__record_alloc(size_t size);

/* --- Spans of small objects (span.c) --------------------------------------------------------- */

/* Gives the slot a run of free objects of the bin (at least one, zeroed). False without memory. */
EBB__SHARED bool ebb__slot_refill(heap_thread *t, slot *slot, heap_bin *bin);

/* The thread's slot for a bin, which others share: its `bin` says whose it is now. */
EBB__INLINE slot *slot_of(heap_thread *t, const heap_bin *bin) {
    return &t->slots[bin->number % SLOTS];
}

/* Gives back what the slot holds. */
EBB__SHARED void ebb__slot_release(heap_thread *t, slot *slot);

/* In a stop, after marking and before the epoch changes: if nothing in the slot's span is marked,
 * gives the span back; its objects are for the sweep. A thread that was stopped on the way to take
 * an object from the run has that object's address in a register, so it is marked, and the span is
 * not empty. False: nothing done. */
EBB__SHARED bool ebb__slot_drop_empty(heap_thread *t, slot *slot);

/* What is known of an object apart from its span is forgotten: it is being released. */
EBB__INLINE void object_forget(const span *s, uintptr_t p) {
    if (atomic_load_explicit(&ebb__finalizer_count, memory_order_relaxed) > 0)
        ebb__heap_hooks.released((void *)p);
    if (EBB__RARE(span_bit(ebb__space.sampled, span_number(s)))) ebb__sample_hooks.released(p);
}

/* The object at p goes back to the run that the calling thread took it from last, as if it had
 * never been taken: no lock, no bit. Returns what it had room for, 0 when it is not that one or
 * cannot go back now. Any p. */
EBB__SHARED size_t ebb__slot_give_back(uintptr_t p);

/* Frees one small object: clears its bit. False when it was free already. */
EBB__SHARED bool ebb__span_free_object(span *s, uint32_t index);

/* Sweeps the span of this record if there is one that waits for it: what has no mark becomes free,
 * an empty span's pages go to the page lists. Any record may be passed, at any time but while the
 * collector marks. True when it did. */
EBB__SHARED bool ebb__span_sweep(span *s);

/* In a stop, when the epoch has changed: sweeps the span that a slot owns, all but its run. */
EBB__SHARED void ebb__slot_sweep(slot *slot);

#endif
