# report.awk - the table of one case, from lines of case, side, label, metric, value.
# A row is a label and metric: the median of each side, Ebb's divided by each peer's, the aim.

# What is aimed at: Ebb's figure at most `most` times the peer's, where the row matches.
function aim(pattern, in_case, peer, most) {
    n_aims++
    aim_case[n_aims] = in_case
    aim_row[n_aims] = pattern
    aim_peer[n_aims] = peer
    aim_most[n_aims] = most
}

function median(row, side,    n, i, j, value, sorted) {
    n = count[row, side]
    for (i = 1; i <= n; i++) {
        value = values[row, side, i]
        for (j = i - 1; j >= 1 && sorted[j] > value; j--) sorted[j + 1] = sorted[j]
        sorted[j + 1] = value
    }
    return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

function shown(value) {
    return sprintf(value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.2f", value)
}

function shown_ratio(value) {
    return sprintf(value >= 10 ? "%.0fx" : value >= 0.095 ? "%.2fx" : "%.4fx", value)
}

function verdict(row, ebb, peer_value,    i, text) {
    for (i = 1; i <= n_aims; i++) {
        if (case !~ aim_case[i] || row !~ aim_row[i] || !(aim_peer[i] in peer_value)) continue
        text = sprintf("at most %gx %s: %s", aim_most[i], aim_peer[i],
                       ebb <= aim_most[i] * peer_value[aim_peer[i]] ? "yes" : "no")
        printf "%s, %s: %s, %s\n", case, row, shown_ratio(ebb / peer_value[aim_peer[i]]), text >>aims
        return text
    }
    return ""
}

BEGIN {
    n_sides = split(sides, side_name, " ")
    aim("2 threads, ns$", "^alloc$", "libgc", 0.5)
    aim(", s$", "^trees$", "libgc", 0.5)
    aim(", peak MiB$", "^trees$", "libgc", 1)
    aim(", (hit|miss) ns$", "^map", "absl", 1.3)
    aim(", (insert|delete) ns$", "^map", "absl", 1.5)
    aim(", bytes an entry$", "^map", "absl", 1)
    aim("1e7 .*, worst", "^map", "absl", 0.01)
}

$1 == case {
    row = $3 ", " $4
    if (!(row in seen)) {
        seen[row] = 1
        rows[++n_rows] = row
    }
    values[row, $2, ++count[row, $2]] = $5 + 0
}

END {
    printf "%-34s %9s", "case", "ebb"
    for (s = 2; s <= n_sides; s++) printf " %9s %8s", side_name[s], "ratio"
    printf "  aim\n"
    for (r = 1; r <= n_rows; r++) {
        row = rows[r]
        ebb = (row, "ebb") in count ? median(row, "ebb") : -1
        printf "%-34s %9s", row, ebb < 0 ? "-" : shown(ebb)
        split("", peer)
        for (s = 2; s <= n_sides; s++) {
            name = side_name[s]
            if (!((row, name) in count)) {
                printf " %9s %8s", "-", "-"
                continue
            }
            value = median(row, name)
            printf " %9s %8s", shown(value),
                ebb < 0 || value == 0 ? "-" : shown_ratio(ebb / value)
            if (ebb >= 0 && value > 0) peer[name] = value
        }
        text = verdict(row, ebb, peer)
        printf "%s%s\n", text == "" ? "" : "  ", text
    }
}
