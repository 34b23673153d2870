// The picture of the network: what it receives, every unit of every layer, the answer, and lines
// along the weights that count most.
"use strict";

const MOST_UNITS = 1024; // the most units shown of a layer
const LINES = 8; // to and from the chosen unit, each
const WAY = [5, 2, 2]; // for the way of the digit: how many units speak for the answer, for each of these …
const BACK = 40; // lines between two layers while δ comes down
const GROWTH = 500; // milliseconds in which these lines grow

function setUpUnits() {
  model.layers.slice(0, -1).forEach((layer, l) => {
    const shown = Math.min(layer.units, MOST_UNITS), columns = Math.ceil(Math.sqrt(shown));
    const grid = element("div", { class: "units", role: "group", style: `--columns: ${columns}` });
    for (let u = 0; u < shown; u++) grid.append(unitButton(l, u, columns, shown, ""));
    const title = element("h3", { id: `layer-${l}` }, layer.name);
    const some = shown < layer.units ? `, the first ${shown} shown` : "";
    const words = element("p", { class: "caption" });
    words.dataset.plain = `${layer.units} units, ${layer.activation}${some}`;
    grid.setAttribute("aria-labelledby", title.id);
    $("layers").append(element("div", { class: "layer" }, title, words, grid));
  });
  const { h, w } = mapOf(0);
  $("received-caption").textContent = isImage ? `${w} × ${h} pixels` : `${model.input.length} numbers`;
  $("layers").classList.toggle("many", model.layers.length > 4);
  $("outputs-title").textContent = model.layers[LAST].name;
  $("outputs-caption").dataset.plain = `${model.layers[LAST].units} outputs, ${model.layers[LAST].activation}`;
  const { units } = model.layers[LAST];
  const longest = model.labels.slice(0, units).reduce((n, label) => Math.max(n, label.length), 1);
  $("answer").style.setProperty("--label", `${Math.min(longest, 9) + 1}ch`);
  for (let u = 0; u < units; u++) {
    const button = unitButton(LAST, u, 1, units, "output");
    button.append(
      element("span", {}, model.labels[u]),
      element("span", { class: "track" }, element("i", { class: "before" }), element("i")),
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
    state.selected = unit;
    pin(unit);
    openSheet();
    if (event.detail === 0) $("unit-off").focus(); // a keyboard click moves the focus to the unit's switch
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

const gridOf = (l) => (l === LAST ? $("outputs") : $("layers").children[l + 1].lastChild);

// While a step of learning is shown, units have the colour of their δ as soon as it has come down.
function showUnits() {
  model.layers.forEach((layer, l) => {
    const delta = deltaOf(l), values = delta ?? state.passes[l].a, last = l === LAST;
    const bounded = delta === null && ["sigmoid", "softmax", "tanh"].includes(layer.activation);
    const most = bounded ? 1 : largestOf(values), buttons = gridOf(l).children;
    const words = last ? $("outputs-caption") : gridOf(l).previousSibling;
    const changes = setText(words, delta === null ? words.dataset.plain : `δ, up to ±${number(most)}`);
    if (changes) places = null; // it may have more or fewer lines
    for (let u = 0; u < buttons.length; u++) {
      const button = buttons[u];
      if (!last) shade(button, tint(values[u] / (most || 1)));
      button.classList.toggle("off", layer.off.has(u));
      const chosen = String(state.chosen?.layer === l && state.chosen.unit === u);
      if (button.dataset.chosen !== chosen) {
        button.dataset.chosen = chosen;
        button.setAttribute("aria-pressed", chosen);
      }
    }
  });
}

// Thousands of units are shown in each frame, of which most keep their colour.
const shades = new WeakMap();
function shade(button, colour) {
  const packed = (colour[0] << 16) | (colour[1] << 8) | colour[2];
  if (shades.get(button) === packed) return;
  shades.set(button, packed);
  button.style.backgroundColor = `rgb(${colour})`;
}

function showReceived() {
  const { h, w, grey } = mapOf(0), table = isImage ? inkTable : tintTable;
  paint($("received"), grey(state.values), w, h, table, isImage ? 1 : largestOf(state.values) || 1);
  setAttribute($("received"), "aria-label", `What the network receives: ${w} by ${h} numbers`);
}

function showOutputs() {
  const layer = model.layers[LAST], { a } = state.passes[LAST], delta = deltaOf(LAST);
  const probabilities = layer.activation === "softmax";
  const most = delta !== null ? largestOf(delta)
    : probabilities || layer.activation === "sigmoid" ? 1 : largestOf(a);
  const best = bestOf(a), blank = isBlank(), classes = layer.units > 1, before = answerBefore();
  [...$("outputs").children].forEach((button, u) => {
    const [, track, value] = button.children, [old, bar] = track.children;
    const shown = delta === null ? a[u] : delta[u];
    const width = (v) => (blank ? "0" : `${(100 * Math.min(1, Math.abs(v) / (most || 1))).toFixed(2)}%`);
    bar.style.width = width(shown);
    bar.className = shown < 0 ? "negative" : "";
    old.hidden = before === null;
    if (before !== null) old.style.width = width(before[u]);
    setText(value, blank ? "" : probabilities && delta === null ? percent(a[u]) : number(shown));
    button.classList.toggle("best", !blank && classes && delta === null && u === best);
    button.classList.toggle("truth", isTruth(u) && !isTraining());
  });
  showVerdict(a, best, blank, classes, probabilities);
}

let quiet = 0; // a timer, which runs out when nothing has changed for a while
let inView = -1; // the answer for which the list of outputs was last scrolled
function showVerdict(a, best, blank, classes, probabilities) {
  let name = blank || classes ? "–" : "";
  let words = `Draw something${model.samples === null ? "" : ", or choose a sample"}.`;
  if (!blank && classes) {
    name = model.labels[best];
    words = `with ${probabilities ? percent(a[best]) : number(a[best])}`;
    if (state.sample !== null) {
      const truth = truthOf(state.sample);
      words += truth === name ? "; correct." : `; wrong: it is ${truth}.`;
    }
  } else if (!blank) {
    words = `${model.labels[0]}: ${number(a[0])}`;
    if (state.sample !== null) words += `; the sample is ${truthOf(state.sample)}.`;
  }
  setText($("verdict-name"), name);
  $("verdict-name").classList.toggle("long", name.length > 2);
  setText($("verdict-words"), words);
  const brief = !classes ? number(a[0]) : probabilities ? `${name} · ${percent(a[best])}` : name;
  setText($("brief"), blank ? "" : epochUnderWay() + brief);
  clearTimeout(quiet);
  quiet = setTimeout(() => {
    setText($("spoken"), blank || isExample() ? "" : `${name} ${words}`);
    if (best !== inView) showInList($("outputs"), best);
    inView = best;
    if (!blank && state.pinned === null && isWide() && state.chosen === null) pin(strongestFor(best));
  }, 600);
}

// Of many outputs, the best should be among those in view.
function showInList(list, number) {
  if (list.scrollHeight <= list.clientHeight + 1) return;
  const { offsetTop } = list.children[number];
  list.scrollTop = offsetTop - list.offsetTop - list.clientHeight / 2;
}

// The unit before the outputs that speaks most for one of them; if there is none, that output.
function strongestFor(output) {
  const speaker = LAST > 0 && strongest(LAST, output, TOP, (c) => c).find(isShown);
  return speaker ? { layer: LAST - 1, unit: speaker.from } : { layer: LAST, unit: output };
}

// Lines. `strongest` returns the inputs i of a unit with the largest terms x_i w_ij of its sum.

function strongest(l, unit, count, size = Math.abs, x = state.passes[l].x) {
  const { units, kernel, inputs } = model.layers[l], found = [];
  if (kernel === null) return [{ l, from: unit, to: unit, c: x[unit] }];
  for (let i = 0; i < inputs; i++) {
    const c = x[i] * kernel[i * units + unit];
    keepLargest(found, { l, from: i, to: unit, c }, count, size);
  }
  return found;
}
// Of a very wide layer only the first units are shown.
const isShown = ({ l, from, to }) => to < MOST_UNITS && (l === 0 || from < MOST_UNITS);

function keepLargest(found, one, count, size = Math.abs) {
  if (!(size(one.c) > 0) || (found.length === count && size(one.c) <= size(found.at(-1).c))) return;
  let place = found.length;
  while (place > 0 && size(found[place - 1].c) < size(one.c)) place -= 1;
  found.splice(place, 0, one);
  if (found.length > count) found.pop();
}

// Into the units of the next layer that the chosen unit changes most.
function strongestOutputs({ layer: l, unit }) {
  const next = model.layers[l + 1], found = [];
  if (next === undefined) return [];
  if (next.kernel === null) return [{ l: l + 1, from: unit, to: unit, c: state.passes[l].a[unit] }];
  for (let k = 0; k < next.units; k++) {
    const c = state.passes[l].a[unit] * next.kernel[unit * next.units + k];
    keepLargest(found, { l: l + 1, from: unit, to: k, c }, LINES);
  }
  return found;
}

// From the answer back to the pixels: in each layer the units that speak most for those above.
function wayOf(output) {
  const lines = [];
  let units = new Set([output]);
  for (let l = LAST; l >= 0; l--) {
    const count = WAY[Math.min(LAST - l, WAY.length - 1)];
    const into = [...units].flatMap((unit) => strongest(l, unit, count, (c) => c));
    lines.push(...into);
    units = new Set(into.map(({ from }) => from));
  }
  return lines;
}

// The largest parts of the δ that layer l gets: δ_k w_jk of each unit k above it.
function backLines(l, deltas) {
  const { units, inputs, kernel } = model.layers[l + 1], found = [];
  for (let j = 0; j < inputs; j++) {
    for (let k = 0; k < units; k++) {
      if (kernel === null && k !== j) continue;
      const c = deltas[l + 1][k] * (kernel === null ? 1 : kernel[j * units + k]);
      keepLargest(found, { l: l + 1, from: j, to: k, c }, BACK);
    }
  }
  return found;
}

// The middle of a unit in the picture; of layer −1, that of an input. Measured again when the layout
// has changed, because asking for it makes the browser do the layout.
let places = null;
function measure() {
  const canvas = $("lines"), box = canvas.getBoundingClientRect();
  const inside = (target) => {
    const { left, top, width, height } = target.getBoundingClientRect();
    return { left: left - box.left, top: top - box.top, width, height };
  };
  const grids = model.layers.map((layer, l) => {
    if (l === LAST) return null;
    const columns = Number(gridOf(l).style.getPropertyValue("--columns"));
    return { ...inside(gridOf(l)), columns, rows: Math.ceil(gridOf(l).children.length / columns) };
  });
  const { w, h } = mapOf(0);
  const image = { ...inside($("received")), columns: w, rows: h };
  const outputs = [...$("outputs").children].map(inside);
  const frame = inside($("outputs"));
  places = { width: box.width, height: box.height, grids, image, outputs, frame };
}
function placeOf(l, unit) {
  if (l === LAST) {
    const { left, top, height } = places.outputs[unit], { frame } = places;
    return [left - 5, Math.max(frame.top, Math.min(frame.top + frame.height, top + height / 2))];
  }
  const grid = l < 0 ? places.image : places.grids[l];
  const at = l < 0 && isImage ? Math.floor(unit / model.input.channels) : unit;
  return [
    grid.left + ((at % grid.columns) + 0.5) * (grid.width / grid.columns),
    grid.top + (Math.floor(at / grid.columns) + 0.5) * (grid.height / grid.rows),
  ];
}

function showLines() {
  const canvas = $("lines"), ratio = window.devicePixelRatio || 1;
  if (places === null) measure();
  const wide = Math.round(places.width * ratio), high = Math.round(places.height * ratio);
  if (canvas.width !== wide) canvas.width = wide;
  if (canvas.height !== high) canvas.height = high;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, places.width, places.height);
  if (isBlank() || places.width === 0) return;
  const back = backStage();
  if (back !== null) {
    const part = Math.min(1, (performance.now() - back.since) / GROWTH);
    drawLines(context, back.lines, 1, reducedMotion() ? 1 : part);
    if (part < 1 && !reducedMotion()) changed();
    return;
  }
  if (stageNow()?.key === "error") return;
  const way = state.chosen === null || stageNow()?.key === "loss";
  drawLines(context, wayOf(bestOf(state.passes[LAST].a)), way ? 0.9 : 0.35);
  if (way) return;
  drawLines(context, [
    ...strongest(state.chosen.layer, state.chosen.unit, LINES), ...strongestOutputs(state.chosen)], 1);
}

// Lines with the colour of their sign, the stronger the wider. Each has an edge in the colour of the
// text, because blue is hardly seen on dark and yellow hardly on white. `part` < 1: still growing,
// from the upper layer down.
function drawLines(context, lines, alpha, part = 1) {
  const most = lines.reduce((size, { c }) => Math.max(size, Math.abs(c)), 0) || 1;
  const widest = Math.min(5, places.width / 250) * (lines.length > 2 * LINES ? 0.6 : 1);
  for (const { l, from, to, c } of lines.filter(isShown).reverse()) {
    const share = Math.abs(c) / most, width = widest * (0.3 + 0.7 * share);
    const start = placeOf(l, to), end = placeOf(l - 1, from);
    context.lineCap = "round";
    context.globalAlpha = alpha * (0.35 + 0.65 * share);
    for (const [colour, extra] of [["text", 1], [c < 0 ? "negative" : "positive", 0]]) {
      context.strokeStyle = rgba(colour, extra ? 0.45 : 1);
      context.lineWidth = width + extra;
      context.beginPath();
      curve(context, start, end, part);
      context.stroke();
    }
    context.fillStyle = context.strokeStyle;
    if (part === 1) context.fillRect(end[0] - width, end[1] - width, 2 * width, 2 * width);
  }
  context.globalAlpha = 1;
}
// An S from one layer to the next, whether they stand side by side or one below the other.
function curve(context, [x0, y0], [x1, y1], part) {
  const across = Math.abs(x1 - x0) > Math.abs(y1 - y0);
  context.moveTo(x0, y0);
  for (let i = 1; i <= 12; i++) {
    const t = (part * i) / 12, s = t * t * (3 - 2 * t);
    const x = across ? x0 + (x1 - x0) * t : x0 + (x1 - x0) * s;
    const y = across ? y0 + (y1 - y0) * s : y0 + (y1 - y0) * t;
    context.lineTo(x, y);
  }
}
