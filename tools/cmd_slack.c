/* cmd_slack.c - `ebb slack`: why memory did not come down when elements went. */
#include "client.h"
#include "command.h"

static const char slack_help[] =
    "Example:\n"
    "  ebb slack 4711                 it was deleted: why is it still there?\n"
    "\n"
    "usage: ebb slack [--json] PID|SOCKET|HOST:PORT\n"
    "\n"
    "Lists what slices' arrays hold beyond every length and what maps hold in empty slots, "
    "largest\n"
    "first, each with the call that mends it. The program serves when it was started with\n"
    "EBB_DEBUG=serve, or calls ebb_debug_serve.\n";

static int slack_main(int argc, char **argv) {
    return client_show(argc, argv, "/debug/ebb/slack");
}

const command command_slack = {"slack", "what slices and maps hold and do not use", slack_help,
                               slack_main};
