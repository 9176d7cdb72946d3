/* command.h - the commands of `ebb`, each in a file of its own; main.c has the table. */
#ifndef EBB_TOOLS_COMMAND_H
#define EBB_TOOLS_COMMAND_H

typedef struct command {
    const char *name;
    const char *says; /* half a line for ebb --help */
    /* What `ebb NAME --help` prints, an example first; null: main sees to --help itself. */
    const char *help;
    /* argv[0] is the command's name. Returns the exit status: 2 for wrong arguments. */
    int (*main)(int argc, char **argv);
} command;

/* The variables are command_NAME, in the order of the help. */
#define COMMANDS(X) \
 X(tour)            \
 X(top)             \
 X(rss)             \
 X(slack)           \
 X(trim)            \
 X(gc)              \
 X(get)             \
 X(profile)         \
 X(diff)            \
 X(why)             \
 X(dump)            \
 X(dom)             \
 X(symbolize)

#define COMMAND_DECLARE(name) extern const command command_##name;
COMMANDS(COMMAND_DECLARE)
#undef COMMAND_DECLARE

/* "ebb NAME: there is …; ebb NAME --help" on standard error. Returns 2. */
__attribute__((format(printf, 2, 3))) int command_wrong(const char *name, const char *format, ...);

#endif
