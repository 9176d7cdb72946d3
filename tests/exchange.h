/* exchange.h - one request and its reply over a connected socket. */
#ifndef EBB_TEST_EXCHANGE_H
#define EBB_TEST_EXCHANGE_H

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* Sends the request and reads the reply to its end. The status, 0 for no reply. */
__attribute__((unused)) static int exchange(int fd, const void *request, size_t size, char *reply,
                                            size_t room) {
    int status = 0;
    for (size_t sent = 0; sent < size;) {
        ssize_t n = send(fd, (const char *)request + sent, size - sent, MSG_NOSIGNAL);
        if (n <= 0) break;
        sent += (size_t)n;
    }
    size_t have = 0;
    for (ssize_t n; (n = read(fd, reply + have, room - 1 - have)) > 0;) have += (size_t)n;
    reply[have] = 0;
    close(fd);
    sscanf(reply, "HTTP/1.%*1[01] %d", &status);
    return status;
}

#endif
