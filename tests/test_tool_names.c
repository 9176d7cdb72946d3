/* test_tool_names.c - the names of this program's own code. What compilers and files can do is
 * tried by tests/observe/pprof.sh. docs/testing.md, "Profiles". */
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "../tools/names.h"
#include "../tools/pprof.h"
#include "../tools/symbolize.h"

/* The address within the call that brought us here. */
NOINLINE static uintptr_t names_here(void) {
    return (uintptr_t)__builtin_return_address(0) - 1;
}

enum { INNER_LINE = __LINE__ + 3 };

static inline __attribute__((always_inline)) uintptr_t names_inner(void) {
    return names_here();
}

static inline __attribute__((always_inline)) uintptr_t ebb_in_a_header(void) {
    return names_here();
}

NOINLINE static uintptr_t names_outer(volatile int *x) {
    uintptr_t here = names_inner();
    *x += 1;
    return here;
}

NOINLINE static uintptr_t names_user(volatile int *x) {
    uintptr_t here = ebb_in_a_header();
    *x += 1;
    return here;
}

static struct names *names_own(void) {
    struct names *n = names_begin();
    if (!n) SKIP("built without libdw");
    CHECK(names_add_process(n, getpid()));
    return n;
}

TEST(inlined_functions_have_names) {
    volatile int x = 0;
    struct names *n = names_own();
    struct names_frame frames[NAMES_FRAMES];
    CHECK_EQ(names_find(n, names_outer(&x), frames, NAMES_FRAMES), 2);
    CHECK_STR(frames[0].function, "names_inner");
    CHECK_STR(frames[1].function, "names_outer");
    CHECK_STR(frames[1].symbol, "names_outer");
    CHECK_EQ(frames[0].line, INNER_LINE);
    CHECK_EQ(frames[0].function_line, INNER_LINE - 1);
    CHECK(frames[1].line > INNER_LINE);
    CHECK(strstr(frames[1].file, "test_tool_names.c"));
    CHECK_EQ(names_find(n, names_outer(&x), frames, 1), 1);
    names_end(n);
}

TEST(addresses_of_nothing_have_no_name) {
    struct names *n = names_own();
    struct names_frame frames[NAMES_FRAMES];
    uint64_t within;
    CHECK_EQ(names_find(n, 0, frames, NAMES_FRAMES), 0);
    CHECK_EQ(names_find(n, UINT64_MAX, frames, NAMES_FRAMES), 0);
    CHECK_EQ(names_find(n, (uintptr_t)&within, frames, NAMES_FRAMES), 0);
    CHECK(!names_file(n, 0, &within));
    CHECK(!names_add_process(n, 0));
    names_end(n);
}

static int in_data[10] = {1}, in_bss[1 << 16];

TEST(static_variables_have_names) {
    struct names *n = names_own();
    struct names_frame frames[NAMES_FRAMES];
    CHECK_EQ(names_find(n, (uintptr_t)in_data, frames, NAMES_FRAMES), 1);
    CHECK_STR(frames[0].function, "in_data");
    in_bss[1 << 15] = in_data[0];
    CHECK_EQ(names_find(n, (uintptr_t)&in_bss[1 << 15], frames, NAMES_FRAMES), 1);
    CHECK_STR(frames[0].function, "in_bss+131072");
    CHECK_STR(frames[0].symbol, "in_bss");
    CHECK_EQ(names_find(n, (uintptr_t)sbrk(0), frames, NAMES_FRAMES), 0);
    names_end(n);
}

/* What names_filter makes of a text; the caller frees. */
static char *filtered(const char *text) {
    char *result;
    size_t size;
    FILE *in = fmemopen((char *)(uintptr_t)text, strlen(text), "r");
    FILE *out = open_memstream(&result, &size);
    names_filter(in, out, getpid());
    fclose(in);
    fclose(out);
    return result;
}

TEST(text_gets_names) {
    volatile int x = 0;
    names_end(names_own());
    char text[256];
    snprintf(text, sizeof text, "a@b @ @0 @0x @0xg {\"site\": \"@0x%zx\"} @0x10 end@",
             (size_t)names_outer(&x));
    char *result = filtered(text);
    CHECK(strncmp(result, "a@b @ @0 @0x @0xg {\"site\": \"names_inner test_tool_names.c:", 57) ==
          0);
    CHECK(strstr(result, " <- names_outer test_tool_names.c:"));
    CHECK(strstr(result, "\"} 0x10 end@"));
}

/* The profile of one sample, with or without the file's mapping. */
static void profile_of(struct pprof *p, uintptr_t address) {
    pprof_begin(p);
    *PPROF_ADD(p, types) =
        (struct pprof_type){pprof_add_string(p, "space"), pprof_add_string(p, "bytes")};
    struct pprof_location *location = PPROF_ADD(p, locations);
    location->address = address;
    location->mapping = PPROF_NONE;
    pprof_add_sample(p, &(uint32_t){0}, 1, &(int64_t){1});
}

/* Nobody writes to the pipe: who opened it to read would wait. */
TEST(only_files_are_opened) {
    struct names *n = names_begin();
    struct names_frame frames[NAMES_FRAMES];
    char fifo[64];
    if (!n) SKIP("built without libdw");
    snprintf(fifo, sizeof fifo, "/tmp/ebb-test-%d.fifo", (int)getpid());
    CHECK_EQ(mkfifo(fifo, 0600), 0);
    names_add_mapping(n, 0x1000, 0x2000, 0, fifo, NULL);
    names_add_mapping(n, 0x3000, 0x4000, 0, "/dev/zero", NULL);
    CHECK_EQ(names_find(n, 0x1800, frames, NAMES_FRAMES), 0);
    CHECK_EQ(names_find(n, 0x3800, frames, NAMES_FRAMES), 0);
    names_end(n);
    CHECK_EQ(unlink(fifo), 0);
}

TEST(profiles_get_names) {
    volatile int x = 0;
    names_end(names_own());
    struct pprof p;
    profile_of(&p, names_outer(&x));
    CHECK(symbolize_wanted(&p));
    CHECK_EQ(symbolize_profile(&p, getpid()), 1);
    CHECK(!symbolize_wanted(&p));
    CHECK_EQ(p.locations[0].lines_count, 2);
    CHECK_STR(pprof_text(&p, p.functions[p.lines[1].function].name), "names_outer");
    CHECK_EQ(symbolize_profile(&p, getpid()), 0);
}

/* The reader wants the line of the caller, not of a header of ours. */
TEST(inlined_headers_are_left_out) {
    volatile int x = 0;
    names_end(names_own());
    char text[64];
    snprintf(text, sizeof text, "@0x%zx", (size_t)names_user(&x));
    CHECK(strncmp(filtered(text), "names_user test_tool_names.c:", 29) == 0);
    struct pprof p;
    profile_of(&p, names_user(&x));
    CHECK_EQ(symbolize_profile(&p, getpid()), 1);
    CHECK_STR(pprof_text(&p, p.functions[p.lines[0].function].name), "names_user");
    CHECK_EQ(p.locations[0].lines_count, 1);
}

TEST(a_file_with_another_build_id_gives_no_names) {
    volatile int x = 0;
    names_end(names_own());
    struct pprof p;
    char exe[512];
    ssize_t length = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[length > 0 ? length : 0] = 0;
    uintptr_t address = names_outer(&x);
    profile_of(&p, address);
    struct pprof_mapping *m = PPROF_ADD(&p, mappings);
    m->start = address & ~(uintptr_t)0xfff;
    m->limit = m->start + 0x1000;
    m->file = pprof_add_string(&p, exe);
    m->build_id = pprof_add_string(&p, "00112233");
    p.locations[0].mapping = 0;
    CHECK_EQ(symbolize_profile(&p, 0), 0);
    CHECK(symbolize_wanted(&p));
}
