// The page: what is computed and shown in each frame, its tabs, its theme, and its start. Everything
// shows one `state`; code that changes it calls `changed`, and the next frame redraws the page.
"use strict";

// Computing

function compute() {
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
  const start = performance.now();
  state.passes = passesBefore() ?? forward(model, inputOf(state.values), state.temperature);
  state.milliseconds = performance.now() - start;
}

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
    setText($("timing"), `${(performance.now() - start).toFixed(0)} ms, of which the network takes ` +
      `${state.milliseconds.toFixed(1)} ms`);
  });
}

// Called when the network's input changes, with what else changes in `state`.
function inputChanged(change = {}) {
  leaveStep();
  Object.assign(state, change);
  changed();
}

function show() {
  if (isImage) showPad();
  else showBars();
  showSamples();
  showPreparation();
  showReceived();
  showUnits();
  showOutputs();
  showSoftmax();
  showUnit();
  showLearning();
  showLines();
}

function showPreparation() {
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
    list.replaceChildren(...stages.map(() =>
      element("figure", {}, element("canvas", { role: "img" }), element("figcaption"))));
  }
  stages.forEach(([caption, stage], n) => {
    const [canvas, words] = list.children[n].children;
    const shown = onSquare(stage);
    paint(canvas, shown.pixels, shown.side, shown.side, inkTable);
    setText(words, caption);
    setAttribute(canvas, "aria-label", `${caption}: ${stage.w} by ${stage.h} pixels`);
  });
}

// A picture in the middle of a square, which preserves its proportions.
function onSquare({ pixels, h, w }) {
  const side = Math.max(h, w), square = new Float32Array(side * side);
  const top = (side - h) >> 1, left = (side - w) >> 1;
  for (let y = 0; y < h; y++) square.set(pixels.subarray(y * w, (y + 1) * w), (top + y) * side + left);
  return { pixels: square, side };
}

function showSoftmax() {
  const layer = model.layers[LAST], { z } = state.passes[LAST];
  if (!$("steps").open || layer.activation !== "softmax") return;
  if (isBlank()) return $("steps-table").replaceChildren(element("p", { class: "hint" }, "Draw something."));
  const { scaled, largest, powers, sum } = softmaxSteps(z, state.temperature, layer.off);
  const cells = (tag, words) => words.map((word) => element(tag, {}, word));
  const head = element("tr", {}, ...cells("th", ["", "z", "z ÷ T", "− largest", "exp", "÷ sum"]));
  const two = (v) => (Number.isFinite(v) ? v.toFixed(2) : "-∞").replace("-", "−");
  const rows = [...z].map((v, u) => element("tr", {}, ...cells("td", [
    model.labels[u], two(v), two(scaled[u]), two(scaled[u] - largest), number(powers[u]), percent(powers[u] / sum)])));
  const foot = element("tr", {}, ...cells("td", ["sum", "", "", "", number(sum), "100\u00a0%"]));
  $("steps-table").replaceChildren(
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows, foot)));
}

// Temperature 10^exponent
function setTemperature(exponent) {
  state.temperature = 10 ** exponent;
  $("temperature").value = exponent;
  setText($("temperature-value"), state.temperature.toFixed(2));
  setAttribute($("temperature"), "aria-valuetext", state.temperature.toFixed(2));
}

// Layout: on a phone, tabs share the screen

const isWide = () => window.matchMedia("(min-width: 72rem)").matches;

function openTab(name) {
  document.body.dataset.tab = name;
  for (const tab of $("tabs").children) tab.setAttribute("aria-current", tab.dataset.tab === name ? "page" : "false");
  closeSheet();
  window.scrollTo(0, 0);
  layoutChanged();
}
function layoutChanged() {
  places = null;
  training.stale = true;
  changed();
}

function setUpTabs() {
  for (const tab of $("tabs").children) tab.addEventListener("click", () => openTab(tab.dataset.tab));
  openTab("draw");
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").textContent = dark ? "Light" : "Dark"; // what the button will do
  readPalette();
  training.stale = true;
  paintSamples();
  changed();
}

function begin() {
  setText($("about"), model.about);
  $("pad").style.aspectRatio = isImage ? `${PAD_W} / ${PAD_H}` : "";
  $("unit").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || state.pinned === null) return;
    closeSheet();
    gridOf(state.pinned.layer).children[state.pinned.unit].focus();
  });
  $("unit-close").addEventListener("click", closeSheet);
  setUpUnits();
  if (isImage) setUpDrawing();
  else setUpBars();
  setUpSamples();
  setUpLearning();
  setUpTraining();
  $("softmax").hidden = model.layers[LAST].activation !== "softmax";
  setTemperature(0);
  $("temperature").addEventListener("input", (event) => {
    leaveStep();
    setTemperature(Number(event.target.value));
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
  window.addEventListener("resize", layoutChanged);
  $("outputs").addEventListener("scroll", layoutChanged);
  new ResizeObserver(layoutChanged).observe($("picture"));
  compute();
  setUpTabs();
  setTheme(system.matches);
  waitWithExample();
}

begin();
