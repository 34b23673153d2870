// Learning from what is on the pad: steps of the optimizer, shown stage by stage, and undone.
"use strict";

const MANY = 10; // the steps of the button ×10
const READING = { once: 2000, character: 35 }; // milliseconds for a stage that the next follows by itself
const BETWEEN = 150; // milliseconds between ten steps, in which the answer can be seen to move
const RATES = [1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001];
const learning = {
  optimizer: null, // a new one starts with slots of zeros, as in a model that was just compiled
  taken: 0, // steps since the trained weights, or since the training from random weights
  undo: [], // what was before each press of a button that changed the weights
  step: null, // the step, or the ten steps, that are shown
  timer: 0, // of the next stage
  note: "", // what happened otherwise, in words
  run: null, // of the training from random weights: { seed, samples, steps, points of the curves }
};

// A step

// Why there can be none, or "".
function hindrance() {
  const classes = model.labels.length > 1;
  if (model.loss === null) return model.notes[0];
  if (model.trained === 0) return "All layers are frozen: no weight can change.";
  if (isBlank()) return `Draw something${model.samples === null ? "" : ", or take a sample"}, and say what it is.`;
  if (state.target === null) return `First say above ${classes ? "what it is" : "what the output should be"}.`;
  const sums = state.passes[LAST].z;
  if (!sums.every(Number.isFinite) || !Number.isFinite(Math.fround(state.target ** 2))) {
    return "The numbers are too large to learn from.";
  }
  if (model.loss === "binary_crossentropy" && !(state.target >= 0 && (classes || state.target <= 1))) {
    return "The output is a probability: choose a number from 0 to 1.";
  }
  return model.layers[LAST].off.has(classes ? state.target : 0) ? "Turn the right answer's output on again." : "";
}
const isTruth = (unit) => model.loss !== null && model.labels.length > 1 && !isBlank() && state.target === unit;
const isOver = () => learning.step === null || learning.step.at === learning.step.stages.length - 1;

function targetRow() {
  const y = new Float32Array(model.layers[LAST].units);
  if (y.length === 1) y[0] = state.target;
  else y[state.target] = 1;
  return y;
}

// The forward and the backward pass of what is on the pad.
function computeStep() {
  const y = targetRow(), passes = forward(model, inputOf(state.values));
  const { loss, delta } = lossOf(model, passes[LAST], y);
  return { y, passes, loss, deltas: backward(model, passes, delta), gradient: model.gradient.slice() };
}

function beginStep(stages) {
  leaveStep();
  const warm = state.temperature !== 1;
  setTemperature(0);
  const wrong = countWrong();
  const step = { ...computeStep(), saved: save(), warm, wrong, at: 0, since: 0, count: 0, after: null };
  learning.step = step;
  step.stages = stages(step);
  weight.unit = ""; // the largest gradient may be another weight's
}

// Let the optimizer change the weights, and compute the answer after it. If any number would no longer
// be finite, put back what was before this press of the button, and tell.
function changeWeights() {
  const { step } = learning, { slots } = OPTIMIZERS[learning.optimizer.name];
  if (step.count > 0) computeStep(); // the gradient at the weights as they are now
  takeStep(learning.optimizer, model);
  step.after = forward(model, inputOf(state.values));
  step.lossAfter = lossOf(model, step.after[LAST], step.y).loss;
  const moments = slots.map((slot) => learning.optimizer[slot]);
  const numbers = [model.weights, ...moments, step.after[LAST].z, [step.lossAfter]];
  if (!numbers.every((some) => some.every(Number.isFinite))) {
    learning.step = null;
    if (step.count > 0) learning.undo = learning.undo.slice(0, -1);
    restore(step.saved);
    learning.note = "No step was taken: a number would become infinite. Choose a lower learning rate.";
    return;
  }
  if (step.count === 0) learning.undo = [...learning.undo, step.saved].slice(-MOST_UNDO);
  step.count += 1;
  learning.taken += 1;
}

function pressStep() {
  if (hindrance() !== "") return;
  if (isOver()) beginStep(stagesOf);
  else advance();
  if ($("pace").value === "fast") while (!isOver()) advance();
  showStage();
}
function nextStage() {
  advance();
  showStage();
}
function advance() {
  const { step } = learning, { key } = step.stages[step.at + 1];
  step.at += 1;
  if (key === "delta") showUnitOf(step.stages[step.at].reached);
  if (key === "gradient") showUnitOf(state.selected?.layer ?? firstTrained());
  if (key !== "answer") return;
  changeWeights();
  if (learning.step !== null) weightsChanged();
}

function pressTen() {
  if (hindrance() !== "") return;
  beginStep((step) => [answerStage(step, false)]);
  const another = () => {
    changeWeights();
    if (learning.step === null) return showStage();
    const more = learning.step.count < MANY;
    if (more && ($("pace").value === "fast" || reducedMotion())) return another();
    weightsChanged();
    showStage(!more);
    if (more) learning.timer = setTimeout(another, BETWEEN);
  };
  another();
}

// Show the stage that was reached, and say it; and go on by itself if the user chose so.
function showStage(aloud = true) {
  clearTimeout(learning.timer);
  const { step } = learning;
  if (step !== null) {
    step.since = performance.now();
    const { title, text, gradient } = step.stages[step.at];
    if (aloud) say(`${title}. ${text()}`);
    if (gradient && !isOver()) openSheet();
    else closeSheet();
    const reading = READING.once + READING.character * text().length;
    if (!isOver() && $("pace").value === "slow") learning.timer = setTimeout(nextStage, reading);
  } else say(learning.note);
  changed();
  if (step !== null && aloud) showInReach();
}
// On a phone, where the picture is longer than the screen: bring what the stage is about into it.
function showInReach() {
  const { reached } = stageNow(), part = gridOf(Math.min(reached, LAST)).closest(".layer, #answer");
  if (isWide()) return;
  showLearning(); // now, because it decides how high the panel above the picture is
  part.style.scrollMargin = `${$("learn").offsetHeight + document.querySelector("header").offsetHeight + 8}px 0 4rem`;
  part.scrollIntoView({ block: "nearest", behavior: reducedMotion() ? "auto" : "smooth" });
}

// The step is shown no longer. Weights change at its last stage: a step that is left before that has
// changed nothing.
function leaveStep() {
  clearTimeout(learning.timer);
  const { step } = learning;
  learning.note = step !== null && step.count === 0 ? "The step was left before the weights changed." : "";
  if (learning.note !== "") say(learning.note);
  learning.step = null;
}

// What other parts show of a step

const stageNow = () => (learning.step === null ? null : learning.step.stages[learning.step.at]);
// δ of a layer, once it has come down there.
const deltaOf = (l) => (l >= (stageNow()?.reached ?? Infinity) ? learning.step.deltas[l] : null);
// What a unit's weights learn: their gradient, and from the stage of that name on their change.
function learnedBy(l, unit) {
  const layer = model.layers[l], stage = stageNow(), { step } = learning;
  if (!stage?.gradient || layer.kernel === null) return null;
  const start = layer.kernel.byteOffset / 4;
  const column = (all) => columnOf(layer, unit, all.subarray(start, start + layer.kernel.length));
  if (stage.key === "gradient") return { gradient: column(step.gradient), change: null };
  step.change ??= changeOf(step);
  return { gradient: column(step.gradient), change: column(step.change) };
}
// The change of all weights that the step makes, from a copy.
function changeOf({ saved, gradient }) {
  const weights = saved.weights.slice();
  takeStep(copyOf(saved.optimizer), { weights, gradient });
  return weights.map((w, i) => w - saved.weights[i]);
}
// Until the stage of the new answer, the passes before the step; then also the answer before.
const passesBefore = () => (learning.step?.after === null ? learning.step.passes : null);
const answerBefore = () => (stageNow()?.key === "answer" ? learning.step.passes[LAST].a : null);
function backStage() {
  const stage = stageNow();
  if (stage?.key !== "delta") return null;
  stage.lines ??= backLines(stage.reached, learning.step.deltas);
  return { lines: stage.lines, since: learning.step.since };
}

// The unit of a layer that a stage speaks of: the one that the user selected, or that with the largest δ.
function showUnitOf(l) {
  const { selected } = state;
  state.pinned = state.chosen = selected?.layer === l ? selected : { layer: l, unit: largestDelta(l) };
}
function largestDelta(l) {
  return bestOf(learning.step.deltas[l].subarray(0, gridOf(l).children.length).map(Math.abs));
}
const firstTrained = () => model.layers.findIndex(({ kernel, trains }) => kernel !== null && trains);

// The controls

function setUpLearning() {
  setText($("learn-notes"), model.notes.join(" "));
  if (model.loss === null) return $("learn-controls").remove();
  setText($("truth-label"), isOfDigits ? "Which digit is it?" : "What is it?");
  $("take").addEventListener("click", () => takeSample(Math.max(0, model.samples.wrong.indexOf(true))));
  $("learn").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || isOver()) return;
    leaveStep();
    showStage();
  });
  $("stage-list").replaceChildren(...stagesOf(null).map(({ name }) => element("li", {}, name)));
  if (model.labels.length > 1) {
    model.labels.forEach((label, k) => {
      const button = element("button", { type: "button" }, label);
      button.addEventListener("click", () => setTarget(k));
      $("truth").append(button);
    });
  } else {
    setText($("truth-label"), "What should the output be?");
    const field = element("input", { type: "number", step: "any", id: "truth-number" });
    field.setAttribute("aria-labelledby", "truth-label");
    field.addEventListener("input", () => setTarget(field.value === "" ? null : Number(field.value)));
    $("truth").append(field);
  }
  $("optimizer").replaceChildren(...model.optimizers.map(({ name }) => element("option", { value: name }, name)));
  newOptimizer(model.optimizers[0].name);
  $("optimizer").addEventListener("change", () => {
    leaveStep();
    newOptimizer($("optimizer").value);
    learning.note = `The learning rate is ${learning.optimizer.learning_rate} now.`;
    showStage();
    continueTraining();
  });
  $("rate").addEventListener("change", () => {
    leaveStep();
    learning.optimizer.learning_rate = Number($("rate").value);
    continueTraining();
  });
  $("pace").addEventListener("change", () => {
    if (!isOver()) showStage(false);
  });
  const buttons = { step: pressStep, ten: pressTen, unstep: undoSteps, trained: backToTrained };
  for (const [id, act] of Object.entries({ ...buttons, download: downloadWeights })) onPress(id, act);
}
function onPress(id, act) {
  $(id).addEventListener("click", () => {
    compute(); // what is on the pad may have changed since the last frame
    act();
  });
  $(id).addEventListener("keydown", (event) => event.repeat && event.preventDefault());
}
function setTarget(target) {
  leaveStep();
  state.target = target;
  if (hindrance() === "") say("Ready for a step.");
  changed();
}

function showLearning() {
  if (model.loss === null) return;
  const why = hindrance(), stage = stageNow(), undone = learning.undo.at(-1);
  const next = isOver() ? null : learning.step.stages[learning.step.at + 1];
  setText($("step"), next !== null ? `Next: ${next.name}` : learning.step === null ? "One step" : "One more step");
  const steps = learning.taken - undone?.taken;
  const last = steps > 1 ? `${steps} steps` : undone?.what ?? "step";
  setText($("unstep"), isOver() ? `Undo ${last}` : "Leave step");
  setText($("about"), model.about + (isChanged() ? " That was before it learned here." : ""));
  $("take").hidden = model.samples === null || !(isBlank() || (stage === null && why === "" && isRight()));
  setText($("take"), countWrong() > 0 ? "Take a sample that it gets wrong" : "Take a sample");
  document.body.classList.toggle("stepping", !isOver());
  document.body.classList.toggle("running", isRunning());
  // Not `disabled`, which would take the focus from who uses the keyboard.
  setAttribute($("step"), "aria-disabled", why !== "");
  setAttribute($("ten"), "aria-disabled", why !== "");
  setAttribute($("unstep"), "aria-disabled", (undone === undefined && isOver()) || isRunning());
  setAttribute($("trained"), "aria-disabled", !isChanged());
  [...$("truth").querySelectorAll("button")].forEach((button, k) => setAttribute(button, "aria-pressed", isTruth(k)));
  const field = $("truth-number");
  if (field !== null && document.activeElement !== field) field.value = state.target ?? "";
  showTraining();
  if (isTraining()) return;
  setText($("stage-title"), stage !== null ? stage.title : why === "" ? "Ready for a step" : "Before a step");
  const waits = [learning.note, why].filter(Boolean).join(" ") || readyText();
  setText($("stage-text"), stage === null ? waits : stage.text());
  const origin = learning.run === null ? "the trained weights" : "the weights trained here";
  setText($("taken"), learning.taken === 0 ? "" :
    `${learning.taken} ${learning.taken === 1 ? "step" : "steps"} from ${origin}`);
  const items = [...$("stage-list").children];
  const at = stage === null ? -1 : items.length - learning.step.stages.length + learning.step.at;
  items.forEach((item, n) => {
    if (n === at) setAttribute(item, "aria-current", "step");
    else item.removeAttribute("aria-current");
    item.classList.toggle("passed", n < at);
  });
}
