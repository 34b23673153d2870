// The samples that were exported with the model.
"use strict";

function setUpSamples() {
  const { samples } = model;
  if (samples === null) return $("samples-part").remove();
  const bytes = bytesOf(samples.x), all = samples.type === "uint8" ? bytes : floatsOf(bytes, "float32");
  const length = model.input.length;
  samples.rows = Array.from({ length: samples.y.length }, (_, n) =>
    Float32Array.from(all.subarray(n * length, (n + 1) * length), (v) => v * samples.scale));
  samples.rows.forEach((_, n) => {
    const button = element("button", { type: "button" });
    if (isImage) button.append(element("canvas"));
    else button.append(truthOf(n));
    button.addEventListener("click", () => takeSample(n));
    $("samples").append(button);
  });
  markWrong();
}

const countWrong = () => (model.samples === null ? 0 : model.samples.wrong.filter(Boolean).length);

function markWrong() {
  const { samples } = model, wrong = countWrong();
  setText($("samples-title"), `${samples.y.length} samples${wrong > 0 ? `, ${wrong} wrong (dashed)` : ""}`);
  [...$("samples").children].forEach((button, n) => {
    button.classList.toggle("wrong", samples.wrong[n]);
    const how = samples.wrong[n] ? ", which the network gets wrong" : "";
    button.setAttribute("aria-label", `Sample ${n + 1}, a ${truthOf(n)}${how}`);
  });
}

// After the network has learned: a single output is a number, neither right nor wrong.
function checkSamples() {
  if (model.samples === null || model.labels.length === 1) return;
  model.samples.wrong = model.samples.rows.map((row, n) =>
    bestOf(forward(model, inputOf(row)).at(-1).a) !== model.samples.y[n]);
  markWrong();
}

function takeSample(n) {
  liftPen();
  if (isImage) remember();
  else state.values.set(model.samples.rows[n]);
  inputChanged({ strokes: [], sample: n, target: Number(model.samples.y[n]) });
}

// The label of a sample: the name of its class or, with a single output, its target value.
const truthOf = (n) => (model.labels.length > 1
  ? model.labels[model.samples.y[n]]
  : withMinus(String(Number(Number(model.samples.y[n]).toPrecision(4)))));

function showSamples() {
  if (model.samples === null) return;
  [...$("samples").children].forEach((button, n) => {
    setAttribute(button, "data-chosen", state.sample === n);
    setAttribute(button, "aria-pressed", state.sample === n);
  });
}
function paintSamples() {
  if (model.samples === null || !isImage) return;
  const { h, w } = model.input;
  [...$("samples").children].forEach((button, n) =>
    paint(button.firstChild, greyOf(model.samples.rows[n]), w, h, inkTable));
}
