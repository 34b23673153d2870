// The page: a pad to draw on, the stages of the drawing, every unit, and the answer. Everything
// shows one `state`; code that changes it calls `changed`, and the next frame redraws the page.
"use strict";

const TOP = 6; // the number of contributions listed for a unit
const MOST_UNITS = 1024; // the most units shown of a layer

const model = readModel(JSON.parse(document.getElementById("data").textContent));
const isImage = model.input.kind === "image";
// The resolution of the drawing, independent of its size on the screen.
const PAD_W = 280;
const PAD_H = isImage ? Math.round((PAD_W * model.input.h) / model.input.w) : PAD_W;
const $ = (id) => document.getElementById(id);
const state = {
  strokes: [], // the drawing: { width, points: [[x, y], …] } for each stroke
  sample: null, // the index of the sample that is shown in place of a drawing
  values: new Float32Array(model.input.length), // the network's input, before scaling
  stages: null,
  passes: [],
  temperature: 1,
  chosen: null, // the unit that is shown: { layer, unit }
  past: [], // earlier strokes and samples, for undo
  pinned: null, // the unit that was clicked, shown again after the pointer leaves another
  milliseconds: 0,
};

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
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

// The colours of the theme

let palette = {}, inkTable = null, tintTable = null;
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const rgb = (name) => {
    const hex = style.getPropertyValue(name).trim().slice(1);
    return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
  };
  palette = Object.fromEntries(
    ["zero", "positive", "negative", "cell", "text", "accent"].map((name) => [name, rgb(`--${name}`)]));
  inkTable = tableOf(asInk);
  tintTable = tableOf(tint);
}
// The colour of a value from −1 to 1: from the negative colour through that of 0 to the positive.
function tint(share) {
  const s = Math.max(-1, Math.min(1, share));
  const end = s < 0 ? palette.negative : palette.positive;
  return palette.zero.map((c, i) => Math.round(c + (end[i] - c) * Math.abs(s)));
}
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
const asInk = (v) => palette.cell.map((c, i) => Math.round(c + (palette.text[i] - c) * Math.max(0, Math.min(1, v))));
const largestOf = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;

// Drawing. Finished strokes are kept in a separate canvas, so that each frame redraws only the
// last one.

const finished = { canvas: element("canvas", { width: PAD_W, height: PAD_H }), strokes: [] };
const inkCanvas = element("canvas", { width: PAD_W, height: PAD_H });
const inkContext = inkCanvas.getContext("2d", { willReadFrequently: true });

function drawStroke(context, { width, points }) {
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(...points[0]);
  if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
  for (const point of points.slice(1)) context.lineTo(...point);
  context.stroke();
}

function inkOfDrawing() {
  const done = state.strokes.slice(0, -1), context = finished.canvas.getContext("2d");
  if (done.length < finished.strokes.length || finished.strokes.some((stroke, i) => stroke !== done[i])) {
    context.clearRect(0, 0, PAD_W, PAD_H);
    finished.strokes = [];
  }
  for (const stroke of done.slice(finished.strokes.length)) drawStroke(context, stroke);
  finished.strokes = done;
  inkContext.clearRect(0, 0, PAD_W, PAD_H);
  inkContext.drawImage(finished.canvas, 0, 0);
  if (state.strokes.length > 0) drawStroke(inkContext, state.strokes.at(-1));
  const { data } = inkContext.getImageData(0, 0, PAD_W, PAD_H);
  const ink = new Float32Array(PAD_W * PAD_H);
  for (let i = 0; i < ink.length; i++) ink[i] = data[4 * i + 3] / 255;
  return ink;
}

// The position of an event in pixels of the drawing, which excludes the border of the pad.
function pointOf(event) {
  const pad = $("pad"), box = pad.getBoundingClientRect();
  return [
    ((event.clientX - box.left - pad.clientLeft) / pad.clientWidth) * PAD_W,
    ((event.clientY - box.top - pad.clientTop) / pad.clientHeight) * PAD_H,
  ];
}

const pen = { x: PAD_W / 2, y: PAD_H / 2, down: false, shown: false }; // for the keyboard
let pointer = null; // the id of the finger, pen or mouse that is drawing; others are ignored

function liftPen() {
  pen.down = false;
  pointer = null;
}

// Called before each change of the drawing, for undo.
function remember() {
  state.past.push({ strokes: [...state.strokes], sample: state.sample });
}

function beginStroke(point) {
  remember();
  state.sample = null;
  state.strokes = [...state.strokes, { width: Number($("brush").value), points: [point] }];
  changed();
}

function extendStroke(point) {
  state.strokes.at(-1).points.push(point);
  changed();
}

function movePen(dx, dy) {
  pen.shown = true;
  pen.x = Math.max(0, Math.min(PAD_W, pen.x + dx));
  pen.y = Math.max(0, Math.min(PAD_H, pen.y + dy));
  if (pen.down) extendStroke([pen.x, pen.y]);
  changed();
}

function undo() {
  liftPen();
  const before = state.past.pop();
  if (before !== undefined) {
    state.strokes = before.strokes;
    state.sample = before.sample;
  }
  changed();
}

function clear() {
  liftPen();
  if (state.strokes.length > 0 || state.sample !== null) remember();
  state.strokes = [];
  state.sample = null;
  changed();
}

function takeSample(n) {
  liftPen();
  if (isImage) remember();
  else state.values.set(model.samples.rows[n]);
  state.strokes = [];
  state.sample = n;
  changed();
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function setUpDrawing() {
  const pad = $("pad");
  pad.setAttribute("aria-label", "Drawing area");
  $("pad-help").replaceChildren("Draw with mouse, pen or finger. ", element("span", { class: "keys" },
    "With the keyboard: arrow keys move the pen, space puts it down and lifts it."));
  pad.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    liftPen();
    pen.shown = false;
    pointer = event.pointerId;
    pad.setPointerCapture(pointer);
    beginStroke(pointOf(event));
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [event]) extendStroke(pointOf(one));
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    pad.addEventListener(kind, (event) => {
      if (event.pointerId === pointer) pointer = null;
    });
  }
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
  pad.addEventListener("focus", () => {
    pen.shown = pad.matches(":focus-visible");
    changed();
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
  const wide = Math.max(PAD_W, Math.round(pad.clientWidth * (window.devicePixelRatio || 1)));
  const high = Math.round((wide * PAD_H) / PAD_W);
  if (pad.width !== wide) pad.width = wide;
  if (pad.height !== high) pad.height = high;
  const context = pad.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, wide, high);
  if (state.sample !== null) {
    const { h, w } = model.input, grey = greyOf(state.values);
    for (let i = 0; i < h * w; i++) {
      context.fillStyle = `rgb(${asInk(grey[i])})`;
      const x = Math.floor(((i % w) * wide) / w), y = Math.floor((Math.floor(i / w) * high) / h);
      context.fillRect(x, y, Math.ceil(wide / w), Math.ceil(high / h));
    }
    return;
  }
  context.scale(wide / PAD_W, wide / PAD_W);
  context.strokeStyle = `rgb(${palette.text})`;
  for (const stroke of state.strokes) drawStroke(context, stroke);
  if (!pen.shown) return;
  context.lineWidth = 2;
  context.strokeStyle = `rgb(${palette.accent})`;
  for (const radius of pen.down ? [Number($("brush").value) / 2, 3] : [Number($("brush").value) / 2]) {
    context.beginPath();
    context.arc(pen.x, pen.y, radius, 0, 7);
    context.stroke();
  }
}

// A plain vector: bars that the user drags up and down

const bars = { at: 0 };
function setUpBars() {
  document.body.classList.add("vector");
  $("input-title").textContent = "The input";
  $("tools").querySelector("#brush-label").remove();
  $("undo").remove();
  $("clear").textContent = "Set all to 0";
  $("clear").addEventListener("click", () => {
    state.sample = null;
    state.values.fill(0);
    changed();
  });
  const pad = $("pad"), [low, high] = model.input.range;
  pad.setAttribute("role", "slider");
  pad.setAttribute("aria-label", "Input values");
  $("pad-help").replaceChildren("Drag the bars. ", element("span", { class: "keys" },
    "With the keyboard: left and right select a bar, up and down change it."));
  const set = (bar, value) => {
    state.sample = null;
    bars.at = bar;
    state.values[bar] = Math.max(low, Math.min(high, value));
    changed();
  };
  const whereIs = (event) => {
    const [x, y] = pointOf(event);
    const share = Math.max(0, Math.min(0.999999, x / PAD_W)), part = Math.max(0, Math.min(1, y / PAD_H));
    return { bar: Math.floor(share * model.input.length), value: high - part * (high - low) };
  };
  let last = null; // the previous position of the drag: a quick one skips bars
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    last = whereIs(event);
    set(last.bar, last.value);
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.buttons === 0 || last === null) return;
    const now = whereIs(event), steps = Math.max(1, Math.abs(now.bar - last.bar));
    for (let i = 1; i <= steps; i++) {
      const part = i / steps;
      set(Math.round(last.bar + part * (now.bar - last.bar)), last.value + part * (now.value - last.value));
    }
    last = now;
  });
  pad.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    const [right, down] = ARROWS[event.key];
    const length = model.input.length;
    bars.at = (bars.at + right + length) % length;
    if (down) set(bars.at, state.values[bars.at] - (down * (high - low)) / 20);
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
  context.strokeStyle = context.fillStyle = `rgb(${palette.text})`;
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
  $("samples-title").textContent = `${samples.y.length} samples` + (wrong ? `; the network gets the ${wrong} dashed ones wrong` : "");
  samples.rows.forEach((_, n) => {
    const button = element("button", { type: "button", class: samples.wrong[n] ? "wrong" : "" });
    const truth = truthOf(n);
    button.setAttribute("aria-label", `Sample ${n + 1}, a ${truth}${samples.wrong[n] ? ", which the network gets wrong" : ""}`);
    if (isImage) button.append(element("canvas"));
    else button.append(String(truth));
    button.addEventListener("click", () => takeSample(n));
    $("samples").append(button);
  });
}

// The label of a sample: the name of its class or, with a single output, its target value.
const truthOf = (n) => (model.labels.length > 1 ? model.labels[model.samples.y[n]] : String(model.samples.y[n]));

function showSamples() {
  if (model.samples === null) return;
  [...$("samples").children].forEach((button, n) => {
    button.dataset.chosen = state.sample === n;
    button.setAttribute("aria-pressed", state.sample === n);
  });
}
function paintSamples() {
  if (model.samples === null || !isImage) return;
  const { h, w } = model.input;
  [...$("samples").children].forEach((button, n) =>
    paint(button.firstChild, greyOf(model.samples.rows[n]), w, h, inkTable));
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

// Computing

function compute() {
  const start = performance.now();
  if (isImage) {
    const { h, w, channels, box } = model.input;
    state.values.fill(0);
    state.stages = null;
    if (state.sample !== null) state.values.set(model.samples.rows[state.sample]);
    else {
      state.stages = prepare(inkOfDrawing(), PAD_W, PAD_H, { h, w }, box);
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

// Values of 0 … 1, scaled to the range that the network was trained on.
const inputOf = (values) => values.map((v) => v * model.input.brightest);
const isBlank = () => isImage && state.sample === null && state.stages === null;

// Showing

let waiting = false;
function changed() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    const start = performance.now();
    compute();
    show();
    $("timing").textContent = `${(performance.now() - start).toFixed(0)} ms, of which the network takes ` +
      `${state.milliseconds.toFixed(1)} ms`;
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
    ? [["the sample, unchanged", seen]]
    : [
        ["1. cropped", state.stages?.cropped ?? blank],
        [`2. fitted into ${box.w} × ${box.h}`, state.stages?.scaled ?? blank],
        [`3. centred by mass in ${w} × ${h}`, state.stages?.centred ?? blank],
      ];
  const list = $("stages");
  if (list.children.length !== stages.length) {
    list.replaceChildren(...stages.map(() => element("figure", {}, element("canvas"), element("figcaption"))));
  }
  stages.forEach(([caption, stage], n) => {
    const [canvas, words] = list.children[n].children;
    const shown = onSquare(stage);
    paint(canvas, shown.pixels, shown.side, shown.side, inkTable);
    if (words.textContent !== caption) words.textContent = caption;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${caption}: ${stage.w} by ${stage.h} pixels`);
  });
}

// A picture in the middle of a square, which preserves its proportions.
function onSquare({ pixels, h, w }) {
  const side = Math.max(h, w), square = new Float32Array(side * side);
  const top = (side - h) >> 1, left = (side - w) >> 1;
  for (let y = 0; y < h; y++) square.set(pixels.subarray(y * w, (y + 1) * w), (top + y) * side + left);
  return { pixels: square, side };
}

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
  if (kind === "") {
    button.setAttribute("aria-label", `${model.layers[l].name}, unit ${u + 1}`);
    button.setAttribute("aria-describedby", "unit-activation"); // of the unit that has the focus
  }
  const unit = { layer: l, unit: u };
  button.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && look(unit));
  button.addEventListener("pointerleave", () => state.pinned !== null && look(state.pinned));
  button.addEventListener("focus", () => button.matches(":focus-visible") && look(unit));
  button.addEventListener("blur", () => state.pinned !== null && look(state.pinned));
  button.addEventListener("click", (event) => {
    pin(unit);
    if (event.detail === 0) return $("unit-off").focus(); // a keyboard click moves the focus to the unit's switch
    const { top } = $("unit").getBoundingClientRect();
    if (top < window.innerHeight - 200) return;
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    $("unit").scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
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
  showUnit(); // now, because by the next frame the focus may be in an element that this replaces
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
        button.setAttribute("aria-pressed", chosen);
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
  let name = "–", words = model.samples === null ? "Draw something." : "Draw something, or choose a sample.";
  if (!blank && classes) {
    name = model.labels[best];
    words = probabilities ? `with ${percent(a[best])}` : `with ${number(a[best])}`;
    if (state.sample !== null) {
      const truth = truthOf(state.sample);
      words += truth === name ? "; correct." : `; wrong: it is a ${truth}.`;
    }
  } else if (!blank) {
    words = `${model.labels[0]}: ${number(a[0])}`;
    if (state.sample !== null) words += `; the sample is ${truthOf(state.sample)}.`;
  }
  $("verdict-name").textContent = blank || classes ? name : "";
  $("verdict-words").textContent = words;
  $("brief").textContent = blank || !classes ? "" : `${name} ${probabilities ? percent(a[best]) : ""}`;
  clearTimeout(speaking);
  speaking = setTimeout(() => ($("spoken").textContent = blank ? "" : `${name} ${words}`), 600);
}

function showSteps() {
  const l = model.layers.length - 1, layer = model.layers[l];
  if (!$("steps").open || layer.activation !== "softmax") return;
  const { scaled, largest, powers, sum } = softmaxSteps(state.passes[l].z, state.temperature, layer.off);
  const { z } = state.passes[l];
  const cells = (tag, words) => words.map((word) => element(tag, {}, word));
  const head = element("tr", {}, ...cells("th", ["", "z", "z ÷ T", "− largest", "exp", "÷ sum"]));
  const two = (v) => (Number.isFinite(v) ? v.toFixed(2) : "-∞").replace("-", "−");
  const power = (v) => (v < 0.001 ? v.toExponential(1).replace("-", "−") : v.toFixed(3));
  const rows = [...z].map((v, u) => element("tr", {}, ...cells("td", [
    model.labels[u], two(v), two(scaled[u]), two(scaled[u] - largest), power(powers[u]), percent(powers[u] / sum)])));
  const foot = element("tr", {}, ...cells("td", ["sum", "", "", "", power(sum), "100\u00a0%"]));
  $("steps-table").replaceChildren(
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows, foot)));
}

// The selected unit, its weights and its weighted sum

// How the inputs of a layer are arranged in a picture, and the name of each.
function mapOf(l) {
  if (l === 0 && isImage) {
    const { h, w, channels } = model.input;
    return { h, w, grey: greyOf, name: (i) => {
      const pixel = Math.floor(i / channels), channel = channels > 1 ? `, channel ${(i % channels) + 1}` : "";
      return `pixel ${(pixel % w) + 1} → ${Math.floor(pixel / w) + 1} ↓${channel}`;
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

let built = ""; // the unit for which the section below was built
function showUnit() {
  if (state.chosen === null) return;
  const { layer: l, unit: u } = state.chosen, layer = model.layers[l], { x, z, a } = state.passes[l];
  if (built !== `${l}/${u}`) buildUnit(l, u);
  built = `${l}/${u}`;
  $("unit-off").checked = layer.off.has(u);
  $("all-on").hidden = model.layers.every(({ off }) => off.size === 0);
  const f = layer.activation, off = layer.off.has(u);
  const input = isBlank() ? " (of an empty drawing)" : "";
  const result = f === "softmax" ? `a = its share of the softmax = ${percent(a[u])}` : `a = ${f}(z) = ${number(a[u])}`;
  $("unit-activation").textContent = off ? "a = 0: it is turned off" : result;
  if (layer.kernel === null) {
    $("unit-sum").textContent = `z = ${number(z[u])}, the input`;
    return;
  }
  const weights = Float32Array.from({ length: x.length }, (_, i) => layer.kernel[i * layer.units + u]);
  const shares = weights.map((w, i) => w * x[i]), map = mapOf(l);
  const total = shares.reduce((p, q) => p + q, 0), bias = layer.bias?.[u];
  const plus = bias === undefined ? "" : ` ${bias < 0 ? "−" : "+"} ${number(Math.abs(bias))} = ${number(z[u])}`;
  $("unit-sum").textContent = `z = Σ w x${plus && " + b"} = ${number(total)}${plus}${input}`;
  const [kernelImage, shareImage] = $("unit").querySelectorAll("canvas");
  const most = largestOf(shares);
  if (shareImage.dataset.for !== "done") {
    const largest = largestOf(weights);
    paint(kernelImage, map.grey(weights), map.w, map.h, tintTable, largest);
    kernelImage.parentElement.querySelector(".scale").replaceChildren(`−${number(largest)}`, element("i"), number(largest));
    shareImage.dataset.for = "done";
  }
  paint(shareImage, map.grey(shares), map.w, map.h, tintTable, most);
  shareImage.parentElement.querySelector(".scale").replaceChildren(`−${number(most)}`, element("i"), number(most));
  const order = [...shares.keys()].filter((i) => shares[i] !== 0)
    .sort((p, q) => Math.abs(shares[q]) - Math.abs(shares[p])).slice(0, TOP);
  $("unit-top").replaceChildren(...order.map((i) => element("tr", {},
    ...[map.name(i), number(x[i]), number(weights[i]), number(shares[i])].map((word) => element("td", {}, word)))));
}

function buildUnit(l, u) {
  const layer = model.layers[l], last = l === model.layers.length - 1;
  $("unit-title").textContent = last ? `Output “${model.labels[u]}” (${layer.name})` : `${layer.name}, unit ${u + 1}`;
  const off = element("input", { type: "checkbox", id: "unit-off" });
  off.addEventListener("change", () => {
    if (off.checked) layer.off.add(u);
    else layer.off.delete(u);
    changed();
  });
  const on = element("button", { type: "button", id: "all-on" }, "Turn all on");
  on.addEventListener("click", () => {
    for (const { off } of model.layers) off.clear();
    off.focus(); // this button disappears
    changed();
  });
  const figure = (caption) => element("figure", {},
    element("canvas", { role: "img", "aria-label": caption }), element("div", { class: "scale" }), element("figcaption", {}, caption));
  const head = element("tr", {}, ...["from", "x", "w", "w x"].map((word) => element("th", {}, word)));
  const lines = [element("p", { id: "unit-sum", class: "sum" }), element("p", { id: "unit-activation", class: "sum" })];
  const parts = layer.kernel === null ? lines : [
    ...lines,
    element("div", { class: "pictures" },
      figure("weights w"), figure("weights × inputs, w x"),
      element("div", { class: "table" },
        element("h3", {}, "Largest contributions"),
        element("table", {}, element("thead", {}, head), element("tbody", { id: "unit-top" })))),
  ];
  $("unit-body").replaceChildren(
    element("div", { class: "tools" }, element("label", {}, off, " Turn this unit off"), on), ...parts);
}

// Start

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
  $("pad").style.aspectRatio = isImage ? `${PAD_W} / ${PAD_H}` : "";
  $("unit").addEventListener("keydown", (event) => {
    if (event.key === "Escape" && state.pinned !== null) buttonsOf(state.pinned.layer)[state.pinned.unit].focus();
  });
  if (isImage) setUpDrawing();
  else setUpBars();
  setUpSamples();
  setUpUnits();
  const softmax = model.layers.at(-1).activation === "softmax";
  $("heat").hidden = $("steps").hidden = !softmax;
  $("temperature").setAttribute("aria-valuetext", "1.00");
  $("temperature").addEventListener("input", (event) => {
    state.temperature = 10 ** Number(event.target.value);
    $("temperature-value").textContent = state.temperature.toFixed(2);
    event.target.setAttribute("aria-valuetext", state.temperature.toFixed(2));
    changed();
  });
  $("steps").addEventListener("toggle", changed);
  $("brush")?.addEventListener("input", changed);
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let asSystem = true; // until the user chooses
  system.addEventListener("change", (event) => asSystem && setTheme(event.matches));
  $("theme").addEventListener("click", () => {
    asSystem = false;
    setTheme(document.documentElement.dataset.theme !== "dark");
  });
  window.addEventListener("resize", changed);
  compute();
  setTheme(system.matches);
}

begin();
