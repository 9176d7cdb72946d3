/* load.h - a heap profile from a file or from a running program, with names. */
#ifndef EBB_TOOLS_LOAD_H
#define EBB_TOOLS_LOAD_H

#include <stdbool.h>

#include "pprof.h"

/* from: a file ("-": standard input), or what client_get takes, where nothing is called so. target
 * is the page that a program is asked for. Addresses that have no name yet get one where possible.
 * False: it said why on standard error. p is to be freed whatever comes of it. */
bool load_profile(struct pprof *p, const char *from, const char *target);

#endif
