/* manual.c - see manual.h. */
#define _GNU_SOURCE 1
#include "manual.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <ebb/ebb.h>

/* A line without its end. */
struct line {
    const char *at;
    size_t size;
};

static struct line line_of(const char *at) {
    return (struct line){at, strcspn(at, "\n")};
}

/* The next one; null after the last. */
static const char *line_after(struct line line) {
    return line.at[line.size] ? line.at + line.size + 1 : NULL;
}

static size_t line_indent(struct line line) {
    size_t blanks = 0;
    while (blanks < line.size && line.at[blanks] == ' ') blanks++;
    return blanks;
}

static struct line line_cut(struct line line, size_t from) {
    return (struct line){line.at + from, line.size - from};
}

/* What means something to the formatter is escaped; minus signs where they are typed. */
static void manual_text(FILE *out, struct line line) {
    if (line.size > 0 && (line.at[0] == '.' || line.at[0] == '\'')) fputs("\\&", out);
    for (size_t i = 0; i < line.size; i++) {
        bool inner =
            i > 0 && isalnum(line.at[i - 1]) && i + 1 < line.size && isalpha(line.at[i + 1]);
        if (line.at[i] == '\\')
            fputs("\\e", out);
        else if (line.at[i] == '-' && !inner)
            fputs("\\-", out);
        else
            putc(line.at[i], out);
    }
}

static void manual_line(FILE *out, struct line line) {
    manual_text(out, line);
    putc('\n', out);
}

/* --- Blocks --------------------------------------------------------------------------------- */

enum block { BLOCK_EXAMPLE, BLOCK_USAGE, BLOCK_LIST, BLOCK_TEXT };

static enum block block_kind(const char *block) {
    if (strncmp(block, "Example", 7) == 0) return BLOCK_EXAMPLE;
    if (strncmp(block, "usage:", 6) == 0) return BLOCK_USAGE;
    return strncmp(block, "  ", 2) == 0 ? BLOCK_LIST : BLOCK_TEXT;
}

/* As it stands, less the first so many blanks of each line. */
static void block_verbatim(FILE *out, const char *at, size_t blanks) {
    fputs(".nf\n", out);
    for (; at && *at && *at != '\n'; at = line_after(line_of(at))) {
        struct line line = line_of(at);
        size_t indent = line_indent(line);
        manual_line(out, line_cut(line, indent < blanks ? indent : blanks));
    }
    fputs(".fi\n", out);
}

/* "  TERM   what it means", which goes on in lines that begin further right. */
static void block_list(FILE *out, const char *at) {
    for (; at && *at && *at != '\n'; at = line_after(line_of(at))) {
        struct line line = line_of(at), rest = line_cut(line, line_indent(line));
        if (line_indent(line) > 2) {
            manual_line(out, rest);
            continue;
        }
        const char *gap = memmem(rest.at, rest.size, "  ", 2);
        struct line term = {rest.at, gap ? (size_t)(gap - rest.at) : rest.size};
        fputs(".TP\n\\fB", out);
        manual_text(out, term);
        fputs("\\fR\n", out);
        rest = line_cut(rest, term.size);
        rest = line_cut(rest, line_indent(rest));
        if (rest.size > 0) manual_line(out, rest);
    }
}

static void block_text(FILE *out, const char *at, bool first) {
    if (!first) fputs(".PP\n", out);
    for (; at && *at && *at != '\n'; at = line_after(line_of(at))) manual_line(out, line_of(at));
}

/* The block after this one; null after the last. */
static const char *block_after(const char *at) {
    at = strstr(at, "\n\n");
    return at && at[2] ? at + 2 : NULL;
}

static void manual_blocks(FILE *out, const char *help, enum block from, enum block to) {
    bool first = true;
    for (const char *at = help; at; at = block_after(at)) {
        enum block kind = block_kind(at);
        if (kind < from || kind > to) continue;
        if (kind == BLOCK_EXAMPLE)
            block_verbatim(out, line_after(line_of(at)), 2);
        else if (kind == BLOCK_USAGE)
            block_verbatim(out, at + strlen("usage: "), strlen("usage: "));
        else if (kind == BLOCK_LIST)
            block_list(out, at);
        else
            block_text(out, at, first);
        first = false;
    }
}

/* --- Pages ---------------------------------------------------------------------------------- */

/* The day of the build, or the one that a reproducible build says. */
static void manual_day(char *day, size_t size) {
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    time_t now = epoch ? (time_t)strtoll(epoch, NULL, 10) : time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || strftime(day, size, "%Y-%m-%d", &parts) == 0) *day = 0;
}

void manual_print(FILE *out, const char *name, const char *says, const char *help) {
    char day[32], title[64];
    size_t length = 0;
    for (; name[length] && length + 1 < sizeof title; length++)
        title[length] = (char)toupper(name[length]);
    title[length] = 0;
    manual_day(day, sizeof day);
    fprintf(out, ".TH %s 1 \"%s\" \"Ebb %d.%d.%d\" \"Ebb\"\n.SH NAME\n%s \\- ", title, day,
            EBB_VERSION_MAJOR, EBB_VERSION_MINOR, EBB_VERSION_PATCH, name);
    manual_line(out, line_of(says));
    fputs(".SH SYNOPSIS\n", out);
    manual_blocks(out, help, BLOCK_USAGE, BLOCK_USAGE);
    fputs(".SH DESCRIPTION\n", out);
    manual_blocks(out, help, BLOCK_LIST, BLOCK_TEXT);
    fputs(".SH EXAMPLES\n", out);
    manual_blocks(out, help, BLOCK_EXAMPLE, BLOCK_EXAMPLE);
}

static void manual_see_also(FILE *out, const char *own, const command *const *commands,
                            size_t count) {
    fprintf(out, ".SH SEE ALSO\n%s", *own ? ".BR ebb (1)" : "");
    bool first = !*own;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(commands[i]->name, own) == 0) continue;
        fprintf(out, "%s.BR ebb-%s (1)", first ? "" : ",\n", commands[i]->name);
        first = false;
    }
    putc('\n', out);
}

/* own: the command's name, "" for ebb's own page. */
static bool manual_file(const char *dir, const char *own, const char *says, const char *help,
                        const command *const *commands, size_t count) {
    char name[128], path[512];
    snprintf(name, sizeof name, "ebb%s%s", *own ? "-" : "", own);
    snprintf(path, sizeof path, "%s/%s.1", dir, name);
    FILE *out = fopen(path, "we");
    if (out) {
        manual_print(out, name, says, help);
        manual_see_also(out, own, commands, count);
    }
    bool good = out && !ferror(out);
    if (out) good = fclose(out) == 0 && good;
    if (!good) fprintf(stderr, "ebb: %s: %m\n", path);
    return good;
}

int manual_write(const char *dir, const command *const *commands, size_t count, const char *help) {
    bool good =
        manual_file(dir, "", "memory of programs that use Ebb, looked at", help, commands, count);
    for (size_t i = 0; good && i < count; i++) {
        const command *c = commands[i];
        good = manual_file(dir, c->name, c->says, c->help ? c->help : "", commands, count);
    }
    return good ? 0 : 1;
}
