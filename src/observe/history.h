/* history.h - the latest cycles, for those who ask how collection goes. */
#ifndef EBB_OBSERVE_HISTORY_H
#define EBB_OBSERVE_HISTORY_H

#include "../gc/collector.h"

enum { HISTORY_CYCLES = 64 };

/* After each cycle. [collector lock; the world runs] */
EBB__SHARED void ebb__history_cycle(const cycle_record *record);

/* The latest cycles, oldest first: at most room of them. Returns how many.
 * [collector lock] */
EBB__SHARED unsigned ebb__history_take(cycle_record *records, unsigned room);

#endif
