/* linux_tool.c - build ids, and running a program on bytes, on Linux. See tool.h.
 *
 * Input and output are files in memory and not pipes: nobody has to read and write at once, and a
 * program that ends early causes no SIGPIPE. */
#include "tool.h"
#include "child.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- Build ids ---------------------------------------------------------------------------------
 */

struct build_id_call {
    uintptr_t code;
    unsigned char *id;
    size_t room, size;
};

/* A note is {name bytes, content bytes, type}, the name, the content; each a multiple of 4. */
static void build_id_note(const char *at, size_t size, struct build_id_call *call) {
    while (size >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *note = (const void *)at;
        size_t name = round_up(note->n_namesz, 4), content = round_up(note->n_descsz, 4);
        size_t whole = sizeof *note + name + content;
        if (name > size || content > size || whole > size) return;
        const char *text = at + sizeof *note;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(text, "GNU", 4) == 0) {
            call->size = min_size(note->n_descsz, call->room);
            memcpy(call->id, text + name, call->size);
            return;
        }
        at += whole;
        size -= whole;
    }
}

static int build_id_module(struct dl_phdr_info *info, size_t size, void *arg) {
    struct build_id_call *call = arg;
    bool ours = false;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        ours |= h->p_type == PT_LOAD && call->code - (info->dlpi_addr + h->p_vaddr) < h->p_memsz;
    }
    for (int i = 0; ours && i < info->dlpi_phnum && call->size == 0; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        if (h->p_type == PT_NOTE)
            build_id_note((const char *)(info->dlpi_addr + h->p_vaddr), h->p_memsz, call);
    }
    return ours;
}

size_t ebb__os_build_id(uintptr_t code, unsigned char *id, size_t room) {
    struct build_id_call call = {code, id, room, 0};
    dl_iterate_phdr(build_id_module, &call);
    return call.size;
}

size_t ebb__os_command_line(char *text, size_t room) {
    int file = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    for (ssize_t n = 1; file >= 0 && used < room && n > 0; used += n > 0 ? (size_t)n : 0)
        n = read(file, text + used, room - used);
    if (file >= 0) close(file);
    return used;
}

bool ebb__os_secure(void) {
    return getauxval(AT_SECURE) != 0;
}

/* --- Finding one --------------------------------------------------------------------------------
 */

/* The directory of the file that this code is in, without its last slash. The loader has no name
 * for the program itself but what it was called with, which is no path. */
static bool own_directory(char *path, size_t size) {
    Dl_info us;
    struct link_map *module = NULL;
    ssize_t length = -1;
    if (!dladdr1((void *)ebb__os_program_beside, &us, (void **)&module, RTLD_DL_LINKMAP) || !module)
        return false;
    if (module->l_name[0] == 0)
        length = readlink("/proc/self/exe", path, size - 1);
    else if (realpath(module->l_name, path))
        length = (ssize_t)strlen(path);
    if (length <= 0 || (size_t)length >= size) return false;
    path[length] = 0;
    char *slash = strrchr(path, '/');
    if (!slash || *path != '/') return false;
    *slash = 0;
    return true;
}

static bool owner_is_trusted(const struct stat *is) {
    return (is->st_uid == 0 || is->st_uid == geteuid()) && !(is->st_mode & (S_IWGRP | S_IWOTH));
}

/* Whether it can be run and others can neither change nor replace it. path is changed and restored.
 */
static bool program_is_trusted(char *path) {
    struct stat is;
    if (access(path, X_OK) != 0 || stat(path, &is) != 0) return false;
    if (!S_ISREG(is.st_mode) || !owner_is_trusted(&is)) return false;
    char *slash = strrchr(path, '/');
    *slash = 0;
    bool trusted = stat(path, &is) == 0 && owner_is_trusted(&is);
    *slash = '/';
    return trusted;
}

bool ebb__os_program_beside(const char *name, char *path, size_t size) {
    static const char *const places[] = {"/../bin/", "/"};
    char directory[PATH_MAX];
    if (!own_directory(directory, sizeof directory)) return false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int n = snprintf(path, size, "%s%s%s", directory, places[i], name);
        if (n > 0 && (size_t)n < size && program_is_trusted(path)) return true;
    }
    return false;
}

/* --- Running a program -------------------------------------------------------------------------
 */

/* A file in memory, above the standard descriptors: those may be closed, and are taken by name. */
static int filter_file(void) {
    int low = memfd_create("ebb-profile", MFD_CLOEXEC);
    if (low < 0 || low > 2) return low;
    int file = fcntl(low, F_DUPFD_CLOEXEC, 3);
    close(low);
    return file;
}

static bool filter_give(int file, const char *bytes, size_t size) {
    return ebb__os_file_write(file, bytes, size) && lseek(file, 0, SEEK_SET) == 0;
}

static bool filter_take(int file, os_output *output) {
    struct stat info;
    if (fstat(file, &info) != 0 || info.st_size == 0) return false;
    size_t size = (size_t)info.st_size, room = round_up(size, ebb__os_page_size());
    char *bytes = ebb__os_map(room, OS_METADATA);
    if (!bytes) return false;
    size_t used = 0;
    for (ssize_t n = 1; used < size && n > 0; used += n > 0 ? (size_t)n : 0)
        n = pread(file, bytes + used, size - used, (off_t)used);
    *output = (os_output){bytes, used, room};
    return true;
}

/* Null without memory; ebb__os_unmap(…, *room) is the caller's. */
static char **filter_environment(size_t *room) {
    size_t count = 0, kept = 0;
    while (environ && environ[count]) count++;
    *room = round_up((count + 1) * sizeof(char *), ebb__os_page_size());
    char **list = ebb__os_map(*room, OS_METADATA);
    for (size_t i = 0; list && i < count; i++)
        if (strncmp(environ[i], "EBB_", 4) != 0 && strncmp(environ[i], "LD_PRELOAD=", 11) != 0)
            list[kept++] = environ[i];
    return list;
}

static int filter_spawn(const char *path, char *const *arguments, int in, int out, pid_t *pid) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    size_t room;
    char **environment = filter_environment(&room);
    if (!environment) return ENOMEM;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, 0);
    posix_spawn_file_actions_adddup2(&files, out, 1);
#if __GLIBC_PREREQ(2, 34)
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
#endif
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int error = posix_spawnp(pid, path, &files, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    ebb__os_unmap(environment, room, OS_METADATA);
    return error;
}

/* Until the process ends, however often it looks. */
static enum os_filter_end filter_wait(pid_t pid, uint64_t timeout_ns) {
    uint64_t start = ebb__os_now_ns();
    int status = 0;
    pid_t ended;
    while ((ended = waitpid(pid, &status, WNOHANG)) == 0 || (ended < 0 && errno == EINTR)) {
        if (ebb__os_now_ns() - start > timeout_ns) {
            kill(pid, SIGKILL);
            while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
            return FILTER_LATE;
        }
        poll(NULL, 0, 2);
    }
    if (ended < 0) return FILTER_GOOD; /* somebody else waited for it */
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return FILTER_MISSING;
    return status == 0 ? FILTER_GOOD : FILTER_FAILED;
}

enum os_filter_end ebb__os_filter(const char *path, char *const *arguments, const void *input,
                                  size_t size, uint64_t timeout_ns, os_output *output) {
    enum os_filter_end end = FILTER_FAILED;
    int in = filter_file(), out = filter_file();
    pid_t pid;
    *output = (os_output){NULL, 0, 0};
    if (in >= 0 && out >= 0 && filter_give(in, input, size)) {
        end = filter_spawn(path, arguments, in, out, &pid) != 0 ? FILTER_MISSING
                                                                : filter_wait(pid, timeout_ns);
        if (end == FILTER_GOOD && !filter_take(out, output)) end = FILTER_FAILED;
    }
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    return end;
}
