/* debug.c - GC_debug_…: objects that know where they were allocated and notice overwriting.
 *
 *     base    | file | line | size | mark | what the program sees, size bytes | mark | slack
 *
 * The marks are checked when an object is freed or resized and, by the layout's tracer, for every
 * reachable object in each cycle; what was found in the stop is printed after it.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "shim.h"

#include <string.h>

typedef struct debug_header {
    const char *file; /* the program's */
    uintptr_t line;
    size_t size;
    uintptr_t mark; /* 0 until the rest is there */
} debug_header;

#define DEBUG_MARK    ((uintptr_t)0xebb0dec0debb0dec)
#define DEBUG_FREED   ((uintptr_t)0xebb0dead0ebbdead)
#define DEBUG_AROUND  (sizeof(debug_header) + sizeof(uintptr_t))
#define DEBUG_MAX     ((size_t)1 << 46)
#define DEBUG_UNKNOWN "unknown"

const size_t GC_debug_header_size = sizeof(debug_header);

size_t GC_get_debug_header_size(void) {
    return sizeof(debug_header);
}

/* --- Marks --------------------------------------------------------------------------------------
 */

enum debug_state { DEBUG_WHOLE, DEBUG_UNMADE, DEBUG_NONE, DEBUG_WAS_FREED, DEBUG_SMASHED };

static uintptr_t debug_mark_at(const void *at) {
    return DEBUG_MARK ^ (uintptr_t)at;
}

static void debug_finish(debug_header *header, size_t size, const char *file, int line) {
    header->file = file ? file : DEBUG_UNKNOWN;
    header->line = (uintptr_t)line;
    header->size = size;
    char *end = (char *)(header + 1) + size;
    uintptr_t mark = debug_mark_at(end);
    memcpy(end, &mark, sizeof mark);
    header->mark = debug_mark_at(header);
}

/* What became of the object of size bytes at header. */
static enum debug_state debug_check(const debug_header *header, size_t size) {
    if (size < DEBUG_AROUND) return DEBUG_NONE;
    if (header->mark == (DEBUG_FREED ^ (uintptr_t)header)) return DEBUG_WAS_FREED;
    if (header->mark == 0 && header->size == 0) return DEBUG_UNMADE;
    if (header->mark != debug_mark_at(header)) return DEBUG_NONE;
    if (header->size > size - DEBUG_AROUND) return DEBUG_SMASHED;
    const char *end = (const char *)(header + 1) + header->size;
    uintptr_t mark = debug_mark_at(end);
    return memcmp(end, &mark, sizeof mark) == 0 ? DEBUG_WHOLE : DEBUG_SMASHED;
}

static void debug_print_smashed(const char *where, const debug_header *header) {
    if (header->mark == debug_mark_at(header))
        GC_err_printf("%s: overwritten beyond its end: object at %p of %zu bytes (%s:%d)\n", where,
                      (const void *)(header + 1), header->size, header->file, (int)header->line);
    else
        GC_err_printf("%s: overwritten before its start: object at %p\n", where,
                      (const void *)(header + 1));
}

/* --- Layouts ------------------------------------------------------------------------------------
 */

/* What tracers found in this stop; several may run at once. */
enum { DEBUG_FOUND_MAX = 16 };
static _Atomic(const debug_header *) debug_found[DEBUG_FOUND_MAX];
static _Atomic unsigned debug_found_count;

static void debug_trace(void *object, size_t size, ebb_marker *marker, uintptr_t has_pointers) {
    enum debug_state state = debug_check(object, size);
    if (state == DEBUG_SMASHED || state == DEBUG_NONE) {
        unsigned i = atomic_fetch_add_explicit(&debug_found_count, 1, memory_order_relaxed);
        if (i < DEBUG_FOUND_MAX)
            atomic_store_explicit(&debug_found[i], object, memory_order_relaxed);
    }
    if (has_pointers)
        ebb_mark_range(marker, (const debug_header *)object + 1, (const char *)object + size);
}

void gc__debug_stopped(void) {
    unsigned count = atomic_exchange_explicit(&debug_found_count, 0, memory_order_relaxed);
    for (unsigned i = 0; i < count && i < DEBUG_FOUND_MAX; i++) {
        const debug_header *header =
            atomic_exchange_explicit(&debug_found[i], NULL, memory_order_relaxed);
        if (header && ebb_base_of(header) == header) debug_print_smashed("GC_gcollect", header);
    }
    if (count > DEBUG_FOUND_MAX)
        GC_err_printf("GC_gcollect: %u more such objects\n", count - DEBUG_FOUND_MAX);
}

static ebb_layout *debug_layouts[GC__FIRST_KIND]; /* constant after gc__debug_init */

void gc__debug_init(void) {
    for (unsigned kind = 0; kind < GC__FIRST_KIND; kind++) {
        bool has_pointers = kind == GC__NORMAL || kind == GC__UNCOLLECTABLE;
        debug_layouts[kind] = ebb_layout_traced("debug", debug_trace, has_pointers);
        if (!debug_layouts[kind]) gc__abort("no memory to begin with");
        gc__kind_alias(debug_layouts[kind], kind);
    }
}

/* --- Allocation ---------------------------------------------------------------------------------
 */

static void *debug_alloc(size_t size, unsigned kind, const char *file, int line) {
    gc__attend();
    if (size > DEBUG_MAX) return GC_oom_fn(size);
    size_t whole = size + DEBUG_AROUND;
    debug_header *header = kind < GC__FIRST_KIND ? ebb_alloc_as(debug_layouts[kind], whole)
                                                 : gc__alloc_kind(whole, kind);
    if (!header) return GC_oom_fn(size);
    if (kind < GC__FIRST_KIND && gc__kinds[kind].is_uncollectable && !gc__keep(header))
        return GC_oom_fn(size);
    debug_finish(header, size, file, line);
    return header + 1;
}

void *GC_debug_malloc(size_t size, const char *file, int line) {
    return debug_alloc(size, GC__NORMAL, file, line);
}

void *GC_debug_malloc_ignore_off_page(size_t size, const char *file, int line) {
    return debug_alloc(size, GC__NORMAL, file, line);
}

void *GC_debug_malloc_stubborn(size_t size, const char *file, int line) {
    return debug_alloc(size, GC__NORMAL, file, line);
}

void *GC_debug_malloc_atomic(size_t size, const char *file, int line) {
    return debug_alloc(size, GC__PTRFREE, file, line);
}

void *GC_debug_malloc_atomic_ignore_off_page(size_t size, const char *file, int line) {
    return debug_alloc(size, GC__PTRFREE, file, line);
}

void *GC_debug_malloc_uncollectable(size_t size, const char *file, int line) {
    return debug_alloc(size, GC__UNCOLLECTABLE, file, line);
}

void *GC_debug_malloc_atomic_uncollectable(size_t size, const char *file, int line) {
    return debug_alloc(size, GC__AUNCOLLECTABLE, file, line);
}

void *GC_debug_generic_or_special_malloc(size_t size, int kind, const char *file, int line) {
    return debug_alloc(size, (unsigned)kind, file, line);
}

/* Its kind's mark procedure is told by its environment, 1, that there is a header. */
void *GC_debug_gcj_malloc(size_t size, void *type, const char *file, int line) {
    void **p = debug_alloc(size, (unsigned)GC_gcj_debug_kind, file, line);
    if (p) *p = type;
    return p;
}

void *GC_debug_malloc_replacement(size_t size) {
    return GC_debug_malloc(size, DEBUG_UNKNOWN, 0);
}

char *GC_debug_strndup(const char *s, size_t size, const char *file, int line) {
    size_t length = strnlen(s, size);
    char *copy = GC_debug_malloc_atomic(length + 1, file, line);
    if (copy) memcpy(copy, s, length);
    return copy;
}

char *GC_debug_strdup(const char *s, const char *file, int line) {
    return s ? GC_debug_strndup(s, strlen(s), file, line) : NULL;
}

/* --- Freeing and resizing -----------------------------------------------------------------------
 */

/* The header of p's object, which may be overwritten beyond its end; null, with a line, where p was
 * not allocated here. */
static debug_header *debug_open(const char *call, void *p) {
    debug_header *header = ebb_base_of(p);
    if (!header) {
        GC_err_printf("%s: %p is no object, or was freed before\n", call, p);
        return NULL;
    }
    enum debug_state state = debug_check(header, ebb_size_of(header));
    if (state == DEBUG_SMASHED) debug_print_smashed(call, header);
    if ((state == DEBUG_WHOLE || state == DEBUG_SMASHED) && p == (void *)(header + 1))
        return header;
    if (state == DEBUG_WAS_FREED)
        GC_err_printf("%s: %p was freed before\n", call, p);
    else
        GC_err_printf("%s: %p was not allocated for debugging, or is not its start\n", call, p);
    return NULL;
}

void GC_debug_free(void *p) {
    if (!p) return;
    debug_header *header = debug_open("GC_debug_free", p);
    if (!header) {
        if (ebb_base_of(p) == p) GC_free(p);
        return;
    }
    header->mark = DEBUG_FREED ^ (uintptr_t)header;
    GC_free(header);
}

void *GC_debug_realloc(void *p, size_t size, const char *file, int line) {
    if (!p) return GC_debug_malloc(size, file, line);
    if (size == 0) {
        GC_debug_free(p);
        return NULL;
    }
    debug_header *header = debug_open("GC_debug_realloc", p);
    if (!header) return GC_realloc(p, size);
    void *moved = debug_alloc(size, (unsigned)gc__kind_of(header), file, line);
    if (!moved) return NULL;
    memcpy(moved, p, header->size < size ? header->size : size);
    GC_debug_free(p);
    return moved;
}

void *GC_debug_realloc_replacement(void *p, size_t size) {
    return GC_debug_realloc(p, size, DEBUG_UNKNOWN, 0);
}

/* --- Stores -------------------------------------------------------------------------------------
 */

void GC_debug_change_stubborn(const void *p) {
    (void)p;
}

void GC_debug_end_stubborn_change(const void *p) {
    if (!ebb_base_of(p)) GC_err_printf("GC_debug_end_stubborn_change: %p is no object\n", p);
    GC_end_stubborn_change(p);
}

void GC_debug_ptr_store_and_dirty(void *p, const void *q) {
    void *value;
    memcpy(&value, &q, sizeof value);
    GC_ptr_store_and_dirty(GC_is_visible(p), GC_is_valid_displacement(value));
}

/* --- Finalizers ---------------------------------------------------------------------------------
 */

/* The program's function wants the object without its header. */
typedef struct debug_closure {
    GC_finalization_proc fn;
    void *arg;
} debug_closure;

static void debug_finalize(void *base, void *closure_arg) {
    const debug_closure *closure = closure_arg;
    closure->fn((debug_header *)base + 1, closure->arg);
}

typedef void (*debug_registrar)(void *, GC_finalization_proc, void *, GC_finalization_proc *,
                                void **);

static void debug_register(debug_registrar registrar, void *p, const debug_closure *now,
                           GC_finalization_proc *old_fn, void **old_arg) {
    debug_closure before = {NULL, NULL};
    debug_header *header = ebb_base_of(p);
    if (header && p != (void *)(header + 1))
        GC_err_printf("GC_debug_register_finalizer: %p is not the start of an object\n", p);
    debug_closure *closure = NULL;
    if (header && now->fn) {
        closure = GC_malloc(sizeof *closure);
        if (!closure) return;
        *closure = *now;
    }
    if (header)
        registrar(header, closure ? debug_finalize : NULL, closure, &before.fn, &before.arg);
    if (before.fn == debug_finalize) before = *(const debug_closure *)before.arg;
    if (old_fn) *old_fn = before.fn;
    if (old_arg) *old_arg = before.arg;
}

void GC_debug_register_finalizer(void *p, GC_finalization_proc fn, void *arg,
                                 GC_finalization_proc *old_fn, void **old_arg) {
    const debug_closure now = {fn, arg};
    debug_register(GC_register_finalizer, p, &now, old_fn, old_arg);
}

void GC_debug_register_finalizer_ignore_self(void *p, GC_finalization_proc fn, void *arg,
                                             GC_finalization_proc *old_fn, void **old_arg) {
    const debug_closure now = {fn, arg};
    debug_register(GC_register_finalizer_ignore_self, p, &now, old_fn, old_arg);
}

void GC_debug_register_finalizer_no_order(void *p, GC_finalization_proc fn, void *arg,
                                          GC_finalization_proc *old_fn, void **old_arg) {
    const debug_closure now = {fn, arg};
    debug_register(GC_register_finalizer_no_order, p, &now, old_fn, old_arg);
}

void GC_debug_register_finalizer_unreachable(void *p, GC_finalization_proc fn, void *arg,
                                             GC_finalization_proc *old_fn, void **old_arg) {
    const debug_closure now = {fn, arg};
    debug_register(GC_register_finalizer_unreachable, p, &now, old_fn, old_arg);
}
