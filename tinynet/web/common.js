// What all parts of the page share: its state, and how numbers become text and colours.
"use strict";

const model = readModel(JSON.parse(document.getElementById("data").textContent));
const isImage = model.input.kind === "image";
const LAST = model.layers.length - 1;
const $ = (id) => document.getElementById(id);
const state = {
  strokes: [], // the drawing: { width, points: [[x, y], …] } for each stroke
  sample: null, // the index of the sample that is shown in place of a drawing
  values: new Float32Array(model.input.length), // the network's input, before scaling
  stages: null, // of the drawing's preparation
  passes: [], // x, z and a of every layer, as shown
  temperature: 1,
  chosen: null, // the unit that is shown: { layer, unit }
  pinned: null, // the unit that was clicked, shown again after the pointer leaves another
  selected: null, // the unit that the user clicked: a step may show another one for a while
  target: null, // what the input is, as far as known: its class or, for a single output, its number
  past: [], // earlier strokes and samples, for undo
  milliseconds: 0, // that the network's forward pass took
};

// Values of 0 … 1, scaled to the range that the network was trained on.
const inputOf = (values) => values.map((v) => v * model.input.brightest);
const isBlank = () => isImage && state.sample === null && state.stages === null;
const largestOf = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
const reducedMotion = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Elements

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
// Called in each frame: writing what is there already would make the browser do the layout again.
function setText(target, text) {
  const differs = target.textContent !== text;
  if (differs) target.textContent = text;
  return differs;
}
function setAttribute(target, name, value) {
  if (target.getAttribute(name) !== String(value)) target.setAttribute(name, value);
}

// For screen readers, which read a text again only if it differs from the one before.
function say(text) {
  $("said").textContent = $("said").textContent === text ? `${text}\u00a0` : text;
}

// Numbers

const withMinus = (text) => text.replace(/-/g, "−");
const number = (v) => {
  if (!Number.isFinite(v)) return withMinus(String(v).replace("Infinity", "∞"));
  const size = Math.abs(v);
  if (size === 0 || (size >= 0.001 && size < 10000)) return withMinus(v.toFixed(3));
  return withMinus(twoDigits(v.toExponential(2)));
};
// A loss that is nearly 0 is more easily read so.
const small = (v) => (v > 0 && v < 0.001 ? "<\u00a00.001" : number(v));
// As Python prints exponents: 1e-05
const twoDigits = (text) => text.replace(/e([+-])(\d)$/, "e$10$2");
// A probability in so many decimals that 1 − p and ln p can be computed from them.
const exactly = (p) => {
  const rest = Math.min(p, 1 - p);
  return rest >= 1e-16 ? p.toFixed(Math.min(20, Math.max(6, 4 + Math.ceil(-Math.log10(rest))))) : number(p);
};
const percent = (p) => (p < 1 && p >= 0.9995 ? ">\u00a099.9\u00a0%" : `${(100 * p).toFixed(1)}\u00a0%`);

// The colours of the theme

let palette = {}, inkTable = null, tintTable = null;
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const rgb = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
  };
  const names = ["zero", "positive", "negative", "cell", "text", "accent", "muted", "line", "wrong"];
  palette = Object.fromEntries(names.map((name) => [name, rgb(`--${name}`)]));
  inkTable = tableOf(asInk);
  tintTable = tableOf(tint);
}
// The colour of a value from −1 to 1: from the negative colour through that of 0 to the positive.
function tint(share) {
  const s = Math.max(-1, Math.min(1, share));
  const end = s < 0 ? palette.negative : palette.positive;
  return palette.zero.map((c, i) => Math.round(c + (end[i] - c) * Math.abs(s)));
}
const asInk = (v) => palette.cell.map((c, i) => Math.round(c + (palette.text[i] - c) * Math.max(0, Math.min(1, v))));
const rgba = (colour, alpha = 1) => `rgba(${palette[colour]}, ${alpha})`;

// Pictures are painted in each frame, so their colours are computed once: the indices 0 … 2·STEPS
// of `table` stand for the values −1 … 1.
const STEPS = 127;
function paint(canvas, pixels, w, h, table, largest = 1) {
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  const context = canvas.getContext("2d");
  const image = context.createImageData(w, h), words = new Uint32Array(image.data.buffer);
  for (let i = 0; i < w * h; i++) {
    const share = Math.max(-1, Math.min(1, pixels[i] / largest));
    words[i] = table[Math.round((share + 1) * STEPS)];
  }
  context.putImageData(image, 0, 0);
}
function tableOf(colour) {
  const table = new Uint32Array(2 * STEPS + 1), bytes = new Uint8Array(table.buffer);
  for (let i = 0; i <= 2 * STEPS; i++) bytes.set([...colour(i / STEPS - 1), 255], 4 * i);
  return table;
}

// The values of an image, one for each pixel: the mean over the channels of a colour image.
function greyOf(values) {
  const { h, w, channels } = model.input;
  if (channels === 1) return values;
  return Float32Array.from({ length: h * w }, (_, i) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += values[i * channels + c];
    return sum / channels;
  });
}
