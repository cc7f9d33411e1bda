// The map: every example at its place, coloured by what it did to the query.

// Places of the points in the order in which they are drawn: the strongest last, so that nothing hides them; of labels
// those without a colour of their own first.
function drawingOrder(data, m) {
  const own = (i) => data.palette[m.label[i]] !== null;
  if (data.mode === "Label") return [...m.drawn.filter((i) => !own(i)), ...m.drawn.filter(own)];
  return m.drawn.toSorted((a, b) => Math.abs(m.value[a]) - Math.abs(m.value[b]));
}

function traces(data, m, colour) {
  const order = drawingOrder(data, m);
  const value = order.map((i) => (data.mode === "Label" ? m.label[i] : m.value[i]));
  const cloud = {
    type: "scattergl", mode: "markers", x: order.map((i) => m.x[i]), y: order.map((i) => m.y[i]), customdata: order,
    hoverinfo: "none", name: "cloud", marker: { size: m.drawn.length > 8000 ? 4 : 6, opacity: 0.75, line: { width: 0 } },
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
  // The few marks are SVG: for WebGL a picture of each symbol would be made first, a tenth of the first view.
  const top = (places, symbol, fill) => ({
    type: "scatter", mode: "markers", hoverinfo: "none", x: places.map((i) => m.x[i]), y: places.map((i) => m.y[i]),
    customdata: places, marker: { size: 15, symbol, color: fill, line: { width: 1.5, color: colour.background } },
  });
  const result = [
    cloud,
    top(data.helpful, "triangle-up", colour.helpful),
    top(data.harmful, "triangle-down", colour.harmful),
  ];
  if (data.query) result.push({
    type: "scatter", mode: "markers", hoverinfo: "none", x: [data.query.x], y: [data.query.y], customdata: ["query"],
    marker: { size: 21, symbol: "star", color: colour.text, line: { width: 2, color: colour.background } },
  });
  if (data.ringed !== null) result.push({
    type: "scatter", mode: "markers", hoverinfo: "skip", x: [m.x[data.ringed]], y: [m.y[data.ringed]], name: "ring",
    marker: { size: 27, symbol: "circle-open", color: colour.text, line: { width: 3 } },
  });
  return result;
}

function layout(data, colour, m) {
  // The ranges are those of all points, whichever of them are drawn.
  const axis = (range) => ({ visible: false, zeroline: false, showgrid: false, range: [...range] });
  return {
    height: data.height, autosize: true, uirevision: data.revision, dragmode: data.dragmode ?? "pan", showlegend: false,
    selectionrevision: data.redraw, hoverdistance: 14, margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    xaxis: axis(m.bounds[0]), yaxis: axis(m.bounds[1]), selections: [],
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour.text, activecolor: colour.text },
    newselection: { line: { color: colour.text, width: 1, dash: "dot" } },
    shapes: data.region ? [{
      type: "path", layer: "above", line: { color: colour.text, width: 1.5, dash: "dot" },
      path: `M${data.region.map(([x, y]) => `${x},${y}`).join("L")}Z`,
    }] : [],
  };
}

function describe(now, at) {
  const { data, m } = now;
  if (at === "query") return { head: data.query.title, lines: [data.query.text] };
  const value = data.mode === "Influence"
    ? `${m.value[at] > 0 ? "▲ +" : m.value[at] < 0 ? "▼ " : ""}${number(m.value[at] * data.factor)} ${data.unit}`
    : data.mode === "Loss" ? `loss ${number(m.value[at])} nat` : "";
  return told(now, at, [value]);
}

function listen(now, send) {
  now.root.append(tools(now));
  now.plot.on("plotly_click", (e) => {
    const at = place(e.points[e.points.length - 1]);
    if (at !== "query") send("picked", String(now.m.id?.[at] ?? at));
  });
  now.plot.on("plotly_selected", (e) => {
    if (!e) return;
    const box = e.range && { x: [0, 1, 1, 0].map((i) => e.range.x[i]), y: [0, 0, 1, 1].map((i) => e.range.y[i]) };
    const polygon = e.lassoPoints ?? box;
    if (polygon) send("region", { x: Array.from(polygon.x), y: Array.from(polygon.y) });
  });
}

// The map as it is zoomed, on the page's background, with what it shows written above it.
function figure(now, format) {
  const { data, plot } = now, colour = colours(now.root, data);
  const { xaxis, yaxis } = plot._fullLayout;
  const drawn = traces(data, now.m, colour);
  const paths = format === "svg";
  const lines = [...data.caption.map(escaped), ...(data.mode === "Label" ? swatches(data) : [])];
  const above = 24 + 16 * lines.length;
  const ink = { color: colour.text, size: 12, family: "system-ui, sans-serif" };
  return {
    data: drawn.map((trace) => ({ ...trace, type: paths ? "scatter" : "scattergl" })), // of both kinds, WebGL is on top
    layout: {
      ...layout(data, colour, now.m), paper_bgcolor: colour.background, plot_bgcolor: colour.background, autosize: false,
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
  const line = dom.make("div", "tools");
  line.append("Save the map as");
  for (const [format, title] of [["png", "a picture of points"], ["svg", "a drawing that stays sharp at any size"]]) {
    const button = dom.button(format.toUpperCase(), async () => {
      button.disabled = true;
      const drawn = figure(now, format);
      const size = { width: drawn.layout.width, height: drawn.layout.height, scale: format === "png" ? 2 : 1 };
      await window.Plotly.downloadImage(drawn, { format, filename: now.data.file, ...size }).catch(() => {
        button.title = "The browser could not draw the file.";
      });
      button.disabled = false;
    });
    button.title = `Download the map as it is zoomed, as ${title}`;
    line.append(button);
  }
  return line;
}

export default function (component) {
  drawPoints(component, {
    name: "upstream-map", noun: "The map", bounds, traces, layout, listen,
    points: async (data) => ({ ...await pointsAt(data.points, data.count), value: values(data.value, data.limit) }),
    buttons: [["pan2d", "lasso2d", "select2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
  });
}
