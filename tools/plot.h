/* plot.h - line plots over time, written as SVG. */
#ifndef EBB_TOOLS_PLOT_H
#define EBB_TOOLS_PLOT_H

#include <stdbool.h>
#include <stddef.h>

/* One line. Time in seconds, values in MB (1048576 bytes), both owned by the caller. */
struct plot_line {
    const char *name; /* for the legend */
    int colour;       /* 0 … PLOT_COLOURS - 1 */
    bool dashed;
    size_t count;
    const double *seconds, *mb;
};

/* A numbered point on the plot, explained below it by the note of the same number. */
struct plot_mark {
    double seconds, mb;
    int number;
    int colour;
};

enum { PLOT_COLOURS = 3, PLOT_LINES = 8, PLOT_MARKS = 64, PLOT_PANELS = 4, PLOT_NOTES = 16 };

struct plot_panel {
    const char *title;
    size_t lines, marks, notes;
    struct plot_line line[PLOT_LINES];
    struct plot_mark mark[PLOT_MARKS];
    const char *note[PLOT_NOTES]; /* note[i] explains number i + 1 */
};

struct plot {
    const char *title;
    size_t panels;
    struct plot_panel panel[PLOT_PANELS];
};

/* Writes the plot to path. Returns 0, or -1 with errno. */
int plot_write(const struct plot *plot, const char *path);

#endif
