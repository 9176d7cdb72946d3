/* hooks.h - what the observers are called for; hooks.c has the one table. */
#ifndef EBB_OBSERVE_HOOKS_H
#define EBB_OBSERVE_HOOKS_H

#include "../gc/collector.h"

/* After each cycle. [collector lock; the world runs] */
EBB__SHARED void ebb__trace_cycle(const cycle_record *record);

#endif
