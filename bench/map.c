/* map.c - maps from int64 or string (MAP_STRINGS) to int64: build, find, miss, iterate, delete, and
 * the bytes that an entry takes; and the longest single operation, by the thread's CPU clock, read
 * after every one. Compiled as C and, for Abseil, as C++; map.go does the same in Go.
 *
 * Keys are written in batches outside the measured time. Maps of at most one batch are measured as
 * a thousand maps of that size, each visited ten times in a row; larger ones as one.
 *
 *     map_int_SIDE --entries 1000000 --measure 0
 *
 * where 0 is times, 1 bytes, 2 the worst operations: runs of their own, since they would disturb
 * each other. */
#include PEER_HEADER

#define BATCH  1024
#define COPIES 1000
#define RUNS   10

enum op { OP_PUT, OP_HIT, OP_MISS, OP_DELETE };

static peer_map maps[COPIES];
static map_key batch[BATCH];
#if MAP_STRINGS
static char *stored; /* the strings of all keys, MAP_STRING_BYTES each */
static char looked_up[BATCH][MAP_STRING_BYTES];
#endif

static size_t map_entries, map_copies, map_runs;
static size_t map_stride; /* coprime to map_entries: the order of visits */

static size_t map_gcd(size_t a, size_t b) {
    return b == 0 ? a : map_gcd(b, a % b);
}

static void map_setup(size_t entries) {
    map_entries = entries;
    map_copies = entries <= BATCH ? COPIES : 1;
    map_runs = entries <= BATCH ? RUNS : 1;
    map_stride = (size_t)((double)entries * 0.6180339) | 1;
    while (map_gcd(map_stride, entries) != 1) map_stride += 2;
#if MAP_STRINGS
    stored = (char *)peer_block(entries * MAP_STRING_BYTES);
    if (stored == NULL) bench_fail("out of memory");
    for (size_t i = 0; i < entries; i++) map_key_write(stored + i * MAP_STRING_BYTES, i);
#endif
}

/* The number of the key that is visited at `step`: insertions go in order. */
static size_t map_visit(enum op op, size_t step) {
    if (op == OP_PUT) return step;
    return (size_t)((unsigned __int128)step * map_stride % map_entries) +
           (op == OP_MISS ? map_entries : 0);
}

static size_t map_batch(enum op op, size_t first) {
    size_t count = map_entries - first < BATCH ? map_entries - first : BATCH;
    for (size_t k = 0; k < count; k++) {
        size_t i = map_visit(op, first + k);
#if MAP_STRINGS
        if (op != OP_PUT) {
            batch[k] = map_key_write(looked_up[k], i);
            continue;
        }
        const char *at = stored + i * MAP_STRING_BYTES;
        map_key key = {at, strlen(at)};
        batch[k] = key;
#else
        batch[k] = (int64_t)bench_mix(i);
#endif
    }
    return count;
}

/* One operation; how many entries it found, added or removed. The value of a key is its length or
 * its low bits, so that a wrong one shows. */
static inline int64_t map_value(map_key key) {
#if MAP_STRINGS
    return (int64_t)key.len;
#else
    return key & 1023;
#endif
}

static inline __attribute__((always_inline)) bool map_do(peer_map *map, enum op op, map_key key) {
    int64_t value = -1;
    switch (op) {
    case OP_PUT:
        return peer_put(map, key, map_value(key));
    case OP_DELETE:
        return peer_delete(map, key);
    default:
        return peer_get(map, key, &value) && value == map_value(key);
    }
}

/* All keys of one map, `runs` times (more than once: a map of one batch). Returns the time. */
static inline __attribute__((always_inline)) uint64_t map_run(peer_map *map, enum op op,
                                                              size_t runs) {
    uint64_t spent_ns = 0;
    size_t done = 0;
    for (size_t first = 0; first < map_entries; first += BATCH) {
        size_t count = map_batch(op, first);
        uint64_t start_ns = bench_now_ns();
        for (size_t r = 0; r < runs; r++)
            for (size_t k = 0; k < count; k++) done += map_do(map, op, batch[k]);
        spent_ns += bench_now_ns() - start_ns;
    }
    if (done != (op == OP_MISS ? 0 : map_entries * runs))
        bench_fail("operation %d did %zu of %zu", (int)op, done, map_entries * runs);
    return spent_ns;
}

/* The same with each operation by itself. Returns the longest, in CPU time of this thread. */
static inline __attribute__((always_inline)) uint64_t map_worst(peer_map *map, enum op op) {
    uint64_t worst_ns = 0;
    size_t done = 0;
    for (size_t first = 0; first < map_entries; first += BATCH) {
        size_t count = map_batch(op, first);
        uint64_t before_ns = bench_thread_ns();
        for (size_t k = 0; k < count; k++) {
            done += map_do(map, op, batch[k]);
            uint64_t now_ns = bench_thread_ns();
            if (now_ns - before_ns > worst_ns) worst_ns = now_ns - before_ns;
            before_ns = now_ns;
        }
    }
    if (done != map_entries) bench_fail("operation %d did %zu of %zu", (int)op, done, map_entries);
    return worst_ns;
}

static void map_report(const char *metric, double value) {
    char label[32];
    snprintf(label, sizeof label, "1e%d entries",
             (int)(0.5 + __builtin_log10((double)map_entries)));
    bench_report(label, metric, value);
}

static void map_report_time(const char *metric, uint64_t spent_ns, size_t runs) {
    map_report(metric, (double)spent_ns / (double)(map_entries * map_copies * runs));
}

static uint64_t map_iterate(peer_map *map) {
    size_t count = 0;
    uint64_t start_ns = bench_now_ns();
    int64_t sum = peer_sum(map, &count);
    uint64_t spent_ns = bench_now_ns() - start_ns;
    if (count != map_entries || sum < 0) bench_fail("iteration saw %zu entries", count);
    return spent_ns;
}

static void map_build(void) {
    uint64_t spent_ns = 0;
    for (size_t c = 0; c < map_copies; c++) {
        peer_make(&maps[c]);
        spent_ns += map_run(&maps[c], OP_PUT, 1);
    }
    map_report_time("insert ns", spent_ns, 1);
}

static void map_find(void) {
    uint64_t hit_ns = 0, miss_ns = 0, iterate_ns = 0;
    for (size_t c = 0; c < map_copies; c++) {
        hit_ns += map_run(&maps[c], OP_HIT, map_runs);
        miss_ns += map_run(&maps[c], OP_MISS, map_runs);
        for (size_t r = 0; r < map_runs; r++) iterate_ns += map_iterate(&maps[c]);
    }
    map_report_time("hit ns", hit_ns, map_runs);
    map_report_time("miss ns", miss_ns, map_runs);
    map_report_time("iterate ns", iterate_ns, map_runs);
}

static void map_empty(void) {
    uint64_t spent_ns = 0;
    for (size_t c = 0; c < map_copies; c++) spent_ns += map_run(&maps[c], OP_DELETE, 1);
    for (size_t c = 0; c < map_copies; c++) peer_destroy(&maps[c]);
    map_report_time("delete ns", spent_ns, 1);
}

static void map_weigh(void) {
    peer_settle();
    uint64_t before_bytes = bench_rss_bytes();
    for (size_t c = 0; c < map_copies; c++) {
        peer_make(&maps[c]);
        (void)map_run(&maps[c], OP_PUT, 1);
    }
    peer_settle();
    map_report("bytes an entry",
               (double)(bench_rss_bytes() - before_bytes) / (double)(map_entries * map_copies));
}

static void map_find_worst(void) {
    peer_make(&maps[0]);
    uint64_t put_ns = map_worst(&maps[0], OP_PUT);
    uint64_t delete_ns = map_worst(&maps[0], OP_DELETE);
    map_report("worst insert us", (double)put_ns / 1e3);
    map_report("worst delete us", (double)delete_ns / 1e3);
    map_report("worst of both us", (double)(put_ns > delete_ns ? put_ns : delete_ns) / 1e3);
    peer_destroy(&maps[0]);
}

int main(int argc, char **argv) {
    size_t entries = bench_arg(argc, argv, "--entries", 100000);
    if (entries < 10) bench_fail("--entries takes 10 or more");
    map_setup(entries);
    switch (bench_arg(argc, argv, "--measure", 0)) {
    case 0:
        map_build();
        map_find();
        map_empty();
        break;
    case 1:
        map_weigh();
        break;
    case 2:
        map_find_worst();
        break;
    default:
        bench_fail("--measure takes 0, 1 or 2");
    }
    return 0;
}
