/* retainers.c - who holds it, as a profile; and what samples say of an object's origin.
 * docs/design.md, "Retention". */
#include "why.h"

void ebb__why_sites(why *w, void (*visit)(why *w, uintptr_t object)) {
    (void)w, (void)visit;
}

void ebb__why_site_print(uintptr_t object, reply *r, const char *before, const char *after) {
    (void)object, (void)r, (void)before, (void)after;
}

void ebb__why_profile(why *w, reply *r) {
    (void)w;
    ebb__reply_error(r, 501, "not yet");
}
