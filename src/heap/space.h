/* space.h - the address space of the heap: two zones in one reservation, and the side tables that
 * arithmetic finds. Part of docs/design.md, "Address space".
 *
 *   base                       middle                     base + 2 * zone
 *   |  scan zone: may hold     |  data zone: cannot hold  |
 *   |  pointers                |  pointers                |
 *   | |==== used ====|.........| |=== used ===|...........|
 *
 * Both begin with a gap, so that no object has a bound's address: registers and stacks are full of
 * it, and so are places that say where what is mapped before the heap ends.
 *
 *   page_of(p)  = (p - base) / PAGE
 *   span_of[page]              the span that the page is part of, if that span says so too
 *   alloc[page], mark[page]    64 bytes each; a span's bits start at those of its first page,
 *                              one bit an object
 *   resident[page]             one bit: handed out since it was last fresh from the system
 *
 * A table is committed as far as its zone is used. Everything about a span's objects stands in the
 * tables; nothing is ever written into the zones but what the program stores, and zeroes. */
#ifndef EBB_SPACE_H
#define EBB_SPACE_H

#include "../base/base.h"
#include "../os/os.h"
#include "heap.h"

enum { PAGE_SHIFT = 13, STRIDE_MIN = 16, BITMAP_BYTES = 64, BITMAP_WORDS = BITMAP_BYTES / 8 };
#define PAGE      ((size_t)1 << PAGE_SHIFT)
#define HUGE_PAGE ((size_t)2 * MIB)
static_assert(PAGE / STRIDE_MIN == BITMAP_BYTES * 8, "a page's bits cover its smallest objects");

enum zone_id { ZONE_SCAN, ZONE_DATA, ZONE_COUNT };

enum span_state { SPAN_UNUSED, SPAN_FREE, SPAN_SMALL, SPAN_LARGE };

struct heap_bin;

/* A run of pages. Guard of each group of fields in brackets.
 *
 *   SMALL: count objects of stride bytes from the start; count * stride <= pages * PAGE
 *   LARGE: one object of stride bytes; the span is at least one byte longer
 *   FREE:  span_of is set for the first and the last page only; neighbours are never both FREE */
typedef struct span {
    _Alignas(64) uint32_t first_page; /* [zone lock to change] */
    uint32_t pages;                   /* [zone lock to change] */
    uint8_t state, zone;              /* [zone lock to change] */
    uint8_t owned;        /* SMALL: a thread allocates from it [bin lock to change]; relaxed: who
                           * arms it all the same makes writes slower, nothing else */
    uint8_t listed;       /* SMALL: in its bin's list of spans with room [bin lock] */
    uint32_t count;       /* objects; 1 for LARGE */
    struct heap_bin *bin; /* layout and class; null or a former one unless in use */
    union {
        uint64_t stride;
        uint64_t freed_ns; /* FREE: when its youngest part became free [zone lock] */
    };
    uint64_t reciprocal; /* SMALL: ceil(2^40 / stride) */
    union {
        uint32_t fresh_from;     /* SMALL: objects from here on were never handed out [owner] */
        uint32_t resident_pages; /* FREE: resident bits set in it [zone lock] */
    };
    _Atomic(uint32_t) search_from; /* SMALL: a hint, relaxed: no free object below this one */
    union {
        struct {
            uint32_t next, previous; /* of the list it is in [that list's lock] */
        };
        struct slot *owner; /* SMALL and owned: who allocates from it [bin lock] */
    };
    _Atomic(uint32_t) swept; /* the epoch as of which its bits are right: see span_unswept */
    uint8_t armed;           /* writes to it are noted, see gc/dirty.c [owner of the cycle] */
    _Atomic(uint8_t) held;   /* LARGE: by roots alone, see gc/mark.c; relaxed */
    uint8_t age;             /* LARGE: cycles that it outlived so [world stopped] */
    uint8_t extents; /* arrays in it are kept in part, see gc/extent.c; release before the mark */
} span;
static_assert(sizeof(span) == 64, "one cache line a span");

/* The tables that are committed as far as their zone is used. */
enum zone_table { TABLE_SPAN_OF, TABLE_RESIDENT, TABLE_ALLOC, TABLE_MARK, TABLE_COUNT };

typedef struct zone {
    os_lock lock; /* guards what follows, spans' page fields, resident bits */
    uint32_t first_page, used_pages, limit_pages; /* from the zone's bound on: see ZONE_GAP;
                                                   * used: ever handed to the page lists; it is
                                                   * read without the lock, relaxed: whoever holds
                                                   * an object knows the pages that were used */
    uint32_t huge_from; /* used pages from here on were asked to be huge; UINT32_MAX: none */
    size_t in_use_pages, free_pages, resident_free_pages;
    size_t table_bytes[TABLE_COUNT]; /* committed for this zone; at least what used_pages needs */
} zone;

typedef struct space {
    uintptr_t base, middle;
    size_t zone_bytes;
    _Atomic(uint32_t) *span_of; /* pairs: release in span_publish, acquire in ebb__span_at */
    span *spans;                /* by number; 0 is no span */
    uint64_t *resident;
    _Atomic(uint64_t) *alloc, *mark;
    uint64_t *huge_off;         /* a bit a 2 MiB block: asked not to be huge */
    _Atomic(uint64_t) *young;   /* a bit a span: objects were handed out since it was swept */
    _Atomic(uint64_t) *exposed; /* a bit a span: not armed, and has marks; see gc/dirty.c */
    _Atomic(uint64_t) *sampled; /* a bit a span: an object in it may have a sample; see sample.h */
    zone zones[ZONE_COUNT];
    os_lock spans_lock; /* guards what follows */
    _Atomic(uint32_t)
        span_count; /* also read without the lock: acquire, after what it needs is there */
    uint32_t span_free;
} space;

EBB__SHARED extern space ebb__space;

/* Makes the reservation. 0 or EBB_ENOMEM. */
EBB__SHARED int ebb__space_start(void);

/* Commits one more piece of a zone of at least `pages` pages, with its tables. [zone lock] */
EBB__SHARED int ebb__space_grow(zone *z, uint32_t pages);

/* A number for a new span record, 0 without memory; and giving one back. */
EBB__SHARED uint32_t ebb__span_new(void);
EBB__SHARED void ebb__span_delete(uint32_t number);

/* What the collector calls the time: a cycle's number. A span whose bits are of an earlier one
 * holds dead objects, if it was young or if that cycle was a full one. Changed in a stop; relaxed.
 */
EBB__SHARED extern _Atomic(uint32_t) ebb__epoch, ebb__epoch_full;

EBB__INLINE uintptr_t page_address(uint32_t page) {
    return ebb__space.base + ((uintptr_t)page << PAGE_SHIFT);
}

EBB__INLINE uint32_t page_of(uintptr_t address) {
    return (uint32_t)((address - ebb__space.base) >> PAGE_SHIFT);
}

/* Before its first page: no object's address. */
EBB__INLINE uintptr_t zone_start(const zone *z) {
    return z == &ebb__space.zones[ZONE_SCAN] ? ebb__space.base : ebb__space.middle;
}

EBB__INLINE span *span_at(uint32_t number) {
    return &ebb__space.spans[number];
}

EBB__INLINE uint32_t span_number(const span *s) {
    return (uint32_t)(s - ebb__space.spans);
}

EBB__INLINE uintptr_t span_start(const span *s) {
    return page_address(s->first_page);
}

/* What an object of it can hold: a slot, beside the byte that keeps ends apart; a large object's
 * stride is its size. */
EBB__INLINE size_t span_room(const span *s) {
    return s->state == SPAN_SMALL ? s->stride - 1 : s->stride;
}

EBB__INLINE uintptr_t span_end(const span *s) {
    return page_address(s->first_page + s->pages);
}

EBB__INLINE _Atomic(uint64_t) *span_alloc_bits(const span *s) {
    return ebb__space.alloc + (size_t)s->first_page * BITMAP_WORDS;
}

EBB__INLINE _Atomic(uint64_t) *span_mark_bits(const span *s) {
    return ebb__space.mark + (size_t)s->first_page * BITMAP_WORDS;
}

EBB__INLINE uint32_t span_index(const span *s, uintptr_t address) {
    return (uint32_t)(((address - span_start(s)) * s->reciprocal) >> 40);
}

EBB__INLINE bool span_bit(_Atomic(uint64_t) *bits, uint32_t number) {
    return atomic_load_explicit(&bits[number / 64], memory_order_relaxed) >> (number % 64) & 1;
}

EBB__INLINE void span_bit_set(_Atomic(uint64_t) *bits, uint32_t number) {
    if (!span_bit(bits, number))
        atomic_fetch_or_explicit(&bits[number / 64], (uint64_t)1 << (number % 64),
                                 memory_order_relaxed);
}

EBB__INLINE void span_bit_clear(_Atomic(uint64_t) *bits, uint32_t number) {
    if (span_bit(bits, number))
        atomic_fetch_and_explicit(&bits[number / 64], ~((uint64_t)1 << (number % 64)),
                                  memory_order_relaxed);
}

/* Whether objects of the span that have no mark are dead. False for one that nothing was swept of
 * since, because nothing in it can have died: marks stay, and it was not allocated from. */
EBB__INLINE bool span_unswept(const span *s) {
    uint32_t swept = atomic_load_explicit(&s->swept, memory_order_relaxed);
    uint32_t full = atomic_load_explicit(&ebb__epoch_full, memory_order_relaxed);
    if (swept == atomic_load_explicit(&ebb__epoch, memory_order_relaxed)) return false;
    return (int32_t)(swept - full) < 0 || span_bit(ebb__space.young, span_number(s));
}

/* The span's bits are right as of now: it was swept, or nothing in it died. */
EBB__INLINE void span_swept(span *s) {
    uint32_t epoch = atomic_load_explicit(&ebb__epoch, memory_order_relaxed);
    atomic_store_explicit(&s->swept, epoch, memory_order_relaxed);
}

/* And it is young from now on. */
EBB__INLINE void span_touch(span *s) {
    span_swept(s);
    span_bit_set(ebb__space.young, span_number(s));
}

EBB__INLINE uint32_t bits_count(_Atomic(uint64_t) *bits, uint32_t count) {
    uint32_t n = 0;
    for (uint32_t w = 0; w * 64 < count; w++)
        n += bits_in(atomic_load_explicit(&bits[w], memory_order_relaxed));
    return n;
}

EBB__INLINE bool span_marked(const span *s, uint32_t index) {
    return span_bit(span_mark_bits(s), index);
}

/* The w-th word of the bits of the span's objects that are not known to be dead. */
EBB__INLINE uint64_t span_live_bits(const span *s, uint32_t w) {
    uint64_t alloc = atomic_load_explicit(&span_alloc_bits(s)[w], memory_order_relaxed);
    uint64_t mark = atomic_load_explicit(&span_mark_bits(s)[w], memory_order_relaxed);
    return span_unswept(s) ? alloc & mark : alloc;
}

/* Whether a word points into the heap's address space. */
EBB__INLINE bool space_has(uintptr_t word) {
    return word - ebb__space.base < 2 * ebb__space.zone_bytes;
}

/* The span in use that contains address, or null. Any value may be asked about, also while others
 * make spans; while others free them the answer is good only for objects that the caller holds. */
EBB__INLINE span *ebb__span_at(uintptr_t address) {
    const space *sp = &ebb__space;
    uintptr_t offset = address - sp->base;
    if (offset >= 2 * sp->zone_bytes) return NULL;
    const zone *z = &sp->zones[offset >= sp->zone_bytes];
    uint32_t page = (uint32_t)(offset >> PAGE_SHIFT);
    if (page - z->first_page >= __atomic_load_n(&z->used_pages, __ATOMIC_RELAXED)) return NULL;
    uint32_t number = atomic_load_explicit(&sp->span_of[page], memory_order_acquire);
    span *s = &sp->spans[number];
    if (__atomic_load_n(&s->state, __ATOMIC_ACQUIRE) < SPAN_SMALL) return NULL;
    return page - s->first_page < s->pages ? s : NULL;
}

/* For one that asks about many objects, far from each other: some objects before the first of them
 * is asked about, and then the other. Any address in a zone. */
EBB__INLINE void object_prefetch(uintptr_t object) {
    uint32_t page = page_of(object);
    __builtin_prefetch(&ebb__space.span_of[page]);
    __builtin_prefetch((const void *)&ebb__space.alloc[(size_t)page * BITMAP_WORDS]);
    __builtin_prefetch((const void *)&ebb__space.mark[(size_t)page * BITMAP_WORDS]);
}

EBB__INLINE void span_prefetch(uintptr_t address) {
    const _Atomic(uint32_t) *number = &ebb__space.span_of[page_of(address)];
    __builtin_prefetch(span_at(atomic_load_explicit(number, memory_order_relaxed)));
}

/* The object that contains address (or that address is one past the end of): its number in *s. */
EBB__INLINE bool span_find(const span *s, uintptr_t address, uint32_t *index) {
    bool small = s->state == SPAN_SMALL;
    uint32_t i = small ? span_index(s, address) : 0;
    *index = i;
    if (i >= s->count || (!small && address - span_start(s) > s->stride)) return false;
    return span_bit(span_alloc_bits(s), i);
}

/* --- Page runs (pages.c) -------------------------------------------------------------------- */

/* A run of `pages` pages, the first at a multiple of align_pages, as a span in state `state` that
 * span_of knows. *fresh says that all of it reads as zero. Null without memory. */
EBB__SHARED span *ebb__pages_alloc(enum zone_id id, uint32_t pages, uint32_t align_pages,
                                   bool *fresh);
/* Makes the span visible to lookups, when its fields are set: young, and as of this epoch. Its
 * pages are not freed while the collector marks (ebb__heap_marking), but by the sweep after it. */
EBB__SHARED void ebb__pages_publish(span *s, enum span_state state);
EBB__SHARED void ebb__pages_free(span *s);

/* Cuts the last `pages` pages off a LARGE span and frees them; extends one in place if it can. */
EBB__SHARED void ebb__pages_trim(span *s, uint32_t pages);
EBB__SHARED bool ebb__pages_extend(span *s, uint32_t pages);

/* Zeroes what is not fresh in a run. */
EBB__SHARED void ebb__pages_zero(uint32_t first_page, uint32_t pages);

/* Gives free pages back that have been free since before `before_ns`, until `keep` bytes of
 * resident free pages are left or `budget` bytes were returned. Returns the bytes given back. */
EBB__SHARED size_t ebb__pages_return(uint64_t before_ns, size_t keep, size_t budget);

/* Bytes of pages that hold objects, of both zones. */
EBB__SHARED size_t ebb__pages_in_use(void);

/* Pages in use, and free ones that are resident; of both zones. Relaxed. */
EBB__SHARED extern _Atomic(size_t) ebb__resident_pages;

/* Bytes of pages that the heap will want to reach its goal: free ones beyond go back when others
 * are taken that are not there. SIZE_MAX: not known. Set by the pacer; relaxed. */
EBB__SHARED extern _Atomic(size_t) ebb__pages_wanted;

/* Bytes outside the zones as accounted: metadata + off-heap. */
EBB__SHARED size_t ebb__space_outside(void);

/* Resident bytes as accounted: in use + free and resident + those outside the zones. */
EBB__SHARED size_t ebb__space_footprint(void);

EBB__SHARED extern _Atomic(uint64_t) ebb__pages_returned_total;

/* No allocation of pages passes this footprint. SIZE_MAX is no limit. Relaxed. */
EBB__SHARED extern _Atomic(size_t) ebb__space_limit;

/* Whether zones ask for huge pages as they grow, or decline them. Set before they do. */
EBB__SHARED extern bool ebb__space_huge;

#endif
