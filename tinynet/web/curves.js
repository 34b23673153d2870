// What training shows: the curves of loss and accuracy, and the weights of the first layer's units.
"use strict";

const TILES = 36; // the most units whose weights are shown
// The first layer with weights: its pictures turn from noise into strokes.
const FIRST = model.layers.findIndex(({ kernel }) => kernel !== null);

function setUpFirst() {
  const { units, name } = model.layers[FIRST], shown = Math.min(units, TILES);
  setText($("first-hint"), `Where ${isImage ? "there is ink" : "the input is positive"}, blue raises the sum of the ` +
    "unit, and yellow lowers it.");
  setText($("first-title"), `Weights of ${name}${shown < units ? `, ${shown} of ${units} units` : ""}`);
  for (let unit = 0; unit < shown; unit++) {
    const tile = element("canvas", { "aria-hidden": true }); // all together are one picture
    tile.addEventListener("click", () => {
      state.selected = { layer: FIRST, unit };
      pin(state.selected);
      openSheet();
    });
    $("first").append(tile);
  }
}

// All of them have one scale, so that weights that have grown stand out from those that are still random.
// It is the size that one weight in two hundred exceeds: a single large one would make the others pale. Of
// very many weights, some are enough to find it.
function showFirst() {
  const layer = model.layers[FIRST], map = mapOf(FIRST), tiles = [...$("first").children];
  const pictures = tiles.map((_, unit) => map.grey(columnOf(layer, unit, layer.kernel)));
  const count = pictures.length * pictures[0].length, stride = Math.ceil(count / 3e4);
  const sizes = Float32Array.from({ length: Math.floor(count / stride) }, (_, n) => {
    const unit = Math.floor((n * stride) / pictures[0].length);
    return Math.abs(pictures[unit][(n * stride) % pictures[0].length]);
  }).sort();
  const largest = sizes[Math.floor(0.995 * sizes.length)] || sizes.at(-1) || 1;
  tiles.forEach((tile, unit) => paint(tile, pictures[unit], map.w, map.h, tintTable, largest));
  const [low, , high] = $("first").nextElementSibling.children;
  setText(low, `≤ −${number(largest)}`);
  setText(high, `≥ ${number(largest)}`);
}

// Curves

const CHARTS = [{ key: "loss", name: "Loss", text: small }, { key: "accuracy", name: "Accuracy", text: percent }];
const CURVES = [
  { of: "held", name: "held out", colour: "wrong", dash: [] },
  { of: "training", name: "training", colour: "accent", dash: [4, 3] },
];
let looked = null; // the epoch at which the pointer is, whose numbers are shown in place of the last

function setUpCurves() {
  const read = (epoch) => {
    looked = epoch;
    training.stale = true;
    changed();
  };
  for (const { name } of CHARTS) {
    const caption = element("figcaption", {}, element("strong", {}, name));
    for (const { of, name: words } of CURVES) {
      caption.append(" ", element("span", { class: `key ${of}` }, element("i"), `${words} `, element("b")));
    }
    const canvas = element("canvas", { role: "img", "aria-label": name });
    for (const kind of ["pointermove", "pointerdown"]) {
      canvas.addEventListener(kind, (event) => {
        const { left, right, epochs } = frameOf(canvas, learning.run?.points ?? []);
        read(Math.max(0, (event.offsetX - left) / (right - left)) * epochs);
      });
    }
    canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && read(null));
    $("curves").append(element("figure", {}, caption, canvas));
  }
  // What a finger has touched stays to be read, until it touches something else.
  document.addEventListener("pointerdown", ({ target }) => {
    if (looked !== null && !$("curves").contains(target)) read(null);
  });
}

function showCurves(points) {
  const last = points.at(-1), nearer = (p, q) => (Math.abs(q.epoch - looked) < Math.abs(p.epoch - looked) ? q : p);
  const point = looked === null || last === undefined ? last : points.reduce(nearer);
  CHARTS.forEach(({ key, name, text }, n) => {
    const [caption, canvas] = $("curves").children[n].children;
    const words = CURVES.map(({ of, name: curve }, k) => {
      const value = point?.[of]?.[key] ?? null, entry = caption.children[k + 1];
      entry.hidden = value === null && point !== undefined;
      setText(entry.lastChild, value === null ? "" : text(value));
      return value === null ? "" : `, ${curve} ${text(value)}`;
    });
    caption.parentElement.hidden = key === "accuracy" && last !== undefined && last.training.accuracy === null;
    setAttribute(canvas, "aria-label", `${name} by epoch${words.join("")}`);
    drawChart(canvas, points, key, point);
  });
}

// The beginning of the loss is so high that later differences would not be seen: the axis ends at the
// largest value after the first tenth of the epochs, or where steps that are too large make it explode.
function topOf(points, key) {
  if (key === "accuracy" || points.length === 0) return 1;
  const after = points.filter(({ epoch }) => epoch >= 0.1 * points.at(-1).epoch);
  const most = Math.max(1e-6, ...after.flatMap(({ training: own, held }) => [own.loss, held?.loss ?? 0]));
  const { training: own, held } = points.at(-1);
  return 1.05 * Math.min(most, Math.max(2 * points[0].training.loss, own.loss, held?.loss ?? 0));
}

// In pixels of the layout: where the axes begin and end, and the number of epochs on them.
function frameOf(canvas, points) {
  const { clientWidth: wide, clientHeight: high } = canvas, font = parseFloat(getComputedStyle(canvas).fontSize);
  const epochs = Math.max(10, points.at(-1)?.epoch ?? 0);
  return { wide, high, font, left: 3.5 * font, right: wide - font, top: 0.7 * font, bottom: high - 1.7 * font, epochs };
}

function drawChart(canvas, points, key, point) {
  const frame = frameOf(canvas, points), { wide, high, left, right, top, bottom, epochs, font } = frame;
  if (wide === 0) return;
  const ratio = window.devicePixelRatio || 1, most = topOf(points, key), context = canvas.getContext("2d");
  if (canvas.width !== Math.round(wide * ratio)) canvas.width = Math.round(wide * ratio);
  if (canvas.height !== Math.round(high * ratio)) canvas.height = Math.round(high * ratio);
  const x = (epoch) => left + (epoch / epochs) * (right - left), y = (v) => bottom - (v / most) * (bottom - top);
  const marks = isOverfitted(points) ? [lowestOf(points)] : [];
  context.save();
  context.scale(ratio, ratio);
  context.clearRect(0, 0, wide, high);
  drawAxes(context, frame, key, most, x, y);
  const height = key === "loss" ? top - 0.5 * font : bottom - 1.2 * font; // of the words, where curves seldom are
  for (const { epoch } of marks) drawMark(context, frame, x(epoch), "lowest loss", height, [2, 3]);
  const here = looked !== null && point ? [point] : [];
  for (const { epoch } of here) drawMark(context, frame, x(epoch), `epoch ${Math.round(epoch)}`, height, []);
  context.beginPath();
  context.rect(left - 0.4 * font, 0, wide, high); // without what is above the end of the axis
  context.clip();
  context.lineWidth = font / 6;
  for (const { of, colour, dash } of CURVES) {
    const value = (one) => one[of]?.[key] ?? null, seen = points.filter((one) => value(one) !== null);
    context.strokeStyle = context.fillStyle = rgba(colour);
    context.setLineDash(dash);
    drawPath(context, seen.map((one) => [x(one.epoch), y(value(one))]));
    for (const one of seen.filter((other) => other === point || marks.includes(other))) {
      context.beginPath();
      context.arc(x(one.epoch), y(value(one)), 0.3 * font, 0, 7);
      context.fill();
    }
  }
  context.restore();
}
// A line from top to bottom, with its name on the side that has more room.
function drawMark(context, { font, left, right, top, bottom }, at, name, height, dash) {
  context.strokeStyle = context.fillStyle = rgba("muted");
  context.setLineDash(dash);
  drawPath(context, [[at, top], [at, bottom]]);
  const isLeft = at < (left + right) / 2;
  Object.assign(context, { textAlign: isLeft ? "left" : "right", textBaseline: "top" });
  context.fillText(name, at + (isLeft ? 0.3 : -0.3) * font, height);
}
function drawAxes(context, { wide, font, left, right, bottom, epochs }, key, most, x, y) {
  context.font = `${font}px system-ui, sans-serif`;
  context.fillStyle = rgba("muted");
  context.strokeStyle = rgba("line");
  Object.assign(context, { textAlign: "right", textBaseline: "middle" });
  for (const v of ticks(most, 4)) {
    drawPath(context, [[left, y(v)], [right, y(v)]]);
    context.fillText(key === "loss" ? brief(v) : `${Math.round(100 * v)}\u00a0%`, left - 0.4 * font, y(v));
  }
  context.textBaseline = "top";
  context.fillText("epochs", wide, bottom + 0.4 * font);
  context.textAlign = "center";
  for (const epoch of ticks(epochs, 5)) {
    if (x(epoch) < right - 5 * font) context.fillText(epoch, x(epoch), bottom + 0.4 * font);
  }
}
function drawPath(context, places) {
  context.beginPath();
  for (const [a, b] of places) context.lineTo(a, b);
  context.stroke();
}
// At most six characters, for which there is room
const brief = (v) => (v === 0 || (v >= 0.001 && v < 10000) ? String(v) : v.toExponential().replace("e+", "e"));
// 0 and multiples of 1, 2 or 5 times a power of ten, at most so many more.
function ticks(end, count) {
  const power = 10 ** Math.floor(Math.log10(end / count));
  const distance = power * [1, 2, 5, 10].find((times) => times * power * count >= 0.999 * end);
  return Array.from({ length: Math.floor(end / distance + 1e-6) + 1 }, (_, n) => Number((n * distance).toPrecision(6)));
}

// Overfitting: the loss on the samples held out was lower before, when that on the training samples was
// higher. Not at a single point, which may be chance.
function lowestOf(points) {
  return points.reduce((low, point) => (point.held?.loss < (low?.held.loss ?? Infinity) ? point : low), undefined);
}
function isOverfitted(points) {
  const low = lowestOf(points), latest = points.slice(-3);
  return low !== undefined && latest.every(({ held, training: own }) =>
    held.loss > 1.05 * low.held.loss && own.loss < low.training.loss);
}
