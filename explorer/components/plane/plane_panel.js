// What stands round the plane: the answer in words, what can be done with the chosen point, agreement, formula, table.
const pressed = (text, act, title) => {
  const button = dom.button(text, act);
  button.title = title;
  return button;
};

function hold(now) {
  const label = dom.make("label", "hold"), slider = dom.make("input"), value = dom.make("output", "value");
  Object.assign(slider, { type: "range", min: 0, max: STOPS, step: 1 });
  slider.setAttribute("aria-label", "alpha: how firmly finetuning holds the shared layer");
  slider.oninput = () => {
    now.setting.alpha = alphaOf(Number(slider.value));
    change(now, HOLD, false);
  };
  slider.onchange = () => change(now, HOLD, true);
  const ends = dom.make("span", "ends quiet");
  ends.append(dom.make("span", "", "W updated"), dom.make("span", "", "W frozen"));
  label.append(dom.make("span", "", "How firmly finetuning holds W"), value, slider, ends);
  return { root: label, slider, value };
}

function legend() {
  const line = dom.make("p", "legend quiet");
  for (const text of [
    "● ■ ◆ pretraining points, by class", "▲ blue: helpful", "▼ orange: harmful", "larger: stronger",
    "+ × finetuning points", "★ the test point", "grey: the finetuned model says ×",
  ]) line.append(dom.make("span", "", text));
  return line;
}

function build(root, now) {
  const plane = planeElements(now), agreement = dom.svg("svg", {
    class: "agreement", viewBox: "-128 -114 242 244", role: "img",
    "aria-label": "Predicted against measured change, a mark a pretraining point left out alone; the numbers are in the table.",
  });
  const parts = { plane, ...plane, agreement, hold: hold(now), formula: formula((term) => amountOf(now, term)), answer: dom.make("p", "answer") };
  parts.chosen = dom.make("p", "result");
  parts.relabelled = dom.make("p", "result");
  parts.together = dom.make("p", "result");
  parts.agree = dom.make("p", "quiet small");
  for (const result of [parts.relabelled, parts.together]) result.setAttribute("aria-live", "polite");
  parts.relabel = pressed("Relabel", () => relabel(now), "Give the chosen point the next class (L, or press it again)");
  parts.leave = pressed("Leave out", () => leaveOut(now), "Leave the chosen point out, or put it back (Delete)");
  parts.reset = pressed("Start again", () => {
    load(now, { ...now.original, text: "" });
    change(now, [], true);
  }, "Everything as it was at first");
  const tools = dom.make("div", "tools"), left = dom.make("div", "left"), right = dom.make("div", "right");
  tools.append(parts.relabel, parts.leave, parts.reset);
  const how = dom.make("p", "quiet small", "Drag a point or the star, or move it with the arrow keys. Press a chosen point once "
    + "more (or L) to relabel it; Delete leaves it out. Either really trains both stages again.");
  left.append(plane.root, legend());
  const heading = dom.make("h4", "", "Predicted, and measured by training again");
  right.append(parts.answer, parts.chosen, tools, parts.relabelled, parts.together, how, parts.hold.root, heading, agreement, parts.agree);
  parts.table = dom.make("details", "table");
  parts.table.append(dom.make("summary", "", "Table of all points"));
  parts.table.ontoggle = () => tell(now);
  const both = dom.make("div", "both");
  both.append(left, right);
  root.replaceChildren(both, parts.formula.root, parts.table);
  parts.formula.root.addEventListener("term", (event) => { root.dataset.term = event.detail; });
  now.parts = parts;
}

// What a term of the formula amounts to now, in words; empty where it is no single number.
function amountOf(now, term) {
  const { setting, model, chosen, scores } = now, one = typeof chosen === "number";
  const stages = { G: [pretraining(setting, even(setting.points)), model.pretrained], F: [finetuning(setting, model.pretrained), model.finetuned] };
  if (term in stages) return ` Now ${number(valueOf(...stages[term]), 3)} nat, and no change of its parameters lowers it.`;
  if (term === "g" && one) return ` Of point ${chosen + 1}: ${number(lossAt(model.pretrained, setting.points[chosen]))} nat.`;
  if (term === "ℓ") return ` Now ${number(lossAt(model.finetuned, setting.query))} nat.`;
  if (term === "score" && one && scores) return ` Of point ${chosen + 1}: ${arrow(scores[chosen])} ${signed(scores[chosen])} nat.`;
  if (term === "W") return ` Now of length ${number(norm(model.pretrained.subarray(0, BODY)))}.`;
  return "";
}

function told(line, ...pieces) {
  line.replaceChildren(...pieces.map((piece) => (typeof piece === "string" ? document.createTextNode(piece) : piece)));
}

const amount = (value) => dom.make("b", kind(value), `${arrow(value)} ${signed(value)}`);

function tell(now) {
  const { setting, model, scores, parts, left, chosen } = now, { query } = setting;
  const { p } = forward(model.finetuned, query.x), said = p[0] >= p[1] ? 0 : 1, right = said === query.y;
  told(parts.answer, "The finetuned model says ", dom.make("b", "", FINETUNED[said]), ` (${percent(p[said])}); the star is `,
    dom.make("b", "", FINETUNED[query.y]), `: ${right ? "✓ right" : "✗ wrong"}. Its loss is ${number(lossAt(model.finetuned, query))} nat.`);
  const one = typeof chosen === "number";
  if (!scores) told(parts.chosen, "A stage stands at a saddle here: nothing can be predicted. Move a point a little.");
  else if (!one) told(parts.chosen, chosen === null ? "Choose a point to see what it did." : "The star is chosen.");
  else told(parts.chosen, `Point ${chosen + 1} (${PRETRAINED[setting.points[chosen].y]}), left out alone: predicted `,
    amount(scores[chosen]), ", measured ", amount(now.singles.get(chosen) ?? 0), " nat.");
  if (!now.together) told(parts.together, "Nothing is left out.");
  else told(parts.together, `${left.size} left out${left.size > 1 ? " together" : ""}: predicted `, amount(now.together[0]), ", measured ",
    amount(now.together[1]), " nat.");
  tellRelabelled(now);
  parts.relabel.disabled = chosen === null;
  parts.leave.disabled = !one;
  parts.leave.textContent = one && left.has(chosen) ? "Put back" : "Leave out";
  parts.hold.slider.value = stopOf(setting.alpha);
  parts.hold.value.textContent = setting.alpha === Infinity ? "α = ∞" : `α = ${setting.alpha}`;
  parts.hold.slider.setAttribute("aria-valuetext", setting.alpha === Infinity ? "frozen" : String(setting.alpha));
  agree(now);
  if (parts.table.open) parts.table.replaceChildren(parts.table.firstChild, table(now));
}

const moved = (value, down, up) => dom.make("b", value < 0 ? "helpful" : "harmful", `${value < 0 ? down : up} by ${number(Math.abs(value))}`);

// What new labels do to the loss, beside those that the points had at first: blue where it falls.
function tellRelabelled({ relabelled, relabelling: [predicted, measured], original, setting, parts }) {
  const [i] = relabelled, sign = (y) => PRETRAINED[y];
  parts.relabelled.hidden = !relabelled.length || predicted === null;
  if (parts.relabelled.hidden) return;
  const which = relabelled.length > 1 ? `${relabelled.length} points with other labels`
    : `Point ${i + 1} as ${sign(setting.points[i].y)}, not ${sign(original.points[i].y)}`;
  told(parts.relabelled, `${which}: the loss was predicted to `, moved(predicted, "fall", "rise"), ", and ",
    moved(measured, "fell", "rose"), " nat by training again.");
}

function agree({ parts, singles, scores, setting }) {
  if (!scores || singles.size < setting.points.length) return;
  const r = correlation(setting.points.map((_, i) => [scores[i], singles.get(i)]));
  parts.agree.textContent = `Every point left out alone: r = ${r.toFixed(2)}. On the line, predicted is measured.`;
}

function table({ setting, scores, singles, left }) {
  const rows = setting.points.map(({ x, y }, i) => [
    i + 1, PRETRAINED[y], ...x.map((value) => number(value, 3)), scores ? signed(scores[i]) : "",
    singles.has(i) ? signed(singles.get(i)) : "", left.has(i) ? "left out" : "",
  ]);
  const made = dom.make("table"), names = ["point", "class", "x", "y", "predicted, nat", "measured, nat", ""];
  const row = (cells, tag) => {
    const line = dom.make("tr");
    line.append(...cells.map((text) => dom.make(tag, "", text)));
    return line;
  };
  made.append(row(names, "th"), ...rows.map((cells) => row(cells, "td")));
  return made;
}
