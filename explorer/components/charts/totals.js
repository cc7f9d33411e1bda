// What a line shows: a name, the sums of either sign, and their bars to both sides of one line.
const fill = (line, item) => {
  const left = dom.make("span", "half left"), right = dom.make("span", "half right");
  const minus = dom.make("span"), plus = dom.make("span");
  minus.style.width = `${100 * item.harmful_width}%`;
  plus.style.width = `${100 * item.helpful_width}%`;
  if (item.harmful_width) left.append(minus);
  if (item.helpful_width) right.append(plus);
  const [harmful, helpful] = ["harmful", "helpful"].map((sign) => dom.make("span", `value ${sign}`, item[sign]));
  line.append(dom.words("span", "name", item.name), harmful, left, right, helpful);
  line.title = item.title;
  return line;
};

const pressable = (item, key, act, state, value) => {
  const button = fill(dom.button(undefined, act, "line"), item);
  button.setAttribute("aria-label", item.title);
  button.setAttribute(state, String(value));
  button.dataset.key = key;
  return button;
};

// The parts of an open row: classes, that open in place and are listed by a press, and examples, that are ringed by one.
const branches = (items, of, open, ring, pick) => {
  const parts = dom.make("div", "parts");
  parts.setAttribute("role", "group");
  parts.setAttribute("aria-label", `What ${of} adds up from`);
  for (const item of items) {
    if (item.id !== undefined) {
      parts.append(pressable(item, `example ${item.id}`, () => ring(item.id), "aria-pressed", item.pressed));
    } else if (item.parts) {
      const inside = branches(item.parts, item.name, open, ring, pick);
      const show = () => {
        inside.hidden = !open.has(item.name);
        twig.setAttribute("aria-expanded", String(!inside.hidden));
      };
      const turn = () => { open.delete(item.name) || open.add(item.name); show(); };
      const row = dom.make("div", "row"), twig = dom.button(undefined, turn, "twig");
      twig.setAttribute("aria-label", twig.title = `What ${item.name} of ${of} adds up from`);
      twig.dataset.key = `twig of class ${item.within}`;
      row.append(twig, pressable(item, `class ${item.within}`, () => pick(item.within), "aria-pressed", item.pressed));
      show();
      parts.append(row, inside);
    } else parts.append(fill(dom.make("div", "line"), item));
  }
  return parts;
};

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const focused = root.getRootNode().activeElement?.dataset?.key;
  // Classes that are open within a source.
  root.branches ??= new Set();
  const rows = dom.make("div", "rows");
  rows.setAttribute("role", "group");
  rows.setAttribute("aria-label", `Totals by ${data.what}; press to show only that ${data.what}`);
  data.rows.forEach((item, place) => {
    const row = dom.make("div", "row"), open = data.branch?.group === item.group;
    const twig = dom.button(undefined, () => setTriggerValue("opened", item.group), "twig");
    twig.setAttribute("aria-expanded", String(open));
    twig.setAttribute("aria-label", twig.title = `What ${item.name} adds up from`);
    twig.dataset.key = `twig ${item.group}`;
    const pick = () => setTriggerValue("picked", item.group);
    const button = pressable(item, `row ${item.group}`, pick, "aria-pressed", item.pressed);
    button.dataset.group = item.group;
    row.append(twig, button);
    // A row that is pressed or open is always seen.
    if (place >= data.first && !item.pressed && !open) row.classList.add("later");
    rows.append(row);
    if (!open) return;
    rows.append(branches(data.branch.parts, item.name, root.branches, (id) => setTriggerValue("ringed", id),
      (label) => setTriggerValue("within", label)));
  });
  root.replaceChildren(rows);
  // Keyboard users stay where they pressed.
  if (focused) [...rows.querySelectorAll("button")].find((button) => button.dataset.key === focused)?.focus({ preventScroll: true });
  const later = rows.querySelectorAll(".later").length;
  if (!later) return;
  const more = dom.button(undefined, () => show(!rows.classList.contains("open")), "more");
  const show = (open) => {
    root.dataset.open = open ? data.what : "";
    rows.classList.toggle("open", open);
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open ? "fewer" : `${later} more`;
  };
  show(root.dataset.open === data.what);
  root.append(more);
}
