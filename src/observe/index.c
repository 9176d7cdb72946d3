/* index.c - /debug/ebb/: what can be asked. docs/design.md, "Debug server". */
#include "endpoint.h"

static void index_text(reply *to) {
    const endpoint *e;
    ebb__reply_begin(to, 200, EBB__TEXT, NULL);
    for (size_t n = 0; (e = ebb__endpoint_at(n)) != NULL; n++)
        if (e->says) ebb__reply_print(to, "%-28s %s\n", e->path, e->says);
}

static void index_json(reply *to) {
    const endpoint *e;
    const char *comma = "";
    ebb__reply_begin(to, 200, EBB__JSON, NULL);
    ebb__reply_print(to, "{\"pages\":[");
    for (size_t n = 0; (e = ebb__endpoint_at(n)) != NULL; n++) {
        if (!e->says) continue;
        ebb__reply_print(to, "%s{\"path\":", comma);
        ebb__reply_json_string(to, e->path);
        ebb__reply_print(to, ",\"says\":");
        ebb__reply_json_string(to, e->says);
        ebb__reply_print(to, "}");
        comma = ",";
    }
    ebb__reply_print(to, "]}\n");
}

static void index_answer(const request *r, reply *to) {
    if (ebb__request_is(r, "format", "json"))
        index_json(to);
    else
        index_text(to);
}

const endpoint ebb__endpoint_index = {
    .path = "/debug/ebb/", .says = "this list", .answer = index_answer};
