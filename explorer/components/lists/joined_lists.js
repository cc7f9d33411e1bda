// Two columns of cards; a line joins the two cards of one example. Lines are drawn where the cards have come to lie.
const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

const drawn = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

// Text from data, in the direction of its own letters.
const words = (tag, className, text) => {
  const element = make(tag, className, text);
  element.dir = "auto";
  return element;
};

function card(item, tied) {
  const link = make("a", tied ? "card tied" : "card");
  link.href = item.href;
  link.dataset.id = item.id;
  link.title = `${item.full}; opens this example's page`;
  if (item.image) {
    const img = make("img");
    img.src = item.image;
    img.alt = item.alt;
    link.append(img);
  }
  const facts = make("span", "facts"), line = make("span", "line"), score = make("span", "score");
  const marks = item.marks.map((mark) => {
    const sign = make("span", "quiet", mark.text);
    sign.title = mark.title;
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", mark.title);
    return sign;
  });
  line.append(words("span", "label", item.label), words("span", "quiet", item.detail), ...marks, make("span", "quiet other", item.other));
  const track = make("span", "track"), bar = make("span", "bar");
  bar.style.width = `${Math.round(1000 * item.width) / 10}%`;
  track.append(bar);
  score.append(track, make("span", "value", item.score));
  facts.append(line, ...(item.text ? [words("span", "words", item.text)] : []), score);
  link.append(facts);
  return link;
}

function list(column, sign, symbol, tied) {
  const section = make("section", sign), heading = make("h3", sign), ol = make("ol");
  const title = sign === "helpful" ? "Helpful" : "Harmful";
  heading.append(make("span", "", symbol), make("span", "", `${title} in ${column.name}`), make("span", "quiet", column.unit));
  for (const item of column[sign]) {
    const li = make("li");
    li.append(card(item, tied.has(item.id)));
    ol.append(li);
  }
  section.append(heading, ...(column[sign].length ? [ol] : [make("p", "empty", `No example has a ${sign} score.`)]));
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
    return drawn("path", {
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
  const both = make("div", "both"), svg = drawn("svg", { "aria-hidden": "true" });
  const [a, b] = data.columns.map((column, place) => {
    const side = make("div", place ? "column b" : "column a");
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
