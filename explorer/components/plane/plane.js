// The plane under a learner's hands: every change trains both stages again and explains the test point anew.
const STEP = 0.05, FAR = 1.95, FREE = 1e-3, FIRM = 30, STOPS = 60;
// Where training starts, always the same.
const START = {
  pretrained: [0.44, -0.92, -0.09, -0.85, 0.53, -0.04, -0.03, -0.68, -0.47, 0.11, -0.61, -0.83, 0.43, -0.05, 0.59],
  head: [0.66, 0.08, -0.98, 0.75, -0.38, 0.87],
};
const planes = new WeakMap();
const copies = (points) => points.map(({ x, y }) => ({ x: [...x], y }));
const round = (value) => Math.round(100 * Math.min(Math.max(value, -FAR), FAR)) / 100;
const alphaOf = (stop) => (stop >= STOPS ? Infinity : Number((FREE * (FIRM / FREE) ** (stop / (STOPS - 1))).toPrecision(2)));
const stopOf = (alpha) => (alpha === Infinity ? STOPS : Math.round((STOPS - 1) * (Math.log(alpha / FREE) / Math.log(FIRM / FREE))));

function load(now, data) {
  const { points, finetune, query, l2, alpha, left } = data;
  now.text = data.text;
  now.setting = { points: copies(points), finetune: copies(finetune), query: copies([query])[0], l2, alpha: alpha ?? Infinity };
  now.left = new Set(left);
  if (now.chosen === undefined) now.chosen = null;
}

// What was changed, for the address; explorer/lesson/plane.py reads it.
function textOf({ setting, left, original }) {
  const said = ({ x, y }) => [...x, y].join(",");
  const parts = setting.alpha === Infinity ? [] : [`a=${setting.alpha}`];
  if (said(setting.query) !== said(original.query)) parts.push(`q=${said(setting.query)}`);
  setting.points.forEach((point, i) => {
    const out = left.has(i) ? ",out" : "";
    if (out || said(point) !== said(original.points[i])) parts.push(`${i + 1}=${said(point)}${out}`);
  });
  return parts.join("_");
}

function compute(now) {
  now.model = trained(now.setting, START);
  now.scores = scoresOf(now.setting, now.model);
  now.largest = Math.max(...(now.scores ?? [0]).map(Math.abs));
  now.together = null;
  if (now.left.size && now.scores) {
    const predicted = [...now.left].reduce((sum, i) => sum + now.scores[i], 0);
    now.together = [predicted, measuredWithout(now.setting, now.model, now.left)];
  }
  const { points } = now.setting, before = now.original.points.map(({ y }) => y);
  now.relabelled = points.map((_, i) => i).filter((i) => points[i].y !== before[i]);
  now.relabelling = now.relabelled.length ? relabelling(now.setting, before, START) : [null, null];
  now.singles = new Map();
  if (typeof now.chosen === "number") measure(now, now.chosen);
}

const measure = (now, i) => now.singles.set(i, measuredWithout(now.setting, now.model, new Set([i])));

// Leaving each point out takes two trainings: as many a frame as fit, so that dragging stays smooth.
function measureRest(now) {
  cancelAnimationFrame(now.measuring);
  now.measuring = requestAnimationFrame(() => {
    const end = performance.now() + 10;
    const missing = now.setting.points.map((_, i) => i).filter((i) => !now.singles.has(i));
    for (const i of missing) {
      measure(now, i);
      if (performance.now() > end) break;
    }
    drawAgreement(now);
    tell(now);
    if (now.singles.size < now.setting.points.length) measureRest(now);
  });
}

function show(now) {
  compute(now);
  drawPlane(now);
  now.parts.formula.show(now.setting.alpha === Infinity, now.acting);
  tell(now);
  measureRest(now);
}

// Called for every change, `acting` names the terms through which it acts; `over` when it is finished.
function change(now, acting, over) {
  now.acting = acting;
  now.untold ||= over;
  cancelAnimationFrame(now.showing);
  now.showing = requestAnimationFrame(() => {
    show(now);
    if (now.untold) report(now);
  });
}

function report(now) {
  now.untold = false;
  now.text = textOf(now);
  now.serial += 1;
  const [predicted, measured] = now.together ?? [null, null];
  now.send({
    text: now.text, serial: now.serial, left: now.left.size, predicted, measured,
    relabelled: now.relabelled.map((i) => i + 1), relabelling: now.relabelling,
  });
}

// What an address changes was retrained in the browser only: whoever asks for the result is told.
function retell(now) {
  if (now.left.size || now.relabelled.length) report(now);
}

const POINT = ["g", "G", "W"], QUERY = ["ℓ", "v", "q"], HOLD = ["α", "F", "v"], REMOVAL = ["score", "g"];
const chosenPoint = (now) => (now.chosen === "query" ? now.setting.query : now.setting.points[now.chosen]);
const actingOf = (now) => (now.chosen === "query" ? QUERY : POINT);

function choose(now, place) {
  now.chosen = place;
  change(now, now.acting, false);
}

function moveTo(now, x, over) {
  chosenPoint(now).x = x.map(round);
  change(now, actingOf(now), over);
}

function relabel(now) {
  const point = chosenPoint(now);
  point.y = (point.y + 1) % (now.chosen === "query" ? FINETUNED : PRETRAINED).length;
  change(now, actingOf(now), true);
}

function leaveOut(now) {
  const last = now.left.size === now.setting.points.length - 1;
  if (typeof now.chosen !== "number" || (last && !now.left.has(now.chosen))) return;
  now.left[now.left.has(now.chosen) ? "delete" : "add"](now.chosen);
  change(now, REMOVAL, true);
}

// A press chooses, a drag moves, a press on what was chosen before relabels it.
function pointer(now) {
  const { picture } = now.parts.plane;
  const place = (event) => {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    return [REACH * ((2 * x) / SIDE - 1), REACH * (1 - (2 * y) / SIDE)];
  };
  let held = null;
  picture.addEventListener("pointerdown", (event) => {
    const group = event.target.closest("[data-place]");
    if (!group || event.button) return;
    const at = group.dataset.place === "query" ? "query" : Number(group.dataset.place);
    held = { at, again: now.chosen === at, from: [event.clientX, event.clientY], moved: false };
    picture.setPointerCapture(event.pointerId);
    event.preventDefault();
    group.focus({ preventScroll: true });
    choose(now, at);
  });
  picture.addEventListener("pointermove", (event) => {
    if (!held) return;
    held.moved ||= Math.hypot(event.clientX - held.from[0], event.clientY - held.from[1]) > 4;
    if (held.moved) moveTo(now, place(event), false);
  });
  picture.addEventListener("pointerup", () => {
    if (held?.moved) change(now, actingOf(now), true);
    else if (held?.again) relabel(now);
    held = null;
  });
  picture.addEventListener("pointercancel", () => { held = null; });
}

function keyboard(now) {
  const { picture } = now.parts.plane;
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  picture.addEventListener("focusin", (event) => {
    const { place } = event.target.closest("[data-place]").dataset;
    choose(now, place === "query" ? place : Number(place));
  });
  picture.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = ways[event.key], size = STEP * (event.shiftKey ? 5 : 1);
    if (way) moveTo(now, chosenPoint(now).x.map((value, k) => value + size * way[k]), true);
    else if (event.key === "l" || event.key === "L") relabel(now);
    else if (event.key === "Delete" || event.key === "Backspace" || event.key === "x") leaveOut(now);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const send = (value) => setTriggerValue("changed", value);
  let now = planes.get(root);
  if (!now) {
    now = { acting: [], serial: data.serial, original: data.original, send };
    load(now, data);
    planes.set(root, now);
    build(root, now);
    pointer(now);
    keyboard(now);
    show(now);
    retell(now);
  } else if (data.serial >= now.serial && data.text !== now.text) {
    // Another address was opened, or everything was put back; an answer to an older change is none of that.
    load(now, data);
    show(now);
    retell(now);
  }
  now.send = send;
}
