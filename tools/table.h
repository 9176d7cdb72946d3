/* table.h - tables of text for a terminal, and how sizes and rates are written in them. */
#ifndef EBB_TOOLS_TABLE_H
#define EBB_TOOLS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TABLE_COLUMNS = 12, TABLE_ROWS = 48, TABLE_TEXT = 56 };

/* The first column is flush left, and so are those whose header begins with '<'; the others are
 * flush right. A header may have two lines, with '\n' between. */
struct table {
    size_t columns, rows;
    bool left[TABLE_COLUMNS];
    char header[TABLE_COLUMNS][2][TABLE_TEXT];
    char cells[TABLE_ROWS][TABLE_COLUMNS][TABLE_TEXT];
};

/* Headers or cells follow, as many as there are columns; a null pointer is an empty cell. */
void table_begin(struct table *table, size_t columns, ...);
void table_row(struct table *table, ...);
void table_print(const struct table *table, FILE *file);

/* Text in one of a few static buffers: good until some thirty more calls. 1 MB is 1048576 bytes
 * here and everywhere in the tour, as in the reports that the stories come from. */
const char *text_mb(uint64_t bytes);      /* "461 MB", "2.6 MB" */
const char *text_mb_bare(uint64_t bytes); /* "461", "2.6" */
const char *text_bytes(double bytes);     /* "17 B", "4.0 KiB", "-2.6 MiB", "1.2 GiB" */
const char *text_count(uint64_t number);  /* "1,000,000" */
const char *text_number(double number);   /* "230", "4.2" */
const char *text_percent(double part);    /* "12 %" of 1.0 */
const char *text_time(uint64_t ns);       /* "1.20 s", "13 ms", "56 us" */

#endif
