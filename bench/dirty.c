/* dirty.c - what the watch for dirty pages costs: a write to an armed page, arming, and a harvest
 * of a heap in the states that a collector meets, by one thread and by two. Measures the library's
 * own layer, below the public headers.
 *
 *     bench_dirty --mib 4096 --written 10000 --rounds 3 --threads 2 */
#include <pthread.h>
#include <unistd.h>

#include "../src/os/dirty.h"
#include "bench.h"

enum { DIRTY_THREADS = 8, DIRTY_ROUNDS = 64 };

static const size_t dirty_page = 4096, dirty_huge = (size_t)2 << 20;
static char *dirty_heap;
static size_t dirty_bytes, dirty_written, dirty_rounds;

/* --- The heap's states ----------------------------------------------------------------------- */

static void dirty_fill(bool huge) {
    ebb__os_return(dirty_heap, dirty_bytes);
    ebb__os_huge(dirty_heap, dirty_bytes, huge);
    for (size_t at = 0; at < dirty_bytes; at += dirty_page) dirty_heap[at] = 1;
}

static void dirty_write_all(void) {
    for (size_t at = 0; at < dirty_bytes; at += dirty_page) dirty_heap[at]++;
}

static void dirty_write_some(size_t count) {
    static uint64_t state;
    for (size_t i = 0; i < count; i++)
        dirty_heap[bench_mix(state++) % (dirty_bytes / dirty_page) * dirty_page]++;
}

/* --- Harvesting ------------------------------------------------------------------------------ */

struct share {
    uintptr_t start, end;
    pthread_barrier_t *barrier;
    bool peek; /* arms nothing */
    size_t pages;
    uint64_t begin_ns, end_ns, cpu_ns;
};

static void share_visit(uintptr_t from, uintptr_t to, void *arg) {
    ((struct share *)arg)->pages += (to - from) / dirty_page;
}

static void *share_harvest(void *arg) {
    struct share *share = arg;
    if (share->barrier) pthread_barrier_wait(share->barrier);
    share->begin_ns = bench_now_ns();
    uint64_t cpu_ns = bench_thread_ns();
    if ((share->peek ? ebb__os_dirty_peek : ebb__os_dirty_harvest)(share->start, share->end,
                                                                   share_visit, share) != 0)
        bench_fail("a harvest failed: %s", strerror(errno));
    share->cpu_ns = bench_thread_ns() - cpu_ns;
    share->end_ns = bench_now_ns();
    return NULL;
}

struct harvest {
    size_t pages;
    double us;     /* from the first begin to the last end */
    double cpu_us; /* of the busiest thread: what a machine with nothing else to do would show */
};

static void harvest_add(struct harvest *h, const struct share *first, const struct share *share) {
    double us = (double)(share->end_ns - first->begin_ns) / 1e3;
    double cpu_us = (double)share->cpu_ns / 1e3;
    if (us > h->us) h->us = us;
    if (cpu_us > h->cpu_us) h->cpu_us = cpu_us;
    h->pages += share->pages;
}

/* By threads that leave a barrier together. */
static struct harvest dirty_harvest(size_t threads, bool peek) {
    struct share shares[DIRTY_THREADS];
    pthread_t ids[DIRTY_THREADS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, (unsigned)threads);
    size_t each = (dirty_bytes / threads + dirty_huge - 1) & ~(dirty_huge - 1);
    uintptr_t start = (uintptr_t)dirty_heap, end = start + dirty_bytes;
    for (size_t i = 0; i < threads; i++, start += each)
        shares[i] = (struct share){.start = start,
                                   .end = i + 1 < threads ? start + each : end,
                                   .barrier = threads > 1 ? &barrier : NULL,
                                   .peek = peek};
    for (size_t i = 1; i < threads; i++)
        if (pthread_create(&ids[i], NULL, share_harvest, &shares[i]) != 0)
            bench_fail("cannot start a thread");
    share_harvest(&shares[0]);
    size_t first = 0;
    for (size_t i = 1; i < threads; i++) {
        pthread_join(ids[i], NULL);
        if (shares[i].begin_ns < shares[first].begin_ns) first = i;
    }
    struct harvest h = {0};
    for (size_t i = 0; i < threads; i++) harvest_add(&h, &shares[first], &shares[i]);
    pthread_barrier_destroy(&barrier);
    return h;
}

/* --- Cases ----------------------------------------------------------------------------------- */

static int dirty_compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median. */
static void dirty_report(const char *label, const char *metric, double *values) {
    qsort(values, dirty_rounds, sizeof *values, dirty_compare);
    bench_report(label, metric, values[dirty_rounds / 2]);
}

enum dirty_before { DIRTY_NOTHING, DIRTY_SOME, DIRTY_FEW, DIRTY_EVERY };

/* Harvests of a heap of which so much was written since the last; huge pages made anew each round.
 * Or a look that arms nothing, after which a harvest does. */
static void dirty_case(const char *name, size_t threads, bool anew, enum dirty_before before,
                       bool peek) {
    double us[DIRTY_ROUNDS], cpu_us[DIRTY_ROUNDS];
    size_t pages = 0;
    char label[96];
    snprintf(label, sizeof label, "%s%s, %zu thread%s", peek ? "peek: " : "", name, threads,
             threads == 1 ? "" : "s");
    for (size_t i = 0; i < dirty_rounds; i++) {
        if (anew) {
            dirty_fill(true);
            dirty_harvest(1, false);
        }
        if (before == DIRTY_SOME) dirty_write_some(dirty_written);
        if (before == DIRTY_FEW) dirty_write_some(dirty_written / 100);
        if (before == DIRTY_EVERY) dirty_write_all();
        struct harvest h = dirty_harvest(threads, peek);
        pages = h.pages;
        us[i] = h.us;
        cpu_us[i] = h.cpu_us;
        if (peek) dirty_harvest(1, false);
    }
    bench_report(label, "pages", (double)pages);
    dirty_report(label, "us", us);
    dirty_report(label, "cpu us", cpu_us);
}

/* Nanoseconds of CPU time a write, of one write to every step. */
static double dirty_write_ns(size_t step) {
    uint64_t begin = bench_thread_ns();
    for (size_t at = 0; at < dirty_bytes; at += step) dirty_heap[at]++;
    return (double)(bench_thread_ns() - begin) / (double)(dirty_bytes / step);
}

static void dirty_writes(void) {
    double armed[DIRTY_ROUNDS], open[DIRTY_ROUNDS], split[DIRTY_ROUNDS];
    for (size_t i = 0; i < dirty_rounds; i++) {
        dirty_fill(false);
        dirty_harvest(1, false);
        armed[i] = dirty_write_ns(dirty_page);
        open[i] = dirty_write_ns(dirty_page);
        dirty_fill(true);
        dirty_harvest(1, false);
        split[i] = dirty_write_ns(dirty_huge);
    }
    dirty_report("write to an armed page", "cpu ns", armed);
    dirty_report("write to a page not armed", "cpu ns", open);
    dirty_report("first write to an armed huge page", "cpu ns", split);
}

static void dirty_arming(bool huge, const char *label) {
    double us[DIRTY_ROUNDS];
    for (size_t i = 0; i < dirty_rounds; i++) {
        dirty_fill(huge);
        uint64_t begin = bench_thread_ns();
        if (ebb__os_dirty_arm((uintptr_t)dirty_heap, (uintptr_t)dirty_heap + dirty_bytes) != 0)
            bench_fail("arming failed");
        us[i] = (double)(bench_thread_ns() - begin) / 1e3;
    }
    dirty_report(label, "cpu us", us);
}

int main(int argc, char **argv) {
    const char *why;
    size_t most = bench_arg(argc, argv, "--threads", 2);
    dirty_bytes = bench_arg(argc, argv, "--mib", 4096) << 20 & ~(dirty_huge - 1);
    dirty_written = bench_arg(argc, argv, "--written", 10000);
    dirty_rounds = bench_arg(argc, argv, "--rounds", 3);
    if (most < 1 || most > DIRTY_THREADS) bench_fail("--threads takes 1 to %d", DIRTY_THREADS);
    if (dirty_rounds < 1 || dirty_rounds > DIRTY_ROUNDS)
        bench_fail("--rounds takes 1 to %d", DIRTY_ROUNDS);
    if (ebb__os_page_size() != dirty_page) bench_fail("pages are not of 4 KiB");

    dirty_heap = ebb__os_reserve(dirty_bytes, dirty_huge);
    if (!dirty_heap || ebb__os_commit(dirty_heap, dirty_bytes, OS_HEAP) != 0)
        bench_fail("out of memory");
    uint64_t begin = bench_now_ns();
    if (ebb__os_dirty_start((uintptr_t)dirty_heap, (uintptr_t)dirty_heap + dirty_bytes, &why) != 0)
        bench_fail("no dirty pages: %s", why);
    bench_report("start and self-test", "us", (double)(bench_now_ns() - begin) / 1e3);

    dirty_writes();
    dirty_arming(false, "arming small pages");
    dirty_arming(true, "arming huge pages");
    for (size_t threads = 1; threads <= most; threads++) {
        dirty_case("huge, clean", threads, true, DIRTY_NOTHING, false);
        dirty_case("huge, few written", threads, true, DIRTY_FEW, false);
        dirty_case("huge, few written", threads, true, DIRTY_FEW, true);
        dirty_case("huge, some written", threads, true, DIRTY_SOME, false);
        dirty_case("once huge, clean", threads, false, DIRTY_NOTHING, false);
        dirty_fill(false);
        dirty_case("small, all written", threads, false, DIRTY_EVERY, false);
        for (int peek = 0; peek < 2; peek++) {
            dirty_case("small, some written", threads, false, DIRTY_SOME, peek);
            dirty_case("small, few written", threads, false, DIRTY_FEW, peek);
            dirty_case("small, clean", threads, false, DIRTY_NOTHING, peek);
        }
    }
    return 0;
}
