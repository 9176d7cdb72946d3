/* table.c - see table.h. Cells are ASCII or UTF-8 of one column a code point. */
#define _GNU_SOURCE 1
#include "table.h"

#include <stdarg.h>
#include <string.h>

static void table_put(char *cell, const char *text, size_t length) {
    if (length > TABLE_TEXT - 1) length = TABLE_TEXT - 1;
    memcpy(cell, text, length);
    cell[length] = 0;
}

void table_begin(struct table *table, size_t columns, ...) {
    table->columns = columns;
    table->rows = 0;
    va_list texts;
    va_start(texts, columns);
    for (size_t i = 0; i < columns; i++) {
        const char *text = va_arg(texts, const char *);
        table->left[i] = i == 0 || *text == '<';
        if (*text == '<') text++;
        size_t first = strcspn(text, "\n");
        table_put(table->header[i][0], text, first);
        text += first + (text[first] != 0);
        table_put(table->header[i][1], text, strlen(text));
    }
    va_end(texts);
}

void table_row(struct table *table, ...) {
    if (table->rows == TABLE_ROWS) return;
    va_list texts;
    va_start(texts, table);
    for (size_t i = 0; i < table->columns; i++) {
        const char *text = va_arg(texts, const char *);
        if (!text) text = "";
        table_put(table->cells[table->rows][i], text, strlen(text));
    }
    va_end(texts);
    table->rows++;
}

/* Columns on a terminal: the bytes that do not continue a code point. */
static size_t table_width(const char *text) {
    size_t width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static void table_widen(size_t *width, const char *text) {
    size_t own = table_width(text);
    if (own > *width) *width = own;
}

static void table_pad(FILE *file, size_t spaces) {
    while (spaces-- > 0) fputc(' ', file);
}

static void table_cell(FILE *file, bool left, const char *text, size_t width) {
    size_t spaces = width - table_width(text);
    table_pad(file, 2);
    if (!left) table_pad(file, spaces);
    fputs(text, file);
    if (left) table_pad(file, spaces);
}

void table_print(const struct table *table, FILE *file) {
    size_t width[TABLE_COLUMNS] = {0}, total = 0;
    for (size_t c = 0; c < table->columns; c++) {
        table_widen(&width[c], table->header[c][0]);
        table_widen(&width[c], table->header[c][1]);
        for (size_t r = 0; r < table->rows; r++) table_widen(&width[c], table->cells[r][c]);
        total += width[c] + (c > 0 ? 2 : 0);
    }
    for (size_t line = 0; line < 2; line++) {
        for (size_t c = 0; c < table->columns; c++) {
            table_cell(file, table->left[c], table->header[c][line], width[c]);
        }
        fputc('\n', file);
    }
    table_pad(file, 2);
    for (size_t i = 0; i < total; i++) fputc('-', file);
    fputc('\n', file);
    for (size_t r = 0; r < table->rows; r++) {
        for (size_t c = 0; c < table->columns; c++) {
            table_cell(file, table->left[c], table->cells[r][c], width[c]);
        }
        fputc('\n', file);
    }
}

/* --- Numbers -------------------------------------------------------------------------------- */

static char *text_buffer(void) {
    static char buffers[32][32];
    static unsigned next;
    return buffers[next++ % 32];
}

static const char *text_mb_unit(uint64_t bytes, const char *unit) {
    char *text = text_buffer();
    double mb = (double)bytes / (1 << 20);
    snprintf(text, 32, "%.*f%s", mb < 99.95 ? 1 : 0, mb, unit);
    return text;
}

const char *text_mb(uint64_t bytes) {
    return text_mb_unit(bytes, " MB");
}

const char *text_mb_bare(uint64_t bytes) {
    return text_mb_unit(bytes, "");
}

const char *text_bytes(double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    char *text = text_buffer();
    double size = bytes < 0 ? -bytes : bytes;
    size_t unit = 0;
    for (; size >= 1023.95 && unit < 4; unit++) size /= 1024;
    snprintf(text, 32, "%s%.*f %s", bytes < 0 ? "-" : "", unit > 0 && size < 99.95 ? 1 : 0, size,
             units[unit]);
    return text;
}

const char *text_count(uint64_t number) {
    char plain[24], *text = text_buffer(), *to = text;
    int length = snprintf(plain, sizeof plain, "%llu", (unsigned long long)number);
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) *to++ = ',';
        *to++ = plain[i];
    }
    *to = 0;
    return text;
}

const char *text_number(double number) {
    char *text = text_buffer();
    snprintf(text, 32, number < 9.95 ? "%.1f" : "%.0f", number);
    return text;
}

const char *text_percent(double part) {
    char *text = text_buffer();
    snprintf(text, 32, part < 0.0995 ? "%.1f %%" : "%.0f %%", part * 100);
    return text;
}

const char *text_time(uint64_t ns) {
    char *text = text_buffer();
    double us = (double)ns / 1e3;
    if (us < 999.5) {
        snprintf(text, 32, "%.0f us", us);
    } else if (us < 999.5e3) {
        snprintf(text, 32, us < 9950 ? "%.1f ms" : "%.0f ms", us / 1e3);
    } else {
        snprintf(text, 32, "%.2f s", us / 1e6);
    }
    return text;
}
