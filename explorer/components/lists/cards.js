function head(item, onPick) {
  const button = dom.make(item.href ? "a" : "button", `card ${item.sign}`);
  if (item.href) button.href = item.href;
  else button.type = "button";
  button.dataset.id = item.id;
  button.disabled = !item.placed;
  if (item.placed && !item.where) button.setAttribute("aria-pressed", String(item.ringed));
  button.title = item.full;
  if (!item.href) button.onclick = () => onPick(item.id);
  button.append(...picture(item));
  const facts = dom.make("span", "facts");
  const line = dom.make("span", "line");
  const where = item.placed ? [dom.make("span", "where", item.where ?? (item.ringed ? "on map ✓" : "show on map"))] : [];
  const label = dom.words("span", "label", item.label), detail = dom.words("span", "quiet", item.detail);
  line.append(label, ...(item.pieces ? [] : [detail]), ...marks(item), ...where);
  facts.append(line, score(item));
  if (item.pieces) facts.append(detail);
  button.append(facts);
  return button;
}

// A text was cut into pieces where its looks change; put together they are the text.
function piece(part) {
  const kind = [part.weight ? `share ${part.sign}` : "", part.shared ? "shared" : "", part.unread ? "unread" : ""];
  const span = dom.make("span", kind.filter(Boolean).join(" "), part.text);
  if (part.weight) span.style.setProperty("--weight", part.weight);
  if (part.title) span.title = part.title;
  if (!part.unread) return [span];
  return [dom.make("span", "note", "not read by the model"), document.createTextNode(" "), span];
}

function passage(item, opened) {
  const text = dom.words("p", "passage");
  text.append(...item.pieces.flatMap(piece));
  const more = dom.button("", () => {
    opened[opened.has(item.id) ? "delete" : "add"](item.id);
    show(opened.has(item.id));
  }, "more");
  const show = (open) => {
    text.classList.toggle("open", open);
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open ? "less" : "more";
    more.hidden = !open && text.scrollHeight <= text.clientHeight + 2;
  };
  // Whether a text is cut depends on the width of its card.
  new ResizeObserver(() => show(opened.has(item.id))).observe(text);
  return [text, ...(item.spoken ? [dom.make("span", "spoken", item.spoken)] : []), more];
}

// Beside the button, not in it: the way to edit this example, judged by the prediction that the lists are of.
function whatIf(item, address) {
  const link = dom.make("a", "what-if", "What if");
  link.href = address + encodeURIComponent(item.id);
  link.title = "What if this example had another label, were partly blank, or left out?";
  link.setAttribute("aria-label", `What if #${item.id} were otherwise?`);
  return link;
}

function card(item, page) {
  const li = dom.make("li");
  li.append(head(item, page.pick));
  if (page.whatIf) li.append(whatIf(item, page.whatIf));
  if (item.pieces) {
    li.className = "text";
    li.append(...passage(item, page.opened));
  }
  return li;
}

function list(column, page) {
  const section = dom.make("section", column.sign);
  const heading = dom.make("h3", column.sign);
  heading.append(dom.make("span", "", column.symbol), dom.make("span", "", column.title), dom.make("span", "quiet", column.unit));
  section.append(heading);
  if (!column.cards.length) section.append(dom.make("p", "empty", column.empty));
  const ol = dom.make("ol");
  ol.append(...column.cards.map((item) => card(item, page)));
  section.append(ol);
  return section;
}

function legend(data) {
  const line = dom.make("p", "legend");
  if (data.shading) {
    for (const sign of ["helpful", "harmful"]) {
      const sample = dom.make("span", `share ${sign}`, data[sign]);
      sample.style.setProperty("--weight", 1);
      line.append(sample);
    }
    line.append(dom.make("span", "", data.shading));
  }
  if (data.shared) line.append(dom.make("span", "shared", data.shared));
  if (data.missing) line.append(dom.make("span", "", data.missing));
  return line.childNodes.length ? [line] : [];
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const focused = parentElement.activeElement?.dataset?.id ?? root.getRootNode().activeElement?.dataset?.id;
  // Texts that were opened stay open when another card is pressed.
  const page = {
    pick: (id) => setTriggerValue("picked", id),
    opened: (root.openedTexts ??= new Set()),
    whatIf: data.what_if,
  };
  root.classList.toggle("editable", Boolean(data.what_if));
  const columns = dom.make("div", data.columns.length > 2 ? "columns many" : "columns");
  columns.append(...data.columns.map((column) => list(column, page)));
  const chosen = dom.make("div", "chosen");
  if (data.chosen) {
    chosen.append(dom.make("h3", "", data.chosen.title));
    const ol = dom.make("ol");
    ol.append(card(data.chosen.card, page));
    chosen.append(ol);
  }
  root.replaceChildren(...(data.legend ? legend(data.legend) : []), ...(data.chosen ? [chosen] : []), columns);
  // Keyboard users stay on the card that they pressed.
  if (focused) root.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}
