/* linux_socket.c - the debug server's socket, and libraries, on Linux. docs/design.md, "Debug
 * server".
 *
 * Others may write to /tmp, and may have been there first. So nothing is followed and nothing is
 * repaired: each directory on the way is opened without following links and looked at through the
 * descriptor, and one that is not as it has to be is refused. A directory that is ours, with mode
 * 0700, in one where others cannot rename it, cannot be changed by others after that look either;
 * so the path can be used from then on. */
#include "socket.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_PEERCRED
# error "no way to tell who connects"
#endif

/* --- The directory -------------------------------------------------------------------------- */

/* Whether nobody but this user and root can rename what is ours in it. */
static bool directory_holds(const struct stat *d) {
    if (d->st_uid != 0 && d->st_uid != geteuid()) return false;
    return !(d->st_mode & (S_IWGRP | S_IWOTH)) || (d->st_mode & S_ISVTX);
}

static bool directory_is_private(const struct stat *d) {
    return d->st_uid == geteuid() && (d->st_mode & 07777) == 0700;
}

static int directory_open(int at, const char *name, struct stat *d) {
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, d) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

/* Makes or finds the directory `name` in `parent` and checks both. A descriptor of it, or -1: a
 * parent that is not there is no reason to say anything. */
static int directory_take(const char *parent, const char *name) {
    struct stat d;
    int above = directory_open(AT_FDCWD, parent, &d), fd = -1;
    if (above < 0) return -1;
    if (!directory_holds(&d)) {
        ebb__warn("no debug socket in %s: others can change it", parent);
    } else if (mkdirat(above, name, 0700) != 0 && errno != EEXIST) {
        if (errno != EACCES) ebb__warn("no debug socket in %s/%s: %m", parent, name);
    } else if ((fd = directory_open(above, name, &d)) < 0) {
        ebb__warn("no debug socket in %s/%s: %m", parent, name);
    } else if (!directory_is_private(&d)) {
        ebb__warn("no debug socket in %s/%s: it is not this user's with mode 0700", parent, name);
        close(fd);
        fd = -1;
    }
    close(above);
    return fd;
}

/* The n-th place for the directory. False after the last; an empty parent is to be passed over. */
static bool place_at(int n, char parent[OS_SOCKET_PATH], char name[32]) {
    const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
    unsigned uid = (unsigned)geteuid();
    int length = 0;
    strcpy(name, "ebb");
    if (n == 0) {
        length = snprintf(parent, OS_SOCKET_PATH, "%s", runtime && *runtime == '/' ? runtime : "");
    } else if (n == 1) {
        length = snprintf(parent, OS_SOCKET_PATH, "/run/user/%u", uid);
    } else if (n == 2) {
        length = snprintf(parent, OS_SOCKET_PATH, "/tmp");
        snprintf(name, 32, "ebb-%u", uid);
    } else {
        return false;
    }
    if (length >= OS_SOCKET_PATH) *parent = 0;
    return true;
}

/* --- The socket ----------------------------------------------------------------------------- */

static bool socket_answers(const struct sockaddr_un *address) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return true;
    bool answers = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ||
                   errno == EAGAIN || errno == EINPROGRESS;
    close(fd);
    return answers;
}

/* Makes way for a new socket. 0, EBB_EEXIST or EBB_ESYSTEM. */
static int socket_clear(const struct sockaddr_un *address) {
    struct stat old;
    if (lstat(address->sun_path, &old) != 0) return errno == ENOENT ? 0 : EBB_ESYSTEM;
    if (!S_ISSOCK(old.st_mode) || old.st_uid != geteuid()) {
        ebb__warn("no debug socket: %s is there and is no socket of this user's",
                  address->sun_path);
        return EBB_ESYSTEM;
    }
    if (socket_answers(address)) return EBB_EEXIST;
    return unlink(address->sun_path) == 0 ? 0 : EBB_ESYSTEM;
}

static int socket_bind(int fd, const struct sockaddr_un *address) {
    int code = socket_clear(address);
    if (code) return code;
    /* A mode of the descriptor's is the new file's, so that it never has another. */
    if (fchmod(fd, 0600) == 0 && bind(fd, (const struct sockaddr *)address, sizeof *address) == 0 &&
        chmod(address->sun_path, 0600) == 0 && listen(fd, 16) == 0)
        return 0;
    ebb__warn("no debug socket at %s: %m", address->sun_path);
    return EBB_ESYSTEM;
}

static int socket_make(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        ebb__warn("no debug socket: %m");
        return EBB_ESYSTEM;
    }
    int code = socket_bind(fd, &address);
    if (code == 0) return fd;
    close(fd);
    return code;
}

/* The process that made a socket of this name, or 0. */
static int socket_owner(const char *name) {
    char *end;
    long pid = *name >= '1' && *name <= '9' ? strtol(name, &end, 10) : 0;
    return pid > 0 && pid <= INT_MAX && strcmp(end, ".sock") == 0 ? (int)pid : 0;
}

/* Whether it was left by a process of this user's that is dead. One of another container's has no
 * number here, but answers; one that was just made may be about to. */
static bool socket_is_left(int directory, const char *path, const char *name) {
    enum { YOUNG_SECONDS = 10 };
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat is;
    int pid = socket_owner(name);
    if (pid == 0 || kill(pid, 0) == 0 || errno != ESRCH) return false;
    if (fstatat(directory, name, &is, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISSOCK(is.st_mode))
        return false;
    if (is.st_uid != geteuid() || time(NULL) - is.st_mtime < YOUNG_SECONDS) return false;
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", path, name);
    return (size_t)length < sizeof address.sun_path && !socket_answers(&address);
}

/* Removes such sockets, of so many entries as take no time. directory is at path. */
static void directory_clear(int directory, const char *path) {
    enum { ENTRIES = 1000 };
    int fd = fcntl(directory, F_DUPFD_CLOEXEC, 0);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *d;
    for (int n = 0; entries && n < ENTRIES && (d = readdir(entries)) != NULL; n++)
        if (socket_is_left(directory, path, d->d_name)) unlinkat(directory, d->d_name, 0);
    if (entries)
        closedir(entries);
    else if (fd >= 0)
        close(fd);
}

int ebb__os_socket_listen(char path[OS_SOCKET_PATH]) {
    char parent[OS_SOCKET_PATH], name[32];
    for (int n = 0; place_at(n, parent, name); n++) {
        if (!*parent) continue;
        int length = snprintf(path, OS_SOCKET_PATH, "%s/%s/%d.sock", parent, name, (int)getpid());
        int directory = length < OS_SOCKET_PATH ? directory_take(parent, name) : -1;
        if (directory < 0) continue;
        int fd = socket_make(path);
        if (fd >= 0) {
            char whole[OS_SOCKET_PATH + 32];
            snprintf(whole, sizeof whole, "%s/%s", parent, name);
            directory_clear(directory, whole);
        }
        close(directory);
        if (fd >= 0 || fd == EBB_EEXIST) return fd;
    }
    ebb__warn("no debug socket: neither $XDG_RUNTIME_DIR nor /tmp could be used");
    return EBB_ESYSTEM;
}

void ebb__os_socket_remove(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat old;
    if (strlen(path) >= sizeof address.sun_path) return;
    strcpy(address.sun_path, path);
    if (lstat(path, &old) == 0 && S_ISSOCK(old.st_mode) && !socket_answers(&address)) unlink(path);
}

/* --- Connections ---------------------------------------------------------------------------- */

/* Waits for the descriptor. False when the time is up or it failed. */
static bool socket_await(int fd, short events, uint64_t until_ns) {
    struct pollfd p = {.fd = fd, .events = events};
    for (;;) {
        uint64_t now = ebb__os_now_ns();
        if (now >= until_ns) return false;
        uint64_t ms = (until_ns - now + 999999) / 1000000;
        int ready = poll(&p, 1, (int)min_size(ms, 3600000));
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) return false;
    }
}

static bool peer_is_allowed(int fd) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
    return peer.uid == geteuid() || peer.uid == 0;
}

/* Where there is no descriptor for who waits, or the program closed ours, it would be asked again
 * at once, for ever. */
static void accept_pause(void) {
    enum { PAUSE_MS = 100 };
    poll(NULL, 0, PAUSE_MS);
}

int ebb__os_socket_accept(int listening, uint64_t until_ns) {
    if (!socket_await(listening, POLLIN, until_ns)) return -1;
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) accept_pause();
    if (fd >= 0 && !peer_is_allowed(fd)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

long ebb__os_socket_read(int fd, void *bytes, size_t size, uint64_t until_ns) {
    for (;;) {
        if (!socket_await(fd, POLLIN, until_ns)) return -1;
        ssize_t n = recv(fd, bytes, size, 0);
        if (n >= 0) return n;
        if (errno != EINTR && errno != EAGAIN) return -1;
    }
}

bool ebb__os_socket_write(int fd, const void *bytes, size_t size, uint64_t until_ns) {
    const char *at = bytes;
    while (size > 0) {
        ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        } else if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return false;
        } else if (!socket_await(fd, POLLOUT, until_ns)) {
            return false;
        }
    }
    return true;
}

bool ebb__os_socket_gone(int fd) {
    struct pollfd p = {.fd = fd, .events = 0};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}

void ebb__os_socket_end(int fd) {
    shutdown(fd, SHUT_RDWR);
}

void ebb__os_socket_close(int fd) {
    close(fd);
}

/* --- Libraries ------------------------------------------------------------------------------ */

/* Beside the file that this function is in: a library in a place that the loader does not know may
 * have been found by a path of the program's, which does not hold for what it loads itself. */
static void *library_beside(const char *library) {
    char path[4096];
    Dl_info us;
    if (!dladdr((void *)ebb__os_library_function, &us) || !us.dli_fname) return NULL;
    const char *slash = strrchr(us.dli_fname, '/');
    int directory = slash ? (int)(slash - us.dli_fname) : 0;
    if (!slash || (size_t)snprintf(path, sizeof path, "%.*s/%s", directory, us.dli_fname,
                                   library) >= sizeof path)
        return NULL;
    return dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
}

void *ebb__os_library_function(const char *library, const char *name, const char **why) {
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle) handle = library_beside(library);
    void *function = handle ? dlsym(handle, name) : NULL;
    if (!function) *why = dlerror();
    return function;
}
