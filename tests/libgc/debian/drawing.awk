# A drawing of N groups of shapes, gradients, clones, clips and text: awk -f drawing.awk N.
BEGIN {
    groups = ARGV[1]
    width = 1000
    print "<svg xmlns=\"http://www.w3.org/2000/svg\"" \
        " xmlns:xlink=\"http://www.w3.org/1999/xlink\" width=\"1000\" height=\"1000\"><defs>"
    for (i = 0; i < 20; i++)
        printf "<linearGradient id=\"g%d\"><stop offset=\"0\" stop-color=\"#%06x\"/>" \
            "<stop offset=\"1\" stop-color=\"#%06x\"/></linearGradient>\n",
            i, i * 677777 % 16777216, i * 998877 % 16777216
    print "<clipPath id=\"c\"><circle cx=\"20\" cy=\"20\" r=\"18\"/></clipPath></defs>"
    for (i = 0; i < groups; i++) group(i)
    print "</svg>"
}

function group(number,    i) {
    printf "<g id=\"group%d\" transform=\"translate(%d,%d) rotate(%d)\" clip-path=\"url(#c)\">\n",
        number, number * 37 % 960, number * 91 % 960, number % 360
    printf "<rect id=\"r%d\" width=\"30\" height=\"%d\" fill=\"url(#g%d)\"/>\n",
        number, 10 + number % 30, number % 20
    for (i = 0; i < 6; i++)
        printf "<path d=\"M%d,%d C 10,%d %d,20 30,%d z\" style=\"fill:none;stroke:#%06x;" \
            "stroke-width:%.1f;stroke-dasharray:%d,2\"/>\n", i * 5, number % 40, number % 33,
            i * 3, number % 29, (number * 7919 + i) % 16777216, 0.5 + i % 3, 1 + number % 5
    if (number > 0) printf "<use xlink:href=\"#r%d\" x=\"5\" y=\"9\"/>\n", number - 1
    print "</g>"
}
