/* cmd_profile.c - `ebb profile`: the heap profile of a program or a file, as a list or written with
 * names. */
#define _GNU_SOURCE 1
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "colour.h"
#include "command.h"
#include "json.h"
#include "load.h"
#include "sites.h"
#include "table.h"

static const char profile_help[] =
    "Example:\n"
    "  ebb profile 4711                   where the memory in use of process 4711 came from\n"
    "  ebb profile 4711 -o now.pb.gz      the same for go tool pprof, or for ebb diff later\n"
    "\n"
    "usage: ebb profile PID|SOCKET|HOST:PORT|FILE [-o FILE] [--gc] [--seconds N]\n"
    "                   [--alloc] [-n ROWS] [--json]\n"
    "\n"
    "  -o FILE       write the profile there, with names and compressed (\"-\": standard output)\n"
    "  --gc          collect first, so that what is dead is not in it\n"
    "  --seconds N   what changed within N seconds from now\n"
    "  --alloc       list all that was ever allocated, not what is in use\n"
    "  -n ROWS       how many rows; 0: all; default: 30\n"
    "  --json        the list as JSON, with the stacks\n"
    "\n"
    "A profile has the last collection's view of samples, one in 512 KiB allocated\n"
    "(EBB_PROFILE=rate=BYTES; 1: every object). \"+-\" is the standard error that comes from "
    "that:\n"
    "the true number lies within twice as much in 95 of 100 cases. \"flat\" is what a function\n"
    "allocated itself, \"cum\" what it and those that it called allocated.\n"
    "\n"
    "A running program has to serve: EBB_DEBUG=serve.\n";

struct profile_options {
    const char *from, *out, *kind;
    bool gc, json;
    long seconds, rows;
};

/* --- By function ---------------------------------------------------------------------------- */

struct profile_function {
    struct sites_frame frame; /* of its first line seen */
    struct sites_sum flat, cum;
    size_t last; /* place + 1 of the last site that was counted: recursion counts once */
};

struct profile_functions {
    struct intern names;
    struct profile_function *at;
    size_t count, room;
};

static struct profile_function *profile_function_of(struct profile_functions *list,
                                                    const struct sites *s, uint32_t frame) {
    struct sites_frame f = sites_frame(s, frame);
    /* The frame's text up to its line. */
    size_t size = (size_t)(f.file + strlen(f.file) - f.function);
    bool fresh;
    uint32_t place = intern_add(&list->names, f.function, size, &fresh);
    if (fresh) {
        list->at = need_room(list->at, &list->room, list->count, sizeof *list->at);
        list->at[list->count++] = (struct profile_function){.frame = f};
    }
    return &list->at[place];
}

static void profile_by_function(struct profile_functions *list, const struct sites *s) {
    for (size_t i = 0; i < s->count; i++) {
        const struct site *site = &s->at[i];
        for (uint32_t k = 0; k < site->frames_count; k++) {
            struct profile_function *f =
                profile_function_of(list, s, s->frames[site->frames_at + k]);
            if (k == 0) sites_sum_add(&f->flat, &site->sum[0]);
            if (f->last != i + 1) sites_sum_add(&f->cum, &site->sum[0]);
            f->last = i + 1;
        }
    }
}

static int profile_compare(const void *a, const void *b) {
    const struct profile_function *one = a, *other = b;
    if (one->flat.bytes != other->flat.bytes) return one->flat.bytes < other->flat.bytes ? 1 : -1;
    return (one->cum.bytes < other->cum.bytes) - (one->cum.bytes > other->cum.bytes);
}

static void profile_sort(struct profile_functions *list) {
    if (list->count > 1) qsort(list->at, list->count, sizeof *list->at, profile_compare);
}

/* --- Output --------------------------------------------------------------------------------- */

static void profile_head(const struct sites *s, const struct pprof *p, const char *kind) {
    const struct sites_sum *total = &s->total[0];
    printf("%s_space: %.0f bytes, %s +- %s; %.0f objects +- %.0f; ", kind, total->bytes,
           text_bytes(total->bytes), text_bytes(sqrt(total->bytes_variance)), total->objects,
           sqrt(total->objects_variance));
    if (p->period <= 1)
        puts("every object is sampled");
    else
        printf("one sample in %" PRId64 " bytes\n", p->period);
}

static double profile_percent(double part, double whole) {
    return whole != 0 ? 100 * part / whole : 0;
}

static void profile_list(const struct profile_functions *list, const struct sites *s, long rows) {
    double whole = s->total[0].bytes;
    printf("%s%15s %10s %10s %6s %10s %6s %11s  %s%s\n", colour_on(stdout, COLOUR_HEAD),
           "flat bytes", "flat", "+-", "flat%", "cum", "cum%", "objects", "function",
           colour_on(stdout, COLOUR_PLAIN));
    for (size_t i = 0; i < list->count && (rows == 0 || i < (size_t)rows); i++) {
        const struct profile_function *f = &list->at[i];
        printf("%15.0f %10s %10s %5.1f%% %10s %5.1f%% %11.0f  %s%s%s\n", f->flat.bytes,
               text_bytes(f->flat.bytes), text_bytes(sqrt(f->flat.bytes_variance)),
               profile_percent(f->flat.bytes, whole), text_bytes(f->cum.bytes),
               profile_percent(f->cum.bytes, whole), f->flat.objects, f->frame.function,
               *f->frame.file ? " " : "", f->frame.file);
    }
}

static void profile_json_sum(const char *name, const struct sites_sum *sum) {
    printf("\"%s\": {\"bytes\": %.0f, \"bytes_error\": %.0f, \"objects\": %.0f, "
           "\"objects_error\": %.1f}",
           name, sum->bytes, sqrt(sum->bytes_variance), sum->objects, sqrt(sum->objects_variance));
}

static void profile_json(const struct profile_functions *list, const struct sites *s,
                         const struct pprof *p, const struct profile_options *o) {
    printf("{\"kind\": \"%s\", \"period\": %" PRId64 ", \"time_ns\": %" PRId64 ", ", o->kind,
           p->period, p->time_ns);
    profile_json_sum("total", &s->total[0]);
    fputs(", \"functions\": [", stdout);
    for (size_t i = 0; i < list->count && (o->rows == 0 || i < (size_t)o->rows); i++) {
        const struct profile_function *f = &list->at[i];
        fputs(i > 0 ? ",\n{\"function\": " : "\n{\"function\": ", stdout);
        json_string(stdout, f->frame.function);
        fputs(", \"file\": ", stdout);
        json_string(stdout, f->frame.file);
        fputs(", ", stdout);
        profile_json_sum("flat", &f->flat);
        fputs(", ", stdout);
        profile_json_sum("cum", &f->cum);
        putchar('}');
    }
    fputs("],\n\"sites\": [", stdout);
    for (size_t i = 0; i < s->count; i++) {
        fputs(i > 0 ? ",\n{" : "\n{", stdout);
        profile_json_sum("sum", &s->at[i].sum[0]);
        fputs(", \"stack\": ", stdout);
        sites_json_stack(s, &s->at[i], stdout);
        putchar('}');
    }
    puts("]}");
}

static int profile_show(const struct pprof *p, const struct profile_options *o) {
    struct sites s = {0};
    struct profile_functions list = {0};
    if (!sites_add(&s, p, o->kind, 0)) {
        fprintf(stderr, "ebb profile: %s has no %s_space and %s_objects\n", o->from, o->kind,
                o->kind);
        return 1;
    }
    profile_by_function(&list, &s);
    profile_sort(&list);
    if (o->json) {
        profile_json(&list, &s, p, o);
    } else {
        profile_head(&s, p, o->kind);
        profile_list(&list, &s, o->rows);
    }
    intern_free(&list.names);
    free(list.at);
    sites_free(&s);
    return fflush(stdout) == 0 ? 0 : 1;
}

static int profile_write(struct pprof *p, const char *path) {
    bool to_stdout = strcmp(path, "-") == 0;
    FILE *out = to_stdout ? stdout : fopen(path, "we");
    bool good = out && pprof_write(p, out, true);
    if (out && !to_stdout) good = fclose(out) == 0 && good;
    if (!good) fprintf(stderr, "ebb profile: %s: %m\n", path);
    return good ? 0 : 1;
}

/* --- The command line ----------------------------------------------------------------------- */

/* The value of an option that takes a number, or -1. */
static long profile_number(int argc, char **argv, int *i) {
    char *end = NULL;
    long number = *i + 1 < argc ? strtol(argv[*i + 1], &end, 10) : -1;
    if (!end || *end || end == argv[*i + 1] || number < 0) return -1;
    ++*i;
    return number;
}

static bool profile_option(struct profile_options *o, int argc, char **argv, int *i) {
    const char *argument = argv[*i];
    if (strcmp(argument, "-o") == 0) return ++*i < argc && (o->out = argv[*i]) != NULL;
    if (strcmp(argument, "--gc") == 0) return o->gc = true;
    if (strcmp(argument, "--json") == 0) return o->json = true;
    if (strcmp(argument, "--alloc") == 0) return (o->kind = "alloc") != NULL;
    if (strcmp(argument, "--seconds") == 0) return (o->seconds = profile_number(argc, argv, i)) > 0;
    if (strcmp(argument, "-n") == 0) return (o->rows = profile_number(argc, argv, i)) >= 0;
    if (o->from || (argument[0] == '-' && argument[1])) return false;
    o->from = argument;
    return true;
}

static int profile_main(int argc, char **argv) {
    struct profile_options o = {.kind = "inuse", .rows = 30};
    for (int i = 1; i < argc; i++) {
        int at = i;
        if (!profile_option(&o, argc, argv, &i))
            return command_wrong(argv[0], "\"%s\" is not understood", argv[at]);
    }
    if (!o.from) return command_wrong(argv[0], "takes a process or a file");
    char target[96], seconds[32] = "";
    if (o.seconds) snprintf(seconds, sizeof seconds, "&seconds=%ld", o.seconds);
    snprintf(target, sizeof target, "/debug/pprof/%s?gc=%d%s",
             strcmp(o.kind, "alloc") == 0 ? "allocs" : "heap", o.gc, seconds);
    struct pprof p;
    int result = 1;
    if (load_profile(&p, o.from, target))
        result = o.out ? profile_write(&p, o.out) : profile_show(&p, &o);
    pprof_free(&p);
    return result;
}

const command command_profile = {
    "profile",
    "the heap profile of a program or a file",
    profile_help,
    profile_main,
};
