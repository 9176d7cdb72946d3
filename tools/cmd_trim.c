/* cmd_trim.c - `ebb trim`: gives a running program's free pages back, or says when that will be. */
#include <string.h>

#include "client.h"
#include "command.h"

static const char trim_help[] =
    "Example:\n"
    "  ebb trim --dry-run 4711        when does the system get free pages of process 4711 back?\n"
    "  ebb trim 4711                  now: collects and gives every free page back\n"
    "\n"
    "usage: ebb trim [--dry-run] [--json] PID|SOCKET|HOST:PORT\n"
    "\n"
    "Pages go back by themselves when they have been free for two seconds and the heap will not\n"
    "want them before its next cycle, and all of them when the program has been idle for a few\n"
    "seconds. --dry-run says how much is free for how long, what is kept and why. The program\n"
    "serves when it was started with EBB_DEBUG=serve, or calls ebb_debug_serve.\n";

/* client_show knows --json; --dry-run is taken out before. */
static int trim_main(int argc, char **argv) {
    bool dry = false;
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--dry-run") == 0)
            dry = true;
        else
            argv[kept++] = argv[i];
    }
    return dry ? client_show(kept, argv, "/debug/ebb/trim")
               : client_act(kept, argv, "/debug/ebb/trim?now=1");
}

const command command_trim = {"trim", "gives free pages back now; --dry-run: says when", trim_help,
                              trim_main};
