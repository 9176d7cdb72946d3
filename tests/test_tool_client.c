/* test_tool_client.c - what the commands say to a program, and what becomes of what it replies: it
 * may be another user's, and reply anything. docs/testing.md, "Served". */
#include "test.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../tools/client.h"
#include "../tools/command.h"

static char path[64], asked_path[80], said_path[80];

/* A process that answers one request with the reply, and leaves what it was asked in a file. */
static pid_t server_start(const char *reply) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(path, sizeof path, "/tmp/ebb-test-%d-client", (int)getpid());
    snprintf(asked_path, sizeof asked_path, "%s.asked", path);
    snprintf(said_path, sizeof said_path, "%s.said", path);
    strcpy(address.sun_path, path);
    int listening = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(listening, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(listening, 1) == 0);
    pid_t server = fork();
    if (server != 0) return close(listening), server;
    char asked[1024];
    int fd = accept(listening, NULL, NULL);
    ssize_t n = read(fd, asked, sizeof asked);
    FILE *file = fopen(asked_path, "w");
    fwrite(asked, 1, n > 0 ? (size_t)n : 0, file);
    fclose(file);
    _exit(write(fd, reply, strlen(reply)) == (ssize_t)strlen(reply) ? 0 : 1);
}

static const char *file_text(const char *name) {
    static char text[4096];
    FILE *file = fopen(name, "r");
    CHECK(file != NULL);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    unlink(name);
    return text;
}

/* What a command prints to stream when the program replies so; *status is the command's. */
static const char *command_says(const command *c, char *option, const char *reply, FILE *stream,
                                int *status) {
    int ended;
    pid_t server = server_start(reply);
    fflush(stream);
    int fd = fileno(stream), before = dup(fd);
    CHECK(freopen(said_path, "w", stream) != NULL);
    *status = c->main(option ? 3 : 2, (char *[]){"command", path, option, NULL});
    fflush(stream);
    CHECK(dup2(before, fd) >= 0);
    close(before);
    CHECK(waitpid(server, &ended, 0) == server);
    unlink(path);
    return file_text(said_path);
}

#define OK_HEAD "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

TEST(actions_are_posted) {
    int status;
    CHECK_STR(command_says(&command_trim, NULL, OK_HEAD "4\r\nwell\r\n0\r\n\r\n", stdout, &status),
              "well");
    CHECK_EQ(status, 0);
    const char *asked = file_text(asked_path);
    CHECK(strncmp(asked, "POST /debug/ebb/trim?now=1 HTTP/1.1\r\n", 37) == 0);
    CHECK(strstr(asked, "\r\nContent-Length: 0\r\n") != NULL);
    command_says(&command_trim, "--dry-run", OK_HEAD "0\r\n\r\n", stdout, &status);
    CHECK(strncmp(file_text(asked_path), "GET /debug/ebb/trim HTTP/1.1\r\n", 30) == 0);
}

/* Also where the sequence comes in two pieces. */
TEST(what_a_terminal_would_obey_is_not_printed) {
    int status;
    CHECK_STR(command_says(&command_slack, NULL,
                           OK_HEAD "7\r\na\x1b[2Jb\n\r\n3\r\n\x7f\xc3\xc2\r\n"
                                   "4\r\n\x9b\xc2\xa0\t\r\n0\r\n\r\n",
                           stdout, &status),
              "a?[2Jb\n?\xc3\xc2?\xc2\xa0\t");
    CHECK_EQ(status, 0);
    unlink(asked_path);
    const char *says =
        command_says(&command_slack, NULL, "HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\n\x1b[2J\n",
                     stderr, &status);
    CHECK_EQ(status, 1);
    CHECK(strstr(says, ": 503: ?[2J\n") != NULL);
    unlink(asked_path);
}

TEST(replies_that_break_off) {
    static const char *const replies[] = {"",
                                          "nonsense",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
                                          OK_HEAD "9\r\nshort",
                                          OK_HEAD "4\r\nwell\r\n",
                                          OK_HEAD "-4\r\nwell\r\n0\r\n\r\n",
                                          OK_HEAD "x\r\n",
                                          OK_HEAD "7fffffffffffffff\r\nx"};
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        int status;
        const char *says = command_says(&command_slack, NULL, replies[i], stderr, &status);
        CHECK_EQ(status, 1);
        CHECK(strstr(says, i < 2 ? "no reply" : "the reply broke off") != NULL);
        unlink(asked_path);
    }
}
