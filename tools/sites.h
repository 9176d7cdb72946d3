/* sites.h - what a heap profile says of each place that allocates, and how far off it may be.
 *
 * An object of Z bytes is sampled with the probability p = 1 - exp(-Z / R), R being the period of
 * the profile, and each one that was sampled stands for 1 / p. When n were, the estimate of their
 * number is n / p, and the variance of that is estimated by n (1 - p) / p^2 = (n / p) (1 - p) / p.
 * Samples are independent, so variances of a place's sizes add up. With a period of 1 every object
 * is in the profile, and the variance is 0. What grew by Z bytes counts as an object of Z bytes, in
 * its bytes alone.
 *
 * Two profiles of one process have the samples in common that live in both: what differs are those
 * that were born between (as all that was ever allocated tells) and those that died. So the
 * variance of a difference is that of the sum of these two. For other profiles it is the sum of
 * both variances. See docs/observe.md. */
#ifndef EBB_TOOLS_SITES_H
#define EBB_TOOLS_SITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "intern.h"
#include "pprof.h"

/* What one profile says. */
struct sites_sum {
    double objects, bytes;
    double objects_variance, bytes_variance;
};

/* frames[frames_at, …) of the list, innermost first; sum[0] and sum[1] of the first and the second
 * profile. */
struct site {
    uint32_t frames_at, frames_count;
    struct sites_sum sum[2];
    double growth_variance; /* bytes; by sites_compare */
};

/* Objects of one size of one site, in either profile: in use (or what kind is), and ever allocated.
 */
struct sites_bucket {
    uint32_t site;
    double size, each; /* each: the variance that an object adds, in objects */
    double live[2], allocs[2];
};

/* Begins as {0}. Frames are numbers of texts: sites_frame. */
struct sites {
    struct intern texts, stacks;
    struct site *at;
    uint32_t *frames;
    size_t count, room, frames_count, frames_room;
    struct sites_sum total[2];
    struct intern bucket_keys;
    struct sites_bucket *buckets;
    size_t buckets_count, buckets_room;
    struct intern process;  /* of the first: what tells it from others */
    bool same_process;      /* the second is of the same, as far as can be seen */
    double growth_variance; /* of the total; by sites_compare */
};

struct sites_frame {
    const char *function, *file; /* the file's name without its directories; "" when unknown */
    int64_t line;
};

/* Adds up the samples of a profile by their stacks, as functions and lines. kind: "inuse" or
 * "alloc". Frames of Ebb's own that stand innermost are left out. False: the profile has no such
 * values. */
bool sites_add(struct sites *s, const struct pprof *p, const char *kind, int which);

struct sites_frame sites_frame(const struct sites *s, uint32_t frame);

/* After both: computes the variances of what grew. */
void sites_compare(struct sites *s);

/* Adds one sum to another. */
void sites_sum_add(struct sites_sum *to, const struct sites_sum *from);

/* As JSON: [{"function": "f", "file": "f.c", "line": 12}, …]. */
void sites_json_stack(const struct sites *s, const struct site *site, FILE *out);

void sites_free(struct sites *s);

#endif
