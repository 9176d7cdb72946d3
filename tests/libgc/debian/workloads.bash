# workloads.bash - Debian's programs on libgc.so.1, and what each is to do; sourced by
# scripts/check-libgc and bench/libgc.
#
# Each works in a directory of its own, from inputs that are in it, and says what it found on
# standard output. What depends on when collections happen is not printed.
# shellcheck shell=bash

libgc_workloads=$(dirname "${BASH_SOURCE[0]}")
libgc_workloads=$(cd "$libgc_workloads" && pwd)
libgc_programs="guile ecl w3m neko asymptote poke nix crystal fibers macaulay2 lilypond inkscape"

# libgc_command NAME: its command, its Debian package, its binary on libgc.
libgc_command() {
    case $1 in
    guile) echo guile guile-3.0 guile ;;
    asymptote) echo asy asymptote asy ;;
    nix) echo nix-instantiate nix-bin nix-instantiate ;;
    fibers) echo crystal crystal crystal ;;
    macaulay2) echo M2 macaulay2 M2-binary ;;
    *) echo "$1" "$1" "$1" ;;
    esac
}

# libgc_size NAME short|full: how much it is to do; full is 2 to 10 seconds.
libgc_size() {
    case $1-$2 in
    guile-short) echo 300 ;; guile-full) echo 3000 ;;
    ecl-short) echo 300 ;; ecl-full) echo 3000 ;;
    w3m-short) echo 40 ;; w3m-full) echo 1500 ;;
    neko-short) echo 1000 ;; neko-full) echo 20000 ;;
    asymptote-short) echo 100 ;; asymptote-full) echo 2000 ;;
    poke-short) echo 500 ;; poke-full) echo 5000 ;;
    nix-short) echo 500 ;; nix-full) echo 8000 ;;
    fibers-short) echo 300 ;; fibers-full) echo 10000 ;;
    macaulay2-short) echo 200 ;; macaulay2-full) echo 1500 ;;
    lilypond-short) echo 1 ;; lilypond-full) echo 12 ;;
    inkscape-short) echo 100 ;; inkscape-full) echo 1000 ;;
    *) echo 0 ;;
    esac
}

# libgc_prepare NAME DIRECTORY SIZE: makes the inputs, on the stock library.
libgc_prepare() {
    local size=$3
    mkdir -p "$2" && cd "$2" || return
    case $1 in
    ecl) cp "$libgc_workloads"/ecl*.lisp . ;;
    w3m) awk -f "$libgc_workloads/page.awk" "$size" >page.html ;;
    neko) cp "$libgc_workloads/neko.neko" . && nekoc neko.neko ;;
    crystal) cp "$libgc_workloads/fibers.cr" . ;;
    fibers)
        [ -x fibers ] || CRYSTAL_CACHE_DIR=$PWD/cache crystal build --no-color -o fibers \
            "$libgc_workloads/fibers.cr"
        ;;
    lilypond) awk -f "$libgc_workloads/score.awk" "$size" >score.ly ;;
    inkscape) awk -f "$libgc_workloads/drawing.awk" "$size" >drawing.svg ;;
    esac
}

# libgc_run NAME SIZE: the program in place of this shell, in the directory that was prepared.
# Settings of the library come by the environment. Nix would begin with a quarter of all memory.
libgc_run() {
    export HOME=$PWD XDG_CACHE_HOME=$PWD/cache EBB_WORKLOAD_SIZE=$2
    case $1 in
    guile) exec guile --fresh-auto-compile "$libgc_workloads/guile.scm" "$2" ;;
    ecl) exec ecl --norc --load ecl-run.lisp -- ecl.lisp . "$2" ;;
    w3m) exec w3m -dump -cols 100 page.html ;;
    neko) exec neko neko.n "$2" ;;
    asymptote) exec asy -noV -u "size=$2" "$libgc_workloads/asymptote.asy" ;;
    poke) exec poke -q -L "$libgc_workloads/pickle.pk" ;;
    nix)
        export GC_INITIAL_HEAP_SIZE=1000000
        exec nix-instantiate --eval --strict --arg size "$2" "$libgc_workloads/eval.nix"
        ;;
    crystal)
        export CRYSTAL_CACHE_DIR=$PWD/cache
        rm -rf cache
        exec crystal build --no-color -o built fibers.cr
        ;;
    fibers) exec ./fibers "$2" ;;
    macaulay2) exec M2 --script "$libgc_workloads/macaulay2.m2" ;;
    lilypond) exec lilypond -s --svg -o score score.ly ;;
    inkscape) exec inkscape --export-type=png --export-filename=drawing.png drawing.svg ;;
    esac
}

# libgc_results NAME: what it left beside its output, on standard output; what is left goes.
libgc_results() {
    case $1 in
    crystal) [ -x built ] && ./built 100 ;;
    lilypond) cat score*.svg && rm -f score*.svg ;;
    inkscape) cksum drawing.png && rm -f drawing.png ;;
    esac
}
