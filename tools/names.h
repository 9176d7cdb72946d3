/* names.h - what is at an address: functions, inlined ones too, files and lines; static variables.
 *
 * From the debug information of the files that a process has mapped, or a profile says it had; from
 * symbol tables where there is none. It takes memory by the size of that information, so it is done
 * here and never in the program that is looked at. See docs/design.md, "Names". */
#ifndef EBB_TOOLS_NAMES_H
#define EBB_TOOLS_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { NAMES_FRAMES = 64 };

struct names;

/* Strings are never null and stay until names_end; file is "" and lines are 0 where nobody knows.
 */
struct names_frame {
    const char *function; /* as in the source */
    const char *symbol;   /* as linked: the same in C */
    const char *file;
    int64_t line;
    int64_t function_line; /* where the function begins */
};

/* Null: this program was built without libdw. Whoever calls goes on without names. */
struct names *names_begin(void);
void names_end(struct names *n);

/* Where code and variables lie: the files that a process has mapped; or what the caller knows of
 * one. Later ones count where they overlap. build_id in hex, or null: a file that has another is
 * left out. */
bool names_add_process(struct names *n, int pid);
void names_add_mapping(struct names *n, uint64_t start, uint64_t limit, uint64_t offset,
                       const char *file, const char *build_id);

/* What stands at an address within a call (the return address minus one), what was inlined first;
 * the number of frames, at most room; 0 when nothing is known. At the address of a static variable
 * it is one frame, "variable" or "variable+16", as far as symbol tables go. */
size_t names_find(struct names *n, uint64_t address, struct names_frame *frames, size_t room);

/* The first of these frames that is the reader's: what Ebb's headers inline into a program counts
 * as the line that calls it. */
size_t names_first(const struct names_frame *frames, size_t count);

/* The file that is mapped there, and the address in it as its own tools count; null: none. */
const char *names_file(struct names *n, uint64_t address, uint64_t *within);

/* "inlined file.c:12 <- function file.c:40", "libc.so.6+0x12ab" or "0x7f…", without quotes,
 * backslashes and control characters, so that it fits into JSON as it is. From names_first on. */
void names_print(struct names *n, uint64_t address, FILE *out);

/* Copies text and replaces each @0x… by what names_print says of that address in the process. Where
 * names are not to be had, the text goes through as it is. */
void names_filter(FILE *in, FILE *out, int pid);

#endif
