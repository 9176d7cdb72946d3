/* json.h - strings in JSON. */
#ifndef EBB_TOOLS_JSON_H
#define EBB_TOOLS_JSON_H

#include <stdio.h>

/* The text in quotes; what is not UTF-8 in it becomes U+FFFD. */
void json_string(FILE *out, const char *text);

#endif
