/* test_tool_replay.c - the fuzz target of profiles without a fuzzer: inputs drawn from the seed.
 * docs/testing.md, "Profiles". */
#include "../fuzz/fuzz_profile.c"

#include "test.h"

TEST(replay_profiles) {
    static uint8_t input[4096];
    uint64_t state = test_seed();
    for (size_t i = 0; i < 20000 * test_scale() / (test_slow() ? 10 : 1); i++) {
        size_t size = 1 + (size_t)test_random_below(&state, sizeof input - 1);
        for (size_t at = 0; at < size; at++) input[at] = (uint8_t)test_random(&state);
        input[0] |= i % 8 != 0;
        LLVMFuzzerTestOneInput(input, size);
    }
}
