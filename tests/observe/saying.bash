# saying.bash - sourced by the scripts that compare what commands print.
# shellcheck shell=bash

# says FILE PATTERN…: each has a line that matches; else prints the file, and fails.
says() {
    local file=$1 pattern
    for pattern in "${@:2}"; do
        grep -qE -e "$pattern" "$file" || { cat "$file"; echo "does not say: $pattern"; return 1; }
    done
}

is() {
    [ "$1" = "$2" ] || { echo "is \"$1\", not \"$2\""; return 1; }
}
