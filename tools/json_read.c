/* json_read.c - see json_read.h. What is read was written by a program that nobody vouches for. */
#define _GNU_SOURCE 1
#include "json_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_DEPTH = 16, JSON_PATH = 512, JSON_TEXT = 1024 };

struct json {
    const char *at;
    int depth;
    size_t path_size;
    char path[JSON_PATH], text[JSON_TEXT];
    void (*fn)(void *arg, const char *path, const char *text);
    void *arg;
};

static bool json_value(struct json *j);

static void json_blanks(struct json *j) {
    j->at += strspn(j->at, " \t\r\n");
}

static bool json_take(struct json *j, char c) {
    json_blanks(j);
    if (*j->at != c) return false;
    j->at++;
    return true;
}

static void json_put(struct json *j, size_t *size, char c) {
    if (*size + 1 < sizeof j->text) j->text[(*size)++] = c;
}

/* After a backslash. Code points beyond ASCII become '?': nothing here is looked up by them. */
static bool json_escape(struct json *j, size_t *size) {
    static const char names[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    char c = *j->at;
    const char *known = c ? strchr(names, c) : NULL;
    if (known) {
        json_put(j, size, means[known - names]);
        j->at++;
        return true;
    }
    if (c != 'u' || strspn(j->at + 1, "0123456789abcdefABCDEF") < 4) return false;
    char digits[5] = {j->at[1], j->at[2], j->at[3], j->at[4], 0};
    long code = strtol(digits, NULL, 16);
    json_put(j, size, code > 0 && code < 128 ? (char)code : '?');
    j->at += 5;
    return true;
}

/* Into j->text. */
static bool json_text(struct json *j) {
    size_t size = 0;
    if (!json_take(j, '"')) return false;
    while (*j->at != '"') {
        if ((unsigned char)*j->at < ' ') return false;
        if (*j->at != '\\') {
            json_put(j, &size, *j->at++);
            continue;
        }
        j->at++;
        if (!json_escape(j, &size)) return false;
    }
    j->at++;
    j->text[size] = 0;
    return true;
}

/* How long the number is that begins at text; 0: none does. */
static size_t number_length(const char *text) {
    static const char digits[] = "0123456789";
    const char *at = text + (*text == '-');
    size_t whole = strspn(at, digits), part;
    if (whole == 0 || (whole > 1 && *at == '0')) return 0;
    at += whole;
    if (*at == '.') {
        if ((part = strspn(at + 1, digits)) == 0) return 0;
        at += 1 + part;
    }
    if (*at == 'e' || *at == 'E') {
        at += at[1] == '+' || at[1] == '-' ? 2 : 1;
        if ((part = strspn(at, digits)) == 0) return 0;
        at += part;
    }
    return (size_t)(at - text);
}

/* A number, true, false or null, and nothing that other languages would take for one. */
static bool json_word(struct json *j) {
    static const char *const words[] = {"true", "false", "null"};
    size_t length = number_length(j->at);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strncmp(j->at, words[i], strlen(words[i])) == 0) length = strlen(words[i]);
    if (length == 0 || length >= sizeof j->text) return false;
    memcpy(j->text, j->at, length);
    j->text[length] = 0;
    j->at += length;
    return true;
}

/* A member or an element: its value, with more in the path. */
static bool json_within(struct json *j, const char *more) {
    size_t was = j->path_size;
    int added =
        snprintf(j->path + was, sizeof j->path - was, "%s%s", was && *more != '[' ? "." : "", more);
    if (added < 0 || (size_t)added >= sizeof j->path - was) return false;
    j->path_size += (size_t)added;
    bool good = json_value(j);
    j->path_size = was;
    j->path[was] = 0;
    return good;
}

static bool json_member(struct json *j) {
    if (!json_text(j)) return false;
    char name[JSON_TEXT];
    strcpy(name, j->text);
    return json_take(j, ':') && json_within(j, name);
}

static bool json_many(struct json *j, char end) {
    if (json_take(j, end)) return true;
    do {
        if (!(end == '}' ? json_member(j) : json_within(j, "[]"))) return false;
    } while (json_take(j, ','));
    return json_take(j, end);
}

static bool json_value(struct json *j) {
    json_blanks(j);
    char c = *j->at;
    if (c == '{' || c == '[') {
        if (j->depth == JSON_DEPTH) return false;
        j->at++;
        j->depth++;
        bool good = json_many(j, c == '{' ? '}' : ']');
        j->depth--;
        return good;
    }
    if (!(c == '"' ? json_text(j) : json_word(j))) return false;
    j->fn(j->arg, j->path, j->text);
    return true;
}

bool json_walk(const char *json, void (*fn)(void *arg, const char *path, const char *text),
               void *arg) {
    struct json j = {.at = json, .fn = fn, .arg = arg};
    if (!json_value(&j)) return false;
    json_blanks(&j);
    return *j.at == 0;
}
