#!/usr/bin/env bash
# Planted faults of memory: each question's command names the culprit. docs/testing.md, "Planted
# faults". Run by scripts/check after scripts/build release; EBB_BUILD names another build.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/counting.bash
source tests/observe/planting.bash
source tests/observe/saying.bash

build=${EBB_BUILD:-build/release}
ebb=$build/ebb
runtime=$scratch/runtime
mkdir -p "$runtime"
export XDG_RUNTIME_DIR=$runtime

# The bytes of a class as `ebb rss` prints them.
class_bytes() {
    awk -v class="$2" '$5 == "%" && $6 == class { print $1; exit }' "$1"
}

# The class with most bytes but living objects.
class_worst() {
    awk '$5 == "%" && $6 != "live" && $6 != "rss" && $1 > most { most = $1; name = $6 }
         END { print name }' "$1"
}

adds_up() {
    awk '$5 == "%" && $6 == "rss" { rss = $1; exit }
         $5 == "%" { sum += $1 } $5 == "%" && $6 == "unexplained" { rest = $1 < 0 ? -$1 : $1 }
         END { print "sum", sum, "rss", rss, "unexplained", rest
               exit !(sum == rss && rss > 0 && rest * 100 < rss) }' "$1"
}

at_least() {
    [ "${1:-0}" -ge "$2" ] || { echo "is ${1:-nothing}, under $2"; return 1; }
}

question_1() {
    local out=$scratch/rss.text
    count "question 1: program" planted rss
    count "question 1: ebb rss" "$ebb" rss "$pid"
    "$ebb" rss "$pid" >"$out"
    count "question 1: sums" adds_up "$out"
    count "question 1: culprit" is "$(class_worst "$out")" free_slots
    count "question 1: as much" at_least "$(class_bytes "$out" free_slots)" 35000000
    count "question 1: remedy" says "$out" '^ *free_slots +are used first'
    count "question 1: JSON" says <("$ebb" rss --json "$pid") '"unexplained":-?[0-9]+,"classes":'
    unplant
}

question_5() {
    local out=$scratch/slack.text
    count "question 5: program" planted slack
    "$ebb" slack "$pid" >"$out"
    count "question 5: slices" says "$out" '30\.[0-9] MiB .* 1 +slices of point: ebb_clip'
    count "question 5: maps" says "$out" ' 1 +maps sessions: ebb_map_compact; it was told ebb_map_grow_only'
    count "question 5: worst first" says <(sed -n 4p "$out") 'slices of point'
    count "question 5: place" says "$out" '^ +main( planted_slack\.c:[0-9]+)?$'
    count "question 5: JSON" says <("$ebb" slack --json "$pid") '"kind":"slices","name":"point"'
    "$ebb" rss "$pid" >"$out"
    count "question 5: rss agrees" at_least "$(class_bytes "$out" slice_tails)" 31000000
    count "question 5: rss agrees, maps" at_least "$(class_bytes "$out" map_empty)" 10000000
    unplant
}

question_6() {
    local out=$scratch/gc.text trace=$scratch/gc.log
    export EBB_DEBUG=gctrace=1
    count "question 6: program" planted behind
    unset EBB_DEBUG
    "$ebb" gc "$pid" >"$out"
    count "question 6: verdict" says "$out" '^Verdict: (behind|busy)\.'
    count "question 6: goal" says "$out" '^Why this goal: the limit leaves'
    count "question 6: JSON" says <("$ebb" gc --json "$pid") '"goal_by":"limit"'
    unplant
    cp "$scratch/errors" "$trace"
    echo "gc 7 @0.1s nonsense" >>"$trace"
    "$ebb" gc "$trace" >"$out"
    count "question 6: log" says "$out" '^Verdict: (behind|busy)\.'
    count "question 6: wrong line" says "$out" 'and [12] that are no whole lines'
    count "question 6: causes" says "$out" '^Causes: .*[0-9]+ full'
}

question_7() {
    local out=$scratch/trim.text
    export EBB_GC=idle=off
    count "question 7: program" planted trim
    unset EBB_GC
    "$ebb" trim --dry-run "$pid" >"$out"
    count "question 7: kept" says "$out" '^Kept: up to [0-9.]+ MiB, because'
    count "question 7: off" says "$out" '^The rest stays: collections of an idle program are off'
    count "question 7: free" says "$out" 'Free pages of process [0-9]+: (4|5)[0-9.]+ MiB resident'
    "$ebb" trim "$pid" >"$out"
    count "question 7: went back" at_least "$(awk '{ print $1; exit }' "$out")" 45000000
    "$ebb" trim --dry-run "$pid" >"$out"
    count "question 7: nothing left" says "$out" 'Free pages of process [0-9]+: [0-9.]+ (B|KiB) res'
    unplant
}

question_8() {
    local out=$scratch/outside.text file=$scratch/planted.data
    count "question 8: program" planted outside "$file"
    "$ebb" rss --outside "$pid" >"$out"
    count "question 8: sums" adds_up "$out"
    count "question 8: culprit" is "$(class_worst "$out")" outside_files
    count "question 8: its name" says "$out" "48\.0 MiB .* file +.*planted\.data$"
    count "question 8: malloc" at_least "$(class_bytes "$out" outside_malloc)" 25000000
    if command -v go >/dev/null; then
        "$ebb" get "$pid" /debug/pprof/memory >"$scratch/memory.pb"
        PPROF_TMPDIR=$scratch go tool pprof -top "$scratch/memory.pb" >"$out" 2>/dev/null
        count "question 8: go tool pprof" says "$out" '^Type: memory_space'
        count "question 8: the file in it" says "$out" ' 48MB .*planted\.data$'
        count "question 8: all of RSS in it" says "$out" ' 100% +RSS$'
    else
        skip "question 8: go tool pprof" "go is not installed"
    fi
    unplant
}

question_9() {
    local out=$scratch/held.text
    count "question 9: program" planted false
    "$ebb" rss "$pid" >"$out"
    count "question 9: not asked" says "$out" '^held was not asked for'
    count "question 9: living then" at_least "$(class_bytes "$out" live)" 20000000
    "$ebb" rss --conservative "$pid" >"$out"
    count "question 9: sums" adds_up "$out"
    count "question 9: culprit" is "$(class_worst "$out")" held
    count "question 9: as much" at_least "$(class_bytes "$out" held)" 20000000
    count "question 9: live pays" at_least 1000000 "$(class_bytes "$out" live)"
    count "question 9: remedy" says "$out" '^ *held +ebb why --conservative'
    count "question 9: JSON" says <("$ebb" rss --json --conservative "$pid") '"held_known":true'
    count "question 9: pprof" says <("$ebb" get "$pid" '/debug/pprof/memory?conservative=1&debug=1') \
        '^held was found by'
    unplant
}

wrong_arguments() {
    local command
    for command in rss slack gc trim; do
        count "ebb $command without a process" is "$("$ebb" $command 2>/dev/null; echo $?)" 2
        count "ebb $command of nobody" is "$("$ebb" $command 999999999 2>/dev/null; echo $?)" 1
        count "ebb $command --help" says <("$ebb" $command --help) '^Example:'
    done
    count "ebb gc of no file" is "$("$ebb" gc /nonexistent/log 2>/dev/null; echo $?)" 1
    head -c 300000 /dev/urandom >"$scratch/noise"
    for ((cut = 1; cut < 400; cut += 7)); do
        head -c $cut <<<"gc 3 @0.007s 16%: 0.079+0.437+0.604 ms clock, 0.000+0.866 ms cpu, 2->2->1 MB, 17 MB goal, 0.0 MB stacks, 0.4 MB roots, 2 P cause=forced kind=full wait_ms=nan pause_ms=-1 stop_parts_ms=1+2"
        echo
    done >>"$scratch/noise"
    count "ebb gc of noise" says <("$ebb" gc "$scratch/noise") '^Verdict: '
    count "ebb gc of noise, JSON" says <("$ebb" gc --json - <"$scratch/noise") '^\{"verdict":'
    count "ebb gc of an empty log" says <("$ebb" gc /dev/null) 'There is no line of the trace'
}

question_1
question_5
question_6
question_7
question_8
question_9
wrong_arguments
count_end
