/* kinds.c - kinds of objects that programs make, and how they are marked.
 *
 * A kind is one of Ebb's layouts: words or data where the descriptor says so, else a traced one,
 * whose tracer reads the descriptor or calls the program's procedure. Ebb calls tracers in stops
 * only, so what procedures see does not change under them, and memory that is not the heap's may be
 * read.
 *
 * A mark stack there is none for the program: what it is handed as one is Ebb's marker.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "shim.h"

#include <stdio.h>
#include <stdlib.h>

gc__kind gc__kinds[GC__MAX_KINDS];
_Thread_local ebb_marker *gc__marker;

/* Layouts of typed and debugged objects, and those of Ebb's own calls. Filled from the start;
 * release and acquire: the pair is whole. */
enum { KIND_ALIASES = 1024 };
typedef struct kind_alias {
    _Atomic(ebb_layout *) layout;
    int kind;
} kind_alias;
static kind_alias kind_aliases[KIND_ALIASES];
static unsigned kind_alias_count; /* under the allocation lock */
static unsigned kind_next = GC__FIRST_KIND;

/* --- Mark procedures ----------------------------------------------------------------------------
 */

/* By their numbers; those under GC_RESERVED_MARK_PROCS are GC_init_gcj_malloc's to set, the first
 * behind them is typed.c's. Release and acquire: with what the procedure needs. */
static _Atomic(GC_mark_proc) kind_procs[GC_MAX_MARK_PROCS];
static unsigned kind_proc_next = GC__TYPED_PROC + 1;

void gc__proc_set(unsigned number, GC_mark_proc proc) {
    if (number >= GC_MAX_MARK_PROCS) gc__abort("number of a mark procedure out of its range");
    atomic_store_explicit(&kind_procs[number], proc, memory_order_release);
}

unsigned GC_new_proc_inner(GC_mark_proc proc) {
    if (kind_proc_next >= GC_MAX_MARK_PROCS) gc__abort("too many mark procedures");
    gc__proc_set(kind_proc_next, proc);
    return kind_proc_next++;
}

unsigned GC_new_proc(GC_mark_proc proc) {
    gc__attend();
    gc__lock();
    unsigned number = GC_new_proc_inner(proc);
    gc__unlock();
    return number;
}

/* --- Tracing ------------------------------------------------------------------------------------
 */

/* The procedure's environment and number are in the descriptor. What it takes for the end of the
 * mark stack is never reached. */
static void kind_trace_proc(void *object, ebb_marker *marker, GC_word descriptor) {
    GC_word number = descriptor >> GC_DS_TAG_BITS & (GC_MAX_MARK_PROCS - 1);
    GC_word env = descriptor >> (GC_DS_TAG_BITS + GC_LOG_MAX_MARK_PROCS);
    GC_mark_proc proc = atomic_load_explicit(&kind_procs[number], memory_order_acquire);
    if (!proc) gc__abort("descriptor with the number of no mark procedure");
    ebb_marker *before = gc__marker;
    gc__marker = marker;
    proc(object, (struct GC_ms_entry *)marker, (struct GC_ms_entry *)UINTPTR_MAX, env);
    gc__marker = before;
}

static void kind_trace_bitmap(void *const *words, size_t size, ebb_marker *marker, GC_word bits) {
    size_t count = size / sizeof(void *);
    for (bits &= ~(GC_word)GC_DS_TAGS; bits; bits &= bits - 1) {
        size_t i = GC_WORDSZ - 1 - (size_t)__builtin_ctzl(bits);
        if (i < count) ebb_mark(marker, words[i]);
    }
}

/* The descriptor that an object holds itself, or that its first word leads to; 0 (nothing) where it
 * is not there yet. */
static GC_word kind_descriptor_in(const char *object, size_t size, GC_word descriptor) {
    GC_word at = descriptor - GC_DS_PER_OBJECT;
    if ((GC_signed_word)descriptor >= 0)
        return at + sizeof(GC_word) <= size ? *(const GC_word *)(object + at) : 0;
    const char *type = *(const char *const *)object;
    return type ? *(const GC_word *)(type - (at + GC_INDIR_PER_OBJ_BIAS)) : 0;
}

void gc__trace(void *object, size_t size, ebb_marker *marker, GC_word descriptor) {
    if ((descriptor & GC_DS_TAGS) == GC_DS_PER_OBJECT)
        descriptor = kind_descriptor_in(object, size, descriptor);
    switch (descriptor & GC_DS_TAGS) {
    case GC_DS_LENGTH:
        ebb_mark_range(marker, object, (char *)object + (descriptor < size ? descriptor : size));
        break;
    case GC_DS_BITMAP:
        kind_trace_bitmap(object, size, marker, descriptor);
        break;
    case GC_DS_PROC:
        kind_trace_proc(object, marker, descriptor);
        break;
    default:
        gc__abort("a descriptor that is found through an object leads to another such one");
    }
}

static void kind_trace(void *object, size_t size, ebb_marker *marker, uintptr_t descriptor) {
    gc__trace(object, (size + 15) & ~(size_t)15, marker, descriptor);
}

/* --- Pushing ------------------------------------------------------------------------------------
 */

struct GC_ms_entry *GC_mark_and_push(void *object, struct GC_ms_entry *top,
                                     struct GC_ms_entry *limit, void **source) {
    (void)limit, (void)source;
    ebb_mark((ebb_marker *)top, object);
    return top;
}

void GC_push_all(void *bottom, void *top) {
    uintptr_t start = ((uintptr_t)bottom + sizeof(void *) - 1) & -sizeof(void *);
    uintptr_t end = (uintptr_t)top & -sizeof(void *);
    if (!gc__marker)
        gc__fail_loudly("GC_push_all", "only for a function that pushes roots or marks");
    if (start < end) ebb_mark_range(gc__marker, (const void *)start, (const void *)end);
}

void GC_push_all_eager(void *bottom, void *top) {
    GC_push_all(bottom, top);
}

/* Roots that did not change may refer to what is young. */
void GC_push_conditional(void *bottom, void *top, int all) {
    (void)all;
    GC_push_all(bottom, top);
}

/* Ebb keeps what finalizers need by itself. */
void GC_push_finalizer_structures(void) {
}

/* --- Making kinds -------------------------------------------------------------------------------
 */

/* Free lists are Ebb's. Programs hand these to GC_new_kind, and may hang objects into them. */
enum { KIND_LISTS = 129 };
static void *kind_lists[4][KIND_LISTS];
void **const GC_objfreelist_ptr = kind_lists[0];
void **const GC_aobjfreelist_ptr = kind_lists[1];
void **const GC_uobjfreelist_ptr = kind_lists[2];
void **const GC_auobjfreelist_ptr = kind_lists[3];

void **GC_new_free_list_inner(void) {
    void **list = calloc(KIND_LISTS, sizeof(void *));
    if (!list || ebb_root_add(list, KIND_LISTS * sizeof(void *)) != 0)
        gc__abort("no memory for the free lists of a kind");
    return list;
}

void **GC_new_free_list(void) {
    gc__attend();
    return GC_new_free_list_inner();
}

void GC_print_free_list(int kind, size_t granules) {
    GC_printf("kind %d, %zu bytes: its free slots are in no list\n", kind, 16 * granules);
}

static ebb_layout *kind_layout(const char *name, GC_word descriptor, bool adds_size) {
    if ((descriptor & GC_DS_TAGS) == GC_DS_LENGTH && adds_size) return ebb_layout_words(name);
    if (descriptor == GC_DS_LENGTH) return ebb_layout_data(name);
    return ebb_layout_traced(name, kind_trace, descriptor);
}

static void kind_make(unsigned number, const char *name, GC_word descriptor, bool adds_size) {
    gc__kind *kind = &gc__kinds[number];
    kind->is_uncollectable = number == GC__UNCOLLECTABLE || number == GC__AUNCOLLECTABLE;
    ebb_layout *layout = kind_layout(name, descriptor, adds_size);
    if (!layout) gc__abort("no memory for a kind of objects");
    atomic_store_explicit(&kind->layout, layout, memory_order_release);
}

unsigned GC_new_kind_inner(void **free_list, GC_word descriptor, int adds_size, int clears) {
    (void)free_list, (void)clears; /* all memory is zero */
    if (kind_next >= GC__TYPED) gc__abort("too many kinds of objects");
    unsigned number = kind_next++;
    char name[24];
    snprintf(name, sizeof name, "kind %u", number);
    kind_make(number, name, descriptor, adds_size != 0);
    return number;
}

unsigned GC_new_kind(void **free_list, GC_word descriptor, int adds_size, int clears) {
    gc__attend();
    gc__lock();
    unsigned number = GC_new_kind_inner(free_list, descriptor, adds_size, clears);
    gc__unlock();
    return number;
}

bool gc__kind_alias(ebb_layout *layout, unsigned kind) {
    if (kind_alias_count >= KIND_ALIASES) return false;
    kind_alias *alias = &kind_aliases[kind_alias_count++];
    alias->kind = (int)kind;
    atomic_store_explicit(&alias->layout, layout, memory_order_release);
    return true;
}

void gc__kinds_init(void) {
    static const char *const names[] = {"GC_malloc_atomic", "GC_malloc", "GC_malloc_uncollectable",
                                        "GC_malloc_atomic_uncollectable"};
    for (unsigned i = 0; i < GC__FIRST_KIND; i++)
        kind_make(i, names[i], 0, i == GC__NORMAL || i == GC__UNCOLLECTABLE);
    kind_make(GC__TYPED, "typed", 0, true);
    gc__kind_alias(ebb_layout_of(ebb_alloc(16)), GC__NORMAL);
    gc__kind_alias(ebb_layout_of(ebb_alloc_data(16)), GC__PTRFREE);
    gc__keep_init();
    gc__typed_init();
    gc__debug_init();
}

/* --- Asking -------------------------------------------------------------------------------------
 */

int gc__kind_of(const void *p) {
    const ebb_layout *layout = ebb_layout_of(p);
    if (!layout) return -1;
    for (int i = 0; i < GC__MAX_KINDS; i++)
        if (atomic_load_explicit(&gc__kinds[i].layout, memory_order_acquire) == layout) return i;
    for (int i = 0; i < KIND_ALIASES; i++) {
        const kind_alias *alias = &kind_aliases[i];
        const ebb_layout *its = atomic_load_explicit(&alias->layout, memory_order_acquire);
        if (its == layout) return alias->kind;
        if (!its) break;
    }
    return -1;
}

int GC_get_kind_and_size(const void *p, size_t *size) {
    if (size) *size = gc__slot_size(p);
    return gc__kind_of(p);
}

void GC_register_describe_type_fn(int kind, GC_describe_type_fn describe) {
    if (kind < 0 || kind >= GC__MAX_KINDS) gc__abort("GC_register_describe_type_fn: no such kind");
    atomic_store_explicit(&gc__kinds[kind].describe, describe, memory_order_release);
}

void GC_register_disclaim_proc(int kind, GC_disclaim_proc proc, int marks_from_all) {
    (void)marks_from_all; /* an object that waits for its procedure keeps what it refers to */
    if (kind < 0 || kind >= GC__MAX_KINDS) gc__abort("GC_register_disclaim_proc: no such kind");
    atomic_store_explicit(&gc__kinds[kind].disclaim, proc, memory_order_release);
}
