/* world.c - stopping all threads, and letting them go. docs/design.md, "Stopping the world".
 *
 * Threads are listed from the system, again and again until a list names everybody and nobody new,
 * and each is sent a signal, whose handler says where its stack is and waits. A thread in a
 * critical section of the heap stops when it leaves that instead. A thread in a bracketed blocking
 * call is not signalled: it left its registers behind, and waits at the end of the bracket if it
 * gets there.
 *
 *   0 -> WAITING         the stopper, before it sends the signal
 *   WAITING -> CLAIMED   the thread, once, whether in the handler or at the end of a section
 *   CLAIMED -> STOPPED   the thread, its fields filled
 *   WAITING -> GONE      the stopper, finding that the thread ended
 *   GONE -> WAITING      the stopper, finding that another one has its number now
 *   WAITING -> PASSED    the stopper, finding a stranger: it waits if it calls us meanwhile */
#include "collector.h"
#include "../os/probes.h"

enum thread_state { STATE_WAITING, STATE_CLAIMED, STATE_STOPPED, STATE_GONE, STATE_PASSED };
enum { EXEMPT_MAX = 80, STRANGERS_MAX = 32 };

#define UNLISTED_NS ((uint64_t)1000000)
#define PROD_NS     ((uint64_t)5 * 1000000)
#define RESEND_NS   ((uint64_t)50 * 1000000)
#define GIVE_UP_NS  ((uint64_t)1000 * 1000000)  /* for a thread that blocks the signal */
#define STUCK_NS    ((uint64_t)30000 * 1000000) /* for any thread */

/* Open addressing by number of thread. Who was passed over, or is not in it yet, may look for
 * itself while the next stop begins: so it is never unmapped, and nothing but `who` is read in it
 * by those who are not stopped. */
typedef struct thread_table {
    size_t room;
    stopped_thread entries[];
} thread_table;

static struct {
    _Atomic(bool) stopping;        /* release by the stopper when the table is ready */
    _Atomic(critical *) stopper;   /* its own, by which it knows itself; set before `stopping` */
    _Atomic(uint32_t) generation;  /* threads wait for it to change */
    _Atomic(uint32_t) stopped;     /* threads that reached STOPPED: the stopper waits on it */
    _Atomic(thread_table *) table; /* release by the stopper, acquire by threads */
    size_t count;                  /* entries in use */
    int *tids;                     /* as listed last */
    size_t tids_room;
    int there;                           /* how many threads the system counted after that */
    uint64_t since_ns;                   /* when the stop began; the stopper's */
    _Atomic(uint64_t) stops, stopped_ns; /* so far, written by stoppers; relaxed, for counting */
    _Atomic(int) exempt[EXEMPT_MAX];     /* release by the thread, acquire by the stopper */
    int strangers[STRANGERS_MAX];        /* that were passed over lately; the stopper's */
    unsigned strangers_next;
} world;

static void exempt_add(int tid) {
    for (int i = 0; i < EXEMPT_MAX; i++) {
        int free = 0;
        if (atomic_compare_exchange_strong_explicit(&world.exempt[i], &free, tid,
                                                    memory_order_release, memory_order_relaxed))
            return;
    }
    ebb__fail("ebb", "too many threads of its own");
}

void ebb__world_exempt(void) {
    exempt_add(ebb__os_tid());
}

/* Blocked first: a signal that is on its way would stop a thread that is waited for already. */
void ebb__world_exempt_begun(void) {
    ebb__os_signal_block(ebb__settings.signal);
    ebb__world_exempt();
}

void ebb__world_forked(void) {
    for (int i = 0; i < EXEMPT_MAX; i++)
        atomic_store_explicit(&world.exempt[i], 0, memory_order_relaxed);
}

static bool tid_exempt(int tid) {
    for (int i = 0; i < EXEMPT_MAX; i++) {
        int exempt = atomic_load_explicit(&world.exempt[i], memory_order_acquire);
        if (exempt == tid) return true;
        if (exempt == 0) return false;
    }
    return false;
}

bool ebb__world_exempted(void) {
    return tid_exempt(ebb__os_tid());
}

/* --- The table ---------------------------------------------------------------------------------
 */

static thread_table *table_now(void) {
    return atomic_load_explicit(&world.table, memory_order_acquire);
}

static uint64_t who_of(int tid, enum thread_state state) {
    return (uint64_t)(uint32_t)tid << 32 | state;
}

static bool entry_is(const stopped_thread *entry, int tid, enum thread_state state) {
    return atomic_load_explicit(&entry->who, memory_order_acquire) == who_of(tid, state);
}

static void entry_put(stopped_thread *entry, int tid, enum thread_state state) {
    atomic_store_explicit(&entry->who, who_of(tid, state), memory_order_release);
}

/* From WAITING, if it is this thread's entry and waits. */
static bool entry_turn(stopped_thread *entry, int tid, enum thread_state state) {
    uint64_t waiting = who_of(tid, STATE_WAITING);
    return atomic_compare_exchange_strong_explicit(&entry->who, &waiting, who_of(tid, state),
                                                   memory_order_acquire, memory_order_relaxed);
}

/* The thread's entry, or the empty one where it belongs. */
static stopped_thread *entry_of(int tid) {
    thread_table *t = table_now();
    for (size_t at = (size_t)tid * 2654435761u % t->room;; at = (at + 1) % t->room) {
        int there = stopped_tid(&t->entries[at]);
        if (there == 0 || there == tid) return &t->entries[at];
    }
}

/* Twice as large each time: what is left behind is less than what is in use. */
static bool table_start(size_t threads) {
    thread_table *t = table_now();
    size_t page = ebb__os_page_size(), need = 2 * threads + 64;
    if (!t || t->room < need) {
        size_t room = t ? max_size(need, 2 * t->room) : need;
        t = ebb__os_map(round_up(sizeof *t + room * sizeof *t->entries, page), OS_METADATA);
        if (!t) return false;
        t->room = room;
        atomic_store_explicit(&world.table, t, memory_order_release);
    }
    for (size_t i = 0; i < t->room; i++)
        atomic_store_explicit(&t->entries[i].who, 0, memory_order_relaxed);
    world.count = 0;
    atomic_store_explicit(&world.stopped, 0, memory_order_relaxed);
    return true;
}

/* What a thread says of itself in the stop. */
static void entry_fill(stopped_thread *entry, uintptr_t sp, uintptr_t tp, os_range alternate) {
    entry->sp = sp;
    entry->tp = tp;
    entry->alternate = alternate;
}

/* Lists the threads into world.tids. Their number, or -1. */
static int threads_list(void) {
    for (;;) {
        int n = ebb__os_threads(world.tids, (int)world.tids_room, &world.there);
        if (n < 0) return -1;
        if ((size_t)n <= world.tids_room) return n;
        size_t page = ebb__os_page_size();
        if (world.tids) ebb__os_unmap(world.tids, world.tids_room * sizeof(int), OS_METADATA);
        size_t bytes = round_up((size_t)n * 2 * sizeof(int), page);
        world.tids = ebb__os_map(bytes, OS_METADATA);
        world.tids_room = world.tids ? bytes / sizeof(int) : 0;
        if (!world.tids) return -1;
    }
}

/* --- The threads' side --------------------------------------------------------------------------
 */

static void resume_await(uint32_t generation) {
    while (atomic_load_explicit(&world.generation, memory_order_acquire) == generation)
        ebb__os_wait(&world.generation, generation, UINT64_MAX);
}

/* The calling thread's entry in the stop that is on, and which one that is; null: none is, or it is
 * not for this thread. One that was passed over may make a thread when the list is whole already:
 * who has no entry yet waits for it, or for the end. */
static stopped_thread *entry_await(uint32_t *generation) {
    int tid = ebb__os_tid();
    for (;;) {
        *generation = atomic_load_explicit(&world.generation, memory_order_acquire);
        if (!atomic_load_explicit(&world.stopping, memory_order_acquire)) return NULL;
        stopped_thread *me = entry_of(tid);
        if (stopped_tid(me) != 0) return me;
        if (atomic_load_explicit(&world.stopper, memory_order_relaxed) == &ebb__critical ||
            tid_exempt(tid))
            return NULL;
        ebb__os_wait(&world.generation, *generation, UNLISTED_NS);
    }
}

static void world_wait(uintptr_t sp, void *unused) {
    (void)unused;
    uint32_t generation;
    int tid = ebb__os_tid();
    stopped_thread *me = entry_await(&generation);
    if (!me) return;
    if (!entry_turn(me, tid, STATE_CLAIMED)) {
        if (entry_is(me, tid, STATE_PASSED)) resume_await(generation);
        return;
    }
    os_range alternate;
    if (!ebb__os_on_alternate_stack(&alternate)) alternate = (os_range){0, 0};
    entry_fill(me, sp, ebb__os_thread_pointer(), alternate);
    /* Who was passed over may have claimed in the next stop already; that one waits for this. */
    generation = atomic_load_explicit(&world.generation, memory_order_acquire);
    entry_put(me, tid, STATE_STOPPED);
    atomic_fetch_add_explicit(&world.stopped, 1, memory_order_release);
    ebb__os_wake(&world.stopped, false);
    if (atomic_load_explicit(&world.stopping, memory_order_acquire)) resume_await(generation);
}

static void world_signal(uintptr_t sp) {
    if (ebb__critical.depth > 0)
        ebb__critical.pending = true;
    else
        world_wait(sp, NULL);
}

void ebb__critical_stop(void) {
    int error = errno;
    ebb__critical.pending = false;
    ebb__os_with_registers(world_wait, NULL);
    errno = error;
}

/* --- Bracketed blocking calls --------------------------------------------------------------------
 */

/* The frames between sp and parked_sp go away when ebb_blocking_begin returns; what its caller had
 * in registers is in them, and is copied. */
static void park_here(uintptr_t sp, void *record) {
    heap_thread *t = record;
    size_t bytes = t->parked_sp - sp;
    if (bytes > sizeof t->parked_registers)
        ebb__fail("ebb_blocking_begin", "a frame of %zu bytes is larger than foreseen", bytes);
    memcpy(t->parked_registers, (void *)sp, bytes);
    t->parked_tp = ebb__os_thread_pointer();
    os_range alternate;
    if (!ebb__os_on_alternate_stack(&alternate)) alternate = (os_range){0, 0};
    t->parked_alternate[0] = alternate.start;
    t->parked_alternate[1] = alternate.end;
}

__attribute__((noinline)) void ebb_blocking_begin(void) {
    heap_thread *t = ebb__thread_start();
    if (!t) return;
    if (atomic_load_explicit(&t->parked, memory_order_relaxed) != PARK_RUNNING) {
        ebb__misuse(EBB_EINVAL, "ebb_blocking_begin", "called twice without ebb_blocking_end");
        return;
    }
    t->parked_sp = (uintptr_t)__builtin_frame_address(0);
    memset(t->parked_registers, 0, sizeof t->parked_registers);
    ebb__os_with_registers(park_here, t);
    atomic_store_explicit(&t->parked, PARK_PARKED, memory_order_release);
}

void ebb_blocking_end(void) {
    heap_thread *t = ebb__self;
    if (!t || atomic_load_explicit(&t->parked, memory_order_relaxed) == PARK_RUNNING)
        ebb__misuse(EBB_EINVAL, "ebb_blocking_end", "called without ebb_blocking_begin");
    else
        ebb__thread_unpark(t);
}

static void parked_note(stopped_thread *entry, heap_thread *t) {
    entry_fill(entry, t->parked_sp, t->parked_tp,
               (os_range){t->parked_alternate[0], t->parked_alternate[1]});
    entry->parked = t;
    entry_put(entry, t->tid, STATE_STOPPED);
}

/* The record of a thread that called us. [threads lock] */
static heap_thread *record_of(int tid) {
    heap_thread *t = ebb__threads;
    while (t && t->tid != tid) t = t->next;
    return t;
}

/* A thread that went into a bracketed call after it was looked at, with the signal blocked
 * (libunwind does that while it waits for the loader's lock), or under ThreadSanitizer, which keeps
 * the signal until the thread comes back. True when it is held there now. */
static bool parked_since(stopped_thread *entry) {
    uint32_t parked = PARK_PARKED;
    int tid = stopped_tid(entry);
    ebb__critical_lock(&ebb__threads_lock);
    heap_thread *t = record_of(tid);
    bool held =
        t && atomic_compare_exchange_strong_explicit(&t->parked, &parked, PARK_HELD,
                                                     memory_order_acquire, memory_order_relaxed);
    ebb__critical_unlock(&ebb__threads_lock);
    if (!held || !entry_turn(entry, tid, STATE_CLAIMED)) return false;
    parked_note(entry, t);
    return true;
}

static void parked_hold(int self) {
    for (heap_thread *t = ebb__threads; t; t = t->next) {
        uint32_t parked = PARK_PARKED;
        if (t->tid == 0 || t->tid == self) continue;
        if (!atomic_compare_exchange_strong_explicit(&t->parked, &parked, PARK_HELD,
                                                     memory_order_acquire, memory_order_relaxed))
            continue;
        parked_note(entry_of(t->tid), t);
        if (++world.count > table_now()->room / 2) break;
    }
}

/* The world goes on already: new threads come into the list. */
static void parked_release(void) {
    ebb__critical_lock(&ebb__threads_lock);
    for (heap_thread *t = ebb__threads; t; t = t->next) {
        uint32_t held = PARK_HELD;
        if (atomic_compare_exchange_strong_explicit(&t->parked, &held, PARK_PARKED,
                                                    memory_order_release, memory_order_relaxed))
            ebb__os_wake(&t->parked, true);
    }
    ebb__critical_unlock(&ebb__threads_lock);
}

/* --- The stopper's side --------------------------------------------------------------------------
 */

static bool thread_known(int tid) {
    ebb__critical_lock(&ebb__threads_lock);
    bool known = record_of(tid) != NULL;
    ebb__critical_unlock(&ebb__threads_lock);
    return known;
}

/* Libraries keep threads of their own that block all signals. One that never called us has no
 * object if the program says so, or a runtime, which makes its threads known by a call, or it seems
 * to be a tool's: it goes on.
 * If it calls us in the stop, it finds itself passed over after its record is there
 * (ebb__thread_start), and waits; so does a thread that it makes. */
static bool is_stranger(int tid, enum os_silence why) {
    bool passes = ebb__runtime_there() || ebb__settings.strangers_pass;
    bool passed = why == OS_SILENCE_TOOL || (why == OS_SILENCE_BLOCKED && passes);
    return passed && !thread_known(tid);
}

static bool stranger_known(int tid) {
    for (int i = 0; i < STRANGERS_MAX; i++)
        if (world.strangers[i] == tid) return true;
    return false;
}

/* One that was passed over before, and still is a stranger: no need to wait for it. */
static bool stranger_again(int tid) {
    char name[32];
    return stranger_known(tid) &&
           is_stranger(tid, ebb__os_silence(tid, ebb__settings.signal, name, sizeof name));
}

/* The thread ended, and one that was made since has its number. */
static bool entry_reused(const stopped_thread *entry, int tid) {
    char name[32];
    return entry_is(entry, tid, STATE_GONE) &&
           ebb__os_silence(tid, ebb__settings.signal, name, sizeof name) != OS_SILENCE_GONE;
}

/* Adds and signals those of the listed threads that are new. How many, or -1: the table is full. */
static int threads_signal(int listed, int self) {
    int added = 0;
    for (int i = 0; i < listed; i++) {
        int tid = world.tids[i];
        if (tid == self || tid_exempt(tid)) continue;
        stopped_thread *entry = entry_of(tid);
        bool empty = stopped_tid(entry) == 0;
        if (!empty && !entry_reused(entry, tid)) continue;
        if (empty && ++world.count > table_now()->room / 2) return -1;
        entry_fill(entry, 0, 0, (os_range){0, 0});
        entry->parked = NULL;
        entry->sent_ns = entry->resent_ns = ebb__os_now_ns();
        /* The entry first: a stranger that becomes known finds it, or is found known. */
        entry_put(entry, tid, STATE_WAITING);
        atomic_thread_fence(memory_order_seq_cst);
        if (stranger_again(tid))
            entry_turn(entry, tid, STATE_PASSED);
        else if (!ebb__os_stop_send(tid, ebb__settings.signal))
            entry_put(entry, tid, STATE_GONE);
        added++;
    }
    return added;
}

static bool entry_straggles(const stopped_thread *entry) {
    int tid = stopped_tid(entry);
    return tid != 0 && (entry_is(entry, tid, STATE_WAITING) || entry_is(entry, tid, STATE_CLAIMED));
}

/* The first thread that has not stopped. */
static stopped_thread *straggler(void) {
    thread_table *t = table_now();
    for (size_t i = 0; i < t->room; i++)
        if (entry_straggles(&t->entries[i])) return &t->entries[i];
    return NULL;
}

/* A thread has been silent for a while: sends again, finds it gone, or gives up (EBB_EBUSY). */
static int straggler_prod(stopped_thread *t, uint64_t now) {
    char name[32];
    int tid = stopped_tid(t);
    enum os_silence why = ebb__os_silence(tid, ebb__settings.signal, name, sizeof name);
    if (why == OS_SILENCE_GONE || tid_exempt(tid)) {
        entry_turn(t, tid, STATE_GONE);
        return 0;
    }
    if (parked_since(t)) return 0;
    if (is_stranger(tid, why)) {
        if (!stranger_known(tid)) world.strangers[world.strangers_next++ % STRANGERS_MAX] = tid;
        entry_turn(t, tid, STATE_PASSED);
        return 0;
    }
    uint64_t silent = now - t->sent_ns;
    bool blocks = why == OS_SILENCE_BLOCKED || why == OS_SILENCE_TOOL;
    if (silent > (blocks ? GIVE_UP_NS : STUCK_NS)) {
        ebb__warn("thread %d (%s) %s signal %d: no collection while it does%s", tid, name,
                  blocks ? "blocks" : "does not answer", ebb__settings.signal,
                  thread_known(tid) ? "" : ", unless EBB_GC=strangers=pass");
        return EBB_EBUSY;
    }
    if (why == OS_SILENCE_UNKNOWN && now - t->resent_ns > RESEND_NS) {
        ebb__os_stop_send(tid, ebb__settings.signal);
        t->resent_ns = now;
    }
    return 0;
}

static int stragglers_wait(void) {
    for (stopped_thread *t; (t = straggler()) != NULL;) {
        uint32_t stopped = atomic_load_explicit(&world.stopped, memory_order_acquire);
        if (!entry_straggles(t)) continue;
        ebb__os_wait(&world.stopped, stopped, PROD_NS);
        if (atomic_load_explicit(&world.stopped, memory_order_acquire) != stopped) continue;
        int error = straggler_prod(t, ebb__os_now_ns());
        if (error) return error;
    }
    return 0;
}

static void world_open(void) {
    atomic_store_explicit(&world.stopping, false, memory_order_release);
    atomic_fetch_add_explicit(&world.generation, 1, memory_order_release);
    ebb__os_wake(&world.generation, true);
    parked_release();
}

/* After a stop that failed nobody may take or fill an entry of it any more: the next uses them. */
static void entries_settle(void) {
    for (stopped_thread *t; (t = straggler()) != NULL;) {
        uint32_t stopped = atomic_load_explicit(&world.stopped, memory_order_acquire);
        if (entry_turn(t, stopped_tid(t), STATE_GONE) || !entry_straggles(t)) continue;
        ebb__os_wait(&world.stopped, stopped, PROD_NS);
    }
}

/* All that were listed last are there still, and there were no others. Who stopped cannot end. */
static bool list_whole(int listed, int self) {
    if (listed != world.there) return false;
    for (int i = 0; i < listed; i++) {
        int tid = world.tids[i];
        if (tid == self || ebb__world_has(tid)) continue;
        if (!ebb__os_stop_send(tid, 0) || entry_reused(entry_of(tid), tid)) return false;
    }
    return true;
}

/* Lists that named nobody new, and since when. */
struct idle_lists {
    uint64_t since_ns;
    unsigned count;
};

/* The last list was not whole, or named somebody new. 0: list again. EBB_EBUSY: there were many for
 * long that named nobody. Where the processor is with others for long, few are. */
static int list_short(int added, struct idle_lists *idle) {
    enum { LISTS_MANY = 100 };
    uint64_t now = ebb__os_now_ns();
    if (added > 0 || idle->count == 0) *idle = (struct idle_lists){now, 0};
    if (++idle->count < LISTS_MANY || now - idle->since_ns < GIVE_UP_NS) return 0;
    ebb__warn("the system lists other threads than the %d that it counts: no collection",
              world.there);
    return EBB_EBUSY;
}

/* Stops those that are listed, until there are no others. EBB_ENOMEM: the table is full. */
static int threads_stop(int listed, int self) {
    struct idle_lists idle = {0};
    for (;;) {
        int added = threads_signal(listed, self);
        /* Those that were signalled read the table until they wait. */
        int error = stragglers_wait();
        if (error) return error;
        if (added < 0) return EBB_ENOMEM;
        if (added == 0 && list_whole(listed, self)) return 0;
        error = list_short(added, &idle);
        if (error) return error;
        listed = threads_list();
        if (listed < 0) return EBB_EBUSY;
    }
}

/* One try: EBB_ENOMEM asks for another with a larger table. */
static int world_try(int self) {
    int listed = threads_list();
    if (listed < 0) ebb__warn("the threads cannot be listed (%m): no collection");
    if (listed < 0 || !table_start((size_t)listed)) return EBB_EBUSY;
    ebb__critical_lock(&ebb__threads_lock);
    parked_hold(self);
    ebb__critical_unlock(&ebb__threads_lock);
    atomic_store_explicit(&world.stopper, &ebb__critical, memory_order_relaxed);
    atomic_store_explicit(&world.stopping, true, memory_order_release);
    int error = threads_stop(listed, self);
    if (!error) return 0;
    entries_settle();
    world_open();
    return error;
}

/* The threads go on. [collector lock] */
static void world_count(void) {
    uint64_t ns = ebb__os_now_ns() - world.since_ns;
    atomic_fetch_add_explicit(&world.stops, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&world.stopped_ns, ns, memory_order_relaxed);
    ebb__probe_stop_end(ns);
}

int ebb__world_stop(void) {
    int self = ebb__os_tid(), error;
    world.since_ns = ebb__os_now_ns();
    ebb__probe_stop_begin();
    do error = world_try(self);
    while (error == EBB_ENOMEM);
    if (error) world_count();
    return error;
}

void ebb__world_resume(void) {
    world_open();
    world_count();
}

uint64_t ebb__world_stopped_ns(uint64_t *stops) {
    if (stops) *stops = atomic_load_explicit(&world.stops, memory_order_relaxed);
    return atomic_load_explicit(&world.stopped_ns, memory_order_relaxed);
}

stopped_thread *ebb__world_threads(size_t *count) {
    thread_table *t = table_now();
    *count = t->room;
    return t->entries;
}

bool ebb__world_has(int tid) {
    return entry_is(entry_of(tid), tid, STATE_STOPPED);
}

/* One that was passed over, or was made by such a one since the list was whole, may have made
 * itself known, and waits. */
bool ebb__world_lives(int tid) {
    return ebb__world_has(tid) || ebb__os_stop_send(tid, 0);
}

void ebb__world_start(void) {
    if (ebb__os_stop_install(ebb__settings.signal, world_signal) != 0)
        ebb__fail("ebb", "signal %d cannot be used to stop threads", ebb__settings.signal);
}
