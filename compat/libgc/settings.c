/* settings.c - the variables of the interface, and the functions that read and write them.
 *
 * Programs write the variables themselves, and their addresses may lie in the program (copy
 * relocations), so each is read where it is used, when it is used. What Ebb has a setting of its
 * own for is handed on by gc__settings_apply: at the calls that set it, and at the end of each
 * cycle for what was written beside them. The rest is kept, so that it reads as it was set;
 * README.md says which those are.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "turns.h"

#include <stdlib.h>
#include <string.h>

/* --- Variables -------------------------------------------------------------------------------- */

static void *settings_no_memory(size_t size) {
    (void)size;
    return NULL;
}

/* The collector finds all stacks by itself; there is nothing that a program's own must chain to. */
static void settings_no_roots(void) {
}

static int settings_never(void) {
    return 0;
}

int GC_all_interior_pointers = 1;
int GC_java_finalization = 1;
int GC_finalize_on_demand;
int GC_no_dls;
int GC_dont_gc;
int GC_dont_expand;
int GC_dont_precollect;
int GC_use_entire_heap;
int GC_find_leak;
int GC_parallel;
int GC_full_freq = 19;
GC_word GC_free_space_divisor = 3;
GC_word GC_max_retries;
GC_word GC_non_gc_bytes;
GC_word GC_gc_no;
unsigned long GC_time_limit = GC_TIME_UNLIMITED;
char *GC_stackbottom;
void *GC_least_plausible_heap_addr = (void *)UINTPTR_MAX;
void *GC_greatest_plausible_heap_addr;
GC_oom_func GC_oom_fn = settings_no_memory;
GC_on_heap_resize_proc GC_on_heap_resize;
GC_finalizer_notifier_proc GC_finalizer_notifier;
GC_push_other_roots_proc GC_push_other_roots = settings_no_roots;

gc__settings gc__set = {.warn = NULL, .stop = settings_never};

/* --- Functions that set and get -----------------------------------------------------------------
 */

#define SETTING(name, type, variable)                     \
 void GC_set_##name(type value) {                         \
  __atomic_store_n(&(variable), value, __ATOMIC_RELEASE); \
 }                                                        \
 type GC_get_##name(void) {                               \
  return __atomic_load_n(&(variable), __ATOMIC_ACQUIRE);  \
 }

static struct {
    GC_word bytes_per_finalizer;
    unsigned long time_limit_ns;
    size_t min_bytes;
    int rate, prior_attempts, manual_dirty;
} settings_kept = {.bytes_per_finalizer = 10000, .min_bytes = 1, .rate = 10, .prior_attempts = 1};

SETTING(all_interior_pointers, int, GC_all_interior_pointers)
SETTING(java_finalization, int, GC_java_finalization)
SETTING(finalize_on_demand, int, GC_finalize_on_demand)
SETTING(dont_expand, int, GC_dont_expand)
SETTING(dont_precollect, int, GC_dont_precollect)
SETTING(full_freq, int, GC_full_freq)
SETTING(max_retries, GC_word, GC_max_retries)
SETTING(time_limit, unsigned long, GC_time_limit)
SETTING(oom_fn, GC_oom_func, GC_oom_fn)
SETTING(on_heap_resize, GC_on_heap_resize_proc, GC_on_heap_resize)
SETTING(finalizer_notifier, GC_finalizer_notifier_proc, GC_finalizer_notifier)
SETTING(push_other_roots, GC_push_other_roots_proc, GC_push_other_roots)
SETTING(start_callback, GC_start_callback_proc, gc__set.start_callback)
SETTING(on_collection_event, GC_on_collection_event_proc, gc__set.on_event)
SETTING(on_thread_event, GC_on_thread_event_proc, gc__set.on_thread)
SETTING(await_finalize_proc, GC_await_finalize_proc, gc__set.await)
SETTING(toggleref_func, GC_toggleref_func, gc__set.toggle)
SETTING(stop_func, GC_stop_func, gc__set.stop)
SETTING(force_unmap_on_gcollect, int, gc__set.unmap_on_collect)
SETTING(allocd_bytes_per_finalizer, GC_word, settings_kept.bytes_per_finalizer)
SETTING(min_bytes_allocd, size_t, settings_kept.min_bytes)
SETTING(rate, int, settings_kept.rate)
SETTING(max_prior_attempts, int, settings_kept.prior_attempts)
SETTING(manual_vdb_allowed, int, settings_kept.manual_dirty)

GC_word GC_get_gc_no(void) {
    return __atomic_load_n(&GC_gc_no, __ATOMIC_ACQUIRE);
}

int GC_get_parallel(void) {
    return __atomic_load_n(&GC_parallel, __ATOMIC_ACQUIRE);
}

void GC_set_time_limit_tv(struct GC_timeval_s limit) {
    GC_time_limit = limit.tv_ms;
    settings_kept.time_limit_ns = limit.tv_nsec;
}

struct GC_timeval_s GC_get_time_limit_tv(void) {
    return (struct GC_timeval_s){GC_time_limit, settings_kept.time_limit_ns};
}

/* The part of the uncollectable objects is not kept in the variable. */
GC_word GC_get_non_gc_bytes(void) {
    return GC_non_gc_bytes + gc__kept_bytes();
}

void GC_set_non_gc_bytes(GC_word bytes) {
    GC_non_gc_bytes = bytes - gc__kept_bytes();
}

int GC_get_no_dls(void) {
    return GC_no_dls;
}

void GC_set_no_dls(int value) {
    GC_no_dls = value;
    if (gc__is_up()) gc__roots_refresh();
}

int GC_get_find_leak(void) {
    return GC_find_leak;
}

void GC_set_find_leak(int value) {
    if (value) gc__fail_loudly("GC_set_find_leak", "there is no mode that looks for leaks only");
}

/* Objects never are executable, and a program that asks is told so by what it gets. */
void GC_set_pages_executable(int value) {
    if (value) gc__warn("GC_set_pages_executable: objects are not executable here", 0);
}

int GC_get_pages_executable(void) {
    return 0;
}

/* --- Handed on to Ebb ------------------------------------------------------------------------- */

pthread_mutex_t gc__settings_mutex = PTHREAD_MUTEX_INITIALIZER;

/* What Ebb was told. [gc__settings_mutex] */
static struct {
    GC_word divisor, max_heap_bytes, least_heap_bytes;
    int no_automatic;
    bool held;
} settings_told;

void GC_set_free_space_divisor(GC_word value) {
    GC_free_space_divisor = value;
    gc__settings_apply();
}

GC_word GC_get_free_space_divisor(void) {
    return GC_free_space_divisor;
}

void GC_set_disable_automatic_collection(int value) {
    __atomic_store_n(&gc__set.no_automatic, value, __ATOMIC_RELEASE);
    gc__settings_apply();
}

int GC_get_disable_automatic_collection(void) {
    return GC__SET(no_automatic);
}

void GC_set_max_heap_size(GC_word bytes) {
    __atomic_store_n(&gc__set.max_heap_bytes, bytes, __ATOMIC_RELEASE);
    gc__settings_apply();
}

void gc__settings_expand(GC_word heap, GC_word bytes) {
    GC_word least = GC__SET(least_heap_bytes), wanted;
    do {
        wanted = least > heap ? least : heap;
        wanted = bytes < SIZE_MAX - wanted ? wanted + bytes : SIZE_MAX;
    } while (!__atomic_compare_exchange_n(&gc__set.least_heap_bytes, &least, wanted, false,
                                          __ATOMIC_RELEASE, __ATOMIC_ACQUIRE));
    gc__settings_apply();
}

void GC_disable(void) {
    __atomic_add_fetch(&GC_dont_gc, 1, __ATOMIC_SEQ_CST);
    gc__settings_apply();
}

void GC_enable(void) {
    __atomic_sub_fetch(&GC_dont_gc, 1, __ATOMIC_SEQ_CST);
    gc__settings_apply();
}

bool gc__settings_held(void) {
    return __atomic_load_n(&GC_dont_gc, __ATOMIC_SEQ_CST) != 0;
}

int GC_is_disabled(void) {
    return gc__settings_held();
}

/* A heap that may be as small as that collector's: what Ebb comes with is faster, and takes more.
 * EBB_DEBUG=room has the last word. */
static void settings_room(void) {
    enum { EBB_ROOM = 16 << 20, ROOM = 8 << 20 };
    size_t room = ebb_set_gc_room(ROOM);
    if (room != EBB_ROOM) ebb_set_gc_room(room);
}

/* With a divisor of N that collector lets the heap grow by twice what it traced over N before it
 * collects again; it counts an eighth of what holds no pointers, so that with more than 100 percent
 * of what lives its heaps would be passed. What the user told Ebb himself, by EBB_GC=percent,
 * stands until the program asks for something else. */
static void settings_pace(void) {
    enum { EBB_PERCENT = 100, PERCENT_MOST = 100, PERCENT_LEAST = 50, DIVISOR = 3 };
    static int own; /* the percentage before the first change; 0: there was none */
    GC_word divisor = GC_free_space_divisor ? GC_free_space_divisor : 1;
    int no_automatic = GC__SET(no_automatic);
    if (divisor == settings_told.divisor && no_automatic == settings_told.no_automatic) return;
    settings_told.divisor = divisor;
    settings_told.no_automatic = no_automatic;
    if (own == 0) settings_room();
    int percent = (int)(200 / divisor);
    if (percent > PERCENT_MOST) percent = PERCENT_MOST;
    if (percent < PERCENT_LEAST) percent = PERCENT_LEAST;
    int before = ebb_set_gc_percent(no_automatic ? -1 : percent);
    if (own == 0) own = before;
    if (!no_automatic && divisor == DIVISOR && own != EBB_PERCENT) ebb_set_gc_percent(own);
}

static void settings_limit(void) {
    GC_word bytes = GC__SET(max_heap_bytes);
    if (bytes == settings_told.max_heap_bytes) return;
    settings_told.max_heap_bytes = bytes;
    ebb_set_memory_limit(bytes ? bytes : SIZE_MAX);
}

static void settings_floor(void) {
    GC_word bytes = GC__SET(least_heap_bytes);
    if (bytes == settings_told.least_heap_bytes) return;
    settings_told.least_heap_bytes = bytes;
    ebb_set_gc_floor(bytes);
}

static void settings_hold(void) {
    bool held = gc__settings_held();
    if (held == settings_told.held) return;
    settings_told.held = held;
    if (held)
        ebb_gc_hold();
    else
        ebb_gc_allow();
}

void gc__settings_apply(void) {
    if (!gc__is_up() || gc__in_turn()) return;
    pthread_mutex_lock(&gc__settings_mutex);
    settings_pace();
    settings_limit();
    settings_floor();
    settings_hold();
    pthread_mutex_unlock(&gc__settings_mutex);
}

/* --- Environment ------------------------------------------------------------------------------ */

/* A number with K, M, G or T behind it, of 1024; false where it is none. */
static bool settings_size(const char *name, GC_word *size) {
    static const char units[] = "kmgt";
    const char *text = getenv(name);
    char *end;
    if (!text) return false;
    GC_word value = strtoul(text, &end, 10);
    const char *unit = *end ? strchr(units, *end | 0x20) : NULL;
    if (unit) value <<= 10 * (unit - units + 1);
    bool good = end != text && (!*end || (unit && !end[1]));
    if (good) *size = value;
    if (!good)
        GC_err_printf("GC Warning: %s=%s is not understood: a number, with K, M or G\n", name,
                      text);
    return good;
}

static void settings_int(const char *name, int *value) {
    GC_word size;
    if (settings_size(name, &size) && size <= INT32_MAX) *value = (int)size;
}

static bool settings_wanted(const char *name) {
    const char *text = getenv(name);
    return text && strcmp(text, "0") != 0;
}

/* GC_parallel is not zero before there is a second thread. */
static int settings_markers = -1;

void GC_set_markers_count(unsigned count) {
    settings_markers = count < INT32_MAX ? (int)count : INT32_MAX;
}

void GC_start_mark_threads(void) {
    if (settings_markers > 0) GC_parallel = settings_markers - 1;
}

void gc__settings_read(void) {
    static const char *const ignored[] = {
        "GC_BACKTRACES",
        "GC_PRINT_ADDRESS_MAP",
        "GC_LARGE_ALLOC_WARN_INTERVAL",
        "GC_UNMAP_THRESHOLD",
        "GC_PRINT_BACK_HEIGHT",
        "GC_RETRY_SIGNALS",
        "GC_TRACE",
        "GC_DISABLE_INCREMENTAL",
        "GC_COLLECT_AT_MALLOC",
        "GC_USE_GETWRITEWATCH",
        "GC_NO_BLACKLIST_WARNING",
    };
    gc__log_open(getenv("GC_LOG_FILE"));
    if (settings_wanted("GC_PRINT_STATS") || settings_wanted("GC_PRINT_VERBOSE_STATS"))
        gc__set.prints = 1;
    if (settings_wanted("GC_DUMP_REGULARLY")) gc__set.prints = 2;
    if (settings_wanted("GC_DONT_GC")) GC_dont_gc = 1;
    if (settings_wanted("GC_FIND_LEAK")) GC_find_leak = 1;
    if (settings_wanted("GC_USE_ENTIRE_HEAP")) GC_use_entire_heap = 1;
    if (settings_wanted("GC_ENABLE_INCREMENTAL")) gc__set.incremental = 1;
    settings_int("GC_ALL_INTERIOR_POINTERS", &GC_all_interior_pointers);
    settings_int("GC_FORCE_UNMAP_ON_GCOLLECT", &gc__set.unmap_on_collect);
    settings_int("GC_FULL_FREQUENCY", &GC_full_freq);
    settings_int("GC_NPROCS", &settings_markers);
    settings_int("GC_MARKERS", &settings_markers);
    settings_size("GC_PAUSE_TIME_TARGET", &GC_time_limit);
    settings_size("GC_FREE_SPACE_DIVISOR", &GC_free_space_divisor);
    settings_size("GC_ALLOCD_BYTES_PER_FINALIZER", &settings_kept.bytes_per_finalizer);
    settings_size("GC_MAXIMUM_HEAP_SIZE", &gc__set.max_heap_bytes);
    settings_size("GC_INITIAL_HEAP_SIZE", &gc__set.least_heap_bytes);
    for (size_t i = 0; gc__set.prints && i < sizeof ignored / sizeof *ignored; i++)
        if (getenv(ignored[i])) GC_log_printf("%s has no effect here\n", ignored[i]);
}
