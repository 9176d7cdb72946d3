/* cmd_dump.c - `ebb dump`: the heap of a running program as a file, for `ebb dom`. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "json.h"

static const char dump_help[] =
    "Example:\n"
    "  ebb dump 4711 -o heap.ebbheap    then: ebb dom heap.ebbheap\n"
    "\n"
    "usage: ebb dump [--seconds N] [-o FILE [--json]] PID|SOCKET|HOST:PORT\n"
    "\n"
    "All reachable objects with their sizes and types, who refers to whom, and from where. Names "
    "and\n"
    "sizes, never contents; docs/heapdump.md has the format. To standard output without -o;\n"
    "--json says what was written to FILE. "
    "The program is stopped for as long as it takes to copy its page tables; a copy of it "
    "writes.\n";

/* Null, or the file that takes its place when it is whole: one that broke off does not. What is
 * there already and no plain file, a pipe, a device or a link, is written to. */
static char *dump_beside(const char *path) {
    struct stat is;
    char *part;
    if (lstat(path, &is) == 0 && !S_ISREG(is.st_mode)) return NULL;
    if (asprintf(&part, "%s.part", path) < 0) abort();
    return part;
}

static int dump_save(const char *who, const char *target, const char *path) {
    char *part = dump_beside(path);
    FILE *out = fopen(part ? part : path, "w");
    int result = out ? client_get(who, target, out) : 1;
    if (!out || fclose(out) != 0 || (result == 0 && part && rename(part, path) != 0)) {
        fprintf(stderr, "ebb dump: %s: %s\n", path, strerror(errno));
        result = 1;
    }
    if (result && out && part) remove(part);
    free(part);
    return result;
}

/* What was written, for programs. */
static int dump_json(const char *path) {
    FILE *file = fopen(path, "re");
    if (!file || fseeko(file, 0, SEEK_END) != 0) {
        fprintf(stderr, "ebb dump: %s: %s\n", path, strerror(errno));
        if (file) fclose(file);
        return 1;
    }
    fputs("{\"file\": ", stdout);
    json_string(stdout, path);
    printf(", \"bytes\": %lld}\n", (long long)ftello(file));
    fclose(file);
    return 0;
}

static int dump_main(int argc, char **argv) {
    const char *who = NULL, *path = NULL, *seconds = "300";
    char target[128];
    bool json = false;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "-o") == 0 && more)
            path = argv[++i];
        else if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--seconds") == 0 && more &&
                 strspn(argv[i + 1], "0123456789") == strlen(argv[i + 1]) &&
                 strlen(argv[i + 1]) < 9)
            seconds = argv[++i];
        else if (argv[i][0] == '-' || who)
            return command_wrong("dump", "\"%s\" is not understood here", argv[i]);
        else
            who = argv[i];
    }
    if (!who) return command_wrong("dump", "takes a process");
    if (json && !path) return command_wrong("dump", "--json needs -o");
    if (!path && isatty(STDOUT_FILENO))
        return command_wrong("dump", "a dump is nothing to read; -o FILE");
    snprintf(target, sizeof target, "/debug/heapdump?seconds=%s", seconds);
    if (!path) return client_get(who, target, stdout);
    int result = dump_save(who, target, path);
    return result == 0 && json ? dump_json(path) : result;
}

const command command_dump = {"dump", "the heap as a file, for ebb dom", dump_help, dump_main};
