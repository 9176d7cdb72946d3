/* shim.h - what the files of libgc.so.1 share.
 *
 * The library gives programs the interface of the Boehm-Demers-Weiser collector and does the work
 * by Ebb's public headers alone: README.md beside this file lists every name. Names that begin with
 * gc__ cross the files here and are not exported; names that begin with GC_ are what programs call.
 *
 * Locks, outermost first: the allocation lock (gc__lock), the table of uncollectable objects,
 * Ebb's. Who holds the allocation lock keeps the world from stopping, so it is never held across an
 * allocation; the tables that a stop reads (links, toggle refs, roots) change under it only. */
#ifndef GC__SHIM_H
#define GC__SHIM_H

#ifndef GC_THREADS
# define GC_THREADS 1
#endif
#ifndef GC_NO_THREAD_REDIRECTS
# define GC_NO_THREAD_REDIRECTS 1
#endif
/* Variables are written here, and may be named without a warning. */
#ifndef GC_BUILD
# define GC_BUILD 1
#endif

#include <ebb/ebb.h>
#include <ebb/runtime.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)
#include <gc.h>
#include <gc/gc_disclaim.h>
#include <gc/gc_gcj.h>
#include <gc/gc_inline.h>
#include <gc/gc_mark.h>
#include <gc/gc_typed.h>
#include <gc/javaxfc.h>

/* Exported, though no header declares them: what other headers of programs do by hand. */
extern void **const GC_objfreelist_ptr;
extern void **const GC_aobjfreelist_ptr;
extern void **const GC_uobjfreelist_ptr;
extern void **const GC_auobjfreelist_ptr;
void GC_incr_bytes_allocd(size_t bytes);
void GC_incr_bytes_freed(size_t bytes);
void GC_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void GC_err_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void GC_log_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
#pragma GCC visibility pop

/* --- What every call that allocates looks at ------------------------------------------------- */

/* init.c. Bits, all clear in the steady state; relaxed: what is set late is seen at a later call.
 */
enum {
    GC__UNBORN = 1, /* GC_init was not called yet; set from the start */
    GC__DUE = 2     /* finalizers wait, and are not only run on demand */
};
extern _Atomic unsigned gc__attention;

/* Initializes, or runs the finalizers that are due unless this thread holds the allocation lock or
 * is in a finalizer. Errno is kept. */
void gc__attend_now(void);

/* At the start of every call that allocates, and of others that need the library initialized. */
static inline __attribute__((always_inline)) void gc__attend(void) {
    if (__builtin_expect(atomic_load_explicit(&gc__attention, memory_order_relaxed) != 0, 0))
        gc__attend_now();
}

/* --- Errors and messages (report.c) ---------------------------------------------------------- */

/* By the program's GC_warn_proc. format has one conversion for a GC_word at most, and no newline.
 */
void gc__warn(const char *format, GC_word arg);

/* By the program's abort function, then abort(). */
_Noreturn void gc__abort(const char *message);

/* For a call that cannot make sense here: a line on standard error that names it, then as above. */
_Noreturn void gc__fail_loudly(const char *call, const char *why);

/* --- The allocation lock (threads.c) --------------------------------------------------------- */

/* GC_alloc_lock's; the thread that has it may take it again. While it is held the world does not
 * stop: allocate nothing, and hold it for a few instructions. */
void gc__lock(void);
void gc__unlock(void);
bool gc__lock_is_mine(void);

/* --- Kinds (kinds.c) ------------------------------------------------------------------------- */

/* The numbers that programs know. */
enum {
    GC__PTRFREE,
    GC__NORMAL,
    GC__UNCOLLECTABLE,
    GC__AUNCOLLECTABLE,
    GC__FIRST_KIND, /* the first that GC_new_kind may give */
    GC__MAX_KINDS = 64,
    GC__TYPED = GC__MAX_KINDS - 1
};

/* layout is null until the kind was made, and for ever constant then. */
typedef struct gc__kind {
    _Atomic(ebb_layout *) layout; /* release after all of the rest; acquired by who allocates */
    GC_word descriptor;           /* as GC_new_kind was told */
    bool adds_size;
    bool is_uncollectable;
    _Atomic(GC_describe_type_fn) describe; /* null: none */
    _Atomic(GC_disclaim_proc) disclaim;    /* null: none */
} gc__kind;
extern gc__kind gc__kinds[GC__MAX_KINDS];

/* Makes the kinds that there always are, and what the other files need. Once, from GC_init. */
void gc__kinds_init(void);
void gc__typed_init(void);
void gc__debug_init(void);

/* Tells that objects of a layout count as of a kind; false when there are too many such layouts.
 * Under the allocation lock, or while GC_init runs. */
bool gc__kind_alias(ebb_layout *layout, unsigned kind);

/* The kind of the object that p points into; -1 for no object. */
int gc__kind_of(const void *p);

/* A new object of a kind, zeroed, aligned to 16; what GC_oom_fn gives without memory. */
void *gc__alloc_kind(size_t size, unsigned kind);

/* The bytes of p's slot, of which Ebb keeps one to tell ends apart: programs may use it too. 0 for
 * no object. */
static inline size_t gc__slot_size(const void *p) {
    return (ebb_size_of(p) + 15) & ~(size_t)15;
}

/* Who marks now in this thread; null outside of hooks and mark procedures. GC_push_all and its like
 * mark by it. Hooks set it, and put back what was there. */
extern _Thread_local ebb_marker *gc__marker __attribute__((tls_model("initial-exec")));

/* Makes proc the mark procedure of a number. typed.c has the first that is not reserved. */
enum { GC__TYPED_PROC = GC_RESERVED_MARK_PROCS };
void gc__proc_set(unsigned number, GC_mark_proc proc);

/* Calls the mark procedure, or does what else the descriptor says, for the size bytes at object. */
void gc__trace(void *object, size_t size, ebb_marker *marker, GC_word descriptor);

/* --- Uncollectable objects (keep.c) ---------------------------------------------------------- */

/* Keeps object until it is released; false without memory, or when it was not kept. */
bool gc__keep(void *object);
bool gc__release(void *object);

/* Whether gc__release has to be asked when object goes. */
bool gc__may_be_kept(const void *object);

/* The bytes that are kept so: GC_non_gc_bytes's part that is not the program's. */
GC_word gc__kept_bytes(void);
void gc__keep_init(void);

/* alloc.c. What GC_free and GC_realloc released since the start, in bytes; may be a little behind.
 */
GC_word gc__freed_bytes(void);

/* Whether `marked` is running: init.c's hook sets and clears it, GC_is_marked asks. */
extern bool gc__knows_marks;

/* --- Turns of a cycle, called by init.c's hooks ---------------------------------------------- */

/* debug.c: reports the objects that the cycle found overwritten. In `stopped`. */
void gc__debug_stopped(void);

#endif
