/* roots.c - where the collector looks: static data, what is added and excluded, libraries that are
 * loaded, the stacks of fibers. */
#define _GNU_SOURCE
#include "case.h"

#include <dlfcn.h>
#include <gc/gc_mark.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { COUNT = 100 };

static GC_hidden_pointer links[COUNT];

static void *watched(int i) {
    size_t *p = GC_malloc(40);
    p[0] = (size_t)i;
    links[i] = GC_HIDE_POINTER(p);
    GC_general_register_disappearing_link((void **)&links[i], p);
    return p;
}

static NOINLINE void fill(void **table) {
    for (int i = 0; i < COUNT; i++) table[i] = watched(i);
}

static void unlink_all(void) {
    for (int i = 0; i < COUNT; i++) GC_unregister_disappearing_link((void **)&links[i]);
}

static const char *died(void) {
    size_t count = 0;
    for (int i = 0; i < COUNT; i++) count += links[i] == 0;
    return part(count, COUNT);
}

static size_t lived(void) {
    size_t count = 0;
    for (int i = 0; i < COUNT; i++) {
        count += links[i] && *(size_t *)GC_REVEAL_POINTER(links[i]) == (size_t)i;
    }
    return count;
}

/* --- Static data ---------------------------------------------------------------------------- */

static void *in_bss[COUNT];
static void *in_data[COUNT] = {(void *)1, (void *)2};
void *exported[COUNT];

CASE(static_data) {
    static void *local[COUNT];
    void **tables[] = {in_bss, in_data, exported, local};
    for (int i = 0; i < 4; i++) {
        fill(tables[i]);
        collect();
        say("%zu live", lived());
        memset(tables[i], 0, COUNT * sizeof(void *));
        collect();
        say("%s died", died());
    }
}

/* --- Added ---------------------------------------------------------------------------------- */

static void added(void **table) {
    fill(table);
    collect();
    say("not added: %s died", died());
    unlink_all();
    GC_add_roots(table, table + COUNT);
    fill(table);
    collect();
    say("added: %zu live", lived());
    GC_add_roots(table, table + COUNT);
    collect();
    say("added twice: %zu live", lived());
    GC_remove_roots(table, table + COUNT);
    collect();
    say("removed: %s died", died());
    unlink_all();
}

CASE(added_from_malloc) {
    void **table = malloc(COUNT * sizeof *table);
    added(table);
    free(table);
}

CASE(added_from_mmap) {
    added(mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

CASE(added_in_part) {
    void **table = calloc(COUNT, sizeof *table);
    GC_add_roots(table, table + COUNT / 2);
    fill(table);
    collect();
    say("half added, that lives; of the other %s", part(lived() - COUNT / 2, COUNT / 2));
}

CASE(many_added) {
    enum { TABLES = 50 };
    void **tables[TABLES];
    for (int i = 0; i < TABLES; i++) {
        tables[i] = calloc(COUNT, sizeof(void *));
        GC_add_roots(tables[i], tables[i] + COUNT);
    }
    for (int i = 0; i < COUNT; i++) tables[i % TABLES][i] = watched(i);
    collect();
    say("%zu live", lived());
    for (int i = 0; i < TABLES; i += 2) GC_remove_roots(tables[i], tables[i] + COUNT);
    collect();
    say("half removed: %zu live", lived());
}

CASE(changing_added) {
    size_t **table = calloc(COUNT, sizeof *table), bad = 0;
    GC_add_roots(table, table + COUNT);
    for (size_t turn = 0; turn < 400000; turn++) {
        size_t at = turn * 13 % COUNT;
        if (table[at]) bad += *table[at] != 0xABCD;
        size_t *fresh = GC_malloc_atomic(turn % 10 * 30 + 8);
        *fresh = 0xABCD;
        table[at] = NULL;
        table[(at * 7 + 1) % COUNT] = fresh;
    }
    say("%zu lost", bad);
}

/* --- Excluded ------------------------------------------------------------------------------- */

static struct {
    void *before[512];
    void *table[COUNT];
    void *after[512];
} excluded;

BARE_CASE(excluded) {
    GC_exclude_static_roots(excluded.table, excluded.table + COUNT);
    GC_INIT();
    fill(excluded.table);
    collect();
    say("within: %s died", died());
    unlink_all();
    fill(excluded.before);
    collect();
    say("before: %zu live", lived());
    unlink_all();
    fill(excluded.after);
    collect();
    say("after: %zu live", lived());
}

/* --- Libraries ------------------------------------------------------------------------------ */

static unsigned asked;

static int has_roots(const char *object, void *segment, size_t size) {
    (void)object;
    asked += segment != NULL && size > 0;
    return 1;
}

CASE(has_static_roots) {
    GC_register_has_static_roots_callback(has_roots);
    fill(in_bss);
    collect();
    say("asked: %s, %zu live", yes(asked > 0), lived());
}

BARE_CASE(no_dls) {
    GC_set_no_dls(1);
    GC_INIT();
    say("set: %d", GC_get_no_dls());
    fill(in_bss);
    collect();
    differs("stock forgets the program's own data, too", "%zu live", lived());
}

/* --- Fibers --------------------------------------------------------------------------------- */

enum { FIBERS = 6, FIBER_BYTES = 1 << 17 };

typedef struct fiber {
    ucontext_t context;
    char *stack;
    size_t sum;
    int done;
} fiber;

static fiber fibers[FIBERS];
static ucontext_t first_context;
static struct GC_stack_base first_base;
static void *first_thread;
static char *first_top;
static int running = -1;
static GC_push_other_roots_proc pushed_before;

static void fiber_push(void) {
    for (int i = 0; i < FIBERS; i++) {
        if (fibers[i].stack && i != running && !fibers[i].done) {
            GC_push_all_eager(fibers[i].stack, fibers[i].stack + FIBER_BYTES);
        }
    }
    if (running >= 0) GC_push_all_eager(first_top, first_base.mem_base);
    if (pushed_before) pushed_before();
}

static void *fiber_bottom(void *data) {
    struct GC_stack_base base = first_base;
    if (data) base.mem_base = ((fiber *)data)->stack + FIBER_BYTES;
    GC_set_stackbottom(first_thread, &base);
    return NULL;
}

static NOINLINE void fiber_enter(int i) {
    first_top = (char *)((uintptr_t)__builtin_frame_address(0) & ~(uintptr_t)15) - 256;
    running = i;
    GC_call_with_alloc_lock(fiber_bottom, &fibers[i]);
    swapcontext(&first_context, &fibers[i].context);
    GC_call_with_alloc_lock(fiber_bottom, NULL);
    running = -1;
}

static void fiber_leave(fiber *f) {
    swapcontext(&f->context, &first_context);
}

static NOINLINE size_t fiber_deep(fiber *f, int depth) {
    size_t *volatile own = GC_malloc(64);
    own[0] = (size_t)depth;
    own[7] = 0xF1BE5;
    fiber_leave(f);
    for (int i = 0; i < 200; i++) memset(GC_malloc_atomic(64), 0xFF, 64);
    size_t below = depth ? fiber_deep(f, depth - 1) : 0;
    fiber_leave(f);
    return below + (own[0] == (size_t)depth && own[7] == 0xF1BE5);
}

static void fiber_main(int i) {
    fibers[i].sum = fiber_deep(&fibers[i], 20);
    fibers[i].done = 1;
    for (;;) fiber_leave(&fibers[i]);
}

CASE(fibers) {
    first_thread = GC_get_my_stackbottom(&first_base);
    pushed_before = GC_get_push_other_roots();
    GC_set_push_other_roots(fiber_push);
    for (int i = 0; i < FIBERS; i++) {
        fiber *f = &fibers[i];
        f->stack = calloc(1, FIBER_BYTES);
        getcontext(&f->context);
        f->context.uc_stack.ss_sp = f->stack;
        f->context.uc_stack.ss_size = FIBER_BYTES;
        makecontext(&f->context, (void (*)(void))fiber_main, 1, i);
    }
    size_t *volatile own = GC_malloc(64);
    own[3] = 33;
    for (int turn = 0, done = 0; done < FIBERS; turn++) {
        if (fibers[turn % FIBERS].done) {
            done++;
            continue;
        }
        done = 0;
        fiber_enter(turn % FIBERS);
        if (turn % 10 == 0) GC_gcollect();
    }
    for (int i = 0; i < FIBERS; i++) say("fiber %d: %zu of 21", i, fibers[i].sum);
    say("the first stack: %zu", own[3]);
}

CASE(stack_base) {
    struct GC_stack_base base = {NULL}, mine = {NULL};
    say("%d", GC_get_stack_base(&base));
    say("it lies above: %s", yes((char *)base.mem_base > (char *)&base));
    GC_get_my_stackbottom(&mine);
    say("so does the other: %s", yes((char *)mine.mem_base > (char *)&base));
    say("the variable is the bottom of the first thread: %s", yes(GC_stackbottom == mine.mem_base));
}

static void *base_is_above(struct GC_stack_base *base, void *data) {
    return (char *)base->mem_base > (char *)data - 4096 ? data : NULL;
}

CASE(call_with_stack_base) {
    char here;
    say("%s", yes(GC_call_with_stack_base(base_is_above, &here) == &here));
}

CASE(deep_recursion) {
    struct GC_stack_base base;
    GC_get_stack_base(&base);
    char *volatile objects[64];
    for (int i = 0; i < 64; i++) objects[i] = memset(GC_malloc_atomic(100), i, 100);
    GC_clear_stack(NULL);
    collect();
    for (int i = 0; i < 1000; i++) memset(GC_malloc_atomic(100), 0xFF, 100);
    int bad = 0;
    for (int i = 0; i < 64; i++) bad += objects[i][99] != i;
    say("%d lost", bad);
}
