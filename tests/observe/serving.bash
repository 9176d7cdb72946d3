# serving.bash - sourced by the scripts that look at a program over HTTP: builds served.c, starts it,
# says where it serves. Wants $build and $scratch.
# shellcheck shell=bash

served_build() {
    cc -std=gnu11 -O2 -g -Iinclude tests/observe/served.c "$build/libebb.a" "-Wl,-rpath,$build" \
        -pthread -lm -ldl -o "$scratch/served"
}

# The program runs until $served_input is closed. Sets served_pid and, when it serves over HTTP,
# served_at (HOST:PORT). More arguments are for its environment.
served_start() {
    rm -f "$scratch/input" "$scratch/served.err" # what the last program said is not this one's
    mkfifo "$scratch/input"
    env "$@" "$scratch/served" <"$scratch/input" >"$scratch/served.out" 2>"$scratch/served.err" &
    served_pid=$!
    exec {served_input}>"$scratch/input"
    local said
    served_at=
    for _ in {1..100}; do
        # Read once: the line may come between two looks.
        said=$(cat "$scratch/served.err" 2>/dev/null)
        served_at=$(sed -n 's,^ebb: debug pages at http://\([^/]*\)/.*,\1,p' <<<"$said")
        [ -z "$said" ] || break
        sleep 0.1
    done
}

served_stop() {
    exec {served_input}>&-
    wait "$served_pid"
}

# A port of loopback where nobody listens.
port_free() {
    local port
    while port=$((20000 + RANDOM % 10000)); (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo $port
}

# get PATH [curl argument …]: the answer of the program.
get() {
    curl --silent --show-error --fail --noproxy '*' --max-time 20 "http://$served_at$1" "${@:2}"
}
