const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

// Text from data, in the direction of its own letters.
const words = (tag, className, text) => {
  const element = make(tag, className, text);
  element.dir = "auto";
  return element;
};

function head(item, onPick) {
  const button = make(item.href ? "a" : "button", `card ${item.sign}`);
  if (item.href) button.href = item.href;
  else button.type = "button";
  button.dataset.id = item.id;
  button.disabled = !item.placed;
  if (item.placed && !item.where) button.setAttribute("aria-pressed", String(item.ringed));
  button.title = item.full;
  if (!item.href) button.onclick = () => onPick(item.id);
  if (item.image) {
    const img = make("img");
    img.src = item.image;
    img.alt = item.alt;
    button.append(img);
  }
  const facts = make("span", "facts");
  const line = make("span", "line");
  const where = item.placed ? [make("span", "where", item.where ?? (item.ringed ? "on map ✓" : "show on map"))] : [];
  const label = words("span", "label", item.label), detail = words("span", "quiet", item.detail);
  line.append(label, ...(item.pieces ? [] : [detail]), ...marks(item), ...where);
  facts.append(line, score(item));
  if (item.pieces) facts.append(detail);
  button.append(facts);
  return button;
}

function score(item) {
  const line = make("span", "score");
  const track = make("span", "track");
  const bar = make("span", "bar");
  bar.style.width = `${Math.round(1000 * item.width) / 10}%`;
  track.append(bar);
  line.append(track, make("span", "value", item.score));
  return line;
}

// Beside the name and not beside the bar: bars of all cards are on one scale, so their tracks are of one length.
function marks(item) {
  return [...(item.marks ?? []), ...(item.noted ? [{ text: "✎", title: `Noted: ${item.noted}` }] : [])].map((mark) => {
    const sign = make("span", "mark", mark.text);
    sign.title = mark.title;
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", mark.title);
    return sign;
  });
}

// A text was cut into pieces where its looks change; put together they are the text.
function piece(part) {
  const kind = [part.weight ? `share ${part.sign}` : "", part.shared ? "shared" : "", part.unread ? "unread" : ""];
  const span = make("span", kind.filter(Boolean).join(" "), part.text);
  if (part.weight) span.style.setProperty("--weight", part.weight);
  if (part.title) span.title = part.title;
  if (!part.unread) return [span];
  return [make("span", "note", "not read by the model"), document.createTextNode(" "), span];
}

function passage(item, opened) {
  const text = words("p", "passage");
  text.append(...item.pieces.flatMap(piece));
  const more = make("button", "more");
  more.type = "button";
  const show = (open) => {
    text.classList.toggle("open", open);
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open ? "less" : "more";
    more.hidden = !open && text.scrollHeight <= text.clientHeight + 2;
  };
  more.onclick = () => {
    opened[opened.has(item.id) ? "delete" : "add"](item.id);
    show(opened.has(item.id));
  };
  // Whether a text is cut depends on the width of its card.
  new ResizeObserver(() => show(opened.has(item.id))).observe(text);
  return [text, ...(item.spoken ? [make("span", "spoken", item.spoken)] : []), more];
}

function card(item, onPick, opened) {
  const li = make("li");
  li.append(head(item, onPick));
  if (item.pieces) {
    li.className = "text";
    li.append(...passage(item, opened));
  }
  return li;
}

function list(column, onPick, opened) {
  const section = make("section", column.sign);
  const heading = make("h3", column.sign);
  heading.append(make("span", "", column.symbol), make("span", "", column.title), make("span", "quiet", column.unit));
  section.append(heading);
  if (!column.cards.length) section.append(make("p", "empty", column.empty));
  const ol = make("ol");
  ol.append(...column.cards.map((item) => card(item, onPick, opened)));
  section.append(ol);
  return section;
}

function legend(data) {
  const line = make("p", "legend");
  if (data.shading) {
    for (const sign of ["helpful", "harmful"]) {
      const sample = make("span", `share ${sign}`, data[sign]);
      sample.style.setProperty("--weight", 1);
      line.append(sample);
    }
    line.append(make("span", "", data.shading));
  }
  if (data.shared) line.append(make("span", "shared", data.shared));
  if (data.missing) line.append(make("span", "", data.missing));
  return line.childNodes.length ? [line] : [];
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const focused = parentElement.activeElement?.dataset?.id ?? root.getRootNode().activeElement?.dataset?.id;
  const pick = (id) => setTriggerValue("picked", id);
  // Texts that were opened stay open when another card is pressed.
  const opened = (root.openedTexts ??= new Set());
  const columns = make("div", data.columns.length > 2 ? "columns many" : "columns");
  columns.append(...data.columns.map((column) => list(column, pick, opened)));
  const chosen = make("div", "chosen");
  if (data.chosen) {
    chosen.append(make("h3", "", data.chosen.title));
    const ol = make("ol");
    ol.append(card(data.chosen.card, pick, opened));
    chosen.append(ol);
  }
  root.replaceChildren(...(data.legend ? legend(data.legend) : []), ...(data.chosen ? [chosen] : []), columns);
  // Keyboard users stay on the card that they pressed.
  if (focused) root.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}
