/* client.h - asks a running program for a page of its own; see ebb/debug.h. */
#ifndef EBB_TOOLS_CLIENT_H
#define EBB_TOOLS_CLIENT_H

#include <stdbool.h>
#include <stdio.h>

/* Copies what the program replies to target ("/debug/ebb/?format=json") to out. who: a process
 * number, the path of a socket, or HOST:PORT. Returns 0; or 1, having said on standard error what
 * is wrong: no such process, one that does not serve, an error that it replied, a reply that broke
 * off (then a part of it is in out). */
int client_get(const char *who, const char *target, FILE *out);

/* The number of the process that who names, for names of its addresses; 0: not known. */
int client_pid(const char *who);

/* The main of a command that shows one page: `NAME [--json] WHO`, in any order. Prints the page's
 * text, or what ?format=json gives, with names for the addresses (names_filter). target has no
 * query or ends in one. Returns an exit status. */
int client_show(int argc, char **argv, const char *target);

/* The same for a page that does something: asked by POST. */
int client_act(int argc, char **argv, const char *target);

#endif
