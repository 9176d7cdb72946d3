/* json.c - see json.h. */
#include "json.h"

/* How many bytes the code point has that begins here; 0: none does. */
static int json_length(const unsigned char *at) {
    int length = *at < 0x80                  ? 1
                 : *at >= 0xc2 && *at < 0xe0 ? 2
                 : *at < 0xc2                ? 0
                 : *at < 0xf0                ? 3
                                             : 4;
    if (*at >= 0xf5) return 0;
    for (int i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    return length;
}

void json_string(FILE *out, const char *text) {
    const unsigned char *at = (const unsigned char *)text;
    putc('"', out);
    while (*at) {
        int length = json_length(at);
        if (length == 0)
            fputs("\\ufffd", out);
        else if (*at < 0x20 || *at == '"' || *at == '\\')
            fprintf(out, "\\u%04x", *at);
        else
            fwrite(at, 1, (size_t)length, out);
        at += length ? length : 1;
    }
    putc('"', out);
}
