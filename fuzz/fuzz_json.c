/* fuzz_json.c - what anybody may reply to `ebb top`: JSON is walked or refused, and no value that
 * comes out of it is longer than json_read.h says. Text that tools/json.c
 * writes comes back as it was; cut off anywhere, it is refused.
 *
 * The input is the text itself, or says how one is put together that is right but for the bytes
 * that it asks to be changed: noise alone gets no further than the first bracket. */
#include <stdbool.h>
#include <string.h>

#include "../tools/json.h"
#include "../tools/json_read.h"
#include "input.h"

enum { TEXT_BYTES = 1 << 16, NAME_BYTES = 1536, PATH_BYTES = 512, VALUE_BYTES = 1024 };

/* --- Walking -------------------------------------------------------------------------------- */

struct walked {
    size_t values;
    char last[VALUE_BYTES], path[PATH_BYTES];
};

static void walked_value(void *arg, const char *path, const char *text) {
    struct walked *w = arg;
    REQUIRE(strlen(path) < PATH_BYTES && strlen(text) < VALUE_BYTES);
    strcpy(w->path, path);
    strcpy(w->last, text);
    w->values++;
}

static bool text_walk(const char *text, struct walked *w) {
    *w = (struct walked){.values = 0};
    return json_walk(text, walked_value, w);
}

/* --- Text that is right but for what was changed ---------------------------------------------- */

struct text {
    char bytes[TEXT_BYTES];
    size_t size;
};

static void text_put(struct text *t, const char *piece) {
    size_t n = strlen(piece);
    if (t->size + n >= sizeof t->bytes) return;
    memcpy(t->bytes + t->size, piece, n + 1);
    t->size += n;
}

static void text_value(struct text *t, struct input *in, unsigned depth);

static void text_string(struct text *t, struct input *in) {
    static const char *const pieces[] = {"a",    "name", "\\n",     "\\u001b",  "\\ud83d\\ude00",
                                         "\\\\", "\\\"", "\\u0000", "\xc3\xa4", "[]."};
    text_put(t, "\"");
    for (uint32_t n = input_take(in, 1) % 8; n > 0; n--)
        text_put(t, pieces[input_take(in, 1) % (sizeof pieces / sizeof *pieces)]);
    text_put(t, "\"");
}

static void text_many(struct text *t, struct input *in, unsigned depth, bool object) {
    text_put(t, object ? "{" : "[");
    for (uint32_t n = input_take(in, 1) % 5, i = 0; i < n; i++) {
        if (i) text_put(t, ", ");
        if (object) {
            text_string(t, in);
            text_put(t, " : ");
        }
        text_value(t, in, depth + 1);
    }
    text_put(t, object ? "}" : "]");
}

static void text_value(struct text *t, struct input *in, unsigned depth) {
    static const char *const words[] = {
        "0", "-1.5e+10", "12345678901234567890", "1E999", "true", "false", "null"};
    uint32_t kind = input_take(in, 1);
    if (kind % 4 < 2 && depth < 24)
        text_many(t, in, depth, kind % 4);
    else if (kind % 4 == 2)
        text_string(t, in);
    else
        text_put(t, words[(kind >> 2) % (sizeof words / sizeof *words)]);
}

static void text_step(struct input *in) {
    static struct text t;
    struct walked w;
    t.size = 0;
    text_value(&t, in, 0);
    for (uint32_t n = input_take(in, 1) % 4; n > 0; n--) {
        uint32_t at = input_take(in, 2), to = input_take(in, 1);
        if (at < t.size && to != 0) t.bytes[at] = (char)to;
    }
    text_walk(t.bytes, &w);
}

/* --- There and back -----------------------------------------------------------------------------
 */

/* What is not ASCII and was written by an escape comes back as '?'; the rest as it was, up to the
 * room. */
static void back_check(const char *was, const char *is) {
    size_t n = 0;
    for (; *was && n + 1 < VALUE_BYTES; n++) {
        bool same = is[n] == *was;
        REQUIRE(same || (is[n] == '?' && (unsigned char)*was >= 0x80));
        was++;
    }
    REQUIRE(is[n] == 0);
}

/* [TEXT] by json_string, whole and cut off. */
static void back_step(struct input *in) {
    static char name[NAME_BYTES];
    struct walked w;
    char *bytes = NULL;
    size_t size = 0, n = 0, cut = input_take(in, 2);
    while (in->at < in->end && n + 1 < sizeof name) {
        char c = (char)input_take(in, 1);
        if (c) name[n++] = c;
    }
    name[n] = 0;
    FILE *out = open_memstream(&bytes, &size);
    REQUIRE(out != NULL);
    putc('[', out);
    json_string(out, name);
    putc(']', out);
    REQUIRE(fclose(out) == 0);
    REQUIRE(text_walk(bytes, &w) && w.values == 1 && strcmp(w.path, "[]") == 0);
    back_check(name, w.last);
    bytes[cut % size] = 0;
    REQUIRE(!text_walk(bytes, &w));
    free(bytes);
}

static void raw_step(struct input *in) {
    static char text[TEXT_BYTES];
    struct walked w;
    size_t n = (size_t)(in->end - in->at);
    if (n >= sizeof text) n = sizeof text - 1;
    if (n) memcpy(text, in->at, n);
    text[n] = 0;
    text_walk(text, &w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, data + size};
    switch (input_take(&in, 1) % 3) {
    case 0:
        raw_step(&in);
        break;
    case 1:
        text_step(&in);
        break;
    default:
        back_step(&in);
    }
    return 0;
}
