/* slice_model.h - random verbs on a slice and on a plain array, which have to agree all the time.
 *
 * Included by test_slice_model.c once a kind of element, with
 *   MODEL(name)          the name of a function of this kind
 *   MODEL_SLICE          the type of the slice
 *   MODEL_MAKE(id)       an element that stands for a number from 1 on
 *   MODEL_ID(element)    that number; 0 for a zeroed element */

typedef struct MODEL(model) {
    MODEL_SLICE s;
    unsigned want[MODEL_MAX]; /* what s has to hold: numbers, so that it keeps nothing alive */
    size_t len;
    MODEL_SLICE view; /* of the array that s had when it was taken */
    unsigned view_want[MODEL_MAX];
    bool view_shares; /* that array is still the one of s */
    uint64_t random;
    unsigned next;
} MODEL(model);

static size_t MODEL(below)(MODEL(model) * m, size_t n) {
    return (size_t)test_random_below(&m->random, n);
}

static void MODEL(check)(MODEL(model) * m) {
    CHECK_EQ(m->s.len, m->len);
    CHECK(m->s.len <= m->s.cap);
    for (size_t i = 0; i < m->len; i++) CHECK_EQ(MODEL_ID(m->s.ptr[i]), m->want[i]);
    for (size_t i = m->len; i < m->s.cap; i++) CHECK_EQ(MODEL_ID(m->s.ptr[i]), 0);
    if (m->view_shares) return;
    for (size_t i = 0; i < m->view.len; i++) CHECK_EQ(MODEL_ID(m->view.ptr[i]), m->view_want[i]);
}

/* The values [0, n) of a new slice, and their numbers. */
static MODEL_SLICE MODEL(fresh)(MODEL(model) * m, size_t n, unsigned *ids) {
    MODEL_SLICE s = {0};
    for (size_t i = 0; i < n; i++) {
        ids[i] = MODEL(below)(m, 3) ? m->next++ : m->next;
        CHECK_EQ(ebb_append(&s, MODEL_MAKE(ids[i])), 0);
    }
    return s;
}

static void MODEL(want_insert)(MODEL(model) * m, size_t i, const unsigned *ids, size_t n) {
    unsigned copy[MODEL_PIECE];
    memcpy(copy, ids, n * sizeof *ids);
    memmove(m->want + i + n, m->want + i, (m->len - i) * sizeof *m->want);
    memcpy(m->want + i, copy, n * sizeof *ids);
    m->len += n;
}

static void MODEL(want_delete)(MODEL(model) * m, size_t lo, size_t hi) {
    memmove(m->want + lo, m->want + hi, (m->len - hi) * sizeof *m->want);
    m->len -= hi - lo;
}

static void MODEL(add)(MODEL(model) * m) {
    size_t i = MODEL(below)(m, m->len + 1), n = MODEL(below)(m, MODEL_PIECE);
    size_t own = MODEL(below)(m, m->len + 1), own_n = MODEL(below)(m, m->len + 1 - own);
    unsigned ids[MODEL_PIECE] = {0};
    if (own_n > MODEL_PIECE) own_n = MODEL_PIECE;
    switch (MODEL(below)(m, 9)) {
    case 0:
        ids[0] = m->next++;
        CHECK_EQ(ebb_append(&m->s, MODEL_MAKE(ids[0])), 0);
        MODEL(want_insert)(m, m->len, ids, 1);
        return;
    case 1:
        ids[0] = m->next++;
        CHECK_EQ(ebb_insert(&m->s, i, MODEL_MAKE(ids[0])), 0);
        MODEL(want_insert)(m, i, ids, 1);
        return;
    case 2: {
        MODEL_SLICE t = MODEL(fresh)(m, n, ids);
        CHECK_EQ(ebb_append_many(&m->s, t.ptr, n), 0);
        MODEL(want_insert)(m, m->len, ids, n);
        return;
    }
    case 3: {
        MODEL_SLICE t = MODEL(fresh)(m, n, ids);
        CHECK_EQ(ebb_insert_slice(&m->s, i, t), 0);
        MODEL(want_insert)(m, i, ids, n);
        return;
    }
    case 4:
        CHECK_EQ(ebb_insert_slice(&m->s, i, ebb_slice(m->s, own, own + own_n)), 0);
        MODEL(want_insert)(m, i, m->want + own, own_n);
        return;
    case 5:
        CHECK_EQ(ebb_append_slice(&m->s, ebb_slice(m->s, own, own + own_n)), 0);
        MODEL(want_insert)(m, m->len, m->want + own, own_n);
        return;
    case 6:
        CHECK_EQ(ebb_append_zeros(&m->s, n), 0);
        MODEL(want_insert)(m, m->len, ids, n);
        return;
    default:
        if (m->len == 0 || own == m->len) return;
        CHECK_EQ(ebb_append(&m->s, ebb_at(m->s, own)), 0);
        MODEL(want_insert)(m, m->len, m->want + own, 1);
    }
}

/* Returns how many elements stay by the same rule as the slice's verb, which is then given. */
static size_t MODEL(want_compact)(MODEL(model) * m) {
    size_t kept = m->len > 0;
    for (size_t i = 1; i < m->len; i++)
        if (m->want[i] != m->want[kept - 1]) m->want[kept++] = m->want[i];
    return kept;
}

static void MODEL(drop)(MODEL(model) * m) {
    size_t lo = MODEL(below)(m, m->len + 1), hi = lo + MODEL(below)(m, m->len + 1 - lo);
    switch (MODEL(below)(m, 8)) {
    case 0:
        CHECK_EQ(ebb_truncate(&m->s, m->len - (hi - lo)), 0);
        m->len -= hi - lo;
        return;
    case 1:
        CHECK_EQ(ebb_delete_range(&m->s, lo, hi), 0);
        MODEL(want_delete)(m, lo, hi);
        return;
    case 2:
        if (lo == m->len) return;
        CHECK_EQ(ebb_delete(&m->s, lo), 0);
        MODEL(want_delete)(m, lo, lo + 1);
        return;
    case 3:
        if (lo == m->len) return;
        CHECK_EQ(ebb_delete_unordered(&m->s, lo), 0);
        m->want[lo] = m->want[--m->len];
        return;
    case 4:
        if (m->len == 0) return;
        CHECK_EQ(MODEL_ID(ebb_pop(&m->s)), m->want[--m->len]);
        return;
    case 5: {
        unsigned divisor = 2 + (unsigned)MODEL(below)(m, 5), rest = m->next % divisor;
        size_t kept = 0;
        for (size_t i = 0; i < m->len; i++)
            if (m->want[i] % divisor != rest) m->want[kept++] = m->want[i];
        CHECK_EQ(ebb_delete_if(&m->s, it, MODEL_ID(*it) % divisor == rest), m->len - kept);
        m->len = kept;
        return;
    }
    case 6: {
        size_t before = m->len;
        m->len = MODEL(want_compact)(m);
        CHECK_EQ(ebb_compact_by(&m->s, MODEL(compare)), before - m->len);
        return;
    }
    default:
        if (MODEL(below)(m, 10) > 0) return;
        CHECK_EQ(ebb_clear(&m->s), 0);
        m->len = 0;
    }
}

static void MODEL(settle)(MODEL(model) * m) {
    size_t lo = MODEL(below)(m, m->len + 1), hi = lo + MODEL(below)(m, m->len + 1 - lo);
    switch (MODEL(below)(m, 8)) {
    case 0:
        CHECK_EQ(ebb_shrink(&m->s), 0);
        return;
    case 1:
        CHECK_EQ(ebb_clip(&m->s), 0);
        return;
    case 2:
        CHECK_EQ(ebb_grow(&m->s, MODEL(below)(m, 100)), 0);
        return;
    case 3:
        CHECK_EQ(ebb_reserve(&m->s, MODEL(below)(m, 2 * m->len + 1)), 0);
        return;
    case 4: /* as a queue: the front is left behind */
        m->s = ebb_slice(m->s, lo, m->len);
        MODEL(want_delete)(m, 0, lo);
        return;
    case 5: /* the tail is hidden, not zero: it must not come back by growing */
        m->s = ebb_slice3(m->s, 0, m->len, m->len);
        return;
    case 6:
        ebb_reverse(m->s);
        for (size_t i = 0; i < m->len / 2; i++) {
            unsigned held = m->want[i];
            m->want[i] = m->want[m->len - 1 - i];
            m->want[m->len - 1 - i] = held;
        }
        return;
    default: /* watched from now on, as soon as s has moved away */
        m->view = ebb_slice(m->s, lo, hi);
        m->view_shares = true;
    }
}

/* While s and the view share an array, the view shows what s did there. */
static void MODEL(watch)(MODEL(model) * m) {
    if (!m->view_shares) return;
    m->view_shares = m->view.ptr && ebb_base_of(m->s.ptr) == ebb_base_of(m->view.ptr);
    for (size_t i = 0; m->view_shares && i < m->view.len; i++)
        m->view_want[i] = MODEL_ID(m->view.ptr[i]);
}

static void MODEL(step)(MODEL(model) * m) {
    size_t choice = MODEL(below)(m, 20);
    if (choice < 10 && m->len < MODEL_MAX - MODEL_PIECE - 1)
        MODEL(add)(m);
    else if (choice < 17)
        MODEL(drop)(m);
    else
        MODEL(settle)(m);
    MODEL(watch)(m);
}

static MODEL(model) MODEL(models)[MODEL_THREADS]; /* static: their slices are roots */

static void MODEL(run)(size_t which, size_t steps) {
    MODEL(model) *m = &MODEL(models)[which];
    m->random = test_seed() + which;
    m->next = 1;
    for (size_t i = 0; i < steps; i++) {
        MODEL(step)(m);
        if (i % 8 == 0) MODEL(check)(m);
    }
    MODEL(check)(m);
}

#undef MODEL
#undef MODEL_SLICE
#undef MODEL_MAKE
#undef MODEL_ID
