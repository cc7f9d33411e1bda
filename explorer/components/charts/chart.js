// Points and lines between two axes; a point may be a link, and its shape tells its kind as its colour does.
const LEFT = 52, RIGHT = 12, TOP = 8, BOTTOM = 40, WIDEST = 620;

const make = (tag, attributes, text) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
};

const SHAPES = {
  helpful: (x, y) => `M${x},${y - 5}l5,8.6h-10z`,
  harmful: (x, y) => `M${x},${y + 5}l5,-8.6h-10z`,
  single: (x, y) => `M${x - 3.5},${y}a3.5,3.5 0 1 0 7,0a3.5,3.5 0 1 0 -7,0z`,
};

function axes(svg, data, x, y, width, height) {
  for (const tick of data.x.ticks) {
    svg.append(
      make("line", { class: "grid", x1: x(tick.at), x2: x(tick.at), y1: TOP, y2: height - BOTTOM }),
      make("text", { class: "middle", x: x(tick.at), y: height - BOTTOM + 16 }, tick.text),
    );
  }
  for (const tick of data.y.ticks) {
    svg.append(
      make("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick.at), y2: y(tick.at) }),
      make("text", { class: "left", x: LEFT - 6, y: y(tick.at) + 4 }, tick.text),
    );
  }
  const upright = { class: "middle", transform: `translate(12 ${(TOP + height - BOTTOM) / 2}) rotate(-90)` };
  svg.append(
    make("text", { class: "middle", x: (LEFT + width - RIGHT) / 2, y: height - 6 }, data.x.title),
    make("text", upright, data.y.title),
  );
}

function point(item, x, y) {
  const path = make("path", { class: `point ${item.kind}`, d: SHAPES[item.kind](x(item.x), y(item.y)) });
  path.append(make("title", {}, item.title));
  if (!item.href) return path;
  const link = make("a", { href: item.href, "aria-label": item.title, tabindex: -1 });
  link.append(path);
  return link;
}

function drawn(data, width) {
  const height = Math.round(Math.min(data.square ? width : 0.7 * width, 420));
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": data.alt });
  const x = (place) => LEFT + place * (width - LEFT - RIGHT);
  const y = (place) => height - BOTTOM - place * (height - TOP - BOTTOM);
  axes(svg, data, x, y, width, height);
  for (const line of data.lines) {
    const path = make("polyline", { class: `line ${line.quiet ? "quiet" : ""}`, points: line.points.map(([a, b]) => `${x(a)},${y(b)}`).join(" ") });
    if (line.colour) path.style.stroke = line.colour;
    path.style.strokeDasharray = line.dash;
    path.append(make("title", {}, line.title));
    svg.append(path);
  }
  svg.append(...data.points.map((item) => point(item, x, y)));
  return svg;
}

function legend(data) {
  const list = document.createElement("ul");
  for (const item of data.legend) {
    const entry = document.createElement("li");
    const mark = make("svg", { class: "mark", viewBox: "0 0 26 12", "aria-hidden": "true" });
    if (item.kind) mark.append(make("path", { class: `point ${item.kind}`, d: SHAPES[item.kind](13, 6) }));
    else {
      const line = make("line", { class: `line ${item.quiet ? "quiet" : ""}`, x1: 1, x2: 25, y1: 6, y2: 6 });
      if (item.colour) line.style.stroke = item.colour;
      line.style.strokeDasharray = item.dash;
      mark.append(line);
    }
    const name = document.createElement("span");
    name.textContent = item.name;
    entry.append(mark, name);
    list.append(entry);
  }
  return list;
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  const draw = () => {
    const width = Math.min(root.clientWidth, WIDEST);
    if (width > 60) root.replaceChildren(drawn(data, width), legend(data));
  };
  root.observer?.disconnect();
  root.observer = new ResizeObserver(draw);
  root.observer.observe(root);
  draw();
}
