/* links.c - disappearing links: words that become zero when an object does.
 *
 * Two tables, one for links that go before finalizers are looked for (short), one for those that go
 * when no finalizer can bring the object back (long). They lie outside the heap, and hold the
 * addresses turned over, so that no search for pointers takes them for such.
 *
 * In the stop all of them are looked at. So they stand one after the other as they were
 * registered, which mostly is as their objects were allocated, and what is looked up for one is in
 * the cache for the next; an index finds one by the address of the word.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "turns.h"

#include <stdlib.h>

enum { LINK_GONE = 0, LINKS_FIRST_ROOM = 64 };

/* Hidden addresses (GC_HIDE_POINTER); link is LINK_GONE where there is none any more. LINK_DOUBT is
 * cleared in a link whose place was not found reachable yet, from one call in the stop to the next;
 * object is LINK_DEAD where it is that too. */
typedef struct link_entry {
    GC_hidden_pointer link, object;
} link_entry;

#define LINK_DOUBT ((GC_hidden_pointer)1)
#define LINK_DEAD  ((GC_hidden_pointer)0)

/* entries has room for as many as slots may be taken: slots_taken <= link_most(room), room a power
 * of two or 0. A slot is 0 or an entry's index + 1; one whose entry went, or has another link
 * since, is passed over. count of the length entries are not gone. Changed under the allocation
 * lock; in the stop, entries alone. */
typedef struct link_table {
    link_entry *entries;
    uint64_t *slots;
    size_t room, slots_taken, length, count;
} link_table;

static link_table links_short, links_long;

/* --- The table [allocation lock]
 * ------------------------------------------------------------------
 */

static size_t link_most(size_t room) {
    return room / 4 * 3;
}

static uint64_t link_hash(GC_hidden_pointer link) {
    return (link >> 3) * 0x9E3779B97F4A7C15u;
}

static size_t link_start(uint64_t hash) {
    return (size_t)(hash >> 20);
}

/* The entry of a link, or null. */
static link_entry *link_find(const link_table *t, void **link) {
    GC_hidden_pointer hidden = GC_HIDE_POINTER(link);
    uint64_t hash = link_hash(hidden);
    if (t->room == 0) return NULL;
    for (size_t i = link_start(hash);; i++) {
        uint64_t slot = t->slots[i & (t->room - 1)];
        if (slot == 0) return NULL;
        link_entry *e = &t->entries[(uint32_t)slot - 1];
        if (slot >> 32 == hash >> 32 && e->link == hidden) return e;
    }
}

static void link_index(link_table *t, const link_entry *e) {
    uint64_t hash = link_hash(e->link);
    size_t i = link_start(hash) & (t->room - 1);
    while (t->slots[i] != 0) i = (i + 1) & (t->room - 1);
    t->slots[i] = (hash >> 32 << 32) | (uint64_t)(e - t->entries + 1);
    t->slots_taken++;
}

static void link_place(link_table *t, link_entry entry) {
    link_entry *e = &t->entries[t->length++];
    *e = entry;
    t->count++;
    link_index(t, e);
}

static void link_drop(link_table *t, link_entry *e) {
    *e = (link_entry){LINK_GONE, 0};
    t->count--;
}

/* Room for one more; false without memory. */
static bool link_room(link_table *t) {
    if (t->slots_taken < link_most(t->room)) return true;
    size_t room = LINKS_FIRST_ROOM;
    while (room / 2 < t->count + 1) room *= 2;
    link_table grown = {.room = room};
    if (room <= UINT32_MAX) grown.slots = calloc(room, sizeof *grown.slots);
    if (grown.slots) grown.entries = malloc(link_most(room) * sizeof *grown.entries);
    if (!grown.entries) {
        free(grown.slots);
        return false;
    }
    for (size_t i = 0; i < t->length; i++)
        if (t->entries[i].link != LINK_GONE) link_place(&grown, t->entries[i]);
    free(t->slots);
    free(t->entries);
    *t = grown;
    return true;
}

static int link_set(link_table *t, void **link, const void *object) {
    link_entry *e = link_find(t, link);
    if (e) {
        e->object = GC_HIDE_POINTER(object);
        return GC_DUPLICATE;
    }
    if (!link_room(t)) return GC_NO_MEMORY;
    link_place(t, (link_entry){GC_HIDE_POINTER(link), GC_HIDE_POINTER(object)});
    return GC_SUCCESS;
}

/* --- Calls ------------------------------------------------------------------------------------ */

static bool link_is_good(void **link) {
    return link && (uintptr_t)link % sizeof(void *) == 0;
}

static int link_register(link_table *t, void **link, const void *object) {
    gc__attend();
    if (GC_find_leak) return GC_UNIMPLEMENTED;
    for (bool again = false;; again = true) {
        gc__lock();
        int result = link_set(t, link, object);
        gc__unlock();
        if (result != GC_NO_MEMORY || again || !GC_oom_fn(sizeof(link_entry))) return result;
    }
}

static int link_unregister(link_table *t, void **link) {
    if (!link_is_good(link)) return 0;
    gc__lock();
    link_entry *e = link_find(t, link);
    if (e) link_drop(t, e);
    gc__unlock();
    return e != NULL;
}

static int link_move_locked(link_table *t, void **link, void **to) {
    if (!link_room(t)) return GC_NO_MEMORY;
    link_entry *e = link_is_good(link) ? link_find(t, link) : NULL;
    if (!e) return GC_NOT_FOUND;
    if (link == to) return GC_SUCCESS;
    if (link_find(t, to)) return GC_DUPLICATE;
    e->link = GC_HIDE_POINTER(to);
    link_index(t, e);
    return GC_SUCCESS;
}

static int link_move(link_table *t, void **link, void **to) {
    gc__lock();
    int result = link_move_locked(t, link, to);
    gc__unlock();
    return result;
}

int GC_register_disappearing_link(void **link) {
    gc__attend();
    void *object = link_is_good(link) ? GC_base(link) : NULL;
    if (!object) gc__abort("GC_register_disappearing_link: not a word in an object of the heap");
    return link_register(&links_short, link, object);
}

int GC_general_register_disappearing_link(void **link, const void *object) {
    if (!link_is_good(link))
        gc__abort("GC_general_register_disappearing_link: the link is null or not aligned");
    return link_register(&links_short, link, object);
}

int GC_unregister_disappearing_link(void **link) {
    return link_unregister(&links_short, link);
}

int GC_move_disappearing_link(void **link, void **to) {
    if (!link_is_good(to))
        gc__abort("GC_move_disappearing_link: the new link is null or not aligned");
    return link_move(&links_short, link, to);
}

int GC_register_long_link(void **link, const void *object) {
    if (!link_is_good(link)) gc__abort("GC_register_long_link: the link is null or not aligned");
    return link_register(&links_long, link, object);
}

int GC_unregister_long_link(void **link) {
    return link_unregister(&links_long, link);
}

int GC_move_long_link(void **link, void **to) {
    if (!link_is_good(to)) gc__abort("GC_move_long_link: the new link is null or not aligned");
    return link_move(&links_long, link, to);
}

/* --- In the stop ------------------------------------------------------------------------------ */

/* Of the link that is looked at soon. */
static void link_ahead(const link_table *t, size_t i) {
    if (i >= t->length || t->entries[i].link == LINK_GONE) return;
    ebb_is_marked_ahead(GC_REVEAL_POINTER(t->entries[i].link));
    ebb_is_marked_ahead(GC_REVEAL_POINTER(t->entries[i].object));
}

/* Clears the words whose objects are dead. A link that lies in a dead object may yet be kept by a
 * finalizer; so, before those are looked for, one that is not reachable now is noted: what is will
 * stay so. Nor is it written to before: the first write to a page costs microseconds. True when any
 * was noted. */
static bool links_clear(link_table *t) {
    enum { AHEAD = 8 };
    bool any = false;
    for (size_t i = 0; i < t->length; i++) {
        link_entry *e = &t->entries[i];
        link_ahead(t, i + AHEAD);
        if (e->link == LINK_GONE) continue;
        void **link = GC_REVEAL_POINTER(e->link);
        bool dead = !ebb_is_marked(GC_REVEAL_POINTER(e->object)), doubt = !ebb_is_marked(link);
        any |= doubt;
        if (doubt) e->link &= ~LINK_DOUBT;
        if (dead && doubt) e->object = LINK_DEAD;
        if (!dead || doubt) continue;
        *link = NULL;
        link_drop(t, e);
    }
    return any;
}

/* Drops those that lie in dead objects, of those that were noted, and clears what is left to. */
static void links_settle(link_table *t) {
    for (size_t i = 0; i < t->length; i++) {
        link_entry *e = &t->entries[i];
        if (e->link & LINK_DOUBT || e->link == LINK_GONE) continue;
        e->link |= LINK_DOUBT;
        void **link = GC_REVEAL_POINTER(e->link);
        bool kept = ebb_is_marked(link);
        if (kept && e->object == LINK_DEAD) *link = NULL;
        if (!kept || e->object == LINK_DEAD) link_drop(t, e);
    }
}

void gc__links_marked(bool finalizers) {
    static bool doubted;
    if (!finalizers) {
        doubted = links_clear(&links_short);
        return;
    }
    if (doubted) links_settle(&links_short);
    if (links_clear(&links_long)) links_settle(&links_long);
}

void gc__links_each(bool is_long, void (*visit)(void **link, void *object)) {
    const link_table *t = is_long ? &links_long : &links_short;
    for (size_t i = 0; i < t->length; i++)
        if (t->entries[i].link != LINK_GONE)
            visit(GC_REVEAL_POINTER(t->entries[i].link), GC_REVEAL_POINTER(t->entries[i].object));
}
