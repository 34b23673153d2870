// The page: a pad to draw on, the stages of what is drawn, every unit, and the answer. All of it
// shows one state; whatever changes it calls `changed`, and the next frame shows it.
"use strict";

const PAD = 280; // the drawing's own pixels, whatever the size on the screen
const TOP = 6; // contributions that are listed
const MOST_UNITS = 1024; // shown of a layer

const model = readModel(JSON.parse(document.getElementById("data").textContent));
const isImage = model.input.kind === "image";
const $ = (id) => document.getElementById(id);
const state = {
  strokes: [], // of the drawing: { width, points: [[x, y], …] }
  sample: null, // the number of the test image that is shown in place of a drawing
  values: new Float32Array(model.input.length), // what goes into the network, before its scale
  stages: null,
  passes: [],
  temperature: 1,
  chosen: null, // the unit that is looked at: { layer, unit }
  pinned: null, // the one that was clicked, to which one comes back from others
  milliseconds: 0,
};

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const number = (v) => {
  if (!Number.isFinite(v)) return String(v);
  const size = Math.abs(v);
  return (size !== 0 && (size < 0.001 || size >= 10000) ? v.toExponential(2) : v.toFixed(3)).replace("-", "−");
};
const percent = (p) => (p < 1 && p >= 0.9995 ? ">\u00a099.9\u00a0%" : `${(100 * p).toFixed(1)}\u00a0%`);

// Colours, as the theme has them

let palette = {};
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const rgb = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
  };
  palette = { zero: rgb("--cell"), positive: rgb("--positive"), negative: rgb("--negative"), ink: rgb("--text") };
}
// From −1 to 1: the negative colour, that of nothing, the positive one.
function tint(share) {
  const s = Math.max(-1, Math.min(1, share));
  const end = s < 0 ? palette.negative : palette.positive;
  return palette.zero.map((c, i) => Math.round(c + (end[i] - c) * Math.abs(s)));
}
function paint(canvas, pixels, w, h, colour) {
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d");
  const image = context.createImageData(w, h);
  for (let i = 0; i < w * h; i++) image.data.set([...colour(pixels[i]), 255], 4 * i);
  context.putImageData(image, 0, 0);
}
const asInk = (v) => palette.zero.map((c, i) => Math.round(c + (palette.ink[i] - c) * Math.max(0, Math.min(1, v))));
const largestOf = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;

// Drawing

const inkCanvas = element("canvas", { width: PAD, height: PAD });
const inkContext = inkCanvas.getContext("2d", { willReadFrequently: true });

function drawStrokes(context, colour) {
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = context.fillStyle = colour;
  for (const { width, points } of state.strokes) {
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(...points[0]);
    if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
    for (const point of points.slice(1)) context.lineTo(...point);
    context.stroke();
  }
}

function inkOfDrawing() {
  inkContext.clearRect(0, 0, PAD, PAD);
  drawStrokes(inkContext, "#000");
  const { data } = inkContext.getImageData(0, 0, PAD, PAD);
  const ink = new Float32Array(PAD * PAD);
  for (let i = 0; i < ink.length; i++) ink[i] = data[4 * i + 3] / 255;
  return ink;
}

function pointOf(event) {
  const box = $("pad").getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * PAD, ((event.clientY - box.top) / box.height) * PAD];
}

function beginStroke(point) {
  state.sample = null;
  state.strokes.push({ width: Number($("brush").value), points: [point] });
  changed();
}
function extendStroke(point) {
  state.strokes.at(-1).points.push(point);
  changed();
}

const pen = { x: PAD / 2, y: PAD / 2, down: false, shown: false }; // of the keyboard
function movePen(dx, dy) {
  pen.shown = true;
  pen.x = Math.max(0, Math.min(PAD, pen.x + dx));
  pen.y = Math.max(0, Math.min(PAD, pen.y + dy));
  if (pen.down) extendStroke([pen.x, pen.y]);
  changed();
}

const undo = () => (state.sample === null ? state.strokes.pop() : (state.sample = null), changed());
const clear = () => ((state.sample = null), (state.strokes = []), (pen.down = false), changed());

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function setUpDrawing() {
  const pad = $("pad");
  pad.setAttribute("aria-label", "Drawing area");
  $("pad-help").replaceChildren("With mouse, pen or finger. ", element("span", { class: "keys" },
    "With the keyboard: arrow keys move the pen, space puts it down and lifts it."));
  let drawing = null; // the pointer that draws; other fingers do not
  pad.addEventListener("pointerdown", (event) => {
    if (drawing !== null || event.button !== 0) return;
    drawing = event.pointerId;
    pad.setPointerCapture(drawing);
    pen.down = pen.shown = false;
    beginStroke(pointOf(event));
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.pointerId !== drawing) return;
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [event]) extendStroke(pointOf(one));
  });
  const lift = (event) => {
    if (event.pointerId === drawing) drawing = null;
  };
  pad.addEventListener("pointerup", lift);
  pad.addEventListener("pointercancel", lift);
  pad.addEventListener("keydown", (event) => {
    if (event.key in ARROWS) {
      const step = event.shiftKey ? 2 : 8;
      movePen(...ARROWS[event.key].map((d) => d * step));
    } else if (event.key === " ") {
      pen.down = !pen.down;
      pen.shown = true;
      if (pen.down) beginStroke([pen.x, pen.y]);
      else changed();
    } else if (event.key === "Delete" || event.key === "Backspace") clear();
    else return;
    event.preventDefault();
  });
  pad.addEventListener("blur", () => {
    pen.down = pen.shown = false;
    changed();
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z") {
      event.preventDefault();
      undo();
    }
  });
  $("undo").addEventListener("click", undo);
  $("clear").addEventListener("click", clear);
}

function showPad() {
  const pad = $("pad");
  const size = Math.max(PAD, Math.round(pad.clientWidth * (window.devicePixelRatio || 1)));
  if (pad.width !== size) pad.width = pad.height = size;
  const context = pad.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, size, size);
  const ink = `rgb(${palette.ink})`;
  if (state.sample !== null) {
    const { h, w } = model.input;
    for (let i = 0; i < h * w; i++) {
      context.fillStyle = `rgb(${asInk(state.values[i])})`;
      const x = Math.floor(((i % w) * size) / w), y = Math.floor((Math.floor(i / w) * size) / h);
      context.fillRect(x, y, Math.ceil(size / w), Math.ceil(size / h));
    }
    return;
  }
  context.scale(size / PAD, size / PAD);
  drawStrokes(context, ink);
  if (pen.shown) {
    context.lineWidth = 2;
    context.strokeStyle = `rgb(${palette.positive})`;
    context.beginPath();
    context.arc(pen.x, pen.y, Number($("brush").value) / 2, 0, 7);
    context.stroke();
    if (pen.down) {
      context.beginPath();
      context.arc(pen.x, pen.y, 3, 0, 7);
      context.stroke();
    }
  }
}

// A plain vector: bars that are pulled up and down

const bars = { at: 0 };
function setUpBars() {
  document.body.classList.add("vector");
  $("input-title").textContent = "The input";
  $("tools").querySelector("#brush-label").remove();
  $("undo").remove();
  $("clear").textContent = "All to 0";
  $("clear").addEventListener("click", () => ((state.sample = null), state.values.fill(0), changed()));
  const pad = $("pad"), [low, high] = model.input.range;
  pad.setAttribute("role", "slider");
  pad.setAttribute("aria-label", "Numbers that go in");
  $("pad-help").replaceChildren("Pull the bars. ", element("span", { class: "keys" },
    "With the keyboard: left and right choose one, up and down change it."));
  const pull = (event) => {
    const box = pad.getBoundingClientRect();
    const clamp = (v) => Math.max(0, Math.min(0.999999, v));
    bars.at = Math.floor(clamp((event.clientX - box.left) / box.width) * model.input.length);
    set(high - clamp((event.clientY - box.top) / box.height) * (high - low));
  };
  const set = (value) => {
    state.sample = null;
    state.values[bars.at] = Math.max(low, Math.min(high, value));
    changed();
  };
  pad.addEventListener("pointerdown", (event) => (pad.setPointerCapture(event.pointerId), pull(event)));
  pad.addEventListener("pointermove", (event) => event.buttons && pull(event));
  pad.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    const [right, down] = ARROWS[event.key];
    const length = model.input.length;
    bars.at = (bars.at + right + length) % length;
    if (down) set(state.values[bars.at] - (down * (high - low)) / 20);
    changed();
  });
}

function showBars() {
  const pad = $("pad"), ratio = window.devicePixelRatio || 1;
  pad.width = Math.round(pad.clientWidth * ratio);
  pad.height = Math.round(pad.clientHeight * ratio);
  const context = pad.getContext("2d"), [low, high] = model.input.range;
  const y = (v) => ((high - v) / (high - low)) * pad.height;
  const width = pad.width / model.input.length, zero = y(Math.max(low, Math.min(high, 0)));
  state.values.forEach((v, i) => {
    context.fillStyle = `rgb(${tint(v < 0 ? -1 : 1)})`;
    context.fillRect(i * width + width * 0.1, Math.min(zero, y(v)), width * 0.8, Math.abs(y(v) - zero));
  });
  context.strokeStyle = context.fillStyle = `rgb(${palette.ink})`;
  context.lineWidth = ratio;
  context.strokeRect(0, zero, pad.width, 0);
  context.strokeRect(bars.at * width, ratio, width, pad.height - 2 * ratio);
  pad.setAttribute("aria-valuemin", low);
  pad.setAttribute("aria-valuemax", high);
  pad.setAttribute("aria-valuenow", state.values[bars.at]);
  pad.setAttribute("aria-valuetext", `number ${bars.at + 1} is ${number(state.values[bars.at])}`);
}

// Samples

function setUpSamples() {
  const { samples } = model;
  if (samples === null) return $("samples-part").remove();
  const all = samples.type === "uint8" ? bytesOf(samples.x) : floatsOf(samples.x, "float32");
  const length = model.input.length;
  samples.rows = Array.from({ length: samples.y.length }, (_, n) =>
    Float32Array.from(all.subarray(n * length, (n + 1) * length), (v) => v * samples.scale));
  const wrong = samples.wrong.filter(Boolean).length;
  $("samples-title").textContent = `${samples.y.length} samples` + (wrong ? `; it gets the ${wrong} dashed ones wrong` : "");
  samples.rows.forEach((row, n) => {
    const button = element("button", { type: "button", class: samples.wrong[n] ? "wrong" : "" });
    const truth = model.labels[samples.y[n]] ?? samples.y[n];
    button.setAttribute("aria-label", `Sample ${n + 1}, a ${truth}${samples.wrong[n] ? ", which it gets wrong" : ""}`);
    if (isImage) button.append(element("canvas"));
    else button.append(String(truth));
    button.addEventListener("click", () => {
      state.sample = n;
      state.strokes = [];
      if (!isImage) state.values.set(row);
      changed();
    });
    $("samples").append(button);
  });
}

function showSamples() {
  if (model.samples === null) return;
  [...$("samples").children].forEach((button, n) => {
    button.dataset.chosen = state.sample === n;
  });
}
function paintSamples() {
  if (model.samples === null || !isImage) return;
  const { h, w } = model.input;
  [...$("samples").children].forEach((button, n) =>
    paint(button.firstChild, greyOf(model.samples.rows[n]), w, h, asInk));
}

// An image's numbers, one for each pixel: of a colour image the mean of its channels.
function greyOf(values) {
  const { h, w, channels } = model.input;
  if (channels === 1) return values;
  return Float32Array.from({ length: h * w }, (_, i) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += values[i * channels + c];
    return sum / channels;
  });
}

// From the state to the numbers

function compute() {
  const start = performance.now();
  if (isImage) {
    const { h, w, channels, box } = model.input;
    state.values.fill(0);
    state.stages = null;
    if (state.sample !== null) state.values.set(model.samples.rows[state.sample]);
    else {
      state.stages = prepare(inkOfDrawing(), PAD, PAD, h, box);
      if (state.stages !== null) {
        state.stages.centred.pixels.forEach((v, i) => {
          for (let c = 0; c < channels; c++) state.values[i * channels + c] = v;
        });
      }
    }
  }
  state.passes = forward(model, inputOf(state.values), state.temperature);
  state.milliseconds = performance.now() - start;
}

// Values of 0…1 in the units in which the network was trained.
const inputOf = (values) => values.map((v) => v * model.input.brightest);
const isBlank = () => isImage && state.sample === null && state.stages === null;

// Showing

let waiting = false;
function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    compute();
    show();
  });
}

function show() {
  if (isImage) showPad();
  else showBars();
  showSamples();
  showStages();
  showUnits();
  showOutputs();
  showSteps();
  showUnit();
  $("timing").textContent = `${state.milliseconds.toFixed(1)} ms`;
}

function showStages() {
  const part = $("stages-part");
  part.hidden = !isImage;
  if (!isImage) return;
  const { h, w } = model.input;
  const blank = { pixels: new Float32Array(h * w), h, w };
  const seen = { pixels: greyOf(state.values), h, w };
  const box = model.input.box;
  const stages = state.sample !== null
    ? [["as it is", seen]]
    : [
        ["1. cut out", state.stages?.cropped ?? blank],
        [`2. its longer side ${box} pixels`, state.stages?.scaled ?? blank],
        [`3. its centre of mass in the middle of ${w} × ${h}`, state.stages?.centred ?? blank],
      ];
  const list = $("stages");
  if (list.children.length !== stages.length) {
    list.replaceChildren(...stages.map(() => element("figure", {}, element("canvas"), element("figcaption"))));
  }
  stages.forEach(([caption, stage], n) => {
    const [canvas, words] = list.children[n].children;
    const shown = onSquare(stage);
    paint(canvas, shown.pixels, shown.side, shown.side, asInk);
    if (words.textContent !== caption) words.textContent = caption;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${caption}: ${stage.w} by ${stage.h} pixels`);
  });
}

// A picture in the middle of a square, so that its proportions stay.
function onSquare({ pixels, h, w }) {
  const side = Math.max(h, w), square = new Float32Array(side * side);
  const top = (side - h) >> 1, left = (side - w) >> 1;
  for (let y = 0; y < h; y++) square.set(pixels.subarray(y * w, (y + 1) * w), (top + y) * side + left);
  return { pixels: square, side };
}

const isSigned = (layer) => !["sigmoid", "softmax"].includes(layer.activation);

function setUpUnits() {
  model.layers.slice(0, -1).forEach((layer, l) => {
    const shown = Math.min(layer.units, MOST_UNITS), columns = Math.ceil(Math.sqrt(shown));
    const style = `grid-template-columns: repeat(${columns}, 1fr); max-width: ${2.6 * columns}rem`;
    const grid = element("div", { class: "units", role: "group", style });
    for (let u = 0; u < shown; u++) grid.append(unitButton(l, u, columns, shown, ""));
    const words = `${layer.name}: ${layer.units} units, ${layer.activation}` +
      (shown < layer.units ? ` (the first ${shown})` : "");
    const title = element("h3", { id: `layer-${l}` }, words);
    grid.setAttribute("aria-labelledby", title.id);
    $("layers").append(element("div", {}, title, grid));
  });
  $("network").hidden = model.layers.length < 2;
  const last = model.layers.length - 1, { units } = model.layers[last];
  const longest = model.labels.slice(0, units).reduce((n, label) => Math.max(n, label.length), 2);
  $("outputs").style.setProperty("--label", `${Math.min(longest, 14) + 0.5}ch`);
  for (let u = 0; u < units; u++) {
    const button = unitButton(last, u, 1, units, "output");
    button.append(
      element("span", {}, model.labels[u]),
      element("span", { class: "track" }, element("i")),
      element("span", { class: "value" }));
    $("outputs").append(button);
  }
}

function unitButton(l, u, columns, count, kind) {
  const button = element("button", { type: "button", class: kind, tabindex: u === 0 ? 0 : -1 });
  const unit = { layer: l, unit: u };
  button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && look(unit));
  button.addEventListener("pointerleave", () => state.pinned !== null && look(state.pinned));
  button.addEventListener("focus", () => button.matches(":focus-visible") && pin(unit));
  button.addEventListener("click", () => {
    pin(unit);
    if (getComputedStyle(button.closest(".column")).display !== "contents") return;
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    $("unit").scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" }); // on a phone
  });
  button.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    const [right, down] = ARROWS[event.key];
    const to = u + right + down * columns;
    if (to < 0 || to >= count) return;
    const next = button.parentElement.children[to];
    button.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  return button;
}

function look(unit) {
  state.chosen = unit;
  showUnit(); // now: by the next frame, the focus may be in what this replaces
  changed();
}
function pin(unit) {
  state.pinned = unit;
  look(unit);
}

const buttonsOf = (l) => (l === model.layers.length - 1 ? $("outputs") : $("layers").children[l].lastChild).children;

function showUnits() {
  model.layers.forEach((layer, l) => {
    const { a } = state.passes[l], last = l === model.layers.length - 1;
    const most = ["sigmoid", "softmax", "tanh"].includes(layer.activation) ? 1 : largestOf(a);
    const buttons = buttonsOf(l);
    for (let u = 0; u < buttons.length; u++) {
      const button = buttons[u], off = layer.off.has(u);
      if (!last) button.style.backgroundColor = `rgb(${tint(a[u] / most)})`;
      button.classList.toggle("off", off);
      const chosen = String(state.chosen?.layer === l && state.chosen.unit === u);
      if (button.dataset.chosen !== chosen) {
        button.dataset.chosen = chosen;
        if (!last) button.setAttribute("aria-pressed", chosen);
      }
      // Only what has the focus is read out; labelling all of them in each frame takes too long.
      if (!last && (!button.hasAttribute("aria-label") || chosen === "true")) {
        button.setAttribute("aria-label", `${layer.name}, unit ${u + 1}: ${off ? "off" : number(a[u])}`);
      }
    }
  });
}

let speaking = 0;
function showOutputs() {
  const l = model.layers.length - 1, layer = model.layers[l], { a } = state.passes[l];
  const probabilities = layer.activation === "softmax";
  const most = probabilities || layer.activation === "sigmoid" ? 1 : largestOf(a);
  const best = a.indexOf(a.reduce((x, y) => Math.max(x, y), -Infinity));
  const blank = isBlank(), classes = layer.units > 1;
  [...$("outputs").children].forEach((button, u) => {
    const [, track, value] = button.children, bar = track.firstChild;
    bar.style.width = blank ? "0" : `${(100 * Math.abs(a[u])) / most}%`;
    bar.className = a[u] < 0 ? "negative" : "";
    value.textContent = blank ? "" : probabilities ? percent(a[u]) : number(a[u]);
    button.classList.toggle("best", !blank && classes && u === best);
  });
  let name = "–", words = "Draw something, or take a sample.";
  if (!blank && classes) {
    name = model.labels[best];
    words = probabilities ? `with ${percent(a[best])}` : `with ${number(a[best])}`;
    if (state.sample !== null) {
      const truth = model.labels[model.samples.y[state.sample]] ?? model.samples.y[state.sample];
      words += truth === name ? "; it is right." : `; wrong: it is a ${truth}.`;
    }
  } else if (!blank) words = `${model.labels[0]}: ${number(a[0])}`;
  $("verdict-name").textContent = blank || classes ? name : "";
  $("verdict-words").textContent = words;
  $("brief").textContent = blank || !classes ? "" : `${name} ${probabilities ? percent(a[best]) : ""}`;
  clearTimeout(speaking);
  speaking = setTimeout(() => ($("spoken").textContent = blank ? "" : `${name} ${words}`), 600);
}

function showSteps() {
  const l = model.layers.length - 1, layer = model.layers[l];
  if (!$("steps").open || layer.activation !== "softmax") return;
  const { scaled, largest, powers, sum } = softmaxSteps(state.passes[l].z, state.temperature);
  const { z } = state.passes[l];
  const cells = (tag, words) => words.map((word) => element(tag, {}, word));
  const head = element("tr", {}, ...cells("th", ["", "z", "z ÷ T", "− largest", "e to that", "÷ sum"]));
  const two = (v) => v.toFixed(2).replace("-", "−");
  const power = (v) => (v < 0.001 ? v.toExponential(1).replace("-", "−") : v.toFixed(3));
  const rows = [...z].map((v, u) => element("tr", {}, ...cells("td", [
    model.labels[u], two(v), two(scaled[u]), two(scaled[u] - largest), power(powers[u]), percent(powers[u] / sum)])));
  const foot = element("tr", {}, ...cells("td", ["sum", "", "", "", power(sum), "100\u00a0%"]));
  $("steps-table").replaceChildren(
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows, foot)));
}

// One unit, its weights and its sum

// How the numbers that go into a layer lie in a picture, and what each of them is called.
function mapOf(l) {
  if (l === 0 && isImage) {
    const { h, w, channels } = model.input;
    return { h, w, grey: greyOf, name: (i) => {
      const pixel = Math.floor(i / channels);
      return `pixel ${(pixel % w) + 1} → ${Math.floor(pixel / w) + 1} ↓`;
    } };
  }
  const length = l === 0 ? model.input.length : model.layers[l - 1].units;
  const w = Math.ceil(Math.sqrt(length)), h = Math.ceil(length / w);
  const grey = (values) => {
    const padded = new Float32Array(w * h);
    padded.set(values);
    return padded;
  };
  const from = l === 0 ? "input" : model.layers[l - 1].name;
  return { h, w, grey, name: (i) => `${from}, ${l === 0 ? "number" : "unit"} ${i + 1}` };
}

let built = ""; // for which unit the section below was made
function showUnit() {
  if (state.chosen === null) return;
  const { layer: l, unit: u } = state.chosen, layer = model.layers[l], { x, z, a } = state.passes[l];
  if (built !== `${l}/${u}`) buildUnit(l, u);
  built = `${l}/${u}`;
  $("unit-off").checked = layer.off.has(u);
  $("all-on").hidden = model.layers.every(({ off }) => off.size === 0);
  const f = layer.activation, off = layer.off.has(u);
  const input = isBlank() ? " (of an empty drawing)" : "";
  if (layer.kernel === null) {
    $("unit-sum").textContent = `a = ${f}(${number(z[u])}) = ${number(a[u])}`;
    return;
  }
  const weights = Float32Array.from({ length: x.length }, (_, i) => layer.kernel[i * layer.units + u]);
  const shares = weights.map((w, i) => w * x[i]), map = mapOf(l);
  const total = shares.reduce((p, q) => p + q, 0), bias = layer.bias === null ? 0 : layer.bias[u];
  const sum = `z = Σ w x + b = ${number(total)} ${bias < 0 ? "−" : "+"} ${number(Math.abs(bias))} = ${number(z[u])}`;
  const result = f === "softmax" ? `a = its share of the softmax = ${percent(a[u])}` : `a = ${f}(z) = ${number(a[u])}`;
  $("unit-sum").textContent = `${sum}${input}`;
  $("unit-activation").textContent = off ? "a = 0: it is turned off" : result;
  const [kernelImage, shareImage] = $("unit").querySelectorAll("canvas");
  const most = largestOf(shares);
  if (shareImage.dataset.for !== "done") {
    const largest = largestOf(weights);
    paint(kernelImage, map.grey(weights), map.w, map.h, (v) => tint(v / largest));
    kernelImage.parentElement.querySelector(".scale").replaceChildren(`−${number(largest)}`, element("i"), number(largest));
    shareImage.dataset.for = "done";
  }
  paint(shareImage, map.grey(shares), map.w, map.h, (v) => tint(v / most));
  shareImage.parentElement.querySelector(".scale").replaceChildren(`−${number(most)}`, element("i"), number(most));
  const order = [...shares.keys()].filter((i) => shares[i] !== 0)
    .sort((p, q) => Math.abs(shares[q]) - Math.abs(shares[p])).slice(0, TOP);
  $("unit-top").replaceChildren(...(order.length ? order : []).map((i) => element("tr", {},
    ...[map.name(i), number(x[i]), number(weights[i]), number(shares[i])].map((word) => element("td", {}, word)))));
}

function buildUnit(l, u) {
  const layer = model.layers[l], last = l === model.layers.length - 1;
  $("unit-title").textContent = last ? `Output “${model.labels[u]}” (${layer.name})` : `${layer.name}, unit ${u + 1}`;
  const off = element("input", { type: "checkbox", id: "unit-off" });
  off.addEventListener("change", () => {
    layer.off[off.checked ? "add" : "delete"](u);
    changed();
  });
  const on = element("button", { type: "button", id: "all-on" }, "Turn all on");
  on.addEventListener("click", () => {
    model.layers.forEach(({ off }) => off.clear());
    changed();
  });
  const figure = (caption) => element("figure", {},
    element("canvas", { role: "img", "aria-label": caption }), element("div", { class: "scale" }), element("figcaption", {}, caption));
  const head = element("tr", {}, ...["from", "x", "w", "w x"].map((word) => element("th", {}, word)));
  const parts = layer.kernel === null ? [element("p", { id: "unit-sum", class: "sum" })] : [
    element("p", { id: "unit-sum", class: "sum" }),
    element("p", { id: "unit-activation", class: "sum" }),
    element("div", { class: "pictures" },
      figure("its weights w"), figure("weights × what comes in, w x"),
      element("div", { class: "table" },
        element("h3", {}, "What counts most"),
        element("table", {}, element("thead", {}, head), element("tbody", { id: "unit-top" })))),
  ];
  $("unit-body").replaceChildren(
    element("div", { class: "tools" }, element("label", {}, off, " Turn this unit off"), on), ...parts);
}

// Beginning

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", dark);
  readPalette();
  paintSamples();
  built = "";
  changed();
}

function begin() {
  $("about").textContent = model.about;
  if (isImage) setUpDrawing();
  else setUpBars();
  setUpSamples();
  setUpUnits();
  const softmax = model.layers.at(-1).activation === "softmax";
  $("heat").hidden = $("steps").hidden = !softmax;
  $("temperature").addEventListener("input", (event) => {
    state.temperature = 10 ** Number(event.target.value);
    $("temperature-value").textContent = state.temperature.toFixed(2);
    changed();
  });
  $("steps").addEventListener("toggle", changed);
  $("brush")?.addEventListener("input", changed);
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", (event) => setTheme(event.matches));
  $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));
  window.addEventListener("resize", changed);
  compute();
  setTheme(system.matches);
}

begin();
