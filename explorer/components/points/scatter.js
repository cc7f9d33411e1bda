// All scores of one answer against those of another.
function traces(data, m, colour) {
  const marks = (places, symbol, size, name) => ({
    type: "scattergl", mode: "markers", hoverinfo: "none", name, customdata: places,
    x: places.map((i) => m.x[i]), y: places.map((i) => m.y[i]),
    marker: { size, symbol, color: colour.text, line: { width: 1.5, color: symbol.endsWith("open") ? colour.text : colour.background } },
  });
  return [
    {
      type: "scattergl", mode: "markers", hoverinfo: "none", name: "cloud", customdata: m.drawn,
      x: m.drawn.map((i) => m.x[i]), y: m.drawn.map((i) => m.y[i]),
      marker: { size: m.drawn.length > 8000 ? 4 : 6, color: colour.grey, opacity: 0.6, line: { width: 0 } },
    },
    marks(data.only_a, "square-open", 9, "only in A"),
    marks(data.only_b, "diamond-open", 10, "only in B"),
    marks(data.both, "circle", 11, "in both"),
  ];
}

function layout(data, colour) {
  const axis = (title) => ({
    title: { text: title, standoff: 6, font: { size: 12 } }, zeroline: true, zerolinecolor: colour.text, zerolinewidth: 1, automargin: true,
    gridcolor: `${colour.grey}40`, tickfont: { size: 11 }, nticks: 6,
  });
  const corner = (x, y, text) => ({
    xref: "paper", yref: "paper", x, y, text, showarrow: false, xanchor: x ? "right" : "left", yanchor: y ? "top" : "bottom", xshift: x ? -4 : 4,
    font: { size: 11, color: colour.text },
  });
  return {
    height: data.height, autosize: true, uirevision: data.revision, dragmode: data.dragmode ?? "pan", showlegend: false,
    hoverdistance: 14, margin: { l: 8, r: 8, t: 28, b: 8 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour.text, family: getComputedStyle(document.body).fontFamily }, xaxis: axis(data.x_title), yaxis: axis(data.y_title),
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour.text, activecolor: colour.text },
    annotations: [
      corner(1, 1, "▲ helpful in both"), corner(0, 0, "▼ harmful in both"),
      corner(0, 1, "▼ in A, ▲ in B"), corner(1, 0, "▲ in A, ▼ in B"),
    ],
    shapes: data.equal ? [{
      type: "line", layer: "below", line: { color: colour.grey, width: 1, dash: "dot" },
      x0: -data.limit, y0: -data.limit, x1: data.limit, y1: data.limit,
    }] : [],
  };
}

function decoded(data) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const [x, y] = [data.x, data.y].map((text) => new Float32Array(bytes(text)));
  return {
    x, y, label: new Int32Array(bytes(data.label)), id: new BigInt64Array(bytes(data.id)),
    value: x.map((at, i) => Math.max(Math.abs(at), Math.abs(y[i]))),
  };
}

const signed = (value) => `${value > 0 ? "▲ +" : value < 0 ? "▼ " : ""}${number(value)}`;

function describe(now, at) {
  const { data, m } = now;
  return told(now, at, [`A ${signed(m.x[at])} ${data.units[0]}`, `B ${signed(m.y[at])} ${data.units[1]}`]);
}

function listen(now) {
  now.plot.on("plotly_click", (e) => {
    window.location.assign(now.data.open + now.m.id[place(e.points[e.points.length - 1])]);
  });
}

export default function (component) {
  drawPoints(component, {
    name: "upstream-scatter", noun: "The scatter", points: decoded, traces, layout, listen,
    bounds: () => Array(2).fill([-Infinity, Infinity]), // the ends are what matters there
    buttons: [["pan2d", "zoom2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"], ["toImage"]],
  });
}
