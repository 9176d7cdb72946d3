#!/usr/bin/env bash
# Profiles as other programs see them: names of optimised code, go tool pprof, npm's pprof-format,
# ebb profile and ebb diff, the manual pages. Ends with "N passed, N failed".
#
#   tests/observe/pprof.sh        after scripts/build release; EBB_BUILD names another build
# shellcheck disable=SC2317 # functions are called by name
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/counting.bash

build=$(realpath "${EBB_BUILD:-build/release}")
ebb=$build/ebb
here=$PWD/tests/observe
export PPROF_TMPDIR=$scratch PPROF_BINARY_PATH=$scratch/nowhere
unset EBB_DEBUG EBB_GC EBB_PROFILE

have() {
    command -v "$1" >/dev/null
}

# says FILE PATTERN…: every pattern is in the file; shows it when one is not.
says() {
    local file=$1 pattern
    shift
    for pattern in "$@"; do
        grep -qE -- "$pattern" "$file" && continue
        echo "nothing like $pattern in:"
        cat "$file"
        return 1
    done
}

# --- Names of code ---

inlined=('names_inner names\.c:[0-9]+ <- names_middle names\.c:[0-9]+ <- names_outer names\.c:[0-9]+$'
    'names_seldom names\.c:[0-9]+$'
    'library_inner names_library\.c:[0-9]+ <- library_outer names_library\.c:[0-9]+$')

# In a directory of its own: names and names.so by this compiler and these flags.
names_build() {
    mkdir -p "$scratch/names" && cd "$scratch/names" || return
    "$1" -O2 -fPIC -shared "${@:2}" "$here/names_library.c" -o names.so &&
        "$1" -O2 "${@:2}" "$here/names.c" -o names -ldl
}

names_run() {
    cd "$scratch/names" && ./names ./names.so "$ebb" >said && says said "$@"
}

names_compiled() {
    names_build "$@" && names_run "${inlined[@]}"
}

names_fixed_place() {
    names_build "$1" -g && "$1" -O2 -g -no-pie "$here/names.c" -o names -ldl && names_run "${inlined[@]}"
}

names_symbols_only() {
    names_build "$1" -g && strip -g names names.so &&
        names_run ' names_outer$' ' names_seldom$' ' library_outer$'
}

names_stripped() {
    names_build "$1" -g && strip names names.so &&
        names_run ' names\+0x[0-9a-f]+$' ' library_outer$'
}

names_apart() {
    names_build "$1" -g && objcopy --only-keep-debug names names.debug && strip names &&
        objcopy --add-gnu-debuglink=names.debug names && names_run "${inlined[0]}"
}

names_replaced() {
    names_build "$1" -g && cp names kept && sed 's/\bpopen\b/(unlink(argv[0]), popen)/' \
        "$here/names.c" >unlinked.c && "$1" -O2 -g unlinked.c -o names -ldl &&
        names_run 'names_inner unlinked\.c:[0-9]+ <- .*names_outer'
}

names() {
    local compiler flags
    for compiler in gcc clang-14; do
        have $compiler || { skip "names by $compiler" "it is not installed"; continue; }
        for flags in "-g" "-g -gdwarf-4" "-g -gsplit-dwarf" "-g -gz" "-g -flto" "-g1 -O3"; do
            # shellcheck disable=SC2086
            count "names by $compiler $flags" names_compiled $compiler $flags
        done
        count "names by $compiler, fixed addresses" names_fixed_place $compiler
        count "names by $compiler, symbols only" names_symbols_only $compiler
        count "names by $compiler, stripped" names_stripped $compiler
        count "names by $compiler, debug information apart" names_apart $compiler
        count "names by $compiler, program replaced" names_replaced $compiler
    done
}

# --- The pipe ---

# Whatever is no profile comes out as it went in, with a line about it, and status 0.
pipe_unchanged() {
    "$ebb" symbolize <"$1" >"$scratch/out" 2>"$scratch/why" && cmp "$1" "$scratch/out" &&
        says "$scratch/why" "$2"
}

pipe() {
    : >"$scratch/empty"
    head -c 100000 /dev/urandom >"$scratch/noise"
    printf '\037\213\010' >"$scratch/cut.gz"
    count "symbolize: nothing" pipe_unchanged "$scratch/empty" 'an empty file'
    count "symbolize: noise" pipe_unchanged "$scratch/noise" 'goes through as it is'
    count "symbolize: a cut file" pipe_unchanged "$scratch/cut.gz" 'end too early'
    count "symbolize: text" pipe_unchanged "$here/heap.go" 'at byte'
}

# --- Go's profiles ---

go_build() {
    (cd "$scratch" && GO111MODULE=off GOFLAGS='' GOTOOLCHAIN=local go build -o goheap "$here/heap.go" &&
        ./goheap go-before go-after)
}

go_listed() {
    "$ebb" profile "$scratch/go-after" >"$scratch/out" && says "$scratch/out" 'every object is sampled' \
        ' 99\.[0-9]% .* main\.grow heap\.go$' 'main\.main heap\.go'
}

go_compared() {
    "$ebb" diff "$scratch/go-before" "$scratch/go-after" >"$scratch/out" &&
        says "$scratch/out" '\+32[0-9]{5} .*\+10[01]  main\.grow heap\.go:[0-9]+' '<- main\.main heap\.go:'
}

go_symbolized() {
    "$ebb" symbolize <"$scratch/go-after" >"$scratch/again" &&
        go tool pprof -top -sample_index=inuse_objects "$scratch/again" >"$scratch/out" &&
        go tool pprof -top -sample_index=inuse_objects "$scratch/go-after" >"$scratch/expected" &&
        diff "$scratch/expected" "$scratch/out"
}

go_profiles() {
    have go || { skip "Go's profiles" "go is not installed"; return; }
    count "Go's profiles are made" go_build
    count "ebb profile of Go's" go_listed
    count "ebb diff of Go's" go_compared
    count "ebb symbolize leaves Go's as it was" go_symbolized
}

# --- Manual pages ---

manual_checked() {
    local page
    for page in "$build"/man/*.1; do
        if have mandoc; then
            mandoc -Tlint -W warning "$page" || return
        else
            man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null | grep . && return 1
        fi
    done
    [ -e "$page" ] && [ "$(find "$build/man" -name '*.1' | wc -l)" -ge 5 ]
}

manual() {
    if have mandoc || have man; then
        count "manual pages" manual_checked
    else
        skip "manual pages" "neither mandoc nor man is installed"
    fi
}

if ! "$ebb" symbolize --addresses --pid $$ </dev/null 2>&1 | grep -q 'built without'; then
    names
    pipe
    go_profiles
else
    skip "names" "built without libdw"
fi
manual
count_end
