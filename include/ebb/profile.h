/* ebb/profile.h - the heap profile: where what is in use was allocated. docs/observe.md.
 *
 * One byte in 512 KiB is sampled, at all times; EBB_PROFILE in the environment says otherwise, and
 * has profiles written by a signal and at exit. `go tool pprof` and all that read its format show
 * them; `ebb profile` and `ebb diff` do. */
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

/* Writes a profile to the file at path, made for its owner alone or, where there is one (or a link
 * to one, a device or a pipe), emptied and written to as by fopen(path, "w"): what is in use as of
 * the last collection (call ebb_collect before for what is in use now), and all that was ever
 * allocated. With the names of functions, and compressed, where the `ebb` command is found, which
 * is run for that; without them otherwise, and a comment in the profile says so.
 * Returns / errors: 0; EBB_ENOMEM; EBB_ESYSTEM, with errno, when the file cannot be written.
 * Threads: any, several at once to several files; waits for the command, 20 seconds at most.
 * Collects: never. */
EBB_API int ebb_profile_write(const char *path);

#ifdef __cplusplus
}
#endif
#endif
