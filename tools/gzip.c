/* gzip.c - see gzip.h. */
#define _GNU_SOURCE 1
#include "gzip.h"

#include <stdint.h>
#include <stdlib.h>

bool gzip_is(const void *bytes, size_t size) {
    const unsigned char *b = bytes;
    return size >= 2 && b[0] == 0x1f && b[1] == 0x8b;
}

#if EBB_SYMBOLS

# include <zlib.h>

enum { GZIP_WINDOW = 15 + 16, GZIP_MEMORY = 8, GZIP_FIRST = 64 << 10 };

static const char gzip_no_memory[] = "out of memory";

/* Doubles the room, up to limit; false at it or without memory. */
static bool gzip_grow(char **out, size_t *room, size_t limit) {
    size_t wanted = *room ? *room * 2 : GZIP_FIRST;
    if (wanted > limit) wanted = limit;
    if (wanted <= *room) return false;
    char *grown = realloc(*out, wanted);
    if (!grown) return false;
    *out = grown;
    *room = wanted;
    return true;
}

/* Files of more than one member are one after the other. */
static const char *gzip_inflate(z_stream *z, size_t limit, char **out, size_t *out_size) {
    size_t room = 0;
    for (;;) {
        if (*out_size == room && !gzip_grow(out, &room, limit))
            return room < limit ? gzip_no_memory
                                : "the compressed data expand to more than is read";
        z->next_out = (unsigned char *)*out + *out_size;
        z->avail_out = (unsigned)(room - *out_size);
        int status = inflate(z, Z_NO_FLUSH);
        *out_size = room - z->avail_out;
        if (status == Z_STREAM_END) {
            if (z->avail_in == 0) return NULL;
            if (inflateReset(z) != Z_OK) return gzip_no_memory;
        } else if (status == Z_BUF_ERROR || (status == Z_OK && z->avail_in == 0 && z->avail_out)) {
            return "the compressed data end too early";
        } else if (status != Z_OK) {
            return z->msg ? z->msg : "the compressed data are damaged";
        }
    }
}

const char *gzip_expand(const void *bytes, size_t size, size_t limit, char **out,
                        size_t *out_size) {
    *out = NULL;
    *out_size = 0;
    if (size > UINT32_MAX >> 1) return "the compressed data are longer than is read";
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)bytes, .avail_in = (unsigned)size};
    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK) return gzip_no_memory;
    const char *trouble = gzip_inflate(&z, limit, out, out_size);
    inflateEnd(&z);
    if (!trouble) return NULL;
    free(*out);
    *out = NULL;
    return trouble;
}

const char *gzip_compress(const void *bytes, size_t size, char **out, size_t *out_size) {
    *out = NULL;
    *out_size = 0;
    if (size > UINT32_MAX >> 1) return "too long to compress";
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)bytes, .avail_in = (unsigned)size};
    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return gzip_no_memory;
    size_t bound = deflateBound(&z, size);
    *out = malloc(bound);
    int status = Z_MEM_ERROR;
    if (*out) {
        z.next_out = (unsigned char *)*out;
        z.avail_out = (unsigned)bound;
        status = deflate(&z, Z_FINISH);
        *out_size = bound - z.avail_out;
    }
    deflateEnd(&z);
    if (status == Z_STREAM_END) return NULL;
    free(*out);
    *out = NULL;
    return gzip_no_memory;
}

#else

static const char gzip_missing[] =
    "this ebb was built without zlib: give it the output of gzip -dc";

const char *gzip_expand(const void *bytes, size_t size, size_t limit, char **out,
                        size_t *out_size) {
    (void)bytes, (void)size, (void)limit;
    *out = NULL;
    *out_size = 0;
    return gzip_missing;
}

const char *gzip_compress(const void *bytes, size_t size, char **out, size_t *out_size) {
    return gzip_expand(bytes, size, 0, out, out_size);
}

#endif
