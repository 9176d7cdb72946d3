/* query.c - what is known of a pointer, and the checks of pointer arithmetic.
 *
 * Checks fail by calling the program's procedure; those that are there from the start print a line
 * and abort. They know the heap only: what is static, on a stack or from malloc passes.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "shim.h"

void *GC_base(void *p) {
    return ebb_base_of(p);
}

size_t GC_size(const void *p) {
    return gc__slot_size(p);
}

int GC_is_heap_ptr(const void *p) {
    return ebb_base_of(p) != NULL;
}

/* --- Marks --------------------------------------------------------------------------------------
 */

bool gc__knows_marks;

/* Where marks are not known, because no collection is clearing what died, whatever is an object was
 * reachable at the end of the last one. */
int GC_is_marked(const void *p) {
    return gc__knows_marks ? ebb_is_marked(p) : ebb_base_of(p) != NULL;
}

/* Outside of collections there is nothing to set: a mark lasts to the next one. */
void GC_set_mark_bit(const void *p) {
    if (gc__marker) ebb_mark(gc__marker, p);
}

void GC_clear_mark_bit(const void *p) {
    (void)p;
    gc__fail_loudly("GC_clear_mark_bit", "an object cannot be made unreachable; use GC_free");
}

/* --- Checks -------------------------------------------------------------------------------------
 */

static void query_not_same(void *p, void *q) {
    GC_err_printf("%p and %p are not in the same object\n", p, q);
    gc__abort("GC_same_obj failed");
}

static void query_not_valid(void *p) {
    GC_err_printf("%p points between the objects of the heap\n", p);
    gc__abort("GC_is_valid_displacement failed");
}

static void query_not_visible(void *p) {
    GC_err_printf("%p is no place that is searched for pointers\n", p);
    gc__abort("GC_is_visible failed");
}

void (*GC_same_obj_print_proc)(void *, void *) = query_not_same;
void (*GC_is_valid_displacement_print_proc)(void *) = query_not_valid;
void (*GC_is_visible_print_proc)(void *) = query_not_visible;

static bool query_in_heap_range(const void *p) {
    const void *start, *end;
    if (ebb_heap_bounds(&start, &end) != 0) return false;
    return (uintptr_t)p >= (uintptr_t)start && (uintptr_t)p < (uintptr_t)end;
}

/* Whether p is in q's object or one past its end. */
static bool query_is_same(void *p, void *q) {
    const char *base = ebb_base_of(q);
    if (!base) return ebb_base_of(p) == NULL;
    return (uintptr_t)p - (uintptr_t)base <= gc__slot_size(base);
}

void *GC_same_obj(void *p, void *q) {
    if (p != q && !query_is_same(p, q) && !query_is_same(q, p)) GC_same_obj_print_proc(p, q);
    return p;
}

void *GC_is_valid_displacement(void *p) {
    if (query_in_heap_range(p) && !ebb_base_of(p)) GC_is_valid_displacement_print_proc(p);
    return p;
}

static bool query_is_visible(const void *p) {
    if ((uintptr_t)p % sizeof(void *) != 0) return false;
    int kind = gc__kind_of(p);
    if (kind < 0) return !query_in_heap_range(p);
    return kind != GC__PTRFREE && kind != GC__AUNCOLLECTABLE;
}

void *GC_is_visible(void *p) {
    if (!query_is_visible(p)) GC_is_visible_print_proc(p);
    return p;
}

void *GC_pre_incr(void **p, ptrdiff_t bytes) {
    void *before = *p;
    *p = GC_same_obj((char *)before + bytes, before);
    return *p;
}

void *GC_post_incr(void **p, ptrdiff_t bytes) {
    void *before = *p;
    *p = GC_same_obj((char *)before + bytes, before);
    return before;
}

/* Every place inside an object is a valid one. */
void GC_register_displacement(size_t bytes) {
    (void)bytes;
}

void GC_debug_register_displacement(size_t bytes) {
    (void)bytes;
}

/* --- Odds and ends ------------------------------------------------------------------------------
 */

/* Overwrites what calls before left below the caller's frame. */
void *GC_clear_stack(void *arg) {
    volatile char below[4096];
    for (size_t i = 0; i < sizeof below; i++) below[i] = 0;
    return arg;
}

void GC_noop1(GC_word word) {
    __asm__ volatile("" : : "r"(word) : "memory");
}
