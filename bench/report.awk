# report.awk - the table of one case, from lines of case, side, label, metric, value.
# A row is a label and metric: the median of each side, Ebb's divided by each peer's, the aim.

# What is aimed at where the row matches: Ebb's figure at most (sign 1) or at least (sign -1) bound
# times the peer's, or bound itself where no peer is named.
function aim(pattern, in_case, peer, bound, sign) {
    n_aims++
    aim_case[n_aims] = in_case
    aim_row[n_aims] = pattern
    aim_peer[n_aims] = peer
    aim_bound[n_aims] = bound
    aim_sign[n_aims] = sign == -1 ? -1 : 1
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
    return sprintf(value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : value >= 2 ? "%.2f" : "%.3f",
                   value)
}

function shown_ratio(value) {
    return sprintf(value >= 10 ? "%.0fx" : value >= 0.095 ? "%.2fx" : "%.4fx", value)
}

# Ebb's figure by the i-th aim: said for the table, and as a line for the end.
function judge(i, row, ebb, whole,    text) {
    text = sprintf("at %s %g%s: %s", aim_sign[i] > 0 ? "most" : "least", aim_bound[i],
                   aim_peer[i] == "" ? "" : "x " aim_peer[i],
                   aim_sign[i] * ebb <= aim_sign[i] * aim_bound[i] * whole ? "yes" : "no")
    printf "%s, %s: %s, %s\n", case, row,
        aim_peer[i] == "" ? shown(ebb) : shown_ratio(ebb / whole), text >>aims
    return text
}

function verdict(row, ebb, peer_value,    i, text) {
    for (i = 1; ebb >= 0 && i <= n_aims; i++) {
        if (case !~ aim_case[i] || row !~ aim_row[i]) continue
        if (aim_peer[i] != "" && !(aim_peer[i] in peer_value)) continue
        text = text (text == "" ? "" : "; ") \
            judge(i, row, ebb, aim_peer[i] == "" ? 1 : peer_value[aim_peer[i]])
    }
    return text
}

BEGIN {
    n_sides = split(sides, side_name, " ")
    width = 30
    aim("2 threads, ns$", "^alloc$", "libgc", 0.5)
    aim("1 thread, s$", "^trees$", "libgc", 0.5)
    aim("1 thread, peak MiB$", "^trees$", "libgc", 1)
    aim(", s$", "^(trees|gcbench)$", "stw", 1.1)
    aim(", sampled by unsampled$", "^trees$", "", 1.01)
    aim(", p99 stop ms$", "^(trees|gcbench)$", "", 2)
    aim("nodes, build s$", "^live$", "glibc", 1.5)
    aim(", iterations/s$", "^live$", "libgc", 10, -1)
    aim("(changes|touched), longest stop ms$", "^live$", "", 10)
    aim("(changes|touched), median stop ms$", "^live$", "", 1)
    aim("(changes|touched), sleeper's gap ms$", "^live$", "", 15)
    aim(", part of the limit$", "^live$", "", 1)
    aim(", part of the unlimited rate$", "^live$", "", 0.5, -1)
    aim(", (hit|miss) ns$", "^map", "absl", 1.3)
    aim(", (insert|delete) ns$", "^map", "absl", 1.5)
    aim(", bytes an entry$", "^map", "absl", 1)
    aim("1e7 .*, worst", "^map", "absl", 0.01)
    aim(", answer s$", "^why$", "", 60)
    aim(", longest stall ms$", "^why$", "", 250)
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
    for (r = 1; r <= n_rows; r++) if (length(rows[r]) > width) width = length(rows[r])
    printf "%-*s %9s", width, "case", "ebb"
    for (s = 2; s <= n_sides; s++) printf " %9s %8s", side_name[s], "ratio"
    printf "  aim\n"
    for (r = 1; r <= n_rows; r++) {
        row = rows[r]
        ebb = (row, "ebb") in count ? median(row, "ebb") : -1
        printf "%-*s %9s", width, row, ebb < 0 ? "-" : shown(ebb)
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
