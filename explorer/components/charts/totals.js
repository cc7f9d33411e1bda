export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const rows = dom.make("div", "rows");
  rows.setAttribute("role", "group");
  rows.setAttribute("aria-label", `Totals by ${data.what}; press to show only that ${data.what}`);
  data.rows.forEach((item, place) => {
    const button = dom.button(undefined, () => setTriggerValue("picked", item.group));
    button.title = item.title;
    button.setAttribute("aria-label", item.title);
    button.setAttribute("aria-pressed", String(item.pressed));
    button.dataset.group = item.group;
    const left = dom.make("span", "half left"), right = dom.make("span", "half right");
    const minus = dom.make("span"), plus = dom.make("span");
    minus.style.width = `${100 * item.harmful_width}%`;
    plus.style.width = `${100 * item.helpful_width}%`;
    left.append(minus);
    right.append(plus);
    const [harmful, helpful] = ["harmful", "helpful"].map((sign) => dom.make("span", `value ${sign}`, item[sign]));
    button.append(dom.make("span", "name", item.name), harmful, left, right, helpful);
    // A row that is pressed is always seen.
    if (place >= data.first && !item.pressed) button.classList.add("later");
    rows.append(button);
  });
  root.replaceChildren(rows);
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
