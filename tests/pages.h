/* pages.h - a page of ebb_debug_get in memory. */
#ifndef EBB_TEST_PAGES_H
#define EBB_TEST_PAGES_H

#include <ebb/debug.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

typedef struct page {
    int begins, status, writes;
    char type[128], filename[128]; /* "" for none */
    size_t size, most;             /* most: stop the reply when there is so much; 0 for never */
    char text[1 << 20];            /* zero-terminated; what does not fit is left out */
} page;

__attribute__((unused)) static void page_begin(void *arg, int status, const char *type,
                                               const char *filename) {
    page *p = arg;
    p->begins++;
    p->status = status;
    snprintf(p->type, sizeof p->type, "%s", type);
    snprintf(p->filename, sizeof p->filename, "%s", filename ? filename : "");
}

__attribute__((unused)) static bool page_write(void *arg, const void *bytes, size_t size) {
    page *p = arg;
    size_t room = sizeof p->text - 1 - p->size, n = size < room ? size : room;
    memcpy(p->text + p->size, bytes, n);
    p->size += n;
    p->text[p->size] = 0;
    p->writes++;
    return n == size && !(p->most && p->size >= p->most);
}

/* An empty page, and a sink that fills it. */
__attribute__((unused)) static ebb_debug_sink page_sink(page *p) {
    *p = (page){0};
    return (ebb_debug_sink){page_begin, page_write, p};
}

__attribute__((unused)) static int page_get(page *p, const char *target) {
    ebb_debug_sink sink = page_sink(p);
    return ebb_debug_get(target, &sink);
}

#endif
