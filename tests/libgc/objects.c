/* objects.c - allocation of every sort and size: alignment, zeroes, contents, and that what is
 * dropped comes back. */
#include "nodes.h"

#include <errno.h>
#include <gc/gc_inline.h>
#include <gc/gc_mark.h>

static int all_bytes(const void *p, int byte, size_t size) {
    const unsigned char *b = p;
    for (size_t i = 0; i < size; i++) {
        if (b[i] != byte) return 0;
    }
    return 1;
}

/* Sizes that lie around the bounds of size classes and pages, the i-th of 400. */
static size_t size_of(unsigned i) {
    if (i < 300) return i;
    static const size_t around[] = {512,   1024,  2048,   4096,   8192,    16384,   32768,
                                    65536, 98304, 131072, 262144, 1000000, 1048576, 4000000};
    unsigned j = i - 300;
    return around[j % 14] + j / 14 - 3;
}

typedef struct tally {
    unsigned null, crooked, dirty, small, foreign;
} tally;

static void tally_object(tally *t, char *p, size_t size, int zeroed) {
    if (!p) {
        t->null++;
        return;
    }
    t->crooked += (uintptr_t)p % 16 != 0;
    t->dirty += zeroed && !all_bytes(p, 0, size);
    t->small += GC_size(p) < size;
    t->foreign += GC_base(p) != p || (size && GC_base(p + size - 1) != p);
    memset(p, 0xA5, size);
}

static void tally_say(const char *what, const tally *t) {
    say("%s: %u null, %u not aligned, %u not zeroed, %u too small, %u without base", what, t->null,
        t->crooked, t->dirty, t->small, t->foreign);
}

#define EACH_SIZE(what, call, zeroed)       \
 do {                                       \
  tally t = {0, 0, 0, 0, 0};                \
  for (int round = 0; round < 3; round++) { \
   for (unsigned i = 0; i < 400; i++) {     \
    size_t size = size_of(i);               \
    tally_object(&t, call, size, zeroed);   \
   }                                        \
  }                                         \
  tally_say(what, &t);                      \
 } while (0)

CASE(malloc) {
    EACH_SIZE("GC_malloc", GC_malloc(size), 1);
}

CASE(malloc_atomic) {
    EACH_SIZE("GC_malloc_atomic", GC_malloc_atomic(size), 0);
}

CASE(malloc_ignore_off_page) {
    EACH_SIZE("GC_malloc_ignore_off_page", GC_malloc_ignore_off_page(size), 1);
    EACH_SIZE("GC_malloc_atomic_ignore_off_page", GC_malloc_atomic_ignore_off_page(size), 0);
}

CASE(malloc_of_kind) {
    EACH_SIZE("GC_malloc_kind normal", GC_malloc_kind(size, GC_I_NORMAL), 1);
    EACH_SIZE("GC_malloc_kind atomic", GC_malloc_kind(size, GC_I_PTRFREE), 0);
    EACH_SIZE("GC_generic_malloc normal", GC_generic_malloc(size, GC_I_NORMAL), 1);
    EACH_SIZE("GC_generic_malloc atomic", GC_generic_malloc(size, GC_I_PTRFREE), 0);
    EACH_SIZE("GC_generic_malloc_ignore_off_page",
              GC_generic_malloc_ignore_off_page(size, GC_I_NORMAL), 1);
    EACH_SIZE("GC_generic_or_special_malloc", GC_generic_or_special_malloc(size, GC_I_NORMAL), 1);
}

CASE(malloc_stubborn) {
    char *p = GC_malloc_stubborn(100);
    say("GC_malloc_stubborn: zeroed %s", yes(all_bytes(p, 0, 100)));
    GC_change_stubborn(p);
    p[0] = 1;
    GC_end_stubborn_change(p);
    void **q = GC_NEW(void *);
    GC_ptr_store_and_dirty(q, p);
    say("stored %s", yes(*q == p));
}

BARE_CASE(first_call_malloc) {
    say("initialised before: %s", yes(GC_is_init_called()));
    char *p = GC_malloc(10);
    say("allocated %s, initialised %s", yes(p != NULL), yes(GC_is_init_called()));
}

BARE_CASE(first_call_atomic) {
    say("allocated %s", yes(GC_malloc_atomic(10) != NULL));
}

BARE_CASE(init_twice) {
    GC_init();
    GC_INIT();
    GC_init();
    say("version %u.%u.%u", GC_get_version() >> 16, GC_get_version() >> 8 & 255,
        GC_get_version() & 255);
}

/* --- Kept and dropped ----------------------------------------------------------------------- */

CASE(list_survives) {
    node *list = node_list(60000);
    for (int i = 0; i < 3; i++) GC_reachable_here(node_list(60000));
    collect();
    say("a list of %zu", node_count(list));
}

typedef struct tree {
    struct tree *left, *right;
} tree;

static tree *tree_make(int depth) {
    tree *t = GC_NEW(tree);
    if (depth) {
        t->left = tree_make(depth - 1);
        t->right = tree_make(depth - 1);
    }
    return t;
}

static size_t tree_count(const tree *t) {
    return t ? 1 + tree_count(t->left) + tree_count(t->right) : 0;
}

CASE(trees) {
    tree *kept = tree_make(14);
    size_t sum = 0;
    for (int i = 0; i < 40; i++) sum += tree_count(tree_make(10));
    say("%zu nodes kept, %zu seen", tree_count(kept), sum);
}

CASE(garbage_comes_back) {
    for (size_t i = 0; i < 200000; i++) GC_reachable_here(GC_malloc(i % 2000));
    collect_all();
    say("after 200 MB of garbage the heap is under 64 MB: %s",
        yes(GC_get_heap_size() < (size_t)64 << 20));
}

CASE(large_garbage_comes_back) {
    for (int i = 0; i < 1000; i++) {
        char *p = GC_malloc_atomic((size_t)1 << 20);
        p[0] = p[(1 << 20) - 1] = 1;
    }
    say("after 1000 MB of garbage the heap is under 100 MB: %s",
        yes(GC_get_heap_size() < (size_t)100 << 20));
}

static void *hidden_object(size_t size, int atomic) {
    void *p = atomic ? GC_malloc_atomic(size) : GC_malloc(size);
    memset(p, 1, size);
    return p;
}

/* How many of 100 objects die that only one object refers to. */
static NOINLINE size_t dead_behind(int atomic) {
    enum { COUNT = 100 };
    static void *links[COUNT];
    void **behind = hidden_object(COUNT * sizeof(void *), atomic);
    for (int i = 0; i < COUNT; i++) {
        behind[i] = GC_malloc(50);
        links[i] = (void *)GC_HIDE_POINTER(behind[i]);
        GC_general_register_disappearing_link(&links[i], behind[i]);
    }
    clear_stack();
    collect();
    size_t dead = 0;
    for (int i = 0; i < COUNT; i++) dead += links[i] == NULL;
    GC_reachable_here(behind);
    return dead;
}

CASE(atomic_hides) {
    say("behind a normal object: %zu die", dead_behind(0));
    say("behind an atomic one: %s die", part(dead_behind(1), 100));
}

static NOINLINE char *interior_pointer(size_t size, size_t offset) {
    char *p = GC_malloc_atomic(size);
    memset(p, 'x', size);
    return p + offset;
}

static NOINLINE int interior_survives(size_t size, size_t offset) {
    char *p = interior_pointer(size, offset);
    clear_stack();
    collect_all();
    for (int i = 0; i < 100; i++) memset(GC_malloc_atomic(size), 'y', size);
    return all_bytes(p - offset, 'x', size);
}

CASE(interior_pointers) {
    say("16 bytes, by the last: %s", yes(interior_survives(16, 15)));
    say("100 bytes, by the 51st: %s", yes(interior_survives(100, 50)));
    say("5000 bytes, by the last: %s", yes(interior_survives(5000, 4999)));
    say("1 MB, by the middle: %s", yes(interior_survives((size_t)1 << 20, (size_t)1 << 19)));
}

CASE(pointer_past_the_end) {
    int kept = 0;
    for (size_t size = 16; size <= 512; size += 16) kept += interior_survives(size, size);
    say("32 objects of whole granules, by a pointer past their end: %d kept", kept);
}

/* --- Uncollectable -------------------------------------------------------------------------- */

static GC_hidden_pointer uncollectable[100], behind_uncollectable[100];

static NOINLINE void uncollectable_make(int atomic) {
    for (int i = 0; i < 100; i++) {
        void **p = atomic ? GC_malloc_atomic_uncollectable(200) : GC_malloc_uncollectable(200);
        memset(p, i, 200);
        if (!atomic) *p = memset(GC_malloc_atomic(77), i, 77);
        uncollectable[i] = GC_HIDE_POINTER(p);
        behind_uncollectable[i] = GC_HIDE_POINTER(*p);
    }
}

static NOINLINE void uncollectable_say(const char *what, int atomic) {
    int kept = 0, behind = 0;
    size_t skip = atomic ? 0 : sizeof(void *);
    for (int i = 0; i < 100; i++) {
        char *p = GC_REVEAL_POINTER(uncollectable[i]);
        kept += GC_base(p) == p && all_bytes(p + skip, i, 200 - skip);
        if (!atomic) behind += all_bytes(GC_REVEAL_POINTER(behind_uncollectable[i]), i, 77);
        GC_free(p);
    }
    say("%s: %d kept, %d behind them", what, kept, behind);
}

CASE(uncollectable) {
    for (int atomic = 0; atomic < 2; atomic++) {
        uncollectable_make(atomic);
        collect_all();
        uncollectable_say(atomic ? "atomic uncollectable" : "uncollectable", atomic);
    }
}

CASE(uncollectable_freed) {
    for (int i = 0; i < 2000; i++) {
        char *p = GC_malloc_uncollectable(100000);
        p[99999] = 1;
        GC_free(p);
    }
    say("200 MB made and freed, the heap is under 64 MB: %s",
        yes(GC_get_heap_size() < (size_t)64 << 20));
}

CASE(generic_uncollectable) {
    for (int kind = 0; kind < 4; kind++) {
        void *p = GC_generic_malloc_uncollectable(100, kind);
        size_t size;
        say("kind %d gives kind %d", kind, GC_get_kind_and_size(p, &size));
        GC_free(p);
    }
    for (int kind = 0; kind < 4; kind++) {
        say("special: kind %d gives kind %d", kind,
            GC_get_kind_and_size(GC_generic_or_special_malloc(100, kind), NULL));
    }
}

/* --- Free and realloc ----------------------------------------------------------------------- */

CASE(free) {
    GC_free(NULL);
    for (int i = 0; i < 100000; i++) {
        char *p = GC_malloc((size_t)i % 3000 + 1);
        p[0] = 1;
        GC_free(p);
    }
    say("300 MB freed one by one, the heap is under 32 MB: %s",
        yes(GC_get_heap_size() < (size_t)32 << 20));
    char *large = GC_malloc((size_t)10 << 20);
    GC_free(large);
    say("a large one freed");
    int dirty = 0;
    for (int i = 0; i < 1000; i++) {
        char *p = GC_malloc(64);
        dirty += !all_bytes(p, 0, 64);
        memset(p, 0xFF, 64);
        GC_free(p);
    }
    say("memory that was freed comes back with %d not zeroed", dirty);
}

static int pattern_holds(const unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (p[i] != (unsigned char)(i * 7)) return 0;
    }
    return 1;
}

static void pattern_fill(unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i++) p[i] = (unsigned char)(i * 7);
}

static void realloc_walk(const char *what, unsigned char *p) {
    size_t size = 1;
    int lost = 0, dirty = 0, kinds = 0;
    int kind = GC_get_kind_and_size(p, NULL);
    pattern_fill(p, size);
    for (unsigned step = 0; step < 300; step++) {
        size_t to = step * 7919 % (step % 10 == 0 ? 200000 : 3000) + 1;
        p = GC_realloc(p, to);
        size_t least = to < size ? to : size;
        lost += !pattern_holds(p, least);
        dirty += kind != GC_I_PTRFREE && to > size && !all_bytes(p + size, 0, to - size);
        kinds += GC_get_kind_and_size(p, NULL) != kind;
        size = to;
        pattern_fill(p, size);
    }
    say("%s: %d lost, %d with a tail that is not zeroed, %d of another kind", what, lost, dirty,
        kinds);
}

CASE(realloc) {
    realloc_walk("normal", GC_malloc(1));
    realloc_walk("atomic", GC_malloc_atomic(1));
    realloc_walk("uncollectable", GC_malloc_uncollectable(1));
    char *p = GC_realloc(NULL, 100);
    say("of null: zeroed %s", yes(p && all_bytes(p, 0, 100)));
    say("to nothing: %s", GC_realloc(p, 0) ? "an object" : "null");
}

static NOINLINE GC_hidden_pointer realloc_uncollectable(void) {
    char *p = GC_malloc_uncollectable(10);
    p = GC_realloc(p, 100000);
    memset(p, 7, 100000);
    return GC_HIDE_POINTER(p);
}

CASE(realloc_keeps_uncollectable) {
    GC_hidden_pointer p = realloc_uncollectable();
    collect_all();
    say("grown: %s", yes(all_bytes(GC_REVEAL_POINTER(p), 7, 100000)));
}

/* --- Aligned, copied ------------------------------------------------------------------------ */

CASE(memalign) {
    int crooked = 0, dirty = 0, lost = 0;
    static char *kept[10][40];
    for (unsigned shift = 3; shift < 13; shift++) {
        for (unsigned i = 0; i < 40; i++) {
            size_t align = (size_t)1 << shift, size = (size_t)i * i * 5 + 1;
            char *p = GC_memalign(align, size);
            crooked += (uintptr_t)p % align != 0;
            dirty += !all_bytes(p, 0, size);
            memset(p, (int)i, size);
            kept[shift - 3][i] = p;
        }
    }
    collect_all();
    for (unsigned shift = 3; shift < 13; shift++) {
        for (unsigned i = 0; i < 40; i++) {
            lost += !all_bytes(kept[shift - 3][i], (int)i, (size_t)i * i * 5 + 1);
        }
    }
    say("400: %d not aligned, %d not zeroed, %d lost", crooked, dirty, lost);
    differs("stock has none over a page", "64 KiB: %s", yes(GC_memalign(65536, 10) != NULL));
}

CASE(posix_memalign) {
    void *p = NULL;
    say("64, 100: %d, aligned %s", GC_posix_memalign(&p, 64, 100), yes((uintptr_t)p % 64 == 0));
    say("8, 1: %d, aligned %s", GC_posix_memalign(&p, 8, 1), yes((uintptr_t)p % 8 == 0));
    say("3, 1: EINVAL %s", yes(GC_posix_memalign(&p, 3, 1) == EINVAL));
    say("4, 1: EINVAL %s", yes(GC_posix_memalign(&p, 4, 1) == EINVAL));
}

CASE(strdup) {
    char *copy = GC_strdup("forty-two");
    say("%s, kind %d", copy, GC_get_kind_and_size(copy, NULL));
    say("of null: %s", GC_strdup(NULL) ? "a text" : "null");
    say("%s|%s|%s|", GC_strndup("forty-two", 5), GC_strndup("forty", 50), GC_strndup("forty", 0));
    say("%s %s", GC_STRDUP("one"), GC_STRNDUP("twofold", 3));
}

/* --- Many at once --------------------------------------------------------------------------- */

static void many_check(const char *what, void *list, size_t size, int zeroed) {
    size_t count = 0, dirty = 0, crooked = 0;
    void *next;
    for (void *p = list; p; p = next) {
        next = GC_NEXT(p);
        crooked += GC_base(p) != p || GC_size(p) < size;
        dirty += zeroed && !all_bytes((void **)p + 1, 0, size - sizeof(void *));
        memset(p, 0xEE, size);
        count++;
    }
    say("%s of %zu: %s, %zu not zeroed, %zu not whole", what, size, count ? "some" : "none", dirty,
        crooked);
    differs("a list is as long as the collector likes", "%zu", count);
}

CASE(malloc_many) {
    for (size_t size = 16; size <= 3000; size = size * 3 + 1) {
        many_check("GC_malloc_many", GC_malloc_many(size), size, 1);
    }
    void *list;
    GC_generic_malloc_many(64, GC_I_PTRFREE, &list);
    many_check("GC_generic_malloc_many atomic", list, 64, 0);
    GC_generic_malloc_many(64, GC_I_NORMAL, &list);
    many_check("GC_generic_malloc_many normal", list, 64, 1);
}

CASE(malloc_many_survives) {
    enum { LISTS = 200 };
    static void *lists[LISTS];
    size_t first = 0, later = 0;
    for (int i = 0; i < LISTS; i++) {
        lists[i] = GC_malloc_many(48);
        for (void *p = lists[i]; p; p = GC_NEXT(p)) first++;
    }
    collect_all();
    for (int i = 0; i < LISTS; i++) {
        for (void *p = lists[i]; p; p = GC_NEXT(p)) later += ((size_t *)p)[1] == 0;
    }
    say("all there: %s", yes(first == later && first >= LISTS));
}

/* --- Inline --------------------------------------------------------------------------------- */

static void *normal_lists[GC_TINY_FREELISTS], *atomic_lists[GC_TINY_FREELISTS];

/* Nobody looks behind the first object of an atomic list, so there may be no collection. */
CASE(inline_words) {
    int dirty = 0, small = 0;
    GC_disable();
    for (size_t words = 1; words < 80; words++) {
        for (int i = 0; i < 200; i++) {
            void *p;
            GC_MALLOC_WORDS(p, words, normal_lists);
            dirty += !all_bytes(p, 0, words * sizeof(void *));
            small += GC_size(p) < words * sizeof(void *);
            memset(p, 0x77, words * sizeof(void *));
            GC_MALLOC_ATOMIC_WORDS(p, words, atomic_lists);
            small += GC_size(p) < words * sizeof(void *);
            memset(p, 0x77, words * sizeof(void *));
        }
    }
    say("%d not zeroed, %d too small", dirty, small);
}

/* The stock library makes rings of them once it has collected. */
CASE(inline_cons) {
    void *list = NULL;
    if (!is_ebb()) GC_disable();
    for (size_t i = 0; i < 200000; i++) {
        size_t *number = GC_malloc_atomic(sizeof *number);
        *number = i;
        void *pair;
        GC_CONS(pair, number, list, normal_lists);
        if (i % 3 == 0) list = pair;
    }
    collect();
    size_t count = 0, bad = 0;
    for (void **pair = list; pair; pair = pair[1]) bad += *(size_t *)pair[0] % 3 != 0, count++;
    say("%zu pairs, %zu wrong", count, bad);
}

CASE(inline_direct) {
    static void *lists[GC_TINY_FREELISTS];
    int direct = 0, bad = 0;
    for (int i = 0; i < 1000; i++) {
        void *p;
        GC_FAST_MALLOC_GRANS(p, (size_t)2, lists, 16, GC_I_NORMAL, (direct++, GC_malloc(32)),
                             *(void **)p = NULL);
        bad += p == NULL || !all_bytes(p, 0, 32);
        memset(p, 0x33, 32);
    }
    say("%d not zeroed, %d by the expression for large ones", bad, direct);
    for (size_t i = 0; i < GC_TINY_FREELISTS; i++) lists[i] = (void *)1;
    for (int i = 0; i < 1000; i++) {
        void *p;
        GC_FAST_MALLOC_GRANS(p, (size_t)2, lists, 16, GC_I_NORMAL, (direct++, GC_malloc(32)),
                             *(void **)p = NULL);
        bad += p == NULL || !all_bytes(p, 0, 32);
    }
    say("%d not zeroed, %d of the first by that expression", bad, direct);
}
