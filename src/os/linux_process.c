/* linux_process.c - what /proc says of the process as a whole. docs/design.md, "Metrics". */
#include "process.h"
#include "linux_text.h"

#include <dirent.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static uint64_t process_fds(void) {
    uint64_t count = 0;
    DIR *fds = opendir("/proc/self/fd");
    if (!fds) return 0;
    for (struct dirent *d; (d = readdir(fds)) != NULL;) count += d->d_name[0] != '.';
    closedir(fds);
    return count - 1; /* the directory's own */
}

/* The twentieth field after the name in parentheses: the start, in ticks since the boot. */
static uint64_t process_start_ns(void) {
    char text[1024];
    const char *at = strrchr(ebb__linux_text("/proc/self/stat", text, sizeof text), ')');
    for (int field = 0; at && field < 20; field++) at = strchr(at + 1, ' ');
    struct timespec since_boot;
    if (!at || clock_gettime(CLOCK_BOOTTIME, &since_boot) != 0) return 0;
    uint64_t now = (uint64_t)since_boot.tv_sec * 1000000000u + (uint64_t)since_boot.tv_nsec;
    uint64_t began = strtoull(at, NULL, 10) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
    return ebb__os_wall_ns() - now + began;
}

void ebb__os_process(os_process *out) {
    char text[256], *end;
    struct timespec cpu;
    struct rlimit fds;
    *out = (os_process){0};
    uint64_t page = ebb__os_page_size();
    out->virtual_bytes =
        strtoull(ebb__linux_text("/proc/thread-self/statm", text, sizeof text), &end, 10) * page;
    out->resident_bytes = strtoull(end, NULL, 10) * page;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        out->cpu_ns = (uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec;
    out->open_fds = process_fds();
    if (getrlimit(RLIMIT_NOFILE, &fds) == 0) out->max_fds = fds.rlim_cur;
    out->start_ns = process_start_ns();
}
