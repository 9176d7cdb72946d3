/* memory.c - ebb_memory: where every resident byte of the process is. docs/design.md, "Accounting".
 *
 *   1. residency.c asks which pages of the heap are there
 *   2. the walk over spans says what lies on them: objects, free slots, ends, free pages
 *   3. the system lists all mappings with what is resident of each (/proc/self/smaps); what of a
 *      mapping is claimed (Ebb's tables, off-heap memory, stacks, static data) is told by pages,
 *      the rest by the mapping's name, or by what malloc writes at the start of its blocks
 *
 * All in one stop. unexplained = what 3 finds less what 2 does: both look at the heap, and neither
 * believes the other. What this look itself maps is there before 3 begins, and counted. */
#include "memory.h"
#include "profile.h"
#include "residency.h"
#include "slack.h"

/* What a part of a mapping is. The first four are the outside kinds. */
enum { CLAIM_HEAP = OUTSIDE_OTHER + 1, CLAIM_METADATA, CLAIM_OFFHEAP, CLAIM_KINDS };

typedef struct memory_claim {
    uintptr_t start, end;
    uint32_t kind;
} memory_claim;

typedef struct memory_look {
    struct ebb_memory *out;
    outside_list *list; /* or null */
    os_pages pages;
    memory_claim *claims; /* ascending, once all are there */
    size_t claim_count, claim_room, claims_bytes;
    os_ranges mappings;
    uint64_t kinds[CLAIM_KINDS]; /* resident bytes, as the system lists them */
    char file[OUTSIDE_NAME];     /* the last mapping with a name: its static data may follow */
    int result;
} memory_look;

/* --- What lies on the heap's pages --------------------------------------------------------------
 */

static void memory_partly(const span *s, struct ebb_memory *out) {
    for (uint32_t i = 0; i < s->count; i++) {
        uintptr_t start = span_start(s) + i * s->stride;
        uint64_t bytes = ebb__residency_in(start, start + s->stride);
        uint32_t w = i / 64, bit = i % 64;
        bool have = span_bit(span_alloc_bits(s), i);
        if (span_live_bits(s, w) >> bit & 1)
            out->live += bytes;
        else if (have)
            out->dead += bytes;
        else
            out->free_slots += bytes;
    }
}

static void memory_whole(const span *s, struct ebb_memory *out) {
    uint64_t have = 0, live = 0;
    for (uint32_t w = 0; w * 64 < s->count; w++) {
        live += (uint64_t)__builtin_popcountll(span_live_bits(s, w));
        have += (uint64_t)__builtin_popcountll(
            atomic_load_explicit(&span_alloc_bits(s)[w], memory_order_relaxed));
    }
    out->live += live * s->stride;
    out->dead += (have - live) * s->stride;
    out->free_slots += (s->count - have) * s->stride;
}

static void memory_span(const span *s, struct ebb_memory *out) {
    uintptr_t start = span_start(s), end = start + ((uintptr_t)s->pages << PAGE_SHIFT);
    size_t resident = ebb__residency_in(start, end);
    if (resident == 0) return;
    if (s->state == SPAN_FREE) {
        size_t known = (size_t)s->resident_pages << PAGE_SHIFT;
        out->free_pages += resident;
        out->free_never_used += resident > known ? resident - known : 0;
        return;
    }
    uintptr_t objects = start + s->count * s->stride;
    out->span_ends += ebb__residency_in(objects, end);
    if (resident == end - start)
        memory_whole(s, out);
    else
        memory_partly(s, out);
}

/* Objects that threads have claimed and not handed out are free. */
static void memory_threads(struct ebb_memory *out) {
    for (const heap_thread *t = ebb__threads; t; t = t->next)
        for (int i = 0; i < SLOTS; i++) {
            const slot *slot = &t->slots[i];
            if (!slot->bin || slot->cursor >= slot->end) continue;
            uint64_t bytes = ebb__residency_in(slot->cursor, slot->end);
            out->live -= bytes;
            out->free_slots += bytes;
        }
}

static void memory_tail(const span *s, uintptr_t array, uintptr_t from, uintptr_t to, void *arg) {
    struct ebb_memory *out = arg;
    (void)s, (void)array;
    out->slice_tails += ebb__residency_in(from, to);
}

uint64_t ebb__memory_table_empty(const map_table *t) {
    uint64_t bytes = 0;
    size_t stride = t->table->stride, slots = t->table->slots;
    const uint8_t *control = (const uint8_t *)(t->table + 1);
    if (!ebb__span_at(t->slots)) return 0;
    if (ebb__residency_in(t->slots, t->slots + slots * stride) == slots * stride)
        return (slots - (t->spare ? 0 : min_size(t->table->count, slots))) * stride;
    for (size_t i = 0; i < slots; i++)
        if (t->spare || control[i] >= EBB__SLOT_EMPTY)
            bytes += ebb__residency_in(t->slots + i * stride, t->slots + (i + 1) * stride);
    return bytes;
}

static void memory_table(const map_table *t, void *arg) {
    struct ebb_memory *out = arg;
    out->map_empty += ebb__memory_table_empty(t);
}

/* Threads may have been stopped with pages that they have taken and not made a span of. How many
 * such pages there are the zones know; the resident ones are what no span has. */
static void memory_between(struct ebb_memory *out) {
    size_t pages = 0, spans = 0, resident = 0;
    for (int i = 0; i < ZONE_COUNT; i++) {
        const zone *z = &ebb__space.zones[i];
        pages += z->in_use_pages;
        resident += ebb__residency_in(zone_start(z), page_address(z->first_page + z->used_pages));
        out->heap_returned += (uint64_t)(z->free_pages - z->resident_free_pages) << PAGE_SHIFT;
    }
    for (uint32_t n = 1; n < ebb__space.span_count; n++)
        if (span_at(n)->state >= SPAN_SMALL) spans += span_at(n)->pages;
    size_t known = out->live + out->dead + out->free_pages + out->free_slots + out->span_ends;
    if (resident > known && pages > spans)
        out->live += min_size(resident - known, (pages - spans) << PAGE_SHIFT);
}

static int memory_heap(const root_set *roots, const os_pages *pages, struct ebb_memory *out) {
    if (!ebb__residency_take(pages)) return EBB_ENOMEM;
    for (uint32_t n = 1; n < ebb__space.span_count; n++)
        if (span_at(n)->state != SPAN_UNUSED) memory_span(span_at(n), out);
    memory_between(out);
    memory_threads(out);
    if (!ebb__slack_each(roots, memory_tail, out)) return EBB_ENOMEM;
    ebb__map_each_table(memory_table, out);
    out->live -= min_size(out->live, out->slice_tails + out->map_empty);
    return 0;
}

/* --- Claims -------------------------------------------------------------------------------------
 */

static void claim_add(memory_look *look, uintptr_t start, uintptr_t end, uint32_t kind) {
    if (start < end && look->claim_count < look->claim_room)
        look->claims[look->claim_count++] = (memory_claim){start, end, kind};
}

static void claim_owned(uintptr_t start, uintptr_t end, enum os_class class, void *look) {
    claim_add(look, start, end, class == OS_OFFHEAP ? CLAIM_OFFHEAP : CLAIM_METADATA);
}

/* A thread's descriptor lies at the end of its stack. The first thread's stack has a name. */
static void claim_stack(memory_look *look, int tid, uintptr_t sp, uintptr_t tp) {
    enum { DESCRIPTOR_BYTES = 2304, TOP_BYTES = 64 * 1024 };
    uintptr_t near = tp ? tp : sp;
    const os_range *m = ebb__os_mapping_of(&look->mappings, near);
    if (tid == ebb__os_pid() || near == 0 || !m) return;
    uintptr_t room = tp ? DESCRIPTOR_BYTES : TOP_BYTES;
    uintptr_t end = round_up(near + room, ebb__os_page_size());
    claim_add(look, m->start, min_size(m->end, end), OUTSIDE_STACKS);
}

/* Of those that were not stopped, the library's own, the system knows the stack pointer. */
static void claim_stacks(memory_look *look, const int *tids, int count) {
    size_t room;
    const stopped_thread *table = ebb__world_threads(&room);
    int self = ebb__os_tid();
    claim_stack(look, self, 0, ebb__os_thread_pointer());
    for (size_t i = 0; i < room; i++)
        if (stopped_tid(&table[i]) != 0 && table[i].tp != 0)
            claim_stack(look, stopped_tid(&table[i]), 0, table[i].tp);
    for (int i = 0; i < count; i++)
        if (tids[i] != self && !ebb__world_has(tids[i]))
            claim_stack(look, tids[i], ebb__os_thread_stack(tids[i]), 0);
}

/* Everything of the reservation that is no zone is a table. */
static void claim_heap(memory_look *look) {
    const space *sp = &ebb__space;
    uintptr_t zones_end = sp->base + 2 * sp->zone_bytes;
    uintptr_t tables_end =
        (uintptr_t)sp->huge_off + round_up(2 * sp->zone_bytes / HUGE_PAGE / 8, 64 * KIB);
    claim_add(look, sp->base, zones_end, CLAIM_HEAP);
    claim_add(look, zones_end, tables_end, CLAIM_METADATA);
}

static void claim_segments(memory_look *look) {
    size_t page = ebb__os_page_size();
    const os_ranges *segments = &ebb__cycle_segments;
    for (size_t i = 0; i < segments->count; i++)
        claim_add(look, round_down(segments->items[i].start, page),
                  round_up(segments->items[i].end, page), OUTSIDE_FILES);
}

/* Shell sort: the C library's may allocate. */
static void claims_sort(memory_claim *claims, size_t count) {
    for (size_t gap = count / 2; gap > 0; gap /= 2)
        for (size_t i = gap; i < count; i++) {
            memory_claim c = claims[i];
            size_t at = i;
            for (; at >= gap && claims[at - gap].start > c.start; at -= gap)
                claims[at] = claims[at - gap];
            claims[at] = c;
        }
}

/* Lists them in memory that is itself claimed, and written before the system is asked. */
static int claims_take(memory_look *look) {
    enum { OTHERS = 16, THREADS_MORE = 64 };
    int threads = ebb__os_threads(NULL, 0, NULL) + THREADS_MORE;
    size_t room = ebb__os_owned_each(NULL, NULL) + (size_t)threads + ebb__cycle_segments.count;
    size_t bytes = (room + OTHERS) * sizeof(memory_claim) + (size_t)threads * sizeof(int);
    bytes = round_up(bytes, ebb__os_page_size());
    look->claims = ebb__os_map(bytes, OS_METADATA);
    if (!look->claims) return EBB_ENOMEM;
    memset(look->claims, 0, bytes);
    look->claim_room = room + OTHERS;
    look->claims_bytes = bytes;
    int *tids = (int *)(look->claims + look->claim_room);
    claim_heap(look);
    ebb__os_owned_each(claim_owned, look);
    int count = ebb__os_threads(tids, threads, NULL);
    claim_stacks(look, tids, count < threads ? count : threads);
    claim_segments(look);
    claims_sort(look->claims, look->claim_count);
    return 0;
}

/* --- Mappings -----------------------------------------------------------------------------------
 */

static void outside_note(memory_look *look, uint32_t kind, const char *name, uint64_t bytes) {
    outside_list *list = look->list;
    if (!list || bytes == 0) return;
    size_t length = strlen(name), i = 0;
    if (length >= OUTSIDE_NAME) name += length - (OUTSIDE_NAME - 1);
    while (i < list->count && (list->entries[i].kind != kind ||
                               strncmp(list->entries[i].name, name, OUTSIDE_NAME) != 0))
        i++;
    if (i == OUTSIDE_MAX) {
        i = OUTSIDE_MAX - 1;
        strcpy(list->entries[i].name, "…");
    } else if (i == list->count) {
        list->count++;
        list->entries[i] = (outside_entry){.kind = kind};
        strcpy(list->entries[i].name, name);
    }
    list->entries[i].bytes += bytes;
    list->entries[i].mappings++;
}

static bool name_begins(const char *name, const char *with) {
    return strncmp(name, with, strlen(with)) == 0;
}

/* What the mapping is by its name; OUTSIDE_OTHER where that does not say. */
static uint32_t mapping_kind(const os_area *m) {
    if (m->file) return OUTSIDE_FILES;
    if (strcmp(m->name, "[heap]") == 0 || name_begins(m->name, "[anon: glibc: malloc"))
        return OUTSIDE_MALLOC;
    if (name_begins(m->name, "[stack") || name_begins(m->name, "[anon: glibc: pthread stack"))
        return OUTSIDE_STACKS;
    return m->name[0] && !name_begins(m->name, "[anon") ? OUTSIDE_FILES : OUTSIDE_OTHER;
}

static void kind_add(memory_look *look, uint32_t kind, const char *name, uint64_t bytes) {
    static const char *const names[] = {[OUTSIDE_MALLOC] = "arenas and large blocks",
                                        [OUTSIDE_STACKS] = "stacks of threads",
                                        [OUTSIDE_FILES] = "",
                                        [OUTSIDE_OTHER] = "memory without a name"};
    look->kinds[kind] += bytes;
    if (kind <= OUTSIDE_OTHER) outside_note(look, kind, name[0] ? name : names[kind], bytes);
}

/* A part of a mapping that nobody claims. */
static void part_unclaimed(memory_look *look, const os_area *m, uintptr_t start, uintptr_t end,
                           uint64_t bytes) {
    uint32_t kind = mapping_kind(m);
    if (bytes == 0) return;
    if (kind == OUTSIDE_OTHER && m->writable && !m->file) {
        uint64_t blocks = ebb__os_malloc_in(&look->pages, start, end);
        if (blocks > bytes) blocks = bytes;
        kind_add(look, OUTSIDE_MALLOC, "", blocks);
        bytes -= blocks;
    }
    kind_add(look, kind, m->name, bytes);
}

static uint64_t part_bytes(const memory_look *look, const os_area *m, uintptr_t start,
                           uintptr_t end) {
    if (start == m->start && end == m->end) return m->resident;
    if (start >= end || m->resident == 0) return 0;
    return ebb__os_pages_each(&look->pages, start, end, NULL, NULL);
}

/* The first claim that ends behind start. */
static size_t claim_first(const memory_look *look, uintptr_t start) {
    size_t low = 0, high = look->claim_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (look->claims[middle].end <= start)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void memory_mapping(const os_area *m, void *arg) {
    memory_look *look = arg;
    struct ebb_memory *out = look->out;
    out->rss += m->resident;
    out->swapped += m->swapped;
    out->shared += m->shared;
    out->huge += m->huge;
    if (m->file && strlen(m->name) < OUTSIDE_NAME) strcpy(look->file, m->name);
    uintptr_t at = m->start;
    uint64_t left = m->resident;
    for (size_t i = claim_first(look, m->start); at < m->end && i < look->claim_count; i++) {
        const memory_claim *c = &look->claims[i];
        if (c->start >= m->end) break;
        uintptr_t from = max_size(c->start, at), to = min_size(c->end, m->end);
        if (from >= to) continue;
        uint64_t before = part_bytes(look, m, at, from), here = part_bytes(look, m, from, to);
        before = min_size(before, left);
        part_unclaimed(look, m, at, from, before);
        here = min_size(here, left - before);
        bool named = c->kind == OUTSIDE_FILES;
        kind_add(look, c->kind, named ? (m->file ? m->name : look->file) : "", here);
        left -= before + here;
        at = to;
    }
    part_unclaimed(look, m, at, m->end, left);
}

/* --- The look -----------------------------------------------------------------------------------
 */

static void look_sum(memory_look *look) {
    struct ebb_memory *out = look->out;
    out->metadata = look->kinds[CLAIM_METADATA];
    out->metadata_profile = min_size(ebb__profile_bytes(), out->metadata);
    out->offheap = look->kinds[CLAIM_OFFHEAP];
    out->outside_malloc = look->kinds[OUTSIDE_MALLOC];
    out->outside_stacks = look->kinds[OUTSIDE_STACKS];
    out->outside_files = look->kinds[OUTSIDE_FILES];
    out->outside_other = look->kinds[OUTSIDE_OTHER];
    out->malloc_free = min_size(out->malloc_free, out->outside_malloc);
    out->unexplained = 0;
    int64_t sum = 0;
    for (const memory_class *c = ebb__memory_classes; c->name; c++) sum += ebb__memory_of(out, c);
    out->unexplained = (int64_t)out->rss - sum;
}

/* The list of mappings is made anew by hand, because the one that roots are bounded by is theirs.
 */
static void look_stopped(const root_set *roots, void *arg) {
    memory_look *look = arg;
    struct ebb_memory *out = look->out;
    uint64_t start_ns = ebb__os_now_ns();
    look->result = memory_heap(roots, &look->pages, out);
    if (look->result == 0 && !ebb__os_mappings(&look->mappings)) look->result = EBB_ESYSTEM;
    if (look->result == 0) look->result = claims_take(look);
    if (look->result == 0 && !ebb__os_area_each(memory_mapping, look)) look->result = EBB_ESYSTEM;
    out->rss_counter = ebb__os_rss();
    if (look->result == 0) look_sum(look);
    out->metadata_look = ebb__residency_bytes() + look->claims_bytes;
    if (look->claims) ebb__os_unmap(look->claims, look->claims_bytes, OS_METADATA);
    ebb__residency_drop();
    out->stop_ns = ebb__os_now_ns() - start_ns;
}

static size_t list_bytes(void) {
    return round_up(sizeof(outside_list), ebb__os_page_size());
}

outside_list *ebb__memory_list(void) {
    outside_list *list = ebb__os_map(list_bytes(), OS_METADATA);
    if (list) memset(list, 0, list_bytes());
    return list;
}

void ebb__memory_list_free(outside_list *list) {
    if (list) ebb__os_unmap(list, list_bytes(), OS_METADATA);
}

static void list_sort(outside_list *list) {
    for (size_t i = 1; i < list->count; i++) {
        outside_entry e = list->entries[i];
        size_t at = i;
        for (; at > 0 && list->entries[at - 1].bytes < e.bytes; at--)
            list->entries[at] = list->entries[at - 1];
        list->entries[at] = e;
    }
}

int ebb__memory_look(struct ebb_memory *out, outside_list *list) {
    memory_look look = {.out = out, .list = list};
    memset(out, 0, sizeof *out);
    out->malloc_free = ebb__os_malloc_free();
    ebb__os_pages_open(&look.pages);
    out->pages_exact = look.pages.fd >= 0;
    int error = ebb__with_world_stopped(look_stopped, &look);
    if (error == 0) error = look.result;
    ebb__os_pages_close(&look.pages);
    if (look.mappings.items)
        ebb__os_unmap(look.mappings.items, look.mappings.room * sizeof(os_range), OS_METADATA);
    if (list) list_sort(list);
    if (error != 0) memset(out, 0, sizeof *out);
    return error;
}

int ebb_memory(struct ebb_memory *out) {
    if (!out) return ebb__misuse(EBB_EINVAL, "ebb_memory", "the pointer is null");
    return ebb__memory_look(out, NULL);
}
