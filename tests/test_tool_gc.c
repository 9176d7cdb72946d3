/* test_tool_gc.c - `ebb gc` of logs that hold anything. docs/observe.md. */
#include "test.h"

#include <sys/resource.h>
#include <unistd.h>

#include "../tools/command.h"

#define LINE                                                                                 \
 "gc 7 @1.000s 3%: 0.010+1.000+0.020 ms clock, 0.000+1.030 ms cpu, 8->9->4 MB, 20 MB goal, " \
 "0.1 MB stacks, 0.2 MB roots, 1 P cause=growth kind=full"

/* What `ebb gc` says of a log. */
static const char *gc_says_as(const char *log, size_t size, char *option) {
    static char says[8192];
    char from[64], to[64];
    snprintf(from, sizeof from, "/tmp/ebb-test-%d.log", (int)getpid());
    snprintf(to, sizeof to, "/tmp/ebb-test-%d.json", (int)getpid());
    FILE *file = fopen(from, "w");
    CHECK(file && fwrite(log, 1, size, file) == size && fclose(file) == 0);
    fflush(stdout);
    int before = dup(STDOUT_FILENO);
    CHECK(freopen(to, "w", stdout) != NULL);
    CHECK_EQ(command_gc.main(option ? 3 : 2, (char *[]){"gc", from, option, NULL}), 0);
    fflush(stdout);
    CHECK(dup2(before, STDOUT_FILENO) >= 0);
    close(before);
    file = fopen(to, "r");
    CHECK(file != NULL);
    says[fread(says, 1, sizeof says - 1, file)] = 0;
    fclose(file);
    unlink(from), unlink(to);
    return says;
}

static const char *gc_says(const char *log, size_t size) {
    return gc_says_as(log, size, "--json");
}

TEST(a_line_is_read) {
    CHECK(strstr(gc_says(LINE "\n", sizeof LINE), "\"cycles\":1,\"other_lines\":0"));
    CHECK(strstr(gc_says("before it " LINE, sizeof LINE + 9), "\"cycles\":1,"));
}

/* Nothing that a terminal would obey, and no number that is none, also not in the text. */
TEST(what_is_printed_is_harmless) {
    static const char *const tails[] = {" pages=off:\x1b[2J", " pages=off:\233[J",
                                        " stop_parts_ms=nan+inf+0+0", " wait_ms=inf pause_ms=nan"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        char line[512];
        int length = snprintf(line, sizeof line, "%s%s\n", LINE, tails[i]);
        const char *says = gc_says_as(line, (size_t)length, NULL);
        for (const char *c = says; *c; c++) CHECK(*c == '\n' || (*c >= ' ' && *c <= '~'));
        CHECK(!strstr(says, "nan") && !strstr(says, "inf"));
        CHECK(strstr(says, i < 3 ? ": 0 cycles" : ": 1 cycles in"));
    }
}

TEST(lines_that_are_none_are_counted) {
    static const char *const broken[] = {
        "gc 7 @",
        "gc 7 @nans 3%: 0+1+0 ms clock, 0+1 ms cpu, 8->9->4 MB, 20 MB goal, 0 MB stacks, 0 MB "
        "roots, 1 P cause=growth kind=full",
        "gc 7 @1s 3%: 0+inf+0 ms clock, 0+1 ms cpu, 8->9->4 MB, 20 MB goal, 0 MB stacks, 0 MB "
        "roots, 1 P cause=growth kind=full",
        "gc 7 @1s 3%: 0+1+0 ms clock, 0+1 ms cpu, 8->9->4 MB, 20 MB goal, 0 MB stacks, 0 MB "
        "roots, 1 P cause=\x1b[2J kind=full",
        "gc 7 @1s 3%: 0+1+0 ms clock, 0+1 ms cpu, 8->9->4 MB, 20 MB goal, 0 MB stacks, 0 MB "
        "roots, 1 P cause=growth",
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        const char *says = gc_says(broken[i], strlen(broken[i]));
        CHECK(strstr(says, "\"cycles\":0,\"other_lines\":0,\"broken_lines\":1,"));
        CHECK(!strstr(says, "nan") && !strstr(says, "inf"));
    }
}

/* The memory of this process at most so far, in bytes. */
static long long memory_most(void) {
    struct rusage used;
    CHECK_EQ(getrusage(RUSAGE_SELF, &used), 0);
    return used.ru_maxrss * 1024LL;
}

/* A line without end, all of beginnings: neither read to its end from each, nor kept whole. */
TEST(a_long_line_takes_no_long_time) {
    enum { LONG = 16 << 20 };
    char *line = malloc(LONG);
    for (size_t i = 0; i < LONG; i += 4) memcpy(line + i, "gc 1", 4);
    long long before = memory_most();
    CHECK(strstr(gc_says(line, LONG), "\"cycles\":0,"));
    for (size_t i = 0; i < LONG; i += 8) memcpy(line + i, "gc 1 @x ", 8);
    memcpy(line + LONG - sizeof LINE - 1, "\n" LINE, sizeof LINE);
    CHECK(strstr(gc_says(line, LONG), "\"cycles\":1,\"other_lines\":0,\"broken_lines\":1,"));
    if (!test_slow()) CHECK(memory_most() - before < LONG / 4);
    free(line);
}

TEST(noise_is_passed_over) {
    static char log[1 << 16];
    uint64_t state = test_seed();
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof log; i++) log[i] = (char)test_random(&state);
        for (size_t at = 0; at + 2 * sizeof LINE < sizeof log;
             at += sizeof LINE + test_random_below(&state, 200)) {
            memcpy(log + at, "\n" LINE, sizeof LINE);
            for (uint64_t flips = test_random_below(&state, 4); flips > 0; flips--)
                log[at + test_random_below(&state, sizeof LINE)] ^=
                    (char)(1 << test_random_below(&state, 8));
        }
        CHECK(strstr(gc_says(log, sizeof log), "\"verdict\":"));
    }
}
