/* socket.h - the part of the contract with the system that the debug server needs: a socket in the
 * file system that is this user's alone, and libraries that are loaded when they are asked for.
 * Implemented in linux_socket.c. */
#ifndef EBB_OS_SOCKET_H
#define EBB_OS_SOCKET_H

#include "os.h"

enum { OS_SOCKET_PATH = 108 };

/* Makes PID.sock in the first of $XDG_RUNTIME_DIR/ebb, /run/user/UID/ebb and /tmp/ebb-UID that can
 * be had, listens on it, and writes its path. The directory is made with mode 0700 if it is not
 * there; it must be a directory of this user's that nobody else can enter, in one where nobody else
 * can replace it. A socket that nobody listens on is replaced, and sockets there of processes that
 * are dead, which were killed before they could remove them, are removed.
 * Returns the descriptor; or EBB_EEXIST when somebody listens there, or EBB_ESYSTEM, having said on
 * standard error why. */
EBB__SHARED int ebb__os_socket_listen(char path[OS_SOCKET_PATH]);

/* A connection of this user's or root's, waiting for it; or -1. */
EBB__SHARED int ebb__os_socket_accept(int listening, uint64_t until_ns);

/* Reads what is there, at most size bytes, waiting for the first. 0 at the end; -1 when it failed
 * or the time was up. */
EBB__SHARED long ebb__os_socket_read(int fd, void *bytes, size_t size, uint64_t until_ns);

/* Writes all. False when it failed or the time was up. */
EBB__SHARED bool ebb__os_socket_write(int fd, const void *bytes, size_t size, uint64_t until_ns);

/* The peer has closed its end. One that only said that it sends no more is still there. */
EBB__SHARED bool ebb__os_socket_gone(int fd);

/* The peer sees the end also while a forked child still has the descriptor. */
EBB__SHARED void ebb__os_socket_end(int fd);
EBB__SHARED void ebb__os_socket_close(int fd);

/* Removes a path that ebb__os_socket_listen wrote, if it is still that socket's. */
EBB__SHARED void ebb__os_socket_remove(const char *path);

/* The address of a function in a library that is loaded for it, never to be unloaded; null, and why
 * (until the thread's next call), when there is no such one. */
EBB__SHARED void *ebb__os_library_function(const char *library, const char *name, const char **why);

#endif
