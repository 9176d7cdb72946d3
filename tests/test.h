/* test.h - what a test file includes: cases, checks, deaths, seeds.
 *
 *     TEST(append_grows) {
 *         CHECK(ebb_alloc(8));
 *         DIES("not an object") { ebb_free(&local); }
 *     }
 *
 * Each tests/test_NAME.c becomes an executable of its own, with main from harness.c. Every case
 * runs in its own child process, so that each begins with a heap that nobody has used.
 *
 *     test_NAME                  runs every case
 *     test_NAME append_grows     runs this one
 *     test_NAME --list           names them
 *
 * From the environment: EBB_TEST_SEED, EBB_TEST_SCALE, EBB_TEST_TIMEOUT (seconds, a case),
 * EBB_TEST_SKIP (names of cases to leave out). */
#ifndef EBB_TEST_H
#define EBB_TEST_H

#ifndef _GNU_SOURCE
# define _GNU_SOURCE 1
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* noipa also keeps gcc from cloning the function or seeing through the call. */
#ifdef __clang__
# define NOINLINE __attribute__((noinline))
#else
# define NOINLINE __attribute__((noipa))
#endif

typedef struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
} test_case;

/* Cases run in the order in which they stand in the file. */
#define TEST(name)                                                     \
 static void test_run_##name(void);                                    \
 __attribute__((constructor)) static void test_register_##name(void) { \
  static test_case self = {#name, test_run_##name, NULL};              \
  test_register(&self);                                                \
 }                                                                     \
 static void test_run_##name(void)

/* A check that fails ends its case, from whatever thread. */
#define CHECK(cond) ((cond) ? (void)0 : test_fail(__FILE__, __LINE__, "CHECK(%s) failed", #cond))

/* Integers and pointers. Both are widened to 64 bits, signed ones with their sign. */
#define CHECK_EQ(a, b) \
 test_check_eq(__FILE__, __LINE__, #a, #b, (unsigned long long)(a), (unsigned long long)(b))

/* Zero-terminated strings; null equals null only. */
#define CHECK_STR(a, b) test_check_str(__FILE__, __LINE__, #a, #b, (a), (b))

/* Runs the block after it in a forked child, which has to die by abort with this text on its
 * standard error. The block may not leave by break, return or goto. */
#define DIES(substring)                                                                \
 for (bool test_dying = test_death_begin(__FILE__, __LINE__, (substring)); test_dying; \
      test_dying = test_death_survived())

/* Ends the case as neither passed nor failed: what it needs is not here. */
#define SKIP(why) test_skip(why)

void test_register(test_case *test);

__attribute__((noreturn, format(printf, 3, 4))) void test_fail(const char *file, int line,
                                                               const char *format, ...);
void test_check_eq(const char *file, int line, const char *a_text, const char *b_text,
                   unsigned long long a, unsigned long long b);
void test_check_str(const char *file, int line, const char *a_text, const char *b_text,
                    const char *a, const char *b);
bool test_death_begin(const char *file, int line, const char *substring);
bool test_death_survived(void);
__attribute__((noreturn)) void test_skip(const char *why);

/* The seed of this run: EBB_TEST_SEED, or a new one each run. Printed when a case fails. */
uint64_t test_seed(void);

/* The next number of the sequence (splitmix64) that starts at *state; begin with test_seed(), or
 * with test_seed() + k for the k-th thread. */
uint64_t test_random(uint64_t *state);

/* The same, below n (n > 0). */
uint64_t test_random_below(uint64_t *state, uint64_t n);

/* How much longer than usual to run: 1, or EBB_TEST_SCALE. Multiply loop counts by it. */
size_t test_scale(void);

/* Whether this build slows the program down many times (a sanitizer): divide loop counts. */
bool test_slow(void);

/* A fork; under a sanitizer when the other threads sleep, or after two seconds. For there a thread
 * that begins allocates, and AddressSanitizer holds no lock of its allocator over a fork: the
 * child's next thread would wait for it for ever. The C library's allocator is safe from that. */
pid_t test_fork(void);

/* Overwrites the stack below the caller, where dead frames may still hold pointers. */
void test_clear_stack(void);

#endif
