// What is typed into a field, or into an element that takes keys for itself, is no step.
const typed = (event) => event.composedPath().some((element) =>
  element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName ?? "") ||
  /^(textbox|listbox|combobox|dialog)$/.test(element.getAttribute?.("role") ?? ""));

// J and K step to the next and the previous prediction, as the arrow keys of the buttons below do.
function listenToKeys(send) {
  const step = (event) => {
    const by = { j: 1, k: -1 }[event.key];
    if (by && !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat && !typed(event)) send(by);
  };
  document.addEventListener("keydown", step);
  return () => document.removeEventListener("keydown", step);
}

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
  return listenToKeys((by) => setTriggerValue("stepped", by));
}
