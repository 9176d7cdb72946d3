/* look.c - what ebb_memory costs: how long the program stands still for it, by the size of the
 * heap. See docs/observe.md, "What a look costs".
 *
 *   look GIB small|huge nodes|arrays      with pages of 4 KiB or huge ones; of objects of 64 bytes,
 *                                         or arrays of 1 MiB */
#define _GNU_SOURCE 1
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <ebb/ebb.h>

typedef struct node {
    struct node *next;
    char rest[48];
} node;
EBB_TYPE(node, ptr(next));

static void *volatile first;

static void fill_nodes(size_t bytes) {
    for (size_t i = 0; i < bytes / 64; i++) {
        node *n = ebb_new(node);
        if (!n) exit(1);
        n->next = first;
        first = n;
    }
}

static void fill_arrays(size_t bytes) {
    const size_t size = (size_t)1 << 20;
    void **arrays = ebb_alloc(bytes / size * sizeof *arrays + 1);
    first = arrays;
    for (size_t i = 0; arrays && i < bytes / size; i++) {
        arrays[i] = ebb_alloc_data(size);
        if (!arrays[i]) exit(1);
        memset(arrays[i], 1, size);
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fputs("usage: look GIB small|huge nodes|arrays\n", stderr);
        return 2;
    }
    size_t bytes = (size_t)(atof(argv[1]) * (1 << 30));
    if (strcmp(argv[2], "small") == 0) prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    ebb_set_gc_percent(-1);
    if (strcmp(argv[3], "nodes") == 0)
        fill_nodes(bytes);
    else
        fill_arrays(bytes);
    double least = 1e9;
    struct ebb_memory m;
    for (int i = 0; i < 5; i++) {
        if (ebb_memory(&m) != 0) return 1;
        double ms = (double)m.stop_ns / 1e6;
        if (ms < least) least = ms;
    }
    printf(
        "%s GiB %s %s: rss %.2f GiB, stop %.1f ms (best of 5), %.2f ms a GiB, unexplained %lld\n",
        argv[1], argv[2], argv[3], (double)m.rss / (1 << 30), least, least / atof(argv[1]),
        (long long)m.unexplained);
    return 0;
}
