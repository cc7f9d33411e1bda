// Rows of a value with its interval on one shared axis; a hollow diamond is what was predicted.
const make = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

const at = (element, place) => {
  element.style.left = `${100 * place}%`;
  return element;
};

function row(item, data) {
  const line = make("div", "row");
  line.setAttribute("role", "listitem");
  line.title = item.title;
  const name = make("span", "name");
  if (item.symbol) name.append(make("span", item.sign, `${item.symbol} `));
  name.append(make("span", "", item.name));
  if (item.detail) name.append(make("span", "quiet", ` ${item.detail}`));
  const track = make("span", "track");
  for (const tick of data.ticks) track.append(at(make("i", "grid"), tick.at));
  if (data.zero !== null) track.append(at(make("i", "zero"), data.zero));
  if (item.low !== null) {
    const bar = at(make("i", "bar"), item.low);
    bar.style.width = `${100 * (item.high - item.low)}%`;
    track.append(bar);
  }
  if (item.other !== null) track.append(at(make("i", "other"), item.other));
  track.append(at(make("i", `dot ${item.sign}`), item.at));
  line.append(name, track, make("span", "value", item.text));
  return line;
}

export default function ({ data, parentElement }) {
  const rows = make("div", "rows");
  rows.setAttribute("role", "list");
  rows.setAttribute("aria-label", data.alt);
  rows.append(...data.rows.map((item) => row(item, data)));
  const axis = make("div", "row axis");
  axis.setAttribute("aria-hidden", "true");
  const track = make("span", "track");
  for (const tick of data.ticks) track.append(at(make("span", "tick", tick.text), tick.at));
  axis.append(make("span", "name"), track, make("span", "value quiet", data.unit));
  rows.append(axis);
  const legend = make("p", "legend");
  if (data.rows.some((item) => item.low !== null)) legend.append(make("i", "bar"), make("span", "", "95 % interval"));
  if (data.rows.some((item) => item.other !== null)) legend.append(make("i", "other"), make("span", "", data.other));
  parentElement.querySelector(".root").replaceChildren(rows, ...(legend.childNodes.length ? [legend] : []));
}
