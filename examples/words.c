/* words.c - counts the words of a file (or of its own source) and prints the most frequent:
 * strings as keys, a slice that is sorted. */
#include <ebb/ebb.h>
#include <ctype.h>
#include <stdio.h>

typedef struct word {
    ebb_str text;
    size_t count;
} word;
EBB_TYPE(word, str(text));
EBB_MAP(counts, ebb_str, size_t);
EBB_SLICE(words, word);

static int by_count(const word *a, const word *b) {
    return (a->count < b->count) - (a->count > b->count);
}

static void words_count(counts *seen, FILE *file) {
    char text[64];
    size_t length = 0;
    for (int c; (c = getc(file)) != EOF;) {
        if (isalpha(c) && length < sizeof text) {
            text[length++] = (char)tolower(c);
        } else if (length > 0) {
            ebb_str key = {text, length};
            size_t *count = ebb_map_get(seen, key);
            if (count)
                ++*count;
            else
                ebb_map_put(seen, ebb_str_copy(key), 1);
            length = 0;
        }
    }
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : __FILE__;
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        return 1;
    }
    counts seen = {0};
    words_count(&seen, file);
    fclose(file);

    words all = {0};
    ebb_map_each (&seen, text, count) ebb_append(&all, ((word){text, count}));
    ebb_sort_by(all, by_count);
    if (all.len > 5) ebb_truncate(&all, 5);
    ebb_slice_each (all, w) printf("%6zu %.*s\n", w->count, (int)w->text.len, w->text.ptr);
    return 0;
}
