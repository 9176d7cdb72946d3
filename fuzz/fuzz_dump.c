/* fuzz_dump.c - dumps of heaps that somebody else wrote: whatever is read with success is
 * consistent, its dominators can be found and exported, and nothing takes long. Half of the inputs
 * are taken as the inside of a file whose frame is right, or the reader would see no further. */
#define _GNU_SOURCE 1
#include <string.h>

#include "../tools/dom.h"
#include "input.h"

static void dump_look(struct heapdump *dump) {
    struct dom d;
    char room[256];
    for (uint32_t n = 0; n < dump->objects; n++) {
        REQUIRE(dump->edge_at[n] <= dump->edge_at[n + 1]);
        REQUIRE(dump->site_of[n] < dump->site_count || dump->site_of[n] == 0);
        heapdump_type_name(heapdump_type(dump, n), room, sizeof room);
        if (dump->edge_at[n] < dump->edge_at[n + 1])
            heapdump_edge_name(dump, n, dump->edge_word[dump->edge_at[n]], room, sizeof room);
    }
    REQUIRE(dump->edge_at[dump->objects] == dump->edge_count);
    for (size_t e = 0; e < dump->edge_count; e++) REQUIRE(dump->edge_to[e] < dump->objects);
    for (size_t i = 0; i < dump->root_count; i++)
        heapdump_root_name(dump, &dump->roots[i], room, sizeof room);
    dom_make(&d, dump);
    for (uint32_t n = 0; n < d.nodes; n++)
        REQUIRE(d.idom[n] < d.nodes || d.idom[n] == DOMINATORS_NONE);
    FILE *out = fopen("/dev/null", "w");
    REQUIRE(dom_export(&d, d.top, 100, out));
    fclose(out);
    dom_free(&d);
}

static void dump_try(const void *bytes, size_t size) {
    struct heapdump dump;
    FILE *in = fmemopen((void *)(uintptr_t)bytes, size, "r");
    if (!in) return;
    bool good = heapdump_read(&dump, in);
    REQUIRE(good == (dump.error[0] == 0));
    fclose(in);
    if (good)
        dump_look(&dump);
    else
        heapdump_free(&dump);
}

/* A block: its kind, its length, as many bytes of the input. */
static size_t block_put(char *file, size_t used, char kind, const void *bytes, uint32_t length) {
    file[used] = kind;
    memcpy(file + used + 1, &length, sizeof length);
    memcpy(file + used + 5, bytes, length);
    return used + 5 + length;
}

/* The blocks that the input has, after a head that is right, and an end that is right for files of
 * few objects often enough. */
static void dump_framed(const uint8_t *data, size_t size) {
    static const char kinds[] = "MTSOPER";
    static char file[1 << 17];
    struct input in = {data, data + size};
    size_t used = 0;
    memcpy(file, "EBBHEAP\n", 8);
    used = block_put(file, 8, 'I', "\1\7\7\0", 4);
    while (in.at < in.end && used < sizeof file - 1024) {
        char kind = kinds[input_take(&in, 1) % 7];
        uint32_t length = input_take(&in, 1);
        if (length > (size_t)(in.end - in.at)) length = (uint32_t)(in.end - in.at);
        used = block_put(file, used, kind, in.at, length);
        in.at += length;
    }
    char end[4] = {0};
    for (int i = 0; i < 4; i++)
        end[i] = (char)(size > (size_t)i ? data[size - 1 - (size_t)i] & 0x7f : 0);
    used = block_put(file, used, 'Z', end, 4);
    dump_try(file, used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    if (data[0] & 1)
        dump_framed(data + 1, size - 1);
    else
        dump_try(data + 1, size - 1);
    return 0;
}
