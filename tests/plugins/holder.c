/* holder.c - a module that holds pointers for its host, in static and in thread-local storage, and
 * that allocates objects of a type of its own. */
#include <ebb/heap.h>

enum { SLOTS = 100 };

typedef struct holder_node {
    struct holder_node *next;
    void *not_followed;
    size_t number;
} holder_node;
EBB_TYPE(holder_node, ptr(next));

void **holder_static(void);
void **holder_thread(void);
holder_node *holder_list(size_t length);
size_t holder_length(const holder_node *list);

static void *slots[SLOTS];
static _Thread_local void *thread_slots[SLOTS];

EBB_API void **holder_static(void) {
    return slots;
}

EBB_API void **holder_thread(void) {
    return thread_slots;
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
