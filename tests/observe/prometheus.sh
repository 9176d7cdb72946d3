#!/usr/bin/env bash
# Metrics as Prometheus sees them: promtool's opinion of the page and of the rules in
# examples/fleet, and a real Prometheus that scrapes a program here. Ends with "N passed, N failed".
#
#   tests/observe/prometheus.sh        after scripts/build release; EBB_BUILD names another build
# shellcheck disable=SC2317 # functions are called by name
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/counting.bash
source tests/observe/serving.bash

build=$(realpath "${EBB_BUILD:-build/release}")
unset EBB_DEBUG EBB_GC EBB_PROFILE
fleet=$PWD/examples/fleet

# --- What needs no Prometheus ---

# Every sample that the documents promise is there.
names_there() {
    local name
    get /metrics >"$scratch/metrics" || return
    for name in process_{resident_memory,virtual_memory}_bytes process_cpu_seconds_total \
        process_{open,max}_fds process_start_time_seconds ebb_heap_{live,goal,released}_bytes \
        'ebb_memory_bytes{class="live"}' 'ebb_gc_cycles_total{cause="forced"}' \
        'ebb_gc_pause_seconds_bucket{le="+Inf"}' ebb_gc_pause_seconds_{sum,count}; do
        grep -qF "$name " "$scratch/metrics" || { echo "no sample $name"; return 1; }
    done
    grep -q '^ebb_build_info{version=' "$scratch/metrics"
}

classes_add_up() {
    get /metrics | awk '/^ebb_memory_bytes/ { sum += $2 } /^process_resident/ { rss = $2 }
        END { print sum, rss; exit !(sum > rss * 0.95 && sum < rss * 1.05) }'
}

numbers_plain() {
    get "/metrics?memory=off" | grep -v '^#' | awk 'NF != 2 || $2 !~ /^[-+0-9.eInf]+$/ { print; bad = 1 }
        END { exit bad }'
}

openmetrics() {
    get /metrics -H 'Accept: application/openmetrics-text; version=1.0.0' -D "$scratch/head" >"$scratch/open" &&
        grep -qi '^content-type: application/openmetrics-text; version=1.0.0' "$scratch/head" &&
        [ "$(tail -n 1 "$scratch/open")" = "# EOF" ] && ! grep -E '^# TYPE [^ ]*_total ' "$scratch/open"
}

over_the_socket() {
    "$build/ebb" get "$served_pid" /metrics >"$scratch/by_socket" && grep -q '^ebb_heap_live_bytes ' "$scratch/by_socket"
}

# A program without the library says what is missing and goes on.
library_missing() {
    local said
    cc -std=gnu11 -O2 -Iinclude tests/observe/served.c "$build/libebb.a" -pthread -lm -ldl -o "$scratch/alone" || return
    said=$(EBB_DEBUG=serve=127.0.0.1:0 "$scratch/alone" 100 2>&1 >/dev/null < <(sleep 1)) || return
    case $said in
    *"debug pages at http"*) echo "a libebb-debug is installed here"; return 0 ;;
    *"no debug pages at 127.0.0.1:0: "*"libebb-debug"*) ;;
    *) echo "said: $said"; return 1 ;;
    esac
}

wrong_address() {
    local said
    said=$(EBB_DEBUG=serve=nowhere "$scratch/served" 100 2>&1 >/dev/null < <(sleep 1)) || return
    [[ $said == *"an address is a port, or a number and a port: 127.0.0.1:6060"* ]] || { echo "$said"; return 1; }
}

# --- Rules ---

metrics_clean() {
    [ "$(grep -c '^# TYPE' "$scratch/metrics")" -gt 20 ] && promtool check metrics <"$scratch/metrics" &&
        ! sed 's/^# HELP ebb_heap_live_bytes .*//' "$scratch/metrics" | promtool check metrics
}

rules_test() {
    cp "$fleet"/*.yml "$scratch" && (cd "$scratch" && promtool test rules ebb.rules.test.yml)
}

# Tests of rules that pass whatever the rule says prove nothing: with one bound moved, they fail.
rules_test_sees() {
    mkdir -p "$scratch/moved" && cp "$fleet"/*.yml "$scratch/moved" &&
        sed -i "$1" "$scratch/moved/ebb.rules.yml" && ! cmp -s "$scratch/moved/ebb.rules.yml" "$fleet/ebb.rules.yml" &&
        ! (cd "$scratch/moved" && promtool test rules ebb.rules.test.yml)
}

# --- A real Prometheus ---

prometheus_start() {
    local port
    port=$(port_free)
    prometheus_at=127.0.0.1:$port
    sed "s/127.0.0.1:6060/$served_at/; s/15s/1s/" "$fleet/prometheus.yml" >"$scratch/scrape.yml"
    cp "$fleet/ebb.rules.yml" "$scratch"
    prometheus --config.file="$scratch/scrape.yml" --storage.tsdb.path="$scratch/tsdb" \
        --web.listen-address="$prometheus_at" >"$scratch/prometheus.log" 2>&1 &
    prometheus_pid=$!
}

# The values that a query has, one a line.
query() {
    curl --silent --noproxy '*' --max-time 10 --get --data-urlencode "query=$1" "http://$prometheus_at/api/v1/query" |
        grep -oE '"value":\[[^]]*\]' | sed -E 's/.*,"([^"]*)"\]/\1/'
}

# query_is QUERY LINES: waits until the query has so many values, all of them not 0.
query_is() {
    local got
    for _ in {1..60}; do
        got=$(query "$1" | grep -cvx 0)
        [ "$got" -eq "$2" ] && return 0
        sleep 0.5
    done
    echo "$1 has $got values that are not 0, not $2:"
    query "$1"
    tail -n 5 "$scratch/prometheus.log"
    return 1
}

rules_healthy() {
    local healthy
    healthy=$(curl --silent --noproxy '*' --max-time 10 "http://$prometheus_at/api/v1/rules" | grep -o '"health":"ok"' | wc -l)
    [ "$healthy" -eq 5 ] || { echo "$healthy rules are well, not 5"; return 1; }
}

real_prometheus() {
    count "the target is up" query_is 'up{job="ebb"}' 1
    count "live heap" query_is ebb_heap_live_bytes 1
    count "goal" query_is ebb_heap_goal_bytes 1
    count "stops are counted" query_is 'rate(ebb_gc_pause_seconds_count[30s]) > 0' 1
    count "a quantile of stops" query_is 'histogram_quantile(0.9, rate(ebb_gc_pause_seconds_bucket[30s]))' 1
    count "cycles by cause" query_is 'ebb_gc_cycles_total{cause="forced"}' 1
    count "what is running" query_is 'ebb_build_info' 1
    count "every class is a series" query_is 'count(ebb_memory_bytes) == 15' 1
    count "unexplained below 1 %" query_is 'abs(sum(ebb_memory_bytes{class="unexplained"})) <= bool 0.01 * sum(ebb_memory_bytes)' 1
    count "rules are evaluated" rules_healthy
}

count "a program to look at" served_build
served_start EBB_DEBUG=serve=127.0.0.1:0,serve
if [ -z "$served_at" ]; then
    skip "metrics" "no libebb-debug in this build: $(head -n 1 "$scratch/served.err")"
    served_stop
    count_end
    exit
fi
count "every promised name" names_there
count "classes add up to resident memory" classes_add_up
count "numbers are numbers" numbers_plain
count "OpenMetrics" openmetrics
count "the same over the socket" over_the_socket
count "without the library" library_missing
count "an address that is none" wrong_address
if command -v promtool >/dev/null; then
    count "promtool check metrics" metrics_clean
    count "promtool check config" promtool check config "$fleet/prometheus.yml"
    count "promtool test rules" rules_test
    count "the tests see a bound of unexplained" rules_test_sees 's/> 0.01/> 0.5/'
    count "the tests see a bound of the limit" rules_test_sees 's/> 0.9/> 0.99/'
    count "the tests see a bound of resident" rules_test_sees 's/> 3 \*/> 30 */'
    count "the tests see a bound of waiting" rules_test_sees 's/\[5m\]) > 0.1/[5m]) > 0.9/'
    count "the tests see a bound of stops" rules_test_sees 's/> 0.1$/> 0.3/'
else
    skip "promtool" "promtool is not installed"
fi
if command -v prometheus >/dev/null; then
    prometheus_start
    real_prometheus
    kill "$prometheus_pid"
    wait "$prometheus_pid" 2>/dev/null
else
    skip "prometheus" "prometheus is not installed"
fi
count "the program ends as it should" served_stop
count_end
