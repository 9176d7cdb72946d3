/* symbolize.c - see symbolize.h. */
#define _GNU_SOURCE 1
#include "symbolize.h"

#include <string.h>

#include "names.h"

/* The linked name where only tools that read profiles can make it legible (C++). */
static void symbolize_add(struct pprof *p, size_t location, const struct names_frame *frame) {
    const char *name = strncmp(frame->symbol, "_Z", 2) == 0 ? frame->symbol : frame->function;
    struct pprof_function function = {.name = pprof_add_string(p, name),
                                      .system_name = pprof_add_string(p, frame->symbol),
                                      .file = pprof_add_string(p, frame->file),
                                      .line = frame->function_line};
    pprof_add_line(p, location, &function, frame->line);
}

static bool symbolize_location(struct pprof *p, size_t at, struct names *n) {
    struct names_frame frames[NAMES_FRAMES];
    size_t count = names_find(n, p->locations[at].address, frames, NAMES_FRAMES);
    if (count == 0) return false;
    for (size_t i = names_first(frames, count); i < count; i++) symbolize_add(p, at, &frames[i]);
    if (p->locations[at].mapping == PPROF_NONE) return true;
    struct pprof_mapping *mapping = &p->mappings[p->locations[at].mapping];
    mapping->has_functions = true;
    if (*frames[0].file) mapping->has_filenames = mapping->has_lines = mapping->has_inlined = true;
    return true;
}

/* The library says in a profile why it has no names. */
static void symbolize_comments(struct pprof *p) {
    size_t kept = 0;
    for (size_t i = 0; i < p->comments_count; i++)
        if (strncmp(pprof_text(p, p->comments[i]), "no names: ", 10) != 0)
            p->comments[kept++] = p->comments[i];
    p->comments_count = kept;
}

bool symbolize_wanted(const struct pprof *p) {
    for (size_t i = 0; i < p->locations_count; i++)
        if (p->locations[i].lines_count == 0 && p->locations[i].address != 0) return true;
    return false;
}

size_t symbolize_profile(struct pprof *p, int pid) {
    struct names *n = names_begin();
    if (!n) return 0;
    if (pid > 0) names_add_process(n, pid);
    for (size_t i = 0; i < p->mappings_count; i++) {
        const struct pprof_mapping *m = &p->mappings[i];
        names_add_mapping(n, m->start, m->limit, m->offset, pprof_text(p, m->file),
                          pprof_text(p, m->build_id));
    }
    size_t named = 0;
    for (size_t i = 0; i < p->locations_count; i++) {
        if (p->locations[i].lines_count == 0 && p->locations[i].address != 0)
            named += symbolize_location(p, i, n);
    }
    names_end(n);
    if (named > 0) symbolize_comments(p);
    return named;
}
