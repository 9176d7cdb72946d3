/* linux_dirty.c - dirty pages on Linux 6.7 and later. See docs/design.md, "Dirty pages".
 *
 * userfaultfd's write-protection in its asynchronous form: the kernel itself lifts the protection
 * at the first write, so there is no signal, no handler thread, and system calls that write to the
 * heap go through. PAGEMAP_SCAN reports the pages whose protection is gone and protects them again
 * in one step under the page table's lock, so that no write falls between the two.
 *
 * Arming is a harvest whose answer is thrown away. UFFDIO_WRITEPROTECT would do it too, but puts a
 * marker in place of every page that is not there: the page tables for that cost memory, the first
 * write costs two faults, and no huge page can come there any more. */
#include "dirty.h"

#include <fcntl.h>
#include <linux/ioctl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A test may have any system call of this file fail. */
#ifndef EBB__DIRTY_CALL
# define EBB__DIRTY_CALL(call) (call)
#endif

/* --- What older headers lack ------------------------------------------------------------------ */

#ifndef UFFD_USER_MODE_ONLY
# define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
# define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
# define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

/* linux/fs.h, under names of our own: the header clashes with sys/mount.h. */
struct dirty_region {
    uint64_t start, end, categories;
};
struct dirty_scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
static_assert(sizeof(struct dirty_scan) == 96, "the kernel knows the call by this size");
#define DIRTY_SCAN         _IOWR('f', 16, struct dirty_scan)
#define DIRTY_WRITTEN      ((uint64_t)1 << 1) /* PAGE_IS_WRITTEN */
#define DIRTY_REARM        ((uint64_t)1 << 0) /* PM_SCAN_WP_MATCHING */
#define DIRTY_ONLY_WATCHED ((uint64_t)1 << 1) /* PM_SCAN_CHECK_WPASYNC */

/* --- State ------------------------------------------------------------------------------------ */

enum { DIRTY_BATCH = 256 }; /* runs a call: 6 KiB of stack */

typedef struct dirty_watch {
    int faults, pagemap; /* descriptors, -1: none */
} dirty_watch;

/* Written at start and after a fork, when no other thread uses it. */
static dirty_watch dirty_watch_now = {-1, -1};
static uintptr_t dirty_start, dirty_end;

/* --- System calls ------------------------------------------------------------------------------
 * All return -1 and errno when they fail. */

/* Away from the numbers that programs count on, or close in a loop "3 to 20". */
static int dirty_raise(int fd) {
    if (fd < 0) return -1;
    int high = EBB__DIRTY_CALL(fcntl(fd, F_DUPFD_CLOEXEC, 48));
    if (high < 0) high = EBB__DIRTY_CALL(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    int error = errno;
    close(fd);
    errno = error;
    return high;
}

static int dirty_open_faults(void) {
    return (int)EBB__DIRTY_CALL(
        syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));
}

static int dirty_open_pagemap(void) {
    int fd;
    do {
        fd = EBB__DIRTY_CALL(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static int dirty_features(int faults) {
    struct uffdio_api api = {
        .api = UFFD_API,
        .features =
            UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
    };
    return EBB__DIRTY_CALL(ioctl(faults, UFFDIO_API, &api));
}

static int dirty_register(int faults, uintptr_t start, uintptr_t end) {
    struct uffdio_register r = {.range = {.start = start, .len = end - start},
                                .mode = UFFDIO_REGISTER_MODE_WP};
    return EBB__DIRTY_CALL(ioctl(faults, UFFDIO_REGISTER, &r));
}

/* --- Scanning --------------------------------------------------------------------------------- */

/* The next runs of [*from, end); moves *from to where the scan ended. Returns how many. Masks of
 * exactly this form take the kernel's short path. */
static int dirty_scan(int pagemap, uintptr_t *from, uintptr_t end, uint64_t flags, size_t most,
                      struct dirty_region *runs) {
    struct dirty_scan scan = {
        .size = sizeof scan,
        .flags = flags | DIRTY_ONLY_WATCHED,
        .start = *from,
        .end = end,
        .vec = (uintptr_t)runs,
        .vec_len = DIRTY_BATCH,
        .max_pages = most,
        .category_mask = DIRTY_WRITTEN,
        .return_mask = DIRTY_WRITTEN,
    };
    int n = EBB__DIRTY_CALL(ioctl(pagemap, DIRTY_SCAN, &scan));
    if (n < 0 || scan.walk_end < *from || scan.walk_end > end) return -1;
    if (scan.walk_end == *from && n == 0) return -1;
    *from = scan.walk_end;
    return n;
}

typedef void (*dirty_visit)(uintptr_t from, uintptr_t to, void *arg);

static int dirty_walk(int pagemap, uintptr_t start, uintptr_t end, dirty_visit visit, void *arg) {
    struct dirty_region runs[DIRTY_BATCH];
    while (start < end) {
        int n = dirty_scan(pagemap, &start, end, DIRTY_REARM, 0, runs);
        if (n < 0) return EBB_ESYSTEM;
        for (int i = 0; visit && i < n; i++) visit(runs[i].start, runs[i].end, arg);
    }
    return 0;
}

/* --- The self-test ---------------------------------------------------------------------------- */

enum { DIRTY_TRIAL_PAGES = 4 };

static void dirty_trial_note(uintptr_t from, uintptr_t to, void *arg) {
    uintptr_t *seen = arg; /* the range's start, then a bit a page */
    size_t page = ebb__os_page_size();
    for (; from < to; from += page) seen[1] |= (uintptr_t)1 << (from - seen[0]) / page;
}

/* The pages written since the last time, as bits; -1 where the system fails. */
static int dirty_trial_seen(int pagemap, char *pages, size_t size) {
    uintptr_t start = (uintptr_t)pages, seen[2] = {start, 0};
    if (dirty_walk(pagemap, start, start + size, dirty_trial_note, seen) != 0) return -1;
    return (int)seen[1];
}

/* Page 0 is never touched, page 1 written, page 2 filled by read(2), page 3 left clean. */
static const char *dirty_trial_run(const dirty_watch *w, char *pages, size_t page) {
    size_t size = DIRTY_TRIAL_PAGES * page;
    volatile char *written = pages + page;
    if (dirty_register(w->faults, (uintptr_t)pages, (uintptr_t)pages + size) != 0)
        return "self-test: pages could not be registered";
    written[0] = pages[2 * page] = pages[3 * page] = 1;
    int seen = dirty_trial_seen(w->pagemap, pages, size);
    if (seen < 0) return "PAGEMAP_SCAN not known, or refused";
    if ((seen & 14) != 14) return "self-test: new pages were not reported";
    if (dirty_trial_seen(w->pagemap, pages, size) != 0)
        return "self-test: untouched pages were reported";
    written[0] = 2;
    if (EBB__DIRTY_CALL(pread(w->pagemap, pages + 2 * page, 8, 0)) != 8)
        return "self-test: read into an armed page failed";
    if (dirty_trial_seen(w->pagemap, pages, size) != 6)
        return "self-test: a write was not reported";
    written[0] = 3;
    if (dirty_trial_seen(w->pagemap, pages, size) != 2)
        return "self-test: a write was not reported";
    return NULL;
}

static const char *dirty_trial(const dirty_watch *w) {
    size_t page = ebb__os_page_size(), size = DIRTY_TRIAL_PAGES * page;
    char *pages = EBB__DIRTY_CALL(
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (pages == MAP_FAILED) return "self-test: no memory";
    const char *why = dirty_trial_run(w, pages, page);
    munmap(pages, size);
    return why;
}

/* --- The contract ----------------------------------------------------------------------------- */

static void dirty_close(dirty_watch *w) {
    if (w->faults >= 0) close(w->faults);
    if (w->pagemap >= 0) close(w->pagemap);
    *w = (dirty_watch){-1, -1};
}

static const char *dirty_errno(const char *permission, const char *missing, const char *other) {
    if (errno == EPERM || errno == EACCES) return permission;
    return errno == ENOSYS || errno == EINVAL || errno == ENOENT ? missing : other;
}

/* Null, or why not. */
static const char *dirty_open(dirty_watch *w) {
    w->faults = dirty_raise(dirty_open_faults());
    if (w->faults < 0)
        return dirty_errno("userfaultfd: Operation not permitted",
                           "userfaultfd: not in this kernel", "userfaultfd: no descriptor");
    if (dirty_features(w->faults) != 0)
        return "userfaultfd: no asynchronous write-protection in this kernel";
    w->pagemap = dirty_raise(dirty_open_pagemap());
    if (w->pagemap < 0)
        return dirty_errno("/proc/self/pagemap: Permission denied", "/proc/self/pagemap: not there",
                           "/proc/self/pagemap: no descriptor");
    return NULL;
}

static const char *dirty_begin(bool try) {
    dirty_watch w = {-1, -1};
    const char *why = dirty_open(&w);
    if (!why && try) why = dirty_trial(&w);
    if (!why && dirty_register(w.faults, dirty_start, dirty_end) != 0)
        why = "userfaultfd: the heap could not be registered";
    if (why) dirty_close(&w);
    dirty_watch_now = w;
    return why;
}

int ebb__os_dirty_start(uintptr_t start, uintptr_t end, const char **why) {
    dirty_start = start;
    dirty_end = end;
    *why = dirty_begin(true);
    return *why ? EBB_ESYSTEM : 0;
}

bool ebb__os_dirty_works(void) {
    return dirty_watch_now.pagemap >= 0;
}

int ebb__os_dirty_arm(uintptr_t start, uintptr_t end) {
    return dirty_walk(dirty_watch_now.pagemap, start, end, NULL, NULL);
}

int ebb__os_dirty_harvest(uintptr_t start, uintptr_t end, dirty_visit visit, void *arg) {
    return dirty_walk(dirty_watch_now.pagemap, start, end, visit, arg);
}

size_t ebb__os_dirty_count(uintptr_t start, uintptr_t end, size_t most) {
    struct dirty_region runs[DIRTY_BATCH];
    size_t page = ebb__os_page_size(), count = 0;
    while (start < end && count < most) {
        int n = dirty_scan(dirty_watch_now.pagemap, &start, end, 0, most - count, runs);
        if (n < 0) return most;
        for (int i = 0; i < n; i++) count += (runs[i].end - runs[i].start) / page;
    }
    return min_size(count, most);
}

int ebb__os_dirty_forked(void) {
    if (!ebb__os_dirty_works()) return EBB_ESYSTEM;
    dirty_close(&dirty_watch_now);
    return dirty_begin(false) ? EBB_ESYSTEM : 0;
}
