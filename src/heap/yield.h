/* yield.h - places where a thread may be held up, so that tests see more ways in which threads
 * interleave. docs/testing.md, "Yields". Without EBB_DEBUG=yield=SEED each is one branch that is
 * never taken. */
#ifndef EBB_YIELD_H
#define EBB_YIELD_H

#include "../base/base.h"

EBB__SHARED extern uint64_t ebb__yield_seed; /* 0: off; set once at start */

EBB__SHARED void ebb__yield_sleep(unsigned one_in);

/* Sleeps up to 300 us, about once in so many calls. */
EBB__INLINE void ebb__yield_point(unsigned one_in) {
    if (EBB__RARE(ebb__yield_seed != 0)) ebb__yield_sleep(one_in);
}

#endif
