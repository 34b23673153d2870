// The stages of a step, in words and numbers: each has a name for the list, a title, a text, and what
// is shown of the step meanwhile: `reached`, the lowest layer that has its δ; `gradient`, whether the
// selected unit shows the gradient of its weights.
"use strict";

// Before a step.
const isRight = () => model.labels.length > 1 && bestOf(state.passes[LAST].a) === state.target;
function readyText() {
  return (isRight() ? "The network already gets this right; it learns more from a mistake. " : "") +
    "One step changes the weights a little, so that the loss on this example becomes smaller.";
}
const SLOPES = { linear: "1", sigmoid: "a (1 − a)", tanh: "(1 − a²)", relu: "(1 where z > 0, else 0)" };

function stagesOf(step) {
  const hidden = model.layers.slice(0, -1).map((_, l) => deltaStage(step, l)).reverse();
  const error = model.loss === "categorical_crossentropy" ? "p − y" : "δ";
  return [
    { key: "loss", name: "loss", title: "The loss", text: () => lossText(step), reached: Infinity },
    { key: "error", name: error, title: "The error at the outputs", text: () => errorText(step), reached: LAST },
    ...hidden,
    { key: "gradient", name: "gradient", title: "The gradient of the weights", text: gradientText,
      reached: 0, gradient: true },
    { key: "step", name: "change", title: "The change of the weights", text: changeText, reached: 0, gradient: true },
    answerStage(step, true),
  ];
}

// The probability p of an output of which cross-entropy takes the logarithm.
function probabilityOf({ passes }, k) {
  const { z } = passes[LAST], { off } = model.layers[LAST];
  return model.loss === "categorical_crossentropy" ? softmaxSteps(z, 1, off).p[k] : ACTIVATIONS.sigmoid.f(z[k]);
}

function lossText(step) {
  return (step.warm ? "The temperature is 1 again, as in training. " : "") + lossFormula(step);
}
function lossFormula(step) {
  const { loss, passes, y } = step;
  if (model.loss === "categorical_crossentropy") {
    return `L = −ln p = −ln ${exactly(probabilityOf(step, state.target))} = ${number(loss)}. p is the probability ` +
      `that the network gives the right answer, ${model.labels[state.target]}: the smaller p, the larger the loss.`;
  }
  const { a } = passes[LAST];
  if (model.loss === "mean_squared_error") {
    const square = a.length === 1 ? `(${six(a[0])} − ${six(y[0])})²` : `mean of (a − y)² over ${a.length} outputs`;
    return `L = ${square} = ${six(loss)}.`;
  }
  return `L = −${a.length > 1 ? "mean of " : ""}(y ln p + (1 − y) ln (1 − p)) = ${number(loss)}.`;
}

function errorText(step) {
  const { deltas, y } = step, delta = deltas[LAST], k = y.length > 1 ? state.target : 0;
  const one = y.length > 1 ? `For ${model.labels[k]}: ` : "Here: ";
  if (model.loss === "mean_squared_error") {
    const { activation } = model.layers[LAST];
    const error = `∂L/∂a = 2 (a − y)${y.length > 1 ? " / K" : ""}`;
    const how = activation === "softmax" ? "a (∂L/∂a − Σ a ∂L/∂a)" : `∂L/∂a · ${SLOPES[activation]}`;
    return `${error}, and δ = ∂L/∂z = ${how}. ${one}${number(delta[k])}.`;
  }
  const share = model.loss === "binary_crossentropy" && y.length > 1 ? `, divided by ${y.length} outputs` : "";
  const p = probabilityOf(step, k), shown = exactly(p);
  const error = withMinus((p - y[k]).toFixed(shown.includes("e") ? 6 : shown.split(".")[1].length));
  if (largestOf(delta) === 0) return "p − y is 0 to the last digit of float32, and so is every gradient.";
  const divided = share ? `, and δ = ${number(delta[k])}` : "";
  const others = ". Its z should grow; y is 1 for it and 0 for the others, whose z should shrink in proportion to p.";
  return `δ = ∂L/∂z = p − y${share}. ${one}p − y = ${shown} − ${six(y[k])} = ${error}${divided}` +
    (y.length > 1 ? others : ".");
}

function deltaStage(step, l) {
  const { name } = model.layers[l];
  const words = new Map(); // for each unit that was selected, computed once
  return { key: "delta", name: `δ of ${name}`, title: `Back to ${name}`, reached: l, text: () => {
    const j = state.chosen?.layer === l ? state.chosen.unit : largestDelta(l);
    if (!words.has(j)) words.set(j, deltaText(step, l, j));
    return words.get(j);
  } };
}

function deltaText({ deltas, passes }, l, j) {
  const { activation } = model.layers[l], next = model.layers[l + 1], most = largestDelta(l);
  if (deltas[l][most] === 0) return "No error reaches these units: δ = 0.";
  const arriving = passOn(next, deltas[l + 1])[j];
  const [from, sum] = next.kernel === null ? [`the δ of its unit of ${next.name}`, "δ"]
    : [`the δ of all units of ${next.name}, each times the weight to it`, "Σ δ w"];
  const isSoftmax = activation === "softmax";
  const formula = isSoftmax ? `δ = a (g − Σ a g), with g = ${sum}` : `δ = (${sum}) · ${SLOPES[activation]}`;
  const factors = isSoftmax ? "" : `${six(arriving)} · ${six(ACTIVATIONS[activation].slope(passes[l].a[j]))} = `;
  const which = j === most ? `Unit ${j + 1} gets the most` : `Unit ${j + 1}`;
  return `Each unit gets ${from}: ${formula}. ${which}: δ = ${factors}${six(deltas[l][j])}. ` +
    "Yellow is δ < 0: z should grow; blue δ > 0: it should shrink.";
}

function gradientText() {
  const { layer: l, unit } = state.chosen, { name, kernel } = model.layers[l], delta = learning.step.deltas[l][unit];
  if (kernel === null) return "The selected unit has no weights. Select a unit of another layer.";
  const which = l === LAST ? `output ${model.labels[unit]}` : `unit ${unit + 1} of ${name}`;
  return `The gradient of a weight is its input x times the δ of its unit, here ${number(delta)} for ${which}. ` +
    "Where the input is 0, so is the gradient. Select another unit, or click another weight in the picture.";
}

function changeText() {
  const { name, learning_rate: eta, momentum, t } = learning.step.saved.optimizer;
  const how = name === "Adam"
    ? (t === 0 ? "by about η, even where its gradient is small" : "by η m̂ / √v̂, from all its gradients so far")
    : `by η times its gradient${momentum > 0 ? ", plus a fraction of its last change" : ""}`;
  const still = t === 0 ? " Weights whose gradient is 0 stay as they are." : "";
  return `${name} moves each weight against its gradient, ${how}, with η = ${six(eta)}.${still} ` +
    "The change of one weight is worked out below its picture; click another there.";
}

function answerStage(step, gradient) {
  return { key: "answer", name: "new answer", title: "The new answer", reached: Infinity, gradient, text: () => {
    const k = model.labels.length > 1 ? state.target : 0;
    const answers = [step.passes, step.after].map((passes) => passes[LAST].a[k]);
    const hundredths = (p) => `${(100 * p).toFixed(2)}\u00a0%`;
    const coarse = answers.map(model.layers[LAST].activation === "softmax" ? hundredths : number);
    const [old, now] = coarse[0] === coarse[1] ? answers.map(six) : coarse;
    const steps = step.count > 1 ? ` after ${step.count} steps` : "", wrong = countWrong();
    const price = model.samples === null || model.labels.length === 1 ? ""
      : ` Of the ${model.samples.y.length} samples, it now gets ${wrong} wrong (before: ${step.wrong}).`;
    const loss = `Loss ${number(step.loss)} → ${number(step.lossAfter)}.`;
    return `${model.labels[k]}: ${old} → ${now}${steps}. ${loss}${price} The thin bars show the old answer.`;
  } };
}
