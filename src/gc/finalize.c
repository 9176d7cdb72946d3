/* finalize.c - weak references and finalizers. docs/design.md, "Weak references and finalizers".
 *
 * Weak: after marking, every weak field of a marked object that points to an unmarked one becomes
 * null. A weak handle is a small object with one weak field, so there is no table of them.
 *
 * Finalizers: entries, found by object. After marking, the fields of each unmarked object that has
 * one are marked, but not the object; those that are still unmarked then are referred to by no
 * other one: they are due, are marked, and stand in a queue. So an object goes before those it
 * refers to, and circles never go (Hans Boehm, "Destructors, finalizers, and synchronization",
 * 2003).
 *
 * Entries lie close together, and what is due stays where it is: a program may have a finalizer for
 * every other object, and have them due all at once. */
#include "collector.h"

typedef struct final_entry {
    uintptr_t object; /* 0: free */
    ebb_finalizer fn;
    void *arg;
    uint8_t order; /* ebb_order */
    bool due;      /* it is in the queue, and not in the index */
    bool old;      /* the object had a mark after the last cycle: minor ones leave it alone */
    uint32_t next; /* due: the next one in the queue; free: another free one; in the stop: another
                    * whose object may be dead; 0: none */
} final_entry;

/* A place of the index: who has the object with that hash. */
typedef struct final_slot {
    uint32_t number; /* of an entry; SLOT_NONE: never used, SLOT_REMOVED: not any more */
    uint32_t hash;
} final_slot;

enum { SLOT_NONE, SLOT_REMOVED = UINT32_MAX };
enum { CHUNK_FIRST_SHIFT = 7, CHUNKS = 25 }; /* chunk i: 128 << i entries */

os_lock ebb__final_lock;

/* All guarded by the lock, which is free while the world is stopped. */
static struct {
    final_entry *chunks[CHUNKS];
    uint32_t count;            /* entries 1 to count were used */
    uint32_t free;             /* those that are free again, by next */
    final_slot *index;         /* open addressing by object; room is a power of two */
    size_t room, used;         /* used counts removed ones too */
    uint32_t head, tail;       /* the queue: first and last entry, by next */
    _Atomic(uint32_t) due;     /* how many; also read without the lock: relaxed */
    final_entry running;       /* being called now: a root */
    const heap_thread *runner; /* who calls it; null: nobody */
    unsigned waiting;          /* threads that wait for its end */
    _Atomic(uint32_t) turn;    /* changes when a call ends: they wait on it */
} final;

/* --- Entries [lock, or world stopped] -------------------------------------------------------- */

static uint32_t chunk_of(uint32_t number, uint32_t *place) {
    size_t n = (size_t)number - 1 + ((size_t)1 << CHUNK_FIRST_SHIFT);
    unsigned power = log2_floor(n);
    *place = (uint32_t)(n - ((size_t)1 << power));
    return power - CHUNK_FIRST_SHIFT;
}

static final_entry *entry_at(uint32_t number) {
    uint32_t place, chunk = chunk_of(number, &place);
    return &final.chunks[chunk][place];
}

/* The number of an entry that is free; 0 without memory. */
static uint32_t entry_new(void) {
    uint32_t number = final.free, place;
    if (number) {
        final.free = entry_at(number)->next;
        return number;
    }
    uint32_t chunk = chunk_of(final.count + 1, &place);
    if (chunk == CHUNKS) return 0;
    if (!final.chunks[chunk]) {
        size_t bytes = sizeof(final_entry) << (chunk + CHUNK_FIRST_SHIFT);
        final.chunks[chunk] = ebb__os_map(round_up(bytes, ebb__os_page_size()), OS_METADATA);
        if (!final.chunks[chunk]) return 0;
    }
    return ++final.count;
}

static void entry_free(uint32_t number) {
    *entry_at(number) = (final_entry){.next = final.free};
    final.free = number;
}

static bool entry_waits(const final_entry *e) {
    return e->object && !e->due;
}

/* In the stop: whether its object may be dead. */
static bool entry_asks(const final_entry *e, bool minor) {
    return entry_waits(e) && !(minor && e->old);
}

static uint64_t entries_live(void) {
    return atomic_load_explicit(&ebb__finalizer_count, memory_order_relaxed);
}

/* --- The index [lock, or world stopped] ------------------------------------------------------ */

/* The object's place, or the one that it would get. */
static final_slot *slot_find(final_slot *index, size_t room, uintptr_t object) {
    final_slot *removed = NULL;
    uint32_t hash = (uint32_t)(address_hash(object) >> 32);
    for (size_t at = address_hash(object) >> 20;; at++) {
        final_slot *slot = &index[at & (room - 1)];
        if (slot->number == SLOT_NONE) return removed ? removed : slot;
        if (slot->number == SLOT_REMOVED)
            removed = removed ? removed : slot;
        else if (slot->hash == hash && entry_at(slot->number)->object == object)
            return slot;
    }
}

static void slot_set(final_slot *slot, uint32_t number) {
    *slot = (final_slot){number, (uint32_t)(address_hash(entry_at(number)->object) >> 32)};
}

static final_slot *slot_of_object(uintptr_t object) {
    final_slot *slot = final.index ? slot_find(final.index, final.room, object) : NULL;
    return slot && slot->number != SLOT_NONE && slot->number != SLOT_REMOVED ? slot : NULL;
}

static size_t index_bytes(size_t room) {
    return round_up(room * sizeof(final_slot), ebb__os_page_size());
}

/* Room for one more: a new index when this one is three quarters used. */
static bool index_room(void) {
    if (final.index && (final.used + 1) * 4 <= final.room * 3) return true;
    size_t room = 512;
    while (room < entries_live() * 2 + 2) room *= 2;
    final_slot *index = ebb__os_map(index_bytes(room), OS_METADATA);
    if (!index) return false;
    for (uint32_t n = 1; n <= final.count; n++)
        if (entry_waits(entry_at(n))) slot_set(slot_find(index, room, entry_at(n)->object), n);
    if (final.index) ebb__os_unmap(final.index, index_bytes(final.room), OS_METADATA);
    final.index = index;
    final.room = room;
    final.used = entries_live();
    return true;
}

/* Takes the entry out of the index: it is the caller's. */
static void slot_remove(final_slot *slot) {
    slot->number = SLOT_REMOVED;
    atomic_fetch_sub_explicit(&ebb__finalizer_count, 1, memory_order_relaxed);
}

static void finalizer_drop(uintptr_t object) {
    final_slot *slot = slot_of_object(object);
    if (!slot) return;
    entry_free(slot->number);
    slot_remove(slot);
}

static int finalizer_put(uintptr_t object, const ebb_finalization *f) {
    final_slot *slot = slot_of_object(object);
    uint32_t number = slot ? slot->number : 0;
    if (!slot && (!index_room() || !(number = entry_new()))) return EBB_ENOMEM;
    *entry_at(number) = (final_entry){object, f->fn, f->arg, (uint8_t)f->order, false, false, 0};
    if (!slot) {
        slot = slot_find(final.index, final.room, object);
        final.used += slot->number == SLOT_NONE;
        slot_set(slot, number);
        atomic_fetch_add_explicit(&ebb__finalizer_count, 1, memory_order_relaxed);
    }
    return 0;
}

static void finalizer_get(uintptr_t object, ebb_finalization *f) {
    const final_slot *slot = slot_of_object(object);
    *f = (ebb_finalization){0};
    if (!slot) return;
    const final_entry *e = entry_at(slot->number);
    *f = (ebb_finalization){e->fn, e->arg, (ebb_order)e->order};
}

/* *before is what was set, with a null fn for nothing. */
static int finalizer_change(const char *call, void *object, const ebb_finalization *f,
                            ebb_finalization *before) {
    void *base = ebb_base_of(object);
    if (!base) return ebb__misuse(EBB_ENOTHEAP, call, "%p is no object of the heap", object);
    if (base != object)
        return ebb__misuse(EBB_ENOTBASE, call, "%p points %zu bytes into the object at %p", object,
                           (size_t)((char *)object - (char *)base), base);
    int error = 0;
    ebb__critical_lock(&ebb__final_lock);
    finalizer_get((uintptr_t)object, before);
    if (f->fn)
        error = finalizer_put((uintptr_t)object, f);
    else
        finalizer_drop((uintptr_t)object);
    ebb__critical_unlock(&ebb__final_lock);
    ebb_keep_alive(object);
    if (f->fn && !error) ebb__service_notice();
    return error;
}

int ebb_finalizer_set(void *object, ebb_finalizer fn, void *arg) {
    ebb_finalization now = {fn, arg, EBB_ORDER}, before;
    int error = finalizer_change("ebb_finalizer_set", object, &now, &before);
    return error || fn || before.fn ? error : EBB_ENOENT;
}

int ebb_finalizer_swap(void *object, const ebb_finalization *now, ebb_finalization *before) {
    ebb_finalization was;
    if (!now || (unsigned)now->order > EBB_ORDER_LAST)
        return ebb__misuse(EBB_EINVAL, "ebb_finalizer_swap", now ? "there is no order %d" : "null",
                           now ? (int)now->order : 0);
    int error = finalizer_change("ebb_finalizer_swap", object, now, &was);
    if (before && !error) *before = was;
    return error;
}

void ebb__finalizers_released(void *object) {
    ebb__critical_lock(&ebb__final_lock);
    finalizer_drop((uintptr_t)object);
    ebb__critical_unlock(&ebb__final_lock);
}

/* --- The queue ----------------------------------------------------------------------------------
 */

/* An entry that waits is due from now on. */
static void queue_add(uint32_t number) {
    final_entry *e = entry_at(number);
    slot_remove(slot_of_object(e->object));
    e->due = true;
    e->next = 0;
    if (final.tail)
        entry_at(final.tail)->next = number;
    else
        final.head = number;
    final.tail = number;
    atomic_fetch_add_explicit(&final.due, 1, memory_order_relaxed);
}

size_t ebb__finalizers_due(void) {
    return atomic_load_explicit(&final.due, memory_order_relaxed);
}

/* Takes the oldest into final.running. False when there is none; or, unless it is to wait, when one
 * is being called. */
static bool queue_take(bool wait) {
    const heap_thread *self = ebb__thread_start();
    if (!self) return false;
    ebb__critical_lock(&ebb__final_lock);
    while (wait && final.runner && final.runner != self) {
        uint32_t turn = atomic_load_explicit(&final.turn, memory_order_acquire);
        final.waiting++;
        ebb__critical_unlock(&ebb__final_lock);
        ebb__os_wait(&final.turn, turn, UINT64_MAX);
        ebb__critical_lock(&ebb__final_lock);
        final.waiting--;
    }
    uint32_t first = final.head;
    bool any = !final.runner && first;
    if (any) {
        final.running = *entry_at(first);
        final.head = final.running.next;
        if (!final.head) final.tail = 0;
        atomic_fetch_sub_explicit(&final.due, 1, memory_order_relaxed);
        entry_free(first);
        final.runner = self;
    }
    ebb__critical_unlock(&ebb__final_lock);
    return any;
}

static void running_done(void) {
    ebb__critical_lock(&ebb__final_lock);
    final.running = (final_entry){0};
    final.runner = NULL;
    atomic_fetch_add_explicit(&final.turn, 1, memory_order_release);
    bool waiting = final.waiting > 0;
    ebb__critical_unlock(&ebb__final_lock);
    if (waiting) ebb__os_wake(&final.turn, true);
}

static void running_call(void) {
    final.running.fn((void *) final.running.object, final.running.arg);
    running_done();
}

bool ebb_finalizer_run_one(void) {
    if (!queue_take(false)) return false;
    running_call();
    return true;
}

size_t ebb_finalizers_all(void) {
    ebb__critical_lock(&ebb__final_lock);
    for (uint32_t n = 1; n <= final.count; n++)
        if (entry_waits(entry_at(n))) queue_add(n);
    size_t due = ebb__finalizers_due();
    ebb__critical_unlock(&ebb__final_lock);
    return due;
}

size_t ebb_finalizers_run(void) {
    size_t ran = 0;
    while (queue_take(true)) {
        running_call();
        ran++;
    }
    return ran;
}

/* After a fork the thread that ran a finalizer may be gone; its call is lost with it. */
void ebb__finalizers_forked(void) {
    if (final.runner) final.running = (final_entry){0};
    final.runner = NULL;
    final.waiting = 0;
}

/* --- In the stop
 * ---------------------------------------------------------------------------------- */

static void entry_visit(uint32_t number, void (*visit)(uintptr_t word, void *arg), void *arg) {
    const final_entry *e = entry_at(number);
    if (e->due) visit(e->object, arg);
    if (e->object) visit((uintptr_t)e->arg, arg);
}

void ebb__finalizers_roots(void (*visit)(uintptr_t word, void *arg), void *arg) {
    for (uint32_t n = 1; n <= final.count; n++) entry_visit(n, visit, arg);
    visit(final.running.object, arg);
    visit((uintptr_t) final.running.arg, arg);
}

static void root_mark(uintptr_t word, void *unused) {
    (void)unused;
    ebb__mark_word(word);
}

void ebb__finalizers_mark_roots(void) {
    ebb__finalizers_roots(root_mark, NULL);
}

/* Not for long at a time: others wait for the lock, and a stop for who has it. */
void ebb__finalizers_hints(void) {
    enum { AT_ONCE = 256 };
    uint32_t n = 1, end;
    do {
        ebb__critical_lock(&ebb__final_lock);
        for (end = n + AT_ONCE; n < end && n <= final.count; n++) entry_visit(n, root_mark, NULL);
        ebb__critical_unlock(&ebb__final_lock);
    } while (n == end);
}

static void due_mark(mark_totals *totals) {
    ebb__mark_run(NULL, NULL, 0, totals);
    ebb__traced_run(false, totals);
}

/* Entries in ascending order, by next. */
typedef struct final_list {
    uint32_t first, last;
    bool ordered; /* some have an order */
} final_list;

/* Its slot in the index is asked for soon. */
static void due_add(final_list *list, uint32_t number) {
    final_entry *e = entry_at(number);
    *(list->last ? &entry_at(list->last)->next : &list->first) = number;
    list->last = number;
    list->ordered |= e->order != EBB_ORDER_NONE;
    e->next = 0;
    __builtin_prefetch(&final.index[address_hash(e->object) >> 20 & (final.room - 1)]);
}

/* Lists the entries whose objects have not been found, those that go last apart. */
static void due_list(bool minor, final_list lists[2]) {
    enum { AHEAD = 8 }; /* each object's bits lie elsewhere */
    for (uint32_t n = 1; n <= final.count + 2 * AHEAD; n++) {
        if (n <= final.count && entry_asks(entry_at(n), minor))
            object_prefetch(entry_at(n)->object);
        uint32_t near = n - AHEAD, at = n - 2 * AHEAD;
        if (n > AHEAD && near <= final.count && entry_asks(entry_at(near), minor))
            span_prefetch(entry_at(near)->object);
        if (n <= 2 * AHEAD) continue;
        final_entry *e = entry_at(at);
        if (!entry_asks(e, minor)) continue;
        e->old = ebb__mark_is_old(e->object);
        if (!e->old && ebb__mark_is_dead(e->object))
            due_add(&lists[e->order == EBB_ORDER_LAST], at);
    }
}

/* Marks what dead objects with an order refer to. */
static void due_mark_fields(final_list list, mark_totals *totals) {
    if (!list.ordered) return;
    for (uint32_t n = list.first; n; n = entry_at(n)->next) {
        const final_entry *e = entry_at(n);
        if (e->order != EBB_ORDER_NONE && ebb__mark_is_dead(e->object))
            ebb__mark_fields(e->object, e->order != EBB_ORDER);
    }
    due_mark(totals);
}

/* Moves what is dead still to the queue, and marks it. */
static void due_queue(final_list list, mark_totals *totals) {
    uint32_t before = final.tail;
    for (uint32_t n = list.first, next; n; n = next) {
        next = entry_at(n)->next;
        entry_at(n)->next = 0;
        if (ebb__mark_is_dead(entry_at(n)->object)) queue_add(n);
    }
    for (uint32_t n = before ? entry_at(before)->next : final.head; n; n = entry_at(n)->next)
        ebb__mark_word(entry_at(n)->object);
    due_mark(totals);
}

/* Those that are to go last when everything else that is due has been marked. */
bool ebb__finalizers_find_due(bool minor, mark_totals *totals) {
    final_list lists[2] = {0};
    due_list(minor, lists);
    for (int last = 0; last < 2; last++) {
        if (!lists[last].first) continue;
        due_mark_fields(lists[last], totals);
        due_queue(lists[last], totals);
    }
    return lists[0].first || lists[1].first;
}

/* --- Weak references
 * ------------------------------------------------------------------------------- */

struct ebb_weak {
    void *target;
};

ebb_weak *ebb_weak_new(void *target) {
    static const ebb__field fields[] = {{0, EBB__FIELD_WEAK, 0, "target"},
                                        {0, EBB__FIELD_END, 0, NULL}};
    static _Atomic(ebb__layout *) layout; /* relaxed: equal calls make the same */
    ebb__layout *l = atomic_load_explicit(&layout, memory_order_relaxed);
    if (!l) {
        if (!ebb__heap_start()) return NULL;
        l = ebb__layout_make("ebb_weak", sizeof(ebb_weak), fields, EBB__USE_OBJECT);
        atomic_store_explicit(&layout, l, memory_order_relaxed);
    }
    ebb_weak *w = ebb__alloc_layout(l, sizeof *w);
    if (w) w->target = target;
    return w;
}

void *ebb_weak_get(const ebb_weak *weak) {
    if (!weak) {
        ebb__misuse(EBB_ENOTHEAP, "ebb_weak_get", "the reference is null");
        return NULL;
    }
    return *(void *const volatile *)&weak->target;
}

/* Clears the weak fields of one marked object. */
static void weak_clear_object(const span *s, uint32_t index) {
    const struct ebb__layout *l = s->bin->layout;
    uintptr_t object = span_start(s) + index * s->stride;
    for (size_t at = 0; at + l->element <= s->stride; at += l->element)
        for (uint32_t i = 0; i < l->weak_count; i++) {
            uintptr_t *field = (uintptr_t *)(object + at + l->weak[i]);
            if (*field && ebb__mark_is_dead(*field)) *field = 0;
        }
}

static bool weak_layouts_exist(void) {
    for (const struct ebb__layout *l = ebb__layouts; l; l = l->next)
        if (l->weak_count) return true;
    return false;
}

void ebb__weak_clear(void) {
    if (!weak_layouts_exist()) return;
    for (uint32_t n = 1; n < ebb__space.span_count; n++) {
        const span *s = span_at(n);
        if (s->state < SPAN_SMALL || s->bin->layout->weak_count == 0) continue;
        for (uint32_t w = 0; w * 64 < s->count; w++) {
            uint64_t marks = ebb__mark_kept(s, w);
            for (; marks; marks &= marks - 1)
                weak_clear_object(s, w * 64 + (uint32_t)__builtin_ctzll(marks));
        }
    }
}
