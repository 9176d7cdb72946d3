/* metrics.h - what /metrics counts. */
#ifndef EBB_METRICS_H
#define EBB_METRICS_H

#include "../gc/collector.h"

/* After each cycle. [collector lock] */
EBB__SHARED void ebb__metrics_cycle(const cycle_record *record);

#endif
