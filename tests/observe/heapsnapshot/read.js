// read.js FILE: reads a .heapsnapshot by @memlab/core, which computes retained sizes itself, and
// prints the nodes, and for each name the largest retained size.
const { analysis, config, utils } = require("@memlab/core");

async function main(file) {
  config.muteConsole = true;
  const heap = await utils.getSnapshotFromFile(file, { buildNodeIdIndex: true });
  analysis.preparePathFinder(heap);
  const largest = new Map();
  let nodes = 0;
  heap.nodes.forEach((node) => {
    nodes++;
    largest.set(node.name, Math.max(largest.get(node.name) ?? 0, node.retainedSize));
  });
  console.log(`nodes ${nodes}`);
  for (const [name, size] of largest) console.log(`${size} ${name}`);
}

main(process.argv[2]);
