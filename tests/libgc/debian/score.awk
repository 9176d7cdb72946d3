# A score of N bars for two staves and voice: awk -f score.awk N.
BEGIN {
    bars = ARGV[1]
    split("c d e f g a b", names, " ")
    print "\\version \"2.24.0\"\n\\paper { oddHeaderMarkup = \"\" tagline = ##f }"
    print "\\score { <<"
    printf "\\new Staff = \"upper\" { \\clef treble \\key d \\major \\time 4/4\n"
    for (bar = 1; bar <= bars; bar++) print upper(bar)
    printf "}\n\\addlyrics { "
    for (bar = 1; bar <= bars; bar++) printf "one two -- three four "
    printf "}\n\\new Staff = \"lower\" { \\clef bass \\key d \\major\n"
    for (bar = 1; bar <= bars; bar++) print lower(bar)
    print "}\n>> \\layout { } }"
}

function pitch(number) { return names[number % 7 + 1] }

function upper(bar) {
    if (bar % 4 == 0)
        return sprintf("%s'4\\p( %s'8[ %s'] <%s' %s''>4-> %s'4) |", pitch(bar), pitch(bar + 2),
            pitch(bar * 3), pitch(bar), pitch(bar + 4), pitch(bar * 5))
    return sprintf("%s'8 %s'16 %s'16 %s''4\\< \\tuplet 3/2 { %s'8 %s' %s' } %s'4\\! |", pitch(bar),
        pitch(bar * 3), pitch(bar + 1), pitch(bar * 5), pitch(bar), pitch(bar + 3), pitch(bar + 5),
        pitch(bar * 2))
}

function lower(bar) {
    return sprintf("<< { %s4 %s8 %s %s2 } \\\\ { %s,1 } >> |", pitch(bar), pitch(bar + 3),
        pitch(bar * 3), pitch(bar + 4), pitch(bar * 2))
}
