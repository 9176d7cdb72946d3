#!/usr/bin/env bash
# A program that knows nothing of Ebb: Debian's guile on compat/libgc's libgc.so.1, seen by the tools
# for what the environment says alone. Run by scripts/check after scripts/build release; EBB_BUILD
# names another build. Ends with "N passed, N failed".
# shellcheck disable=SC2317 # functions are called by name
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/counting.bash
source tests/observe/saying.bash

build=$(realpath "${EBB_BUILD:-build/release}")
ebb=$build/ebb
compat=$build/compat
mkdir -p "$scratch/runtime"
export XDG_RUNTIME_DIR=$scratch/runtime
unset EBB_DEBUG EBB_GC EBB_PROFILE

missing=
[ -e "$compat/libgc.so.1" ] || missing="built without compat/libgc (EBB_LIBGC)"
command -v guile >/dev/null || missing="not installed (guile-3.0)"
if [ -n "$missing" ]; then
    skip "guile" "$missing"
    count "nothing to look at" true
    count_end
    exit
fi

# Starts it with more of an environment, and waits until it is ready. Sets $pid.
guile_start() {
    local line
    coproc seen {
        exec env LD_LIBRARY_PATH="$compat" EBB_PROFILE="exit=$scratch/exit.pb.gz,rate=65536" "$@" \
            guile --no-auto-compile tests/observe/guile.scm 2>"$scratch/errors"
    }
    pid=$seen_PID
    read -r -t 60 line <&"${seen[0]}" && [ "$line" = ready ]
}

guile_end() {
    echo >&"${seen[1]}"
    wait "$pid"
}

# unexplained FILE: in no look more than one part in a hundred of what is resident.
unexplained() {
    node -e '
        const m = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
        const live = m.classes.find((c) => c.name === "live").bytes;
        console.log(`rss ${m.rss}, live ${live}, unexplained ${m.unexplained}`);
        process.exit(Math.abs(m.unexplained) * 100 < m.rss && live > 1 << 20 ? 0 : 1);
    ' "$1"
}

looks_add_up() {
    for _ in {1..5}; do
        "$ebb" rss --json "$pid" >"$scratch/rss.json" && unexplained "$scratch/rss.json" || return
    done
}

# Cycles were made, minor ones too, and more as time goes by.
cycles_are_counted() {
    "$ebb" gc --json "$pid" >"$scratch/gc.json" || return
    node -e '
        const g = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
        console.log(g.cycles, g.minor, g.live);
        process.exit(g.cycles > 3 && g.minor > 0 && g.live > 1 << 20 ? 0 : 1);
    ' "$scratch/gc.json"
}

count "guile starts" guile_start EBB_DEBUG=serve,gctrace=1
count "every byte is named" looks_add_up
count "ebb gc" cycles_are_counted
count "ebb profile" "$ebb" profile "$pid"
"$ebb" profile "$pid" >"$scratch/profile"
count "the profile names libguile" says "$scratch/profile" 'scm_|libguile-3'
count "ebb profile -o" "$ebb" profile "$pid" -o "$scratch/now.pb.gz"
"$ebb" why "$pid" >"$scratch/why"
count "ebb why names the kinds" says "$scratch/why" 'GC_malloc' 'GC_malloc_atomic'
count "guile ends well" guile_end
count "trace" says "$scratch/errors" '^gc [0-9]+ @.*cause=growth kind=minor'
count "profile at the exit" "$ebb" profile "$scratch/exit.pb.gz"
count_end
