/* depth.h - the main function of the programs that make trees: --depth, --threads, --watch,
 * --pairs, and what they report. After the peer's header, stops.h and watch.h. */
#ifndef EBB_BENCH_DEPTH_H
#define EBB_BENCH_DEPTH_H

#include "pairs.h"
#include "stops.h"
#include "watch.h"

/* run gets a pointer to the depth, an unsigned. */
static int depth_main(int argc, char **argv, void *(*run)(void *), unsigned least, unsigned most) {
    unsigned depth = (unsigned)bench_arg(argc, argv, "--depth", 16);
    unsigned threads = (unsigned)bench_arg(argc, argv, "--threads", 1);
    if (depth < least || depth > most) bench_fail("--depth takes %u to %u", least, most);

    char label[64];
    snprintf(label, sizeof label, "depth %u, %u thread%s", depth, threads, threads == 1 ? "" : "s");
    peer_start();
    if (pairs_run(argc, argv, label, &(struct pairs_work){run, &depth, threads})) return 0;
    watch_start(bench_flag(argc, argv, "--watch"));
    stops_begin();
    uint64_t start_ns = bench_now_ns();
    stops_threads(threads, run, &depth);
    uint64_t end_ns = bench_now_ns();

    if (watch_report(label)) return 0;
    bench_report(label, "s", (double)(end_ns - start_ns) / 1e9);
    bench_report(label, "CPU s", (double)bench_cpu_ns() / 1e9);
    bench_report(label, "peak MiB", BENCH_MIB(bench_peak_rss_bytes()));
    stops_report(label);
    return 0;
}

#endif
