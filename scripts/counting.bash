# counting.bash - sourced by the scripts that count: ok and FAIL lines, and their sum.
# shellcheck shell=bash

unset MAKEFLAGS MFLAGS MAKELEVEL
passed=0
failed=0
log=$(mktemp)
scratch=$(mktemp -d)
trap 'rm -rf "$log" "$scratch"' EXIT

# count NAME COMMAND…: one test, passed when the command succeeds; its output is shown when not.
count() {
    local name=$1
    shift
    if "$@" >"$log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        echo "ok $name"
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        sed 's/^/    /' "$log"
    fi
}

skip() {
    echo "skip $1: $2"
}

# count_cases DIRECTORY NAME [RUNNER…]: all cases of the test executable DIRECTORY/NAME.
count_cases() {
    local directory=$1 name=$2 status=0 good bad began=$SECONDS
    shift 2
    "$@" "$directory/$name" >"$log" 2>&1 </dev/null || status=$?
    sed -nE "s#^(ok|FAIL|skip) #\1 $name/#p" "$log"
    good=$(grep -c '^ok ' "$log")
    bad=$(grep -c '^FAIL ' "$log")
    # A harness that died or could not start has failed, even without a line that says so.
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
        echo "FAIL $name: exit status $status"
    fi
    [ "$bad" -eq 0 ] || sed '/^ok /d; s/^/    /' "$log"
    [ $((SECONDS - began)) -lt 10 ] || echo "$name took $((SECONDS - began)) s"
    passed=$((passed + good))
    failed=$((failed + bad))
}

# The sum, as the last line; the status says whether all is well.
count_end() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}
