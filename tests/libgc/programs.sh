#!/usr/bin/env bash
# Programs against <gc.h>: each case prints an account that is the same on every collector, and is
# kept in tests/libgc/expected. Built against our headers and library and run plainly, with a
# collection at every 1000th allocation, and with the checks of the collector; and where libgc-dev
# is installed, built against its headers and run on its library and, unchanged, on ours.
#
#   tests/libgc/programs.sh [PROGRAM…]     EBB_BUILD=build/release is where libgc.so.1 is
#   tests/libgc/programs.sh --expect       writes what the stock library prints
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
source scripts/counting.bash

ours=${EBB_BUILD:-build/release}/compat
strict=(-std=gnu11 -O2 -g -Wall -Wextra -Wconversion -Wno-deprecated-declarations -Werror)
threads=(-pthread -ldl)
stock=
[ -e /usr/include/gc/gc.h ] && stock=yes

if [ ! -e "$ours/libgc.so.1" ]; then
    echo "no $ours/libgc.so.1: build with -DEBB_LIBGC=ON" >&2
    exit 2
fi
ours=$(realpath "$ours")

build_ours() {
    if [[ $1 == *.cc ]]; then
        g++ -O2 -g -Wall -Wextra -Werror -Icompat/libgc/include "$1" -o "$2" -L"$ours" -lgc \
            "${threads[@]}" -Wl,-rpath,"$ours"
    else
        gcc "${strict[@]}" -Icompat/libgc/include "$1" -o "$2" -L"$ours" -lgc "${threads[@]}" \
            -Wl,-rpath,"$ours"
    fi
}

# A C++ program that allocates by libgccpp's operators is not built on stock: its headers need it.
build_stock() {
    if [[ $1 == *.cc ]]; then
        g++ -O2 -g "$1" -o "$2" -lgccpp -lgc "${threads[@]}"
    else
        gcc "${strict[@]}" "$1" -o "$2" -lgc "${threads[@]}"
    fi
}

# cases FILE: a file for each case of an account, without what may differ.
cases() {
    rm -rf "$scratch/cases.$2"
    mkdir "$scratch/cases.$2"
    awk -v to="$scratch/cases.$2" '/^== / { file = to "/" $2; printf "" >file; next }
        !/^~/ { print >file }' "$1"
}

same_case() {
    diff "$scratch/cases.expected/$1" "$scratch/cases.seen/$1"
}

# account NAME COMMAND…: what the program prints, as cases. Whether all are as expected.
account() {
    local name=$1
    shift
    timeout 1200 "$@" >"$scratch/account" 2>"$scratch/errors" </dev/null
    cases "tests/libgc/expected/$name.txt" expected
    cases "$scratch/account" seen
    diff -rq "$scratch/cases.expected" "$scratch/cases.seen" >"$scratch/differing"
}

# run_cases NAME HOW COMMAND…: the account of a program beside the expected one, case by case. The
# stock library, whose stale words nobody here answers for, may try three times.
run_cases() {
    local name=$1 how=$2 path began=$SECONDS
    shift 2
    account "$name" "$@" || [ "$how" != stock ] || account "$name" "$@" || account "$name" "$@"
    for path in "$scratch"/cases.expected/*; do
        count "$name/${path##*/}, $how" same_case "${path##*/}"
    done
    [ $((SECONDS - began)) -lt 20 ] || echo "$name, $how, took $((SECONDS - began)) s"
}

expect() {
    local source name
    for source in tests/libgc/*.c tests/libgc/*.cc; do
        name=$(basename "${source%.c*}")
        [ "$name" != loud ] || continue
        build_stock "$source" "$scratch/$name" || exit
        "$scratch/$name" 2>/dev/null | grep -v '^~' >"tests/libgc/expected/$name.txt"
    done
}

program() {
    local source=$1 name
    name=$(basename "${source%.c*}")
    count "$name builds" build_ours "$source" "$scratch/$name" || return
    [ -x "$scratch/$name" ] || return
    run_cases "$name" "ours" "$scratch/$name"
    run_cases "$name" "ours under stress" env EBB_DEBUG=stress=1000 "$scratch/$name"
    run_cases "$name" "ours checked" env EBB_DEBUG=checkmark=1,verify=1 "$scratch/$name"
    [ -n "$stock" ] && [ "$name" != loud ] || return
    count "$name builds with libgc-dev" build_stock "$source" "$scratch/$name.stock"
    run_cases "$name" "stock" "$scratch/$name.stock"
    run_cases "$name" "stock's build on ours" env LD_LIBRARY_PATH="$ours" "$scratch/$name.stock"
}

if [ "${1:-}" = --expect ]; then
    expect
    exit
fi
[ -n "$stock" ] || skip "the stock library" "no libgc-dev here"
for source in tests/libgc/*.c tests/libgc/*.cc; do
    name=$(basename "${source%.c*}")
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    program "$source"
done
count_end
