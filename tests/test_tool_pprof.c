/* test_tool_pprof.c - profiles: written and read again, merged, and files that are not as they
 * should be. docs/testing.md, "Profiles". */
#include "test.h"

#include "../tools/pprof.h"

/* --- A profile to begin with ---------------------------------------------------------------- */

enum { TYPES = 2, STACKS = 3 };

static void made_location(struct pprof *p, uint64_t address, const char *name, int64_t line) {
    struct pprof_location *location = PPROF_ADD(p, locations);
    location->address = address;
    location->mapping = 0;
    struct pprof_function f = {.name = pprof_add_string(p, name),
                               .system_name = pprof_add_string(p, name),
                               .file = pprof_add_string(p, "cache.c"),
                               .line = 3};
    pprof_add_line(p, p->locations_count - 1, &f, line);
}

/* Two types, a mapping at base, three locations, the last with two lines, and three samples whose
 * values are i + 1 and factor times that. */
static void made(struct pprof *p, uint64_t base, int64_t factor) {
    pprof_begin(p);
    *PPROF_ADD(p, types) =
        (struct pprof_type){pprof_add_string(p, "inuse_objects"), pprof_add_string(p, "count")};
    *PPROF_ADD(p, types) =
        (struct pprof_type){pprof_add_string(p, "inuse_space"), pprof_add_string(p, "bytes")};
    p->period_type =
        (struct pprof_type){pprof_add_string(p, "space"), pprof_add_string(p, "bytes")};
    p->period = 524288;
    p->time_ns = 1700000000000000000;
    *PPROF_ADD(p, comments) = pprof_add_string(p, "made by hand");
    p->default_type = pprof_add_string(p, "inuse_space");
    struct pprof_mapping *m = PPROF_ADD(p, mappings);
    *m = (struct pprof_mapping){.start = base, .limit = base + 0x1000, .offset = 0x2000};
    m->file = pprof_add_string(p, "/usr/bin/cache");
    m->build_id = pprof_add_string(p, "0123abcd");
    m->has_functions = true;
    made_location(p, base + 0x10, "cache_get", 40);
    made_location(p, base + 0x20, "cache_put", 50);
    made_location(p, base + 0x30, "cache_inner", 60);
    struct pprof_function outer = {.name = pprof_add_string(p, "cache_outer")};
    pprof_add_line(p, 2, &outer, 70);
    for (uint32_t i = 0; i < STACKS; i++) {
        uint32_t stack[2] = {i, (i + 1) % STACKS};
        int64_t values[TYPES] = {i + 1, (i + 1) * factor};
        pprof_add_sample(p, stack, 2, values);
        pprof_add_number(p, "bytes", factor, "bytes");
    }
}

/* What pprof_write gives; the caller frees. */
static char *written(struct pprof *p, bool compressed, size_t *size) {
    char *bytes;
    FILE *file = open_memstream(&bytes, size);
    CHECK(pprof_write(p, file, compressed));
    CHECK_EQ(fclose(file), 0);
    return bytes;
}

static void check_made(const struct pprof *p, uint64_t base, int64_t factor) {
    CHECK_EQ(p->types_count, TYPES);
    CHECK_EQ(pprof_type_named(p, "inuse_space"), 1);
    CHECK_EQ(pprof_type_named(p, "alloc_space"), TYPES);
    CHECK_STR(pprof_text(p, p->types[1].unit), "bytes");
    CHECK_EQ(p->period, 524288);
    CHECK_STR(pprof_text(p, p->period_type.type), "space");
    CHECK_STR(pprof_text(p, p->comments[0]), "made by hand");
    CHECK_STR(pprof_text(p, p->mappings[0].build_id), "0123abcd");
    CHECK_EQ(p->mappings[0].start, base);
    CHECK(p->mappings[0].has_functions && !p->mappings[0].has_lines);
    CHECK_EQ(p->samples_count, STACKS);
    for (size_t i = 0; i < STACKS; i++) {
        int64_t bytes = 0;
        CHECK_EQ(p->values[i * TYPES], i + 1);
        CHECK_EQ(p->values[i * TYPES + 1], (int64_t)(i + 1) * factor);
        CHECK_EQ(p->samples[i].stack_count, 2);
        CHECK_EQ(p->stacks[p->samples[i].stack_at], i);
        CHECK(pprof_number(p, &p->samples[i], "bytes", &bytes));
        CHECK_EQ(bytes, factor);
    }
    const struct pprof_location *last = &p->locations[2];
    CHECK_EQ(last->lines_count, 2);
    CHECK_STR(pprof_text(p, p->functions[p->lines[last->lines_at].function].name), "cache_inner");
    CHECK_STR(pprof_text(p, p->functions[p->lines[last->lines_at + 1].function].name),
              "cache_outer");
    CHECK_EQ(p->lines[last->lines_at + 1].line, 70);
}

static bool can_compress(void) {
#if EBB_SYMBOLS
    return true;
#else
    return false;
#endif
}

/* --- As it should be ------------------------------------------------------------------------ */

TEST(what_is_written_is_read) {
    for (int compressed = 0; compressed <= can_compress(); compressed++) {
        struct pprof p, again;
        size_t size;
        made(&p, 0x400000, 100);
        char *bytes = written(&p, compressed, &size);
        CHECK_EQ((unsigned char)bytes[0] == 0x1f, compressed);
        CHECK(pprof_read(&again, bytes, size));
        check_made(&again, 0x400000, 100);
        pprof_free(&p);
        pprof_free(&again);
        free(bytes);
    }
}

TEST(written_twice_is_the_same) {
    struct pprof p, again;
    size_t size, size_again;
    made(&p, 0x400000, 100);
    char *bytes = written(&p, false, &size);
    CHECK(pprof_read(&again, bytes, size));
    char *bytes_again = written(&again, false, &size_again);
    CHECK_EQ(size, size_again);
    CHECK(memcmp(bytes, bytes_again, size) == 0);
}

TEST(read_from_a_file) {
    struct pprof p, again;
    made(&p, 0x400000, 7);
    FILE *file = tmpfile();
    CHECK(pprof_write(&p, file, can_compress()));
    rewind(file);
    CHECK(pprof_read_file(&again, file));
    check_made(&again, 0x400000, 7);
}

/* --- Sums and differences ------------------------------------------------------------------- */

/* The mapping lies elsewhere in the second, as it does in the next run of a program. */
TEST(the_same_stacks_become_one) {
    struct pprof a, b;
    made(&a, 0x400000, 100);
    made(&b, 0x7f0000000000, 100);
    CHECK(pprof_merge(&a, &b, 2));
    CHECK_EQ(a.samples_count, STACKS);
    CHECK_EQ(a.mappings_count, 1);
    CHECK_EQ(a.locations_count, STACKS);
    for (size_t i = 0; i < STACKS; i++) CHECK_EQ(a.values[i * TYPES], 3 * (i + 1));
    CHECK_EQ(a.comments_count, 1);
}

TEST(other_labels_stay_apart) {
    struct pprof a, b;
    made(&a, 0x400000, 100);
    made(&b, 0x400000, 200);
    CHECK(pprof_merge(&a, &b, 1));
    CHECK_EQ(a.samples_count, 2 * STACKS);
}

TEST(a_profile_less_itself_is_nothing) {
    struct pprof a, b;
    made(&a, 0x400000, 100);
    made(&b, 0x400000, 100);
    CHECK(pprof_merge(&a, &b, -1));
    CHECK_EQ(a.samples_count, STACKS);
    pprof_drop_zeros(&a);
    CHECK_EQ(a.samples_count, 0);
    CHECK_EQ(a.values_count, 0);
}

TEST(sums_do_not_wrap) {
    struct pprof a, b;
    made(&a, 0x400000, 100);
    made(&b, 0x400000, 100);
    a.values[0] = INT64_MAX - 1;
    a.values[2] = -1;
    b.values[2] = INT64_MIN;
    CHECK(pprof_merge(&a, &b, 5));
    CHECK_EQ(a.values[0], INT64_MAX);
    CHECK_EQ(a.values[2], INT64_MIN);
}

TEST(other_types_are_refused) {
    struct pprof a, b;
    made(&a, 0x400000, 100);
    made(&b, 0x400000, 100);
    b.types[0].type = pprof_add_string(&b, "contentions");
    CHECK(!pprof_merge(&a, &b, 1));
    CHECK(strstr(a.error, "different sample types"));
    check_made(&a, 0x400000, 100);
}

/* --- As it should not be -------------------------------------------------------------------- */

struct raw {
    unsigned char bytes[256];
    size_t size;
};

/* A field of bytes; for short ones only. */
static void raw_part(struct raw *raw, unsigned field, const char *bytes, size_t size) {
    raw->bytes[raw->size++] = (unsigned char)(field << 3 | 2);
    raw->bytes[raw->size++] = (unsigned char)size;
    memcpy(raw->bytes + raw->size, bytes, size);
    raw->size += size;
}

#define RAW(raw, field, text) raw_part((raw), (field), (text), sizeof(text) - 1)

/* The strings "", "space" and "bytes", and one sample type. */
static void raw_begin(struct raw *raw) {
    raw->size = 0;
    RAW(raw, 6, "");
    RAW(raw, 6, "space");
    RAW(raw, 6, "bytes");
    RAW(raw, 1, "\x08\x01\x10\x02");
}

static void refused(const struct raw *raw, const char *says) {
    struct pprof p;
    CHECK(!pprof_read(&p, raw->bytes, raw->size));
    if (!strstr(p.error, says))
        test_fail(__FILE__, __LINE__, "\"%s\" without \"%s\"", p.error, says);
    pprof_free(&p);
}

#define REFUSED(says, field, text) \
 do {                              \
  struct raw raw;                  \
  raw_begin(&raw);                 \
  RAW(&raw, (field), text);        \
  refused(&raw, (says));           \
 } while (0)

TEST(the_least_profile_is_read) {
    struct raw raw;
    struct pprof p;
    raw_begin(&raw);
    RAW(&raw, 4, "\x08\x05");                 /* location 5 */
    RAW(&raw, 2, "\x0a\x01\x05\x12\x01\x07"); /* a sample there of 7, packed */
    RAW(&raw, 2, "\x08\x05\x10\x09");         /* one of 9, not packed */
    CHECK(pprof_read(&p, raw.bytes, raw.size));
    CHECK_EQ(p.samples_count, 2);
    CHECK_EQ(p.values[0], 7);
    CHECK_EQ(p.values[1], 9);
}

TEST(order_and_unknown_fields_do_not_matter) {
    struct raw raw = {.size = 0};
    struct pprof p;
    RAW(&raw, 2, "\x0a\x01\x05\x12\x01\x07");
    RAW(&raw, 4, "\x08\x05\x10\x03");
    RAW(&raw, 3, "\x08\x03\x28\x01\xa5\x06zzzz\xa1\x06zzzzzzzz");
    RAW(&raw, 1, "\x08\x01\x10\x02\x9a\x06\x02zz");
    RAW(&raw, 6, "");
    RAW(&raw, 6, "space");
    RAW(&raw, 6, "bytes");
    CHECK(pprof_read(&p, raw.bytes, raw.size));
    CHECK_STR(pprof_text(&p, p.mappings[p.locations[0].mapping].file), "space");
}

TEST(what_is_not_there_is_named) {
    REFUSED("location id 5 is not there", 2, "\x0a\x01\x05\x12\x01\x07");
    REFUSED("mapping id 9 is not there", 4, "\x08\x01\x10\x09");
    REFUSED("function id 4 is not there", 4, "\x08\x01\x22\x02\x08\x04");
    REFUSED("function id 0 is not there", 4, "\x08\x01\x22\x00");
    REFUSED("string 3 of 3 is not there", 5, "\x08\x01\x10\x03");
    REFUSED("string 9 of 3 is not there", 3, "\x08\x01\x28\x09");
    REFUSED("string 18446744073709551615 of 3", 1, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    REFUSED("a location without an id", 4, "\x18\x01");
    REFUSED("2 values, there are 1 sample types", 2, "\x12\x02\x07\x07");
    REFUSED("0 values, there are 1 sample types", 2, "");
    REFUSED("ends before it starts", 3, "\x08\x01\x10\x09\x18\x08");
}

TEST(wrong_wire_types_are_named) {
    REFUSED("field 1 of a location has wire type 2", 4, "\x0a\x01\x05");
    REFUSED("field 2 of a function has wire type 1", 5, "\x11zzzzzzzz");
    REFUSED("field 3 of a sample has wire type 0", 2, "\x18\x01");
    REFUSED("wire type 3 of field 1 is not known", 4, "\x0b");
    REFUSED("wire type 7 of field 1 is not known", 4, "\x0f");
    REFUSED("0 is no field's number", 4, "\x00");
    struct raw raw;
    raw_begin(&raw);
    memcpy(raw.bytes + raw.size, "\x20\x05", 2);
    raw.size += 2;
    refused(&raw, "field 4 of the profile has wire type 0");
}

TEST(ids_are_there_once) {
    struct raw raw;
    raw_begin(&raw);
    RAW(&raw, 4, "\x08\x05");
    RAW(&raw, 4, "\x08\x05");
    refused(&raw, "location id 5 is there twice");
}

TEST(sizes_beyond_the_end_are_refused) {
    REFUSED("2147483647 bytes, 0 are left", 4, "\x22\xff\xff\xff\xff\x07");
    REFUSED("18446744073709551615 bytes", 2, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    REFUSED("more than ten bytes", 4, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    REFUSED("ends within a number", 4, "\x08\xff");
}

TEST(what_is_no_profile_is_refused) {
    struct raw raw = {.size = 0};
    refused(&raw, "an empty file");
    RAW(&raw, 7, "x");
    refused(&raw, "no table of strings");
    raw.size = 0;
    RAW(&raw, 6, "");
    refused(&raw, "no sample type");
    raw.size = 0;
    RAW(&raw, 6, "x");
    refused(&raw, "the first string is not empty");
    raw.size = (size_t)snprintf((char *)raw.bytes, sizeof raw.bytes, "heap profile: 1: 2 [3: 4]\n");
    refused(&raw, "at byte");
}

/* Cut anywhere, or with any byte changed: refused or read, and never more than that. */
TEST(damaged_files_are_survived) {
    uint64_t state = test_seed();
    for (int compressed = 0; compressed <= can_compress(); compressed++) {
        struct pprof p, again;
        size_t size, refusals = 0;
        made(&p, 0x400000, 100);
        char *bytes = written(&p, compressed, &size);
        for (size_t cut = 0; cut < size; cut++) {
            refusals += !pprof_read(&again, bytes, cut);
            pprof_free(&again);
        }
        CHECK(refusals > size / 2);
        for (size_t i = 0; i < 20 * size; i++) {
            char *at = &bytes[test_random_below(&state, size)], was = *at;
            *at = (char)test_random(&state);
            if (pprof_read(&again, bytes, size)) free(written(&again, false, &(size_t){0}));
            pprof_free(&again);
            *at = was;
        }
        free(bytes);
    }
}

TEST(compressed_files_are_cut_short) {
    if (!can_compress()) SKIP("built without zlib");
    struct pprof p, again;
    size_t size;
    made(&p, 0x400000, 100);
    char *bytes = written(&p, true, &size);
    CHECK(!pprof_read(&again, bytes, size - 20));
    CHECK_STR(again.error, "the compressed data end too early");
    bytes[size / 2] = (char)~bytes[size / 2];
    CHECK(!pprof_read(&again, bytes, size));
}

/* --- Numbers for strings -------------------------------------------------------------------- */

TEST(interned_strings_keep_their_numbers) {
    struct intern in = {0};
    enum { STRINGS = 20000 };
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < STRINGS; i++) {
            char text[128];
            bool fresh;
            int size = snprintf(text, sizeof text, "%*u", (int)(i % 100), i);
            CHECK_EQ(intern_add(&in, text, (size_t)size, &fresh), i);
            CHECK_EQ(fresh, round == 0);
            CHECK_STR(in.keys[i].bytes, text);
        }
    }
    uint32_t number;
    CHECK(!intern_find(&in, "none", 4, &number));
    CHECK(intern_find(&in, "17", 2, &number) == false); /* it is padded to 17 columns */
    CHECK_EQ(in.count, STRINGS);
    intern_free(&in);
}
