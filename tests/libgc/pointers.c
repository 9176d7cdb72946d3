/* pointers.c - what is known of a pointer: base, size, kind, whether it is one; checked
 * arithmetic; marks and enumeration. */
#include "case.h"

#include <gc/gc_mark.h>

static int in_data;
static unsigned same_obj_errors, displacement_errors, visible_errors;

static void same_obj_error(void *p, void *q) {
    same_obj_errors += p != q;
}

static void displacement_error(void *p) {
    displacement_errors += p != NULL;
}

static void visible_error(void *p) {
    visible_errors += p != NULL;
}

CASE(base_and_size) {
    static const size_t sizes[] = {1, 16, 17, 100, 2000, 5000, 100000, 3000000};
    for (int i = 0; i < 8; i++) {
        char *p = GC_malloc(sizes[i]);
        say("%zu: first %s, last %s, at least that large %s", sizes[i], yes(GC_base(p) == p),
            yes(GC_base(p + sizes[i] - 1) == p), yes(GC_size(p) >= sizes[i]));
        differs("size classes are the collector's", "%zu", GC_size(p));
    }
}

CASE(no_objects) {
    int on_stack;
    void *outside = malloc(10);
    say("null %s, stack %s, data %s, malloc %s, code %s", yes(GC_base(NULL) == NULL),
        yes(GC_base(&on_stack) == NULL), yes(GC_base(&in_data) == NULL),
        yes(GC_base(outside) == NULL), yes(GC_base((void *)(uintptr_t)printf) == NULL));
    say("a heap pointer: %d %d %d %d, %d", GC_is_heap_ptr(NULL), GC_is_heap_ptr(&on_stack),
        GC_is_heap_ptr(&in_data), GC_is_heap_ptr(outside), GC_is_heap_ptr(GC_malloc(1)));
}

CASE(freed_objects) {
    char *p = GC_malloc(5000000);
    GC_free(p);
    say("a large one that was freed has a base: %s", yes(GC_base(p) != NULL));
}

CASE(kinds) {
    size_t size = 0;
    say("%d %d %d %d", GC_get_kind_and_size(GC_malloc_atomic(10), NULL),
        GC_get_kind_and_size(GC_malloc(10), &size),
        GC_get_kind_and_size(GC_malloc_uncollectable(10), NULL),
        GC_get_kind_and_size(GC_malloc_atomic_uncollectable(10), NULL));
    say("the size is that of GC_size: %s", yes(size == GC_size(GC_malloc(10))));
}

CASE(heap_bounds) {
    int outside = 0;
    for (size_t i = 0; i < 2000; i++) {
        char *p = GC_malloc(i * 50);
        outside +=
            p < (char *)GC_least_plausible_heap_addr || p > (char *)GC_greatest_plausible_heap_addr;
    }
    say("%d outside, and the stack is: %s", outside,
        yes((char *)&outside > (char *)GC_greatest_plausible_heap_addr ||
            (char *)&outside < (char *)GC_least_plausible_heap_addr));
}

/* --- Checks --------------------------------------------------------------------------------- */

CASE(same_obj) {
    GC_same_obj_print_proc = same_obj_error;
    char *p = GC_malloc(100), *q = GC_malloc(2000), *large = GC_malloc(100000);
    int on_stack[2];
    say("%s", yes(GC_same_obj(p, p) == p && GC_same_obj(p + 99, p) == p + 99));
    GC_same_obj(large, large + 99999);
    GC_same_obj(on_stack, on_stack + 1);
    say("%u wrong", same_obj_errors);
    GC_same_obj(p, q);
    say("another: %u wrong", same_obj_errors);
    GC_same_obj(large + 1, p);
    say("a larger one: %u wrong", same_obj_errors);
    GC_same_obj(p, on_stack);
    say("none: %u wrong", same_obj_errors);
}

CASE(valid_displacement) {
    GC_is_valid_displacement_print_proc = displacement_error;
    char *p = GC_malloc(100);
    GC_is_valid_displacement(p);
    GC_is_valid_displacement(p + 57);
    GC_is_valid_displacement(NULL);
    GC_is_valid_displacement(&in_data);
    GC_register_displacement(8);
    GC_debug_register_displacement(8);
    say("%u wrong", displacement_errors);
}

CASE(visible) {
    GC_is_visible_print_proc = visible_error;
    void **p = GC_malloc(100);
    void *on_stack;
    say("%s", yes(GC_is_visible(p) == p && GC_is_visible(p + 5) == p + 5));
    say("%u wrong", visible_errors);
    GC_is_visible(&on_stack);
    say("a stack: %u wrong", visible_errors);
    GC_is_visible(&in_data);
    say("static data: %u wrong", visible_errors);
    void *outside = malloc(16);
    GC_is_visible(outside);
    say("%u wrong", visible_errors);
}

CASE(increments) {
    GC_same_obj_print_proc = same_obj_error;
    char *start = GC_malloc(100), *p = start;
    void *raw = p;
    say("%s", yes(GC_pre_incr(&raw, 10) == start + 10 && raw == start + 10));
    say("%s", yes(GC_post_incr(&raw, 5) == start + 10 && raw == start + 15));
    say("%s", yes(GC_pre_incr(&raw, -15) == start && raw == start));
    say("%u wrong", same_obj_errors);
    GC_pre_incr(&raw, 100000);
    say("%u wrong", same_obj_errors);
    GC_POST_INCR(p);
    GC_PRE_INCR(p, 2);
    GC_POST_DECR(p);
    say("%s", yes(p == start + 2 && GC_PTR_ADD(p, 3) == start + 5));
    void *stored;
    GC_PTR_STORE(&stored, p);
    say("%s", yes(stored == p));
}

/* --- Marks ---------------------------------------------------------------------------------- */

static void *marked_kept;

static void *is_marked(void *data) {
    return (void *)(intptr_t)GC_is_marked(data);
}

CASE(marked) {
    marked_kept = GC_malloc(100);
    collect();
    say("%d", GC_call_with_alloc_lock(is_marked, marked_kept) != NULL);
}
