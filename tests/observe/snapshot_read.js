// snapshot_read.js FILE: reads a .heapsnapshot by @memlab/api, if it is installed where Node.js looks,
// and prints for each name of nodes the largest retained size that it finds.
const { getFullHeapFromFile } = require("@memlab/heap-analysis");

getFullHeapFromFile(process.argv[2]).then((heap) => {
  const largest = new Map();
  let nodes = 0;
  heap.nodes.forEach((node) => {
    nodes++;
    largest.set(node.name, Math.max(largest.get(node.name) ?? 0, node.retainedSize));
  });
  console.log(`nodes ${nodes}`);
  for (const [name, size] of largest) console.log(`${size} ${name}`);
});
