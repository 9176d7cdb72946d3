/* collect.c - collections on demand, and the calls that once made them gradual.
 *
 * Ebb's collector marks beside the program and knows which pages were written, whether a program
 * asks for that or not: the incremental mode is a flag that reads as it was set, and there never is
 * a little left to be done by those who would do it.
 *
 * Part of "libgc.so.1" in docs/design.md. */
#include "turns.h"

/* True when there was one. What it found to finalize has been finalized then, as far as this thread
 * may do that now. */
static bool collect_now(GC_stop_func stop, bool unmap) {
    gc__attend();
    if (gc__in_turn() || (stop && stop())) return false;
    gc__settings_apply();
    if (gc__settings_held()) return false;
    int error = 0;
    if (unmap)
        ebb_release();
    else
        error = ebb_collect();
    gc__attend();
    return error == 0;
}

void GC_gcollect(void) {
    collect_now(GC__SET(stop), GC__SET(unmap_on_collect) != 0);
}

void GC_gcollect_and_unmap(void) {
    collect_now(NULL, true);
}

/* Asked once, before: a cycle runs beside the program, so that there is no long one to break off.
 */
int GC_try_to_collect(GC_stop_func stop) {
    return collect_now(stop, GC__SET(unmap_on_collect) != 0);
}

int GC_collect_a_little(void) {
    gc__attend();
    return 0;
}

void GC_enable_incremental(void) {
    GC_init();
    if (!gc__settings_held()) __atomic_store_n(&gc__set.incremental, 1, __ATOMIC_RELEASE);
}

int GC_is_incremental_mode(void) {
    return GC__SET(incremental);
}

/* No page is protected: system calls write to objects as before. */
int GC_incremental_protection_needs(void) {
    return GC_PROTECTS_NONE;
}

/* The collector begins a cycle when it is time, in threads of its own. */
void GC_start_incremental_collection(void) {
    gc__attend();
}

/* The heap takes what it needs when it needs it: so much more may it have before it is collected.
 */
int GC_expand_hp(size_t bytes) {
    gc__attend();
    GC_word most = GC__SET(max_heap_bytes), heap = GC_get_heap_size();
    if (most != 0 && (bytes > most || heap > most - bytes)) return 0;
    gc__settings_expand(heap, bytes);
    return 1;
}
