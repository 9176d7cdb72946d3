/* turn.c - a client that asks in a loop, or a hundred of them, must not keep the program stopped:
 * who asks from outside waits for a turn before the world is stopped for it. docs/design.md, "Debug
 * server".
 *
 * The turn is had by whoever has the word; a child of fork that finds its parent's there takes it.
 * Who waits looks again when one ends, and now and then, for a reader that has gone meanwhile. */
#include "turn.h"
#include "../gc/collector.h"

static struct {
    _Atomic(int)
        owner; /* the process, 0 is nobody: acquire by who gets it, release by who had it */
    _Atomic(uint32_t) ended;       /* turns: release by who had it; acquire by who waits on it */
    uint64_t next_ns;              /* no sooner [owner] */
    uint64_t began_ns, stopped_ns; /* how it was when the turn began [owner] */
} turn;

static bool turn_take(void) {
    int owner = atomic_load_explicit(&turn.owner, memory_order_relaxed), self = ebb__os_pid();
    return owner != self &&
           atomic_compare_exchange_strong_explicit(&turn.owner, &owner, self, memory_order_acquire,
                                                   memory_order_relaxed);
}

static void turn_leave(void) {
    atomic_store_explicit(&turn.owner, 0, memory_order_release);
    atomic_fetch_add_explicit(&turn.ended, 1, memory_order_release);
    ebb__os_wake(&turn.ended, true);
}

/* How long there is to wait before this thread has it: 0, it has. */
static uint64_t turn_try(uint64_t now) {
    enum { LOOK_AGAIN_NS = 20000000 };
    if (!turn_take()) return LOOK_AGAIN_NS;
    if (now >= turn.next_ns) return 0;
    uint64_t left = turn.next_ns - now;
    atomic_store_explicit(&turn.owner, 0, memory_order_release);
    return min_size(left, LOOK_AGAIN_NS);
}

bool ebb__turn_begin(reply *to) {
    if (!to->guest) return true;
    for (;;) {
        uint32_t ended = atomic_load_explicit(&turn.ended, memory_order_acquire);
        if (ebb__reply_failed(to)) return false;
        uint64_t now = ebb__os_now_ns(), wait_ns = turn_try(now);
        if (wait_ns == 0) {
            turn.began_ns = now;
            turn.stopped_ns = ebb__world_stopped_ns(NULL);
            return true;
        }
        ebb__os_wait(&turn.ended, ended, wait_ns);
    }
}

void ebb__turn_end(const reply *to) {
    if (!to->guest) return;
    uint64_t now = ebb__os_now_ns(), stood = ebb__world_stopped_ns(NULL) - turn.stopped_ns;
    uint64_t gap = max_size(now - turn.began_ns, (TURN_SHARE - 1) * stood);
    turn.next_ns = now + max_size(gap, TURN_GAP_NS);
    turn_leave();
}
