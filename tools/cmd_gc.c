/* cmd_gc.c - `ebb gc`: is collection behind, and why is the goal what it is? Of a running program
 * by its own page; of one that is gone by the lines that EBB_DEBUG=gctrace=1 printed.
 *
 * A log is what a program wrote on standard error: anything may stand between the lines, and any of
 * them may be cut. What is no whole line of the trace is passed over and counted. */
#define _GNU_SOURCE 1
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client.h"
#include "command.h"

static const char gc_help[] =
    "Example:\n"
    "  ebb gc 4711                    is collection in process 4711 behind, and why this goal?\n"
    "  ebb gc trace.log               the same from what EBB_DEBUG=gctrace=1 printed\n"
    "\n"
    "usage: ebb gc [--json] PID|SOCKET|HOST:PORT|LOG|-\n"
    "\n"
    "Prints the goal and what it is made of, the last cycles with their causes, and a verdict: "
    "how\n"
    "long threads waited for collection, its share of the processors, the longest stop and its\n"
    "parts. In a log, lines that are none of the trace are passed over and counted.\n";

/* --- A line of the trace ------------------------------------------------------------------------
 */

typedef struct gc_line {
    unsigned long long number;
    double at_s, share, open_ms, mark_ms, stop_ms, assist_ms, cpu_ms;
    double start_mb, end_mb, live_mb, goal_mb, stacks_mb, roots_mb;
    unsigned markers;
    char cause[16], kind[24], pages[96];
    double wait_ms, sweep_ms, pause_ms, parts_ms[4];
} gc_line;

/* What follows " NAME=" up to the next space, in room; "" when it is not there. */
static void line_word(const char *line, const char *name, char *room, size_t size) {
    char key[32];
    snprintf(key, sizeof key, " %s=", name);
    const char *at = strstr(line, key);
    room[0] = 0;
    if (!at) return;
    at += strlen(key);
    size_t length = strcspn(at, " \r\n");
    if (length >= size) length = size - 1;
    memcpy(room, at, length);
    room[length] = 0;
}

static double line_number(const char *line, const char *name) {
    char room[64];
    line_word(line, name, room, sizeof room);
    double n = strtod(room, NULL);
    return n >= 0 && n < 1e18 ? n : 0;
}

static bool word_is_plain(const char *word) {
    return word[0] && word[strspn(word, "abcdefghijklmnopqrstuvwxyz-")] == 0;
}

/* No number is infinite or none, and what will be printed does nothing to a terminal. */
static bool line_is_sane(const gc_line *l) {
    const double all[] = {l->at_s,      l->share,     l->open_ms,  l->mark_ms, l->stop_ms,
                          l->assist_ms, l->cpu_ms,    l->start_mb, l->end_mb,  l->live_mb,
                          l->goal_mb,   l->stacks_mb, l->roots_mb};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!(all[i] >= 0 && all[i] < 1e15)) return false;
    for (int i = 0; i < 4; i++)
        if (!(l->parts_ms[i] >= 0 && l->parts_ms[i] < 1e15)) return false;
    for (const char *c = l->pages; *c; c++)
        if (*c <= ' ' || *c > '~') return false;
    return word_is_plain(l->cause) && word_is_plain(l->kind);
}

static bool line_parse(const char *line, gc_line *l) {
    char parts[64];
    *l = (gc_line){.number = 0};
    int n = sscanf(line,
                   "gc %llu @%lfs %lf%%: %lf+%lf+%lf ms clock, %lf+%lf ms cpu, %lf->%lf->%lf MB, "
                   "%lf MB goal, %lf MB stacks, %lf MB roots, %u P",
                   &l->number, &l->at_s, &l->share, &l->open_ms, &l->mark_ms, &l->stop_ms,
                   &l->assist_ms, &l->cpu_ms, &l->start_mb, &l->end_mb, &l->live_mb, &l->goal_mb,
                   &l->stacks_mb, &l->roots_mb, &l->markers);
    if (n != 15) return false;
    line_word(line, "cause", l->cause, sizeof l->cause);
    line_word(line, "kind", l->kind, sizeof l->kind);
    line_word(line, "pages", l->pages, sizeof l->pages);
    line_word(line, "stop_parts_ms", parts, sizeof parts);
    l->wait_ms = line_number(line, "wait_ms");
    l->sweep_ms = line_number(line, "sweep_ms");
    l->pause_ms = line_number(line, "pause_ms");
    if (l->pause_ms <= 0) l->pause_ms = l->open_ms > l->stop_ms ? l->open_ms : l->stop_ms;
    sscanf(parts, "%lf+%lf+%lf+%lf", &l->parts_ms[0], &l->parts_ms[1], &l->parts_ms[2],
           &l->parts_ms[3]);
    return line_is_sane(l);
}

/* --- A log --------------------------------------------------------------------------------------
 */

enum { LOG_CAUSES = 8 };

typedef struct gc_log {
    unsigned long cycles, other, broken; /* broken: began as a line of the trace does */
    unsigned long full, minor, over;
    struct {
        char name[16];
        unsigned long count;
    } causes[LOG_CAUSES];
    double wait_ms, assist_ms, cpu_ms, busy_ms, most_over_mb;
    gc_line first, last, longest, first_full, last_full;
} gc_log;

static void log_cause(gc_log *log, const char *name) {
    for (int i = 0; i < LOG_CAUSES; i++) {
        if (!log->causes[i].count) strcpy(log->causes[i].name, name);
        if (strcmp(log->causes[i].name, name) != 0) continue;
        log->causes[i].count++;
        return;
    }
}

static unsigned long log_count(const gc_log *log, const char *name) {
    for (int i = 0; i < LOG_CAUSES; i++)
        if (log->causes[i].count && strcmp(log->causes[i].name, name) == 0)
            return log->causes[i].count;
    return 0;
}

static void log_add(gc_log *log, const gc_line *l) {
    bool full = strncmp(l->kind, "full", 4) == 0;
    if (log->cycles == 0) log->first = log->longest = *l;
    /* The goal in a line is that of the next cycle. Sizes are rounded to whole MB. */
    if (log->cycles && log->last.goal_mb > 0 && l->end_mb > log->last.goal_mb + 1) {
        log->over++;
        double over = l->end_mb - log->last.goal_mb;
        if (over > log->most_over_mb) log->most_over_mb = over;
    }
    if (full) {
        if (log->full == 0) log->first_full = *l;
        log->last_full = *l;
    }
    log->full += full;
    log->minor += !full;
    log->cycles++;
    log->wait_ms += l->wait_ms;
    log->assist_ms += l->assist_ms;
    log->cpu_ms += l->cpu_ms;
    log->busy_ms += l->open_ms + l->mark_ms + l->stop_ms + l->sweep_ms;
    if (l->pause_ms > log->longest.pause_ms) log->longest = *l;
    log_cause(log, l->cause);
    log->last = *l;
}

/* Anybody may have written the log: of a line so much is kept, and of what looks like a beginning
 * in it, each of which is read to the line's end, so many are tried. */
enum { LINE_BYTES = 16384, LINE_TRIES = 64 };

static void log_line(gc_log *log, const char *line) {
    bool begins = false;
    gc_line l;
    const char *at = strstr(line, "gc ");
    for (int tries = 0; at && tries < LINE_TRIES; at = strstr(at + 1, "gc "), tries++) {
        unsigned long long number;
        begins |= sscanf(at, "gc %llu @", &number) == 1;
        if (!line_parse(at, &l)) continue;
        log_add(log, &l);
        return;
    }
    log->broken += begins;
    log->other += !begins;
}

/* The next line without its end, which is passed over where it is longer than the room. A zero in
 * it is its end too. False after the last. */
static bool line_next(FILE *in, char *line, size_t room) {
    size_t length = 0;
    int c = getc_unlocked(in);
    if (c == EOF) return false;
    for (; c != EOF && c != '\n'; c = getc_unlocked(in))
        if (length + 1 < room) line[length++] = (char)c;
    line[length] = 0;
    return true;
}

static void log_read(FILE *in, gc_log *log) {
    static char line[LINE_BYTES];
    while (line_next(in, line, sizeof line)) log_line(log, line);
}

/* --- Its verdict --------------------------------------------------------------------------------
 */

/* From the end of the first cycle to the end of the last, or since the start for one alone. */
static double log_window_ms(const gc_log *log) {
    double ms = (log->last.at_s - log->first.at_s) * 1000 + log->first.open_ms +
                log->first.mark_ms + log->first.stop_ms + log->first.sweep_ms;
    return ms > 0.001 ? ms : 0.001;
}

static const char *log_verdict(const gc_log *log) {
    double window = log_window_ms(log);
    if (log->cycles == 0) return "no cycle";
    if ((log->wait_ms + log->assist_ms) / window > 0.05) return "behind";
    return log->busy_ms / window > 0.5 ? "busy" : "keeps up";
}

static void log_print_goal(const gc_log *log) {
    const gc_line *l = &log->last;
    if (l->goal_mb <= 0) {
        puts("Goal: none, growth cycles are off.");
        return;
    }
    double room = l->goal_mb - l->live_mb;
    printf("Goal: %.0f MB; %.0f MB were alive, so %.0f MB come on top", l->goal_mb, l->live_mb,
           room);
    if (log_count(log, "limit"))
        puts(": the limit is near, it leaves no more.");
    else if (room <= 17 && l->live_mb < 16)
        puts(": the least there is between cycles.");
    else
        printf(", %.0f %% of what is alive and %.1f MB of roots.\n",
               100 * room / (l->live_mb + l->roots_mb > 0 ? l->live_mb + l->roots_mb : 1),
               l->roots_mb);
}

static void log_print_longest(const gc_log *log) {
    const gc_line *l = &log->longest;
    printf("Longest stop: %.3f ms, of cycle %llu", l->pause_ms, l->number);
    if (l->open_ms > l->stop_ms)
        puts(", its first one, which arms the heap.");
    else
        printf(": %.3f until all threads stood, %.3f looking for written pages,\n%.3f listing "
               "roots, %.3f marking what was left%s.\n",
               l->parts_ms[0], l->parts_ms[1], l->parts_ms[2], l->parts_ms[3],
               strstr(l->kind, "-stopped") ? " (the whole cycle was one stop)" : "");
}

static void log_print_notes(const gc_log *log) {
    printf("Causes:");
    for (int i = 0; i < LOG_CAUSES && log->causes[i].count; i++)
        printf(" %lu %s%s", log->causes[i].count, log->causes[i].name,
               i + 1 < LOG_CAUSES && log->causes[i + 1].count ? "," : "");
    printf("; %lu full, %lu minor.\n", log->full, log->minor);
    if (log_count(log, "limit"))
        puts("Cycles were made because the memory limit was reached: raise it, or keep less "
             "alive.");
    if (log_count(log, "forced") * 2 > log->cycles)
        puts("Most cycles were forced: the program calls ebb_collect or ebb_release itself.");
    if (log->over)
        printf("The heap was over its goal at the end of %lu cycles, by up to %.0f MB.\n",
               log->over, log->most_over_mb);
    if (log->full > 1)
        printf("Alive after full cycles: %.0f MB at %.1f s, %.0f MB at %.1f s%s.\n",
               log->first_full.live_mb, log->first_full.at_s, log->last_full.live_mb,
               log->last_full.at_s,
               log->last_full.live_mb > 1.5 * log->first_full.live_mb + 4 ? ": it grows" : "");
    if (strncmp(log->last.pages, "off", 3) == 0)
        printf("Nobody told which pages were written (%s): each cycle was full and in one stop.\n",
               log->last.pages[3] ? log->last.pages + 4 : "EBB_GC=dirty=off");
}

static void log_print(const gc_log *log, const char *name) {
    double window = log_window_ms(log);
    printf("%s: %lu cycles", name, log->cycles);
    if (log->cycles) printf(" in %.1f s", window / 1000);
    printf("; %lu other lines passed over", log->other);
    if (log->broken) printf(", and %lu that are no whole lines of the trace", log->broken);
    printf("\n\n");
    printf("Verdict: %s.\n", log_verdict(log));
    if (log->cycles == 0) {
        puts("There is no line of the trace: run the program with EBB_DEBUG=gctrace=1.");
        return;
    }
    printf("Threads waited for collection for %.1f ms and helped it for %.1f ms (%.1f %% of the "
           "time);\nit was under way for %.1f %% of the time, and took %.1f ms of processor time, "
           "%.0f %% of all since the start.\n",
           log->wait_ms, log->assist_ms, 100 * (log->wait_ms + log->assist_ms) / window,
           100 * log->busy_ms / window, log->cpu_ms, log->last.share);
    if (strcmp(log_verdict(log), "keeps up") != 0)
        puts("What helps: a higher percentage or limit, fewer allocations, more threads for "
             "marking\n(EBB_GC=background=N), large data without pointers in ebb_alloc_data or a "
             "region.");
    log_print_goal(log);
    log_print_notes(log);
    log_print_longest(log);
}

static void log_json(const gc_log *log) {
    printf("{\"verdict\":\"%s\",\"cycles\":%lu,\"other_lines\":%lu,\"broken_lines\":%lu,"
           "\"full\":%lu,\"minor\":%lu,\"window_ms\":%.3f,\"wait_ms\":%.3f,\"assist_ms\":%.3f,"
           "\"busy_ms\":%.3f,\"cpu_ms\":%.3f,\"over_goal\":%lu,\"live_mb\":%.0f,\"goal_mb\":%.0f,"
           "\"longest_stop_ms\":%.3f,\"longest_stop_cycle\":%llu,\"causes\":{",
           log_verdict(log), log->cycles, log->other, log->broken, log->full, log->minor,
           log->cycles ? log_window_ms(log) : 0, log->wait_ms, log->assist_ms, log->busy_ms,
           log->cpu_ms, log->over, log->last.live_mb, log->last.goal_mb, log->longest.pause_ms,
           log->longest.number);
    for (int i = 0; i < LOG_CAUSES && log->causes[i].count; i++)
        printf("%s\"%s\":%lu", i ? "," : "", log->causes[i].name, log->causes[i].count);
    puts("}}");
}

/* --- The command --------------------------------------------------------------------------------
 */

static int gc_of_log(const char *name, bool json) {
    gc_log log = {.cycles = 0};
    bool input = strcmp(name, "-") == 0;
    FILE *in = input ? stdin : fopen(name, "re");
    if (!in) {
        fprintf(stderr, "ebb gc: ");
        perror(name);
        return 1;
    }
    log_read(in, &log);
    bool failed = ferror(in);
    if (!input) fclose(in);
    if (failed) {
        fprintf(stderr, "ebb gc: %s cannot be read\n", name);
        return 1;
    }
    if (json)
        log_json(&log);
    else
        log_print(&log, input ? "Standard input" : name);
    return 0;
}

static bool gc_is_log(const char *who) {
    struct stat st;
    if (strcmp(who, "-") == 0) return true;
    if (who[strspn(who, "0123456789")] == 0) return false;
    return stat(who, &st) == 0 ? !S_ISSOCK(st.st_mode) : !strchr(who, ':');
}

static int gc_main(int argc, char **argv) {
    const char *who = NULL;
    bool json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            json = true;
        else
            who = argv[i];
    }
    if (argc == 2 + json && who && (who[0] != '-' || !who[1]) && gc_is_log(who))
        return gc_of_log(who, json);
    return client_show(argc, argv, "/debug/ebb/gc");
}

const command command_gc = {"gc", "whether collection keeps up, and why this goal; also of a log",
                            gc_help, gc_main};
