/* sites.h - where objects come from: stacks, and what was allocated there by size. [sample lock, or
 * world stopped, or a forked snapshot] docs/design.md, "Profile".
 *
 *   site     a stack: return addresses, leaf first; numbered from 1, never forgotten
 *   bucket   a site and a size: numbered from 1, never forgotten, so its counts are since the start
 *
 * Site 1 is the one without a stack: of samples whose stack there was no memory or no way for. */
#ifndef EBB_SITES_H
#define EBB_SITES_H

#include "buffer.h"

enum { SITE_UNKNOWN = 1, SITE_DEPTH = 64 };

typedef struct profile_site {
    uint32_t hash, first, count; /* pcs[first, first + count) */
    uint32_t bucket;             /* the one asked for last, or 0: most sites have one size */
} profile_site;

/* Numbers of samples, not of objects: see ebb__sample_weight. */
typedef struct profile_bucket {
    size_t size; /* of an object, or by how much it grew */
    uint32_t site;
    bool growth;     /* bytes of objects that are counted elsewhere */
    uint64_t allocs; /* since the start */
    /* profile.c's: those that lived at the last cycle's end and are still there; and, if that
     * cycle's number is gone_cycle, by how many there were more then. In a copy: `live` as of that
     * cycle. */
    uint32_t live, gone_cycle;
    int32_t gone;
} profile_bucket;

/* 0 is no site and no bucket. */
typedef struct profile_sites {
    meta_buffer pcs, sites, buckets;
} profile_sites;

EBB__SHARED extern profile_sites ebb__sites;

/* The number of a stack, SITE_UNKNOWN when there is no memory for a new one. */
EBB__SHARED uint32_t ebb__site_of(const uintptr_t *pcs, unsigned count);

/* The number of a bucket; 0 when there is no memory for a new one. */
EBB__SHARED uint32_t ebb__bucket_of(uint32_t site, size_t size, bool growth);

EBB__INLINE profile_bucket *bucket_at(uint32_t number) {
    return (profile_bucket *)(void *)ebb__sites.buckets.bytes + number;
}

EBB__INLINE uint32_t bucket_count(const profile_sites *s) {
    return (uint32_t)(s->buckets.used / sizeof(profile_bucket));
}

EBB__INLINE const profile_site *site_at(const profile_sites *s, uint32_t number) {
    return (const profile_site *)(const void *)s->sites.bytes + number;
}

EBB__INLINE const uintptr_t *site_pcs(const profile_sites *s, uint32_t number) {
    return (const uintptr_t *)(const void *)s->pcs.bytes + site_at(s, number)->first;
}

EBB__INLINE uint32_t site_count(const profile_sites *s) {
    return (uint32_t)(s->sites.used / sizeof(profile_site));
}

/* Forgets all of them. */
EBB__SHARED void ebb__sites_forget(void);
EBB__SHARED size_t ebb__sites_bytes(void);

#endif
