// A text of whose tokens a span can be chosen: by a press, by dragging, with Shift, or by keys.
const picking = {
  tokens: [], anchor: 0, focus: 0,
  // Mark the tokens from the anchor to the focus; nothing is sent yet.
  mark() {
    const [first, last] = this.ends();
    this.tokens.forEach((token, place) => token.setAttribute("aria-selected", String(first <= place && place <= last)));
  },
  ends() {
    return [Math.min(this.anchor, this.focus), Math.max(this.anchor, this.focus)];
  },
  go(place, extend) {
    this.focus = Math.max(0, Math.min(this.tokens.length - 1, place));
    if (!extend) this.anchor = this.focus;
    this.tokens.forEach((token, each) => { token.tabIndex = each === this.focus ? 0 : -1; });
    this.tokens[this.focus].focus({ preventScroll: true });
  },
};

function pieceOf(piece, offered) {
  if (piece.start === undefined) {
    const part = dom.make("span", piece.kind, piece.text);
    if (piece.kind === "unread") part.title = "not read by the model";
    return part;
  }
  const token = dom.make("span", "token", piece.text);
  if (offered) {
    token.setAttribute("role", "option");
    token.setAttribute("aria-selected", String(piece.chosen));
    token.setAttribute("aria-label", [piece.text.trim() || "space", piece.said].filter(Boolean).join(", "));
  }
  if (piece.said) token.title = piece.said;
  token.style.setProperty("--weight", piece.weight);
  return token;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const wasFocused = root.getRootNode().activeElement?.classList?.contains("token") ? picking.focus : null;
  const pieces = data.pieces.filter((piece) => piece.start !== undefined);
  const text = dom.words("div", "completion");
  const box = dom.make("div", "box");
  if (data.title) box.append(dom.words("h3", "head", data.title));
  box.append(text);
  root.replaceChildren(box);
  text.append(...data.pieces.map((piece) => pieceOf(piece, data.offered)));
  if (!data.offered || !pieces.length) return undefined;

  text.classList.add("offered");
  text.setAttribute("role", "listbox");
  text.setAttribute("aria-multiselectable", "true");
  text.setAttribute("aria-label", `Tokens of the ${data.noun}; press one, or several with Shift, to explain their loss`);
  const tokens = [...text.querySelectorAll(".token")];
  const chosen = pieces.flatMap((piece, place) => (piece.chosen ? [place] : []));
  Object.assign(picking, { tokens, anchor: chosen[0] ?? 0, focus: chosen.at(-1) ?? 0 });
  tokens[picking.focus].tabIndex = 0;
  tokens.forEach((token, place) => { if (place !== picking.focus) token.tabIndex = -1; });

  const send = () => {
    const [first, last] = picking.ends();
    const same = chosen.length && chosen[0] === first && chosen.at(-1) === last;
    if (same) return setTriggerValue("chosen", "whole");
    picking.mark();
    setTriggerValue("chosen", [pieces[first].start, pieces[last].stop]);
  };

  let dragged = false;
  const under = (event) => tokens.indexOf(root.getRootNode().elementFromPoint(event.clientX, event.clientY));
  text.onpointerdown = (event) => {
    const place = tokens.indexOf(event.target);
    if (place < 0 || event.button) return;
    event.preventDefault();
    dragged = true;
    picking.go(place, event.shiftKey);
    picking.mark();
  };
  const move = (event) => {
    const place = dragged ? under(event) : -1;
    if (place < 0 || place === picking.focus) return;
    picking.go(place, true);
    picking.mark();
  };
  const up = () => {
    if (dragged) send();
    dragged = false;
  };
  text.onkeydown = (event) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -tokens.length, End: tokens.length };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) {
      picking.go(picking.focus + steps[event.key], event.shiftKey);
      if (event.shiftKey) picking.mark();
    } else if (event.key === "Enter" || event.key === " ") {
      send();
    } else if (event.key === "Escape" && chosen.length) {
      setTriggerValue("chosen", "whole");
    } else return;
    event.preventDefault();
    event.stopPropagation();  // arrow keys would step to another prediction
  };
  document.addEventListener("pointermove", move);
  document.addEventListener("pointerup", up);

  if (wasFocused !== null) picking.tokens[picking.focus].focus({ preventScroll: true });
  return () => {
    document.removeEventListener("pointermove", move);
    document.removeEventListener("pointerup", up);
  };
}
