// The input of a network of plain vectors: bars that the user drags up and down.
"use strict";

const bars = { at: 0 };
function setUpBars() {
  document.body.classList.add("vector");
  $("input-title").textContent = "The input";
  $("brush-label").remove();
  $("undo").remove();
  $("clear").textContent = "Set all to 0";
  $("clear").addEventListener("click", () => {
    state.values.fill(0);
    inputChanged({ sample: null, target: null });
  });
  const pad = $("pad"), [low, high] = model.input.range;
  pad.setAttribute("role", "slider");
  pad.setAttribute("aria-label", "Input values");
  $("pad-help").textContent =
    "Drag the bars. With the keyboard: left and right select a bar, up and down change it.";
  const set = (bar, value) => {
    bars.at = bar;
    state.values[bar] = Math.max(low, Math.min(high, value));
    inputChanged(state.sample === null ? {} : { sample: null, target: null });
  };
  const whereIs = (event) => {
    const [x, y] = pointOf(event);
    const share = Math.max(0, Math.min(0.999999, x / PAD_W)), part = Math.max(0, Math.min(1, y / PAD_H));
    return { bar: Math.floor(share * model.input.length), value: high - part * (high - low) };
  };
  let last = null; // the previous position of the drag: a quick one skips bars
  pad.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pad.setPointerCapture(event.pointerId);
    last = whereIs(event);
    set(last.bar, last.value);
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.buttons === 0 || last === null) return;
    const now = whereIs(event), steps = Math.max(1, Math.abs(now.bar - last.bar));
    for (let i = 1; i <= steps; i++) {
      const part = i / steps;
      set(Math.round(last.bar + part * (now.bar - last.bar)), last.value + part * (now.value - last.value));
    }
    last = now;
  });
  pad.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    const [right, down] = ARROWS[event.key];
    const length = model.input.length;
    bars.at = (bars.at + right + length) % length;
    if (down) set(bars.at, state.values[bars.at] - (down * (high - low)) / 20);
    changed();
  });
}

function showBars() {
  const pad = $("pad"), ratio = window.devicePixelRatio || 1;
  pad.width = Math.round(pad.clientWidth * ratio);
  pad.height = Math.round(pad.clientHeight * ratio);
  const context = pad.getContext("2d"), [low, high] = model.input.range;
  const y = (v) => ((high - v) / (high - low)) * pad.height;
  const width = pad.width / model.input.length, zero = y(Math.max(low, Math.min(high, 0)));
  state.values.forEach((v, i) => {
    context.fillStyle = `rgb(${tint(v < 0 ? -1 : 1)})`;
    context.fillRect(i * width + width * 0.1, Math.min(zero, y(v)), width * 0.8, Math.abs(y(v) - zero));
  });
  context.strokeStyle = context.fillStyle = `rgb(${palette.text})`;
  context.lineWidth = ratio;
  context.strokeRect(0, zero, pad.width, 0);
  context.strokeRect(bars.at * width, ratio, width, pad.height - 2 * ratio);
  pad.setAttribute("aria-valuemin", low);
  pad.setAttribute("aria-valuemax", high);
  pad.setAttribute("aria-valuenow", state.values[bars.at]);
  pad.setAttribute("aria-valuetext", `number ${bars.at + 1} is ${number(state.values[bars.at])}`);
}
