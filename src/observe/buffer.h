/* buffer.h - bytes that grow, in memory of the system's: where malloc may not be called. */
#ifndef EBB_BUFFER_H
#define EBB_BUFFER_H

#include "../os/os.h"

/* Zero is empty. used <= room; after a failure nothing more is added. */
typedef struct meta_buffer {
    char *bytes;
    size_t used, room;
    bool failed; /* there was no memory: what it holds is not whole */
} meta_buffer;

/* Room for `more` bytes beyond what is used; what is there may move. False without memory. */
EBB__SHARED bool ebb__buffer_reserve(meta_buffer *b, size_t more);
EBB__SHARED void ebb__buffer_add(meta_buffer *b, const void *bytes, size_t size);
EBB__SHARED void ebb__buffer_free(meta_buffer *b);

#endif
