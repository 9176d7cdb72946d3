/* test_internal_replay.c - the fuzz target of the graph without a fuzzer: inputs drawn at random
 * from the seed, under each who tells of written pages. docs/testing.md, "Fuzzing". */
#include "../fuzz/fuzz_graph.c"

#include "modes.h"
#include "test.h"

enum { REPLAYS = 60, REPLAY_BYTES = 3000 };

/* Numbers of the same kind in a row, so that a graph grows before it is cut. */
static size_t replay_input(uint8_t *input, uint64_t *state) {
    size_t size = 3 * (size_t)(1 + test_random_below(state, REPLAY_BYTES / 3));
    for (size_t at = 0; at < size;) {
        uint64_t choice = test_random(state);
        for (uint64_t run = 1 + choice % 24; run > 0 && at < size; run--) {
            input[at++] = (uint8_t)(choice & 1 << 20 ? choice >> 24 : test_random(state));
            input[at++] = (uint8_t)test_random(state);
            input[at++] = (uint8_t)test_random(state);
        }
    }
    return size;
}

static void replay(void) {
    static uint8_t input[REPLAY_BYTES];
    uint64_t state = test_seed();
    size_t steps = 0;
    for (size_t i = 0; i < REPLAYS * test_scale(); i++) {
        size_t size = replay_input(input, &state);
        LLVMFuzzerTestOneInput(input, size);
        steps += size / 3;
    }
    modes_steps(steps);
}

TEST(replay_beside) {
    replay();
}

TEST(replay_with_every_page_written) {
    setenv("EBB_GC", "pause=0,dirty=all", 1);
    replay();
}

TEST(replay_stopped) {
    setenv("EBB_GC", "dirty=off", 1);
    replay();
}

TEST(replay_as_it_comes) {
    setenv("EBB_GC", "", 1);
    setenv("EBB_DEBUG", "misuse=abort,checkmark=1,oracle=1,room=64KiB", 1);
    replay();
}
