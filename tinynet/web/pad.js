// The pad to draw on: strokes by pointer and keyboard, undo, an invitation, and an example that draws
// itself if nobody does.
"use strict";

// The resolution of the drawing, independent of its size on the screen.
const PAD_W = 280;
const PAD_H = isImage ? Math.round((PAD_W * model.input.h) / model.input.w) : PAD_W;

// Finished strokes are kept in a separate canvas, so that each frame redraws only the last one.

const finished = { canvas: element("canvas", { width: PAD_W, height: PAD_H }), strokes: [] };
const inkCanvas = element("canvas", { width: PAD_W, height: PAD_H });
const inkContext = inkCanvas.getContext("2d", { willReadFrequently: true });

function drawStroke(context, { width, points }) {
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(...points[0]);
  if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
  for (const point of points.slice(1)) context.lineTo(...point);
  context.stroke();
}

function inkOfDrawing() {
  const done = state.strokes.slice(0, -1), context = finished.canvas.getContext("2d");
  if (done.length < finished.strokes.length || finished.strokes.some((stroke, i) => stroke !== done[i])) {
    context.clearRect(0, 0, PAD_W, PAD_H);
    finished.strokes = [];
  }
  for (const stroke of done.slice(finished.strokes.length)) drawStroke(context, stroke);
  finished.strokes = done;
  inkContext.clearRect(0, 0, PAD_W, PAD_H);
  inkContext.drawImage(finished.canvas, 0, 0);
  if (state.strokes.length > 0) drawStroke(inkContext, state.strokes.at(-1));
  const { data } = inkContext.getImageData(0, 0, PAD_W, PAD_H);
  const ink = new Float32Array(PAD_W * PAD_H);
  for (let i = 0; i < ink.length; i++) ink[i] = data[4 * i + 3] / 255;
  return ink;
}

// The position of an event in pixels of the drawing, which excludes the border of the pad.
function pointOf(event) {
  const pad = $("pad"), box = pad.getBoundingClientRect();
  return [
    ((event.clientX - box.left - pad.clientLeft) / pad.clientWidth) * PAD_W,
    ((event.clientY - box.top - pad.clientTop) / pad.clientHeight) * PAD_H,
  ];
}

const pen = { x: PAD_W / 2, y: PAD_H / 2, down: false, shown: false }; // for the keyboard
let pointer = null; // the id of the finger, pen or mouse that is drawing; others are ignored

function liftPen() {
  pen.down = false;
  pointer = null;
}

// Called before each change of the drawing, for undo.
function remember() {
  state.past.push({ strokes: [...state.strokes], sample: state.sample, target: state.target });
}

function beginStroke(point) {
  remember();
  const continues = state.sample === null && state.strokes.length > 0 && !isExample();
  const strokes = [...(continues ? state.strokes : []), { width: Number($("brush").value), points: [point] }];
  inputChanged({ strokes, sample: null, target: continues ? state.target : null });
}

function extendStroke(point) {
  state.strokes.at(-1).points.push(point);
  inputChanged();
}

function movePen(dx, dy) {
  pen.shown = true;
  pen.x = Math.max(0, Math.min(PAD_W, pen.x + dx));
  pen.y = Math.max(0, Math.min(PAD_H, pen.y + dy));
  if (pen.down) extendStroke([pen.x, pen.y]);
  changed();
}

function undo() {
  liftPen();
  const before = state.past.pop();
  if (before !== undefined) inputChanged(before);
}

function clear() {
  liftPen();
  if (state.strokes.length > 0 || state.sample !== null) remember();
  inputChanged({ strokes: [], sample: null, target: null });
}

function setUpDrawing() {
  const pad = $("pad");
  pad.setAttribute("aria-label", "Drawing area");
  $("pad-help").textContent =
    "Draw with mouse, pen or finger. With the keyboard: arrow keys move the pen, space puts it down and lifts it.";
  pad.addEventListener("pointerdown", (event) => {
    if (pointer !== null || event.button !== 0) return;
    liftPen();
    pen.shown = false;
    pointer = event.pointerId;
    pad.setPointerCapture(pointer);
    beginStroke(pointOf(event));
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [event]) extendStroke(pointOf(one));
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    pad.addEventListener(kind, (event) => {
      if (event.pointerId === pointer) pointer = null;
    });
  }
  pad.addEventListener("keydown", (event) => {
    if (event.key in ARROWS) {
      const step = event.shiftKey ? 2 : 8;
      movePen(...ARROWS[event.key].map((d) => d * step));
    } else if (event.key === " ") {
      pen.down = !pen.down;
      pen.shown = true;
      if (pen.down) beginStroke([pen.x, pen.y]);
      else changed();
    } else if (event.key === "Delete" || event.key === "Backspace") clear();
    else return;
    event.preventDefault();
  });
  pad.addEventListener("focus", () => {
    pen.shown = pad.matches(":focus-visible");
    changed();
  });
  pad.addEventListener("blur", () => {
    pen.down = pen.shown = false;
    changed();
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=number]")) return; // which has an undo of its own
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      undo();
    }
  });
  $("undo").addEventListener("click", undo);
  $("clear").addEventListener("click", clear);
}

function showPad() {
  const pad = $("pad");
  const wide = Math.max(PAD_W, Math.round(pad.clientWidth * (window.devicePixelRatio || 1)));
  const high = Math.round((wide * PAD_H) / PAD_W);
  if (pad.width !== wide) pad.width = wide;
  if (pad.height !== high) pad.height = high;
  const context = pad.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, wide, high);
  if (state.sample !== null) {
    const { h, w } = model.input, grey = greyOf(state.values);
    for (let i = 0; i < h * w; i++) {
      context.fillStyle = `rgb(${asInk(grey[i])})`;
      const x = Math.floor(((i % w) * wide) / w), y = Math.floor((Math.floor(i / w) * high) / h);
      context.fillRect(x, y, Math.ceil(wide / w), Math.ceil(high / h));
    }
    return;
  }
  context.scale(wide / PAD_W, wide / PAD_W);
  if (state.strokes.length === 0 && !pen.shown) return invite(context);
  context.strokeStyle = `rgb(${palette.text})`;
  for (const stroke of state.strokes) drawStroke(context, stroke);
  if (isExample()) write(context, "An example. Draw your own here.", "14px", PAD_H - 15);
  if (!pen.shown) return;
  context.lineWidth = 2;
  context.strokeStyle = `rgb(${palette.accent})`;
  for (const radius of pen.down ? [Number($("brush").value) / 2, 3] : [Number($("brush").value) / 2]) {
    context.beginPath();
    context.arc(pen.x, pen.y, radius, 0, 7);
    context.stroke();
  }
}

// The invitation on the empty pad, and the example

const isOfDigits = isImage && model.labels.join() === "0,1,2,3,4,5,6,7,8,9";

function write(context, text, font, y) {
  context.fillStyle = rgba("muted");
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.font = `${font} system-ui, sans-serif`;
  context.fillText(text, PAD_W / 2, y);
}
function invite(context) {
  context.strokeStyle = rgba("muted");
  context.lineWidth = 2;
  context.setLineDash([6, 8]);
  context.strokeRect(20, 20, PAD_W - 40, PAD_H - 40);
  context.setLineDash([]);
  write(context, isOfDigits ? "Draw a digit here" : "Draw here", "600 23px", PAD_H / 2);
}

const EXAMPLE = {
  wait: 4000, // milliseconds without any use of the page, before it begins
  duration: 1400,
  // A 3: two arcs, by centre, radii, and first and last angle in degrees, clockwise from the right.
  arcs: [[135, 95, 50, 44, -150, 90], [135, 187, 58, 48, -90, 150]],
};
const example = { timer: 0, stroke: null };
const isExample = () => state.strokes.includes(example.stroke);

function examplePoints() {
  return EXAMPLE.arcs.flatMap(([x, y, rx, ry, from, to]) => Array.from({ length: 24 }, (_, i) => {
    const angle = ((from + ((to - from) * i) / 23) * Math.PI) / 180;
    return [x + rx * Math.cos(angle), ((y + ry * Math.sin(angle)) * PAD_H) / PAD_W];
  }));
}

function waitWithExample() {
  example.timer = setTimeout(drawExample, EXAMPLE.wait);
  for (const kind of ["pointerdown", "keydown"]) {
    document.addEventListener(kind, cancelExample, { capture: true, once: true });
  }
}
// An example that is being drawn remains as far as it is.
function cancelExample() {
  clearTimeout(example.timer);
  example.timer = 0;
}
function drawExample() {
  if (!isBlank()) return;
  if (!isOfDigits) return model.samples !== null && takeSample(0);
  const [first, ...points] = examplePoints(), start = performance.now();
  beginStroke(first);
  example.stroke = state.strokes.at(-1);
  const extend = () => {
    if (example.timer === 0 || state.strokes.at(-1) !== example.stroke) return;
    const part = reducedMotion() ? 1 : (performance.now() - start) / EXAMPLE.duration;
    while (points.length > 0 && 1 - points.length / 47 <= part) extendStroke(points.shift());
    if (points.length > 0) requestAnimationFrame(extend);
  };
  extend();
}
