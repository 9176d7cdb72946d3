/* residency.h - which pages of the heap are resident. docs/design.md, "Accounting". */
#ifndef EBB_RESIDENCY_H
#define EBB_RESIDENCY_H

#include "../heap/space.h"
#include "../os/memory.h"

/* A bit for each of the system's pages of the zones' used parts. One at a time: filled, asked and
 * dropped with the world stopped. False without memory. */
EBB__SHARED bool ebb__residency_take(const os_pages *pages);
EBB__SHARED void ebb__residency_drop(void);

/* Bytes of memory that the bits take. */
EBB__SHARED size_t ebb__residency_bytes(void);

/* How many bytes of [start, end), inside one zone's used part, are resident. */
EBB__SHARED size_t ebb__residency_in(uintptr_t start, uintptr_t end);

#endif
