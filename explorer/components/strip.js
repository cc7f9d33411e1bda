export default function ({ data, parentElement, setTriggerValue }) {
  const strip = document.createElement("div");
  strip.className = `strip ${data.items.some((item) => item.image) ? "" : "texts"}`;
  strip.setAttribute("role", "group");
  strip.setAttribute("aria-label", "Predictions in this list");
  for (const item of data.items) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = item.title;
    button.dataset.id = item.id;
    button.setAttribute("aria-label", item.title);
    if (item.current) button.setAttribute("aria-current", "true");
    button.onclick = () => setTriggerValue("picked", item.id);
    if (item.image) {
      const img = document.createElement("img");
      img.src = item.image;
      img.alt = "";
      const mark = document.createElement("span");
      mark.className = "mark";
      mark.textContent = item.mark;
      button.append(img, ...(item.mark ? [mark] : []));
    } else {
      const part = (className, text) => {
        const span = document.createElement("span");
        span.className = className;
        span.dir = "auto";
        span.textContent = text;
        return span;
      };
      if (item.head) button.append(part("head", item.head));
      button.append(part("text", item.text ?? item.title));
      if (item.verdict) button.append(part("verdict", item.verdict));
      button.setAttribute("aria-label", `${item.title}: ${item.head ?? ""} ${item.text ?? ""}`);
    }
    strip.append(button);
  }
  if (!data.items.length) {
    const empty = document.createElement("p");
    empty.className = "empty";
    empty.textContent = data.empty;
    strip.append(empty);
  }
  parentElement.querySelector(".root").replaceChildren(strip);
}
