// J and K step to the next and the previous prediction, as the arrow keys of the buttons below do.
function listenToKeys(send) {
  const step = (event) => {
    const by = { j: 1, k: -1 }[event.key];
    if (by && !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat && !dom.typed(event)) send(by);
  };
  document.addEventListener("keydown", step);
  return () => document.removeEventListener("keydown", step);
}

export default function ({ data, parentElement, setTriggerValue }) {
  const texts = !data.items.some((item) => item.image);
  const strip = dom.make("div", texts ? "strip texts" : "strip");
  strip.setAttribute("role", "group");
  strip.setAttribute("aria-label", "Predictions in this list");
  for (const item of data.items) {
    const button = dom.button(undefined, () => setTriggerValue("picked", item.id));
    button.title = item.title;
    button.dataset.id = item.id;
    button.setAttribute("aria-label", item.title);
    if (item.current) button.setAttribute("aria-current", "true");
    if (item.image) {
      const img = dom.make("img");
      img.src = item.image;
      img.alt = "";
      button.append(img, ...(item.mark ? [dom.make("span", "mark", item.mark)] : []));
    } else {
      if (item.head) button.append(dom.words("span", "head", item.head));
      button.append(dom.words("span", "text", item.text ?? item.title));
      if (item.verdict) button.append(dom.words("span", "verdict", item.verdict));
      button.setAttribute("aria-label", `${item.title}: ${item.head ?? ""} ${item.text ?? ""}`);
    }
    strip.append(button);
  }
  if (!data.items.length) strip.append(dom.make("p", "empty", data.empty));
  parentElement.querySelector(".root").replaceChildren(strip);
  return listenToKeys((by) => setTriggerValue("stepped", by));
}
