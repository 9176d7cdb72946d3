/* top_screen.c - `ebb top` on a terminal, by ncurses.
 *
 * A thread of its own reads, since the program may take its time to answer, or be stopped; the
 * screen goes on. What anything says on standard error in the meantime would stand in the middle of
 * the screen, so it goes into a file, and its last line to the foot. */
#define _GNU_SOURCE 1
#include "top.h"

#if EBB_TOP

# include <locale.h>
# include <ncurses.h>
# include <poll.h>
# include <pthread.h>
# include <stdlib.h>
# include <string.h>
# include <sys/mman.h>
# include <term.h>
# include <unistd.h>

# include "colour.h"

static struct {
    pthread_mutex_t lock;
    struct top_view view;   /* [lock] */
    double answered_s;      /* when; 0: not yet [lock] */
    bool ended;             /* [lock] */
    bool refused;           /* it never answered [lock] */
    char trouble[200];      /* what was said last [lock] */
    struct top_reader *top; /* the reading thread's */
    int errors;             /* where standard error goes; the reading thread reads it */
} screen = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- Reading -------------------------------------------------------------------------------- */

/* The last line that was said since the last call, "" if none. */
static void screen_errors(char *line, size_t size) {
    char text[4096];
    off_t end = lseek(screen.errors, 0, SEEK_END);
    off_t from = end > (off_t)sizeof text - 1 ? end - (off_t)sizeof text + 1 : 0;
    ssize_t n = pread(screen.errors, text, sizeof text - 1, from);
    while (n > 0 && text[n - 1] == '\n') n--;
    text[n > 0 ? n : 0] = 0;
    const char *last = strrchr(text, '\n');
    last = last ? last + 1 : text;
    size_t length = strnlen(last, size - 1);
    memcpy(line, last, length);
    line[length] = 0;
    if (ftruncate(screen.errors, 0) == 0) lseek(screen.errors, 0, SEEK_SET);
}

static void *screen_read(void *unused) {
    (void)unused;
    for (bool over = false; !over;) {
        char trouble[sizeof screen.trouble];
        double began = top_now_s();
        bool good = top_read(screen.top);
        screen_errors(trouble, sizeof trouble);
        bool ended = !good && top_ended(screen.top);
        pthread_mutex_lock(&screen.lock);
        if (good) {
            screen.view = screen.top->view;
            screen.answered_s = top_now_s();
        }
        memcpy(screen.trouble, good ? "" : trouble, good ? 1 : sizeof trouble);
        screen.ended = ended;
        screen.refused = !good && !screen.top->answered;
        over = screen.ended || screen.refused;
        pthread_mutex_unlock(&screen.lock);
        double rest = 1 - (top_now_s() - began);
        if (!over && rest > 0) usleep((useconds_t)(rest * 1e6));
    }
    return NULL;
}

/* --- Drawing -------------------------------------------------------------------------------- */

struct draw {
    int row;
};

static void draw_line(void *arg, enum top_style style, const char *text) {
    static const attr_t attributes[] = {[TOP_PLAIN] = A_NORMAL,
                                        [TOP_HEAD] = A_BOLD,
                                        [TOP_DIM] = A_DIM,
                                        [TOP_GOOD] = A_NORMAL,
                                        [TOP_BAD] = A_BOLD};
    struct draw *d = arg;
    attr_t look = attributes[style];
    if (style == TOP_GOOD) look |= (attr_t)COLOR_PAIR(1);
    if (style == TOP_BAD) look |= (attr_t)COLOR_PAIR(2);
    attrset((int)look);
    mvaddnstr(d->row++, 0, text, COLS);
    attrset(A_NORMAL);
}

static void draw_help(struct draw *d) {
    static const char *const help[] = {"q  leave",
                                       "p  pause: the page stands still until p is pressed again",
                                       "s  sort by bytes, objects, name",
                                       "?  this help, or away with it",
                                       "",
                                       "goal      the heap size at which the next collection ends",
                                       "live      found reachable by the last collection",
                                       "returned  free, given back to the system",
                                       "slack     what slices and maps hold and do not use",
                                       "",
                                       "ebb rss, ebb slack, ebb gc and ebb profile say more."};
    draw_line(d, TOP_HEAD, "ebb top: keys");
    for (size_t i = 0; i < sizeof help / sizeof *help; i++) draw_line(d, TOP_PLAIN, help[i]);
}

struct look {
    struct top_view view;
    double answered_s;
    char trouble[200];
    enum top_sort sort;
    bool paused, help;
};

static void draw_foot(const struct look *l) {
    char foot[320], silent[64] = "";
    double silence = l->answered_s > 0 ? top_now_s() - l->answered_s : 0;
    if (silence > 3 && !l->paused)
        snprintf(silent, sizeof silent, "  no answer for %.0f s", silence);
    snprintf(foot, sizeof foot, "q quit  p %s  s sort: %s  ? help%s  %s",
             l->paused ? "PAUSED" : "pause", top_sort_names[l->sort], silent, l->trouble);
    attrset(A_REVERSE);
    mvhline(LINES - 1, 0, ' ', COLS);
    mvaddnstr(LINES - 1, 0, foot, COLS);
    attrset(A_NORMAL);
}

static void draw(struct look *l) {
    struct draw d = {.row = 0};
    erase();
    if (l->help) {
        draw_help(&d);
    } else if (l->answered_s > 0) {
        top_sort_view(&l->view, l->sort);
        top_page(&l->view, screen.top->who, LINES > 1 ? (size_t)LINES - 1 : 1, draw_line, &d);
    } else {
        draw_line(&d, TOP_PLAIN, "waiting for the program's answer");
    }
    draw_foot(l);
    refresh();
}

/* --- Keys ----------------------------------------------------------------------------------- */

/* Waits for a key or a while. False: leave. */
static bool screen_keys(struct look *l) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    poll(&input, 1, 200);
    if (input.revents & (POLLHUP | POLLERR | POLLNVAL)) return false;
    for (int key; (key = getch()) != ERR;) {
        if (key == 'q' || key == 'Q') return false;
        if (key == 'p') l->paused = !l->paused;
        if (key == 's') l->sort = (l->sort + 1) % TOP_SORTS;
        if (key == '?' || key == 'h') l->help = !l->help;
    }
    return true;
}

/* False: there is nothing more to show. */
static bool screen_take(struct look *l) {
    pthread_mutex_lock(&screen.lock);
    bool over = screen.ended || screen.refused;
    if (!l->paused) {
        l->view = screen.view;
        l->answered_s = screen.answered_s;
        memcpy(l->trouble, screen.trouble, sizeof l->trouble);
    }
    pthread_mutex_unlock(&screen.lock);
    return !over;
}

static void screen_loop(void) {
    static struct look look;
    while (screen_take(&look)) {
        draw(&look);
        if (!screen_keys(&look)) return;
    }
}

/* --- The terminal --------------------------------------------------------------------------- */

/* Whether the terminal can do it; says why not. */
static bool terminal_fits(void) {
    int error;
    const char *name = getenv("TERM");
    bool known = name && *name && setupterm(NULL, STDOUT_FILENO, &error) == OK;
    const char *move = known ? tigetstr("cup") : NULL;
    if (move && move != (const char *)-1) return true;
    fprintf(stderr, "ebb top: %s%s%s; ebb top --once prints a page\n",
            name && *name ? "the terminal \"" : "TERM is not set", name && *name ? name : "",
            !(name && *name) ? ""
            : known          ? "\" cannot move its cursor"
                             : "\" is not known here");
    return false;
}

static bool terminal_begin(void) {
    setlocale(LC_CTYPE, "");
    if (!newterm(NULL, stdout, stdin)) return false;
    cbreak();
    noecho();
    nodelay(stdscr, TRUE);
    keypad(stdscr, TRUE);
    curs_set(0);
    if (colour_wanted(stdout) && has_colors() && start_color() == OK) {
        use_default_colors();
        init_pair(1, COLOR_GREEN, -1);
        init_pair(2, COLOR_RED, -1);
    }
    return true;
}

int top_screen(struct top_reader *r) {
    pthread_t reader;
    int kept = dup(STDERR_FILENO);
    if (!terminal_fits()) return 1;
    screen.top = r;
    screen.errors = memfd_create("errors", MFD_CLOEXEC);
    if (kept < 0 || screen.errors < 0 || dup2(screen.errors, STDERR_FILENO) < 0) return 1;
    bool drawn = pthread_create(&reader, NULL, screen_read, NULL) == 0 && terminal_begin();
    if (drawn) {
        screen_loop();
        endwin();
    }
    dup2(kept, STDERR_FILENO);
    pthread_mutex_lock(&screen.lock);
    bool ended = screen.ended, refused = screen.refused;
    pthread_mutex_unlock(&screen.lock);
    if (ended) printf("ebb top: %s has ended\n", r->who);
    if (refused) fprintf(stderr, "%s\n", screen.trouble);
    if (!drawn) fputs("ebb top: the screen cannot be used; ebb top --once prints a page\n", stderr);
    return drawn && !refused ? 0 : 1;
}

#else

int top_screen(struct top_reader *r) {
    (void)r;
    fputs("ebb top: built without ncurses: no screen; ebb top --once prints a page\n", stderr);
    return 1;
}

#endif
