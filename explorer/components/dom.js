// Elements of HTML and SVG, and what is typed. Text is set as text, never as markup.
const dom = {
  make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  },
  // Text from data, in the direction of its own letters.
  words(tag, className, text) {
    const element = dom.make(tag, className, text);
    element.dir = "auto";
    return element;
  },
  button(text, act, className) {
    const element = dom.make("button", className, text);
    element.type = "button";
    element.onclick = act;
    return element;
  },
  svg(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  },
  // What is typed into a field, or into an element that takes keys for itself, is no key of the page.
  typed(event) {
    return event.composedPath().some((element) =>
      element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName ?? "") ||
      /^(textbox|listbox|combobox|dialog)$/.test(element.getAttribute?.("role") ?? ""));
  },
};
