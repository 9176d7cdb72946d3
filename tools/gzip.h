/* gzip.h - compressed bytes by zlib, where this program was built with it (EBB_SYMBOLS). */
#ifndef EBB_TOOLS_GZIP_H
#define EBB_TOOLS_GZIP_H

#include <stdbool.h>
#include <stddef.h>

bool gzip_is(const void *bytes, size_t size);

/* Null when all is well, else what is wrong. *out belongs to the caller, who frees it; it is null
 * after a failure. More than limit bytes are a failure. */
const char *gzip_expand(const void *bytes, size_t size, size_t limit, char **out, size_t *out_size);
const char *gzip_compress(const void *bytes, size_t size, char **out, size_t *out_size);

#endif
