/* memory.h - where every resident byte is, for those who print it. docs/design.md, "Accounting". */
#ifndef EBB_OBSERVE_MEMORY_H
#define EBB_OBSERVE_MEMORY_H

#include "../gc/collector.h"
#include "../map/map.h"
#include "../../include/ebb/memory.h"

/* One class of struct ebb_memory. The table ends with a null name; its order is the struct's, and
 * all but the last, `unexplained`, are uint64_t. They add up to rss. */
typedef struct memory_class {
    const char *name, *group; /* group: "heap", "ebb", "outside" or "" */
    size_t offset;
    const char *says, *mends; /* what it is; what makes it smaller, "" where nothing need */
} memory_class;

EBB__SHARED extern const memory_class ebb__memory_classes[];
EBB__SHARED int64_t ebb__memory_of(const struct ebb_memory *m, const memory_class *class);

/* What is outside Ebb, by name: a file's path, "[heap]", a mapping's own name. */
enum { OUTSIDE_MALLOC, OUTSIDE_STACKS, OUTSIDE_FILES, OUTSIDE_OTHER };

enum { OUTSIDE_MAX = 500, OUTSIDE_NAME = 112 };

typedef struct outside_entry {
    char name[OUTSIDE_NAME]; /* the end of it, when it is longer */
    uint32_t kind;
    uint32_t mappings;
    uint64_t bytes;
} outside_entry;

/* What had no room is in the last entry, "…". */
typedef struct outside_list {
    size_t count;
    outside_entry entries[OUTSIDE_MAX];
} outside_list;

/* An empty list, null without memory: written to, or a look would not know of it. */
EBB__SHARED outside_list *ebb__memory_list(void);
EBB__SHARED void ebb__memory_list_free(outside_list *list); /* or null */

/* ebb_memory; fills *list too unless it is null, largest first. */
EBB__SHARED int ebb__memory_look(struct ebb_memory *out, outside_list *list);

/* The resident bytes of a table's slots that have no entry; once residency is taken. */
EBB__SHARED uint64_t ebb__memory_table_empty(const map_table *t);

#endif
