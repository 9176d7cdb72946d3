/* ebb/map.h - maps that give their memory back, one table at a time.
 *
 *     EBB_MAP(by_name, ebb_str, user *);           // once, at file scope
 *
 *     by_name index = {0};                         // {0} is an empty map
 *     ebb_map_put(&index, ebb_s("ann"), u);
 *     user **found = ebb_map_get(&index, ebb_s("ann"));
 *     ebb_map_each(&index, name, value) printf("%.*s\n", (int)name.len, name.ptr);
 *     ebb_map_delete(&index, ebb_s("ann"));
 *
 * A map is many small tables under a directory. Whatever a put or a delete does to it, it moves
 * the entries of at most one table, up or down: a map that shrinks returns its tables to the
 * collector as it goes. docs/maps.md says more.
 *
 * The handle is one pointer; a copy of it is the same map, once the map is not {0} any more. A
 * type that holds a handle is described by map(field). The macros evaluate each argument once.
 *
 * Threads: any number may read one map. While one puts, deletes or clears, nobody else may touch
 * the map: whoever is caught at it aborts with a message. That check is always on, costs a byte's
 * load, and is no lock: it does not find every such mistake. */
#ifndef EBB_MAP_H
#define EBB_MAP_H

#include "config.h"
#include "heap.h"
#include "slice.h"
#include "stats.h"
#include "map_inline.h"

#ifndef __cplusplus

/* --- Declaration ----------------------------------------------------------------------------- */

/* EBB_MAP(name, K, V): `name` becomes the type of maps from K to V. At file scope or in a block,
 * once in each translation unit; a header is the natural place. K and V are any types that can be
 * assigned, aligned to at most 16. A key is compared
 *
 *   ebb_str                        by its bytes
 *   integers, pointers, enums      by value
 *   float, double                  by value; -0.0 is 0.0, and a NaN is found by its bits
 *   other structures and unions    byte by byte
 *
 * Beware of padding in the last: gcc clears it in the key that it is given; with another compiler
 * the program has to (memset before the fields are set), or to use EBB_MAP_HASHED. char * is
 * refused as a key, since it would be compared by address: use ebb_str for text, void * for
 * addresses.
 *
 * A map copies neither the bytes that an ebb_str refers to nor anything else behind a pointer.
 * Keys' bytes in the heap are kept alive by the map; bytes elsewhere are for the program to keep.
 * They must not change while they are in the map. */
# define EBB_MAP(name, K, V) EBB__MAP(__COUNTER__, name, K, V)

/* The same with the program's own hash and equality:
 *
 *     uint64_t hash(K key);
 *     bool equal(K a, K b);
 *
 * Equal keys must have equal hashes. The hash is mixed with the map's seed, so it need not be
 * good in every bit; but keys whose hashes are equal all land in one table, which then grows
 * instead of splitting, and looking for them takes time in proportion to their number. Neither
 * function may use the map or leave by longjmp. */
# define EBB_MAP_HASHED(name, K, V, hash, equal) \
  EBB__MAP_HASHED(__COUNTER__, name, K, V, hash, equal)

/* A map from objects to V that does not keep the objects alive: K is a pointer type, compared by
 * address, and when the collector finds a key dead its entry vanishes. Values are kept as long as
 * their entry; one that leads to its own key therefore keeps it for ever. A null key is refused.
 * Here ebb_map_len counts by looking at every entry. */
# define EBB_MAP_WEAK(name, K, V) EBB__MAP_WEAK(__COUNTER__, name, K, V)

/* --- Entries --------------------------------------------------------------------------------- */

/* Makes v the value of k. When k was there, the key that was there stays, with a new value.
 *
 * Returns / errors: 0; EBB_ENOMEM, and then the map is as it was; EBB_EINVAL for a null weak key.
 * Owns: the map, its tables; keys and values of more than 128 bytes lie in objects of their own.
 * Threads: one writer.   Collects: may collect; may call the limit handler, which may use the
 *   map itself: to evict from a cache is what it is for. */
# define ebb_map_put(m, k, ...) EBB__MAP_PUT(m, k, __VA_ARGS__)

/* The value of k: a pointer to it, or null when k is absent. The pointer is valid until the next
 * put or delete. Used after that it still points to memory of this map (never to another's), but
 * the value may have moved on, or be zero.
 * Threads: any, beside readers.   Collects: never. */
# define ebb_map_get(m, ...) EBB__MAP_GET(m, __VA_ARGS__)

/* Copies the value of k to *out. Returns: whether k was there; *out is left alone if not.
 * Threads and collects as ebb_map_get. */
# define ebb_map_get_copy(m, k, out) EBB__MAP_GET_COPY(m, k, out)

/* Whether k is there. As ebb_map_get. */
# define ebb_map_has(m, ...) EBB__MAP_HAS(m, __VA_ARGS__)

/* A pointer to the value of k, which becomes v if k was absent, or zero. Valid as ebb_map_get's.
 *
 *     ++*ebb_map_entry(&counts, word);
 *
 * Returns / errors: null without memory (or for a null weak key); the map is then as it was.
 * Threads: one writer.   Collects: as ebb_map_put. */
# define ebb_map_get_or_put(m, k, ...) EBB__MAP_GET_OR_PUT(m, k, __VA_ARGS__)
# define ebb_map_entry(m, ...)         EBB__MAP_ENTRY(m, __VA_ARGS__)

/* Takes k out, and zeroes what it occupied. Returns: whether it was there. Memory that could not
 * be had for shrinking is no error: the map shrinks later.
 * Threads: one writer.   Collects: may collect. */
# define ebb_map_delete(m, ...) EBB__MAP_DELETE(m, __VA_ARGS__)

/* The number of entries. Threads: any, beside readers.   Collects: never. */
# define ebb_map_len(m) EBB__MAP_LEN(m)

/* Takes everything out, and changes the seed of the hash. The tables go to the collector, but for
 * what ebb_map_reserve asks to keep; a map that does not shrink keeps all of them, zeroed.
 * Threads: one writer.   Collects: never. */
# define ebb_map_clear(m) ebb__map_clear((m)->map)

/* --- Iteration ------------------------------------------------------------------------------- */

/* for each entry: k is a copy of the key, v of the value (each: p points to the value).
 *
 *     ebb_map_each(&index, name, value) {
 *         if (stale(value)) ebb_map_delete(&index, name);
 *     }
 *
 * break and continue do what they do in any loop. The order is another each time. The map may be
 * changed inside, by this thread: an entry that is there throughout is seen exactly once, one that
 * was deleted before it was reached is not seen, one that was put meanwhile may be seen or not.
 * p is valid until the next put or delete.
 * Threads: any, beside readers.   Collects: never. */
# define ebb_map_each(m, k, v)     EBB__MAP_EACH(m, k, v)
# define ebb_map_each_ref(m, k, p) EBB__MAP_EACH_REF(m, k, p)

/* --- Memory ---------------------------------------------------------------------------------- */

/* Room for n entries is kept from now on, through deletes and clears; on an empty map it is made
 * at once. n == 0 takes the wish back; the room goes as deletes come by, or with ebb_map_compact.
 * Returns / errors: 0 or EBB_ENOMEM.
 * Threads: one writer.   Collects: may collect; may call the limit handler. */
# define ebb_map_reserve(m, n) EBB__MAP_POLICY(m, ebb__map_reserve, n)

/* While paused, deleting gives no table back: for a program that is about to refill.
 * Returns / errors: 0 or EBB_ENOMEM.   Threads: one writer.   Collects: as ebb_map_reserve. */
# define ebb_map_pause_shrinking(m, paused) EBB__MAP_POLICY(m, ebb__map_pause, paused)

/* From now on this map only grows, as Go's do: no delete, and no clear, gives a table back. Only
 * ebb_map_compact does. Returns and threads as above. */
# define ebb_map_grow_only(m) EBB__MAP_POLICY(m, ebb__map_grow_only, true)

/* From now on tables grow by a fifth or so at a time instead of doubling: a fifth less memory on
 * average, a few more moves an insert. For maps that are built once. Returns and threads as above.
 */
# define ebb_map_dense(m) EBB__MAP_POLICY(m, ebb__map_dense, true)

/* Makes every table as small as its entries allow, whatever the policy, one table at a time.
 * Returns / errors: 0; EBB_ENOMEM, when some could not be made smaller.
 * Threads: one writer.   Collects: may collect; may call the limit handler. */
# define ebb_map_compact(m) ebb__map_compact((m)->map)

#endif /* !__cplusplus */
#endif
