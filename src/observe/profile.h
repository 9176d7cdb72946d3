/* profile.h - the heap profile: which objects were sampled, where they come from, which of them
 * live. docs/design.md, "Profile".
 *
 *   alloc   samples that were ever taken of a bucket (sites.h)
 *   live    those whose object the last cycle found alive: as exact as the cycle, and of the same
 *           stop as its totals. In a minor cycle what is old counts as alive.
 *
 * A sample goes when its object does: in the stop that finds it dead, or before it is freed by
 * hand. So an address in the table is always that of the object that was sampled. */
#ifndef EBB_PROFILE_INTERNAL_H
#define EBB_PROFILE_INTERNAL_H

#include "../gc/collector.h"
#include "sites.h"

typedef struct profile_sample {
    uintptr_t object;
    size_t size;
    uint32_t site;
    bool live; /* as of the last cycle; false for what was allocated since */
} profile_sample;

/* With the world stopped, or in a forked snapshot. */
EBB__SHARED void ebb__profile_each(void (*fn)(const profile_sample *sample, void *arg), void *arg);

/* The site of the object that starts at this address; 0: not sampled. As above. */
EBB__SHARED uint32_t ebb__profile_site(uintptr_t object);

/* The return addresses of a site, leaf first; 0 for a site without. As above. */
EBB__SHARED unsigned ebb__profile_stack(uint32_t site, uintptr_t *pcs, unsigned room);

/* How many objects of that size one sample stands for. */
EBB__SHARED double ebb__profile_weight(size_t size);

/* What the profile takes itself, of ebb_stats' metadata. */
EBB__SHARED size_t ebb__profile_bytes(void);

/* In the stop that ends a cycle: looks which samples live. */
EBB__SHARED void ebb__profile_marked(const cycle_record *record);

/* Once, outside of every lock: installs what EBB_PROFILE asks for. And now and then by the service
 * thread: writes what was asked for by a signal. */
EBB__SHARED void ebb__profile_started(void);
EBB__SHARED void ebb__profile_tick(void);

/* --- Copies, for who writes a profile ----------------------------------------------------------
 */

/* What the last cycle knew. */
typedef struct profile_cycle {
    uint64_t number; /* 0: there was none, all that was sampled and not freed counts as alive */
    size_t live_bytes, goal_bytes, footprint_bytes;
    bool full;
} profile_cycle;

typedef struct profile_copy {
    profile_sites sites;
    profile_cycle cycle;
    size_t rate;
    uint32_t epoch; /* differs when the rate was changed: what was counted began anew */
    uint64_t lost;  /* samples for which there was no memory */
    uint64_t wall_ns;
} profile_copy;

/* Threads: any, outside of locks. False without memory, with nothing to free. */
EBB__SHARED bool ebb__profile_copy(profile_copy *copy);
EBB__SHARED void ebb__profile_copy_free(profile_copy *copy);

#endif
