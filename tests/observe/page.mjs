// What headless Chromium made of the page: its document, its requests, its console, its picture.
//
//   node page.mjs document FILE   four series with twenty points each, and every part filled
//   node page.mjs requests NETLOG HOST:PORT   nothing was asked of another host
//   node page.mjs picture PNG light|dark      the lines of the series are drawn
import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";

function fail(message) {
  console.error(message);
  process.exit(1);
}

// --- The document -----------------------------------------------------------------------------

function document(file) {
  const html = readFileSync(file, "utf8");
  const points = +(/data-points="(\d+)"/.exec(html)?.[1] ?? 0);
  const series = +(/data-series="(\d+)"/.exec(html)?.[1] ?? 0);
  if (series < 4 || points < 20) fail(`${series} series with ${points} points`);
  if (!/<canvas/.test(html)) fail("no canvas");
  for (const id of ["figures", "memory", "slack", "pages"]) {
    const part = new RegExp(`id="${id}"[^>]*>(.*?)</(section|table|ul)>`, "s").exec(html)?.[1] ?? "";
    if (!/<b>|<td|<li/.test(part)) fail(`nothing stands in ${id}: ${part}`);
    if (/no such page|Failed to fetch/.test(part)) fail(`${id}: ${part}`);
  }
  for (const name of ["live", "metadata", "outside_files", "unexplained"])
    if (!new RegExp(`>${name}<`).test(html)) fail(`no class ${name} in the document`);
  if (!/<code>record_make/.test(html)) fail("the function that allocates is not named");
  console.log(`${series} series with ${points} points`);
}

// --- Requests ---------------------------------------------------------------------------------

// Chromium asks for things of its own (the time, updates) whatever it is told: those have no page as
// their initiator. The log is cut off when it ends: its lines are events, one each.
function requests(file, host) {
  const urls = new Set();
  for (const line of readFileSync(file, "utf8").split("\n")) {
    const url = /"url":"([^"]*)"/.exec(line)?.[1];
    const initiator = /"initiator":"([^"]*)"/.exec(line)?.[1] ?? "";
    if (url && initiator.startsWith("http")) urls.add(url);
  }
  const ours = [...urls].filter((url) => new URL(url).host === host);
  const others = [...urls].filter((url) => new URL(url).host !== host);
  if (others.length) fail(`asked of others: ${others.join(" ")}`);
  if (!ours.some((url) => url.includes("/debug/ebb/series"))) fail(`not even the series: ${ours}`);
  console.log(`${ours.length} addresses, all of ${host}`);
}

// --- The picture ------------------------------------------------------------------------------

// Rows of a PNG of eight bits a channel, unfiltered.
function pngRead(file) {
  const png = readFileSync(file), parts = [];
  let width = 0, height = 0, channels = 0;
  for (let at = 8; at < png.length;) {
    const size = png.readUInt32BE(at), type = png.toString("latin1", at + 4, at + 8);
    const body = png.subarray(at + 8, at + 8 + size);
    if (type === "IHDR") {
      width = body.readUInt32BE(0);
      height = body.readUInt32BE(4);
      channels = { 2: 3, 6: 4 }[body[9]] ?? fail(`colour type ${body[9]}`);
    }
    if (type === "IDAT") parts.push(body);
    at += size + 12;
  }
  const raw = inflateSync(Buffer.concat(parts)), stride = width * channels;
  const out = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)];
    for (let x = 0; x < stride; x++) {
      const left = x >= channels ? out[y * stride + x - channels] : 0;
      const up = y ? out[(y - 1) * stride + x] : 0;
      const corner = y && x >= channels ? out[(y - 1) * stride + x - channels] : 0;
      const p = left + up - corner, a = Math.abs(p - left), b = Math.abs(p - up), c = Math.abs(p - corner);
      const paeth = a <= b && a <= c ? left : b <= c ? up : corner;
      const guess = [0, left, up, (left + up) >> 1, paeth][filter];
      out[y * stride + x] = raw[y * (stride + 1) + 1 + x] + guess;
    }
  }
  return { width, height, channels, out };
}

// How many columns hold a pixel of this colour: a line crosses many, a swatch of the legend few.
function columnsOf(image, [r, g, b]) {
  const columns = new Set();
  for (let at = 0, i = 0; at < image.out.length; at += image.channels, i++)
    if (Math.abs(image.out[at] - r) + Math.abs(image.out[at + 1] - g) + Math.abs(image.out[at + 2] - b) < 12)
      columns.add(i % image.width);
  return columns.size;
}

function picture(file, scheme) {
  const image = pngRead(file);
  const css = readFileSync(new URL("../../src/debug/page/page.css", import.meta.url), "utf8");
  const [light, dark] = css.split("@media (prefers-color-scheme: dark)");
  const style = scheme === "dark" ? dark : light;
  const found = {};
  for (const name of ["goal", "live", "rss", "returned"]) {
    const hex = new RegExp(`--${name}: #([0-9a-f]{6})`).exec(style)[1];
    found[name] = columnsOf(image, [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  }
  console.log(JSON.stringify({ width: image.width, ...found }));
  for (const [name, columns] of Object.entries(found))
    if (columns < image.width / 6) fail(`the line of ${name} is not drawn`);
}

const [what, ...rest] = process.argv.slice(2);
({ document, requests, picture })[what](...rest);
