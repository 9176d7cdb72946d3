/* test_internal_unwind.c - stacks by remembered rules are those that the compiler's unwinder finds,
 * and none where a frame is of another kind. See docs/design.md, "Profile". */
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

#include "../src/os/cfi.h"
#include "../src/os/unwind.h"
#include "test.h"

enum { MOST = 90, DEPTH = 20 };

static unsigned usual_count, same_count;

/* How many frames, counted from the outermost one, both ways agree on. */
static NOINLINE void stacks_compare(void) {
    uintptr_t usual[MOST], tables[MOST];
    unsigned n = ebb__os_unwind_usual(usual, MOST);
    unsigned m = ebb__os_unwind(UNWIND_TABLES, tables, MOST);
    usual_count = n;
    for (same_count = 0; same_count < n && same_count < m; same_count++)
        if (usual[n - same_count - 1] != tables[m - same_count - 1]) break;
}

/* All but the frames that differ: the comparing one, and the library's. */
static bool stacks_agree(unsigned least) {
#if defined(__x86_64__) && defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)
    return same_count >= least && usual_count - same_count <= 3;
#else
    (void)least;
    return usual_count == 0;
#endif
}

static NOINLINE int recurse(unsigned depth, int (*last)(void)) {
    volatile int a = depth > 0 ? recurse(depth - 1, last) : last();
    return a + 1;
}

/* Its stack pointer is known by its frame pointer alone. */
static NOINLINE int recurse_wide(unsigned depth, int (*last)(void)) {
    volatile char room[16 + 40 * depth];
    room[0] = 1;
    int a = depth > 0 ? recurse_wide(depth - 1, last) : last();
    return a + room[0];
}

static int compare_last(void) {
    stacks_compare();
    return 0;
}

TEST(rules_find_what_tables_find) {
    for (unsigned round = 0; round < 3; round++)
        for (unsigned depth = 0; depth < DEPTH; depth++) {
            recurse(depth, compare_last);
            CHECK(stacks_agree(depth + 2));
            recurse_wide(depth, compare_last);
            CHECK(stacks_agree(depth + 2));
        }
}

static int compare_elements(const void *a, const void *b) {
    stacks_compare();
    return *(const char *)a - *(const char *)b;
}

static int sort_last(void) {
    char letters[] = "badcfe";
    qsort(letters, 6, 1, compare_elements);
    return letters[0];
}

TEST(frames_of_the_c_library_are_known) {
    recurse(DEPTH, sort_last);
    CHECK(stacks_agree(DEPTH + 3));
}

static void *thread_run(void *arg) {
    for (int i = 0; i < 2000; i++) {
        recurse_wide((unsigned)i % DEPTH, arg ? sort_last : compare_last);
        if (!arg) CHECK(stacks_agree((unsigned)i % DEPTH + 2));
    }
    return NULL;
}

TEST(threads_have_an_end) {
    pthread_t id;
    CHECK_EQ(pthread_create(&id, NULL, thread_run, NULL), 0);
    CHECK_EQ(pthread_join(id, NULL), 0);
}

static int counts_differ;

static void *thread_count(void *arg) {
    uintptr_t pcs[MOST];
    unsigned first = ebb__os_unwind_usual(pcs, MOST);
    for (int i = 0; i < 100000; i++)
        if (ebb__os_unwind_usual(pcs, MOST) != first)
            __atomic_store_n(&counts_differ, 1, __ATOMIC_RELAXED);
    return arg;
}

/* What one thread remembers the others find, also while all is forgotten again and again. */
TEST(threads_remember_together) {
    pthread_t ids[3];
    for (int i = 0; i < 3; i++) CHECK_EQ(pthread_create(&ids[i], NULL, thread_count, NULL), 0);
    for (uint64_t i = 1; i < 2000; i++) ebb__cfi_unloads(UINT64_MAX - i);
    for (int i = 0; i < 3; i++) CHECK_EQ(pthread_join(ids[i], NULL), 0);
    CHECK_EQ(counts_differ, 0);
}

static void on_signal(int number) {
    uintptr_t pcs[MOST];
    usual_count = ebb__os_unwind_usual(pcs, MOST) + (number != SIGUSR1);
}

static int signal_last(void) {
    return raise(SIGUSR1);
}

/* Left to those who may wait. */
TEST(frames_of_signals_are_not_of_the_usual_kind) {
    signal(SIGUSR1, on_signal);
    usual_count = 1;
    recurse(3, signal_last);
    CHECK_EQ(usual_count, 0);
}

TEST(an_address_without_tables_has_no_rule) {
    static char data[16];
    CHECK_EQ(ebb__cfi_rule((uintptr_t)&data[8]) & CFI_KIND, CFI_NONE);
    CHECK_EQ(ebb__cfi_rule((uintptr_t)&data[8]) & CFI_KIND, CFI_NONE);
    CHECK_EQ(ebb__cfi_rule(1) & CFI_KIND, CFI_NONE);
}

static ucontext_t outside, inside;

static void context_run(void) {
    recurse(DEPTH, compare_last);
    swapcontext(&inside, &outside);
}

TEST(a_stack_of_the_programs_own) {
    static char stack[256 * 1024];
    CHECK_EQ(getcontext(&inside), 0);
    inside.uc_stack.ss_sp = stack;
    inside.uc_stack.ss_size = sizeof stack;
    inside.uc_link = NULL;
    makecontext(&inside, context_run, 0);
    CHECK_EQ(swapcontext(&outside, &inside), 0);
    CHECK(usual_count == 0 || stacks_agree(DEPTH + 1));
}
