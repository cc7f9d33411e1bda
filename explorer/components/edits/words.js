// A text of which words can be struck: each word is a button, and goes wherever it stands.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const focused = root.getRootNode().activeElement?.dataset?.place;
  const text = dom.words("p", "struck");
  text.setAttribute("role", "group");
  text.setAttribute("aria-label", "The text; press a word to strike it wherever it stands");
  data.pieces.forEach((piece, place) => {
    if (!piece.word) return void text.append(document.createTextNode(piece.text));
    const button = dom.button(piece.text, () => setTriggerValue("toggled", piece.word), "word");
    button.setAttribute("aria-pressed", String(piece.struck));
    button.dataset.place = String(place);
    text.append(button);
  });
  root.replaceChildren(text);
  if (focused) root.querySelector(`[data-place="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}
