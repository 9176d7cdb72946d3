/* names_text.c - names of addresses within text. See names.h. */
#define _GNU_SOURCE 1
#include "names.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

enum { NAMES_DIGITS = 16 };

/* The last part of a path. */
static const char *text_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void text_put(const char *text, FILE *out) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        putc(c < 0x20 || c == 0x7f || c == '"' || c == '\\' ? '?' : c, out);
    }
}

size_t names_first(const struct names_frame *frames, size_t count) {
    size_t first = 0;
    while (first + 1 < count && strncmp(frames[first].function, "ebb_", 4) == 0) first++;
    return first;
}

void names_print(struct names *n, uint64_t address, FILE *out) {
    struct names_frame frames[NAMES_FRAMES];
    size_t count = names_find(n, address, frames, NAMES_FRAMES);
    size_t first = names_first(frames, count);
    for (size_t i = first; i < count; i++) {
        if (i > first) fputs(" <- ", out);
        text_put(frames[i].function, out);
        if (!*frames[i].file) continue;
        putc(' ', out);
        text_put(text_base(frames[i].file), out);
        fprintf(out, ":%" PRId64, frames[i].line);
    }
    if (count > 0) return;
    uint64_t within;
    const char *file = names_file(n, address, &within);
    if (file) {
        text_put(text_base(file), out);
        fprintf(out, "+0x%" PRIx64, within);
    } else {
        fprintf(out, "0x%" PRIx64, address);
    }
}

/* What follows an '@': an address, replaced, or anything else, copied. */
static void filter_at(struct names *n, FILE *in, FILE *out) {
    char token[NAMES_DIGITS + 4] = "@";
    size_t length = 1, digits = 0;
    uint64_t address = 0;
    int c;
    while ((c = getc(in)) != EOF && digits < NAMES_DIGITS) {
        if (length == 1 ? c != '0' : length == 2 ? c != 'x' : !isxdigit(c)) break;
        if (length++ > 2) {
            digits++;
            address = address << 4 | (uint64_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
        }
        token[length - 1] = (char)c;
    }
    if (c != EOF) ungetc(c, in);
    if (digits > 0)
        names_print(n, address, out);
    else
        fwrite(token, 1, length, out);
}

void names_filter(FILE *in, FILE *out, int pid) {
    struct names *n = names_begin();
    bool known = names_add_process(n, pid);
    for (int c; (c = getc(in)) != EOF;) {
        if (c == '@' && known)
            filter_at(n, in, out);
        else
            putc(c, out);
    }
    names_end(n);
}
