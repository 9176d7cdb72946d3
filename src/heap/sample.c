/* sample.c - distances between sample points, and their mathematics. See sample.h.
 *
 * Logarithm and exponential are made here, to nine digits: the library needs libc alone. */
#include "sample.h"

size_t ebb__sample_rate;
uint32_t ebb__sample_epoch = 1;
os_lock ebb__sample_lock;

/* -ln(u) for u in (0, 1]: u = m 2^e with m in [1, 2), and ln m = 2 artanh((m-1)/(m+1)). */
static double sample_minus_ln(double u) {
    const double ln_2 = 0.69314718055994530942;
    union {
        double value;
        uint64_t bits;
    } x = {u};
    int exponent = (int)(x.bits >> 52) - 1023;
    x.bits = (x.bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)1023 << 52;
    double s = (x.value - 1) / (x.value + 1), square = s * s, sum = 0;
    for (int n = 19; n > 0; n -= 2) sum = sum * square + 1.0 / n;
    return -2 * s * sum - exponent * ln_2;
}

/* 1 - e^(-x) for x >= 0, as exact for small x: f(x) = f(x/2) (2 - f(x/2)). */
static double sample_one_minus_exp(double x) {
    int halved = 0;
    if (x > 40) return 1;
    for (; x > 0.0625; halved++) x /= 2;
    double f = 0;
    for (int n = 7; n > 0; n--) f = x / n * (1 - f);
    while (halved-- > 0) f *= 2 - f;
    return f;
}

double ebb__sample_chance(size_t size, size_t rate) {
    return rate <= 1 ? 1 : sample_one_minus_exp((double)size / (double)rate);
}

double ebb__sample_weight(size_t size, size_t rate) {
    double chance = ebb__sample_chance(size, rate);
    return chance > 0 ? 1 / chance : 1;
}

double ebb__sample_random(heap_thread *t) {
    uint64_t z = t->sample_random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* Whole bytes up to the next point: n or more with a probability of e^(-n/rate). */
static uint64_t sample_distance(heap_thread *t) {
    double distance = sample_minus_ln(1 - ebb__sample_random(t)) * (double)ebb__sample_rate;
    return distance < 0x1p62 ? (uint64_t)distance : (uint64_t)1 << 62;
}

/* Of another rate, or the thread's first: draws anew. */
static void sample_begin(heap_thread *t) {
    if (t->sample_random == 0) t->sample_random = ebb__os_random() | 1;
    t->sample_epoch = ebb__sample_epoch;
    t->sample_left = ebb__sample_rate == 0   ? UINT64_MAX
                     : ebb__sample_rate == 1 ? 0
                                             : sample_distance(t);
}

uintptr_t ebb__sample_cut(heap_thread *t, uintptr_t start, uintptr_t end, uint64_t stride) {
    if (t->sample_epoch != ebb__sample_epoch) {
        sample_begin(t);
        return sample_cut(t, start, end, stride);
    }
    if (ebb__sample_rate == 1) return start;
    uintptr_t cut = start + t->sample_left / stride * stride;
    t->sample_left = sample_distance(t);
    return cut;
}

uintptr_t ebb__sample_rest(heap_thread *t, uintptr_t start, uintptr_t end, uint64_t stride) {
    if (ebb__sample_rate == 0) return end;
    if (ebb__sample_rate == 1) return start;
    uint64_t distance = sample_distance(t);
    return distance < end - start ? start + distance / stride * stride : end;
}
