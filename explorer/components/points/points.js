// Points on Plotly.react, one an example: zoom is kept (uirevision) whatever changes, and resting on a point shows its
// picture or text. A component that stands below this says what is drawn, and with `describe` what a point is.
const REST = 125; // ms that the pointer rests on a point before its picture appears
const SHOWN = 56; // side of the picture, CSS pixels
const state = new WeakMap();
const texts = new Map(); // address of a page of texts -> its texts, or the promise of them

const loadPlotly = (url) => window.Plotly
  ? Promise.resolve(window.Plotly)
  : (window.__upstreamPlotly ??= new Promise((resolve, reject) => {
      const script = dom.make("script");
      script.src = url;
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => { delete window.__upstreamPlotly; reject(new Error("plotly.js")); };
      document.head.appendChild(script);
    }));

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

// The example (or "query") that a Plotly point stands for; points are told apart by id, never by their place in a trace.
const place = (point) => point.customdata;

// What is told of an example: its label and id, the lines, and of a text its title and beginning.
function told(now, at, lines) {
  const name = `${now.data.classes[now.m.label[at]]}  #${now.m.id?.[at] ?? at}`;
  if (now.data.preview?.kind !== "text") return { head: name, lines };
  const found = preview(now, at);
  const [title, text] = found instanceof Promise ? ["", "…"] : found;
  // Told once more when the text is here, if the pointer still rests there.
  if (found instanceof Promise) found.then(() => { if (now.resting === at) fill(now, at); }, () => {});
  return { head: title || name, lines: [title ? name : "", ...lines], text };
}

function fill(now, at) {
  const { head, lines, text } = describe(now, at);
  const part = (className, text) => dom.words("div", className, text);
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
    const tile = at % tiles.page;
    picture.style.backgroundImage = `url("${tiles.url}${Math.floor(at / tiles.page)}.png")`;
    picture.style.backgroundSize = `${tiles.columns * SHOWN}px`;
    picture.style.backgroundPosition = `-${(tile % tiles.columns) * SHOWN}px -${Math.floor(tile / tiles.columns) * SHOWN}px`;
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

function listenToHover(now) {
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
  now.plot.on("plotly_relayout", () => {
    clearTimeout(now.settling);
    if (now.m.x.length > MOST) now.settling = setTimeout(() => draw(now), REST);
  });
}

function elements(root, name) {
  root.classList.add("upstream-points", name);
  const make = (className) => dom.make("div", className);
  const plot = make("plot"), tip = make("tip"), picture = make("picture"), facts = make("facts"), ring = make("ring"), note = make("note");
  tip.append(picture, facts);
  Object.assign(ring.style, {
    display: "none", position: "absolute", width: "20px", height: "20px", borderRadius: "50%", pointerEvents: "none",
    border: "2px solid var(--st-text-color)", boxSizing: "border-box",
  });
  root.replaceChildren(plot, ring, tip, note);
  return { root, plot, tip, picture, facts, ring, note };
}

// Draw those points that belong to the view as it is zoomed.
async function draw(now) {
  const { data, m, plot, shown } = now, full = plot._fullLayout;
  const kept = full && now.revision === data.revision; // what was zoomed stays, see `uirevision`
  const view = kept ? [full.xaxis.range, full.yaxis.range] : m.bounds;
  const found = drawnPlaces(m, view);
  m.drawn = found.drawn;
  now.revision = data.revision;
  data.redraw = now.redraws = (now.redraws ?? 0) + 1; // what was lassoed is drawn from the data, not by Plotly
  data.dragmode = full?.dragmode;
  const colour = colours(now.root, data);
  await window.Plotly.react(plot, shown.traces(data, m, colour), shown.layout(data, colour, m), {
    displaylogo: false, scrollZoom: true, displayModeBar: true, doubleClick: "reset",
    modeBarButtons: shown.buttons,
  });
  const [some, all] = [found.drawn.length, found.inside].map((count) => count.toLocaleString("en"));
  const which = m.value.length ? "the strongest, and an even sample" : "an even sample";
  const whole = view.every((range, i) => range.every((at, j) => at === m.bounds[i][j]));
  const placed = m.x.reduce((count, x, i) => count + !Number.isNaN(x + m.y[i]), 0);
  const outside = whole ? placed - found.inside : 0; // who zoomed in knows
  now.note.textContent = [
    some === all ? "" : `${some} of ${all} points in view are drawn: ${which}. Zoom in to see all.`,
    outside ? `${outside.toLocaleString("en")} of ${placed.toLocaleString("en")} lie far out: zoom out to see them.` : "",
  ].filter(Boolean).join(" ");
}

// Draw, or draw again. What is `shown`: `points` decodes or fetches them, `bounds` says which part of the plane is shown
// first, `traces`, `layout` and `buttons` what is drawn of them, and `listen` is called once, after the first time.
function drawPoints({ data, parentElement, setTriggerValue }, shown) {
  const root = parentElement.querySelector(".root");
  Promise.all([shown.points(data), loadPlotly(data.plotly)]).then(async ([points]) => {
    let now = state.get(root);
    const first = !now;
    if (first) {
      now = elements(root, shown.name);
      state.set(root, now);
    }
    Object.assign(now, { data, shown, m: { ...points, bounds: shown.bounds(points) }, send: setTriggerValue });
    now.plot.setAttribute("role", "figure"); // not "img", which hides the buttons inside
    now.plot.setAttribute("aria-label", data.alt);
    await draw(now);
    if (!first) return;
    // Plotly itself looks at the window only, whose change the column follows later.
    new ResizeObserver(() => {
      // A plot that leaves the page has no box left, and Plotly refuses to fit it.
      if (now.plot.getClientRects().length) window.Plotly.Plots.resize(now.plot);
    }).observe(now.plot);
    listenToHover(now);
    shown.listen(now, (name, value) => now.send(name, value));
  }).catch(() => {
    root.textContent = `${shown.noun} could not be drawn: its points or plotly.js did not load. Reload the page; if that `
      + "does not help, start the explorer with `upstream explore`.";
  });
}
