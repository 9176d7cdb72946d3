/* page.c - the files of the page, inside the library. docs/design.md, "Debug server".
 *
 * src/debug/page/ is ours and goes in as it is; the chart comes from npm by way of the build
 * directory (cmake/chart.cmake), and may be missing. /debug/ebb/ is the page for who accepts HTML,
 * which browsers say; everybody else, and ?format=…, gets the list that every server gives. */
#include "page.h"

#include <string.h>

/* The bytes of a file between two symbols. */
#define PAGE_FILE(name, file)                                                                 \
 __asm__(".pushsection .rodata\npage_" #name ":\n.incbin \"" file "\"\npage_" #name "_end:\n" \
         ".byte 0\n.popsection");                                                             \
 extern const char page_##name[], page_##name##_end[]

PAGE_FILE(html, EBB_PAGE_DIR "/index.html");
PAGE_FILE(style, EBB_PAGE_DIR "/page.css");
PAGE_FILE(script, EBB_PAGE_DIR "/page.js");
#ifdef EBB_CHART_DIR
PAGE_FILE(chart_script, EBB_CHART_DIR "/dist/uPlot.iife.min.js");
PAGE_FILE(chart_style, EBB_CHART_DIR "/dist/uPlot.min.css");
PAGE_FILE(chart_licence, EBB_CHART_DIR "/LICENSE");
#else
static const char page_chart_script[] = "", page_chart_style[] = "";
static const char page_chart_licence[] = "There is no chart in this build.\n";
# define page_chart_script_end  (page_chart_script + sizeof page_chart_script - 1)
# define page_chart_style_end   (page_chart_style + sizeof page_chart_style - 1)
# define page_chart_licence_end (page_chart_licence + sizeof page_chart_licence - 1)
#endif

#define PAGE_JAVASCRIPT "text/javascript; charset=utf-8"

static const struct page_asset page_assets[] = {
    {"/debug/ebb/", "text/html; charset=utf-8", page_html, page_html_end},
    {"/debug/ebb/page/page.css", "text/css; charset=utf-8", page_style, page_style_end},
    {"/debug/ebb/page/page.js", PAGE_JAVASCRIPT, page_script, page_script_end},
    {"/debug/ebb/page/chart.js", PAGE_JAVASCRIPT, page_chart_script, page_chart_script_end},
    {"/debug/ebb/page/chart.css", "text/css; charset=utf-8", page_chart_style,
     page_chart_style_end},
    {"/debug/ebb/page/licence", "text/plain; charset=utf-8", page_chart_licence,
     page_chart_licence_end},
};

const struct page_asset *page_find(const char *path, const char *query, const char *accept) {
    const struct page_asset *found = NULL;
    for (size_t i = 0; i < sizeof page_assets / sizeof *page_assets; i++)
        if (strcmp(page_assets[i].path, path) == 0) found = &page_assets[i];
    if (found != page_assets) return found;
    bool browser = accept && strstr(accept, "text/html") && !(query && strstr(query, "format="));
    return browser ? found : NULL;
}
