/* names.c - see names.h: mappings to files, files to functions and lines, by libdw.
 *
 * Of each file the ranges of its compilation units are listed once, and the functions of a unit
 * when the first address falls into it, since not every compiler writes tables of its own for that.
 */
#define _GNU_SOURCE 1
#include "names.h"

#if EBB_SYMBOLS

# include <dwarf.h>
# include <elfutils/libdw.h>
# include <elfutils/libdwfl.h>
# include <fcntl.h>
# include <gelf.h>
# include <inttypes.h>
# include <limits.h>
# include <stdlib.h>
# include <string.h>
# include <strings.h>
# include <sys/stat.h>
# include <unistd.h>

# include "intern.h"

enum { NAMES_NEST = 16, NAMES_STRAY_BYTES = 4096, NAMES_ID_BYTES = 64 };
enum { MODULE_OPEN = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

/* Code from low up to high belongs to die, and to units[unit] in a list of units. */
struct names_range {
    uint64_t low, high;
    size_t unit;
    Dwarf_Die die;
};

/* Sorted by low. */
struct names_ranges {
    struct names_range *at;
    size_t count, room;
};

/* lines_die has the lines; it is another one where the rest is in a file of its own
 * (-gsplit-dwarf). */
struct names_unit {
    Dwarf_Die die, lines_die;
    struct names_ranges functions;
    bool listed; /* functions */
};

/* A file. Its addresses are as linked; those of its debug information lack bias. */
struct names_module {
    char *path, *build_id;
    bool tried;
    Dwfl *dwfl; /* null: could not be read, or is not the file that was mapped */
    Dwfl_Module *module;
    Dwarf_Addr bias;
    struct names_unit *units;
    size_t units_count, units_room;
    struct names_ranges unit_ranges;
};

struct names_mapping {
    uint64_t start, limit, offset;
    size_t module;
};

struct names {
    struct names_mapping *mappings;
    struct names_module *modules;
    size_t mappings_count, mappings_room, modules_count, modules_room;
    struct intern texts; /* those that are no strings of libdw's */
    int pid;             /* whose view of the files is meant; 0: this process's */
};

/* --- Ranges --------------------------------------------------------------------------------- */

static void ranges_add(struct names_ranges *ranges, Dwarf_Die *die, size_t unit) {
    Dwarf_Addr base = 0, low, high;
    for (ptrdiff_t at = 0; (at = dwarf_ranges(die, at, &base, &low, &high)) > 0;) {
        if (low >= high) continue;
        ranges->at = need_room(ranges->at, &ranges->room, ranges->count, sizeof *ranges->at);
        ranges->at[ranges->count++] = (struct names_range){low, high, unit, *die};
    }
}

static int ranges_compare(const void *a, const void *b) {
    const struct names_range *one = a, *other = b;
    return (one->low > other->low) - (one->low < other->low);
}

static void ranges_sort(struct names_ranges *ranges) {
    if (ranges->count > 1) qsort(ranges->at, ranges->count, sizeof *ranges->at, ranges_compare);
}

/* The range that holds the address and begins last, or null. */
static struct names_range *ranges_find(const struct names_ranges *ranges, uint64_t address) {
    size_t low = 0, high = ranges->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges->at[middle].low <= address)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i > 0 && low - i < NAMES_NEST; i--)
        if (address < ranges->at[i - 1].high) return &ranges->at[i - 1];
    return NULL;
}

/* --- Files ---------------------------------------------------------------------------------- */

static char *names_debug_path; /* null: as the system has it */

static const Dwfl_Callbacks names_callbacks = {
    .find_debuginfo = dwfl_standard_find_debuginfo,
    .section_address = dwfl_offline_section_address,
    .debuginfo_path = &names_debug_path,
};

/* The file as the process sees it. A program that was replaced while it runs is still there, by
 * another name. */
static int module_open(const struct names *n, const char *path) {
    static const char gone[] = " (deleted)";
    char by[PATH_MAX], exe[PATH_MAX];
    size_t length = strlen(path);
    if (n->pid <= 0) return open(path, MODULE_OPEN);
    if (length >= sizeof gone && strcmp(path + length - (sizeof gone - 1), gone) == 0) {
        snprintf(by, sizeof by, "/proc/%d/exe", n->pid);
        ssize_t size = readlink(by, exe, sizeof exe);
        bool same = size == (ssize_t)length && memcmp(exe, path, length) == 0;
        return same ? open(by, MODULE_OPEN) : -1;
    }
    snprintf(by, sizeof by, "/proc/%d/root%s", n->pid, path);
    int fd = open(by, MODULE_OPEN);
    return fd >= 0 ? fd : open(path, MODULE_OPEN);
}

/* Whether the file is the one that was mapped, as far as both say. */
static bool module_is_same(const struct names_module *m) {
    const unsigned char *id;
    GElf_Addr at;
    int size = dwfl_module_build_id(m->module, &id, &at);
    if (!m->build_id || !*m->build_id || size <= 0 || size > NAMES_ID_BYTES) return true;
    char hex[2 * NAMES_ID_BYTES + 1];
    for (int i = 0; i < size; i++) snprintf(hex + 2 * i, 3, "%02x", id[i]);
    if (strcasecmp(hex, m->build_id) == 0) return true;
    fprintf(stderr, "ebb: %s is not the file that was running: no names from it\n", m->path);
    return false;
}

static void module_close(struct names_module *m) {
    for (size_t i = 0; i < m->units_count; i++) free(m->units[i].functions.at);
    free(m->units);
    free(m->unit_ranges.at);
    m->units = NULL;
    m->units_count = 0;
    m->unit_ranges = (struct names_ranges){0};
    if (m->dwfl) dwfl_end(m->dwfl);
    m->dwfl = NULL;
}

static void module_list_units(struct names_module *m) {
    for (Dwarf_Die *die = NULL; (die = dwfl_module_nextcu(m->module, die, &m->bias)) != NULL;) {
        m->units = need_room(m->units, &m->units_room, m->units_count, sizeof *m->units);
        struct names_unit *unit = &m->units[m->units_count];
        *unit = (struct names_unit){.die = *die, .lines_die = *die};
        Dwarf_Die split;
        uint8_t type;
        if (dwarf_cu_info(die->cu, NULL, &type, NULL, &split, NULL, NULL, NULL) == 0 &&
            type == DW_UT_skeleton && split.addr)
            unit->die = split;
        ranges_add(&m->unit_ranges, die, m->units_count++);
    }
    ranges_sort(&m->unit_ranges);
}

/* A profile may name anything: whoever opens a pipe or reads a terminal waits for it. */
static int module_open_file(const struct names *n, const char *path) {
    struct stat file;
    int fd = module_open(n, path);
    if (fd < 0 || (fstat(fd, &file) == 0 && S_ISREG(file.st_mode))) return fd;
    close(fd);
    return -1;
}

static void module_load(const struct names *n, struct names_module *m) {
    m->tried = true;
    int fd = module_open_file(n, m->path);
    if (fd < 0) return;
    m->dwfl = dwfl_begin(&names_callbacks);
    if (m->dwfl) {
        dwfl_report_begin(m->dwfl);
        m->module = dwfl_report_elf(m->dwfl, m->path, m->path, fd, 0, true);
        dwfl_report_end(m->dwfl, NULL, NULL);
    }
    if (!m->module) close(fd);
    if (!m->module || !module_is_same(m))
        module_close(m);
    else
        module_list_units(m);
}

/* --- Mappings ------------------------------------------------------------------------------- */

struct names *names_begin(void) {
    /* Nothing is fetched over the network for a name. */
    unsetenv("DEBUGINFOD_URLS");
    elf_version(EV_CURRENT);
    return calloc(1, sizeof(struct names));
}

void names_end(struct names *n) {
    if (!n) return;
    for (size_t i = 0; i < n->modules_count; i++) {
        module_close(&n->modules[i]);
        free(n->modules[i].path);
        free(n->modules[i].build_id);
    }
    free(n->modules);
    free(n->mappings);
    intern_free(&n->texts);
    free(n);
}

static size_t names_module(struct names *n, const char *path, const char *build_id) {
    for (size_t i = 0; i < n->modules_count; i++) {
        struct names_module *m = &n->modules[i];
        if (strcmp(m->path, path) != 0) continue;
        if (build_id && !m->build_id && !m->tried) m->build_id = strdup(build_id);
        return i;
    }
    n->modules = need_room(n->modules, &n->modules_room, n->modules_count, sizeof *n->modules);
    struct names_module *m = &n->modules[n->modules_count];
    *m = (struct names_module){.path = strdup(path)};
    if (build_id) m->build_id = strdup(build_id);
    return n->modules_count++;
}

void names_add_mapping(struct names *n, uint64_t start, uint64_t limit, uint64_t offset,
                       const char *file, const char *build_id) {
    if (!n || start >= limit || *file != '/') return;
    size_t module = names_module(n, file, build_id);
    n->mappings = need_room(n->mappings, &n->mappings_room, n->mappings_count, sizeof *n->mappings);
    n->mappings[n->mappings_count++] = (struct names_mapping){start, limit, offset, module};
}

bool names_add_process(struct names *n, int pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = n ? fopen(path, "re") : NULL;
    if (!maps) return false;
    n->pid = pid;
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, maps)) > 0) {
        uint64_t start, limit, offset;
        int at = 0;
        if (line[length - 1] == '\n') line[length - 1] = 0;
        int found = sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %n", &start,
                           &limit, &offset, &at);
        if (found == 3 && at > 0) names_add_mapping(n, start, limit, offset, line + at, NULL);
    }
    free(line);
    return fclose(maps) == 0 && n->mappings_count > 0;
}

/* The mapping that holds the address; else the last one before it, which may go on as memory that
 * is no part of the file (.bss). Null: none. */
static const struct names_mapping *names_mapping_of(const struct names *n, uint64_t address) {
    const struct names_mapping *before = NULL;
    for (size_t i = n->mappings_count; i > 0; i--) {
        const struct names_mapping *mapping = &n->mappings[i - 1];
        if (address < mapping->start) continue;
        if (address < mapping->limit) return mapping;
        if (!before || mapping->limit > before->limit) before = mapping;
    }
    return before;
}

/* The address as linked: by the segment that holds the same byte of the file, or would. */
static bool module_address(const struct names_module *m, uint64_t offset, uint64_t *linked) {
    GElf_Addr bias;
    Elf *elf = dwfl_module_getelf(m->module, &bias);
    size_t count;
    if (!elf || elf_getphdrnum(elf, &count) != 0) return false;
    for (size_t i = 0; i < 2 * count; i++) {
        GElf_Phdr segment;
        if (!gelf_getphdr(elf, (int)(i % count), &segment) || segment.p_type != PT_LOAD ||
            offset < segment.p_offset ||
            offset - segment.p_offset >= (i < count ? segment.p_filesz : segment.p_memsz))
            continue;
        *linked = offset - segment.p_offset + segment.p_vaddr + bias;
        return true;
    }
    return false;
}

/* --- Functions ------------------------------------------------------------------------------ */

/* The functions of a unit, those within namespaces and classes too. */
static void unit_list(struct names_unit *unit, Dwarf_Die *parent, unsigned depth) {
    Dwarf_Die die;
    if (depth == NAMES_NEST || dwarf_child(parent, &die) != 0) return;
    do {
        switch (dwarf_tag(&die)) {
        case DW_TAG_subprogram:
            ranges_add(&unit->functions, &die, 0);
            break;
        case DW_TAG_namespace:
        case DW_TAG_module:
        case DW_TAG_class_type:
        case DW_TAG_structure_type:
            unit_list(unit, &die, depth + 1);
            break;
        default:
            break;
        }
    } while (dwarf_siblingof(&die, &die) == 0);
}

/* The function at an address and what is inlined in it there: chain[0] is the function, each next
 * one is inlined in the one before it. */
struct chain {
    Dwarf_Die at[NAMES_FRAMES];
    size_t count;
};

/* Adds what of parent's children holds the address. Blocks may hold inlined functions. */
static void chain_descend(struct chain *chain, Dwarf_Die *parent, uint64_t address,
                          unsigned depth) {
    Dwarf_Die die;
    if (depth == NAMES_FRAMES || dwarf_child(parent, &die) != 0) return;
    do {
        int tag = dwarf_tag(&die);
        bool is_block = tag == DW_TAG_lexical_block, is_function = tag == DW_TAG_subprogram;
        if (!is_block && !is_function && tag != DW_TAG_inlined_subroutine) continue;
        bool bare =
            is_block && !dwarf_hasattr(&die, DW_AT_low_pc) && !dwarf_hasattr(&die, DW_AT_ranges);
        if (!bare && dwarf_haspc(&die, address) <= 0) continue;
        size_t before = chain->count;
        if (is_function) chain->count = 0;
        if (!is_block && chain->count < NAMES_FRAMES) chain->at[chain->count++] = die;
        chain_descend(chain, &die, address, depth + 1);
        if (!bare || chain->count != before) return;
    } while (dwarf_siblingof(&die, &die) == 0);
}

static bool chain_find(struct chain *chain, struct names_unit *unit, uint64_t address) {
    if (!unit->listed) {
        unit->listed = true;
        unit_list(unit, &unit->die, 0);
        ranges_sort(&unit->functions);
    }
    struct names_range *function = ranges_find(&unit->functions, address);
    chain->count = 0;
    if (!function) return false;
    chain->at[chain->count++] = function->die;
    chain_descend(chain, &function->die, address, 0);
    return true;
}

static int64_t die_number(Dwarf_Die *die, unsigned name, bool through) {
    Dwarf_Attribute attribute;
    Dwarf_Word value;
    Dwarf_Attribute *found =
        through ? dwarf_attr_integrate(die, name, &attribute) : dwarf_attr(die, name, &attribute);
    return found && dwarf_formudata(found, &value) == 0 ? (int64_t)value : 0;
}

static const char *die_symbol(Dwarf_Die *die, const char *otherwise) {
    Dwarf_Attribute attribute;
    Dwarf_Attribute *found = dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute);
    const char *symbol = found ? dwarf_formstring(found) : NULL;
    return symbol ? symbol : otherwise;
}

static const char *unit_file(struct names_unit *unit, int64_t number) {
    Dwarf_Files *files;
    size_t count;
    if (dwarf_getsrcfiles(&unit->lines_die, &files, &count) != 0 || number < 0) return NULL;
    return (size_t)number < count ? dwarf_filesrc(files, (size_t)number, NULL, NULL) : NULL;
}

/* The file and line that the unit's table has for an address. */
static void unit_line(struct names_unit *unit, uint64_t address, struct names_frame *frame) {
    Dwarf_Line *line = dwarf_getsrc_die(&unit->lines_die, address);
    int number = 0;
    const char *file = line ? dwarf_linesrc(line, NULL, NULL) : NULL;
    if (!file || dwarf_lineno(line, &number) != 0) return;
    frame->file = file;
    frame->line = number;
}

/* The last of the chain is where the address is; of each other one, it is where the next is called.
 */
static size_t frames_of_chain(struct chain *chain, struct names_unit *unit, uint64_t address,
                              struct names_frame *frames, size_t room) {
    size_t count = 0;
    for (size_t i = chain->count; i > 0 && count < room; i--) {
        Dwarf_Die *die = &chain->at[i - 1];
        const char *name = dwarf_diename(die);
        struct names_frame frame = {.function = name ? name : "", .file = ""};
        frame.symbol = die_symbol(die, frame.function);
        if (!*frame.function) frame.function = frame.symbol;
        frame.function_line = die_number(die, DW_AT_decl_line, true);
        if (i == chain->count) {
            unit_line(unit, address, &frame);
        } else {
            const char *file = unit_file(unit, die_number(&chain->at[i], DW_AT_call_file, false));
            frame.file = file ? file : "";
            frame.line = die_number(&chain->at[i], DW_AT_call_line, false);
        }
        frames[count++] = frame;
    }
    return count;
}

/* --- Symbols -------------------------------------------------------------------------------- */

static const char *symbol_text(struct names *n, const char *text, size_t size) {
    uint32_t number = intern_add(&n->texts, text, size, NULL);
    return n->texts.keys[number].bytes;
}

/* Without what gcc appends to its own copies of a function. */
static const char *symbol_plain(struct names *n, const char *symbol) {
    static const char *const endings[] = {".part.", ".constprop.", ".isra.",
                                          ".cold",  ".lto_priv.",  ".localalias"};
    size_t length = strlen(symbol);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const char *at = strstr(symbol, endings[i]);
        if (at && at > symbol && (size_t)(at - symbol) < length) length = (size_t)(at - symbol);
    }
    if (!symbol[length]) return symbol;
    return symbol_text(n, symbol, length);
}

/* "variable+16" */
static const char *symbol_within(struct names *n, const char *symbol, uint64_t offset) {
    char text[512];
    int size = snprintf(text, sizeof text, "%.480s+%" PRIu64, symbol, offset);
    return symbol_text(n, text, (size_t)size);
}

/* A symbol of known size that holds the address; else one of none that begins shortly before. */
static size_t frames_of_symbol(struct names *n, struct names_module *m, uint64_t linked,
                               struct names_frame *frame) {
    GElf_Off offset;
    GElf_Sym symbol;
    const char *name = dwfl_module_addrinfo(m->module, linked, &offset, &symbol, NULL, NULL, NULL);
    if (!name || !*name || offset >= (symbol.st_size ? symbol.st_size : NAMES_STRAY_BYTES))
        return 0;
    *frame = (struct names_frame){symbol_plain(n, name), name, "", 0, 0};
    if (GELF_ST_TYPE(symbol.st_info) == STT_OBJECT && offset > 0)
        frame->function = symbol_within(n, name, offset);
    return 1;
}

/* --- Addresses ------------------------------------------------------------------------------ */

/* The module that an address lies in, loaded, and the address as linked. Null: none. */
static struct names_module *names_locate(struct names *n, uint64_t address, uint64_t *linked) {
    const struct names_mapping *mapping = n ? names_mapping_of(n, address) : NULL;
    if (!mapping) return NULL;
    struct names_module *m = &n->modules[mapping->module];
    if (!m->tried) module_load(n, m);
    uint64_t offset = address - mapping->start + mapping->offset;
    return m->dwfl && module_address(m, offset, linked) ? m : NULL;
}

size_t names_find(struct names *n, uint64_t address, struct names_frame *frames, size_t room) {
    uint64_t linked;
    struct names_module *m = names_locate(n, address, &linked);
    if (!m || room == 0) return 0;
    struct names_range *range = ranges_find(&m->unit_ranges, linked - m->bias);
    if (!range) return frames_of_symbol(n, m, linked, frames);
    struct names_unit *unit = &m->units[range->unit];
    struct chain chain;
    if (chain_find(&chain, unit, linked - m->bias))
        return frames_of_chain(&chain, unit, linked - m->bias, frames, room);
    size_t count = frames_of_symbol(n, m, linked, frames);
    if (count > 0) unit_line(unit, linked - m->bias, frames);
    return count;
}

const char *names_file(struct names *n, uint64_t address, uint64_t *within) {
    const struct names_mapping *mapping = n ? names_mapping_of(n, address) : NULL;
    if (!mapping) return NULL;
    if (names_locate(n, address, within)) return n->modules[mapping->module].path;
    *within = address - mapping->start + mapping->offset;
    return address < mapping->limit ? n->modules[mapping->module].path : NULL;
}

#else

struct names *names_begin(void) {
    return NULL;
}

void names_end(struct names *n) {
    (void)n;
}

bool names_add_process(struct names *n, int pid) {
    (void)n, (void)pid;
    return false;
}

void names_add_mapping(struct names *n, uint64_t start, uint64_t limit, uint64_t offset,
                       const char *file, const char *build_id) {
    (void)n, (void)start, (void)limit, (void)offset, (void)file, (void)build_id;
}

size_t names_find(struct names *n, uint64_t address, struct names_frame *frames, size_t room) {
    (void)n, (void)address, (void)frames, (void)room;
    return 0;
}

const char *names_file(struct names *n, uint64_t address, uint64_t *within) {
    (void)n, (void)address, (void)within;
    return NULL;
}

#endif
