/* roots.c - static data: ranges that programs add and take out, and whose libraries' data count.
 *
 * Ebb searches the writable data of everything that is loaded, so that an added range matters where
 * it lies elsewhere, and what programs leave out is told to Ebb as excluded: ranges of theirs, and,
 * under GC_no_dls, GC_clear_roots or a GC_has_static_roots callback, whole libraries. The data of
 * Ebb and of this library always count. Thread-local storage does too, which is more than the
 * interface promises.
 *
 * Ebb takes a range away by the address where it starts; so one to be searched starts at an even
 * address, and one to be left out at an odd one, inside of the first word.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#ifndef _GNU_SOURCE
# define _GNU_SOURCE
#endif
#include "turns.h"

#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>

typedef struct root_range {
    uintptr_t start, end; /* of whole words */
} root_range;

typedef struct root_list {
    root_range *items;
    size_t count, room;
} root_list;

static root_list roots_added;    /* by GC_add_roots */
static root_list roots_excluded; /* by GC_exclude_static_roots */
static root_list roots_left_out; /* libraries' data, as of the last refresh */
static bool roots_cleared;       /* by GC_clear_roots: with GC_no_dls, only what was added counts */
static GC_has_static_roots_func roots_filter;

/* Guards all of the above. Under it Ebb is called, which takes locks of its own but never waits for
 * a stop. Inside of the loader's lock, which who loads a library holds while its constructors run:
 * never is the loader asked for anything under it. Never taken in a hook but `stopped`. */
pthread_mutex_t gc__roots_mutex = PTHREAD_MUTEX_INITIALIZER;

/* --- Lists [gc__roots_mutex]
 * ------------------------------------------------------------------------ */

static bool root_room(root_list *list) {
    if (list->count < list->room) return true;
    size_t room = list->room ? 2 * list->room : 64;
    root_range *items = realloc(list->items, room * sizeof *items);
    if (!items) return false;
    list->items = items;
    list->room = room;
    return true;
}

static void root_push(root_list *list, root_range r) {
    if (!root_room(list)) gc__abort("out of memory for the list of roots");
    list->items[list->count++] = r;
}

/* The whole words in [low, high). */
static root_range root_words(void *low, void *high) {
    return (root_range){((uintptr_t)low + 7) & ~(uintptr_t)7, (uintptr_t)high & ~(uintptr_t)7};
}

static void root_search(root_range r) {
    if (ebb_root_add((void *)r.start, r.end - r.start) != 0)
        gc__abort("out of memory for the list of roots");
}

static void root_leave_out(root_range r) {
    if (ebb_root_exclude((void *)(r.start + 1), r.end - r.start - 1) != 0)
        gc__abort("out of memory for the list of roots");
}

static void root_count_again(root_range r) {
    ebb_root_remove((void *)(r.start + 1));
}

/* --- Ranges -------------------------------------------------------------------------------------
 */

/* One that starts where another does becomes the longer of the two; one inside of another is none.
 */
static void root_add_locked(root_range r) {
    for (size_t i = 0; i < roots_added.count; i++) {
        root_range *old = &roots_added.items[i];
        if (r.start >= old->start && r.end <= old->end) return;
        if (r.start != old->start) continue;
        ebb_root_remove((void *)old->start);
        old->end = r.end;
        root_search(r);
        return;
    }
    root_push(&roots_added, r);
    root_search(r);
}

void GC_add_roots(void *low, void *high) {
    gc__attend();
    root_range r = root_words(low, high);
    if (r.start >= r.end) return;
    pthread_mutex_lock(&gc__roots_mutex);
    root_add_locked(r);
    pthread_mutex_unlock(&gc__roots_mutex);
}

/* Those that lie in [low, high) altogether. */
static void root_remove_locked(uintptr_t low, uintptr_t high) {
    for (size_t i = 0; i < roots_added.count;) {
        root_range r = roots_added.items[i];
        if (r.start < low || r.end > high) {
            i++;
            continue;
        }
        ebb_root_remove((void *)r.start);
        roots_added.items[i] = roots_added.items[--roots_added.count];
    }
}

void GC_remove_roots(void *low, void *high) {
    gc__attend();
    pthread_mutex_lock(&gc__roots_mutex);
    root_remove_locked((uintptr_t)low & ~(uintptr_t)7, ((uintptr_t)high + 7) & ~(uintptr_t)7);
    pthread_mutex_unlock(&gc__roots_mutex);
}

void GC_clear_roots(void) {
    gc__attend();
    pthread_mutex_lock(&gc__roots_mutex);
    root_remove_locked(0, UINTPTR_MAX);
    roots_cleared = true;
    pthread_mutex_unlock(&gc__roots_mutex);
    gc__roots_refresh();
}

/* Every word that has a byte of the range. */
void GC_exclude_static_roots(void *low, void *high) {
    gc__attend();
    root_range r = {(uintptr_t)low & ~(uintptr_t)7, ((uintptr_t)high + 7) & ~(uintptr_t)7};
    if (low >= high) return;
    pthread_mutex_lock(&gc__roots_mutex);
    root_push(&roots_excluded, r);
    root_leave_out(r);
    pthread_mutex_unlock(&gc__roots_mutex);
}

void GC_clear_exclusion_table(void) {
    gc__attend();
    pthread_mutex_lock(&gc__roots_mutex);
    for (size_t i = 0; i < roots_excluded.count; i++) root_count_again(roots_excluded.items[i]);
    roots_excluded.count = 0;
    pthread_mutex_unlock(&gc__roots_mutex);
}

/* --- Libraries ----------------------------------------------------------------------------------
 */

static bool module_holds(const struct dl_phdr_info *module, const void *address) {
    for (int i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &module->dlpi_phdr[i];
        uintptr_t start = module->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && (uintptr_t)address - start < part->p_memsz) return true;
    }
    return false;
}

static bool module_is_ours(const struct dl_phdr_info *module) {
    return module_holds(module, &gc__roots_mutex) ||
           module_holds(module, (const void *)(uintptr_t)ebb_collect);
}

static bool module_is_program(const struct dl_phdr_info *module) {
    return !module->dlpi_name || !module->dlpi_name[0];
}

typedef void module_visit(const struct dl_phdr_info *module, root_range data, void *arg);

struct module_walk {
    module_visit *visit;
    void *arg;
};

/* A module's writable data, of whole words. */
static int module_walk_parts(struct dl_phdr_info *module, size_t size, void *arg) {
    const struct module_walk *walk = arg;
    (void)size;
    for (int i = 0; i < module->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &module->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_W) || part->p_memsz < 16) continue;
        char *start = (char *)(uintptr_t)(module->dlpi_addr + part->p_vaddr);
        walk->visit(module, root_words(start, start + part->p_memsz), walk->arg);
    }
    return 0;
}

static void module_leave_out(const struct dl_phdr_info *module, root_range data, void *arg) {
    GC_has_static_roots_func filter = __atomic_load_n(&roots_filter, __ATOMIC_ACQUIRE);
    bool counts = module_is_ours(module);
    if (!counts) {
        counts = !GC_no_dls || (module_is_program(module) && !roots_cleared);
        if (counts && filter && !module_is_program(module))
            counts = filter(module->dlpi_name, (void *)data.start, data.end - data.start) != 0;
    }
    if (!counts) root_push(arg, data);
}

static bool root_lists_equal(const root_list *a, const root_list *b) {
    bool equal = a->count == b->count;
    for (size_t i = 0; i < a->count && equal; i++)
        equal = a->items[i].start == b->items[i].start && a->items[i].end == b->items[i].end;
    return equal;
}

/* Makes list, which it takes over, what is left out. */
static void roots_leave_out(root_list list) {
    pthread_mutex_lock(&gc__roots_mutex);
    root_list old = roots_left_out;
    bool same = root_lists_equal(&list, &old);
    for (size_t i = 0; i < old.count && !same; i++) root_count_again(old.items[i]);
    for (size_t i = 0; i < list.count && !same; i++) root_leave_out(list.items[i]);
    roots_left_out = list;
    pthread_mutex_unlock(&gc__roots_mutex);
    free(old.items);
}

void gc__roots_refresh(void) {
    root_list list = {0};
    struct module_walk walk = {module_leave_out, &list};
    if (!gc__is_up() || (!GC_no_dls && !roots_filter && roots_left_out.count == 0)) return;
    dl_iterate_phdr(module_walk_parts, &walk);
    roots_leave_out(list);
}

void GC_register_has_static_roots_callback(GC_has_static_roots_func filter) {
    gc__attend();
    __atomic_store_n(&roots_filter, filter, __ATOMIC_RELEASE);
    gc__roots_refresh();
}

/* What a library has in its data counts from the moment on that it is loaded. */
void *GC_dlopen(const char *path, int mode) {
    return dlopen(path, mode);
}

/* --- What is one --------------------------------------------------------------------------------
 */

struct module_search {
    uintptr_t address;
    bool found;
};

static void module_look(const struct dl_phdr_info *module, root_range data, void *arg) {
    struct module_search *search = arg;
    (void)module;
    if (search->address >= data.start && search->address < data.end) search->found = true;
}

static bool root_in(const root_list *list, uintptr_t address) {
    for (size_t i = 0; i < list->count; i++)
        if (address >= list->items[i].start && address < list->items[i].end) return true;
    return false;
}

/* Whether p lies in a library's data that are searched though nobody added them. */
int GC_is_tmp_root(void *p) {
    struct module_search search = {(uintptr_t)p, false};
    struct module_walk walk = {module_look, &search};
    dl_iterate_phdr(module_walk_parts, &walk);
    pthread_mutex_lock(&gc__roots_mutex);
    bool is_root = search.found && !root_in(&roots_left_out, search.address) &&
                   !root_in(&roots_excluded, search.address);
    pthread_mutex_unlock(&gc__roots_mutex);
    return is_root;
}
