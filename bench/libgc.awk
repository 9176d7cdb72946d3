# libgc.awk - the table of bench/libgc, from lines of program, side, metric, value: medians of each
# side, Ebb's divided by the stock library's, and where an aim is missed.
# Times are those of the metric clock.

function median(program, side, metric,    key, n, i, j, value, sorted) {
    key = program SUBSEP side SUBSEP metric
    n = count[key]
    for (i = 1; i <= n; i++) {
        value = values[key, i]
        for (j = i - 1; j >= 1 && sorted[j] > value; j--) sorted[j + 1] = sorted[j]
        sorted[j + 1] = value
    }
    if (n == 0) return -1
    return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

function shown(value) {
    return value < 0 ? "-" : sprintf(value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.2f", value)
}

# The two sides of a metric and, where it has an aim, their ratio. The aim holds only where the
# stock library's figure is over least.
function pair(program, metric, most, least,    stock, ebb) {
    stock = median(program, "stock", metric)
    ebb = median(program, "ebb", metric)
    printf " %9s %9s", shown(stock), shown(ebb)
    if (most == "") return
    printf " %8s", stock <= 0 || ebb < 0 ? "-" : sprintf("%.2fx", ebb / stock)
    if (stock <= least || ebb < 0) return
    aims++
    if (ebb <= most * stock) met++
    else missed = missed sprintf("%s, %s: %.2fx, at most %gx\n", program, metric, ebb / stock, most)
}

{
    values[$1, $2, $3, ++count[$1 SUBSEP $2 SUBSEP $3]] = $4
}

END {
    n = split(programs, program, " ")
    printf "%-10s %19s %28s %28s %28s\n", "", "collections", clock, "peak MiB", "longest stop ms"
    printf "%-10s %9s %9s", "program", "stock", "ebb"
    for (i = 1; i <= 3; i++) printf " %9s %9s %8s", "stock", "ebb", "ratio"
    printf "\n"
    for (i = 1; i <= n; i++) {
        if (median(program[i], "stock", "status") < 0) continue
        printf "%-10s", program[i]
        pair(program[i], "collections")
        pair(program[i], clock, 1.1, 0)
        pair(program[i], "peak MiB", 1.2, 0)
        pair(program[i], "longest stop ms", 0.1, 20)
        printf "\n"
    }
    printf "\n%saims met: %d of %d\n", missed, met, aims
}
