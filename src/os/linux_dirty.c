/* linux_dirty.c - dirty pages on Linux 6.7 and later. See docs/design.md, "Dirty pages".
 *
 * userfaultfd's write-protection in its asynchronous form: the kernel itself lifts the protection
 * at the first write, so there is no signal, no handler thread, and system calls that write to the
 * heap go through. PAGEMAP_SCAN reports the pages whose protection is gone and protects them again
 * in one step under the page table's lock, so that no write falls between the two.
 *
 * Arming is a harvest whose answer is thrown away: UFFDIO_WRITEPROTECT does the same in more than
 * twice the time, and puts a marker in place of every page that is not there, at the cost of page
 * tables, of a second fault at the first write, and of the huge page that could have come. */
#include "dirty.h"
#include "linux_scan.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A test may have any system call of this file fail. */
#ifndef EBB__DIRTY_CALL
# define EBB__DIRTY_CALL(call) (call)
#endif

/* --- What older headers lack ----------------------------------------------------------------- */

#ifndef UFFD_USER_MODE_ONLY
# define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
# define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
# define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

/* --- State ----------------------------------------------------------------------------------- */

/* A descriptor, and what it was when we opened it: a program may close it behind our back and get
 * the number for something of its own, which is not ours to close. */
typedef struct dirty_file {
    int fd; /* -1: none */
    dev_t device;
    ino_t inode;
} dirty_file;

typedef struct dirty_watch {
    dirty_file faults, pagemap;
} dirty_watch;

#define DIRTY_NONE \
 {                 \
  {-1, 0, 0}, {    \
   -1, 0, 0        \
  }                \
 }

/* Written at start and by ebb__os_dirty_forked, when no other thread uses it. */
static dirty_watch dirty_now = DIRTY_NONE;
/* In pages, so that nobody takes them for references; end is 0 where the start failed. */
static uintptr_t dirty_start_page, dirty_end_page;

/* --- System calls -----------------------------------------------------------------------------
 * All return -1 and errno when they fail. */

/* Away from the numbers that programs count on, or close in a loop from 3 to 20. */
static int dirty_raise(int fd) {
    if (fd < 0) return -1;
    int high = EBB__DIRTY_CALL(fcntl(fd, F_DUPFD_CLOEXEC, 48));
    if (high < 0) high = EBB__DIRTY_CALL(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    int error = errno;
    close(fd);
    errno = error;
    return high;
}

static int dirty_adopt(dirty_file *file, int fd) {
    struct stat now;
    fd = dirty_raise(fd);
    if (fd < 0) return -1;
    if (EBB__DIRTY_CALL(fstat(fd, &now)) != 0) {
        close(fd);
        return -1;
    }
    *file = (dirty_file){fd, now.st_dev, now.st_ino};
    return 0;
}

static void dirty_close(dirty_file *file) {
    struct stat now;
    if (file->fd >= 0 && fstat(file->fd, &now) == 0 && now.st_dev == file->device &&
        now.st_ino == file->inode)
        close(file->fd);
    *file = (dirty_file){-1, 0, 0};
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

static int dirty_features(void) {
    struct uffdio_api api = {
        .api = UFFD_API,
        .features =
            UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED,
    };
    return EBB__DIRTY_CALL(ioctl(dirty_now.faults.fd, UFFDIO_API, &api));
}

static int dirty_register(uintptr_t start, uintptr_t end) {
    struct uffdio_register r = {.range = {.start = start, .len = end - start},
                                .mode = UFFDIO_REGISTER_MODE_WP};
    return EBB__DIRTY_CALL(ioctl(dirty_now.faults.fd, UFFDIO_REGISTER, &r));
}

/* --- Scanning --------------------------------------------------------------------------------- */

enum dirty_kind {
    DIRTY_DENSE = 0,
    DIRTY_SPARSE = 1,
    DIRTY_LOOK = 2
}; /* may be joined; LOOK arms nothing */

/* The next runs of [*from, end); moves *from to where the scan ended. Returns how many there are,
 * or -1. Only a fatal signal interrupts the call. Masks of exactly the first form take a shorter
 * path in the kernel; with no room for an answer, some kernels crash. */
static int dirty_scan(uintptr_t *from, uintptr_t end, unsigned kind, size_t most,
                      struct dirty_region runs[DIRTY_BATCH]) {
    uintptr_t stop = min_size(end, round_down(*from, DIRTY_STRIDE) + DIRTY_STRIDE);
    struct dirty_scan scan = {
        .size = sizeof scan,
        .flags = DIRTY_ONLY_WATCHED | (kind & DIRTY_LOOK ? 0 : DIRTY_REARM),
        .start = *from,
        .end = stop,
        .vec = (uintptr_t)runs,
        .vec_len = DIRTY_BATCH,
        .max_pages = most,
        .category_mask = DIRTY_WRITTEN,
        .category_anyof_mask = kind & DIRTY_SPARSE ? DIRTY_HOLDS : 0,
        .return_mask = DIRTY_WRITTEN,
    };
    int n = EBB__DIRTY_CALL(ioctl(dirty_now.pagemap.fd, DIRTY_SCAN, &scan));
    if (n < 0 || n > DIRTY_BATCH) return -1;
    if (scan.walk_end > stop || scan.walk_end <= *from) return -1;
    *from = scan.walk_end;
    return n;
}

static int dirty_walk(uintptr_t start, uintptr_t end, unsigned kind, os_dirty_visit visit,
                      void *arg) {
    struct dirty_region runs[DIRTY_BATCH];
    while (start < end) {
        int n = dirty_scan(&start, end, kind, 0, runs);
        if (n < 0) return EBB_ESYSTEM;
        for (int i = 0; visit && i < n; i++) visit(runs[i].start, runs[i].end, arg);
    }
    return 0;
}

int ebb__os_dirty_arm(uintptr_t start, uintptr_t end) {
    return dirty_walk(start, end, DIRTY_SPARSE, NULL, NULL);
}

int ebb__os_dirty_disarm(uintptr_t start, uintptr_t end) {
    for (uintptr_t next; start < end; start = next) {
        next = min_size(end, round_down(start, DIRTY_STRIDE) + DIRTY_STRIDE);
        struct uffdio_writeprotect w = {.range = {.start = start, .len = next - start}};
        if (EBB__DIRTY_CALL(ioctl(dirty_now.faults.fd, UFFDIO_WRITEPROTECT, &w)) != 0)
            return EBB_ESYSTEM;
    }
    return 0;
}

int ebb__os_dirty_harvest(uintptr_t start, uintptr_t end, os_dirty_visit visit, void *arg) {
    return dirty_walk(start, end, DIRTY_DENSE, visit, arg);
}

int ebb__os_dirty_harvest_sparse(uintptr_t start, uintptr_t end, os_dirty_visit visit, void *arg) {
    return dirty_walk(start, end, DIRTY_SPARSE, visit, arg);
}

int ebb__os_dirty_peek(uintptr_t start, uintptr_t end, os_dirty_visit visit, void *arg) {
    return dirty_walk(start, end, DIRTY_LOOK, visit, arg);
}

int ebb__os_dirty_peek_sparse(uintptr_t start, uintptr_t end, os_dirty_visit visit, void *arg) {
    return dirty_walk(start, end, DIRTY_LOOK | DIRTY_SPARSE, visit, arg);
}

size_t ebb__os_dirty_count(uintptr_t start, uintptr_t end, size_t most) {
    struct dirty_region runs[DIRTY_BATCH];
    size_t page = ebb__os_page_size(), count = 0;
    while (start < end && count < most) {
        int n = dirty_scan(&start, end, DIRTY_LOOK, most - count, runs);
        if (n < 0) return most;
        for (int i = 0; i < n; i++) count += (runs[i].end - runs[i].start) / page;
    }
    return min_size(count, most);
}

/* --- The self-test ----------------------------------------------------------------------------
 * Page 0 is never touched, page 1 written, page 2 filled by read(2), page 3 left clean. */

enum { DIRTY_TRIAL_PAGES = 4 };

static void dirty_trial_note(uintptr_t from, uintptr_t to, void *arg) {
    uintptr_t *seen = arg; /* the range's start, then a bit a page */
    size_t page = ebb__os_page_size();
    for (; from < to; from += page) seen[1] |= (uintptr_t)1 << (from - seen[0]) / page;
}

/* The pages written since the last time, as bits; -1 where the system fails. */
static int dirty_trial_seen(char *pages, size_t size, unsigned kind) {
    uintptr_t start = (uintptr_t)pages, seen[2] = {start, 0};
    if (dirty_walk(start, start + size, kind, dirty_trial_note, seen) != 0) return -1;
    return (int)seen[1];
}

static const char *dirty_trial_run(char *pages, size_t page) {
    size_t size = DIRTY_TRIAL_PAGES * page;
    volatile char *written = pages + page;
    written[0] = pages[2 * page] = pages[3 * page] = 1;
    int seen = dirty_trial_seen(pages, size, DIRTY_SPARSE);
    if (seen < 0) return "PAGEMAP_SCAN: not in this kernel, or refused";
    if (seen != 14) return "self-test: a new page was not reported";
    if ((dirty_trial_seen(pages, size, DIRTY_DENSE) & 14) != 0)
        return "self-test: a clean page was reported";
    written[0] = 2;
    if (EBB__DIRTY_CALL(pread(dirty_now.pagemap.fd, pages + 2 * page, 8, 0)) != 8)
        return "self-test: reading a file into an armed page failed";
    if (dirty_trial_seen(pages, size, DIRTY_DENSE) != 6)
        return "self-test: a write was not reported";
    written[0] = 3;
    if (dirty_trial_seen(pages, size, DIRTY_SPARSE) != 2)
        return "self-test: a second write was not reported";
    return NULL;
}

static const char *dirty_trial(void) {
    size_t page = ebb__os_page_size(), size = DIRTY_TRIAL_PAGES * page;
    char *pages = EBB__DIRTY_CALL(
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (pages == MAP_FAILED) return "self-test: no memory";
    const char *why = "self-test: pages could not be registered";
    if (dirty_register((uintptr_t)pages, (uintptr_t)pages + size) == 0)
        why = dirty_trial_run(pages, page);
    munmap(pages, size);
    return why;
}

/* --- Starting -------------------------------------------------------------------------------- */

static const char *dirty_because(const char *refused, const char *missing, const char *other) {
    if (errno == EPERM || errno == EACCES) return refused;
    return errno == ENOSYS || errno == EINVAL || errno == ENOENT ? missing : other;
}

/* Null, or why not. */
static const char *dirty_open(void) {
    if (dirty_adopt(&dirty_now.faults, dirty_open_faults()) != 0)
        return dirty_because("userfaultfd: Operation not permitted",
                             "userfaultfd: not in this kernel", "userfaultfd: no descriptor");
    if (dirty_features() != 0) return "userfaultfd: no asynchronous write-protection";
    if (dirty_adopt(&dirty_now.pagemap, dirty_open_pagemap()) != 0)
        return dirty_because("/proc/self/pagemap: Permission denied",
                             "/proc/self/pagemap: not there", "/proc/self/pagemap: no descriptor");
    return NULL;
}

static void dirty_stop(void) {
    dirty_close(&dirty_now.faults);
    dirty_close(&dirty_now.pagemap);
}

static const char *dirty_begin(bool try) {
    size_t page = ebb__os_page_size();
    const char *why = dirty_open();
    if (!why && try) why = dirty_trial();
    if (!why && dirty_register(dirty_start_page * page, dirty_end_page * page) != 0)
        why = "userfaultfd: the heap could not be registered";
    if (why) dirty_stop();
    return why;
}

int ebb__os_dirty_start(uintptr_t start, uintptr_t end, const char **why) {
    dirty_start_page = start / ebb__os_page_size();
    dirty_end_page = end / ebb__os_page_size();
    *why = dirty_begin(true);
    if (*why) dirty_end_page = 0;
    return *why ? EBB_ESYSTEM : 0;
}

bool ebb__os_dirty_works(void) {
    return dirty_now.pagemap.fd >= 0;
}

int ebb__os_dirty_forked(void) {
    if (!dirty_end_page) return EBB_ESYSTEM;
    dirty_stop();
    return dirty_begin(false) ? EBB_ESYSTEM : 0;
}
