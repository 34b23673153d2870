// The weights and the optimizer's state, as they are and as they were: undone, or as trained in Python.
"use strict";

const TRAINED = model.weights.slice();
const MOST_UNDO = Math.max(2, Math.min(20, Math.floor(2e8 / (12 * model.weights.length)))); // at most 200 MB

// Whether the weights may differ from those that were exported.
const isChanged = () => learning.taken > 0 || learning.run !== null;

// Whatever shows the weights must be shown anew.
function weightsChanged() {
  checkSamples();
  training.stale = true;
}

function save(what = "step") {
  const { optimizer, taken, run } = learning;
  return { what, weights: model.weights.slice(), optimizer: copyOf(optimizer), taken, run };
}
function keepForUndo(what) {
  learning.undo = [...learning.undo, save(what)].slice(-MOST_UNDO);
}
function restore({ weights, optimizer, taken, run }) {
  model.weights.set(weights);
  Object.assign(learning, { optimizer: copyOf(optimizer), taken, run });
  showOptimizer();
  weightsChanged();
}
function newOptimizer(name, rate = null) {
  const settings = model.optimizers.find((one) => one.name === name);
  const learning_rate = rate ?? Number(settings.learning_rate.toPrecision(7)); // 0.001, not float32's 0.00100…047
  learning.optimizer = makeOptimizer({ ...settings, learning_rate }, model.trained);
  showOptimizer();
}
// As in a model that was just compiled, with what the user chose.
function renewOptimizer() {
  const { name, learning_rate } = learning.optimizer;
  newOptimizer(name, learning_rate);
}
function showOptimizer() {
  const { name, learning_rate: rate } = learning.optimizer;
  const all = [...new Set([...RATES, rate])].sort((p, q) => q - p);
  $("rate").replaceChildren(...all.map((one) => element("option", { value: one }, withMinus(String(one)))));
  $("rate").value = rate;
  $("optimizer").value = name;
}

function undoSteps() {
  const saved = learning.undo.at(-1), underway = !isOver();
  if (isRunning()) return; // pause first: one press should not throw away a whole training
  leaveStep();
  pauseTraining();
  if (underway) return changed(); // that was to undo
  if (saved === undefined) return;
  learning.undo = learning.undo.slice(0, -1);
  const { name, learning_rate } = learning.optimizer;
  restore(saved);
  if (learning.optimizer.name === name) Object.assign(learning.optimizer, { learning_rate }); // as chosen since
  showOptimizer();
  learning.note = "Undone: the weights are as they were before.";
  showStage();
}
function backToTrained() {
  if (!isChanged()) return;
  leaveStep();
  pauseTraining();
  keepForUndo("going back");
  model.weights.set(TRAINED);
  Object.assign(learning, { taken: 0, run: null });
  renewOptimizer();
  weightsChanged();
  learning.note = "The network has its trained weights again.";
  showStage();
}
