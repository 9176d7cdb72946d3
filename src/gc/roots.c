/* roots.c - where pointers may lie outside the heap. docs/design.md, "Roots".
 *
 *   stacks     of every stopped thread from its stack pointer up; whole where the thread runs on
 *              another one just now (an alternate signal stack, a coroutine's)
 *   storage    thread-local, of every thread
 *   segments   the writable data of the program and its libraries, less what was excluded
 *   ranges     that the program added
 *
 * The system's list of mappings bounds them all, so that nothing is read that is not there. */
#include "collector.h"

enum { ROOT_RANGE, ROOT_EXCLUDED, ROOT_STACK };

typedef struct registered_root {
    uintptr_t start, end;
    int kind;
} registered_root;

os_lock ebb__roots_lock;
static registered_root *roots_items; /* [roots lock, or world stopped] */
static size_t roots_count, roots_room;
static os_ranges roots_mappings; /* [collector lock] */

/* --- Registration --------------------------------------------------------------------------------
 */

/* [roots lock] */
static int root_store(uintptr_t start, uintptr_t end, int kind) {
    if (roots_count == roots_room) {
        size_t bytes = max_size(2 * roots_room * sizeof *roots_items, 16 * KIB);
        bytes = round_up(bytes, ebb__os_page_size());
        size_t old = round_up(roots_room * sizeof *roots_items, ebb__os_page_size());
        registered_root *larger =
            ebb__os_enlarge(roots_items, old, roots_count * sizeof *roots_items, bytes);
        if (!larger) return EBB_ENOMEM;
        roots_items = larger;
        roots_room = bytes / sizeof *roots_items;
    }
    roots_items[roots_count++] = (registered_root){start, end, kind};
    return 0;
}

static int root_register(const char *call, const void *start, size_t size, int kind) {
    uintptr_t from = (uintptr_t)start;
    if (!start || size == 0 || from + size < from)
        return ebb__misuse(EBB_EINVAL, call, "[%p, %zu bytes) is no range", start, size);
    if (!ebb__heap_start()) return EBB_ENOMEM;
    ebb__critical_lock(&ebb__roots_lock);
    int error = root_store(from, from + size, kind);
    ebb__critical_unlock(&ebb__roots_lock);
    return error;
}

int ebb_root_add(const void *start, size_t size) {
    return root_register("ebb_root_add", start, size, ROOT_RANGE);
}

int ebb_root_exclude(const void *start, size_t size) {
    return root_register("ebb_root_exclude", start, size, ROOT_EXCLUDED);
}

int ebb_stack_add(const void *start, size_t size) {
    return root_register("ebb_stack_add", start, size, ROOT_STACK);
}

int ebb_root_remove(const void *start) {
    int error = EBB_ENOENT;
    ebb__critical_lock(&ebb__roots_lock);
    for (size_t i = 0; i < roots_count && error; i++) {
        if (roots_items[i].start != (uintptr_t)start) continue;
        roots_items[i] = roots_items[--roots_count];
        error = 0;
    }
    ebb__critical_unlock(&ebb__roots_lock);
    if (error) return ebb__misuse(error, "ebb_root_remove", "%p was not added", start);
    return 0;
}

/* --- Gathering [world stopped]
 * -------------------------------------------------------------------- */

static bool root_take(root_set *roots, uintptr_t start, uintptr_t end, bool stack) {
    start = round_up(start, sizeof(void *));
    end = round_down(end, sizeof(void *));
    if (start >= end) return true;
    roots->bytes += end - start;
    if (stack) roots->stack_bytes += end - start;
    return ebb__os_ranges_add(&roots->ranges, start, end);
}

/* What is taken from here on is of that origin. */
static bool root_say(root_set *roots, enum root_origin origin, int tid) {
    if (roots->note_count == roots->note_room) {
        size_t bytes = max_size(2 * roots->note_room * sizeof(root_note), 16 * KIB);
        root_note *larger = ebb__os_enlarge(roots->notes, roots->note_room * sizeof(root_note),
                                            roots->note_count * sizeof(root_note), bytes);
        if (!larger) return false;
        roots->notes = larger;
        roots->note_room = bytes / sizeof(root_note);
    }
    roots->notes[roots->note_count++] =
        (root_note){(uint32_t)roots->ranges.count, (uint16_t)origin, tid};
    return true;
}

static const registered_root *registered_stack(uintptr_t sp) {
    for (size_t i = 0; i < roots_count; i++)
        if (roots_items[i].kind == ROOT_STACK && sp >= roots_items[i].start &&
            sp < roots_items[i].end)
            return &roots_items[i];
    return NULL;
}

/* glibc puts a thread's descriptor at the end of its stack, so the thread pointer bounds it. */
enum { DESCRIPTOR_ROOM = 4096 };

/* The mapping of an address and those that touch it: a stack of which a part is locked or advised
 * in its own way is several. */
static bool area_of(uintptr_t address, os_range *area) {
    const os_range *m = ebb__os_mapping_of(&roots_mappings, address);
    const os_range *first = roots_mappings.items, *last = first + roots_mappings.count;
    if (!m) return false;
    *area = *m;
    for (const os_range *n = m + 1; n < last && n->start == area->end; n++) area->end = n->end;
    for (const os_range *n = m; n > first && n[-1].end == area->start; n--)
        area->start = n[-1].start;
    return true;
}

static uintptr_t stack_end(const os_range *area, uintptr_t sp, uintptr_t tp) {
    const os_range *m = ebb__os_mapping_of(&roots_mappings, tp);
    bool bounds = m && tp > sp && tp < area->end;
    return bounds ? min_size(m->end, tp + DESCRIPTOR_ROOM) : area->end;
}

/* The stack that the thread was made with, whole: for one that runs on another stack now. */
static bool primary_take(root_set *roots, uintptr_t tp, bool main_thread) {
    os_range area;
    if (!area_of(main_thread ? ebb__os_main_stack() : tp, &area)) return true;
    return root_take(roots, area.start, stack_end(&area, area.start, main_thread ? 0 : tp), true);
}

static bool stack_take(root_set *roots, const stopped_thread *t, int tid) {
    const registered_root *coroutine = registered_stack(t->sp);
    bool main_thread = tid == ebb__os_pid();
    uintptr_t top = ebb__os_main_stack();
    os_range area;
    if (!area_of(t->sp, &area)) return false;
    uintptr_t end = stack_end(&area, t->sp, t->tp);
    if (coroutine) end = min_size(area.end, coroutine->end);
    if (t->alternate.end) end = min_size(area.end, t->alternate.end);
    if (!root_take(roots, t->sp, end, true)) return false;
    bool primary = main_thread ? top > t->sp && top < area.end : t->tp > t->sp && t->tp < area.end;
    if (primary && !coroutine && !t->alternate.end) return true;
    return primary_take(roots, t->tp, main_thread);
}

static bool threads_take(root_set *roots, uintptr_t sp) {
    size_t room;
    stopped_thread *table = ebb__world_threads(&room);
    stopped_thread self = {.sp = sp, .tp = ebb__os_thread_pointer()};
    int tid = ebb__os_tid();
    if (!ebb__os_on_alternate_stack(&self.alternate)) self.alternate = (os_range){0, 0};
    if (!root_say(roots, ORIGIN_STACK, tid) || !stack_take(roots, &self, tid)) return false;
    if (!root_say(roots, ORIGIN_STORAGE, tid)) return false;
    ebb__os_thread_storage(self.tp, self.sp, &roots_mappings, &roots->ranges);
    for (size_t i = 0; i < room; i++) {
        const stopped_thread *t = &table[i];
        tid = stopped_tid(t);
        if (tid == 0 || t->sp == 0) continue;
        if (!root_say(roots, ORIGIN_STACK, tid) || !stack_take(roots, t, tid)) return false;
        if (!root_say(roots, ORIGIN_STORAGE, tid)) return false;
        ebb__os_thread_storage(t->tp, t->sp, &roots_mappings, &roots->ranges);
        if (t->parked) {
            uintptr_t registers = (uintptr_t)t->parked->parked_registers;
            if (!root_say(roots, ORIGIN_REGISTERS, tid)) return false;
            root_take(roots, registers, registers + sizeof t->parked->parked_registers, true);
        }
    }
    return true;
}

bool ebb__roots_in_storage(int tid, uintptr_t address) {
    size_t room;
    const stopped_thread *table = ebb__world_threads(&room);
    uintptr_t tp = ebb__os_thread_pointer();
    os_ranges list = {0};
    bool found = false;
    for (size_t i = 0; i < room; i++)
        if (stopped_tid(&table[i]) == tid && table[i].sp) tp = table[i].tp;
    ebb__os_thread_storage(tp, tp, &roots_mappings, &list);
    for (size_t i = 0; i < list.count; i++)
        found |= address >= list.items[i].start && address < list.items[i].end;
    if (list.items) ebb__os_unmap(list.items, list.room * sizeof(os_range), OS_METADATA);
    return found;
}

/* [start, end) less the excluded ranges from the i-th on. */
static bool segment_take(root_set *roots, uintptr_t start, uintptr_t end, size_t i) {
    for (; i < roots_count && start < end; i++) {
        const registered_root *r = &roots_items[i];
        if (r->kind != ROOT_EXCLUDED || r->end <= start || r->start >= end) continue;
        if (r->start > start && !segment_take(roots, start, r->start, i + 1)) return false;
        start = r->end;
    }
    return root_take(roots, start, end, false);
}

/* [at, end) in parts that are mapped readable and writable; of segments, less what is excluded. */
static bool mapped_take(root_set *roots, uintptr_t at, uintptr_t end, int kind) {
    while (at < end) {
        const os_range *m = ebb__os_mapping_of(&roots_mappings, at);
        uintptr_t next = m ? min_size(m->end, end) : round_up(at + 1, ebb__os_page_size());
        if (m && kind == ROOT_EXCLUDED && !segment_take(roots, at, next, 0)) return false;
        if (m && kind != ROOT_EXCLUDED && !root_take(roots, at, next, kind == ROOT_STACK))
            return false;
        at = next;
    }
    return true;
}

static bool segments_take(root_set *roots, const os_ranges *segments) {
    if (!root_say(roots, ORIGIN_STATIC, 0)) return false;
    for (size_t i = 0; i < segments->count; i++)
        if (!mapped_take(roots, segments->items[i].start, segments->items[i].end, ROOT_EXCLUDED))
            return false;
    return true;
}

static bool registered_take(root_set *roots) {
    size_t room;
    stopped_thread *table = ebb__world_threads(&room);
    for (size_t i = 0; i < roots_count; i++) {
        const registered_root *r = &roots_items[i];
        bool used = false;
        if (r->kind == ROOT_EXCLUDED) continue;
        for (size_t k = 0; r->kind == ROOT_STACK && k < room; k++)
            used |= stopped_tid(&table[k]) != 0 && table[k].sp >= r->start && table[k].sp < r->end;
        if (used) continue;
        if (!root_say(roots, r->kind == ROOT_STACK ? ORIGIN_STACK : ORIGIN_RANGE, 0)) return false;
        if (!mapped_take(roots, r->start, r->end, r->kind)) return false;
    }
    return true;
}

bool ebb__roots_hints(root_set *roots, const os_ranges *segments) {
    bool good = true;
    os_ranges_clear(&roots->ranges);
    ebb__critical_lock(&ebb__roots_lock);
    for (size_t i = 0; i < segments->count && good; i++)
        good = segment_take(roots, segments->items[i].start, segments->items[i].end, 0);
    for (size_t i = 0; i < roots_count && good; i++)
        if (roots_items[i].kind == ROOT_RANGE)
            good = root_take(roots, roots_items[i].start, roots_items[i].end, false);
    ebb__critical_unlock(&ebb__roots_lock);
    return good;
}

bool ebb__roots_gather(root_set *roots, const os_ranges *segments, uintptr_t sp) {
    os_ranges_clear(&roots->ranges);
    roots->bytes = roots->stack_bytes = roots->note_count = 0;
    if (!ebb__os_mappings(&roots_mappings)) return false;
    if (!segments_take(roots, segments) || !registered_take(roots)) return false;
    ebb__os_mappings_cut(&roots_mappings);
    return threads_take(roots, sp) && !segments->failed && !roots->ranges.failed;
}
