/* yield.c - holds threads up at random, under EBB_DEBUG=yield=SEED. docs/testing.md, "Yields".
 *
 * Each thread has a generator of its own, from the seed and its turn in coming here first: the same
 * seed gives the same delays, though not the same interleaving. */
#include "yield.h"
#include "../os/os.h"

enum { YIELD_MOST_NS = 300000 };

uint64_t ebb__yield_seed;
static _Atomic(uint64_t) yield_threads;    /* relaxed: only the number counts */
static _Thread_local uint64_t yield_state; /* 0: not begun */

static uint64_t yield_random(void) {
    uint64_t z = yield_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void ebb__yield_sleep(unsigned one_in) {
    _Atomic(uint32_t) never = 0;
    int error = errno;
    if (!yield_state) {
        uint64_t turn = atomic_fetch_add_explicit(&yield_threads, 1, memory_order_relaxed);
        yield_state = ebb__yield_seed * 0x2545f4914f6cdd1du + turn + 1;
    }
    if (yield_random() % one_in == 0) ebb__os_wait(&never, 0, yield_random() % YIELD_MOST_NS);
    errno = error;
}
