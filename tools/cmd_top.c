/* cmd_top.c - `ebb top`: what a running program's memory does, second by second. */
#define _GNU_SOURCE 1
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "colour.h"
#include "command.h"
#include "top.h"

static const char top_help[] =
    "Example:\n"
    "  ebb top 4711                   a screen that follows process 4711\n"
    "  ebb top --once 4711            one page of it as text\n"
    "\n"
    "usage: ebb top [--once] [--json] PID|SOCKET|HOST:PORT\n"
    "\n"
    "Shows the goal, what is live, resident and returned; every resident byte in a class; cycles\n"
    "a second by what caused them, stops, waiting; where the memory in use was allocated; what\n"
    "slices and maps do not use. Each second; what costs the program more is asked for less "
    "often.\n"
    "\n"
    "  --once   one page as text, and end; so also when this is no terminal\n"
    "  --json   the same as JSON\n"
    "\n"
    "  q        leave\n"
    "  p        pause, or go on\n"
    "  s        sort by bytes, objects, name\n"
    "  ?        what the words mean\n"
    "\n"
    "Ends with status 0 when the program has ended. Colour only where the terminal has it, and\n"
    "not when NO_COLOR is set. The program serves when it was started with EBB_DEBUG=serve, or\n"
    "calls ebb_debug_serve.\n";

static void top_put(void *out, enum top_style style, const char *text) {
    static const enum colour colours[] = {[TOP_PLAIN] = COLOUR_PLAIN,
                                          [TOP_HEAD] = COLOUR_HEAD,
                                          [TOP_DIM] = COLOUR_DIM,
                                          [TOP_GOOD] = COLOUR_GOOD,
                                          [TOP_BAD] = COLOUR_BAD};
    const char *on = style == TOP_PLAIN ? "" : colour_on(out, colours[style]);
    fprintf(out, "%s%s%s\n", on, text, *on ? colour_on(out, COLOUR_PLAIN) : "");
}

/* That there is no profile stands on the page; standard error is for what leaves no page. */
static bool top_read_quietly(struct top_reader *r) {
    char piece[1024];
    int kept = dup(STDERR_FILENO), said = memfd_create("errors", MFD_CLOEXEC);
    if (said >= 0) dup2(said, STDERR_FILENO);
    bool good = top_read(r);
    dup2(kept, STDERR_FILENO);
    close(kept);
    if (said >= 0 && !good && lseek(said, 0, SEEK_SET) == 0)
        for (ssize_t n; (n = read(said, piece, sizeof piece)) > 0;)
            fwrite(piece, 1, (size_t)n, stderr);
    if (said >= 0) close(said);
    return good;
}

static int top_once(struct top_reader *r, bool json) {
    if (!top_read_quietly(r)) return 1;
    top_sort_view(&r->view, TOP_BY_BYTES);
    if (json)
        top_json(&r->view, stdout);
    else
        top_page(&r->view, r->who, 0, top_put, stdout);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int top_main(int argc, char **argv) {
    static struct top_reader reader;
    bool once = !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO), json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--once") == 0)
            once = true;
        else if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (argv[i][0] == '-' || reader.who)
            return command_wrong(argv[0], "\"%s\" is not understood", argv[i]);
        else
            reader.who = argv[i];
    }
    if (!reader.who) return command_wrong(argv[0], "takes a process");
    return once || json ? top_once(&reader, json) : top_screen(&reader);
}

const command command_top = {"top", "a screen that follows a program's memory", top_help, top_main};
