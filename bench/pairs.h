/* pairs.h - what the samples of the heap profile cost, for the option --pairs N: N times the work
 * with samples and without, in one process and turn by turn, so that both find the same memory, the
 * same addresses and the same neighbours on the machine. The figure is the median of the pairs'
 * ratios of CPU time of all threads, and the bounds within which it lies 19 times in 20 (by ranks:
 * nothing is supposed of how times scatter).
 *
 * Each starts from a collected heap and with an empty profile. --rate 0 has no samples on either
 * side: what a ratio of one looks like. --rate 65536 takes eight times as many samples as the
 * default: they cost eight times as much, and what times scatter by is an eighth of that. Sides
 * other than Ebb have no such figures. */
#ifndef EBB_BENCH_PAIRS_H
#define EBB_BENCH_PAIRS_H

#include "stops.h"

struct pairs_work {
    void *(*run)(void *);
    void *arg;
    unsigned threads;
};

#if PEER_WATCHES
# define PAIRS_MOST 10000
# define PAIRS_RATE ((size_t)512 << 10) /* the default of EBB_PROFILE=rate=… */

static double pairs_ns(const struct pairs_work *work, size_t rate) {
    if (ebb_profile_set_rate(rate) != 0) bench_fail("the rate could not be set");
    ebb_collect();
    uint64_t start_ns = bench_cpu_ns();
    stops_threads(work->threads, work->run, work->arg);
    return (double)(bench_cpu_ns() - start_ns);
}

static int pairs_compare(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* What these samples cost by the ratio, as so many per cent at the default rate. */
static double pairs_per_cent(double ratio, size_t rate) {
    return (ratio - 1) * 100 * (double)rate / (double)PAIRS_RATE;
}

static void pairs_report(const char *label, double *ratios, unsigned count, size_t rate) {
    unsigned away = 0, half = (count - 1) / 2;
    while (away * away < count && away < half) away++; /* two deviations of the rank */
    qsort(ratios, count, sizeof *ratios, pairs_compare);
    double median = (ratios[half] + ratios[count / 2]) / 2;
    double from = ratios[half - away], to = ratios[count / 2 + away];
    bench_report(label, "sampled by unsampled", median);
    bench_report(label, "sampled by unsampled, from", from);
    bench_report(label, "sampled by unsampled, to", to);
    if (rate == 0) return;
    bench_report(label, "samples at the default rate, %", pairs_per_cent(median, rate));
    bench_report(label, "samples at the default rate, %, from", pairs_per_cent(from, rate));
    bench_report(label, "samples at the default rate, %, to", pairs_per_cent(to, rate));
}

/* True when it was asked for. The first pair, which touches the memory, does not count. */
static bool pairs_run(int argc, char **argv, const char *label, const struct pairs_work *work) {
    static double ratios[PAIRS_MOST];
    unsigned count = (unsigned)bench_arg(argc, argv, "--pairs", 0);
    size_t rate = bench_arg(argc, argv, "--rate", PAIRS_RATE);
    if (count == 0) return false;
    if (count > PAIRS_MOST) bench_fail("--pairs takes up to %d", PAIRS_MOST);
    for (unsigned i = 0; i <= count; i++) {
        double first = pairs_ns(work, i % 2 ? 0 : rate);
        double second = pairs_ns(work, i % 2 ? rate : 0);
        if (i > 0) ratios[i - 1] = i % 2 ? second / first : first / second;
    }
    pairs_report(label, ratios, count, rate);
    return true;
}
#else
static bool pairs_run(int argc, char **argv, const char *label, const struct pairs_work *work) {
    if (bench_arg(argc, argv, "--pairs", 0) > 0) bench_fail("--pairs is Ebb's alone");
    return label == NULL || work == NULL;
}
#endif

#endif
