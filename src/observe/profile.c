/* profile.c - samples of the heap: taking, keeping, and finding out which of them live.
 * docs/design.md, "Profile".
 *
 * A stack is taken outside of every critical section: unwinding may wait for the loader's lock,
 * which the collector holds while it waits for us. And it waits with signals blocked, so it does
 * in a bracket like that of a blocking call, in which no thread is signalled. */
#include "profile.h"
#include "../os/probes.h"
#include "../os/unwind.h"
#include "../../include/ebb/profile.h"

enum { SAMPLES_LEAST = 1024, SAMPLES_MOST = 1 << 25 }; /* room in the table */
enum { FILTER_SHIFT = 15, FILTER_BYTES = 1 << FILTER_SHIFT };

/* Live: the last cycle found it alive. Old: and with a mark, so that minor cycles leave it alone.
 * Dead: within a stop only. */
enum sample_state { SAMPLE_NEW, SAMPLE_LIVE, SAMPLE_OLD, SAMPLE_DEAD };

typedef struct sample_entry {
    uintptr_t object; /* 0: empty */
    uint32_t bucket;
    uint32_t state;
} sample_entry;

/* Open addressing by object. 8 * count <= 7 * room. [sample lock, or world stopped] */
static struct {
    sample_entry *entries;
    size_t room, count; /* room: 0 or a power of two */
    uintptr_t *young;   /* objects of which some entry is not old; others too; room / 2 at most */
    size_t young_count;
    bool young_lost; /* there were more */
    profile_cycle cycle;
} samples;

static _Atomic(uint64_t) samples_lost; /* relaxed */

/* How many samples there are of objects with the same hash, 255 for ever where there were so many:
 * who frees others asks no lock. Mapped with the table's first entries and then stays. Changed
 * under the lock; relaxed: whoever holds an object of the table got it after it was counted. */
static _Atomic(_Atomic(uint8_t) *) samples_filter;

/* --- The table ---------------------------------------------------------------------------------
 */

static size_t sample_home(uintptr_t object, size_t room) {
    return (address_hash(object) >> 20) & (room - 1);
}

static _Atomic(uint8_t) *filter_now(void) {
    return atomic_load_explicit(&samples_filter, memory_order_acquire);
}

static bool filter_map(void) {
    if (filter_now()) return true;
    _Atomic(uint8_t) *filter = ebb__os_map(FILTER_BYTES, OS_METADATA);
    atomic_store_explicit(&samples_filter, filter, memory_order_release);
    return filter != NULL;
}

static _Atomic(uint8_t) *filter_of(uintptr_t object) {
    return &filter_now()[address_hash(object) >> (64 - FILTER_SHIFT)];
}

static bool sample_possible(uintptr_t object) {
    return filter_now() && atomic_load_explicit(filter_of(object), memory_order_relaxed) > 0;
}

static void filter_count(uintptr_t object, int more) {
    uint8_t have = atomic_load_explicit(filter_of(object), memory_order_relaxed);
    if (have < UINT8_MAX)
        atomic_store_explicit(filter_of(object), (uint8_t)(have + more), memory_order_relaxed);
}

static size_t samples_bytes(size_t room) {
    return room * sizeof(sample_entry) + room / 2 * sizeof(uintptr_t);
}

static void young_note(uintptr_t object) {
    bool room = samples.young_count < samples.room / 2;
    if (room) samples.young[samples.young_count++] = object;
    samples.young_lost |= !room;
}

/* The object's entry, or the empty one where it belongs; room > count. */
static sample_entry *sample_place(sample_entry *entries, size_t room, uintptr_t object) {
    size_t at = sample_home(object, room);
    while (entries[at].object && entries[at].object != object) at = (at + 1) & (room - 1);
    return &entries[at];
}

static sample_entry *sample_find(uintptr_t object) {
    if (samples.count == 0) return NULL;
    sample_entry *e = sample_place(samples.entries, samples.room, object);
    return e->object ? e : NULL;
}

static bool samples_resize(size_t room) {
    if (!filter_map()) return false;
    sample_entry *entries = ebb__os_map(samples_bytes(room), OS_METADATA);
    if (!entries) return false;
    for (size_t i = 0; i < samples.room; i++) {
        const sample_entry *e = &samples.entries[i];
        if (e->object) *sample_place(entries, room, e->object) = *e;
    }
    uintptr_t *young = (uintptr_t *)(void *)(entries + room);
    samples.young_lost |= samples.young_count > room / 2;
    samples.young_count = min_size(samples.young_count, room / 2);
    if (samples.young_count) memcpy(young, samples.young, samples.young_count * sizeof *young);
    if (samples.entries) ebb__os_unmap(samples.entries, samples_bytes(samples.room), OS_METADATA);
    samples.entries = entries;
    samples.young = young;
    samples.room = room;
    return true;
}

static bool sample_lives(const sample_entry *e) {
    return e->state == SAMPLE_LIVE || e->state == SAMPLE_OLD;
}

/* Since the last cycle the program took so many samples of what lived then out of a bucket: what it
 * has alive is still as of that cycle. */
static void bucket_loses(uint32_t bucket, int samples_gone) {
    profile_bucket *b = bucket_at(bucket);
    uint32_t cycle = (uint32_t)samples.cycle.number;
    if (b->gone_cycle != cycle) b->gone = 0;
    b->gone_cycle = cycle;
    b->gone += samples_gone;
    b->live -= (uint32_t)samples_gone;
}

/* Half full at most; without memory for a larger table, seven eighths. */
static bool sample_insert(uintptr_t object, uint32_t bucket) {
    if (2 * (samples.count + 1) > samples.room) {
        size_t room = max_size(2 * samples.room, SAMPLES_LEAST);
        if ((room > SAMPLES_MOST || !samples_resize(room)) &&
            8 * (samples.count + 1) > 7 * samples.room)
            return false;
    }
    sample_entry *e = sample_place(samples.entries, samples.room, object);
    if (!e->object) {
        samples.count++;
        filter_count(object, 1);
    } else if (sample_lives(e)) {
        bucket_loses(e->bucket, 1);
    }
    *e = (sample_entry){object, bucket, SAMPLE_NEW};
    young_note(object);
    return true;
}

/* Those behind it that would not be found any more move up. */
static void sample_delete(size_t at) {
    size_t mask = samples.room - 1;
    filter_count(samples.entries[at].object, -1);
    for (size_t next = (at + 1) & mask; samples.entries[next].object; next = (next + 1) & mask) {
        size_t home = sample_home(samples.entries[next].object, samples.room);
        if (((next - home) & mask) < ((next - at) & mask)) continue;
        samples.entries[at] = samples.entries[next];
        at = next;
    }
    samples.entries[at].object = 0;
    samples.count--;
}

/* By the program, not by a cycle. */
static void sample_remove(sample_entry *e) {
    if (sample_lives(e)) bucket_loses(e->bucket, 1);
    sample_delete((size_t)(e - samples.entries));
}

/* --- Taking ------------------------------------------------------------------------------------
 */

static void sample_lose(void) {
    atomic_fetch_add_explicit(&samples_lost, 1, memory_order_relaxed);
}

/* The program's signals are blocked because a handler would run while nobody waits for us. That
 * which stops us is not, but for as long as libunwind blocks it: then the stop passes us over. */
static __attribute__((noinline)) unsigned profile_unwind(uintptr_t *pcs) {
    enum os_unwinder unwinder = ebb__os_unwinder(ebb__settings.unwinder);
    if (unwinder == UNWIND_FRAMES) return ebb__os_unwind(unwinder, pcs, SITE_DEPTH);
    if (!ebb__loader_try()) return 0; /* a fork would leave the loader's lock behind, or another */
    uint64_t mask = ebb__os_signals_defer(ebb__settings.signal);
    ebb_blocking_begin();
    unsigned count = ebb__os_unwind(unwinder, pcs, SITE_DEPTH);
    ebb_blocking_end();
    ebb__os_signals_restore(mask);
    ebb__loader_leave();
    return count;
}

static void sample_keep(uintptr_t object, size_t size, uint32_t site, bool count) {
    uint32_t bucket = ebb__bucket_of(site, size, false);
    if (bucket && count) bucket_at(bucket)->allocs++;
    if (bucket && sample_insert(object, bucket))
        span_bit_set(ebb__space.sampled, span_number(ebb__span_at(object)));
    else
        sample_lose();
}

/* An object that grows is no new one: what it grew by is counted where it did, and it stays a
 * sample of where it was made, if it was one. */
static void sample_keep_grown(uintptr_t object, size_t before, size_t size, uint32_t site) {
    uint32_t bucket = ebb__bucket_of(site, size - before, true);
    if (bucket)
        bucket_at(bucket)->allocs++;
    else
        sample_lose();
    if (!sample_find(object)) sample_keep(object, size, site, false);
}

/* before: the size that it has grown from, 0 for a new object. */
static void profile_record(uintptr_t object, size_t before, size_t size) {
    uintptr_t pcs[SITE_DEPTH];
    heap_thread *t = ebb__self;
    uint32_t epoch = ebb__sample_epoch;
    if (t->sampling || ebb__critical.depth > 0 ||
        atomic_load_explicit(&t->parked, memory_order_relaxed) != PARK_RUNNING) {
        sample_lose();
        return;
    }
    t->sampling = true;
    unsigned count = profile_unwind(pcs);
    ebb__critical_lock(&ebb__sample_lock);
    if (epoch == ebb__sample_epoch) {
        uint32_t site = ebb__site_of(pcs, count);
        if (before)
            sample_keep_grown(object, before, size, site);
        else
            sample_keep(object, size, site, true);
    }
    ebb__critical_unlock(&ebb__sample_lock);
    t->sampling = false;
}

static void profile_taken(uintptr_t object, size_t size) {
    ebb__probe_alloc_sample(object, size);
    profile_record(object, 0, size);
}

/* The points in what is cut off go with it: with those alone goes the sample. */
static void profile_resized(uintptr_t object, size_t before, size_t size) {
    if (!sample_possible(object)) return;
    ebb__critical_lock(&ebb__sample_lock);
    sample_entry *e = sample_find(object);
    if (e) {
        double kept = ebb__sample_chance(size, ebb__sample_rate) /
                      ebb__sample_chance(before, ebb__sample_rate);
        bool keep = size >= before || ebb__sample_random(ebb__self) < kept;
        uint32_t bucket = keep ? ebb__bucket_of(bucket_at(e->bucket)->site, size, false) : 0;
        if (bucket && sample_lives(e)) {
            bucket_loses(e->bucket, 1);
            bucket_loses(bucket, -1);
        }
        if (bucket)
            e->bucket = bucket;
        else
            sample_remove(e);
        if (keep && !bucket) sample_lose();
    }
    ebb__critical_unlock(&ebb__sample_lock);
}

static void profile_released(uintptr_t object) {
    if (!sample_possible(object)) return;
    ebb__critical_lock(&ebb__sample_lock);
    sample_entry *e = sample_find(object);
    if (e) sample_remove(e);
    ebb__critical_unlock(&ebb__sample_lock);
}

const struct sample_hooks ebb__sample_hooks = {
    .taken = profile_taken,
    .resized = profile_resized,
    .grown = profile_record,
    .released = profile_released,
};

/* --- What lives --------------------------------------------------------------------------------
 */

/* The span of the object, if it is still there as it was. */
static const span *sample_span(const sample_entry *e, uint32_t *index) {
    const span *s = ebb__span_at(e->object);
    if (!s || !span_find(s, e->object, index)) return NULL;
    return span_start(s) + *index * s->stride == e->object ? s : NULL;
}

static void sample_test(sample_entry *e) {
    uint32_t index;
    profile_bucket *b = bucket_at(e->bucket);
    const span *s = sample_span(e, &index);
    bool live = s && span_live_bits(s, index / 64) >> (index % 64) & 1;
    bool lived = sample_lives(e), old = live && span_marked(s, index);
    if (ebb__settings.verify && e->state == SAMPLE_OLD && !live && !samples.cycle.full)
        ebb__fail("verify", "the sample of %p was old, and died in a minor cycle",
                  (void *)e->object);
    e->state = old ? SAMPLE_OLD : live ? SAMPLE_LIVE : SAMPLE_DEAD;
    b->live += (uint32_t)live - (uint32_t)lived;
    if (!live) return;
    span_bit_set(ebb__space.sampled, span_number(s));
    if (ebb__settings.verify && s->stride != b->size)
        ebb__fail("verify", "the sample of %p is of %zu bytes, the object of %zu",
                  (void *)e->object, b->size, (size_t)s->stride);
}

/* Each is a few lines of memory far from the others', and some are only known from others: they
 * are asked for some entries before. */
enum { AHEAD = 8 };

/* After a full cycle, or when it is not known which are young. */
static void samples_test_all(void) {
    size_t spans = atomic_load_explicit(&ebb__space.span_count, memory_order_relaxed);
    memset((void *)ebb__space.sampled, 0, round_up(spans, 64) / 8);
    sample_entry *entries = samples.entries;
    samples.young_count = 0;
    samples.young_lost = false;
    for (size_t i = 0; i < samples.room + 2 * AHEAD; i++) {
        size_t next = i - AHEAD, at = i - 2 * AHEAD;
        if (i < samples.room && entries[i].object) object_prefetch(entries[i].object);
        if (next < samples.room && entries[next].object) {
            span_prefetch(entries[next].object);
            __builtin_prefetch(bucket_at(entries[next].bucket));
        }
        if (at >= samples.room || !entries[at].object) continue;
        sample_test(&entries[at]);
        if (entries[at].state == SAMPLE_LIVE) young_note(entries[at].object);
    }
    for (size_t i = 0; i < samples.room; i++)
        while (entries[i].object && entries[i].state == SAMPLE_DEAD) sample_delete(i);
}

/* What was old is so after a minor cycle: a stop costs what was sampled since the last one. */
static void samples_test_young(void) {
    size_t count = samples.young_count;
    uintptr_t *young = samples.young;
    samples.young_count = 0;
    for (size_t i = 0; i < count + 2 * AHEAD; i++) {
        if (i < count) {
            object_prefetch(young[i]);
            __builtin_prefetch(&samples.entries[sample_home(young[i], samples.room)]);
        }
        if (i - AHEAD < count) span_prefetch(young[i - AHEAD]);
        if (i - 2 * AHEAD >= count) continue;
        sample_entry *e = sample_find(young[i - 2 * AHEAD]);
        if (!e || e->state == SAMPLE_OLD) continue;
        sample_test(e);
        if (e->state == SAMPLE_LIVE) young[samples.young_count++] = e->object;
        if (e->state == SAMPLE_DEAD) sample_delete((size_t)(e - samples.entries));
    }
}

void ebb__profile_marked(const cycle_record *r) {
    samples.cycle = (profile_cycle){.number = r->number,
                                    .live_bytes = r->live,
                                    .goal_bytes = r->goal,
                                    .footprint_bytes = ebb__space_footprint(),
                                    .full = r->full};
    if (samples.count == 0) return;
    if (r->full || samples.young_lost || ebb__settings.verify)
        samples_test_all();
    else
        samples_test_young();
    size_t room = samples.room;
    while (room > SAMPLES_LEAST && 8 * samples.count < room) room /= 2;
    if (room < samples.room) samples_resize(room);
}

/* --- For others --------------------------------------------------------------------------------
 */

void ebb__profile_each(void (*fn)(const profile_sample *sample, void *arg), void *arg) {
    for (size_t i = 0; i < samples.room; i++) {
        const sample_entry *e = &samples.entries[i];
        if (!e->object) continue;
        const profile_bucket *b = bucket_at(e->bucket);
        profile_sample sample = {e->object, b->size, b->site, sample_lives(e)};
        fn(&sample, arg);
    }
}

uint32_t ebb__profile_site(uintptr_t object) {
    const sample_entry *e = sample_find(object);
    return e ? bucket_at(e->bucket)->site : 0;
}

unsigned ebb__profile_stack(uint32_t site, uintptr_t *pcs, unsigned room) {
    if (site == 0 || site >= site_count(&ebb__sites)) return 0;
    unsigned count = (unsigned)min_size(site_at(&ebb__sites, site)->count, room);
    if (count > 0) memcpy(pcs, site_pcs(&ebb__sites, site), count * sizeof *pcs);
    return count;
}

double ebb__profile_weight(size_t size) {
    return ebb__sample_weight(size, ebb__sample_rate);
}

size_t ebb__profile_bytes(void) {
    return ebb__sites_bytes() + samples_bytes(samples.room) + (filter_now() ? FILTER_BYTES : 0);
}

/* --- Copies ------------------------------------------------------------------------------------
 */

static profile_bucket *copy_buckets(profile_copy *copy) {
    return (profile_bucket *)(void *)copy->sites.buckets.bytes;
}

/* No cycle has said what lives: what was not freed does. */
static void copy_count(profile_copy *copy) {
    profile_bucket *buckets = copy_buckets(copy);
    for (size_t i = 0; i < samples.room; i++)
        if (samples.entries[i].object) buckets[samples.entries[i].bucket].live++;
}

static void copy_take(profile_copy *copy) {
    const profile_sites *from = &ebb__sites;
    ebb__buffer_add(&copy->sites.pcs, from->pcs.bytes, from->pcs.used);
    ebb__buffer_add(&copy->sites.sites, from->sites.bytes, from->sites.used);
    ebb__buffer_add(&copy->sites.buckets, from->buckets.bytes, from->buckets.used);
    copy->cycle = samples.cycle;
    copy->rate = ebb__sample_rate;
    copy->epoch = ebb__sample_epoch;
    copy->lost = atomic_load_explicit(&samples_lost, memory_order_relaxed);
    if (copy->cycle.number == 0 && !copy->sites.buckets.failed) copy_count(copy);
}

bool ebb__profile_copy(profile_copy *copy) {
    *copy = (profile_copy){.wall_ns = ebb__os_wall_ns()};
    ebb__critical_lock(&ebb__sample_lock);
    copy_take(copy);
    ebb__critical_unlock(&ebb__sample_lock);
    const profile_sites *s = &copy->sites;
    if (s->pcs.failed || s->sites.failed || s->buckets.failed) {
        ebb__profile_copy_free(copy);
        return false;
    }
    profile_bucket *buckets = copy_buckets(copy);
    for (uint32_t i = 1; i < bucket_count(s); i++)
        if (buckets[i].gone_cycle == (uint32_t)copy->cycle.number)
            buckets[i].live += (uint32_t)buckets[i].gone;
    return true;
}

void ebb__profile_copy_free(profile_copy *copy) {
    ebb__buffer_free(&copy->sites.pcs);
    ebb__buffer_free(&copy->sites.sites);
    ebb__buffer_free(&copy->sites.buckets);
}

/* --- The rate ----------------------------------------------------------------------------------
 */

/* Cuts runs anew: a thread may be about to take the object at its cursor, past the new limit, and
 * the one after it is sampled then. */
static void rate_set(const root_set *roots, void *arg) {
    (void)roots;
    ebb__sample_rate = *(const size_t *)arg;
    if (++ebb__sample_epoch == 0) ebb__sample_epoch = 1;
    for (heap_thread *t = ebb__threads; t; t = t->next) {
        t->sample_left = 0; /* has it drawn anew */
        for (slot *s = t->slots; s < t->slots + SLOTS; s++)
            if (s->bin && s->cursor < s->end)
                s->limit = sample_cut(t, s->cursor, s->end, s->bin->stride);
    }
    if (samples.entries) ebb__os_unmap(samples.entries, samples_bytes(samples.room), OS_METADATA);
    samples.entries = NULL;
    samples.room = samples.count = samples.young_count = 0;
    samples.young_lost = false;
    if (filter_now()) memset((void *)filter_now(), 0, FILTER_BYTES);
    atomic_store_explicit(&samples_lost, 0, memory_order_relaxed);
    ebb__sites_forget();
}

int ebb_profile_set_rate(size_t bytes) {
    return ebb__with_world_stopped(rate_set, &bytes);
}
