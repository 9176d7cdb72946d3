/* fuzz_profile.c - profiles of any contents: read or refused; what was read can be written, read
 * again and added to itself. See docs/design.md, "Names".
 *
 * The input is the file itself, or says how one is put together that is nearly right: noise alone
 * gets no further than the first field. */
#include <string.h>

#include "../tools/pprof.h"
#include "input.h"

enum { PIECE_BYTES = 1 << 16, PIECE_DEPTH = 3 };

struct piece {
    uint8_t bytes[PIECE_BYTES];
    size_t size;
};

static void piece_byte(struct piece *piece, uint32_t byte) {
    if (piece->size < PIECE_BYTES) piece->bytes[piece->size++] = (uint8_t)byte;
}

/* Small numbers mostly: they are ids, places and counts. */
static void piece_number(struct piece *piece, struct input *in) {
    uint32_t kind = input_take(in, 1);
    uint64_t number = kind < 240 ? kind % 7 : kind < 250 ? input_take(in, 4) : UINT64_MAX - kind;
    for (; number >= 0x80; number >>= 7) piece_byte(piece, (uint32_t)number | 0x80);
    piece_byte(piece, (uint32_t)number);
}

static void piece_message(struct piece *piece, struct input *in, unsigned depth);

/* A part behind its size, which is a lie now and then. */
static void piece_part(struct piece *piece, struct input *in, unsigned depth) {
    size_t at = piece->size;
    piece_byte(piece, 0);
    uint32_t kind = input_take(in, 1);
    if (kind & 1 && depth < PIECE_DEPTH) {
        piece_message(piece, in, depth + 1);
    } else {
        for (uint32_t i = 0; i < (kind >> 1) % 4; i++) piece_number(piece, in);
    }
    size_t size = piece->size - at - 1;
    if (size >= 0x80) piece->size = at + 1, size = 0;
    if (at < PIECE_BYTES) piece->bytes[at] = (uint8_t)(kind > 252 ? size + 1 : size);
}

static void piece_message(struct piece *piece, struct input *in, unsigned depth) {
    uint32_t fields = input_take(in, 1) % (depth ? 6 : 40);
    for (uint32_t i = 0; i < fields; i++) {
        uint32_t kind = input_take(in, 1), field = 1 + kind % (depth ? 6 : 15);
        bool part = depth ? kind >= 192 : field <= 6 || field == 11;
        if (kind > 250) part = !part;
        piece_byte(piece, field << 3 | (part ? 2 : 0));
        part ? piece_part(piece, in, depth) : piece_number(piece, in);
    }
}

/* Strings and a sample type, which every profile needs, then anything. */
static void piece_profile(struct piece *piece, struct input *in) {
    static const uint8_t head[] = "\x32\x00\x32\x01\x61\x32\x01\x62\x0a\x04\x08\x01\x10\x02";
    memcpy(piece->bytes, head, sizeof head - 1);
    piece->size = sizeof head - 1;
    piece_message(piece, in, 0);
}

/* Whatever was read: the same when it is written and read. */
static void profile_use(struct pprof *p) {
    struct pprof again, sum;
    char *bytes;
    size_t size;
    FILE *file = open_memstream(&bytes, &size);
    REQUIRE(file && pprof_write(p, file, false));
    REQUIRE(fclose(file) == 0);
    REQUIRE(pprof_read(&again, bytes, size));
    REQUIRE(again.samples_count == p->samples_count && again.values_count == p->values_count);
    REQUIRE(again.stacks_count == p->stacks_count && again.lines_count == p->lines_count);
    REQUIRE(pprof_read(&sum, bytes, size));
    REQUIRE(pprof_merge(&sum, &again, -1));
    REQUIRE(sum.samples_count <= p->samples_count);
    pprof_drop_zeros(&sum);
    pprof_free(&sum);
    pprof_free(&again);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct piece piece;
    struct input in = {data, data + size};
    struct pprof p;
    bool put_together = input_take(&in, 1) & 1;
    if (put_together) piece_profile(&piece, &in);
    bool good = put_together ? pprof_read(&p, piece.bytes, piece.size)
                             : pprof_read(&p, in.at, (size_t)(in.end - in.at));
    REQUIRE(good == (p.error[0] == 0));
    if (good) profile_use(&p);
    pprof_free(&p);
    return 0;
}
