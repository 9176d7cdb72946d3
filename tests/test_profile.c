/* test_profile.c - heap profiles as a program and its tools get them: files, pages, the signal, the
 * end, settings. What is in them is in test_internal_profile.c. docs/design.md, "Profile". */
#define _GNU_SOURCE 1
#include <ebb/ebb.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

/* Every case begins with a library that nobody has used: the environment is read then. No ebb
 * command: profiles stay as the library makes them. */
static void environment(const char *profile) {
    char text[640];
    snprintf(text, sizeof text, "tool=/nowhere/ebb%s%s", *profile ? "," : "", profile);
    setenv("EBB_PROFILE", text, 1);
}

/* --- Reading profile.proto ----------------------------------------------------------------------
 */

typedef struct bytes {
    unsigned char *at;
    size_t size;
} bytes;

static uint64_t varint(bytes *b) {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        CHECK(b->size > 0 && shift < 64);
        unsigned char byte = *b->at++;
        b->size--;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
    }
}

/* The next field: its number, and either its number or its bytes. */
static unsigned field(bytes *b, uint64_t *number, bytes *inside) {
    uint64_t key = varint(b);
    *number = 0;
    *inside = (bytes){NULL, 0};
    if ((key & 7) == 0) {
        *number = varint(b);
    } else {
        CHECK_EQ(key & 7, 2);
        inside->size = varint(b);
        inside->at = b->at;
        CHECK(inside->size <= b->size);
        b->at += inside->size;
        b->size -= inside->size;
    }
    return (unsigned)(key >> 3);
}

enum { STRINGS_MOST = 200 };

typedef struct profile {
    int64_t sums[4];
    size_t samples, locations, mappings, comments, sample_types, builds;
    uint64_t period, time, duration, shown;
    bytes strings[STRINGS_MOST];
    size_t string_count, comment[16];
} profile;

static void sample_read(profile *p, bytes b) {
    uint64_t number;
    bytes inside;
    size_t values = 0;
    p->samples++;
    while (b.size > 0) {
        unsigned f = field(&b, &number, &inside);
        if (f == 1)
            for (size_t n = 0; inside.size > 0; n++) CHECK(varint(&inside) > 0);
        for (; f == 2 && inside.size > 0; values++) {
            CHECK(values < 4);
            p->sums[values] += (int64_t)varint(&inside);
        }
    }
    CHECK_EQ(values, 4);
}

static void mapping_read(profile *p, bytes b) {
    uint64_t number, start = 0, limit = 0;
    bytes inside;
    p->mappings++;
    while (b.size > 0) {
        unsigned f = field(&b, &number, &inside);
        if (f == 1) CHECK_EQ(number, p->mappings);
        if (f == 2) start = number;
        if (f == 3) limit = number;
        if (f == 5) CHECK(number > 0);
        if (f == 6) p->builds += number > 0;
    }
    CHECK(start > 0 && start < limit);
}

static profile profile_read(bytes b) {
    static profile p;
    uint64_t number;
    bytes inside;
    memset(&p, 0, sizeof p);
    CHECK(b.size > 0);
    while (b.size > 0) {
        unsigned f = field(&b, &number, &inside);
        if (f == 1) p.sample_types++;
        if (f == 2) sample_read(&p, inside);
        if (f == 3) mapping_read(&p, inside);
        if (f == 4) p.locations++;
        if (f == 6 && p.string_count < STRINGS_MOST) p.strings[p.string_count++] = inside;
        if (f == 9) p.time = number;
        if (f == 10) p.duration = number;
        if (f == 12) p.period = number;
        if (f == 13 && p.comments < 16) p.comment[p.comments++] = number;
        if (f == 14) p.shown = number;
    }
    CHECK_EQ(p.sample_types, 4);
    CHECK_EQ(p.strings[0].size, 0);
    CHECK(p.mappings > 0);
    CHECK(p.time > 0);
    return p;
}

static bool string_is(const profile *p, uint64_t number, const char *text) {
    CHECK(number < p->string_count);
    return p->strings[number].size == strlen(text) &&
           memcmp(p->strings[number].at, text, strlen(text)) == 0;
}

static bool comments_say(const profile *p, const char *text) {
    for (size_t i = 0; i < p->comments; i++) {
        const bytes *s = &p->strings[p->comment[i]];
        if (memmem(s->at, s->size, text, strlen(text))) return true;
    }
    return false;
}

static bytes file_read(const char *path) {
    static unsigned char room[1 << 20];
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    ssize_t n = read(fd, room, sizeof room);
    CHECK(n >= 0 && (size_t)n < sizeof room);
    close(fd);
    return (bytes){room, (size_t)n};
}

/* --- Objects ------------------------------------------------------------------------------------
 */

static void *kept[1000];

static NOINLINE void keep(size_t size, size_t count) {
    for (size_t i = 0; i < count; i++) CHECK((kept[i] = ebb_alloc(size)) != NULL);
}

static char *path_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "/tmp/ebb-test-%d-%s", (int)getpid(), name);
    return path;
}

/* --- Files --------------------------------------------------------------------------------------
 */

TEST(a_profile_is_whole) {
    environment("rate=1");
    keep(200, 1000);
    size_t stride = ebb_size_of(kept[0]) + 1;
    for (size_t i = 0; i < 300; i++) CHECK_EQ(ebb_free(kept[i]), 0), kept[i] = NULL;
    CHECK_EQ(ebb_collect(), 0);
    char *path = path_of("whole");
    CHECK_EQ(ebb_profile_write(path), 0);
    struct stat info;
    CHECK_EQ(stat(path, &info), 0);
    CHECK_EQ(info.st_mode & 0777, 0600);
    profile p = profile_read(file_read(path));
    unlink(path);
    CHECK_EQ(p.sums[0], 1000);
    CHECK_EQ(p.sums[1], 1000 * stride);
    CHECK_EQ(p.sums[2], 700);
    CHECK_EQ(p.sums[3], 700 * stride);
    CHECK_EQ(p.period, 1);
    CHECK(p.locations >= 3);
    CHECK(p.builds >= 1); /* the C library has one */
    CHECK(string_is(&p, p.shown, "inuse_space"));
    CHECK(comments_say(&p, "every object is sampled"));
    CHECK(comments_say(&p, "as of cycle 1 (full)"));
    CHECK(comments_say(&p, "the ebb command was not found"));
}

TEST(a_profile_of_nothing_is_whole) {
    environment("rate=off");
    char *path = path_of("nothing");
    CHECK_EQ(ebb_profile_write(path), 0);
    profile p = profile_read(file_read(path));
    unlink(path);
    CHECK_EQ(p.samples, 0);
    CHECK(comments_say(&p, "sampling is off"));
}

TEST(files_that_cannot_be_written) {
    environment("rate=1");
    CHECK_EQ(ebb_profile_write("/nowhere/at/all"), EBB_ESYSTEM);
    CHECK_EQ(errno, ENOENT);
    setenv("EBB_DEBUG", "misuse=return", 1);
    CHECK(ebb_profile_write("/dev/full") == EBB_ESYSTEM || access("/dev/full", F_OK) != 0);
}

TEST(a_command_that_fails) {
    char *path = path_of("fails");
    setenv("EBB_PROFILE", "rate=1,tool=/bin/false", 1);
    keep(200, 10);
    CHECK_EQ(ebb_profile_write(path), 0);
    profile p = profile_read(file_read(path));
    unlink(path);
    CHECK_EQ(p.sums[2], 10);
    CHECK(comments_say(&p, "the ebb command failed"));
}

TEST(a_command_that_is_another) {
    char *path = path_of("another");
    setenv("EBB_PROFILE", "rate=1,tool=/bin/echo", 1);
    keep(200, 10);
    CHECK_EQ(ebb_profile_write(path), 0);
    profile p = profile_read(file_read(path));
    unlink(path);
    CHECK(comments_say(&p, "the ebb command failed"));
}

/* The command has its input and output, the standard error, and nothing of the program's. */
TEST(a_command_inherits_nothing) {
    char *tool = strdup(path_of("tool")), *seen = strdup(path_of("seen"));
    char text[512], setting[300];
    FILE *script = fopen(tool, "w");
    CHECK(script != NULL);
    /* Signals first, without another process: shells block all around a fork, and none after it. */
    fprintf(script,
            "#!/bin/sh\n{ while read -r line; do case $line in SigBlk*) echo \"$line\";; esac\n"
            "done </proc/$$/status; ls /proc/$$/fd; env; } >%s 2>&1\nexit 1\n",
            seen);
    CHECK_EQ(fclose(script), 0);
    CHECK_EQ(chmod(tool, 0700), 0);
    snprintf(setting, sizeof setting, "rate=1,tool=%s,exit=/tmp/never", tool);
    setenv("EBB_PROFILE", setting, 1);
    setenv("EBB_DEBUG", "misuse=return", 1);
    int stray = open("/dev/null", O_RDONLY);
    CHECK(dup2(stray, 77) == 77);
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    keep(200, 10);
    CHECK_EQ(ebb_profile_write("/dev/null"), 0);
    bytes b = file_read(seen);
    CHECK(b.size < sizeof text * 100);
    CHECK(memmem(b.at, b.size, "\n77\n", 4) == NULL);
    CHECK(memmem(b.at, b.size, "EBB_", 4) == NULL);
    CHECK(memmem(b.at, b.size, "SigBlk:\t0000000000000000\n", 25) != NULL);
    unlink(tool);
    unlink(seen);
    _exit(0); /* not the profile at exit */
}

static volatile sig_atomic_t children;

static void child_ended(int signal) {
    int error = errno;
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0) children++;
    errno = error;
}

TEST(a_program_that_waits_for_all_children) {
    char *path = path_of("children");
    setenv("EBB_PROFILE", "rate=1,tool=/bin/false", 1);
    signal(SIGCHLD, child_ended);
    keep(200, 10);
    for (int i = 0; i < 5; i++) CHECK_EQ(ebb_profile_write(path), 0);
    signal(SIGCHLD, SIG_IGN);
    CHECK_EQ(ebb_profile_write(path), 0);
    profile p = profile_read(file_read(path));
    unlink(path);
    CHECK_EQ(p.sums[2], 10);
}

/* --- Pages --------------------------------------------------------------------------------------
 */

typedef struct page {
    int status;
    char type[64], filename[64];
    unsigned char body[1 << 18];
    size_t size;
} page;

static void page_begin(void *arg, int status, const char *type, const char *filename) {
    page *p = arg;
    p->status = status;
    snprintf(p->type, sizeof p->type, "%s", type);
    snprintf(p->filename, sizeof p->filename, "%s", filename ? filename : "");
}

static bool page_write(void *arg, const void *data, size_t size) {
    page *p = arg;
    CHECK(p->size + size < sizeof p->body);
    memcpy(p->body + p->size, data, size);
    p->size += size;
    return true;
}

static page *page_get(const char *target) {
    static page p;
    memset(&p, 0, sizeof p);
    const ebb_debug_sink sink = {page_begin, page_write, &p};
    CHECK_EQ(ebb_debug_get(target, &sink), 0);
    return &p;
}

static bool page_says(const page *p, const char *text) {
    return memmem(p->body, p->size, text, strlen(text)) != NULL;
}

TEST(pages_of_profiles) {
    environment("rate=1");
    keep(200, 500);
    page *p = page_get("/debug/pprof/heap?gc=1");
    CHECK_EQ(p->status, 200);
    CHECK_STR(p->type, "application/octet-stream");
    CHECK_STR(p->filename, "heap");
    profile heap = profile_read((bytes){p->body, p->size});
    CHECK_EQ(heap.sums[2], 500);
    CHECK(string_is(&heap, heap.shown, "inuse_space"));
    CHECK_EQ(ebb_cycles(), 1);
    p = page_get("/debug/pprof/allocs");
    CHECK_STR(p->filename, "allocs");
    profile allocs = profile_read((bytes){p->body, p->size});
    CHECK_EQ(allocs.sums[0], 500);
    CHECK(string_is(&allocs, allocs.shown, "alloc_space"));
    CHECK_EQ(ebb_cycles(), 1);
}

TEST(the_page_as_text) {
    char head[128];
    environment("rate=1");
    keep(200, 500);
    size_t stride = ebb_size_of(kept[0]) + 1;
    page *p = page_get("/debug/pprof/heap?gc=1&debug=1");
    snprintf(head, sizeof head, "heap profile: 500: %zu [500: %zu] @ heap_v2/1\n", 500 * stride,
             500 * stride);
    CHECK_EQ(p->status, 200);
    CHECK(page_says(p, head));
    CHECK(page_says(p, "MAPPED_LIBRARIES:\n"));
    CHECK(page_says(p, "libc.so"));
}

static void *later(void *arg) {
    usleep(200000);
    for (int i = 0; i < 100; i++) CHECK(ebb_alloc(1000) != NULL);
    return arg;
}

TEST(what_changed_within_a_second) {
    pthread_t thread;
    environment("rate=1");
    keep(200, 500);
    CHECK_EQ(ebb_collect(), 0);
    CHECK_EQ(pthread_create(&thread, NULL, later, NULL), 0);
    page *p = page_get("/debug/pprof/heap?seconds=1");
    pthread_join(thread, NULL);
    CHECK_EQ(p->status, 200);
    CHECK_STR(p->filename, "heap-delta");
    profile delta = profile_read((bytes){p->body, p->size});
    CHECK_EQ(delta.sums[0], 100);
    CHECK_EQ(delta.sums[2], 0);
    CHECK(delta.duration >= 1000000000u);
}

TEST(requests_that_make_no_sense) {
    environment("rate=1");
    static const char *const wrong[] = {"seconds=0", "seconds=-1", "seconds=x", "seconds=1&debug=1",
                                        "seconds=99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char target[128];
        snprintf(target, sizeof target, "/debug/pprof/heap?%s", wrong[i]);
        page *p = page_get(target);
        CHECK_EQ(p->status, 400);
        snprintf(target, sizeof target, "/debug/pprof/allocs?%s", wrong[i]);
        CHECK_EQ(page_get(target)->status, 400);
    }
}

TEST(the_command_line) {
    environment("rate=off");
    page *p = page_get("/debug/pprof/cmdline");
    CHECK_EQ(p->status, 200);
    CHECK(page_says(p, "test_profile"));
    CHECK(p->body[p->size - 1] != 0);
}

TEST(names_without_the_command) {
    environment("rate=off");
    page *p = page_get("/debug/pprof/symbol?0x1234+0x5678");
    CHECK_EQ(p->status, 200);
    CHECK(p->size == strlen("num_symbols: 1\n") && page_says(p, "num_symbols: 1\n"));
}

/* --- The signal, the end ------------------------------------------------------------------------
 */

static bool file_comes(const char *path) {
    for (int i = 0; i < 1000; i++) {
        struct stat info;
        if (stat(path, &info) == 0 && info.st_size > 0) return true;
        usleep(20000);
    }
    return false;
}

TEST(a_signal_writes_profiles) {
    char setting[128], path[256];
    char directory[] = "/tmp/ebb-test-XXXXXX";
    CHECK(mkdtemp(directory) != NULL);
    snprintf(setting, sizeof setting, "rate=1,dir=%s", directory);
    environment(setting);
    keep(200, 100);
    for (int n = 1; n <= 2; n++) {
        CHECK_EQ(kill(getpid(), SIGUSR2), 0);
        snprintf(path, sizeof path, "%s/ebb.%d.%d.heap.pb.gz", directory, (int)getpid(), n);
        CHECK(file_comes(path));
        usleep(300000); /* whole */
        profile p = profile_read(file_read(path));
        CHECK_EQ(p.sums[2], 100);
        unlink(path);
    }
    rmdir(directory);
}

/* Others may know the name beforehand where they may write to the directory. */
TEST(what_stands_at_a_signals_name_stays) {
    char setting[128], path[256], precious[256];
    char directory[] = "/tmp/ebb-test-XXXXXX";
    struct stat is;
    CHECK(mkdtemp(directory) != NULL);
    snprintf(setting, sizeof setting, "rate=1,dir=%s", directory);
    snprintf(precious, sizeof precious, "%s/precious", directory);
    environment(setting);
    keep(200, 100);
    for (int n = 1; n <= 3; n++) {
        snprintf(path, sizeof path, "%s/ebb.%d.%d.heap.pb.gz", directory, (int)getpid(), n);
        CHECK_EQ(n < 3 ? symlink(n == 1 ? precious : "/nowhere/at/all", path)
                       : close(creat(path, 0644)),
                 0);
    }
    CHECK_EQ(close(creat(precious, 0600)), 0);
    CHECK_EQ(kill(getpid(), SIGUSR2), 0);
    snprintf(path, sizeof path, "%s/ebb.%d.4.heap.pb.gz", directory, (int)getpid());
    CHECK(file_comes(path));
    usleep(300000); /* whole */
    CHECK(lstat(path, &is) == 0 && S_ISREG(is.st_mode) && (is.st_mode & 07777) == 0600);
    profile p = profile_read(file_read(path));
    CHECK_EQ(p.sums[2], 100);
    CHECK(stat(precious, &is) == 0 && is.st_size == 0);
    snprintf(path, sizeof path, "%s/ebb.%d.3.heap.pb.gz", directory, (int)getpid());
    CHECK(stat(path, &is) == 0 && is.st_size == 0);
    snprintf(path, sizeof path, "rm -rf '%s'", directory);
    CHECK_EQ(system(path), 0);
}

static volatile sig_atomic_t usr2;

static void usr2_came(int signal) {
    (void)signal;
    usr2++;
}

TEST(a_handler_that_is_there_stays) {
    environment("rate=1");
    signal(SIGUSR2, usr2_came);
    keep(200, 100);
    CHECK_EQ(raise(SIGUSR2), 0);
    CHECK_EQ(usr2, 1);
}

TEST(without_the_variable_no_signal_is_taken) {
    struct sigaction action;
    unsetenv("EBB_PROFILE");
    keep(200, 100);
    CHECK_EQ(sigaction(SIGUSR2, NULL, &action), 0);
    CHECK(action.sa_handler == SIG_DFL);
}

TEST(a_signal_can_be_turned_off) {
    struct sigaction action;
    environment("signal=off");
    keep(200, 100);
    CHECK_EQ(sigaction(SIGUSR2, NULL, &action), 0);
    CHECK(action.sa_handler == SIG_DFL);
}

TEST(the_end_writes_one) {
    char setting[512], child_path[512];
    char *path = path_of("exit");
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        snprintf(setting, sizeof setting, "rate=1,exit=%s", path);
        environment(setting);
        keep(200, 100);
        pid_t grandchild = fork();
        if (grandchild == 0) exit(0); /* writes its own */
        CHECK_EQ(waitpid(grandchild, &status, 0), grandchild);
        snprintf(child_path, sizeof child_path, "%s.%d", path, (int)grandchild);
        profile p = profile_read(file_read(child_path));
        CHECK_EQ(p.sums[2], 100);
        unlink(child_path);
        exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    profile p = profile_read(file_read(path));
    unlink(path);
    CHECK_EQ(p.sums[2], 100);
}

/* The name that the user gave is followed, emptied and keeps its mode; that of a child is Ebb's. */
TEST(what_stands_at_the_ends_names) {
    char setting[512], child_path[300], target[300];
    char *path = path_of("exit-link");
    struct stat is;
    int status;
    snprintf(target, sizeof target, "%s-target", path);
    FILE *file = fopen(target, "w");
    CHECK(file && fputs("old", file) >= 0 && fclose(file) == 0);
    CHECK_EQ(chmod(target, 0640), 0);
    CHECK_EQ(symlink(target, path), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        snprintf(setting, sizeof setting, "rate=1,exit=%s", path);
        environment(setting);
        keep(200, 100);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            snprintf(child_path, sizeof child_path, "%s.%d", path, (int)getpid());
            exit(symlink("/nowhere/at/all", child_path));
        }
        CHECK_EQ(waitpid(grandchild, &status, 0), grandchild);
        CHECK_EQ(status, 0);
        snprintf(child_path, sizeof child_path, "%s.%d", path, (int)grandchild);
        CHECK_EQ(unlink(child_path), 0);
        snprintf(child_path, sizeof child_path, "%s.%d.2", path, (int)grandchild);
        profile p = profile_read(file_read(child_path));
        CHECK_EQ(p.sums[2], 100);
        unlink(child_path);
        exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK(lstat(path, &is) == 0 && S_ISLNK(is.st_mode));
    CHECK(stat(target, &is) == 0 && (is.st_mode & 07777) == 0640);
    profile p = profile_read(file_read(target));
    unlink(path), unlink(target);
    CHECK_EQ(p.sums[2], 100);
}

/* --- Settings -----------------------------------------------------------------------------------
 */

static void says_of(const char *setting, const char *text) {
    DIES(text) {
        setenv("EBB_PROFILE", setting, 1);
        CHECK(ebb_alloc(8) != NULL);
        abort();
    }
}

TEST(settings_that_are_wrong_are_named) {
    says_of("rate=0", "rate takes a size such as 512KiB, 1 for every object, or off");
    says_of("rate=much", "rate takes");
    says_of("unwind=guess", "unwind takes libunwind, backtrace or fp");
    says_of("signal=-1", "signal takes the number of a signal or off");
    says_of("signal=1000", "signal takes");
    says_of("exit=", "exit takes the name of a file");
    says_of("colour=red",
            "\"colour=red\" is not known; there are: rate unwind signal exit dir tool");
}

TEST(every_way_to_unwind_knows_the_caller) {
    static const char *const ways[] = {"rate=1,unwind=fp", "rate=1,unwind=backtrace",
                                       "rate=1,unwind=libunwind"};
    for (size_t i = 0; i < 3; i++) {
        int status;
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            environment(ways[i]);
            keep(200, 200);
            CHECK_EQ(ebb_collect(), 0);
            usleep(200000); /* libunwind comes with the service thread */
            keep(200, 200);
            CHECK_EQ(ebb_profile_write("/dev/null"), 0);
            char *path = path_of("ways");
            CHECK_EQ(ebb_profile_write(path), 0);
            profile p = profile_read(file_read(path));
            unlink(path);
            CHECK_EQ(p.sums[0], 400);
            CHECK(p.locations >= 1 && p.locations < 30);
            _exit(0);
        }
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
    }
}
