/* main.c - the `ebb` command: the table of its subcommands, their help. */
#define _GNU_SOURCE 1
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ebb/ebb.h>

#include "command.h"
#include "manual.h"

static const command *const main_commands[] = {
#define MAIN_COMMAND(name) &command_##name,
    COMMANDS(MAIN_COMMAND)
#undef MAIN_COMMAND
};
enum { MAIN_COMMANDS = sizeof main_commands / sizeof *main_commands };

/* The text of ebb --help; the caller frees. */
static char *main_help_text(void) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return NULL;
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
    fclose(out);
    return text;
}

static int main_help(FILE *out) {
    char *text = main_help_text();
    if (text) fputs(text, out);
    free(text);
    return out == stderr ? 2 : 0;
}

static bool main_is(const char *argument, const char *letter, const char *word) {
    return strcmp(argument, letter) == 0 || strcmp(argument, word) == 0;
}

static int command_run(const command *c, int argc, char **argv) {
    for (int i = 1; c->help && i < argc; i++) {
        if (!main_is(argv[i], "-h", "--help")) continue;
        fputs(c->help, stdout);
        return 0;
    }
    return c->main(argc, argv);
}

/* Null: there is none of that name. */
static const command *main_command(const char *name) {
    for (int i = 0; i < MAIN_COMMANDS; i++)
        if (strcmp(name, main_commands[i]->name) == 0) return main_commands[i];
    return NULL;
}

/* `ebb help`, `ebb help COMMAND`, and for the build `ebb help --man DIRECTORY`. */
static int main_help_command(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[2], "--man") == 0) {
        char *help = main_help_text();
        int result = help ? manual_write(argv[3], main_commands, MAIN_COMMANDS, help) : 1;
        free(help);
        return result;
    }
    const command *c = argc == 3 ? main_command(argv[2]) : NULL;
    if (c && c->help) fputs(c->help, stdout);
    return c ? 0 : main_help(argc == 2 ? stdout : stderr);
}

int main(int argc, char **argv) {
    if (argc < 2) return main_help(stderr);
    if (main_is(argv[1], "-h", "--help")) return main_help(stdout);
    if (strcmp(argv[1], "help") == 0) return main_help_command(argc, argv);
    if (main_is(argv[1], "-V", "--version")) {
        printf("ebb %d.%d.%d\n", EBB_VERSION_MAJOR, EBB_VERSION_MINOR, EBB_VERSION_PATCH);
        return 0;
    }
    const command *c = main_command(argv[1]);
    if (c) return command_run(c, argc - 1, argv + 1);
    fprintf(stderr, "ebb: there is no command \"%s\"; ebb --help lists them\n", argv[1]);
    return 2;
}
