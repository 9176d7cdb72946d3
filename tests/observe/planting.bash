# planting.bash - sourced by the scripts of planted faults: builds a planted program, starts and ends
# it. Wants $build and $scratch.
# shellcheck shell=bash

# planted NAME [argument …]: starts the program, and waits until it is ready. Sets $pid.
planted() {
    local program=$scratch/$1 line
    cc -std=gnu11 -O1 -g -Wall -Wextra -Iinclude "tests/observe/planted_$1.c" "$build/libebb.a" \
        -pthread -lm -ldl -o "$program" || return 1
    coproc held { exec "$program" "${@:2}" 2>"$scratch/errors"; }
    pid=$held_PID
    read -r -t 60 line <&"${held[0]}" && [ "$line" = ready ]
}

unplant() {
    kill "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
}
