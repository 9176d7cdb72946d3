// The page of libebb-debug: asks the program it belongs to, and nobody else. Everything that it
// shows is also text: ebb get PID /debug/ebb/.
"use strict";

const $ = (id) => document.getElementById(id);

function make(tag, text, ...children) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
}

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0, value = Math.abs(n);
  while (value >= 1024 && unit < 4) { value /= 1024; unit++; }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${n < 0 ? "−" : ""}${value.toFixed(digits)} ${units[unit]}`;
}

function milliseconds(ns) {
  const ms = ns / 1e6;
  return `${ms.toFixed(ms >= 100 ? 0 : ms >= 1 ? 1 : 2)} ms`;
}

async function ask(target, options) {
  const reply = await fetch(target, { cache: "no-store", ...options });
  if (!reply.ok) throw new Error(`${target}: ${reply.status} ${(await reply.text()).trim()}`);
  return reply;
}

const askJson = async (target) => (await ask(target)).json();

function rows(table, lines) {
  $(table).tBodies[0].replaceChildren(...lines.map((cells) => {
    const row = make("tr");
    for (const cell of cells) row.append(cell);
    return row;
  }));
}

function number(text) {
  const cell = make("td", text);
  cell.className = "number";
  return cell;
}

// --- The chart --------------------------------------------------------------------------------

const LINES = [
  { column: "goal", label: "goal", colour: "--goal", scale: "bytes", dash: [6, 4] },
  { column: "live", label: "live", colour: "--live", scale: "bytes" },
  { column: "rss", label: "RSS", colour: "--rss", scale: "bytes" },
  { column: "returned", label: "returned", colour: "--returned", scale: "bytes" },
  { column: "pause_ns", label: "longest stop", colour: "--pause", scale: "ms" },
];
const KEPT = 600;
const data = [[], ...LINES.map(() => [])];
let chart = null, columns = null, lastMs = 0;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function chartOptions(width) {
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 },
                 ticks: { stroke: colour("--line"), width: 1 } };
  const powers = Array.from({ length: 50 }, (_, i) => 2 ** i);
  return {
    width, height: Math.max(260, Math.min(420, width * 0.5)),
    cursor: { drag: { x: true, y: false } },
    scales: { bytes: { range: (u, min, max) => [0, Math.max(max * 1.08, 1 << 20)] },
              ms: { range: (u, min, max) => [0, Math.max(max * 1.5, 1)] } },
    axes: [
      { ...axis },
      { ...axis, scale: "bytes", size: 74, incrs: powers, values: (u, ticks) => ticks.map(bytes) },
      { ...axis, scale: "ms", side: 1, size: 62, grid: { show: false },
        values: (u, ticks) => ticks.map((t) => `${t} ms`) },
    ],
    series: [
      { value: "{HH}:{mm}:{ss}" },
      ...LINES.map((line) => ({
        label: line.label, scale: line.scale, stroke: colour(line.colour), width: 2,
        dash: line.dash, points: { show: line.scale === "ms", size: 6, fill: colour(line.colour) },
        paths: line.scale === "ms" ? () => null : undefined,
        value: (u, v) => v == null ? "–" : line.scale === "ms" ? milliseconds(v * 1e6) : bytes(v),
      })),
    ],
  };
}

function chartMake() {
  if (!window.uPlot) {
    $("chart").replaceChildren(make("p", "This build has no chart library: npm was not there when " +
      "libebb-debug was built (EBB_CHART). The figures themselves: /debug/ebb/series."));
    $("chart").style.minHeight = 0;
    return;
  }
  if (chart) chart.destroy();
  chart = new uPlot(chartOptions($("chart").clientWidth), data, $("chart"));
}

function seriesAdd(reply) {
  columns = columns || Object.fromEntries(reply.columns.map((name, i) => [name, i]));
  for (const row of reply.rows) {
    if (row[columns.time_ms] <= lastMs) continue;
    lastMs = row[columns.time_ms];
    data[0].push(lastMs / 1000);
    LINES.forEach((line, i) => {
      const value = row[columns[line.column]];
      // A goal of none, and a second without a stop, are gaps.
      const none = value === 0 && (line.scale === "ms" || line.column === "goal");
      data[i + 1].push(none ? null : line.scale === "ms" ? value / 1e6 : value);
    });
  }
  for (const values of data) values.splice(0, Math.max(0, values.length - KEPT));
  if (chart) chart.setData(data);
  const newest = reply.rows[reply.rows.length - 1];
  if (newest) figuresShow((name) => newest[columns[name]]);
}

// --- Figures ----------------------------------------------------------------------------------

let verdict = "", pauseMax = 0;

function figuresShow(of) {
  const figures = [
    [bytes(of("rss")), "resident"], [bytes(of("live")), "live"],
    [of("goal") ? bytes(of("goal")) : "off", "goal"], [bytes(of("free")), "free, kept"],
    [bytes(of("returned")), "free, returned"], [String(of("cycles")), "collections"],
    [milliseconds(pauseMax), "longest stop"], [verdict, "collection"],
  ];
  $("figures").replaceChildren(...figures.filter(([value]) => value).map(
    ([value, says]) => make("div", "", make("b", value), make("span", says))));
}

async function collectorShow() {
  const gc = await askJson("/debug/ebb/gc?format=json");
  verdict = gc.verdict;
  pauseMax = gc.pause_max_ns;
  $("process").textContent = `process ${gc.pid}`;
  document.title = `Ebb ${gc.pid}`;
}

// --- Resident memory --------------------------------------------------------------------------

const HUES = { heap: 212, ebb: 280, outside: 30, "": 0 };

async function memoryShow() {
  const memory = await askJson("/debug/ebb/memory?format=json");
  const there = memory.classes.filter((c) => c.bytes !== 0 || c.name === "unexplained");
  const tint = (c, i) => `hsl(${HUES[c.group] ?? 0} 65% ${42 + (i * 13) % 36}%)`;
  const bar = $("memory-bar");
  bar.replaceChildren();
  there.sort((a, b) => b.bytes - a.bytes);
  rows("memory", there.map((c, i) => {
    if (c.bytes > 0) {
      const piece = make("i");
      piece.style.background = tint(c, i);
      piece.style.flexGrow = c.bytes;
      bar.append(piece);
    }
    const swatch = make("span");
    swatch.className = "swatch";
    swatch.style.background = tint(c, i);
    const share = memory.rss ? ` ${(100 * c.bytes / memory.rss).toFixed(1)} %` : "";
    return [number(bytes(c.bytes)), number(share),
            make("td", "", swatch, c.name, make("small", `${c.says}${c.mends ? " → " + c.mends : ""}`))];
  }));
  $("memory-stop").textContent = memory.stop_ns ? milliseconds(memory.stop_ns) : "a moment";
}

// --- Sites of allocation ----------------------------------------------------------------------

// The text form of a profile: "objects: bytes [objects: bytes] @ addresses", and names after #. What it
// counts are samples (heap_v2/RATE): one of Z bytes was taken with the chance 1 - exp(-Z/RATE).
function sitesRead(text) {
  const sites = [], rate = +(/@ heap_v2\/(\d+)/.exec(text)?.[1] ?? 0);
  for (const line of text.split("\n")) {
    const head = /^\s*(\d+): (\d+) \[(\d+): (\d+)\] @((?: 0x[0-9a-f]+)*)$/.exec(line);
    if (head) {
      const taken = +head[1], size = +head[2] / Math.max(taken, 1);
      const scale = rate > 1 && size > 0 ? 1 / -Math.expm1(-size / rate) : 1;
      sites.push({ objects: Math.round(taken * scale), bytes: +head[2] * scale,
                   stack: head[5].trim().split(" "), names: [] });
    }
    const frame = /^#\s+0x[0-9a-f]+\s+(\S.*)$/.exec(line);
    if (frame && sites.length) sites[sites.length - 1].names.push(frame[1].trim());
  }
  return sites.filter((s) => s.bytes > 0).sort((a, b) => b.bytes - a.bytes).slice(0, 12);
}

async function sitesName(sites) {
  const wanted = [...new Set(sites.filter((s) => !s.names.length).flatMap((s) => s.stack.slice(0, 6)))];
  if (!wanted.length) return;
  const reply = await ask("/debug/pprof/symbol", { method: "POST", body: wanted.join("+") });
  const names = new Map();
  for (const line of (await reply.text()).split("\n")) {
    const found = /^(0x[0-9a-f]+)\s+(.+)$/.exec(line);
    if (found) names.set(found[1], found[2].replaceAll(" <- ", " ← "));
  }
  for (const s of sites) if (!s.names.length) s.names = s.stack.slice(0, 6).map((a) => names.get(a) || a);
}

async function sitesShow() {
  const sites = sitesRead(await (await ask("/debug/pprof/heap?debug=1")).text());
  await sitesName(sites).catch(() => {});
  rows("sites", sites.map((s) => [
    number(bytes(s.bytes)), number(`${s.objects}`),
    make("td", "", make("code", s.names[0] || s.stack[0]), make("small", s.names.slice(1, 6).join(" ← "))),
  ]));
  $("sites-note").textContent = sites.length
    ? "Bytes and objects in use as of the last collection, estimated from samples; the one that " +
      "allocated first, then those that called it."
    : "Nothing was sampled yet that is still in use.";
}

// --- Slack and pages --------------------------------------------------------------------------

async function slackShow() {
  const slack = await askJson("/debug/ebb/slack?format=json");
  rows("slack", [
    [number(bytes(slack.slice_tails)), make("td", "in the tails of slices' arrays (at least)")],
    [number(bytes(slack.map_empty)), make("td", "in empty slots of maps")],
    ...slack.kinds.slice(0, 10).map((kind) => [
      number(bytes(kind.slack)),
      make("td", `${kind.number} ${kind.kind} of ${kind.name}, ${bytes(kind.bytes)}`, make("small", kind.mends)),
    ]),
  ]);
}

async function pagesShow() {
  const { pages } = await askJson("/debug/ebb/?format=json");
  $("pages").replaceChildren(...pages.map((page) => {
    const link = make("a", page.path);
    link.href = page.path;
    return make("li", "", link, make("small", page.says));
  }));
}

// --- Running ----------------------------------------------------------------------------------

let failed = 0;

async function tick() {
  try {
    seriesAdd(await askJson(`/debug/ebb/series?format=json&since=${lastMs}`));
    failed = 0;
    $("state").textContent = "a point a second";
  } catch (error) {
    failed++;
    $("state").textContent = failed < 3 ? "waiting for the program …" : `no answer: ${error.message}`;
  }
  $("state").className = failed >= 3 ? "bad" : "";
  document.body.dataset.points = data[0].length;
  document.body.dataset.series = chart ? chart.series.length - 1 : 0;
  setTimeout(tick, failed ? 3000 : 1000);
}

// A part whose page this build does not have, or that failed, says so in its own place.
function part(show, place) {
  return show().catch((error) => {
    if ($(place).tBodies) rows(place, [[make("td", error.message)]]);
    else $(place).textContent = error.message;
  });
}

async function start() {
  chartMake();
  await collectorShow().catch(() => {});
  tick();
  setInterval(() => collectorShow().catch(() => {}), 5000);
  part(memoryShow, "memory");
  part(sitesShow, "sites-note");
  part(slackShow, "slack-note");
  part(pagesShow, "pages");
  $("memory-again").addEventListener("click", () => part(memoryShow, "memory"));
  new ResizeObserver(() => {
    const width = $("chart").clientWidth;
    if (chart && Math.abs(chart.width - width) > 4) chartMake();
  }).observe($("chart"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", chartMake);
}

start();
