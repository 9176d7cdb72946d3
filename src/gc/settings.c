/* settings.c - EBB_GC, EBB_DEBUG and EBB_PROFILE. docs/design.md, "Settings".
 *
 * They are lists of name=value, separated by commas. A name or value that is wrong is said on
 * standard error together with what is accepted, and passed over: a program does not fall over
 * because of its environment. */
#include "collector.h"

settings ebb__settings;

const char *const ebb__dirty_names[DIRTY_MODES] = {
    [DIRTY_OFF] = "off", [DIRTY_ALL] = "all", [DIRTY_KERNEL] = "kernel"};

/* A setting takes its value, "" for none, and says whether it was good. */
typedef struct setting {
    const char *name, *accepts;
    bool (*take)(const char *value);
} setting;

static bool number_of(const char *text, uint64_t most, uint64_t *n) {
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *n = value;
    return *end == 0 && errno == 0 && value <= most;
}

/* "512", "64MiB", "4GiB", "1.5GiB" is refused: whole numbers only. */
static bool size_of(const char *text, size_t *size) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno) return false;
    if (*end == 0) return *size = value, true;
    for (int i = 0; i < 5; i++)
        if (strcmp(end, units[i]) == 0 && value <= (SIZE_MAX >> (10 * i)))
            return *size = (size_t)value << (10 * i), true;
    return false;
}

static bool take_percent(const char *value) {
    uint64_t n = 0;
    bool off = strcmp(value, "off") == 0;
    if (!off && !number_of(value, 1000000, &n)) return false;
    atomic_store_explicit(&ebb__settings.percent, off ? -1 : (int)n, memory_order_relaxed);
    return true;
}

static bool take_limit(const char *value) {
    size_t size;
    if (!size_of(value, &size) || size == 0) return false;
    atomic_store_explicit(&ebb__space_limit, size, memory_order_relaxed);
    return true;
}

static bool take_signal(const char *value) {
    uint64_t n;
    if (!number_of(value, (uint64_t)ebb__os_stop_max(), &n) || n == 0) return false;
    ebb__settings.signal = (int)n;
    return true;
}

static bool take_threads(const char *value, int *threads) {
    uint64_t n;
    if (!number_of(value, 64, &n) || n == 0) return false;
    *threads = (int)n;
    return true;
}

static bool take_markers(const char *value) {
    return take_threads(value, &ebb__settings.markers);
}

static bool take_background(const char *value) {
    return take_threads(value, &ebb__settings.background);
}

static bool take_idle(const char *value) {
    uint64_t n = 0;
    if (strcmp(value, "off") != 0 && (!number_of(value, 86400, &n) || n == 0)) return false;
    ebb__settings.idle_seconds = (int)n;
    return true;
}

/* Milliseconds, with a fraction if need be: "1", "0.5". */
static bool take_pause(const char *value) {
    char *end;
    if (*value < '0' || *value > '9') return false;
    double ms = strtod(value, &end);
    if (*end != 0 || !(ms <= 10000)) return false;
    ebb__settings.pause_ns = (uint64_t)(ms * 1e6);
    return true;
}

static bool take_dirty(const char *value) {
    for (int i = 0; i < DIRTY_MODES; i++)
        if (strcmp(value, ebb__dirty_names[i]) == 0)
            return ebb__settings.dirty = (enum dirty_mode)i, true;
    return false;
}

static bool take_strangers(const char *value) {
    bool pass = strcmp(value, "pass") == 0;
    if (!pass && strcmp(value, "stop") != 0) return false;
    ebb__settings.strangers_pass = pass;
    return true;
}

static bool take_huge(const char *value) {
    ebb__space_huge = strcmp(value, "on") == 0;
    return ebb__space_huge || strcmp(value, "off") == 0;
}

static bool take_flag(const char *value, bool *flag) {
    uint64_t n;
    if (!number_of(value, 1, &n)) return false;
    *flag = n != 0;
    return true;
}

static bool take_trace(const char *value) {
    return take_flag(value, &ebb__settings.trace);
}

static bool take_verify(const char *value) {
    return take_flag(value, &ebb__settings.verify);
}

static bool take_checkmark(const char *value) {
    return take_flag(value, &ebb__settings.checkmark);
}

static bool take_oracle(const char *value) {
    return take_flag(value, &ebb__settings.oracle);
}

static bool take_yield(const char *value) {
    return number_of(value, UINT64_MAX, &ebb__yield_seed);
}

static bool take_room(const char *value) {
    size_t bytes;
    if (!size_of(value, &bytes) || bytes < KIB) return false;
    atomic_store_explicit(&ebb__settings.room_bytes, bytes, memory_order_relaxed);
    return true;
}

static bool take_stress(const char *value) {
    return number_of(value, UINT64_MAX, &ebb__settings.stress);
}

static bool take_fail(const char *value) {
    return number_of(value, UINT64_MAX, &ebb__settings.fail_alloc);
}

static bool take_misuse(const char *value) {
    bool aborts = strcmp(value, "abort") == 0;
    if (!aborts && strcmp(value, "return") != 0) return false;
    ebb__misuse_aborts = aborts;
    return true;
}

static bool take_serve(const char *value) {
    size_t length = strlen(value);
    if (length >= sizeof ebb__settings.serve_where) return false;
    if (length == 0) return ebb__settings.serve = true;
    memcpy(ebb__settings.serve_where, value, length + 1);
    return true;
}

static bool take_rate(const char *value) {
    size_t rate = 0;
    if (strcmp(value, "off") != 0 && (!size_of(value, &rate) || rate == 0)) return false;
    ebb__sample_rate = rate;
    return true;
}

static bool take_unwinder(const char *value) {
    for (int i = 0; i < UNWINDERS; i++)
        if (strcmp(value, ebb__os_unwinder_names[i]) == 0)
            return ebb__settings.unwinder = (enum os_unwinder)i, true;
    return false;
}

static bool take_profile_signal(const char *value) {
    uint64_t n = 0;
    bool off = strcmp(value, "off") == 0;
    if (!off && (!number_of(value, (uint64_t)ebb__os_stop_max(), &n) || n == 0)) return false;
    ebb__settings.profile.signal = (int)n;
    ebb__settings.profile.signal_given = !off;
    return true;
}

static bool take_path(const char *value, const char **path) {
    size_t size = strlen(value) + 1;
    char *kept = size > 1 ? ebb__record_alloc(size) : NULL;
    if (kept) *path = memcpy(kept, value, size);
    return kept != NULL;
}

static bool take_exit(const char *value) {
    return take_path(value, &ebb__settings.profile.exit);
}

static bool take_directory(const char *value) {
    return take_path(value, &ebb__settings.profile.directory);
}

static bool take_tool(const char *value) {
    return take_path(value, &ebb__settings.profile.tool);
}

static const setting profile_settings[] = {
    {"rate", "a size such as 512KiB, 1 for every object, or off", take_rate},
    {"unwind", "libunwind, backtrace or fp", take_unwinder},
    {"signal", "the number of a signal or off", take_profile_signal},
    {"exit", "the name of a file", take_exit},
    {"dir", "the name of a directory", take_directory},
    {"tool", "the name of the ebb command", take_tool},
    {NULL, NULL, NULL},
};

static const setting gc_settings[] = {
    {"percent", "a number or off", take_percent},
    {"limit", "a size such as 512MiB or 4GiB", take_limit},
    {"signal", "the number of a signal", take_signal},
    {"markers", "a number of threads from 1 to 64", take_markers},
    {"background", "a number of threads from 1 to 64", take_background},
    {"pause", "a number of milliseconds", take_pause},
    {"dirty", "off, all or kernel", take_dirty},
    {"idle", "a number of seconds or off", take_idle},
    {"strangers", "stop or pass", take_strangers},
    {"huge", "on or off", take_huge},
    {NULL, NULL, NULL},
};

static const setting debug_settings[] = {
    {"gctrace", "0 or 1", take_trace},
    {"verify", "0 or 1", take_verify},
    {"checkmark", "0 or 1", take_checkmark},
    {"oracle", "0 or 1", take_oracle},
    {"yield", "a number: the seed of delays; 0 is off", take_yield},
    {"room", "a size such as 512KiB", take_room},
    {"stress", "a number n: collect at every n-th allocation", take_stress},
    {"failalloc", "a number n: fail the n-th allocation", take_fail},
    {"misuse", "abort or return", take_misuse},
    {"serve", "nothing, or an address such as 127.0.0.1:6060", take_serve},
    {NULL, NULL, NULL},
};

static void setting_complain(const char *variable, const char *item, const setting *table,
                             const setting *known) {
    if (known) {
        ebb__warn("%s: \"%s\": %s takes %s", variable, item, known->name, known->accepts);
        return;
    }
    char names[160];
    size_t used = 0;
    for (; table->name; table++)
        used += (size_t)snprintf(names + used, sizeof names - used, " %s", table->name);
    ebb__warn("%s: \"%s\" is not known; there are:%s", variable, item, names);
}

static void setting_apply(const char *variable, const char *item, const setting *table) {
    const char *equals = strchr(item, '=');
    size_t length = equals ? (size_t)(equals - item) : strlen(item);
    const setting *s = table;
    while (s->name && !(strlen(s->name) == length && strncmp(s->name, item, length) == 0)) s++;
    if (!s->name)
        setting_complain(variable, item, table, NULL);
    else if (!s->take(equals ? equals + 1 : ""))
        setting_complain(variable, item, table, s);
}

static void settings_read(const char *variable, const setting *table) {
    char item[1024];
    const char *text = secure_getenv(variable);
    while (text && *text) {
        size_t length = strcspn(text, ",");
        if (length >= sizeof item) {
            ebb__warn("%s: a part of it is too long", variable);
        } else if (length > 0) {
            memcpy(item, text, length);
            item[length] = 0;
            setting_apply(variable, item, table);
        }
        text += length;
        if (*text) text++;
    }
}

void ebb__settings_start(void) {
    atomic_store_explicit(&ebb__settings.percent, 100, memory_order_relaxed);
    ebb__settings.signal = ebb__os_stop_default();
    ebb__settings.markers = (int)min_size(ebb__os_cpus(), 32);
    ebb__settings.background = (int)max_size(ebb__os_cpus() / 4, 1);
    ebb__settings.pause_ns = 1000000;
    atomic_store_explicit(&ebb__settings.room_bytes, ROOM_MIN, memory_order_relaxed);
    ebb__settings.dirty = DIRTY_KERNEL;
    ebb__settings.idle_seconds = 3;
    settings_read("EBB_GC", gc_settings);
    settings_read("EBB_DEBUG", debug_settings);
    ebb__sample_rate = 512 * KIB;
    ebb__settings.profile.signal = ebb__os_profile_signal();
    ebb__settings.profile.given = secure_getenv("EBB_PROFILE") != NULL;
    settings_read("EBB_PROFILE", profile_settings);
    if (ebb__yield_seed) ebb__settings.pause_ns = 0; /* small heaps too, beside the program */
    if (ebb__settings.checkmark) ebb__checkmark_start();
    ebb__heap_stressed = ebb__settings.stress || ebb__settings.fail_alloc;
}
