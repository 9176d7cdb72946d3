/* cmd_symbolize.c - `ebb symbolize`: a profile or addresses through a pipe, with names.
 *
 * The library runs it as a part of writing a profile, so whatever happens the input comes out at
 * the other end. Debug information is read in a child process, since nobody can vouch for it: when
 * that dies or takes too long, the profile goes through as it came. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"
#include "names.h"
#include "symbolize.h"

enum { SYMBOLIZE_SECONDS = 120 };

static const char symbolize_help[] =
    "Example:\n"
    "  ebb symbolize --pid 4711 <raw.pb >named.pb.gz\n"
    "\n"
    "usage: ebb symbolize [--pid PID] [--addresses [--json]]\n"
    "\n"
    "Reads a profile (profile.proto, also compressed) from standard input and writes it,\n"
    "compressed, to standard output, with the functions, files and lines of its addresses,\n"
    "inlined functions included. What it cannot read goes through unchanged, and standard\n"
    "error says why.\n"
    "\n"
    "  --pid PID     take the files that this process has mapped, not only those that the\n"
    "                profile names\n"
    "  --addresses   read addresses in hex, one a line, and write a line \"0xADDRESS NAME\" for\n"
    "                each; the function that was inlined first, \" <- \", what it is inlined in.\n"
    "                An address is one within the call: the return address minus one.\n"
    "  --json        the names as JSON; of a profile, ebb profile --json lists them\n"
    "\n"
    "Programs that use Ebb run this command when they write a profile.\n";

static int symbolize_addresses(int pid, bool json) {
    struct names *n = names_begin();
    if (!names_add_process(n, pid))
        fprintf(stderr,
                n ? "ebb symbolize: the mappings of process %d cannot be read\n"
                  : "ebb symbolize: built without libdw: no names for process %d\n",
                pid);
    char *line = NULL;
    const char *comma = "[";
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        char *end;
        uint64_t address = strtoull(line, &end, 16);
        if (end == line) continue;
        printf(json ? "%s\n{\"address\": \"0x%" PRIx64 "\", \"name\": \"" : "%s0x%" PRIx64 " ",
               json ? comma : "", address);
        names_print(n, address, stdout);
        fputs(json ? "\"}" : "\n", stdout);
        comma = ",";
    }
    if (json) puts(*comma == '[' ? "[]" : "]");
    free(line);
    names_end(n);
    return fflush(stdout) == 0 ? 0 : 1;
}

/* No name was found. */
static void symbolize_complain(void) {
    struct names *n = names_begin();
    fputs(n ? "ebb symbolize: no function was found by name\n"
            : "ebb symbolize: built without libdw: the profile has no names\n",
          stderr);
    names_end(n);
}

/* In the child: 0 when the named profile is in out. */
static int symbolize_input(const char *bytes, size_t size, int pid, int out) {
    alarm(SYMBOLIZE_SECONDS);
    struct pprof p;
    if (!pprof_read(&p, bytes, size)) {
        fprintf(stderr, "ebb symbolize: %s; the input goes through as it is\n", p.error);
        return 1;
    }
    if (symbolize_wanted(&p) && symbolize_profile(&p, pid) == 0) symbolize_complain();
    FILE *to = fdopen(out, "w");
    return to && pprof_write(&p, to, true) ? 0 : 1;
}

static bool symbolize_in_child(const char *bytes, size_t size, int pid, int out) {
    fflush(NULL);
    pid_t child = fork();
    if (child < 0) return false;
    if (child == 0) _exit(symbolize_input(bytes, size, pid, out));
    int status;
    if (waitpid(child, &status, 0) != child) return false;
    if (WIFSIGNALED(status))
        fprintf(stderr, "ebb symbolize: %s; the input goes through as it is\n",
                WTERMSIG(status) == SIGALRM ? "it took too long" : strsignal(WTERMSIG(status)));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool symbolize_copy(FILE *in) {
    char piece[4096];
    size_t got;
    while ((got = fread(piece, 1, sizeof piece, in)) > 0)
        if (fwrite(piece, 1, got, stdout) != got) return false;
    return true;
}

static int symbolize_profile_pipe(int pid) {
    char *bytes;
    size_t size;
    bool whole = pprof_slurp(stdin, PPROF_BYTES_MAX, &bytes, &size), good = false;
    int fd = whole ? memfd_create("profile", MFD_CLOEXEC) : -1;
    if (!whole) fputs("ebb symbolize: the input is too long, it goes through as it is\n", stderr);
    if (fd >= 0 && symbolize_in_child(bytes, size, pid, fd)) {
        FILE *named = fdopen(fd, "r");
        if (named) rewind(named);
        good = named && symbolize_copy(named);
    } else {
        good = fwrite(bytes, 1, size, stdout) == size && symbolize_copy(stdin);
    }
    free(bytes);
    return fflush(stdout) == 0 && good ? 0 : 1;
}

static int symbolize_main(int argc, char **argv) {
    bool addresses = false, json = false;
    int pid = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--addresses") == 0)
            addresses = true;
        else if (strcmp(argv[i], "--json") == 0)
            json = true;
        else if (strcmp(argv[i], "--pid") == 0 && i + 1 < argc && atoi(argv[i + 1]) > 0)
            pid = atoi(argv[++i]);
        else
            return command_wrong(argv[0], "\"%s\" is not understood", argv[i]);
    }
    if (addresses && pid == 0) return command_wrong(argv[0], "--addresses needs --pid");
    if (json && !addresses) return command_wrong(argv[0], "--json needs --addresses");
    return addresses ? symbolize_addresses(pid, json) : symbolize_profile_pipe(pid);
}

const command command_symbolize = {
    "symbolize",
    "names for the addresses of a profile",
    symbolize_help,
    symbolize_main,
};
