/* turn.h - looks that others ask for, one at a time and not too often. docs/design.md, "Debug
 * server". */
#ifndef EBB_TURN_H
#define EBB_TURN_H

#include "endpoint.h"

/* What takes turns, of all pages together: between two is TURN_GAP_NS at least, TURN_SHARE - 1
 * times as long as the world stood still in the earlier one, and as long as that one took. So of
 * any time they stop the program for a TURN_SHARE-th at most, and make it collect for half. */
enum { TURN_GAP_NS = 10000000, TURN_SHARE = 10 };

/* Around each look that stops the world, and each collection, for the reply. Waits until it may be
 * made; the program's own requests (ebb_debug_get) do not wait. False, and nothing to end, when the
 * reader went or the time was up before. Not around what writes: a slow reader would keep it. */
EBB__SHARED bool ebb__turn_begin(reply *to);
EBB__SHARED void ebb__turn_end(const reply *to);

#endif
