/* held.h - a look at memory for a page, with what it costs more to know. docs/design.md,
 * "Accounting". */
#ifndef EBB_HELD_H
#define EBB_HELD_H

#include "endpoint.h"
#include "memory.h"

/* ebb__memory_look as a request wants it: with conservative=1 a snapshot finds `held` first, in
 * seconds= at most. False when the error was replied. */
EBB__SHARED bool ebb__memory_asked(const request *q, reply *to, struct ebb_memory *out,
                                   outside_list *list);

#endif
