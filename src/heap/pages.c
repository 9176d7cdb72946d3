/* pages.c - runs of pages: who gets which, and which go back to the system.
 *
 * Free runs lie in lists by size (exact up to 64 pages, then eight steps a doubling); allocation
 * takes the first that fits from the smallest list that may hold one, and freeing merges with both
 * neighbours, which the span table finds. The resident bits say which pages read as zero, so merged
 * runs may be part fresh, part not. Part of docs/design.md, "Pages". */
#include "space.h"
#include "thread.h"
#include "../os/probes.h"

enum { EXACT = 64, STEPS = 8, LISTS = EXACT + STEPS * 26 };
/* At least so much goes back for pages that are taken: a call for a few. Not much more: whoever
 * takes them is in a critical section, and a stop waits for that. */
#define EXCHANGE MIB

_Atomic(uint64_t) ebb__pages_returned_total;
_Atomic(size_t) ebb__space_limit = SIZE_MAX;
_Atomic(size_t) ebb__resident_pages;
_Atomic(size_t) ebb__pages_wanted = SIZE_MAX;

static uint32_t pages_lists[ZONE_COUNT][LISTS]; /* [zone lock] */
static uint64_t pages_filled[ZONE_COUNT][(LISTS + 63) / 64];

static uint32_t list_of(uint32_t pages) {
    if (pages < EXACT) return pages;
    unsigned power = log2_floor(pages);
    return EXACT + (power - 6) * STEPS + ((pages >> (power - 3)) & (STEPS - 1));
}

static void list_add(span *s) {
    uint32_t list = list_of(s->pages), number = span_number(s);
    uint32_t *head = &pages_lists[s->zone][list];
    s->previous = 0;
    s->next = *head;
    if (*head) span_at(*head)->previous = number;
    *head = number;
    pages_filled[s->zone][list / 64] |= (uint64_t)1 << (list % 64);
}

static void list_remove(span *s) {
    uint32_t list = list_of(s->pages);
    if (s->next) span_at(s->next)->previous = s->previous;
    if (s->previous) {
        span_at(s->previous)->next = s->next;
    } else {
        pages_lists[s->zone][list] = s->next;
        if (!s->next) pages_filled[s->zone][list / 64] &= ~((uint64_t)1 << (list % 64));
    }
}

/* The first list at or after `list` that is not empty; LISTS for none. */
static uint32_t list_next(const zone *z, uint32_t list) {
    const uint64_t *filled = pages_filled[z - ebb__space.zones];
    for (uint32_t word = list / 64; word < (LISTS + 63) / 64; word++) {
        uint64_t bits = filled[word];
        if (word == list / 64) bits &= ~(uint64_t)0 << (list % 64);
        if (bits) return word * 64 + (uint32_t)__builtin_ctzll(bits);
    }
    return LISTS;
}

/* The last list before `list` that is not empty; LISTS for none. */
static uint32_t list_before(const zone *z, uint32_t list) {
    const uint64_t *filled = pages_filled[z - ebb__space.zones];
    while (list > 0) {
        uint32_t word = (list - 1) / 64, end = word * 64 + 64;
        uint64_t bits = filled[word];
        if (list < end) bits &= ~(~(uint64_t)0 << (list % 64));
        if (bits) return word * 64 + log2_floor(bits);
        list = word * 64;
    }
    return LISTS;
}

/* --- Resident bits ---------------------------------------------------------------------------- */

/* Calls for each word of the resident bitmap that [first, first + pages) touches. */
#define RESIDENT_EACH(first, pages, word, mask)                                                    \
 for (uint32_t page_ = (first), end_ = (first) + (pages), word, next_;                             \
      word = page_ / 64, next_ = (word + 1) * 64 < end_ ? (word + 1) * 64 : end_, page_ < end_;    \
      page_ = next_)                                                                               \
  for (uint64_t mask = (~(uint64_t)0 << (page_ % 64)) & (~(uint64_t)0 >> (63 - (next_ - 1) % 64)); \
       mask; mask = 0)

/* Bits are written with the zone's lock. Whoever has pages reads theirs without it, while others
 * change those beside them in the same word: hence relaxed atomics. */
static uint64_t resident_word(uint32_t word) {
    return __atomic_load_n(&ebb__space.resident[word], __ATOMIC_RELAXED);
}

static void resident_put(uint32_t word, uint64_t bits) {
    __atomic_store_n(&ebb__space.resident[word], bits, __ATOMIC_RELAXED);
}

static uint32_t resident_count(uint32_t first, uint32_t pages) {
    uint32_t count = 0;
    RESIDENT_EACH (first, pages, word, mask) count += bits_in(resident_word(word) & mask);
    return count;
}

static void resident_set(uint32_t first, uint32_t pages) {
    RESIDENT_EACH (first, pages, word, mask) resident_put(word, resident_word(word) | mask);
}

static void resident_clear(uint32_t first, uint32_t pages) {
    RESIDENT_EACH (first, pages, word, mask) resident_put(word, resident_word(word) & ~mask);
}

/* The first page in [from, end) that is resident, or that is not, with flip all ones; end for none.
 */
static uint32_t resident_next(uint32_t from, uint32_t end, uint64_t flip) {
    while (from < end) {
        uint64_t bits = (resident_word(from / 64) ^ flip) >> (from % 64);
        if (bits) return (uint32_t)min_size(from + (uint32_t)__builtin_ctzll(bits), end);
        from = (from / 64 + 1) * 64;
    }
    return end;
}

/* One past the last such page in [from, end); from for none. */
static uint32_t resident_last(uint32_t from, uint32_t end, uint64_t flip) {
    while (from < end) {
        uint32_t word = (end - 1) / 64;
        uint64_t bits = (resident_word(word) ^ flip) & (~(uint64_t)0 >> (63 - (end - 1) % 64));
        if (bits) return (uint32_t)max_size(word * 64 + log2_floor(bits) + 1, from);
        end = word * 64;
    }
    return from;
}

/* The next run of pages in [from, end) that are all resident: its start, and *stop. */
static uint32_t resident_run(uint32_t from, uint32_t end, uint32_t *stop) {
    from = resident_next(from, end, 0);
    *stop = resident_next(from, end, ~(uint64_t)0);
    return from;
}

/* --- Allocation and freeing ------------------------------------------------------------------- */

static void span_of_set(uint32_t page, uint32_t number) {
    atomic_store_explicit(&ebb__space.span_of[page], number, memory_order_release);
}

/* A run of free pages: how many of them are there, and since when most are free. Whoever makes one
 * knows the count, as a rule from the runs it was made of: counting costs what the run is long. */
typedef struct run {
    uint32_t first, pages, resident;
    uint64_t freed_ns;
} run;

static run run_of(const span *s) {
    return (run){s->first_page, s->pages, s->resident_pages, s->freed_ns};
}

/* Makes r a listed free span with the given record. [zone lock] */
static void run_insert(zone *z, uint32_t number, run r) {
    span *s = span_at(number);
    *s = (span){.first_page = r.first,
                .pages = r.pages,
                .state = SPAN_FREE,
                .zone = (uint8_t)(z - ebb__space.zones),
                .freed_ns = r.freed_ns,
                .resident_pages = r.resident};
    span_of_set(r.first, number);
    span_of_set(r.first + r.pages - 1, number);
    z->free_pages += r.pages;
    z->resident_free_pages += r.resident;
    list_add(s);
}

/* Off its list, for a moment: all else about it stays. [zone lock] */
static void run_take(zone *z, span *s) {
    list_remove(s);
    z->free_pages -= s->pages;
    z->resident_free_pages -= s->resident_pages;
}

static span *free_span_at(const zone *z, uint32_t page) {
    if (page - z->first_page >= z->used_pages) return NULL;
    span *s = span_at(atomic_load_explicit(&ebb__space.span_of[page], memory_order_relaxed));
    bool covers = page - s->first_page < s->pages;
    return s->state == SPAN_FREE && covers ? s : NULL;
}

/* A few pages that come and go beside many do not make these young: or a large run would never be
 * old enough to be given back. [zone lock] */
static void run_merge(zone *z, run *r, span *s) {
    if (!s) return;
    if (s->resident_pages > r->resident) r->freed_ns = s->freed_ns;
    run_take(z, s);
    r->first = s->first_page < r->first ? s->first_page : r->first;
    r->pages += s->pages;
    r->resident += s->resident_pages;
    ebb__span_delete(span_number(s));
}

/* Inserts a run and merges it with free neighbours; frees their records. [zone lock] */
static void run_free(zone *z, uint32_t number, uint32_t first, uint32_t pages, uint64_t now) {
    run r = {first, pages, resident_count(first, pages), now};
    span *before = first > z->first_page ? free_span_at(z, first - 1) : NULL;
    run_merge(z, &r, before);
    run_merge(z, &r, free_span_at(z, first + pages));
    run_insert(z, number, r);
}

/* Splits [first, first + pages), of which `resident` are there, out of the taken free span s, and
 * lists what is left. False, and all as it was, when there was no record for the rest. [zone lock]
 */
static bool run_split(zone *z, span *s, uint32_t first, uint32_t pages, uint32_t resident) {
    run head = run_of(s), tail = head;
    head.pages = first - s->first_page;
    head.resident = resident_count(head.first, head.pages);
    tail.first = first + pages;
    tail.pages -= head.pages + pages;
    tail.resident -= head.resident + resident;
    uint32_t head_record = head.pages ? ebb__span_new() : 0;
    uint32_t tail_record = tail.pages ? ebb__span_new() : 0;
    if ((head.pages && !head_record) || (tail.pages && !tail_record)) {
        if (head_record) ebb__span_delete(head_record);
        if (tail_record) ebb__span_delete(tail_record);
        return false;
    }
    if (head.pages) run_insert(z, head_record, head);
    if (tail.pages) run_insert(z, tail_record, tail);
    s->first_page = first;
    s->pages = pages;
    return true;
}

/* Where in s such a run begins, its address aligned; UINT32_MAX for nowhere. */
static uint32_t run_aligned(const span *s, uint32_t pages, uint32_t align) {
    size_t base = ebb__space.base >> PAGE_SHIFT;
    uint32_t first = (uint32_t)(round_up(base + s->first_page, align) - base);
    return first + pages <= s->first_page + s->pages ? first : UINT32_MAX;
}

/* A free span that holds such a run, taken off its list; null for none. [zone lock] */
static span *run_find(zone *z, uint32_t pages, uint32_t align) {
    const uint32_t *lists = pages_lists[z - ebb__space.zones];
    for (uint32_t list = list_next(z, list_of(pages)); list < LISTS;
         list = list_next(z, list + 1)) {
        int tries = list == list_of(pages) ? 16 : 64;
        for (uint32_t n = lists[list]; n && tries-- > 0; n = span_at(n)->next) {
            span *s = span_at(n);
            if (s->pages < pages || run_aligned(s, pages, align) == UINT32_MAX) continue;
            run_take(z, s);
            return s;
        }
    }
    return NULL;
}

/* Commits more of the zone as one free run. [zone lock] */
static bool run_grow(zone *z, uint32_t pages) {
    uint32_t number = ebb__span_new(), from = z->used_pages;
    if (!number) return false;
    if (ebb__space_grow(z, pages) != 0) {
        ebb__span_delete(number);
        return false;
    }
    run_free(z, number, z->first_page + from, z->used_pages - from, 0);
    return true;
}

/* Counts pages that are about to be used as resident, unless that would pass the limit. A little is
 * kept aside for records of our own. */
static bool resident_reserve(size_t fresh) {
    size_t limit = atomic_load_explicit(&ebb__space_limit, memory_order_relaxed);
    atomic_fetch_add_explicit(&ebb__resident_pages, fresh, memory_order_relaxed);
    if (limit == SIZE_MAX || ebb__space_footprint() + min_size(limit / 64, MIB) <= limit)
        return true;
    atomic_fetch_sub_explicit(&ebb__resident_pages, fresh, memory_order_relaxed);
    return false;
}

/* Makes the taken free span s just [first, first + pages), within the limit, and says how many of
 * these are fresh: they read as zero and count as resident from now on. False when it cannot be; s
 * is then listed again. [zone lock] */
static bool run_carve(zone *z, span *s, uint32_t first, uint32_t pages, uint32_t *fresh) {
    uint32_t resident = resident_count(first, pages);
    *fresh = pages - resident;
    if (resident_reserve(*fresh)) {
        if (run_split(z, s, first, pages, resident)) return true;
        atomic_fetch_sub_explicit(&ebb__resident_pages, *fresh, memory_order_relaxed);
    }
    run_insert(z, span_number(s), run_of(s));
    return false;
}

/* Pages that were not there were taken: others that are free and there go back for them, as far as
 * there are more than the heap wants. Or one zone would grow beside what the other has left, and
 * new runs be taken beside old ones that are too short. */
static void pages_exchange(size_t taken) {
    size_t wanted = atomic_load_explicit(&ebb__pages_wanted, memory_order_relaxed);
    size_t pages = atomic_load_explicit(&ebb__resident_pages, memory_order_relaxed);
    size_t have = pages << PAGE_SHIFT;
    if (have <= wanted || have - wanted < EXCHANGE) return;
    ebb__pages_return(UINT64_MAX, EXCHANGE, min_size(max_size(taken, EXCHANGE), have - wanted));
}

span *ebb__pages_alloc(enum zone_id id, uint32_t pages, uint32_t align, bool *fresh) {
    uint32_t new = 0;
    zone *z = &ebb__space.zones[id];
    if (pages == 0 || pages > z->limit_pages - (align - 1)) return NULL;
    ebb__critical_lock(&z->lock);
    span *s = run_find(z, pages, align);
    if (!s && run_grow(z, pages + align - 1)) s = run_find(z, pages, align);
    if (s && !run_carve(z, s, run_aligned(s, pages, align), pages, &new)) s = NULL;
    if (s) {
        s->state = SPAN_UNUSED;
        span_of_set(s->first_page, span_number(s));
        *fresh = new == pages;
        z->in_use_pages += pages;
    }
    ebb__critical_unlock(&z->lock);
    if (s && new > 0) pages_exchange((size_t) new << PAGE_SHIFT);
    return s;
}

void ebb__pages_publish(span *s, enum span_state state) {
    zone *z = &ebb__space.zones[s->zone];
    ebb__critical_lock(&z->lock);
    resident_set(s->first_page, s->pages);
    uint32_t number = span_number(s);
    span_touch(s);
    __atomic_store_n(&s->state, (uint8_t)state, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < s->pages; i++) span_of_set(s->first_page + i, number);
    ebb__critical_unlock(&z->lock);
}

void ebb__pages_free(span *s) {
    zone *z = &ebb__space.zones[s->zone];
    uint64_t now = ebb__os_now_ns();
    ebb__critical_lock(&z->lock);
    z->in_use_pages -= s->pages;
    s->state = SPAN_UNUSED;
    span_bit_clear(ebb__space.young, span_number(s));
    span_bit_clear(ebb__space.exposed, span_number(s));
    run_free(z, span_number(s), s->first_page, s->pages, now);
    ebb__critical_unlock(&z->lock);
}

void ebb__pages_trim(span *s, uint32_t pages) {
    zone *z = &ebb__space.zones[s->zone];
    uint32_t number = ebb__span_new();
    if (!number) return;
    uint64_t now = ebb__os_now_ns();
    ebb__critical_lock(&z->lock);
    z->in_use_pages -= pages;
    s->pages -= pages;
    run_free(z, number, s->first_page + s->pages, pages, now);
    ebb__critical_unlock(&z->lock);
}

bool ebb__pages_extend(span *s, uint32_t pages) {
    zone *z = &ebb__space.zones[s->zone];
    uint32_t end = s->first_page + s->pages;
    ebb__critical_lock(&z->lock);
    span *after = free_span_at(z, end);
    bool fits = after && after->pages >= pages;
    if (fits) {
        uint32_t fresh;
        run_take(z, after);
        fits = run_carve(z, after, end, pages, &fresh);
    }
    if (fits) {
        ebb__span_delete(span_number(after));
        ebb__pages_zero(end, pages);
        resident_set(end, pages);
        for (uint32_t i = 0; i < pages; i++) span_of_set(end + i, span_number(s));
        z->in_use_pages += pages;
        s->pages += pages;
    }
    ebb__critical_unlock(&z->lock);
    return fits;
}

static void resident_zero(void *start, void *end) {
    void *stop;
    for (void *at = ebb__os_resident(start, end, &stop); at < end;
         at = ebb__os_resident(stop, end, &stop))
        memset(at, 0,
               min_size((size_t)((char *)stop - (char *)at), (size_t)((char *)end - (char *)at)));
}

void ebb__pages_zero(uint32_t first, uint32_t pages) {
    enum { LOOK_FROM = 32 }; /* 256 KiB: asking which pages are there pays from here on */
    uint32_t end = first + pages, stop;
    for (uint32_t page = resident_run(first, end, &stop); page < end;
         page = resident_run(stop, end, &stop)) {
        void *start = (void *)page_address(page);
        size_t bytes = (size_t)(stop - page) << PAGE_SHIFT;
        if (stop - page >= LOOK_FROM)
            resident_zero(start, (char *)start + bytes);
        else
            memset(start, 0, bytes);
    }
}

/* --- Giving back ------------------------------------------------------------------------------ */

/* Keeps the system from filling a block of a huge page again of which a part was given back, and
 * allows it again for blocks that were given back whole. [zone lock] */
static void huge_adjust(const zone *z, uintptr_t start, uintptr_t end) {
    if (z->huge_from == UINT32_MAX) return;
    uintptr_t huge_from = round_up(page_address(z->first_page + z->huge_from), HUGE_PAGE);
    uintptr_t block = max_size(round_down(start, HUGE_PAGE), huge_from);
    for (; block < end; block += HUGE_PAGE) {
        size_t bit = (block - ebb__space.base) / HUGE_PAGE;
        uint64_t *word = &ebb__space.huge_off[bit / 64], mask = (uint64_t)1 << (bit % 64);
        bool whole = block >= start && block + HUGE_PAGE <= end;
        if (whole == !(*word & mask)) continue;
        *word ^= mask;
        ebb__os_huge((void *)block, HUGE_PAGE, whole);
    }
}

/* Gives back the bitmaps of pages in a free run: they are all zero. [zone lock] */
static void bitmaps_return(uint32_t first, uint32_t pages) {
    size_t page = ebb__os_page_size();
    uintptr_t tables[] = {(uintptr_t)ebb__space.alloc, (uintptr_t)ebb__space.mark};
    for (int i = 0; i < 2; i++) {
        uintptr_t start = round_up(tables[i] + (size_t)first * BITMAP_BYTES, page);
        uintptr_t end = round_down(tables[i] + (size_t)(first + pages) * BITMAP_BYTES, page);
        if (end > start) ebb__os_return((void *)start, end - start);
    }
}

/* Pages of a taken free span, of which so many were there, read as zero again. [zone lock] */
static void run_returned(span *s, uint32_t first, uint32_t pages, uint32_t resident) {
    resident_clear(first, pages);
    s->resident_pages -= resident;
    atomic_fetch_sub_explicit(&ebb__resident_pages, resident, memory_order_relaxed);
}

/* Returns the resident parts of a taken free span, up to budget bytes, from its end: allocation
 * takes from its start, and would have to bring back what was just given away. [zone lock] */
static size_t run_return(const zone *z, span *s, size_t budget) {
    size_t returned = 0;
    uint32_t first = s->first_page, end = first + s->pages, resident = s->resident_pages;
    if ((size_t)resident << PAGE_SHIFT <= budget) {
        /* At once, pages between that were never handed out included: of a huge page, the system
         * may have put memory there too. */
        if (ebb__os_return((void *)span_start(s), (size_t)s->pages << PAGE_SHIFT) != 0) return 0;
        huge_adjust(z, span_start(s), page_address(end));
        run_returned(s, s->first_page, s->pages, resident);
        bitmaps_return(s->first_page, s->pages);
        return (size_t)resident << PAGE_SHIFT;
    }
    for (uint32_t stop = resident_last(first, end, 0), page; stop > first && returned < budget;
         stop = resident_last(first, page, 0)) {
        page = resident_last(first, stop, ~(uint64_t)0);
        uint32_t most = (uint32_t)((budget - returned + PAGE - 1) >> PAGE_SHIFT);
        if (stop - page > most) page = stop - most;
        uintptr_t start = page_address(page), bytes = (uintptr_t)(stop - page) << PAGE_SHIFT;
        if (ebb__os_return((void *)start, bytes) != 0) break;
        huge_adjust(z, start, start + bytes);
        run_returned(s, page, stop - page, stop - page);
        returned += bytes;
    }
    return returned;
}

/* One step: a run with resident pages that is old enough, of the longest, which take the fewest
 * calls and are the last to be allocated from. Returns the bytes given back. */
static size_t zone_return(zone *z, uint64_t before_ns, size_t budget) {
    size_t returned = 0;
    const uint32_t *lists = pages_lists[z - ebb__space.zones];
    ebb__critical_lock(&z->lock);
    uint32_t first = z->resident_free_pages ? LISTS : 0;
    for (uint32_t list = list_before(z, first); list < LISTS && !returned;
         list = list_before(z, list)) {
        for (uint32_t n = lists[list]; n && !returned; n = span_at(n)->next) {
            span *s = span_at(n);
            if (s->resident_pages == 0 || s->freed_ns > before_ns) continue;
            run_take(z, s);
            returned = run_return(z, s, budget);
            run_insert(z, n, run_of(s));
            if (!returned) break;
        }
    }
    ebb__critical_unlock(&z->lock);
    return returned;
}

static size_t resident_free(void) {
    size_t pages = 0;
    for (int i = 0; i < ZONE_COUNT; i++) {
        zone *z = &ebb__space.zones[i];
        ebb__critical_lock(&z->lock);
        pages += z->resident_free_pages;
        ebb__critical_unlock(&z->lock);
    }
    return pages << PAGE_SHIFT;
}

size_t ebb__pages_return(uint64_t before_ns, size_t keep, size_t budget) {
    enum { STEP = 32 * MIB };
    size_t total = 0;
    for (int i = 0; i < ZONE_COUNT; i++) {
        zone *z = &ebb__space.zones[i];
        for (;;) {
            size_t resident = resident_free();
            if (resident <= keep || total >= budget) break;
            size_t most = min_size(min_size(resident - keep, budget - total), STEP);
            size_t step = zone_return(z, before_ns, most);
            if (step == 0) break;
            total += step;
        }
    }
    atomic_fetch_add_explicit(&ebb__pages_returned_total, total, memory_order_relaxed);
    if (total > 0) ebb__probe_pages_returned(total);
    return total;
}

size_t ebb__pages_in_use(void) {
    size_t pages = 0;
    for (zone *z = ebb__space.zones; z < ebb__space.zones + ZONE_COUNT; z++) {
        ebb__critical_lock(&z->lock);
        pages += z->in_use_pages;
        ebb__critical_unlock(&z->lock);
    }
    return pages << PAGE_SHIFT;
}
