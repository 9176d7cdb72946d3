/* test_gc_roots.c - where a pointer must be found, and where it must not be: stacks, registers,
 * static and thread-local storage, registered and excluded ranges. What threads may be doing
 * meanwhile is in test_gc_stop.c. See docs/design.md, "The collector". */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"
#include "test.h"

#define COUNT 100

/* An object that only its complemented address, and a probe, know of. */
static NOINLINE uintptr_t roots_make(size_t size) {
    void *p = size % 2 ? ebb_alloc_data(size) : ebb_alloc(size);
    probe_add(p);
    return probe_hide(p);
}

static NOINLINE void roots_fill(void **where, size_t count) {
    for (size_t i = 0; i < count; i++) {
        where[i] = ebb_alloc(32);
        probe_add(where[i]);
    }
}

static NOINLINE void roots_expect(size_t from, size_t to, bool alive) {
    probe_collect();
    if (alive) {
        CHECK_EQ(probe_living(from, to), to - from);
    } else {
        CHECK(probe_living(from, to) <= PROBE_STALE);
    }
}

/* --- Nothing, static, stack ----------------------------------------------------------------- */

static void *in_bss[COUNT];
static void *in_data[COUNT] = {(void *)1};
static char in_bytes[8 * COUNT + 8];

TEST(what_nobody_holds_dies) {
    for (size_t i = 0; i < COUNT; i++) roots_make(i);
    roots_expect(0, COUNT, false);
}

TEST(static_storage_keeps) {
    roots_fill(in_bss, COUNT);
    roots_fill(in_data, COUNT);
    roots_expect(0, 2 * COUNT, true);
    memset(in_bss, 0, sizeof in_bss);
    roots_expect(0, COUNT, false);
    roots_expect(COUNT, 2 * COUNT, true);
}

TEST(static_bytes_keep) {
    void **aligned = (void **)(((uintptr_t)in_bytes + 7) & ~(uintptr_t)7);
    roots_fill(aligned, COUNT);
    roots_expect(0, COUNT, true);
}

TEST(static_storage_of_a_function_keeps) {
    static void *here[COUNT];
    roots_fill(here, COUNT);
    roots_expect(0, COUNT, true);
}

TEST(the_stack_keeps) {
    void *here[COUNT];
    roots_fill(here, COUNT);
    __asm__ volatile("" : : "r"(here) : "memory");
    roots_expect(0, COUNT, true);
    memset(here, 0, sizeof here);
    __asm__ volatile("" : : "r"(here) : "memory");
    roots_expect(0, COUNT, false);
}

static NOINLINE void roots_deep(size_t depth) {
    void *volatile here = ebb_alloc(16);
    probe_add(here);
    if (depth) {
        roots_deep(depth - 1);
    } else {
        CHECK_EQ(ebb_collect(), 0);
        CHECK_EQ(probe_living(0, probe_count), probe_count);
    }
    CHECK(here != NULL);
}

TEST(a_deep_stack_keeps) {
    roots_deep(2000);
}

static NOINLINE void roots_alloca(size_t bytes) {
    void **far = __builtin_alloca(bytes);
    roots_fill(far, 1);
    __asm__ volatile("" : : "r"(far) : "memory");
    roots_expect(0, 1, true);
    __asm__ volatile("" : : "r"(far) : "memory");
}

TEST(a_wide_frame_keeps) {
    roots_alloca((size_t)4 << 20);
}

/* malloc memory is not searched: the README says so. */
TEST(malloc_does_not_keep) {
    void **outside = calloc(COUNT, sizeof *outside);
    roots_fill(outside, COUNT);
    roots_expect(0, COUNT, false);
    free(outside);
}

/* The kernel's, the C library's and the environment's memory may hold anything; a chain through
 * dead objects keeps nothing. */
static NOINLINE void roots_chain(void) {
    void **last = NULL;
    for (size_t i = 0; i < COUNT; i++) {
        void **next = ebb_new_array(void *, 2);
        probe_add(next);
        next[0] = last;
        next[1] = next;
        last = next;
    }
}

TEST(dead_chains_and_circles_die) {
    for (size_t i = 0; i < 10; i++) roots_chain();
    probe_collect();
    size_t chains = 0;
    for (size_t i = 0; i < 10; i++) chains += probe_lives(i * COUNT);
    CHECK(chains <= PROBE_STALE);
}

/* --- Registers ------------------------------------------------------------------------------ */

#if defined(__x86_64__)
/* A thread that spins with the address in one register and nowhere else. Complemented, it comes in
 * rax and goes back the same way. */
static atomic_uint spin_ready, spin_go;

# define ROOTS_SPIN(name, enter, leave, ...)                 \
  static NOINLINE uintptr_t spin_##name(uintptr_t hidden) {  \
   __asm__ volatile("notq %%rax\n\t" enter "\n\t"            \
                    "xorl %%eax, %%eax\n\t"                  \
                    "movl $1, %[ready]\n"                    \
                    "1:\tcmpl $0, %[go]\n\t"                 \
                    "je 1b\n\t" leave "\n\t"                 \
                    "notq %%rax\n\t"                         \
                    : "+a"(hidden), [ready] "=m"(spin_ready) \
                    : [go] "m"(spin_go)                      \
                    : "memory", "cc", __VA_ARGS__);          \
   return hidden;                                            \
  }
# define ROOTS_SPIN_IN(reg)              \
  ROOTS_SPIN(reg, "movq %%rax, %%" #reg, \
             "movq %%" #reg ", %%rax\n\txorl %%" #reg "d, %%" #reg "d", #reg)
# define ROOTS_SPIN_OLD(reg, low) \
  ROOTS_SPIN(reg, "movq %%rax, %%" #reg, "movq %%" #reg ", %%rax\n\txorl %%" #low ", %%" #low, #reg)
# define ROOTS_SPIN_X(reg) \
  ROOTS_SPIN(reg, "movq %%rax, %%" #reg, "movq %%" #reg ", %%rax\n\tpxor %%" #reg ", %%" #reg, #reg)
ROOTS_SPIN_OLD(rbx, ebx)
ROOTS_SPIN_OLD(rcx, ecx)
ROOTS_SPIN_OLD(rdx, edx)
ROOTS_SPIN_OLD(rsi, esi)
ROOTS_SPIN_OLD(rdi, edi)
ROOTS_SPIN_IN(r8)
ROOTS_SPIN_IN(r9)
ROOTS_SPIN_IN(r10)
ROOTS_SPIN_IN(r11)
ROOTS_SPIN_IN(r12)
ROOTS_SPIN_IN(r13)
ROOTS_SPIN_IN(r14)
ROOTS_SPIN_IN(r15)
ROOTS_SPIN_X(xmm0)
ROOTS_SPIN_X(xmm7)
ROOTS_SPIN_X(xmm15)
ROOTS_SPIN(upper_half, "movq %%rax, %%xmm3\n\tpshufd $0x4e, %%xmm3, %%xmm3",
           "pshufd $0x4e, %%xmm3, %%xmm3\n\tmovq %%xmm3, %%rax\n\tpxor %%xmm3, %%xmm3", "xmm3")
/* Below the stack pointer, where leaf functions may keep what they like. */
ROOTS_SPIN(red_zone, "movq %%rax, -8(%%rsp)", "movq -8(%%rsp), %%rax\n\tmovq $0, -8(%%rsp)",
           "memory")
ROOTS_SPIN(red_zone_end, "movq %%rax, -128(%%rsp)",
           "movq -128(%%rsp), %%rax\n\tmovq $0, -128(%%rsp)", "memory")

typedef uintptr_t (*roots_spin)(uintptr_t hidden);

typedef struct spin_task {
    roots_spin spin;
    uintptr_t hidden;
} spin_task;

static void *spin_body(void *arg) {
    spin_task *task = arg;
    test_clear_stack();
    task->hidden = task->spin(task->hidden);
    return NULL;
}

static void roots_in_register(roots_spin spin) {
    pthread_t thread;
    spin_task *task = calloc(1, sizeof *task);
    size_t probe = probe_count;
    task->spin = spin;
    uintptr_t hidden = task->hidden = roots_make(48);
    atomic_store(&spin_ready, 0);
    atomic_store(&spin_go, 0);
    CHECK_EQ(pthread_create(&thread, NULL, spin_body, task), 0);
    while (!atomic_load(&spin_ready)) continue;
    probe_collect();
    CHECK(probe_lives(probe));
    atomic_store(&spin_go, 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(task->hidden, hidden);
    free(task);
}

TEST(every_register_keeps) {
    static const roots_spin spins[] = {spin_rbx,   spin_rcx,       spin_rdx, spin_rsi,  spin_rdi,
                                       spin_r8,    spin_r9,        spin_r10, spin_r11,  spin_r12,
                                       spin_r13,   spin_r14,       spin_r15, spin_xmm0, spin_xmm7,
                                       spin_xmm15, spin_upper_half};
    for (size_t i = 0; i < sizeof spins / sizeof spins[0]; i++) roots_in_register(spins[i]);
}

TEST(the_red_zone_keeps) {
    roots_in_register(spin_red_zone);
    roots_in_register(spin_red_zone_end);
}

/* In the thread that collects: registers that a call preserves. Nothing else has the address. */
static NOINLINE uintptr_t roots_collect_holding(uintptr_t hidden) {
    int (*collect)(void) = ebb_collect;
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\tpushq %%rbx\n\tpushq %%r12\n\t"
                     "notq %%rax\n\tmovq %%rax, %%r12\n\txorl %%eax, %%eax\n\txorl %%ebx, %%ebx\n\t"
                     "movq %%rsp, %%rbx\n\tsubq $16, %%rsp\n\tandq $-16, %%rsp\n\t"
                     "callq *%%rcx\n\t"
                     "movq %%rbx, %%rsp\n\t"
                     "movq %%r12, %%rax\n\tnotq %%rax\n\tpopq %%r12\n\tpopq %%rbx\n\t"
                     "leaq 128(%%rsp), %%rsp\n\t"
                     : "+a"(hidden), "+c"(collect)
                     :
                     : "memory", "cc", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0",
                       "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return hidden;
}

TEST(registers_of_the_collecting_thread_keep) {
    uintptr_t hidden = roots_make(48);
    test_clear_stack();
    CHECK_EQ(roots_collect_holding(hidden), hidden);
    CHECK(probe_lives(0));
}
#endif

/* --- Thread-local storage ------------------------------------------------------------------- */

static _Thread_local void *in_tls[COUNT];
static _Thread_local void *in_tls_data[2] = {(void *)1};

static void *tls_body(void *arg) {
    pthread_barrier_t *barrier = arg;
    roots_fill(in_tls, COUNT);
    roots_fill(in_tls_data, 2);
    test_clear_stack();
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return in_tls[0];
}

TEST(thread_local_storage_keeps) {
    pthread_t thread;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    CHECK_EQ(pthread_create(&thread, NULL, tls_body, &barrier), 0);
    pthread_barrier_wait(&barrier);
    roots_fill(in_tls, COUNT);
    roots_expect(0, 2 * COUNT + 2, true);
    pthread_barrier_wait(&barrier);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    roots_expect(0, COUNT + 2, false);
    roots_expect(COUNT + 2, 2 * COUNT + 2, true);
}

/* --- Modules loaded at run time ------------------------------------------------------------- */

typedef void **(*plugin_slots)(void);

static void *plugin_open(void) {
    void *plugin = dlopen(EBB_TEST_PLUGINS "/holder.so", RTLD_NOW);
    if (!plugin) fprintf(stderr, "%s\n", dlerror());
    CHECK(plugin != NULL);
    return plugin;
}

static plugin_slots plugin_function(void *plugin, const char *name) {
    plugin_slots function = (plugin_slots)(uintptr_t)dlsym(plugin, name);
    CHECK(function != NULL);
    return function;
}

TEST(static_storage_of_a_plugin_keeps) {
    void *plugin = plugin_open();
    void **slots = plugin_function(plugin, "holder_static")();
    roots_fill(slots, COUNT);
    roots_expect(0, COUNT, true);
    memset(slots, 0, COUNT * sizeof *slots);
    roots_expect(0, COUNT, false);
    CHECK_EQ(dlclose(plugin), 0);
    CHECK_EQ(ebb_collect(), 0);
}

/* What a plugin's static storage held dies with the plugin. */
static NOINLINE void roots_plugin_fill(void *plugin) {
    roots_fill(plugin_function(plugin, "holder_static")(), COUNT);
}

TEST(an_unloaded_plugin_keeps_nothing) {
    void *plugin = plugin_open();
    roots_plugin_fill(plugin);
    roots_expect(0, COUNT, true);
    CHECK_EQ(dlclose(plugin), 0);
    roots_expect(0, COUNT, false);
}

typedef struct plugin_task {
    plugin_slots slots;
    pthread_barrier_t barrier;
} plugin_task;

static void *plugin_tls_body(void *arg) {
    plugin_task *task = arg;
    roots_fill(task->slots(), COUNT);
    test_clear_stack();
    pthread_barrier_wait(&task->barrier);
    pthread_barrier_wait(&task->barrier);
    return NULL;
}

/* Thread-local storage that was made when a thread first touched it. */
TEST(thread_local_storage_of_a_plugin_keeps) {
    pthread_t thread;
    plugin_task task;
    void *plugin = plugin_open();
    task.slots = plugin_function(plugin, "holder_thread");
    pthread_barrier_init(&task.barrier, NULL, 2);
    CHECK_EQ(pthread_create(&thread, NULL, plugin_tls_body, &task), 0);
    pthread_barrier_wait(&task.barrier);
    roots_fill(task.slots(), COUNT);
    roots_expect(0, 2 * COUNT, true);
    pthread_barrier_wait(&task.barrier);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    roots_expect(0, COUNT, false);
    roots_expect(COUNT, 2 * COUNT, true);
}

/* --- Ranges that the program names ---------------------------------------------------------- */

TEST(an_added_range_keeps) {
    void **outside = calloc(COUNT, sizeof *outside);
    CHECK_EQ(ebb_root_add(outside, COUNT * sizeof *outside), 0);
    roots_fill(outside, COUNT);
    roots_expect(0, COUNT, true);
    CHECK_EQ(ebb_root_remove(outside), 0);
    roots_expect(0, COUNT, false);
    free(outside);
}

TEST(only_the_range_is_searched) {
    void **outside = calloc(3 * COUNT, sizeof *outside);
    CHECK_EQ(ebb_root_add(outside + COUNT, COUNT * sizeof *outside), 0);
    roots_fill(outside, 3 * COUNT);
    roots_expect(COUNT, 2 * COUNT, true);
    CHECK(probe_living(0, COUNT) + probe_living(2 * COUNT, 3 * COUNT) <= PROBE_STALE);
}

TEST(a_range_before_the_first_allocation) {
    void **outside = calloc(COUNT, sizeof *outside);
    CHECK_EQ(ebb_root_add(outside, COUNT * sizeof *outside), 0);
    roots_fill(outside, COUNT);
    roots_expect(0, COUNT, true);
}

TEST(an_unaligned_range_is_searched_by_its_whole_words) {
    char *outside = calloc(COUNT + 2, sizeof(void *));
    CHECK_EQ(ebb_root_add(outside + 3, COUNT * sizeof(void *) + 9), 0);
    roots_fill((void **)(void *)(outside + 8), COUNT);
    roots_expect(0, COUNT, true);
    CHECK_EQ(ebb_root_remove(outside + 3), 0);
}

TEST(many_ranges) {
    enum { RANGES = 3000 };
    void ***outside = calloc(RANGES, sizeof *outside);
    for (size_t i = 0; i < RANGES; i++) {
        outside[i] = calloc(1, sizeof(void *));
        CHECK_EQ(ebb_root_add(outside[i], sizeof(void *)), 0);
        roots_fill(outside[i], 1);
    }
    roots_expect(0, RANGES, true);
    for (size_t i = 0; i < RANGES; i += 2) CHECK_EQ(ebb_root_remove(outside[i]), 0);
    probe_collect();
    size_t even = 0, odd = 0;
    for (size_t i = 0; i < RANGES; i++) *(i % 2 ? &odd : &even) += probe_lives(i);
    CHECK_EQ(odd, RANGES / 2);
    CHECK(even <= PROBE_STALE);
}

TEST(an_excluded_range_does_not_keep) {
    CHECK_EQ(ebb_root_exclude(in_bss, sizeof in_bss), 0);
    roots_fill(in_bss, COUNT);
    roots_fill(in_data, COUNT);
    roots_expect(0, COUNT, false);
    roots_expect(COUNT, 2 * COUNT, true);
    CHECK_EQ(ebb_root_remove(in_bss), 0);
    roots_fill(in_bss, COUNT);
    roots_expect(2 * COUNT, 3 * COUNT, true);
}

TEST(part_of_an_array_can_be_excluded) {
    CHECK_EQ(ebb_root_exclude(in_bss + 30, 40 * sizeof *in_bss), 0);
    roots_fill(in_bss, COUNT);
    probe_collect();
    CHECK_EQ(probe_living(0, 30) + probe_living(70, COUNT), COUNT - 40);
    CHECK(probe_living(30, 70) <= PROBE_STALE);
}
