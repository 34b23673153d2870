// Training from random weights on the samples in the page: a worker computes, the page shows.
"use strict";

const MOST_STEPS = 5000; // after which it pauses, lest it runs unseen: about a hundred epochs of all samples
const FEWER = [300, 100, 30]; // samples that can be chosen in place of all, for overfitting
const REPORTS = { usual: 100, reducedMotion: 1000 }; // milliseconds between two reports, at least
const DIVERGED = "Stopped: a number became infinite. Choose a lower rate, and start anew.";
const TOLD = 5000; // milliseconds between two announcements
const training = {
  worker: null,
  id: 0, // of the job: reports of earlier ones are ignored
  running: false,
  single: false, // whether the job is single steps, or only measures
  end: 0, // the number of steps of the run at which the job ends
  note: "", // why it is not running, in words
  failure: "", // why it cannot run in this browser
  told: 0, // when its state was last announced
  stale: true, // whether the weights have changed since they and the curves were drawn
};
const isTraining = () => document.body.dataset.task === "train";
const isRunning = () => training.running && !training.single;
const isStepping = () => training.running && training.single && training.end > learning.run.steps;
const things = isOfDigits ? "digits" : "samples";
const counted = (count) => `${count.toLocaleString("en")} ${count === 1 ? things.slice(0, -1) : things}`;

function setUpTraining() {
  document.body.dataset.task = "step";
  if (model.loss === null) return;
  $("tasks").hidden = model.training === null || FIRST < 0;
  if ($("tasks").hidden) return;
  const { train } = model.training, counts = [train, ...FEWER.filter((count) => count < train)];
  $("count").replaceChildren(...counts.map((count) => element("option", { value: count }, count.toLocaleString("en"))));
  for (const task of $("tasks").children) task.addEventListener("click", () => setTask(task.dataset.task));
  showTask();
  const startOther = () => startAnew((learning.run?.seed ?? 0) + 1);
  for (const [id, act] of Object.entries({ train: pressTrain, batch: pressSingle, anew: startOther })) onPress(id, act);
  $("count").addEventListener("change", () => {
    pauseTraining();
    if (learning.run === null) changed();
    else startAnew(learning.run.seed);
  });
  $("speed").addEventListener("change", continueTraining);
  setUpFirst();
  setUpCurves();
}

function setTask(task) {
  if (document.body.dataset.task === task) return;
  leaveStep();
  if (isRunning()) say("Paused.");
  pauseTraining();
  document.body.dataset.task = task;
  showTask();
  layoutChanged();
  if (isTraining()) continueTraining();
}
function showTask() {
  const { task } = document.body.dataset;
  for (const button of $("tasks").children) setAttribute(button, "aria-pressed", button.dataset.task === task);
}

// Why nothing can be trained, or "".
function obstacle() {
  if (model.training === null) return "There are no samples to train on.";
  if (model.trained === 0) return "All layers are frozen: no weight can change.";
  if (model.layers[LAST].off.size > 0) return "Turn all outputs on again.";
  const isProbability = model.loss === "binary_crossentropy" && model.labels.length === 1;
  if (isProbability && !model.training.y.every((y) => y >= 0 && y <= 1)) {
    return "The output is a probability, and the samples have targets beyond 0 … 1.";
  }
  if (!model.training.y.every((y) => Number.isFinite(Math.fround(y ** 2)))) return "The targets are too large.";
  return training.failure;
}

// From nothing

function pressTrain() {
  if (!isRunning()) return goOn(MOST_STEPS);
  pauseTraining();
  sendJob(0, true); // measures the weights as they are now
  training.note = "Paused.";
}
// Every press counts, also if it comes before the step of the one before is reported; all are one undo.
function pressSingle() {
  if (isRunning()) pauseTraining();
  goOn(isStepping() ? training.end - learning.run.steps + 1 : 1, true);
}
function goOn(most, single = false) {
  if (obstacle() !== "") return;
  if (isBlank() && model.samples !== null) takeSample(0); // so that the picture shows something
  if (learning.run === null) beginRun(1);
  else if (!(single && isStepping())) keepForUndo(single ? "step" : "training");
  leaveStep();
  learning.taken = 0;
  sendJob(most, single);
  if (isRunning()) say(`Training on ${counted(learning.run.samples)}.`);
}
function startAnew(seed) {
  if (obstacle() !== "") return;
  pauseTraining();
  beginRun(seed, "start anew");
  sendJob(0, true);
}
// Random weights, and an optimizer and curves to go with them.
function beginRun(seed, what = "training") {
  if (learning.run?.steps !== 0) keepForUndo(what); // else there is nothing new to keep
  randomize(model, seed);
  renewOptimizer();
  Object.assign(learning, { taken: 0, run: { seed, samples: Number($("count").value), steps: 0, points: [] } });
  weightsChanged();
}

// The worker

// Whether the curves' last point is of the network as it is: after which steps, and with which units off.
const networkAfter = (steps) => JSON.stringify([steps, learning.taken, model.layers.map(({ off }) => [...off])]);
const isMeasured = () => learning.run.points.at(-1)?.network === networkAfter(learning.run.steps);

// The model is cloned for the worker; its kernels stay parts of its one vector of weights.
function sendJob(most, single = false) {
  const { seed, samples, steps } = learning.run, usual = reducedMotion() ? REPORTS.reducedMotion : REPORTS.usual;
  const interval = Math.max(usual, 5 * timeToShow()); // a large network is shown less often
  Object.assign(training, { id: training.id + 1, running: true, single, end: steps + most, note: "" });
  training.told = performance.now();
  try {
    training.worker ??= startWorker();
    training.worker.postMessage({
      id: training.id,
      model: { ...model, samples: null },
      optimizer: learning.optimizer,
      run: { seed, samples, steps },
      measure: !isMeasured(),
      most,
      speed: single ? Infinity : Number($("speed").value),
      interval,
    });
  } catch (error) {
    failToTrain(error);
  }
  changed();
}
function timeToShow() {
  const start = performance.now();
  weightsChanged();
  compute();
  show();
  return performance.now() - start;
}
// From the page's own text, so that the page remains a single file.
function startWorker() {
  const source = new Blob([$("computing").textContent], { type: "text/javascript" });
  const worker = new Worker(URL.createObjectURL(source));
  worker.addEventListener("message", ({ data }) => data.id === training.id && receive(data));
  worker.addEventListener("error", ({ message }) => failToTrain(message));
  return worker;
}
function failToTrain(why) {
  Object.assign(training, { running: false, failure: `This browser does not train here (${why}).` });
  if (learning.run?.points.length === 0) restore(learning.undo.pop()); // the weights before the random ones
  tell("");
}

// What the page has is always what the worker has reported last.
function receive({ failure, weights, optimizer, run, points, done }) {
  if (failure !== undefined) return failToTrain(failure);
  const { single, note } = training, overfitted = isOverfitted(learning.run.points);
  training.running = !done;
  if (weights === null) return tell(DIVERGED);
  model.weights.set(weights);
  learning.optimizer = optimizer;
  const all = [...learning.run.points, ...points.map((point) => ({ ...point, network: networkAfter(point.steps) }))];
  learning.run = { ...learning.run, steps: run.steps, points: all };
  weightsChanged();
  if (done && !single) return tell("Paused by itself.", stateInWords());
  if (!overfitted && isOverfitted(all)) say(storyOf(learning.run));
  else if (done || performance.now() - training.told > TOLD) {
    training.told = performance.now();
    learning.note = ""; // which has been there to read for a while
    say(`${note} ${stateInWords()}`.trim());
  }
  changed();
}
function tell(note, more = "") {
  training.note = note;
  say([note || training.failure, more].filter(Boolean).join(" "));
  changed();
}
function pauseTraining() {
  if (training.running) training.worker.postMessage(null);
  Object.assign(training, { id: training.id + 1, running: false, note: "" });
}
// After the page has changed something that the worker should know.
function continueTraining() {
  if (obstacle() !== "") pauseTraining();
  else if (isRunning()) return sendJob(training.end - learning.run.steps);
  else if (isTraining() && learning.run !== null && !isMeasured()) return sendJob(0, true);
  changed();
}

// Showing

const epochOf = (run) => Math.floor(run.steps / batchesOf(run));
const epochUnderWay = () => (isRunning() ? `Epoch ${epochOf(learning.run) + 1} · ` : "");
const heldOut = () => model.training.y.length - model.training.train;

function stateInWords() {
  const { run } = learning, point = run.points.at(-1);
  if (point === undefined) return "";
  const { epoch, training: own, held } = point, seen = held ?? own;
  const which = held === null ? counted(run.samples) : `${counted(heldOut())} held out`;
  const right = seen.accuracy === null ? "" : `${percent(seen.accuracy)} right, `;
  const epochs = epoch.toLocaleString("en", { maximumFractionDigits: 2 });
  return `After ${epochs} epochs, ${which}: ${right}loss ${small(seen.loss)}.`;
}

function trainingTitle() {
  const { run } = learning;
  if (run === null) return "From nothing";
  if (run.steps === 0) return "Random weights";
  const batches = batchesOf(run), step = run.steps % batches;
  const [before, now] = [0, 1].map((more) => (epochOf(run) + more).toLocaleString("en"));
  if (isRunning() && $("speed").value === "Infinity") return `Epoch ${now}`;
  return step === 0 ? `After epoch ${before}` : `Epoch ${now}, step ${step} of ${batches}`;
}

function trainingText() {
  if (obstacle() !== "") return obstacle();
  const story = training.note === DIVERGED ? "" : storyOf(learning.run);
  return [training.note, learning.note, story].filter(Boolean).join(" ");
}
function storyOf(run) {
  const last = run?.points.at(-1), first = run?.points[0];
  if (last === undefined) return introduction();
  if (run.steps === 0) {
    const frozen = model.layers.some(({ kernel, trains }) => kernel !== null && !trains);
    return frozen ? "The frozen layers keep their weights." : `The network knows nothing.${ofGuessing()}`;
  }
  if (last.training.loss > 1.5 * first.training.loss) {
    return "The loss is larger than with random weights: the steps are too large. Choose a lower rate, and start anew.";
  }
  if (isOverfitted(run.points)) {
    const low = lowestOf(run.points);
    return `Overfitting: the held-out loss was lowest around epoch ${Math.round(low.epoch)}, ` +
      `${small(low.held.loss)}, and is ${small(last.held.loss)} now, while the training loss has fallen further: ` +
      `the network learns its ${things} by heart.`;
  }
  if (last.training.accuracy > (last.held?.accuracy ?? 1) + 0.1) {
    return `It is right for ${percent(last.training.accuracy)} of its ${counted(run.samples)}, but only for ` +
      `${percent(last.held.accuracy)} of those held out, from which it has not learned.`;
  }
  const batches = batchesOf(run), { name, trains } = model.layers[FIRST];
  const watch = isImage && trains
    ? ` Watch the weights of ${name} turn from noise into strokes, and the answer change.` : "";
  return `An epoch is ${batches === 1 ? "1 step" : `${batches} steps`}.${watch}`;
}
function introduction() {
  const count = Number($("count").value), { apart } = model.training;
  const never = `the network never learns from them${apart ? `, nor from the ${model.samples.y.length} shown` : ""}`;
  const others = heldOut() === 0 ? "" : ` Held out: ${counted(heldOut())}; ${never}.`;
  const batch = count > BATCH ? `every ${BATCH} of ${counted(count)}` : `all ${counted(count)} together`;
  return `Train starts with random weights, and takes a step of the optimizer for ${batch}; once through all of them ` +
    `is an epoch.${others}`;
}
function ofGuessing() {
  const count = model.labels.length;
  return model.loss !== "categorical_crossentropy" ? ""
    : ` Guessing gives ${percent(1 / count)}, and a loss of ln ${count} = ${number(Math.log(count))}.`;
}

function showTraining() {
  if (!isTraining()) return;
  const { run } = learning, why = obstacle() !== "";
  if (run !== null) $("count").value = run.samples;
  setText($("train"), isRunning() ? "Pause" : (run?.steps ?? 0) === 0 ? "Train" : "Go on");
  setText($("stage-title"), trainingTitle());
  setText($("stage-text"), trainingText());
  for (const id of ["train", "batch", "anew"]) setAttribute($(id), "aria-disabled", why);
  if (training.stale) {
    showFirst();
    showCurves(run?.points ?? []);
  }
  training.stale = false;
  [...$("first").children].forEach((tile, unit) =>
    setAttribute(tile, "data-chosen", state.chosen?.layer === FIRST && state.chosen.unit === unit));
}
