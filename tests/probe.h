/* probe.h - tells which objects are alive without keeping any of them so.
 *
 * A probe is a weak reference held in static storage; hidden addresses are complemented, so no
 * conservative search takes them for pointers. The stack and the registers may hold a stale word or
 * two of anything: claims that objects are dead therefore speak of many objects, and grant
 * PROBE_STALE of them. */
#ifndef EBB_TESTS_PROBE_H
#define EBB_TESTS_PROBE_H

#include <ebb/gc.h>
#include <ebb/heap.h>
#include <stddef.h>
#include <stdint.h>

#include "test.h"

#define PROBE_MAX   4096
#define PROBE_STALE 3

/* A static array, not one of the heap: a probe must survive whatever the test drops. */
static ebb_weak *probe_weak[PROBE_MAX];
static size_t probe_count;

__attribute__((unused)) static uintptr_t probe_hide(const void *p) {
    return ~(uintptr_t)p;
}

__attribute__((unused)) static void *probe_show(uintptr_t hidden) {
    return (void *)~hidden;
}

/* Watches p from now on; returns the number of its probe. */
__attribute__((unused)) static NOINLINE size_t probe_add(void *p) {
    CHECK(p != NULL);
    CHECK(probe_count < PROBE_MAX);
    probe_weak[probe_count] = ebb_weak_new(p);
    CHECK(probe_weak[probe_count] != NULL);
    return probe_count++;
}

__attribute__((unused)) static NOINLINE bool probe_lives(size_t probe) {
    return ebb_weak_get(probe_weak[probe]) != NULL;
}

/* How many of the probes [from, to) still have their objects. */
__attribute__((unused)) static NOINLINE size_t probe_living(size_t from, size_t to) {
    size_t living = 0;
    for (size_t i = from; i < to; i++) living += probe_lives(i);
    return living;
}

__attribute__((unused)) static NOINLINE void probe_collect(void) {
    test_clear_stack();
    CHECK_EQ(ebb_collect(), 0);
    test_clear_stack();
}

#endif
