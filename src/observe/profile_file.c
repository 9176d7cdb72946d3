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

static int written_write(const char *path, const meta_buffer *bytes) {
    int file = ebb__os_file_create(path);
    if (file < 0) return EBB_ESYSTEM;
    bool whole = ebb__os_file_write(file, bytes->bytes, bytes->used);
    return ebb__os_file_close(file) && whole ? 0 : EBB_ESYSTEM;
}

int ebb_profile_write(const char *path) {
    profile_copy copy;
    meta_buffer out = {NULL, 0, 0, false};
    if (!path) return ebb__misuse(EBB_EINVAL, "ebb_profile_write", "the path is null");
    if (!ebb__heap_start() || !ebb__profile_copy(&copy)) return EBB_ENOMEM;
    int error = EBB_ENOMEM;
    if (ebb__pprof_make(&(pprof_source){&copy, NULL, "inuse_space"}, &out))
        error = written_write(path, &out);
    ebb__buffer_free(&out);
    ebb__profile_copy_free(&copy);
    return error;
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

static void written_report(const char *path) {
    int error = ebb_profile_write(path);
    if (error) ebb__warn("the profile %s cannot be written: %s", path, ebb_error_text(error));
}

void ebb__profile_tick(void) {
    uint32_t asked = atomic_load_explicit(&written_asked, memory_order_acquire);
    if (asked == written_last) return;
    written_last = asked; /* several at once are one */
    char path[1200];
    const char *directory = ebb__settings.profile.directory;
    snprintf(path, sizeof path, "%s/ebb.%d.%u.heap.pb.gz", directory ? directory : ".",
             ebb__os_pid(), ++written_number);
    ebb_collect();
    written_report(path);
}

/* A child that ends by exit writes its own, beside its parent's. */
static int written_owner;

static void written_exit(void) {
    char path[1200];
    const char *name = ebb__settings.profile.exit;
    bool child = ebb__os_pid() != written_owner;
    snprintf(path, sizeof path, child ? "%s.%d" : "%s", name, ebb__os_pid());
    ebb_collect();
    written_report(path);
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
