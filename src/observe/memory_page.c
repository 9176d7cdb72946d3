/* memory_page.c - /debug/ebb/memory: why RSS is what it is, for `ebb rss`. docs/observe.md.
 *
 *   ?outside=1      with what is outside Ebb, by name: each mapped file, malloc, stacks
 *   ?conservative=1 with the class held, which a snapshot finds
 *   ?format=json    the same as JSON */
#include "held.h"
#include "size.h"

static const char *const outside_kinds[] = {[OUTSIDE_MALLOC] = "malloc",
                                            [OUTSIDE_STACKS] = "stacks",
                                            [OUTSIDE_FILES] = "file",
                                            [OUTSIDE_OTHER] = "other"};

/* --- Text ---------------------------------------------------------------------------------------
 */

static void memory_line(reply *to, int64_t bytes, uint64_t rss, const char *name,
                        const char *says) {
    ebb__reply_print(to, "%14lld  %10s  %5.1f %%  %-16s %s\n", (long long)bytes,
                     ebb__size_text(bytes).text, size_percent((double)bytes, (double)rss), name,
                     says);
}

static void memory_note(reply *to, uint64_t bytes, const char *says) {
    if (bytes)
        ebb__reply_print(to, "%14llu  %10s  %s\n", (unsigned long long)bytes,
                         ebb__size_text((int64_t)bytes).text, says);
}

static void memory_notes(reply *to, const struct ebb_memory *m) {
    ebb__reply_print(to, "\nBesides, in no sum:\n");
    ebb__reply_print(to,
                     "%14lld  %10s  more than the sum is what the kernel's counter shows (top, "
                     "ps): it counts in batches\n",
                     (long long)(m->rss_counter - m->rss),
                     ebb__size_text((int64_t)(m->rss_counter - m->rss)).text);
    memory_note(to, m->free_never_used,
                "of free_pages were never handed out: they came with a huge page");
    memory_note(to, m->malloc_free,
                "of outside_malloc, at most, are free inside malloc: malloc_trim(0)");
    memory_note(to, m->metadata_profile, "of metadata are the profile's");
    memory_note(to, m->metadata_look, "of metadata were mapped for this look, and are gone");
    memory_note(to, m->heap_returned, "mapped for the heap, given back or never touched");
    memory_note(to, m->huge, "of all are in huge pages");
    memory_note(to, m->shared, "of all other processes have mapped too");
    memory_note(to, m->swapped, "are swapped out");
    if (m->held_known)
        ebb__reply_print(to, "held was found by a snapshot, in a stop of its own just before\n");
    else
        ebb__reply_print(to, "held was not asked for: ebb rss --conservative\n");
    if (!m->pages_exact)
        ebb__reply_print(to, "This kernel does not tell pages of zeroes from others: memory that "
                             "was only read may show under unexplained.\n");
}

/* What is worth a thought: classes of a hundredth and more, largest first. */
static void memory_mends(reply *to, const struct ebb_memory *m) {
    bool first = true, done[32] = {false};
    for (;;) {
        const memory_class *best = NULL;
        for (const memory_class *c = ebb__memory_classes; c->name; c++)
            if (!done[c - ebb__memory_classes] && c->mends[0] &&
                ebb__memory_of(m, c) * 100 >= (int64_t)m->rss &&
                (!best || ebb__memory_of(m, c) > ebb__memory_of(m, best)))
                best = c;
        if (!best) return;
        done[best - ebb__memory_classes] = true;
        ebb__reply_print(to, "%s  %-16s %s\n",
                         first ? "\nWhat makes it smaller, largest first:\n" : "", best->name,
                         best->mends);
        first = false;
    }
}

static void memory_outside(reply *to, const struct ebb_memory *m, const outside_list *list) {
    ebb__reply_print(to, "\nOutside Ebb, by name:\n");
    for (size_t i = 0; i < list->count; i++) {
        const outside_entry *e = &list->entries[i];
        memory_line(to, (int64_t)e->bytes, m->rss, outside_kinds[e->kind], e->name);
    }
}

static void memory_text(reply *to, const struct ebb_memory *m, const outside_list *list) {
    ebb__reply_begin(to, 200, EBB__TEXT, NULL);
    ebb__reply_print(to,
                     "Resident memory of process %d: %llu bytes, %s; what Ebb knows and what the "
                     "system says,\ntaken in one stop of %s\n\n",
                     ebb__os_pid(), (unsigned long long)m->rss,
                     ebb__size_text((int64_t)m->rss).text, ebb__time_text(m->stop_ns).text);
    for (const memory_class *c = ebb__memory_classes; c->name; c++)
        memory_line(to, ebb__memory_of(m, c), m->rss, c->name, c->says);
    memory_line(to, (int64_t)m->rss, m->rss, "rss", "the sum");
    if (list) memory_outside(to, m, list);
    memory_notes(to, m);
    memory_mends(to, m);
}

/* --- JSON ---------------------------------------------------------------------------------------
 */

static void memory_json_class(reply *to, const struct ebb_memory *m, const memory_class *c) {
    ebb__reply_print(to, "%s\n{\"name\":\"%s\",\"group\":\"%s\",\"bytes\":%lld,\"says\":",
                     c == ebb__memory_classes ? "" : ",", c->name, c->group,
                     (long long)ebb__memory_of(m, c));
    ebb__reply_json_string(to, c->says);
    ebb__reply_print(to, ",\"mends\":");
    ebb__reply_json_string(to, c->mends);
    ebb__reply_print(to, "}");
}

static void memory_json_outside(reply *to, const outside_list *list) {
    ebb__reply_print(to, ",\n\"outside\":[");
    for (size_t i = 0; i < list->count; i++) {
        const outside_entry *e = &list->entries[i];
        ebb__reply_print(
            to, "%s\n{\"kind\":\"%s\",\"bytes\":%llu,\"mappings\":%u,\"name\":", i ? "," : "",
            outside_kinds[e->kind], (unsigned long long)e->bytes, e->mappings);
        ebb__reply_json_string(to, e->name);
        ebb__reply_print(to, "}");
    }
    ebb__reply_print(to, "]");
}

static void memory_json(reply *to, const struct ebb_memory *m, const outside_list *list) {
    ebb__reply_begin(to, 200, EBB__JSON, NULL);
    ebb__reply_print(to, "{\"pid\":%d,\"rss\":%llu,\"unexplained\":%lld,\"classes\":[",
                     ebb__os_pid(), (unsigned long long)m->rss, (long long)m->unexplained);
    for (const memory_class *c = ebb__memory_classes; c->name; c++) memory_json_class(to, m, c);
    ebb__reply_print(
        to,
        "],\n\"rss_counter\":%llu,\"metadata_profile\":%llu,\"metadata_look\":%llu,"
        "\"free_never_used\":%llu,\"malloc_free\":%llu,\"heap_returned\":%llu,\"swapped\":%llu,"
        "\"shared\":%llu,\"huge\":%llu,\"stop_ns\":%llu,\"held_known\":%s,\"pages_exact\":%s",
        (unsigned long long)m->rss_counter, (unsigned long long)m->metadata_profile,
        (unsigned long long)m->metadata_look, (unsigned long long)m->free_never_used,
        (unsigned long long)m->malloc_free, (unsigned long long)m->heap_returned,
        (unsigned long long)m->swapped, (unsigned long long)m->shared, (unsigned long long)m->huge,
        (unsigned long long)m->stop_ns, m->held_known ? "true" : "false",
        m->pages_exact ? "true" : "false");
    if (list) memory_json_outside(to, list);
    ebb__reply_print(to, "}\n");
}

/* --- The page -----------------------------------------------------------------------------------
 */

static void memory_answer(const request *r, reply *to) {
    struct ebb_memory m;
    bool outside = ebb__request_is(r, "outside", "1");
    outside_list *list = outside ? ebb__memory_list() : NULL;
    if (outside && !list) {
        ebb__reply_error(to, 503, "no memory for the list");
        return;
    }
    if (ebb__memory_asked(r, to, &m, list)) {
        if (ebb__request_is(r, "format", "json"))
            memory_json(to, &m, list);
        else
            memory_text(to, &m, list);
    }
    ebb__memory_list_free(list);
}

const endpoint ebb__endpoint_memory = {
    .path = "/debug/ebb/memory",
    .says = "why RSS is what it is: every resident byte in a class; ?outside=1 &conservative=1",
    .answer = memory_answer};
