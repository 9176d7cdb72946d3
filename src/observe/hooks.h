/* hooks.h - what the observers are called for; hooks.c has the one table. */
#ifndef EBB_OBSERVE_HOOKS_H
#define EBB_OBSERVE_HOOKS_H

#include "../gc/collector.h"

/* After each cycle. [collector lock; the world runs] */
EBB__SHARED void ebb__trace_cycle(const cycle_record *record);

/* As the trace spells them: why a cycle was made; "full", "minor", with "-stopped" if in one stop.
 */
EBB__SHARED extern const char *const ebb__cause_names[CAUSE_COUNT];
EBB__SHARED const char *ebb__cycle_kind(const cycle_record *r);

#endif
