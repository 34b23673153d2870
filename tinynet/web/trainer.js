// Training from random weights, in a worker: another thread, so that the page stays free. What it
// computes depends on nothing but the job that the page sends, so the same seed gives the same weights.
"use strict";

const BATCH = 32; // samples in a step
const BREATH = 30; // milliseconds of work after which messages from the page are read
const CHUNK = 100; // samples that are measured at a time, to save memory

// Random numbers

// Uniform in 0 … 1, from a counter that is mixed by MurmurHash3's finalizer (Appleby 2011).
function randomOf(seed) {
  let counter = Math.imul(seed + 1, 0x9e3779b1);
  return () => {
    counter = (counter + 0x9e3779b9) | 0;
    let bits = counter;
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    return ((bits ^ (bits >>> 16)) >>> 0) / 2 ** 32;
  };
}

// Standard normal (Box and Muller 1958); `truncated` draws again what is beyond ±2.
function normal(random, truncated) {
  for (;;) {
    const value = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    if (!truncated || Math.abs(value) <= 2) return value;
  }
}

// Kernels of variance scale / n, as tinynet's VarianceScaling draws them; biases of 0.
function randomize(model, seed) {
  const random = randomOf(seed);
  for (const { kernel, bias, inputs, units, start, trains } of model.layers) {
    if (kernel === null || !trains) continue;
    const n = { fan_in: inputs, fan_out: units, fan_avg: (inputs + units) / 2 }[start.mode];
    const spread = Math.sqrt(start.scale / Math.max(1, n));
    const draw = {
      uniform: () => Math.sqrt(3) * spread * (2 * random() - 1),
      untruncated_normal: () => spread * normal(random, false),
      // Truncation at ±2 reduces the standard deviation to 0.8796…; the division restores it.
      truncated_normal: () => (spread / 0.87962566103423978) * normal(random, true),
    }[start.distribution];
    for (let i = 0; i < kernel.length; i++) kernel[i] = draw();
    bias?.fill(0);
  }
}

const range = (start, end) => Uint32Array.from({ length: end - start }, (_, i) => start + i);

// The numbers 0 … count − 1 in random order (Fisher and Yates).
function shuffled(count, seed) {
  const order = range(0, count), random = randomOf(seed);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// Samples

// The samples that export_html packed, as rows of inputs x and targets y: first those for training, as
// many as `train`, then those held out. Answers are right or wrong unless the targets are numbers.
async function unpackSamples(model) {
  const { x, y, type, scale, train } = model.training, { units } = model.layers.at(-1);
  const stream = new Blob([bytesOf(x)]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const values = type === "uint8" ? bytes : floatsOf(bytes, "float32"), { brightest } = model.input;
  const inputs = Float32Array.from(values, (v) => Math.fround(v * scale) * brightest);
  const targets = new Float32Array(y.length * units);
  y.forEach((target, n) => {
    if (units === 1) targets[n] = target;
    else targets[n * units + target] = 1;
  });
  const areClasses = units > 1 || (model.loss === "binary_crossentropy" && y.every((v) => v === 0 || v === 1));
  return { x: inputs, y: targets, count: y.length, train, areClasses };
}

function rowsOf({ x, y, count }, numbers) {
  const pick = (all) => {
    const width = all.length / count, rows = new Float32Array(numbers.length * width);
    numbers.forEach((number, n) => rows.set(all.subarray(number * width, (number + 1) * width), n * width));
    return rows;
  };
  return { x: pick(x), y: pick(y) };
}

// The index of the largest number; NaN is never the largest.
const bestOf = (a) => a.reduce((best, v, k) => (v > a[best] || Number.isNaN(a[best]) ? k : best), 0);

// Loss and accuracy, null for numbers, of the samples from `start` to `end`.
function evaluate(model, samples, start, end) {
  const { units } = model.layers.at(-1), all = end - start;
  let loss = 0, right = samples.areClasses ? 0 : null;
  for (let first = start; first < end; first += CHUNK) {
    const { x, y } = rowsOf(samples, range(first, Math.min(first + CHUNK, end)));
    const last = forward(model, x).at(-1), row = (rows, n) => rows.subarray(n * units, (n + 1) * units);
    lossOf(model, last, y).losses.forEach((one, n) => {
      loss += one;
      if (right === null) return;
      right += units > 1 ? row(y, n)[bestOf(row(last.a, n))] : Number(last.a[n] > 0.5 === y[n] > 0.5);
    });
  }
  return { loss: loss / all, accuracy: right === null ? null : right / all };
}

// A point of the curves: the training samples and those held out, at the same weights.
function curvePoint(model, samples, run) {
  const { train, count } = samples, held = count > train ? evaluate(model, samples, train, count) : null;
  const { steps } = run, epoch = steps / batchesOf(run);
  return { steps, epoch, training: evaluate(model, samples, 0, run.samples), held };
}

// Steps

const batchesOf = (run) => Math.ceil(run.samples / BATCH);

// A run is { seed, samples, steps }: it takes so many samples, in every epoch in another order.
const orderOf = (run, epoch) => shuffled(run.samples, run.seed + 1000 * (epoch + 1)); // no seed of a run is so large

function trainBatch(model, optimizer, samples, run) {
  const batches = batchesOf(run), epoch = Math.floor(run.steps / batches), first = (run.steps % batches) * BATCH;
  const { x, y } = rowsOf(samples, orderOf(run, epoch).subarray(first, first + BATCH));
  const passes = forward(model, x), { delta } = lossOf(model, passes.at(-1), y);
  backward(model, passes, delta);
  takeStep(optimizer, model);
  run.steps += 1;
}

function copyOf(optimizer) {
  const { slots } = OPTIMIZERS[optimizer.name];
  return { ...optimizer, ...Object.fromEntries(slots.map((slot) => [slot, optimizer[slot].slice()])) };
}

// The job of the worker is { id, model, optimizer, run, measure, most, speed, interval }: at most so many
// steps, so many a second, with reports at most every so many milliseconds at full speed; first, it
// measures the weights if they were not. Another job, or null, ends it.
let job = null, unpacked = null, wake = () => {};

async function work(own) {
  const { model, optimizer, run, speed } = own, end = run.steps + own.most, slow = speed < Infinity;
  // A point for every epoch, or for several, lest measuring takes longer than training; or every second.
  const often = slow ? speed : batchesOf(run) * Math.ceil(20 / batchesOf(run));
  unpacked ??= await unpackSamples(model);
  let points = own.measure ? [curvePoint(model, unpacked, run)] : [];
  let reported = -Infinity, rested = performance.now();
  while (job === own) {
    const over = run.steps === end;
    if (slow || over || performance.now() - reported > own.interval) {
      if (!report(own, points, over) || over) return;
      points = [];
      reported = performance.now();
    }
    const worked = performance.now() - rested;
    if (slow || worked > BREATH) {
      await rest(slow ? Math.max(0, 1000 / speed - worked) : 0);
      rested = performance.now();
      if (job !== own) return;
    }
    trainBatch(model, optimizer, unpacked, run);
    if (run.steps === end || run.steps % often === 0) points.push(curvePoint(model, unpacked, run));
  }
}

// Send the page copies of the weights and of the optimizer; or tell it that they are no longer finite.
function report({ id, model, optimizer, run }, points, done) {
  const weights = model.weights.slice(), copy = copyOf(optimizer);
  const numbers = [weights, ...OPTIMIZERS[copy.name].slots.map((slot) => copy[slot])];
  const losses = points.flatMap(({ training, held }) => [training.loss, held?.loss ?? 0]);
  if (![...numbers, losses].every((some) => some.every(Number.isFinite))) {
    postMessage({ id, run, done: true, weights: null });
    return false;
  }
  postMessage({ id, run, done, weights, optimizer: copy, points }, numbers.map(({ buffer }) => buffer));
  return true;
}

// A pause, in which messages are read; a message ends it.
function rest(milliseconds) {
  return new Promise((resolve) => {
    wake = resolve;
    setTimeout(resolve, milliseconds);
  });
}

if (typeof document === "undefined") {
  onmessage = ({ data }) => {
    job = data;
    wake();
    if (job !== null) work(job).catch((error) => postMessage({ id: data.id, failure: String(error) }));
  };
}
