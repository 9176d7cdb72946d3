/* golang.c - the same stories in Go: finds the programs' sources, builds them, cleans up.
 *
 * The sources are installed in share/ebb/tour-go beside the bin that holds this program, and stand
 * in tools/go of the source tree. Building needs no network: standard library only. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"
#include "tour.h"

static const char *const golang_programs[] = {"slices", "maps", "heap"};
enum { GOLANG_PROGRAMS = sizeof golang_programs / sizeof *golang_programs, GOLANG_PATH = 512 };

/* The first line that a command prints, without its end; empty when it fails. */
static void golang_line_of(const char *command, char *line, size_t size) {
    line[0] = 0;
    FILE *pipe = popen(command, "re");
    if (!pipe) return;
    if (!fgets(line, (int)size, pipe)) line[0] = 0;
    line[strcspn(line, "\n")] = 0;
    if (pclose(pipe) != 0) line[0] = 0;
}

static bool golang_has_sources(const char *dir) {
    char path[GOLANG_PATH + 32];
    snprintf(path, sizeof path, "%s/report.go", dir);
    return access(path, R_OK) == 0;
}

static bool golang_sources(char *dir) {
    ssize_t length = readlink("/proc/self/exe", dir, GOLANG_PATH - 40);
    if (length > 0) {
        dir[length] = 0;
        char *slash = strrchr(dir, '/');
        strcpy(slash ? slash : dir, "/../share/ebb/tour-go");
        if (golang_has_sources(dir)) return true;
    }
#ifdef EBB_SOURCE_DIR
    snprintf(dir, GOLANG_PATH, "%s/tools/go", EBB_SOURCE_DIR);
    if (golang_has_sources(dir)) return true;
#endif
    return false;
}

static bool golang_build_one(const struct tour *tour, const char *sources, const char *program) {
    char command[4 * GOLANG_PATH];
    snprintf(command, sizeof command,
             "cd '%s' && GO111MODULE=off GOFLAGS= GOPROXY=off GOTOOLCHAIN=local CGO_ENABLED=0 "
             "go build -o '%s/%s' %s.go report.go",
             sources, tour->go_dir, program, program);
    return system(command) == 0;
}

/* What an interrupt has to remove: the programs, then their directory. */
static char golang_built[GOLANG_PROGRAMS][GOLANG_PATH], golang_dir[GOLANG_PATH];

static void golang_on_signal(int signal) {
    for (size_t i = 0; i < GOLANG_PROGRAMS; i++) unlink(golang_built[i]);
    rmdir(golang_dir);
    raise(signal);
}

static void golang_guard(const struct tour *tour) {
    struct sigaction action = {.sa_handler = golang_on_signal, .sa_flags = (int)SA_RESETHAND};
    snprintf(golang_dir, sizeof golang_dir, "%s", tour->go_dir);
    for (size_t i = 0; i < GOLANG_PROGRAMS; i++) {
        snprintf(golang_built[i], sizeof golang_built[i], "%s/%s", tour->go_dir,
                 golang_programs[i]);
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void golang_build(struct tour *tour) {
    char version[64], sources[GOLANG_PATH];
    golang_line_of("go env GOVERSION 2>/dev/null", version, sizeof version);
    if (strncmp(version, "go", 2) != 0) {
        printf("Go is not installed, so there is no column of it.\n");
        return;
    }
    if (!golang_sources(sources)) {
        printf("Go is here, but not the sources of its programs (share/ebb/tour-go).\n");
        return;
    }
    const char *temporary = getenv("TMPDIR");
    snprintf(tour->go_dir, sizeof tour->go_dir, "%s/ebb-tour-XXXXXX",
             temporary && *temporary ? temporary : "/tmp");
    if (!mkdtemp(tour->go_dir)) {
        printf("Go is here, but %s cannot be made: %s.\n", tour->go_dir, strerror(errno));
        tour->go_dir[0] = 0;
        return;
    }
    golang_guard(tour);
    fflush(stdout);
    for (size_t i = 0; i < GOLANG_PROGRAMS; i++) {
        if (!golang_build_one(tour, sources, golang_programs[i])) {
            printf("Go is here, but %s.go does not build.\n", golang_programs[i]);
            return;
        }
    }
    snprintf(tour->go_version, sizeof tour->go_version, "Go %.20s", version + 2);
    printf("%s is here: its figures are of this machine, in the columns named so.\n",
           tour->go_version);
}

void golang_remove(struct tour *tour) {
    if (!tour->go_dir[0]) return;
    for (size_t i = 0; i < GOLANG_PROGRAMS; i++) unlink(golang_built[i]);
    rmdir(golang_dir);
}
