/* report.c - what is told: messages, the log, events, figures, dumps.
 *
 * Figures come from Ebb's: those that programs ask for often from what Ebb knows without a walk,
 * those that say what was allocated from a walk of the heap, for which the world stops. In a hook,
 * and under the allocation lock, neither can be asked for: there the figures of the last cycle's
 * end, or of the last call, stand.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "turns.h"

#include <ebb/stats.h>

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- Printing -----------------------------------------------------------------------------------
 */

static int report_log_fd = STDERR_FILENO;

/* In one write, and without a buffer that a stopped thread may have locked. */
static __attribute__((format(printf, 2, 0))) void report_print(int fd, const char *format,
                                                               va_list args) {
    char text[1024];
    int length = vsnprintf(text, sizeof text, format, args);
    size_t left = length < 0 ? 0 : (size_t)length;
    if (left > sizeof text - 1) left = sizeof text - 1;
    for (const char *at = text; left > 0;) {
        ssize_t wrote = write(fd, at, left);
        if (wrote <= 0) break;
        at += wrote;
        left -= (size_t)wrote;
    }
}

#define REPORT_PRINTF(name, fd)       \
 void name(const char *format, ...) { \
  va_list args;                       \
  va_start(args, format);             \
  report_print(fd, format, args);     \
  va_end(args);                       \
 }
REPORT_PRINTF(GC_printf, STDOUT_FILENO)
REPORT_PRINTF(GC_err_printf, STDERR_FILENO)
REPORT_PRINTF(GC_log_printf, report_log_fd)

void GC_set_log_fd(int fd) {
    report_log_fd = fd;
}

void gc__log_open(const char *path) {
    if (!path) return;
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        GC_err_printf("GC Warning: GC_LOG_FILE=%s cannot be opened\n", path);
    else
        report_log_fd = fd;
}

/* --- Warnings and the end -----------------------------------------------------------------------
 */

static void report_abort_message(const char *message) {
    if (message) GC_err_printf("%s\n", message);
}

GC_abort_func GC_on_abort = report_abort_message;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void report_warn(char *format, GC_word arg) {
    GC_err_printf(format, arg);
}
#pragma GCC diagnostic pop

void GC_ignore_warn_proc(char *format, GC_word arg) {
    if (gc__set.prints) report_warn(format, arg);
}

void GC_set_warn_proc(GC_warn_proc warn) {
    __atomic_store_n(&gc__set.warn, warn, __ATOMIC_RELEASE);
}

GC_warn_proc GC_get_warn_proc(void) {
    GC_warn_proc warn = GC__SET(warn);
    return warn ? warn : report_warn;
}

void gc__warn(const char *format, GC_word arg) {
    char text[256];
    snprintf(text, sizeof text, "GC Warning: %s\n", format);
    GC_get_warn_proc()(text, arg);
}

void GC_set_abort_func(GC_abort_func abort_func) {
    __atomic_store_n(&GC_on_abort, abort_func, __ATOMIC_RELEASE);
}

GC_abort_func GC_get_abort_func(void) {
    return __atomic_load_n(&GC_on_abort, __ATOMIC_ACQUIRE);
}

/* GC_LOOP_ON_ABORT: waits there, for a debugger to come. */
void gc__abort(const char *message) {
    GC_get_abort_func()(message);
    while (getenv("GC_LOOP_ON_ABORT")) pause();
    abort();
}

void gc__fail_loudly(const char *call, const char *why) {
    char text[256];
    snprintf(text, sizeof text, "%s: %s", call, why);
    gc__abort(text);
}

void GC_abort_on_oom(void) {
    GC_err_printf("Insufficient memory for the allocation\n");
    GC_get_abort_func()(NULL);
    exit(1);
}

/* --- Events -------------------------------------------------------------------------------------
 */

void gc__event(GC_EventType event) {
    GC_on_collection_event_proc tell = GC__SET(on_event);
    if (tell) tell(event);
}

/* --- Figures ------------------------------------------------------------------------------------
 */

/* Of the last walk, and of the last look without one; either may be old by a cycle in a hook. */
static struct ebb_stats report_whole, report_brief;
static pthread_mutex_t report_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t report_measured_ns; /* pause_total_ns when measuring began */

static bool report_wanted; /* somebody asked from where nothing can be asked */

/* Who has the allocation lock keeps the world from stopping, and whoever stops it has what guards
 * Ebb's figures. */
static bool report_may_ask(void) {
    bool may = gc__is_up() && !gc__in_turn() && !gc__lock_is_mine();
    if (!may) report_wanted = true;
    return may;
}

static void report_keep(struct ebb_stats *kept, const struct ebb_stats *now) {
    pthread_mutex_lock(&report_mutex);
    *kept = *now;
    pthread_mutex_unlock(&report_mutex);
}

static struct ebb_stats report_look(void) {
    struct ebb_stats now;
    if (!report_may_ask()) return report_brief;
    ebb_stats_brief(&now);
    report_keep(&report_brief, &now);
    return now;
}

static struct ebb_stats report_walk(void) {
    struct ebb_stats now;
    if (!report_may_ask()) return report_whole;
    ebb_stats(&now);
    report_keep(&report_whole, &now);
    return now;
}

/* The interface's figures from Ebb's. */
static size_t report_heap(const struct ebb_stats *s) {
    return s->heap_used + s->heap_free;
}

static size_t report_free(const struct ebb_stats *s) {
    uint64_t used = s->live;
    return report_heap(s) > used ? report_heap(s) - used : 0;
}

static size_t report_since(const struct ebb_stats *s) {
    return s->live > s->marked_live ? s->live - s->marked_live : 0;
}

size_t GC_get_heap_size(void) {
    struct ebb_stats s = report_look();
    return report_heap(&s);
}

size_t GC_get_free_bytes(void) {
    struct ebb_stats s = report_look();
    return report_free(&s);
}

size_t GC_get_unmapped_bytes(void) {
    return report_look().heap_returned;
}

size_t GC_get_bytes_since_gc(void) {
    struct ebb_stats s = report_look();
    return report_since(&s);
}

static GC_word report_freed_before; /* gc__freed_bytes at the end of the last cycle */

size_t GC_get_expl_freed_bytes_since_gc(void) {
    return gc__freed_bytes() - report_freed_before;
}

size_t GC_get_total_bytes(void) {
    return report_walk().alloc_bytes;
}

/* What was given back can come again without being asked for: so it counts. */
size_t GC_get_obtained_from_os_bytes(void) {
    struct ebb_stats s = report_look();
    return s.mapped + s.heap_returned;
}

size_t GC_get_memory_use(void) {
    return report_walk().live;
}

void GC_get_heap_usage_safe(GC_word *heap, GC_word *free_bytes, GC_word *unmapped, GC_word *since,
                            GC_word *total) {
    struct ebb_stats s = total ? report_walk() : report_look();
    if (heap) *heap = report_heap(&s);
    if (free_bytes) *free_bytes = report_free(&s);
    if (unmapped) *unmapped = s.heap_returned;
    if (since) *since = report_since(&s);
    if (total) *total = s.alloc_bytes;
}

static struct GC_prof_stats_s report_prof(void) {
    struct ebb_stats s = report_walk();
    size_t since = report_since(&s);
    GC_word freed = GC_get_expl_freed_bytes_since_gc();
    return (struct GC_prof_stats_s){
        .heapsize_full = report_heap(&s) + s.heap_returned,
        .free_bytes_full = report_free(&s) + s.heap_returned,
        .unmapped_bytes = s.heap_returned,
        .bytes_allocd_since_gc = since,
        .allocd_bytes_before_gc = s.alloc_bytes > since ? s.alloc_bytes - since : 0,
        .non_gc_bytes = GC_get_non_gc_bytes(),
        .gc_no = GC_get_gc_no(),
        .markers_m1 = (GC_word)GC_get_parallel(),
        .bytes_reclaimed_since_gc = freed,
        .reclaimed_bytes_before_gc = s.freed_bytes > freed ? s.freed_bytes - freed : 0,
        .expl_freed_bytes_since_gc = freed,
        .obtained_from_os_bytes = s.mapped + s.heap_returned,
    };
}

/* What the caller's structure has beyond ours is unknown: -1. */
size_t GC_get_prof_stats(struct GC_prof_stats_s *stats, size_t size) {
    gc__attend();
    struct GC_prof_stats_s now = report_prof();
    size_t known = size < sizeof now ? size : sizeof now;
    memcpy(stats, &now, known);
    memset((char *)stats + known, 0xff, size - known);
    return known;
}

size_t GC_get_prof_stats_unsafe(struct GC_prof_stats_s *stats, size_t size) {
    return GC_get_prof_stats(stats, size);
}

/* What an object of i bytes takes: asked of one. */
size_t GC_get_size_map_at(int i) {
    enum { SIZES = 2048 };
    if (i < 0 || i > SIZES) return SIZE_MAX;
    void *p = GC_malloc_atomic((size_t)i);
    size_t size = p ? GC_size(p) : 0;
    GC_free(p);
    return size;
}

/* A cycle runs beside the program; what it takes from the program is the stops. */
void GC_start_performance_measurement(void) {
    gc__attend();
    report_measured_ns = report_look().pause_total_ns;
}

unsigned long GC_get_full_gc_total_time(void) {
    return (unsigned long)((report_look().pause_total_ns - report_measured_ns) / 1000000);
}

/* --- At the end of a cycle ----------------------------------------------------------------------
 */

static void report_resized(const struct ebb_stats *s) {
    static size_t told;
    GC_on_heap_resize_proc tell = __atomic_load_n(&GC_on_heap_resize, __ATOMIC_ACQUIRE);
    size_t heap = report_heap(s);
    if (tell && heap != told) tell(heap);
    told = heap;
}

void gc__report_stopped(void) {
    __atomic_store_n(&GC_gc_no, ebb_cycles(), __ATOMIC_RELEASE);
    report_freed_before = gc__freed_bytes();
    if (!gc__set.prints && !GC_on_heap_resize && !report_wanted) return;
    struct ebb_stats s = report_look();
    report_resized(&s);
    if (gc__set.prints)
        GC_log_printf("cycle %llu: %llu bytes reachable, heap %zu, stopped %llu us\n",
                      (unsigned long long)s.cycles, (unsigned long long)s.marked_live,
                      report_heap(&s), (unsigned long long)s.pause_last_ns / 1000);
    if (gc__set.prints > 1) GC_dump_named(NULL);
}

/* --- Dumps --------------------------------------------------------------------------------------
 */

void GC_dump_named(const char *name) {
    struct ebb_stats s = report_walk();
    if (name)
        GC_printf("***GC dump %s\n", name);
    else
        GC_printf("***GC dump, cycle %lu\n", GC_get_gc_no());
    GC_printf(
        "live objects  %12llu\nlive bytes    %12llu\nfree bytes    %12zu\nheap bytes    %12zu\n",
        (unsigned long long)s.live_objects, (unsigned long long)s.live, report_free(&s),
        report_heap(&s));
    GC_printf("given back    %12llu\nroots         %12llu\nof them stack %12llu\n",
              (unsigned long long)s.heap_returned, (unsigned long long)s.roots_bytes,
              (unsigned long long)s.stack_bytes);
}

void GC_dump(void) {
    gc__attend();
    GC_dump_named(NULL);
}

static void report_link(void **link, void *object) {
    GC_printf("  %p -> %p\n", (void *)link, object);
}

void GC_dump_finalization(void) {
    struct ebb_stats s = report_look();
    GC_printf("disappearing links:\n");
    gc__links_each(false, report_link);
    GC_printf("long links:\n");
    gc__links_each(true, report_link);
    GC_printf("finalizers: %llu set, %llu due\n", (unsigned long long)s.finalizers,
              (unsigned long long)s.finalizers_due);
}

/* Blocks and free lists are Ebb's own: its pages show them. */
void GC_dump_regions(void) {
    const void *start = GC_least_plausible_heap_addr, *end = GC_greatest_plausible_heap_addr;
    GC_printf("the heap lies in [%p, %p)\n", start, end);
    GC_dump_named(NULL);
}

void GC_enumerate_reachable_objects_inner(GC_reachable_object_proc visit, void *data) {
    (void)visit, (void)data;
    gc__fail_loudly("GC_enumerate_reachable_objects_inner",
                    "the objects cannot be walked from inside; ebb_heap_dump lists them");
}
