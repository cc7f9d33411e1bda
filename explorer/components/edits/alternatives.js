// What each edit alone would do, a bar an edit on one scale: to the left the loss falls, to the right it rises. A press chooses
// the edit.
function row(item, send) {
  const button = dom.button(undefined, () => send(item.key));
  button.dataset.key = item.key;
  button.title = item.title;
  button.setAttribute("aria-label", item.title);
  button.setAttribute("aria-pressed", String(Boolean(item.pressed)));
  const left = dom.make("span", "half left"), right = dom.make("span", "half right");
  if (item.sign) {
    const bar = dom.make("span", "bar");
    bar.style.width = `${100 * item.width}%`;
    (item.sign === "falls" ? left : right).append(bar);
  }
  button.append(dom.words("span", "name", item.name), left, right, dom.make("span", `value ${item.sign}`, item.value));
  return button;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const focused = root.getRootNode().activeElement?.dataset?.key;
  const rows = dom.make("div", "rows"), head = dom.make("div", "head");
  rows.setAttribute("role", "group");
  rows.setAttribute("aria-label", data.about);
  head.append(dom.make("span"), dom.make("span", "falls", data.falls), dom.make("span", "rises", data.rises), dom.make("span"));
  rows.append(head);
  for (const group of data.groups) {
    if (group.name) rows.append(dom.make("h4", "", group.name));
    group.rows.forEach((item, place) => {
      const button = row(item, (key) => setTriggerValue("picked", key));
      // A row that is pressed is always seen.
      if (place >= data.first && !item.pressed && !item.own) button.classList.add("later");
      rows.append(button);
    });
  }
  root.replaceChildren(rows);
  const later = rows.querySelectorAll(".later").length;
  if (later) {
    const show = (open) => {
      root.dataset.open = open ? "yes" : "";
      rows.classList.toggle("open", open);
      more.setAttribute("aria-expanded", String(open));
      more.textContent = open ? "fewer" : `${later} more`;
    };
    const more = dom.button(undefined, () => show(!rows.classList.contains("open")), "more");
    show(root.dataset.open === "yes");
    root.append(more);
  }
  if (focused) root.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}
