/* linux_cfi.c - how a frame is left: a reader of .eh_frame that remembers. docs/design.md,
 * "Profile".
 *
 * Compilers write for every instruction where its function's caller is. Almost always that is: so
 * many bytes above the stack or frame pointer. Those rules are kept here, by return address, and
 * everything else (expressions, signal frames, stacks that were realigned, code without tables) is
 * CFI_NONE and somebody else's. Tables are found by _dl_find_object, which takes no lock: so a
 * thread may be stopped, signalled or forked in all of this. */
#include "cfi.h"

#include <dlfcn.h>

#if defined(__x86_64__) && defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)
# define CFI_READS 1
#else
# define CFI_READS 0
#endif

#if CFI_READS

enum { CFI_RBP = 6, CFI_RSP = 7, CFI_RIP = 16, CFI_OTHER = 99 }; /* the psABI's numbers */
enum { CFI_PCREL_4 = 0x1b, CFI_UNSIGNED_4 = 0x03, CFI_DATAREL_4 = 0x3b };

/* --- Bytes -------------------------------------------------------------------------------------
 */

typedef struct cfi_reader {
    const unsigned char *at, *end;
    bool failed;
} cfi_reader;

static uint64_t cfi_number(cfi_reader *r, size_t bytes) {
    uint64_t value = 0;
    if ((size_t)(r->end - r->at) < bytes) {
        r->failed = true;
        r->at = r->end;
        return 0;
    }
    memcpy(&value, r->at, bytes);
    r->at += bytes;
    return value;
}

static uint64_t cfi_leb(cfi_reader *r, bool is_signed) {
    uint64_t value = 0, byte;
    unsigned shift = 0;
    do {
        byte = cfi_number(r, 1);
        if (shift < 64) value |= (byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    if (is_signed && shift < 64 && (byte & 0x40)) value |= UINT64_MAX << shift;
    return value;
}

static uint64_t cfi_unsigned(cfi_reader *r) {
    return cfi_leb(r, false);
}

static void cfi_skip(cfi_reader *r, uint64_t bytes) {
    if (bytes > (size_t)(r->end - r->at)) r->failed = true, bytes = 0;
    r->at += bytes;
}

/* --- Rows --------------------------------------------------------------------------------------
 */

/* Where the caller's value of a register is: at bytes from the caller's stack pointer. */
typedef struct cfi_place {
    enum { PLACE_SAME, PLACE_SAVED, PLACE_NOWHERE, PLACE_OTHER } kind;
    int64_t at;
} cfi_place;

typedef struct cfi_row {
    uint64_t base, up;
    cfi_place rbp, rip;
} cfi_row;

/* What a function's table has in common with others', and what it is for. */
typedef struct cfi_unit {
    uint64_t code_align;
    int64_t data_align;
    cfi_row initial;
} cfi_unit;

static void cfi_set(cfi_row *row, uint64_t number, cfi_place place) {
    if (number == CFI_RBP) row->rbp = place;
    if (number == CFI_RIP) row->rip = place;
    if (number == CFI_RSP) row->base = CFI_OTHER;
}

static void cfi_set_saved(cfi_row *row, uint64_t number, uint64_t factor, const cfi_unit *unit) {
    cfi_set(row, number, (cfi_place){PLACE_SAVED, (int64_t)factor * unit->data_align});
}

static void cfi_restore(cfi_row *row, uint64_t number, const cfi_unit *unit) {
    cfi_set(row, number, number == CFI_RBP ? unit->initial.rbp : unit->initial.rip);
}

static void cfi_base(cfi_row *row, uint64_t base, uint64_t up) {
    row->base = base;
    row->up = up;
}

/* Instructions that say where the caller's stack pointer is. False: it is none of them. */
static bool cfi_run_base(cfi_reader *r, const cfi_unit *unit, cfi_row *row, unsigned op) {
    uint64_t number;
    switch (op) {
    case 0x0c: /* def_cfa */
        number = cfi_unsigned(r);
        cfi_base(row, number, cfi_unsigned(r));
        return true;
    case 0x12: /* def_cfa_sf */
        number = cfi_unsigned(r);
        cfi_base(row, number, cfi_leb(r, true) * (uint64_t)unit->data_align);
        return true;
    case 0x0d:
        cfi_base(row, cfi_unsigned(r), row->up);
        return true; /* def_cfa_register */
    case 0x0e:
        cfi_base(row, row->base, cfi_unsigned(r));
        return true; /* def_cfa_offset */
    case 0x13:       /* def_cfa_offset_sf */
        cfi_base(row, row->base, cfi_leb(r, true) * (uint64_t)unit->data_align);
        return true;
    case 0x0f: /* def_cfa_expression */
        cfi_base(row, CFI_OTHER, 0);
        cfi_skip(r, cfi_unsigned(r));
        return true;
    }
    return false;
}

/* Instructions that say where a register is. */
static void cfi_run_register(cfi_reader *r, const cfi_unit *unit, cfi_row *row, unsigned op) {
    uint64_t number = cfi_unsigned(r);
    switch (op) {
    case 0x05:
        cfi_set_saved(row, number, cfi_unsigned(r), unit);
        break; /* offset_extended */
    case 0x11:
        cfi_set_saved(row, number, cfi_leb(r, true), unit);
        break; /* offset_extended_sf */
    case 0x06:
        cfi_restore(row, number, unit);
        break; /* restore_extended */
    case 0x07:
        cfi_set(row, number, (cfi_place){PLACE_NOWHERE, 0});
        break; /* undefined */
    case 0x08:
        cfi_set(row, number, (cfi_place){PLACE_SAME, 0});
        break; /* same_value */
    case 0x09: /* register */
    case 0x14: /* val_offset */
    case 0x15: /* val_offset_sf */
        cfi_unsigned(r);
        cfi_set(row, number, (cfi_place){PLACE_OTHER, 0});
        break;
    case 0x10: /* expression */
    case 0x16: /* val_expression */
        cfi_skip(r, cfi_unsigned(r));
        cfi_set(row, number, (cfi_place){PLACE_OTHER, 0});
        break;
    default:
        r->failed = true;
    }
}

/* Runs instructions up to those for what is more than distance bytes into the function. */
static void cfi_run(cfi_reader *r, const cfi_unit *unit, cfi_row *row, uint64_t distance) {
    enum { ROWS_KEPT = 8 };
    cfi_row kept[ROWS_KEPT];
    unsigned depth = 0;
    for (uint64_t at = 0; at <= distance && r->at < r->end && !r->failed;) {
        unsigned op = (unsigned)cfi_number(r, 1), low = op & 0x3f;
        if (op >> 6 == 1) /* advance_loc */
            at += low * unit->code_align;
        else if (op >> 6 == 2) /* offset */
            cfi_set_saved(row, low, cfi_unsigned(r), unit);
        else if (op >> 6 == 3) /* restore */
            cfi_restore(row, low, unit);
        else if (op >= 0x02 && op <= 0x04) /* advance_loc1, 2, 4 */
            at += cfi_number(r, (size_t)1 << (op - 0x02)) * unit->code_align;
        else if (op == 0x0a && depth < ROWS_KEPT) /* remember_state */
            kept[depth++] = *row;
        else if (op == 0x0b && depth > 0) /* restore_state */
            *row = kept[--depth];
        else if (op == 0x2e) /* GNU_args_size */
            cfi_unsigned(r);
        else if (op != 0 && !cfi_run_base(r, unit, row, op))
            cfi_run_register(r, unit, row, op);
    }
}

static uint64_t cfi_pack(const cfi_row *row) {
    bool by_frame = row->base == CFI_RBP, saves = row->rbp.kind == PLACE_SAVED;
    uint64_t saved = saves ? -(uint64_t)row->rbp.at : 0;
    if (row->rip.kind == PLACE_NOWHERE) return CFI_END;
    if ((!by_frame && row->base != CFI_RSP) || row->up % 8 != 0 || row->up >> 35 != 0 ||
        row->rip.kind != PLACE_SAVED || row->rip.at != -8 ||
        (!saves && row->rbp.kind != PLACE_SAME) || saved % 8 != 0 || saved >> 31 != 0)
        return CFI_NONE;
    return row->up >> 3 << 32 | saved << 1 | (saves ? CFI_SAVES : 0u) |
           (by_frame ? CFI_BY_FRAME : 0u) | CFI_STEP;
}

/* --- Tables ------------------------------------------------------------------------------------
 */

/* The record at p, without its length; failed for one of more than 4 GiB, and for the end. */
static cfi_reader cfi_record(const unsigned char *p) {
    uint32_t length;
    memcpy(&length, p, sizeof length);
    bool failed = length == 0 || length == UINT32_MAX;
    return (cfi_reader){p + sizeof length, p + sizeof length + (failed ? 0 : length), failed};
}

static const unsigned char *cfi_pcrel(cfi_reader *r) {
    const unsigned char *from = r->at;
    return from + (int32_t)(uint32_t)cfi_number(r, 4);
}

static void cfi_skip_pointer(cfi_reader *r, unsigned encoding) {
    static const unsigned char bytes[8] = {8, 0, 2, 4, 8};
    size_t size = encoding == 0x50 ? 0 : bytes[encoding & 7];
    if (size == 0) r->failed = true; /* aligned, or a LEB128 */
    cfi_skip(r, size);
}

/* Of augmentations those that all compilers write: R is how functions' addresses are encoded. */
static void cfi_augmentation(cfi_reader *r, const char *letters) {
    unsigned encoding = 0;
    for (; *letters; letters++) {
        if (*letters == 'R')
            encoding = (unsigned)cfi_number(r, 1);
        else if (*letters == 'L')
            cfi_number(r, 1);
        else if (*letters == 'P')
            cfi_skip_pointer(r, (unsigned)cfi_number(r, 1));
        else
            r->failed = true; /* S: a signal's frame */
    }
    if (encoding != CFI_PCREL_4) r->failed = true;
}

static bool cfi_unit_read(const unsigned char *p, cfi_unit *unit) {
    cfi_reader r = cfi_record(p);
    uint64_t id = cfi_number(&r, 4), version = cfi_number(&r, 1);
    const char *letters = (const char *)r.at;
    if (r.failed || id != 0 || (version != 1 && version != 3) || *letters != 'z') return false;
    cfi_skip(&r, strlen(letters) + 1);
    unit->code_align = cfi_unsigned(&r);
    unit->data_align = (int64_t)cfi_leb(&r, true);
    uint64_t link = version == 1 ? cfi_number(&r, 1) : cfi_unsigned(&r);
    uint64_t bytes = cfi_unsigned(&r);
    cfi_reader augmentation = r;
    cfi_augmentation(&augmentation, letters + 1);
    cfi_skip(&r, bytes);
    unit->initial = (cfi_row){.base = CFI_OTHER, .rip = {PLACE_OTHER, 0}};
    cfi_row row = unit->initial;
    if (!augmentation.failed && link == CFI_RIP) cfi_run(&r, unit, &row, UINT64_MAX);
    unit->initial = row;
    return !augmentation.failed && !r.failed && link == CFI_RIP;
}

/* The record of the last function that begins at address or below: a search in the index. */
static const unsigned char *cfi_search(const unsigned char *index, uintptr_t address) {
    uint32_t count;
    const int32_t *entries = (const void *)(index + 12);
    memcpy(&count, index + 8, sizeof count);
    if (index[0] != 1 || index[1] != CFI_PCREL_4 || index[2] != CFI_UNSIGNED_4 ||
        index[3] != CFI_DATAREL_4 || count == 0)
        return NULL;
    int64_t wanted = (int64_t)(address - (uintptr_t)index);
    size_t low = 0, high = count;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (entries[2 * middle] <= wanted)
            low = middle;
        else
            high = middle;
    }
    return entries[2 * low] <= wanted ? index + entries[2 * low + 1] : NULL;
}

/* A call may be its function's last instruction, so the frame is that of the byte before pc. */
static uint64_t cfi_read(uintptr_t pc) {
    struct dl_find_object object;
    cfi_unit unit;
    if (_dl_find_object((void *)(pc - 1), &object) != 0 || !object.dlfo_eh_frame) return CFI_NONE;
    const unsigned char *record = cfi_search(object.dlfo_eh_frame, pc - 1);
    if (!record) return CFI_NONE;
    cfi_reader r = cfi_record(record);
    const unsigned char *here = r.at;
    uint64_t back = cfi_number(&r, 4);
    uintptr_t begin = (uintptr_t)cfi_pcrel(&r);
    uint64_t bytes = cfi_number(&r, 4), distance = pc - 1 - begin;
    if (r.failed || distance >= bytes || !cfi_unit_read(here - back, &unit)) return CFI_NONE;
    cfi_skip(&r, cfi_unsigned(&r));
    cfi_row row = unit.initial;
    cfi_run(&r, &unit, &row, distance);
    return r.failed ? CFI_NONE : cfi_pack(&row);
}

/* --- What is remembered ------------------------------------------------------------------------
 */

enum { CFI_ENTRIES = 4096 };

/* A rule, and its return address exclusive-or that rule: two threads that write one entry at once
 * leave one that answers to neither's address. [relaxed] */
static struct { _Atomic(uint64_t) key, rule; } cfi_entries[CFI_ENTRIES];

uint64_t ebb__cfi_rule(uintptr_t pc) {
    size_t at = pc * 0x9e3779b97f4a7c15u >> 52;
    uint64_t rule = atomic_load_explicit(&cfi_entries[at].rule, memory_order_relaxed);
    uint64_t key = atomic_load_explicit(&cfi_entries[at].key, memory_order_relaxed);
    if (EBB__LIKELY((key ^ rule) == pc)) return rule;
    rule = cfi_read(pc);
    atomic_store_explicit(&cfi_entries[at].key, pc ^ rule, memory_order_relaxed);
    atomic_store_explicit(&cfi_entries[at].rule, rule, memory_order_relaxed);
    return rule;
}

void ebb__cfi_unloads(uint64_t count) {
    static uint64_t known;
    if (count == known) return;
    known = count;
    for (size_t i = 0; i < CFI_ENTRIES; i++) {
        atomic_store_explicit(&cfi_entries[i].key, 0, memory_order_relaxed);
        atomic_store_explicit(&cfi_entries[i].rule, 0, memory_order_relaxed);
    }
}

#else

uint64_t ebb__cfi_rule(uintptr_t pc) {
    (void)pc;
    return CFI_NONE;
}

void ebb__cfi_unloads(uint64_t count) {
    (void)count;
}

#endif
