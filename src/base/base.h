/* base.h - what every file of the library stands on: the C library's headers, small arithmetic,
 * assertions, messages. No system calls beyond writing a message, no heap. */
#ifndef EBB_BASE_H
#define EBB_BASE_H

#ifndef _GNU_SOURCE
# define _GNU_SOURCE 1
#endif
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Functions that programs call lie in a section of their own, so that the profiler can tell where a
 * stack leaves the library: see ebb__os_unwind. Whoever is between such a function and another one
 * that it calls has to be in it too. */
#undef EBB__ENTRY
#define EBB__ENTRY __attribute__((section("ebb_entry")))

#include "../../include/ebb/config.h"

/* A function of the library that other files of it use. */
#define EBB__SHARED __attribute__((visibility("hidden")))

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* Assertions: EBB_ASSERTIONS is 1 in debug builds. ebb__assert is for what costs little;
 * the …_check functions and the verifier are for what costs more. */
#ifndef EBB_ASSERTIONS
# define EBB_ASSERTIONS 0
#endif
#if EBB_ASSERTIONS
# define ebb__assert(cond) \
  ((cond) ? (void)0 : ebb__fail("assertion", "%s, %s:%d", #cond, __FILE__, __LINE__))
#else
# define ebb__assert(cond) ((void)sizeof(cond))
#endif

EBB__INLINE size_t round_up(size_t n, size_t to) {
    return (n + to - 1) & ~(to - 1);
}

EBB__INLINE size_t round_down(size_t n, size_t to) {
    return n & ~(to - 1);
}

EBB__INLINE bool is_power_of_two(size_t n) {
    return n != 0 && (n & (n - 1)) == 0;
}

EBB__INLINE size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

EBB__INLINE size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

/* How many bits are set. A call of the compiler's library on many processors, and most words here
 * are full or empty. */
EBB__INLINE uint32_t bits_in(uint64_t word) {
    return word + 1 <= 1 ? (uint32_t)(word & 64) : (uint32_t)__builtin_popcountll(word);
}

/* floor(log2(n)), n > 0. */
EBB__INLINE unsigned log2_floor(size_t n) {
    return 63u - (unsigned)__builtin_clzll((unsigned long long)n);
}

/* Fibonacci hashing (Knuth, TAOCP 3, 6.4) of what lies 16 bytes apart or more: the upper bits are
 * the good ones. */
EBB__INLINE uint64_t address_hash(uintptr_t address) {
    return (address >> 4) * 0x9e3779b97f4a7c15u;
}

/* Prints "ebb: MESSAGE" and a newline on standard error, by one write(2): usable everywhere. */
EBB__SHARED __attribute__((format(printf, 1, 2))) void ebb__warn(const char *format, ...);

/* The same without "ebb: ". */
EBB__SHARED __attribute__((format(printf, 1, 2))) void ebb__print(const char *format, ...);

/* A misuse by the program. Prints "ebb: CALL: MESSAGE" and aborts in debug builds and under
 * EBB_DEBUG=misuse=abort; otherwise returns code, for the caller to return. */
EBB__SHARED __attribute__((format(printf, 3, 4), cold)) int ebb__misuse(int code, const char *call,
                                                                        const char *format, ...);

/* Whether a misuse aborts. Set once, at start, from EBB_DEBUG=misuse=abort|return. */
EBB__SHARED extern bool ebb__misuse_aborts;

#endif
