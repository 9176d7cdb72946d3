/* size.c - sizes and times as people read them. */
#include "size.h"

size_text ebb__size_text(int64_t bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_text t;
    int unit = 0;
    while ((value >= 1024 || value <= -1024) && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(t.text, sizeof t.text, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return t;
}

size_text ebb__time_text(uint64_t ns) {
    size_text t;
    double ms = (double)ns / 1e6;
    if (ms < 10)
        snprintf(t.text, sizeof t.text, "%.2f ms", ms);
    else if (ms < 1000)
        snprintf(t.text, sizeof t.text, "%.0f ms", ms);
    else if (ms < 60000)
        snprintf(t.text, sizeof t.text, "%.1f s", ms / 1000);
    else
        snprintf(t.text, sizeof t.text, "%.0f min %.0f s", (double)(ns / 60000000000u),
                 (double)(ns % 60000000000u) / 1e9);
    return t;
}
