/* queue.c - a queue that is a slice: appended to at its end, cut off at its front. Nobody moves or
 * frees anything; the part of the array that no slice reaches any more is forgotten. */
#include <ebb/ebb.h>
#include <stdio.h>

typedef struct job {
    int number;
    char payload[1000];
} job;
EBB_TYPE(job);
EBB_SLICE(jobs, job *);

typedef struct worker {
    jobs waiting;
} worker;
EBB_TYPE(worker, slice(waiting));

int main(void) {
    worker *w = ebb_new(worker);
    long done = 0;
    for (int i = 0; i < 200000; i++) {
        job *j = ebb_new(job);
        j->number = i;
        ebb_append(&w->waiting, j);
        if (w->waiting.len > 100) {
            done += ebb_at(w->waiting, 0)->number;
            w->waiting = ebb_slice(w->waiting, 1, w->waiting.len);
        }
    }
    ebb_release();
    struct ebb_stats stats;
    ebb_stats(&stats);
    printf("%zu jobs wait (sum of the others: %ld); %.1f MB were allocated, %.1f MB are live\n",
           w->waiting.len, done, (double)stats.alloc_bytes / 1e6, (double)stats.live / 1e6);
    ebb_keep_alive(w);
    return 0;
}
