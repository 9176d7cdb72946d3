/* graph.h - all objects of a snapshot as a graph: numbered, walked from the roots as the marker
 * walks, each with the slot by which it was found first. docs/design.md, "Retention".
 *
 *   object numbers   first[span] + index; free slots of a span have numbers too
 *   slot numbers     of every word that may refer to an object, wherever it stands:
 *                      [0, heap_words)           in the scan zone: (address - base) / 8
 *                      [heap_words, words)       in the ranges of the roots, one after the other
 *                      [words, words + extras)   what finalizers keep, in the order of
 *                                                ebb__finalizers_roots
 *   from[object]     1 + the number of the slot by which it was found; 0: it was not;
 *                    FROM_SHAPE and above, up to FROM_SLOTS: a shape that paths.c put there since
 *
 * The walk is breadth-first, so the way back by `from` is a shortest one. Precise roots come first:
 * a way by a stack is taken only to what no other way leads to. */
#ifndef EBB_GRAPH_H
#define EBB_GRAPH_H

#include "snapshot.h"

/* Large tables of which parts are never touched: those take nothing. */
typedef struct graph_table {
    uint32_t *low;
    uint8_t *high; /* 40 bits together */
} graph_table;

typedef struct graph_sum {
    uint64_t objects, bytes;
} graph_sum;

#define FROM_SHAPE ((uint64_t)0xffff0000)
#define FROM_SLOTS ((uint64_t)1 << 32)

struct graph_queue_piece;
enum { GRAPH_RING = 32, GRAPH_STAGE = 8 };

typedef struct graph {
    const snapshot *snap;
    bool failed; /* memory ended: nothing below is right */
    /* Numbers. */
    uint64_t *first;    /* by span */
    uint64_t numbers;   /* of objects */
    uint64_t *range_at; /* by range of the roots: the number of its first word, less heap_words */
    uint64_t heap_words, words, extras;
    graph_table from;
    bool wide; /* some slots' numbers take the fifth byte */
    /* A bit each for the targets, laid out as marks are; and whether the walk stops at them. */
    _Atomic(uint64_t) *target;
    bool around; /* do not go to targets: what is found then does not need them */
    /* The walk. */
    bool note;     /* fill `from` */
    uint64_t bias; /* of what is scanned: slot number = address / 8 + bias */
    struct graph_ring {
        uintptr_t word; /* 0: an empty place */
        uint64_t slot;
        uint32_t span, index; /* known from the first and from the second stage on */
    } ring[GRAPH_RING];
    uint32_t ring_at;
    /* What is to be scanned: of this level of the breadth-first walk, and of the next. */
    struct graph_queue_piece *head, *later, *tail, *spare;
    graph_sum found; /* so far */
} graph;

/* Numbers everything; all marks are cleared. False without memory. */
EBB__SHARED bool ebb__graph_open(graph *g, const snapshot *s);

/* Walks on from the precise roots, or from the others. Marks are set on what is found. */
EBB__SHARED void ebb__graph_walk(graph *g, bool precise);

/* What is marked of a span becomes its targets, without those that were; adds them to the sum. And
 * the same of all spans. */
EBB__SHARED void ebb__graph_target_span(graph *g, const span *s, graph_sum *targets);
EBB__SHARED graph_sum ebb__graph_target_all(graph *g);

/* Clears the marks, for another walk; `from` stays. */
EBB__SHARED void ebb__graph_forget(graph *g);

/* Calls visit for each object that is marked, span by span. */
EBB__SHARED void ebb__graph_each(graph *g,
                                 void (*visit)(graph *g, const span *s, uint32_t index, void *arg),
                                 void *arg);

/* What a reference in an object, or a root, is. */
typedef struct graph_slot {
    const span *span; /* of the object that it is in; null: a root */
    uint32_t index;   /* of that in its span */
    uintptr_t object; /* where it starts */
    uintptr_t address;
    uint32_t range; /* of the roots */
    bool extra;     /* what a finalizer keeps: no address */
} graph_slot;
EBB__SHARED graph_slot ebb__graph_slot(const graph *g, uint64_t number);

/* The number of the span that a slot below heap_words is in. */
EBB__INLINE uint32_t graph_slot_span(uint64_t slot) {
    const _Atomic(uint32_t) *span_of = &ebb__space.span_of[slot >> (PAGE_SHIFT - 3)];
    return atomic_load_explicit(span_of, memory_order_relaxed);
}

/* What is said of a range of the roots. */
EBB__SHARED const root_note *ebb__graph_note(const graph *g, uint32_t range);

EBB__INLINE bool graph_precise(const root_note *note) {
    return note->origin == ORIGIN_STATIC || note->origin == ORIGIN_RANGE;
}

/* Objects of a span, by the bits of some of them. */
EBB__INLINE void graph_sum_add(graph_sum *sum, const span *s, uint64_t bits) {
    unsigned objects = (unsigned)__builtin_popcountll(bits);
    sum->objects += objects;
    sum->bytes += objects * s->stride;
}

EBB__INLINE uint64_t graph_number(const graph *g, const span *s, uint32_t index) {
    return g->first[span_number(s)] + index;
}

EBB__INLINE uint64_t graph_from(const graph *g, uint64_t object) {
    uint64_t low = g->from.low[object];
    return EBB__RARE(g->wide) ? (uint64_t)g->from.high[object] << 32 | low : low;
}

EBB__INLINE void graph_from_set(graph *g, uint64_t object, uint64_t from) {
    g->from.low[object] = (uint32_t)from;
    if (EBB__RARE(from >> 32)) g->wide = true;
    if (EBB__RARE(g->wide)) g->from.high[object] = (uint8_t)(from >> 32);
}

EBB__INLINE uint64_t graph_from_slot(uint64_t slot) {
    return slot + 1 < FROM_SHAPE ? slot + 1 : slot + 1 + (FROM_SLOTS - FROM_SHAPE);
}

EBB__INLINE uint64_t graph_slot_from(uint64_t from) {
    return from < FROM_SHAPE ? from - 1 : from - 1 - (FROM_SLOTS - FROM_SHAPE);
}

EBB__INLINE _Atomic(uint64_t) *graph_targets(const graph *g, const span *s) {
    return g->target + (size_t)s->first_page * BITMAP_WORDS;
}

/* Zeroed memory of the child's, never given back; null without. */
EBB__SHARED void *ebb__graph_memory(size_t bytes);

#endif
