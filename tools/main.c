/* main.c - the `ebb` command: the table of its subcommands, their help. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <ebb/ebb.h>

#include "command.h"

static const command *const main_commands[] = {
#define MAIN_COMMAND(name) &command_##name,
    COMMANDS(MAIN_COMMAND)
#undef MAIN_COMMAND
};
enum { MAIN_COMMANDS = sizeof main_commands / sizeof *main_commands };

static void main_help(FILE *out) {
    fputs("Example:\n"
          "  ebb tour              four stories of memory that comes back, run on this machine\n"
          "\n"
          "usage: ebb COMMAND [argument ...]\n"
          "\n",
          out);
    for (int i = 0; i < MAIN_COMMANDS; i++)
        fprintf(out, "  %-21s %s\n", main_commands[i]->name, main_commands[i]->says);
    fputs(
        "\n"
        "  -h, --help            this text; ebb COMMAND --help: that command's\n"
        "  -V, --version         the version\n"
        "\n"
        "Ebb is a garbage-collected memory runtime for C whose memory comes back. A program uses\n"
        "it through #include <ebb/ebb.h> and -lebb.\n",
        out);
}

static bool main_is(const char *argument, const char *letter, const char *word) {
    return strcmp(argument, letter) == 0 || strcmp(argument, word) == 0;
}

int command_wrong(const char *name, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "ebb %s: ", name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; see ebb %s --help\n", name);
    va_end(args);
    return 2;
}

static int command_run(const command *c, int argc, char **argv) {
    for (int i = 1; c->help && i < argc; i++) {
        if (!main_is(argv[i], "-h", "--help")) continue;
        fputs(c->help, stdout);
        return 0;
    }
    return c->main(argc, argv);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        main_help(stderr);
        return 2;
    }
    if (main_is(argv[1], "-h", "--help") || strcmp(argv[1], "help") == 0) {
        main_help(stdout);
        return 0;
    }
    if (main_is(argv[1], "-V", "--version")) {
        printf("ebb %d.%d.%d\n", EBB_VERSION_MAJOR, EBB_VERSION_MINOR, EBB_VERSION_PATCH);
        return 0;
    }
    for (int i = 0; i < MAIN_COMMANDS; i++)
        if (strcmp(argv[1], main_commands[i]->name) == 0)
            return command_run(main_commands[i], argc - 1, argv + 1);
    fprintf(stderr, "ebb: there is no command \"%s\"; ebb --help lists them\n", argv[1]);
    return 2;
}
