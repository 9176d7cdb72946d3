/* test_retain.c - who holds what: the pages why and retainers, asked by the program itself. Each
 * case plants a fault and asks for the culprit's name. See docs/observe.md. */
#include "test.h"

#include <ebb/ebb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "pages.h"

static page p;

/* The number after a name in the page's JSON, from the n-th place where the mark stands. */
static unsigned long long number_after(const char *mark, const char *name) {
    const char *at = strstr(p.text, mark);
    at = at ? strstr(at, name) : NULL;
    if (!at) test_fail(__FILE__, __LINE__, "no %s after %s in: %s", name, mark, p.text);
    return strtoull(at + strlen(name), NULL, 10);
}

static unsigned long long sum_objects(const char *name) {
    char mark[64];
    snprintf(mark, sizeof mark, "\"%s\":{", name);
    return number_after(mark, "\"objects\":");
}

static unsigned long long sum_bytes(const char *name) {
    char mark[64];
    snprintf(mark, sizeof mark, "\"%s\":{", name);
    return number_after(mark, "\"bytes\":");
}

/* What goes with the targets, but for words that the stack still has. */
static unsigned long long retained_objects(void) {
    return sum_objects("retained") + sum_objects("retained_besides_conservative");
}

static unsigned long long retained_bytes(void) {
    return sum_bytes("retained") + sum_bytes("retained_besides_conservative");
}

static void why(const char *query) {
    char target[512];
    snprintf(target, sizeof target, "/debug/ebb/why?%s", query);
    page_get(&p, target);
}

static bool says(const char *text) {
    return strstr(p.text, text) != NULL;
}

#define SAYS(words) \
 (says(words) ? (void)0 : test_fail(__FILE__, __LINE__, "\"%s\" is not in: %s", words, p.text))

/* --- What is held by a field ---------------------------------------------------------------- */

typedef struct entry {
    struct entry *next;
    struct blob *blob;
} entry;

typedef struct blob {
    char bytes[200];
} blob;

typedef struct registry {
    entry *first, *spare;
} registry;

EBB_TYPE(blob);
EBB_TYPE(entry, ptr(next), ptr(blob));
EBB_TYPE(registry, ptr(first), ptr(spare));

static registry *directory;

NOINLINE static void directory_fill(int entries) {
    directory = ebb_new(registry);
    for (int i = 0; i < entries; i++) {
        entry *e = ebb_new(entry);
        e->blob = ebb_new(blob);
        e->next = directory->first;
        directory->first = e;
    }
}

TEST(fields_are_named) {
    directory_fill(1000);
    test_clear_stack();
    why("target=blob&format=json");
    CHECK_EQ(p.status, 200);
    CHECK_STR(p.type, "application/json");
    CHECK_EQ(sum_objects("targets"), 1000);
    SAYS("\"root\":\"static data\"");
    SAYS("\"field\":\"first\"");
    SAYS("\"field\":\"blob\"");
    SAYS("\"to\":\"registry\"");
    SAYS("\"to\":\"entry\"");
    why("target=blob");
    SAYS("static data of test_retain+0x");
    SAYS(".first");
    SAYS(".blob");
    SAYS("-> registry");
}

TEST(a_list_is_one_shape) {
    directory_fill(100000 / (test_slow() ? 10 : 1));
    test_clear_stack();
    why("target=entry&format=json");
    CHECK_EQ(sum_objects("targets"), 100000 / (test_slow() ? 10 : 1));
    CHECK(number_after("\"shapes\":", ":") <= 4);
    SAYS("\"by\":\"self\"");
}

TEST(retained_is_what_goes_with_it) {
    directory_fill(1000);
    test_clear_stack();
    size_t entry_bytes = 0, blob_bytes = 0;
    entry_bytes = ebb_size_of(directory->first);
    blob_bytes = ebb_size_of(directory->first->blob);
    test_clear_stack();
    why("target=registry&format=json");
    CHECK_EQ(sum_objects("targets"), 1);
    CHECK_EQ(retained_objects(), 2001);
    CHECK(retained_bytes() >= 1000 * (entry_bytes + blob_bytes));
    why("target=blob&format=json");
    CHECK_EQ(retained_objects(), 1000);
    CHECK_EQ(retained_bytes(), sum_bytes("targets"));
}

TEST(one_object_by_its_address) {
    char query[64];
    directory_fill(10);
    snprintf(query, sizeof query, "target=0x%zx&format=json", (size_t)directory->first->next->blob);
    test_clear_stack();
    why(query);
    CHECK_EQ(sum_objects("targets"), 1);
    CHECK_EQ(retained_objects(), 1);
    why("target=0x10&format=json");
    CHECK_EQ(p.status, 200);
    CHECK_EQ(sum_objects("targets"), 0);
}

/* --- The truncated slice -------------------------------------------------------------------- */

typedef struct session {
    long id;
    char state[120];
} session;

EBB_TYPE(session);
EBB_SLICE(sessions, session *);

typedef struct server {
    sessions open;
} server;

EBB_TYPE(server, slice(open));

static server *the_server;

NOINLINE static void sessions_open(size_t count, size_t left) {
    the_server = ebb_new(server);
    for (size_t i = 0; i < count; i++) {
        session *s = ebb_new(session);
        s->id = (long)i;
        ebb_append(&the_server->open, s);
    }
    the_server->open.len = left; /* by hand: what is cut off is not cleared */
}

TEST(a_truncated_slice_remembers) {
    sessions_open(1000, 10);
    test_clear_stack();
    why("target=session&format=json");
    CHECK_EQ(sum_objects("targets"), 1000);
    SAYS("\"to\":\"server\"");
    SAYS("\"field\":\"open\"");
    SAYS("in slices' arrays");
    SAYS("\"beyond_length\":true");
    CHECK_EQ(number_after("\"objects\":990", "\"slot_least\":"), 10);
    const char *beyond = strstr(p.text, "\"slot_least\":10,");
    CHECK(beyond != NULL);
    CHECK(strncmp(beyond, "\"slot_least\":10,\"slot_most\":999", 31) == 0);
    why("target=session");
    SAYS("[10 .. 999] BEYOND THE LENGTH");
    SAYS("[0 .. 9]");
}

/* --- Roots ---------------------------------------------------------------------------------- */

typedef struct pinned {
    long a[4];
} pinned;

typedef struct hidden {
    struct hidden *next;
    long a[3];
} hidden;

EBB_TYPE(pinned);
EBB_TYPE(hidden, ptr(next));

NOINLINE static void pin_one(void) {
    ebb_pin(ebb_new(pinned));
}

static void nothing(void *object, void *arg) {
    (void)object, (void)arg;
}

NOINLINE static void finalizer_one(void) {
    static void *keeps_object;
    keeps_object = ebb_alloc_data(100);
    ebb_finalizer_set(keeps_object, nothing, ebb_new(pinned));
}

NOINLINE static void **range_one(void) {
    void **range = calloc(16, sizeof *range);
    range[3] = ebb_new(pinned);
    ebb_root_add(range, 16 * sizeof *range);
    return range;
}

TEST(each_kind_of_root_is_named) {
    pin_one();
    test_clear_stack();
    why("target=pinned&format=json");
    SAYS("\"root\":\"pin\"");
    finalizer_one();
    test_clear_stack();
    why("target=pinned&format=json");
    SAYS("\"root\":\"finalizer\"");
    CHECK_EQ(sum_objects("targets"), 2);
    void **range = range_one();
    test_clear_stack();
    why("target=pinned&format=json");
    SAYS("\"root\":\"added range\"");
    CHECK_EQ(sum_objects("targets"), 3);
    CHECK_EQ(retained_objects(), 3);
    CHECK(range[3] != NULL);
}

static _Thread_local hidden *volatile kept_by_thread;
static atomic_int stage;

NOINLINE static hidden *hidden_list(int length) {
    hidden *list = NULL;
    for (int i = 0; i < length; i++) {
        hidden *h = ebb_new(hidden);
        h->next = list;
        list = h;
    }
    return list;
}

static void *holder_stack(void *tid) {
    hidden *volatile list = hidden_list(100);
    atomic_store(&stage, 1);
    *(volatile int *)tid = (int)gettid();
    while (atomic_load(&stage) < 2) usleep(1000);
    return list;
}

TEST(a_stack_is_a_doubtful_root) {
    pthread_t thread;
    int tid = 0;
    char text[64];
    pthread_create(&thread, NULL, holder_stack, &tid);
    while (atomic_load(&stage) < 1) usleep(1000);
    usleep(1000);
    why("target=hidden&conservative=1&format=json");
    CHECK_EQ(sum_objects("targets"), 100);
    CHECK(sum_objects("conservative_only") >= 100);
    SAYS("\"root\":\"stack\"");
    snprintf(text, sizeof text, "\"thread\":%d", tid);
    SAYS(text);
    SAYS("\"depth_least\"");
    SAYS("\"conservative\":true");
    why("conservative=1");
    SAYS("a false pointer?");
    SAYS("bytes from its top");
    atomic_store(&stage, 2);
    pthread_join(thread, NULL);
}

static NOINLINE void storage_fill(void) {
    kept_by_thread = hidden_list(50);
}

static void *holder_storage(void *unused) {
    storage_fill();
    test_clear_stack();
    atomic_store(&stage, 1);
    while (atomic_load(&stage) < 2) usleep(1000);
    return unused;
}

TEST(thread_local_storage_is_named) {
    pthread_t thread;
    pthread_create(&thread, NULL, holder_storage, NULL);
    while (atomic_load(&stage) < 1) usleep(1000);
    why("target=hidden&format=json");
    CHECK_EQ(sum_objects("targets"), 50);
    SAYS("\"root\":\"thread-local storage\"");
    atomic_store(&stage, 2);
    pthread_join(thread, NULL);
}

/* --- Errors --------------------------------------------------------------------------------- */

TEST(a_wrong_name_lists_near_ones) {
    directory_fill(10);
    why("target=regisrty");
    CHECK_EQ(p.status, 404);
    SAYS("no type is called \"regisrty\"");
    SAYS("\"registry\"");
    why("target=blob&limit=0");
    CHECK_EQ(p.status, 400);
    why("target=blob&seconds=x");
    CHECK_EQ(p.status, 400);
}

TEST(without_a_target_types_are_listed) {
    directory_fill(500);
    test_clear_stack();
    why("format=json");
    CHECK_EQ(p.status, 200);
    CHECK_EQ(number_after("{\"name\":\"entry\"", "\"objects\":"), 500);
    CHECK_EQ(number_after("{\"name\":\"blob\"", "\"objects\":"), 500);
    why("");
    SAYS(" entry\n");
}

/* What the parent writes meanwhile is not seen. */
TEST(the_program_goes_on) {
    directory_fill(1000);
    test_clear_stack();
    why("target=entry&format=json");
    CHECK_EQ(sum_objects("targets"), 1000);
    directory->first = NULL;
    ebb_collect();
    test_clear_stack();
    why("target=entry&format=json");
    CHECK(sum_objects("targets") <= 2);
    directory_fill(10);
    CHECK_EQ(ebb_collect(), 0);
}
