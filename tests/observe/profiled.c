/* profiled.c - allocates what is known exactly, at places some of which are inlined, for pprof.sh.
 *
 *     profiled [BEFORE [AFTER [N]]]   writes a profile there after the first and the second phase,
 *                                     which fills N times as much; not said: once
 *     profiled --wait                 goes on until its input ends
 *
 * Prints lines "PLACE OBJECTS BYTES", bytes as the heap counts them: what lives in the end; and of
 * the place "scratch", what was allocated in all. */
#include <ebb/ebb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALONE __attribute__((noinline))

struct node {
    struct node *next;
    long key, value[5];
};

struct place {
    size_t objects, bytes;
};

static struct node *cache, *late;
static void **tables;
static size_t tables_count;
static struct place cached, indexed, latest, scratch;

static void *counted(struct place *place, void *p) {
    if (!p) exit(EXIT_FAILURE);
    place->objects++;
    place->bytes += (ebb_size_of(p) + 7) / 8 * 8;
    return p;
}

/* Two levels that an optimising compiler leaves no call of. */
static inline __attribute__((always_inline)) struct node *node_make(struct place *place) {
    return counted(place, ebb_new(struct node));
}

static inline __attribute__((always_inline)) void cache_add(struct node **list, long key,
                                                            struct place *place) {
    struct node *node = node_make(place);
    node->key = key;
    node->next = *list;
    *list = node;
}

ALONE static void cache_fill(long count) {
    for (long i = 0; i < count; i++) cache_add(&cache, i, &cached);
}

ALONE static void late_fill(long count) {
    for (long i = 0; i < count; i++) cache_add(&late, i, &latest);
}

ALONE static void index_build(size_t count, size_t size) {
    tables = counted(&indexed, ebb_alloc(count * sizeof *tables));
    for (; tables_count < count; tables_count++)
        tables[tables_count] = counted(&indexed, ebb_alloc(size));
}

ALONE static void scratch_use(long count) {
    for (long i = 0; i < count; i++) {
        char *text = counted(&scratch, ebb_alloc_data(200));
        snprintf(text, 200, "%ld", i);
    }
}

/* What dead frames hold is overwritten before a collection. */
ALONE static void stack_clear(void) {
    char dead[64 << 10];
    memset(dead, 0, sizeof dead);
    __asm__ volatile("" : : "r"(dead) : "memory");
}

static void report(const char *name, const struct place *place) {
    printf("%s %zu %zu\n", name, place->objects, place->bytes);
}

static void phase_end(const char *profile) {
    stack_clear();
    ebb_collect();
    if (profile && ebb_profile_write(profile) != 0) exit(EXIT_FAILURE);
}

int main(int argc, char **argv) {
    bool wait = argc > 1 && strcmp(argv[1], "--wait") == 0;
    cache_fill(30000);
    index_build(300, 40000);
    scratch_use(20000);
    phase_end(argc > 1 && !wait ? argv[1] : NULL);
    late_fill(40000 * (argc > 3 ? atol(argv[3]) : 1));
    phase_end(argc > 2 ? argv[2] : NULL);
    report("cache_fill", &cached);
    report("late_fill", &latest);
    report("index_build", &indexed);
    report("scratch_use", &scratch);
    fflush(stdout);
    while (wait && getchar() != EOF) {
    }
    return cache && late ? EXIT_SUCCESS : EXIT_FAILURE;
}
