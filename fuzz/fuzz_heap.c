/* fuzz_heap.c - the heap driven by a byte string: allocations of every kind, releases, resizes,
 * links between objects, weak references, questions and collections, against a shadow that knows
 * what every slot holds. An operation is three bytes: what, which slot, how large. */
#include <ebb/gc.h>
#include <ebb/heap.h>
#include <ebb/stats.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 32, LARGE_BYTES = 3 << 20, OPERATION_BYTES = 3, COLLECTS_MAX = 20 };

typedef struct pair {
    struct pair *first, *second;
    uint64_t tag;
} pair;
EBB_TYPE(pair, ptr(first), ptr(second));

enum slot_kind { SLOT_EMPTY, SLOT_WORDS, SLOT_DATA, SLOT_PAIR };

/* A slot's object is filled with its mark, except a pair, whose fields say what they refer to. */
typedef struct slot {
    enum slot_kind kind;
    unsigned char *start;
    size_t size;
    uint64_t mark;
    ebb_weak *weak;
    int first; /* the slot whose pair it referred to when it was set; -1 for none */
    uint64_t first_mark;
} slot;

static slot slots[SLOTS]; /* static storage keeps the objects */
static uint64_t next_mark;
static unsigned collects;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond) ((cond) ? (void)0 : must_fail(__LINE__, #cond))

__attribute__((noreturn)) static void must_fail(int line, const char *text) {
    fprintf(stderr, "fuzz_heap.c:%d: %s\n", line, text);
    abort();
}

/* Small, middling and large ones, all lengths of each. */
static size_t size_of_byte(uint8_t byte, uint8_t more) {
    if (byte < 160) return (size_t)byte * 4 + more % 4;
    if (byte < 240) return (size_t)byte * 200 + more;
    return ((size_t)(byte - 239) * LARGE_BYTES >> 4) + more;
}

static void slot_check(const slot *s) {
    if (s->kind == SLOT_EMPTY) return;
    MUST(ebb_base_of(s->start) == s->start);
    MUST(ebb_size_of(s->start) >= s->size);
    MUST(!s->weak || ebb_weak_get(s->weak) == s->start);
    if (s->kind == SLOT_PAIR) {
        const pair *p = (const pair *)(const void *)s->start;
        MUST(p->tag == s->mark);
        MUST((s->first < 0) == !p->first);
        if (p->first) MUST(p->first->tag == s->first_mark); /* kept, though its slot may be gone */
        return;
    }
    if (s->size == 0) return;
    unsigned char fill = (unsigned char)s->mark;
    MUST(s->start[0] == fill && s->start[s->size / 2] == fill && s->start[s->size - 1] == fill);
}

static void slot_fill(slot *s, size_t from) {
    for (size_t i = from; i < s->size; i += 509) MUST(s->start[i] == 0);
    if (s->size > from) MUST(s->start[s->size - 1] == 0);
    memset(s->start, (int)(s->mark & 0xff), s->size);
}

static void slot_alloc(slot *s, enum slot_kind kind, size_t size) {
    *s = (slot){.kind = kind, .size = size, .mark = ++next_mark, .first = -1};
    if (kind == SLOT_PAIR) {
        pair *p = ebb_new(pair);
        MUST(p && !p->first && !p->second && !p->tag);
        p->tag = s->mark;
        s->start = (unsigned char *)p;
        s->size = sizeof *p;
        return;
    }
    s->start = kind == SLOT_WORDS ? ebb_alloc(size) : ebb_alloc_data(size);
    MUST(s->start != NULL);
    MUST((uintptr_t)s->start % (size && size % 16 == 0 ? 16 : 8) == 0);
    slot_fill(s, 0);
}

static void slot_align(slot *s, size_t size, unsigned power) {
    size_t align = (size_t)1 << power % 17;
    *s = (slot){.kind = SLOT_DATA, .size = size, .mark = ++next_mark, .first = -1};
    s->start = ebb_alloc_data_aligned(size, align);
    MUST(s->start && (uintptr_t)s->start % align == 0);
    slot_fill(s, 0);
}

/* Nobody may refer to a pair that is released by hand: it is dropped instead. */
static void slot_free(slot *s) {
    if (s->kind == SLOT_WORDS || s->kind == SLOT_DATA) MUST(ebb_free(s->start) == 0);
    *s = (slot){.first = -1};
}

static void slot_resize(slot *s, size_t size) {
    if (s->kind != SLOT_WORDS && s->kind != SLOT_DATA) return;
    size_t room = ebb_size_of(s->start), old = s->size;
    unsigned char *moved = ebb_resize(s->start, size);
    MUST(moved != NULL);
    for (size_t i = 0; i < old && i < size; i += 1 + old / 7) {
        MUST(moved[i] == (unsigned char)s->mark);
    }
    for (size_t i = old; i < size; i += 509) MUST(moved[i] == 0);
    if (moved != s->start) s->weak = NULL;
    MUST(moved != s->start || size <= room || ebb_size_of(moved) >= size);
    s->start = moved;
    s->size = size;
    s->mark = ++next_mark;
    memset(moved, (int)(s->mark & 0xff), size);
}

static void slot_link(slot *from, int to) {
    if (from->kind != SLOT_PAIR || slots[to].kind != SLOT_PAIR) return;
    pair *p = (pair *)(void *)from->start;
    p->second = p->first; /* a chain of the past */
    p->first = (pair *)(void *)slots[to].start;
    from->first = to;
    from->first_mark = slots[to].mark;
}

static void slot_ask(const slot *s, size_t at) {
    if (s->kind == SLOT_EMPTY) return;
    at = at % (s->size + 1);
    MUST(ebb_base_of(s->start + at) == s->start);
    MUST(ebb_size_of(s->start + at) == ebb_size_of(s->start));
}

static void heap_check(void) {
    struct ebb_stats st;
    for (int i = 0; i < SLOTS; i++) slot_check(&slots[i]);
    ebb_stats(&st);
    MUST(st.mapped == st.heap_used + st.heap_free + st.heap_returned + st.metadata + st.offheap);
    MUST(st.heap_used == st.live + st.dead + st.slots_free + st.tail_waste);
}

static void heap_collect(bool release) {
    if (collects++ >= COLLECTS_MAX) return;
    if (release) ebb_release();
    MUST(ebb_collect() == 0);
    heap_check();
}

static void operate(uint8_t what, uint8_t which, uint8_t how, uint8_t more) {
    slot *s = &slots[which % SLOTS];
    size_t size = size_of_byte(how, more);
    slot_check(s);
    switch (what % 16) {
    case 0:
    case 1:
        slot_alloc(s, SLOT_WORDS, size);
        break;
    case 2:
    case 3:
        slot_alloc(s, SLOT_DATA, size);
        break;
    case 4:
    case 5:
        slot_alloc(s, SLOT_PAIR, 0);
        break;
    case 6:
        slot_align(s, size, which);
        break;
    case 7:
    case 8:
        slot_free(s);
        break;
    case 9:
    case 10:
        slot_resize(s, size);
        break;
    case 11:
    case 12:
        slot_link(s, how % SLOTS);
        break;
    case 13:
        if (s->kind != SLOT_EMPTY && !s->weak) s->weak = ebb_weak_new(s->start);
        break;
    case 14:
        slot_ask(s, size);
        break;
    default:
        if (how % 8 == 0) heap_collect(how % 64 == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    setenv("EBB_DEBUG", "misuse=abort,verify=1", 0); /* read at the first call */
    collects = 0;
    for (size_t at = 0; at + OPERATION_BYTES < size; at += OPERATION_BYTES) {
        operate(data[at], data[at + 1], data[at + 2], data[at + 3]);
    }
    heap_check();
    memset(slots, 0, sizeof slots);
    return 0;
}
