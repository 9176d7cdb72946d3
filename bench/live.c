/* live.c - a large live tree beside threads that allocate. The tree is built, which is timed; then
 * two workers loop: an array of a million pointers, 1024 objects of 64 bytes that only the array
 * refers to, some changes of the tree all over it; and all but the tree is dropped. A third thread
 * sleeps for a millisecond again and again and notes how long it was away at most.
 *
 *     live_SIDE --nodes 134217727 --seconds 30 --changes 16 --touch
 *     live_ebb --limit 4400MiB …     under a limit, after the same without one in another process
 *     live_ebb --watch …             only whether the heap keeps its goal
 *
 * Every second change swaps the children of an old node; the others put a new node in the place of
 * an old leaf, so that old nodes refer to young ones. Each worker has half of the tree to itself.
 * At the end the tree must have its nodes, every object must have been what was stored in it. The
 * sides that free by hand only build. */
#include PEER_HEADER
#include "stops.h"
#include "watch.h"

#include <sys/wait.h>
#include <unistd.h>

#define WORKERS     2
#define ARRAY_WORDS ((size_t)1000000)
#define ITEMS       ((size_t)1024)
#define PAGE_WORDS  (4096 / sizeof(void *))
#define TWIGS_MOST  ((size_t)1 << 18)

typedef struct node {
    struct node *left, *right;
    uint64_t key;
} node;
PEER_TYPE(node, ptr(left), ptr(right));

typedef struct item {
    struct item *before;
    uint64_t key, rest[6];
} item;
PEER_TYPE(item, ptr(before));

/* What was asked for. */
static struct {
    size_t nodes, seconds, changes;
    uint64_t limit_bytes;
    bool touch, watch;
} live;

static node *live_tree; /* a root */

/* --- The tree ------------------------------------------------------------------------------- */

static node *node_make(uint64_t key) {
    node *n = peer_new(node);
    if (n == NULL) bench_fail("out of memory");
    n->left = n->right = NULL;
    n->key = key;
    return n;
}

/* Keys are counted from first, in the order of creation. */
static node *tree_make(uint64_t first, size_t count) {
    if (count == 0) return NULL;
    node *n = node_make(first);
    n->left = tree_make(first + 1, count / 2);
    n->right = tree_make(first + 1 + count / 2, count / 2);
    return n;
}

static size_t tree_count(const node *n, uint64_t *sum) {
    if (n == NULL) return 0;
    *sum += bench_mix(n->key);
    return 1 + tree_count(n->left, sum) + tree_count(n->right, sum);
}

static void tree_check(void) {
    uint64_t sum = 0, expected = 0;
    for (size_t key = 0; key < live.nodes; key++) expected += bench_mix(key);
    if (tree_count(live_tree, &sum) != live.nodes) bench_fail("the tree lost nodes");
    if (sum != expected) bench_fail("the tree has other nodes");
}

/* --- A worker ------------------------------------------------------------------------------- */

/* The twigs are nodes whose children are leaves: never replaced themselves, so that the tree keeps
 * them alive though this array, from malloc, does not. */
struct worker {
    size_t iterations, twigs_count;
    node **twigs;
    uint64_t random;
};

static struct worker workers[WORKERS];
static bool worker_stop; /* atomic, relaxed: only says when */

static uint64_t worker_random(struct worker *w) {
    return bench_mix(w->random++);
}

static node *worker_find_twig(struct worker *w, node *n) {
    uint64_t bits = worker_random(w);
    for (; n->left->left != NULL; bits >>= 1) n = bits & 1 ? n->left : n->right;
    return n;
}

static void worker_start(size_t number, node *half) {
    struct worker *w = &workers[number];
    size_t twigs = live.nodes / 4 / WORKERS;
    w->twigs_count = twigs < TWIGS_MOST ? twigs : TWIGS_MOST;
    w->random = number << 60;
    w->twigs = (node **)malloc(w->twigs_count * sizeof *w->twigs);
    if (w->twigs == NULL) bench_fail("out of memory");
    for (size_t i = 0; i < w->twigs_count; i++) w->twigs[i] = worker_find_twig(w, half);
}

static void worker_change(struct worker *w, bool relink) {
    uint64_t random = worker_random(w);
    node *twig = w->twigs[(random >> 1) % w->twigs_count];
    if (relink) {
        node **leaf = random & 1 ? &twig->left : &twig->right;
        *leaf = node_make((*leaf)->key);
    } else {
        node *left = twig->left;
        twig->left = twig->right;
        twig->right = left;
    }
}

static void items_make(item **array, uint64_t key) {
    for (size_t i = 0; i < ITEMS; i++) {
        item *it = peer_new(item);
        if (it == NULL) bench_fail("out of memory");
        it->before = i > 0 ? array[i - 1] : NULL;
        it->key = it->rest[5] = key + i;
        array[i] = it;
    }
}

static void items_check(item *const *array, uint64_t key) {
    for (size_t i = 0; i < ITEMS; i++) {
        const item *it = array[i];
        if (it->key != key + i || it->rest[5] != key + i || (i > 0 && it->before != array[i - 1]))
            bench_fail("an object that was in use was lost");
    }
}

/* A word in each page behind those of the items. */
static void array_touch(item **array) {
    for (size_t i = ITEMS; i < ARRAY_WORDS; i += PAGE_WORDS) array[i] = array[i % ITEMS];
}

__attribute__((noinline)) static void worker_iterate(struct worker *w) {
    uint64_t key = worker_random(w);
    item **array = peer_pointers(item *, ARRAY_WORDS);
    if (array == NULL) bench_fail("out of memory");
    items_make(array, key);
    if (live.touch) array_touch(array);
    for (size_t i = 0; i < live.changes; i++) worker_change(w, i & 1);
    items_check(array, key);
    peer_free(array);
}

static void *worker_thread(void *arg) {
    struct worker *w = (struct worker *)arg;
    for (; !__atomic_load_n(&worker_stop, __ATOMIC_RELAXED); w->iterations++) worker_iterate(w);
    return NULL;
}

/* --- The third thread ----------------------------------------------------------------------- */

static uint64_t sleeper_longest_ns; /* its own until it is joined */

static void *sleeper_thread(void *unused) {
    uint64_t before_ns = bench_clock_ns(CLOCK_MONOTONIC);
    while (!__atomic_load_n(&worker_stop, __ATOMIC_RELAXED)) {
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
        uint64_t now_ns = bench_clock_ns(CLOCK_MONOTONIC);
        if (now_ns - before_ns > sleeper_longest_ns) sleeper_longest_ns = now_ns - before_ns;
        before_ns = now_ns;
    }
    return unused;
}

/* --- The run -------------------------------------------------------------------------------- */

static uint64_t live_own_bytes; /* resident, and not the peer's */

static void live_label(char *label, size_t size, const char *work) {
    size_t n = (size_t)snprintf(label, size, "%zu nodes%s", live.nodes, work);
    if (live.limit_bytes > 0)
        snprintf(label + n, size - n, ", limit %g MiB", BENCH_MIB(live.limit_bytes));
}

static void live_build(void) {
    char label[96];
    uint64_t start_ns = bench_now_ns();
    live_tree = tree_make(0, live.nodes);
    uint64_t end_ns = bench_now_ns();
    live_label(label, sizeof label, "");
    if (!live.watch) bench_report(label, "build s", (double)(end_ns - start_ns) / 1e9);
}

static void thread_start(pthread_t *id, void *(*run)(void *), void *arg) {
    if (pthread_create(id, NULL, run, arg) != 0) bench_fail("cannot start a thread");
}

/* Returns iterations a second. */
static double live_work(void) {
    pthread_t ids[WORKERS + 1];
    size_t iterations = 0;
    uint64_t start_ns = bench_clock_ns(CLOCK_MONOTONIC), past_ns;
    stops_begin();
    for (size_t i = 0; i < WORKERS; i++) thread_start(&ids[i], worker_thread, &workers[i]);
    thread_start(&ids[WORKERS], sleeper_thread, NULL);
    do {
        struct timespec pause = {0, 100000000};
        nanosleep(&pause, NULL);
        stops_poll();
        past_ns = bench_clock_ns(CLOCK_MONOTONIC) - start_ns;
    } while (past_ns < live.seconds * 1000000000);
    __atomic_store_n(&worker_stop, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i <= WORKERS; i++) pthread_join(ids[i], NULL);
    past_ns = bench_clock_ns(CLOCK_MONOTONIC) - start_ns;
    for (size_t i = 0; i < WORKERS; i++) iterations += workers[i].iterations;
    return (double)iterations * 1e9 / (double)past_ns;
}

static void live_report(double rate, double unlimited_rate) {
    char label[96], work[48];
    uint64_t peak = bench_peak_rss_bytes() - live_own_bytes;
    snprintf(work, sizeof work, ", %zu changes%s", live.changes, live.touch ? ", touched" : "");
    live_label(label, sizeof label, work);
    if (watch_report(label)) return;
    bench_report(label, "iterations/s", rate);
    stops_report(label);
    bench_report(label, "sleeper's gap ms", (double)sleeper_longest_ns / 1e6);
    bench_report(label, "peak MiB", BENCH_MIB(peak));
    if (live.limit_bytes == 0) return;
    bench_report(label, "part of the limit", (double)peak / (double)live.limit_bytes);
    bench_report(label, "part of the unlimited rate", rate / unlimited_rate);
}

static void live_run(double unlimited_rate) {
    uint64_t before = bench_rss_bytes();
    peer_start();
    peer_limit(live.limit_bytes);
    watch_start(live.watch);
    live_build();
    if (!PEER_FREES && live.seconds > 0) {
        worker_start(0, live_tree->left);
        worker_start(1, live_tree->right);
        live_own_bytes = before + WORKERS * workers[0].twigs_count * sizeof(node *);
        double rate = live_work();
        live_report(rate, unlimited_rate);
    }
    tree_check();
}

/* The same in a process of its own that knows no limit. It says nothing but its rate. */
static double live_unlimited_rate(void) {
    int ends[2];
    char line[256];
    double rate = 0;
    if (pipe(ends) != 0) bench_fail("pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0) bench_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        live.limit_bytes = 0;
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        live_run(0);
        exit(0);
    }
    close(ends[1]);
    FILE *lines = fdopen(ends[0], "r");
    while (lines != NULL && fgets(line, sizeof line, lines) != NULL) {
        const char *value = strstr(line, "\titerations/s\t");
        if (value != NULL) rate = strtod(value + strlen("\titerations/s\t"), NULL);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0 || rate <= 0)
        bench_fail("the run without a limit failed");
    return rate;
}

/* The largest perfect tree of at most so many nodes. */
static size_t live_perfect(size_t nodes) {
    size_t perfect = 15;
    while (2 * perfect + 1 <= nodes) perfect = 2 * perfect + 1;
    return perfect;
}

int main(int argc, char **argv) {
    live.nodes = live_perfect(bench_arg(argc, argv, "--nodes", 134217727));
    live.seconds = bench_arg(argc, argv, "--seconds", 30);
    live.changes = bench_arg(argc, argv, "--changes", 16);
    live.limit_bytes = bench_arg_bytes(argc, argv, "--limit");
    live.touch = bench_flag(argc, argv, "--touch");
    live.watch = bench_flag(argc, argv, "--watch");
    if (live.seconds == 0 && live.limit_bytes > 0) bench_fail("--limit needs --seconds");
    live_run(live.limit_bytes > 0 && !live.watch ? live_unlimited_rate() : 0);
    return 0;
}
