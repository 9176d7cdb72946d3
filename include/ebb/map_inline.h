/* ebb/map_inline.h - what the macros of map.h expand to: entries put, read and deleted where the
 * program does so, and all that is rare behind a call. Not for direct use. docs/design.md, "Maps".
 *
 * A handle is a pointer to a map, with a type beside it that is never read: it carries K, V, how a
 * slot looks, and the number of the declaration, whose functions and names stand in a section. */
#ifndef EBB_MAP_INLINE_H
#define EBB_MAP_INLINE_H

#include "map_table.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef __cplusplus

/* --- What stands behind it ------------------------------------------------------------------- */

/* A place in the program that may make a map. */
typedef struct ebb__map_site {
    const ebb__map_decl *const *first, *const *last;
    const ebb__unit *unit;
    size_t number;
    ebb__map_form form;
    const struct ebb__map_shape *shape; /* atomic; null until resolved */
} ebb__map_site;

enum {
    EBB__ITER_SHARE = 1, /* not all of the table is to be shown now */
    EBB__ITER_STALE = 2  /* the table has been replaced */
};

typedef struct ebb__map_iter {
    ebb__map *map;
    char *slot;    /* the entry it stands on */
    void *held;    /* weak keys: keeps that key alive */
    uint8_t *ctrl; /* the table it stands in; kept alive by this */
    char *slots;
    ebb__mask mask; /* full slots still to be seen in the group */
    ebb__mask last; /* which of the first group's are left for the end */
    uint32_t group, groups, groups_left;
    uint32_t version; /* map's, when ctrl was last known to be current */
    uint32_t start;   /* where in hash space it began */
    uint32_t from;    /* this table's share: hashes in [from, from + length) */
    uint64_t length;
    uint64_t offset; /* done from start: ends at 2^32 */
    uint8_t careful; /* EBB__ITER_…: look at each entry before showing it */
    bool stop;       /* the loop was left by break */
} ebb__map_iter;

EBB_API ebb__map *ebb__map_make(ebb__map **handle, ebb__map_site *site);
EBB_API void *ebb__map_insert_slow(ebb__map *map, const void *key, uint64_t hash);
EBB_API void ebb__map_shrink(ebb__map *map, uint32_t place);
EBB_API void ebb__map_purge(ebb__map *map, const void *key);
EBB_API void ebb__map_check(const ebb__map *map);
EBB_API size_t ebb__map_len_weak(const ebb__map *map);
EBB_API void ebb__map_clear(ebb__map *map);
EBB_API int ebb__map_compact(ebb__map *map);
EBB_API int ebb__map_reserve(ebb__map *map, size_t entries);
EBB_API int ebb__map_pause(ebb__map *map, bool paused);
EBB_API int ebb__map_grow_only(ebb__map *map, bool on);
EBB_API int ebb__map_dense(ebb__map *map, bool on);
EBB_API ebb__map_iter ebb__map_iter_begin(ebb__map *map);
EBB_API bool ebb__map_iter_table(ebb__map_iter *it);
EBB_API char *ebb__map_iter_check(ebb__map_iter *it, size_t index);
EBB_API __attribute__((noreturn, cold)) void ebb__map_raced(const char *call, const ebb__map *map);
EBB_API __attribute__((cold)) int ebb__map_null_key(const char *call);

/* --- Reading and writing --------------------------------------------------------------------- */

EBB__INLINE uint32_t ebb__map_read(const ebb__map *map, const char *call) {
    uint32_t writes = __atomic_load_n(&map->writes, __ATOMIC_RELAXED);
    if (EBB__RARE(writes & 1)) ebb__map_raced(call, map);
    return writes;
}

EBB__INLINE void ebb__map_write(ebb__map *map, const char *call) {
    __atomic_store_n(&map->writes, ebb__map_read(map, call) + 1, __ATOMIC_RELAXED);
}

EBB__INLINE void ebb__map_written(ebb__map *map, const char *call) {
    uint32_t writes = __atomic_load_n(&map->writes, __ATOMIC_RELAXED);
    if (EBB__RARE(!(writes & 1))) ebb__map_raced(call, map);
    __atomic_store_n(&map->writes, writes + 1, __ATOMIC_RELAXED);
}

EBB__INLINE void *ebb__map_value(char *slot, ebb__map_form form) {
    char *value = slot + form.value_offset;
    return form.value_boxed ? *(void **)(void *)value : value;
}

EBB__INLINE void *ebb__map_get(const ebb__map *map, const void *key, ebb__map_form form) {
    if (EBB__RARE(map == NULL)) return NULL;
    ebb__place place;
    ebb__map_read(map, "ebb_map_get");
    char *slot = ebb__map_find(map, key, ebb__map_hash_of(map, key, form), form, &place);
    return slot ? ebb__map_value(slot, form) : NULL;
}

EBB__INLINE bool ebb__map_get_copy(const ebb__map *map, const void *key, ebb__map_form form,
                                   void *out) {
    void *value = ebb__map_get(map, key, form);
    if (value) memcpy(out, value, form.value_size);
    return value != NULL;
}

/* A new entry where the search for its key has ended; null without memory. */
EBB__INLINE void *ebb__map_insert(ebb__map *map, const void *key, uint64_t hash, ebb__map_form form,
                                  const ebb__place *place) {
    ebb__table *table = ebb__table_of(place->ctrl);
    size_t index = ebb__table_free_slot(place->ctrl, place->groups, ebb__hash_place(hash));
    bool empty = place->ctrl[index] == EBB__SLOT_EMPTY;
    if (form.key_boxed || form.value_boxed || EBB__RARE(empty && table->left == 0))
        return ebb__map_insert_slow(map, key, hash);
    place->ctrl[index] = hash & 0x7f;
    if (form.stores_hash)
        ebb__table_hashes(place->ctrl, place->groups)[index] = ebb__hash_place(hash);
    char *slot = place->slots + index * form.stride;
    memcpy(slot, key, form.key_size);
    table->left -= empty;
    table->count++;
    map->len++;
    return slot + form.value_offset;
}

/* The value of key, put there if need be (*added); null without memory, or for a null weak key. */
EBB__INLINE void *ebb__map_reach(ebb__map **handle, const void *key, ebb__map_site *site,
                                 ebb__map_form form, const char *call, bool *added) {
    ebb__map *map = *handle;
    ebb__place place;
    *added = false;
    if (form.weak && !*(void *const *)key) {
        ebb__map_null_key(call);
        return NULL;
    }
    if (EBB__RARE(map == NULL) && !(map = ebb__map_make(handle, site))) return NULL;
    ebb__map_write(map, call);
    if (form.weak) ebb__map_purge(map, key);
    uint64_t hash = ebb__map_hash_of(map, key, form);
    char *slot = ebb__map_find(map, key, hash, form, &place);
    void *value = slot ? ebb__map_value(slot, form) : NULL;
    if (!slot) {
        value = ebb__map_insert(map, key, hash, form, &place);
        *added = value != NULL;
    }
    ebb__map_written(map, call);
    return value;
}

EBB__INLINE int ebb__map_put(ebb__map **handle, const void *key, const void *v, ebb__map_site *site,
                             ebb__map_form form) {
    bool added;
    void *value = ebb__map_reach(handle, key, site, form, "ebb_map_put", &added);
    if (EBB__RARE(!value)) return form.weak && !*(void *const *)key ? EBB_EINVAL : EBB_ENOMEM;
    memcpy(value, v, form.value_size);
    return 0;
}

EBB__INLINE void *ebb__map_get_or_put(ebb__map **handle, const void *key, const void *v,
                                      ebb__map_site *site, ebb__map_form form, const char *call) {
    bool added;
    void *value = ebb__map_reach(handle, key, site, form, call, &added);
    if (added && v) memcpy(value, v, form.value_size);
    return value;
}

EBB__INLINE bool ebb__map_delete(ebb__map *map, const void *key, ebb__map_form form) {
    if (EBB__RARE(map == NULL)) return false;
    ebb__place place;
    ebb__map_write(map, "ebb_map_delete");
    if (form.weak) ebb__map_purge(map, key);
    uint64_t hash = ebb__map_hash_of(map, key, form);
    char *slot = ebb__map_find(map, key, hash, form, &place);
    if (slot) {
        ebb__table *table = ebb__table_of(place.ctrl);
        size_t index = (size_t)(slot - place.slots) / form.stride;
        ebb__group g = ebb__group_load(place.ctrl + index / EBB__GROUP * EBB__GROUP);
        bool empty = ebb__group_empty(g) != 0;
        place.ctrl[index] = empty ? EBB__SLOT_EMPTY : EBB__SLOT_DELETED;
        memset(slot, 0, form.stride);
        table->left += empty;
        table->count--;
        map->len--;
        if (EBB__RARE(table->count < table->low)) ebb__map_shrink(map, ebb__hash_place(hash));
    }
    ebb__map_written(map, "ebb_map_delete");
    return slot != NULL;
}

EBB__INLINE size_t ebb__map_len(const ebb__map *map, ebb__map_form form) {
    if (!map) return 0;
    ebb__map_read(map, "ebb_map_len");
    return form.weak ? ebb__map_len_weak(map) : map->len;
}

/* --- Iterating ------------------------------------------------------------------------------- */

/* On to the next entry. False at the end. */
EBB__INLINE bool ebb__map_next(ebb__map_iter *it, ebb__map_form form) {
    if (it->stop || !it->map) return false;
    ebb__map_read(it->map, "ebb_map_each");
    for (;;) {
        while (it->mask == 0) {
            if (it->groups_left == 0) {
                if (!ebb__map_iter_table(it)) return false;
                continue;
            }
            it->groups_left--;
            if (++it->group >= it->groups) it->group = 0;
            it->mask = ebb__group_full(ebb__group_load(it->ctrl + it->group * EBB__GROUP));
            if (it->groups_left == 0) it->mask &= it->last;
        }
        size_t index = it->group * EBB__GROUP + ebb__mask_first(it->mask);
        it->mask &= it->mask - 1;
        if (EBB__LIKELY(!it->careful && it->version == it->map->version && !form.weak)) {
            it->slot = it->slots + index * form.stride;
            if (EBB__LIKELY(it->ctrl[index] < EBB__SLOT_EMPTY)) return true;
        } else if ((it->slot = ebb__map_iter_check(it, index)) != NULL) {
            return true;
        }
    }
}

EBB__INLINE const void *ebb__map_iter_key(const ebb__map_iter *it, ebb__map_form form) {
    return form.key_boxed ? *(void **)(void *)it->slot : it->slot;
}

/* --- Macros ---------------------------------------------------------------------------------- */
/* clang-format off */

# define EBB__MAP_SLOT(T)                                                                          \
     __typeof__(__builtin_choose_expr(sizeof(T) > EBB__MAP_INLINE_MAX, (__typeof__(T) *)0,         \
                                      *(__typeof__(T) *)0))
# define EBB__MAP_HANDLE(N, name, K, V, H, W)                                                      \
     typedef struct name {                                                                         \
         __extension__ union {                                                                     \
             ebb__map *map;                                                                        \
             struct {                                                                              \
                 __typeof__(K) key;                                                                \
                 __typeof__(V) value;                                                              \
                 struct {                                                                          \
                     EBB__MAP_SLOT(K) key;                                                         \
                     EBB__MAP_SLOT(V) value;                                                       \
                 } slot;                                                                           \
                 char number[(N) + 1], hash[(H) + 1], weak[(W) + 1];                               \
             } *ebb__types;                                                                        \
         };                                                                                        \
     } name

# define EBB__IS_STR(T) _Generic((__typeof__(T) *)0, ebb_str *: 1, const ebb_str *: 1, default: 0)
# define EBB__IS_TEXT(T)                                                                           \
     _Generic((__typeof__(T) *)0, char **: 1, const char **: 1, char *const *: 1,                  \
              const char *const *: 1, default: 0)
/* How a key of type T is hashed, by class: 8 is floating point, 9 complex, 12 and 13 records. */
# define EBB__HASH_KIND(T)                                                                         \
     (EBB__IS_STR(T)                                   ? EBB__HASH_STR                             \
      : EBB__CLASS(T) == 8                             ? EBB__HASH_FLOAT                           \
      : (EBB__CLASS(T) == 12 || EBB__CLASS(T) == 13)   ? EBB__HASH_BYTES                           \
      : sizeof(T) > 8                                  ? EBB__HASH_BYTES                           \
                                                       : EBB__HASH_INT)
# define EBB__MAP_DECL(N, name, K, V, hash_fn, equal_fn)                                           \
     static ebb__site EBB__CAT(ebb__map_key_, N) = EBB__SITE_INIT(K, EBB__USE_MAP);                \
     static ebb__site EBB__CAT(ebb__map_value_, N) = EBB__SITE_INIT(V, EBB__USE_MAP);              \
     static const ebb__map_decl EBB__CAT(ebb__map_decl_, N) = {                                    \
         &ebb__this_unit, #name, N, &EBB__CAT(ebb__map_key_, N), &EBB__CAT(ebb__map_value_, N),    \
         EBB__IS_STR(K),  EBB__IS_STR(V), hash_fn, equal_fn};                                      \
     static const ebb__map_decl *const EBB__CAT(ebb__map_entry_, N)                                \
         __attribute__((section("ebb_maps"), used)) = &EBB__CAT(ebb__map_decl_, N);                \
     _Static_assert(_Alignof(K) <= 16 && _Alignof(V) <= 16,                                        \
                    #name ": keys and values may be aligned to at most 16")

# define EBB__MAP(N, name, K, V) EBB__MAP2(N, name, K, V)
# define EBB__MAP2(N, name, K, V)                                                                  \
     EBB__MAP_DECL(N, name, K, V, NULL, NULL);                                                     \
     _Static_assert(!EBB__IS_TEXT(K),                                                              \
                    #name ": char * keys are compared by address: use ebb_str, or void *");        \
     _Static_assert(EBB__CLASS(K) != 9 && (EBB__CLASS(K) != 8 || sizeof(K) <= 8),                  \
                    #name ": this kind of key needs EBB_MAP_HASHED");                              \
     EBB__MAP_HANDLE(N, name, K, V, EBB__HASH_KIND(K), 0)

# define EBB__MAP_WEAK(N, name, K, V) EBB__MAP_WEAK2(N, name, K, V)
# define EBB__MAP_WEAK2(N, name, K, V)                                                             \
     EBB__MAP_DECL(N, name, K, V, NULL, NULL);                                                     \
     _Static_assert(EBB__CLASS(K) == 5, #name ": a weak key is a pointer");                        \
     EBB__MAP_HANDLE(N, name, K, V, EBB__HASH_INT, 1)

# define EBB__MAP_HASHED(N, name, K, V, hash, equal) EBB__MAP_HASHED2(N, name, K, V, hash, equal)
# define EBB__MAP_HASHED2(N, name, K, V, hash_fn, equal_fn)                                        \
     static uint64_t EBB__CAT(ebb__map_hash_, N)(const void *key) {                                \
         return hash_fn(*(const __typeof__(K) *)key);                                              \
     }                                                                                             \
     static bool EBB__CAT(ebb__map_equal_, N)(const void *a, const void *b) {                      \
         return equal_fn(*(const __typeof__(K) *)a, *(const __typeof__(K) *)b);                    \
     }                                                                                             \
     EBB__MAP_DECL(N, name, K, V, EBB__CAT(ebb__map_hash_, N), EBB__CAT(ebb__map_equal_, N));      \
     EBB__MAP_HANDLE(N, name, K, V, EBB__HASH_USER, 0)

extern const ebb__map_decl *const __start_ebb_maps[] __attribute__((visibility("hidden")));
extern const ebb__map_decl *const __stop_ebb_maps[] __attribute__((visibility("hidden")));

# define EBB__MAP_KEY(m)      __typeof__((m)->ebb__types->key)
# define EBB__MAP_VALUE(m)    __typeof__((m)->ebb__types->value)
# define EBB__MAP_HASH(m)     (sizeof((m)->ebb__types->hash) - 1)
# define EBB__MAP_BOXED(part) (sizeof(part) > EBB__MAP_INLINE_MAX)
# define EBB__MAP_FORM(m)                                                                          \
     {                                                                                             \
         EBB__MAP_HASH(m), sizeof((m)->ebb__types->key), sizeof((m)->ebb__types->value),           \
             offsetof(__typeof__((m)->ebb__types->slot), value), sizeof((m)->ebb__types->slot),    \
             EBB__MAP_BOXED((m)->ebb__types->key), EBB__MAP_BOXED((m)->ebb__types->value),         \
             sizeof((m)->ebb__types->weak) > 1,                                                    \
             EBB__MAP_HASH(m) == EBB__HASH_STR || EBB__MAP_HASH(m) == EBB__HASH_USER ||            \
                 sizeof((m)->ebb__types->key) > 16                                                 \
     }
# define EBB__MAP_SITE(m)                                                                          \
     __extension__({                                                                               \
         static ebb__map_site ebb__map_here = {__start_ebb_maps,                                   \
                                               __stop_ebb_maps,                                    \
                                               &ebb__this_unit,                                    \
                                               sizeof((m)->ebb__types->number) - 1,                \
                                               EBB__MAP_FORM(m),                                   \
                                               0};                                                 \
         &ebb__map_here;                                                                           \
     })

/* Declares `var` of type T with a value whose pointers must be of the very type. */
# define EBB__MAP_TAKE(T, var, ...)                                                                \
     _Pragma("GCC diagnostic push")                                                                \
     _Pragma("GCC diagnostic error \"-Wincompatible-pointer-types\"")                              \
     _Pragma("GCC diagnostic error \"-Wint-conversion\"")                                          \
     T var = (__VA_ARGS__);                                                                        \
     _Pragma("GCC diagnostic pop")

/* A key as it is hashed: a float's zero without a sign, a structure's padding zero. */
# ifdef __has_builtin
#  if __has_builtin(__builtin_clear_padding)
#   define EBB__CLEAR_PADDING(p) __builtin_clear_padding(p)
#  endif
# endif
# ifndef EBB__CLEAR_PADDING
#  define EBB__CLEAR_PADDING(p) ((void)0)
# endif
EBB__INLINE void ebb__map_key_zero(void *key, ebb__map_form form) {
    if (form.hash != EBB__HASH_FLOAT) return;
    uint64_t bits = ebb__load_int(key, form.key_size);
    if (bits << (65 - 8 * form.key_size) == 0) memset(key, 0, form.key_size);
}
# define EBB__MAP_OPEN(m, ...)                                                                     \
     __typeof__(m) ebb__m = (m);                                                                   \
     EBB__MAP_TAKE(EBB__MAP_KEY(ebb__m), ebb__k, __VA_ARGS__)                                      \
     const ebb__map_form ebb__form = EBB__MAP_FORM(ebb__m);                                        \
     EBB__CLEAR_PADDING(&ebb__k);                                                                  \
     ebb__map_key_zero(&ebb__k, ebb__form)

# define EBB__MAP_PUT(m, k, ...)                                                                   \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, k);                                                                      \
         EBB__MAP_TAKE(EBB__MAP_VALUE(ebb__m), ebb__v, __VA_ARGS__)                                \
         ebb__map_put(&ebb__m->map, &ebb__k, &ebb__v, EBB__MAP_SITE(ebb__m), ebb__form);           \
     })
# define EBB__MAP_GET(m, ...)                                                                      \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, __VA_ARGS__);                                                            \
         (EBB__MAP_VALUE(ebb__m) *)ebb__map_get(ebb__m->map, &ebb__k, ebb__form);                  \
     })
# define EBB__MAP_GET_COPY(m, k, out)                                                              \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, k);                                                                      \
         EBB__MAP_TAKE(EBB__MAP_VALUE(ebb__m) *, ebb__out, out)                                    \
         ebb__map_get_copy(ebb__m->map, &ebb__k, ebb__form, ebb__out);                             \
     })
# define EBB__MAP_HAS(m, ...)                                                                      \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, __VA_ARGS__);                                                            \
         ebb__map_get(ebb__m->map, &ebb__k, ebb__form) != NULL;                                    \
     })
# define EBB__MAP_GET_OR_PUT(m, k, ...)                                                            \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, k);                                                                      \
         EBB__MAP_TAKE(EBB__MAP_VALUE(ebb__m), ebb__v, __VA_ARGS__)                                \
         (EBB__MAP_VALUE(ebb__m) *)ebb__map_get_or_put(&ebb__m->map, &ebb__k, &ebb__v,             \
                                                       EBB__MAP_SITE(ebb__m), ebb__form,           \
                                                       "ebb_map_get_or_put");                      \
     })
# define EBB__MAP_ENTRY(m, ...)                                                                    \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, __VA_ARGS__);                                                            \
         (EBB__MAP_VALUE(ebb__m) *)ebb__map_get_or_put(&ebb__m->map, &ebb__k, NULL,                \
                                                       EBB__MAP_SITE(ebb__m), ebb__form,           \
                                                       "ebb_map_entry");                           \
     })
# define EBB__MAP_DELETE(m, ...)                                                                   \
     __extension__({                                                                               \
         EBB__MAP_OPEN(m, __VA_ARGS__);                                                            \
         ebb__map_delete(ebb__m->map, &ebb__k, ebb__form);                                         \
     })
# define EBB__MAP_LEN(m)                                                                           \
     __extension__({                                                                               \
         __typeof__(m) ebb__m = (m);                                                               \
         ebb__map_len(ebb__m->map, (ebb__map_form)EBB__MAP_FORM(ebb__m));                          \
     })
# define EBB__MAP_POLICY(m, fn, arg)                                                               \
     __extension__({                                                                               \
         __typeof__(m) ebb__m = (m);                                                               \
         ebb__map *ebb__made = ebb__m->map;                                                        \
         if (!ebb__made) ebb__made = ebb__map_make(&ebb__m->map, EBB__MAP_SITE(ebb__m));           \
         ebb__made ? fn(ebb__made, arg) : EBB_ENOMEM;                                              \
     })

/* The inner loops run once for each entry; `stop` stays set only where they are left by break. */
# define EBB__MAP_EACH(m, k, v)                                                                    \
     EBB__MAP_EACH_KEY(m, k)                                                                       \
     for (EBB__MAP_VALUE(m) v = *(EBB__MAP_VALUE(m) *)ebb__map_value(                              \
                                ebb__it_##k.slot, (ebb__map_form)EBB__MAP_FORM(m)),                \
                            *ebb__v_##k = &v;                                                      \
          ebb__v_##k; ebb__v_##k = NULL, ebb__it_##k.stop = false)
# define EBB__MAP_EACH_REF(m, k, p)                                                                \
     EBB__MAP_EACH_KEY(m, k)                                                                       \
     for (EBB__MAP_VALUE(m) *p = ebb__map_value(ebb__it_##k.slot,                                  \
                                                (ebb__map_form)EBB__MAP_FORM(m)),                  \
                            *ebb__v_##k = p;                                                       \
          ebb__v_##k; ebb__v_##k = NULL, ebb__it_##k.stop = false)
# define EBB__MAP_EACH_KEY(m, k)                                                                   \
     for (ebb__map_iter ebb__it_##k = ebb__map_iter_begin((m)->map);                               \
          ebb__map_next(&ebb__it_##k, (ebb__map_form)EBB__MAP_FORM(m));)                           \
         for (EBB__MAP_KEY(m) k = *(EBB__MAP_KEY(m) *)ebb__map_iter_key(                           \
                                  &ebb__it_##k, (ebb__map_form)EBB__MAP_FORM(m)),                  \
                              *ebb__k_##k = (ebb__it_##k.stop = true, &k);                         \
              ebb__k_##k; ebb__k_##k = NULL)

/* clang-format on */
#endif /* !__cplusplus */

#ifdef __cplusplus
}
#endif
#endif
