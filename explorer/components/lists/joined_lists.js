// Two columns of cards; a line joins the two cards of one example. Lines are drawn where the cards have come to lie.
function card(item, tied) {
  const link = dom.make("a", tied ? "card tied" : "card");
  link.href = item.href;
  link.dataset.id = item.id;
  link.title = `${item.full}; opens this example's page`;
  link.append(...picture(item));
  const facts = dom.make("span", "facts"), line = dom.make("span", "line");
  const label = dom.words("span", "label", item.label), detail = dom.words("span", "quiet", item.detail);
  line.append(label, detail, ...marks(item), dom.make("span", "quiet other", item.where));
  facts.append(line, ...(item.pieces ?? []).map((piece) => dom.words("span", "words", piece.text)), score(item));
  link.append(facts);
  return link;
}

function list(column, sign, symbol, tied) {
  const section = dom.make("section", sign), heading = dom.make("h3", sign), ol = dom.make("ol");
  const title = sign === "helpful" ? "Helpful" : "Harmful";
  heading.append(dom.make("span", "", symbol), dom.make("span", "", `${title} in ${column.name}`), dom.make("span", "quiet", column.unit));
  for (const item of column[sign]) {
    const li = dom.make("li");
    li.append(card(item, tied.has(item.id)));
    ol.append(li);
  }
  section.append(heading, ...(column[sign].length ? [ol] : [dom.make("p", "empty", `No example has a ${sign} score.`)]));
  return section;
}

const find = (column, id) => column.querySelector(`[data-id="${CSS.escape(id)}"]`);

function joinUp(now) {
  const { both, svg, a, b, ties } = now, box = both.getBoundingClientRect();
  // Nothing is laid out yet, or the page was left.
  if (!box.width) return;
  svg.replaceChildren(...ties.map((tie) => {
    const from = find(a, tie.id).getBoundingClientRect(), to = find(b, tie.id).getBoundingClientRect();
    const x1 = from.right - box.left, x2 = to.left - box.left, half = (x1 + x2) / 2;
    const y1 = (from.top + from.bottom) / 2 - box.top, y2 = (to.top + to.bottom) / 2 - box.top;
    return dom.svg("path", {
      d: `M${x1},${y1} C${half},${y1} ${half},${y2} ${x2},${y2}`, class: tie.crossed ? "crossed" : "", "data-tie": tie.id,
    });
  }));
}

function light(now, id, lit) {
  for (const element of [find(now.a, id), find(now.b, id), now.svg.querySelector(`[data-tie="${CSS.escape(id)}"]`)]) {
    element?.classList.toggle("lit", lit);
  }
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  const tied = new Set(data.ties.map((tie) => tie.id));
  const both = dom.make("div", "both"), svg = dom.svg("svg", { "aria-hidden": "true" });
  const [a, b] = data.columns.map((column, place) => {
    const side = dom.make("div", place ? "column b" : "column a");
    side.append(...["helpful", "harmful"].map((sign) => list(column, sign, data.symbols[sign], tied)));
    return side;
  });
  both.append(a, b, svg);
  const now = { both, svg, a, b, ties: data.ties };
  for (const tie of data.ties) {
    for (const element of [find(a, tie.id), find(b, tie.id)]) {
      element.title = `${tie.title}; opens this example's page`;
      element.onmouseenter = element.onfocus = () => light(now, tie.id, true);
      element.onmouseleave = element.onblur = () => light(now, tie.id, false);
    }
  }
  root.replaceChildren(both);
  const watch = new ResizeObserver(() => joinUp(now));
  watch.observe(both);
  return () => watch.disconnect();
}
