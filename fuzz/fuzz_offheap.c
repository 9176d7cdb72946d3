/* fuzz_offheap.c - pools and string banks against plain arrays: a good handle finds what was put
 * there, a stale one finds nothing ever again, equal strings have equal ids and others have not.
 * See docs/design.md, "Containers". */
#include <ebb/ebb.h>
#include <string.h>

#include "input.h"

enum { HANDLES = 4096, TEXTS = 256 };

typedef struct thing {
    uint64_t number;
    char padding[504];
} thing;
EBB_POOL_SMALL(things, thing);

/* Every handle that was ever given out by the pool, with what its slot holds; 0 once removed. */
struct model {
    things_handle handle[HANDLES];
    uint64_t number[HANDLES];
    size_t given, live;
};

static void handle_check(things *pool, const struct model *model, size_t at) {
    thing *found = ebb_pool_get(pool, model->handle[at]);
    REQUIRE((found != NULL) == (model->number[at] != 0));
    if (found) REQUIRE(found->number == model->number[at]);
}

static void pool_step(things *pool, struct model *model, struct input *in) {
    static uint64_t number;
    uint32_t op = input_take(in, 1), run = 1 + input_take(in, 1), at = input_take(in, 2);
    for (; run > 0; run--, at++) {
        size_t chosen = model->given ? at % model->given : 0;
        if (op < 128 && model->given < HANDLES) {
            thing *made = ebb_pool_new(pool, &model->handle[model->given]);
            REQUIRE(made && made->number == 0);
            made->number = model->number[model->given++] = ++number;
            model->live++;
        } else if (op >= 128 && model->given > 0 && model->number[chosen]) {
            REQUIRE(ebb_pool_remove(pool, model->handle[chosen]) == 0);
            model->number[chosen] = 0;
            model->live--;
        }
        if (model->given > 0) handle_check(pool, model, chosen);
    }
    REQUIRE(ebb_pool_len(pool) == model->live);
}

static void bank_step(ebb_bank *bank, struct input *in) {
    size_t length = input_take(in, 1) % 16, left = (size_t)(in->end - in->at);
    if (length > left) length = left;
    ebb_str text = {(const char *)in->at, length};
    uint32_t before = ebb_bank_len(bank);
    ebb_bank_id known = ebb_bank_find(bank, text), id = ebb_bank_intern(bank, text);
    ebb_str kept = ebb_bank_text(bank, id);
    REQUIRE(known ? id == known : id == before + 1);
    REQUIRE(ebb_bank_len(bank) == before + !known);
    REQUIRE(kept.len == length && memcmp(kept.ptr, text.ptr, length) == 0 && !kept.ptr[length]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct model model;
    things pool = {0};
    ebb_bank bank = {0};
    struct input in = {data, data + size};
    size_t live = 0;
    memset(&model, 0, sizeof model);
    while (in.at < in.end) {
        if (input_take(&in, 1) & 1)
            pool_step(&pool, &model, &in);
        else
            bank_step(&bank, &in);
    }
    for (size_t i = 0; i < model.given; i++) handle_check(&pool, &model, i);
    ebb_pool_each (&pool, handle, item) {
        REQUIRE(ebb_pool_get(&pool, handle) == item);
        live++;
    }
    REQUIRE(live == model.live);
    ebb_pool_release(&pool);
    ebb_bank_release(&bank);
    return 0;
}
