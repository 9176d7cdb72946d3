#!/usr/bin/env bash
# The library's static probes: each is there once, and counts when a tracer looks. Run by
# scripts/check after scripts/build release; EBB_BUILD names another build.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/counting.bash

build=${EBB_BUILD:-build/release}
probes=(cycle_start cycle_end stop_begin stop_end alloc_sample pages_returned)
program=$scratch/traced

# The names of Ebb's probes in a file, one a line.
probes_of() {
    readelf -n "$1" | awk '$1 == "Provider:" { ours = $2 == "ebb" } ours && $1 == "Name:" { print $2 }'
}

once() {
    local times
    times=$(probes_of "$1" | grep -cx "$2")
    [ "$times" -eq 1 ] || { echo "$2 is there $times times"; return 1; }
}

nothing_else() {
    local names
    names=$(probes_of "$1" | grep -vxF "$(printf '%s\n' "${probes[@]}")")
    [ -z "$names" ] || { echo "besides: $names"; return 1; }
}

libc_alone() {
    local others
    others=$(readelf -d "$1" | sed -nE 's/.*NEEDED.*\[(.*)\]/\1/p' |
        grep -vE '^(libc|libpthread|libdl|ld-linux[^.]*)\.so')
    [ -z "$others" ] || { echo "needs $others"; return 1; }
}

traced_make() {
    cc -std=gnu11 -O1 -g -Wall -Wextra -Iinclude tests/observe/served.c "$build/libebb.a" \
        -pthread -lm -ldl -o "$program"
}

# traced SCRIPT: what bpftrace prints of the program's next four seconds.
traced() {
    timeout 60 bpftrace -e "$1 interval:s:4 { exit(); }" 2>&1
}

# A hit of each probe, with what stands in its arguments.
counts() {
    local name=$1 key=$2 want=$3 got
    traced "usdt:$program:ebb:$name { @[$key] = count(); }" >"$scratch/$name.text"
    got=$(grep -cE "^@\[$want\]: [0-9]+$" "$scratch/$name.text")
    [ "$got" -ge 1 ] || { cat "$scratch/$name.text"; return 1; }
}

if [ -z "$(probes_of "$build/libebb.so")" ]; then
    skip "probes" "built without them (EBB_USDT)"
    count "no other library" libc_alone "$build/libebb.so"
    count_end
    exit
fi

for probe in "${probes[@]}"; do
    count "$probe once in libebb.so" once "$build/libebb.so" "$probe"
done
count "nothing else in libebb.so" nothing_else "$build/libebb.so"
count "no other library" libc_alone "$build/libebb.so"

count "program" traced_make
if ! command -v bpftrace >/dev/null; then
    skip "counting" "no bpftrace here"
elif ! bpftrace -e 'BEGIN { exit(); }' >/dev/null 2>&1; then
    skip "counting" "bpftrace may not run here"
else
    # shellcheck disable=SC2034 # its number is used
    coproc looked { exec "$program"; }
    count "cycle_start counts" counts cycle_start 'str(arg1), arg2' '(forced|growth), [01]'
    count "cycle_end counts" counts cycle_end 'arg0 > 0, arg1 <= arg2, arg3 > 0' '1, 1, 1'
    count "stop_begin counts" counts stop_begin 1 1
    count "stop_end counts" counts stop_end 'arg0 > 0' 1
    count "alloc_sample counts" counts alloc_sample 'arg0 > 0, arg1 > 0' '1, 1'
    count "pages_returned counts" counts pages_returned 'arg0 % 4096' 0
    # shellcheck disable=SC2154 # coproc has set it
    kill "$looked_PID"
fi
count_end
