/* main.c - the `ebb` command: its subcommands, its help. */
#define _GNU_SOURCE 1
#include <stdio.h>
#include <string.h>

#include <ebb/ebb.h>

#include "tour.h"

static const char main_help[] =
    "Example:\n"
    "  ebb tour              four stories of memory that comes back, run on this machine\n"
    "\n"
    "usage: ebb COMMAND [argument ...]\n"
    "\n"
    "  tour                  tells and runs the stories: see ebb tour --help\n"
    "\n"
    "  -h, --help            this text\n"
    "  -V, --version         the version\n"
    "\n"
    "Ebb is a garbage-collected memory runtime for C whose memory comes back. A program uses it\n"
    "through #include <ebb/ebb.h> and -lebb.\n";

static bool main_is(const char *argument, const char *letter, const char *word) {
    return strcmp(argument, letter) == 0 || strcmp(argument, word) == 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fputs(main_help, stderr);
        return 2;
    }
    if (main_is(argv[1], "-h", "--help") || strcmp(argv[1], "help") == 0) {
        fputs(main_help, stdout);
        return 0;
    }
    if (main_is(argv[1], "-V", "--version")) {
        printf("ebb %d.%d.%d\n", EBB_VERSION_MAJOR, EBB_VERSION_MINOR, EBB_VERSION_PATCH);
        return 0;
    }
    if (strcmp(argv[1], "tour") == 0) return tour_main(argc - 1, argv + 1);
    fprintf(stderr, "ebb: there is no command \"%s\"; ebb --help lists them\n", argv[1]);
    return 2;
}
