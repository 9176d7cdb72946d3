#!/usr/bin/env bash
# Profiles as other programs see them: names of optimised code, go tool pprof, npm's pprof-format,
# ebb profile and ebb diff, the manual pages. Ends with "N passed, N failed".
#
#   tests/observe/pprof.sh        after scripts/build release; EBB_BUILD names another build
# shellcheck disable=SC2317 # functions are called by name
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/counting.bash
source tests/observe/saying.bash

build=$(realpath "${EBB_BUILD:-build/release}")
ebb=$build/ebb
root=$PWD
here=$root/tests/observe
profiled=$scratch
export PPROF_TMPDIR=$scratch PPROF_BINARY_PATH=$scratch/nowhere
unset EBB_DEBUG EBB_GC EBB_PROFILE

have() {
    command -v "$1" >/dev/null
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
        says "$scratch/out" '\+32[0-9]{5} .*\+10[0-9]  main\.grow heap\.go:[0-9]+' '<- main\.main heap\.go:'
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

# --- Our own profiles ---

# The number of a place in what profiled.c printed: exact PLACE objects|bytes.
exact() {
    awk -v place="$1" -v column="$2" '$1 == place { sum = column == "objects" ? $2 : $3 }
        END { print sum + 0 }' "$profiled/said" || echo 0
}

profiled_build() {
    profiled=$scratch/profiled_$1
    mkdir -p "$profiled" && "$1" -O2 -g -I"$root/include" "$here/profiled.c" "$build/libebb.a" \
        -pthread -ldl -lm -o "$profiled/profiled"
}

profiled_run() {
    (cd "$profiled" && EBB_PROFILE="$1,tool=$ebb,exit=$profiled/exit.gz" ./profiled "$profiled/before.gz" \
        "$profiled/after.gz" "${2:-1}" >said) && ls "$profiled"/{before,after,exit}.gz
}

# What `go tool pprof -top` says of a function: top INDEX FUNCTION FILE, in bytes or objects.
go_cum() {
    go tool pprof -top -cum -unit=B -nodecount=0 -nodefraction=0 -sample_index="$1" "${@:3}" 2>"$scratch/err" |
        awk -v name="$2" '$6 == name { sub(/B$/, "", $4); print $4 }'
}

go_total() {
    go tool pprof -top -unit=B -sample_index="$1" "${@:2}" 2>"$scratch/err" |
        sed -nE 's/.*of ([0-9]+)B? total.*/\1/p'
}

same() {
    [ "$2" = "$3" ] || { echo "$1: $2, but should be $3"; return 1; }
}

# At rate 1 every place has exactly what the program counted, and so has the sum.
go_exact() {
    local place file=$profiled/$1 bad=0 objects=0 bytes=0
    for place in cache_fill late_fill index_build; do
        same "$place objects" "$(go_cum inuse_objects $place "$file")" "$(exact $place objects)" || bad=1
        same "$place bytes" "$(go_cum inuse_space $place "$file")" "$(exact $place bytes)" || bad=1
        objects=$((objects + $(exact $place objects)))
        bytes=$((bytes + $(exact $place bytes)))
    done
    same scratch "$(go_cum alloc_objects scratch_use "$file")" "$(exact scratch_use objects)" || bad=1
    same "objects in all" "$(go_total inuse_objects "$file")" $objects || bad=1
    same "bytes in all" "$(go_total inuse_space "$file")" $bytes || bad=1
    return $bad
}

go_inlined() {
    go tool pprof -top -nodecount=0 -nodefraction=0 "$profiled/exit.gz" >"$scratch/out" &&
        says "$scratch/out" 'node_make \(inline\)$' 'cache_add \(inline\)$' ' cache_fill$' ' main$'
}

go_traces() {
    go tool pprof -traces "$profiled/exit.gz" | tr -s ' \n' '  ' >"$scratch/out" &&
        says "$scratch/out" 'node_make \(inline\) cache_add \(inline\) late_fill main ' ' index_build main '
}

go_base() {
    same late_fill "$(go_cum inuse_space late_fill -base "$profiled/before.gz" "$profiled/after.gz")" \
        "$(exact late_fill bytes)" &&
        same cache_fill "$(go_cum inuse_space cache_fill -base "$profiled/before.gz" "$profiled/after.gz")" ""
}

go_drawn() {
    go tool pprof -dot "$profiled/exit.gz" >"$scratch/out" && says "$scratch/out" 'index_build' '\(inline\)'
}

go_svg() {
    go tool pprof -svg "$profiled/exit.gz" >"$scratch/out" && says "$scratch/out" '<svg' 'index_build'
}

# The tool's own lists agree, and so does what grew.
ebb_exact() {
    "$ebb" profile -n 0 "$profiled/after.gz" >"$scratch/out" && "$ebb" diff "$profiled/before.gz" \
        "$profiled/after.gz" >"$scratch/diff" &&
        says "$scratch/out" 'every object is sampled' "^ *$(exact index_build bytes) .* index_build profiled\\.c$" &&
        says "$scratch/diff" "^ *\\+$(exact late_fill bytes) .* \\+$(exact late_fill objects) +node_make profiled\\.c:" \
            '<- cache_add profiled\.c:[0-9]+' '<- late_fill profiled\.c:[0-9]+' '<- main profiled\.c:[0-9]+' &&
        [ "$(grep -c 'profiled.c' "$scratch/diff")" -eq 4 ]
}

# within A B ERROR: A and B differ by less than six errors.
#
# n samples of what is far smaller than the rate R stand for n R bytes, with an error of R sqrt(n). If
# m are expected, n is Poisson's, and six errors are passed where |n - m| > 6 sqrt(n): below
# (sqrt(m + 9) - 3)^2, or above (sqrt(m + 9) + 3)^2. The error is an estimate too, and small where n is,
# so the lower end decides, and a few samples never suffice: of m = 4 none comes once in 70 times.
# late_fill(2400000) allocates 134.4 MB in objects of 56 bytes, so m = 256, and fewer than 177 or more
# than 372 come once in 15 million times; with the rest of the profile m is larger. That is asked
# twice for each of two compilers: once in 4 million runs it fails by chance.
within() {
    awk -v a="$1" -v b="$2" -v error="$3" \
        'BEGIN { d = a - b; if (d < 0) d = -d; exit !(error > 0 && d <= 6 * error) }' ||
        { echo "$1 +- $3, but should be $2"; return 1; }
}

# member FILE NAME: the number of that name in a line of JSON.
member() {
    sed -nE "s/.*\"$2\": (-?[0-9]+).*/\1/p" "$1" | head -1
}

# A sample: the sum and what grew are within the errors that are stated, and go has the same sum.
ebb_sampled() {
    local total
    total=$(($(exact cache_fill bytes) + $(exact late_fill bytes) + $(exact index_build bytes)))
    "$ebb" profile --json "$profiled/after.gz" >"$scratch/all.json" &&
        grep '"total"' "$scratch/all.json" | sed 's/"functions".*//' >"$scratch/total.json" &&
        "$ebb" diff --json "$profiled/before.gz" "$profiled/after.gz" | grep '"late_fill"' >"$scratch/late.json" &&
        same period "$(member "$scratch/total.json" period)" 524288 &&
        same "lines of late_fill" "$(wc -l <"$scratch/late.json")" 1 &&
        within "$(member "$scratch/total.json" bytes)" $total "$(member "$scratch/total.json" bytes_error)" &&
        within "$(member "$scratch/late.json" growth)" "$(exact late_fill bytes)" "$(member "$scratch/late.json" error)" &&
        same "go's sum" "$(go_total inuse_space "$profiled/after.gz")" "$(member "$scratch/total.json" bytes)"
}

# Without the tool the profile has addresses; the tool names them later, when the process is gone.
raw_is_valid() {
    (cd "$profiled" && PATH=$scratch/nowhere EBB_PROFILE="rate=1,tool=/nowhere/ebb,exit=$profiled/raw.pb" ./profiled >said 2>why) &&
        says "$profiled/why" '^ebb: profiles have no names: there is no ebb command at EBB_PROFILE=tool=/nowhere/ebb$' &&
        go tool pprof -symbolize=none -raw "$profiled/raw.pb" >"$scratch/out" && says "$scratch/out" '/profiled_' &&
        ! grep -q cache_fill "$scratch/out"
}

raw_gets_names() {
    "$ebb" symbolize <"$profiled/raw.pb" >"$profiled/named.gz" && go_exact named.gz
}

# --- A tree that was moved ---

# Library, command and program where nobody configured them to be.
moved_make() {
    moved=$scratch/moved
    mkdir -p "$moved"/{lib,bin,made} && cp -P "$build"/libebb.so* "$moved/lib" && cp "$ebb" "$moved/bin" &&
        chmod 755 "$moved/bin" "$moved/bin/ebb" &&
        cc -O2 -g -I"$root/include" "$here/profiled.c" -L"$moved/lib" -lebb -lm \
            -Wl,-rpath,"$moved/lib" -o "$moved/profiled"
}

moved_run() {
    (cd "$moved" && PATH=$scratch/nowhere EBB_PROFILE="rate=1,exit=made/$1.gz" ./profiled >"made/$1.out" 2>"made/$1.err")
}

moved_has_names() {
    moved_run there && "$ebb" profile -n 0 "$moved/made/there.gz" >"$scratch/out" &&
        says "$scratch/out" ' index_build profiled\.c$' && [ ! -s "$moved/made/there.err" ]
}

# What others could have put there is not run, and what is not there is said, once.
moved_is_missing() {
    chmod g+w "$moved/bin/ebb" && moved_run open && chmod g-w "$moved/bin/ebb" &&
        chmod o+w "$moved/bin" && moved_run around && rm "$moved/bin/ebb" && moved_run gone || return
    local which
    for which in open around gone; do
        says "$moved/made/$which.err" '^ebb: profiles have no names: there is no ebb command .*beside the library' &&
            [ "$(wc -l <"$moved/made/$which.err")" -eq 1 ] &&
            "$ebb" symbolize <"$moved/made/$which.gz" >"$scratch/named.gz" &&
            "$ebb" profile -n 0 "$scratch/named.gz" >"$scratch/out" &&
            says "$scratch/out" ' index_build profiled\.c$' || return
    done
}

moved_trees() {
    if [ -e "$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")/bin/ebb" ]; then
        skip "names in a tree that was moved" "an ebb command is installed"
    else
        count "a tree that is moved" moved_make
        count "names in a tree that was moved" moved_has_names
        count "no command in a tree that was moved" moved_is_missing
    fi
}

npm_install() {
    mkdir -p "$scratch/npm" && cp "$here"/pprof-format/* "$scratch/npm" && cd "$scratch/npm" &&
        npm ci --ignore-scripts --no-audit --no-fund
}

npm_reads() {
    node "$scratch/npm/read.mjs" "$profiled/exit.gz" >"$scratch/out" &&
        says "$scratch/out" 'node_make <- cache_add <- late_fill$' '^period 1 space/bytes$' \
            "^inuse_objects/count $(go_total inuse_objects "$profiled/exit.gz")$" \
            "^inuse_space/bytes $(go_total inuse_space "$profiled/exit.gz")$" '^alloc_objects/count [0-9]+$'
}

npm_profiles() {
    if ! have npm; then
        skip "npm's pprof-format" "npm is not installed"
    elif ! (npm_install) >"$log" 2>&1; then
        skip "npm's pprof-format" "npm could not fetch it: $(grep -m1 -i error "$log")"
    else
        count "npm's pprof-format" npm_reads
    fi
}

# serve WHERE COMMAND…: the command while the program runs and serves there.
serve() {
    local where=$1 status=0
    shift
    mkfifo "$scratch/hold" || return
    rm -f "$profiled/said"
    (cd "$profiled" && EBB_DEBUG="serve$where" EBB_PROFILE="rate=1,tool=$ebb" \
        LD_LIBRARY_PATH=$build XDG_RUNTIME_DIR=$scratch ./profiled --wait <"$scratch/hold" >said 2>why) &
    local shell=$!
    exec 9<>"$scratch/hold"
    for _ in {1..100}; do
        [ -e "$profiled/said" ] && [ "$(wc -l <"$profiled/said")" -ge 4 ] && break
        sleep 0.1
    done
    "$@" || status=1
    exec 9>&-
    wait $shell || status=1
    rm "$scratch/hold"
    return $status
}

fetched_by_go() {
    go tool pprof -proto -output="$profiled/fetched.gz" "http://127.0.0.1:$1/debug/pprof/heap" && go_exact fetched.gz
}

fetched_by_ebb() {
    local socket
    socket=$(ls "$scratch"/ebb/*.sock) && "$ebb" profile "$socket" -o "$profiled/fetched.gz" &&
        go_exact fetched.gz && "$ebb" diff "$profiled/before.gz" "$socket" >"$scratch/diff" &&
        says "$scratch/diff" "^ *\\+$(exact late_fill bytes) "
}

# A port of 127.0.0.1 that nobody answers at.
port_free() {
    local port
    for _ in {1..50}; do
        port=$((20000 + RANDOM % 10000))
        (exec 8<>/dev/tcp/127.0.0.1/$port) 2>/dev/null || { echo $port; return; }
    done
}

fetch_by_go() {
    local port
    port=$(port_free) && serve "=127.0.0.1:$port" fetched_by_go "$port"
}

own_profiles() {
    local compiler
    have go || { skip "profiles of our own" "go is not installed"; return; }
    for compiler in gcc clang-14; do
        have $compiler || { skip "profiles by $compiler" "it is not installed"; continue; }
        count "program by $compiler" profiled_build $compiler
        count "profiles by $compiler, exact" profiled_run rate=1
        count "go tool pprof -top by $compiler" go_exact after.gz
        count "go tool pprof -top by $compiler, at exit" go_exact exit.gz
        count "go tool pprof names what $compiler inlined" go_inlined
        count "go tool pprof -traces by $compiler" go_traces
        count "go tool pprof -base by $compiler" go_base
        count "ebb profile and ebb diff by $compiler" ebb_exact
        count "names later, by $compiler: addresses" raw_is_valid
        count "names later, by $compiler: names" raw_gets_names
        count "profiles by $compiler, sampled" profiled_run rate=524288 60
        count "estimates by $compiler" ebb_sampled
    done
    count "profiles once more" profiled_run rate=1
    count "go tool pprof -dot" go_drawn
    if have dot; then count "go tool pprof -svg" go_svg; else skip "go tool pprof -svg" "graphviz is not installed"; fi
    count "ebb profile of a running program" serve "" fetched_by_ebb
    if [ -e "$build/libebb-debug.so" ]; then
        count "go tool pprof of a running program" fetch_by_go
    else
        skip "go tool pprof of a running program" "built without libebb-debug"
    fi
    npm_profiles
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
    moved_trees
    go_profiles
    own_profiles
else
    skip "names" "built without libdw"
fi
manual
count_end
