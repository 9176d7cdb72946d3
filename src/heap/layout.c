/* layout.c - from what the compiler knows of a type to what the collector follows.
 * docs/design.md, "Types".
 *
 * A site carries the spelling of its type and the address of its translation unit; the descriptions
 * of that unit stand in a linker section. The first allocation at a site looks its type up there
 * and remembers the layout. Equal descriptions from different units become one layout, so the
 * number of spans does not grow with the number of files. Layouts and bins are never freed: a
 * library that was unloaded may have left objects behind. */
#include "bins.h"

struct ebb__layout ebb__plain[2][EBB__USE_COUNT];
struct ebb__layout *ebb__layouts;
os_lock ebb__bin_locks[BIN_LOCKS], ebb__types_lock;

static uint32_t bin_numbers; /* [types lock] */

/* --- Memory for records [types lock] --------------------------------------------------------- */

static void *record_alloc_locked(size_t size) {
    static char *at, *end;
    size = round_up(size, 16);
    if ((size_t)(end - at) < size) {
        size_t piece = round_up(max_size(size, 64 * KIB), ebb__os_page_size());
        char *fresh = ebb__os_map(piece, OS_METADATA);
        if (!fresh) return NULL;
        at = fresh, end = fresh + piece;
    }
    void *p = at;
    at += size;
    return p;
}

void *ebb__record_alloc(size_t size) {
    ebb__critical_lock(&ebb__types_lock);
    void *p = record_alloc_locked(size);
    ebb__critical_unlock(&ebb__types_lock);
    return p;
}

/* --- Layouts ---------------------------------------------------------------------------------- */

/* How many words a field follows strongly, and the offset of the i-th in it. */
static uint32_t field_words(const ebb__field *f) {
    switch (f->kind) {
    case EBB__FIELD_PTRS:
    case EBB__FIELD_WORDS:
        return (uint32_t)(f->extra / sizeof(void *));
    case EBB__FIELD_WEAK:
        return 0;
    default:
        return 1; /* pointers; the first words of strings, slices and maps */
    }
}

static uint32_t fields_count(const ebb__field *fields) {
    uint32_t n = 0;
    while (fields[n].kind != EBB__FIELD_END) n++;
    return n;
}

static bool fields_equal(const ebb__field *a, const ebb__field *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (a[i].offset != b[i].offset || a[i].kind != b[i].kind || a[i].extra != b[i].extra)
            return false;
    return true;
}

static bool field_is_slice(const ebb__field *f) {
    return f->kind == EBB__FIELD_SLICE || f->kind == EBB__FIELD_SLICE_TO_LEN;
}

/* The length follows the pointer, and the capacity that. */
static slice_field field_slice(const ebb__field *f) {
    uint32_t words = f->kind == EBB__FIELD_SLICE ? 2 : 1;
    return (slice_field){f->offset, f->offset + words * (uint32_t)sizeof(size_t), f->extra};
}

static void layout_fill(struct ebb__layout *l) {
    for (const ebb__field *f = l->fields; f->kind != EBB__FIELD_END; f++) {
        if (f->kind == EBB__FIELD_WEAK) l->weak[l->weak_count++] = f->offset;
        for (uint32_t i = 0; i < field_words(f) && !field_is_slice(f); i++)
            l->strong[l->strong_count++] = f->offset + i * (uint32_t)sizeof(void *);
    }
    for (const ebb__field *f = l->fields; f->kind != EBB__FIELD_END; f++) {
        if (!field_is_slice(f)) continue;
        l->strong[l->strong_count++] = f->offset;
        l->slices[l->slice_count++] = field_slice(f);
    }
}

/* The program's own may go away with a library. False without memory. */
static bool fields_keep(ebb__field *kept, const ebb__field *fields, uint32_t count) {
    for (uint32_t i = 0; i <= count; i++) {
        size_t bytes = fields[i].name ? strlen(fields[i].name) + 1 : 0;
        char *name = bytes ? record_alloc_locked(bytes) : NULL;
        if (bytes && !name) return false;
        if (bytes) memcpy(name, fields[i].name, bytes);
        kept[i] = fields[i];
        kept[i].name = name;
    }
    return true;
}

static struct ebb__layout *layout_new(const char *name, size_t size, const ebb__field *fields,
                                      uint32_t count, enum ebb__use use) {
    uint32_t strong = 0, weak = 0, slices = 0;
    for (uint32_t i = 0; i < count; i++) {
        strong += field_words(&fields[i]);
        slices += field_is_slice(&fields[i]);
        weak += fields[i].kind == EBB__FIELD_WEAK;
    }
    size_t name_bytes = strlen(name) + 1;
    struct ebb__layout *l = record_alloc_locked(sizeof *l);
    char *copy = record_alloc_locked(name_bytes);
    ebb__field *kept = record_alloc_locked((count + 1) * sizeof *kept);
    uint32_t *offsets = record_alloc_locked((strong + weak + 1) * sizeof *offsets);
    slice_field *headers = record_alloc_locked((slices + 1) * sizeof *headers);
    if (!l || !copy || !kept || !offsets || !headers) return NULL;
    if (!fields_keep(kept, fields, count)) return NULL;
    memcpy(copy, name, name_bytes);
    l->name = copy;
    l->kind = strong + weak > 0 ? LAYOUT_TYPED : LAYOUT_DATA;
    l->use = use;
    l->element = size;
    l->fields = kept;
    l->field_count = count;
    l->strong = offsets;
    l->weak = offsets + strong;
    l->slices = headers;
    layout_fill(l);
    l->next = ebb__layouts;
    ebb__layouts = l;
    return l;
}

ebb__layout *ebb__layout_make(const char *name, size_t size, const ebb__field *fields,
                              enum ebb__use use) {
    uint32_t count = fields_count(fields);
    ebb__critical_lock(&ebb__types_lock);
    struct ebb__layout *l = ebb__layouts;
    for (; l; l = l->next)
        if (l->use == use && l->element == size && l->field_count == count &&
            strcmp(l->name, name) == 0 && fields_equal(l->fields, fields, count))
            break;
    if (!l) l = layout_new(name, size, fields, count, use);
    ebb__critical_unlock(&ebb__types_lock);
    return l;
}

ebb__layout *ebb__layout_own(const char *name, uint32_t kind, ebb_tracer tracer, uintptr_t env) {
    if (!ebb__heap_start()) return NULL;
    size_t bytes = name ? strlen(name) + 1 : 1;
    ebb__critical_lock(&ebb__types_lock);
    struct ebb__layout *l = record_alloc_locked(sizeof *l);
    char *copy = record_alloc_locked(bytes);
    if (l && copy) {
        memcpy(copy, name ? name : "", bytes);
        l->name = copy;
        l->kind = kind;
        l->use = EBB__USE_OBJECT;
        l->tracer = tracer;
        l->env = env;
        l->next = ebb__layouts;
        ebb__layouts = l;
    }
    ebb__critical_unlock(&ebb__types_lock);
    return copy ? l : NULL;
}

ebb__layout *ebb__layout_plain(bool words, enum ebb__use use) {
    if (!ebb__heap_start()) return NULL;
    return &ebb__plain[words][use];
}

static const ebb__type *type_find(const ebb__site *site) {
    for (const ebb__type *const *t = site->unit->first; t < site->unit->last; t++)
        if (*t && (*t)->unit == site->unit && (*t)->size == site->size &&
            strcmp((*t)->name, site->name) == 0)
            return *t;
    return NULL;
}

ebb__layout *ebb__layout_of(ebb__site *site) {
    struct ebb__layout *l = __atomic_load_n(&site->layout, __ATOMIC_ACQUIRE);
    if (EBB__LIKELY(l != NULL)) return l;
    if (!ebb__heap_start()) return NULL;
    /* Looked up for numbers and loosely aligned structures too: a description says what it says,
     * and gives the census a name. */
    const ebb__type *type = type_find(site);
    if (type)
        l = ebb__layout_make(type->name, type->size, type->fields, site->use);
    else
        l = ebb__layout_plain(site->kind != EBB__KIND_DATA, site->use);
    __atomic_store_n(&site->layout, l, __ATOMIC_RELEASE);
    return l;
}

/* --- Bins ------------------------------------------------------------------------------------- */

heap_bin *ebb__bin_make(struct ebb__layout *layout, uint32_t class) {
    ebb__critical_lock(&ebb__types_lock);
    heap_bin *bin = atomic_load_explicit(&layout->bins[class], memory_order_relaxed);
    if (!bin && (bin = record_alloc_locked(sizeof *bin)) != NULL) {
        bin->layout = layout;
        bin->class = class;
        bin->number = bin_numbers++;
        bin->stride = class < CLASS_MAX ? ebb__class_stride[class] : 0;
        bin->lock = &ebb__bin_locks[bin->number % BIN_LOCKS];
        atomic_store_explicit(&layout->bins[class], bin, memory_order_release);
    }
    ebb__critical_unlock(&ebb__types_lock);
    return bin;
}
