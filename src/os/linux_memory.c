/* linux_memory.c - what is mapped and resident on Linux, and whose it is. See docs/design.md,
 * "Accounting".
 *
 * Kernels may be built without names for anonymous memory, and then neighbours of different kinds
 * become one mapping. So the library keeps a list of its own of what it mapped, and everything that
 * is told by parts of a mapping is told by pages. */
#include "memory.h"
#include "threads.h"
#include "linux_scan.h"
#include "linux_text.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- What is ours -------------------------------------------------------------------------------
 * A few hash tables, each four times as large as the one before. An entry lies in one of WINDOW
 * places of one of them, so nothing is ever moved, and who adds or removes needs no lock: it may be
 * stopped at any step. */

enum { OWNED_TABLES = 12, OWNED_FIRST = 256, OWNED_WINDOW = 8 };

/* start: 0 is an empty place; taken by compare-and-swap, the class in the low bits. Size is 0 until
 * it is set: release, pairs with the acquire of ebb__os_owned_each. */
typedef struct owned_entry {
    _Atomic(uintptr_t) start;
    _Atomic(size_t) size;
} owned_entry;

static owned_entry owned_first[OWNED_FIRST];
static _Atomic(owned_entry *) owned_tables[OWNED_TABLES]; /* release when made; the first is static
                                                           */

static size_t owned_room(int table) {
    return (size_t)OWNED_FIRST << (2 * table);
}

static owned_entry *owned_table(int table) {
    if (table == 0) return owned_first;
    return atomic_load_explicit(&owned_tables[table], memory_order_acquire);
}

static size_t owned_bytes(int table) {
    return round_up(owned_room(table) * sizeof(owned_entry), ebb__os_page_size());
}

/* Makes a table unless another thread has. Its own memory is in no table but counted. */
static owned_entry *owned_make(int table) {
    size_t bytes = owned_bytes(table);
    void *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    owned_entry *none = NULL;
    if (made == MAP_FAILED) return NULL;
    if (!atomic_compare_exchange_strong_explicit(&owned_tables[table], &none, (owned_entry *)made,
                                                 memory_order_acq_rel, memory_order_acquire)) {
        munmap(made, bytes);
        return none;
    }
    atomic_fetch_add_explicit(&ebb__os_mapped[OS_METADATA], bytes, memory_order_relaxed);
    return made;
}

/* The i-th place where an entry may lie. */
static owned_entry *owned_place(owned_entry *entries, int table, uintptr_t start, size_t i) {
    size_t hash = (size_t)(address_hash(start) >> 32);
    return &entries[(hash + i) & (owned_room(table) - 1)];
}

void ebb__os_owned_add(uintptr_t start, size_t size, enum os_class class) {
    for (int t = 0; t < OWNED_TABLES; t++) {
        owned_entry *entries = owned_table(t);
        if (!entries && !(entries = owned_make(t))) return;
        for (size_t i = 0; i < OWNED_WINDOW; i++) {
            owned_entry *e = owned_place(entries, t, start, i);
            uintptr_t empty = 0;
            if (!atomic_compare_exchange_strong_explicit(
                    &e->start, &empty, start | class, memory_order_acq_rel, memory_order_relaxed))
                continue;
            atomic_store_explicit(&e->size, size, memory_order_release);
            return;
        }
    }
}

void ebb__os_owned_remove(uintptr_t start) {
    uintptr_t low = ebb__os_page_size() - 1;
    for (int t = 0; t < OWNED_TABLES; t++) {
        owned_entry *entries = owned_table(t);
        if (!entries) return;
        for (size_t i = 0; i < OWNED_WINDOW; i++) {
            owned_entry *e = owned_place(entries, t, start, i);
            if ((atomic_load_explicit(&e->start, memory_order_relaxed) & ~low) != start) continue;
            atomic_store_explicit(&e->size, 0, memory_order_relaxed);
            atomic_store_explicit(&e->start, 0, memory_order_release);
            return;
        }
    }
}

size_t ebb__os_owned_each(void (*visit)(uintptr_t start, uintptr_t end, enum os_class class,
                                        void *arg),
                          void *arg) {
    uintptr_t low = ebb__os_page_size() - 1;
    size_t count = 0;
    for (int t = 0; t < OWNED_TABLES; t++) {
        owned_entry *entries = owned_table(t);
        if (!entries) break;
        if (t > 0 && visit)
            visit((uintptr_t)entries, (uintptr_t)entries + owned_bytes(t), OS_METADATA, arg);
        count += t > 0;
        for (size_t i = 0; i < owned_room(t); i++) {
            uintptr_t start = atomic_load_explicit(&entries[i].start, memory_order_relaxed);
            size_t size = atomic_load_explicit(&entries[i].size, memory_order_acquire);
            if (start == 0 || size == 0) continue;
            if (visit)
                visit(start & ~low, (start & ~low) + size, (enum os_class)(start & low), arg);
            count++;
        }
    }
    return count;
}

/* Where there is no room for one range more, the metadata stays in the one that it is in. */
static void owned_cut(uintptr_t start, uintptr_t end, enum os_class class, void *arg) {
    os_ranges *list = arg;
    const os_range *found;
    while (class == OS_METADATA && start < end && (found = ebb__os_mapping_of(list, start))) {
        size_t at = (size_t)(found - list->items), stop = min_size(end, found->end);
        os_range below = {found->start, start}, above = {stop, found->end};
        start = stop;
        if (below.start == below.end) {
            list->items[at] = above;
        } else if (above.start == above.end) {
            list->items[at] = below;
        } else if (ebb__os_ranges_add(list, 0, 0)) {
            size_t after = list->count - at - 2;
            memmove(&list->items[at + 2], &list->items[at + 1], after * sizeof(os_range));
            list->items[at] = below;
            list->items[at + 1] = above;
        }
    }
}

void ebb__os_mappings_cut(os_ranges *list) {
    ebb__os_owned_each(owned_cut, list);
}

/* --- Mappings -----------------------------------------------------------------------------------
 */

/* "start-end rwxp offset device inode   name". False for a line of another kind. */
static bool smaps_begin(char *line, os_area *m) {
    char *at;
    uintptr_t start = strtoul(line, &at, 16);
    if (at == line || *at != '-') return false;
    uintptr_t end = strtoul(at + 1, &at, 16);
    if (*at != ' ') return false;
    *m = (os_area){.start = start, .end = end, .name = ""};
    m->writable = strncmp(at + 1, "rw", 2) == 0 && at[4] == 'p';
    for (int field = 0; field < 3 && at; field++) at = strchr(at + 1, ' ');
    if (!at) return true;
    m->file = strtoul(at + 1, &at, 10) != 0;
    while (*at == ' ') at++;
    m->name = at;
    return true;
}

static void smaps_line(char *line, os_area *m) {
    static const char keys[][16] = {
        "Rss:", "Swap:", "Shared_Clean:", "Shared_Dirty:", "AnonHugePages:"};
    size_t *fields[] = {&m->resident, &m->swapped, &m->shared, &m->shared, &m->huge};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        size_t length = strlen(keys[i]);
        if (strncmp(line, keys[i], length) == 0)
            *fields[i] += (size_t)strtoul(line + length, NULL, 10) << 10;
    }
}

/* What is being read: the mapping that the last lines were about, and its name. */
typedef struct smaps_reader {
    os_area now;
    bool begun;
    char name[4096];
    void (*visit)(const os_area *m, void *arg);
    void *arg;
} smaps_reader;

static bool smaps_take(char *line, void *reader) {
    smaps_reader *r = reader;
    os_area next;
    if (!smaps_begin(line, &next)) {
        smaps_line(line, &r->now);
        return true;
    }
    if (r->begun) r->visit(&r->now, r->arg);
    r->begun = true;
    r->now = next;
    size_t length = min_size(strlen(next.name), sizeof r->name - 1);
    memcpy(r->name, next.name, length);
    r->name[length] = 0;
    r->now.name = r->name;
    return true;
}

static bool smaps_read(const char *path, smaps_reader *r) {
    bool whole = ebb__linux_lines(path, smaps_take, r);
    if (r->begun) r->visit(&r->now, r->arg);
    return whole && r->begun;
}

/* The process's own list reads as none when its first thread has ended: then by way of this one. */
bool ebb__os_area_each(void (*visit)(const os_area *m, void *arg), void *arg) {
    smaps_reader r = {.visit = visit, .arg = arg};
    return smaps_read("/proc/self/smaps", &r) ||
           (!r.begun && smaps_read("/proc/thread-self/smaps", &r));
}

/* --- Pages --------------------------------------------------------------------------------------
 */

void ebb__os_pages_open(os_pages *pages) {
    struct dirty_region run;
    char here;
    uintptr_t page = ebb__os_page_size(), start = round_down((uintptr_t)&here, page);
    struct dirty_scan scan = {.size = sizeof scan,
                              .start = start,
                              .end = start + page,
                              .vec = (uintptr_t)&run,
                              .vec_len = 1,
                              .category_mask = DIRTY_PRESENT,
                              .return_mask = DIRTY_PRESENT};
    here = 1;
    pages->fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pages->fd >= 0 && ioctl(pages->fd, DIRTY_SCAN, &scan) != 1) {
        close(pages->fd);
        pages->fd = open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC);
        if (pages->fd < 0 || ioctl(pages->fd, DIRTY_SCAN, &scan) == 1) return;
        close(pages->fd);
        pages->fd = -1;
    }
}

void ebb__os_pages_close(os_pages *pages) {
    if (pages->fd >= 0) close(pages->fd);
    pages->fd = -1;
}

static size_t pages_scan(int fd, uintptr_t start, uintptr_t end, os_pages_visit visit, void *arg) {
    struct dirty_region runs[DIRTY_BATCH];
    size_t bytes = 0;
    while (start < end) {
        struct dirty_scan scan = {
            .size = sizeof scan,
            .start = start,
            .end = min_size(end, round_down(start, DIRTY_STRIDE) + DIRTY_STRIDE),
            .vec = (uintptr_t)runs,
            .vec_len = DIRTY_BATCH,
            .category_inverted = DIRTY_ZERO,
            .category_mask = DIRTY_PRESENT | DIRTY_ZERO,
            .return_mask = DIRTY_PRESENT,
        };
        int n = ioctl(fd, DIRTY_SCAN, &scan);
        if (n < 0 || scan.walk_end <= start) break;
        for (int i = 0; i < n; i++) {
            bytes += runs[i].end - runs[i].start;
            if (visit) visit(runs[i].start, runs[i].end, arg);
        }
        start = scan.walk_end;
    }
    return bytes;
}

/* Pages of a batch that are there; a batch of which a part is not mapped is taken a page at a time.
 */
static void pages_look(uintptr_t start, size_t pages, unsigned char *resident) {
    size_t page = ebb__os_page_size();
    if (mincore((void *)start, pages * page, resident) == 0) return;
    for (size_t i = 0; i < pages; i++)
        if (mincore((void *)(start + i * page), page, &resident[i]) != 0) resident[i] = 0;
}

static size_t pages_mincore(uintptr_t start, uintptr_t end, os_pages_visit visit, void *arg) {
    enum { BATCH = 2048 };
    unsigned char resident[BATCH];
    size_t page = ebb__os_page_size(), bytes = 0;
    while (start < end) {
        size_t pages = min_size((end - start) / page, BATCH);
        pages_look(start, pages, resident);
        for (size_t i = 0, from; i < pages; i++) {
            if (!(resident[i] & 1)) continue;
            for (from = i; i < pages && (resident[i] & 1); i++) bytes += page;
            if (visit) visit(start + from * page, start + i * page, arg);
        }
        start += pages * page;
    }
    return bytes;
}

size_t ebb__os_pages_each(const os_pages *pages, uintptr_t start, uintptr_t end,
                          os_pages_visit visit, void *arg) {
    if (start >= end) return 0;
    if (pages->fd >= 0) return pages_scan(pages->fd, start, end, visit, arg);
    return pages_mincore(start, end, visit, arg);
}

/* --- Threads ------------------------------------------------------------------------------------
 */

/* "number arguments… sp pc", or "running". */
uintptr_t ebb__os_thread_stack(int tid) {
    char path[64], text[256], *last[2] = {NULL, NULL};
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    ebb__linux_text(path, text, sizeof text);
    for (char *at = strchr(text, ' '); at; at = strchr(at + 1, ' ')) {
        last[0] = last[1];
        last[1] = at;
    }
    return last[0] ? strtoul(last[0], NULL, 16) : 0;
}

/* --- malloc -------------------------------------------------------------------------------------
 * What glibc writes at the start of what it maps: of a large block, the size with bit 1 set, behind
 * a word of 0; of a thread's arena, which begins at a multiple of 64 MiB, the arena's address and
 * the size. Only pages that are resident are looked at, and no more than TRIES that are neither. */

#define MALLOC_ARENA_BYTES (64 * MIB)

typedef struct malloc_look {
    uintptr_t known, end; /* malloc's up to known; nothing may reach beyond end */
    size_t bytes, page;
    int tries;
} malloc_look;

/* How many bytes from there on are malloc's; 0 for none that can be told. */
static size_t malloc_at(const malloc_look *look, uintptr_t at) {
    uintptr_t words[4];
    if (ebb__os_peek(words, at, sizeof words) != sizeof words) return 0;
    size_t room = look->end - at, block = words[1] & ~(size_t)7;
    if ((words[1] & 7) == 2 && words[0] == 0 && block % look->page == 0 && block > 0 &&
        block <= room)
        return block;
    bool first = words[0] - at >= 32 && words[0] - at <= 64;
    bool later = words[1] != 0 && words[1] % MALLOC_ARENA_BYTES == 0 &&
                 words[0] % MALLOC_ARENA_BYTES >= 32 && words[0] % MALLOC_ARENA_BYTES <= 64;
    if (at % MALLOC_ARENA_BYTES != 0 || !(first || later)) return 0;
    size_t heap = words[2];
    bool size = heap > 0 && heap % look->page == 0 && heap <= words[3];
    return size && words[3] <= MALLOC_ARENA_BYTES ? min_size(round_up(words[3], look->page), room)
                                                  : 0;
}

static void malloc_run(uintptr_t from, uintptr_t to, void *arg) {
    enum { TRIES = 2048 };
    malloc_look *look = arg;
    while (from < to) {
        if (from < look->known) {
            uintptr_t until = min_size(to, look->known);
            look->bytes += until - from;
            from = until;
            continue;
        }
        size_t bytes = look->tries < TRIES ? malloc_at(look, from) : 0;
        if (bytes) {
            look->known = from + bytes;
            continue;
        }
        look->tries++;
        from += look->page;
        if (look->tries > TRIES) break;
    }
}

size_t ebb__os_malloc_in(const os_pages *pages, uintptr_t start, uintptr_t end) {
    malloc_look look = {.known = start, .end = end, .page = ebb__os_page_size()};
    ebb__os_pages_each(pages, start, end, malloc_run, &look);
    return look.bytes;
}

size_t ebb__os_malloc_free(void) {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    struct mallinfo2 info = mallinfo2();
    return info.fordblks;
#else
    return 0;
#endif
}
