/* cmd_get.c - `ebb get`: any page of a running program, as it comes. */
#define _GNU_SOURCE 1
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "command.h"

static const char get_help[] = "Example:\n"
                               "  ebb get 4711 /debug/ebb/       lists the pages of process 4711\n"
                               "\n"
                               "usage: ebb get [--json] PID|SOCKET|HOST:PORT [TARGET]\n"
                               "\n"
                               "Writes the page to standard output as it comes; --json asks for it "
                               "with format=json. The program serves when it was started with\n"
                               "EBB_DEBUG=serve, or calls ebb_debug_serve.\n";

static int get_main(int argc, char **argv) {
    const char *plain[2] = {NULL, "/debug/ebb/"};
    bool json = false;
    int count = 0, result = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (argv[i][0] == '-' || count == 2)
            return command_wrong("get", "\"%s\" is not understood", argv[i]);
        else
            plain[count++] = argv[i];
    }
    if (count == 0) return command_wrong("get", "takes a process and a page");
    if (!json) return client_get(plain[0], plain[1], stdout);
    char *target;
    if (asprintf(&target, "%s%sformat=json", plain[1], strchr(plain[1], '?') ? "&" : "?") < 0)
        return 1;
    result = client_get(plain[0], target, stdout);
    free(target);
    return result;
}

const command command_get = {"get", "a page of a running program, as it comes", get_help, get_main};
