export default function ({ data, parentElement, setTriggerValue }) {
  // Names that a narrow column would cut to nothing are written upwards.
  const table = dom.make("table", data.short.some((name) => name.length > 4) ? "long" : "");
  table.setAttribute("aria-label", "Confusion matrix: rows are true classes, columns predicted classes");
  const head = dom.make("tr");
  head.append(dom.make("th", "corner", "true ↓ said →"), ...data.classes.map((name, place) => {
    const th = dom.make("th");
    th.append(dom.make("span", "", data.short[place]));
    th.title = `predicted ${name}`;
    th.scope = "col";
    return th;
  }));
  table.append(head);
  // Shade by the root of the count within its kind, so that single mistakes stay visible beside thousands of hits.
  const largest = { true: 1, false: 1 };
  data.counts.forEach((row, i) => row.forEach((n, j) => { largest[i === j] = Math.max(largest[i === j], n); }));
  data.counts.forEach((row, i) => {
    const tr = dom.make("tr");
    const th = dom.make("th", "", data.short[i]);
    th.title = `true ${data.classes[i]}`;
    th.scope = "row";
    tr.append(th);
    row.forEach((n, j) => {
      const td = dom.make("td", i === j ? "same" : "");
      const cell = `${i}-${j}`, button = dom.button(n ? String(n) : "·", () => setTriggerValue("picked", cell));
      button.disabled = !n;
      button.style.setProperty("--share", `${n ? 8 + 52 * Math.sqrt(n / largest[i === j]) * (i === j ? 0.5 : 1) : 0}%`);
      button.setAttribute("aria-pressed", String(data.cell === cell));
      button.title = `${n} × true ${data.classes[i]}, predicted ${data.classes[j]}`;
      button.setAttribute("aria-label", button.title);
      button.dataset.cell = cell;
      td.append(button);
      tr.append(td);
    });
    table.append(tr);
  });
  parentElement.querySelector(".root").replaceChildren(table);
}
