/* json_read.h - values out of JSON that a program replied. */
#ifndef EBB_TOOLS_JSON_READ_H
#define EBB_TOOLS_JSON_READ_H

#include <stdbool.h>

/* Calls fn for each number, string, true, false and null, in order. path is how it is reached:
 * "verdict", "last[].pause_ns"; text is what stands there, of a string without quotes and with its
 * escapes resolved, cut where it is longer than a kilobyte. False: it is no JSON, or nested more
 * than 16 deep; what came before has been passed on. */
bool json_walk(const char *json, void (*fn)(void *arg, const char *path, const char *text),
               void *arg);

#endif
