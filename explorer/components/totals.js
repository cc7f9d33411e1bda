const make = (className, text) => {
  const element = document.createElement("span");
  element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

export default function ({ data, parentElement, setTriggerValue }) {
  const rows = document.createElement("div");
  rows.className = "rows";
  rows.setAttribute("role", "group");
  rows.setAttribute("aria-label", "Totals by class; press to show only that class");
  for (const item of data.rows) {
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
    button.append(make("name", item.group), make("value harmful", item.harmful), left, right, make("value helpful", item.helpful));
    rows.append(button);
  }
  parentElement.querySelector(".root").replaceChildren(rows);
}
