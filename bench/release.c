/* release.c - giving back: allocate, drop everything, then ask for the memory to go back to the
 * system, or with --idle only wait; how long it takes and how much stays.
 *
 * For the collectors only. Objects hang in tables of 1024 pointers under one root; tables are cut
 * off one by one when they are dropped, so that a stale pointer on the stack holds little.
 *
 *     release_SIDE --mib 2048 --size 64 [--idle SECONDS] */
#include PEER_HEADER

#define FANOUT 1024

static void ***release_root;
static size_t release_tables;

static void release_fill(size_t bytes, size_t size) {
    release_tables = bytes / size / FANOUT;
    release_root = peer_pointers(void **, release_tables);
    if (release_root == NULL) bench_fail("out of memory");
    for (size_t t = 0; t < release_tables; t++) {
        release_root[t] = peer_pointers(void *, FANOUT);
        if (release_root[t] == NULL) bench_fail("out of memory");
        for (size_t i = 0; i < FANOUT; i++) {
            char *object = (char *)peer_words(size);
            if (object == NULL) bench_fail("out of memory");
            for (size_t at = 0; at < size; at += 4096) object[at] = 1;
            release_root[t][i] = object;
        }
    }
}

static void release_drop(void) {
    for (size_t t = 0; t < release_tables; t++) {
        peer_free(release_root[t]);
        release_root[t] = NULL;
    }
    peer_free(release_root);
    release_root = NULL;
}

/* Seconds until resident memory is a tenth of what it was, or limit. */
static double release_wait(uint64_t before_bytes, double limit) {
    const struct timespec nap = {0, 50000000};
    uint64_t start_ns = bench_clock_ns(CLOCK_MONOTONIC);
    for (;;) {
        double seconds = (double)(bench_clock_ns(CLOCK_MONOTONIC) - start_ns) / 1e9;
        if (seconds >= limit) return limit;
        if (bench_rss_bytes() < before_bytes / 10) return seconds;
        nanosleep(&nap, NULL);
    }
}

int main(int argc, char **argv) {
    size_t mib = bench_arg(argc, argv, "--mib", 256);
    size_t size = bench_arg(argc, argv, "--size", 64);
    double idle = (double)bench_arg(argc, argv, "--idle", 0);
    char label[64];
    snprintf(label, sizeof label, "%zu MiB of %zu B", mib, size);

    peer_start();
    uint64_t start_ns = bench_now_ns();
    release_fill(mib << 20, size);
    double fill_s = (double)(bench_now_ns() - start_ns) / 1e9;
    uint64_t full_bytes = bench_rss_bytes();
    release_drop();
    if (idle > 0) {
        bench_report(label, "s to return, unasked", release_wait(full_bytes, idle));
        bench_report(label, "MiB left, unasked", BENCH_MIB(bench_rss_bytes()));
        return 0;
    }
    start_ns = bench_now_ns();
    peer_release();
    double release_ms = (double)(bench_now_ns() - start_ns) / 1e6;
    bench_report(label, "s to fill", fill_s);
    bench_report(label, "MiB at the peak", BENCH_MIB(full_bytes));
    bench_report(label, "ms to return", release_ms);
    bench_report(label, "MiB left", BENCH_MIB(bench_rss_bytes()));
    return 0;
}
