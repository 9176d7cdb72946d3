/* gc/gc_tiny_fl.h - the sizes of the free lists that a program keeps: list i holds objects of i
 * granules. */
#ifndef GC_TINY_FL_H
#define GC_TINY_FL_H

#ifndef GC_GRANULE_BYTES
# define GC_GRANULE_BYTES 16
# define GC_GRANULE_WORDS 2
#endif
#define GC_WORDS_TO_GRANULES(words) ((words) * sizeof(void *) / GC_GRANULE_BYTES)

#ifndef GC_TINY_FREELISTS
# define GC_TINY_FREELISTS 25
#endif
#define GC_RAW_BYTES_FROM_INDEX(index) ((index)*GC_GRANULE_BYTES)

#endif
