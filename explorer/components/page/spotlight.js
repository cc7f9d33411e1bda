// Brings the part of the page that a lesson's step is about into view; the style sheet outlines it.
const WAIT = 250, PATIENCE = 12;
// Where the card stands above the page instead of beside it, a jump would hide what is to be done: there only on a press.
const BESIDE = "(min-width: 1001px)";

function bring(key, tries) {
  const part = document.querySelector(`.st-key-${CSS.escape(key)}`);
  if (part) part.scrollIntoView({ block: "nearest", behavior: "smooth" });
  else if (tries) setTimeout(() => bring(key, tries - 1), WAIT);
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root"), step = `${data.run} ${data.step}`;
  const button = dom.button("Show me where", () => bring(data.region, 0), "more");
  root.replaceChildren(...(data.region ? [button] : []));
  // By itself only when a step begins: later a visitor scrolls as he likes.
  if (root.dataset.step === step || !data.region) return;
  root.dataset.step = step;
  if (matchMedia(BESIDE).matches) setTimeout(() => bring(data.region, PATIENCE), WAIT);
}
