/* symbolize.h - gives the addresses of a profile their names. */
#ifndef EBB_TOOLS_SYMBOLIZE_H
#define EBB_TOOLS_SYMBOLIZE_H

#include <stddef.h>

#include "pprof.h"

/* Adds functions and lines to locations that have none, from the files of the profile's mappings,
 * or of a process (pid > 0) that still runs. What Ebb's own headers have inlined into the program
 * is left out. Returns how many locations were named. */
size_t symbolize_profile(struct pprof *p, int pid);

/* Whether any location lacks a name. */
bool symbolize_wanted(const struct pprof *p);

#endif
