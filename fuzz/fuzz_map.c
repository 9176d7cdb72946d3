/* fuzz_map.c - a map against an array: any sequence of operations that the input spells leaves both
 * with the same entries, and every iteration, during which it goes on changing, meets each entry
 * that is there throughout exactly once. See docs/design.md, "Containers". */
#include <ebb/ebb.h>
#include <string.h>

#include "input.h"

enum { KEYS = 1 << 13 };

EBB_MAP(numbers, uint64_t, uint32_t);

/* present: the map should hold the key. throughout: it did at the start of the iteration that runs
 * and was not deleted since; seen: that iteration met it. */
struct model {
    uint32_t value[KEYS];
    bool present[KEYS], throughout[KEYS], seen[KEYS];
    size_t count;
};

/* Keys far apart, so that they fall into many tables. */
static uint64_t key_of(uint32_t number) {
    return (uint64_t)number * 0x9e3779b97f4a7c15u;
}

static void model_put(numbers *map, struct model *model, uint32_t number, uint32_t value) {
    REQUIRE(ebb_map_put(map, key_of(number), value) == 0);
    model->count += !model->present[number];
    model->present[number] = true;
    model->value[number] = value;
}

static void model_delete(numbers *map, struct model *model, uint32_t number) {
    REQUIRE(ebb_map_delete(map, key_of(number)) == model->present[number]);
    model->count -= model->present[number];
    model->present[number] = model->throughout[number] = false;
}

static void model_get(numbers *map, struct model *model, uint32_t number) {
    uint32_t *value = ebb_map_get(map, key_of(number));
    REQUIRE((value != NULL) == model->present[number]);
    if (value) REQUIRE(*value == model->value[number]);
}

/* Operations on a run of keys, so that short inputs reach splits and merges. */
static void change(numbers *map, struct model *model, struct input *in) {
    uint32_t op = input_take(in, 1), first = input_take(in, 2), run = 1;
    if (op & 8) run = 1 + 8 * input_take(in, 1);
    for (uint32_t i = 0; i < run; i++) {
        uint32_t number = (first + i) % KEYS;
        switch (op & 3) {
        case 0:
        case 1:
            model_put(map, model, number, first ^ op);
            break;
        case 2:
            model_delete(map, model, number);
            break;
        default:
            model_get(map, model, number);
            break;
        }
    }
}

static void iterate(numbers *map, struct model *model, struct input *in) {
    memcpy(model->throughout, model->present, sizeof model->present);
    memset(model->seen, 0, sizeof model->seen);
    unsigned pause = input_take(in, 1), met = 0;
    ebb_map_each (map, key, value) {
        uint32_t number = (uint32_t)(key * 0xf1de83e19937733du);
        REQUIRE(number < KEYS && model->present[number] && model->value[number] == value);
        REQUIRE(!model->seen[number]);
        model->seen[number] = true;
        if (pause && ++met % pause == 0 && in->at < in->end) {
            change(map, model, in);
        }
    }
    for (uint32_t i = 0; i < KEYS; i++) REQUIRE(!model->throughout[i] || model->seen[i]);
}

static void policy(numbers *map, struct model *model, struct input *in) {
    switch (input_take(in, 1) & 7) {
    case 0:
        ebb_map_compact(map);
        break;
    case 1:
        ebb_map_reserve(map, input_take(in, 2));
        break;
    case 2:
        ebb_map_pause_shrinking(map, true);
        break;
    case 3:
        ebb_map_pause_shrinking(map, false);
        break;
    case 4:
        ebb_map_dense(map);
        break;
    case 5:
        ebb_map_clear(map);
        memset(model, 0, sizeof *model);
        break;
    default:
        ebb_collect();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct model model;
    numbers map = {0};
    struct input in = {data, data + size};
    memset(&model, 0, sizeof model);
    while (in.at < in.end) {
        uint32_t kind = input_take(&in, 1);
        if (kind < 16)
            policy(&map, &model, &in);
        else if (kind < 32)
            iterate(&map, &model, &in);
        else
            change(&map, &model, &in);
        REQUIRE(ebb_map_len(&map) == model.count);
    }
    for (uint32_t i = 0; i < KEYS; i++) model_get(&map, &model, i);
    return 0;
}
