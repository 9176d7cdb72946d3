/* colour.c - see colour.h. */
#define _GNU_SOURCE 1
#include "colour.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool colour_wanted(FILE *out) {
    const char *off = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (off && *off) return false;
    return terminal && *terminal && strcmp(terminal, "dumb") != 0 && isatty(fileno(out));
}

const char *colour_on(FILE *out, enum colour colour) {
    static const char *const codes[] = {[COLOUR_PLAIN] = "\033[0m",
                                        [COLOUR_HEAD] = "\033[1m",
                                        [COLOUR_DIM] = "\033[2m",
                                        [COLOUR_GOOD] = "\033[32m",
                                        [COLOUR_BAD] = "\033[31m"};
    return colour_wanted(out) ? codes[colour] : "";
}

/* A row of numbers begins with one; headings above it begin as far right, with a word. */
static enum colour page_line(const char *line, bool first, bool after_blank) {
    const char *at = line + strspn(line, " ");
    if (first) return COLOUR_HEAD;
    if (strncmp(line, "Verdict: ", 9) == 0)
        return strncmp(line + 9, "keeps up", 8) == 0 ? COLOUR_GOOD : COLOUR_BAD;
    if (at == line) return COLOUR_PLAIN;
    if (at[0] == '0' && at[1] == ' ') return COLOUR_DIM;
    return after_blank && isalpha((unsigned char)*at) ? COLOUR_HEAD : COLOUR_PLAIN;
}

void colour_page(FILE *in, FILE *out) {
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    bool first = true, after_blank = false, wanted = colour_wanted(out);
    while ((length = getline(&line, &room, in)) > 0) {
        enum colour colour = wanted ? page_line(line, first, after_blank) : COLOUR_PLAIN;
        bool ends = line[length - 1] == '\n';
        if (colour != COLOUR_PLAIN) {
            fprintf(out, "%s%.*s%s%s", colour_on(out, colour), (int)(length - ends), line,
                    colour_on(out, COLOUR_PLAIN), ends ? "\n" : "");
        } else {
            fwrite(line, 1, (size_t)length, out);
        }
        first = false;
        after_blank = length == 1;
    }
    free(line);
}
