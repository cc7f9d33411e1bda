const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};

export default function ({ data, parentElement, setTriggerValue }) {
  // Names that a narrow column would cut to nothing are written upwards.
  const table = make("table", undefined, data.short.some((name) => name.length > 4) ? "long" : "");
  table.setAttribute("aria-label", "Confusion matrix: rows are true classes, columns predicted classes");
  const head = make("tr");
  head.append(make("th", "true ↓ said →", "corner"), ...data.classes.map((name, place) => {
    const th = make("th");
    th.append(make("span", data.short[place]));
    th.title = `predicted ${name}`;
    th.scope = "col";
    return th;
  }));
  table.append(head);
  // Shade by the root of the count within its kind, so that single mistakes stay visible beside thousands of hits.
  const largest = { true: 1, false: 1 };
  data.counts.forEach((row, i) => row.forEach((n, j) => { largest[i === j] = Math.max(largest[i === j], n); }));
  data.counts.forEach((row, i) => {
    const tr = make("tr");
    const th = make("th", data.short[i]);
    th.title = `true ${data.classes[i]}`;
    th.scope = "row";
    tr.append(th);
    row.forEach((n, j) => {
      const td = make("td", undefined, i === j ? "same" : "");
      const button = make("button", n ? String(n) : "·");
      button.type = "button";
      button.disabled = !n;
      button.style.setProperty("--share", `${n ? 8 + 52 * Math.sqrt(n / largest[i === j]) * (i === j ? 0.5 : 1) : 0}%`);
      const cell = `${i}-${j}`;
      button.setAttribute("aria-pressed", String(data.cell === cell));
      button.title = `${n} × true ${data.classes[i]}, predicted ${data.classes[j]}`;
      button.setAttribute("aria-label", button.title);
      button.dataset.cell = cell;
      button.onclick = () => setTriggerValue("picked", cell);
      td.append(button);
      tr.append(td);
    });
    table.append(tr);
  });
  parentElement.querySelector(".root").replaceChildren(table);
}
