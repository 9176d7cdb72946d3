/* stops.h - how long the collector stopped the program. The peers remember the latest stops only
 * (peer_pauses, newest first), so they are gathered while the program runs: poll a few times a
 * second. Sides without a collector have none, and report none. */
#ifndef EBB_BENCH_STOPS_H
#define EBB_BENCH_STOPS_H

#include "bench.h"

#define STOPS_REMEMBERED 4096
#define STOPS_ROOM       ((size_t)1 << 18)
#define STOPS_HEAD       8

/* lengths[0, count) are the stops since stops_begin, in memory of malloc's, which no collector
 * searches; head[0, head_count) are the newest that were known at the last poll, by which the next
 * one tells which are new. One thread at a time. */
struct stops {
    size_t count, head_count;
    uint64_t head[STOPS_HEAD];
    uint64_t *lengths; /* STOPS_ROOM, once there was one */
};

static struct stops stops;

static bool stops_head_at(const uint64_t *now, size_t count) {
    size_t same = count < stops.head_count ? count : stops.head_count;
    return memcmp(now, stops.head, same * sizeof *now) == 0;
}

/* How many of now are new: those before the ones that were the newest last time. */
static size_t stops_new(const uint64_t *now, size_t count) {
    size_t n = 0;
    if (stops.head_count == 0) return count;
    while (n < count && !stops_head_at(now + n, count - n)) n++;
    return n;
}

static void stops_poll(void) {
    static uint64_t now[STOPS_REMEMBERED];
    size_t count = peer_pauses(now, STOPS_REMEMBERED), added = stops_new(now, count);
    if (added > 0 && !stops.lengths) stops.lengths = malloc(STOPS_ROOM * sizeof *stops.lengths);
    if (added > 0 && !stops.lengths) bench_fail("no memory for the stops");
    for (size_t i = added; i-- > 0 && stops.count < STOPS_ROOM;)
        stops.lengths[stops.count++] = now[i];
    stops.head_count = count < STOPS_HEAD ? count : STOPS_HEAD;
    memcpy(stops.head, now, stops.head_count * sizeof *now);
}

/* Forgets what was before. */
static void stops_begin(void) {
    stops_poll();
    stops.count = 0;
}

static int stops_compare(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static double stops_ms(double part) {
    size_t last = stops.count - 1;
    return (double)stops.lengths[(size_t)((double)last * part + 0.5)] / 1e6;
}

/* Ends the gathering. */
static void stops_report(const char *label) {
    stops_poll();
    if (stops.count == 0) return;
    qsort(stops.lengths, stops.count, sizeof *stops.lengths, stops_compare);
    bench_report(label, "stops", (double)stops.count);
    bench_report(label, "median stop ms", stops_ms(0.5));
    bench_report(label, "p99 stop ms", stops_ms(0.99));
    bench_report(label, "longest stop ms", stops_ms(1));
}

/* --- Threads that are polled beside ---------------------------------------------------------- */

#define STOPS_THREADS 64

struct stops_job {
    void *(*run)(void *);
    void *arg;
    unsigned done; /* atomic: adding is release, polling acquires */
};

BENCH_UNUSED static void *stops_thread(void *arg) {
    struct stops_job *job = (struct stops_job *)arg;
    job->run(job->arg);
    __atomic_add_fetch(&job->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* Runs run(arg) in so many threads. One is the calling thread: a program of one thread stays one,
 * and only the stops that the peer remembers at its end count. */
BENCH_UNUSED static void stops_threads(unsigned threads, void *(*run)(void *), void *arg) {
    pthread_t ids[STOPS_THREADS];
    struct stops_job job = {run, arg, 0};
    if (threads < 1 || threads > STOPS_THREADS)
        bench_fail("--threads takes 1 to %d", STOPS_THREADS);
    if (threads == 1) {
        run(arg);
        return;
    }
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, stops_thread, &job) != 0)
            bench_fail("cannot start a thread");
    while (__atomic_load_n(&job.done, __ATOMIC_ACQUIRE) < threads) {
        struct timespec pause = {0, 20000000};
        nanosleep(&pause, NULL);
        stops_poll();
    }
    for (unsigned i = 0; i < threads; i++) pthread_join(ids[i], NULL);
}

#endif
