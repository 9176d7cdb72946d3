/* shape.c - kinds of maps: what slots hold and how the collector sees it. docs/design.md, "Maps".
 *
 * A place that makes maps knows sizes, and the number of its declaration; functions, and the names
 * by which types are described, stand in that declaration, in a linker section. Both together
 * become a shape when the place makes its first map. Equal shapes are one, and shapes are never
 * freed, so a map may outlive the library that made it (not its hash function, though). */
#include "map.h"
#include "../heap/bins.h"

static _Atomic(const ebb__map_shape *) shape_all; /* release by shape_add, acquire by shape_find */

/* --- What a slot looks like to the collector ------------------------------------------------- */

enum { SHAPE_FIELDS_MAX = 64 };

struct shape_fields {
    ebb__field at[SHAPE_FIELDS_MAX + 1];
    uint32_t count;
    bool overflow;
};

static void shape_field(struct shape_fields *fields, uint32_t offset, uint32_t kind, uint64_t extra,
                        const char *name) {
    if (fields->count == SHAPE_FIELDS_MAX)
        fields->overflow = true;
    else
        fields->at[fields->count++] = (ebb__field){offset, kind, extra, name};
}

/* The fields of a key or value that lies at offset. False without memory. */
static bool shape_part(struct shape_fields *fields, uint32_t offset, const char *name,
                       ebb__site *site, bool boxed, bool is_str) {
    if (boxed) {
        shape_field(fields, offset, EBB__FIELD_PTR, 0, name);
        return true;
    }
    if (is_str) {
        shape_field(fields, offset, EBB__FIELD_STR, 0, name);
        return true;
    }
    const struct ebb__layout *layout = ebb__layout_of(site);
    if (!layout) return false;
    if (layout->kind == LAYOUT_WORDS)
        shape_field(fields, offset, EBB__FIELD_WORDS, round_down(site->size, sizeof(void *)), name);
    else if (layout->kind == LAYOUT_TYPED)
        for (uint32_t i = 0; i < layout->field_count; i++) {
            const ebb__field *f = &layout->fields[i];
            shape_field(fields, offset + f->offset, f->kind, f->extra, f->name);
        }
    return true;
}

static ebb__layout *shape_slots_layout(const ebb__map_decl *decl, const ebb__map_form *form) {
    struct shape_fields fields = {.count = 0};
    bool found = true;
    if (form->weak)
        shape_field(&fields, 0, EBB__FIELD_WEAK, 0, "key");
    else
        found = shape_part(&fields, 0, "key", decl->key, form->key_boxed, decl->key_is_str);
    found = found && shape_part(&fields, form->value_offset, "value", decl->value,
                                form->value_boxed, decl->value_is_str);
    if (!found) return NULL;
    if (fields.count == 0) return ebb__layout_plain(false, EBB__USE_MAP);
    if (fields.overflow) return ebb__layout_plain(true, EBB__USE_MAP);
    fields.at[fields.count] = (ebb__field){0, EBB__FIELD_END, 0, NULL};
    return ebb__layout_make(decl->name, form->stride, fields.at, EBB__USE_MAP);
}

/* --- How large tables are -------------------------------------------------------------------- */

/* Bytes of span that an object takes on average, rounding and the spans' ends counted. */
static double shape_object_bytes(size_t size) {
    size = round_up(size, 16);
    uint32_t class = size <= SMALL_MAX ? class_of(size, 16) : CLASS_MAX;
    if (class >= ebb__class_count) return (double)round_up(size + 1, PAGE);
    size_t span = (size_t)ebb__class_pages[class] << PAGE_SHIFT;
    return (double)span / (double)(span / ebb__class_stride[class]);
}

static double shape_slot_bytes(const ebb__map_form *form, size_t slots) {
    size_t control = sizeof(ebb__table) + slots + (form->stores_hash ? 4 * slots : 0);
    return (shape_object_bytes(control) + shape_object_bytes(slots * form->stride)) / (double)slots;
}

/* 1024 slots, or fewer where they would not fit into 32 KiB; and of up to a quarter less than that,
 * the number that wastes least of the heap's size classes. */
static uint32_t shape_slots_max(const ebb__map_form *form) {
    size_t nominal = 1024, best;
    while (nominal > 128 && nominal * form->stride > 32 * KIB) nominal /= 2;
    best = nominal;
    for (size_t slots = nominal; slots >= nominal - nominal / 4; slots -= EBB__GROUP)
        if (slots / EBB__GROUP <= EBB__DIR_GROUPS_MAX &&
            shape_slot_bytes(form, slots) < shape_slot_bytes(form, best))
            best = slots;
    return (uint32_t)best;
}

/* --- Shapes ---------------------------------------------------------------------------------- */

static bool shape_equal(const ebb__map_shape *a, const ebb__map_shape *b) {
    const ebb__map_form *f = &a->form, *g = &b->form;
    return f->hash == g->hash && f->key_size == g->key_size && f->value_size == g->value_size &&
           f->value_offset == g->value_offset && f->stride == g->stride &&
           f->key_boxed == g->key_boxed && f->value_boxed == g->value_boxed && f->weak == g->weak &&
           a->hash == b->hash && a->equal == b->equal && a->slots == b->slots &&
           a->key_box == b->key_box && a->value_box == b->value_box;
}

static const ebb__map_shape *shape_find(const ebb__map_shape *like) {
    const ebb__map_shape *s = atomic_load_explicit(&shape_all, memory_order_acquire);
    while (s && !shape_equal(s, like)) s = s->next;
    return s;
}

bool ebb__map_shape_is(const void *shape) {
    const ebb__map_shape *s = atomic_load_explicit(&shape_all, memory_order_acquire);
    while (s && s != shape) s = s->next;
    return s != NULL;
}

/* Two threads may both add a shape: both stay, and either will do. */
static const ebb__map_shape *shape_add(const ebb__map_shape *shape) {
    ebb__map_shape *s = ebb__record_alloc(sizeof *s);
    char *name = ebb__record_alloc(strlen(shape->name) + 1);
    if (!s || !name) return NULL;
    *s = *shape;
    s->name = strcpy(name, shape->name); /* the library that declared it may be unloaded */
    s->next = atomic_load_explicit(&shape_all, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&shape_all, &s->next, s, memory_order_release,
                                                  memory_order_relaxed)) {
    }
    return s;
}

static const ebb__map_decl *shape_decl(const ebb__map_site *site) {
    for (const ebb__map_decl *const *d = site->first; d < site->last; d++)
        if ((*d)->unit == site->unit && (*d)->number == site->number) return *d;
    ebb__fail("ebb_map_put", "the declaration of the map is not in the program: did the linker "
                             "drop the section ebb_maps?");
}

const ebb__map_shape *ebb__map_shape_of(ebb__map_site *site) {
    const ebb__map_shape *known = __atomic_load_n(&site->shape, __ATOMIC_ACQUIRE);
    if (EBB__LIKELY(known != NULL)) return known;
    if (!ebb__heap_start()) return NULL;
    const ebb__map_decl *decl = shape_decl(site);
    const ebb__map_form *form = &site->form;
    ebb__map_shape shape = {
        .form = *form, .name = decl->name, .hash = decl->hash, .equal = decl->equal};
    shape.slots = shape_slots_layout(decl, form);
    shape.key_box = form->key_boxed ? ebb__layout_of(decl->key) : NULL;
    shape.value_box = form->value_boxed ? ebb__layout_of(decl->value) : NULL;
    if (!shape.slots || (form->key_boxed && !shape.key_box) ||
        (form->value_boxed && !shape.value_box))
        return NULL;
    shape.slots_max = shape_slots_max(form);
    known = shape_find(&shape);
    if (!known) known = shape_add(&shape);
    __atomic_store_n(&site->shape, known, __ATOMIC_RELEASE);
    return known;
}

/* --- Seeds ----------------------------------------------------------------------------------- */

static _Atomic(uint64_t) seed_secret; /* of the process; 0 until drawn; relaxed: any draw will do */
static _Atomic(uint64_t) seed_count;  /* relaxed: a counter */

static uint64_t seed_mix(uint64_t x) {
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93u;
    return x ^ (x >> 32);
}

static uint64_t seed_draw(void) {
    uint64_t secret = atomic_load_explicit(&seed_secret, memory_order_relaxed);
    if (secret == 0) {
        secret = ebb__os_random() | 1;
        atomic_store_explicit(&seed_secret, secret, memory_order_relaxed);
    }
    uint64_t n = atomic_fetch_add_explicit(&seed_count, 1, memory_order_relaxed) + 1;
    return ebb__fold(seed_mix(n) ^ secret, secret * 0x9e3779b97f4a7c15u ^ n);
}

void ebb__map_seed(uint64_t seed[2]) {
    seed[0] = seed_draw();
    /* The multiplier of integers: odd, and with bits everywhere. */
    do {
        seed[1] = seed_draw() | 1;
    } while (abs(__builtin_popcountll(seed[1]) - 32) > 8);
}

uint32_t ebb__map_random(void) {
    static _Thread_local uint64_t random_state;
    if (random_state == 0) random_state = seed_draw() | 1;
    random_state = random_state * 0x5851f42d4c957f2du + 0x14057b7ef767814fu;
    return (uint32_t)(seed_mix(random_state) >> 32);
}
