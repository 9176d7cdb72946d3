/* loud.c - what cannot make sense on Ebb, and says so as it ends the program. Not run on others. */
#define GC_THREADS
#include "case.h"

#include <gc/gc_mark.h>
#include <gc/javaxfc.h>

static char messages[4096];

/* Runs call in a child: whether it died of abort, having named itself. */
static void is_loud(const char *name, void (*call)(void)) {
    int ends[2];
    fflush(stdout);
    if (pipe(ends)) return;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 2);
        call();
        _exit(0);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], messages, sizeof messages - 1);
    messages[got < 0 ? 0 : got] = 0;
    close(ends[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) continue;
    say("%s: aborts %s, names itself %s", name, yes(WIFSIGNALED(status) && WTERMSIG(status) == 6),
        yes(strstr(messages, name) != NULL));
}

#define LOUD(name, ...)          \
 static void loud_##name(void) { \
  GC_INIT();                     \
  name(__VA_ARGS__);             \
 }                               \
 BARE_CASE(name) {               \
  is_loud(#name, loud_##name);   \
 }

static void visit(void *object, size_t size, void *data) {
    (void)object;
    (void)size;
    (void)data;
}

LOUD(GC_stop_world_external, )
LOUD(GC_start_world_external, )
LOUD(GC_suspend_thread, pthread_self())
LOUD(GC_resume_thread, pthread_self())
LOUD(GC_clear_mark_bit, GC_malloc(10))
LOUD(GC_enumerate_reachable_objects_inner, visit, NULL)
LOUD(GC_set_find_leak, 1)
LOUD(GC_push_all, messages, messages + sizeof messages)
