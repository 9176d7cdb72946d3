/* test_slice_unchecked.c - programs built without checks: what is out of range is refused all the
 * same, wherever a verb goes through the library, and nothing is damaged. */
#undef EBB_CHECKS
#define EBB_CHECKS 0
#include <ebb/ebb.h>

#include "modes.h"
#include "test.h"

EBB_SLICE(ints, int);

static ints three(void) {
    ints s = {0};
    ebb_append_list(&s, 1, 2, 3);
    return s;
}

TEST(inner_refusals) {
    if (!modes_have("misuse=return")) SKIP("the inner half of refusals_return");
    ints s = three(), before = s;
    size_t cap = s.cap;
    CHECK(ebb_slice(s, 2, 4).ptr == NULL);
    CHECK_EQ(ebb_slice(s, 3, 2).cap, 0);
    CHECK_EQ(ebb_slice3(s, 0, 3, cap + 1).len, 0);
    CHECK_EQ(ebb_slice_extend(s, cap + 1).len, 3);
    CHECK_EQ(ebb_truncate(&s, 4), EBB_EINVAL);
    CHECK_EQ(ebb_delete(&s, 3), EBB_EINVAL);
    CHECK_EQ(ebb_delete(&s, SIZE_MAX), EBB_EINVAL);
    CHECK_EQ(ebb_delete_range(&s, 2, 1), EBB_EINVAL);
    CHECK_EQ(ebb_delete_range(&s, 0, 4), EBB_EINVAL);
    CHECK_EQ(ebb_delete_unordered(&s, 3), EBB_EINVAL);
    CHECK_EQ(ebb_insert(&s, 4, 1), EBB_EINVAL);
    CHECK_EQ(ebb_insert_slice(&s, SIZE_MAX, s), EBB_EINVAL);
    CHECK(s.ptr == before.ptr && s.len == 3 && s.cap == cap);
    CHECK(ebb_at(s, 0) == 1 && ebb_at(s, 2) == 3);
    s.len = 0;
    CHECK_EQ(ebb_pop(&s), 0);
    CHECK(ebb_str_slice(ebb_s("abc"), 2, 4).ptr == NULL);
}

TEST(refusals_return) {
    MODES_PASS("inner_refusals", "misuse=return", NULL);
}

TEST(inner_abort) {
    if (!modes_have("misuse=abort")) SKIP("the inner half of refusals_abort");
    ints s = three();
    DIES("ebb_slice: from 2 to 4") {
        s = ebb_slice(s, 2, 4);
    }
    DIES("ebb_truncate: index 4 is out of range") {
        ebb_truncate(&s, 4);
    }
    DIES("ebb_delete: the range from 3 to 4") {
        ebb_delete(&s, 3);
    }
    DIES("ebb_str_slice: the range from 2 to 4") {
        ebb_str_slice(ebb_s("abc"), 2, 4);
    }
}

TEST(refusals_abort) {
    MODES_PASS("inner_abort", "misuse=abort", NULL);
}
