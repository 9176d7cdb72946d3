/* sort_template.h - one kind of sort, made for elements of one size and one way to compare.
 *
 * Included by sort.c once a kind, with
 *   SORT(name)        the name of a function of this kind
 *   SORT_SIZE         the size of an element, in bytes: a constant, so that moves are a few loads
 *   SORT_LESS(a, b)   whether the element at a stands before the one at b; may use `compare`
 *   SORT_STABLE       defined where the stable sort is wanted too
 *
 * The unstable sort is quicksort by branch-free partition, with two guards: a range whose splits
 * were bad twice log2(n) times is finished by heapsort, and a pivot that equals the one before it
 * splits off all its equals at once. The stable one is merge sort. Comparisons that contradict each
 * other give some order, and touch nothing outside the range.
 *
 * An element in a local variable stands aligned, since for the collector it may be the only place
 * where a pointer is found. */

#define SORT_AT(a, i)     ((a) + (i) * (size_t)(SORT_SIZE))
#define SORT_COPY(to, at) memcpy((to), (at), SORT_SIZE)

typedef struct SORT(element) {
    _Alignas(SORT_SIZE % 16 == 0 ? 16 : 8) char bytes[SORT_SIZE];
} SORT(element);

static inline void SORT(swap)(char *a, char *b) {
    SORT(element) held, other;
    SORT_COPY(&held, a);
    SORT_COPY(&other, b);
    SORT_COPY(a, &other);
    SORT_COPY(b, &held);
}

static void SORT(insertion)(char *a, size_t n, ebb__compare compare) {
    (void)compare;
    for (size_t i = 1; i < n; i++) {
        if (!SORT_LESS(SORT_AT(a, i), SORT_AT(a, i - 1))) continue;
        SORT(element) held;
        SORT_COPY(&held, SORT_AT(a, i));
        size_t hole = i;
        do {
            SORT_COPY(SORT_AT(a, hole), SORT_AT(a, hole - 1));
            hole--;
        } while (hole > 0 && SORT_LESS((char *)&held, SORT_AT(a, hole - 1)));
        SORT_COPY(SORT_AT(a, hole), &held);
    }
}

static void SORT(heap_down)(char *a, size_t n, size_t root, ebb__compare compare) {
    (void)compare;
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && SORT_LESS(SORT_AT(a, child), SORT_AT(a, child + 1))) child++;
        if (!SORT_LESS(SORT_AT(a, root), SORT_AT(a, child))) return;
        SORT(swap)(SORT_AT(a, root), SORT_AT(a, child));
    }
}

static void SORT(heap)(char *a, size_t n, ebb__compare compare) {
    for (size_t i = n / 2; i-- > 0;) SORT(heap_down)(a, n, i, compare);
    for (size_t i = n; i-- > 1;) {
        SORT(swap)(a, SORT_AT(a, i));
        SORT(heap_down)(a, i, 0, compare);
    }
}

static inline char *SORT(median)(char *a, char *b, char *c, ebb__compare compare) {
    (void)compare;
    if (SORT_LESS(b, a)) {
        char *lower = b;
        b = a, a = lower;
    }
    if (!SORT_LESS(c, b)) return b;
    return SORT_LESS(c, a) ? a : c;
}

/* Brings a good pivot to the front. */
static void SORT(pivot)(char *a, size_t n, ebb__compare compare) {
    size_t step = n / 8;
    char *low = SORT_AT(a, step), *mid = SORT_AT(a, n / 2), *high = SORT_AT(a, n - 1 - step);
    if (n > 128) {
        size_t d = SORT_SIZE;
        low = SORT(median)(low - d, low, low + d, compare);
        mid = SORT(median)(mid - d, mid, mid + d, compare);
        high = SORT(median)(high - d, high, high + d, compare);
    }
    SORT(swap)(a, SORT(median)(low, mid, high, compare));
}

/* Splits by the pivot at the front: those before it (with `equals`: those not after it), the pivot,
 * the others. Returns where the pivot stands. The swap is made always, and counts only sometimes:
 * no branch depends on the data. */
static inline size_t SORT(partition)(char *a, size_t n, bool equals, ebb__compare compare) {
    (void)compare;
    SORT(element) pivot;
    SORT_COPY(&pivot, a);
    size_t left = 1;
    for (size_t i = 1; i < n; i++) {
        SORT(element) held, other;
        SORT_COPY(&held, SORT_AT(a, i));
        SORT_COPY(&other, SORT_AT(a, left));
        bool goes = equals ? !SORT_LESS((char *)&pivot, (char *)&held)
                           : SORT_LESS((char *)&held, (char *)&pivot);
        SORT_COPY(SORT_AT(a, i), &other);
        SORT_COPY(SORT_AT(a, left), &held);
        left += goes;
    }
    SORT(swap)(a, SORT_AT(a, left - 1));
    return left - 1;
}

/* Nothing in the range stands before `before`, the pivot that the range lies right of, if any. */
static void SORT(quick)(char *a, size_t n, const char *before, unsigned bad_left,
                        ebb__compare compare) {
    while (n > 24) {
        if (bad_left == 0) {
            SORT(heap)(a, n, compare);
            return;
        }
        SORT(pivot)(a, n, compare);
        if (before && !SORT_LESS(before, a)) {
            size_t equal = SORT(partition)(a, n, true, compare) + 1;
            a = SORT_AT(a, equal);
            n -= equal;
            continue;
        }
        size_t at = SORT(partition)(a, n, false, compare);
        char *right = SORT_AT(a, at + 1);
        size_t right_n = n - at - 1;
        if (min_size(at, right_n) < n / 8) bad_left--;
        if (at < right_n) {
            SORT(quick)(a, at, before, bad_left, compare);
            before = SORT_AT(a, at), a = right, n = right_n;
        } else {
            SORT(quick)(right, right_n, SORT_AT(a, at), bad_left, compare);
            n = at;
        }
    }
    SORT(insertion)(a, n, compare);
}

/* True where it was in order already, or only had to be turned round. */
static bool SORT(was_ordered)(char *a, size_t n, ebb__compare compare) {
    (void)compare;
    size_t i = 1;
    if (n > 1 && SORT_LESS(SORT_AT(a, 1), a)) {
        while (i < n && SORT_LESS(SORT_AT(a, i), SORT_AT(a, i - 1))) i++;
        if (i < n) return false;
        for (i = 0; i < n / 2; i++) SORT(swap)(SORT_AT(a, i), SORT_AT(a, n - 1 - i));
        return true;
    }
    while (i < n && !SORT_LESS(SORT_AT(a, i), SORT_AT(a, i - 1))) i++;
    return i >= n;
}

static void SORT(unstable)(char *a, size_t n, ebb__compare compare) {
    if (n < 2 || SORT(was_ordered)(a, n, compare)) return;
    SORT(quick)(a, n, NULL, 2 * log2_floor(n), compare);
}

#ifdef SORT_STABLE
/* Merges the first `mid` of n elements with the others; spare has room for the first. */
static void SORT(merge)(char *a, size_t mid, size_t n, char *spare, ebb__compare compare) {
    memcpy(spare, a, mid * SORT_SIZE);
    char *left = spare, *left_end = SORT_AT(spare, mid), *right = SORT_AT(a, mid);
    char *right_end = SORT_AT(a, n), *to = a;
    while (left < left_end && right < right_end) {
        char **from = SORT_LESS(right, left) ? &right : &left;
        SORT_COPY(to, *from);
        *from += SORT_SIZE;
        to += SORT_SIZE;
    }
    memcpy(to, left, (size_t)(left_end - left));
}

static void SORT(stable)(char *a, size_t n, char *spare, ebb__compare compare) {
    if (n <= 20) {
        SORT(insertion)(a, n, compare);
        return;
    }
    size_t mid = n / 2;
    SORT(stable)(a, mid, spare, compare);
    SORT(stable)(SORT_AT(a, mid), n - mid, spare, compare);
    if (SORT_LESS(SORT_AT(a, mid), SORT_AT(a, mid - 1))) SORT(merge)(a, mid, n, spare, compare);
}
#endif

#undef SORT
#undef SORT_AT
#undef SORT_COPY
#undef SORT_SIZE
#undef SORT_LESS
#undef SORT_STABLE
