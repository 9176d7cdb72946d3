/* tool.h - the part of the contract with the system that a profile needs to be written: which files
 * the program's code comes from, and a program that is run on bytes. Implemented in linux_tool.c.
 * docs/design.md, "Profile". */
#ifndef EBB_OS_TOOL_H
#define EBB_OS_TOOL_H

#include "os.h"

/* The build id of the loaded file whose code this is. Bytes of it, 0 for none. Takes the loader's
 * lock. */
EBB__SHARED size_t ebb__os_build_id(uintptr_t code, unsigned char *id, size_t room);

/* The command line, arguments ended by zeroes, cut at the room's end. Returns its length. */
EBB__SHARED size_t ebb__os_command_line(char *text, size_t room);

/* Why a program that was run gave nothing. */
enum os_filter_end { FILTER_GOOD, FILTER_MISSING, FILTER_FAILED, FILTER_LATE };

/* Runs the program at `path` (looked for in PATH if it has no slash) on input, and puts what it
 * wrote into *output: mapped as OS_METADATA, *room bytes, for the caller to unmap.
 *
 * It has the program's standard error and no other descriptor of it, no signal blocked or ignored,
 * and none of the variables EBB_… and LD_PRELOAD. It is killed after timeout_ns. Only its own end
 * is waited for: the program is sent SIGCHLD for it, as for any child. Where the program ignores
 * SIGCHLD or waits for all children itself, how the run ended is not known, and it counts as good
 * if it wrote anything. Uses malloc. Threads: any, outside of locks. */
typedef struct os_output {
    void *bytes;
    size_t size, room;
} os_output;
EBB__SHARED enum os_filter_end ebb__os_filter(const char *path, char *const *arguments,
                                              const void *input, size_t size, uint64_t timeout_ns,
                                              os_output *output);

/* The program `name` in the tree that this library was put into, which may have been moved since it
 * was configured: DIR/../bin or DIR, of the file that this code is in. Only one that nobody but
 * root and this user can have put there. False when there is none. */
EBB__SHARED bool ebb__os_program_beside(const char *name, char *path, size_t size);

/* Whether the process has rights that who started it has not: then nobody's PATH is believed. */
EBB__SHARED bool ebb__os_secure(void);

#endif
