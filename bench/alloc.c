/* alloc.c - small objects: each thread replaces randomly chosen objects of a set that stays at
 * 1 MiB, so lifetimes are mixed and holes are everywhere. Every word of an object may be a pointer,
 * as after malloc; the first word is written.
 *
 *     alloc_SIDE --size 64 --threads 2 --count 4000000 */
#include PEER_HEADER

#define LIVE_BYTES ((size_t)1 << 20)
#define THREADS    16

struct work {
    size_t size;  /* bytes of an object */
    size_t count; /* allocations of this thread */
    pthread_barrier_t *start;
    uint64_t begin_ns, end_ns;
};

/* The set; found by the collectors as a root. */
static void **alloc_sets[THREADS];

static void alloc_loop(void **set, size_t mask, size_t size, size_t count) {
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        void **slot = &set[(size_t)(state >> 33) & mask];
        uintptr_t *object = (uintptr_t *)peer_words(size);
        if (object == NULL) bench_fail("out of memory");
        *object = i & 1;
        peer_free(*slot);
        *slot = object;
    }
}

static void *alloc_thread(void *arg) {
    struct work *work = (struct work *)arg;
    static size_t next_set;
    void **set = alloc_sets[__atomic_fetch_add(&next_set, 1, __ATOMIC_RELAXED)];
    pthread_barrier_wait(work->start);
    work->begin_ns = bench_now_ns();
    alloc_loop(set, LIVE_BYTES / work->size - 1, work->size, work->count);
    work->end_ns = bench_now_ns();
    return NULL;
}

/* From the first start to the last end. */
static uint64_t alloc_elapsed(const struct work *works, size_t threads) {
    uint64_t begin = works[0].begin_ns, end = works[0].end_ns;
    for (size_t i = 1; i < threads; i++) {
        if (works[i].begin_ns < begin) begin = works[i].begin_ns;
        if (works[i].end_ns > end) end = works[i].end_ns;
    }
    return end - begin;
}

int main(int argc, char **argv) {
    size_t size = bench_arg(argc, argv, "--size", 64);
    size_t threads = bench_arg(argc, argv, "--threads", 1);
    size_t count = bench_arg(argc, argv, "--count", 1000000);
    if (threads < 1 || threads > THREADS) bench_fail("--threads takes 1 to %d", THREADS);
    if (size < 16 || size > 4096 || (size & (size - 1)) != 0)
        bench_fail("--size takes a power of two from 16 to 4096");

    peer_start();
    pthread_t ids[THREADS];
    struct work works[THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    for (size_t i = 0; i < threads; i++) {
        alloc_sets[i] = peer_pointers(void *, LIVE_BYTES / size);
        works[i] = (struct work){size, count, &start, 0, 0};
    }
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, alloc_thread, &works[i]) != 0)
            bench_fail("cannot start a thread");
    for (size_t i = 0; i < threads; i++) pthread_join(ids[i], NULL);

    char label[64];
    snprintf(label, sizeof label, "%zu B, %zu thread%s", size, threads, threads == 1 ? "" : "s");
    bench_report(label, "ns", (double)alloc_elapsed(works, threads) / (double)(count * threads));
    bench_report(label, "peak MiB", BENCH_MIB(bench_peak_rss_bytes()));
    return 0;
}
