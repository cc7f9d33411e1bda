// The two stages and the score as formulas, term by term: what acts is lit, and resting on a term says what it is.
const TERMS = {
  g: "g: loss of one pretraining point z. Moving or relabelling it changes g, and through G all that follows.",
  G: "G: what pretraining minimises, the mean of g over its m points (and a term that keeps parameters small).",
  f: "f: loss of one finetuning point x, + or ×.",
  F: "F: what finetuning minimises, the mean of f over its n points (and terms that hold parameters back).",
  W: "W: the shared layer, two hidden units that bend the plane. Pretraining learns it, finetuning inherits it.",
  U: "U: the head of pretraining, which tells ● ■ ◆ apart. Finetuning throws it away.",
  Θ: "Θ: the new head of finetuning, which tells + from ×.",
  α: "α: how firmly finetuning holds its copy W′ near W. Infinite: W is frozen.",
  ℓ: "ℓ: loss of the test point ★, the thing that is explained.",
  v: "v: which way the finetuned parameters would go, and how far, if ★ pulled at them.",
  q: "q: ★'s pull, brought back through finetuning to W.",
  H: "H: curvature of an objective at its minimum. Where it is small, one point moves much.",
  score: "score: predicted change of ℓ if z had been left out. ▲ positive: it helped. ▼ negative: it harmed.",
};
const REST = "Rest on a letter to see what it stands for. What you change lights the terms through which it acts.";

// Words between braces are terms, a "_" or "^" after them lowers or raises the next piece.
const LINES = (frozen) => [
  ["Pretraining", "{G}({W}, {U}) = 1/m Σ {g}(z; {W}, {U}) + λ/2 ‖{W}, {U}‖²"],
  ["Finetuning", frozen
    ? "{F}({Θ}) = 1/n Σ {f}(x; {W}, {Θ}) + λ/2 ‖{Θ}‖²,  {W} frozen ({α} = ∞)"
    : "{F}({W}′, {Θ}) = 1/n Σ {f}(x; {W}′, {Θ}) + λ/2 ‖{W}′, {Θ}‖² + {α} ‖{W}′ − {W}‖²"],
  ["Back to W", frozen
    ? "{v} = {H}_{F}⁻¹ ∇_{Θ}{ℓ}(★),  {q} = ∇_{W}{ℓ}(★) − {H}_{WΘ} {v}"
    : "{v} = {H}_{F}⁻¹ ∇{ℓ}(★),  {q} = 2{α} {v}_{W}"],
  ["Score", "{score}(z) = 1/m · {q} · {H}_{G}⁻¹ ∇{g}(z)"],
];

function pieces(line) {
  return Array.from(line.matchAll(/(_?)\{([^}]+)\}|[^{_]+|_/g), ([text, low, term]) => {
    if (!term) return document.createTextNode(text);
    // An index of two letters stands for a block of H.
    const made = dom.make(low ? "sub" : "span", "term", term);
    made.dataset.term = term in TERMS ? term : "H";
    return made;
  });
}

// `amount` says what a term amounts to now.
function formula(amount) {
  const root = dom.make("div", "formula"), lines = dom.make("div", "lines"), words = dom.make("p", "quiet words", REST);
  root.append(lines, words);
  let shown = null, lit = [];
  const light = () => lines.querySelectorAll(".term").forEach((term) => {
    term.classList.toggle("lit", lit.includes(term.dataset.term));
  });
  const tell = (event) => {
    const term = event.target.dataset?.term;
    words.textContent = term ? TERMS[term] + amount(term) : REST;
    root.dispatchEvent(new CustomEvent("term", { detail: term ?? "" }));
  };
  for (const name of ["pointerover", "focusin"]) lines.addEventListener(name, tell);
  for (const name of ["pointerleave", "focusout"]) lines.addEventListener(name, () => tell({ target: {} }));
  const show = (frozen, acting) => {
    if (frozen !== shown) {
      lines.replaceChildren(...LINES(frozen).flatMap(([name, line]) => {
        const row = dom.make("span", "line");
        row.append(...pieces(line));
        return [dom.make("span", "quiet", name), row];
      }));
      // Every letter can be reached once by keyboard.
      const seen = new Set();
      lines.querySelectorAll("span.term").forEach((term) => {
        if (!seen.has(term.dataset.term)) term.tabIndex = 0;
        seen.add(term.dataset.term);
      });
      shown = frozen;
    }
    lit = acting;
    light();
  };
  return { root, show };
}
