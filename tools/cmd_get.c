/* cmd_get.c - `ebb get`: any page of a running program, as it comes. */
#include <stdio.h>

#include "client.h"
#include "command.h"

static const char get_help[] =
    "Example:\n"
    "  ebb get 4711 /debug/ebb/       lists the pages of process 4711\n"
    "\n"
    "usage: ebb get PID|SOCKET|HOST:PORT [TARGET]\n"
    "\n"
    "Writes the page to standard output as it comes. The program serves when it was started with\n"
    "EBB_DEBUG=serve, or calls ebb_debug_serve.\n";

static int get_main(int argc, char **argv) {
    if (argc < 2 || argc > 3) return command_wrong("get", "takes a process and a page");
    return client_get(argv[1], argc == 3 ? argv[2] : "/debug/ebb/", stdout);
}

const command command_get = {"get", "a page of a running program, as it comes", get_help, get_main};
