/* history.c - the latest cycles, in a ring. docs/design.md, "Accounting". */
#include "history.h"

static struct {
    uint64_t count;
    cycle_record records[HISTORY_CYCLES];
} history; /* [collector lock] */

void ebb__history_cycle(const cycle_record *record) {
    history.records[history.count++ % HISTORY_CYCLES] = *record;
}

unsigned ebb__history_take(cycle_record *records, unsigned room) {
    uint64_t count = history.count < HISTORY_CYCLES ? history.count : HISTORY_CYCLES;
    if (count > room) count = room;
    for (uint64_t i = 0; i < count; i++)
        records[i] = history.records[(history.count - count + i) % HISTORY_CYCLES];
    return (unsigned)count;
}
