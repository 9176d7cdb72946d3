/* test_tool_json.c - JSON that anybody may have replied: what is read of it and what is refused;
 * then the fuzz target without a fuzzer, inputs drawn from the seed. docs/testing.md, "Served". */
#include "../fuzz/fuzz_json.c"

#include "test.h"

TEST(values_come_with_their_paths) {
    struct walked w;
    CHECK(text_walk(" { \"a\" : [ 1 , { \"b\" : -2.5e-3 } ] } ", &w));
    CHECK_EQ(w.values, 2);
    CHECK_STR(w.path, "a[].b");
    CHECK_STR(w.last, "-2.5e-3");
    CHECK(text_walk("\"\\u0041\\n\\ud83d\"", &w));
    CHECK_STR(w.last, "A\n?");
    CHECK(text_walk("[[], {}, \"\"]", &w));
    CHECK_EQ(w.values, 1);
}

TEST(what_is_none_is_refused) {
    static const char *const none[] = {
        "",        "nan",         "inf",       "-inf",     "+1",          "01",
        "1.",      ".5",          "1e",        "1e+",      "-",           "0x10",
        "truth",   "nul",         "True",      "1 2",      "[1,]",        "{,}",
        "{\"a\"}", "{1:2}",       "[1",        "{\"a\":1", "\"a",         "\"\\x\"",
        "\"\n\"",  "[}",          "\"\\u00\"", "\"\\",     "{\"a\":nan}", "]",
        "[1]]",    "\"\\u00g0\"", "\x1b",      "\"\t\"",   "[\x01]",      "Infinity",
        "--1",     "1e5.5",       "-nan",
    };
    struct walked w;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        if (text_walk(none[i], &w)) test_fail(__FILE__, __LINE__, "taken: %s", none[i]);
}

/* n opening brackets, and the closing ones. */
static bool nested_walk(size_t n) {
    static char text[1 << 16];
    struct walked w;
    memset(text, '[', n);
    memset(text + n, ']', n);
    text[2 * n] = 0;
    return text_walk(text, &w);
}

TEST(depth_and_length_are_bounded) {
    static char text[1 << 16];
    struct walked w;
    CHECK(nested_walk(16));
    CHECK(!nested_walk(17));
    CHECK(!nested_walk(30000));
    memset(text, '1', sizeof text - 1);
    CHECK(!text_walk(text, &w));
    text[0] = text[sizeof text - 2] = '"';
    CHECK(text_walk(text, &w));
    CHECK_EQ(strlen(w.last), VALUE_BYTES - 1);
    snprintf(text, sizeof text, "{\"%0600d\":1}", 0);
    CHECK(!text_walk(text, &w));
}

TEST(replay_json) {
    static uint8_t input[4096];
    uint64_t state = test_seed();
    for (size_t i = 0; i < 20000 * test_scale() / (test_slow() ? 10 : 1); i++) {
        size_t size = 1 + (size_t)test_random_below(&state, sizeof input - 1);
        for (size_t at = 0; at < size; at++) input[at] = (uint8_t)test_random(&state);
        LLVMFuzzerTestOneInput(input, size);
    }
}
