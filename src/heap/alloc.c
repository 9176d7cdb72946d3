/* alloc.c - the public calls of heap.h. docs/design.md, "Allocation".
 *
 * The fast path is a compare and an add in the calling thread's slot for the bin. Everything else -
 * first use, an empty run, collections, limits, stress - is behind alloc_slow.
 *
 * An address that is handed out must be in a register or on the stack from the moment that the
 * slot's cursor passes it: `opaque` keeps the compiler from holding it as a sum. */
#include "bins.h"

static _Atomic(bool) heap_started; /* release in heap_start, acquire by everybody */
static os_lock heap_start_lock;
_Atomic(uint64_t) ebb__finalizer_count;

static inline uintptr_t opaque(uintptr_t p) {
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

/* What a call returns, so that it is no jump to who made it: its frame tells the profiler where the
 * library ends. */
static inline void *alloc_done(void *p) {
    return (void *)opaque((uintptr_t)p);
}

static void plain_layouts_start(void) {
    for (uint32_t use = 0; use < EBB__USE_COUNT; use++) {
        ebb__plain[0][use] = (struct ebb__layout){.name = "", .kind = LAYOUT_DATA, .use = use};
        ebb__plain[1][use] = (struct ebb__layout){.name = "", .kind = LAYOUT_WORDS, .use = use};
    }
}

static inline bool heap_is_started(void) {
    return atomic_load_explicit(&heap_started, memory_order_acquire);
}

bool ebb__heap_start(void) {
    if (EBB__LIKELY(heap_is_started())) return true;
    ebb__os_lock(&heap_start_lock);
    bool started = atomic_load_explicit(&heap_started, memory_order_relaxed), first = false;
    if (!started && ebb__space_start() == 0) {
        ebb__classes_start();
        plain_layouts_start();
        ebb__heap_hooks.start();
        started = first = true;
        atomic_store_explicit(&heap_started, true, memory_order_release);
    }
    ebb__os_unlock(&heap_start_lock);
    if (first) ebb__heap_hooks.started();
    return started;
}

/* --- Small objects ------------------------------------------------------------------------------
 */

/* The next object of the slot's run, or null. A collection may take the run away before the cursor
 * is read, and not after: from then on the object's address is in a register. The store pairs with
 * slot_holds, in other threads. */
static inline void *slot_pop(slot *slot, uint64_t stride) {
    uintptr_t p = opaque(slot->cursor);
    if (EBB__RARE(p >= slot->limit)) return NULL;
    __atomic_store_n(&slot->cursor, p + stride, __ATOMIC_RELAXED);
    return (void *)p;
}

/* The next object of the slot's run, if the run was cut there because that one is to be sampled:
 * null otherwise. A stop leaves the run alone between the two ends of the section. */
static void *slot_pop_sampled(heap_thread *t, slot *slot, const heap_bin *bin) {
    ebb__critical_enter();
    uintptr_t p = opaque(slot->cursor);
    bool due = slot->bin == bin && p >= slot->limit && p < slot->end;
    if (due) {
        __atomic_store_n(&slot->cursor, p + bin->stride, __ATOMIC_RELAXED);
        slot->limit = ebb__sample_rest(t, p + bin->stride, slot->end, bin->stride);
    }
    ebb__critical_leave();
    if (!due) return NULL;
    ebb__sample_hooks.taken(opaque(p), bin->stride);
    return (void *)opaque(p);
}

static void *alloc_refilled(heap_bin *bin) {
    heap_thread *t = ebb__thread_start();
    if (!t) return NULL;
    if (ebb__heap_stressed && !ebb__heap_hooks.stress()) return NULL;
    slot *slot = slot_of(t, bin);
    for (unsigned attempt = 0;;) {
        void *sampled = slot_pop_sampled(t, slot, bin);
        if (sampled) return sampled;
        if (!ebb__heap_hooks.claim(bin->stride)) return NULL;
        bool filled = slot->bin == bin && slot->cursor < slot->end;
        if (!filled && !ebb__slot_refill(t, slot, bin)) {
            if (!ebb__heap_hooks.exhausted(bin->stride, attempt++)) return NULL;
            continue;
        }
        void *p = slot_pop(slot, bin->stride);
        if (p) return p;
    }
}

/* Leaves errno alone, as the header says. */
static __attribute__((noinline)) void *alloc_slow(heap_bin *bin) {
    int error = errno;
    void *p = alloc_refilled(bin);
    errno = error;
    return p;
}

/* The next object of the run that the thread has for the bin; null when there is none. */
static inline void *alloc_next(const heap_bin *bin) {
    heap_thread *t = ebb__self;
    if (EBB__RARE(!t)) return NULL;
    slot *slot = slot_of(t, bin);
    return EBB__LIKELY(slot->bin == bin) ? slot_pop(slot, bin->stride) : NULL;
}

static inline void *alloc_small(heap_bin *bin) {
    void *p = alloc_next(bin);
    return EBB__LIKELY(p != NULL) ? p : alloc_slow(bin);
}

/* --- Large objects ------------------------------------------------------------------------------
 */

static uintptr_t large_publish(heap_thread *t, span *s, heap_bin *bin, size_t stride, bool *due) {
    ebb__critical_enter();
    uintptr_t p = opaque(span_start(s));
    s->zone = bin->layout->kind == LAYOUT_DATA ? ZONE_DATA : ZONE_SCAN;
    s->bin = bin;
    s->count = 1;
    s->stride = stride;
    atomic_store_explicit(&span_alloc_bits(s)[0], 1, memory_order_relaxed);
    t->alloc_bytes += stride;
    t->alloc_objects++;
    *due = sample_due(t, stride);
    ebb__heap_claim((ptrdiff_t)s->pages << PAGE_SHIFT);
    ebb__pages_publish(s, SPAN_LARGE);
    ebb__critical_leave();
    return opaque(p);
}

static void *alloc_large(heap_bin *bin, size_t size, size_t align) {
    heap_thread *t = ebb__thread_start();
    size_t stride = round_up(size, 16), bytes = round_up(stride + 1, PAGE);
    if (!t || size > ebb__space.zone_bytes) return NULL;
    if (ebb__heap_stressed && !ebb__heap_hooks.stress()) return NULL;
    enum zone_id zone = bin->layout->kind == LAYOUT_DATA ? ZONE_DATA : ZONE_SCAN;
    uint32_t pages = (uint32_t)(bytes >> PAGE_SHIFT);
    uint32_t align_pages = align > PAGE ? (uint32_t)(align >> PAGE_SHIFT) : 1;
    span *s;
    bool fresh, due;
    for (unsigned attempt = 0;; attempt++) {
        if (!ebb__heap_hooks.claim(bytes)) return NULL;
        s = ebb__pages_alloc(zone, pages, align_pages, &fresh);
        if (s) break;
        if (!ebb__heap_hooks.exhausted(bytes, attempt)) return NULL;
    }
    if (!fresh) ebb__pages_zero(s->first_page, pages);
    uintptr_t p = large_publish(t, s, bin, stride, &due);
    if (EBB__RARE(due)) ebb__sample_hooks.taken(p, stride);
    return (void *)opaque(p);
}

/* --- Allocation calls ---------------------------------------------------------------------------
 */

static void *alloc_started(ebb__layout *layout, size_t size, size_t align) {
    if (!ebb__heap_start()) return NULL;
    uint32_t class = size <= SMALL_MAX ? class_of(size, align) : CLASS_MAX;
    heap_bin *bin = bin_of(layout, class);
    if (!bin) return NULL;
    return class < CLASS_MAX ? alloc_refilled(bin) : alloc_large(bin, size, align);
}

/* Out of line, so that the fast path has no registers to save. */
static __attribute__((noinline)) void *alloc_any(ebb__layout *layout, size_t size, size_t align) {
    int error = errno;
    void *p = alloc_started(layout, size, align);
    errno = error;
    return alloc_done(p);
}

static inline void *alloc_bytes(ebb__layout *layout, size_t size, size_t align) {
    if (EBB__LIKELY(size <= SMALL_MAX && heap_is_started())) {
        const heap_bin *bin =
            atomic_load_explicit(&layout->bins[class_of(size, align)], memory_order_acquire);
        void *p = EBB__LIKELY(bin != NULL) ? alloc_next(bin) : NULL; /* large ones have no runs */
        if (EBB__LIKELY(p != NULL)) return p;
    }
    return alloc_any(layout, size, align);
}

/* 16 for sizes that may hold something so aligned, 8 otherwise. */
static size_t align_of_size(size_t size) {
    return size % 16 == 0 && size > 0 ? 16 : 8;
}

void *ebb__alloc_layout(ebb__layout *layout, size_t size) {
    return layout ? alloc_bytes(layout, size, align_of_size(size)) : NULL;
}

void *ebb_alloc_as(ebb_layout *layout, size_t size) {
    if (!layout) {
        ebb__misuse(EBB_EINVAL, "ebb_alloc_as", "the layout is null");
        return NULL;
    }
    return alloc_done(alloc_bytes(layout, size, 16));
}

void *ebb__new(ebb__site *site) {
    heap_bin *bin = __atomic_load_n((heap_bin **)&site->bin, __ATOMIC_ACQUIRE);
    if (EBB__LIKELY(bin != NULL)) return alloc_done(alloc_small(bin));
    ebb__layout *layout = ebb__layout_of(site);
    if (!layout) return NULL;
    uint32_t class = site->size <= SMALL_MAX ? class_of(site->size, site->align) : CLASS_MAX;
    if (class == CLASS_MAX) return alloc_done(alloc_bytes(layout, site->size, site->align));
    bin = bin_of(layout, class);
    if (!bin) return NULL;
    __atomic_store_n((heap_bin **)&site->bin, bin, __ATOMIC_RELEASE);
    return alloc_done(alloc_small(bin));
}

void *ebb__new_array(ebb__site *site, size_t n) {
    size_t bytes;
    if (__builtin_mul_overflow(n, site->size, &bytes)) return NULL;
    ebb__layout *layout = ebb__layout_of(site);
    return layout ? alloc_done(alloc_bytes(layout, bytes, max_size(site->align, 8))) : NULL;
}

void *ebb_alloc(size_t size) {
    return alloc_done(alloc_bytes(&ebb__plain[1][EBB__USE_OBJECT], size, align_of_size(size)));
}

void *ebb_alloc_data(size_t size) {
    return alloc_done(alloc_bytes(&ebb__plain[0][EBB__USE_OBJECT], size, align_of_size(size)));
}

static void *alloc_aligned(const char *call, bool words, size_t size, size_t align) {
    if (!is_power_of_two(align) || align > GIB) {
        ebb__misuse(EBB_EINVAL, call, "alignment %zu is no power of two up to 1 GiB", align);
        return NULL;
    }
    ebb__layout *layout = ebb__layout_plain(words, EBB__USE_OBJECT);
    return layout ? alloc_bytes(layout, size, align) : NULL;
}

void *ebb_alloc_aligned(size_t size, size_t align) {
    return alloc_done(alloc_aligned("ebb_alloc_aligned", true, size, align));
}

void *ebb_alloc_data_aligned(size_t size, size_t align) {
    return alloc_done(alloc_aligned("ebb_alloc_data_aligned", false, size, align));
}

/* --- Asking -------------------------------------------------------------------------------------
 */

static uintptr_t object_base(const span *s, uint32_t index) {
    return span_start(s) + index * s->stride;
}

/* It is in the calling thread's run: not taken yet, or given back. */
static bool object_waits(const span *s, uint32_t index) {
    heap_thread *t = ebb__self;
    const heap_bin *bin = s->bin;
    if (!t || !bin || s->state != SPAN_SMALL) return false;
    const slot *slot = slot_of(t, bin);
    uintptr_t object = object_base(s, index);
    return slot->span == s && object >= slot->cursor && object < slot->end;
}

static bool object_there(const span *s, uintptr_t address, uint32_t *index) {
    return span_find(s, address, index) && !object_waits(s, *index);
}

/* The object at or around p: its span and number. */
static span *object_find(const void *p, uint32_t *index) {
    span *s = ebb__space.base ? ebb__span_at((uintptr_t)p) : NULL;
    return s && object_there(s, (uintptr_t)p, index) ? s : NULL;
}

size_t ebb_size_of(const void *p) {
    uint32_t index;
    const span *s = object_find(p, &index);
    return s ? span_room(s) : 0;
}

void *ebb_base_of(const void *p) {
    uint32_t index;
    const span *s = object_find(p, &index);
    return s ? (void *)object_base(s, index) : NULL;
}

ebb_layout *ebb_layout_of(const void *p) {
    uint32_t index;
    const span *s = object_find(p, &index);
    return s ? s->bin->layout : NULL;
}

/* --- Releasing and resizing ---------------------------------------------------------------------
 */

enum object_answer { OBJECT_STARTS, OBJECT_INSIDE, OBJECT_NONE };

static enum object_answer object_answer(uintptr_t address, span **found, uint32_t *index) {
    *found = ebb__span_at(address);
    if (!*found || !object_there(*found, address, index)) return OBJECT_NONE;
    return object_base(*found, *index) == address ? OBJECT_STARTS : OBJECT_INSIDE;
}

/* The same with the zone's lock: the record of a span may become another's at any time while its
 * last object is being released by somebody else, which is a mistake, but not ours. */
static enum object_answer object_answer_locked(uintptr_t address, span **found, uint32_t *index) {
    zone *z = &ebb__space.zones[address - ebb__space.base >= ebb__space.zone_bytes];
    ebb__critical_lock(&z->lock);
    enum object_answer answer = object_answer(address, found, index);
    ebb__critical_unlock(&z->lock);
    return answer;
}

/* An allocated object that starts at p, or a code that says what p is instead. */
static int object_at(const char *call, void *p, span **found, uint32_t *index) {
    uintptr_t address = (uintptr_t)p;
    bool ours = ebb__heap_start() && space_has(address);
    if (!ours) return ebb__misuse(EBB_ENOTHEAP, call, "%p does not point into Ebb's heap", p);
    enum object_answer answer = object_answer(address, found, index);
    if (answer != OBJECT_STARTS || (*found)->state != SPAN_SMALL)
        answer = object_answer_locked(address, found, index);
    if (answer == OBJECT_STARTS) return 0;
    if (answer == OBJECT_NONE)
        return ebb__misuse(EBB_EDOUBLE, call, "%p: released before, or never allocated", p);
    uintptr_t base = object_base(*found, *index);
    return ebb__misuse(EBB_ENOTBASE, call, "%p points %zu bytes into the object at %p of %zu", p,
                       (size_t)(address - base), (void *)base, span_room(*found));
}

/* False when somebody else released it first. */
static bool large_free(void *p) {
    span *s;
    uint32_t index;
    uintptr_t address = (uintptr_t)p;
    zone *z = &ebb__space.zones[address - ebb__space.base >= ebb__space.zone_bytes];
    ebb__critical_lock(&z->lock);
    bool ours = object_answer(address, &s, &index) == OBJECT_STARTS && s->state == SPAN_LARGE;
    if (ours) {
        atomic_store_explicit(&span_alloc_bits(s)[0], 0, memory_order_relaxed);
        atomic_store_explicit(&span_mark_bits(s)[0], 0, memory_order_relaxed);
    }
    bool wait = atomic_load_explicit(&ebb__heap_marking, memory_order_relaxed);
    if (ours)
        span_touch(s); /* if it waits, for the next sweep to see to it; if not, this one must not */
    ebb__os_unlock(&z->lock);
    if (ours) {
        heap_freed(1, s->stride);
        if (!wait) {
            ebb__heap_claim(-((ptrdiff_t)s->pages << PAGE_SHIFT));
            ebb__pages_free(s);
        }
    }
    ebb__critical_leave();
    return ours;
}

/* Releases what was not taken last. *room is what it had room for. */
static __attribute__((noinline)) int free_any(const char *call, void *p, size_t *room) {
    span *s;
    uint32_t index = 0;
    int error = object_at(call, p, &s, &index);
    if (error) return error;
    *room = span_room(s);
    object_forget(s, (uintptr_t)p);
    bool freed = s->state == SPAN_SMALL ? ebb__span_free_object(s, index) : large_free(p);
    return freed ? 0 : ebb__misuse(EBB_EDOUBLE, call, "%p: released before", p);
}

int ebb_free(void *p) {
    size_t room = ebb__slot_give_back((uintptr_t)p);
    return EBB__LIKELY(room > 0) || !p ? 0 : free_any("ebb_free", p, &room);
}

size_t ebb_free_counted(void *p) {
    size_t room = ebb__slot_give_back((uintptr_t)p);
    if (EBB__LIKELY(room > 0) || !p) return room;
    return free_any("ebb_free_counted", p, &room) == 0 ? room : 0;
}

/* Makes a large object's span as long as size needs, in place. False when it cannot grow. */
static bool large_resize(span *s, size_t size, bool *due) {
    size_t stride = round_up(size, 16);
    uint32_t pages = (uint32_t)(round_up(stride + 1, PAGE) >> PAGE_SHIFT);
    uintptr_t start = span_start(s);
    ebb__critical_enter();
    bool fits = pages <= s->pages || ebb__pages_extend(s, pages - s->pages);
    bool cuts = pages < s->pages && !atomic_load_explicit(&ebb__heap_marking, memory_order_relaxed);
    if (cuts) {
        ebb__heap_claim(-((ptrdiff_t)(s->pages - pages) << PAGE_SHIFT));
        ebb__pages_trim(s, s->pages - pages);
    }
    if (fits) {
        size_t end = min_size(s->stride, (size_t)s->pages << PAGE_SHIFT);
        if (size < end) memset((void *)(start + size), 0, end - size);
        size_t before = s->stride;
        if (stride > s->stride) {
            *due = sample_due(ebb__self, stride - s->stride);
            ebb__self->alloc_bytes += stride - s->stride;
            ebb__heap_claim((ptrdiff_t)(stride - s->stride));
        } else
            heap_freed(0, s->stride - stride);
        s->stride = stride;
        if (EBB__RARE(span_bit(ebb__space.sampled, span_number(s))))
            ebb__sample_hooks.resized(start, before, stride);
    }
    ebb__critical_leave();
    return fits;
}

static bool large_resize_sampled(span *s, size_t size) {
    size_t before = s->stride;
    bool due = false, fits = large_resize(s, size, &due);
    if (EBB__RARE(due)) ebb__sample_hooks.grown(span_start(s), before, round_up(size, 16));
    return fits;
}

void *ebb_resize(void *p, size_t size) {
    span *s;
    uint32_t index;
    if (!p) return ebb_alloc(size);
    if (object_at("ebb_resize", p, &s, &index) != 0 || !ebb__thread_start()) return NULL;
    size_t room = span_room(s);
    if (s->state == SPAN_LARGE && size > SMALL_MAX && size <= ebb__space.zone_bytes) {
        int error = errno;
        bool fits =
            ebb__heap_hooks.claim(size > room ? size - room : 0) && large_resize_sampled(s, size);
        errno = error;
        if (fits) return p;
    } else if (s->state == SPAN_SMALL && size <= room) {
        memset((char *)p + size, 0, room - size);
        return p;
    }
    void *moved = alloc_bytes(s->bin->layout, size, align_of_size(size));
    if (moved) memcpy(moved, p, min_size(size, room));
    return moved;
}

/* --- For the layers above -----------------------------------------------------------------------
 */

void ebb__heap_clear(void *start, size_t size) {
    size_t page = ebb__os_page_size();
    char *from = (char *)round_up((uintptr_t)start, page);
    char *to = (char *)round_down((uintptr_t)start + size, page);
    if (from >= to || ebb__os_return(from, (size_t)(to - from)) != 0) {
        memset(start, 0, size);
        return;
    }
    memset(start, 0, (size_t)(from - (char *)start));
    memset(to, 0, (size_t)((char *)start + size - to));
}

void ebb__heap_each(enum ebb__use use, void (*visit)(void *start, size_t size, void *arg),
                    void *arg) {
    for (uint32_t n = 1; n < ebb__space.span_count; n++) {
        span *s = span_at(n);
        if (s->state < SPAN_SMALL || s->bin->layout->use != use) continue;
        for (uint32_t w = 0; w * 64 < s->count; w++)
            for (uint64_t live = span_live_bits(s, w); live; live &= live - 1) {
                uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(live);
                visit((void *)object_base(s, index), span_room(s), arg);
            }
    }
}
