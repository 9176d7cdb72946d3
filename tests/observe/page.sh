#!/usr/bin/env bash
# The page as a browser shows it: headless Chromium opens it, on a desk and on a phone, in the light
# and in the dark; pictures stay in the build's page/. Ends with "N passed, N failed".
#
#   tests/observe/page.sh        after scripts/build release; EBB_BUILD names another build
# shellcheck disable=SC2317 # functions are called by name
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/counting.bash
source tests/observe/serving.bash

build=$(realpath "${EBB_BUILD:-build/release}")
unset EBB_DEBUG EBB_GC EBB_PROFILE
pictures=$build/page
look="node tests/observe/page.mjs"

# chrome NAME WIDTH HEIGHT ARGUMENT…: opens the page in a profile of its own. What it said is
# NAME.log, what it asked for NAME.net.
chrome() {
    local name=$1 size=$2,$3
    shift 3
    chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync \
        --disable-default-apps --disable-extensions --no-proxy-server \
        --host-resolver-rules="MAP * ~NOTFOUND, EXCLUDE 127.0.0.1" \
        --user-data-dir="$scratch/$name.profile" --enable-logging=stderr \
        --log-net-log="$scratch/$name.net" --window-size="$size" --virtual-time-budget=4000 \
        "$@" "http://$served_at/debug/ebb/" 2>"$scratch/$name.log"
}

console_silent() {
    ! grep 'CONSOLE' "$scratch/$1.log"
}

# --- Without a browser ---

headers() {
    get /debug/ebb/ -H 'Accept: text/html,*/*;q=0.8' -D "$scratch/head" >"$scratch/html" &&
        grep -qi '^content-type: text/html' "$scratch/head" && grep -q '<!doctype html>' "$scratch/html" &&
        grep -qi "^content-security-policy: default-src 'none'; script-src 'self'" "$scratch/head" &&
        grep -qi '^x-content-type-options: nosniff' "$scratch/head"
}

text_when_asked() {
    get '/debug/ebb/?format=text' -H 'Accept: text/html' | grep -q '^/debug/ebb/ ' &&
        get /debug/ebb/ | grep -q '^/debug/ebb/ ' && get '/debug/ebb/?format=json' -H 'Accept: text/html' | grep -q '^{"pages"'
}

licence() {
    get /debug/ebb/page/licence | grep -q 'Permission is hereby granted'
}

# Nothing of npm's is ours: the lock file names no host, and nothing of the chart is in the tree.
lock_names_no_host() {
    ! grep -E 'resolved|https?:' src/debug/page/package-lock.json && grep -q '"integrity"' src/debug/page/package-lock.json &&
        [ -z "$(git ls-files 2>/dev/null | grep -iE 'uplot')" ]
}

page_names_no_host() {
    ! grep -nE '(https?:)?//[a-z0-9]' src/debug/page/index.html src/debug/page/page.css &&
        ! grep -nE '["`'"'"'](https?:)?//' src/debug/page/page.js
}

# --- With one ---

document() {
    chrome document 1100 1800 --dump-dom >"$scratch/document.html" && $look document "$scratch/document.html"
}

picture() {
    chrome "$1" "$2" "$3" --screenshot="$pictures/$1.png" "${@:5}" && $look picture "$pictures/$1.png" "$4"
}

# A library that was built without npm: the page says so, and the rest of it is there.
without_chart() {
    mkdir -p "$scratch/bare" &&
        cc -std=gnu11 -O1 -shared -fPIC -fvisibility=hidden -DEBB_PAGE_DIR="\"$PWD/src/debug/page\"" \
            src/debug/*.c -lcivetweb -pthread -Wl,-soname,libebb-debug.so.0 -o "$scratch/bare/libebb-debug.so.0" || return
    served_start EBB_DEBUG=serve=127.0.0.1:0 LD_LIBRARY_PATH="$scratch/bare" &&
        chrome bare 1100 1800 --dump-dom >"$scratch/bare.html"
    served_stop
    grep -q 'This build has no chart library' "$scratch/bare.html" && grep -q '>unexplained<' "$scratch/bare.html" &&
        console_silent bare
}

count "a program to look at" served_build
served_start EBB_DEBUG=serve=127.0.0.1:0 EBB_PROFILE=tool="$build/ebb",rate=65536
if [ -z "$served_at" ]; then
    skip "the page" "no libebb-debug in this build: $(head -n 1 "$scratch/served.err")"
    served_stop
    count_end
    exit
fi
began=$SECONDS
count "headers of the page" headers
count "text for who asks for text" text_when_asked
count "the lock file names no host" lock_names_no_host
count "the page names no host" page_names_no_host
if ! get /debug/ebb/page/licence | grep -q Permission; then
    skip "the chart" "this build has none"
elif ! command -v chromium >/dev/null || ! command -v node >/dev/null; then
    skip "the page in a browser" "chromium or node is not installed"
else
    mkdir -p "$pictures"
    count "licence of the chart" licence
    sleep $((began + 24 > SECONDS ? began + 24 - SECONDS : 0)) # a point a second
    count "four series of twenty points" document
    count "nothing on the console" console_silent document
    count "nothing asked of another host" $look requests "$scratch/document.net" "$served_at"
    count "lines on a desk, in the light" picture desk 1100 2300 light
    count "nothing on the console of the desk" console_silent desk
    count "lines on a phone, in the dark" picture phone 500 2600 dark --blink-settings=preferredColorScheme=0
    count "nothing on the console of the phone" console_silent phone
    count "nothing asked of another host by the phone" $look requests "$scratch/phone.net" "$served_at"
fi
count "the program ends as it should" served_stop
command -v chromium >/dev/null && count "without the chart's library" without_chart
count_end
