/* planted_why.c - question 3, who holds it: sessions were cut off a slice by its length, by hand,
 * and its array still refers to them. */
#include "planted.h"

typedef struct session {
    long id;
    char state[200];
} session;

EBB_TYPE(session);
EBB_SLICE(sessions, session *);

typedef struct server {
    long port;
    sessions open;
} server;

EBB_TYPE(server, slice(open));

static server *the_server;

static __attribute__((noinline)) session *session_open(long id) {
    session *s = ebb_new(session);
    if (!s) exit(1);
    s->id = id;
    return s;
}

static __attribute__((noinline)) void serve(void) {
    the_server = ebb_new(server);
    for (long i = 0; i < 100000; i++) ebb_append(&the_server->open, session_open(i));
    the_server->open.len = 100; /* and the rest is forgotten, but not by the array */
}

int main(void) {
    serve();
    planted_forget();
    planted_stay();
    return 0;
}
