/* why.c - what a question about a large heap costs: the time until `ebb why` has its answer, the
 * longest that the program stands still meanwhile, and the memory of the process that looks.
 *
 *     why_ebb                      a hundred million objects in 4.4 GiB
 *     why_ebb --objects 1000000    fewer
 *     BENCH_CLOCK=cpu why_ebb      what the process that looks works, on a machine that is busy
 *
 * A table of lists that are filled in no order, so that neighbours on a list are no neighbours in
 * memory. A thread reads the clock all the while, and writes to old objects: its longest gap is the
 * stall, of which what it had before the question is reported too. See docs/benchmarks.md. */
#include <pthread.h>
#include <stdatomic.h>

#include <ebb/debug.h>
#include <ebb/ebb.h>

#include "bench.h"

struct item {
    long size, weight, colour[3];
};

struct record {
    struct record *next;
    struct item *item;
    long key, uses;
};

EBB_TYPE(struct item);
EBB_TYPE(struct record, ptr(next), ptr(item));

static struct record **table;
static size_t buckets;

static void table_fill(size_t records) {
    buckets = records / 8 + 1;
    table = ebb_new_array(struct record *, buckets);
    if (!table) bench_fail("no memory for the table");
    for (size_t i = 0; i < records; i++) {
        struct record *r = ebb_new(struct record);
        struct item *item = ebb_new(struct item);
        if (!r || !item) bench_fail("no memory for record %zu", i);
        size_t bucket = bench_mix(i) % buckets;
        r->key = (long)i;
        item->size = (long)i;
        r->item = item;
        r->next = table[bucket];
        table[bucket] = r;
    }
}

/* --- The longest gap ------------------------------------------------------------------------ */

static _Atomic(bool) gap_ends;
static _Atomic(uint64_t) gap_longest_ns; /* relaxed: written by one thread */

static void *gap_thread(void *unused) {
    uint64_t last_ns = bench_clock_ns(CLOCK_MONOTONIC), i = 0;
    while (!atomic_load_explicit(&gap_ends, memory_order_relaxed)) {
        uint64_t now_ns = bench_clock_ns(CLOCK_MONOTONIC);
        if (now_ns - last_ns > atomic_load_explicit(&gap_longest_ns, memory_order_relaxed))
            atomic_store_explicit(&gap_longest_ns, now_ns - last_ns, memory_order_relaxed);
        last_ns = now_ns;
        struct record *r = table[bench_mix(i++) % buckets];
        if (i % 64 == 0 && r) r->uses++;
    }
    return unused;
}

/* The longest since the last call. */
static double gap_ms(void) {
    return (double)atomic_exchange_explicit(&gap_longest_ns, 0, memory_order_relaxed) / 1e6;
}

/* --- The question --------------------------------------------------------------------------- */

struct answer {
    int status;
    size_t used;
    char text[16384];
};

static void answer_begin(void *arg, int status, const char *type, const char *filename) {
    (void)type, (void)filename;
    ((struct answer *)arg)->status = status;
}

static bool answer_write(void *arg, const void *bytes, size_t size) {
    struct answer *a = arg;
    size_t room = sizeof a->text - 1 - a->used;
    memcpy(a->text + a->used, bytes, size < room ? size : room);
    a->used += size < room ? size : room;
    return true;
}

static double answer_number(const struct answer *a, const char *name) {
    const char *at = strstr(a->text, name);
    return at ? strtod(at + strlen(name), NULL) : 0;
}

static void ask(size_t objects, const char *question, const char *target) {
    struct answer *a = calloc(1, sizeof *a);
    if (!a) bench_fail("no memory for an answer");
    ebb_debug_sink sink = {answer_begin, answer_write, a};
    char label[64];
    gap_ms();
    uint64_t start_ns = bench_clock_ns(CLOCK_MONOTONIC);
    ebb_debug_get(target, &sink);
    double seconds = (double)(bench_clock_ns(CLOCK_MONOTONIC) - start_ns) / 1e9;
    double stall = gap_ms(), cpu = answer_number(a, "\"cpu_ns\":") / 1e9;
    if (a->status != 200) bench_fail("%s: %d: %s", target, a->status, a->text);
    if (answer_number(a, "\"objects\":") < (double)objects)
        bench_fail("%s: only %.0f objects were found", target, answer_number(a, "\"objects\":"));
    snprintf(label, sizeof label, "%zu objects, %s", objects, question);
    bench_report(label, "answer s", bench_cpu_clock() ? cpu : seconds);
    bench_report(label, "cpu s", cpu);
    bench_report(label, "longest stall ms", stall);
    bench_report(label, "copying ms", answer_number(a, "\"taken_ns\":") / 1e6);
    bench_report(label, "copy's peak MiB", BENCH_MIB(answer_number(a, "\"child_bytes\":")));
    free(a);
}

int main(int argc, char **argv) {
    pthread_t thread;
    setenv("EBB_GC", "idle=off", 0); /* or a collection would compete for the processors */
    size_t objects = bench_arg(argc, argv, "--objects", 100000000);
    char label[64];
    snprintf(label, sizeof label, "%zu objects", objects);
    table_fill(objects / 2);
    bench_report(label, "resident MiB", BENCH_MIB(bench_rss_bytes()));
    if (pthread_create(&thread, NULL, gap_thread, NULL) != 0) bench_fail("cannot start a thread");
    nanosleep(&(struct timespec){2, 0}, NULL);
    bench_report(label, "stall before ms", gap_ms());
    ask(objects / 2 * 2, "who holds items", "/debug/ebb/why?target=item&format=json&seconds=600");
    ask(objects / 2 * 2, "types", "/debug/ebb/why?format=json&seconds=600");
    atomic_store_explicit(&gap_ends, true, memory_order_relaxed);
    pthread_join(thread, NULL);
    return 0;
}
