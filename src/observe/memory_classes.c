/* memory_classes.c - what the classes of ebb_memory are called, what they are, and what makes each
 * smaller: the one table for text, JSON, profiles and metrics. docs/design.md, "Accounting". */
#include "memory.h"

#define CLASS(group, name, says, mends) \
 { #name, group, offsetof(struct ebb_memory, name), says, mends }

const memory_class ebb__memory_classes[] = {
    CLASS("heap", live, "objects that are alive, without the three that follow",
          "ebb why says who holds them; ebb diff, what grew"),
    CLASS(
        "heap", held,
        "objects that only words on stacks, in registers or thread-local storage lead to",
        "ebb why --conservative names the words; set variables to null, allocate numbers as data"),
    CLASS("heap", slice_tails, "slices' arrays beyond every length (at least so much)",
          "ebb_shrink or ebb_clip after cutting, or describe the field as slice_to_len; ebb slack "
          "says "
          "where"),
    CLASS("heap", map_empty, "slots of maps without an entry",
          "ebb_map_compact; or do not call ebb_map_grow_only, ebb_map_pause_shrinking, "
          "ebb_map_reserve; ebb slack says where"),
    CLASS("heap", dead, "found unreachable, not swept yet", "goes by itself, within the cycle"),
    CLASS("heap", free_pages, "pages without objects, kept for what comes next",
          "go back by themselves; ebb_release does it now; ebb trim --dry-run says when"),
    CLASS("heap", free_slots, "free slots in pages that hold other objects",
          "are used first; fewer sizes and lifetimes side by side, or a region, make fewer"),
    CLASS("heap", span_ends, "ends of pages too short for one more object", ""),
    CLASS("ebb", metadata, "Ebb's own tables: bitmaps, caches of threads, the profile",
          "goes back with the pages that it describes"),
    CLASS("ebb", offheap, "regions, pools, string banks",
          "ebb_region_release, ebb_region_reset, ebb_pool_release, ebb_bank_release"),
    CLASS("outside", outside_malloc, "malloc: its heap, arenas, large blocks",
          "free it; malloc_trim(0) returns what is free; MALLOC_ARENA_MAX=2 makes fewer arenas"),
    CLASS("outside", outside_stacks, "stacks of threads, as deep as they ever were",
          "fewer threads, or shallower ones"),
    CLASS("outside", outside_files, "code, static data, mapped files, shared memory",
          "munmap, or madvise(MADV_DONTNEED); ebb rss --outside names the files"),
    CLASS("outside", outside_other, "anonymous memory that something else has mapped",
          "another allocator or a library: ebb rss --outside"),
    CLASS("", unexplained, "what the system and Ebb do not agree about", ""),
    {0},
};

int64_t ebb__memory_of(const struct ebb_memory *m, const memory_class *class) {
    int64_t value;
    memcpy(&value, (const char *)m + class->offset, sizeof value);
    return value;
}
