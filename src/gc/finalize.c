/* finalize.c - weak references and finalizers. docs/design.md, "Weak references and finalizers".
 *
 * Weak: after marking, every weak field of a marked object that points to an unmarked one becomes
 * null. A weak handle is a small object with one weak field, so there is no table of them.
 *
 * Finalizers: a table from object to function. After marking, the fields of each unmarked object in
 * it are marked, but not the object; those that are still unmarked then are referred to by no other
 * one: they are due, are marked, and move to the queue. So an object goes before those it refers
 * to, and circles never go (Hans Boehm, "Destructors, finalizers, and synchronization", 2003). */
#include "collector.h"

typedef struct final_entry {
    uintptr_t object; /* 0: never used; 1: removed */
    ebb_finalizer fn;
    void *arg;
    ebb_order order;
} final_entry;

enum { ENTRY_NONE, ENTRY_REMOVED };

os_lock ebb__final_lock;

/* All guarded by the lock, which is free while the world is stopped. */
static struct {
    final_entry *table; /* open addressing by object; room is a power of two */
    size_t room, used;  /* used counts removed ones too */
    final_entry *queue; /* due, oldest first: [head, tail) */
    size_t queue_head, queue_tail, queue_room;
    final_entry running;       /* being called now: a root */
    const heap_thread *runner; /* who calls it; null: nobody */
    unsigned waiting;          /* threads that wait for its end */
    _Atomic(uint32_t) turn;    /* changes when a call ends: they wait on it */
} final;

/* --- The table [lock, or world stopped] ------------------------------------------------------ */

static final_entry *entry_find(final_entry *table, size_t room, uintptr_t object) {
    final_entry *removed = NULL;
    size_t at = (object >> 4) * 0x9e3779b97f4a7c15u >> 20;
    for (;; at++) {
        final_entry *e = &table[at & (room - 1)];
        if (e->object == object) return e;
        if (e->object == ENTRY_REMOVED && !removed) removed = e;
        if (e->object == ENTRY_NONE) return removed ? removed : e;
    }
}

static size_t entries_bytes(size_t room) {
    return round_up(room * sizeof(final_entry), ebb__os_page_size());
}

static uint64_t entries_live(void) {
    return atomic_load_explicit(&ebb__finalizer_count, memory_order_relaxed);
}

/* Room for one more: a new table when this one is three quarters used. */
static bool table_room(void) {
    if (final.table && (final.used + 1) * 4 <= final.room * 3) return true;
    size_t room = 256;
    while (room < entries_live() * 2 + 2) room *= 2;
    final_entry *table = ebb__os_map(entries_bytes(room), OS_METADATA);
    if (!table) return false;
    for (size_t i = 0; i < final.room; i++)
        if (final.table[i].object > ENTRY_REMOVED)
            *entry_find(table, room, final.table[i].object) = final.table[i];
    if (final.table) ebb__os_unmap(final.table, entries_bytes(final.room), OS_METADATA);
    final.table = table;
    final.room = room;
    final.used = entries_live();
    return true;
}

static bool entry_remove(uintptr_t object) {
    final_entry *e = final.table ? entry_find(final.table, final.room, object) : NULL;
    if (!e || e->object != object) return false;
    *e = (final_entry){.object = ENTRY_REMOVED};
    atomic_fetch_sub_explicit(&ebb__finalizer_count, 1, memory_order_relaxed);
    return true;
}

static int entry_set(uintptr_t object, const ebb_finalization *f) {
    if (!table_room()) return EBB_ENOMEM;
    final_entry *e = entry_find(final.table, final.room, object);
    if (e->object != object) {
        final.used += e->object == ENTRY_NONE;
        atomic_fetch_add_explicit(&ebb__finalizer_count, 1, memory_order_relaxed);
    }
    *e = (final_entry){object, f->fn, f->arg, f->order};
    return 0;
}

static void entry_get(uintptr_t object, ebb_finalization *f) {
    const final_entry *e = final.table ? entry_find(final.table, final.room, object) : NULL;
    *f = (ebb_finalization){0};
    if (e && e->object == object) *f = (ebb_finalization){e->fn, e->arg, e->order};
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
    entry_get((uintptr_t)object, before);
    if (f->fn)
        error = entry_set((uintptr_t)object, f);
    else
        entry_remove((uintptr_t)object);
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
    entry_remove((uintptr_t)object);
    ebb__critical_unlock(&ebb__final_lock);
}

/* --- The queue ----------------------------------------------------------------------------------
 */

static void queue_add(final_entry e) {
    if (final.queue_tail == final.queue_room) {
        size_t count = final.queue_tail - final.queue_head;
        size_t room = max_size(256, 2 * count);
        final_entry *grown = ebb__os_map(entries_bytes(room), OS_METADATA);
        if (!grown) ebb__fail("ebb", "no memory for the queue of finalizers");
        if (count) memcpy(grown, final.queue + final.queue_head, count * sizeof *grown);
        if (final.queue) ebb__os_unmap(final.queue, entries_bytes(final.queue_room), OS_METADATA);
        final.queue = grown;
        final.queue_room = room;
        final.queue_head = 0;
        final.queue_tail = count;
    }
    final.queue[final.queue_tail++] = e;
}

size_t ebb__finalizers_due(void) {
    return final.queue_tail - final.queue_head;
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
    bool any = !final.runner && final.queue_head < final.queue_tail;
    if (any) {
        final.running = final.queue[final.queue_head];
        final.queue[final.queue_head++] = (final_entry){0};
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
    for (size_t i = 0; i < final.room; i++) {
        final_entry e = final.table[i];
        if (e.object <= ENTRY_REMOVED) continue;
        queue_add(e);
        entry_remove(e.object);
    }
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

void ebb__finalizers_mark_roots(void) {
    for (size_t i = 0; i < final.room; i++)
        if (final.table[i].object > ENTRY_REMOVED) ebb__mark_word((uintptr_t) final.table[i].arg);
    for (size_t i = final.queue_head; i < final.queue_tail; i++) {
        ebb__mark_word(final.queue[i].object);
        ebb__mark_word((uintptr_t) final.queue[i].arg);
    }
    ebb__mark_word(final.running.object);
    ebb__mark_word((uintptr_t) final.running.arg);
}

void ebb__finalizers_roots(void (*visit)(uintptr_t word, void *arg), void *arg) {
    for (size_t i = 0; i < final.room; i++)
        if (final.table[i].object > ENTRY_REMOVED) visit((uintptr_t) final.table[i].arg, arg);
    for (size_t i = final.queue_head; i < final.queue_tail; i++) {
        visit(final.queue[i].object, arg);
        visit((uintptr_t) final.queue[i].arg, arg);
    }
    visit(final.running.object, arg);
    visit((uintptr_t) final.running.arg, arg);
}

static void due_mark(mark_totals *totals) {
    ebb__mark_run(NULL, NULL, 0, totals);
    ebb__traced_run(false, totals);
}

static bool due_dead(const final_entry *e, bool last) {
    return e->object > ENTRY_REMOVED && (e->order == EBB_ORDER_LAST) == last &&
           ebb__mark_is_dead(e->object);
}

/* Marks what dead objects with an order refer to. True when there is any dead object. */
static bool due_mark_fields(bool last) {
    bool any = false;
    for (size_t i = 0; i < final.room; i++) {
        const final_entry *e = &final.table[i];
        if (!due_dead(e, last)) continue;
        any = true;
        if (e->order != EBB_ORDER_NONE) ebb__mark_fields(e->object, e->order != EBB_ORDER);
    }
    return any;
}

/* Moves what is dead still to the queue, and marks it. */
static void due_queue(bool last, mark_totals *totals) {
    size_t first = final.queue_tail - final.queue_head;
    for (size_t i = 0; i < final.room; i++) {
        final_entry e = final.table[i];
        if (!due_dead(&e, last)) continue;
        queue_add(e);
        entry_remove(e.object);
    }
    for (size_t i = final.queue_head + first; i < final.queue_tail; i++)
        ebb__mark_word(final.queue[i].object);
    due_mark(totals);
}

/* Those that are to go last when everything else that is due has been marked. */
bool ebb__finalizers_find_due(mark_totals *totals) {
    bool any = false;
    for (int last = 0; last < 2; last++) {
        if (!due_mark_fields(last)) continue;
        due_mark(totals);
        due_queue(last, totals);
        any = true;
    }
    return any;
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
