/* world.c - stopping all threads, and letting them go. docs/design.md, "Stopping the world".
 *
 * Threads are listed from the system, again and again until a list names everybody and nobody new,
 * and each is sent a signal, whose handler says where its stack is and waits. A thread in a
 * critical section of the heap stops when it leaves that instead. A thread in a bracketed blocking
 * call is not signalled: it left its registers behind, and waits at the end of the bracket if it
 * gets there.
 *
 *   EMPTY -> WAITING     the stopper, before it sends the signal
 *   WAITING -> CLAIMED   the thread, once, whether in the handler or at the end of a section
 *   CLAIMED -> STOPPED   the thread, its fields filled
 *   WAITING -> GONE      the stopper, finding that the thread ended
 *   WAITING -> PASSED    the stopper, finding a stranger: it waits if it calls us meanwhile */
#include "collector.h"
#include "../os/probes.h"

enum thread_state {
    STATE_EMPTY,
    STATE_WAITING,
    STATE_CLAIMED,
    STATE_STOPPED,
    STATE_GONE,
    STATE_PASSED
};
enum { EXEMPT_MAX = 80, STRANGERS_MAX = 32 };

#define UNLISTED_NS ((uint64_t)1000000)
#define PROD_NS     ((uint64_t)5 * 1000000)
#define RESEND_NS   ((uint64_t)50 * 1000000)
#define GIVE_UP_NS  ((uint64_t)1000 * 1000000)  /* for a thread that blocks the signal */
#define STUCK_NS    ((uint64_t)30000 * 1000000) /* for any thread */

static struct {
    _Atomic(bool) stopping;       /* release by the stopper when the table is ready */
    critical *stopper;            /* its own, by which it knows itself; set before `stopping` */
    _Atomic(uint32_t) generation; /* threads wait for it to change */
    _Atomic(uint32_t) stopped;    /* threads that reached STOPPED: the stopper waits on it */
    stopped_thread *table;        /* open addressing by tid; stable while stopping */
    size_t room, count;
    int *tids; /* as listed last */
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

/* The thread's entry, or the empty one where it belongs. */
static stopped_thread *entry_of(int tid) {
    size_t at = (size_t)tid * 2654435761u % world.room;
    while (world.table[at].tid != 0 && world.table[at].tid != tid) at = (at + 1) % world.room;
    return &world.table[at];
}

static bool table_start(size_t threads) {
    size_t page = ebb__os_page_size(), need = 2 * threads + 64;
    if (world.room < need) {
        if (world.table)
            ebb__os_unmap(world.table, round_up(world.room * sizeof *world.table, page),
                          OS_METADATA);
        world.table = ebb__os_map(round_up(need * sizeof *world.table, page), OS_METADATA);
        world.room = world.table ? need : 0;
        if (!world.table) return false;
    }
    memset(world.table, 0, world.room * sizeof *world.table);
    world.count = 0;
    atomic_store_explicit(&world.stopped, 0, memory_order_relaxed);
    return true;
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
        if (me->tid != 0) return me;
        if (world.stopper == &ebb__critical || tid_exempt(tid)) return NULL;
        ebb__os_wait(&world.generation, *generation, UNLISTED_NS);
    }
}

static void world_wait(uintptr_t sp, void *unused) {
    (void)unused;
    uint32_t generation, waiting = STATE_WAITING;
    stopped_thread *me = entry_await(&generation);
    if (!me) return;
    if (!atomic_compare_exchange_strong_explicit(&me->state, &waiting, STATE_CLAIMED,
                                                 memory_order_acquire, memory_order_acquire)) {
        if (waiting == STATE_PASSED) resume_await(generation);
        return;
    }
    me->sp = sp;
    me->tp = ebb__os_thread_pointer();
    if (!ebb__os_on_alternate_stack(&me->alternate)) me->alternate = (os_range){0, 0};
    /* Who was passed over may have claimed in the next stop already; that one waits for this. */
    generation = atomic_load_explicit(&world.generation, memory_order_acquire);
    atomic_store_explicit(&me->state, STATE_STOPPED, memory_order_release);
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
    entry->sp = t->parked_sp;
    entry->tp = t->parked_tp;
    entry->alternate = (os_range){t->parked_alternate[0], t->parked_alternate[1]};
    entry->parked = t;
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
    uint32_t waiting = STATE_WAITING, parked = PARK_PARKED;
    ebb__critical_lock(&ebb__threads_lock);
    heap_thread *t = record_of(entry->tid);
    bool held =
        t && atomic_compare_exchange_strong_explicit(&t->parked, &parked, PARK_HELD,
                                                     memory_order_acquire, memory_order_relaxed);
    ebb__critical_unlock(&ebb__threads_lock);
    if (!held ||
        !atomic_compare_exchange_strong_explicit(&entry->state, &waiting, STATE_CLAIMED,
                                                 memory_order_acquire, memory_order_relaxed))
        return false;
    parked_note(entry, t);
    atomic_store_explicit(&entry->state, STATE_STOPPED, memory_order_release);
    return true;
}

static void parked_hold(int self) {
    for (heap_thread *t = ebb__threads; t; t = t->next) {
        uint32_t parked = PARK_PARKED;
        if (t->tid == 0 || t->tid == self) continue;
        if (!atomic_compare_exchange_strong_explicit(&t->parked, &parked, PARK_HELD,
                                                     memory_order_acquire, memory_order_relaxed))
            continue;
        stopped_thread *entry = entry_of(t->tid);
        *entry = (stopped_thread){.tid = t->tid, .state = STATE_STOPPED};
        parked_note(entry, t);
        if (++world.count > world.room / 2) break;
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
 * object if the program says so, or a runtime, which makes its threads known by a call: it goes on.
 * If it calls us in the stop, it finds itself passed over after its record is there
 * (ebb__thread_start), and waits; so does a thread that it makes. */
static bool is_stranger(int tid, enum os_silence why) {
    bool passes = ebb__runtime_there() || ebb__settings.strangers_pass;
    return why == OS_SILENCE_BLOCKED && passes && !thread_known(tid);
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

/* Adds and signals those of the listed threads that are new. How many, or -1: the table is full. */
static int threads_signal(int listed, int self) {
    int added = 0;
    for (int i = 0; i < listed; i++) {
        int tid = world.tids[i];
        if (tid == self || tid_exempt(tid)) continue;
        stopped_thread *entry = entry_of(tid);
        if (entry->tid != 0) continue;
        if (++world.count > world.room / 2) return -1;
        entry->sent_ns = entry->resent_ns = ebb__os_now_ns();
        /* The entry first: a stranger that becomes known finds it, or is found known. */
        uint32_t waiting = STATE_WAITING;
        atomic_store_explicit(&entry->state, waiting, memory_order_relaxed);
        entry->tid = tid;
        atomic_thread_fence(memory_order_seq_cst);
        if (stranger_again(tid))
            atomic_compare_exchange_strong_explicit(&entry->state, &waiting, STATE_PASSED,
                                                    memory_order_relaxed, memory_order_relaxed);
        else if (!ebb__os_stop_send(tid, ebb__settings.signal))
            atomic_store_explicit(&entry->state, STATE_GONE, memory_order_relaxed);
        added++;
    }
    return added;
}

/* The first thread that has not stopped. */
static stopped_thread *straggler(void) {
    for (size_t i = 0; i < world.room; i++) {
        uint32_t state = atomic_load_explicit(&world.table[i].state, memory_order_acquire);
        if (world.table[i].tid != 0 && (state == STATE_WAITING || state == STATE_CLAIMED))
            return &world.table[i];
    }
    return NULL;
}

/* A thread has been silent for a while: sends again, finds it gone, or gives up (EBB_EBUSY). */
static int straggler_prod(stopped_thread *t, uint64_t now) {
    char name[32];
    enum os_silence why = ebb__os_silence(t->tid, ebb__settings.signal, name, sizeof name);
    uint32_t waiting = STATE_WAITING;
    if (why == OS_SILENCE_TOOL) exempt_add(t->tid);
    if (why == OS_SILENCE_GONE || tid_exempt(t->tid)) {
        atomic_compare_exchange_strong_explicit(&t->state, &waiting, STATE_GONE,
                                                memory_order_relaxed, memory_order_relaxed);
        return 0;
    }
    if (parked_since(t)) return 0;
    if (is_stranger(t->tid, why)) {
        if (!stranger_known(t->tid))
            world.strangers[world.strangers_next++ % STRANGERS_MAX] = t->tid;
        atomic_compare_exchange_strong_explicit(&t->state, &waiting, STATE_PASSED,
                                                memory_order_relaxed, memory_order_relaxed);
        return 0;
    }
    uint64_t silent = now - t->sent_ns;
    if (silent > (why == OS_SILENCE_BLOCKED ? GIVE_UP_NS : STUCK_NS)) {
        ebb__warn("thread %d (%s) %s signal %d: no collection while it does%s", t->tid, name,
                  why == OS_SILENCE_BLOCKED ? "blocks" : "does not answer", ebb__settings.signal,
                  thread_known(t->tid) ? "" : ", unless EBB_GC=strangers=pass");
        return EBB_EBUSY;
    }
    if (why == OS_SILENCE_UNKNOWN && now - t->resent_ns > RESEND_NS) {
        ebb__os_stop_send(t->tid, ebb__settings.signal);
        t->resent_ns = now;
    }
    return 0;
}

static int stragglers_wait(void) {
    for (stopped_thread *t; (t = straggler()) != NULL;) {
        uint32_t stopped = atomic_load_explicit(&world.stopped, memory_order_acquire);
        uint32_t state = atomic_load_explicit(&t->state, memory_order_acquire);
        if (state != STATE_WAITING && state != STATE_CLAIMED) continue;
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

/* All that were listed last are there still, and there were no others. Who stopped cannot end. */
static bool list_whole(int listed, int self) {
    if (listed != world.there) return false;
    for (int i = 0; i < listed; i++) {
        int tid = world.tids[i];
        if (tid != self && !ebb__world_has(tid) && !ebb__os_stop_send(tid, 0)) return false;
    }
    return true;
}

/* The last list was not whole, or named somebody new. 0: list again. EBB_EBUSY: that has named
 * nobody new since *since_ns. */
static int list_short(int added, uint64_t *since_ns) {
    uint64_t now = ebb__os_now_ns();
    if (added > 0 || *since_ns == 0) *since_ns = now;
    if (now - *since_ns < GIVE_UP_NS) return 0;
    ebb__warn("the system lists other threads than the %d that it counts: no collection",
              world.there);
    return EBB_EBUSY;
}

/* Stops those that are listed, until there are no others. EBB_ENOMEM: the table is full. */
static int threads_stop(int listed, int self) {
    uint64_t since_ns = 0;
    for (;;) {
        int added = threads_signal(listed, self);
        /* Those that were signalled read the table until they wait. */
        int error = stragglers_wait();
        if (error) return error;
        if (added < 0) return EBB_ENOMEM;
        if (added == 0 && list_whole(listed, self)) return 0;
        error = list_short(added, &since_ns);
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
    world.stopper = &ebb__critical;
    atomic_store_explicit(&world.stopping, true, memory_order_release);
    int error = threads_stop(listed, self);
    if (error) world_open();
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
    *count = world.room;
    return world.table;
}

bool ebb__world_has(int tid) {
    const stopped_thread *t = entry_of(tid);
    return t->tid == tid && atomic_load_explicit(&t->state, memory_order_acquire) == STATE_STOPPED;
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
