/* collector.h - the collector's own parts, as they see each other. docs/design.md, "The collector".
 *
 *   settings.c   EBB_GC and EBB_DEBUG
 *   world.c      stops and resumes all threads
 *   roots.c      where pointers may lie outside the heap
 *   crew.c       threads for what is done in parallel
 *   mark.c       traces, on several threads, beside the program or in a stop
 *   extent.c     arrays that slices keep in part
 *   dirty.c      which old objects may have changed
 *   finalize.c   weak references and finalizers
 *   runtime.c    what language runtimes add
 *   sweep.c      what was found dead becomes free
 *   cycle.c      one collection from its request to its trace line
 *   pace.c       when there is one, how much may be allocated meanwhile, the limit
 *   service.c    the background: finalizers, idle collections, pages given back
 *   verify.c     checks the whole heap
 *   checkmark.c  traces once more, to compare
 *   oracle.c     sums up pages, to compare
 *
 * Locks, outermost first: the loader's (glibc), the collector's (cycle.c: whoever has it may stop
 * the world), the heap's (heap/thread.h). With the world stopped no lock of the heap is held, and
 * the stopper calls no malloc, no stdio and no foreign lock. One thread at a time owns the cycle;
 * that is no lock but a phase (cycle.c), because a cycle may be ended by another than began it. */
#ifndef EBB_COLLECTOR_H
#define EBB_COLLECTOR_H

#include "../heap/bins.h"
#include "../heap/hooks.h"
#include "../heap/sample.h"
#include "../heap/yield.h"
#include "../os/threads.h"
#include "../os/unwind.h"
#include "../../include/ebb/gc.h"
#include "../../include/ebb/runtime.h"
#include "marking.h"

/* --- Settings (settings.c); set once at start unless stated -------------------------------------
 */

/* DIRTY_OFF: nobody knows which pages were written, each cycle is full and in one stop. DIRTY_ALL:
 * each counts as written, for tests. DIRTY_KERNEL: the system tells. */
enum dirty_mode { DIRTY_OFF, DIRTY_ALL, DIRTY_KERNEL, DIRTY_MODES };
EBB__SHARED extern const char *const ebb__dirty_names[DIRTY_MODES];

/* What the heap may grow by between cycles at least, unless EBB_DEBUG=room says otherwise. */
#define ROOM_MIN ((size_t)16 * MIB)

typedef struct settings {
    _Atomic(int) percent;       /* -1 is off; relaxed */
    int signal;                 /* that stops threads */
    int markers;                /* threads that mark in a stop, the collecting one included */
    int background;             /* threads that mark beside the program, likewise */
    int idle_seconds;           /* of quiet before an idle collection; 0 is never */
    _Atomic(size_t) room_bytes; /* that the heap may at least grow by; relaxed */
    _Atomic(size_t) floor;      /* bytes that it may have without growth counting; relaxed */
    uint64_t pause_ns;          /* that a stop should take at most */
    enum dirty_mode dirty;
    bool strangers_pass; /* see is_stranger in world.c */
    bool trace, verify, checkmark, oracle;
    bool serve;           /* the socket */
    char serve_where[64]; /* HTTP at this address; "" for no */
    uint64_t stress;      /* collect at every n-th allocation; 0 is off */
    uint64_t fail_alloc;  /* fail the n-th allocation; 0 is off */
    enum os_unwinder unwinder;
    struct profile_settings {
        bool given; /* there is an EBB_PROFILE */
        bool signal_given;
        int signal;                          /* that has a profile written; 0 is off */
        const char *exit, *directory, *tool; /* null: not given */
    } profile;
} settings;

EBB__SHARED extern settings ebb__settings;
EBB__SHARED void ebb__settings_start(void);

/* --- The world (world.c)
 * -------------------------------------------------------------------------- */

/* A thread as it was when it stopped. */
typedef struct stopped_thread {
    /* Its number and its state in one word, so that nobody can take another's entry: 0 is an empty
     * one; release by the thread when the rest is set, acquire by the stopper */
    _Atomic(uint64_t) who;
    uintptr_t sp, tp;
    os_range alternate;  /* its alternate signal stack, if it runs on that; else empty */
    heap_thread *parked; /* in a bracketed blocking call: its record */
    uint64_t sent_ns, resent_ns;
} stopped_thread;

/* 0: an empty entry. */
EBB__INLINE int stopped_tid(const stopped_thread *t) {
    return (int)(atomic_load_explicit(&t->who, memory_order_acquire) >> 32);
}

EBB__SHARED void ebb__world_start(void);

/* Stops every thread but the caller and the library's own. [collector lock]
 * 0, or EBB_EBUSY when one would not stop: then nobody is stopped. */
EBB__SHARED int ebb__world_stop(void);
EBB__SHARED void ebb__world_resume(void);

/* How long the world stood still so far, and in how many stops, tries that failed included; stops
 * may be null. */
EBB__SHARED uint64_t ebb__world_stopped_ns(uint64_t *stops);

/* The threads that are stopped, while they are. */
EBB__SHARED stopped_thread *ebb__world_threads(size_t *count);
EBB__SHARED bool ebb__world_has(int tid);

/* The thread is there, stopped or not. [world stopped] */
EBB__SHARED bool ebb__world_lives(int tid);

/* A thread of the library's own that is never stopped: it touches no object unless told to. */
EBB__SHARED void ebb__world_exempt(void);
EBB__SHARED bool ebb__world_exempted(void); /* the calling thread is one */

/* The same, of one that began with the stop signal open, which it blocks: for a thread that makes
 * no others, since they would begin with it blocked. */
EBB__SHARED void ebb__world_exempt_begun(void);
EBB__SHARED void ebb__world_forked(void);

/* --- Roots (roots.c)
 * ------------------------------------------------------------------------------ */

/* Where a range of roots comes from. The first three are searched because anything may be there;
 * what only they hold may be held by a number that looks like an address. */
enum root_origin {
    ORIGIN_STACK,     /* of thread tid: from the top; or an added one that nobody is on, tid 0 */
    ORIGIN_REGISTERS, /* of a thread in a bracketed blocking call */
    ORIGIN_STORAGE,   /* thread-local */
    ORIGIN_STATIC,
    ORIGIN_RANGE, /* added by the program, or by Ebb for pins, pools and regions */
    ORIGIN_COUNT
};

typedef struct root_note {
    uint32_t first; /* what is said is of this range and all up to the next note's */
    uint16_t origin;
    int tid;
} root_note;

typedef struct root_set {
    os_ranges ranges; /* to be searched, word by word */
    root_note *notes; /* ascending; made by ebb__roots_gather */
    size_t note_count, note_room;
    size_t bytes, stack_bytes;
} root_set;

/* Lists what is to be searched. [world stopped, loader's lock held, segments as of it] sp: where
 * the calling thread's own stack begins. False without memory for the list. */
EBB__SHARED bool ebb__roots_gather(root_set *roots, const os_ranges *segments, uintptr_t sp);

/* Whether an address on a thread's own stack is that of its thread-local storage. In a stop, or in
 * a copy of the process that was made in one: tid is known then, or was the stopper's. */
EBB__SHARED bool ebb__roots_in_storage(int tid, uintptr_t address);

/* Lists static and added roots, while the program runs: what it names may go away at any time. */
EBB__SHARED bool ebb__roots_hints(root_set *roots, const os_ranges *segments);

/* The crew, marking, extents, written pages, sweeping: marking.h. */

/* --- Weak references and finalizers (finalize.c) [world stopped]
 * ------------------------------------ */

EBB__SHARED void ebb__weak_clear(void);
EBB__SHARED void ebb__finalizers_mark_roots(void);
EBB__SHARED void ebb__finalizers_hints(void); /* the same while the program runs [owner] */
/* Calls visit for each word that finalizers keep alive. */
EBB__SHARED void ebb__finalizers_roots(void (*visit)(uintptr_t word, void *arg), void *arg);
/* Marks what finalizers keep; queues those that are due. True when it marked anything. minor: what
 * was old after the last cycle is. */
EBB__SHARED bool ebb__finalizers_find_due(bool minor, mark_totals *totals);
EBB__SHARED size_t ebb__finalizers_due(void);
EBB__SHARED void ebb__finalizers_released(void *object);
EBB__SHARED void ebb__finalizers_forked(void);

/* --- What language runtimes add (runtime.c) ----------------------------------------------------
 */

/* Set once. While it is not null, stops that end a cycle are for the program's own threads, inside
 * a call of ours; release by ebb_runtime_set, acquire by its readers. */
EBB__SHARED extern _Atomic(const ebb_runtime *) ebb__runtime;

EBB__INLINE bool ebb__runtime_there(void) {
    return atomic_load_explicit(&ebb__runtime, memory_order_acquire) != NULL;
}

/* Its functions, if there are any. stopping: outside every lock, before the world is
 * stopped; roots, visit, marked: in a stop; stopped: outside every lock. */
EBB__SHARED void ebb__runtime_stopping(void);
EBB__SHARED void ebb__runtime_roots(void);
EBB__SHARED void ebb__runtime_visit(void (*visit)(uintptr_t word, void *arg), void *arg);
EBB__SHARED void ebb__runtime_marked(bool finalizers);
EBB__SHARED void ebb__runtime_stopped(void);

/* A traced object was marked in the last stop; or before, when hints have begun. Any marker. */
EBB__SHARED void ebb__traced_note(uintptr_t object);
EBB__SHARED extern bool ebb__traced_begun; /* changes while nobody marks */

/* In the stop, after a run of marking: traces what was noted, and marks what that reaches. first:
 * all that is marked. */
EBB__SHARED void ebb__traced_run(bool first, mark_totals *totals);

/* In a short stop amid marking: marks what computed roots tell, and traced objects that are marked
 * and were not asked before in this cycle, as far as there is time. The next run goes on from
 * there. left: more than `enough` are to be asked now. wanted: there may be any. */
EBB__SHARED void ebb__traced_hints(uint64_t until);
EBB__SHARED bool ebb__traced_left(size_t enough);
EBB__SHARED bool ebb__traced_wanted(void);
EBB__SHARED void ebb__traced_forked(void);

/* What a traced object refers to, to be marked, as ebb__mark_fields; or to be visited. */
EBB__SHARED void ebb__traced_fields(const span *s, uintptr_t object, bool itself);
EBB__SHARED void ebb__traced_visit(const span *s, uintptr_t object,
                                   void (*visit)(uintptr_t word, void *arg), void *arg);

/* Collections are held back. */
EBB__SHARED bool ebb__gc_held(void);

/* --- The cycle (cycle.c)
 * ---------------------------------------------------------------------------- */

enum cause { CAUSE_FORCED, CAUSE_GROWTH, CAUSE_LIMIT, CAUSE_IDLE, CAUSE_STRESS, CAUSE_COUNT };

/* What there is to say of a cycle, for traces and statistics. */
typedef struct cycle_record {
    uint64_t number;
    enum cause cause;
    bool full, beside;              /* beside the program, but for two stops; else in one */
    unsigned rounds;                /* of looking at changed pages before the last stop */
    size_t dirty_pages, dirty_last; /* of the system's size: in all, and in the last stop */
    uint64_t start_ns;              /* monotonic; what follows are lengths */
    uint64_t open_ns, mark_ns, pause_ns,
        sweep_ns; /* longest stop before the last, marking, last stop, sweeping */
    uint64_t stop_ns, look_ns, roots_ns, drain_ns; /* parts of the last stop, in this order */
    uint64_t assist_ns, wait_ns;                   /* of threads that were ahead of the schedule */
    uint64_t cpu_ns;
    size_t heap_before, heap_after, live, held, goal; /* held: of live, by roots alone */
    size_t stack_bytes, root_bytes;
    size_t freed_bytes, footprint;
    uint64_t finalizers_due;
    unsigned markers;
} cycle_record;

enum { PAUSES_KEPT = 4096 };

typedef struct cycle_state {
    uint64_t cycles, forced, cpu_ns, pause_total_ns, pause_max_ns, last_wall_ns;
    uint64_t start_ns;       /* of the library */
    _Atomic(size_t) goal;    /* relaxed: read by allocating threads */
    _Atomic(size_t) trigger; /* claimed bytes that start a cycle; relaxed */
    _Atomic(size_t) room;    /* claimed bytes that reach the goal; relaxed */
    size_t marked;           /* bytes with a mark, the old ones included: as of the last cycle */
    size_t live_full;        /* as of the last full cycle */
    uint64_t minor, assist_ns, wait_ns;
    size_t goal_passed_max;
    uint64_t arrays_trimmed, trimmed_bytes, arrays_kept_whole;
    cycle_record last;
    _Atomic(uint64_t) pauses; /* how many there were; release after the length is stored */
    _Atomic(uint64_t) pause_ns[PAUSES_KEPT]; /* the n-th at n modulo; relaxed */
} cycle_state;

EBB__SHARED extern cycle_state ebb__cycle;        /* [collector lock] */
EBB__SHARED extern root_set ebb__cycle_roots;     /* [collector lock] */
EBB__SHARED extern os_ranges ebb__cycle_segments; /* [loader's lock] */
EBB__SHARED extern os_lock ebb__collector_lock, ebb__roots_lock, ebb__final_lock;
EBB__SHARED extern _Atomic(uint64_t) ebb__cycle_count; /* relaxed */

/* Makes a cycle, in the calling thread. full: all that is unreachable goes, not only the young. */
EBB__SHARED int ebb__collect(enum cause cause, bool full);

/* The same because the heap has grown, unless one was made since there were so many. */
EBB__SHARED int ebb__collect_due(uint64_t made);

/* Has the collector's thread make a cycle, unless one was made since there were so many. */
EBB__SHARED void ebb__cycle_ask(uint64_t made);

enum phase {
    PHASE_IDLE,
    PHASE_BEGIN,
    PHASE_MARK,
    PHASE_CALL,   /* marking rests: a thread of the program is wanted for a short stop */
    PHASE_CALLED, /* one makes it */
    PHASE_READY,
    PHASE_SWEEP
};
EBB__SHARED enum phase ebb__cycle_phase(void);

/* The cycle waits for a thread of the program, because of the runtime's functions. */
EBB__SHARED bool ebb__cycle_calls(void);

/* Brackets what may wait for the loader's lock, so that no fork falls into it. try: false, and no
 * leave, while one is under way. */
EBB__SHARED void ebb__loader_enter(void);
EBB__SHARED bool ebb__loader_try(void);
EBB__SHARED void ebb__loader_leave(void);

/* Waits a little for a cycle to begin. */
EBB__SHARED bool ebb__cycle_await(void);

/* Waits a little for the cycle that is under way to go on, helping with it. sp: see
 * ebb__os_with_registers. Returns the nanoseconds that it slept. */
EBB__SHARED uint64_t ebb__cycle_help(uintptr_t sp);

/* --- Pacing (pace.c)
 * ------------------------------------------------------------------------------------ */

/* The next goal and trigger. [collector lock] */
EBB__SHARED void ebb__pace_set(size_t live);

/* In the child of a fork: what it has counts as live. Most children end soon, and a cycle there has
 * all in one stop, and copies pages that are shared. Once: not in a child of such a child. */
EBB__SHARED void ebb__pace_forked(void);
EBB__SHARED void ebb__pace_put_off(void);
EBB__SHARED void ebb__pace_swept(void); /* after the sweep */

/* No more than bytes are claimed from here to the end of the cycle, but for a run a millisecond of
 * each thread. */
EBB__SHARED void ebb__pace_close(size_t bytes);

/* What the goal is made of, if `live` bytes stay: bytes that may come on top. */
typedef struct goal_parts {
    int percent;        /* -1: off */
    size_t live, roots; /* what the percentage is of */
    size_t passed;      /* of live, what came since the last full cycle: see by_percent in pace.c */
    size_t by_percent, by_least, by_limit; /* the larger of the first two, but no more than the
                                            * third; SIZE_MAX for no limit */
} goal_parts;
EBB__SHARED void ebb__pace_parts(size_t live, goal_parts *parts); /* [collector lock] */

/* Whether the next cycle has to be full; and whether it is small enough for one stop. */
EBB__SHARED bool ebb__pace_full(void);
EBB__SHARED bool ebb__pace_small(void);
EBB__SHARED void ebb__pace_begin(const cycle_record *r); /* marking begins */
EBB__SHARED void ebb__pace_end(cycle_record *r);         /* in the last stop; fills in */

EBB__SHARED bool ebb__pace_claim(size_t bytes);
EBB__SHARED bool ebb__pace_exhausted(size_t bytes, unsigned attempt);

/* Calls fn(roots, arg) with the world stopped; roots is what a cycle would search now. The
 * collector's own threads may be marking meanwhile. */
EBB__SHARED int ebb__with_world_stopped(void (*fn)(const root_set *roots, void *arg), void *arg);

/* --- The background (service.c)
 * ---------------------------------------------------------------------- */

EBB__SHARED void ebb__service_wake(void);   /* if it was started; also from a signal's handler */
EBB__SHARED void ebb__service_need(void);   /* there is or may be something to do: starts it */
EBB__SHARED void ebb__service_notice(void); /* the same, but within a second will do */
EBB__SHARED void ebb__service_forked(void);

/* How it stands with giving pages back. [world stopped] */
typedef struct service_look {
    bool started; /* there is a background thread */
    bool settled; /* the idle collection was made, and nothing allocated since */
    unsigned quiet_seconds, idle_seconds; /* counted so far; of idle_seconds, 0: never */
    size_t keep_bytes, used_bytes;        /* free pages that are kept for the goal; heap in use */
    uint64_t age_ns, rest_ns;             /* of pages that go back; between looks while settled */
} service_look;
EBB__SHARED void ebb__service_look(service_look *look);

/* --- Checks (verify.c) [world stopped]
 * ---------------------------------------------------------------- */

/* Aborts with a message if anything in the heap's structures contradicts anything else. marked:
 * between marking and sweeping, where every typed reference of a marked object must be marked. */
EBB__SHARED void ebb__heap_verify(bool marked);

/* Aborts if anything that is reached from the roots has no mark (checkmark.c); and how many cycles
 * were so verified, relaxed. */
EBB__SHARED void ebb__checkmark(const cycle_record *cycle, const root_set *roots);
EBB__SHARED void ebb__checkmark_start(void);
EBB__SHARED extern _Atomic(uint64_t) ebb__checkmark_cycles;

/* Pages of [start, end), or of a list, begin to be noted; or were reported and begin anew
 * (oracle.c). */
EBB__SHARED void ebb__oracle_note(uintptr_t start, uintptr_t end);
EBB__SHARED void ebb__oracle_note_all(const os_ranges *list);
/* Aborts if a page of the first two lists changed that is not in the third. */
EBB__SHARED void ebb__oracle_check(const os_ranges *armed, const os_ranges *large,
                                   const os_ranges *changed);

/* --- Upwards: defined by src/observe
 * ------------------------------------------------------------------ */

struct gc_hooks {
    void (*started)(void); /* once, outside every lock */

    void (*begun)(const cycle_record *record); /* by the owner; number, cause, full are known */

    /* In the stop that ends a cycle, when its epoch has begun: what lives is known, the record is
     * whole but for the times. */
    void (*marked)(const cycle_record *record);

    void (*cycle_end)(const cycle_record *record); /* world resumed, collector lock held */
    void (*tick)(void); /* by the service, outside every lock: after cycles, and now and then */
};

EBB__SHARED extern const struct gc_hooks ebb__gc_hooks;

#endif
