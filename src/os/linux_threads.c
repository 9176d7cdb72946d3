/* linux_threads.c - threads, stopping and root areas on Linux with glibc.
 *
 * Threads are read from /proc/self/task, so that those made by libraries that never heard of Ebb
 * are found too; stack bounds from /proc/self/maps, because a foreign thread cannot be asked.
 * Thread-local storage of any thread is found through its thread pointer and glibc's dynamic thread
 * vector, whose form libthread_db relies on too. See docs/design.md, "Roots". */
#include "threads.h"
#include "linux_text.h"

#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#if defined(__SANITIZE_THREAD__)
# define TSAN_BUILD 1
#elif defined(__has_feature)
# if __has_feature(thread_sanitizer)
#  define TSAN_BUILD 1
# endif
#endif
#ifndef TSAN_BUILD
# define TSAN_BUILD 0
#endif

/* Tell ThreadSanitizer of the loader's lock, which it does not see. */
void __tsan_acquire(void *lock);
void __tsan_release(void *lock);

/* SigBlk of a thread that blocks all signals: not SIGKILL, SIGSTOP and the C library's two. */
#define ALL_BLOCKED 0xfffffffe7ffbfeffull

int ebb__os_tid(void) {
    return (int)syscall(SYS_gettid);
}

int ebb__os_pid(void) {
    return (int)getpid();
}

uintptr_t ebb__os_main_stack(void) {
    return (uintptr_t)getauxval(AT_EXECFN);
}

/* --- Ends of threads, threads of our own ------------------------------------------------------ */

static pthread_key_t thread_end_key;
static bool thread_end_keyed;
static pthread_once_t thread_end_once = PTHREAD_ONCE_INIT;
static void (*_Atomic thread_end_fn)(void *);

static void thread_end_make_key(void) {
    if (pthread_key_create(&thread_end_key, thread_end_fn) != 0)
        ebb__warn("no thread key is left: records of ended threads wait for the next cycle");
    else
        thread_end_keyed = true;
}

void ebb__os_at_thread_end(void (*fn)(void *), void *arg) {
    atomic_store_explicit(&thread_end_fn, fn, memory_order_relaxed); /* the same every time */
    pthread_once(&thread_end_once, thread_end_make_key);
    if (thread_end_keyed) pthread_setspecific(thread_end_key, arg);
}

/* Making a thread takes locks of the loader's, which may be with a thread that is stopped: who
 * waits for them must be able to stop too. So the mask is given to the new thread alone, where it
 * can be. */
static int thread_create(pthread_attr_t *attributes, const sigset_t *mask, void *(*fn)(void *),
                         void *arg) {
    pthread_t thread;
#if __GLIBC_PREREQ(2, 32)
    if (pthread_attr_setsigmask_np(attributes, mask) != 0) return EBB_ESYSTEM;
    return pthread_create(&thread, attributes, fn, arg);
#else
    sigset_t before;
    pthread_sigmask(SIG_SETMASK, mask, &before);
    int error = pthread_create(&thread, attributes, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
#endif
}

int ebb__os_thread(void *(*fn)(void *), void *arg, int open_signal) {
    pthread_attr_t attributes;
    sigset_t mask;
    if (pthread_attr_init(&attributes) != 0) return EBB_ESYSTEM;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 512 * KIB);
    sigfillset(&mask);
    sigdelset(&mask, open_signal);
    int error = thread_create(&attributes, &mask, fn, arg);
    /* Static thread-local storage of the program's may be larger than that. */
    if (error) {
        pthread_attr_destroy(&attributes);
        if (pthread_attr_init(&attributes) != 0) return EBB_ESYSTEM;
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        error = thread_create(&attributes, &mask, fn, arg);
    }
    pthread_attr_destroy(&attributes);
    return error ? EBB_ESYSTEM : 0;
}

int ebb__os_cancel_defer(void) {
    int state = PTHREAD_CANCEL_ENABLE;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

void ebb__os_cancel_restore(int state) {
    pthread_setcancelstate(state, NULL);
}

/* --- Lists in /proc -----------------------------------------------------------------------------
 */

/* A seam for tests. */
#ifndef EBB__LIST_CALL
# define EBB__LIST_CALL(call) (call)
#endif

struct linux_dirent {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* The system counts a directory's subdirectories, here the threads, as links to it. */
static int threads_of(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 ? (int)status.st_nlink - 2 : EBB_ESYSTEM;
}

int ebb__os_threads(int *tids, int max, int *there) {
    _Alignas(8) char buffer[4096];
    int count = 0;
    int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return EBB_ESYSTEM;
    long bytes;
    while ((bytes = EBB__LIST_CALL(syscall(SYS_getdents64, fd, buffer, sizeof buffer))) > 0) {
        for (long at = 0; at < bytes;) {
            const struct linux_dirent *entry = (const void *)(buffer + at);
            at += entry->length;
            if (entry->name[0] < '0' || entry->name[0] > '9') continue;
            if (count < max) tids[count] = atoi(entry->name);
            count++;
        }
    }
    if (there) *there = threads_of(fd);
    close(fd);
    return bytes < 0 || (there && *there < 0) ? EBB_ESYSTEM : count;
}

static const char *proc_field(const char *text, const char *name) {
    const char *at = strstr(text, name);
    return at ? at + strlen(name) : "";
}

/* Whether a thread of the process runs in the kernel only (io_uring's and vhost's workers): flags
 * PF_IO_WORKER and PF_USER_WORKER, in the seventh field after the name in parentheses. */
static bool proc_kernel_worker(int tid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    if (!*ebb__linux_text(path, text, sizeof text)) return false;
    const char *at = strrchr(text, ')');
    for (int field = 0; at && field < 7; field++) at = strchr(at + 1, ' ');
    return at && (strtoul(at, NULL, 10) & (0x10 | 0x4000)) != 0;
}

/* ThreadSanitizer's own threads block all signals and sleep; each process has one or two. A thread
 * of the program's that does the same is taken for one, and not searched before it calls us. */
static bool tool_thread(int tid) {
    char path[64], text[256];
    if (!TSAN_BUILD) return false;
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    if (!*ebb__linux_text(path, text, sizeof text)) return false;
    long call = strtol(text, NULL, 10);
    return call == SYS_nanosleep || call == SYS_clock_nanosleep;
}

enum os_silence ebb__os_silence(int tid, int signal, char *name, size_t name_size) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%d/status", tid);
    name[0] = 0;
    errno = 0;
    if (!*ebb__linux_text(path, text, sizeof text))
        return errno == ENOENT || errno == ESRCH ? OS_SILENCE_GONE : OS_SILENCE_UNKNOWN;
    const char *state = proc_field(text, "State:\t");
    if (*state == 'Z' || *state == 'X') return OS_SILENCE_GONE;
    const char *label = proc_field(text, "Name:\t");
    snprintf(name, name_size, "%.*s", (int)strcspn(label, "\n"), label);
    unsigned long long blocked = strtoull(proc_field(text, "SigBlk:\t"), NULL, 16);
    if (!(blocked >> (signal - 1) & 1)) return OS_SILENCE_UNKNOWN;
    if (blocked == ALL_BLOCKED && tool_thread(tid)) return OS_SILENCE_TOOL;
    return proc_kernel_worker(tid) ? OS_SILENCE_GONE : OS_SILENCE_BLOCKED;
}

/* --- Stopping -----------------------------------------------------------------------------------
 */

static os_stop_handler stop_handler;

static void stop_called(uintptr_t sp, void *unused) {
    (void)unused;
    stop_handler(sp);
}

/* The interrupted registers lie in the signal frame, above this one; the red zone above that.
 * ThreadSanitizer calls handlers later, at a call of the program's: there is no such frame, and the
 * registers are those that calls preserve. */
static __attribute__((noinline)) void stop_signal(int signal) {
    int saved = errno;
    (void)signal;
    if (TSAN_BUILD)
        ebb__os_with_registers(stop_called, NULL);
    else
        stop_handler((uintptr_t)__builtin_frame_address(0));
    errno = saved;
}

int ebb__os_stop_install(int signal, os_stop_handler handler) {
    struct sigaction action = {.sa_handler = stop_signal, .sa_flags = SA_RESTART};
    if (signal < 1 || signal > SIGRTMAX) return EBB_EINVAL;
    stop_handler = handler;
    sigfillset(&action.sa_mask);
    return sigaction(signal, &action, NULL) == 0 ? 0 : EBB_EINVAL;
}

static void (*asked_handler)(int signal);

static void asked_signal(int signal) {
    int saved = errno;
    asked_handler(signal);
    errno = saved;
}

int ebb__os_signal_install(int signal, void (*handler)(int signal)) {
    struct sigaction action = {.sa_handler = asked_signal, .sa_flags = SA_RESTART}, before;
    if (sigaction(signal, NULL, &before) != 0) return EBB_EINVAL;
    if (before.sa_flags & SA_SIGINFO || before.sa_handler != SIG_DFL) return EBB_EBUSY;
    asked_handler = handler;
    sigemptyset(&action.sa_mask);
    return sigaction(signal, &action, NULL) == 0 ? 0 : EBB_EINVAL;
}

int ebb__os_stop_default(void) {
    return SIGRTMIN + 7;
}

int ebb__os_profile_signal(void) {
    return SIGUSR2;
}

int ebb__os_stop_max(void) {
    return SIGRTMAX;
}

bool ebb__os_signals_late(void) {
    return TSAN_BUILD;
}

bool ebb__os_stop_send(int tid, int signal) {
    return syscall(SYS_tgkill, getpid(), tid, signal) == 0 || errno != ESRCH;
}

void ebb__os_signal_block(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

__attribute__((noinline)) void ebb__os_with_registers(void (*fn)(uintptr_t sp, void *arg),
                                                      void *arg) {
    uintptr_t sp;
    __builtin_unwind_init();
#if defined(__x86_64__)
    __asm__ volatile("mov %%rsp, %0" : "=r"(sp));
#elif defined(__aarch64__)
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#else
# error "no way to read the stack pointer on this processor"
#endif
    fn(sp, arg);
    __asm__ volatile("" : : : "memory"); /* no tail call: the frame holds the registers */
}

__attribute__((noinline)) void ebb__os_forget_registers(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        __asm__ volatile(".irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
                         "vpxord %zmm\\n, %zmm\\n, %zmm\\n\n\t.endr");
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vzeroall");
    else
        __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
                         "pxor %xmm\\n, %xmm\\n\n\t.endr");
#elif defined(__aarch64__)
    __asm__ volatile(".irp n,0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
                     "movi v\\n\\().2d, #0\n\t.endr");
#endif
}

uintptr_t ebb__os_thread_pointer(void) {
    uintptr_t tp;
#if defined(__x86_64__)
    __asm__("mov %%fs:0, %0" : "=r"(tp));
#else
    __asm__("mrs %0, tpidr_el0" : "=r"(tp));
#endif
    return tp;
}

bool ebb__os_on_alternate_stack(os_range *stack) {
    stack_t s;
    if (sigaltstack(NULL, &s) != 0 || !(s.ss_flags & SS_ONSTACK)) return false;
    stack->start = (uintptr_t)s.ss_sp;
    stack->end = stack->start + s.ss_size;
    return true;
}

/* --- Ranges -------------------------------------------------------------------------------------
 */

bool ebb__os_ranges_add(os_ranges *list, uintptr_t start, uintptr_t end) {
    if (list->count == list->room) {
        size_t bytes = max_size(2 * list->room * sizeof(os_range), 16 * KIB);
        os_range *larger = ebb__os_enlarge(list->items, list->room * sizeof(os_range),
                                           list->count * sizeof(os_range), bytes);
        if (!larger) {
            list->failed = true;
            return false;
        }
        list->items = larger;
        list->room = bytes / sizeof(os_range);
    }
    list->items[list->count++] = (os_range){start, end};
    return true;
}

/* As linux/fs.h has it since Linux 6.11. */
struct mapping_query {
    uint64_t size, flags, address;
    uint64_t start, end, is, page_size, offset, inode;
    uint32_t device[2], name_size, build_id_size;
    uint64_t name, build_id;
};
#define MAPPING_QUERY _IOWR('f', 17, struct mapping_query)
enum { MAPPING_READABLE = 1, MAPPING_WRITABLE = 2, MAPPING_THERE_OR_NEXT = 16 };

/* Asks for one after the other: a third of the time that it takes to read their lines. */
static bool mappings_ask(const char *path, os_ranges *list) {
    struct mapping_query q = {.size = sizeof q,
                              .flags = MAPPING_READABLE | MAPPING_WRITABLE | MAPPING_THERE_OR_NEXT};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    os_ranges_clear(list);
    while (ioctl(fd, MAPPING_QUERY, &q) == 0 && ebb__os_ranges_add(list, q.start, q.end))
        q.address = q.end;
    bool all = errno == ENOENT && !list->failed && list->count > 0;
    close(fd);
    return all;
}

/* One line of /proc/self/maps: "start-end rwxp …". */
static bool mapping_add(char *line, void *list) {
    char *at;
    uintptr_t start = strtoul(line, &at, 16);
    if (*at != '-') return true;
    uintptr_t end = strtoul(at + 1, &at, 16);
    if (at[0] != ' ' || at[1] != 'r' || at[2] != 'w') return true;
    return ebb__os_ranges_add(list, start, end);
}

static bool mappings_read(const char *path, os_ranges *list) {
    os_ranges_clear(list);
    return ebb__linux_lines(path, mapping_add, list) && list->count > 0;
}

/* The process has none when its first thread has ended: then by way of this one. */
bool ebb__os_mappings(os_ranges *list) {
    static const char ours[] = "/proc/self/maps", mine[] = "/proc/thread-self/maps";
    return mappings_ask(ours, list) || mappings_read(ours, list) || mappings_ask(mine, list) ||
           mappings_read(mine, list);
}

const os_range *ebb__os_mapping_of(const os_ranges *list, uintptr_t address) {
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (list->items[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < list->count && list->items[low].start <= address ? &list->items[low] : NULL;
}

/* --- Segments and thread-local storage -----------------------------------------------------------
 */

/* Module numbers and sizes of thread-local storage: {number, bytes}. [loader's lock] */
static os_ranges tls_modules;

struct segments_call {
    os_ranges *segments;
    void (*fn)(void *arg);
    void *arg;
};

static int segments_of(struct dl_phdr_info *info, size_t size, void *data) {
    struct segments_call *call = data;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + h->p_vaddr;
        if (h->p_type == PT_LOAD && (h->p_flags & PF_W))
            ebb__os_ranges_add(call->segments, start, start + h->p_memsz);
        if (h->p_type == PT_TLS && h->p_memsz > 0 &&
            size >= offsetof(struct dl_phdr_info, dlpi_tls_data))
            ebb__os_ranges_add(&tls_modules, info->dlpi_tls_modid, h->p_memsz);
    }
    return 0;
}

/* The loader's lock is held from here on: list, with a call inside the call, then work. */
static int segments_first(struct dl_phdr_info *info, size_t size, void *data) {
    struct segments_call *call = data;
    (void)info, (void)size;
    if (TSAN_BUILD) __tsan_acquire(&tls_modules);
    os_ranges_clear(call->segments);
    os_ranges_clear(&tls_modules);
    dl_iterate_phdr(segments_of, data);
    call->segments->failed |= tls_modules.failed;
    call->fn(call->arg);
    if (TSAN_BUILD) __tsan_release(&tls_modules);
    return 1;
}

void ebb__os_with_segments(os_ranges *segments, void (*fn)(void *arg), void *arg) {
    struct segments_call call = {segments, fn, arg};
    dl_iterate_phdr(segments_first, &call);
}

static uintptr_t word_at(uintptr_t address) {
    return *(const uintptr_t *)address;
}

/* glibc's descriptor of the thread lies beside the thread pointer and holds the first values of
 * pthread_setspecific. */
enum { DESCRIPTOR_BYTES = 4096 };

void ebb__os_thread_storage(uintptr_t tp, uintptr_t sp, const os_ranges *mappings,
                            os_ranges *list) {
    const os_range *around = tp % 8 == 0 ? ebb__os_mapping_of(mappings, tp) : NULL;
    if (!around) return;
    /* A descriptor on the thread's own stack is part of that; around it are dead frames. */
    if (around != ebb__os_mapping_of(mappings, sp))
        ebb__os_ranges_add(list, max_size(around->start, tp - DESCRIPTOR_BYTES),
                           min_size(around->end, tp + DESCRIPTOR_BYTES));
#if defined(__GLIBC__)
# if defined(__x86_64__)
    uintptr_t vector = word_at(tp + 8);
# else
    uintptr_t vector = word_at(tp);
# endif
    const os_range *of_vector = ebb__os_mapping_of(mappings, vector);
    if (!of_vector || vector % 8 != 0 || vector - of_vector->start < 16) return;
    size_t slots = word_at(vector - 16);
    for (size_t i = 0; i < tls_modules.count; i++) {
        size_t number = tls_modules.items[i].start, bytes = tls_modules.items[i].end;
        uintptr_t entry = vector + number * 16;
        if (number > slots || entry + 16 > of_vector->end) continue;
        uintptr_t start = word_at(entry);
        const os_range *block = ebb__os_mapping_of(mappings, start);
        if (start == UINTPTR_MAX || !block) continue;
        ebb__os_ranges_add(list, start, min_size(start + bytes, block->end));
    }
#endif
}

void ebb__os_at_fork(void (*before)(void), void (*parent)(void), void (*child)(void)) {
    if (pthread_atfork(before, parent, child) != 0)
        ebb__warn("fork handlers could not be installed: children must not use Ebb");
}
