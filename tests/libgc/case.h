/* case.h - programs of cases against <gc.h>.
 *
 * Each case runs in a process of its own and prints an account, which is the same on every
 * collector: tests/libgc/programs.sh compares it with tests/libgc/expected. What is the
 * collector's own affair is printed by `differs`, with the reason, and not compared. */
#ifndef LIBGC_CASE_H
#define LIBGC_CASE_H

#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gc.h>

#define NOINLINE __attribute__((__noinline__))

typedef struct one_case {
    const char *name;
    void (*run)(void);
    struct one_case *next;
} one_case;

static one_case *case_first, **case_last = &case_first;

/* CASE(name) { … } begins with the library made; BARE_CASE(name) { … } before that. */
#define BARE_CASE(id)                                               \
 static void case_##id(void);                                       \
 __attribute__((__constructor__)) static void case_add_##id(void) { \
  static one_case self = {#id, case_##id, NULL};                    \
  *case_last = &self;                                               \
  case_last = &self.next;                                           \
 }                                                                  \
 static void case_##id(void)
#define CASE(id)                 \
 static void case_of_##id(void); \
 BARE_CASE(id) {                 \
  GC_INIT();                     \
  case_of_##id();                \
 }                               \
 static void case_of_##id(void)

/* A line of the account. */
__attribute__((__format__(__printf__, 1, 2))) static inline void say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

/* A line of what may differ, and why it may. */
__attribute__((__format__(__printf__, 2, 3))) static inline void differs(const char *why,
                                                                         const char *format, ...) {
    va_list arguments;
    printf("~ %s: ", why);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

/* How much of what died was noticed: stale words on a stack that is searched conservatively may
 * keep a few objects. */
static inline const char *part(size_t count, size_t of) {
    static char text[4][64];
    static unsigned turn;
    char *t = text[turn++ % 4];
    if (count > of) {
        snprintf(t, sizeof text[0], "too many (%zu of %zu)", count, of);
    } else if (count >= of - of / 10) {
        snprintf(t, sizeof text[0], "nearly all of %zu", of);
    } else if (count <= of / 20) {
        snprintf(t, sizeof text[0], "hardly any of %zu", of);
    } else {
        snprintf(t, sizeof text[0], "%zu of %zu", count, of);
    }
    return t;
}

static inline const char *yes(int condition) {
    return condition ? "yes" : "no";
}

/* For the few things that the stock library does wrong, which are not asked of it. */
static inline int is_ebb(void) {
    return dlsym(RTLD_DEFAULT, "ebb_collect") != NULL;
}

static NOINLINE void clear_stack(void) {
    char hole[16384];
    memset(hole, 0, sizeof hole);
    __asm__ volatile("" : : "r"(hole) : "memory");
}

static NOINLINE void collect(void) {
    clear_stack();
    GC_gcollect();
}

/* So often that all that is dead is swept, and its memory used again. */
__attribute__((__unused__)) static NOINLINE void collect_all(void) {
    for (int i = 0; i < 3; i++) collect();
    for (int i = 0; i < 2000; i++) GC_reachable_here(GC_malloc((size_t)i % 500));
    collect();
}

static int case_child(one_case *c) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    if (pid == 0) {
        alarm(300);
        c->run();
        fflush(stdout);
        _exit(0);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0) continue;
    if (WIFSIGNALED(status)) say("died of signal %d", WTERMSIG(status));
    if (WIFEXITED(status) && WEXITSTATUS(status)) say("exit status %d", WEXITSTATUS(status));
    return status != 0;
}

static int case_asked(one_case *c, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], c->name) == 0) return 1;
    }
    return argc == 1;
}

int main(int argc, char **argv) {
    int bad = 0;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    for (one_case *c = case_first; c; c = c->next) {
        if (!case_asked(c, argc, argv)) continue;
        say("== %s", c->name);
        bad |= case_child(c);
    }
    return bad;
}

#endif
