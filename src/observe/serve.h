/* serve.h - the debug server. docs/design.md, "Debug server". */
#ifndef EBB_SERVE_H
#define EBB_SERVE_H

#include "hooks.h"

/* The settings' wishes, once the heap has started. */
EBB__SHARED void ebb__serve_started(void);

/* By the service: a forked child begins to serve for itself. */
EBB__SHARED void ebb__serve_tick(void);

#endif
