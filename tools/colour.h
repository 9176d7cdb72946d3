/* colour.h - colour in text for people: where there is a terminal that has it, and NO_COLOR does
 * not say otherwise. */
#ifndef EBB_TOOLS_COLOUR_H
#define EBB_TOOLS_COLOUR_H

#include <stdbool.h>
#include <stdio.h>

enum colour { COLOUR_PLAIN, COLOUR_HEAD, COLOUR_DIM, COLOUR_GOOD, COLOUR_BAD };

bool colour_wanted(FILE *out);

/* What begins the colour on this file, "" where there is none; COLOUR_PLAIN ends every other. */
const char *colour_on(FILE *out, enum colour colour);

/* Copies a page of text, in colour where out has it: its head, its headings, its verdict, and rows
 * of which nothing is there. The text is the same. */
void colour_page(FILE *in, FILE *out);

#endif
