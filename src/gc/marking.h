/* marking.h - the parts of the collector that find out what lives, as they see each other: threads,
 * tracing, extents, written pages; and sweeping what does not. docs/design.md, "Marking" to
 * "Sweeping". Included by collector.h. */
#ifndef EBB_MARKING_H
#define EBB_MARKING_H

#include "../heap/bins.h"
#include "../os/threads.h"

/* --- The crew (crew.c)
 * ------------------------------------------------------------------------------ */

/* Makes the threads, before the loader's lock is taken. */
EBB__SHARED void ebb__crew_start(void);
EBB__SHARED void ebb__crew_forked(void);

/* How many do a job that at most `most` may do, the caller included; 0: all there are. */
EBB__SHARED unsigned ebb__crew_size(unsigned most);

/* Runs fn on as many threads, fn(true) in the caller: each takes pieces until there are none.
 * Returns when all that began have ended; who has not begun when the caller has ended does not.
 * [owner of the cycle] */
EBB__SHARED void ebb__crew_run(void (*fn)(bool giver), unsigned most);

/* The number of the next piece of the job: 0, 1, 2 ... */
EBB__SHARED uint32_t ebb__crew_take(void);

/* CPU time that others spent for the cycle: adds; and takes what was added. */
EBB__SHARED void ebb__crew_charge(uint64_t cpu_ns);
EBB__SHARED uint64_t ebb__crew_charged(void);

/* --- Marking (mark.c)
 * ------------------------------------------------------------------------------ */

typedef struct mark_totals {
    uint64_t bytes, objects; /* found reachable */
    uint64_t cpu_ns;
} mark_totals;

EBB__SHARED void ebb__mark_forked(void);

/* Whether the program runs while ebb__mark_run does, from now on. */
EBB__SHARED void ebb__mark_beside(bool beside);

/* Clears all marks. */
EBB__SHARED void ebb__mark_forget(unsigned most);

/* Marks all that is reached from the words in `roots`, the marked objects in `changed` (either may
 * be null), and the words given to ebb__mark_word; on at most `most` threads, 0 for all there are.
 * Adds to totals->cpu_ns. */
EBB__SHARED void ebb__mark_run(const os_ranges *roots, const os_ranges *changed, unsigned most,
                               mark_totals *totals);

/* What was marked since the last call. */
EBB__SHARED void ebb__mark_totals(mark_totals *totals);

/* Bytes marked so far, for the schedule; a little behind. */
EBB__SHARED uint64_t ebb__mark_progress(void);

/* The calling thread looks at so many words for whoever is marking. False: found nothing to do. */
EBB__SHARED bool ebb__mark_help(void);

/* Has the words in [start, end) looked at by the next run; the memory may be gone meanwhile. False:
 * not all of it is there. */
EBB__SHARED bool ebb__mark_hints(uintptr_t start, uintptr_t end);

/* Marks the object that a word points into, if it does; its fields are scanned by the next run. */
EBB__SHARED void ebb__mark_word(uintptr_t word);

/* Scans the object that starts at p as if it had been marked, without marking it, on the next run;
 * its own references to itself are passed over, unless they count too. */
EBB__SHARED void ebb__mark_fields(uintptr_t p, bool itself);

/* The same for a word of a root: see root_holds in mark.c. */
EBB__SHARED void ebb__mark_root(uintptr_t word);

/* Whether a word points into a heap object that is not marked. */
EBB__SHARED bool ebb__mark_is_dead(uintptr_t word);

/* Whether it has a mark, which minor cycles leave it; true for what is outside the heap. Not dead
 * and not old are arrays that only roots hold. */
EBB__SHARED bool ebb__mark_is_old(uintptr_t word);

/* The w-th word of the bits of a span's objects that are kept: marked, or held by roots. */
EBB__SHARED uint64_t ebb__mark_kept(const span *s, uint32_t w);

/* In a stop, when the epoch has changed: large objects that only roots hold stay young and alive.
 * Returns their bytes. */
EBB__SHARED size_t ebb__mark_held(void);

/* In a stop, after marking: takes from threads the spans in which nothing lives. */
EBB__SHARED void ebb__mark_drop_empty(void);

/* --- Arrays that slices keep in part (extent.c)
 * --------------------------------------------------- */

/* What a slice field reaches. */
typedef struct slice_reach {
    uintptr_t ptr;
    size_t count, element;
} slice_reach;

/* The program may change a slice meanwhile; then it is looked at again. */
__attribute__((no_sanitize("thread"), unused)) static slice_reach slice_load(uintptr_t element,
                                                                             const slice_field *f) {
    return (slice_reach){__atomic_load_n((uintptr_t *)(element + f->offset), __ATOMIC_RELAXED),
                         __atomic_load_n((size_t *)(element + f->count_offset), __ATOMIC_RELAXED),
                         f->element};
}

/* A full cycle marks: slice fields are no pointers. Changes while nobody marks. */
EBB__SHARED extern bool ebb__extents_on;

EBB__SHARED void ebb__extents_begin(void); /* all marks were cleared */
EBB__SHARED void ebb__extents_end(void);   /* gives memory back [owner of the cycle] */
EBB__SHARED void ebb__extents_forked(void);

/* What a marker has to do for a field: mark as for a pointer; count *array, of *bytes, as marked;
 * have *array scanned as ebb__extent_take says. */
enum { SLICE_PLAIN = 1, SLICE_MARKED = 2, SLICE_SCAN = 4 };
EBB__SHARED unsigned ebb__extent_see(const slice_reach *reach, bool beside, uintptr_t *array,
                                     size_t *bytes);

/* Something else refers to an array in a span with `extents`; marked: it set the array's mark. True
 * when the array has to be scanned as ebb__extent_take says. */
EBB__SHARED bool ebb__extent_whole(const span *s, uintptr_t array, bool marked);

/* The parts of an array that are to be scanned now; returns their number. */
EBB__SHARED unsigned ebb__extent_take(const span *s, uintptr_t array, os_range parts[2]);

/* Cuts a range of an array's addresses to what is kept, if it is kept in part. */
EBB__SHARED void ebb__extent_clip(const span *s, uintptr_t array, os_range *range);

/* All is marked: clears what no slice reaches. [world stopped, collector lock] */
EBB__SHARED void ebb__extents_trim(void);

/* --- Pages that were written (dirty.c) [owner of the cycle]
 * ------------------------------------------- */

EBB__SHARED void ebb__dirty_start(void);
EBB__SHARED bool ebb__dirty_in_force(void);

/* In force, or to be tried at the first cycle. */
EBB__SHARED bool ebb__dirty_wanted(void);
EBB__SHARED enum dirty_mode ebb__dirty_mode(const char **why); /* why: not the kernel's; or null */
EBB__SHARED void ebb__dirty_forked(void);

/* Before everything is marked anew: from now on writes are noted to spans that held what survived;
 * the first time, to all. False: nothing may be believed. */
EBB__SHARED bool ebb__dirty_arm_all(void);

/* All that is armed counts as written from here on, and writes to it cost no faults. For when the
 * next cycle is a full one, which arms anew: nobody asks what is written until then. */
EBB__SHARED void ebb__dirty_disarm(void);

/* Which pages with marked objects were written since the last look; they are armed again. `last`:
 * in the stop. Returns their number. */
EBB__SHARED size_t ebb__dirty_look(bool last);

/* What the last look found; null: memory was short, nothing is known. */
EBB__SHARED const os_ranges *ebb__dirty_changed(void);

/* An object of a span that is not armed was marked. beside: the program runs. */
EBB__SHARED void ebb__dirty_expose(span *s, bool beside);

/* How many pages of such spans the next look before the last will take, of each span the first. */
EBB__SHARED size_t ebb__dirty_exposed(void);

/* --- Sweeping (sweep.c)
 * --------------------------------------------------------------------------------- */

/* Ends a stop: from here on what has no mark is dead. [world stopped] */
EBB__SHARED void ebb__sweep_open(bool full);

/* Sweeps what waits; returns when nothing does. parallel: with the marking threads [owner of the
 * cycle]; else any thread may help. */
EBB__SHARED void ebb__sweep_finish(bool parallel);
EBB__SHARED void ebb__sweep_forked(void);

#endif
