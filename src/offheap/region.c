/* region.c - memory that is handed out by moving a pointer and goes away all at once.
 *
 * A region is a list of chunks. Only the first is handed out from; those behind it are full. A
 * chunk is as large as all before it together, so that a region of n bytes has log n chunks and at
 * most half of it is unused; what is large beside that gets a chunk of its own, behind the first,
 * so that the rest of the first is not lost.
 *
 *   chunk -> | header | handed out ......... | next ... end | not rooted yet |
 *              full   -> | header | handed out ................. | lost rest |
 *
 * A region that is a root has its chunks searched up to `end`, which then is not the chunk's end:
 * the searched part doubles each time that `next` arrives there. So untouched memory is not read,
 * and nothing is ever handed out that is not searched. See docs/offheap.md. */
#include "offheap.h"
#include "../../include/ebb/gc.h"

#define REGION_FIRST_BYTES  (64 * KIB)
#define REGION_MOST_BYTES   (64 * MIB)
#define REGION_MOST_ALIGNED GIB

struct ebb__chunk {
    struct ebb__chunk *next;
    size_t bytes;        /* mapped, this header included */
    size_t used_bytes;   /* handed out, without the header; of the first chunk: not kept */
    size_t rooted_bytes; /* searched by the collector, from the chunk's start */
};

typedef struct ebb__chunk chunk;

static uintptr_t chunk_start(const chunk *c) {
    return (uintptr_t)c;
}

static uintptr_t chunk_data(const chunk *c) {
    return (uintptr_t)c + sizeof *c;
}

/* --- Chunks as roots -------------------------------------------------------------------------- */

/* A chunk is registered in pieces that each double what came before. */
static size_t chunk_piece(const chunk *c, size_t from) {
    return min_size(from ? from : REGION_FIRST_BYTES, c->bytes - from);
}

static void chunk_unroot(chunk *c) {
    for (size_t at = 0; at < c->rooted_bytes;) {
        size_t piece = chunk_piece(c, at);
        ebb_root_remove((const void *)(chunk_start(c) + at));
        at += piece;
    }
    c->rooted_bytes = 0;
}

/* Has at least the first `bytes` bytes of the chunk searched. */
static int chunk_root(chunk *c, size_t bytes) {
    while (c->rooted_bytes < bytes) {
        size_t piece = chunk_piece(c, c->rooted_bytes);
        int code = ebb_root_add((const void *)(chunk_start(c) + c->rooted_bytes), piece);
        if (code != 0) return code;
        c->rooted_bytes += piece;
    }
    return 0;
}

/* --- Chunks ----------------------------------------------------------------------------------- */

/* A chunk of `bytes`, or of `least` where there is not as much. */
static chunk *chunk_map(size_t bytes, size_t least) {
    bytes = round_up(bytes, ebb__os_page_size());
    least = round_up(least, ebb__os_page_size());
    chunk *c = ebb__offheap_map(bytes);
    if (!c && least < bytes) c = ebb__offheap_map(bytes = least);
    if (!c) return NULL;
    c->bytes = bytes;
    return c;
}

static void chunk_unmap(ebb_region *region, chunk *c) {
    chunk_unroot(c);
    region->mapped_bytes -= c->bytes;
    ebb__offheap_unmap(c, c->bytes);
}

static size_t region_current_bytes(const ebb_region *region) {
    return region->chunk ? region->next - chunk_data(region->chunk) : 0;
}

/* Starts handing out from the first chunk. */
static void region_begin(ebb_region *region) {
    chunk *c = region->chunk;
    region->next = chunk_data(c);
    region->end =
        chunk_start(c) + (region->is_root ? max_size(c->rooted_bytes, sizeof *c) : c->bytes);
}

/* Puts c first. */
static void region_push(ebb_region *region, chunk *c) {
    if (region->chunk) {
        region->chunk->used_bytes = region_current_bytes(region);
        region->full_bytes += region->chunk->used_bytes;
    }
    c->next = region->chunk;
    region->chunk = c;
    region->mapped_bytes += c->bytes;
    region_begin(region);
}

static uintptr_t region_align(uintptr_t at, size_t align) {
    return (at + align - 1) & ~(uintptr_t)(align - 1);
}

/* Puts c behind the first chunk, as full: all of it is for one request. */
static void *region_push_full(ebb_region *region, chunk *c, size_t size, size_t align) {
    uintptr_t at = region_align(chunk_data(c), align);
    c->used_bytes = at + size - chunk_data(c);
    if (region->is_root && chunk_root(c, at + size - chunk_start(c)) != 0) {
        chunk_unroot(c);
        ebb__offheap_unmap(c, c->bytes);
        return NULL;
    }
    c->next = region->chunk->next;
    region->chunk->next = c;
    region->mapped_bytes += c->bytes;
    region->full_bytes += c->used_bytes;
    return (void *)at;
}

static size_t region_chunk_bytes(const ebb_region *region) {
    if (!region->chunk) return max_size(REGION_FIRST_BYTES, region->keep_bytes + sizeof(chunk));
    return min_size(max_size(REGION_FIRST_BYTES, region->mapped_bytes), REGION_MOST_BYTES);
}

/* Whether the first chunk has room that is only not searched yet; if so, has it searched. */
static bool region_extend_root(ebb_region *region, size_t size, size_t align) {
    chunk *c = region->chunk;
    if (!region->is_root || !c) return false;
    uintptr_t end = chunk_start(c) + c->bytes, at = region_align(region->next, align);
    if (at > end || size > end - at) return false;
    if (chunk_root(c, at + size - chunk_start(c)) != 0) return false;
    region->end = chunk_start(c) + c->rooted_bytes;
    return true;
}

/* --- The public calls ------------------------------------------------------------------------- */

static bool region_request_check(const ebb_region *region, size_t size, size_t align) {
    const char *call = "ebb_region_alloc";
    bool aligned = is_power_of_two(align) && align <= REGION_MOST_ALIGNED;
    if (!region) {
        ebb__misuse(EBB_EINVAL, call, "the region is a null pointer");
    } else if (!aligned) {
        ebb__misuse(EBB_EINVAL, call, "alignment %zu is no power of two up to 1 GiB", align);
    }
    return region && aligned && size <= PTRDIFF_MAX / 2;
}

void *ebb__region_grow(ebb_region *region, size_t size, size_t align) {
    if (!region_request_check(region, size, align)) return NULL;
    if (size == 0) return ebb_region_alloc(region, 1, align);
    if (region_extend_root(region, size, align)) return ebb_region_alloc(region, size, align);

    size_t least = sizeof(chunk) + size + (align > _Alignof(max_align_t) ? align : 0);
    size_t usual = region_chunk_bytes(region);
    bool own = region->chunk && least > usual / 4;
    chunk *c = own ? chunk_map(least, least) : chunk_map(max_size(usual, least), least);
    if (!c) return NULL;
    if (own && region->chunk) return region_push_full(region, c, size, align);
    region_push(region, c);
    if (region->is_root && !region_extend_root(region, size, align)) return NULL;
    return ebb_region_alloc(region, size, align);
}

ebb_str ebb_region_str(ebb_region *region, ebb_str text) {
    char *copy = text.len < PTRDIFF_MAX ? ebb_region_alloc(region, text.len + 1, 1) : NULL;
    if (!copy) return (ebb_str){NULL, 0};
    if (text.len) memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    return (ebb_str){copy, text.len};
}

static void region_unmap(ebb_region *region) {
    for (chunk *c = region->chunk, *next; c; c = next) {
        next = c->next;
        chunk_unmap(region, c);
    }
    region->chunk = NULL;
    region->next = region->end = 0;
    ebb__assert(region->mapped_bytes == 0);
}

/* What is kept is what the largest of recent rounds used, so that a region in steady use settles on
 * one chunk and neither maps nor unmaps. A round's weight falls by a quarter with each reset. */
void ebb_region_reset(ebb_region *region) {
    if (!region) {
        ebb__misuse(EBB_EINVAL, "ebb_region_reset", "the region is a null pointer");
        return;
    }
    size_t used = ebb_region_used_bytes(region);
    region->keep_bytes = max_size(used, region->keep_bytes - region->keep_bytes / 4);
    region->full_bytes = 0;
    chunk *c = region->chunk;
    if (!c) return;
    if (c->next || c->bytes > max_size(4 * region->keep_bytes, REGION_FIRST_BYTES)) {
        region_unmap(region);
        return;
    }
    chunk_unroot(c);
    memset((void *)chunk_data(c), 0, used);
    region_begin(region);
}

void ebb_region_release(ebb_region *region) {
    if (!region) {
        ebb__misuse(EBB_EINVAL, "ebb_region_release", "the region is a null pointer");
        return;
    }
    region_unmap(region);
    *region = (ebb_region){0};
}

int ebb_region_root(ebb_region *region) {
    if (!region) return ebb__misuse(EBB_EINVAL, "ebb_region_root", "the region is a null pointer");
    if (region->is_root) return 0;
    if (region->chunk) region->chunk->used_bytes = region_current_bytes(region);
    int code = 0;
    for (chunk *c = region->chunk; c && code == 0; c = c->next)
        code = chunk_root(c, sizeof *c + c->used_bytes);
    if (code != 0) {
        for (chunk *c = region->chunk; c; c = c->next) chunk_unroot(c);
        return code;
    }
    region->is_root = true;
    if (region->chunk) region->end = chunk_start(region->chunk) + region->chunk->rooted_bytes;
    return 0;
}

size_t ebb_region_used_bytes(const ebb_region *region) {
    return region ? region->full_bytes + region_current_bytes(region) : 0;
}

size_t ebb_region_bytes(const ebb_region *region) {
    return region ? region->mapped_bytes : 0;
}
