/* ebb/profile.h - the heap profile: where what is in use was allocated. docs/observe.md.
 *
 * One byte in 512 KiB is sampled, at all times, at a cost that is hard to measure: EBB_PROFILE in
 * the environment says otherwise. `go tool pprof` and all that read its format show profiles. */
#ifndef EBB_PROFILE_H
#define EBB_PROFILE_H

#include "config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Samples one byte in `bytes` on average from now on: 1 is every object, 0 is none. What was
 * sampled before is forgotten, and counts begin anew; as if by EBB_PROFILE=rate=BYTES|off.
 * Returns / errors: 0; EBB_ENOMEM; EBB_EBUSY when a thread could not be stopped.
 * Threads: any.   Collects: never, but stops the world for a moment. */
EBB_API int ebb_profile_set_rate(size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
