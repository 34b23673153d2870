// The network: forward, backward, and the steps of SGD and Adam, with the numbers of tinynet. Nothing
// here depends on the page. Samples are rows: a layer's sums z, activations a and errors δ of B
// samples are one Float32Array, B × units. Sums are computed in float64 and stored in float32.
"use strict";

// Weights: one vector for the whole network, and another for their gradients. A layer's kernel (row
// by row, inputs × units) and bias are parts of them: subarrays, which share the memory. As in
// tinynet, frozen layers come last, so an optimizer gets the first `trained` numbers.
function buildNetwork(description) {
  let width = description.input.length;
  const layers = description.layers.map((layer) => {
    const inputs = width;
    width = layer.units;
    return { ...layer, inputs, off: new Set() }; // off: the units that the user has turned off
  });
  const parts = layers
    .flatMap((layer) => [[layer, "kernel"], [layer, "bias"]])
    .filter(([layer, name]) => layer[name] !== null)
    .sort(([a], [b]) => b.trains - a.trains);
  const length = (some) => some.reduce((sum, [layer, name]) => sum + layer[name].length, 0);
  const weights = new Float32Array(length(parts)), gradient = new Float32Array(weights.length);
  let start = 0;
  for (const [layer, name] of parts) {
    const end = start + layer[name].length;
    weights.set(layer[name], start);
    layer[name] = weights.subarray(start, end);
    layer[`${name}Gradient`] = gradient.subarray(start, end);
    start = end;
  }
  return { ...description, layers, weights, gradient, trained: length(parts.filter(([layer]) => layer.trains)) };
}

// The activations f, and their derivatives f′(z), written in terms of a = f(z). Softmax is not among
// them, because each of its outputs depends on every z.
const ACTIVATIONS = {
  linear: { f: (z) => z, slope: () => 1 },
  sigmoid: { f: (z) => 1 / (1 + Math.exp(-z)), slope: (a) => a * (1 - a) },
  tanh: { f: Math.tanh, slope: (a) => 1 - a * a },
  relu: { f: (z) => Math.max(0, z), slope: (a) => (a > 0 ? 1 : 0) },
};

// Forward

// For every layer its input x, sums z = x W + b and activations a = f(z).
function forward(model, input, temperature = 1) {
  let x = new Float32Array(input);
  return model.layers.map((layer) => {
    const z = layer.kernel === null ? x : weightedSums(layer, x);
    const a = activate(layer, z, layer === model.layers.at(-1) ? temperature : 1);
    const pass = { x, z, a };
    x = a;
    return pass;
  });
}

// z_j = Σ_i x_i W_ij + b_j. Most pixels are 0 and contribute nothing, so they are skipped.
function weightedSums({ inputs, units, kernel, bias }, x) {
  const z = new Float32Array((x.length / inputs) * units), sums = new Float64Array(units);
  for (let n = 0; n < x.length / inputs; n++) {
    if (bias === null) sums.fill(0);
    else sums.set(bias);
    for (let i = 0; i < inputs; i++) {
      const value = x[n * inputs + i];
      if (value !== 0) addScaled(sums, value, kernel, i * units);
    }
    z.set(sums, n * units);
  }
  return z;
}

// sums ← sums + factor · (as many numbers of the array, from `start`)
function addScaled(sums, factor, array, start) {
  for (let j = 0; j < sums.length; j++) sums[j] += factor * array[start + j];
}

function activate({ activation, units, off }, z, temperature) {
  const a = activation === "softmax"
    ? byRow(z, units, (row) => softmaxSteps(row, temperature, off).p)
    : z.map(ACTIVATIONS[activation].f);
  return silence(a, units, off);
}

// Rows of `units` numbers, each replaced by f(row, its start).
function byRow(rows, units, f) {
  const result = new Float32Array(rows.length);
  for (let start = 0; start < rows.length; start += units) {
    result.set(f(rows.subarray(start, start + units), start), start);
  }
  return result;
}

// A unit that is off outputs 0, and learns nothing.
function silence(rows, units, off) {
  for (const unit of off) {
    for (let k = unit; k < rows.length; k += units) rows[k] = 0;
  }
  return rows;
}

// p_k = e^(z_k / T) / Σ_j e^(z_j / T). The largest z / T is subtracted first, so that no exponential
// overflows; this does not change p. A unit that is off has p = 0: its z is replaced by −∞.
function softmaxSteps(z, temperature, off = new Set()) {
  const scaled = Float64Array.from(z, (v, k) => (off.has(k) && off.size < z.length ? -Infinity : v / temperature));
  const largest = scaled.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = scaled.map((v) => Math.exp(v - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return { scaled, largest, powers, sum, p: powers.map((v) => v / sum) };
}

// Loss: for targets y, B × K, the loss ℓ of each sample, their mean L, and δ = ∂L/∂z of the last
// layer, in which cross-entropy and its activation are one step: p − y remains of both.

function lossOf(model, { z, a }, y) {
  const layer = model.layers.at(-1), { units } = layer, { f, delta } = LOSSES[model.loss];
  const losses = Array.from({ length: y.length / units }, (_, n) => {
    const row = (all) => all.subarray(n * units, (n + 1) * units);
    return f(row(z), row(a), row(y), layer.off);
  });
  const each = delta(layer, z, a, y).map((d) => d / losses.length);
  return {
    losses,
    loss: losses.reduce((sum, one) => sum + one, 0) / losses.length,
    delta: silence(each, units, layer.off),
  };
}

const LOSSES = {
  // ℓ = −Σ y ln p. From p = e^(z − max) / Σ, ln p = z − max − ln Σ, which never is ln 0.
  categorical_crossentropy: {
    f: (z, a, y, off) => {
      const { scaled, largest, sum } = softmaxSteps(z, 1, off);
      return y.reduce((total, v, k) => (v === 0 ? total : total - v * (scaled[k] - largest - Math.log(sum))), 0);
    },
    delta: ({ units, off }, z, a, y) =>
      byRow(z, units, (row, start) => softmaxSteps(row, 1, off).p.map((p, k) => p - y[start + k])),
  },
  // ℓ = −mean of y ln p + (1 − y) ln(1 − p), with p = σ(z), so that −ln p = ln(1 + e^−z); p = 0 if off.
  binary_crossentropy: {
    f: (z, a, y, off) => mean(z.map((v, k) => (off.has(k) ? y[k] && Infinity
      : Math.max(v, 0) - y[k] * v + Math.log1p(Math.exp(-Math.abs(v)))))),
    delta: ({ units }, z, a, y) => z.map((v, k) => (ACTIVATIONS.sigmoid.f(v) - y[k]) / units),
  },
  // ℓ = mean of (a − y)², so ∂ℓ/∂a = 2 (a − y) / K; then back through the activation.
  mean_squared_error: {
    f: (z, a, y) => mean(a.map((v, k) => (v - y[k]) ** 2)),
    delta: (layer, z, a, y) => throughActivation(layer, a, a.map((v, k) => (2 * (v - y[k])) / layer.units)),
  },
};

const mean = (numbers) => numbers.reduce((sum, v) => sum + v, 0) / numbers.length;

// Backward

// From δ of the last layer to the first: writes the gradient of every weight into model.gradient,
// and returns the δ of every layer.
function backward(model, passes, delta) {
  const deltas = [];
  for (let l = model.layers.length - 1; l >= 0; l--) {
    const layer = model.layers[l];
    deltas[l] = delta;
    if (layer.kernel !== null) weightGradients(layer, passes[l].x, delta);
    if (l === 0) break;
    const before = model.layers[l - 1];
    delta = throughActivation(before, passes[l - 1].a, passOn(layer, delta));
    silence(delta, before.units, before.off);
  }
  return deltas;
}

// ∂L/∂W_ij = Σ_n x_ni δ_nj and ∂L/∂b_j = Σ_n δ_nj
function weightGradients({ inputs, units, kernelGradient, bias, biasGradient }, x, delta) {
  const rows = delta.length / units, sums = new Float64Array(units);
  for (let i = 0; i < inputs; i++) {
    sums.fill(0);
    for (let n = 0; n < rows; n++) {
      const value = x[n * inputs + i];
      if (value !== 0) addScaled(sums, value, delta, n * units);
    }
    kernelGradient.set(sums, i * units);
  }
  if (bias === null) return;
  sums.fill(0);
  for (let n = 0; n < rows; n++) addScaled(sums, 1, delta, n * units);
  biasGradient.set(sums);
}

// ∂L/∂x_ni = Σ_j δ_nj W_ij
function passOn({ inputs, units, kernel }, delta) {
  if (kernel === null) return delta;
  const result = new Float32Array((delta.length / units) * inputs);
  for (let n = 0; n < delta.length / units; n++) {
    for (let i = 0; i < inputs; i++) {
      let sum = 0;
      for (let j = 0; j < units; j++) sum += delta[n * units + j] * kernel[i * units + j];
      result[n * inputs + i] = sum;
    }
  }
  return result;
}

// δ_j = ∂L/∂a_j f′(z_j); for softmax, of which every output depends on every z:
// δ_j = a_j (∂L/∂a_j − Σ_k a_k ∂L/∂a_k).
function throughActivation({ activation, units }, a, arriving) {
  if (activation !== "softmax") return arriving.map((d, k) => d * ACTIVATIONS[activation].slope(a[k]));
  return byRow(arriving, units, (row, start) => {
    const total = row.reduce((sum, d, k) => sum + d * a[start + k], 0);
    return row.map((d, k) => a[start + k] * (d - total));
  });
}

// Optimizers: one step for the weights w and gradients g, in place. Each has its slots, vectors of
// zeros at first, and t, the number of its steps.

function makeOptimizer(settings, count) {
  const slots = OPTIMIZERS[settings.name].slots.map((name) => [name, new Float32Array(count)]);
  return { ...settings, ...Object.fromEntries(slots), t: 0 };
}

function takeStep(optimizer, model) {
  optimizer.t += 1;
  OPTIMIZERS[optimizer.name].step(optimizer, model.weights, model.gradient);
}

const OPTIMIZERS = {
  // v ← μ v − η g, then w ← w + v; with Nesterov's momentum w ← w + μ v − η g
  SGD: {
    slots: ["velocity"],
    step({ learning_rate: eta, momentum: mu, nesterov, velocity: v }, w, g) {
      for (let i = 0; i < v.length; i++) {
        v[i] = mu * v[i] - eta * g[i];
        w[i] += nesterov ? mu * v[i] - eta * g[i] : v[i];
      }
    },
  },
  // m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², then w ← w − α m / (√v + ε), with
  // α = η √(1 − β₂ᵗ) / (1 − β₁ᵗ), computed in float32 as in Keras, because that changes results.
  Adam: {
    slots: ["m", "v"],
    step({ learning_rate, beta_1, beta_2, epsilon, t, m, v }, w, g) {
      const small = Math.fround, rest = (beta) => small(1 - small(small(beta) ** t));
      const alpha = small(small(small(learning_rate) * Math.sqrt(rest(beta_2))) / rest(beta_1));
      for (let i = 0; i < m.length; i++) {
        m[i] = beta_1 * m[i] + (1 - beta_1) * g[i];
        v[i] = beta_2 * v[i] + (1 - beta_2) * g[i] ** 2;
        w[i] -= alpha * (m[i] / (Math.sqrt(v[i]) + epsilon));
      }
    },
  },
};
