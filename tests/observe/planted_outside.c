/* planted_outside.c - question 8: is it Ebb at all? Most of it is a mapped file and malloc's. */
#include "planted.h"

#include <fcntl.h>
#include <sys/mman.h>

int main(int argc, char **argv) {
    const size_t bytes = (size_t)48 << 20;
    if (argc != 2) return 2;
    int fd = open(argv[1], O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) return 1;
    char *file = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (file == MAP_FAILED) return 1;
    memset(file, 1, bytes);
    char *block = malloc(bytes / 2);
    memset(block, 1, bytes / 2);
    ebb_keep_alive(block);
    static void *volatile object;
    object = ebb_alloc(100000);
    planted_stay();
}
