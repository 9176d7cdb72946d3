/* sample.c - readers of /proc: free memory, resident size, and which mappings are Ebb's.
 *
 * The last one is the tour's witness: ebb_stats is compared with it at every step, so it must not
 * take Ebb's word for anything. See docs/tour.md, "How the numbers are checked". */
#define _GNU_SOURCE 1
#include "sample.h"

#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLE_LINE = 512, SAMPLE_PATH = 1024, SAMPLE_RANGES = 8192 };

/* --- Files of one number, or of lines "Key: number kB" -------------------------------------- */

/* The number in a file; UINT64_MAX where there is no such file, or the word "max" in it. */
static uint64_t sample_file_number(const char *path) {
    FILE *file = fopen(path, "re");
    if (!file) return UINT64_MAX;
    unsigned long long number;
    bool read = fscanf(file, "%llu", &number) == 1;
    fclose(file);
    return read ? number : UINT64_MAX;
}

/* The number after a key at a line's start; 0 where there is none. */
static uint64_t sample_file_key(const char *path, const char *key) {
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    char line[SAMPLE_LINE];
    unsigned long long number = 0;
    size_t length = strlen(key);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && sscanf(line + length, "%llu", &number) == 1) break;
    }
    fclose(file);
    return number;
}

uint64_t sample_rss(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    unsigned long long pages = 0;
    if (fscanf(file, "%*u %llu", &pages) != 1) pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t sample_rss_peak(void) {
    return sample_file_key("/proc/self/status", "VmHWM:") << 10;
}

unsigned sample_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? (unsigned)count : 1;
}

static uint64_t sample_clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t sample_cpu_ns(void) {
    return sample_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t sample_now_ns(void) {
    return sample_clock_ns(CLOCK_MONOTONIC);
}

/* --- Free memory ---------------------------------------------------------------------------- */

/* The files of the two versions of control groups. */
struct sample_cgroup {
    const char *mount, *limit, *usage, *inactive;
};

static const struct sample_cgroup sample_cgroup_v1 = {
    "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
    "total_inactive_file "};
static const struct sample_cgroup sample_cgroup_v2 = {"/sys/fs/cgroup", "memory.max",
                                                      "memory.current", "inactive_file "};

static void sample_bound(struct sample_memory *memory, uint64_t bytes, const char *by) {
    if (memory->bound_by && memory->available_bytes <= bytes) return;
    memory->available_bytes = bytes;
    memory->bound_by = by;
}

/* One group's limit less its use; page cache that can be dropped is not use. */
static void sample_cgroup_level(struct sample_memory *memory, const struct sample_cgroup *version,
                                const char *group) {
    char path[SAMPLE_PATH];
    snprintf(path, sizeof path, "%s%s/%s", version->mount, group, version->limit);
    uint64_t limit = sample_file_number(path);
    snprintf(path, sizeof path, "%s%s/%s", version->mount, group, version->usage);
    uint64_t usage = sample_file_number(path);
    snprintf(path, sizeof path, "%s%s/memory.stat", version->mount, group);
    uint64_t cache = sample_file_key(path, version->inactive);
    if (limit >= (uint64_t)1 << 60 || usage == UINT64_MAX) return;
    usage -= cache < usage ? cache : usage;
    sample_bound(memory, usage < limit ? limit - usage : 0, "the control group");
}

/* A group and those above it: the strictest counts. */
static void sample_cgroup_path(struct sample_memory *memory, const struct sample_cgroup *version,
                               char *group) {
    for (;;) {
        char *slash = strrchr(group, '/');
        sample_cgroup_level(memory, version, slash && !slash[1] ? "" : group);
        if (!slash || slash == group) break;
        *slash = 0;
    }
    sample_cgroup_level(memory, version, "");
}

/* Lines are "NUMBER:CONTROLLERS:PATH", with no controllers for version 2. */
static void sample_cgroups(struct sample_memory *memory) {
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) return;
    char line[SAMPLE_LINE];
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        controllers++;
        if (*controllers == 0) {
            sample_cgroup_path(memory, &sample_cgroup_v2, group);
        } else if (strstr(controllers, "memory")) {
            sample_cgroup_path(memory, &sample_cgroup_v1, group);
        }
    }
    fclose(file);
}

void sample_memory(struct sample_memory *out) {
    *out = (struct sample_memory){0, NULL};
    uint64_t free_bytes = sample_file_key("/proc/meminfo", "MemAvailable:") << 10;
    if (free_bytes > 0) sample_bound(out, free_bytes, "the machine");
    sample_cgroups(out);
    struct rlimit space;
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
        sample_bound(out, space.rlim_cur / 4, "ulimit -v"); /* the rest is reserved */
    }
    if (!out->bound_by) out->bound_by = "nobody";
}

/* --- Whose mappings ------------------------------------------------------------------------- */

/* An anonymous writable mapping, by page numbers: addresses that lie about in static storage would
 * keep objects alive. */
struct sample_range {
    uint64_t first_page, end_page;
    uint64_t resident_bytes;
    bool ebb;   /* carries one of Ebb's names */
    bool stack; /* of a thread */
};

struct sample_list {
    size_t count;
    bool full;    /* there were more */
    bool blurred; /* a thread's stack may have merged with its neighbour */
    struct sample_range ranges[SAMPLE_RANGES];
};

static struct sample_list sample_before; /* at sample_mappings_begin */

/* One mapping of /proc/self/smaps. */
struct sample_entry {
    uintptr_t start, end;
    char access[8];
    unsigned long inode;
    char name[128];
    uint64_t resident_bytes;
    char flags[128];
};

/* "START-END rw-p OFFSET DEVICE INODE NAME", or false for one of the "Key: value" lines. */
static bool sample_entry_begin(struct sample_entry *entry, const char *line) {
    unsigned long start, end, inode;
    char access[8], name[128] = "";
    int got = sscanf(line, "%lx-%lx %7s %*s %*s %lu %127[^\n]", &start, &end, access, &inode, name);
    if (got < 4) return false;
    *entry = (struct sample_entry){.start = start, .end = end, .inode = inode};
    memcpy(entry->access, access, sizeof access);
    memcpy(entry->name, name, sizeof name);
    return true;
}

static uintptr_t sample_page_bytes(void) {
    return (uintptr_t)sysconf(_SC_PAGESIZE);
}

static bool sample_entry_has(const struct sample_entry *entry, const char *flag) {
    return strstr(entry->flags, flag) != NULL;
}

static bool sample_entry_counts(const struct sample_entry *entry) {
    if (entry->inode != 0 || strncmp(entry->access, "rw", 2) != 0) return false;
    return entry->name[0] == 0 || strncmp(entry->name, "[anon:", 6) == 0;
}

/* A thread's stack begins above a guard page without access, or has guards of the kernel's ("gu").
 * The page before a part of a reservation of Ebb's is without reserve ("nr"). */
static bool sample_entry_guards(const struct sample_entry *guard,
                                const struct sample_entry *entry) {
    if (sample_entry_has(entry, " gu")) return true;
    return guard->end == entry->start && strncmp(guard->access, "---", 3) == 0 &&
           guard->end - guard->start == sample_page_bytes() && !sample_entry_has(guard, " nr");
}

/* Kernels that keep stacks out of huge pages ("nh") never merge them with other mappings. */
static void sample_list_add(struct sample_list *list, const struct sample_entry *guard,
                            const struct sample_entry *entry) {
    if (!sample_entry_counts(entry)) return;
    if (list->count == SAMPLE_RANGES) {
        list->full = true;
        return;
    }
    bool stack = sample_entry_guards(guard, entry);
    if (stack && !sample_entry_has(entry, " nh")) list->blurred = true;
    list->ranges[list->count++] = (struct sample_range){
        .first_page = entry->start / sample_page_bytes(),
        .end_page = entry->end / sample_page_bytes(),
        .resident_bytes = entry->resident_bytes,
        .ebb = strncmp(entry->name, "[anon:ebb", 9) == 0,
        .stack = stack,
    };
}

static bool sample_list_read(struct sample_list *list) {
    FILE *file = fopen("/proc/self/smaps", "re");
    if (!file) return false;
    list->count = 0;
    list->full = list->blurred = false;
    struct sample_entry entry = {0}, before = {0}, next;
    char line[SAMPLE_LINE];
    while (fgets(line, sizeof line, file)) {
        unsigned long long kib;
        if (sample_entry_begin(&next, line)) {
            before = entry;
            entry = next;
        } else if (sscanf(line, "Rss: %llu", &kib) == 1) {
            entry.resident_bytes = kib << 10;
        } else if (strncmp(line, "VmFlags:", 8) == 0) {
            snprintf(entry.flags, sizeof entry.flags, "%.120s", line + 8);
            sample_list_add(list, &before, &entry);
        }
    }
    fclose(file);
    return list->count > 0 && !list->full;
}

void sample_mappings_begin(void) {
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_ARENA_MAX, 1);
    setenv("EBB_PROFILE", "unwind=fp", 0); /* libunwind would map memory of its own */
    sample_list_read(&sample_before);
}

/* Takes away what was there at the beginning: neighbours may have merged with it. */
static uint64_t sample_range_new_pages(struct sample_range *range) {
    uint64_t pages = range->end_page - range->first_page;
    for (size_t i = 0; i < sample_before.count; i++) {
        const struct sample_range *old = &sample_before.ranges[i];
        uint64_t first = old->first_page > range->first_page ? old->first_page : range->first_page;
        uint64_t end = old->end_page < range->end_page ? old->end_page : range->end_page;
        if (first >= end) continue;
        pages -= end - first;
        uint64_t resident = old->resident_bytes;
        range->resident_bytes -= resident < range->resident_bytes ? resident : 0;
    }
    return pages;
}

bool sample_mappings(struct sample_mappings *out) {
    static struct sample_list now;
    if (!sample_list_read(&now)) return false;
    *out = (struct sample_mappings){0, 0, false};
    for (size_t i = 0; i < now.count; i++) out->by_name |= now.ranges[i].ebb;
    if (!out->by_name && now.blurred) return false;
    for (size_t i = 0; i < now.count; i++) {
        struct sample_range *range = &now.ranges[i];
        if (out->by_name ? !range->ebb : range->stack) continue;
        uint64_t pages =
            out->by_name ? range->end_page - range->first_page : sample_range_new_pages(range);
        out->mapped_bytes += pages * sample_page_bytes();
        out->resident_bytes += pages ? range->resident_bytes : 0;
    }
    return true;
}
