/* planted_dom.c - question 4, what returns if I cut this: two indexes refer to the same documents,
 * so neither retains them; a cache that nobody thinks of retains most. */
#include "planted.h"

typedef struct document {
    char text[1000];
} document;

typedef struct index {
    struct index *next;
    document *document;
} index_entry;

typedef struct preview {
    char pixels[4000];
} preview;

typedef struct cache_entry {
    struct cache_entry *next;
    preview *preview;
} cache_entry;

EBB_TYPE(document);
EBB_TYPE(preview);
EBB_TYPE(index_entry, ptr(next), ptr(document));
EBB_TYPE(cache_entry, ptr(next), ptr(preview));

static index_entry *by_name, *by_date;
static cache_entry *cache;

static index_entry *index_add(index_entry *list, document *d) {
    index_entry *e = ebb_new(index_entry);
    e->next = list;
    e->document = d;
    return e;
}

static __attribute__((noinline)) void load(void) {
    for (int i = 0; i < 2000; i++) {
        document *d = ebb_new(document);
        cache_entry *c = ebb_new(cache_entry);
        by_name = index_add(by_name, d);
        by_date = index_add(by_date, d);
        c->preview = ebb_new(preview);
        c->next = cache;
        cache = c;
    }
}

int main(void) {
    load();
    planted_forget();
    planted_stay();
    return 0;
}
