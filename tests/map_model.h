/* map_model.h - a map against arrays, for one kind of key; include once for each kind.
 *
 *   MODEL(name)       pastes the kind into a name
 *   MODEL_MAP         the type of the map; its values are uint32_t
 *   MODEL_KEY(n)      the key with number n < MODEL_KEYS, the same each time
 *   MODEL_NUMBER(k)   back again
 *
 * The model knows of each key whether it is there and with what value, and during an iteration
 * whether it was there throughout, whether it was put meanwhile, and how often it was seen. */

struct MODEL(state) {
    MODEL_MAP map;
    uint32_t value[MODEL_KEYS];
    bool present[MODEL_KEYS], throughout[MODEL_KEYS], put_again[MODEL_KEYS];
    uint8_t seen[MODEL_KEYS];
    size_t count;
    uint64_t random;
    size_t goal; /* the walk drifts towards that many entries */
};

static void MODEL(put)(struct MODEL(state) * s, uint32_t n) {
    uint32_t value = (uint32_t)test_random(&s->random);
    if (value & 1) {
        CHECK_EQ(ebb_map_put(&s->map, MODEL_KEY(n), value), 0);
    } else {
        uint32_t *at = ebb_map_entry(&s->map, MODEL_KEY(n));
        CHECK(at != NULL);
        CHECK_EQ(*at, s->present[n] ? s->value[n] : 0);
        *at = value;
    }
    if (!s->present[n]) s->put_again[n] = true;
    s->count += !s->present[n];
    s->present[n] = true;
    s->value[n] = value;
}

static void MODEL(delete)(struct MODEL(state) * s, uint32_t n) {
    CHECK_EQ(ebb_map_delete(&s->map, MODEL_KEY(n)), s->present[n]);
    s->count -= s->present[n];
    s->present[n] = s->throughout[n] = false;
}

static void MODEL(get)(struct MODEL(state) * s, uint32_t n) {
    uint32_t value = 0;
    uint32_t *at = ebb_map_get(&s->map, MODEL_KEY(n));
    CHECK_EQ(at != NULL, s->present[n]);
    CHECK_EQ(ebb_map_get_copy(&s->map, MODEL_KEY(n), &value), s->present[n]);
    CHECK_EQ(ebb_map_has(&s->map, MODEL_KEY(n)), s->present[n]);
    if (at) CHECK(*at == s->value[n] && value == s->value[n]);
}

static void MODEL(step)(struct MODEL(state) * s) {
    uint32_t n = (uint32_t)test_random_below(&s->random, MODEL_KEYS);
    uint64_t what = test_random_below(&s->random, 8);
    if (what == 0)
        MODEL(get)(s, n);
    else if ((what < 6) == (s->count < s->goal))
        MODEL(put)(s, n);
    else
        MODEL(delete)(s, n);
}

static void MODEL(steps)(struct MODEL(state) * s, size_t count) {
    while (count-- > 0) MODEL(step)(s);
    CHECK_EQ(ebb_map_len(&s->map), s->count);
}

/* Once through the map, which changes meanwhile: a little after every entry, and much, so that
 * tables split and merge, after some. */
static void MODEL(iterate)(struct MODEL(state) * s) {
    memcpy(s->throughout, s->present, sizeof s->present);
    memset(s->put_again, 0, sizeof s->put_again);
    memset(s->seen, 0, sizeof s->seen);
    uint64_t rush = 1 + test_random_below(&s->random, 2 * s->count + 1);
    bool quiet = test_random_below(&s->random, 4) == 0;
    size_t met = 0;
    ebb_map_each (&s->map, key, value) {
        uint32_t n = MODEL_NUMBER(key);
        CHECK(n < MODEL_KEYS && s->present[n] && s->value[n] == value);
        CHECK(s->seen[n] == 0 || s->put_again[n]);
        s->seen[n]++;
        if (quiet) continue;
        if (test_random_below(&s->random, 4) == 0) MODEL(delete)(s, n);
        if (++met % rush == 0) {
            s->goal = test_random_below(&s->random, MODEL_KEYS / 2);
            MODEL(steps)(s, test_random_below(&s->random, MODEL_KEYS));
        } else if (s->count < MODEL_KEYS * 3 / 4) {
            MODEL(step)(s);
        }
        if (met > 4 * MODEL_KEYS) quiet = true;
    }
    for (uint32_t n = 0; n < MODEL_KEYS; n++)
        CHECK(!s->throughout[n] || s->put_again[n] || s->seen[n] == 1);
}

static void MODEL(policy)(struct MODEL(state) * s) {
    switch (test_random_below(&s->random, 8)) {
    case 0:
        CHECK_EQ(ebb_map_pause_shrinking(&s->map, true), 0);
        break;
    case 1:
    case 2:
        CHECK_EQ(ebb_map_pause_shrinking(&s->map, false), 0);
        break;
    case 3:
        CHECK_EQ(ebb_map_reserve(&s->map, test_random_below(&s->random, MODEL_KEYS)), 0);
        break;
    case 4:
        CHECK_EQ(ebb_map_reserve(&s->map, 0), 0);
        break;
    case 5:
        CHECK_EQ(ebb_map_compact(&s->map), 0);
        break;
    case 6:
        if (test_random_below(&s->random, 8) == 0) CHECK_EQ(ebb_map_dense(&s->map), 0);
        break;
    default:
        ebb_map_clear(&s->map);
        memset(s->present, 0, sizeof s->present);
        s->count = 0;
    }
}

static void MODEL(run)(size_t steps) {
    static struct MODEL(state) state;
    struct MODEL(state) *s = &state;
    s->random = test_seed();
    if (test_slow()) steps /= 8;
    for (size_t done = 0; done < steps; done += MODEL_KEYS) {
        s->goal = test_random_below(&s->random, MODEL_KEYS);
        if (test_random_below(&s->random, 4) == 0) s->goal = 0;
        MODEL(steps)(s, MODEL_KEYS);
        ebb__map_check(s->map.map);
        if (test_random_below(&s->random, 4) == 0) MODEL(policy)(s);
        MODEL(iterate)(s);
        ebb__map_check(s->map.map);
    }
    for (uint32_t n = 0; n < MODEL_KEYS; n++) MODEL(get)(s, n);
    for (uint32_t n = 0; n < MODEL_KEYS; n++) MODEL(delete)(s, n);
    ebb__map_check(s->map.map);
    CHECK_EQ(ebb_map_len(&s->map), 0);
}

#undef MODEL
#undef MODEL_MAP
#undef MODEL_KEY
#undef MODEL_NUMBER
