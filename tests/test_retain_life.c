/* test_retain_life.c - snapshots and what goes wrong with them: taken in every phase of a cycle, by
 * several threads, with readers that hang, children that die, memory that is short; and what the
 * program must not notice. docs/testing.md, "Retention". */
#include "test.h"

#include <dirent.h>
#include <ebb/ebb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "modes.h"
#include "pages.h"

static page p;

typedef struct node {
    struct node *left, *right;
    long key;
} node;

EBB_TYPE(node, ptr(left), ptr(right));

static node *root;

static node *tree(int depth) {
    node *n = ebb_new(node);
    if (depth > 0) {
        n->left = tree(depth - 1);
        n->right = tree(depth - 1);
    }
    return n;
}

NOINLINE static void tree_make(int depth) {
    root = tree(depth);
}

static unsigned long long reachable(const char *text, const char *type) {
    char mark[64];
    snprintf(mark, sizeof mark, "{\"name\":\"%s\"", type);
    const char *at = strstr(text, mark);
    at = at ? strstr(at, "\"objects\":") : NULL;
    return at ? strtoull(at + 10, NULL, 10) : 0;
}

/* --- Beside cycles -------------------------------------------------------------------------- */

static atomic_bool ends;

static void *allocates(void *unused) {
    node *keep = NULL;
    while (!atomic_load(&ends)) {
        node *n = ebb_new(node);
        if (!n) abort();
        n->left = n->key % 64 ? keep : NULL;
        n->key = keep ? keep->key + 1 : 1;
        keep = n;
    }
    return unused;
}

static void *collects(void *unused) {
    while (!atomic_load(&ends)) ebb_collect();
    return unused;
}

/* Phases follow each other far quicker than snapshots: so many see them all. */
TEST(snapshots_beside_cycles) {
    pthread_t a, b;
    tree_make(13);
    test_clear_stack();
    pthread_create(&a, NULL, allocates, NULL);
    pthread_create(&b, NULL, collects, NULL);
    for (size_t i = 0; i < 20 * test_scale(); i++) {
        CHECK_EQ(page_get(&p, "/debug/ebb/why?format=json"), 0);
        if (p.status != 200) test_fail(__FILE__, __LINE__, "%d: %s", p.status, p.text);
        CHECK(reachable(p.text, "node") >= (1 << 14) - 1);
    }
    atomic_store(&ends, true);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    CHECK_EQ(ebb_collect(), 0);
    node *n = root;
    for (int depth = 0; depth < 13; depth++) n = n->left;
    CHECK(n && !n->left);
}

TEST(snapshots_in_modes) {
    if (getenv("EBB_DEBUG")) SKIP("is such a run");
    MODES_PASS("snapshots_beside_cycles", "verify=1,checkmark=1", NULL);
    MODES_PASS("snapshots_beside_cycles", "yield=7", NULL);
    MODES_PASS("snapshots_beside_cycles", NULL, "dirty=off");
}

/* --- The program notices nothing ------------------------------------------------------------ */

static atomic_int forks, children;

static void counts_fork(void) {
    atomic_fetch_add(&forks, 1);
}

static void counts_child(int signal) {
    (void)signal;
    atomic_fetch_add(&children, 1);
}

static void counts_exit(void) {
    static const char text[] = "an exit handler ran\n";
    if (write(STDOUT_FILENO, text, sizeof text - 1) < 0) _exit(3);
}

static size_t descriptors(void) {
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

TEST(no_handler_and_no_descriptor) {
    signal(SIGCHLD, counts_child);
    pthread_atfork(counts_fork, counts_fork, counts_fork);
    atexit(counts_exit);
    tree_make(4);
    size_t before = descriptors();
    for (int i = 0; i < 5; i++) {
        page_get(&p, "/debug/ebb/why?target=node");
        CHECK_EQ(p.status, 200);
        CHECK(strstr(p.text, "an exit handler ran") == NULL);
    }
    CHECK_EQ(descriptors(), before);
    CHECK_EQ(atomic_load(&forks), 0);
    CHECK_EQ(atomic_load(&children), 0);
    CHECK_EQ(waitpid(-1, NULL, __WALL | WNOHANG), -1);
}

/* --- Children that end early ---------------------------------------------------------------- */

/* The first process named ebb-snapshot with this parent, and of this group; 0. */
static int snapshot_of(int wanted) {
    DIR *d = opendir("/proc");
    int found = 0;
    for (struct dirent *e; !found && (e = readdir(d)) != NULL;) {
        char path[320], text[256];
        int parent = 0, group = 0;
        char state = 'Z';
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        FILE *in = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        if (!in) continue;
        if (fgets(text, sizeof text, in) && strstr(text, "(ebb-snapshot)") &&
            sscanf(strrchr(text, ')') + 1, " %c %d %d", &state, &parent, &group) == 3 &&
            state != 'Z' && group == getpgrp() && (wanted == 0 || parent == wanted))
            found = atoi(e->d_name);
        fclose(in);
    }
    closedir(d);
    return found;
}

static int snapshot_child(void) {
    return snapshot_of(getpid());
}

static int orphans(void) {
    return snapshot_of(0);
}

static void *kills(void *unused) {
    while (!atomic_load(&ends)) {
        int child = snapshot_child();
        if (child) kill(child, SIGSEGV), kill(child, SIGKILL);
    }
    return unused;
}

TEST(a_child_that_dies_is_an_error) {
    pthread_t thread;
    int died = 0;
    tree_make(test_slow() ? 12 : 18);
    pthread_create(&thread, NULL, kills, NULL);
    for (int i = 0; i < 200 && died < 3; i++) {
        page_get(&p, "/debug/ebb/why?target=node");
        CHECK(p.status == 200 || p.status == 500);
        if (p.status == 500) CHECK(strstr(p.text, "its process ended with status 137") != NULL);
        died += p.status == 500;
    }
    atomic_store(&ends, true);
    pthread_join(thread, NULL);
    CHECK(died >= 3);
    page_get(&p, "/debug/ebb/why?target=node");
    CHECK_EQ(p.status, 200);
}

/* The reader takes a little and no more: the child is ended, not waited for. */
TEST(a_reader_that_leaves_ends_the_child) {
    tree_make(test_slow() ? 12 : 18);
    ebb_debug_sink sink = page_sink(&p);
    p.most = 100;
    CHECK_EQ(ebb_debug_get("/debug/heapdump", &sink), EBB_ESYSTEM);
    CHECK_EQ(p.status, 200);
    CHECK_EQ(snapshot_child(), 0);
    page_get(&p, "/debug/ebb/why?target=node");
    CHECK_EQ(p.status, 200);
}

static useconds_t slow_us = 200000;

static bool slow_write(void *arg, const void *bytes, size_t size) {
    (void)arg, (void)bytes, (void)size;
    usleep(slow_us);
    return true;
}

/* A reader that is too slow for the time that it has. On a machine that is busy the child, which
 * comes last for processors, may not begin within a second: that is refused, and tried again. */
TEST(a_reader_that_hangs_is_left) {
    tree_make(test_slow() ? 12 : 18);
    int result = 0;
    for (int seconds = 1; seconds <= 16; seconds *= 2) {
        char target[64];
        ebb_debug_sink sink = page_sink(&p);
        sink.write = slow_write;
        slow_us = (useconds_t)seconds * 400000; /* a small heap is a few writes */
        snprintf(target, sizeof target, "/debug/heapdump?seconds=%d", seconds);
        result = ebb_debug_get(target, &sink);
        CHECK_EQ(snapshot_child(), 0);
        if (p.status == 200) break;
        CHECK_EQ(p.status, 503);
        CHECK_EQ(result, 0);
    }
    CHECK_EQ(p.status, 200);
    CHECK_EQ(result, EBB_ESYSTEM);
}

/* The descriptor that a child keeps, the pipe, is held open as long as it lives. */
TEST(a_child_goes_with_its_parent) {
    tree_make(test_slow() ? 12 : 18);
    pid_t parent = fork();
    if (parent == 0) {
        ebb_debug_sink sink = page_sink(&p);
        sink.write = slow_write;
        ebb_debug_get("/debug/heapdump", &sink);
        _exit(0);
    }
    int status;
    while (!snapshot_of(parent) && waitpid(parent, &status, WNOHANG) == 0) usleep(1000);
    kill(parent, SIGKILL);
    waitpid(parent, &status, 0);
    CHECK(WIFSIGNALED(status));
    usleep(300000);
    CHECK_EQ(orphans(), 0);
}

/* --- One at a time, and memory --------------------------------------------------------------- */

static void *asks_while_held(void *reply) {
    page_get(reply, "/debug/ebb/why?target=node");
    return NULL;
}

/* The first write of a snapshot: another thread asks for its own. */
static bool held_write(void *arg, const void *bytes, size_t size) {
    static page other;
    page *own = arg;
    if (own->writes == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, asks_while_held, &other);
        pthread_join(thread, NULL);
        CHECK_EQ(other.status, 503);
        CHECK(strstr(other.text, "another snapshot is being looked at"));
    }
    return page_write(arg, bytes, size);
}

TEST(one_snapshot_at_a_time) {
    tree_make(10);
    ebb_debug_sink sink = page_sink(&p);
    sink.write = held_write;
    CHECK_EQ(ebb_debug_get("/debug/heapdump", &sink), 0);
    CHECK_EQ(p.status, 200);
    CHECK(p.writes > 0);
}

/* Three times answered, however often refused. */
static void *asks(void *count) {
    static _Thread_local page own;
    for (int answers = 0; answers < 3;) {
        page_get(&own, "/debug/ebb/why?target=node");
        if (own.status == 200) {
            answers++;
            atomic_fetch_add((atomic_int *)count, 1);
        } else if (strstr(own.text, "another snapshot is being looked at")) {
            usleep(1000);
        } else {
            test_fail(__FILE__, __LINE__, "%d: %s", own.status, own.text);
        }
    }
    return NULL;
}

TEST(who_was_refused_is_answered_later) {
    pthread_t threads[4];
    atomic_int answers = 0;
    tree_make(10);
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, asks, &answers);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(atomic_load(&answers), 12);
}

/* A control group of its own: its directory, and the file of its limit. False where none can be
 * made. */
static bool group_make(char group[64], char limit[128]) {
    static const char *const places[][2] = {{"/sys/fs/cgroup", "memory.max"},
                                            {"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}};
    for (size_t i = 0; i < 2; i++) {
        snprintf(group, 64, "%s/ebb-test-XXXXXX", places[i][0]);
        if (!mkdtemp(group)) continue;
        snprintf(limit, 128, "%s/%s", group, places[i][1]);
        if (access(limit, W_OK) == 0) return true;
        rmdir(group);
    }
    return false;
}

/* 77: the file is not there or may not be written. */
static void group_write(const char *path, long number) {
    FILE *out = fopen(path, "r+");
    if (!out) _exit(77);
    fprintf(out, "%ld", number);
    if (fclose(out) != 0) _exit(77);
}

TEST(a_control_group_that_is_full_refuses) {
    char group[64], limit[128], procs[128];
    if (!group_make(group, limit)) SKIP("control groups of memory cannot be made here");
    snprintf(procs, sizeof procs, "%s/cgroup.procs", group);
    pid_t inside = fork();
    if (inside == 0) {
        group_write(procs, getpid());
        group_write(limit, 60 << 20);
        tree_make(10);
        page_get(&p, "/debug/ebb/why?target=node");
        bool refused = p.status == 503 && strstr(p.text, "the control group has") &&
                       strstr(p.text, "not taken");
        if (!refused) fprintf(stderr, "%d: %s\n", p.status, p.text);
        _exit(refused ? 0 : 1);
    }
    int status;
    waitpid(inside, &status, 0);
    rmdir(group);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) SKIP("control groups cannot be joined here");
    CHECK_EQ(WEXITSTATUS(status), 0);
}

TEST(a_process_that_was_forked_takes_its_own) {
    tree_make(8);
    page_get(&p, "/debug/ebb/why?target=node");
    CHECK_EQ(p.status, 200);
    pid_t child = fork();
    if (child == 0) {
        page_get(&p, "/debug/ebb/why?target=node");
        _exit(p.status == 200 ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}
