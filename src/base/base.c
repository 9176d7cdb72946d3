/* base.c - error texts and messages. */
#include "base.h"

#include <unistd.h>

bool ebb__misuse_aborts = EBB_ASSERTIONS;

const char *ebb_error_text(int code) {
    switch (code) {
#define EBB__ERROR_TEXT(name, number, text) \
 case number:                               \
  return text;
        EBB_ERRORS(EBB__ERROR_TEXT)
#undef EBB__ERROR_TEXT
    default:
        return "unknown error";
    }
}

const char *ebb_error_name(int code) {
    switch (code) {
#define EBB__ERROR_NAME(name, number, text) \
 case number:                               \
  return #name;
        EBB_ERRORS(EBB__ERROR_NAME)
#undef EBB__ERROR_NAME
    default:
        return "EBB_UNKNOWN";
    }
}

/* "ebb: CALL: " (nothing for an empty call) and the formatted message, cut at the buffer's end. */
__attribute__((format(printf, 2, 0))) static void message_write(const char *call,
                                                                const char *format, va_list args) {
    char line[512];
    int head = *call ? snprintf(line, sizeof line, "ebb: %s: ", call) : 0;
    size_t used = min_size((size_t)head, sizeof line - 2);
    int body = vsnprintf(line + used, sizeof line - 1 - used, format, args);
    used = min_size(used + (size_t)(body < 0 ? 0 : body), sizeof line - 2);
    line[used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, used);
    (void)written;
}

void ebb__print(const char *format, ...) {
    va_list args;
    va_start(args, format);
    message_write("", format, args);
    va_end(args);
}

void ebb__warn(const char *format, ...) {
    va_list args;
    char line[400];
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    ebb__print("ebb: %s", line);
}

void ebb__fail(const char *call, const char *format, ...) {
    va_list args;
    va_start(args, format);
    message_write(call, format, args);
    va_end(args);
    abort();
}

int ebb__misuse(int code, const char *call, const char *format, ...) {
    if (!ebb__misuse_aborts) return code;
    va_list args;
    va_start(args, format);
    message_write(call, format, args);
    va_end(args);
    abort();
}
