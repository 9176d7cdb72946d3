/* command.c - what commands have in common. See command.h. */
#include "command.h"

#include <stdarg.h>
#include <stdio.h>

int command_wrong(const char *name, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "ebb %s: ", name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "; see ebb %s --help\n", name);
    va_end(args);
    return 2;
}
