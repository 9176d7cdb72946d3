/* why_print.c - says who holds it, to people and to programs. docs/design.md, "Retention".
 *
 * Addresses of instructions stand as @0x…, and so do those of static variables: whoever shows the
 * text puts names there. */
#include "why.h"
#include "../offheap/offheap.h"
#include "../os/child.h"
#include "size.h"

/* --- Words ---------------------------------------------------------------------------------- */

/* "12,345" */
static const char *why_count(uint64_t n, char room[32]) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    char *to = room;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) *to++ = ',';
        *to++ = digits[i];
    }
    *to = 0;
    return room;
}

/* "12,345 bytes (12.1 KiB)" */
static const char *why_bytes(uint64_t bytes, char room[64]) {
    char count[32];
    int length = snprintf(room, 64, "%s bytes", why_count(bytes, count));
    if (bytes >= KIB)
        snprintf(room + length, 64 - (size_t)length, " (%s)", ebb__size_text((int64_t)bytes).text);
    return room;
}

static void print_sum(reply *r, const char *before, graph_sum sum) {
    char count[32], bytes[64];
    ebb__reply_print(r, "%s%s objects, %s", before, why_count(sum.objects, count),
                     why_bytes(sum.bytes, bytes));
}

static void json_sum(reply *r, const char *name, graph_sum sum) {
    ebb__reply_print(r, "\"%s\":{\"objects\":%llu,\"bytes\":%llu}", name,
                     (unsigned long long)sum.objects, (unsigned long long)sum.bytes);
}

/* --- Steps ---------------------------------------------------------------------------------- */

static const char *const origin_names[ORIGIN_COUNT + 1] = {
    [ORIGIN_STACK] = "stack",
    [ORIGIN_REGISTERS] = "registers",
    [ORIGIN_STORAGE] = "thread-local storage",
    [ORIGIN_STATIC] = "static data",
    [ORIGIN_RANGE] = "added range",
    [ORIGIN_COUNT] = "finalizer",
};

/* Ebb's own ranges: what pins hold. */
static const char *origin_name(const path_node *n) {
    if (n->root.origin == ORIGIN_RANGE && n->key && ebb__pins_hold(n->key)) return "pin";
    return origin_names[min_size(n->root.origin, ORIGIN_COUNT)];
}

static const char *field_name(const path_node *before, uint64_t key) {
    const struct ebb__layout *l = before->layout;
    const char *name = key < l->field_count ? l->fields[key].name : NULL;
    return name ? name : "?";
}

/* Where in static data, in words: "PROGRAM+0x4010 @0x5…". */
static void print_variable(const why *w, reply *r, const path_node *n) {
    const path_module *m = ebb__paths_module(&w->paths, n->key);
    if (!n->key) {
        ebb__reply_print(r, ", several variables");
        return;
    }
    if (m) ebb__reply_print(r, " of %s+0x%zx", m->name, (size_t)(n->key - m->base));
    ebb__reply_print(r, " @0x%zx", (size_t)n->key);
}

static void print_root(const why *w, reply *r, const path_node *n) {
    ebb__reply_print(r, "%s", origin_name(n));
    if (n->root.tid) ebb__reply_print(r, " of thread %d", n->root.tid);
    if (n->root.origin == ORIGIN_STATIC) print_variable(w, r, n);
    if (n->root.origin == ORIGIN_RANGE && n->key) ebb__reply_print(r, " at 0x%zx", (size_t)n->key);
    if (n->root.origin == ORIGIN_STACK && n->least != UINT64_MAX) {
        ebb__reply_print(r, ", %llu", (unsigned long long)n->least);
        if (n->most > n->least) ebb__reply_print(r, " to %llu", (unsigned long long)n->most);
        ebb__reply_print(r, " bytes from its top");
    }
}

static void print_slots(reply *r, const path_node *n) {
    ebb__reply_print(r, "[%llu", (unsigned long long)n->least);
    if (n->most > n->least) ebb__reply_print(r, " .. %llu", (unsigned long long)n->most);
    ebb__reply_print(r, "]");
}

/* By which reference of the node before. */
static void print_reference(reply *r, const path_node *before, const path_node *n) {
    bool array = before->layout && before->layout->use != EBB__USE_OBJECT;
    if (array && n->step != STEP_OTHER) print_slots(r, n);
    switch (n->step) {
    case STEP_FIELD:
        ebb__reply_print(r, ".%s", field_name(before, n->key));
        break;
    case STEP_OFFSET:
        ebb__reply_print(r, "+%llu", (unsigned long long)n->key);
        break;
    case STEP_SLOT:
        if (!array) print_slots(r, n);
        break;
    case STEP_SELF:
        ebb__reply_print(r, "any field, again and again");
        break;
    case STEP_OTHER:
        ebb__reply_print(r, "by other ways");
        break;
    }
    if (n->beyond) ebb__reply_print(r, " BEYOND THE LENGTH of the slices that refer to it");
}

static void print_node(const why *w, reply *r, uint32_t number) {
    const path_node *n = &w->paths.nodes[number];
    char name[256];
    if (n->before) {
        print_node(w, r, n->before);
        ebb__reply_print(r, "      ");
        print_reference(r, &w->paths.nodes[n->before], n);
        ebb__reply_print(r, "%s\n", n->repeated ? " (and back to here again)" : "");
    } else {
        ebb__reply_print(r, "      ");
        print_root(w, r, n);
        ebb__reply_print(r, "\n");
    }
    ebb__reply_print(r, "        -> %s, such as 0x%zx",
                     ebb__why_layout_name(n->layout, name, sizeof name), (size_t)n->example);
    ebb__why_site_print(n->example, r, ", of ", "");
    ebb__reply_print(r, "\n");
}

void ebb__why_frame_print(const why *w, reply *r, uint32_t node, bool root) {
    const path_node *n = &w->paths.nodes[node];
    char name[256];
    if (root) {
        print_root(w, r, n);
        return;
    }
    ebb__reply_print(r, "%s", ebb__why_layout_name(n->layout, name, sizeof name));
    if (n->before == 0) return;
    ebb__reply_print(r, " by ");
    print_reference(r, &w->paths.nodes[n->before], n);
}

/* --- Text ----------------------------------------------------------------------------------- */

static void print_head(const why *w, reply *r) {
    uint64_t now = ebb__os_now_ns();
    const snapshot *s = w->g.snap;
    print_sum(r, "reachable: ", w->all);
    print_sum(r, "\nheld by stacks, registers and thread-local storage alone: ", w->doubtful);
    ebb__reply_print(r,
                     "\nsnapshot: taken in %.1f ms, looked at for %.2f s (%.2f s of a processor), "
                     "which took %zu MiB\n\n",
                     (double)(s->forked_ns - s->asked_ns) / 1e6, (double)(now - s->forked_ns) / 1e9,
                     (double)ebb__os_thread_cpu_ns() / 1e9, ebb__os_child_bytes() >> 20);
}

static void print_targets(const why *w, reply *r) {
    if (w->everything) return;
    const char *name = *w->ask->target ? w->ask->target : "what doubtful roots alone hold";
    ebb__reply_print(r, "%s: ", name);
    print_sum(r, "", w->targets);
    if (w->sampled) ebb__reply_print(r, ", as far as they were sampled");
    if (w->ask->doubtful && *w->ask->target) ebb__reply_print(r, "; doubtful ones only:");
    if (w->targets.objects == 0) {
        ebb__reply_print(r, "\nno such object is reachable\n");
        return;
    }
    print_sum(r, "\nthey retain, themselves included: ", w->retained);
    if (w->besides.objects)
        print_sum(r,
                  "\nand these, to which a stack, a register or thread-local storage leads too: ",
                  w->besides);
    ebb__reply_print(r, "\n");
}

static bool path_wanted(const why *w, uint32_t node) {
    return !w->ask->doubtful || !*w->ask->target || ebb__paths_doubtful(&w->paths, node);
}

static void print_text(why *w, reply *r) {
    uint64_t said = 0, left = 0;
    ebb__reply_begin(r, 200, EBB__TEXT, NULL);
    print_head(w, r);
    print_targets(w, r);
    for (uint32_t i = 0; i < w->count; i++) {
        if (!path_wanted(w, w->order[i])) continue;
        if (said == w->ask->limit) {
            left++;
            continue;
        }
        const path_node *n = &w->paths.nodes[w->order[i]];
        ebb__reply_print(r, "\n%4llu. ", (unsigned long long)++said);
        print_sum(r, "", n->ends);
        ebb__reply_print(r, "%s:\n",
                         ebb__paths_doubtful(&w->paths, w->order[i]) ? ", a false pointer?" : "");
        if (w->order[i]) print_node(w, r, w->order[i]);
    }
    if (left) ebb__reply_print(r, "\n%llu more; see limit=\n", (unsigned long long)left);
    if (said == 0 && w->ask->doubtful && w->targets.objects)
        ebb__reply_print(r, "\nother roots lead to all of them\n");
}

/* --- JSON ----------------------------------------------------------------------------------- */

static void json_root(const why *w, reply *r, const path_node *n) {
    ebb__reply_print(r, "{\"root\":\"%s\"", origin_name(n));
    if (n->root.tid) ebb__reply_print(r, ",\"thread\":%d", n->root.tid);
    if (n->root.origin == ORIGIN_STACK && n->least != UINT64_MAX)
        ebb__reply_print(r, ",\"depth_least\":%llu,\"depth_most\":%llu",
                         (unsigned long long)n->least, (unsigned long long)n->most);
    if (n->key) ebb__reply_print(r, ",\"address\":\"@0x%zx\"", (size_t)n->key);
    const path_module *m = n->key ? ebb__paths_module(&w->paths, n->key) : NULL;
    if (n->root.origin == ORIGIN_STATIC && m) {
        ebb__reply_print(r, ",\"module\":");
        ebb__reply_json_string(r, m->name);
        ebb__reply_print(r, ",\"offset\":%zu", (size_t)(n->key - m->base));
    }
}

static void json_reference(reply *r, const path_node *before, const path_node *n) {
    static const char *const steps[] = {"root", "field", "offset", "slot", "self", "other"};
    ebb__reply_print(r, "{\"by\":\"%s\"", steps[n->step]);
    if (n->step == STEP_FIELD) {
        ebb__reply_print(r, ",\"field\":");
        ebb__reply_json_string(r, field_name(before, n->key));
    }
    if (n->step == STEP_OFFSET) ebb__reply_print(r, ",\"offset\":%llu", (unsigned long long)n->key);
    if (before->layout->use != EBB__USE_OBJECT || n->step == STEP_SLOT)
        ebb__reply_print(r, ",\"slot_least\":%llu,\"slot_most\":%llu", (unsigned long long)n->least,
                         (unsigned long long)n->most);
    ebb__reply_print(r, ",\"beyond_length\":%s,\"repeated\":%s", n->beyond ? "true" : "false",
                     n->repeated ? "true" : "false");
}

static void json_node(const why *w, reply *r, uint32_t number) {
    const path_node *n = &w->paths.nodes[number];
    char name[256];
    if (n->before) {
        json_node(w, r, n->before);
        ebb__reply_print(r, ",");
        json_reference(r, &w->paths.nodes[n->before], n);
    } else {
        json_root(w, r, n);
    }
    ebb__reply_print(r, ",\"to\":");
    ebb__reply_json_string(r, ebb__why_layout_name(n->layout, name, sizeof name));
    ebb__reply_print(r, ",\"example\":\"0x%zx\"", (size_t)n->example);
    ebb__why_site_print(n->example, r, ",\"site\":\"", "\"");
    ebb__reply_print(r, "}");
}

static void json_head(const why *w, reply *r) {
    const snapshot *s = w->g.snap;
    ebb__reply_print(r, "{\"target\":");
    ebb__reply_json_string(r, w->ask->target);
    ebb__reply_print(r, ",");
    json_sum(r, "reachable", w->all);
    ebb__reply_print(r, ",");
    json_sum(r, "conservative_only", w->doubtful);
    ebb__reply_print(r, ",\"sampled\":%s", w->sampled ? "true" : "false");
    ebb__reply_print(r, ",\"taken_ns\":%llu,\"looked_ns\":%llu,\"cpu_ns\":%llu,\"child_bytes\":%zu",
                     (unsigned long long)(s->forked_ns - s->asked_ns),
                     (unsigned long long)(ebb__os_now_ns() - s->forked_ns),
                     (unsigned long long)ebb__os_thread_cpu_ns(), ebb__os_child_bytes());
}

static void print_json(why *w, reply *r) {
    uint64_t said = 0;
    ebb__reply_begin(r, 200, EBB__JSON, NULL);
    json_head(w, r);
    ebb__reply_print(r, ",");
    json_sum(r, "targets", w->targets);
    ebb__reply_print(r, ",");
    json_sum(r, "retained", w->retained);
    ebb__reply_print(r, ",");
    json_sum(r, "retained_besides_conservative", w->besides);
    ebb__reply_print(r, ",\"shapes\":%u,\"paths\":[", w->count);
    for (uint32_t i = 0; i < w->count && said < w->ask->limit; i++) {
        if (!path_wanted(w, w->order[i])) continue;
        const graph_sum *ends = &w->paths.nodes[w->order[i]].ends;
        ebb__reply_print(r, "%s\n{\"objects\":%llu,\"bytes\":%llu,\"conservative\":%s,\"steps\":[",
                         said++ ? "," : "", (unsigned long long)ends->objects,
                         (unsigned long long)ends->bytes,
                         ebb__paths_doubtful(&w->paths, w->order[i]) ? "true" : "false");
        if (w->order[i]) json_node(w, r, w->order[i]);
        ebb__reply_print(r, "]}");
    }
    ebb__reply_print(r, "]}\n");
}

void ebb__why_print(why *w, reply *r) {
    if (w->ask->form == WHY_JSON)
        print_json(w, r);
    else if (w->ask->form == WHY_PROFILE)
        ebb__why_profile(w, r);
    else
        print_text(w, r);
}

/* --- Types ---------------------------------------------------------------------------------- */

/* The next type by bytes, and to nothing so that it is not found again. */
static why_type *type_next(why *w) {
    why_type *best = NULL;
    for (uint32_t i = 0; i < w->types_room; i++) {
        why_type *t = &w->types[i];
        if (t->layout && t->found.objects && (!best || t->found.bytes > best->found.bytes))
            best = t;
    }
    return best;
}

static void json_types(why *w, reply *r) {
    const char *comma = "";
    ebb__reply_begin(r, 200, EBB__JSON, NULL);
    json_head(w, r);
    ebb__reply_print(r, ",\"types\":[");
    for (why_type *t; (t = type_next(w)) != NULL; t->found.objects = 0) {
        char name[256];
        ebb__reply_print(r, "%s\n{\"name\":", comma);
        ebb__reply_json_string(r, ebb__why_layout_name(t->layout, name, sizeof name));
        ebb__reply_print(r, ",\"described\":%s,\"objects\":%llu,\"bytes\":%llu}",
                         *t->layout->name ? "true" : "false", (unsigned long long)t->found.objects,
                         (unsigned long long)t->found.bytes);
        comma = ",";
    }
    ebb__reply_print(r, "]}\n");
}

void ebb__why_print_types(why *w, reply *r) {
    char count[32], bytes[64], name[256];
    if (w->ask->form == WHY_JSON) {
        json_types(w, r);
        return;
    }
    ebb__reply_begin(r, 200, EBB__TEXT, NULL);
    print_head(w, r);
    for (why_type *t; (t = type_next(w)) != NULL; t->found.objects = 0)
        ebb__reply_print(r, "%15s objects  %30s  %s\n", why_count(t->found.objects, count),
                         why_bytes(t->found.bytes, bytes),
                         ebb__why_layout_name(t->layout, name, sizeof name));
}
