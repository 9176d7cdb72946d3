/* test_offheap_types.c - what the compiler has to refuse: a handle of another pool, a value of
 * another type, a pool where there is none. And what it has to take, without a warning. */
#include <unistd.h>

#include "test.h"

static const char head[] = "#include <ebb/offheap.h>\n"
                           "typedef struct node { int key; } node;\n"
                           "EBB_POOL(nodes, node);\n"
                           "EBB_POOL(others, node);\n"
                           "EBB_POOL_SMALL(small, node);\n"
                           "EBB_POOL(numbers, double);\n"
                           "void use(nodes *, const nodes *, small *, numbers *, ebb_region *,\n"
                           "         nodes_handle, small_handle, others_handle);\n"
                           "void use(nodes *n, const nodes *fixed, small *s, numbers *d,\n"
                           "         ebb_region *r, nodes_handle h, small_handle sh,\n"
                           "         others_handle oh) {\n"
                           "    (void)n, (void)fixed, (void)s, (void)d, (void)r;\n"
                           "    (void)h, (void)sh, (void)oh;\n    ";

/* Whether the compiler takes the statements, with warnings as errors. */
static bool compiles(const char *statements) {
    char path[] = "/tmp/ebb-test-XXXXXX", command[1024];
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    FILE *file = fdopen(fd, "w");
    fprintf(file, "%s%s\n}\n", head, statements);
    fclose(file);
    const char *end = strrchr(__FILE__, '/');
    int length = end ? (int)(end - __FILE__) : 0;
    snprintf(
        command, sizeof command,
        "cc -std=gnu11 -Wall -Wextra -Wconversion -Werror -fsyntax-only -x c -I '%.*s/../include' "
        "%s >/dev/null 2>&1",
        length, __FILE__, path);
    int status = system(command);
    unlink(path);
    return status == 0;
}

TEST(right_types_compile) {
    if (__FILE__[0] != '/') SKIP("the sources are not known by their full path");
    if (!compiles("")) SKIP("no compiler here");
    CHECK(compiles("h = ebb_pool_add(n, ((node){1})); (void)ebb_pool_get(fixed, h)->key;"));
    CHECK(compiles("node *p = ebb_pool_new(s, &sh); (void)p; ebb_pool_remove(s, sh);"));
    CHECK(compiles("(void)ebb_pool_add(d, 3); *ebb_pool_at(d, ((numbers_handle){{1, 1}})) = 1.5;"));
    CHECK(compiles("ebb_pool_each(n, a, i) if (ebb_handle_equal(a, h)) i->key = 1;"));
    CHECK(compiles("int *i = ebb_region_new_array(r, int, 10); (void)i;"));
    CHECK(compiles("if (ebb_handle_null(h)) ebb_pool_root(n);"));
    CHECK(compiles("(void)ebb_pool_get(n, h); (void)ebb_pool_at(s, sh); ebb_pool_remove(n, h);"));
    CHECK(compiles("ebb_pool_add(n, ((node){1})); (void)ebb_pool_new(n, &h);"));
    CHECK(compiles("ebb_pool_release(n); h = h;"));
    CHECK(compiles("ebb_pool_each(n, a, i) { node *d2 = i; (void)d2; }"));
}

TEST(wrong_types_do_not_compile) {
    if (__FILE__[0] != '/') SKIP("the sources are not known by their full path");
    if (!compiles("")) SKIP("no compiler here");
    CHECK(!compiles("(void)ebb_pool_get(n, oh);"));
    CHECK(!compiles("(void)ebb_pool_get(n, sh);"));
    CHECK(!compiles("(void)ebb_pool_at(s, h);"));
    CHECK(!compiles("ebb_pool_remove(n, 1);"));
    CHECK(!compiles("(void)ebb_pool_add(n, 1);"));
    CHECK(!compiles("(void)ebb_pool_new(n, &oh);"));
    CHECK(!compiles("(void)ebb_pool_get(r, h);"));
    CHECK(!compiles("ebb_pool_remove(fixed, h);"));
    CHECK(!compiles("(void)ebb_pool_add(fixed, ((node){1}));"));
    CHECK(!compiles("ebb_pool_release(fixed);"));
    CHECK(!compiles("double *d2 = ebb_pool_get(n, h); (void)d2;"));
    CHECK(!compiles("double *d2 = ebb_region_new(r, int); (void)d2;"));
    CHECK(!compiles("ebb_pool_each(n, a, i) { double *d2 = i; (void)d2; }"));
    CHECK(!compiles("h = sh;"));
}
