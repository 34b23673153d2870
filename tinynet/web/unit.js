// The selected unit: its weights and its weighted sum; after a step of learning also the gradient of
// its weights, and the step of one of them, number by number.
"use strict";

const TOP = 6; // the number of contributions listed for a unit

// How the inputs of a layer are arranged in a picture, and the name of each.
function mapOf(l) {
  if (l === 0 && isImage) {
    const { h, w, channels } = model.input;
    return { h, w, channels, grey: greyOf, name: (i) => {
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
  return { h, w, channels: 1, grey, name: (i) => `${from}, ${l === 0 ? "number" : "unit"} ${i + 1}` };
}

// The weights into a unit, of a vector in which kernels are stored as in model.weights.
function columnOf({ inputs, units }, unit, kernel) {
  const column = new Float32Array(inputs);
  for (let i = 0; i < inputs; i++) column[i] = kernel[i * units + unit];
  return column;
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

let built = ""; // the unit for which the section was built
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
  const delta = deltaOf(l);
  setText($("unit-activation"), off ? "a = 0: it is turned off" : result);
  setText($("unit-delta"), delta === null ? "" : `δ = ∂L/∂z = ${number(delta[u])}`);
  if (layer.kernel === null) return setText($("unit-sum"), `z = ${number(z[u])}, the input`);
  const weights = columnOf(layer, u, layer.kernel), shares = weights.map((w, i) => w * x[i]);
  const bias = layer.bias?.[u];
  const plus = bias === undefined ? "" : ` ${bias < 0 ? "−" : "+"} ${number(Math.abs(bias))} = ${number(z[u])}`;
  // The sum before the bias is shown so that it and the bias add up to z in the digits that are shown.
  const total = bias === undefined || Math.abs(z[u]) >= 1000 ? z[u] - (bias ?? 0) : z[u].toFixed(3) - bias.toFixed(3);
  setText($("unit-sum"), `z = Σ w x${plus && " + b"} = ${number(total)}${plus}${input}`);
  paintScaled($("unit-weights"), weights, l);
  const learned = learnedBy(l, u);
  $("unit-shares").closest("figure").hidden = $("unit-terms").hidden = learned !== null;
  $("unit-gradient").closest("figure").hidden = $("unit-step").hidden = learned === null;
  if (learned !== null) {
    paintScaled($("unit-gradient"), learned.change ?? learned.gradient, l);
    const caption = learned.change ? "change Δw" : "gradient ∂L/∂w = x δ";
    setText($("unit-gradient").closest("figure").lastChild, caption);
    return showStepOfWeight(l, u, learned);
  }
  paintScaled($("unit-shares"), shares, l);
  if (stageNow()?.key === "delta" && delta !== null && l < LAST) return showDeltaTerms(l, u);
  const map = mapOf(l), order = largestFirst(shares);
  const rows = order.map((i) => [map.name(i), number(x[i]), number(weights[i]), number(shares[i])]);
  showTerms("Largest contributions", ["from", "x", "w", "w x"], rows, shares.length, total);
}

const largestFirst = (terms) => [...terms.keys()].filter((i) => terms[i] !== 0)
  .sort((p, q) => Math.abs(terms[q]) - Math.abs(terms[p])).slice(0, TOP);

let listed = ""; // by the table, which is made anew only if it differs
function showTerms(title, names, rows, count, sum) {
  const all = JSON.stringify([built, title, rows, sum]);
  if (listed === all) return;
  listed = all;
  const row = (tag, words) => element("tr", {}, ...words.map((word) => element(tag, {}, word)));
  setText($("unit-terms").firstChild, title);
  const body = element("tbody", { id: "unit-top" }, ...rows.map((words) => row("td", words)));
  const foot = element("tfoot", {}, row("td", [`sum of all ${count}`, "", "", number(sum)]));
  $("unit-terms").lastChild.replaceChildren(element("thead", {}, row("th", names)), body, foot);
}

// The terms of the sum Σ δ w that a unit's δ comes from.
function showDeltaTerms(l, u) {
  const next = model.layers[l + 1], above = learning.step.deltas[l + 1];
  const weightTo = (k) => (next.kernel === null ? Number(k === u) : next.kernel[u * next.units + k]);
  const terms = Array.from(above, (d, k) => d * weightTo(k));
  const name = (k) => (l + 1 === LAST ? `output ${model.labels[k]}` : `${next.name}, unit ${k + 1}`);
  const rows = largestFirst(terms).map((k) => [name(k), number(above[k]), number(weightTo(k)), number(terms[k])]);
  const sum = terms.reduce((total, term) => total + term, 0);
  showTerms("Where its δ comes from", ["from", "δ", "w", "δ w"], rows, terms.length, sum);
}

// A picture in which the largest number has the full colour, with its scale.
function paintScaled(canvas, values, l) {
  const map = mapOf(l), shown = map.grey(values), largest = largestOf(shown);
  const [low, , high] = canvas.parentElement.nextSibling.childNodes;
  paint(canvas, shown, map.w, map.h, tintTable, largest || 1);
  setText(low, `−${number(largest)}`);
  setText(high, number(largest));
}

function buildUnit(l, u) {
  listed = "";
  const layer = model.layers[l], name = `${layer.name}, unit ${u + 1}`;
  $("unit-title").textContent = l === LAST ? `Output “${model.labels[u]}” (${layer.name})` : name;
  const off = element("input", { type: "checkbox", id: "unit-off" });
  const switched = () => {
    leaveStep();
    checkSamples();
    continueTraining();
  };
  off.addEventListener("change", () => {
    if (off.checked) layer.off.add(u);
    else layer.off.delete(u);
    switched();
  });
  const on = element("button", { type: "button", id: "all-on" }, "Turn all on");
  on.addEventListener("click", () => {
    for (const one of model.layers) one.off.clear();
    off.focus(); // this button disappears
    switched();
  });
  const figure = (id, caption) => element("figure", {},
    element("div", { class: "framed" }, element("canvas", { id, role: "img", "aria-label": caption })),
    element("div", { class: "scale" }, element("span"), element("i"), element("span")),
    element("figcaption", {}, caption));
  const parts = ["unit-sum", "unit-activation", "unit-delta"].map((id) => element("p", { id, class: "sum" }));
  if (layer.kernel !== null) {
    parts.push(
      element("div", { class: "pictures" },
        figure("unit-weights", "weights w"), figure("unit-shares", "weights × inputs, w x"),
        figure("unit-gradient", "gradient ∂L/∂w = x δ")),
      element("div", { class: "table", id: "unit-terms" }, element("h3"), element("table")),
      element("div", { id: "unit-step" },
        element("h3", { id: "weight-title" }), element("ol", { id: "weight-lines", class: "sum" })));
  }
  $("unit-body").replaceChildren(
    element("div", { class: "tools" }, element("label", {}, off, " Turn this unit off"), on), ...parts);
  if (layer.kernel !== null) setUpGradient(l, u);
}

// The weight whose step is worked out: the one with the largest gradient, until another is chosen in
// the picture of the gradient, by pointer or with the arrow keys.
const weight = { unit: "", input: 0 };

function setUpGradient(l, u) {
  const canvas = $("unit-gradient");
  canvas.parentElement.append(element("div", { id: "weight-frame" }));
  const { w, h, channels } = mapOf(l), { inputs } = model.layers[l];
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "Gradient of each weight of this unit; the arrow keys choose a weight");
  const choose = (x, y) => {
    const input = (y * w + x) * channels;
    if (x < 0 || y < 0 || x >= w || y >= h || input >= inputs) return;
    Object.assign(weight, { unit: `${l}/${u}`, input });
    look(state.chosen);
    say([$("weight-title"), ...$("weight-lines").children].map((one) => one.textContent).join(". "));
  };
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    const part = (at, from, size, count) => Math.floor(((at - from - 1) / (size - 2)) * count);
    choose(part(event.clientX, box.left, box.width, w), part(event.clientY, box.top, box.height, h));
  });
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    const at = Math.floor(weight.input / channels), [right, down] = ARROWS[event.key];
    choose((at % w) + right, Math.floor(at / w) + down);
  });
}

function showStepOfWeight(l, u, { gradient, change }) {
  const { w, h, channels, name } = mapOf(l), layer = model.layers[l];
  if (weight.unit !== `${l}/${u}`) {
    Object.assign(weight, { unit: `${l}/${u}`, input: bestOf(gradient.map(Math.abs)) });
  }
  const place = layer.kernel.byteOffset / 4 + weight.input * layer.units + u;
  setText($("weight-title"), `${change ? "Change" : "Gradient"} of one weight: ${name(weight.input)}`);
  const x = learning.step.passes[l].x[weight.input], delta = learning.step.deltas[l][u];
  const lines = change === null ? [`g = ∂L/∂w = x δ = ${six(x)} · ${six(delta)} = ${six(gradient[weight.input])}`]
    : layer.trains ? workOut(place) : ["This layer is frozen: its weights stay as they are."];
  if ($("weight-lines").textContent !== lines.join("")) {
    $("weight-lines").replaceChildren(...lines.map((line) => element("li", {}, line)));
  }
  const at = Math.floor(weight.input / channels), share = (part, whole) => `${(100 * part) / whole}%`;
  const frame = { left: share(at % w, w), top: share(Math.floor(at / w), h), width: share(1, w), height: share(1, h) };
  Object.assign($("weight-frame").style, frame);
}

// The step of one number of model.weights, line by line, as with a pocket calculator.
function workOut(place) {
  const { saved } = learning.step, { optimizer } = saved, t = optimizer.t + 1, { gradient } = learning.step;
  const w = saved.weights[place], g = gradient[place], eta = optimizer.learning_rate;
  const lines = [`w = ${six(w)}`, `g = ∂L/∂w = ${six(g)}`];
  let change;
  if (optimizer.name === "Adam") {
    const { beta_1: b1, beta_2: b2, epsilon } = optimizer, mOld = optimizer.m[place], vOld = optimizer.v[place];
    const m = b1 * mOld + (1 - b1) * g, v = b2 * vOld + (1 - b2) * g * g;
    const mHat = m / (1 - b1 ** t), vHat = v / (1 - b2 ** t), small = epsilon / Math.sqrt(1 - b2 ** t);
    change = (-eta * mHat) / (Math.sqrt(vHat) + small);
    lines.push(
      `t = ${t}, η = ${six(eta)}, β₁ = ${six(b1)}, β₂ = ${six(b2)}, ε̂ = ${six(epsilon)}`,
      `m ← β₁ m + (1 − β₁) g = ${six(b1)} · ${six(mOld)} + ${six(1 - b1)} · ${six(g)} = ${six(m)}`,
      `v ← β₂ v + (1 − β₂) g² = ${six(b2)} · ${six(vOld)} + ${six(1 - b2)} · ${six(g * g)} = ${six(v)}`,
      `m̂ = m / (1 − β₁ᵗ) = ${six(m)} / ${six(1 - b1 ** t)} = ${six(mHat)}`,
      `v̂ = v / (1 − β₂ᵗ) = ${six(v)} / ${six(1 - b2 ** t)} = ${six(vHat)}`,
      `ε = ε̂ / √(1 − β₂ᵗ) = ${six(small)}`,
      `Δw = −η m̂ / (√v̂ + ε) = −${six(eta)} · ${six(mHat)} / (${six(Math.sqrt(vHat))} + ${six(small)}) ` +
        `= ${six(change)}`);
  } else if (optimizer.momentum === 0) {
    change = -eta * g;
    lines.push(`Δw = −η g = −${six(eta)} · ${six(g)} = ${six(change)}`);
  } else {
    const { momentum: mu, nesterov } = optimizer, old = optimizer.velocity[place], v = mu * old - eta * g;
    const step = (before) => `${six(mu)} · ${six(before)} − ${six(eta)} · ${six(g)}`;
    change = nesterov ? mu * v - eta * g : v;
    lines.push(
      `v ← μ v − η g = ${step(old)} = ${six(v)}`,
      nesterov ? `Δw = μ v − η g = ${step(v)} = ${six(change)}` : `Δw = v = ${six(change)}`);
  }
  const sum = `${six(w)} ${change < 0 ? "−" : "+"} ${six(Math.abs(change))}`;
  return [...lines, `w ← w + Δw = ${sum} = ${six(w + change)}`];
}
// Six significant digits, as in Python's `.6g`, but without exponents for large numbers.
function six(v) {
  const text = String(Number(v.toPrecision(6)));
  return withMinus(twoDigits(v !== 0 && Math.abs(v) < 1e-4 ? Number(v.toPrecision(6)).toExponential() : text));
}

// On a phone, the unit opens over the picture.
function openSheet() {
  document.body.classList.add("sheet");
}
function closeSheet() {
  document.body.classList.remove("sheet");
}
