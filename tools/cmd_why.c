/* cmd_why.c - `ebb why`: who holds it. The answer is the program's, see docs/observe.md. */
#define _GNU_SOURCE 1
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "command.h"
#include "load.h"

static const char why_help[] =
    "Example:\n"
    "  ebb why session 4711          which ways lead to objects of type session, what they retain\n"
    "  ebb why load_table 4711       to what the function load_table allocated, as far as sampled\n"
    "  ebb why --conservative 4711   what only stacks, registers and thread-local storage hold\n"
    "  ebb why 4711                  the types that there are\n"
    "\n"
    "usage: ebb why [--conservative] [--json] [--limit N] [--seconds N] [TARGET] "
    "PID|SOCKET|HOST:PORT\n"
    "\n"
    "TARGET is a described type's name, a function's, the address of an instruction (@0x55…) or "
    "of\n"
    "an object (0x7f…), or one of words, data, slice, map for what is of no described type.\n"
    "\n"
    "  --conservative   only ways that begin at a stack, a register or thread-local storage where\n"
    "                   there is no other: the pointer may be a number that looks like one\n"
    "  --limit N        shapes of ways to print (20)\n"
    "  --seconds N      give up after (60)\n"
    "  --json           for programs\n"
    "\n"
    "The program is stopped for as long as it takes to copy its page tables; a copy of it looks.\n";

/* Appends text, with what has a meaning in a query as %XX. */
static void target_encode(char *to, size_t size, const char *text) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    size_t n = strlen(to);
    for (; *text && n + 4 < size; text++) {
        if (strchr(plain, *text))
            to[n++] = *text;
        else
            n += (size_t)snprintf(to + n, size - n, "%%%02X", (unsigned char)*text);
    }
    to[n] = 0;
}

static void target_add(char *to, size_t size, const char *name, const char *value) {
    size_t n = strlen(to);
    snprintf(to + n, size - n, "%s%s=", strchr(to, '?') ? "&" : "?", name);
    target_encode(to, size, value);
}

/* --- Functions ------------------------------------------------------------------------------ */

static bool location_in(const struct pprof *p, const struct pprof_location *location,
                        const char *function) {
    for (uint32_t i = 0; i < location->lines_count; i++) {
        const struct pprof_line *line = &p->lines[location->lines_at + i];
        const struct pprof_function *f = &p->functions[line->function];
        if (strcmp(pprof_text(p, f->name), function) == 0) return true;
    }
    return false;
}

/* The program knows addresses, not names: the calls in a function of that name, as far as the heap
 * profile has them. Asked for before it is known whether there is a type of the name: a profile
 * costs the program no stop. */
static void sites_add(char *to, size_t size, const char *name, const char *who) {
    enum { SITES_MOST = 60 };
    struct pprof p;
    char site[24 * SITES_MOST] = "";
    size_t used = 0;
    if (name[0] == '@' || strncmp(name, "0x", 2) == 0) return;
    if (load_profile(&p, who, "/debug/pprof/heap")) {
        for (size_t i = 0; i < p.locations_count && used + 24 < sizeof site; i++)
            if (location_in(&p, &p.locations[i], name))
                used += (size_t)snprintf(site + used, sizeof site - used, "@0x%llx+",
                                         (unsigned long long)p.locations[i].address);
        if (used) target_add(to, size, "site", site);
    }
    pprof_free(&p);
}

static int why_main(int argc, char **argv) {
    static const char *const numbers[] = {"--limit", "--seconds"};
    char target[4096] = "/debug/ebb/why";
    char *names[2], *plain[3];
    int count = 0, json = 0;
    for (int i = 1; i < argc; i++) {
        size_t n = 0;
        while (n < 2 && strcmp(argv[i], numbers[n]) != 0) n++;
        if (n < 2 && i + 1 == argc) return command_wrong("why", "%s takes a number", argv[i]);
        if (n < 2)
            target_add(target, sizeof target, numbers[n] + 2, argv[++i]);
        else if (strcmp(argv[i], "--json") == 0)
            json = 1;
        else if (strcmp(argv[i], "--conservative") == 0)
            target_add(target, sizeof target, "conservative", "1");
        else if (argv[i][0] == '-' || count == 2)
            return command_wrong("why", "\"%s\" is not understood", argv[i]);
        else
            names[count++] = argv[i];
    }
    if (count == 0) return command_wrong("why", "takes a process");
    if (count == 2) {
        target_add(target, sizeof target, "target", names[0]);
        sites_add(target, sizeof target, names[0], names[1]);
    }
    plain[0] = argv[0];
    plain[1] = names[count - 1];
    plain[2] = (char[]){"--json"};
    return client_show(json ? 3 : 2, plain, target);
}

const command command_why = {"why", "who holds it, and what would go with it", why_help, why_main};
