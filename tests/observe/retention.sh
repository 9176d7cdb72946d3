#!/usr/bin/env bash
# Planted faults of retention: who holds it, what returns if it is cut, is it a false pointer; and
# what Chrome's DevTools would make of the export. docs/testing.md, "Planted faults". Run by
# scripts/check; needs build/release, or the build directory in $1.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/counting.bash
source tests/observe/planting.bash
source tests/observe/saying.bash

build=${1:-build/release}
ebb=$build/ebb
runtime=$scratch/runtime
mkdir -p "$runtime"
export XDG_RUNTIME_DIR=$runtime

question_3() {
    local out=$scratch/why.text
    count "question 3: program" planted why
    count "question 3: ebb why" "$ebb" why session "$pid"
    "$ebb" why session "$pid" >"$out"
    count "question 3: how many" says "$out" '^session: 100,000 objects'
    count "question 3: the variable" says "$out" 'static data of why\+0x'
    count "question 3: its field" says "$out" '^ +\.open$'
    count "question 3: the array" says "$out" "-> words in slices' arrays"
    count "question 3: the slots" says "$out" '\[100 \.\. 99999\] BEYOND THE LENGTH'
    count "question 3: the worst first" says <(grep -m1 -A8 '^ *1\. ' "$out") '99,900 objects'
    "$ebb" why server "$pid" >"$out"
    count "question 3: retained" says "$out" 'retain, themselves included: [0-9,]{6,} objects'
    "$ebb" why --json session "$pid" >"$out"
    count "question 3: JSON" says "$out" '"slot_least":100,"slot_most":99999,"beyond_length":true'
    "$ebb" get "$pid" '/debug/pprof/retainers?target=session' >"$scratch/retainers.pb"
    if command -v go >/dev/null; then
        go tool pprof -top -sample_index=inuse_objects "$scratch/retainers.pb" >"$out" 2>&1
        count "question 3: pprof" says "$out" '100000 +100% +100% .* session by \[100 \.\. 99999\]|99900 '
    else
        skip "question 3: pprof" "go is not installed"
    fi
    "$ebb" why session_open "$pid" >"$out"
    count "question 3: by function" says "$out" '^session_open: [0-9,]+ objects, .* as far as they were'
    count "question 3: where they come from" says "$out" 'of session_open planted_why\.c:'
    count "question 3: a wrong name" says <("$ebb" why sesion "$pid" 2>&1) 'there are "session"'
    unplant
}

question_4() {
    local out=$scratch/dom.text dump=$scratch/heap.ebbheap
    count "question 4: program" planted dom
    count "question 4: ebb dump" "$ebb" dump "$pid" -o "$dump"
    count "question 4: into a pipe" is \
        "$("$ebb" dump "$pid" -o /dev/stdout | tail -n +1 | head -c 7)" EBBHEAP
    ln -s "$scratch/linked" "$scratch/link"
    "$ebb" dump "$pid" -o "$scratch/link"
    count "question 4: through a link" cmp -n 8 "$scratch/linked" "$dump"
    count "question 4: the link stays" test -L "$scratch/link"
    count "question 4: to nowhere" says <("$ebb" dump "$pid" -o "$scratch/none/x" 2>&1) 'No such file'
    "$ebb" dom "$dump" >"$out"
    count "question 4: the culprit" says <(sed -n 4p "$out") 'static data of dom\+0x'
    count "question 4: its entries" says <(sed -n 5p "$out") '2,000 +cache_entry'
    count "question 4: what they hold" says "$out" '^ +8,[0-9,]+ .* 2,000 +preview'
    count "question 4: indexes hold none" says "$out" '2,000  document'
    count "question 4: JSON" says <("$ebb" dom --json "$dump") '"what":"preview","root":false,"objects":2000'
    unplant
    exported "$dump"
    broken "$dump"
}

# Dumps that are not whole, at every place of the first blocks and some of the others.
broken() {
    local size cut file=$scratch/broken.ebbheap
    size=$(stat -c %s "$1")
    for cut in $(seq 0 40) 100 1000 $((size / 2)) $((size - 5)) $((size - 1)); do
        head -c "$cut" "$1" >"$file"
        "$ebb" dom "$file" >"$scratch/broken.text" 2>&1 && echo "cut at $cut: taken"
        grep -qE '^ebb dom: .*: (this is no dump of a heap|the file breaks off)' \
            "$scratch/broken.text" || echo "cut at $cut: $(head -1 "$scratch/broken.text")"
    done >"$scratch/broken.list"
    count "question 4: a dump that breaks off" is "$(cat "$scratch/broken.list")" ""
    { cat "$1" && echo more; } >"$file"
    count "question 4: more than a dump" says <("$ebb" dom "$file" 2>&1) 'something follows the end'
    count "question 4: no such object" says <("$ebb" dom --object 0x1 "$1" 2>&1) 'no object is at 0x1'
    count "question 4: no address" says <("$ebb" dom --object zz "$1" 2>&1) 'not "zz"'
    count "question 4: no number" says <("$ebb" dom --limit x "$1" 2>&1) '--limit takes a number'
}

npm_install() {
    cp -r tests/observe/heapsnapshot "$scratch/npm" && cd "$scratch/npm" &&
        npm ci --ignore-scripts --no-audit --no-fund
}

# retained NAME: what `ebb dom` says that the first group whose name so begins retains.
retained() {
    grep -m1 -F "\"what\":\"$1" "$scratch/dom.json" | sed -E 's/.*"retained":([0-9]+).*/\1/'
}

# exported DUMP: by a package that reads such files and computes retained sizes itself, of an export
# with few objects and of one with all.
exported() {
    local file=$scratch/heap.heapsnapshot out=$scratch/export.text limit
    "$ebb" dom --json "$1" >"$scratch/dom.json"
    for limit in 50 1000000; do
        count "question 4: export of $limit" "$ebb" dom --export "$file" --limit $limit "$1"
        if ! command -v npm >/dev/null; then
            skip "question 4: export of $limit as others read it" "npm is not installed"
            continue
        elif ! [ -e "$scratch/npm" ] && ! (npm_install) >"$scratch/npm.log" 2>&1; then
            skip "question 4: export of $limit as others read it" \
                "npm could not fetch @memlab/core: $(grep -m1 -i error "$scratch/npm.log")"
            rm -rf "$scratch/npm"
            continue
        fi
        count "question 4: export of $limit read" \
            env TMPDIR="$scratch" node "$scratch/npm/read.js" "$file"
        TMPDIR=$scratch node "$scratch/npm/read.js" "$file" >"$out"
        count "question 4: export of $limit, a variable" says "$out" \
            "^$(retained "static data of dom") static data of dom\+0x"
        count "question 4: export of $limit, its entries" says "$out" \
            "^$(retained cache_entry) cache_entry"
        count "question 4: export of $limit, all of it" says "$out" \
            "^$(sed -nE 's/.*"bytes":([0-9]+).*/\1/p;T;q' "$scratch/dom.json") "
    done
}

question_9() {
    local out=$scratch/false.text
    count "question 9: program" planted false
    "$ebb" why --conservative "$pid" >"$out"
    count "question 9: how much" says "$out" '^held by stacks, .* alone: [0-9,]+ objects, 2[0-9],'
    count "question 9: a guess" says "$out" ', a false pointer\?:$'
    count "question 9: the thread" says "$out" 'stack of thread [0-9]+, [0-9]+ bytes from its top'
    count "question 9: the object" says "$out" '-> picture'
    "$ebb" why --conservative picture "$pid" >"$out"
    count "question 9: by type" says "$out" '^picture: 1 objects, 20,'
    unplant
}

wrong_arguments() {
    local command
    for command in why dump dom; do
        count "ebb $command without arguments" is "$("$ebb" $command 2>/dev/null; echo $?)" 2
        count "ebb $command of nobody" is "$("$ebb" $command 999999999 2>/dev/null; echo $?)" 1
        count "ebb $command --help" says <("$ebb" $command --help) '^Example:'
    done
    count "ebb dom of a process" says <("$ebb" dom $$ 2>&1) "ebb dump $$ -o"
    count "ebb dom of a directory" says <("$ebb" dom tests 2>&1) 'Is a directory'
    count "ebb dom of no dump" says <("$ebb" dom README.md 2>&1) 'this is no dump of a heap'
}

question_3
question_4
question_9
wrong_arguments
count_end
