/* series.h - the last ten minutes, a point a second. */
#ifndef EBB_SERIES_H
#define EBB_SERIES_H

#include "hooks.h"

/* Makes room; without memory there are no points. Once, before the first is taken. */
EBB__SHARED void ebb__series_start(void);

/* Around a fork: nobody is at the points meanwhile. */
EBB__SHARED void ebb__series_hold(void);
EBB__SHARED void ebb__series_let(void);

/* Takes a point: does not stop the world, nor walk the heap. By one thread at a time. */
EBB__SHARED void ebb__series_take(void);

#endif
