/* twin.c - a module much like holder.c: a type of the same name with other fields, so that a
 * library that took one module's descriptions for the other's would be found out. It allocates in
 * its constructor and its destructor. */
#include <ebb/gc.h>
#include <ebb/heap.h>

typedef struct holder_node {
    void *not_followed;
    size_t number;
    struct holder_node *next;
} holder_node;
EBB_TYPE(holder_node, ptr(next));

holder_node *holder_list(size_t length);
size_t holder_length(const holder_node *list);

static holder_node *made_at_start;

__attribute__((constructor)) static void twin_start(void) {
    made_at_start = holder_list(10);
}

__attribute__((destructor)) static void twin_end(void) {
    if (holder_length(made_at_start) == 10 && ebb_collect() == 0) made_at_start = holder_list(3);
}

EBB_API holder_node *holder_list(size_t length) {
    holder_node *list = NULL;
    for (size_t i = 0; i < length; i++) {
        holder_node *node = ebb_new(holder_node);
        if (!node) return NULL;
        node->next = list;
        node->number = i;
        list = node;
    }
    return list;
}

EBB_API size_t holder_length(const holder_node *list) {
    size_t length = 0;
    for (; list; list = list->next) length++;
    return length;
}
