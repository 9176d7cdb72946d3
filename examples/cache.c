/* cache.c - a cache through a day: a peak of visitors, then a quiet night. The map shrinks as they
 * leave, and what it held goes back to the system; nothing is freed, rebuilt or copied by hand. */
#include <ebb/ebb.h>
#include <stdio.h>

typedef struct visit {
    ebb_str page;
    double seconds;
    unsigned char answer[96];
} visit;
EBB_TYPE(visit, str(page));
EBB_MAP(visits, uint64_t, visit);

static visits recent; /* static storage is searched for pointers, as stacks are */

static void show(const char *when) {
    struct ebb_stats stats;
    ebb_stats(&stats);
    printf("%-8s %7zu visits, %5.1f MB in objects, %5.1f MB resident\n", when, ebb_map_len(&recent),
           (double)stats.live / 1e6, (double)stats.rss / 1e6);
}

int main(void) {
    uint64_t newest = 0;
    show("morning:");
    for (; newest < 400000; newest++) {
        visit v = {.page = ebb_s("/index.html"), .seconds = 0.1};
        if (ebb_map_put(&recent, newest, v) != 0) return 1;
    }
    show("noon:");
    ebb_map_each_ref(&recent, id, v) {
        if (id + 1000 < newest && v->seconds < 1.0) ebb_map_delete(&recent, id);
    }
    ebb_release();
    show("night:");
    return ebb_map_len(&recent) == 1000 ? 0 : 1;
}
