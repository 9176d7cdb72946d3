/* linux_text.c - reads what the kernel writes as text. docs/design.md, "Layers". */
#include "linux_text.h"

#include <fcntl.h>
#include <unistd.h>

const char *ebb__linux_text(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

bool ebb__linux_lines(const char *path, bool (*visit)(char *line, void *arg), void *arg) {
    char buffer[8192];
    size_t kept = 0;
    ssize_t n = -1;
    bool more = true;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    while (more && (n = read(fd, buffer + kept, sizeof buffer - kept)) > 0) {
        size_t have = kept + (size_t)n;
        char *line = buffer, *end;
        while (more && (end = memchr(line, '\n', have - (size_t)(line - buffer))) != NULL) {
            *end = 0;
            more = visit(line, arg);
            line = end + 1;
        }
        kept = have - (size_t)(line - buffer);
        memmove(buffer, line, kept);
    }
    close(fd);
    return more && n == 0;
}
