/* debug.c - objects with file and line: GC_DEBUG. What the messages say beside the place is the
 * collector's own affair. */
#define GC_DEBUG
#include "case.h"

#include <gc/gc_gcj.h>
#include <gc/gc_mark.h>

enum { COUNT = 100 };

static char messages[65536];

/* What a call writes to standard error. */
static void listen(void (*call)(void)) {
    FILE *file = tmpfile();
    fflush(stderr);
    int before = dup(2);
    dup2(fileno(file), 2);
    call();
    fflush(stderr);
    dup2(before, 2);
    close(before);
    rewind(file);
    size_t size = fread(messages, 1, sizeof messages - 1, file);
    messages[size] = 0;
    fclose(file);
}

static int told_of(int line) {
    char place[64];
    snprintf(place, sizeof place, "debug.c:%d", line);
    return strstr(messages, place) != NULL;
}

static char *volatile object;
static int made_at;
static volatile size_t room = 40;

static void free_it(void) {
    GC_FREE(object);
}

static void collect_it(void) {
    GC_gcollect();
}

static int all_bytes(const void *p, int byte, size_t size) {
    const unsigned char *b = p;
    for (size_t i = 0; i < size; i++) {
        if (b[i] != byte) return 0;
    }
    return 1;
}

CASE(header) {
    char *p = GC_MALLOC(100);
    say("has a header: %s", yes(GC_get_debug_header_size() > 0));
    say("the constant says the same: %s", yes(GC_debug_header_size == GC_get_debug_header_size()));
    say("the object follows it: %s", yes(GC_USR_PTR_FROM_BASE(GC_base(p)) == p));
    differs("a header is as large as it has to be", "%zu", GC_get_debug_header_size());
}

CASE(sizes) {
    int crooked = 0, dirty = 0, small = 0;
    for (size_t size = 0; size < 5000; size += 1 + size / 20) {
        char *p[4] = {GC_MALLOC(size), GC_MALLOC_ATOMIC(size), GC_MALLOC_IGNORE_OFF_PAGE(size),
                      GC_MALLOC_UNCOLLECTABLE(size)};
        for (int i = 0; i < 4; i++) {
            crooked += (uintptr_t)p[i] % 16 != 0;
            dirty += i != 1 && !all_bytes(p[i], 0, size);
            small += GC_size(GC_base(p[i])) < size + GC_get_debug_header_size();
            memset(p[i], 0xA5, size);
        }
        GC_FREE(p[3]);
        GC_FREE(GC_MALLOC_ATOMIC_UNCOLLECTABLE(size));
        GC_FREE(GC_MALLOC_ATOMIC_IGNORE_OFF_PAGE(size));
    }
    collect();
    say("%d not aligned, %d not zeroed, %d too small", crooked, dirty, small);
}

CASE(texts) {
    say("%s %s", GC_STRDUP("forty"), GC_STRNDUP("two-fold", 3));
}

CASE(intact) {
    object = GC_MALLOC(40);
    memset(object, 0xFF, 40);
    listen(collect_it);
    say("a collection says nothing: %s", yes(messages[0] == 0));
    listen(free_it);
    say("free says nothing: %s", yes(messages[0] == 0));
}

CASE(overrun_found_by_free) {
    static const size_t sizes[] = {8, 40, 1000, 20000};
    for (int i = 0; i < 4; i++) {
        object = GC_MALLOC(sizes[i]), made_at = __LINE__;
        object[sizes[i]]++;
        listen(free_it);
        say("%zu: told, and where it was made: %s", sizes[i], yes(told_of(made_at)));
    }
}

CASE(overrun_found_by_collection) {
    object = GC_MALLOC(room), made_at = __LINE__;
    object[40]++;
    listen(collect_it);
    say("told, and where it was made: %s", yes(told_of(made_at)));
}

static void reallocate(void) {
    object = GC_REALLOC(object, 1000);
}

CASE(overrun_found_by_realloc) {
    object = GC_MALLOC_ATOMIC(room), made_at = __LINE__;
    object[40]++;
    listen(reallocate);
    say("told, and where it was made: %s", yes(told_of(made_at)));
}

CASE(freed_twice) {
    object = GC_MALLOC(room), made_at = __LINE__;
    GC_FREE(object);
    listen(free_it);
    say("told: %s", yes(messages[0] != 0));
}

CASE(freed_without_header) {
    object = (GC_malloc)(40);
    listen(free_it);
    say("told: %s", yes(messages[0] != 0));
}

CASE(realloc) {
    char *p = GC_MALLOC(1);
    size_t size = 1, lost = 0;
    for (size_t to = 2; to < 100000; to = to * 3 / 2 + 1) {
        memset(p, (int)(to & 255), size);
        p = GC_REALLOC(p, to);
        lost += !all_bytes(p, (int)(to & 255), size);
        size = to;
    }
    p = GC_REALLOC(p, 10);
    say("%zu lost, of null: %s, is an object with header: %s", lost,
        yes(GC_REALLOC(NULL, 10) != NULL), yes(GC_USR_PTR_FROM_BASE(GC_base(p)) == p));
}

CASE(replacement) {
    char *p = GC_debug_malloc_replacement(40);
    memset(p, 3, 40);
    p = GC_debug_realloc_replacement(p, 400);
    say("%s", yes(all_bytes(p, 3, 40) && GC_USR_PTR_FROM_BASE(GC_base(p)) == p));
}

static void *kept[COUNT];

CASE(survive) {
    int bad = 0;
    for (int i = 0; i < COUNT; i++) {
        void **p = GC_MALLOC(60);
        p[3] = memset(GC_MALLOC_ATOMIC(100), i, 100);
        kept[i] = p;
    }
    collect_all();
    for (int i = 0; i < 20000; i++) memset(GC_MALLOC_ATOMIC(100), 0xFF, 100);
    for (int i = 0; i < COUNT; i++) bad += !all_bytes(((void **)kept[i])[3], i, 100);
    say("%d lost", bad);
}

/* --- Finalizers and links ------------------------------------------------------------------- */

static size_t ran, wrong;
static int round_now;

/* One that a stale word kept runs in a later round, and does not count there. */
static void finalizer(void *p, void *data) {
    ran += ((int *)p)[2] == round_now;
    wrong += *(void **)p != data;
}

static NOINLINE void make_finalized(int how) {
    for (int i = 0; i < COUNT; i++) {
        void **p = GC_MALLOC(60);
        *p = &kept[i];
        ((int *)p)[2] = round_now = how;
        if (how == 0) GC_REGISTER_FINALIZER(p, finalizer, &kept[i], NULL, NULL);
        if (how == 1) GC_REGISTER_FINALIZER_IGNORE_SELF(p, finalizer, &kept[i], NULL, NULL);
        if (how == 2) GC_REGISTER_FINALIZER_NO_ORDER(p, finalizer, &kept[i], NULL, NULL);
        if (how == 3) GC_REGISTER_FINALIZER_UNREACHABLE(p, finalizer, &kept[i], NULL, NULL);
    }
}

CASE(finalizers) {
    for (int how = 0; how < 4; how++) {
        ran = wrong = 0;
        make_finalized(how);
        collect();
        collect();
        say("%d: %s, %zu were given another object", how, part(ran, COUNT), wrong);
    }
}

CASE(returns_what_was_set) {
    GC_finalization_proc before = NULL;
    void *data = NULL, *p = GC_MALLOC(10);
    GC_REGISTER_FINALIZER(p, finalizer, &ran, &before, &data);
    say("none: %s %s", yes(before == NULL), yes(data == NULL));
    GC_REGISTER_FINALIZER(p, NULL, NULL, &before, &data);
    say("the first: %s %s", yes(before == finalizer), yes(data == &ran));
}

static void *links[COUNT], *long_links[COUNT];

static NOINLINE void make_linked(void) {
    for (int i = 0; i < COUNT; i++) {
        void *p = GC_MALLOC(60);
        links[i] = long_links[i] = (void *)GC_HIDE_POINTER(p);
        GC_GENERAL_REGISTER_DISAPPEARING_LINK(&links[i], p);
        GC_REGISTER_LONG_LINK(&long_links[i], p);
    }
}

CASE(links) {
    size_t short_ones = 0, long_ones = 0;
    make_linked();
    collect();
    for (int i = 0; i < COUNT; i++) {
        short_ones += links[i] == NULL;
        long_ones += long_links[i] == NULL;
    }
    say("%s, %s", part(short_ones, COUNT), part(long_ones, COUNT));
}

static void describe(void *p, char *text) {
    snprintf(text, GC_TYPE_DESCR_LEN, "a thing%s", p ? "" : "?");
}

CASE(of_a_kind) {
    GC_register_describe_type_fn(1, describe);
    void *p = GC_GENERIC_OR_SPECIAL_MALLOC(40, 1);
    say("zeroed %s", yes(all_bytes(p, 0, 40)));
    void *stubborn = GC_debug_malloc_stubborn(10, "file", 1);
    GC_CHANGE_STUBBORN(stubborn);
    GC_END_STUBBORN_CHANGE(stubborn);
    void **where = GC_MALLOC(sizeof *where);
    GC_PTR_STORE_AND_DIRTY(where, p);
    say("stored %s", yes(*where == p));
}

/* --- Checked pointers ----------------------------------------------------------------------- */

static unsigned errors;

static void count_error(void *p, void *q) {
    errors += p != q;
}

CASE(arithmetic) {
    GC_same_obj_print_proc = count_error;
    char *start = GC_MALLOC(100), *p = start;
    say("%s", yes(GC_PTR_ADD(p, 10) == start + 10));
    say("%s", yes(GC_PRE_INCR(p, 5) == start + 5));
    say("%s", yes(p == start + 5));
    say("%s", yes(GC_POST_INCR(p) == start + 5));
    say("%s", yes(p == start + 6));
    say("%s", yes(GC_PTR_ADD(p, -1) == start + 5));
    say("%u wrong", errors);
    GC_reachable_here(GC_PTR_ADD(p, 100000));
    say("%u wrong", errors);
    void **where = GC_MALLOC(sizeof *where);
    GC_PTR_STORE(where, start);
    say("stored %s", yes(*where == start));
}
