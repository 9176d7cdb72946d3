/* fuzz_slice.c - a slice against a plain array: any sequence of owner verbs leaves both with the
 * same elements and nothing beyond the length; a view taken before a move keeps what it showed. See
 * docs/design.md, "Containers". */
#include <ebb/ebb.h>
#include <string.h>

#include "input.h"

enum { MOST = 1 << 14 };

EBB_SLICE(numbers, uint64_t);

struct model {
    uint64_t value[MOST];
    size_t len;
};

/* A place in [0, limit]. */
static size_t input_place(struct input *in, size_t limit) {
    return input_take(in, 2) % (limit + 1);
}

static void model_insert(struct model *model, size_t at, const uint64_t *from, size_t count) {
    static uint64_t copy[MOST];
    memcpy(copy, from, count * sizeof *from);
    memmove(model->value + at + count, model->value + at, (model->len - at) * sizeof *from);
    memcpy(model->value + at, copy, count * sizeof *from);
    model->len += count;
}

static void model_delete(struct model *model, size_t lo, size_t hi) {
    memmove(model->value + lo, model->value + hi, (model->len - hi) * sizeof *model->value);
    model->len -= hi - lo;
}

/* Adds: single values, and parts of the slice itself. */
static void step_add(numbers *s, struct model *model, struct input *in) {
    uint64_t value = input_take(in, 3) + 1;
    size_t at = input_place(in, model->len), lo, hi;
    switch (value % 4) {
    case 0:
        REQUIRE(ebb_append(s, value) == 0);
        model_insert(model, model->len, &value, 1);
        break;
    case 1:
        REQUIRE(ebb_insert(s, at, value) == 0);
        model_insert(model, at, &value, 1);
        break;
    case 2:
        lo = input_place(in, model->len);
        hi = lo + input_place(in, model->len - lo);
        REQUIRE(ebb_insert_slice(s, at, ebb_slice(*s, lo, hi)) == 0);
        model_insert(model, at, model->value + lo, hi - lo);
        break;
    default:
        REQUIRE(ebb_append_slice(s, *s) == 0);
        model_insert(model, model->len, model->value, model->len);
        break;
    }
}

static void step_drop(numbers *s, struct model *model, struct input *in) {
    uint32_t op = input_take(in, 1);
    size_t lo = input_place(in, model->len), hi = lo + input_place(in, model->len - lo);
    uint64_t mask = op >> 4;
    size_t kept = 0;
    switch (op & 3) {
    case 0:
        REQUIRE(ebb_delete_range(s, lo, hi) == 0);
        model_delete(model, lo, hi);
        break;
    case 1:
        REQUIRE(ebb_truncate(s, hi) == 0);
        model->len = hi;
        break;
    case 2:
        if (model->len > 0) REQUIRE(ebb_pop(s) == model->value[--model->len]);
        break;
    default:
        for (size_t i = 0; i < model->len; i++)
            if ((model->value[i] & 15) != mask) model->value[kept++] = model->value[i];
        REQUIRE(ebb_delete_if(s, it, (*it & 15) == mask) == model->len - kept);
        model->len = kept;
        break;
    }
}

static void step_room(numbers *s, struct input *in) {
    numbers view = *s, same = ebb_clone(*s);
    switch (input_take(in, 1) & 3) {
    case 0:
        REQUIRE(ebb_shrink(s) == 0);
        break;
    case 1:
        REQUIRE(ebb_clip(s) == 0);
        break;
    case 2:
        REQUIRE(ebb_reserve(s, input_take(in, 2)) == 0);
        break;
    default:
        REQUIRE(ebb_grow(s, input_take(in, 2)) == 0);
        break;
    }
    REQUIRE(ebb_equal(view, same));
    REQUIRE(ebb_slice_capacity_true(*s) >= s->cap);
}

static void slice_check(const numbers *s, const struct model *model) {
    REQUIRE(s->len == model->len && s->len <= s->cap);
    REQUIRE(model->len == 0 || memcmp(s->ptr, model->value, s->len * sizeof *s->ptr) == 0);
    for (size_t i = s->len; i < s->cap; i++) REQUIRE(s->ptr[i] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct model model;
    numbers s = {0};
    struct input in = {data, data + size};
    model.len = 0;
    while (in.at < in.end) {
        uint32_t kind = input_take(&in, 1);
        if (kind < 4)
            ebb_collect();
        else if (kind < 40)
            step_room(&s, &in);
        else if (kind < 110 || model.len >= MOST / 2)
            step_drop(&s, &model, &in);
        else
            step_add(&s, &model, &in);
        slice_check(&s, &model);
    }
    return 0;
}
