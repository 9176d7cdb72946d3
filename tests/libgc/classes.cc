// classes.cc - objects by new, with destructors, and in the containers of C++.
extern "C" {
#include "case.h"
}

#include <gc_cpp.h>
#include <gc/gc_allocator.h>
#include <list>
#include <map>
#include <string>
#include <vector>

enum { COUNT = 100 };

static size_t destroyed, wrong;

static void settle() {
    collect();
    collect();
    GC_invoke_finalizers();
}

struct node : public gc {
    node *next;
    size_t number;
    explicit node(size_t n) : next(0), number(n) {
    }
};

static node *node_list(size_t count) {
    node *first = 0;
    for (size_t i = 0; i < count; i++) {
        node *n = new node(i);
        n->next = first;
        first = n;
    }
    return first;
}

CASE(collected) {
    node *list = node_list(50000);
    for (int i = 0; i < 10; i++) GC_reachable_here(node_list(50000));
    collect();
    size_t count = 0;
    for (node *n = list; n; n = n->next) count += n->number == 49999 - count;
    say("%zu", count);
    node *dead = new node(1);
    delete dead;
    node *array = new (GC) node(5);
    say("%zu, it is an object: %s", array->number, yes(GC_base(array) == array));
}

struct file : public gc_cleanup {
    size_t number;
    file *other;
    explicit file(size_t n) : number(n), other(0) {
    }
    ~file() {
        destroyed++;
        wrong += number >= COUNT;
    }
};

static NOINLINE void make_files() {
    for (size_t i = 0; i < COUNT; i++) {
        file *f = new file(i);
        f->other = f;
    }
}

CASE(destroyed_when_dead) {
    make_files();
    settle();
    say("%s, %zu wrong", part(destroyed, COUNT), wrong);
}

CASE(destroyed_once) {
    for (size_t i = 0; i < COUNT; i++) delete new file(i);
    settle();
    say("%zu", destroyed);
}

struct base {
    size_t something;
    virtual ~base() {
    }
};

struct both : public base, public file {
    explicit both(size_t n) : file(n) {
    }
};

static NOINLINE void make_both() {
    for (size_t i = 0; i < COUNT; i++) GC_reachable_here(new both(i));
}

CASE(destroyed_as_a_part) {
    make_both();
    settle();
    say("%s, %zu wrong", part(destroyed, COUNT), wrong);
}

extern "C" {
static void clean(void *object, void *data) {
    destroyed++;
    wrong += *static_cast<size_t *>(object) != 7 || data != &destroyed;
}
}

static NOINLINE void make_cleaned() {
    for (int i = 0; i < COUNT; i++) {
        size_t *numbers = new (GC, clean, &destroyed) size_t[10];
        numbers[0] = 7;
    }
}

CASE(function_when_dead) {
    make_cleaned();
    settle();
    say("%s, %zu wrong", part(destroyed, COUNT), wrong);
}

static GC_hidden_pointer hidden[COUNT];

static NOINLINE void make_kept() {
    for (size_t i = 0; i < COUNT; i++) hidden[i] = GC_HIDE_POINTER(new (NoGC) node(i));
}

CASE(kept_until_delete) {
    make_kept();
    collect_all();
    size_t bad = 0;
    for (size_t i = 0; i < COUNT; i++) {
        node *n = static_cast<node *>(GC_REVEAL_POINTER(hidden[i]));
        bad += n->number != i;
        delete n;
    }
    say("%zu lost", bad);
    int *atomic = new (PointerFreeGC) int[10];
    GC_reachable_here(atomic);
}

struct thrower : public gc {
    thrower() {
        throw 5;
    }
};

CASE(constructor_throws) {
    int caught = 0;
    for (int i = 0; i < 10; i++) {
        try {
            GC_reachable_here(new thrower);
        } catch (int value) {
            caught += value;
        }
    }
    say("%d", caught);
}

CASE(out_of_memory) {
    GC_set_warn_proc(GC_ignore_warn_proc);
    volatile size_t much = (size_t)1 << 45;
    try {
        say("%s", new (GC) size_t[much] ? "an object" : "null");
    } catch (const std::bad_alloc &) {
        say("bad_alloc");
    }
}

typedef std::vector<node *, gc_allocator<node *>> nodes;

CASE(containers) {
    std::vector<nodes, gc_allocator<nodes>> table(100);
    for (size_t i = 0; i < 20000; i++) table[i % 100].push_back(new node(i));
    for (int i = 0; i < 10; i++) GC_reachable_here(node_list(20000));
    collect();
    size_t bad = 0;
    for (size_t i = 0; i < 20000; i++) bad += table[i % 100][i / 100]->number != i;
    say("vector: %zu lost", bad);

    typedef std::map<size_t, node *, std::less<size_t>,
                     traceable_allocator<std::pair<const size_t, node *>>>
        node_map;
    node_map map;
    for (size_t i = 0; i < 5000; i++) map[i] = new node(i);
    for (int i = 0; i < 10; i++) GC_reachable_here(node_list(20000));
    collect();
    bad = 0;
    for (size_t i = 0; i < 5000; i++) bad += map[i]->number != i;
    say("map: %zu lost", bad);

    std::list<int, gc_allocator_ignore_off_page<int>> list(1000, 3);
    std::basic_string<char, std::char_traits<char>, gc_allocator<char>> text(10000, 'x');
    collect();
    size_t sum = 0;
    for (std::list<int, gc_allocator_ignore_off_page<int>>::iterator i = list.begin();
         i != list.end(); ++i)
        sum += (size_t)*i;
    say("list: %zu, text: %zu, equal: %s", sum, text.find_last_of('x'),
        yes(gc_allocator<int>() == gc_allocator<char>()));
}
