/* ebb.h - Ebb, a garbage-collected memory runtime for C whose memory comes back.
 *
 * This header includes the core; read them in this order:
 *
 *   heap.h      allocate and describe types
 *   slice.h     slices and strings
 *   map.h       maps
 *   gc.h        the collector, roots, weak references, finalizers
 *   offheap.h   memory outside the heap
 *   stats.h     where every byte is
 *   profile.h   where what is in use was allocated
 *   memory.h    where every resident byte of the process is
 *   debug.h     ask a running program */
#ifndef EBB_H
#define EBB_H

#define EBB_VERSION_MAJOR 0
#define EBB_VERSION_MINOR 1
#define EBB_VERSION_PATCH 0

#include "config.h"
#include "heap.h"
#include "slice.h"
#include "map.h"
#include "gc.h"
#include "offheap.h"
#include "stats.h"
#include "profile.h"
#include "memory.h"
#include "debug.h"

#endif
