// read.mjs FILE: what npm's pprof-format finds in a profile, a line each for pprof.sh.
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { Profile } from "pprof-format";

const p = Profile.decode(gunzipSync(readFileSync(process.argv[2])));
const text = (i) => p.stringTable.strings[Number(i)];
const functions = new Map(p.function.map((f) => [Number(f.id), text(f.name)]));
const sums = p.sampleType.map((_, i) => p.sample.reduce((n, s) => n + Number(s.value[i]), 0));

p.sampleType.forEach((t, i) => console.log(`${text(t.type)}/${text(t.unit)} ${sums[i]}`));
console.log(`period ${Number(p.period)} ${text(p.periodType.type)}/${text(p.periodType.unit)}`);
for (const l of p.location)
    if (l.line.length) console.log(l.line.map((x) => functions.get(Number(x.functionId))).join(" <- "));
