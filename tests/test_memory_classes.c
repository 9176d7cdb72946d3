/* test_memory_classes.c - ebb_memory: each class is moved by what belongs to it, and by nothing
 * else, and all of them add up to what the system says is resident. See docs/design.md,
 * "Accounting". */
#include <ebb/ebb.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"
#include "memory_look.h"
#include "modes.h"

#define MIB LOOK_MIB

/* What the C library and the machinery of a test may take meanwhile. */
#define SLACK ((int64_t)MIB)
/* A huge page at either end of what was touched. */
#define SLACK_HUGE ((int64_t)5 * (int64_t)MIB)

static void *held[200000];
static struct ebb_memory before, after;

/* No collection but those that a case makes, and threads of the library's own have started. */
static void quiet(void) {
    ebb_set_gc_percent(-1);
    memset(held, 0, sizeof held);
    held[0] = ebb_alloc(16);
    CHECK_EQ(ebb_collect(), 0);
    held[0] = NULL;
    usleep(50000);
    look_take(&before);
}

/* --- Outside Ebb ---------------------------------------------------------------------------- */

TEST(before_the_first_allocation) {
    struct ebb_memory m;
    memset(&m, 0xff, sizeof m);
    look_take(&m);
    CHECK_EQ(m.live + m.dead + m.offheap + m.held, 0);
    CHECK(m.outside_files > 0);
    CHECK(!m.held_known);
}

TEST(a_large_block_of_malloc) {
    if (test_slow()) SKIP("a sanitizer brings a malloc of its own");
    quiet();
    char *p = malloc(64 * MIB);
    memset(p, 1, 64 * MIB);
    __asm__ volatile("" : : "r"(p) : "memory"); /* or what nobody reads is not stored */
    look_take(&after);
    look_moved(&before, &after, "outside_malloc", 64 * (int64_t)MIB, SLACK, NULL);
    free(p);
    look_take(&after);
    look_moved(&before, &after, "outside_malloc", 1, SLACK, NULL);
}

TEST(small_blocks_of_malloc) {
    if (test_slow()) SKIP("a sanitizer brings a malloc of its own");
    quiet();
    for (size_t i = 0; i < 200000; i++) memset(held[i] = malloc(240), 1, 240);
    look_take(&after);
    look_moved(&before, &after, "outside_malloc", 200000 * 256, SLACK, NULL);
    for (size_t i = 0; i < 200000; i += 2) free(held[i]);
    look_take(&after);
    look_moved(&before, &after, "outside_malloc", 200000 * 256, SLACK, NULL);
    CHECK(after.malloc_free >= 100000 * 240 && after.malloc_free < 100000 * 300);
}

static pthread_barrier_t barrier;

static void *arena_thread(void *unused) {
    (void)unused;
    for (size_t i = 0; i < 4000; i++) {
        char *p = malloc(1000);
        memset(p, 1, 1000);
        ebb_keep_alive(p);
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

TEST(arenas_of_threads) {
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    if (test_slow()) SKIP("a sanitizer brings a malloc of its own");
    quiet();
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, arena_thread, NULL), 0);
    pthread_barrier_wait(&barrier);
    look_take(&after);
    look_moved(&before, &after, "outside_malloc", THREADS * 4000 * 1008, 2 * SLACK, NULL);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

static NOINLINE void stack_touch(void) {
    volatile char room[300000];
    for (size_t i = 0; i < sizeof room; i += 512) room[i] = 1;
}

static void *deep_thread(void *blocking) {
    stack_touch();
    if (blocking) ebb_blocking_begin();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    if (blocking) ebb_blocking_end();
    return NULL;
}

/* Memory that is mapped meanwhile lies beside stacks, and becomes one mapping with them. */
TEST(stacks_of_fifty_threads) {
    enum { THREADS = 50, OTHER = 10 };
    pthread_t threads[THREADS];
    char *other[OTHER];
    if (test_slow()) SKIP("a sanitizer gives stacks of another size");
    quiet();
    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, deep_thread, i % 2 ? &barrier : NULL);
        if (i % 5 == 0)
            other[i / 5] =
                mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    pthread_barrier_wait(&barrier);
    look_take(&after);
    look_moved(&before, &after, "outside_stacks", THREADS * 305000, SLACK, NULL);
    for (int i = 0; i < OTHER; i++) memset(other[i], 1, MIB);
    before = after;
    look_take(&after);
    look_moved(&before, &after, "outside_other", OTHER * (int64_t)MIB, SLACK, NULL);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

static int file_make(size_t bytes) {
    char path[] = "/tmp/ebb-memory-XXXXXX";
    static char room[65536];
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    unlink(path);
    memset(room, 1, sizeof room);
    for (size_t at = 0; at < bytes; at += sizeof room)
        CHECK_EQ(write(fd, room, sizeof room), sizeof room);
    return fd;
}

TEST(a_mapped_file) {
    quiet();
    int fd = file_make(16 * MIB);
    volatile char *p = mmap(NULL, 16 * MIB, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    for (size_t i = 0; i < 16 * MIB; i += 4096) (void)p[i];
    look_take(&after);
    look_moved(&before, &after, "outside_files", 16 * (int64_t)MIB, SLACK, NULL);
    munmap((void *)p, 16 * MIB);
    close(fd);
    look_take(&after);
    look_moved(&before, &after, "outside_files", 1, SLACK, NULL);
}

TEST(shared_memory) {
    quiet();
    char *p = mmap(NULL, 16 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    memset(p, 1, 16 * MIB);
    look_take(&after);
    look_moved(&before, &after, "outside_files", 16 * (int64_t)MIB, SLACK, NULL);
}

static char static_room[8 << 20];

TEST(static_data) {
    quiet();
    memset(static_room, 1, sizeof static_room);
    look_take(&after);
    look_moved(&before, &after, "outside_files", sizeof static_room, SLACK, NULL);
}

TEST(memory_that_something_else_mapped) {
    quiet();
    char *p = mmap(NULL, 20 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < 20 * MIB; i += 4096) p[i] = 1;
    look_take(&after);
    look_moved(&before, &after, "outside_other", 20 * (int64_t)MIB, SLACK, NULL);
    munmap(p, 20 * MIB);
}

/* --- The heap ------------------------------------------------------------------------------- */

static NOINLINE void objects_make(size_t count, size_t size) {
    for (size_t i = 0; i < count; i++) memset(held[i] = ebb_alloc_data(size), 1, size);
}

TEST(living_objects) {
    quiet();
    objects_make(200000, 200);
    look_take(&after);
    int64_t bytes = 200000 * 208;
    look_moved(&before, &after, "live", bytes, SLACK_HUGE, NULL);
    CHECK(after.live - before.live >= 200000 * 200);
}

TEST(free_slots_between_objects) {
    quiet();
    objects_make(200000, 200);
    look_take(&before);
    for (size_t i = 0; i < 200000; i += 2) held[i] = NULL;
    CHECK_EQ(ebb_collect(), 0);
    look_take(&after);
    int64_t half = (int64_t)(before.live / 2);
    CHECK(half > 100000 * 200 - SLACK);
    look_moved(&before, &after, "free_slots", half, SLACK, "live");
    CHECK(after.live < before.live - (uint64_t)half + MIB);
}

TEST(free_pages_before_and_after_they_go_back) {
    quiet();
    objects_make(40, 2 * MIB);
    look_take(&before);
    memset(held, 0, sizeof held);
    test_clear_stack();
    CHECK_EQ(ebb_collect(), 0);
    look_take(&after);
    look_moved(&before, &after, "free_pages", (int64_t)before.live, SLACK_HUGE, "live");
    CHECK(after.live < 6 * MIB);
    before = after;
    ebb_release();
    look_take(&after);
    look_moved(&before, &after, "free_pages", -(int64_t)before.free_pages, SLACK, "live");
    CHECK(before.rss - after.rss > 70 * MIB);
}

/* Huge pages bring memory that nobody touched; without them only what was touched is there. */
static void arrays_never_touched(uint64_t most_each) {
    enum { ARRAYS = 8 };
    quiet();
    for (size_t i = 0; i < ARRAYS; i++) CHECK((held[i] = ebb_alloc(64 * MIB)) != NULL);
    look_take(&after);
    look_moved(&before, &after, "live", ARRAYS * (int64_t)most_each / 2,
               ARRAYS * (int64_t)most_each / 2 + SLACK_HUGE, "metadata");
    CHECK(after.rss - before.rss < ARRAYS * most_each + 16 * MIB);
    before = after;
    memset((char *)held[0] + 16 * MIB, 1, 8 * MIB);
    look_take(&after);
    look_moved(&before, &after, "live", 8 * (int64_t)MIB, SLACK_HUGE, NULL);
    /* Searched, and so read: the system's page of zeroes is in the page tables now. */
    CHECK_EQ(ebb_collect(), 0);
    look_take(&after);
    CHECK(after.live - before.live < 8 * MIB + ARRAYS * most_each + 8 * MIB);
}

TEST(large_arrays_never_touched) {
    const char *gc = getenv("EBB_GC");
    bool huge = gc && strstr(gc, "huge=on");
    arrays_never_touched(huge ? 2 * MIB : 65536);
    CHECK_EQ(after.huge > 0, huge);
    if (huge) return;
    before = after;
    objects_make(1000, 100);
    look_take(&after);
    CHECK_EQ(after.free_never_used, 0);
}

/* Whether the system gives huge pages to those who ask. */
static bool huge_offered(void) {
    char *p = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    madvise(p, 4 * MIB, MADV_HUGEPAGE);
    memset(p, 1, 4 * MIB);
    look_take(&before);
    CHECK_EQ(munmap(p, 4 * MIB), 0);
    return before.huge > 0;
}

TEST(with_huge_pages) {
    if (!huge_offered()) SKIP("the system gives no huge pages");
    MODES_PASS("large_arrays_never_touched", NULL, "huge=on");
    MODES_PASS("living_objects", NULL, "huge=on");
    MODES_PASS("free_pages_before_and_after_they_go_back", NULL, "huge=on");
    MODES_PASS("adds_up_under_load", NULL, "huge=on");
}

TEST(ends_of_spans) {
    quiet();
    objects_make(10000, 3500);
    look_take(&after);
    look_moved(&before, &after, "live", 10000 * 3600, SLACK_HUGE, "span_ends");
    CHECK(after.span_ends < 10000 * 400);
}

EBB_SLICE(points, double);
static points cut, kept;

static NOINLINE void points_make(points *p) {
    *p = ebb_slice_make(points, 4 << 20);
    for (size_t i = 0; i < p->len; i++) p->ptr[i] = (double)i;
}

TEST(tails_of_slices) {
    quiet();
    points_make(&cut);
    points_make(&kept);
    look_take(&before);
    cut.len = cut.len / 4;
    look_take(&after);
    look_moved(&before, &after, "slice_tails", 24 * (int64_t)MIB, SLACK, "live");
    CHECK(before.live - after.live > 23 * MIB && before.live - after.live < 25 * MIB);
    ebb_clip(&cut);
    CHECK_EQ(ebb_collect(), 0);
    look_take(&after);
    CHECK(after.slice_tails < MIB);
}

typedef struct record {
    char bytes[100];
} record;
EBB_MAP(records, int64_t, record);
static records filled;

TEST(empty_slots_of_maps) {
    enum { ENTRIES = 200000 };
    quiet();
    ebb_map_grow_only(&filled);
    for (int64_t i = 0; i < ENTRIES; i++) ebb_map_put(&filled, i, (record){{1}});
    CHECK_EQ(ebb_collect(), 0);
    look_take(&before);
    for (int64_t i = 0; i < ENTRIES; i++) ebb_map_delete(&filled, i);
    CHECK_EQ(ebb_collect(), 0);
    look_take(&after);
    look_moved(&before, &after, "map_empty", ENTRIES * 112, 4 * SLACK, "live");
    CHECK(before.live - after.live > ENTRIES * 90);
    ebb_map_compact(&filled);
    CHECK_EQ(ebb_collect(), 0);
    look_take(&after);
    CHECK(after.map_empty < MIB);
}

/* --- Ebb's own ------------------------------------------------------------------------------ */

TEST(off_heap_memory) {
    ebb_region region = {0};
    quiet();
    CHECK(ebb_region_alloc(&region, 32 * MIB, 16) != NULL);
    look_take(&after);
    look_moved(&before, &after, "offheap", 1, SLACK_HUGE, NULL);
    char *p = ebb_region_alloc(&region, 32 * MIB, 16);
    memset(p, 1, 32 * MIB);
    look_take(&after);
    look_moved(&before, &after, "offheap", 32 * (int64_t)MIB, SLACK_HUGE, NULL);
    ebb_region_release(&region);
    look_take(&after);
    look_moved(&before, &after, "offheap", 1, SLACK, NULL);
}

/* More mappings than the library's list of them first has room for. */
TEST(many_mappings) {
    enum { REGIONS = 3000 };
    static ebb_region regions[REGIONS];
    quiet();
    for (size_t i = 0; i < REGIONS; i++) memset(ebb_region_alloc(&regions[i], 8000, 16), 1, 8000);
    look_take(&after);
    look_moved(&before, &after, "offheap", REGIONS * 8192, SLACK + REGIONS * 1024, NULL);
    for (size_t i = 0; i < REGIONS; i++) ebb_region_release(&regions[i]);
    look_take(&after);
    look_moved(&before, &after, "offheap", 1, SLACK, NULL);
}

/* Finalizers are kept in a table of Ebb's. */
static void nothing(void *object, void *arg) {
    (void)object, (void)arg;
}

TEST(metadata) {
    quiet();
    for (size_t i = 0; i < 100000; i++) {
        held[i] = ebb_alloc_data(16);
        CHECK_EQ(ebb_finalizer_set(held[i], nothing, NULL), 0);
    }
    look_take(&after);
    CHECK(after.metadata - before.metadata >= 100000 * 16);
    CHECK(after.metadata - before.metadata < 100000 * 100 + 4 * MIB);
}

/* --- At any moment -------------------------------------------------------------------------- */

TEST(adds_up_at_every_step) {
    uint64_t state = test_seed();
    for (size_t i = 0; i < 30000 * test_scale(); i++) {
        load_step(held, &state);
        if (test_random_below(&state, 200) == 0) look_take(&after);
        if (test_random_below(&state, 2000) == 0) CHECK_EQ(ebb_collect(), 0);
        if (test_random_below(&state, 5000) == 0) ebb_release();
    }
    modes_steps(30000 * test_scale());
}

TEST(adds_up_under_load) {
    struct load load = {0};
    load_start(&load);
    for (size_t i = 0; i < 200 * test_scale(); i++) {
        look_take(&after);
        if (i % 20 == 0) CHECK_EQ(ebb_collect(), 0);
        if (i % 60 == 0) ebb_release();
    }
    modes_steps(200 * test_scale());
    load_stop(&load);
}

static atomic_bool looking_end;

static void *looking_body(void *unused) {
    (void)unused;
    struct ebb_memory m;
    while (!atomic_load(&looking_end)) look_take(&m);
    return NULL;
}

static NOINLINE void first_objects_make(void) {
    held[0] = memset(ebb_alloc(8 * MIB), 0, 8 * MIB);
    held[1] = memset(ebb_alloc_data(8 * MIB), 1, 8 * MIB);
}

/* The heap's bounds are the addresses of its first objects: a look must not leave them behind. */
TEST(a_look_keeps_nothing_alive) {
    ebb_set_gc_percent(-1);
    first_objects_make();
    look_take(&before);
    CHECK(before.live > 15 * MIB);
    held[0] = held[1] = NULL;
    test_clear_stack();
    CHECK_EQ(ebb_collect(), 0);
    look_take(&after);
    CHECK(after.live < MIB);
}

TEST(several_look_at_once) {
    pthread_t threads[4];
    objects_make(2000, 2000);
    for (uintptr_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, looking_body, NULL), 0);
    for (int i = 0; i < 50; i++) {
        look_take(&after);
        struct ebb_stats stats;
        ebb_stats(&stats);
        load_step(held, &(uint64_t){(uint64_t)i});
    }
    atomic_store(&looking_end, true);
    for (size_t i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(adds_up_with_stress) {
    MODES_PASS("adds_up_at_every_step", "stress=211", NULL);
    MODES_PASS("adds_up_under_load", "stress=1013,verify=1", NULL);
    MODES_PASS("adds_up_at_every_step", NULL, "dirty=off");
}

/* What Ebb says of its pages alone agrees, where no page is partly resident. */
TEST(agrees_with_the_statistics) {
    struct ebb_stats stats;
    quiet();
    objects_make(100000, 300);
    CHECK_EQ(ebb_collect(), 0);
    look_take(&after);
    ebb_stats(&stats);
    CHECK(after.live <= stats.live);
    CHECK(stats.live - after.live < MIB);
    CHECK(after.metadata <= stats.metadata + MIB);
    CHECK(after.rss_counter + 4 * MIB > after.rss && after.rss_counter < after.rss + 4 * MIB);
}

TEST(in_a_forked_child) {
    objects_make(10000, 1000);
    look_take(&before);
    pid_t child = fork();
    int status = -1;
    if (child == 0) {
        look_take(&after);
        CHECK(after.shared > 5 * MIB);
        CHECK(after.live >= before.live && after.live < before.live + 2 * MIB);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

/* --- Errors --------------------------------------------------------------------------------- */

TEST(a_null_pointer) {
    DIES("ebb: ebb_memory: the pointer is null") {
        setenv("EBB_DEBUG", "misuse=abort", 1);
        CHECK(ebb_alloc(8) != NULL);
        ebb_memory(NULL);
    }
    setenv("EBB_DEBUG", "misuse=return", 1);
    CHECK(ebb_alloc(8) != NULL);
    CHECK_EQ(ebb_memory(NULL), EBB_EINVAL);
}

static void *deaf_thread(void *unused) {
    (void)unused;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

TEST(a_thread_that_does_not_stop) {
    pthread_t thread;
    if (test_slow()) SKIP("takes long");
    held[0] = ebb_alloc(100);
    pthread_barrier_init(&barrier, NULL, 2);
    CHECK_EQ(pthread_create(&thread, NULL, deaf_thread, NULL), 0);
    pthread_barrier_wait(&barrier);
    memset(&after, 0xff, sizeof after);
    CHECK_EQ(ebb_memory(&after), EBB_EBUSY);
    CHECK_EQ(after.rss, 0);
    pthread_barrier_wait(&barrier);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    look_take(&after);
}

/* Descriptors run out: nothing is lost, and the error says so. */
TEST(without_descriptors) {
    static int fds[4096];
    int count = 0;
    quiet();
    while (count < 4096 && (fds[count] = open("/dev/null", O_RDONLY)) >= 0) count++;
    if (count == 4096) SKIP("no limit on descriptors");
    int error = ebb_memory(&after);
    CHECK(error == EBB_ESYSTEM || error == EBB_EBUSY || error == EBB_ENOMEM);
    while (count > 0) close(fds[--count]);
    look_take(&after);
}
