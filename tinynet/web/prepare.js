// Reading the numbers that export_html wrote, and the preprocessing of a drawing. Nothing here depends
// on the page: all functions map numbers to numbers, like tinynet's datasets/prepare.py.
"use strict";

// Reading the data that export_html wrote

function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function floatsOf(bytes, type) {
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

// The network that export_html described, with its numbers decoded.
function readModel(data) {
  const decoded = (text) => (text === null ? null : floatsOf(bytesOf(text), data.type));
  const layers = data.layers.map((layer) => ({
    ...layer, kernel: decoded(layer.kernel), bias: decoded(layer.bias),
  }));
  return buildNetwork({ ...data, layers });
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
