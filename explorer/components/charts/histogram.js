// Explore's histogram, without plotly, which would make the first view wait: bars of counts on a log axis; below them a
// tick for every card, so that the two never hide each other.
const WIDTH = 300, HEIGHT = 165, LEFT = 34, RIGHT = 6, TOP = 8, BASE = 122, TICKS = [128, 142];

const titled = (text) => dom.svg("title", {}, text);

// A bar that lists its examples when it is pressed.
function pressable(bar, i, data, pick) {
  Object.entries({
    role: "button", tabindex: 0, "aria-pressed": i === data.pressed, "aria-label": data.bins[i], "data-bar": i,
  }).forEach(([name, value]) => bar.setAttribute(name, value));
  bar.classList.add("pressable");
  bar.onclick = () => pick(String(i));
  bar.onkeydown = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    pick(String(i));
  };
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const focused = root.getRootNode().activeElement?.dataset?.bar;
  const svg = dom.svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": data.alt });
  const most = Math.max(1, ...data.counts);
  // One example is a visible stump, ten times as many a fixed step more.
  const x = (fraction) => LEFT + fraction * (WIDTH - LEFT - RIGHT);
  const y = (count) => BASE - ((Math.log10(count) + 0.35) / (Math.log10(most) + 0.35)) * (BASE - TOP);
  for (let decade = 1; decade <= most; decade *= 10) {
    svg.append(
      dom.svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(decade), y2: y(decade) }),
      dom.svg("text", { class: "left", x: LEFT - 5, y: y(decade) + 4 }, decade.toLocaleString("en")),
    );
  }
  const wide = (WIDTH - LEFT - RIGHT) / data.counts.length;
  data.counts.forEach((count, i) => {
    if (!count) return;
    const box = { class: "bin", x: LEFT + i * wide, width: Math.max(wide - 0.6, 0.5), y: y(count), height: BASE - y(count) };
    const bar = dom.svg("rect", box, titled(data.bins[i]));
    svg.append(bar);
    // Where a bar is short, the empty space above it can be pressed too.
    const all = { class: "reach", x: box.x, width: box.width, y: TOP, height: BASE - TOP };
    const reach = dom.svg("rect", all, titled(data.bins[i]));
    reach.onclick = () => bar.onclick();
    svg.append(reach);
    pressable(bar, i, data, (picked) => setTriggerValue("picked", picked));
  });
  svg.append(dom.svg("line", { class: "zero", x1: x(0.5), x2: x(0.5), y1: TOP, y2: TICKS[1] }));
  for (const tick of data.ticks) {
    const line = { class: `tick ${tick.sign}`, x1: x(tick.at), x2: x(tick.at), y1: TICKS[0], y2: TICKS[1] };
    svg.append(dom.svg("line", line, titled(tick.title)));
  }
  [["0", data.low], ["0.5", "0"], ["1", data.high]].forEach(([at, text]) => {
    const anchor = at === "1" ? "left" : at === "0.5" ? "middle" : "";
    svg.append(dom.svg("text", { class: anchor, x: x(Number(at)), y: HEIGHT - 8 }, text));
  });
  root.replaceChildren(svg);
  // Keyboard users stay on the bar that they pressed.
  if (focused) svg.querySelector(`[data-bar="${focused}"]`)?.focus({ preventScroll: true });
}
