/* plot.c - SVG by hand: panels below each other, each with axes, grid, lines, marks and a legend.
 *
 * Colours are classes of a style sheet with a second set for readers whose desktop is dark; what
 * is told by colour is told by the legend's dashes and the marks' numbers as well. */
#define _GNU_SOURCE 1
#include "plot.h"

#include <math.h>
#include <stdio.h>

enum {
    PLOT_WIDTH = 920,
    PLOT_LEFT = 76,
    PLOT_RIGHT = 24,
    PLOT_HEAD = 52,    /* the plot's title */
    PLOT_TITLE = 58,   /* a panel's title and legend */
    PLOT_AREA = 250,   /* where its lines are */
    PLOT_FOOT = 74,    /* its time axis and notes */
    PLOT_POINTS = 1200 /* of a line, at most */
};

static const char plot_style[] =
    "<style>\n"
    "text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#24292f}\n"
    ".title{font-size:18px;font-weight:600}.panel{font-size:14px;font-weight:600}\n"
    ".dim{fill:#57606a;font-size:12px}.number{font-size:11px;font-weight:600}\n"
    ".paper{fill:#ffffff}.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#57606a;stroke-width:1}\n"
    ".line{fill:none;stroke-width:2;stroke-linejoin:round}.dash{stroke-dasharray:6 4}\n"
    ".dot{stroke-width:2;fill:#ffffff}\n"
    ".c0{stroke:#0a62c9}.c1{stroke:#c2410c}.c2{stroke:#6b7280}\n"
    "@media (prefers-color-scheme:dark){\n"
    "text{fill:#e6edf3}.dim{fill:#9ea7b3}.paper{fill:#0d1117}.grid{stroke:#2a313a}\n"
    ".axis{stroke:#9ea7b3}.dot{fill:#0d1117}\n"
    ".c0{stroke:#58a6ff}.c1{stroke:#ff9a5c}.c2{stroke:#aab4c0}}\n"
    "</style>\n";

/* Where a panel's area lies and what it shows. */
struct plot_scale {
    double top, seconds_max, mb_max;
};

static double plot_x(const struct plot_scale *scale, double seconds) {
    return PLOT_LEFT + seconds / scale->seconds_max * (PLOT_WIDTH - PLOT_LEFT - PLOT_RIGHT);
}

static double plot_y(const struct plot_scale *scale, double mb) {
    return scale->top + PLOT_AREA - mb / scale->mb_max * PLOT_AREA;
}

static void plot_text(FILE *file, const char *class, double x, double y, const char *anchor,
                      const char *text) {
    fprintf(file, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", class, x, y,
            anchor);
    for (; *text; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        case '&':
            fputs("&amp;", file);
            break;
        default:
            fputc(*text, file);
        }
    }
    fputs("</text>\n", file);
}

/* The step of a grid with four to nine lines: 1, 2 or 5 times a power of ten. */
static double plot_step(double max) {
    double power = pow(10, floor(log10(max / 4)));
    double rest = max / 4 / power;
    return power * (rest < 2 ? 1 : rest < 5 ? 2 : 5);
}

static struct plot_scale plot_scale_of(const struct plot_panel *panel, double top) {
    struct plot_scale scale = {top, 0, 0};
    for (size_t i = 0; i < panel->lines; i++) {
        const struct plot_line *line = &panel->line[i];
        for (size_t k = 0; k < line->count; k++) {
            if (line->seconds[k] > scale.seconds_max) scale.seconds_max = line->seconds[k];
            if (line->mb[k] > scale.mb_max) scale.mb_max = line->mb[k];
        }
    }
    scale.seconds_max = scale.seconds_max > 0.1 ? scale.seconds_max : 0.1;
    scale.mb_max = scale.mb_max > 0.1 ? scale.mb_max * 1.08 : 0.1;
    return scale;
}

static void plot_axes(FILE *file, const struct plot_scale *scale) {
    char text[32];
    double bottom = scale->top + PLOT_AREA, right = PLOT_WIDTH - PLOT_RIGHT;
    double step = plot_step(scale->mb_max);
    for (double mb = 0; mb <= scale->mb_max; mb += step) {
        double y = plot_y(scale, mb);
        fprintf(file, "<path class=\"grid\" d=\"M%d %.1fH%.1f\"/>\n", PLOT_LEFT, y, right);
        snprintf(text, sizeof text, "%g", mb);
        plot_text(file, "dim", PLOT_LEFT - 8, y + 4, "end", text);
    }
    step = plot_step(scale->seconds_max);
    for (double seconds = 0; seconds <= scale->seconds_max; seconds += step) {
        double x = plot_x(scale, seconds);
        fprintf(file, "<path class=\"axis\" d=\"M%.1f %.1fv5\"/>\n", x, bottom);
        snprintf(text, sizeof text, "%g", round(seconds * 1000) / 1000);
        plot_text(file, "dim", x, bottom + 19, "middle", text);
    }
    fprintf(file, "<path class=\"axis\" d=\"M%d %.1fH%.1f\"/>\n", PLOT_LEFT, bottom, right);
    plot_text(file, "dim", PLOT_LEFT - 8, scale->top - 10, "end", "MB");
    plot_text(file, "dim", right, bottom + 36, "end", "seconds since the start of the process");
}

/* A line of many points is drawn by the highest of each stretch, so that no peak is lost. */
static void plot_draw_line(FILE *file, const struct plot_scale *scale,
                           const struct plot_line *line) {
    if (line->count == 0) return;
    size_t stride = 1 + (line->count - 1) / PLOT_POINTS;
    fprintf(file, "<path class=\"line c%d%s\" d=\"", line->colour, line->dashed ? " dash" : "");
    for (size_t from = 0; from < line->count; from += stride) {
        size_t best = from;
        for (size_t k = from; k < line->count && k < from + stride; k++) {
            if (line->mb[k] > line->mb[best]) best = k;
        }
        fprintf(file, "%c%.1f %.1f", from ? 'L' : 'M', plot_x(scale, line->seconds[best]),
                plot_y(scale, line->mb[best]));
    }
    fputs("\"/>\n", file);
}

static void plot_draw_marks(FILE *file, const struct plot_scale *scale,
                            const struct plot_panel *panel) {
    char text[16];
    for (size_t i = 0; i < panel->marks; i++) {
        const struct plot_mark *mark = &panel->mark[i];
        double x = plot_x(scale, mark->seconds), y = plot_y(scale, mark->mb);
        fprintf(file, "<circle class=\"dot c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/>\n",
                mark->colour, x, y);
        snprintf(text, sizeof text, "%d", mark->number);
        bool below = mark->colour == 1 && y < scale->top + PLOT_AREA - 30;
        plot_text(file, "number", x, below ? y + 17 : y - 8, "middle", text);
    }
}

/* Names are drawn from left to right with a guess of their width. */
static void plot_legend(FILE *file, const struct plot_panel *panel, double y) {
    double x = PLOT_LEFT;
    for (size_t i = 0; i < panel->lines; i++) {
        const struct plot_line *line = &panel->line[i];
        double width = 0;
        for (const char *at = line->name; *at; at++) width += 6.6;
        fprintf(file, "<path class=\"line c%d%s\" d=\"M%.1f %.1fh28\"/>\n", line->colour,
                line->dashed ? " dash" : "", x, y - 4);
        plot_text(file, "dim", x + 34, y, "start", line->name);
        x += 34 + width + 18;
    }
}

static void plot_notes(FILE *file, const struct plot_panel *panel, double y) {
    char text[512];
    size_t used = 0;
    for (size_t i = 0; i < panel->notes && used < sizeof text; i++) {
        int wrote = snprintf(text + used, sizeof text - used, "%s%zu %s", i ? "  \302\267  " : "",
                             i + 1, panel->note[i]);
        used += wrote > 0 ? (size_t)wrote : 0;
    }
    if (panel->notes) plot_text(file, "dim", PLOT_LEFT, y, "start", text);
}

static void plot_panel(FILE *file, const struct plot_panel *panel, double top) {
    struct plot_scale scale = plot_scale_of(panel, top + PLOT_TITLE);
    plot_text(file, "panel", PLOT_LEFT, top + 14, "start", panel->title);
    plot_legend(file, panel, top + 34);
    plot_axes(file, &scale);
    for (size_t i = panel->lines; i-- > 0;) plot_draw_line(file, &scale, &panel->line[i]);
    plot_draw_marks(file, &scale, panel);
    plot_notes(file, panel, scale.top + PLOT_AREA + 54);
}

int plot_write(const struct plot *plot, const char *path) {
    FILE *file = fopen(path, "we");
    if (!file) return -1;
    int height = PLOT_HEAD + (int)plot->panels * (PLOT_TITLE + PLOT_AREA + PLOT_FOOT);
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n%s",
            PLOT_WIDTH, height, PLOT_WIDTH, height, plot->title, plot_style);
    fprintf(file, "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", PLOT_WIDTH, height);
    plot_text(file, "title", PLOT_LEFT, 32, "start", plot->title);
    for (size_t i = 0; i < plot->panels; i++) {
        double top = PLOT_HEAD + (double)i * (PLOT_TITLE + PLOT_AREA + PLOT_FOOT);
        plot_panel(file, &plot->panel[i], top);
    }
    fputs("</svg>\n", file);
    int failed = ferror(file);
    return fclose(file) != 0 || failed ? -1 : 0;
}
