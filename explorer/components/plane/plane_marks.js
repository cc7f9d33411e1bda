// What is seen of the plane: the finetuned model's answer as a shade, points as marks, predicted against measured.
const SIDE = 400, REACH = 2, CELLS = 50, MINUS = "\u2212";
const PRETRAINED = ["●", "■", "◆"], FINETUNED = ["+", "×"];

const screen = ([x, y]) => [(SIDE / 2) * (1 + x / REACH), (SIDE / 2) * (1 - y / REACH)];
const number = (value, digits = 2) => {
  const text = value.toPrecision(digits);
  return (text.includes("e+") ? String(Number(text)) : value ? text : "0").replaceAll("-", MINUS);
};
const signed = (value) => (value > 0 ? "+" : "") + number(value);
const arrow = (value) => (value > 0 ? "▲" : "▼");
const percent = (p) => `${Math.round(100 * p)} %`;
const kind = (value) => (value > 0 ? "helpful" : "harmful");

// A grey that works on light and on dark: the more opaque, the surer the model is of the second class.
function shade(canvas, theta) {
  const context = canvas.getContext("2d"), image = context.createImageData(CELLS, CELLS);
  for (let row = 0; row < CELLS; row++) {
    for (let column = 0; column < CELLS; column++) {
      const at = (place) => (REACH * (2 * place + 1)) / CELLS - REACH, here = 4 * (row * CELLS + column);
      image.data.fill(138, here, here + 3);
      image.data[here + 3] = 90 * forward(theta, [at(column), -at(row)]).p[1];
    }
  }
  context.putImageData(image, 0, 0);
}

// Where both classes are as likely, by marching squares; the corners are those of the shade's cells.
function boundary(theta) {
  const step = (2 * REACH) / CELLS, at = (i) => i * step - REACH;
  const value = Array.from({ length: CELLS + 1 }, (_, j) =>
    Array.from({ length: CELLS + 1 }, (_, i) => forward(theta, [at(i), at(j)]).p[0] - 0.5));
  let path = "";
  for (let j = 0; j < CELLS; j++) {
    for (let i = 0; i < CELLS; i++) {
      const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]], crossings = [];
      corners.forEach(([a, b], side) => {
        const [c, d] = corners[(side + 1) % 4], here = value[b][a], there = value[d][c];
        if (here > 0 === there > 0) return;
        const share = here / (here - there);
        crossings.push(screen([at(a + share * (c - a)), at(b + share * (d - b))]).map((v) => v.toFixed(1)));
      });
      if (crossings.length === 2) path += `M${crossings[0]}L${crossings[1]}`;
    }
  }
  return path;
}

// Outline of a class's mark round 0, 0.
function outline(y, size) {
  const half = size * 0.9, wide = size * 1.25;
  return [
    `M${-size},0a${size},${size} 0 1 0 ${2 * size},0a${size},${size} 0 1 0 ${-2 * size},0z`,
    `M${-half},${-half}h${2 * half}v${2 * half}h${-2 * half}z`,
    `M0,${-wide}L${wide},0L0,${wide}L${-wide},0z`,
  ][y];
}

const CROSSES = ["M-5,0H5M0,-5V5", "M-4,-4L4,4M-4,4L4,-4"];
const STAR = "M0,-11L2.6,-3.6L10.5,-3.4L4.2,1.4L6.5,8.9L0,4.4L-6.5,8.9L-4.2,1.4L-10.5,-3.4L-2.6,-3.6z";

function mark(group, now, i) {
  const point = now.setting.points[i], score = now.scores?.[i] ?? 0, largest = now.largest || 1;
  const share = Math.min(Math.abs(score) / largest, 1), size = 5 + 8 * Math.sqrt(share), out = now.left.has(i);
  const [x, y] = screen(point.x);
  group.setAttribute("transform", `translate(${x.toFixed(1)},${y.toFixed(1)})`);
  group.setAttribute("class", `point ${kind(score)}${out ? " out" : ""}${now.chosen === i ? " chosen" : ""}`);
  group.setAttribute("aria-label", `Pretraining point ${i + 1}, ${["circle", "square", "diamond"][point.y]}, `
    + `at ${number(point.x[0])}, ${number(point.x[1])}; score ${signed(score)} nat, ${kind(score)}${out ? "; left out" : ""}`);
  const [area, shape, sign] = group.children;
  area.setAttribute("r", Math.max(size + 4, 12));
  shape.setAttribute("d", outline(point.y, size));
  shape.style.fillOpacity = out ? 0 : 0.12 + 0.88 * Math.sqrt(share);
  sign.textContent = share > 0.02 ? arrow(score) : "";
  sign.setAttribute("y", -size - 4);
}

function drawPlane(now) {
  const { parts, setting, model } = now;
  shade(parts.canvas, model.finetuned);
  parts.boundary.setAttribute("d", boundary(model.finetuned));
  setting.points.forEach((_, i) => mark(parts.points[i], now, i));
  const [x, y] = screen(setting.query.x), { p } = forward(model.finetuned, setting.query.x);
  parts.query.setAttribute("transform", `translate(${x.toFixed(1)},${y.toFixed(1)})`);
  parts.query.setAttribute("class", `query${now.chosen === "query" ? " chosen" : ""}`);
  parts.query.setAttribute("aria-label", `Test point, truly ${FINETUNED[setting.query.y]}, at ${number(setting.query.x[0])}, `
    + `${number(setting.query.x[1])}; the model gives ${FINETUNED[setting.query.y]} ${percent(p[setting.query.y])}`);
}

// Points that cannot be moved are drawn once; the others are groups that can be focused.
function planeElements(now) {
  const still = now.setting.finetune.map(({ x, y }) => dom.svg("path", {
    class: "fine", d: CROSSES[y], transform: `translate(${screen(x)})`,
  }));
  const edge = dom.svg("path", { class: "boundary" });
  const movable = (place, ...children) => dom.svg("g", { tabindex: 0, role: "button", "data-place": place }, ...children);
  const points = now.setting.points.map((_, i) =>
    movable(i, dom.svg("circle", { class: "area" }), dom.svg("path", { class: "shape" }), dom.svg("text", { class: "sign" })));
  const query = movable("query", dom.svg("circle", { class: "area", r: 14 }), dom.svg("path", { class: "star", d: STAR }));
  const canvas = dom.make("canvas");
  canvas.width = canvas.height = CELLS;
  const picture = dom.svg("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, role: "group", "aria-label":
    "The plane: pretraining points, finetuning points and the test point. A table is below." },
  edge, ...still, ...points, query);
  const root = dom.make("div", "field");
  root.append(canvas, picture);
  return { root, canvas, picture, boundary: edge, points, query };
}

// Predicted against measured, a mark a point that is left out alone, on one scale for both axes.
function drawAgreement(now) {
  const { singles, scores, chosen } = now, known = [...singles.keys()].filter((i) => scores);
  const both = known.flatMap((i) => [scores[i], singles.get(i)]).concat(now.together ?? []);
  const reach = 1.1 * Math.max(...both.map(Math.abs), 1e-6), at = (v) => 105 * (v / reach);
  const dot = (predicted, measured, className, title) => dom.svg("circle", {
    class: className, cx: at(predicted).toFixed(1), cy: (-at(measured)).toFixed(1), r: className.includes("set") ? 6 : 4,
  }, dom.svg("title", {}, title));
  const label = (x, y, text, turned) => dom.svg("text", {
    x, y, ...(turned ? { transform: `rotate(-90 ${x} ${y})` } : {}),
  }, text);
  const words = (p, m) => `predicted ${signed(p)}, measured ${signed(m)} nat`;
  now.parts.agreement.replaceChildren(
    dom.svg("path", { class: "axis", d: "M-110,0H110M0,-110V110" }),
    dom.svg("path", { class: "diagonal", d: "M-110,110L110,-110" }),
    label(0, 124, "predicted, nat"), label(-118, 0, "measured, nat", true),
    label(86, 12, number(reach / 1.1)), label(-86, 12, number(-reach / 1.1)),
    ...known.map((i) => dot(scores[i], singles.get(i), `${kind(scores[i])}${i === chosen ? " chosen" : ""}`,
      `Point ${i + 1}: ${words(scores[i], singles.get(i))}`)),
    ...(now.together ? [dot(...now.together, "set", `All ${now.left.size} left out: ${words(...now.together)}`)] : []),
  );
}

function correlation(pairs) {
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const [a, b] = [0, 1].map((k) => pairs.map((pair) => pair[k])), [p, m] = [mean(a), mean(b)];
  const by = (u, s, w, t) => u.reduce((sum, value, i) => sum + (value - s) * (w[i] - t), 0);
  return by(a, p, b, m) / Math.sqrt(by(a, p, a, p) * by(b, m, b, m));
}
