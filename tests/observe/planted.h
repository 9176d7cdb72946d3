/* planted.h - programs with a fault that a question finds: each makes it, says that it is ready,
 * and stays as it is until its standard input ends. See docs/testing.md, "Planted faults". */
#ifndef EBB_TESTS_PLANTED_H
#define EBB_TESTS_PLANTED_H

#include <ebb/ebb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Serves, and prints a line. */
__attribute__((unused)) static void planted_ready(void) {
    if (ebb_debug_serve(NULL) != 0) exit(1);
    puts("ready");
    fflush(stdout);
}

/* As long as somebody asks. */
__attribute__((unused)) static void planted_stay(void) {
    char c;
    planted_ready();
    while (read(STDIN_FILENO, &c, 1) > 0) {
    }
}

/* What a caller left on the stack would keep alive what it dropped. */
__attribute__((unused, noinline)) static void planted_forget(void) {
    volatile char room[65536];
    for (size_t i = 0; i < sizeof room; i++) room[i] = 0;
}

#endif
