/* planted_slack.c - question 5: it was deleted, and nothing came back. Points were cut by setting
 * the length, and a map was told to grow only and emptied. The culprits are slices of `point` and
 * maps of `sessions`; what else there is, a full slice and a full map, is none. */
#include "planted.h"

typedef struct point {
    double x, y, z;
    struct point *next;
} point;
EBB_TYPE(point, ptr(next));
EBB_SLICE(points, point);

typedef struct session {
    char text[100];
} session;
EBB_MAP(sessions, int64_t, session);
EBB_MAP(counters, int64_t, int64_t);

static points cut, full;
static sessions emptied;
static counters kept;

int main(void) {
    cut = ebb_slice_make(points, 1000000);
    full = ebb_slice_make(points, 100000);
    for (size_t i = 0; i < cut.len; i++) cut.ptr[i].x = 1;
    for (size_t i = 0; i < full.len; i++) full.ptr[i].x = 1;
    cut.len = 1000;
    ebb_map_grow_only(&emptied);
    for (int64_t i = 0; i < 100000; i++) ebb_map_put(&emptied, i, (session){{1}});
    for (int64_t i = 0; i < 100000; i++) ebb_map_delete(&emptied, i);
    for (int64_t i = 0; i < 100000; i++) ebb_map_put(&kept, i, i);
    planted_forget();
    ebb_collect();
    planted_stay();
}
