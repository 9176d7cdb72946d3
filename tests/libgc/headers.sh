#!/usr/bin/env bash
# The headers of compat/libgc: each compiles by itself in C and C++, in every variant; and where
# libgc-dev is installed, what its headers declare of the library is declared alike by ours: types
# and values as the compiler has them, whatever the words.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/counting.bash

ours=compat/libgc/include
stock=/usr/include
variants=("" "-DGC_DEBUG" "-DGC_THREADS" "-DGC_DEBUG -DGC_DEBUG_REPLACEMENT -DGC_THREADS"
    "-DGC_THREADS -DGC_NO_THREAD_REDIRECTS -DGC_BUILD" "-DGC_MAXIMUM_HEAP_SIZE=1 -DGC_DONT_GC")

# --- Each by itself ---

# alone HEADER COMPILER…
alone() {
    local header=$1 variant
    shift
    for variant in "${variants[@]}"; do
        # shellcheck disable=SC2086
        printf '#include <%s>\nextern int nothing;\n' "$header" |
            "$@" $variant -Wall -Wextra -Wconversion -Werror -I$ours -fsyntax-only - || return
    done
}

only_cxx() {
    [[ $1 == *gc_cpp.h || $1 == *gc_allocator.h ]]
}

for compiler in gcc clang; do
    command -v $compiler >/dev/null || { skip "headers by $compiler" "not here"; continue; }
    plus=${compiler/gcc/g}++
    for path in $ours/*.h $ours/gc/*.h; do
        header=${path#"$ours"/}
        only_cxx "$header" || for standard in gnu89 gnu17; do
            count "$header, $compiler $standard" alone "$header" $compiler -x c -std=$standard
        done
        for standard in c++98 c++20; do
            count "$header, $compiler $standard" alone "$header" "$plus" -x c++ \
                -std=$standard
        done
    done
done

# --- The list in the README ---

all_listed() {
    sed -n 's/^ *\(GC_[A-Za-z0-9_]*\);$/\1/p' compat/libgc/libgc.map | while read -r name; do
        grep -q "\`$name\`" compat/libgc/README.md || echo "not in the README: $name"
    done | tee "$scratch/unlisted"
    [ ! -s "$scratch/unlisted" ]
}

count "every symbol in the README" all_listed

# --- Beside libgc-dev's ---

if [ ! -e $stock/gc/gc.h ]; then
    skip "headers alike" "no libgc-dev here"
    count_end
    exit
fi

headers="gc.h gc/gc_mark.h gc/gc_typed.h gc/gc_gcj.h gc/gc_disclaim.h gc/gc_inline.h gc/javaxfc.h"
include() {
    # shellcheck disable=SC2086
    printf '#include <%s>\n' $headers
}

# Names of the library that libgc-dev's headers declare.
declared() {
    local library
    library=$(cc -print-file-name=libgc.so)
    nm -D --defined-only "$library" | awk '$3 ~ /^GC_/ { print $3 }' | sort >"$scratch/exported"
    include | cc -E -P -DGC_THREADS -I$stock -x c - | grep -ohwE 'GC_[A-Za-z0-9_]+' | sort -u |
        comm -12 - "$scratch/exported"
}

# Integer constants of libgc-dev's headers, by name.
constants() {
    include | cc -E -dM -DGC_THREADS -I$stock -x c - |
        sed -nE 's/^#define (GC_[A-Z0-9_]+) [-(0-9].*/\1/p' | grep -vE '_TMP_|^GC_INIT_CONF'
    printf '%s\n' GC_EVENT_{START,MARK_START,MARK_END,RECLAIM_START,RECLAIM_END,END} \
        GC_EVENT_{PRE,POST}_{STOP,START}_WORLD GC_EVENT_THREAD_{,UN}SUSPENDED \
        GC_TOGGLE_REF_{DROP,STRONG,WEAK}
}

# A program that prints them as the compiler has them: types without typedefs, values, layouts.
account() {
    include
    cat <<'END'
#include <stdio.h>
template <class type> void show(const char *name) { printf("%s: %s\n", name, __PRETTY_FUNCTION__); }
#define VALUE(name) printf("%s = %ld\n", #name, (long)(name))
#define FIELD(type, field) printf("%s.%s at %zu, of %zu\n", #type, #field, offsetof(type, field), \
                                  sizeof(((type *)0)->field))
int main() {
END
    sed 's/.*/    show<__typeof__(\&&)>("&");/' "$scratch/declared"
    sed 's/.*/    VALUE(&);/' "$scratch/constants"
    sed -nE '/^struct GC_prof_stats_s/,/};/ s/.* ([a-z_0-9]+);.*/\1/p' $stock/gc/gc.h |
        sed 's/.*/    FIELD(GC_prof_stats_s, &);/'
    cat <<'END'
    VALUE(sizeof(GC_prof_stats_s)); VALUE(sizeof(GC_stack_base)); VALUE(sizeof(GC_timeval_s));
    FIELD(GC_timeval_s, tv_ms); FIELD(GC_timeval_s, tv_nsec); FIELD(GC_stack_base, mem_base);
    FIELD(GC_finalizer_closure, proc); FIELD(GC_finalizer_closure, cd);
    VALUE(sizeof(GC_ms_entry)); VALUE(sizeof(GC_EventType)); VALUE(sizeof(GC_ToggleRefStatus));
    show<GC_word>("GC_word"); show<GC_signed_word>("GC_signed_word"); show<GC_descr>("GC_descr");
    show<GC_hidden_pointer>("GC_hidden_pointer"); show<GC_bitmap>("GC_bitmap");
    VALUE(GC_HIDE_POINTER(&main) + (GC_word)&main); VALUE(GC_MAKE_PROC(5, 77ul));
    VALUE(GC_WORDS_TO_GRANULES(7)); VALUE(GC_RAW_BYTES_FROM_INDEX(3)); VALUE(GC_WORDSZ);
}
END
}

# account_by HEADERS NAME
account_by() {
    g++ -w -DGC_THREADS -I"$1" -x c++ "$scratch/account.cc" -o "$scratch/account" &&
        "$scratch/account" >"$scratch/$2"
}

alike() {
    account_by $ours ours && account_by $stock stock && diff "$scratch/stock" "$scratch/ours" &&
        [ "$(wc -l <"$scratch/ours")" -gt 300 ]
}

# What libgc-dev defines and we do not: inner workings of its headers, and of its other systems.
macros_known() {
    local known='^GC_(TMP_.*|.*_H|FAST_M_AO_STORE|PREFETCH_FOR_WRITE|ASSERT)$'
    include | cc -E -dM -DGC_THREADS "-I$1" -x c - |
        sed -nE 's/^#define (GC_[A-Za-z0-9_]+|[A-Z]*HIDE_POINTER|REVEAL_POINTER|pthread_[a-z]+|dlopen).*/\1/p' |
        grep -vE "$known" | sort
}

macros() {
    diff <(macros_known $stock) <(macros_known $ours) | grep '^<' && return 1
    return 0
}

declared >"$scratch/declared"
constants | sort -u >"$scratch/constants"
account >"$scratch/account.cc"
count "$(wc -l <"$scratch/declared") names, $(wc -l <"$scratch/constants") constants alike" alike
count "macros alike" macros
count_end
