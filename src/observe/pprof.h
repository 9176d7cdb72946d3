/* pprof.h - profiles as other programs read them. docs/design.md, "Profile". */
#ifndef EBB_PPROF_H
#define EBB_PPROF_H

#include "profile.h"

/* What to write: copies, of which `before` may be null; what is in it is taken off then. */
typedef struct pprof_source {
    const profile_copy *now, *before;
    const char *shown; /* the sample type that viewers begin with: "inuse_space", "alloc_space" */
} pprof_source;

/* The samples of a bucket and what they stand for, rounded to whole ones. */
typedef struct pprof_values {
    int64_t allocs, alloc_bytes, live, live_bytes;
} pprof_values;
EBB__SHARED pprof_values ebb__pprof_values(const pprof_source *source, uint32_t bucket);

/* The profile in the form profile.proto, not compressed and without names, added to *out. False
 * without memory. Threads: any, outside of locks. */
EBB__SHARED bool ebb__pprof_encode(const pprof_source *source, meta_buffer *out);

/* The same with names, compressed, by the ebb command; as it is where that cannot be had, and then
 * a comment in it says why. */
EBB__SHARED bool ebb__pprof_make(const pprof_source *source, meta_buffer *out);

/* A line "0xADDRESS NAME" for each address, in text; false, nothing added, without the ebb command.
 * addresses: one a line. */
EBB__SHARED bool ebb__pprof_names(const char *addresses, size_t size, meta_buffer *out);

/* Fields of the outermost message. */
enum pprof_field {
    PROFILE_SAMPLE_TYPE = 1,
    PROFILE_SAMPLE = 2,
    PROFILE_MAPPING = 3,
    PROFILE_LOCATION = 4,
    PROFILE_FUNCTION = 5,
    PROFILE_STRING = 6,
    PROFILE_TIME = 9,
    PROFILE_DURATION = 10,
    PROFILE_PERIOD_TYPE = 11,
    PROFILE_PERIOD = 12,
    PROFILE_COMMENT = 13,
    PROFILE_SHOWN = 14,
};

/* A number, or bytes, as a field of a message in this format: for who writes profiles of other
 * things. */
EBB__SHARED void ebb__pprof_number(meta_buffer *b, unsigned field, uint64_t value);
EBB__SHARED void ebb__pprof_bytes(meta_buffer *b, unsigned field, const void *bytes, size_t size);

#endif
