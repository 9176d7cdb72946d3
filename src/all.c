/* all.c - the whole library as one translation unit, for programs that carry Ebb in their own tree:
 *
 *     cc -O2 -c ebb/src/all.c
 *
 * needs no -I and no build system. It is also how `make check` proves that no two files claim the
 * same static name. The order is that of the layers, see "Layers" in docs/design.md. */
#include "base/base.c"
