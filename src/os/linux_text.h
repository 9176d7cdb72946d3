/* linux_text.h - the texts in /proc, for the other files of this directory. Also in a stop: no
 * malloc, no stdio. */
#ifndef EBB_OS_LINUX_TEXT_H
#define EBB_OS_LINUX_TEXT_H

#include "../base/base.h"

/* A small text, cut at size - 1 bytes; "" when it is not there. Returns text. */
EBB__SHARED const char *ebb__linux_text(const char *path, char *text, size_t size);

/* Calls visit for each line, without its end, until it says false. False then, and when the file
 * cannot be read to its end. Lines have at most 8 KiB. */
EBB__SHARED bool ebb__linux_lines(const char *path, bool (*visit)(char *line, void *arg),
                                  void *arg);

#endif
