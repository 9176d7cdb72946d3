/* buffer.c - bytes that grow, in memory of the system's. */
#include "buffer.h"

bool ebb__buffer_reserve(meta_buffer *b, size_t more) {
    if (more <= b->room - b->used) return true;
    size_t least = max_size(2 * b->room, 64 * KIB);
    size_t room = round_up(max_size(least, b->used + more), ebb__os_page_size());
    char *larger = b->failed ? NULL : ebb__os_enlarge(b->bytes, b->room, b->used, room);
    if (!larger) {
        b->failed = true;
        return false;
    }
    b->bytes = larger;
    b->room = room;
    return true;
}

void ebb__buffer_add(meta_buffer *b, const void *bytes, size_t size) {
    if (size == 0 || b->failed || !ebb__buffer_reserve(b, size)) return;
    memcpy(b->bytes + b->used, bytes, size);
    b->used += size;
}

void ebb__buffer_free(meta_buffer *b) {
    if (b->bytes) ebb__os_unmap(b->bytes, b->room, OS_METADATA);
    *b = (meta_buffer){0};
}
