const make = (className, text) => {
  const element = document.createElement("span");
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const rows = document.createElement("div");
  rows.className = "rows";
  rows.setAttribute("role", "group");
  rows.setAttribute("aria-label", `Totals by ${data.what}; press to show only that ${data.what}`);
  data.rows.forEach((item, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = item.title;
    button.setAttribute("aria-label", item.title);
    button.setAttribute("aria-pressed", String(item.pressed));
    button.dataset.group = item.group;
    button.onclick = () => setTriggerValue("picked", item.group);
    const left = make("half left"), right = make("half right");
    const minus = make(""), plus = make("");
    minus.style.width = `${100 * item.harmful_width}%`;
    plus.style.width = `${100 * item.helpful_width}%`;
    left.append(minus);
    right.append(plus);
    button.append(make("name", item.name), make("value harmful", item.harmful), left, right, make("value helpful", item.helpful));
    // A row that is pressed is always seen.
    if (place >= data.first && !item.pressed) button.classList.add("later");
    rows.append(button);
  });
  root.replaceChildren(rows);
  const later = rows.querySelectorAll(".later").length;
  if (!later) return;
  const more = document.createElement("button");
  more.type = "button";
  more.className = "more";
  const show = (open) => {
    root.dataset.open = open ? data.what : "";
    rows.classList.toggle("open", open);
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open ? "fewer" : `${later} more`;
  };
  more.onclick = () => show(!rows.classList.contains("open"));
  show(root.dataset.open === data.what);
  root.append(more);
}
