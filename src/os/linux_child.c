/* linux_child.c - copies of the process, the room that is left for them, and what is mapped, on
 * Linux. docs/design.md, "Retention".
 *
 * clone is called directly. The C library's fork would run handlers of the program's, take its
 * locks and ours; none is needed for a child that calls nothing, and with the world stopped some of
 * them would never be given back. Without an exit signal, so that the program is not told. */
#include "child.h"
#include "linux_text.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
# define SYS_close_range 436
#endif

enum { CHILD_NICE = 10, CHILD_PIPE = 1 << 20, OOM_FIRST = 900 };

int ebb__os_child_prepare(os_child *child) {
    int ends[2];
    *child = (os_child){0, -1, -1};
    if (pipe2(ends, O_CLOEXEC) != 0) return EBB_ESYSTEM;
    child->from = ends[0];
    child->to = ends[1];
    fcntl(child->to, F_SETPIPE_SZ, CHILD_PIPE); /* fewer switches; refused is as well */
    return 0;
}

static void end_close(int *end) {
    if (*end >= 0) close(*end);
    *end = -1;
}

/* All of the program's descriptors: a listening socket or a lock must not outlive it here. */
static void child_close(int kept) {
    bool below = kept == 0 || syscall(SYS_close_range, 0, kept - 1, 0) == 0;
    if (below && syscall(SYS_close_range, kept + 1, ~0u, 0) == 0) return;
    struct rlimit files;
    int most = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 65536 ? (int)files.rlim_cur
                                                                               : 65536;
    for (int i = 0; i < most; i++)
        if (i != kept) close(i);
}

static void child_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t written = write(fd, text, strlen(text));
    (void)written;
    close(fd);
}

/* The limit of one byte keeps a collector of core dumps from taking the heap, which none would. */
static void child_begin(int kept, int parent) {
    struct rlimit core = {1, 1};
    char text[16];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) ebb__os_child_exit(1); /* it died before that was set */
    child_close(kept);
    setrlimit(RLIMIT_CORE, &core);
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + CHILD_NICE);
    prctl(PR_SET_NAME, "ebb-snapshot");
    snprintf(text, sizeof text, "%d", OOM_FIRST);
    child_text("/proc/self/oom_score_adj", text);
}

int ebb__os_child_fork(os_child *child) {
    sigset_t all, before;
    int parent = (int)getpid();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    long pid = syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (pid == 0) {
        child_begin(child->to, parent);
        return 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    end_close(&child->to);
    child->pid = (int)pid;
    return pid > 0 ? 1 : EBB_ESYSTEM;
}

void ebb__os_child_write(const os_child *child, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        ssize_t n = write(child->to, at, size);
        if (n <= 0) ebb__os_child_exit(2);
        at += n;
        size -= (size_t)n;
    }
}

void ebb__os_child_exit(int status) {
    for (;;) syscall(SYS_exit_group, status);
}

long ebb__os_child_read(const os_child *child, void *bytes, size_t size, uint64_t timeout_ns) {
    struct pollfd wanted = {.fd = child->from, .events = POLLIN};
    int ready = poll(&wanted, 1, (int)min_size(timeout_ns / 1000000 + 1, INT_MAX));
    if (ready == 0 || (ready < 0 && errno == EINTR)) return OS_CHILD_LATE;
    if (ready < 0) return EBB_ESYSTEM;
    ssize_t n = read(child->from, bytes, size);
    if (n < 0) return errno == EINTR ? OS_CHILD_LATE : EBB_ESYSTEM;
    return n;
}

int ebb__os_child_end(os_child *child) {
    int status = 0;
    end_close(&child->from);
    end_close(&child->to);
    if (child->pid <= 0) return 0;
    if (waitpid(child->pid, &status, WNOHANG | __WALL) == 0) {
        kill(child->pid, SIGKILL);
        while (waitpid(child->pid, &status, __WALL) < 0 && errno == EINTR) continue;
    }
    child->pid = 0;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* --- The room that is left ---------------------------------------------------------------------
 */

/* The number after a name, in a text of lines; or otherwise. */
static size_t child_number(const char *text, const char *name, size_t otherwise) {
    const char *at = strstr(text, name);
    if (!at) return otherwise;
    at += strlen(name);
    while (*at == ' ' || *at == '\t' || *at == ':') at++;
    return *at >= '0' && *at <= '9' ? strtoul(at, NULL, 10) : otherwise;
}

/* What one control group leaves; what it holds of files that can be dropped is as good as free. */
static size_t group_left(const char *group, const char *limit_name, const char *used_name,
                         const char *files_name) {
    char path[512], text[4096];
    snprintf(path, sizeof path, "%s/%s", group, limit_name);
    size_t limit = child_number(ebb__linux_text(path, text, sizeof text), "", SIZE_MAX);
    if (limit >= (size_t)1 << 60) return SIZE_MAX;
    snprintf(path, sizeof path, "%s/%s", group, used_name);
    size_t used = child_number(ebb__linux_text(path, text, sizeof text), "", 0);
    snprintf(path, sizeof path, "%s/memory.stat", group);
    size_t files = child_number(ebb__linux_text(path, text, sizeof text), files_name, 0);
    used -= min_size(used, files);
    return limit - min_size(limit, used);
}

/* Of a control group and those around it. name: as /proc/self/cgroup has it, "/a/b". */
static size_t groups_left(const char *mount, char *name, bool first) {
    size_t left = SIZE_MAX;
    char group[512];
    for (;;) {
        snprintf(group, sizeof group, "%s%s", mount, strcmp(name, "/") == 0 ? "" : name);
        left = min_size(left,
                        first ? group_left(group, "memory.limit_in_bytes", "memory.usage_in_bytes",
                                           "total_inactive_file")
                              : group_left(group, "memory.max", "memory.current", "inactive_file"));
        char *slash = strrchr(name, '/');
        if (!slash || *name == 0) return left;
        *slash = 0;
    }
}

/* A line "0::/a/b" (the second version) or "4:memory:/a/b" (the first). */
static size_t cgroup_left(void) {
    char text[4096];
    size_t left = SIZE_MAX;
    ebb__linux_text("/proc/self/cgroup", text, sizeof text);
    for (char *line = text, *next; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = 0;
        char *name = strstr(line, ":/");
        if (!name) continue;
        *name++ = 0;
        if (strcmp(line, "0:") == 0)
            left = min_size(left, groups_left("/sys/fs/cgroup", name, false));
        else if (strstr(line, ":memory"))
            left = min_size(left, groups_left("/sys/fs/cgroup/memory", name, true));
    }
    return left;
}

size_t ebb__os_memory_left(const char **whose) {
    char text[2048];
    size_t system = child_number(ebb__linux_text("/proc/meminfo", text, sizeof text),
                                 "MemAvailable:", SIZE_MAX / KIB);
    size_t swap = child_number(text, "SwapFree:", 0);
    system = system < SIZE_MAX / KIB ? (system + swap) * KIB : SIZE_MAX;
    size_t group = cgroup_left();
    *whose = group < system ? "the control group" : "the system";
    return min_size(system, group);
}

size_t ebb__os_child_bytes(void) {
    char text[2048];
    ebb__linux_text("/proc/self/smaps_rollup", text, sizeof text);
    return (child_number(text, "Private_Dirty:", 0) + child_number(text, "Private_Clean:", 0)) *
           KIB;
}

/* --- Mappings ------------------------------------------------------------------------------------
 */

/* "start-end rwxp offset device inode   path" */
static bool mapping_parse(char *line, os_mapping *m) {
    char *at;
    m->start = strtoul(line, &at, 16);
    if (*at != '-') return false;
    m->end = strtoul(at + 1, &at, 16);
    if (at[0] != ' ' || strlen(at) < 5) return false;
    m->writable = at[2] == 'w';
    m->executable = at[3] == 'x';
    m->offset = strtoul(at + 6, &at, 16);
    for (int field = 0; field < 2; field++) {
        at += strspn(at, " ");
        at += strcspn(at, " ");
    }
    m->path = at + strspn(at, " ");
    return true;
}

struct mappings_call {
    void (*visit)(const os_mapping *mapping, void *arg);
    void *arg;
};

static bool mappings_line(char *line, void *arg) {
    const struct mappings_call *call = arg;
    os_mapping m;
    if (mapping_parse(line, &m)) call->visit(&m, call->arg);
    return true;
}

bool ebb__os_mappings_each(void (*visit)(const os_mapping *mapping, void *arg), void *arg) {
    struct mappings_call call = {visit, arg};
    return ebb__linux_lines("/proc/self/maps", mappings_line, &call);
}

/* --- Files ---------------------------------------------------------------------------------------
 */

int ebb__os_file_create(const char *path) {
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
}

int ebb__os_file_create_new(const char *path) {
    return open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

bool ebb__os_file_write(int file, const void *bytes, size_t size) {
    const char *at = bytes;
    while (size > 0) {
        ssize_t n = write(file, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        size -= (size_t)n;
    }
    return true;
}

bool ebb__os_file_close(int file) {
    return close(file) == 0;
}

void ebb__os_file_discard(int file, const char *path) {
    struct stat is;
    if (fstat(file, &is) == 0 && S_ISREG(is.st_mode)) unlink(path);
    close(file);
}
