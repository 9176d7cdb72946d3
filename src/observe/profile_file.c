/* profile_file.c - profiles that are written to files: by a call, by a signal, at the program's
 * end. docs/design.md, "Profile".
 *
 * The signal's handler only wakes the service thread, which writes. It is installed where
 * EBB_PROFILE is in the environment, and only if the program has done nothing about that signal. */
#include "pprof.h"
#include "hooks.h"
#include "../os/child.h"
#include "../os/threads.h"
#include "../../include/ebb/profile.h"

static int written_make(meta_buffer *out) {
    profile_copy copy;
    if (!ebb__heap_start() || !ebb__profile_copy(&copy)) return EBB_ENOMEM;
    bool made = ebb__pprof_make(&(pprof_source){&copy, NULL, "inuse_space"}, out);
    ebb__profile_copy_free(&copy);
    return made ? 0 : EBB_ENOMEM;
}

static bool written_write(int file, const meta_buffer *bytes) {
    return ebb__os_file_write(file, bytes->bytes, bytes->used);
}

int ebb_profile_write(const char *path) {
    meta_buffer out = {NULL, 0, 0, false};
    if (!path) return ebb__misuse(EBB_EINVAL, "ebb_profile_write", "the path is null");
    int error = written_make(&out);
    if (error == 0) {
        int file = ebb__os_file_create(path);
        bool whole = file >= 0 && written_write(file, &out);
        if (file < 0 || !ebb__os_file_close(file) || !whole) error = EBB_ESYSTEM;
    }
    ebb__buffer_free(&out);
    return error;
}

/* --- Names of our own making --------------------------------------------------------------------
 *
 * Whoever may write to the directory knows them beforehand, so what is there is never written to,
 * nor is a link followed: the next number is taken. */

enum { WRITTEN_PATH = 1200, WRITTEN_TRIES = 1000 };

/* Puts the n-th of the names into path; from 1. */
typedef void written_name(char path[WRITTEN_PATH], unsigned n);

/* The file of the first name from *n on that is not taken; *n is its number. -1, with errno. */
static int written_new(written_name *name, char path[WRITTEN_PATH], unsigned *n) {
    for (int tries = 0; tries < WRITTEN_TRIES; tries++, ++*n) {
        name(path, *n);
        int file = ebb__os_file_create_new(path);
        if (file >= 0 || errno != EEXIST) return file;
    }
    return -1;
}

static void written_report(const char *path, int error) {
    if (error) ebb__warn("the profile %s cannot be written: %s", path, ebb_error_text(error));
}

static void written_first_new(written_name *name, unsigned *n) {
    char path[WRITTEN_PATH] = "";
    meta_buffer out = {NULL, 0, 0, false};
    int error = written_make(&out), file = error ? -1 : written_new(name, path, n);
    if (error) {
        name(path, *n);
    } else if (file < 0) {
        error = EBB_ESYSTEM;
    } else if (written_write(file, &out)) {
        if (!ebb__os_file_close(file)) error = EBB_ESYSTEM;
    } else {
        ebb__os_file_discard(file, path);
        error = EBB_ESYSTEM;
    }
    written_report(path, error);
    ebb__buffer_free(&out);
}

/* --- Signal and end ----------------------------------------------------------------------------
 */

static _Atomic(uint32_t) written_asked; /* by signals; release, acquire by the service */
static uint32_t written_last;           /* of those [the service thread] */
static unsigned written_number;         /* likewise */

static void written_signal(int signal) {
    (void)signal;
    atomic_fetch_add_explicit(&written_asked, 1, memory_order_release);
    ebb__service_wake();
}

static void written_signal_name(char path[WRITTEN_PATH], unsigned n) {
    const char *directory = ebb__settings.profile.directory;
    snprintf(path, WRITTEN_PATH, "%s/ebb.%d.%u.heap.pb.gz", directory ? directory : ".",
             ebb__os_pid(), n);
}

void ebb__profile_tick(void) {
    uint32_t asked = atomic_load_explicit(&written_asked, memory_order_acquire);
    if (asked == written_last) return;
    written_last = asked; /* several at once are one */
    ++written_number;
    ebb_collect();
    written_first_new(written_signal_name, &written_number);
}

static void written_child_name(char path[WRITTEN_PATH], unsigned n) {
    int used = snprintf(path, WRITTEN_PATH, "%s.%d", ebb__settings.profile.exit, ebb__os_pid());
    if (n > 1 && used > 0 && used < WRITTEN_PATH)
        snprintf(path + used, (size_t)(WRITTEN_PATH - used), ".%u", n);
}

/* A child that ends by exit writes its own, beside its parent's. */
static int written_owner;

static void written_exit(void) {
    const char *name = ebb__settings.profile.exit;
    unsigned n = 1;
    ebb_collect();
    if (ebb__os_pid() == written_owner)
        written_report(name, ebb_profile_write(name));
    else
        written_first_new(written_child_name, &n);
}

void ebb__profile_started(void) {
    const struct profile_settings *p = &ebb__settings.profile;
    if (!p->given || ebb__sample_rate == 0) return;
    written_owner = ebb__os_pid();
    if (p->exit && atexit(written_exit) != 0) ebb__warn("no profile at exit: atexit failed");
    if (p->signal == 0) return;
    if (ebb__os_signal_install(p->signal, written_signal) == 0)
        ebb__service_need(); /* to be there when the signal comes */
    else if (p->signal_given)
        ebb__warn("EBB_PROFILE: signal %d is in use: it does not ask for profiles", p->signal);
}
