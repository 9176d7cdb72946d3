#!/usr/bin/env bash
# The screen of `ebb top`, drawn on a terminal that script(1) makes, and what commands do on one and
# in a pipe. Run by scripts/check after scripts/build release; EBB_BUILD names another build.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/counting.bash
source tests/observe/saying.bash

build=${EBB_BUILD:-build/release}
ebb=$build/ebb
mkdir -p "$scratch/runtime"
export XDG_RUNTIME_DIR=$scratch/runtime
unset NO_COLOR

says_not() {
    ! grep -qE -- "$2" "$1" || { cat "$1"; echo "says: $2"; return 1; }
}

is_json() {
    node -e 'JSON.parse(require("fs").readFileSync(0, "utf8"))' <"$1" || { cat "$1"; return 1; }
}

# The program to look at. Sets $pid.
serve() {
    cc -std=gnu11 -O1 -g -Wall -Wextra -Iinclude tests/observe/served.c "$build/libebb.a" \
        -pthread -lm -ldl -o "$scratch/served" || return 1
    coproc served { EBB_DEBUG=serve exec "$scratch/served"; }
    read -r -t 60 pid <&"${served[0]}" || return 1
    for _ in $(seq 100); do
        "$ebb" gc --json "$pid" | grep -q '"cycles":[1-9]' && return
        sleep 0.1
    done
}

# terminal OUT COMMAND [KEYS…]: runs it on a terminal of 40 rows and 100 columns, types each of KEYS
# after a while, and keeps all that the terminal was sent. Returns the command's status.
terminal() {
    local out=$1 command=$2
    shift 2
    { for key in "$@"; do sleep 1.5; printf %s "$key"; done; sleep 30 & sleeper=$!
        echo $sleeper >"$scratch/sleeper"; wait; } |
        { timeout 60 script -qec "stty rows 40 cols 100; tty >$scratch/tty; exec $command" /dev/null
          echo $? >"$scratch/status"; kill "$(cat "$scratch/sleeper" 2>/dev/null)" 2>/dev/null
        } >"$out" 2>&1
    return "$(cat "$scratch/status")"
}

# What was drawn, without what moves the cursor and sets colours.
plain() {
    sed -E 's/\x1b\[[0-9;?]*[A-Za-z]/ /g; s/\x1b[()][A-Z0-9]/ /g; s/\x1b[=>78M]/ /g' "$1" | tr -d '\r' \
        >"$1.text"
}

sums() {
    awk '$1 ~ /^[0-9]+$/ && / %/ && !over { sum += $1 } /rss, the sum/ { rss = $1; over = 1 }
         END { print sum, rss; exit !(rss > 0 && sum == rss) }' "$1"
}

screen() {
    local out=$scratch/screen
    export TERM=xterm-256color
    count "screen: q leaves" terminal "$out" "$ebb top $pid" p p s '?' '?' q
    plain "$out"
    for word in 'goal [0-9]' 'live [0-9]' 'rss [0-9]' 'returned [0-9]' 'a second' 'median' 'assist' \
        'rss, the sum' 'allocated at' 'slack' 'PAUSED' 'objects *. help' 'q *leave' 'forced'; do
        count "screen: $word" says "$out.text" "$word"
    done
    count "screen: in colour" says "$out" $'\x1b\\[3[12]m'
    count "screen: restored" says "$out" $'\x1b\\[\\?1049l'
    NO_COLOR=1 terminal "$out" "$ebb top $pid" q
    count "screen: NO_COLOR" says_not "$out" $'\x1b\\[3[0-9]m'
    TERM=vt100 terminal "$out" "$ebb top $pid" q
    count "screen: vt100" says "$out" 'goal'
    count "screen: vt100 without colour" says_not "$out" $'\x1b\\[3[0-9]m'
}

# The foot stands in the last row: it moves when the window does.
resized() {
    local out=$scratch/resized
    (sleep 3; stty -F "$(cat "$scratch/tty")" rows 20 cols 60) &
    count "resize: goes on" terminal "$out" "$ebb top $pid" s s s s q
    count "resize: foot in row 40" says "$out" $'\x1b\\[40(;1)?H|\x1b\\[40d'
    count "resize: foot in row 20" says "$out" $'\x1b\\[20(;1)?H|\x1b\\[20d'
    wait $!
}

pipe() {
    local out=$scratch/page
    "$ebb" top "$pid" >"$out"
    count "pipe: status" is $? 0
    count "pipe: no escapes" says_not "$out" $'\x1b'
    count "pipe: page" says "$out" '^goal .* live .* rss .* returned '
    count "pipe: causes" says "$out" '^cycles [0-9.]+ a second: .*forced [0-9.]+'
    count "pipe: stops" says "$out" '^stops  median [0-9.]+ (us|ms), longest'
    count "pipe: sites by name" says "$out" 'record_make served\.c:[0-9]+ <- round_up_and_down'
    count "pipe: slack" says "$out" 'slices .*: ebb_clip'
    count "pipe: classes add up" sums "$out"
    "$ebb" top --once "$pid" >"$out"
    count "once" says "$out" 'rss, the sum'
}

# not_so STATUS PATTERN COMMAND…
not_so() {
    local want=$1 pattern=$2 status=0
    shift 2
    "$@" >"$scratch/out" 2>"$scratch/err" || status=$?
    is $status "$want" && says "$scratch/err" "$pattern"
}

wrong() {
    count "top: no process" not_so 1 'there is no process' "$ebb" top 999999999
    count "top: no server" not_so 1 'does not serve: start it with EBB_DEBUG=serve' "$ebb" top $$
    count "top: no such word" not_so 1 'is no process number' "$ebb" top nobody
    count "top: nobody" not_so 2 'takes a process' "$ebb" top
    count "top: option" not_so 2 'not understood' "$ebb" top --twice 1
    TERM=dumb terminal "$scratch/dumb" "$ebb top $pid"
    count "top: dumb, status" is $? 1
    count "top: dumb" says "$scratch/dumb" '"dumb" cannot move its cursor; ebb top --once'
    TERM=xterm terminal "$scratch/gone" "$ebb top 999999999"
    count "top: no process on a screen, status" is $? 1
    count "top: no process on a screen" says "$scratch/gone" 'there is no process'
}

# Each command of the table: an example first in its help, and --json.
table() {
    local command
    "$ebb" --help | sed -nE '/^usage/,$s/^  ([a-z]+) {2,}.*/\1/p' >"$scratch/commands"
    count "table: there are commands" says "$scratch/commands" '^top$'
    while read -r command; do
        "$ebb" "$command" --help >"$scratch/help"
        count "ebb $command --help: example first" is "$(head -1 "$scratch/help")" "Example:"
        count "ebb $command --help: of its own" says <(sed '/^usage/,$d' "$scratch/help") \
            "^  .*ebb $command "
        count "ebb $command --help: usage" says "$scratch/help" "^usage: ebb $command"
        count "ebb $command --help: --json" says "$scratch/help" '--json'
    done <"$scratch/commands"
}

# json NAME COMMAND…: what it prints is JSON.
json() {
    local name=$1
    shift
    "$@" >"$scratch/json" 2>"$scratch/err" </dev/null
    count "json: $name, status" is $? 0
    count "json: $name" is_json "$scratch/json"
}

all_json() {
    local command
    for command in top rss slack "trim --dry-run" gc get profile why; do
        # shellcheck disable=SC2086 # words
        json "$command" "$ebb" $command --json "$pid"
    done
    "$ebb" profile "$pid" -o "$scratch/a.pb.gz" >/dev/null
    json diff "$ebb" diff --json "$scratch/a.pb.gz" "$pid"
    json dump "$ebb" dump --json -o "$scratch/heap" "$pid"
    json dom "$ebb" dom --json "$scratch/heap"
    json symbolize "$ebb" symbolize --json --addresses --pid "$pid"
}

colours() {
    local out=$scratch/colours command
    export TERM=xterm
    for command in rss slack gc profile; do
        terminal "$out" "$ebb $command $pid"
        count "colour: $command" says "$out" $'\x1b\\[1m'
        NO_COLOR=1 terminal "$out" "$ebb $command $pid"
        count "colour: $command, NO_COLOR" says_not "$out" $'\x1b'
        "$ebb" $command "$pid" >"$out"
        count "colour: $command in a pipe" says_not "$out" $'\x1b'
    done
}

# One that does not answer: the keys do.
stuck() {
    local out=$scratch/stuck
    kill -STOP "$pid"
    count "program stands still: q leaves" terminal "$out" "$ebb top $pid" p q
    count "program stands still: said" says "$out" 'waiting for the program'
    kill -CONT "$pid"
}

# Last: it ends the program.
ended() {
    local out=$scratch/ended
    export TERM=xterm
    (sleep 4; kill "$pid") &
    count "program ends: status" terminal "$out" "$ebb top $pid"
    count "program ends: said" says "$out" 'ebb top: [0-9]+ has ended'
}

count "program" serve
pipe
wrong
table
if command -v node >/dev/null; then all_json; else skip "json" "no node here"; fi
if ! command -v script >/dev/null; then
    skip "terminal" "no script here"
elif ldd "$ebb" | grep -q ncurses; then
    screen
    resized
    colours
    stuck
    ended
else
    skip "terminal" "built without ncurses"
fi
kill "$pid" 2>/dev/null
count_end
