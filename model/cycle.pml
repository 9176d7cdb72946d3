/* cycle.pml - the protocol of a concurrent collection, for Spin. docs/testing.md, "The model".
 *
 * A program loads, stores, drops and allocates, markers read slots one by one, the collector goes
 * through its cycles, full and minor in any order, for ever; every interleaving is looked at.
 * What must hold: nothing reachable is freed (`sweep`) and nothing freed is touched (`touch`);
 * nobody waits for ever, and every cycle ends (no deadlock, no cycle without progress); with
 * PRECISE, what cannot be reached when a full cycle begins is free when it ends.
 *
 *   here                               there
 *   Collector                          src/gc/cycle.c
 *   arm, harvest                       src/gc/cycle.c: protect; read and protect in one step
 *   rescan, mark, scan, Marker         src/gc/mark.c: dirty pages; packets of words; slots
 *   world_stop, world_resume, section  src/gc/world.c, and critical sections in src/heap/thread.h
 *   claim, Allocations, sweep          src/heap/span.c: a claimed run; a span's bitmaps
 *   written                            the kernel's flag a page: it may be written to
 *
 * What is made simple, and why it loses nothing:
 * - Roots are a set: registers, stacks and static data of all threads, of which only matters what
 *   they refer to. So a thread is no more than where it is within a store or an allocation, and
 *   there is one process for each kind of step instead of one for each thread. To move a
 *   reference from root to root changes nothing, to overwrite one is to drop it.
 * - The markers' packets are sets, from which any member may come next: that is any number of
 *   markers in any order. A round of pre-cleaning is a harvest of any page at any time, and the
 *   final stop may come before anything is drained.
 * - A store and the note of it are one step. In the kernel they are two: the fault makes the page
 *   writable, which is the note, and then the write is tried again; but it goes through only while
 *   the page still is writable, or else it faults again, and a harvest does not return before
 *   no processor holds the old translation. FAULTS has it in these steps.
 * - A page is a span. Sweeping a span and claiming in it exclude each other by a lock, and marks are
 *   cleared when nobody else uses them: one step each. Memory is zero when it is handed out;
 *   that zeroing writes to its page too is left out, since it could only help.
 *
 * Sizes are OBJECTS with SLOTS each, spread over PAGES, and how many threads may be within an
 * allocation at once (ALLOCATORS). With BORN_BLACK, objects born during marking are born marked.
 * These macros break the protocol where they are named, and Spin must refute each:
 *
 *   SCAN_BEFORE_ARM  BLACK_BEFORE_ARM  HARVEST_LATE_ARM  NO_LAST_HARVEST  HINTS_ONLY
 *   BLACK_LATE       TORN_STORE        SWEEP_RACE        NO_SECTION */

#ifndef OBJECTS
#define OBJECTS 3
#endif
#ifndef SLOTS
#define SLOTS 1
#endif
#ifndef PAGES
#define PAGES 2
#endif
#ifndef ALLOCATORS
#define ALLOCATORS 1
#endif

/* Objects are numbers from 1, and 0 is the null reference; slots and pages are numbers from 0.
 * A set of any of them is a number whose bits are its members. */
#define bit(n) (1 << (n))
#define has(set, n) ((set) >> (n) & 1)
#define with(set, n) ((set) | bit(n))
#define without(set, n) ((set) & ~bit(n))
#define objects_all (bit(OBJECTS + 1) - 2)
#define pages_all (bit(PAGES) - 1)
#define slots_count (OBJECTS * SLOTS)

#define slot_at(object, i) (((object) - 1) * SLOTS + (i))
#define slots_of(object) ((bit(SLOTS) - 1) << slot_at(object, 0))
#define owner_of(s) ((s) / SLOTS + 1)
#define page_of(object) (((object) - 1) % PAGES)

/* --- The heap --- */

byte roots;     /* objects that a register, a stack or static data refers to */
byte slots[slots_count];
byte allocated; /* objects */
byte marked;    /* objects, a subset of allocated; kept from cycle to cycle */
byte written = pages_all; /* pages stored to since they were armed, or never armed */
byte unswept;   /* pages that the last cycle has still to sweep */

/* --- The cycle --- */

bool marking;    /* from the opening stop to the final one; changes only with the world stopped */
bool stopping;   /* mutators pause where they are, or when they leave their section */
byte section;    /* mutators within an allocation */
byte to_rescan;  /* harvested pages */
byte to_mark;    /* words that refer to objects */
short to_scan;   /* slots of marked objects */
#ifdef BLACK_LATE
byte late;       /* objects handed out, whose mark has not arrived in memory */
#endif
#ifdef PRECISE
byte doomed;     /* objects that were unreachable when the full cycle began */
#endif

/* Scratch of single steps: no part of the state. */
hidden byte k, turn, reachable, dead;

/* n becomes any member of the set, which is not empty. */
inline any_of(n, set) {
    n = 0;
    do
    :: has(set, n) -> break
    :: (set) >> (n + 1) -> n++
    od
}

/* --- What the collector does in single steps --- */

inline arm(page) {
    written = without(written, page);
}

inline harvest(page) {
    to_rescan = to_rescan | (written & bit(page));
    written = without(written, page);
}

/* A reference joins a set, if it is not null. */
inline join(set, reference) {
    set = without(with(set, reference), 0)
}

/* Each marked object on a harvested page is scanned again. */
inline rescan(page) {
    to_rescan = without(to_rescan, page);
    for (k : 1 .. OBJECTS) {
        if
        :: page_of(k) == page && has(marked, k) -> to_scan = to_scan | slots_of(k)
        :: else
        fi
    }
}

inline mark(object) {
    to_mark = without(to_mark, object);
    if
    :: has(allocated, object) && !has(marked, object) ->
        marked = with(marked, object);
        to_scan = to_scan | slots_of(object)
    :: else
    fi
}

/* Marks are never taken back while there is marking, so a word to a marked object may be dropped
 * at once. */
inline push(words) {
    to_mark = without((to_mark | (words)) & ~marked, 0)
}

inline scan(s) {
    to_scan = without(to_scan, s);
    push(bit(slots[s]))
}

/* With the world stopped: until nothing is left, in whatever order. */
inline drain() {
    for (turn : 0 .. PAGES - 1) {
        if
        :: has(to_rescan, turn) -> rescan(turn)
        :: else
        fi
    }
    do
    :: to_mark || to_scan ->
        for (turn : 1 .. OBJECTS) {
            if
            :: has(to_mark, turn) -> mark(turn)
            :: else
            fi
        }
        for (turn : 0 .. slots_count - 1) {
            if
            :: has(to_scan, turn) -> scan(turn)
            :: else
            fi
        }
    :: else -> break
    od
}

/* What a program can still get at, found apart from all marks. */
inline reach() {
    reachable = roots;
    for (turn : 1 .. OBJECTS) {
        for (k : 0 .. slots_count - 1) {
            if
            :: has(reachable, owner_of(k)) -> join(reachable, slots[k])
            :: else
            fi
        }
    }
}

/* What is allocated and not marked is free. Slots of free objects are null, being so when next
 * handed out. */
inline sweep(page) {
    unswept = without(unswept, page);
    dead = 0;
    for (k : 1 .. OBJECTS) {
        if
        :: page_of(k) == page && has(allocated & ~marked, k) -> dead = with(dead, k)
        :: else
        fi
    }
    if
    :: dead -> reach(); assert(!(dead & reachable))
    :: else
    fi;
    allocated = allocated & ~dead;
    for (k : 0 .. slots_count - 1) {
        if
        :: has(dead, owner_of(k)) -> slots[k] = 0
        :: else
        fi
    }
#ifdef PRECISE
    doomed = doomed & ~dead;
#endif
}

/* Stores and marks of all threads have arrived when they have stopped. */
inline world_stop() {
    stopping = true;
#ifndef NO_SECTION /* else: threads are stopped within an allocation too */
    section == 0;
#endif
#ifdef BLACK_LATE
    marked = marked | late;
    late = 0
#endif
}

inline world_resume() {
    stopping = false
}

/* --- The program: what all mutators do, by what they do --- */

inline touch(object) {
    assert(has(allocated, object))
}

active proctype Loads_and_drops() {
    byte a, i;
    do
    :: atomic {
        !stopping && roots -> any_of(a, roots);
        if
        :: touch(a); any_of(i, bit(SLOTS) - 1); join(roots, slots[slot_at(a, i)])
        :: roots = without(roots, a)
        fi;
        a = 0; i = 0
    }
#ifdef BLACK_LATE
    :: d_step { late -> marked = marked | late; late = 0 }
#endif
    od
}

/* a->slots[i] = b, in two parts. */
inline note() {
    written = with(written, page_of(a))
}

inline write() {
    touch(a);
    slots[slot_at(a, i)] = b
}

#define noted has(written, page_of(a))
#define held (has(roots, a) && has(with(roots, 0), b))

active proctype Stores() {
    byte a, b, i;
    do
    :: atomic {
        !stopping && roots -> any_of(a, roots);
        any_of(b, with(roots, 0));
        any_of(i, bit(SLOTS) - 1);
#ifdef FAULTS
    }
        do
        :: d_step { !stopping && held && !noted -> note() }
        :: atomic { !stopping && held && noted -> write(); break }
        :: !held -> break
        od;
        atomic {
#endif
#ifdef TORN_STORE /* else: a write goes through only while the note is there */
        note()
    }
        atomic {
            !stopping;
            if
            :: held -> write()
            :: else
            fi;
#endif
#if !defined FAULTS && !defined TORN_STORE
        note();
        write();
#endif
        a = 0; b = 0; i = 0
    }
    od
}

/* The first free object of the page, if there is one; a section begins. */
inline claim() {
#ifndef SWEEP_RACE /* else: from an unswept span as it is */
    if
    :: has(unswept, page) -> sweep(page)
    :: else
    fi;
#endif
    for (k : 1 .. OBJECTS) {
        if
        :: page_of(k) == page && !has(allocated, k) && !object -> object = k
        :: else
        fi
    }
    if
    :: object -> allocated = with(allocated, object); section++
    :: else
    fi
}

/* During marking an object is born black, if objects are. */
inline birth_mark(marks) {
    if
    :: marking -> marks = with(marks, object); push(0)
    :: else
    fi
}

active [ALLOCATORS] proctype Allocations() {
    byte page, object;
again:
    do
    :: atomic {
        !stopping -> any_of(page, pages_all);
        skip; /* Spin lets no loop end at a d_step */
        d_step { claim(); page = 0 }
        if
        :: object
        :: else -> goto again
        fi
    }
#if defined BORN_BLACK && !defined BLACK_LATE
        d_step { birth_mark(marked) }
#endif
        d_step {
            join(roots, object);
#ifdef BLACK_LATE /* else: the mark is there before anybody can have the address */
            birth_mark(late);
#endif
            section--; object = 0
        }
    od
}

/* --- The collector --- */

active proctype Marker() {
    byte n;
end:
    do
    :: atomic { marking && to_rescan -> any_of(n, to_rescan); d_step { rescan(n); n = 0 } }
    :: atomic { marking && to_mark -> any_of(n, to_mark); d_step { mark(n); n = 0 } }
    :: atomic { marking && to_scan -> any_of(n, to_scan); d_step { scan(n); n = 0 } }
    od
}

#define each_page(step) \
    do \
    :: atomic { \
        step; \
        p = (p + 1) % PAGES; \
        if \
        :: p == 0 -> break \
        :: else \
        fi \
    } \
    od

/* All threads are synchronised; where their stacks point is worth marking early, no more. */
inline opening_stop() {
    atomic {
        world_stop();
        marking = true;
        push(roots);
        world_resume()
    }
}

/* A full cycle forgets all marks, and arms every page before anything is scanned. (The collector
 * arms some of them only when something there is marked, and scans that again after: that is left
 * out.) */
inline begin_full() {
    d_step {
        marked = 0;
#ifdef PRECISE
        reach();
        doomed = (section -> 0 : allocated & ~reachable); /* not what is being handed out */
#endif
#ifdef BLACK_BEFORE_ARM /* else: from the opening stop */
        marking = true;
#endif
    }
#ifdef SCAN_BEFORE_ARM /* else: the other way round */
    opening_stop();
    each_page(arm(p))
#else
    each_page(arm(p));
    opening_stop()
#endif
}

/* A minor cycle keeps them: what they do not cover hangs on roots and on pages written since. */
inline begin_minor() {
    each_page(harvest(p));
    opening_stop()
}

/* Harvests as often as it likes, beside the program. The number is bounded in C, so that staying
 * here is no want of progress. */
inline preclean() {
progress_preclean:
    do
#ifndef HARVEST_LATE_ARM /* else: armed when the scan is done */
    :: atomic { written -> any_of(p, written); d_step { harvest(p); p = 0 } }
#else
    :: atomic { written -> any_of(p, written); to_rescan = with(to_rescan, p) };
       !to_rescan && !to_mark && !to_scan;
       d_step { arm(p); p = 0 }
#endif
    :: break
    od
}

/* Last harvest, all roots, drain: then all that is reachable is marked. */
inline final_stop() {
    atomic {
        world_stop();
#ifndef NO_LAST_HARVEST
        d_step {
            for (turn : 0 .. PAGES - 1) {
                harvest(turn)
            }
        }
#endif
#ifndef HINTS_ONLY /* else: the roots of the opening stop must do */
        push(roots);
#endif
        d_step { drain() }
        marking = false;
        unswept = pages_all;
        world_resume()
    }
}

/* Beside the program, which sweeps what it allocates from. */
inline sweep_all() {
    do
    :: atomic {
        unswept -> any_of(p, unswept);
        d_step { sweep(p); p = 0 }
    }
    :: else -> break
    od
}

active proctype Collector() {
    byte p;
progress_cycle:
    do
    :: if
       :: begin_full()
       :: begin_minor()
       fi;
       preclean();
       final_stop();
       sweep_all();
#ifdef PRECISE
       assert(!doomed)
#endif
    od
}
