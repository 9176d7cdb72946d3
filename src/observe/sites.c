/* sites.c - stacks and sizes, each once. See sites.h.
 *
 * Records lie in buffers by number, and two tables find them: open addressing by hash, a record's
 * number beside its hash, so that a table grows without looking at records. What all of it may take
 * is bounded: a program that has ever new stacks has its later ones counted as unknown. */
#include "sites.h"

#define SITES_BYTES_MOST (64 * MIB)

profile_sites ebb__sites;

typedef struct site_entry {
    uint32_t hash, number; /* number 0: empty */
} site_entry;

typedef struct site_table {
    site_entry *entries;
    size_t room, count; /* room: a power of two, or 0; 2 * count <= room */
} site_table;

static site_table sites_by_stack, sites_buckets;

/* --- Tables ------------------------------------------------------------------------------------
 */

static uint32_t hash_words(const uintptr_t *words, size_t count) {
    uint64_t h = count;
    for (size_t i = 0; i < count; i++) {
        h = (h ^ words[i]) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    return (uint32_t)(h ^ h >> 32);
}

static void site_table_put(site_entry *entries, size_t room, site_entry entry) {
    size_t at = entry.hash;
    while (entries[at & (room - 1)].number) at++;
    entries[at & (room - 1)] = entry;
}

static size_t site_table_bytes(const site_table *t) {
    return t->room * sizeof(site_entry);
}

static void site_table_free(site_table *t) {
    if (t->entries) ebb__os_unmap(t->entries, site_table_bytes(t), OS_METADATA);
    *t = (site_table){0};
}

/* Room for one more. */
static bool site_table_grow(site_table *t) {
    if (2 * (t->count + 1) <= t->room) return true;
    site_table grown = {.room = max_size(2 * t->room, 64 * KIB / sizeof(site_entry)),
                        .count = t->count};
    grown.entries = ebb__os_map(site_table_bytes(&grown), OS_METADATA);
    if (!grown.entries) return false;
    for (size_t i = 0; i < t->room; i++)
        if (t->entries[i].number) site_table_put(grown.entries, grown.room, t->entries[i]);
    site_table_free(t);
    *t = grown;
    return true;
}

/* --- Records -----------------------------------------------------------------------------------
 */

size_t ebb__sites_bytes(void) {
    const profile_sites *s = &ebb__sites;
    return s->pcs.room + s->sites.room + s->buckets.room + site_table_bytes(&sites_by_stack) +
           site_table_bytes(&sites_buckets);
}

/* Room for a record, the first of which stands for none; and the table's for its number. */
static bool sites_reserve(site_table *table, meta_buffer *records, size_t size) {
    if (ebb__sites_bytes() >= SITES_BYTES_MOST) return false;
    records->failed = false; /* memory may have come */
    if (!site_table_grow(table) || !ebb__buffer_reserve(records, 2 * size)) return false;
    if (records->used == 0) records->used = size;
    return true;
}

static uint32_t sites_number(site_table *table, uint32_t hash, size_t number) {
    site_table_put(table->entries, table->room, (site_entry){hash, (uint32_t)number});
    table->count++;
    return (uint32_t)number;
}

static uint32_t site_add(const uintptr_t *pcs, unsigned count, uint32_t hash) {
    profile_sites *s = &ebb__sites;
    s->pcs.failed = false;
    if (!sites_reserve(&sites_by_stack, &s->sites, sizeof(profile_site)) ||
        !ebb__buffer_reserve(&s->pcs, count * sizeof *pcs))
        return 0;
    profile_site site = {hash, (uint32_t)(s->pcs.used / sizeof *pcs), count, 0};
    uint32_t number = site_count(s);
    ebb__buffer_add(&s->pcs, pcs, count * sizeof *pcs);
    ebb__buffer_add(&s->sites, &site, sizeof site);
    return sites_number(&sites_by_stack, hash, number);
}

static uint32_t site_find(const uintptr_t *pcs, unsigned count, uint32_t hash) {
    const profile_sites *s = &ebb__sites;
    const site_table *t = &sites_by_stack;
    for (size_t at = hash; t->room; at++) {
        const site_entry *e = &t->entries[at & (t->room - 1)];
        if (e->number == 0) break;
        if (e->hash != hash || site_at(s, e->number)->count != count) continue;
        if (memcmp(site_pcs(s, e->number), pcs, count * sizeof *pcs) == 0) return e->number;
    }
    return 0;
}

uint32_t ebb__site_of(const uintptr_t *pcs, unsigned count) {
    uint32_t hash = hash_words(pcs, count);
    if (ebb__sites.sites.used == 0) site_add(NULL, 0, hash_words(NULL, 0));
    if (count == 0) return SITE_UNKNOWN;
    uint32_t number = site_find(pcs, count, hash);
    if (number == 0) number = site_add(pcs, count, hash);
    return number ? number : SITE_UNKNOWN;
}

static uint32_t *site_latest(uint32_t site) {
    return &((profile_site *)(void *)ebb__sites.sites.bytes)[site].bucket;
}

static bool bucket_is(uint32_t number, uint32_t site, size_t size, bool growth) {
    const profile_bucket *b = bucket_at(number);
    return b->site == site && b->size == size && b->growth == growth;
}

static uint32_t bucket_find(uint32_t hash, uint32_t site, size_t size, bool growth) {
    const site_table *t = &sites_buckets;
    for (size_t at = hash; t->room; at++) {
        const site_entry *e = &t->entries[at & (t->room - 1)];
        if (e->number == 0) break;
        if (bucket_is(e->number, site, size, growth)) return e->number;
    }
    return 0;
}

static uint32_t bucket_add(uint32_t hash, uint32_t site, size_t size, bool growth) {
    profile_bucket bucket = {.size = size, .site = site, .growth = growth};
    meta_buffer *records = &ebb__sites.buckets;
    if (!sites_reserve(&sites_buckets, records, sizeof bucket)) return 0;
    uint32_t number = bucket_count(&ebb__sites);
    ebb__buffer_add(records, &bucket, sizeof bucket);
    return sites_number(&sites_buckets, hash, number);
}

uint32_t ebb__bucket_of(uint32_t site, size_t size, bool growth) {
    const uintptr_t key[] = {site, size, growth};
    uint32_t none = 0, *latest = site < site_count(&ebb__sites) ? site_latest(site) : &none;
    if (*latest && bucket_is(*latest, site, size, growth)) return *latest;
    uint32_t hash = hash_words(key, 3), number = bucket_find(hash, site, size, growth);
    if (number == 0) number = bucket_add(hash, site, size, growth);
    return *latest = number;
}

void ebb__sites_forget(void) {
    ebb__buffer_free(&ebb__sites.pcs);
    ebb__buffer_free(&ebb__sites.sites);
    ebb__buffer_free(&ebb__sites.buckets);
    site_table_free(&sites_by_stack);
    site_table_free(&sites_buckets);
}
