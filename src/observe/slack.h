/* slack.h - memory that containers hold and do not use. */
#ifndef EBB_SLACK_H
#define EBB_SLACK_H

#include "../gc/collector.h"

/* The bytes in backing arrays beyond the length of every slice that was seen. [world stopped] */
EBB__SHARED size_t ebb__slack_slices(const root_set *roots);

#endif
