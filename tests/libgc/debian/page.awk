# A page of tables in tables, lists, forms and entities, of N sections: awk -f page.awk N.
BEGIN {
    sections = ARGV[1]
    print "<!DOCTYPE html><html><head><title>Sections</title></head><body>"
    for (i = 1; i <= sections; i++) section(i)
    print "</body></html>"
}

function section(number,    row, column) {
    printf "<h2 id=s%d>Section %d &ndash; &Uuml;bersicht</h2>\n", number, number
    printf "<p>See <a href=\"#s%d\">section %d</a>, <b>bold</b> and <i>slanted</i> ",
        number * 7 % sections + 1, number * 7 % sections + 1
    for (column = 0; column < 60; column++) printf "word%d ", (number * 31 + column * 17) % 1009
    print "</p>\n<ul>"
    for (row = 0; row < 8; row++) printf "<li>item %d<ol><li>one<li>two &amp; more</ol>\n", row
    print "</ul><table border=1>"
    for (row = 0; row < 12; row++) {
        printf "<tr><th>row %d", row
        for (column = 0; column < 5; column++)
            printf "<td align=right>%d", (number * 7919 + row * 104729 + column * 1299709) % 99991
        print "<td><table border=1><tr><td>in<td>ner</table></tr>"
    }
    print "</table><form action=x><input name=a value=b><select name=c>"
    for (row = 0; row < 20; row++) printf "<option value=%d>choice %d", row, row
    print "</select><textarea name=d>text</textarea></form><pre>"
    for (row = 0; row < 6; row++) printf "%*s|\n", row * 5 + 10, "right"
    print "</pre><hr>"
}
