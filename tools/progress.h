/* progress.h - says how far a long step is: a bar on a terminal, a line now and then elsewhere.
 * A step that takes under a second says nothing. */
#ifndef EBB_TOOLS_PROGRESS_H
#define EBB_TOOLS_PROGRESS_H

#include <stddef.h>

/* What runs now; shown in front of its steps. */
void progress_begin(const char *name);

/* Where it is. A label other than the last one is another step. done == total == 0 is unknown. */
void progress_at(const char *label, size_t done, size_t total);

/* Call it now and then meanwhile. */
void progress_tick(void);

/* Clears the bar. Also before anything else is printed. */
void progress_end(void);

#endif
