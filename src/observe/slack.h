/* slack.h - memory that containers hold and do not use. */
#ifndef EBB_SLACK_H
#define EBB_SLACK_H

#include "../gc/collector.h"

/* Calls visit for each living backing array that has a tail, in no order: where the array begins,
 * the tail's bounds. False without memory for the list. [world stopped] */
typedef void (*slack_visit)(const span *s, uintptr_t array, uintptr_t from, uintptr_t to,
                            void *arg);
EBB__SHARED bool ebb__slack_each(const root_set *roots, slack_visit visit, void *arg);

/* The bytes in backing arrays beyond the length of every slice that was seen. [world stopped] */
EBB__SHARED size_t ebb__slack_slices(const root_set *roots);

#endif
