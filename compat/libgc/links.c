/* links.c - disappearing links: words that become zero when an object does.
 *
 * Two tables by the address of the word, one for links that go before finalizers are looked for
 * (short), one for those that go when no finalizer can bring the object back (long). They lie
 * outside the heap, and hold the addresses turned over, so that no search for pointers takes them
 * for such.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "turns.h"

#include <stdlib.h>

enum { LINK_FREE = 0, LINK_GONE = 1, LINKS_FIRST_ROOM = 64 };

/* Both are hidden addresses (GC_HIDE_POINTER), or link is one of the above: an aligned word's
 * address turned over is neither. */
typedef struct link_entry {
    GC_hidden_pointer link, object;
} link_entry;

/* room is a power of two, or 0; count + gone <= room * 3 / 4. Changed under the allocation lock, or
 * in the stop. */
typedef struct link_table {
    link_entry *entries;
    size_t room, count, gone;
} link_table;

static link_table links_short, links_long;

/* --- The table [allocation lock]
 * ------------------------------------------------------------------
 */

static size_t link_hash(GC_hidden_pointer link) {
    return (size_t)((link >> 3) * 0x9E3779B97F4A7C15u >> 20);
}

/* The entry of a link, or null. */
static link_entry *link_find(const link_table *t, void **link) {
    GC_hidden_pointer hidden = GC_HIDE_POINTER(link);
    for (size_t i = link_hash(hidden), n = 0; n < t->room; i++, n++) {
        link_entry *e = &t->entries[i & (t->room - 1)];
        if (e->link == hidden) return e;
        if (e->link == LINK_FREE) break;
    }
    return NULL;
}

static void link_place(link_table *t, link_entry entry) {
    size_t i = link_hash(entry.link) & (t->room - 1);
    while (t->entries[i].link > LINK_GONE) i = (i + 1) & (t->room - 1);
    t->gone -= t->entries[i].link == LINK_GONE;
    t->count++;
    t->entries[i] = entry;
}

static void link_drop(link_table *t, link_entry *e) {
    *e = (link_entry){LINK_GONE, 0};
    t->count--;
    t->gone++;
}

/* Room for one more; false without memory. */
static bool link_room(link_table *t) {
    if (t->room && (t->count + t->gone + 1) <= t->room / 4 * 3) return true;
    size_t room = LINKS_FIRST_ROOM;
    while (room / 2 < t->count + 1) room *= 2;
    link_entry *entries = calloc(room, sizeof *entries);
    if (!entries) return false;
    link_table old = *t;
    *t = (link_table){entries, room, 0, 0};
    for (size_t i = 0; i < old.room; i++)
        if (old.entries[i].link > LINK_GONE) link_place(t, old.entries[i]);
    free(old.entries);
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
    link_room(t); /* without memory it goes on: what is dropped below leaves room */
    link_entry *e = link_is_good(link) ? link_find(t, link) : NULL;
    if (!e) return GC_NOT_FOUND;
    if (link == to) return GC_SUCCESS;
    if (link_find(t, to)) return GC_DUPLICATE;
    GC_hidden_pointer object = e->object;
    link_drop(t, e);
    link_place(t, (link_entry){GC_HIDE_POINTER(to), object});
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

/* Whether the word is in an object that dies now; in none, it stays. */
static bool link_lies_dead(const void *link) {
    return !ebb_is_marked(link);
}

/* Clears the words whose objects are dead; of the entries left, drops those that lie in dead
 * objects, if so asked. */
static void links_clear(link_table *t, bool objects, bool places) {
    for (size_t i = 0; i < t->room; i++) {
        link_entry *e = &t->entries[i];
        if (e->link <= LINK_GONE) continue;
        void **link = GC_REVEAL_POINTER(e->link);
        if (objects && !ebb_is_marked(GC_REVEAL_POINTER(e->object)))
            *link = NULL;
        else if (!places || !link_lies_dead(link))
            continue;
        link_drop(t, e);
    }
}

/* A link that lies in a dead object may yet be kept by a finalizer: so its place is looked at when
 * those have been found. */
void gc__links_marked(bool finalizers) {
    links_clear(&links_short, !finalizers, finalizers);
    if (finalizers) links_clear(&links_long, true, true);
}

void gc__links_each(bool is_long, void (*visit)(void **link, void *object)) {
    const link_table *t = is_long ? &links_long : &links_short;
    for (size_t i = 0; i < t->room; i++)
        if (t->entries[i].link > LINK_GONE)
            visit(GC_REVEAL_POINTER(t->entries[i].link), GC_REVEAL_POINTER(t->entries[i].object));
}
