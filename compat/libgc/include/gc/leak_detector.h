/* gc/leak_detector.h - malloc and its like by the collector, with file and line. Included before
 * everything else, by -include. Ebb reports no leaks: memory that is not freed is collected. */
#ifndef GC_LEAK_DETECTOR_H
#define GC_LEAK_DETECTOR_H

#ifndef GC_DEBUG
# define GC_DEBUG
#endif
#include "gc.h"

#ifndef GC_DONT_INCLUDE_STDLIB
# include <stdlib.h>
# include <string.h>
#endif

#undef malloc
#undef calloc
#undef realloc
#undef free
#undef strdup
#undef strndup
#undef memalign
#undef posix_memalign
#define malloc(size)                        GC_MALLOC(size)
#define calloc(count, size)                 GC_MALLOC((count) * (size))
#define realloc(object, size)               GC_REALLOC(object, size)
#define free(object)                        GC_FREE(object)
#define strdup(text)                        GC_STRDUP(text)
#define strndup(text, length)               GC_STRNDUP(text, length)
#define memalign(align, size)               GC_memalign(align, size)
#define posix_memalign(result, align, size) GC_posix_memalign(result, align, size)

#ifndef CHECK_LEAKS
# define CHECK_LEAKS() GC_gcollect()
#endif

#endif
