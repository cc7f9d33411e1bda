const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

function card(item, onPick) {
  const li = make("li");
  const button = make("button", `card ${item.sign}${item.image ? "" : " text"}`);
  button.type = "button";
  button.dataset.id = item.id;
  button.disabled = !item.placed;
  if (item.placed) button.setAttribute("aria-pressed", String(item.ringed));
  button.title = item.full;
  button.onclick = () => onPick(item.id);
  if (item.image) {
    const img = make("img");
    img.src = item.image;
    img.alt = item.alt;
    button.append(img);
  }
  const facts = make("span", "facts");
  const line = make("span", "line");
  line.append(make("span", "label", item.label), make("span", "quiet", item.detail));
  if (item.placed) line.append(make("span", "where", item.ringed ? "on map ✓" : "show on map"));
  const score = make("span", "score");
  const track = make("span", "track");
  const bar = make("span", "bar");
  bar.style.width = `${Math.round(1000 * item.width) / 10}%`;
  track.append(bar);
  score.append(track, make("span", "value", item.score));
  facts.append(line);
  if (item.text !== undefined) facts.append(make("span", "excerpt", item.text));
  facts.append(score);
  button.append(facts);
  li.append(button);
  return li;
}

function list(column, onPick) {
  const section = make("section", column.sign);
  const heading = make("h4", column.sign);
  heading.append(make("span", "", column.symbol), make("span", "", column.title), make("span", "quiet", column.unit));
  section.append(heading);
  if (!column.cards.length) section.append(make("p", "empty", column.empty));
  const ol = make("ol");
  ol.append(...column.cards.map((item) => card(item, onPick)));
  section.append(ol);
  return section;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const focused = parentElement.activeElement?.dataset?.id ?? root.getRootNode().activeElement?.dataset?.id;
  const pick = (id) => setTriggerValue("picked", id);
  const columns = make("div", "columns");
  columns.append(...data.columns.map((column) => list(column, pick)));
  const chosen = make("div", "chosen");
  if (data.chosen) {
    chosen.append(make("h4", "", data.chosen.title));
    const ol = make("ol");
    ol.append(card(data.chosen.card, pick));
    chosen.append(ol);
  }
  root.replaceChildren(...(data.chosen ? [chosen] : []), columns);
  // Keyboard users stay on the card that they pressed.
  if (focused) root.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}
