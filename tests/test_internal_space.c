/* test_internal_space.c - small heaps, where the system grants little address space: what is
 * committed is counted once, up to the last page of both zones, and questions about the heap are
 * answered; which free pages go back. The library is compiled in, with a seam around what grants
 * it. docs/design.md, "Address space". */
#ifndef _GNU_SOURCE
# define _GNU_SOURCE 1
#endif
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t granted = SIZE_MAX; /* the most that one mapping may have */
static long system_page;          /* 0: the system's own */

static long system_ask(int name) {
    return name == _SC_PAGESIZE && system_page ? system_page : sysconf(name);
}

#define mmap(start, size, ...) ((size) > granted ? MAP_FAILED : mmap((start), (size), __VA_ARGS__))
#define sysconf(name)          system_ask(name)
#include "../src/all.c"
#undef mmap
#undef sysconf

#include "pages.h"
#include "test.h"

/* --- What is counted ---------------------------------------------------------------------------
 */

/* What can be written in the reservation, by the system's list. */
static size_t committed(void) {
    size_t bytes = 0, start, stop;
    size_t end = ebb__space.base + space_plan(ebb__space.zone_bytes).total;
    char line[512], write;
    FILE *file = fopen("/proc/self/maps", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file)) {
        CHECK_EQ(sscanf(line, "%zx-%zx %*c%c", &start, &stop, &write), 3);
        if (write == 'w' && stop > ebb__space.base && start < end)
            bytes += min_size(stop, end) - max_size(start, ebb__space.base);
    }
    fclose(file);
    return bytes;
}

/* What is counted beside that. */
static size_t counted_besides(void) {
    size_t counted = 0;
    for (int i = 0; i < OS_CLASS_COUNT; i++) counted += atomic_load(&ebb__os_mapped[i]);
    return counted - committed();
}

static void zones_fill(size_t zone_bytes, long page) {
    bool fresh;
    granted = zone_bytes * 3;
    system_page = page;
    CHECK(ebb__heap_start());
    CHECK_EQ(ebb__space.zone_bytes, zone_bytes);
    size_t besides = counted_besides();
    for (int id = 0; id < ZONE_COUNT; id++) {
        const zone *z = &ebb__space.zones[id];
        for (uint32_t piece = z->limit_pages / 7; piece > 0; piece /= 8)
            while (ebb__pages_alloc((enum zone_id)id, piece, 1, &fresh))
                CHECK_EQ(counted_besides(), besides);
        CHECK_EQ(z->used_pages, z->limit_pages);
        CHECK_EQ(counted_besides(), besides);
    }
}

TEST(what_is_committed_is_counted_once) {
    zones_fill(64 * MIB, 0);
}

TEST(so_it_is_where_tables_grow) {
    zones_fill(4 * GIB, 0);
}

TEST(so_it_is_with_large_pages) {
    zones_fill(64 * MIB, 64 * KIB);
}

TEST(so_it_is_with_both) {
    zones_fill(4 * GIB, 64 * KIB);
}

/* --- What goes back ----------------------------------------------------------------------------
 */

static uint32_t pages_take(uint32_t pages) {
    bool fresh;
    span *s = ebb__pages_alloc(ZONE_DATA, pages, 1, &fresh);
    CHECK(s != NULL);
    ebb__pages_publish(s, SPAN_LARGE);
    memset((void *)span_start(s), 1, (size_t)pages << PAGE_SHIFT);
    return s->first_page;
}

static void pages_put(uint32_t first) {
    ebb__pages_free(span_at(atomic_load(&ebb__space.span_of[first])));
}

/* Allocation takes from the start of a run, so the pages at its end go back first, also where not
 * all of the run is there; what is taken then is what remained. */
TEST(the_end_of_a_run_goes_back_first) {
    CHECK(ebb__heap_start());
    uint32_t low = pages_take(1000), middle = pages_take(1000), high = pages_take(1000);
    uint32_t guard = pages_take(1);
    CHECK(middle == low + 1000 && high == middle + 1000 && guard == high + 1000);
    pages_put(middle);
    CHECK_EQ(ebb__pages_return(UINT64_MAX, 0, 1000 << PAGE_SHIFT), 1000 << PAGE_SHIFT);
    pages_put(low);
    pages_put(high);
    CHECK_EQ(ebb__pages_return(UINT64_MAX, 0, 100 << PAGE_SHIFT), 100 << PAGE_SHIFT);
    CHECK_EQ(resident_count(high, 900), 900);
    CHECK_EQ(resident_count(high + 900, 100), 0);
    CHECK_EQ(ebb__pages_return(UINT64_MAX, 0, 1007 << PAGE_SHIFT), 1007 << PAGE_SHIFT);
    CHECK_EQ(resident_count(low, 893), 893);
    CHECK_EQ(resident_count(low + 893, 2107), 0);
    size_t resident = atomic_load(&ebb__resident_pages);
    CHECK_EQ(pages_take(893), low);
    CHECK_EQ(atomic_load(&ebb__resident_pages), resident);
    for (const char *at = (const char *)page_address(low + 893),
                    *end = (const char *)page_address(guard);
         at < end; at++)
        CHECK_EQ(*at, 0);
    CHECK_EQ(ebb__pages_return(UINT64_MAX, 0, SIZE_MAX), 0);
}

/* --- Who holds what ----------------------------------------------------------------------------
 */

typedef struct cell {
    struct cell *next;
} cell;

EBB_TYPE(cell, ptr(next));

static cell *cells;
static page p;

static void cells_are_found(size_t zone_bytes) {
    granted = zone_bytes * 3;
    for (int i = 0; i < 1000; i++) {
        cell *fresh = ebb_new(cell);
        fresh->next = cells;
        cells = fresh;
    }
    CHECK(ebb_alloc_data(MIB) != NULL);
    CHECK_EQ(ebb__space.zone_bytes, zone_bytes);
    page_get(&p, "/debug/ebb/why?target=cell&format=json");
    if (p.status != 200) test_fail(__FILE__, __LINE__, "%d: %s", p.status, p.text);
    CHECK(strstr(p.text, "\"targets\":{\"objects\":1000") != NULL);
}

TEST(holders_are_found_in_a_small_heap) {
    cells_are_found(64 * MIB);
}

TEST(holders_are_found_in_one_twice_that_size) {
    cells_are_found(128 * MIB);
}
