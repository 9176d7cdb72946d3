/* cmd_rss.c - `ebb rss`: every resident byte of a running program in a class. */
#include <string.h>

#include "client.h"
#include "command.h"

static const char rss_help[] =
    "Example:\n"
    "  ebb rss 4711                   why process 4711 is as large as top says\n"
    "  ebb rss --outside 4711         with each mapped file, malloc and stacks by name\n"
    "  ebb rss --conservative 4711    with what only words on stacks and the like hold\n"
    "\n"
    "usage: ebb rss [--outside] [--conservative] [--json] PID|SOCKET|HOST:PORT\n"
    "\n"
    "Ebb's figures and the system's are taken in one stop of the program, and every resident byte\n"
    "is in one class; what the two do not agree about stands as `unexplained`. Each class says "
    "what\n"
    "makes it smaller. --conservative finds the class `held` in a copy of the program, as ebb why\n"
    "does, which takes seconds for a large heap. The program serves when it was started with "
    "EBB_DEBUG=serve, or calls\n"
    "ebb_debug_serve.\n";

/* client_show knows --json; the others are taken out before. */
static int rss_main(int argc, char **argv) {
    static const char *const targets[] = {"/debug/ebb/memory", "/debug/ebb/memory?outside=1",
                                          "/debug/ebb/memory?conservative=1",
                                          "/debug/ebb/memory?outside=1&conservative=1"};
    int kept = 1, outside = 0, conservative = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--outside") == 0)
            outside = 1;
        else if (strcmp(argv[i], "--conservative") == 0)
            conservative = 1;
        else
            argv[kept++] = argv[i];
    }
    return client_show(kept, argv, targets[outside + 2 * conservative]);
}

const command command_rss = {"rss", "why RSS is what it is: every resident byte in a class",
                             rss_help, rss_main};
