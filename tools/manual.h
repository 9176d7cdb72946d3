/* manual.h - manual pages out of the commands' help, so that there is one text of each. */
#ifndef EBB_TOOLS_MANUAL_H
#define EBB_TOOLS_MANUAL_H

#include <stddef.h>
#include <stdio.h>

#include "command.h"

/* A page in the man language: section 1, name "ebb" or "ebb-NAME". help is as command.h has it:
 * blocks with an empty line between, "Example:", "usage:", lists (each line begins with two blanks)
 * and paragraphs. See docs/design.md, "Names". */
void manual_print(FILE *out, const char *name, const char *says, const char *help);

/* Writes DIR/ebb.1 and DIR/ebb-NAME.1 for each command. help: that of ebb itself. Returns an exit
 * status. */
int manual_write(const char *dir, const command *const *commands, size_t count, const char *help);

#endif
