/* harness.c - main of every test: runs each case in a child process and counts. It uses nothing of
 * Ebb, so that a case meets the library as a program does that has just started. */
#include "test.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_SKIPPED = 77, TIMEOUT_SECONDS = 300, CLEARED_BYTES = 128 << 10 };

static test_case *cases, **cases_end = &cases;
static uint64_t seed;
static volatile pid_t running; /* the child of the case that runs; its process group */
static volatile sig_atomic_t timed_out;

/* --- What a test calls ---------------------------------------------------------------------- */

void test_register(test_case *test) {
    *cases_end = test;
    cases_end = &test->next;
}

void test_fail(const char *file, int line, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "%s:%d: %s\n", file, line, text);
    fflush(NULL);
    _exit(EXIT_FAILURE);
}

void test_check_eq(const char *file, int line, const char *a_text, const char *b_text,
                   unsigned long long a, unsigned long long b) {
    if (a == b) return;
    test_fail(file, line, "CHECK_EQ(%s, %s): %lld (0x%llx) is not %lld (0x%llx)", a_text, b_text,
              (long long)a, a, (long long)b, b);
}

void test_check_str(const char *file, int line, const char *a_text, const char *b_text,
                    const char *a, const char *b) {
    if (a == b || (a && b && strcmp(a, b) == 0)) return;
    test_fail(file, line, "CHECK_STR(%s, %s): \"%s\" is not \"%s\"", a_text, b_text,
              a ? a : "(null)", b ? b : "(null)");
}

void test_skip(const char *why) {
    printf("     %s\n", why);
    fflush(NULL);
    _exit(EXIT_SKIPPED);
}

uint64_t test_seed(void) {
    return seed;
}

uint64_t test_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t test_random_below(uint64_t *state, uint64_t n) {
    return (uint64_t)(((unsigned __int128)test_random(state) * n) >> 64);
}

size_t test_scale(void) {
    const char *text = getenv("EBB_TEST_SCALE");
    size_t scale = text ? (size_t)strtoull(text, NULL, 0) : 1;
    return scale ? scale : 1;
}

bool test_slow(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
# if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return true;
# else
    return false;
# endif
#else
    return false;
#endif
}

/* Whether all other threads of this process sleep. */
static bool others_sleep(void) {
    DIR *tasks = opendir("/proc/self/task");
    bool sleep = true;
    if (!tasks) return true;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        char path[300], state = 'S';
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid()) continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/stat", entry->d_name);
        FILE *stat = fopen(path, "re");
        if (stat && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1) sleep &= state == 'S';
        if (stat) fclose(stat);
    }
    closedir(tasks);
    return sleep;
}

pid_t test_fork(void) {
    for (int calm = 0, i = 0; test_slow() && calm < 5 && i < 1000; i++, usleep(2000))
        calm = others_sleep() ? calm + 1 : 0;
    return fork();
}

/* AddressSanitizer would leave room beside the array, next to the caller, and not clear that. */
__attribute__((noinline, no_sanitize("address"))) void test_clear_stack(void) {
    char dead[CLEARED_BYTES];
    memset(dead, 0, sizeof dead);
    __asm__ volatile("" : : "r"(dead) : "memory");
}

/* --- Deaths --------------------------------------------------------------------------------- */

static void child_setup(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* Reads to the end; keeps the beginning. */
static void read_all(int fd, char *text, size_t size) {
    size_t used = 0;
    for (;;) {
        char spill[256];
        size_t room = size - 1 - used;
        ssize_t n = room ? read(fd, text + used, room) : read(fd, spill, sizeof spill);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        if (room) used += (size_t)n;
    }
    text[used] = 0;
}

static int wait_for(pid_t pid) {
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return -1;
    return status;
}

/* True in the child, which runs the block; false in the parent, when the death was the right one.
 */
bool test_death_begin(const char *file, int line, const char *substring) {
    int ends[2];
    fflush(NULL);
    if (pipe(ends) != 0) test_fail(file, line, "DIES: pipe failed");
    pid_t pid = fork();
    if (pid < 0) test_fail(file, line, "DIES: fork failed");
    if (pid == 0) {
        child_setup();
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        return true;
    }
    char text[4096];
    close(ends[1]);
    read_all(ends[0], text, sizeof text);
    close(ends[0]);
    int status = wait_for(pid);
    if (WIFEXITED(status))
        test_fail(file, line, "DIES(\"%s\"): exited with %d and said \"%s\"", substring,
                  WEXITSTATUS(status), text);
    if (WTERMSIG(status) != SIGABRT)
        test_fail(file, line, "DIES(\"%s\"): died by signal %d and said \"%s\"", substring,
                  WTERMSIG(status), text);
    if (!strstr(text, substring))
        test_fail(file, line, "DIES(\"%s\"): said \"%s\"", substring, text);
    return false;
}

/* Ends the child; the type only serves the loop in DIES. */
bool test_death_survived(void) {
    _exit(EXIT_SUCCESS);
}

/* --- Running -------------------------------------------------------------------------------- */

static void on_timeout(int signal) {
    (void)signal;
    timed_out = 1;
    kill(-running, SIGKILL);
}

static unsigned timeout_seconds(void) {
    const char *text = getenv("EBB_TEST_TIMEOUT");
    int seconds = text ? atoi(text) : 0;
    return seconds > 0 ? (unsigned)seconds : TIMEOUT_SECONDS;
}

/* Runs one case in its own process group; the wait status. */
static int case_run(const test_case *test) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        return -1;
    }
    if (pid == 0) {
        setpgid(0, 0);
        child_setup();
        test->run();
        exit(EXIT_SUCCESS);
    }
    setpgid(pid, pid);
    running = pid;
    timed_out = 0;
    alarm(timeout_seconds());
    int status = wait_for(pid);
    alarm(0);
    return status;
}

static void failure_explain(const char *program, const test_case *test, int status) {
    if (timed_out)
        printf("     no end after %u s", timeout_seconds());
    else if (WIFSIGNALED(status))
        printf("     killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        printf("     exit status %d", WEXITSTATUS(status));
    printf("; again: EBB_TEST_SEED=0x%llx %s %s\n", (unsigned long long)seed, program, test->name);
}

/* Whether the list of names, separated by blanks, holds the name. */
static bool list_holds(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; (at = strstr(at, name)) != NULL; at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == 0)) return true;
    return false;
}

static bool is_chosen(const test_case *test, int argc, char **argv) {
    const char *skipped = getenv("EBB_TEST_SKIP");
    if (argc <= 1 && skipped && list_holds(skipped, test->name)) return false;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], test->name) == 0) return true;
    return argc <= 1;
}

static uint64_t seed_choose(void) {
    const char *text = getenv("EBB_TEST_SEED");
    if (text && *text) return strtoull(text, NULL, 0);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t state = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    state ^= (uint64_t)getpid() << 40;
    return test_random(&state);
}

int main(int argc, char **argv) {
    unsigned passed = 0, failed = 0, chosen = 0;
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (const test_case *test = cases; test; test = test->next) puts(test->name);
        return EXIT_SUCCESS;
    }
    seed = seed_choose();
    signal(SIGALRM, on_timeout);
    for (const test_case *test = cases; test; test = test->next) {
        if (!is_chosen(test, argc, argv)) continue;
        chosen++;
        int status = case_run(test);
        if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
            printf("skip %s\n", test->name);
        } else if (status == 0) {
            passed++;
            printf("ok %s\n", test->name);
        } else {
            failed++;
            printf("FAIL %s\n", test->name);
            failure_explain(argv[0], test, status);
        }
    }
    if (argc > 1 && chosen != (unsigned)(argc - 1)) {
        fprintf(stderr, "%s: no such case; see --list\n", argv[0]);
        failed++;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
