/* space.c - the reservation, its growth, and span records. See space.h for the picture.
 *
 * One reservation of 2 TiB and its tables cost address space only. Where that is refused (a limit
 * on address space, a small container), half of it is tried, and so on down to 64 MiB a zone. */
#include "space.h"

space ebb__space;
bool ebb__space_huge;

enum {
    GROW_PAGES = 512,        /* 4 MiB */
    RECORDS_STEP = 64 * 1024 /* bytes of span records, and of bits for them, at a time */
};
#define ZONE_MAX  ((size_t)1 << 40)
#define ZONE_MIN  (64 * MIB)
#define ZONE_GAP  HUGE_PAGE  /* before the first page of a zone */
#define HUGE_FROM (16 * MIB) /* zones that grow by huge pages do so beyond this size */

/* Where the tables lie behind the zones, as offsets, for zones of a given size. */
struct space_plan {
    size_t span_of, spans, resident, alloc, mark, huge_off, young, exposed, sampled, total;
};

static struct space_plan space_plan(size_t zone_bytes) {
    size_t pages = 2 * zone_bytes >> PAGE_SHIFT;
    struct space_plan p;
    size_t at = 2 * zone_bytes;
    p.alloc = at, at += pages * BITMAP_BYTES;
    p.mark = at, at += pages * BITMAP_BYTES;
    p.young = at, at += round_up(pages / 8 + 1, RECORDS_STEP);
    p.exposed = at, at += round_up(pages / 8 + 1, RECORDS_STEP);
    p.sampled = at, at += round_up(pages / 8 + 1, RECORDS_STEP);
    p.spans = at, at += round_up((pages + 1) * sizeof(span), 64 * KIB);
    p.span_of = at, at += round_up(pages * sizeof(uint32_t), 64 * KIB);
    p.resident = at, at += round_up(pages / 8, 64 * KIB);
    p.huge_off = at, at += round_up(2 * zone_bytes / HUGE_PAGE / 8, 64 * KIB);
    p.total = at;
    return p;
}

static void space_adopt(char *start, size_t zone_bytes, const struct space_plan *p) {
    space *sp = &ebb__space;
    sp->base = (uintptr_t)start;
    sp->middle = sp->base + zone_bytes;
    sp->zone_bytes = zone_bytes;
    sp->span_of = (void *)(start + p->span_of);
    sp->spans = (void *)(start + p->spans);
    sp->resident = (void *)(start + p->resident);
    sp->alloc = (void *)(start + p->alloc);
    sp->mark = (void *)(start + p->mark);
    sp->huge_off = (void *)(start + p->huge_off);
    sp->young = (void *)(start + p->young);
    sp->exposed = (void *)(start + p->exposed);
    sp->sampled = (void *)(start + p->sampled);
    uint32_t zone_pages = (uint32_t)(zone_bytes >> PAGE_SHIFT);
    uint32_t gap_pages = (uint32_t)(ZONE_GAP >> PAGE_SHIFT);
    for (uint32_t i = 0; i < ZONE_COUNT; i++) {
        sp->zones[i].first_page = i * zone_pages + gap_pages;
        sp->zones[i].limit_pages = zone_pages - gap_pages;
        sp->zones[i].huge_from = UINT32_MAX;
    }
}

/* The small tables are committed whole for zones so small that the second zone's part would not
 * start at a system page (of 64 KiB at most). */
#define ZONE_SMALL (4 * GIB)

/* What tables need at once. After a failure the reservation goes, and nothing of it is counted. */
static int space_commit(char *start, const struct space_plan *p, size_t zone_bytes) {
    bool whole = zone_bytes < ZONE_SMALL;
    struct {
        size_t at, bytes;
    } parts[] = {{p->spans, RECORDS_STEP},
                 {p->young, RECORDS_STEP},
                 {p->exposed, RECORDS_STEP},
                 {p->sampled, RECORDS_STEP},
                 {p->huge_off, p->total - p->huge_off},
                 {p->span_of, whole ? p->huge_off - p->span_of : 0}};
    size_t done = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].bytes == 0) continue;
        if (ebb__os_commit(start + parts[i].at, parts[i].bytes, OS_METADATA) != 0) {
            atomic_fetch_sub_explicit(&ebb__os_mapped[OS_METADATA], done, memory_order_relaxed);
            ebb__os_unreserve(start, p->total);
            return EBB_ENOMEM;
        }
        done += parts[i].bytes;
    }
    return 0;
}

int ebb__space_start(void) {
    for (size_t zone_bytes = ZONE_MAX; zone_bytes >= ZONE_MIN; zone_bytes /= 2) {
        struct space_plan plan = space_plan(zone_bytes);
        char *start = ebb__os_reserve(plan.total, 4 * MIB);
        if (!start) continue;
        if (space_commit(start, &plan, zone_bytes) != 0) return EBB_ENOMEM;
        space_adopt(start, zone_bytes, &plan);
        ebb__space.span_count = 1; /* 0 is no span */
        return 0;
    }
    return EBB_ENOMEM;
}

/* Commits a zone's part of a table as far as its first `pages` pages need it. What is committed
 * stays so when a later step fails, and is not counted twice. [zone lock] */
static int table_grow(zone *z, enum zone_table id, void *table, size_t bits_a_page, size_t pages) {
    if (bits_a_page <= 32 && ebb__space.zone_bytes < ZONE_SMALL) return 0;
    size_t start = round_down(z->first_page * bits_a_page / 8, ebb__os_page_size());
    size_t end = round_up(((z->first_page + pages) * bits_a_page + 7) / 8, ebb__os_page_size());
    size_t have = z->table_bytes[id], need = end - start;
    if (have >= need) return 0;
    if (ebb__os_commit((char *)table + start + have, need - have, OS_METADATA) != 0)
        return EBB_ENOMEM;
    z->table_bytes[id] = need;
    return 0;
}

static int tables_grow(zone *z, size_t pages) {
    space *sp = &ebb__space;
    if (table_grow(z, TABLE_SPAN_OF, sp->span_of, 32, pages) != 0 ||
        table_grow(z, TABLE_RESIDENT, sp->resident, 1, pages) != 0 ||
        table_grow(z, TABLE_ALLOC, sp->alloc, BITMAP_BYTES * 8, pages) != 0 ||
        table_grow(z, TABLE_MARK, sp->mark, BITMAP_BYTES * 8, pages) != 0)
        return EBB_ENOMEM;
    return 0;
}

int ebb__space_grow(zone *z, uint32_t pages) {
    uint32_t from = z->used_pages;
    if (pages > z->limit_pages - from) return EBB_ENOMEM;
    uint32_t step = (uint32_t)max_size(GROW_PAGES, from / 8);
    size_t to = round_up((size_t)from + max_size(pages, step), GROW_PAGES);
    to = min_size(to, z->limit_pages);
    if (tables_grow(z, to) != 0) return EBB_ENOMEM;
    char *start = (char *)page_address(z->first_page + from);
    size_t bytes = (to - from) << PAGE_SHIFT;
    if (ebb__os_commit(start, bytes, OS_HEAP) != 0) return EBB_ENOMEM;
    bool huge = ebb__space_huge && (to << PAGE_SHIFT) > HUGE_FROM;
    if (huge || !ebb__space_huge) ebb__os_huge(start, bytes, huge);
    if (huge) z->huge_from = (uint32_t)min_size(z->huge_from, from);
    __atomic_store_n(&z->used_pages, (uint32_t)to, __ATOMIC_RELAXED);
    return 0;
}

/* --- Span records ---------------------------------------------------------------------------- */

/* Commits what the record with the next number needs. [spans lock] */
static bool records_grow(uint32_t number) {
    space *sp = &ebb__space;
    size_t used = number * sizeof(span), bits = number / 8;
    if (number == 1 || used % RECORDS_STEP != 0) return true;
    if (bits % RECORDS_STEP == 0 && number % 8 == 0 &&
        (ebb__os_commit((char *)sp->young + bits, RECORDS_STEP, OS_METADATA) != 0 ||
         ebb__os_commit((char *)sp->exposed + bits, RECORDS_STEP, OS_METADATA) != 0 ||
         ebb__os_commit((char *)sp->sampled + bits, RECORDS_STEP, OS_METADATA) != 0))
        return false;
    return ebb__os_commit((char *)sp->spans + used, RECORDS_STEP, OS_METADATA) == 0;
}

uint32_t ebb__span_new(void) {
    space *sp = &ebb__space;
    ebb__os_lock(&sp->spans_lock);
    uint32_t number = sp->span_free;
    if (number)
        sp->span_free = span_at(number)->next;
    else if (records_grow(sp->span_count))
        number = sp->span_count++;
    ebb__os_unlock(&sp->spans_lock);
    if (number) *span_at(number) = (span){.state = SPAN_UNUSED};
    return number;
}

void ebb__span_delete(uint32_t number) {
    space *sp = &ebb__space;
    span_at(number)->state = SPAN_UNUSED;
    ebb__os_lock(&sp->spans_lock);
    span_at(number)->next = sp->span_free;
    sp->span_free = number;
    ebb__os_unlock(&sp->spans_lock);
}

size_t ebb__space_outside(void) {
    return atomic_load_explicit(&ebb__os_mapped[OS_METADATA], memory_order_relaxed) +
           atomic_load_explicit(&ebb__os_mapped[OS_OFFHEAP], memory_order_relaxed);
}

size_t ebb__space_footprint(void) {
    size_t pages = atomic_load_explicit(&ebb__resident_pages, memory_order_relaxed);
    return (pages << PAGE_SHIFT) + ebb__space_outside();
}
