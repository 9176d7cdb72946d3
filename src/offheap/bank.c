/* bank.c - equal strings become equal numbers.
 *
 * The bytes lie in a region, each string behind its length and before a zero byte. An id leads to
 * them through arrays that double in length, so none is ever copied and a text never moves. The
 * table that finds an id by text is open addressing with linear probing; a slot is the upper half
 * of a keyed hash (SipHash-1-3) and an id, so a probe rarely looks at a text, and growing at none.
 *
 * Growth is spread out: a full table is replaced by one of twice the length, and each call that
 * interns moves a few slots of the old one, then returns a piece of it, which is done long before
 * the new table is full. As nothing is ever removed, a slot may be in both tables: what is not in
 * the new one yet is in the old one. See docs/offheap.md. */
#include "offheap.h"

#define BANK_FIRST_LOG2 9          /* slots of the first table: a page */
#define BANK_TEXTS_LOG2 8          /* strings in the first array of texts */
#define BANK_MOST_LEN   0xc0000000 /* the table then has 2^32 slots, three quarters full */
#define BANK_STEP_SLOTS 8          /* moved by one call */
#define BANK_STEP_BYTES (2 * MIB)  /* returned by one call */

struct ebb__bank_slot {
    uint32_t hash;
    ebb_bank_id id; /* 0: the slot is free */
};

typedef struct ebb__bank_slot bank_slot;

static_assert(sizeof(bank_slot) << BANK_FIRST_LOG2 == 4096, "a first table fills a page");
static_assert(sizeof((ebb_bank *)0)->texts / sizeof(char **) == 32 - BANK_TEXTS_LOG2 + 1,
              "as many arrays as ids need");

/* --- The hash: SipHash-1-3 -------------------------------------------------------------------- */

static uint64_t bank_rotate(uint64_t x, unsigned by) {
    return x << by | x >> (64 - by);
}

static void bank_round(uint64_t v[4]) {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = bank_rotate(v[1], 13) ^ v[0];
    v[3] = bank_rotate(v[3], 16) ^ v[2];
    v[0] = bank_rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = bank_rotate(v[1], 17) ^ v[2];
    v[3] = bank_rotate(v[3], 21) ^ v[0];
    v[2] = bank_rotate(v[2], 32);
}

static uint64_t bank_word(const char *p, size_t bytes) {
    uint64_t word = 0;
    memcpy(&word, p, bytes);
    return word;
}

static uint32_t bank_hash(const ebb_bank *bank, ebb_str text) {
    uint64_t v[4] = {bank->key[0] ^ 0x736f6d6570736575u, bank->key[1] ^ 0x646f72616e646f6du,
                     bank->key[0] ^ 0x6c7967656e657261u, bank->key[1] ^ 0x7465646279746573u};
    size_t whole = text.len & ~(size_t)7;
    for (size_t i = 0; i <= whole; i += 8) {
        uint64_t word = i < whole ? bank_word(text.ptr + i, 8) : (uint64_t)text.len << 56;
        if (i == whole && whole < text.len) word |= bank_word(text.ptr + i, text.len - whole);
        v[3] ^= word;
        bank_round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) bank_round(v);
    return (uint32_t)((v[0] ^ v[1] ^ v[2] ^ v[3]) >> 32);
}

/* --- Texts by id ------------------------------------------------------------------------------ */

/* Array k holds 2^(k + BANK_TEXTS_LOG2) texts; id 1 is the first of array 0. */
static unsigned bank_array_of(ebb_bank_id id, size_t *at) {
    size_t position = (size_t)id - 1 + ((size_t)1 << BANK_TEXTS_LOG2);
    unsigned log2 = log2_floor(position);
    *at = position - ((size_t)1 << log2);
    return log2 - BANK_TEXTS_LOG2;
}

static size_t bank_array_bytes(unsigned array) {
    return sizeof(char *) << (array + BANK_TEXTS_LOG2);
}

static ebb_str bank_text(const ebb_bank *bank, ebb_bank_id id) {
    size_t at;
    unsigned array = bank_array_of(id, &at);
    const char *stored = bank->texts[array][at];
    uint32_t len;
    memcpy(&len, stored, sizeof len);
    return (ebb_str){stored + sizeof len, len};
}

/* --- The table -------------------------------------------------------------------------------- */

static size_t bank_table_length(uint32_t log2) {
    return (size_t)1 << log2;
}

/* The slot that holds the text, or the free one where the probing ended. */
static bank_slot *bank_table_probe(const ebb_bank *bank, bank_slot *slots, uint32_t log2,
                                   uint32_t hash, ebb_str text) {
    size_t mask = bank_table_length(log2) - 1;
    for (size_t i = hash >> (32 - log2);; i = (i + 1) & mask) {
        bank_slot *slot = &slots[i];
        if (slot->id == 0) return slot;
        if (slot->hash != hash) continue;
        ebb_str other = bank_text(bank, slot->id);
        if (other.len != text.len) continue;
        if (text.len == 0 || memcmp(other.ptr, text.ptr, text.len) == 0) return slot;
    }
}

/* Puts a slot that is not there yet. */
static void bank_table_put(bank_slot *slots, uint32_t log2, bank_slot new) {
    size_t mask = bank_table_length(log2) - 1, i = new.hash >> (32 - log2);
    while (slots[i].id != 0) i = (i + 1) & mask;
    slots[i] = new;
}

static ebb_bank_id bank_lookup(const ebb_bank *bank, uint32_t hash, ebb_str text) {
    if (!bank->slots) return 0;
    ebb_bank_id id = bank_table_probe(bank, bank->slots, bank->slots_log2, hash, text)->id;
    if (id == 0 && bank->old_moved < bank_table_length(bank->old_log2) && bank->old)
        id = bank_table_probe(bank, bank->old, bank->old_log2, hash, text)->id;
    return id;
}

/* One step of the move out of the old table, whose pages are returned from its end. A string that
 * was interned meanwhile is in the new table only, so none is put twice. */
static void bank_move(ebb_bank *bank) {
    if (!bank->old) return;
    size_t length = bank_table_length(bank->old_log2);
    if (bank->old_moved < length) {
        for (int i = 0; i < BANK_STEP_SLOTS; i++) {
            bank_slot slot = bank->old[bank->old_moved++];
            if (slot.id) bank_table_put(bank->slots, bank->slots_log2, slot);
        }
        return;
    }
    size_t piece = min_size(bank->old_bytes, BANK_STEP_BYTES);
    bank->old_bytes -= piece;
    bank->mapped_bytes -= piece;
    ebb__offheap_unmap((char *)bank->old + bank->old_bytes, piece);
    if (bank->old_bytes == 0) bank->old = NULL;
}

static bool bank_table_is_full(const ebb_bank *bank) {
    return !bank->slots || bank->len >= bank_table_length(bank->slots_log2) / 4 * 3;
}

/* Maps `bytes`, unless the limit handler changed the bank meanwhile: null then too, and *again. */
static void *bank_map(ebb_bank *bank, size_t bytes, bool *again) {
    const bank_slot *slots = bank->slots;
    uint32_t len = bank->len;
    bytes = round_up(bytes, ebb__os_page_size());
    void *memory = ebb__offheap_map(bytes);
    *again = bank->slots != slots || bank->len != len;
    if (memory && *again) {
        ebb__offheap_unmap(memory, bytes);
        return NULL;
    }
    if (memory) bank->mapped_bytes += bytes;
    return memory;
}

static bool bank_table_grow(ebb_bank *bank, bool *again) {
    uint32_t log2 = bank->slots ? bank->slots_log2 + 1 : BANK_FIRST_LOG2;
    while (bank->old) bank_move(bank);
    void *memory = bank_map(bank, sizeof(bank_slot) << log2, again);
    if (!memory) return false;
    bank->old = bank->slots;
    bank->old_log2 = bank->slots_log2;
    bank->old_bytes =
        bank->slots ? round_up(sizeof(bank_slot) << bank->old_log2, ebb__os_page_size()) : 0;
    bank->old_moved = 0;
    bank->slots = memory;
    bank->slots_log2 = log2;
    return true;
}

/* --- The public calls ------------------------------------------------------------------------- */

static bool bank_request_check(const ebb_bank *bank, ebb_str text, const char *call) {
    if (!bank) {
        ebb__misuse(EBB_EINVAL, call, "the bank is a null pointer");
    } else if (!text.ptr && text.len) {
        ebb__misuse(EBB_EINVAL, call, "a text of %zu bytes at a null pointer", text.len);
    } else if (text.len > UINT32_MAX) {
        ebb__misuse(EBB_EINVAL, call, "a text of %zu bytes: 4 GiB or more", text.len);
    } else {
        return true;
    }
    return false;
}

/* Everything that the next string needs, so that adding it cannot fail half-way. Null without
 * memory, or when the bank was changed meanwhile, and then *again. */
static char *bank_prepare(ebb_bank *bank, ebb_str text, bool *again) {
    *again = false;
    if (bank->len >= BANK_MOST_LEN) return NULL;
    if (bank_table_is_full(bank) && !bank_table_grow(bank, again)) return NULL;
    size_t at;
    unsigned array = bank_array_of(bank->len + 1, &at);
    if (!bank->texts[array]) {
        void *memory = bank_map(bank, bank_array_bytes(array), again);
        if (!memory) return NULL;
        bank->texts[array] = memory;
    }
    const bank_slot *slots = bank->slots;
    uint32_t len = bank->len;
    char *stored = ebb_region_alloc(&bank->text, sizeof len + text.len + 1, 1);
    *again = bank->slots != slots || bank->len != len;
    return *again ? NULL : stored;
}

static ebb_bank_id bank_add(ebb_bank *bank, ebb_str text, uint32_t hash, char *stored) {
    ebb_bank_id id = ++bank->len;
    uint32_t len = (uint32_t)text.len;
    memcpy(stored, &len, sizeof len);
    if (len) memcpy(stored + sizeof len, text.ptr, len);
    size_t at;
    unsigned array = bank_array_of(id, &at);
    bank->texts[array][at] = stored;
    bank_table_put(bank->slots, bank->slots_log2, (bank_slot){hash, id});
    return id;
}

ebb_bank_id ebb_bank_intern(ebb_bank *bank, ebb_str text) {
    if (!bank_request_check(bank, text, "ebb_bank_intern")) return 0;
    for (bool again = true; again;) {
        if (!bank->slots) {
            bank->key[0] = ebb__os_random();
            bank->key[1] = ebb__os_random();
        }
        uint32_t hash = bank_hash(bank, text);
        bank_move(bank);
        ebb_bank_id id = bank_lookup(bank, hash, text);
        if (id) return id;
        char *stored = bank_prepare(bank, text, &again);
        if (stored) return bank_add(bank, text, hash, stored);
    }
    return 0;
}

ebb_bank_id ebb_bank_find(const ebb_bank *bank, ebb_str text) {
    if (!bank_request_check(bank, text, "ebb_bank_find")) return 0;
    return bank_lookup(bank, bank_hash(bank, text), text);
}

ebb_str ebb_bank_text(const ebb_bank *bank, ebb_bank_id id) {
    ebb_str none = {NULL, 0};
    if (id == 0) return none;
    if (bank && id <= bank->len) return bank_text(bank, id);
    ebb__misuse(EBB_ENOENT, "ebb_bank_text", "the bank at %p has no string %u", (const void *)bank,
                id);
    return none;
}

size_t ebb_bank_bytes(const ebb_bank *bank) {
    return bank ? bank->mapped_bytes + ebb_region_bytes(&bank->text) : 0;
}

void ebb_bank_release(ebb_bank *bank) {
    if (!bank) {
        ebb__misuse(EBB_EINVAL, "ebb_bank_release", "the bank is a null pointer");
        return;
    }
    if (bank->old) ebb__offheap_unmap(bank->old, bank->old_bytes);
    if (bank->slots) ebb__offheap_unmap(bank->slots, sizeof(bank_slot) << bank->slots_log2);
    for (unsigned i = 0; i < sizeof bank->texts / sizeof *bank->texts; i++)
        if (bank->texts[i]) ebb__offheap_unmap(bank->texts[i], bank_array_bytes(i));
    ebb_region_release(&bank->text);
    *bank = (ebb_bank){0};
}
