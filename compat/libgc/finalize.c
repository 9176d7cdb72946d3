/* finalize.c - finalizers: their order, who runs them and when; toggle refs.
 *
 * Ebb keeps the finalizers and finds out which are due. What is here says in which order, and has
 * them run where this interface runs them: in the calls of the program, at the next one that
 * allocates after the cycle, or, on demand, in GC_invoke_finalizers alone.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "turns.h"

#include <ebb/stats.h>

#include <stdlib.h>

/* How many finalizers this thread is in. */
static _Thread_local unsigned finalize_depth __attribute__((tls_model("initial-exec")));

/* --- Awaiting -----------------------------------------------------------------------------------
 */

/* The argument of a finalizer that was set while the program had a GC_await_finalize_proc, which is
 * told of the object right before. */
typedef struct awaited_call {
    GC_finalization_proc fn;
    void *arg;
} awaited_call;

static void awaited_run(void *object, void *arg) {
    const awaited_call *call = arg;
    GC_await_finalize_proc await = GC__SET(await);
    if (await) await(object);
    call->fn(object, call->arg);
}

static bool awaited_wrap(ebb_finalization *f) {
    if (!f->fn || !GC__SET(await)) return true;
    awaited_call *call = ebb_alloc(sizeof *call);
    if (!call) return false;
    *call = (awaited_call){f->fn, f->arg};
    *f = (ebb_finalization){awaited_run, call, f->order};
    return true;
}

static void awaited_unwrap(ebb_finalization *f) {
    if (f->fn != awaited_run) return;
    const awaited_call *call = f->arg;
    f->fn = call->fn;
    f->arg = call->arg;
}

/* --- Setting ------------------------------------------------------------------------------------
 */

static bool finalizer_swap(void *object, ebb_finalization now, ebb_finalization *before) {
    if (!awaited_wrap(&now)) return false;
    return ebb_finalizer_swap(object, &now, before) != EBB_ENOMEM;
}

/* What is no object of the heap has no finalizer: as documented, that is no error. */
static void finalizer_set(void *object, ebb_finalization now, GC_finalization_proc *old_fn,
                          void **old_arg) {
    ebb_finalization before = {0};
    gc__attend();
    if (GC_find_leak) return;
    void *base = ebb_base_of(object);
    if (base && base != object)
        gc__warn("a finalizer for 0x%lx, which is inside of an object, is not set",
                 (GC_word)object);
    if (base == object && object)
        while (!finalizer_swap(object, now, &before))
            if (!GC_oom_fn(sizeof now)) return;
    awaited_unwrap(&before);
    if (old_fn) *old_fn = before.fn;
    if (old_arg) *old_arg = before.arg;
}

void GC_register_finalizer(void *object, GC_finalization_proc fn, void *arg,
                           GC_finalization_proc *old_fn, void **old_arg) {
    finalizer_set(object, (ebb_finalization){fn, arg, EBB_ORDER_STRICT}, old_fn, old_arg);
}

void GC_register_finalizer_ignore_self(void *object, GC_finalization_proc fn, void *arg,
                                       GC_finalization_proc *old_fn, void **old_arg) {
    finalizer_set(object, (ebb_finalization){fn, arg, EBB_ORDER}, old_fn, old_arg);
}

void GC_register_finalizer_no_order(void *object, GC_finalization_proc fn, void *arg,
                                    GC_finalization_proc *old_fn, void **old_arg) {
    finalizer_set(object, (ebb_finalization){fn, arg, EBB_ORDER_NONE}, old_fn, old_arg);
}

/* Works, as documented, where GC_java_finalization is set. */
void GC_register_finalizer_unreachable(void *object, GC_finalization_proc fn, void *arg,
                                       GC_finalization_proc *old_fn, void **old_arg) {
    ebb_order order = GC_java_finalization ? EBB_ORDER_LAST : EBB_ORDER_STRICT;
    finalizer_set(object, (ebb_finalization){fn, arg, order}, old_fn, old_arg);
}

/* --- Running ------------------------------------------------------------------------------------
 */

int GC_invoke_finalizers(void) {
    int ran = 0;
    if (gc__in_turn()) return 0;
    GC_init();
    atomic_fetch_and_explicit(&gc__attention, ~(unsigned)GC__DUE, memory_order_relaxed);
    finalize_depth++;
    while (ebb_finalizer_run_one()) ran++;
    finalize_depth--;
    return ran;
}

int GC_should_invoke_finalizers(void) {
    struct ebb_stats now;
    if (!gc__is_up() || gc__in_turn()) return 0;
    ebb_stats_brief(&now);
    return now.finalizers_due > 0;
}

void GC_finalize_all(void) {
    GC_init();
    while (ebb_finalizers_all() > 0 && GC_invoke_finalizers() > 0) continue;
}

void gc__finalize_pending(void) {
    if (gc__in_turn() || finalize_depth > 0 || gc__lock_is_mine()) return;
    if (GC_finalize_on_demand)
        atomic_fetch_and_explicit(&gc__attention, ~(unsigned)GC__DUE, memory_order_relaxed);
    else
        GC_invoke_finalizers();
}

void gc__finalize_stopped(size_t due) {
    GC_finalizer_notifier_proc notifier = __atomic_load_n(&GC_finalizer_notifier, __ATOMIC_ACQUIRE);
    if (due == 0) return;
    if (!GC_finalize_on_demand)
        atomic_fetch_or_explicit(&gc__attention, GC__DUE, memory_order_relaxed);
    else if (notifier)
        notifier();
}

/* --- Toggle refs --------------------------------------------------------------------------------
 */

/* object is hidden (GC_HIDE_POINTER) from searches, also where it is strong. */
typedef struct toggle_ref {
    GC_hidden_pointer object;
    bool strong;
} toggle_ref;

static struct {
    toggle_ref *items;
    size_t count, room;
} toggles; /* changed under the allocation lock, or in the stop */

static bool toggle_room(void) {
    if (toggles.count < toggles.room) return true;
    size_t room = toggles.room ? 2 * toggles.room : 64;
    toggle_ref *items = realloc(toggles.items, room * sizeof *items);
    if (!items) return false;
    toggles.items = items;
    toggles.room = room;
    return true;
}

int GC_toggleref_add(void *object, int is_strong) {
    gc__attend();
    if (!GC__SET(toggle)) return GC_SUCCESS;
    gc__lock();
    bool room = toggle_room();
    if (room)
        toggles.items[toggles.count++] = (toggle_ref){GC_HIDE_POINTER(object), is_strong != 0};
    gc__unlock();
    return room ? GC_SUCCESS : GC_NO_MEMORY;
}

/* Asks the program what each is to be now, under the lock, with the world running. What a weak one
 * refers to is there still: the last cycle dropped those that died. */
void gc__toggles_stopping(void) {
    GC_toggleref_func decide = GC__SET(toggle);
    if (!decide || toggles.count == 0) return;
    gc__lock();
    for (size_t i = 0; i < toggles.count;) {
        toggle_ref *ref = &toggles.items[i];
        GC_ToggleRefStatus status = decide(GC_REVEAL_POINTER(ref->object));
        if (status == GC_TOGGLE_REF_DROP) {
            *ref = toggles.items[--toggles.count];
            continue;
        }
        ref->strong = status == GC_TOGGLE_REF_STRONG;
        i++;
    }
    gc__unlock();
}

void gc__toggles_roots(ebb_marker *marker) {
    for (size_t i = 0; i < toggles.count; i++)
        if (toggles.items[i].strong) ebb_mark(marker, GC_REVEAL_POINTER(toggles.items[i].object));
}

void gc__toggles_marked(void) {
    for (size_t i = 0; i < toggles.count;)
        if (ebb_is_marked(GC_REVEAL_POINTER(toggles.items[i].object)))
            i++;
        else
            toggles.items[i] = toggles.items[--toggles.count];
}
