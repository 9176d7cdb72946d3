/* threads.c - the allocation lock, registration of threads, stack bottoms, fork.
 *
 * Ebb finds and stops all threads by itself, and searches all of their stacks. So registering is
 * bookkeeping: what the calls return, and which threads an event is about. A stack bottom matters
 * where a program runs on stacks of its own: it says where the search of the one in use ends.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#ifndef _GNU_SOURCE
# define _GNU_SOURCE
#endif
#include "turns.h"

#include <errno.h>
#include <sys/auxv.h>
#include <unistd.h>

/* One a thread, in its thread-local storage. Registered ones are in a list, which changes under the
 * allocation lock; they leave it before the storage goes away. */
typedef struct thread_record {
    struct thread_record *next, **link; /* null while not registered */
    pthread_t id;
    char *bottom;     /* of the stack in use; null: not told */
    bool is_known;    /* is_first is true to life */
    bool is_first;    /* the thread of main: its bottom is GC_stackbottom */
    bool is_switched; /* bottom was set for a stack of the program's */
    unsigned locked;  /* how often it has the allocation lock */
} thread_record;

static _Thread_local thread_record thread_self __attribute__((tls_model("initial-exec")));
static thread_record *thread_list;
static char *thread_first_bottom; /* GC_stackbottom as it was in the beginning */
static bool thread_registering;   /* GC_register_my_thread may be called */

static thread_record *thread_mine(void) {
    thread_record *t = &thread_self;
    if (t->is_known) return t;
    t->is_known = true;
    t->is_first = getpid() == gettid();
    t->id = pthread_self();
    return t;
}

/* --- The allocation lock ------------------------------------------------------------------------
 */

static pthread_mutex_t lock_mutex = PTHREAD_MUTEX_INITIALIZER;

/* Who waits for the mutex can be stopped; who has it cannot. */
void gc__lock(void) {
    if (thread_self.locked++ > 0) return;
    pthread_mutex_lock(&lock_mutex);
    ebb_stop_defer();
}

void gc__unlock(void) {
    if (--thread_self.locked > 0) return;
    ebb_stop_allow();
    pthread_mutex_unlock(&lock_mutex);
}

bool gc__lock_is_mine(void) {
    return thread_self.locked > 0;
}

void GC_alloc_lock(void) {
    gc__attend();
    gc__lock();
}

void GC_alloc_unlock(void) {
    if (!gc__lock_is_mine()) gc__abort("GC_alloc_unlock: this thread has not the lock");
    gc__unlock();
}

void *GC_call_with_alloc_lock(GC_fn_type fn, void *data) {
    gc__attend();
    gc__lock();
    void *result = fn(data);
    gc__unlock();
    return result;
}

/* --- Registration -------------------------------------------------------------------------------
 */

static pthread_key_t thread_key; /* for those that end without having been unregistered */

static void thread_enter(char *bottom) {
    thread_record *t = thread_mine();
    t->bottom = bottom;
    gc__lock();
    t->next = thread_list;
    t->link = &thread_list;
    if (t->next) t->next->link = &t->next;
    thread_list = t;
    gc__unlock();
    pthread_setspecific(thread_key, t);
    ebb_blocking_begin(); /* so that Ebb has seen it, before it asks for anything */
    ebb_blocking_end();
}

static void thread_leave(void *record) {
    thread_record *t = record;
    if (!t->link) return;
    gc__blocking_leave();
    gc__lock();
    *t->link = t->next;
    if (t->next) t->next->link = t->link;
    t->next = NULL;
    t->link = NULL;
    gc__unlock();
    pthread_setspecific(thread_key, NULL);
}

void GC_allow_register_threads(void) {
    GC_init();
    __atomic_store_n(&thread_registering, true, __ATOMIC_RELEASE);
    GC_start_mark_threads();
}

int GC_register_my_thread(const struct GC_stack_base *base) {
    GC_init();
    if (!__atomic_load_n(&thread_registering, __ATOMIC_ACQUIRE))
        gc__abort("GC_register_my_thread: GC_allow_register_threads was not called before");
    if (thread_self.link) return GC_DUPLICATE;
    thread_enter(base->mem_base);
    return GC_SUCCESS;
}

int GC_unregister_my_thread(void) {
    thread_leave(&thread_self);
    return GC_SUCCESS;
}

int GC_thread_is_registered(void) {
    return thread_self.link != NULL;
}

void gc__threads_event(GC_EventType event) {
    GC_on_thread_event_proc tell = GC__SET(on_thread);
    if (!tell) return;
    for (thread_record *t = thread_list; t; t = t->next)
        if (t != &thread_self) tell(event, (void *)t->id);
}

/* --- Threads that are made by calls of ours ------------------------------------------------------
 */

/* An object of the heap: what is to be called, and then what it returned, which nothing else may
 * keep until somebody joins. In a list while the thread runs or can be joined. */
typedef struct thread_call {
    struct thread_call *next;
    void *(*fn)(void *);
    void *arg, *result;
    pthread_t id;
    bool detached, ended;
} thread_call;

static thread_call *call_list; /* [allocation lock] */
static _Thread_local thread_call *call_mine __attribute__((tls_model("initial-exec")));

static thread_call *call_find(pthread_t id) {
    gc__lock();
    thread_call *c = call_list;
    while (c && !pthread_equal(c->id, id)) c = c->next;
    gc__unlock();
    return c;
}

static void call_add(thread_call *c) {
    gc__lock();
    c->next = call_list;
    call_list = c;
    gc__unlock();
}

static void call_remove(thread_call *c) {
    gc__lock();
    for (thread_call **at = &call_list; *at; at = &(*at)->next) {
        if (*at != c) continue;
        *at = c->next;
        break;
    }
    gc__unlock();
}

static void call_ended(void *call) {
    thread_call *c = call;
    gc__lock();
    c->ended = true;
    bool forget = c->detached;
    gc__unlock();
    if (forget) call_remove(c);
    thread_leave(&thread_self);
}

static void *call_run(void *call) {
    thread_call *c = call;
    struct GC_stack_base base;
    c->id = pthread_self();
    call_mine = c;
    GC_get_stack_base(&base);
    thread_enter(base.mem_base);
    pthread_cleanup_push(call_ended, c);
    c->result = c->fn(c->arg);
    pthread_cleanup_pop(1);
    return c->result;
}

int GC_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*fn)(void *),
                      void *arg) {
    GC_allow_register_threads();
    int state = PTHREAD_CREATE_JOINABLE;
    thread_call *c = ebb_alloc(sizeof *c);
    if (!c) return EAGAIN;
    if (attributes) pthread_attr_getdetachstate(attributes, &state);
    *c = (thread_call){NULL, fn, arg, NULL, 0, state == PTHREAD_CREATE_DETACHED, false};
    call_add(c);
    int error = pthread_create(thread, attributes, call_run, c);
    if (error)
        call_remove(c);
    else
        c->id = *thread; /* as it says itself, perhaps later */
    return error;
}

int GC_pthread_join(pthread_t thread, void **result) {
    thread_call *c = call_find(thread);
    int error = pthread_join(thread, result);
    if (!error && c) call_remove(c);
    return error;
}

int GC_pthread_detach(pthread_t thread) {
    thread_call *c = call_find(thread);
    int error = pthread_detach(thread);
    if (error || !c) return error;
    gc__lock();
    c->detached = true;
    bool forget = c->ended;
    gc__unlock();
    if (forget) call_remove(c);
    return 0;
}

int GC_pthread_cancel(pthread_t thread) {
    return pthread_cancel(thread);
}

void GC_pthread_exit(void *result) {
    if (call_mine) call_mine->result = result;
    pthread_exit(result);
}

/* --- Stacks -------------------------------------------------------------------------------------
 */

int GC_get_stack_base(struct GC_stack_base *base) {
    pthread_attr_t attributes;
    void *start;
    size_t size;
    if (thread_mine()->is_first && thread_first_bottom) {
        base->mem_base = thread_first_bottom;
        return GC_SUCCESS;
    }
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return GC_UNIMPLEMENTED;
    int error = pthread_attr_getstack(&attributes, &start, &size);
    pthread_attr_destroy(&attributes);
    if (error) return GC_UNIMPLEMENTED;
    base->mem_base = (char *)start + size;
    return GC_SUCCESS;
}

__attribute__((noinline)) void *GC_call_with_stack_base(GC_stack_base_func fn, void *arg) {
    struct GC_stack_base base = {__builtin_frame_address(0)};
    void *result = fn(&base, arg);
    __asm__ volatile("" : : "r"(&base) : "memory"); /* the frame stays till here */
    return result;
}

void *GC_get_my_stackbottom(struct GC_stack_base *base) {
    thread_record *t = thread_mine();
    base->mem_base = t->is_first ? GC_stackbottom : t->bottom;
    if (!base->mem_base) GC_get_stack_base(base);
    return t;
}

void GC_set_stackbottom(void *handle, const struct GC_stack_base *base) {
    thread_record *t = handle ? handle : thread_mine();
    if (!gc__is_up() || t->is_first) {
        GC_stackbottom = base->mem_base;
        return;
    }
    t->bottom = base->mem_base;
    t->is_switched = true;
}

/* The end of the first thread's stack: what the system laid there before it is below. */
static char *thread_first_end(void) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    return (char *)((getauxval(AT_RANDOM) / page + 1) * page);
}

/* Where this thread's stack in use ends, if it is one of the program's; or null. */
static char *thread_switched_bottom(void) {
    const thread_record *t = thread_mine();
    char *first = __atomic_load_n(&GC_stackbottom, __ATOMIC_RELAXED);
    if (t->is_first) return first != thread_first_bottom ? first : NULL;
    return t->is_switched ? t->bottom : NULL;
}

/* Ebb is told of the stack that this thread runs on; of those that nobody runs on the program's
 * GC_push_other_roots takes care. From here on it is searched, so what called us is in it. By the
 * thread that makes the cycle; another one may be telling of the next when it is over. */
static struct {
    pthread_mutex_t mutex;
    void *start;    /* what was told; null: nothing */
    unsigned turns; /* also read in the stop */
} told = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local unsigned told_ended __attribute__((tls_model("initial-exec")));

/* In this order: a fork may come between the two. */
static void told_forget(void) {
    void *start = told.start;
    told.start = NULL;
    if (start) ebb_root_remove(start);
}

__attribute__((noinline)) void gc__threads_stopping(void) {
    enum { MOST_BYTES = 1 << 28 };
    char *here = __builtin_frame_address(0), *bottom = thread_switched_bottom();
    char *start = (char *)((uintptr_t)here | 1); /* odd: see roots.c */
    bool switched = bottom > here && bottom - here <= MOST_BYTES;
    pthread_mutex_lock(&told.mutex);
    told.turns++;
    told_forget();
    if (switched && ebb_stack_add(start, (size_t)(bottom - start)) == 0) told.start = start;
    pthread_mutex_unlock(&told.mutex);
}

void gc__threads_marked(void) {
    told_ended = told.turns;
}

void gc__threads_stopped(void) {
    pthread_mutex_lock(&told.mutex);
    if (told_ended == told.turns) told_forget();
    pthread_mutex_unlock(&told.mutex);
}

/* Where a signal is taken on a stack of its own is known to the system. */
void GC_register_altstack(void *stack, GC_word stack_bytes, void *alternate,
                          GC_word alternate_bytes) {
    (void)stack, (void)stack_bytes, (void)alternate, (void)alternate_bytes;
}

/* --- Fork ---------------------------------------------------------------------------------------
 */

/* Before Ebb's own: so nobody who has one of these waits for what Ebb has taken by then. The world
 * may stop meanwhile. */
static void fork_before(void) {
    pthread_mutex_lock(&gc__settings_mutex);
    pthread_mutex_lock(&gc__roots_mutex);
    if (thread_self.locked == 0) pthread_mutex_lock(&lock_mutex);
}

static void fork_parent(void) {
    if (thread_self.locked == 0) pthread_mutex_unlock(&lock_mutex);
    pthread_mutex_unlock(&gc__roots_mutex);
    pthread_mutex_unlock(&gc__settings_mutex);
}

/* The other threads are gone, and nobody joins them. */
static void fork_child(void) {
    thread_record *t = &thread_self;
    thread_list = t->link ? t : NULL;
    if (t->link) t->link = &thread_list;
    t->next = NULL;
    call_list = call_mine;
    if (call_mine) call_mine->next = NULL;
    t->is_known = false; /* it is the first thread of its process now, whatever it was */
    thread_mine();
    /* Not taken before, for who has it may be needed to end the cycle that Ebb waits for then. */
    pthread_mutex_init(&told.mutex, NULL);
    fork_parent();
}

void gc__threads_init(void) {
    if (!GC_stackbottom) GC_stackbottom = thread_first_end();
    thread_first_bottom = GC_stackbottom;
    if (pthread_key_create(&thread_key, thread_leave) != 0 ||
        pthread_atfork(fork_before, fork_parent, fork_child) != 0)
        gc__abort("GC_init: out of memory");
    thread_enter(thread_mine()->is_first ? GC_stackbottom : NULL);
}

/* Fork is always taken care of, so that there is nothing to be told, nor to be done by hand. */
void GC_set_handle_fork(int mode) {
    (void)mode;
}

void GC_atfork_prepare(void) {
}

void GC_atfork_parent(void) {
}

void GC_atfork_child(void) {
}
