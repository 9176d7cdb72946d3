/* farewell.c - what an object leaves behind: a finalizer closes the file that a forgotten log
 * holds, and a weak reference turns null. */
#include <ebb/ebb.h>
#include <stdio.h>

typedef struct logbook {
    FILE *file; /* from malloc: not the collector's, so not described */
    int lines;
} logbook;
EBB_TYPE(logbook);

static int closed;

static void logbook_close(void *object, void *arg) {
    logbook *book = object;
    printf("closing the logbook, %d lines long\n", book->lines);
    fclose(book->file);
    ++*(int *)arg;
}

static __attribute__((noinline)) ebb_weak *logbook_use(void) {
    logbook *book = ebb_new(logbook);
    book->file = tmpfile();
    if (!book->file) return NULL;
    ebb_finalizer_set(book, logbook_close, &closed);
    for (int i = 0; i < 3; i++) book->lines += fprintf(book->file, "line %d\n", i) > 0;
    return ebb_weak_new(book);
}

int main(void) {
    ebb_weak *watched = logbook_use();
    if (!watched) return 1;
    for (int i = 0; i < 10 && !closed; i++) { /* a stale word on the stack may take a round more */
        ebb_collect();
        ebb_finalizers_run();
    }
    printf("the logbook is %s\n", ebb_weak_get(watched) ? "still there" : "gone");
    return 0;
}
