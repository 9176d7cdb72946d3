/* test_map_model.c - maps against arrays, for millions of random steps: what is there, and what an
 * iteration shows while the map changes under it. */
#include <ebb/ebb.h>

#include "test.h"

enum { MODEL_KEYS = 1 << 14 };

/* --- 64-bit integers ------------------------------------------------------------------------- */

EBB_MAP(model_ints, int64_t, uint32_t);
#define MODEL(name)     model_int_##name
#define MODEL_MAP       model_ints
#define MODEL_KEY(n)    ((int64_t)(n)*1000003 - 77)
#define MODEL_NUMBER(k) ((uint32_t)((k + 77) / 1000003))
#include "map_model.h"

TEST(map_model_ints) {
    model_int_run(4000000 * test_scale());
}

/* --- Small integers -------------------------------------------------------------------------- */

EBB_MAP(model_shorts, uint16_t, uint32_t);
#define MODEL(name)     model_short_##name
#define MODEL_MAP       model_shorts
#define MODEL_KEY(n)    ((uint16_t)(n))
#define MODEL_NUMBER(k) ((uint32_t)(k))
#include "map_model.h"

TEST(map_model_shorts) {
    model_short_run(1000000 * test_scale());
}

/* --- Strings of 1 to 44 characters ----------------------------------------------------------- */

static char model_text[MODEL_KEYS][48];

static void model_text_fill(void) {
    for (uint32_t n = 0; n < MODEL_KEYS; n++) {
        char *at = model_text[n];
        memset(at, 'x', n % 40);
        snprintf(at + n % 40, 8, "%u", n);
    }
}

static uint32_t model_text_number(ebb_str key) {
    return (uint32_t)((key.ptr - model_text[0]) / 48);
}

EBB_MAP(model_strings, ebb_str, uint32_t);
#define MODEL(name)     model_string_##name
#define MODEL_MAP       model_strings
#define MODEL_KEY(n)    ebb_s(model_text[n])
#define MODEL_NUMBER(k) model_text_number(k)
#include "map_model.h"

TEST(map_model_strings) {
    model_text_fill();
    model_string_run(2000000 * test_scale());
}

/* --- Large keys, which lie behind a pointer -------------------------------------------------- */

typedef struct large {
    uint32_t words[40];
} large;

static large model_large(uint32_t n) {
    large key = {{0}};
    for (size_t i = 0; i < 40; i++) key.words[i] = i % 3 == 0 ? n : (uint32_t)i;
    return key;
}

EBB_MAP(model_larges, large, uint32_t);
#define MODEL(name)     model_large_##name
#define MODEL_MAP       model_larges
#define MODEL_KEY(n)    model_large(n)
#define MODEL_NUMBER(k) ((k).words[0])
#include "map_model.h"

TEST(map_model_large_keys) {
    model_large_run(500000 * test_scale());
}

/* --- The program's own hash, and a bad one --------------------------------------------------- */

typedef struct pair {
    int16_t a;
    int64_t b;
} pair;

static uint64_t pair_hash(pair p) {
    return (uint64_t)p.b;
}

static bool pair_equal(pair p, pair q) {
    return p.a == q.a && p.b == q.b;
}

EBB_MAP_HASHED(model_pairs, pair, uint32_t, pair_hash, pair_equal);
#define MODEL(name)     model_pair_##name
#define MODEL_MAP       model_pairs
#define MODEL_KEY(n)    ((pair){7, (n)})
#define MODEL_NUMBER(k) ((uint32_t)(k).b)
#include "map_model.h"

TEST(map_model_hashed) {
    model_pair_run(1000000 * test_scale());
}

static uint64_t pair_hash_badly(pair p) {
    return (uint64_t)p.b % 61;
}

EBB_MAP_HASHED(model_clumps, pair, uint32_t, pair_hash_badly, pair_equal);
#define MODEL(name)     model_clump_##name
#define MODEL_MAP       model_clumps
#define MODEL_KEY(n)    ((pair){7, (n)})
#define MODEL_NUMBER(k) ((uint32_t)(k).b)
#include "map_model.h"

TEST(map_model_hashed_badly) {
    model_clump_run(500000 * test_scale());
}
