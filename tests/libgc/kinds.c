/* kinds.c - objects that say what they refer to: typed ones, kinds with descriptors and mark
 * procedures, and what a runtime hands over by itself. */
#include "case.h"

#include <gc/gc_gcj.h>
#include <gc/gc_inline.h>
#include <gc/gc_mark.h>
#include <gc/gc_typed.h>

enum { COUNT = 100 };

static void *links[4][COUNT];

/* A small object that link[i] of a row notices the death of. */
static void *watched(int row, int i) {
    size_t *p = GC_malloc(40);
    p[0] = (size_t)i;
    links[row][i] = (void *)GC_HIDE_POINTER(p);
    GC_general_register_disappearing_link(&links[row][i], p);
    return p;
}

static const char *died(int row) {
    size_t count = 0;
    for (int i = 0; i < COUNT; i++) count += links[row][i] == NULL;
    return part(count, COUNT);
}

static const char *lived(int row) {
    static char text[4][32];
    static int turn;
    size_t count = 0;
    for (int i = 0; i < COUNT; i++) {
        if (!links[row][i]) continue;
        size_t *p = GC_REVEAL_POINTER((GC_hidden_pointer)links[row][i]);
        count += p[0] == (size_t)i;
    }
    snprintf(text[turn++ & 3], 32, "%zu of %d", count, COUNT);
    return text[(turn - 1) & 3];
}

static void *kept[COUNT];

/* --- Typed ---------------------------------------------------------------------------------- */

typedef struct thing {
    size_t a;
    void *strong;
    size_t b;
    void *unseen;
    void *last;
} thing;

static GC_descr thing_descriptor(void) {
    GC_word bitmap[GC_BITMAP_SIZE(thing)] = {0};
    GC_set_bit(bitmap, GC_WORD_OFFSET(thing, strong));
    GC_set_bit(bitmap, GC_WORD_OFFSET(thing, last));
    return GC_make_descriptor(bitmap, GC_WORD_LEN(thing));
}

static NOINLINE void make_things(int how) {
    GC_descr descriptor = thing_descriptor();
    for (int i = 0; i < COUNT; i++) {
        thing *t = how == 0   ? GC_MALLOC_EXPLICITLY_TYPED(sizeof *t, descriptor)
                   : how == 1 ? GC_malloc_explicitly_typed_ignore_off_page(sizeof *t, descriptor)
                              : GC_malloc_explicitly_typed(sizeof *t + 5000, descriptor);
        kept[i] = t;
        for (size_t j = 0; j < sizeof *t / sizeof(size_t); j++) {
            if (((size_t *)t)[j]) say("not zeroed");
        }
        t->strong = watched(0, i);
        t->unseen = watched(1, i);
        t->last = watched(2, i);
    }
}

CASE(typed) {
    for (int how = 0; how < 3; how++) {
        make_things(how);
        collect();
        collect();
        say("%s, %s live; %s died", lived(0), lived(2), died(1));
    }
}

static NOINLINE void make_arrays(size_t count) {
    GC_descr descriptor = thing_descriptor();
    for (int i = 0; i < COUNT; i++) {
        thing *t = GC_CALLOC_EXPLICITLY_TYPED(count, sizeof *t, descriptor);
        kept[i] = t;
        t[count - 1].strong = watched(0, i);
        t[count / 2].unseen = watched(1, i);
        t[0].last = watched(2, i);
    }
}

CASE(typed_arrays) {
    static const size_t counts[] = {1, 2, 3, 10, 100, 1000};
    for (int i = 0; i < 6; i++) {
        make_arrays(counts[i]);
        collect();
        collect();
        say("%zu: %s, %s live; %s died", counts[i], lived(0), lived(2), died(1));
    }
}

static NOINLINE void make_long(size_t words) {
    GC_word bitmap[10] = {0};
    GC_set_bit(bitmap, words - 1);
    GC_set_bit(bitmap, 0);
    GC_descr descriptor = GC_make_descriptor(bitmap, words);
    for (int i = 0; i < COUNT; i++) {
        void **p = GC_malloc_explicitly_typed(words * sizeof *p, descriptor);
        kept[i] = p;
        p[0] = watched(0, i);
        p[words / 2] = watched(1, i);
        p[words - 1] = watched(2, i);
    }
}

CASE(typed_long) {
    static const size_t words[] = {3, 30, 61, 62, 63, 64, 65, 200, 640};
    for (int i = 0; i < 9; i++) {
        make_long(words[i]);
        collect();
        collect();
        say("%zu words: %s, %s live; %s died", words[i], lived(0), lived(2), died(1));
    }
}

static NOINLINE void make_without_pointers(void) {
    GC_word bitmap[1] = {0};
    GC_descr descriptor = GC_make_descriptor(bitmap, 4);
    for (int i = 0; i < COUNT; i++) {
        void **p = GC_malloc_explicitly_typed(4 * sizeof *p, descriptor);
        kept[i] = p;
        p[1] = watched(0, i);
    }
}

CASE(typed_without_pointers) {
    make_without_pointers();
    collect();
    say("%s died", died(0));
}

/* --- Kinds by descriptor -------------------------------------------------------------------- */

static NOINLINE void make_beginning(unsigned kind, size_t size, size_t a, size_t b,
                                    const void *first) {
    for (int i = 0; i < COUNT; i++) {
        void **p = GC_generic_malloc(size, (int)kind);
        kept[i] = p;
        p[0] = (void *)first;
        p[a] = watched(0, i);
        p[b] = watched(1, i);
    }
}

static void make_of_kind(unsigned kind, size_t size, size_t a, size_t b) {
    make_beginning(kind, size, a, b, NULL);
}

CASE(kind_of_length) {
    unsigned all = GC_new_kind(GC_new_free_list(), GC_DS_LENGTH, 1, 1);
    make_of_kind(all, 160, 1, 19);
    collect();
    say("all words: %s, %s live, kind %s", lived(0), lived(1),
        yes(GC_get_kind_and_size(kept[0], NULL) == (int)all));
    unsigned none = GC_new_kind(GC_new_free_list(), GC_DS_LENGTH, 0, 1);
    make_of_kind(none, 160, 1, 19);
    collect();
    say("no words: %s, %s died", died(0), died(1));
    unsigned some = GC_new_kind(GC_new_free_list(), 16 | GC_DS_LENGTH, 0, 1);
    make_of_kind(some, 160, 1, 19);
    collect();
    say("two words: %s live, %s died", lived(0), died(1));
    say("all different: %s", yes(all != none && none != some && all > 3));
}

CASE(kind_of_bitmap) {
    GC_word second = (GC_word)1 << (GC_WORDSZ - 2);
    unsigned kind = GC_new_kind(GC_new_free_list(), second | GC_DS_BITMAP, 0, 1);
    make_of_kind(kind, 160, 1, 2);
    collect();
    say("%s live, %s died", lived(0), died(1));
}

typedef struct tabled {
    const GC_word *type;
    void *a, *b;
} tabled;

/* The descriptor lies in the object itself. */
CASE(kind_per_object) {
    unsigned kind = GC_new_kind(GC_new_free_list(), 0 | GC_DS_PER_OBJECT, 0, 1);
    for (int round = 0; round < 2; round++) {
        GC_word descriptor = (round ? 48 : 16) | GC_DS_LENGTH;
        make_beginning(kind, 48, 1, 4, (void *)descriptor);
        collect();
        say("%s live; %s died", lived(0), died(1));
    }
}

/* The descriptor lies in what the first word points to. */
CASE(kind_by_type) {
    static const GC_word types[2][4] = {{0, 0, 24 | GC_DS_LENGTH, 0}, {0, 0, 16 | GC_DS_LENGTH, 0}};
    GC_word where = (GC_word) - (GC_signed_word)(16 + GC_INDIR_PER_OBJ_BIAS) | GC_DS_PER_OBJECT;
    unsigned kind = GC_new_kind(GC_new_free_list(), where, 0, 1);
    for (int round = 0; round < 2; round++) {
        make_beginning(kind, sizeof(tabled), 1, 2, types[round]);
        collect();
        say("%s live; %s, %s died", lived(0), round ? "of the second" : lived(1),
            round ? died(1) : "none");
    }
}

/* --- Mark procedures ------------------------------------------------------------------------ */

static size_t calls, wrong_env;

/* A vector whose elements lie in memory from malloc. */
typedef struct vector {
    void **elements;
    size_t length;
    size_t magic;
} vector;

static struct GC_ms_entry *mark_vector(GC_word *object, struct GC_ms_entry *top,
                                       struct GC_ms_entry *limit, GC_word env) {
    vector *v = (vector *)object;
    calls++;
    if (!v->elements) return top;
    wrong_env += env != 77 || v->magic != 0xFEED;
    for (size_t i = 0; i < v->length; i++) {
        top = GC_MARK_AND_PUSH(v->elements[i], top, limit, &v->elements[i]);
    }
    return top;
}

static unsigned vector_kind(void) {
    unsigned proc = GC_new_proc(mark_vector);
    return GC_new_kind(GC_new_free_list(), GC_MAKE_PROC(proc, (GC_word)77), 0, 1);
}

static NOINLINE void make_vectors(unsigned kind) {
    for (int i = 0; i < COUNT; i++) {
        vector *v = GC_generic_malloc(sizeof *v, (int)kind);
        kept[i] = v;
        v->elements = malloc(4 * sizeof(void *));
        v->magic = 0xFEED;
        v->length = 3;
        for (int j = 0; j < 4; j++) v->elements[j] = watched(j, i);
    }
}

CASE(mark_procedure) {
    make_vectors(vector_kind());
    collect();
    say("%s, %s, %s live; %s died", lived(0), lived(1), lived(2), died(3));
    say("called %s, %zu wrong", yes(calls >= COUNT), wrong_env);
    for (int i = 0; i < COUNT; i++) ((vector *)kept[i])->length = 1;
    collect();
    say("%s live; %s, %s died", lived(0), died(1), died(2));
}

/* The elements move to other memory and others come in while the collector marks: whatever it has
 * seen of the vectors is old. */
CASE(mark_procedure_of_changing_memory) {
    unsigned kind = vector_kind();
    size_t bad = 0;
    for (int i = 0; i < COUNT; i++) {
        vector *v = kept[i] = GC_generic_malloc(sizeof *v, (int)kind);
        v->elements = calloc(64, sizeof(void *));
        v->magic = 0xFEED;
        v->length = 64;
    }
    for (size_t turn = 0; turn < 400000; turn++) {
        vector *v = kept[turn * 31 % COUNT];
        size_t at = turn * 17 % 64;
        if (v->elements[at]) bad += *(size_t *)v->elements[at] != 0xABCD;
        size_t *fresh = GC_malloc_atomic(turn % 10 * 30 + 8);
        *fresh = 0xABCD;
        v->elements[at] = NULL;
        v->elements[(at * 5 + 3) % 64] = fresh;
        if (turn % 1000 == 0) {
            void **other = malloc(64 * sizeof(void *));
            memcpy(other, v->elements, 64 * sizeof(void *));
            memset(v->elements, 0, 64 * sizeof(void *));
            free(v->elements);
            v->elements = other;
        }
    }
    for (int i = 0; i < COUNT; i++) {
        vector *v = kept[i];
        for (int j = 0; j < 64; j++) {
            bad += v->elements[j] && *(size_t *)v->elements[j] != 0xABCD;
        }
    }
    say("%zu of %zu lost", bad, (size_t)400000);
}

/* The first word of what lies on a list is its link, and all others are null. */
static struct GC_ms_entry *mark_listed(GC_word *object, struct GC_ms_entry *top,
                                       struct GC_ms_entry *limit, GC_word env) {
    vector *v = (vector *)object;
    if (v->magic) return mark_vector(object, top, limit, env);
    return GC_MARK_AND_PUSH(v->elements, top, limit, (void **)&v->elements);
}

/* Objects of the kind on a list that the program keeps, half made, and some half dead. */
CASE(mark_procedure_of_free_lists) {
    unsigned proc = GC_new_proc(mark_listed);
    unsigned kind = GC_new_kind(GC_new_free_list(), GC_MAKE_PROC(proc, (GC_word)77), 0, 1);
    static void *lists[GC_TINY_FREELISTS];
    size_t dirty = 0, lost = 0;
    for (int i = 0; i < 200000; i++) {
        if (!lists[2]) GC_generic_malloc_many(32, (int)kind, &lists[2]);
        vector *v = lists[2];
        lists[2] = GC_NEXT(v);
        v->elements = NULL;
        dirty += v->length || v->magic;
        v->magic = 0xFEED;
        GC_reachable_here(GC_malloc_atomic(50));
        if (i % 5 == 0) kept[i % COUNT] = v;
    }
    for (int i = 0; i < COUNT; i += 5) lost += ((vector *)kept[i])->magic != 0xFEED;
    say("%zu not zeroed, %zu lost", dirty, lost);
}

static struct GC_ms_entry *mark_next(GC_word *object, struct GC_ms_entry *top,
                                     struct GC_ms_entry *limit, GC_word env) {
    (void)env;
    return GC_MARK_AND_PUSH((void *)object[0], top, limit, (void **)object);
}

CASE(mark_procedure_of_a_long_list) {
    unsigned proc = GC_new_proc(mark_next);
    unsigned kind = GC_new_kind(GC_new_free_list(), GC_MAKE_PROC(proc, (GC_word)0), 0, 1);
    size_t *first = NULL, count = 0;
    for (size_t i = 0; i < 300000; i++) {
        size_t *p = GC_generic_malloc(16, (int)kind);
        p[0] = (size_t)first;
        p[1] = i;
        first = p;
    }
    collect();
    for (size_t *p = first; p; p = (size_t *)p[0]) count += p[1] == 299999 - count;
    say("%zu", count);
}

CASE(mark_procedure_by_length) {
    unsigned proc = GC_new_proc(mark_vector);
    say("procedures are numbered from the reserved ones: %s",
        yes(proc >= GC_RESERVED_MARK_PROCS && GC_new_proc(mark_next) == proc + 1));
    unsigned first = GC_new_kind(GC_new_free_list(), GC_DS_LENGTH, 1, 1);
    say("kinds by one: %s", yes(GC_new_kind(GC_new_free_list(), GC_DS_LENGTH, 1, 1) == first + 1));
}

/* --- What a runtime hands over -------------------------------------------------------------- */

static void **outside;
static GC_push_other_roots_proc pushed_before;
static int push_how, pushed;

static void push_outside(void) {
    pushed++;
    if (push_how == 0) GC_push_all(outside, outside + COUNT);
    if (push_how == 1) GC_push_all_eager(outside, outside + COUNT);
    if (push_how == 2) GC_push_conditional(outside, outside + COUNT, 1);
    if (pushed_before) pushed_before();
}

static NOINLINE void make_outside(void) {
    for (int i = 0; i < COUNT; i++) outside[i] = watched(0, i);
}

CASE(push_other_roots) {
    outside = malloc(COUNT * sizeof *outside);
    make_outside();
    collect();
    say("before: %s died", died(0));
    pushed_before = GC_get_push_other_roots();
    GC_set_push_other_roots(push_outside);
    say("set: %s", yes(GC_get_push_other_roots() == push_outside));
    for (push_how = 0; push_how < 3; push_how++) {
        make_outside();
        collect();
        say("%d: %s live", push_how, lived(0));
    }
    say("called: %s", yes(pushed >= 3));
    GC_set_push_other_roots(pushed_before);
    collect();
    say("after: %s died", died(0));
}

/* A table outside the heap that changes while the collector marks. */
CASE(push_changing_roots) {
    size_t bad = 0;
    outside = calloc(COUNT, sizeof *outside);
    pushed_before = GC_get_push_other_roots();
    GC_set_push_other_roots(push_outside);
    for (size_t turn = 0; turn < 400000; turn++) {
        size_t at = turn * 13 % COUNT;
        if (outside[at]) bad += *(size_t *)outside[at] != 0xABCD;
        size_t *fresh = GC_malloc_atomic(turn % 10 * 30 + 8);
        *fresh = 0xABCD;
        outside[at] = NULL;
        outside[(at * 7 + 1) % COUNT] = fresh;
    }
    say("%zu lost", bad);
}

/* --- Of Java -------------------------------------------------------------------------------- */

typedef struct gcj_type {
    void *something;
    GC_word descriptor;
} gcj_type;

static struct GC_ms_entry *mark_gcj(GC_word *object, struct GC_ms_entry *top,
                                    struct GC_ms_entry *limit, GC_word env) {
    (void)env;
    calls++;
    if (!object[0]) return top;
    return GC_MARK_AND_PUSH((void *)object[2], top, limit, (void **)&object[2]);
}

static NOINLINE void make_gcj(gcj_type *type, int ignore) {
    for (int i = 0; i < COUNT; i++) {
        void **p = ignore ? GC_GCJ_MALLOC_IGNORE_OFF_PAGE(24, type) : GC_GCJ_MALLOC(24, type);
        if (p[0] != type || p[1] || p[2]) say("not as it has to be");
        kept[i] = p;
        p[1] = watched(0, i);
        p[2] = watched(1, i);
    }
}

CASE(gcj) {
    GC_init_gcj_malloc(GC_GCJ_RESERVED_MARK_PROC_INDEX, (void *)mark_gcj);
    static gcj_type first = {NULL, 16 | GC_DS_LENGTH}, both = {NULL, 24 | GC_DS_LENGTH};
    static gcj_type by_proc = {NULL, GC_MAKE_PROC(GC_GCJ_RESERVED_MARK_PROC_INDEX, 0)};
    for (int ignore = 0; ignore < 2; ignore++) {
        make_gcj(&first, ignore);
        collect();
        say("%s live, %s died", lived(0), died(1));
        make_gcj(&both, ignore);
        collect();
        say("%s, %s live", lived(0), lived(1));
        make_gcj(&by_proc, ignore);
        collect();
        say("%s died, %s live, called %s", died(0), lived(1), yes(calls > 0));
    }
    say("kind %s", yes(GC_get_kind_and_size(kept[0], NULL) == GC_gcj_kind));
}
