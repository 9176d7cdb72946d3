/* test_debug_socket.c - the debug server's Unix socket: where it is and who may use it, what it
 * says to requests good and bad, and that no client can hold up the program. See "Debug server" in
 * docs/design.md. */
#include <ebb/ebb.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "exchange.h"
#include "test.h"

static char runtime_dir[] = "/tmp/ebb-test-XXXXXX";
static char socket_path[100];

/* A runtime directory of this case's own. Before the first call of Ebb. */
static void runtime_own(void) {
    CHECK(mkdtemp(runtime_dir) != NULL);
    setenv("XDG_RUNTIME_DIR", runtime_dir, 1);
    snprintf(socket_path, sizeof socket_path, "%s/ebb/%d.sock", runtime_dir, (int)getpid());
}

static bool is_there(const char *path) {
    struct stat s;
    return lstat(path, &s) == 0;
}

static void runtime_remove(void) {
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", runtime_dir);
    CHECK_EQ(system(command), 0);
}

/* A connection, or -1. */
static int client_connect(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

static int client_ask(const char *path, const void *request, size_t size, char *reply,
                      size_t room) {
    int fd = client_connect(path);
    CHECK(fd >= 0);
    return exchange(fd, request, size, reply, room);
}

static int client_get(const char *path, const char *target, char *reply, size_t room) {
    char request[16384];
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.0\r\nHost: x\r\n\r\n", target);
    CHECK(n > 0 && (size_t)n < sizeof request);
    return client_ask(path, request, (size_t)n, reply, room);
}

static int client_says(const char *request) {
    static char reply[1 << 16];
    return client_ask(socket_path, request, strlen(request), reply, sizeof reply);
}

/* --- The place ------------------------------------------------------------------------------ */

TEST(socket_is_this_users_alone) {
    static char reply[1 << 16];
    struct stat s;
    char directory[128];
    runtime_own();
    umask(0);
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    CHECK(lstat(socket_path, &s) == 0);
    CHECK(S_ISSOCK(s.st_mode));
    CHECK_EQ(s.st_mode & 07777, 0600);
    snprintf(directory, sizeof directory, "%s/ebb", runtime_dir);
    CHECK(lstat(directory, &s) == 0);
    CHECK_EQ(s.st_mode & 07777, 0700);
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    CHECK(strstr(reply, "\r\nX-Content-Type-Options: nosniff\r\n") != NULL);
    CHECK(strstr(reply, "\r\n\r\n/debug/ebb/ ") != NULL);
    CHECK_EQ(ebb_debug_serve(NULL), EBB_EEXIST);
    runtime_remove();
}

TEST(served_when_the_environment_says_so) {
    static char reply[1 << 16];
    runtime_own();
    setenv("EBB_DEBUG", "misuse=abort,serve", 1);
    CHECK(ebb_alloc(8) != NULL);
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    runtime_remove();
}

TEST(not_served_when_nobody_said_so) {
    runtime_own();
    CHECK(ebb_alloc(8) != NULL);
    CHECK_EQ(ebb_collect(), 0);
    CHECK(!is_there(socket_path));
    runtime_remove();
}

TEST(removed_at_exit) {
    runtime_own();
    int status;
    pid_t child = fork();
    if (child == 0) {
        snprintf(socket_path, sizeof socket_path, "%s/ebb/%d.sock", runtime_dir, (int)getpid());
        exit(ebb_debug_serve(NULL) == 0 && is_there(socket_path) ? 7 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 7);
    snprintf(socket_path, sizeof socket_path, "%s/ebb/%d.sock", runtime_dir, (int)child);
    CHECK(!is_there(socket_path));
    runtime_remove();
}

/* Binds and goes away without removing. */
static void socket_leave(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(fd, 1) == 0);
    close(fd);
}

static void directory_make(mode_t mode) {
    char directory[128];
    snprintf(directory, sizeof directory, "%s/ebb", runtime_dir);
    CHECK(mkdir(directory, 0700) == 0);
    CHECK(chmod(directory, mode) == 0);
}

TEST(stale_socket_is_replaced) {
    static char reply[1 << 16];
    runtime_own();
    directory_make(0700);
    socket_leave(socket_path);
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    runtime_remove();
}

/* The number of a process that has ended. */
static int dead_pid(void) {
    int status;
    pid_t child = fork();
    if (child == 0) _exit(0);
    CHECK(waitpid(child, &status, 0) == child);
    return (int)child;
}

/* PATH, a socket that nobody listens on, made so many seconds ago. */
static void socket_leave_old(char *path, size_t size, int pid, int seconds) {
    snprintf(path, size, "%s/ebb/%d.sock", runtime_dir, pid);
    socket_leave(path);
    struct timespec then[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};
    CHECK_EQ(utimensat(AT_FDCWD, path, then, AT_SYMLINK_NOFOLLOW), 0);
}

TEST(sockets_of_dead_processes_are_removed) {
    char dead[4][100], living[100], young[100], other[100], link[100], file[100];
    static char reply[1 << 16];
    runtime_own();
    directory_make(0700);
    for (int i = 0; i < 4; i++) socket_leave_old(dead[i], sizeof dead[i], dead_pid(), 3600);
    socket_leave_old(living, sizeof living, (int)getppid(), 3600);
    socket_leave_old(young, sizeof young, dead_pid(), 0);
    snprintf(other, sizeof other, "%s/ebb/other.sock", runtime_dir);
    socket_leave(other);
    snprintf(link, sizeof link, "%s/ebb/%d.sock", runtime_dir, dead_pid());
    CHECK_EQ(symlink(other, link), 0);
    snprintf(file, sizeof file, "%s/ebb/%d.sock", runtime_dir, dead_pid());
    CHECK_EQ(close(creat(file, 0600)), 0);
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    for (int i = 0; i < 4; i++) CHECK(!is_there(dead[i]));
    CHECK(is_there(living) && is_there(young) && is_there(other) && is_there(link));
    CHECK(is_there(file));
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    runtime_remove();
}

/* As of a process in another container, which has another number here or none. */
TEST(socket_that_answers_stays_whatever_its_number) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timespec then[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    runtime_own();
    directory_make(0700);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/ebb/%d.sock", runtime_dir, dead_pid());
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(fd, 1) == 0);
    CHECK_EQ(utimensat(AT_FDCWD, address.sun_path, then, 0), 0);
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    CHECK(is_there(address.sun_path));
    close(fd);
    runtime_remove();
}

TEST(killed_program_leaves_a_socket_that_the_next_removes) {
    struct timespec then[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    char path[100];
    int ready[2], status;
    runtime_own();
    CHECK_EQ(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(ebb_debug_serve(NULL) == 0 && write(ready[1], "", 1) == 1);
        for (;;) pause();
    }
    CHECK_EQ(read(ready[0], path, 1), 1);
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK(waitpid(child, &status, 0) == child);
    snprintf(path, sizeof path, "%s/ebb/%d.sock", runtime_dir, (int)child);
    CHECK(is_there(path));
    CHECK_EQ(utimensat(AT_FDCWD, path, then, 0), 0);
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    CHECK(!is_there(path));
    runtime_remove();
}

TEST(socket_of_a_living_process_stays) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    runtime_own();
    directory_make(0700);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(fd, 1) == 0);
    CHECK_EQ(ebb_debug_serve(NULL), EBB_EEXIST);
    CHECK(is_there(socket_path));
    close(fd);
    runtime_remove();
}

/* What may stand there instead, after which another place is taken or none. */
static void place_is_refused(void) {
    struct stat before, after;
    char directory[128];
    snprintf(directory, sizeof directory, "%s/ebb", runtime_dir);
    CHECK(lstat(directory, &before) == 0);
    int code = ebb_debug_serve(NULL);
    CHECK(code == 0 || code == EBB_ESYSTEM);
    CHECK(lstat(directory, &after) == 0);
    CHECK_EQ(before.st_mode, after.st_mode);
}

TEST(directory_that_others_can_enter_is_refused) {
    runtime_own();
    directory_make(0755);
    place_is_refused();
    CHECK(!is_there(socket_path));
    runtime_remove();
}

TEST(directory_in_one_that_others_can_change_is_refused) {
    runtime_own();
    directory_make(0700);
    CHECK(chmod(runtime_dir, 0777) == 0);
    place_is_refused();
    CHECK(!is_there(socket_path));
    runtime_remove();
}

TEST(directory_behind_a_link_is_refused) {
    char target[64], link[64];
    runtime_own();
    snprintf(target, sizeof target, "%s/elsewhere", runtime_dir);
    snprintf(link, sizeof link, "%s/ebb", runtime_dir);
    CHECK(mkdir(target, 0700) == 0);
    CHECK(symlink(target, link) == 0);
    place_is_refused();
    CHECK(!is_there(socket_path));
    runtime_remove();
}

TEST(link_in_the_place_of_the_socket_is_not_followed) {
    char target[64];
    runtime_own();
    directory_make(0700);
    snprintf(target, sizeof target, "%s/precious", runtime_dir);
    CHECK(symlink(target, socket_path) == 0);
    place_is_refused();
    CHECK(!is_there(target));
    runtime_remove();
}

TEST(file_in_the_place_of_the_socket_stays) {
    runtime_own();
    directory_make(0700);
    FILE *file = fopen(socket_path, "w");
    CHECK(file != NULL);
    fclose(file);
    place_is_refused();
    struct stat s;
    CHECK(lstat(socket_path, &s) == 0);
    CHECK(S_ISREG(s.st_mode));
    runtime_remove();
}

/* --- Requests ------------------------------------------------------------------------------- */

TEST(requests_that_are_none) {
    static const struct {
        int status;
        const char *request;
    } cases[] = {
        {200, "GET /debug/ebb/ HTTP/1.0\n\n"},
        {200, "GET /debug/ebb/ HTTP/1.1\r\nAccept:  */*  \r\ncontent-length: 0\r\n\r\n"},
        {404, "GET / HTTP/1.1\r\n\r\n"},
        {404, "GET /debug/ebb/../ebb/ HTTP/1.1\r\n\r\n"},
        {400, "GET\r\n\r\n"},
        {400, "GET /debug/ebb/\r\n\r\n"},
        {400, "\r\n\r\n"},
        {400, "GET debug HTTP/1.1\r\n\r\n"},
        {400, "GET http://x/debug/ebb/ HTTP/1.1\r\n\r\n"},
        {400, "GET /debug/\x01 HTTP/1.1\r\n\r\n"},
        {400, "GET /debug/\xc3\xa4 HTTP/1.1\r\n\r\n"},
        {400, "GET /debug/ebb/ HTTP/1.1\r\nno colon\r\n\r\n"},
        {400, "GET /debug/ebb/ HTTP/1.1\r\n: nameless\r\n\r\n"},
        {400, "GET /debug/ebb/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n"},
        {400, "GET /debug/ebb/ HTTP/1.1\r\nContent-Length: 1x\r\n\r\n"},
        {413, "POST /debug/ebb/ HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"},
        {400, "POST /debug/ebb/ HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"},
        {501, "POST /debug/ebb/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {405, "POST /debug/ebb/ HTTP/1.1\r\nContent-Length: 2\r\n\r\nxx"},
        {405, "POST /debug/ebb/ HTTP/1.1\r\n\r\n"},
        {405, "DELETE /debug/ebb/ HTTP/1.1\r\n\r\n"},
        {405, "GET /debug/ebb/trim?now=1 HTTP/1.1\r\n\r\n"},
        {405, "GET /debug/ebb/trim?x&now=1&now=0 HTTP/1.1\r\n\r\n"},
        {400, "POST /debug/ebb/trim HTTP/1.1\r\n\r\n"},
        {200, "POST /debug/ebb/trim?now=1 HTTP/1.1\r\n\r\n"},
        {505, "GET /debug/ebb/ HTTP/2.0\r\n\r\n"},
    };
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = client_says(cases[i].request);
        if (status != cases[i].status)
            test_fail(__FILE__, __LINE__, "%d, not %d, to: %s", status, cases[i].status,
                      cases[i].request);
    }
    runtime_remove();
}

TEST(zero_bytes_and_noise) {
    static char reply[1 << 16];
    char noise[512];
    uint64_t state = test_seed();
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    CHECK_EQ(client_ask(socket_path, "GET /\0 HTTP/1.1\n\n", 18, reply, sizeof reply), 400);
    for (int i = 0; i < 200; i++) {
        for (size_t k = 0; k < sizeof noise; k++) noise[k] = (char)test_random(&state);
        memcpy(noise + sizeof noise - 4, "\r\n\r\n", 4);
        int status = client_ask(socket_path, noise, sizeof noise, reply, sizeof reply);
        CHECK(status >= 400 && status < 600);
    }
    runtime_remove();
}

TEST(huge_requests) {
    static char request[1 << 20], reply[1 << 16];
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    memset(request, 'x', sizeof request);
    CHECK_EQ(client_ask(socket_path, request, sizeof request, reply, sizeof reply), 431);
    memcpy(request, "GET /", 5);
    memcpy(request + 6000, " HTTP/1.1\r\n\r\n", 13);
    CHECK_EQ(client_ask(socket_path, request, 6013, reply, sizeof reply), 414);
    runtime_remove();
}

TEST(reply_in_chunks_has_an_end) {
    static char reply[1 << 16];
    static const char request[] = "GET /debug/ebb/ HTTP/1.1\r\n\r\n";
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    CHECK_EQ(client_ask(socket_path, request, sizeof request - 1, reply, sizeof reply), 200);
    CHECK(strstr(reply, "\r\nTransfer-Encoding: chunked\r\n") != NULL);
    CHECK_STR(reply + strlen(reply) - 7, "\r\n0\r\n\r\n");
    runtime_remove();
}

/* --- Clients that do not behave -------------------------------------------------------------- */

TEST(clients_that_say_nothing_stop_nobody) {
    static char reply[1 << 16];
    int silent[5];
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    for (int i = 0; i < 5; i++) {
        silent[i] = client_connect(socket_path);
        CHECK(silent[i] >= 0);
        if (i % 2) CHECK_EQ(write(silent[i], "GET /debug", 10), 10);
    }
    for (int i = 0; i < 20; i++) {
        CHECK(ebb_alloc(100000) != NULL);
        CHECK_EQ(ebb_collect(), 0);
    }
    /* Those before it are given up after some seconds. */
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    for (int i = 0; i < 5; i++) close(silent[i]);
    runtime_remove();
}

TEST(clients_that_go_away_stop_nobody) {
    static char reply[1 << 16];
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    for (int i = 0; i < 100; i++) {
        int fd = client_connect(socket_path);
        CHECK(fd >= 0);
        if (i % 3)
            CHECK_EQ(write(fd, "GET /debug/ebb/ HTTP/1.1\r\n\r\n", i % 3 == 1 ? 28 : 9),
                     i % 3 == 1 ? 28 : 9);
        close(fd);
    }
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    runtime_remove();
}

/* All of the server's threads wait for what changes within five minutes, and nobody for them. */
TEST(clients_that_hang_up_are_noticed) {
    static const char request[] = "GET /debug/pprof/heap?seconds=300 HTTP/1.1\r\n\r\n";
    static char reply[1 << 16];
    int fds[8];
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    for (int i = 0; i < 8; i++) {
        fds[i] = client_connect(socket_path);
        CHECK_EQ(write(fds[i], request, sizeof request - 1), sizeof request - 1);
    }
    usleep(300000);
    for (int i = 0; i < 8; i++) close(fds[i]);
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    runtime_remove();
}

TEST(client_that_only_stops_sending_is_answered) {
    static const char request[] = "GET /debug/pprof/heap?seconds=1 HTTP/1.0\r\n\r\n";
    static char reply[1 << 16];
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    int fd = client_connect(socket_path);
    CHECK_EQ(write(fd, request, sizeof request - 1), sizeof request - 1);
    CHECK_EQ(shutdown(fd, SHUT_WR), 0);
    CHECK_EQ(exchange(fd, "", 0, reply, sizeof reply), 200);
    runtime_remove();
}

static void *many_client(void *unused) {
    char reply[8192];
    (void)unused;
    for (int i = 0; i < 20; i++)
        CHECK_EQ(client_get(socket_path, i % 2 ? "/debug/ebb/" : "/debug/ebb/series", reply,
                            sizeof reply),
                 200);
    return NULL;
}

TEST(many_clients_beside_collections) {
    pthread_t threads[16];
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    for (int i = 0; i < 16; i++) CHECK_EQ(pthread_create(&threads[i], NULL, many_client, NULL), 0);
    for (int i = 0; i < 30; i++) {
        CHECK(ebb_alloc(100000) != NULL);
        CHECK_EQ(ebb_collect(), 0);
    }
    for (int i = 0; i < 16; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    runtime_remove();
}

static long processor_ms(void) {
    struct timespec used;
    CHECK_EQ(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), 0);
    return used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

/* Somebody waits who cannot be accepted: the server does not ask again and again. */
TEST(descriptors_that_are_out_come_back) {
    static char reply[1 << 16];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct rlimit files, none;
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
    none = files;
    none.rlim_cur = 3;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    long before = processor_ms();
    usleep(2000000);
    CHECK(processor_ms() - before < 500);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
    close(fd);
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    runtime_remove();
}

static void no_handler(int signal) {
    (void)signal;
    test_fail(__FILE__, __LINE__, "a signal of the program's reached the server's thread");
}

/* A signal that every thread of the program's blocks stays pending. */
TEST(signals_are_the_programs) {
    static char reply[1 << 16];
    sigset_t set, pending;
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    signal(SIGUSR1, no_handler);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    sigpending(&pending);
    CHECK(sigismember(&pending, SIGUSR1));
    runtime_remove();
}

/* --- Fork ----------------------------------------------------------------------------------- */

static void child_serves_for_itself(void) {
    static char reply[1 << 16];
    snprintf(socket_path, sizeof socket_path, "%s/ebb/%d.sock", runtime_dir, (int)getpid());
    if (is_there(socket_path) || ebb_collect() != 0) exit(1);
    for (int i = 0; i < 3000 && !is_there(socket_path); i++) usleep(10000);
    if (client_get(socket_path, "/debug/ebb/", reply, sizeof reply) != 200) exit(2);
    exit(7);
}

TEST(child_has_a_socket_of_its_own) {
    static char reply[1 << 16];
    int status;
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    int open_then = client_connect(socket_path);
    usleep(100000);
    pid_t child = fork();
    if (child == 0) child_serves_for_itself();
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 7);
    close(open_then);
    CHECK_EQ(client_get(socket_path, "/debug/ebb/", reply, sizeof reply), 200);
    snprintf(socket_path, sizeof socket_path, "%s/ebb/%d.sock", runtime_dir, (int)child);
    CHECK(!is_there(socket_path));
    runtime_remove();
}

/* Serves, forks, and is gone without removing its socket; the child lives until the gate closes. */
static void server_gone(int gate[2]) {
    int ready[2];
    char c;
    if (ebb_debug_serve(NULL) != 0 || pipe(ready) != 0) _exit(1);
    if (fork() == 0) {
        close(gate[1]);
        _exit(write(ready[1], "", 1) != 1 || read(gate[0], &c, 1) != 0);
    }
    _exit(read(ready[0], &c, 1) == 1 ? 7 : 2);
}

TEST(child_does_not_keep_the_parents_socket) {
    int gate[2], status;
    runtime_own();
    CHECK_EQ(pipe(gate), 0);
    pid_t server = fork();
    if (server == 0) server_gone(gate);
    CHECK(waitpid(server, &status, 0) == server);
    CHECK_EQ(WEXITSTATUS(status), 7);
    snprintf(socket_path, sizeof socket_path, "%s/ebb/%d.sock", runtime_dir, (int)server);
    CHECK(is_there(socket_path));
    CHECK_EQ(client_connect(socket_path), -1);
    CHECK_EQ(errno, ECONNREFUSED);
    close(gate[1]);
    runtime_remove();
}

TEST(forks_beside_requests) {
    pthread_t threads[4];
    runtime_own();
    CHECK_EQ(ebb_debug_serve(NULL), 0);
    for (int i = 0; i < 4; i++) CHECK_EQ(pthread_create(&threads[i], NULL, many_client, NULL), 0);
    for (int i = 0; i < 20; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) _exit(ebb_alloc(100) != NULL ? 7 : 1);
        CHECK(waitpid(child, &status, 0) == child);
        CHECK_EQ(WEXITSTATUS(status), 7);
    }
    for (int i = 0; i < 4; i++) CHECK_EQ(pthread_join(threads[i], NULL), 0);
    runtime_remove();
}

/* --- Addresses ------------------------------------------------------------------------------ */

TEST(addresses_that_are_none) {
    char longer[200];
    setenv("EBB_DEBUG", "misuse=return", 1);
    memset(longer, '1', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    CHECK_EQ(ebb_debug_serve(longer), EBB_EINVAL);
}
