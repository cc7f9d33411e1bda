// Brings the part of the page that a lesson's step is about into view, once it is there; the style sheet outlines it.
const WAIT = 250, PATIENCE = 12;

function bring(key, tries) {
  const part = document.querySelector(`.st-key-${CSS.escape(key)}`);
  if (part) part.scrollIntoView({ block: "nearest", behavior: "smooth" });
  else if (tries) setTimeout(() => bring(key, tries - 1), WAIT);
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root"), step = `${data.run} ${data.step}`;
  // Only when a step begins: later a visitor scrolls as he likes.
  if (root.dataset.step === step || !data.region) return;
  root.dataset.step = step;
  setTimeout(() => bring(data.region, PATIENCE), WAIT);
}
