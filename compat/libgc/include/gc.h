/* gc.h - <gc.h> is <gc/gc.h>. */
#include "gc/gc.h"
