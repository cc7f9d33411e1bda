// The map on Plotly.react: zoom is kept (uirevision) whatever changes, and resting on a point shows its picture.
const REST = 125; // ms that the pointer rests on a point before its picture appears
const SHOWN = 56; // side of the picture, CSS pixels
const state = new WeakMap();
const texts = new Map(); // address of a page of texts -> its texts, or the promise of them

const loadPlotly = (url) => window.Plotly
  ? Promise.resolve(window.Plotly)
  : (window.__upstreamPlotly ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = url;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => { delete window.__upstreamPlotly; reject(new Error("plotly.js")); };
      document.head.appendChild(script);
    }));

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
const float32 = (text) => new Float32Array(bytes(text));
const int32 = (text) => new Int32Array(bytes(text));
const int64 = (text) => new BigInt64Array(bytes(text)); // ids may be larger than a float can tell apart

function number(value) {
  if (value === 0) return "0";
  const rounded = Number(value.toPrecision(2));
  const places = Math.min(20, Math.max(0, 1 - Math.floor(Math.log10(Math.abs(rounded)))));
  return rounded.toFixed(places).replace("-", "−");
}

function colours(element, data) {
  const style = getComputedStyle(element);
  return {
    ...data.colours,
    text: style.getPropertyValue("--st-text-color").trim() || data.colours.text,
    background: style.getPropertyValue("--st-background-color").trim() || "#fff",
  };
}

// Places of the points in the order in which they are drawn: the strongest last, so that nothing hides them; of labels
// those without a colour of their own first.
function drawingOrder(data, m) {
  const order = Array.from(m.x.keys());
  const own = (i) => data.palette[m.label[i]] !== null;
  return data.mode === "Label" ? [...order.filter((i) => !own(i)), ...order.filter(own)] : order.sort((a, b) => Math.abs(m.value[a]) - Math.abs(m.value[b]));
}

function traces(data, m, colour) {
  const order = drawingOrder(data, m);
  const value = order.map((i) => m.value[i]);
  const cloud = {
    type: "scattergl", mode: "markers", x: order.map((i) => m.x[i]), y: order.map((i) => m.y[i]), customdata: order,
    hoverinfo: "none", name: "cloud", marker: { size: m.x.length > 8000 ? 4 : 6, opacity: 0.75, line: { width: 0 } },
  };
  if (data.mode === "Influence") {
    Object.assign(cloud.marker, {
      color: value, cmin: -data.limit, cmax: data.limit,
      opacity: value.map((v) => 0.45 + 0.5 * Math.min(1, Math.abs(v) / data.limit)),
      colorscale: [[0, colour.harmful], [0.5, colour.grey], [1, colour.helpful]],
    });
  } else if (data.mode === "Loss") {
    Object.assign(cloud.marker, {
      color: value, cmin: 0, cmax: data.limit,
      colorscale: [[0, colour.low], [1, colour.high]],
    });
  } else {
    cloud.marker.color = value.map((code) => data.palette[code] ?? colour.grey);
  }
  if (data.faint) cloud.marker.opacity = 0.3;
  const top = (places, symbol, fill) => ({
    type: "scattergl", mode: "markers", hoverinfo: "none", x: places.map((i) => m.x[i]), y: places.map((i) => m.y[i]),
    customdata: places, marker: { size: 15, symbol, color: fill, line: { width: 1.5, color: colour.background } },
  });
  const result = [
    cloud,
    top(data.helpful, "triangle-up", colour.helpful),
    top(data.harmful, "triangle-down", colour.harmful),
  ];
  if (data.query) result.push({
    type: "scattergl", mode: "markers", hoverinfo: "none", x: [data.query.x], y: [data.query.y], customdata: ["query"],
    marker: { size: 21, symbol: "star", color: colour.text, line: { width: 2, color: colour.background } },
  });
  if (data.ringed !== null) result.push({
    type: "scattergl", mode: "markers", hoverinfo: "skip", x: [m.x[data.ringed]], y: [m.y[data.ringed]], name: "ring",
    marker: { size: 27, symbol: "circle-open", color: colour.text, line: { width: 3 } },
  });
  return result;
}

function layout(data, colour) {
  const axis = { visible: false, zeroline: false, showgrid: false };
  return {
    height: data.height, autosize: true, uirevision: data.revision, dragmode: data.dragmode ?? "pan", showlegend: false,
    selectionrevision: data.redraw, hoverdistance: 14, margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    xaxis: { ...axis }, yaxis: { ...axis }, selections: [],
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour.text, activecolor: colour.text },
    newselection: { line: { color: colour.text, width: 1, dash: "dot" } },
    shapes: data.region ? [{
      type: "path", layer: "above", line: { color: colour.text, width: 1.5, dash: "dot" },
      path: `M${data.region.map(([x, y]) => `${x},${y}`).join("L")}Z`,
    }] : [],
  };
}

// The example (or "query") that a Plotly point stands for; points are told apart by id, never by their place in a trace.
const place = (point) => point.customdata;

// Title and text of an example: at once if its page of texts is here, else as a promise.
function preview(now, at) {
  const { url, page } = now.data.preview;
  const address = `${url}${Math.floor(at / page)}.json`;
  if (!texts.has(address)) {
    const loading = fetch(address).then((answer) => answer.json()).then((page) => {
      texts.set(address, page);
      return page;
    });
    loading.catch(() => texts.delete(address));
    texts.set(address, loading);
  }
  const found = texts.get(address);
  return found instanceof Promise ? found.then((rows) => rows[at % page]) : found[at % page];
}

function describe(now, at) {
  const { data, m } = now;
  if (at === "query") return { head: data.query.title, lines: [data.query.text] };
  const id = m.id[at];
  const value = data.mode === "Influence"
    ? `${m.value[at] > 0 ? "▲ +" : m.value[at] < 0 ? "▼ " : ""}${number(m.value[at] * data.factor)} ${data.unit}`
    : data.mode === "Loss" ? `loss ${number(m.value[at])} nat` : "";
  const label = data.classes[m.label[at]];
  if (data.preview?.kind !== "text") return { head: `${label}  #${id}`, lines: [value] };
  const found = preview(now, at);
  const [title, text] = found instanceof Promise ? ["", "…"] : found;
  const head = title || `${label}  #${id}`;
  const tip = { head, lines: [title ? `${label}  #${id}` : "", value], text };
  // Told once more when the text is here, if the pointer still rests there.
  if (found instanceof Promise) found.then(() => { if (now.resting === at) fill(now, at); }, () => {});
  return tip;
}

function fill(now, at) {
  const { head, lines, text } = describe(now, at);
  const part = (className, words) => {
    const element = document.createElement("div");
    element.className = className;
    element.dir = "auto";
    element.textContent = words;
    return element;
  };
  now.facts.replaceChildren(
    part("head", head), ...lines.filter(Boolean).map((line) => part("line", line)), ...(text ? [part("text", text)] : []),
  );
}

function showTip(now, at, event) {
  const { root, tip, picture, data } = now;
  now.resting = at;
  fill(now, at);
  const tiles = data.preview?.kind === "image" ? data.preview : null;
  picture.style.display = tiles || at === "query" ? "block" : "none";
  picture.style.width = picture.style.height = `${SHOWN}px`;
  if (at === "query") {
    picture.style.display = data.query.image ? "block" : "none";
    picture.style.backgroundImage = `url("${data.query.image}")`;
    picture.style.backgroundSize = "100% 100%";
    picture.style.backgroundPosition = "0 0";
  } else if (tiles) {
    picture.style.backgroundImage = `url("${tiles.url}")`;
    picture.style.backgroundSize = `${tiles.columns * SHOWN}px`;
    picture.style.backgroundPosition = `-${(at % tiles.columns) * SHOWN}px -${Math.floor(at / tiles.columns) * SHOWN}px`;
  }
  tip.style.display = "flex";
  const box = root.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  const left = x + 16 + tip.offsetWidth > box.width ? x - 16 - tip.offsetWidth : x + 16;
  tip.style.left = `${Math.max(0, left)}px`;
  tip.style.top = `${Math.max(0, Math.min(y + 16, data.height - tip.offsetHeight))}px`;
}

function hoverRing(now, at) {
  const m = now.m, query = now.data.query;
  const [x, y] = at === null ? [[], []] : at === "query" ? [[query.x], [query.y]] : [[m.x[at]], [m.y[at]]];
  const xaxis = now.plot._fullLayout.xaxis, yaxis = now.plot._fullLayout.yaxis;
  // An own element, not a trace: redrawing 50,000 points for a ring would stutter.
  now.ring.style.display = at === null ? "none" : "block";
  if (at === null) return;
  now.ring.style.left = `${xaxis._offset + xaxis.l2p(x[0]) - 10}px`;
  now.ring.style.top = `${yaxis._offset + yaxis.l2p(y[0]) - 10}px`;
}

function listen(now, send) {
  let resting;
  const leave = () => {
    clearTimeout(resting);
    now.resting = null;
    now.tip.style.display = "none";
    hoverRing(now, null);
  };
  now.plot.on("plotly_hover", (e) => {
    const at = place(e.points[e.points.length - 1]);
    clearTimeout(resting);
    hoverRing(now, at);
    if (now.data.preview?.kind === "text" && at !== "query") preview(now, at);
    resting = setTimeout(() => showTip(now, at, e.event), REST);
  });
  now.plot.on("plotly_unhover", leave);
  now.plot.on("plotly_relayouting", leave);
  now.plot.on("plotly_selecting", leave);
  now.plot.on("plotly_click", (e) => {
    const at = place(e.points[e.points.length - 1]);
    if (at !== "query") send("picked", String(now.m.id[at]));
  });
  now.plot.on("plotly_selected", (e) => {
    if (!e) return;
    const box = e.range && { x: [0, 1, 1, 0].map((i) => e.range.x[i]), y: [0, 0, 1, 1].map((i) => e.range.y[i]) };
    const polygon = e.lassoPoints ?? box;
    if (polygon) send("region", { x: Array.from(polygon.x), y: Array.from(polygon.y) });
  });
}

// Beyond this many points a drawing of paths opens slowly: the points are then a picture inside it.
const PATHS = 20000;

// The map as it is zoomed, on the page's background, with what it shows written above it.
function figure(now, format) {
  const { data, plot } = now, colour = colours(now.root, data);
  const { xaxis, yaxis } = plot._fullLayout;
  const drawn = traces(data, now.m, colour);
  const paths = format === "svg" && now.m.x.length <= PATHS;
  const lines = [...data.caption.map(escaped), ...(data.mode === "Label" ? swatches(data) : [])];
  const above = 24 + 16 * lines.length;
  const ink = { color: colour.text, size: 12, family: "system-ui, sans-serif" };
  return {
    data: paths ? drawn.map((trace) => ({ ...trace, type: "scatter" })) : drawn,
    layout: {
      ...layout(data, colour), paper_bgcolor: colour.background, plot_bgcolor: colour.background, autosize: false,
      width: Math.max(plot.clientWidth, 600), height: data.height + above + 12, margin: { l: 12, r: 12, t: above, b: 12 },
      xaxis: { visible: false, range: [...xaxis.range] }, yaxis: { visible: false, range: [...yaxis.range] },
      annotations: [{
        text: lines.join("<br>"), font: ink, align: "left", showarrow: false,
        xref: "paper", yref: "paper", x: 0, y: 1, xanchor: "left", yanchor: "bottom",
      }],
    },
  };
}

// Plotly's texts know a few tags and entities: what comes from data is written so that it has none.
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

// The labels that have a colour of their own, a few a line.
function swatches(data) {
  const named = data.classes.map((name, i) => [name.length > 18 ? `${name.slice(0, 17)}…` : name, data.palette[i]]);
  const dots = named.filter(([, own]) => own).map(([name, own]) => `<span style="color:${own}">●</span> ${escaped(name)}`);
  return Array.from({ length: Math.ceil(dots.length / 4) }, (_, i) => dots.slice(4 * i, 4 * i + 4).join("   "));
}

function tools(now) {
  const line = document.createElement("div");
  line.className = "tools";
  line.append("Save the map as");
  for (const [format, title] of [["png", "a picture of points"], ["svg", "a drawing that stays sharp at any size"]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = format.toUpperCase();
    button.title = `Download the map as it is zoomed, as ${title}`;
    button.onclick = async () => {
      button.disabled = true;
      const drawn = figure(now, format);
      const size = { width: drawn.layout.width, height: drawn.layout.height, scale: format === "png" ? 2 : 1 };
      await window.Plotly.downloadImage(drawn, { format, filename: now.data.file, ...size }).catch(() => {
        button.title = "The browser could not draw the file.";
      });
      button.disabled = false;
    };
    line.append(button);
  }
  return line;
}

function elements(root) {
  root.classList.add("upstream-map");
  const make = (className) => {
    const element = document.createElement("div");
    element.className = className;
    return element;
  };
  const plot = make("plot"), tip = make("tip"), picture = make("picture"), facts = make("facts"), ring = make("ring");
  tip.append(picture, facts);
  Object.assign(ring.style, {
    display: "none", position: "absolute", width: "20px", height: "20px", borderRadius: "50%", pointerEvents: "none",
    border: "2px solid var(--st-text-color)", boxSizing: "border-box",
  });
  const now = { root, plot, tip, picture, facts, ring };
  root.replaceChildren(plot, ring, tip, tools(now));
  return now;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  loadPlotly(data.plotly).then(async (Plotly) => {
    let now = state.get(root);
    const first = !now;
    if (first) {
      now = elements(root);
      state.set(root, now);
    }
    now.data = data;
    now.m = {
      x: float32(data.x), y: float32(data.y), value: float32(data.value), id: int64(data.id), label: int32(data.label),
    };
    now.send = setTriggerValue;
    now.plot.setAttribute("role", "figure"); // not "img", which hides the buttons inside
    now.plot.setAttribute("aria-label", data.alt);
    const colour = colours(root, data);
    data.redraw = now.redraws = (now.redraws ?? 0) + 1; // what was lassoed is drawn from the data, not by Plotly
    data.dragmode = now.plot._fullLayout?.dragmode;
    await Plotly.react(now.plot, traces(data, now.m, colour), layout(data, colour), {
      responsive: true, displaylogo: false, scrollZoom: true, displayModeBar: true, doubleClick: "reset",
      modeBarButtons: [["pan2d", "lasso2d", "select2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
    });
    if (first) listen(now, (name, value) => now.send(name, value));
  }).catch(() => {
    root.textContent = "The map could not be drawn: plotly.js did not load. Reload the page; if that does not help, "
      + "start the explorer with `upstream explore`.";
  });
}
