// The forward pass of the network, and the preprocessing of a drawing. Nothing here depends on the
// page: all functions map numbers to numbers, like tinynet's layers.py and datasets/prepare.py.
"use strict";

// Reading the data that export_html wrote

function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function floatsOf(text, type) {
  const bytes = bytesOf(text);
  const view = new DataView(bytes.buffer); // little-endian on every machine
  if (type === "float32") {
    return Float32Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  }
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => half(view.getUint16(2 * i, true)));
}

// The value of a float16: a sign bit, five exponent bits and ten fraction bits.
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function readModel(data) {
  const layers = data.layers.map((layer) => ({
    ...layer,
    kernel: layer.kernel === null ? null : floatsOf(layer.kernel, data.type),
    bias: layer.bias === null ? null : floatsOf(layer.bias, data.type),
    off: new Set(), // the units that the user has turned off
  }));
  return { ...data, layers };
}

// The forward pass

const ACTIVATIONS = {
  linear: (z) => Float64Array.from(z),
  sigmoid: (z) => z.map((v) => 1 / (1 + Math.exp(-v))),
  tanh: (z) => z.map((v) => Math.tanh(v)),
  relu: (z) => z.map((v) => Math.max(0, v)),
  softmax: (z) => softmaxSteps(z, 1).p,
};

// p_k = e^(z_k / T) / Σ_j e^(z_j / T). The largest z / T is subtracted first, so that no exponential
// overflows; this does not change p. A unit that is off has p = 0: its z is replaced by −∞.
function softmaxSteps(z, temperature, off = new Set()) {
  const scaled = z.map((v, k) => (off.has(k) && off.size < z.length ? -Infinity : v / temperature));
  const largest = scaled.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = scaled.map((v) => Math.exp(v - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return { scaled, largest, powers, sum, p: powers.map((v) => v / sum) };
}

// z_j = Σ_i x_i W_ij + b_j. Most pixels are 0 and contribute nothing, so they are skipped.
function weightedSums(layer, x) {
  const z = layer.bias === null ? new Float64Array(layer.units) : Float64Array.from(layer.bias);
  for (let i = 0; i < x.length; i++) {
    if (x[i] === 0) continue;
    const row = i * layer.units;
    for (let j = 0; j < layer.units; j++) z[j] += x[i] * layer.kernel[row + j];
  }
  return z;
}

// The forward pass: for every layer its input (x), weighted sums (z) and activations (a).
function forward(model, input, temperature = 1) {
  let x = Float64Array.from(input);
  const passes = [];
  model.layers.forEach((layer, number) => {
    const z = layer.kernel === null ? x : weightedSums(layer, x);
    const last = number === model.layers.length - 1;
    const a =
      last && layer.activation === "softmax"
        ? softmaxSteps(z, temperature, layer.off).p
        : ACTIVATIONS[layer.activation](z);
    for (const unit of layer.off) a[unit] = 0;
    passes.push({ x, z, a });
    x = a;
  });
  return passes;
}

// MNIST's preprocessing of a drawing with ink from 0 to 1: crop it, scale it to fit the box
// (20 pixels in MNIST), and put its centre of mass in the middle of the image (28 × 28).
// `size` and `box` are { h, w }.

function prepare(ink, width, height, size, box) {
  let top = height, bottom = -1, left = width, right = -1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (ink[y * width + x] > 0) {
        if (y < top) top = y;
        if (y > bottom) bottom = y;
        if (x < left) left = x;
        if (x > right) right = x;
      }
    }
  }
  if (bottom < 0) return null;
  const h = bottom - top + 1, w = right - left + 1;
  const cropped = new Float32Array(h * w);
  for (let y = 0; y < h; y++) {
    const from = (top + y) * width + left;
    cropped.set(ink.subarray(from, from + w), y * w);
  }
  const byHeight = h * box.w >= w * box.h; // which side limits the scale
  const scale = byHeight ? box.h / h : box.w / w;
  const newH = byHeight ? box.h : Math.max(1, Math.floor(h * scale + 0.5));
  const newW = byHeight ? Math.max(1, Math.floor(w * scale + 0.5)) : box.w;
  const scaled = resize(cropped, h, w, newH, newW);
  let mass = 0, downward = 0, rightward = 0;
  for (let y = 0; y < newH; y++) {
    for (let x = 0; x < newW; x++) {
      const v = scaled[y * newW + x];
      mass += v;
      downward += v * y;
      rightward += v * x;
    }
  }
  const place = (centre, length, side) =>
    Math.min(Math.max(Math.floor(side / 2 - centre + 0.5), 0), side - length);
  const y0 = place(downward / mass, newH, size.h), x0 = place(rightward / mass, newW, size.w);
  const centred = new Float32Array(size.h * size.w);
  for (let y = 0; y < newH; y++) {
    centred.set(scaled.subarray(y * newW, (y + 1) * newW), (y0 + y) * size.w + x0);
  }
  return {
    cropped: { pixels: cropped, h, w, top, left },
    scaled: { pixels: scaled, h: newH, w: newW },
    centred: { pixels: centred, h: size.h, w: size.w },
  };
}

// Each new pixel is the mean of the old pixels that it covers, weighted by the covered area.
function resize(pixels, h, w, newH, newW) {
  const rows = shares(h, newH), columns = shares(w, newW);
  const half = new Float64Array(newH * w);
  rows.forEach(({ first, parts }, y) => {
    parts.forEach((part, k) => {
      const from = (first + k) * w;
      for (let x = 0; x < w; x++) half[y * w + x] += part * pixels[from + x];
    });
  });
  const result = new Float32Array(newH * newW);
  for (let y = 0; y < newH; y++) {
    columns.forEach(({ first, parts }, x) => {
      let sum = 0;
      parts.forEach((part, k) => (sum += part * half[y * w + first + k]));
      result[y * newW + x] = sum;
    });
  }
  return result;
}

// For each of `to` new pixels, the first of the `from` old pixels that it covers, and their weights.
function shares(from, to) {
  const length = from / to;
  return Array.from({ length: to }, (_, i) => {
    const start = i * length, end = Math.min(start + length, from);
    const first = Math.floor(start), last = Math.min(Math.ceil(end), from);
    const parts = [];
    for (let j = first; j < last; j++) {
      parts.push((Math.min(j + 1, end) - Math.max(j, start)) / length);
    }
    return { first, parts };
  });
}
