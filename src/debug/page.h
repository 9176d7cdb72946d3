/* page.h - the page for browsers, which libebb-debug carries. */
#ifndef EBB_DEBUG_PAGE_H
#define EBB_DEBUG_PAGE_H

#include "../../include/ebb/debug.h"

struct page_asset {
    const char *path, *type;
    const char *start, *end;
};

/* What is to be sent for this path, or null: it is no part of the page, or whoever asks takes text
 * or JSON. query and accept may be null. */
const struct page_asset *page_find(const char *path, const char *query, const char *accept);

#endif
