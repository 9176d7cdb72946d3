/* load.c - see load.h. */
#define _GNU_SOURCE 1
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "client.h"
#include "symbolize.h"

/* Whether it is for client_get: no such file, or a socket. */
static bool load_is_program(const char *from) {
    struct stat file;
    if (stat(from, &file) == 0) return S_ISSOCK(file.st_mode);
    return client_pid(from) > 0 || strchr(from, ':') || strstr(from, ".sock");
}

/* The file to read from; null: said why. */
static FILE *load_open(const char *from, const char *target) {
    if (strcmp(from, "-") == 0) return stdin;
    if (!load_is_program(from)) {
        FILE *file = fopen(from, "re");
        if (!file) fprintf(stderr, "ebb: %s: %s\n", from, strerror(errno));
        return file;
    }
    FILE *file = tmpfile();
    if (!file) {
        fprintf(stderr, "ebb: no temporary file: %s\n", strerror(errno));
    } else if (client_get(from, target, file) != 0) {
        fclose(file);
        file = NULL;
    } else {
        rewind(file);
    }
    return file;
}

bool load_profile(struct pprof *p, const char *from, const char *target) {
    pprof_begin(p);
    FILE *file = load_open(from, target);
    if (!file) return false;
    bool good = pprof_read_file(p, file);
    if (!good) fprintf(stderr, "ebb: %s is no profile that can be read: %s\n", from, p->error);
    if (file != stdin) fclose(file);
    if (good && symbolize_wanted(p))
        symbolize_profile(p, load_is_program(from) ? client_pid(from) : 0);
    return good;
}
