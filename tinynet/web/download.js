// The weights as a file for Python: an .npz, which is a zip of NumPy's .npy files, here uncompressed.
// Sources: NumPy Enhancement Proposal 1; PKWARE's APPNOTE.TXT.
"use strict";

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});
const crc32 = (bytes) => ~bytes.reduce((crc, byte) => CRC[(crc ^ byte) & 255] ^ (crc >>> 8), -1) >>> 0;
const asText = (text) => new TextEncoder().encode(text);

// Numbers in little-endian order, from pairs of a value and its size in bytes.
function littleEndian(...pairs) {
  return Uint8Array.from(pairs.flatMap(([value, size]) =>
    Array.from({ length: size }, (_, n) => Math.floor(value / 2 ** (8 * n)) % 256)));
}
function joined(...parts) {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}

// Magic and version, the length of the description, and the description, 64 · n bytes in all.
function npyOf(array, shape) {
  const words = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")},), }`;
  const text = asText(`${words.padEnd(Math.ceil((words.length + 11) / 64) * 64 - 11)}\n`);
  const numbers = new DataView(new ArrayBuffer(4 * array.length));
  array.forEach((v, i) => numbers.setFloat32(4 * i, v, true));
  return joined(Uint8Array.of(0x93), asText("NUMPY"), Uint8Array.of(1, 0), littleEndian([text.length, 2]), text,
    new Uint8Array(numbers.buffer));
}

function zipOf(files) {
  const bodies = [], entries = [];
  let start = 0;
  for (const [name, bytes] of files) {
    // Version 2.0, no flags, not compressed, 1 January 1980, checksum, both sizes, the name's length
    const facts = littleEndian([20, 2], [0, 2], [0, 2], [0, 2], [33, 2], [crc32(bytes), 4], [bytes.length, 4],
      [bytes.length, 4], [name.length, 2], [0, 2]);
    const body = joined(asText("PK\x03\x04"), facts, asText(name), bytes);
    // The same facts once more, no comment, no attributes, and where the file starts
    const place = littleEndian([0, 10], [start, 4]);
    entries.push(joined(asText("PK\x01\x02"), littleEndian([20, 2]), facts, place, asText(name)));
    bodies.push(body);
    start += body.length;
  }
  const list = joined(...entries), count = [entries.length, 2];
  const end = littleEndian([0, 4], count, count, [list.length, 4], [start, 4], [0, 2]);
  return joined(...bodies, list, asText("PK\x05\x06"), end);
}

// kernel_1, bias_1, kernel_2 …, and the architecture in words, by which Python knows whose they are.
function weightsFile() {
  const files = [["architecture.txt", asText(model.architecture)]];
  model.layers.filter(({ kernel }) => kernel !== null).forEach(({ kernel, bias, inputs, units }, n) => {
    files.push([`kernel_${n + 1}.npy`, npyOf(kernel, [inputs, units])]);
    if (bias !== null) files.push([`bias_${n + 1}.npy`, npyOf(bias, [units])]);
  });
  return zipOf(files);
}

function downloadWeights() {
  const address = URL.createObjectURL(new Blob([weightsFile()], { type: "application/zip" }));
  element("a", { href: address, download: "weights.npz" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
  learning.note = 'Downloaded. In Python: import tinynet; tinynet.web.load_weights(model, "weights.npz")';
  say(learning.note);
  changed();
}
